"""The systemd driver, against a stand-in of systemd on a bus of the test's own."""
import os
import subprocess
import unittest

from harness import eq, refuses

import cgroups

SLICE = f"runscctest{os.getpid()}.slice"
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""


class Systemd:
    def __init__(self, b):
        self.b = b
        self.mount = cgroups.MOUNTS.get("" if cgroups.V2 else "name=systemd")
        program = os.path.join(os.path.dirname(b.runtime[0]), "../../tests/oci/fake-systemd")
        if not self.mount or not os.path.exists(program):
            raise unittest.SkipTest("no hierarchy of systemd's, or no stand-in built")
        cgroups.place(b)
        b.config["linux"]["cgroupsPath"] = f"{SLICE}:test:c1"
        path = os.path.join(b.dir, "bus")
        with open(os.path.join(b.dir, "bus.conf"), "w") as f:
            f.write(BUS % path)
        self.bus = subprocess.Popen(["dbus-daemon", "--nofork", "--print-address=1", "--config-file", os.path.join(b.dir, "bus.conf")], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.bus.stdout.readline().strip().split(",guid=")[0]}
        self.fake = subprocess.Popen([program, self.mount], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=self.env)
        eq(self.fake.stdout.readline(), "ready\n")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for p in (self.fake, self.bus):
            p.kill()
            p.wait()
            p.stdout.close()
        for where in set(cgroups.MOUNTS.values()):
            try:
                os.rmdir(os.path.join(where, SLICE))
            except OSError:
                pass

    def cli(self, *argv):
        return self.b.cli("--systemd-cgroup", *argv, env=self.env)

    def scopes(self):
        return [m for m in set(cgroups.MOUNTS.values()) if os.path.exists(os.path.join(m, SLICE, "test-c1.scope"))]


def test_a_scope_is_made_and_removed(b):
    with Systemd(b) as s:
        b.config["linux"]["resources"] = {"memory": {"limit": 200 << 20}, "pids": {"limit": 10}, "cpu": {"quota": 50000, "period": 100000}}
        b.args("sleep", "100").write()
        with open(os.path.join(b.dir, "out"), "w") as out:
            eq(b.cli("--systemd-cgroup", "run", "-d", "c1", env=s.env, stdout=out, stderr=out)[0], 0)
        asked = s.fake.stdout.readline().split()
        eq(asked[:2], ["start", "test-c1.scope"])
        for p in ("Slice", "Delegate", "PIDs", "CPUQuotaPerSecUSec=500000", f"Memory{'Max' if cgroups.V2 else 'Limit'}={200 << 20}", "TasksMax=168"):
            assert p in asked, asked
        memory = os.path.join(cgroups.MOUNTS["" if cgroups.V2 else "memory"], SLICE, "test-c1.scope", "memory.max" if cgroups.V2 else "memory.limit_in_bytes")
        with open(memory) as f:
            eq(f.read().strip(), str(200 << 20))
        with open(os.path.join(os.path.dirname(memory), "cgroup.procs")) as f:
            assert f.read().split()
        eq(s.cli("pause", "c1")[0], 0)
        eq(b.status(), "paused")
        eq(s.cli("resume", "c1")[0], 0)
        eq(s.cli("delete", "-f", "c1")[0], 0)
        eq(s.fake.stdout.readline(), "stop test-c1.scope\n")
        eq(s.scopes(), [])


def test_paths_that_systemd_does_not_have(b):
    with Systemd(b) as s:
        for path, pattern in (("/plain/path", "is not slice:prefix:name"), ("no-slice:a:b", "is no slice"), ("a--b.slice:a:b", "is no slice"), ("a:b:c:d", "is not slice:prefix:name")):
            b.config["linux"]["cgroupsPath"] = path
            code, _, err = s.cli("run", "c1")
            assert code == 1 and pattern in err, (path, err)


def test_no_systemd_is_an_error(b):
    cgroups.place(b)
    b.config["linux"]["cgroupsPath"] = f"{SLICE}:test:c1"
    b.write()
    code, _, err = b.cli("--systemd-cgroup", "run", "c1", env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/no/such/bus"})
    assert code == 1 and "connection to the system bus" in err, err
    eq(b.status(), None)
