# SPDX-License-Identifier: Apache-2.0
"""A6: containers in each generation of containerd, by a peer that speaks its very bytes."""

import os
import signal

from lib import messages, peer, ttrpc
from lib.node import shim_pids
from lib.suite import check, contains, equal, fail, test, wait_until

FOREVER = ("sleep", "1000000")
LIFE = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
# the task service that the shim answers with
VERSION = {"1.6": 2, "1.7": 2, "2.0": 2, "2.2": 2, "2.3": 3}


def in_each_generation(function):
    """Makes NAME_containerd_1_6(t) and so on of @function(t, generation)."""
    for generation in peer.GENERATIONS:
        def body(t, g=generation):
            function(t, g)
        body.__module__ = function.__module__
        body.__name__ = "%s_containerd_%s" % (function.__name__, generation.replace(".", "_"))
        test(body, vm=True, timeout=120)
    return function


def deleted(t, box, status):
    """Deletes a stopped container as containerd does, within containerd's own limits."""
    gone = box.delete()
    equal(gone.status, status, "the exit status that Delete gives")
    if box.started:
        check(box.shutdown_seconds < peer.SHUTDOWN_TIMEOUT * t.slow,
              "Shutdown took %.1f s" % box.shutdown_seconds)
        equal((box.cleanup.code, box.cleanup.err), (0, ""), "code of `delete`, warnings")
        check(box.cleanup.seconds < peer.CLEANUP_TIMEOUT * t.slow,
              "delete took %.1f s" % box.cleanup.seconds)
    return gone


def killed(t, box):
    box.kill()
    equal(box.wait().status, 137, "exit status of %s" % box.id)
    deleted(t, box, 137)


@in_each_generation
def a6_echo_ok(t, generation):
    """What `ctr run --rm` does."""
    with peer.Containerd(t, generation) as ctd:
        box = ctd.create("echo", "ok")
        equal(box.endpoint.version, VERSION[generation], "the version that `start` answers with")
        # 2.3 would take the forms of its elders too, but they say less
        plain = box.start_result.raw_out.startswith(b"unix://")
        equal(plain, generation != "2.3", "whether the answer is an address and no more")
        if not plain:
            result = messages.unpack("containerd.runtime.bootstrap.v1.BootstrapResult",
                                     box.start_result.raw_out)
            equal((result["address"], result["protocol"]), (box.endpoint.address, "ttrpc"),
                  "address and protocol")
        pid = box.start()
        check(pid > 0, "Start gives no pid")
        equal(box.wait().status, 0, "exit status")
        equal((box.out(), box.err()), ("ok\n", ""), "stdout, stderr")
        equal(deleted(t, box, 0).pid, pid, "the pid that Delete gives")
        equal((shim_pids(), t.vmm_pids()), ([], []), "shims and machines")
        ctd.events.wait(box.id, "/tasks/delete")
        equal(ctd.events.topics(box.id), LIFE, "topics")
        for envelope in ctd.events.envelopes:
            equal(envelope["namespace"], t.node.namespace, "the namespace of the events")
        contains(ctd.ttrpc.metadata, ("containerd-namespace-ttrpc", t.node.namespace),
                 "the metadata of the events")


@in_each_generation
def a6_a_second_container_of_a_pod(t, generation):
    """Up to 2.2 `start` and `delete` run for it too; 2.3 goes to the pod's shim directly."""
    with peer.Containerd(t, generation) as ctd:
        pod = ctd.pod()
        # 1.x tells the sandbox' id to its own runtime only with the sandbox service
        joined = {} if generation in ("1.6", "1.7") else {"sandbox": pod}
        boxes = [ctd.run("sh", "-c", "cat /proc/sys/kernel/random/boot_id; exec sleep 1000000",
                         pod=pod, **joined) for _ in range(2)]
        equal({box.endpoint.address for box in boxes}, {pod.endpoint.address}, "addresses")
        equal([box.started for box in boxes], [generation != "2.3"] * 2, "whether `start` was run")
        equal((len(shim_pids()), len(t.vmm_pids())), (1, 1), "number of shims and machines")
        for box in boxes:
            wait_until(lambda b=box: b.stdio._out.data, 20 * t.slow, "the container speaks")
        equal(len({box.stdio._out.data for box in boxes}), 1, "number of boot ids")
        for box in boxes:
            killed(t, box)
            equal(pod.state()["status"], peer.RUNNING, "the pod's status")
        box = ctd.run("echo", "once more", pod=pod, **joined)
        equal(box.wait().status, 0, "exit status of a third")
        deleted(t, box, 0)
        killed(t, pod)
        equal((shim_pids(), t.vmm_pids()), ([], []), "shims and machines")


@in_each_generation
def a6_an_exec_and_its_streams(t, generation):
    with peer.Containerd(t, generation) as ctd:
        box = ctd.run("sh", "-c", "cat; while ! [ -e /end ]; do sleep 0.05; done",
                      stdin=b"over\n")
        one = box.exec("sh", "-c", "cat; echo err >&2; exit 5", stdin=b"in\n")
        one.start()
        equal(one.wait().status, 5, "exit status")
        equal((one.out(), one.err()), ("in\n", "err\n"), "stdout, stderr")
        equal(one.delete().status, 5, "the exit status that Delete gives")
        box.exec("touch", "/end").start()
        equal(box.wait().status, 0, "exit status of the container, whose stdin ended")
        equal(box.out(), "over\n", "stdout of the container")
        deleted(t, box, 0)


@in_each_generation
def a6_containerd_is_started_again(t, generation):
    with peer.Containerd(t, generation) as ctd:
        box = ctd.run("sh", "-c", "while ! [ -e /end ]; do sleep 0.05; done; exit 3")
        equal(ctd.restart(), [], "shims that are lost")
        equal(box.state()["status"], peer.RUNNING, "status")
        one = box.exec("touch", "/end")
        one.start()
        equal(one.wait().status, 0, "exit status of an exec")
        one.delete()
        equal(box.wait().status, 3, "exit status")
        equal(ctd.events.wait(box.id, "/tasks/exit")["exit_status"], 0, "the exec's in its event")
        wait_until(lambda: ctd.events.topics(box.id).count("/tasks/exit") == 2, 10 * t.slow,
                   "both exits are told")
        deleted(t, box, 3)


@in_each_generation
def a6_the_shim_dies_while_containerd_is_away(t, generation):
    with peer.Containerd(t, generation) as ctd:
        box = ctd.run(*FOREVER)
        ctd.stop()
        os.kill(shim_pids()[0], signal.SIGKILL)
        wait_until(lambda: not shim_pids(), 10 * t.slow, "the shim is dead")
        lost = ctd.restart()
        equal([shim for shim, _ in lost], [box], "shims that are lost")
        equal((box.cleanup.code, box.cleanup_response["exit_status"]), (0, 137),
              "code and exit status of `delete`")
        wait_until(lambda: not t.vmm_pids(), 10 * t.slow, "the machine is gone")


@in_each_generation
def a6_a_create_that_fails_leaves_nothing(t, generation):
    """Before the machine boots, and after it."""
    nothing = [{"type": "bind", "source": "/no/such/rootfs", "options": ["rbind"]}]
    with peer.Containerd(t, generation) as ctd:
        for word, fields in (("/no/such.toml", {"config": "/no/such.toml"}),
                             ("/no/such/rootfs", {"rootfs": nothing})):
            try:
                ctd.create("true", **fields)
                fail("a container with %s was created" % word)
            except ttrpc.RpcError as e:
                contains(e.message, word, "the message")
            equal((shim_pids(), t.vmm_pids()), ([], []), "shims and machines")


@test(vm=True)
def c4_a_container_that_was_never_started_ends_when_it_is_killed(t):
    """Clients give up a container so, and wait for its end, before they delete it."""
    with peer.Containerd(t, "1.7") as ctd:
        box = ctd.create("sleep", "1000000")
        killed(t, box)
        ctd.events.wait(box.id, "/tasks/delete")
        equal(ctd.events.topics(box.id), [LIFE[0], *LIFE[2:]], "topics")


@in_each_generation
def a6_options_name_the_configuration(t, generation):
    config = t.config({"default_memory": "333"})
    with peer.Containerd(t, generation, debug=False) as ctd:
        box = ctd.run("sh", "-c", "free -m | grep Mem", config=config)
        equal(box.wait().status, 0, "exit status")
        total = int(box.out().split()[1])
        check(250 < total <= 333, "the guest has %d MiB" % total)
        deleted(t, box, 0)


@test(vm=True)
def a6_an_unknown_task_service_is_downgraded_from(t):
    """A newer containerd asks for its newest service first, and takes UNIMPLEMENTED for an answer.

    A failed first Create must leave nothing: the second one has the same id.
    """
    with peer.Containerd(t, "2.3") as ctd:
        box = ctd.create("echo", "ok", assume=4)
        equal(box.endpoint.version, 3, "the version that is spoken in the end")
        box.start()
        equal(box.wait().status, 0, "exit status")
        # and one that never was newer than 2 sees the same task
        box.endpoint = box.endpoint._replace(version=2)
        equal(box.state()["status"], peer.STOPPED, "status by the older service")
        deleted(t, box, 0)


@test(vm=True)
def a6_the_socket_directory_of_the_configuration(t):
    where = "/run/e2e/sockets"
    with peer.Containerd(t, "2.3", socket_dir=where) as ctd:
        box = ctd.run("true")
        check(box.endpoint.address.startswith("unix://" + where + "/"), box.endpoint.address)
        equal(box.wait().status, 0, "exit status")
        deleted(t, box, 0)
    equal(os.listdir(where), [], "sockets")
    os.rmdir(where)


@test(vm=True)
def a6_the_address_of_events_may_come_as_a_parameter_only(t):
    """2.3 calls the environment deprecated."""
    with peer.Containerd(t, "2.3", env={"TTRPC_ADDRESS": ""}) as ctd:
        box = ctd.run("true")
        equal(box.wait().status, 0, "exit status")
        deleted(t, box, 0)
        ctd.events.wait(box.id, "/tasks/delete")
        equal(ctd.events.topics(box.id), LIFE, "topics")


@test(vm=True)
def a6_core_scheduling_is_no_must(t):
    with peer.Containerd(t, "1.7", sched_core=True) as ctd:
        box = ctd.run("true")
        equal(box.wait().status, 0, "exit status")
        deleted(t, box, 0)


@test(vm=True)
def a6_the_log_fifo_has_the_shims_words(t):
    with peer.Containerd(t, "1.6") as ctd:
        box = ctd.run("true")
        equal(box.wait().status, 0, "exit status")
        wait_until(lambda: box.id.encode() in box.log, 10 * t.slow, "the log names the sandbox")
        deleted(t, box, 0)


# ---- Events, and a containerd that does not take them -----------------------------------------


def run_to_the_end(ctd, *cmd):
    box = ctd.run(*(cmd or ("true",)))
    equal(box.wait().status, 0, "exit status")
    return box


@test(vm=True)
def c3_events_wait_for_a_containerd_that_is_away(t):
    with peer.Containerd(t, "1.7") as ctd:
        ctd.ttrpc.vanish()
        box = run_to_the_end(ctd)
        equal(ctd.events.seen, [], "events while nobody listened")
        ctd.ttrpc.come_back()
        ctd.events.wait(box.id, "/tasks/exit")
        deleted(t, box, 0)
        ctd.events.wait(box.id, "/tasks/delete")
        equal(ctd.events.topics(box.id), LIFE, "topics")


@test(vm=True)
def c3_events_that_are_refused_for_a_moment_keep_their_order(t):
    with peer.Containerd(t, "1.7") as ctd:
        ctd.events.refuse = ttrpc.UNAVAILABLE
        box = run_to_the_end(ctd)
        wait_until(lambda: ctd.events.refused >= 2, 20 * t.slow, "an event is refused twice")
        ctd.events.refuse = 0
        ctd.events.wait(box.id, "/tasks/exit")
        deleted(t, box, 0)
        ctd.events.wait(box.id, "/tasks/delete")
        equal(ctd.events.topics(box.id), LIFE, "topics")


@test(vm=True)
def c3_a_containerd_that_takes_its_time_delays_no_task(t):
    with peer.Containerd(t, "1.7") as ctd:
        ctd.events.delay = 1
        box = run_to_the_end(ctd)
        ctd.events.wait(box.id, "/tasks/exit", 30)
        equal(ctd.events.topics(box.id), LIFE[:3], "topics: none twice")
        ctd.events.delay = 0
        deleted(t, box, 0)


@test(vm=True)
def c3_a_shutdown_does_not_wait_for_a_containerd_that_is_away(t):
    with peer.Containerd(t, "1.7") as ctd:
        box = run_to_the_end(ctd)
        ctd.ttrpc.vanish()
        deleted(t, box, 0)
        equal((shim_pids(), t.vmm_pids()), ([], []), "shims and machines")
