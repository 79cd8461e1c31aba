"""What the tests of networking share: a network namespace for the container, one for the other end, and scripts in both."""
import ctypes
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading

TIME_FACTOR = float(os.environ.get("TEST_TIME_FACTOR", "1"))
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
# At the start of every script that runs in the sandbox.
PRELUDE = """
import os, select, socket, struct, sys, time, hashlib, errno, threading
def say(*a, **kw): print(*a, flush=True, **kw)
def hear(): return sys.stdin.readline().rstrip("\\n")
def recv_all(s):
    out = bytearray()
    while True:
        b = s.recv(1 << 16)
        if not b: return bytes(out)
        out += b
def fails(f, *a):
    try: f(*a)
    except OSError as e: return errno.errorcode[e.errno]
    return "success"
"""
exec(PRELUDE)  # the tests themselves use it, too


def sh(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=30 * TIME_FACTOR)


def set_netns(fd):
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Net:
    """A container's namespace `box` and the other end `peer`, each with an interface eth0.

    What is between them: a pair of interfaces; or, with `wire`, a process that does to frames what it says (wire.c), with "tap"
    in it between two TAP devices, else between two pairs.
    """

    serial = 0
    wire = None  # the program

    def __init__(self, runtime, wire=None, options=()):
        Net.serial += 1
        tag = f"{os.getpid()}-{Net.serial}"
        self.box, self.peer = f"runsc-c-box-{tag}", f"runsc-c-peer-{tag}"
        self.ip, self.ip6 = "10.77.0.2", "fd77::2"
        self.peer_ip, self.peer_ip6 = "10.77.0.1", "fd77::1"
        self.runtime = shlex.split(runtime)
        self.options = list(options)  # global flags of every sandbox that has none of its own
        self.annotations, self.sysctl = {}, {}
        self.dir = tempfile.mkdtemp(prefix="runsc-c-net-")
        self.sandboxes, self.children = [], []
        self.here = os.open("/proc/self/ns/net", os.O_RDONLY)
        for ns in (self.box, self.peer):
            sh("ip", "netns", "add", ns)
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        if wire:
            self.make_wire(wire, tag)
        else:
            sh("ip", "-n", self.peer, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.box)
        self.address(self.peer, self.peer_ip, self.peer_ip6)
        self.restore()

    @staticmethod
    def address(ns, a4, a6):
        sh("ip", "-n", ns, "addr", "replace", a4 + "/24", "brd", "+", "dev", "eth0")
        sh("ip", "-n", ns, "addr", "replace", a6 + "/64", "dev", "eth0", "nodad")
        sh("ip", "-n", ns, "link", "set", "eth0", "up")

    def restore(self):
        """The container's namespace as a sandbox wants to find it, which takes all that away."""
        sh("ip", "netns", "exec", self.box, "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
        self.address(self.box, self.ip, self.ip6)
        sh("ip", "-n", self.box, "route", "replace", "default", "via", self.peer_ip)
        sh("ip", "-n", self.box, "route", "replace", "default", "via", self.peer_ip6)

    def make_wire(self, wire, tag):
        words = [w for w in wire.split() if w != "tap"]
        if "tap" in wire:
            ends = [f"tap:{ns}:eth0" for ns in (self.box, self.peer)]
            where = self.peer
        else:
            where = self.middle = f"runsc-c-mid-{tag}"
            sh("ip", "netns", "add", self.middle)
            for ns, name in ((self.box, "left"), (self.peer, "right")):
                sh("ip", "-n", self.middle, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", ns)
                sh("ip", "-n", self.middle, "link", "set", name, "up")
            ends = ["packet:left", "packet:right"]
        self.children.append(subprocess.Popen(["ip", "netns", "exec", where, Net.wire, *ends, *words], stdout=subprocess.PIPE, text=True))
        assert self.children[-1].stdout.readline() == "ready\n"

    @contextlib.contextmanager
    def inside(self, ns=None):
        """Sockets made within belong to the peer's namespace (or `ns`)."""
        fd = os.open("/run/netns/" + (ns or self.peer), os.O_RDONLY)
        try:
            set_netns(fd)
            yield
        finally:
            set_netns(self.here)
            os.close(fd)

    def sock(self, *args):
        with self.inside():
            s = socket.socket(*args)
        s.settimeout(20 * TIME_FACTOR)
        return s

    def listener(self, family=socket.AF_INET, port=0):
        s = self.sock(family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", port))
        s.listen(128)
        return s

    def connect(self, port, family=socket.AF_INET):
        s = self.sock(family, socket.SOCK_STREAM)
        s.connect((self.ip if family == socket.AF_INET else self.ip6, port))
        return s

    # netns: True the box's, False a new one, None the one that the runtime is in.
    def config(self, argv, netns=True, cap_net=True, caps=None):
        caps = caps if caps is not None else ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_NET_BIND_SERVICE"] + (["CAP_NET_RAW", "CAP_NET_ADMIN"] if cap_net else [])
        network = [] if netns is None else [{"type": "network", "path": "/run/netns/" + self.box}] if netns else [{"type": "network"}]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0}, "args": argv, "cwd": "/", "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "PYTHONDONTWRITEBYTECODE=1"],
                "capabilities": {k: caps for k in ("bounding", "effective", "permitted", "inheritable")},
                "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 65536, "soft": 65536}],
            },
            "root": {"path": "/", "readonly": True}, "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            ],
            "annotations": self.annotations,
            "linux": {"namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount")] + network, "sysctl": self.sysctl},
        }

    def command(self, *argv):
        return self.runtime + ["--root", os.path.join(self.dir, "state")] + list(argv)

    def bundle(self, argv, **kw):
        d = tempfile.mkdtemp(dir=self.dir)
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(self.config(argv, **kw), f)
        return d

    def python(self, script, **kw):
        return Sandbox(self, [sys.executable, "-u", "-c", PRELUDE + script], **kw)

    def run(self, *argv, **kw):
        """One program to its end: what it printed."""
        return Sandbox(self, list(argv), **kw).end()

    def close(self):
        for s in self.sandboxes:
            s.kill()
        for c in self.children:
            c.kill()
            c.wait()
        for ns in (self.box, self.peer, getattr(self, "middle", None)):
            if ns:
                subprocess.run(["ip", "netns", "del", ns], stderr=subprocess.DEVNULL, check=False)
        os.close(self.here)
        shutil.rmtree(self.dir, ignore_errors=True)


class Sandbox:
    def __init__(self, net, argv, options=None, limit=60, **kw):
        net.sandboxes.append(self)
        self.id = f"net{len(net.sandboxes)}"
        self.net = net
        if net.runtime == ["native"]:
            command = ["ip", "netns", "exec", net.box] + argv
        else:
            command = net.command(*(net.options if options is None else options), "run", "--bundle", net.bundle(argv, **kw), self.id)
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.err = []
        self.reader = threading.Thread(target=lambda: self.err.extend(self.p.stderr))
        self.reader.start()
        self.timer = threading.Timer(limit * TIME_FACTOR, self.p.kill)
        self.timer.start()

    def hear(self):
        line = self.p.stdout.readline()
        if not line:
            self.p.wait()
            self.reader.join()
            raise AssertionError(f"the sandbox ended with {self.p.returncode}: " + "".join(self.err)[-2000:])
        return line.rstrip("\n")

    def say(self, text=""):
        self.p.stdin.write(text + "\n")
        self.p.stdin.flush()

    def end(self):
        """Waits for its end, which must be a good one; what it still had to say."""
        self.p.stdin.close()
        out = self.p.stdout.read()
        self.p.wait()
        self.reader.join()
        self.timer.cancel()
        assert self.p.returncode == 0, f"status {self.p.returncode}: {''.join(self.err)[-2000:]}\n{out[-1000:]}"
        return out

    def kill(self):
        self.timer.cancel()
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        self.reader.join()
        for f in (self.p.stdin, self.p.stdout, self.p.stderr):
            with contextlib.suppress(OSError):
                f.close()


def eq(got, want):
    assert got == want, f"got {got!r}, want {want!r}"
