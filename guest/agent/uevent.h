/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's announcements of devices (netlink, NETLINK_KOBJECT_UEVENT; the kernel's
 * lib/kobject_uevent.c).
 *
 * An announcement is taken for no more than a hint that sysfs has changed: whoever waits looks
 * there again. So nothing is remembered, and announcements that were lost, since too many came at
 * once, cost one more look.
 *
 * For the loop thread, but for what says otherwise.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#include <stddef.h>

/* Kinds of devices that somebody may wait for; bits. */
enum uevent_kind {
	UEVENT_BLOCK = 1,
	UEVENT_SCSI = 2, /* hosts, targets, disks */
	UEVENT_PCI = 4,
	UEVENT_NET = 8,
	UEVENT_CPU = 16,
	UEVENT_MEMORY = 32,
	UEVENT_VFIO = 64,
	UEVENT_NVDIMM = 128,
	UEVENT_ALL = 255, /* some were lost */
};

/* UEVENT_BUFFER_SIZE of the kernel is 2048, beside the path in the head. */
#define UEVENT_BYTES_MAX 8192

struct uevent {
	const char *action, *devpath, *subsystem; /* into the message */
	unsigned kind;				  /* one of the bits, or 0 */
};

/**
 * Reads one message: "ACTION@DEVPATH", then "KEY=value" strings, each with its NUL. -EINVAL if it
 * is none of the kernel's. Any thread.
 */
int uevent_parse(const char *message, size_t len, struct uevent *ret);

/** A socket that hears them, non-blocking; for who waits without a loop. Any thread. */
int uevent_socket(struct err *e);

struct uevents;

/** Begins to listen: @fn is called with the kinds of what came. */
int uevents_new(struct loop *l, void (*fn)(void *arg, unsigned kinds), void *arg,
		struct uevents **ret, struct err *e);
/** NULL is fine. */
void uevents_free(struct uevents *u);
