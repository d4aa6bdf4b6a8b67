/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/pause.h"

#include "base/fd.h"
#include "fmt/json.h"
#include "oci/arena.h"
#include "sys/inroot.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define WORDS_MAX 256

static const struct json_limits limits = {.bytes = 256u << 10, .depth = 32, .values = 16384};

static int load(const char *bundle, json_t **ret, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[PATH_MAX];

	int r = path_format(path, sizeof path, "%s/config.json", bundle);
	if (r == 0)
		r = file_read(AT_FDCWD, path, limits.bytes, &text);
	if (r < 0)
		return err_errno(e, r, "this guest image has no pause image: %s", path);
	r = json_text_parse(text.data ? text.data : "", text.len, &limits, ret, e);
	return r < 0 ? err_wrap(e, r, "%s", path) : 0;
}

static int copy_one(int from_dir, const char *from, int to_dir, const char *name)
{
	struct stat st;

	_cleanup_close_ int in = inroot_open(from_dir, from, O_RDONLY);
	if (in < 0)
		return in;
	if (fstat(in, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	_cleanup_close_ int out =
		openat(to_dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(out, in, NULL, (size_t)left);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		left -= n;
	}
	return fchmod(out, st.st_mode & 0777) < 0 ? -errno : 0;
}

static int copy_program(int from, int to, const char *program, struct err *e)
{
	char path[PATH_MAX], name[NAME_MAX + 1];

	int r = path_format(path, sizeof path, "rootfs/%s", program);
	if (r < 0)
		return err_set(e, r, "the pause image's program has too long a name");
	_cleanup_close_ int dir = inroot_parent(to, path, name);
	r = dir < 0 ? dir : copy_one(from, path, dir, name);
	return r < 0 ? err_errno(e, r, "copy the pause image's program %s", program) : 0;
}

/* The path of the program; @doc owns it. */
static int find_program(const json_t *doc, const char **ret, struct err *e)
{
	struct json_reader jr = {.e = e};
	struct json_at root = json_at_root(doc, "config.json"), process, args;

	json_read_need(&jr, &root, "process");
	(void)json_read_object(&jr, &root, "process", &process);
	if (jr.r == 0)
		json_read_need(&jr, &process, "args");
	if (jr.r == 0 && json_read_array(&jr, &process, "args", WORDS_MAX, &args) == 0 && jr.r == 0)
		return err_set(e, -EINVAL, "the pause image names no program");
	if (jr.r < 0)
		return jr.r;
	const struct json_at first = json_at_element(&args, 0);
	*ret = json_value_as_string(&jr, &first);
	if (jr.r == 0 && (*ret)[0] != '/')
		return err_set(e, -EINVAL, "the pause image's program is not an absolute path");
	return jr.r;
}

int pause_copy(const char *from, const char *to, struct err *e)
{
	json_t *doc;
	const char *program = NULL;

	int r = load(from, &doc, e);
	if (r < 0)
		return r;
	_cleanup_close_ int in = open(from, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int out = open(to, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (in < 0 || out < 0)
		r = err_errno(e, -errno, "open %s and %s", from, to);
	if (r == 0)
		r = find_program(doc, &program, e);
	if (r == 0)
		r = copy_program(in, out, program, e);
	if (r == 0) {
		r = copy_one(in, "config.json", out, "config.json");
		if (r < 0)
			(void)err_errno(e, r, "copy the pause image's configuration");
	}
	json_decref(doc);
	return r;
}

static void read_words(struct json_reader *jr, const struct json_at *process, const char *key,
		       struct oci_arena *arena, struct oci_strv *ret)
{
	struct json_at array;

	size_t n = json_read_array(jr, process, key, WORDS_MAX, &array);
	if (jr->r == 0 && oci_arena_strv(arena, n, ret) < 0)
		json_read_nomem(jr);
	for (size_t i = 0; jr->r == 0 && i < n; i++) {
		const struct json_at at = json_at_element(&array, i);
		const char *word = json_value_as_string(jr, &at);
		if (jr->r == 0 && !(ret->v[i] = oci_arena_strdup(arena, word)))
			json_read_nomem(jr);
	}
}

static int set_process(const json_t *doc, struct oci_spec *s, struct err *e)
{
	struct json_reader jr = {.e = e};
	const struct json_at root = json_at_root(doc, "config.json");
	struct json_at process, user;
	struct oci_process *p = &s->process;

	if (!json_read_object(&jr, &root, "process", &process))
		return jr.r < 0 ? jr.r : err_set(e, -EINVAL, "the pause image has no process");
	read_words(&jr, &process, "args", s->arena, &p->args);
	read_words(&jr, &process, "env", s->arena, &p->env);
	const char *cwd = json_read_string(&jr, &process, "cwd", "/");
	if (jr.r == 0 && !(p->cwd = oci_arena_strdup(s->arena, cwd)))
		json_read_nomem(&jr);
	if (json_read_object(&jr, &process, "user", &user)) {
		p->user.uid = (uint32_t)json_read_uint(&jr, &user, "uid", UINT32_MAX - 1, 0);
		p->user.gid = (uint32_t)json_read_uint(&jr, &user, "gid", UINT32_MAX - 1, 0);
	}
	return jr.r;
}

int pause_set_process(const char *from, struct oci_spec *s, struct err *e)
{
	const char *program;
	json_t *doc;

	int r = load(from, &doc, e);
	if (r < 0)
		return r;
	r = find_program(doc, &program, e);
	if (r == 0)
		r = set_process(doc, s, e);
	json_decref(doc);
	return r;
}
