/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/rdt.h"

#include "base/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define RESCTRL "/sys/fs/resctrl"
/* A line for each resource, and some 20 bytes for each of a machine's caches. */
#define SCHEMATA_MAX 65536

const char *engine_rdt_root(void)
{
	struct statfs st;
	return statfs(RESCTRL, &st) == 0 && (unsigned long)st.f_type == RDTGROUP_SUPER_MAGIC
		       ? RESCTRL
		       : NULL;
}

static bool is_given(const char *s)
{
	return s && s[0];
}

/* A group, and not a folder that the kernel has there for itself. */
static bool is_group_name(const char *name)
{
	static const char *const kernels[] = {"info", "mon_groups", "mon_data"};
	if (name[0] == '.' || strchr(name, '/') || strchr(name, '\n') || strlen(name) > NAME_MAX)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++)
		if (strcmp(name, kernels[i]) == 0)
			return false;
	return true;
}

/* Appends the lines of @text, without those for memory bandwidth if @skip_mb. */
static void add_lines(struct buf *out, const char *text, bool skip_mb)
{
	while (*text) {
		size_t n = strcspn(text, "\n");
		const char *word = text + strspn(text, " \t");
		if (n && !(skip_mb && strncmp(word, "MB:", 3) == 0))
			buf_printf(out, "%.*s\n", (int)n, text);
		text += n + (text[n] == '\n');
	}
}

/* What memBwSchema says of the bandwidth counts more than what l3CacheSchema does. */
static int combine(const struct oci_intel_rdt *spec, struct buf *out, struct err *e)
{
	if (is_given(spec->l3_cache_schema))
		add_lines(out, spec->l3_cache_schema, is_given(spec->mem_bw_schema));
	if (is_given(spec->mem_bw_schema))
		add_lines(out, spec->mem_bw_schema, false);
	if (buf_failed(out))
		return err_errno(e, -ENOMEM, "intelRdt");
	if (out->len > SCHEMATA_MAX)
		return err_set(e, -E2BIG, "intelRdt: the schemas have %zu bytes: at most %d",
			       out->len, SCHEMATA_MAX);
	return 0;
}

/* The share that @resource ("L3") has of the cache @id in a text of schemata: its start, or NULL.
 * The kernel puts spaces before its lines. */
static const char *find_share(const char *schemata, const char *resource, size_t n, long id)
{
	for (const char *p = schemata; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		p += strspn(p, " \t");
		if (strncmp(p, resource, n) != 0 || p[n] != ':')
			continue;
		for (const char *d = p + n; *d == ':' || *d == ';';) {
			char *end;
			long there = strtol(d + 1, &end, 10);
			if (*end == '=' && there == id)
				return end + 1;
			d = end + strcspn(end, ";\n");
		}
	}
	return NULL;
}

/* Masks of caches are hexadecimal, with or without zeros before; bandwidths have no letters. */
static bool same_share(const char *a, const char *b)
{
	char *end_a, *end_b;
	unsigned long long x = strtoull(a, &end_a, 16), y = strtoull(b, &end_b, 16);
	return end_a != a && end_b != b && x == y && strchr(";\n", *end_a) && strchr(";\n", *end_b);
}

/* Each share of the line @line ("L3:0=7f0;1=1f") must be there. */
static bool line_is_in(const char *line, const char *schemata)
{
	line += strspn(line, " \t");
	size_t n = strcspn(line, ":\n");
	if (line[n] != ':')
		return false;
	for (const char *d = line + n; *d == ':' || *d == ';';) {
		char *end;
		long id = strtol(d + 1, &end, 10);
		if (end == d + 1 || *end != '=')
			return false;
		const char *there = find_share(schemata, line, n, id);
		if (!there || !same_share(end + 1, there))
			return false;
		d = end + strcspn(end, ";\n");
	}
	return true;
}

static int compare(const char *group, const char *wanted, struct err *e)
{
	char path[PATH_MAX];
	_cleanup_buf_ struct buf now = BUF_INIT;
	int r = path_format(path, sizeof path, "%s/schemata", group);
	if (r == 0)
		r = file_read(AT_FDCWD, path, SCHEMATA_MAX, &now);
	if (r < 0)
		return err_errno(e, r, "intelRdt: read %s/schemata", group);
	for (const char *p = wanted; *p; p += strcspn(p, "\n") + 1)
		if (!line_is_in(p, now.data ? now.data : ""))
			return err_set(e, -EINVAL,
				       "intelRdt: %s exists, and has not the share \"%.*s\"", group,
				       (int)strcspn(p, "\n"), p);
	return 0;
}

static int write_group(const char *group, const char *file, const char *text)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "%s/%s", group, file);
	return r < 0 ? r : file_write(AT_FDCWD, path, text);
}

/* The kernel says in a file of its own what it does not like. */
static int set_share(const char *root, const char *group, const char *schemata, struct err *e)
{
	char path[PATH_MAX];
	_cleanup_buf_ struct buf why = BUF_INIT;
	int r = write_group(group, "schemata", schemata);
	if (r == 0)
		return 0;
	err_errno(e, r, "intelRdt: write %s/schemata", group);
	if (path_format(path, sizeof path, "%s/info/last_cmd_status", root) == 0 &&
	    file_read(AT_FDCWD, path, 4096, &why) == 0 && why.len)
		return err_wrap(e, r, "%.*s", (int)strcspn(why.data, "\n"), why.data);
	return r;
}

static int make_group(struct engine_rdt *g, const struct oci_intel_rdt *spec, bool has_share,
		      struct err *e)
{
	struct stat st;
	bool exists = stat(g->group, &st) == 0;
	if (exists && is_given(spec->clos_id))
		return 0;
	if (is_given(spec->clos_id) && !has_share)
		return err_set(e, -ENOENT, "intelRdt: closID %s names no group of %s",
			       spec->clos_id, g->group);
	/* ENOSPC: the processor has no more classes */
	if (mkdir(g->group, 0755) < 0)
		return err_errno(e, -errno, "intelRdt: make %s", g->group);
	g->made = true;
	return 0;
}

static int make_monitor(struct engine_rdt *g, const char *id, struct err *e)
{
	char *path;
	if (asprintf(&path, "%s/mon_groups/%s", g->group, id) < 0)
		return err_errno(e, -ENOMEM, "intelRdt");
	if (mkdir(path, 0755) < 0) {
		int r = err_errno(e, -errno, "intelRdt: make %s", path);
		free(path);
		return r;
	}
	g->monitor = path;
	return 0;
}

int engine_rdt_make(const char *root, const char *id, const struct oci_intel_rdt *spec,
		    struct engine_rdt *ret, struct err *e)
{
	const char *name = is_given(spec->clos_id) ? spec->clos_id : id;
	_cleanup_buf_ struct buf share = BUF_INIT;
	*ret = ENGINE_RDT_INIT;
	if (!root)
		return err_set(e, -EOPNOTSUPP, "intelRdt: no resctrl is mounted at " RESCTRL);
	if (!is_group_name(name))
		return err_set(e, -EINVAL, "intelRdt: closID %.255s is no name of a group", name);
	int r = combine(spec, &share, e);
	if (r < 0)
		return r;
	if (asprintf(&ret->group, "%s/%s", root, name) < 0) {
		ret->group = NULL;
		return err_errno(e, -ENOMEM, "intelRdt");
	}
	r = make_group(ret, spec, share.len, e);
	if (r == 0 && share.len)
		r = ret->made ? set_share(root, ret->group, share.data, e)
			      : compare(ret->group, share.data, e);
	if (r == 0 && (spec->enable_cmt || spec->enable_mbm))
		r = make_monitor(ret, id, e);
	return r;
}

int engine_rdt_add(const struct engine_rdt *g, pid_t pid, struct err *e)
{
	char text[16];
	(void)snprintf(text, sizeof text, "%d", (int)pid);
	int r = g->group ? write_group(g->group, "tasks", text) : 0;
	/* in its class first: a group that monitors takes no others */
	if (r == 0 && g->monitor)
		r = write_group(g->monitor, "tasks", text);
	return r < 0 ? err_errno(e, r, "intelRdt: add process %d to %s", (int)pid, g->group) : 0;
}

int engine_rdt_remove(struct engine_rdt *g, struct err *e)
{
	if (g->monitor && rmdir(g->monitor) < 0 && errno != ENOENT)
		return err_errno(e, -errno, "intelRdt: remove %s", g->monitor);
	if (g->made && rmdir(g->group) < 0 && errno != ENOENT)
		return err_errno(e, -errno, "intelRdt: remove %s", g->group);
	free(g->monitor);
	free(g->group);
	*g = ENGINE_RDT_INIT;
	return 0;
}
