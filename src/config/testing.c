/* SPDX-License-Identifier: Apache-2.0 */
#include "config/testing.h"

#include "base/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

char config_test_dir[256];
struct buf config_test_warnings;
static const char *const no_files[] = {NULL};
struct config_host config_test_host = {.cpus = 4, .memory_mib = 8192, .default_files = no_files};

const char config_test_qemu[] = "[runtime]\n"
				"name = \"virt_container\"\n"
				"hypervisor_name = \"qemu\"\n"
				"agent_name = \"kata\"\n"
				"[agent.kata]\n"
				"[hypervisor.qemu]\n"
				"path = \"@@/qemu\"\n"
				"kernel = \"@@/kernel\"\n"
				"initrd = \"@@/initrd\"\n";
const char config_test_fake[] = "[runtime]\n"
				"name = \"virt_container\"\n"
				"hypervisor_name = \"fake\"\n"
				"agent_name = \"kata\"\n"
				"[agent.kata]\n"
				"[hypervisor.fake]\n";

/* Appends @text with the directory for each "@@". */
static void append_expanded(struct buf *b, const char *text)
{
	for (const char *at; (at = strstr(text, "@@")); text = at + 2) {
		buf_append(b, text, (size_t)(at - text));
		buf_puts(b, config_test_dir);
	}
	buf_puts(b, text);
}

void config_test_write(const char *name, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char path[PATH_MAX];

	append_expanded(&b, text);
	assert_int_equal(path_format(path, sizeof path, "%s/%s", config_test_dir, name), 0);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, b.data, b.len), 0);
}

int config_test_setup(void **state)
{
	static const char *const files[] = {"kernel", "initrd", "image", "firmware"};
	static const char *const programs[] = {"qemu", "virtiofsd"};
	char template[] = "/tmp/test-config-XXXXXX", path[PATH_MAX], real[PATH_MAX];

	assert_non_null(mkdtemp(template));
	assert_non_null(realpath(template, real));
	assert_int_equal(path_format(config_test_dir, sizeof config_test_dir, "%s", real), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		config_test_write(files[i], "");
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		config_test_write(programs[i], "");
		path_format(path, sizeof path, "%s/%s", config_test_dir, programs[i]);
		assert_int_equal(chmod(path, 0755), 0);
	}
	return 0;
}

int config_test_teardown(void **state)
{
	buf_free(&config_test_warnings);
	return remove_tree(config_test_dir);
}

static void note_warning(void *arg, const char *sentence)
{
	buf_printf(&config_test_warnings, "%s\n", sentence);
}

int config_test_load(const char *base, const char *more, const char *const *annotations,
		     struct kata_config **ret, struct err *e)
{
	_cleanup_buf_ struct buf body = BUF_INIT;

	append_expanded(&body, base);
	append_expanded(&body, more);
	const struct config_source src = {.body = body.data, .annotations = annotations};
	buf_free(&config_test_warnings);
	return config_load_on(&config_test_host, &src, note_warning, NULL, ret, e);
}

struct kata_config *config_test_loads(const char *base, const char *more,
				      const char *const *annotations)
{
	struct kata_config *c = NULL;
	struct err e = ERR_INIT;

	if (config_test_load(base, more, annotations, &c, &e) < 0)
		fail_msg("does not load: %s", e.text);
	return c;
}

void config_test_fails(const char *base, const char *more, const char *const *annotations,
		       const char *sentence)
{
	struct kata_config *c = NULL;
	struct err e = ERR_INIT;
	_cleanup_buf_ struct buf expected = BUF_INIT;

	append_expanded(&expected, sentence);
	if (config_test_load(base, more, annotations, &c, &e) == 0) {
		config_free(c);
		fail_msg("loads, and should fail with \"%s\"", expected.data);
	}
	if (!strstr(e.text, expected.data))
		fail_msg("\"%s\" lacks \"%s\"", e.text, expected.data);
}

void config_test_warned(const char *text)
{
	_cleanup_buf_ struct buf expected = BUF_INIT;

	append_expanded(&expected, text);
	if (!config_test_warnings.data || !strstr(config_test_warnings.data, expected.data))
		fail_msg("no warning \"%s\" in:\n%s", expected.data,
			 config_test_warnings.data ? config_test_warnings.data : "");
}

void config_test_no_warning(void)
{
	if (config_test_warnings.len)
		fail_msg("warned: %s", config_test_warnings.data);
}
