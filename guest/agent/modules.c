/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/modules.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>

/* The image's builder chooses a few dozen; more means that the file is not what it should be. */
#define MODULES_MAX 128
#define MODULE_NEEDS_MAX 16
#define LIST_BYTES_MAX (64 * 1024)
/* Deeper than any chain in the kernel; stops a list whose modules need each other. */
#define DEPTH_MAX 8

struct module {
	char *name;
	char *when; /* a glob, or NULL */
	char *needs[MODULE_NEEDS_MAX];
	size_t n_needs;
	bool loaded;
};

struct modules {
	pthread_mutex_t lock; /* guards .loaded, and makes loading one at a time */
	char *dir;
	struct buf text; /* what the strings point into */
	struct module *v;
	size_t n;
};

static bool name_equal(const char *a, const char *b)
{
	for (; *a && *b; a++, b++) {
		if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))
			return false;
	}
	return *a == *b;
}

/* A name becomes part of a path. */
static bool name_valid(const char *s)
{
	return *s &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
		       strlen(s);
}

static struct module *find(const struct modules *m, const char *name)
{
	for (size_t i = 0; i < m->n; i++)
		if (name_equal(m->v[i].name, name))
			return &m->v[i];
	return NULL;
}

static int parse_line(struct module *mod, char *line, size_t number, struct err *e)
{
	char *save = NULL;

	mod->name = strtok_r(line, " ", &save);
	mod->when = strtok_r(NULL, " ", &save);
	if (!mod->name || !mod->when || !name_valid(mod->name))
		return err_set(e, -EINVAL, "list of modules, line %zu: not NAME WHEN NEEDED...",
			       number);
	if (strcmp(mod->when, "-") == 0)
		mod->when = NULL;
	for (char *w; (w = strtok_r(NULL, " ", &save));) {
		if (mod->n_needs == MODULE_NEEDS_MAX)
			return err_set(e, -EINVAL, "list of modules, line %zu: needs more than %d",
				       number, MODULE_NEEDS_MAX);
		mod->needs[mod->n_needs++] = w;
	}
	return 0;
}

static int parse(struct modules *m, struct err *e)
{
	char *save = NULL;
	size_t number = 0;

	for (char *l = strtok_r(m->text.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (++number > MODULES_MAX)
			return err_set(e, -EINVAL, "list of modules: more than %d", MODULES_MAX);
		int r = parse_line(&m->v[m->n], l, number, e);
		if (r < 0)
			return r;
		m->n++;
	}
	return 0;
}

int modules_new(const char *dir, struct modules **ret, struct err *e)
{
	char path[256];
	struct modules *m = calloc(1, sizeof *m);
	if (!m)
		return err_set(e, -ENOMEM, "no memory for the list of modules");
	pthread_mutex_init(&m->lock, NULL);
	m->dir = strdup(dir);
	m->v = calloc(MODULES_MAX, sizeof *m->v);
	int r = m->dir && m->v ? path_format(path, sizeof path, "%s/list", dir) : -ENOMEM;
	if (r < 0) {
		modules_free(m);
		return err_set(e, r, "list of modules in %s", dir);
	}
	r = file_read(AT_FDCWD, path, LIST_BYTES_MAX, &m->text);
	if (r == -ENOENT || (r == 0 && m->text.len == 0))
		r = 0;
	else if (r < 0)
		(void)err_errno(e, r, "read %s", path);
	else
		r = parse(m, e);
	if (r < 0) {
		modules_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

void modules_free(struct modules *m)
{
	if (!m)
		return;
	pthread_mutex_destroy(&m->lock);
	buf_free(&m->text);
	free(m->dir);
	free(m->v);
	free(m);
}

bool modules_has(const struct modules *m, const char *name)
{
	return find(m, name) != NULL;
}

static int insert(const struct modules *m, const struct module *mod, const char *params,
		  struct err *e)
{
	char path[512];

	int r = path_format(path, sizeof path, "%s/%s.ko", m->dir, mod->name);
	if (r < 0)
		return err_set(e, r, "kernel module %s: path too long", mod->name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "open kernel module %s", path);
	if (syscall(SYS_finit_module, fd, params ? params : "", 0) < 0 && errno != EEXIST)
		return err_errno(e, -errno, "load kernel module %s", mod->name);
	return 0;
}

static int load(struct modules *m, const char *name, const char *params, unsigned depth,
		struct err *e)
{
	struct module *mod = find(m, name);
	if (!mod)
		return err_set(e, -ENOENT, "this guest image has no kernel module %s", name);
	if (mod->loaded)
		return 0;
	if (depth > DEPTH_MAX)
		return err_set(e, -ELOOP, "kernel module %s needs itself", name);
	for (size_t i = 0; i < mod->n_needs; i++) {
		int r = load(m, mod->needs[i], NULL, depth + 1, e);
		if (r < 0)
			return r;
	}
	int r = insert(m, mod, params, e);
	mod->loaded = r == 0;
	return r;
}

int modules_load(struct modules *m, const char *name, const char *params, struct err *e)
{
	pthread_mutex_lock(&m->lock);
	int r = load(m, name, params, 0, e);
	pthread_mutex_unlock(&m->lock);
	return r;
}

static bool bus_has(const char *bus, const char *glob)
{
	char path[512], alias[512];
	bool found = false;

	(void)snprintf(path, sizeof path, "/sys/bus/%s/devices", bus);
	DIR *d = opendir(path);
	if (!d)
		return false;
	for (struct dirent *de; !found && (de = readdir(d));) {
		if (de->d_name[0] == '.' ||
		    path_format(path, sizeof path, "%s/modalias", de->d_name) < 0)
			continue;
		_cleanup_close_ int fd = openat(dirfd(d), path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, alias, sizeof alias - 1);
		if (n <= 0)
			continue;
		alias[n] = '\0';
		alias[strcspn(alias, "\n")] = '\0';
		found = fnmatch(glob, alias, 0) == 0;
	}
	(void)closedir(d);
	return found;
}

static bool wanted(const struct module *mod)
{
	char bus[16];

	if (!mod->when)
		return false;
	/* the bus is what stands before the colon: "pci:v00001AF4d*" */
	size_t len = strcspn(mod->when, ":");
	if (len >= sizeof bus || mod->when[len] != ':')
		return false;
	memcpy(bus, mod->when, len);
	bus[len] = '\0';
	return name_valid(bus) && bus_has(bus, mod->when);
}

int modules_load_present(struct modules *m, const char *until, struct err *e)
{
	int first = 0;

	for (size_t i = 0; i < m->n; i++) {
		if (wanted(&m->v[i])) {
			int r = modules_load(m, m->v[i].name, NULL, first < 0 ? NULL : e);
			if (r < 0 && first == 0)
				first = r;
		}
		if (until && name_equal(m->v[i].name, until))
			break;
	}
	return first;
}

void modules_for_filesystem(struct modules *m, const char *fstype)
{
	_cleanup_buf_ struct buf known = BUF_INIT;
	char word[64];

	if (!modules_has(m, fstype))
		return;
	int n = snprintf(word, sizeof word, "\t%s\n", fstype);
	if (n < 0 || (size_t)n >= sizeof word)
		return;
	if (file_read(AT_FDCWD, "/proc/filesystems", LIST_BYTES_MAX, &known) == 0 && known.data &&
	    strstr(known.data, word))
		return;
	/* a failure shows as the mount's own: unknown file system type */
	(void)modules_load(m, fstype, NULL, NULL);
}
