/* SPDX-License-Identifier: Apache-2.0 */
#include "persist/undo.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

/* A sandbox has a handful of effects plus a few for each container and volume. */
#define JOURNAL_BYTES_MAX (16u << 20)
#define KILL_WAIT_MS 2000

struct journal {
	pthread_mutex_t lock; /* guards next, and the order of lines in the file */
	int fd;
	uint64_t next;
};

struct effect {
	uint64_t n;
	enum undo_kind kind;
	char *argument;
};

struct undo {
	struct journal *journal; /* borrowed */
	struct effect *effects;
	size_t n, cap;
};

static const char *const kind_names[] = {
	[UNDO_TREE] = "tree",
	[UNDO_MOUNT] = "mount",
	[UNDO_FILE] = "file",
	[UNDO_PROCESS] = "process",
};

uint64_t process_start_time(pid_t pid)
{
	char path[64];
	_cleanup_buf_ struct buf b = BUF_INIT;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (file_read(AT_FDCWD, path, 4096, &b) < 0 || !b.data)
		return 0;
	/* The name in parentheses may hold anything, so count from its last ')': field 3 follows.
	 */
	char *p = strrchr(b.data, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

/* ---- Undoing one effect ------------------------------------------------------------------- */

static int kill_process(const char *argument)
{
	int pid;
	uint64_t started;
	if (sscanf(argument, "%d %" SCNu64, &pid, &started) != 2 || pid <= 1)
		return -EINVAL;

	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return errno == ESRCH ? 0 : -errno;
	/* Checked after the pidfd exists: what it names can no longer become another process. */
	if (process_start_time(pid) != started)
		return 0;
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
		return errno == ESRCH ? 0 : -errno;

	struct pollfd pfd = {.fd = pidfd, .events = POLLIN};
	return poll(&pfd, 1, KILL_WAIT_MS) > 0 ? 0 : -ETIMEDOUT;
}

static int undo_mount(const char *path)
{
	while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		; /* stacked mounts */
	return errno == EINVAL || errno == ENOENT ? 0 : -errno;
}

static int undo_one(enum undo_kind kind, const char *argument)
{
	int r = -EINVAL;

	switch (kind) {
	case UNDO_TREE:
		r = remove_tree(argument);
		break;
	case UNDO_MOUNT:
		r = undo_mount(argument);
		break;
	case UNDO_FILE:
		r = unlink(argument) < 0 && errno != ENOENT ? -errno : 0;
		break;
	case UNDO_PROCESS:
		r = kill_process(argument);
		break;
	}
	if (r < 0)
		log_warn("cannot undo %s %s: %s", kind_names[kind], argument, strerror(-r));
	return r;
}

/* ---- The journal -------------------------------------------------------------------------- */

int journal_open(const char *path, struct journal **ret, struct err *e)
{
	struct journal *j = calloc(1, sizeof *j);
	if (!j)
		return err_set(e, -ENOMEM, "out of memory");
	j->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (j->fd < 0) {
		int r = -errno;
		free(j);
		return err_errno(e, r, "open the journal %s", path);
	}
	pthread_mutex_init(&j->lock, NULL);
	*ret = j;
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	(void)close_fd(j->fd);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

/* One write a line: the kernel appends it whole or not at all. */
static int append_line(struct journal *j, const struct buf *line)
{
	if (buf_failed(line))
		return -ENOMEM;
	ssize_t n = write(j->fd, line->data, line->len);
	if (n < 0)
		return -errno;
	return (size_t)n == line->len ? 0 : -ENOSPC;
}

static int record_effect(struct journal *j, enum undo_kind kind, const char *argument,
			 uint64_t *ret_n)
{
	_cleanup_buf_ struct buf line = BUF_INIT;

	pthread_mutex_lock(&j->lock);
	*ret_n = j->next++;
	buf_printf(&line, "+%" PRIu64 " %s %s\n", *ret_n, kind_names[kind], argument);
	int r = append_line(j, &line);
	pthread_mutex_unlock(&j->lock);
	return r;
}

static void record_undone(struct journal *j, uint64_t n)
{
	_cleanup_buf_ struct buf line = BUF_INIT;

	buf_printf(&line, "-%" PRIu64 "\n", n);
	pthread_mutex_lock(&j->lock);
	int r = append_line(j, &line);
	pthread_mutex_unlock(&j->lock);
	if (r < 0) /* the worst that follows is that a replay undoes it a second time */
		log_warn("cannot write to the journal: %s", strerror(-r));
}

/* ---- The stack ---------------------------------------------------------------------------- */

int undo_new(struct journal *j, struct undo **ret)
{
	struct undo *u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	u->journal = j;
	*ret = u;
	return 0;
}

void undo_free(struct undo *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < u->n; i++)
		free(u->effects[i].argument);
	free(u->effects);
	free(u);
}

int undo_push(struct undo *u, enum undo_kind kind, const char *argument, struct err *e)
{
	if (strchr(argument, '\n'))
		return err_set(e, -EINVAL, "\"%s\" holds a newline, which no path here may",
			       argument);
	if (u->n == u->cap) {
		size_t cap = u->cap ? u->cap * 2 : 8;
		struct effect *effects = realloc(u->effects, cap * sizeof *effects);
		if (!effects)
			return err_set(e, -ENOMEM, "out of memory");
		u->effects = effects;
		u->cap = cap;
	}

	struct effect f = {.kind = kind, .argument = strdup(argument)};
	if (!f.argument)
		return err_set(e, -ENOMEM, "out of memory");
	int r = record_effect(u->journal, kind, argument, &f.n);
	if (r < 0) {
		free(f.argument);
		return err_errno(e, r, "write the journal");
	}
	u->effects[u->n++] = f;
	return 0;
}

int undo_push_process(struct undo *u, pid_t pid, struct err *e)
{
	char argument[64];
	(void)snprintf(argument, sizeof argument, "%d %" PRIu64, (int)pid, process_start_time(pid));
	return undo_push(u, UNDO_PROCESS, argument, e);
}

size_t undo_depth(const struct undo *u)
{
	return u->n;
}

int undo_to(struct undo *u, size_t mark)
{
	int first = 0;

	while (u->n > mark) {
		struct effect *f = &u->effects[--u->n];
		int r = undo_one(f->kind, f->argument);
		if (r == 0)
			record_undone(u->journal, f->n);
		else if (first == 0)
			first = r;
		free(f->argument);
	}
	return first;
}

/* ---- Replay ------------------------------------------------------------------------------- */

struct parsed {
	uint64_t n;
	enum undo_kind kind;
	const char *argument;
	bool undone;
};

/* "<n> <kind> <argument>", NUL-terminated; the text is changed in place. */
static int parse_effect(char *text, struct parsed *ret)
{
	char *end;
	errno = 0;
	ret->n = strtoull(text, &end, 10);
	if (errno || end == text || *end != ' ')
		return -EINVAL;
	char *kind = end + 1, *space = strchr(kind, ' ');
	if (!space || !space[1])
		return -EINVAL;
	*space = '\0';
	ret->argument = space + 1;
	ret->undone = false;
	for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++) {
		if (strcmp(kind, kind_names[i]) == 0) {
			ret->kind = (enum undo_kind)i;
			return 0;
		}
	}
	return -EINVAL;
}

static void mark_undone(struct parsed *v, size_t n, const char *text)
{
	uint64_t which = strtoull(text, NULL, 10);
	/* From the end: a restarted shim counts from 0 again, and means its own. */
	for (size_t i = n; i-- > 0;) {
		if (v[i].n == which && !v[i].undone) {
			v[i].undone = true;
			return;
		}
	}
}

int journal_parse(const char *text, size_t len,
		  int (*fn)(void *arg, enum undo_kind kind, const char *argument), void *arg)
{
	_cleanup_free_ char *copy = malloc(len + 1);
	_cleanup_free_ struct parsed *v = NULL;
	size_t n = 0, lines = 0;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, len);
	copy[len] = '\0';
	for (size_t i = 0; i < len; i++)
		lines += copy[i] == '\n';
	v = calloc(lines + 1, sizeof *v);
	if (!v)
		return -ENOMEM;

	char *end = copy + len;
	for (char *line = copy, *newline; line < end; line = newline + 1) {
		newline = memchr(line, '\n', (size_t)(end - line));
		if (!newline)
			break;
		*newline = '\0';
		if (line[0] == '+' && parse_effect(line + 1, &v[n]) == 0)
			n++;
		else if (line[0] == '-')
			mark_undone(v, n, line + 1);
	}

	int first = 0;
	for (size_t i = n; i-- > 0;) {
		int r = v[i].undone ? 0 : fn(arg, v[i].kind, v[i].argument);
		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

static int replay_one(void *arg, enum undo_kind kind, const char *argument)
{
	return undo_one(kind, argument);
}

int undo_replay(const char *path)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = file_read(AT_FDCWD, path, JOURNAL_BYTES_MAX, &b);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	return journal_parse(b.data ? b.data : "", b.len, replay_one, NULL);
}
