"""--network=host: sockets of the host's kernel, in the container's network namespace. Tests of the netstack that hold for these, too, are run again
by `run`; here is what is different."""
import os
import socket
import subprocess

from harness import Sandbox, eq



def on_the_host(f):
    f.options = ("--network=host",)
    return f


def guest_program(n, name):
    """A program of tests/guest, in a sandbox on the box's namespace."""
    build = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(n.runtime[0]))))
    Sandbox(n, [os.path.join(build, "tests/guest/guest-" + name)]).end()


@on_the_host
def test_hostnet_guest_programs(n):
    for name in ("inet_loopback", "netlink", "epoll_edge"):
        guest_program(n, name)


@on_the_host
def test_hostnet_sockets_are_the_hosts(n):
    """One may see them from outside, and the tables inside have what is outside."""
    outside = n.sock()
    with n.inside(n.box):
        other = socket.create_server(("127.0.0.1", 5077))
    box = n.python("""
s = socket.create_server(("0.0.0.0", 5078)); say("up")
say(":13D5 " in open("/proc/net/tcp").read(), socket.create_connection(("127.0.0.1", 5077)).getpeername())
hear()
""")
    box.hear()
    eq(box.hear(), "True ('127.0.0.1', 5077)")
    out = subprocess.run(["ip", "netns", "exec", n.box, "ss", "-Hltn"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert ":5078" in out, out
    # The interface keeps its addresses.
    out = subprocess.run(["ip", "-n", n.box, "-o", "addr", "show", "dev", "eth0"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert n.ip in out and n.ip6 in out, out
    box.end()
    other.close()
    outside.close()


@on_the_host
def test_hostnet_privileged_ports_go_by_the_containers_capability(n):
    script = "say(fails(socket.create_server, ('', 81))); say(fails(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))"
    eq(n.python(script).end(), "success\nsuccess\n")
    eq(n.python(script, caps=["CAP_CHOWN"]).end(), "EACCES\nEPERM\n")


@on_the_host
def test_hostnet_settings_are_the_namespaces(n):
    """As Docker gives them, so that everybody may use any port, and ping."""
    n.sysctl = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    out = n.python("say(fails(socket.create_server, ('', 82)), fails(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP))\n"
                   "say(open('/proc/sys/net/ipv4/ip_unprivileged_port_start').read().strip())", caps=["CAP_CHOWN"]).end()
    eq(out, "success success\n0\n")
    out = subprocess.run(["ip", "netns", "exec", n.box, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"], stdout=subprocess.PIPE, text=True, check=True).stdout
    eq(out, "0\n")
    # Not in the namespace that we are in ourselves.
    n.runtime = ["ip", "netns", "exec", n.box] + n.runtime
    box = n.python("say('up')", netns=None)
    box.p.wait()
    box.reader.join()
    assert "is not allowed in the host's network namespace" in "".join(box.err), box.err


@on_the_host
def test_hostnet_what_is_not_the_containers_is_refused(n):
    out = n.python("""
import fcntl
say(fails(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0x0300))
say(fails(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
say(fails(fcntl.ioctl, s, 0x8914, struct.pack("16sH22x", b"eth0", 0)))
say(fails(s.setsockopt, socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", 1, 0)))
say(fails(s.setsockopt, socket.IPPROTO_IP, 64, b"x" * 100))
import subprocess
say(subprocess.run(["ip", "link", "set", "eth0", "down"], capture_output=True, text=True).stderr.strip())
say(subprocess.run(["ip", "addr", "add", "10.9.9.9/24", "dev", "eth0"], capture_output=True, text=True).stderr.strip())
""").end().split("\n")
    eq(out[:5], ["EPERM", "EPERM", "EPERM", "ENOPROTOOPT", "ENOPROTOOPT"])
    assert all("not permitted" in line for line in out[5:7]), out
    out = subprocess.run(["ip", "-n", n.box, "-o", "addr", "show"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "10.9.9.9" not in out, out


@on_the_host
def test_hostnet_nothing_is_left_of_it(n):
    def brokers():
        out = subprocess.run(["ip", "netns", "pids", n.box], stdout=subprocess.PIPE, text=True, check=True).stdout
        return out.split()
    box = n.python("say('up'); hear()")
    box.hear()
    eq(len(brokers()), 1)
    box.p.kill()  # the command, with which the sandbox ends
    box.p.wait()
    for _ in range(200):
        if not brokers():
            break
        subprocess.run(["sleep", "0.05"], check=True)
    eq(brokers(), [])


@on_the_host
def test_hostnet_new_namespaces_of_a_spec_have_a_stack_too(n):
    out = n.python("print(socket.if_nameindex()); print(fails(socket.create_connection, ('10.77.0.1', 1)), fails(socket.create_connection, ('127.0.0.1', 1)))", netns=False).end()
    eq(out, "[(1, 'lo')]\nENETUNREACH ECONNREFUSED\n")


def test_hostnet_the_hosts_own_namespace_is_not_taken_over(n):
    """As Docker names it for --network=host: whoever runs the runtime would be left without a network."""
    n.runtime = ["ip", "netns", "exec", n.box] + n.runtime
    box = n.python("say('up')", options=())
    box.p.wait()
    box.reader.join()
    assert box.p.returncode == 1 and "takes the runtime's flag --network=host" in "".join(box.err), box.err
    eq(n.python("print(socket.if_nameindex()[1][1])", options=["--network=host"]).end(), "eth0\n")
    eq(n.python("print(socket.if_nameindex())", options=["--network=none"]).end(), "[(1, 'lo')]\n")
