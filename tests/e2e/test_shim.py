# SPDX-License-Identifier: Apache-2.0
"""The shim's binary by itself, and its socket with clients that err."""

import json
import os
import re
import signal
import socket
import stat
import struct

from lib import residue, ttrpc
from lib.node import shim_pids
from lib.suite import check, contains, equal, test, wait_until

VERSION = r"^Kata Containers containerd shim .*id: io\.containerd\.kata\.v2, version: 4\.1\.0"


def shim(t):
    return os.path.join(t.node.shim_dir, "containerd-shim-kata-v2")


def start(t, bundle, cid, **kw):
    return t.command(shim(t), "-id", cid, "-namespace", t.node.namespace, "-address", "/x",
                     "-publish-binary", "/bin/true", "start", cwd=bundle, **kw)


def directory(t, name):
    path = os.path.join(t.dir, name)
    os.makedirs(path)
    return path


def daemons():
    return shim_pids()


def read(*path):
    with open(os.path.join(*path), encoding="ascii") as f:
        return f.read()


def stop(t, address, cid, bundle):
    """Shutdown by RPC; then `delete`, as containerd does."""
    client = ttrpc.Client(address)
    client.send("containerd.task.v2.Task", "Shutdown", ttrpc.encode((1, cid), (2, 1)))
    wait_until(lambda: not daemons(), 5 * t.slow, "the daemon has ended")
    client.close()
    delete(t, cid, bundle).ok()


def delete(t, cid, bundle):
    return t.command(shim(t), "-namespace", t.node.namespace, "-address", "/x", "-publish-binary",
                     "/bin/true", "-id", cid, "-bundle", bundle, "delete", cwd=bundle)


@test(vm=True)
def version_is_told(t):
    for flag in ("--version", "-version", "-v"):
        r = t.command(shim(t), flag)
        equal(r.code, 0, "code of " + flag)
        check(re.match(VERSION, r.out), "%s prints %r" % (flag, r.out))


@test(vm=True)
def info_describes_the_runtime(t):
    r = t.command(shim(t), "-info").ok()
    info = ttrpc.decode(r.raw_out)
    equal(info[1], [b"io.containerd.kata.v2"], "name")
    equal(ttrpc.decode(info[2][0])[1], [b"4.1.0"], "version")
    pairs = {ttrpc.decode(a)[1][0]: ttrpc.decode(a)[2][0] for a in info[5]}
    equal(pairs[b"containerd.io/runtime-allow-mounts"], b"mkdir/*,format/*,erofs", "annotation")


@test(vm=True)
def unknown_flags_and_actions_are_errors(t):
    for args in (["-no-such-flag"], ["-id"], ["dance"], ["start"],
                 ["-id", "ab", "-namespace", "ns", "-publish-binary", "/bin/true", "dance"]):
        r = t.command(shim(t), *args, cwd=t.dir)
        check(r.code != 0, "%s worked" % args)
        equal(r.out, "", "stdout of %s" % args)
        check(r.err.strip(), "%s says nothing" % args)


@test(vm=True)
def ids_that_could_be_paths_are_refused(t):
    for bad in ("a/b", "..", "", "../../etc", "-x", "a b", "x" * 300):
        r = start(t, t.dir, bad)
        check(r.code != 0, "start with the id %r worked" % bad)
        equal(r.out, "", "stdout with the id %r" % bad)
    equal(sorted(os.listdir(t.dir)), [], "files that were made")


@test(vm=True)
def start_prints_an_address_that_answers(t):
    cid, bundle = t.id(), directory(t, "b")
    r = start(t, bundle, cid).ok()
    address = r.out.strip()
    check(re.fullmatch(r"unix:///run/containerd/s/[0-9a-fA-F]{64}", address),
          "the address is %r" % r.out)
    equal(r.err, "", "stderr")
    equal(read(bundle, "address"), address, "the file `address`")
    path = address.removeprefix("unix://")
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode of the socket")
    equal(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) & 0o077, 0, "mode of its directory")
    equal([int(read(bundle, "shim.pid"))], daemons(), "the file `shim.pid`")

    again = start(t, bundle, cid).ok()
    equal(again.out.strip(), address, "the address of a second start")
    equal(len(daemons()), 1, "daemons")

    code, message, reply = ttrpc.Client(address).call("Connect", (1, cid))
    equal((code, message), (ttrpc.OK, ""), "Connect")
    equal(reply.get(1), daemons(), "the pid in Connect's reply")
    stop(t, address, cid, bundle)
    check(not os.path.exists(path), "the socket is still there")


@test(vm=True)
def the_daemon_is_found_by_its_name(t):
    """As administrators and scripts look for it: pgrep -f 'containerd-shim-kata-v2 .*-id ID'."""
    cid = t.start("sleep", "1000000")
    names = [cmdline for pid, (_, cmdline) in residue.processes().items() if pid in daemons()]
    check(len(names) == 1 and re.match(r"(/\S*/)?containerd-shim-kata-v2 .*-id %s\b" % cid, names[0]),
          "the command line is %s" % names)
    t.remove(cid)


@test(vm=True)
def start_replaces_a_stale_socket(t):
    cid, bundle = t.id(), directory(t, "b")
    address = start(t, bundle, cid).ok().out.strip()
    os.kill(daemons()[0], signal.SIGKILL)
    wait_until(lambda: not daemons(), 5, "the daemon has ended")
    equal(start(t, bundle, cid).ok().out.strip(), address, "the address")
    code, message, _ = ttrpc.Client(address).call("Connect", (1, cid))
    equal((code, message), (ttrpc.OK, ""), "Connect")
    stop(t, address, cid, bundle)


@test(vm=True)
def a_container_of_a_pod_joins_the_pods_shim(t):
    sandbox, member = t.id(), t.id()
    first, second = directory(t, "sandbox"), directory(t, "member")
    address = start(t, first, sandbox).ok().out.strip()
    with open(os.path.join(second, "config.json"), "w", encoding="ascii") as f:
        json.dump({"ociVersion": "1.0.2", "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-id": sandbox}}, f)
    equal(start(t, second, member).ok().out.strip(), address, "the address of the second")
    equal(read(second, "address"), address, "the file `address`")
    check(not os.path.exists(os.path.join(second, "shim.pid")), "the second has a shim.pid")
    equal(len(daemons()), 1, "daemons")
    # the end of one container is not the end of the pod
    delete(t, member, second).ok()
    equal(len(daemons()), 1, "daemons after delete")
    stop(t, address, sandbox, first)


@test(vm=True)
def the_socket_directory_may_be_given(t):
    cid, bundle = t.id(), directory(t, "b")
    params = ttrpc.encode((1, cid), (2, t.node.namespace), (9, t.dir + "/s"))
    r = start(t, bundle, cid, stdin=params).ok()
    reply = ttrpc.decode(r.raw_out)
    equal((reply[1], reply[3]), ([3], [b"ttrpc"]), "version and protocol")
    address = reply[2][0].decode()
    check(address.startswith("unix://" + t.dir + "/s/"), "the address is " + address)
    stop(t, address, cid, bundle)


@test(vm=True)
def delete_removes_what_a_dead_shim_left(t):
    cid, bundle = t.id(), directory(t, "b")
    address = start(t, bundle, cid).ok().out.strip()
    os.kill(daemons()[0], signal.SIGKILL)
    wait_until(lambda: not daemons(), 5, "the daemon has ended")
    r = delete(t, cid, bundle).ok()
    reply = ttrpc.decode(r.raw_out)
    equal(reply.get(2), [137], "exit status")
    check(3 in reply, "no time of exit")
    check(not os.path.exists(address.removeprefix("unix://")), "the socket is still there")


@test(vm=True)
def sigterm_is_ignored(t):
    """systemd sends it to all of a scope at shutdown; containerd decides when a pod ends."""
    cid, bundle = t.id(), directory(t, "b")
    address = start(t, bundle, cid).ok().out.strip()
    os.kill(daemons()[0], signal.SIGTERM)
    code, _, _ = ttrpc.Client(address).call("Connect", (1, cid))
    equal((code, len(daemons())), (ttrpc.OK, 1), "code of Connect, daemons")
    stop(t, address, cid, bundle)


def with_daemon(function):
    """A test on the socket of a shim that has no container."""
    def body(t):
        cid, bundle = t.id(), directory(t, "b")
        address = start(t, bundle, cid).ok().out.strip()
        function(t, address, cid)
        code, message, _ = ttrpc.Client(address).call("Connect", (1, cid))
        equal((code, message), (ttrpc.OK, ""), "Connect of a good client afterwards")
        stop(t, address, cid, bundle)
    body.__module__, body.__name__ = function.__module__, function.__name__
    return test(body, vm=True)


@with_daemon
def unknown_services_and_methods_are_unimplemented(t, address, cid):
    client = ttrpc.Client(address)
    equal(client.call("Connect", (1, cid), service="containerd.task.v9.Task")[0],
          ttrpc.UNIMPLEMENTED, "code of an unknown service")
    equal(client.call("Dance", (1, cid))[0], ttrpc.UNIMPLEMENTED, "code of an unknown method")
    equal(client.call("Connect", (1, cid))[0], ttrpc.OK, "code on the same connection")


@with_daemon
def an_even_stream_is_refused(t, address, cid):
    client = ttrpc.Client(address)
    client.send_frame(2, ttrpc.REQUEST, b"")
    stream, code, _, _ = client.receive()
    equal((stream, code), (2, ttrpc.INVALID_ARGUMENT), "stream and code")


@with_daemon
def a_frame_over_the_limit_is_refused(t, address, cid):
    client = ttrpc.Client(address)
    client.sock.sendall(struct.pack(">IIBB", (4 << 20) + 1, 1, ttrpc.REQUEST, 0))
    try:
        client.sock.sendall(b"\0" * ((4 << 20) + 1))
        _, code, _, _ = client.receive()
        check(code in (ttrpc.RESOURCE_EXHAUSTED, ttrpc.INVALID_ARGUMENT), "code %d" % code)
    except (EOFError, OSError):
        pass  # to close the connection is an answer too


@with_daemon
def garbage_does_no_harm(t, address, cid):
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0" * 64, b"\0",
                 struct.pack(">IIBB", 4, 1, 1, 0) + b"\xff\xff\xff\xff"):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(address.removeprefix("unix://"))
            s.sendall(data)


@with_daemon
def a_thousand_requests_in_a_row_are_all_answered(t, address, cid):
    client = ttrpc.Client(address, timeout=30 * t.slow)
    streams = {client.send("containerd.task.v2.Task", "Connect", ttrpc.encode((1, cid)))
               for _ in range(1000)}
    while streams:
        stream, code, _, _ = client.receive()
        equal(code, ttrpc.OK, "code of stream %d" % stream)
        streams.remove(stream)


@with_daemon
def a_hundred_clients_that_say_nothing_do_not_matter(t, address, cid):
    clients = [ttrpc.Client(address) for _ in range(100)]
    equal(ttrpc.Client(address).call("Connect", (1, cid))[0], ttrpc.OK, "code of the 101st")
    for client in clients:
        client.close()


@test(vm=True)
def a_deadline_ends_the_call_and_not_the_container(t):
    cid = t.start("sleep", "1000000")
    client = ttrpc.Client(t.shim_address(cid))
    code, _, _ = client.call("Wait", (1, cid), timeout_ns=100_000_000)
    equal(code, ttrpc.DEADLINE_EXCEEDED, "code")
    client.close()
    equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of an exec")
    t.remove(cid)


@test(vm=True)
def environment_values_stay_out_of_the_log(t):
    secret = "tell-no-one-%s" % t.id()
    offset = t.node.log_size()
    t.run("true", options=["--env", "PASSWORD=" + secret]).ok()
    lines = [line for line in t.node.log_from(offset).splitlines() if secret in line]
    equal(lines, [], "lines of the log with the secret")


@test(vm=True)
def the_log_names_the_sandbox(t):
    offset = t.node.log_size()
    cid = t.id()
    t.run("true", cid=cid).ok()
    contains(t.node.log_from(offset), cid, "containerd's log")
