/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the command line and a container's monitor say to each other, over a unix socket of packets
 * that lies in the container's directory. One request a connection; both are the same program.
 *
 *	command -> monitor	struct request [+ stdin, stdout, stderr]
 *	monitor -> command	struct reply [+ master of the terminal]
 *	monitor -> command	struct reply	(with REQUEST_WAIT: when the process has ended)
 */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define SOCKET_NAME "sock"

/* A packet must fit into a socket's buffer, which is some 200 KiB. */
#define REQUEST_TEXT_MAX (96u << 10)
#define REPLY_TEXT_MAX (32u << 10)

enum request_op {
	OP_CREATE = 1,
	OP_START,
	OP_STATE,
	OP_KILL,   /* number: the signal */
	OP_DELETE, /* ends the monitor */
	OP_EXEC,   /* text: the process as JSON */
	OP_PAUSE,
	OP_RESUME,
	OP_UPDATE, /* text: the resources as JSON */
	OP_PS,	   /* answer: one pid a line */
};

enum request_flags {
	REQUEST_ALL = 1,   /* kill: every process */
	REQUEST_FORCE = 2, /* delete: also if it runs */
	REQUEST_MERGE = 8, /* exec: the text is only what differs from the container's process */
	REQUEST_WAIT = 4,  /* start, exec: a second answer tells the exit status */
};

struct request {
	uint32_t op;
	int32_t number;
	uint32_t flags;
	char text[REQUEST_TEXT_MAX];
};

struct reply {
	int32_t r;	/* 0 or a negative errno; then the text is the sentence */
	int32_t pid;	/* create, exec */
	int32_t status; /* as a shell tells it: 128 and the signal */
	char text[REPLY_TEXT_MAX];
};

/* Only the used part of a text travels. */
#define REQUEST_HEAD offsetof(struct request, text)
#define REPLY_HEAD offsetof(struct reply, text)

struct monitor_options {
	const char *id, *bundle, *config; /* bundle: absolute; config: of the spec, or NULL */
	const char *dir;		  /* the container's own below --root; exists */
	const char *cgroup_root;	  /* or NULL */
};

/**
 * Serves one container until it is deleted, or could not be made. @conn brings the first request,
 * which creates it. For a process of its own.
 */
void monitor_run(const struct monitor_options *o, int conn) __attribute__((noreturn));
