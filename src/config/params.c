/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel parameters: the user's, laid over each other, and those by which the agent is configured.
 */
#include "config/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The agent's port for the debug console; the field's is not configurable either. */
#define DEBUG_CONSOLE_PORT 1026

/* ---- Replacing --------------------------------------------------------------------------------
 */

struct param {
	const char *text;
	size_t len, name_len;
};

/* The next parameter; blanks inside double quotes belong to it. False at the end. */
static bool next_param(const char **text, struct param *p)
{
	const char *s = *text + strspn(*text, " \t\r\n");
	bool quoted = false;

	p->text = s;
	p->name_len = 0;
	for (; *s && (quoted || !strchr(" \t\r\n", *s)); s++) {
		if (*s == '"')
			quoted = !quoted;
		if (*s == '=' && !p->name_len)
			p->name_len = (size_t)(s - p->text);
	}
	p->len = (size_t)(s - p->text);
	if (!p->name_len)
		p->name_len = p->len;
	*text = s;
	return p->len > 0;
}

static bool names_param(const char *params, const struct param *wanted)
{
	struct param p;
	while (next_param(&params, &p))
		if (p.name_len == wanted->name_len && memcmp(p.text, wanted->text, p.name_len) == 0)
			return true;
	return false;
}

static void append_word(struct buf *b, const char *text, size_t len)
{
	if (b->len)
		buf_puts(b, " ");
	buf_append(b, text, len);
}

char *config_merge_kernel_params(const char *base, const char *params)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct param p;

	buf_puts(&b, "");
	for (const char *s = base; next_param(&s, &p);)
		if (!names_param(params, &p))
			append_word(&b, p.text, p.len);
	for (const char *s = params; next_param(&s, &p);)
		append_word(&b, p.text, p.len);
	return buf_take(&b);
}

/* ---- The agent's ------------------------------------------------------------------------------
 */

static const char *agent_log_level(const struct agent_config *a)
{
	bool trace = strcmp(a->log_level, "trace") == 0;
	if (a->enable_debug)
		return trace ? "trace" : "debug";
	return strcmp(a->log_level, "info") == 0 || !a->log_level[0] ? NULL : a->log_level;
}

static void append_number(struct buf *b, const char *name, uint32_t n)
{
	if (n)
		buf_printf(b, "%s%s=%" PRIu32, b->len ? " " : "", name, n);
}

char *config_agent_kernel_params(const struct kata_config *c)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	const struct agent_config *a = &c->agent;
	const char *level = a->log_level ? agent_log_level(a) : NULL;

	/* By name, as the field has them. */
	buf_puts(&b, "");
	append_number(&b, "agent.cdh_api_timeout", a->cdh_api_timeout_ms / 1000);
	append_number(&b, "agent.container_pipe_size", a->container_pipe_size);
	if (a->debug_console_enabled) {
		append_word(&b, "agent.debug_console", strlen("agent.debug_console"));
		append_number(&b, "agent.debug_console_vport", DEBUG_CONSOLE_PORT);
	}
	append_number(&b, "agent.launch_process_timeout", a->launch_process_timeout);
	if (level)
		buf_printf(&b, "%sagent.log=%s", b.len ? " " : "", level);
	for (size_t i = 0; i < a->mem_agent.n; i++)
		append_word(&b, a->mem_agent.v[i], strlen(a->mem_agent.v[i]));
	if (a->enable_tracing)
		append_word(&b, "agent.trace=true", strlen("agent.trace=true"));
	if (a->visible_cdi_devices)
		append_word(&b, "agent.visible_cdi_devices=true",
			    strlen("agent.visible_cdi_devices=true"));
	/* The memory agent reads pressure, which kernels may have built in but turned off. */
	if (a->mem_agent.n)
		append_word(&b, "psi=1", strlen("psi=1"));
	return buf_take(&b);
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int config_collect_mem_agent(struct config_load *l, struct config_strv *ret)
{
	if (!config_value(l, SECTION_MEM_AGENT, "mem_agent_enable")->boolean)
		return 0;
	int r = config_strv_add(l, ret, "agent.mem_agent_enable=1",
				strlen("agent.mem_agent_enable=1"));
	for (size_t i = 0; i < config_keys_count && r == 0; i++) {
		const struct config_key *k = &config_keys[i];
		_cleanup_buf_ struct buf b = BUF_INIT;
		if (k->section != SECTION_MEM_AGENT || strcmp(k->name, "mem_agent_enable") == 0 ||
		    l->values[i].origin.from == FROM_PRESET)
			continue;
		buf_printf(&b, "agent.mem_agent_%s=", k->name);
		config_print_value(&b, k, &l->values[i]);
		r = buf_failed(&b) ? config_no_memory(l) : config_strv_add(l, ret, b.data, b.len);
	}
	if (r == 0)
		qsort(ret->v, ret->n, sizeof *ret->v, compare_strings);
	return r;
}
