# SPDX-License-Identifier: Apache-2.0
"""Streams of bytes over ttrpc, as containerd 2 makes them a process' stdio.

Input and Output are containerd's CRI plugin with io_type = "streaming": each opens one stream, on a
connection of its own, at the shim's socket. Stdio is the three of a process, in the place of
peer.Stdio. Server is somebody else's streaming service, where the shim is the client.

What is written here was read in containerd 2.3: core/streaming/proxy, core/transfer/streaming and
internal/cri/io/streaming.go.
"""

import contextlib
import os
import socket
import threading

from lib import ttrpc
from lib.suite import check

SERVICE, METHOD = "containerd.services.streaming.v1.Streaming", "Stream"
INIT = "containerd.services.streaming.v1.StreamInit"
DATA, WINDOW = "containerd.types.transfer.Data", "containerd.types.transfer.WindowUpdate"
EMPTY = "google.protobuf.Empty"
TYPE_DATA, REMOTE_CLOSED, REMOTE_OPEN, NO_DATA = 3, 1, 2, 4
CHUNK, WINDOW_SIZE = 32 << 10, 64 << 10


def any_of(kind, *fields):
    return ttrpc.encode((1, kind), (2, ttrpc.encode(*fields)))


def uri(address, stream_id):
    return "ttrpc+%s?streaming_id=%s" % (address, stream_id)


class Flow:
    """One stream of a connection: counts credit, collects data, ends."""

    def __init__(self, sock, stream, generous):
        self.sock, self.stream, self.generous = sock, stream, generous
        self.data, self.granted, self.credit = bytearray(), 0, 0
        self.error = None  # (code, message): how the other side ended it, if not well
        self.ended, self._changed = threading.Event(), threading.Condition()
        self._sending = threading.Lock()

    def send(self, body, flags=0):
        with self._sending:
            self.sock.sendall(ttrpc.frame(self.stream, TYPE_DATA, body, flags=flags))

    def grant(self, n):
        self.granted += n
        self.send(any_of(WINDOW, (1, n)))

    def refill(self):
        if self.generous and self.granted < WINDOW_SIZE:
            self.grant(WINDOW_SIZE)

    def take(self, kind, flags, body):
        """A frame of this stream, but for the first."""
        if kind == ttrpc.RESPONSE:
            status = ttrpc.decode(ttrpc.decode(body).get(1, [b""])[0])
            self.error = status.get(1, [0])[0], status.get(2, [b""])[0].decode()
        if kind == ttrpc.RESPONSE or flags & REMOTE_CLOSED:
            self.end()
            return
        message = ttrpc.decode(body)
        fields = ttrpc.decode(message.get(2, [b""])[0])
        if message[1][0].decode() == WINDOW:
            with self._changed:
                self.credit += fields[1][0]
                self._changed.notify_all()
        elif message[1][0].decode() == DATA:
            self.data += fields[1][0]
            self.granted -= len(fields[1][0])
            if self.granted < 0:
                self.error = -1, "more data than were granted"
                self.end()
                return
            self.refill()

    def end(self):
        with self._changed:
            self.ended.set()
            self._changed.notify_all()

    def write(self, data, timeout=60):
        """Waits for credit, as containerd's WriteByteStream."""
        while data:
            with self._changed:
                check(self._changed.wait_for(lambda: self.credit or self.ended.is_set(), timeout),
                      "no credit within %g s" % timeout)
                check(not self.ended.is_set(), "the stream ended: %s" % (self.error,))
                part = data[:min(CHUNK, self.credit)]
                self.credit -= len(part)
            self.send(any_of(DATA, (1, bytes(part))))
            data = data[len(part):]

    def close_send(self):
        self.send(b"", REMOTE_CLOSED | NO_DATA)


class Stream(Flow):
    """One that containerd opens: the id is acknowledged when the constructor returns."""

    def __init__(self, address, stream_id, generous=False, timeout=20):
        super().__init__(ttrpc.dial(address, timeout), 1, generous)
        self.id = stream_id
        self.sock.sendall(ttrpc.frame(1, ttrpc.REQUEST, ttrpc.encode((1, SERVICE), (2, METHOD)),
                                      flags=REMOTE_OPEN))
        self.send(any_of(INIT, (1, stream_id)))
        _, kind, _, body = ttrpc.read_frame(self.sock)
        if kind == ttrpc.RESPONSE:
            status = ttrpc.decode(ttrpc.decode(body)[1][0])
            raise ttrpc.RpcError(status[1][0], status.get(2, [b""])[0].decode())
        self.sock.settimeout(None)
        self.refill()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            while not self.ended.is_set():
                _, kind, flags, body = ttrpc.read_frame(self.sock)
                self.take(kind, flags, body)
        except (OSError, EOFError) as e:
            if not self.ended.is_set():
                self.error = -1, str(e)
            self.end()

    def break_off(self):
        """As a containerd that dies."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self.sock.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.close_send()
        self.break_off()


class Output(Stream):
    def __init__(self, address, stream_id):
        super().__init__(address, stream_id, generous=True)

    def all(self, timeout):
        check(self.ended.wait(timeout), "%s did not end within %g s; until then: %r" % (
            self.id, timeout, bytes(self.data[-600:])))
        check(self.error is None, "%s ended with %s" % (self.id, self.error))
        return bytes(self.data)


class Input(Stream):
    pass


class Stdio:
    """The stdio of a process, for peer.Exec: opened before the shim hears of the process."""

    def __init__(self, address, name, stdin=False, terminal=False):
        self.address, self.name, self.terminal = address, name, terminal
        self.stdin = Input(address, name + "-stdin") if stdin else None
        self.stdout = Output(address, name + "-stdout")
        self.stderr = None if terminal else Output(address, name + "-stderr")

    def request(self):
        return {"terminal": self.terminal,
                "stdin": uri(self.address, self.stdin.id) if self.stdin else "",
                "stdout": uri(self.address, self.stdout.id),
                "stderr": uri(self.address, self.stderr.id) if self.stderr else ""}

    def out(self, timeout):
        return self.stdout.all(timeout).decode("utf-8", "replace")

    def err(self, timeout):
        return self.stderr.all(timeout).decode("utf-8", "replace")

    def close(self):
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                stream.close()


class Server:
    """A streaming service at a socket of its own: streams by their ids, as clients name them."""

    def __init__(self, path):
        self.path, self.address = path, "unix://" + path
        self.streams, self._named = {}, threading.Condition()
        self._socks = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._socks.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        flows = {}
        try:
            while True:
                stream, kind, flags, body = ttrpc.read_frame(sock)
                if kind == ttrpc.REQUEST:
                    flows[stream] = None
                elif flows[stream] is None:
                    flows[stream] = self._begin(sock, stream, ttrpc.decode(body))
                else:
                    flows[stream].take(kind, flags, body)
        except (OSError, EOFError):
            for flow in filter(None, flows.values()):
                flow.end()

    def _begin(self, sock, stream, message):
        check(message[1][0].decode() == INIT, "the first message is a %s" % message[1][0])
        name = ttrpc.decode(message[2][0])[1][0].decode()
        flow = Flow(sock, stream, generous=True)
        flow.send(any_of(EMPTY))
        flow.refill()
        with self._named:
            self.streams[name] = flow
            self._named.notify_all()
        return flow

    def stream(self, name, timeout=20):
        """The stream of that id, once it has been opened."""
        with self._named:
            check(self._named.wait_for(lambda: name in self.streams, timeout),
                  "nobody opened the stream %s" % name)
            return self.streams[name]

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        os.unlink(self.path)
