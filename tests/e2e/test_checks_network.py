# SPDX-License-Identifier: Apache-2.0
"""Check D12: network namespaces that have no path, or are none, and Docker's hook."""

import contextlib
import json
import os
import time

from lib import peer
from lib.suite import check, contains, equal, test
from test_errors import run_with_spec
from test_hooks import script
from test_portforward import Netns


def with_netns(path):
    """A change of a spec: "" is a namespace without a path, None is no namespace."""
    def change(body):
        kept = [n for n in body["linux"]["namespaces"] if n["type"] != "network"]
        if path is not None:
            kept.append({"type": "network", **({"path": path} if path else {})})
        body["linux"]["namespaces"] = kept
    return change


def seconds_to_start(ctd, path):
    began = time.monotonic()
    box = ctd.create("echo", "ok", change=with_netns(path))
    created = time.monotonic()
    box.start()
    started = time.monotonic()
    equal(box.wait().status, 0, "exit status")
    equal(box.out(), "ok\n", "stdout")
    box.delete()
    return started - created, started - began


@contextlib.contextmanager
def netns(t):
    made = not os.path.isdir("/run/netns")
    os.makedirs("/run/netns", exist_ok=True)
    space = Netns(t)
    try:
        yield space
    finally:
        space.remove()
        if made:
            os.rmdir("/run/netns")


@test(vm=True, timeout=240)
def d12_a_network_namespace_without_a_path_costs_no_time(t):
    """Nobody waits for interfaces that never come: side by side with a namespace of a name."""
    with netns(t) as space, peer.Containerd(t, "1.6") as ctd:
        kinds = {"with a path": space.path, "without a path": "", "without a namespace": None}
        start = {kind: [] for kind in kinds}
        whole = {kind: [] for kind in kinds}
        for _ in range(2):
            for kind, path in kinds.items():
                a, b = seconds_to_start(ctd, path)
                start[kind].append(a)
                whole[kind].append(b)
    t.note("Start: %s; with Create: %s" % (start, whole))
    base = min(start["with a path"]), min(whole["with a path"])
    for kind in kinds:
        # the wait that others have is 5 s
        check(min(start[kind]) < base[0] + 3, "Start %s: %s" % (kind, start))
        check(min(whole[kind]) < base[1] + 4, "Create and Start %s: %s" % (kind, whole))


@test(timeout=120)
def d12_ctr_without_a_network_namespace_runs(t):
    equal(t.run("echo", "private").ok().out, "private\n", "stdout with a namespace without a path")
    equal(t.run("echo", "host", options=["--net-host"]).ok().out, "host\n", "stdout with the host's")


# what Docker's own does here, it does with the namespace of the process that the state names
HOOK = """cat >%(dir)s/%(name)s.json
pid=$(sed 's/.*"pid": *\\([0-9]*\\).*/\\1/' %(dir)s/%(name)s.json)
for word; do echo "$word"; done >%(dir)s/%(name)s.args
readlink "/proc/$pid/exe" >%(dir)s/%(name)s.exe
readlink "/proc/$pid/ns/net" >%(dir)s/%(name)s.netns
"""


def docker_hook(t, name, *more):
    path = script(t, name, HOOK % {"dir": t.dir, "name": name})
    return {"path": path, "args": ["libnetwork-setkey", "-exec-root=/var/run/docker", *more]}


@test(timeout=120)
def d12_dockers_hook_runs_on_the_host_with_the_machines_pid(t):
    ids = ["ab" * 32, "1234567890ab"]
    # Docker names its own program, too, by a path like this one
    helper = t.background("events")
    own = {"path": "/proc/%d/exe" % helper.popen.pid, "args": ["ctr", "--version"]}

    def change(spec):
        with_netns("")(spec)
        spec["hooks"] = {name: [docker_hook(t, name, *ids), own]
                         for name in ("prestart", "createRuntime")}
    run_with_spec(t, change).ok()
    for name in ("prestart", "createRuntime"):
        def read(ending, name=name):
            with open(os.path.join(t.dir, name + ending), encoding="utf-8") as f:
                return f.read()
        state = json.loads(read(".json"))
        equal(state["status"], "creating", "status at %s" % name)
        check(state["pid"] > 1 and state["ociVersion"] and state["id"], "the state: %s" % state)
        check(os.path.isabs(state["bundle"]), "the bundle: %s" % state)
        equal(read(".args").split(), ["-exec-root=/var/run/docker", *ids], "arguments of " + name)
        if t.vm:
            contains(read(".exe"), "qemu-system", "the program of the state's pid")
        # what the hook connects is the pod's, and never the host's
        contains(read(".netns"), "net:[", "the namespace of the state's pid")
        check(read(".netns").strip() != os.readlink("/proc/self/ns/net"),
              "the state's pid is in the host's network namespace")
