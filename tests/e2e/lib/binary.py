# SPDX-License-Identifier: Apache-2.0
"""The shim's binary without a containerd: run by hand, for tests."""

import os

from lib import ttrpc
from lib.node import shim_pids
from lib.suite import equal, test, wait_until


def shim(t):
    return os.path.join(t.node.shim_dir, "containerd-shim-kata-v2")


def start(t, bundle, cid, *flags, **kw):
    return t.command(shim(t), "-id", cid, "-namespace", t.node.namespace, "-address", "/x",
                     "-publish-binary", "/bin/true", *flags, "start", cwd=bundle, **kw)


def delete(t, cid, bundle):
    return t.command(shim(t), "-namespace", t.node.namespace, "-address", "/x", "-publish-binary",
                     "/bin/true", "-id", cid, "-bundle", bundle, "delete", cwd=bundle)


def directory(t, name):
    path = os.path.join(t.dir, name)
    os.makedirs(path)
    return path


def daemons():
    return shim_pids()


def read(*path):
    with open(os.path.join(*path), encoding="ascii") as f:
        return f.read()


def stop(t, address, cid, bundle):
    """Shutdown by RPC; then `delete`, as containerd does."""
    client = ttrpc.Client(address)
    client.send("containerd.task.v2.Task", "Shutdown", ttrpc.encode((1, cid), (2, 1)))
    wait_until(lambda: not daemons(), 5 * t.slow, "the daemon has ended")
    client.close()
    delete(t, cid, bundle).ok()


def with_daemon(function):
    """A test on the socket of a shim that has no container."""
    def body(t):
        cid, bundle = t.id(), directory(t, "b")
        address = start(t, bundle, cid).ok().out.strip()
        function(t, address, cid)
        code, message, _ = ttrpc.Client(address).call("Connect", (1, cid))
        equal((code, message), (ttrpc.OK, ""), "Connect of a good client afterwards")
        stop(t, address, cid, bundle)
    body.__module__, body.__name__ = function.__module__, function.__name__
    return test(body, vm=True)
