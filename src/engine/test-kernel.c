/* SPDX-License-Identifier: Apache-2.0 */
/* Labels, as they are written to files of a directory that stands for /proc. */
#include "base/testing.h"

#include "base/fd.h"
#include "engine/kernel.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static char dir[64];
static int proc_fd;

static void make_file(const char *name, const char *text)
{
	char path[128];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	*strrchr(path, '/') = '\0';
	assert_int_equal(mkdir_parents(path, 0755), 0);
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
}

static void expect_file(const char *name, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	assert_int_equal(file_read(proc_fd, name, 4096, &b), 0);
	assert_string_equal(b.data ? b.data : "", text);
}

static int setup(void **state)
{
	strcpy(dir, "/tmp/test-kernel.XXXXXX");
	assert_non_null(mkdtemp(dir));
	make_file("filesystems", "nodev\tsysfs\nnodev\tselinuxfs_not\n\text4\n");
	proc_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return proc_fd < 0;
}

static int teardown(void **state)
{
	(void)close(proc_fd);
	return remove_tree(dir);
}

static int label(const char *apparmor, const char *selinux, struct err *e)
{
	const struct engine_job j = {.spec.process = {.apparmor_profile = (char *)apparmor,
						      .selinux_label = (char *)selinux}};
	bool unconfined;
	*e = ERR_INIT;
	int r = engine_kernel_labels(proc_fd, &j, &unconfined, e);
	assert_false(unconfined);
	return r;
}

static void test_apparmor(void **state)
{
	struct err e;

	make_file("thread-self/attr/apparmor/exec", "");
	assert_int_equal(label("docker-default", NULL, &e), 0);
	expect_file("thread-self/attr/apparmor/exec", "exec docker-default");
	make_file("thread-self/attr/apparmor/exec", "");
	assert_int_equal(label("unconfined", NULL, &e), 0);
	expect_file("thread-self/attr/apparmor/exec", "exec unconfined");
	make_file("thread-self/attr/apparmor/exec", "");
	assert_int_equal(label("", "", &e), 0);
	assert_int_equal(label(NULL, NULL, &e), 0);
	expect_file("thread-self/attr/apparmor/exec", "");
}

/* Of kernels before 5.8. */
static void test_apparmor_of_old(void **state)
{
	struct err e;

	make_file("thread-self/attr/exec", "");
	assert_int_equal(label("docker-default", NULL, &e), 0);
	expect_file("thread-self/attr/exec", "exec docker-default");
}

static void test_kernels_without_apparmor(void **state)
{
	struct err e;

	assert_int_equal(label("docker-default", NULL, &e), -EOPNOTSUPP);
	assert_string_equal(e.text, "AppArmor profile docker-default: the kernel has no AppArmor");
	assert_int_equal(label("unconfined", NULL, &e), 0);

	struct engine_job j = {.apparmor_optional = true,
			       .spec.process = {.apparmor_profile = (char *)"docker-default"}};
	bool unconfined = false;
	assert_int_equal(engine_kernel_labels(proc_fd, &j, &unconfined, &e), 0);
	assert_true(unconfined);
}

/* A link in place of the file leads nowhere. */
static void test_a_link_is_not_followed_out(void **state)
{
	struct err e;
	char path[128];

	make_file("thread-self/attr/apparmor/other", "");
	(void)snprintf(path, sizeof path, "%s/thread-self/attr/apparmor/exec", dir);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(label("docker-default", NULL, &e), -EXDEV);
}

static void test_selinux(void **state)
{
	static const char name[] = "system_u:system_r:container_t:s0:c1,c2";
	struct err e;

	make_file("thread-self/attr/exec", "");
	assert_int_equal(label(NULL, name, &e), -EOPNOTSUPP);
	assert_non_null(strstr(e.text, "the kernel has no SELinux"));
	assert_int_equal(engine_mount_label_check(proc_fd, name, &e), -EOPNOTSUPP);
	assert_non_null(strstr(e.text, "mountLabel"));
	assert_int_equal(engine_mount_label_check(proc_fd, "", &e), 0);
	assert_int_equal(engine_mount_label_check(proc_fd, NULL, &e), 0);

	make_file("filesystems", "nodev\tsysfs\nnodev\tselinuxfs\n");
	assert_int_equal(label(NULL, name, &e), 0);
	expect_file("thread-self/attr/exec", name);
	assert_int_equal(engine_mount_label_check(proc_fd, name, &e), 0);
}

static void test_mount_label(void **state)
{
	char data[64];

	assert_int_equal(engine_mount_label_data(NULL, NULL, data, sizeof data), 0);
	assert_string_equal(data, "");
	assert_int_equal(engine_mount_label_data("mode=755", "", data, sizeof data), 0);
	assert_string_equal(data, "mode=755");
	assert_int_equal(engine_mount_label_data("", "a:s0:c1,c2", data, sizeof data), 0);
	assert_string_equal(data, "context=\"a:s0:c1,c2\"");
	assert_int_equal(engine_mount_label_data("mode=755", "a:s0", data, sizeof data), 0);
	assert_string_equal(data, "mode=755,context=\"a:s0\"");
	assert_int_equal(engine_mount_label_data(NULL, "a\",suid", data, sizeof data), -EINVAL);
	assert_int_equal(engine_mount_label_data("size=1k", "a:s0", data, 10), -ENAMETOOLONG);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_apparmor),
		CASE(test_apparmor_of_old),
		CASE(test_kernels_without_apparmor),
		CASE(test_a_link_is_not_followed_out),
		CASE(test_selinux),
		cmocka_unit_test(test_mount_label),
	};
	return RUN_TESTS();
}
