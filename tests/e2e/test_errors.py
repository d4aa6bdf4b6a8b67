# SPDX-License-Identifier: Apache-2.0
"""What cannot work fails soon, says why in ctr's own output, and leaves nothing."""

import json
import os

from lib.node import IMAGE
from lib.suite import check, contains, test

# without the time in which a virtual machine boots in software
SOON = 5
BOOT = 15


def refused(t, result, *parts, within=SOON):
    """@result failed in time, with a sentence that has all @parts; returns the sentence."""
    check(result.code != 0, "it worked: " + result.out)
    for part in parts:
        contains(result.err, part, "stderr")
    check(result.seconds < within * t.slow, "it took %.1f s" % result.seconds)
    lines = [line for line in result.err.splitlines() if line.strip()]
    check(len(lines) <= 2, "more than a sentence: %r" % result.err)
    for word in ("backtrace", "panicked", "stack", "0x"):
        check(word not in result.err, "%r is not for people: %s" % (word, result.err))
    return result.err


@test
def a_command_that_the_image_lacks(t):
    refused(t, t.run("no-such-command", "x"), "no-such-command", "not found", within=BOOT)


@test
def a_command_that_is_no_program(t):
    refused(t, t.run("/etc/passwd"), "/etc/passwd", "ermission denied", within=BOOT)


@test
def a_working_directory_that_is_a_file(t):
    refused(t, t.run("true", options=["--cwd", "/etc/passwd"]), "/etc/passwd", within=BOOT)


@test
def a_mount_of_nothing(t):
    missing = os.path.join(t.dir, "missing")
    refused(t, t.run("true", options=["--mount", "type=bind,src=%s,dst=/x,options=rbind:ro"
                                      % missing]), missing, within=BOOT)


def run_with_spec(t, change):
    """ctr run with a spec of our own, made from ctr's own by @change(dict)."""
    cid = t.id()
    t.ctr("container", "create", "--runtime", t.runtime, "--", IMAGE, cid, "true").ok()
    info = json.loads(t.ctr("container", "info", cid).ok().out)
    t.ctr("container", "rm", cid).ok()
    spec = info["Spec"]
    spec["root"]["path"] = rootfs(t)
    change(spec)
    path = os.path.join(t.dir, "spec.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(spec, f)
    result = t.ctr("run", "--runtime", t.runtime, "--rm", "--config", path, t.id())
    return result


def rootfs(t):
    path = os.path.join(t.dir, "rootfs")
    os.makedirs(path + "/bin", exist_ok=True)
    for name in ("proc", "sys", "dev", "run", "tmp", "etc"):
        os.makedirs(os.path.join(path, name), exist_ok=True)
    t.command("cp", "/bin/busybox", path + "/bin/true").ok()
    return path


@test
def a_spec_of_our_own_works(t):
    result = run_with_spec(t, lambda spec: None)
    check(result.code == 0, "stderr: " + result.err)


@test
def a_spec_without_a_process(t):
    refused(t, run_with_spec(t, lambda spec: spec.pop("process")), "process", within=BOOT)


@test
def a_spec_without_arguments(t):
    refused(t, run_with_spec(t, lambda spec: spec["process"].update(args=[])), "args", within=BOOT)


@test
def a_spec_with_an_unknown_namespace(t):
    refused(t, run_with_spec(t, lambda spec: spec["linux"]["namespaces"].append(
        {"type": "no-such-namespace"})), "no-such-namespace", within=BOOT)


@test
def a_spec_with_an_unknown_signal_of_rlimit(t):
    refused(t, run_with_spec(t, lambda spec: spec["process"].update(
        rlimits=[{"type": "RLIMIT_NONSENSE", "hard": 1, "soft": 1}])), "RLIMIT_NONSENSE",
        within=BOOT)


# ---- the configuration ------------------------------------------------------------------------


@test(vm=True)
def a_kernel_that_is_missing(t):
    config = t.config({"kernel": '"/no/such/vmlinux"'})
    refused(t, t.run("true", config=config), "/no/such/vmlinux", "kernel")


@test(vm=True)
def a_kernel_that_is_none(t):
    path = os.path.join(t.dir, "vmlinux")
    with open(path, "w", encoding="ascii") as f:
        f.write("this is no kernel\n")
    refused(t, t.run("true", config=t.config({"kernel": json.dumps(path)})), path, within=BOOT)


@test(vm=True)
def an_initrd_that_is_missing(t):
    config = t.config({"initrd": '"/no/such/initrd"'})
    refused(t, t.run("true", config=config), "/no/such/initrd")


@test(vm=True)
def a_qemu_that_is_missing(t):
    config = t.config({"path": '"/no/such/qemu"', "valid_hypervisor_paths": '["/no/such/qemu"]'})
    refused(t, t.run("true", config=config), "/no/such/qemu")


@test(vm=True)
def a_qemu_that_ends_at_once(t):
    config = t.config({"path": '"/bin/false"', "valid_hypervisor_paths": '["/bin/false"]'})
    refused(t, t.run("true", config=config), "/bin/false")


@test(vm=True)
def a_virtiofsd_that_is_missing(t):
    config = t.config({"virtio_fs_daemon": '"/no/such/virtiofsd"',
                       "valid_virtio_fs_daemon_paths": '["/no/such/virtiofsd"]'})
    refused(t, t.run("true", config=config), "/no/such/virtiofsd")


@test(vm=True)
def a_configuration_that_is_missing(t):
    refused(t, t.run("true", config="/no/such/configuration.toml"), "/no/such/configuration.toml")


@test(vm=True)
def a_configuration_with_a_syntax_error(t):
    path = os.path.join(t.dir, "bad.toml")
    with open(path, "w", encoding="ascii") as f:
        f.write("[hypervisor.qemu]\npath = \"/usr/bin/qemu-system-x86_64\"\nkernel = = 1\n")
    refused(t, t.run("true", config=path), path + ":3:10")


@test(vm=True)
def a_value_of_the_wrong_type(t):
    config = t.config({"default_memory": '"many"'})
    refused(t, t.run("true", config=config), "default_memory")


@test(vm=True)
def an_accelerator_that_does_not_exist(t):
    config = t.config({"accelerator": '"warp"'})
    refused(t, t.run("true", config=config), "accelerator", "warp")


@test(vm=True)
def more_memory_than_there_is(t):
    config = t.config({"default_memory": "67108864"})  # 64 TiB
    refused(t, t.run("true", config=config), "memory")


@test(vm=True)
def less_memory_than_a_guest_needs(t):
    config = t.config({"default_memory": "1"})
    refused(t, t.run("true", config=config), "default_memory")


@test(vm=True)
def a_guest_without_an_agent(t):
    """The kernel boots and stops: no agent ever answers. The guest's console tells why."""
    path = os.path.join(t.dir, "empty.img")
    t.command("sh", "-c", "cd %s && mkdir -p e && cd e && echo . | cpio -o -H newc --quiet >%s"
              % (t.dir, path)).ok()
    result = t.run("true", config=t.config({"initrd": json.dumps(path)}), timeout=50)
    check(result.code != 0, "it worked")
    check(result.seconds < 30 * t.slow, "it took %.1f s" % result.seconds)
    contains(result.err, "panic", "stderr, which should have the guest's last words")
