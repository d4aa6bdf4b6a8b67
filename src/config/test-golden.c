/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each tests/golden/config/<name>.toml is loaded ("@@" in it is a directory with a kernel and so
 * on), and what becomes of it, the dump followed by the warnings, or the error, must be what
 * <name>.expected says. UPDATE_GOLDEN=1 in the environment writes the expectations anew: look at
 * the difference before it is committed.
 *
 * The shipped file and the documentation are checked here too.
 */
#include "config/testing.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#define FILE_MAX (256 * 1024)

/* Replaces the test's directory by "@@" again. */
static char *portable(const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_puts(&b, "");
	for (const char *at; (at = strstr(text, config_test_dir));
	     text = at + strlen(config_test_dir)) {
		buf_append(&b, text, (size_t)(at - text));
		buf_puts(&b, "@@");
	}
	buf_puts(&b, text);
	return buf_take(&b);
}

static char *outcome(const char *toml)
{
	_cleanup_config_ struct kata_config *c = NULL;
	_cleanup_free_ char *text = NULL;
	struct err e = ERR_INIT;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	if (config_test_load(toml, "", NULL, &c, &e) == 0) {
		assert_int_equal(config_dump(c, f), 0);
		fprintf(f, "\n# Warnings:\n%s",
			config_test_warnings.data ? config_test_warnings.data : "");
	} else {
		fprintf(f, "%s\n", e.text);
	}
	assert_int_equal(fclose(f), 0);
	return portable(text);
}

static void compare(const char *name, const char *actual)
{
	char path[PATH_MAX];
	_cleanup_buf_ struct buf expected = BUF_INIT;

	assert_int_equal(path_format(path, sizeof path, "%s/%s.expected", GOLDEN_DIR, name), 0);
	if (getenv("UPDATE_GOLDEN")) {
		_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		assert_true(fd >= 0);
		assert_int_equal(fd_write_all(fd, actual, strlen(actual)), 0);
		return;
	}
	assert_int_equal(file_read(AT_FDCWD, path, FILE_MAX, &expected), 0);
	if (strcmp(expected.data, actual) != 0)
		fail_msg("%s differs; now:\n%s", path, actual);
}

static void every_golden_file_loads_as_expected(void **state)
{
	size_t seen = 0;
	DIR *d = opendir(GOLDEN_DIR);

	assert_non_null(d);
	for (struct dirent *entry; (entry = readdir(d));) {
		_cleanup_buf_ struct buf toml = BUF_INIT;
		char *dot = strrchr(entry->d_name, '.');
		if (!dot || strcmp(dot, ".toml") != 0)
			continue;
		assert_int_equal(file_read(dirfd(d), entry->d_name, FILE_MAX, &toml), 0);
		_cleanup_free_ char *actual = outcome(toml.data);
		*dot = '\0';
		compare(entry->d_name, actual);
		seen++;
	}
	closedir(d);
	assert_true(seen >= 4);
}

/* The installed file, with paths that exist here, must give nothing to warn about. */
static void the_shipped_file_loads_without_a_warning(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, TEMPLATE, FILE_MAX, &text), 0);
	_cleanup_config_ struct kata_config *c = config_test_loads(text.data, "", NULL);
	config_test_no_warning();
	assert_string_equal(c->hypervisor.name, "qemu");
	assert_string_equal(c->hypervisor.shared_fs, "virtio-fs");
	assert_int_equal(c->hypervisor.default_memory, 2048);
	assert_true(c->runtime.sandbox_cgroup_only);
	assert_true(c->runtime.static_sandbox_resource_mgmt);
}

/* Whether @key stands at the beginning of a line of @text, perhaps as a comment, and is set. */
static bool sets_key(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += strspn(p, "\n# ");
		if (strncmp(p, key, len) == 0 && strncmp(p + len, " = ", 3) == 0)
			return true;
	}
	return false;
}

static void the_shipped_file_has_every_key_that_acts(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, TEMPLATE, FILE_MAX, &text), 0);
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *k = &config_keys[i];
		bool for_tests = strncmp(k->name, "fake_", strlen("fake_")) == 0;
		bool detail = k->section == SECTION_MEM_AGENT && !strstr(k->name, "enable");
		if (k->offset != KEY_NOT_ACTED_ON && !for_tests && !detail &&
		    !sets_key(text.data, k->name))
			fail_msg("the shipped file lacks %s", k->name);
	}
}

/* The part of the document about a section: from its heading to the next. */
static char *document_section(const char *document, const char *title)
{
	char heading[128];

	snprintf(heading, sizeof heading, "\n## `[%s]`", title);
	const char *from = strstr(document, heading);
	if (!from)
		fail_msg("the document lacks the section%s", heading);
	const char *to = strstr(from + strlen(heading), "\n## ");
	return to ? strndup(from, (size_t)(to - from)) : strdup(from);
}

static void the_document_lists_every_key_that_acts(void **state)
{
	static const enum config_section sections[] = {SECTION_RUNTIME, SECTION_HYPERVISOR,
						       SECTION_AGENT, SECTION_MEM_AGENT};
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, DOCUMENT, FILE_MAX, &text), 0);
	for (size_t s = 0; s < ARRAY_SIZE(sections); s++) {
		_cleanup_free_ char *part =
			document_section(text.data, config_section_title(sections[s]));
		for (size_t i = 0; i < config_keys_count; i++) {
			const struct config_key *k = &config_keys[i];
			char row[128];
			if (k->section != sections[s] || (k->flags & KEY_FOREIGN))
				continue;
			snprintf(row, sizeof row, "\n| `%s` |", k->name);
			bool listed = strstr(part, row) != NULL;
			if (listed != (k->offset != KEY_NOT_ACTED_ON))
				fail_msg("%s %s listed in [%s] of the document", k->name,
					 listed ? "is not acted on, but is" : "must be",
					 config_section_title(sections[s]));
		}
	}
}

static void the_document_lists_every_annotation_that_acts(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, DOCUMENT, FILE_MAX, &text), 0);
	_cleanup_free_ char *part = document_section(text.data, "annotations");
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *k = &config_keys[i];
		char row[128];
		if (!k->annotation || k->how == HOW_REFUSED || k->offset == KEY_NOT_ACTED_ON)
			continue;
		snprintf(row, sizeof row, "\n| `%s` |", k->annotation);
		if (!strstr(part, row))
			fail_msg("the document lacks the annotation %s", k->annotation);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_golden_file_loads_as_expected),
		cmocka_unit_test(the_shipped_file_loads_without_a_warning),
		cmocka_unit_test(the_shipped_file_has_every_key_that_acts),
		cmocka_unit_test(the_document_lists_every_key_that_acts),
		cmocka_unit_test(the_document_lists_every_annotation_that_acts),
	};
	return cmocka_run_group_tests(tests, config_test_setup, config_test_teardown);
}
