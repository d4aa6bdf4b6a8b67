# SPDX-License-Identifier: Apache-2.0
"""Checks H: the way to the guest's agent. More of them, with an agent of the test's own, are in
tests/component/test-task.c."""

import json
import os
import re
import signal
import time

from lib.suite import check, equal, test, wait_until

AGENT_LINE = re.compile(r'level=(\w+) msg="agent: (\{(?:[^"\\]|\\.)*\})"')
# what containerd's log calls the agent's levels
LEVELS = {"DEBG": "debug", "INFO": "info", "WARN": "warning", "ERRO": "error"}
MIB = 1 << 20


@test(vm=True, timeout=120)
def h_a_guest_that_is_8_s_late_is_waited_for(t):
    process = t.background(*t.run_args(t.id(), "echo", "here", options=["--rm"]))
    pid = wait_until(t.vmm_pids, 10 * t.slow, "QEMU runs", 0.01)[0]
    time.sleep(0.5)  # until the guest's kernel boots; its agent is not up before 2 s
    os.kill(pid, signal.SIGSTOP)
    time.sleep(8)
    equal(process.lines(), [], "stdout of a guest that stands still")
    os.kill(pid, signal.SIGCONT)
    r = process.result(60).ok()
    equal(r.out, "here\n", "stdout")
    check(r.seconds > 8, "it took only %.1f s" % r.seconds)


def agent_lines(t, offset):
    """[(the level in the host's log, the agent's record)]"""
    return [(level, json.loads(json.loads('"%s"' % text)))
            for level, text in AGENT_LINE.findall(t.node.log_from(offset))]


def has(lines, level, part):
    return any(seen == level and part in record["msg"] for seen, record in lines)


@test(vm=True, timeout=150)
def h_the_agents_log_appears_at_its_levels(t):
    offset = t.node.log_size()
    t.run("true").ok()
    quiet = wait_until(lambda: agent_lines(t, offset), 10 * t.slow, "the agent's log")
    check(not [1 for level, _ in quiet if level == "debug"], "the agent debugs unasked: %s" % quiet)

    offset, cid = t.node.log_size(), t.id()
    config = t.config({"log_level": '"debug"'})
    r = t.run("tail", "/dev/zero", cid=cid, config=config, options=["--memory-limit", str(32 * MIB)])
    equal(r.code, 137, "exit code without memory")
    for level, part in (("info", "container %s is started" % cid), ("debug", "ended with 137"),
                        ("warning", "container %s is out of memory" % cid)):
        wait_until(lambda a=level, b=part: has(agent_lines(t, offset), a, b), 10 * t.slow,
                   "%r at level %s" % (part, level))
    for level, record in agent_lines(t, offset):
        equal(level, LEVELS[record["level"]], "the level of %s" % record)
