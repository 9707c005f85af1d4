# no-ipv6.pl ERRNO COMMAND [ARGUMENT...]: runs it as under a kernel without IPv6: socket(AF_INET6) fails with ERRNO. See
# seccomp(2); perl, because it is there wherever Debian is.
use strict;
use warnings;

my $errno = shift;
# AUDIT_ARCH, socket(2), prctl(2)
my %numbers = (x86_64 => [0xc000003e, 41, 157], aarch64 => [0xc00000b7, 198, 167]);
chomp(my $machine = `uname -m`);
my ($arch, $socket, $prctl) = @{$numbers{$machine} or die "system calls of $machine are not known\n"};

# BPF: 0x20 loads a word, 0x15 skips instructions (so many if equal, so many if not), 0x06 returns.
sub op { pack 'S C C L', @_ }
my $filter = join '',
  op(0x20, 0, 0, 4), op(0x15, 0, 5, $arch),
  op(0x20, 0, 0, 0), op(0x15, 0, 3, $socket),
  op(0x20, 0, 0, 16), op(0x15, 0, 1, 10),
  op(0x06, 0, 0, 0x00050000 | $errno),
  op(0x06, 0, 0, 0x7fff0000);
my $program = pack 'S x6 P', length($filter) / 8, $filter;
# PR_SET_NO_NEW_PRIVS; PR_SET_SECCOMP, SECCOMP_MODE_FILTER
syscall($prctl, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!\n";
syscall($prctl, 22, 2, $program, 0, 0) == 0 or die "seccomp: $!\n";
exec @ARGV or die "$ARGV[0]: $!\n";
