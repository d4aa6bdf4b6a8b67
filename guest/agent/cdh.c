/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/cdh.h"

#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent/cdh-internal.h"
#include "proto/confidential_data_hub.pb-c.h"
#include "rpc/listen.h"
#include "rpc/rpc.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define TRUSTED_STORE "/dev/trusted_store"

int cdh_new(struct loop *loop, const struct cdh_options *o, struct cdh **ret)
{
	struct cdh *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->loop = loop;
	c->options = *o;
	pthread_mutex_init(&c->store_lock, NULL);
	*ret = c;
	return 0;
}

void cdh_free(struct cdh *c)
{
	char path[160];

	if (!c)
		return;
	if (c->has_store && path_format(path, sizeof path, "%s/image", c->options.state_dir) == 0)
		(void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	pthread_mutex_destroy(&c->store_lock);
	free(c);
}

bool cdh_is_there(const struct cdh *c)
{
	return access(c->options.socket, F_OK) == 0;
}

/* ---- Calls -------------------------------------------------------------------------------- */

static void free_client(void *arg)
{
	rpc_client_free(arg);
}

static int call(struct cdh *c, const ProtobufCServiceDescriptor *service, const char *method,
		const ProtobufCMessage *message, uint64_t timeout_ms, ProtobufCMessage **ret,
		struct err *e)
{
	struct rpc_request q = {
		.service = service, .method = method, .message = message, .timeout_ms = timeout_ms};
	struct rpc_client *client;

	int fd = rpc_connect_unix(c->options.socket, time_deadline(timeout_ms), e);
	if (fd < 0)
		return err_status(e, STATUS_UNAVAILABLE,
				  "%s: this guest has no Confidential Data Hub at %s: %s", method,
				  c->options.socket, strerror(-fd));
	int r = rpc_client_new(c->loop, fd, NULL, NULL, &client);
	if (r < 0) {
		(void)close(fd);
		return err_errno(e, r, "speak to the Confidential Data Hub");
	}
	r = rpc_client_call(client, &q, ret, e);
	while (loop_post(c->loop, free_client, client) < 0)
		(void)usleep(10 * 1000);
	return r < 0 ? err_wrap(e, r, "Confidential Data Hub") : 0;
}

int cdh_pull_image(struct cdh *c, const char *image, const char *bundle, struct err *e)
{
	Api__ImagePullRequest q = API__IMAGE_PULL_REQUEST__INIT;

	q.image_url = (char *)image;
	q.bundle_path = (char *)bundle;
	int r = call(c, &api__image_pull_service__descriptor, "PullImage", &q.base,
		     c->options.pull_timeout_ms, NULL, e);
	return r < 0 ? err_wrap(e, r, "pull image %.300s", image) : 0;
}

int cdh_unseal(struct cdh *c, const void *secret, size_t len, struct buf *ret, struct err *e)
{
	Api__UnsealSecretInput q = API__UNSEAL_SECRET_INPUT__INIT;
	ProtobufCMessage *response = NULL;

	q.secret.data = (uint8_t *)secret;
	q.secret.len = len;
	int r = call(c, &api__sealed_secret_service__descriptor, "UnsealSecret", &q.base,
		     c->options.api_timeout_ms, &response, e);
	if (r < 0)
		return r;
	const Api__UnsealSecretOutput *m = (const void *)response;
	buf_append(ret, m->plaintext.data, m->plaintext.len);
	protobuf_c_message_free_unpacked(response, NULL);
	return buf_failed(ret) ? err_set(e, -ENOMEM, "no memory for a secret") : 0;
}

int cdh_get_resource(struct cdh *c, const char *path, struct buf *ret, struct err *e)
{
	Api__GetResourceRequest q = API__GET_RESOURCE_REQUEST__INIT;
	ProtobufCMessage *response = NULL;

	q.resource_path = (char *)path;
	int r = call(c, &api__get_resource_service__descriptor, "GetResource", &q.base,
		     c->options.api_timeout_ms, &response, e);
	if (r < 0)
		return err_wrap(e, r, "get resource %.300s", path);
	const Api__GetResourceResponse *m = (const void *)response;
	buf_append(ret, m->resource.data, m->resource.len);
	protobuf_c_message_free_unpacked(response, NULL);
	return buf_failed(ret) ? err_set(e, -ENOMEM, "no memory for a resource") : 0;
}

/* ---- Encrypted disks ---------------------------------------------------------------------- */

static bool is_mount(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) == 0 &&
	       st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int secure_mount(struct cdh *c, dev_t device, const char *mount_point,
			const char *mkfs_options, struct err *e)
{
	Api__SecureMountRequest q = API__SECURE_MOUNT_REQUEST__INIT;
	char number[32];
	const char *const words[][2] = {
		{"deviceId", number},
		{"sourceType", "empty"},
		{"targetType", "fileSystem"},
		{"filesystemType", "ext4"},
		{"mkfsOpts", mkfs_options},
		{"encryptionType", "luks2"},
		{"dataIntegrity", c->options.integrity ? "true" : "false"},
	};
	Api__SecureMountRequest__OptionsEntry entries[ARRAY_SIZE(words)];
	Api__SecureMountRequest__OptionsEntry *list[ARRAY_SIZE(words)];

	(void)snprintf(number, sizeof number, "%u:%u", major(device), minor(device));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		api__secure_mount_request__options_entry__init(&entries[i]);
		entries[i].key = (char *)words[i][0];
		entries[i].value = (char *)words[i][1];
		list[i] = &entries[i];
	}
	q.volume_type = (char *)"block-device";
	q.options = list;
	q.n_options = ARRAY_SIZE(words);
	q.mount_point = (char *)mount_point;
	return call(c, &api__secure_mount_service__descriptor, "SecureMount", &q.base,
		    c->options.api_timeout_ms, NULL, e);
}

int cdh_mount_ephemeral(struct cdh *c, dev_t device, const char *mount_point,
			const char *mkfs_options, struct err *e)
{
	int r = mkdir_parents(mount_point, 0755);
	if (r < 0)
		return err_errno(e, r, "make directory %s", mount_point);
	r = secure_mount(c, device, mount_point, mkfs_options, e);
	if (r == 0 && !is_mount(mount_point))
		r = err_status(e, STATUS_INTERNAL,
			       "the Confidential Data Hub has mounted nothing there");
	return r < 0 ? err_wrap(e, r, "mount encrypted disk %u:%u on %s", major(device),
				minor(device), mount_point)
		     : 0;
}

static const struct oci_device *find_store(const struct oci_spec *s)
{
	for (size_t i = 0; i < s->n_devices; i++)
		if (strcmp(s->devices[i].path, TRUSTED_STORE) == 0)
			return &s->devices[i];
	return NULL;
}

int cdh_prepare_image_store(struct cdh *c, const struct oci_spec *s, struct err *e)
{
	const struct oci_device *d = find_store(s);
	char path[160];

	if (!d)
		return 0;
	int r = path_format(path, sizeof path, "%s/image", c->options.state_dir);
	if (r < 0)
		return err_set(e, r, "the state directory's path is too long");
	pthread_mutex_lock(&c->store_lock);
	if (!c->has_store) {
		r = cdh_mount_ephemeral(c, makedev((unsigned)d->major, (unsigned)d->minor), path,
					"-E lazy_journal_init", e);
		c->has_store = r == 0;
	}
	pthread_mutex_unlock(&c->store_lock);
	return r;
}
