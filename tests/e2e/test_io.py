# SPDX-License-Identifier: Apache-2.0
"""Standard streams: FIFOs with readers of all manners, terminals, files, logging binaries, and the
streams of containerd 2."""

import contextlib
import json
import os
import signal
import time

from lib import messages, peer, streaming
from lib.node import IMAGE
from lib.suite import check, contains, equal, test, wait_until

FOREVER = ("sleep", "1000000")
MIB = 1 << 20

# what logs: argv and environment into $0.args, then both streams
LOGGER = """#!/bin/sh
exec >%(dir)s/said 2>&1
for word; do echo "<$word>"; done
tr '\\0' '\\n' </proc/$$/environ | sort
exec 5>&-
cat <&4 >%(dir)s/err &
cat <&3 >%(dir)s/out
wait
echo whole
"""


def write_logger(t, text=LOGGER):
    path = os.path.join(t.dir, "logger")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text % {"dir": t.dir} if "%(" in text else text)
    os.chmod(path, 0o755)
    return path


def read(t, name):
    with open(os.path.join(t.dir, name), encoding="utf-8") as f:
        return f.read()


def run_detached(t, uri, *cmd):
    cid = t.id()
    t.ctr("run", "-d", "--runtime", t.runtime, "--log-uri", uri, IMAGE, cid, *cmd).ok()
    return cid


@test
def d11_a_logging_binary_gets_output_arguments_and_environment(t):
    path = write_logger(t)
    cid = run_detached(t, "binary://%s?k=v&dir=%%2Ftmp" % path, "sh", "-c",
                       "echo to out; echo to err >&2; sleep 1; echo last")
    t.wait_status(cid, "STOPPED", 30)
    t.remove(cid)
    said = read(t, "said").splitlines()
    # containerd's own shim gives the keys in any order
    check(said[:4] in (["<k>", "<v>", "<dir>", "</tmp>"], ["<dir>", "</tmp>", "<k>", "<v>"]),
          "arguments: %s" % said)
    equal(said[4:6], ["CONTAINER_ID=" + cid, "CONTAINER_NAMESPACE=" + t.node.namespace],
          "environment")
    if t.vm:  # Delete waits for the logger; containerd's own shim sends it SIGTERM at once
        equal(said[-1], "whole", "the logger's last word")
    equal(read(t, "out"), "to out\nlast\n", "stdout")
    equal(read(t, "err"), "to err\n", "stderr")


@test
def d11_a_file_takes_the_output(t):
    log = os.path.join(t.dir, "some dir", "x.log")
    cid = run_detached(t, "file://%s/some%%20dir/x.log" % t.dir, "sh", "-c",
                       "echo one; echo two >&2; sleep 0.5; echo three")
    t.wait_status(cid, "STOPPED", 30)
    t.remove(cid)
    lines = read(t, "some dir/x.log").splitlines()
    equal(sorted(lines[:2]) + lines[2:], ["one", "two", "three"], "the file")
    equal(os.stat(log).st_mode & 0o777, 0o644, "its mode")


@test(vm=True)
def d11_a_logging_binary_that_fails_fails_create(t):
    for text, word in (("#!/bin/sh\nexit 3\n", "ended with 3 before it was ready"),
                       ("#!/no/such/shell\n", "logging binary")):
        path = write_logger(t, text)
        cid = t.id()
        r = t.ctr("run", "-d", "--runtime", t.runtime, "--log-uri", "binary://" + path, IMAGE, cid,
                  *FOREVER)
        check(r.code != 0, "it ran")
        contains(r.err, word, "what it said")
        contains(r.err, path, "what it said")
        t.ctr("container", "rm", cid).ok()
    cid = t.id()
    r = t.ctr("run", "-d", "--runtime", t.runtime, "--log-uri", "binary:///no/such/logger", IMAGE,
              cid, *FOREVER)
    contains(r.err, "/no/such/logger", "what it said")
    t.ctr("container", "rm", cid).ok()


@test
def a_logging_binary_gets_much(t):
    path = write_logger(t)
    cid = run_detached(t, "binary://" + path, "sh", "-c", "seq 1 1000000")
    t.wait_status(cid, "STOPPED", 60)
    t.remove(cid)
    lines = read(t, "out").split()
    equal((len(lines), lines[0], lines[-1]), (1000000, "1", "1000000"), "lines, first, last")


@test
def c8_an_exec_has_the_size_of_its_terminal(t):
    cid = t.start(*FOREVER)
    term = t.terminal("task", "exec", "-t", "--exec-id", "e", cid, "sh", rows=40, columns=120)
    term.expect(r"# ", 30)
    term.type("stty size\r")
    term.expect(r"40 120\r+\n", 20)
    term.type("exit\r")
    term.end()
    t.remove(cid)


@test(timeout=180)
def c9_input_ends_and_much_output_is_whole(t):
    argv = t.node.ctr_argv("run", "--rm", "--runtime", t.runtime, IMAGE, t.id(), "cat")
    r = t.command("bash", "-c", '(echo hi; sleep 3) | "$@"', "bash", *argv)
    equal((r.code, r.out), (0, "hi\n"), "code, stdout")
    argv = t.node.ctr_argv("run", "--rm", "--runtime", t.runtime, IMAGE, t.id(), "sh", "-c",
                           "head -c %d /dev/zero" % (100 * MIB))
    r = t.command("bash", "-c", '"$@" | wc -c', "bash", *argv, timeout=150)
    equal(r.out.strip(), str(100 * MIB), "bytes")


@test(timeout=180)
def much_input_is_whole(t):
    cid = t.start(*FOREVER)
    argv = t.node.ctr_argv("task", "exec", "--exec-id", "e1", cid, "sh", "-c",
                           "head -c %d | md5sum" % (100 * MIB))
    r = t.command("bash", "-c", 'head -c %d /dev/zero | tr "\\0" x | "$@"' % (100 * MIB),
                  "bash", *argv, timeout=150)
    wanted = t.command("bash", "-c", 'head -c %d /dev/zero | tr "\\0" x | md5sum' % (100 * MIB))
    equal(r.out.split()[0], wanted.out.split()[0], "checksum")
    t.remove(cid)


@test
def c10_an_exec_ends_though_its_child_keeps_stdout(t):
    cid = t.start(*FOREVER)
    start = time.monotonic()
    r = t.exec(cid, "sh", "-c", "echo before; sleep 300 & exit 3", timeout=30)
    seconds = time.monotonic() - start
    equal(r.code, 3, "code")
    equal(r.out, "before\n", "stdout")
    check(seconds < 20 * t.slow, "it took %.1f s" % seconds)
    t.remove(cid)


@test(vm=True)
def c10_a_wait_does_not_wait_for_output_to_end(t):
    """What ctr adds on top is its own: it deletes the exec, and waits for its streams."""
    with peer.Containerd(t, "1.6") as ctd:
        box = ctd.run(*FOREVER)
        one = box.exec("sh", "-c", "echo before; sleep 300 & exit 3", exec_id="e1")
        start = time.monotonic()
        one.start()
        equal(one.wait().status, 3, "exit status")
        check(time.monotonic() - start < 2 * t.slow, "Wait took %.1f s" % (time.monotonic() - start))
        equal(one.state()["status"], peer.STOPPED, "State")
        ctd.events.wait(box.id, "/tasks/exit")
        equal(one.delete().status, 3, "exit status at Delete")
        check(time.monotonic() - start < 20 * t.slow, "Delete took long")
        equal(one.stdio.out(1), "before\n", "stdout")
        equal(box.state()["status"], peer.RUNNING, "State of the container")
        contains(in_box(box, "ps"), "sleep 300", "processes that the exec left")
        box.kill()
        box.wait()
        box.delete()


def in_box(box, *args):
    one = box.exec(*args)
    one.start()
    equal(one.wait().status, 0, "exit status of " + args[0])
    out = one.out()
    one.delete()
    return out


@test
def output_written_just_before_the_end_is_never_lost(t):
    cid = t.start(*FOREVER)
    for i in range(5 if t.quick else 20):
        r = t.exec(cid, "sh", "-c", "seq 1 5000; echo end >&2; exit 4")
        equal((r.code, len(r.out.split()), r.err.strip()), (4, 5000, "end"), "round %d" % i)
    t.remove(cid)


@test
def a_process_that_nobody_reads_can_be_killed(t):
    """Its pipes are full, and it hangs in a write: so does a container's. Kill and rm still work."""
    cid = t.start(*FOREVER)
    flood = t.background("task", "exec", "--exec-id", "e1", cid, "sh", "-c",
                         "while :; do echo 0123456789012345678901234567890123456789; done")
    wait_until(flood.lines, 30 * t.slow, "the flood flows")
    os.kill(flood.popen.pid, signal.SIGSTOP)  # ctr does not read any more
    time.sleep(2)
    r = t.exec(cid, "echo", "alive")
    equal(r.out, "alive\n", "another exec")
    t.ctr("task", "kill", "--exec-id", "e1", "-s", "KILL", cid).ok()
    os.kill(flood.popen.pid, signal.SIGCONT)
    equal(flood.result(30).code, 137, "code")
    t.remove(cid)


@contextlib.contextmanager
def streaming_exec(ctd, box, exec_id, stdio, *args):
    one = peer.Exec(box, exec_id, stdio)
    box.call("Exec", id=box.id, exec_id=exec_id, **stdio.request(),
             spec=messages.any_of(peer.PROCESS_TYPE, json.dumps(peer.process(*args)).encode()))
    try:
        yield one
    finally:
        stdio.close()


@test(vm=True, timeout=120)
def containerds_streams_are_stdio(t):
    """io_type = "streaming": containerd opens them at the shim's socket, then names them."""
    with peer.Containerd(t, "2.3") as ctd:
        box = ctd.create(*FOREVER)
        box.start()
        address = box.endpoint.address

        stdio = streaming.Stdio(address, "e1", stdin=True)
        with streaming_exec(ctd, box, "e1", stdio, "sh", "-c",
                            "md5sum; echo to err >&2; exit 3") as one:
            one.start()
            stdio.stdin.write(b"x" * MIB)
            stdio.stdin.close()
            one.close_stdin()
            equal(one.wait(60 * t.slow).status, 3, "exit status")
            equal(one.err(20 * t.slow), "to err\n", "stderr")
            wanted = t.command("sh", "-c", "head -c %d /dev/zero | tr '\\0' x | md5sum" % MIB).out
            equal(one.out(20 * t.slow), wanted, "checksum of stdin")
            one.delete()

        # a containerd that restarts opens them again, and misses nothing
        stdio = streaming.Stdio(address, "e2")
        with streaming_exec(ctd, box, "e2", stdio, "sh", "-c",
                            "echo one; sleep 3; seq 1 100000; echo end") as one:
            one.start()
            wait_until(lambda: bytes(stdio.stdout.data) == b"one\n", 20 * t.slow, "the first line")
            stdio.stdout.break_off()
            equal(one.wait(60 * t.slow).status, 0, "exit status")
            stdio.stdout = streaming.Output(address, "e2-stdout")
            lines = one.out(30 * t.slow).split()
            equal((len(lines), lines[0], lines[-1]), (100001, "1", "end"), "lines, first, last")
            one.delete()
        box.kill()
        equal(box.wait().status, 137, "exit status of the container")
        box.delete()


@test(vm=True, timeout=120)
def streams_at_another_socket_are_opened_there(t):
    server = streaming.Server(os.path.join(t.dir, "other.sock"))
    with peer.Containerd(t, "2.3") as ctd:
        box = ctd.create(*FOREVER)
        box.start()

        class Stdio:
            def request(self):
                return {"stdout": streaming.uri(server.address, "far-out"), "terminal": False}

            def close(self):
                pass
        with streaming_exec(ctd, box, "e1", Stdio(), "seq", "1", "100000") as one:
            one.start()
            flow = server.stream("far-out")
            equal(one.wait(60 * t.slow).status, 0, "exit status")
            check(flow.ended.wait(30 * t.slow), "the stream did not end")
            lines = bytes(flow.data).split()
            equal((len(lines), lines[-1]), (100000, b"100000"), "lines, last")
            one.delete()
        box.kill()
        equal(box.wait().status, 137, "exit status of the container")
        box.delete()
    server.close()
