/* SPDX-License-Identifier: Apache-2.0 */
/* What the runtime asks of volumes and of files in them: usage, growth, a container's last words.
 * Every file system may hang, so each request works beside all others. */
#include "guest/agent/agent.h"

#include "base/fd.h"
#include "base/utf8.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <mntent.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

/* Of Kubernetes: a termination message; kubelet reads as much from the end of the file. */
#define TERMINATION_LOG_MAX 4096
#define TERMINATION_PATH "io.kubernetes.container.terminationMessagePath"

/* ---- GetVolumeStats ----------------------------------------------------------------------- */

static int open_volume(const char *path, struct err *e)
{
	if (!storage_mount_point_valid(path))
		return err_set(e, -EINVAL,
			       "volume \"%.300s\": not an absolute path without . and ..", path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_errno(e, -errno, "open volume %.300s", path) : fd;
}

static void stats_work(struct job *j)
{
	const Grpc__VolumeStatsRequest *q = (const void *)rpc_call_request(j->call);
	struct statfs *fs = j->result;

	_cleanup_close_ int fd = open_volume(q->volume_guest_path, &j->e);
	if (fd < 0)
		j->r = fd;
	else if (fstatfs(fd, fs) < 0)
		j->r = err_errno(&j->e, -errno, "statistics of volume %s", q->volume_guest_path);
}

static void reply_stats(struct rpc_call *call, const struct statfs *fs)
{
	Grpc__VolumeStatsResponse response = GRPC__VOLUME_STATS_RESPONSE__INIT;
	Grpc__VolumeUsage bytes = GRPC__VOLUME_USAGE__INIT, inodes = GRPC__VOLUME_USAGE__INIT;
	Grpc__VolumeUsage *usage[] = {&bytes, &inodes};
	Grpc__VolumeCondition condition = GRPC__VOLUME_CONDITION__INIT;
	uint64_t block = (uint64_t)(fs->f_frsize ? fs->f_frsize : fs->f_bsize);

	bytes.unit = GRPC__VOLUME_USAGE__UNIT__BYTES;
	bytes.total = fs->f_blocks * block;
	bytes.available = fs->f_bavail * block; /* to users: what root keeps for itself is not */
	bytes.used = (fs->f_blocks - fs->f_bfree) * block;
	inodes.unit = GRPC__VOLUME_USAGE__UNIT__INODES;
	inodes.total = fs->f_files;
	inodes.available = fs->f_ffree;
	inodes.used = fs->f_files - fs->f_ffree;
	condition.message = (char *)"OK";
	response.usage = usage;
	response.n_usage = ARRAY_SIZE(usage);
	response.volume_condition = &condition;
	rpc_call_reply(call, &response.base);
}

static void stats_done(struct job *j)
{
	if (j->r < 0)
		job_reply_empty(j); /* with the failure */
	else
		reply_stats(j->call, j->result);
	free(j->result);
}

void volume_stats(void *ctx, struct rpc_call *call)
{
	struct statfs *fs = calloc(1, sizeof *fs);
	struct job *j = fs ? job_new(ctx, call, NULL) : NULL;

	if (!fs) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
	} else if (!j) {
		free(fs);
	} else {
		j->result = fs;
		job_start_alone(j, stats_work, stats_done);
	}
}

/* ---- ResizeVolume ------------------------------------------------------------------------- */

/* fs/ext4/ext4.h: the file system's size in blocks */
#define EXT4_RESIZE _IOW('f', 16, uint64_t)

/* fs/xfs/libxfs/xfs_fs.h; its first version is all that we need */
struct xfs_geometry {
	uint32_t block_size, rt_extent_size, ag_blocks, ag_count, log_blocks, sector_size,
		inode_size, inode_max_percent;
	uint64_t blocks, rt_blocks, rt_extents, log_start;
	uint8_t uuid[16];
	uint32_t stripe_unit, stripe_width;
	int32_t version;
	uint32_t flags, log_sector_size, rt_sector_size, dir_block_size;
};

struct xfs_growth {
	uint64_t blocks;
	uint32_t inode_max_percent;
};

#define XFS_GEOMETRY _IOR('X', 100, struct xfs_geometry)
#define XFS_GROW _IOW('X', 110, struct xfs_growth)

static int device_bytes(dev_t dev, uint64_t *ret)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[64];

	(void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u/size", major(dev), minor(dev));
	int r = file_read(AT_FDCWD, path, 64, &text);
	if (r < 0)
		return r;
	*ret = strtoull(text.data ? text.data : "", NULL, 10) * 512; /* whatever its sectors are */
	return 0;
}

static int grow_ext4(int fd, uint64_t bytes, uint64_t block)
{
	uint64_t blocks = bytes / block;
	return ioctl(fd, EXT4_RESIZE, &blocks) < 0 ? -errno : 0;
}

static int grow_xfs(int fd, uint64_t bytes)
{
	struct xfs_geometry geometry;

	if (ioctl(fd, XFS_GEOMETRY, &geometry) < 0)
		return -errno;
	const struct xfs_growth growth = {.blocks = bytes / geometry.block_size,
					  .inode_max_percent = geometry.inode_max_percent};
	if (growth.blocks == geometry.blocks)
		return 0;
	return ioctl(fd, XFS_GROW, &growth) < 0 ? -errno : 0;
}

static int grow(int fd, const char *path, uint64_t size, struct err *e)
{
	struct stat st;
	struct statfs fs;
	uint64_t device;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return err_errno(e, -errno, "look at volume %s", path);
	if ((fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != XFS_SUPER_MAGIC) ||
	    device_bytes(st.st_dev, &device) < 0)
		return err_status(e, STATUS_UNIMPLEMENTED,
				  "volume %s: only ext4 and xfs on a block device can grow", path);
	if (size > device)
		return err_status(e, STATUS_FAILED_PRECONDITION,
				  "volume %s shall have %" PRIu64 " bytes, but its device has only "
				  "%" PRIu64,
				  path, size, device);
	if (size == 0)
		size = device;
	int r = fs.f_type == XFS_SUPER_MAGIC ? grow_xfs(fd, size)
					     : grow_ext4(fd, size, (uint64_t)fs.f_bsize);
	if (r == -EINVAL)
		return err_set(e, r, "volume %s cannot have %" PRIu64 " bytes: it does not shrink",
			       path, size);
	return r < 0 ? err_errno(e, r, "grow volume %s to %" PRIu64 " bytes", path, size) : 0;
}

static void resize_work(struct job *j)
{
	const Grpc__ResizeVolumeRequest *q = (const void *)rpc_call_request(j->call);

	_cleanup_close_ int fd = open_volume(q->volume_guest_path, &j->e);
	j->r = fd < 0 ? fd : grow(fd, q->volume_guest_path, q->size, &j->e);
}

void volume_resize(void *ctx, struct rpc_call *call)
{
	struct job *j = job_new(ctx, call, NULL);
	if (j)
		job_start_alone(j, resize_work, job_reply_empty);
}

/* ---- GetDiagnosticData -------------------------------------------------------------------- */

/* Where a container's termination log is in the guest: the source of the mount on it. */
static int termination_log(const struct oci_spec *s, const char **ret, struct err *e)
{
	const char *path = oci_spec_annotation(s, TERMINATION_PATH);

	if (!path)
		return err_status(e, STATUS_FAILED_PRECONDITION,
				  "no annotation " TERMINATION_PATH " names a termination log");
	for (size_t i = 0; i < s->n_mounts; i++) {
		const struct oci_mount *m = &s->mounts[i];
		if (strcmp(m->destination, path) == 0 && m->source && m->source[0] == '/') {
			*ret = m->source;
			return 0;
		}
	}
	return err_status(e, STATUS_FAILED_PRECONDITION,
			  "nothing is mounted on the termination log %.300s", path);
}

/* A string of protobuf is UTF-8, and a message is text: what is not is replaced. */
static void append_text(struct buf *to, const char *text, size_t len, bool cut)
{
	size_t i = 0;

	while (cut && i < len && i < 3 && ((unsigned char)text[i] & 0xc0) == 0x80)
		i++; /* the end of a character that was cut */
	while (i < len) {
		size_t n = text[i] ? utf8_char(text + i) : 0;
		if (n == 0) {
			buf_puts(to, "\xef\xbf\xbd");
			n = 1;
		} else {
			buf_append(to, text + i, n);
		}
		i += n;
	}
}

/* The file is the container's, who may have made anything of it. */
static int read_tail(const char *path, struct buf *ret, struct err *e)
{
	const struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
				     .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	char text[TERMINATION_LOG_MAX + 1];
	struct stat st;

	_cleanup_close_ int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, -errno, "open %s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "termination log %s: not a regular file", path);
	bool cut = st.st_size > TERMINATION_LOG_MAX;
	off_t from = cut ? st.st_size - TERMINATION_LOG_MAX : 0;
	ssize_t n = pread(fd, text, TERMINATION_LOG_MAX, from);
	if (n < 0)
		return err_errno(e, -errno, "read %s", path);
	text[n] = '\0';
	append_text(ret, text, (size_t)n, cut);
	return buf_failed(ret) ? err_set(e, -ENOMEM, "no memory for a termination log") : 0;
}

static void diagnostics_work(struct job *j)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	const struct oci_spec *s = j->container->spec;
	const char *path = NULL;

	j->r = s ? termination_log(s, &path, &j->e)
		 : err_status(&j->e, STATUS_NOT_FOUND, "the container is gone");
	if (j->r == 0)
		j->r = read_tail(path, &text, &j->e);
	if (j->r == 0)
		j->result = buf_take(&text);
}

static void diagnostics_done(struct job *j)
{
	Grpc__GetDiagnosticDataResponse response = GRPC__GET_DIAGNOSTIC_DATA_RESPONSE__INIT;

	if (j->r < 0) {
		job_reply_empty(j); /* with the failure */
	} else {
		response.data = j->result ? j->result : (char *)"";
		rpc_call_reply(j->call, &response.base);
	}
	free(j->result);
}

void volume_diagnostics(void *ctx, struct rpc_call *call)
{
	const Grpc__GetDiagnosticDataRequest *q = (const void *)rpc_call_request(call);
	struct err e = ERR_INIT;

	if (strcmp(q->log_type, "termination_log") != 0) {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT,
			       "log type \"%.80s\": must be termination_log", q->log_type);
		return;
	}
	struct container *c = container_find(ctx, q->container_id, &e);
	if (!c) {
		rpc_call_fail(call, &e);
		return;
	}
	struct job *j = job_new(ctx, call, c);
	if (j)
		job_start(j, diagnostics_work, diagnostics_done);
}

/* ---- RemoveStaleVirtiofsShareMounts ------------------------------------------------------- */

/* To look at a path makes the kernel ask the file server, and drop what is gone (forget.c). */
static void forget_work(struct job *j)
{
	char buffer[8192], share[160];
	struct mntent m;
	struct stat st;

	j->r = path_format(share, sizeof share, "%s/shared/containers/",
			   j->agent->options.state_dir);
	FILE *mounts = j->r == 0 ? setmntent("/proc/self/mounts", "re") : NULL;
	if (!mounts) {
		j->r = err_errno(&j->e, j->r < 0 ? j->r : -errno, "read the table of mounts");
		return;
	}
	while (getmntent_r(mounts, &m, buffer, sizeof buffer))
		if (strncmp(m.mnt_dir, share, strlen(share)) == 0 && stat(m.mnt_dir, &st) < 0)
			log_debug("%s: %s", m.mnt_dir, strerror(errno));
	(void)endmntent(mounts);
}

void volume_forget_stale(void *ctx, struct rpc_call *call)
{
	struct job *j = job_new(ctx, call, NULL);
	if (j)
		job_start_alone(j, forget_work, job_reply_empty);
}
