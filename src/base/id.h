/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

/**
 * Ids from outside become names of directories and sockets: a letter or digit first, then also
 * ". _ -"; 2 to 255 bytes (NAME_MAX). @what names the field in the sentence.
 */
int id_check(const char *what, const char *id, struct err *e);
