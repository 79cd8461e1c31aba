"""What a sentry holds, from outside."""
import os


def sentry_of(command):
    """The sentry that `command`, a runsc-c in the foreground, started."""
    with open(f"/proc/{command}/task/{command}/children") as f:
        return int(f.read().split()[0])


def remains(pid):
    """(threads, descriptors, processes) of a sentry."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        children = len(f.read().split())
    return len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd")), children


def memory(pid):
    """Its own memory and that of the memory file, in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        fields = dict(line.split(":") for line in f if ":" in line)
    return sum(int(fields[k].split()[0]) for k in ("Pss_Anon", "Pss_Shmem"))
