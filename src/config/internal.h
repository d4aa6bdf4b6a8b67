/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of config/ share while one configuration is loaded.
 *
 *	files.c        finds the text, parses it, lays the drop-ins over it
 *	tree.c         goes through the tree: known keys become values, others become warnings
 *	annotations.c  lays the pod's annotations over the values
 *	check.c        fills in defaults and refuses what is wrong
 *	load.c         calls these in order and moves the values into struct kata_config
 *	value.c        what all of them need: memory, values, and sentences about them
 */
#pragma once

#include "base/buf.h"
#include "config/config.h"
#include "config/keys.h"
#include "fmt/toml.h"

/* A text full of unknown keys must not fill the log. */
#define CONFIG_WARNINGS_MAX 32
/* The largest COMMAND_LINE_SIZE of an architecture; the kernel would cut a longer one silently. */
#define CONFIG_KERNEL_PARAMS_MAX 4096

enum config_from {
	FROM_PRESET,
	FROM_FILE,
	FROM_ANNOTATION,
};

/* Where a value came from. Small: one is kept for each key. */
struct config_origin {
	const char *where; /* the file, or the annotation's whole name */
	uint32_t line;
	uint8_t from;  /* enum config_from */
	bool adjusted; /* the value was fitted to the machine or to a bound */
};

struct config_value {
	struct config_origin origin;
	union {
		bool boolean;
		int64_t integer; /* U64 too: TOML has no number above INT64_MAX */
		double number;
		const char *string;
		struct config_strv strings;
	};
};

struct config_block;

/* Memory that is freed whole. */
struct config_arena {
	struct config_block *blocks;
};

/*
 * kata_config.arena: what lives as long as the configuration, in a process that lives as long as a
 * pod. It is filled at the end, when trees and values can be freed.
 */
struct config_kept {
	struct config_arena arena;
	struct config_origin origins[]; /* by key */
};

/* Facts about this machine that values are checked against. Tests and fuzzers bring their own. */
struct config_host {
	uint32_t cpus;
	uint64_t memory_mib;
	const char *env_file;		  /* $KATA_CONF_FILE; NULL: not set */
	const char *const *default_files; /* NULL-terminated, in order */
};

/* What is known about a hypervisor of the field. */
struct config_profile {
	const char *name;
	const char *path; /* its default */
	uint32_t max_vcpus, min_memory_mib;
	bool checked; /* there is a driver for it that boots a kernel: check what that needs */
};

struct config_load {
	struct config_arena arena; /* for values; freed with this */
	const char *base_file;
	const struct config_host *host;
	const struct config_profile *profile;
	const char *hypervisor_name, *agent_name; /* of the chosen tables */
	config_warn_fn warn;
	void *warn_arg;
	unsigned warnings;
	struct err *e;
	/* The last file name that was copied out of a tree: see tree.c. */
	const char *file_in_tree, *file;
	struct config_value values[CONFIG_KEYS_MAX];
};

int config_load_on(const struct config_host *host, const struct config_source *src,
		   config_warn_fn warn, void *warn_arg, struct kata_config **ret, struct err *e);

/* ---- value.c ----------------------------------------------------------------------------------
 */

/** NULL if there is no memory left. */
void *config_alloc(struct config_arena *arena, size_t size);
char *config_strndup(struct config_arena *arena, const char *s, size_t len);
void config_arena_free(struct config_arena *arena);

void config_warn(struct config_load *l, const char *fmt, ...) _printf_(2, 3);
/** False once warnings are only counted. */
static inline bool config_warnings_left(const struct config_load *l)
{
	return l->warn && l->warnings < CONFIG_WARNINGS_MAX;
}
int config_no_memory(struct config_load *l);

/** The value of a key that exists. */
struct config_value *config_value(struct config_load *l, enum config_section section,
				  const char *name);
static inline struct config_value *config_hypervisor_value(struct config_load *l, const char *name)
{
	return config_value(l, SECTION_HYPERVISOR, name);
}

/**
 * Appends @s in quotes; control characters and what is not UTF-8 are escaped, and a long text is
 * cut.
 */
void config_print_string(struct buf *b, const char *s);
void config_print_value(struct buf *b, const struct config_key *key, const struct config_value *v);
/** The name of a table or key, in quotes where TOML would want them. */
void config_print_name(struct buf *b, const char *name);
/** "[hypervisor.qemu]"; @name NULL prints "<name>". */
void config_print_table(struct buf *b, enum config_section section, const char *name);
/** The same with the name of the chosen table. */
void config_print_section(struct buf *b, const struct config_load *l, enum config_section section);
/** Whether a whole number is within the key's bounds. */
bool config_integer_fits(const struct config_key *key, int64_t n);
/** "/etc/x.toml:12", "default", "annotation io..." */
void config_print_origin(struct buf *b, const struct config_origin *origin);
/** What values the key's type takes: "must be a number". */
void config_print_rule(struct buf *b, const struct config_key *key);

/**
 * Refuses the value that a key has: "KEY in [SECTION] at FILE:LINE is VALUE: RULE", or, set by an
 * annotation, "annotation NAME is VALUE: RULE".
 */
int config_refuse(struct config_load *l, const struct config_key *key, const char *rule, ...)
	_printf_(3, 4);

/** Reads a value of the key's type from text (an annotation or a preset). Returns 0 or -EINVAL. */
int config_value_from_text(struct config_load *l, const struct config_key *key, const char *text,
			   struct config_value *v);
/** Adds a string to a list. */
int config_strv_add(struct config_load *l, struct config_strv *s, const char *text, size_t len);

/* ---- the others -------------------------------------------------------------------------------
 */

/** The base tree with its drop-ins. @docs (at most @max) hold it and are to be freed after use. */
struct config_docs {
	struct toml_doc **docs;
	size_t n, cap;
};
void config_docs_free(struct config_docs *d);
/** Returns the root in @ret; sets base_file. */
int config_read_files(struct config_load *l, const struct config_source *src,
		      struct config_docs *docs, struct toml_node **ret);

/** Reads [runtime], which says what the other tables are read for. */
int config_read_runtime(struct config_load *l, const struct toml_node *root);
/** Reads the chosen tables, and warns about what is unknown anywhere. */
int config_read_tables(struct config_load *l, const struct toml_node *root);
/** The table [section.name], or NULL. */
const struct toml_node *config_named_table(const struct toml_node *root, const char *section,
					   const char *name);

/** Lets annotations choose hypervisor and agent. */
int config_switch_by_annotations(struct config_load *l, const char *const *annotations,
				 const struct toml_node *root);
/** Lays the other annotations over the values. */
int config_apply_annotations(struct config_load *l, const char *const *annotations);
/** Whether one of the patterns of a valid_*_paths key matches, as glob(3) would. */
bool config_path_allowed(const struct config_strv *patterns, const char *path);

void config_preset_all(struct config_load *l);
const struct config_profile *config_profile_find(const char *name);
int config_check(struct config_load *l);

/** Puts @params over @base: those of the same name are replaced, the others follow. Owned. */
char *config_merge_kernel_params(const char *base, const char *params);
/** Makes agent.mem_agent from the values of [agent.<name>.mem_agent]. */
int config_collect_mem_agent(struct config_load *l, struct config_strv *ret);
