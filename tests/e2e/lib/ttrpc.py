# SPDX-License-Identifier: Apache-2.0
"""ttrpc as tests need it: frames, a raw client that may err, a client and a server that do not.

Frames: length (4 bytes, big-endian), stream id (4), type (1: request, 2: response, 3: data), flags
(1). Messages are protobuf, written here as lists of (field, value); a str or bytes value is
length-delimited, an int is a varint. lib/messages.py writes and reads them by their names.
"""

import contextlib
import os
import socket
import struct
import threading

REQUEST = 1
RESPONSE = 2
DATA = 3

REMOTE_CLOSED = 1
REMOTE_OPEN = 2
NO_DATA = 4

# google.rpc.Code
OK, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED = 0, 2, 3, 4
NOT_FOUND, ALREADY_EXISTS, RESOURCE_EXHAUSTED = 5, 6, 8
FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 9, 12, 13, 14

DATA_MAX = 4 << 20


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def encode(*fields):
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def _read_varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("protobuf: a broken varint")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _read_value(data, at, number, kind):
    if kind == 0:
        return _read_varint(data, at)
    if kind == 3:  # a group: read over it
        while True:
            key, at = _read_varint(data, at)
            if key & 7 == 4:
                if key >> 3 != number:
                    raise ValueError("protobuf: a group ends that did not begin")
                return b"", at
            _, at = _read_value(data, at, key >> 3, key & 7)
    if kind == 2:
        size, at = _read_varint(data, at)
    elif kind in (1, 5):
        size = 8 if kind == 1 else 4
    else:
        raise ValueError("protobuf: wire type %d" % kind)
    value = data[at:at + size]
    if len(value) != size:
        raise ValueError("protobuf: a field is cut off")
    return (value if kind == 2 else int.from_bytes(value, "little")), at + size


def records(data):
    """[(field, value)] in their order; raises ValueError where a protobuf library would refuse."""
    out, at = [], 0
    while at < len(data):
        key, at = _read_varint(data, at)
        if key >> 3 == 0:
            raise ValueError("protobuf: field number 0")
        value, at = _read_value(data, at, key >> 3, key & 7)
        out.append((key >> 3, value))
    return out


def varints(data):
    out, at = [], 0
    while at < len(data):
        value, at = _read_varint(data, at)
        out.append(value)
    return out


def decode(data):
    """{field: [values]}; length-delimited values stay bytes."""
    out = {}
    for number, value in records(data):
        out.setdefault(number, []).append(value)
    return out


def frame(stream, kind, body, length=None, flags=0):
    return struct.pack(">IIBB", len(body) if length is None else length, stream, kind, flags) + body


def exactly(sock, n):
    data = bytearray()
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise EOFError("the peer closed the connection")
        data += part
    return bytes(data)


def read_frame(sock):
    """(stream, type, flags, body)"""
    length, stream, kind, flags = struct.unpack(">IIBB", exactly(sock, 10))
    return stream, kind, flags, exactly(sock, length)


def dial(address, timeout=None):
    """As containerd reads an address: what does not begin with unix:// is an abstract socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        if address.startswith("unix://"):
            sock.connect(address.removeprefix("unix://"))
        else:
            sock.connect(b"\0" + address.encode())
    except OSError as e:
        sock.close()
        raise type(e)(e.errno, "%s: dial %r" % (e.strerror, address)) from None
    return sock


class Client:
    """One that does what it is told, right or wrong; one thread."""

    def __init__(self, address, timeout=10):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(address.removeprefix("unix://"))
        self.stream = 1

    def close(self):
        self.sock.close()

    def send(self, service, method, payload, timeout_ns=0):
        fields = [(1, service), (2, method), (3, payload)]
        if timeout_ns:
            fields.append((4, timeout_ns))
        stream, self.stream = self.stream, self.stream + 2
        self.send_frame(stream, REQUEST, encode(*fields))
        return stream

    def send_frame(self, stream, kind, body, length=None, flags=0):
        self.sock.sendall(frame(stream, kind, body, length, flags))

    def receive(self):
        """(stream, code, message, payload fields) of the next response."""
        stream, kind, _, body = read_frame(self.sock)
        if kind != RESPONSE:
            raise ValueError("a frame of type %d" % kind)
        response = decode(body)
        status = decode(response.get(1, [b""])[0])
        return (stream, status.get(1, [0])[0], status.get(2, [b""])[0].decode(),
                decode(response.get(2, [b""])[0]))

    def call(self, method, *fields, service="containerd.task.v2.Task", timeout_ns=0):
        """(code, message, payload fields)."""
        stream = self.send(service, method, encode(*fields), timeout_ns)
        while True:
            got, code, message, payload = self.receive()
            if got == stream:
                return code, message, payload


class RpcError(Exception):
    """An answer that is not OK."""

    def __init__(self, code, message):
        super().__init__("code %d: %s" % (code, message))
        self.code, self.message = code, message


class Closed(Exception):
    """The connection ended before the answer came."""


class Pending:
    """A call whose answer is still to come."""

    def __init__(self, connection, stream, name):
        self.connection, self.stream, self.name = connection, stream, name
        self.done, self.body, self.error = threading.Event(), None, None

    def finish(self, body=None, error=None):
        self.body, self.error = body, error
        self.done.set()

    def result(self, timeout=None):
        """The payload, or RpcError, or Closed. Gives up by itself after @timeout seconds."""
        if not self.done.wait(timeout):
            raise RpcError(DEADLINE_EXCEEDED, "%s: no answer within %g s" % (self.name, timeout))
        if self.error:
            raise self.error
        return self.body


class Connection:
    """A client as containerd's: any thread may call, answers come in any order."""

    def __init__(self, sock, metadata=(), on_close=None):
        sock.settimeout(None)
        self.sock, self.metadata, self.on_close = sock, list(metadata), on_close
        self.lock, self.stream, self.pending = threading.Lock(), 1, {}
        self.closed = threading.Event()   # no more answers
        self.finished = threading.Event()  # and on_close has returned
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def begin(self, service, method, payload, timeout=None):
        fields = [(1, service), (2, method), (3, payload)]
        if timeout is not None:
            fields.append((4, int(timeout * 1e9)))
        fields += [(5, encode((1, k), (2, v))) for k, v in self.metadata]
        with self.lock:
            if self.closed.is_set():
                raise Closed("%s: the connection is closed" % method)
            stream, self.stream = self.stream, self.stream + 2
            pending = self.pending[stream] = Pending(self, stream, method)
            try:
                self.sock.sendall(frame(stream, REQUEST, encode(*fields)))
            except OSError as e:
                self.pending.pop(stream)
                raise Closed("%s: %s" % (method, e)) from None
        return pending

    def call(self, service, method, payload, timeout=None):
        return self.begin(service, method, payload, timeout).result(timeout)

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def _read(self):
        try:
            while True:
                stream, kind, _, body = read_frame(self.sock)
                pending = self.pending.pop(stream, None)
                if not pending:
                    continue
                if kind != RESPONSE:
                    pending.finish(error=ValueError("a frame of type %d" % kind))
                    continue
                response = decode(body)
                status = decode(response.get(1, [b""])[0])
                code = status.get(1, [OK])[0]
                if code != OK:
                    text = status.get(2, [b""])[0].decode()
                    pending.finish(error=RpcError(code, text))
                else:
                    pending.finish(body=response.get(2, [b""])[0])
        except (EOFError, OSError, ValueError) as e:
            reason = Closed("the connection ended: %s" % e)
        with self.lock:
            self.closed.set()
            left, self.pending = list(self.pending.values()), {}
        for pending in left:
            pending.finish(error=reason)
        self.sock.close()
        if self.on_close:
            self.on_close()
        self.finished.set()


class Stream:
    """A server's side of a streaming call. @first: the payload of its request."""

    def __init__(self, connection, number, first):
        self.connection, self.number, self.first = connection, number, first
        self.cond, self.queue, self.ended = threading.Condition(), [], False

    def push(self, body, flags):
        with self.cond:
            if not flags & NO_DATA:
                self.queue.append(body)
            self.ended = self.ended or bool(flags & REMOTE_CLOSED)
            self.cond.notify_all()

    def end(self):
        self.push(b"", NO_DATA | REMOTE_CLOSED)

    def receive(self, timeout=None):
        """The next message; None at the end."""
        with self.cond:
            if not self.cond.wait_for(lambda: self.queue or self.ended, timeout):
                raise TimeoutError("no message within %g s" % timeout)
            return self.queue.pop(0) if self.queue else None

    def send(self, payload):
        self.connection.send(frame(self.number, DATA, payload))

    def close(self):
        """The end of what this side sends."""
        self.connection.send(frame(self.number, DATA, b"", flags=REMOTE_CLOSED | NO_DATA))


class ServerConnection:
    def __init__(self, server, sock):
        self.server, self.sock, self.lock, self.streams = server, sock, threading.Lock(), {}
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, data):
        with self.lock, contextlib.suppress(OSError):
            self.sock.sendall(data)

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def _answer(self, stream, payload=b"", code=OK, message=""):
        if code:
            body = encode((1, encode((1, code), (2, message))))
        else:
            body = encode((2, payload))
        self.send(frame(stream, RESPONSE, body))

    def _run(self, number, handler, payload):
        try:
            self._answer(number, handler(payload))
        except RpcError as e:
            self._answer(number, code=e.code, message=e.message)

    def _run_stream(self, stream, handler):
        try:
            handler(stream)
            self._answer(stream.number)
        except RpcError as e:
            self._answer(stream.number, code=e.code, message=e.message)
        finally:
            self.streams.pop(stream.number, None)

    def _request(self, number, flags, body):
        request = decode(body)
        key = tuple(request.get(i, [b""])[0].decode() for i in (1, 2))
        payload = request.get(3, [b""])[0]
        self.server.metadata = [tuple(v[0].decode() for v in decode(pair).values())
                                for pair in request.get(5, [])]
        if key in self.server.streams:
            stream = self.streams[number] = Stream(self, number, payload)
            if flags & REMOTE_CLOSED:
                stream.end()
            args = (self._run_stream, (stream, self.server.streams[key]))
        elif key in self.server.methods:
            args = (self._run, (number, self.server.methods[key], payload))
        else:
            self._answer(number, code=UNIMPLEMENTED, message="%s/%s" % key)
            return
        threading.Thread(target=args[0], args=args[1], daemon=True).start()

    def _read(self):
        try:
            while True:
                number, kind, flags, body = read_frame(self.sock)
                if kind == REQUEST:
                    self._request(number, flags, body)
                elif kind == DATA and number in self.streams:
                    self.streams[number].push(body, flags)
                elif kind == DATA:
                    self._answer(number, code=INVALID_ARGUMENT, message="no such stream")
        except (EOFError, OSError, ValueError):
            pass
        for stream in list(self.streams.values()):
            stream.end()
        with self.lock:
            self.sock.close()
        self.server.connections.discard(self)


class Server:
    """Serves a unix socket. @methods: {(service, method): payload -> payload}, each call on its own
    thread; a handler may raise RpcError. @streams: the same with functions that take a Stream.
    """

    def __init__(self, path, methods=None, streams=None):
        self.path, self.methods, self.streams = path, dict(methods or {}), dict(streams or {})
        self.connections, self.listener, self.metadata = set(), None, []
        self.come_back()

    def come_back(self):
        """Listens, for the first time or after vanish()."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def vanish(self):
        """As a containerd that is killed: no listener, no connection, no file."""
        if not self.listener:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        listener, self.listener = self.listener, None
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in list(self.connections):
            connection.close()

    close = vanish

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                if self.listener is not listener:
                    sock.close()
                    return
                self.connections.add(ServerConnection(self, sock))
