/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/filter.h"

#include "base/fd.h"

#include <ctype.h>
#include <linux/bpf_common.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define DEFAULT_ERRNO EPERM
#define ERRNO_MAX 4095	     /* the kernel cuts it off there */
#define TRACE_MAX UINT16_MAX /* SECCOMP_RET_DATA */
/* A rule that lists values of one argument has some; each becomes a rule of its own. */
#define ARGS_MAX 64

/* Of linux/seccomp.h, 5.7 and 5.19. */
#ifndef SECCOMP_FILTER_FLAG_TSYNC_ESRCH
#define SECCOMP_FILTER_FLAG_TSYNC_ESRCH (1UL << 4)
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

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

static const struct name_value flags[] = {
	{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
	{"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
	{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
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

static bool takes_number(const char *action)
{
	return strcmp(action, "SCMP_ACT_ERRNO") == 0 || strcmp(action, "SCMP_ACT_TRACE") == 0;
}

static int parse_action(const char *name, bool has_errno, uint32_t errno_ret, uint32_t *ret,
			struct err *e)
{
	uint32_t number = has_errno ? errno_ret : DEFAULT_ERRNO;
	uint32_t max = strcmp(name, "SCMP_ACT_TRACE") == 0 ? TRACE_MAX : ERRNO_MAX;
	const struct name_value actions[] = {
		{"SCMP_ACT_KILL", SCMP_ACT_KILL},
		{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
		{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
		{"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
		{"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(number)},
		{"SCMP_ACT_TRACE", SCMP_ACT_TRACE(number)},
		{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
		{"SCMP_ACT_LOG", SCMP_ACT_LOG},
		{"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
	};
	if (look_up(actions, ARRAY_SIZE(actions), name, ret) < 0)
		return err_set(e, -EINVAL, "seccomp action %s is unknown", name);
	if (number > max)
		return err_set(e, -EINVAL, "seccomp errnoRet %u is more than %u", number, max);
	/* 0 is what those say who say nothing */
	if (has_errno && errno_ret != 0 && !takes_number(name))
		return err_set(e, -EINVAL, "seccomp action %s takes no errnoRet (%u)", name,
			       errno_ret);
	return 0;
}

/* The library's own names are these, without the prefix and in small letters. */
static uint32_t find_architecture(const char *name)
{
	static const char prefix[] = "SCMP_ARCH_";
	char text[32];

	if (strncmp(name, prefix, sizeof prefix - 1) != 0)
		return 0;
	name += sizeof prefix - 1;
	size_t n = strlen(name);
	if (n >= sizeof text || name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")])
		return 0;
	for (size_t i = 0; i <= n; i++)
		text[i] = (char)tolower((unsigned char)name[i]);
	return seccomp_arch_resolve_name(text);
}

static int add_architectures(scmp_filter_ctx ctx, const struct oci_strv *names, struct err *e)
{
	for (size_t i = 0; i < names->n; i++) {
		uint32_t token = find_architecture(names->v[i]);
		if (!token)
			return err_set(e, -EINVAL, "seccomp architecture %s is unknown",
				       names->v[i]);
		int r = seccomp_arch_add(ctx, token);
		if (r < 0 && r != -EEXIST)
			return err_errno(e, r, "seccomp architecture %s", names->v[i]);
	}
	return 0;
}

static int parse_args(const struct oci_seccomp_rule *rule, struct scmp_arg_cmp ret[static ARGS_MAX],
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
		/* of SCMP_CMP_MASKED_EQ: the mask, and what it leaves */
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
	if (rule->n_args > ARGS_MAX)
		return err_set(e, -EINVAL, "a seccomp rule has %zu arguments: more than %d",
			       rule->n_args, ARGS_MAX);
	struct scmp_arg_cmp args[ARGS_MAX];
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

/* ---- Calls that the profile cannot know ----------------------------------------------------- */

/*
 * Programs try what is new, and fall back where it is ENOSYS; EPERM, or an end by a signal, breaks
 * them. So a call beyond all that the profile names, of any action, is ENOSYS, where the default
 * would be a refusal: its author cannot have meant it. Every runtime answers like this.
 */
#define X32_BIT 0x40000000u /* __X32_SYSCALL_BIT: of numbers, not of the architecture */
#define GUARD_MAX 64	    /* instructions; an architecture takes at most 10 */

struct guard {
	struct sock_filter code[GUARD_MAX];
	size_t n;
};

static bool refuses_unknown(const struct oci_seccomp *s)
{
	static const char *const refusals[] = {"SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD",
					       "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP",
					       "SCMP_ACT_ERRNO"};
	if (s->has_default_errno_ret && s->default_errno_ret == ENOSYS)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		if (strcmp(s->default_action, refusals[i]) == 0)
			return true;
	return false;
}

/* The highest number that the profile names; negative: none. */
static int highest_call(const struct oci_seccomp *s, uint32_t arch)
{
	int highest = -1;

	for (size_t i = 0; i < s->n_rules; i++)
		for (size_t k = 0; k < s->rules[i].names.n; k++) {
			int nr = seccomp_syscall_resolve_name_arch(arch, s->rules[i].names.v[k]);
			if (nr > highest)
				highest = nr;
		}
	return highest;
}

static void emit(struct guard *g, uint16_t code, uint32_t k, size_t jt, size_t jf)
{
	g->code[g->n++] = (struct sock_filter)BPF_JUMP(code, k, (uint8_t)jt, (uint8_t)jf);
}

/* Of the number that is loaded: beyond @highest it ends in ENOSYS. */
static void guard_numbers(struct guard *g, int highest)
{
	if (highest < 0)
		return;
	emit(g, BPF_JMP | BPF_JGT | BPF_K, (uint32_t)highest, 0, 1);
	emit(g, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS, 0, 0);
}

/* As above, of x86_64, where the numbers of x32 are apart. */
static void guard_x86_64(struct guard *g, int highest, int highest_x32)
{
	size_t branch = g->n;

	emit(g, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 0);
	guard_numbers(g, highest);
	emit(g, BPF_JMP | BPF_JA, highest_x32 < 0 ? 0 : 2, 0, 0);
	g->code[branch].jt = (uint8_t)(g->n - branch - 1);
	guard_numbers(g, highest_x32);
}

static void guard_architecture(struct guard *g, const struct oci_seccomp *s, uint32_t arch,
			       bool has_x32)
{
	size_t branch = g->n + 1;

	emit(g, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	emit(g, BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 0);
	emit(g, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	if (arch == SCMP_ARCH_X86_64)
		guard_x86_64(g, highest_call(s, arch),
			     has_x32 ? highest_call(s, SCMP_ARCH_X32) : -1);
	else
		guard_numbers(g, highest_call(s, arch));
	g->code[branch].jf = (uint8_t)(g->n - branch - 1);
}

/* The part before the library's program: it falls through to that, or returns. */
static int make_guard(scmp_filter_ctx ctx, const struct oci_seccomp *s, struct guard *g,
		      struct err *e)
{
	bool has_x32 = seccomp_arch_exist(ctx, SCMP_ARCH_X32) == 0;
	uint32_t done[GUARD_MAX / 8];
	size_t n_done = 0;

	if (!refuses_unknown(s))
		return 0;
	done[n_done++] = seccomp_arch_native();
	guard_architecture(g, s, done[0], has_x32);
	for (size_t i = 0; i < s->architectures.n; i++) {
		uint32_t arch = find_architecture(s->architectures.v[i]);
		bool seen = arch == SCMP_ARCH_X32; /* goes with x86_64 */
		for (size_t k = 0; k < n_done; k++)
			seen |= done[k] == arch;
		if (seen)
			continue;
		if (n_done == ARRAY_SIZE(done) || g->n + 10 > GUARD_MAX)
			return err_set(e, -EINVAL, "too many seccomp architectures: %zu",
				       s->architectures.n);
		done[n_done++] = arch;
		guard_architecture(g, s, arch, has_x32);
	}
	return 0;
}

/* ---- The whole ---------------------------------------------------------------------------- */

static int export(scmp_filter_ctx ctx, const struct guard *g, struct engine_bpf *ret, struct err *e)
{
	size_t max = BPF_MAXINSNS * sizeof(struct sock_filter), guard_size = g->n * sizeof *g->code;
	_cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "seccomp program");
	int r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return err_errno(e, r, "compile the seccomp profile");
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(e, -errno, "seccomp program");
	buf_append(&b, g->code, guard_size);
	r = buf_failed(&b) ? -ENOMEM : fd_read_all(fd, max, &b);
	if (r == -EFBIG || (r == 0 && b.len > max))
		return err_set(e, -E2BIG, "the seccomp profile makes more than %d instructions",
			       BPF_MAXINSNS);
	if (r < 0)
		return err_errno(e, r, "read the seccomp program");
	ret->n = b.len;
	ret->code = (uint8_t *)buf_take(&b);
	return ret->code ? 0 : err_errno(e, -ENOMEM, "seccomp program");
}

static bool notifies(const struct oci_seccomp *s)
{
	static const char notify[] = "SCMP_ACT_NOTIFY";

	if (strcmp(s->default_action, notify) == 0)
		return true;
	for (size_t i = 0; i < s->n_rules; i++)
		if (strcmp(s->rules[i].action, notify) == 0)
			return true;
	return false;
}

static int parse_flags(const struct oci_seccomp *s, uint32_t *ret, struct err *e)
{
	*ret = 0;
	for (size_t i = 0; i < s->flags.n; i++) {
		uint32_t flag;
		if (look_up(flags, ARRAY_SIZE(flags), s->flags.v[i], &flag) < 0)
			return err_set(e, -EINVAL, "seccomp flag %s is unknown", s->flags.v[i]);
		*ret |= flag;
	}
	if (!notifies(s)) {
		/* it is about the answers of a listener; the kernel refuses it without one */
		*ret &= ~(uint32_t)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
		return 0;
	}
	if (!s->listener_path)
		return err_set(e, -EINVAL,
			       "seccomp action SCMP_ACT_NOTIFY needs a listenerPath to tell");
	*ret |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
	/* both results are numbers of threads or descriptors: the kernel wants them told apart */
	if (*ret & SECCOMP_FILTER_FLAG_TSYNC)
		*ret |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
	return 0;
}

static int compile(scmp_filter_ctx ctx, const struct oci_seccomp *s, uint32_t fallback,
		   struct engine_bpf *ret, struct err *e)
{
	struct guard guard = {.n = 0};

	int r = add_architectures(ctx, &s->architectures, e);
	for (size_t i = 0; r == 0 && i < s->n_rules; i++)
		r = add_rule(ctx, &s->rules[i], fallback, e);
	if (r == 0)
		r = make_guard(ctx, s, &guard, e);
	return r < 0 ? r : export(ctx, &guard, ret, e);
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
		r = parse_flags(s, &ret->flags, e);
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

bool engine_seccomp_notifies(const struct engine_bpf *bpf)
{
	return bpf->flags & SECCOMP_FILTER_FLAG_NEW_LISTENER;
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
	if (r > 0 && !engine_seccomp_notifies(bpf))
		return -ESRCH; /* TSYNC: a thread that cannot follow; a child has one thread */
	return r < 0 ? -errno : (int)r;
}
