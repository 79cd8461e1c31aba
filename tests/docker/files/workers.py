"""multiprocessing's pools, queues, locks and shared memory; asyncio's sockets, processes and time-outs."""
import asyncio
import multiprocessing as mp
from multiprocessing import shared_memory


def square(i):
    return i * i


def produce(q, i):
    for n in range(10):
        q.put(i * 10 + n)


def count(lock, value):
    for _ in range(1000):
        with lock:
            value.value += 1


async def talk():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def ask(i):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"%d\n" % i)
        answer = await reader.readline()
        writer.close()
        return int(answer)
    answers = await asyncio.gather(*[ask(i) for i in range(100)])
    assert answers == list(range(100))
    try:
        await asyncio.wait_for(asyncio.sleep(60), 0.05)
        raise AssertionError("no time-out")
    except asyncio.TimeoutError:
        pass
    print("asyncio", len(answers))
    child = await asyncio.create_subprocess_exec("sh", "-c", "read x; exit $x", stdin=asyncio.subprocess.PIPE)
    await child.communicate(b"7\n")
    print("child", child.returncode)


if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with mp.get_context(method).Pool(4) as pool:
            total = sum(pool.map(square, range(10000)))
    print("pool", total)
    queue = mp.Queue()
    workers = [mp.Process(target=produce, args=(queue, i)) for i in range(10)]
    for w in workers:
        w.start()
    print("queue", sum(queue.get() for _ in range(100)))
    for w in workers:
        w.join()
    lock, shared = mp.Lock(), mp.Value("i", 0, lock=False)
    workers = [mp.Process(target=count, args=(lock, shared)) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    print("shared", shared.value)
    block = shared_memory.SharedMemory(create=True, size=1 << 20)
    block.buf[:4] = b"test"
    other = shared_memory.SharedMemory(block.name)
    assert bytes(other.buf[:4]) == b"test"
    other.close()
    block.unlink()
    asyncio.run(talk())
