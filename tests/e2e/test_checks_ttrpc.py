# SPDX-License-Identifier: Apache-2.0
"""Checks B1 to B5: ttrpc on the shim's socket, frame by frame, as Go's server answers."""

import os
import socket
import time

from lib import messages, peer, ttrpc
from lib.binary import with_daemon
from lib.suite import check, equal, test

TASK = "containerd.task.v2.Task"


def request(method, cid, service=TASK, **more):
    return messages.pack("ttrpc.Request", service=service, method=method,
                         payload=ttrpc.encode((1, cid)), **more)


def answers(client, cid):
    """The connection still serves."""
    code, message, _ = client.call("Connect", (1, cid))
    equal((code, message), (ttrpc.OK, ""), "Connect on the same connection")


def refusal(client, stream, code):
    got, got_code, message, _ = client.receive()
    equal((got, got_code), (stream, code), "stream and code (%s)" % message)
    check(message, "no message")


@with_daemon
def b1_an_even_stream_is_refused(t, address, cid):
    client = ttrpc.Client(address)
    client.send_frame(2, ttrpc.REQUEST, b"")
    stream, code, _, _ = client.receive()
    equal((stream, code), (2, ttrpc.INVALID_ARGUMENT), "stream and code")
    answers(client, cid)


@with_daemon
def b2_a_frame_over_the_limit_is_refused(t, address, cid):
    client = ttrpc.Client(address, timeout=30 * t.slow)
    client.send_frame(1, ttrpc.REQUEST, b"\0" * (ttrpc.DATA_MAX + 1))
    refusal(client, 1, ttrpc.RESOURCE_EXHAUSTED)
    client.stream = 3
    answers(client, cid)


@with_daemon
def b2_the_largest_frame_is_read(t, address, cid):
    client = ttrpc.Client(address, timeout=30 * t.slow)
    base = request("Connect", cid)
    # a field that nobody knows fills the rest
    room = ttrpc.DATA_MAX - len(base) - 2 - 4
    body = base + ttrpc.encode((100, b"x" * room))
    equal(len(body), ttrpc.DATA_MAX, "bytes of the frame")
    client.send_frame(1, ttrpc.REQUEST, body)
    stream, code, message, _ = client.receive()
    equal((stream, code, message), (1, ttrpc.OK, ""), "stream, code, message")


@with_daemon
def b3_unknown_services_and_methods_are_unimplemented(t, address, cid):
    client = ttrpc.Client(address)
    equal(client.call("Connect", (1, cid), service="containerd.task.v9.Task")[0],
          ttrpc.UNIMPLEMENTED, "code of an unknown service")
    equal(client.call("Dance", (1, cid))[0], ttrpc.UNIMPLEMENTED, "code of an unknown method")
    equal(client.call("Connect", (1, cid))[0], ttrpc.OK, "code on the same connection")


@with_daemon
def b_a_stream_id_that_does_not_grow_is_refused(t, address, cid):
    client = ttrpc.Client(address)
    client.stream = 5
    answers(client, cid)
    for stream in (5, 3, 1):
        client.send_frame(stream, ttrpc.REQUEST, request("Connect", cid))
        refusal(client, stream, ttrpc.INVALID_ARGUMENT)
    answers(client, cid)
    client.stream = 2001  # gaps are no error
    answers(client, cid)


@with_daemon
def b_a_request_that_is_no_request_is_refused(t, address, cid):
    client = ttrpc.Client(address)
    for body in (b"\xff" * 10, b"\x0a\xff", b"\x0a\x05abc", b"\x0f"):
        client.stream += 2
        client.send_frame(client.stream - 2, ttrpc.REQUEST, body)
        refusal(client, client.stream - 2, ttrpc.INVALID_ARGUMENT)
    answers(client, cid)


@with_daemon
def b_a_payload_that_is_no_message_is_an_internal_error(t, address, cid):
    client = ttrpc.Client(address)
    for payload in (b"\xff" * 10, b"\x0a\x7fab"):
        stream = client.send(TASK, "Connect", payload)
        refusal(client, stream, ttrpc.INTERNAL)
    answers(client, cid)


@with_daemon
def b_a_frame_of_an_unknown_type_is_ignored(t, address, cid):
    client = ttrpc.Client(address)
    for kind in (0, 2, 4, 77, 255):
        client.send_frame(1, kind, b"whatever")
    answers(client, cid)


@with_daemon
def b_data_on_no_stream_is_refused(t, address, cid):
    client = ttrpc.Client(address)
    client.send_frame(7, ttrpc.DATA, b"x")
    refusal(client, 7, ttrpc.INVALID_ARGUMENT)
    client.stream = 9
    answers(client, cid)
    client.send_frame(9, ttrpc.DATA, b"x", flags=ttrpc.REMOTE_CLOSED)  # that one has ended
    refusal(client, 9, ttrpc.INVALID_ARGUMENT)
    client.stream = 11
    answers(client, cid)


@with_daemon
def b_data_of_every_kind_on_no_stream_are_refused(t, address, cid):
    client = ttrpc.Client(address)
    answers(client, cid)
    for flags, body in ((0, b""), (0, b"x"), (ttrpc.REMOTE_CLOSED, b"x"), (ttrpc.NO_DATA, b""),
                        (ttrpc.REMOTE_CLOSED | ttrpc.NO_DATA, b""), (255, b"x" * 100000)):
        for stream in (1, 1001, 0xFFFFFFFF):  # one that has ended, and some that never were
            client.send_frame(stream, ttrpc.DATA, body, flags=flags)
            refusal(client, stream, ttrpc.INVALID_ARGUMENT)
    answers(client, cid)  # and no stream was used up


@test(vm=True)
def b_data_on_an_open_call_break_that_call_only(t):
    cid = t.start("sh", "-c", "while ! [ -e /end ]; do sleep 0.05; done; exit 3")
    client = ttrpc.Client(t.shim_address(cid), timeout=60 * t.slow)
    good = client.send(TASK, "Wait", ttrpc.encode((1, cid)))
    for flags, body in ((0, b"x"), (ttrpc.REMOTE_CLOSED, b"payload"),
                        (ttrpc.REMOTE_CLOSED | ttrpc.NO_DATA, b"")):
        stream = client.send(TASK, "Wait", ttrpc.encode((1, cid)))
        client.send_frame(stream, ttrpc.DATA, body, flags=flags)
        refusal(client, stream, ttrpc.INVALID_ARGUMENT)
        client.send_frame(stream, ttrpc.DATA, body, flags=flags)  # by now it is none
        refusal(client, stream, ttrpc.INVALID_ARGUMENT)
    code, _, reply = client.call("State", (1, cid))
    equal((code, reply[4]), (ttrpc.OK, [peer.RUNNING]), "State of the container")
    t.exec(cid, "touch", "/end").ok()
    stream, code, message, reply = client.receive()
    equal((stream, code, message, reply[1]), (good, ttrpc.OK, "", [3]), "the Wait that was left alone")
    answers(client, cid)  # and nothing more came to those that were refused
    client.close()
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 3, "exit code")
    t.ctr("container", "rm", cid).ok()


@with_daemon
def b_metadata_and_unknown_fields_do_no_harm(t, address, cid):
    client = ttrpc.Client(address)
    pairs = [{"key": "containerd-namespace-ttrpc", "value": "ns"}, {"key": "traceparent", "value":
             "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {"key": "", "value": ""}]
    client.send_frame(1, ttrpc.REQUEST, request("Connect", cid, metadata=pairs * 10)
                      + ttrpc.encode((77, 5), (78, b"new")))
    stream, code, message, _ = client.receive()
    equal((stream, code, message), (1, ttrpc.OK, ""), "stream, code, message")
    client.stream = 3
    answers(client, cid)


@with_daemon
def b_a_handlers_error_has_its_code(t, address, cid):
    client = ttrpc.Client(address)
    for method, fields, code in (
            ("State", [(1, "nobody")], ttrpc.NOT_FOUND),
            ("State", [(1, "a/b")], ttrpc.INVALID_ARGUMENT),
            ("Create", [(1, cid), (2, "relative")], ttrpc.INVALID_ARGUMENT),
            ("Checkpoint", [(1, cid)], ttrpc.UNIMPLEMENTED)):
        got, message, _ = client.call(method, *fields)
        equal(got, code, "the code of %s (%s)" % (method, message))
        check(message and "\n" not in message, "the message of %s: %r" % (method, message))


@test(vm=True)
def b4_a_deadline_ends_the_call_and_not_the_container(t):
    cid = t.start("sleep", "1000000")
    client = ttrpc.Client(t.shim_address(cid), timeout=30 * t.slow)
    for timeout_ms in (1, 100):
        began = time.monotonic()
        code, message, _ = client.call("Wait", (1, cid), timeout_ns=timeout_ms * 1_000_000)
        took = time.monotonic() - began
        equal(code, ttrpc.DEADLINE_EXCEEDED, "code (%s)" % message)
        check(took >= timeout_ms / 1000, "it took only %.4f s" % took)
        check(took < 0.1 + timeout_ms / 1000 + 0.5 * t.slow, "it took %.2f s" % took)
    code, _, reply = client.call("State", (1, cid), timeout_ns=10_000_000_000)
    equal((code, reply[4]), (ttrpc.OK, [peer.RUNNING]), "State of the container")
    client.close()
    equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of an exec")
    t.remove(cid)


@test(vm=True)
def b5_a_thousand_states_in_a_row_are_all_answered(t):
    cid = t.start("sleep", "1000000")
    client = ttrpc.Client(t.shim_address(cid), timeout=60 * t.slow)
    frames = [ttrpc.frame(1 + 2 * i, ttrpc.REQUEST, request("State", cid)) for i in range(1000)]
    client.sock.sendall(b"".join(frames))
    streams = {1 + 2 * i for i in range(1000)}
    while streams:
        stream, code, message, reply = client.receive()
        equal((code, message, reply[4]), (ttrpc.OK, "", [peer.RUNNING]), "stream %d" % stream)
        streams.remove(stream)
    client.close()
    t.remove(cid)


@with_daemon
def b5_a_thousand_requests_in_a_row_are_all_answered(t, address, cid):
    client = ttrpc.Client(address, timeout=30 * t.slow)
    streams = {client.send("containerd.task.v2.Task", "Connect", ttrpc.encode((1, cid)))
               for _ in range(1000)}
    while streams:
        stream, code, _, _ = client.receive()
        equal(code, ttrpc.OK, "code of stream %d" % stream)
        streams.remove(stream)


@with_daemon
def b5_answers_that_nobody_reads_do_not_stop_others(t, address, cid):
    lazy = ttrpc.Client(address, timeout=2 * t.slow)
    try:
        for _ in range(100000):
            lazy.send(TASK, "Connect", ttrpc.encode((1, cid)))
    except OSError:  # no longer read from: a full socket, or an end
        pass
    answers(ttrpc.Client(address, timeout=30 * t.slow), cid)
    lazy.close()


@with_daemon
def b_garbage_does_no_harm(t, address, cid):
    other = ttrpc.Client(address)
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0" * 64, b"\0",
                 ttrpc.frame(1, ttrpc.REQUEST, b"\xff\xff\xff\xff"),
                 os.urandom(100000)):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(address.removeprefix("unix://"))
            s.sendall(data)
        answers(other, cid)


@with_daemon
def b_a_hundred_clients_that_say_nothing_do_not_matter(t, address, cid):
    clients = [ttrpc.Client(address) for _ in range(100)]
    equal(ttrpc.Client(address).call("Connect", (1, cid))[0], ttrpc.OK, "code of the 101st")
    for client in clients:
        client.close()


@with_daemon
def b_a_frame_that_never_ends_blocks_nobody(t, address, cid):
    slow = ttrpc.Client(address)
    data = ttrpc.frame(1, ttrpc.REQUEST, request("Connect", cid))
    for at in range(len(data) - 1):
        slow.sock.sendall(data[at:at + 1])
        if at in (0, 5, 9, 10, 20):
            answers(ttrpc.Client(address), cid)
    slow.sock.sendall(data[-1:])
    stream, code, _, _ = slow.receive()
    equal((stream, code), (1, ttrpc.OK), "stream and code of the slow one")
    slow.sock.sendall(data[:7])
    slow.close()  # in the middle of a header


@with_daemon
def b_a_client_that_has_said_all_still_gets_its_answers(t, address, cid):
    client = ttrpc.Client(address)
    streams = {client.send(TASK, "Connect", ttrpc.encode((1, cid))) for _ in range(20)}
    client.sock.shutdown(socket.SHUT_WR)
    while streams:
        stream, code, _, _ = client.receive()
        equal(code, ttrpc.OK, "code")
        streams.remove(stream)
    equal(client.sock.recv(1), b"", "after the last answer")


@test(vm=True)
def b_several_connections_serve_one_container(t):
    cid = t.start("sh", "-c", "while ! [ -e /end ]; do sleep 0.05; done; exit 3")
    address = t.shim_address(cid)
    waiters = [ttrpc.Client(address, timeout=60 * t.slow) for _ in range(8)]
    gone = ttrpc.Client(address)
    for client in (*waiters, gone):
        client.send(TASK, "Wait", ttrpc.encode((1, cid)))
    half = waiters[0]
    half.sock.shutdown(socket.SHUT_WR)  # an open question is no reason to close
    gone.close()
    broken = ttrpc.Client(address)
    broken.sock.sendall(b"\xff" * 1000)
    for client in waiters[1:]:
        client.sock.settimeout(60 * t.slow)
    code, _, reply = ttrpc.Client(address).call("State", (1, cid))
    equal((code, reply[4]), (ttrpc.OK, [peer.RUNNING]), "State")
    t.exec(cid, "touch", "/end").ok()
    for client in waiters:
        _, code, message, reply = client.receive()
        equal((code, message, reply[1]), (ttrpc.OK, "", [3]), "Wait")
        client.close()
    broken.close()
    t.wait_status(cid, "STOPPED")
    equal(t.delete(cid), 3, "exit code")
    t.ctr("container", "rm", cid).ok()
