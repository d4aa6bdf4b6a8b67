/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/sk-lookup.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define CTX(member) ((int16_t)offsetof(struct bpf_sk_lookup, member))
#define PASSES_MAX 16

enum { KEY_IPV4, KEY_IPV6, KEYS };

struct program {
	struct bpf_insn *insns;
	size_t n;
	size_t passes[PASSES_MAX]; /* jumps to the end, "not ours" */
	size_t n_passes;
};

static void emit(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off,
		 int32_t imm)
{
	p->insns[p->n++] = (struct bpf_insn){
		.code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm};
}

/* r2 = a 32-bit member of the context, which r6 points to */
static void emit_load(struct program *p, int16_t off)
{
	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_6, off, 0);
}

/* Not ours unless the low half of r2 is @imm. */
static void emit_require(struct program *p, uint32_t imm)
{
	p->passes[p->n_passes++] = p->n;
	emit(p, BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_2, 0, 0, (int32_t)imm);
}

static void emit_require_net127(struct program *p, int16_t off)
{
	emit_load(p, off);
	emit(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, (int32_t)htonl(0xff000000));
	emit_require(p, htonl(0x7f000000));
}

static void emit_require_ip6_loopback(struct program *p, int16_t off)
{
	for (int16_t word = 0; word < 4; word++) {
		emit_load(p, (int16_t)(off + word * 4));
		emit_require(p, word == 3 ? htonl(1) : 0);
	}
}

static void emit_key(struct program *p, int32_t key)
{
	emit(p, BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, key);
}

static size_t emit_jump(struct program *p, uint8_t code, uint8_t dst, int32_t imm)
{
	emit(p, code, dst, 0, 0, imm);
	return p->n - 1;
}

/* The jump at @at goes to what comes next. */
static void land(struct program *p, size_t at)
{
	p->insns[at].off = (int16_t)(p->n - at - 1);
}

/* Gives the connection to the socket under the key that is on the stack. */
static void emit_assign(struct program *p, int map_fd)
{
	emit(p, BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map_fd);
	emit(p, 0, 0, 0, 0, 0); /* the second half of the one before */
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4);
	emit(p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
	p->passes[p->n_passes++] = emit_jump(p, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_7, BPF_REG_0, 0, 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_6, 0, 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_7, 0, 0);
	/* 0: what another program of this namespace has decided before us stays */
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, 0);
	emit(p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_sk_assign);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_7, 0, 0);
	emit(p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_sk_release);
}

size_t sk_lookup_program(int map_fd, struct bpf_insn insns[static SK_LOOKUP_INSNS_MAX])
{
	struct program p = {.insns = insns};

	emit(&p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0);
	emit_load(&p, CTX(protocol));
	emit_require(&p, IPPROTO_TCP);
	emit_load(&p, CTX(family));
	size_t to_ipv6 = emit_jump(&p, BPF_JMP32 | BPF_JEQ | BPF_K, BPF_REG_2, AF_INET6);
	emit_require(&p, AF_INET);
	emit_require_net127(&p, CTX(local_ip4));
	emit_require_net127(&p, CTX(remote_ip4));
	emit_key(&p, KEY_IPV4);
	size_t to_assign = emit_jump(&p, BPF_JMP | BPF_JA, 0, 0);
	land(&p, to_ipv6);
	emit_require_ip6_loopback(&p, CTX(local_ip6));
	emit_require_ip6_loopback(&p, CTX(remote_ip6));
	emit_key(&p, KEY_IPV6);
	land(&p, to_assign);
	emit_assign(&p, map_fd);
	for (size_t i = 0; i < p.n_passes; i++)
		land(&p, p.passes[i]);
	emit(&p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, SK_PASS);
	emit(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return p.n;
}

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, command, attr, sizeof *attr);
	return r < 0 ? -errno : (int)r;
}

/* What an older kernel, or one that refuses us, says; the sentence keeps the kernel's own word. */
static int unsupported(int r)
{
	return r == -EPERM || r == -ENOSYS || r == -EINVAL ? -EOPNOTSUPP : r;
}

static int make_map(struct err *e)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_SOCKMAP,
		.key_size = sizeof(uint32_t),
		.value_size = sizeof(uint32_t),
		.max_entries = KEYS,
	};
	int fd = bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0) {
		(void)err_errno(e, fd, "make a map of sockets");
		return unsupported(fd);
	}
	return fd;
}

static int put(int map_fd, uint32_t key, int sock, struct err *e)
{
	uint32_t value = (uint32_t)sock;
	union bpf_attr attr = {
		.map_fd = (uint32_t)map_fd,
		.key = (uint64_t)(uintptr_t)&key,
		.value = (uint64_t)(uintptr_t)&value,
	};
	if (sock < 0)
		return 0;
	int r = bpf(BPF_MAP_UPDATE_ELEM, &attr);
	return r < 0 ? err_errno(e, r, "put a socket into a map") : 0;
}

static int load(int map_fd, struct err *e)
{
	static const char license[] = "Apache-2.0";
	struct bpf_insn insns[SK_LOOKUP_INSNS_MAX];
	char log[256] = "";
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SK_LOOKUP,
		.expected_attach_type = BPF_SK_LOOKUP,
		.insns = (uint64_t)(uintptr_t)insns,
		.insn_cnt = (uint32_t)sk_lookup_program(map_fd, insns),
		.license = (uint64_t)(uintptr_t)license,
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd >= 0)
		return fd;
	/* Once more for the verifier's words. Without any it did not come to verifying. */
	attr.log_level = 1;
	attr.log_buf = (uint64_t)(uintptr_t)log;
	attr.log_size = sizeof log;
	int again = bpf(BPF_PROG_LOAD, &attr);
	if (again >= 0)
		return again;
	(void)err_errno(e, fd, "load a socket lookup program%s%.200s", log[0] ? ": " : "", log);
	return unsupported(fd);
}

int sk_lookup_attach(int netns_fd, int listen4, int listen6, struct err *e)
{
	_cleanup_close_ int map = make_map(e);
	if (map < 0)
		return map;
	int r = put(map, KEY_IPV4, listen4, e);
	if (r == 0)
		r = put(map, KEY_IPV6, listen6, e);
	if (r < 0)
		return r;
	_cleanup_close_ int program = load(map, e);
	if (program < 0)
		return program;
	union bpf_attr attr = {
		.link_create.prog_fd = (uint32_t)program,
		.link_create.target_fd = (uint32_t)netns_fd,
		.link_create.attach_type = BPF_SK_LOOKUP,
	};
	int link = bpf(BPF_LINK_CREATE, &attr);
	if (link < 0) {
		(void)err_errno(e, link, "attach a socket lookup program");
		return unsupported(link);
	}
	return link;
}
