/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/boot/root.h"

#include "base/testing.h"

#include <string.h>

#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TABLE "0 80 verity 1 /dev/vda1 /dev/vda2 4096 4096 10 0 sha256 " HASH " aabb"
#define REST " root=/dev/dm-0 rootflags=ro rootfstype=erofs"

static void the_runtimes_words_are_understood(void **state)
{
	struct root r;
	struct err e = ERR_INIT;

	/* as the kernel quotes what it shows in /proc/cmdline, and as a runtime writes it */
	static const char *const good[] = {
		"quiet dm-mod.create=\"dm-verity,,,ro," TABLE "\"" REST " panic=1\n",
		"quiet \"dm-mod.create=dm-verity,,,ro," TABLE "\"" REST,
	};
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (root_parse(good[i], &r, &e) < 0)
			fail_msg("%s", e.text);
		assert_string_equal(r.name, "dm-verity");
		assert_string_equal(r.data_device, "/dev/vda1");
		assert_string_equal(r.hash_device, "/dev/vda2");
		assert_string_equal(r.fstype, "erofs");
		assert_string_equal(r.options, "panic_on_corruption");
		assert_int_equal(r.sectors, 80);
		assert_int_equal(r.verity.data_blocks, 10);
		assert_int_equal(r.verity.root[31], 0xff);
		assert_int_equal(r.verity.salt_len, 2);
	}
	assert_int_equal(root_parse("dm-mod.create=\"x,,,ro," TABLE
				    " 1 restart_on_corruption\"" REST,
				    &r, &e),
			 0);
	assert_string_equal(r.options, "restart_on_corruption");
}

static void all_else_is_refused(void **state)
{
	static const struct {
		const char *cmdline;
		int r;
	} cases[] = {
		{"", -ENOENT},
		{"quiet" REST, -ENOENT},
		{"xdm-mod.create=\"x,,,ro," TABLE "\"" REST, -ENOENT},
		{"dm-mod.create=\"x,,,rw," TABLE "\"" REST, -EINVAL},
		{"dm-mod.create=\"x,,,ro," TABLE ";y,,,ro," TABLE "\"" REST, -EINVAL},
		{"dm-mod.create=\"x,,,ro," TABLE "," TABLE "\"" REST, -EINVAL},
		{"dm-mod.create=\"x/y,,,ro," TABLE "\"" REST, -EINVAL},
		{"dm-mod.create=\",,,ro," TABLE "\"" REST, -EINVAL},
		{"dm-mod.create=x" REST, -EINVAL},
		{"dm-mod.create=\"x,,,ro," TABLE " 1 ignore_corruption\"" REST, -EINVAL},
		{"dm-mod.create=\"x,,,ro," TABLE " 2 panic_on_corruption ignore_zero_blocks\"" REST,
		 -EINVAL},
		{"dm-mod.create=\"x,,,ro,0 80 linear /dev/vda1 0\"" REST, -EINVAL},
		{"dm-mod.create=\"x,,,ro,8 80 verity 1 a b 4096 4096 10 0 sha256 " HASH " -\"" REST,
		 -EINVAL},
		{"dm-mod.create=\"x,,,ro,0 88 verity 1 a b 4096 4096 10 0 sha256 " HASH " -\"" REST,
		 -EINVAL},
		{"dm-mod.create=\"x,,,ro,0 80 verity 1 a b 4096 4096 10 0 sha256 xx -\"" REST,
		 -EINVAL},
		{"dm-mod.create=\"x,,,ro," TABLE "\" root=/dev/vda1 rootfstype=erofs", -EINVAL},
		{"dm-mod.create=\"x,,,ro," TABLE "\" root=/dev/dm-0 rootfstype=vfat", -EINVAL},
		{"dm-mod.create=\"x,,,ro," TABLE "\" root=/dev/dm-0", -EINVAL},
	};
	struct root r;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (root_parse(cases[i].cmdline, &r, &e) != cases[i].r)
			fail_msg("%s", cases[i].cmdline);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_runtimes_words_are_understood),
		cmocka_unit_test(all_else_is_refused),
	};
	return RUN_TESTS();
}
