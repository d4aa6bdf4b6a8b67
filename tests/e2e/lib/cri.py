# SPDX-License-Identifier: Apache-2.0
"""Pods as kubelet makes them: a client of containerd's CRI plugin, and pods and containers as objects.

    pod = t.pods.run(hostname="h")                       # RunPodSandbox; fields of PodSandboxConfig
    c = pod.start("sh", "-c", "echo hi; sleep 1000")     # CreateContainer, StartContainer
    code, out, err = c.exec("hostname")                  # ExecSync
    pod.remove()                                         # StopPodSandbox, RemovePodSandbox

Messages are written as dicts, with the field names of cri.proto; enums by their names.
"""

import copy
import importlib
import json
import os
import re
import subprocess
import sys

from lib import websocket
from lib.suite import Failed, check, fail, short, wait_until

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # children only ever exec
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc  # noqa: E402
from google.protobuf import json_format  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGE = "localhost/busybox:latest"
PAUSE_IMAGE = "localhost/pause:1"
NAMESPACE = "k8s.io"  # containerd's, for all that CRI makes
READY, NOT_READY = 0, 1
CREATED, RUNNING, EXITED, UNKNOWN = range(4)
LOG_LINE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d\d:\d\d)) "
                      rb"(stdout|stderr) ([FP](?::\S*)?) (.*)", re.S)


class Error(Failed):
    """A call that containerd refused."""

    def __init__(self, method, code, details):
        super().__init__("%s: %s: %s" % (method, code, short(details, 2000)))
        self.code, self.details = code, details


def messages(directory):
    """The module of cri.proto's messages, made in @directory."""
    if "cri_pb2" not in sys.modules:
        subprocess.run(["protoc", "-I", HERE, "--python_out", directory, "cri.proto"], check=True)
        sys.path.append(directory)
        importlib.invalidate_caches()
    return importlib.import_module("cri_pb2")


class Client:
    """One method a call: client.call("StopContainer", container_id=id, timeout=0)."""

    def __init__(self, address, directory, slow=1):
        self.pb, self.slow = messages(directory), slow
        # after containerd has been away, look for it soon
        self.channel = grpc.insecure_channel("unix://" + address, options=[
            ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000)])
        self.note = lambda text: None

    def call(self, method, seconds=60, **fields):
        request = json_format.ParseDict(fields, getattr(self.pb, method + "Request")())
        stub = self.channel.unary_unary(
            "/runtime.v1.RuntimeService/" + method,
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=getattr(self.pb, method + "Response").FromString)
        self.note("CRI %s %s" % (method, short(json.dumps(fields), 1500)))
        try:
            response = stub(request, timeout=seconds * self.slow)
        except grpc.RpcError as e:
            self.note("  %s: %s" % (e.code().name, short(e.details(), 2000)))
            raise Error(method, e.code().name, e.details()) from None
        self.note("  " + short(str(response).replace("\n", " "), 1500))
        return response

    def close(self):
        self.channel.close()


def merge(base, changes):
    """@base with @changes, dict by dict."""
    out = copy.copy(base)
    for key, value in changes.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and \
            isinstance(out.get(key), dict) else value
    return out


class Container:
    def __init__(self, pod, cid, config):
        self.pod, self.id, self.config = pod, cid, config
        self.call = pod.pods.client.call
        self.slow = pod.pods.client.slow

    def start(self):
        self.call("StartContainer", container_id=self.id)
        return self

    def stop(self, timeout=0):
        self.call("StopContainer", container_id=self.id, timeout=timeout)

    def remove(self):
        self.call("RemoveContainer", container_id=self.id)

    def status(self):
        return self.call("ContainerStatus", container_id=self.id).status

    def spec(self):
        """The OCI spec that containerd wrote."""
        info = self.call("ContainerStatus", container_id=self.id, verbose=True).info
        return json.loads(info["info"])["runtimeSpec"]

    def wait_exit(self, seconds=30):
        """Its status once it has ended."""
        return wait_until(lambda: (lambda s: s if s.state == EXITED else None)(self.status()),
                          seconds * self.slow, "container %s has ended" % self.id)

    def stats(self):
        return self.call("ContainerStats", container_id=self.id).stats

    def update(self, **linux):
        self.call("UpdateContainerResources", container_id=self.id, linux=linux)

    def exec(self, *cmd, timeout=30):
        """ExecSync: (exit code, stdout, stderr); @timeout in seconds is containerd's."""
        r = self.call("ExecSync", container_id=self.id, cmd=list(cmd),
                      timeout=int(timeout * self.slow), seconds=2 * timeout + 10)
        return r.exit_code, r.stdout.decode("utf-8", "replace"), r.stderr.decode("utf-8", "replace")

    def out(self, *cmd):
        """stdout of a command that must succeed."""
        code, out, err = self.exec(*cmd)
        check(code == 0, "%s ended with %d: %s" % (" ".join(cmd), code, short(out + err)))
        return out

    def exec_stream(self, *cmd, tty=False, stdin=False):
        r = self.call("Exec", container_id=self.id, cmd=list(cmd), tty=tty, stdin=stdin,
                      stdout=True, stderr=not tty)
        return self.pod.pods.keep(websocket.Stream(r.url, self.slow))

    def attach(self, tty=False, stdin=False):
        r = self.call("Attach", container_id=self.id, tty=tty, stdin=stdin, stdout=True,
                      stderr=not tty)
        return self.pod.pods.keep(websocket.Stream(r.url, self.slow))

    @property
    def log_path(self):
        return os.path.join(self.pod.config["log_directory"], self.config["log_path"])

    def log_lines(self):
        """[(stream, "F" or "P", bytes)] of its log; each line must be whole and well formed."""
        with open(self.log_path, "rb") as f:
            data = f.read()
        lines = []
        for line in data.split(b"\n")[:-1]:
            match = LOG_LINE.fullmatch(line)
            check(match, "not a line of a CRI log: %s" % short(repr(line)))
            lines.append((match[2].decode(), match[3].decode(), match[4]))
        check(data == b"" or data.endswith(b"\n"), "the log's last line is cut")
        return lines

    def log(self, stream="stdout"):
        """What was written to a stream, byte for byte, as `crictl logs` would show it."""
        return b"".join(text + (b"" if tag.startswith("P") else b"\n")
                        for name, tag, text in self.log_lines() if name == stream)


class Pod:
    def __init__(self, pods, pod_id, config):
        self.pods, self.id, self.config = pods, pod_id, config
        self.call = pods.client.call

    def create(self, *cmd, name=None, attempt=0, image=IMAGE, **changes):
        """CreateContainer; @changes are fields of ContainerConfig."""
        name = name or self.pods.name("c")
        config = merge({
            "metadata": {"name": name, "attempt": attempt}, "image": {"image": image},
            "command": list(cmd), "log_path": "%s.%d.log" % (name, attempt),
            "linux": {"security_context": {"namespace_options":
                                           self.namespace_options("network", "pid", "ipc")}},
        }, changes)
        r = self.call("CreateContainer", pod_sandbox_id=self.id, config=config,
                      sandbox_config=self.config, seconds=90)
        return Container(self, r.container_id, config)

    def start(self, *cmd, **changes):
        """A container that runs."""
        return self.create(*cmd, **changes).start()

    def namespace_options(self, *which):
        options = self.config["linux"]["security_context"]["namespace_options"]
        return {k: v for k, v in options.items() if k in which}

    def status(self):
        return self.call("PodSandboxStatus", pod_sandbox_id=self.id).status

    def stats(self):
        return self.call("PodSandboxStats", pod_sandbox_id=self.id).stats

    def containers(self):
        return self.call("ListContainers", filter={"pod_sandbox_id": self.id}).containers

    def forward(self, *ports):
        r = self.call("PortForward", pod_sandbox_id=self.id, port=list(ports))
        return self.pods.keep(websocket.Forward(r.url, ports, self.pods.client.slow))

    def stop(self):
        self.call("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self):
        self.stop()
        self.call("RemovePodSandbox", pod_sandbox_id=self.id)


class Pods:
    """What a test has of CRI."""

    def __init__(self, bench, client):
        self.bench, self.client, self._names, self._open = bench, client, 0, []
        client.note = bench.note
        self.handler = "kata" if bench.vm else "runc"

    def name(self, prefix):
        self._names += 1
        return "%s%d" % (prefix, self._names)

    def keep(self, thing):
        self._open.append(thing)
        return thing

    def config(self, **changes):
        """A PodSandboxConfig of a fresh name. @changes: its fields."""
        name = self.name("pod")
        log_directory = os.path.join(self.bench.dir, name)
        os.makedirs(log_directory, exist_ok=True)
        return merge({
            "metadata": {"name": name, "uid": "%s-%s" % (self.bench.id(), name),
                         "namespace": "default", "attempt": 0},
            "hostname": name, "log_directory": log_directory,
            "linux": {
                # below the directory that all containers of this containerd have
                "cgroup_parent": "/" + self.bench.node.namespace,
                "security_context": {"namespace_options": {
                    "network": "POD", "pid": "CONTAINER", "ipc": "POD"}}},
        }, changes)

    def run(self, config=None, handler=None, **changes):
        """RunPodSandbox."""
        config = merge(config, changes) if config else self.config(**changes)
        r = self.client.call("RunPodSandbox", config=config,
                             runtime_handler=handler or self.handler, seconds=90)
        return Pod(self, r.pod_sandbox_id, config)

    def refused(self, config=None, handler=None, **changes):
        """The words with which RunPodSandbox fails, as it must."""
        try:
            self.run(config, handler, **changes)
        except Error as e:
            return e.details
        return fail("the pod was made")

    def ready(self):
        """Whether pods can be run: False if nobody answers, too."""
        try:
            conditions = self.client.call("Status", seconds=5).status.conditions
        except Error:
            return False
        return all(c.status for c in conditions if c.type in ("RuntimeReady", "NetworkReady"))

    def list(self):
        return self.client.call("ListPodSandbox").items

    def ctr(self, *args, **kw):
        """ctr in the namespace where CRI's containers are."""
        return self.bench.command("ctr", "-a", self.bench.node.socket, "-n", NAMESPACE, *args, **kw)

    def close(self):
        for thing in self._open:
            thing.close()

    def force_clean(self):
        """After a failed test."""
        self.close()
        try:
            for item in self.list():
                self.client.call("StopPodSandbox", pod_sandbox_id=item.id, seconds=20)
                self.client.call("RemovePodSandbox", pod_sandbox_id=item.id, seconds=20)
        except Error:
            pass  # it was noted; what is left is swept away by force
