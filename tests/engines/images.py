"""Images put together by umoci from Debian roots with one program each: unpacked into a bundle for runsc-c itself, imported into containerd, pulled by podman."""
import json
import os
import shutil
import subprocess
import tempfile

from container import DOCKER_CAPS

HERE = os.path.dirname(os.path.abspath(__file__))
# Of each image: what it runs, and what that prints.
WORK = {
    "python": (["python3", "-c", "import sqlite3, ssl, zlib; print(sum(range(1000)))"], "499500\n"),
    "node": (["node", "-e", "require('fs').readFile('/etc/debian_version', 'utf8', (e, t) => console.log(t.startsWith('12')))"], "true\n"),
    "java": (["sh", "-c", "echo 'class T { public static void main(String[] a) { System.out.println(6 * 7); } }' > /tmp/T.java && java -Xmx64m /tmp/T.java"], "42\n"),
    "nginx": (["sh", "-c", "echo hello > /var/www/html/index.html; nginx && curl -s http://127.0.0.1/ && nginx -s quit"], "hello\n"),
    "redis": (["sh", "-c", "redis-server --daemonize yes >/dev/null; until redis-cli ping >/dev/null 2>&1; do sleep 0.1; done; redis-cli incrby n 42; redis-cli shutdown"], "42\n"),
    "postgres": (["su", "postgres", "-c", "PATH=$PATH:/usr/lib/postgresql/15/bin; cd /tmp && initdb -D d >/dev/null && pg_ctl -D d -w -l l start >/dev/null && "
                  "psql -At -c 'select 6 * 7' && pg_ctl -D d -w stop >/dev/null"], "42\n"),
}


def umoci(*argv):
    subprocess.run(["umoci", *argv], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)


class Layout:
    """An OCI image layout below a directory of its own."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="runsc-c-umoci-", dir="/var/tmp")
        self.path = os.path.join(self.dir, "layout")
        umoci("init", "--layout", self.path)

    def make(self, name):
        root = subprocess.run([os.path.join(HERE, "../lib/debian-root"), name], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        image = f"{self.path}:{name}"
        umoci("new", "--image", image)
        umoci("insert", "--image", image, root, "/")
        command = [w for a in WORK[name][0] for w in ("--config.cmd", a)]
        umoci("config", "--image", image, "--config.env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "--config.workingdir", "/tmp",
              "--config.label", "made=by-umoci", *command)
        return image

    def unpack(self, name):
        """A bundle with the image's process, without a terminal and with a namespace of its own for the network."""
        bundle = os.path.join(self.dir, "bundle-" + name)
        umoci("unpack", "--image", f"{self.path}:{name}", bundle)
        path = os.path.join(bundle, "config.json")
        with open(path) as f:
            config = json.load(f)
        config["process"]["terminal"] = False
        config["process"]["capabilities"] = {k: DOCKER_CAPS for k in ("bounding", "effective", "permitted")}
        with open(path, "w") as f:
            json.dump(config, f)
        return bundle

    def drop(self, name):
        shutil.rmtree(os.path.join(self.dir, "bundle-" + name), ignore_errors=True)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)
