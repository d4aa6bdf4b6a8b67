/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of the runtime specification, and what they stand for in the kernel's headers. One
 * table each, used to read, to write and to say what would have been right.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct oci_word {
	const char *name; /* NULL ends a table */
	int64_t value;
};

extern const struct oci_word oci_namespace_words[];	 /* enum oci_ns_type, as in config.json */
extern const struct oci_word oci_namespace_wire_words[]; /* also "mnt" and "net"; those first */
extern const struct oci_word oci_rlimit_words[];	 /* RLIMIT_* */
extern const struct oci_word oci_io_class_words[];	 /* IOPRIO_CLASS_* */
extern const struct oci_word oci_sched_policy_words[];	 /* SCHED_* */
extern const struct oci_word oci_sched_flag_words[];	 /* SCHED_FLAG_* */
extern const struct oci_word oci_personality_words[];	 /* PER_* */
extern const struct oci_word oci_device_type_words[];	 /* 'c' 'b' 'u' 'p' */
extern const struct oci_word oci_rule_type_words[];	 /* 'a' 'c' 'b' */
/* These are kept as strings; the values mean nothing. */
extern const struct oci_word oci_seccomp_action_words[];
extern const struct oci_word oci_seccomp_arch_words[];
extern const struct oci_word oci_seccomp_op_words[];
extern const struct oci_word oci_seccomp_flag_words[];
extern const struct oci_word oci_propagation_words[];

/* Enough for the longest list. */
#define OCI_WORDS_TEXT_MAX 512

bool oci_word_find(const struct oci_word *words, const char *name, int64_t *ret);
/** The first name of a value, or NULL. */
const char *oci_word_name(const struct oci_word *words, int64_t value);
/** "a, b, c" for a sentence, into an array of OCI_WORDS_TEXT_MAX; returns it. */
const char *oci_words_text(const struct oci_word *words, char *dst);
