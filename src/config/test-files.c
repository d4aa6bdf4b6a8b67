/* SPDX-License-Identifier: Apache-2.0 */
/* Which files are read, in which order, and what is said about those that cannot be. */
#include "config/testing.h"

#include "base/fd.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static char path_a[PATH_MAX], path_b[PATH_MAX], path_gone[PATH_MAX];

static const char *at(char *dst, const char *name)
{
	path_format(dst, PATH_MAX, "%s/%s", config_test_dir, name);
	return dst;
}

static int load_from(const struct config_host *host, const char *file, const char *body,
		     struct kata_config **ret, struct err *e)
{
	const struct config_source src = {.file = file, .body = body};
	return config_load_on(host, &src, NULL, NULL, ret, e);
}

/* Loads and returns the file that was read, or the sentence. */
static const char *file_of(const struct config_host *host, const char *file, const char *body)
{
	static char text[ERR_TEXT_MAX];
	struct kata_config *c = NULL;
	struct err e = ERR_INIT;

	if (load_from(host, file, body, &c, &e) < 0)
		snprintf(text, sizeof text, "%s", e.text);
	else
		snprintf(text, sizeof text, "%s", c->file);
	config_free(c);
	return text;
}

static void the_order_is_body_path_environment_defaults(void **state)
{
	config_test_write("a.toml", config_test_fake);
	config_test_write("b.toml", config_test_fake);
	const char *const defaults[] = {at(path_gone, "gone.toml"), at(path_b, "b.toml"), NULL};
	struct config_host host = config_test_host;
	host.default_files = defaults;
	host.env_file = at(path_a, "a.toml");

	assert_string_equal(file_of(&host, path_b, config_test_fake), "ConfigBody");
	assert_string_equal(file_of(&host, path_b, NULL), path_b);
	assert_string_equal(file_of(&host, path_b, ""), path_b);
	assert_string_equal(file_of(&host, NULL, NULL), path_a);
	assert_string_equal(file_of(&host, "", NULL), path_a);
	host.env_file = NULL;
	assert_string_equal(file_of(&host, NULL, NULL), path_b);
	host.env_file = "";
	assert_string_equal(file_of(&host, NULL, NULL), path_b);
}

static void a_given_file_that_is_missing_is_an_error(void **state)
{
	config_test_write("b.toml", config_test_fake);
	const char *const defaults[] = {at(path_b, "b.toml"), NULL};
	struct config_host host = config_test_host;
	host.default_files = defaults;

	assert_non_null(strstr(file_of(&host, at(path_gone, "gone.toml"), NULL),
			       "/gone.toml (from ConfigPath): No such file or directory"));
	host.env_file = path_gone;
	assert_non_null(strstr(file_of(&host, NULL, NULL), "/gone.toml (from KATA_CONF_FILE): No"));
}

static void without_any_file_the_places_are_named(void **state)
{
	const char *const defaults[] = {"/nonexistent/a", "/nonexistent/b", NULL};
	struct config_host host = config_test_host;
	host.default_files = defaults;
	assert_string_equal(file_of(&host, NULL, NULL),
			    "there is no configuration file: looked for /nonexistent/a, "
			    "/nonexistent/b");
}

static void only_a_regular_file_is_read(void **state)
{
	char fifo[PATH_MAX];
	assert_non_null(
		strstr(file_of(&config_test_host, config_test_dir, NULL), "is not a regular file"));
	assert_int_equal(mkfifo(at(fifo, "fifo"), 0600), 0);
	assert_non_null(strstr(file_of(&config_test_host, fifo, NULL), "is not a regular file"));
	assert_non_null(strstr(file_of(&config_test_host, "/dev/null", NULL), "is not a regular"));
}

static void a_file_over_the_limit_is_refused(void **state)
{
	char big[PATH_MAX];
	config_test_write("big.toml", "");
	assert_int_equal(truncate(at(big, "big.toml"), TOML_TEXT_MAX + 1), 0);
	assert_non_null(strstr(file_of(&config_test_host, big, NULL), "more than 1048576 bytes"));
}

/* ---- Drop-ins ---------------------------------------------------------------------------------
 */

static void make_dir(const char *name)
{
	char path[PATH_MAX];
	assert_int_equal(mkdir(at(path, name), 0755), 0);
}

static void remove_dir(const char *name)
{
	char path[PATH_MAX];
	assert_int_equal(remove_tree(at(path, name)), 0);
}

static void drop_ins_merge_by_name_beside_the_real_file(void **state)
{
	char link[PATH_MAX], target[PATH_MAX];
	struct kata_config *c = NULL;
	struct err e = ERR_INIT;

	make_dir("real");
	make_dir("real/config.d");
	make_dir("real/config.d/..data");
	config_test_write("real/base.toml", config_test_fake);
	config_test_write("real/config.d/10-a.toml",
			  "[hypervisor.fake]\ndefault_memory = 100\ndefault_vcpus = 2\n"
			  "virtio_fs_extra_args = [\"a\", \"b\"]\nkernel_params = \"first\"\n");
	config_test_write(
		"real/config.d/20-b.toml",
		"[hypervisor.fake]\ndefault_memory = 200\nvirtio_fs_extra_args = [\"c\"]\n");
	/* Kubernetes mounts a ConfigMap as links into a hidden directory. */
	config_test_write("real/config.d/..data/30-c.toml", "[agent.kata]\nserver_port = 7\n");
	assert_int_equal(symlink("..data/30-c.toml", at(link, "real/config.d/30-c.toml")), 0);
	/* What an editor leaves behind. */
	config_test_write("real/config.d/20-b.toml~", "this is no TOML");
	config_test_write("real/config.d/.20-b.toml", "this is no TOML");
	config_test_write("real/config.d/README", "this is no TOML");
	assert_int_equal(symlink("real/base.toml", at(link, "link.toml")), 0);

	if (load_from(&config_test_host, link, NULL, &c, &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(c->file, at(target, "real/base.toml"));
	assert_int_equal(c->hypervisor.default_memory, 200);
	assert_true(c->hypervisor.default_vcpus == 2);
	assert_string_equal(c->hypervisor.kernel_params, "first");
	assert_int_equal(c->hypervisor.virtio_fs_extra_args.n, 1);
	assert_string_equal(c->hypervisor.virtio_fs_extra_args.v[0], "c");
	assert_int_equal(c->agent.server_port, 7);
	config_free(c);
	remove_dir("real");
	assert_int_equal(unlink(at(link, "link.toml")), 0);
}

static void a_wrong_drop_in_is_named(void **state)
{
	char link[PATH_MAX], base[PATH_MAX];

	config_test_write("a.toml", config_test_fake);
	at(base, "a.toml");
	make_dir("config.d");
	config_test_write("config.d/x.toml", "[hypervisor.fake]\ndefault_vcpus = \"two\"\n");
	assert_non_null(strstr(file_of(&config_test_host, base, NULL),
			       "/config.d/x.toml:2 is \"two\": must be a number"));
	config_test_write("config.d/x.toml", "a = \n");
	assert_non_null(strstr(file_of(&config_test_host, base, NULL), "/config.d/x.toml:1:"));
	config_test_write("config.d/x.toml", "hypervisor = 1\n");
	assert_non_null(strstr(file_of(&config_test_host, base, NULL), "must name a table"));
	config_test_write("config.d/x.toml", "");
	assert_int_equal(symlink("nowhere", at(link, "config.d/y.toml")), 0);
	assert_non_null(strstr(file_of(&config_test_host, base, NULL),
			       "/config.d/y.toml: No such file or directory"));
	assert_int_equal(unlink(link), 0);
	make_dir("config.d/y.toml");
	assert_non_null(strstr(file_of(&config_test_host, base, NULL),
			       "/config.d/y.toml is not a regular file"));
	remove_dir("config.d");
}

static void too_many_drop_ins_are_refused(void **state)
{
	char name[64], base[PATH_MAX];

	config_test_write("a.toml", config_test_fake);
	make_dir("config.d");
	for (int i = 0; i < 257; i++) {
		snprintf(name, sizeof name, "config.d/%d.toml", i);
		config_test_write(name, "");
	}
	assert_non_null(strstr(file_of(&config_test_host, at(base, "a.toml"), NULL),
			       "has 257 files: must be at most 256"));
	remove_dir("config.d");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_order_is_body_path_environment_defaults),
		cmocka_unit_test(a_given_file_that_is_missing_is_an_error),
		cmocka_unit_test(without_any_file_the_places_are_named),
		cmocka_unit_test(only_a_regular_file_is_read),
		cmocka_unit_test(a_file_over_the_limit_is_refused),
		cmocka_unit_test(drop_ins_merge_by_name_beside_the_real_file),
		cmocka_unit_test(a_wrong_drop_in_is_named),
		cmocka_unit_test(too_many_drop_ins_are_refused),
	};
	return cmocka_run_group_tests(tests, config_test_setup, config_test_teardown);
}
