"""WebSockets as far as they need: a room whose members hear what each says.

    rooms.py serve; rooms.py join HOST N: N members, each hears all N; rooms.py stay HOST: says something once /tmp/go exists
"""
import asyncio
import base64
import hashlib
import os
import struct
import sys

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(text, mask):
    data = text.encode()
    key = os.urandom(4) if mask else b""
    body = bytes(b ^ key[i % 4] for i, b in enumerate(data)) if mask else data
    return struct.pack("!BB", 0x81, len(data) | (0x80 if mask else 0)) + key + body


async def read_frame(reader):
    _, length = await reader.readexactly(2)
    key = await reader.readexactly(4) if length & 0x80 else bytes(4)
    data = await reader.readexactly(length & 0x7F)
    return bytes(b ^ key[i % 4] for i, b in enumerate(data)).decode()


async def serve():
    members = set()

    async def member(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        members.add(writer)
        try:
            while True:
                text = await read_frame(reader)
                for m in list(members):
                    m.write(frame(text, False))
        except (asyncio.IncompleteReadError, ConnectionError):
            members.discard(writer)
            writer.close()
    server = await asyncio.start_server(member, "", 8080)
    print("listening", flush=True)
    await server.serve_forever()


async def enter(host):
    reader, writer = await asyncio.open_connection(host, 8080)
    writer.write(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\r\n\r\n")
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def join(host, n):
    members = [await enter(host) for _ in range(n)]

    async def listen(reader):
        return {await read_frame(reader) for _ in range(n)}
    ears = [asyncio.create_task(listen(r)) for r, _ in members]
    for i, (_, writer) in enumerate(members):
        writer.write(frame(f"member {i}", True))
    for heard in await asyncio.gather(*ears):
        assert heard == {f"member {i}" for i in range(n)}, heard
    print(n, "heard", n, "times")


async def stay(host):
    reader, writer = await enter(host)
    print("joined", flush=True)
    while not os.path.exists("/tmp/go"):
        await asyncio.sleep(0.1)
    writer.write(frame("still here", True))
    print("heard", await read_frame(reader))


if sys.argv[1] == "serve":
    asyncio.run(serve())
elif sys.argv[1] == "join":
    asyncio.run(join(sys.argv[2], int(sys.argv[3])))
else:
    asyncio.run(stay(sys.argv[2]))
