/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json as a whole. Source: the config*.md files of the runtime specification.
 *
 * What the specification has and nobody here acts on is skipped: other platforms, network classes,
 * memory flags of cgroup v1.
 */
#include "oci/read.h"
#include "oci/validate.h"

static void read_mounts(struct oci_reader *rd, const struct json_at *root, struct oci_spec *s)
{
	struct json_at arr;
	size_t n = json_read_array(&rd->j, root, "mounts", OCI_MOUNTS_MAX, &arr);

	s->mounts = oci_read_alloc(rd, n, sizeof *s->mounts);
	s->n_mounts = s->mounts ? n : 0;
	for (size_t i = 0; i < s->n_mounts && rd->j.r == 0; i++) {
		struct json_at at = json_at_element(&arr, i);
		struct oci_mount *m = &s->mounts[i];

		json_read_need(&rd->j, &at, "destination");
		m->destination = oci_mount_destination(
			rd->arena, json_read_string(&rd->j, &at, "destination", ""));
		if (!m->destination)
			json_read_nomem(&rd->j);
		m->source = oci_read_text(rd, &at, "source");
		m->type = oci_read_text(rd, &at, "type");
		oci_read_strv(rd, &at, "options", &m->options);
		oci_read_id_mappings(rd, &at, "uidMappings", &m->uid_mappings, &m->n_uid_mappings);
		oci_read_id_mappings(rd, &at, "gidMappings", &m->gid_mappings, &m->n_gid_mappings);
	}
}

static void read_hook_list(struct oci_reader *rd, const struct json_at *hooks, const char *key,
			   struct oci_hook_list *ret)
{
	struct json_at arr;
	size_t n = json_read_array(&rd->j, hooks, key, OCI_HOOKS_MAX, &arr);

	ret->v = oci_read_alloc(rd, n, sizeof *ret->v);
	ret->n = ret->v ? n : 0;
	for (size_t i = 0; i < ret->n && rd->j.r == 0; i++) {
		struct json_at at = json_at_element(&arr, i);
		ret->v[i].path = oci_read_needed(rd, &at, "path");
		oci_read_strv(rd, &at, "args", &ret->v[i].args);
		oci_read_strv(rd, &at, "env", &ret->v[i].env);
		ret->v[i].timeout = (int)json_read_int(&rd->j, &at, "timeout", 1, INT32_MAX, 0);
	}
}

static void read_hooks(struct oci_reader *rd, const struct json_at *root, struct oci_hooks *h)
{
	struct json_at at;

	if (!json_read_object(&rd->j, root, "hooks", &at))
		return;
	read_hook_list(rd, &at, "prestart", &h->prestart);
	read_hook_list(rd, &at, "createRuntime", &h->create_runtime);
	read_hook_list(rd, &at, "createContainer", &h->create_container);
	read_hook_list(rd, &at, "startContainer", &h->start_container);
	read_hook_list(rd, &at, "poststart", &h->poststart);
	read_hook_list(rd, &at, "poststop", &h->poststop);
}

static void read_namespaces(struct oci_reader *rd, const struct json_at *lin, struct oci_spec *s)
{
	struct json_at arr;
	/* more than one of a kind is refused by validation, with the better sentence */
	size_t n = json_read_array(&rd->j, lin, "namespaces", OCI_JSON_VALUES_MAX, &arr);

	s->namespaces = oci_read_alloc(rd, n, sizeof *s->namespaces);
	s->n_namespaces = s->namespaces ? n : 0;
	for (size_t i = 0; i < s->n_namespaces && rd->j.r == 0; i++) {
		struct json_at at = json_at_element(&arr, i);
		json_read_need(&rd->j, &at, "type");
		s->namespaces[i].type = (enum oci_ns_type)oci_read_word(
			rd, &at, "type", oci_namespace_words, OCI_NS_MOUNT);
		s->namespaces[i].path = oci_read_text(rd, &at, "path");
	}
}

static void read_devices(struct oci_reader *rd, const struct json_at *lin, struct oci_spec *s)
{
	struct json_reader *j = &rd->j;
	struct json_at arr;
	size_t n = json_read_array(j, lin, "devices", OCI_DEVICES_MAX, &arr);

	s->devices = oci_read_alloc(rd, n, sizeof *s->devices);
	s->n_devices = s->devices ? n : 0;
	for (size_t i = 0; i < s->n_devices && j->r == 0; i++) {
		struct json_at at = json_at_element(&arr, i);
		struct oci_device *d = &s->devices[i];

		d->path = oci_read_needed(rd, &at, "path");
		json_read_need(j, &at, "type");
		d->type = (char)oci_read_word(rd, &at, "type", oci_device_type_words, 'c');
		if (d->type != 'p') {
			json_read_need(j, &at, "major");
			json_read_need(j, &at, "minor");
		}
		d->major = json_read_int(j, &at, "major", 0, OCI_DEVICE_MAJOR_MAX, 0);
		d->minor = json_read_int(j, &at, "minor", 0, OCI_DEVICE_MINOR_MAX, 0);
		d->has_mode = json_read_has(j, &at, "fileMode");
		d->has_uid = json_read_has(j, &at, "uid");
		d->has_gid = json_read_has(j, &at, "gid");
		/* the type of file comes along at times; the device's own type counts */
		d->mode = (uint32_t)json_read_uint(j, &at, "fileMode", UINT32_MAX, 0) & 07777;
		d->uid = (uint32_t)json_read_uint(j, &at, "uid", UINT32_MAX, 0);
		d->gid = (uint32_t)json_read_uint(j, &at, "gid", UINT32_MAX, 0);
	}
}

static void read_time_offset(struct oci_reader *rd, const struct json_at *offsets, const char *key,
			     struct oci_time_offset *t)
{
	struct json_at at;

	if (!json_read_object(&rd->j, offsets, key, &at))
		return;
	t->present = true;
	t->secs = json_read_int(&rd->j, &at, "secs", INT64_MIN, INT64_MAX, 0);
	t->nanosecs = (uint32_t)json_read_uint(&rd->j, &at, "nanosecs", 999999999, 0);
}

static void read_personality(struct oci_reader *rd, const struct json_at *lin, struct oci_spec *s)
{
	struct json_at at;

	if (!json_read_object(&rd->j, lin, "personality", &at))
		return;
	json_read_need(&rd->j, &at, "domain");
	s->has_personality = true;
	s->personality = (unsigned long)oci_read_word(rd, &at, "domain", oci_personality_words, 0);
}

static void read_intel_rdt(struct oci_reader *rd, const struct json_at *lin, struct oci_spec *s)
{
	struct json_at at;

	if (!json_read_object(&rd->j, lin, "intelRdt", &at))
		return;
	s->intel_rdt = (struct oci_intel_rdt){
		.present = true,
		.clos_id = oci_read_text(rd, &at, "closID"),
		.l3_cache_schema = oci_read_text(rd, &at, "l3CacheSchema"),
		.mem_bw_schema = oci_read_text(rd, &at, "memBwSchema"),
		.enable_cmt = json_read_bool(&rd->j, &at, "enableCMT", false),
		.enable_mbm = json_read_bool(&rd->j, &at, "enableMBM", false),
	};
}

static void read_linux(struct oci_reader *rd, const struct json_at *root, struct oci_spec *s)
{
	struct json_at lin, at;

	if (!json_read_object(&rd->j, root, "linux", &lin))
		return;
	oci_read_map(rd, &lin, "sysctl", &s->sysctl, &s->n_sysctl);
	read_namespaces(rd, &lin, s);
	oci_read_id_mappings(rd, &lin, "uidMappings", &s->uid_mappings, &s->n_uid_mappings);
	oci_read_id_mappings(rd, &lin, "gidMappings", &s->gid_mappings, &s->n_gid_mappings);
	read_devices(rd, &lin, s);
	s->cgroups_path = oci_read_text(rd, &lin, "cgroupsPath");
	if (json_read_object(&rd->j, &lin, "resources", &at))
		oci_read_resources(rd, &at, &s->resources);
	if (json_read_object(&rd->j, &lin, "seccomp", &at)) {
		s->has_seccomp = true;
		oci_read_seccomp(rd, &at, &s->seccomp);
	}
	oci_read_strv(rd, &lin, "maskedPaths", &s->masked_paths);
	oci_read_strv(rd, &lin, "readonlyPaths", &s->readonly_paths);
	s->rootfs_propagation = oci_read_text(rd, &lin, "rootfsPropagation");
	s->mount_label = oci_read_text(rd, &lin, "mountLabel");
	read_personality(rd, &lin, s);
	if (json_read_object(&rd->j, &lin, "timeOffsets", &at)) {
		read_time_offset(rd, &at, "monotonic", &s->monotonic);
		read_time_offset(rd, &at, "boottime", &s->boottime);
	}
	read_intel_rdt(rd, &lin, s);
}

static void read_spec(struct oci_reader *rd, const struct json_at *root, struct oci_spec *s)
{
	struct json_at at;

	s->version = oci_read_needed(rd, root, "ociVersion");
	s->hostname = oci_read_text(rd, root, "hostname");
	s->domainname = oci_read_text(rd, root, "domainname");
	json_read_need(&rd->j, root, "root");
	if (json_read_object(&rd->j, root, "root", &at)) {
		s->root_path = oci_read_needed(rd, &at, "path");
		s->root_readonly = json_read_bool(&rd->j, &at, "readonly", false);
	}
	if (json_read_object(&rd->j, root, "process", &at)) {
		s->has_process = true;
		oci_read_process(rd, &at, &s->process);
	}
	read_mounts(rd, root, s);
	oci_read_map(rd, root, "annotations", &s->annotations, &s->n_annotations);
	read_hooks(rd, root, &s->hooks);
	read_linux(rd, root, s);
}

int oci_spec_parse(const char *json, size_t len, struct oci_spec **ret, struct err *e)
{
	json_auto_t *doc = NULL;
	int r = oci_read_text_parse(json, len, &doc, e);
	if (r < 0)
		return r;

	struct oci_spec *s = oci_spec_new();
	if (!s)
		return err_set(e, -ENOMEM, "out of memory");

	struct oci_reader rd = {.j = {.e = e}, .arena = s->arena};
	struct json_at root = json_at_root(doc, NULL);
	read_spec(&rd, &root, s);
	r = rd.j.r;
	if (r == 0)
		r = oci_spec_validate(s, e);
	if (r < 0) {
		oci_spec_free(s);
		return r;
	}
	*ret = s;
	return 0;
}
