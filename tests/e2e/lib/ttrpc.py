# SPDX-License-Identifier: Apache-2.0
"""A ttrpc client of a few lines, for what ctr cannot ask a shim.

Frames: length (4 bytes, big-endian), stream id (4), type (1: request, 2: response), flags (1).
Messages are protobuf, written here as lists of (field, value); a str or bytes value is
length-delimited, an int is a varint.
"""

import socket
import struct

REQUEST = 1
RESPONSE = 2

# google.rpc.Code
OK, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED = 0, 2, 3, 4
NOT_FOUND, ALREADY_EXISTS, RESOURCE_EXHAUSTED = 5, 6, 8
FAILED_PRECONDITION, UNIMPLEMENTED = 9, 12


def _varint(n):
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
            out += _varint(number << 3) + _varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def decode(data):
    """{field: [values]}; length-delimited values stay bytes."""
    out, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        elif kind == 2:
            size = varint()
            value = data[at:at + size]
            at += size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value = int.from_bytes(data[at:at + size], "little")
            at += size
        else:
            raise ValueError("protobuf wire type %d" % kind)
        out.setdefault(key >> 3, []).append(value)
    return out


class Client:
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
        header = struct.pack(">IIBB", len(body) if length is None else length, stream, kind, flags)
        self.sock.sendall(header + body)

    def receive(self):
        """(stream, code, message, payload fields) of the next response."""
        length, stream, kind, _ = struct.unpack(">IIBB", self._exactly(10))
        body = self._exactly(length)
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

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise EOFError("the shim closed the connection")
            data += part
        return data
