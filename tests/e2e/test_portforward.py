# SPDX-License-Identifier: Apache-2.0
"""Ports of a pod's loopback, from the pod's network namespace on the host and through CRI.

With runc it is the namespace itself that connects the two; with a machine it is the shim.
"""

import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import threading
import time

from lib.node import shim_pids
from lib.suite import Failed, check, contains, equal, test, wait_until

CLONE_NEWNET = 0x40000000
LOCALHOST = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
MIB = 1 << 20


class Netns:
    """A network namespace of ours, in which connections can be made."""

    def __init__(self, t):
        self.t, self.path = t, "/run/netns/ns-" + t.id()
        with open(self.path, "x", encoding="ascii"):
            pass
        t.command("unshare", "--net=" + self.path, "ip", "link", "set", "lo", "up").ok()

    def command(self, *argv):
        return self.t.command("nsenter", "--net=" + self.path, *argv).ok()

    def remove(self):
        self.t.command("umount", "--lazy", self.path).ok()  # as containerd does
        os.unlink(self.path)

    def make_socket(self, family):
        """A socket stays where it was made: a thread goes there to make it, and ends."""
        made = []

        def work():
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) == 0:
                made.append(socket.socket(family))
            os.close(fd)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        check(made, "cannot enter " + self.path)
        made[0].settimeout(60 * self.t.slow)
        return made[0]

    def connect(self, port, family=socket.AF_INET, host=None):
        s = self.make_socket(family)
        try:
            s.connect((host or LOCALHOST[family], port))
        except OSError:
            s.close()
            raise
        return s

    def listening(self):
        """What listens there, as the kernel's lines."""
        r = self.command("cat", "/proc/net/tcp", "/proc/net/tcp6")
        return [line for line in r.out.splitlines() if line.split()[3:4] == ["0A"]]


@contextlib.contextmanager
def namespace(t):
    ns = Netns(t)
    try:
        yield ns
    finally:
        ns.remove()


def start(t, ns, script, **kw):
    """A container in @ns that runs @script and stays."""
    return t.start("sh", "-c", script + "\nexec sleep 1000000",
                   options=["--with-ns", "network:" + ns.path], **kw)


def read_all(s):
    data = b""
    while part := s.recv(1 << 16):
        data += part
    return data


def ask(ns, port, family=socket.AF_INET, host=None):
    """What a server that speaks first says; "" if the connection is refused or reset."""
    try:
        with ns.connect(port, family, host) as s:
            return read_all(s).decode()
    except (ConnectionRefusedError, ConnectionResetError):
        return ""


def wait_answer(t, ns, port, text, **kw):
    wait_until(lambda: ask(ns, port, **kw) == text, 30 * t.slow, "%r from port %d" % (text, port))


def refused(ns, port, family):
    """Seconds that it took to be told so."""
    began = time.monotonic()
    try:
        with ns.connect(port, family) as s:
            check(s.recv(1) == b"never", "a port without a server gave an end of stream")
    except (ConnectionRefusedError, ConnectionResetError):
        pass
    return time.monotonic() - began


def pump(s, data):
    """Sends @data while it reads; returns all that came until the end of stream."""
    out, sent = bytearray(), 0
    s.setblocking(False)
    while True:
        readable, writable, _ = select.select([s], [s] if sent < len(data) else [], [], 120)
        if not readable and not writable:
            raise Failed("nothing moves: %d bytes sent, %d came" % (sent, len(out)))
        if writable:
            sent += s.send(data[sent:sent + (1 << 16)])
            if sent == len(data):
                s.shutdown(socket.SHUT_WR)
        if readable:
            part = s.recv(1 << 16)
            if not part:
                return bytes(out)
            out += part


ECHO = "nc -ll -p 9000 -e cat &\n"
HELLO = "nc -ll -p 9001 -e echo hello &\n"
# httpd is the one server of busybox that can be told an address
WEB4 = "mkdir /web; echo web >/web/index.html; httpd -p 127.0.0.1:8080 -h /web\n"
WEB6 = "mkdir /web6; echo web6 >/web6/index.html; httpd -p [::1]:8081 -h /web6\n"


def get(ns, port, family=socket.AF_INET):
    try:
        with ns.connect(port, family) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return read_all(s).partition(b"\r\n\r\n")[2].decode()
    except (ConnectionRefusedError, ConnectionResetError):
        return ""


@test(timeout=120)
def a_server_in_the_container_is_reached_from_the_pods_namespace(t):
    with namespace(t) as ns:
        cid = start(t, ns, HELLO + WEB4 + WEB6)
        wait_answer(t, ns, 9001, "hello\n")
        equal(ask(ns, 9001, socket.AF_INET6), "hello\n", "by IPv6")
        equal(ask(ns, 9001, host="127.1.2.3"), "hello\n", "by another address of the loopback")
        wait_until(lambda: get(ns, 8080) == "web\n", 30 * t.slow, "a server on 127.0.0.1 alone")
        wait_until(lambda: get(ns, 8081, socket.AF_INET6) == "web6\n", 30 * t.slow,
                   "a server on ::1 alone")
        if t.vm:  # whose client may have only the other address
            equal(get(ns, 8080, socket.AF_INET6), "web\n", "the server on 127.0.0.1 by IPv6")
            equal(get(ns, 8081), "web6\n", "the server on ::1 by IPv4")
        t.remove(cid)


@test(timeout=180)
def bytes_arrive_whole_both_ways(t):
    data = os.urandom(10 * MIB)
    with namespace(t) as ns:
        cid = start(t, ns, ECHO + HELLO)
        wait_answer(t, ns, 9001, "hello\n")
        with ns.connect(9000) as s:
            check(pump(s, data) == data, "10 MiB came back changed")
        with ns.connect(9000, socket.AF_INET6) as s:
            check(pump(s, data[:MIB]) == data[:MIB], "1 MiB by IPv6 came back changed")
        t.remove(cid)


@test(timeout=180)
def twenty_connections_go_side_by_side(t):
    with namespace(t) as ns:
        cid = start(t, ns, ECHO + HELLO)
        wait_answer(t, ns, 9001, "hello\n")
        open_ones = [ns.connect(9000) for _ in range(20)]
        for i, s in enumerate(open_ones):
            s.sendall(b"I am %d\n" % i)
        for i, s in enumerate(open_ones):
            equal(s.recv(100), b"I am %d\n" % i, "answer")
        for i, s in enumerate(open_ones):
            s.shutdown(socket.SHUT_WR)
            equal(read_all(s), b"", "after the end")
            s.close()
        t.remove(cid)


@test(timeout=120)
def a_port_where_nobody_listens_is_refused_at_once(t):
    with namespace(t) as ns:
        cid = start(t, ns, HELLO)
        wait_answer(t, ns, 9001, "hello\n")
        for family in socket.AF_INET, socket.AF_INET6:
            seconds = refused(ns, 9999, family)
            check(seconds < 5 * t.slow, "it took %.1f s to be refused" % seconds)
        t.remove(cid)


@test(timeout=120)
def either_side_may_end_first(t):
    with namespace(t) as ns:
        cid = start(t, ns, ECHO + HELLO + "nc -ll -p 9002 -e sh -c 'read x; echo got $x; exit' &\n")
        wait_answer(t, ns, 9001, "hello\n")  # the server ends first
        with ns.connect(9002) as s:
            s.sendall(b"a line\n")
            equal(read_all(s), b"got a line\n", "the answer before the end")
        with ns.connect(9000) as s:  # the client ends its direction first
            s.sendall(b"last words")
            s.shutdown(socket.SHUT_WR)
            equal(read_all(s), b"last words", "the echo after our end")
        s = ns.connect(9000)
        s.sendall(b"and gone")
        s.close()  # cat in the container ends as well
        wait_until(lambda: not re.search(r"(?m)root +cat$", t.exec(cid, "ps").ok().out),
                   30 * t.slow, "the server's process has ended")
        t.remove(cid)


@test(vm=True, timeout=120)
def nothing_stays_in_the_namespace_of_a_killed_shim(t):
    with namespace(t) as ns:
        cid = start(t, ns, HELLO)
        wait_answer(t, ns, 9001, "hello\n")
        equal(len(ns.listening()), 2, "listening sockets in the namespace")
        os.kill(t.shim_pid(cid), signal.SIGKILL)
        wait_until(lambda: not shim_pids() and not t.vmm_pids(), 20 * t.slow, "all has ended")
        wait_until(lambda: not ns.listening(), 10 * t.slow, "nothing listens in the namespace")
        check(refused(ns, 9001, socket.AF_INET) < 5 * t.slow, "not refused at once")
        with ns.make_socket(socket.AF_INET) as server:  # the port is free for anybody
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is no listener
            server.bind(("127.0.0.1", 9001))
            server.listen()
            client = ns.connect(9001)
            server.accept()[0].close()
            client.close()
        wait_until(lambda: t.status(cid) in ("", "STOPPED", "UNKNOWN"), 10 * t.slow,
                   "the task has ended")
        t.ctr("task", "rm", "-f", cid)
        t.ctr("container", "rm", cid).ok()
        t.forget_fifos()


@test(vm=True, timeout=120)
def the_pods_loopback_wins_over_a_listener_of_the_host(t):
    with namespace(t) as ns, ns.make_socket(socket.AF_INET) as server:
        ns.command("ip", "addr", "add", "192.0.2.1/32", "dev", "lo")
        server.bind(("0.0.0.0", 9001))
        server.listen()
        cid = start(t, ns, HELLO)
        wait_answer(t, ns, 9001, "hello\n")
        with ns.connect(9001, host="192.0.2.1"):
            server.accept()[0].close()
        t.remove(cid)
        # and with the pod's end the namespace is the host's again
        with ns.connect(9001):
            server.accept()[0].close()


@test(vm=True, timeout=120)
def a_container_without_a_namespace_of_its_own_takes_nothing(t):
    with contextlib.closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(30 * t.slow)
        cid = t.start("sleep", "1000000",
                      options=["--with-ns", "network:/proc/%d/ns/net" % os.getpid()])
        with socket.create_connection(server.getsockname()):
            server.accept()[0].close()
        t.remove(cid)


@test(timeout=180)
def a_port_is_forwarded_by_cri(t):
    pod = t.pods.run()
    c = pod.start("sh", "-c", ECHO + WEB4 + "exec sleep 1000000")
    t_end = time.monotonic() + 30 * t.slow
    while True:  # until the servers are up
        f = pod.forward(8080)
        f.send(b"GET / HTTP/1.0\r\n\r\n")
        try:
            contains(f.receive(15).decode(), "HTTP/1.", "answer")
            break
        except Failed:
            check(time.monotonic() < t_end, "no answer of the server")
        finally:
            f.close()
    data = os.urandom(MIB)
    f = pod.forward(9000)
    for at in range(0, MIB, 1 << 15):
        f.send(data[at:at + (1 << 15)])
        check(f.receive(1 << 15) == data[at:at + (1 << 15)], "a part came back changed")
    f.close()
    c.stop()
    c.remove()
    pod.remove()
