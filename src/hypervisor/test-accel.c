/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/accel.h"

#include "base/fd.h"
#include "base/testing.h"

#include <string.h>

static int fake_version;

static int fake_kvm(void)
{
	return fake_version;
}

/* Writes a cpuinfo with these flags and climbs the ladder. */
static int choose(const char *cpuinfo, int version, bool flag_needed, const char *wanted,
		  enum accel *ret, char *reason, size_t size, struct err *e)
{
	char path[] = "/tmp/test-accel-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, cpuinfo, strlen(cpuinfo)), 0);
	close(fd);
	fake_version = version;
	struct accel_host host = {path, fake_kvm, flag_needed};
	int r = accel_choose_on(&host, wanted, ret, reason, size, e);
	unlink(path);
	return r;
}

#define INTEL "processor\t: 0\nflags\t\t: fpu vme vmx ssse3\n\nprocessor\t: 1\nflags\t\t: fpu\n"
#define AMD "processor\t: 0\nflags\t\t: fpu svm\n"
/* svm_lock is another flag; a "vmx" beyond the flags line ("vmx flags : ept") is no flag */
#define NONE "processor\t: 0\nflags\t\t: fpu avmx svm_lock\nvmx flags\t: vnmi svm vmx\n"

static void the_ladder(void **state)
{
	static const struct {
		const char *cpuinfo;
		int version;
		bool flag_needed;
		const char *wanted;
		int r;
		enum accel accel;
		const char *says;
	} table[] = {
		{INTEL, 12, true, "auto", 0, ACCEL_KVM, "the processor has vmx"},
		{AMD, 12, true, "auto", 0, ACCEL_KVM, "the processor has svm"},
		{AMD, 12, true, "", 0, ACCEL_KVM, "KVM: /dev/kvm works"},
		{AMD, 12, true, NULL, 0, ACCEL_KVM, "KVM: /dev/kvm works"},
		{AMD, 12, true, "kvm", 0, ACCEL_KVM, "KVM: /dev/kvm works"},
		{AMD, 12, true, "tcg", 0, ACCEL_TCG, "accelerator = \"tcg\""},
		{NONE, 12, true, "auto", 0, ACCEL_TCG, "no hardware virtualisation"},
		{"", 12, true, "auto", 0, ACCEL_TCG, "no hardware virtualisation"},
		{"flags\t: vmx", 12, true, "auto", 0, ACCEL_KVM, "vmx"},
		{NONE, 12, false, "auto", 0, ACCEL_KVM, "KVM: /dev/kvm works"}, /* arm64 */
		{INTEL, -ENOENT, true, "auto", 0, ACCEL_TCG, "/dev/kvm: No such file"},
		{INTEL, -EACCES, true, "auto", 0, ACCEL_TCG, "/dev/kvm: Permission denied"},
		{INTEL, -ENOTTY, true, "auto", 0, ACCEL_TCG, "/dev/kvm: "},
		{INTEL, 11, true, "auto", 0, ACCEL_TCG, "API version 11, not 12"},
		{NONE, 12, true, "kvm", -EBUSY, ACCEL_KVM, "no hardware virtualisation"},
		{INTEL, -ENOENT, true, "kvm", -EBUSY, ACCEL_KVM, "No such file"},
		{INTEL, 12, true, "hax", -EINVAL, ACCEL_KVM,
		 "accelerator = \"hax\": must be \"auto\", \"kvm\" or \"tcg\""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		enum accel accel = ACCEL_KVM;
		char reason[256] = "";
		struct err e = ERR_INIT;
		int r = choose(table[i].cpuinfo, table[i].version, table[i].flag_needed,
			       table[i].wanted, &accel, reason, sizeof reason, &e);
		const char *text = r < 0 ? e.text : reason;
		if (r != table[i].r || (r == 0 && accel != table[i].accel) ||
		    !strstr(text, table[i].says))
			fail_msg("row %zu: r %d accel %d \"%s\"", i, r, (int)accel, text);
	}
}

static void boots_are_slow_when_emulated_or_nested(void **state)
{
	static const struct {
		const char *cpuinfo;
		bool kvm_is_slow;
	} table[] = {
		{AMD, false},
		{"flags\t\t: fpu svm hypervisor lahf_lm\n", true},
		{"flags\t\t: fpu svm hypervisors\nbugs\t\t: hypervisor\n", false},
		{"Features\t: fp asimd\n", false}, /* arm64 does not tell */
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char path[] = "/tmp/test-accel-XXXXXX";
		int fd = mkstemp(path);
		assert_true(fd >= 0);
		assert_int_equal(fd_write_all(fd, table[i].cpuinfo, strlen(table[i].cpuinfo)), 0);
		close(fd);
		struct accel_host host = {path, fake_kvm, true};
		assert_int_equal(accel_is_slow_on(&host, ACCEL_KVM), table[i].kvm_is_slow);
		assert_true(accel_is_slow_on(&host, ACCEL_TCG));
		unlink(path);
	}
}

static void a_host_without_cpuinfo_emulates(void **state)
{
	enum accel accel = ACCEL_KVM;
	char reason[256];
	fake_version = 12;
	struct accel_host host = {"/no/such/cpuinfo", fake_kvm, true};
	assert_int_equal(accel_choose_on(&host, "auto", &accel, reason, sizeof reason, NULL), 0);
	assert_int_equal(accel, ACCEL_TCG);
}

static void the_real_host_gets_an_answer_with_a_reason(void **state)
{
	enum accel accel = ACCEL_KVM;
	char reason[256] = "";
	struct err e = ERR_INIT;
	assert_int_equal(accel_choose("auto", &accel, reason, sizeof reason, &e), 0);
	assert_true(accel == ACCEL_KVM || accel == ACCEL_TCG);
	assert_non_null(strstr(reason, "/dev/kvm"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_ladder),
		cmocka_unit_test(boots_are_slow_when_emulated_or_nested),
		cmocka_unit_test(a_host_without_cpuinfo_emulates),
		cmocka_unit_test(the_real_host_gets_an_answer_with_a_reason),
	};
	return RUN_TESTS();
}
