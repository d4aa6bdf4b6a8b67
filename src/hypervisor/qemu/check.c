/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks that name the key, the value and the rule. QEMU would refuse most of this too, but later,
 * in its own words, and after resources were made for the machine.
 */
#include "hypervisor/qemu/check.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

/* As the field's configuration validates: below it no distribution kernel boots. */
#define MEMORY_MIN_MIB 64
/* QEMU 7.2's limit for q35 is 288; 255 is what works without an IOMMU. */
#define VCPUS_MAX 255

uint64_t qemu_host_memory_mib(void)
{
	struct sysinfo si;
	if (sysinfo(&si) < 0)
		return 0;
	return (uint64_t)si.totalram * si.mem_unit >> 20;
}

/* Not NOT_FOUND, which callers of a runtime take for "no such container". */
static int cannot(const char *key, const char *path, int errnum, struct err *e)
{
	char text[128];
	return err_status(e, STATUS_FAILED_PRECONDITION, "%s = \"%s\": %s", key, path,
			  strerror_r(errnum, text, sizeof text));
}

static int check_file(const char *key, const char *path, int mode, struct err *e)
{
	struct stat st;

	if (!path[0])
		return err_set(e, -EINVAL, "%s is not set", key);
	if (path[0] != '/')
		return err_set(e, -EINVAL, "%s = \"%s\": must be an absolute path", key, path);
	if (stat(path, &st) < 0)
		return cannot(key, path, errno, e);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s = \"%s\": is not a regular file", key, path);
	if (access(path, mode) < 0)
		return cannot(key, path, errno, e);
	return 0;
}

static int check_machine_type(const char *type, struct err *e)
{
	bool versioned = strncmp(type, "pc-q35-", 7) == 0 && !strchr(type, ',');

	if (!type[0] || strcmp(type, "q35") == 0 || versioned)
		return 0;
	return err_set(e, -EINVAL,
		       "machine_type = \"%s\": this driver knows \"q35\" and its versions "
		       "(\"pc-q35-...\")",
		       type);
}

static int check_sizes(const struct hypervisor_config *c, uint64_t host_memory_mib, struct err *e)
{
	if (c->default_memory < MEMORY_MIN_MIB)
		return err_set(e, -EINVAL, "default_memory = %u MiB: must be at least %d MiB",
			       c->default_memory, MEMORY_MIN_MIB);
	if (host_memory_mib && c->default_memory > host_memory_mib)
		return err_set(e, -ENOMEM,
			       "default_memory = %u MiB: this host has only %llu MiB of memory",
			       c->default_memory, (unsigned long long)host_memory_mib);
	if (!isfinite(c->default_vcpus) || c->default_vcpus > VCPUS_MAX)
		return err_set(e, -EINVAL, "default_vcpus = %g: must be at most %d",
			       c->default_vcpus, VCPUS_MAX);
	return 0;
}

static int check_boot_files(const struct hypervisor_config *c, struct err *e)
{
	int r = check_file("kernel", c->kernel, R_OK, e);
	if (r < 0)
		return r;
	if (c->image[0] && c->initrd[0])
		return err_set(e, -EINVAL,
			       "image and initrd are both set: the guest boots from one");
	if (c->image[0])
		return err_status(e, STATUS_UNIMPLEMENTED,
				  "image = \"%s\": booting from a disk image is not supported; set "
				  "initrd",
				  c->image);
	r = check_file("initrd", c->initrd, R_OK, e);
	if (r < 0 || !c->firmware[0])
		return r;
	return check_file("firmware", c->firmware, R_OK, e);
}

int qemu_check_config(const struct hypervisor_config *c, uint64_t host_memory_mib, struct err *e)
{
	int r = check_file("path", c->path, X_OK, e);
	if (r == 0)
		r = check_machine_type(c->machine_type, e);
	if (r == 0)
		r = check_sizes(c, host_memory_mib, e);
	if (r == 0)
		r = check_boot_files(c, e);
	return r < 0 ? err_wrap(e, r, "[hypervisor.qemu]") : 0;
}
