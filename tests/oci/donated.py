"""Descriptors of the caller's for the container's process: --preserve-fds, and $LISTEN_FDS of socket activation."""
import fcntl
import os
import socket
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


def with_python(b, *argv):
    """A container on the host's files that runs python: busybox knows no descriptors of sockets."""
    b.config["root"] = {"path": "/", "readonly": True}
    b.config["process"]["env"] = ["PATH=/usr/bin:/bin", "HOME=/tmp"]
    return b.args("/usr/bin/python3", *argv)


SERVER = """
import os, socket, sys
n, first = int(os.environ.get("LISTEN_FDS", sys.argv[1])), 3
print(os.environ.get("LISTEN_PID"), os.getpid(), n, flush=True)
for fd in range(first, first + n):
    s = socket.socket(fileno=fd)
    listening = s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    print(s.family.name, s.type.name, listening, s.getsockname(), s.getblocking(), flush=True)
    if listening:
        c, peer = s.accept()
        data = c.recv(100)
        c.sendall(b"answer to " + data)
        c.shutdown(socket.SHUT_WR)
        print(data.decode(), c.recv(10), flush=True)
    elif s.type == socket.SOCK_DGRAM:
        data, peer = s.recvfrom(100)
        s.sendto(b"datagram " + data, peer)
    else:
        s.sendall(b"hello from inside")
        print(s.recv(100).decode(), flush=True)
"""


def ask(s, text):
    s.sendall(text.encode())
    got = b""
    while data := s.recv(100):
        got += data
    s.close()
    return got.decode()


def test_sockets_of_socket_activation(b):
    """As systemd would start it: $LISTEN_PID is the command's own, and the container's init is told its pid there."""
    tcp = socket.create_server(("127.0.0.1", 0))
    unix, path = socket.socket(socket.AF_UNIX), os.path.join(b.dir, "s")
    unix.bind(path)
    unix.listen()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    a, z = socket.socketpair()
    with_python(b, "-c", SERVER, "0")
    b.write()
    fds = [s.fileno() for s in (tcp, unix, udp, a)]
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
    words = "; ".join([f"exec {3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(high)] + ['LISTEN_FDS=3 LISTEN_PID=$$ exec "$@"'])
    p = subprocess.Popen(["bash", "-c", words, "sh", *b.runtime, "run", "--preserve-fds", "1", "c1"], cwd=b.path, pass_fds=high, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    for fd in high:
        os.close(fd)
    eq(p.stdout.readline(), "1 1 3\n")
    eq(ask(socket.create_connection(tcp.getsockname()), "tcp"), "answer to tcp")
    c = socket.socket(socket.AF_UNIX)
    c.connect(path)
    eq(ask(c, "unix"), "answer to unix")
    c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    c.settimeout(20)
    c.sendto(b"udp", udp.getsockname())
    eq(c.recv(100), b"datagram udp")
    out = p.stdout.read().splitlines()
    eq(p.wait(30), 0)
    eq(out, [f"AF_INET SOCK_STREAM 1 {tcp.getsockname()} True", "tcp b''", f"AF_UNIX SOCK_STREAM 1 {path} True", "unix b''", f"AF_INET SOCK_DGRAM 0 {udp.getsockname()} True"])
    for s in (tcp, unix, udp, a, z, c):
        s.close()


def test_a_connected_socket_is_passed(b):
    a, z = socket.socketpair()
    with_python(b, "-c", SERVER, "1")
    os.set_inheritable(a.fileno(), True)
    z.sendall(b"from outside")
    code, out, err = cli_with(b, [a.fileno()], "run", "--preserve-fds", "1", "c1")
    eq((code, out.splitlines()[1:], err), (0, ["AF_UNIX SOCK_STREAM 0  True", "from outside"], ""))
    eq(z.recv(100), b"hello from inside")
    a.close()
    z.close()


def test_descriptors_do_not_come_in_or_out_by_a_passed_socket(b):
    """What a peer on the host sends is dropped; what the guest has is nothing to send."""
    a, z = socket.socketpair()
    with_python(b, "-c", """
import array, os, socket
s = socket.socket(fileno=3)
data, anc, flags, _ = s.recvmsg(100, 1000)
print(data, anc, bool(flags & socket.MSG_CTRUNC))
try:
    s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
except OSError as e:
    print(e.strerror)
""")
    socket.send_fds(z, [b"take this"], [0])
    eq(cli_with(b, [a.fileno()], "run", "--preserve-fds", "1", "c1")[:2], (0, "b'take this' [] True\nInvalid argument\n"))
    a.close()
    z.close()


def test_what_cannot_be_passed_is_refused(b):
    refuses(b, "preserve-fds: descriptor 3 .*Bad file descriptor", "run", "--preserve-fds", "1", "c1")
    refuses(b, "at most 200", "run", "--preserve-fds", "201", "c1")
    fd = os.open(b.dir, os.O_RDONLY)
    code, _, err = cli_with(b, [fd], "run", "--preserve-fds", "1", "c1")
    eq((code, err), (1, "runsc-c: descriptor 3: Is a directory\n"))
    os.close(fd)
    eq(b.args("true").cli("run", "--preserve-fds", "0", "c1")[0], 0)
