/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/words.h"

#include "oci/spec.h"

#include <linux/ioprio.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/personality.h>
#include <sys/resource.h>

const struct oci_word oci_namespace_words[] = {
	{"pid", OCI_NS_PID},	   {"network", OCI_NS_NETWORK}, {"mount", OCI_NS_MOUNT},
	{"ipc", OCI_NS_IPC},	   {"uts", OCI_NS_UTS},		{"user", OCI_NS_USER},
	{"cgroup", OCI_NS_CGROUP}, {"time", OCI_NS_TIME},	{0},
};

/* Older agents know only "mnt" and "net"; the Go runtime sends the specification's words. */
const struct oci_word oci_namespace_wire_words[] = {
	{"pid", OCI_NS_PID},
	{"net", OCI_NS_NETWORK},
	{"mnt", OCI_NS_MOUNT},
	{"ipc", OCI_NS_IPC},
	{"uts", OCI_NS_UTS},
	{"user", OCI_NS_USER},
	{"cgroup", OCI_NS_CGROUP},
	{"time", OCI_NS_TIME},
	{"network", OCI_NS_NETWORK},
	{"mount", OCI_NS_MOUNT},
	{0},
};

const struct oci_word oci_rlimit_words[] = {
	{"RLIMIT_CPU", RLIMIT_CPU},
	{"RLIMIT_FSIZE", RLIMIT_FSIZE},
	{"RLIMIT_DATA", RLIMIT_DATA},
	{"RLIMIT_STACK", RLIMIT_STACK},
	{"RLIMIT_CORE", RLIMIT_CORE},
	{"RLIMIT_RSS", RLIMIT_RSS},
	{"RLIMIT_NPROC", RLIMIT_NPROC},
	{"RLIMIT_NOFILE", RLIMIT_NOFILE},
	{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
	{"RLIMIT_AS", RLIMIT_AS},
	{"RLIMIT_LOCKS", RLIMIT_LOCKS},
	{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
	{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
	{"RLIMIT_NICE", RLIMIT_NICE},
	{"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
	{"RLIMIT_RTTIME", RLIMIT_RTTIME},
	{0},
};

const struct oci_word oci_io_class_words[] = {
	{"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
	{"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
	{"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE},
	{0},
};

#define SCHED_ISO_RESERVED 4 /* include/uapi/linux/sched.h names it in a comment only */

const struct oci_word oci_sched_policy_words[] = {
	{"SCHED_OTHER", SCHED_NORMAL},
	{"SCHED_FIFO", SCHED_FIFO},
	{"SCHED_RR", SCHED_RR},
	{"SCHED_BATCH", SCHED_BATCH},
	{"SCHED_ISO", SCHED_ISO_RESERVED},
	{"SCHED_IDLE", SCHED_IDLE},
	{"SCHED_DEADLINE", SCHED_DEADLINE},
	{0},
};

const struct oci_word oci_sched_flag_words[] = {
	{"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
	{"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
	{"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
	{"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
	{"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
	{"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
	{"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX},
	{0},
};

const struct oci_word oci_personality_words[] = {
	{"LINUX", PER_LINUX},
	{"LINUX32", PER_LINUX32},
	{0},
};

/* "u" is a character device too, unbuffered, as in mknod(1) */
const struct oci_word oci_device_type_words[] = {
	{"c", 'c'}, {"b", 'b'}, {"u", 'u'}, {"p", 'p'}, {0}};
const struct oci_word oci_rule_type_words[] = {{"a", 'a'}, {"c", 'c'}, {"b", 'b'}, {0}};

const struct oci_word oci_seccomp_action_words[] = {
	{"SCMP_ACT_KILL", 0},	     {"SCMP_ACT_KILL_PROCESS", 0},
	{"SCMP_ACT_KILL_THREAD", 0}, {"SCMP_ACT_TRAP", 0},
	{"SCMP_ACT_ERRNO", 0},	     {"SCMP_ACT_TRACE", 0},
	{"SCMP_ACT_ALLOW", 0},	     {"SCMP_ACT_LOG", 0},
	{"SCMP_ACT_NOTIFY", 0},	     {0},
};

const struct oci_word oci_seccomp_arch_words[] = {
	{"SCMP_ARCH_X86", 0},	   {"SCMP_ARCH_X86_64", 0},	 {"SCMP_ARCH_X32", 0},
	{"SCMP_ARCH_ARM", 0},	   {"SCMP_ARCH_AARCH64", 0},	 {"SCMP_ARCH_MIPS", 0},
	{"SCMP_ARCH_MIPS64", 0},   {"SCMP_ARCH_MIPS64N32", 0},	 {"SCMP_ARCH_MIPSEL", 0},
	{"SCMP_ARCH_MIPSEL64", 0}, {"SCMP_ARCH_MIPSEL64N32", 0}, {"SCMP_ARCH_PPC", 0},
	{"SCMP_ARCH_PPC64", 0},	   {"SCMP_ARCH_PPC64LE", 0},	 {"SCMP_ARCH_S390", 0},
	{"SCMP_ARCH_S390X", 0},	   {"SCMP_ARCH_PARISC", 0},	 {"SCMP_ARCH_PARISC64", 0},
	{"SCMP_ARCH_RISCV64", 0},  {"SCMP_ARCH_LOONGARCH64", 0}, {"SCMP_ARCH_M68K", 0},
	{"SCMP_ARCH_SH", 0},	   {"SCMP_ARCH_SHEB", 0},	 {0},
};

const struct oci_word oci_seccomp_op_words[] = {
	{"SCMP_CMP_NE", 0}, {"SCMP_CMP_LT", 0}, {"SCMP_CMP_LE", 0},	   {"SCMP_CMP_EQ", 0},
	{"SCMP_CMP_GE", 0}, {"SCMP_CMP_GT", 0}, {"SCMP_CMP_MASKED_EQ", 0}, {0},
};

const struct oci_word oci_seccomp_flag_words[] = {
	{"SECCOMP_FILTER_FLAG_TSYNC", 0},
	{"SECCOMP_FILTER_FLAG_LOG", 0},
	{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", 0},
	{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 0},
	{0},
};

const struct oci_word oci_propagation_words[] = {
	{"private", 0},	   {"shared", 0},      {"slave", 0},
	{"unbindable", 0}, {"rprivate", 0},    {"rshared", 0},
	{"rslave", 0},	   {"runbindable", 0}, {0},
};

bool oci_word_find(const struct oci_word *words, const char *name, int64_t *ret)
{
	for (; words->name; words++)
		if (strcmp(words->name, name) == 0) {
			if (ret)
				*ret = words->value;
			return true;
		}
	return false;
}

const char *oci_word_name(const struct oci_word *words, int64_t value)
{
	for (; words->name; words++)
		if (words->value == value)
			return words->name;
	return NULL;
}

const char *oci_words_text(const struct oci_word *words, char *dst)
{
	size_t used = 0;

	dst[0] = '\0';
	for (; words->name; words++) {
		int n = snprintf(dst + used, OCI_WORDS_TEXT_MAX - used, "%s%s", used ? ", " : "",
				 words->name);
		if (n < 0 || (size_t)n >= OCI_WORDS_TEXT_MAX - used)
			break;
		used += (size_t)n;
	}
	return dst;
}

/* ---- Capabilities ------------------------------------------------------------------------- */

/* In the order of linux/capability.h. */
static const char *const capabilities[] = {
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_DAC_READ_SEARCH",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_SETGID",
	"CAP_SETUID",
	"CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST",
	"CAP_NET_ADMIN",
	"CAP_NET_RAW",
	"CAP_IPC_LOCK",
	"CAP_IPC_OWNER",
	"CAP_SYS_MODULE",
	"CAP_SYS_RAWIO",
	"CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE",
	"CAP_SYS_PACCT",
	"CAP_SYS_ADMIN",
	"CAP_SYS_BOOT",
	"CAP_SYS_NICE",
	"CAP_SYS_RESOURCE",
	"CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG",
	"CAP_MKNOD",
	"CAP_LEASE",
	"CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL",
	"CAP_SETFCAP",
	"CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN",
	"CAP_SYSLOG",
	"CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ",
	"CAP_PERFMON",
	"CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
};

int oci_capability_parse(const char *name)
{
	size_t len = strlen(name);

	if (len >= 2 && name[0] == '"' && name[len - 1] == '"') {
		name++;
		len -= 2;
	}
	if (len >= 4 && strncasecmp(name, "CAP_", 4) == 0) {
		name += 4;
		len -= 4;
	}
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++)
		if (strlen(capabilities[i]) == len + 4 &&
		    strncasecmp(capabilities[i] + 4, name, len) == 0)
			return (int)i;
	return -EINVAL;
}

const char *oci_capability_name(int cap)
{
	return cap >= 0 && (size_t)cap < ARRAY_SIZE(capabilities) ? capabilities[cap] : NULL;
}
