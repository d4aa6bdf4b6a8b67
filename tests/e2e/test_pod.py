# SPDX-License-Identifier: Apache-2.0
"""Several containers of one pod, told apart by the annotations that CRI sets."""

from lib.node import shim_pids
from lib.suite import check, equal, test, wait_until

FOREVER = ("sleep", "1000000")


def sandbox(t):
    return t.start(*FOREVER, options=["--annotation", "io.kubernetes.cri.container-type=sandbox"])


def member(t, pod, *cmd):
    return t.start(*cmd, options=[
        "--annotation", "io.kubernetes.cri.container-type=container",
        "--annotation", "io.kubernetes.cri.sandbox-id=" + pod])


def boot_id(t, cid):
    return t.exec(cid, "cat", "/proc/sys/kernel/random/boot_id").ok().out


@test
def the_containers_of_a_pod_share_one_shim_and_machine(t):
    pod = sandbox(t)
    one, two = member(t, pod, *FOREVER), member(t, pod, *FOREVER)
    equal(len(shim_pids()), 1, "number of shims")
    if t.vm:
        equal(len(t.vmm_pids()), 1, "number of QEMUs")
    equal({boot_id(t, cid) for cid in (one, two)}, {boot_id(t, pod)}, "boot ids")
    for cid in (one, two):
        t.exec(cid, "sh", "-c", "echo %s >/me" % cid).ok()
    for cid in (one, two):
        equal(t.exec(cid, "cat", "/me").ok().out, cid + "\n", "each has its own files")
        equal(t.exec(cid, "ps").ok().out.count("sleep"), 1, "each sees its own processes")
    t.remove(one, two, pod)


@test
def a_pod_outlives_its_containers(t):
    pod = sandbox(t)
    for i in range(3):
        cid = member(t, pod, "sh", "-c", "exit %d" % i)
        t.wait_status(cid, "STOPPED")
        equal(t.delete(cid), i, "exit code")
        t.ctr("container", "rm", cid).ok()
        equal(t.status(pod), "RUNNING", "status of the pod")
    t.remove(pod)


@test(vm=True)
def the_end_of_the_pod_ends_its_containers(t):
    pod = sandbox(t)
    cid = member(t, pod, *FOREVER)
    t.ctr("task", "kill", "-s", "KILL", pod).ok()
    t.wait_status(pod, "STOPPED")
    t.wait_status(cid, "STOPPED")
    check(t.delete(cid) in (137, 255), "the exit code is neither 137 nor 255")
    t.ctr("container", "rm", cid).ok()
    equal(t.delete(pod), 137, "exit code of the pod")
    t.ctr("container", "rm", pod).ok()
    wait_until(lambda: not t.vmm_pids(), 5 * t.slow, "QEMU has ended")


@test
def a_failed_container_does_not_harm_its_pod(t):
    pod = sandbox(t)
    cid = t.id()
    r = t.ctr(*t.run_args(cid, "no-such-command", options=[
        "--rm", "--annotation", "io.kubernetes.cri.container-type=container",
        "--annotation", "io.kubernetes.cri.sandbox-id=" + pod]))
    check(r.code != 0, "it worked")
    good = member(t, pod, *FOREVER)
    equal(t.exec(good, "echo", "fine").ok().out, "fine\n", "stdout")
    t.remove(good, pod)


@test
def a_container_of_no_pod_is_refused(t):
    r = t.run("true", options=["--annotation", "io.kubernetes.cri.container-type=container",
                               "--annotation", "io.kubernetes.cri.sandbox-id=" + t.id()])
    if t.vm:
        check(r.code != 0, "it worked")
    else:
        equal(r.code, 0, "runc does not ask")
