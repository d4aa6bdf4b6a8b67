/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of drivers, and the wrappers through which alone they are called: they check the
 * state, apply the deadline, trace, and dispatch. They hold no lock: the caller does (see the
 * header), and only hypervisor_connect() and hypervisor_console_tail() may run beside another call.
 */
#include "hypervisor/hypervisor.h"

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "hypervisor/connect.h"
#include "hypervisor/fake/fake.h"
#include "hypervisor/qemu/qemu.h"

#include <string.h>

static const struct hypervisor_ops *const drivers[] = {
	&qemu_hypervisor_ops,
	&fake_hypervisor_ops,
};

const char *hypervisor_names(void)
{
	return "qemu, fake"; /* in the order of the table above */
}

static const char *state_name(enum hypervisor_state s)
{
	switch (s) {
	case HYPERVISOR_NEW:
		return "not started";
	case HYPERVISOR_RUNNING:
		return "running";
	case HYPERVISOR_STOPPED:
		return "stopped";
	}
	return "in an unknown state";
}

static int need_state(const struct hypervisor *h, enum hypervisor_state wanted, const char *what,
		      struct err *e)
{
	if (h->state == wanted)
		return 0;
	return err_status(e, STATUS_FAILED_PRECONDITION, "%s: the machine of sandbox %s is %s",
			  what, h->params.sandbox_id, state_name(h->state));
}

static int unsupported(const struct hypervisor *h, const char *what, struct err *e)
{
	return err_status(e, STATUS_UNIMPLEMENTED, "hypervisor \"%s\" cannot %s", h->ops->name,
			  what);
}

int hypervisor_new(const struct hypervisor_params *p, struct hypervisor **ret, struct err *e)
{
	const char *name = p->config->hypervisor.name;

	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (strcmp(drivers[i]->name, name) == 0)
			return drivers[i]->create(p, ret, e);
	return err_set(e, -EINVAL,
		       "hypervisor_name = \"%s\": there is no such driver; known are %s", name,
		       hypervisor_names());
}

int hypervisor_add_device(struct hypervisor *h, const struct hypervisor_device *d, struct err *e)
{
	if (h->state == HYPERVISOR_RUNNING)
		return unsupported(h, "add a device to a running machine", e);
	int r = need_state(h, HYPERVISOR_NEW, "add a device", e);
	if (r < 0)
		return r;
	if (!h->ops->add_device)
		return unsupported(h, "add devices", e);
	return h->ops->add_device(h, d, e);
}

int hypervisor_start(struct hypervisor *h, uint64_t timeout_ms, struct err *e)
{
	int r = need_state(h, HYPERVISOR_NEW, "start", e);
	if (r < 0)
		return r;

	uint64_t begun = time_now_ms();
	r = h->ops->start(h, time_deadline(timeout_ms ? timeout_ms : HYPERVISOR_START_MS), e);
	if (r < 0) {
		h->state = HYPERVISOR_STOPPED;
		return err_wrap(e, r, "start the machine with %s", h->ops->name);
	}
	log_debug("%s runs as pid %d after %llu ms", h->ops->name, (int)h->pid,
		  (unsigned long long)(time_now_ms() - begun));
	return 0;
}

int hypervisor_stop(struct hypervisor *h, uint64_t grace_ms, struct err *e)
{
	int r = h->ops->stop(h, grace_ms, e);
	if (r < 0)
		return err_wrap(e, r, "stop the machine");
	h->state = HYPERVISOR_STOPPED;
	return 0;
}

int hypervisor_agent_address(struct hypervisor *h, struct agent_address *ret, struct err *e)
{
	*ret = (struct agent_address){.cid = 0};
	return h->ops->agent_address(h, ret, e);
}

int hypervisor_connect(struct hypervisor *h, uint32_t port, uint64_t timeout_ms, struct err *e)
{
	struct agent_address a;
	uint64_t deadline = time_deadline(timeout_ms ? timeout_ms : HYPERVISOR_CONNECT_MS);
	int r = need_state(h, HYPERVISOR_RUNNING, "connect to the guest", e);
	if (r < 0)
		return r;
	r = hypervisor_agent_address(h, &a, e);
	if (r < 0)
		return r;
	switch (a.transport) {
	case AGENT_INPROC:
		if (!h->ops->connect)
			return unsupported(h, "connect to the guest", e);
		return h->ops->connect(h, port, deadline, e);
	case AGENT_VSOCK:
		return connect_vsock(a.cid, port, deadline, e);
	case AGENT_HYBRID:
		return connect_hybrid(a.path, port, deadline, e);
	case AGENT_UNIX:
		return connect_unix(a.path, deadline, e);
	}
	return err_status(e, STATUS_INTERNAL, "unknown transport %d", (int)a.transport);
}

void hypervisor_console_tail(struct hypervisor *h, char *dst, size_t size)
{
	if (!size)
		return;
	dst[0] = '\0';
	if (h->ops->console_tail)
		h->ops->console_tail(h, dst, size);
}

void hypervisor_free(struct hypervisor *h)
{
	if (h)
		h->ops->destroy(h);
}
