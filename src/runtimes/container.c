/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/container.h"

#include "base/fd.h"
#include "base/log.h"
#include "oci/annotations.h"
#include "oci/hooks.h"
#include "oci/spec-proto.h"
#include "runtimes/guest-spec.h"
#include "runtimes/pod-spec.h"

#include <string.h>

#define REMOVE_TIMEOUT_S 10 /* how long the guest may take to end what is left in it */

int container_load(struct container_resources *c, struct err *e)
{
	int r = oci_spec_load(c->bundle, &c->spec, e);
	return r < 0 ? err_wrap(e, r, "OCI spec of container %s", c->id) : 0;
}

void container_resources_free(struct container_resources *c)
{
	undo_free(TAKE_PTR(c->undo));
	oci_spec_free(TAKE_PTR(c->spec));
	free(TAKE_PTR(c->id));
	free(TAKE_PTR(c->bundle));
}

/* ---- The shared directory -------------------------------------------------------------------- */

/* Pushes the undo of a mount that follows. */
static int push_mount(struct container_resources *c, const char *path, struct err *e)
{
	int r = undo_push(c->undo, UNDO_TREE, path, e);
	return r < 0 ? r : undo_push(c->undo, UNDO_MOUNT, path, e);
}

static int mount_rootfs(struct container_resources *c, const struct rootfs_mount *rootfs, size_t n,
			struct err *e)
{
	char dir[512], target[520];
	int r = path_format(dir, sizeof dir, "%s/%s", share_fs_host_dir(sandbox_share(c->sandbox)),
			    c->id);
	if (r == 0)
		r = path_format(target, sizeof target, "%s/rootfs", dir);
	if (r < 0)
		return err_set(e, r, "container id %s is too long for a path", c->id);

	r = undo_push(c->undo, UNDO_TREE, dir, e);
	if (r == 0)
		r = push_mount(c, target, e);
	if (r < 0)
		return r;
	r = mkdir_parents(target, 0755);
	if (r < 0)
		return err_errno(e, r, "make directory %s", target);
	if (n > 0)
		return rootfs_mount_all(rootfs, n, target, e);

	/* containerd mounted nothing: the spec names a directory that is there already */
	char source[4096];
	bool absolute = c->spec->root_path[0] == '/';
	r = path_format(source, sizeof source, "%s%s%s", absolute ? "" : c->bundle,
			absolute ? "" : "/", c->spec->root_path);
	if (r < 0)
		return err_set(e, r, "root.path is too long");
	return rootfs_bind(source, target, true, false, e);
}

/* Volumes are named after container, number and file, so that they can be told apart in the guest.
 */
static int share_mount(void *arg, const char *source, bool recursive, bool read_only, char *ret,
		       size_t size, struct err *e)
{
	struct container_resources *c = arg;
	char name[300], target[600];
	const char *slash = strrchr(source, '/');
	int r = path_format(name, sizeof name, "%.64s-%04u-%.64s", c->id, c->n_shared++,
			    slash && slash[1] ? slash + 1 : "root");
	if (r == 0)
		r = path_format(target, sizeof target, "%s/%s",
				share_fs_host_dir(sandbox_share(c->sandbox)), name);
	if (r == 0)
		r = path_format(ret, size, "%s/%s", SHARE_FS_GUEST_PASSTHROUGH, name);
	if (r < 0)
		return err_set(e, r, "the path of %s in the shared directory is too long", source);
	r = push_mount(c, target, e);
	return r < 0 ? r : rootfs_bind(source, target, recursive, read_only, e);
}

/* ---- The guest --------------------------------------------------------------------------------
 */

static void ignore_answer(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
}

/* It may have been created although nobody was told so; its name shall be free again. Not waited
 * for: that guest is late already. */
static void forget_in_guest(struct container_resources *c)
{
	Grpc__RemoveContainerRequest req = GRPC__REMOVE_CONTAINER_REQUEST__INIT;

	req.container_id = c->id;
	(void)agent_start(sandbox_agent(c->sandbox), "RemoveContainer", &req.base,
			  REMOVE_TIMEOUT_S * 1000, ignore_answer, NULL, NULL);
}

static int create_in_guest(struct container_resources *c, struct err *e)
{
	char guest_root[400];
	bool pidns = false;
	int r = path_format(guest_root, sizeof guest_root, "%s/%s/rootfs",
			    SHARE_FS_GUEST_PASSTHROUGH, c->id);
	if (r < 0)
		return err_set(e, r, "container id %s is too long for a path", c->id);

	const struct guest_spec_params p = {
		.container_type = oci_container_type_name(oci_container_type(c->spec)),
		.bundle = c->bundle,
		.guest_root = guest_root,
		.disable_seccomp = sandbox_config(c->sandbox)->runtime.disable_guest_seccomp,
		.share = share_mount,
		.share_arg = c,
	};
	r = guest_spec_edit(c->spec, &p, &pidns, e);
	if (r < 0)
		return r;

	Grpc__CreateContainerRequest req = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	r = oci_spec_to_proto(c->spec, &req.oci, e);
	if (r < 0)
		return r;
	req.container_id = c->id;
	req.sandbox_pidns = pidns;
	r = agent_call(sandbox_agent(c->sandbox), "CreateContainer", &req.base, NULL, e);
	grpc__spec__free_unpacked(req.oci, NULL);
	if (r == 0)
		c->in_guest = true;
	else if (e && e->status == STATUS_DEADLINE_EXCEEDED)
		forget_in_guest(c);
	return r;
}

static int remove_from_guest(struct container_resources *c, struct err *e)
{
	Grpc__RemoveContainerRequest req = GRPC__REMOVE_CONTAINER_REQUEST__INIT;

	req.container_id = c->id;
	req.timeout = REMOVE_TIMEOUT_S;
	c->in_guest = false;
	return agent_call(sandbox_agent(c->sandbox), "RemoveContainer", &req.base, NULL, e);
}

/* ---- Hooks ------------------------------------------------------------------------------------
 */

/* The host's hooks see the machine as the container's process: its pid is all that the host has. */
static char *hook_state(const struct container_resources *c, const char *status)
{
	return oci_state_json(c->spec, c->id, status, sandbox_pid(c->sandbox), c->bundle);
}

/* In the specification's order; the first that fails fails the creation. The container's namespaces
 * are the guest's, but for that of the network, which is the pod's on the host. */
static int run_create_hooks(struct container_resources *c, struct err *e)
{
	const struct {
		const struct oci_hook_list *list;
		const char *what;
		int netns_fd;
	} all[] = {
		{&c->hooks.prestart, "prestart", -1},
		{&c->hooks.create_runtime, "createRuntime", -1},
		{&c->hooks.create_container, "createContainer", sandbox_netns_fd(c->sandbox)},
	};
	_cleanup_free_ char *state = hook_state(c, "creating");
	int r = state ? 0 : err_set(e, -ENOMEM, "out of memory");

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(all); i++)
		r = oci_hooks_run_in(all[i].list, all[i].netns_fd, state, all[i].what, e);
	return r;
}

/* Those whose failures are only logged. */
static void run_late_hooks(const struct container_resources *c, const struct oci_hook_list *list,
			   const char *status, const char *what)
{
	struct err e = ERR_INIT;

	if (list->n == 0 || !c->spec)
		return;
	_cleanup_free_ char *state = hook_state(c, status);
	if (!state)
		log_error("container %s: out of memory for its %s hooks", c->id, what);
	else if (oci_hooks_run_all(list, state, what, &e) < 0)
		log_warn("container %s: %s", c->id, e.text);
}

static bool has_create_hooks(const struct container_resources *c)
{
	return c->hooks.prestart.n + c->hooks.create_runtime.n + c->hooks.create_container.n > 0;
}

bool container_has_poststart(const struct container_resources *c)
{
	return c->hooks.poststart.n > 0;
}

void container_poststart(struct container_resources *c)
{
	run_late_hooks(c, &c->hooks.poststart, "running", "poststart");
}

/* ---- Both ways --------------------------------------------------------------------------------
 */

/* A spec is tens of kilobytes for each container; only hooks that are still to come need it. */
static void drop_spec(struct container_resources *c)
{
	if (c->hooks.poststart.n == 0 && c->hooks.poststop.n == 0)
		oci_spec_free(TAKE_PTR(c->spec));
}

int container_make(struct container_resources *c, const struct rootfs_mount *rootfs, size_t n,
		   struct err *e)
{
	int r = undo_new(sandbox_journal(c->sandbox), &c->undo);
	if (r < 0)
		return err_set(e, r, "out of memory");
	if (c->pod && (r = pod_spec_inherit(c->spec, c->pod, e)) < 0)
		return r;
	c->hooks = c->spec->hooks;
	r = mount_rootfs(c, rootfs, n, e);
	bool hooked = r == 0;
	if (r == 0 && has_create_hooks(c))
		r = run_create_hooks(c, e);
	if (r == 0)
		r = create_in_guest(c, e);
	if (r == 0) {
		drop_spec(c);
		return 0;
	}
	(void)undo_to(c->undo, 0);
	if (hooked) /* what its hooks have made, these take down */
		run_late_hooks(c, &c->hooks.poststop, "stopped", "poststop");
	return r;
}

int container_remove(struct container_resources *c, bool machine_lives, struct err *e)
{
	int r = 0;
	/* A guest that cannot end its container does not keep the host's mounts alive. */
	if (c->in_guest && machine_lives) {
		struct err guest = ERR_INIT;
		if (remove_from_guest(c, &guest) < 0 && guest.status != STATUS_NOT_FOUND)
			log_warn("remove container %s from the guest: %s", c->id, guest.text);
	}
	if (c->undo)
		r = undo_to(c->undo, 0);
	run_late_hooks(c, &c->hooks.poststop, "stopped", "poststop");
	return r < 0 ? err_errno(e, r, "undo what container %s did to the host", c->id) : 0;
}
