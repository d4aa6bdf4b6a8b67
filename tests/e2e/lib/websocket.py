# SPDX-License-Identifier: Apache-2.0
"""The streams of exec, attach and port-forward, as kubelet's clients get them from containerd.

A websocket (RFC 6455) whose messages each begin with a byte that names their channel. Standard input
cannot be closed alone in this protocol: its reader sees the end when the whole connection goes.
"""

import base64
import hashlib
import json
import os
import select
import socket
import struct
import time
import urllib.parse

from lib.suite import Failed, check, short

PROTOCOL = "v4.channel.k8s.io"
MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10
MESSAGE_MAX = 64 << 20

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)


class WebSocket:
    """Messages, not knowing what they mean."""

    def __init__(self, url, protocol=PROTOCOL, timeout=30):
        at = urllib.parse.urlsplit(url)
        self.sock = socket.create_connection((at.hostname, at.port), timeout)
        self.buffer, self.ended = b"", False
        key = base64.b64encode(os.urandom(16)).decode()
        path = at.path + ("?" + at.query if at.query else "")
        self.sock.sendall((
            "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n"
            "Sec-WebSocket-Protocol: %s\r\n\r\n" % (path, at.netloc, key, protocol)).encode())
        while b"\r\n\r\n" not in self.buffer:
            check(self._fill(timeout), "no answer to the websocket's handshake")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        check(lines[0].split()[1] == "101", "the websocket is refused: %s %s" % (
            lines[0], short(self.buffer.decode("utf-8", "replace"))))
        headers = {k.lower(): v.strip() for k, v in (s.split(":", 1) for s in lines[1:])}
        accept = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()
        check(headers.get("sec-websocket-accept") == accept, "the handshake's answer is wrong")
        check(headers.get("sec-websocket-protocol") == protocol, "another protocol was chosen")

    def _fill(self, seconds):
        """Reads something. False if nothing came, or nothing will."""
        if self.ended or not select.select([self.sock], [], [], max(0, seconds))[0]:
            return False
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        self.ended = not data
        return bool(data)

    def _frame(self):
        """(opcode, final, payload) if a whole frame is there."""
        b = self.buffer
        if len(b) < 2:
            return None
        size, at = b[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(b) < at + width:
                return None
            size, at = int.from_bytes(b[at:at + width], "big"), at + width
        check(size <= MESSAGE_MAX, "a websocket frame of %d bytes" % size)
        if len(b) < at + size:
            return None
        self.buffer = b[at + size:]
        return b[0] & 0xF, bool(b[0] & 0x80), b[at:at + size]

    def receive(self, seconds):
        """The next message's bytes; None if none came, or none will (see ended)."""
        deadline, message = time.monotonic() + seconds, b""
        while True:
            frame = self._frame()
            if frame is None:
                if not self._fill(deadline - time.monotonic()):
                    return None
                continue
            opcode, final, payload = frame
            if opcode == CLOSE:
                self.ended = True
                return None
            if opcode == PING:
                self._send(PONG, payload)
            elif opcode != PONG:
                message += payload
                if final:
                    return message

    def _send(self, opcode, payload):
        size, mask = len(payload), os.urandom(4)
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | size) if size < 126 else \
            struct.pack(">BBH", 0x80 | opcode, 0xFE, size) if size < 1 << 16 else \
            struct.pack(">BBQ", 0x80 | opcode, 0xFF, size)
        # masked as a whole: a byte at a time is too slow for megabytes
        repeated = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(
            size, "big")
        self.sock.sendall(head + mask + masked)

    def send(self, payload):
        self._send(BINARY, payload)

    def close(self):
        self.sock.close()


class Stream:
    """An exec or an attach: what came on each channel, and how it ended."""

    def __init__(self, url, slow=1):
        self.socket, self.slow = WebSocket(url, timeout=30 * slow), slow
        self.data = {STDOUT: b"", STDERR: b"", ERROR: b""}

    @property
    def out(self):
        return self.data[STDOUT].decode("utf-8", "replace")

    @property
    def err(self):
        return self.data[STDERR].decode("utf-8", "replace")

    def type(self, text):
        data = text.encode() if isinstance(text, str) else text
        for at in range(0, len(data), 1 << 15):
            self.socket.send(bytes([STDIN]) + data[at:at + (1 << 15)])

    def resize(self, rows, columns):
        self.socket.send(bytes([RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode())

    def _pump(self, seconds):
        """False when the other side has closed."""
        message = self.socket.receive(seconds)
        if message:
            self.data[message[0]] += message[1:]
        return message is not None or not self.socket.ended

    def expect(self, text, seconds=30, channel=STDOUT):
        """Reads on until @text has come, and forgets all up to its end."""
        wanted, deadline = text.encode(), time.monotonic() + seconds * self.slow
        while wanted not in self.data[channel]:
            if not self._pump(0.2) or time.monotonic() > deadline:
                raise Failed("%r did not come, but %s" % (text, short(repr(self.data))))
        self.data[channel] = self.data[channel].split(wanted, 1)[1]

    def end(self, seconds=60):
        """Reads to the end, and returns the exit code."""
        deadline = time.monotonic() + seconds * self.slow
        while self._pump(0.2):
            if time.monotonic() > deadline:
                raise Failed("the stream did not end within %g s: %s" % (
                    seconds * self.slow, short(repr(self.data))))
        self.close()
        check(self.data[ERROR], "the stream ended without a status: %s" % short(repr(self.data)))
        status = json.loads(self.data[ERROR])
        if status.get("status") == "Success":
            return 0
        for cause in status.get("details", {}).get("causes", []):
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
        raise Failed("the stream failed: %s" % status.get("message", status))

    def close(self):
        self.socket.close()


class Forward:
    """Connections to ports of a pod: channel 2 i carries the bytes of port i, 2 i + 1 its error."""

    def __init__(self, url, ports, slow=1):
        self.socket, self.slow, self.ports = WebSocket(url, timeout=30 * slow), slow, ports
        self.data = {i: b"" for i in range(2 * len(ports))}
        self.greeted = set()

    def send(self, data, index=0):
        self.socket.send(bytes([2 * index]) + data)

    def _pump(self, seconds):
        message = self.socket.receive(seconds)
        if message:
            channel, data = message[0], message[1:]
            if channel not in self.greeted:  # the first message of each is its port
                port, = struct.unpack("<H", data[:2])
                check(port == self.ports[channel // 2], "channel %d is of port %d" % (channel, port))
                self.greeted.add(channel)
                data = data[2:]
            self.data[channel] += data
        return message is not None or not self.socket.ended

    def receive(self, size, seconds=30, index=0):
        """Exactly @size bytes of a port."""
        deadline, channel = time.monotonic() + seconds * self.slow, 2 * index
        while len(self.data[channel]) < size:
            more = self._pump(0.2)
            if self.data[channel + 1] or not more or time.monotonic() > deadline:
                raise Failed("port %d: %d bytes of %d came; error: %s" % (
                    self.ports[index], len(self.data[channel]), size,
                    short(repr(self.data[channel + 1]))))
        data = self.data[channel][:size]
        self.data[channel] = self.data[channel][size:]
        return data

    def error(self, seconds=30, index=0):
        """What containerd says of a port that cannot be reached."""
        deadline = time.monotonic() + seconds * self.slow
        while not self.data[2 * index + 1] and self._pump(0.2):
            if time.monotonic() > deadline:
                raise Failed("no error came")
        return self.data[2 * index + 1].decode("utf-8", "replace")

    def close(self):
        self.socket.close()
