/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to the server: server.c (services, listening, references), server-conn.c (connections,
 * requests, deadlines) and call.c (answers). The theory is at the head of server.c.
 */
#pragma once

#include "rpc/conn.h"
#include "rpc/message.h"
#include "rpc/stream.h"

#include <pthread.h>
#include <stdatomic.h>

/* Connections at a time. containerd keeps one or two, and one for each stream that it opens; each
 * tool that a person runs takes one. */
#define CONNS_MAX 256
/* Streams of one connection. */
#define STREAMS_MAX 64
/* Calls that are at hand or deferred: one Wait for every process of a pod, and some more. */
#define CALLS_MAX 8192u
/* Memory of the decoded requests of all of them: room for sixteen of the largest payloads. */
#define HELD_MAX (64u << 20)

struct server_conn {
	struct list link; /* server->conns */
	struct rpc_server *server;
	struct rpc_conn conn;
	struct list calls; /* whose reply the peer awaits */
	struct list streams;
	uint32_t last_stream;
	struct loop_timer *timer; /* made when first needed */
	uint64_t timer_at;	  /* deadline that it is armed for; 0: not armed */
};

struct rpc_server {
	struct loop *loop;
	const struct rpc_service **services;
	size_t n_services;
	struct list listeners;
	struct list conns;
	size_t n_conns;
	void (*on_idle)(void *arg); /* or NULL */
	void *on_idle_arg;

	pthread_mutex_t lock; /* guards what follows; taken alone */
	struct rpc_wake wake;
	struct list answered; /* calls, by link, for the loop to send */
	size_t refs;	      /* the owner's, and one of each call */
	size_t held;	      /* bytes of decoded requests */
	bool closed;
};

struct rpc_call {
	struct list link;	   /* conn->calls; loop thread */
	struct list answered_link; /* server->answered, under its lock */
	struct rpc_server *server;
	struct server_conn *conn; /* loop thread; NULL: nobody awaits the reply */
	atomic_bool wanted;
	uint32_t stream;
	uint64_t deadline;
	const struct rpc_service *service;
	const ProtobufCMethodDescriptor *method;
	ProtobufCMessage *request; /* owned */
	size_t request_size;
	char *metadata; /* owned; key NUL value NUL ... */
	size_t metadata_len;
	struct rpc_frame *frame; /* the packed reply, owned; NULL: there was no memory for one */
};

/* server.c */
const struct rpc_service *rpc_server_find(const struct rpc_server *s, struct rpc_slice name);
const ProtobufCMethodDescriptor *rpc_service_method(const struct rpc_service *service,
						    struct rpc_slice name);
/** Reserves room for one more call, and takes its reference: 0 or -EBUSY. Any thread. */
int rpc_server_admit(struct rpc_server *s, size_t size);
/** Gives back one reference, and what a call held. Any thread. */
void rpc_server_unref(struct rpc_server *s, size_t held);

/* server-conn.c; loop thread */
int server_conn_open(struct rpc_server *s, int fd);
void server_conn_close(struct server_conn *sc);
/** Sends a response, consumed; may close and free the connection. */
void server_conn_send(struct server_conn *sc, struct rpc_frame *f);

/* call.c */
/** From now on nobody awaits this call's reply. Loop thread. */
void rpc_call_detach(struct rpc_call *call);
void rpc_call_free(struct rpc_call *call);
/** Sends what other threads have answered. Loop thread. */
void rpc_server_send_answered(struct rpc_server *s);
