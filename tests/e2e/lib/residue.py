# SPDX-License-Identifier: Apache-2.0
"""What a container leaves behind on the host.

A snapshot is a set of sentences, one for each process, mount, unix socket, network link, file
under /run and /dev/shm, and cgroup. Two snapshots that differ name the residue. It is taken within
the run's own namespaces, where nobody else makes things; only cgroups are the whole machine's,
and of those we look at the ones that carry the run's token in their path.
"""

import os
import subprocess

# Made once by the first container on a host, and shared by all later ones.
SHARED_DIRECTORIES = {
    "/run/containerd",
    "/run/containerd/fifo",
    "/run/containerd/runc",
    "/run/containerd/s",
    "/run/kata",
    "/run/kata-containers",
    "/run/kata-containers/shared",
    "/run/kata-containers/shared/sandboxes",
    "/run/runc",
    "/run/vc",
    "/run/lock",
    "/run/mount",
    "/run/netns",
}


def processes():
    """{pid: (parent, command line)}, without zombies that only PID 1 has to reap."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid, encoding="utf-8", errors="replace") as f:
                stat = f.read()
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                cmdline = f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue  # it ended meanwhile
        name, rest = stat[stat.index("(") + 1:].rsplit(")", 1)
        state, parent = rest.split()[:2]
        if state != "Z" or parent != "1":
            found[int(pid)] = (int(parent), cmdline or "[%s] %s" % (name, state))
    return found


def descendants(table, root):
    out, todo = set(), [root]
    while todo:
        parent = todo.pop()
        for pid, (ppid, _) in table.items():
            if ppid == parent and pid not in out:
                out.add(pid)
                todo.append(pid)
    return out


def _walk(top, skip):
    for directory, subdirs, files in os.walk(top):
        subdirs[:] = [d for d in subdirs if os.path.join(directory, d) not in skip]
        for name in files:
            yield os.path.join(directory, name)
        for name in subdirs:
            yield os.path.join(directory, name)


def cgroups(token, namespace):
    """Directories of the cgroup trees that belong to this run."""
    found = []
    for directory, subdirs, _ in os.walk("/sys/fs/cgroup"):
        for name in subdirs:
            path = os.path.join(directory, name)
            if token in path:
                found.append(path)
    # containerd's parent of all cgroups of a namespace stays, with every runtime
    return [p for p in found if os.path.basename(p) != namespace]


class Watch:
    """Knows what belongs to the harness, and so what to leave out."""

    def __init__(self, token, namespace, own_pids, own_paths):
        self.token = token
        self.namespace = namespace
        self.own_pids = own_pids  # a function: the pids of harness and containerd, now
        self.own_paths = set(own_paths)
        self.shared = SHARED_DIRECTORIES | {"/run/containerd/runc/" + namespace}

    def snapshot(self):
        seen = set()
        own = self.own_pids()
        for pid, (_, cmdline) in processes().items():
            if pid not in own:
                seen.add("process %d: %s" % (pid, cmdline[:200]))
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            for line in f:
                left, right = line.split(" - ", 1)
                seen.add("mount %s (%s)" % (left.split()[4], right.split()[0]))
        with open("/proc/net/unix", encoding="utf-8") as f:
            for line in f.readlines()[1:]:
                field = line.split()
                if len(field) > 7 and field[7] not in self.own_paths \
                        and field[3] == "00010000":  # listening
                    seen.add("listening socket %s" % field[7])
        for top in ("/run", "/dev/shm"):
            for path in _walk(top, self.own_paths):
                if path not in self.shared and path not in self.own_paths:
                    seen.add("file %s" % path)
        for path in cgroups(self.token, self.namespace):
            seen.add("cgroup %s" % path)
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
        for line in links.stdout.splitlines():
            seen.add("link %s" % line.split()[1].rstrip(":"))
        return seen
