/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's vsock driver, for tests and fuzzers: it sends and receives packets as it is told, on
 * the loop's thread, without a machine. The device is turned by testing_vsock_turn().
 */
#pragma once

#include "devices/testing-guest.h"
#include "devices/vsock.h"

#include <linux/virtio_vsock.h>

#define TESTING_CID 7
#define TESTING_PACKET_MAX (64u << 10)
#define TESTING_RX_SIZE 3776 /* Linux 6.1 */

struct testing_vsock {
	struct loop *loop;
	struct vsock *v;
	struct testing_ram ram;
	struct testing_driver drv[2];
	struct virtqueue q[2];
	uint64_t tx_gpa[VIRTQUEUE_SIZE_MAX]; /* by head of the TX queue */
	uint64_t tx_slots;		     /* gpa of the first packet's memory */
	uint64_t rx_gpa[VIRTQUEUE_SIZE_MAX]; /* by head of the RX queue */
	uint32_t rx_size;
	unsigned interrupts[2];
	/* What send puts into every header. */
	uint32_t buf_alloc, fwd_cnt;
	uint64_t src_cid;
	uint16_t type;
};

/* A packet as the guest got it; @data is valid until testing_vsock_done(). */
struct testing_packet {
	struct virtio_vsock_hdr h;
	const uint8_t *data;
	uint32_t len;
	int head;
};

/** A loop, a device with its driver running, and all receive buffers offered if @rx_buffers. */
void testing_vsock_init(struct testing_vsock *t, unsigned queue_size, bool rx_buffers);
void testing_vsock_deinit(struct testing_vsock *t);
/** Starts both queues anew, as a driver does after a reset. */
void testing_vsock_restart(struct testing_vsock *t);
void testing_vsock_stop(struct testing_vsock *t);
void testing_vsock_offer(struct testing_vsock *t, unsigned n);
/** Lets the loop do what it can at once. */
void testing_vsock_turn(struct testing_vsock *t);
/** Sends a packet and kicks. False: the queue is full. */
bool testing_vsock_send(struct testing_vsock *t, uint16_t op, uint32_t guest_port,
			uint32_t host_port, uint32_t flags, const void *data, uint32_t len);
/** The same, header as given. */
bool testing_vsock_send_raw(struct testing_vsock *t, const struct virtio_vsock_hdr *h,
			    const void *data, uint32_t len);
/** Takes the next packet, if there is one. */
bool testing_vsock_recv(struct testing_vsock *t, struct testing_packet *ret);
/** Offers the packet's buffer again. */
void testing_vsock_done(struct testing_vsock *t, struct testing_packet *p);
