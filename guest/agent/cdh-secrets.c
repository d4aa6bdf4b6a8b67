/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed secrets of a container. Values of secrets appear in no message.
 *
 * Files are those of a Secret as kubelet lays them out: names that are links to "..data/name". A
 * sealed one is unsealed beside itself, as "name.unsealed", and the link made to point there.
 */
#include "base/fd.h"
#include "base/log.h"
#include "base/utf8.h"
#include "guest/agent/cdh-internal.h"
#include "oci/arena.h"
#include "sys/inroot.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define PREFIX "sealed."
/* Kubernetes' limit of a Secret, in base64 and some */
#define SEALED_MAX (2u << 20)
/* A Secret has as many keys as fit into 1 MiB; a directory of more is something else. */
#define FILES_MAX 1024
#define TMP_NAME ".kata-unsealed"

static bool is_sealed(const char *text)
{
	return strncmp(text, PREFIX, sizeof PREFIX - 1) == 0;
}

/* A hub that does not answer is not asked again for this container. */
static bool is_lost(const struct err *e)
{
	return e->status == STATUS_DEADLINE_EXCEEDED || e->status == STATUS_UNAVAILABLE;
}

/* ---- Environment -------------------------------------------------------------------------- */

static int unseal_variable(struct cdh *c, struct oci_spec *s, char **variable, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	const char *value = strchr(*variable, '=') + 1;

	buf_append(&text, *variable, (size_t)(value - *variable));
	size_t name = text.len;
	int r = cdh_unseal(c, value, strlen(value), &text, e);
	if (r < 0)
		return r;
	if (strlen(text.data) != text.len || !utf8_valid(text.data + name))
		return err_set(e, -EINVAL, "what was sealed is no text");
	char *copy = oci_arena_strdup(s->arena, text.data);
	explicit_bzero(text.data, text.len);
	if (!copy)
		return err_set(e, -ENOMEM, "no memory for the environment");
	*variable = copy;
	return 0;
}

static bool unseal_environment(struct cdh *c, struct oci_spec *s)
{
	for (size_t i = 0; i < s->process.env.n; i++) {
		char **variable = &s->process.env.v[i];
		const char *equals = strchr(*variable, '=');
		struct err e = ERR_INIT;
		if (!equals || !is_sealed(equals + 1))
			continue;
		if (unseal_variable(c, s, variable, &e) < 0) {
			log_warn("the variable %.*s stays sealed: %s",
				 (int)(equals - *variable < 80 ? equals - *variable : 80),
				 *variable, e.text);
			if (is_lost(&e))
				return false;
		}
	}
	return true;
}

/* ---- Files -------------------------------------------------------------------------------- */

/* Reads a file of @dir if it is sealed; 0 without text if not. */
static int read_sealed(int dir, const char *path, struct buf *ret, struct stat *st)
{
	char start[sizeof PREFIX] = "";

	_cleanup_close_ int fd = inroot_open(dir, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return fd;
	if (fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode) || pread(fd, start, sizeof PREFIX - 1, 0) < 0 ||
	    !is_sealed(start))
		return 0;
	return fd_read_all(fd, SEALED_MAX, ret);
}

/* Writes <path>.unsealed: whole, or not at all. */
static int write_unsealed(int dir, const char *path, const struct buf *text, const struct stat *st)
{
	char unsealed[PATH_MAX], name[NAME_MAX + 1];

	int r = path_format(unsealed, sizeof unsealed, "%s.unsealed", path);
	if (r < 0)
		return r;
	_cleanup_close_ int parent = inroot_parent(dir, unsealed, name);
	if (parent < 0)
		return parent;
	(void)unlinkat(parent, TMP_NAME, 0);
	_cleanup_close_ int fd = openat(parent, TMP_NAME,
					O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, text->data, text->len);
	if (r == 0 &&
	    (fchown(fd, st->st_uid, st->st_gid) < 0 || fchmod(fd, st->st_mode & 0777) < 0 ||
	     renameat(parent, TMP_NAME, parent, name) < 0))
		r = -errno;
	if (r < 0)
		(void)unlinkat(parent, TMP_NAME, 0);
	return r;
}

static int relink(int dir, const char *name, const char *path)
{
	char target[PATH_MAX];

	int r = path_format(target, sizeof target, "%s.unsealed", path);
	if (r < 0)
		return r;
	(void)unlinkat(dir, TMP_NAME, 0);
	if (symlinkat(target, dir, TMP_NAME) < 0)
		return -errno;
	if (renameat(dir, TMP_NAME, dir, name) == 0)
		return 0;
	r = -errno;
	(void)unlinkat(dir, TMP_NAME, 0);
	return r;
}

static int unseal_file(struct cdh *c, int dir, const char *name, struct err *e)
{
	_cleanup_buf_ struct buf sealed = BUF_INIT, text = BUF_INIT;
	char path[PATH_MAX];
	struct stat st;

	int r = inroot_resolve(dir, name, path);
	if (r == 0)
		r = read_sealed(dir, path, &sealed, &st);
	if (r == -ENOENT || (r == 0 && sealed.len == 0))
		return 0; /* a link to nowhere, or a file as any */
	if (r < 0)
		return err_errno(e, r, "read");
	r = cdh_unseal(c, sealed.data, sealed.len, &text, e);
	if (r < 0)
		return r;
	r = write_unsealed(dir, path, &text, &st);
	if (text.data)
		explicit_bzero(text.data, text.len);
	if (r == 0)
		r = relink(dir, name, path);
	return r < 0 ? err_errno(e, r, "write") : 0;
}

static bool unseal_directory(struct cdh *c, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	unsigned n = 0;
	bool lost = false;

	if (!dir) {
		(void)close_fd(fd);
		return true; /* not a directory, so not a Secret's */
	}
	while (!lost && n++ < FILES_MAX && (d = readdir(dir))) {
		struct err e = ERR_INIT;
		/* names that begin with ".." are kubelet's own */
		if (strncmp(d->d_name, "..", 2) == 0 || strcmp(d->d_name, ".") == 0 ||
		    strcmp(d->d_name, TMP_NAME) == 0 || d->d_type == DT_DIR)
			continue;
		if (unseal_file(c, fd, d->d_name, &e) < 0) {
			log_warn("the file %s/%s stays sealed: %s", path, d->d_name, e.text);
			lost = is_lost(&e);
		}
	}
	(void)closedir(dir);
	return !lost;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && strcmp(s + n - m, end) == 0;
}

/* A volume of the share; what every pod has is left alone. */
static bool may_be_secret(const struct cdh *c, const char *source)
{
	static const char *const others[] = {"resolv.conf", "termination-log", "hostname", "hosts",
					     "serviceaccount"};
	char share[160];

	if (path_format(share, sizeof share, "%s/shared/containers/", c->options.state_dir) < 0 ||
	    strncmp(source, share, strlen(share)) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (ends_with(source, others[i]))
			return false;
	return true;
}

void cdh_unseal_secrets(struct cdh *c, struct oci_spec *s)
{
	if (!cdh_is_there(c) || !unseal_environment(c, s))
		return;
	for (size_t i = 0; i < s->n_mounts; i++) {
		const char *source = s->mounts[i].source;
		if (source && may_be_secret(c, source) && !unseal_directory(c, source))
			break;
	}
}
