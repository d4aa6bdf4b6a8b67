/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/filter.h"

#include "base/fd.h"

#include <linux/bpf_common.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define DEFAULT_ERRNO EPERM
#define ERRNO_MAX 4095 /* the kernel cuts it off there */

struct name_value {
	const char *name;
	uint32_t value;
};

static const struct name_value operators[] = {
	{"SCMP_CMP_NE", SCMP_CMP_NE},
	{"SCMP_CMP_LT", SCMP_CMP_LT},
	{"SCMP_CMP_LE", SCMP_CMP_LE},
	{"SCMP_CMP_EQ", SCMP_CMP_EQ},
	{"SCMP_CMP_GE", SCMP_CMP_GE},
	{"SCMP_CMP_GT", SCMP_CMP_GT},
	{"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

static const struct name_value flags[] = {
	{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
	{"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
	{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	/* Only means something with a listener, which no action here makes. */
	{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 0},
};

static const struct name_value architectures[] = {
	{"SCMP_ARCH_X86", SCMP_ARCH_X86},
	{"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
	{"SCMP_ARCH_X32", SCMP_ARCH_X32},
	{"SCMP_ARCH_ARM", SCMP_ARCH_ARM},
	{"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},
	{"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS},
	{"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},
	{"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32},
	{"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL},
	{"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
	{"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32},
	{"SCMP_ARCH_PPC", SCMP_ARCH_PPC},
	{"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64},
	{"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},
	{"SCMP_ARCH_S390", SCMP_ARCH_S390},
	{"SCMP_ARCH_S390X", SCMP_ARCH_S390X},
	{"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64},
	{"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC},
	{"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64},
};

static int look_up(const struct name_value *table, size_t n, const char *name, uint32_t *ret)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].name, name) == 0) {
			*ret = table[i].value;
			return 0;
		}
	return -EINVAL;
}

static int parse_action(const char *name, bool has_errno, uint32_t errno_ret, uint32_t *ret,
			struct err *e)
{
	uint32_t number = has_errno ? errno_ret : DEFAULT_ERRNO;
	const struct name_value actions[] = {
		{"SCMP_ACT_KILL", SCMP_ACT_KILL},
		{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
		{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
		{"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
		{"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(number)},
		{"SCMP_ACT_TRACE", SCMP_ACT_TRACE(number)},
		{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
		{"SCMP_ACT_LOG", SCMP_ACT_LOG},
	};
	if (strcmp(name, "SCMP_ACT_NOTIFY") == 0)
		return err_set(e, -EOPNOTSUPP, "seccomp action SCMP_ACT_NOTIFY is not supported");
	if (look_up(actions, ARRAY_SIZE(actions), name, ret) < 0)
		return err_set(e, -EINVAL, "seccomp action %s is unknown", name);
	if (number > ERRNO_MAX)
		return err_set(e, -EINVAL, "seccomp errnoRet %u is more than %d", number,
			       ERRNO_MAX);
	return 0;
}

static int add_architectures(scmp_filter_ctx ctx, const struct oci_strv *names, struct err *e)
{
	for (size_t i = 0; i < names->n; i++) {
		uint32_t token;
		if (look_up(architectures, ARRAY_SIZE(architectures), names->v[i], &token) < 0)
			return err_set(e, -EINVAL, "seccomp architecture %s is unknown",
				       names->v[i]);
		int r = seccomp_arch_add(ctx, token);
		if (r < 0 && r != -EEXIST)
			return err_errno(e, r, "seccomp architecture %s", names->v[i]);
	}
	return 0;
}

static int parse_args(const struct oci_seccomp_rule *rule, struct scmp_arg_cmp ret[static 6],
		      bool *ret_repeated, struct err *e)
{
	bool seen[6] = {false};
	*ret_repeated = false;
	for (size_t i = 0; i < rule->n_args; i++) {
		const struct oci_seccomp_arg *a = &rule->args[i];
		uint32_t op;
		if (a->index > 5)
			return err_set(e, -EINVAL, "seccomp argument index %u is more than 5",
				       a->index);
		if (look_up(operators, ARRAY_SIZE(operators), a->op, &op) < 0)
			return err_set(e, -EINVAL, "seccomp operator %s is unknown", a->op);
		*ret_repeated |= seen[a->index];
		seen[a->index] = true;
		ret[i] = (struct scmp_arg_cmp){.arg = a->index,
					       .op = (enum scmp_compare)op,
					       .datum_a = a->value,
					       .datum_b = a->value_two};
	}
	return 0;
}

static int add(scmp_filter_ctx ctx, uint32_t action, int number, const char *name, unsigned n,
	       const struct scmp_arg_cmp *args, struct err *e)
{
	int r = seccomp_rule_add_array(ctx, action, number, n, args);
	/* EEXIST: said twice. EDOM: an architecture of the list does not have it. */
	if (r < 0 && r != -EEXIST && r != -EDOM)
		return err_errno(e, r, "seccomp rule for %s", name);
	return 0;
}

static int add_rule(scmp_filter_ctx ctx, const struct oci_seccomp_rule *rule, uint32_t fallback,
		    struct err *e)
{
	uint32_t action;
	int r = parse_action(rule->action, rule->has_errno_ret, rule->errno_ret, &action, e);
	if (r < 0)
		return r;
	if (rule->n_args > 6)
		return err_set(e, -EINVAL, "seccomp rule has %zu arguments, at most 6 make sense",
			       rule->n_args);
	struct scmp_arg_cmp args[6];
	bool repeated;
	r = parse_args(rule, args, &repeated, e);
	if (r < 0)
		return r;
	if (action == fallback)
		return 0; /* the library refuses a rule that changes nothing */

	for (size_t i = 0; i < rule->names.n; i++) {
		const char *name = rule->names.v[i];
		int number = seccomp_syscall_resolve_name(name);
		if (number == __NR_SCMP_ERROR)
			continue;
		/* Two conditions on one argument mean "either", as every runtime reads them. */
		if (!repeated)
			r = add(ctx, action, number, name, (unsigned)rule->n_args, args, e);
		for (size_t j = 0; r == 0 && repeated && j < rule->n_args; j++)
			r = add(ctx, action, number, name, 1, &args[j], e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int export(scmp_filter_ctx ctx, struct engine_bpf *ret, struct err *e)
{
	_cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "seccomp program");
	int r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return err_errno(e, r, "compile the seccomp profile");
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(e, -errno, "seccomp program");
	r = fd_read_all(fd, BPF_MAXINSNS * sizeof(struct sock_filter), &b);
	if (r == -EFBIG)
		return err_set(e, -E2BIG, "the seccomp profile makes more than %d instructions",
			       BPF_MAXINSNS);
	if (r < 0)
		return err_errno(e, r, "read the seccomp program");
	ret->n = b.len;
	ret->code = (uint8_t *)buf_take(&b);
	return ret->code ? 0 : err_errno(e, -ENOMEM, "seccomp program");
}

static int parse_flags(const struct oci_strv *names, uint32_t *ret, struct err *e)
{
	*ret = 0;
	for (size_t i = 0; i < names->n; i++) {
		uint32_t flag;
		if (look_up(flags, ARRAY_SIZE(flags), names->v[i], &flag) < 0)
			return err_set(e, -EINVAL, "seccomp flag %s is unknown", names->v[i]);
		*ret |= flag;
	}
	return 0;
}

static int compile(scmp_filter_ctx ctx, const struct oci_seccomp *s, uint32_t fallback,
		   struct engine_bpf *ret, struct err *e)
{
	int r = add_architectures(ctx, &s->architectures, e);
	for (size_t i = 0; r == 0 && i < s->n_rules; i++)
		r = add_rule(ctx, &s->rules[i], fallback, e);
	return r < 0 ? r : export(ctx, ret, e);
}

int engine_seccomp_compile(const struct oci_seccomp *s, struct engine_bpf *ret, struct err *e)
{
	/* The library finds out what the kernel can do at its first use, into unlocked statics. */
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint32_t fallback;

	*ret = (struct engine_bpf){.n = 0};
	int r = parse_action(s->default_action, s->has_default_errno_ret, s->default_errno_ret,
			     &fallback, e);
	if (r == 0)
		r = parse_flags(&s->flags, &ret->flags, e);
	if (r < 0)
		return r;

	(void)pthread_mutex_lock(&lock);
	scmp_filter_ctx ctx = seccomp_init(fallback);
	r = ctx ? compile(ctx, s, fallback, ret, e)
		: err_set(e, -EINVAL, "seccomp default action %s", s->default_action);
	if (ctx)
		seccomp_release(ctx);
	(void)pthread_mutex_unlock(&lock);
	return r;
}

int engine_seccomp_load(const struct engine_bpf *bpf)
{
	struct sock_fprog program = {
		.len = (unsigned short)(bpf->n / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(void *)bpf->code,
	};
	if (bpf->n == 0)
		return 0;
	if (bpf->n % sizeof(struct sock_filter) ||
	    bpf->n / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return -EINVAL;
	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, bpf->flags, &program);
	if (r > 0)
		return -ESRCH; /* TSYNC: a thread that cannot follow; a child has one thread */
	return r < 0 ? -errno : 0;
}
