/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernel.h"

#include "base/fd.h"
#include "engine/sysctl.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

/* A file of the real procfs: nothing mounted over, no link out. */
static int open_proc(int proc_fd, const char *path, int flags)
{
	const struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, proc_fd, path, &how, sizeof how);
	return fd < 0 ? -errno : fd;
}

static int write_proc(int proc_fd, const char *path, const char *text)
{
	_cleanup_close_ int fd = open_proc(proc_fd, path, O_WRONLY);
	if (fd < 0)
		return fd;
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);
	return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

static int set_sysctl(int proc_fd, const struct oci_kv *s, struct err *e)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "sys/");
	if (r == 0)
		r = engine_sysctl_path(s->key, path + 4, sizeof path - 4);
	if (r == 0)
		r = write_proc(proc_fd, path, s->value);
	return r < 0 ? err_errno(e, r, "sysctl %s = %s", s->key, s->value) : 0;
}

/*
 * A namespace that was joined keeps the host name of whoever made it. A domain name it mostly lacks
 * (a pod's namespace is made without knowing of one): the first that is given counts.
 */
static int set_names(const struct engine_job *job, struct err *e)
{
	const struct oci_spec *s = &job->spec;
	struct utsname now;
	if (!job->uts_ns || uname(&now) < 0)
		return 0;
	if (job->new_uts && s->hostname && s->hostname[0] &&
	    sethostname(s->hostname, strlen(s->hostname)) < 0)
		return err_errno(e, -errno, "set hostname %s", s->hostname);
	if (s->domainname && s->domainname[0] &&
	    (job->new_uts || strcmp(now.domainname, "(none)") == 0) &&
	    setdomainname(s->domainname, strlen(s->domainname)) < 0)
		return err_errno(e, -errno, "set domain name %s", s->domainname);
	return 0;
}

int engine_kernel_settings(int proc_fd, const struct engine_job *job, struct err *e)
{
	const struct oci_spec *s = &job->spec;
	int named = set_names(job, e);
	if (named < 0)
		return named;
	for (size_t i = 0; i < s->n_sysctl; i++) {
		int r = set_sysctl(proc_fd, &s->sysctl[i], e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The guest's kernel may have been built without the module that the host's profile is for; then
 * there is nothing to confine with, and the VM remains. */
static int set_apparmor(int proc_fd, const char *profile, struct err *e)
{
	char text[PATH_MAX];
	if (!profile || !profile[0] || strcmp(profile, "unconfined") == 0)
		return 0;
	int r = path_format(text, sizeof text, "exec %s", profile);
	if (r == 0)
		r = write_proc(proc_fd, "thread-self/attr/apparmor/exec", text);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_errno(e, r, "AppArmor profile %s", profile) : 0;
}

/* On only if the kernel lists its filesystem and a policy is loaded: attr/current is readable. */
static int set_selinux(int proc_fd, const char *label, struct err *e)
{
	if (!label || !label[0])
		return 0;
	_cleanup_buf_ struct buf filesystems = BUF_INIT;
	_cleanup_close_ int fd = open_proc(proc_fd, "filesystems", O_RDONLY);
	if (fd < 0 || fd_read_all(fd, 65536, &filesystems) < 0 || !filesystems.data ||
	    !strstr(filesystems.data, "selinuxfs"))
		return 0;
	int r = write_proc(proc_fd, "thread-self/attr/exec", label);
	return r < 0 ? err_errno(e, r, "SELinux label %s", label) : 0;
}

int engine_kernel_labels(int proc_fd, const struct oci_process *p, struct err *e)
{
	int r = set_apparmor(proc_fd, p->apparmor_profile, e);
	return r < 0 ? r : set_selinux(proc_fd, p->selinux_label, e);
}

int engine_kernel_keyring(const char *id, struct err *e)
{
	char name[256];
	int r = path_format(name, sizeof name, "_ses.%.200s", id);
	if (r < 0)
		return err_errno(e, r, "session keyring");
	long key = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name);
	/* ENOSYS: no keys in this kernel. */
	if (key < 0)
		return errno == ENOSYS ? 0 : err_errno(e, -errno, "session keyring %s", name);
	/* So that execs, which come with another session, find and join it: the possessor may do
	 * all, the user view, read, search and link. */
	(void)syscall(SYS_keyctl, KEYCTL_SETPERM, key, 0x3f1b0000);
	return 0;
}
