/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/dns.h"

#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <string.h>

static bool says_something(const char *line)
{
	return line[0] != '\0' && line[0] != '#' && line[0] != ';';
}

static char *trim(char *line)
{
	line += strspn(line, " \t\r");
	for (size_t n = strlen(line); n > 0 && strchr(" \t\r", line[n - 1]); n--)
		line[n - 1] = '\0';
	return line;
}

void dns_parse(struct dns *ret)
{
	char *rest = ret->text.data;

	ret->n = 0;
	while (rest) {
		char *line = trim(strsep(&rest, "\n"));
		if (!says_something(line))
			continue;
		if (ret->n == DNS_LINES_MAX) {
			log_warn("the pod's resolv.conf has more than %d lines: the rest is lost",
				 DNS_LINES_MAX);
			return;
		}
		ret->lines[ret->n++] = line;
	}
}

void dns_load(const struct oci_spec *spec, struct dns *ret)
{
	for (size_t i = 0; i < spec->n_mounts; i++) {
		const struct oci_mount *m = &spec->mounts[i];
		if (strcmp(m->destination, RESOLV_CONF) != 0 || !m->source || m->source[0] != '/')
			continue;
		int r = file_read(AT_FDCWD, m->source, DNS_BYTES_MAX, &ret->text);
		if (r < 0)
			log_warn("the guest gets no resolv.conf: read %s: %s", m->source,
				 strerror(-r));
		else
			dns_parse(ret);
		return;
	}
}

void dns_deinit(struct dns *d)
{
	buf_free(&d->text);
	d->n = 0;
}
