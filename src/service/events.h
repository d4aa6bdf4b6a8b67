/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events to containerd: Forward calls on its ttrpc socket, one after the other, so that their order
 * is kept. One whose connection broke before it was answered is sent again on the next: it arrives
 * at least once, and twice only where its answer was lost. While containerd is away they wait, and
 * the socket is tried less and less often; nothing is tried while nothing waits. What containerd
 * refuses for good is dropped with a warning, and so is the oldest beyond EVENTS_QUEUE_MAX or
 * EVENTS_BYTES_MAX. Without an address events are only logged. All functions: loop thread.
 */
#pragma once

#include "io/loop.h"

#include <protobuf-c/protobuf-c.h>

struct events;

#define EVENTS_QUEUE_MAX 1024
/* A TaskCreate has the mounts that containerd sent; all others are small. */
#define EVENTS_BYTES_MAX (4u << 20)

/** @address: $TTRPC_ADDRESS or NULL; @namespace is containerd's. Both are copied. */
int events_new(struct loop *loop, const char *address, const char *namespace, struct events **ret);
/** Queues an event. The message is packed at once. */
void events_publish(struct events *ev, const char *topic, const ProtobufCMessage *event);
/** containerd has shown itself: what waits for it is tried now. NULL is fine. */
void events_kick(struct events *ev);
/** Calls @done when the queue is empty, or after @timeout_ms. Once. */
void events_flush(struct events *ev, uint64_t timeout_ms, void (*done)(void *arg), void *arg);
/** NULL is fine. */
void events_free(struct events *ev);
