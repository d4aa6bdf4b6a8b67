# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments of a pod's life, from its creation to its deletion, driven by ctr.

Whatever was killed, whenever: afterwards the pod can be removed, its name can be used again, and
nothing stays behind. The moments follow from a seed, which is told; `tests/e2e/run --seed N
--rounds 20 chaos.` repeats them, or tries more of them.
"""

import time

from lib import residue
from lib.chaos import Life, chaos, kill_containerd, kill_one, nothing_left, of_program
from lib.node import shim_pids
from lib.suite import Failed, equal, test, wait_until

FOREVER = ("sleep", "1000000")
MEMBER = ["--annotation", "io.kubernetes.cri.container-type=container", "--annotation"]
SANDBOX = ["--annotation", "io.kubernetes.cri.container-type=sandbox"]


class CtrLife(Life):
    """A pod with a sandbox and one container, by ctr. What fails is noted, and the life goes on."""

    def __init__(self, t, pod, member):
        super().__init__(t)
        self.pod, self.member = pod, member

    def do(self, step, *args):
        self.begin(step)
        try:
            self.t.ctr(*args, timeout=60)
        except Failed as e:
            self.t.note("%s: %s" % (step, e))

    def end(self, cid, name):
        self.do("kill " + name, "task", "kill", "-s", "KILL", cid)
        self.begin("wait for " + name)
        deadline = time.monotonic() + 5 * self.t.slow
        while time.monotonic() < deadline and \
                any(line.startswith(cid + " ") and "STOPPED" not in line
                    for line in self.t.ctr("task", "ls").out.splitlines()):
            time.sleep(0.05)
        self.do("delete " + name, "task", "rm", cid)
        self.do("remove " + name, "container", "rm", cid)

    def live(self):
        t = self.t
        self.do("run sandbox", *t.run_args(self.pod, *FOREVER, options=["-d", *SANDBOX]))
        self.do("run member", *t.run_args(self.member, *FOREVER, options=[
            "-d", *MEMBER, "io.kubernetes.cri.sandbox-id=" + self.pod]))
        for i in range(2):
            self.do("exec %d" % i, "task", "exec", "--exec-id", "e%d" % i, self.member,
                    "echo", "hello")
        self.end(self.member, "member")
        self.end(self.pod, "sandbox")


def of_shim(pod, member):
    """The daemon as well as a `start` or `delete` at work."""
    found = []
    for pid in shim_pids():
        argv = residue.processes().get(pid, (0, ""))[1].split()
        if "-id" in argv and argv[argv.index("-id") + 1] in (pod, member):
            found.append(pid)
    return found


def remove(t, cid):
    """As a person does who finds the pieces."""
    for _ in range(3):
        t.ctr("task", "rm", "-f", cid)
        if t.status(cid) == "":
            break
        time.sleep(0.3)
    equal(t.status(cid), "", "status of the removed task %s" % cid)
    if cid in t.ctr("container", "ls", "-q").ok().out.split():
        t.ctr("container", "rm", cid).ok()
    else:
        t.ctr("snapshot", "rm", cid)  # ctr died between the two


def one_life(t, strike):
    before = t.watch.snapshot()
    pod, member = t.id(), t.id()
    life = CtrLife(t, pod, member)
    life.start()
    strike(life)
    life.join()
    remove(t, member)
    remove(t, pod)
    equal(t.run("echo", "again", cid=pod).ok().out, "again\n", "stdout of the name's next container")
    t.forget_fifos()
    nothing_left(t, before)
    return life.durations()


@test(vm=True, timeout=1200)
def a_shim_may_be_killed_at_any_moment(t):
    chaos(t, "shim", kill_one(lambda life: of_shim(life.pod, life.member)), one_life)


@test(vm=True, timeout=1200)
def a_machine_may_be_killed_at_any_moment(t):
    chaos(t, "QEMU", kill_one(lambda life: of_program("qemu-system")), one_life)


@test(vm=True, timeout=1200)
def a_file_server_may_be_killed_at_any_moment(t):
    chaos(t, "virtiofsd", kill_one(lambda life: of_program("virtiofsd")), one_life)


@test(vm=True, timeout=1200)
def containerd_may_be_killed_at_any_moment(t):
    chaos(t, "containerd", kill_containerd, one_life)
    wait_until(lambda: t.ctr("version").code == 0, 10 * t.slow, "containerd serves")
