# within-syscalls.py NAMES COMMAND [ARGUMENT...]: runs it as systemd does with SystemCallFilter=NAMES (separated by commas)
# and SystemCallErrorNumber=EPERM: all other system calls fail. See seccomp(2).
import ctypes
import errno
import os
import sys

lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
lib.seccomp_init.restype = ctypes.c_void_p
lib.seccomp_init.argtypes = [ctypes.c_uint32]
lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
lib.seccomp_load.argtypes = [ctypes.c_void_p]

ALLOW = 0x7FFF0000
context = lib.seccomp_init(0x00050000 | errno.EPERM)
for name in sys.argv[1].split(","):
    number = lib.seccomp_syscall_resolve_name(name.encode())
    # Those of other machines are unknown here, or have a negative number.
    if number >= 0 and lib.seccomp_rule_add_array(context, ALLOW, number, 0, None) != 0:
        sys.exit(f"no rule for {name}")
if lib.seccomp_load(context) != 0:
    sys.exit("the filter cannot be loaded")
os.execvp(sys.argv[2], sys.argv[2:])
