# SPDX-License-Identifier: Apache-2.0
"""The debug console: a shell in the guest, for who asks for it in the configuration."""

import glob
import json
import os
import shutil
import socket

from lib.suite import check, contains, test
from test_hooks import image_with


def with_shell(t, **keys):
    os.makedirs(os.path.join(t.dir, "more/bin"))
    shutil.copy("/bin/busybox", os.path.join(t.dir, "more/bin/busybox"))
    os.symlink("busybox", os.path.join(t.dir, "more/bin/sh"))
    return t.config({"initrd": json.dumps(image_with(t, {})), **keys})


def connect(port):
    """To a port of the guest, by the hybrid socket of the pod's machine."""
    paths = glob.glob("/run/kata/*/root/kata.hvsock") + glob.glob("/run/kata/*/kata.hvsock")
    check(len(paths) == 1, "no hybrid socket: %s" % paths)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(paths[0])
    s.sendall(b"CONNECT %d\n" % port)
    return s


def read_all(s):
    text = b""
    while True:
        data = s.recv(4096)
        if not data:
            return text.decode(errors="replace")
        text += data


@test(vm=True, timeout=120)
def a_shell_in_the_guest_for_who_asks_for_it(t):
    config = with_shell(t, debug_console_enabled="true")
    cid = t.start("sleep", "1000", config=config)
    s = connect(1026)
    s.sendall(b"cat /proc/1/comm; echo six-$((6*7)); exit\n")
    text = read_all(s)
    contains(text, "six-42", "the console's output")
    contains(text, "OK ", "the console's output")
    t.remove(cid)


@test(vm=True, timeout=120)
def no_console_for_who_does_not(t):
    cid = t.start("sleep", "1000", config=with_shell(t))
    text = read_all(connect(1026))
    check("OK" not in text, "somebody listens: %s" % text)
    t.remove(cid)
