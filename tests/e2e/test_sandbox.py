# SPDX-License-Identifier: Apache-2.0
"""D3: pods by the sandbox service, as containerd's "shim" sandbox controller makes them."""

import json
import os
import signal
import threading
import time

from lib import messages, peer, ttrpc
from lib.suite import check, contains, equal, test, wait_until

READY, NOT_READY = "SANDBOX_READY", "SANDBOX_NOTREADY"


def pod_config(**fields):
    """The options of a pod of Kubernetes."""
    return messages.any_of("runtime.v1.PodSandboxConfig",
                           messages.pack("runtime.v1.PodSandboxConfig", **fields))


def started(ctd, config=None, **fields):
    """A sandbox that runs."""
    sandbox = ctd.sandbox(config=config)
    sandbox.create(**fields)
    sandbox.start()
    return sandbox


def output(ctd, sandbox, *command):
    """What a container of the pod prints, from its start to its end."""
    box = ctd.run(*command, sandbox=sandbox)
    equal(box.wait().status, 0, "exit status of %s" % (command,))
    out = box.out()
    box.delete()
    return out


class Waiter:
    """A WaitSandbox of its own connection."""

    def __init__(self, sandbox):
        self.exit = self.at = None
        self._shim = peer.Shim(sandbox.ctd, sandbox.id, sandbox.bundle)
        self._shim.endpoint = sandbox.endpoint
        self._shim.connect()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self):
        self.exit = self._shim.call("WaitSandbox", service=peer.SANDBOX, sandbox_id=self._shim.id)
        self.at = time.monotonic()

    def result(self, seconds):
        self._thread.join(seconds)
        check(self.exit, "WaitSandbox did not answer within %g s" % seconds)
        self._shim.connection.close()
        return self.exit


@test(vm=True, timeout=120)
def d3_containers_share_the_machine_of_a_sandbox(t):
    with peer.Containerd(t, "2.3") as ctd:
        sandbox = ctd.sandbox()
        sandbox.create(options=pod_config(hostname="pod-d3"))
        equal(sandbox.status()["state"], NOT_READY, "state before the start")
        equal(t.vmm_pids(), [], "machines before the start")
        reply = sandbox.start()
        equal([reply["pid"]], t.vmm_pids(), "pid that StartSandbox gives")
        check(reply["created_at"]["seconds"] > 0, "no created_at")
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        platform = sandbox.platform()
        equal((platform["os"], platform["architecture"]), ("linux", machine), "platform")
        sandbox.ping()
        status = sandbox.status()
        equal((status["state"], status["pid"]), (READY, reply["pid"]), "status")

        first = ctd.run("sleep", "1000000", sandbox=sandbox)
        second = ctd.run("sleep", "1000000", sandbox=sandbox)
        ids = {box.exec("cat", "/proc/sys/kernel/random/boot_id") for box in (first, second)}
        seen = set()
        for one in ids:
            one.start()
            one.wait()
            seen.add(one.out())
            one.delete()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            host = f.read()
        check(len(seen) == 1 and host not in seen, "boot ids: %s, the host's %s" % (seen, host))
        equal(output(ctd, sandbox, "cat", "/etc/hostname"), "pod-d3\n", "/etc/hostname")
        check("localhost" in output(ctd, sandbox, "cat", "/etc/hosts"), "/etc/hosts knows no localhost")
        equal(len(t.vmm_pids()), 1, "machines")

        second.kill()
        equal(second.wait().status, 137, "exit status of the second")
        second.delete()
        equal(sandbox.status()["state"], READY, "state after a container's end")

        waiter = Waiter(sandbox)
        sandbox.stop()
        equal(waiter.result(10 * t.slow)["exit_status"], 0, "WaitSandbox' exit status")
        equal(t.vmm_pids(), [], "machines after the stop")
        status = sandbox.status()
        equal(status["state"], NOT_READY, "state after the stop")
        check(status["exited_at"]["seconds"] > 0, "no exited_at")
        ctd.events.wait(first.id, "/tasks/exit")
        equal(first.wait().status, 137, "exit status of the first")
        first.delete()
        sandbox.stop()
        equal(sandbox.wait().status, 0, "WaitSandbox, again")
        sandbox.shutdown_sandbox()


@test(vm=True, timeout=120)
def d3_a_machine_that_is_killed_is_told_at_once(t):
    with peer.Containerd(t, "2.3") as ctd:
        sandbox = started(ctd)
        box = ctd.run("sleep", "1000000", sandbox=sandbox)
        waiter = Waiter(sandbox)
        killed = time.monotonic()
        os.kill(t.vmm_pids()[0], signal.SIGKILL)
        wait_until(lambda: sandbox.status()["state"] == NOT_READY, 5 * t.slow, NOT_READY)
        equal(waiter.result(5 * t.slow)["exit_status"], 255, "WaitSandbox' exit status")
        check(waiter.at - killed < 5 * t.slow, "WaitSandbox took %g s" % (waiter.at - killed))
        equal(ctd.events.wait(box.id, "/tasks/exit", 5)["exit_status"], 255, "exit status")
        for call in (sandbox.ping, sandbox.metrics, sandbox.start):
            try:
                call()
                check(False, "%s of a dead machine worked" % call.__name__)
            except ttrpc.RpcError as e:
                equal(e.code, ttrpc.FAILED_PRECONDITION, "code of " + call.__name__)
        sandbox.stop()
        equal(sandbox.wait().status, 255, "WaitSandbox, again")
        box.delete()
        sandbox.shutdown_sandbox()


@test(vm=True, timeout=120)
def d3_dns_is_whole_in_the_pod(t):
    dns = {"servers": ["10.96.0.10", "fd00::10"], "searches": ["ns.svc.example", "svc.example"],
           "options": ["ndots:5"]}
    with peer.Containerd(t, "2.3") as ctd:
        sandbox = started(ctd, options=pod_config(hostname="dns", dns_config=dns))
        equal(output(ctd, sandbox, "cat", "/etc/resolv.conf"),
              "search ns.svc.example svc.example\nnameserver 10.96.0.10\nnameserver fd00::10\n"
              "options ndots:5\n", "/etc/resolv.conf of a container")
        sandbox.stop()
        sandbox.shutdown_sandbox()


@test(vm=True, timeout=120)
def d3_metrics_are_of_the_whole_pod(t):
    with peer.Containerd(t, "2.3") as ctd:
        sandbox = started(ctd)

        def usage():
            metric = sandbox.metrics()
            equal(metric["id"], sandbox.id, "id")
            check(metric["timestamp"]["seconds"] > 0, "no timestamp")
            name = metric["data"]["type_url"]
            contains(name, "io.containerd.cgroups.v", "type")
            value = messages.unpack(name, metric["data"]["value"])
            if ".v2." in name:
                return value["memory"]["usage"], value["cpu"]["usage_usec"] * 1000
            return value["memory"]["usage"]["usage"], value["cpu"]["usage"]["total"]
        memory, cpu = usage()
        check(memory > 50 << 20, "a machine that runs uses %d bytes" % memory)
        output(ctd, sandbox, "sh", "-c", "head -c 20000000 /dev/zero | md5sum")
        check(usage()[1] > cpu, "the processor time did not grow from %d ns" % cpu)
        sandbox.stop()
        sandbox.shutdown_sandbox()


@test(vm=True, timeout=120)
def d3_a_verbose_status_describes_the_machine(t):
    config = t.config({"default_memory": "333"})
    with peer.Containerd(t, "2.3") as ctd:
        sandbox = started(ctd, config=config)
        info = json.loads(sandbox.status(verbose=True)["info"]["kata"])
        equal(info["configFile"], os.path.realpath(config), "configFile")
        equal(info["machine"]["hypervisor"], "qemu", "hypervisor")
        equal([info["machine"]["pid"]], t.vmm_pids(), "pid")
        check(info["agentVersion"], "no agentVersion")
        check(info["boot"]["totalMs"] > 0 and "agent" in info["boot"]["phasesMs"], "boot: %s" % info)
        equal(sandbox.status()["info"], {}, "info that was not asked for")
        sandbox.stop()
        sandbox.shutdown_sandbox()


def memory_mib(t, generation, config):
    """The guest's memory where only `start` was told of a configuration."""
    with peer.Containerd(t, generation) as ctd:
        sandbox = started(ctd, config=config)
        box = ctd.run("grep", "MemTotal", "/proc/meminfo", sandbox=sandbox)
        equal(box.wait().status, 0, "exit status")
        total = int(box.out().split()[1]) // 1024
        box.delete()
        sandbox.stop()
        sandbox.shutdown_sandbox()
        return total


@test(vm=True, timeout=120)
def d3_the_configuration_that_start_was_told_counts(t):
    config = t.config({"default_memory": "777"})
    for generation in ("2.0", "2.3"):
        total = memory_mib(t, generation, config)
        check(580 < total <= 777, "%s: the guest has %d MiB, wanted about 777" % (generation, total))


@test(vm=True, timeout=120)
def d3_a_sandbox_survives_containerd(t):
    with peer.Containerd(t, "2.3") as ctd:
        sandbox = started(ctd)
        box = ctd.run("sleep", "1000000", sandbox=sandbox)
        equal(ctd.restart(), [], "shims that were lost")
        equal(sandbox.status()["state"], READY, "state")
        sandbox.ping()
        waiter = Waiter(sandbox)
        box.kill()
        equal(box.wait().status, 137, "exit status")
        box.delete()
        sandbox.stop()
        equal(waiter.result(10 * t.slow)["exit_status"], 0, "WaitSandbox' exit status")
        sandbox.shutdown_sandbox()


@test(vm=True, timeout=120)
def d3_the_machine_is_in_the_pods_network_namespace(t):
    name = t.id()
    path = "/run/netns/" + name
    t.command("ip", "netns", "add", name).ok()
    try:
        with peer.Containerd(t, "2.3") as ctd:
            sandbox = started(ctd, netns_path=path)
            equal(os.stat("/proc/%d/ns/net" % t.vmm_pids()[0]).st_ino, os.stat(path).st_ino,
                  "network namespace of the machine")
            sandbox.stop()
            sandbox.shutdown_sandbox()
    finally:
        t.command("ip", "netns", "del", name).ok()
        t.command("umount", "/run/netns")
        t.command("rmdir", "/run/netns")


@test(vm=True, timeout=120)
def d3_a_boot_that_fails_says_why_and_leaves_nothing(t):
    with open(t.dir + "/kernel", "wb") as f:
        f.write(b"this is no kernel")
    config = t.config({"kernel": '"%s/kernel"' % t.dir})
    with peer.Containerd(t, "2.3") as ctd:
        sandbox = ctd.sandbox(config=config)
        sandbox.create()
        for _ in range(2):  # it may be tried again, to the same end
            try:
                sandbox.start()
                check(False, "it started")
            except ttrpc.RpcError as e:
                contains(str(e), "kernel", "what StartSandbox says")
            equal(t.vmm_pids(), [], "machines")
        equal(sandbox.status()["state"], NOT_READY, "state")
        sandbox.shutdown_sandbox()


@test(vm=True, timeout=120)
def d3_a_sandbox_that_was_refused_ends_its_shim(t):
    """containerd sends ShutdownSandbox also where CreateSandbox has failed."""
    with peer.Containerd(t, "2.3") as ctd:
        sandbox = ctd.sandbox()
        try:
            sandbox.create(options=messages.any_of("some.Thing", b""))
            check(False, "unknown options were taken")
        except ttrpc.RpcError as e:
            equal(e.code, ttrpc.INVALID_ARGUMENT, "code")
            contains(str(e), "some.Thing", "what CreateSandbox says")
        sandbox.shutdown_sandbox()
