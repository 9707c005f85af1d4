# Sends at an even rate what an order says: attempts of connections, each closed after 20 ms, whatever has come of it; or bare frames, as a
# network card would hand them to the kernel, each of them a packet that opens a connection (syn) or of a protocol that nobody knows
# (other). It reads a line for each order, in JSON, and answers with the CPU time that it has used itself, in microseconds. That includes
# what the kernel does within its system calls for packets over loopback, which is the receiving side as well.
import collections, json, socket, struct, sys, time

LINGER = 0.02


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def frame(kind, source, to, port):
    own, ours = socket.inet_aton(source), socket.inet_aton(to)
    head = lambda at: struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0x4000, 64, 6, at, own, ours)
    tcp = lambda at: struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 2, 64240, at, 0)
    sum_ = checksum(own + ours + struct.pack("!BBH", 0, 6, 20) + tcp(0))
    ether = bytes(12) + (b"\x08\x00" if kind == "syn" else b"\x88\xb5")
    return ether + head(checksum(head(0))) + tcp(sum_)


def visits(order):
    open_ = collections.deque()

    def send(source, due):
        one = socket.socket()
        one.setblocking(False)
        one.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        one.bind((source, 0))
        one.connect_ex((order["to"], order["port"]))
        open_.append((due, one))
        while open_[0][0] < due - LINGER:
            open_.popleft()[1].close()

    def end():
        time.sleep(LINGER)
        while open_:
            open_.popleft()[1].close()

    return send, end


def frames(order):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind(("lo", 0))
    made = {source: frame(order["kind"], source, order["to"], order["port"]) for source in SOURCES}
    return lambda source, due: wire.send(made[source]), wire.close


SOURCES = ["198.51.100.%d" % (1 + i) for i in range(16)]
for line in sys.stdin:
    order = json.loads(line)
    gap = 1 / order["perSecond"]
    send, end = visits(order) if order["kind"] == "visit" else frames(order)
    cpu = time.process_time()
    due = time.monotonic()
    for i in range(order["count"]):
        due += gap
        now = time.monotonic()
        if due > now:
            time.sleep(due - now)
        send(SOURCES[i % 16], due)
    end()
    print(json.dumps((time.process_time() - cpu) * 1e6), flush=True)
