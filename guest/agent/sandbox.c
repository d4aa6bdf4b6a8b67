/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox: what all containers of the pod share. Its work runs on the agent's own strand. */
#include "guest/agent/agent.h"

#include "base/fd.h"
#include "guest/agent/device-request.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* A resolver reads three servers (resolv.h: MAXNS) and a few options. */
#define DNS_LINES_MAX 64
#define RESOLV_CONF "/etc/resolv.conf"

int sandbox_path(const struct agent *a, const char *name, char *dst, size_t size)
{
	return path_format(dst, size, "%s/sandbox/%s", a->options.state_dir, name);
}

/* ---- Namespaces --------------------------------------------------------------------------- */

struct ns_thread {
	struct agent *agent;
	const char *hostname;
	int r;
	struct err *e;
};

/* Pins a namespace of this thread by a mount, so that it outlives the thread. */
static int pin(const char *kind, const char *target, struct err *e)
{
	char source[64];

	(void)snprintf(source, sizeof source, "/proc/thread-self/ns/%s", kind);
	/* of an earlier sandbox of the same guest */
	(void)umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW);
	int fd = open(target, O_CREAT | O_CLOEXEC | O_WRONLY | O_NOFOLLOW, 0444);
	if (fd < 0)
		return err_errno(e, -errno, "make %s", target);
	(void)close(fd);
	if (mount(source, target, NULL, MS_BIND, NULL) < 0)
		return err_errno(e, -errno, "keep the sandbox' %s namespace", kind);
	return 0;
}

struct sandbox_place sandbox_place(struct agent *a)
{
	pthread_mutex_lock(&a->place_lock);
	struct sandbox_place p = a->place;
	pthread_mutex_unlock(&a->place_lock);
	return p;
}

/* Returns what was there before. */
static struct sandbox_place exchange_place(struct agent *a, const struct sandbox_place *to)
{
	pthread_mutex_lock(&a->place_lock);
	struct sandbox_place old = a->place;
	a->place = *to;
	pthread_mutex_unlock(&a->place_lock);
	return old;
}

static int make_namespaces(struct agent *a, const char *hostname, struct err *e)
{
	struct sandbox_place p = {0};

	int r = sandbox_path(a, "ipc", p.ipc_ns, sizeof p.ipc_ns);
	if (r == 0)
		r = sandbox_path(a, "uts", p.uts_ns, sizeof p.uts_ns);
	if (r < 0)
		return err_set(e, r, "the state directory's path is too long");
	if (unshare(CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return err_errno(e, -errno, "make the sandbox' ipc and uts namespaces");
	if (hostname[0] && sethostname(hostname, strlen(hostname)) < 0)
		return err_errno(e, -errno, "set the sandbox' host name to %s", hostname);
	r = pin("ipc", p.ipc_ns, e);
	if (r == 0)
		r = pin("uts", p.uts_ns, e);
	if (r == 0) {
		(void)snprintf(p.hostname, sizeof p.hostname, "%s", hostname);
		(void)exchange_place(a, &p);
	}
	return r;
}

static void *ns_main(void *arg)
{
	struct ns_thread *t = arg;
	t->r = make_namespaces(t->agent, t->hostname, t->e);
	return NULL;
}

/* A thread of its own: it leaves its namespaces, and ends with them. */
static int share_namespaces(struct agent *a, const char *hostname, struct err *e)
{
	struct ns_thread t = {.agent = a, .hostname = hostname, .e = e};
	pthread_t thread;

	int r = pthread_create(&thread, NULL, ns_main, &t);
	if (r)
		return err_errno(e, -r, "start a thread for the sandbox' namespaces");
	pthread_join(thread, NULL);
	return t.r;
}

static void drop_namespaces(struct agent *a)
{
	struct sandbox_place none = {0}, old = exchange_place(a, &none);

	if (old.ipc_ns[0])
		(void)umount2(old.ipc_ns, MNT_DETACH | UMOUNT_NOFOLLOW);
	if (old.uts_ns[0])
		(void)umount2(old.uts_ns, MNT_DETACH | UMOUNT_NOFOLLOW);
}

/* ---- Parts of CreateSandbox --------------------------------------------------------------- */

static int load_module(struct agent *a, const Grpc__KernelModule *m, struct err *e)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	char path[256];

	if (!m->name[0] || strchr(m->name, '/'))
		return err_set(e, -EINVAL, "kernel module \"%.100s\": not the name of one",
			       m->name);
	for (size_t i = 0; i < m->n_parameters; i++)
		buf_printf(&params, "%s%s", i ? " " : "", m->parameters[i]);
	if (buf_failed(&params))
		return err_set(e, -ENOMEM, "no memory for the parameters of module %s", m->name);
	int r = modules_load(a->modules, m->name, params.data, e);
	/* built into the kernel, or loaded by whoever made the guest */
	if (r == -ENOENT && strcmp(m->name, ".") != 0 && strcmp(m->name, "..") != 0 &&
	    path_format(path, sizeof path, "/sys/module/%s", m->name) == 0 &&
	    access(path, F_OK) == 0)
		r = 0;
	return r;
}

static int set_dns(struct agent *a, char *const *dns, size_t n, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[256];
	struct stat st;

	if (n == 0 || stat(RESOLV_CONF, &st) < 0 || S_ISDIR(st.st_mode))
		return 0;
	if (n > DNS_LINES_MAX)
		return err_set(e, -E2BIG, "%zu lines for resolv.conf: more than %d", n,
			       DNS_LINES_MAX);
	for (size_t i = 0; i < n; i++)
		buf_printf(&text, "%s\n", dns[i]);
	if (buf_failed(&text))
		return err_set(e, -ENOMEM, "no memory for resolv.conf");
	int r = sandbox_path(a, "resolv.conf", path, sizeof path);
	if (r == 0)
		r = file_replace(path, text.data, text.len, 0644);
	if (r < 0)
		return err_errno(e, r, "write resolv.conf");
	if (mount(path, RESOLV_CONF, NULL, MS_BIND, NULL) < 0)
		return err_errno(e, -errno, "bind %s over " RESOLV_CONF, path);
	return 0;
}

/* Like the original, whose runtime does not know what the image has: it is not worth the pod. */
static void find_hooks(struct job *j, const char *dir)
{
	struct guest_hooks *hooks = NULL;
	struct err e = ERR_INIT;

	if (!dir[0])
		return;
	if (guest_hooks_scan(dir, &hooks, &e) < 0)
		log_error("%s", e.text);
	j->result = hooks;
}

static void create_work(struct job *j)
{
	const Grpc__CreateSandboxRequest *q = (const void *)rpc_call_request(j->call);
	struct agent *a = j->agent;
	char path[256];

	j->r = sandbox_path(a, "", path, sizeof path);
	if (j->r == 0)
		j->r = mkdir_parents(path, 0755);
	if (j->r < 0)
		(void)err_errno(&j->e, j->r, "make the sandbox' directory");
	for (size_t i = 0; j->r == 0 && i < q->n_kernel_modules; i++)
		j->r = load_module(a, q->kernel_modules[i], &j->e);
	if (j->r == 0)
		j->r = share_namespaces(a, q->hostname, &j->e);
	if (j->r == 0)
		j->r = storages_add(a->storages, NULL, q->storages, q->n_storages, &a->held, &j->e);
	if (j->r == 0)
		j->r = set_dns(a, q->dns, q->n_dns, &j->e);
	if (j->r == 0) {
		storages_keep(a->storages, &a->held);
		find_hooks(j, q->guest_hook_path);
	} else {
		storages_release(a->storages, &a->held);
		drop_namespaces(a);
	}
}

static void create_done(struct job *j)
{
	const Grpc__CreateSandboxRequest *q = (const void *)rpc_call_request(j->call);
	struct agent *a = j->agent;

	a->sandbox_created = j->r == 0;
	if (j->r == 0) {
		a->hooks = j->result; /* a sandbox ends with the agent, so there were none */
		log_set_sandbox(q->sandbox_id);
		log_info("sandbox %s is created", q->sandbox_id);
	}
	job_reply_empty(j);
}

static struct device_request devices_of(const struct job *j)
{
	const Grpc__CreateSandboxRequest *q = (const void *)rpc_call_request(j->call);
	return (struct device_request){.storages = q->storages, .n_storages = q->n_storages};
}

static int create_look(struct job *j, struct err *e)
{
	const struct device_request q = devices_of(j);
	return device_request_look(j->agent->devices, &q, e);
}

static void create_ready(struct job *j)
{
	const struct agent *a = j->agent;

	if (j->r == 0 && (a->destroying || a->stopping))
		j->r = err_status(&j->e, STATUS_FAILED_PRECONDITION,
				  "the sandbox is being destroyed");
	if (j->r < 0)
		job_finish(j, create_done);
	else
		job_start(j, create_work, create_done);
}

static void create_begin(struct job *j)
{
	const struct device_request q = devices_of(j);
	const struct hotplug_want want = {.look = create_look,
					  .kinds = device_request_kinds(),
					  .timeout_ms =
						  j->agent->options.hotplug_timeout_s * 1000ULL};

	if (device_request_waits(&q))
		hotplug_wait(j, &want, create_ready);
	else
		create_ready(j);
}

void sandbox_create(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;
	const Grpc__CreateSandboxRequest *q = (const void *)rpc_call_request(call);

	if (q->sandbox_id[0] && !id_valid(q->sandbox_id)) {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "sandbox id \"%.300s\" is not valid",
			       q->sandbox_id);
		return;
	}
	if (a->sandbox_created) {
		rpc_call_failf(call, STATUS_ALREADY_EXISTS, "this guest has a sandbox: %s",
			       a->sandbox_id);
		return;
	}
	struct job *j = job_new(a, call, NULL);
	if (!j)
		return;
	a->sandbox_created = true; /* no second one meanwhile */
	(void)snprintf(a->sandbox_id, sizeof a->sandbox_id, "%s", q->sandbox_id);
	create_begin(j);
}

/* ---- DestroySandbox ----------------------------------------------------------------------- */

static void destroy_work(struct job *j)
{
	struct agent *a = j->agent;

	storages_release(a->storages, &a->held);
	drop_namespaces(a);
}

static void destroy_done(struct job *j)
{
	struct agent *a = j->agent;

	log_info("sandbox %s is destroyed", a->sandbox_id);
	a->sandbox_created = false;
	a->stopping = true;
	reply_empty(j->call);
	rpc_server_flush(a->server, 2000);
	loop_stop(a->loop);
}

void sandbox_container_gone(struct agent *a)
{
	if (!a->destroying || a->n_containers > 0)
		return;
	struct job *j = job_new(a, TAKE_PTR(a->destroying), NULL);
	if (j)
		job_start(j, destroy_work, destroy_done);
}

void sandbox_destroy(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;

	if (a->destroying || a->stopping) {
		rpc_call_failf(call, STATUS_FAILED_PRECONDITION, "the sandbox is being destroyed");
		return;
	}
	a->destroying = call;
	hotplug_give_up(a->hotplug);
	container_remove_all(a);
	sandbox_container_gone(a);
}

/* ---- UpdateEphemeralMounts ---------------------------------------------------------------- */

static void remount_work(struct job *j)
{
	const Grpc__UpdateEphemeralMountsRequest *q = (const void *)rpc_call_request(j->call);

	for (size_t i = 0; j->r == 0 && i < q->n_storages; i++)
		j->r = storages_remount(j->agent->storages, q->storages[i], &j->e);
}

void sandbox_update_ephemeral_mounts(void *ctx, struct rpc_call *call)
{
	struct job *j = job_new(ctx, call, NULL);
	if (j)
		job_start(j, remount_work, job_reply_empty);
}
