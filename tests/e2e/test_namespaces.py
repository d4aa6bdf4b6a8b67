# SPDX-License-Identifier: Apache-2.0
"""Namespaces and mounts that only some containers ask for."""

import os

from lib import peer
from lib.suite import check, contains, equal, test
from test_errors import rootfs, run_with_spec

MAPS = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"]
ID_MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def shell(t, script, change=lambda spec: None):
    """A container of a spec of our own that runs @script."""
    def edit(spec):
        root = rootfs(t)
        for name in "sh", "cat", "ls", "stat", "touch", "cut", "grep", "id":
            if not os.path.lexists(os.path.join(root, "bin", name)):
                os.symlink("true", os.path.join(root, "bin", name))
        spec["process"]["args"] = ["sh", "-c", script]
        change(spec)
    return run_with_spec(t, edit)


@test
def a_user_namespace_of_its_own(t):
    script = ("id -u; read a b c < /proc/self/uid_map; echo $a $b $c; echo x > /dev/null; "
              "touch /made && stat -c %u /made; tty; ls -d /sys/class; mount | grep -c ' /sys '")
    r = t.run("sh", "-c", script, options=MAPS).ok()
    equal(r.out, "0\n0 100000 65536\n0\nnot a tty\n/sys/class\n1\n", "what it sees")


@test
def an_exec_is_in_the_user_namespace(t):
    cid = t.start("sleep", "1000", options=MAPS)
    r = t.exec(cid, "sh", "-c", "id -u; read a b c < /proc/self/uid_map; echo $b").ok()
    equal(r.out, "0\n100000\n", "user and map of the exec")
    t.remove(cid)


@test(vm=True)
def clocks_of_its_own(t):
    """By a peer: containerd 1.6 itself does not know of timeOffsets."""
    def change(body):
        body["linux"]["namespaces"].append({"type": "time"})
        body["linux"]["timeOffsets"] = {"boottime": {"secs": 5000000}, "monotonic": {"secs": 7}}
        return body
    with peer.Containerd(t, "2.2") as ctd:
        box = ctd.run("cat", "/proc/uptime", "/proc/self/timens_offsets", change=change)
        equal(box.wait().status, 0, "exit status")
        out = box.out()
        up = float(out.split()[0])
        check(5000000 <= up < 5000000 + 86400 * 365, "uptime is %s" % up)
        contains(" ".join(out.split()), "monotonic 7 0 boottime 5000000 0", "timens_offsets")
        box.delete()


@test(vm=True)
def containers_of_a_pod_share_their_user_namespace(t):
    def change(body):
        # as containerd writes it for hostUsers: false; the host's path means nothing to the guest
        user = {"type": "user"}
        if body["annotations"]["io.kubernetes.cri.container-type"] == "container":
            user["path"] = "/proc/1/ns/user"
        body["linux"]["namespaces"].append(user)
        # the image is root's, who nobody in there is: it must have every mount point already
        body["mounts"] = [m for m in body["mounts"] if m["destination"] != "/run"]
        body["linux"]["uidMappings"] = body["linux"]["gidMappings"] = ID_MAP
        return body

    def annotated(body):
        body["annotations"] = {"io.kubernetes.cri.container-type": "sandbox",
                               "io.kubernetes.cri.sandbox-id": sid}
        return change(body)
    show = ("sh", "-c", "readlink /proc/self/ns/user; read a b c < /proc/self/uid_map; echo $b; "
            "readlink /proc/self/ns/ipc")
    with peer.Containerd(t, "2.2") as ctd:
        sid = t.id()
        pod = ctd.run("sh", "-c", show[2] + "; sleep 1000000", cid=sid, change=annotated)
        boxes = [ctd.run(*show, pod=pod, change=change) for _ in range(2)]
        for box in boxes:
            equal(box.wait().status, 0, "exit status")
        outs = [box.out() for box in boxes]
        equal(outs[0], outs[1], "namespaces and map")
        contains(outs[0], "user:[", "namespace")
        equal(outs[0].splitlines()[1], "100000", "first id outside")
        pod.kill()
        pod.wait()
        equal(pod.out(), outs[0], "what the pod's own container is in")
        for box in [*boxes, pod]:
            box.delete()


@test
def a_tmpfs_that_begins_with_what_it_hides(t):
    def change(spec):
        spec["mounts"].append({"destination": "/bin", "type": "tmpfs", "source": "tmpfs",
                               "options": ["tmpcopyup", "size=8m"]})
    r = shell(t, "touch /bin/new && ls -d /bin/new; grep -c ' /bin tmpfs' /proc/mounts", change).ok()
    equal(r.out, "/bin/new\n1\n", "output")
    check(not os.path.exists(os.path.join(rootfs(t), "bin/new")), "it was written to the image")


@test(vm=True)
def a_domain_name(t):
    def change(spec):
        spec["hostname"], spec["domainname"] = "name", "example.org"
    r = shell(t, "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname", change).ok()
    equal(r.out.splitlines()[1], "example.org", "domain name")


@test(vm=True)
def the_agents_program_is_not_run_in_a_container(t):
    """CVE-2019-5736: the interpreter of a script is looked up while the process is still ours."""
    def change(spec):
        path = os.path.join(rootfs(t), "bin/script")
        with open(path, "w", encoding="ascii") as f:
            f.write("#!/proc/self/exe\n")
        os.chmod(path, 0o755)
        spec["process"]["args"] = ["/bin/script"]
    r = shell(t, "", change)
    check(r.code != 0 and "/bin/script" in r.err and "ermission denied" in r.err,
          "code %d, stderr: %s" % (r.code, r.err))
    r = shell(t, "", lambda spec: spec["process"].update(args=["/proc/self/exe"]))
    check(r.code != 0 and "ermission denied" in r.err, "code %d, stderr: %s" % (r.code, r.err))


@test(vm=True)
def owners_that_the_guest_cannot_map_are_refused(t):
    # virtiofs maps no ids in a 6.1 guest; the shared file must not be shown with wrong owners
    volume = os.path.join(t.dir, "volume")
    os.mkdir(volume)

    def change(spec):
        spec["mounts"].append({"destination": "/vol", "type": "bind", "source": volume,
                               "options": ["rbind", "idmap"],
                               "uidMappings": ID_MAP, "gidMappings": ID_MAP})
    r = shell(t, "stat -c %u /vol", change)
    check(r.code != 0 and "mount /vol: the filesystem of" in r.err
          and "cannot map ids" in r.err, "stderr: " + r.err)
