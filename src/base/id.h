/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

/**
 * Ids from outside become names of directories and sockets: a letter or digit first, then also
 * ". _ -"; 1 to 255 bytes (NAME_MAX). Every identifier of containerd (1 to 76 bytes) is one.
 * @what names the field in the sentence.
 */
int id_check(const char *what, const char *id, struct err *e);
