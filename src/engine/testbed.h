/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real containers for tests: a busybox root in a temporary directory, specs as JSON with patches,
 * and a look for anything left behind. Needs root. One thread.
 */
#pragma once

#include "base/testing.h"

#include "engine/engine.h"

#include <string.h>

struct testbed {
	char dir[64];	 /* rootfs/, outside/, state/ */
	char rootfs[80]; /* has busybox, /etc/passwd, and little else */
	struct engine *engine;
	int fds, mounts; /* open, there, when the test began */
};

struct result {
	int r; /* of create or start: then nothing has run */
	struct err e;
	int status;	 /* exit code, or 128 + signal */
	char out[65536]; /* standard output and error, or the terminal's */
};

/* cmocka setup and teardown; the latter fails if descriptors, mounts or children are left. */
int testbed_setup(void **state);
int testbed_teardown(void **state);
/** As testbed_setup, with the machine's cgroup v2 mount. */
int testbed_setup_cgroup(void **state);
/** As testbed_setup, with what the machine has its controllers in, of either version. */
int testbed_setup_controllers(void **state);

/** A spec that runs `sh -c @script`; @patch is JSON with ' for ", merged over it, or NULL. */
struct oci_spec *testbed_spec(const char *script, const char *patch);
/** A process likewise, for exec. */
struct oci_process *testbed_process(const char *script, const char *patch,
				    struct oci_arena **ret_arena);

/** Creates, starts, waits, deletes. */
const struct result *testbed_run(struct testbed *t, const char *script, const char *patch);
/** As testbed_run, which must give this status and this output. */
void testbed_expect(struct testbed *t, const char *script, const char *patch, int status,
		    const char *out);
/** As testbed_run, which must fail to create or start like this (@text is a part of it). */
void testbed_refuses(struct testbed *t, const char *script, const char *patch, int r,
		     const char *text);

/** A running container. */
struct running {
	struct oci_spec *spec;
	struct engine_container *c;
	struct engine_process init;
};
/** Starts it, and waits until it has written a line. */
void testbed_start(struct testbed *t, const char *id, const char *script, const char *patch,
		   struct running *ret);
/** Kills, reaps, deletes. */
void testbed_stop(struct running *c);
/** Execs in it and waits. */
const struct result *testbed_exec(struct running *c, const char *script, const char *patch);

int testbed_wait(int pidfd);
/** Writes a file below the testbed's directory. */
void testbed_file(struct testbed *t, const char *path, const char *text, unsigned mode);
void testbed_link(struct testbed *t, const char *path, const char *target);
bool testbed_exists(struct testbed *t, const char *path);
