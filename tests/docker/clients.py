"""Clients and servers of the network in two containers, and from the host: ssh, DNS, ping, iperf3, git, rsync, an archive of packages, connections that stay."""
import os
import subprocess

from images import FILES, Network, from_host, image
from life import NONE, eq, inspect, wait_for

SSHD = r"""
set -e
mkdir -p /run/sshd /root/.ssh && chmod 700 /root/.ssh
cp /files/id.pub /root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys
ssh-keygen -A >/dev/null
exec /usr/sbin/sshd -D -e -p 22 -o PermitRootLogin=yes
"""
SSH_OPTIONS = "-i /tmp/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
WITH_KEY = f"cp /files/id /tmp/id && chmod 600 /tmp/id && ssh() {{ command ssh {SSH_OPTIONS} \"$@\"; }} && export GIT_SSH_COMMAND='ssh {SSH_OPTIONS}'; "


def keys(d):
    """A directory with a key pair, made by a container."""
    where = os.path.join(d.dir, "keys")
    os.makedirs(where, exist_ok=True)
    d.docker("run", "--rm", *NONE, "-v", f"{where}:/files", image(d, "network"), "sh", "-c", "rm -f /files/id*; ssh-keygen -q -t ed25519 -N '' -f /files/id")
    return where


def address(d, name):
    return inspect(d, name, ".NetworkSettings.Networks.own.IPAddress")


def test_ssh_scp_rsync_and_git(d):
    network, where = image(d, "network"), keys(d)
    client = ("-v", f"{where}:/files:ro", network, "sh", "-c")
    with Network(d, "own") as n:
        n.serve("srv", "-p", "2222:22", "-v", f"{where}:/files:ro", network, "sh", "-c", SSHD, says="listening on 0.0.0.0")
        eq(n.client(*client, WITH_KEY + "ssh srv 'cat; hostname; exit 3' <<END\nthrough\nEND\necho $?"), f"through\n{d.out('ps', '-q', '-f', 'name=srv').strip()}\n3\n")
        # A terminal, and two sessions at once.
        eq(n.client(*client, WITH_KEY + "ssh -tt srv 'tty; stty size' </dev/null | tr -d '\\r' | head -1"), "/dev/pts/0\n")
        eq(n.client(*client, WITH_KEY + "(ssh srv 'sleep 1; echo a') & ssh srv 'echo b'; wait"), "b\na\n")
        out = n.client(*client, WITH_KEY + f"head -c 100M /dev/urandom >/tmp/f && scp {SSH_OPTIONS} /tmp/f srv:/tmp/f && ssh srv sha256sum /tmp/f && sha256sum /tmp/f && "
                       f"scp {SSH_OPTIONS} srv:/tmp/f /tmp/back && cmp /tmp/f /tmp/back && echo same", timeout=300)
        eq((len(set(out.split()[:4])), out.split()[-1]), (2, "same"))
        eq(n.client(*client, WITH_KEY + "ssh -f -N -L 8022:localhost:22 srv && ssh -p 8022 localhost echo forwarded"), "forwarded\n")
        # rsync: the second time nothing but what has changed.
        out = n.client(*client, WITH_KEY + 'export RSYNC_RSH="$GIT_SSH_COMMAND"; rsync -a --stats /usr/share/perl/ srv:/tmp/perl/ | grep "files transferred"; '
                       'cp -a /usr/share/perl /tmp/perl; date > /tmp/perl/new; rsync -a --stats /tmp/perl/ srv:/tmp/perl/ | grep "files transferred"; '
                       'rsync -a srv:/tmp/perl/ /tmp/back/ && diff -r --no-dereference /tmp/perl /tmp/back && echo same', timeout=300).split("\n")
        assert not out[0].endswith(" 0") and out[1].endswith(" 1"), out
        eq(out[2], "same")
        # git over ssh, pushing what another clone then gets.
        d.docker("exec", "srv", "git", "init", "-q", "--bare", "-b", "main", "/srv/r.git")
        out = n.client(*client, WITH_KEY + "git config --global user.email a@example.com; git config --global user.name a; git clone -q srv:/srv/r.git /tmp/r 2>/dev/null; "
                       "cd /tmp/r && cp -r /usr/share/perl . && git add . && git commit -qm one && git push -q origin HEAD:main && git clone -q srv:/srv/r.git /tmp/s && "
                       "diff -r --no-dereference /tmp/r/perl /tmp/s/perl && git -C /tmp/s log --format=%s", timeout=300)
        eq(out, "one\n")
        # The host, by the published port.
        if subprocess.run(["sh", "-c", "command -v ssh"], stdout=subprocess.DEVNULL).returncode == 0:
            options = SSH_OPTIONS.replace("/tmp/id", f"{where}/id")
            eq(from_host(d, "sh", "-c", f"ssh {options} -p 2222 root@127.0.0.1 echo from the host"), "from the host\n")


def test_git_over_http(d):
    network = image(d, "network")
    script = ("git init -q -b main /srv/w && cd /srv/w && git config user.email a@example.com && git config user.name a && cp -r /usr/share/perl . && git add . && "
              "git commit -qm one && git clone -q --bare /srv/w /srv/r.git && cd /srv/r.git && git update-server-info && exec python3 -m http.server -d /srv 80")
    with Network(d, "own") as n:
        n.serve("srv", network, "sh", "-c", script, health="curl -fs http://127.0.0.1/r.git/info/refs")
        eq(n.client(network, "sh", "-c", "git clone -q http://srv/r.git /tmp/r && diff -r --no-dereference /tmp/r/perl /usr/share/perl && git -C /tmp/r fsck --strict 2>/dev/null && "
                    "git -C /tmp/r log --format=%s", timeout=300), "one\n")
        # The same file by curl and wget, whole and in part.
        eq(n.client(network, "sh", "-c", "curl -fsS http://srv/w/.git/HEAD; wget -qO- http://srv/w/.git/HEAD; curl -fsS -o /dev/null -w '%{http_code}\\n' http://srv/w/; "
                    "curl -s -m 20 http://srv:81/; echo $?; wget -T 5 -t 1 -q http://srv/nope; echo $?"), "ref: refs/heads/main\n" * 2 + "200\n7\n8\n")


def test_ping_and_traceroute(d):
    network = image(d, "network")
    with Network(d, "own", "--ipv6", "--subnet", "fd00:77::/64") as n:
        n.serve("srv", network, "sleep", "1000")
        v4, v6 = address(d, "srv"), inspect(d, "srv", ".NetworkSettings.Networks.own.GlobalIPv6Address")
        for options in (v4, v6, "srv", f"-s 1400 {v4}", f"-s 20000 {v4}", f"-s 20000 {v6}"):
            out = n.client(network, "sh", "-c", f"ping -n -c 3 -i 0.2 -w 30 {options}")
            assert " 0% packet loss" in out, out
        out = n.client(network, "sh", "-c", f"ping -n -c 1 -W 20 {v4.rsplit('.', 1)[0]}.77; true")
        assert "Destination Host Unreachable" in out, out
        for options in (v4, f"-6 {v6}", f"-I {v4}"):
            hops = n.client(network, "sh", "-c", f"traceroute -n -w 10 {options}").splitlines()[1:]
            eq((len(hops), hops[-1].split()[1]), (1, options.split()[-1]))
        # Through the gateway into the host: one hop on the way to the daemon's default bridge.
        gateway = d.out("run", "--rm", "busybox", "ip", "route").split()[2]
        hops = n.client(network, "traceroute", "-n", "-w", "10", gateway).splitlines()[1:]
        eq(hops[-1].split()[1], gateway)
        # And from the host.
        out = from_host(d, "ping", "-n", "-c", "3", "-i", "0.2", "-w", "30", v4)
        assert " 0% packet loss" in out and "duplicates" not in out, out
        assert " 0% packet loss" in from_host(d, "ping", "-6", "-n", "-c", "3", "-i", "0.2", "-w", "30", v6)


def test_dns_by_udp_and_tcp(d):
    network = image(d, "network")
    argv = ("dnsmasq", "-k", "-R", "-h", "--log-facility=-", "--host-record=one.test,10.9.8.7,fd00::7", "--cname=two.test,one.test", "--mx-host=test,one.test,5", "--local=/test/",
            "--txt-record=long.test," + ",".join(c * 200 for c in "abcdefghij"), "--ptr-record=7.8.9.10.in-addr.arpa,one.test")
    with Network(d, "own") as n:
        n.serve("srv", network, *argv, says="started")
        server = address(d, "srv")
        dig = f"dig +short +timeout=5 @{server} "
        for how in ("+notcp", "+tcp"):
            out = n.client(network, "sh", "-c", "; ".join(f"{dig} {how} {q}" for q in ("one.test", "one.test AAAA", "two.test", "test MX", "-x 10.9.8.7")))
            eq(out.split("\n")[:-1], ["10.9.8.7", "fd00::7", "one.test.", "10.9.8.7", "5 one.test.", "one.test."])
        # Too long for a datagram without EDNS: asked for again by TCP.
        out = n.client(network, "sh", "-c", f"dig +noedns +ignore @{server} long.test TXT | grep flags:; {dig} +noedns long.test TXT | wc -c; {dig} nope.test; dig @{server} nope.test | grep -o NXDOMAIN")
        assert " tc " in out.split("\n")[0], out
        eq([int(out.split("\n")[1]) > 2000, out.split("\n")[2]], [True, "NXDOMAIN"])
        # The C library's resolver, by what Docker put into resolv.conf.
        eq(n.client("--dns", server, network, "sh", "-c", "getent ahosts one.test | awk '{print $1}' | sort -u; getent hosts srv | awk '{print $1}'").split(),
           ["10.9.8.7", server])
        eq(d.out("run", "--rm", "--network", "own", "--dns", server, network, "python3", "-c", "import socket; print(socket.gethostbyname('two.test'))"), "10.9.8.7\n")


def test_iperf3_both_directions(d):
    network = image(d, "network")
    with Network(d, "own") as n:
        n.serve("srv", "-p", "5201:5201", network, "iperf3", "-s", "--forceflush", says="Server listening")
        for options in ("", "-R", "--bidir", "-P 4", "-u -b 50M", "-u -b 50M -R"):
            out = n.client(network, "sh", "-c", f"iperf3 -c srv -t 2 {options}")
            assert "iperf Done." in out and "receiver" in out, out
        if subprocess.run(["sh", "-c", "command -v iperf3"], stdout=subprocess.DEVNULL).returncode == 0:
            for options in ([], ["-R"]):
                assert "iperf Done." in from_host(d, "iperf3", "-c", address(d, "srv"), "-t", "2", *options)


def test_connections_that_stay(d):
    python = image(d, "python")
    with Network(d, "own") as n:
        n.serve("srv", "-v", f"{FILES}:/files:ro", python, "python3", "/files/rooms.py", "serve", says="listening")
        eq(n.client("-v", f"{FILES}:/files:ro", python, "python3", "/files/rooms.py", "join", "srv", "50", timeout=120), "50 heard 50 times\n")
        # One that was made before survives a pause of the server.
        d.docker("run", "-d", "--name", "stays", "--network", "own", "-v", f"{FILES}:/files:ro", python, "python3", "/files/rooms.py", "stay", "srv")
        wait_for(lambda: d.out("logs", "stays").startswith("joined\n"))
        d.docker("pause", "srv")
        d.docker("exec", "stays", "touch", "/tmp/go")
        d.docker("unpause", "srv")
        eq(d.out("wait", "stays"), "0\n")
        eq(d.out("logs", "stays"), "joined\nheard still here\n")


DEB = r"""
set -e
mkdir -p /srv/pool && cd /srv
for name in lib-test app-test; do
    mkdir -p b/$name/DEBIAN b/$name/usr/share/$name
    printf 'Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: test\n' $name >b/$name/DEBIAN/control
    [ $name = lib-test ] || echo 'Depends: lib-test' >>b/$name/DEBIAN/control
    head -c 3000000 /dev/urandom >b/$name/usr/share/$name/data
    dpkg-deb --root-owner-group -b b/$name pool >/dev/null
done
dpkg-scanpackages pool >Packages && gzip -k Packages
apt-ftparchive release . >Release
echo ready
exec python3 -m http.server -d /srv 80
"""


def test_apt_from_a_second_container(d):
    with Network(d, "own") as n:
        n.serve("archive", image(d, "network"), "sh", "-c", DEB, health="curl -fs http://127.0.0.1/Packages >/dev/null")
        install = ("rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] http://archive/ ./' > /etc/apt/sources.list && "
                   "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq app-test >/dev/null && ")
        base = image(d, "base")
        eq(n.client(base, "sh", "-c", install + "dpkg-query -W -f '${Package} ' app-test lib-test && stat -c %s /usr/share/app-test/data", timeout=300), "app-test lib-test 3000000\n")
        # And as a step of a build.
        where = os.path.join(d.dir, "apt-context")
        os.makedirs(where, exist_ok=True)
        with open(os.path.join(where, "Dockerfile"), "w") as f:
            f.write(f"FROM {base}\nRUN {install} rm -rf /var/lib/apt/lists/*\nCMD dpkg -s app-test | grep Status\n")
        d.docker("build", "--network", "own", "-t", "built-by-apt", where, env={**os.environ, "DOCKER_BUILDKIT": "0"}, timeout=300)
        try:
            eq(d.out("run", "--rm", *NONE, "built-by-apt"), "Status: install ok installed\n")
        finally:
            d.docker("rmi", "-f", "built-by-apt")


LONG = [test_ssh_scp_rsync_and_git, test_git_over_http, test_ping_and_traceroute, test_dns_by_udp_and_tcp, test_iperf3_both_directions, test_connections_that_stay,
        test_apt_from_a_second_container]
