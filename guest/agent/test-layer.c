/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/layer.h"

#include "base/testing.h"

#include <string.h>

#define ROOT_HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define VERITY                                                                 \
	"X-kata.dmverity-enabled=true", "X-kata.dmverity.roothash=" ROOT_HASH, \
		"X-kata.dmverity.hashoffset=1048576"

static Grpc__Storage storages[8], *all[8];
static size_t n;

static int begin(void **state)
{
	n = 0;
	return 0;
}

static void add(const char *fstype, const char *source, size_t n_options, const char **options)
{
	Grpc__Storage *s = &storages[n];

	grpc__storage__init(s);
	s->driver = (char *)"blk";
	s->fstype = (char *)fstype;
	s->source = (char *)source;
	s->mount_point = (char *)"/rootfs";
	s->n_options = n_options;
	s->options = (char **)options;
	all[n++] = s;
}

#define ADD(fstype, source, ...)                                                    \
	add(fstype, source, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), \
	    (const char *[]){__VA_ARGS__})

/* Parses and frees what there is; the sentence tells. */
static int parse(struct err *e)
{
	struct layer_group g;
	*e = ERR_INIT;
	int r = layer_group_parse(all, n, &g, e);
	layer_group_free(&g);
	return r;
}

static void layers_are_sorted_by_their_number(void **state)
{
	struct layer_group g;

	ADD("erofs", "02/00", "ro", "X-kata.overlay-lower", "X-kata.multi-layer=true",
	    "X-kata.gpt-partitioned=true", "X-kata.partition-number=10");
	ADD("tmpfs", "other", "size=1");
	ADD("erofs", "02/00", "X-kata.overlay-lower", "X-kata.multi-layer=true",
	    "X-kata.gpt-partitioned=true", "X-kata.partition-number=9",
	    "X-kata.mkdir.path={{ mount 0 }}/upper:0700:1:2", "X-kata.mkdir.path={{ mount 2 }}/x",
	    "X-kata.mkdir.path=plain");
	ADD("ext4", "03/00", "noatime", "X-kata.overlay-upper", "X-kata.multi-layer=true");
	assert_false(layer_is_one(all[1]));
	assert_int_equal(layer_group_parse(all, n, &g, NULL), 0);
	assert_int_equal(g.n_lowers, 2);
	assert_int_equal(g.lowers[0].partition, 9);
	assert_int_equal(g.lowers[1].partition, 10);
	assert_int_equal(g.lowers[1].options.n, 1);
	assert_string_equal(g.lowers[1].options.v[0], "ro");
	assert_true(g.has_upper);
	assert_ptr_equal(g.target, all[3]);
	assert_int_equal(g.n_mkdirs, 3);
	assert_string_equal(g.mkdirs[0].path, "/upper");
	assert_int_equal(g.mkdirs[0].mode, 0700);
	assert_int_equal(g.mkdirs[0].uid, 1);
	assert_int_equal(g.mkdirs[0].gid, 2);
	assert_int_equal(g.mkdirs[1].mount, 2);
	assert_string_equal(g.mkdirs[2].path, "plain");
	assert_int_equal(g.mkdirs[2].mode, 0755);
	layer_group_free(&g);
}

static void without_numbers_the_order_stays(void **state)
{
	struct layer_group g;

	ADD("erofs", "b", "X-kata.multi-layer=true");
	ADD("erofs", "a", "X-kata.multi-layer=true");
	assert_int_equal(layer_group_parse(all, n, &g, NULL), 0);
	assert_string_equal(g.lowers[0].s->source, "b");
	assert_string_equal(g.lowers[1].s->source, "a");
	assert_ptr_equal(g.target, all[0]);
	assert_false(g.has_upper);
	layer_group_free(&g);
}

static void what_is_not_understood_is_refused(void **state)
{
	static const struct {
		const char *option, *says;
	} cases[] = {
		{"X-kata.encrypted=true", "X-kata.encrypted=true is not known"},
		{"X-kata.", "not known"},
		{"X-kata.overlay-lower=true", "not known"},
		{"X-kata.partition-number", "not known"},
		{"X-kata.dmverity-enabled=yes", "not a value"},
		{"X-kata.gpt-partitioned=1", "not a value"},
		{"X-kata.gpt-partitioned=true", "one without the other"},
		{"X-kata.partition-number=1", "one without the other"},
		{"X-kata.partition-number=0", "not a value"},
		{"X-kata.partition-number=-1", "not a value"},
		{"X-kata.partition-number=99999999999999999999", "not a value"},
		{"X-kata.dmverity-enabled=true", "is missing"},
		{"X-kata.dmverity.roothash=" ROOT_HASH, "protect nothing"},
		{"X-kata.dmverity.no-superblock=true", "protect nothing"},
		{"X-kata.dmverity.roothash=", "not a value"},
		{"X-kata.dmverity.roothash=0011223", "not a value"},
		{"X-kata.dmverity.roothash=xx", "not a value"},
		{"X-kata.dmverity.algorithm=sha1", "not a value"},
		{"X-kata.dmverity.hashoffset=0x1000", "not a value"},
		{"X-kata.dmverity.hashoffset=", "not a value"},
		{"X-kata.dmverity.hashtype=7", "not a value"},
		{"X-kata.dmverity.blocksize=4k", "not a value"},
		{"X-kata.dmverity.salt=0", "not a value"},
		{"X-kata.overlay-upper", "both upper and lower"},
		{"X-kata.overlay-lower", "given twice"},
		{"X-kata.mkdir.path={{ mount x }}/a", "not a value"},
		{"X-kata.mkdir.path={{ mount 0 }}a", "not a value"},
		{"X-kata.mkdir.path={{mount 0}}/a", "not a value"},
		{"X-kata.mkdir.path=a/{{ mount 0 }}", "not a value"},
		{"X-kata.mkdir.path=a:99", "not a value"},
		{"X-kata.mkdir.path=a:0755:0:0:0", "not a value"},
		{"X-kata.mkdir.path={{ mount 2 }}/a", "there are 1 lower layers, not 2"},
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		n = 0;
		ADD("erofs", "02/00", "X-kata.multi-layer=true", "X-kata.overlay-lower",
		    cases[i].option);
		if (parse(&e) >= 0 || !strstr(e.text, cases[i].says))
			fail_msg("%s: %s", cases[i].option, e.text);
	}
}

static void layers_that_do_not_belong_together(void **state)
{
	struct err e;

	ADD("ext4", "a", "X-kata.multi-layer=true");
	assert_int_equal(parse(&e), -EINVAL);
	assert_string_equal(e.text, "there is no lower layer");
	ADD("ext4", "b", "X-kata.multi-layer=true");
	assert_int_equal(parse(&e), -EINVAL);
	assert_non_null(strstr(e.text, "more than one upper layer"));
	n = 0;
	ADD("xfs", "a", "X-kata.multi-layer=true");
	assert_int_equal(parse(&e), -EINVAL);
	assert_non_null(strstr(e.text, "\"xfs\" is not erofs"));
	n = 0;
	ADD("tmpfs", "a", "X-kata.multi-layer=true", "X-kata.overlay-upper");
	assert_int_equal(parse(&e), -EINVAL);
	n = 0;
	ADD("erofs", "a", "X-kata.multi-layer=true", "X-kata.gpt-partitioned=true",
	    "X-kata.partition-number=1");
	ADD("erofs", "b", "X-kata.multi-layer=true");
	assert_int_equal(parse(&e), -EINVAL);
	assert_non_null(strstr(e.text, "only one is a partition"));
	n = 1;
	ADD("erofs", "a", "X-kata.multi-layer=true", "X-kata.gpt-partitioned=true",
	    "X-kata.partition-number=1");
	assert_int_equal(parse(&e), -EINVAL);
	assert_non_null(strstr(e.text, "both partition 1"));
	n = 0;
	ADD("ext4", "a", "X-kata.multi-layer=true", VERITY);
	assert_int_equal(parse(&e), -EINVAL);
	assert_non_null(strstr(e.text, "cannot be protected"));
}

static void protection_has_defaults(void **state)
{
	struct layer_group g;
	struct verity v;
	struct err e = ERR_INIT;

	ADD("erofs", "a", "X-kata.multi-layer=true", VERITY, "X-kata.dmverity.no-superblock=true");
	assert_int_equal(layer_group_parse(all, n, &g, &e), 0);
	assert_int_equal(layer_verity(&g.lowers[0], NULL, 4 << 20, &v, &e), 0);
	assert_int_equal(v.data_blocks, 256);
	assert_int_equal(v.hash_start, 256);
	assert_int_equal(v.hash_type, 1);
	assert_string_equal(v.algorithm, "sha256");
	assert_int_equal(v.root[31], 0xff);
	assert_int_equal(v.salt_len, 0);
	assert_int_equal(layer_verity(&g.lowers[0], NULL, 1 << 20, &v, &e), -EINVAL);
	layer_group_free(&g);
}

static void superblocks_complete_it(void **state)
{
	uint8_t sb[VERITY_SUPERBLOCK_BYTES] = "verity\0\0\1\0\0\0\1";
	struct layer_group g;
	struct verity v;
	struct err e = ERR_INIT;

	memcpy(sb + 32, "sha256", 6);
	sb[65] = sb[69] = 4; /* blocks of 1024 */
	sb[73] = 4;	     /* 1024 of them */
	sb[80] = 2;
	sb[88] = 0xaa;
	ADD("erofs", "a", "X-kata.multi-layer=true", VERITY);
	assert_int_equal(layer_group_parse(all, n, &g, &e), 0);
	assert_int_equal(layer_verity(&g.lowers[0], sb, 4 << 20, &v, &e), 0);
	assert_int_equal(v.data_block_bytes, 1024);
	assert_int_equal(v.data_blocks, 1024);
	assert_int_equal(v.hash_start, 1025); /* behind the superblock's own block */
	assert_int_equal(v.salt_len, 2);
	assert_int_equal(v.root_len, 32);
	sb[74] = 1;
	assert_int_equal(layer_verity(&g.lowers[0], sb, 400 << 20, &v, &e), -EINVAL);
	sb[0] = 0;
	assert_int_equal(layer_verity(&g.lowers[0], sb, 4 << 20, &v, &e), -ENODATA);
	layer_group_free(&g);

	sb[0] = 'v';
	sb[74] = 0;
	static const char *const others[] = {
		"X-kata.dmverity.salt=aa01", "X-kata.dmverity.blocksize=4096",
		"X-kata.dmverity.hashsize=4096", "X-kata.dmverity.algorithm=sha512",
		"X-kata.dmverity.hashtype=0"};
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		n = 0;
		ADD("erofs", "a", "X-kata.multi-layer=true", VERITY, others[i]);
		assert_int_equal(layer_group_parse(all, n, &g, &e), 0);
		assert_int_equal(layer_verity(&g.lowers[0], sb, 4 << 20, &v, &e), -EINVAL);
		assert_non_null(strstr(e.text, "is not what the superblock says"));
		layer_group_free(&g);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(layers_are_sorted_by_their_number, begin),
		cmocka_unit_test_setup(without_numbers_the_order_stays, begin),
		cmocka_unit_test_setup(what_is_not_understood_is_refused, begin),
		cmocka_unit_test_setup(layers_that_do_not_belong_together, begin),
		cmocka_unit_test_setup(protection_has_defaults, begin),
		cmocka_unit_test_setup(superblocks_complete_it, begin),
	};
	return RUN_TESTS();
}
