/* SPDX-License-Identifier: Apache-2.0 */
#include "service/sandbox-options.h"

#include "base/buf.h"
#include "base/text.h"
#include "fmt/json.h"
#include "oci/arena.h"
#include "rpc/any.h"

#include "proto/cri_sandbox.pb-c.h"
#include "proto/runtimeoptions.pb-c.h"

#include <limits.h>
#include <string.h>

#define REQUEST Containerd__Runtime__Sandbox__V1__CreateSandboxRequest
#define CRI(name) Runtime__V1__##name

/* The annotations that containerd puts on a pod's own container, by the same names. */
#define CRI_ANNOTATION "io.kubernetes.cri."

static int oom(struct err *e)
{
	return err_set(e, -ENOMEM, "out of memory");
}

/* ---- Annotations -------------------------------------------------------------------------------
 */

static int annotate(struct oci_spec *s, const char *key, const char *value, struct err *e)
{
	return oci_spec_set_annotation(s, key, value) < 0 ? oom(e) : 0;
}

static int annotate_cri(struct oci_spec *s, const char *name, const char *value, struct err *e)
{
	char key[96];
	(void)snprintf(key, sizeof key, CRI_ANNOTATION "%s", name);
	return text_is_given(value) ? annotate(s, key, value, e) : 0;
}

static int annotate_number(struct oci_spec *s, const char *name, int64_t value, struct err *e)
{
	char text[32];
	(void)snprintf(text, sizeof text, "%lld", (long long)value);
	return annotate_cri(s, name, text, e);
}

static int check_count(const char *what, size_t n, struct err *e)
{
	return n <= SANDBOX_ENTRIES_MAX ? 0
					: err_set(e, -E2BIG, "%s has %zu entries: more than %u",
						  what, n, SANDBOX_ENTRIES_MAX);
}

static int annotate_metadata(struct oci_spec *s, const CRI(PodSandboxMetadata) * m, struct err *e)
{
	int r = annotate_cri(s, "sandbox-name", m->name, e);
	if (r == 0)
		r = annotate_cri(s, "sandbox-namespace", m->namespace_, e);
	return r < 0 ? r : annotate_cri(s, "sandbox-uid", m->uid, e);
}

static int annotate_resources(struct oci_spec *s, const CRI(LinuxContainerResources) * q,
			      struct err *e)
{
	int r = annotate_number(s, "sandbox-cpu-period", q->cpu_period, e);
	if (r == 0)
		r = annotate_number(s, "sandbox-cpu-quota", q->cpu_quota, e);
	if (r == 0)
		r = annotate_number(s, "sandbox-cpu-shares", q->cpu_shares, e);
	return r < 0 ? r : annotate_number(s, "sandbox-memory", q->memory_limit_in_bytes, e);
}

/* ---- Names -------------------------------------------------------------------------------------
 */

static int set_hostname(struct oci_spec *s, const char *name, struct err *e)
{
	if (!text_is_given(name))
		return 0;
	size_t n = strlen(name);
	if (n > HOST_NAME_MAX || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					      "0123456789.-_") != n)
		return err_set(e, -EINVAL,
			       "hostname \"%.100s\": must be at most %d letters, digits, \".\", "
			       "\"-\" and \"_\"",
			       name, HOST_NAME_MAX);
	s->hostname = oci_arena_strdup(s->arena, name);
	return s->hostname ? 0 : oom(e);
}

static int set_netns(struct oci_spec *s, const char *path, struct err *e)
{
	if (!text_is_given(path))
		return 0;
	if (path[0] != '/')
		return err_set(e, -EINVAL, "netns_path \"%.200s\": must be an absolute path", path);
	s->namespaces = oci_arena_array(s->arena, 1, sizeof *s->namespaces);
	char *copy = oci_arena_strdup(s->arena, path);
	if (!s->namespaces || !copy)
		return oom(e);
	s->namespaces[0] = (struct oci_namespace){.type = OCI_NS_NETWORK, .path = copy};
	s->n_namespaces = 1;
	return 0;
}

/* As containerd names the cgroup of a pod's own container below the pod's. */
static int set_cgroup(struct oci_spec *s, const char *parent, const char *id, struct err *e)
{
	if (!text_is_given(parent))
		return 0;
	size_t n = strlen(parent), suffix = strlen(".slice");
	bool systemd = n > suffix && strcmp(parent + n - suffix, ".slice") == 0;
	const char *base = strrchr(parent, '/');
	_cleanup_buf_ struct buf path = BUF_INIT;

	if (systemd)
		buf_printf(&path, "%s:cri-containerd:%s", base ? base + 1 : parent, id);
	else
		buf_printf(&path, "%s/%s", parent, id);
	s->cgroups_path = buf_failed(&path) ? NULL : oci_arena_strdup(s->arena, path.data);
	return s->cgroups_path ? 0 : oom(e);
}

/* ---- DNS ---------------------------------------------------------------------------------------
 */

/* A word that holds a blank or a line's end would become something else in the file. */
static int check_words(const char *what, char *const *v, size_t n, struct err *e)
{
	if (n > SANDBOX_DNS_WORDS_MAX)
		return err_set(e, -E2BIG, "dns_config.%s has %zu entries: more than %u", what, n,
			       SANDBOX_DNS_WORDS_MAX);
	for (size_t i = 0; i < n; i++) {
		bool good = v[i][0] && strlen(v[i]) <= 255;
		for (const char *p = v[i]; *p; p++)
			good = good && *p > ' ' && *p < 0x7f;
		if (!good)
			return err_set(e, -EINVAL,
				       "dns_config.%s[%zu]: must be 1 to 255 printable characters "
				       "without blanks",
				       what, i);
	}
	return 0;
}

static void put_line(struct buf *b, const char *word, char *const *v, size_t n)
{
	if (n == 0)
		return;
	buf_puts(b, word);
	for (size_t i = 0; i < n; i++)
		buf_printf(b, " %s", v[i]);
	buf_puts(b, "\n");
}

static int read_dns(struct sandbox_options *o, const CRI(DNSConfig) * c, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	int r = check_words("servers", c->servers, c->n_servers, e);
	if (r == 0)
		r = check_words("searches", c->searches, c->n_searches, e);
	if (r == 0)
		r = check_words("options", c->options, c->n_options, e);
	if (r < 0)
		return r;
	put_line(&text, "search", c->searches, c->n_searches);
	for (size_t i = 0; i < c->n_servers; i++)
		buf_printf(&text, "nameserver %s\n", c->servers[i]);
	put_line(&text, "options", c->options, c->n_options);
	buf_puts(&text, "");
	o->resolv_conf = buf_failed(&text) ? NULL : strdup(text.data ? text.data : "");
	return o->resolv_conf ? 0 : oom(e);
}

/* ---- Kubernetes' options -----------------------------------------------------------------------
 */

static int read_sysctls(struct oci_spec *s, const CRI(LinuxPodSandboxConfig) * l, struct err *e)
{
	int r = check_count("linux.sysctls", l->n_sysctls, e);
	if (r < 0)
		return r;
	s->sysctl = oci_arena_array(s->arena, l->n_sysctls, sizeof *s->sysctl);
	for (size_t i = 0; s->sysctl && i < l->n_sysctls; i++) {
		s->sysctl[i].key = oci_arena_strdup(s->arena, l->sysctls[i]->key);
		s->sysctl[i].value = oci_arena_strdup(s->arena, l->sysctls[i]->value);
		if (!s->sysctl[i].key || !s->sysctl[i].value)
			return oom(e);
	}
	s->n_sysctl = l->n_sysctls;
	return s->sysctl ? 0 : oom(e);
}

static int read_linux(struct oci_spec *s, const CRI(LinuxPodSandboxConfig) * l, const char *id,
		      struct err *e)
{
	int r = set_cgroup(s, l->cgroup_parent, id, e);
	if (r == 0)
		r = read_sysctls(s, l, e);
	if (r == 0 && l->resources)
		r = annotate_resources(s, l->resources, e);
	return r;
}

static int read_pod_config(struct sandbox_options *o, const CRI(PodSandboxConfig) * c,
			   const char *id, struct err *e)
{
	struct oci_spec *s = o->spec;
	int r = check_count("annotations", c->n_annotations, e);

	for (size_t i = 0; r == 0 && i < c->n_annotations; i++)
		r = annotate(s, c->annotations[i]->key, c->annotations[i]->value, e);
	if (r == 0)
		r = annotate_cri(s, "container-type", "sandbox", e);
	if (r == 0)
		r = annotate_cri(s, "sandbox-id", id, e);
	if (r == 0)
		r = annotate_cri(s, "sandbox-log-directory", c->log_directory, e);
	if (r == 0 && c->metadata)
		r = annotate_metadata(s, c->metadata, e);
	if (r == 0)
		r = set_hostname(s, c->hostname, e);
	if (r == 0 && c->linux)
		r = read_linux(s, c->linux, id, e);
	if (r == 0 && c->dns_config)
		r = read_dns(o, c->dns_config, e);
	o->wants_host_dns = r == 0 && !c->dns_config;
	return r;
}

/* ---- The runtime's own options -----------------------------------------------------------------
 */

static int read_runtime_options(struct sandbox_options *o, const Runtimeoptions__V1__Options *r,
				struct err *e)
{
	if (text_is_given(r->config_path) && !(o->config_file = strdup(r->config_path)))
		return oom(e);
	if (r->config_body.len &&
	    !(o->config_body = strndup((const char *)r->config_body.data, r->config_body.len)))
		return oom(e);
	return 0;
}

static int read_any(struct sandbox_options *o, const REQUEST *req, struct err *e)
{
	const Google__Protobuf__Any *any = req->options;
	int r = 0;

	if (!any || !text_is_given(any->type_url) || rpc_any_is(any, "google.protobuf.Empty"))
		return 0;
	bool pod = rpc_any_is(any, runtime__v1__pod_sandbox_config__descriptor.name);
	if (!pod && !rpc_any_is(any, runtimeoptions__v1__options__descriptor.name))
		return err_set(e, -EINVAL,
			       "options of type \"%.100s\": must be "
			       "runtime.v1.PodSandboxConfig or runtimeoptions.v1.Options",
			       any->type_url);
	ProtobufCMessage *m = rpc_any_unpack(any, pod ? &runtime__v1__pod_sandbox_config__descriptor
						      : &runtimeoptions__v1__options__descriptor);
	if (!m)
		return err_set(e, -EINVAL, "options of type \"%.100s\" cannot be decoded",
			       any->type_url);
	if (pod)
		r = read_pod_config(o, (const CRI(PodSandboxConfig) *)m, req->sandbox_id, e);
	else
		r = read_runtime_options(o, (const Runtimeoptions__V1__Options *)m, e);
	protobuf_c_message_free_unpacked(m, NULL);
	return r;
}

static int read_request(struct sandbox_options *o, const REQUEST *req, struct err *e)
{
	int r = read_any(o, req, e);
	if (r == 0)
		r = check_count("annotations", req->n_annotations, e);
	for (size_t i = 0; r == 0 && i < req->n_annotations; i++)
		r = annotate(o->spec, req->annotations[i]->key, req->annotations[i]->value, e);
	return r < 0 ? r : set_netns(o->spec, req->netns_path, e);
}

int sandbox_options_read(const REQUEST *req, struct sandbox_options *ret, struct err *e)
{
	struct sandbox_options o = SANDBOX_OPTIONS_INIT;

	o.spec = oci_spec_new();
	if (!o.spec)
		return oom(e);
	int r = read_request(&o, req, e);
	if (r < 0)
		sandbox_options_deinit(&o);
	else
		*ret = o;
	return r;
}

/* ---- config.json -------------------------------------------------------------------------------
 */

static const char *netns_of(struct json_reader *jr, const struct json_at *root)
{
	struct json_at lin, list;
	const char *path = NULL;

	if (!json_read_object(jr, root, "linux", &lin))
		return NULL;
	size_t n = json_read_array(jr, &lin, "namespaces", 64, &list);
	for (size_t i = 0; i < n; i++) {
		struct json_at at = json_at_element(&list, i);
		if (json_value_is_object(jr, &at) &&
		    strcmp(json_read_string(jr, &at, "type", ""), "network") == 0)
			path = json_read_string(jr, &at, "path", NULL);
	}
	return path;
}

static int add_annotations(struct json_reader *jr, const struct json_at *root, struct oci_spec *s,
			   struct err *e)
{
	struct json_at map;
	const char *key;
	json_t *value;
	int r = 0;

	if (!json_read_object(jr, root, "annotations", &map))
		return 0;
	r = check_count("annotations", json_object_size(map.value), e);
	json_object_foreach ((json_t *)map.value, key, value) {
		struct json_at at = {.value = value, .up = &map, .key = key};
		const char *text = json_value_as_string(jr, &at);
		if (r == 0 && jr->r == 0 && !oci_spec_annotation(s, key))
			r = annotate(s, key, text, e);
	}
	return r;
}

int sandbox_options_add_spec(struct sandbox_options *o, const char *json, size_t len, struct err *e)
{
	const struct json_limits limits = {.bytes = OCI_JSON_BYTES_MAX,
					   .depth = OCI_JSON_DEPTH_MAX,
					   .values = OCI_JSON_VALUES_MAX};
	struct json_reader jr = {.e = e};
	json_t *document = NULL;
	int r = json_text_parse(json, len, &limits, &document, e);
	if (r < 0)
		return r;

	struct json_at root = json_at_root(document, NULL);
	if (json_value_is_object(&jr, &root)) {
		const char *hostname = json_read_string(&jr, &root, "hostname", NULL);
		const char *netns = netns_of(&jr, &root);
		r = add_annotations(&jr, &root, o->spec, e);
		if (r == 0 && jr.r == 0 && !o->spec->hostname)
			r = set_hostname(o->spec, hostname, e);
		if (r == 0 && jr.r == 0 && o->spec->n_namespaces == 0)
			r = set_netns(o->spec, netns, e);
	}
	json_decref(document);
	return jr.r < 0 ? jr.r : r;
}

/* ---- Files -------------------------------------------------------------------------------------
 */

int sandbox_options_add_file(struct sandbox_options *o, const char *destination, const char *source)
{
	struct oci_spec *s = o->spec;
	struct oci_mount *v = oci_arena_array(s->arena, s->n_mounts + 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	if (s->n_mounts > 0)
		memcpy(v, s->mounts, s->n_mounts * sizeof *v);
	struct oci_mount *m = &v[s->n_mounts];
	m->destination = oci_arena_strdup(s->arena, destination);
	m->source = oci_arena_strdup(s->arena, source);
	m->type = oci_arena_strdup(s->arena, "bind");
	if (!m->destination || !m->source || !m->type ||
	    oci_arena_strv(s->arena, 1, &m->options) < 0 ||
	    !(m->options.v[0] = oci_arena_strdup(s->arena, "rbind")))
		return -ENOMEM;
	s->mounts = v;
	s->n_mounts++;
	return 0;
}

void sandbox_options_deinit(struct sandbox_options *o)
{
	oci_spec_free(TAKE_PTR(o->spec));
	free(TAKE_PTR(o->config_file));
	free(TAKE_PTR(o->config_body));
	free(TAKE_PTR(o->resolv_conf));
}
