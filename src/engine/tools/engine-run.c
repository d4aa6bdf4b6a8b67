/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs one OCI bundle in the foreground, for tests and for comparing the engine with others:
 *
 *	engine-run [-c CGROUP2-MOUNT] [-s STATE-DIR] [-i ID] BUNDLE
 *
 * Exits as the container does: its code, or 128 + signal. 125: it could not be run.
 */
#include "engine/engine.h"

#include "base/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define EXIT_ENGINE 125

static int copy_once(int from, int to)
{
	char b[4096];
	ssize_t n = read(from, b, sizeof b);
	return n > 0 && fd_write_all(to, b, (size_t)n) == 0 ? 0 : -1;
}

/* Until the terminal hangs up: nobody in the container has it open any more. */
static void relay(int pty)
{
	struct pollfd p[2] = {{.fd = pty, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
	while (poll(p, 2, -1) >= 0) {
		if (p[0].revents && copy_once(pty, 1) < 0)
			return;
		if (p[1].revents && copy_once(0, pty) < 0)
			p[1].fd = -1;
	}
}

static int wait_for(int pidfd)
{
	siginfo_t info = {.si_pid = 0};
	while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0)
		if (errno != EINTR)
			return EXIT_ENGINE;
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

static int run(struct engine *g, const struct oci_spec *spec, const char *id, const char *rootfs,
	       struct err *e)
{
	struct engine_stdio io = {
		.in = 0, .out = 1, .errout = 2, .terminal = spec->process.terminal};
	struct engine_process p = ENGINE_PROCESS_INIT;
	struct engine_container *c;
	int r = engine_create(g, id, spec, rootfs, &io, &c, &p, e);
	if (r < 0)
		return r;
	r = engine_start(c, e);
	if (r < 0)
		(void)syscall(SYS_pidfd_send_signal, p.pidfd, SIGKILL, NULL, 0);
	else if (p.pty >= 0)
		relay(p.pty);
	int status = wait_for(p.pidfd);
	(void)close_fd(p.pidfd);
	(void)close_fd(p.pty);
	int deleted = engine_delete(c, r < 0 ? NULL : e);
	return r < 0 ? r : deleted < 0 ? deleted : status;
}

int main(int argc, char **argv)
{
	struct engine_options o = {.network_is_pods = false};
	const char *id = "engine-run";
	for (int opt; (opt = getopt(argc, argv, "c:s:i:")) != -1;)
		switch (opt) {
		case 'c':
			o.cgroup_root = optarg;
			break;
		case 's':
			o.state_dir = optarg;
			break;
		case 'i':
			id = optarg;
			break;
		default:
			return EXIT_ENGINE;
		}
	if (optind + 1 != argc) {
		(void)fprintf(stderr, "usage: %s [-c CGROUP2] [-s STATE] [-i ID] BUNDLE\n",
			      argv[0]);
		return EXIT_ENGINE;
	}

	struct err e = ERR_INIT;
	struct engine *g = NULL;
	struct oci_spec *spec = NULL;
	char rootfs[PATH_MAX];
	const char *bundle = argv[optind];
	/* Helpers and orphans are ours to reap, as they would be an agent's. */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	int r = oci_spec_load(bundle, &spec, &e);
	if (r == 0)
		r = spec->root_path[0] == '/'
			    ? path_format(rootfs, sizeof rootfs, "%s", spec->root_path)
			    : path_format(rootfs, sizeof rootfs, "%s/%s", bundle, spec->root_path);
	if (r == 0)
		r = engine_new(&o, &g, &e);
	if (r == 0)
		r = run(g, spec, id, rootfs, &e);
	engine_free(g);
	oci_spec_free(spec);
	if (r < 0)
		(void)fprintf(stderr, "engine-run: %s\n", err_text(&e, r));
	return r < 0 ? EXIT_ENGINE : r;
}
