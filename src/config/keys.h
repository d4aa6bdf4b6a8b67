/* SPDX-License-Identifier: Apache-2.0 */
/* The table of every key of configuration.toml, and what is known about each. Inside config/ only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_section {
	SECTION_RUNTIME,
	SECTION_HYPERVISOR, /* [hypervisor.<name>] */
	SECTION_FACTORY,    /* [hypervisor.<name>.factory] */
	SECTION_ROOTLESS_USER,
	SECTION_EXTENSION_IMAGE, /* [[hypervisor.<name>.guest_extension_images]] */
	SECTION_AGENT,		 /* [agent.<name>] */
	SECTION_MEM_AGENT,	 /* [agent.<name>.mem_agent] */
	SECTION_SHARED_MOUNT,	 /* [[runtime.shared_mounts]] */
};

enum config_type {
	TYPE_BOOL,
	TYPE_U32,
	TYPE_U64,
	TYPE_I64,
	TYPE_NUMBER, /* a double; whole numbers are welcome */
	TYPE_STRING,
	TYPE_STRINGS,
	TYPE_INTEGERS,
	TYPE_TABLE,  /* @sub says which section */
	TYPE_TABLES, /* an array of tables */
};

enum config_flag {
	KEY_FILE = 1 << 0,    /* a host file: must exist at load, and its links are resolved */
	KEY_PROGRAM = 1 << 1, /* a host file that must be executable */
	KEY_ZERO = 1 << 2,    /* 0 means unset, as the empty string does for every string */
	KEY_FOREIGN = 1 << 3, /* of the Go runtime's configuration only: warned about */
};

/* How the value of the annotation is taken. */
enum config_how {
	HOW_VALUE,	   /* as the key's type */
	HOW_SWITCH,	   /* chooses a table; ignored if there is none */
	HOW_PATH,	   /* must match one of the patterns in the key @patterns */
	HOW_KERNEL_PARAMS, /* replaces parameters of the same name, appends the others */
	HOW_MEMORY,	   /* MiB, or with a unit */
	HOW_COMMAS,	   /* a list, appended */
	HOW_SEMICOLONS,
	HOW_REFUSED, /* never honoured from a workload */
};

#define KEY_NOT_ACTED_ON 0

struct config_key {
	enum config_section section;
	const char *name;
	const char *alias; /* also accepted */
	enum config_type type;
	enum config_section sub;
	unsigned flags;
	/* Where it goes in struct kata_config; KEY_NOT_ACTED_ON: accepted, checked, and that is
	 * all. (Offset 0 is `file`, which is no key.) */
	size_t offset;
	const char *preset;  /* the default as text; NULL: false, 0, "" or empty */
	const char *choices; /* "a|b|c"; NULL: any */
	int64_t min, max;    /* for whole numbers; both 0: what the type holds */
	/* Without its prefix io.katacontainers.config. */
	const char *annotation;
	enum config_how how;
	const char *patterns;
};

/* An upper bound for arrays with one entry a key; keys.c asserts it. */
#define CONFIG_KEYS_MAX 224

extern const struct config_key config_keys[];
extern const size_t config_keys_count;

/** "hypervisor.<name>" and so on: how a section is spelled in messages and documents. */
const char *config_section_title(enum config_section section);
/** By name or alias; NULL if the section has no such key. */
const struct config_key *config_key_find(enum config_section section, const char *name);
/** The key that @name (without the common prefix) sets; NULL if none. */
const struct config_key *config_key_by_annotation(const char *name);
/** The known key of the section that @name was probably meant to be; NULL if none is close. */
const struct config_key *config_key_nearest(enum config_section section, const char *name);
/** As config_key_nearest(), among annotations. */
const struct config_key *config_key_nearest_annotation(const char *name);
static inline size_t config_key_index(const struct config_key *key)
{
	return (size_t)(key - config_keys);
}

/**
 * Whether two names differ by so few slips (a letter wrong, missing, extra, or two swapped) that
 * one was probably meant to be the other. Returns the number of slips, or -1.
 */
int config_slips(const char *a, const char *b);
