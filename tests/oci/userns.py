"""User namespaces: ids that a config maps, ordinary users, and hosts that forbid them."""
import os
import shlex
import shutil
import subprocess
import unittest

from harness import eq

NOBODY = 65534


def own(b, uid, gid):
    for at, dirs, files in os.walk(b.dir):
        for name in dirs + files:
            os.lchown(os.path.join(at, name), uid, gid)
    os.lchown(b.dir, uid, gid)


def map_ids(b, host_id, size):
    b.config["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        b.config["linux"][key] = [{"containerID": 0, "hostID": host_id, "size": size}]


def may_chown(b):
    b.config["process"]["capabilities"] = {kind: ["CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")}


def as_nobody(b):
    """Gives the bundle, and a copy of the runtime that everybody can reach, to an ordinary user; his options for popen."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can become somebody else")
    b.runtime[0] = shutil.copy(b.runtime[0], b.dir)
    b.write()
    os.mkdir(b.state)
    own(b, NOBODY, NOBODY)
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def test_a_config_maps_the_containers_ids(b):
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can map what is not its own")
    map_ids(b, 100000, 65536)
    own(b, 100000, 100000)
    may_chown(b)
    b.sh("id -u; touch /root/new; stat -c %u:%g /root/new; busybox chown 5:6 /root/new; stat -c %u:%g /root/new; read x; exit 3")
    p = b.popen("run", "c1", stdin=subprocess.PIPE)
    eq([p.stdout.readline() for _ in range(3)], ["0\n", "0:0\n", "5:6\n"])
    st = os.stat(os.path.join(b.rootfs, "root/new"))
    eq((st.st_uid, st.st_gid), (100005, 100006))
    with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
        sentry = f.read().split()[0]
    with open(f"/proc/{sentry}/status") as f:
        eq([line.split()[1:] for line in f if line.startswith("Uid:")], [["100000"] * 4])
    p.stdin.close()
    eq(p.wait(10), 3)


def test_mappings_without_a_user_namespace_are_ignored(b):
    map_ids(b, 100000, 65536)
    b.config["linux"]["namespaces"].pop()
    b.sh("touch /root/new")
    eq(b.run(), (0, "", ""))
    eq(os.stat(os.path.join(b.rootfs, "root/new")).st_uid, os.geteuid())


def test_a_broken_map_is_refused(b):
    b.config["linux"]["namespaces"].append({"type": "user"})
    b.config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 4294967295}] * 2
    code, _, err = b.run()
    assert code == 1 and "map of ids: uid_map" in err, (code, err)


def test_an_ordinary_user_runs_a_container(b):
    user = as_nobody(b)
    map_ids(b, NOBODY, 1)
    b.sh("id -u; echo text > /root/new; cat /root/new; ls -ln /root/new | head -c 10")
    b.config["root"]["readonly"] = False
    eq(b.run(**user), (0, "0\ntext\n-rw-r--r--", ""))
    eq(os.stat(os.path.join(b.rootfs, "root/new")).st_uid, NOBODY)


def test_an_ordinary_user_needs_no_map(b):
    user = as_nobody(b)
    b.sh("id -u")
    eq(b.run(**user), (0, "0\n", ""))


def test_an_ordinary_user_is_himself_in_do(b):
    user = as_nobody(b)
    secret = os.path.join(b.dir, "secret")
    with open(secret, "w") as f:
        f.write("hidden")
    os.chmod(secret, 0o600)
    script = f"id -u; cat {secret} 2>/dev/null || echo refused; echo x > {b.dir}/layer && cat {b.dir}/layer"
    eq(b.cli("do", "--no-tty", "sh", "-c", script, **user), (0, f"{NOBODY}\nrefused\nx\n", ""))
    assert not os.path.exists(f"{b.dir}/layer")


def test_more_ids_come_from_newuidmap(b):
    user = as_nobody(b)
    if not shutil.which("newuidmap"):
        raise unittest.SkipTest("no newuidmap")
    b.config["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        b.config["linux"][key] = [{"containerID": 0, "hostID": NOBODY, "size": 1}, {"containerID": 1, "hostID": 200000, "size": 1000}]
    may_chown(b)
    b.sh("touch /root/new; busybox chown 7:7 /root/new; ls -ln /root/new | head -c 40").write()
    allowed = os.path.join(b.dir, "allowed")
    with open(allowed, "w") as f:
        f.write("nobody:200000:1000\n")
    run = shlex.join(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] + b.runtime + ["run", "c1"])
    script = f"touch /etc/subuid /etc/subgid 2>/dev/null; mount --bind {allowed} /etc/subuid && mount --bind {allowed} /etc/subgid && exec {run}"
    out = subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=b.path, capture_output=True, text=True, timeout=30, check=False)
    assert out.returncode == 0, (out, user)
    eq(os.stat(os.path.join(b.rootfs, "root/new")).st_uid, 200006)


def in_namespace(b, script):
    """Runs a shell as root of a user namespace, where SANDBOX stands for a sandbox that prints "works"."""
    sandbox = shlex.join(b.runtime + ["do", "--no-tty", "echo", "works"])
    return subprocess.run(["unshare", "-Ur", "sh", "-c", script.replace("SANDBOX", sandbox)], capture_output=True, text=True, timeout=30,
                          check=False)


def test_it_works_inside_a_user_namespace(b):
    out = in_namespace(b, "SANDBOX")
    eq((out.returncode, out.stdout, out.stderr), (0, "works\n", ""))


def test_root_needs_no_user_namespace(b):
    out = in_namespace(b, "echo 0 > /proc/sys/user/max_user_namespaces; SANDBOX")
    eq((out.returncode, out.stdout, out.stderr), (0, "works\n", ""))


def test_the_error_says_which_namespace_the_host_forbids(b):
    drop = "setpriv --bounding-set=-all --inh-caps=-all"
    out = in_namespace(b, f"echo 0 > /proc/sys/user/max_user_namespaces; exec {drop} SANDBOX")
    assert out.returncode == 1 and "the host does not allow user namespaces: " in out.stderr, out
    out = in_namespace(b, "echo 0 > /proc/sys/user/max_net_namespaces; SANDBOX")
    assert out.returncode == 1 and "the host does not allow network namespaces: " in out.stderr, out
