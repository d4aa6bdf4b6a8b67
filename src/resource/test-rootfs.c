/* SPDX-License-Identifier: Apache-2.0 */
/* Real mounts in a mount namespace of the test's own. Needs root. */
#include "resource/rootfs.h"

#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* As containerd lays them out: all layers below one directory. */
#define SNAPSHOTS \
	"var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/a-long-name-for-snapshots"

static char root[] = "/tmp/test-rootfs.XXXXXX";

static const char *at(const char *name)
{
	static char path[8][512];
	static unsigned i;
	char *p = path[i++ % 8];
	(void)snprintf(p, 512, "%s/%s", root, name);
	return p;
}

static int setup(void **state)
{
	if (!mkdtemp(root) || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	/* an overlay cannot lie on every file system that /tmp may be */
	return mount("tmpfs", root, "tmpfs", 0, NULL);
}

static int teardown(void **state)
{
	return umount2(root, MNT_DETACH) < 0 || rmdir(root) < 0 ? -1 : 0;
}

static void put(const char *path, const char *text)
{
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
}

static void assert_text(const char *path, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, path, 4096, &b), 0);
	assert_string_equal(b.data, text);
}

static void an_overlay_of_more_layers_than_a_page_of_options_holds(void **state)
{
	struct err e = ERR_INIT;
	_cleanup_buf_ struct buf lower = BUF_INIT;
	char name[200], upper[600], work[600];
	const int layers = 60;

	buf_puts(&lower, "lowerdir=");
	for (int i = 0; i < layers; i++) {
		(void)snprintf(name, sizeof name, SNAPSHOTS "/%d/fs", i);
		assert_int_equal(mkdir_parents(at(name), 0755), 0);
		char file[300];
		(void)snprintf(file, sizeof file, "%s/layer-%d", name, i);
		put(at(file), "here");
		buf_printf(&lower, "%s%s", i ? ":" : "", at(name));
	}
	assert_true(lower.len > 4096);
	assert_int_equal(mkdir_parents(at(SNAPSHOTS "/up"), 0755), 0);
	assert_int_equal(mkdir_parents(at(SNAPSHOTS "/work"), 0755), 0);
	(void)snprintf(upper, sizeof upper, "upperdir=%s", at(SNAPSHOTS "/up"));
	(void)snprintf(work, sizeof work, "workdir=%s", at(SNAPSHOTS "/work"));
	assert_int_equal(mkdir_parents(at("merged"), 0755), 0);

	char *options[] = {"index=off", work, upper, lower.data};
	const struct rootfs_mount m = {"overlay", "overlay", "", options, 4};
	assert_int_equal(rootfs_mount_all(&m, 1, at("merged"), &e), 0);
	assert_text(at("merged/layer-0"), "here");
	assert_text(at("merged/layer-59"), "here");
	put(at("merged/new"), "x");
	assert_text(at(SNAPSHOTS "/up/new"), "x");
	assert_int_equal(umount(at("merged")), 0);
}

static void a_bind_mount_may_be_read_only(void **state)
{
	struct err e = ERR_INIT;
	assert_int_equal(mkdir_parents(at("src"), 0755), 0);
	put(at("src/f"), "text");
	assert_int_equal(rootfs_bind(at("src"), at("dst"), true, true, &e), 0);
	assert_text(at("dst/f"), "text");
	assert_int_equal(file_replace(at("dst/g"), "", 0, 0600), -EROFS);
	assert_int_equal(umount(at("dst")), 0);

	assert_int_equal(rootfs_bind(at("src/f"), at("file"), false, false, &e), 0);
	assert_text(at("file"), "text");
	assert_int_equal(umount(at("file")), 0);

	char *ro[] = {"rbind", "ro"};
	const struct rootfs_mount m = {"bind", (char *)at("src"), "", ro, 2};
	assert_int_equal(mkdir_parents(at("dst2"), 0755), 0);
	assert_int_equal(rootfs_mount_all(&m, 1, at("dst2"), &e), 0);
	assert_int_equal(file_replace(at("dst2/g"), "", 0, 0600), -EROFS);
	assert_int_equal(umount(at("dst2")), 0);
}

static void failures_name_the_mount_and_leave_none(void **state)
{
	struct err e = ERR_INIT;
	char *none[] = {NULL};
	assert_int_equal(mkdir_parents(at("t"), 0755), 0);
	const struct rootfs_mount two[] = {
		{"tmpfs", "tmpfs", "", none, 0},
		{"nosuchfs", "source", "", none, 0},
	};
	assert_int_equal(rootfs_mount_all(two, 2, at("t"), &e), -ENODEV);
	assert_non_null(strstr(e.text, "nosuchfs source"));
	_cleanup_buf_ struct buf mounts = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &mounts), 0);
	assert_null(strstr(mounts.data, at("t ")));

	const struct rootfs_mount escape = {"tmpfs", "tmpfs", "../out", none, 0};
	assert_int_equal(rootfs_mount_all(&escape, 1, at("t"), &e), -EINVAL);
	assert_int_equal(rootfs_bind(at("missing"), at("x"), false, false, &e), -ENOENT);
	assert_non_null(strstr(e.text, "missing"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_overlay_of_more_layers_than_a_page_of_options_holds),
		cmocka_unit_test(a_bind_mount_may_be_read_only),
		cmocka_unit_test(failures_name_the_mount_and_leave_none),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
