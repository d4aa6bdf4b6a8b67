# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments of a pod's life as kubelet drives it, by calls of CRI.

Calls may fail then, but each is answered. Afterwards the pod can be stopped and removed, as kubelet
does it: again and again, for a while. No list has it any more, a pod of the same name, namespace and
uid can be run, and nothing stays behind. `tests/e2e/run --seed N --rounds 20 chaos_cri.` repeats what
was told, or tries more moments.
"""

import re
import shutil

from lib import cri
from lib.chaos import Life, chaos, kill_containerd, kill_one, nothing_left, of_program
from lib.node import shim_pids
from lib.suite import Failed, equal, fail, test, wait_until

FOREVER = ("sleep", "1000000")
PATIENT = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")


class CriLife(Life):
    """A pod of two containers. A step is skipped if that which it needs was not made."""

    def __init__(self, t, config):
        super().__init__(t)
        self.config, self.pod, self.unanswered = config, None, []
        self.away_at = None  # the step in which containerd was not there

    def do(self, step, call, *args, **kw):
        """What @call returns, or None."""
        self.begin(step)
        try:
            return call(*args, **kw)
        except cri.Error as e:
            if e.code == "DEADLINE_EXCEEDED":
                self.unanswered.append("%s: %s" % (step, e))
            if e.code == "UNAVAILABLE":
                self.away_at = self.away_at or step
                wait_until(self.t.pods.ready, 60 * self.t.slow, "the node is ready again")
        return None

    def container(self, name, *cmd):
        c = self.do("CreateContainer " + name, self.pod.create, *cmd, name=name)
        if c:
            self.do("StartContainer " + name, c.start)
            self.do("ExecSync " + name, c.exec, "echo", "hello")
        return c

    def live(self):
        self.pod = self.do("RunPodSandbox", self.t.pods.run, self.config)
        if not self.pod:
            return
        one = self.container("one", *PATIENT)
        self.container("two", *FOREVER)
        if one:
            self.do("StopContainer one", one.stop, timeout=5)
            self.do("RemoveContainer one", one.remove)
        self.do("StopPodSandbox", self.pod.stop)
        self.do("RemovePodSandbox", self.pod.call, "RemovePodSandbox", pod_sandbox_id=self.pod.id)


def cleared(t):
    """One attempt to stop and remove whatever there is; True if now there is nothing."""
    call = t.pods.client.call
    try:
        for pod in t.pods.list():
            call("StopPodSandbox", pod_sandbox_id=pod.id)
        for c in call("ListContainers").containers:
            call("StopContainer", container_id=c.id, timeout=0)
            call("RemoveContainer", container_id=c.id)
        for pod in t.pods.list():
            call("RemovePodSandbox", pod_sandbox_id=pod.id)
        return not t.pods.list() and not call("ListContainers").containers
    except cri.Error as e:
        if e.code == "DEADLINE_EXCEEDED":
            fail(str(e))
        return False


def clear(t):
    wait_until(lambda: cleared(t), 15 * t.slow, "the pod can be stopped and removed", 0.5)
    for what in "task", "container":
        equal(t.pods.ctr(what, "ls", "-q").ok().out, "", "%ss that containerd still has" % what)


def with_snapshots(t, call, *args, **kw):
    """@call(...), in spite of a flaw of containerd 1.6, whatever the runtime: a snapshot whose making
    was broken off leaves a directory, and the next one gets the same number and finds it taken."""
    while True:
        try:
            return call(*args, **kw)
        except cri.Error as e:
            taken = re.search(r"rename \S+/snapshots/new-\d+ (\S+/snapshots/\d+): file exists", e.details)
            if not taken:
                raise
            t.note("containerd's own: %s is taken" % taken[1])
            shutil.rmtree(taken[1])


def forget_networks(t, before):
    """Another one: it makes the network of a pod before it writes down that there is a pod, and if it
    is killed between the two, nobody knows of that network. It goes with its namespace."""
    for left in sorted(t.watch.snapshot() - before):
        match = re.fullmatch(r"file /run/netns/(cni-[0-9a-f-]+)", left)
        if match:
            t.note("containerd's own: the network namespace " + match[1])
            t.command("ip", "netns", "delete", match[1]).ok()


def wait_for_idle_shims(t):
    """And another: killed between a shim's `start` and its Create, containerd finds that shim again when
    it is back, but knows of no task there. It neither ends it nor ever calls it: ours ends by itself
    after a minute without a task."""
    if shim_pids():
        t.note("waiting for a shim without a task to end")
        wait_until(lambda: not shim_pids(), 60 + 15 * t.slow, "the shim has ended", 0.5)


def one_life(t, strike):
    before = t.watch.snapshot()
    life = CriLife(t, t.pods.config())
    life.start()
    strike(life)
    life.join()
    wait_until(t.pods.ready, 60 * t.slow, "the node is ready")
    if life.unanswered:
        raise Failed("calls without an answer: " + "; ".join(life.unanswered))
    if life.away_at == "RunPodSandbox" and not t.pods.list():
        forget_networks(t, before)
    clear(t)
    if life.away_at == "RunPodSandbox":
        wait_for_idle_shims(t)
    again = with_snapshots(t, t.pods.run, life.config)
    c = with_snapshots(t, again.create, *FOREVER).start()
    equal(c.out("echo", "again"), "again\n", "stdout of the name's next pod")
    again.remove()
    clear(t)
    nothing_left(t, before)
    return life.durations()


@test(vm=True, timeout=1200)
def a_shim_may_be_killed_at_any_moment(t):
    chaos(t, "shim", kill_one(lambda life: shim_pids()), one_life)


@test(vm=True, timeout=1200)
def a_machine_may_be_killed_at_any_moment(t):
    chaos(t, "QEMU", kill_one(lambda life: of_program("qemu-system")), one_life)


@test(vm=True, timeout=1200)
def a_file_server_may_be_killed_at_any_moment(t):
    chaos(t, "virtiofsd", kill_one(lambda life: of_program("virtiofsd")), one_life)


@test(vm=True, timeout=1200)
def containerd_may_be_killed_at_any_moment(t):
    chaos(t, "containerd", kill_containerd, one_life)
