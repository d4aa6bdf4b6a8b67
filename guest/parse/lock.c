/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/parse/lock.h"

#include <errno.h>
#include <grp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* TOML takes some fifty times its text. */
#define MEMORY_MAX (384u << 20)
#define CPU_SECONDS_MAX 10
#define NOBODY 65534

static int limit(int what, rlim_t value)
{
	const struct rlimit l = {.rlim_cur = value, .rlim_max = value};
	return setrlimit((__rlimit_resource_t)what, &l);
}

/* Only memory, the descriptors that are open, and the end. */
static int filter(void)
{
	static const int allowed[] = {
		SCMP_SYS(read),		SCMP_SYS(write),	  SCMP_SYS(brk),
		SCMP_SYS(mmap),		SCMP_SYS(munmap),	  SCMP_SYS(mremap),
		SCMP_SYS(mprotect),	SCMP_SYS(madvise),	  SCMP_SYS(futex),
		SCMP_SYS(fstat),	SCMP_SYS(newfstatat),	  SCMP_SYS(lseek),
		SCMP_SYS(exit),		SCMP_SYS(exit_group),	  SCMP_SYS(close),
		SCMP_SYS(getrandom),	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
		SCMP_SYS(clock_gettime)};

	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return -ENOMEM;
	int r = 0;
	for (size_t i = 0; r == 0 && i < sizeof allowed / sizeof *allowed; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}

int lock_in(void)
{
	if (limit(RLIMIT_AS, MEMORY_MAX) < 0 || limit(RLIMIT_CPU, CPU_SECONDS_MAX) < 0 ||
	    limit(RLIMIT_CORE, 0) < 0)
		return -errno;
	if (getuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
			      setresuid(NOBODY, NOBODY, NOBODY) < 0))
		return -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return filter();
}
