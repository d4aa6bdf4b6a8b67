/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/extension.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "guest/agent/uevent.h"
#include "sys/dm.h"
#include "sys/mountfd.h"
#include "sys/partition.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define FAMILY "kata.extension."
#define WORD ".verity_params"
/* The designers' name for the disk, and for what is mapped of it */
#define SERIAL "extension-"
#define SPACE " \t\r\n\f\v"
/* A root hash and the longest salt in hexadecimal digits, and numbers */
#define PARAMS_MAX 1024
/* Blocks of any disk, with room to multiply */
#define BLOCKS_MAX (UINT64_MAX / 8192)

/* ---- The command line --------------------------------------------------------------------- */

enum field { ROOT_HASH, SALT, DATA_BLOCKS, DATA_BLOCK_SIZE, HASH_BLOCK_SIZE, N_FIELDS };

static const char *const fields[N_FIELDS] = {
	[ROOT_HASH] = "root_hash",
	[SALT] = "salt",
	[DATA_BLOCKS] = "data_blocks",
	[DATA_BLOCK_SIZE] = "data_block_size",
	[HASH_BLOCK_SIZE] = "hash_block_size",
};

static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (errno || *end || n == 0 || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int set_field(struct verity *v, enum field f, const char *value)
{
	uint64_t n = 0;
	int r = 0;

	switch (f) {
	case ROOT_HASH:
		return verity_parse_hex(value, sizeof v->root, v->root, &v->root_len);
	case SALT:
		if (!*value || strcmp(value, "-") == 0)
			return 0;
		return verity_parse_hex(value, sizeof v->salt, v->salt, &v->salt_len);
	case DATA_BLOCKS:
		return parse_number(value, BLOCKS_MAX, &v->data_blocks);
	case DATA_BLOCK_SIZE:
		r = parse_number(value, VERITY_BLOCK_MAX, &n);
		v->data_block_bytes = (uint32_t)n;
		return r;
	case HASH_BLOCK_SIZE:
		r = parse_number(value, VERITY_BLOCK_MAX, &n);
		v->hash_block_bytes = (uint32_t)n;
		return r;
	case N_FIELDS:
		break;
	}
	return -EINVAL;
}

static int parse_pair(struct verity *v, char *pair, unsigned *given, struct err *e)
{
	char *value = strchr(pair, '=');

	if (value)
		*value++ = '\0';
	for (int f = 0; f < N_FIELDS; f++) {
		if (strcmp(fields[f], pair) != 0)
			continue;
		if (*given & 1U << f)
			return err_set(e, -EINVAL, "%s is given twice", pair);
		*given |= 1U << f;
		int r = value ? set_field(v, (enum field)f, value) : -EINVAL;
		return r < 0 ? err_set(e, r, "%s=%.200s: not a value for it", pair,
				       value ? value : "")
			     : 0;
	}
	return err_set(e, -EINVAL, "%.64s is not known", pair);
}

static int parse_params(const char *text, struct verity *ret, struct err *e)
{
	struct verity v = {.hash_type = 1,
			   .data_block_bytes = 4096,
			   .hash_block_bytes = 4096,
			   .algorithm = "sha256"};
	char copy[PARAMS_MAX], *save = NULL;
	unsigned given = 0;
	int r = 0;

	if ((size_t)snprintf(copy, sizeof copy, "%s", text) >= sizeof copy)
		return err_set(e, -E2BIG, "longer than %zu bytes", sizeof copy - 1);
	for (char *p = strtok_r(copy, ",", &save); r == 0 && p; p = strtok_r(NULL, ",", &save))
		r = parse_pair(&v, p, &given, e);
	if (r < 0)
		return r;
	if (!(given & 1U << ROOT_HASH) || !(given & 1U << DATA_BLOCKS))
		return err_set(e, -EINVAL, "%s is missing",
			       given & 1U << ROOT_HASH ? fields[DATA_BLOCKS] : fields[ROOT_HASH]);
	*ret = v;
	return 0;
}

static bool name_valid(const char *s, size_t len)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789_-";
	return len > 0 && len <= EXTENSION_NAME_MAX && strspn(s, chars) >= len;
}

/* @word begins with the family's name. Other words of the family are none of ours. */
static int parse_word(const char *word, struct extensions *x, struct err *e)
{
	const char *name = word + strlen(FAMILY), *value = strchr(name, '=');
	size_t len = value ? (size_t)(value - name) : strlen(name), tail = strlen(WORD);

	if (len < tail || strncmp(name + len - tail, WORD, tail) != 0)
		return err_set(e, -EINVAL, "%.100s: not a word about an extension", word);
	len -= tail;
	if (!name_valid(name, len))
		return err_set(e, -EINVAL,
			       "%.100s: a name has 1 to %d letters, digits, \"_\" and \"-\"", word,
			       EXTENSION_NAME_MAX);
	if (x->n == EXTENSIONS_MAX)
		return err_set(e, -E2BIG, "more than %d extensions", EXTENSIONS_MAX);
	struct extension *xn = &x->v[x->n];
	memset(xn, 0, sizeof *xn);
	memcpy(xn->name, name, len);
	for (size_t i = 0; i < x->n; i++)
		if (strcmp(x->v[i].name, xn->name) == 0)
			return err_set(e, -EEXIST, "extension %s is given twice", xn->name);
	x->n++;
	xn->verified = value && value[1];
	int r = xn->verified ? parse_params(value + 1, &xn->verity, e) : 0;
	return r < 0 ? err_wrap(e, r, FAMILY "%s" WORD, xn->name) : 0;
}

int extensions_parse(const char *cmdline, struct extensions *ret, struct err *e)
{
	int r = 0;

	ret->n = 0;
	char *text = strdup(cmdline), *save = NULL;
	if (!text)
		return err_set(e, -ENOMEM, "no memory for the kernel's command line");
	for (char *w = strtok_r(text, SPACE, &save); r == 0 && w; w = strtok_r(NULL, SPACE, &save))
		if (strncmp(w, FAMILY, strlen(FAMILY)) == 0)
			r = parse_word(w, ret, e);
	free(text);
	return r;
}

/* ---- The disk ----------------------------------------------------------------------------- */

/* @skip: bytes of a head before the serial. Spaces at its ends are a disk's padding. */
static bool serial_is(int disk, const char *file, size_t skip, const char *serial)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	if (file_read(disk, file, 4096, &text) < 0 || text.len <= skip)
		return false;
	const char *at = text.data + skip + strspn(text.data + skip, " ");
	size_t len = strlen(serial);
	return strncmp(at, serial, len) == 0 && at[len + strspn(at + len, " \n")] == '\0';
}

static bool is_disk(int block, const char *name, const char *serial)
{
	if (name[0] == '.')
		return false;
	_cleanup_close_ int disk = openat(block, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (disk < 0)
		return false;
	/* virtio-blk; NVMe; SCSI's page of vital product data: SPC-4, "Unit Serial Number" */
	return serial_is(disk, "serial", 0, serial) ||
	       serial_is(disk, "device/serial", 0, serial) ||
	       serial_is(disk, "device/vpd_pg80", 4, serial);
}

int extension_find_disk(const char *sysfs, const char *serial, char ret[32])
{
	char path[256];
	int r = path_format(path, sizeof path, "%s/block", sysfs);
	if (r < 0)
		return r;
	DIR *d = opendir(path);
	if (!d)
		return errno == ENOENT ? -ENODEV : -errno;
	r = -ENODEV;
	for (struct dirent *de; r == -ENODEV && (de = readdir(d));)
		if (is_disk(dirfd(d), de->d_name, serial))
			r = path_format(ret, 32, "%s", de->d_name);
	closedir(d);
	return r;
}

/* A bus may still be looking for its disks: looks, listens, looks again, waits. */
static int wait_for_disk(const char *serial, uint64_t deadline_ms, char ret[32])
{
	char message[UEVENT_BYTES_MAX];

	int r = extension_find_disk("/sys", serial, ret);
	if (r != -ENODEV)
		return r;
	_cleanup_close_ int fd = uevent_socket(NULL);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	while (fd >= 0 && (r = extension_find_disk("/sys", serial, ret)) == -ENODEV) {
		int n = poll(&p, 1, time_left_ms(deadline_ms));
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		while (recv(fd, message, sizeof message, 0) >= 0) /* hints only */
			;
	}
	return r;
}

static int open_sized(const char *path, dev_t dev, uint64_t *ret_bytes, struct err *e)
{
	struct stat st;

	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || ioctl(fd, BLKGETSIZE64, ret_bytes) < 0)
		return err_errno(e, -errno, "open %s", path);
	if (st.st_rdev != dev)
		return err_set(e, -ENODEV, "%s is another device by now", path);
	return 0;
}

/* ---- Mounting ----------------------------------------------------------------------------- */

static int map(const struct extension *x, const struct partition *data,
	       const struct partition *hash, dev_t *ret, struct err *e)
{
	_cleanup_buf_ struct buf table = BUF_INIT;
	char data_dev[32], hash_dev[32], name[sizeof SERIAL + sizeof x->name];
	uint64_t data_bytes, hash_bytes;

	int r = open_sized(data->path, data->dev, &data_bytes, e);
	if (r == 0)
		r = open_sized(hash->path, hash->dev, &hash_bytes, e);
	if (r == 0)
		r = verity_check(&x->verity, data_bytes, hash_bytes, e);
	if (r < 0)
		return r;
	_cleanup_close_ int control = dm_open(e);
	if (control < 0)
		return control;
	(void)snprintf(data_dev, sizeof data_dev, "%u:%u", major(data->dev), minor(data->dev));
	(void)snprintf(hash_dev, sizeof hash_dev, "%u:%u", major(hash->dev), minor(hash->dev));
	(void)snprintf(name, sizeof name, SERIAL "%s", x->name);
	if (verity_table(&x->verity, data_dev, hash_dev, "", &table) < 0)
		return err_set(e, -ENOMEM, "no memory for a verity table");
	const struct dm_target t = {
		.type = "verity", .sectors = verity_sectors(&x->verity), .params = table.data};
	return dm_make(control, name, &t, ret, e);
}

static int mount_device(const struct extension *x, const char *device, struct err *e)
{
	static const struct mountfd_option options[] = {{.key = "ro"}};
	char path[sizeof EXTENSIONS_DIR + sizeof x->name];

	(void)snprintf(path, sizeof path, EXTENSIONS_DIR "/%s", x->name);
	int r = mkdir_parents(path, 0755);
	if (r < 0)
		return err_errno(e, r, "make %s", path);
	_cleanup_close_ int fd =
		mountfd_new("erofs", device, options, ARRAY_SIZE(options),
			    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, e);
	if (fd < 0)
		return fd;
	_cleanup_close_ int target = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
	if (target < 0)
		return err_errno(e, -errno, "open %s", path);
	r = mountfd_attach(fd, target);
	return r < 0 ? err_errno(e, r, "mount on %s", path) : 0;
}

static void unmap(const struct extension *x, dev_t dev)
{
	char name[sizeof SERIAL + sizeof x->name];

	(void)snprintf(name, sizeof name, SERIAL "%s", x->name);
	dm_remove_node(name, dev);
	_cleanup_close_ int control = dm_open(NULL);
	if (control >= 0)
		(void)dm_remove(control, name, NULL);
}

static int mount_verified(const struct extension *x, const struct partition *data,
			  const struct partition *hash, struct err *e)
{
	char name[sizeof SERIAL + sizeof x->name], path[sizeof name + 16];
	dev_t dev;

	int r = map(x, data, hash, &dev, e);
	if (r < 0)
		return r;
	(void)snprintf(name, sizeof name, SERIAL "%s", x->name);
	r = dm_make_node(name, dev, path, sizeof path, e);
	if (r == 0)
		r = mount_device(x, path, e);
	if (r < 0)
		unmap(x, dev);
	return r;
}

/* 1 if the disk has that partition, 0 if not. */
static int find_partition(const char *disk, unsigned number, struct partition *ret, struct err *e)
{
	int r = partition_known(disk, number, ret, e);
	if (r == -ENODEV)
		return 0;
	return r < 0 ? r : 1;
}

static int mount_disk(const struct extension *x, const char *disk, struct err *e)
{
	struct partition data, hash;

	int has_data = find_partition(disk, 1, &data, e);
	int has_hash = has_data < 0 ? has_data : find_partition(disk, 2, &hash, e);
	if (has_hash < 0)
		return has_hash;
	if (has_hash && !x->verified)
		return err_set(e, -EPERM,
			       "disk %s has a hash tree, but the kernel's command line has no root "
			       "hash for it",
			       disk);
	if (x->verified && (!has_hash || !has_data))
		return err_set(e, -EPERM,
			       "disk %s has no partition %d, but shall be held against a root hash",
			       disk, has_data ? 2 : 1);
	if (x->verified)
		return mount_verified(x, &data, &hash, e);
	log_warn("extension %s is mounted as it is: nothing protects it", x->name);
	return mount_device(x, has_data ? data.path : disk, e);
}

static int mount_one(const struct extension *x, uint64_t deadline_ms, struct err *e)
{
	char serial[sizeof SERIAL + sizeof x->name], name[32], disk[40];

	(void)snprintf(serial, sizeof serial, SERIAL "%s", x->name);
	int r = wait_for_disk(serial, deadline_ms, name);
	if (r == -ENODEV)
		return err_set(e, r, "there is no disk with the serial %s", serial);
	if (r < 0)
		return err_errno(e, r, "look for the disk with the serial %s", serial);
	(void)snprintf(disk, sizeof disk, "/dev/%s", name);
	r = mount_disk(x, disk, e);
	if (r == 0)
		log_info("extension %s is mounted from %s", x->name, disk);
	return r;
}

int extensions_mount(const struct extensions *x, struct modules *m, uint64_t timeout_ms,
		     struct err *e)
{
	static const char *const wanted[] = {"dm-verity", "sha256_generic"};
	uint64_t deadline_ms = time_deadline(timeout_ms);
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (modules_has(m, wanted[i]))
			(void)modules_load(m, wanted[i], NULL, NULL);
	modules_for_filesystem(m, "erofs");
	for (size_t i = 0; r == 0 && i < x->n; i++) {
		r = mount_one(&x->v[i], deadline_ms, e);
		if (r < 0)
			return err_wrap(e, r, "extension %s", x->v[i].name);
	}
	return r;
}
