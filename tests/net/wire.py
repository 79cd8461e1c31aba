"""A bad wire between the interfaces `left` and `right` of this namespace: loses, repeats and delays frames.

    wire.py SEED LOSS% DUPLICATES% REORDERED%

Frames travel with their virtio-net headers, so that segmentation is left to the ends. The same seed makes the same decisions
about the same frames.
"""
import random
import select
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 15, 23, 3


def open_end(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind((name, ETH_P_ALL))
    s.setblocking(False)
    return s


def main():
    rng = random.Random(int(sys.argv[1]))
    loss, duplicate, reorder = (float(a) / 100 for a in sys.argv[2:5])
    left, right = open_end("left"), open_end("right")
    late = []  # (when, to, frame)
    print("ready", flush=True)
    while True:
        timeout = max(0, late[0][0] - time.monotonic()) if late else None
        ready = select.select([left, right], [], [], timeout)[0]
        now = time.monotonic()
        while late and late[0][0] <= now:
            _, to, frame = late.pop(0)
            send(to, frame)
        for s in ready:
            try:
                frame = s.recv(1 << 17)
            except BlockingIOError:
                continue
            to = right if s is left else left
            if rng.random() < loss:
                continue
            if rng.random() < reorder:
                late.append((now + 0.005, to, frame))
                continue
            send(to, frame)
            if rng.random() < duplicate:
                send(to, frame)


def send(to, frame):
    try:
        to.send(frame)
    except OSError:
        pass  # no room: lost, like others


main()
