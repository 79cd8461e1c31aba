"""Bad input to every command and option: one clear line on stderr, the same in the log, the right status, and nothing left."""
import json
import os
import re
import subprocess

from harness import eq

OPERANDS = {"do": ["true"], "install": [], "uninstall": [], "list": [], "spec": [], "features": [], "syscalls": [], "bench": [], "completion": ["bash"]}


def commands(b):
    """{command: its options, as its help has them: [(name, letter, takes a value)]}."""
    text = b.cli("--help")[1].split("global options:")[0]
    found = {}
    for name in re.findall(r"^  (\w+) ", text, re.M):
        help_text = b.cli(name, "--help")[1].split("options:")[-1]
        found[name] = [(n, letter, bool(value)) for letter, n, value in re.findall(r"^  (?:-(\w), |    )--([\w-]+)(?: ([A-Z\[:\]=|a-z]+))?  ", help_text, re.M)]
    return found


def refused(b, argv, pattern, command=None, **kw):
    """Checks one bad command line."""
    log = os.path.join(b.dir, "log.json")
    if os.path.exists(log):
        os.unlink(log)
    code, out, err = b.cli("--log", log, "--log-format", "json", *argv, **kw)
    where = f"{argv}: status {code}, {out!r}, {err!r}"
    assert code == (255 if (command or argv[0]) == "exec" else 1), where
    assert err.startswith("runsc-c: ") and err.count("\n") == 1 and err.endswith("\n"), where
    assert re.search(pattern, err), where
    with open(log) as f:
        entries = [json.loads(line) for line in f]
    eq([(e["level"], e["msg"]) for e in entries], [("error", err[len("runsc-c: "):-1])])
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", entries[0]["time"])
    assert not os.path.isdir(b.state) or not os.listdir(b.state), where


def test_every_option_of_every_command(b):
    b.write()
    for name, options in commands(b).items():
        refused(b, [name, "--no-such-option"], "unknown option|not supported")
        if name in ("checkpoint", "restore"):
            continue
        for option, letter, value in options:
            if value:
                refused(b, [name, "--" + option], f"{name}: option --{option} needs a value")
                if letter:
                    refused(b, [name, "-" + letter], f"option -{letter} needs a value")
            else:
                refused(b, [name, f"--{option}=maybe", *OPERANDS.get(name, ["c1"])], f"--{option}: \"maybe\" is neither true nor false")


def test_operands(b):
    b.write()
    for name in commands(b):
        if name in ("do", "exec", "checkpoint", "restore", "install", "ps"):
            continue
        refused(b, [name, *OPERANDS.get(name, ["c1"]), "more", "still-more", "and-more"], f"usage: runsc-c {name}")
    for name in ("run", "create", "start", "state", "exec", "delete", "kill", "pause", "resume", "ps", "events", "update", "wait", "debug", "do", "completion"):
        refused(b, [name], "usage|no command")
    for name in ("start", "state", "delete", "kill", "pause", "resume", "ps", "events", "update", "wait", "debug"):
        refused(b, [name, "c9"], "container c9 does not exist")
        refused(b, [name, "../c9"], "invalid container id")
    refused(b, ["exec", "c9", "true"], "container c9 does not exist")
    refused(b, ["exec", "c9"], "no command")


def test_values(b):
    b.write()
    file = os.path.join(b.dir, "file")
    with open(file, "w") as f:
        f.write("{")
    for argv, pattern in (
            (["frobnicate"], "unknown command"), (["run", "-b", file, "c1"], "Not a directory"), (["run", "-b", "", "c1"], "No such file"),
            (["run", "--preserve-fds", "x", "c1"], "not a number"), (["run", "--preserve-fds", "-1", "c1"], "not a number"), (["create", "--preserve-fds", "99999999999", "c1"], "not a number"),
            (["run", "--pid-file", "/no/such/file", "c1"], "pid file /no/such/file: No such file"), (["create", "--pid-file", "/no/such/file", "c1"], "pid file"),
            (["create", "--console-socket", "/no/such", "c1"], "cannot use console socket"), (["run", "-d", "--console-socket", "/no/such", "c1"], "cannot use console socket"),
            (["run", ""], "invalid container id"), (["run", "a" * 300], "invalid container id"), (["run", "a b"], "invalid container id"), (["run", "ä"], "invalid container id"),
            (["kill", "c9", "NOSUCH"], "unknown signal"), (["kill", "c9", "65"], "invalid signal"), (["kill", "c9", "-1"], "unknown option|invalid signal"), (["kill", "c9", ""], "unknown signal"),
            (["list", "--format", "xml"], "neither table nor json"), (["ps", "--format", "xml", "c9"], "neither table nor json"),
            (["events", "--interval", "soon", "c9"], "no duration"), (["events", "--interval", "0", "c9"], "no duration"), (["events", "--interval", "-1s", "c9"], "no duration"),
            (["update", "--memory", "x", "c9"], "not a number"), (["update", "--memory", "9999999999g", "c9"], "not a number"), (["update", "--pids-limit", "1x", "c9"], "not a number"),
            (["update", "--resources", "/no/such", "c9"], "No such file"), (["update", "--resources", file, "c9"], "not JSON"), (["update", "--l3-cache-schema", "x", "c9"], "not supported"),
            (["completion", "fish"], "none of bash, zsh, man"), (["spec", "-b", "/no/such"], "No such file"), (["spec"], "exists"),
            (["install", "--config-file", file], "left as it is"), (["uninstall", "--config-file", "/no/such/file"], "No such file|no runtime"),
            (["do", "--root", "/no/such", "true"], "No such file"), (["do", "--cwd", "relative", "true"], "not an absolute path"), (["do", "/no/such"], "no such file"),
            (["debug", "--log-level", "loud", "c9"], "loud|does not exist"), (["debug", "--strace", "perhaps", "c9"], "perhaps|does not exist"),
            (["bench", "--rounds", "x"], "not a number"), (["bench", "--suite", "x"], "suite")):
        refused(b, argv, pattern)


def test_values_of_exec_and_update(b):
    """Of a container that runs, and goes on running."""
    b.args("sleep", "100")
    eq(b.detached("c1", "run", "-d"), 0)
    file, state = os.path.join(b.dir, "file"), b.state
    b.state = os.path.join(b.dir, "no-state")  # what refused() looks at: this container is meant to stay
    for text, pattern in (("{", "not JSON"), ("[]", "not a JSON object"), ("{}", "process.args is missing"), ('{"args": ["true"]}', "process.cwd is missing"),
                          ('{"args": [], "cwd": "/"}', "args is empty"), ('{"args": ["true"], "cwd": "x"}', "not an absolute path"), ('{"args": [1], "cwd": "/"}', "is not a string"),
                          ('{"args": ["true"], "cwd": "/", "user": {"uid": -1}}', "user.uid"), ('{"args": ["true"], "cwd": "/", "user": {"uid": 4294967295}}', "user.uid"),
                          ('{"args": ["a\\u0000b"], "cwd": "/"}', "contains a NUL"), ('{"args": ["true"], "cwd": "/", "terminal": true}', "terminal|tty")):
        with open(file, "w") as f:
            f.write(text)
        refused(b, ["exec", "--process", file, "c1"], pattern)
    for argv, pattern in (
            (["exec", "--process", "/no/such", "c1"], "No such file"), (["exec", "--user", "root", "c1", "true"], "not uid"), (["exec", "-u", "1:x", "c1", "true"], "not uid"),
            (["exec", "-u", "99999999999", "c1", "true"], "not uid"), (["exec", "-g", "x", "c1", "true"], "not a group"), (["exec", "-c", "CAP_MAGIC", "c1", "true"], "unknown capability"),
            (["exec", "--cwd", "relative", "c1", "true"], "relative"), (["exec", "--tty", "c1", "true"], "not a terminal"), (["exec", "-t", "-d", "c1", "true"], "console socket"),
            (["exec", "--console-socket", "/no/such", "-t", "c1", "true"], "console socket /no/such"), (["exec", "c1", "nosuch"], "not found"), (["exec", "c1", "/tmp"], "ermission denied"),
            (["exec", "--preserve-fds", "3", "c1", "true"], "descriptor 3"), (["exec", "--env", "NOVALUE", "c1", "/no/such"], "no such file"),
            (["start", "c1"], "already running"), (["resume", "c1"], "not paused"), (["delete", "c1"], "is not stopped"), (["create", "c1"], "already exists"), (["run", "c1"], "already exists"),
            (["update", "--memory", "1g", "c1"], "no cgroup"), (["debug", "--log-level", "loud", "c1"], "loud"), (["debug", "--strace", "perhaps", "c1"], "perhaps"),
            (["debug", "--log", "/no/such/dir/x", "c1"], "/no/such/dir/x"), (["debug", "--pcap", "/no/such/dir/x", "c1"], "/no/such/dir/x")):
        refused(b, argv, pattern)
    b.state = state
    eq(b.status(), "running")
    b.cli("delete", "-f", "c1")


def test_global_options(b):
    b.args("true").write()
    broken, unknown = os.path.join(b.dir, "broken"), os.path.join(b.dir, "unknown")
    for path, text in ((broken, "{"), (unknown, '{"nosuch": 1}')):
        with open(path, "w") as f:
            f.write(text)
    for options, pattern in (
            (["--platform", "magic"], "platform magic"), (["--network", "moon"], "--network: \"moon\" is none of"), (["--overlay", "all"], "--overlay: \"all\" is unknown"),
            (["--config", "/no/such"], "No such file"), (["--config", broken], "not JSON"), (["--config", unknown], "no flag \"nosuch\""), (["--debug=perhaps"], "neither true nor false"),
            (["--root", "/proc/nosuch"], "/proc/nosuch"), (["--root", broken], "Not a directory"), (["--debug-log", "/no/such/dir/x"], "debug log /no/such/dir/x"), (["--rootless", "perhaps"], "rootless"),
            (["--nosuch"], "unknown option")):
        refused(b, [*options, "run", "c1"], pattern, "run")
    code, out, err = b.cli("--log-format", "xml", "run", "c1")
    assert code == 1 and "--log-format: \"xml\" is unknown" in err and err.count("\n") == 1, err
    code, out, err = b.cli("--log", "/no/such/dir/log", "run", "c1")
    assert code == 1 and "/no/such/dir/log: No such file" in err and err.count("\n") == 1, (code, err)


def nodes(value, path=()):
    """The paths to all values of a document, but for the top."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for k, v in items:
        yield path + (k,)
        yield from nodes(v, path + (k,))


def replaced(doc, path, value):
    doc = json.loads(json.dumps(doc))
    at = doc
    for k in path[:-1]:
        at = at[k]
    at[path[-1]] = value
    return doc


def full_config(b):
    c = json.loads(json.dumps(b.config))
    ids = [{"containerID": 0, "hostID": 0, "size": 1}]
    c["process"].update(terminal=False, consoleSize={"height": 1, "width": 2}, rlimits=[{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}], oomScoreAdj=1, noNewPrivileges=True,
                        capabilities={"bounding": ["CAP_KILL"]}, ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 1}, scheduler={"policy": "SCHED_BATCH", "nice": 1, "flags": []},
                        execCPUAffinity={"initial": "0", "final": "0"}, apparmorProfile="", selinuxLabel="")
    c["process"]["user"].update(umask=18, additionalGids=[1])
    c["annotations"] = {"a": "b"}
    c["domainname"] = "d"
    c["hooks"] = {k: [{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}] for k in ("prestart", "createRuntime", "poststop")}
    c["mounts"].append({"destination": "/m", "type": "bind", "source": b.dir, "options": ["bind"], "uidMappings": [], "gidMappings": []})
    c["linux"].update(uidMappings=ids, gidMappings=ids, devices=[{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}], cgroupsPath="",
                      sysctl={"kernel.shmmax": "1"}, maskedPaths=["/x"], readonlyPaths=["/y"], rootfsPropagation="private", mountLabel="", personality={"domain": "LINUX", "flags": []},
                      timeOffsets={}, intelRdt={}, seccomp={"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "flags": [], "syscalls": [
                          {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [{"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]}]},
                      resources={"memory": {}, "cpu": {}, "pids": {}, "blockIO": {"throttleReadBpsDevice": []}, "hugepageLimits": [], "network": {}, "unified": {}, "devices": [{"allow": False, "access": "rwm"}]})
    return c


def try_config(b, doc, where):
    """Either it works, or one line says why not: never more, and never a crash."""
    b.config = doc
    b.write()
    p = subprocess.run(b.runtime + ["run", "-b", b.path, "c1"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert p.returncode == 0 or (p.returncode == 1 and p.stderr.startswith("runsc-c: ") and p.stderr.count("\n") == 1), f"{where}: {p.returncode} {p.stderr!r}"
    return p.returncode


def test_every_member_of_a_config_of_a_wrong_type(b):
    b.args("true")
    full = full_config(b)
    eq(try_config(b, full, "full"), 0)
    wrong = ("text", -7, 1.5, [], {}, ["x", 3], {"x": None}, True, None, 1 << 63)
    refusals = 0
    for i, path in enumerate(nodes(full)):
        # One of them for each, in turn, so that all kinds of members meet all values.
        value = wrong[i * 7 % len(wrong)]
        refusals += try_config(b, replaced(full, path, value), f"{'.'.join(map(str, path))} = {value!r}")
    assert refusals > 50, refusals
