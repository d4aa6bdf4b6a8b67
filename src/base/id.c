/* SPDX-License-Identifier: Apache-2.0 */
#include "base/id.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define ID_MAX 255

static bool is_alnum(char c)
{
	return isalnum((unsigned char)c) && (unsigned char)c < 128;
}

int id_check(const char *what, const char *id, struct err *e)
{
	size_t n = strlen(id);
	if (n == 0)
		return err_set(e, -EINVAL, "%s is empty", what);
	if (n > ID_MAX)
		return err_set(e, -EINVAL, "%s \"%.300s\" must have 1 to %d characters", what, id,
			       ID_MAX);
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(id[i]) && (i == 0 || !strchr("._-", id[i])))
			return err_set(
				e, -EINVAL,
				"%s \"%s\" must be letters, digits and, not first, \". _ -\"", what,
				id);
	return 0;
}
