# SPDX-License-Identifier: Apache-2.0
"""What the shim notices by itself: containers out of memory, guests that hang."""

import os
import signal

from lib.suite import check, contains, equal, test, wait_until
from test_crash import FOREVER, gone
from test_events import topics

MEBIBYTE = 1 << 20


def ends_out_of_memory(t, seen, cid, code):
    """The topics of @cid once it has ended with @code."""
    wait_until(lambda: "/tasks/exit" in topics(seen(cid)), 60 * t.slow, "the exit is seen")
    events = seen(cid)
    exits = [body.get("exit_status") for topic, body in events if topic == "/tasks/exit"]
    equal(exits, [code], "exit status")
    equal(topics(events), ["/tasks/create", "/tasks/start", "/tasks/oom", "/tasks/exit"], "topics")
    t.remove(cid)


@test(timeout=120)
def d4_out_of_memory_is_told_before_the_exit(t):
    with t.events() as seen:
        cid = t.start("tail", "/dev/zero", options=["--memory-limit", str(32 * MEBIBYTE)])
        ends_out_of_memory(t, seen, cid, 137)


@test(timeout=120)
def d4_out_of_memory_is_told_although_the_container_ends_otherwise(t):
    with t.events() as seen:
        cid = t.start("sh", "-c", "tail /dev/zero; exit 5",
                      options=["--memory-limit", str(32 * MEBIBYTE)])
        ends_out_of_memory(t, seen, cid, 5)


@test(vm=True, timeout=180)
def d4_a_guest_out_of_memory_is_told_for_the_container_that_ends(t):
    """No limit but the machine's: the kernel counts its kills in the victim's group too."""
    with t.events() as seen:
        cid = t.start("tail", "/dev/zero", config=t.config({"default_memory": "256"}))
        ends_out_of_memory(t, seen, cid, 137)


@test(timeout=120)
def d4_a_kill_is_not_taken_for_a_lack_of_memory(t):
    with t.events() as seen:
        cid = t.start(*FOREVER, options=["--memory-limit", str(32 * MEBIBYTE)])
        t.ctr("task", "kill", "-s", "KILL", cid).ok()
        wait_until(lambda: "/tasks/exit" in topics(seen(cid)), 20 * t.slow, "the exit is seen")
        t.remove(cid)
    check("/tasks/oom" not in topics(seen(cid)), "an event tells of a lack of memory")


@test(vm=True, timeout=120)
def d7_a_guest_that_hangs_is_given_up(t):
    config = t.config({"health_check_request_timeout_ms": "6000"})
    with t.events() as seen:
        cid = t.start(*FOREVER, config=config)
        vmm = t.vmm_pids()
        equal(len(vmm), 1, "number of QEMUs")
        os.kill(vmm[0], signal.SIGSTOP)
        t.wait_status(cid, "STOPPED", 20)
        wait_until(lambda: gone(vmm[0]), 5 * t.slow, "QEMU has ended")
        r = t.exec(cid, "true")
        check(r.code != 0, "an exec in a dead guest worked")
        equal(t.delete(cid), 255, "exit code")
        equal([body.get("exit_status") for topic, body in seen(cid) if topic == "/tasks/exit"],
              [255], "exit status")
    t.ctr("container", "rm", cid).ok()
    contains(t.node.log_from(t.log_offset), "did not answer a health check", "the log")


@test(vm=True, timeout=120)
def d7_a_guest_that_works_is_left_alone(t):
    """Checks come and go, and nothing ends."""
    import time
    config = t.config({"health_check_request_timeout_ms": "6000"})
    cid = t.start(*FOREVER, config=config)
    time.sleep(7)
    equal(t.status(cid), "RUNNING", "status")
    equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of an exec")
    t.remove(cid)
