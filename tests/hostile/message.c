/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/hostile/message.h"

#include "base/cleanup.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Specs are some six messages deep. */
#define DEPTH_MAX 8

static const char *const words[] = {
	"",
	"a",
	".",
	"..",
	"/",
	"//",
	"/.",
	"/..",
	"../../etc/passwd",
	"/proc/self/fd/0",
	"/proc/self/exe",
	"/proc/1/root",
	"/dev/null",
	"/dev/zero",
	"/etc/passwd",
	"/tmp",
	"/sys",
	"%s%n%d",
	"\xff\xfe",
	"a\nb",
	"0",
	"-1",
	"1",
	"65535",
	"65536",
	"4294967295",
	"4294967296",
	"18446744073709551616",
	"0x10",
	"1e9",
	"true",
	"false",
	/* namespaces, mounts */
	"pid",
	"ipc",
	"uts",
	"mnt",
	"mount",
	"network",
	"user",
	"cgroup",
	"time",
	"proc",
	"sysfs",
	"tmpfs",
	"devpts",
	"mqueue",
	"cgroup2",
	"overlay",
	"bind",
	"rbind",
	"ro",
	"rw",
	"nosuid",
	"nodev",
	"noexec",
	"rslave",
	"rshared",
	"private",
	"unbindable",
	"rro",
	"idmap",
	"tmpcopyup",
	"size=1m",
	"size=99999999999999g",
	"mode=0777",
	"mode=9",
	"fsgid=1000",
	"fsgid=-1",
	"newinstance",
	"ptmxmode=0666",
	"/proc",
	"/dev",
	"/dev/pts",
	"/dev/shm",
	/* storages, devices */
	"virtio-fs",
	"blk",
	"mmioblk",
	"scsi",
	"nvdimm",
	"local",
	"ephemeral",
	"overlayfs",
	"watchable-bind",
	"image_guest_pull",
	"erofs.multi-layer",
	"hugetlbfs",
	"pagesize=2M",
	"X-kata.multi-layer=true",
	"X-kata.overlay-lower",
	"X-kata.overlay-upper",
	"X-kata.dmverity-enabled=true",
	"X-kata.dmverity.roothash=00",
	"X-kata.mkdir.path=/a:/b",
	"X-kata.gpt-partitioned=true",
	"X-kata.partition-number=1",
	"create_filesystem",
	"encryption_key=ephemeral",
	"io.katacontainers.fs-opt.overlay-rw",
	"kataShared",
	"00/00",
	"02",
	"ff/ff",
	"00.8/1f.7",
	"0:0",
	"8:65535",
	"/dev/vda",
	"vfio-pci",
	"vfio-pci-gk",
	"0000:00:02.0=02/00",
	"c",
	"b",
	"u",
	"p",
	"rwm",
	"ext4",
	"erofs",
	"xfs",
	/* network */
	"lo",
	"eth0",
	"averyveryverylongname0",
	"02:00:00:00:00:01",
	"zz:00:00:00:00:01",
	"10.0.0.1",
	"10.0.0.256",
	"::1",
	"fe80::1",
	"24",
	"33",
	"129",
	"0.0.0.0/0",
	"default",
	"10.1.0.0/16",
	/* processes */
	"sh",
	"/bin/sh",
	"-c",
	"echo",
	"sleep 0.01",
	"exit 3",
	"cat",
	"/bin/true",
	"PATH=/bin",
	"PATH=",
	"=",
	"A",
	"CAP_SYS_ADMIN",
	"SYS_ADMIN",
	"\"CAP_CHOWN\"",
	"CAP_NONE",
	"RLIMIT_NOFILE",
	"RLIMIT_NONE",
	"SCMP_ACT_ERRNO",
	"SCMP_ACT_ALLOW",
	"SCMP_ACT_NOTIFY",
	"SCMP_ARCH_X86_64",
	"SCMP_CMP_EQ",
	"SCMP_CMP_MASKED_EQ",
	"SECCOMP_FILTER_FLAG_LOG",
	"openat",
	"nosuchcall",
	"net.ipv4.ip_forward",
	"kernel.domainname",
	"kernel.shm_rmid_forced",
	"kernel/../x",
	"termination_log",
	"io.kubernetes.container.terminationMessagePath",
	"io.katacontainers.pkg.oci.container_type",
	"pod_sandbox",
	"cdi.k8s.io/x",

	"*filter\nCOMMIT\n",
};

/* xorshift64* */
static uint64_t next(struct hostile *h)
{
	h->state ^= h->state >> 12;
	h->state ^= h->state << 25;
	h->state ^= h->state >> 27;
	return h->state * 2685821657736338717ull;
}

uint64_t hostile_below(struct hostile *h, uint64_t n)
{
	return n ? next(h) % n : 0;
}

static bool one_in(struct hostile *h, uint64_t n)
{
	return hostile_below(h, n) == 0;
}

/* ---- Values -------------------------------------------------------------------------------- */

static char *long_text(struct hostile *h)
{
	static const size_t lengths[] = {255, 256, 4095, 4096, 4097, 65536, 300000};
	size_t n = lengths[hostile_below(h, ARRAY_SIZE(lengths))];
	char *text = malloc(n + 1);

	if (text) {
		memset(text, one_in(h, 2) ? 'x' : '/', n);
		text[n] = '\0';
	}
	return text;
}

static char *random_text(struct hostile *h)
{
	size_t n = (size_t)hostile_below(h, 24);
	char *text = calloc(1, n + 1);

	for (size_t i = 0; text && i < n; i++)
		text[i] = (char)(1 + hostile_below(h, 255));
	return text;
}

static char *text(struct hostile *h)
{
	char *made = NULL;

	if (one_in(h, 200))
		made = long_text(h);
	else if (one_in(h, 20))
		made = random_text(h);
	else if (h->n_words && one_in(h, 2))
		made = strdup(h->words[hostile_below(h, h->n_words)]);
	else
		made = strdup(words[hostile_below(h, ARRAY_SIZE(words))]);
	if (!made)
		abort();
	return made;
}

static uint64_t number(struct hostile *h)
{
	static const uint64_t odd[] = {0,
				       1,
				       2,
				       9,
				       15,
				       64,
				       255,
				       256,
				       4096,
				       65535,
				       65536,
				       INT32_MAX,
				       (uint64_t)INT32_MAX + 1,
				       UINT32_MAX,
				       INT64_MAX,
				       (uint64_t)INT64_MAX + 1,
				       UINT64_MAX,
				       UINT64_MAX - 1};
	return one_in(h, 4) ? next(h) : odd[hostile_below(h, ARRAY_SIZE(odd))];
}

static void fill_bytes(struct hostile *h, ProtobufCBinaryData *b)
{
	size_t n = one_in(h, 50) ? 1u << 20 : (size_t)hostile_below(h, 300);

	b->data = n ? malloc(n) : NULL;
	b->len = b->data ? n : 0;
	for (size_t i = 0; i < b->len && i < 4096; i++)
		b->data[i] = (uint8_t)next(h);
	if (b->len > 4096)
		memset(b->data + 4096, 'z', b->len - 4096);
}

static size_t size_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_ENUM:
		return 4;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		break;
	}
	return 8;
}

/* ---- Messages ------------------------------------------------------------------------------ */

static ProtobufCMessage *make(struct hostile *h, const ProtobufCMessageDescriptor *d,
			      unsigned depth);

static void fill_value(struct hostile *h, const ProtobufCFieldDescriptor *f, void *at,
		       unsigned depth)
{
	uint64_t n = number(h);

	if (f->type == PROTOBUF_C_TYPE_STRING)
		*(char **)at = text(h);
	else if (f->type == PROTOBUF_C_TYPE_BYTES)
		fill_bytes(h, at);
	else if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		*(ProtobufCMessage **)at = make(h, f->descriptor, depth + 1);
	else if (f->type == PROTOBUF_C_TYPE_BOOL)
		*(protobuf_c_boolean *)at = n & 1;
	else
		memcpy(at, &n, size_of(f->type));
}

static size_t count(struct hostile *h)
{
	if (one_in(h, 300))
		return 2000;
	return (size_t)hostile_below(h, 4);
}

static void fill_list(struct hostile *h, const ProtobufCFieldDescriptor *f, char *m, unsigned depth)
{
	size_t n = depth >= DEPTH_MAX ? 0 : count(h), size = size_of(f->type);

	/* lists of messages multiply */
	if (f->type == PROTOBUF_C_TYPE_MESSAGE && depth > 1 && n > 3)
		n = 3;
	char *v = n ? calloc(n, size) : NULL;
	if (n && !v)
		abort();
	for (size_t i = 0; i < n; i++)
		fill_value(h, f, v + i * size, depth);
	*(size_t *)(m + f->quantifier_offset) = n;
	*(char **)(m + f->offset) = v;
}

static void fill_field(struct hostile *h, const ProtobufCFieldDescriptor *f, char *m,
		       unsigned depth)
{
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		fill_list(h, f, m, depth);
		return;
	}
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*(uint32_t *)(m + f->quantifier_offset) = f->id;
	else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->quantifier_offset)
		*(protobuf_c_boolean *)(m + f->quantifier_offset) = 1;
	if (f->type != PROTOBUF_C_TYPE_MESSAGE || depth < DEPTH_MAX)
		fill_value(h, f, m + f->offset, depth);
}

static bool is_set_oneof(const ProtobufCFieldDescriptor *f, const char *m)
{
	return (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
	       *(const uint32_t *)(m + f->quantifier_offset) != 0;
}

static ProtobufCMessage *make(struct hostile *h, const ProtobufCMessageDescriptor *d,
			      unsigned depth)
{
	ProtobufCMessage *m = calloc(1, d->sizeof_message);

	if (!m)
		abort();
	d->message_init(m);
	for (unsigned i = 0; i < d->n_fields; i++)
		if (!one_in(h, 3) && !is_set_oneof(&d->fields[i], (char *)m))
			fill_field(h, &d->fields[i], (char *)m, depth);
	return m;
}

ProtobufCMessage *hostile_message(struct hostile *h, const ProtobufCMessageDescriptor *d)
{
	return make(h, d, 0);
}

/* ---- Spoiling ------------------------------------------------------------------------------ */

/* What a field that was never set holds is the descriptor's. */
static void free_value(const ProtobufCFieldDescriptor *f, void *at)
{
	if (f->type == PROTOBUF_C_TYPE_STRING && *(char **)at != f->default_value &&
	    *(const char **)at != protobuf_c_empty_string)
		free(*(char **)at);
	if (f->type == PROTOBUF_C_TYPE_BYTES && !f->default_value)
		free(((ProtobufCBinaryData *)at)->data);
}

/* One scalar or string is replaced, or one sub-message is descended into. */
static void spoil_once(struct hostile *h, ProtobufCMessage *m, unsigned depth)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	if (d->n_fields == 0 || depth > DEPTH_MAX)
		return;
	const ProtobufCFieldDescriptor *f = &d->fields[hostile_below(h, d->n_fields)];
	char *at = (char *)m + f->offset;
	size_t n = 1;

	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return;
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		n = *(size_t *)((char *)m + f->quantifier_offset);
		if (n == 0)
			return;
		at = *(char **)at + hostile_below(h, n) * size_of(f->type);
	}
	if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
		if (*(ProtobufCMessage **)at)
			spoil_once(h, *(ProtobufCMessage **)at, depth + 1);
		return;
	}
	free_value(f, at);
	fill_value(h, f, at, depth);
}

void hostile_spoil(struct hostile *h, ProtobufCMessage *m)
{
	for (uint64_t n = 1 + hostile_below(h, 4); n > 0; n--)
		spoil_once(h, m, 0);
}
