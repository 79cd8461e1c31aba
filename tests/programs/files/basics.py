"""Python in everyday use: threads, subprocesses, asyncio, multiprocessing, sqlite3, mmap, signals, sockets."""
import asyncio
import concurrent.futures
import mmap
import multiprocessing
import os
import queue
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time


def threads():
    q, total = queue.Queue(), []
    lock = threading.Lock()

    def worker():
        while (x := q.get()) is not None:
            with lock:
                total.append(x)
    ts = [threading.Thread(target=worker) for _ in range(8)]
    for t in ts:
        t.start()
    for i in range(20000):
        q.put(i)
    for _ in ts:
        q.put(None)
    for t in ts:
        t.join()
    assert sum(total) == 199990000
    b = threading.Barrier(10)
    ts = [threading.Thread(target=b.wait) for _ in range(9)]
    [t.start() for t in ts]
    b.wait(10)
    [t.join() for t in ts]


def subprocesses():
    assert subprocess.run(["tr", "a-z", "A-Z"], input=b"abc", stdout=subprocess.PIPE).stdout == b"ABC"
    assert subprocess.run(["sh", "-c", "exit 7"]).returncode == 7
    p = subprocess.Popen(["sleep", "100"])
    p.terminate()
    assert p.wait() == -signal.SIGTERM
    big = os.urandom(3 << 20)
    assert subprocess.run(["cat"], input=big, stdout=subprocess.PIPE).stdout == big
    with concurrent.futures.ThreadPoolExecutor(8) as ex:
        assert sum(r.returncode for r in ex.map(lambda i: subprocess.run(["true"]), range(40))) == 0
    try:
        subprocess.run(["sleep", "5"], timeout=0.2)
        assert False
    except subprocess.TimeoutExpired:
        pass


async def aio():
    async def echo(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
    path = tempfile.mktemp()
    server = await asyncio.start_unix_server(echo, path)

    async def client(i):
        r, w = await asyncio.open_unix_connection(path)
        for k in range(50):
            w.write(b"m%d %d\n" % (i, k))
            assert await r.readline() == b"M%d %d\n" % (i, k)
        w.close()
    await asyncio.gather(*(client(i) for i in range(20)))
    server.close()
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    out, _ = await p.communicate(b"hello")
    assert out == b"hello" and p.returncode == 0
    t = time.monotonic()
    await asyncio.gather(*(asyncio.sleep(0.1) for _ in range(1000)))
    assert time.monotonic() - t < 5


def square(x):
    return x * x


def multi():
    for method in ("fork", "spawn", "forkserver"):
        ctx = multiprocessing.get_context(method)
        with ctx.Pool(4) as pool:
            assert sum(pool.map(square, range(1000))) == 332833500
    q, v = multiprocessing.Queue(), multiprocessing.Value("i", 0)

    def child():
        with v.get_lock():
            v.value += 1
        q.put(os.getpid())
    ps = [multiprocessing.Process(target=child) for _ in range(8)]
    [p.start() for p in ps]
    assert len({q.get() for _ in ps}) == 8
    [p.join() for p in ps]
    assert v.value == 8


def database():
    with tempfile.TemporaryDirectory() as d:
        for mode in ("DELETE", "WAL"):
            db = sqlite3.connect(os.path.join(d, mode))
            assert db.execute(f"PRAGMA journal_mode={mode}").fetchone()[0].upper() == mode
            db.execute("create table t(x)")
            for i in range(50):
                with db:
                    db.execute("insert into t values(?)", (i,))
            assert db.execute("select sum(x) from t").fetchone()[0] == 1225
            db.close()


def memory_and_signals():
    with tempfile.TemporaryFile() as f:
        f.truncate(1 << 20)
        m = mmap.mmap(f.fileno(), 0)
        m[1000:1005] = b"hello"
        m.flush()
        assert os.pread(f.fileno(), 5, 1000) == b"hello"
        m.close()
    got = []
    signal.signal(signal.SIGALRM, lambda s, f: got.append(s))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    end = time.monotonic() + 5
    while len(got) < 5 and time.monotonic() < end:
        sum(range(10000))
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(got) >= 5


def sockets():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
    c = socket.create_connection(s.getsockname())
    a, _ = s.accept()
    data = os.urandom(1 << 20)
    t = threading.Thread(target=lambda: (c.sendall(data), c.shutdown(socket.SHUT_WR)))
    t.start()
    got = b""
    while chunk := a.recv(65536):
        got += chunk
    t.join()
    assert got == data
    ep = select.epoll()
    ep.register(a, select.EPOLLIN | select.EPOLLRDHUP)
    assert ep.poll(1)
    x, y = socket.socketpair()
    socket.send_fds(x, [b"f"], [0])
    assert len(socket.recv_fds(y, 1, 1)[1]) == 1


if __name__ == "__main__":
    threads()
    subprocesses()
    asyncio.run(aio())
    multi()
    database()
    memory_and_signals()
    if "--unix-only" not in sys.argv:
        sockets()
