# SPDX-License-Identifier: Apache-2.0
"""Control groups in the guest, of both versions: limits, updates, statistics, the lack of memory."""

import json

from lib.suite import check, equal, test
from test_crash import FOREVER
from test_watch import ends_out_of_memory

MEBIBYTE = 1 << 20
MOUNT = "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro:nosuid:noexec:nodev"


def version_1(t):
    """Without the kernel's parameters for version 2, which the default configuration has."""
    return t.config({"kernel_params": '""'})


def metrics(t, cid):
    """Of whichever version the host has: usage, inactive file and limit of the memory."""
    memory = json.loads(t.ctr("task", "metrics", "--format", "json", cid).ok().out)["memory"]
    if isinstance(memory.get("usage"), dict):
        return memory["usage"]["usage"], memory.get("total_inactive_file", 0), memory["usage"]["limit"]
    return memory["usage"], memory.get("inactive_file", 0), memory["usage_limit"]


@test(vm=True, timeout=180)
def a_guest_with_version_1_limits_its_containers(t):
    script = ("cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/cgroup.procs "
              "/sys/fs/cgroup/cpuset/cpuset.effective_cpus; "
              "grep -c cpuset_v2_mode /proc/mounts; "
              "mknod /dev/disk b 254 0 && head -c 1 /dev/disk")
    r = t.run("sh", "-c", script, config=version_1(t),
              options=["--memory-limit", str(96 * MEBIBYTE), "--mount", MOUNT])
    limit, *pids, cpus, follows = r.out.splitlines()
    equal(limit, str(96 * MEBIBYTE), "the limit")
    equal(pids[0], "1", "the first process in its own group")
    check(cpus[0] == "0", "it has no processor: " + r.out)
    equal(follows, "1", "mounts of cpuset that follow what the machine gets")
    check("not permitted" in r.err, "a disk of the guest's was opened: " + r.err)


@test(vm=True, timeout=180)
def a_guest_with_version_1_tells_of_a_lack_of_memory(t):
    with t.events() as seen:
        cid = t.start("sh", "-c", "tail /dev/zero; exit 5", config=version_1(t),
                      options=["--memory-limit", str(32 * MEBIBYTE)])
        ends_out_of_memory(t, seen, cid, 5)


@test(vm=True, timeout=180)
def a_guest_with_version_1_counts_and_updates(t):
    cid = t.start(*FOREVER, config=version_1(t), options=["--memory-limit", str(96 * MEBIBYTE)])
    t.exec(cid, "dd", "if=/dev/zero", "of=/dev/shm/file", "bs=1M", "count=8")
    usage, inactive, limit = metrics(t, cid)
    equal(limit, 96 * MEBIBYTE, "the limit")
    check(usage > inactive >= 0 and usage - inactive < 96 * MEBIBYTE, "the working set")
    t.ctr("task", "pause", cid).ok()
    t.ctr("task", "resume", cid).ok()
    t.exec(cid, "true")
    t.remove(cid)


@test(vm=True, timeout=120)
def the_working_set_is_what_cannot_be_had_back(t):
    """What the kubelet evicts by: the usage without files that nobody used of late."""
    pod = t.pods.run()
    c = pod.start(*FOREVER)
    c.out("sh", "-c", "dd if=/dev/zero of=/file bs=1M count=24 && cat /file >/dev/null")
    c.out("sh", "-c", "dd if=/dev/zero of=/dev/shm/file bs=1M count=8")
    counted = c.out("sh", "-c", "cd /sys/fs/cgroup; cat memory.current; "
                    "sed -n 's/^inactive_file //p' memory.stat").split()
    usage, inactive = (int(n) for n in counted)
    check(inactive > 16 * MEBIBYTE, "the file is not in the page cache: " + str(counted))
    told = c.stats().memory.working_set_bytes.value
    check(abs(told - (usage - inactive)) < 2 * MEBIBYTE,
          "%d B are told, the group has %d - %d" % (told, usage, inactive))
    check(told > 8 * MEBIBYTE, "shared memory is not part of it: %d B" % told)
    pod.remove()
