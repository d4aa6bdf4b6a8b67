/* SPDX-License-Identifier: Apache-2.0 */
/* Between toml.c and toml-parser.cc only. Plain C on both sides of it: no exception, no C++ type.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers are those of enum toml_type. */
struct toml_event {
	int type;
	const char *key; /* not NUL-terminated; NULL in an array */
	size_t key_len;
	uint32_t key_line, key_column, line, column;
	const char *string; /* not NUL-terminated */
	size_t string_len;
	int64_t integer;
	double number;
	int boolean;
};

struct toml_problem {
	uint32_t line, column;
	char text[512];
};

/**
 * Adds a child to @parent. Returns the child, or NULL to stop, having kept the reason. Provided by
 * toml.c.
 */
void *toml_builder_add(void *builder, void *parent, const struct toml_event *event);

/**
 * Parses, and calls toml_builder_add() for each node under @root, parents first. Returns 0; 1 if
 * the builder stopped it; -1 and @problem where the text is wrong. An allocation that fails ends
 * the process: without exceptions libstdc++ has no other way, and the caller's caps keep what a
 * text can ask for below 100 MiB.
 */
int toml_parser_run(const char *text, size_t len, void *builder, void *root,
		    struct toml_problem *problem);

#ifdef __cplusplus
}
#endif
