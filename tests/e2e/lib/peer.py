# SPDX-License-Identifier: Apache-2.0
"""A scripted containerd, one for each generation that is in the field.

It makes bundles, runs the shim's `start` and `delete` and speaks to its socket with the very bytes
of that generation, and accepts from the shim only what that generation accepts. What is written
here was read in containerd 1.6.38, 1.7.27, 2.0.8, 2.2.0 and 2.3.0: runtime/v2 (2.x: core/runtime/v2
and pkg/shim), of binary.go, shim.go, shim_manager.go, task_manager.go, shim_load.go and util.go.

    with peer.Containerd(t, "2.3") as ctd:
        box = ctd.create("echo", "ok")     # bundle, `start`, Create
        box.start()
        equal(box.wait().status, 0, "exit status")
        equal(box.out(), "ok\\n", "stdout")
        box.delete()                       # Delete, Shutdown, `delete`

`with` ends in failure if a shim is left. Errors of the shim come as ttrpc.RpcError, what a
containerd of that generation would not accept as lib.suite.Failed.
"""

import collections
import contextlib
import copy
import glob
import json
import os
import select
import shutil
import subprocess
import tarfile
import threading
import time

from lib import messages, ttrpc
from lib.node import RUN_DIR, Result
from lib.suite import Failed, check, short, wait_until

# containerd's defaults, in seconds; a slow machine has more
LOAD_TIMEOUT, CLEANUP_TIMEOUT, SHUTDOWN_TIMEOUT = 5, 5, 3

EVENTS = "containerd.services.events.ttrpc.v1.Events"
SANDBOX = "containerd.runtime.sandbox.v1.Sandbox"
TASK_V2 = "containerd.task.v2.Task"  # the messages of v3 are the same
PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4

Endpoint = collections.namedtuple("Endpoint", "version address protocol")
Exit = collections.namedtuple("Exit", "status pid exited_at")


# ---- What differs -----------------------------------------------------------------------------


def _go_trim(out):
    return out.strip(b"\t\n\v\f\r ")


def parse_plain(out):
    """1.6: whatever it says is the address."""
    return Endpoint(2, _go_trim(out).decode("utf-8", "replace"), "ttrpc")


def parse_json(out, newest):
    """1.7 to 2.2: JSON of version 2 or more, else an address."""
    out = _go_trim(out)
    found = Endpoint(2, out.decode("utf-8", "replace"), "ttrpc")
    try:
        value = json.loads(out)
    except ValueError:
        return found
    if isinstance(value, dict) and value.get("version", 0) >= 2:
        found = Endpoint(value["version"], value.get("address", ""), value.get("protocol", ""))
    check(found.version <= newest, "unsupported shim version (%d)" % found.version)
    return found


def parse_protobuf(out):
    """2.3: a BootstrapResult if it can be read as one, else as before."""
    out = _go_trim(out)
    try:
        result = messages.unpack("containerd.runtime.bootstrap.v1.BootstrapResult", out)
    except ValueError:
        return parse_json(out, 3)
    return Endpoint(result["version"], result["address"], result["protocol"])


class Generation:
    """@newest: the newest task service. @joins: knows pods whose members need no `start`."""

    def __init__(self, name, release, parse, *, newest=2, env=True, debug_delete=True,
                 bootstrap_json=True, joins=True, params=False, asks_info=False):
        self.name, self.release, self.parse, self.newest = name, release, parse, newest
        self.env, self.debug_delete, self.bootstrap_json = env, debug_delete, bootstrap_json
        self.joins, self.params, self.asks_info = joins, params, asks_info


GENERATIONS = {g.name: g for g in (
    Generation("1.6", "1.6.38", parse_plain, env=False, debug_delete=False, bootstrap_json=False,
               joins=False),
    Generation("1.7", "1.7.27", lambda out: parse_json(out, 2), bootstrap_json=False),
    Generation("2.0", "2.0.8", lambda out: parse_json(out, 3), newest=3),
    Generation("2.2", "2.2.0", lambda out: parse_json(out, 3), newest=3, asks_info=True),
    Generation("2.3", "2.3.0", parse_protobuf, newest=3, params=True, asks_info=True),
)}


# ---- What a container is made of --------------------------------------------------------------

CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
                "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
                "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"]


def _mount(destination, kind, source, *options):
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def process(*args, terminal=False):
    return {"terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": list(args), "cwd": "/",
            "env": ["PATH=/bin"], "noNewPrivileges": True,
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]}


def spec(*args, cgroup="/peer", annotations=None, terminal=False):
    """An OCI spec like the one that containerd's client makes by default."""
    quiet = ("nosuid", "noexec", "nodev")
    return {
        "ociVersion": "1.1.0",
        "process": process(*args, terminal=terminal),
        "root": {"path": "rootfs"},
        "mounts": [
            _mount("/proc", "proc", "proc", *quiet),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance",
                   "ptmxmode=0666", "mode=0620", "gid=5"),
            _mount("/dev/shm", "tmpfs", "shm", *quiet, "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", *quiet),
            _mount("/sys", "sysfs", "sysfs", *quiet, "ro"),
            _mount("/run", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        ],
        "annotations": annotations or {},
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "cgroupsPath": cgroup,
            "namespaces": [{"type": n} for n in ("pid", "ipc", "uts", "mount", "network")],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                              "/proc/sysrq-trigger"],
        },
    }


def image_root(node):
    """The files of the test image, unpacked once a run."""
    top = os.path.join(node.work, "peer-image")
    if os.path.isdir(top + "/root"):
        return top + "/root"
    with tarfile.open(os.path.join(os.path.dirname(node.work), "image.tar")) as tar:
        tar.extractall(top)

    def blob(digest):
        return os.path.join(top, "blobs", *digest.split(":"))

    def read(path):
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    manifest = read(blob(read(top + "/index.json")["manifests"][0]["digest"]))
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer["digest"])) as tar:
            tar.extractall(top + "/unpacked")
    os.rename(top + "/unpacked", top + "/root")
    return top + "/root"


class Output:
    """The reading end of a fifo, as containerd's client keeps it: open from before Create on."""

    def __init__(self, path):
        os.mkfifo(path, 0o700)
        self.path, self.data, self.ended = path, b"", threading.Event()
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._stop_r, self._stop_w = os.pipe()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        poll = select.poll()  # no POLLHUP before the first writer came
        poll.register(self._fd, select.POLLIN)
        poll.register(self._stop_r, select.POLLIN)
        while not any(fd == self._stop_r for fd, _ in poll.poll()):
            data = os.read(self._fd, 1 << 16)
            if not data:
                break
            self.data += data
        self.ended.set()

    def close(self):
        os.close(self._stop_w)
        self._thread.join(10)
        os.close(self._stop_r)
        os.close(self._fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class Input:
    """The writing end: @data, then the end of it."""

    def __init__(self, path, data, then):
        os.mkfifo(path, 0o700)
        self.path, self.data, self.then = path, data, then
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self):
        with contextlib.suppress(OSError, ttrpc.RpcError, ttrpc.Closed):
            with open(self.path, "wb", buffering=0) as f:
                f.write(self.data)
            self.then()

    def close(self):
        with contextlib.suppress(OSError):  # a writer that still waits for the shim to open
            os.close(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK))
        self._thread.join(10)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class Stdio:
    """The stdio of a process: fifos of names that the shim is told."""

    def __init__(self, directory, name, stdin, terminal, close_stdin):
        os.makedirs(directory, exist_ok=True)
        base = os.path.join(directory, name)
        self.terminal = terminal
        self._out = Output(base + "-stdout")
        self._err = None if terminal else Output(base + "-stderr")
        self._in = None if stdin is None else Input(base + "-stdin", stdin, close_stdin)

    def request(self):
        return {"terminal": self.terminal, "stdout": self._out.path,
                "stdin": self._in.path if self._in else "",
                "stderr": self._err.path if self._err else ""}

    def out(self, timeout):
        """All of stdout: waits for its end."""
        return self._all(self._out, timeout)

    def err(self, timeout):
        return self._all(self._err, timeout)

    @staticmethod
    def _all(stream, timeout):
        check(stream.ended.wait(timeout), "%s did not end within %g s; until then: %r" % (
            os.path.basename(stream.path), timeout, stream.data[-600:]))
        return stream.data.decode("utf-8", "replace")

    def close(self):
        for stream in (self._in, self._out, self._err):
            if stream:
                stream.close()


# ---- The shim's side of containerd ------------------------------------------------------------


class Events:
    """The events that shims forward, and how containerd takes them.

    @seen: [(topic, {fields of the event})] of all that were accepted. refuse: a code to answer
    with instead. delay: seconds before each answer.
    """

    def __init__(self, slow):
        self.slow, self.seen, self.envelopes = slow, [], []
        self.refused, self.refuse, self.delay = 0, 0, 0
        self.cond = threading.Condition()

    def forward(self, payload):
        delay, refuse = self.delay, self.refuse
        if delay:
            time.sleep(delay)
        envelope = messages.unpack("containerd.services.events.ttrpc.v1.ForwardRequest",
                                   payload)["envelope"] or {}
        with self.cond:
            if refuse:
                self.refused += 1
                self.cond.notify_all()
                raise ttrpc.RpcError(refuse, "refused by the test")
            self._check(envelope)
            event = envelope["event"]
            name = event["type_url"].rsplit("/", 1)[-1]
            self.envelopes.append(envelope)
            self.seen.append((envelope["topic"], messages.unpack(name, event["value"])))
            self.cond.notify_all()
        return b""

    @staticmethod
    def _check(envelope):
        # containerd: core/events/exchange
        at = envelope.get("timestamp") or {}
        if not envelope.get("namespace") or not envelope.get("topic", "").startswith("/") \
                or not at.get("seconds") or not envelope.get("event"):
            raise ttrpc.RpcError(ttrpc.INVALID_ARGUMENT, "bad envelope: %s" % short(str(envelope)))

    def of(self, cid):
        with self.cond:
            return [(topic, event) for topic, event in self.seen if event["container_id"] == cid]

    def topics(self, cid):
        return [topic for topic, _ in self.of(cid)]

    def wait(self, cid, topic, seconds=10):
        """The first such event, once it came."""
        def found():
            return [event for name, event in self.of(cid) if name == topic]
        wait_until(found, seconds * self.slow, "%s of %s" % (topic, cid))
        return found()[0]


class Shim:
    """A connection to a shim: of a container or of a sandbox."""

    def __init__(self, ctd, sid, bundle):
        self.ctd, self.id, self.bundle = ctd, sid, bundle
        self.endpoint = self.connection = self.cleanup = None
        self.started = False  # whether `start` was run for it; then `delete` will be too
        self._fifo, self.log = None, b""

    # -- making it

    def write(self, name, text, mode=0o600):
        with open(os.path.join(self.bundle, name), "w", encoding="utf-8",
                  opener=lambda p, flags: os.open(p, flags, mode)) as f:
            f.write(text)

    def make_bundle(self, config):
        os.makedirs(os.path.dirname(self.bundle), 0o711, exist_ok=True)
        os.mkdir(self.bundle, 0o700)
        os.mkdir(self.bundle + "/rootfs", 0o711)
        work = os.path.join(self.ctd.root, self.id)
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work, 0o711)
        os.symlink(work, self.bundle + "/work")
        self.write("config.json", json.dumps(config), 0o666)

    def open_log(self):
        """containerd holds the log fifo open for both, and copies what comes to its own log."""
        path = self.bundle + "/log"
        if not os.path.exists(path):
            os.mkfifo(path, 0o700)
        fd = self._fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

        def copy_log():
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            while self._fifo == fd:
                if poll.poll(100):
                    with contextlib.suppress(BlockingIOError):
                        self.log += os.read(fd, 1 << 16)
            os.close(fd)
        threading.Thread(target=copy_log, daemon=True).start()

    def arguments(self, action):
        """The command line of `start` or `delete`."""
        ctd, gen = self.ctd, self.ctd.generation
        argv = [ctd.shim, "-namespace", ctd.namespace, "-address", ctd.address,
                "-publish-binary", ctd.binary, "-id", self.id]
        if action == "delete":
            argv += ["-bundle", self.bundle]
        if ctd.debug and (action == "start" or gen.debug_delete):
            argv.append("-debug")
        return argv + [action]

    def stdin(self, options):
        """What `start` reads: @options is the Any of the container's runtime options, or None."""
        ctd = self.ctd
        if not ctd.generation.params:
            return options and messages.schema().pack("google.protobuf.Any", options)
        params = {"instance_id": self.id, "namespace": ctd.namespace,
                  "log_level": -4 if ctd.debug else 0,
                  "containerd_version": ctd.generation.release,
                  "containerd_grpc_address": ctd.address,
                  "containerd_ttrpc_address": ctd.ttrpc_address,
                  "containerd_binary": ctd.binary,
                  "extensions": [{"value": options}] if options else []}
        if ctd.socket_dir:
            params["socket_dir"] = ctd.socket_dir
        return messages.pack("containerd.runtime.bootstrap.v1.BootstrapParams", **params)

    def run_start(self, options=None):
        """Runs `start`, reads its answer, connects."""
        self.open_log()
        self.started = True
        self.start_result = self.ctd.execute(self.arguments("start"), self.bundle,
                                             self.stdin(options), combined=True)
        out = self.start_result.raw_out
        check(self.start_result.code == 0,
              "start failed: %s" % short(out.decode("utf-8", "replace")))
        self.write("shim-binary-path", self.ctd.shim)
        self.endpoint = self.ctd.generation.parse(out)
        self.connect()
        if self.ctd.generation.bootstrap_json:
            self.save_endpoint()

    def save_endpoint(self):
        self.write("bootstrap.json", json.dumps(self.endpoint._asdict()), 0o644)

    def connect(self):
        # a shim of "grpc" would be dialled by another library; this one has no such service
        check(self.endpoint.protocol.lower() == "ttrpc",
              "unexpected protocol: %r" % self.endpoint.protocol)
        check(self.endpoint.version in (2, 3), "the client of version %d does not exist"
              % self.endpoint.version)
        self.connection = ttrpc.Connection(
            ttrpc.dial(self.endpoint.address, 100),
            metadata=[("containerd-namespace-ttrpc", self.ctd.namespace)], on_close=self._closed)

    def load(self):
        """As a containerd that was started again: by what is in the bundle."""
        self.open_log()
        gen = self.ctd.generation
        path = os.path.join(self.bundle, "bootstrap.json")
        if gen.bootstrap_json and os.path.exists(path):
            with open(path, "rb") as f:
                self.endpoint = gen.parse(f.read())
        else:
            with open(os.path.join(self.bundle, "address"), "rb") as f:
                self.endpoint = gen.parse(f.read()) if not gen.bootstrap_json \
                    else Endpoint(2, f.read().decode(), "ttrpc")
            if gen.bootstrap_json:
                self.save_endpoint()
        self.connect()
        self.pid(self.ctd.seconds(LOAD_TIMEOUT))

    # -- calling it

    def service(self):
        return "containerd.task.v%d.Task" % self.endpoint.version

    def begin(self, method, timeout=None, service=None, **fields):
        service = service or self.service()
        of = SANDBOX if service == SANDBOX else TASK_V2
        request, reply = messages.types_of(of, method)
        pending = self.connection.begin(service, method, messages.pack(request, **fields), timeout)
        pending.unpack = lambda body: messages.unpack(reply, body)
        return pending

    def call(self, method, timeout=None, service=None, **fields):
        pending = self.begin(method, timeout, service, **fields)
        # a test shall not hang where containerd would
        return pending.unpack(pending.result(timeout or self.ctd.seconds(120)))

    def downgraded(self, call):
        """@call(), and once more with the older service if the newer one is UNIMPLEMENTED."""
        try:
            return call()
        except ttrpc.RpcError as e:
            if e.code != ttrpc.UNIMPLEMENTED or self.endpoint.version < 3:
                raise
            self.endpoint = self.endpoint._replace(version=self.endpoint.version - 1)
            return call()

    def pid(self, timeout=None):
        return self.downgraded(
            lambda: self.call("Connect", timeout, id=self.id))["task_pid"]

    def shutdown(self, timeout):
        with contextlib.suppress(ttrpc.Closed):
            self.call("Shutdown", timeout, id=self.id)

    # -- its end

    def _closed(self):
        if self.started and not self.ctd.stopped:
            self.clean_up()

    def clean_up(self):
        """cleanupAfterDeadShim: runs whenever a connection has ended, well or not."""
        result = self.ctd.execute(self.arguments("delete"), self.bundle, None,
                                  timeout=self.ctd.seconds(CLEANUP_TIMEOUT))
        self.cleanup = result
        if result.code == 0:
            self.cleanup_response = messages.unpack("containerd.task.v2.DeleteResponse",
                                                    result.raw_out)
            self.delete_bundle()

    def delete_bundle(self):
        self.close_log()
        rootfs = self.bundle + "/rootfs"
        if not os.path.isdir(self.bundle):
            return
        while os.path.ismount(rootfs):
            subprocess.run(["umount", rootfs], check=True)
        work = os.readlink(self.bundle + "/work")
        os.rmdir(rootfs)  # nothing but an empty directory is left of it
        shutil.rmtree(self.bundle)
        shutil.rmtree(work)

    def close_log(self):
        self._fifo = None

    def drop(self):
        """Closes the connection; waits for what follows."""
        if self.connection:
            self.connection.close()
            check(self.connection.finished.wait(self.ctd.seconds(2 * CLEANUP_TIMEOUT)),
                  "`delete` of %s did not end" % self.id)

    def remove(self):
        """What containerd does with a shim once its task is deleted."""
        self.drop()
        self.delete_bundle()


class Process:
    """An init or an exec, by the calls that both have."""

    def __init__(self, box, exec_id, stdio):
        self.box, self.exec_id, self.stdio = box, exec_id, stdio

    def _call(self, method, timeout=None, **fields):
        return self.box.call(method, timeout, id=self.box.id, exec_id=self.exec_id, **fields)

    def start(self):
        return self._call("Start")["pid"]

    def wait(self, timeout=60):
        self.box.pid()  # containerd asks for it first
        reply = self._call("Wait", self.box.ctd.seconds(timeout))
        return Exit(reply["exit_status"], 0, reply["exited_at"])

    def kill(self, signal=9, everyone=False):
        self._call("Kill", signal=signal, all=everyone)

    def state(self):
        return self._call("State")

    def resize(self, width, height):
        self._call("ResizePty", width=width, height=height)

    def close_stdin(self):
        self._call("CloseIO", stdin=True)

    def out(self, timeout=20):
        return self.stdio.out(self.box.ctd.seconds(timeout))

    def err(self, timeout=20):
        return self.stdio.err(self.box.ctd.seconds(timeout))


class Exec(Process):
    def delete(self):
        reply = self._call("Delete")
        self.stdio.close()
        return Exit(reply["exit_status"], reply["pid"], reply["exited_at"])


class Container(Shim, Process):
    """A task, its shim and its init process."""

    def __init__(self, ctd, cid, stdio, sandbox):
        Shim.__init__(self, ctd, cid, os.path.join(ctd.state, cid))
        Process.__init__(self, self, "", stdio)
        self.sandbox = sandbox
        self.rootfs = []

    def start_shim(self, options):
        """ShimManager.Start: runs `start`, or joins the sandbox' shim."""
        gen, sandbox = self.ctd.generation, self.sandbox
        if not sandbox or not gen.joins or (gen.bootstrap_json and sandbox.endpoint.version < 3):
            self.run_start(options)
            return
        self.write("sandbox", sandbox.id)
        if gen.bootstrap_json:
            self.endpoint = sandbox.endpoint
            self.save_endpoint()
        else:
            self.write("address", sandbox.endpoint.address)
        self.load_joined()

    def load_joined(self):
        self.open_log()
        self.endpoint = self.endpoint or self.sandbox.endpoint
        self.connect()

    def create(self, options, io):
        request = dict(id=self.id, bundle=self.bundle, rootfs=self.rootfs, options=options, **io)
        try:
            return self.downgraded(lambda: self.call("Create", **request))["pid"]
        except (ttrpc.RpcError, ttrpc.Closed):
            self._give_up()
            raise

    def _give_up(self):
        """After a failed Create; errors are the Create's own."""
        limit = self.ctd.seconds(CLEANUP_TIMEOUT)
        try:
            self._delete(limit)
        except (ttrpc.RpcError, ttrpc.Closed):
            with contextlib.suppress(ttrpc.RpcError, ttrpc.Closed):
                self.shutdown(limit)
            self.drop()
            self.delete_bundle()
        self.stdio.close()
        self.ctd.containers.pop(self.id, None)

    def exec(self, *args, exec_id=None, stdin=None, terminal=False, **changes):
        exec_id = exec_id or self.ctd.bench.id()
        stdio = Stdio(self.ctd.fifos, exec_id, stdin, terminal, lambda: one.close_stdin())
        one = Exec(self, exec_id, stdio)
        body = {**process(*args, terminal=terminal), **changes}
        try:
            self.call("Exec", id=self.id, exec_id=exec_id, **stdio.request(),
                      spec=messages.any_of(PROCESS_TYPE, json.dumps(body).encode()))
        except Exception:
            stdio.close()
            raise
        return one

    def pause(self):
        self.call("Pause", id=self.id)

    def resume(self):
        self.call("Resume", id=self.id)

    def _delete(self, timeout=None):
        """shimTask.delete: Delete, Shutdown unless it is a sandbox' member, the bundle's end."""
        try:
            reply = self.call("Delete", timeout, id=self.id)
        except ttrpc.RpcError as e:
            if e.code != ttrpc.NOT_FOUND:
                raise
            reply = e
        if not self.sandbox or self.endpoint.version < 3 or not self.ctd.generation.joins:
            began = time.monotonic()
            self.shutdown(self.ctd.seconds(SHUTDOWN_TIMEOUT))
            self.shutdown_seconds = time.monotonic() - began
        self.remove()
        if isinstance(reply, ttrpc.RpcError):
            raise reply
        return Exit(reply["exit_status"], reply["pid"], reply["exited_at"])

    def delete(self):
        done = self._delete()
        self.stdio.close()
        self.ctd.containers.pop(self.id, None)
        return done


class Sandbox(Shim):
    """A pod by the sandbox service: containerd's "shim" sandbox controller."""

    def __init__(self, ctd, sid):
        super().__init__(ctd, sid, os.path.join(ctd.state, sid))

    def _sandbox(self, method, timeout=None, **fields):
        return self.call(method, timeout, service=SANDBOX, sandbox_id=self.id, **fields)

    def create(self, **fields):
        return self._sandbox("CreateSandbox", bundle_path=self.bundle, **fields)

    def start(self):
        return self._sandbox("StartSandbox")

    def platform(self):
        return self._sandbox("Platform")["platform"]

    def stop(self, timeout_secs=0):
        try:
            self._sandbox("StopSandbox", timeout_secs=timeout_secs)
        except ttrpc.RpcError as e:
            if e.code not in (ttrpc.NOT_FOUND, ttrpc.UNAVAILABLE):
                raise

    def wait(self, timeout=60):
        reply = self._sandbox("WaitSandbox", self.ctd.seconds(timeout))
        return Exit(reply["exit_status"], 0, reply["exited_at"])

    def status(self, verbose=False):
        return self._sandbox("SandboxStatus", verbose=verbose)

    def ping(self):
        return self._sandbox("PingSandbox")

    def metrics(self):
        return self._sandbox("SandboxMetrics")["metrics"]

    def shutdown_sandbox(self):
        """ShutdownSandbox, and the removal of the shim."""
        self._sandbox("ShutdownSandbox")
        self.remove()
        self.ctd.containers.pop(self.id, None)


# ---- containerd -------------------------------------------------------------------------------


class Containerd:
    """@generation: a key of GENERATIONS. @debug: its log level. @socket_dir: of 2.3's config."""

    serial = 0

    def __init__(self, bench, generation, *, debug=True, sched_core=False, socket_dir="", env=None):
        Containerd.serial += 1
        self.bench, self.generation = bench, GENERATIONS[generation]
        self.debug, self.socket_dir = debug, socket_dir
        self.shim = os.path.join(bench.node.shim_dir, "containerd-shim-kata-v2")
        self.binary = shutil.which("containerd")
        self.namespace = bench.node.namespace
        self.top = os.path.join(RUN_DIR, "peer%d" % Containerd.serial)
        self.address, self.ttrpc_address = self.top + "/c.sock", self.top + "/c.sock.ttrpc"
        self.state = os.path.join(self.top, "state/io.containerd.runtime.v2.task", self.namespace)
        self.root = os.path.join(bench.dir, "peer%d" % Containerd.serial, "work")
        self.snapshots = os.path.join(bench.dir, "peer%d" % Containerd.serial, "snapshots")
        self.fifos = self.top + "/fifo"
        self.extra_env = {**({"SCHED_CORE": "1"} if sched_core else {}), **(env or {})}
        self.containers, self.events, self.stopped = {}, Events(bench.slow), False
        self.dead_logs = []
        for path in (self.state, self.root, self.snapshots):
            os.makedirs(path)
        self.ttrpc = ttrpc.Server(self.ttrpc_address, {(EVENTS, "Forward"): self.events.forward})

    def seconds(self, n):
        return n * self.bench.slow

    # -- processes

    def environment(self):
        env = dict(os.environ)
        if self.bench.node.base_config:
            env["KATA_CONF_FILE"] = self.bench.node.base_config
        env.update(GOMAXPROCS="2", TTRPC_ADDRESS=self.ttrpc_address)
        if self.generation.env:
            env.update(MAX_SHIM_VERSION="2", GRPC_ADDRESS=self.address, NAMESPACE=self.namespace)
        env.update(self.extra_env)
        return env

    def execute(self, argv, cwd, stdin, combined=False, timeout=None):
        """Runs a program as Go's exec does: to its end, and to the end of what it prints."""
        began = time.monotonic()
        timeout = timeout or self.seconds(60)
        with subprocess.Popen(argv, cwd=cwd, env=self.environment(), start_new_session=True,
                              stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT if combined else subprocess.PIPE) as child:
            try:
                out, err = child.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                raise Failed("%s: %s did not end, or something holds its output open, for %g s" % (
                    os.path.basename(argv[0]), argv[-1], timeout)) from None
        result = Result(argv, child.returncode, out, err or b"", time.monotonic() - began)
        self.bench.note(str(result))
        return result

    def info(self, options=None):
        """`-info`, as 2.x asks for it."""
        result = self.execute([self.shim, "-info"], None,
                              options and messages.schema().pack("google.protobuf.Any", options)
                              or b"").ok()
        return messages.unpack("containerd.types.RuntimeInfo", result.raw_out)

    # -- containers

    def runtime_options(self, config):
        """The Any that names a configuration file, or None."""
        if not config:
            return None
        return messages.any_of("runtimeoptions.v1.Options", messages.pack(
            "runtimeoptions.v1.Options",
            type_url="io.containerd.kata.v2.options", config_path=config))

    def spec(self, cid, *args, **changes):
        return spec(*args, cgroup="/%s/%s" % (self.namespace, cid), **changes)

    def rootfs(self, cid):
        """Mounts as the overlay snapshotter gives them."""
        top = os.path.join(self.snapshots, cid)
        os.makedirs(top + "/upper", exist_ok=True)
        os.makedirs(top + "/work", exist_ok=True)
        return [{"type": "overlay", "source": "overlay", "options": [
            "workdir=%s/work" % top, "upperdir=%s/upper" % top,
            "lowerdir=" + image_root(self.bench.node)]}]

    def create(self, *args, cid=None, sandbox=None, pod=None, config=None, stdin=None,
               terminal=False, change=None, io=None, task_options=None, assume=0,
               rootfs=None):
        """A container that is created and not started.

        @pod: the container of a pod (of the CRI annotations) to join. @sandbox: the same where the
        client says so to containerd, which from 2.0 on need not run `start` for it. @change: gets
        the spec to edit. @io: {"stdin", "stdout", "stderr"} to use instead of fifos. @assume: the
        task service to try first, whatever `start` said. @rootfs: mounts, instead of the image's.
        """
        if self.generation.asks_info:
            self.info()
        cid = cid or self.bench.id()
        pod = sandbox or pod
        body = self.spec(cid, *args, terminal=terminal, annotations={
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-id": pod.id} if pod else {})
        if change:
            body = change(copy.deepcopy(body)) or body
        box = Container(self, cid, None, sandbox)
        self.containers[cid] = box
        box.stdio = Stdio(self.fifos, cid, stdin, terminal, lambda: box.close_stdin())
        options = self.runtime_options(config)
        try:
            box.make_bundle(body)
            box.rootfs = rootfs or self.rootfs(cid)
            box.start_shim(options)
        except Exception:
            self._forget(box)
            raise
        if assume:
            box.endpoint = box.endpoint._replace(version=assume)
        request = dict(box.stdio.request(), **(io or {}))
        box.create(task_options or options, request)
        return box

    def run(self, *args, **kw):
        """create() and start()"""
        box = self.create(*args, **kw)
        box.start()
        return box

    def pod(self, *args, **kw):
        """The sandbox container of a pod, running: what CRI does with "podsandbox"."""
        def annotate(body):
            body["annotations"] = {"io.kubernetes.cri.container-type": "sandbox",
                                   "io.kubernetes.cri.sandbox-id": cid}
            return body
        cid = kw.pop("cid", None) or self.bench.id()
        return self.run(*(args or ("sleep", "1000000")), cid=cid, change=annotate, **kw)

    def sandbox(self, sid=None, config=None, body=None):
        """The shim of a sandbox: created neither by Create nor by CreateSandbox yet."""
        sid = sid or self.bench.id()
        sandbox = Sandbox(self, sid)
        self.containers[sid] = sandbox
        try:
            sandbox.make_bundle(body if body is not None else self.spec(sid))
            sandbox.run_start(self.runtime_options(config))
        except Exception:
            self._forget(sandbox)
            raise
        return sandbox

    def _forget(self, shim):
        """bundle.Delete() after a failed start."""
        self.containers.pop(shim.id, None)
        if getattr(shim, "stdio", None):
            shim.stdio.close()
        shim.delete_bundle()

    # -- its own life

    def stop(self):
        """As if killed: connections break, nobody runs `delete`."""
        self.stopped = True
        self.ttrpc.vanish()
        for shim in self.containers.values():
            shim.close_log()
            if shim.connection:
                shim.connection.close()
                shim.connection.finished.wait(self.seconds(10))
                shim.connection = None

    def restart(self):
        """And once more: shims are found by their bundles. Returns those that are lost."""
        self.stop()
        self.stopped, lost = False, []
        self.ttrpc.come_back()
        for shim in list(self.containers.values()):
            try:
                shim.load()
            except (OSError, Failed, ttrpc.RpcError, ttrpc.Closed) as e:
                lost.append((shim, e))
                if shim.connection:
                    shim.drop()
                else:
                    shim.clean_up()
                self._forget(shim)
        return lost

    def logs(self):
        return b"".join(shim.log for shim in self.containers.values()).decode("utf-8", "replace")

    def close(self):
        """Ends what the test has left running, as containerd's own clients would."""
        for shim in list(self.containers.values()):
            self.bench.note("log of %s:\n%s" % (shim.id, shim.log.decode("utf-8", "replace")))
            with contextlib.suppress(Exception):
                if isinstance(shim, Container):
                    shim.kill()
                    shim.wait(10)
                    shim.delete()
                else:
                    shim.stop()
                    shim.shutdown_sandbox()
        left = [shim for shim in self.containers.values() if os.path.isdir(shim.bundle)]
        for shim in left:
            with contextlib.suppress(Exception):
                shim.drop()
            if getattr(shim, "stdio", None):
                shim.stdio.close()
            with contextlib.suppress(Exception):
                shim.delete_bundle()
        self.ttrpc.close()
        for path in glob.glob(self.top + "/*"):
            (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
        os.rmdir(self.top)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, _):
        self.bench.note("events: %s" % self.events.seen)
        self.close()
