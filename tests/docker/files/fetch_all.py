"""fetch_all.py HOST PORT PATH N: fetches PATH N times at once with asyncio; prints its size, which must be the same each time."""
import asyncio
import sys


async def fetch(host, port, path):
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], head
    writer.close()
    return len(body)


async def main(host, port, path, n):
    sizes = await asyncio.gather(*[fetch(host, int(port), path) for _ in range(int(n))])
    assert len(set(sizes)) == 1, sizes
    print(sizes[0], "from", n)


asyncio.run(main(*sys.argv[1:]))
