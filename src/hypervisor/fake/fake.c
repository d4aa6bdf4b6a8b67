/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child is a shell that waits for one line on descriptor 3, its exit code. Ending it in order
 * is writing that line; it dies with us by its parent-death signal and by the end of the stream.
 */
#include "hypervisor/fake/fake.h"

#include "base/clock.h"
#include "base/fd.h"
#include "config/config.h"
#include "hypervisor/fake/script.h"
#include "hypervisor/machine.h"

#include <string.h>
#include <sys/socket.h>

struct fake {
	struct machine m; /* first */
	struct fake_script script;
	int fs_fds[4]; /* held as long as a VMM would hold them */
	size_t n_fs;
	int control;		  /* our end of the pair */
	struct loop_timer *timer; /* loop thread: exit-after */
};

static struct fake *fake_of(void *hypervisor)
{
	return hypervisor;
}

static void sleep_ms(uint64_t ms)
{
	struct timespec ts = {.tv_sec = (time_t)(ms / 1000),
			      .tv_nsec = (long)(ms % 1000) * 1000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

/* Makes the child exit. It may be gone already, which is as good. */
static void tell_exit(struct fake *f, int code)
{
	char line[16];
	(void)snprintf(line, sizeof line, "%d\n", code);
	(void)send(f->control, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void on_timer(void *arg)
{
	struct fake *f = arg;
	tell_exit(f, f->script.exit_code);
}

static int hook_attach(struct machine *m, struct err *e)
{
	struct fake *f = fake_of(m);

	if (f->script.start_exit >= 0) {
		tell_exit(f, f->script.start_exit);
		return 0;
	}
	if (f->script.start_hang)
		return 0;
	if (f->script.exit_after_ms >= 0) {
		int r = loop_timer_new(m->base.params.loop, on_timer, f, &f->timer);
		if (r < 0)
			return err_errno(e, r, "make a timer");
		loop_timer_start(f->timer, (uint64_t)f->script.exit_after_ms);
	}
	machine_running(m);
	return 0;
}

static bool hook_ask_quit(struct machine *m)
{
	tell_exit(fake_of(m), 0);
	return true;
}

static void hook_ended(struct machine *m, int status, char *reason, size_t size)
{
	if (status == 0)
		(void)snprintf(reason, size, "the guest powered off");
}

static void hook_detach(struct machine *m)
{
	loop_timer_free(TAKE_PTR(fake_of(m)->timer));
}

static const struct machine_hooks hooks = {
	.process_name = "the fake VMM",
	.attach = hook_attach,
	.ask_quit = hook_ask_quit,
	.ended = hook_ended,
	.detach = hook_detach,
};

static int op_add_device(struct hypervisor *h, const struct hypervisor_device *d, struct err *e)
{
	struct fake *f = fake_of(h);

	if (f->script.add_device_fail)
		return err_status(e, STATUS_FAILED_PRECONDITION, "%s", f->script.add_device_fail);
	if (d->type != DEVICE_VHOST_USER_FS || f->n_fs == ARRAY_SIZE(f->fs_fds))
		return err_status(e, STATUS_UNIMPLEMENTED, "fake: no place for device type %d",
				  (int)d->type);
	f->fs_fds[f->n_fs++] = d->fs.fd;
	return 0;
}

static int op_start(struct hypervisor *h, uint64_t deadline_ms, struct err *e)
{
	struct fake *f = fake_of(h);
	const char *const argv[] = {"/bin/sh", "-c", "read code <&3; exit \"${code:-0}\"", NULL};

	if (f->script.start_delay_ms) {
		uint64_t left = (uint64_t)time_left_ms(deadline_ms);
		if (deadline_ms && left < f->script.start_delay_ms) {
			sleep_ms(left);
			return err_set(e, -ETIMEDOUT, "the fake VMM did not come up in time");
		}
		sleep_ms(f->script.start_delay_ms);
	}
	if (f->script.start_fail)
		return err_status(e, STATUS_INTERNAL, "%s", f->script.start_fail);

	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, -errno, "make a socket pair");
	_cleanup_close_ int child_end = pair[0];
	f->control = pair[1];
	struct child_fd fd = {child_end, 3};
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = argv;
	spec.fds = &fd;
	spec.n_fds = 1;
	spec.cwd = "/";
	spec.netns_fd = h->params.netns_fd;
	return machine_start(&f->m, &spec, deadline_ms, e);
}

static int op_stop(struct hypervisor *h, uint64_t grace_ms, struct err *e)
{
	struct fake *f = fake_of(h);

	if (f->script.stop_fail && h->state == HYPERVISOR_RUNNING)
		return err_status(e, STATUS_INTERNAL, "%s", f->script.stop_fail);
	sleep_ms(f->script.stop_delay_ms);
	if (h->state == HYPERVISOR_RUNNING && !f->script.never_power_off &&
	    f->script.power_off_ms < grace_ms) {
		sleep_ms(f->script.power_off_ms);
		tell_exit(f, 0);
	}
	return machine_stop(&f->m, grace_ms, e);
}

static void op_console_tail(struct hypervisor *h, char *dst, size_t size)
{
	const char *text = fake_of(h)->script.console;
	(void)snprintf(dst, size, "%s", text ? text : "");
}

static int op_agent_address(struct hypervisor *h, struct agent_address *ret, struct err *e)
{
	struct fake *f = fake_of(h);
	const char *path = h->params.config->hypervisor.fake_agent_socket;

	if (f->script.agent_fail)
		return err_status(e, STATUS_FAILED_PRECONDITION, "%s", f->script.agent_fail);
	ret->transport = f->script.agent_hybrid ? AGENT_HYBRID : AGENT_UNIX;
	if (!path[0])
		return err_status(e, STATUS_FAILED_PRECONDITION, "fake_agent_socket is not set");
	if (path_format(ret->path, sizeof ret->path, "%s", path) < 0)
		return err_set(e, -EINVAL, "fake_agent_socket = \"%s\": longer than %zu bytes",
			       path, sizeof ret->path - 1);
	return 0;
}

static void op_destroy(struct hypervisor *h)
{
	struct fake *f = fake_of(h);
	machine_shutdown(&f->m);
	for (size_t i = 0; i < f->n_fs; i++)
		(void)close(f->fs_fds[i]);
	f->control = close_fd(f->control);
	fake_script_free(&f->script);
	machine_unref(&f->m);
}

static int op_create(const struct hypervisor_params *p, struct hypervisor **ret, struct err *e)
{
	struct fake_script script;
	int r = fake_script_parse(p->config->hypervisor.fake_script, &script, e);
	if (r < 0)
		return r;
	struct fake *f = script.create_fail ? NULL : calloc(1, sizeof *f);
	if (script.create_fail)
		r = err_status(e, STATUS_FAILED_PRECONDITION, "%s", script.create_fail);
	else if (!f)
		r = err_errno(e, -ENOMEM, "make a machine");
	else
		r = machine_init(&f->m, &fake_hypervisor_ops, &hooks, p, e);
	if (r < 0) {
		free(f);
		fake_script_free(&script);
		return r;
	}
	f->script = script;
	f->control = -EBADF;
	*ret = &f->m.base;
	return 0;
}

const struct hypervisor_ops fake_hypervisor_ops = {
	.name = "fake",
	.create = op_create,
	.add_device = op_add_device,
	.start = op_start,
	.stop = op_stop,
	.console_tail = op_console_tail,
	.agent_address = op_agent_address,
	.destroy = op_destroy,
};
