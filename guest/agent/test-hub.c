/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/test-hub.h"

#include "base/fd.h"
#include "base/testing.h"
#include "io/testing.h"
#include "proto/confidential_data_hub.pb-c.h"
#include "rpc/listen.h"

#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* Whether the request has been dealt with already. */
static bool in_a_mood(struct hub *h, struct rpc_call *call)
{
	switch (atomic_load(&h->mood)) {
	case HUB_FAILS:
		rpc_call_failf(call, STATUS_PERMISSION_DENIED, "attestation has failed");
		return true;
	case HUB_IS_SILENT:
		h->kept[h->n_kept++ % 16] = call;
		return true;
	default:
		return false;
	}
}

static void pull_image(void *ctx, struct rpc_call *call)
{
	struct hub *h = ctx;
	const Api__ImagePullRequest *q = (const void *)rpc_call_request(call);
	char path[256];

	atomic_fetch_add(&h->pulls, 1);
	(void)snprintf(h->text, sizeof h->text, "%s %s", q->image_url, q->bundle_path);
	if (in_a_mood(h, call))
		return;
	(void)snprintf(path, sizeof path, "%s/rootfs", q->bundle_path);
	if (atomic_load(&h->mood) == HUB_WORKS && mkdir(path, 0755) == 0 && h->rootfs)
		(void)mount(h->rootfs, path, NULL, MS_BIND, NULL);
	rpc_call_reply(call, NULL);
}

static void secure_mount(void *ctx, struct rpc_call *call)
{
	struct hub *h = ctx;
	const Api__SecureMountRequest *q = (const void *)rpc_call_request(call);
	size_t n = 0;

	atomic_fetch_add(&h->mounts, 1);
	n = (size_t)snprintf(h->text, sizeof h->text, "%s on %s", q->volume_type, q->mount_point);
	for (size_t i = 0; i < q->n_options; i++)
		n += (size_t)snprintf(h->text + n, sizeof h->text - n, " %s=%s", q->options[i]->key,
				      q->options[i]->value);
	if (in_a_mood(h, call))
		return;
	if (atomic_load(&h->mood) == HUB_WORKS)
		(void)mount("hub", q->mount_point, "tmpfs", 0, NULL);
	rpc_call_reply(call, NULL);
}

static void unseal_secret(void *ctx, struct rpc_call *call)
{
	struct hub *h = ctx;
	const Api__UnsealSecretInput *q = (const void *)rpc_call_request(call);
	Api__UnsealSecretOutput response = API__UNSEAL_SECRET_OUTPUT__INIT;

	atomic_fetch_add(&h->unseals, 1);
	if (in_a_mood(h, call))
		return;
	response.plaintext.data = q->secret.data + 7;
	response.plaintext.len = q->secret.len - 7;
	rpc_call_reply(call, &response.base);
}

static void get_resource(void *ctx, struct rpc_call *call)
{
	const Api__GetResourceRequest *q = (const void *)rpc_call_request(call);
	Api__GetResourceResponse response = API__GET_RESOURCE_RESPONSE__INIT;

	if (in_a_mood(ctx, call))
		return;
	response.resource.data = (uint8_t *)q->resource_path;
	response.resource.len = strlen(q->resource_path);
	rpc_call_reply(call, &response.base);
}

static const struct rpc_method pull_methods[] = {{"PullImage", pull_image}, {NULL, NULL}};
static const struct rpc_method mount_methods[] = {{"SecureMount", secure_mount}, {NULL, NULL}};
static const struct rpc_method secret_methods[] = {{"UnsealSecret", unseal_secret}, {NULL, NULL}};
static const struct rpc_method resource_methods[] = {{"GetResource", get_resource}, {NULL, NULL}};

void hub_start(struct hub *h)
{
	/* borrowed by the server; there is one hub at a time */
	static struct rpc_service services[4];

	services[0] = (struct rpc_service){"api.ImagePullService",
					   &api__image_pull_service__descriptor, pull_methods, h};
	services[1] = (struct rpc_service){
		"api.SecureMountService", &api__secure_mount_service__descriptor, mount_methods, h};
	services[2] =
		(struct rpc_service){"api.SealedSecretService",
				     &api__sealed_secret_service__descriptor, secret_methods, h};
	services[3] =
		(struct rpc_service){"api.GetResourceService",
				     &api__get_resource_service__descriptor, resource_methods, h};
	int fd = rpc_listen_unix(h->socket, RPC_LISTEN_REPLACE_STALE, NULL);
	assert_true(fd >= 0);
	assert_int_equal(loop_new(&h->loop), 0);
	assert_int_equal(rpc_server_new(h->loop, &h->server), 0);
	for (size_t i = 0; i < ARRAY_SIZE(services); i++)
		assert_int_equal(rpc_server_add(h->server, &services[i]), 0);
	assert_int_equal(rpc_server_listen(h->server, fd), 0);
	assert_int_equal(testing_loop_start(h->loop, &h->thread), 0);
}

static void end(void *arg)
{
	struct hub *h = arg;

	rpc_server_free(h->server);
	for (unsigned i = 0; i < h->n_kept && i < 16; i++)
		rpc_call_reply(h->kept[i], NULL);
	h->n_kept = 0;
	loop_stop(h->loop);
}

void hub_stop(struct hub *h)
{
	if (!h->loop)
		return;
	assert_int_equal(loop_post(h->loop, end, h), 0);
	pthread_join(h->thread, NULL);
	loop_free(h->loop);
	h->loop = NULL;
	(void)unlink(h->socket);
}
