# SPDX-License-Identifier: Apache-2.0
"""Endurance: what a node sees in a week, in minutes. `run --soak` makes the counts full."""

import collections
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

from lib import residue
from lib.node import program, shim_pids
from lib.suite import check, equal, test, wait_until

FOREVER = ("sleep", "1000000")
# allowed from the first measure to the last, whatever lies between: what an allocator keeps
GROWTH_KIB = 256


def count(t, soak, usual, quick):
    return soak if t.soak else quick if t.quick else usual


def one_pod(t, config, number):
    """A pod's whole life; returns the seconds until its container ran."""
    start = time.monotonic()
    pod = t.pods.run(config)
    c = pod.start("sh", "-c", "echo pod %d; exec sleep 1000000" % number)
    seconds = time.monotonic() - start
    equal(c.exec("sh", "-c", "hostname; exit 3"), (3, config["hostname"] + "\n", ""), "exec")
    c.stop()
    equal(c.wait_exit().exit_code, 137, "exit code")
    equal(c.log(), b"pod %d\n" % number, "log")
    c.remove()
    pod.remove()
    return seconds


def kinds_left(t, before):
    """What is on the host now and was not before, without names."""
    kinds = collections.Counter(s.split(" ", 1)[0] for s in t.watch.snapshot() - before)
    return dict(kinds)


def nothing_left(t, before):
    wait_until(lambda: not kinds_left(t, before), 10 * t.slow,
               "all is gone that the pods were (there is %s)" % kinds_left(t, before))


def dirty_kib(pid):
    """Memory that is this process' alone."""
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        return int(re.search(r"(?m)^Private_Dirty:\s+(\d+) kB", f.read())[1])


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


@test(timeout=240, soak_timeout=3600)
def pods_come_and_go(t):
    t.pods.list()
    before = t.watch.snapshot()
    containerd = descriptors(t.node.daemon.pid)
    times = []
    for number in range(count(t, 200, 10, 4)):
        times.append(one_pod(t, t.pods.config(), number))
        nothing_left(t, before)
    times.sort()
    t.report("%d pods one after another, running after %.1f s (median), %.1f s (slowest)" % (
        len(times), times[len(times) // 2], times[-1]))
    wait_until(lambda: descriptors(t.node.daemon.pid) < containerd + 10, 10 * t.slow,
               "containerd has the descriptors that it had")


@test(timeout=240, soak_timeout=3600)
def pods_come_and_go_side_by_side(t):
    t.pods.list()
    before = t.watch.snapshot()
    width = count(t, 10, 4, 4)
    total = count(t, 200, 8, 4)
    configs = [t.pods.config() for _ in range(total)]
    with ThreadPoolExecutor(width) as pool:
        times = sorted(pool.map(lambda i: one_pod(t, configs[i], i), range(total)))
    nothing_left(t, before)
    t.report("%d pods, %d at a time, running after %.1f s (median), %.1f s (slowest)" % (
        total, width, times[len(times) // 2], times[-1]))


def server_descriptors():
    """Of the file servers: one for each file that a guest's kernel remembers."""
    return sum(descriptors(pid) for pid in residue.processes() if program(pid) == "virtiofsd")


def one_container(pod, number):
    c = pod.start("sh", "-c", "echo container %d; exec sleep 1000000" % number)
    equal(c.exec("sh", "-c", "seq 1 100; exit 3")[0], 3, "exit code of the exec")
    s = c.exec_stream("sh", "-c", "read x; echo $x", stdin=True)
    s.type("typed\n")
    equal((s.end(), s.out), (0, "typed\n"), "a streamed exec")
    c.stats()
    c.stop()
    equal(c.wait_exit().exit_code, 137, "exit code")
    equal(c.log(), b"container %d\n" % number, "log")
    c.remove()
    os.unlink(c.log_path)


@test(timeout=240, soak_timeout=3600)
def a_pod_does_not_grow_with_its_containers(t):
    pod = t.pods.run()
    shim = t.shim_pid(pod.id)
    watcher = pod.start(*FOREVER)
    total = count(t, 200, 24, 12)
    first = {200: 20}.get(total, total // 3)
    measured = []
    for number in range(1, total + 1):
        one_container(pod, number)
        if number in (first, total):
            # its last answers are being sent
            wait_until(lambda: not measured or descriptors(shim) <= measured[0][1], 10 * t.slow,
                       "the shim has the descriptors that it had")
            # and the guest forgets the files of those that are gone, which takes seconds
            wait_until(lambda: server_descriptors() < 150, 30 * t.slow,
                       "the file server has let go of the containers' files")
            measured.append((dirty_kib(shim), descriptors(shim)))
            t.report("after %d containers: %d KiB, %d descriptors, %d of the file server; in the "
                     "guest: %s" % (number, *measured[-1], server_descriptors(),
                                    guest_memory(watcher)))
    if t.vm:  # runc's shim is another's
        check(measured[1][0] <= measured[0][0] + GROWTH_KIB, "the shim's memory grew from %d to %d "
              "KiB over %d containers" % (measured[0][0], measured[1][0], total - first))
    equal(len(pod.containers()), 1, "number of containers")
    equal(len(shim_pids()), 1, "number of shims")
    pod.remove()
    equal(len(t.pods.list()), 0, "number of pods")


def guest_memory(c):
    text = c.out("cat", "/proc/meminfo")
    return ", ".join("%s %s kB" % (key, re.search(r"(?m)^%s:\s+(\d+)" % key, text)[1])
                     for key in ("MemFree", "Slab", "AnonPages"))
