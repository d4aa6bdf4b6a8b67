/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goes through the merged tree. In the chosen tables a known key becomes a value, or an error if
 * its type is wrong; the tables of other hypervisors and agents are only looked through for unknown
 * keys, which are warned about with a guess at what was meant.
 */
#include "config/internal.h"

#include "base/log.h"

#include <inttypes.h>
#include <string.h>

/* A table under way. */
struct walk {
	struct config_load *l;
	const char *name; /* of the [hypervisor.<name>] or [agent.<name>] that it is in */
	bool chosen;
};

static void print_node(struct buf *b, const struct toml_node *node)
{
	switch (node->type) {
	case TOML_STRING:
		config_print_string(b, node->string);
		break;
	case TOML_INTEGER:
		buf_printf(b, "%" PRId64, node->integer);
		break;
	case TOML_FLOAT:
		buf_printf(b, "%.15g", node->number);
		break;
	case TOML_BOOL:
		buf_puts(b, node->boolean ? "true" : "false");
		break;
	case TOML_TABLE:
	case TOML_ARRAY:
	case TOML_DATETIME:
		buf_puts(b, toml_type_name(node->type));
		break;
	}
}

/* The place of a key, or of its value where it has none. */
static uint32_t node_line(const struct toml_node *node)
{
	return node->key_at.line ? node->key_at.line : node->at.line;
}

static int refuse_type(const struct walk *w, const struct config_key *key,
		       const struct toml_node *node)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_printf(&b, "%s in ", key->name);
	config_print_table(&b, key->section, w->name);
	buf_printf(&b, " at %s:%" PRIu32 " is ", node->file, node_line(node));
	print_node(&b, node);
	buf_puts(&b, ": ");
	config_print_rule(&b, key);
	if (buf_failed(&b))
		return config_no_memory(w->l);
	return err_set(w->l->e, -EINVAL, "%s", b.data);
}

/* @parent is "" or ends with a dot. */
static int refuse_no_table(struct config_load *l, const char *parent, const struct toml_node *node)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_puts(&b, parent);
	config_print_name(&b, node->key);
	buf_printf(&b, " at %s:%" PRIu32 " is ", node->file, node_line(node));
	print_node(&b, node);
	if (buf_failed(&b))
		return config_no_memory(l);
	return err_set(l->e, -EINVAL, "%s: must be a table", b.data);
}

/* ---- Unknown keys -----------------------------------------------------------------------------
 */

/* A section other than @section that knows the key. Sub-tables are too specific to be guessed. */
static const struct config_key *find_elsewhere(enum config_section section, const char *name)
{
	static const enum config_section places[] = {SECTION_RUNTIME, SECTION_HYPERVISOR,
						     SECTION_AGENT, SECTION_FACTORY,
						     SECTION_MEM_AGENT};
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		const struct config_key *k =
			places[i] != section ? config_key_find(places[i], name) : NULL;
		if (k && !(k->flags & KEY_FOREIGN))
			return k;
	}
	return NULL;
}

static void warn_unknown(const struct walk *w, enum config_section section,
			 const struct toml_node *node)
{
	/* Guessing is slow: not for what nobody will read. */
	bool guess = config_warnings_left(w->l);
	const struct config_key *near = guess ? config_key_nearest(section, node->key) : NULL;
	const struct config_key *elsewhere = guess ? find_elsewhere(section, node->key) : NULL;
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_printf(&b, "unknown %s ", node->type == TOML_TABLE ? "table" : "key");
	config_print_string(&b, node->key);
	buf_puts(&b, " in ");
	config_print_table(&b, section, w->name);
	buf_printf(&b, " at %s:%" PRIu32, node->file, node_line(node));
	if (elsewhere) {
		buf_puts(&b, " is ignored; it belongs in ");
		config_print_table(&b, elsewhere->section, NULL);
	} else if (near) {
		buf_printf(&b, "; did you mean \"%s\"?", near->name);
	} else {
		buf_puts(&b, " is ignored");
	}
	config_warn(w->l, "%s", buf_failed(&b) ? "unknown key" : b.data);
}

static void warn_foreign(const struct walk *w, const struct config_key *key,
			 const struct toml_node *node)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	config_print_table(&b, key->section, w->name);
	config_warn(w->l,
		    "key \"%s\" in %s at %s:%" PRIu32
		    " is one of the Go runtime's configuration, and is ignored",
		    key->name, buf_failed(&b) ? "the configuration" : b.data, node->file,
		    node_line(node));
}

/* ---- Values -----------------------------------------------------------------------------------
 */

static int set_origin(struct config_load *l, struct config_value *v, const struct toml_node *node)
{
	if (l->file_in_tree != node->file) {
		l->file = config_strndup(&l->arena, node->file, strlen(node->file));
		if (!l->file)
			return config_no_memory(l);
		l->file_in_tree = node->file;
	}
	v->origin = (struct config_origin){
		.from = FROM_FILE, .line = node_line(node), .where = l->file};
	return 0;
}

static int read_strings(struct config_load *l, const struct toml_node *node, struct config_value *v)
{
	v->strings = (struct config_strv){.n = 0};
	for (const struct toml_node *m = node->first; m; m = m->next) {
		int r = m->type == TOML_STRING
				? config_strv_add(l, &v->strings, m->string, strlen(m->string))
				: -EINVAL;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Returns 0, -EINVAL without a sentence if the type or the bounds are wrong, or -ENOMEM. */
static int read_value(struct config_load *l, const struct config_key *key,
		      const struct toml_node *node, struct config_value *v)
{
	switch (key->type) {
	case TYPE_BOOL:
		v->boolean = node->type == TOML_BOOL && node->boolean;
		return node->type == TOML_BOOL ? 0 : -EINVAL;
	case TYPE_U32:
	case TYPE_U64:
	case TYPE_I64:
		if (node->type != TOML_INTEGER || !config_integer_fits(key, node->integer))
			return -EINVAL;
		v->integer = node->integer;
		return 0;
	case TYPE_NUMBER:
		if (node->type != TOML_INTEGER && node->type != TOML_FLOAT)
			return -EINVAL;
		v->number = node->type == TOML_FLOAT ? node->number : (double)node->integer;
		return 0;
	case TYPE_STRING:
		if (node->type != TOML_STRING)
			return -EINVAL;
		v->string = config_strndup(&l->arena, node->string, strlen(node->string));
		return v->string ? 0 : config_no_memory(l);
	case TYPE_STRINGS:
		return node->type == TOML_ARRAY ? read_strings(l, node, v) : -EINVAL;
	case TYPE_INTEGERS:
		for (const struct toml_node *m = node->first; node->type == TOML_ARRAY && m;
		     m = m->next)
			if (m->type != TOML_INTEGER)
				return -EINVAL;
		return node->type == TOML_ARRAY ? 0 : -EINVAL;
	case TYPE_TABLE:
	case TYPE_TABLES:
		break;
	}
	return -EINVAL;
}

/* @store is false in arrays of tables: their values have no place, only a type. */
static int read_key(const struct walk *w, const struct config_key *key,
		    const struct toml_node *node, bool store)
{
	struct config_load *l = w->l;
	struct config_value v = {.origin.from = FROM_PRESET};
	int r = read_value(l, key, node, &v);

	if (r == -EINVAL)
		return refuse_type(w, key, node);
	if (r < 0 || !store)
		return r;
	r = set_origin(l, &v, node);
	if (r < 0)
		return r;
	l->values[config_key_index(key)] = v;
	if (key->offset == KEY_NOT_ACTED_ON)
		log_debug("configuration key %s at %s:%" PRIu32 " is known, and not acted on yet",
			  key->name, v.origin.where, v.origin.line);
	return 0;
}

static int read_table(const struct walk *w, enum config_section section,
		      const struct toml_node *table, bool store);

/* A key whose value is a table or an array of them. */
static int read_sub_tables(const struct walk *w, const struct config_key *key,
			   const struct toml_node *node)
{
	bool one = key->type == TYPE_TABLE;
	int r = 0;

	if (node->type != (one ? TOML_TABLE : TOML_ARRAY))
		return w->chosen ? refuse_type(w, key, node) : 0;
	if (one)
		return read_table(w, key->sub, node, true);
	for (const struct toml_node *m = node->first; m && r == 0; m = m->next) {
		if (m->type == TOML_TABLE)
			r = read_table(w, key->sub, m, false);
		else if (w->chosen)
			r = refuse_type(w, key, m);
	}
	return r;
}

static int read_table(const struct walk *w, enum config_section section,
		      const struct toml_node *table, bool store)
{
	for (const struct toml_node *n = table->first; n; n = n->next) {
		const struct config_key *key = config_key_find(section, n->key);
		int r = 0;

		if (!key)
			warn_unknown(w, section, n);
		else if (key->flags & KEY_FOREIGN)
			warn_foreign(w, key, n);
		else if (key->type == TYPE_TABLE || key->type == TYPE_TABLES)
			r = read_sub_tables(w, key, n);
		else if (w->chosen)
			r = read_key(w, key, n, store);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- Sections ---------------------------------------------------------------------------------
 */

int config_read_runtime(struct config_load *l, const struct toml_node *root)
{
	const struct walk w = {.l = l, .chosen = true};
	const struct toml_node *runtime = toml_get(root, "runtime");

	if (!runtime)
		return 0;
	if (runtime->type != TOML_TABLE)
		return refuse_no_table(l, "", runtime);
	return read_table(&w, SECTION_RUNTIME, runtime, true);
}

/* A key that stands where only tables are expected: at the top, in [hypervisor] or in [agent]. */
static void warn_misplaced(struct config_load *l, const struct toml_node *node, const char *parent,
			   const char *title)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_printf(&b, "unknown %s ", node->type == TOML_TABLE ? "table" : "key");
	config_print_string(&b, node->key);
	if (parent)
		buf_printf(&b, " in [%s]", parent);
	buf_printf(&b, " at %s:%" PRIu32 " is ignored", node->file, node_line(node));
	if (title)
		buf_printf(&b, "; it belongs in [%s]", title);
	config_warn(l, "%s", buf_failed(&b) ? "unknown key" : b.data);
}

/* [hypervisor] or [agent]: a table for each name. */
static int read_named_tables(struct config_load *l, const struct toml_node *node,
			     enum config_section section, const char *chosen)
{
	for (const struct toml_node *n = node->first; n; n = n->next) {
		const struct walk w = {
			.l = l, .name = n->key, .chosen = strcmp(n->key, chosen) == 0};
		int r = 0;
		if (n->type == TOML_TABLE)
			r = read_table(&w, section, n, true);
		else if (config_key_find(section, n->key))
			warn_misplaced(l, n, node->key, config_section_title(section));
		else
			warn_misplaced(l, n, node->key, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

int config_read_tables(struct config_load *l, const struct toml_node *root)
{
	for (const struct toml_node *n = root->first; n; n = n->next) {
		int r = 0;
		/* The chosen tables are there, so these two are tables. */
		if (strcmp(n->key, "hypervisor") == 0) {
			r = read_named_tables(l, n, SECTION_HYPERVISOR, l->hypervisor_name);
		} else if (strcmp(n->key, "agent") == 0) {
			r = read_named_tables(l, n, SECTION_AGENT, l->agent_name);
		} else if (strcmp(n->key, "runtime") != 0) {
			const struct config_key *k = find_elsewhere(SECTION_SHARED_MOUNT, n->key);
			bool guess = k && n->type != TOML_TABLE;
			warn_misplaced(l, n, NULL, guess ? config_section_title(k->section) : NULL);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

const struct toml_node *config_named_table(const struct toml_node *root, const char *section,
					   const char *name)
{
	const struct toml_node *tables = toml_get(root, section);
	const struct toml_node *table = tables ? toml_get(tables, name) : NULL;
	return table && table->type == TOML_TABLE ? table : NULL;
}
