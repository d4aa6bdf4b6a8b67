# SPDX-License-Identifier: Apache-2.0
"""Containers to compare: OCI specifications, each with the files that it needs.

A feature is one change of a plain specification. Each is a case of its own, and random sets of them
from different groups are further ones. "@B@" stands for the bundle's directory, "@NS@" for one with
a file for each namespace of another process.
"""

import copy
import itertools
import random

CAPS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
        "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"]

BASE = {
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["/probe"],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {s: CAPS for s in ("bounding", "effective", "permitted")},
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs"},
    "hostname": "probe",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                        "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
        "readonlyPaths": ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                          "/proc/sysrq-trigger"],
    },
}


class Case:
    """One container. `flow` names what is done with it (see run)."""

    def __init__(self, name):
        self.name = name
        self.spec = copy.deepcopy(BASE)
        self.text = None  # instead of the specification
        self.files = []  # (kind, path below the bundle, content or target, mode)
        self.probe = []
        self.flow = "life"

    def at(self, path, value):
        """Sets a value by its path: "process.user.uid". None removes it."""
        *parents, last = path.split(".")
        node = self.spec
        for key in parents:
            node = node.setdefault(key, {})
        if value is None:
            node.pop(last, None)
        else:
            node[last] = value
        return self

    def mount(self, destination, kind=None, source=None, options=None):
        m = {"destination": destination}
        for key, value in (("type", kind), ("source", source), ("options", options)):
            if value is not None:
                m[key] = value
        self.spec["mounts"].append(m)
        return self

    def namespace(self, kind, path=None):
        """Adds or replaces one."""
        self.no_namespace(kind)
        ns = {"type": kind}
        if path:
            ns["path"] = path
        self.spec["linux"]["namespaces"].append(ns)
        return self

    def no_namespace(self, kind):
        names = self.spec["linux"]["namespaces"]
        self.spec["linux"]["namespaces"] = [n for n in names if n["type"] != kind]
        return self

    def file(self, path, content="", mode=0o644):
        self.files.append(("file", path, content, mode))
        return self

    def dir(self, path, mode=0o755):
        self.files.append(("dir", path, None, mode))
        return self

    def link(self, path, target):
        self.files.append(("link", path, target, 0))
        return self

    def look(self, *lines):
        self.probe += lines
        return self


GROUPS = {}  # group: [(name, function of a case)]


def feature(group, name, *changes):
    GROUPS.setdefault(group, []).append((name, changes))


def apply(case, changes):
    for change in changes:
        change(case)
    return case


# ---- changes ----------------------------------------------------------------------------------


def at(path, value):
    return lambda c: c.at(path, value)


def mount(*args, **kwargs):
    return lambda c: c.mount(*args, **kwargs)


def namespace(kind, path=None):
    return lambda c: c.namespace(kind, path)


def without(kind):
    return lambda c: c.no_namespace(kind)


def file(*args):
    return lambda c: c.file(*args)


def folder(*args):
    return lambda c: c.dir(*args)


def link(*args):
    return lambda c: c.link(*args)


def look(*lines):
    return lambda c: c.look(*lines)


def flow(name):
    def change(c):
        c.flow = name
    return change


def user(uid, gid, groups=None, umask=None):
    u = {"uid": uid, "gid": gid}
    if groups is not None:
        u["additionalGids"] = groups
    if umask is not None:
        u["umask"] = umask
    return at("process.user", u)


def sh(script):
    return at("process.args", ["/bin/sh", "-c", script])


def caps(**sets):
    return at("process.capabilities", sets)


# ---- the process ------------------------------------------------------------------------------

for uid, gid, groups in ((0, 1000, None), (1000, 0, None), (1000, 1000, None), (1000, 1000, []),
                         (1000, 1000, [5, 6, 7]), (0, 0, [1, 2, 3]), (0, 0, [0]),
                         (65534, 65534, [65534]), (4294967294, 4294967294, [4294967294]),
                         (1, 2, list(range(100, 200))), (1000, 100, [7, 7, 6])):
    feature("user", "%d.%d.%s" % (uid, gid, "none" if groups is None else len(groups)),
            user(uid, gid, groups), look("write /tmp/of-user", "call setuid", "call setgroups"))
for umask in (0, 0o22, 0o27, 0o77, 0o777, 0o2):
    feature("umask", oct(umask), user(0, 0, umask=umask), look("write /tmp/new", "list /tmp"))

SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
for n in range(len(SETS) + 1):
    for chosen in itertools.combinations(SETS, n):
        for uid in (0, 1000):
            feature("caps", "%s-%d" % ("+".join(s[:3] for s in chosen) or "none", uid),
                    caps(**{s: ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN"] for s in chosen}),
                    at("process.user.uid", uid), look("call chown", "call mknod"))
feature("caps", "absent", at("process.capabilities", None))
feature("caps", "absent-user", at("process.capabilities", None), user(1000, 1000))
feature("caps", "lower-case", caps(**{s: ["cap_kill", "cap_chown"] for s in SETS}))
feature("caps", "unknown", caps(**{s: ["CAP_KILL", "CAP_NO_SUCH"] for s in SETS}))
feature("caps", "different", caps(bounding=["CAP_KILL", "CAP_CHOWN"], permitted=["CAP_KILL"],
                                  effective=["CAP_KILL"]))
feature("caps", "beyond-bounding", caps(bounding=["CAP_KILL"], permitted=["CAP_CHOWN"],
                                        effective=["CAP_CHOWN"]))
feature("caps", "twice", caps(**{s: ["CAP_KILL", "CAP_KILL"] for s in SETS}))
feature("caps", "ambient-alone-user", caps(bounding=CAPS, permitted=CAPS, effective=CAPS,
                                           inheritable=CAPS, ambient=["CAP_NET_RAW"]),
        user(1000, 1000), look("call socket-raw"))

for limits in ([("NOFILE", 512, 1024)], [("NOFILE", 1024, 1024)], [("CORE", 0, 0)],
               [("NPROC", 1000, 2000)], [("STACK", 4194304, 8388608)],
               [("AS", 1 << 34, 1 << 35), ("CPU", 100, 200)], [("FSIZE", 1 << 20, 1 << 21)],
               [("MEMLOCK", 4096, 8192)], [("SIGPENDING", 10, 20)], [("MSGQUEUE", 100, 200)],
               [("NICE", 0, 0)], [("RTPRIO", 0, 0)], [("RTTIME", 1000, 2000)],
               [("DATA", 1 << 30, 1 << 31)], [("RSS", 1 << 30, 1 << 31)], [("LOCKS", 10, 20)]):
    feature("rlimits", "-".join("%s.%d" % (n.lower(), s) for n, s, _ in limits),
            at("process.rlimits", [{"type": "RLIMIT_" + n, "soft": s, "hard": h}
                                   for n, s, h in limits]))

for score in (0, 1, 500, 1000):
    feature("oom", str(score), at("process.oomScoreAdj", score))
feature("nnp", "off", at("process.noNewPrivileges", False))
feature("nnp", "absent", at("process.noNewPrivileges", None))

feature("env", "none", at("process.env", []))
feature("env", "absent", at("process.env", None))
feature("env", "home", at("process.env", ["HOME=/somewhere", "PATH=/bin"]))
feature("env", "home-of-user", user(1000, 1000),
        file("rootfs/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n"))
feature("env", "home-of-nobody", user(1234, 1234),
        file("rootfs/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"))
feature("env", "home-empty", at("process.env", ["HOME=", "PATH=/bin"]))
feature("env", "passwd-odd", file("rootfs/etc/passwd", "\n#\nroot:x:zero:0\n:::\nroot:x:0:0:::\n"))
feature("env", "odd-values", at("process.env", ["A=", "B=a b", "C==", "D=\"'`$(x)", "E=ä€", "F=\t\n",
                                                "PATH=/bin", "LONG=" + "x" * 5000]))
feature("env", "twice", at("process.env", ["A=1", "A=2", "PATH=/bin", "PATH=/none"]))
feature("env", "many", at("process.env", ["V%d=%d" % (i, i) for i in range(500)]))
feature("args", "odd", at("process.args", ["/probe", "", "a b", "ä", "-x", "\t", "x" * 3000]))
feature("args", "by-path", at("process.args", ["probe"]), at("process.env", ["PATH=/bin:/"]))
feature("args", "relative", at("process.args", ["./probe"]))
feature("args", "relative-to-cwd", at("process.args", ["../probe"]), at("process.cwd", "/tmp"))
feature("args", "by-link", link("rootfs/tmp/p", "/probe"), at("process.args", ["/tmp/p"]))
feature("args", "script", file("rootfs/tmp/s", "#!/bin/sh\nexec /probe \"$0\" \"$@\"\n", 0o755),
        at("process.args", ["/tmp/s", "x"]))
feature("args", "empty-path-entry", at("process.args", ["probe"]),
        at("process.env", ["PATH=/nowhere::/bin"]))
feature("cwd", "tmp", at("process.cwd", "/tmp"))
feature("cwd", "missing", at("process.cwd", "/made/for/me"), look("list /made"))
feature("cwd", "missing-user", at("process.cwd", "/made/for/me"), user(1000, 1000),
        look("list /made"))
feature("cwd", "dots", at("process.cwd", "/tmp/../bin/."))
feature("cwd", "through-link", link("rootfs/l", "/tmp"), at("process.cwd", "/l"))
feature("cwd", "slashes", at("process.cwd", "//tmp//"))
feature("cwd", "in-a-mount", mount("/work", "tmpfs", "tmpfs"), at("process.cwd", "/work/dir"))
feature("cwd", "closed-to-user", folder("rootfs/closed", 0o700), user(1000, 1000),
        at("process.cwd", "/closed"))
feature("personality", "linux32", at("linux.personality", {"domain": "LINUX32"}))
feature("personality", "linux", at("linux.personality", {"domain": "LINUX"}))

# ---- the terminal

for size in (None, {"height": 40, "width": 100}, {"height": 1, "width": 65535}):
    feature("terminal", "no-size" if not size else "%(width)dx%(height)d" % size,
            at("process.terminal", True), at("process.consoleSize", size))
feature("terminal", "user", at("process.terminal", True), user(1000, 1000))
feature("terminal", "size-without", at("process.consoleSize", {"height": 40, "width": 100}))

# ---- namespaces -------------------------------------------------------------------------------

for kind in ("pid", "network", "ipc", "uts"):
    feature("namespaces", "no-" + kind, without(kind), at("hostname", None),
            look("call sethostname"))
feature("namespaces", "cgroup", namespace("cgroup"))
feature("namespaces", "only-mount", at("hostname", None),
        at("linux.namespaces", [{"type": "mount"}]))
for kind in ("network", "ipc", "uts", "pid"):
    feature("namespaces", "path-" + kind, at("hostname", None),
            namespace(kind, "@NS@/" + {"network": "net"}.get(kind, kind)))
feature("namespaces", "path-all", at("hostname", None), namespace("network", "@NS@/net"),
        namespace("ipc", "@NS@/ipc"), namespace("uts", "@NS@/uts"), namespace("pid", "@NS@/pid"))
feature("namespaces", "path-pod", namespace("network", "@NS@/net"), namespace("ipc", "@NS@/ipc"),
        namespace("uts", "@NS@/uts"), at("hostname", None), namespace("cgroup"))

MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def maps(uids, gids=None):
    return lambda c: (c.namespace("user"), c.at("linux.uidMappings", uids),
                      c.at("linux.gidMappings", gids or uids))


feature("userns", "plain", maps(MAPS), look("write /tmp/x", "call mount", "call mknod"))
feature("userns", "identity", maps([{"containerID": 0, "hostID": 0, "size": 65536}]))
feature("userns", "user", maps(MAPS), user(1000, 1000, [5, 6]))
feature("userns", "two-ranges", maps([{"containerID": 0, "hostID": 200000, "size": 1000},
                                      {"containerID": 1000, "hostID": 1000, "size": 1}]),
        user(1000, 1000))
feature("userns", "terminal", maps(MAPS), at("process.terminal", True))
feature("userns", "devices", maps(MAPS), at("linux.devices", [
    {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
    {"path": "/dev/pipe", "type": "p"}]))
feature("userns", "bind", maps(MAPS), folder("src"), file("src/f", "text"),
        mount("/data", "bind", "@B@/src", ["rbind", "ro"]), look("list /data", "read /data/f"))
feature("userns", "seccomp-user", maps(MAPS), user(7, 7), at("process.noNewPrivileges", False),
        at("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 17}]}),
        look("call mkdir"))
feature("userns", "host-network", maps(MAPS), without("network"))
feature("userns", "path-all", maps(MAPS), at("hostname", None), namespace("network", "@NS@/net"),
        namespace("ipc", "@NS@/ipc"), namespace("uts", "@NS@/uts"), namespace("pid", "@NS@/pid"),
        look("list /dev/mqueue", "read /proc/1/comm"))
feature("userns", "sysctl", maps(MAPS), at("linux.sysctl", {"kernel.domainname": "d.example"}))
feature("userns", "readonly", maps(MAPS), at("root.readonly", True), look("write /x"))

# ---- names and settings -----------------------------------------------------------------------

for name in ("a", "host.example.org", "x" * 64, "with space", "-dash"):
    feature("hostname", name.replace(" ", "_")[:16], at("hostname", name))
feature("hostname", "absent", at("hostname", None))
feature("hostname", "empty", at("hostname", ""))
feature("domainname", "given", at("domainname", "example.org"))
feature("domainname", "long", at("domainname", "d" * 64))

for key, value, read in (
        ("kernel.msgmax", "4096", "kernel/msgmax"), ("kernel.sem", "10 20 30 40", "kernel/sem"),
        ("kernel.shmmax", "12345678", "kernel/shmmax"),
        ("kernel.shm_rmid_forced", "1", "kernel/shm_rmid_forced"),
        ("fs.mqueue.msg_max", "7", "fs/mqueue/msg_max"),
        ("net.ipv4.ip_forward", "1", "net/ipv4/ip_forward"),
        ("net.ipv4.ip_unprivileged_port_start", "0", "net/ipv4/ip_unprivileged_port_start"),
        ("net.ipv4.ping_group_range", "0 1000", "net/ipv4/ping_group_range"),
        ("net.core.somaxconn", "321", "net/core/somaxconn"),
        ("net.ipv4.conf.lo.forwarding", "1", "net/ipv4/conf/lo/forwarding"),
        ("kernel.domainname", "by.sysctl", "kernel/domainname"),
        ("net/ipv4/ip_forward", "1", "net/ipv4/ip_forward")):
    feature("sysctl", key.replace("/", "_"), at("linux.sysctl", {key: value}),
            look("read /proc/sys/" + read))
feature("sysctl", "several", at("linux.sysctl", {"kernel.msgmax": "5000", "kernel.msgmnb": "6000",
                                                 "net.ipv4.tcp_syncookies": "0"}),
        look("read /proc/sys/kernel/msgmax", "read /proc/sys/kernel/msgmnb",
             "read /proc/sys/net/ipv4/tcp_syncookies"))

# ---- the root ---------------------------------------------------------------------------------

feature("root", "readonly", at("root.readonly", True), look("write /x", "write /dev/shm/x"))
feature("root", "absolute", at("root.path", "@B@/rootfs"))
feature("root", "by-link", link("other", "rootfs"), at("root.path", "other"))
for name in ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable",
             "runbindable"):
    feature("propagation", name, at("linux.rootfsPropagation", name))

for paths, name in (
        (["/etc/hidden"], "file"), (["/hidden"], "folder"), (["/nowhere", "/etc/nowhere/x"], "missing"),
        (["/l"], "link"), (["/proc/version", "/proc/sys/kernel"], "proc"),
        (["/etc/hidden", "/etc/hidden"], "twice"), (["/dev/null"], "null"), (["/sys"], "sys"),
        (["/etc/hidden/below-a-file"], "below-a-file"), ([], "none")):
    feature("masked", name, folder("rootfs/hidden"), file("rootfs/hidden/f", "secret"),
            file("rootfs/etc/hidden", "secret"), link("rootfs/l", "/etc/hidden"),
            at("linux.maskedPaths", paths),
            look("read /etc/hidden", "read /hidden/f", "list /hidden", "write /hidden/new",
                 "read /l", "write /etc/hidden", "read /proc/version"))
for paths, name in (
        (["/etc/fixed"], "file"), (["/fixed"], "folder"), (["/nowhere"], "missing"), (["/l"], "link"),
        (["/fixed", "/fixed/sub"], "nested"), (["/mnt"], "mount"), (["/proc/sys/net"], "proc"),
        (["/fixed", "/fixed"], "twice"), ([], "none")):
    feature("read-only-paths", name, folder("rootfs/fixed/sub"), file("rootfs/etc/fixed", "x"),
            link("rootfs/l", "/fixed"), mount("/mnt", "tmpfs", "tmpfs", ["nosuid"]),
            at("linux.readonlyPaths", paths),
            look("write /etc/fixed", "write /fixed/x", "write /fixed/sub/x", "write /l/y",
                 "write /mnt/x", "write /proc/sys/net/ipv4/ip_forward"))

# ---- mounts -----------------------------------------------------------------------------------

SOURCE = (folder("src/sub"), file("src/f", "text"), file("src/sub/g", "more"))


def bind(name, options, destination="/data", kind="bind", source="@B@/src", extra=(), lines=()):
    feature("mounts", name, *SOURCE, *extra, mount(destination, kind, source, options),
            look("list /data", "read /data/f", "write /data/new", "write /data/f", *lines))


bind("bind", ["bind"])
bind("bind-ro", ["bind", "ro"])
bind("bind-rw", ["bind", "rw"])
bind("rbind", ["rbind"])
bind("rbind-ro", ["rbind", "ro"])
bind("bind-without-type", ["bind"], kind=None)
bind("bind-type-none", ["rbind"], kind="none")
bind("bind-type-odd", ["rbind"], kind="no-such-type")
bind("bind-without-option", [])
bind("bind-no-options", None)
bind("bind-nosuid-nodev-noexec", ["bind", "nosuid", "nodev", "noexec"])
bind("bind-exec-suid-dev", ["bind", "exec", "suid", "dev"])
bind("bind-noatime", ["bind", "noatime"])
bind("bind-nodiratime", ["bind", "nodiratime"])
bind("bind-strictatime", ["bind", "strictatime"])
bind("bind-relatime-ro", ["bind", "relatime", "ro"])
bind("bind-rw-after-ro", ["bind", "ro", "rw"])
for kind in ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"):
    bind("bind-" + kind, ["rbind", kind])
bind("bind-missing-nested", ["bind"], "/data/very/deep", lines=("list /data/very/deep",))
bind("bind-over-link", ["bind"], "/ln", extra=(folder("rootfs/data"), link("rootfs/ln", "data")))
bind("bind-over-absolute-link", ["bind"], "/ln",
     extra=(folder("rootfs/data"), link("rootfs/ln", "/data")))
bind("bind-over-escaping-link", ["bind"], "/ln/x",
     extra=(folder("rootfs/data"), link("rootfs/ln", "../../../data")), lines=("list /ln/",))
bind("bind-over-dangling-link", ["bind"], "/ln", extra=(link("rootfs/ln", "/not/there"),),
     lines=("list /not", "list /ln"))
bind("bind-dots", ["bind"], "/tmp/../data")
bind("bind-dots-out", ["bind"], "/../../data")
bind("bind-slashes", ["bind"], "//data//")
bind("bind-file", ["bind", "ro"], "/etc/file", source="@B@/src/f",
     lines=("read /etc/file", "write /etc/file", "list /etc"))
bind("bind-file-missing-folder", ["bind"], "/a/b/file", source="@B@/src/f",
     lines=("read /a/b/file", "list /a"))
bind("bind-file-over-file", ["bind"], "/etc/file", source="@B@/src/f",
     extra=(file("rootfs/etc/file", "old", 0o600),), lines=("read /etc/file",))
bind("bind-file-over-link", ["bind"], "/etc/ln", source="@B@/src/f",
     extra=(file("rootfs/etc/file", "old"), link("rootfs/etc/ln", "file")),
     lines=("read /etc/file", "list /etc"))
bind("bind-null", ["bind"], "/etc/null", source="/dev/null", lines=("read /etc/null", "list /etc"))
bind("bind-source-link", ["bind"], source="@B@/srcl", extra=(link("srcl", "src"),))
bind("bind-source-relative", ["bind"], source="src")
bind("bind-empty-option", ["bind", ""])
bind("bind-unknown-option", ["bind", "no-such-option"])
bind("bind-rro", ["rbind", "rro"])
bind("bind-rnosuid", ["rbind", "rnosuid", "rnodev"])
bind("bind-twice", ["bind"], extra=(mount("/data", "bind", "@B@/src/sub", ["bind"]),))
bind("bind-in-bind", ["bind"], extra=(folder("src/in"),), lines=("list /data/in",))


def mounted(name, *args, extra=(), lines=()):
    feature("mounts", name, *extra, mount(*args), look(*lines))


mounted("tmpfs", "/t", "tmpfs", "tmpfs", lines=("list /t", "write /t/x"))
for options in (["size=1m"], ["size=1m", "mode=0700"], ["mode=1777", "nr_inodes=10"], ["ro"],
                ["uid=5", "gid=6"], ["nosuid", "nodev", "noexec"], ["noswap"], ["huge=never"],
                ["size=50%"], ["noatime"], ["size=bad"], ["defaults"], ["rw", "exec"], ["async"],
                ["sync", "dirsync"], ["mand"], ["iversion"]):
    mounted("tmpfs-" + "-".join(options).replace("%", "pc"), "/t", "tmpfs", "tmpfs", options,
            lines=("list /t", "write /t/x"))
mounted("tmpfs-odd-source", "/t", "tmpfs", "my source", ["size=1m"])
mounted("tmpfs-no-source", "/t", "tmpfs", None, ["size=1m"])
mounted("tmpfs-over-full", "/full", "tmpfs", "tmpfs", extra=(folder("rootfs/full"),
                                                            file("rootfs/full/f", "x")),
        lines=("list /full",))
mounted("tmpcopyup", "/full", "tmpfs", "tmpfs", ["tmpcopyup"],
        extra=(folder("rootfs/full/d", 0o700), file("rootfs/full/f", "x", 0o640),
               link("rootfs/full/l", "f")), lines=("list /full", "read /full/f"))
mounted("tmpcopyup-ro", "/full", "tmpfs", "tmpfs", ["tmpcopyup", "ro", "mode=0711"],
        extra=(folder("rootfs/full/d"), file("rootfs/full/d/f", "x")), lines=("list /full",))
mounted("tmpcopyup-empty", "/new", "tmpfs", "tmpfs", ["tmpcopyup"], lines=("list /new",))
mounted("proc-again", "/p", "proc", "proc", ["ro"], lines=("read /p/sys/kernel/ostype",))
mounted("proc-hidepid", "/p", "proc", "proc", ["hidepid=2"])
mounted("proc-file", "/proc/meminfo", "bind", "@B@/m", ["bind"], extra=(file("m", "mine"),),
        lines=("read /proc/meminfo",))
mounted("sysfs-again", "/s", "sysfs", "sysfs", ["nosuid"])
mounted("mqueue-again", "/q", "mqueue", "mqueue")
mounted("devpts-again", "/pts", "devpts", "devpts", ["newinstance", "gid=7", "mode=0600"],
        lines=("list /pts",))
mounted("ramfs", "/r", "ramfs", "ramfs", ["mode=0700"], lines=("list /r",))
mounted("cgroup", "/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "ro"])
mounted("cgroup2", "/sys/fs/cgroup", "cgroup2", "cgroup", ["nosuid", "noexec", "nodev", "relatime"])
mounted("nested-tmpfs", "/t/a/b", "tmpfs", "tmpfs", extra=(mount("/t", "tmpfs", "tmpfs"),),
        lines=("list /t",))
mounted("below-link", "/ln/a/b", "tmpfs", "tmpfs", extra=(link("rootfs/ln", "/tmp"),),
        lines=("list /tmp",))
mounted("dev-bind", "/dev", "bind", "@B@/dev", ["bind"], extra=(folder("dev"),))
mounted("remount-ro", "/t", None, None, ["remount", "ro"], extra=(mount("/t", "tmpfs", "tmpfs"),),
        lines=("write /t/x",))
feature("mounts", "none", at("mounts", []))
feature("mounts", "only-proc", at("mounts", BASE["mounts"][:1]))
feature("mounts", "dev-noexec", at("mounts", [
    dict(m, options=m["options"] + ["noexec"]) if m["destination"] == "/dev" else m
    for m in BASE["mounts"]]))
feature("mounts", "dev-ro", at("mounts", [
    dict(m, options=m["options"] + ["ro"]) if m["destination"] == "/dev" else m
    for m in BASE["mounts"]]), look("write /dev/x"))
feature("mounts", "sys-rw", at("mounts", [
    dict(m, options=["nosuid"]) if m["destination"] == "/sys" else m for m in BASE["mounts"]]))
feature("mounts", "proc-options", at("mounts", [
    dict(m, options=["nosuid", "noexec", "nodev"]) if m["destination"] == "/proc" else m
    for m in BASE["mounts"]]))
feature("mounts", "order-matters", *SOURCE, mount("/t/x", "bind", "@B@/src", ["bind"]),
        mount("/t", "tmpfs", "tmpfs"), look("list /t"))

# ---- devices ----------------------------------------------------------------------------------


def device(path, kind, major=None, minor=None, **rest):
    d = {"path": path, "type": kind, **rest}
    if major is not None:
        d.update(major=major, minor=minor)
    return d


for name, list_ in (
        ("char", [device("/dev/fuse", "c", 10, 229)]),
        ("block", [device("/dev/loop7", "b", 7, 7)]),
        ("fifo", [device("/dev/pipe", "p")]),
        ("unbuffered", [device("/dev/un", "u", 1, 3)]),
        ("mode", [device("/dev/fuse", "c", 10, 229, fileMode=0o640)]),
        ("mode-0", [device("/dev/fuse", "c", 10, 229, fileMode=0)]),
        ("mode-sticky", [device("/dev/fuse", "c", 10, 229, fileMode=0o1666)]),
        ("mode-with-type", [device("/dev/fuse", "c", 10, 229, fileMode=0o20666)]),
        ("owner", [device("/dev/fuse", "c", 10, 229, uid=1000, gid=44)]),
        ("uid-alone", [device("/dev/fuse", "c", 10, 229, uid=1000)]),
        ("fifo-owner", [device("/dev/pipe", "p", uid=9, gid=9, fileMode=0o600)]),
        ("nested", [device("/dev/net/tun", "c", 10, 200, fileMode=0o666)]),
        ("elsewhere", [device("/srv/dev/x", "c", 1, 7)]),
        ("default-again", [device("/dev/null", "c", 1, 3, fileMode=0o600, uid=5)]),
        ("default-other", [device("/dev/zero", "c", 1, 5, fileMode=0o444)]),
        ("several", [device("/dev/a%d" % i, "c", 10, 200 + i) for i in range(5)]),
        ("big-minor", [device("/dev/big", "c", 240, 1048575)]),
        ("dots", [device("/dev/../dev/x", "c", 1, 3)])):
    feature("devices", name, at("linux.devices", list_), look("list /srv"))

# ---- seccomp ----------------------------------------------------------------------------------

CALLS = ["getppid", "mkdir", "chmod", "unshare0", "unshare-uts", "clone3", "ptrace", "kexec", "bpf",
         "keyctl", "personality", "personality8", "socket-vsock", "socket-inet", "uname", "getrandom",
         "nosuch"]
ALL_CALLS = tuple("call " + c for c in CALLS)
# What probe, the runtimes' last steps and a libc's start need.
NEEDED = """read write open openat openat2 close stat fstat lstat newfstatat statx poll lseek mmap
mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64 access faccessat
faccessat2 dup dup2 dup3 getpid getppid getpgrp getpgid getsid clone fork vfork execve execveat exit
exit_group wait4 waitid kill tgkill gettid uname fcntl getdents64 getcwd chdir fchdir readlink
readlinkat umask getrlimit setrlimit prlimit64 getuid getgid geteuid getegid capget capset prctl
arch_prctl set_tid_address set_robust_list rseq getrandom futex ioprio_get getpriority
sched_getscheduler close_range sendmsg recvmsg sendto seccomp setresuid setresgid setgroups
keyctl personality""".split()


def rule(names, action, errno=None, args=None):
    r = {"names": names, "action": "SCMP_ACT_" + action}
    if errno is not None:
        r["errnoRet"] = errno
    if args:
        r["args"] = args
    return r


def arg(index, value, op, two=None):
    a = {"index": index, "value": value, "op": "SCMP_CMP_" + op}
    if two is not None:
        a["valueTwo"] = two
    return a


def seccomp(name, default, rules=(), *changes, **rest):
    feature("seccomp", name, at("linux.seccomp", {
        "defaultAction": "SCMP_ACT_" + default, "syscalls": list(rules), **rest}),
        look(*ALL_CALLS), *changes)


seccomp("allow-all", "ALLOW")
seccomp("errno-default", "ALLOW", [rule(["mkdir", "chmod"], "ERRNO")])
for number in (0, 1, 38, 133):
    seccomp("errno-%d" % number, "ALLOW", [rule(["mkdir", "chmod"], "ERRNO", number)])
for action in ("KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "LOG", "ALLOW"):
    seccomp("action-" + action.lower(), "ALLOW", [rule(["chmod"], action)])
seccomp("action-trace", "ALLOW", [rule(["chmod"], "TRACE", 7)])
seccomp("allowlist", "ERRNO", [rule(NEEDED, "ALLOW")])
seccomp("allowlist-errno", "ERRNO", [rule(NEEDED, "ALLOW")], defaultErrnoRet=38)
seccomp("allowlist-kill", "KILL_PROCESS", [rule(NEEDED + ["mkdir", "chmod"], "ALLOW")])
seccomp("allowlist-arch", "ERRNO", [rule(NEEDED, "ALLOW")],
        architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"])
seccomp("arch-native", "ALLOW", [rule(["mkdir"], "ERRNO", 5)], architectures=["SCMP_ARCH_X86_64"])
seccomp("unknown-call", "ALLOW", [rule(["no_such_call", "mkdir"], "ERRNO", 5)])
seccomp("flag-log", "ALLOW", [rule(["mkdir"], "ERRNO", 5)], flags=["SECCOMP_FILTER_FLAG_LOG"])
seccomp("flag-spec", "ALLOW", [rule(["mkdir"], "ERRNO", 5)],
        flags=["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])
seccomp("flag-tsync", "ALLOW", [rule(["mkdir"], "ERRNO", 5)], flags=["SECCOMP_FILTER_FLAG_TSYNC"])
for op, value, two in (("EQ", 8, None), ("NE", 8, None), ("LT", 8, None), ("LE", 8, None),
                       ("GT", 8, None), ("GE", 8, None), ("MASKED_EQ", 8, 8)):
    seccomp("arg-" + op.lower(), "ALLOW",
            [rule(["personality"], "ERRNO", 77, [arg(0, value, op, two)])])
seccomp("arg-wide", "ALLOW", [rule(["personality"], "ERRNO", 77, [arg(0, 0xffffffff, "EQ")])])
seccomp("two-args", "ALLOW", [rule(["socket"], "ERRNO", 77, [arg(0, 2, "EQ"), arg(1, 1, "EQ")])])
seccomp("same-arg-twice", "ALLOW",
        [rule(["personality"], "ERRNO", 77, [arg(0, 7, "GT"), arg(0, 9, "LT")])])
seccomp("two-rules", "ALLOW", [rule(["personality"], "ERRNO", 77, [arg(0, 8, "EQ")]),
                               rule(["personality"], "ERRNO", 78, [arg(0, 0xffffffff, "EQ")])])
seccomp("rule-of-default", "ALLOW", [rule(["mkdir"], "ALLOW"), rule(["chmod"], "ERRNO", 9)])
seccomp("without-nnp", "ALLOW", [rule(["mkdir"], "ERRNO", 5)], at("process.noNewPrivileges", False))
seccomp("without-nnp-user", "ALLOW", [rule(["mkdir"], "ERRNO", 5)],
        at("process.noNewPrivileges", False), user(1000, 1000))
seccomp("without-nnp-no-caps", "ALLOW", [rule(["mkdir"], "ERRNO", 5)],
        at("process.noNewPrivileges", False), caps())
seccomp("nnp-user", "ERRNO", [rule(NEEDED, "ALLOW")], user(1000, 1000))
seccomp("allowlist-without-nnp", "ERRNO", [rule(NEEDED, "ALLOW")],
        at("process.noNewPrivileges", False))
seccomp("no-execve", "ALLOW", [rule(["execve"], "ERRNO", 13)])

# ---- hooks ------------------------------------------------------------------------------------

RECORD = "cat >@B@/log/$0; echo \"$X $PWD\" >>@B@/log/$0; readlink /proc/self/ns/mnt >/dev/null"


def hook(name, script=RECORD, **rest):
    h = {"path": "/bin/sh", "args": ["sh", "-c", script, name], "env": ["X=1", "PATH=/bin:/usr/bin"],
         **rest}
    return h


for name in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
    feature("hooks", name, folder("log"), at("hooks." + name, [hook(name)]))
    feature("hooks", name + "-fails", folder("log"),
            at("hooks." + name, [hook(name, "cat >/dev/null; echo no >&2; exit 3"), hook(name + "2")]))
    feature("hooks", name + "-missing", at("hooks." + name, [{"path": "/no/such/hook"}]))
feature("hooks", "startContainer", at("hooks.startContainer", [
    hook("startContainer", "cat >/dev/null; echo $X $PWD >/tmp/state")]), look("read /tmp/state"))
feature("hooks", "startContainer-fails", at("hooks.startContainer", [hook("s", "cat >/dev/null; exit 1")]))
feature("hooks", "two", folder("log"), at("hooks.createRuntime", [
    hook("one", "cat >/dev/null; echo 1 >>@B@/log/order"), hook("two", "cat >/dev/null; echo 2 >>@B@/log/order")]))
feature("hooks", "all", folder("log"), *(at("hooks." + n, [hook(n, "cat >/dev/null; echo $0 >>@B@/log/order")])
                                         for n in ("prestart", "createRuntime", "createContainer",
                                                   "poststart", "poststop")))
feature("hooks", "annotations", folder("log"), at("annotations", {"a.b/c": "d", "e": ""}),
        at("hooks.createRuntime", [hook("createRuntime")]))
feature("hooks", "too-slow", at("hooks.createRuntime", [hook("slow", "cat >/dev/null; exec sleep 20", timeout=1)]))
feature("hooks", "makes-a-mount", folder("log"), at("hooks.createContainer", [
    hook("m", "cat >/dev/null; mkdir -p @B@/rootfs/by-hook; echo >@B@/rootfs/by-hook/f")]), look("list /by-hook"))

# ---- cgroups, where there is version 2 --------------------------------------------------------

LIMITS = ("memory.max", "memory.low", "memory.high", "memory.swap.max", "memory.min", "cpu.max",
          "cpu.weight", "cpu.idle", "cpu.max.burst", "cpuset.cpus", "cpuset.mems", "pids.max",
          "io.weight", "hugetlb.2MB.max", "cgroup.type", "cgroup.freeze")


def limited(name, resources, *changes):
    feature("cgroups", name, namespace("cgroup"), at("linux.resources", resources),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "ro"]),
            look(*("read /sys/fs/cgroup/" + f for f in LIMITS)), *changes)


limited("none", {})
for memory in ({"limit": 1 << 26}, {"limit": -1}, {"limit": 1 << 26, "swap": 1 << 27},
               {"limit": 1 << 26, "swap": -1}, {"limit": 1 << 26, "swap": 1 << 26},
               {"limit": 1 << 26, "reservation": 1 << 25}, {"swap": 1 << 26},
               {"limit": 1 << 26, "swap": 1 << 25}):
    limited("memory-" + "-".join("%s.%d" % m for m in memory.items()), {"memory": memory})
for cpu in ({"shares": 2}, {"shares": 1024}, {"shares": 262144}, {"shares": 0},
            {"quota": 50000, "period": 100000}, {"quota": -1, "period": 100000}, {"quota": 20000},
            {"period": 50000}, {"cpus": "0"}, {"cpus": "0", "mems": "0"}, {"cpus": "999"}):
    limited("cpu-" + "-".join("%s.%s" % c for c in cpu.items()), {"cpu": cpu})
for limit in (10, 100, -1, 0):
    limited("pids-%d" % limit, {"pids": {"limit": limit}})
limited("unified", {"unified": {"memory.high": "12345344", "pids.max": "77"}})
limited("unified-over", {"unified": {"pids.max": "77"}, "pids": {"limit": 88}})
limited("unified-unknown", {"unified": {"no.such": "1"}})
limited("unified-bad", {"unified": {"pids.max": "many"}})
limited("hugetlb", {"hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 22}]})
limited("shown", {}, without("cgroup"))
DEVICES = [{"path": "/dev/k", "type": "c", "major": 1, "minor": 11},
           {"path": "/dev/f", "type": "c", "major": 10, "minor": 229},
           {"path": "/dev/m", "type": "c", "major": 1, "minor": 1}]
for name, rules in (
        ("none", None), ("deny", [{"allow": False, "access": "rwm"}]),
        ("allow", [{"allow": True, "access": "rwm"}]),
        ("one", [{"allow": False, "access": "rwm"},
                 {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]),
        ("read-only", [{"allow": False, "access": "rwm"},
                       {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]),
        ("any-minor", [{"allow": False, "access": "rwm"},
                       {"allow": True, "type": "c", "major": 1, "access": "rw"}]),
        ("except", [{"allow": True, "access": "rwm"},
                    {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}])):
    limited("devices-" + name, {} if rules is None else {"devices": rules},
            at("linux.devices", DEVICES), look(*("%s /dev/%s" % (do, n) for do in ("open", "write")
                                                 for n in ("k", "f", "m", "null", "zero"))))
for steps in ("pause", "pause-twice", "resume-running", "kill-paused", "update", "update-unknown",
              "cgroup-kill-all", "cgroup-exec", "delete-paused"):
    limited(steps, {"memory": {"limit": 1 << 27}, "pids": {"limit": 50}},
            sh("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"), flow(steps))

# ---- ends of processes, commands --------------------------------------------------------------

for status in (0, 1, 42, 127, 255):
    feature("ends", "exit-%d" % status, look("exit %d" % status), flow("run"))
for signal in (6, 9, 15):
    feature("ends", "signal-%d" % signal, sh("kill -%d $$ & sleep 5" % signal), flow("run"))
feature("ends", "killed-child", sh("sh -c 'kill -9 $$'; exit $?"), flow("run"))
feature("ends", "orphans", sh("sleep 1000 & exit 3"), flow("run"))
feature("ends", "orphans-no-pid-ns", without("pid"), sh("sleep 0.2 & exit 3"), flow("run"))
feature("ends", "terminal", at("process.terminal", True), sh("exit 5"), flow("life"))
for steps in ("kill", "kill-twice", "kill-created", "kill-named", "kill-stopped", "bad-signal",
              "delete-running", "delete-created", "delete-force", "delete-twice", "start-twice",
              "start-stopped", "create-twice", "state-unknown", "kill-unknown", "start-unknown",
              "delete-unknown", "force-unknown", "exec", "exec-process", "exec-user", "exec-env",
              "exec-missing", "exec-denied", "exec-stopped", "exec-created", "exec-cwd",
              "exec-caps", "exec-signal", "exec-detached", "exec-nnp", "pid-file",
              "bad-id", "empty-id", "bundle-missing", "exec-unknown", "exec-seccomp"):
    feature("commands", steps, sh("trap 'exit 7' TERM; trap 'exit 8' USR1; echo up; "
                                  "while :; do sleep 0.05; done"), flow(steps))
apply_seccomp = at("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    rule(["mkdir"], "ERRNO", 55)]})
GROUPS["commands"][-1] = ("exec-seccomp", GROUPS["commands"][-1][1] + (apply_seccomp, look("call mkdir")))

# ---- wrong ones -------------------------------------------------------------------------------

for name, changes in {
        "args-not-found": [at("process.args", ["no-such-program"])],
        "args-not-found-absolute": [at("process.args", ["/no/such/program"])],
        "args-not-executable": [file("rootfs/tmp/f", "x", 0o644), at("process.args", ["/tmp/f"])],
        "args-folder": [at("process.args", ["/tmp"])],
        "args-no-format": [file("rootfs/tmp/f", "\1\2\3", 0o755), at("process.args", ["/tmp/f"])],
        "args-empty-file": [file("rootfs/tmp/f", "", 0o755), at("process.args", ["/tmp/f"])],
        "args-no-interpreter": [file("rootfs/tmp/f", "#!/no/such\n", 0o755),
                                at("process.args", ["/tmp/f"])],
        "args-empty": [at("process.args", [])],
        "args-absent": [at("process.args", None)],
        "args-empty-string": [at("process.args", [""])],
        "args-denied-to-user": [folder("rootfs/closed", 0o700),
                                file("rootfs/closed/p", "#!/bin/sh\n", 0o755), user(1000, 1000),
                                caps(), at("process.args", ["/closed/p"])],
        "cwd-relative": [at("process.cwd", "tmp")],
        "cwd-empty": [at("process.cwd", "")],
        "cwd-absent": [at("process.cwd", None)],
        "cwd-file": [file("rootfs/etc/f"), at("process.cwd", "/etc/f")],
        "root-missing": [at("root.path", "no-such-root")],
        "root-absent": [at("root", None)],
        "root-file": [file("a-file"), at("root.path", "a-file")],
        "mount-no-destination": [at("mounts", [{"type": "tmpfs", "source": "tmpfs"}])],
        "mount-bad-type": [mount("/t", "no-such-filesystem", "x")],
        "mount-no-type": [mount("/t", None, "x")],
        "mount-bind-missing": [mount("/t", "bind", "@B@/no/such", ["bind"])],
        "mount-bad-data": [mount("/t", "tmpfs", "tmpfs", ["no_such_option=1"])],
        "mount-over-file": [file("rootfs/etc/f"), mount("/etc/f", "tmpfs", "tmpfs")],
        "mount-file-over-folder": [file("f"), mount("/tmp", "bind", "@B@/f", ["bind"])],
        "mount-relative": [mount("data", "tmpfs", "tmpfs")],
        "mount-root": [mount("/", "tmpfs", "tmpfs")],
        "namespace-unknown": [namespace("no-such")],
        "namespace-twice": [lambda c: c.spec["linux"]["namespaces"].append({"type": "pid"})],
        "namespace-path-missing": [namespace("network", "/no/such/ns")],
        "namespace-path-wrong-type": [namespace("network", "@NS@/uts")],
        "namespace-path-file": [file("f"), namespace("network", "@B@/f")],
        "namespace-path-relative": [namespace("network", "ns/net")],
        "maps-without-namespace": [at("linux.uidMappings", MAPS), at("linux.gidMappings", MAPS)],
        "userns-no-maps": [namespace("user")],
        "userns-root-unmapped": [maps([{"containerID": 1000, "hostID": 100000, "size": 10}])],
        "userns-overlap": [maps(MAPS + [{"containerID": 5, "hostID": 300000, "size": 10}])],
        "userns-size-0": [maps([{"containerID": 0, "hostID": 100000, "size": 0}])],
        "userns-user-unmapped": [maps([{"containerID": 0, "hostID": 100000, "size": 10}]),
                                 user(1000, 1000)],
        "hostname-without-uts": [without("uts")],
        "hostname-long": [at("hostname", "h" * 65)],
        "sysctl-unknown": [at("linux.sysctl", {"kernel.no_such_thing": "1"})],
        "sysctl-of-the-host": [at("linux.sysctl", {"vm.swappiness": "1"})],
        "sysctl-net-of-the-host": [without("network"), at("linux.sysctl", {"net.ipv4.ip_forward": "1"})],
        "sysctl-bad-value": [at("linux.sysctl", {"kernel.msgmax": "many"})],
        "rlimit-unknown": [at("process.rlimits", [{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}])],
        "rlimit-soft-above-hard": [at("process.rlimits", [
            {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 5}])],
        "rlimit-twice": [at("process.rlimits", [
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])],
        "rlimit-negative": [at("process.rlimits", [{"type": "RLIMIT_CORE", "soft": -1, "hard": -1}])],
        "oom-too-high": [at("process.oomScoreAdj", 1001)],
        "seccomp-bad-action": [at("linux.seccomp", {"defaultAction": "SCMP_ACT_NONE"})],
        "seccomp-no-default": [at("linux.seccomp", {"syscalls": []})],
        "seccomp-bad-op": [at("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            rule(["mkdir"], "ERRNO", 1, [arg(0, 1, "NONE")])]})],
        "seccomp-bad-arch": [at("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW",
                                                  "architectures": ["SCMP_ARCH_NONE"]})],
        "seccomp-bad-flag": [at("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW",
                                                  "flags": ["SECCOMP_FILTER_FLAG_NONE"]})],
        "seccomp-bad-arg-index": [at("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            rule(["mkdir"], "ERRNO", 1, [arg(9, 1, "EQ")])]})],
        "seccomp-big-errno": [at("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            rule(["mkdir"], "ERRNO", 70000)]})],
        "device-bad-type": [at("linux.devices", [device("/dev/x", "x", 1, 3)])],
        "device-relative": [at("linux.devices", [device("dev/x", "c", 1, 3)])],
        "device-no-numbers": [at("linux.devices", [device("/dev/x", "c")])],
        "device-negative": [at("linux.devices", [device("/dev/x", "c", -1, -1)])],
        "device-big-major": [at("linux.devices", [device("/dev/x", "c", 1 << 20, 1)])],
        "device-over-file": [file("rootfs/srv/x", "x"),
                             at("linux.devices", [device("/srv/x", "c", 1, 3)])],
        "propagation-unknown": [at("linux.rootfsPropagation", "no-such")],
        "personality-unknown": [at("linux.personality", {"domain": "NONE"})],
        "process-absent": [at("process", None)],
        "uid-negative": [at("process.user.uid", -1)],
        "uid-string": [at("process.user.uid", "root")],
        "uid-too-big": [at("process.user.uid", 1 << 32)],
        "umask-too-big": [at("process.user.umask", 0o1777)],
        "masked-relative": [at("linux.maskedPaths", ["etc/hidden"])],
        "version-absent": [at("ociVersion", None)],
        "version-2": [at("ociVersion", "2.0.0")],
        "hook-relative": [at("hooks.createRuntime", [{"path": "bin/true"}])],
        "terminal-without-devpts": [at("process.terminal", True), at("mounts", BASE["mounts"][:2])],
        "console-too-big": [at("process.terminal", True),
                            at("process.consoleSize", {"height": 70000, "width": 70000})],
}.items():
    feature("wrong", name, *changes)

TEXTS = {"text-empty": "", "text-garbage": "\1\2", "text-array": "[]", "text-cut": '{"ociVersion": "1.0',
         "text-null": "null", "text-twice": '{"ociVersion":"1.0.2"} {}', "text-absent": None}

# ---- the list ---------------------------------------------------------------------------------

# Groups that may be mixed. Of a group only one feature is taken; what a group is about must not
# be undone by another.
MIXED = ["umask", "caps", "oom", "nnp", "env", "args", "cwd", "personality", "namespaces", "userns",
         "sysctl", "root", "propagation", "masked", "mounts", "devices", "seccomp", "terminal"]


def single_cases(cgroups):
    for group, features in GROUPS.items():
        if group == "cgroups" and not cgroups:
            continue
        for name, changes in features:
            yield apply(Case("%s.%s" % (group, name)), changes)
    for name, text in TEXTS.items():
        case = Case("wrong." + name)
        case.text = text
        case.flow = "life" if text is not None else "no-config"
        yield case


def mixed_cases(seed, count):
    for i in range(count):
        chance = random.Random("%d/%d" % (seed, i))
        case = Case("mixed.%d-%d" % (seed, i))
        chosen = []
        for group in sorted(chance.sample(MIXED, chance.randint(3, 6))):
            name, changes = chance.choice(GROUPS[group])
            chosen.append(group + "." + name)
            apply(case, changes)
        case.of = chosen
        yield case


def generate(seed, count, cgroups=False):
    """@cgroups: each container has one, of version 2."""
    cases = [*single_cases(cgroups), *mixed_cases(seed, count)]
    for case in cases:
        if cgroups and "linux" in case.spec:
            case.spec["linux"].setdefault("cgroupsPath", "/engine-diff/c-" + case.name)
    return cases
