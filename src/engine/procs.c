/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/procs.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static uint64_t namespace_of(int proc_pid_fd, const char *path)
{
	struct stat st;
	return fstatat(proc_pid_fd, path, &st, 0) < 0 ? 0 : st.st_ino;
}

int engine_owned_open(int proc_pid_fd, bool own_pid, struct engine_owned *ret)
{
	struct stat st;
	int fd = openat(proc_pid_fd, own_pid ? "ns/pid" : "ns/mnt", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;
		(void)close_fd(fd);
		return r;
	}
	*ret = (struct engine_owned){.fd = fd, .is_pid = own_pid, .ino = st.st_ino};
	return 0;
}

void engine_owned_close(struct engine_owned *o)
{
	o->fd = close_fd(o->fd);
}

static bool is_owned(const struct engine_owned *o, int proc_fd, const char *pid)
{
	_cleanup_close_ int fd = openat(proc_fd, pid, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	uint64_t mnt = namespace_of(fd, "ns/mnt");
	if (!mnt) /* a zombie has left its namespaces, but for the one that numbers it */
		return false;
	return (o->is_pid ? namespace_of(fd, "ns/pid") : mnt) == o->ino;
}

int engine_owned_pids(const struct engine_owned *o, pid_t **ret, size_t *ret_n)
{
	if (o->fd < 0)
		return -ESRCH;
	DIR *d = opendir("/proc");
	if (!d)
		return -errno;
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0, cap = 0;
	int r = 0;
	for (struct dirent *entry; r == 0 && (entry = readdir(d));) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    !is_owned(o, dirfd(d), entry->d_name))
			continue;
		if (n == cap) {
			cap = cap ? cap * 2 : 32;
			pid_t *more = realloc(pids, cap * sizeof *pids);
			if (!more) {
				r = -ENOMEM;
				break;
			}
			pids = more;
		}
		pids[n++] = (pid_t)strtol(entry->d_name, NULL, 10);
	}
	(void)closedir(d);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(pids);
	*ret_n = n;
	return 0;
}
