# SPDX-License-Identifier: Apache-2.0
"""Programs that the spec has run at moments of a container's life."""

import json
import os
import re
import shutil

from lib.suite import check, contains, equal, test
from test_errors import run_with_spec

RUNTIME_HOOKS = ("prestart", "createRuntime", "createContainer")


def script(t, name, text):
    path = os.path.join(t.dir, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


def with_hooks(t, **hooks):
    """A container's run with one hook for each name."""
    def change(spec):
        spec["hooks"] = {name: [hook] for name, hook in hooks.items()}
    return run_with_spec(t, change)


def logging_hook(t, name, log):
    text = "cat >%s/%s.json; echo %s >>%s\n" % (t.dir, name, name, log)
    return {"path": script(t, name, text), "args": [name], "env": ["PATH=/bin:/usr/bin"]}


@test
def d10_hooks_run_in_order_and_get_the_state(t):
    log = os.path.join(t.dir, "log")
    names = RUNTIME_HOOKS + ("poststart", "poststop")
    with_hooks(t, **{name: logging_hook(t, name, log) for name in names}).ok()
    with open(log, encoding="utf-8") as f:
        equal(f.read().split(), list(names), "order")
    statuses = {}
    for name in names:
        with open(os.path.join(t.dir, name + ".json"), encoding="utf-8") as f:
            state = json.load(f)
        statuses[name] = state["status"]
        check(state["bundle"].startswith("/") and state["id"], "the state: %s" % state)
        if name != "poststop":
            check(state["pid"] >= 1, "no pid in the state: %s" % state)
    equal(statuses["poststart"], "running", "status at poststart")
    equal(statuses["poststop"], "stopped", "status at poststop")


@test(timeout=120)
def d10_a_hook_that_fails_fails_the_container(t):
    hook = {"path": script(t, "hook", "echo 'no such device' >&2; exit 3\n"),
            "env": ["PATH=/bin:/usr/bin"]}
    log = os.path.join(t.dir, "log")
    for name in RUNTIME_HOOKS:
        r = with_hooks(t, **{name: hook, "poststop": logging_hook(t, "poststop", log)})
        check(r.code != 0, "a failing %s hook was ignored" % name)
        if t.vm:
            contains(r.err, "%s hook %s" % (name, hook["path"]), "stderr")
            contains(r.err, "exit code 3: no such device", "stderr")
    if t.vm:
        with open(log, encoding="utf-8") as f:
            equal(f.read().split(), ["poststop"] * 3, "what was run afterwards")


@test
def d10_a_hook_that_takes_too_long_fails_the_container(t):
    hook = {"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}
    r = with_hooks(t, createRuntime=hook)
    check(r.code != 0, "a hook that hangs was ignored")
    if t.vm:
        contains(r.err, "createRuntime hook /bin/sleep did not end within 1 s", "stderr")


@test
def d10_a_hook_in_the_container_may_fail_its_start(t):
    r = with_hooks(t, startContainer={"path": "/bin/true"})
    equal(r.code, 0, "code with a startContainer hook (%s)" % r.err)
    r = with_hooks(t, startContainer={"path": "/bin/missing"})
    check(r.code != 0, "a missing startContainer hook was ignored")
    if t.vm:
        contains(r.err, "startContainer", "stderr")
        contains(r.err, "/bin/missing", "stderr")


@test(vm=True)
def d10_a_relative_path_is_refused(t):
    r = with_hooks(t, prestart={"path": "bin/true"})
    check(r.code != 0, "a relative path was taken")
    contains(r.err, "bin/true", "stderr")
    contains(r.err, "absolute", "stderr")


def image_with(t, files):
    """The run's initramfs with files added ({path: text}), which can be run; its path."""
    top = os.path.join(t.dir, "more")
    for name, text in files.items():
        path = top + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o755)
    with open(t.config({}), encoding="utf-8") as f:
        initrd = re.search(r'(?m)^initrd\s*=\s*"(.*)"', f.read()).group(1)
    path = os.path.join(t.dir, "initrd")
    # the kernel unpacks one archive after the other; a plain one must be the first
    t.command("sh", "-c", "cd %s && find . | cpio -o -H newc --quiet >%s && cat %s >>%s"
              % (top, path, initrd, path)).ok()
    return path


def image_with_hook(t, text):
    """A configuration with a guest that has a shell and a prestart hook."""
    os.makedirs(os.path.join(t.dir, "more/hooks/bin"))
    shutil.copy("/bin/busybox", os.path.join(t.dir, "more/hooks/bin/busybox"))
    path = image_with(t, {"/hooks/prestart/hook": "#!/hooks/bin/busybox sh\n" + text})
    return t.config({"initrd": json.dumps(path), "guest_hook_path": '"/hooks"'})


@test(vm=True, timeout=120)
def hooks_of_the_guests_image_run_for_containers(t):
    config = image_with_hook(t, 'bundle=$(/hooks/bin/busybox sed \'s/.*"bundle":"//; s/".*//\')\n'
                                'echo "$0 $1" >"$bundle/rootfs/hooked"\n')
    r = t.run("cat", "/hooked", config=config).ok()
    equal(r.out.strip(), "/hooks/prestart/hook prestart", "what the hook wrote")


@test(vm=True, timeout=120)
def a_hook_of_the_guests_image_may_refuse_containers(t):
    config = image_with_hook(t, "echo not in this guest >&2\nexit 7\n")
    r = t.run("true", config=config)
    check(r.code != 0, "a hook that refuses was ignored")
    contains(r.err, "prestart hook /hooks/prestart/hook failed with exit code 7: not in this guest",
             "stderr")
