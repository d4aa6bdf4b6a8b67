/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes become a configuration's text and, after NULs, annotations (name, value, ...). A load must
 * either give a whole configuration, which can be dumped, or a sentence.
 */
#include "config/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PIECES_MAX 64

static void check_loaded(const struct kata_config *c)
{
	if (!c->file || !c->runtime.name[0] || !c->hypervisor.name || !c->hypervisor.kernel ||
	    !c->hypervisor.path || !(c->hypervisor.default_vcpus > 0) ||
	    c->hypervisor.default_vcpus > c->hypervisor.default_maxvcpus ||
	    c->hypervisor.default_memory < 64 || !c->agent.server_port)
		abort();
	_cleanup_free_ char *text = NULL, *params = config_agent_kernel_params(c);
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	if (!params || !f || config_dump(c, f) < 0 || fclose(f) != 0)
		abort();
	/* What is dumped is TOML. */
	struct toml_doc *doc = NULL;
	if (size <= TOML_TEXT_MAX && toml_parse(text, size, "dump", &doc, NULL) < 0)
		abort();
	toml_free(doc);
}

static void on_warning(void *arg, const char *sentence)
{
	if (!sentence[0])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const no_files[] = {NULL};
	const struct config_host host = {.cpus = 4, .memory_mib = 8192, .default_files = no_files};
	const char *pieces[PIECES_MAX + 1];
	struct kata_config *c = NULL;
	struct err e = ERR_INIT;
	size_t n = 0;

	_cleanup_free_ char *text = malloc(size + 1);
	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	for (const char *p = text; p <= text + size && n < PIECES_MAX; p += strlen(p) + 1)
		pieces[n++] = p;
	pieces[n] = NULL;

	const struct config_source src = {.body = pieces[0], .annotations = pieces + 1};
	if (config_load_on(&host, &src, on_warning, NULL, &c, &e) == 0)
		check_loaded(c);
	else if (!e.text[0] || c)
		abort();
	config_free(c);
	return 0;
}
