# Attempts of connections at an even rate, each of them closed after 20 ms, whatever has come of it. It reads a line for each order, in
# JSON, and answers with the CPU time that it has used itself, in microseconds: that includes what the kernel does within its system calls
# for packets over loopback, which is the receiving side as well.
import collections, json, socket, sys, time

LINGER = 0.02
for line in sys.stdin:
    order = json.loads(line)
    count, gap, port, to = order["count"], 1 / order["perSecond"], order["port"], order["to"]
    sources = ["198.51.100.%d" % (1 + i % 16) for i in range(count)]
    open_ = collections.deque()
    cpu = time.process_time()
    due = time.monotonic()
    for source in sources:
        due += gap
        now = time.monotonic()
        if due > now:
            time.sleep(due - now)
        one = socket.socket()
        one.setblocking(False)
        one.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        one.bind((source, 0))
        one.connect_ex((to, port))
        open_.append((due, one))
        while open_ and open_[0][0] < due - LINGER:
            open_.popleft()[1].close()
    time.sleep(LINGER)
    while open_:
        open_.popleft()[1].close()
    print(json.dumps((time.process_time() - cpu) * 1e6), flush=True)
