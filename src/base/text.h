/* SPDX-License-Identifier: Apache-2.0 */
/* Strings of others, in which "" and NULL both mean that nothing was given. */
#pragma once

#include <stdbool.h>

static inline bool text_is_given(const char *s)
{
	return s && s[0];
}
