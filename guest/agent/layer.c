/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/layer.h"

#include <string.h>

#define FAMILY "X-kata."
#define DRIVER "erofs.multi-layer"
/* Numbers that come from there fit a disk of any size. */
#define NUMBER_MAX (UINT64_MAX / 1024)

enum option {
	OVERLAY_UPPER,
	OVERLAY_LOWER,
	MULTI_LAYER,
	GPT_PARTITIONED,
	PARTITION_NUMBER,
	MKDIR_PATH,
	VERITY_ENABLED,
	VERITY_ROOT_HASH,
	VERITY_HASH_OFFSET,
	VERITY_BLOCK_SIZE,
	VERITY_HASH_SIZE,
	VERITY_ALGORITHM,
	VERITY_SALT,
	VERITY_HASH_TYPE,
	VERITY_NO_SUPERBLOCK,
	N_OPTIONS,
};

static const struct {
	const char *name;
	bool flag; /* without a value */
} options[N_OPTIONS] = {
	[OVERLAY_UPPER] = {"overlay-upper", true},
	[OVERLAY_LOWER] = {"overlay-lower", true},
	[MULTI_LAYER] = {"multi-layer", false},
	[GPT_PARTITIONED] = {"gpt-partitioned", false},
	[PARTITION_NUMBER] = {"partition-number", false},
	[MKDIR_PATH] = {"mkdir.path", false},
	[VERITY_ENABLED] = {"dmverity-enabled", false},
	[VERITY_ROOT_HASH] = {"dmverity.roothash", false},
	[VERITY_HASH_OFFSET] = {"dmverity.hashoffset", false},
	[VERITY_BLOCK_SIZE] = {"dmverity.blocksize", false},
	[VERITY_HASH_SIZE] = {"dmverity.hashsize", false},
	[VERITY_ALGORITHM] = {"dmverity.algorithm", false},
	[VERITY_SALT] = {"dmverity.salt", false},
	[VERITY_HASH_TYPE] = {"dmverity.hashtype", false},
	[VERITY_NO_SUPERBLOCK] = {"dmverity.no-superblock", false},
};

static bool given(const struct layer *l, enum option o)
{
	return l->given & 1U << o;
}

bool layer_is_one(const Grpc__Storage *s)
{
	if (strcmp(s->driver, DRIVER) == 0)
		return true;
	for (size_t i = 0; i < s->n_options; i++)
		if (strcmp(s->options[i], FAMILY "multi-layer=true") == 0)
			return true;
	return false;
}

const char *layer_device_driver(const Grpc__Storage *s)
{
	if (strcmp(s->driver, DRIVER) != 0)
		return s->driver;
	return strchr(s->source, ':') ? "scsi" : "blk";
}

/* ---- Values ------------------------------------------------------------------------------- */

static int parse_number(const char *text, int base, uint64_t max, uint64_t *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	unsigned long long n = strtoull(text, &end, base);
	if (errno || *end || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int parse_bool(const char *text, bool *ret)
{
	*ret = strcmp(text, "true") == 0;
	return *ret || strcmp(text, "false") == 0 ? 0 : -EINVAL;
}

static int parse_u32(const char *text, uint32_t *ret)
{
	uint64_t n;
	int r = parse_number(text, 10, UINT32_MAX, &n);
	if (r == 0)
		*ret = (uint32_t)n;
	return r;
}

static int parse_algorithm(const char *text, struct verity *v)
{
	if (verity_digest_bytes(text) < 0)
		return -EINVAL;
	(void)snprintf(v->algorithm, sizeof v->algorithm, "%s", text);
	return 0;
}

/* "{{ mount 1 }}/etc", or a path in the upper layer. Returns what follows the template. */
static const char *parse_template(const char *text, unsigned *ret_mount)
{
	static const char begin[] = "{{ mount ", end[] = " }}";
	char *after;

	*ret_mount = 0;
	if (strncmp(text, begin, sizeof begin - 1) != 0)
		return strstr(text, "{{") ? NULL : text;
	text += sizeof begin - 1;
	if (*text < '0' || *text > '9')
		return NULL;
	unsigned long n = strtoul(text, &after, 10);
	if (n > LAYERS_MAX || strncmp(after, end, sizeof end - 1) != 0)
		return NULL;
	*ret_mount = (unsigned)n;
	after += sizeof end - 1;
	return (*after == '/' || *after == ':' || !*after) && !strstr(after, "{{") ? after : NULL;
}

/* "PATH[:MODE[:UID[:GID]]]" */
static int parse_mkdir(const char *text, struct layer_mkdir *ret)
{
	struct layer_mkdir m = {.mode = 0755};
	uint64_t mode = m.mode, uid = 0, gid = 0;
	int r = 0;

	const char *path = parse_template(text, &m.mount);
	if (!path)
		return -EINVAL;
	m.path = strdup(path);
	if (!m.path)
		return -ENOMEM;
	char *rest = m.path;
	(void)strsep(&rest, ":");
	char *field = strsep(&rest, ":");
	if (field && *field)
		r = parse_number(field, 8, 07777, &mode);
	field = strsep(&rest, ":");
	if (r == 0 && field && *field)
		r = parse_number(field, 10, UINT32_MAX - 1, &uid);
	field = strsep(&rest, ":");
	if (r == 0 && field && *field)
		r = parse_number(field, 10, UINT32_MAX - 1, &gid);
	if (r < 0 || rest) {
		free(m.path);
		return -EINVAL;
	}
	m.mode = (mode_t)mode;
	m.uid = (uid_t)uid;
	m.gid = (gid_t)gid;
	*ret = m;
	return 0;
}

static int add_mkdir(struct layer_group *g, const char *text)
{
	if (g->n_mkdirs == LAYER_MKDIRS_MAX)
		return -E2BIG;
	if (!g->mkdirs)
		g->mkdirs = calloc(LAYER_MKDIRS_MAX, sizeof *g->mkdirs);
	if (!g->mkdirs)
		return -ENOMEM;
	int r = parse_mkdir(text, &g->mkdirs[g->n_mkdirs]);
	if (r == 0)
		g->n_mkdirs++;
	return r;
}

/* ---- One layer ---------------------------------------------------------------------------- */

static int set_option(struct layer_group *g, struct layer *l, enum option o, const char *value)
{
	uint64_t n = 0;
	bool b = false;
	int r = 0;

	switch (o) {
	case OVERLAY_UPPER:
		l->upper = true;
		break;
	case OVERLAY_LOWER:
	case N_OPTIONS:
		break;
	case MULTI_LAYER:
		r = parse_bool(value, &b);
		break;
	case GPT_PARTITIONED:
		r = parse_bool(value, &b);
		if (r == 0 && !b)
			l->given &= ~(1U << GPT_PARTITIONED);
		break;
	case PARTITION_NUMBER:
		r = parse_number(value, 10, 1024, &n);
		l->partition = (unsigned)n;
		return r == 0 && n == 0 ? -EINVAL : r;
	case MKDIR_PATH:
		return add_mkdir(g, value);
	case VERITY_ENABLED:
		return parse_bool(value, &l->verity);
	case VERITY_ROOT_HASH:
		return verity_parse_hex(value, sizeof l->said.root, l->said.root,
					&l->said.root_len);
	case VERITY_HASH_OFFSET:
		return parse_number(value, 10, NUMBER_MAX, &l->hash_offset);
	case VERITY_BLOCK_SIZE:
		return parse_u32(value, &l->said.data_block_bytes);
	case VERITY_HASH_SIZE:
		return parse_u32(value, &l->said.hash_block_bytes);
	case VERITY_ALGORITHM:
		return parse_algorithm(value, &l->said);
	case VERITY_SALT:
		return strcmp(value, "-") == 0 || !*value
			       ? 0
			       : verity_parse_hex(value, sizeof l->said.salt, l->said.salt,
						  &l->said.salt_len);
	case VERITY_HASH_TYPE:
		r = parse_number(value, 10, 1, &n);
		l->said.hash_type = (unsigned)n;
		break;
	case VERITY_NO_SUPERBLOCK:
		return parse_bool(value, &l->no_superblock);
	}
	return r;
}

/* @text is what follows the family's name. */
static int parse_option(struct layer_group *g, struct layer *l, const char *text, struct err *e)
{
	size_t len = strcspn(text, "=");

	for (int o = 0; o < N_OPTIONS; o++) {
		if (strlen(options[o].name) != len || strncmp(options[o].name, text, len) != 0 ||
		    options[o].flag != !text[len])
			continue;
		if (given(l, (enum option)o) && o != MKDIR_PATH)
			return err_set(e, -EINVAL, "option " FAMILY "%s is given twice",
				       options[o].name);
		l->given |= 1U << o;
		int r = set_option(g, l, (enum option)o, options[o].flag ? "" : text + len + 1);
		return r < 0 ? err_set(e, r, "option " FAMILY "%.200s: not a value for it", text)
			     : 0;
	}
	return err_set(e, -EINVAL, "option " FAMILY "%.200s is not known", text);
}

/* What belongs together, and what excludes each other. */
static int check_layer(const struct layer *l, struct err *e)
{
	const char *fstype = l->s->fstype;

	if (l->s->fs_group)
		return err_status(e, STATUS_UNIMPLEMENTED, "fs_group is not supported for a layer");
	if (l->upper && given(l, OVERLAY_LOWER))
		return err_set(e, -EINVAL, "a layer is both upper and lower");
	if (l->upper ? strcmp(fstype, "ext4") != 0 : strcmp(fstype, "erofs") != 0)
		return err_set(e, -EINVAL, "%s layer: file system \"%s\" is not %s",
			       l->upper ? "upper" : "lower", fstype, l->upper ? "ext4" : "erofs");
	if (given(l, GPT_PARTITIONED) != given(l, PARTITION_NUMBER))
		return err_set(e, -EINVAL,
			       "options " FAMILY "gpt-partitioned and " FAMILY
			       "partition-number: one without the other");
	if (!l->verity && l->given >> VERITY_ROOT_HASH)
		return err_set(e, -EINVAL,
			       "options " FAMILY "dmverity.*: without " FAMILY
			       "dmverity-enabled=true they would protect nothing");
	if (!l->verity)
		return 0;
	if (l->upper)
		return err_set(e, -EINVAL, "an upper layer cannot be protected by dm-verity");
	if (!given(l, VERITY_ROOT_HASH) || !given(l, VERITY_HASH_OFFSET))
		return err_set(e, -EINVAL,
			       "dm-verity: " FAMILY "dmverity.roothash or " FAMILY
			       "dmverity.hashoffset is missing");
	return 0;
}

static int parse_layer(struct layer_group *g, const Grpc__Storage *s, struct layer *ret,
		       struct err *e)
{
	struct layer l = {.s = s};
	int r = 0;

	l.options.v = calloc(s->n_options + 1, sizeof *l.options.v);
	if (!l.options.v)
		return err_set(e, -ENOMEM, "no memory for a layer's options");
	for (size_t i = 0; r == 0 && i < s->n_options; i++) {
		if (strncmp(s->options[i], FAMILY, strlen(FAMILY)) == 0)
			r = parse_option(g, &l, s->options[i] + strlen(FAMILY), e);
		else
			l.options.v[l.options.n++] = s->options[i];
	}
	/* a layer that does not say which it is says it by its file system */
	if (!given(&l, OVERLAY_LOWER) && !given(&l, OVERLAY_UPPER))
		l.upper = strcmp(s->fstype, "ext4") == 0;
	if (r == 0)
		r = check_layer(&l, e);
	if (r < 0) {
		free(l.options.v);
		return r;
	}
	*ret = l;
	return 0;
}

/* ---- The group ---------------------------------------------------------------------------- */

static int add_layer(struct layer_group *g, const Grpc__Storage *s, struct err *e)
{
	struct layer l;

	int r = parse_layer(g, s, &l, e);
	if (r < 0)
		return err_wrap(e, r, "layer %.100s", s->source);
	if (!l.upper && g->n_lowers < LAYERS_MAX) {
		g->lowers[g->n_lowers++] = l;
		return 0;
	}
	if (l.upper && !g->has_upper) {
		g->upper = l;
		g->has_upper = true;
		return 0;
	}
	free(l.options.v);
	return l.upper ? err_set(e, -EINVAL, "more than one upper layer")
		       : err_set(e, -E2BIG, "more than %d lower layers", LAYERS_MAX);
}

/* By number, stably: those of no partition keep the order that they came in, which is theirs. */
static void sort_lowers(struct layer_group *g)
{
	for (size_t i = 1; i < g->n_lowers; i++) {
		struct layer l = g->lowers[i];
		size_t k = i;
		for (; k > 0 && g->lowers[k - 1].partition > l.partition; k--)
			g->lowers[k] = g->lowers[k - 1];
		g->lowers[k] = l;
	}
}

static int check_group(const struct layer_group *g, struct err *e)
{
	if (g->n_lowers == 0)
		return err_set(e, -EINVAL, "there is no lower layer");
	for (size_t i = 1; i < g->n_lowers; i++) {
		const struct layer *a = &g->lowers[i - 1], *b = &g->lowers[i];
		if (!a->partition != !b->partition)
			return err_set(e, -EINVAL,
				       "layers %.100s and %.100s: only one is a partition, which "
				       "leaves their order open",
				       a->s->source, b->s->source);
		if (a->partition && a->partition == b->partition)
			return err_set(e, -EINVAL, "layers %.100s and %.100s are both partition %u",
				       a->s->source, b->s->source, a->partition);
	}
	for (size_t i = 0; i < g->n_mkdirs; i++)
		if (g->mkdirs[i].mount > g->n_lowers)
			return err_set(e, -EINVAL,
				       "option " FAMILY
				       "mkdir.path: there are %zu lower layers, not %u",
				       g->n_lowers, g->mkdirs[i].mount);
	return 0;
}

int layer_group_parse(Grpc__Storage *const *v, size_t n, struct layer_group *ret, struct err *e)
{
	int r = 0;

	*ret = (struct layer_group){.n_lowers = 0};
	ret->lowers = calloc(LAYERS_MAX, sizeof *ret->lowers);
	if (!ret->lowers)
		return err_set(e, -ENOMEM, "no memory for layers");
	for (size_t i = 0; r == 0 && i < n; i++)
		if (layer_is_one(v[i]))
			r = add_layer(ret, v[i], e);
	if (r < 0)
		return r;
	sort_lowers(ret);
	r = check_group(ret, e);
	if (r == 0)
		ret->target = ret->has_upper ? ret->upper.s : ret->lowers[0].s;
	return r;
}

void layer_group_free(struct layer_group *g)
{
	for (size_t i = 0; i < g->n_lowers; i++)
		free(g->lowers[i].options.v);
	for (size_t i = 0; i < g->n_mkdirs; i++)
		free(g->mkdirs[i].path);
	free(g->upper.options.v);
	free(g->lowers);
	free(g->mkdirs);
}

/* ---- What protects it --------------------------------------------------------------------- */

/* A superblock says what the options leave out, and must say the same where both speak. */
static int complete(const struct layer *l, const void *superblock, struct verity *v, struct err *e)
{
	struct verity sb;

	int r = verity_parse_superblock(superblock, VERITY_SUPERBLOCK_BYTES, &sb, e);
	if (r < 0)
		return r;
	const char *differs = NULL;
	if (given(l, VERITY_BLOCK_SIZE) && sb.data_block_bytes != v->data_block_bytes)
		differs = "blocksize";
	else if (given(l, VERITY_HASH_SIZE) && sb.hash_block_bytes != v->hash_block_bytes)
		differs = "hashsize";
	else if (given(l, VERITY_ALGORITHM) && strcmp(sb.algorithm, v->algorithm) != 0)
		differs = "algorithm";
	else if (given(l, VERITY_HASH_TYPE) && sb.hash_type != v->hash_type)
		differs = "hashtype";
	else if (given(l, VERITY_SALT) &&
		 (sb.salt_len != v->salt_len || memcmp(sb.salt, v->salt, v->salt_len) != 0))
		differs = "salt";
	if (differs)
		return err_set(e, -EINVAL,
			       "option " FAMILY "dmverity.%s is not what the superblock says",
			       differs);
	memcpy(sb.root, v->root, sizeof sb.root);
	sb.root_len = v->root_len;
	*v = sb;
	return 0;
}

int layer_verity(const struct layer *l, const void *superblock, uint64_t device_bytes,
		 struct verity *ret, struct err *e)
{
	struct verity v = l->said;

	if (!given(l, VERITY_HASH_TYPE))
		v.hash_type = 1;
	if (!given(l, VERITY_BLOCK_SIZE))
		v.data_block_bytes = 4096;
	if (!given(l, VERITY_HASH_SIZE))
		v.hash_block_bytes = 4096;
	if (!given(l, VERITY_ALGORITHM))
		(void)parse_algorithm("sha256", &v);
	if (!l->no_superblock) {
		int r = complete(l, superblock, &v, e);
		if (r < 0)
			return r;
	}
	if (v.data_block_bytes == 0 || v.hash_block_bytes == 0 ||
	    l->hash_offset % v.data_block_bytes || l->hash_offset % v.hash_block_bytes)
		return err_set(
			e, -EINVAL,
			"option " FAMILY "dmverity.hashoffset=%llu: not a multiple of blocks "
			"of %u and %u bytes",
			(unsigned long long)l->hash_offset, v.data_block_bytes, v.hash_block_bytes);
	/* all that lies before is data, but for what a superblock calls padding */
	uint64_t blocks = l->hash_offset / v.data_block_bytes;
	if (!l->no_superblock && v.data_blocks > blocks)
		return err_set(
			e, -EINVAL,
			"the verity superblock is about %llu data blocks, but lies behind %llu",
			(unsigned long long)v.data_blocks, (unsigned long long)blocks);
	if (l->no_superblock)
		v.data_blocks = blocks;
	/* the tree begins in the block after the superblock's */
	v.hash_start = l->hash_offset / v.hash_block_bytes + !l->no_superblock;
	*ret = v;
	return verity_check(ret, device_bytes, 0, e);
}
