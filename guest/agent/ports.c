/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports beside that of the API, each for one purpose (docs/architecture.md, "Ways into the
 * guest"). The agent works without any of them, so a failure is logged, and who asks finds nobody.
 */
#include "base/fd.h"
#include "guest/agent/agent.h"
#include "rpc/listen.h"

#include <linux/vm_sockets.h>
#include <string.h>

int ports_listen(const char *address, struct err *e)
{
	int cid;
	unsigned port;
	char end;

	if (strncmp(address, "unix://", 7) == 0)
		return rpc_listen_unix(address, RPC_LISTEN_REPLACE_STALE, e);
	if (sscanf(address, "vsock://%d:%u%c", &cid, &port, &end) != 2)
		return err_set(e, -EINVAL,
			       "server address \"%s\": neither vsock://CID:PORT nor unix://PATH",
			       address);
	return rpc_listen_vsock(cid < 0 ? VMADDR_CID_ANY : (uint32_t)cid, port, e);
}

static int start_logging(struct agent *a, struct err *e)
{
	if (!a->options.log_vport)
		return 0;
	int fd = rpc_listen_vsock(VMADDR_CID_ANY, a->options.log_vport, e);
	if (fd < 0)
		return fd;
	int r = logging_listen(a->logging, a->loop, fd);
	if (r < 0) {
		(void)close_fd(fd);
		return err_errno(e, r, "serve the log");
	}
	return 0;
}

static int start_forward(struct agent *a, struct err *e)
{
	const char *address = agent_options_forward(&a->options);
	int fd = address ? ports_listen(address, e) : 0;
	if (!address || fd < 0)
		return fd;
	int r = forward_new(a->loop, fd, &a->forward);
	if (r < 0) {
		(void)close_fd(fd);
		return err_errno(e, r, "serve forwarded ports");
	}
	return 0;
}

static int start_passfd(struct agent *a, struct err *e)
{
	char address[sizeof a->options.passfd_addr];

	if (a->options.passfd_addr[0])
		(void)snprintf(address, sizeof address, "%s", a->options.passfd_addr);
	else if (a->options.passfd_vport)
		(void)snprintf(address, sizeof address, "vsock://-1:%u", a->options.passfd_vport);
	else
		return 0;
	int fd = ports_listen(address, e);
	if (fd < 0)
		return fd;
	int r = passfd_new(a->loop, fd, &a->passfd);
	if (r < 0) {
		(void)close_fd(fd);
		return err_errno(e, r, "serve streams for stdio");
	}
	return 0;
}

static int start_console(struct agent *a, struct err *e)
{
	const struct agent_options *o = &a->options;
	char address[sizeof o->console_addr];

	if (!o->debug_console && !o->devmode && !o->console_addr[0])
		return 0;
	if (!o->debug_console_vport && !o->console_addr[0])
		return console_on_machine(a->loop, &a->console, e);
	if (o->console_addr[0])
		(void)snprintf(address, sizeof address, "%s", o->console_addr);
	else
		(void)snprintf(address, sizeof address, "vsock://-1:%u", o->debug_console_vport);
	int fd = ports_listen(address, e);
	if (fd < 0)
		return fd;
	int r = console_listen(a->loop, fd, &a->console, e);
	if (r < 0)
		(void)close_fd(fd);
	return r;
}

void ports_open(struct agent *a)
{
	static int (*const starts[])(struct agent * a,
				     struct err * e) = {start_forward, start_passfd, start_console};
	struct err e = ERR_INIT;

	int r = start_logging(a, &e);
	if (r < 0) {
		logging_to_console(a->logging);
		log_error("%s", err_text(&e, r));
	}
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		e = ERR_INIT;
		r = starts[i](a, &e);
		if (r < 0)
			log_error("%s", err_text(&e, r));
	}
}
