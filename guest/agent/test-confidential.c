/* SPDX-License-Identifier: Apache-2.0 */
/* Containers of a confidential guest: images and secrets from the Confidential Data Hub. Needs
 * root. */
#include "base/buf.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"
#include "guest/agent/test-hub.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static struct fixture f;
static struct hub hub;
static const char *agent_program;
static char top[64], pause_bundle[96];

static void expect_output(const char *id, const char *expected)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(read_all(&f, id, "", false, &text), STATUS_OK);
	assert_string_equal(text.data ? text.data : "", expected);
}

static unsigned count_mounts(void)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	unsigned n = 0;

	assert_int_equal(file_read(AT_FDCWD, "/proc/self/mounts", 1 << 20, &text), 0);
	for (const char *p = text.data; (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	(void)close(fd);
}

/* ---- Images ------------------------------------------------------------------------------- */

struct image {
	Grpc__Storage s, *v[1];
	char mount_point[160], rootfs[sizeof f.rootfs];
	char *option;
};

static void image(struct image *i, const char *id, const char *name, const char *option)
{
	grpc__storage__init(&i->s);
	i->option = (char *)option;
	i->s.driver = (char *)"image_guest_pull";
	i->s.fstype = (char *)"overlay";
	i->s.source = (char *)name;
	i->s.driver_options = &i->option;
	i->s.n_driver_options = 1;
	i->s.mount_point = i->mount_point;
	i->v[0] = &i->s;
	(void)snprintf(i->mount_point, sizeof i->mount_point, "%s/state/%s/rootfs", f.dir, id);
}

static int create_from(struct image *i, const char *id, struct container_options *o, struct err *e)
{
	char rootfs[sizeof f.rootfs];

	memcpy(rootfs, f.rootfs, sizeof rootfs);
	(void)snprintf(f.rootfs, sizeof f.rootfs, "%.*s", (int)sizeof f.rootfs - 1, i->mount_point);
	o->storages = i->v;
	o->n_storages = 1;
	int status = create(&f, id, o, e);
	memcpy(f.rootfs, rootfs, sizeof rootfs);
	return status;
}

#define CONTAINER \
	"image_guest_pull={\"metadata\":{\"io.kubernetes.cri.container-type\":\"container\"}}"
#define SANDBOX "image_guest_pull={\"metadata\":{\"io.kubernetes.cri.container-type\":\"sandbox\"}}"

static void an_image_is_pulled(void **state)
{
	struct container_options o = {.script = "echo from the image"};
	struct image i;
	struct stat st;
	unsigned before = count_mounts();

	image(&i, "pulled", "registry/image:1", CONTAINER);
	assert_int_equal(create_from(&i, "pulled", &o, NULL), STATUS_OK);
	assert_string_equal(strtok(hub.text, " "), "registry/image:1");
	assert_int_equal(start(&f, "pulled"), STATUS_OK);
	expect_output("pulled", "from the image\n");
	assert_int_equal(remove_container(&f, "pulled", 20), STATUS_OK);
	assert_int_equal(count_mounts(), before);
	*strrchr(i.mount_point, '/') = '\0';
	assert_int_equal(lstat(i.mount_point, &st), -1);
	/* what it was made of is there */
	assert_int_equal(stat(f.rootfs, &st), 0);
	assert_int_equal(access(hub.rootfs, F_OK), 0);
}

static void images_that_cannot_be_had(void **state)
{
	struct container_options o = {.script = "true"};
	struct err e = ERR_INIT;
	struct image i;
	struct stat st;
	unsigned before = count_mounts();

	atomic_store(&hub.mood, HUB_FAILS);
	image(&i, "none", "registry/none", CONTAINER);
	assert_int_equal(create_from(&i, "none", &o, &e), STATUS_PERMISSION_DENIED);
	assert_non_null(strstr(e.text, "registry/none"));
	assert_non_null(strstr(e.text, "attestation"));
	atomic_store(&hub.mood, HUB_LIES);
	assert_int_equal(create_from(&i, "none", &o, &e), STATUS_INTERNAL);
	atomic_store(&hub.mood, HUB_WORKS);
	i.s.source = (char *)"";
	assert_int_equal(create_from(&i, "none", &o, &e), STATUS_INVALID_ARGUMENT);
	image(&i, "none", "registry/none", "image_guest_pull=nonsense");
	assert_int_equal(create_from(&i, "none", &o, &e), STATUS_INVALID_ARGUMENT);
	image(&i, "none", "registry/none", "other=1");
	assert_int_equal(create_from(&i, "none", &o, &e), STATUS_INVALID_ARGUMENT);
	image(&i, "other", "registry/none", CONTAINER);
	assert_int_equal(create_from(&i, "none", &o, &e), STATUS_INVALID_ARGUMENT);
	hub_stop(&hub);
	image(&i, "none", "registry/none", CONTAINER);
	assert_int_equal(create_from(&i, "none", &o, &e), STATUS_UNAVAILABLE);
	hub_start(&hub);
	assert_int_equal(count_mounts(), before);
	*strrchr(i.mount_point, '/') = '\0';
	assert_int_equal(lstat(i.mount_point, &st), -1);
}

static void the_pause_image_is_the_guests_own(void **state)
{
	struct container_options o = {.script = "echo of the host"};
	struct image i;
	struct err e = ERR_INIT;

	o.annotation[0] = "io.kubernetes.cri.container-type";
	o.annotation[1] = "sandbox";
	int pulls = atomic_load(&hub.pulls);
	image(&i, "pause", "pause", SANDBOX);
	if (create_from(&i, "pause", &o, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_int_equal(start(&f, "pause"), STATUS_OK);
	expect_output("pause", "paused 65535\n");
	assert_int_equal(atomic_load(&hub.pulls), pulls);
	assert_int_equal(remove_container(&f, "pause", 20), STATUS_OK);
	*strrchr(i.mount_point, '/') = '\0';
	assert_int_equal(access(i.mount_point, F_OK), -1);
}

/* ---- Secrets ------------------------------------------------------------------------------ */

static void secrets_are_unsealed(void **state)
{
	const char *const env[] = {"PATH=/bin", "SECRET=sealed.hush", "PLAIN=a=b", "sealed.x=y",
				   NULL};
	char volume[200], hosts[200], path[256];
	const char *binds[] = {volume, "/shm", hosts, "/tmp", NULL};
	struct container_options o = {.script = "echo $SECRET $PLAIN; cd /shm; cat key plain bare;"
						"readlink key; cat /tmp/f",
				      .binds = binds,
				      .env = env};
	struct err e = ERR_INIT;

	(void)snprintf(volume, sizeof volume, "%s/state/shared/containers/vol-secret", f.dir);
	(void)snprintf(hosts, sizeof hosts, "%s/state/shared/containers/vol-hosts", f.dir);
	assert_int_equal(mkdir_parents(hosts, 0755), 0);
	(void)snprintf(path, sizeof path, "%s/f", hosts);
	write_file(path, "sealed.untouched\n");
	(void)snprintf(path, sizeof path, "%s/..v1", volume);
	assert_int_equal(mkdir_parents(path, 0755), 0);
	(void)snprintf(path, sizeof path, "%s/..v1/key", volume);
	write_file(path, "sealed.file\n");
	(void)snprintf(path, sizeof path, "%s/..v1/plain", volume);
	write_file(path, "plain\n");
	(void)snprintf(path, sizeof path, "%s/bare", volume);
	write_file(path, "sealed.bare\n");
	(void)snprintf(path, sizeof path, "%s/..data", volume);
	assert_int_equal(symlink("..v1", path), 0);
	(void)snprintf(path, sizeof path, "%s/key", volume);
	assert_int_equal(symlink("..data/key", path), 0);
	(void)snprintf(path, sizeof path, "%s/plain", volume);
	assert_int_equal(symlink("..data/plain", path), 0);
	(void)snprintf(path, sizeof path, "%s/escape", volume);
	assert_int_equal(symlink("/etc/passwd", path), 0);

	/* nothing is unsealed where the hub refuses; the container comes up all the same */
	atomic_store(&hub.mood, HUB_FAILS);
	if (create(&f, "sealed", &o, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_int_equal(start(&f, "sealed"), STATUS_OK);
	expect_output("sealed", "sealed.hush a=b\nsealed.file\nplain\nsealed.bare\n..data/key\n"
				"sealed.untouched\n");
	assert_int_equal(remove_container(&f, "sealed", 20), STATUS_OK);
	atomic_store(&hub.mood, HUB_WORKS);
	for (int i = 0; i < 2; i++) { /* the second time all is done already */
		assert_int_equal(create(&f, "unsealed", &o, NULL), STATUS_OK);
		assert_int_equal(start(&f, "unsealed"), STATUS_OK);
		expect_output("unsealed", "hush a=b\nfile\nplain\nbare\n..v1/key.unsealed\n"
					  "sealed.untouched\n");
		assert_int_equal(remove_container(&f, "unsealed", 20), STATUS_OK);
	}
	hub_stop(&hub);
	assert_int_equal(create(&f, "alone", &o, NULL), STATUS_OK);
	assert_int_equal(remove_container(&f, "alone", 20), STATUS_OK);
	hub_start(&hub);
}

/* ---- Disks -------------------------------------------------------------------------------- */

static void the_image_store_is_encrypted_once(void **state)
{
	Grpc__LinuxDevice device = GRPC__LINUX_DEVICE__INIT;
	struct container_options o = {.script = "true", .device = &device};
	struct err e = ERR_INIT;
	unsigned before = count_mounts();

	device.path = (char *)"/dev/trusted_store";
	device.type = (char *)"b";
	device.major = 7;
	device.minor = 5;
	int mounts = atomic_load(&hub.mounts);
	hub_stop(&hub);
	assert_int_equal(create(&f, "trust1", &o, &e), STATUS_UNAVAILABLE);
	hub_start(&hub);
	atomic_store(&hub.mood, HUB_LIES);
	assert_int_equal(create(&f, "trust1", &o, &e), STATUS_INTERNAL);
	atomic_store(&hub.mood, HUB_WORKS);
	assert_int_equal(create(&f, "trust1", &o, &e), STATUS_OK);
	assert_int_equal(create(&f, "trust2", &o, &e), STATUS_OK);
	assert_int_equal(atomic_load(&hub.mounts), mounts + 2);
	assert_non_null(strstr(hub.text, "/state/image deviceId=7:5"));
	assert_non_null(strstr(hub.text, "mkfsOpts=-E lazy_journal_init"));
	assert_int_equal(count_mounts(), before + 1);
	assert_int_equal(remove_container(&f, "trust1", 20), STATUS_OK);
	assert_int_equal(remove_container(&f, "trust2", 20), STATUS_OK);
}

static void a_disk_with_a_key_of_nobody(void **state)
{
	char *options[] = {(char *)"create_filesystem", (char *)"encryption_key=ephemeral"};
	Grpc__Storage s = GRPC__STORAGE__INIT, *v[] = {&s};
	struct container_options o = {.script = "sleep 1000", .storages = v, .n_storages = 1};
	char mount_point[160];
	struct err e = ERR_INIT;
	unsigned before = count_mounts();

	(void)snprintf(mount_point, sizeof mount_point, "%s/encrypted", f.dir);
	s.driver = (char *)"blk";
	s.source = (char *)"/dev/loop1"; /* which nobody opens: the hub is told its number */
	s.fstype = (char *)"ext4";
	s.mount_point = mount_point;
	s.driver_options = options;
	s.n_driver_options = 2;
	atomic_store(&hub.mood, HUB_FAILS);
	assert_int_equal(create(&f, "crypt", &o, &e), STATUS_PERMISSION_DENIED);
	assert_int_equal(access(mount_point, F_OK), -1);
	atomic_store(&hub.mood, HUB_WORKS);
	if (create(&f, "crypt", &o, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_non_null(strstr(hub.text, "/encrypted deviceId=7:1 "));
	assert_int_equal(count_mounts(), before + 1);
	assert_int_equal(remove_container(&f, "crypt", 20), STATUS_OK);
	assert_int_equal(count_mounts(), before);
}

/* ---- All of it ---------------------------------------------------------------------------- */

/* A shell that says who it is, as the pause image of a guest. */
static void make_pause_bundle(void)
{
	char path[160];

	(void)snprintf(pause_bundle, sizeof pause_bundle, "%s/pause_bundle", top);
	(void)snprintf(path, sizeof path, "%s/rootfs/bin", pause_bundle);
	assert_int_equal(mkdir_parents(path, 0755), 0);
	(void)snprintf(path, sizeof path, "%s/rootfs/bin/sh", pause_bundle);
	_cleanup_buf_ struct buf busybox = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, "/bin/busybox", 16 << 20, &busybox), 0);
	assert_int_equal(file_replace(path, busybox.data, busybox.len, 0755), 0);
	(void)snprintf(path, sizeof path, "%s/config.json", pause_bundle);
	write_file(path, "{\"process\":{\"args\":[\"/bin/sh\",\"-c\",\"echo $WORD $(id -u)\"],"
			 "\"env\":[\"WORD=paused\",\"PATH=/bin\"],\"cwd\":\"/\","
			 "\"user\":{\"uid\":65535,\"gid\":65535}}}");
}

static int setup(void **state)
{
	(void)snprintf(top, sizeof top, "/tmp/test-confidential.XXXXXX");
	assert_non_null(mkdtemp(top));
	(void)snprintf(hub.socket, sizeof hub.socket, "%s/hub", top);
	make_pause_bundle();
	assert_int_equal(setenv("KATA_AGENT_CDH_ADDR", hub.socket, 1), 0);
	assert_int_equal(setenv("KATA_AGENT_PAUSE_BUNDLE", pause_bundle, 1), 0);
	fixture_start(&f, agent_program);
	hub.rootfs = f.rootfs;
	static char rootfs[sizeof f.rootfs];
	memcpy(rootfs, f.rootfs, sizeof rootfs);
	hub.rootfs = rootfs;
	hub_start(&hub);
	return 0;
}

static int teardown(void **state)
{
	int status = fixture_stop(&f);

	hub_stop(&hub);
	return remove_tree(top) < 0 ? -1 : status;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_is_pulled),
		cmocka_unit_test(images_that_cannot_be_had),
		cmocka_unit_test(the_pause_image_is_the_guests_own),
		cmocka_unit_test(secrets_are_unsealed),
		cmocka_unit_test(a_disk_with_a_key_of_nobody),
		cmocka_unit_test(the_image_store_is_encrypted_once),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s AGENT\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
