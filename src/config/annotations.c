/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.katacontainers.config.* annotations. They come from whoever may create a pod, so those of the
 * hypervisor need the administrator's leave (enable_annotations), and some paths a pattern that
 * matches. They are applied in the order of their names: what fails first does not depend on the
 * order of somebody's map.
 *
 * The field matches enable_annotations anywhere in the name, so that "path" also enables
 * jailer_path; here an expression must match the whole name.
 */
#include "config/internal.h"

#include "base/utf8.h"

#include <fnmatch.h>
#include <limits.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PREFIX "io.katacontainers.config."
#define HYPERVISOR "hypervisor."

/* Kubernetes allows 256 KiB for all annotations of a pod; nothing here needs a quarter of it. */
#define ANNOTATION_MAX (64 * 1024)
/* The longest of the field's names has 68 bytes, its prefix included. */
#define EXPRESSION_MAX 256
#define NAME_MAX_LEN 128

struct annotation {
	const char *name; /* whole */
	const char *value;
};

/* Names that carry a promise about what runs: to pass over them would be to break it. */
static const char *const unkept_promises[] = {
	"hypervisor.asset_hash_type", "hypervisor.cc_init_data", "hypervisor.firmware_hash",
	"hypervisor.image_hash",      "hypervisor.initrd_hash",	 "hypervisor.jailer_hash",
	"hypervisor.kernel_hash",     "hypervisor.path_hash",
};

static const char *short_name(const struct annotation *a)
{
	return a->name + strlen(PREFIX);
}

static int refuse(struct config_load *l, const struct annotation *a, const char *rule)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	buf_printf(&b, "annotation %s is ", a->name);
	config_print_string(&b, a->value);
	buf_printf(&b, ": %s", rule);
	if (buf_failed(&b))
		return config_no_memory(l);
	return err_set(l->e, -EINVAL, "%s", b.data);
}

/* ---- enable_annotations -----------------------------------------------------------------------
 */

/* The expressions of the chosen table, those that are right. */
struct gate {
	regex_t *regex;
	size_t n;
};

/*
 * POSIX extended expressions, without what can make the C library's matcher explode: repetition
 * counts and back references. No name of an annotation needs them. Returns NULL or what is wrong.
 */
static const char *compile(const char *expression, regex_t *ret)
{
	if (strlen(expression) > EXPRESSION_MAX)
		return "is longer than 256 bytes";
	if (strchr(expression, '{'))
		return "has a repetition count, which is not supported";
	for (const char *p = expression; (p = strchr(p, '\\')); p += p[1] ? 2 : 1)
		if (p[1] >= '0' && p[1] <= '9')
			return "has a back reference, which is not supported";
	return regcomp(ret, expression, REG_EXTENDED) == 0 ? NULL : "is not a regular expression";
}

static void warn_wrong_expression(struct config_load *l, const char *expression,
				  const char *problem)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	config_print_string(&b, expression);
	buf_puts(&b, " of enable_annotations in ");
	config_print_section(&b, l, SECTION_HYPERVISOR);
	config_warn(l, "%s %s, and enables nothing", buf_failed(&b) ? "an expression" : b.data,
		    problem);
}

static int gate_init(struct config_load *l, struct gate *g)
{
	const struct config_strv *s = &config_hypervisor_value(l, "enable_annotations")->strings;

	if (!s->n)
		return 0;
	g->regex = calloc(s->n, sizeof *g->regex);
	if (!g->regex)
		return config_no_memory(l);
	for (size_t i = 0; i < s->n; i++) {
		const char *problem = compile(s->v[i], &g->regex[g->n]);
		if (problem)
			warn_wrong_expression(l, s->v[i], problem);
		else
			g->n++;
	}
	return 0;
}

static void gate_deinit(struct gate *g)
{
	for (size_t i = 0; i < g->n; i++)
		regfree(&g->regex[i]);
	free(g->regex);
}

/* @name is without any prefix. */
static bool is_enabled(const struct gate *g, const char *name)
{
	regmatch_t match;

	/* The longest match at the leftmost place: the whole name, if that can be matched at all.
	 */
	for (size_t i = 0; i < g->n; i++)
		if (regexec(&g->regex[i], name, 1, &match, 0) == 0 && match.rm_so == 0 &&
		    name[match.rm_eo] == '\0')
			return true;
	return false;
}

/* ---- Values -----------------------------------------------------------------------------------
 */

bool config_path_allowed(const struct config_strv *patterns, const char *path)
{
	size_t len = strlen(path);

	/* A pattern is about where a file is, so the path must not wander off after matching. */
	if (path[0] != '/' || len >= PATH_MAX || strstr(path, "/../") ||
	    (len >= 3 && strcmp(path + len - 3, "/..") == 0))
		return false;
	for (size_t i = 0; i < patterns->n; i++)
		if (fnmatch(patterns->v[i], path, FNM_PATHNAME | FNM_PERIOD) == 0)
			return true;
	return false;
}

static int set_path(struct config_load *l, const struct config_key *key, const struct annotation *a,
		    struct config_value *v)
{
	const struct config_strv *patterns = &config_hypervisor_value(l, key->patterns)->strings;
	char rule[128];

	if (!config_path_allowed(patterns, a->value)) {
		snprintf(rule, sizeof rule, "must be an absolute path that matches one of %s",
			 key->patterns);
		return refuse(l, a, rule);
	}
	return config_value_from_text(l, key, a->value, v);
}

static int set_kernel_params(struct config_load *l, const struct annotation *a,
			     struct config_value *v)
{
	if (strlen(v->string) + strlen(a->value) >= CONFIG_KERNEL_PARAMS_MAX)
		return refuse(l, a, "the kernel's parameters must have fewer than 4096 bytes");
	_cleanup_free_ char *merged = config_merge_kernel_params(v->string, a->value);
	v->string = merged ? config_strndup(&l->arena, merged, strlen(merged)) : NULL;
	return v->string ? 0 : config_no_memory(l);
}

/* Bytes of a unit, in the spelling of the field: "MB" is 10^6, "MiB" and "Mi" 2^20; 0: unknown. */
static double unit_bytes(const char *unit)
{
	static const char letters[] = "kmgt";
	double n = 1;

	if (strcasecmp(unit, "b") == 0)
		return 1;
	for (size_t i = 0; i < strlen(letters); i++) {
		if ((unit[0] | 0x20) != letters[i])
			continue;
		bool binary = (unit[1] | 0x20) == 'i';
		const char *rest = unit + 1 + binary;
		for (size_t k = 0; k <= i; k++)
			n *= binary ? 1024 : 1000;
		return rest[0] == '\0' || strcasecmp(rest, "b") == 0 ? n : 0;
	}
	return 0;
}

static int set_memory(struct config_load *l, const struct config_key *key,
		      const struct annotation *a, struct config_value *v)
{
	const char *rule = "must be a size in MiB, or one with a unit, as \"2048\" or \"2 GiB\"";
	char number[32];
	const char *text = a->value + strspn(a->value, " ");
	size_t digits = strspn(text, "0123456789.");
	const char *unit = text + digits + strspn(text + digits, " ");
	struct config_value parsed;

	if (!*unit)
		return config_value_from_text(l, key, a->value, v) < 0 ? refuse(l, a, rule) : 0;
	if (digits == 0 || digits >= sizeof number)
		return refuse(l, a, rule);
	memcpy(number, text, digits);
	number[digits] = '\0';
	const struct config_key as_number = {.type = TYPE_NUMBER};
	if (config_value_from_text(l, &as_number, number, &parsed) < 0 || unit_bytes(unit) == 0)
		return refuse(l, a, rule);
	double mib = parsed.number * unit_bytes(unit) / (1024 * 1024);
	if (mib > UINT32_MAX)
		return refuse(l, a, rule);
	v->integer = (int64_t)mib; /* rounded down */
	return 0;
}

static int append_list(struct config_load *l, const char *text, char separator,
		       struct config_value *v)
{
	const char *end;
	int r = 0;

	for (; text && r == 0; text = end ? end + 1 : NULL) {
		end = strchr(text, separator);
		size_t len = end ? (size_t)(end - text) : strlen(text);
		size_t blanks = strspn(text, " ");
		if (blanks > len)
			blanks = len;
		while (len > blanks && text[len - 1] == ' ')
			len--;
		if (len > blanks)
			r = config_strv_add(l, &v->strings, text + blanks, len - blanks);
	}
	return r;
}

static int set_value(struct config_load *l, const struct config_key *key,
		     const struct annotation *a, struct config_value *v)
{
	_cleanup_buf_ struct buf rule = BUF_INIT;

	switch (key->how) {
	case HOW_VALUE:
		if (config_value_from_text(l, key, a->value, v) == 0)
			return 0;
		config_print_rule(&rule, key);
		return refuse(l, a, buf_failed(&rule) ? "is wrong" : rule.data);
	case HOW_PATH:
		return set_path(l, key, a, v);
	case HOW_KERNEL_PARAMS:
		return set_kernel_params(l, a, v);
	case HOW_MEMORY:
		return set_memory(l, key, a, v);
	case HOW_COMMAS:
		return append_list(l, a->value, ',', v);
	case HOW_SEMICOLONS:
		return append_list(l, a->value, ';', v);
	case HOW_SWITCH:
	case HOW_REFUSED:
		break;
	}
	return 0;
}

static int set_origin(struct config_load *l, const struct annotation *a, struct config_value *v)
{
	char *name = config_strndup(&l->arena, a->name, strlen(a->name));
	if (!name)
		return config_no_memory(l);
	v->origin = (struct config_origin){.from = FROM_ANNOTATION, .where = name};
	return 0;
}

/* ---- One annotation ---------------------------------------------------------------------------
 */

static const char *meant(const struct annotation *a)
{
	const struct config_key *near = config_key_nearest_annotation(short_name(a));
	return near && strcmp(near->annotation, short_name(a)) != 0 ? near->annotation : NULL;
}

static void warn_ignored(struct config_load *l, const struct annotation *a, const char *why,
			 const char *guess)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	config_print_string(&b, a->name);
	config_warn(l, "annotation %s %s, and is ignored%s%s%s", buf_failed(&b) ? "?" : b.data, why,
		    guess ? "; did you mean \"" PREFIX : "", guess ? guess : "",
		    guess ? "\"?" : "");
}

static int apply_unknown(struct config_load *l, const struct annotation *a, bool enabled)
{
	for (size_t i = 0; i < ARRAY_SIZE(unkept_promises); i++)
		if (enabled && strcmp(short_name(a), unkept_promises[i]) == 0)
			return err_status(l->e, STATUS_UNIMPLEMENTED,
					  "annotation %s is enabled, and is not implemented",
					  a->name);
	if (enabled) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		config_print_string(&b, a->name);
		return err_set(l->e, -EINVAL, "annotation %s is enabled, and is not known",
			       buf_failed(&b) ? "?" : b.data);
	}
	warn_ignored(l, a, "is not known", config_warnings_left(l) ? meant(a) : NULL);
	return 0;
}

static int apply(struct config_load *l, const struct gate *gate, const struct annotation *a)
{
	bool gated = strncmp(short_name(a), HYPERVISOR, strlen(HYPERVISOR)) == 0;
	bool enabled = gated && strlen(a->name) <= NAME_MAX_LEN &&
		       is_enabled(gate, short_name(a) + strlen(HYPERVISOR));
	const struct config_key *key = config_key_by_annotation(short_name(a));

	if (!key)
		return apply_unknown(l, a, enabled);
	if (gated && !enabled) {
		warn_ignored(l, a, "is not enabled by enable_annotations", NULL);
		return 0;
	}
	if (key->how == HOW_REFUSED) {
		warn_ignored(l, a, "is for the administrator's configuration only", NULL);
		return 0;
	}
	if (key->how == HOW_SWITCH)
		return 0;
	if (strlen(a->value) > ANNOTATION_MAX)
		return refuse(l, a, "must be at most 65536 bytes long");
	if (!utf8_valid(a->value))
		return refuse(l, a, "must be UTF-8");
	struct config_value *v = &l->values[config_key_index(key)];
	int r = set_value(l, key, a, v);
	if (r == 0)
		r = set_origin(l, a, v);
	if (r == 0 && key->offset == KEY_NOT_ACTED_ON)
		config_warn(l, "annotation %s sets %s, which is not acted on yet", a->name,
			    key->name);
	return r;
}

static int compare_annotations(const void *a, const void *b)
{
	return strcmp(((const struct annotation *)a)->name, ((const struct annotation *)b)->name);
}

int config_apply_annotations(struct config_load *l, const char *const *annotations)
{
	_cleanup_free_ struct annotation *sorted = NULL;
	_cleanup_(gate_deinit) struct gate gate = {.n = 0};
	size_t n = 0;

	while (annotations && annotations[2 * n] && annotations[2 * n + 1])
		n++;
	if (n == 0)
		return 0;
	sorted = calloc(n, sizeof *sorted);
	if (!sorted)
		return config_no_memory(l);
	for (size_t i = 0; i < n; i++)
		sorted[i] = (struct annotation){annotations[2 * i], annotations[2 * i + 1]};
	qsort(sorted, n, sizeof *sorted, compare_annotations);
	int r = gate_init(l, &gate);
	for (size_t i = 0; i < n && r == 0; i++)
		if (strncmp(sorted[i].name, PREFIX, strlen(PREFIX)) == 0)
			r = apply(l, &gate, &sorted[i]);
	return r;
}

/* ---- Which tables -----------------------------------------------------------------------------
 */

static int switch_table(struct config_load *l, const char *const *annotations, const char *key_name,
			const char *section, const struct toml_node *root)
{
	const struct config_key *key = config_key_find(SECTION_RUNTIME, key_name);
	struct config_value *v = &l->values[config_key_index(key)];

	for (size_t i = 0; annotations && annotations[i] && annotations[i + 1]; i += 2) {
		const struct annotation a = {annotations[i], annotations[i + 1]};
		if (strncmp(a.name, PREFIX, strlen(PREFIX)) != 0 ||
		    strcmp(short_name(&a), key->annotation) != 0)
			continue;
		/* What names a table of a TOML file is UTF-8. */
		if (!config_named_table(root, section, a.value)) {
			warn_ignored(l, &a, "names a table that is not there", NULL);
			continue;
		}
		int r = config_value_from_text(l, key, a.value, v);
		if (r == 0)
			r = set_origin(l, &a, v);
		if (r < 0)
			return r;
	}
	return 0;
}

int config_switch_by_annotations(struct config_load *l, const char *const *annotations,
				 const struct toml_node *root)
{
	int r = switch_table(l, annotations, "hypervisor_name", "hypervisor", root);
	return r < 0 ? r : switch_table(l, annotations, "agent_name", "agent", root);
}
