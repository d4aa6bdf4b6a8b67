/* SPDX-License-Identifier: Apache-2.0 */
/* The effective configuration as TOML, with the source of each value. */
#include "config/internal.h"

#include <inttypes.h>
#include <string.h>

/* Unlike config_print_string(): whole, for the text must be read back as it is. */
static void dump_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			fprintf(f, "\\u%04x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}

static void dump_strings(FILE *f, const struct config_strv *s)
{
	fputc('[', f);
	for (size_t i = 0; i < s->n; i++) {
		fputs(i ? ", " : "", f);
		dump_string(f, s->v[i]);
	}
	fputc(']', f);
}

static void dump_value(FILE *f, const struct kata_config *c, const struct config_key *key)
{
	const void *field = (const char *)c + key->offset;

	switch (key->type) {
	case TYPE_BOOL:
		fputs(*(const bool *)field ? "true" : "false", f);
		break;
	case TYPE_U32:
		fprintf(f, "%" PRIu32, *(const uint32_t *)field);
		break;
	case TYPE_U64:
	case TYPE_I64:
		fprintf(f, "%" PRIu64, *(const uint64_t *)field);
		break;
	case TYPE_NUMBER:
		fprintf(f, "%.15g", *(const double *)field);
		break;
	case TYPE_STRING:
		dump_string(f, *(char *const *)field);
		break;
	case TYPE_STRINGS:
		dump_strings(f, field);
		break;
	case TYPE_INTEGERS:
	case TYPE_TABLE:
	case TYPE_TABLES:
		break;
	}
}

static void dump_key(FILE *f, const struct kata_config *c, const struct config_key *key)
{
	const struct config_kept *kept = c->arena;
	const struct config_origin *origin = &kept->origins[config_key_index(key)];
	_cleanup_buf_ struct buf b = BUF_INIT;

	config_print_origin(&b, origin);
	const char *from = buf_failed(&b) ? "?" : b.data;
	if (key->offset == KEY_NOT_ACTED_ON) {
		if (origin->from != FROM_PRESET)
			fprintf(f, "# %s (%s) is not acted on yet\n", key->name, from);
		return;
	}
	fprintf(f, "%s = ", key->name);
	dump_value(f, c, key);
	fprintf(f, " # %s%s\n", from, origin->adjusted ? ", adjusted" : "");
}

static void dump_section(FILE *f, const struct kata_config *c, enum config_section section,
			 const char *name)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	config_print_table(&b, section, name);
	fprintf(f, "\n%s\n", buf_failed(&b) ? "[?]" : b.data);
	for (size_t i = 0; i < config_keys_count; i++)
		if (config_keys[i].section == section)
			dump_key(f, c, &config_keys[i]);
}

/* These were kept as kernel parameters: "agent.mem_agent_<key>=<value>". */
static void dump_mem_agent(FILE *f, const struct kata_config *c)
{
	const struct config_strv *params = &c->agent.mem_agent;
	const char *prefix = "agent.mem_agent_";

	if (!params->n)
		return;
	fprintf(f, "\n[agent.%s.mem_agent]\n", c->runtime.agent_name);
	for (size_t i = 0; i < params->n; i++) {
		const char *name = params->v[i] + strlen(prefix);
		const char *equals = strchr(name, '=');
		if (strncmp(name, "enable=", strlen("enable=")) == 0)
			fputs("mem_agent_enable = true\n", f);
		else
			fprintf(f, "%.*s = %s\n", (int)(equals - name), name, equals + 1);
	}
}

int config_dump(const struct kata_config *c, FILE *f)
{
	fprintf(f, "# The effective configuration. Base file: %s\n", c->file);
	dump_section(f, c, SECTION_RUNTIME, NULL);
	dump_section(f, c, SECTION_HYPERVISOR, c->hypervisor.name);
	dump_section(f, c, SECTION_AGENT, c->runtime.agent_name);
	dump_mem_agent(f, c);
	return fflush(f) == 0 && !ferror(f) ? 0 : -EIO;
}
