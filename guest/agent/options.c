/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/options.h"

#include "guest/agent/component-plan.h"
#include "rpc/forward.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

enum kind {
	KIND_SIZE,    /* a number >= 0 */
	KIND_PORT,    /* a number > 0; another value means "not set" and is no mistake */
	KIND_SECONDS, /* a number > 0; 0 means the default */
	KIND_BOOL,    /* true, false, or a number; bare means true */
	KIND_FLAG,    /* bare; with a value it is another word, which nobody knows */
	KIND_LEVEL,   /* a log level */
	KIND_TEXT,    /* up to .size - 1 bytes */
	KIND_ALL,     /* the word "all" */
	KIND_WORD,    /* one of .words; the field is its number */
	KIND_REFUSED, /* asks for what this agent cannot do: say so */
};

struct parameter {
	const char *name; /* on the kernel's command line, or NULL */
	enum kind kind;
	size_t offset, size;
	const char *key; /* in a configuration file, or NULL */
	const char *const *words;
};

const char *const agent_rest_apis[] = {"resource", "attestation", "all", NULL};
/* in the order of enum component_level */
static const char *const component_levels[] = {"none", "attestation-agent", "confidential-data-hub",
					       "api-server-rest", NULL};

#define AT(member) offsetof(struct agent_options, member), sizeof((struct agent_options *)0)->member

static const struct parameter parameters[] = {
	{"agent.log", KIND_LEVEL, AT(log_level), "log_level"},
	{"agent.config_file", KIND_TEXT, AT(config_file), NULL},
	{"agent.server_addr", KIND_TEXT, AT(server_addr), "server_addr"},
	{"agent.log_vport", KIND_PORT, AT(log_vport), "log_vport"},
	{"agent.debug_console", KIND_FLAG, AT(debug_console), "debug_console"},
	{"agent.devmode", KIND_FLAG, AT(devmode), "dev_mode"},
	{"agent.debug_console_vport", KIND_PORT, AT(debug_console_vport), "debug_console_vport"},
	{"agent.passfd_listener_port", KIND_PORT, AT(passfd_vport), "passfd_listener_port"},
	{"agent.container_pipe_size", KIND_SIZE, AT(pipe_size), "container_pipe_size"},
	{NULL, KIND_TEXT, AT(policy_file), "policy_file"},
	{"cgroup_no_v1", KIND_ALL, AT(cgroup_no_v1), NULL},
	{"systemd.unified_cgroup_hierarchy", KIND_BOOL, AT(unified_cgroups),
	 "unified_cgroup_hierarchy"},

	{"agent.hotplug_timeout", KIND_SECONDS, AT(hotplug_timeout_s), "hotplug_timeout"},
	{"agent.cdh_api_timeout", KIND_SECONDS, AT(cdh_api_timeout_s), "cdh_api_timeout"},
	{"agent.image_pull_timeout", KIND_SECONDS, AT(image_pull_timeout_s), "image_pull_timeout"},
	{"agent.secure_storage_integrity", KIND_BOOL, AT(secure_storage_integrity),
	 "secure_storage_integrity"},
	{"agent.cdi_timeout", KIND_SECONDS, AT(cdi_timeout_s), "cdi_timeout"},
	{"agent.launch_process_timeout", KIND_SECONDS, AT(launch_process_timeout_s),
	 "launch_process_timeout"},

	{"agent.guest_components_procs", KIND_WORD, AT(components_level), "guest_components_procs",
	 component_levels},
	{"agent.guest_components_rest_api", KIND_WORD, AT(rest_api), "guest_components_rest_api",
	 agent_rest_apis},
	{"agent.https_proxy", KIND_TEXT, AT(https_proxy), "https_proxy"},
	{"agent.no_proxy", KIND_TEXT, AT(no_proxy), "no_proxy"},

	{"agent.trace", KIND_REFUSED, 0, 0, "tracing"},
	{"agent.visible_cdi_devices", KIND_REFUSED, 0, 0, "visible_cdi_devices"},
	{"agent.mem_agent_enable", KIND_REFUSED, 0, 0, "mem_agent_enable"},
};

struct parse {
	struct agent_options *o;
	agent_options_warn warn;
	void *ctx;
};

static void complain(const struct parse *p, const char *fmt, ...) _printf_(2, 3);
static void complain(const struct parse *p, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!p->warn)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	p->warn(p->ctx, text);
}

void agent_options_default(struct agent_options *o)
{
	memset(o, 0, sizeof *o);
	o->log_level = LOG_INFO;
	o->hotplug_timeout_s = 3;
	o->cdh_api_timeout_s = 50;
	o->secure_storage_integrity = true;
	o->image_pull_timeout_s = 1200;
	o->cdi_timeout_s = 100;
	o->launch_process_timeout_s = 6;
	o->components_level = COMPONENTS_DEFAULT;
	(void)snprintf(o->server_addr, sizeof o->server_addr, "vsock://-1:%d", AGENT_PORT);
	(void)snprintf(o->state_dir, sizeof o->state_dir, "/run/kata-containers");
}

/* A decimal number of at most 2^31-1, as the original's i32. */
static int parse_number(const char *s, int64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)s[0]) && !(s[0] == '-' && isdigit((unsigned char)s[1])))
		return -EINVAL;
	errno = 0;
	long long n = strtoll(s, &end, 10);
	if (*end || errno || n > INT32_MAX || n < INT32_MIN)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int parse_bool(const char *s, bool *ret)
{
	int64_t n;

	if (!s || strcmp(s, "true") == 0) {
		*ret = true;
	} else if (strcmp(s, "false") == 0) {
		*ret = false;
	} else if (parse_number(s, &n) == 0) {
		*ret = n != 0;
	} else {
		return -EINVAL;
	}
	return 0;
}

static void set_number(const struct parse *p, const struct parameter *d, const char *value,
		       uint32_t *field)
{
	int64_t n;

	if (!value || parse_number(value, &n) < 0)
		complain(p, "%s=%s: not a number", d->name, value ? value : "");
	else if (n > 0 || (n == 0 && d->kind == KIND_SIZE))
		*field = (uint32_t)n;
	else if (n < 0)
		complain(p, "%s=%s: negative", d->name, value);
}

static void set_text(const struct parse *p, const struct parameter *d, const char *value,
		     char *field)
{
	if (!value || !*value)
		complain(p, "%s: no value", d->name);
	else if (strlen(value) >= d->size)
		complain(p, "%s: longer than %zu bytes", d->name, d->size - 1);
	else
		(void)snprintf(field, d->size, "%s", value);
}

static void set_word(const struct parse *p, const struct parameter *d, const char *value,
		     uint32_t *field)
{
	for (uint32_t i = 0; value && d->words[i]; i++) {
		if (strcmp(d->words[i], value) == 0) {
			*field = i;
			return;
		}
	}
	complain(p, "%s=%s: no word for it", d->name, value ? value : "");
}

static void set(const struct parse *p, const struct parameter *d, const char *value)
{
	void *field = (char *)p->o + d->offset;

	switch (d->kind) {
	case KIND_SIZE:
	case KIND_PORT:
	case KIND_SECONDS:
		set_number(p, d, value, field);
		break;
	case KIND_BOOL:
		if (parse_bool(value, field) < 0)
			complain(p, "%s=%s: neither true nor false", d->name, value);
		break;
	case KIND_FLAG:
		if (value)
			complain(p, "%s=%s: takes no value", d->name, value);
		else
			*(bool *)field = true;
		break;
	case KIND_LEVEL:
		if (!value || log_level_parse(value, field) < 0)
			complain(p, "%s=%s: no such log level", d->name, value ? value : "");
		break;
	case KIND_TEXT:
		set_text(p, d, value, field);
		break;
	case KIND_ALL:
		*(bool *)field = value && strcmp(value, "all") == 0;
		break;
	case KIND_WORD:
		set_word(p, d, value, field);
		break;
	case KIND_REFUSED:
		complain(p, "%s: not supported by this agent", d->name);
		break;
	}
}

static void parse_word(const struct parse *p, char *word)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
		if (parameters[i].name && strcmp(word, parameters[i].name) == 0) {
			set(p, &parameters[i], value);
			return;
		}
	}
}

void agent_options_parse(struct agent_options *o, const char *cmdline, agent_options_warn warn,
			 void *ctx)
{
	const struct parse p = {.o = o, .warn = warn, .ctx = ctx};
	char text[AGENT_CMDLINE_MAX];
	char *save = NULL;

	if ((size_t)snprintf(text, sizeof text, "%s", cmdline) >= sizeof text)
		complain(&p, "the kernel command line is cut after %zu bytes", sizeof text - 1);
	for (char *w = strtok_r(text, " \t\r\n\f\v", &save); w;
	     w = strtok_r(NULL, " \t\r\n\f\v", &save))
		parse_word(&p, w);
}

void agent_options_set(struct agent_options *o, const char *key, const char *value,
		       agent_options_warn warn, void *ctx)
{
	const struct parse p = {.o = o, .warn = warn, .ctx = ctx};

	for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
		struct parameter d = parameters[i];
		if (!d.key || strcmp(key, d.key) != 0)
			continue;
		d.name = d.key; /* for complaints */
		if (d.kind == KIND_FLAG)
			d.kind = KIND_BOOL;
		/* what is off need not be refused */
		if (d.kind != KIND_REFUSED || strcmp(value, "false") != 0)
			set(&p, &d, value);
		return;
	}
	complain(&p, "%.64s: unknown", key);
}

void agent_options_environment(struct agent_options *o, agent_options_warn warn, void *ctx)
{
	static const struct {
		const char *variable;
		struct parameter parameter;
	} variables[] = {
		{"KATA_AGENT_SERVER_ADDR",
		 {"KATA_AGENT_SERVER_ADDR", KIND_TEXT, AT(server_addr), NULL}},
		{"KATA_AGENT_FORWARD_ADDR",
		 {"KATA_AGENT_FORWARD_ADDR", KIND_TEXT, AT(forward_addr), NULL}},
		{"KATA_AGENT_PASSFD_ADDR",
		 {"KATA_AGENT_PASSFD_ADDR", KIND_TEXT, AT(passfd_addr), NULL}},
		{"KATA_AGENT_CONSOLE_ADDR",
		 {"KATA_AGENT_CONSOLE_ADDR", KIND_TEXT, AT(console_addr), NULL}},
		{"KATA_AGENT_LOG_LEVEL", {"KATA_AGENT_LOG_LEVEL", KIND_LEVEL, AT(log_level), NULL}},
		{"KATA_AGENT_STATE_DIR", {"KATA_AGENT_STATE_DIR", KIND_TEXT, AT(state_dir), NULL}},
		{"KATA_AGENT_CGROUP_ROOT",
		 {"KATA_AGENT_CGROUP_ROOT", KIND_TEXT, AT(cgroup_root), NULL}},
		{"KATA_AGENT_CDH_ADDR", {"KATA_AGENT_CDH_ADDR", KIND_TEXT, AT(cdh_addr), NULL}},
		{"KATA_AGENT_PAUSE_BUNDLE",
		 {"KATA_AGENT_PAUSE_BUNDLE", KIND_TEXT, AT(pause_bundle), NULL}},
		{"KATA_AGENT_POLICY_FILE",
		 {"KATA_AGENT_POLICY_FILE", KIND_TEXT, AT(policy_file), NULL}},
	};
	const struct parse p = {.o = o, .warn = warn, .ctx = ctx};

	for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
		const char *value = getenv(variables[i].variable);
		if (value)
			set(&p, &variables[i].parameter, value);
	}
}

#define TEXT_OF(number) #number
#define VSOCK_ADDRESS(port) "vsock://-1:" TEXT_OF(port)

const char *agent_options_forward(const struct agent_options *o)
{
	if (o->forward_addr[0])
		return o->forward_addr;
	return strncmp(o->server_addr, "vsock://", 8) == 0 ? VSOCK_ADDRESS(AGENT_FORWARD_PORT)
							   : NULL;
}
