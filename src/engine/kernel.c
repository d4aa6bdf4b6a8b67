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

/* In one piece, as the kernel takes a setting. */
static int write_all(int fd, const char *text)
{
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);
	return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

static int write_proc(int proc_fd, const char *path, const char *text)
{
	_cleanup_close_ int fd = open_proc(proc_fd, path, O_WRONLY);
	return fd < 0 ? fd : write_all(fd, text);
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

/* Before Linux 5.8 the file was one for all modules; another one refuses words that it does not
 * know, and where there is none the kernel does. */
static int set_old_apparmor(int proc_fd, const char *text)
{
	int r = write_proc(proc_fd, "thread-self/attr/exec", text);
	return r == -EINVAL ? -EOPNOTSUPP : r;
}

static int set_apparmor(int proc_fd, const char *profile, struct err *e)
{
	char text[PATH_MAX];
	if (!profile || !profile[0])
		return 0;
	int r = path_format(text, sizeof text, "exec %s", profile);
	if (r < 0)
		return err_errno(e, r, "AppArmor profile %.200s", profile);
	_cleanup_close_ int fd = open_proc(proc_fd, "thread-self/attr/apparmor/exec", O_WRONLY);
	if (fd >= 0)
		r = write_all(fd, text);
	else
		r = fd == -ENOENT ? set_old_apparmor(proc_fd, text) : fd;
	bool none = fd == -ENOENT && (r == -ENOENT || r == -EOPNOTSUPP);
	if (none && strcmp(profile, "unconfined") == 0)
		return 0; /* it is that already */
	if (none)
		return err_set(e, -EOPNOTSUPP, "AppArmor profile %s: the kernel has no AppArmor",
			       profile);
	if (r == -ENOENT)
		return err_set(e, r, "AppArmor profile %s is not loaded", profile);
	return r < 0 ? err_errno(e, r, "AppArmor profile %s", profile) : 0;
}

/* A line of /proc/filesystems: "nodev\tselinuxfs". */
static bool has_selinux(int proc_fd)
{
	_cleanup_buf_ struct buf filesystems = BUF_INIT;
	_cleanup_close_ int fd = open_proc(proc_fd, "filesystems", O_RDONLY);
	return fd >= 0 && fd_read_all(fd, 65536, &filesystems) == 0 && filesystems.data &&
	       strstr(filesystems.data, "\tselinuxfs\n");
}

static int set_selinux(int proc_fd, const char *label, struct err *e)
{
	if (!label || !label[0])
		return 0;
	if (!has_selinux(proc_fd))
		return err_set(e, -EOPNOTSUPP, "SELinux label %s: the kernel has no SELinux",
			       label);
	int r = write_proc(proc_fd, "thread-self/attr/exec", label);
	return r < 0 ? err_errno(e, r, "SELinux label %s", label) : 0;
}

int engine_kernel_labels(int proc_fd, const struct engine_job *job, bool *ret_unconfined,
			 struct err *e)
{
	const struct oci_spec *s = &job->spec;
	*ret_unconfined = false;
	int r = set_apparmor(proc_fd, s->process.apparmor_profile, e);
	*ret_unconfined = job->apparmor_optional && (r == -ENOENT || r == -EOPNOTSUPP);
	return r < 0 && !*ret_unconfined ? r : set_selinux(proc_fd, s->process.selinux_label, e);
}

int engine_mount_label_check(int proc_fd, const char *label, struct err *e)
{
	if (!label || !label[0] || has_selinux(proc_fd))
		return 0;
	return err_set(e, -EOPNOTSUPP, "SELinux mountLabel %s: the kernel has no SELinux", label);
}

/* The quotes keep the commas of the label's categories from being taken for the next option. */
int engine_mount_label_data(const char *data, const char *label, char *ret, size_t size)
{
	bool more = data && data[0];

	if (!label || !label[0])
		return path_format(ret, size, "%s", more ? data : "");
	if (strchr(label, '"'))
		return -EINVAL;
	return path_format(ret, size, "%s%scontext=\"%s\"", more ? data : "", more ? "," : "",
			   label);
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
