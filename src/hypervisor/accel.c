/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which accelerator: hardware virtualisation where it works, emulation (TCG) where it does not.
 *
 * That /dev/kvm opens is not enough: a host that is itself a guest may offer a KVM that runs
 * privileged code by emulation, on which QEMU aborts or an ordinary kernel never prints a line.
 * Such a host has no vmx or svm flag in /proc/cpuinfo, so the flag is asked first: the decision
 * costs one read and one ioctl and never a hung machine. Stateless; any thread.
 */
#include "hypervisor/accel.h"

#include "base/fd.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

/* The flags stand in the first processor's paragraph, a few KiB into the file. A read of /proc
 * may be cut at any size, so a host with very many processors needs no bigger one. */
#define CPUINFO_MAX (64 * 1024)

static int host_kvm_api_version(void)
{
	_cleanup_close_ int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);
	return version < 0 ? -errno : version;
}

/* Finds a whole word in the text up to the end of its line. */
static bool line_has_word(const char *line, const char *word)
{
	size_t len = strlen(word), end = strcspn(line, "\n");
	const char *p = line;

	while ((p = strstr(p, word)) && (size_t)(p - line) < end) {
		bool starts = p == line || p[-1] == ' ' || p[-1] == '\t' || p[-1] == ':';
		bool ends = p[len] == ' ' || p[len] == '\n' || p[len] == '\0';
		if (starts && ends)
			return true;
		p += len;
	}
	return false;
}

/* Which of @flags the first processor has; NULL if it has none of them. */
static const char *cpu_flag(const char *cpuinfo_path, const char *const flags[])
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	_cleanup_close_ int fd = open(cpuinfo_path, O_RDONLY | O_CLOEXEC);
	char *p = fd >= 0 ? buf_reserve(&text, CPUINFO_MAX) : NULL;

	if (!p)
		return NULL;
	for (ssize_t n; text.len < CPUINFO_MAX - 1; text.len += (size_t)n) {
		n = read(fd, p + text.len, CPUINFO_MAX - 1 - text.len);
		if (n <= 0)
			break;
	}
	p[text.len] = '\0';
	const char *line = strncmp(p, "flags", 5) == 0 ? p : strstr(p, "\nflags");
	if (!line)
		return NULL;
	line += *line == '\n';
	for (; *flags; flags++)
		if (line_has_word(line, *flags))
			return *flags;
	return NULL;
}

static const char *const virtualisation_flags[] = {"vmx", "svm", NULL};
/* Not a property of silicon: every hypervisor sets it, so that its guests know. */
static const char *const guest_flags[] = {"hypervisor", NULL};

/* Whether KVM can run a kernel here. Writes a clause that says why (not). */
static bool kvm_usable(const struct accel_host *host, char *why, size_t size)
{
	const char *flag = NULL;
	int version = host->kvm_api_version();

	if (version < 0) {
		char text[128];
		(void)snprintf(why, size, "/dev/kvm: %s", strerror_r(-version, text, sizeof text));
		return false;
	}
	if (version != KVM_API_VERSION) {
		(void)snprintf(why, size, "/dev/kvm speaks API version %d, not %d", version,
			       KVM_API_VERSION);
		return false;
	}
	if (host->cpu_flag_needed && !(flag = cpu_flag(host->cpuinfo_path, virtualisation_flags))) {
		(void)snprintf(why, size,
			       "/dev/kvm opens, but the processor has no hardware virtualisation "
			       "(neither vmx nor svm in %s)",
			       host->cpuinfo_path);
		return false;
	}
	(void)snprintf(why, size, "/dev/kvm works%s%s%s", flag ? " and the processor has " : "",
		       flag ? flag : "", "");
	return true;
}

int accel_choose_on(const struct accel_host *host, const char *wanted, enum accel *ret,
		    char *reason, size_t reason_size, struct err *e)
{
	char why[256];
	bool automatic = !wanted || !wanted[0] || strcmp(wanted, "auto") == 0;

	if (!automatic && strcmp(wanted, "tcg") == 0) {
		*ret = ACCEL_TCG;
		(void)snprintf(reason, reason_size,
			       "TCG (emulation), because accelerator = \"tcg\"");
		return 0;
	}
	if (!automatic && strcmp(wanted, "kvm") != 0)
		return err_set(e, -EINVAL,
			       "accelerator = \"%s\": must be \"auto\", \"kvm\" or \"tcg\"",
			       wanted);

	bool usable = kvm_usable(host, why, sizeof why);
	if (!usable && !automatic)
		return err_status(e, STATUS_FAILED_PRECONDITION,
				  "accelerator = \"kvm\" cannot work here: %s; \"tcg\" or \"auto\" "
				  "would emulate",
				  why);
	*ret = usable ? ACCEL_KVM : ACCEL_TCG;
	(void)snprintf(reason, reason_size, "%s: %s", usable ? "KVM" : "TCG (emulation, slower)",
		       why);
	return 0;
}

bool accel_is_slow_on(const struct accel_host *host, enum accel accel)
{
	return accel == ACCEL_TCG || cpu_flag(host->cpuinfo_path, guest_flags);
}

static const struct accel_host real_host = {
	.cpuinfo_path = "/proc/cpuinfo",
	.kvm_api_version = host_kvm_api_version,
#if defined(__x86_64__) || defined(__i386__)
	.cpu_flag_needed = true,
#endif
};

bool accel_is_slow(enum accel accel)
{
	return accel_is_slow_on(&real_host, accel);
}

int accel_choose(const char *wanted, enum accel *ret, char *reason, size_t reason_size,
		 struct err *e)
{
	return accel_choose_on(&real_host, wanted, ret, reason, reason_size, e);
}
