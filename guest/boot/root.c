/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/boot/root.h"

#include <stdbool.h>
#include <string.h>

#define CREATE "dm-mod.create="

/* The words of a verity table, from the target's name on. */
enum {
	W_START,
	W_SECTORS,
	W_TARGET,
	W_HASH_TYPE,
	W_DATA_DEVICE,
	W_HASH_DEVICE,
	W_DATA_BLOCK,
	W_HASH_BLOCK,
	W_DATA_BLOCKS,
	W_HASH_START,
	W_ALGORITHM,
	W_ROOT,
	W_SALT,
	W_N_OPTIONS,
	W_OPTION,
	N_WORDS,
};

/* Finds NAME=VALUE; a value may stand in quotes, which may also begin before the name. */
static int find_word(const char *cmdline, const char *name, char *ret, size_t size)
{
	size_t len = strlen(name);

	for (const char *p = cmdline; *p;) {
		p += strspn(p, " \t\n");
		bool quoted = *p == '"';
		const char *word = p + quoted, *end = word;
		for (bool in = quoted; *end && (in || !strchr(" \t\n", *end)); end++)
			if (*end == '"')
				in = !in;
		p = end;
		if (strncmp(word, name, len) != 0)
			continue;
		word += len;
		if (*word == '"')
			word++;
		if (end > word && end[-1] == '"')
			end--;
		if (end < word || (size_t)(end - word) >= size)
			return -E2BIG;
		memcpy(ret, word, (size_t)(end - word));
		ret[end - word] = '\0';
		return strchr(ret, '"') ? -EINVAL : 0;
	}
	return -ENOENT;
}

static int number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (errno || *end || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int text(const char *word, char *ret, size_t size)
{
	if (!*word || strlen(word) >= size)
		return -EINVAL;
	memcpy(ret, word, strlen(word) + 1);
	return 0;
}

/* A block that is wrong ends the machine: either word does, and one of them it is. */
static int set_options(struct root *r, char *const *w, size_t n)
{
	r->options = "panic_on_corruption";
	if (n == W_N_OPTIONS)
		return 0;
	if (n != N_WORDS || strcmp(w[W_N_OPTIONS], "1") != 0)
		return -EINVAL;
	if (strcmp(w[W_OPTION], "restart_on_corruption") == 0)
		r->options = "restart_on_corruption";
	else if (strcmp(w[W_OPTION], "panic_on_corruption") != 0)
		return -EINVAL;
	return 0;
}

static int parse_table(char *table, struct root *r, struct err *e)
{
	char *w[N_WORDS + 1], *save = NULL;
	size_t n = 0;
	uint64_t start = 1, type = 0, data_block = 0, hash_block = 0;
	struct verity *v = &r->verity;

	for (char *t = strtok_r(table, " ", &save); t && n <= N_WORDS;
	     t = strtok_r(NULL, " ", &save))
		w[n++] = t;
	if (n < W_N_OPTIONS || n > N_WORDS || strcmp(w[W_TARGET], "verity") != 0)
		return err_set(e, -EINVAL, CREATE ": not a table of one verity target");
	bool bad = number(w[W_START], 0, &start) < 0 ||
		   number(w[W_SECTORS], INT64_MAX / 512, &r->sectors) < 0 ||
		   number(w[W_HASH_TYPE], 1, &type) < 0 ||
		   text(w[W_DATA_DEVICE], r->data_device, sizeof r->data_device) < 0 ||
		   text(w[W_HASH_DEVICE], r->hash_device, sizeof r->hash_device) < 0 ||
		   number(w[W_DATA_BLOCK], UINT32_MAX, &data_block) < 0 ||
		   number(w[W_HASH_BLOCK], UINT32_MAX, &hash_block) < 0 ||
		   number(w[W_DATA_BLOCKS], INT64_MAX / 4096, &v->data_blocks) < 0 ||
		   number(w[W_HASH_START], INT64_MAX / 4096, &v->hash_start) < 0 ||
		   text(w[W_ALGORITHM], v->algorithm, sizeof v->algorithm) < 0 ||
		   verity_parse_hex(w[W_ROOT], sizeof v->root, v->root, &v->root_len) < 0;
	if (!bad && strcmp(w[W_SALT], "-") != 0)
		bad = verity_parse_hex(w[W_SALT], sizeof v->salt, v->salt, &v->salt_len) < 0;
	if (bad || set_options(r, w, n) < 0)
		return err_set(e, -EINVAL, CREATE ": a word of its verity table is wrong");
	v->hash_type = (unsigned)type;
	v->data_block_bytes = (uint32_t)data_block;
	v->hash_block_bytes = (uint32_t)hash_block;
	return 0;
}

/* "NAME,UUID,MINOR,FLAGS,TABLE"; UUID and MINOR are not used here. */
static int parse_create(char *create, struct root *r, struct err *e)
{
	char *rest = create;
	const char *name = strsep(&rest, ",");
	(void)strsep(&rest, ",");
	(void)strsep(&rest, ",");
	const char *flags = strsep(&rest, ",");

	if (!rest || strchr(create, '/') || text(name, r->name, sizeof r->name) < 0)
		return err_set(e, -EINVAL, CREATE ": not NAME,UUID,MINOR,FLAGS,TABLE");
	if (strcmp(flags, "ro") != 0)
		return err_set(e, -EINVAL, CREATE ": the device is not read-only");
	if (strpbrk(rest, ",;"))
		return err_set(e, -EINVAL, CREATE ": more than one table");
	return parse_table(rest, r, e);
}

int root_parse(const char *cmdline, struct root *ret, struct err *e)
{
	char create[ROOT_CMDLINE_MAX], device[64];
	struct root root = {.sectors = 0};

	int r = find_word(cmdline, CREATE, create, sizeof create);
	if (r == -ENOENT)
		return err_set(e, r,
			       "the kernel's command line has no " CREATE
			       ": there is no root that could be trusted");
	if (r < 0)
		return err_set(e, r, CREATE ": too long, or a quote is missing");
	r = parse_create(create, &root, e);
	if (r < 0)
		return r;
	/* the first mapped device, by the name that the kernel would give it */
	r = find_word(cmdline, "root=", device, sizeof device);
	if (r < 0 || strcmp(device, "/dev/dm-0") != 0)
		return err_set(e, -EINVAL, "root= is not /dev/dm-0, which " CREATE " makes");
	r = find_word(cmdline, "rootfstype=", root.fstype, sizeof root.fstype);
	if (r == 0 && strcmp(root.fstype, "erofs") != 0 && strcmp(root.fstype, "ext4") != 0)
		r = -EINVAL;
	if (r < 0)
		return err_set(e, -EINVAL, "rootfstype= is neither erofs nor ext4");
	if (root.sectors != verity_sectors(&root.verity))
		return err_set(e, -EINVAL, CREATE ": %llu sectors are not what its blocks make",
			       (unsigned long long)root.sectors);
	*ret = root;
	return 0;
}
