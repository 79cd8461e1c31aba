"""What a test may not change on the host: network devices and sockets, seen from a network namespace that is the tests' alone."""
import ctypes
import subprocess

CLONE_NEWNET = 0x40000000
TIME_WAIT = "06"


def own_network():
    """Whatever shows from now on is ours. Not for users, who may not; then there is nothing to compare."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) < 0:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return True


def rows(path):
    try:
        with open(path) as f:
            return [line.split() for line in f][1:]
    except FileNotFoundError:
        return []


def network():
    """{kind: what there is}, in an order that can be compared."""
    found = {"devices": sorted(r[0] for r in rows("/proc/net/dev")[1:])}
    # Columns: address, uses, protocol, flags, type, state, inode, and the name of one that has one.
    found["unix"] = sorted((r[4], r[7] if len(r) > 7 else "") for r in rows("/proc/net/unix"))
    # The kernel's own have port 0.
    found["netlink"] = sorted((r[1], r[2]) for r in rows("/proc/net/netlink") if r[2] != "0")
    found["packet"] = sorted((r[2], r[3]) for r in rows("/proc/net/packet"))
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        found[name] = sorted((r[1], r[2]) for r in rows("/proc/net/" + name) if r[3] != TIME_WAIT)
    return found


def difference(before, after):
    return {kind: {"before": before[kind], "after": after[kind]} for kind in before if before[kind] != after[kind]}
