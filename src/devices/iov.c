/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/iov.h"

#include <stdint.h>
#include <string.h>

size_t iov_total(const struct iovec *iov, unsigned n)
{
	size_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

size_t iov_to_buf(const struct iovec *iov, unsigned n, void *dst, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		size_t part = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;
		memcpy((uint8_t *)dst + done, iov[i].iov_base, part);
		done += part;
	}
	return done;
}

size_t iov_from_buf(const struct iovec *iov, unsigned n, const void *src, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		size_t part = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;
		memcpy(iov[i].iov_base, (const uint8_t *)src + done, part);
		done += part;
	}
	return done;
}

unsigned iov_slice(const struct iovec *iov, unsigned n, size_t skip, size_t len, struct iovec *dst,
		   unsigned max)
{
	unsigned out = 0;

	for (unsigned i = 0; i < n && len > 0 && out < max; i++) {
		size_t here = iov[i].iov_len;
		if (skip >= here) {
			skip -= here;
			continue;
		}
		uint8_t *base = (uint8_t *)iov[i].iov_base + skip;
		here -= skip;
		skip = 0;
		if (here > len)
			here = len;
		dst[out++] = (struct iovec){.iov_base = base, .iov_len = here};
		len -= here;
	}
	return out;
}
