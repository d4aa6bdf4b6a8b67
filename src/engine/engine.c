/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/fd.h"
#include "engine/cgroup.h"
#include "engine/container.h"
#include "engine/filter.h"
#include "engine/launcher.h"
#include "engine/listener.h"
#include "engine/trees.h"
#include "oci/hooks.h"
#include "oci/validate.h"
#include "sys/cgroup.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Mounts of network filesystems in a slow guest take seconds; a minute means that it hangs. */
#define LAUNCH_TIMEOUT_MS 60000
/* A process that is killed can be waiting for a disk. */
#define KILL_TIMEOUT_MS 10000
#define FREEZE_TIMEOUT_MS 10000
/* A seccomp listener accepts, and reads a few KiB. */
#define LISTENER_TIMEOUT_MS 10000

static int copy_string(const char *s, char **ret)
{
	*ret = s ? strdup(s) : NULL;
	return s && !*ret ? -ENOMEM : 0;
}

int engine_new(const struct engine_options *o, struct engine **ret, struct err *e)
{
	struct engine *g = calloc(1, sizeof *g);
	if (!g)
		return err_errno(e, -ENOMEM, "make the engine");
	*g = (struct engine){.sock = -EBADF,
			     .network_is_pods = o->network_is_pods,
			     .apparmor_optional = o->apparmor_optional};
	int r = copy_string(o->state_dir, &g->state_dir);
	if (r == 0)
		r = copy_string(o->cgroup_root, &g->cgroup_root);
	if (r == 0 && g->state_dir)
		r = mkdir_parents(g->state_dir, 0700);
	int pair[2] = {-EBADF, -EBADF};
	if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		r = -errno;
	if (r == 0) {
		g->sock = pair[0];
		g->launcher = fork();
		if (g->launcher == 0)
			engine_launcher_run(pair[1]);
		if (g->launcher < 0)
			r = -errno;
		(void)close(pair[1]);
	}
	if (r < 0) {
		engine_free(g);
		return err_errno(e, r, "make the engine");
	}
	*ret = g;
	return 0;
}

void engine_free(struct engine *g)
{
	if (!g)
		return;
	(void)close_fd(g->sock); /* the launcher ends with it */
	if (g->launcher > 0)
		while (waitpid(g->launcher, NULL, 0) < 0 && errno == EINTR)
			;
	free(g->state_dir);
	free(g->cgroup_root);
	free(g);
}

pid_t engine_launcher_pid(const struct engine *g)
{
	return g->launcher;
}

/* ---- create */

static int claim_state(struct engine_container *c, struct err *e)
{
	if (!c->engine->state_dir)
		return 0;
	_cleanup_free_ char *dir = NULL;
	if (asprintf(&dir, "%s/%s", c->engine->state_dir, c->id) < 0) {
		dir = NULL;
		return err_errno(e, -ENOMEM, "container %s", c->id);
	}
	if (mkdir(dir, 0700) < 0)
		return errno == EEXIST
			       ? err_status(e, STATUS_ALREADY_EXISTS, "container %s exists", c->id)
			       : err_errno(e, -errno, "make %s", dir);
	c->state_dir = TAKE_PTR(dir);
	return 0;
}

/* That there is no filter is not a failure, but something to know: engine_devices(). */
static int filter_devices(struct engine_container *c, const struct oci_resources *res,
			  struct err *e)
{
	int r = engine_cgroup_devices(c->cgroup, res->devices, res->n_devices, &c->device_fd, e);
	if (r < 0)
		return r;
	c->devices = (enum engine_devices)r;
	return 0;
}

bool engine_unconfined(const struct engine_container *c)
{
	return c->unconfined;
}

enum engine_devices engine_devices(const struct engine_container *c)
{
	return c->devices;
}

static int make_cgroup(struct engine_container *c, struct err *e)
{
	char relative[PATH_MAX];
	if (!c->engine->cgroup_root)
		return 0;
	int r = engine_cgroup_relative(c->spec->cgroups_path, c->id, relative, sizeof relative, e);
	if (r == 0)
		r = cgroup_make(c->engine->cgroup_root, relative, &c->cgroup, e);
	if (r == 0)
		r = engine_cgroup_apply(c->cgroup, &c->spec->resources, e);
	return r == 0 ? filter_devices(c, &c->spec->resources, e) : r;
}

static bool has_outer_hooks(const struct oci_hooks *h)
{
	return h->prestart.n || h->create_runtime.n;
}

/* What the launcher is told in flags, and the child in its job. */
static void describe(const struct engine_container *c, const char *rootfs,
		     const struct engine_namespaces *ns, struct engine_job *ret)
{
	*ret = (struct engine_job){
		.kind = ENGINE_JOB_CREATE,
		.id = c->id,
		.rootfs = (char *)rootfs,
		.cgroup_root = c->cgroup ? c->cgroup->root : NULL,
		.cgroup_relative = c->cgroup ? c->cgroup->relative : NULL,
		.cgroup_v1 = c->cgroup && c->cgroup->version == 1,
		.uts_ns = (ns->create | ns->join) & CLONE_NEWUTS,
		.cgroup_ns = (ns->create | ns->join) & CLONE_NEWCGROUP,
		.new_uts = ns->create & CLONE_NEWUTS,
		.new_cgroup_ns = ns->create & CLONE_NEWCGROUP,
		.user_ns = (ns->create | ns->join) & CLONE_NEWUSER,
		.apparmor_optional = c->engine->apparmor_optional,
		.sync_hooks = has_outer_hooks(&c->spec->hooks),
		.spec = *c->spec,
		.bpf = c->bpf,
		.bundle = c->bundle,
	};
	/* For the state that hooks are told; they can be long. */
	if (!c->spec->hooks.create_container.n && !c->spec->hooks.start_container.n)
		ret->spec.n_annotations = 0;
}

/* For a process that begins in there. In version 1 none can; place() moves it. -EBADF: none. */
static int open_cgroup(const struct cgroup *g, struct err *e)
{
	char dir[PATH_MAX];
	if (!g || g->version == 1)
		return -EBADF;
	int r = cgroup_dir(g, "", dir, sizeof dir);
	int fd = r < 0 ? r : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_errno(e, r < 0 ? r : -errno, "open cgroup %s", g->relative) : fd;
}

/* Before it does anything. */
static int place(const struct engine_container *c, const struct engine_launch *l, struct err *e)
{
	int r = c->cgroup && c->cgroup->version == 1 ? cgroup_attach(c->cgroup, l->pid, e) : 0;
	return r == 0 ? engine_rdt_add(&c->rdt, l->pid, e) : r;
}

/* Hooks have time limits of their own. */
static uint64_t deadline_with(const struct oci_hook_list *hooks)
{
	uint64_t ms = LAUNCH_TIMEOUT_MS;
	for (size_t i = 0; i < hooks->n; i++)
		ms += 1000 * (uint64_t)(hooks->v[i].timeout > 0 ? hooks->v[i].timeout
								: OCI_HOOK_TIMEOUT_S);
	return time_deadline(ms);
}

static int run_hooks(const struct engine_container *c, const struct oci_hook_list *hooks,
		     const char *what, const char *status, pid_t pid, struct err *e)
{
	if (!hooks->n)
		return 0;
	_cleanup_free_ char *state = oci_state_json(c->spec, c->id, status, pid, c->bundle);
	if (!state)
		return err_errno(e, -ENOMEM, "state for %s hooks", what);
	return oci_hooks_run(hooks, state, what, e);
}

/* What comes after the start or the end cannot be undone, so all of it is tried; the specification
 * has a failure logged, and everything going on as if there had been none. */
static int run_late_hooks(const struct engine_container *c, const struct oci_hook_list *hooks,
			  const char *what, const char *status, pid_t pid, struct err *e)
{
	if (!hooks->n)
		return 0;
	_cleanup_free_ char *state = oci_state_json(c->spec, c->id, status, pid, c->bundle);
	int r = state ? oci_hooks_run_all(hooks, state, what, e)
		      : err_errno(e, -ENOMEM, "state for %s hooks", what);
	return r < 0 ? ENGINE_E_HOOK : 0;
}

/* The hooks that belong into the engine's namespaces, while the container's are there. */
static int run_outer_hooks(struct engine_container *c, struct err *e)
{
	const struct oci_hooks *h = &c->spec->hooks;
	if (!has_outer_hooks(h))
		return 0;
	int r = engine_launch_wait(&c->init, ENGINE_MSG_MOUNTED, time_deadline(LAUNCH_TIMEOUT_MS),
				   e);
	if (r < 0)
		return r;
	r = run_hooks(c, &h->prestart, "prestart", "creating", c->init.pid, e);
	if (r == 0)
		r = run_hooks(c, &h->create_runtime, "createRuntime", "creating", c->init.pid, e);
	c->hook_failed = r < 0;
	return r == 0 ? engine_launch_go(&c->init, e) : r;
}

/* @own_pid: its pid namespace is new; one that was joined is shared with others. */
static int follow_create(struct engine_container *c, const char *rootfs, bool own_pid,
			 struct err *e)
{
	struct engine_launch *l = &c->init;
	int r = engine_launch_wait(l, ENGINE_MSG_PID, time_deadline(LAUNCH_TIMEOUT_MS), e);
	if (r == 0)
		r = place(c, l, e);
	if (r == 0)
		r = engine_write_maps(l->proc_fd, c->spec, e);
	if (r == 0 && !c->cgroup && engine_owned_open(l->proc_fd, own_pid, &c->owned) < 0)
		r = err_set(e, -ESRCH, "the process of container %s is gone", c->id);
	if (r == 0)
		r = engine_trees_send(l, c->spec, rootfs, c->bundle, e);
	if (r == 0)
		r = engine_launch_go(l, e);
	if (r == 0)
		r = run_outer_hooks(c, e);
	if (r == 0)
		r = engine_launch_wait(l, ENGINE_MSG_READY,
				       deadline_with(&c->spec->hooks.create_container), e);
	if (r < 0 && l->report->stage == ENGINE_STAGE_HOOKS)
		c->hook_failed = true;
	c->unconfined = r == 0 && l->report->unconfined;
	return r == 0 ? engine_apply_limits(l, &c->spec->process, e) : r;
}

static int launch_init(struct engine_container *c, const char *rootfs,
		       const struct engine_stdio *io, struct err *e)
{
	struct engine_namespaces ns;
	struct engine_job job;
	int r = engine_namespaces_open(c->spec, &ns, e);
	if (r < 0)
		return r;
	c->ns_flags = ns.create | ns.join;
	int cgroup_fd = open_cgroup(c->cgroup, e);
	r = cgroup_fd < 0 && cgroup_fd != -EBADF ? cgroup_fd : 0;
	describe(c, rootfs, &ns, &job);
	engine_give_stdio(c->spec, &c->spec->process.user, io);
	if (r == 0)
		r = engine_launch_begin(c->engine->sock, &job, io, cgroup_fd, &ns, &c->init, e);
	(void)close_fd(cgroup_fd);
	if (r == 0)
		r = follow_create(c, rootfs, ns.create & CLONE_NEWPID, e);
	engine_namespaces_close(&ns);
	return r;
}

/* Everything that creating has made, in reverse. Nothing of it can be missing from the list,
 * because the container's fields are the list. */
static void undo(struct engine_container *c)
{
	engine_launch_abort(&c->init);
	if (c->cgroup) {
		(void)cgroup_kill(c->cgroup, time_deadline(KILL_TIMEOUT_MS), NULL);
		(void)cgroup_remove(c->cgroup, NULL);
	}
	(void)engine_rdt_remove(&c->rdt, NULL);
	if (c->state_dir)
		(void)rmdir(c->state_dir);
	/* To the specification such a container has lived, and ends like others. */
	if (c->hook_failed)
		(void)run_late_hooks(c, &c->spec->hooks.poststop, "poststop", "stopped", 0, NULL);
	engine_owned_close(&c->owned);
	(void)close_fd(c->device_fd);
	(void)close_fd(c->init_pidfd);
	free(c->bpf.code);
	free(c->bundle);
	cgroup_free(c->cgroup);
	free(c->state_dir);
	free(c->id);
	free(c);
}

static int hand_out_init(struct engine_container *c, struct engine_process *ret, struct err *e)
{
	c->init_pidfd = fcntl(c->init.pidfd, F_DUPFD_CLOEXEC, 3);
	if (c->init_pidfd < 0)
		return err_errno(e, -errno, "container %s", c->id);
	c->init_pid = c->init.pid;
	ret->pid = c->init.pid;
	ret->pidfd = TAKE_FD(c->init.pidfd);
	ret->pty = TAKE_FD(c->init.pty);
	return 0;
}

/* Leaves of @rootfs the bundle, below which @root is as the spec has it: "." is the bundle itself.
 * An absolute one says nothing of the bundle; then it is taken to be right above. */
static void cut_root(char *rootfs, const char *root)
{
	if (root[0] == '/' || strstr(root, "..")) {
		(void)dirname(rootfs);
		return;
	}
	for (root += strspn(root, "/"); *root; root += strspn(root, "/")) {
		size_t n = strcspn(root, "/");
		if (n != 1 || root[0] != '.')
			(void)dirname(rootfs); /* cuts it in place */
		root += n;
	}
}

int engine_create(struct engine *g, const char *id, const struct oci_spec *spec, const char *rootfs,
		  const struct engine_stdio *io, struct engine_container **ret,
		  struct engine_process *ret_init, struct err *e)
{
	int r = engine_check_spec(g, id, spec, rootfs, e);
	if (r < 0)
		return r;
	struct engine_container *c = calloc(1, sizeof *c);
	if (!c)
		return err_errno(e, -ENOMEM, "container %s", id);
	*c = (struct engine_container){.engine = g,
				       .spec = spec,
				       .init = ENGINE_LAUNCH_INIT,
				       .init_pidfd = -EBADF,
				       .owned = ENGINE_OWNED_INIT,
				       .device_fd = -EBADF};
	r = copy_string(id, &c->id);
	if (r == 0)
		r = copy_string(rootfs, &c->bundle);
	if (r == 0)
		cut_root(c->bundle, spec->root_path);
	if (r < 0)
		err_errno(e, r, "container %s", id);
	if (r == 0)
		r = claim_state(c, e);
	if (r == 0 && spec->has_seccomp)
		r = engine_seccomp_compile(&spec->seccomp, &c->bpf, e);
	if (r == 0)
		r = make_cgroup(c, e);
	if (r == 0 && spec->intel_rdt.present)
		r = engine_rdt_make(engine_rdt_root(), id, &spec->intel_rdt, &c->rdt, e);
	if (r == 0)
		r = launch_init(c, rootfs, io, e);
	if (r == 0)
		r = hand_out_init(c, ret_init, e);
	if (r < 0) {
		undo(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* ---- start, exec */

static bool is_alive(const struct engine_container *c)
{
	siginfo_t info = {.si_pid = 0};
	if (syscall(SYS_pidfd_send_signal, c->init_pidfd, 0, NULL, 0) < 0)
		return false;
	return waitid(P_PIDFD, (id_t)c->init_pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	       info.si_pid == 0;
}

/* With SCMP_ACT_NOTIFY somebody else decides about system calls: nothing runs before that one can.
 */
static int tell_listener(struct engine_container *c, struct engine_launch *l, int pidfd,
			 const char *status, uint64_t deadline_ms, struct err *e)
{
	if (!engine_seccomp_notifies(&c->bpf))
		return 0;
	_cleanup_close_ int fd = engine_launch_listener(l, pidfd, deadline_ms, e);
	if (fd < 0)
		return fd;
	int r = engine_listener_send(c->spec, c->id, status, l->pid, c->init_pid, c->bundle, fd,
				     time_deadline(LISTENER_TIMEOUT_MS), e);
	if (r == 0)
		engine_launch_listener_handed(l);
	return r;
}

/* The process cannot even end by itself while it waits for its listener. */
static void give_up_start(struct engine_container *c)
{
	if (engine_seccomp_notifies(&c->bpf))
		(void)syscall(SYS_pidfd_send_signal, c->init_pidfd, SIGKILL, NULL, 0);
}

int engine_start(struct engine_container *c, struct err *e)
{
	if (!is_alive(c))
		return err_set(e, -ESRCH, "container %s is not running", c->id);
	if (c->init.conn < 0)
		return err_status(e, STATUS_FAILED_PRECONDITION, "container %s is started already",
				  c->id);
	uint64_t deadline = deadline_with(&c->spec->hooks.start_container);
	int r = engine_launch_go(&c->init, e);
	if (r == 0)
		r = tell_listener(c, &c->init, c->init_pidfd, "created", deadline, e);
	if (r == 0)
		r = engine_launch_finish(&c->init, deadline, e);
	engine_launch_close(&c->init);
	if (r < 0) {
		give_up_start(c);
		return r;
	}
	return run_late_hooks(c, &c->spec->hooks.poststart, "poststart", "running", c->init_pid, e);
}

/* What an exec leaves open is as the container has it. */
static struct oci_process complete(const struct engine_container *c, const struct oci_process *p)
{
	const struct oci_process *init = &c->spec->process;
	struct oci_process full = *p;
	if (!full.caps.present)
		full.caps = init->caps;
	if (!full.apparmor_profile)
		full.apparmor_profile = init->apparmor_profile;
	if (!full.selinux_label)
		full.selinux_label = init->selinux_label;
	if (!full.has_oom_score_adj) {
		full.has_oom_score_adj = init->has_oom_score_adj;
		full.oom_score_adj = init->oom_score_adj;
	}
	if (!full.n_rlimits) {
		full.rlimits = init->rlimits;
		full.n_rlimits = init->n_rlimits;
	}
	if (!full.user.has_umask) {
		full.user.has_umask = init->user.has_umask;
		full.user.umask = init->user.umask;
	}
	if (!full.exec_cpu_affinity.initial && !full.exec_cpu_affinity.final)
		full.exec_cpu_affinity = init->exec_cpu_affinity;
	return full;
}

/*
 * The cgroup for an exec. With controllers passed on to cgroups of the container's own making, the
 * container's cgroup itself can hold no process; then it is where init is now.
 */
static int open_exec_cgroup(const struct engine_container *c, bool of_init, struct err *e)
{
	char path[PATH_MAX];
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (!of_init)
		return open_cgroup(c->cgroup, e);
	(void)snprintf(path, sizeof path, "/proc/%d/cgroup", (int)c->init_pid);
	int r = file_read(AT_FDCWD, path, 65536, &b);
	const char *line = r == 0 && b.len ? strstr(b.data, "0::/") : NULL;
	if (!line)
		return err_set(e, -ESRCH, "container %s: init has no cgroup", c->id);
	line += 3;
	size_t n = strlen(c->cgroup->relative);
	if (strncmp(line, c->cgroup->relative, n) != 0 || line[n] != '/')
		return err_set(e, -EPERM, "container %s: init is not in a cgroup of its own making",
			       c->id);
	const struct cgroup of_inits = {
		.version = 2, .root = c->cgroup->root, .relative = (char *)line};
	b.data[strcspn(line, "\n") + (size_t)(line - b.data)] = '\0';
	return open_cgroup(&of_inits, e);
}

static int follow_exec(struct engine_container *c, struct engine_launch *l,
		       const struct oci_process *p, struct err *e)
{
	uint64_t deadline = time_deadline(LAUNCH_TIMEOUT_MS);
	int r = engine_launch_wait(l, ENGINE_MSG_PID, deadline, e);
	if (r == 0)
		r = place(c, l, e);
	if (r == 0) {
		engine_affinity_begin(l->pid, &p->exec_cpu_affinity);
		r = engine_launch_go(l, e);
	}
	if (r == 0)
		r = engine_launch_wait(l, ENGINE_MSG_READY, deadline, e);
	if (r == 0)
		r = engine_apply_limits(l, p, e);
	if (r == 0)
		r = engine_affinity_end(l->pid, &p->exec_cpu_affinity, e);
	if (r == 0)
		r = engine_launch_go(l, e);
	if (r == 0)
		r = tell_listener(c, l, l->pidfd, "running", deadline, e);
	return r == 0 ? engine_launch_finish(l, deadline, e) : r;
}

static int try_exec(struct engine_container *c, const struct engine_job *job,
		    const struct engine_stdio *io, bool cgroup_of_init, struct engine_process *ret,
		    struct err *e)
{
	struct engine_namespaces ns = {.n_joined = 1};
	struct engine_launch l;
	_cleanup_close_ int cgroup_fd = open_exec_cgroup(c, cgroup_of_init, e);
	if (cgroup_fd < 0 && cgroup_fd != -EBADF)
		return cgroup_fd;
	ns.joined[0].flag = c->ns_flags;
	ns.joined[0].fd = c->init_pidfd; /* borrowed: not to be closed through ns */
	engine_give_stdio(c->spec, &job->spec.process.user, io);
	int r = engine_launch_begin(c->engine->sock, job, io, cgroup_fd, &ns, &l, e);
	if (r < 0)
		return r;
	r = follow_exec(c, &l, &job->spec.process, e);
	if (r < 0) {
		engine_launch_abort(&l);
		return r;
	}
	*ret = (struct engine_process){.pid = l.pid, .pidfd = l.pidfd, .pty = l.pty};
	engine_launch_close(&l);
	return 0;
}

static int not_running(const struct engine_container *c, struct err *e)
{
	return err_status(e, STATUS_FAILED_PRECONDITION, "container %s is not running", c->id);
}

int engine_exec(struct engine_container *c, const struct oci_process *p,
		const struct engine_stdio *io, struct engine_process *ret, struct err *e)
{
	int r = oci_process_validate(p, e);
	if (r < 0)
		return r;
	if (!is_alive(c))
		return not_running(c, e);
	if (c->frozen)
		return err_status(e, STATUS_FAILED_PRECONDITION, "container %s is paused", c->id);
	struct engine_job job = {
		.kind = ENGINE_JOB_EXEC,
		.id = c->id,
		.user_ns = c->ns_flags & CLONE_NEWUSER,
		.apparmor_optional = c->engine->apparmor_optional,
		.spec.process = complete(c, p),
		.bpf = c->bpf,
	};
	job.spec.has_personality = c->spec->has_personality;
	job.spec.personality = c->spec->personality;
	r = try_exec(c, &job, io, false, ret, e);
	if (r == -EBUSY && c->cgroup && c->cgroup->version == 2) {
		r = try_exec(c, &job, io, true, ret, e);
		if (r == -EBUSY || r == -EPERM)
			r = err_set(e, -EBUSY,
				    "container %s: its cgroup has passed controllers on, so it "
				    "takes no process, nor does the one that its init is in",
				    c->id);
	}
	if (r == -ESRCH) /* it ended meanwhile */
		return not_running(c, e);
	return r;
}

/* ---- the rest of its life */

int engine_pids(struct engine_container *c, pid_t **ret, size_t *ret_n, struct err *e)
{
	int r = c->cgroup ? cgroup_pids(c->cgroup, ret, ret_n)
			  : engine_owned_pids(&c->owned, ret, ret_n);
	return r < 0 ? err_errno(e, r, "processes of container %s", c->id) : 0;
}

/* One signal to all that there are now. *@ret_n: how many. */
static int signal_all(struct engine_container *c, int signum, size_t *ret_n, struct err *e)
{
	_cleanup_free_ pid_t *pids = NULL;
	int r = engine_pids(c, &pids, ret_n, e);
	for (size_t i = 0; r == 0 && i < *ret_n; i++)
		if (kill(pids[i], signum) < 0 && errno != ESRCH)
			r = err_errno(e, -errno, "signal %d to process %d of container %s", signum,
				      (int)pids[i], c->id);
	return r;
}

static int kill_walking(struct engine_container *c, struct err *e)
{
	uint64_t deadline = time_deadline(KILL_TIMEOUT_MS);
	for (long ms = 1;; ms = ms < 50 ? ms * 2 : ms) {
		size_t n = 0;
		int r = signal_all(c, SIGKILL, &n, e);
		if (r < 0)
			return r;
		if (n == 0) { /* out of their namespaces; init may still be on its way out */
			struct pollfd p = {.fd = c->init_pidfd, .events = POLLIN};
			(void)poll(&p, 1, c->owned.is_pid ? time_left_ms(deadline) : 0);
			return 0;
		}
		if (time_left_ms(deadline) == 0)
			return err_set(e, -ETIMEDOUT, "%zu processes of container %s do not die", n,
				       c->id);
		struct timespec ts = {.tv_nsec = ms * 1000000L};
		(void)nanosleep(&ts, NULL);
	}
}

int engine_kill_all(struct engine_container *c, int signum, struct err *e)
{
	size_t n;
	if (signum != SIGKILL)
		return signal_all(c, signum, &n, e);
	return c->cgroup ? cgroup_kill(c->cgroup, time_deadline(KILL_TIMEOUT_MS), e)
			 : kill_walking(c, e);
}

int engine_freeze(struct engine_container *c, bool frozen, struct err *e)
{
	if (!c->cgroup)
		return err_set(e, -EOPNOTSUPP, "container %s has no cgroup to %s", c->id,
			       frozen ? "pause" : "resume");
	int r = cgroup_freeze(c->cgroup, frozen, time_deadline(FREEZE_TIMEOUT_MS), e);
	if (r == 0)
		c->frozen = frozen;
	return r;
}

int engine_update(struct engine_container *c, const struct oci_resources *r, struct err *e)
{
	int ret = oci_resources_validate(r, e);
	if (ret < 0)
		return ret;
	if (!c->cgroup)
		return err_set(e, -EOPNOTSUPP, "container %s has no cgroup to limit", c->id);
	ret = engine_cgroup_apply(c->cgroup, r, e);
	/* Without rules the devices are as they were. */
	return ret == 0 && r->n_devices ? filter_devices(c, r, e) : ret;
}

const struct cgroup *engine_cgroup(const struct engine_container *c)
{
	return c->cgroup;
}

int engine_delete(struct engine_container *c, struct err *e)
{
	if (!c)
		return 0;
	int r = engine_kill_all(c, SIGKILL, e);
	if (r == 0 && c->cgroup)
		r = cgroup_remove(c->cgroup, e);
	if (r == 0)
		r = engine_rdt_remove(&c->rdt, e);
	if (r < 0)
		return r; /* still there, to be tried again */
	cgroup_free(TAKE_PTR(c->cgroup));
	c->hook_failed = false;
	r = run_late_hooks(c, &c->spec->hooks.poststop, "poststop", "stopped", 0, e);
	undo(c);
	return r;
}
