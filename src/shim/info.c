/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"
#include "shim/actions.h"
#include "shim/version.h"

#include "proto/containerd_types.pb-c.h"

int shim_info(struct err *e)
{
	Containerd__Types__RuntimeVersion version = CONTAINERD__TYPES__RUNTIME_VERSION__INIT;
	Containerd__Types__RuntimeInfo info = CONTAINERD__TYPES__RUNTIME_INFO__INIT;
	Containerd__Types__RuntimeInfo__AnnotationsEntry mounts =
		CONTAINERD__TYPES__RUNTIME_INFO__ANNOTATIONS_ENTRY__INIT;
	Containerd__Types__RuntimeInfo__AnnotationsEntry *annotations[] = {&mounts};

	version.version = SHIM_COMPAT_VERSION;
	version.revision = SHIM_COMMIT;
	/* the kinds of rootfs mounts that containerd may leave to the shim */
	mounts.key = "containerd.io/runtime-allow-mounts";
	mounts.value = "mkdir/*,format/*,erofs";
	info.name = SHIM_RUNTIME_NAME;
	info.version = &version;
	info.annotations = annotations;
	info.n_annotations = 1;

	uint8_t out[1024];
	if (containerd__types__runtime_info__get_packed_size(&info) > sizeof out)
		return err_set(e, -EMSGSIZE, "RuntimeInfo is too long");
	size_t n = containerd__types__runtime_info__pack(&info, out);
	int r = fd_write_all(STDOUT_FILENO, out, n);
	return r < 0 ? err_errno(e, r, "write RuntimeInfo to stdout") : 0;
}
