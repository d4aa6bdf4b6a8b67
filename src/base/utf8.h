/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 (RFC 3629). Text from outside is looked at before it goes where UTF-8 is a must: strings of
 * protobuf messages, JSON, messages for people.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/**
 * Bytes of the character at @s, which is NUL-terminated: 1 to 4, and 1 at the NUL itself. 0 if what
 * is there is no UTF-8: a stray or missing continuation, a form that is too long, a surrogate, or
 * beyond U+10FFFF.
 */
size_t utf8_char(const char *s);
/** Whether the whole string is. */
bool utf8_valid(const char *s);
