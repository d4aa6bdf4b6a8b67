# SPDX-License-Identifier: Apache-2.0
"""Pods as kubelet makes them, through containerd's CRI plugin."""

from lib import cri
from lib.node import shim_pids
from lib.suite import check, contains, equal, test, wait_until

FOREVER = ("sleep", "1000000")


@test(timeout=120)
def the_client_speaks_all_of_cri(t):
    version = t.pods.client.call("Version", version="v1")
    equal((version.runtime_name, version.runtime_api_version), ("containerd", "v1"), "Version")
    status = t.pods.client.call("Status").status
    equal({c.type: c.status for c in status.conditions},
          {"RuntimeReady": True, "NetworkReady": True}, "Status")
    pod = t.pods.run(hostname="a-pod")
    equal(pod.status().state, cri.READY, "state of the pod")
    c = pod.start("sh", "-c", "echo out; echo err >&2; read x; echo got $x; sleep 1000",
                  stdin=True)
    equal(c.exec("sh", "-c", "hostname; echo e >&2; exit 3"), (3, "a-pod\n", "e\n"), "ExecSync")
    s = c.exec_stream("sh", "-c", "read x; echo $x; echo err >&2; exit 4", stdin=True)
    s.type("typed\n")
    equal((s.end(), s.out, s.err), (4, "typed\n", "err\n"), "Exec")
    a = c.attach(stdin=True)
    a.type("there\n")
    a.expect("got there\n")
    a.close()
    c.stop()
    equal(c.wait_exit().exit_code, 137, "exit code")
    equal(c.log(), b"out\ngot there\n", "stdout in the log")
    equal(c.log("stderr"), b"err\n", "stderr in the log")
    c.remove()
    pod.remove()
    equal(len(t.pods.list()), 0, "number of pods")
