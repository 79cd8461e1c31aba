"""Images of what people run, each doing what it is for: the other end is a second container on a network of their own, and the host by a published port.

The images are Debian roots with one program each (tests/lib/debian-root), imported when the first test asks for one. How a server ends on `docker stop`
is compared with runc.
"""
import os
import subprocess
import tempfile

from life import HERE, NONE, eq, inspect, wait_for

FILES = os.path.join(HERE, "files")
# Waiting for servers: a machine may be busy, and Java takes its time there.
SECONDS = 120
HEALTH = ("--health-interval", "1s", "--health-start-period", "1s", "--health-retries", "100")


def image(d, name, *changes):
    """Imports the root `name` as an image, once a daemon."""
    if not d.out("images", "-q", name):
        root = subprocess.run([os.path.join(HERE, "../lib/debian-root"), name], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        d.import_tree(root, name, "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV LC_ALL=C.UTF-8", *changes)
    return name


class Network:
    """A network of a test's own. Its containers go with it."""

    def __init__(self, d, name, *options):
        self.d, self.name, self.options = d, name, options

    def __enter__(self):
        self.d.docker("network", "create", *self.options, self.name)
        return self

    def serve(self, name, *argv, health=None, says=None):
        """Starts a server and waits until `health`, a command in it, succeeds, or it has said something."""
        checks = ("--health-cmd", health, *HEALTH) if health else ()
        self.d.docker("run", "-d", "--name", name, "--network", self.name, *checks, *argv)
        if health:
            wait_for(lambda: inspect(self.d, name, ".State.Health.Status") == "healthy", SECONDS)
        if says:
            def said():
                p = self.d.docker("logs", name)
                return says in p.stdout + p.stderr
            wait_for(said, SECONDS)

    def client(self, *argv, **kw):
        """What a command in another container says."""
        return self.d.out("run", "--rm", "--network", self.name, *argv, **kw)

    def __exit__(self, *exc):
        ids = self.d.out("ps", "-aq", "--filter", f"network={self.name}").split()
        if ids:
            self.d.docker("rm", "-f", "-v", *ids, check=False)
        self.d.docker("network", "rm", self.name, check=False)


def from_host(d, *argv):
    """What a command on the daemon's host says."""
    p = subprocess.run(d.enter("timeout", "60", *argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eq((p.returncode, p.stderr[-300:]), (0, p.stderr[-300:]))
    return p.stdout


def ends_as_with_runc(n, name, *argv, seconds=10, **ready):
    """`docker stop` of `name`, which runs, and of the same container under runc: the same exit status."""
    def stop(which):
        n.d.docker("stop", "-t", str(seconds), which)
        return inspect(n.d, which, ".State.ExitCode"), inspect(n.d, which, ".State.OOMKilled")
    ours = stop(name)
    n.serve("with-runc", "--runtime", "runc", *argv, **ready)
    eq(ours, stop("with-runc"))
    return ours[0]


def test_image_of_python(d):
    python = image(d, "python")
    get = "import urllib.request as u; print(len(u.urlopen('http://{}/bin/bash').read()))"
    health = f"python3 -c \"{get.format('127.0.0.1:8000')}\""
    argv = (python, "python3", "-m", "http.server", "-d", "/", "8000")
    with Network(d, "own") as n:
        n.serve("srv", "-p", "8000:8000", *argv, health=health)
        want = n.client(python, "stat", "-c", "%s", "/bin/bash")
        eq(n.client(python, "python3", "-c", get.format("srv:8000")), want)
        eq(from_host(d, "python3", "-c", get.format("127.0.0.1:8000")), want)
        eq(n.client("-v", f"{FILES}:/files:ro", python, "python3", "/files/fetch_all.py", "srv", "8000", "/bin/bash", "100"), want.strip() + " from 100\n")
        # As process 1 it has no handler, and so is killed.
        eq(ends_as_with_runc(n, "srv", *argv, health=health, seconds=1), "137")


def test_python_at_work(d):
    out = d.out("run", "--rm", *NONE, "-v", f"{FILES}:/files:ro", image(d, "python"), "python3", "/files/workers.py", timeout=300)
    eq(out, "pool 333283335000\nqueue 4950\nshared 4000\nasyncio 100\nchild 7\n")


def test_image_of_node(d):
    node = image(d, "node")
    server = ("-v", f"{FILES}:/files:ro", node, "node", "/files/server.js")
    health = "node /files/client.js http://127.0.0.1:8080 1"
    with Network(d, "own") as n:
        n.serve("srv", "-p", "8081:8080", *server, health=health)
        eq(n.client("-v", f"{FILES}:/files:ro", node, "node", "/files/client.js", "http://srv:8080", "200"), "200 answers\n")
        eq(from_host(d, "busybox", "wget", "-qO-", "http://127.0.0.1:8081/7"), "answer 7\n")
        eq(ends_as_with_runc(n, "srv", *server, health=health), "0")


def test_image_of_java(d):
    java = image(d, "java")
    server = ("-v", f"{FILES}:/files:ro", java, "java", "-Xmx128m", "/files/Server.java")
    client = ("-v", f"{FILES}:/files:ro", java, "java", "-Xmx128m", "/files/Client.java")
    with Network(d, "own") as n:
        n.serve("srv", "-p", "8082:8080", *server, says="listening")
        eq(n.client(*client, "http://srv:8080/", "100", timeout=300), "100 answers\n")
        eq(from_host(d, "busybox", "wget", "-qO-", "http://127.0.0.1:8082/7"), "answer 7\n")
        eq(ends_as_with_runc(n, "srv", *server, says="listening", seconds=30), "143")


def test_image_of_nginx(d):
    nginx = image(d, "nginx", "EXPOSE 80")
    argv = ("--stop-signal", "QUIT", nginx, "sh", "-c", "echo served > /var/www/html/index.html; exec nginx -g 'daemon off;'")
    health = "curl -fs http://127.0.0.1/"
    with Network(d, "own") as n:
        n.serve("srv", "-p", "8083:80", *argv, health=health)
        out = n.client(image(d, "network"), "wrk", "-c", "16", "-t", "2", "-d", "2s", "http://srv:80/")
        assert "requests in" in out and "Socket errors" not in out and "Non-2xx" not in out, out
        eq(n.client(nginx, "curl", "-fsS", "http://srv/"), "served\n")
        eq(from_host(d, "busybox", "wget", "-qO-", "http://127.0.0.1:8083/"), "served\n")
        eq(d.out("exec", "srv", "sh", "-c", "nginx -s reload; echo $?"), "0\n")
        eq(n.client(nginx, "curl", "-fsS", "http://srv/"), "served\n")
        eq(ends_as_with_runc(n, "srv", *argv, health=health), "0")


def test_image_of_redis(d):
    redis = image(d, "redis", "VOLUME /data", "WORKDIR /data", "EXPOSE 6379")
    argv = (redis, "redis-server", "--protected-mode", "no", "--dir", "/data", "--appendonly", "yes")
    health = "redis-cli ping | grep -q PONG"
    with Network(d, "own") as n:
        n.serve("srv", "-p", "6380:6379", *argv, health=health)
        cli = (redis, "redis-cli", "-h", "srv")
        eq(n.client(*cli, "set", "key", "value"), "OK\n")
        out = n.client(redis, "redis-benchmark", "-h", "srv", "-n", "5000", "-c", "20", "-q", "-t", "set,get,lpush,mset", timeout=300)
        eq(out.count("requests per second"), 4)
        eq(n.client(*cli, "get", "key"), "value\n")
        eq(n.client(*cli, "bgsave"), "Background saving started\n")
        wait_for(lambda: "rdb_bgsave_in_progress:0" in n.client(*cli, "info", "persistence"), SECONDS)
        assert "rdb_last_bgsave_status:ok" in n.client(*cli, "info", "persistence")
        eq(ends_as_with_runc(n, "srv", *argv, health=health), "0")
        d.docker("start", "srv")
        wait_for(lambda: inspect(d, "srv", ".State.Health.Status") == "healthy", SECONDS)
        eq(n.client(*cli, "get", "key"), "value\n")


POSTGRES = r"""
set -e
export PATH=$PATH:/usr/lib/postgresql/15/bin PGDATA=/data
[ -e /data/PG_VERSION ] || { initdb -A trust >/dev/null; echo "host all all all trust" >>/data/pg_hba.conf; }
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp
"""


def test_image_of_postgres(d):
    postgres = image(d, "postgres", "EXPOSE 5432")
    argv = ("--stop-signal", "INT", "--tmpfs", "/data:uid=100,mode=700", "--shm-size", "128m", "-u", "postgres", postgres, "sh", "-c", POSTGRES)
    uid = d.out("run", "--rm", *NONE, postgres, "id", "-u", "postgres").strip()
    argv = tuple(a.replace("uid=100", f"uid={uid}") for a in argv)
    health = "/usr/lib/postgresql/15/bin/pg_isready -h 127.0.0.1"
    bench = ("-e", "PGHOST=srv", "-e", "PGUSER=postgres", postgres)
    with Network(d, "own") as n:
        n.serve("srv", "-p", "5433:5432", *argv, health=health)
        n.client(*bench, "/usr/lib/postgresql/15/bin/pgbench", "-i", "-q", "postgres", timeout=300)
        out = n.client(*bench, "/usr/lib/postgresql/15/bin/pgbench", "-c", "4", "-j", "2", "-t", "100", "postgres", timeout=300)
        assert "number of transactions actually processed: 400/400" in out, out
        eq(n.client(*bench, "psql", "-At", "-c", "select count(*) from pgbench_history", "postgres"), "400\n")
        eq(ends_as_with_runc(n, "srv", *argv, health=health, seconds=60), "0")


def go_program(where):
    """A static HTTP server and client; False without a Go toolchain."""
    try:
        env = dict(os.environ, CGO_ENABLED="0", GO111MODULE="off")
        return subprocess.run(["go", "build", "-o", os.path.join(where, "web"), os.path.join(FILES, "web.go")], env=env).returncode == 0
    except FileNotFoundError:
        return False


def test_go_program(d):
    with tempfile.TemporaryDirectory(prefix="runsc-c-go-", dir=d.dir) as where, Network(d, "own") as n:
        os.chmod(where, 0o755)
        assert go_program(where)
        run = ("-v", f"{where}/web:/web:ro", "busybox", "/web")
        health = "/web get http://127.0.0.1:8080/ 1"
        n.serve("srv", "-p", "8084:8080", *run, "serve", health=health)
        eq(n.client(*run, "get", "http://srv:8080/", "500"), "500 answers\n")
        eq(from_host(d, f"{where}/web", "get", "http://127.0.0.1:8084/", "20"), "20 answers\n")
        eq(ends_as_with_runc(n, "srv", *run, "serve", health=health), "0")


LONG = [test_image_of_python, test_python_at_work, test_image_of_node, test_image_of_java, test_image_of_nginx, test_image_of_redis, test_image_of_postgres,
        test_go_program]
