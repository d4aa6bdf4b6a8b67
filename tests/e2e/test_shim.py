# SPDX-License-Identifier: Apache-2.0
"""The shim's daemon: how it is found, what ends it and what does not, what it logs."""

import os
import re
import signal

from lib import residue, ttrpc
from lib.binary import daemons, delete, directory, start, stop
from lib.suite import check, contains, equal, test, wait_until


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


@test(vm=True, timeout=150)
def a_shim_that_nobody_uses_ends(t):
    """A containerd that was killed between `start` and Create may never ask for anything."""
    cid, bundle = t.id(), directory(t, "b")
    address = start(t, bundle, cid).ok().out.strip()
    client = ttrpc.Client(address)  # a containerd that is back connects, and knows of no task
    wait_until(lambda: not daemons(), 60 + 20 * t.slow, "the daemon has ended", 1)
    check(not os.path.exists(address.removeprefix("unix://")), "the socket is still there")
    client.close()
    delete(t, cid, bundle).ok()


@test(vm=True)
def a_pod_that_nobody_knows_of_ends(t):
    """containerd was killed after it had a container deleted, and before it could call Shutdown."""
    cid = t.start("true")
    t.wait_status(cid, "STOPPED")
    address = t.shim_address(cid)
    t.node.daemon.kill()
    t.node.daemon.wait()
    client = ttrpc.Client(address)
    code, message, _ = client.call("Delete", (1, cid))
    equal((code, message), (ttrpc.OK, ""), "Delete")
    equal(len(daemons()), 1, "daemons while somebody is connected")
    client.close()
    wait_until(lambda: not daemons() and not t.vmm_pids(), 20 * t.slow, "the daemon has ended")
    t.node.start()
    wait_until(lambda: cid not in t.ctr("task", "ls", "-q").ok().out, 20 * t.slow, "the task is gone")
    t.ctr("container", "rm", cid).ok()
    t.forget_fifos()
