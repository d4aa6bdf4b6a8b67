/* SPDX-License-Identifier: Apache-2.0 */
/* What every cmocka program needs, in the order that cmocka needs it. Tests only. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/** Runs a static array of CMUnitTest named `tests`. */
#define RUN_TESTS() cmocka_run_group_tests(tests, NULL, NULL)
