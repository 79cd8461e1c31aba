"""Networks: none, the default bridge with published ports, and networks of one's own."""
import subprocess

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


def test_hosts_and_resolv_conf(d):
    out = d.out("run", "--rm", "--add-host", "far:10.1.2.3", "--dns", "9.9.9.9", "--dns-search", "example.org", "busybox", "cat", "/etc/hosts", "/etc/resolv.conf")
    assert "10.1.2.3\tfar" in out and "nameserver 9.9.9.9" in out and "search example.org" in out, out


LONG = [test_a_network_of_ones_own]
