# SPDX-License-Identifier: Apache-2.0
"""What dies unasked: the machine, the shim, containerd's client. Nothing may stay behind."""

import os
import re
import signal
import time

from lib.node import IMAGE
from lib.suite import check, contains, equal, test, wait_until

FOREVER = ("sleep", "1000000")


def gone(pid):
    return not os.path.exists("/proc/%d" % pid)


@test(vm=True)
def d5_the_machine_dies(t):
    cid = t.start(*FOREVER)
    pids = t.vmm_pids()
    equal(len(pids), 1, "number of QEMUs")
    equal(t.pid(cid), pids[0], "the pid of the task is QEMU's")
    os.kill(pids[0], signal.SIGKILL)
    t.wait_status(cid, "STOPPED", 2)
    check(t.delete(cid) in (137, 255), "the exit code is neither 137 nor 255")
    t.ctr("container", "rm", cid).ok()


@test(vm=True)
def d5_the_machine_dies_under_a_client(t):
    with t.events() as seen:
        cid = t.id()
        process = t.background(*t.run_args(cid, "sh", "-c", "echo up; sleep 1000",
                                           options=["--rm"]))
        wait_until(lambda: process.lines() == ["up"], 30 * t.slow, "the container speaks")
        start = time.monotonic()
        os.kill(t.vmm_pids()[0], signal.SIGKILL)
        r = process.result(10)
        check(r.code in (137, 255), "code %d" % r.code)
        check(time.monotonic() - start < 3 * t.slow, "ctr noticed late")
        wait_until(lambda: "/tasks/delete" in [topic for topic, _ in seen(cid)], 5 * t.slow,
                   "the delete is told")
        equal([topic for topic, _ in seen(cid)].count("/tasks/exit"), 1, "number of exits")


@test(vm=True)
def the_machine_dies_while_it_boots(t):
    process = t.background(*t.run_args(t.id(), "true", options=["--rm"]))
    pid = wait_until(t.vmm_pids, 10 * t.slow, "QEMU runs", 0.01)[0]
    os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    r = process.result(20)
    check(r.code != 0, "ctr run worked")
    check(time.monotonic() - start < 5 * t.slow, "ctr noticed late")


@test(vm=True, timeout=120)
def the_machine_hangs(t):
    """A guest that does not answer any more can be removed, once its time is up."""
    cid = t.start(*FOREVER)
    pid = t.vmm_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    t.ctr("task", "rm", "-f", cid, timeout=100)
    wait_until(lambda: gone(pid), 20 * t.slow, "QEMU has ended")
    t.ctr("container", "rm", cid).ok()


@test(vm=True)
def d6_the_shim_dies(t):
    with t.events() as seen:
        cid = t.start(*FOREVER)
        shim, vmm = t.shim_pid(cid), t.vmm_pids()
        os.kill(shim, signal.SIGKILL)
        wait_until(lambda: all(gone(pid) for pid in vmm), 5 * t.slow, "QEMU has ended")
        wait_until(lambda: not os.path.exists("/run/kata/" + cid), 5 * t.slow, "delete was run")
        exits = wait_until(lambda: [body for topic, body in seen(cid) if topic == "/tasks/exit"],
                           5 * t.slow, "the exit is told")
        equal([body.get("exit_status") for body in exits], [137], "exit status")
    wait_until(lambda: t.status(cid) in ("", "STOPPED", "UNKNOWN"), 5 * t.slow, "the task has ended")
    t.ctr("task", "rm", "-f", cid)
    t.ctr("container", "rm", cid).ok()
    t.forget_fifos()
    # a shim that was ending when containerd came back is gone for containerd once it has ended
    wait_until(lambda: not os.path.exists(t.bundle(cid)), 20 * t.slow, "the bundle is gone")
    equal(t.run("echo", "again", cid=cid).ok().out, "again\n", "stdout of the name's next container")


@test(vm=True)
def d5_the_shim_of_a_dead_machine_can_be_removed(t):
    cid = t.start(*FOREVER)
    shim = t.shim_pid(cid)
    os.kill(t.vmm_pids()[0], signal.SIGKILL)
    t.wait_status(cid, "STOPPED", 5)
    t.ctr("task", "rm", "-f", cid)
    wait_until(lambda: gone(shim), 5 * t.slow, "the shim has ended")
    t.ctr("container", "rm", cid).ok()
    equal(t.run("echo", "again", cid=cid).ok().out, "again\n", "stdout of the name's next container")


@test(vm=True)
def the_shim_dies_while_the_machine_boots(t):
    cid = t.id()
    process = t.background(*t.run_args(cid, "true", options=["--rm"]))
    vmm = wait_until(t.vmm_pids, 10 * t.slow, "QEMU runs", 0.01)
    os.kill(t.shim_pid(cid), signal.SIGKILL)
    check(process.result(20).code != 0, "ctr run worked")
    wait_until(lambda: all(gone(pid) for pid in vmm), 5 * t.slow, "QEMU has ended")


@test(vm=True)
def the_file_server_dies(t):
    from lib import residue
    cid = t.start(*FOREVER)
    servers = [pid for pid, (_, cmdline) in residue.processes().items()
               if "virtiofsd" in cmdline.split(" ", 1)[0]]
    if servers:
        for pid in servers:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
        # the container may end, or go on without its files: but it can be removed
        time.sleep(1)
    t.ctr("task", "rm", "-f", cid, timeout=50)
    t.ctr("container", "rm", cid).ok()


@test
def the_client_dies(t):
    cid = t.id()
    process = t.background(*t.run_args(cid, "sh", "-c", "echo up; sleep 1000", options=["--rm"]))
    wait_until(lambda: process.lines() == ["up"], 30 * t.slow, "the container speaks")
    process.stop()
    equal(t.status(cid), "RUNNING", "status")
    equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of an exec")
    t.remove(cid)
    t.forget_fifos()


@test(vm=True)
def delete_of_what_never_was_is_fine(t):
    """containerd calls `delete` after any end, also when nothing had begun."""
    shim = os.path.join(t.node.shim_dir, "containerd-shim-kata-v2")
    bundle = os.path.join(t.dir, "bundle")
    os.makedirs(bundle)
    for _ in range(2):
        r = t.command(shim, "-namespace", t.node.namespace, "-address", "/run/e2e/c.sock",
                      "-publish-binary", "/usr/bin/containerd", "-id", t.id(), "-bundle", bundle,
                      "delete", cwd=bundle)
        equal(r.code, 0, "code (%s)" % r.err)
        check(r.raw_out, "no DeleteResponse")


@test
def d8_containerd_restarts(t):
    cid = t.start(*FOREVER)
    t.node.restart()
    equal(t.status(cid), "RUNNING", "status after the restart")
    equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of an exec")
    with t.events() as seen:
        t.ctr("task", "kill", "-s", "KILL", cid).ok()
        wait_until(lambda: "/tasks/exit" in [topic for topic, _ in seen(cid)], 10 * t.slow,
                   "the exit is told to the new containerd")
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 137, "exit code")
    t.ctr("container", "rm", cid).ok()


@test
def d8_an_exit_while_containerd_is_dead_is_told_when_it_is_back(t):
    cid = t.start("sh", "-c", "while ! [ -e /end ]; do sleep 0.1; done; sleep 2; exit 7")
    t.exec(cid, "touch", "/end").ok()
    offset = t.node.log_size()
    t.node.daemon.kill()
    t.node.daemon.wait()
    # nobody but the container knows when it has ended: long after its sleep
    time.sleep(4 * t.slow)
    t.node.start()
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 7, "exit code")
    t.ctr("container", "rm", cid).ok()
    if t.vm:
        # before any client could subscribe: containerd 1.6 says so, of others the shim knows
        told = re.compile(r"event forwarded.*topic=/tasks/exit|takes events again.*/tasks/exit")
        wait_until(lambda: told.search(t.node.log_from(offset)), 20 * t.slow,
                   "the exit is told to the new containerd")


def killed_in_the_midst(t, argv, seconds):
    """containerd is killed @seconds after a command of ctr began, and comes back."""
    process = t.background(*argv)
    time.sleep(seconds)
    t.node.restart()
    return process.result(120)


def can_be_removed(t, cid):
    wait_until(lambda: t.ctr("task", "rm", "-f", cid, timeout=120) and t.status(cid) == "",
               30 * t.slow, "the task is gone", 0.5)
    t.ctr("container", "rm", cid)
    t.ctr("snapshot", "rm", cid)
    t.forget_fifos()
    equal(t.run("echo", "again", cid=cid).ok().out, "again\n", "stdout of the name's next container")


@test(vm=True, timeout=300)
def d8_containerd_dies_during_a_create(t):
    for seconds in (0.1, 0.6, 1.5):
        cid = t.id()
        killed_in_the_midst(t, t.run_args(cid, *FOREVER, options=["-d"]), seconds)
        can_be_removed(t, cid)


@test(vm=True, timeout=120)
def d8_containerd_dies_during_a_start(t):
    cid = t.id()
    t.ctr("container", "create", "--runtime", t.runtime, IMAGE, cid, *FOREVER).ok()
    process = t.background("task", "start", "-d", cid)
    wait_until(lambda: t.status(cid) in ("CREATED", "RUNNING"), 30 * t.slow, "the task is created", 0.01)
    t.node.restart()
    process.result(60)
    if t.status(cid) == "RUNNING":
        equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of an exec")
    can_be_removed(t, cid)


@test(vm=True, timeout=120)
def d8_containerd_dies_during_an_exec(t):
    cid = t.start(*FOREVER)
    killed_in_the_midst(t, ("task", "exec", "--exec-id", "e1", cid, "sleep", "5"), 0.5)
    equal(t.status(cid), "RUNNING", "status")
    equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of another exec")
    with t.events() as seen:
        t.ctr("task", "kill", "-s", "KILL", cid).ok()
        wait_until(lambda: "/tasks/exit" in [topic for topic, _ in seen(cid)], 10 * t.slow,
                   "the exit is told")
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 137, "exit code")
    t.ctr("container", "rm", cid).ok()
    t.forget_fifos()


@test(vm=True, timeout=120)
def d8_containerd_dies_during_a_delete(t):
    for seconds in (0, 0.05, 0.3):
        cid = t.start(*FOREVER)
        killed_in_the_midst(t, ("task", "rm", "-f", cid), seconds)
        can_be_removed(t, cid)
