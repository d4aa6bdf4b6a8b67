/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The face of every virtual machine monitor.
 *
 * A driver is a const table of ops and its own state. Callers use the hypervisor_* wrappers, which
 * check the state, trace, and dispatch; an op that a driver lacks is UNIMPLEMENTED there. Drivers:
 * `qemu`, and `fake`, which runs everything above it without a machine and fails where it is told.
 *
 * Life: NEW -> (devices are added) -> hypervisor_start() -> RUNNING -> hypervisor_stop() or the
 * machine's own end -> STOPPED -> hypervisor_free(). Only the thread that holds the sandbox's lock
 * calls in, from a worker (start and stop block), but for the notifications, which come on the
 * loop thread.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct kata_config;
struct hypervisor;

/* Where the agent can be reached. */
enum agent_transport {
	AGENT_VSOCK,  /* AF_VSOCK: cid */
	AGENT_INPROC, /* our own vsock device: hypervisor_connect() makes the stream */
	AGENT_HYBRID, /* a unix socket that speaks "CONNECT <port>\n" */
	AGENT_UNIX,   /* a plain unix socket: the fake agent of tests */
};

struct agent_address {
	enum agent_transport transport;
	uint32_t cid;
	char path[108];
};

enum hypervisor_state {
	HYPERVISOR_NEW,
	HYPERVISOR_RUNNING,
	HYPERVISOR_STOPPED,
};

/**
 * Why a machine ended; @reason is a sentence, borrowed for the call. @exit_code is the VMM's, or
 * 128 + signal. Loop thread, exactly once for every machine whose start succeeded, also when it
 * was hypervisor_stop() that ended it (perhaps after that has returned), but not after
 * hypervisor_free(). The callback may free the hypervisor.
 */
typedef void (*hypervisor_exit_fn)(void *arg, int exit_code, const char *reason);

struct hypervisor_params {
	struct loop *loop;
	const struct kata_config *config; /* borrowed for the hypervisor's life */
	const char *sandbox_id;
	const char *run_dir; /* exists; for sockets: /run/kata/<sid>/root */
	int netns_fd;	     /* -1: none */
	hypervisor_exit_fn on_exit;
	void *on_exit_arg;
};

enum hypervisor_device_type {
	DEVICE_VHOST_USER_FS, /* a virtio-fs server behind a connected socket */
			      /* block, network, vfio... follow */
};

struct hypervisor_device {
	enum hypervisor_device_type type;
	union {
		struct {
			int fd;		 /* the VMM's end of a socket pair; consumed on success */
			const char *tag; /* "kataShared" */
			unsigned queue_size; /* 0: 1024 */
		} fs;
	};
};

struct hypervisor_ops {
	const char *name; /* as in hypervisor_name = "..." */
	/** Checks the configuration as far as possible without starting anything; no effects. */
	int (*create)(const struct hypervisor_params *p, struct hypervisor **ret, struct err *e);
	int (*add_device)(struct hypervisor *h, const struct hypervisor_device *d, struct err *e);
	/** Returns when the machine runs, or fails having undone everything. */
	int (*start)(struct hypervisor *h, uint64_t deadline_ms, struct err *e);
	/**
	 * Ends it: gives the guest @grace_ms to power off by itself (the caller has asked the
	 * agent; 0: no waiting), then asks the VMM, then kills. Idempotent.
	 */
	int (*stop)(struct hypervisor *h, uint64_t grace_ms, struct err *e);
	/** What the guest wrote to its console lately: the why of a failed boot. */
	void (*console_tail)(struct hypervisor *h, char *dst, size_t size);
	int (*agent_address)(struct hypervisor *h, struct agent_address *ret, struct err *e);
	/** A stream to a guest port, for AGENT_INPROC. Any worker. Returns a descriptor. */
	int (*connect)(struct hypervisor *h, uint32_t port, uint64_t deadline_ms, struct err *e);
	void (*destroy)(struct hypervisor *h);
};

/* Every driver's state begins with this. The atomic members change on the loop thread when the
 * machine ends, while a worker may read them. */
struct hypervisor {
	const struct hypervisor_ops *ops;
	struct hypervisor_params params; /* the strings are copies, and the driver's */
	bool emulated;			 /* in software */
	bool slow;			 /* emulated or nested: a boot takes its time */
	_Atomic(enum hypervisor_state) state;
	_Atomic(pid_t) pid; /* of the VMM; what State and events report. 0 before start; stays */
};

/* When the caller gives no timeout. Emulation on a busy host is slow, a hang is not waited for. */
#define HYPERVISOR_START_MS 60000
#define HYPERVISOR_CONNECT_MS 10000

/** Makes the driver that @p->config names. Unknown name: INVALID_ARGUMENT with the known ones. */
int hypervisor_new(const struct hypervisor_params *p, struct hypervisor **ret, struct err *e);
int hypervisor_add_device(struct hypervisor *h, const struct hypervisor_device *d, struct err *e);
/** @timeout_ms 0: HYPERVISOR_START_MS. After a failure only stop and free are useful. */
int hypervisor_start(struct hypervisor *h, uint64_t timeout_ms, struct err *e);
int hypervisor_stop(struct hypervisor *h, uint64_t grace_ms, struct err *e);
int hypervisor_agent_address(struct hypervisor *h, struct agent_address *ret, struct err *e);
/**
 * A descriptor (close-on-exec, blocking) connected to guest port @port, whatever the transport. One
 * attempt: -ECONNREFUSED or the like while nobody listens in the guest yet, -ETIMEDOUT when
 * @timeout_ms (0: HYPERVISOR_CONNECT_MS) passes without an answer.
 */
int hypervisor_connect(struct hypervisor *h, uint32_t port, uint64_t timeout_ms, struct err *e);
void hypervisor_console_tail(struct hypervisor *h, char *dst, size_t size);
/** Stops it if it runs. Loop thread or after it. NULL is fine. */
void hypervisor_free(struct hypervisor *h);
/** The names of all drivers, comma-separated, for messages. */
const char *hypervisor_names(void);

/* ---- Which accelerator (hypervisor/accel.c) -------------------------------------------------- */

enum accel {
	ACCEL_KVM,
	ACCEL_TCG,
};

/**
 * Climbs the ladder for `accelerator = "auto" | "kvm" | "tcg"` and writes to @reason (a sentence
 * for the log) why. "auto" without /dev/kvm, or with one but no vmx/svm in /proc/cpuinfo: TCG.
 * "kvm" on such a machine fails at once with that reason.
 */
int accel_choose(const char *wanted, enum accel *ret, char *reason, size_t reason_size,
		 struct err *e);

/**
 * Whether a boot may take ten times what hardware takes: emulated, or this host is a guest itself,
 * whose own hypervisor then takes part in each exit of ours.
 */
bool accel_is_slow(enum accel accel);
