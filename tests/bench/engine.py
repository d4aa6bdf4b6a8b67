#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the engine beside crun: docs/benchmarks.md says what and how.

    sudo tests/bench/engine.py [--rounds N] [--build DIR]

A part of tests/bench/run, also for places where that cannot run (tests/testhost/run).
"""

import argparse
import copy
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/engine"))
sys.dont_write_bytecode = True

from cases import BASE  # noqa: E402

CGROUP = "/sys/fs/cgroup"


def write_bundle(work):
    os.makedirs(work + "/rootfs/bin")
    os.makedirs(work + "/idle")
    for name in ("dev", "proc", "sys"):
        os.mkdir(os.path.join(work, "rootfs", name))
    shutil.copy("/bin/busybox", work + "/rootfs/bin")
    for applet in ("true", "sleep"):
        os.symlink("busybox", work + "/rootfs/bin/" + applet)
    for directory, argv in ((work, ["/bin/true"]), (work + "/idle", ["/bin/sleep", "1000000"])):
        spec = copy.deepcopy(BASE)
        spec["process"]["args"] = argv
        spec["root"]["path"] = work + "/rootfs"
        with open(directory + "/config.json", "w", encoding="ascii") as f:
            json.dump(spec, f)


def use_one_version():
    """Whether there are control groups of version 2."""
    # crun takes version 1's hierarchies or version 2's, and refuses a machine with both.
    if os.path.ismount(CGROUP + "/unified"):
        subprocess.run(["umount", CGROUP + "/unified"], check=True)
    return os.path.exists(CGROUP + "/cgroup.controllers")


def measure(build, rounds):
    """{name: [ms]}, in namespaces that are thrown away (scripts/box)."""
    cgroups = use_one_version()
    work = tempfile.mkdtemp(dir="/run")
    try:
        write_bundle(work)
        done = subprocess.run([os.path.join(build, "tests/bench/bench-engine"), str(rounds), work,
                               CGROUP if cgroups else "none"], check=True, stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL)
    finally:
        shutil.rmtree(work)
    return json.loads(done.stdout)


def rows(data):
    """(what, value, aim)"""
    ms = {name: (statistics.median(samples), min(samples)) for name, samples in data.items()}

    def told(name):
        return "%.1f ms, best %.1f" % ms[name]

    yield "a program alone", told("spawn"), ""
    for what, name in (("container of true, by the engine", "run"),
                       ("exec of true, by the engine", "exec")):
        yield what, told(name), ""
        yield "  by crun", told("crun " + name), ""
        ratios = tuple(c / e for c, e in zip(ms["crun " + name], ms[name]))
        yield "  its ratio to the engine's", "%.1f, best %.1f" % ratios, (
            "10 where processes are dear")


def main():
    p = argparse.ArgumentParser(usage="engine.py [options]", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=30)
    p.add_argument("--build", default=os.path.join(TOP, "build"))
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = p.parse_args()
    if os.geteuid() != 0:
        sys.exit("engine: needs root, for containers")
    if not args.inside:
        return subprocess.run([os.path.join(TOP, "scripts/box"), "-n", os.path.abspath(__file__),
                               "--inside", *sys.argv[1:]], check=False).returncode
    for what, value, aim in rows(measure(os.path.abspath(args.build), args.rounds)):
        print("%-40s %-18s %s" % (what, value, "aim " + aim if aim else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
