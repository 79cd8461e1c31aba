"""Networks as far as the runtime has a part in them."""
from life import NONE, eq


def test_none(d):
    eq(d.out("run", "--rm", *NONE, "busybox", "sh", "-c", "ls /sys/class/net; nc -l -p 70 -e true & sleep 0.3; nc -w 5 127.0.0.1 70 && echo reached"), "lo\nreached\n")


def test_hosts_and_dns_files(d):
    p = d.docker("run", "--rm", "--add-host", "far:10.1.2.3", "--dns", "9.9.9.9", "--dns-search", "example.org", *NONE, "busybox", "cat", "/etc/hosts", "/etc/resolv.conf", check=False)
    if p.returncode == 0:
        assert "10.1.2.3\tfar" in p.stdout, p.stdout
