/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/hooks.h"

#include "base/fd.h"
#include "oci/arena.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum kind {
	PRESTART,
	POSTSTART,
	POSTSTOP,
	KINDS,
};

static const char *const kind_names[KINDS] = {"prestart", "poststart", "poststop"};

struct guest_hooks {
	struct oci_arena *arena; /* owns the rest, and this */
	struct {
		char **paths;
		size_t n;
	} kinds[KINDS];
};

void guest_hooks_free(struct guest_hooks *h)
{
	if (h)
		oci_arena_free(h->arena);
}

static bool is_hook(int dir_fd, const char *name)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       st.st_mode & 0111;
}

static int compare(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_path(struct guest_hooks *h, enum kind kind, const char *dir, const char *name)
{
	char path[PATH_MAX];

	int r = path_format(path, sizeof path, "%s/%s/%s", dir, kind_names[kind], name);
	if (r < 0)
		return r;
	char *copy = oci_arena_strdup(h->arena, path);
	if (!copy)
		return -ENOMEM;
	h->kinds[kind].paths[h->kinds[kind].n++] = copy;
	return 0;
}

/* In the order of their names. */
static int scan_kind(struct guest_hooks *h, int dir_fd, const char *dir, enum kind kind,
		     struct err *e)
{
	struct dirent **names = NULL;
	int r = 0;

	_cleanup_close_ int fd =
		openat(dir_fd, kind_names[kind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	int n = fd < 0 ? -1 : scandirat(fd, ".", &names, NULL, compare);
	if (n < 0)
		return err_errno(e, -errno, "guest hooks %s/%s", dir, kind_names[kind]);
	h->kinds[kind].paths = oci_arena_array(h->arena, OCI_HOOKS_MAX, sizeof(char *));
	if (!h->kinds[kind].paths)
		r = err_errno(e, -ENOMEM, "guest hooks");
	for (int i = 0; i < n; i++) {
		if (r == 0 && is_hook(fd, names[i]->d_name)) {
			if (h->kinds[kind].n == OCI_HOOKS_MAX)
				r = err_set(e, -E2BIG, "guest hooks %s/%s: more than %u", dir,
					    kind_names[kind], OCI_HOOKS_MAX);
			else if ((r = add_path(h, kind, dir, names[i]->d_name)) < 0)
				(void)err_errno(e, r, "guest hook %s", names[i]->d_name);
		}
		free(names[i]);
	}
	free(names);
	return r;
}

int guest_hooks_scan(const char *dir, struct guest_hooks **ret, struct err *e)
{
	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	struct guest_hooks *h = a ? oci_arena_alloc(a, sizeof *h) : NULL;

	if (!h)
		return err_errno(e, -ENOMEM, "guest hooks");
	h->arena = a;
	if (dir[0] != '/')
		return err_set(e, -EINVAL, "guest hooks in %.200s: not an absolute path", dir);
	_cleanup_close_ int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "guest hooks in %.200s", dir);
	for (int kind = 0; kind < KINDS; kind++) {
		int r = scan_kind(h, fd, dir, (enum kind)kind, e);
		if (r < 0)
			return r;
	}
	(void)TAKE_PTR(a);
	*ret = h;
	return 0;
}

static int make_hook(struct oci_arena *a, const char *path, enum kind kind, struct oci_hook *ret)
{
	const char *name = strrchr(path, '/') + 1;

	*ret = (struct oci_hook){.path = oci_arena_strdup(a, path)};
	if (!ret->path || oci_arena_strv(a, 2, &ret->args) < 0 ||
	    oci_arena_strv(a, 0, &ret->env) < 0)
		return -ENOMEM;
	ret->args.v[0] = oci_arena_strdup(a, name);
	ret->args.v[1] = oci_arena_strdup(a, kind_names[kind]);
	return ret->args.v[0] && ret->args.v[1] ? 0 : -ENOMEM;
}

int guest_hooks_add(const struct guest_hooks *h, struct oci_spec *s)
{
	struct oci_hook_list *const lists[KINDS] = {&s->hooks.prestart, &s->hooks.poststart,
						    &s->hooks.poststop};

	for (int kind = 0; h && kind < KINDS; kind++) {
		struct oci_hook_list *l = lists[kind];
		size_t n = h->kinds[kind].n;
		if (n == 0)
			continue;
		struct oci_hook *v = oci_arena_array(s->arena, l->n + n, sizeof *v);
		if (!v)
			return -ENOMEM;
		if (l->n)
			memcpy(v, l->v, l->n * sizeof *v);
		for (size_t i = 0; i < n; i++)
			if (make_hook(s->arena, h->kinds[kind].paths[i], (enum kind)kind,
				      &v[l->n + i]) < 0)
				return -ENOMEM;
		*l = (struct oci_hook_list){.v = v, .n = l->n + n};
	}
	return 0;
}
