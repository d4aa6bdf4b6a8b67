# SPDX-License-Identifier: Apache-2.0
"""The harness itself: a residue check that sees nothing would let everything pass."""

import os
import socket
import subprocess

from lib import residue, ttrpc
from lib.node import STATE
from lib.suite import Failed, check, contains, equal, test


def cgroup_for(t):
    """A directory in a cgroup tree of this machine where one may be made."""
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"):
        path = os.path.join(top, t.id())
        try:
            os.mkdir(path)
        except OSError:
            continue
        if os.path.exists(path + "/cgroup.procs"):
            return path
        os.rmdir(path)
    raise Failed("no cgroup can be made")


@test
def residue_of_each_kind_is_seen(t):
    watch = residue.Watch(t.node.token, t.node.namespace, t.node.own_pids, [])
    before = watch.snapshot()
    bundle = STATE + "/io.containerd.runtime.v2.task/left"
    os.makedirs(bundle)
    process = subprocess.Popen(["sleep", "1000"])
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0left")
    server.listen()
    mount_point = os.path.join(t.dir, "left")
    os.mkdir(mount_point)
    t.command("mount", "-t", "tmpfs", "left", mount_point).ok()
    t.command("ip", "link", "add", "left0", "type", "veth", "peer", "name", "left1").ok()
    with open("/run/kata-left", "w", encoding="ascii"):
        pass
    cgroup = cgroup_for(t)
    seen = watch.snapshot() - before

    process.kill()
    process.wait()
    server.close()
    t.command("umount", mount_point).ok()
    t.command("ip", "link", "del", "left0").ok()
    os.unlink("/run/kata-left")
    os.rmdir(bundle)
    os.rmdir(cgroup)
    text = "\n".join(sorted(seen))
    for wanted in ("process %d: sleep 1000" % process.pid, "listening socket @left",
                   "mount %s (tmpfs)" % mount_point, "link left0", "file /run/kata-left",
                   "file " + bundle, "cgroup " + cgroup):
        contains(text, wanted, "what was seen")
    equal(watch.snapshot() - before, set(), "what is left after all is removed")


@test
def a_command_that_hangs_is_ended(t):
    try:
        t.command("sleep", "1000", timeout=0.2)
    except Failed as e:
        contains(str(e), "did not end", "the reason")
        return
    check(False, "it was not noticed")


@test
def messages_survive_coding(t):
    data = ttrpc.encode((1, "text"), (2, 300), (3, b"\x00\xff"), (1, "again"))
    equal(ttrpc.decode(data), {1: [b"text", b"again"], 2: [300], 3: [b"\x00\xff"]}, "decoded")
