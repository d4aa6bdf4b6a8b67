/* SPDX-License-Identifier: Apache-2.0 */
#include "persist/state.h"

#include "base/fd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

/* 1024 containers with thousands of execs are a few megabytes. */
#define STATE_BYTES_MAX (16u << 20)
#define STATE_VALUES_MAX (1u << 20)
#define STATE_DEPTH_MAX 16

/* ---- Writing ------------------------------------------------------------------------------ */

/* A path may hold any byte; JSON may not. */
static json_t *text(const char *s)
{
	json_t *v = json_string(s);
	if (v)
		return v;
	_cleanup_free_ char *copy = strdup(s);
	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return copy ? json_string(copy) : NULL;
}

/* A member that memory does not suffice for is left out. */
static void set(json_t *object, const char *key, json_t *value)
{
	(void)json_object_set_new(object, key, value);
}

static json_t *pid_or_null(pid_t pid)
{
	return pid > 0 ? json_integer(pid) : json_null();
}

static json_t *resource(const struct state_sandbox *s)
{
	json_t *v = json_object(), *cgroups = json_object();

	set(cgroups, "path", text(""));
	set(cgroups, "overhead_path", text(""));
	set(cgroups, "sandbox_cgroup_only", json_boolean(s->sandbox_cgroup_only));
	set(cgroups, "enable_vcpus_pinning", json_false());
	set(v, "endpoint", json_array());
	set(v, "cgroup_state", cgroups);
	return v;
}

static json_t *hypervisor(const struct state_sandbox *s, json_t *config)
{
	json_t *v = json_object();

	set(v, "hypervisor_type", text(s->hypervisor));
	set(v, "pid", pid_or_null(s->pids.vmm.pid));
	set(v, "uuid", text(""));
	set(v, "api_socket", text(""));
	set(v, "id", text(s->id));
	set(v, "vm_path", text(s->dir));
	set(v, "jailed", json_false());
	set(v, "jailer_root", text(""));
	set(v, "netns", json_null());
	set(v, "config", config ? config : json_object());
	set(v, "run_dir", text(s->run_dir));
	set(v, "cached_block_devices", json_array());
	set(v, "virtiofs_daemon_pid", pid_or_null(s->pids.virtiofsd.pid));
	set(v, "passfd_listener_port", json_null());
	set(v, "guest_protection_to_use", text("NoProtection"));
	return v;
}

static json_t *shim(const struct state_sandbox *s)
{
	json_t *v = json_object();

	set(v, "pid", json_integer(s->pids.shim.pid));
	set(v, "start_time", json_from_uint(s->pids.shim.start_time));
	set(v, "hypervisor_start_time", json_from_uint(s->pids.vmm.start_time));
	set(v, "virtiofs_daemon_start_time", json_from_uint(s->pids.virtiofsd.start_time));
	set(v, "status", text(s->status));
	set(v, "reason", text(s->reason));
	return v;
}

void state_begin(struct state_doc *d, const struct state_sandbox *s, json_t *config)
{
	*d = (struct state_doc){.root = json_object(), .containers = json_array()};
	set(d->root, "sandbox_type", text("virt_container"));
	set(d->root, "resource", resource(s));
	set(d->root, "hypervisor", hypervisor(s, config));
	set(d->root, "shim", shim(s));
	set(d->root, "containers", d->containers); /* borrowed from here on */
}

static json_t *process(const struct state_process *p)
{
	json_t *v = json_object();
	struct tm tm;
	char when[64];

	set(v, "id", text(p->id));
	set(v, "state", text(p->status));
	if (p->exited_at.tv_sec && gmtime_r(&p->exited_at.tv_sec, &tm)) {
		size_t n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
		(void)snprintf(when + n, sizeof when - n, ".%09ldZ", p->exited_at.tv_nsec);
		set(v, "exit_status", json_integer(p->exit_status));
		set(v, "exited_at", text(when));
	}
	return v;
}

void state_add_container(struct state_doc *d, const struct state_process *p, const char *bundle)
{
	json_t *v = process(p);

	d->execs = json_array();
	set(v, "bundle", text(bundle));
	set(v, "execs", d->execs);
	(void)json_array_append_new(d->containers, v);
}

void state_add_exec(struct state_doc *d, const struct state_process *p)
{
	(void)json_array_append_new(d->execs, process(p));
}

ssize_t state_write(struct state_doc *d, const char *path)
{
	_cleanup_free_ char *dump = json_text_dump(d->root, JSON_INDENT(2));

	json_decref(d->root);
	*d = (struct state_doc){.root = NULL};
	if (!dump)
		return -ENOMEM;
	size_t n = strlen(dump);
	int r = file_replace(path, dump, n, 0600);
	return r < 0 ? r : (ssize_t)n;
}

/* ---- Reading ------------------------------------------------------------------------------ */

static struct state_pid read_pid(struct json_reader *jr, const struct json_at *in, const char *key,
				 const struct json_at *times, const char *time_key)
{
	struct state_pid p = {
		.pid = (pid_t)json_read_uint(jr, in, key, INT32_MAX, 0),
		.start_time = json_read_uint(jr, times, time_key, UINT64_MAX, 0),
	};
	return p.start_time ? p : (struct state_pid){.pid = 0};
}

int state_parse(const char *text_, size_t len, struct state_pids *ret)
{
	static const struct json_limits limits = {
		.bytes = STATE_BYTES_MAX, .depth = STATE_DEPTH_MAX, .values = STATE_VALUES_MAX};
	struct json_reader jr = {.r = 0};
	struct json_at hypervisor_at, shim_at;
	struct state_pids pids = {.shim.pid = 0};
	json_t *v;

	int r = json_text_parse(text_, len, &limits, &v, NULL);
	if (r < 0)
		return r;
	struct json_at root = json_at_root(v, "state");
	if (json_value_is_object(&jr, &root) &&
	    json_read_object(&jr, &root, "hypervisor", &hypervisor_at) &&
	    json_read_object(&jr, &root, "shim", &shim_at)) {
		pids.shim = read_pid(&jr, &shim_at, "pid", &shim_at, "start_time");
		pids.vmm = read_pid(&jr, &hypervisor_at, "pid", &shim_at, "hypervisor_start_time");
		pids.virtiofsd = read_pid(&jr, &hypervisor_at, "virtiofs_daemon_pid", &shim_at,
					  "virtiofs_daemon_start_time");
	}
	json_decref(v);
	if (jr.r == 0)
		*ret = pids;
	return jr.r;
}

int state_read(const char *path, struct state_pids *ret)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = file_read(AT_FDCWD, path, STATE_BYTES_MAX, &b);
	return r < 0 ? r : state_parse(b.data ? b.data : "", b.len, ret);
}
