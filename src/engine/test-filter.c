/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles profiles, and runs them on a forked child to see what they do. */
#include "base/testing.h"

#include "engine/filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

static char *allow = (char *)"SCMP_ACT_ALLOW", *deny = (char *)"SCMP_ACT_ERRNO";
static char *kill_it = (char *)"SCMP_ACT_KILL_PROCESS";

static struct oci_strv list(char **v)
{
	struct oci_strv s = {.v = v};
	while (v[s.n])
		s.n++;
	return s;
}

/* errno of uname(2), of personality(arg) under the filter; or -signal */
static int try_call(const struct engine_bpf *bpf, long number, long arg)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)signal(SIGSYS, SIG_DFL); /* not the test library's */
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || engine_seccomp_load(bpf) < 0)
			_exit(255);
		struct utsname u;
		long r = syscall(number, number == SYS_uname ? (long)&u : arg, 0, 0, 0, 0, 0);
		/* Not _exit(): before what does not return, ASan makes calls of its own. */
		(void)syscall(SYS_exit_group, r < 0 ? errno : 0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_errno_and_arguments(void **state)
{
	char *uname_name[] = {(char *)"uname", (char *)"no_such_call_at_all", NULL};
	char *personality[] = {(char *)"personality", NULL};
	struct oci_seccomp_arg args[] = {
		{.index = 0, .value = 8, .op = (char *)"SCMP_CMP_EQ"},
		{.index = 0, .value = 0x20000, .op = (char *)"SCMP_CMP_EQ"},
	};
	struct oci_seccomp_rule rules[] = {
		{.names = list(uname_name), .action = deny, .has_errno_ret = true, .errno_ret = 77},
		{.names = list(personality), .action = deny, .args = args, .n_args = 2},
	};
	struct oci_seccomp s = {.default_action = allow, .rules = rules, .n_rules = 2};
	struct engine_bpf bpf;
	assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
	assert_true(bpf.n > 0 && bpf.n % sizeof(struct sock_filter) == 0);
	assert_int_equal(try_call(&bpf, SYS_uname, 0), 77);
	assert_int_equal(try_call(&bpf, SYS_getpid, 0), 0);
	/* both values of one argument are refused, with the default errno */
	assert_int_equal(try_call(&bpf, SYS_personality, 8), EPERM);
	assert_int_equal(try_call(&bpf, SYS_personality, 0x20000), EPERM);
	assert_int_equal(try_call(&bpf, SYS_personality, 0xffffffff), 0);
	free(bpf.code);
}

static void test_default_action(void **state)
{
	char *some[] = {(char *)"exit_group", (char *)"seccomp", NULL};
	struct oci_seccomp_rule rule = {.names = list(some), .action = allow};
	struct oci_seccomp s = {.default_action = deny,
				.has_default_errno_ret = true,
				.default_errno_ret = ENOSYS,
				.rules = &rule,
				.n_rules = 1};
	struct engine_bpf bpf;
	assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
	assert_int_equal(try_call(&bpf, SYS_uname, 0), ENOSYS);
	free(bpf.code);

	s.default_action = kill_it;
	s.has_default_errno_ret = false;
	assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
	assert_int_equal(try_call(&bpf, SYS_uname, 0), -SIGSYS);
	free(bpf.code);
}

static void test_every_action(void **state)
{
	static const struct {
		const char *name;
		int result;
	} actions[] = {
		{"SCMP_ACT_KILL", -SIGSYS},
		{"SCMP_ACT_KILL_THREAD", -SIGSYS},
		{"SCMP_ACT_KILL_PROCESS", -SIGSYS},
		{"SCMP_ACT_TRAP", -SIGSYS},
		{"SCMP_ACT_ERRNO", EPERM},
		{"SCMP_ACT_TRACE", ENOSYS}, /* no tracer */
		{"SCMP_ACT_LOG", 0},
		{"SCMP_ACT_ALLOW", 0},
	};
	char *uname_name[] = {(char *)"uname", NULL};
	struct oci_seccomp_rule rule = {.names = list(uname_name)};
	struct oci_seccomp s = {.default_action = allow, .rules = &rule, .n_rules = 1};

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		struct engine_bpf bpf;
		rule.action = (char *)actions[i].name;
		assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
		assert_int_equal(try_call(&bpf, SYS_uname, 0), actions[i].result);
		free(bpf.code);
	}
}

static void test_every_operator(void **state)
{
	static const struct {
		const char *op;
		uint64_t value, value_two;
		bool refused[3]; /* the arguments 7, 8, 9 */
	} ops[] = {
		{"SCMP_CMP_NE", 8, 0, {true, false, true}},
		{"SCMP_CMP_LT", 8, 0, {true, false, false}},
		{"SCMP_CMP_LE", 8, 0, {true, true, false}},
		{"SCMP_CMP_EQ", 8, 0, {false, true, false}},
		{"SCMP_CMP_GE", 8, 0, {false, true, true}},
		{"SCMP_CMP_GT", 8, 0, {false, false, true}},
		/* the lowest bit is 1, whatever the others are */
		{"SCMP_CMP_MASKED_EQ", 1, 1, {true, false, true}},
		{"SCMP_CMP_MASKED_EQ", 8, 0, {true, false, false}},
	};
	char *personality[] = {(char *)"personality", NULL};
	struct oci_seccomp_arg arg = {.index = 0};
	struct oci_seccomp_rule rule = {
		.names = list(personality), .action = deny, .args = &arg, .n_args = 1};
	struct oci_seccomp s = {.default_action = allow, .rules = &rule, .n_rules = 1};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		struct engine_bpf bpf;
		arg.op = (char *)ops[i].op;
		arg.value = ops[i].value;
		arg.value_two = ops[i].value_two;
		assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
		for (long k = 0; k < 3; k++) {
			int r = try_call(&bpf, SYS_personality, 7 + k);
			if (r != (ops[i].refused[k] ? EPERM : 0))
				fail_msg("%s: of %ld: %d", ops[i].op, 7 + k, r);
		}
		free(bpf.code);
	}
}

static void test_more_values_than_arguments(void **state)
{
	char *personality[] = {(char *)"personality", NULL};
	struct oci_seccomp_arg args[20];
	struct oci_seccomp_rule rule = {.names = list(personality),
					.action = deny,
					.args = args,
					.n_args = ARRAY_SIZE(args)};
	struct oci_seccomp s = {.default_action = allow, .rules = &rule, .n_rules = 1};
	struct engine_bpf bpf;

	for (size_t i = 0; i < ARRAY_SIZE(args); i++)
		args[i] = (struct oci_seccomp_arg){.value = i, .op = (char *)"SCMP_CMP_EQ"};
	assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
	assert_int_equal(try_call(&bpf, SYS_personality, 19), EPERM);
	assert_int_equal(try_call(&bpf, SYS_personality, 20), 0);
	free(bpf.code);
}

/* Of the calls that this machine has for sure, none is beyond mount_setattr; no kernel has 4000. */
static void test_calls_beyond_the_profile(void **state)
{
	char *some[] = {(char *)"exit_group", (char *)"mount_setattr", (char *)"not_a_call", NULL};
	struct oci_seccomp_rule rule = {.names = list(some), .action = allow};
	char *archs[] = {(char *)"SCMP_ARCH_X86_64", (char *)"SCMP_ARCH_X86",
			 (char *)"SCMP_ARCH_X32", (char *)"SCMP_ARCH_X86", NULL};
	struct oci_seccomp s = {.default_action = deny, .rules = &rule, .n_rules = 1};
	struct engine_bpf bpf;

	for (int foreign = 0; foreign <= 1; foreign++) {
#ifdef __x86_64__
		if (foreign)
			s.architectures = list(archs);
#endif
		assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
		assert_int_equal(try_call(&bpf, 4000, 0), ENOSYS);
		assert_int_equal(try_call(&bpf, SYS_uname, 0), EPERM);
		assert_int_equal(try_call(&bpf, SYS_mount_setattr, 0), EINVAL);
		free(bpf.code);
	}
#ifdef __x86_64__
	/* those of x32, which are numbered apart, too */
	assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
	assert_int_equal(try_call(&bpf, 0x40000000 + 4000, 0), ENOSYS);
	assert_int_equal(try_call(&bpf, 0x40000000 + SYS_uname, 0), EPERM);
	free(bpf.code);
	/* where x32 is not of the profile, it is as before */
	s.architectures.n = 1;
	assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
	assert_int_equal(try_call(&bpf, 0x40000000 + 4000, 0), -SIGSYS);
	free(bpf.code);
#endif
	s.default_action = kill_it;
	assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
	assert_int_equal(try_call(&bpf, 4000, 0), ENOSYS);
	assert_int_equal(try_call(&bpf, SYS_uname, 0), -SIGSYS);
	free(bpf.code);

	/* a profile that allows what it does not know is left alone */
	char *one[] = {(char *)"personality", NULL};
	rule.names = list(one);
	rule.action = deny;
	s.default_action = allow;
	assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
	assert_int_equal(try_call(&bpf, SYS_personality, 8), EPERM);
	assert_int_equal(try_call(&bpf, SYS_mount_setattr, 0), EINVAL);
	free(bpf.code);
}

static void test_flags_and_architectures(void **state)
{
	char *names[] = {(char *)"SECCOMP_FILTER_FLAG_LOG",
			 (char *)"SECCOMP_FILTER_FLAG_SPEC_ALLOW", NULL};
	char *archs[] = {(char *)"SCMP_ARCH_X86_64", (char *)"SCMP_ARCH_X86",
			 (char *)"SCMP_ARCH_X32", NULL};
	char *uname_name[] = {(char *)"uname", NULL};
	struct oci_seccomp_rule rules[] = {
		{.names = list(uname_name), .action = deny},
		{.names = list(uname_name), .action = deny},  /* twice is no error */
		{.names = list(uname_name), .action = allow}, /* as the default: nothing to do */
	};
	struct oci_seccomp s = {.default_action = allow,
				.flags = list(names),
				.architectures = list(archs),
				.rules = rules,
				.n_rules = 3};
	struct engine_bpf bpf;
	struct err e = ERR_INIT;
#ifdef __x86_64__
	assert_int_equal(engine_seccomp_compile(&s, &bpf, &e), 0);
	assert_int_equal(bpf.flags, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW);
	assert_int_equal(try_call(&bpf, SYS_uname, 0), EPERM);
	free(bpf.code);
#endif
	/* no listener: the kernel would refuse its flag */
	names[0] = (char *)"SECCOMP_FILTER_FLAG_TSYNC";
	names[1] = (char *)"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
	s.flags = list(names);
	assert_int_equal(engine_seccomp_compile(&s, &bpf, &e), 0);
	assert_int_equal(bpf.flags, SECCOMP_FILTER_FLAG_TSYNC);
	assert_int_equal(try_call(&bpf, SYS_uname, 0), EPERM);
	free(bpf.code);
	archs[0] = (char *)"SCMP_ARCH_x86";
	assert_int_equal(engine_seccomp_compile(&s, &bpf, &e), -EINVAL);
	archs[0] = (char *)"SCMP_ARCH_Z80";
	assert_int_equal(engine_seccomp_compile(&s, &bpf, &e), -EINVAL);
	assert_string_equal(e.text, "seccomp architecture SCMP_ARCH_Z80 is unknown");
}

static void refuses(const struct oci_seccomp *s, int want, const char *text)
{
	struct engine_bpf bpf;
	struct err e = ERR_INIT;
	assert_int_equal(engine_seccomp_compile(s, &bpf, &e), want);
	assert_string_equal(e.text, text);
	assert_null(bpf.code);
}

static void test_refusals(void **state)
{
	char *uname_name[] = {(char *)"uname", NULL};
	char *flag[] = {(char *)"SECCOMP_FILTER_FLAG_X", NULL};
	struct oci_seccomp_arg arg = {.index = 6, .op = (char *)"SCMP_CMP_EQ"};
	struct oci_seccomp_rule rule = {
		.names = list(uname_name), .action = deny, .args = &arg, .n_args = 1};
	struct oci_seccomp s = {.default_action = allow, .rules = &rule, .n_rules = 1};
	refuses(&s, -EINVAL, "seccomp argument index 6 is more than 5");
	arg = (struct oci_seccomp_arg){.index = 0, .op = (char *)"=="};
	refuses(&s, -EINVAL, "seccomp operator == is unknown");
	rule.n_args = 65;
	refuses(&s, -EINVAL, "a seccomp rule has 65 arguments: more than 64");
	rule.n_args = 0;
	rule.has_errno_ret = true;
	rule.errno_ret = 4096;
	refuses(&s, -EINVAL, "seccomp errnoRet 4096 is more than 4095");
	rule.errno_ret = 1;
	rule.action = (char *)"SCMP_ACT_KILL";
	refuses(&s, -EINVAL, "seccomp action SCMP_ACT_KILL takes no errnoRet (1)");
	rule.action = (char *)"SCMP_ACT_TRACE";
	rule.errno_ret = 65536;
	refuses(&s, -EINVAL, "seccomp errnoRet 65536 is more than 65535");
	rule.has_errno_ret = false;
	rule.action = (char *)"SCMP_ACT_NOTIFY";
	refuses(&s, -EINVAL, "seccomp action SCMP_ACT_NOTIFY needs a listenerPath to tell");
	rule.action = (char *)"ALLOW";
	refuses(&s, -EINVAL, "seccomp action ALLOW is unknown");
	s.flags = list(flag);
	refuses(&s, -EINVAL, "seccomp flag SECCOMP_FILTER_FLAG_X is unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errno_and_arguments),
		cmocka_unit_test(test_default_action),
		cmocka_unit_test(test_every_action),
		cmocka_unit_test(test_every_operator),
		cmocka_unit_test(test_more_values_than_arguments),
		cmocka_unit_test(test_calls_beyond_the_profile),
		cmocka_unit_test(test_flags_and_architectures),
		cmocka_unit_test(test_refusals),
	};
	return RUN_TESTS();
}
