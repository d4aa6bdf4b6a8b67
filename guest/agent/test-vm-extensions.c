/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extension images in a guest of the image's own, on disks that the kernel's command line names.
 *
 *	test-guest-vm-extensions IMAGE_DIR VSOCK_PROXY
 */
#include "base/buf.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"
#include "guest/agent/test-disk.h"
#include "guest/agent/test-machine.h"
#include "sys/verity.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define ROOT MACHINE_SHARE
#define MIB (1 << 20)
#define COCO "kata.extension.coco.verity_params"

static struct fixture f;
static const char *image_dir, *proxy;
static struct image image;

/* ---- Disks -------------------------------------------------------------------------------- */

static void put(const char *dir, const char *name, const char *text, mode_t mode)
{
	char path[256], *slash;

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	slash = strrchr(path, '/');
	*slash = '\0';
	assert_int_equal(mkdir_parents(path, 0755), 0);
	*slash = '/';
	assert_int_equal(file_replace(path, text, strlen(text), mode), 0);
}

static void put_le32(uint8_t *p, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(n >> (8 * i));
}

/* As Kata's image builder does it: an MBR, the data, and maybe the tree, each at a whole MiB. */
static void write_disk(const char *path, bool tree)
{
	/* without the superblock that veritysetup has put before the tree */
	size_t data = image.hash_offset, tree_at = data + DISK_BLOCK;
	size_t hash = image.data.len - tree_at;
	size_t at = (MIB + data + MIB - 1) / MIB * MIB;
	uint8_t mbr[512] = {0};

	assert_true(image.data.len > tree_at);
	mbr[446 + 4] = mbr[462 + 4] = 0x83;
	put_le32(mbr + 446 + 8, MIB / 512);
	put_le32(mbr + 446 + 12, (uint32_t)(data / 512));
	put_le32(mbr + 462 + 8, (uint32_t)(at / 512));
	put_le32(mbr + 462 + 12, (uint32_t)(hash / 512));
	if (!tree)
		memset(mbr + 462, 0, 16);
	mbr[510] = 0x55;
	mbr[511] = 0xaa;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(at + hash)), 0);
	assert_int_equal(pwrite(fd, mbr, sizeof mbr, 0), sizeof mbr);
	assert_int_equal(pwrite(fd, image.data.data, data, MIB), data);
	assert_int_equal(pwrite(fd, image.data.data + tree_at, hash, (off_t)at), hash);
	assert_int_equal(close(fd), 0);
}

/* It runs a script, by a shell that the guest has nowhere else. */
static const char manifest[] =
	"schema_version = 1\n"
	"[[process]]\nid = \"attestation-agent\"\nlevel = 1\npath = \"bin/busybox\"\n"
	"args = [\"sh\", \"${extension_root}/bin/component\", \"${cdh_socket}\"]\n"
	"wait_socket = \"${aa_attestation_socket}\"\n"
	"timeout_secs = \"${launch_process_timeout}\"\n"
	"env = { SOCKET = \"${aa_attestation_socket}\" }\n"
	"[[process]]\nid = \"other\"\nlevel = 3\npath = \"bin/nothing\"\n";
static const char component[] = "b=/run/kata-extensions/coco/bin/busybox\n"
				"$b mkdir -p /run/marks\n"
				"echo \"$1 $HTTPS_PROXY\" >/run/marks/said\n"
				"echo >$SOCKET\n"
				"exec $b sleep 100000\n";

static void file_copy(const char *from, const char *dir, const char *name)
{
	_cleanup_buf_ struct buf data = BUF_INIT;
	char path[256];

	assert_int_equal(file_read(AT_FDCWD, from, 64 * MIB, &data), 0);
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(file_replace(path, data.data, data.len, 0755), 0);
}

static int setup(void **state)
{
	char tree[96];

	fixture_files(&f);
	(void)snprintf(tree, sizeof tree, "%s/tree", f.dir);
	put(tree, "word", "from the extension\n", 0644);
	put(tree, "etc/other", "more\n", 0644);
	put(tree, "etc/kata-extensions/components.toml", manifest, 0644);
	put(tree, "bin/component", component, 0755);
	file_copy("/bin/busybox", tree, "bin/busybox");
	image_make(&image, tree, true, f.dir);
	return 0;
}

static int teardown(void **state)
{
	image_free(&image);
	return remove_tree(f.dir);
}

/* ---- Machines ----------------------------------------------------------------------------- */

struct guest {
	struct machine vm;
	struct machine_options o;
	char drive[2][256], serial[2][96], cmdline[2048];
	const char *args[12];
	size_t n;
};

static void guest_init(struct guest *g, const char *words)
{
	memset(g, 0, sizeof *g);
	g->vm = (struct machine)MACHINE_INIT;
	(void)snprintf(g->cmdline, sizeof g->cmdline, "agent.hotplug_timeout=1 %s", words);
	g->o = (struct machine_options){.image_dir = image_dir,
					.proxy = proxy,
					.dir = f.dir,
					.share = f.rootfs,
					.cmdline = g->cmdline,
					.args = g->args};
}

static void guest_add(struct guest *g, const char *name, const char *path)
{
	size_t i = g->n++;

	(void)snprintf(g->drive[i], sizeof g->drive[i],
		       "file=%s,if=none,id=%s,format=raw,readonly=on", path, name);
	(void)snprintf(g->serial[i], sizeof g->serial[i],
		       "virtio-blk-pci,drive=%s,serial=extension-%s", name, name);
	g->args[4 * i] = "-drive";
	g->args[4 * i + 1] = g->drive[i];
	g->args[4 * i + 2] = "-device";
	g->args[4 * i + 3] = g->serial[i];
}

static void path_of(char *ret, size_t size, const char *name)
{
	assert_int_equal(path_format(ret, size, "%s/%s", f.dir, name), 0);
}

static void words(char *ret, size_t size, const char *root)
{
	char salt[2 * VERITY_SALT_MAX + 1] = "";
	struct verity v;

	assert_int_equal(verity_parse_superblock(image.data.data + image.hash_offset,
						 VERITY_SUPERBLOCK_BYTES, &v, NULL),
			 0);
	for (size_t i = 0; i < v.salt_len; i++)
		(void)snprintf(salt + 2 * i, 3, "%02x", v.salt[i]);
	(void)snprintf(ret, size,
		       COCO "=root_hash=%s,salt=%s,data_blocks=%zu,data_block_size=4096,"
			    "hash_block_size=4096",
		       root, salt, image.hash_offset / DISK_BLOCK);
}

static void make_sandbox(void)
{
	Grpc__CreateSandboxRequest q = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__Storage share = GRPC__STORAGE__INIT, *v[] = {&share};
	struct err e = ERR_INIT;

	share.driver = (char *)"virtio-fs";
	share.source = (char *)"kataShared";
	share.fstype = (char *)"virtiofs";
	share.mount_point = (char *)MACHINE_SHARE;
	q.sandbox_id = (char *)"extensions";
	q.storages = v;
	q.n_storages = 1;
	if (call(&f, "CreateSandbox", &q.base, NULL, &e) != STATUS_OK)
		fail_msg("%s", e.text);
}

/* Runs a script with the guest's extensions at /x. */
static void expect(const char *script, const char *output)
{
	static const char *const binds[] = {"/run/kata-extensions", "/x", "/run/marks", "/marks",
					    NULL};
	struct container_options o = {.script = script, .binds = binds};
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct err e = ERR_INIT;

	if (create(&f, "c1", &o, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_int_equal(start(&f, "c1"), STATUS_OK);
	assert_int_equal(read_all(&f, "c1", "", false, &text), STATUS_OK);
	assert_string_equal(text.data ? text.data : "", output);
	assert_int_equal(wait_process(&f, "c1", ""), 0);
	assert_int_equal(remove_container(&f, "c1", 20), STATUS_OK);
}

static void extensions_are_mounted(void **state)
{
	char disk[96], bare[96], text[1024], saved[sizeof f.rootfs];
	struct guest g;

	path_of(disk, sizeof disk, "disk");
	path_of(bare, sizeof bare, "bare");
	write_disk(disk, true);
	write_disk(bare, false);
	words(text, sizeof text, image.root);
	(void)snprintf(text + strlen(text), sizeof text - strlen(text),
		       " kata.extension.bare.verity_params agent.https_proxy=http://proxy:81 "
		       "agent.guest_components_procs=attestation-agent "
		       "agent.launch_process_timeout=30");
	guest_init(&g, text);
	guest_add(&g, "bare", bare);
	guest_add(&g, "coco", disk);
	memcpy(saved, f.rootfs, sizeof saved);
	fixture_connect(&f, machine_boot(&g.vm, &g.o));
	(void)snprintf(f.rootfs, sizeof f.rootfs, "%s", ROOT);
	make_sandbox();
	expect("cat /x/coco/word /x/coco/etc/other /x/bare/word; touch /x/coco/z 2>/dev/null || "
	       "echo read-only; cat /marks/said",
	       "from the extension\nmore\nfrom the extension\nread-only\n"
	       "/run/confidential-containers/cdh.sock http://proxy:81\n");
	fixture_disconnect(&f);
	memcpy(f.rootfs, saved, sizeof saved);
	machine_kill(&g.vm);
}

/* ---- What does not come up ---------------------------------------------------------------- */

static void refuses(const char *disk, const char *name, const char *text, const char *sentence)
{
	_cleanup_buf_ struct buf console = BUF_INIT;
	struct guest g;

	guest_init(&g, text);
	guest_add(&g, name, disk);
	machine_refuses(&g.vm, &g.o, &console);
	if (!console.data || !strstr(console.data, sentence))
		fail_msg("\"%s\" is not on the console: %s", sentence, console.data);
}

static void what_does_not_fit_gives_no_guest(void **state)
{
	char disk[96], bare[96], text[1024], root[65];

	path_of(disk, sizeof disk, "disk");
	path_of(bare, sizeof bare, "bare");
	write_disk(disk, true);
	write_disk(bare, false);
	words(text, sizeof text, image.root);

	refuses(disk, "other", text, "no disk with the serial extension-coco");
	refuses(disk, "coco", COCO, "has a hash tree, but");
	refuses(bare, "coco", text, "has no partition 2");
	refuses(disk, "coco", COCO "=salt=aa", "root_hash is missing");

	memcpy(root, image.root, sizeof root);
	root[0] = root[0] == '0' ? '1' : '0';
	words(text, sizeof text, root);
	refuses(disk, "coco", text, "extension coco: ");

	/* a component that is not there */
	words(text, sizeof text, image.root);
	refuses(disk, "coco", text, "component other: ");

	/* the superblock is damaged: it cannot be read */
	char *p = image.data.data + 1024 + 60;
	*p = (char)(*p ^ 1);
	write_disk(disk, true);
	*p = (char)(*p ^ 1);
	words(text, sizeof text, image.root);
	refuses(disk, "coco", text, "extension coco: ");
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(extensions_are_mounted),
		cmocka_unit_test(what_does_not_fit_gives_no_guest),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: %s IMAGE_DIR VSOCK_PROXY\n", argv[0]);
		return 2;
	}
	image_dir = argv[1];
	proxy = argv[2];
	return cmocka_run_group_tests(tests, setup, teardown);
}
