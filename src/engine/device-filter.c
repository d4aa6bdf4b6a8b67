/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/device-filter.h"

#include "engine/device-rules.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

/* The worst rule: type 1, access 3, major 1, minor 1, result 2. */
#define INSNS_PER_RULE 9
#define INSNS_AROUND 8

struct program {
	struct bpf_insn *insns;
	size_t n;
};

static void emit(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off,
		 int32_t imm)
{
	p->insns[p->n++] = (struct bpf_insn){
		.code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm};
}

static int32_t access_bits(const char *access)
{
	int32_t bits = 0;
	for (; *access; access++)
		bits |= *access == 'm'	 ? BPF_DEVCG_ACC_MKNOD
			: *access == 'r' ? BPF_DEVCG_ACC_READ
			: *access == 'w' ? BPF_DEVCG_ACC_WRITE
					 : 0;
	return bits;
}

#define ACCESS_ALL (BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE)

static bool matches_all(const struct oci_device_rule *r)
{
	return r->type == 'a' && r->major < 0 && r->minor < 0 &&
	       access_bits(r->access) == ACCESS_ALL;
}

/* r2: type of the device, r3: what is asked for, r4: major, r5: minor; r1: scratch */
static void emit_prologue(struct program *p)
{
	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1,
	     offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1,
	     offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1,
	     offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
	emit(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	emit(p, BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
	emit(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
}

static void emit_result(struct program *p, bool allow)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, allow);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* The jumps of a rule go to the next one; where that is is known when the rule is complete. */
static void emit_rule(struct program *p, const struct oci_device_rule *r)
{
	size_t jumps[4], n_jumps = 0;
	int32_t bits = access_bits(r->access);

	if (r->type != 'a') {
		jumps[n_jumps++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 0,
		     r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	}
	if (bits != ACCESS_ALL) {
		emit(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
		emit(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0, bits);
		jumps[n_jumps++] = p->n;
		/* Allowed only if all of it is; refused if any of it is. */
		if (r->allow)
			emit(p, BPF_JMP | BPF_JNE | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
		else
			emit(p, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_1, 0, 0, 0);
	}
	if (r->major >= 0) {
		jumps[n_jumps++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, 0, (int32_t)r->major);
	}
	if (r->minor >= 0) {
		jumps[n_jumps++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 0, (int32_t)r->minor);
	}
	emit_result(p, r->allow);
	for (size_t i = 0; i < n_jumps; i++)
		p->insns[jumps[i]].off = (int16_t)(p->n - jumps[i] - 1);
}

int engine_device_program(const struct oci_device_rule *rules, size_t n, struct bpf_insn **ret,
			  size_t *ret_n, struct err *e)
{
	*ret = NULL;
	*ret_n = 0;
	if (n > ENGINE_DEVICE_RULES_MAX)
		return err_set(e, -E2BIG, "%zu device rules are more than %d", n,
			       ENGINE_DEVICE_RULES_MAX);
	/* The last rule for everything makes those before it moot. */
	size_t first = n;
	while (first > 0 && !matches_all(&rules[first - 1]))
		first--;
	bool fallback = first > 0 && rules[first - 1].allow;
	if (fallback && first == n)
		return 0;

	struct program p = {.n = 0};
	p.insns = calloc((n - first + engine_device_n_defaults) * INSNS_PER_RULE + INSNS_AROUND,
			 sizeof *p.insns);
	if (!p.insns)
		return err_errno(e, -ENOMEM, "device rules");
	emit_prologue(&p);
	for (size_t i = engine_device_n_defaults; i > 0; i--)
		emit_rule(&p, &engine_device_defaults[i - 1]);
	for (size_t i = n; i > first; i--)
		emit_rule(&p, &rules[i - 1]);
	emit_result(&p, fallback);
	*ret = p.insns;
	*ret_n = p.n;
	return 0;
}

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, command, attr, sizeof *attr);
	return r < 0 ? -errno : (int)r;
}

static int load(const struct bpf_insn *insns, size_t n, struct err *e)
{
	static const char license[] = "Apache-2.0";
	char log[512] = "";
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uint64_t)(uintptr_t)insns,
		.insn_cnt = (uint32_t)n,
		.license = (uint64_t)(uintptr_t)license,
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd >= 0)
		return fd;
	if (fd == -ENOSYS || fd == -EPERM)
		return err_errno(e, -EOPNOTSUPP, "load a device program");
	/* Once more for the verifier's words. Without any it did not come to verifying: the kernel
	 * has no such programs. */
	attr.log_level = 1;
	attr.log_buf = (uint64_t)(uintptr_t)log;
	attr.log_size = sizeof log;
	int again = bpf(BPF_PROG_LOAD, &attr);
	if (again >= 0)
		return again;
	if (fd == -EINVAL && !log[0])
		return err_errno(e, -EOPNOTSUPP, "load a device program");
	return err_errno(e, fd, "load a device program (%.200s)", log);
}

static int attach(const char *cgroup_dir, int program, int replace_fd, struct err *e)
{
	_cleanup_close_ int dir = open(cgroup_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_errno(e, -errno, "open cgroup %s", cgroup_dir);
	union bpf_attr attr = {
		.target_fd = (uint32_t)dir,
		.attach_bpf_fd = (uint32_t)program,
		.attach_type = BPF_CGROUP_DEVICE,
		/* Programs of the cgroups above stay in force. */
		.attach_flags = BPF_F_ALLOW_MULTI | (replace_fd >= 0 ? BPF_F_REPLACE : 0),
		.replace_bpf_fd = replace_fd >= 0 ? (uint32_t)replace_fd : 0,
	};
	int r = bpf(BPF_PROG_ATTACH, &attr);
	if (r == -EPERM || r == -ENOSYS)
		r = -EOPNOTSUPP;
	return r < 0 ? err_errno(e, r, "attach the device program to %s", cgroup_dir) : 0;
}

static void detach(const char *cgroup_dir, int program)
{
	_cleanup_close_ int dir = open(cgroup_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	union bpf_attr attr = {
		.target_fd = (uint32_t)dir,
		.attach_bpf_fd = (uint32_t)program,
		.attach_type = BPF_CGROUP_DEVICE,
	};
	if (dir >= 0)
		(void)bpf(BPF_PROG_DETACH, &attr);
}

int engine_device_attach(const char *cgroup_dir, const struct oci_device_rule *rules, size_t n,
			 int replace_fd, struct err *e)
{
	_cleanup_free_ struct bpf_insn *insns = NULL;
	size_t n_insns;
	int r = engine_device_program(rules, n, &insns, &n_insns, e);
	if (r < 0)
		return r;
	if (!insns) {
		if (replace_fd >= 0)
			detach(cgroup_dir, replace_fd);
		return -EBADF;
	}
	_cleanup_close_ int fd = load(insns, n_insns, e);
	if (fd < 0)
		return fd;
	r = attach(cgroup_dir, fd, replace_fd, e);
	return r < 0 ? r : TAKE_FD(fd);
}
