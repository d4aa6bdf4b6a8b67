/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a driver of storages is to the table in storage.c, and what drivers share. Private to
 * storage*.c. Drivers run on workers, several at once; one storage is made by one of them.
 */
#pragma once

#include "base/list.h"
#include "engine/mount-options.h"
#include "guest/agent/storage.h"

#include <sys/types.h>

enum storage_state {
	STORAGE_MAKING,
	STORAGE_READY,
	STORAGE_REMOVING,
};

struct storage {
	struct list link; /* in the order made */
	char *mount_point;
	char *what; /* driver, file system and source, for people and to tell two apart */
	unsigned refs;
	enum storage_state state;
	bool shared;   /* outlives its users once one has kept it */
	bool kept;     /* by one of them */
	bool mounted;  /* at the mount point; storage.c unmounts it */
	bool made_dir; /* the mount point; storage.c removes it if it is empty */

	/* What else a driver made, undone after the unmount, also of a storage that was made by
	 * half. Called once; frees @driver_data. Or NULL. */
	void (*undo)(struct storage *s);
	void *driver_data;
};

/** One storage that shall be made, and by whom it is asked for. */
struct storage_request {
	const Grpc__Storage *s;
	const char *container; /* id; NULL: the sandbox asks */

	/* all that are asked for together: some of them may make one with this one */
	Grpc__Storage *const *all;
	size_t n_all;
};

struct storage_driver {
	const char *name;
	/* Makes the storage and notes in @to what is to be undone; the caller undoes, also after a
	 * failure. */
	int (*make)(const struct storage_env *env, const struct storage_request *q,
		    struct storage *to, struct err *e);
	bool owns_files; /* what is in it is not the volume's: there is no fs_group to apply */
};

/* storage-memory.c */
int storage_make_virtio_fs(const struct storage_env *env, const struct storage_request *q,
			   struct storage *to, struct err *e);
int storage_make_ephemeral(const struct storage_env *env, const struct storage_request *q,
			   struct storage *to, struct err *e);
int storage_make_local(const struct storage_env *env, const struct storage_request *q,
		       struct storage *to, struct err *e);
int storage_make_bind(const struct storage_env *env, const struct storage_request *q,
		      struct storage *to, struct err *e);
/* storage-block.c: blk, mmioblk, nvdimm, scsi */
int storage_make_block(const struct storage_env *env, const struct storage_request *q,
		       struct storage *to, struct err *e);
/* storage-overlay.c */
int storage_make_overlay(const struct storage_env *env, const struct storage_request *q,
			 struct storage *to, struct err *e);

/* storage-layers.c */
extern const struct layer_mount_ops storage_layer_ops;
/** Which of the layers among @v stands for all of them. */
int storage_layers_target(Grpc__Storage *const *v, size_t n, const Grpc__Storage **ret,
			  struct err *e);
/** Makes all layers of the request one overlay. */
int storage_make_layers(const struct storage_env *env, const struct storage_request *q,
			struct storage *to, struct err *e);

/* storage-watch.c */
int storage_make_watchable(const struct storage_env *env, const struct storage_request *q,
			   struct storage *to, struct err *e);
/* storage-cdh.c */
int storage_make_pulled(const struct storage_env *env, const struct storage_request *q,
			struct storage *to, struct err *e);
/** Mounts a disk encrypted with a key that nobody keeps, with a new file system, ext4. */
int storage_make_encrypted(const struct storage_env *env, const struct storage_request *q,
			   dev_t device, struct storage *to, struct err *e);
/** Whether the JSON of a driver option image_guest_pull means the pod's own container. */
int storage_pull_is_sandbox(const char *text, bool *ret, struct err *e);
/** Applies new options to a mounted ephemeral storage. */
int storage_reconfigure(const Grpc__Storage *s, struct err *e);

/* ---- storage-common.c: what drivers share ------------------------------------------------- */

/** Options that are for us, not for the kernel. */
struct storage_own_options {
	bool has_gid, has_mode;
	gid_t gid;
	mode_t mode;
};

/**
 * Splits a storage's options: ours into @own, the rest into @rest (whose strings are borrowed; free
 * its vector). @with_mode: there is no file system of its own that would take "mode=".
 */
int storage_split_options(const Grpc__Storage *s, bool with_mode, struct storage_own_options *own,
			  struct oci_strv *rest, struct err *e);
/** Applies group and mode to an open directory or file; @path is for the sentence. */
int storage_apply_own(int fd, const struct storage_own_options *own, const char *path,
		      struct err *e);
/** Makes the directory (or the file, if @file) that will be mounted on, if it is missing. */
int storage_make_mount_point(struct storage *to, bool file, struct err *e);
/** Attaches a mount that is ready at the mount point, and applies what is ours to it. */
int storage_attach(int mount_fd, struct storage *to, const struct storage_own_options *own,
		   struct err *e);
/**
 * Mounts a file system from the storage's source, or from the block device @source if that is not
 * NULL, with its options.
 */
int storage_mount_filesystem(const struct storage_env *env, const struct storage_request *q,
			     const char *fstype, const char *source, struct storage *to,
			     struct err *e);

static inline void cleanup_strv_frame(struct oci_strv *v)
{
	free(v->v);
}
