/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/component-plan.h"

#include "base/buf.h"
#include "base/fd.h"
#include "fmt/json.h"
#include "io/tool.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define SCHEMA 1
#define PARSE_TIMEOUT_MS 10000
/* One argument or value with what is put into it: two paths, and more */
#define STRING_MAX 16384
#define SECONDS_MAX 86400
#define OCICRYPT_CONFIG "/etc/ocicrypt_config.json"

enum variable {
	AA_URI,
	AA_SOCKET,
	AA_CONFIG,
	CDH_CONFIG,
	CDH_SOCKET_PATH,
	OCICRYPT,
	REST_API,
	TIMEOUT,
	INITDATA_TOML,
	ROOT,
	VARIANT,
	N_VARIABLES,
};

static const char *const names[N_VARIABLES] = {
	[AA_URI] = "aa_attestation_uri",	[AA_SOCKET] = "aa_attestation_socket",
	[AA_CONFIG] = "aa_config_path",		[CDH_CONFIG] = "cdh_config_path",
	[CDH_SOCKET_PATH] = "cdh_socket",	[OCICRYPT] = "ocicrypt_config_path",
	[REST_API] = "rest_api_features",	[TIMEOUT] = "launch_process_timeout",
	[INITDATA_TOML] = "initdata_toml_path", [ROOT] = "extension_root",
	[VARIANT] = "attester_variant",
};

/* A plan that is being made. */
struct making {
	const struct component_settings *s;
	struct component_plan *plan;
	const char *values[N_VARIABLES];
	struct json_reader jr; /* also remembers what is not the reader's */
};

static void fail(struct making *m, int r)
{
	if (m->jr.r == 0)
		m->jr.r = r;
}

static const char *keep(struct making *m, const char *text)
{
	const char *s = text && m->jr.r == 0 ? oci_arena_strdup(m->plan->arena, text) : NULL;
	if (text && !s)
		json_read_nomem(&m->jr);
	return s;
}

static _printf_(2, 3) const char *format(struct making *m, const char *fmt, ...)
{
	char text[STRING_MAX];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof text) {
		if (m->jr.r == 0)
			fail(m, err_set(m->jr.e, -E2BIG, "a string of over %d bytes", STRING_MAX));
		return NULL;
	}
	return keep(m, text);
}

static void set_variables(struct making *m)
{
	const struct component_settings *s = m->s;
	const char **v = m->values;

	v[AA_SOCKET] = format(m, "%s/attestation-agent/attestation-agent.sock", s->run);
	v[AA_URI] = format(m, "unix://%s", v[AA_SOCKET] ? v[AA_SOCKET] : "");
	v[AA_CONFIG] = format(m, "%s/initdata/aa.toml", s->run);
	v[CDH_CONFIG] = format(m, "%s/initdata/cdh.toml", s->run);
	v[CDH_SOCKET_PATH] = format(m, "%s/cdh.sock", s->run);
	v[OCICRYPT] = OCICRYPT_CONFIG;
	v[REST_API] = s->rest_api;
	v[TIMEOUT] = format(m, "%u", s->timeout_s);
	v[INITDATA_TOML] = s->initdata ? format(m, "%s/initdata/initdata.toml", s->run) : "";
	v[ROOT] = s->extension;
	v[VARIANT] = s->variant && *s->variant ? s->variant : "default";
}

static enum component_level level_of(const struct component_settings *s)
{
	return s->level == COMPONENTS_DEFAULT ? COMPONENTS_REST : s->level;
}

/* ---- Values of a manifest ----------------------------------------------------------------- */

static const char *variable(const struct making *m, const char *name, size_t len)
{
	for (int i = 0; i < N_VARIABLES; i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return m->values[i];
	return NULL;
}

/* Puts values in place of "${name}". NULL for NULL. */
static const char *substitute(struct making *m, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	if (!text || m->jr.r < 0)
		return NULL;
	for (const char *at; (at = strstr(text, "${")); text = at + 1) {
		buf_append(&b, text, (size_t)(at - text));
		const char *name = at + 2;
		at = strchr(name, '}');
		const char *value = at ? variable(m, name, (size_t)(at - name)) : NULL;
		if (!value) {
			fail(m, err_set(m->jr.e, -EINVAL, "\"${%.64s\": no such variable", name));
			return NULL;
		}
		buf_puts(&b, value);
		if (b.len > STRING_MAX)
			break;
	}
	return format(m, "%s%s", b.data ? b.data : "", text);
}

/* The same, where an empty string is none. */
static const char *substitute_some(struct making *m, const char *text)
{
	const char *s = substitute(m, text);
	return s && *s ? s : NULL;
}

/* A path below the extension's root. */
static const char *resolve(struct making *m, const char *what, const char *path)
{
	if (m->jr.r < 0)
		return NULL;
	while (*path == '/')
		path++;
	bool good = *path != '\0';
	for (const char *p = path; good && *p; p += strcspn(p, "/"), p += strspn(p, "/"))
		good = strcspn(p, "/") != 2 || strncmp(p, "..", 2) != 0;
	if (!good) {
		fail(m, err_set(m->jr.e, -EINVAL, "%s: \"%.200s\" is no path in the extension",
				what, path));
		return NULL;
	}
	return format(m, "%s/%s", m->s->extension, path);
}

static void make_strings(struct making *m, struct oci_strv *v)
{
	if (m->jr.r == 0 && oci_arena_strv(m->plan->arena, COMPONENT_STRINGS_MAX, v) < 0)
		json_read_nomem(&m->jr);
	v->n = 0;
}

static void add_string(struct making *m, struct oci_strv *v, const char *s)
{
	if (m->jr.r < 0 || !s)
		return;
	if (v->n == COMPONENT_STRINGS_MAX)
		fail(m, err_set(m->jr.e, -E2BIG, "more than %d strings", COMPONENT_STRINGS_MAX));
	else
		v->v[v->n++] = (char *)s;
}

static void add_args(struct making *m, const struct json_at *obj, struct oci_strv *args)
{
	struct json_at list;

	size_t n = json_read_array(&m->jr, obj, "args", COMPONENT_STRINGS_MAX, &list);
	for (size_t i = 0; i < n && m->jr.r == 0; i++) {
		struct json_at at = json_at_element(&list, i);
		add_string(m, args, substitute(m, json_value_as_string(&m->jr, &at)));
	}
}

/* Only those whose variable has a value. */
static void add_optional_args(struct making *m, const struct json_at *obj, struct oci_strv *args)
{
	struct json_at list;

	size_t n = json_read_array(&m->jr, obj, "optional_args", COMPONENT_STRINGS_MAX, &list);
	for (size_t i = 0; i < n && m->jr.r == 0; i++) {
		struct json_at at = json_at_element(&list, i);
		if (!json_value_is_object(&m->jr, &at))
			return;
		json_read_need(&m->jr, &at, "when");
		json_read_need(&m->jr, &at, "args");
		const char *when = json_read_string(&m->jr, &at, "when", "");
		const char *value = m->jr.r < 0 ? NULL : variable(m, when, strlen(when));
		if (value && *value)
			add_args(m, &at, args);
	}
}

/* Replaces what is there of the same name. */
static void set_env(struct making *m, struct oci_strv *env, const char *key, const char *value)
{
	size_t len = strlen(key);

	if (m->jr.r == 0 && (len == 0 || strchr(key, '=')))
		fail(m, err_set(m->jr.e, -EINVAL, "env: \"%.64s\" is no name of a variable", key));
	const char *s = m->jr.r < 0 ? NULL : format(m, "%s=%s", key, value ? value : "");
	for (size_t i = 0; s && i < env->n; i++) {
		if (strncmp(env->v[i], s, len + 1) == 0) {
			env->v[i] = (char *)s;
			return;
		}
	}
	add_string(m, env, s);
}

static void add_env(struct making *m, const struct json_at *obj, struct oci_strv *env)
{
	struct json_at table;
	const char *key;
	json_t *value;

	if (!json_read_object(&m->jr, obj, "env", &table))
		return;
	json_object_foreach ((json_t *)table.value, key, value) {
		struct json_at at = {.value = value, .up = &table, .key = key};
		const char *text = json_value_as_string(&m->jr, &at);
		set_env(m, env, key, substitute(m, text));
	}
}

static uint64_t read_timeout_ms(struct making *m, const struct json_at *obj)
{
	const char *text = substitute_some(m, json_read_string(&m->jr, obj, "timeout_secs", NULL));
	char *end;

	if (!text)
		return 0;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n > SECONDS_MAX) {
		fail(m, err_set(m->jr.e, -EINVAL, "timeout_secs \"%.64s\": not 0 to %d seconds",
				text, SECONDS_MAX));
		return 0;
	}
	return n * 1000;
}

/* ---- Processes of a manifest -------------------------------------------------------------- */

/* Goes into the variant that is selected; false if the process has none. */
static bool select_variant(struct making *m, const struct json_at *obj, struct json_at *ret_all,
			   struct json_at *ret)
{
	if (!json_read_object(&m->jr, obj, "variants", ret_all) ||
	    json_object_size(ret_all->value) == 0)
		return false;
	const char *name = substitute_some(m, json_read_string(&m->jr, obj, "select", NULL));
	if (!name)
		name = "default";
	if (m->jr.r == 0 && json_read_object(&m->jr, ret_all, name, ret))
		return true;
	if (m->jr.r == 0)
		fail(m, err_set(m->jr.e, -EINVAL, "there is no variant \"%.64s\"", name));
	return false;
}

static void read_process(struct making *m, const struct json_at *obj, struct component *c)
{
	struct json_at variants, variant;

	make_strings(m, &c->args);
	make_strings(m, &c->env);
	bool varies = select_variant(m, obj, &variants, &variant);
	const char *path = json_read_string(&m->jr, obj, "path", NULL);
	if (varies)
		path = json_read_string(&m->jr, &variant, "path", path);
	path = substitute(m, path);
	if (m->jr.r == 0 && !path)
		fail(m, err_set(m->jr.e, -EINVAL, "neither it nor its variant has a path"));
	c->path = m->jr.r < 0 ? NULL : resolve(m, "path", path);
	add_args(m, obj, &c->args);
	add_optional_args(m, obj, &c->args);
	add_env(m, obj, &c->env);
	if (varies) {
		add_args(m, &variant, &c->args);
		add_env(m, &variant, &c->env);
	}
	c->config = substitute_some(m, json_read_string(&m->jr, obj, "config", NULL));
	c->wait_socket = substitute_some(m, json_read_string(&m->jr, obj, "wait_socket", NULL));
	c->timeout_ms = read_timeout_ms(m, obj);
}

/* What is above the level is not looked at. */
static void add_process(struct making *m, const struct json_at *obj)
{
	struct component *c = &m->plan->v[m->plan->n];

	if (!json_value_is_object(&m->jr, obj))
		return;
	json_read_need(&m->jr, obj, "id");
	const char *id = json_read_string(&m->jr, obj, "id", "");
	uint64_t level = json_read_uint(&m->jr, obj, "level", UINT32_MAX, 0);
	if (m->jr.r < 0 || level == 0 || level > level_of(m->s))
		return;
	memset(c, 0, sizeof *c);
	c->id = keep(m, id);
	read_process(m, obj, c);
	if (m->jr.r < 0)
		(void)err_wrap(m->jr.e, m->jr.r, "process \"%.64s\"", id);
	else
		m->plan->n++;
}

static void read_paths(struct making *m, const struct json_at *root)
{
	struct json_at paths;
	const char *path;

	if (!json_read_object(&m->jr, root, "paths", &paths))
		return;
	path = json_read_string(&m->jr, &paths, "ocicrypt-config", NULL);
	if (path)
		m->values[OCICRYPT] = resolve(m, "paths.ocicrypt-config", path);
	path = json_read_string(&m->jr, &paths, "pause-bundle", NULL);
	if (path)
		m->plan->pause_bundle = resolve(m, "paths.pause-bundle", path);
}

static int begin(struct making *m, const struct component_settings *s, struct component_plan *ret,
		 struct err *e)
{
	memset(ret, 0, sizeof *ret);
	*m = (struct making){.s = s, .plan = ret, .jr = {.e = e}};
	ret->arena = oci_arena_new();
	if (!ret->arena)
		return err_set(e, -ENOMEM, "no memory for the list of components");
	set_variables(m);
	return 0;
}

int component_plan_manifest(const struct component_settings *s, const json_t *manifest,
			    struct component_plan *ret, struct err *e)
{
	struct json_at root = json_at_root(manifest, NULL), list;
	struct making m;

	int r = begin(&m, s, ret, e);
	if (r < 0)
		return r;
	ret->extension = true;
	if (!json_value_is_object(&m.jr, &root))
		return m.jr.r;
	json_read_need(&m.jr, &root, "schema_version");
	uint64_t schema = json_read_uint(&m.jr, &root, "schema_version", UINT32_MAX, 0);
	if (m.jr.r == 0 && schema != SCHEMA)
		fail(&m, err_set(e, -EINVAL, "schema_version is %llu: only %d is known",
				 (unsigned long long)schema, SCHEMA));
	read_paths(&m, &root);
	size_t n = json_read_array(&m.jr, &root, "process", COMPONENTS_MAX, &list);
	for (size_t i = 0; i < n && m.jr.r == 0; i++) {
		struct json_at at = json_at_element(&list, i);
		add_process(&m, &at);
	}
	return m.jr.r;
}

/* ---- The image's own ---------------------------------------------------------------------- */

static struct component *add_own(struct making *m, enum component_level level, const char *id,
				 const char *config, const char *wait_socket)
{
	struct component *c = &m->plan->v[m->plan->n];

	if (level > level_of(m->s))
		return NULL;
	m->plan->n++;
	*c = (struct component){.id = id,
				.path = format(m, "%s/%s", m->s->programs, id),
				.config = config,
				.wait_socket = wait_socket,
				.timeout_ms = wait_socket ? m->s->timeout_s * 1000ULL : 0};
	make_strings(m, &c->args);
	make_strings(m, &c->env);
	return c;
}

static int plan_own(const struct component_settings *s, struct component_plan *ret, struct err *e)
{
	struct making m;

	int r = begin(&m, s, ret, e);
	if (r < 0)
		return r;
	const char **v = m.values;
	struct component *c = add_own(&m, COMPONENTS_ATTESTATION_AGENT, "attestation-agent",
				      v[AA_CONFIG], v[AA_SOCKET]);
	if (c) {
		add_string(&m, &c->args, "--attestation_sock");
		add_string(&m, &c->args, v[AA_URI]);
		if (s->initdata) {
			add_string(&m, &c->args, "--initdata-toml");
			add_string(&m, &c->args, v[INITDATA_TOML]);
		}
	}
	c = add_own(&m, COMPONENTS_DATA_HUB, "confidential-data-hub", v[CDH_CONFIG],
		    v[CDH_SOCKET_PATH]);
	if (c)
		set_env(&m, &c->env, "OCICRYPT_KEYPROVIDER_CONFIG", v[OCICRYPT]);
	c = add_own(&m, COMPONENTS_REST, "api-server-rest", NULL, NULL);
	if (c) {
		add_string(&m, &c->args, "--features");
		add_string(&m, &c->args, v[REST_API]);
	}
	return m.jr.r;
}

/* ---- Making ------------------------------------------------------------------------------- */

static int read_manifest(const struct component_settings *s, json_t **ret, struct err *e)
{
	static const struct json_limits limits = {
		.bytes = 8 * COMPONENTS_MANIFEST_MAX, .depth = 16, .values = 4096};
	const char *argv[] = {s->parser, "toml", NULL};
	_cleanup_buf_ struct buf text = BUF_INIT, json = BUF_INIT;
	char path[256];

	int r = path_format(path, sizeof path, "%s/" COMPONENTS_MANIFEST, s->extension);
	if (r == 0)
		r = file_read(AT_FDCWD, path, COMPONENTS_MANIFEST_MAX, &text);
	if (r < 0)
		return err_errno(e, r, "read it");
	const struct tool_spec spec = {.argv = argv,
				       .input = text.data,
				       .input_len = text.len,
				       .output_max = limits.bytes,
				       .timeout_ms = PARSE_TIMEOUT_MS};
	r = tool_run(&spec, &json, e);
	return r < 0 ? r : json_text_parse(json.data ? json.data : "", json.len, &limits, ret, e);
}

int component_plan_make(const struct component_settings *s, struct component_plan *ret,
			struct err *e)
{
	json_t *manifest = NULL;
	struct stat st;

	memset(ret, 0, sizeof *ret);
	if (stat(s->extension, &st) < 0)
		return errno == ENOENT ? plan_own(s, ret, e)
				       : err_errno(e, -errno, "look at %s", s->extension);
	int r = read_manifest(s, &manifest, e);
	if (r == 0)
		r = component_plan_manifest(s, manifest, ret, e);
	json_decref(manifest);
	return r < 0 ? err_wrap(e, r, "manifest %s/" COMPONENTS_MANIFEST, s->extension) : 0;
}

void component_plan_free(struct component_plan *p)
{
	oci_arena_free(p->arena);
	p->arena = NULL;
}
