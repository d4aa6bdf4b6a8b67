/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles profiles, and runs them on a forked child to see what they do. */
#include "base/testing.h"

#include "engine/filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
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
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || engine_seccomp_load(bpf) < 0)
			_exit(255);
		struct utsname u;
		long r = syscall(number, number == SYS_uname ? (long)&u : arg);
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
	assert_int_equal(engine_seccomp_compile(&s, &bpf, NULL), 0);
	assert_int_equal(try_call(&bpf, SYS_uname, 0), -SIGSYS);
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
	rule.n_args = 7;
	refuses(&s, -EINVAL, "seccomp rule has 7 arguments, at most 6 make sense");
	rule.n_args = 0;
	rule.has_errno_ret = true;
	rule.errno_ret = 4096;
	refuses(&s, -EINVAL, "seccomp errnoRet 4096 is more than 4095");
	rule.action = (char *)"SCMP_ACT_NOTIFY";
	refuses(&s, -EOPNOTSUPP, "seccomp action SCMP_ACT_NOTIFY is not supported");
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
		cmocka_unit_test(test_flags_and_architectures),
		cmocka_unit_test(test_refusals),
	};
	return RUN_TESTS();
}
