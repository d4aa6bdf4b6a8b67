/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock-proxy HYBRID_SOCKET CID -- QEMU ARGS...
 *
 * Starts QEMU with a vsock device that this program serves, so that a guest can be reached on a
 * machine without /dev/vhost-vsock:
 *
 *	(echo connect 1024; cat) | socat - UNIX-CONNECT:HYBRID_SOCKET
 *
 * and so that connections of the guest's to host port P arrive at HYBRID_SOCKET_P. The arguments
 * must make guest memory shared (memory-backend-memfd,share=on). For development and tests; ends
 * with QEMU, and with its exit code.
 */
#include "base/clock.h"
#include "base/log.h"
#include "io/child.h"
#include "vhost_user/vhost-vsock.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define VMM_FD 3

extern char **environ;

struct proxy {
	struct loop *loop;
	struct vhost_vsock *vsock;
	struct child qemu;
	struct loop_io *qemu_io;
	struct loop_signal *on_int, *on_term;
	int exit_code;
};

static int usage(void)
{
	(void)fprintf(stderr, "usage: vsock-proxy HYBRID_SOCKET CID -- QEMU ARGS...\n");
	return 2;
}

static void on_signal(void *arg, int signum)
{
	struct proxy *p = arg;
	(void)child_kill(&p->qemu, signum);
}

static void on_exit_of_qemu(void *arg, unsigned events)
{
	struct proxy *p = arg;

	loop_io_free(p->qemu_io);
	p->qemu_io = NULL;
	(void)child_wait(&p->qemu, time_deadline(1000), &p->exit_code);
	loop_stop(p->loop);
}

static int start_qemu(struct proxy *p, char **argv, int argc, int vmm_fd, struct err *e)
{
	static const char *const extra[] = {"-chardev", "socket,id=vsock-proxy,fd=3", "-device",
					    "vhost-user-vsock-pci,chardev=vsock-proxy", NULL};
	const char **all = calloc((size_t)argc + ARRAY_SIZE(extra), sizeof *all);
	if (!all)
		return err_errno(e, -ENOMEM, "start %s", argv[0]);
	/* before the other devices, so that no bus of theirs is taken for it */
	const size_t n = ARRAY_SIZE(extra) - 1;
	all[0] = argv[0];
	memcpy(all + 1, extra, n * sizeof *all);
	memcpy(all + 1 + n, argv + 1, ((size_t)argc - 1) * sizeof *all);
	const struct child_fd fd = {.fd = vmm_fd, .as = VMM_FD};
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = all;
	spec.envp = (const char *const *)environ;
	spec.in = 0;
	spec.out = 1;
	spec.errout = 2;
	spec.fds = &fd;
	spec.n_fds = 1;
	int r = child_spawn(&spec, &p->qemu, e);
	free(all);
	return r;
}

static int watch(struct proxy *p, struct err *e)
{
	int r = loop_io_new(p->loop, p->qemu.pidfd, LOOP_READ, on_exit_of_qemu, p, &p->qemu_io);
	if (r >= 0)
		r = loop_signal_new(p->loop, SIGINT, on_signal, p, &p->on_int);
	if (r >= 0)
		r = loop_signal_new(p->loop, SIGTERM, on_signal, p, &p->on_term);
	return r < 0 ? err_errno(e, r, "watch QEMU") : 0;
}

static int run(struct proxy *p, const char *path, uint64_t cid, char **argv, int argc,
	       struct err *e)
{
	_cleanup_close_ int vmm_fd = -EBADF;

	int r = vhost_vsock_new(p->loop, cid, path, &p->vsock, &vmm_fd, e);
	if (r < 0)
		return r;
	r = start_qemu(p, argv, argc, vmm_fd, e);
	if (r < 0)
		return r;
	vmm_fd = close_fd(vmm_fd);
	r = watch(p, e);
	if (r < 0)
		return r;
	loop_run(p->loop);
	return 0;
}

int main(int argc, char **argv)
{
	struct proxy p = {.qemu = CHILD_INIT, .exit_code = 1};
	struct err e = ERR_INIT;
	char *end = NULL;

	if (argc < 5 || strcmp(argv[3], "--") != 0)
		return usage();
	unsigned long long cid = strtoull(argv[2], &end, 10);
	if (*end != '\0')
		return usage();
	log_add_sink(log_sink_fd, (void *)(intptr_t)STDERR_FILENO);
	(void)signal(SIGPIPE, SIG_IGN);
	const char *level = getenv("VSOCK_PROXY_LOG");
	enum log_level parsed = LOG_INFO;
	if (level && log_level_parse(level, &parsed) == 0)
		log_set_level(parsed);
	int r = loop_new(&p.loop);
	if (r < 0)
		return 1;
	r = run(&p, argv[1], cid, argv + 4, argc - 4, &e);
	if (r < 0)
		log_error("%s", err_text(&e, r));
	child_destroy(&p.qemu);
	loop_io_free(p.qemu_io);
	loop_signal_free(p.on_int);
	loop_signal_free(p.on_term);
	vhost_vsock_free(p.vsock);
	loop_free(p.loop);
	return r < 0 ? 1 : p.exit_code;
}
