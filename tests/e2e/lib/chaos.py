# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments of a pod's life.

A life is a thread that does steps, one after another, and goes on when one fails: so does a node
whose parts are killed. chaos() has it lived once unharmed, to learn how long each step takes, then
in rounds with a strike. The moments follow from a seed, which is told.
"""

import os
import random
import signal
import threading
import time

from lib import residue
from lib.node import program
from lib.suite import Failed


class Life(threading.Thread):
    """What lives gives it a live()."""

    def __init__(self, t):
        super().__init__()
        self.t = t
        self.steps = []  # (when, name)

    @property
    def step(self):
        return self.steps[-1][1] if self.steps else "not begun"

    def begin(self, step):
        self.steps.append((time.monotonic(), step))

    def run(self):
        self.live()
        self.begin("over")

    def durations(self):
        """[(step, seconds)]"""
        at = [when for when, _ in self.steps]
        return [(name, end - begin) for (begin, name), end in zip(self.steps, at[1:])]


def of_program(name):
    return [pid for pid in residue.processes() if name in program(pid)]


def nothing_left(t, before):
    """All that is there was there before, once it has had time to go."""
    deadline = time.monotonic() + 5 * t.slow
    while True:
        left = t.watch.snapshot() - before
        if not left:
            return
        if time.monotonic() > deadline:
            raise Failed("left behind: " + "\n".join(sorted(left)))
        time.sleep(0.1)


def chaos(t, victim, kill, one_life):
    """@one_life(t, strike): lives once, with @strike(life) at work beside it; everything must then
    be as before. Returns the steps and how long each took. @kill(t, life, rng, delay): ends the
    victim, and tells how it went."""
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
    """Kills one of @find(life)'s processes."""
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
