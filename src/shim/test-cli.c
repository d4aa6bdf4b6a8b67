/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/cli.h"

#include "base/testing.h"

#include <string.h>

static int parse(struct cli *c, struct err *e, char *const argv[])
{
	int argc = 0;
	while (argv[argc])
		argc++;
	return cli_parse(argc, argv, c, e);
}

#define PARSE(...) parse(&c, &e, (char *const[]){"shim", __VA_ARGS__, NULL})

static void containerds_start_line(void **state)
{
	struct cli c;
	struct err e = ERR_INIT;
	assert_int_equal(PARSE("-namespace", "default", "-address", "/a.sock", "-publish-binary",
			       "/bin/containerd", "-id", "x1", "-debug", "start"),
			 0);
	assert_int_equal(c.action, CLI_START);
	assert_string_equal(c.namespace, "default");
	assert_string_equal(c.id, "x1");
	assert_string_equal(c.address, "/a.sock");
	assert_true(c.debug);
}

static void all_flag_spellings(void **state)
{
	struct cli c;
	struct err e = ERR_INIT;
	assert_int_equal(PARSE("--namespace=k8s.io", "-id=ab", "--publish-binary", "p",
			       "-debug=false", "-bundle=/b", "delete"),
			 0);
	assert_int_equal(c.action, CLI_DELETE);
	assert_string_equal(c.namespace, "k8s.io");
	assert_false(c.debug);
	assert_int_equal(PARSE("-id", "ab", "-namespace", "ns", "-publish-binary", "p"), 0);
	assert_int_equal(c.action, CLI_RUN);
}

static void help_version_info_need_nothing_else(void **state)
{
	struct cli c;
	struct err e = ERR_INIT;
	assert_int_equal(PARSE("-v"), 0);
	assert_int_equal(c.action, CLI_VERSION);
	assert_int_equal(PARSE("--version"), 0);
	assert_int_equal(c.action, CLI_VERSION);
	assert_int_equal(PARSE("-info"), 0);
	assert_int_equal(c.action, CLI_INFO);
	assert_int_equal(PARSE("-v", "-help"), 0);
	assert_int_equal(c.action, CLI_HELP);
}

static void wrong_words_are_named(void **state)
{
	struct cli c;
	struct err e = ERR_INIT;
	assert_int_equal(PARSE("-frob"), -EINVAL);
	assert_non_null(strstr(e.text, "-frob"));
	assert_int_equal(PARSE("-id"), -EINVAL);
	assert_non_null(strstr(e.text, "-id needs a value"));
	assert_int_equal(PARSE("-id", "ab", "restart"), -EINVAL);
	assert_non_null(strstr(e.text, "\"restart\""));
	assert_int_equal(PARSE("-debug=perhaps"), -EINVAL);
	assert_int_equal(PARSE("-id", "ab", "-namespace", "ns", "start"), -EINVAL);
	assert_non_null(strstr(e.text, "-publish-binary"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(containerds_start_line),
		cmocka_unit_test(all_flag_spellings),
		cmocka_unit_test(help_version_info_need_nothing_else),
		cmocka_unit_test(wrong_words_are_named),
	};
	return RUN_TESTS();
}
