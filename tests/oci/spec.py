"""Parts of the spec that are the guest's: seccomp, sysctls, devices, priorities, annotations, what is refused."""
import json
import os
import subprocess
import unittest

from harness import eq, refuses

ALLOW = "SCMP_ACT_ALLOW"


def seccomp(b, default, *rules, **more):
    b.config["linux"]["seccomp"] = {"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": list(rules), **more}


def test_seccomp_refuses_calls(b):
    seccomp(b, ALLOW, {"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95})
    code, out, err = b.sh("mkdir /tmp/x; grep Seccomp: /proc/self/status").run()
    assert "Operation not supported" in err or "not supported" in err, err
    eq(out.split()[1], "2")


def test_seccomp_kills(b):
    seccomp(b, ALLOW, {"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"})
    eq(b.sh("(mkdir /tmp/x); echo $?").run()[1], "159\n")


def test_seccomp_looks_at_arguments(b):
    seccomp(b, ALLOW, {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]})
    code, out, err = b.sh("kill -USR1 $$ || echo refused; kill -0 $$ && echo allowed").run()
    eq(out, "refused\nallowed\n")


def test_seccomp_applies_to_exec(b):
    seccomp(b, ALLOW, {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"})
    eq(b.args("sleep", "100").detached("c1", "run", "-d"), 0)
    code, _, err = b.cli("exec", "c1", "mkdir", "/tmp/x")
    assert code != 0 and "not permitted" in err, err
    b.cli("delete", "-f", "c1")


def test_seccomp_calls_newer_than_the_profile_do_not_exist(b):
    # All of today's but what is in no profile: openat2 (437) is newer than the newest here.
    names = "read write close mmap munmap mprotect brk openat execve exit_group exit arch_prctl fstat newfstatat readlink getrandom rseq " \
            "set_tid_address set_robust_list prlimit64 uname getuid getgid geteuid getegid getpid getppid rt_sigaction rt_sigprocmask " \
            "rt_sigreturn fcntl dup dup2 clone fork vfork wait4 prctl stat lstat access ioctl poll lseek getcwd writev open".split()
    seccomp(b, "SCMP_ACT_ERRNO", {"names": names, "action": ALLOW})
    eq(b.sh("echo works").run()[:2], (0, "works\n"))


def test_bad_seccomp_is_refused(b):
    for s, pattern in (({"defaultAction": "SCMP_ACT_MAYBE"}, "is unknown"), ({}, "defaultAction is missing"),
                       ({"defaultAction": ALLOW, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}, "SCMP_ACT_NOTIFY: Operation not supported"),
                       ({"defaultAction": ALLOW, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]}, "6 arguments at most")):
        b.config["linux"]["seccomp"] = s
        refuses(b, pattern, "run", "c1")


def test_sysctls(b):
    b.config["linux"]["sysctl"] = {"kernel.shmmax": "123456", "net.core.somaxconn": "99", "net/ipv4/ip_unprivileged_port_start": "0"}
    eq(b.sh("cat /proc/sys/kernel/shmmax /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/ip_unprivileged_port_start").run()[1], "123456\n99\n0\n")
    b.config["linux"]["sysctl"] = {"no.such.setting": "1"}
    refuses(b, "sysctl no.such.setting", "run", "c1")


def test_devices(b):
    b.config["linux"]["devices"] = [{"path": "/dev/mine/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 6},
                                    {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640}]
    eq(b.sh("echo x > /dev/mine/null; stat -c '%a %u:%g %t:%T' /dev/mine/null /dev/zero").run()[1], "600 5:6 1:3\n640 0:0 1:5\n")
    b.config["linux"]["devices"] = [{"path": "relative", "type": "c"}]
    refuses(b, "not an absolute path", "run", "c1")


def test_priorities_and_personality(b):
    b.config["process"].update(ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 3}, scheduler={"policy": "SCHED_BATCH", "nice": 5}, oomScoreAdj=77)
    b.config["linux"]["personality"] = {"domain": "LINUX32"}
    # Field 41 of stat is the policy, 19 the nice value.
    eq(b.sh("set -- $(cat /proc/$$/stat); shift 18; echo $1; shift 22; echo $1; cat /proc/self/oom_score_adj; cat /proc/self/personality").run()[1],
       "5\n3\n77\n00000008\n")
    b.config["process"]["scheduler"] = {"policy": "SCHED_DEADLINE"}
    refuses(b, "SCHED_DEADLINE.*not supported", "run", "c1")


def test_home_comes_from_the_containers_passwd(b):
    with open(os.path.join(b.rootfs, "etc/passwd"), "w") as f:
        f.write("root:x:0:0::/root:/bin/sh\nother:x:33:33::/home/other:/bin/sh\n")
    b.config["process"]["env"] = ["PATH=/bin"]
    eq(b.sh("echo $HOME").run()[1], "/root\n")
    b.config["process"]["user"] = {"uid": 33, "gid": 33}
    eq(b.sh("echo $HOME").run()[1], "/home/other\n")
    b.config["process"]["user"] = {"uid": 34, "gid": 34}
    eq(b.sh("echo $HOME").run()[1], "/\n")


def test_namespaces(b):
    for ns, pattern in (([{"type": "magic"}], "type \"magic\" is unknown"), ([{"type": "pid"}, {"type": "pid"}], "pid twice"),
                        ([{"type": "network", "path": "relative"}], "not an absolute path"), ([{"type": "network", "path": "/proc/self/ns/uts"}], "is no network namespace"),
                        ([{"type": "ipc", "path": "/etc/hostname"}], "is no ipc namespace"), ([{"type": "pid", "path": "/proc/self/ns/pid"}], "joining the pid namespace.*cannot share processes with others: Operation not supported"),
                        ([{"type": "mount", "path": "/proc/self/ns/mnt"}], "joining the mount namespace.*mounts of its own")):
        b.config["linux"]["namespaces"] = ns
        refuses(b, pattern, "run", "c1")
    b.config["linux"]["namespaces"] = [{"type": t, "path": f"/proc/self/ns/{t}"} for t in ("uts", "ipc", "user", "time", "cgroup")] + [{"type": "mount"}]
    eq(b.args("true").run()[0], 0)


def other(b, flags, script=""):
    """A process in other namespaces of the host, after it has run a script there."""
    p = subprocess.Popen(["unshare", *flags, "sh", "-c", f"{script} echo; exec sleep 100"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    p.stdout.readline()
    return p


def join(b, pid, kind):
    b.config["linux"]["namespaces"] = [n for n in b.config["linux"]["namespaces"] if n["type"] != kind] + [{"type": kind, "path": f"/proc/{pid}/ns/{kind}"}]


def test_names_of_a_uts_namespace_are_taken_over(b):
    p = other(b, ["--uts"], "hostname pod-name;")
    join(b, p.pid, "uts")
    del b.config["hostname"]
    eq(b.args("hostname").run(), (0, "pod-name\n", ""))
    b.config["hostname"] = "own-name"
    eq(b.args("hostname").run(), (0, "own-name\n", ""))
    p.kill()
    p.wait()
    # Without a namespace of its own it is the host's.
    b.config["linux"]["namespaces"] = [n for n in b.config["linux"]["namespaces"] if n["type"] != "uts"]
    del b.config["hostname"]
    eq(b.args("hostname").run()[1].strip(), os.uname().nodename)


def test_a_sandboxs_namespaces_have_its_names(b):
    """A pod's others share the names by the path of the first one's namespace."""
    eq(b.args("sleep", "100").detached("c1", "run", "-d"), 0)
    pid = json.loads(b.cli("state", "c1")[1])["pid"]
    join(b, pid, "uts")
    del b.config["hostname"]
    eq(b.args("hostname").cli("run", "c2")[1], "box\n")
    b.cli("delete", "-f", "c1")


@unittest.skipUnless(os.geteuid() == 0, "only root maps others' ids")
def test_a_user_namespace_by_path_gives_its_map(b):
    p = other(b, ["--user"])
    for f in ("uid_map", "gid_map"):
        with open(f"/proc/{p.pid}/{f}", "w") as m:
            m.write("0 0 1\n5 70000 10\n")
    join(b, p.pid, "user")
    os.chown(b.rootfs, 70001, 70002)
    eq(b.sh("stat -c %u:%g /; cat /proc/self/uid_map").run()[1].split(), ["6:7", "0", "0", "1", "5", "70000", "10"])
    p.kill()
    p.wait()


def test_the_map_of_ids_shows(b):
    b.config["linux"].update(uidMappings=[{"containerID": 0, "hostID": 0, "size": 100}], gidMappings=[{"containerID": 0, "hostID": 0, "size": 200}])
    b.config["linux"]["namespaces"].append({"type": "user"})
    eq(b.sh("cat /proc/self/uid_map /proc/self/gid_map").run()[1].split(), "0 0 100 0 0 200".split())


def uptime(text):
    return float(text.split()[0])


def test_time_offsets_and_time_namespaces(b):
    with open("/proc/uptime") as f:
        host = uptime(f.read())
    b.config["linux"]["timeOffsets"] = {"monotonic": {"secs": 700000, "nanosecs": 1}, "boottime": {"secs": 1000000}}
    refuses(b, "linux.timeOffsets: there is no time namespace", "run", "c1")
    b.config["linux"]["namespaces"].append({"type": "time"})
    got = uptime(b.args("cat", "/proc/uptime").run()[1]) - host
    assert 1000000 <= got < 1000600, got
    assert b.sh("sleep 0.05; echo slept").run()[:2] == (0, "slept\n")
    # The host's own ticks tell whether the sandbox is the one that was started: they must not be the sandbox's.
    eq(b.args("sleep", "100").detached("c1", "run", "-d"), 0)
    eq(b.status(), "running")
    b.cli("delete", "-f", "c1")
    for offsets, pattern in (({"realtime": {"secs": 1}}, "clock \"realtime\" is unknown"), ({"monotonic": {"secs": "x"}}, "linux.timeOffsets: monotonic.secs"),
                             ({"monotonic": {"nanosecs": 1000000000}}, "nanosecs"), ({"boottime": {"secs": -10**10}}, "linux.timeOffsets: Numerical result")):
        b.config["linux"]["timeOffsets"] = offsets
        refuses(b, pattern, "run", "c1")
    p = other(b, ["--time", "--boottime", "2000000", "--fork"])
    child = int(open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()[0])
    del b.config["linux"]["timeOffsets"]
    join(b, child, "time")
    got = uptime(b.args("cat", "/proc/uptime").run()[1]) - host
    assert 2000000 <= got < 2000600, got
    os.kill(child, 9)
    p.wait()


def test_mountinfo_tells_where_a_bind_mount_comes_from(b):
    src = os.path.join(b.dir, "src")
    os.makedirs(os.path.join(src, "sub"))
    b.config["mounts"].append({"destination": "/mnt", "type": "bind", "source": src, "options": ["bind"]})
    eq(b.sh("grep -o '[^ ]* /mnt ' /proc/self/mountinfo").run()[1], f"{src} /mnt \n")


def test_tmpcopyup_begins_with_what_is_covered(b):
    os.makedirs(os.path.join(b.rootfs, "data/sub/deep"))
    with open(os.path.join(b.rootfs, "data/file"), "w") as f:
        f.write("contents\n")
    os.chmod(os.path.join(b.rootfs, "data/file"), 0o640)
    os.chown(os.path.join(b.rootfs, "data/sub"), 3, 4)
    os.symlink("../file", os.path.join(b.rootfs, "data/sub/link"))
    b.config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"]})
    eq(b.sh("cat /data/sub/link; stat -c '%a' /data/file; stat -c '%u:%g' /data/sub; ls /data/sub; echo new > /data/new").run()[1], "contents\n640\n3:4\ndeep\nlink\n")
    assert not os.path.exists(os.path.join(b.rootfs, "data/new"))
    b.config["mounts"][-1]["type"] = "proc"
    refuses(b, "tmpcopyup is for tmpfs", "run", "c1")


@unittest.skipUnless(os.geteuid() == 0, "the host's root only maps ids of mounts")
def test_idmapped_mounts(b):
    src = os.path.join(b.dir, "src")
    os.makedirs(os.path.join(src, "sub"))
    for name, uid in (("root", 0), ("other", 7)):
        open(os.path.join(src, name), "w").close()
        os.chown(os.path.join(src, name), uid, uid + 1)
    maps = {"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 100}], "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 100}]}
    mount = {"destination": "/mnt", "type": "bind", "source": src, "options": ["rbind", "ridmap"], **maps}
    b.config["mounts"].append(mount)
    look = "stat -c %u:%g /mnt/root /mnt/other; echo > /mnt/new 2>/dev/null || echo refused"
    eq(b.sh(look).run()[:2], (0, "1000:2001\n1007:2008\nrefused\n"))  # root's own id is not in the map
    # With ids of the container's, what is root's on the disk is the container's root's.
    b.config["linux"].update({k: [{"containerID": 0, "hostID": 70000, "size": 1000}] for k in maps})
    b.config["linux"]["namespaces"].append({"type": "user"})
    os.chown(b.rootfs, 70000, 70000)
    b.config["mounts"][-1] = {"destination": "/mnt", "type": "bind", "source": src, "options": ["bind", "idmap"]}
    eq(b.sh("stat -c %u:%g /mnt/root /mnt/other; touch /mnt/sub/new").run()[:2], (0, "0:1\n7:8\n"))
    b.config["process"].update(user={"uid": 3, "gid": 4}, capabilities={})
    os.chmod(src, 0o777)
    eq(b.sh("touch /mnt/mine").run()[0], 0)
    eq([(st.st_uid, st.st_gid) for st in (os.stat(os.path.join(src, n)) for n in ("sub/new", "mine"))], [(0, 0), (3, 4)])


def test_idmaps_that_mean_nothing_are_refused(b):
    one = [{"containerID": 0, "hostID": 1000, "size": 1}]
    for more, pattern in (({"options": ["bind", "idmap"]}, "idmap without mappings"), ({"options": ["bind", "idmap"], "uidMappings": one}, "go together"),
                          ({"type": "tmpfs", "uidMappings": one, "gidMappings": one}, "bind mounts only"), ({"options": ["bind"], "uidMappings": [{"hostID": "x"}]}, "hostID")):
        b.config["mounts"] = b.config["mounts"][:4] + [{"destination": "/mnt", "source": b.dir, "options": ["size=1k"], **more}]
        refuses(b, pattern, "run", "c1")
    b.config["mounts"][-1] = {"destination": "/mnt", "type": "bind", "source": "/proc", "options": ["bind", "idmap"], "uidMappings": one, "gidMappings": one}
    refuses(b, "mount /mnt: the host cannot map the ids of /proc|not allow", "run", "c1")


def test_recursive_options_and_remounts(b):
    src = os.path.join(b.dir, "src")
    os.mkdir(src)
    os.symlink("/etc", os.path.join(src, "link"))
    b.config["mounts"] += [{"destination": "/mnt", "type": "bind", "source": src, "options": ["rbind", "rro", "rnosymfollow"]},
                           {"destination": "/again", "type": "tmpfs", "source": "tmpfs", "options": ["noexec"]},
                           {"destination": "/again", "options": ["remount", "ro"]}]
    code, out, err = b.sh("touch /mnt/x; touch /again/x; ls /mnt/link/ || echo no; grep -c -E ' /(mnt|again) [a-z]* ro[, ]' /proc/self/mounts").run()
    eq(out, "no\n2\n")
    eq(err.count("Read-only"), 2)


def test_features_name_what_is_parsed(b):
    f = json.loads(b.cli("features")[1])
    assert {"ro", "rro", "rnosymfollow", "idmap", "ridmap", "rbind", "tmpcopyup", "remount", "runbindable"} <= set(f["mountOptions"]), f["mountOptions"]
    eq(len(f["mountOptions"]), len(set(f["mountOptions"])))
    eq((f["linux"]["mountExtensions"]["idmap"]["enabled"], f["potentiallyUnsafeConfigAnnotations"]), (True, ["dev.runsc-c."]))
    assert "time" in f["linux"]["namespaces"]


def test_exec_may_be_bound_to_cpus(b):
    b.config["process"]["execCPUAffinity"] = {"initial": "0", "final": "0"}
    eq(b.args("sleep", "100").detached("c1", "run", "-d"), 0)
    eq(b.cli("exec", "c1", "grep", "Cpus_allowed_list", "/proc/self/status")[1].split()[1], "0")
    # It is not for init.
    assert os.cpu_count() == 1 or b.cli("exec", "c1", "grep", "Cpus_allowed_list", "/proc/1/status")[1].split()[1] != "0"
    b.config["process"]["execCPUAffinity"] = {"final": "1000"}
    refuses(b, "Invalid argument|invalid argument", "exec", "c1", "true")
    for bad in ("x", "3-1", "1,", "0-5000", "-1"):
        b.config["process"]["execCPUAffinity"] = {"final": bad}
        refuses(b, "execCPUAffinity.final: .* is no list of CPUs", "exec", "c1", "true")
    b.cli("delete", "-f", "c1")


def test_what_is_not_supported_is_refused_by_name(b):
    for key, value in (("memoryPolicy", {"mode": "MPOL_LOCAL"}), ("netDevices", {"eth0": {}}), ("personality", {"domain": "LINUX", "flags": ["X"]}), ("resources", {"rdma": {"mlx": {"hcaHandles": 1}}})):
        b.config["linux"][key] = value
        refuses(b, f"linux.{key}.*: Operation not supported", "run", "c1")
        del b.config["linux"][key]
    b.config["linux"]["intelRdt"] = {"closID": "x"}
    refuses(b, "linux.intelRdt: Operation not supported", "run", "c1")
    del b.config["linux"]["intelRdt"]


def test_labels_of_security_modules_are_accepted(b):
    b.config["process"].update(apparmorProfile="docker-default", selinuxLabel="system_u:system_r:container_t:s0")
    b.config["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0"
    eq(b.args("true").run()[0], 0)


def test_annotations_show_in_the_state(b):
    b.config["annotations"] = {"a.b": "c"}
    eq(b.args("true").detached("c1", "create"), 0)
    eq(json.loads(b.cli("state", "c1")[1])["annotations"], {"a.b": "c"})
    b.cli("delete", "c1")
    b.config["annotations"] = {"a": 1}
    refuses(b, "annotations.a is not a string", "run", "c1")


def test_annotations_set_flags_of_the_container(b):
    b.config["annotations"] = {"dev.runsc-c.overlay": "root"}
    eq(b.sh("echo x > /written; cat /written").run()[:2], (0, "x\n"))
    assert not os.path.exists(os.path.join(b.rootfs, "written"))
    b.config["annotations"] = {"dev.runsc-c.platform": "magic"}
    refuses(b, "platform magic", "run", "c1")
    b.config["annotations"] = {"dev.runsc-c.strace": "true"}
    refuses(b, "allowed with --allow-flag-override only", "run", "c1")
    code, _, err = b.args("true").cli("--allow-flag-override", "run", "c1")
    assert code == 0 and "execve" in err or "exit_group" in err, err
    b.config["annotations"] = {"dev.runsc-c.nosuch": "1"}
    eq(b.cli("--allow-flag-override", "run", "c1")[0], 1)


def test_flags_from_a_file(b):
    path = os.path.join(b.dir, "flags.json")
    with open(path, "w") as f:
        json.dump({"overlay": "root", "platform": "magic"}, f)
    b.sh("echo x > /written")
    eq(b.cli("--config", path, "--platform", "auto", "run", "c1")[0], 0)
    assert not os.path.exists(os.path.join(b.rootfs, "written"))
    eq(b.cli("--config", path, "run", "c1")[0], 1)
    eq(b.cli("--config", "/no/such", "run", "c1")[0], 1)


def test_what_the_host_puts_into_the_root_shows_to_an_exec(b):
    eq(b.args("sleep", "100").detached("c1", "run", "-d"), 0)
    eq(b.cli("exec", "c1", "cat", "/etc/late")[0], 1)
    for text in ("one\n", "two\n"):
        path = os.path.join(b.rootfs, "etc/late")
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)
        eq(b.cli("exec", "c1", "cat", "/etc/late")[1], text)
    b.cli("delete", "-f", "c1")
