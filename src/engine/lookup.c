/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/lookup.h"

#include "base/fd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* More is no user database but an attack on our memory. */
#define PASSWD_MAX (1u << 20)

/* Where PATH is not set at all; of the login programs. */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* name:password:uid:gid:gecos:home:shell */
static bool line_home(const char *line, size_t len, uint32_t uid, char *ret, size_t size)
{
	const char *field[7], *p = line, *end = line + len;
	size_t field_len[7], n = 0;
	while (n < 7 && p <= end) {
		const char *colon = memchr(p, ':', (size_t)(end - p));
		field[n] = p;
		field_len[n] = (size_t)((colon ? colon : end) - p);
		n++;
		if (!colon)
			break;
		p = colon + 1;
	}
	if (n < 6 || field_len[2] == 0 || field_len[2] > 10)
		return false;
	uint64_t id = 0;
	for (size_t i = 0; i < field_len[2]; i++) {
		if (field[2][i] < '0' || field[2][i] > '9')
			return false;
		id = id * 10 + (uint64_t)(field[2][i] - '0');
	}
	return id == uid && field_len[5] > 0 && field[5][0] == '/' &&
	       path_format(ret, size, "%.*s", (int)field_len[5], field[5]) == 0;
}

bool engine_passwd_home(const char *text, uint32_t uid, char *ret, size_t size)
{
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		if (line_home(line, len, uid, ret, size))
			return true;
		line += len + (line[len] == '\n');
	}
	return false;
}

void engine_home(uint32_t uid, char ret[PATH_MAX])
{
	strcpy(ret, "/");
	/* Not blocking on a FIFO, and not acting on a device. */
	_cleanup_close_ int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (fd_read_all(fd, PASSWD_MAX, &b) == 0 && b.data &&
	    !engine_passwd_home(b.data, uid, ret, PATH_MAX))
		strcpy(ret, "/");
}

const char *engine_env(const struct oci_strv *env, const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < env->n; i++)
		if (strncmp(env->v[i], name, len) == 0 && env->v[i][len] == '=')
			return env->v[i] + len + 1;
	return NULL;
}

/* 0, or why this file cannot be run by us. */
static int check_program(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return -errno;
	return 0;
}

static int find_by_path(const char *name, char ret[PATH_MAX], struct err *e)
{
	int r = path_format(ret, PATH_MAX, "%s", name);
	if (r == 0)
		r = check_program(name);
	switch (r) {
	case 0:
		return 0;
	case -ENOENT:
	case -ENOTDIR:
		return err_set(e, -ENOENT, "exec: \"%s\": stat %s: no such file or directory", name,
			       name);
	case -EISDIR:
		return err_set(e, -EACCES, "exec: \"%s\": is a directory: permission denied", name);
	case -EACCES:
		return err_set(e, r, "exec: \"%s\": permission denied", name);
	default:
		return err_errno(e, r, "exec: \"%s\"", name);
	}
}

int engine_find_program(const char *name, const struct oci_strv *env, char ret[PATH_MAX],
			struct err *e)
{
	if (strchr(name, '/'))
		return find_by_path(name, ret, e);

	const char *path = engine_env(env, "PATH");
	if (!path)
		path = DEFAULT_PATH;
	int denied = 0;
	while (name[0] && path) {
		size_t len = strcspn(path, ":");
		/* An empty element is the working directory, as for execvp(3). */
		int r = path_format(ret, PATH_MAX, "%.*s%s%s", (int)len, path, len ? "/" : "./",
				    name);
		if (r == 0)
			r = check_program(ret);
		if (r == 0)
			return 0;
		if (r == -EACCES)
			denied = r;
		path = path[len] ? path + len + 1 : NULL;
	}
	if (denied)
		return err_set(e, denied, "exec: \"%s\": permission denied", name);
	return err_set(e, -ENOENT, "exec: \"%s\": executable file not found in $PATH", name);
}
