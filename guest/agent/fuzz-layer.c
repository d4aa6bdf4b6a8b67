/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of text as the options of layers (an empty line begins the next; one that is not an option
 * is the file system), and what follows a NUL as a superblock: refused, or numbers that fit the
 * device.
 */
#include "guest/agent/layer.h"

#include <string.h>

#define LAYERS 8
#define OPTIONS 32
#define DEVICE_BYTES (16ULL << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct layer_group *g, const uint8_t *superblock)
{
	if (g->n_lowers == 0 || !g->target)
		abort();
	for (size_t i = 0; i < g->n_lowers; i++) {
		struct verity v;
		const struct layer *l = &g->lowers[i];
		if (l->upper || !l->verity ||
		    layer_verity(l, superblock, DEVICE_BYTES, &v, NULL) < 0)
			continue;
		if (v.root_len < 32 || v.data_blocks * v.data_block_bytes > DEVICE_BYTES)
			abort();
	}
	for (size_t i = 0; i < g->n_mkdirs; i++)
		if (!g->mkdirs[i].path || g->mkdirs[i].mount > g->n_lowers)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Grpc__Storage storages[LAYERS];
	static char *options[LAYERS][OPTIONS];
	Grpc__Storage *v[LAYERS];
	uint8_t superblock[VERITY_SUPERBLOCK_BYTES] = {0};
	struct layer_group g;
	size_t n = 1;

	char *text = strndup((const char *)data, size);
	if (!text)
		return 0;
	size_t len = strlen(text);
	if (len < size) {
		size_t rest = size - len - 1;
		memcpy(superblock, data + len + 1,
		       rest < sizeof superblock ? rest : sizeof superblock);
	}
	for (size_t i = 0; i < LAYERS; i++) {
		grpc__storage__init(&storages[i]);
		storages[i].driver = (char *)"erofs.multi-layer";
		storages[i].fstype = (char *)"erofs";
		storages[i].options = options[i];
		v[i] = &storages[i];
	}
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n"));) {
		Grpc__Storage *s = v[n - 1];
		if (!*line && n < LAYERS)
			n++;
		else if (strncmp(line, "fs=", 3) == 0)
			s->fstype = line + 3;
		else if (*line && s->n_options < OPTIONS)
			s->options[s->n_options++] = line;
	}
	if (layer_group_parse(v, n, &g, NULL) == 0)
		check(&g, superblock);
	layer_group_free(&g);
	free(text);
	return 0;
}
