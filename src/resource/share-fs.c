/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket is bound and listening, and our connection to it made, before the daemon runs: the
 * daemon inherits the listener and finds the connection waiting, so nobody polls for a socket to
 * appear. Its path exists only for that moment, in the sandbox's private directory.
 */
#include "resource/share-fs.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "config/config.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LISTEN_FD 3
#define STOP_GRACE_MS 500
#define EXTRA_ARGS_MAX 64
#define VERSION_TIMEOUT_MS 2000

struct share_fs {
	struct share_fs_params params;
	char base[256];	     /* SHARE_FS_HOST_DIR/<sid> */
	char host_dir[300];  /* .../rw/passthrough */
	char guest_src[300]; /* .../ro */

	struct child daemon;
	struct loop_io *watch;	   /* the daemon's pidfd */
	struct loop_io *err_watch; /* its stderr */
	int err_fd;

	pthread_mutex_t lock; /* guards what follows; taken alone */
	pthread_cond_t ended;
	bool is_ended, stopping;
	char last_line[256];
};

/* ---- Directories ------------------------------------------------------------------------- */

static int make_dir(const char *path, struct err *e)
{
	int r = mkdir_parents(path, 0700);
	return r < 0 ? err_errno(e, r, "make directory %s", path) : 0;
}

static int do_mount(const char *source, const char *target, unsigned long flags, struct err *e)
{
	if (mount(source, target, NULL, flags, NULL) < 0)
		return err_errno(e, -errno, "mount %s on %s", source ? source : "flags", target);
	return 0;
}

static int make_tree(struct share_fs *s, struct undo *undo, struct err *e)
{
	char rw[300];
	int r = path_format(s->base, sizeof s->base, "%s/%s", SHARE_FS_HOST_DIR,
			    s->params.sandbox_id);
	if (r == 0)
		r = path_format(rw, sizeof rw, "%s/rw", s->base);
	if (r == 0)
		r = path_format(s->host_dir, sizeof s->host_dir, "%s/passthrough", rw);
	if (r == 0)
		r = path_format(s->guest_src, sizeof s->guest_src, "%s/ro", s->base);
	if (r < 0)
		return err_set(e, r, "the sandbox id is too long for a path");

	r = undo_push(undo, UNDO_TREE, s->base, e);
	if (r == 0)
		r = make_dir(s->host_dir, e);
	if (r == 0)
		r = make_dir(s->guest_src, e);
	/* `rw` becomes a mount of its own, so that its propagation can be chosen: shared, with `ro`
	 * as a read-only slave that shares onwards to the daemon's namespace. */
	if (r == 0)
		r = undo_push(undo, UNDO_MOUNT, rw, e);
	if (r == 0)
		r = do_mount(rw, rw, MS_BIND, e);
	if (r == 0)
		r = do_mount(NULL, rw, MS_SHARED, e);
	if (r == 0)
		r = undo_push(undo, UNDO_MOUNT, s->guest_src, e);
	if (r == 0)
		r = do_mount(rw, s->guest_src, MS_BIND, e);
	if (r == 0)
		r = do_mount(NULL, s->guest_src, MS_SLAVE, e);
	if (r == 0)
		r = do_mount(NULL, s->guest_src, MS_SHARED, e);
	if (r == 0)
		r = do_mount(NULL, s->guest_src, MS_REMOUNT | MS_BIND | MS_RDONLY, e);
	return r;
}

/* ---- The daemon's connection ------------------------------------------------------------- */

static int make_connection(const struct share_fs_params *p, int *ret_listen, int *ret_vmm,
			   struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int r = path_format(addr.sun_path, sizeof addr.sun_path, "%s/virtiofsd.sock", p->run_dir);
	if (r < 0)
		return err_set(e, r, "socket path %s/virtiofsd.sock is too long", p->run_dir);

	_cleanup_close_ int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int vmm = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || vmm < 0)
		return err_errno(e, -errno, "make a socket");
	(void)unlink(addr.sun_path);
	if (bind(listener, (const struct sockaddr *)&addr, sizeof addr) < 0)
		return err_errno(e, -errno, "bind %s", addr.sun_path);
	if (listen(listener, 1) < 0 ||
	    connect(vmm, (const struct sockaddr *)&addr, sizeof addr) < 0)
		r = -errno;
	(void)unlink(addr.sun_path);
	if (r < 0)
		return err_errno(e, r, "connect to %s", addr.sun_path);
	*ret_listen = TAKE_FD(listener);
	*ret_vmm = TAKE_FD(vmm);
	return 0;
}

/* ---- The daemon's arguments --------------------------------------------------------------- */

/* Two programs share the name: QEMU's in C (-o options) and its successor in Rust (--options).
 * They differ in how they print their version: "virtiofsd version 7.2" and "virtiofsd 1.10". */
static int is_rust_daemon(const char *path, bool *ret, struct err *e)
{
	int p[2];
	_cleanup_buf_ struct buf out = BUF_INIT;
	struct child c = CHILD_INIT;
	struct child_spec spec = CHILD_SPEC_INIT;

	/* Debian's, which qemu-system-common installs: known, so not asked. */
	*ret = false;
	if (strcmp(path, "/usr/lib/qemu/virtiofsd") == 0)
		return 0;
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "make a pipe");
	spec.argv = (const char *const[]){path, "--version", NULL};
	spec.out = p[1];
	int r = child_spawn(&spec, &c, e);
	(void)close(p[1]);
	if (r == 0) {
		if (child_wait(&c, time_deadline(VERSION_TIMEOUT_MS), NULL) < 0)
			child_destroy(&c);
		(void)fd_set_nonblock(p[0], true);
		(void)fd_read_all(p[0], 4096, &out);
		*ret = out.data && strncmp(out.data, "virtiofsd version", 17) != 0;
	}
	(void)close(p[0]);
	return r;
}

struct daemon_args {
	const char *argv[16 + EXTRA_ARGS_MAX];
	char fd[32], source[400], options[400];
};

static int build_args(const struct hypervisor_config *c, const char *source, bool rust,
		      struct daemon_args *a, struct err *e)
{
	size_t n = 0;

	(void)snprintf(a->fd, sizeof a->fd, "--fd=%d", LISTEN_FD);
	a->argv[n++] = c->virtio_fs_daemon;
	a->argv[n++] = a->fd;
	if (rust) {
		(void)snprintf(a->source, sizeof a->source, "--shared-dir=%s", source);
		(void)snprintf(a->options, sizeof a->options, "--cache=%s", c->virtio_fs_cache);
		a->argv[n++] = a->source;
		a->argv[n++] = a->options;
		a->argv[n++] = "--announce-submounts";
	} else {
		/* "never" is the field's word for what this program calls "none" */
		bool never = strcmp(c->virtio_fs_cache, "never") == 0;
		(void)snprintf(a->options, sizeof a->options,
			       "source=%s,cache=%s,sandbox=namespace,announce_submounts,xattr,"
			       "no_posix_lock",
			       source, never ? "none" : c->virtio_fs_cache);
		a->argv[n++] = "-f";
		a->argv[n++] = "-o";
		a->argv[n++] = a->options;
	}
	if (c->virtio_fs_extra_args.n > EXTRA_ARGS_MAX)
		return err_set(e, -E2BIG, "virtio_fs_extra_args has %zu words, at most %d fit",
			       c->virtio_fs_extra_args.n, EXTRA_ARGS_MAX);
	for (size_t i = 0; i < c->virtio_fs_extra_args.n; i++)
		a->argv[n++] = c->virtio_fs_extra_args.v[i];
	a->argv[n] = NULL;
	return 0;
}

/* ---- Supervision -------------------------------------------------------------------------- */

static void on_stderr(void *arg, unsigned events)
{
	struct share_fs *s = arg;
	char chunk[1024];
	ssize_t n = read(s->err_fd, chunk, sizeof chunk - 1);
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			loop_io_free(TAKE_PTR(s->err_watch));
		return;
	}
	chunk[n] = '\0';
	char *save = NULL;
	for (char *line = strtok_r(chunk, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		log_debug("virtiofsd: %s", line);
		pthread_mutex_lock(&s->lock);
		(void)snprintf(s->last_line, sizeof s->last_line, "%s", line);
		pthread_mutex_unlock(&s->lock);
	}
}

static void on_daemon_exit(void *arg, unsigned events)
{
	struct share_fs *s = arg;
	char reason[512];
	int status = 0;

	if (s->err_watch)
		on_stderr(s, LOOP_READ); /* its last words come before the news of its end */
	loop_io_free(TAKE_PTR(s->watch));
	pthread_mutex_lock(&s->lock);
	(void)child_wait(&s->daemon, 0, &status);
	s->is_ended = true;
	bool expected = s->stopping;
	(void)snprintf(reason, sizeof reason, "virtiofsd ended with status %d%s%s", status,
		       s->last_line[0] ? ": " : "", s->last_line);
	pthread_cond_broadcast(&s->ended);
	pthread_mutex_unlock(&s->lock);
	if (!expected && s->params.on_exit)
		s->params.on_exit(s->params.arg, reason);
}

static void watch_daemon(void *arg)
{
	struct share_fs *s = arg;
	int r = loop_io_new(s->params.loop, s->err_fd, LOOP_READ, on_stderr, s, &s->err_watch);
	if (r == 0)
		r = loop_io_new(s->params.loop, s->daemon.pidfd, LOOP_READ, on_daemon_exit, s,
				&s->watch);
	if (r < 0) {
		log_error("cannot watch virtiofsd: %s", strerror(-r));
		(void)child_kill(&s->daemon, SIGKILL);
		on_daemon_exit(s, LOOP_READ);
	}
}

static int start_daemon(struct share_fs *s, int listen_fd, struct err *e)
{
	const struct hypervisor_config *c = s->params.config;
	_cleanup_free_ struct daemon_args *a = calloc(1, sizeof *a);
	bool rust;
	int p[2];

	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	int r = is_rust_daemon(c->virtio_fs_daemon, &rust, e);
	if (r == 0)
		r = build_args(c, s->guest_src, rust, a, e);
	if (r < 0)
		return r;
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "make a pipe");

	const struct child_fd fds[] = {{.fd = listen_fd, .as = LISTEN_FD}};
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = a->argv;
	spec.errout = p[1];
	spec.fds = fds;
	spec.n_fds = ARRAY_SIZE(fds);
	spec.new_session = true;
	r = child_spawn(&spec, &s->daemon, e);
	(void)close(p[1]);
	s->err_fd = p[0];
	if (r == 0)
		r = undo_push_process(s->params.undo, s->daemon.pid, e);
	if (r == 0)
		r = loop_post(s->params.loop, watch_daemon, s);
	return r;
}

int share_fs_new(const struct share_fs_params *p, struct share_fs **ret, int *ret_vmm_fd,
		 struct err *e)
{
	_cleanup_close_ int listen_fd = -EBADF, vmm_fd = -EBADF;
	struct share_fs *s = calloc(1, sizeof *s);
	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->params = *p;
	s->daemon = CHILD_INIT;
	s->err_fd = -EBADF;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->ended, NULL);

	int r = make_tree(s, p->undo, e);
	if (r == 0)
		r = make_connection(p, &listen_fd, &vmm_fd, e);
	if (r == 0)
		r = start_daemon(s, listen_fd, e);
	if (r < 0) {
		child_destroy(&s->daemon);
		share_fs_free(s);
		return err_wrap(e, r, "share a directory with the guest");
	}
	*ret = s;
	*ret_vmm_fd = TAKE_FD(vmm_fd);
	return 0;
}

void share_fs_stop(struct share_fs *s)
{
	struct timespec until;

	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	/* It ends by itself when the VMM has closed the connection; the signal is for a VMM that
	 * never connected. Its own child, which serves the share, dies with it. */
	(void)child_kill(&s->daemon, SIGTERM);
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += STOP_GRACE_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	while (!s->is_ended)
		if (pthread_cond_timedwait(&s->ended, &s->lock, &until) == ETIMEDOUT)
			break;
	if (!s->is_ended)
		(void)child_kill(&s->daemon, SIGKILL);
	while (!s->is_ended)
		pthread_cond_wait(&s->ended, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void share_fs_free(struct share_fs *s)
{
	if (!s)
		return;
	loop_io_free(s->watch);
	loop_io_free(s->err_watch);
	(void)close_fd(s->err_fd);
	pthread_cond_destroy(&s->ended);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

const char *share_fs_host_dir(const struct share_fs *s)
{
	return s->host_dir;
}

pid_t share_fs_pid(const struct share_fs *s)
{
	return s->daemon.pid;
}

int share_fs_cleanup(const char *sandbox_id)
{
	char base[256], path[300];
	if (path_format(base, sizeof base, "%s/%s", SHARE_FS_HOST_DIR, sandbox_id) < 0)
		return 0; /* nobody could have made it */
	/* The mounts went with the shim's mount namespace, unless it could not have one. */
	for (const char *const *name = (const char *const[]){"ro", "rw", NULL}; *name; name++)
		if (path_format(path, sizeof path, "%s/%s", base, *name) == 0)
			(void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	return remove_tree(base);
}
