/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `delete`: containerd runs it whenever a shim's connection has closed, after a clean Shutdown as
 * well as after a crash, and for each container of a pod. So it is idempotent, quick when there is
 * nothing to do, and leaves a living pod alone when it is asked about one of its members.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "persist/undo.h"
#include "runtimes/sandbox.h"
#include "shim/actions.h"
#include "shim/socket.h"

#include "proto/task_service.pb-c.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define EXIT_STATUS_KILLED 137

/* containerd gives `delete` 5 s, of which undoing what is left takes up to 1.5. */
#define START_MS 700	  /* for a `start` that is under way */
#define SHIM_EXIT_MS 1200 /* for a shim that is ending by itself */
#define SHIM_KILL_MS 300
#define LOCK_STEP_MS 10

/* Whether a pid is the shim of this id and namespace: its command line holds both. */
static bool is_our_shim(pid_t pid, const struct cli *c)
{
	char path[64];
	_cleanup_buf_ struct buf b = BUF_INIT;
	unsigned named = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	if (file_read(AT_FDCWD, path, 64 * 1024, &b) < 0 || !b.data)
		return false;
	const char *end = b.data + b.len;
	for (const char *p = b.data; p < end; p += strlen(p) + 1) {
		const char *value = p + strlen(p) + 1;
		if (value >= end)
			break;
		if ((strcmp(p, "-id") == 0 && strcmp(value, c->id) == 0) ||
		    (strcmp(p, "-namespace") == 0 && strcmp(value, c->namespace) == 0))
			named++;
	}
	return named == 2;
}

/* By the bundle's file; without a bundle, by the pod's state. 0: unknown. */
static pid_t find_shim(const struct cli *c, bool in_bundle)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (in_bundle && file_read(AT_FDCWD, "shim.pid", 64, &b) == 0 && b.data)
		return (pid_t)strtol(b.data, NULL, 10);
	return sandbox_recorded_shim(c->id);
}

/* A shim that still lives is given a moment to finish its own exit, then killed. */
static void end_shim(const struct cli *c, bool in_bundle)
{
	pid_t pid = find_shim(c, in_bundle);
	if (pid <= 1)
		return;
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0 || !is_our_shim(pid, c))
		return;
	struct pollfd pfd = {.fd = pidfd, .events = POLLIN};
	if (poll(&pfd, 1, SHIM_EXIT_MS) > 0)
		return;
	log_warn("the shim of %s did not end, so it is killed", c->id);
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	(void)poll(&pfd, 1, SHIM_KILL_MS);
}

/*
 * `start` wrote the socket's address to the bundle. It may be the pod's, which other containers
 * use: only the one that is named after this id goes, wherever it lies, and not if somebody answers
 * there: a new shim of this name.
 */
static void remove_socket(const struct cli *c, bool in_bundle)
{
	char path[SHIM_SOCKET_PATH_MAX];
	_cleanup_buf_ struct buf b = BUF_INIT;

	if (shim_socket_path(SHIM_SOCKET_DIR, c->address, c->namespace, c->id, path) < 0)
		return;
	const char *name = strrchr(path, '/');
	if (in_bundle && file_read(AT_FDCWD, "address", 4096, &b) == 0 && b.data &&
	    strncmp(b.data, "unix://", 7) == 0 && strrchr(b.data, '/') &&
	    strcmp(strrchr(b.data, '/'), name) == 0)
		shim_socket_remove_stale(b.data + 7);
	shim_socket_remove_stale(path);
}

/*
 * Goes to the bundle, unless it is gone. Where we are already is not looked up by name again: a new
 * container of the same name may have a new directory there by now.
 */
static int enter_bundle(const struct cli *c, bool *ret_in, struct err *e)
{
	struct stat here;

	*ret_in = false;
	if (stat(".", &here) == 0 && here.st_nlink == 0)
		return 0;
	if (!c->bundle[0] || chdir(c->bundle) == 0)
		*ret_in = true;
	else if (errno != ENOENT && errno != ENOTDIR)
		return err_errno(e, -errno, "change to the bundle %s", c->bundle);
	return 0;
}

/* Waits for a `start` that is under way: it leaves a daemon behind. */
static void await_start(void)
{
	const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000L};
	uint64_t deadline = time_deadline(START_MS);
	_cleanup_close_ int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && time_now_ms() < deadline)
		(void)nanosleep(&step, NULL);
}

static int print_response(struct err *e)
{
	Containerd__Task__V2__DeleteResponse response = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	struct timespec now;
	uint8_t out[128];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	at.seconds = now.tv_sec;
	at.nanos = (int32_t)now.tv_nsec;
	response.exit_status = EXIT_STATUS_KILLED;
	response.exited_at = &at;
	size_t n = containerd__task__v2__delete_response__pack(&response, out);
	int r = fd_write_all(STDOUT_FILENO, out, n);
	return r < 0 ? err_errno(e, r, "write the DeleteResponse to stdout") : 0;
}

int shim_delete(const struct cli *c, struct err *e)
{
	bool in_bundle;

	log_add_sink(log_sink_fd, (void *)(intptr_t)STDERR_FILENO); /* containerd logs it */
	log_set_level(c->debug ? LOG_DEBUG : LOG_WARN);
	log_set_sandbox(c->id);
	int r = enter_bundle(c, &in_bundle, e);
	if (r < 0)
		return r;

	/* Members of a pod have neither a shim.pid nor a socket nor a journal of their own. */
	if (in_bundle)
		await_start();
	end_shim(c, in_bundle);
	remove_socket(c, in_bundle);
	/* What cannot be undone now stays in the journal for the next shim of this name. To fail
	 * would only make containerd keep the bundle, and with it refuse the name. */
	r = sandbox_cleanup(c->id);
	if (r == -EBUSY)
		log_warn("sandbox %s is another shim's, which lives: it is left alone", c->id);
	else if (r < 0)
		log_error("clean up after sandbox %s: %s", c->id, strerror(-r));
	/* containerd leaves the unmounting of the bundle's rootfs to the shim */
	if (in_bundle)
		(void)umount2("rootfs", MNT_DETACH | UMOUNT_NOFOLLOW);
	return print_response(e);
}
