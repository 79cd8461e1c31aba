"""Several commands at once, and commands and sandboxes that are killed at any moment: one of them wins, and `delete --force` always leaves nothing."""
import json
import os
import random
import shutil
import signal
import subprocess
import time

from harness import eq

import cgroups
import hooks


def gone(b, cid="c1"):
    """What is left is deleted, and then there is nothing."""
    code, _, err = b.cli("delete", "--force", cid)
    eq((code, err), (0, ""))
    eq(b.status(cid), None)
    eq(cgroups.left(b), [])


def quiet(b, *argv):
    return b.popen(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def limited(b, *argv):
    """A container with a cgroup, if the host has any, so that there is more to leave behind."""
    if cgroups.MOUNTS and os.access(cgroups.MOUNTS.get("memory", cgroups.MOUNTS.get("", "/")), os.W_OK):
        b.config["linux"]["cgroupsPath"] = cgroups.path(b)
    b.args(*argv)


def test_of_many_creations_one_wins(b):
    limited(b, "sleep", "100")
    ps = [quiet(b, "create", "c1") for _ in range(6)]
    eq(sorted(p.wait(60) for p in ps), [0, 1, 1, 1, 1, 1])
    eq(b.status(), "created")
    gone(b)


def test_of_many_starts_one_wins(b):
    limited(b, "sh", "-c", "echo run >> /count; exec sleep 100")
    eq(b.detached("c1", "create"), 0)
    ps = [quiet(b, "start", "c1") for _ in range(6)]
    eq(sorted(p.wait(60) for p in ps), [0, 1, 1, 1, 1, 1])
    end = time.time() + 10
    while not os.path.exists(os.path.join(b.rootfs, "count")):
        assert time.time() < end
        time.sleep(0.02)
    with open(os.path.join(b.rootfs, "count")) as f:
        eq(f.read(), "run\n")
    gone(b)


def test_kill_and_delete_while_starting(b):
    limited(b, "sleep", "100")
    for _ in range(4):
        eq(b.detached("c1", "create"), 0)
        ps = [quiet(b, "start", "c1"), quiet(b, "kill", "c1", "KILL"), quiet(b, "delete", "--force", "c1")]
        for p in ps:
            p.wait(60)
        eq(ps[2].returncode, 0)
        gone(b)


def test_delete_force_in_every_state(b):
    limited(b, "sleep", "100")
    # Creating: a hook holds it up.
    b.config["hooks"] = {"createRuntime": [hooks.hook(b, "slow", "touch $log; sleep 2")]}
    p = quiet(b, "create", "c1")
    end = time.time() + 20
    while not os.path.exists(os.path.join(b.dir, "hooks.log")):
        assert time.time() < end
        time.sleep(0.02)
    eq(b.status(), "creating")
    gone(b)
    p.wait(60)
    eq(b.status(), None)
    del b.config["hooks"]
    # Created, running, stopped; paused is in cgroups.py.
    eq(b.detached("c1", "create"), 0)
    gone(b)
    eq(b.detached("c1", "run", "-d"), 0)
    gone(b)
    b.args("true")
    eq(b.detached("c1", "run", "-d"), 0)
    b.wait_status("stopped")
    gone(b)


def test_a_creation_killed_at_any_moment(b):
    limited(b, "sleep", "100")
    random.seed(7)
    for _ in range(12):
        p = quiet(b, *random.choice([["create"], ["run", "-d"]]), "c1")
        time.sleep(random.random() * 0.06)
        p.kill()
        p.wait()
        assert b.status() in (None, "creating", "created", "running", "stopped")
        gone(b)


def test_a_sandbox_killed_at_any_moment(b):
    limited(b, "sleep", "100")
    random.seed(8)
    for _ in range(6):
        eq(b.detached("c1", "create"), 0)
        pid = json.loads(b.cli("state", "c1")[1])["pid"]
        starter = quiet(b, "start", "c1") if random.random() < 0.7 else None
        time.sleep(random.random() * 0.03)
        os.kill(pid, signal.SIGKILL)
        if starter:
            starter.wait(60)
        b.wait_status("stopped")
        eq(json.loads(b.cli("state", "c1")[1])["pid"], 0)
        gone(b)


def test_any_command_killed_at_any_moment(b):
    """Whatever becomes of a command, the container is in one of its states, and can be deleted with all that is its."""
    limited(b, "sh", "-c", "trap : TERM; while :; do sleep 0.05; done")
    random.seed(9)
    commands = (["start"], ["kill", "TERM"], ["kill", "KILL"], ["pause"], ["resume"], ["exec", "true"], ["exec", "-d", "sleep", "50"], ["delete"], ["delete", "--force"],
                ["ps"], ["update", "--pids-limit", "50"], ["events", "--stats"], ["wait"])
    for _ in range(6):
        if b.detached("c1", "create") != 0:
            raise AssertionError(b.output())
        if random.random() < 0.7:
            b.cli("start", "c1")
        for _ in range(4):
            name, *rest = random.choice(commands)
            before = [rest.pop(0)] if rest and rest[0].startswith("-") and name in ("exec", "delete") else rest[:2] if name == "update" else []
            if name == "events":
                before, rest = rest, []
            argv = [name, *before, "c1", *([] if name == "update" else rest)]
            p = quiet(b, *argv)
            time.sleep(random.random() * 0.03)
            p.kill()
            p.wait()
            assert b.status() in (None, "created", "running", "paused", "stopped"), b.status()
        gone(b)


def test_states_come_in_their_order(b):
    """Whoever looks while a container is created, runs and ends never sees it go back, nor running before it is created."""
    b.sh("sleep 0.1")
    p = quiet(b, "run", "c1")
    order = [None, "creating", "created", "running", "stopped"]
    seen = []
    while p.poll() is None:
        s = b.status()
        if not seen or s != seen[-1]:
            seen.append(s)
    if seen[-1] is None:
        seen.pop()
    ranks = [order.index(s) for s in seen]
    eq(ranks, sorted(ranks))
    gone(b)


def test_what_a_program_does_is_done_by_a_running_container(b):
    b.sh("echo > /up; sleep 100")
    for argv in (["run", "c1"], ["run", "-d", "c1"]):
        p = quiet(b, *argv)
        end = time.time() + 20
        while not os.path.exists(os.path.join(b.rootfs, "up")):
            assert time.time() < end
        eq(b.status(), "running")
        b.cli("kill", "c1", "KILL")
        p.wait(60)
        gone(b)
        os.unlink(os.path.join(b.rootfs, "up"))


def test_leftovers_of_a_host_that_went_down(b):
    limited(b, "sleep", "100")
    eq(b.detached("c1", "run", "-d"), 0)
    saved = os.path.join(b.dir, "saved")
    shutil.copytree(os.path.join(b.state, "c1"), saved, ignore=lambda d, names: [n for n in names if n.endswith(".sock")])
    gone(b)
    # The same pid is another process's after the reboot, which must be left alone.
    other = subprocess.Popen(["sleep", "100"])
    path = os.path.join(saved, "state.json")
    with open(path) as f:
        state = json.load(f)
    state["pid"] = other.pid
    with open(path, "w") as f:
        json.dump(state, f)
    os.rename(saved, os.path.join(b.state, "c1"))
    eq(b.status(), "stopped")
    gone(b)
    eq(other.poll(), None)
    other.kill()
    other.wait()
    # A creation that got no further than its directory, and one whose state was never complete.
    os.mkdir(os.path.join(b.state, "c1"))
    eq(b.status(), "stopped")
    gone(b)
    os.mkdir(os.path.join(b.state, "c1"))
    open(os.path.join(b.state, "c1", "state.json.new"), "w").close()
    gone(b)
    assert b.cli("list")[0] == 0


def test_stand_ins_of_exec_end_before_the_container(b):
    for stays in (False, True):
        eq(b.args("sleep", "100").detached("c1", "run", "-d"), 0)
        sentry = json.loads(b.cli("state", "c1")[1])["pid"]
        p = b.popen("exec", "c1", "sh", "-c", "echo ready; sleep 1000")
        eq(p.stdout.readline(), "ready\n")
        p.send_signal(signal.SIGSTOP)
        eq(b.cli("kill", "c1", "KILL")[0], 0)
        time.sleep(0.3)
        assert os.path.exists(f"/proc/{sentry}/exe"), "the container has ended"
        if stays: # it is not waited for without an end
            b.wait_status("stopped")
        p.send_signal(signal.SIGCONT)
        eq(p.wait(20), 137)
        b.wait_status("stopped")
        gone(b)
