/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/cdi-edits.h"

#include "guest/agent/device-request.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int wrong(const struct yaml_node *n, const char *rule, struct err *e)
{
	return err_set(e, -EINVAL, "line %u: %s %s", n->line, n->key ? n->key : "a value", rule);
}

static int no_memory(struct err *e)
{
	return err_set(e, -ENOMEM, "no memory for a container's devices");
}

/* A copy in the spec of a string that must be there, and not be empty. */
static int get_text(struct oci_spec *s, const struct yaml_node *map, const char *key, char **ret,
		    struct err *e)
{
	const struct yaml_node *n = yaml_get(map, key);

	if (!n)
		return 0;
	if (n->kind != YAML_SCALAR || !n->text[0])
		return wrong(n, "is not a string", e);
	*ret = oci_arena_strdup(s->arena, n->text);
	return *ret ? 0 : no_memory(e);
}

static int need_path(const struct yaml_node *map, const char *key, const char *path, struct err *e)
{
	if (!path)
		return err_set(e, -EINVAL, "line %u: %s is missing", map->line, key);
	if (path[0] != '/')
		return err_set(e, -EINVAL, "line %u: %s \"%.80s\" is not absolute", map->line, key,
			       path);
	return 0;
}

static int get_number(const struct yaml_node *map, const char *key, uint64_t max, bool *ret_has,
		      uint64_t *ret, struct err *e)
{
	const struct yaml_node *n = yaml_get(map, key);
	char *end;

	*ret_has = n != NULL;
	if (!n)
		return 0;
	if (n->kind != YAML_SCALAR || n->quoted || n->text[0] < '0' || n->text[0] > '9')
		return wrong(n, "is not a number", e);
	errno = 0;
	/* "0o660" of YAML 1.2, "0660" of 1.1 */
	bool octal = n->text[0] == '0' && n->text[1] == 'o';
	*ret = strtoull(n->text + 2 * octal, &end, octal ? 8 : 0);
	if (*end || errno || *ret > max)
		return wrong(n, "is not such a number", e);
	return 0;
}

static int get_list(const struct yaml_node *map, const char *key, const struct yaml_node **ret,
		    size_t *ret_n, struct err *e)
{
	const struct yaml_node *n = yaml_get(map, key);

	*ret = NULL;
	*ret_n = 0;
	if (!n)
		return 0;
	if (n->kind != YAML_LIST)
		return wrong(n, "is not a list", e);
	*ret = n->first;
	*ret_n = n->n;
	return 0;
}

static int get_strings(struct oci_spec *s, const struct yaml_node *map, const char *key,
		       struct oci_strv *ret, struct err *e)
{
	const struct yaml_node *n;
	size_t count;

	int r = get_list(map, key, &n, &count, e);
	if (r < 0 || !n)
		return r;
	if (oci_arena_strv(s->arena, count, ret) < 0)
		return no_memory(e);
	for (size_t i = 0; n; n = n->next, i++) {
		if (n->kind != YAML_SCALAR)
			return wrong(n, "is not a string", e);
		ret->v[i] = oci_arena_strdup(s->arena, n->text);
		if (!ret->v[i])
			return no_memory(e);
	}
	return 0;
}

/* ---- Environment, groups ------------------------------------------------------------------ */

static int set_env(struct oci_spec *s, char *variable, struct err *e)
{
	struct oci_strv *env = &s->process.env, more;
	size_t len = strcspn(variable, "=");

	if (!variable[len] || len == 0)
		return err_set(e, -EINVAL, "an environment variable is not NAME=VALUE");
	for (size_t i = 0; i < env->n; i++) {
		if (strncmp(env->v[i], variable, len + 1) == 0) {
			env->v[i] = variable;
			return 0;
		}
	}
	if (oci_arena_strv(s->arena, env->n + 1, &more) < 0)
		return no_memory(e);
	for (size_t i = 0; i < env->n; i++)
		more.v[i] = env->v[i];
	more.v[env->n] = variable;
	*env = more;
	return 0;
}

static int edit_env(struct oci_spec *s, const struct yaml_node *edits, struct err *e)
{
	struct oci_strv v = {.n = 0};

	int r = get_strings(s, edits, "env", &v, e);
	for (size_t i = 0; r == 0 && i < v.n; i++)
		r = set_env(s, v.v[i], e);
	return r;
}

static int add_gid(struct oci_user *u, struct oci_arena *arena, uint32_t gid, struct err *e)
{
	for (size_t i = 0; i < u->n_additional_gids; i++)
		if (u->additional_gids[i] == gid)
			return 0;
	uint32_t *v = oci_arena_array(arena, u->n_additional_gids + 1, sizeof *v);
	if (!v)
		return no_memory(e);
	if (u->n_additional_gids)
		memcpy(v, u->additional_gids, u->n_additional_gids * sizeof *v);
	v[u->n_additional_gids++] = gid;
	u->additional_gids = v;
	return 0;
}

static int edit_gids(struct oci_spec *s, const struct yaml_node *edits, struct err *e)
{
	const struct yaml_node *n;
	size_t count;
	char *end;

	int r = get_list(edits, "additionalGids", &n, &count, e);
	for (; r == 0 && n; n = n->next) {
		unsigned long gid = n->kind == YAML_SCALAR ? strtoul(n->text, &end, 10) : 0;
		if (n->kind != YAML_SCALAR || n->text[0] < '0' || n->text[0] > '9' || *end ||
		    gid >= UINT32_MAX)
			return wrong(n, "is no group id", e);
		if (gid != 0) /* as the library of the field: root's group is not given away */
			r = add_gid(&s->process.user, s->arena, (uint32_t)gid, e);
	}
	return r;
}

/* ---- Devices ------------------------------------------------------------------------------ */

static char type_of(mode_t mode)
{
	return S_ISBLK(mode) ? 'b' : S_ISCHR(mode) ? 'c' : S_ISFIFO(mode) ? 'p' : '\0';
}

/* What the file does not say is taken from the guest's own node. */
static int complete_device(const struct yaml_node *n, const char *host_path, bool numbered,
			   struct oci_device *d, struct err *e)
{
	struct stat st;

	if (d->type && (numbered || d->type == 'p'))
		return 0;
	if (stat(host_path, &st) < 0)
		return err_errno(e, -errno, "line %u: device %s", n->line, host_path);
	char type = type_of(st.st_mode);
	if (!type || (d->type && d->type != type && !(d->type == 'u' && type == 'c')))
		return err_set(e, -EINVAL, "line %u: %s is not such a device", n->line, host_path);
	d->type = type;
	if (!numbered) {
		d->major = major(st.st_rdev);
		d->minor = minor(st.st_rdev);
	}
	if (!d->has_mode) {
		d->has_mode = true;
		d->mode = st.st_mode & 0777;
	}
	return 0;
}

static int read_owner(const struct oci_spec *s, const struct yaml_node *n, struct oci_device *d,
		      struct err *e)
{
	uint64_t uid = 0, gid = 0, mode = 0;

	int r = get_number(n, "uid", UINT32_MAX - 1, &d->has_uid, &uid, e);
	if (r == 0)
		r = get_number(n, "gid", UINT32_MAX - 1, &d->has_gid, &gid, e);
	if (r == 0)
		r = get_number(n, "fileMode", UINT32_MAX, &d->has_mode, &mode, e);
	d->uid = d->has_uid ? (uint32_t)uid : s->process.user.uid;
	d->gid = d->has_gid ? (uint32_t)gid : s->process.user.gid;
	d->has_uid = d->has_gid = true;
	d->mode = (uint32_t)mode & 07777;
	return r;
}

static int check_access(const struct yaml_node *n, const char *access, struct err *e)
{
	if (strlen(access) > 3 || strspn(access, "rwm") != strlen(access))
		return err_set(e, -EINVAL, "line %u: permissions are not of r, w and m", n->line);
	return 0;
}

static int edit_device(struct oci_spec *s, const struct yaml_node *n, struct err *e)
{
	struct oci_device d = {.path = NULL};
	char *host_path = NULL, *type = NULL, *access = NULL;
	uint64_t maj = 0, min = 0;
	bool has_major = false, has_minor = false;

	int r = get_text(s, n, "path", &d.path, e);
	if (r == 0)
		r = need_path(n, "path", d.path, e);
	if (r == 0)
		r = get_text(s, n, "hostPath", &host_path, e);
	if (r == 0)
		r = get_text(s, n, "type", &type, e);
	if (r == 0)
		r = get_text(s, n, "permissions", &access, e);
	if (r == 0)
		r = get_number(n, "major", 0xfff, &has_major, &maj, e);
	if (r == 0)
		r = get_number(n, "minor", 0xfffff, &has_minor, &min, e);
	if (r == 0)
		r = read_owner(s, n, &d, e);
	if (r == 0 && access)
		r = check_access(n, access, e);
	if (r == 0 && type && (strlen(type) != 1 || !strchr("bcup", type[0])))
		r = err_set(e, -EINVAL, "line %u: type \"%.10s\" is none of b, c, u, p", n->line,
			    type);
	if (r < 0)
		return r;
	d.type = type ? type[0] : '\0';
	d.major = (int64_t)maj;
	d.minor = (int64_t)min;
	r = complete_device(n, host_path ? host_path : d.path, has_major && maj > 0, &d, e);
	return r < 0 ? r : device_spec_add(s, &d, access ? access : "rwm", e);
}

/* ---- Mounts, hooks ------------------------------------------------------------------------ */

static int edit_mount(struct oci_spec *s, const struct yaml_node *n, struct err *e)
{
	struct oci_mount m = {.destination = NULL};
	size_t i = 0;

	int r = get_text(s, n, "hostPath", &m.source, e);
	if (r == 0)
		r = need_path(n, "hostPath", m.source, e);
	if (r == 0)
		r = get_text(s, n, "containerPath", &m.destination, e);
	if (r == 0)
		r = need_path(n, "containerPath", m.destination, e);
	if (r == 0)
		r = get_text(s, n, "type", &m.type, e);
	if (r == 0)
		r = get_strings(s, n, "options", &m.options, e);
	if (r < 0)
		return r;
	while (i < s->n_mounts && strcmp(s->mounts[i].destination, m.destination) != 0)
		i++;
	if (i == s->n_mounts) {
		struct oci_mount *v =
			i < OCI_MOUNTS_MAX ? oci_arena_array(s->arena, i + 1, sizeof *v) : NULL;
		if (!v)
			return no_memory(e);
		if (i > 0)
			memcpy(v, s->mounts, i * sizeof *v);
		s->mounts = v;
		s->n_mounts++;
	}
	s->mounts[i] = m;
	return 0;
}

static struct oci_hook_list *hook_list(struct oci_spec *s, const char *name)
{
	const struct {
		const char *name;
		struct oci_hook_list *list;
	} lists[] = {
		{"prestart", &s->hooks.prestart},
		{"createRuntime", &s->hooks.create_runtime},
		{"createContainer", &s->hooks.create_container},
		{"startContainer", &s->hooks.start_container},
		{"poststart", &s->hooks.poststart},
		{"poststop", &s->hooks.poststop},
	};
	for (size_t i = 0; name && i < ARRAY_SIZE(lists); i++)
		if (strcmp(lists[i].name, name) == 0)
			return lists[i].list;
	return NULL;
}

static int edit_hook(struct oci_spec *s, const struct yaml_node *n, struct err *e)
{
	struct oci_hook h = {.path = NULL};
	char *name = NULL;
	uint64_t timeout = 0;
	bool has;

	int r = get_text(s, n, "hookName", &name, e);
	if (r == 0)
		r = get_text(s, n, "path", &h.path, e);
	if (r == 0)
		r = need_path(n, "path", h.path, e);
	if (r == 0)
		r = oci_arena_strv(s->arena, 0, &h.args) < 0 ? no_memory(e) : 0;
	if (r == 0)
		r = oci_arena_strv(s->arena, 0, &h.env) < 0 ? no_memory(e) : 0;
	if (r == 0)
		r = get_strings(s, n, "args", &h.args, e);
	if (r == 0)
		r = get_strings(s, n, "env", &h.env, e);
	if (r == 0)
		r = get_number(n, "timeout", INT32_MAX, &has, &timeout, e);
	if (r < 0)
		return r;
	struct oci_hook_list *list = hook_list(s, name);
	if (!list)
		return err_set(e, -EINVAL, "line %u: \"%.40s\" is no hook's name", n->line,
			       name ? name : "");
	struct oci_hook *v =
		list->n < OCI_HOOKS_MAX ? oci_arena_array(s->arena, list->n + 1, sizeof *v) : NULL;
	if (!v)
		return no_memory(e);
	if (list->n)
		memcpy(v, list->v, list->n * sizeof *v);
	h.timeout = (int)timeout;
	v[list->n++] = h;
	list->v = v;
	return 0;
}

/* ---- All ---------------------------------------------------------------------------------- */

static int edit_each(struct oci_spec *s, const struct yaml_node *edits, const char *key,
		     int (*edit)(struct oci_spec *s, const struct yaml_node *n, struct err *e),
		     struct err *e)
{
	const struct yaml_node *n;
	size_t count;

	int r = get_list(edits, key, &n, &count, e);
	for (; r == 0 && n; n = n->next)
		r = n->kind == YAML_MAP ? edit(s, n, e) : wrong(n, "is not a mapping", e);
	return r;
}

static int check_members(const struct yaml_node *edits, struct err *e)
{
	static const char *const known[] = {"env", "deviceNodes", "mounts", "hooks",
					    "additionalGids"};

	if (edits->kind != YAML_MAP)
		return wrong(edits, "is not a mapping", e);
	for (const struct yaml_node *n = edits->first; n; n = n->next) {
		bool found = yaml_is_null(n);
		for (size_t i = 0; !found && i < ARRAY_SIZE(known); i++)
			found = strcmp(n->key, known[i]) == 0;
		if (!found)
			return err_status(e, STATUS_UNIMPLEMENTED,
					  "line %u: the edit \"%.40s\" is not supported", n->line,
					  n->key);
	}
	return 0;
}

int cdi_edit(struct oci_spec *s, const struct yaml_node *edits, struct err *e)
{
	if (!edits)
		return 0;
	int r = check_members(edits, e);
	if (r == 0)
		r = edit_env(s, edits, e);
	if (r == 0)
		r = edit_each(s, edits, "deviceNodes", edit_device, e);
	if (r == 0)
		r = edit_each(s, edits, "mounts", edit_mount, e);
	if (r == 0)
		r = edit_each(s, edits, "hooks", edit_hook, e);
	if (r == 0)
		r = edit_gids(s, edits, e);
	return r;
}
