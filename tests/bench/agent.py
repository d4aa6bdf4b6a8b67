#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the guest's agent beside crun and a bare pipe: docs/benchmarks.md says what and how.

    sudo tests/bench/agent.py [--rounds N] [--build DIR] [--agent PROGRAM]

A part of tests/bench/run, also for places where that cannot run (tests/testhost/run).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import engine  # noqa: E402

MIB = 64  # of output: bench-agent.c


def write_bundle(work):
    """The engine's, with what writes the output."""
    engine.write_bundle(work)
    os.symlink("busybox", work + "/rootfs/bin/head")


def measure(build, rounds, agent=None):
    """{name: [ms]}, in namespaces that are thrown away (scripts/box)."""
    cgroups = engine.use_one_version()
    work = tempfile.mkdtemp(dir="/run")
    try:
        write_bundle(work)
        done = subprocess.run([os.path.join(build, "tests/bench/bench-agent"), str(rounds),
                               agent or os.path.join(build, "guest/agent/kata-agent"), work,
                               engine.CGROUP if cgroups else "none"], check=True,
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    finally:
        shutil.rmtree(work)
    return json.loads(done.stdout)


def rows(data):
    """(what, value, aim)"""
    ms = {name: (statistics.median(v), min(v)) for name, v in data.items() if isinstance(v, list)}

    def told(name):
        return "%.1f ms, best %.1f" % ms[name]

    for what, name in (("container of true, by the agent", "run"),
                       ("exec of true, by the agent", "exec")):
        yield what, told(name), ""
        yield "  by crun", told("crun " + name), ""
        ratios = tuple(c / e for c, e in zip(ms["crun " + name], ms[name]))
        yield "  its ratio to the agent's", "%.1f, best %.1f" % ratios, (
            "10 where processes are dear")
    yield "agent's start until it listens", told("listen"), ""
    for what, name in (("output, a bare pipe", "raw"), ("  by ReadStdout", "rpc"),
                       ("  by a stream", "stream")):
        value = "%.0f MiB/s" % (MIB * 1000 / ms[name][0])
        if name != "raw":
            value += " (%.2f)" % (ms["raw"][0] / ms[name][0])
        yield what, value, ""
    yield "agent's private memory", "%d KiB" % data["private KiB idle"], "under 1024"
    yield "  with 100 containers, after", "%d, %d KiB" % (
        data["private KiB with 100"], data["private KiB after 100"]), ""


def main():
    p = argparse.ArgumentParser(usage="agent.py [options]", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=30)
    p.add_argument("--build", default=os.path.join(TOP, "build"))
    p.add_argument("--agent", help="instead of the build's")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = p.parse_args()
    if os.geteuid() != 0:
        sys.exit("agent: needs root, for containers")
    if not args.inside:
        return subprocess.run([os.path.join(TOP, "scripts/box"), "-n", os.path.abspath(__file__),
                               "--inside", *sys.argv[1:]], check=False).returncode
    for what, value, aim in rows(measure(os.path.abspath(args.build), args.rounds, args.agent)):
        print("%-40s %-18s %s" % (what, value, "aim " + aim if aim else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
