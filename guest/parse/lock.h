/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parser gives away before it reads: all but memory, its open descriptors and its end.
 * Done once, by the only thread. A build for a sanitizer keeps it all (lock-none.c), since its
 * runtime needs more than this leaves: it is for tests.
 */
#pragma once

/** 0, or a negative errno: then nothing may be read. */
int lock_in(void);
