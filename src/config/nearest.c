/* SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean": the known name that a wrong one is closest to. */
#include "config/keys.h"

#include <stdlib.h>
#include <string.h>

/* Longer names are not looked at: the longest key has 41 bytes. */
#define NAME_MAX_LEN 63

static int min3(int a, int b, int c)
{
	int m = a < b ? a : b;
	return m < c ? m : c;
}

/*
 * The optimal string alignment distance: one for a letter wrong, missing or extra, and one for two
 * neighbours swapped. Three rows of the table are kept.
 */
static int distance(const char *a, int la, const char *b, int lb)
{
	int rows[3][NAME_MAX_LEN + 1];
	int *older = rows[0], *old = rows[1], *now = rows[2];

	for (int j = 0; j <= lb; j++)
		old[j] = j;
	for (int i = 1; i <= la; i++) {
		now[0] = i;
		for (int j = 1; j <= lb; j++) {
			int cost = a[i - 1] != b[j - 1];
			now[j] = min3(old[j] + 1, now[j - 1] + 1, old[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    older[j - 2] + 1 < now[j])
				now[j] = older[j - 2] + 1;
		}
		int *spare = older;
		older = old;
		old = now;
		now = spare;
	}
	return old[lb];
}

int config_slips(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	/* One slip in a short name, one more for each further six letters, at most four. */
	int allowed = 1 + (int)(la > lb ? la : lb) / 6;

	if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN || la == 0 || lb == 0)
		return -1;
	if (allowed > 4)
		allowed = 4;
	/* Each slip changes the length by at most one: most pairs need no table. */
	if (abs((int)la - (int)lb) > allowed)
		return -1;
	int d = distance(a, (int)la, b, (int)lb);
	return d <= allowed ? d : -1;
}

static const struct config_key *nearest(const char *name,
					const char *(*name_of)(const void *arg,
							       const struct config_key *k),
					const void *arg)
{
	const struct config_key *best = NULL;
	int fewest = 0;

	for (size_t i = 0; i < config_keys_count; i++) {
		const char *known = name_of(arg, &config_keys[i]);
		int d = known ? config_slips(known, name) : -1;
		if (d >= 0 && (!best || d < fewest)) {
			best = &config_keys[i];
			fewest = d;
		}
	}
	return best;
}

static const char *key_name(const void *arg, const struct config_key *k)
{
	const enum config_section *section = arg;
	return k->section == *section && !(k->flags & KEY_FOREIGN) ? k->name : NULL;
}

const struct config_key *config_key_nearest(enum config_section section, const char *name)
{
	return nearest(name, key_name, &section);
}

static const char *annotation_name(const void *arg, const struct config_key *k)
{
	return k->annotation;
}

const struct config_key *config_key_nearest_annotation(const char *name)
{
	return nearest(name, annotation_name, NULL);
}
