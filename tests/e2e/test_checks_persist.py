# SPDX-License-Identifier: Apache-2.0
"""What a pod leaves in /run/kata, and what `start` and `delete` make of the leavings of the dead."""

import concurrent.futures
import json
import os
import signal
import stat
import subprocess
import time

from lib import residue, ttrpc
from lib.binary import daemons, delete, directory, read, shim, start, stop
from lib.node import program
from lib.suite import check, equal, test, wait_until

FOREVER = ("sleep", "1000000")
DAMAGES = {
    "gone": None,
    "empty": b"",
    "cut": 0.5,
    "garbage": bytes(range(256)) * 40,
    "zeros": b"\0" * 4096,
}


def state_of(cid):
    with open("/run/kata/%s/state.json" % cid, encoding="utf-8") as f:
        return json.load(f)


def start_time(pid):
    with open("/proc/%d/stat" % pid, encoding="utf-8") as f:
        return int(f.read().rsplit(")", 1)[1].split()[19])


def damage(path, how):
    if how is None:
        os.unlink(path)
        return
    with open(path, "rb") as f:
        data = f.read()
    with open(path, "wb") as f:
        f.write(data[:int(len(data) * how)] if isinstance(how, float) else how)


def gone(pid):
    return pid not in residue.processes()


@test(vm=True)
def g1_state_json_follows_every_change(t):
    cid = t.start(*FOREVER, options=["--annotation", "io.kubernetes.cri.container-type=sandbox"])
    state = state_of(cid)
    equal(stat.S_IMODE(os.stat("/run/kata/%s/state.json" % cid).st_mode), 0o600, "its mode")
    equal(stat.S_IMODE(os.stat("/run/kata/%s" % cid).st_mode), 0o700, "its directory's mode")
    equal(state["sandbox_type"], "virt_container", "sandbox_type")
    equal(state["resource"]["endpoint"], [], "resource.endpoint")
    check("cgroup_state" in state["resource"], "no resource.cgroup_state")
    machine = state["hypervisor"]
    equal(machine["hypervisor_type"], "qemu", "hypervisor.hypervisor_type")
    equal(machine["pid"], t.vmm_pids()[0], "hypervisor.pid")
    equal(machine["id"], cid, "hypervisor.id")
    check("virtiofsd" in program(machine["virtiofs_daemon_pid"]), "hypervisor.virtiofs_daemon_pid")
    equal(os.path.basename(machine["config"]["path"]), program(machine["pid"]),
          "hypervisor.config.path")
    equal(state["shim"]["pid"], t.shim_pid(cid), "shim.pid")
    equal([(c["id"], c["state"]) for c in state["containers"]], [(cid, "running")], "containers")

    member = t.start(*FOREVER, options=[
        "--annotation", "io.kubernetes.cri.container-type=container",
        "--annotation", "io.kubernetes.cri.sandbox-id=" + cid])
    equal([c["id"] for c in state_of(cid)["containers"]], [cid, member], "containers")
    equal(state_of(cid)["containers"][1]["bundle"], t.bundle(member), "a container's bundle")
    t.exec(member, "true", exec_id="e1").ok()
    equal(state_of(cid)["containers"][1]["execs"], [], "execs that are over")
    t.remove(member)
    equal([c["id"] for c in state_of(cid)["containers"]], [cid], "containers")
    t.remove(cid)
    check(not os.path.exists("/run/kata/" + cid), "/run/kata/%s is still there" % cid)


@test(vm=True, timeout=120)
def g1_a_reader_never_sees_half_a_state(t):
    cid = t.start(*FOREVER)
    loop = t.background("task", "exec", "--exec-id", "e", cid, "true")
    read_so_often = 0
    for i in range(6):
        loop.result(30)
        loop = t.background("task", "exec", "--exec-id", "e%d" % i, cid, "true")
        while loop.popen.poll() is None:
            state_of(cid)
            read_so_often += 1
    loop.result(30)
    check(read_so_often > 50, "the state was read %d times only" % read_so_often)
    t.remove(cid)


def machine_of_a_dead_shim(t):
    """A pod whose shim is dead and whose machine is not: a process in QEMU's place, since QEMU
    itself dies with its shim. Returns (id, bundle, pid)."""
    cid, bundle = t.id(), directory(t, t.id())
    victim = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    run = "/run/kata/" + cid
    os.makedirs(run + "/root", mode=0o700)
    share = "/run/kata-containers/shared/sandboxes/" + cid
    os.makedirs(share + "/rw/passthrough/%s/rootfs" % cid)
    with open(run + "/journal", "w", encoding="ascii") as f:
        # an older format, without its version line
        f.write("+0 tree %s\n+1 process %d %d\n+2 process %d %d\n" % (
            share, victim.pid, start_time(victim.pid), other.pid, start_time(other.pid) - 1))
    with open(run + "/state.json", "w", encoding="ascii") as f:
        json.dump({"hypervisor": {"pid": victim.pid, "virtiofs_daemon_pid": other.pid},
                   "shim": {"pid": 4000000, "start_time": 1,
                            "hypervisor_start_time": start_time(victim.pid),
                            "virtiofs_daemon_start_time": start_time(other.pid) - 1}}, f)
    return cid, bundle, victim, other


def cleans_up(t, name, how):
    cid, bundle, victim, other = machine_of_a_dead_shim(t)
    try:
        damage("/run/kata/%s/%s" % (cid, name), how)
        for _ in range(2):
            began = time.monotonic()
            r = delete(t, cid, bundle)
            equal(r.code, 0, "code (%s)" % r.err)
            check(time.monotonic() - began < 5 * t.slow, "delete took too long for containerd")
        equal(victim.wait(5), -signal.SIGKILL, "how the machine ended")
        equal(other.poll(), None, "the end of a process that has only the pid of the recorded one")
        check(not os.path.exists("/run/kata/" + cid), "/run/kata/%s is still there" % cid)
        check(not os.path.exists("/run/kata-containers/shared/sandboxes/" + cid),
              "the shared directory is still there")
    finally:
        for process in (victim, other):
            process.kill()
            process.wait()


@test(vm=True, timeout=120)
def g2_a_damaged_state_does_not_hinder_delete(t):
    for name, how in DAMAGES.items():
        t.note("state.json: " + name)
        cleans_up(t, "state.json", how)


@test(vm=True, timeout=120)
def g2_a_damaged_journal_does_not_hinder_delete(t):
    for name, how in DAMAGES.items():
        t.note("journal: " + name)
        cleans_up(t, "journal", how)


@test(vm=True)
def g2_delete_after_a_crash_ends_the_machine_whatever_is_left(t):
    """The same with a real machine: containerd's own delete, with both files damaged."""
    cid = t.start(*FOREVER)
    machine = t.vmm_pids()
    os.kill(t.shim_pid(cid), signal.SIGSTOP)
    damage("/run/kata/%s/state.json" % cid, 0.3)
    damage("/run/kata/%s/journal" % cid, 0.3)
    os.kill(t.shim_pid(cid), signal.SIGKILL)
    wait_until(lambda: all(gone(pid) for pid in machine), 5 * t.slow, "QEMU has ended")
    wait_until(lambda: t.status(cid) in ("", "STOPPED"), 10 * t.slow, "the task has ended")
    t.ctr("task", "rm", "-f", cid)
    t.ctr("container", "rm", cid).ok()
    t.forget_fifos()


@test(vm=True)
def g3_delete_twice_and_without_a_bundle(t):
    cid, bundle = t.id(), directory(t, "b")
    start(t, bundle, cid).ok()
    os.kill(daemons()[0], signal.SIGKILL)
    wait_until(lambda: not daemons(), 5 * t.slow, "the daemon has ended")
    answers = [ttrpc.decode(delete(t, cid, bundle).ok().raw_out) for _ in range(2)]
    equal([a.get(2) for a in answers], [[137]] * 2, "exit statuses")
    os.rename(bundle, bundle + ".away")
    r = t.command(shim(t), "-namespace", t.node.namespace, "-address", "/x", "-publish-binary",
                  "/bin/true", "-id", cid, "-bundle", bundle, "delete", cwd=t.dir)
    equal(r.code, 0, "code without a bundle (%s)" % r.err)
    equal(ttrpc.decode(r.raw_out).get(2), [137], "exit status without a bundle")


@test(vm=True)
def g3_delete_leaves_a_living_namesake_alone(t):
    """Two namespaces of containerd may have containers of one name; /run/kata has room for one."""
    cid = t.start(*FOREVER)
    bundle = directory(t, "b")
    r = t.command(shim(t), "-namespace", "another", "-address", "/x", "-publish-binary",
                  "/bin/true", "-id", cid, "-bundle", bundle, "delete", cwd=bundle)
    equal(r.code, 0, "code (%s)" % r.err)
    check("lives" in r.err, "nothing is said of it: %r" % r.err)
    equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of an exec")
    t.remove(cid)


@test(vm=True, timeout=120)
def g3_a_pod_of_a_living_namesake_is_refused(t):
    cid = t.start(*FOREVER)
    args = ["ctr", "-a", t.node.ctr_argv()[2], "-n", t.node.namespace + "-2"]
    t.command(*args, "image", "import", os.path.join(os.path.dirname(t.node.work), "image.tar")).ok()
    r = t.command(*args, *t.run_args(cid, "true", options=["--rm"]))
    check(r.code != 0, "it worked")
    check("belongs to a shim that lives" in r.err, "the reason is not told: %s" % r.err)
    equal(t.exec(cid, "echo", "alive").ok().out, "alive\n", "stdout of an exec")
    for image in t.command(*args, "image", "ls", "-q").ok().out.split():
        t.command(*args, "image", "rm", image).ok()
    t.remove(cid)


@test(vm=True)
def g4_starts_at_once_make_one_daemon(t):
    for number in range(5):
        cid, bundle = t.id(), directory(t, "b%d" % number)
        if number % 2:  # with a stale socket in the way
            start(t, bundle, cid).ok()
            os.kill(daemons()[0], signal.SIGKILL)
            wait_until(lambda: not daemons(), 5 * t.slow, "the daemon has ended")
        bundles = [directory(t, "b%d-%d" % (number, i)) for i in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda b, cid=cid: start(t, b, cid), bundles))
        addresses = {r.ok().out for r in answers}
        equal(len(addresses), 1, "number of addresses")
        equal(len(daemons()), 1, "number of daemons")
        owner = [b for b in bundles if os.path.exists(b + "/shim.pid")]
        equal([int(read(b, "shim.pid")) for b in owner], daemons(), "the files `shim.pid`")
        stop(t, addresses.pop(), cid, owner[0])


@test(vm=True)
def g4_a_start_that_is_killed_leaves_no_daemon(t):
    """At every moment: what it has started ends by itself, or is one that was told of."""
    for i in range(12):
        cid, bundle = t.id(), directory(t, "k%d" % i)
        process = subprocess.Popen(
            [shim(t), "-id", cid, "-namespace", t.node.namespace, "-address", "/x",
             "-publish-binary", "/bin/true", "start"], cwd=bundle, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        time.sleep(0.002 * i)
        process.kill()
        told = process.communicate()[0]
        if not told:
            wait_until(lambda: not daemons(), 5 * t.slow, "the daemon has ended")
        delete(t, cid, bundle).ok()
        wait_until(lambda: not daemons(), 5 * t.slow, "the daemon has ended after delete")


@test(vm=True)
def g4_a_shim_that_ends_late_leaves_its_successors_socket(t):
    cid, bundle = t.id(), directory(t, "b")
    address = start(t, bundle, cid).ok().out.strip()
    path = address.removeprefix("unix://")
    first = daemons()[0]
    os.kill(first, signal.SIGSTOP)
    os.unlink(path)
    again = directory(t, "again")
    equal(start(t, again, cid).ok().out.strip(), address, "address of the successor")
    os.kill(first, signal.SIGCONT)
    second = [pid for pid in daemons() if pid != first]
    equal(len(second), 1, "number of successors")
    # the first gets its Shutdown by the descriptor of a client that it had: there is none, so kill
    os.kill(first, signal.SIGKILL)
    delete(t, cid, bundle).ok()
    equal(ttrpc.Client(address).call("Connect", (1, cid))[2].get(1), second, "who answers")
    stop(t, address, cid, again)


@test(vm=True)
def g5_a_full_or_read_only_run_is_a_clear_error(t):
    """In a mount namespace whose /run/kata is a tiny or read-only file system."""
    for what, options in (("No space left on device", "size=4k,nr_inodes=2"),
                          ("Read-only file system", "ro")):
        os.makedirs("/run/kata", exist_ok=True)
        t.command("mount", "-t", "tmpfs", "-o", options, "none", "/run/kata").ok()
        try:
            r = t.run("true")
        finally:
            t.command("umount", "-l", "/run/kata").ok()
        check(r.code != 0, "it worked")
        check(what in r.err, "%r is not told: %s" % (what, r.err))
        check("/run/kata/" in r.err, "the path is not told: %s" % r.err)
        wait_until(lambda: not daemons() and not t.vmm_pids(), 5 * t.slow, "all has ended")
    equal(t.run("echo", "fine").ok().out, "fine\n", "stdout afterwards")
