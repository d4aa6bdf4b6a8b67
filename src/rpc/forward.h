/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the runtime asks the agent for a connection to a port of the pod: a stream to the agent's
 *port AGENT_FORWARD_PORT, on which it writes one line and gets one back:
 *
 *	connect tcp 127.0.0.1 8080\n	an address of the loopback, a port
 *	OK\n				and then what the server says; or
 *	ERR <sentence>\n		and the end
 *
 * Nothing is sent before the answer. An agent that does so has the feature AGENT_FORWARD_FEATURE.
 */
#pragma once

#include "base/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#define AGENT_FORWARD_PORT 1028
#define AGENT_FORWARD_FEATURE "port-forward"

/* With their newlines. The longest request has 39 bytes of address. */
#define FORWARD_REQUEST_MAX 64
#define FORWARD_ANSWER_MAX 256
#define FORWARD_OK "OK\n"

/* An address as connect(2) wants it. */
union forward_address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

socklen_t forward_address_len(const union forward_address *a);

/**
 * Writes the request for the address that a connection was made to (getsockname()), without a NUL;
 * returns its length, or -EADDRNOTAVAIL: it is not of the loopback.
 */
int forward_request(const union forward_address *a, char line[static FORWARD_REQUEST_MAX]);
/** Reads a request of @len bytes, newline and all. -EPROTO with a sentence. */
int forward_parse(const char *line, size_t len, union forward_address *ret, struct err *e);
/**
 * Reads an answer: 0 for OK, -ECONNREFUSED with the agent's sentence, its control bytes flattened,
 * or -EPROTO.
 */
int forward_parse_answer(const char *line, size_t len, struct err *e);
