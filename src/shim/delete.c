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
#include <sys/mount.h>
#include <sys/syscall.h>

#define EXIT_STATUS_KILLED 137
#define SHIM_EXIT_MS 1500 /* containerd gives `delete` 5 s */

/* Whether a pid is a shim of this program and id: its command line holds both. */
static bool is_our_shim(pid_t pid, const char *id)
{
	char path[64];
	_cleanup_buf_ struct buf b = BUF_INIT;
	bool named = false;

	(void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	if (file_read(AT_FDCWD, path, 64 * 1024, &b) < 0 || !b.data)
		return false;
	for (const char *p = b.data; p < b.data + b.len; p += strlen(p) + 1)
		if (strcmp(p, "-id") == 0 && p + 4 < b.data + b.len && strcmp(p + 4, id) == 0)
			named = true;
	return named;
}

/* A shim that still lives is given a moment to finish its own exit, then killed. */
static void end_shim(const char *id)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (file_read(AT_FDCWD, "shim.pid", 64, &b) < 0 || !b.data)
		return;
	pid_t pid = (pid_t)strtol(b.data, NULL, 10);
	if (pid <= 1)
		return;
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0 || !is_our_shim(pid, id))
		return;
	struct pollfd pfd = {.fd = pidfd, .events = POLLIN};
	if (poll(&pfd, 1, SHIM_EXIT_MS) > 0)
		return;
	log_warn("the shim of %s did not end, so it is killed", id);
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	(void)poll(&pfd, 1, SHIM_EXIT_MS);
}

/*
 * `start` wrote the socket's address to the bundle. It may be the pod's, which other containers
 * use: only the one that is named after this id goes, wherever it lies.
 */
static void remove_socket(const struct cli *c)
{
	char path[SHIM_SOCKET_PATH_MAX];
	_cleanup_buf_ struct buf b = BUF_INIT;

	if (shim_socket_path(SHIM_SOCKET_DIR, c->address, c->namespace, c->id, path) < 0)
		return;
	const char *name = strrchr(path, '/');
	if (file_read(AT_FDCWD, "address", 4096, &b) == 0 && b.data &&
	    strncmp(b.data, "unix://", 7) == 0 && strrchr(b.data, '/') &&
	    strcmp(strrchr(b.data, '/'), name) == 0)
		(void)unlink(b.data + 7);
	(void)unlink(path);
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
	log_add_sink(log_sink_fd, (void *)(intptr_t)STDERR_FILENO); /* containerd logs it */
	log_set_level(c->debug ? LOG_DEBUG : LOG_WARN);
	log_set_sandbox(c->id);
	/* Without a bundle, what lies in the current directory is somebody else's. */
	bool gone = c->bundle[0] && chdir(c->bundle) < 0;
	if (gone && errno != ENOENT)
		return err_errno(e, -errno, "change to the bundle %s", c->bundle);

	/* Members of a pod have neither a shim.pid nor a socket nor a journal of their own. */
	if (!gone)
		end_shim(c->id);
	remove_socket(c);
	int r = sandbox_cleanup(c->id);
	if (r < 0)
		return err_errno(e, r, "clean up after sandbox %s", c->id);
	/* containerd leaves the unmounting of the bundle's rootfs to the shim */
	if (!gone)
		(void)umount2("rootfs", MNT_DETACH | UMOUNT_NOFOLLOW);
	return print_response(e);
}
