/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the generated programs on a small machine that knows just the instructions used. */
#include "base/testing.h"

#include "engine/device-filter.h"

#include <string.h>

static uint64_t alu(const struct bpf_insn *i, uint64_t dst, uint64_t operand)
{
	switch (BPF_OP(i->code)) {
	case BPF_MOV:
		return (uint32_t)operand;
	case BPF_AND:
		return (uint32_t)(dst & operand);
	case BPF_RSH:
		return (uint32_t)dst >> operand;
	default:
		fail_msg("operation %x", i->code);
		return 0;
	}
}

static bool jumps(const struct bpf_insn *i, uint64_t dst, uint64_t operand)
{
	assert_true(BPF_OP(i->code) == BPF_JNE || BPF_OP(i->code) == BPF_JEQ);
	assert_true(i->off > 0);
	return (BPF_OP(i->code) == BPF_JEQ) == (dst == operand);
}

static int interpret(const struct bpf_insn *insns, size_t n, struct bpf_cgroup_dev_ctx *ctx)
{
	uint64_t reg[11] = {0};
	bool set[11] = {[1] = true};
	for (size_t pc = 0; pc < n; pc++) {
		const struct bpf_insn *i = &insns[pc];
		uint64_t operand =
			BPF_SRC(i->code) == BPF_X ? reg[i->src_reg] : (uint64_t)(int64_t)i->imm;
		switch (BPF_CLASS(i->code)) {
		case BPF_LDX:
			assert_int_equal(i->src_reg, 1);
			memcpy(&reg[i->dst_reg], (char *)ctx + i->off, 4);
			set[i->dst_reg] = true;
			break;
		case BPF_ALU:
		case BPF_ALU64:
			reg[i->dst_reg] = alu(i, reg[i->dst_reg], operand);
			set[i->dst_reg] = true;
			break;
		case BPF_JMP:
			if (BPF_OP(i->code) == BPF_EXIT) {
				assert_true(set[0]);
				return (int)reg[0];
			}
			assert_true(set[i->dst_reg]);
			if (jumps(i, reg[i->dst_reg], operand))
				pc += (size_t)i->off;
			break;
		default:
			fail_msg("instruction %x", i->code);
		}
	}
	fail_msg("ran off the end");
	return -1;
}

static bool allowed(const struct oci_device_rule *rules, size_t n, char type, uint32_t major,
		    uint32_t minor, const char *access)
{
	struct bpf_insn *insns;
	size_t n_insns;
	assert_int_equal(engine_device_program(rules, n, &insns, &n_insns, NULL), 0);
	if (!insns)
		return true;
	uint32_t bits = (strchr(access, 'm') ? 1u : 0) | (strchr(access, 'r') ? 2u : 0) |
			(strchr(access, 'w') ? 4u : 0);
	struct bpf_cgroup_dev_ctx ctx = {
		.access_type = bits << 16 | (type == 'b' ? 1 : 2), .major = major, .minor = minor};
	int r = interpret(insns, n_insns, &ctx);
	free(insns);
	return r == 1;
}

#define RULE(a, t, maj, min, acc)                                                                  \
	{                                                                                          \
		.allow = (a), .type = (t), .major = (maj), .minor = (min), .access = (char *)(acc) \
	}

static void test_default(void **state)
{
	assert_true(allowed(NULL, 0, 'c', 1, 3, "rw"));
	assert_true(allowed(NULL, 0, 'c', 136, 77, "rw"));
	assert_true(allowed(NULL, 0, 'b', 8, 0, "m"));
	assert_false(allowed(NULL, 0, 'b', 8, 0, "r"));
	assert_false(allowed(NULL, 0, 'b', 1, 3, "r")); /* a block device of null's number */
	assert_false(allowed(NULL, 0, 'c', 1, 1, "r")); /* mem */
	assert_false(allowed(NULL, 0, 'c', 10, 200, "rw"));
}

static void test_last_match_counts(void **state)
{
	const struct oci_device_rule rules[] = {
		RULE(false, 'a', -1, -1, "rwm"), RULE(true, 'b', 8, -1, "rw"),
		RULE(false, 'b', 8, 1, "w"),	 RULE(true, 'c', 10, 200, "rwm"),
		RULE(true, 'a', 77, 1, "r"),
	};
	assert_true(allowed(rules, 5, 'b', 8, 0, "rw"));
	assert_true(allowed(rules, 5, 'b', 8, 1, "r"));
	assert_false(allowed(rules, 5, 'b', 8, 1, "w"));
	assert_false(allowed(rules, 5, 'b', 8, 1, "rw"));
	assert_false(allowed(rules, 5, 'c', 8, 0, "r"));
	assert_true(allowed(rules, 5, 'c', 10, 200, "rwm"));
	assert_false(allowed(rules, 5, 'c', 10, 201, "r"));
	assert_true(allowed(rules, 5, 'b', 77, 1, "r"));
	assert_true(allowed(rules, 5, 'c', 77, 1, "r"));
	assert_false(allowed(rules, 5, 'c', 77, 1, "rw"));
	/* what every container has cannot be taken away */
	assert_true(allowed(rules, 5, 'c', 1, 9, "r"));
}

static void test_privileged(void **state)
{
	const struct oci_device_rule all[] = {RULE(false, 'a', -1, -1, "rwm"),
					      RULE(true, 'a', -1, -1, "rwm")};
	const struct oci_device_rule but[] = {RULE(true, 'a', -1, -1, "rwm"),
					      RULE(false, 'b', 254, -1, "rwm")};
	struct bpf_insn *insns;
	size_t n;
	assert_int_equal(engine_device_program(all, 2, &insns, &n, NULL), 0);
	assert_null(insns);
	assert_true(allowed(but, 2, 'b', 8, 0, "rw"));
	assert_false(allowed(but, 2, 'b', 254, 0, "r"));
	/* no rules that end with "everything": nothing but the defaults */
	assert_false(allowed(all, 1, 'b', 8, 0, "rw"));
}

static void test_too_many(void **state)
{
	struct bpf_insn *insns;
	size_t n;
	struct err e = ERR_INIT;
	struct oci_device_rule *rules = calloc(ENGINE_DEVICE_RULES_MAX + 1, sizeof *rules);
	assert_non_null(rules);
	for (size_t i = 0; i <= ENGINE_DEVICE_RULES_MAX; i++)
		rules[i] = (struct oci_device_rule)RULE(i % 2, 'b', 4095, 1048575, "r");
	assert_int_equal(engine_device_program(rules, ENGINE_DEVICE_RULES_MAX + 1, &insns, &n, &e),
			 -E2BIG);
	assert_true(allowed(rules, ENGINE_DEVICE_RULES_MAX, 'b', 4095, 1048575, "r"));
	free(rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default),
		cmocka_unit_test(test_last_match_counts),
		cmocka_unit_test(test_privileged),
		cmocka_unit_test(test_too_many),
	};
	return RUN_TESTS();
}
