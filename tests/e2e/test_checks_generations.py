# SPDX-License-Identifier: Apache-2.0
"""A6: a container in each generation of containerd, by a peer that speaks its very bytes."""

from lib import peer
from lib.suite import check, equal, test


def one_container(t, generation, version):
    """What `ctr run --rm` does; the shim must have answered with the task service @version."""
    with peer.Containerd(t, generation) as ctd:
        box = ctd.create("echo", "ok")
        equal(box.endpoint.version, version, "the version that `start` answers with")
        pid = box.start()
        check(pid > 0, "Start gives no pid")
        equal(box.wait().status, 0, "exit status")
        equal((box.out(), box.err()), ("ok\n", ""), "stdout, stderr")
        gone = box.delete()
        equal((gone.status, gone.pid), (0, pid), "status and pid that Delete gives")
        ctd.events.wait(box.id, "/tasks/delete")
        equal(ctd.events.topics(box.id),
              ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"], "topics")


@test(vm=True)
def a6_containerd_1_6(t):
    one_container(t, "1.6", 2)


@test(vm=True)
def a6_containerd_1_7(t):
    one_container(t, "1.7", 2)


@test(vm=True)
def a6_containerd_2_0(t):
    one_container(t, "2.0", 2)


@test(vm=True)
def a6_containerd_2_2(t):
    one_container(t, "2.2", 2)


@test(vm=True)
def a6_containerd_2_3(t):
    one_container(t, "2.3", 3)
