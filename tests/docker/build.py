"""Images from containers: build with RUN steps, commit, diff, export and import."""
import os

from life import NONE, eq, sleeper


def test_build(d):
    where = os.path.join(d.dir, "context")
    os.makedirs(where, exist_ok=True)
    with open(os.path.join(where, "Dockerfile"), "w") as f:
        f.write("FROM busybox\nENV A=made\nCOPY data /data\nRUN echo $A > /made && mkdir -p /home/user && chown user /made /home/user\nUSER user\nWORKDIR /home/user\n"
                'RUN id -un > who\nCMD ["sh", "-c", "cat /made /data who; stat -c %U /made"]\n')
    with open(os.path.join(where, "data"), "w") as f:
        f.write("copied\n")
    d.docker("build", "--network", "none", "-t", "built", where, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    eq(d.out("run", "--rm", *NONE, "built"), "made\ncopied\nuser\nuser\n")
    d.docker("rmi", "-f", "built")


def test_commit_diff_export_import(d):
    sleeper(d, script="echo new > /new; rm /etc/group; exec sleep 1000")
    d.docker("exec", "c1", "sh", "-c", "while [ -e /etc/group ]; do sleep 0.1; done")
    diff = d.out("diff", "c1").splitlines()
    assert "A /new" in diff and "D /etc/group" in diff, diff
    d.docker("commit", "c1", "committed")
    eq(d.out("run", "--rm", *NONE, "committed", "sh", "-c", "cat /new; ls /etc/group 2>/dev/null || echo gone"), "new\ngone\n")
    tar = os.path.join(d.dir, "c1.tar")
    d.docker("export", "-o", tar, "c1")
    d.docker("import", tar, "imported")
    eq(d.out("run", "--rm", *NONE, "imported", "cat", "/new"), "new\n")
    d.docker("rmi", "-f", "committed", "imported")
