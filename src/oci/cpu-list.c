/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/cpu-list.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>

#define WORD_BITS (8 * sizeof(unsigned long))

static int take_number(const char **p, unsigned *ret)
{
	unsigned v = 0;

	if (!isdigit((unsigned char)**p))
		return -EINVAL;
	for (; isdigit((unsigned char)**p); (*p)++) {
		v = v * 10 + (unsigned)(**p - '0');
		if (v >= OCI_CPUS_MAX)
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

int oci_cpu_list_parse(const char *text, struct oci_cpu_set *ret)
{
	struct oci_cpu_set set = {.bits = {0}};

	for (const char *p = text;; p++) {
		unsigned first = 0, last = 0;
		int r = take_number(&p, &first);
		last = first;
		if (r == 0 && *p == '-') {
			p++;
			r = take_number(&p, &last);
		}
		if (r < 0)
			return r;
		if (last < first || (*p && *p != ','))
			return -EINVAL;
		for (unsigned i = first; i <= last; i++)
			set.bits[i / WORD_BITS] |= 1UL << i % WORD_BITS;
		if (!*p)
			break;
	}
	if (ret)
		*ret = set;
	return 0;
}
