/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/bootstrap.h"

#include "base/clock.h"
#include "base/fd.h"

#include "proto/bootstrap.pb-c.h"
#include "proto/runtimeoptions.pb-c.h"

#include <poll.h>
#include <string.h>

#define INPUT_MAX (1u << 20)  /* options are a path and a few words */
#define INPUT_TIMEOUT_MS 2000 /* containerd has written all of it before we run */

#define BOOT(name) Containerd__Runtime__Bootstrap__V1__##name

static int read_input(struct buf *ret)
{
	uint64_t deadline = time_deadline(INPUT_TIMEOUT_MS);
	struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};

	if (isatty(STDIN_FILENO))
		return 0;
	while (ret->len <= INPUT_MAX && poll(&pfd, 1, time_left_ms(deadline)) > 0) {
		char *p = buf_reserve(ret, 4096);
		if (!p)
			return -ENOMEM;
		ssize_t n = read(STDIN_FILENO, p, 4096);
		if (n <= 0)
			return 0; /* a closed or unreadable input is an empty one */
		ret->len += (size_t)n;
	}
	return ret->len > INPUT_MAX ? -EFBIG : 0;
}

/* Options of another kind are another runtime's, or none at all (google.protobuf.Empty). */
static int take_options(const Google__Protobuf__Any *any, struct bootstrap *ret, struct err *e)
{
	/* early releases had the package inside of another */
	if (!any || !strstr(any->type_url, runtimeoptions__v1__options__descriptor.name))
		return 0;
	Runtimeoptions__V1__Options *o =
		runtimeoptions__v1__options__unpack(NULL, any->value.len, any->value.data);
	if (!o)
		return err_set(e, -EINVAL, "the runtime's options (%s) cannot be decoded",
			       runtimeoptions__v1__options__descriptor.name);
	runtimeoptions__v1__options__free_unpacked(o, NULL);
	buf_clear(&ret->options);
	buf_append(&ret->options, any->value.data, any->value.len);
	return buf_failed(&ret->options) ? err_set(e, -ENOMEM, "out of memory") : 0;
}

static int use_params(const BOOT(BootstrapParams) * p, struct bootstrap *ret, struct err *e)
{
	bool has_dir = p->_socket_dir_case ==
		       CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS___SOCKET_DIR_SOCKET_DIR;

	ret->structured = true;
	ret->debug = (int)p->log_level < 0;
	for (size_t i = 0; i < p->n_extensions; i++) {
		int r = take_options(p->extensions[i]->value, ret, e);
		if (r < 0)
			return r;
	}
	if (path_format(ret->events, sizeof ret->events, "%s", p->containerd_ttrpc_address) < 0)
		return err_set(e, -ENAMETOOLONG,
			       "containerd_ttrpc_address \"%s\" is too long for a socket's path",
			       p->containerd_ttrpc_address);
	if (!has_dir || !p->socket_dir[0])
		return 0;
	if (p->socket_dir[0] != '/')
		return err_set(e, -EINVAL, "socket_dir \"%s\" must be an absolute path",
			       p->socket_dir);
	int r = path_format(ret->socket_dir, sizeof ret->socket_dir, "%s", p->socket_dir);
	return r < 0 ? err_set(e, r, "socket_dir \"%s\" is too long for a socket's path",
			       p->socket_dir)
		     : 0;
}

static int parse_any(const void *data, size_t len, struct bootstrap *ret, struct err *e)
{
	Google__Protobuf__Any *any = google__protobuf__any__unpack(NULL, len, data);
	if (!any)
		return 0;
	int r = take_options(any, ret, e);
	google__protobuf__any__free_unpacked(any, NULL);
	return r;
}

int bootstrap_parse(const struct cli *c, const void *data, size_t len, struct bootstrap *ret,
		    struct err *e)
{
	*ret = (struct bootstrap){.debug = c->debug, .socket_dir = SHIM_SOCKET_DIR};
	BOOT(BootstrapParams) *p =
		containerd__runtime__bootstrap__v1__bootstrap_params__unpack(NULL, len, data);
	bool ours =
		p && strcmp(p->instance_id, c->id) == 0 && strcmp(p->namespace_, c->namespace) == 0;
	int r = ours ? use_params(p, ret, e) : parse_any(data, len, ret, e);
	if (p)
		containerd__runtime__bootstrap__v1__bootstrap_params__free_unpacked(p, NULL);
	return r;
}

void bootstrap_deinit(struct bootstrap *b)
{
	buf_free(&b->options);
}

int bootstrap_read(const struct cli *c, struct bootstrap *ret, struct err *e)
{
	_cleanup_buf_ struct buf input = BUF_INIT;
	int r = read_input(&input);
	if (r < 0)
		return err_errno(e, r, "read standard input");
	return bootstrap_parse(c, input.data, input.len, ret, e);
}

int bootstrap_reply(const struct bootstrap *b, const char *address, struct err *e)
{
	BOOT(BootstrapResult) result = CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_RESULT__INIT;
	uint8_t packed[SHIM_SOCKET_PATH_MAX * 2];
	const void *out = address;
	size_t n = strlen(address);

	if (b->structured) {
		result.version = 3; /* containerd.task.v3, and no further `start` for the pod */
		result.address = (char *)address;
		result.protocol = "ttrpc";
		n = containerd__runtime__bootstrap__v1__bootstrap_result__pack(&result, packed);
		out = packed;
	}
	int r = fd_write_all(STDOUT_FILENO, out, n);
	return r < 0 ? err_errno(e, r, "write the address to standard output") : 0;
}
