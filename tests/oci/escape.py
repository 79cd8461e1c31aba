"""Ways out of a container's trees by links, renames and races: none leads to a file of the host that was not given."""
import os
import threading

from harness import eq


def make_secret(b):
    """A file beside the bundle, and links in the root that would lead there if the host followed them."""
    secret = os.path.join(b.dir, "secret")
    os.mkdir(secret)
    for name in ("file", "x"):
        with open(os.path.join(secret, name), "w") as f:
            f.write("SECRET\n")
    os.symlink(os.path.join(secret, "file"), os.path.join(b.rootfs, "absolute"))
    os.symlink("../../secret/file", os.path.join(b.rootfs, "relative"))
    os.symlink("../" * 40 + secret.lstrip("/"), os.path.join(b.rootfs, "high"))
    os.symlink("/proc/self/root/../../../.." + secret, os.path.join(b.rootfs, "by-proc"))
    return secret


def test_no_link_leads_out_of_the_root(b):
    make_secret(b)
    b.config["root"]["readonly"] = False
    b.sh("for f in /absolute /relative /high/file /by-proc/file; do cat $f 2>/dev/null; echo x > $f; done; cd /; cd ../../..; ls secret 2>/dev/null;"
         "cat /proc/1/root/../../../../secret/file /proc/self/cwd/../../secret/file 2>/dev/null; echo end")
    code, out, _ = b.run()
    eq((code, out), (0, "end\n"))
    with open(os.path.join(b.dir, "secret/file")) as f:
        eq(f.read(), "SECRET\n")


def test_no_race_of_the_host_leads_out_of_a_tree(b):
    """The host swaps a directory for a link, back and forth, while the guest goes through it."""
    secret = make_secret(b)
    shared = os.path.join(b.dir, "shared")
    swap, real, link = (os.path.join(shared, n) for n in ("swap", "real", "link"))
    os.makedirs(swap)
    for name in ("file", "x"):
        with open(os.path.join(swap, name), "w") as f:
            f.write("inside\n")
    os.symlink(secret, link)
    b.config["mounts"].append({"destination": "/mnt", "type": "bind", "source": shared, "options": ["rbind", "rw"]})
    stop = threading.Event()

    def swapper():
        while not stop.is_set():
            os.rename(swap, real)
            os.rename(link, swap)
            os.rename(swap, link)
            os.rename(real, swap)

    b.sh("i=0; while [ $i -lt 3000 ]; do read x < /mnt/swap/file && echo $x; read x < /mnt/swap/x && echo $x; i=$((i+1)); done 2>/dev/null; echo end")
    t = threading.Thread(target=swapper)
    t.start()
    try:
        code, out, _ = b.cli("run", "c1", timeout=100)
    finally:
        stop.set()
        t.join()
    eq(code, 0)
    eq(set(out.split()) - {"inside"}, {"end"})


def test_a_read_only_mount_stays_so(b):
    shared = os.path.join(b.dir, "shared")
    os.mkdir(shared)
    b.config["mounts"].append({"destination": "/mnt", "type": "bind", "source": shared, "options": ["bind", "ro"]})
    b.config["process"]["capabilities"] = {kind: ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")}
    b.sh("mount -o remount,rw /mnt 2>/dev/null; echo x > /mnt/new; mkdir /mnt/dir; echo end")
    code, out, _ = b.run()
    eq((code, out), (0, "end\n"))
    eq(os.listdir(shared), [])


def test_a_full_tmpfs_is_ENOSPC(b):
    for m in b.config["mounts"]:
        if m["destination"] == "/tmp":
            m["options"].append("size=1m")
    b.sh("dd if=/dev/zero of=/tmp/a bs=64k 2>&1 | grep -c 'No space left'; rm /tmp/a; echo again > /tmp/b && cat /tmp/b")
    eq(b.run()[:2], (0, "1\nagain\n"))
