/* SPDX-License-Identifier: Apache-2.0 */
/* Files, then annotations, then checks, then struct kata_config: see internal.h. */
#include "config/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

/* Where the field looks, and where this build installs its own. */
static const char *const default_files[] = {
	"/etc/kata-containers/runtime-rs/configuration.toml",
	"/usr/share/defaults/kata-containers/runtime-rs/configuration.toml",
	"/opt/kata/share/defaults/kata-containers/runtime-rs/configuration.toml",
	CONFIG_SYSCONFDIR "/kata-containers/runtime-rs/configuration.toml",
	CONFIG_DATADIR "/defaults/kata-containers/runtime-rs/configuration.toml",
	NULL,
};

static void host_facts(struct config_host *host)
{
	struct sysinfo info;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	*host = (struct config_host){
		.cpus = cpus > 0 ? (uint32_t)cpus : 1,
		.env_file = getenv("KATA_CONF_FILE"),
		.default_files = default_files,
	};
	if (sysinfo(&info) == 0)
		host->memory_mib = (uint64_t)info.totalram * info.mem_unit / (1024 * 1024);
}

/* ---- The chosen tables ------------------------------------------------------------------------
 */

static int refuse_name(struct config_load *l, const struct toml_node *root, const char *section,
		       const char *key_name)
{
	const struct config_key *key = config_key_find(SECTION_RUNTIME, key_name);
	const struct toml_node *tables = toml_get(root, section);
	const struct toml_node *n = tables && tables->type == TOML_TABLE ? tables->first : NULL;
	bool set = config_value(l, SECTION_RUNTIME, key_name)->string[0];
	_cleanup_buf_ struct buf b = BUF_INIT;

	/* The names that could have been given; a few of them are enough. */
	for (; n && b.len < 256; n = n->next) {
		if (n->type != TOML_TABLE)
			continue;
		buf_puts(&b, b.len ? ", " : "; there is ");
		config_print_string(&b, n->key);
	}
	return config_refuse(l, key, "must name a table [%s.<name>] of the configuration%s%s",
			     section, b.len ? b.data : "; there is none",
			     set ? "" : " (files of the Go runtime lack this key, and others)");
}

static int choose_tables(struct config_load *l, const struct config_source *src,
			 const struct toml_node *root)
{
	static const struct config_profile unknown = {"", "", 256, 64, .checked = false};
	int r = config_switch_by_annotations(l, src->annotations, root);

	if (r < 0)
		return r;
	l->hypervisor_name = config_value(l, SECTION_RUNTIME, "hypervisor_name")->string;
	l->agent_name = config_value(l, SECTION_RUNTIME, "agent_name")->string;
	if (!config_named_table(root, "hypervisor", l->hypervisor_name))
		return refuse_name(l, root, "hypervisor", "hypervisor_name");
	if (!config_named_table(root, "agent", l->agent_name))
		return refuse_name(l, root, "agent", "agent_name");
	l->profile = config_profile_find(l->hypervisor_name);
	if (!l->profile) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		config_print_string(&b, l->hypervisor_name);
		config_warn(l, "there is no hypervisor %s", buf_failed(&b) ? "" : b.data);
		l->profile = &unknown;
	}
	return 0;
}

/* ---- Values into the structure ----------------------------------------------------------------
 */

/* The configuration being made, once everything is known to be right. */
struct result {
	struct config_load *l;
	struct kata_config *config;
	struct config_kept *kept;
};

static int store_string(struct result *r, const char *s, char **ret)
{
	*ret = config_strndup(&r->kept->arena, s, strlen(s));
	return *ret ? 0 : config_no_memory(r->l);
}

static int store_strings(struct result *r, const struct config_strv *s, struct config_strv *ret)
{
	*ret = (struct config_strv){.n = 0};
	if (!s->n)
		return 0;
	ret->v = config_alloc(&r->kept->arena, s->n * sizeof *ret->v);
	if (!ret->v)
		return config_no_memory(r->l);
	for (; ret->n < s->n; ret->n++)
		if (store_string(r, s->v[ret->n], &ret->v[ret->n]) < 0)
			return -ENOMEM;
	return 0;
}

static int store_value(struct result *r, const struct config_key *key)
{
	const struct config_value *v = &r->l->values[config_key_index(key)];
	void *field = (char *)r->config + key->offset;

	switch (key->type) {
	case TYPE_BOOL:
		*(bool *)field = v->boolean;
		break;
	case TYPE_U32:
		*(uint32_t *)field = (uint32_t)v->integer;
		break;
	case TYPE_U64:
	case TYPE_I64:
		*(uint64_t *)field = (uint64_t)v->integer;
		break;
	case TYPE_NUMBER:
		*(double *)field = v->number;
		break;
	case TYPE_STRING:
		return store_string(r, v->string, field);
	case TYPE_STRINGS:
		return store_strings(r, &v->strings, field);
	case TYPE_INTEGERS:
	case TYPE_TABLE:
	case TYPE_TABLES:
		break;
	}
	return 0;
}

/* Most values come from the same file, whose name is kept once. */
static int store_origin(struct result *r, size_t key)
{
	const struct config_value *values = r->l->values;
	struct config_origin *kept = &r->kept->origins[key];
	char *name;

	*kept = values[key].origin;
	if (!kept->where)
		return 0;
	for (size_t i = 0; i < key; i++)
		if (values[i].origin.where == kept->where) {
			kept->where = r->kept->origins[i].where;
			return 0;
		}
	int ret = store_string(r, kept->where, &name);
	kept->where = name;
	return ret;
}

static int store_values(struct result *r)
{
	struct config_strv mem_agent = {.n = 0};
	int ret = store_string(r, r->l->base_file, &r->config->file);

	if (ret == 0)
		ret = store_string(r, r->l->hypervisor_name, &r->config->hypervisor.name);
	for (size_t i = 0; i < config_keys_count && ret == 0; i++) {
		const struct config_key *k = &config_keys[i];
		if (k->offset != KEY_NOT_ACTED_ON && k->section != SECTION_MEM_AGENT)
			ret = store_value(r, k);
		if (ret == 0)
			ret = store_origin(r, i);
	}
	if (ret == 0)
		ret = config_collect_mem_agent(r->l, &mem_agent);
	return ret < 0 ? ret : store_strings(r, &mem_agent, &r->config->agent.mem_agent);
}

static int make_config(struct config_load *l, struct kata_config **ret)
{
	struct result r = {.l = l, .config = calloc(1, sizeof *r.config)};

	if (!r.config)
		return config_no_memory(l);
	r.kept = calloc(1, sizeof *r.kept + config_keys_count * sizeof r.kept->origins[0]);
	r.config->arena = r.kept;
	int ret_code = r.kept ? store_values(&r) : config_no_memory(l);
	if (ret_code < 0)
		config_free(r.config);
	else
		*ret = r.config;
	return ret_code;
}

/* ---- Loading ----------------------------------------------------------------------------------
 */

static int read_values(struct config_load *l, const struct config_source *src)
{
	_cleanup_(config_docs_free) struct config_docs docs = {.n = 0};
	struct toml_node *root;
	int r = config_read_files(l, src, &docs, &root);

	if (r < 0)
		return r;
	config_preset_all(l);
	r = config_read_runtime(l, root);
	if (r == 0)
		r = choose_tables(l, src, root);
	return r < 0 ? r : config_read_tables(l, root);
}

static int load(struct config_load *l, const struct config_source *src, struct kata_config **ret)
{
	int r = read_values(l, src);

	if (r == 0)
		r = config_apply_annotations(l, src->annotations);
	if (r == 0)
		r = config_check(l);
	if (l->warnings > CONFIG_WARNINGS_MAX) {
		unsigned more = l->warnings - CONFIG_WARNINGS_MAX;
		l->warnings = 0;
		config_warn(l, "%u further warnings about the configuration are left out", more);
	}
	return r < 0 ? r : make_config(l, ret);
}

int config_load_on(const struct config_host *host, const struct config_source *src,
		   config_warn_fn warn, void *warn_arg, struct kata_config **ret, struct err *e)
{
	/* Too big for the stack of a worker. */
	struct config_load *l = calloc(1, sizeof *l);

	if (!l)
		return err_set(e, -ENOMEM, "out of memory while loading the configuration");
	l->host = host;
	l->warn = warn;
	l->warn_arg = warn_arg;
	l->e = e;
	int r = load(l, src, ret);
	config_arena_free(&l->arena);
	free(l);
	return r;
}

int config_load(const struct config_source *src, config_warn_fn warn, void *warn_arg,
		struct kata_config **ret, struct err *e)
{
	struct config_host host;
	host_facts(&host);
	return config_load_on(&host, src, warn, warn_arg, ret, e);
}

void config_free(struct kata_config *c)
{
	if (!c)
		return;
	struct config_kept *kept = c->arena;
	if (kept)
		config_arena_free(&kept->arena);
	free(kept);
	free(c);
}
