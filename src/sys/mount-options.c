/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/mount-options.h"

#include <string.h>
#include <sys/mount.h>

static const struct option {
	const char *word;
	unsigned long flag;
	enum { SET, CLEAR, PROPAGATION } what;
} options[] = {
	{"async", MS_SYNCHRONOUS, CLEAR},
	{"atime", MS_NOATIME, CLEAR},
	{"bind", MS_BIND, SET},
	{"defaults", 0, SET},
	{"dev", MS_NODEV, CLEAR},
	{"diratime", MS_NODIRATIME, CLEAR},
	{"dirsync", MS_DIRSYNC, SET},
	{"exec", MS_NOEXEC, CLEAR},
	{"iversion", MS_I_VERSION, SET},
	{"lazytime", MS_LAZYTIME, SET},
	{"loud", MS_SILENT, CLEAR},
	{"mand", MS_MANDLOCK, SET},
	{"noatime", MS_NOATIME, SET},
	{"nodev", MS_NODEV, SET},
	{"nodiratime", MS_NODIRATIME, SET},
	{"noexec", MS_NOEXEC, SET},
	{"noiversion", MS_I_VERSION, CLEAR},
	{"nolazytime", MS_LAZYTIME, CLEAR},
	{"nomand", MS_MANDLOCK, CLEAR},
	{"norelatime", MS_RELATIME, CLEAR},
	{"nostrictatime", MS_STRICTATIME, CLEAR},
	{"nosuid", MS_NOSUID, SET},
	{"nosymfollow", MS_NOSYMFOLLOW, SET},
	{"private", MS_PRIVATE, PROPAGATION},
	{"rbind", MS_BIND | MS_REC, SET},
	{"relatime", MS_RELATIME, SET},
	{"remount", MS_REMOUNT, SET},
	{"ro", MS_RDONLY, SET},
	{"rprivate", MS_PRIVATE | MS_REC, PROPAGATION},
	{"rshared", MS_SHARED | MS_REC, PROPAGATION},
	{"rslave", MS_SLAVE | MS_REC, PROPAGATION},
	{"runbindable", MS_UNBINDABLE | MS_REC, PROPAGATION},
	{"rw", MS_RDONLY, CLEAR},
	{"shared", MS_SHARED, PROPAGATION},
	{"silent", MS_SILENT, SET},
	{"slave", MS_SLAVE, PROPAGATION},
	{"strictatime", MS_STRICTATIME, SET},
	{"suid", MS_NOSUID, CLEAR},
	{"symfollow", MS_NOSYMFOLLOW, CLEAR},
	{"sync", MS_SYNCHRONOUS, SET},
	{"unbindable", MS_UNBINDABLE, PROPAGATION},
};

static const struct option *find_option(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (strcmp(options[i].word, word) == 0)
			return &options[i];
	return NULL;
}

static void apply(const struct option *o, struct mount_options *m)
{
	switch (o->what) {
	case SET:
		m->flags |= o->flag;
		m->clear &= ~o->flag;
		break;
	case CLEAR:
		m->flags &= ~o->flag;
		m->clear |= o->flag;
		break;
	case PROPAGATION:
		m->propagation = o->flag;
		break;
	}
}

int mount_options_parse(char *const *words, size_t n, struct mount_options *ret, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct option *o = find_option(words[i]);
		if (o) {
			apply(o, ret);
			continue;
		}
		if (strcmp(words[i], "loop") == 0)
			return err_set(e, -EINVAL, "mount option \"loop\" is not supported");
		if (ret->data.len)
			buf_puts(&ret->data, ",");
		buf_puts(&ret->data, words[i]);
	}
	if (buf_failed(&ret->data))
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

void mount_options_free(struct mount_options *o)
{
	buf_free(&o->data);
}
