# SPDX-License-Identifier: Apache-2.0
"""What a test file needs: the @test mark, checks that say what they saw, waiting.

A test is a function that takes one argument, the Bench of lib/node.py, and fails by raising.
Its name is its sentence. `vm` tests make no sense without a virtual machine (they kill QEMU, or
look at the guest's kernel): with another runtime they are listed as not applicable.
"""

import time

TESTS = []


class Failed(Exception):
    """A check that did not hold; its text is for a person."""


class Test:
    def __init__(self, func, vm, timeout, soak_timeout):
        self.func = func
        self.name = func.__module__.removeprefix("test_") + "." + func.__name__
        self.vm = vm
        self.timeout = timeout
        self.soak_timeout = soak_timeout or timeout


def test(func=None, *, vm=False, timeout=60, soak_timeout=None):
    """Registers a test. @timeout: seconds on a machine that is not busy; @soak_timeout: with --soak."""
    def register(f):
        TESTS.append(Test(f, vm, timeout, soak_timeout))
        return f
    return register(func) if func else register


def short(value, limit=600):
    text = value if isinstance(value, str) else repr(value)
    if len(text) > limit:
        half = limit // 2
        text = "%s ...(%d characters)... %s" % (text[:half], len(text), text[-half:])
    return text


def fail(message):
    raise Failed(message)


def check(condition, message):
    if not condition:
        raise Failed(message)


def equal(got, wanted, what):
    if got != wanted:
        raise Failed("%s: got %s, wanted %s" % (what, short(repr(got)), short(repr(wanted))))


def contains(text, part, what):
    if part not in text:
        raise Failed("%s: %s lacks %r" % (what, short(repr(text)), part))


def wait_until(predicate, seconds, what, interval=0.05):
    """Polls until @predicate gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed("%s: not within %g s" % (what, seconds))
        time.sleep(interval)
