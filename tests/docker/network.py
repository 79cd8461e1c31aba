"""Networks: none, the default bridge with published ports, and networks of one's own."""
import subprocess
import sys

from life import NONE, eq, inspect, wait_for

SERVER = ("sh", "-c", "mkdir /www; echo $0 > /www/index.html; exec busybox httpd -f -p 80 -h /www")


def server(d, name, *options):
    d.docker("run", "-d", "--name", name, *options, "busybox", *SERVER, name)


def get(d, url, *options):
    """By a container; "" when there is no answer."""
    return d.docker("run", "--rm", *options, "busybox", "sh", "-c", f"timeout 10 wget -qO- {url}; true", check=False).stdout


def get_from_host(d, url):
    p = subprocess.run(d.enter("timeout", "10", "busybox", "wget", "-qO-", url), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return p.stdout


def test_none(d):
    eq(d.out("run", "--rm", *NONE, "busybox", "sh", "-c", "ls /sys/class/net; nc -l -p 70 -e true & sleep 0.3; nc -w 5 127.0.0.1 70 && echo reached"), "lo\nreached\n")


def test_bridge(d):
    server(d, "srv")
    address = inspect(d, "srv", ".NetworkSettings.IPAddress")
    gateway = inspect(d, "srv", ".NetworkSettings.Gateway")
    out = d.out("run", "--rm", "busybox", "sh", "-c", f"ping -c 2 -w 20 {gateway} >/dev/null && echo reached; ip route")
    assert "reached" in out and f"default via {gateway} dev eth0" in out, out
    wait_for(lambda: get(d, f"http://{address}/") == "srv\n")
    # And from the host's side of the bridge.
    eq(get_from_host(d, f"http://{address}/"), "srv\n")


def test_no_ipv6_where_there_is_none(d):
    """Docker switches it off, by a setting of the namespace, unless the network has addresses for it."""
    for options in (NONE, ()):
        for runtime in ("runc", "test"):
            out = d.out("run", "--rm", "--runtime", runtime, *options, "busybox", "ip", "-6", "addr")
            eq((options, runtime, "inet6" in out), (options, runtime, False))


def test_published_ports(d):
    server(d, "srv", "-p", "8080:80")
    wait_for(lambda: get_from_host(d, "http://127.0.0.1:8080/") == "srv\n")
    eq(d.out("port", "srv").split()[:3], ["80/tcp", "->", "0.0.0.0:8080"])


def test_host(d):
    """Docker's host network is for those that may have it by their runtime's flag, and refused to others, whose taking it over would leave the host without."""
    host = ("--runtime", "test-host", "--network", "host")
    server(d, "srv", *host)
    try:
        wait_for(lambda: get_from_host(d, "http://127.0.0.1/") == "srv\n")
        eq(get(d, "http://127.0.0.1/", *host), "srv\n")
        p = d.docker("run", "--rm", "--network", "host", "busybox", "true", check=False)
        assert p.returncode and "--network=host" in p.stderr, p
        # Interfaces of the host, and of a container's own network.
        assert "docker0" in d.out("run", "--rm", *host, "busybox", "ip", "addr")
        out = d.out("run", "--rm", "--runtime", "test-host", "busybox", "ip", "addr")
        assert "eth0" in out and "docker0" not in out, out
    finally:
        d.docker("rm", "-f", "srv", check=False)


def test_the_hosts_stack_on_the_bridge(d):
    server(d, "srv", "--runtime", "test-host", "-p", "8081:80")
    address = inspect(d, "srv", ".NetworkSettings.IPAddress")
    wait_for(lambda: get(d, f"http://{address}/") == "srv\n")
    wait_for(lambda: get_from_host(d, "http://127.0.0.1:8081/") == "srv\n")


def test_a_network_of_ones_own(d):
    d.docker("network", "create", "--subnet", "10.77.0.0/24", "own")
    try:
        server(d, "srv", "--network", "own", "--ip", "10.77.0.9")
        wait_for(lambda: get(d, "http://10.77.0.9/", "--network", "own") == "srv\n")
        # The default bridge is another network.
        eq(get(d, "http://10.77.0.9/"), "")
    finally:
        d.docker("rm", "-f", "srv", check=False)
        d.docker("network", "rm", "own")


def test_names_on_a_network_of_ones_own(d):
    d.docker("network", "create", "own")
    try:
        server(d, "srv", "--network", "own", "--network-alias", "other")
        for name in ("srv", "other"):
            out = d.out("run", "--rm", "--network", "own", "busybox", "nslookup", name, check=False)
            assert inspect(d, "srv", ".NetworkSettings.Networks.own.IPAddress") in out, out
    finally:
        d.docker("rm", "-f", "srv", check=False)
        d.docker("network", "rm", "own")


def test_names_by_tcp(d):
    d.docker("network", "create", "own")
    try:
        server(d, "srv", "--network", "own")
        address = inspect(d, "srv", ".NetworkSettings.Networks.own.IPAddress")
        # The address of "srv", asked for as RFC 1035 4.2.2 has it.
        ask = r"(printf '\000\025\022\064\001\000\000\001\000\000\000\000\000\000\003srv\000\000\001\000\001'; sleep 2) | nc -w 10 127.0.0.11 53 | od -An -v -tx1"
        out = d.out("run", "--rm", "--network", "own", "busybox", "sh", "-c", ask).split()
        assert " ".join(f"{int(b):02x}" for b in address.split(".")) in " ".join(out), out
    finally:
        d.docker("rm", "-f", "srv", check=False)
        d.docker("network", "rm", "own")


# Answers every question with one address.
DNS = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 53))
print("up", flush=True)
while True:
    q, peer = s.recvfrom(512)
    s.sendto(q[:2] + b"\\x81\\x80" + q[4:6] + b"\\0\\1\\0\\0\\0\\0" + q[12:q.index(0, 12) + 5] + b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\5\\0\\4\\x0a\\x09\\x08\\x07", peer)
"""


def test_names_from_outside_by_dockers_server(d):
    """Docker's server asks others from the container's namespace, whose addresses are the sandbox's: it must get its answers, and nobody else any."""
    d.docker("network", "create", "own")
    outside = None
    try:
        gateway = d.out("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "own").strip()
        outside = subprocess.Popen(d.enter(sys.executable, "-c", DNS, gateway), stdout=subprocess.PIPE, text=True)
        eq(outside.stdout.readline(), "up\n")
        d.docker("run", "-d", "--name", "c1", "--network", "own", "--dns", gateway, "busybox", "sleep", "1000")
        wait_for(lambda: "10.9.8.7" in d.out("exec", "c1", "nslookup", "-type=a", "one.test", check=False))
        # The host's kernel has an address in that namespace, and answers nobody.
        c1 = inspect(d, "c1", ".NetworkSettings.Networks.own.IPAddress")
        p = subprocess.run(d.enter("timeout", "20", "busybox", "wget", "-qO-", f"http://{c1}/"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert "refused" in p.stderr, p
        namespace = ["nsenter", "-t", inspect(d, "c1", ".State.Pid"), "-n"]
        rules = subprocess.run([*namespace, "ip", "rule"], stdout=subprocess.PIPE, text=True, check=True).stdout
        assert "iif eth0 blackhole" in rules, rules
        # A new sandbox finds the same.
        d.docker("restart", "-t", "0", "c1")
        wait_for(lambda: "10.9.8.7" in d.out("exec", "c1", "nslookup", "-type=a", "one.test", check=False))
    finally:
        if outside:
            outside.kill()
            outside.wait()
            outside.stdout.close()
        d.docker("rm", "-f", "c1", check=False)
        d.docker("network", "rm", "own")


def test_hosts_and_resolv_conf(d):
    out = d.out("run", "--rm", "--add-host", "far:10.1.2.3", "--dns", "9.9.9.9", "--dns-search", "example.org", "busybox", "cat", "/etc/hosts", "/etc/resolv.conf")
    assert "10.1.2.3\tfar" in out and "nameserver 9.9.9.9" in out and "search example.org" in out, out


LONG = [test_a_network_of_ones_own]
