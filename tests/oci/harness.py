"""What the tests of the command line share: a throw-away bundle and ways to run the runtime on it."""
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time

BUSYBOX = shutil.which("busybox") or "/bin/busybox"
APPLETS = "sh ls cat echo true false sleep kill id env pwd hostname stty tty touch mkdir ps wc head tail dd sync mount grep readlink stat test printf".split()


def default_config():
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", "echo hello"],
            "env": ["PATH=/bin", "HOME=/root"],
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
        ],
        "linux": {"namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")]},
    }


class Bundle:
    def __init__(self, runtime):
        self.dir = tempfile.mkdtemp(prefix="runsc-c-oci-")
        self.path = os.path.join(self.dir, "bundle")
        self.state = os.path.join(self.dir, "state")
        self.rootfs = os.path.join(self.path, "rootfs")
        os.makedirs(os.path.join(self.rootfs, "bin"))
        for d in ("proc", "dev", "tmp", "root", "etc"):
            os.mkdir(os.path.join(self.rootfs, d))
        shutil.copy(BUSYBOX, os.path.join(self.rootfs, "bin/busybox"))
        for a in APPLETS:
            os.symlink("busybox", os.path.join(self.rootfs, "bin", a))
        self.runtime = shlex.split(runtime) + ["--root", self.state]
        self.config = default_config()

    def args(self, *argv):
        self.config["process"]["args"] = list(argv)
        return self

    def sh(self, script):
        return self.args("sh", "-c", script)

    def write(self):
        with open(os.path.join(self.path, "config.json"), "w") as f:
            json.dump(self.config, f)

    def popen(self, *argv, **kw):
        self.write()
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(self.runtime + list(argv), text=True, cwd=self.path, **kw)

    def cli(self, *argv, timeout=30, input=None, **kw):
        """Runs a command to its end: (status, stdout, stderr)."""
        if input is not None:
            kw["stdin"] = subprocess.PIPE
        p = self.popen(*argv, **kw)
        try:
            out, err = p.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            raise AssertionError(f"{argv} does not end")
        return p.returncode, out, err

    def run(self, **kw):
        return self.cli("run", "c1", **kw)

    def detached(self, cid="c1", *extra):
        """create or run -d: its output must not be a pipe that the container keeps open."""
        with open(os.path.join(self.dir, "out"), "w") as out:
            return self.cli(*extra, cid, stdout=out, stderr=out)[0]

    def output(self):
        with open(os.path.join(self.dir, "out")) as f:
            return f.read()

    def status(self, cid="c1"):
        code, out, _ = self.cli("state", cid)
        return json.loads(out)["status"] if code == 0 else None

    def wait_status(self, want, cid="c1"):
        end = time.time() + 10
        while self.status(cid) != want:
            assert time.time() < end, f"status is {self.status(cid)}, not {want}"
            time.sleep(0.02)


def eq(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def refuses(b, pattern, *argv):
    """The command fails with one line that matches; with status 1, exec with 255, as runc."""
    code, out, err = b.cli(*argv)
    eq(code, 255 if argv[0] == "exec" else 1)
    assert re.search(pattern, err), f"stderr is {err!r}"
    eq(len(err.strip().splitlines()), 1)
