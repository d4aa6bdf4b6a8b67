/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on scattered buffers. Nothing here trusts that a header lies in one piece. */
#pragma once

#include <stddef.h>
#include <sys/uio.h>

/** The bytes of all @n pieces. */
size_t iov_total(const struct iovec *iov, unsigned n);
/** Copies up to @len bytes out of the pieces; returns how many there were. */
size_t iov_to_buf(const struct iovec *iov, unsigned n, void *dst, size_t len);
/** Copies up to @len bytes into the pieces; returns how many fitted. */
size_t iov_from_buf(const struct iovec *iov, unsigned n, const void *src, size_t len);
/**
 * The part [skip, skip+len) of the pieces as pieces of its own, at most @max of them; returns their
 * number. @dst may be @iov itself.
 */
unsigned iov_slice(const struct iovec *iov, unsigned n, size_t skip, size_t len, struct iovec *dst,
		   unsigned max);
