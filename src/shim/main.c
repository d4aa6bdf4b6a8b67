/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd-shim-kata-v2. containerd runs it as `start` (which leaves a daemon behind) and as
 * `delete`; it reads stdout as the answer, and in `start` also stderr, so nothing but the answer,
 * or the one sentence of a failure, is ever printed.
 */
#include "shim/actions.h"
#include "shim/version.h"

#include <signal.h>

static void print_version(void)
{
	(void)printf("Kata Containers containerd shim (runtime-c %s): id: %s, version: %s, "
		     "commit: %s\n",
		     SHIM_VERSION, SHIM_RUNTIME_NAME, SHIM_COMPAT_VERSION, SHIM_COMMIT);
}

int main(int argc, char *argv[])
{
	struct err e = ERR_INIT;
	struct cli c;

	/* systemd sends SIGTERM to a shim in its scope at shutdown: the pod's end is containerd's
	 * to decide. A peer that closes is an error code, not a signal. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);

	int r = cli_parse(argc, argv, &c, &e);
	if (r == 0) {
		switch (c.action) {
		case CLI_HELP:
			(void)fputs(cli_usage, stdout);
			break;
		case CLI_VERSION:
			print_version();
			break;
		case CLI_INFO:
			r = shim_info(&e);
			break;
		case CLI_START:
			r = shim_start(&c, &e);
			break;
		case CLI_DELETE:
			r = shim_delete(&c, &e);
			break;
		case CLI_RUN:
			r = shim_run(&c, &e);
			break;
		}
	}
	if (r == 0 && fflush(stdout) != 0)
		r = err_errno(&e, -errno, "write to stdout");
	if (r < 0) {
		(void)fprintf(stderr, "containerd-shim-kata-v2: %s\n", err_text(&e, r));
		return 1;
	}
	return 0;
}
