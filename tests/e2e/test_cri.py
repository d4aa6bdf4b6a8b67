# SPDX-License-Identifier: Apache-2.0
"""Pods as kubelet makes them, through containerd's CRI plugin: their lives, whole and broken off."""

import os
import signal
import time

from lib import cri
from lib.node import shim_pids
from lib.suite import Failed, check, contains, equal, test, wait_until

FOREVER = ("sleep", "1000000")


def boot_id(c):
    return c.out("cat", "/proc/sys/kernel/random/boot_id")


def processes_named(c, name):
    """How many processes that @c sees run a command."""
    return sum(1 for line in c.out("ps", "-o", "comm").splitlines() if line.strip() == name)


def expect_error(call):
    """The words of a call's failure."""
    try:
        call()
    except cri.Error as e:
        return e.details
    raise Failed("it worked")


def one_life(t):
    """All that kubelet does with a pod of three containers."""
    pod = t.pods.run(hostname="a-pod")
    equal(pod.status().state, cri.READY, "state of the pod")
    one = pod.start("sh", "-c", "printf 'a\\nb'; printf 'x\\n' >&2; exec sleep 1000000")
    two = pod.start("sh", "-c", "while read line; do echo got $line; done", stdin=True)
    three = pod.start("sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done")
    equal(len(shim_pids()), 1, "number of shims")
    if t.vm:
        equal(len(t.vmm_pids()), 1, "number of QEMUs")
    equal({c.state for c in pod.containers()}, {cri.RUNNING}, "states in the list")

    equal(one.exec("sh", "-c", "hostname; echo e >&2; exit 3"), (3, "a-pod\n", "e\n"), "ExecSync")
    s = one.exec_stream("sh", "-c", "read x; echo $x; echo err >&2; exit 4", stdin=True)
    s.type("typed\n")
    equal((s.end(), s.out, s.err), (4, "typed\n", "err\n"), "Exec")
    s = one.exec_stream("sh", tty=True, stdin=True)
    s.resize(33, 111)
    # until the size has arrived, which nobody acknowledges
    s.type("until stty size | grep '33 111'; do sleep 0.1; done; exit 6\n")
    s.expect("\n33 111")
    equal(s.end(), 6, "exit code of a shell on a terminal")
    a = two.attach(stdin=True)
    a.type("there\n")
    a.expect("got there\n")
    a.close()

    stats = one.stats()
    check(stats.memory.working_set_bytes.value > 0, "no memory in use")
    check(stats.cpu.usage_core_nano_seconds.value > 0, "no processor time")
    listed = t.pods.client.call("ListContainerStats", filter={"pod_sandbox_id": pod.id}).stats
    equal({s.attributes.id for s in listed}, {one.id, two.id, three.id}, "ListContainerStats")
    one.update(memory_limit_in_bytes=96 << 20, cpu_period=100000, cpu_quota=50000)

    three.stop(timeout=30)
    equal(three.wait_exit().exit_code, 5, "exit code after a SIGTERM that is handled")
    equal(three.log(), b"up\nbye\n", "log of the third")
    one.stop()
    equal(one.wait_exit().exit_code, 137, "exit code after a SIGKILL")
    # a last line without an end is written with one
    equal([line for line in one.log_lines() if line[0] == "stdout"],
          [("stdout", "F", b"a"), ("stdout", one.log_lines()[-1][1], b"b")], "stdout of the first")
    equal(one.log("stderr"), b"x\n", "stderr of the first")
    two.stop()
    equal(two.log(), b"got there\n", "log of the second")
    for c in three, one, two:
        c.remove()
    equal(len(pod.containers()), 0, "number of containers")
    equal(pod.status().state, cri.READY, "state of a pod without containers")
    pod.remove()
    equal(len(t.pods.list()), 0, "number of pods")


@test(timeout=180)
def a_pod_of_three_containers_lives_twice(t):
    version = t.pods.client.call("Version", version="v1")
    equal((version.runtime_name, version.runtime_api_version), ("containerd", "v1"), "Version")
    status = t.pods.client.call("Status").status
    good = {c.type for c in status.conditions if c.status}  # newer ones tell of more
    check({"RuntimeReady", "NetworkReady"} <= good, "Status: %s" % status)
    one_life(t)
    one_life(t)


@test(timeout=90)
def c7_statistics_are_listed(t):
    pod = t.pods.run()
    one, two = pod.start(*FOREVER), pod.start(*FOREVER)
    for c in one, two:
        stats = c.stats()
        equal(stats.attributes.id, c.id, "ContainerStats' id")
        check(stats.memory.working_set_bytes.value > 0, "no memory in use: %s" % stats)
    listed = t.pods.client.call("ListContainerStats").stats
    equal({s.attributes.id for s in listed}, {one.id, two.id}, "ListContainerStats")
    for s in listed:
        check(s.memory.working_set_bytes.value > 0, "no memory in the list: %s" % s)
        check(s.cpu.usage_core_nano_seconds.value > 0, "no processor time in the list: %s" % s)
    pod.remove()


@test(timeout=90)
def d1_the_containers_of_a_pod_share_one_machine(t):
    pod = t.pods.run()
    one, two = pod.start(*FOREVER), pod.start(*FOREVER)
    equal(boot_id(one), boot_id(two), "boot ids")
    equal(len(shim_pids()), 1, "number of shims")
    if t.vm:
        equal(len(t.vmm_pids()), 1, "number of machines")
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            check(f.read() != boot_id(one), "the boot id is the host's")
    pod.remove()


@test(timeout=120)
def d2_stop_and_remove_may_be_repeated(t):
    pod = t.pods.run()
    c, running = pod.start(*FOREVER), pod.start(*FOREVER)
    for _ in range(2):
        c.stop()
    for _ in range(2):
        c.remove()
    running.remove()  # without a stop
    running.remove()
    pod.start(*FOREVER)
    for _ in range(2):
        pod.stop()
    equal(pod.status().state, cri.NOT_READY, "state of a stopped pod")
    equal({c.state for c in pod.containers()}, {cri.EXITED}, "states of its containers")
    running = t.pods.run()
    running.start(*FOREVER)
    for gone in pod, running:  # stopped, and without a stop
        for _ in range(2):
            t.pods.client.call("RemovePodSandbox", pod_sandbox_id=gone.id)
    equal(len(t.pods.list()), 0, "number of pods")


@test(timeout=120)
def d4_a_lack_of_memory_is_told(t):
    pod = t.pods.run()
    limit = {"resources": {"memory_limit_in_bytes": 32 << 20}}
    c = pod.start("tail", "/dev/zero", linux=limit)
    s = c.wait_exit(60)
    equal((s.exit_code, s.reason), (137, "OOMKilled"), "exit code and reason")
    good = pod.start(*FOREVER, linux=limit)
    equal(good.out("echo", "fine"), "fine\n", "exec in the next container")
    good.stop()
    equal(good.wait_exit().reason, "Error", "reason of one that did not lack memory")
    pod.remove()


@test(vm=True, timeout=120)
def d5_a_pod_ends_with_its_machine(t):
    pod = t.pods.run()
    c = pod.start(*FOREVER)
    os.kill(t.vmm_pids()[0], signal.SIGKILL)
    check(c.wait_exit(5).exit_code in (255, 137), "exit code %d" % c.status().exit_code)
    wait_until(lambda: pod.status().state == cri.NOT_READY, 10 * t.slow, "the pod is not ready")
    expect_error(lambda: pod.start(*FOREVER))
    pod.remove()
    wait_until(lambda: not shim_pids(), 10 * t.slow, "the shim has ended")


@test(timeout=120)
def d6_a_pod_ends_with_its_shim(t):
    config = t.pods.config()
    pod = t.pods.run(config)
    c = pod.start(*FOREVER)
    os.kill(t.shim_pid(pod.id), signal.SIGKILL)
    check(c.wait_exit(10).exit_code in (255, 137), "exit code %d" % c.status().exit_code)
    wait_until(lambda: pod.status().state == cri.NOT_READY, 10 * t.slow, "the pod is not ready")
    wait_until(lambda: not t.vmm_pids(), 5 * t.slow, "the machine has ended")
    pod.remove()
    again = t.pods.run(config)
    again.start(*FOREVER)
    again.remove()
    if not t.vm:  # its own socket and state
        t.command("find", "/run/containerd/s", "-type", "s", "-delete")


@test(timeout=120)
def d8_a_pod_outlives_containerd(t):
    pod = t.pods.run()
    c, ends = pod.start(*FOREVER), pod.start("sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; exit 9")
    before = {x.id: x.state for x in pod.containers()}
    t.node.restart()
    wait_until(lambda: is_served(t), 60 * t.slow, "containerd serves CRI again")
    equal({x.id: x.state for x in pod.containers()}, before, "the list of containers")
    equal(pod.status().state, cri.READY, "state of the pod")
    equal(c.exec("echo", "fine"), (0, "fine\n", ""), "exec afterwards")
    ends.out("touch", "/go")
    equal(ends.wait_exit().exit_code, 9, "exit code of one that ends afterwards")
    later = pod.start(*FOREVER)
    equal(boot_id(later), boot_id(c), "boot ids of a new container and an old one")
    pod.remove()


def is_served(t):
    try:
        return t.pods.client.call("Version", seconds=5)
    except cri.Error:
        return False


@test(timeout=90)
def d9_shared_memory_has_its_size(t):
    pod = t.pods.run()
    c = pod.start(*FOREVER)
    equal(c.out("df", "-m", "/dev/shm").splitlines()[-1].split()[1], "64", "MiB of /dev/shm")
    pod.remove()


@test(timeout=90)
def containers_share_names_and_memory(t):
    pod = t.pods.run(hostname="together")
    one, two = pod.start(*FOREVER), pod.start(*FOREVER)
    for c in one, two:
        equal(c.out("hostname"), "together\n", "host name")
        equal(c.out("cat", "/etc/hostname"), "together\n", "/etc/hostname")
    one.out("sh", "-c", "echo memory >/dev/shm/file")
    equal(two.out("cat", "/dev/shm/file"), "memory\n", "/dev/shm of the other")
    one.out("touch", "/dev/mqueue/queue")
    equal(two.out("ls", "/dev/mqueue"), "queue\n", "message queues of the other")
    one.out("touch", "/tmp/mine")
    equal(two.out("ls", "/tmp"), "", "files of the other")
    equal(processes_named(one, "sleep"), 1, "processes that are seen")
    one.remove()
    equal(two.out("cat", "/dev/shm/file"), "memory\n", "/dev/shm after the other's end")
    pod.remove()


@test(timeout=120)
def containers_share_processes_when_asked(t):
    pod = t.pods.run(linux={"security_context": {"namespace_options": {"pid": "POD"}}})
    one, two = pod.start("sleep", "1111111"), pod.start("sh", "-c", "sleep 2222222 & sleep 3333333")
    for c in one, two:
        ps = c.out("ps", "-o", "args")
        for wanted in "sleep 1000000000", "sleep 1111111", "sleep 2222222", "sleep 3333333":
            contains(ps, wanted, "processes")
    equal(one.out("cat", "/proc/1/cmdline"), "sleep\x001000000000\x00", "PID 1")
    two.stop()
    check("2222222" not in one.out("ps", "-o", "args"), "a process outlived its container")
    equal(two.wait_exit().exit_code, 137, "exit code")
    two.remove()
    again = pod.start("sleep", "4444444")
    contains(one.out("ps", "-o", "args"), "sleep 4444444", "processes with a new container")
    one.out("sh", "-c", "kill $(pidof sleep | tr ' ' '\\n' | sort -n | tail -1)")
    equal(again.wait_exit().exit_code, 143, "exit code of one that another has killed")
    again.remove()
    # one of its own pid namespace in the same pod
    alone = pod.start("sleep", "5555555", linux={"security_context": {"namespace_options": {
        "pid": "CONTAINER"}}})
    equal(processes_named(alone, "sleep"), 1, "processes that a container of its own sees")
    contains(one.out("ps", "-o", "args"), "sleep 1111111", "processes")
    pod.remove()


@test(timeout=120)
def a_container_is_restarted_in_its_pod(t):
    pod = t.pods.run()
    first = pod.start("sh", "-c", "exit 7", name="app")
    equal(first.wait_exit().exit_code, 7, "exit code")
    first.remove()  # now the pod has none
    boots = set()
    for attempt in range(1, 4):
        c = pod.start("sh", "-c", "echo attempt %d; exec sleep 1000000" % attempt, name="app",
                      attempt=attempt)
        boots.add(boot_id(c))
        check(c.exec("test", "-e", "/left")[0] != 0, "it has the files of the one before")
        c.out("touch", "/left")
        c.stop()
        equal(c.log(), b"attempt %d\n" % attempt, "log")
        c.remove()
    equal(len(boots), 1, "number of machines that it ran in")
    pod.remove()


@test(timeout=120)
def containers_may_go_in_any_order(t):
    pod = t.pods.run()
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        cs = [pod.start(*FOREVER) for _ in range(3)]
        for i in order[:2]:
            cs[i].stop()
        for i in order:
            cs[i].remove()
        equal(len(pod.containers()), 0, "number of containers")
    created, ended = pod.create(*FOREVER), pod.start("true")
    ended.wait_exit()
    created.remove()  # never started
    ended.remove()
    pod.start(*FOREVER)
    pod.start("true")
    pod.remove()  # with all that is in it


@test(timeout=120)
def a_command_that_is_missing_spoils_nothing(t):
    pod = t.pods.run()
    bad = pod.create("/no/such/command", name="app")
    contains(expect_error(bad.start), "/no/such/command", "the reason")
    status = bad.status()
    equal(status.state, cri.EXITED, "state")
    check(status.exit_code != 0, "the exit code is 0")
    bad.remove()
    good = pod.start(*FOREVER, name="app")
    contains(expect_error(lambda: good.exec("/no/such/command")), "/no/such/command", "the reason")
    equal(good.out("echo", "fine"), "fine\n", "exec after a failure")
    pod.remove()


@test(timeout=120)
def a_container_that_cannot_be_made_spoils_nothing(t):
    pod = t.pods.run()
    neighbour = pod.start(*FOREVER)
    source = os.path.join(t.dir, "source")
    os.mkdir(source)
    for path in "/etc/passwd/below", "/bin/busybox":  # below a file, and a directory onto one
        bad = pod.create(*FOREVER, name="app", mounts=[
            {"container_path": "/good", "host_path": source},
            {"container_path": path, "host_path": source}])
        contains(expect_error(bad.start), path, "the reason")
        bad.remove()
    good = pod.start(*FOREVER, name="app")
    for c in good, neighbour:
        equal(c.out("echo", "fine"), "fine\n", "exec after a failure")
    pod.remove()


@test(vm=True, timeout=120)
def a_pod_that_cannot_start_leaves_its_name(t):
    config = t.pods.config()
    with open(t.node.base_config, encoding="utf-8") as f:
        good = f.read()
    broken = t.config({"kernel": '"/no/such/kernel"'})
    for text, wanted in ((open(broken, encoding="utf-8").read(), "/no/such/kernel"),
                         (good + "\n[runtime\n", "test-handler.toml"), (None, "test-handler.toml")):
        if os.path.exists(t.node.test_config):
            os.unlink(t.node.test_config)
        if text is not None:
            with open(t.node.test_config, "w", encoding="utf-8") as f:
                f.write(text)
        contains(t.pods.refused(config, "kata-test"), wanted, "the reason")
        wait_until(lambda: not shim_pids(), 10 * t.slow, "the shim has ended")
        equal(len(t.pods.list()), 0, "number of pods")
    with open(t.node.test_config, "w", encoding="utf-8") as f:
        f.write(good)
    pod = t.pods.run(config, "kata-test")
    equal(pod.start(*FOREVER).out("echo", "fine"), "fine\n", "exec")
    pod.remove()


@test(vm=True, timeout=90)
def annotations_of_a_pod_reach_the_machine(t):
    pod = t.pods.run(annotations={"io.katacontainers.config.hypervisor.default_vcpus": "2"})
    equal(pod.start(*FOREVER).out("nproc"), "2\n", "processors")
    pod.remove()


@test(timeout=120)
def exit_codes_and_reasons_are_told(t):
    pod = t.pods.run()
    for code, reason in (0, "Completed"), (3, "Error"), (255, "Error"):
        c = pod.start("sh", "-c", "exit %d" % code)
        s = c.wait_exit()
        equal((s.exit_code, s.reason), (code, reason), "exit code and reason")
        # containerd takes the time of the start once it has returned, which a short job may precede
        check(s.created_at <= s.finished_at, "it ended before it was created")
        check(abs(s.finished_at / 1e9 - time.time()) < 300, "it ended at another time")
        c.remove()
    c = pod.start(*FOREVER)
    c.stop()
    s = c.wait_exit()
    equal((s.exit_code, s.reason), (137, "Error"), "one that is killed")
    pod.remove()
