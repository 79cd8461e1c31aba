"""What lies between the ends: routers, small MTUs, groups, errors, names and sizes of pings."""
import contextlib
import os
import socket
import struct
import subprocess

from frames import Frames, checksum, icmp6, ip4, ip6
from harness import TIME_FACTOR, eq, recv_all, sh

FAR, FAR6 = "10.78.0.2", "fd78::2"
MTU = 1300


@contextlib.contextmanager
def far_network(n):
    """Behind the peer, who forwards: a namespace at the end of a link whose near side takes frames of no more than MTU bytes."""
    far = n.peer.replace("peer", "far")
    sh("ip", "netns", "add", far)
    try:
        sh("ip", "-n", far, "link", "set", "lo", "up")
        sh("ip", "-n", n.peer, "link", "add", "far", "type", "veth", "peer", "name", "eth0", "netns", far)
        for ns, link, a4, a6 in ((n.peer, "far", "10.78.0.1", "fd78::1"), (far, "eth0", FAR, FAR6)):
            sh("ip", "-n", ns, "addr", "add", a4 + "/24", "dev", link)
            sh("ip", "-n", ns, "addr", "add", a6 + "/64", "dev", link, "nodad")
            sh("ip", "-n", ns, "link", "set", link, "up")
        sh("ip", "-n", n.peer, "link", "set", "far", "mtu", str(MTU))
        sh("ip", "-n", far, "route", "add", "default", "via", "10.78.0.1")
        sh("ip", "-n", far, "route", "add", "default", "via", "fd78::1")
        sh("ip", "netns", "exec", n.peer, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        yield far
    finally:
        subprocess.run(["ip", "netns", "del", far], check=False)


def server_in(n, ns, family, kind=socket.SOCK_STREAM):
    with n.inside(ns):
        s = socket.socket(family, kind)
    s.settimeout(20 * TIME_FACTOR)
    s.bind(("", 0))
    if kind == socket.SOCK_STREAM:
        s.listen()
    return s


def test_a_smaller_mtu_on_the_way_is_found(n):
    with far_network(n) as far:
        for family, host, level, get_mtu, discover in ((socket.AF_INET, FAR, socket.IPPROTO_IP, 14, 10), (socket.AF_INET6, FAR6, socket.IPPROTO_IPV6, 24, 23)):
            server, dgram = server_in(n, far, family), server_in(n, far, family, socket.SOCK_DGRAM)
            box = n.python(f"""
a = ("{host}", {server.getsockname()[1]})
s = socket.create_connection(a)
before = s.getsockopt({level}, {get_mtu})
s.sendall(b"t" * 300000); s.shutdown(socket.SHUT_WR); s.recv(1)
say(before, s.getsockopt({level}, {get_mtu}))
# Learnt for others, too, who may not fragment (DO) or may (WANT).
a = ("{host}", {dgram.getsockname()[1]})
d = socket.socket({int(family)}, socket.SOCK_DGRAM); d.connect(a)
d.setsockopt({level}, {discover}, 2)
say(d.getsockopt({level}, {get_mtu}), fails(d.send, b"x" * 1400), fails(d.send, b"y" * 1200))
d.setsockopt({level}, {discover}, 1)
say(fails(d.send, b"z" * 4000))
""")
            conn, _ = server.accept()
            eq(len(recv_all(conn)), 300000)
            conn.close()
            eq([box.hear(), box.hear(), box.hear()], [f"1500 {MTU}", f"{MTU} EMSGSIZE success", "success"])
            eq([len(dgram.recv(5000)) for _ in range(2)], [1200, 4000])
            box.end()
            n.restore()


def long_a_path_that_loses_large_packets_silently_does_not_hang(n):
    with far_network(n) as far:
        sh("ip", "netns", "exec", n.peer, "iptables", "-A", "OUTPUT", "-p", "icmp", "-j", "DROP")
        server = server_in(n, far, socket.AF_INET)
        box = n.python(f"""
s = socket.create_connection(("{FAR}", {server.getsockname()[1]}))
s.setsockopt(socket.IPPROTO_TCP, 18, 2000) # TCP_USER_TIMEOUT
s.send(b"t" * 100000)
say(fails(s.recv, 1))
""")
        conn, _ = server.accept()
        eq(box.hear(), "ETIMEDOUT")
        conn.close()
        box.end()


def test_each_hop_tells_of_itself(n):
    script = """
def hop(family, level, host, ttl_option, recverr, ttl):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(level, ttl_option, ttl); s.setsockopt(level, recverr, 1)
    s.sendto(b"probe", (host, 33434))
    p = select.poll(); p.register(s, 0); p.poll(10000)
    anc = s.recvmsg(100, 200, socket.MSG_ERRQUEUE)[1]
    err, origin, kind, code = struct.unpack("=IBBB", anc[0][2][:7])
    return socket.inet_ntop(family, anc[0][2][20:24] if family == socket.AF_INET else anc[0][2][24:40]), kind, code
def hops(v4, v6, count):
    print([hop(socket.AF_INET, 0, v4, 2, 11, i) for i in range(1, count + 1)])
    print([hop(socket.AF_INET6, 41, v6, 16, 25, i) for i in range(1, count + 1)])
"""
    with far_network(n) as far:
        out = n.python(script + f"hops('{FAR}', '{FAR6}', 2)").end()
        eq(out, f"[('10.77.0.1', 11, 0), ('{FAR}', 3, 3)]\n[('fd77::1', 3, 0), ('{FAR6}', 1, 4)]\n")
        n.restore()
        box = n.python("say('up'); hear()")
        box.hear()
        with n.inside(far):
            p = subprocess.run(["python3", "-c", "import select, socket, struct\n" + script + "hops('10.77.0.2', 'fd77::2', 2)"], stdout=subprocess.PIPE, text=True,
                               timeout=30 * TIME_FACTOR, check=True)
        eq(p.stdout, "[('10.78.0.1', 11, 0), ('10.77.0.2', 3, 3)]\n[('fd78::1', 3, 0), ('fd77::2', 1, 4)]\n")
        box.end()


PING_SIZES = (0, 1, 16, 1472, 1473, 9000, 65507)


def test_pings_of_all_sizes(n):
    box = n.python(f"""
import subprocess
say("up"); hear()
for host in ("10.77.0.1", "fd77::1"):
    for size in {PING_SIZES}:
        r = subprocess.run(["ping", "-q", "-c", "1", "-W", "10", "-s", str(size), host], capture_output=True, text=True)
        if r.returncode: say(host, size, r.stdout, r.stderr)
""")
    box.hear()
    with n.inside():
        for host in (n.ip, n.ip6):
            for size in PING_SIZES:
                r = subprocess.run(["ping", "-q", "-c", "1", "-W", "10", "-s", str(size), host], capture_output=True, text=True, check=False)
                eq((host, size, r.returncode), (host, size, 0))
    box.say()
    eq(box.end(), "")


def test_broadcasts_both_ways(n):
    box = n.python("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 5000))
say(fails(s.sendto, b"x", ("10.77.0.255", 5000)))
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for host in ("10.77.0.255", "255.255.255.255"):
    s.sendto(b"to all from the sandbox", (host, 5000))
    while True:
        b, a = s.recvfrom(100)
        if a[0] == "10.77.0.1": break
    say(b)
""")
    s = n.sock(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", 5000))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    with n.inside():
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    eq(box.hear(), "EACCES")
    for host in ("10.77.0.255", "255.255.255.255"):
        while True:
            b, a = s.recvfrom(100)
            if a[0] == n.ip:
                break
        eq(b, b"to all from the sandbox")
        s.sendto(b"to all from the host", (host, 5000))
        eq(box.hear(), "b'to all from the host'")
    box.end()


def test_large_sends_become_datagrams_and_back(n):
    box = n.python("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 5000)); say("up")
UDP_SEGMENT, UDP_GRO = 103, 104
s.setsockopt(17, UDP_GRO, 1)
got = []
while sum(map(len, got)) < 30000:
    b, anc, flags, addr = s.recvmsg(70000, 100)
    size = struct.unpack("=i", anc[0][2])[0] if anc else len(b)
    got += [b[i:i + size] for i in range(0, len(b), size)]
say([len(g) for g in got] == [1200] * 25, b"".join(got) == b"".join(bytes([i]) * 1200 for i in range(25)))
s.sendmsg([b"".join(bytes([i]) * 1400 for i in range(40)) + b"end"], [(17, UDP_SEGMENT, struct.pack("=H", 1400))], 0, addr)
""")
    box.hear()
    s = n.sock(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendmsg([b"".join(bytes([i]) * 1200 for i in range(25))], [(17, 103, struct.pack("=H", 1200))], 0, (n.ip, 5000))
    eq(box.hear(), "True True")
    for i in range(40):
        eq(s.recv(2000), bytes([i]) * 1400)
    eq(s.recv(2000), b"end")
    box.end()


def test_memberships_are_reported_and_queries_answered(n):
    f = Frames(n)
    box = n.python("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 5000))
group = socket.inet_aton("239.7.7.7") + socket.inet_aton("10.77.0.2")
source = socket.inet_aton("239.7.7.8") + socket.inet_aton("10.77.0.2") + socket.inet_aton("10.77.0.1")
hear(); s.setsockopt(0, 35, group)
hear(); s.setsockopt(0, 36, group)
hear(); s.setsockopt(0, 39, source)
hear(); s.setsockopt(0, 40, source)
s6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s6.bind(("::", 5001))
group = socket.inet_pton(socket.AF_INET6, "ff05::77") + struct.pack("=I", socket.if_nametoindex("eth0"))
hear(); s6.setsockopt(41, 20, group)
say(s6.recv(100)); s6.sendto(b"by group", ("ff05::78", 5001, 0, socket.if_nametoindex("eth0")))
hear(); s6.setsockopt(41, 21, group)
s.setsockopt(0, 35, socket.inet_aton("239.7.7.7") + socket.inet_aton("10.77.0.2"))
hear()
""")

    def report(family, group, *wanted):
        """Waits for one of these (kind, sources) in a record about `group`."""
        packed = socket.inet_pton(family, group)
        while True:
            b = f.next_icmp(family, (0x22,) if family == socket.AF_INET else (143,))[1]
            at = 8
            for _ in range(struct.unpack(">H", b[6:8])[0]):
                kind, aux, sources = struct.unpack(">BBH", b[at:at + 4])
                end = at + 4 + len(packed) * (1 + sources) + aux * 4
                if b[at + 4:at + 4 + len(packed)] == packed and (kind, b[at + 4 + len(packed):end]) in wanted:
                    return
                at = end

    is_exclude, to_include, to_exclude, allow, block = 2, 3, 4, 5, 6
    peer = socket.inet_aton(n.peer_ip)
    box.say()
    report(socket.AF_INET, "239.7.7.7", (to_exclude, b""))
    box.say()
    report(socket.AF_INET, "239.7.7.7", (to_include, b""))
    box.say()
    report(socket.AF_INET, "239.7.7.8", (allow, peer), (to_include, peer))  # the difference, or the whole
    box.say()
    report(socket.AF_INET, "239.7.7.8", (block, peer), (to_include, b""))
    box.say()
    report(socket.AF_INET6, "ff05::77", (to_exclude, b""))
    s = n.sock(socket.AF_INET6, socket.SOCK_DGRAM)
    with n.inside():
        index = socket.if_nametoindex("eth0")
    s.bind(("::", 5001))
    s.setsockopt(41, 20, socket.inet_pton(socket.AF_INET6, "ff05::78") + struct.pack("=I", index))
    s.sendto(b"to the group", ("ff05::77", 5001, 0, index))
    eq(box.hear(), "b'to the group'")
    eq(s.recv(100), b"by group")
    box.say()
    report(socket.AF_INET6, "ff05::77", (to_include, b""))
    # A querier asks.
    report(socket.AF_INET, "239.7.7.7", (to_exclude, b""))
    query = struct.pack(">BBHIBBH", 0x11, 1, 0, 0, 2, 125, 0)
    query = query[:2] + struct.pack(">H", checksum(query)) + query[4:]
    f.send(ip4("10.77.0.9", "224.0.0.1", 2, query, ttl=1, options=b"\x94\x04\0\0"), to=bytes.fromhex("01005e000001"))
    report(socket.AF_INET, "239.7.7.7", (is_exclude, b""))
    src = "fe80::9"
    query = struct.pack(">16sBBH", b"\0" * 16, 2, 125, 0)
    message = icmp6(src, "ff02::1", 130, 0, 1 << 16, query)
    f.send(ip6(src, "ff02::1", 0, bytes([58, 0, 5, 2, 0, 0, 1, 0]) + message, hops=1), to=bytes.fromhex("333300000001"))
    report(socket.AF_INET6, "ff02::1:ff00:2", (is_exclude, b""))
    box.say()
    box.end()
