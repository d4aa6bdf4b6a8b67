/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/initdata.h"

#include "base/buf.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/policy.h"
#include "io/tool.h"

#include <endian.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

static const char *parser;
static char dir[64], dev[80], out[80];
static struct policy *policy;

static void path_of(char *dst, size_t size, const char *in, const char *name)
{
	assert_int_equal(path_format(dst, size, "%s/%s", in, name), 0);
}

static void remove_disk(void)
{
	char path[128];
	path_of(path, sizeof path, dev, "vdb");
	(void)unlink(path);
}

/* Writes a disk; @len replaces the length in its header if it is not 0. */
static void make_disk(const void *packed, size_t packed_len, uint64_t len)
{
	_cleanup_buf_ struct buf disk = BUF_INIT;
	const uint64_t n = htole64(len ? len : packed_len);
	char path[128];

	buf_append(&disk, "initdata", 8);
	buf_append(&disk, &n, sizeof n);
	buf_append(&disk, packed, packed_len);
	path_of(path, sizeof path, dev, "vdb");
	assert_int_equal(file_replace(path, disk.data, disk.len, 0600), 0);
}

static void pack(const char *toml, struct buf *ret)
{
	const char *argv[] = {"/bin/gzip", "-c", NULL};
	const struct tool_spec spec = {.argv = argv,
				       .input = toml,
				       .input_len = strlen(toml),
				       .output_max = 32u << 20,
				       .timeout_ms = 20000};
	assert_int_equal(tool_run(&spec, ret, NULL), 0);
}

static int load_toml(const char *toml, struct err *e)
{
	const struct initdata_places p = {.dev = dev, .parser = parser, .dir = out};
	_cleanup_buf_ struct buf packed = BUF_INIT;

	if (toml) {
		pack(toml, &packed);
		make_disk(packed.data, packed.len, 0);
	}
	int r = initdata_load(&p, policy, e);
	remove_disk();
	return r;
}

static void expect_file(const char *name, const char *expected)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[128];

	path_of(path, sizeof path, out, name);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text), 0);
	assert_string_equal(text.data, expected);
}

#define HEAD "version = \"0.1.0\"\nalgorithm = \"sha384\"\n[data]\n"

static void files_and_policy_are_taken(void **state)
{
	static const char toml[] = HEAD "\"aa.toml\" = '''\na = 1\n'''\n\"cdh.toml\" = \"b = 2\"\n"
					"\"policy.rego\" = '''\npackage agent_policy\n"
					"default ExecProcessRequest := false\n"
					"default CreateContainerRequest := true\n'''\n";

	assert_int_equal(load_toml(toml, NULL), 0);
	expect_file("initdata.toml", toml);
	expect_file("aa.toml", "a = 1\n");
	expect_file("cdh.toml", "b = 2");
	assert_int_equal(policy_ask(policy, "ExecProcessRequest"), POLICY_DENIED);
	assert_int_equal(policy_ask(policy, "CreateContainerRequest"), POLICY_ALLOWED);
}

static void no_disk_is_fine(void **state)
{
	char path[128];

	path_of(path, sizeof path, dev, "vda");
	assert_int_equal(file_replace(path, "something else, longer than a header", 36, 0600), 0);
	assert_int_equal(load_toml(NULL, NULL), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(load_toml(NULL, NULL), 0);
}

static void refuses(const char *toml, const char *sentence)
{
	struct err e = ERR_INIT;

	assert_true(load_toml(toml, &e) < 0);
	if (!strstr(e.text, sentence))
		fail_msg("\"%s\" is not in \"%s\"", sentence, e.text);
}

static void what_is_wrong_is_refused(void **state)
{
	refuses("version = \"0.2.0\"\nalgorithm = \"sha256\"\n[data]\n", "version is \"0.2.0\"");
	refuses("algorithm = \"sha256\"\n[data]\n", "version is \"\"");
	refuses("version = \"0.1.0\"\nalgorithm = \"md5\"\n[data]\n", "algorithm is \"md5\"");
	refuses("version = \"0.1.0\"\nalgorithm = \"sha256\"\n", "data is missing");
	refuses(HEAD "\"aa.toml\" = 3\n", "data.aa.toml");
	refuses(HEAD "\"policy.rego\" = \"package other\"\n", "policy.rego");
	refuses("no TOML", "TOML:1:");
}

static void a_damaged_disk_is_refused(void **state)
{
	const struct initdata_places p = {.dev = dev, .parser = parser, .dir = out};
	_cleanup_buf_ struct buf packed = BUF_INIT;
	struct err e = ERR_INIT;

	pack(HEAD, &packed);
	make_disk(packed.data, packed.len, packed.len + 1); /* the disk ends before */
	assert_true(initdata_load(&p, policy, &e) < 0);
	make_disk(packed.data, packed.len, packed.len - 9);
	e = ERR_INIT;
	assert_true(initdata_load(&p, policy, &e) < 0);
	assert_non_null(strstr(e.text, "cut off"));
	make_disk(packed.data, packed.len, UINT64_MAX);
	e = ERR_INIT;
	assert_int_equal(initdata_load(&p, policy, &e), -EFBIG);
	packed.data[packed.len / 2] ^= 0x55;
	make_disk(packed.data, packed.len, 0);
	assert_true(initdata_load(&p, policy, &e) < 0);
	remove_disk();
}

static void a_bomb_does_not_go_off(void **state)
{
	const struct initdata_places p = {.dev = dev, .parser = parser, .dir = out};
	_cleanup_buf_ struct buf packed = BUF_INIT;
	struct err e = ERR_INIT;

	char *zeroes = calloc(1, 64u << 20);
	assert_non_null(zeroes);
	memset(zeroes, ' ', (64u << 20) - 1);
	pack(zeroes, &packed);
	free(zeroes);
	make_disk(packed.data, packed.len, 0);
	assert_int_equal(initdata_load(&p, policy, &e), -EMSGSIZE);
	remove_disk();
}

static int setup(void **state)
{
	(void)snprintf(dir, sizeof dir, "/tmp/runtime-c-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	path_of(dev, sizeof dev, dir, "dev");
	path_of(out, sizeof out, dir, "out");
	return mkdir(dev, 0700) < 0 ? -1 : policy_new(&policy);
}

static int teardown(void **state)
{
	policy_free(policy);
	return remove_tree(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_disk_is_fine),
		cmocka_unit_test(files_and_policy_are_taken),
		cmocka_unit_test(what_is_wrong_is_refused),
		cmocka_unit_test(a_damaged_disk_is_refused),
		cmocka_unit_test(a_bomb_does_not_go_off),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s PARSER\n", argv[0]);
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	parser = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
