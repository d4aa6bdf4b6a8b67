# SPDX-License-Identifier: Apache-2.0
"""ctr run: one container from start to end, its streams, its surroundings."""

import hashlib
import os
import secrets
import subprocess
import time

from lib.node import USER_IMAGE
from lib.suite import check, contains, equal, test, wait_until

MIB = 1 << 20


@test
def c2_exit_code_and_streams_are_exact(t):
    r = t.run("sh", "-c", "echo out; echo err >&2; exit 42")
    equal((r.code, r.out, r.err), (42, "out\n", "err\n"), "code, stdout, stderr")


@test
def success_is_zero_and_silent(t):
    r = t.run("true")
    equal((r.code, r.out, r.err), (0, "", ""), "code, stdout, stderr")


@test
def output_without_a_final_newline_is_complete(t):
    r = t.run("printf", "no newline").ok()
    equal(r.out, "no newline", "stdout")


@test
def death_by_a_signal_is_128_and_its_number(t):
    r = t.run("sh", "-c", "sh -c 'kill -KILL $$'; echo $?; sleep 100 & kill -TERM $!; wait $!")
    equal((r.code, r.out), (143, "137\n"), "code, stdout")


@test(vm=True)
def the_kernel_is_the_guests(t):
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
        host = f.read()
    r = t.run("sh", "-c", "cat /proc/sys/kernel/random/boot_id; uname -s").ok()
    boot_id, system = r.out.splitlines()
    check(boot_id != host.strip(), "the container runs on the host's kernel")
    equal(system, "Linux", "uname -s")


@test
def c9_stdin_reaches_the_process_and_ends(t):
    # ctr itself forgets to close the stdin of a task that has not started yet: hence the wait
    process = t.background(*t.run_args(t.id(), "cat", options=["--rm"]), stdin=subprocess.PIPE)
    process.popen.stdin.write(b"hi\n")
    process.popen.stdin.flush()
    wait_until(lambda: process.lines() == ["hi"], 30 * t.slow, "cat answers")
    process.popen.stdin.close()
    r = process.result(10)
    equal((r.code, r.out), (0, "hi\n"), "code, stdout")


def pipe(t, producer, *cmd, timeout=60):
    """A shell's `producer | ctr run --rm IMAGE ID cmd...`, for more than fifos hold."""
    argv = t.node.ctr_argv(*t.run_args(t.id(), *cmd, options=["--rm"]))
    return t.command("bash", "-c", producer + ' | "$@"', "bash", *argv, timeout=timeout)


def random_file(t, size):
    """(path, MD5) of a file on the host."""
    path, digest = os.path.join(t.dir, "data"), hashlib.md5()
    with open(path, "wb") as f:
        while size > 0:
            block = secrets.token_bytes(min(size, MIB))
            size -= len(block)
            digest.update(block)
            f.write(block)
    return path, digest.hexdigest()


@test(timeout=180)
def c9_hundred_mib_out_arrive_unchanged(t):
    path, digest = random_file(t, 100 * MIB)
    r = t.run("cat", "/data", timeout=170,
              options=["--mount", "type=bind,src=%s,dst=/data,options=bind:ro" % path]).ok()
    equal(len(r.raw_out), 100 * MIB, "bytes")
    equal(hashlib.md5(r.raw_out).hexdigest(), digest, "checksum")


@test(timeout=180)
def hundred_mib_in_arrive_unchanged(t):
    path, digest = random_file(t, 100 * MIB)
    r = pipe(t, "(cat %s; sleep 2)" % path, "md5sum", timeout=170).ok()
    equal(r.out.split()[0], digest, "checksum")


@test(timeout=120)
def binary_data_goes_both_ways(t):
    data = bytes(range(256)) * 4096 + secrets.token_bytes(MIB + 1)
    path = os.path.join(t.dir, "data")
    with open(path, "wb") as f:
        f.write(data)
    r = pipe(t, "(cat %s; sleep 2)" % path, "cat", timeout=110)
    check(r.raw_out == data, "%d of %d bytes came back, or others" % (len(r.raw_out), len(data)))


@test(timeout=600)
def many_short_jobs_lose_no_output(t):
    for i in range(10 if t.quick else 50):
        r = t.run("sh", "-c", "echo job %d; echo to err %d >&2; exit %d" % (i, i, i))
        equal((r.code, r.out, r.err), (i, "job %d\n" % i, "to err %d\n" % i), "job %d" % i)


@test
def a_reader_that_goes_away_does_not_hang_the_container(t):
    argv = t.node.ctr_argv(*t.run_args(t.id(), "sh", "-c", "while echo y; do :; done",
                                       options=["--rm"]))
    cid = argv[-4]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               stdin=subprocess.DEVNULL)
    equal(process.stdout.read(4), b"y\ny\n", "the first output")
    process.stdout.close()
    process.kill()
    process.wait()
    t.remove(cid)


@test
def environment_of_ctr_and_image(t):
    r = t.run("env", options=["--env", "NAME=value with spaces", "--env", "EMPTY="]).ok()
    lines = r.out.splitlines()
    for wanted in ("NAME=value with spaces", "EMPTY=", "PATH=/bin"):
        check(wanted in lines, "env lacks %r: %s" % (wanted, lines))


@test
def a_large_environment(t):
    options = []
    for i in range(200):
        options += ["--env", "V%d=%s" % (i, chr(97 + i % 26) * 1000)]
    options += ["--env", "BIG=" + "x" * 100000]
    r = t.run("sh", "-c", 'echo ${#BIG} ${#V0} ${#V199} "$V27" | md5sum', options=options).ok()
    wanted = "100000 1000 1000 %s\n" % ("b" * 1000)
    equal(r.out.split()[0], hashlib.md5(wanted.encode()).hexdigest(), "sum of the values")


@test
def arguments_are_passed_as_they_are(t):
    args = ["a b", "", "'quoted'", '"', "$HOME", "*", "\\", "ünï", "line\nbreak", "-x"]
    r = t.run("printf", "<%s>", *args).ok()
    equal(r.out, "".join("<%s>" % a for a in args), "stdout")


@test
def a_user_that_is_not_root(t):
    r = t.run("sh", "-c", "id -u; id -g; touch /root/x 2>/dev/null || echo denied",
              image=USER_IMAGE).ok()
    equal(r.out, "1000\n2000\ndenied\n", "stdout")
    r = t.run("sh", "-c", "grep ^Cap[EP] /proc/self/status; echo x >/home/x || ls -ld /tmp",
              image=USER_IMAGE).ok()
    caps = dict(line.split() for line in r.out.splitlines() if line.startswith("Cap"))
    equal((caps["CapEff:"], caps["CapPrm:"]), ("0" * 16, "0" * 16), "capabilities")
    contains(r.err, "Permission denied", "stderr")


@test
def a_rootfs_that_is_read_only(t):
    r = t.run("sh", "-c", "touch /x; mkdir /bin/x; echo ok >/dev/shm/x && cat /dev/shm/x",
              options=["--read-only"])
    contains(r.err, "/x: Read-only file system", "stderr")
    contains(r.err, "'/bin/x': Read-only file system", "stderr")
    equal((r.code, r.out), (0, "ok\n"), "code, stdout")


@test
def the_rootfs_is_writable_and_private(t):
    first = t.start("sleep", "1000")
    t.exec(first, "sh", "-c", "echo secret >/etc/new; rm /etc/group; mkdir -p /a/b/c").ok()
    r = t.exec(first, "sh", "-c", "cat /etc/new; ls /etc; ls -d /a/b/c").ok()
    equal(r.out, "secret\nnew\npasswd\n/a/b/c\n", "stdout of the first")
    r = t.run("sh", "-c", "cat /etc/new; ls /etc")
    contains(r.err, "/etc/new", "stderr of the second")
    equal(r.out, "group\npasswd\n", "stdout of the second")
    t.remove(first)


@test
def the_working_directory(t):
    r = t.run("pwd", options=["--cwd", "/home/user"]).ok()
    equal(r.out, "/home/user\n", "stdout")


@test
def a_working_directory_that_is_missing_is_made(t):
    r = t.run("pwd", options=["--cwd", "/not/yet"]).ok()
    equal(r.out, "/not/yet\n", "stdout")


@test
def a_memory_limit_is_set(t):
    mount = "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro:nosuid:noexec:nodev"
    r = t.run("sh", "-c",
              "cat /sys/fs/cgroup/memory.max 2>/dev/null || "
              "cat /sys/fs/cgroup/memory/memory.limit_in_bytes",
              options=["--memory-limit", str(96 * MIB), "--mount", mount]).ok()
    equal(r.out, "%d\n" % (96 * MIB), "the limit")


@test
def mounts_of_files_and_directories(t):
    source = os.path.join(t.dir, "shared")
    os.makedirs(source)
    for name, text in (("a", "from the host\n"), ("b", "read only\n")):
        with open(os.path.join(source, name), "w", encoding="ascii") as f:
            f.write(text)
    r = t.run("sh", "-c", "cat /data/a /file; echo back >/data/new; echo no >/file; mount",
              options=["--mount", "type=bind,src=%s,dst=/data,options=rbind:rw" % source,
                       "--mount", "type=bind,src=%s/b,dst=/file,options=bind:ro" % source])
    check(r.out.startswith("from the host\nread only\n"), "stdout: " + r.out)
    contains(r.err, "Read-only file system", "stderr")
    contains(r.out, " /data ", "mounts")
    with open(os.path.join(source, "new"), encoding="ascii") as f:
        equal(f.read(), "back\n", "the file that the container wrote")


@test
def the_usual_mounts_and_devices(t):
    r = t.run("sh", "-c", "for d in null zero full random urandom tty; do "
              "[ -c /dev/$d ] || echo no $d; done; echo x >/dev/null; head -c 4 /dev/zero | wc -c; "
              "[ -e /dev/ptmx ] && [ -d /dev/pts ] && [ -d /dev/shm ] && [ -L /dev/stdin ] && "
              "grep -c ^processor /proc/cpuinfo >/dev/null && echo fine").ok()
    equal(r.out, "4\nfine\n", "stdout")


@test
def processes_are_numbered_from_one(t):
    r = t.run("sh", "-c", "echo $$; ls -d /proc/[0-9]* | wc -l").ok()
    first, count = r.out.split()
    equal(first, "1", "the pid of the command")
    check(int(count) <= 4, "%s processes are visible" % count)


@test
def orphans_in_the_container_are_reaped(t):
    cid = t.start("sh", "-c", "while :; do sleep 0.1; wait; done")
    t.exec(cid, "sh", "-c", "(sleep 0.2 &) ; (sleep 0.2 &)").ok()
    time.sleep(0.6)
    r = t.exec(cid, "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z '")
    equal(r.out, "0\n", "zombies")
    t.remove(cid)


@test(timeout=90)
def capabilities_are_those_of_the_spec(t):
    r = t.run("grep", "^Cap", "/proc/self/status", options=["--cap-drop", "CAP_NET_RAW"]).ok()
    caps = dict(line.split() for line in r.out.splitlines())
    equal(caps["CapEff:"], "00000000a80405fb", "effective")
    equal(caps["CapBnd:"], "00000000a80405fb", "bounding")
    r = t.run("grep", "NoNewPrivs", "/proc/self/status").ok()
    equal(r.out.split(), ["NoNewPrivs:", "1"], "no_new_privs")


@test
def the_default_seccomp_profile(t):
    config = t.config({"disable_guest_seccomp": "false"}) if t.vm else None
    r = t.run("sh", "-c", "grep ^Seccomp: /proc/self/status", options=["--seccomp"],
              config=config).ok()
    equal(r.out.split()[:2], ["Seccomp:", "2"], "the mode")
    r = t.run("sh", "-c", "grep ^Seccomp: /proc/self/status").ok()
    equal(r.out.split()[:2], ["Seccomp:", "0"], "the mode without a profile")


@test(timeout=90)
def a_terminal_has_the_size_of_ctrs(t):
    cid = t.id()
    term = t.terminal(*t.run_args(cid, "sh", options=["--rm", "-t"]), rows=33, columns=101)
    term.expect(r"# ", 60)
    term.type("stty size\r")
    term.expect(r"33 101\r+\n", 10)
    term.resize(40, 120)
    time.sleep(0.5)
    term.type("stty size\r")
    term.expect(r"40 120\r+\n", 10)
    term.type("tty; exit 7\r")
    term.expect(r"/dev/(pts/\d+|console)\r+\n", 10)
    equal(term.end(), 7, "code")


@test
def two_containers_at_once(t):
    one, two = t.start("sleep", "1000"), t.start("sleep", "1000")
    for cid in (one, two):
        r = t.exec(cid, "sh", "-c", "echo %s >/me; cat /me" % cid).ok()
        equal(r.out, cid + "\n", "stdout")
    for cid in (one, two):
        equal(t.exec(cid, "cat", "/me").ok().out, cid + "\n", "the file of each")
    t.remove(one)
    equal(t.exec(two, "cat", "/me").ok().out, two + "\n", "the file of the one that is left")
    t.remove(two)
