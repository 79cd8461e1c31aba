"""Rules of netfilter as a Docker daemon in a container makes them: what is listed afterwards is what the host's kernel lists."""
import subprocess

from harness import TIME_FACTOR, eq

RULES = """
filter -N DOCKER
filter -N DOCKER-ISOLATION-STAGE-1
filter -N DOCKER-ISOLATION-STAGE-2
filter -N DOCKER-USER
nat -N DOCKER
nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
nat -A DOCKER -i docker0 -j RETURN
nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
nat -A DOCKER -p udp -m udp --dport 53:54 -j REDIRECT --to-ports 5353
filter -P FORWARD DROP
filter -A FORWARD -j DOCKER-USER
filter -A FORWARD -j DOCKER-ISOLATION-STAGE-1
filter -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
filter -A FORWARD -o docker0 -j DOCKER
filter -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
filter -A FORWARD -i docker0 -o docker0 -j ACCEPT
filter -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
filter -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
filter -A DOCKER-ISOLATION-STAGE-1 -j RETURN
filter -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
filter -A DOCKER-ISOLATION-STAGE-2 -j RETURN
filter -A DOCKER-USER -m comment --comment "what the user wants" -j RETURN
filter -I INPUT 1 -p icmp -m icmp --icmp-type 8 -m limit --limit 10/sec --limit-burst 20 -j ACCEPT
filter -A INPUT -p tcp -m multiport --dports 22,80,443 -m state --state NEW -j ACCEPT
filter -A INPUT -m mark --mark 0x1/0xff -j LOG --log-prefix "marked: "
filter -A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j REJECT --reject-with tcp-reset
filter -A INPUT -m iprange --src-range 10.0.0.1-10.0.0.9 -j DROP
mangle -A PREROUTING -p udp -j MARK --set-xmark 0x7/0xffffffff
mangle -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
mangle -A OUTPUT -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff
raw -A PREROUTING -i lo -j NOTRACK
filter -D DOCKER-ISOLATION-STAGE-2 -j RETURN
filter -R INPUT 5 -m iprange --src-range 10.0.0.1-10.0.0.8 -j DROP
"""

SCRIPT = r"""
import shlex, subprocess, sys
def run(which):
    out = []
    for rule in RULES.strip().split("\n"):
        table, *words = shlex.split(rule)
        r = subprocess.run([which, "-w", "-t", table, *words], capture_output=True, text=True)
        if r.returncode: out.append("%s %s: %s" % (which, rule, r.stderr.strip()))
    for table in ("filter", "nat", "mangle", "raw"):
        for args in (("-S",), ("-nL",)):
            r = subprocess.run([which, "-w", "-t", table, *args], capture_output=True, text=True)
            out.append(r.stdout if r.returncode == 0 else r.stderr)
    save = subprocess.run([which + "-save"], capture_output=True, text=True).stdout
    restored = subprocess.run([which + "-restore"], input=save, capture_output=True, text=True)
    again = subprocess.run([which + "-save"], capture_output=True, text=True).stdout
    lines = lambda s: [l.split("[")[0] for l in s.split("\n") if not l.startswith("#")]
    out.append("restored %d %s %s" % (restored.returncode, restored.stderr.strip(), lines(save) == lines(again)))
    # The order of tables depends on which was used first.
    for table in sorted(t.strip() for t in "\n".join(lines(save)).split("COMMIT")): out += table.split("\n")
    for line in reversed(RULES.strip().split("\n")):
        table = line.split()[0]
        for args in (("-F",), ("-X",)): subprocess.run([which, "-w", "-t", table, *args], capture_output=True)
    return "\n".join(out)
"""


def listed_alike(n, which):
    script = f"RULES = {RULES!r}\n" + SCRIPT + f"print(run({which!r}), end='')\n"
    box = n.python("os.environ['XTABLES_LOCKFILE'] = '/tmp/lock'\n" + script)
    got = box.end()
    with n.inside():
        want = subprocess.run(["python3", "-c", "import os; os.environ['XTABLES_LOCKFILE'] = '%s/lock'\n" % n.dir + script], stdout=subprocess.PIPE, text=True,
                              timeout=60 * TIME_FACTOR, check=True).stdout
    for a, b in zip(got.split("\n"), want.split("\n")):
        eq(a, b)
    eq(len(got), len(want))
    assert "restored 0" in got and "True" in got


def long_a_docker_daemons_rules_by_iptables_legacy(n):
    listed_alike(n, "iptables-legacy")


def test_a_docker_daemons_rules_by_iptables_nft(n):
    listed_alike(n, "iptables-nft")
