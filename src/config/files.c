/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the configuration's text, and lays the drop-ins over it. */
#include "config/internal.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Far more than anybody has; bounds what a wrong config.d (say, a link to /usr) costs. */
#define DROP_INS_MAX 256

#define BODY_NAME "ConfigBody"

void config_docs_free(struct config_docs *d)
{
	for (size_t i = 0; i < d->n; i++)
		toml_free(d->docs[i]);
	free(d->docs);
	*d = (struct config_docs){.n = 0};
}

static int docs_add(struct config_load *l, struct config_docs *d, const char *text, size_t len,
		    const char *name)
{
	if (d->n == d->cap) {
		size_t cap = d->cap ? 2 * d->cap : 4;
		struct toml_doc **docs = reallocarray(d->docs, cap, sizeof(struct toml_doc *));
		if (!docs)
			return config_no_memory(l);
		d->docs = docs;
		d->cap = cap;
	}
	int r = toml_parse(text, len, name, &d->docs[d->n], l->e);
	if (r == 0)
		d->n++;
	return r;
}

/* Opening a FIFO or a device by mistake must not hang: only regular files are read. */
static int read_regular(struct config_load *l, const char *path, struct buf *ret)
{
	struct stat st;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return err_errno(l->e, -errno, "open configuration file %s", path);
	if (fstat(fd, &st) < 0)
		return err_errno(l->e, -errno, "stat configuration file %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(l->e, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL,
			       "configuration file %s is not a regular file", path);
	int r = fd_read_all(fd, TOML_TEXT_MAX, ret);
	if (r == -EFBIG)
		return err_set(l->e, r, "configuration file %s has more than %d bytes", path,
			       TOML_TEXT_MAX);
	return r < 0 ? err_errno(l->e, r, "read configuration file %s", path) : 0;
}

static int docs_add_file(struct config_load *l, struct config_docs *d, const char *path)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	int r = read_regular(l, path, &text);
	return r < 0 ? r : docs_add(l, d, text.data ? text.data : "", text.len, path);
}

/* ---- Drop-ins ---------------------------------------------------------------------------------
 */

/* Hidden names are what editors and Kubernetes volumes keep beside the files that count. */
static int is_drop_in(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);
	return entry->d_name[0] != '.' && len > strlen(".toml") &&
	       strcmp(entry->d_name + len - strlen(".toml"), ".toml") == 0;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_drop_in(struct config_load *l, struct config_docs *d, const char *directory,
		       const char *name)
{
	char path[PATH_MAX];
	if (path_format(path, sizeof path, "%s/%s", directory, name) < 0)
		return err_set(l->e, -ENAMETOOLONG, "the path of drop-in %s/%s is too long",
			       directory, name);
	return docs_add_file(l, d, path);
}

static int read_drop_ins(struct config_load *l, struct config_docs *d)
{
	char directory[PATH_MAX];
	const char *slash = strrchr(l->base_file, '/');
	struct dirent **names;

	if (path_format(directory, sizeof directory, "%.*s/config.d", (int)(slash - l->base_file),
			l->base_file) < 0)
		return err_set(l->e, -ENAMETOOLONG, "the path of config.d beside %s is too long",
			       l->base_file);
	int n = scandir(directory, &names, is_drop_in, compare_names);
	if (n < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (n < 0)
		return err_errno(l->e, -errno, "read drop-in directory %s", directory);
	int r = n > DROP_INS_MAX ? err_set(l->e, -E2BIG,
					   "drop-in directory %s has %d files: must be at most %d",
					   directory, n, DROP_INS_MAX)
				 : 0;
	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = add_drop_in(l, d, directory, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return r;
}

/* ---- Which file -------------------------------------------------------------------------------
 */

/* A file that somebody named. */
static int use_file(struct config_load *l, const char *path, const char *who)
{
	char real[PATH_MAX];

	if (!realpath(path, real))
		return err_errno(l->e, -errno, "configuration file %s (from %s)", path, who);
	l->base_file = config_strndup(&l->arena, real, strlen(real));
	return l->base_file ? 0 : config_no_memory(l);
}

static int find_default_file(struct config_load *l)
{
	_cleanup_buf_ struct buf tried = BUF_INIT;

	for (const char *const *f = l->host->default_files; *f; f++) {
		char real[PATH_MAX];
		if (realpath(*f, real))
			return use_file(l, *f, "the default locations");
		/* A file that is there and cannot be reached is not one to pass over. */
		if (errno != ENOENT && errno != ENOTDIR)
			return err_errno(l->e, -errno, "configuration file %s", *f);
		buf_printf(&tried, "%s%s", tried.len ? ", " : "", *f);
	}
	return err_set(l->e, -ENOENT, "there is no configuration file: looked for %s",
		       tried.data ? tried.data : "none");
}

static int find_file(struct config_load *l, const struct config_source *src)
{
	if (src->file && src->file[0])
		return use_file(l, src->file, "ConfigPath");
	if (l->host->env_file && l->host->env_file[0])
		return use_file(l, l->host->env_file, "KATA_CONF_FILE");
	return find_default_file(l);
}

int config_read_files(struct config_load *l, const struct config_source *src,
		      struct config_docs *docs, struct toml_node **ret)
{
	int r;

	if (src->body && src->body[0]) {
		l->base_file = config_strndup(&l->arena, BODY_NAME, strlen(BODY_NAME));
		if (!l->base_file)
			return config_no_memory(l);
		r = docs_add(l, docs, src->body, strlen(src->body), BODY_NAME);
	} else {
		r = find_file(l, src);
		if (r == 0)
			r = docs_add_file(l, docs, l->base_file);
		if (r == 0)
			r = read_drop_ins(l, docs);
	}
	if (r < 0)
		return r;
	*ret = toml_root(docs->docs[0]);
	for (size_t i = 1; i < docs->n; i++)
		toml_merge(*ret, toml_root(docs->docs[i]));
	return 0;
}
