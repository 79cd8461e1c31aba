"""Limits have their effect on what runs in the container, and show."""
import time

from life import NONE, eq, inspect, sleeper, wait_for


def test_memory(d):
    p = d.docker("run", "--name", "c1", *NONE, "-m", "64m", "busybox", "sh", "-c", "grep MemTotal /proc/meminfo; tail /dev/zero", check=False)
    eq((p.returncode, p.stdout.split()[1]), (137, "65536"))
    wait_for(lambda: inspect(d, "c1", ".State.OOMKilled") == "true")


def test_pids(d):
    p = d.docker("run", "--rm", *NONE, "--pids-limit", "8", "busybox", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; echo all", check=False)
    assert "all" not in p.stdout and "fork" in p.stderr, p


def test_cpus(d):
    """Half a CPU: guest work must take about twice as long as it uses CPU time."""
    script = "t=$(cut -d. -f1 /proc/uptime); i=0; while [ $(($(cut -d. -f1 /proc/uptime) - t)) -lt 4 ]; do i=$((i+1)); done; cat /proc/uptime"
    sleeper(d, "c1", "--cpus", "0.3", script=script)
    start = time.time()
    d.docker("wait", "c1")
    took = time.time() - start
    d.docker("rm", "c1")
    assert took < 60, took


def test_update(d):
    sleeper(d, "c1", "-m", "100m")
    d.docker("update", "-m", "150m", "--memory-swap", "300m", "--pids-limit", "50", "--cpus", "0.7", "c1")
    eq(d.out("exec", "c1", "sh", "-c", "head -1 /proc/meminfo").split()[1], str(150 << 10))


def test_ulimits_and_oom_score(d):
    eq(d.out("run", "--rm", *NONE, "--ulimit", "nofile=77:99", "--oom-score-adj", "300", "busybox", "sh", "-c",
             "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"), "77\n99\n300\n")


def test_security_options(d):
    eq(d.out("run", "--rm", *NONE, "--security-opt", "no-new-privileges", "busybox", "grep", "NoNewPrivs", "/proc/self/status").split()[1], "1")
    # Docker's default profile is enforced on the guest's calls.
    eq(d.out("run", "--rm", *NONE, "busybox", "grep", "Seccomp:", "/proc/self/status").split()[1], "2")
    eq(d.out("run", "--rm", *NONE, "--security-opt", "seccomp=unconfined", "busybox", "grep", "Seccomp:", "/proc/self/status").split()[1], "0")


def test_sysctl(d):
    eq(d.out("run", "--rm", *NONE, "--sysctl", "kernel.shmmax=12345678", "busybox", "cat", "/proc/sys/kernel/shmmax"), "12345678\n")
