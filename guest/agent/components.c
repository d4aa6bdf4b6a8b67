/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/components.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "io/child.h"

#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Variables of the agent itself, which they inherit */
#define ENVIRONMENT_MAX 256
/* A socket is seen when it is bound, and may be connected to only a moment later. */
#define LISTEN_MS 20

extern char **environ;

struct running {
	struct child child;
	struct loop_io *io;
	char id[64];
};

struct components {
	struct running v[COMPONENTS_MAX];
	size_t n;
};

/* ---- Environment -------------------------------------------------------------------------- */

struct environment {
	const char *v[ENVIRONMENT_MAX + COMPONENT_STRINGS_MAX + 3];
	size_t n;
	char proxy[2][1024];
};

/* Replaces the variable of that name. */
static void put(struct environment *env, const char *variable)
{
	size_t len = strcspn(variable, "=") + 1;

	for (size_t i = 0; i < env->n; i++) {
		if (strncmp(env->v[i], variable, len) == 0) {
			env->v[i] = variable;
			return;
		}
	}
	if (env->n < ARRAY_SIZE(env->v) - 1)
		env->v[env->n++] = variable;
	env->v[env->n] = NULL;
}

static void put_proxy(struct environment *env, int i, const char *name, const char *value)
{
	if (!*value)
		return;
	(void)snprintf(env->proxy[i], sizeof env->proxy[i], "%s=%s", name, value);
	put(env, env->proxy[i]);
}

static void make_environment(struct environment *env, const struct component *c,
			     const char *https_proxy, const char *no_proxy)
{
	env->n = 0;
	env->v[0] = NULL;
	for (char **v = environ; *v && env->n < ENVIRONMENT_MAX; v++)
		put(env, *v);
	put_proxy(env, 0, "HTTPS_PROXY", https_proxy);
	put_proxy(env, 1, "NO_PROXY", no_proxy);
	for (size_t i = 0; i < c->env.n; i++)
		put(env, c->env.v[i]);
}

/* ---- Starting one ------------------------------------------------------------------------- */

static int spawn(const struct component *c, const struct environment *env, struct child *ret,
		 struct err *e)
{
	const char *argv[COMPONENT_STRINGS_MAX + 4] = {c->path};
	size_t n = 1;

	for (size_t i = 0; i < c->args.n; i++)
		argv[n++] = c->args.v[i];
	if (c->config && access(c->config, F_OK) == 0) {
		argv[n++] = "-c";
		argv[n++] = c->config;
	}
	argv[n] = NULL;
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = argv;
	spec.envp = env->v;
	spec.out = STDOUT_FILENO;
	spec.errout = STDERR_FILENO;
	return child_spawn(&spec, ret, e);
}

/* The directory of its socket, watched before it starts; -EBADF if it is not waited for. */
static int prepare_socket(const struct component *c, struct err *e)
{
	char dir[256];

	if (!c->wait_socket)
		return -EBADF;
	int r = path_format(dir, sizeof dir, "%s", c->wait_socket);
	char *slash = strrchr(dir, '/');
	if (r < 0 || !slash || slash == dir)
		return err_set(e, -EINVAL, "wait_socket \"%.200s\" is no path of a file",
			       c->wait_socket);
	*slash = '\0';
	r = mkdir_parents(dir, 0700);
	if (r < 0)
		return err_errno(e, r, "make %s", dir);
	if (unlink(c->wait_socket) < 0 && errno != ENOENT)
		return err_errno(e, -errno, "remove the old %s", c->wait_socket);
	if (c->timeout_ms == 0)
		return -EBADF;
	_cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0 || inotify_add_watch(fd, dir, IN_CREATE | IN_MOVED_TO) < 0)
		return err_errno(e, -errno, "watch %s", dir);
	return TAKE_FD(fd);
}

enum look { ABSENT, BOUND, UP };

static enum look look_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;

	if (stat(path, &st) < 0)
		return ABSENT;
	if (!S_ISSOCK(st.st_mode) || path_format(a.sun_path, sizeof a.sun_path, "%s", path) < 0)
		return UP; /* what is there is all that can be known */
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (const void *)&a, sizeof a) == 0)
		return UP;
	return errno == ECONNREFUSED ? BOUND : UP;
}

static int wait_until_up(const struct component *c, struct child *child, int inotify_fd,
			 struct err *e)
{
	struct pollfd p[2] = {{.fd = child->pidfd, .events = POLLIN},
			      {.fd = inotify_fd, .events = POLLIN}};
	uint64_t deadline_ms = time_deadline(c->timeout_ms);
	char events[4096];
	enum look seen;
	int status = -1;

	while ((seen = look_at(c->wait_socket)) != UP) {
		int left = time_left_ms(deadline_ms);
		if (left == 0)
			return err_set(e, -ETIMEDOUT, "no %s after %llu s", c->wait_socket,
				       (unsigned long long)c->timeout_ms / 1000);
		if (poll(p, 2, seen == BOUND && left > LISTEN_MS ? LISTEN_MS : left) < 0 &&
		    errno != EINTR)
			return err_errno(e, -errno, "wait for %s", c->wait_socket);
		if (p[0].revents) {
			(void)child_wait(child, time_deadline(1000), &status);
			return err_set(e, -ECHILD, "it ended with %d before there was %s", status,
				       c->wait_socket);
		}
		while (read(inotify_fd, events, sizeof events) > 0) /* hints only */
			;
	}
	return 0;
}

static int start_one(const struct component *c, const struct environment *env, struct running *ret,
		     struct err *e)
{
	struct child child = CHILD_INIT;
	uint64_t begin = time_now_ms();

	_cleanup_close_ int inotify_fd = prepare_socket(c, e);
	if (inotify_fd < 0 && inotify_fd != -EBADF)
		return inotify_fd;
	int r = spawn(c, env, &child, e);
	if (r == 0 && inotify_fd >= 0)
		r = wait_until_up(c, &child, inotify_fd, e);
	if (r < 0) {
		child_destroy(&child);
		return r;
	}
	ret->child = child;
	(void)snprintf(ret->id, sizeof ret->id, "%s", c->id);
	log_info("%s is started, after %llu ms", c->id,
		 (unsigned long long)(time_now_ms() - begin));
	return 0;
}

/* ---- All of them -------------------------------------------------------------------------- */

/* An extension's are those that it promised; an image may be one without. */
static bool has_all(const struct component_plan *p, bool asked)
{
	for (size_t i = 0; i < p->n && !p->extension; i++) {
		if (access(p->v[i].path, F_OK) == 0)
			continue;
		if (asked)
			log_warn("no component is started: the image has no %s", p->v[i].path);
		return false;
	}
	return true;
}

int components_start(const struct component_plan *p, bool asked, const char *https_proxy,
		     const char *no_proxy, struct components **ret, struct err *e)
{
	struct environment env;
	int r = 0;

	*ret = NULL;
	if (p->n == 0 || !has_all(p, asked))
		return 0;
	struct components *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(e, -ENOMEM, "no memory for the guest's components");
	for (size_t i = 0; r == 0 && i < p->n; i++) {
		make_environment(&env, &p->v[i], https_proxy, no_proxy);
		r = start_one(&p->v[i], &env, &c->v[c->n], e);
		if (r < 0)
			(void)err_wrap(e, r, "component %.64s", p->v[i].id);
		else
			c->n++;
	}
	if (r < 0) {
		components_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static void on_end(void *arg, unsigned events)
{
	struct running *r = arg;
	int status = -1;

	loop_io_free(r->io);
	r->io = NULL;
	(void)child_wait(&r->child, time_deadline(1000), &status);
	child_destroy(&r->child);
	log_error("component %s has ended with %d: what needs it fails", r->id, status);
}

int components_watch(struct components *c, struct loop *l)
{
	int r = 0;

	for (size_t i = 0; c && r == 0 && i < c->n; i++)
		r = loop_io_new(l, c->v[i].child.pidfd, LOOP_READ, on_end, &c->v[i], &c->v[i].io);
	return r;
}

void components_free(struct components *c)
{
	if (!c)
		return;
	for (size_t i = c->n; i-- > 0;) {
		loop_io_free(c->v[i].io);
		child_destroy(&c->v[i].child);
	}
	free(c);
}
