"""Network namespaces that have a name and outlive their containers, or are shared by several."""
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import TIME_FACTOR, eq, sh


def ip(*argv):
    return subprocess.run(("ip",) + argv, stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout


def picture(ns):
    """What a namespace is like, without what comes and goes by itself."""
    addrs = [{"dev": i["ifname"], "addrs": sorted((a["local"], a["prefixlen"], a.get("label"), a.get("broadcast")) for a in i["addr_info"] if not a["local"].startswith("fe80:"))} for i in json.loads(ip("-n", ns, "-j", "addr"))]
    routes = {v: sorted(json.dumps(r) for r in json.loads(ip("-n", ns, v, "-j", "route", "show", "table", "all")) if r.get("type") not in ("multicast", "anycast") and not r["dst"].startswith("fe80::"))
              for v in ("-4", "-6")}
    off = subprocess.run(["ip", "netns", "exec", ns, "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return addrs, routes, ip("-n", ns, "neigh", "show", "nud", "permanent"), off


def same(ns, before):
    """Link-local addresses come back after a moment."""
    end = time.time() + 30 * TIME_FACTOR
    while picture(ns) != before and time.time() < end:
        time.sleep(0.1)
    eq(picture(ns), before)


def furnish(n):
    """More than one address, and routes of several kinds."""
    for argv in (["addr", "add", "10.77.0.3/24", "dev", "eth0"], ["addr", "add", "10.78.0.1/16", "brd", "+", "dev", "eth0", "label", "eth0:x"],
                 ["route", "add", "10.90.0.0/16", "via", "10.77.0.1", "metric", "7", "mtu", "1400"], ["route", "add", "unreachable", "10.91.0.0/16"],
                 ["route", "add", "10.92.0.0/24", "dev", "eth0", "table", "100"], ["route", "add", "fd90::/32", "via", "fd77::1"],
                 ["neigh", "add", "10.77.0.77", "lladdr", "02:00:00:00:00:77", "dev", "eth0"]):
        sh("ip", "-n", n.box, *argv)


def wait_linklocal(ns):
    """Until the kernel's own addresses are there for good."""
    end = time.time() + 30 * TIME_FACTOR
    while "tentative" in ip("-n", ns, "-6", "addr") or "fe80" not in ip("-n", ns, "-6", "addr", "show", "dev", "eth0"):
        assert time.time() < end, ip("-n", ns, "-6", "addr")
        time.sleep(0.05)


def reach(n):
    with n.listener() as server:
        box = n.python(f"print(socket.create_connection(('10.77.0.1', {server.getsockname()[1]})).recv(10))")
        conn, _ = server.accept()
        conn.send(b"hello")
        conn.close()
        eq(box.end(), "b'hello'\n")


def test_what_was_taken_is_given_back(n):
    furnish(n)
    before = picture(n.box)
    box = n.python("say(len(open('/proc/net/route').readlines()) > 4); hear()")
    eq(box.hear(), "True")
    assert picture(n.box) != before
    box.end()
    same(n.box, before)
    # And so it can be used again.
    reach(n)
    same(n.box, before)


def test_what_was_taken_is_given_back_by_delete_after_a_violent_end(n):
    before = picture(n.box)
    bundle = n.bundle(["sleep", "1000"])
    with open(os.devnull, "r+") as null:
        subprocess.run(n.command("run", "-d", "--bundle", bundle, "c1"), check=True, stdin=null, stdout=null, timeout=60 * TIME_FACTOR)
    state = json.loads(subprocess.run(n.command("state", "c1"), stdout=subprocess.PIPE, check=True).stdout)
    os.kill(state["pid"], signal.SIGKILL)
    subprocess.run(n.command("delete", "-f", "c1"), check=True, timeout=30 * TIME_FACTOR)
    same(n.box, before)
    # Between create and delete without a start nothing is touched.
    with open(os.devnull, "r+") as null:
        subprocess.run(n.command("create", "--bundle", bundle, "c2"), check=True, stdin=null, stdout=null, timeout=60 * TIME_FACTOR)
    eq(picture(n.box), before)
    subprocess.run(n.command("delete", "-f", "c2"), check=True, timeout=30 * TIME_FACTOR)
    eq(picture(n.box), before)


def test_a_namespace_that_has_gone_is_no_trouble(n):
    bundle = n.bundle(["sleep", "1000"])
    with open(os.devnull, "r+") as null:
        subprocess.run(n.command("run", "-d", "--bundle", bundle, "c1"), check=True, stdin=null, stdout=null, timeout=60 * TIME_FACTOR)
    sh("ip", "netns", "del", n.box)
    p = subprocess.run(n.command("delete", "-f", "c1"), stderr=subprocess.PIPE, text=True, check=True, timeout=30 * TIME_FACTOR)
    eq(p.stderr, "")
    sh("ip", "netns", "add", n.box)


def test_a_namespace_has_one_sandbox_at_a_time(n):
    first = n.python("say('up'); hear()")
    first.hear()
    for options in ((), ("--network=host",)):
        second = n.python("say('up')", options=options)
        second.p.wait()
        second.reader.join()
        assert second.p.returncode == 1 and "another container's sandbox has the interfaces" in "".join(second.err), second.err
    # It may do without.
    eq(n.python("say(socket.if_nameindex())", options=["--network=none"]).end(), "[(1, 'lo')]\n")
    first.end()
    reach(n)


def test_containers_of_a_pod_share_its_network_by_the_hosts_stack(n):
    """As Kubernetes and podman have them: each has the namespace by its path. They talk by its loopback, and to others."""
    n.options = ["--network=host"]
    server = n.python("s = socket.create_server(('127.0.0.1', 5100)); say('up'); c, _ = s.accept(); c.send(b'from a sidecar'); hear()")
    server.hear()
    eq(n.python("print(socket.create_connection(('127.0.0.1', 5100)).recv(100))").end(), "b'from a sidecar'\n")
    reach(n)
    server.end()


def test_the_pause_container_of_a_pod_leaves_the_interfaces_to_others(n):
    for key in ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"):
        n.annotations = {key: "sandbox"}
        pause = n.python("say(socket.if_nameindex()); hear()")
        eq(pause.hear(), "[(1, 'lo')]")
        n.annotations = {key: "container"}
        reach(n)
        pause.end()


# Several interfaces, and what routers say.

def advertisement(lifetime, prefix, flags):
    """A router advertisement with one prefix: RFC 4861 4.2 and 4.6.2."""
    option = bytes([3, 4, 64, flags]) + (86400).to_bytes(4, "big") + (14400).to_bytes(4, "big") + bytes(4) + socket.inet_pton(socket.AF_INET6, prefix)
    return bytes([134, 0, 0, 0, 64, 0]) + lifetime.to_bytes(2, "big") + bytes(8) + option


def test_addresses_and_routes_by_router_advertisement(n):
    box = n.python("""
import subprocess
def show(*a): return subprocess.run(("ip", "-6") + a, capture_output=True, text=True).stdout
say("up"); hear()
end = time.time() + 60
while "fd88::" not in show("addr") or "tentative" in show("addr") or "proto ra" not in show("route"):
    assert time.time() < end, show("addr") + show("route")
    time.sleep(0.05)
say([l.split()[1] for l in show("-o", "addr").splitlines() if "fd88::" in l] != [])
say([l.split()[2] for l in show("route").splitlines() if l.startswith("default") and "proto ra" in l])
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
while True:
    try:
        s.sendto(b"by the new address", ("fd88::1", 4000))
        break
    except OSError: time.sleep(0.05)
hear()
""")
    box.hear()
    sh("ip", "-n", n.peer, "addr", "add", "fd88::1/64", "dev", "eth0", "nodad")
    server = n.sock(socket.AF_INET6, socket.SOCK_DGRAM)
    server.bind(("fd88::1", 4000))
    with n.inside():
        scope = socket.if_nametoindex("eth0")
    wait_linklocal(n.peer)
    link_local = [a["local"] for i in json.loads(ip("-n", n.peer, "-6", "-j", "addr", "show", "dev", "eth0")) for a in i.get("addr_info", []) if a.get("scope") == "link"][0]
    s = n.sock(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    # A host asks for routers when its interface comes up: RFC 4861 6.3.7; that may be over when we begin to listen.
    s.bind((link_local, 0, 0, scope))
    s.sendto(advertisement(1800, "fd88::", 0xC0), ("ff02::1", 0, 0, scope))
    box.say()
    eq(box.hear(), "True")
    eq(box.hear(), repr([link_local]))
    data, addr = server.recvfrom(100)
    assert data == b"by the new address" and addr[0].startswith("fd88::"), (data, addr)
    box.say()
    box.end()


def second_network(n):
    sh("ip", "-n", n.peer, "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", n.box)
    for ns, a4, a6 in ((n.peer, "10.79.0.1", "fd79::1"), (n.box, "10.79.0.2", "fd79::2")):
        sh("ip", "-n", ns, "addr", "add", a4 + "/24", "dev", "eth1")
        sh("ip", "-n", ns, "addr", "add", a6 + "/64", "dev", "eth1", "nodad")
        sh("ip", "-n", ns, "link", "set", "eth1", "up")


def test_a_container_with_two_networks(n):
    second_network(n)
    sh("ip", "-n", n.box, "route", "add", "10.80.0.0/16", "via", "10.79.0.1")
    sh("ip", "-n", n.peer, "addr", "add", "10.80.1.1/32", "dev", "lo")
    before = picture(n.box)
    servers = [n.listener(f) for f in (socket.AF_INET, socket.AF_INET6)]
    ports = [s.getsockname()[1] for s in servers]
    box = n.python(f"""
say([i[1] for i in socket.if_nameindex()])
for i, (a, b) in enumerate((("10.77.0.1", "10.79.0.1"), ("fd77::1", "fd79::1"))):
    for to in (a, b):
        s = socket.create_connection((to, {ports}[i]))
        say(s.getsockname()[0]); s.close()
say(socket.create_connection(("10.80.1.1", {ports}[0])).getsockname()[0])
hear()
""")
    eq(box.hear(), "['lo', 'eth0', 'eth1']")
    eq([box.hear() for _ in range(4)], ["10.77.0.2", "10.79.0.2", "fd77::2", "fd79::2"])
    eq(box.hear(), "10.79.0.2")
    box.end()
    same(n.box, before)
    for s in servers:
        s.close()


# Capturing.

def frames(path):
    """Those of a pcap file, which must be whole."""
    with open(path, "rb") as f:
        data = f.read()
    eq(data[:4], struct.pack("=I", 0xA1B23C4D))
    at, found = 24, []
    while at < len(data):
        length, whole = struct.unpack_from("=II", data, at + 8)
        eq(length, whole)
        found.append(data[at + 16:at + 16 + length])
        at += 16 + length
    eq(at, len(data))
    return found


def test_frames_of_each_interface_can_be_captured(n):
    second_network(n)
    box = n.python("""
say('up'); hear()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b'by the first', ('10.77.0.1', 5000)); s.sendto(b'by the second', ('10.79.0.1', 5000))
p = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
b = bytes([8, 0]) + struct.pack('>HHH', 0, 7, 1) + b'inside'
sums = sum(struct.unpack('>7H', b)); sums = (sums & 0xffff) + (sums >> 16)
p.sendto(b[:2] + struct.pack('>H', 0xffff - sums) + b[4:], ('127.0.0.1', 0)); p.recv(100)
say('done'); hear()
""")
    box.hear()
    s = n.sock(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", 5000))

    def debug(*argv, check=True):
        return subprocess.run(n.command("debug", *argv, box.id), check=check, stderr=subprocess.PIPE, text=True, timeout=30 * TIME_FACTOR).stderr

    debug("--pcap", n.dir + "/first")
    for name in ("eth1", "lo"):
        debug("--pcap", n.dir + "/" + name, "--interface", name)
    assert "busy" in debug("--pcap", n.dir + "/twice", "--interface", "eth1", check=False)
    assert "No such device" in debug("--pcap", n.dir + "/none", "--interface", "eth7", check=False)
    box.say()
    eq(sorted(s.recv(100) for _ in range(2)), [b"by the first", b"by the second"])
    eq(box.hear(), "done")
    debug("--pcap-stop")
    box.end()
    for name, text in (("first", b"by the first"), ("eth1", b"by the second"), ("lo", b"inside")):
        got = frames(n.dir + "/" + name)
        eq([len([f for f in got if t in f]) > 0 for t in (b"by the first", b"by the second", b"inside")], [t == text for t in (b"by the first", b"by the second", b"inside")])
        assert all(f[12:14] in (b"\x08\x00", b"\x08\x06", b"\x86\xdd") for f in got), [f[:14] for f in got]


# Docker's DNS server, which is in the container's namespace.

@contextlib.contextmanager
def dns_server(n):
    """Answers what it is asked with the question, a number of times that the question's first byte says; by UDP at most once."""
    with n.inside(n.box):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.11", 53))
        tcp = socket.create_server(("127.0.0.11", 53))

    def serve_udp():
        with contextlib.suppress(OSError):
            while True:
                data, addr = udp.recvfrom(4096)
                if data == b"the end":
                    break
                udp.sendto(data, addr)

    def serve(c):
        f = c.makefile("rb")
        with contextlib.suppress(OSError):
            while head := f.read(2):
                q = f.read(int.from_bytes(head, "big"))
                c.sendall((len(q) * q[0]).to_bytes(2, "big") + q * q[0])
        f.close()
        c.close()

    def serve_tcp():
        with contextlib.suppress(OSError):
            while True:
                c, _ = tcp.accept()
                c.settimeout(60 * TIME_FACTOR)
                threading.Thread(target=serve, args=(c,)).start()

    udp.settimeout(None)
    tcp.settimeout(None)
    threads = [threading.Thread(target=f) for f in (serve_udp, serve_tcp)]
    for t in threads:
        t.start()
    try:
        yield
    finally:
        tcp.shutdown(socket.SHUT_RDWR)
        with n.inside(n.box), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"the end", ("127.0.0.11", 53))
        udp.close()
        tcp.close()
        for t in threads:
            t.join()


def test_dns_of_docker_by_udp_and_tcp(n):
    with dns_server(n):
        out = n.python("""
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(30)
u.sendto(b"a question by UDP", ("127.0.0.11", 53)); say(u.recv(100))

def ask(f, q):
    f.write(len(q).to_bytes(2, "big") + q); f.flush()
    return f.read(int.from_bytes(f.read(2), "big"))

def connection(i):
    s = socket.create_connection(("127.0.0.11", 53)); f = s.makefile("rwb")
    ok = all(ask(f, bytes([k]) + b"%d" % i * 1000) == (bytes([k]) + b"%d" % i * 1000) * k for k in (1, 2, 20, 1))
    if i % 2:
        s.shutdown(socket.SHUT_WR); ok = ok and f.read() == b""
    f.close(); s.close()
    return ok

say(connection(0), connection(1))
import concurrent.futures
with concurrent.futures.ThreadPoolExecutor(12) as pool: say(all(pool.map(connection, range(40))))
# Who wants the port may have it.
socket.create_server(("", 53)); say(connection(1))
# Others of the loopback are nobody's.
say(fails(socket.create_connection, ("127.0.0.12", 53)), fails(socket.create_connection, ("127.0.0.11", 54)))
""").end()
        eq(out.splitlines(), ["b'a question by UDP'", "True True", "True", "True", "ECONNREFUSED ECONNREFUSED"])
    out = n.python("say(fails(socket.create_connection, ('127.0.0.11', 53)))").end()
    eq(out, "ECONNREFUSED\n")


def test_interfaces_are_in_sysfs(n):
    second_network(n)
    out = n.python("""
base = "/sys/class/net/"
def read(*path): return open(base + "/".join(path)).read().strip()
say(sorted(os.listdir(base)), sorted(os.listdir("/sys/devices/virtual/net")))
say(os.readlink(base + "eth1"), os.path.realpath(base + "lo"))
say([read("eth0", a) for a in ("mtu", "operstate", "flags", "type", "carrier")], [read("lo", a) for a in ("mtu", "operstate", "flags", "type", "address")])
say(all(int(read(i, "ifindex")) == socket.if_nametoindex(i) for i in os.listdir(base)))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(bytes(1000), ("10.79.0.1", 9))
before = time.time()
while int(read("eth1", "statistics", "tx_bytes")) < 1000 and time.time() < before + 30: time.sleep(0.05)
say(int(read("eth1", "statistics", "tx_bytes")) >= 1000)
say(fails(os.stat, base + "eth7"), fails(open, base + "eth0/mtu", "w"))
import subprocess
subprocess.run(["ip", "link", "set", "eth1", "down"], check=True); subprocess.run(["ip", "link", "set", "eth1", "name", "other"], check=True)
say(sorted(os.listdir(base)), read("other", "operstate"), fails(os.stat, base + "eth1/mtu"))
say(read("eth0", "address"))
""").end().splitlines()
    eq(out[:-1], ["['eth0', 'eth1', 'lo'] ['eth0', 'eth1', 'lo']", "../../devices/virtual/net/eth1 /sys/devices/virtual/net/lo",
                  "['1500', 'up', '0x1003', '1', '1'] ['65536', 'unknown', '0x9', '772', '00:00:00:00:00:00']", "True", "True", "ENOENT EROFS",
                  "['eth0', 'lo', 'other'] down ENOENT"])
    eq(out[-1], json.loads(ip("-n", n.box, "-j", "link", "show", "dev", "eth0"))[0]["address"])
