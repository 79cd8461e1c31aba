"""Descriptors of the caller's for the container's process: --preserve-fds, and $LISTEN_FDS of socket activation."""
import os
import subprocess
import time

from harness import eq, refuses


def cli_with(b, fds, *argv, env=None, input=None):
    """Runs a command that finds `fds` as its descriptors 3 and up. They may be there already, so that they are moved out of the way first."""
    b.write()
    high = [os.dup(fd) if fd < 64 else fd for fd in fds]
    words = "; ".join([f"exec {3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(high)] + ['exec "$@"'])
    p = subprocess.run(["bash", "-c", words, "sh", *b.runtime, *argv], cwd=b.path, pass_fds=high, capture_output=True, text=True, timeout=60, env=env, input=input)
    for fd in set(high) - set(fds):
        os.close(fd)
    return p.returncode, p.stdout, p.stderr


def file_fd(b, name, text="", flags=os.O_RDWR):
    path = os.path.join(b.dir, name)
    with open(path, "w") as f:
        f.write(text)
    return os.open(path, flags)


def contents(b, name):
    with open(os.path.join(b.dir, name)) as f:
        return f.read()


def test_files_and_pipes_are_passed(b):
    a, log = file_fd(b, "a", "first\nsecond\n"), file_fd(b, "log", "old\n", os.O_WRONLY | os.O_APPEND)
    r, w = os.pipe()
    os.write(w, b"through a pipe\n")
    os.close(w)
    b.sh("read x <&3; echo $x; cat <&4; echo new >&5; for f in 3 4 5 6; do [ -e /proc/self/fd/$f ] && echo $f; done; readlink /proc/self/fd/4 | cut -d: -f1")
    code, out, err = cli_with(b, [a, r, log], "run", "--preserve-fds", "3", "c1")
    eq((code, out), (0, "first\nthrough a pipe\n3\n4\n5\npipe\n"))
    eq(contents(b, "log"), "old\nnew\n")
    # The position is shared, as that of any inherited file.
    eq(os.read(a, 100), b"second\n")
    for fd in (a, r, log):
        os.close(fd)


def test_only_so_many_are_passed(b):
    fds = [file_fd(b, f"f{i}", f"{i}\n") for i in range(3)]
    eq(cli_with(b, fds, "run", "--preserve-fds", "1", "c1")[0], 0)
    b.sh("cat <&3; cat <&4 2>/dev/null || echo none")
    eq(cli_with(b, fds, "run", "--preserve-fds", "1", "c1")[1], "0\nnone\n")
    eq(cli_with(b, fds, "run", "c1")[1], "none\n")
    for fd in fds:
        os.close(fd)


def test_create_and_exec_pass_them_too(b):
    one, two = file_fd(b, "one", "one\n"), file_fd(b, "two", "two\n")
    r, w = os.pipe()
    b.sh("cat <&3 > /got; sleep 100")
    out = os.path.join(b.dir, "out")
    b.write()
    subprocess.run(["bash", "-c", f'exec 3<&{one}; exec "$@" > {out} 2>&1', "sh", *b.runtime, "create", "--preserve-fds", "1", "c1"], cwd=b.path, pass_fds=[one],
                   stdin=subprocess.DEVNULL, check=True, timeout=60)
    eq(b.cli("start", "c1")[0], 0)
    end = time.time() + 20
    while not os.path.exists(os.path.join(b.rootfs, "got")) or not open(os.path.join(b.rootfs, "got")).read():
        assert time.time() < end
        time.sleep(0.02)
    eq(open(os.path.join(b.rootfs, "got")).read(), "one\n")
    eq(cli_with(b, [two, w], "exec", "--preserve-fds", "2", "c1", "sh", "-c", "cat <&3; echo written >&4")[:2], (0, "two\n"))
    os.close(w)
    # Nobody else has the pipe open: it ends.
    eq(os.read(r, 100), b"written\n")
    eq(os.read(r, 100), b"")
    eq(b.cli("delete", "-f", "c1")[0], 0)
    for fd in (one, two, r):
        os.close(fd)


def test_what_cannot_be_passed_is_refused(b):
    refuses(b, "preserve-fds: descriptor 3 .*Bad file descriptor", "run", "--preserve-fds", "1", "c1")
    refuses(b, "at most 200", "run", "--preserve-fds", "201", "c1")
    fd = os.open(b.dir, os.O_RDONLY)
    code, _, err = cli_with(b, [fd], "run", "--preserve-fds", "1", "c1")
    eq((code, err), (1, "runsc-c: descriptor 3: Is a directory\n"))
    os.close(fd)
    eq(b.args("true").cli("run", "--preserve-fds", "0", "c1")[0], 0)
