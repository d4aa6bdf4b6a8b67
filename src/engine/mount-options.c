/* SPDX-License-Identifier: Apache-2.0 */
/* The names are those of mount(8) and of the runtime specification's config.md, "Linux mount
 * options"; the recursive ones ("rro") are of the latter. */
#include "engine/mount-options.h"

#include <string.h>
#include <sys/mount.h>

enum kind { IGNORED, BIND, REMOUNT, SET, CLEAR, PROPAGATION, SUPER, IDMAP, COPY_UP };

struct known_option {
	const char *name;
	enum kind kind;
	bool recursive;
	uint64_t bits;	   /* MOUNT_ATTR_*, or MS_* of a propagation */
	const char *super; /* the superblock's name of it */
};

static const struct known_option known[] = {
	{"defaults", IGNORED, false, 0, NULL},
	{"async", IGNORED, false, 0, NULL},
	{"nomand", IGNORED, false, 0, NULL},
	{"loud", IGNORED, false, 0, NULL},
	{"silent", IGNORED, false, 0, NULL},
	{"noiversion", IGNORED, false, 0, NULL},
	{"nolazytime", IGNORED, false, 0, NULL},
	{"bind", BIND, false, 0, NULL},
	{"rbind", BIND, true, 0, NULL},
	{"remount", REMOUNT, false, 0, NULL},
	{"private", PROPAGATION, false, MS_PRIVATE, NULL},
	{"rprivate", PROPAGATION, true, MS_PRIVATE, NULL},
	{"shared", PROPAGATION, false, MS_SHARED, NULL},
	{"rshared", PROPAGATION, true, MS_SHARED, NULL},
	{"slave", PROPAGATION, false, MS_SLAVE, NULL},
	{"rslave", PROPAGATION, true, MS_SLAVE, NULL},
	{"unbindable", PROPAGATION, false, MS_UNBINDABLE, NULL},
	{"runbindable", PROPAGATION, true, MS_UNBINDABLE, NULL},
	{"sync", SUPER, false, 0, "sync"},
	{"dirsync", SUPER, false, 0, "dirsync"},
	{"mand", SUPER, false, 0, "mand"},
	{"lazytime", SUPER, false, 0, "lazytime"},
	{"iversion", SUPER, false, 0, "iversion"},
	{"idmap", IDMAP, false, 0, NULL},
	{"ridmap", IDMAP, true, 0, NULL},
	{"tmpcopyup", COPY_UP, false, 0, NULL},
};

/* Each of these exists with a leading "r", for the whole tree. */
static const struct known_option attributes[] = {
	{"ro", SET, false, MOUNT_ATTR_RDONLY, NULL},
	{"rw", CLEAR, false, MOUNT_ATTR_RDONLY, NULL},
	{"nosuid", SET, false, MOUNT_ATTR_NOSUID, NULL},
	{"suid", CLEAR, false, MOUNT_ATTR_NOSUID, NULL},
	{"nodev", SET, false, MOUNT_ATTR_NODEV, NULL},
	{"dev", CLEAR, false, MOUNT_ATTR_NODEV, NULL},
	{"noexec", SET, false, MOUNT_ATTR_NOEXEC, NULL},
	{"exec", CLEAR, false, MOUNT_ATTR_NOEXEC, NULL},
	{"nodiratime", SET, false, MOUNT_ATTR_NODIRATIME, NULL},
	{"diratime", CLEAR, false, MOUNT_ATTR_NODIRATIME, NULL},
	{"nosymfollow", SET, false, MOUNT_ATTR_NOSYMFOLLOW, NULL},
	{"symfollow", CLEAR, false, MOUNT_ATTR_NOSYMFOLLOW, NULL},
	{"noatime", SET, false, MOUNT_ATTR_NOATIME, NULL},
	{"strictatime", SET, false, MOUNT_ATTR_STRICTATIME, NULL},
	/* MOUNT_ATTR_RELATIME is 0, the default: to clear the field is to choose it. */
	{"atime", CLEAR, false, MOUNT_ATTR__ATIME, NULL},
	{"relatime", CLEAR, false, MOUNT_ATTR__ATIME, NULL},
	{"norelatime", CLEAR, false, MOUNT_ATTR__ATIME, NULL},
	{"nostrictatime", CLEAR, false, MOUNT_ATTR__ATIME, NULL},
};

static const struct known_option *find(const char *name, bool *ret_recursive)
{
	*ret_recursive = false;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i].name, name) == 0) {
			*ret_recursive = known[i].recursive;
			return &known[i];
		}
	for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
		if (strcmp(attributes[i].name, name) == 0)
			return &attributes[i];
		if (name[0] == 'r' && strcmp(attributes[i].name, name + 1) == 0) {
			*ret_recursive = true;
			return &attributes[i];
		}
	}
	return NULL;
}

/* The last word counts: "ro,rw" is rw. */
static void apply_attribute(struct engine_mount_options *o, const struct known_option *k,
			    bool recursive)
{
	uint64_t *set = recursive ? &o->rec_set : &o->attr_set;
	uint64_t *clear = recursive ? &o->rec_clear : &o->attr_clear;
	uint64_t field = k->bits & MOUNT_ATTR__ATIME ? MOUNT_ATTR__ATIME : k->bits;
	*set &= ~field;
	*clear &= ~field;
	if (k->kind == SET)
		*set |= k->bits;
	else
		*clear |= field;
}

static int add_data(struct engine_mount_options *o, const char *key, const char *value,
		    struct err *e)
{
	if (o->n_data == MOUNT_OPTIONS_MAX)
		return err_set(e, -E2BIG, "more than %d filesystem options", MOUNT_OPTIONS_MAX);
	/* strndup_user(value, 256) in fs/fsopen.c */
	if (strlen(key) > 255 || (value && strlen(value) > 255))
		o->data_too_long = true;
	o->data[o->n_data++] = (struct mountfd_option){.key = key, .value = value};
	return 0;
}

static int parse_one(struct engine_mount_options *o, char *name, struct err *e)
{
	bool recursive;
	const struct known_option *k = find(name, &recursive);
	if (!k) {
		char *equals = strchr(name, '=');
		if (equals)
			*equals = '\0';
		return add_data(o, name, equals ? equals + 1 : NULL, e);
	}
	switch (k->kind) {
	case IGNORED:
		return 0;
	case BIND:
		o->bind = true;
		o->recursive |= recursive;
		return 0;
	case REMOUNT:
		o->remount = true;
		return 0;
	case SET:
	case CLEAR:
		apply_attribute(o, k, recursive);
		return 0;
	case PROPAGATION:
		o->propagation = (unsigned long)k->bits;
		o->propagation_recursive = recursive;
		return 0;
	case SUPER:
		return add_data(o, k->super, NULL, e);
	case IDMAP:
		o->idmap = true;
		o->idmap_recursive |= recursive;
		return 0;
	case COPY_UP:
		o->copy_up = true;
		return 0;
	}
	return 0;
}

/* One string may hold several options, as mount(8) takes them: "size=64k,mode=755". */
static int parse_string(struct engine_mount_options *o, char *text, struct err *e)
{
	char *save = NULL;
	for (char *t = strtok_r(text, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		int r = parse_one(o, t, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int engine_mount_options_parse(const struct oci_strv *options, struct engine_mount_options *ret,
			       struct err *e)
{
	*ret = ENGINE_MOUNT_OPTIONS_INIT;
	size_t size = 1;
	for (size_t i = 0; i < options->n; i++)
		size += strlen(options->v[i]) + 1;
	ret->strings = malloc(size);
	if (!ret->strings)
		return err_errno(e, -ENOMEM, "mount options");

	char *p = ret->strings;
	int r = 0;
	for (size_t i = 0; r == 0 && i < options->n; i++) {
		size_t len = strlen(options->v[i]);
		memcpy(p, options->v[i], len + 1);
		r = parse_string(ret, p, e);
		p += len + 1;
	}
	if (r < 0)
		engine_mount_options_free(ret);
	return r;
}

void engine_mount_options_free(struct engine_mount_options *o)
{
	free(o->strings);
	*o = ENGINE_MOUNT_OPTIONS_INIT;
}
