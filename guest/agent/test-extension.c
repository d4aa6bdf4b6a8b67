/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/extension.h"

#include "base/fd.h"
#include "base/testing.h"

#include <string.h>

#define HASH "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define WORD(name) "kata.extension." name ".verity_params"

static void words_are_understood(void **state)
{
	static const uint8_t salt[] = {0xca, 0xfe};
	struct extensions x;
	struct err e = ERR_INIT;

	assert_int_equal(extensions_parse("quiet root=/dev/vda1", &x, NULL), 0);
	assert_int_equal(x.n, 0);
	assert_int_equal(
		extensions_parse(
			"quiet " WORD("coco") "=root_hash=" HASH
					      ",salt=cafe,data_blocks=1234,hash_block_size=1024,"
					      "data_block_size=512\t" WORD("gpu") " " WORD(
						      "a-B_9") "=\n",
			&x, &e),
		0);
	assert_int_equal(x.n, 3);
	assert_string_equal(x.v[0].name, "coco");
	assert_true(x.v[0].verified);
	assert_int_equal(x.v[0].verity.data_blocks, 1234);
	assert_int_equal(x.v[0].verity.data_block_bytes, 512);
	assert_int_equal(x.v[0].verity.hash_block_bytes, 1024);
	assert_int_equal(x.v[0].verity.root_len, 32);
	assert_int_equal(x.v[0].verity.root[31], 0xff);
	assert_int_equal(x.v[0].verity.salt_len, 2);
	assert_memory_equal(x.v[0].verity.salt, salt, 2);
	assert_string_equal(x.v[0].verity.algorithm, "sha256");
	assert_string_equal(x.v[1].name, "gpu");
	assert_false(x.v[1].verified);
	assert_string_equal(x.v[2].name, "a-B_9");
	assert_false(x.v[2].verified);
	/* sizes and salt may be left out */
	assert_int_equal(
		extensions_parse(WORD("c") "=data_blocks=1,root_hash=" HASH ",salt=-", &x, &e), 0);
	assert_int_equal(x.v[0].verity.data_block_bytes, 4096);
	assert_int_equal(x.v[0].verity.salt_len, 0);
}

static void refuses(const char *cmdline, const char *sentence)
{
	struct extensions x;
	struct err e = ERR_INIT;

	assert_true(extensions_parse(cmdline, &x, &e) < 0);
	if (!strstr(e.text, sentence))
		fail_msg("\"%s\" is not in \"%s\"", sentence, e.text);
}

static void what_is_not_understood_is_refused(void **state)
{
	static char many[EXTENSIONS_MAX * 40 + 80];

	refuses(WORD(""), "a name has");
	refuses(WORD("../x"), "a name has");
	refuses(WORD("a.b"), "a name has");
	refuses("kata.extension.coco.verity=1", "not a word");
	refuses("kata.extension.", "not a word");
	refuses(WORD("c") " " WORD("c") "=root_hash=" HASH ",data_blocks=1", "given twice");
	refuses(WORD("c") "=salt=aa,data_blocks=1", "root_hash is missing");
	refuses(WORD("c") "=root_hash=" HASH, "data_blocks is missing");
	refuses(WORD("c") "=root_hash=" HASH ",root_hash=" HASH, "root_hash is given twice");
	refuses(WORD("c") "=root_hash=xyz,data_blocks=1", "root_hash=xyz: not a value");
	refuses(WORD("c") "=root_hash,data_blocks=1", "not a value");
	refuses(WORD("c") "=data_blocks=0", "data_blocks=0: not a value");
	refuses(WORD("c") "=data_blocks=-1", "not a value");
	refuses(WORD("c") "=data_block_size=8192", "not a value");
	refuses(WORD("c") "=algorithm=md5", "algorithm is not known");
	for (int i = 0; i <= EXTENSIONS_MAX; i++)
		(void)snprintf(many + strlen(many), sizeof many - strlen(many),
			       "kata.extension.e%d.verity_params ", i);
	refuses(many, "more than 16");
}

static void put(const char *dir, const char *disk, const char *file, const void *data, size_t len)
{
	char path[256], *slash;

	(void)snprintf(path, sizeof path, "%s/block/%s/%s", dir, disk, file);
	slash = strrchr(path, '/');
	*slash = '\0';
	assert_int_equal(mkdir_parents(path, 0755), 0);
	*slash = '/';
	assert_int_equal(file_replace(path, data, len, 0644), 0);
}

static void disks_are_found_by_serial(void **state)
{
	char dir[] = "/tmp/test-extension-XXXXXX", name[32];

	assert_non_null(mkdtemp(dir));
	assert_int_equal(extension_find_disk(dir, "extension-a", name), -ENODEV);
	put(dir, "vda", "serial", "extension-ab", 12);
	put(dir, "vdb", "serial", "extension-a\n", 12);
	put(dir, "sda", "device/vpd_pg80", "\0\x80\0\x0d  extension-s", 17);
	put(dir, "nvme0n1", "device/serial", "extension-n         \n", 21);
	put(dir, "loop0", "size", "0\n", 2);
	assert_int_equal(extension_find_disk(dir, "extension-a", name), 0);
	assert_string_equal(name, "vdb");
	assert_int_equal(extension_find_disk(dir, "extension-s", name), 0);
	assert_string_equal(name, "sda");
	assert_int_equal(extension_find_disk(dir, "extension-n", name), 0);
	assert_string_equal(name, "nvme0n1");
	assert_int_equal(extension_find_disk(dir, "extension-", name), -ENODEV);
	assert_int_equal(remove_tree(dir), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_understood),
		cmocka_unit_test(what_is_not_understood_is_refused),
		cmocka_unit_test(disks_are_found_by_serial),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
