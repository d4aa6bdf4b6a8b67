/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/initdata.h"

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "fmt/json.h"
#include "guest/agent/policy.h"
#include "io/tool.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC "initdata"
#define VERSION "0.1.0"
#define PARSE_TIMEOUT_MS 20000

struct header {
	char magic[8];
	uint64_t len; /* little endian; of the gzip that follows */
};

/* ---- The disk ------------------------------------------------------------------------------ */

static bool is_disk_name(const char *name)
{
	return strncmp(name, "vd", 2) == 0 || strncmp(name, "sd", 2) == 0;
}

/* Opens a disk if it is one of initdata; -ENOENT if not. */
static int open_if_initdata(int dev, const char *name, struct header *ret)
{
	struct stat st;

	_cleanup_close_ int fd = openat(dev, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode)))
		return -ENOENT;
	if (pread(fd, ret, sizeof *ret, 0) != (ssize_t)sizeof *ret ||
	    memcmp(ret->magic, MAGIC, sizeof ret->magic) != 0)
		return -ENOENT;
	return TAKE_FD(fd);
}

static int find_disk(const char *dir, struct header *ret)
{
	int fd = -ENOENT;

	DIR *d = opendir(dir);
	if (!d)
		return -errno;
	for (struct dirent *de; fd == -ENOENT && (de = readdir(d));)
		if (is_disk_name(de->d_name))
			fd = open_if_initdata(dirfd(d), de->d_name, ret);
	closedir(d);
	return fd;
}

static int read_packed(int fd, uint64_t len, struct buf *ret, struct err *e)
{
	char chunk[65536];

	if (len > INITDATA_PACKED_MAX)
		return err_set(e, -EFBIG, "%" PRIu64 " bytes: more than %u", len,
			       INITDATA_PACKED_MAX);
	for (uint64_t at = 0; at < len;) {
		size_t want = len - at < sizeof chunk ? (size_t)(len - at) : sizeof chunk;
		ssize_t n = pread(fd, chunk, want, (off_t)(sizeof(struct header) + at));
		if (n <= 0)
			return err_errno(e, n < 0 ? -errno : -EIO, "read byte %" PRIu64, at);
		buf_append(ret, chunk, (size_t)n);
		at += (uint64_t)n;
	}
	return buf_failed(ret) ? err_set(e, -ENOMEM, "no memory for it") : 0;
}

static int parse(const struct initdata_places *p, const char *operation, const struct buf *in,
		 size_t max, struct buf *ret, struct err *e)
{
	const char *argv[] = {p->parser, operation, NULL};
	const char *envp[] = {NULL};
	const struct tool_spec spec = {.argv = argv,
				       .envp = envp,
				       .input = in->data,
				       .input_len = in->len,
				       .output_max = max,
				       .timeout_ms = PARSE_TIMEOUT_MS};
	return tool_run(&spec, ret, e);
}

/* ---- What is in it ------------------------------------------------------------------------- */

static int check(const json_t *root, struct err *e)
{
	static const char *const algorithms[] = {"sha256", "sha384", "sha512"};
	const char *version = json_string_value(json_object_get(root, "version"));
	const char *algorithm = json_string_value(json_object_get(root, "algorithm"));
	const char *key;
	json_t *value;

	if (!version || strcmp(version, VERSION) != 0)
		return err_set(e, -EINVAL, "version is \"%.64s\": must be \"" VERSION "\"",
			       version ? version : "");
	bool known = false;
	for (size_t i = 0; algorithm && i < ARRAY_SIZE(algorithms); i++)
		known |= strcmp(algorithm, algorithms[i]) == 0;
	if (!known)
		return err_set(e, -EINVAL,
			       "algorithm is \"%.64s\": must be sha256, sha384 or sha512",
			       algorithm ? algorithm : "");
	if (!json_is_object(json_object_get(root, "data")))
		return err_set(e, -EINVAL, "data is missing, or no table");
	json_object_foreach (json_object_get(root, "data"), key, value)
		if (!json_is_string(value))
			return err_set(e, -EINVAL, "data.%.64s: must be a string", key);
	return 0;
}

static int write_file(const char *dir, const char *name, const char *data, size_t len,
		      struct err *e)
{
	char path[256];

	int r = path_format(path, sizeof path, "%s/%s", dir, name);
	if (r == 0)
		r = file_replace(path, data, len, 0600);
	return r < 0 ? err_errno(e, r, "write %s/%s", dir, name) : 0;
}

static int write_files(const char *dir, const struct buf *text, const json_t *data, struct err *e)
{
	static const char *const names[] = {"aa.toml", "cdh.toml"};

	int r = mkdir_parents(dir, 0700);
	if (r < 0)
		return err_errno(e, r, "make %s", dir);
	r = write_file(dir, "initdata.toml", text->data, text->len, e);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++) {
		const json_t *file = json_object_get(data, names[i]);
		if (file)
			r = write_file(dir, names[i], json_string_value(file),
				       json_string_length(file), e);
	}
	return r;
}

static int apply(const struct initdata_places *p, const struct buf *text, const json_t *root,
		 struct policy *policy, struct err *e)
{
	const json_t *data = json_object_get(root, "data");
	const json_t *rego = json_object_get(data, "policy.rego");

	int r = check(root, e);
	if (r == 0)
		r = write_files(p->dir, text, data, e);
	if (r == 0 && rego) {
		r = policy_load(policy, json_string_value(rego), json_string_length(rego), e);
		if (r < 0)
			return err_wrap(e, r, "policy.rego");
	}
	return r;
}

static int load(const struct initdata_places *p, int disk, uint64_t len, struct policy *policy,
		struct err *e)
{
	static const struct json_limits limits = {
		.bytes = 8 * INITDATA_BYTES_MAX, .depth = 64, .values = 65536};
	_cleanup_buf_ struct buf packed = BUF_INIT, text = BUF_INIT, json = BUF_INIT;
	json_t *root = NULL;

	int r = read_packed(disk, len, &packed, e);
	if (r == 0)
		r = parse(p, "gunzip", &packed, INITDATA_BYTES_MAX, &text, e);
	if (r == 0)
		r = parse(p, "toml", &text, limits.bytes, &json, e);
	if (r == 0)
		r = json_text_parse(json.data ? json.data : "", json.len, &limits, &root, e);
	if (r == 0)
		r = apply(p, &text, root, policy, e);
	json_decref(root);
	return r;
}

int initdata_load(const struct initdata_places *p, struct policy *policy, struct err *e)
{
	struct header h;

	_cleanup_close_ int disk = find_disk(p->dev, &h);
	if (disk == -ENOENT)
		return 0;
	int r = disk < 0 ? err_errno(e, disk, "look at the disks in %s", p->dev)
			 : load(p, disk, le64toh(h.len), policy, e);
	if (r < 0)
		return err_wrap(e, r, "initdata");
	log_info("initdata is in force");
	return 0;
}
