"""Cgroups of the host: where a sandbox is put, its limits, pause, and that nothing is left."""
import os
import re
import time
import unittest

from harness import eq, refuses

MIB = 1 << 20


def mounts():
    """Controller -> mount point; "" for version 2."""
    found = {}
    with open("/proc/self/mounts") as f:
        for line in f:
            _, where, kind, options = line.split()[:4]
            if kind == "cgroup2":
                found.setdefault("", where)
            elif kind == "cgroup":
                for o in options.split(","):
                    found.setdefault(o, where)
    return found


MOUNTS = mounts()
V2 = "memory" not in MOUNTS


def path(b):
    return f"/runsc-c-test-{os.getpid()}-{os.path.basename(b.dir)}"


def place(b):
    if not MOUNTS:
        raise unittest.SkipTest("no cgroups are mounted")
    if not os.access(MOUNTS.get("memory", MOUNTS.get("", "/")), os.W_OK):
        raise unittest.SkipTest("cgroups are not ours to write")
    b.config["linux"]["cgroupsPath"] = path(b)


def directory(b, controller):
    return MOUNTS["" if V2 else controller] + path(b)


def read(b, v1, v2):
    """A file "controller/name" of version 1, or "name" of version 2; None: not on this host."""
    controller, name = v1.split("/")
    if not V2 and controller not in MOUNTS:
        raise unittest.SkipTest(f"no {controller} controller")
    try:
        with open(os.path.join(directory(b, controller), v2 if V2 else name)) as f:
            return f.read().strip()
    except FileNotFoundError:
        raise unittest.SkipTest(f"no {v2 if V2 else name}")


def left(b):
    return [where + path(b) for where in MOUNTS.values() if os.path.exists(where + path(b))]


def start(b, resources, script="sleep 100"):
    place(b)
    b.config["linux"]["resources"] = resources
    eq(b.sh(script).detached("c1", "run", "-d"), 0)


def end(b):
    eq(b.cli("delete", "-f", "c1")[0], 0)
    eq(left(b), [])


def test_the_sandbox_is_in_the_cgroup_of_its_path(b):
    start(b, {})
    import json
    pid = json.loads(b.cli("state", "c1")[1])["pid"]
    with open(f"/proc/{pid}/cgroup") as f:
        for line in f:
            controllers, where = line.strip().split(":")[1:]
            if controllers.split(",")[0] in MOUNTS:
                eq((controllers, where), (controllers, path(b)))
    end(b)


def test_a_run_in_the_foreground_leaves_no_cgroup(b):
    place(b)
    eq(b.args("true").run()[0], 0)
    eq(left(b), [])


def test_a_failed_creation_leaves_no_cgroup(b):
    place(b)
    eq(b.args("/no/such/program").run()[0], 1)
    eq(left(b), [])
    b.config["linux"]["resources"] = {"cpu": {"cpus": "9999"}}
    eq(b.args("true").run()[0], 1)
    eq(left(b), [])


def test_limits_are_written_as_runc_writes_them(b):
    start(b, {"memory": {"limit": 256 * MIB, "reservation": 128 * MIB}, "cpu": {"shares": 512, "quota": 50000, "period": 100000}})
    eq(read(b, "memory/memory.limit_in_bytes", "memory.max"), str(256 * MIB))
    eq(read(b, "memory/memory.soft_limit_in_bytes", "memory.low"), str(128 * MIB))
    eq(read(b, "cpu/cpu.cfs_quota_us", "cpu.max"), "50000 100000" if V2 else "50000")
    eq(read(b, "cpu/cpu.shares", "cpu.weight"), "20" if V2 else "512")
    end(b)


INSIDE = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"]}
FILES = "memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus".split()


def inside(text):
    return dict(line.split(":", 1) for line in text.splitlines())


def test_the_guest_sees_its_limits(b):
    """As programs that size themselves look for them: JVMs, Go, Node."""
    look = "cd /sys/fs/cgroup; for f in " + " ".join(FILES) + "; do echo $f:$(cat $f); done; echo ram:$(head -1 /proc/meminfo | tr -dc 0-9)"
    b.config["mounts"].append(INSIDE)
    got = inside(b.sh(look).run()[1])
    eq([got[f] for f in FILES[:6]], ["max", "max", "0", "max 100000", "100", "max"])
    start(b, {"memory": {"limit": 100 * MIB, "swap": 150 * MIB, "reservation": 50 * MIB}, "cpu": {"quota": 50000, "period": 200000, "shares": 512, "cpus": "0"}, "pids": {"limit": 77}})
    want = {"memory.max": str(100 * MIB), "memory.swap.max": str(50 * MIB), "memory.low": str(50 * MIB), "cpu.max": "50000 200000", "cpu.weight": "20", "pids.max": "77", "cpuset.cpus": "0",
            "ram": str(100 * 1024)}
    eq(inside(b.cli("exec", "c1", "sh", "-c", look)[1]), want)
    eq(b.cli("exec", "c1", "sh", "-c", "grep -c ^processor /proc/cpuinfo; grep -c ^cpu0 /proc/stat")[1].split(), ["1", "1"])
    eq(b.cli("update", "--memory", "120m", "--memory-swap", "120m", "--cpu-quota", "70000", "--cpu-share", "1024", "--pids-limit", "-1", "c1")[0], 0)
    want.update({"memory.max": str(120 * MIB), "memory.swap.max": "0", "cpu.max": "70000 200000", "cpu.weight": "39", "pids.max": "max", "ram": str(120 * 1024)})
    eq(inside(b.cli("exec", "c1", "sh", "-c", look)[1]), want)
    end(b)


def test_cpusets(b):
    start(b, {"cpu": {"cpus": "0", "mems": "0"}}, "nproc > /tmp/n; cat /tmp/n; sleep 100")
    eq(read(b, "cpuset/cpuset.cpus", "cpuset.cpus"), "0")
    end(b)


def test_the_pids_limit_holds_in_the_guest(b):
    place(b)
    b.config["linux"]["resources"] = {"pids": {"limit": 10}}
    code, out, _ = b.sh("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done 2>/dev/null; echo $!").run(timeout=60)
    assert code in (0, 2), code


def test_the_memory_limit_ends_what_takes_more(b):
    place(b)
    b.config["linux"]["resources"] = {"memory": {"limit": 48 * MIB}}
    eq(b.sh("tail /dev/zero").run(timeout=60)[0], 137)


def test_pause_stops_the_guest_and_resume_lets_it_go_on(b):
    start(b, {}, "n=0; while :; do n=$((n+1)); echo $n > /beat; sleep 0.02; done")
    beat = os.path.join(b.rootfs, "beat")

    def moves(seconds):
        before, limit = open(beat).read(), time.time() + seconds
        while time.time() < limit:
            if open(beat).read() != before:
                return True
            time.sleep(0.02)
        return False

    limit = time.time() + 10
    while not os.path.exists(beat):
        assert time.time() < limit
        time.sleep(0.02)
    for _ in range(2):
        eq(b.cli("pause", "c1")[0], 0)
        eq(b.status(), "paused")
        assert not moves(0.5)
        refuses(b, "container not running", "pause", "c1")
        refuses(b, "paused", "exec", "c1", "true")
        eq(b.cli("resume", "c1")[0], 0)
        eq(b.status(), "running")
        assert moves(10)
        refuses(b, "container not paused", "resume", "c1")
    end(b)


def test_a_paused_container_can_be_killed_and_deleted(b):
    start(b, {})
    eq(b.cli("pause", "c1")[0], 0)
    refuses(b, "cannot delete container c1 that is not stopped: paused", "delete", "c1")
    eq(b.cli("kill", "c1", "KILL")[0], 0)
    b.wait_status("stopped")
    end(b)
    start(b, {})
    eq(b.cli("pause", "c1")[0], 0)
    end(b)


def test_pause_without_a_cgroup(b):
    eq(b.sh("sleep 100").detached("c1", "run", "-d"), 0)
    eq(b.cli("pause", "c1")[0], 0)
    eq(b.status(), "paused")
    eq(b.cli("resume", "c1")[0], 0)
    eq(b.status(), "running")
    b.cli("delete", "-f", "c1")


def test_bad_resources_are_refused(b):
    place(b)
    for res, pattern in (({"memory": {"limit": "1m"}}, "not an integer"), ({"unified": {"../x": "1"}}, "not a cgroup file"),
                         ({"hugepageLimits": [{"pageSize": "a/b", "limit": 1}]}, "is no name"), ({"devices": [{"type": "x"}]}, "is unknown")):
        b.config["linux"]["resources"] = res
        refuses(b, pattern, "run", "c1")
    b.config["linux"]["resources"] = {}
    b.config["linux"]["cgroupsPath"] = "/a/../../b"
    refuses(b, "leads out of itself", "run", "c1")
