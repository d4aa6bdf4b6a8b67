# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments of a pod's life, from its creation to its deletion.

Whatever was killed, whenever: afterwards the pod can be removed, its name can be used again, and
nothing stays behind. The moments follow from a seed, which is told; `tests/e2e/run --seed N
--rounds 20 chaos.` repeats them, or tries more of them.
"""

import os
import random
import signal
import threading
import time

from lib import residue
from lib.node import program, shim_pids
from lib.suite import Failed, equal, test, wait_until

FOREVER = ("sleep", "1000000")
MEMBER = ["--annotation", "io.kubernetes.cri.container-type=container", "--annotation"]
SANDBOX = ["--annotation", "io.kubernetes.cri.container-type=sandbox"]


class Life(threading.Thread):
    """A pod with a sandbox and one container, by ctr. What fails is noted, and the life goes on:
    so does a node whose parts are killed."""

    def __init__(self, t, pod, member):
        super().__init__()
        self.t, self.pod, self.member = t, pod, member
        self.steps = []  # (when, name)

    @property
    def step(self):
        return self.steps[-1][1] if self.steps else "not begun"

    def begin(self, step):
        self.steps.append((time.monotonic(), step))

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

    def run(self):
        t = self.t
        self.do("run sandbox", *t.run_args(self.pod, *FOREVER, options=["-d", *SANDBOX]))
        self.do("run member", *t.run_args(self.member, *FOREVER, options=[
            "-d", *MEMBER, "io.kubernetes.cri.sandbox-id=" + self.pod]))
        for i in range(2):
            self.do("exec %d" % i, "task", "exec", "--exec-id", "e%d" % i, self.member,
                    "echo", "hello")
        self.end(self.member, "member")
        self.end(self.pod, "sandbox")
        self.begin("over")


def of_shim(pod, member):
    """The daemon as well as a `start` or `delete` at work."""
    found = []
    for pid in shim_pids():
        argv = residue.processes().get(pid, (0, ""))[1].split()
        if "-id" in argv and argv[argv.index("-id") + 1] in (pod, member):
            found.append(pid)
    return found


def of_program(name):
    return [pid for pid in residue.processes() if name in program(pid)]


def left_behind(t, before):
    """What is there and was not, once it has had time to go."""
    deadline = time.monotonic() + 5 * t.slow
    while True:
        left = t.watch.snapshot() - before
        if not left or time.monotonic() > deadline:
            return sorted(left)
        time.sleep(0.1)


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
    """Lives once, with @strike(life) at work beside it; then everything must be as before.
    Returns the steps and how long each took."""
    before = t.watch.snapshot()
    pod, member = t.id(), t.id()
    life = Life(t, pod, member)
    life.start()
    strike(life)
    life.join()
    at = [when for when, _ in life.steps]
    remove(t, member)
    remove(t, pod)
    equal(t.run("echo", "again", cid=pod).ok().out, "again\n", "stdout of the name's next container")
    t.forget_fifos()
    left = left_behind(t, before)
    if left:
        raise Failed("left behind: " + "\n".join(left))
    return [(name, end - begin) for (begin, name), end in zip(life.steps, at[1:])]


def chaos(t, victim, kill):
    seed = t.seed if t.seed is not None else random.SystemRandom().randrange(1 << 32)
    rng = random.Random("%s %d" % (victim, seed))
    known = one_life(t, lambda life: None)
    steps = []
    for number in range(t.rounds):
        # every step as often as any other, however short it is
        step, seconds = rng.choice(known)
        moment = rng.random() * seconds
        delay = rng.random() * 0.5
        told = ["nothing"]

        def strike(life, step=step, moment=moment, delay=delay, told=told):
            while life.is_alive() and step not in (name for _, name in list(life.steps)):
                time.sleep(0.002)
            life.join(moment)
            told[0] = kill(t, life, rng, delay)
        t.note("round %d: kill %s %.3f s into \"%s\"" % (number, victim, moment, step))
        try:
            one_life(t, strike)
        except Failed as e:
            raise Failed("round %d of --seed %d, %.3f s into \"%s\", %s: %s" % (
                number, seed, moment, step, told[0], e)) from None
        steps.append(told[0])
    print("%s, --seed %d, %d rounds: %s" % (victim, seed, t.rounds, "; ".join(steps)), flush=True)


def kill_one(find):
    def kill(t, life, rng, delay):
        pids = []
        while life.is_alive() and not pids:  # at the moment, or as soon as there is one
            pids = find(life)
            if not pids:
                time.sleep(0.005)
        if not pids:
            return "nothing to kill"
        step, pid = life.step, rng.choice(sorted(pids))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return "it had just ended, in step \"%s\"" % step
        return "killed in step \"%s\"" % step
    return kill


def kill_containerd(t, life, rng, delay):
    step = life.step
    t.node.daemon.kill()
    t.node.daemon.wait()
    time.sleep(delay)
    t.node.start()
    return "killed in step \"%s\", back after %.2f s" % (step, delay)


@test(vm=True, timeout=1200)
def a_shim_may_be_killed_at_any_moment(t):
    chaos(t, "shim", kill_one(lambda life: of_shim(life.pod, life.member)))


@test(vm=True, timeout=1200)
def a_machine_may_be_killed_at_any_moment(t):
    chaos(t, "QEMU", kill_one(lambda life: of_program("qemu-system")))


@test(vm=True, timeout=1200)
def a_file_server_may_be_killed_at_any_moment(t):
    chaos(t, "virtiofsd", kill_one(lambda life: of_program("virtiofsd")))


@test(vm=True, timeout=1200)
def containerd_may_be_killed_at_any_moment(t):
    chaos(t, "containerd", kill_containerd)
    wait_until(lambda: t.ctr("version").code == 0, 10 * t.slow, "containerd serves")
