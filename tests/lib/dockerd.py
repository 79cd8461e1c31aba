"""A dockerd and a containerd of a test's own: in network and mount namespaces of their own, with their data, sockets and cgroups apart from the host's."""
import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

# A host without cgroups gets version 1, as far as its kernel has controllers, in the daemon's mount namespace only.
SETUP = r"""
set -eu
mount --make-rprivate /
if mountpoint -q /sys/fs/cgroup; then
    mkdir -p "$1/cgroup" && mount --rbind /sys/fs/cgroup "$1/cgroup"
    mount -t sysfs sysfs /sys && mount --rbind "$1/cgroup" /sys/fs/cgroup
else
    mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /sys/fs/cgroup
    while read -r name hierarchy _ enabled; do
        case $name in '#'*) continue ;; esac
        [ "$enabled" = 1 ] || continue
        mkdir -p /sys/fs/cgroup/$name && mount -t cgroup -o $name cgroup /sys/fs/cgroup/$name || rmdir /sys/fs/cgroup/$name
    done < /proc/cgroups
fi
ip link set lo up
shift
exec "$@"
"""


def die_with_parent():
    """In a child: so that nothing goes on when the tests are killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def busybox_tree(where):
    """An image's root: busybox under the names of its applets, and the files that programs look for."""
    for d in ("bin", "sbin", "etc", "root", "tmp", "var", "usr/bin", "proc", "dev", "sys"):
        os.makedirs(os.path.join(where, d))
    os.chmod(os.path.join(where, "tmp"), 0o1777)
    os.chmod(where, 0o755)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", os.path.join(where, "bin/busybox"))
    for a in subprocess.run([os.path.join(where, "bin/busybox"), "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split():
        if a != "busybox":
            os.symlink("busybox", os.path.join(where, "bin", a))
    with open(os.path.join(where, "etc/passwd"), "w") as f:
        f.write("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")
    with open(os.path.join(where, "etc/group"), "w") as f:
        f.write("root:x:0:\nuser:x:1000:\nextra:x:1001:user\n")


class Daemon:
    def __init__(self, runtime, *options, default=True, containerd_only=False):
        """`runtime`: argv of the runtime, known to Docker as "test", and used if nothing else is said."""
        self.dir = tempfile.mkdtemp(prefix="runsc-c-docker-", dir="/var/tmp")
        os.chmod(self.dir, 0o711)
        self.cgroup = f"/runsc-c-docker-{os.getpid()}-{os.path.basename(self.dir)[-4:]}"
        self.socket = os.path.join(self.dir, "docker.sock")
        self.options = list(options)
        self.containerd_only = containerd_only
        self.holder = self.containerd = self.dockerd = None
        with open(os.path.join(self.dir, "daemon.json"), "w") as f:
            runtimes = {"test": {"path": runtime[0], "runtimeArgs": runtime[1:]},
                        "test-host": {"path": runtime[0], "runtimeArgs": [*runtime[1:], "--network=host"]}}
            json.dump({"runtimes": runtimes, **({"default-runtime": "test"} if default else {})}, f)
        with open(os.path.join(self.dir, "containerd.toml"), "w") as f:
            f.write(f'version = 2\nroot = "{self.dir}/containerd/root"\nstate = "{self.dir}/containerd/state"\n'
                    f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.dir}/containerd.sock"\n')

    def __enter__(self):
        try:
            # The namespaces live as long as this process, over restarts of the daemons.
            self.holder = subprocess.Popen(["unshare", "-m", "-n", "sh", "-c", SETUP, "sh", self.dir, "sh", "-c", "echo ready; exec sleep infinity"],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, preexec_fn=die_with_parent)
            assert self.holder.stdout.readline() == b"ready\n", "no namespaces for dockerd"
            self.containerd = self.spawn("containerd", "--config", f"{self.dir}/containerd.toml")
            self.wait("containerd", lambda: os.path.exists(f"{self.dir}/containerd.sock"))
            if not self.containerd_only:
                self.start()
            return self
        except BaseException:
            self.__exit__()
            raise

    def enter(self, *argv):
        return ["nsenter", "-t", str(self.holder.pid), "-m", "-n", *argv]

    def spawn(self, *argv):
        with open(os.path.join(self.dir, argv[0] + ".log"), "ab") as log:
            return subprocess.Popen(self.enter(*argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with_parent)

    def wait(self, what, ready, seconds=90):
        end = time.time() + seconds
        while not ready():
            assert time.time() < end, f"no {what}: {self.log()}"
            time.sleep(0.05)

    def log(self):
        text = ""
        for name in ("dockerd", "containerd"):
            path = os.path.join(self.dir, name + ".log")
            if os.path.exists(path):
                with open(path, errors="replace") as f:
                    text += f"{name}: {f.read()[-1500:]}\n"
        return text

    def start(self):
        self.dockerd = self.spawn("dockerd", "--config-file", f"{self.dir}/daemon.json", "--data-root", f"{self.dir}/data", "--exec-root", f"{self.dir}/exec",
                                  "-H", f"unix://{self.socket}", "--pidfile", f"{self.dir}/docker.pid", "--containerd", f"{self.dir}/containerd.sock",
                                  "--cgroup-parent", self.cgroup, *self.options)
        self.wait("dockerd", lambda: self.docker("version", check=False).returncode == 0)

    def stop(self, sig=signal.SIGTERM):
        self.dockerd.send_signal(sig)
        self.dockerd.wait(60)

    def argv(self, *argv):
        return ["docker", "-H", f"unix://{self.socket}", *argv]

    def docker(self, *argv, check=True, timeout=120, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL if "input" not in kw else None)
        if kw["stdin"] is None:
            del kw["stdin"]
        p = subprocess.run(self.argv(*argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, **kw)
        assert not check or p.returncode == 0, f"docker {' '.join(argv)}: status {p.returncode}: {p.stderr}"
        return p

    def out(self, *argv, **kw):
        return self.docker(*argv, **kw).stdout

    def import_tree(self, path, name, *changes):
        """Makes an image of a directory; `changes` are lines of a Dockerfile."""
        tar = subprocess.Popen(["tar", "-C", path, "-c", "--one-file-system", "."], stdout=subprocess.PIPE)
        self.docker("import", *[w for c in changes for w in ("--change", c)], "-", name, stdin=tar.stdout, timeout=600)
        assert tar.wait() == 0

    def processes(self):
        """Host processes that belong to this daemon, by the directory in their command lines."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if self.dir.encode() in f.read() and int(pid) != os.getpid():
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def network(self):
        """Ends of containers' networks in the daemon's namespace: devices, and packet sockets."""
        with open(f"/proc/{self.holder.pid}/net/dev") as f:
            veths = [line.split(":")[0].strip() for line in f if line.strip().startswith("veth")]
        with open(f"/proc/{self.holder.pid}/net/packet") as f:
            return veths + ["packet socket"] * (len(f.readlines()) - 1)

    def cgroups(self):
        """Directories of its containers' cgroups."""
        found = []
        with open("/proc/self/mounts") as f:
            roots = {line.split()[1] for line in f if line.split()[2] in ("cgroup", "cgroup2")}
        for root in roots:
            for where, dirs, _ in os.walk(root + self.cgroup):
                found += [os.path.join(where, d) for d in dirs]
        return found, roots

    def __exit__(self, *exc):
        if self.dockerd and self.dockerd.poll() is None:
            ids = self.docker("ps", "-aq", check=False).stdout.split()
            if ids:
                self.docker("rm", "-f", *ids, check=False)
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.dockerd.kill()
        for p in (self.containerd, self.holder):
            if p and p.poll() is None:
                p.terminate()
                try:
                    p.wait(20)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        left, roots = self.cgroups()
        for d in sorted(left, reverse=True) + [r + self.cgroup for r in roots]:
            try:
                os.rmdir(d)
            except OSError:
                pass
        for _ in range(20):
            shutil.rmtree(self.dir, ignore_errors=True)
            if not os.path.exists(self.dir):
                break
            time.sleep(0.1)
