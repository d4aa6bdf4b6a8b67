/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of things follows what each needs: mounts need the engine's tree and all rights;
 * settings need rights; the user change drops them; a seccomp filter comes as late as it can.
 */
#include "engine/child.h"

#include "engine/creds.h"
#include "engine/devices.h"
#include "engine/filter.h"
#include "engine/kernel.h"
#include "engine/lookup.h"
#include "engine/rootfs.h"
#include "oci/hooks.h"
#include "sys/inroot.h"
#include "sys/scm.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

void engine_report_set(struct engine_report *report, const struct err *e, int r)
{
	report->errnum = e->errnum ? e->errnum : -r;
	report->status = e->errnum ? e->status : (int)status_from_errno(-r);
	memcpy(report->text, e->text, sizeof report->text);
}

static void at(struct engine_child *c, enum engine_stage stage)
{
	c->report->stage = stage;
}

/* The engine has gone or given up: nobody is left to report to. */
static int await_go(struct engine_child *c, int *ret_pid, struct err *e)
{
	for (;;) {
		struct engine_msg m;
		int fd = -EBADF;
		size_t n_fds = 1;
		ssize_t n = scm_recv(c->conn, &m, sizeof m, &fd, &n_fds, -1);
		if (n == sizeof m && m.type == ENGINE_MSG_TREE && n_fds &&
		    engine_trees_keep(&c->trees, c->job.spec.n_mounts, m.pid, fd) == 0)
			continue;
		if (n != sizeof m || m.type != ENGINE_MSG_GO)
			return err_set(e, -ECANCELED, "the engine gave up");
		if (ret_pid)
			*ret_pid = m.pid;
		return 0;
	}
}

static int tell(struct engine_child *c, uint32_t type, int fd, struct err *e)
{
	struct engine_msg m = {.type = type};
	int r = scm_send(c->conn, &m, sizeof m, &fd, fd >= 0);
	return r < 0 ? err_errno(e, r, "tell the engine") : 0;
}

/* Standard descriptors in place, and nothing else but socket and /proc. */
static int keep_only(struct engine_child *c, struct err *e)
{
	for (int i = 0; i < 3; i++)
		if (dup2(c->stdio[i], i) < 0)
			return err_errno(e, -errno, "place descriptor %d", i);
	int conn = fcntl(c->conn, F_DUPFD_CLOEXEC, 200);
	int proc = c->proc_fd < 0 ? -EBADF : fcntl(c->proc_fd, F_DUPFD_CLOEXEC, 200);
	if (conn < 0 || dup3(conn, 3, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "place the socket");
	if (proc >= 0 && dup3(proc, 4, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "place /proc");
	if (syscall(SYS_close_range, proc >= 0 ? 5 : 4, ~0U, 0) < 0)
		return err_errno(e, -errno, "close descriptors");
	c->conn = 3;
	c->trees.conn = c->conn;
	c->proc_fd = proc >= 0 ? 4 : -EBADF;
	return 0;
}

/* In a new user namespace the process is nobody until its maps are written. */
static int enter_namespaces(struct engine_child *c, struct err *e)
{
	if (c->job.user_ns && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		return err_errno(e, -errno, "become root of the user namespace (is 0 mapped?)");
	if (c->job.new_cgroup_ns && unshare(CLONE_NEWCGROUP) < 0)
		return err_errno(e, -errno, "make a cgroup namespace");
	if (setsid() < 0)
		return err_errno(e, -errno, "make a session");
	return engine_kernel_keyring(c->job.id, e);
}

/* The master goes to the engine; the slave becomes the standard descriptors. */
static int make_terminal(struct engine_child *c, struct err *e)
{
	const struct oci_process *p = &c->job.spec.process;
	_cleanup_close_ int master = -EBADF, slave = -EBADF;
	int r = engine_terminal_open(c->root_fd, p, &master, &slave, e);
	if (r == 0 && c->job.kind == ENGINE_JOB_CREATE)
		r = engine_terminal_console(c->root_fd, slave, e);
	if (r == 0)
		r = tell(c, ENGINE_MSG_PTY, master, e);
	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++)
		if (dup2(slave, i) < 0)
			return err_errno(e, -errno, "place the terminal");
	if (ioctl(0, TIOCSCTTY, 0) < 0)
		return err_errno(e, -errno, "take the terminal as the controlling one");
	return 0;
}

/* A missing working directory is made, as an image may name one that it does not bring. Failure
 * shows when it is entered. */
static void make_cwd(struct engine_child *c)
{
	int fd = inroot_mkdir(c->root_fd, c->job.spec.process.cwd, 0755);
	(void)close_fd(fd);
}

static int set_up_tree(struct engine_child *c, struct err *e)
{
	const struct engine_job *job = &c->job;
	at(c, ENGINE_STAGE_ROOTFS);
	c->root_fd = engine_rootfs_open(job, &c->trees, e);
	if (c->root_fd < 0)
		return c->root_fd;
	at(c, ENGINE_STAGE_MOUNTS);
	int r = engine_mount_label_check(c->proc_fd, job->spec.mount_label, e);
	if (r == 0)
		r = engine_rootfs_mounts(c->root_fd, job, &c->trees, e);
	if (r < 0)
		return r;
	at(c, ENGINE_STAGE_DEVICES);
	if (engine_devices_wanted(&job->spec))
		r = engine_devices_make(c->root_fd, &job->spec, job->user_ns, e);
	if (r < 0)
		return r;
	at(c, ENGINE_STAGE_TERMINAL);
	if (job->spec.process.terminal)
		r = make_terminal(c, e);
	if (r < 0)
		return r;
	make_cwd(c);
	at(c, ENGINE_STAGE_MOUNTS);
	return engine_rootfs_mask(c->root_fd, job, e);
}

/* @pid: as those outside see it. */
static int run_hooks(const struct engine_child *c, const struct oci_hook_list *hooks,
		     const char *what, const char *status, pid_t pid, struct err *e)
{
	if (!hooks->n)
		return 0;
	_cleanup_free_ char *state =
		oci_state_json(&c->job.spec, c->job.id, status, pid, c->job.bundle);
	if (!state)
		return err_errno(e, -ENOMEM, "state for %s hooks", what);
	mode_t mask = umask(0022); /* that of the set-up would let everybody write what they make */
	int r = oci_hooks_run(hooks, state, what, e);
	(void)umask(mask);
	return r;
}

static int run_setup_hooks(struct engine_child *c, int *pid, struct err *e)
{
	at(c, ENGINE_STAGE_HOOKS);
	if (c->job.sync_hooks) {
		int r = tell(c, ENGINE_MSG_MOUNTED, -EBADF, e);
		if (r == 0)
			r = await_go(c, NULL, e);
		if (r < 0)
			return r;
	}
	return run_hooks(c, &c->job.spec.hooks.create_container, "createContainer", "creating",
			 *pid, e);
}

static int set_up_container(struct engine_child *c, int *pid, struct err *e)
{
	int r = set_up_tree(c, e);
	if (r == 0)
		r = run_setup_hooks(c, pid, e);
	if (r == 0)
		r = engine_rootfs_finish(c->root_fd, &c->job, e);
	if (r < 0)
		return r;
	at(c, ENGINE_STAGE_PIVOT);
	r = engine_rootfs_pivot(c->root_fd, &c->job, e);
	if (r < 0)
		return r;
	at(c, ENGINE_STAGE_KERNEL);
	return engine_kernel_settings(c->proc_fd, &c->job, e);
}

static int set_up_exec(struct engine_child *c, struct err *e)
{
	at(c, ENGINE_STAGE_ROOTFS);
	c->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (c->root_fd < 0)
		return err_errno(e, -errno, "open the container's root");
	at(c, ENGINE_STAGE_TERMINAL);
	return c->job.spec.process.terminal ? make_terminal(c, e) : 0;
}

/* So that the process can open /dev/stdout again as its user. Not everything can be given away,
 * and the shared null device must not be. */
static void give_stdio(const struct oci_user *u)
{
	for (int i = 0; i < 3; i++) {
		struct stat st;
		if (fstat(i, &st) < 0 || st.st_uid == u->uid ||
		    (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
			continue;
		(void)!fchown(i, u->uid, (gid_t)-1);
	}
}

/* A working directory that is outside of the root would be a way out (CVE-2024-21626): the kernel
 * says "(unreachable)" then. */
static int check_cwd(const char *cwd, struct err *e)
{
	char seen[PATH_MAX];
	long n = syscall(SYS_getcwd, seen, sizeof seen);
	if (n < 0 && errno != ENAMETOOLONG && errno != ERANGE)
		return err_errno(e, -errno, "cwd %s", cwd);
	if (n > 0 && seen[0] != '/')
		return err_set(e, -EPERM, "cwd %s is outside of the container's root", cwd);
	return 0;
}

/* Of variables that are there twice the last one counts, as in a shell; programs would take the
 * first. */
static void drop_repeated(struct oci_strv *env)
{
	size_t kept = 0;
	for (size_t i = 0; i < env->n; i++) {
		size_t name = strcspn(env->v[i], "=");
		bool again = false;
		for (size_t k = i + 1; k < env->n && !again; k++)
			again = strncmp(env->v[k], env->v[i], name) == 0 && env->v[k][name] == '=';
		if (!again)
			env->v[kept++] = env->v[i];
	}
	env->n = kept;
	if (env->v)
		env->v[kept] = NULL;
}

static int set_home(struct oci_process *p, struct err *e)
{
	char home[PATH_MAX];
	drop_repeated(&p->env);
	if (engine_env(&p->env, "HOME"))
		return 0;
	char **v = calloc(p->env.n + 2, sizeof *v);
	if (!v)
		return err_errno(e, -ENOMEM, "environment");
	engine_home(p->user.uid, home);
	if (p->env.n)
		memcpy(v, p->env.v, p->env.n * sizeof *v);
	if (asprintf(&v[p->env.n], "HOME=%s", home) < 0) {
		free(v);
		return err_errno(e, -ENOMEM, "environment");
	}
	p->env.v = v; /* until exec */
	p->env.n++;
	return 0;
}

/* A filter needs CAP_SYS_ADMIN unless no_new_privs is set. */
static bool filter_needs_admin(const struct engine_job *job)
{
	return job->bpf.n && !job->spec.process.no_new_privileges;
}

static int become_user(struct engine_child *c, struct err *e)
{
	struct oci_process *p = &c->job.spec.process;
	at(c, ENGINE_STAGE_CREDENTIALS);
	bool unconfined = false;
	int r = engine_kernel_labels(c->proc_fd, &c->job, &unconfined, e);
	if (r < 0)
		return r;
	c->report->unconfined = unconfined;
	give_stdio(&p->user);
	/* Root may see directories that the user may not, and the other way round on a network
	 * filesystem: either may do. */
	bool entered = chdir(p->cwd) == 0;
	if (c->job.spec.has_personality && personality(c->job.spec.personality) < 0)
		return err_errno(e, -errno, "personality %lx", c->job.spec.personality);
	if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, -errno, "set no_new_privs");
	r = engine_creds_apply(c->proc_fd, p, filter_needs_admin(&c->job), &c->caps, e);
	if (r < 0)
		return r;
	/* The change of user made it dumpable or not by its own rules. */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (!entered && chdir(p->cwd) < 0)
		return err_errno(e, -errno, "chdir to cwd (\"%s\")", p->cwd);
	return check_cwd(p->cwd, e);
}

/*
 * Waits until the listener has the filter's descriptor, since whatever the process asks for from
 * now on may be for the listener to decide. Without a system call, thus without a clock; the engine
 * kills a child that takes too long. An engine that has died leaves it to count to its end.
 */
#define HANDED_SPINS (UINT64_C(1) << 34) /* minutes */

static int hand_listener(struct engine_child *c, int fd)
{
	atomic_store(&c->report->listener, (uint32_t)fd + 1);
	for (uint64_t i = 0; i < HANDED_SPINS; i++)
		if (atomic_load(&c->report->listener_handed))
			return 0;
	return -ETIMEDOUT;
}

/* From here on only what every filter must allow: capset(2), execve(2). */
static int load_filter(struct engine_child *c, struct err *e)
{
	bool admin = filter_needs_admin(&c->job);
	int r = admin ? engine_creds_raise_admin(&c->caps) : 0;
	if (r == 0)
		r = engine_seccomp_load(&c->job.bpf);
	if (r >= 0 && engine_seccomp_notifies(&c->job.bpf))
		r = hand_listener(c, r);
	if (r == 0 && admin)
		r = engine_creds_finish(&c->caps);
	return r < 0 ? err_errno(e, r, "install the seccomp filter") : 0;
}

static int exec_program(struct engine_child *c, const char *program, int pid, struct err *e)
{
	const struct oci_process *p = &c->job.spec.process;
	at(c, ENGINE_STAGE_HOOKS);
	int r = run_hooks(c, &c->job.spec.hooks.start_container, "startContainer", "created", pid,
			  e);
	if (r < 0)
		return r;
	/* Whatever a library left open ends at exec too. */
	if (syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return err_errno(e, -errno, "mark descriptors");
	r = load_filter(c, e);
	if (r < 0)
		return r;
	at(c, ENGINE_STAGE_EXEC);
	(void)execve(program, p->args.v, p->env.v);
	return err_errno(e, -errno, "exec: \"%s\"", p->args.v[0]);
}

/* Until its exec a process of ours can be found in the container's /proc, and so can our program
 * (CVE-2019-5736): nobody has it run there. */
static bool is_own_program(int proc_fd, const char *program)
{
	struct stat own, st;
	return fstatat(proc_fd, "self/exe", &own, 0) == 0 && stat(program, &st) == 0 &&
	       own.st_dev == st.st_dev && own.st_ino == st.st_ino;
}

static int run(struct engine_child *c, struct err *e)
{
	char program[PATH_MAX];
	int pid = 0;

	at(c, ENGINE_STAGE_NAMESPACES);
	int r = keep_only(c, e);
	if (r < 0)
		return r;
	r = engine_job_decode(c->job_data, c->job_len, &c->job);
	if (r < 0)
		return err_errno(e, r, "decode the job");
	r = await_go(c, &pid, e);
	if (r < 0)
		return r;
	(void)umask(0);
	r = enter_namespaces(c, e);
	if (r == 0)
		r = c->job.kind == ENGINE_JOB_CREATE ? set_up_container(c, &pid, e)
						     : set_up_exec(c, e);
	if (r == 0)
		r = become_user(c, e);
	if (r < 0)
		return r;

	at(c, ENGINE_STAGE_PROGRAM);
	struct oci_process *p = &c->job.spec.process;
	r = set_home(p, e);
	if (r == 0)
		r = engine_find_program(p->args.v[0], &p->env, program, e);
	if (r == 0 && is_own_program(c->proc_fd, program))
		r = err_set(e, -EACCES, "exec: \"%s\": is the engine itself: permission denied",
			    p->args.v[0]);
	if (r < 0)
		return r;

	at(c, ENGINE_STAGE_WAIT);
	r = tell(c, ENGINE_MSG_READY, -EBADF, e);
	if (r == 0)
		r = await_go(c, NULL, e);
	return r < 0 ? r : exec_program(c, program, pid, e);
}

void engine_child_run(struct engine_child *c)
{
	struct err e = ERR_INIT;
	int r = run(c, &e);
	engine_report_set(c->report, &e, r);
	/* Straight to the kernel: no handlers, no buffers, which belong to the launcher. */
	(void)syscall(SYS_exit_group, 1);
	__builtin_trap(); /* a filter that does not even allow to exit */
}
