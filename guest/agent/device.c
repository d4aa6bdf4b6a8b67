/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/device.h"

#include "base/fd.h"

#include <string.h>
#include <sys/stat.h>

struct devices {
	struct devices_options options;
};

int devices_new(const struct devices_options *o, struct devices **ret, struct err *e)
{
	struct devices *d = calloc(1, sizeof *d);
	if (!d)
		return err_set(e, -ENOMEM, "no memory for devices");
	d->options = *o;
	*ret = d;
	return 0;
}

void devices_free(struct devices *d)
{
	free(d);
}

int devices_find_block(struct devices *d, const char *driver, const char *source,
		       struct device_block *ret, struct err *e)
{
	struct stat st;

	if (strncmp(source, "/dev/", 5) != 0)
		return err_status(e, STATUS_UNIMPLEMENTED, "%s device %s: only paths are found",
				  driver, source);
	if (strlen(source) >= sizeof ret->path)
		return err_set(e, -EINVAL, "%s device %.80s...: the path is too long", driver,
			       source);
	if (stat(source, &st) < 0)
		return err_errno(e, errno == ENOENT ? -ENODEV : -errno, "%s device %s", driver,
				 source);
	if (!S_ISBLK(st.st_mode))
		return err_set(e, -EINVAL, "%s device %s: not a block device", driver, source);
	ret->rdev = st.st_rdev;
	(void)snprintf(ret->path, sizeof ret->path, "%s", source);
	return 0;
}
