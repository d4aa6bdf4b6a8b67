# SPDX-License-Identifier: Apache-2.0
"""What the configuration says is what the machine is."""

import os

from lib.suite import check, contains, equal, test


def guest_memory_mib(t, config=None, options=()):
    r = t.run("grep", "MemTotal", "/proc/meminfo", config=config, options=options).ok()
    return int(r.out.split()[1]) // 1024


def near(got, wanted, what):
    # the guest's kernel keeps some for itself
    check(0.75 * wanted <= got <= wanted, "%s: %d MiB, wanted about %d" % (what, got, wanted))


@test(vm=True)
def the_memory_is_as_configured(t):
    near(guest_memory_mib(t, t.config({"default_memory": "777"})), 777, "MemTotal")


@test(vm=True)
def the_number_of_cpus_is_as_configured(t):
    r = t.run("nproc", config=t.config({"default_vcpus": "2"})).ok()
    equal(r.out, "2\n", "nproc")


@test(vm=True)
def drop_ins_override_the_file(t):
    config = t.config({"default_memory": "300"})
    os.makedirs(t.dir + "/config.d")
    for name, size in (("10-a.toml", 400), ("50-b.toml", 500), ("60-c.toml~", 600)):
        with open(os.path.join(t.dir, "config.d", name), "w", encoding="ascii") as f:
            f.write("[hypervisor.qemu]\ndefault_memory = %d\n" % size)
    near(guest_memory_mib(t, config), 500, "MemTotal")


@test(vm=True)
def an_annotation_that_is_enabled_counts(t):
    config = t.config({"enable_annotations": '["default_memory"]'})
    option = ["--annotation", "io.katacontainers.config.hypervisor.default_memory=600"]
    near(guest_memory_mib(t, config, option), 600, "MemTotal")


@test(vm=True)
def an_annotation_that_is_not_enabled_does_not_count(t):
    config = t.config({"enable_annotations": "[]", "default_memory": "320"})
    option = ["--annotation", "io.katacontainers.config.hypervisor.default_memory=600"]
    near(guest_memory_mib(t, config, option), 320, "MemTotal")


@test(vm=True)
def an_annotation_cannot_name_any_program(t):
    config = t.config({"enable_annotations": '["path"]'})
    r = t.run("true", config=config, options=[
        "--annotation", "io.katacontainers.config.hypervisor.path=/bin/false"])
    check(r.code != 0, "it worked")
    contains(r.err, "/bin/false", "stderr")


@test(vm=True)
def an_unknown_key_is_a_warning(t):
    path = t.config({})
    with open(path, encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace("[hypervisor.qemu]", "[hypervisor.qemu]\ndefault_vcpu = 1", 1))
    offset = t.node.log_size()
    t.run("true", config=path).ok()
    contains(t.node.log_from(offset), "default_vcpus", "the log's hint")


@test(vm=True)
def software_emulation_can_be_demanded(t):
    equal(t.run("echo", "fine", config=t.config({"accelerator": '"tcg"'})).ok().out, "fine\n",
          "stdout")


@test(vm=True)
def kernel_parameters_are_passed_on(t):
    r = t.run("cat", "/proc/cmdline", config=t.config({"kernel_params": '"e2e.test=1"'})).ok()
    contains(r.out, "e2e.test=1", "/proc/cmdline")
