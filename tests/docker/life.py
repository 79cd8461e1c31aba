"""What people do with containers: run, exec, logs, attach, cp, stop, kill, restart, pause, top, stats, wait, events, rename."""
import fcntl
import json
import os
import pty
import select
import shlex
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
NONE = ("--network", "none")


def eq(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def wait_for(what, seconds=30):
    end = time.time() + seconds
    while not what():
        assert time.time() < end, "waited in vain"
        time.sleep(0.1)


def sleeper(d, name="c1", *options, script="exec sleep 1000"):
    d.docker("run", "-d", "--name", name, *NONE, *options, "busybox", "sh", "-c", script)


def inspect(d, name, what):
    return d.out("inspect", "-f", "{{" + what + "}}", name).strip()


class Terminal:
    """A command on a terminal of our own."""

    def __init__(self, argv, rows=24, cols=80):
        self.master, slave = pty.openpty()
        self.resize(rows, cols)
        self.p = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                  preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)

    def resize(self, rows, cols):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def say(self, text, until, timeout=30):
        os.write(self.master, text.encode())
        got, end = "", time.time() + timeout
        while until not in got:
            assert time.time() < end, f"terminal said {got!r}, not {until!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    data = os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    data = ""
                assert data, f"terminal ended with {got!r}"
                got += data
        return got

    def close(self):
        self.p.kill()
        self.p.wait()
        os.close(self.master)


def test_run_output_and_status(d):
    p = d.docker("run", "--rm", *NONE, "busybox", "sh", "-c", "echo out; echo err >&2; exit 42", check=False)
    eq((p.returncode, p.stdout, p.stderr), (42, "out\n", "err\n"))
    eq(d.docker("run", "--rm", "-i", *NONE, "busybox", "cat", input="through\n").stdout, "through\n")


def test_run_of_a_missing_program(d):
    p = d.docker("run", "--rm", *NONE, "busybox", "no-such-program", check=False)
    eq(p.returncode, 127)
    assert "executable file not found in $PATH" in p.stderr, p.stderr
    p = d.docker("run", "--rm", *NONE, "busybox", "/etc/passwd", check=False)
    eq(p.returncode, 126)
    assert "permission denied" in p.stderr.lower(), p.stderr


def test_environment_user_directory_and_hostname(d):
    p = d.docker("run", "--rm", *NONE, "-e", "A=1", "-w", "/var/new", "-u", "1000:1001", "-h", "box", "busybox", "sh", "-c",
                 "echo $A $HOME; pwd; id -u; id -g; hostname; cat /etc/hostname")
    eq(p.stdout, "1 /home/user\n/var/new\n1000\n1001\nbox\nbox\n")
    eq(d.out("run", "--rm", *NONE, "busybox", "sh", "-c", "echo $HOME"), "/root\n")
    eq(d.out("run", "--rm", *NONE, "-u", "user", "--group-add", "7", "busybox", "id", "-G").split(), ["1000", "7", "1001"])


def test_terminal(d):
    t = Terminal(d.argv("run", "--rm", "-it", *NONE, "busybox", "sh"), 31, 91)
    try:
        t.say("", "# ")
        wait_for(lambda: "31 91" in t.say("stty size\n", "\r\n/ # "))
        t.say("tty\n", "/dev/pts/0")
        t.resize(20, 60)
        wait_for(lambda: "20 60" in t.say("stty size\n", "\r\n/ # "))
        t.say("echo slee$((0))ping; sleep 1000\n", "slee0ping") # not the echo, which the shell draws as it likes
        time.sleep(0.5)
        t.say("\x03", "# ")
        t.say("echo $((6*7))\n", "\r\n42\r\n")
        os.write(t.master, b"exit 5\n")
        eq(t.p.wait(30), 5)
    finally:
        t.close()


class Tmux:
    """A terminal that a program draws: what people look at."""

    def __init__(self, d, *argv):
        self.socket = os.path.join(d.dir, "tmux.sock")
        command = " ".join(shlex.quote(a) for a in d.argv(*argv))
        self("-f", "/dev/null", "new-session", "-d", "-x", "90", "-y", "30", f"{command}; echo status $?; exec sleep 1000")

    def __call__(self, *argv):
        return subprocess.run(["tmux", "-S", self.socket, *argv], stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}).stdout

    def shows(self, text, seconds=60):
        end = time.time() + seconds
        while text not in "\n" + (screen := self("capture-pane", "-p")):
            assert time.time() < end, f"{text!r} is not on:\n{screen}"
            time.sleep(0.1)

    def keys(self, *keys):
        self("send-keys", *keys)


def on_a_screen(d, *argv):
    """What a shell with job control, an editor and a pager do on a real terminal, by run -it or exec -it."""
    if not shutil.which("tmux"):
        raise unittest.SkipTest("no tmux")
    t = Tmux(d, *argv)
    try:
        t.shows("/ #")
        t.keys("stty size; tty; echo $TERM", "Enter")
        t.shows("30 90")
        t.shows("/dev/pts/")
        t.shows("xterm")
        t.keys("clear; vi /tmp/text; echo ed'it'ed", "Enter")
        t.shows("- /tmp/text")
        t.keys("itext of three")
        t.shows("I /tmp/text")
        t.shows("text of three")
        t.keys("Escape")
        t.shows("- /tmp/text")
        t.keys("yypp:wq", "Enter")
        t.shows("edited")
        t.keys("clear; grep -c three /tmp/text", "Enter")
        t.shows("\n3\n")
        t.keys("clear; sh -c \"echo st'art'ed; exec sleep 1000\"", "Enter")
        t.shows("started")
        t.keys("C-z")
        t.shows("Stopped")
        t.keys("clear; kill %1; fg; echo en'd'ed", "Enter")
        t.shows("ended")
        t.keys("clear; sh -c \"echo u'p'; exec cat\"", "Enter")
        t.shows("up\n")
        t.keys("hello", "Enter")
        t.shows("hello\nhello\n")
        t.keys("C-c")
        t.shows("^C\n/ #")
        t.keys("echo =$?=", "Enter")
        t.shows("\n=130=\n")
        t("resize-window", "-x", "70", "-y", "20")
        t.keys("clear; sleep 1; stty size", "Enter")
        t.shows("20 70")
        t.keys("clear; seq 100 | more", "Enter")
        t.shows("--More--")
        t.keys("q")
        t.keys("exit 9", "Enter")
        t.shows("status 9")
    finally:
        t("kill-server")


def test_terminal_on_a_screen(d):
    on_a_screen(d, "run", "--rm", "-it", *NONE, "-e", "TERM=xterm", "busybox", "sh")


def test_exec_on_a_screen(d):
    sleeper(d)
    on_a_screen(d, "exec", "-it", "-e", "TERM=xterm", "c1", "sh")


def test_attach_and_detach_of_a_terminal(d):
    d.docker("run", "-dit", "--name", "c1", *NONE, "busybox", "sh")
    for i in range(2):
        t = Terminal(d.argv("attach", "c1"), 25, 75 + i)
        try:
            os.write(t.master, b"\n")
            t.say("", "# ")
            wait_for(lambda: f"25 {75 + i}" in t.say("stty size\n", "\r\n/ # "))
            os.write(t.master, b"\x10\x11")
            t.p.wait(30) # its status differs from version to version
        finally:
            t.close()
    eq(inspect(d, "c1", ".State.Status"), "running")


def test_exec(d):
    sleeper(d)
    eq(d.out("exec", "c1", "sh", "-c", "echo $0 $$ >&2; cat /etc/hostname; ps | wc -l", check=False).split()[0], d.out("ps", "-q").strip())
    p = d.docker("exec", "-u", "5:6", "-e", "A=b", "-w", "/tmp", "c1", "sh", "-c", "id -u; pwd; echo $A; exit 3", check=False)
    eq((p.returncode, p.stdout), (3, "5\n/tmp\nb\n"))
    eq(d.docker("exec", "-i", "c1", "cat", input="in\n").stdout, "in\n")
    assert d.docker("exec", "c1", "nope", check=False).returncode in (126, 127)  # as Docker's version has it
    d.docker("exec", "-d", "c1", "sh", "-c", "echo done > /tmp/mark")
    wait_for(lambda: d.docker("exec", "c1", "cat", "/tmp/mark", check=False).stdout == "done\n")


def test_exec_that_ends_the_container(d):
    for i in range(5):
        sleeper(d, f"c{i}", script="while [ ! -e /tmp/go ]; do sleep 0.01; done")
        eq(d.docker("exec", f"c{i}", "touch", "/tmp/go", timeout=60).returncode, 0)
        eq(d.out("wait", f"c{i}"), "0\n")


def test_exec_with_a_terminal(d):
    sleeper(d)
    t = Terminal(d.argv("exec", "-it", "c1", "sh"), 22, 66)
    try:
        t.say("", "# ")
        wait_for(lambda: "22 66" in t.say("stty size\n", "\r\n/ # "))
        os.write(t.master, b"exit 6\n")
        eq(t.p.wait(30), 6)
    finally:
        t.close()


def test_logs_and_attach(d):
    sleeper(d, "c1", "-i", script="echo first; while read x; do echo got $x; done")
    wait_for(lambda: d.out("logs", "c1") == "first\n")
    p = subprocess.Popen(d.argv("attach", "c1"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    p.stdin.write("line\n")
    p.stdin.flush()
    eq(p.stdout.readline(), "got line\n")
    p.kill()
    p.wait()
    p.stdin.close()
    p.stdout.close()
    eq(d.out("logs", "c1"), "first\ngot line\n")


def test_cp_both_ways(d):
    sleeper(d)
    d.docker("exec", "c1", "sh", "-c", "ls /root/copy 2>/dev/null; mkdir /data; echo inside > /data/file")
    with open(os.path.join(d.dir, "copy"), "w") as f:
        f.write("outside\n")
    d.docker("cp", os.path.join(d.dir, "copy"), "c1:/root/copy")
    eq(d.out("exec", "c1", "cat", "/root/copy"), "outside\n")
    d.docker("cp", "c1:/data/.", os.path.join(d.dir, "back"))
    with open(os.path.join(d.dir, "back/file")) as f:
        eq(f.read(), "inside\n")


def test_cp_of_trees_and_into_what_is_stopped(d):
    where = os.path.join(d.dir, "tree")
    os.makedirs(os.path.join(where, "sub"), exist_ok=True)
    with open(os.path.join(where, "sub/run"), "w") as f:
        f.write("#!/bin/sh\necho ran\n")
    os.chmod(os.path.join(where, "sub/run"), 0o755)
    os.symlink("sub/run", os.path.join(where, "link"))
    os.chown(os.path.join(where, "sub/run"), 12, 34)
    sleeper(d)
    d.docker("cp", "-a", where, "c1:/root/")
    eq(d.out("exec", "c1", "sh", "-c", "/root/tree/link; stat -c '%a %u:%g' /root/tree/sub/run; readlink /root/tree/link"), "ran\n755 12:34\nsub/run\n")
    # As a tar stream, both ways.
    tar = subprocess.run(d.argv("cp", "c1:/root/tree", "-"), stdout=subprocess.PIPE, check=True).stdout
    d.docker("exec", "c1", "rm", "-r", "/root/tree")
    subprocess.run(d.argv("cp", "-", "c1:/tmp"), input=tar, check=True)
    eq(d.out("exec", "c1", "/tmp/tree/link"), "ran\n")
    d.docker("exec", "c1", "rm", "-r", "/tmp/tree")
    d.docker("stop", "-t", "0", "c1")
    d.docker("cp", where, "c1:/root/")
    d.docker("start", "c1")
    eq(d.out("exec", "c1", "/root/tree/link"), "ran\n")
    eq(d.docker("cp", "c1:/nope", where, check=False).returncode, 1)


def test_logs_follow_and_since(d):
    sleeper(d, script="for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.5; done")
    p = subprocess.run(d.argv("logs", "-f", "--tail", "all", "c1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    eq((p.stdout, p.stderr), ("out 1\nout 2\nout 3\n", "err 1\nerr 2\nerr 3\n"))
    p = d.docker("logs", "--tail", "1", "c1")
    eq(len((p.stdout + p.stderr).splitlines()), 1)
    eq(len(d.out("logs", "-t", "c1").split()[0]), len("2026-01-02T03:04:05.123456789Z"))


def test_stop_start_restart_kill(d):
    sleeper(d, script="trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done")
    wait_for(lambda: d.out("logs", "c1") == "up\n")
    d.docker("stop", "c1")
    eq(inspect(d, "c1", ".State.ExitCode"), "7")
    d.docker("start", "c1")
    wait_for(lambda: d.out("logs", "c1") == "up\nup\n")
    d.docker("restart", "c1")
    wait_for(lambda: d.out("logs", "c1") == "up\nup\nup\n")
    d.docker("kill", "-s", "KILL", "c1")
    eq(d.out("wait", "c1"), "137\n")
    d.docker("rm", "c1")
    sleeper(d)
    d.docker("stop", "-t", "1", "c1")
    eq(inspect(d, "c1", ".State.ExitCode"), "137")


def test_pause_and_unpause(d):
    sleeper(d, script="while :; do echo x; sleep 0.1; done")
    d.docker("pause", "c1")
    eq(inspect(d, "c1", ".State.Status"), "paused")
    before = d.out("logs", "c1")
    time.sleep(0.6)
    eq(d.out("logs", "c1"), before)
    d.docker("unpause", "c1")
    wait_for(lambda: len(d.out("logs", "c1")) > len(before))
    d.docker("pause", "c1")
    d.docker("rm", "-f", "c1")


def test_top_stats_wait_events_rename(d):
    since = str(int(time.time()) - 1)
    sleeper(d, script="while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 11")
    # `docker top` is ps on the host: the sandbox's processes there, of which the first is the container's.
    top = d.out("top", "c1").splitlines()
    eq(top[0].split(), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"])
    assert inspect(d, "c1", ".State.Pid") in [line.split()[1] for line in top[1:]], top
    eq(d.out("top", "c1", "-o", "pid,comm").split()[:2], ["PID", "COMMAND"])
    s = json.loads(d.out("stats", "--no-stream", "--format", "{{json .}}", "c1"))
    assert s["MemUsage"].split()[0] not in ("0B", "--") and s["PIDs"] != "0", s
    d.docker("rename", "c1", "c2")
    waiter = subprocess.Popen(d.argv("wait", "c2"), stdout=subprocess.PIPE, text=True)
    d.docker("exec", "c2", "touch", "/tmp/go")
    eq(waiter.communicate(timeout=30)[0], "11\n")
    events = d.out("events", "--since", since, "--until", str(int(time.time()) + 1), "--format", "{{.Action}}").split("\n")
    for action in ("create", "start", "rename", "exec_create: touch /tmp/go", "exec_start: touch /tmp/go", "exec_die", "die"):
        assert action in events, events
    exit_code = d.out("events", "--since", since, "--until", str(int(time.time()) + 1), "--filter", "event=die", "--filter", "container=c2",
                      "--format", "{{.Actor.Attributes.exitCode}}")
    eq(exit_code, "11\n")


def test_a_killed_sandbox_is_noticed(d):
    sleeper(d)
    os.kill(int(inspect(d, "c1", ".State.Pid")), signal.SIGKILL)
    wait_for(lambda: inspect(d, "c1", ".State.Status") == "exited")
    eq(inspect(d, "c1", ".State.ExitCode"), "137")
    d.docker("start", "c1")
    eq(d.out("exec", "c1", "echo", "again"), "again\n")


def test_restart_policy_and_healthcheck(d):
    sleeper(d, "c1", "--restart", "on-failure:2", script="echo run; exit 1")
    wait_for(lambda: inspect(d, "c1", ".RestartCount") == "2" and inspect(d, "c1", ".State.Status") == "exited")
    eq(d.out("logs", "c1"), "run\n" * 3)
    sleeper(d, "c2", "--health-cmd", "test -e /tmp/healthy", "--health-interval", "1s", "--health-retries", "2")
    wait_for(lambda: inspect(d, "c2", ".State.Health.Status") == "unhealthy")
    d.docker("exec", "c2", "touch", "/tmp/healthy")
    wait_for(lambda: inspect(d, "c2", ".State.Health.Status") == "healthy")


def test_stats_are_true(d):
    """Memory and CPU time that the guest uses show, within what the sandbox costs."""
    sleeper(d, script="head -c 50m /dev/zero > /dev/shm/f; echo full; while :; do :; done")
    wait_for(lambda: d.out("logs", "c1") == "full\n")
    s = json.loads(d.out("stats", "--no-stream", "--format", "{{json .}}", "c1"))
    used = s["MemUsage"].split()[0]
    assert used.endswith("MiB") and 50 <= float(used[:-3]) < 100, s
    assert float(s["CPUPerc"][:-1]) > 5, s
    d.docker("rm", "-f", "c1")


def test_restart_always_and_unless_stopped(d):
    sleeper(d, "c1", "--restart", "always", script="echo run; sleep 0.2; exit 0")
    wait_for(lambda: int(inspect(d, "c1", ".RestartCount")) >= 2)
    d.docker("stop", "-t", "0", "c1")
    eq(inspect(d, "c1", ".State.Status"), "exited")
    sleeper(d, "c2", "--restart", "unless-stopped")
    os.kill(int(inspect(d, "c2", ".State.Pid")), signal.SIGKILL)
    wait_for(lambda: inspect(d, "c2", ".RestartCount") == "1" and inspect(d, "c2", ".State.Status") == "running")
    # A daemon that comes back starts what was running, and not what was stopped; "always" is started in any case.
    d.docker("stop", "-t", "0", "c2")
    sleeper(d, "c3", "--restart", "unless-stopped")
    d.stop()
    d.start()
    wait_for(lambda: inspect(d, "c3", ".State.Status") == "running" and inspect(d, "c1", ".State.Status") in ("running", "restarting"))
    eq(inspect(d, "c2", ".State.Status"), "exited")


def test_init(d):
    eq(d.out("run", "--rm", "--init", *NONE, "busybox", "sh", "-c", "cat /proc/1/comm"), "docker-init\n")


def test_mounts_volumes_tmpfs_readonly(d):
    os.makedirs(os.path.join(d.dir, "bind"), exist_ok=True)
    with open(os.path.join(d.dir, "bind/f"), "w") as f:
        f.write("host\n")
    p = d.docker("run", "--rm", *NONE, "--read-only", "--tmpfs", "/run:size=1m", "-v", f"{d.dir}/bind:/b", "-v", f"{d.dir}/bind/f:/f:ro", "-v", "vol:/vol",
                 "busybox", "sh", "-c",
                 "cat /b/f /f; echo guest > /b/g; echo v > /vol/v; echo t > /run/t; cat /run/t; touch /x 2>/dev/null || echo ro; touch /f 2>/dev/null || echo ro")
    eq(p.stdout, "host\nhost\nt\nro\nro\n")
    with open(os.path.join(d.dir, "bind/g")) as f:
        eq(f.read(), "guest\n")
    eq(d.out("run", "--rm", *NONE, "-v", "vol:/vol", "busybox", "cat", "/vol/v"), "v\n")
    # What the host changes in a bind mount shows.
    sleeper(d, "c1", "-v", f"{d.dir}/bind:/b")
    eq(d.docker("exec", "c1", "cat", "/b/late", check=False).returncode, 1)
    with open(os.path.join(d.dir, "bind/late"), "w") as f:
        f.write("late\n")
    eq(d.out("exec", "c1", "cat", "/b/late"), "late\n")
    d.docker("rm", "-f", "c1")
    d.docker("volume", "rm", "vol")


def test_capabilities(d):
    def caps(*options):
        return d.out("run", "--rm", *NONE, *options, "busybox", "sh", "-c", "grep CapEff /proc/self/status").split()[1]
    eq(caps(), "00000000a80425fb")
    eq(caps("--cap-drop", "ALL"), "0000000000000000")
    eq(caps("--cap-drop", "ALL", "--cap-add", "NET_ADMIN"), "0000000000001000")


def test_options_of_run(d):
    for options in (["--privileged"], ["--pid=host"], ["--ipc=host"], ["--uts=host"], ["--cap-add=ALL"], ["--device=/dev/null:/dev/other"], ["--shm-size=10m"],
                    ["--cgroupns=private"], ["--cpuset-cpus=0"], ["--cpu-shares=100"], ["--group-add=5"], ["--stop-signal=INT"], ["--ulimit=core=0"], ["-t"],
                    ["--security-opt=seccomp=unconfined"], ["--tmpfs=/a:size=1m,mode=700"], ["--mount=type=tmpfs,destination=/b"]):
        eq((options, d.out("run", "--rm", *NONE, *options, "busybox", "echo", "ok").strip()), (options, "ok"))


def test_twenty_containers_at_once(d):
    procs = [subprocess.Popen(d.argv("run", "-d", "--name", f"n{i}", *NONE, "busybox", "sh", "-c", f"echo {i}; exec sleep 1000"), stdout=subprocess.DEVNULL)
             for i in range(20)]
    for p in procs:
        eq(p.wait(180), 0)
    for i in range(20):
        wait_for(lambda: d.out("logs", f"n{i}") == f"{i}\n")
    d.docker("rm", "-f", *[f"n{i}" for i in range(20)])


def test_twenty_containers_work_at_once(d):
    """All on the default bridge: each asks another."""
    d.docker("run", "-d", "--name", "n0", "busybox", "sh", "-c", "mkdir /www; echo hello > /www/index.html; exec busybox httpd -f -p 80 -h /www")
    address = inspect(d, "n0", ".NetworkSettings.IPAddress")
    procs = [subprocess.Popen(d.argv("run", "-d", "--name", f"n{i}", "busybox", "sh", "-c", f"n=0; while [ $n -lt 20 ]; do wget -qO- http://{address}/ && n=$((n + 1)); done"),
                              stdout=subprocess.DEVNULL) for i in range(1, 20)]
    for p in procs:
        eq(p.wait(300), 0)
    for i in range(1, 20):
        eq(d.out("wait", f"n{i}", timeout=300), "0\n")
        eq(d.out("logs", f"n{i}"), "hello\n" * 20)


def test_live_restore(d):
    d.options.append("--live-restore")
    d.stop()
    d.start()
    sleeper(d, script="while :; do echo x; sleep 0.2; done")
    pid = inspect(d, "c1", ".State.Pid")
    d.stop(signal.SIGKILL)
    assert os.path.exists(f"/proc/{pid}")
    d.start()
    eq((inspect(d, "c1", ".State.Pid"), inspect(d, "c1", ".State.Status")), (pid, "running"))
    eq(d.out("exec", "c1", "echo", "alive"), "alive\n")
    # What it says while there is no daemon is not lost, and its end is seen.
    d.docker("exec", "c1", "sh", "-c", "echo mark > /proc/1/fd/1")
    wait_for(lambda: "mark\n" in d.out("logs", "c1"))
    d.stop()
    d.start()
    eq(inspect(d, "c1", ".State.Pid"), pid)
    before = d.out("logs", "c1").count("x")
    wait_for(lambda: d.out("logs", "c1").count("x") > before)
    d.stop(signal.SIGKILL)
    os.kill(int(pid), signal.SIGKILL)
    d.start()
    wait_for(lambda: inspect(d, "c1", ".State.Status") == "exited")
    d.options.remove("--live-restore")
    d.stop()
    d.start()


LONG = [test_options_of_run, test_twenty_containers_at_once, test_twenty_containers_work_at_once, test_terminal_on_a_screen, test_exec_on_a_screen,
        test_attach_and_detach_of_a_terminal, test_cp_of_trees_and_into_what_is_stopped, test_logs_follow_and_since, test_stats_are_true,
        test_restart_always_and_unless_stopped, test_live_restore, test_restart_policy_and_healthcheck]
