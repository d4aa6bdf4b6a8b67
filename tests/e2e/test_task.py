# SPDX-License-Identifier: Apache-2.0
"""The life of a task, step by step: start, exec, kill, pause, statistics, delete."""

import json
import os
import threading
import time

from lib import ttrpc
from lib.node import IMAGE
from lib.suite import check, contains, equal, test, wait_until

FOREVER = ("sleep", "1000000")


def wait_for_sleeps(t, cid, count):
    """Until so many FOREVERs run in the container."""
    wait_until(lambda: t.exec(cid, "ps").out.count("sleep 1000000") == count, 10 * t.slow,
               "%d processes sleep" % count, 0.2)


@test
def c1_a_detached_container_lives_until_it_is_killed(t):
    cid = t.start(*FOREVER)
    equal(t.status(cid), "RUNNING", "status")
    t.ctr("task", "kill", "-s", "KILL", cid).ok()
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 137, "exit code")
    equal(t.status(cid), "", "status after rm")
    t.ctr("container", "rm", cid).ok()


def wait_ready(t, cid):
    """A signal before the shell has its trap would be another test: so wait for its word."""
    wait_until(lambda: t.exec(cid, "test", "-e", "/ready").code == 0, 20 * t.slow,
               "the traps are set", 0.1)


@test
def sigterm_reaches_the_process_which_may_answer(t):
    cid = t.start("sh", "-c", "trap 'exit 9' TERM; : >/ready; while :; do sleep 0.1; done")
    wait_ready(t, cid)
    t.ctr("task", "kill", "-s", "TERM", cid).ok()
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 9, "code")
    t.ctr("container", "rm", cid).ok()


@test
def other_signals_arrive_too(t):
    cid = t.start("sh", "-c", "trap 'echo usr1 >>/got' USR1; trap 'echo hup >>/got' HUP; "
                  ": >/ready; while :; do sleep 0.1; done")
    wait_ready(t, cid)
    t.ctr("task", "kill", "-s", "USR1", cid).ok()
    t.ctr("task", "kill", "-s", "1", cid).ok()
    wait_until(lambda: sorted(t.exec(cid, "cat", "/got").out.split()) == ["hup", "usr1"],
               5 * t.slow, "both signals are handled", 0.2)
    t.remove(cid)


@test
def sigterm_to_a_process_that_does_not_handle_it(t):
    """The kernel keeps it from a PID 1; but the agent's contract is to make it a SIGKILL."""
    cid = t.start(*FOREVER)
    t.ctr("task", "kill", "-s", "TERM", cid).ok()
    if t.vm:
        t.wait_status(cid, "STOPPED")
        equal(t.delete(cid), 137, "exit code")
        t.ctr("container", "rm", cid).ok()
    else:
        time.sleep(0.5)
        equal(t.status(cid), "RUNNING", "status after TERM")
        t.remove(cid)


@test
def kill_of_an_exec_leaves_the_container(t):
    cid = t.start(*FOREVER)
    process = t.background("task", "exec", "--exec-id", "e1", cid, *FOREVER)
    wait_for_sleeps(t, cid, 2)
    t.ctr("task", "kill", "--exec-id", "e1", "-s", "KILL", cid).ok()
    equal(process.result(10).code, 137, "code of the exec")
    equal(t.status(cid), "RUNNING", "status of the container")
    t.remove(cid)


@test
def exec_has_code_streams_and_surroundings(t):
    cid = t.start(*FOREVER, options=["--env", "A=1"])
    r = t.exec(cid, "sh", "-c", "echo out; echo err >&2; exit 5")
    equal((r.code, r.out, r.err), (5, "out\n", "err\n"), "code, stdout, stderr")
    r = t.exec(cid, "sh", "-c", "echo $A; pwd", options=["--cwd", "/tmp"]).ok()
    equal(r.out, "1\n/tmp\n", "stdout")
    r = t.exec(cid, "sh", "-c", "id -u; id -g", options=["--user", "1000:1000"]).ok()
    equal(r.out, "1000\n1000\n", "stdout of a user")
    r = t.exec(cid, "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '").ok()
    equal(r.out, "sleep 1000000 ", "the exec sees the container's processes")
    t.remove(cid)


@test
def exec_with_stdin(t):
    cid = t.start(*FOREVER)
    argv = t.node.ctr_argv("task", "exec", "--exec-id", "e1", cid, "cat")
    r = t.command("bash", "-c", '(echo hi; sleep 2) | "$@"', "bash", *argv)
    equal((r.code, r.out), (0, "hi\n"), "code, stdout")
    t.remove(cid)


@test
def c8_exec_with_a_terminal(t):
    cid = t.start(*FOREVER)
    term = t.terminal("task", "exec", "-t", "--exec-id", "e1", cid, "sh", rows=40, columns=120)
    term.expect(r"# ", 20)
    term.type("stty size\r")
    term.expect(r"40 120\r+\n", 10)
    term.resize(50, 90)
    time.sleep(0.5)
    term.type("stty size\r")
    term.expect(r"50 90\r+\n", 10)
    term.type("echo 'to err' >&2; exit 3\r")
    term.expect(r"to err\r+\n", 10)
    equal(term.end(), 3, "code")
    t.remove(cid)


@test
def control_c_interrupts_on_a_terminal(t):
    cid = t.start(*FOREVER)
    term = t.terminal("task", "exec", "-t", "--exec-id", "e1", cid, "sh")
    term.expect(r"# ", 20)
    term.type("sleep 1000\r")
    time.sleep(0.5)
    term.type("\x03")
    term.expect(r"# ", 10)
    term.type("exit\r")
    term.end()
    t.remove(cid)


@test
def execs_in_parallel_do_not_mix(t):
    cid = t.start(*FOREVER)
    results = {}

    def one(i):
        results[i] = t.exec(cid, "sh", "-c", "for n in 1 2 3 4 5; do echo %d; done; exit %d"
                            % (i, i), exec_id="p%d" % i)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(2)]
    threads += [threading.Thread(target=one, args=(i,)) for i in range(2, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    for i in range(6):
        equal((results[i].code, results[i].out), (i, ("%d\n" % i) * 5), "exec %d" % i)
    t.remove(cid)


@test(timeout=240)
def many_short_execs_lose_no_output(t):
    cid = t.start(*FOREVER)
    for i in range(10 if t.quick else 50):
        r = t.exec(cid, "sh", "-c", "echo exec %d; exit %d" % (i, i))
        equal((r.code, r.out), (i, "exec %d\n" % i), "exec %d" % i)
    t.remove(cid)


@test
def c4_an_exec_id_in_use_is_refused(t):
    cid = t.start(*FOREVER)
    process = t.background("task", "exec", "--exec-id", "same", cid, *FOREVER)
    wait_for_sleeps(t, cid, 2)
    r = t.exec(cid, "true", exec_id="same")
    check(r.code != 0, "the second exec of the same id ran")
    contains(r.err.lower(), "already exists", "stderr")
    t.ctr("task", "kill", "--exec-id", "same", "-s", "KILL", cid).ok()
    equal(process.result(15).code, 137, "code of the first")
    t.remove(cid)


@test
def an_exec_of_nothing_names_it(t):
    cid = t.start(*FOREVER)
    r = t.exec(cid, "no-such-command")
    check(r.code != 0, "an exec of nothing ended with 0")
    contains(r.err, "no-such-command", "stderr")
    contains(r.err, "not found", "stderr")
    equal(t.status(cid), "RUNNING", "status")
    t.remove(cid)


@test
def c10_the_end_of_an_exec_does_not_wait_for_its_children(t):
    cid = t.start(*FOREVER)
    start = time.monotonic()
    r = t.exec(cid, "sh", "-c", "sleep 300 >/dev/null 2>&1 </dev/null & exit 3")
    equal(r.code, 3, "code")
    check(time.monotonic() - start < 5 * t.slow, "it took %.1f s" % (time.monotonic() - start))
    t.remove(cid)


@test
def the_end_of_the_container_ends_its_execs(t):
    cid = t.start("sh", "-c", "while ! [ -e /end ]; do sleep 0.1; done; exit 4")
    process = t.background("task", "exec", "--exec-id", "e1", cid, *FOREVER)
    wait_for_sleeps(t, cid, 1)
    t.exec(cid, "touch", "/end").ok()
    equal(process.result(15).code, 137, "code of the exec")
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 4, "code of the container")
    t.ctr("container", "rm", cid).ok()


@test
def c6_pause_and_resume(t):
    cid = t.start("sh", "-c", "while :; do date +%s%N >/now; sleep 0.05; done")
    t.ctr("task", "pause", cid).ok()
    equal(t.status(cid), "PAUSED", "status")
    check(t.ctr("task", "pause", cid).code != 0, "a second pause worked")
    time.sleep(0.3)
    t.ctr("task", "resume", cid).ok()
    equal(t.status(cid), "RUNNING", "status")
    first = t.exec(cid, "cat", "/now").ok().out
    wait_until(lambda: t.exec(cid, "cat", "/now").out not in ("", first), 5 * t.slow,
               "the container goes on")
    t.remove(cid)


@test
def c7_statistics_have_memory_cpu_and_pids(t):
    cid = t.start(*FOREVER)
    r = t.ctr("task", "metrics", "--format", "json", cid).ok()
    data = json.loads(r.out)
    cgroup1 = "usage" in data.get("memory", {}) and isinstance(data["memory"]["usage"], dict)
    memory = data["memory"]["usage"]["usage"] if cgroup1 else data["memory"]["usage"]
    check(memory > 0, "memory usage is 0: " + r.out)
    cpu = data["cpu"]["usage"]["total"] if cgroup1 else data["cpu"]["usage_usec"]
    check(cpu > 0, "cpu usage is 0: " + r.out)
    equal(data["pids"]["current"], 1, "pids")
    t.remove(cid)


@test
def processes_are_listed(t):
    cid = t.start(*FOREVER)
    r = t.ctr("task", "ps", cid).ok()
    pids = [line.split()[0] for line in r.out.splitlines()[1:]]
    check(pids and all(p.isdigit() for p in pids), "ctr task ps: " + r.out)
    equal(len(pids), 1, "number of processes")
    check(os.path.exists("/proc/%d" % t.pid(cid)), "the pid of the task is no process")
    process = t.background("task", "exec", "--exec-id", "shell", cid, "sh", "-c",
                           "sleep 1000000; true")
    wait_for_sleeps(t, cid, 3)  # the shell's arguments have the words too
    r = t.ctr("task", "ps", cid).ok()
    lines = r.out.splitlines()[1:]
    equal(len(lines), 3, "number of processes with an exec of two")
    equal(len([line for line in lines if "shell" in line]), 1, "processes that tell their exec")
    t.remove(cid)
    process.result(15)


@test
def c4_a_running_container_is_not_deleted(t):
    cid = t.start(*FOREVER)
    check(t.ctr("task", "rm", cid).code != 0, "task rm of a running container worked")
    equal(t.status(cid), "RUNNING", "status")
    client = ttrpc.Client(t.shim_address(cid))
    code, message, _ = client.call("Delete", (1, cid))
    equal(code, ttrpc.FAILED_PRECONDITION, "the code of Delete")
    check(message, "no message")
    code, message, _ = client.call("Start", (1, cid))
    equal(code, ttrpc.FAILED_PRECONDITION, "the code of Start")
    client.close()
    equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of an exec")
    t.remove(cid)


@test
def a_stopped_container_is_not_started_again(t):
    cid = t.start("true")
    t.wait_status(cid, "STOPPED")
    client = ttrpc.Client(t.shim_address(cid))
    code, message, _ = client.call("Start", (1, cid))
    check(code != ttrpc.OK, "the shim started a stopped container")
    check(message, "no message")
    r = t.exec(cid, "true")
    check(r.code != 0, "an exec in a stopped container worked")
    code, _, state = client.call("State", (1, cid))
    client.close()
    equal((code, state.get(4)), (ttrpc.OK, [3]), "code and status (3: stopped)")
    equal(t.delete(cid), 0, "code of `task rm`")
    t.ctr("container", "rm", cid).ok()


@test
def a_created_container_that_never_starts_is_deleted(t):
    cid = t.id()
    t.ctr("container", "create", "--runtime", t.runtime, "--", IMAGE, cid, "true").ok()
    t.ctr("container", "rm", cid).ok()


@test
def one_container_runs_twice(t):
    cid = t.id()
    t.ctr("container", "create", "--runtime", t.runtime, "--", IMAGE, cid,
          "sh", "-c", "echo x >>/count; wc -l </count").ok()
    for wanted in ("1\n", "2\n"):
        r = t.ctr("task", "start", cid).ok()
        equal(r.out.strip(), wanted.strip(), "lines in the container's file")
    t.ctr("container", "rm", cid).ok()


@test
def deferred_waits_all_get_the_code(t):
    cid = t.start("sh", "-c", "while ! [ -e /end ]; do sleep 0.05; done; exit 6")
    clients = [ttrpc.Client(t.shim_address(cid), timeout=20 * t.slow) for _ in range(4)]
    streams = [(c, c.send("containerd.task.v2.Task", "Wait", ttrpc.encode((1, cid))))
               for c in clients for _ in range(5)]
    t.exec(cid, "touch", "/end").ok()
    for client, _ in streams:
        _, code, message, reply = client.receive()
        equal((code, message, reply.get(1)), (ttrpc.OK, "", [6]), "code, message, exit status")
    for client in clients:
        client.close()
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 6, "exit code")
    t.ctr("container", "rm", cid).ok()


@test
def c5_unknown_ids_are_not_found(t):
    cid = t.start(*FOREVER)
    client = ttrpc.Client(t.shim_address(cid))
    for method in ("State", "Pids", "Stats", "Pause", "Delete", "Start", "Wait"):
        code, message, _ = client.call(method, (1, "no-such-id"))
        equal(code, ttrpc.NOT_FOUND, "the code of %s (%s)" % (method, message))
    for signal, code in ((2, ttrpc.NOT_FOUND), (9, ttrpc.OK), (15, ttrpc.OK)):
        equal(client.call("Kill", (1, "no-such-id"), (3, signal))[0], code,
              "the code of Kill with signal %d" % signal)
    code, message, _ = client.call("State", (1, cid), (2, "no-such-exec"))
    equal(code, ttrpc.NOT_FOUND, "the code of State of an exec (%s)" % message)
    client.close()
    t.remove(cid)


def add_exec(client, cid, exec_id, *argv):
    """Exec without its Start, as ctr never leaves it. Returns the code."""
    spec = json.dumps({"args": argv, "cwd": "/", "user": {"uid": 0, "gid": 0},
                       "env": ["PATH=/bin"]})
    any_spec = ttrpc.encode((1, "types.containerd.io/opencontainers/runtime-spec/1/Process"),
                            (2, spec))
    code, message, _ = client.call("Exec", (1, cid), (2, exec_id), (7, any_spec))
    return code, message


@test
def an_exec_is_created_before_it_runs(t):
    cid = t.start(*FOREVER)
    client = ttrpc.Client(t.shim_address(cid), timeout=20 * t.slow)
    equal(add_exec(client, cid, "e1", "sh", "-c", "exit 3"), (ttrpc.OK, ""), "code of Exec")
    code, _, state = client.call("State", (1, cid), (2, "e1"))
    equal((code, state.get(4), state.get(3)), (ttrpc.OK, [1], None), "code, created, no pid")
    code, _, _ = client.call("Start", (1, cid), (2, "e1"))
    equal(code, ttrpc.OK, "code of Start")
    code, _, reply = client.call("Wait", (1, cid), (2, "e1"))
    equal((code, reply.get(1)), (ttrpc.OK, [3]), "code and exit status")
    code, _, _ = client.call("Start", (1, cid), (2, "e1"))
    check(code != ttrpc.OK, "an exec ran twice")
    code, _, reply = client.call("Delete", (1, cid), (2, "e1"))
    equal((code, reply.get(2)), (ttrpc.OK, [3]), "code and exit status of Delete")
    code, _, _ = client.call("Delete", (1, cid), (2, "e1"))
    equal(code, ttrpc.NOT_FOUND, "code of the second Delete")
    client.close()
    t.remove(cid)


@test
def a_paused_container_runs_nothing_more(t):
    cid = t.start(*FOREVER)
    client = ttrpc.Client(t.shim_address(cid), timeout=20 * t.slow)
    t.ctr("task", "pause", cid).ok()
    check(client.call("Pause", (1, cid))[0] != ttrpc.OK, "a second Pause worked")
    check(add_exec(client, cid, "e1", "true")[0] != ttrpc.OK, "an Exec worked")
    check(client.call("Delete", (1, cid))[0] != ttrpc.OK, "a Delete worked")
    equal(t.status(cid), "PAUSED", "status")
    t.ctr("task", "resume", cid).ok()
    check(client.call("Resume", (1, cid))[0] != ttrpc.OK, "a second Resume worked")
    equal(t.exec(cid, "echo", "on").ok().out, "on\n", "stdout of an exec")
    client.close()
    t.remove(cid)


@test
def signal_0_asks_whether_it_lives(t):
    cid = t.start(*FOREVER)
    client = ttrpc.Client(t.shim_address(cid), timeout=20 * t.slow)
    code, message, _ = client.call("Kill", (1, cid), (3, 0))
    equal((code, message), (ttrpc.OK, ""), "code and message")
    check(client.call("Kill", (1, cid), (3, 65))[0] != ttrpc.OK, "there is a signal 65")
    t.ctr("task", "kill", "-s", "KILL", cid).ok()
    t.wait_status(cid, "STOPPED")
    equal(client.call("Kill", (1, cid), (3, 0))[0], ttrpc.NOT_FOUND, "code after the end")
    client.close()
    t.remove(cid)


@test
def a_wait_outlives_its_client(t):
    cid = t.start("sh", "-c", "while ! [ -e /end ]; do sleep 0.05; done; exit 6")
    for _ in range(3):
        client = ttrpc.Client(t.shim_address(cid))
        client.send("containerd.task.v2.Task", "Wait", ttrpc.encode((1, cid)))
        client.close()
    client = ttrpc.Client(t.shim_address(cid), timeout=20 * t.slow)
    t.exec(cid, "touch", "/end").ok()
    for _ in range(2):
        code, _, reply = client.call("Wait", (1, cid))
        equal((code, reply.get(1)), (ttrpc.OK, [6]), "code and exit status")
    client.close()
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 6, "exit code")
    t.ctr("container", "rm", cid).ok()


@test
def a_signal_to_all_reaches_every_process(t):
    loop = "while :; do sleep 0.1; done"
    cid = t.start("sh", "-c", "trap 'echo init >>/seen' USR1; (trap 'echo child >>/seen' USR1; %s) & "
                  "touch /ready; %s" % (loop, loop))
    wait_until(lambda: t.exec(cid, "test", "-e", "/ready").code == 0, 20 * t.slow, "it is ready")
    time.sleep(1)  # for the child to set its trap

    def seen():
        return set(t.exec(cid, "cat", "/seen").out.split())
    t.ctr("task", "kill", "-s", "USR1", cid).ok()
    wait_until(lambda: seen() == {"init"}, 20 * t.slow, "init has the signal")
    t.ctr("task", "kill", "--all", "-s", "USR1", cid).ok()
    wait_until(lambda: seen() == {"init", "child"}, 20 * t.slow, "the child has the signal, too")
    t.remove(cid)
