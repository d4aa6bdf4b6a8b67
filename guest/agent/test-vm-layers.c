/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers of layers in a guest of the image's own: its kernel, its modules, disks on its PCI
 *bus.
 *
 *	test-guest-vm-layers IMAGE_DIR VSOCK_PROXY
 */
#include "base/buf.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"
#include "guest/agent/test-disk.h"
#include "guest/agent/test-machine.h"

#include <string.h>
#include <sys/stat.h>

#define ROOT MACHINE_SHARE "/passthrough/c1/rootfs"
#define LAYERS 3

static struct fixture f;
static const char *image_dir, *proxy;
static struct machine vm = MACHINE_INIT;
static struct image images[LAYERS];

static void put(const char *dir, const char *name, const char *text)
{
	char path[256];
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
}

/* On top a file, a file below it, and busybox with all its links at the bottom. */
static void make_disks(const char *good, const char *bad)
{
	char tree[160];

	(void)snprintf(tree, sizeof tree, "%s/tree", f.dir);
	for (int i = 0; i < LAYERS - 1; i++) {
		assert_int_equal(mkdir(tree, 0755), 0);
		put(tree, i == 0 ? "top" : "middle", i == 0 ? "top\n" : "middle\n");
		put(tree, "who", i == 0 ? "top\n" : "middle\n");
		image_make(&images[i], tree, false, f.dir);
		assert_int_equal(remove_tree(tree), 0);
	}
	image_make(&images[LAYERS - 1], f.rootfs, true, f.dir);
	disk_write(good, images, LAYERS, 0);
	/* in the middle of busybox */
	char *p = images[LAYERS - 1].data.data + images[LAYERS - 1].hash_offset / 2;
	*p = (char)(*p ^ 1);
	disk_write(bad, images, LAYERS, 0);
}

static int setup(void **state)
{
	char good[128], bad[128], drives[2][256];

	fixture_files(&f);
	(void)snprintf(good, sizeof good, "%s/good", f.dir);
	(void)snprintf(bad, sizeof bad, "%s/bad", f.dir);
	make_disks(good, bad);
	(void)snprintf(drives[0], sizeof drives[0],
		       "file=%s,if=none,id=good,format=raw,readonly=on", good);
	(void)snprintf(drives[1], sizeof drives[1], "file=%s,if=none,id=bad,format=raw,readonly=on",
		       bad);
	const char *const args[] = {
		"-drive", drives[0], "-device", "virtio-blk-pci,drive=good,addr=0x11",
		"-drive", drives[1], "-device", "virtio-blk-pci,drive=bad,addr=0x12",
		NULL};
	const struct machine_options o = {.image_dir = image_dir,
					  .proxy = proxy,
					  .dir = f.dir,
					  .share = f.rootfs,
					  .args = args};
	fixture_connect(&f, machine_boot(&vm, &o));
	(void)snprintf(f.rootfs, sizeof f.rootfs, "%s", ROOT);
	return 0;
}

static int teardown(void **state)
{
	fixture_disconnect(&f);
	(void)machine_end(&vm);
	for (int i = 0; i < LAYERS; i++)
		image_free(&images[i]);
	return remove_tree(f.dir);
}

struct request {
	Grpc__Storage s[LAYERS], *v[LAYERS];
	char text[LAYERS][8][192], *options[LAYERS][8];
};

static void make_request(struct request *q, const char *slot)
{
	for (unsigned i = 0; i < LAYERS; i++) {
		Grpc__Storage *s = q->v[i] = &q->s[i];
		grpc__storage__init(s);
		s->driver = (char *)"blk";
		s->source = (char *)slot;
		s->fstype = (char *)"erofs";
		s->mount_point = (char *)ROOT;
		s->options = q->options[i];
		s->n_options = 8;
		const char *const fixed[] = {
			"ro", "X-kata.overlay-lower", "X-kata.multi-layer=true",
			"X-kata.gpt-partitioned=true", "X-kata.dmverity-enabled=true"};
		for (size_t k = 0; k < ARRAY_SIZE(fixed); k++)
			(void)snprintf(q->text[i][k], sizeof q->text[i][k], "%s", fixed[k]);
		(void)snprintf(q->text[i][5], sizeof q->text[i][5], "X-kata.partition-number=%u",
			       i + 1);
		(void)snprintf(q->text[i][6], sizeof q->text[i][6], "X-kata.dmverity.roothash=%s",
			       images[i].root);
		(void)snprintf(q->text[i][7], sizeof q->text[i][7],
			       "X-kata.dmverity.hashoffset=%zu", images[i].hash_offset);
		for (size_t k = 0; k < 8; k++)
			q->options[i][k] = q->text[i][k];
	}
}

/* The hand-made trees of the upper two have no superblock. */
static void say_no_superblock(struct request *q)
{
	for (unsigned i = 0; i < LAYERS - 1; i++)
		(void)snprintf(q->text[i][0], sizeof q->text[i][0],
			       "X-kata.dmverity.no-superblock=true");
}

static void the_sandbox_is_made(void **state)
{
	Grpc__CreateSandboxRequest q = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__Storage share = GRPC__STORAGE__INIT, *v[] = {&share};
	struct err e = ERR_INIT;

	share.driver = (char *)"virtio-fs";
	share.source = (char *)"kataShared";
	share.fstype = (char *)"virtiofs";
	share.mount_point = (char *)MACHINE_SHARE;
	q.sandbox_id = (char *)"layers";
	q.storages = v;
	q.n_storages = 1;
	if (call(&f, "CreateSandbox", &q.base, NULL, &e) != STATUS_OK)
		fail_msg("%s", e.text);
}

static void a_container_runs_from_layers(void **state)
{
	struct request q;
	struct container_options o = {.script = "cat /top /middle /who; echo x >/new; cat /new",
				      .storages = q.v,
				      .n_storages = LAYERS};
	struct err e = ERR_INIT;

	make_request(&q, "11");
	say_no_superblock(&q);
	for (int round = 0; round < 2; round++) {
		_cleanup_buf_ struct buf text = BUF_INIT;
		if (create(&f, "c1", &o, &e) != STATUS_OK)
			fail_msg("%s", e.text);
		assert_int_equal(start(&f, "c1"), STATUS_OK);
		assert_int_equal(read_all(&f, "c1", "", false, &text), STATUS_OK);
		assert_string_equal(text.data, "top\nmiddle\ntop\nx\n");
		assert_int_equal(wait_process(&f, "c1", ""), 0);
		assert_int_equal(remove_container(&f, "c1", 20), STATUS_OK);
	}
}

/* busybox is what was damaged, and is what the container would run. */
static void damage_is_not_run(void **state)
{
	struct request q;
	struct container_options o = {.script = "exit 0", .storages = q.v, .n_storages = LAYERS};
	struct err e = ERR_INIT;

	make_request(&q, "12");
	say_no_superblock(&q);
	int status = create(&f, "c1", &o, &e);
	if (status == STATUS_OK) {
		static const char *const argv[] = {"/bin/cat", "/bin/busybox", NULL};
		if (start(&f, "c1") == STATUS_OK &&
		    exec(&f, "c1", "e", false, argv, NULL) == STATUS_OK)
			assert_int_not_equal(wait_process(&f, "c1", "e"), 0);
		assert_int_equal(remove_container(&f, "c1", 20), STATUS_OK);
	}
	/* and with a root hash that is another's nothing is made */
	(void)snprintf(q.text[0][6], sizeof q.text[0][6], "X-kata.dmverity.roothash=%s",
		       images[1].root);
	assert_int_not_equal(create(&f, "c1", &o, &e), STATUS_OK);
	/* the pod goes on */
	a_container_runs_from_layers(state);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sandbox_is_made),
		cmocka_unit_test(a_container_runs_from_layers),
		cmocka_unit_test(damage_is_not_run),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: %s IMAGE_DIR VSOCK_PROXY\n", argv[0]);
		return 2;
	}
	image_dir = argv[1];
	proxy = argv[2];
	return cmocka_run_group_tests(tests, setup, teardown);
}
