# SPDX-License-Identifier: Apache-2.0
"""Checks A1 to A5: the shim's binary by itself."""

import json
import os
import re
import stat
import subprocess

from lib import messages, ttrpc
from lib.binary import daemons, delete, directory, read, shim, start, stop
from lib.suite import check, contains, equal, test, wait_until

VERSION = r"^Kata Containers containerd shim .*id: io\.containerd\.kata\.v2, version: 4\.1\.0"
BOOTSTRAP = "containerd.runtime.bootstrap.v1.Bootstrap"


@test(vm=True)
def a1_the_version_is_told(t):
    for flag in ("--version", "-version", "-v"):
        r = t.command(shim(t), flag)
        equal(r.code, 0, "code of " + flag)
        check(re.match(VERSION, r.out), "%s prints %r" % (flag, r.out))
        equal((r.out.count("\n"), r.err), (1, ""), "lines, stderr")


@test(vm=True)
def a2_info_describes_the_runtime(t):
    r = t.command(shim(t), "-info").ok()
    info = ttrpc.decode(r.raw_out)
    equal(r.err, "", "stderr")
    equal(info[1], [b"io.containerd.kata.v2"], "name")
    equal(ttrpc.decode(info[2][0])[1], [b"4.1.0"], "version")
    pairs = {ttrpc.decode(a)[1][0]: ttrpc.decode(a)[2][0] for a in info[5]}
    equal(pairs[b"containerd.io/runtime-allow-mounts"], b"mkdir/*,format/*,erofs", "annotation")


@test(vm=True)
def a2_info_does_not_wait_for_its_input(t):
    """containerd 2.x writes an Any there, or nothing; a person leaves a terminal or a pipe open."""
    argv = [shim(t), "-info"]
    options = messages.pack("google.protobuf.Any", type_url="x", value=b"y" * 100000)
    wanted = t.command(*argv).ok().raw_out
    equal(t.command(*argv, stdin=options).ok().raw_out, wanted, "stdout with options")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        equal(child.stdout.read(), wanted, "stdout while stdin is open")
        equal(child.wait(10 * t.slow), 0, "code")


@test(vm=True)
def a3_start_prints_an_address_that_answers(t):
    cid, bundle = t.id(), directory(t, "b")
    r = start(t, bundle, cid).ok()
    address = r.out.strip()
    check(re.fullmatch(r"unix:///run/containerd/s/[0-9a-fA-F]{64}", r.out),
          "the address is %r" % r.out)
    equal(r.err, "", "stderr")
    equal(read(bundle, "address"), address, "the file `address`")
    path = address.removeprefix("unix://")
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode of the socket")
    equal(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) & 0o077, 0, "mode of its directory")
    equal([int(read(bundle, "shim.pid"))], daemons(), "the file `shim.pid`")

    again = start(t, bundle, cid).ok()
    equal((again.out, again.err), (address, ""), "stdout and stderr of a second start")
    equal(len(daemons()), 1, "daemons")

    code, message, reply = ttrpc.Client(address).call("Connect", (1, cid))
    equal((code, message), (ttrpc.OK, ""), "Connect")
    equal(reply.get(1), daemons(), "the pid in Connect's reply")
    stop(t, address, cid, bundle)
    check(not os.path.exists(path), "the socket is still there")


@test(vm=True)
def a4_a_container_of_a_pod_joins_the_pods_shim(t):
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
def a4_ids_that_could_be_paths_are_refused(t):
    for bad in ("a/b", "..", "", "../../etc", "-x", "a b", "x" * 300, "a\n", "-"):
        r = start(t, t.dir, bad)
        check(r.code != 0, "start with the id %r worked" % bad)
        equal(r.out, "", "stdout with the id %r" % bad)
    equal(sorted(os.listdir(t.dir)), [], "files that were made")


@test(vm=True)
def a4_every_id_of_containerd_is_taken(t):
    """Its identifiers: 1 to 76 letters and digits, and between these single . _ -"""
    for cid in ("a", "7", "a.b_c-d", "x" * 76, "0" * 76):
        bundle = directory(t, "b" + cid[:20])
        address = start(t, bundle, cid).ok().out
        code, message, _ = ttrpc.Client(address).call("Connect", (1, cid))
        equal((code, message), (ttrpc.OK, ""), "Connect with the id " + cid)
        code, message, _ = ttrpc.Client(address).call("State", (1, "b"), (2, "e"))
        equal(code, ttrpc.NOT_FOUND, "State of what is not there (%s)" % message)
        stop(t, address, cid, bundle)


@test(vm=True)
def a5_parameters_are_answered_in_kind_and_place(t):
    cid, bundle = t.id(), directory(t, "b")
    params = ttrpc.encode((1, cid), (2, t.node.namespace), (9, t.dir + "/s"))
    r = start(t, bundle, cid, stdin=params).ok()
    reply = ttrpc.decode(r.raw_out)
    equal((reply[1], reply[3]), ([3], [b"ttrpc"]), "version and protocol")
    address = reply[2][0].decode()
    check(address.startswith("unix://" + t.dir + "/s/"), "the address is " + address)
    stop(t, address, cid, bundle)


def start_with(t, cid, bundle, data):
    """`start` with @data as its input; returns the address, after a look at the answer's kind."""
    r = start(t, bundle, cid, stdin=data).ok()
    equal(r.err, "", "stderr")
    return r


@test(vm=True)
def a5_a_runtimes_options_are_no_parameters(t):
    """What 1.6 to 2.2 write to stdin can be read as BootstrapParams; its answer is an address."""
    cid, bundle = t.id(), directory(t, "b")
    options = messages.pack("runtimeoptions.v1.Options", config_path="/etc/c.toml")
    for number, data in enumerate((
            b"", messages.pack("google.protobuf.Any", type_url="runtimeoptions.v1.Options",
                               value=options),
            # of another container, of another namespace
            messages.pack(BOOTSTRAP + "Params", instance_id="other", namespace=t.node.namespace),
            messages.pack(BOOTSTRAP + "Params", instance_id=cid, namespace="other"),
            b"\xff" * 100, b"{}", b"\0")):
        r = start_with(t, cid, bundle, data)
        check(r.out.startswith("unix:///run/containerd/s/"), "input %d: %r" % (number, r.out))
    stop(t, r.out, cid, bundle)


@test(vm=True)
def a5_the_loglevel_of_parameters_counts(t):
    for level, wanted in ((0, False), (-4, True), (-8, True), (4, False)):
        cid, bundle = t.id(), directory(t, "b%d" % level)
        r = start_with(t, cid, bundle, messages.pack(
            BOOTSTRAP + "Params", instance_id=cid, namespace=t.node.namespace, log_level=level))
        address = messages.unpack(BOOTSTRAP + "Result", r.raw_out)["address"]
        argv = read("/proc", str(daemons()[0]), "cmdline").split("\0")
        equal("-debug" in argv, wanted, "-debug at the level %d" % level)
        stop(t, address, cid, bundle)


@test(vm=True)
def a5_a_socket_directory_that_cannot_be_is_refused(t):
    cid, bundle = t.id(), directory(t, "b")
    for bad in ("relative/s", "/" + "x" * 200, "/proc/s"):
        r = start(t, bundle, cid, stdin=messages.pack(
            BOOTSTRAP + "Params", instance_id=cid, namespace=t.node.namespace, socket_dir=bad))
        refused(r, bad[:40])
    equal((os.listdir(bundle), daemons()), ([], []), "files in the bundle, daemons")


# ---- Failures: what containerd shows to a person, since stdout and stderr are one to it -------


def refused(r, *parts):
    """@r failed with the status 1 and one sentence on stderr, which has all @parts."""
    equal((r.code, r.out), (1, ""), "code and stdout of %s" % (r.argv,))
    check(re.fullmatch(r"containerd-shim-kata-v2: [^\n]{5,}\n", r.err), "stderr: %r" % r.err)
    for part in parts:
        contains(r.err, part, "stderr")


@test(vm=True)
def a_unknown_flags_and_actions_are_errors(t):
    for args in (["-no-such-flag"], ["-id"], ["dance"], ["start"],
                 ["-id", "ab", "-namespace", "ns", "-publish-binary", "/bin/true", "dance"]):
        r = t.command(shim(t), *args, cwd=t.dir)
        refused(r)


@test(vm=True)
def a_failures_are_one_sentence(t):
    common = ["-namespace", "ns", "-publish-binary", "/bin/true"]
    for part, args in (
            ("-no-such-flag", ["-no-such-flag", "start"]),
            ("-id", ["-id"]),
            ("\"dance\"", ["-id", "ab", *common, "dance"]),
            ("-id", [*common, "start"]),
            ("-namespace", ["-id", "ab", "-publish-binary", "/bin/true", "start"]),
            ("-publish-binary", ["-id", "ab", "-namespace", "ns", "start"]),
            ("bundle", ["-id", "ab", *common, "-bundle", "/" + "x" * 300, "delete"]),
            ("start", ["-id", "ab", *common])):  # a daemon without the socket that `start` makes
        refused(t.command(shim(t), *args, cwd=t.dir), part)


@test(vm=True)
def a_a_bundle_that_cannot_be_written_leaves_no_daemon(t):
    cid, bundle = t.id(), directory(t, "b")
    t.command("mount", "-t", "tmpfs", "-o", "ro", "none", bundle).ok()
    refused(start(t, bundle, cid), "bundle")
    wait_until(lambda: not daemons(), 10 * t.slow, "the daemon is gone")
    wait_until(lambda: t.command("umount", bundle).code == 0, 10 * t.slow, "nobody is there")


@test(vm=True)
def a_a_start_that_debugs_is_as_silent(t):
    cid, bundle = t.id(), directory(t, "b")
    r = start(t, bundle, cid, "-debug").ok()
    equal((r.out.startswith("unix://"), r.err), (True, ""), "stdout is an address, stderr")
    contains(read("/proc", str(daemons()[0]), "cmdline"), "-debug", "the daemon's arguments")
    stop(t, r.out, cid, bundle)


@test(vm=True)
def a_delete_prints_nothing_but_its_response(t):
    """containerd takes stdout as protobuf, and each line on stderr as a warning."""
    cid, bundle = t.id(), directory(t, "b")
    for _ in range(2):
        r = delete(t, cid, bundle).ok()
        equal(r.err, "", "stderr")
        reply = messages.unpack("containerd.task.v2.DeleteResponse", r.raw_out)
        equal(reply["exit_status"], 137, "exit status")


@test(vm=True)
def a_delete_without_the_bundle_touches_nothing_else(t):
    """What is in the current directory is somebody else's then."""
    cid, here = t.id(), directory(t, "here")
    rootfs = directory(t, "here/rootfs")
    t.command("mount", "-t", "tmpfs", "none", rootfs).ok()
    r = t.command(shim(t), "-id", cid, "-namespace", "ns", "-publish-binary", "/bin/true",
                  "-bundle", os.path.join(t.dir, "gone"), "delete", cwd=here)
    mounted = os.path.ismount(rootfs)
    t.command("umount", "-l", rootfs)
    equal((r.ok().err, mounted), ("", True), "stderr; whether the mount is there")
    equal(messages.unpack("containerd.task.v2.DeleteResponse", r.raw_out)["exit_status"], 137,
          "exit status")
