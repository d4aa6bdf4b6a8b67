# SPDX-License-Identifier: Apache-2.0
"""A policy in the guest's image says which requests the agent answers."""

import json

from lib.suite import check, contains, equal, test
from test_hooks import image_with

HEAD = "package agent_policy\n"


def with_policy(t, text):
    path = image_with(t, {"/etc/kata-opa/default-policy.rego": HEAD + text})
    return t.config({"initrd": json.dumps(path)})


@test(vm=True, timeout=120)
def a_policy_of_the_guests_image_denies_containers(t):
    tolerant = "CreateContainerRequest := false\ndefault AllowRequestsFailingPolicy := %s\n"
    r = t.run("echo", "hi", config=with_policy(t, tolerant % "true")).ok()
    equal(r.out, "hi\n", "output where the policy is tolerant")
    r = t.run("true", config=with_policy(t, tolerant % "false"))
    check(r.code != 0, "the policy was ignored")
    contains(r.err, "is blocked by policy", "stderr")


@test(vm=True, timeout=120)
def a_guest_with_a_policy_that_is_not_understood_does_not_serve(t):
    r = t.run("true", config=with_policy(t, "ExecProcessRequest { input.ok }\n"), timeout=100)
    check(r.code != 0, "the policy was ignored")
    contains(r.err, "default-policy.rego: policy: line 2: ", "stderr, with the guest's last words")
