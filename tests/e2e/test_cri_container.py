# SPDX-License-Identifier: Apache-2.0
"""What a container of a pod finds around itself: as its CRI configuration says, as with runc."""

import os
import re
import threading

from lib import cri
from lib.suite import check, contains, equal, test, wait_until

FOREVER = ("sleep", "1000000")


def security(**fields):
    return {"linux": {"security_context": fields}}


def status_line(c, key):
    """A line of /proc/self/status of a process in the container."""
    return re.search(r"(?m)^%s:\s*(.*)$" % key, c.out("cat", "/proc/self/status"))[1]


def own_status_line(c, key):
    """The same of the container's first process: an exec may differ."""
    return re.search(r"(?m)^%s:\s*(.*)$" % key, c.out("cat", "/proc/1/status"))[1]


def write(t, name, text):
    path = os.path.join(t.dir, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


@test(timeout=90)
def names_and_kernel_settings_come_from_the_pod(t):
    pod = t.pods.run(
        hostname="named", linux={"sysctls": {
            "kernel.shm_rmid_forced": "1", "kernel.msgmax": "12345",
            "net.ipv4.ip_unprivileged_port_start": "77"}},
        dns_config={"servers": ["192.0.2.1", "192.0.2.2"], "searches": ["a.example", "b.example"],
                    "options": ["ndots:5", "timeout:1"]})
    c = pod.start(*FOREVER)
    equal(c.out("cat", "/etc/resolv.conf"),
          "search a.example b.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n"
          "options ndots:5 timeout:1\n", "resolv.conf")
    equal(c.out("hostname"), "named\n", "hostname")
    contains(c.out("cat", "/etc/hosts"), "localhost", "/etc/hosts")
    for key, value in (("kernel/shm_rmid_forced", "1"), ("kernel/msgmax", "12345"),
                       ("net/ipv4/ip_unprivileged_port_start", "77")):
        equal(c.out("cat", "/proc/sys/" + key), value + "\n", key)
    pod.remove()


@test(timeout=90)
def environment_and_directory_are_the_containers(t):
    pod = t.pods.run()
    envs = [{"key": "PLAIN", "value": "value"}, {"key": "EMPTY", "value": ""},
            {"key": "ODD", "value": "a=b 'c' \"d\" é\n$PATH"}, {"key": "HOSTNAME", "value": "mine"}]
    c = pod.start("sh", "-c", "env; pwd; echo end; exec sleep 1000000", envs=envs,
                  working_dir="/home/user/new")
    wait_until(lambda: c.log().endswith(b"end\n"), 10 * t.slow, "the log is complete")
    text = c.log().decode()
    for e in envs:
        contains(text, "%s=%s\n" % (e["key"], e["value"]), "environment")
    contains(text, "PATH=/bin\n", "environment of the image")
    contains(text, "\n/home/user/new\n", "working directory")
    contains(c.out("env"), "PLAIN=value\n", "environment of an exec")
    equal(c.out("pwd"), "/home/user/new\n", "working directory of an exec")
    args = pod.start("echo", args=["with", "args"])
    args.wait_exit()
    equal(args.log(), b"with args\n", "command with args")
    pod.remove()


@test(timeout=90)
def files_of_the_host_are_mounted(t):
    write(t, "map/..data-1/key", "one")
    os.symlink("..data-1", os.path.join(t.dir, "map/..data"))
    os.symlink("..data/key", os.path.join(t.dir, "map/key"))
    single, shared = write(t, "single", "file"), os.path.join(t.dir, "shared")
    os.mkdir(shared)
    pod = t.pods.run()
    mounts = [
        {"container_path": "/map", "host_path": os.path.join(t.dir, "map"), "readonly": True},
        {"container_path": "/etc/single.conf", "host_path": single, "readonly": True},
        {"container_path": "/data/deep", "host_path": shared}]
    one, two = pod.start(*FOREVER, mounts=mounts), pod.start(*FOREVER, mounts=mounts)
    equal(one.out("cat", "/map/key", "/etc/single.conf"), "onefile", "what is mounted")
    for path in "/map/new", "/etc/single.conf":
        code, _, err = one.exec("sh", "-c", "echo x >" + path)
        check(code != 0, path + " can be written to")
        contains(err, "Read-only file system", "the reason")
    one.out("sh", "-c", "echo said >/data/deep/word")
    equal(two.out("cat", "/data/deep/word"), "said\n", "what the other container reads")
    with open(os.path.join(shared, "word"), encoding="utf-8") as f:
        equal(f.read(), "said\n", "what the host reads")
    # the host changes a ConfigMap: a new directory, and the link is exchanged
    write(t, "map/..data-2/key", "two")
    os.symlink("..data-2", os.path.join(t.dir, "map/..new"))
    os.rename(os.path.join(t.dir, "map/..new"), os.path.join(t.dir, "map/..data"))
    wait_until(lambda: one.out("cat", "/map/key") == "two", 10 * t.slow, "the change is seen")
    # the container that goes takes no mount of the other with it
    one.remove()
    equal(two.out("cat", "/map/key", "/etc/single.conf"), "twofile", "what is still mounted")
    pod.remove()
    equal(os.listdir(shared), ["word"], "the host's directory afterwards")


@test(timeout=90)
def the_termination_message_reaches_the_host(t):
    path = write(t, "termination-log", "")
    pod = t.pods.run()
    c = pod.start("sh", "-c", "echo 'disk full' >/dev/termination-log; exit 4", mounts=[
        {"container_path": "/dev/termination-log", "host_path": path}])
    equal(c.wait_exit().exit_code, 4, "exit code")
    with open(path, encoding="utf-8") as f:
        equal(f.read(), "disk full\n", "termination message")
    pod.remove()


@test(timeout=90)
def users_and_groups_are_set(t):
    pod = t.pods.run()
    c = pod.start(*FOREVER, **security(run_as_user={"value": 1000}, run_as_group={"value": 3000},
                                       supplemental_groups=[4000, 5000]))
    equal((c.out("id", "-u"), c.out("id", "-g")), ("1000\n", "3000\n"), "user and group")
    groups = set(c.out("id", "-G").split())
    check({"3000", "4000", "5000"} <= groups, "groups: %s" % groups)
    equal(own_status_line(c, "Uid").split()[0], "1000", "user of the first process")
    check({"4000", "5000"} <= set(own_status_line(c, "Groups").split()), "groups of the first")
    check(c.exec("touch", "/etc/file")[0] != 0, "a user writes to /etc")
    named = pod.start(*FOREVER, **security(run_as_username="user"))
    equal(named.out("id", "-un"), "user\n", "user by name")
    image = pod.start(*FOREVER, image="localhost/busybox:user")
    equal((image.out("id", "-u"), image.out("id", "-g")), ("1000\n", "2000\n"), "the image's user")
    pod.remove()


@test(timeout=90)
def privileges_are_given_and_taken(t):
    pod = t.pods.run()
    plain = pod.start(*FOREVER)
    few = pod.start(*FOREVER, **security(
        capabilities={"add_capabilities": ["SYS_TIME"], "drop_capabilities": ["CHOWN", "NET_RAW"]},
        no_new_privs=True))
    none = pod.start(*FOREVER, **security(capabilities={"drop_capabilities": ["ALL"]}))
    base = int(own_status_line(plain, "CapEff"), 16)
    chown, net_raw, sys_time = 1 << 0, 1 << 13, 1 << 25
    check(base & chown and base & net_raw and not base & sys_time, "usual ones: %x" % base)
    for name in "CapEff", "CapPrm", "CapBnd":
        equal(int(own_status_line(few, name), 16), base & ~chown & ~net_raw | sys_time, name)
        equal(int(own_status_line(none, name), 16), 0, name + " without any")
    equal(int(status_line(few, "CapEff"), 16), base & ~chown & ~net_raw | sys_time, "of an exec")
    check(few.exec("chown", "1000", "/tmp")[0] != 0, "chown works without its capability")
    equal(own_status_line(few, "NoNewPrivs"), "1", "no_new_privs")
    equal(status_line(few, "NoNewPrivs"), "1", "no_new_privs of an exec")
    equal(own_status_line(plain, "NoNewPrivs"), "0", "no_new_privs by default")
    pod.remove()


@test(timeout=90)
def system_calls_are_filtered_as_told(t):
    pod = t.pods.run()
    default = pod.start(*FOREVER, **security(seccomp={"profile_type": "RuntimeDefault"}))
    free = pod.start(*FOREVER, **security(seccomp={"profile_type": "Unconfined"}))
    equal(own_status_line(free, "Seccomp"), "0", "Seccomp when unconfined")
    # the shipped configuration leaves the filter to the machine's boundary, as the field does
    equal(own_status_line(default, "Seccomp"), "0" if t.vm else "2", "Seccomp by default")
    equal(default.out("echo", "fine"), "fine\n", "exec")
    pod.remove()


@test(vm=True, timeout=90)
def system_calls_are_filtered_in_the_guest_when_asked(t):
    with open(t.config({"disable_guest_seccomp": "false"}), encoding="utf-8") as f:
        text = f.read()
    with open(t.node.test_config, "w", encoding="utf-8") as f:
        f.write(text)
    pod = t.pods.run(handler="kata-test")
    default = pod.start(*FOREVER, **security(seccomp={"profile_type": "RuntimeDefault"}))
    free = pod.start(*FOREVER, **security(seccomp={"profile_type": "Unconfined"}))
    for c, mode in (default, "2"), (free, "0"):
        equal(own_status_line(c, "Seccomp"), mode, "Seccomp")
        equal(status_line(c, "Seccomp"), mode, "Seccomp of an exec")
    check(default.exec("unshare", "-U", "true")[0] != 0, "the filter lets unshare() pass")
    pod.remove()


@test(timeout=90)
def the_root_may_be_read_only(t):
    pod = t.pods.run()
    c = pod.start(*FOREVER, **security(readonly_rootfs=True))
    code, _, err = c.exec("touch", "/file")
    check(code != 0, "the root can be written to")
    contains(err, "Read-only file system", "the reason")
    c.out("sh", "-c", "echo x >/dev/shm/file; echo x >/dev/null")
    pod.remove()


@test(timeout=90)
def paths_are_masked(t):
    pod = t.pods.run()
    c = pod.start(*FOREVER, **security(masked_paths=["/proc/meminfo", "/etc/group", "/home", "/none"],
                                       readonly_paths=["/proc/sys", "/usr", "/none"]))
    equal(c.out("cat", "/proc/meminfo", "/etc/group"), "", "masked files")
    equal(c.out("ls", "/home"), "", "a masked directory")
    for path in "/proc/sys/kernel/hostname", "/usr/file":
        check(c.exec("sh", "-c", "echo x >" + path)[0] != 0, path + " can be written to")
    pod.remove()


@test(timeout=120)
def a_privileged_container_may_do_more(t):
    pod = t.pods.run(linux={"security_context": {"privileged": True}})
    c = pod.start(*FOREVER, **security(privileged=True))
    c.out("mount", "-t", "tmpfs", "none", "/tmp")
    c.out("sh", "-c", "cat /proc/sys/kernel/msgmax >/proc/sys/kernel/msgmax")
    with open("/proc/self/status", encoding="utf-8") as f:
        ours = re.search(r"(?m)^CapEff:\s*(.*)$", f.read())[1]
    # containerd gives what it has itself
    equal(own_status_line(c, "CapEff"), ours, "capabilities")
    pod.remove()


@test(timeout=120)
def limits_are_applied_and_changed(t):
    pod = t.pods.run()
    c = pod.start(*FOREVER, linux={"resources": {
        "memory_limit_in_bytes": 64 << 20, "cpu_period": 100000, "cpu_quota": 50000,
        "cpu_shares": 512}})
    if t.vm:
        equal(c.out("cat", "/sys/fs/cgroup/memory.max"), "%d\n" % (64 << 20), "memory.max")
        equal(c.out("cat", "/sys/fs/cgroup/cpu.max"), "50000 100000\n", "cpu.max")
    c.update(memory_limit_in_bytes=96 << 20, cpu_period=100000, cpu_quota=70000)
    if t.vm:
        equal(c.out("cat", "/sys/fs/cgroup/memory.max"), "%d\n" % (96 << 20), "memory.max")
        equal(c.out("cat", "/sys/fs/cgroup/cpu.max"), "70000 100000\n", "cpu.max")
    c.out("sh", "-c", "head -c 20000000 /dev/zero >/dev/shm/memory")
    check(c.stats().memory.usage_bytes.value > 20000000, "stats do not see 20 MB that are in use")
    pod.remove()


@test(timeout=180)
def the_log_holds_all_that_was_written(t):
    pod = t.pods.run()
    # the shim of runc loses the last of a lot now and then: it is given time
    many = pod.start("sh", "-c", "seq 1 20000; seq 1 5000 >&2; head -c 100000 /dev/zero | tr '\\0' x; "
                     "echo; echo end" + ("" if t.vm else "; sleep 2"), log_path="deep.log")
    many.wait_exit(120)
    numbers = b"".join(b"%d\n" % i for i in range(1, 20001))
    wait_until(lambda: b"end" in many.log(), 10 * t.slow, "the end is in the log")
    out = many.log()
    check(out.startswith(numbers), "lines were lost or changed")
    equal(out[len(numbers):], b"x" * 100000 + b"\nend\n", "a long line and the last")
    equal(many.log("stderr"), b"".join(b"%d\n" % i for i in range(1, 5001)), "stderr")
    for i in range(10):
        c = pod.start("sh", "-c", "echo last words %d; exit %d" % (i, i))
        equal(c.wait_exit().exit_code, i, "exit code")
        equal(c.log(), b"last words %d\n" % i, "log of a short job")
        c.remove()
    pod.remove()


@test(timeout=120)
def the_log_is_reopened(t):
    pod = t.pods.run()
    c = pod.start("sh", "-c", "while read x; do echo $x; done", stdin=True)
    a = c.attach(stdin=True)
    a.type("before\n")
    a.expect("before\n")
    wait_until(lambda: c.log() == b"before\n", 10 * t.slow, "the log is written")
    os.rename(c.log_path, c.log_path + ".1")
    t.pods.client.call("ReopenContainerLog", container_id=c.id)
    a.type("after\n")
    a.expect("after\n")
    a.close()
    wait_until(lambda: os.path.exists(c.log_path) and c.log() == b"after\n", 10 * t.slow,
               "the new log is written")
    with open(c.log_path + ".1", "rb") as f:
        contains(f.read(), b"before", "the old log")
    pod.remove()


@test(timeout=120)
def terminals_work_as_for_a_person(t):
    pod = t.pods.run()
    c = pod.start("sh", tty=True, stdin=True)
    a = c.attach(tty=True, stdin=True)
    a.resize(44, 122)
    a.type("until stty size | grep '44 122'; do sleep 0.1; done; tty\n")
    a.expect("\n44 122")
    a.expect("/dev/pts/0")
    a.type("exit 8\n")
    equal(c.wait_exit().exit_code, 8, "exit code of a shell")
    a.close()
    contains(c.log(), b"44 122", "log of a terminal")
    pod.remove()


@test(timeout=120)
def execs_run_beside_each_other(t):
    pod = t.pods.run()
    c = pod.start(*FOREVER)
    seen, failed = {}, []

    def one(i):
        try:
            seen[i] = c.exec("sh", "-c", "seq 1 500; echo %d >&2; exit %d" % (i, i))
        except Exception as e:
            failed.append(e)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(failed, [], "failures")
    out = "".join("%d\n" % n for n in range(1, 501))
    equal(seen, {i: (i, out, "%d\n" % i) for i in range(12)}, "what they said")
    # one that takes too long is ended, and the container is none the worse
    try:
        c.call("ExecSync", container_id=c.id, cmd=["sleep", "1000"], timeout=1)
        check(False, "a timeout was not noticed")
    except cri.Error as e:
        equal(e.code, "DEADLINE_EXCEEDED", "the code of a timeout")
    wait_until(lambda: "sleep 1000\n" not in c.out("ps", "-o", "args"), 10 * t.slow,
               "the process has ended")
    # a process that stays behind does not hold up the end of its exec
    equal(c.exec("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo started"), (0, "started\n", ""),
          "an exec that leaves a process behind")
    pod.remove()


@test(timeout=90)
def devices_are_there(t):
    pod = t.pods.run()
    c = pod.start(*FOREVER, devices=[
        {"container_path": "/dev/nothing", "host_path": "/dev/null", "permissions": "rw"},
        {"container_path": "/dev/nil/zero", "host_path": "/dev/zero", "permissions": "r"}])
    equal(c.out("stat", "-c", "%t:%T", "/dev/nothing", "/dev/nil/zero"), "1:3\n1:5\n", "numbers")
    c.out("sh", "-c", "echo x >/dev/nothing")
    equal(c.out("sh", "-c", "head -c 3 /dev/nil/zero | wc -c"), "3\n", "what is read")
    pod.remove()
