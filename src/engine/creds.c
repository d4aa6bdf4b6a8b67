/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/creds.h"

#include "base/buf.h"
#include "base/fd.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define CAP_BIT(n) (UINT64_C(1) << (n))

static int get_sets(struct engine_caps *ret)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {{0}};
	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	ret->effective = d[0].effective | (uint64_t)d[1].effective << 32;
	ret->permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	ret->inheritable = d[0].inheritable | (uint64_t)d[1].inheritable << 32;
	return 0;
}

static int set_sets(const struct engine_caps *s)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {
		{.effective = (uint32_t)s->effective,
		 .permitted = (uint32_t)s->permitted,
		 .inheritable = (uint32_t)s->inheritable},
		{.effective = (uint32_t)(s->effective >> 32),
		 .permitted = (uint32_t)(s->permitted >> 32),
		 .inheritable = (uint32_t)(s->inheritable >> 32)},
	};
	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

/* The kernel's capabilities end where it does not know a number. */
static int limit_bounding(uint64_t wanted)
{
	for (int i = 0; i < 64; i++) {
		int has = prctl(PR_CAPBSET_READ, i, 0, 0, 0);
		if (has < 0)
			return 0;
		if (has && !(wanted & CAP_BIT(i)) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

/* A user namespace can forbid it for good: user_namespaces(7). */
static bool groups_are_denied(int proc_fd)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	return file_read(proc_fd, "self/setgroups", 64, &b) == 0 && b.len &&
	       strncmp(b.data, "deny", 4) == 0;
}

/* Where it is denied there is nothing to drop: the launcher has no additional groups. */
static int set_groups(int proc_fd, const struct oci_user *u, struct err *e)
{
	if (setgroups(u->n_additional_gids, u->additional_gids) == 0)
		return 0;
	int r = -errno;
	if (r != -EPERM || !groups_are_denied(proc_fd))
		return err_errno(e, r, "set %zu additional groups", u->n_additional_gids);
	if (!u->n_additional_gids)
		return 0;
	return err_set(e, r, "%zu additional groups: the user namespace denies to set any",
		       u->n_additional_gids);
}

static int become_user(int proc_fd, const struct oci_user *u, struct err *e)
{
	int r = set_groups(proc_fd, u, e);
	if (r < 0)
		return r;
	if (setresgid(u->gid, u->gid, u->gid) < 0)
		return err_errno(e, -errno, "become group %u", u->gid);
	/* Without it a change from root to another user would drop everything. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_errno(e, -errno, "keep capabilities");
	if (setresuid(u->uid, u->uid, u->uid) < 0)
		return err_errno(e, -errno, "become user %u", u->uid);
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return err_errno(e, -errno, "keep capabilities");
	return 0;
}

/* Ambient ones must be permitted and inheritable; the kernel takes them one by one. */
static int set_ambient(uint64_t wanted)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	for (int i = 0; i < 64; i++)
		if (wanted & CAP_BIT(i) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			return -errno;
	return 0;
}

/* What the process shall have, within @available. */
static struct engine_caps wanted_sets(const struct oci_capabilities *c, uint64_t available)
{
	struct engine_caps s = {.permitted = c->permitted & available,
				.inheritable = c->inheritable & available};
	s.effective = c->effective & s.permitted;
	return s;
}

int engine_creds_apply(int proc_fd, const struct oci_process *p, bool keep_admin,
		       struct engine_caps *ret_final, struct err *e)
{
	struct engine_caps own = {.permitted = 0};
	/* capset(2) refuses that, and so does runc. */
	if (p->caps.effective & ~p->caps.permitted)
		return err_set(e, -EPERM,
			       "capabilities: effective are some that are not permitted");
	int r = get_sets(&own);
	if (r < 0)
		return err_errno(e, r, "read capabilities");
	r = limit_bounding(p->caps.bounding);
	if (r < 0)
		return err_errno(e, r, "limit the bounding set");
	r = become_user(proc_fd, &p->user, e);
	if (r < 0)
		return r;

	struct engine_caps s = wanted_sets(&p->caps, own.permitted);
	*ret_final = s;
	if (keep_admin)
		s.permitted |= CAP_BIT(CAP_SYS_ADMIN) & own.permitted;
	r = set_sets(&s);
	if (r < 0)
		return err_errno(e, r, "set capabilities");
	r = set_ambient(p->caps.ambient & ret_final->permitted & ret_final->inheritable);
	if (r < 0)
		return err_errno(e, r, "set ambient capabilities");
	(void)umask(p->user.has_umask ? p->user.umask & 0777 : 0022);
	return 0;
}

int engine_creds_raise_admin(const struct engine_caps *final)
{
	struct engine_caps s = *final;
	s.permitted |= CAP_BIT(CAP_SYS_ADMIN);
	s.effective |= CAP_BIT(CAP_SYS_ADMIN);
	return set_sets(&s);
}

int engine_creds_finish(const struct engine_caps *final)
{
	return set_sets(final);
}
