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
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* A sandbox has a handful of effects plus a few for each container and volume. */
#define JOURNAL_BYTES_MAX (16u << 20)
#define JOURNAL_HEADER "journal 1\n"
#define COMPACT_BYTES (32u << 10)
#define KILL_WAIT_MS 1500
#define LOCK_WAIT_MS 4000 /* somewhat longer than a replay takes */
#define LOCK_STEP_MS 10

struct journal {
	pthread_mutex_t lock; /* guards what follows, and the order of lines in the file */
	int fd;		      /* holds the file's lock */
	char *path;
	uint64_t next;
	off_t size, compact_at;
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

static int open_process(pid_t pid, uint64_t started)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return -errno;
	/* Checked after the pidfd exists: what it names can no longer become another process. */
	return process_start_time(pid) == started ? TAKE_FD(pidfd) : -ESRCH;
}

int process_end(pid_t pid, uint64_t started, uint64_t deadline_ms)
{
	if (pid <= 1)
		return -EINVAL;
	_cleanup_close_ int pidfd = open_process(pid, started);
	if (pidfd < 0)
		return pidfd == -ESRCH ? 0 : pidfd;
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
		return errno == ESRCH ? 0 : -errno;

	struct pollfd pfd = {.fd = pidfd, .events = POLLIN};
	uint64_t now = time_now_ms();
	return poll(&pfd, 1, deadline_ms > now ? (int)(deadline_ms - now) : 0) > 0 ? 0 : -ETIMEDOUT;
}

static int kill_process(const char *argument, uint64_t deadline_ms)
{
	int pid;
	uint64_t started;
	if (sscanf(argument, "%d %" SCNu64, &pid, &started) != 2)
		return -EINVAL;
	return process_end(pid, started, deadline_ms);
}

static int undo_mount(const char *path)
{
	while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		; /* stacked mounts */
	return errno == EINVAL || errno == ENOENT ? 0 : -errno;
}

/* A last guard against a damaged journal: nothing here is made less than three levels deep. */
static bool may_remove(const char *path)
{
	unsigned levels = 0;
	for (const char *p = path; *p; p++)
		levels += p[0] == '/' && p[1] != '/' && p[1];
	return path[0] == '/' && levels >= 3 && !strstr(path, "/..");
}

static int undo_one(enum undo_kind kind, const char *argument, uint64_t deadline_ms)
{
	int r = -EINVAL;

	switch (kind) {
	case UNDO_TREE:
		r = may_remove(argument) ? remove_tree(argument) : -EINVAL;
		break;
	case UNDO_MOUNT:
		r = undo_mount(argument);
		break;
	case UNDO_FILE:
		r = unlink(argument) < 0 && errno != ENOENT ? -errno : 0;
		break;
	case UNDO_PROCESS:
		r = kill_process(argument, deadline_ms);
		break;
	}
	if (r < 0)
		log_warn("cannot undo %s %s: %s", kind_names[kind], argument, strerror(-r));
	return r;
}

/* ---- The journal -------------------------------------------------------------------------- */

/* Whether the path still names the open file: its owner may have removed or rewritten it. */
static bool is_current(int fd, const char *path)
{
	struct stat here, there;
	return fstat(fd, &here) == 0 && lstat(path, &there) == 0 && here.st_ino == there.st_ino &&
	       here.st_dev == there.st_dev;
}

/* -EAGAIN: another file has taken the path meanwhile. */
static int try_lock(const char *path, int flags, int *ret_fd)
{
	_cleanup_close_ int fd =
		open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (!is_current(fd, path))
		return -EAGAIN;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int journal_lock(const char *path, int *ret_fd)
{
	int r;
	while ((r = try_lock(path, 0, ret_fd)) == -EAGAIN)
		;
	return r;
}

static int wait_lock(const char *path, int *ret_fd)
{
	const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000L};
	uint64_t deadline = time_deadline(LOCK_WAIT_MS);
	int r;

	while ((r = try_lock(path, O_CREAT, ret_fd)) == -EAGAIN ||
	       (r == -EBUSY && time_now_ms() < deadline))
		(void)nanosleep(&step, NULL);
	return r;
}

/* All of it or nothing: half a line would swallow the next one. */
static int append(struct journal *j, const char *data, size_t len)
{
	ssize_t n = write(j->fd, data, len);
	if (n >= 0 && (size_t)n == len) {
		j->size += n;
		return 0;
	}
	int r = n < 0 ? -errno : -ENOSPC;
	if (n > 0 && ftruncate(j->fd, j->size) < 0)
		log_warn("cannot shorten the journal: %s", strerror(errno));
	return r;
}

/* A line that was cut is taken off: it was never acted on, and must not become another's beginning,
 * nor, being ended, name a directory further up. */
static int cut_last_line(struct journal *j)
{
	char c;
	off_t size = j->size;
	for (; size > 0; size--) {
		if (pread(j->fd, &c, 1, size - 1) != 1)
			return -EIO;
		if (c == '\n')
			break;
	}
	if (size != j->size && ftruncate(j->fd, size) < 0)
		return -errno;
	j->size = size;
	return 0;
}

static int begin(struct journal *j)
{
	j->size = lseek(j->fd, 0, SEEK_END);
	if (j->size < 0)
		return -errno;
	int r = cut_last_line(j);
	if (r == 0 && j->size == 0)
		r = append(j, JOURNAL_HEADER, strlen(JOURNAL_HEADER));
	return r;
}

int journal_open(const char *path, struct journal **ret, struct err *e)
{
	struct journal *j = calloc(1, sizeof *j);
	if (!j)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&j->lock, NULL);
	j->fd = -EBADF;
	j->compact_at = COMPACT_BYTES;
	j->path = strdup(path);
	int r = j->path ? wait_lock(path, &j->fd) : -ENOMEM;
	if (r == 0)
		r = begin(j);
	if (r < 0) {
		journal_close(j);
		return r == -EBUSY ? err_status(e, STATUS_ALREADY_EXISTS,
						"the journal %s belongs to a shim that lives", path)
				   : err_errno(e, r, "open the journal %s", path);
	}
	*ret = j;
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	(void)close_fd(j->fd);
	pthread_mutex_destroy(&j->lock);
	free(j->path);
	free(j);
}

static void compact(struct journal *j);

/* One write a line: the kernel appends it whole or not at all. */
static int append_line(struct journal *j, const struct buf *line)
{
	if (buf_failed(line))
		return -ENOMEM;
	if (j->size >= j->compact_at)
		compact(j);
	return append(j, line->data, line->len);
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
		int r = undo_one(f->kind, f->argument, time_deadline(KILL_WAIT_MS));
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

struct parse {
	char *text;
	struct parsed *v; /* point into the text */
	size_t n;
};

static void parse_free(struct parse *p)
{
	free(p->text);
	free(p->v);
}

static int parse(const char *text, size_t len, struct parse *ret)
{
	struct parse p = {.text = malloc(len + 1)};
	size_t lines = 0;

	if (!p.text)
		return -ENOMEM;
	memcpy(p.text, text, len);
	p.text[len] = '\0';
	for (size_t i = 0; i < len; i++)
		lines += p.text[i] == '\n';
	p.v = calloc(lines + 1, sizeof *p.v);
	if (!p.v) {
		parse_free(&p);
		return -ENOMEM;
	}

	char *end = p.text + len;
	for (char *line = p.text, *newline; line < end; line = newline + 1) {
		newline = memchr(line, '\n', (size_t)(end - line));
		if (!newline)
			break;
		*newline = '\0';
		if (line[0] == '+' && parse_effect(line + 1, &p.v[p.n]) == 0)
			p.n++;
		else if (line[0] == '-')
			mark_undone(p.v, p.n, line + 1);
	}
	*ret = p;
	return 0;
}

int journal_parse(const char *text, size_t len,
		  int (*fn)(void *arg, enum undo_kind kind, const char *argument), void *arg)
{
	struct parse p;
	int first = parse(text, len, &p);
	if (first < 0)
		return first;
	for (size_t i = p.n; i-- > 0;) {
		int r = p.v[i].undone ? 0 : fn(arg, p.v[i].kind, p.v[i].argument);
		if (r < 0 && first == 0)
			first = r;
	}
	parse_free(&p);
	return first;
}

/* The processes first, all at once: each may take its time to die. */
static int kill_one(void *arg, enum undo_kind kind, const char *argument)
{
	if (kind == UNDO_PROCESS)
		(void)kill_process(argument, 0);
	return 0;
}

static int replay_one(void *arg, enum undo_kind kind, const char *argument)
{
	int r = undo_one(kind, argument, *(const uint64_t *)arg);
	return r == -EINVAL ? 0 : r; /* a record that we did not write: trying again is no use */
}

int journal_replay(int fd)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	uint64_t deadline = time_deadline(KILL_WAIT_MS);

	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	int r = fd_read_all(fd, JOURNAL_BYTES_MAX, &b);
	if (r < 0)
		return r;
	const char *text = b.data ? b.data : "";
	(void)journal_parse(text, b.len, kill_one, NULL);
	return journal_parse(text, b.len, replay_one, &deadline);
}

int undo_replay(const char *path)
{
	_cleanup_close_ int fd = -EBADF;
	int r = journal_lock(path, &fd);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return journal_replay(fd);
}

/* ---- Rewriting ---------------------------------------------------------------------------- */

/* The text of a journal that holds the standing effects only, under their numbers. */
static int rewrite(int fd, struct buf *ret)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct parse p;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	int r = fd_read_all(fd, JOURNAL_BYTES_MAX, &b);
	if (r == 0)
		r = parse(b.data ? b.data : "", b.len, &p);
	if (r < 0)
		return r;
	buf_puts(ret, JOURNAL_HEADER);
	for (size_t i = 0; i < p.n; i++)
		if (!p.v[i].undone)
			buf_printf(ret, "+%" PRIu64 " %s %s\n", p.v[i].n, kind_names[p.v[i].kind],
				   p.v[i].argument);
	parse_free(&p);
	return buf_failed(ret) ? -ENOMEM : 0;
}

static int replace_with(struct journal *j, const struct buf *text)
{
	char tmp[4096];
	int r = path_format(tmp, sizeof tmp, "%s.new", j->path);
	if (r < 0)
		return r;
	_cleanup_close_ int fd =
		open(tmp, O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, text->data, text->len);
	/* locked before anybody can find it under the name */
	if (r == 0 && (flock(fd, LOCK_EX | LOCK_NB) < 0 || rename(tmp, j->path) < 0))
		r = -errno;
	if (r < 0) {
		(void)unlink(tmp);
		return r;
	}
	(void)close_fd(j->fd);
	j->fd = TAKE_FD(fd);
	j->size = (off_t)text->len;
	return 0;
}

/* With the lock held. Failing is no harm: the old one stays. */
static void compact(struct journal *j)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = rewrite(j->fd, &b);
	if (r == 0)
		r = replace_with(j, &b);
	if (r < 0)
		log_debug("cannot rewrite the journal: %s", strerror(-r));
	j->compact_at = 2 * j->size > COMPACT_BYTES ? 2 * j->size : COMPACT_BYTES;
}
