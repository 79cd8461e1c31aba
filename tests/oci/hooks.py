"""Hooks: when each runs, what it gets, and what its failure means."""
import json
import os
import time

from harness import eq, refuses


def hook(b, name, body, **more):
    """A script that runs `body` with $log, a file that all of them share."""
    path = os.path.join(b.dir, name)
    with open(path, "w") as f:
        f.write(f"#!/bin/sh\nPATH=/usr/bin:/bin\nlog={b.dir}/hooks.log\n{body}\n")
    os.chmod(path, 0o755)
    return {"path": path, **more}


def log(b):
    try:
        with open(os.path.join(b.dir, "hooks.log")) as f:
            return f.read()
    except FileNotFoundError:
        return ""


ALL = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]


def every_kind(b):
    b.config["hooks"] = {k: [hook(b, k, f"echo {k} >> $log; cat > {b.dir}/{k}.json")] for k in ALL}


def test_hooks_run_in_order_around_create_start_delete(b):
    every_kind(b)
    eq(b.args("true").detached("c1", "create"), 0)
    eq(log(b).split(), ALL[:3])
    eq(b.cli("start", "c1")[0], 0)
    eq(log(b).split(), ALL[:4])
    b.wait_status("stopped")
    eq(b.cli("delete", "c1")[0], 0)
    eq(log(b).split(), ALL)


def test_hooks_run_around_run(b):
    every_kind(b)
    eq(b.sh("exit 3").run()[0], 3)
    eq(log(b).split(), ALL)


def test_hooks_get_the_state_on_stdin(b):
    every_kind(b)
    b.config["annotations"] = {"org.example.a": "b"}
    eq(b.args("sleep", "100").detached("c1", "run", "-d"), 0)
    pid = json.loads(b.cli("state", "c1")[1])["pid"]
    eq(b.cli("delete", "-f", "c1")[0], 0)
    for kind, status in (("prestart", "creating"), ("createRuntime", "creating"), ("createContainer", "creating"), ("poststart", "running"), ("poststop", "stopped")):
        with open(os.path.join(b.dir, kind + ".json")) as f:
            state = json.load(f)
        eq((kind, state["id"], state["status"], state["bundle"], state["annotations"]), (kind, "c1", status, os.path.realpath(b.path), {"org.example.a": "b"}))
        eq(state["pid"], 0 if kind == "poststop" else pid)
        assert state["ociVersion"].startswith("1."), state


def test_hooks_get_their_arguments_and_nothing_of_our_environment(b):
    b.config["hooks"] = {"createRuntime": [hook(b, "h", 'echo "$0 $1 $A $HOME" > $log', args=["name", "one"], env=["A=b"])]}
    os.environ["HOME"] = os.environ.get("HOME", "/root")
    eq(b.args("true").run()[0], 0)
    # A script's $0 is its path whatever argv[0] says.
    eq(log(b).split()[1:], ["one", "b"])


def test_a_hook_may_ask_for_the_state(b):
    runtime = " ".join(b.runtime)
    b.config["hooks"] = {"createRuntime": [hook(b, "h", f"{runtime} state c1 > $log")]}
    eq(b.args("true").detached("c1", "create"), 0)
    eq(json.loads(log(b))["status"], "creating")
    b.cli("delete", "c1")


def test_a_failing_hook_fails_the_creation_and_leaves_nothing(b):
    for kind in ALL[:3]:
        b.config["hooks"] = {kind: [hook(b, "bad", "echo out of luck; exit 5")], "poststop": [hook(b, "post", "echo poststop >> $log")]}
        refuses(b, f"{kind} hook #0.*exit status 5.*out of luck", "run", "c1")
        eq(b.status(), None)
        eq(b.detached("c1", "create"), 1)
        eq(b.status(), None)
    eq(log(b).split(), ["poststop"] * 6)


def test_a_hook_that_takes_too_long_is_killed(b):
    b.config["hooks"] = {"createRuntime": [hook(b, "slow", "sleep 100", timeout=1)]}
    start = time.time()
    refuses(b, "took longer than 1 s", "run", "c1")
    assert time.time() - start < 20


def test_a_missing_hook_fails_the_creation(b):
    b.config["hooks"] = {"prestart": [{"path": "/no/such/hook"}]}
    refuses(b, "prestart hook #0.*No such file", "run", "c1")


def test_a_failing_poststart_hook_ends_the_container(b):
    b.config["hooks"] = {"poststart": [hook(b, "bad", "exit 5")]}
    eq(b.args("sleep", "100").detached("c1", "create"), 0)
    refuses(b, "poststart hook #0", "start", "c1")
    b.wait_status("stopped")
    eq(b.cli("delete", "c1")[0], 0)


def test_a_failing_poststop_hook_is_a_warning(b):
    b.config["hooks"] = {"poststop": [hook(b, "bad", "exit 5"), hook(b, "other", "echo other >> $log")]}
    code, _, err = b.args("true").run()
    eq(code, 0)
    assert "warning" in err and "poststop hook #0" in err, err
    eq(log(b), "other\n")


def inner(b, name, body, **more):
    """A hook in the container's own root."""
    path = os.path.join(b.rootfs, name)
    with open(path, "w") as f:
        f.write(f"#!/bin/sh\nPATH=/bin\n{body}\n")
    os.chmod(path, 0o755)
    return {"path": "/" + name, **more}


def test_start_container_hooks_run_inside_before_the_program(b):
    b.config["hooks"] = {"startContainer": [inner(b, "one", "cat > /state; echo one $1 $A >> /order; cat /proc/1/status | grep -c Name >> /order", args=["x", "arg"], env=["A=b"]),
                                            inner(b, "two", "id -u >> /order")]}
    b.config["process"]["user"] = {"uid": 5, "gid": 5}
    b.sh("cat /order; cat /state")
    eq(b.detached("c1", "create"), 0)
    assert not os.path.exists(os.path.join(b.rootfs, "order"))
    eq(b.cli("start", "c1")[0], 0)
    b.wait_status("stopped")
    lines = b.output().split("\n")
    eq(lines[:3], ["one arg b", "1", "0"])
    state = json.loads(lines[3])
    eq((state["id"], state["status"], state["pid"]), ("c1", "created", 1))
    b.cli("delete", "c1")


def test_a_failing_start_container_hook_fails_the_start(b):
    b.config["hooks"] = {"startContainer": [inner(b, "bad", "exit 5")]}
    b.sh("echo ran > /ran")
    refuses(b, "startContainer hook #0.*exit status 5", "run", "c1")
    eq(b.detached("c1", "create"), 0)
    refuses(b, "startContainer hook #0", "start", "c1")
    b.wait_status("stopped")
    b.cli("delete", "c1")
    b.config["hooks"] = {"startContainer": [{"path": "/not/there"}]}
    refuses(b, "startContainer hook #0.*No such file", "run", "c1")
    b.config["hooks"] = {"startContainer": [inner(b, "slow", "sleep 100", timeout=1)]}
    refuses(b, "took longer than 1 s", "run", "c1")
    assert not os.path.exists(os.path.join(b.rootfs, "ran"))


def test_bad_hooks_are_refused(b):
    for h, pattern in (({"path": "relative"}, "not an absolute path"), ({}, "path is missing"), ({"path": "/x", "timeout": 0}, "timeout is out of range"), ("text", "not an object")):
        b.config["hooks"] = {"prestart": [h]}
        refuses(b, pattern, "run", "c1")
