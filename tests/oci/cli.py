"""The commands around a container: ps, events, update, wait, debug, spec, install, completion, help."""
import json
import os
import re
import stat
import subprocess
import time

from harness import eq, refuses

import cgroups

COMMANDS = ("run do create start exec state list ps kill pause resume delete wait events update spec features checkpoint restore debug "
            "syscalls bench install uninstall completion").split()


def running(b, script="sleep 100"):
    eq(b.sh(script).detached("c1", "run", "-d"), 0)


def end(b):
    eq(b.cli("delete", "-f", "c1")[0], 0)


def test_every_command_has_a_help(b):
    text = b.cli("--help")[1]
    for c in COMMANDS:
        assert f"\n  {c} " in text, c
        code, out, _ = b.cli(c, "--help")
        assert code == 0 and out.startswith("usage: runsc-c ") and c in out, (c, out)


def test_ps_lists_the_sandboxes_processes(b):
    running(b, "sleep 77 & exec sleep 88")
    end_time = time.time() + 10
    while True:
        lines = b.cli("ps", "c1")[1].splitlines()
        if len(lines) == 3 and "sleep 88" in lines[1]:
            break
        assert time.time() < end_time, lines
        time.sleep(0.05)
    assert lines[0].split()[-1] == "CMD" and "sleep 77" in lines[2], lines
    eq(lines[1].split()[1:3], ["1", "0"])
    end(b)


def test_ps_as_json_lists_processes_of_the_host(b):
    running(b)
    pids = json.loads(b.cli("ps", "--format", "json", "c1")[1])
    assert json.loads(b.cli("state", "c1")[1])["pid"] in pids, pids
    assert all(os.path.exists(f"/proc/{p}") for p in pids)
    end(b)


def test_ps_of_a_stopped_container(b):
    eq(b.args("true").detached("c1", "run", "-d"), 0)
    b.wait_status("stopped")
    refuses(b, "container not running", "ps", "c1")
    end(b)


def test_events_stats(b):
    cgroups.place(b)
    b.config["linux"]["resources"] = {"pids": {"limit": 40}, "memory": {"limit": 300 << 20}}
    running(b, "sleep 50 & sleep 51 & sleep 52; true")
    end_time = time.time() + 10
    while True:
        e = json.loads(b.cli("events", "--stats", "c1")[1])
        if e["data"]["pids"]["current"] == 4:
            break
        assert time.time() < end_time, e
        time.sleep(0.05)
    eq((e["type"], e["id"], e["data"]["pids"]["limit"]), ("stats", "c1", 40))
    eq(e["data"]["memory"]["usage"]["limit"], 300 << 20)
    assert e["data"]["cpu"]["usage"]["total"] > 0 and e["data"]["memory"]["usage"]["usage"] > 0, e
    end(b)


def test_events_come_again_and_again_until_the_end(b):
    running(b)
    p = b.popen("events", "--interval", "200ms", "c1")
    for _ in range(3):
        eq(json.loads(p.stdout.readline())["type"], "stats")
    end(b)
    eq(p.wait(10), 0)


def test_events_tell_when_memory_has_run_out(b):
    cgroups.place(b)
    b.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
    running(b, "sleep 1; tail /dev/zero; sleep 100")
    p = b.popen("events", "--interval", "100s", "c1")
    lines = [json.loads(p.stdout.readline())["type"]]
    end_time = time.time() + 30
    while "oom" not in lines and time.time() < end_time:
        line = p.stdout.readline()
        if not line:
            break
        lines.append(json.loads(line)["type"])
    p.kill()
    p.wait()
    end(b)
    # The host may have killed the sandbox so fast that nobody could look.
    assert "oom" in lines or b.status() is None, lines


def test_update_by_options_and_by_json(b):
    cgroups.place(b)
    running(b)
    eq(b.cli("update", "--memory", "200m", "--cpu-share", "300", "c1")[0], 0)
    eq(cgroups.read(b, "memory/memory.limit_in_bytes", "memory.max"), str(200 << 20))
    eq(b.cli("exec", "c1", "sh", "-c", "head -1 /proc/meminfo | tr -dc 0-9")[1], str(200 << 10))
    eq(b.cli("update", "--resources", "-", "c1", input=json.dumps({"memory": {"limit": 220 << 20}, "cpu": {"quota": 30000, "period": 100000}}))[0], 0)
    eq(cgroups.read(b, "memory/memory.limit_in_bytes", "memory.max"), str(220 << 20))
    eq(cgroups.read(b, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0], "30000")
    refuses(b, "is not a number", "update", "--memory", "much", "c1")
    end(b)


def test_update_of_the_pids_limit_holds_in_the_guest(b):
    running(b)
    eq(b.cli("update", "--pids-limit", "3", "c1")[0], 0)
    code, out, err = b.cli("exec", "c1", "sh", "-c", "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait; echo all")
    assert "all" not in out, (code, out, err)
    eq(b.cli("update", "--pids-limit", "-1", "c1")[0], 0)
    assert "all" in b.cli("exec", "c1", "sh", "-c", "sleep 0.1 & sleep 0.1 & sleep 0.1 & sleep 0.1 & wait; echo all")[1]
    end(b)


def test_wait_prints_the_exit_status(b):
    b.sh("while [ ! -e /go ]; do sleep 0.05; done; exit 9")
    eq(b.detached("c1", "run", "-d"), 0)
    p = b.popen("wait", "c1")
    time.sleep(0.3)
    eq(b.cli("exec", "c1", "touch", "/go")[0], 0)
    out, err = p.communicate(timeout=20)
    eq((p.returncode, json.loads(out)), (0, {"id": "c1", "exitStatus": 9}))
    end(b)


def test_debug_shows_and_changes_the_log(b):
    running(b, "while :; do sleep 0.05; done")
    out = b.cli("debug", "c1")[1]
    assert "platform " in out and "status running" in out, out
    path = os.path.join(b.dir, "log")
    eq(b.cli("debug", "--log", path, "--strace", "on", "c1")[0], 0)
    end_time = time.time() + 10
    while "nanosleep" not in open(path).read():
        assert time.time() < end_time, open(path).read()[-500:]
        time.sleep(0.05)
    eq(b.cli("debug", "--strace", "off", "c1")[0], 0)
    end(b)


def test_spec_writes_a_config_that_runs(b):
    eq(b.cli("spec", "-b", b.path)[0], 1)  # there is one already
    os.unlink(os.path.join(b.path, "config.json"))
    p = subprocess.run(b.runtime + ["spec"], cwd=b.path, capture_output=True, text=True)
    eq((p.returncode, p.stdout, p.stderr), (0, "", ""))
    with open(os.path.join(b.path, "config.json")) as f:
        b.config = json.load(f)
    b.config["process"]["terminal"] = False
    b.config["process"]["env"] = ["PATH=/bin"]
    eq(b.args("echo", "works").run(), (0, "works\n", ""))


def test_checkpoint_and_restore_are_refused(b):
    refuses(b, "not supported", "checkpoint", "c1")
    refuses(b, "not supported", "restore", "c1")


def config_file(b, text=None):
    path = os.path.join(b.dir, "docker", "daemon.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if text is not None:
        with open(path, "w") as f:
            f.write(text)
    return path


def load(path):
    with open(path) as f:
        return json.load(f)


def test_install_and_uninstall_keep_the_rest(b):
    path = config_file(b, '{"data-root": "/x", "runtimes": {"other": {"path": "/o"}}}')
    os.chmod(path, 0o600)
    eq(b.cli("install", "--config-file", path, "--", "--platform=ptrace", "--debug")[0], 0)
    got = load(path)
    eq((got["data-root"], got["runtimes"]["other"]), ("/x", {"path": "/o"}))
    eq(got["runtimes"]["runsc-c"]["runtimeArgs"], ["--platform=ptrace", "--debug"])
    assert os.access(got["runtimes"]["runsc-c"]["path"], os.X_OK)
    eq(stat.S_IMODE(os.stat(path).st_mode), 0o600)
    eq(b.cli("install", "--config-file", path, "--runtime", "second")[0], 0)
    eq(sorted(load(path)["runtimes"]), ["other", "runsc-c", "second"])
    eq(b.cli("uninstall", "--config-file", path, "--runtime", "second")[0], 0)
    eq(b.cli("uninstall", "--config-file", path)[0], 0)
    eq(load(path), {"data-root": "/x", "runtimes": {"other": {"path": "/o"}}})
    refuses(b, "has no runtime", "uninstall", "--config-file", path)
    eq(os.listdir(os.path.dirname(path)), ["daemon.json"])


def test_install_makes_a_missing_file_and_refuses_a_broken_one(b):
    path = os.path.join(b.dir, "new", "daemon.json")
    eq(b.cli("install", "--config-file", path)[0], 0)
    assert "runsc-c" in load(path)["runtimes"]
    for text in ('{"a": ', "[]", '{"runtimes": 3}'):
        path = config_file(b, text)
        refuses(b, "is left as it is", "install", "--config-file", path)
        with open(path) as f:
            eq(f.read(), text)


def test_uninstall_takes_a_default_away_too(b):
    path = config_file(b, "{}")
    b.cli("install", "--config-file", path)
    doc = load(path)
    doc["default-runtime"] = "runsc-c"
    config_file(b, json.dumps(doc))
    eq(b.cli("uninstall", "--config-file", path)[0], 0)
    eq(load(path), {})


def test_completion_is_good_shell(b):
    code, out, _ = b.cli("completion", "bash")
    eq(code, 0)
    script = out + '\nCOMP_WORDS=(runsc-c de); COMP_CWORD=1; _runsc_c; echo "${COMPREPLY[@]}"\nCOMP_WORDS=(runsc-c create --pid); COMP_CWORD=2; _runsc_c; echo "${COMPREPLY[@]}"'
    p = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    eq((p.stdout.split(), p.stderr), (["delete", "debug", "--pid-file"], ""))
    eq(b.cli("completion", "fish")[0], 1)


def options_of_help(text):
    return set(re.findall(r"^  (?:-\w, |    )(--[\w-]+)", text, re.M))


def test_the_manual_page_has_every_command_and_option(b):
    code, out, _ = b.cli("completion", "man")
    assert code == 0 and out.startswith(".TH RUNSC-C 8"), out[:100]
    sections = dict(re.findall(r"^\.SS (\w+) (.*?)(?=^\.S[SH])", out, re.M | re.S))
    eq(sorted(sections), sorted(COMMANDS))
    for c in COMMANDS:
        text = sections[c].replace("\\-", "-")
        eq((c, set(re.findall(r"^\.B (?:-\w, )?(--[\w-]+)", text, re.M))), (c, options_of_help(b.cli(c, "--help")[1])))
    top = out.split(".SH GLOBAL OPTIONS")[1].split(".SH COMMANDS")[0].replace("\\-", "-")
    eq(set(re.findall(r"^\.B (?:-\w, )?(--[\w-]+)", top, re.M)), options_of_help(b.cli("--help")[1]))


def test_completion_knows_every_option(b):
    lines = [b.cli("completion", "bash")[1]]
    for words in [[], *([c] for c in COMMANDS)]:
        lines.append(f"COMP_WORDS=(runsc-c {' '.join(words)} --); COMP_CWORD={len(words) + 1}; _runsc_c; echo \"{' '.join(words)} ${{COMPREPLY[@]}}\"")
    p = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    eq(p.stderr, "")
    got = [set(line.split()) for line in p.stdout.splitlines()]
    eq(got[0], options_of_help(b.cli("--help")[1]))
    for c, words in zip(COMMANDS, got[1:]):
        eq(words, {c, "--help"} | options_of_help(b.cli(c, "--help")[1]))
    eq(sorted(COMMANDS), sorted(re.findall(r"^  (\w+) ", b.cli("--help")[1].split("global options:")[0], re.M)))


def test_exec_options(b):
    running(b)
    eq(b.cli("exec", "-g", "7", "-g", "8", "c1", "id", "-G")[1], "0 7 8\n")
    eq(b.cli("exec", "-e", "PATH=/bin:/x", "c1", "sh", "-c", "echo $PATH")[1], "/bin:/x\n")
    code, out, _ = b.cli("exec", "--cap", "CAP_NET_ADMIN", "c1", "grep", "CapEff", "/proc/self/status")
    eq(out.split()[1], "0000000000001000")
    path = os.path.join(b.dir, "process.json")
    with open(path, "w") as f:
        json.dump({"user": {"uid": 3, "gid": 4}, "args": ["sh", "-c", "id -u; pwd; echo $V; exit 6"], "env": ["PATH=/bin", "V=w"], "cwd": "/tmp"}, f)
    eq(b.cli("exec", "--process", path, "c1")[:2], (6, "3\n/tmp\nw\n"))
    end(b)
