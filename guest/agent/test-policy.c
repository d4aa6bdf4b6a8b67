/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "base/fd.h"
#include "guest/agent/policy.h"

#include <string.h>

#define HEAD "package agent_policy\n"

static struct policy *p;

static int setup(void **state)
{
	return policy_new(&p);
}

static int teardown(void **state)
{
	policy_free(p);
	return 0;
}

static void load(const char *text)
{
	struct err e = ERR_INIT;

	if (policy_load(p, text, strlen(text), &e) < 0)
		fail_msg("%s", e.text);
}

static void refuses(const char *text, const char *sentence)
{
	struct err e = ERR_INIT;

	assert_int_equal(policy_load(p, text, strlen(text), &e), -EINVAL);
	assert_int_equal(e.status, STATUS_INVALID_ARGUMENT);
	if (!strstr(e.text, sentence))
		fail_msg("\"%s\" has no \"%s\"", e.text, sentence);
}

static void test_without_one_everything_is_allowed(void **state)
{
	assert_int_equal(policy_ask(p, "ExecProcessRequest"), POLICY_ALLOWED);
}

static void test_what_has_no_rule_is_denied(void **state)
{
	load(HEAD);
	assert_int_equal(policy_ask(p, "ExecProcessRequest"), POLICY_DENIED);
	load(HEAD "default ExecProcessRequest := true\n");
	assert_int_equal(policy_ask(p, "ExecProcessRequest"), POLICY_ALLOWED);
	assert_int_equal(policy_ask(p, "ExecProcess"), POLICY_DENIED);
	assert_int_equal(policy_ask(p, "ExecProcessRequests"), POLICY_DENIED);
	assert_int_equal(policy_ask(p, ""), POLICY_DENIED);
}

static void test_every_form_of_a_rule(void **state)
{
	static const char *const yes[] = {
		"default A := true",
		"default A = true",
		"A := true",
		"A = true",
		"A { true }",
		"A if { true }",
		"A if true",
		"A := true { true }",
		"A := true if true",
		"A = true if { true; true }",
		"A {\n\ttrue\n\ttrue\n}",
		"default A := false\nA := true",
		"A { false }\nA { true }",
		"A := false { false }\nA { true }",
		"A:=true",
		"A{true}",
		"import rego.v1\n\nA := true # why\n# end",
		"import future.keywords.if\nimport future.keywords\nA if true",
	};
	static const char *const no[] = {
		"default A := false",
		"A := false",
		"A { false }",
		"A if false",
		"A := false { true }",
		"A if { true; false }",
		"A {\n\ttrue\n\tfalse\n}",
		"default A := true\nA := false",
		"B := true",
		"# A := true",
	};
	char text[256];

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		(void)snprintf(text, sizeof text, HEAD "%s", yes[i]);
		load(text);
		if (policy_ask(p, "A") != POLICY_ALLOWED)
			fail_msg("not allowed: %s", yes[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
		(void)snprintf(text, sizeof text, HEAD "%s", no[i]);
		load(text);
		if (policy_ask(p, "A") != POLICY_DENIED)
			fail_msg("not denied: %s", no[i]);
	}
}

static void test_failing_requests_may_be_tolerated(void **state)
{
	load(HEAD "A := true\nB := false\ndefault AllowRequestsFailingPolicy := true\n");
	assert_int_equal(policy_ask(p, "A"), POLICY_ALLOWED);
	assert_int_equal(policy_ask(p, "B"), POLICY_TOLERATED);
	assert_int_equal(policy_ask(p, "C"), POLICY_TOLERATED);
	load(HEAD "default AllowRequestsFailingPolicy := false\n");
	assert_int_equal(policy_ask(p, "C"), POLICY_DENIED);
}

static void test_anything_else_is_refused_by_its_line(void **state)
{
	refuses("", "line 1: the text ends");
	refuses("A := true", "line 1: \"A\" is not understood: \"package agent_policy\"");
	refuses("package other\n", "line 1: \"other\" is not understood");
	refuses(HEAD "import input.x\n", "line 2: \"input\" is not understood: rego.v1");
	refuses(HEAD "import future.keywords.with\n", "line 2: \"with\" is not understood");
	refuses(HEAD "default A := {\"allowed\": true}\n", "line 2: \"{\" is not understood");
	refuses(HEAD "\nA {\n\tinput.x == 1\n}\n", "line 4: \"input\" is not understood");
	refuses(HEAD "A := B\n", "line 2: \"B\" is not understood: true or false");
	refuses(HEAD "A := 1\n", "line 2: \"1\" is not understood: true or false");
	refuses(HEAD "A(x) { true }\n", "line 2: \"(\" is not understood: :=, a body");
	refuses(HEAD "A[x] { true }\n", "line 2: \"[\" is not understood");
	refuses(HEAD "A.b := true\n", "line 2: \".\" is not understood");
	refuses(HEAD "A contains true\n", "line 2: \"contains\" is not understood");
	refuses(HEAD "A { true } else := false\n", "line 2: \"else\" is not understood: the end");
	refuses(HEAD "A { true true }\n", "line 2: \"true\" is not understood: the }");
	refuses(HEAD "A {}\n", "line 2: \"}\" is not understood");
	refuses(HEAD "A { true", "line 2: the text ends where the } of the rule");
	refuses(HEAD "A\n", "line 3: the text ends");
	refuses(HEAD "A\n{ true }\n", "line 3: \"{\" is not understood: the value");
	refuses(HEAD "A := true B := true\n",
		"line 2: \"B\" is not understood: the end of the line");
	refuses(HEAD "default := true\n", "line 2: \":=\" is not understood: the name");
	refuses(HEAD "default A\n", "line 3: the text ends where :=");
	refuses(HEAD "if := true\n", "line 2: \"if\" is not understood: the name");
	refuses(HEAD "A := \xff\xfe\n", "line 2: \"?\" is not understood");
	refuses(HEAD "default A := true\ndefault A := true", "line 3: A has a default already");
	refuses(HEAD "A := true\nA := false", "line 3: A is false here, and was true in line 2");
}

static void test_what_is_refused_changes_nothing(void **state)
{
	load(HEAD "A := true\n");
	refuses(HEAD "A := false\nB := true\nC := x\n", "line 4");
	assert_int_equal(policy_ask(p, "A"), POLICY_ALLOWED);
	assert_int_equal(policy_ask(p, "B"), POLICY_DENIED);
}

static void test_sizes_have_bounds(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	buf_printf(&text, HEAD);
	for (unsigned i = 0; i < POLICY_RULES_MAX; i++)
		buf_printf(&text, "R%u := true\n", i);
	load(text.data);
	assert_int_equal(policy_ask(p, "R1023"), POLICY_ALLOWED);
	buf_printf(&text, "One := true\n");
	refuses(text.data, "line 1026: more than 1024 rules");

	buf_clear(&text);
	buf_printf(&text, HEAD "%0129d := true\n", 0);
	memset(text.data + strlen(HEAD), 'a', 129);
	refuses(text.data, "line 2: a name of more than 128 bytes");

	struct err e = ERR_INIT;
	_cleanup_free_ char *large = calloc(1, POLICY_BYTES_MAX + 1);
	assert_int_equal(policy_load(p, large, POLICY_BYTES_MAX + 1, &e), -EINVAL);
	/* a NUL is a sign as any other */
	assert_int_equal(policy_load(p, HEAD "\0A := true", sizeof HEAD + 10, &e), -EINVAL);
}

static void test_files(void **state)
{
	char path[] = "/tmp/test-policy-XXXXXX";
	struct err e = ERR_INIT;

	assert_int_equal(policy_load_file(p, "/nonexistent/policy.rego", &e), -ENOENT);
	assert_int_equal(policy_ask(p, "A"), POLICY_ALLOWED);
	_cleanup_close_ int fd = mkstemp(path);
	assert_int_equal(fd_write_all(fd, HEAD "A := false\n", strlen(HEAD "A := false\n")), 0);
	assert_int_equal(policy_load_file(p, path, &e), 0);
	assert_int_equal(policy_ask(p, "A"), POLICY_DENIED);
	assert_int_equal(fd_write_all(fd, "B\n", 2), 0);
	assert_int_equal(policy_load_file(p, path, &e), -EINVAL);
	assert_non_null(strstr(e.text, path));
	assert_non_null(strstr(e.text, "line 4"));
	(void)unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_without_one_everything_is_allowed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_what_has_no_rule_is_denied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_form_of_a_rule, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failing_requests_may_be_tolerated, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_anything_else_is_refused_by_its_line, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_what_is_refused_changes_nothing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_sizes_have_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
	};
	return RUN_TESTS();
}
