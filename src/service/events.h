/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events to containerd: Forward calls on its ttrpc socket, one after the other, so that their order
 * is kept; resent when the connection broke; at most EVENTS_QUEUE_MAX wait (the oldest goes first
 * beyond that, with a warning). Without an address events are only logged.
 */
#pragma once

#include "io/loop.h"

#include <protobuf-c/protobuf-c.h>

struct events;

#define EVENTS_QUEUE_MAX 1024

/** @address: $TTRPC_ADDRESS or NULL; @namespace is containerd's. Both are copied. */
int events_new(struct loop *loop, const char *address, const char *namespace, struct events **ret);
/** Queues an event. The message is packed at once. Loop thread. */
void events_publish(struct events *ev, const char *topic, const ProtobufCMessage *event);
/** Calls @done (loop thread) when the queue is empty, or after @timeout_ms. Once. */
void events_flush(struct events *ev, uint64_t timeout_ms, void (*done)(void *arg), void *arg);
/** Loop thread. NULL is fine. */
void events_free(struct events *ev);
