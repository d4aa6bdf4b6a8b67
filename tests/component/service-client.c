/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/component/service-client.h"

#include "base/testing.h"

#include "base/fd.h"
#include "resource/share-fs.h"
#include "runtimes/sandbox.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int service_call(struct rpc_client *client, const struct rpc_request *req, void *ret_response,
		 struct err *e)
{
	ProtobufCMessage *response = NULL;
	*e = ERR_INIT;
	int r = rpc_client_call(client, req, &response, e);
	if (r == 0 && ret_response)
		*(ProtobufCMessage **)ret_response = response;
	else if (r == 0)
		protobuf_c_message_free_unpacked(response, NULL);
	if (r < 0 && getenv("TEST_CALLS"))
		(void)fprintf(stderr, "%s: %s\n", req->method, e->text);
	return r == 0 ? 0 : -e->status;
}

void assert_pod_gone(const char *sid)
{
	char path[256];
	(void)snprintf(path, sizeof path, "%s/%s", SANDBOX_RUN_DIR, sid);
	assert_int_equal(access(path, F_OK), -1);
	(void)snprintf(path, sizeof path, "%s/%s", SHARE_FS_HOST_DIR, sid);
	assert_int_equal(access(path, F_OK), -1);
	_cleanup_buf_ struct buf mounts = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &mounts), 0);
	assert_null(strstr(mounts.data, sid));
}
