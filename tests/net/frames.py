"""Frames made by hand, for what no sane stack sends: addresses of the peer's network that no kernel answers for."""
import socket
import struct
import subprocess
import json

from harness import TIME_FACTOR

SOL_PACKET, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 23, 3
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def checksum(b):
    b += b"\0" * (len(b) % 2)
    total = sum(struct.unpack(f">{len(b) // 2}H", b))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(a):
    return socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a)


def with_checksum(src, dst, proto, b, at):
    """The transport packet `b` with its checksum, of the pseudo header too, at the offset `at`."""
    pseudo = packed(src) + packed(dst) + (struct.pack(">BBH", 0, proto, len(b)) if "." in src else struct.pack(">II", len(b), proto))
    return b[:at] + struct.pack(">H", checksum(pseudo + b[:at] + b"\0\0" + b[at + 2:]) or 0xFFFF) + b[at + 2:]


def ip4(src, dst, proto, payload, ident=0, frag=0, ttl=64, options=b""):
    h = struct.pack(">BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, 20 + len(options) + len(payload), ident, frag, ttl, proto, 0, packed(src), packed(dst)) + options
    return h[:10] + struct.pack(">H", checksum(h)) + h[12:] + payload


def ip6(src, dst, proto, payload, hops=64):
    return struct.pack(">IHBB16s16s", 6 << 28, len(payload), proto, hops, packed(src), packed(dst)) + payload


def udp(src, dst, sport, dport, data):
    return with_checksum(src, dst, 17, struct.pack(">HHHH", sport, dport, 8 + len(data), 0) + data, 6)


def tcp(src, dst, sport, dport, flags, seq, ack=0, data=b"", options=b"", window=65535):
    b = struct.pack(">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (20 + len(options)) // 4 << 4, flags, window, 0, 0)
    return with_checksum(src, dst, 6, b + options + data, 16)


def icmp4(kind, code, rest, data=b""):
    b = struct.pack(">BBHI", kind, code, 0, rest) + data
    return b[:2] + struct.pack(">H", checksum(b)) + b[4:]


def icmp6(src, dst, kind, code, rest, data=b""):
    return with_checksum(src, dst, 58, struct.pack(">BBHI", kind, code, 0, rest) + data, 2)


class Segment:
    """A TCP segment that arrived."""

    def __init__(self, ip):
        v4 = ip[0] >> 4 == 4
        l4 = ip[(ip[0] & 15) * 4:struct.unpack(">H", ip[2:4])[0]] if v4 else ip[40:]
        self.src, self.dst = (socket.inet_ntop(socket.AF_INET, ip[o:o + 4]) for o in (12, 16)) if v4 else (socket.inet_ntop(socket.AF_INET6, ip[o:o + 16]) for o in (8, 24))
        self.sport, self.dport, self.seq, self.ack, offset, self.flags, self.window = struct.unpack(">HHIIBBH", l4[:16])
        self.data = l4[(offset >> 4) * 4:]


class Frames:
    """Sends and receives frames at the peer's interface. Answers no ARP: addresses are given to the sandbox in add()."""

    def __init__(self, n):
        self.n = n
        with n.inside():
            self.s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self.s.bind(("eth0", ETH_P_ALL))
        self.s.settimeout(20 * TIME_FACTOR)
        self.mac, self.box_mac = (bytes.fromhex(json.loads(subprocess.check_output(["ip", "-n", ns, "-j", "link", "show", "eth0"]))[0]["address"].replace(":", ""))
                                  for ns in (n.peer, n.box))

    def add(self, *addresses):
        """The sandbox, which must not have begun, will send to these addresses without asking."""
        for a in addresses:
            subprocess.run(["ip", "-n", self.n.box, "neigh", "replace", a, "lladdr", self.mac.hex(":"), "dev", "eth0", "nud", "permanent"], check=True)

    def send(self, packet, kind=None, to=None):
        if kind is None:
            kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        self.s.send((to or self.box_mac) + self.mac + struct.pack(">H", kind) + packet)

    def packets(self):
        """All that arrives, without Ethernet headers."""
        while True:
            yield self.s.recv(1 << 17)[14:]

    def next_icmp(self, family, kinds):
        """The next ICMP message of one of these types: (source, message)."""
        for p in self.packets():
            if family == socket.AF_INET and p[0] >> 4 == 4 and p[9] in (1, 2):
                src, body = socket.inet_ntop(family, p[12:16]), p[(p[0] & 15) * 4:struct.unpack(">H", p[2:4])[0]]
            elif family == socket.AF_INET6 and p[0] >> 4 == 6 and (p[6] == 58 or (p[6] == 0 and p[40] == 58)):
                src, body = socket.inet_ntop(family, p[8:24]), p[40 if p[6] else 40 + 8 + p[41] * 8:40 + struct.unpack(">H", p[4:6])[0]]
            else:
                continue
            if body[0] in kinds:
                return src, body

    def next_segment(self, dst, dport):
        """The next TCP segment for this address and port."""
        for p in self.packets():
            if (p[0] >> 4 == 4 and p[9] == 6) or (p[0] >> 4 == 6 and p[6] == 6):
                s = Segment(p)
                if (s.dst, s.dport) == (dst, dport):
                    return s
