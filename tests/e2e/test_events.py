# SPDX-License-Identifier: Apache-2.0
"""The events that containerd's clients see: which, how often, in which order."""

import time

from lib.suite import check, equal, test, wait_until


def topics(events):
    return [topic for topic, _ in events]


def settled(seen, cid, last, seconds):
    """The events of @cid once @last is among them, and a moment later: a second one would show."""
    wait_until(lambda: last in topics(seen(cid)), seconds, last + " is seen")
    time.sleep(0.5)
    return seen(cid)


@test
def c3_one_run_is_create_start_exit_delete_once_each(t):
    cid = t.id()
    with t.events() as seen:
        equal(t.run("sh", "-c", "exit 42", cid=cid).code, 42, "code")
        events = settled(seen, cid, "/tasks/delete", 10 * t.slow)
    equal(topics(events), ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"],
          "topics")
    bodies = dict(events)
    equal(bodies["/tasks/create"].get("bundle"), t.bundle(cid), "the bundle")
    check(bodies["/tasks/create"].get("rootfs"), "TaskCreate has no rootfs")
    stdio = bodies["/tasks/create"].get("io", {})
    check(stdio.get("stdout") and stdio.get("stderr"), "TaskCreate has no stdio: %s" % stdio)
    pids = {body.get("pid") for body in bodies.values()}
    check(len(pids) == 1 and pids.pop(), "the events have pids %s" % pids)
    equal(bodies["/tasks/exit"].get("id"), cid, "the id in TaskExit")
    equal(bodies["/tasks/exit"].get("exit_status"), 42, "the status in TaskExit")
    equal(bodies["/tasks/delete"].get("exit_status"), 42, "the status in TaskDelete")
    check(bodies["/tasks/exit"].get("exited_at"), "TaskExit has no time")
    equal(bodies["/tasks/exit"]["exited_at"], bodies["/tasks/delete"].get("exited_at"),
          "the times of exit and delete")


@test
def a_fast_exit_does_not_overtake_the_start(t):
    with t.events() as seen:
        for _ in range(3):
            cid = t.id()
            t.run("true", cid=cid).ok()
            events = settled(seen, cid, "/tasks/delete", 10 * t.slow)
            equal(topics(events), ["/tasks/create", "/tasks/start", "/tasks/exit",
                                   "/tasks/delete"], "topics")


@test
def c3_an_exec_is_added_started_and_exits_once_each(t):
    with t.events() as seen:
        cid = t.start("sleep", "1000")
        equal(t.exec(cid, "sh", "-c", "exit 5", exec_id="e1").code, 5, "code")
        wait_until(lambda: "/tasks/exit" in topics(seen(cid)), 10 * t.slow, "the exit is seen")
        t.remove(cid)
        events = settled(seen, cid, "/tasks/delete", 10 * t.slow)
    of_exec = [(topic, body) for topic, body in events
               if "e1" in (body.get("exec_id"), body.get("id"))]
    if t.vm:
        equal(topics(of_exec), ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit",
                                "/tasks/delete"], "topics of the exec")
        equal(of_exec[3][1].get("exit_status"), 5, "the status in its TaskDelete")
    else:
        # runc's shim lets a fast exit overtake the start by a hair, and does not tell the delete
        equal(sorted(topics(of_exec)), ["/tasks/exec-added", "/tasks/exec-started",
                                        "/tasks/exit"], "topics of the exec")
    equal(of_exec[0][0], "/tasks/exec-added", "the first event of the exec")
    exits = [(body["id"], body.get("exit_status")) for topic, body in events
             if topic == "/tasks/exit"]
    equal(exits, [("e1", 5), (cid, 137)], "exits")


@test
def pause_and_resume_are_told(t):
    with t.events() as seen:
        cid = t.start("sleep", "1000")
        t.ctr("task", "pause", cid).ok()
        t.ctr("task", "resume", cid).ok()
        wait_until(lambda: "/tasks/resumed" in topics(seen(cid)), 10 * t.slow, "resumed is seen")
        t.remove(cid)
    equal([topic for topic in topics(seen(cid)) if topic in ("/tasks/paused", "/tasks/resumed")],
          ["/tasks/paused", "/tasks/resumed"], "topics")
