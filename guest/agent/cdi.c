/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/cdi.h"

#include "base/fd.h"
#include "guest/agent/cdi-edits.h"
#include "guest/agent/yaml.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#define PREFIX "cdi.k8s.io/"
#define TYPE_KEY "io.katacontainers.pkg.oci.container_type"

const char *const cdi_dirs[] = {"/var/run/cdi", "/etc/cdi", NULL};

/* ---- The request -------------------------------------------------------------------------- */

static bool name_valid(const char *s, const char *others)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	for (const char *p = s; *p; p++)
		if (!strchr(letters, *p) && !strchr(others, *p))
			return false;
	return *s != '\0';
}

/* "nvidia.com/gpu=0" */
static int add_device(struct cdi_request *q, const char *word, size_t len, struct err *e)
{
	char *text = oci_arena_alloc(q->arena, len + 1);

	if (!text)
		return err_set(e, -ENOMEM, "no memory for the name of a CDI device");
	memcpy(text, word, len);
	char *equals = strchr(text, '='), *slash = strchr(text, '/');
	if (!equals || !slash || slash > equals || slash == text || slash + 1 == equals)
		return err_set(e, -EINVAL, "CDI device \"%.80s\": not VENDOR/CLASS=DEVICE", text);
	*equals = '\0';
	if (!name_valid(text, "_-./") || strchr(slash + 1, '/') || !name_valid(equals + 1, "_-.:"))
		return err_set(e, -EINVAL, "CDI device \"%.80s=%.80s\" has characters of no name",
			       text, equals + 1);
	if (q->n == CDI_DEVICES_MAX)
		return err_set(e, -E2BIG, "more than %d CDI devices", CDI_DEVICES_MAX);
	q->v[q->n++] = (struct cdi_device){.kind = text, .name = equals + 1};
	return 0;
}

static int add_devices(struct cdi_request *q, const char *value, struct err *e)
{
	int r = 0;

	for (const char *p = value; r == 0 && *p;) {
		size_t len = strcspn(p, ",");
		r = add_device(q, p, len, e);
		p += len + (p[len] == ',');
	}
	return r;
}

bool cdi_requested(const Grpc__Spec *spec)
{
	for (size_t i = 0; i < spec->n_annotations; i++)
		if (strncmp(spec->annotations[i]->key, PREFIX, strlen(PREFIX)) == 0)
			return true;
	return false;
}

int cdi_request_read(const Grpc__Spec *spec, struct cdi_request *ret, struct err *e)
{
	int r = 0;

	*ret = CDI_REQUEST_INIT;
	for (size_t i = 0; i < spec->n_annotations; i++)
		if (strcmp(spec->annotations[i]->key, TYPE_KEY) == 0 &&
		    strcmp(spec->annotations[i]->value, "pod_sandbox") == 0)
			return 0;
	for (size_t i = 0; r == 0 && i < spec->n_annotations; i++) {
		if (strncmp(spec->annotations[i]->key, PREFIX, strlen(PREFIX)) != 0)
			continue;
		if (!ret->arena && !(ret->arena = oci_arena_new()))
			return err_set(e, -ENOMEM, "no memory for CDI devices");
		r = add_devices(ret, spec->annotations[i]->value, e);
		if (r < 0)
			(void)err_wrap(e, r, "annotation %.80s", spec->annotations[i]->key);
	}
	if (r < 0)
		cdi_request_free(ret);
	return r;
}

void cdi_request_free(struct cdi_request *q)
{
	oci_arena_free(q->arena);
	*q = CDI_REQUEST_INIT;
}

/* ---- The files ---------------------------------------------------------------------------- */

struct file {
	const char *path, *kind;
	size_t dir; /* in the list */
	const struct yaml_node *root;
};

struct files {
	struct oci_arena *arena;
	size_t n;
	struct file v[CDI_FILES_MAX];
	struct err bad; /* of one that cannot be read */
};

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), n = strlen(suffix);
	return len > n && strcmp(name + len - n, suffix) == 0;
}

static const char *text_of(const struct yaml_node *n)
{
	return n && n->kind == YAML_SCALAR ? n->text : NULL;
}

static int read_one(struct files *f, size_t dir, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct yaml_node *root = NULL;

	int r = file_read(AT_FDCWD, path, YAML_BYTES_MAX, &text);
	if (r < 0)
		return err_errno(e, r, "read %s", path);
	r = yaml_parse(f->arena, text.data ? text.data : "", text.len, &root, e);
	if (r < 0)
		return err_wrap(e, r, "%s", path);
	const char *kind = text_of(yaml_get(root, "kind"));
	if (!kind)
		return err_set(e, -EINVAL, "%s has no kind", path);
	char *copy = oci_arena_strdup(f->arena, path);
	if (!copy)
		return err_set(e, -ENOMEM, "no memory for %s", path);
	f->v[f->n++] = (struct file){.path = copy, .kind = kind, .dir = dir, .root = root};
	return 0;
}

/* One that cannot be read may be being written: it counts as not there, but is remembered. */
static int read_dir(struct files *f, size_t dir, const char *path)
{
	char file[PATH_MAX];
	struct err e = ERR_INIT;
	int r = 0;

	DIR *d = opendir(path);
	if (!d)
		return 0;
	for (struct dirent *de; r != -ENOMEM && (de = readdir(d));) {
		if (de->d_name[0] == '.' ||
		    (!has_suffix(de->d_name, ".json") && !has_suffix(de->d_name, ".yaml")) ||
		    path_format(file, sizeof file, "%s/%s", path, de->d_name) < 0)
			continue;
		if (f->n == CDI_FILES_MAX)
			break;
		r = read_one(f, dir, file, &e);
		if (r < 0)
			f->bad = e;
	}
	(void)closedir(d);
	return r == -ENOMEM ? r : 0;
}

static void files_free(struct files *f)
{
	if (f)
		oci_arena_free(f->arena);
	free(f);
}
DEFINE_CLEANUP(struct files, files_free)

static int files_read(const char *const *dirs, struct files **ret, struct err *e)
{
	struct files *f = calloc(1, sizeof *f);
	int r = f && (f->arena = oci_arena_new()) ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && dirs[i]; i++)
		r = read_dir(f, i, dirs[i]);
	if (r < 0) {
		files_free(f);
		return err_set(e, r, "no memory for the files of CDI");
	}
	*ret = f;
	return 0;
}

static const struct yaml_node *device_in(const struct file *f, const char *name)
{
	const struct yaml_node *list = yaml_get(f->root, "devices");

	for (const struct yaml_node *n = list && list->kind == YAML_LIST ? list->first : NULL; n;
	     n = n->next) {
		const char *text = text_of(yaml_get(n, "name"));
		if (text && strcmp(text, name) == 0)
			return n;
	}
	return NULL;
}

/* The file and its member for a device. */
static int find(const struct files *f, const struct cdi_device *d, const struct file **ret_file,
		const struct yaml_node **ret_device, struct err *e)
{
	bool kind = false;

	*ret_file = NULL;
	for (size_t i = 0; i < f->n; i++) {
		const struct file *v = &f->v[i];
		if (strcmp(v->kind, d->kind) != 0)
			continue;
		kind = true;
		const struct yaml_node *device = device_in(v, d->name);
		if (!device || (*ret_file && (*ret_file)->dir < v->dir))
			continue;
		if (*ret_file && (*ret_file)->dir == v->dir)
			return err_set(e, -EINVAL, "CDI device %s=%s is in two files: %s and %s",
				       d->kind, d->name, (*ret_file)->path, v->path);
		*ret_file = v;
		*ret_device = device;
	}
	if (*ret_file)
		return 0;
	if (kind)
		return err_set(e, -ENODEV, "CDI: there are devices %s, but no \"%s\"", d->kind,
			       d->name);
	return err_set(e, -EAGAIN, "CDI: nothing tells of devices %s%s%s", d->kind,
		       f->bad.text[0] ? "; " : "", f->bad.text);
}

int cdi_look(const char *const *dirs, const struct cdi_request *q, struct err *e)
{
	_cleanup_(files_free_p) struct files *f = NULL;
	const struct yaml_node *device;
	const struct file *file;

	int r = q->n ? files_read(dirs, &f, e) : 0;
	for (size_t i = 0; r == 0 && i < q->n; i++)
		r = find(f, &q->v[i], &file, &device, e);
	return r;
}

int cdi_apply(const char *const *dirs, const struct cdi_request *q, struct oci_spec *s,
	      struct err *e)
{
	_cleanup_(files_free_p) struct files *f = NULL;
	const struct yaml_node *device;
	const struct file *file;
	bool done[CDI_FILES_MAX] = {false};

	int r = q->n ? files_read(dirs, &f, e) : 0;
	for (size_t i = 0; r == 0 && i < q->n; i++) {
		r = find(f, &q->v[i], &file, &device, e);
		if (r < 0)
			return r == -EAGAIN ? -ENODEV : r;
		/* what is for all of the file's devices, once */
		if (!done[file - f->v])
			r = cdi_edit(s, yaml_get(file->root, "containerEdits"), e);
		done[file - f->v] = true;
		if (r == 0)
			r = cdi_edit(s, yaml_get(device, "containerEdits"), e);
		if (r < 0)
			(void)err_wrap(e, r, "CDI: %s, device %s", file->path, q->v[i].name);
	}
	return r;
}
