/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the vsock device share: vsock.c moves packets, vsock-conn.c is the life of one
 * connection, vsock-connect.c the door for other threads.
 */
#pragma once

#include "base/list.h"
#include "devices/virtqueue.h"
#include "devices/vsock.h"

#include <linux/virtio_vsock.h>

enum {
	VSOCK_QUEUE_RX = 0, /* to the guest */
	VSOCK_QUEUE_TX = 1, /* from the guest */
	VSOCK_N_QUEUES = 2,
};

/* Refusals that wait for a buffer. When they are this many, the guest's queue is left alone until
 * it offers buffers to answer with (5.10.6.1). */
#define VSOCK_RSTS_MAX 128
#define VSOCK_LISTENERS_MAX 16
#define VSOCK_HASH_SIZE 256

/* Buffers that one readv() fills at most. */
#define VSOCK_BATCH 64
#define VSOCK_POOL (VIRTQUEUE_IOV_MAX + VSOCK_BATCH)

/* Packets per turn of the loop, either way: one device must not hold up the pod's other work. */
#define VSOCK_TURN 256

/* A REQUEST can get lost while the guest's driver starts, so it is repeated, ever more rarely. A
 * guest that has seen it ignores the second. */
#define VSOCK_RETRY_FIRST_MS 100
#define VSOCK_RETRY_MAX_MS 1000

enum vsock_state {
	VSOCK_REQUESTING, /* REQUEST was or will be sent */
	VSOCK_OPEN,
	VSOCK_CLOSING,	 /* both sides of the host are shut; the guest's RST is awaited. No fd */
	VSOCK_RESETTING, /* its RST is to be sent, then it is gone. No fd */
	VSOCK_DRAINING,	 /* the guest has forgotten it (not in the hash); its last bytes go out */
};

/* Packets that a connection owes the guest. */
enum {
	OWE_REQUEST = 1 << 0,
	OWE_RESPONSE = 1 << 1,
	OWE_RST = 1 << 2,
	OWE_SHUTDOWN = 1 << 3,
	OWE_CREDIT = 1 << 4,
	OWE_CREDIT_REQUEST = 1 << 5,
};

#define SHUT_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* What the guest sent and the host has not taken: a ring of one window, made when first needed. */
struct vsock_backlog {
	uint8_t *data;
	uint32_t start, len;
};

struct vsock_conn {
	struct vsock *v;
	struct list link;	/* vsock.conns, oldest first */
	struct list hash;	/* a bucket; alone while DRAINING */
	struct list ready;	/* vsock.ready, or alone */
	struct list requesting; /* vsock.requesting, or alone */
	enum vsock_state state;
	uint32_t host_port, guest_port;
	bool from_guest;

	int fd; /* owned; -EBADF: none */
	struct loop_io *io;
	unsigned watched; /* events */

	unsigned owed;
	bool readable;	     /* the host may have bytes for the guest: no need to watch for it */
	bool host_eof;	     /* the host will send no more */
	bool host_deaf;	     /* the host will read no more */
	bool wr_shut;	     /* the host was told that the guest will send no more */
	unsigned guest_shut; /* VIRTIO_VSOCK_SHUTDOWN_*, as the guest sent them */
	unsigned shut_sent;  /* the same, as it was told */
	struct vsock_backlog backlog;

	/* 5.10.6.3, all modulo 2^32 */
	uint32_t window;       /* our buf_alloc */
	uint32_t fwd_cnt;      /* bytes that the host took */
	uint32_t fwd_cnt_told; /* the last that the guest knows of */
	uint32_t tx_cnt;       /* bytes sent to the guest */
	uint32_t peer_fwd_cnt; /* the guest's */
	uint32_t peer_buf_alloc;
	bool credit_asked;

	/* REQUESTING */
	vsock_open_fn done;
	void *done_arg;
	uint64_t deadline_ms, retry_ms, retry_gap_ms; /* retry_ms 0: not sent yet */
};

struct vsock_listener {
	uint32_t port;
	vsock_accept_fn fn; /* NULL: free */
	void *arg;
};

struct vsock_rst {
	uint32_t host_port, guest_port;
	uint16_t type;
};

struct vsock {
	struct loop *loop;
	uint64_t guest_cid;
	unsigned refs; /* atomic: the owner, and calls of vsock_connect() under way */
	bool freed;

	struct virtqueue *q[VSOCK_N_QUEUES]; /* NULL: not started */
	uint16_t stopped_at[VSOCK_N_QUEUES];
	bool running;		  /* both are started and neither is broken */
	bool gone;		  /* the machine has ended; until a queue starts again */
	struct loop_timer *again; /* goes on in the next turn */

	struct list conns, ready, requesting;
	struct list hash[VSOCK_HASH_SIZE];
	unsigned n_conns, n_from_guest;
	uint32_t next_port;
	struct loop_timer *timer; /* the earliest deadline or retry of those requesting */

	struct vsock_rst rsts[VSOCK_RSTS_MAX];
	unsigned rst_start, n_rsts;
	struct vsock_listener listeners[VSOCK_LISTENERS_MAX];
	unsigned complaints; /* logged so far */

	struct iovec pool[VSOCK_POOL]; /* the pieces of popped requests */
	struct iovec payload[VSOCK_POOL];
	struct virtqueue_chain chains[VSOCK_BATCH];
};

/* vsock.c */

/** Sends what is owed, as far as there are buffers. */
void vsock_flush(struct vsock *v);
/** One log line, but not for ever: the guest decides how often it misbehaves. */
void vsock_complain(struct vsock *v, const char *fmt, ...) _printf_(2, 3);
void vsock_unref(struct vsock *v);

/* vsock-conn.c */

struct vsock_conn *vsock_conn_find(struct vsock *v, uint32_t host_port, uint32_t guest_port);
/** @fd is consumed on success only. -ENOSPC, -ENOMEM. */
int vsock_conn_new(struct vsock *v, uint32_t host_port, uint32_t guest_port, bool from_guest,
		   int fd, struct vsock_conn **ret);
void vsock_conn_free(struct vsock_conn *c);
/** Owes the guest packets (OWE_*). */
void vsock_conn_owe(struct vsock_conn *c, unsigned what);
/** The host's half ends; the guest gets a RST. */
void vsock_conn_reset(struct vsock_conn *c);
/** The guest has forgotten the connection: ends it once the host has got every byte. */
void vsock_conn_forgotten(struct vsock_conn *c, int r);
/** Whether bytes of the host's can go to the guest now. */
bool vsock_conn_can_send(const struct vsock_conn *c);
uint32_t vsock_conn_credit(const struct vsock_conn *c);
/** Bytes from the guest. May reset the connection. */
void vsock_conn_receive(struct vsock_conn *c, struct iovec *iov, unsigned n, uint32_t len);
/** The guest's SHUTDOWN with these flags. May free the connection. */
void vsock_conn_guest_shutdown(struct vsock_conn *c, unsigned flags);
/** readv() said 0 or a negative errno but EAGAIN: the host sends no more. */
void vsock_conn_host_eof(struct vsock_conn *c, int r);
void vsock_conn_opened(struct vsock_conn *c);
/** Brings the watch on the host's socket up to date. */
void vsock_conn_watch(struct vsock_conn *c);
/** (Re)arms the timer of those requesting. */
void vsock_arm_timer(struct vsock *v);
void vsock_on_timer(void *arg);
