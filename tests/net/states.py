"""The rarer turns of a TCP connection's life, with the host's stack as the other end; and ports that run out."""
import socket
import struct
import time

from frames import ACK, SYN, Frames, ip4, tcp
from harness import TIME_FACTOR, eq, fails, recv_all, sh

TCP_INFO, TCP_KEEPIDLE = 11, 4
STATES = ("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING")


def state(s):
    return STATES[s.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1)[0]]


def drop(n, port):
    """From now on the peer is dead to this port."""
    sh("ip", "netns", "exec", n.peer, "iptables", "-A", "INPUT", "-p", "tcp", "--sport", str(port), "-j", "DROP")
    sh("ip", "netns", "exec", n.peer, "iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", str(port), "-j", "DROP")


def test_both_ends_may_open_and_close_at_once(n):
    box = n.python("""
hear()
for port in range(7000, 7020):
    s = socket.socket(); s.bind(("", port)); hear()
    r = s.connect_ex(("10.77.0.1", port))
    if r == 0: break
    say("refused" if r == errno.ECONNREFUSED else errno.errorcode[r])
s.sendall(b"from the sandbox")
say("open")
assert recv_all(s) == b"from the host" # its FIN crosses ours
hear()
""" .replace("assert recv_all", "s.shutdown(socket.SHUT_WR); assert recv_all"))
    box.say()
    for port in range(7000, 7020):
        s = n.sock()
        s.bind(("", port))
        box.say()
        time.sleep(0.05)  # so that both are in time for the other's SYN
        error = s.connect_ex((n.ip, port))
        if box.hear() == "open":
            break
    eq(error, 0)
    s.sendall(b"from the host")
    s.shutdown(socket.SHUT_WR)
    eq(recv_all(s), b"from the sandbox")
    s.close()
    box.say()
    box.end()


test_both_ends_may_open_and_close_at_once.wire = "delay=300"


def test_a_dead_peer_is_noticed(n):
    """By keepalive, by what is not acknowledged in the user's time, and by probes of a window that stays shut."""
    with n.listener() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        box = n.python(f"""
TCP = socket.IPPROTO_TCP
def conn():
    s = socket.create_connection(("10.77.0.1", {server.getsockname()[1]})); say(s.getsockname()[1]); return s
idle, writer, full = conn(), conn(), conn()
full.setblocking(False)
p = select.poll(); p.register(full, select.POLLOUT)
while p.poll(500):
    try:
        while True: full.send(b"z" * 65536)
    except BlockingIOError: pass
full.setblocking(True)
say("full"); hear()
for o, v in ((4, 1), (5, 1), (6, 2)): idle.setsockopt(TCP, o, v)
idle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
writer.setsockopt(TCP, 18, 1500); writer.send(b"x")
full.setsockopt(TCP, 18, 1500)
for s in idle, writer, full:
    p = select.poll(); p.register(s, 0); p.poll()
    say(fails(s.recv, 1), fails(s.recv, 1), fails(s.send, b"x"))
""")
        conns = []
        ports = []
        for _ in range(3):
            ports.append(box.hear())
            conns.append(server.accept()[0])
        eq(box.hear(), "full")
        for p in ports:
            drop(n, p)
        box.say()
        for _ in range(3):
            eq(box.hear(), "ETIMEDOUT success EPIPE")
        box.end()
        for c in conns:
            c.close()


def test_a_shut_window_is_probed(n):
    f = Frames(n)
    me, port = "10.77.0.50", 7000
    f.add(me)
    box = n.python(f"""
s = socket.create_connection(("{me}", {port})); s.sendall(b"0123456789"); say("sent"); s.recv(1)
""")
    s = f.next_segment(me, port)
    eq(s.flags, SYN)

    def answer(flags, seq, ack, window, data=b""):
        f.send(ip4(me, n.ip, 6, tcp(me, n.ip, port, s.sport, flags, seq, ack, data, window=window)))

    answer(SYN | ACK, 100, s.seq + 1, 4)
    eq(box.hear(), "sent")
    got = b""
    while got != b"0123":
        got = f.next_segment(me, port).data
    answer(ACK, 101, s.seq + 5, 0)
    seen = 0
    while seen < 3:  # a probe carries an old number, or the next byte
        p = f.next_segment(me, port)
        if p.seq in (s.seq + 4, s.seq + 5):
            seen += 1
            answer(ACK, 101, s.seq + 5, 0)
    answer(ACK, 101, s.seq + 5, 1000)
    while got != b"456789":
        got = f.next_segment(me, port).data
    answer(ACK, 101, s.seq + 11, 1000)
    answer(ACK | 8, 101, s.seq + 11, 1000, b"x")
    box.end()


def test_ports_that_run_out(n):
    script = """
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f: f.write("50000 50009")
a, b = hear().split()
held = [socket.create_connection(("10.77.0.1", int(a))) for _ in range(10)]
say(sorted(s.getsockname()[1] for s in held) == list(range(50000, 50010)))
say(fails(socket.create_connection, ("10.77.0.1", int(a))))
say(fails(socket.create_connection, ("10.77.0.1", int(b)))) # another place: the same ports do
for s in held: s.close() # we first: TIME_WAIT
say("closed"); hear()
say(fails(socket.create_connection, ("10.77.0.1", int(a))))
u = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(11)]
say([fails(s.bind, ("", 0)) for s in u].count("success"), fails(u[10].bind, ("", 0)))
with open("/proc/sys/net/ipv4/tcp_tw_reuse", "w") as f: f.write("1")
hear() # a second later
say(fails(socket.create_connection, ("10.77.0.1", int(a))))
"""
    with n.listener() as one, n.listener() as two:
        box = n.python(script)
        box.say(f"{one.getsockname()[1]} {two.getsockname()[1]}")
        eq([box.hear() for _ in range(4)], ["True", "EADDRNOTAVAIL", "success", "closed"])
        for _ in range(10):
            c, _ = one.accept()
            eq(c.recv(1), b"")
            c.close()
        time.sleep(0.2)
        box.say()
        eq([box.hear() for _ in range(2)], ["EADDRNOTAVAIL", "10 EADDRINUSE"])
        time.sleep(2)
        box.say()
        eq(box.hear(), "success")
        box.end()


def test_a_port_in_time_wait_takes_a_new_connection(n):
    """RFC 6191: a SYN with a later time stamp, from the same port, ends the rest of the old connection."""
    box = n.python("""
srv = socket.create_server(("", 5000)); say("up")
for i in range(2):
    c, a = srv.accept()
    c.sendall(b"bye"); c.close() # first: TIME_WAIT is here
    say(a[1])
""")
    box.hear()
    for _ in range(2):
        s = n.sock()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", 7100))
        s.connect((n.ip, 5000))
        eq(recv_all(s), b"bye")
        s.close()
        eq(box.hear(), "7100")
        time.sleep(0.1)
    box.end()


def test_sums_of_a_connection_are_sane(n):
    with n.listener() as server:
        box = n.python(f"""
s = socket.create_connection(("10.77.0.1", {server.getsockname()[1]}))
s.sendall(b"u" * 1000000); s.recv(100000)
b = s.getsockopt(socket.IPPROTO_TCP, 11, 232)
u32 = lambda at: struct.unpack("=I", b[at:at + 4])[0]
u64 = lambda at: struct.unpack("=Q", b[at:at + 8])[0]
# state, retransmits, rto, snd_mss, rcv_mss, unacked, pmtu, rtt, cwnd, bytes acked and received, segments out, min_rtt
print(b[0], b[2], 200000 <= u32(8) < 3000000, u32(16), u32(20) >= 536, u32(24), u32(60), 0 < u32(68) < 1000000, u32(80) >= 10, u64(120), u64(128),
    u32(136) > 0, 0 < u32(148) <= u32(68) * 2 + 1000)
""")
        conn, _ = server.accept()
        got = 0
        while got < 1000000:
            got += len(conn.recv(1 << 16))
        conn.sendall(b"ok")
        eq(box.end(), "1 0 True 1448 True 0 1500 True True 1000001 2 True True\n")
        conn.close()


def test_large_frames_are_taken_from_whoever_made_them(n):
    """A virtual machine or a sandbox hands its frames over in one piece, and says so in their virtio-net headers; so does the wire."""
    with n.listener() as server:
        box = n.python(f"""
s = socket.create_connection(("10.77.0.1", {server.getsockname()[1]}))
say(len(recv_all(s)))
for l in open("/proc/net/dev"):
    if "eth0" in l: say(l.split()[4]) # dropped
""")
        conn, _ = server.accept()
        for _ in range(30):
            conn.sendall(b"f" * 3000)
            time.sleep(0.005)
        conn.close()
        eq([box.hear(), box.hear()], ["90000", "0"])
        box.end()


test_large_frames_are_taken_from_whoever_made_them.wire = "delay=1"


def long_a_long_fat_path_is_filled(n):
    """50 ms and 200 Mbit/s: 1.25 MB are on their way, more than the buffers a connection begins with. In the time that a stream without
    growing buffers would take, far more must have come."""
    size = 40 << 20
    with n.listener() as server:
        box = n.python(f"""
s = socket.create_connection(("10.77.0.1", {server.getsockname()[1]}))
n = 0
while n < {size}: n += len(s.recv(1 << 20))
s.sendall(b"y" * {size}); s.shutdown(socket.SHUT_WR); s.recv(1)
""", limit=120)
        conn, _ = server.accept()
        conn.settimeout(60 * TIME_FACTOR)
        times = []
        start = time.time()
        conn.sendall(b"x" * size)
        got = len(conn.recv(1 << 20))
        times.append(time.time() - start)
        start = time.time()
        while got < size:
            got += len(conn.recv(1 << 20))
        times.append(time.time() - start)
        conn.close()
        box.end()
        rates = [size * 8 / 1e6 / t for t in times]
        print(f"    to the sandbox {rates[0]:.0f}, from it {rates[1]:.0f} of 200 Mbit/s")
        # With the 64 KiB of a fixed window it would be 10 Mbit/s.
        assert min(rates) > 60 / TIME_FACTOR, rates


long_a_long_fat_path_is_filled.wire = "delay=25 rate=200 queue=2500"
