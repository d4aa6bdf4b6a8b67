/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/forward.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#define WORDS "connect tcp "

socklen_t forward_address_len(const union forward_address *a)
{
	return a->any.sa_family == AF_INET ? sizeof a->in : sizeof a->in6;
}

static bool is_loopback(const union forward_address *a)
{
	if (a->any.sa_family == AF_INET)
		return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
	return a->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

int forward_request(const union forward_address *a, char line[static FORWARD_REQUEST_MAX])
{
	char ip[INET6_ADDRSTRLEN];
	bool v4 = a->any.sa_family == AF_INET;

	if (!is_loopback(a) ||
	    !inet_ntop(a->any.sa_family, v4 ? (const void *)&a->in.sin_addr : &a->in6.sin6_addr, ip,
		       sizeof ip))
		return -EADDRNOTAVAIL;
	return snprintf(line, FORWARD_REQUEST_MAX, WORDS "%s %u\n", ip,
			ntohs(v4 ? a->in.sin_port : a->in6.sin6_port));
}

/* A decimal number of 1 to 65535 without a sign or leading zeros, up to @end. 0: it is none. */
static uint16_t parse_port(const char *s, const char *end)
{
	unsigned n = 0;

	if (end - s < 1 || end - s > 5 || *s == '0')
		return 0;
	for (; s < end; s++) {
		if (*s < '0' || *s > '9')
			return 0;
		n = n * 10 + (unsigned)(*s - '0');
	}
	return n <= UINT16_MAX ? (uint16_t)n : 0;
}

static bool parse_ip(const char *s, size_t len, union forward_address *ret)
{
	char ip[INET6_ADDRSTRLEN];

	if (len >= sizeof ip || memchr(s, '\0', len))
		return false;
	memcpy(ip, s, len);
	ip[len] = '\0';
	*ret = (union forward_address){.in6.sin6_family = AF_INET6};
	if (inet_pton(AF_INET6, ip, &ret->in6.sin6_addr) == 1)
		return true;
	*ret = (union forward_address){.in.sin_family = AF_INET};
	return inet_pton(AF_INET, ip, &ret->in.sin_addr) == 1;
}

int forward_parse(const char *line, size_t len, union forward_address *ret, struct err *e)
{
	union forward_address a;
	size_t words = strlen(WORDS);

	if (len > FORWARD_REQUEST_MAX || len <= words || line[len - 1] != '\n' ||
	    memcmp(line, WORDS, words) != 0)
		return err_set(e, -EPROTO, "not a request \"connect tcp ADDRESS PORT\"");
	const char *ip = line + words, *end = line + len - 1;
	const char *space = memchr(ip, ' ', (size_t)(end - ip));
	if (!space || !parse_ip(ip, (size_t)(space - ip), &a))
		return err_set(e, -EPROTO, "no IP address in the request");
	uint16_t port = parse_port(space + 1, end);
	if (!port)
		return err_set(e, -EPROTO, "no port of 1 to 65535 in the request");
	if (!is_loopback(&a))
		return err_set(e, -EPROTO, "the address is not of the loopback");
	if (a.any.sa_family == AF_INET)
		a.in.sin_port = htons(port);
	else
		a.in6.sin6_port = htons(port);
	*ret = a;
	return 0;
}

int forward_parse_answer(const char *line, size_t len, struct err *e)
{
	char text[FORWARD_ANSWER_MAX];

	if (len == strlen(FORWARD_OK) && memcmp(line, FORWARD_OK, len) == 0)
		return 0;
	if (len > FORWARD_ANSWER_MAX || len < 5 || memcmp(line, "ERR ", 4) != 0 ||
	    line[len - 1] != '\n')
		return err_set(e, -EPROTO, "the agent's answer is neither OK nor ERR");
	size_t n = len - 5;
	for (size_t i = 0; i < n; i++)
		text[i] = line[4 + i] >= ' ' && line[4 + i] < 0x7f ? line[4 + i] : '?';
	text[n] = '\0';
	return err_set(e, -ECONNREFUSED, "%s", text);
}
