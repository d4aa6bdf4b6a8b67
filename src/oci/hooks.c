/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/hooks.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/utf8.h"
#include "fmt/json.h"
#include "io/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

/* How much of the end of stderr is looked at for its last line. */
#define TAIL_MAX 256

struct tail {
	char text[TAIL_MAX + 1];
	size_t len;
};

/* A file rather than a pipe: the hook may read the state, open it anew, or leave it. */
static int state_file(const char *state_json, struct err *e)
{
	int fd = memfd_create("state", MFD_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "make the state file for hooks");
	int r = fd_write_all(fd, state_json, strlen(state_json));
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r < 0) {
		(void)close(fd);
		return err_errno(e, r, "write the state file for hooks");
	}
	return fd;
}

static void tail_add(struct tail *t, const char *data, size_t len)
{
	if (len > TAIL_MAX) {
		data += len - TAIL_MAX;
		len = TAIL_MAX;
	}
	if (t->len + len > TAIL_MAX) {
		size_t drop = t->len + len - TAIL_MAX;
		memmove(t->text, t->text + drop, t->len - drop);
		t->len -= drop;
	}
	memcpy(t->text + t->len, data, len);
	t->len += len;
}

/* Reads what is there. False at the end of file. */
static bool tail_read(struct tail *t, int fd)
{
	char block[4096];
	ssize_t n;

	while ((n = read(fd, block, sizeof block)) > 0)
		tail_add(t, block, (size_t)n);
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* The last line that is not empty, fit for a sentence that a peer will read. */
static const char *tail_line(struct tail *t)
{
	while (t->len > 0 && strchr(" \t\r\n", t->text[t->len - 1]))
		t->len--;
	t->text[t->len] = '\0';
	char *line = strrchr(t->text, '\n');
	line = line ? line + 1 : t->text;
	bool utf8 = utf8_valid(line);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f || (!utf8 && *p < 0))
			*p = '?';
	return line;
}

/* Waits for the hook itself: who inherited its stderr may live on. */
static int supervise(struct child *c, int errout, uint64_t deadline_ms, struct tail *t,
		     int *ret_status)
{
	bool open = true;

	for (;;) {
		struct pollfd fds[] = {{.fd = c->pidfd, .events = POLLIN},
				       {.fd = open ? errout : -1, .events = POLLIN}};
		int r = poll(fds, 2, time_left_ms(deadline_ms));
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r == 0)
			return -ETIMEDOUT;
		if (r < 0)
			continue;
		if (fds[1].revents)
			open = tail_read(t, errout);
		if (fds[0].revents) {
			if (open)
				(void)tail_read(t, errout);
			return child_wait(c, 0, ret_status);
		}
	}
}

static int spawn(const struct oci_hook *h, int netns_fd, int state, int errout, const char *what,
		 struct child *ret, struct err *e)
{
	const char *only_path[] = {h->path, NULL}, *no_env[] = {NULL};
	struct child_spec spec = CHILD_SPEC_INIT;

	spec.path = h->path;
	spec.argv = h->args.n > 0 ? (const char *const *)h->args.v : only_path;
	spec.envp = h->env.n > 0 ? (const char *const *)h->env.v : no_env;
	spec.in = state;
	spec.errout = errout;
	spec.netns_fd = netns_fd;
	spec.new_session = true;
	int r = child_spawn(&spec, ret, e);
	return r < 0 ? err_wrap(e, r, "%s hook", what) : 0;
}

static int run_hook(const struct oci_hook *h, int netns_fd, const char *state_json,
		    const char *what, struct err *e)
{
	if (h->path[0] != '/') /* never looked up in PATH */
		return err_set(e, -EINVAL, "%s hook %s: must be an absolute path", what, h->path);

	_cleanup_close_ int state = state_file(state_json, e);
	if (state < 0)
		return state;
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "make a pipe");
	_cleanup_close_ int errout = fds[0], other_end = fds[1];
	int r = fd_set_nonblock(errout, true);
	if (r < 0)
		return err_errno(e, r, "prepare a pipe");

	int timeout_s = h->timeout > 0 ? h->timeout : OCI_HOOK_TIMEOUT_S, status = 0;
	struct child c = CHILD_INIT;
	struct tail tail = {.len = 0};
	r = spawn(h, netns_fd, state, other_end, what, &c, e);
	if (r < 0)
		return r;
	other_end = close_fd(other_end);
	r = supervise(&c, errout, time_deadline((uint64_t)timeout_s * 1000), &tail, &status);
	if (r < 0) {
		(void)kill(-c.pid, SIGKILL); /* what it started goes with it */
		child_destroy(&c);
		if (r == -ETIMEDOUT)
			return err_set(e, r, "%s hook %s did not end within %d s", what, h->path,
				       timeout_s);
		return err_errno(e, r, "wait for %s hook %s", what, h->path);
	}
	if (status == 0)
		return 0;
	const char *line = tail_line(&tail);
	return err_set(e, -EIO, "%s hook %s failed with exit code %d%s%s", what, h->path, status,
		       *line ? ": " : "", line);
}

int oci_hooks_run_in(const struct oci_hook_list *l, int netns_fd, const char *state_json,
		     const char *what, struct err *e)
{
	for (size_t i = 0; i < l->n; i++) {
		int r = run_hook(&l->v[i], netns_fd, state_json, what, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int oci_hooks_run(const struct oci_hook_list *l, const char *state_json, const char *what,
		  struct err *e)
{
	return oci_hooks_run_in(l, -1, state_json, what, e);
}

int oci_hooks_run_all(const struct oci_hook_list *l, const char *state_json, const char *what,
		      struct err *e)
{
	int first = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct err later = ERR_INIT;
		int r = run_hook(&l->v[i], -1, state_json, what, first < 0 ? &later : e);
		if (first == 0)
			first = r;
	}
	return first;
}

static const char *version(const struct oci_spec *s)
{
	return s->version[0] ? s->version : "1.2.0";
}

static json_t *state(const struct oci_spec *s, const char *id, const char *status, pid_t pid,
		     const char *bundle)
{
	json_auto_t *o = json_object(), *annotations = json_object();
	bool ok = true;

	for (size_t i = 0; i < s->n_annotations; i++)
		ok &= json_object_set_new(annotations, s->annotations[i].key,
					  json_string(s->annotations[i].value)) == 0;
	ok &= json_object_set_new(o, "ociVersion", json_string(version(s))) == 0;
	ok &= json_object_set_new(o, "id", json_string(id)) == 0;
	ok &= json_object_set_new(o, "status", json_string(status)) == 0;
	if (pid > 0)
		ok &= json_object_set_new(o, "pid", json_integer(pid)) == 0;
	ok &= json_object_set_new(o, "bundle", json_string(bundle)) == 0;
	if (s->n_annotations > 0)
		ok &= json_object_set(o, "annotations", annotations) == 0;
	return ok ? json_incref(o) : NULL;
}

char *oci_state_json(const struct oci_spec *s, const char *id, const char *status, pid_t pid,
		     const char *bundle)
{
	json_auto_t *o = state(s, id, status, pid, bundle);
	return o ? json_dumps(o, JSON_COMPACT) : NULL;
}

char *oci_process_state_json(const struct oci_spec *s, const char *id, const char *status,
			     pid_t pid, pid_t init_pid, const char *bundle)
{
	json_auto_t *o = json_object();
	const char *metadata = s->seccomp.listener_metadata;

	bool ok = json_object_set_new(o, "ociVersion", json_string(version(s))) == 0;
	ok &= json_object_set_new(o, "fds", json_pack("[s]", "seccompFd")) == 0;
	ok &= json_object_set_new(o, "pid", json_integer(pid)) == 0;
	if (metadata)
		ok &= json_object_set_new(o, "metadata", json_string(metadata)) == 0;
	ok &= json_object_set_new(o, "state", state(s, id, status, init_pid, bundle)) == 0;
	return ok ? json_dumps(o, JSON_COMPACT) : NULL;
}
