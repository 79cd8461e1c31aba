"""Throw-away containers for tests: an OCI bundle whose root is an overlay of a Debian root, run under any OCI runtime.

Everything is mounted below one tmpfs in a mount namespace of the test's own (call unshare_mounts() first), so that nothing is left when the test is
killed.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

DOCKER_CAPS = ["CAP_" + c for c in (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP "
    "SETUID SYS_CHROOT").split()]


def unshare_mounts():
    """Runs this program again in a mount namespace of its own, once."""
    if os.environ.get("TEST_UNSHARED") != "1":
        os.environ["TEST_UNSHARED"] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, os.path.abspath(sys.argv[0])] + sys.argv[1:])


class Base:
    """A tmpfs that all containers of a test live on."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="runsc-c-test-")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.dir], check=True)
        return self.dir

    def __exit__(self, *exc):
        subprocess.run(["umount", "-l", self.dir])
        os.rmdir(self.dir)


def spec(args, binds=(), env=(), tmp_size=None):
    """An OCI spec with Docker's default capabilities and mounts, no network, /tmp on tmpfs. `binds`: (source, destination), read-only."""
    tmp = ["mode=1777"] + ([f"size={tmp_size}"] if tmp_size else [])
    mounts = [
        ("/proc", "proc", "proc", []),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
        ("/tmp", "tmpfs", "tmpfs", tmp),
    ] + [(dst, "bind", os.path.abspath(src), ["rbind", "ro"]) for src, dst in binds]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", *env],
            "cwd": "/",
            "capabilities": {k: DOCKER_CAPS for k in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        },
        "root": {"path": "rootfs"},
        "hostname": "test",
        "mounts": [{"destination": d, "type": t, "source": s, "options": o} for d, t, s, o in mounts],
        "linux": {"namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")]},
    }


class Bundle:
    """One bundle directory; every run gets a fresh writable layer over `rootfs`."""

    def __init__(self, rootfs, base):
        self.rootfs = os.path.abspath(rootfs)
        self.dir = tempfile.mkdtemp(prefix="bundle", dir=base)
        self.root = os.path.join(self.dir, "rootfs")
        os.mkdir(self.root)

    def run(self, runtime, config, out, timeout):
        """Runs `config` with output to the file `out`. The exit status, or None when it took too long and was killed."""
        layer = tempfile.mkdtemp(prefix="layer", dir=self.dir)
        for d in ("upper", "work"):
            os.mkdir(os.path.join(layer, d))
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        f"lowerdir={self.rootfs},upperdir={layer}/upper,workdir={layer}/work", self.root], check=True)
        try:
            with open(os.path.join(self.dir, "config.json"), "w") as f:
                json.dump(config, f)
            return self._run(runtime, f"t{os.getpid()}-{os.path.basename(self.dir)}", out, timeout)
        finally:
            subprocess.run(["umount", "-l", self.root])
            shutil.rmtree(layer, ignore_errors=True)

    def _run(self, runtime, cid, out, timeout):
        def quiet(*args):
            try:
                subprocess.run(runtime + list(args), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20)
            except subprocess.TimeoutExpired:
                pass

        p = subprocess.Popen(runtime + ["run", "--bundle", self.dir, cid], stdin=subprocess.DEVNULL, stdout=out,
                             stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return p.wait(timeout)
        except subprocess.TimeoutExpired:
            quiet("kill", cid, "KILL")
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, 9)
                p.wait()
            return None
        finally:
            quiet("delete", "--force", cid)
