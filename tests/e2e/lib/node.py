# SPDX-License-Identifier: Apache-2.0
"""One containerd of our own, and what tests do with it.

Everything runs within the namespaces of scripts/box: the containerd is private by its /run, its
root directory and its containerd namespace, and several runs can go on side by side.
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

from lib import cri, residue
from lib.suite import Failed, check, short, wait_until

IMAGE = "localhost/busybox:latest"
USER_IMAGE = "localhost/busybox:user"  # its processes are 1000:2000
RUN_DIR = "/run/e2e"
SOCKET = RUN_DIR + "/c.sock"
STATE = RUN_DIR + "/state"
RUNC = "io.containerd.runc.v2"

CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[debug]
  level = "debug"
[plugins."io.containerd.internal.v1.opt"]
  path = "{run}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{work}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
# one handler for the tests' configuration, and one for a file that a test writes itself
CRI_RUNTIME = """\
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{handler}]
    runtime_type = "{runtime}"
    pod_annotations = ["io.katacontainers.*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{handler}.options]
      ConfigPath = "{config}"
"""
CNI_BIN = "/usr/lib/cni"  # Debian's containernetworking-plugins
CNI_CONFIG = """\
{{"cniVersion": "0.4.0", "name": "{name}", "plugins": [
  {{"type": "ptp", "ipam": {{"type": "host-local", "subnet": "10.88.0.0/24",
    "routes": [{{"dst": "0.0.0.0/0"}}], "dataDir": "{work}/cni-data"}}}}]}}
"""
# what containerd says about things that no test is about
LOG_NOISE = re.compile(r"snapshot|garbage|loading plugin|registering ttrpc|topic=/(images|content)|"
                       r"\(\*service\)\.Write|remove(d)? content|content cleanup|image\" name=|"
                       r"Image(Create|Update) event|/images/(create|update)")


def program(pid):
    """The name of the program that a process runs, or ""."""
    try:
        return os.path.basename(os.readlink("/proc/%d/exe" % pid))
    except OSError:
        return ""


def shim_pids():
    return [pid for pid in residue.processes() if program(pid).startswith("containerd-shim-")]


# newer ones warn of what the test's configuration or ctr's own use is about to lose
os.environ.setdefault("CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS", "1")


class Result:
    def __init__(self, argv, code, out, err, seconds):
        self.argv, self.code, self.seconds = argv, code, seconds
        self.raw_out, self.raw_err = out, err

    @property
    def out(self):
        return self.raw_out.decode("utf-8", "replace")

    @property
    def err(self):
        return self.raw_err.decode("utf-8", "replace")

    def ok(self):
        """Demands success, and returns itself."""
        check(self.code == 0, "%s ended with %s: %s" % (" ".join(self.argv), self.code,
                                                         short(self.out + self.err)))
        return self

    def __str__(self):
        return "$ %s\n(code %s, %.2f s)\n%s%s" % (
            " ".join(map(short, self.argv)), self.code, self.seconds,
            short(self.out, 2000), short(self.err, 2000))


class Process:
    """A command that runs on while the test goes on."""

    def __init__(self, bench, argv, stdin=subprocess.DEVNULL):
        self.bench, self.argv, self.start = bench, argv, time.monotonic()
        self.popen = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, start_new_session=True)
        self._data = {"out": b"", "err": b""}
        self._threads = [threading.Thread(target=self._pump, args=a, daemon=True)
                         for a in (("out", self.popen.stdout), ("err", self.popen.stderr))]
        for thread in self._threads:
            thread.start()

    def _pump(self, name, stream):
        while data := os.read(stream.fileno(), 1 << 16):
            self._data[name] += data

    def lines(self):
        return self._data["out"].decode("utf-8", "replace").splitlines()

    def result(self, timeout=60):
        """Waits for its end, and of its output."""
        timeout *= self.bench.slow
        try:
            self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise Failed("%s: did not end within %g s; until then: %s" % (
                " ".join(self.argv), timeout,
                short(repr(self._data["out"] + self._data["err"])))) from None
        for thread in self._threads:
            thread.join(10)
        result = Result(self.argv, self.popen.returncode, self._data["out"], self._data["err"],
                        time.monotonic() - self.start)
        self.bench.note(str(result))
        return result

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class Terminal:
    """A command on a pseudo terminal of its own, like one typed by a person."""

    def __init__(self, bench, argv, rows=24, columns=80):
        self.bench, self.argv, self.text = bench, argv, ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            time.sleep(0.05)  # until the parent has set the size
            try:
                os.execvp(argv[0], argv)
            finally:
                os._exit(127)
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def _read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:  # EIO: the other side is closed
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def expect(self, pattern, seconds=30):
        """Reads on until @pattern appears after what was expected before; returns the match."""
        deadline = time.monotonic() + seconds * self.bench.slow
        while True:
            match = re.search(pattern, self.text)
            if match:
                self.text = self.text[match.end():]
                return match
            if time.monotonic() > deadline or not self._read(0.1):
                raise Failed("the terminal of `%s` did not show %r, but %s" % (
                    " ".join(self.argv), pattern, short(repr(self.text))))

    def end(self, seconds=30):
        """Reads to the end, and returns the exit code."""
        deadline = time.monotonic() + seconds * self.bench.slow
        while self._read(0.1):
            if time.monotonic() > deadline:
                self.stop()
                raise Failed("`%s` did not end within %g s" % (" ".join(self.argv), seconds))
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        os.close(self.master)
        return os.waitstatus_to_exitcode(status)

    def stop(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.master)
            self.pid = 0


class Node:
    """The containerd. One for a whole run."""

    def __init__(self, work, token, shim_dir, base_config, runtime=RUNC):
        self.work, self.base_config, self.shim_dir = work, base_config, shim_dir
        # the namespace has the token in its name: so have all cgroup paths of the run
        self.namespace = "n-" + token
        self.token = token
        os.makedirs(RUN_DIR, exist_ok=True)
        self.config_path = os.path.join(work, "containerd.toml")
        self.socket, self._cri = SOCKET, None
        # what the handler "kata-test" reads: a test writes it
        self.test_config = os.path.join(work, "test-handler.toml")
        self._write_config(runtime)
        self.log_path = os.path.join(work, "containerd.log")
        self.start()

    def _write_config(self, runtime):
        text = CONFIG.format(root=os.path.join(self.work, "root"), state=STATE, socket=SOCKET,
                             run=RUN_DIR, work=self.work, cni_bin=CNI_BIN, pause=cri.PAUSE_IMAGE)
        if self.base_config:
            for handler, path in ("kata", self.base_config), ("kata-test", self.test_config):
                text += CRI_RUNTIME.format(handler=handler, runtime=runtime, config=path)
        with open(self.config_path, "w", encoding="utf-8") as f:
            f.write(text)
        os.makedirs(os.path.join(self.work, "cni"))
        with open(os.path.join(self.work, "cni/10-e2e.conflist"), "w", encoding="utf-8") as f:
            f.write(CNI_CONFIG.format(name=self.token, work=self.work))

    def cri(self, slow=1):
        """The client of the CRI plugin; the first call brings the images to where it sees them."""
        if not self._cri:
            images = os.path.dirname(self.work)
            for image in "image.tar", "user.tar", "pause.tar":
                self.import_image(os.path.join(images, image), cri.NAMESPACE)
            self._cri = cri.Client(SOCKET, self.work, slow)
            for name in cri.IMAGE, cri.PAUSE_IMAGE:
                wait_until(lambda n=name: self._has_image(n), 30 * slow, "CRI knows image " + name)
        return self._cri

    def _has_image(self, name):
        r = self._plain_ctr("image", "ls", "-q", 'labels."io.cri-containerd.image"==managed',
                            namespace=cri.NAMESPACE)
        return name in r.stdout.decode().split()

    def start(self):
        env = dict(os.environ)
        if self.shim_dir:
            env["PATH"] = self.shim_dir + ":" + env["PATH"]
        if self.base_config:
            env["KATA_CONF_FILE"] = self.base_config
        with open(self.log_path, "ab") as log:
            self.daemon = subprocess.Popen(["containerd", "-c", self.config_path], env=env,
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           start_new_session=True)
        wait_until(lambda: self.daemon.poll() is not None or
                   self._plain_ctr("version").returncode == 0, 60, "containerd serves")
        check(self.daemon.poll() is None, "containerd did not start: see " + self.log_path)

    def restart(self):
        self.daemon.kill()
        self.daemon.wait()
        self.start()

    def ctr_argv(self, *args, namespace=None):
        return ["ctr", "-a", SOCKET, "-n", namespace or self.namespace, *args]

    def _plain_ctr(self, *args, namespace=None):
        return subprocess.run(self.ctr_argv(*args, namespace=namespace), capture_output=True,
                              check=False)

    def import_image(self, path, namespace=None):
        result = self._plain_ctr("image", "import", path, namespace=namespace)
        check(result.returncode == 0, "image import: %s" % (result.stdout + result.stderr))

    def own_pids(self):
        """containerd, this program, and PID 1 with what leads to us. Not their further children."""
        pids, table = {1, os.getpid(), self.daemon.pid}, residue.processes()
        pid = os.getpid()
        while pid in table:
            pids.add(pid)
            pid = table[pid][0]
        return pids

    def watch(self):
        keep = [SOCKET, SOCKET + ".ttrpc", RUN_DIR + "/opt", STATE + "/io.containerd.runtime.v2.task"]
        watch = residue.Watch(self.token, self.namespace, self.own_pids, [])
        # what stands now is containerd's own
        own = {s.split(" ", 1)[1] for s in watch.snapshot() if s.startswith("file ")}
        watch.own_paths = own | set(keep)
        # but look into the directories of tasks: a bundle that stays is residue
        watch.own_paths -= {STATE + "/io.containerd.runtime.v2.task"}
        # and of pods, whose parents the first pod makes
        watch.shared |= {STATE + "/io.containerd.runtime.v2.task/" + cri.NAMESPACE,
                         "/run/containerd/runc/" + cri.NAMESPACE}
        pods = STATE + "/io.containerd.grpc.v1.cri"
        watch.shared |= {pods, pods + "/sandboxes", pods + "/containers"}
        return watch

    def log_size(self):
        return os.path.getsize(self.log_path)

    def log_from(self, offset):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            f.seek(offset)
            return "".join(line for line in f if not LOG_NOISE.search(line))


class Bench:
    """What one test gets: containers with fresh ids, commands, a transcript for when it fails."""

    def __init__(self, node, name, number, runtime, slow):
        self.node, self.name, self.runtime, self.slow = node, name, runtime, slow
        self.vm = runtime != RUNC
        self.transcript = []
        self._number, self._ids, self._open = number, 0, []
        self.log_offset = node.log_size()
        self.dir = os.path.join(node.work, "t%d" % number)
        os.makedirs(self.dir)
        self._pods = None
        self.quick = self.soak = False

    def report(self, text):
        """A number that a person may want to see of a test that passed."""
        self.note(text)
        print("%s: %s" % (self.name, text), flush=True)

    @property
    def pods(self):
        """Pods as kubelet makes them: see lib/cri.py."""
        if not self._pods:
            self._pods = cri.Pods(self, self.node.cri(self.slow))
            # a test before this one may have restarted containerd: the connection is old then
            wait_until(self._pods.ready, 30 * self.slow, "CRI is ready", 0.2)
        return self._pods

    # -- commands

    def note(self, text):
        self.transcript.append(text)

    def command(self, *argv, stdin=None, env=None, cwd=None, timeout=60):
        """Runs to its end. @stdin: bytes."""
        start = time.monotonic()
        try:
            done = subprocess.run(argv, input=stdin if stdin is not None else b"", env=env, cwd=cwd,
                                  capture_output=True, timeout=timeout * self.slow, check=False)
        except subprocess.TimeoutExpired as e:
            raise Failed("%s: did not end within %g s; until then: %s" % (
                " ".join(map(short, argv)), timeout * self.slow,
                short(repr((e.stdout or b"") + (e.stderr or b""))))) from None
        result = Result(argv, done.returncode, done.stdout, done.stderr, time.monotonic() - start)
        self.note(str(result))
        return result

    def ctr(self, *args, **kw):
        return self.command(*self.node.ctr_argv(*args), **kw)

    def background(self, *args, stdin=subprocess.DEVNULL):
        """A ctr command that goes on."""
        process = Process(self, self.node.ctr_argv(*args), stdin)
        self._open.append(process)
        return process

    def terminal(self, *args, **kw):
        terminal = Terminal(self, self.node.ctr_argv(*args), **kw)
        self._open.append(terminal)
        return terminal

    # -- containers

    def id(self):
        self._ids += 1
        return "%s-%d-%d" % (self.node.token, self._number, self._ids)

    def run_args(self, cid, *cmd, options=(), config=None, image=IMAGE):
        args = ["run", "--runtime", self.runtime, *options]
        if config:
            args += ["--runtime-config-path", config]
        return args + [image, cid, *cmd]

    def run(self, *cmd, options=(), config=None, image=IMAGE, cid=None, **kw):
        """ctr run --rm: a container from its start to its end."""
        return self.ctr(*self.run_args(cid or self.id(), *cmd, options=["--rm", *options],
                                       config=config, image=image), **kw)

    def start(self, *cmd, options=(), config=None):
        """ctr run -d: returns the id of a container that runs."""
        cid = self.id()
        self.ctr(*self.run_args(cid, *cmd, options=["-d", *options], config=config)).ok()
        return cid

    def exec(self, cid, *cmd, options=(), exec_id=None, **kw):
        return self.ctr("task", "exec", "--exec-id", exec_id or self.id(), *options, cid, *cmd, **kw)

    def status(self, cid):
        """RUNNING, STOPPED, PAUSED, CREATED, or "" if there is no task."""
        for line in self.ctr("task", "ls").ok().out.splitlines()[1:]:
            field = line.split()
            if field[0] == cid:
                return field[2]
        return ""

    def pid(self, cid):
        for line in self.ctr("task", "ls").ok().out.splitlines()[1:]:
            field = line.split()
            if field[0] == cid:
                return int(field[1])
        raise Failed("task %s is not in the list" % cid)

    def wait_status(self, cid, status, seconds=10):
        wait_until(lambda: self.status(cid) == status, seconds * self.slow,
                   "%s is %s" % (cid, status))

    def delete(self, cid):
        """Deletes a stopped task, and returns its exit code as the runtime tells it."""
        r = self.ctr("task", "rm", cid).ok()
        match = re.search(r"exit with non-zero exit code (\d+)", r.err)
        return int(match[1]) if match else 0

    def remove(self, *cids):
        """Kills, deletes the task and the container; all must work."""
        for cid in cids:
            if self.status(cid) != "STOPPED":
                self.ctr("task", "kill", "-s", "KILL", cid).ok()
                self.wait_status(cid, "STOPPED")
            self.delete(cid)
            self.ctr("container", "rm", cid).ok()

    def forget_fifos(self):
        """Removes the fifos of containers whose ctr could not: they are ctr's own, not the shim's."""
        self.command("find", "/run/containerd/fifo", "-mindepth", "1", "-delete").ok()

    def bundle(self, cid):
        return os.path.join(STATE, "io.containerd.runtime.v2.task", self.node.namespace, cid)

    def shim_address(self, cid):
        with open(self.bundle(cid) + "/address", encoding="utf-8") as f:
            return f.read().strip()

    def shim_pid(self, cid):
        """The shim that serves @cid, by its program and its -id argument."""
        for pid in shim_pids():
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                argv = f.read().decode().split("\0")
            if "-id" in argv and argv[argv.index("-id") + 1] == cid:
                return pid
        raise Failed("no shim process for " + cid)

    def vmm_pids(self):
        return [pid for pid in residue.processes() if "qemu-system" in program(pid)]

    @contextlib.contextmanager
    def events(self):
        """Yields a function that gives the events so far: [(topic, {json})]."""
        import json
        process = self.background("events")
        # it has subscribed when it sees a thing that we do
        probe = "localhost/probe-%s:latest" % self.id()

        def subscribed():
            self.ctr("image", "tag", IMAGE, probe)
            self.ctr("image", "rm", probe)
            return any(probe in line for line in process.lines())
        wait_until(subscribed, 10 * self.slow, "ctr events follows")

        def seen(of=None):
            found = []
            for line in process.lines():
                match = re.search(r" (/[a-z-]+/[a-z-]+) (\{.*\})$", line)
                if match and match[1].startswith("/tasks/"):
                    body = json.loads(match[2])
                    if of is None or of in (body.get("container_id"), body.get("id")):
                        found.append((match[1], body))
            return found
        try:
            yield seen
        finally:
            process.stop()
            self.note("events: %s" % seen())

    # -- configuration

    def config(self, changes, name="changed.toml"):
        """The run's configuration with keys changed, as a file: {"key": toml value text}."""
        with open(self.node.base_config, encoding="utf-8") as f:
            text = f.read()
        for key, value in changes.items():
            text, n = re.subn(r"(?m)^#?\s*%s\s*=.*$" % re.escape(key),
                              lambda _, k=key, v=value: "%s = %s" % (k, v), text, count=1)
            check(n == 1, "the configuration has no key %s" % key)
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    # -- afterwards

    def close(self):
        for thing in self._open:
            thing.stop()
        if self._pods:
            self._pods.close()

    def force_clean(self):
        """After a failed test: so that the next one has a clean start."""
        self.close()
        for line in self.node._plain_ctr("task", "ls", "-q").stdout.decode().split():
            self.node._plain_ctr("task", "kill", "-s", "KILL", line)
            time.sleep(0.2)
            self.node._plain_ctr("task", "rm", "-f", line)
        for line in self.node._plain_ctr("container", "ls", "-q").stdout.decode().split():
            self.node._plain_ctr("container", "rm", line)
        if self._pods:
            self._pods.force_clean()
