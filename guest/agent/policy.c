/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/policy.h"

#include "base/buf.h"
#include "base/fd.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define PACKAGE "agent_policy"
#define TOLERANCE "AllowRequestsFailingPolicy"

enum value {
	UNDEFINED,
	FALSE,
	TRUE,
};

struct rule {
	char *name;
	enum value value, otherwise;
	unsigned line; /* where the value is from */
};

struct rules {
	struct rule *v;
	size_t n;
};

struct policy {
	bool loaded;
	struct rules rules;
};

static void rules_clear(struct rules *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->v[i].name);
	free(r->v);
	*r = (struct rules){.n = 0};
}

int policy_new(struct policy **ret)
{
	*ret = calloc(1, sizeof **ret);
	return *ret ? 0 : -ENOMEM;
}

void policy_free(struct policy *p)
{
	if (p)
		rules_clear(&p->rules);
	free(p);
}

/* ---- Words -------------------------------------------------------------------------------- */

/* One word or sign of the text; len 0 at its end. */
struct token {
	const char *text;
	size_t len;
	unsigned line;
};

struct parser {
	const char *p, *end;
	unsigned line;
	struct token token; /* the one that is looked at */
	unsigned last_line; /* of the one before */
	struct rules rules;
	struct err *e;
};

static bool is_word_byte(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static void skip_blank(struct parser *ps)
{
	for (; ps->p < ps->end; ps->p++) {
		if (*ps->p == '#')
			while (ps->p < ps->end && *ps->p != '\n')
				ps->p++;
		if (ps->p == ps->end || !strchr(" \t\r\n", *ps->p) || !*ps->p)
			return;
		ps->line += *ps->p == '\n';
	}
}

static void next(struct parser *ps)
{
	ps->last_line = ps->token.line;
	skip_blank(ps);
	const char *start = ps->p;
	while (ps->p < ps->end && is_word_byte(*ps->p))
		ps->p++;
	if (ps->p == start && ps->p < ps->end)
		ps->p += ps->end - ps->p > 1 && ps->p[0] == ':' && ps->p[1] == '=' ? 2 : 1;
	ps->token = (struct token){start, (size_t)(ps->p - start), ps->line};
}

static bool is(const struct token *t, const char *text)
{
	return t->len == strlen(text) && memcmp(t->text, text, t->len) == 0;
}

static bool take(struct parser *ps, const char *text)
{
	if (!is(&ps->token, text))
		return false;
	next(ps);
	return true;
}

/* What is there instead, fit for a sentence. */
static int not_understood(struct parser *ps, const char *expected)
{
	const struct token *t = &ps->token;
	char text[41] = "";

	for (size_t i = 0; i < t->len && i < sizeof text - 1; i++) {
		bool plain = t->text[i] > ' ' && t->text[i] < 0x7f;
		text[i] = plain ? t->text[i] : '?';
	}
	if (t->len == 0)
		return err_set(ps->e, -EINVAL, "policy: line %u: the text ends where %s should be",
			       t->line, expected);
	return err_set(ps->e, -EINVAL,
		       "policy: line %u: \"%s\" is not understood: %s should be here, since only "
		       "constant rules are supported",
		       t->line, text, expected);
}

static int expect(struct parser *ps, const char *text, const char *expected)
{
	return take(ps, text) ? 0 : not_understood(ps, expected);
}

/* ---- Rules -------------------------------------------------------------------------------- */

static bool is_name(const struct token *t)
{
	static const char *const reserved[] = {
		"as", "contains", "default", "else",	"every", "false", "if",	  "import",
		"in", "not",	  "null",    "package", "some",	 "true",  "with",
	};
	if (t->len == 0 || !is_word_byte(t->text[0]) || isdigit((unsigned char)t->text[0]))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (is(t, reserved[i]))
			return false;
	return true;
}

static struct rule *find_rule(const struct rules *rules, const char *name, size_t len)
{
	for (size_t i = 0; i < rules->n; i++)
		if (strncmp(rules->v[i].name, name, len) == 0 && !rules->v[i].name[len])
			return &rules->v[i];
	return NULL;
}

static int add_rule(struct parser *ps, const struct token *name, struct rule **ret)
{
	struct rules *rules = &ps->rules;

	if (rules->n == POLICY_RULES_MAX)
		return err_set(ps->e, -EINVAL, "policy: line %u: more than %u rules", name->line,
			       POLICY_RULES_MAX);
	struct rule *v = reallocarray(rules->v, rules->n + 1, sizeof *v);
	if (v)
		rules->v = v;
	char *copy = v ? strndup(name->text, name->len) : NULL;
	if (!copy)
		return err_set(ps->e, -ENOMEM, "no memory for a policy");
	*ret = &v[rules->n++];
	**ret = (struct rule){.name = copy};
	return 0;
}

/* The rule of the name that comes next, which is made if it is new. */
static int take_name(struct parser *ps, struct rule **ret)
{
	struct token name = ps->token;

	if (!is_name(&name))
		return not_understood(ps, "the name of a rule");
	if (name.len > POLICY_NAME_MAX)
		return err_set(ps->e, -EINVAL, "policy: line %u: a name of more than %u bytes",
			       name.line, POLICY_NAME_MAX);
	next(ps);
	*ret = find_rule(&ps->rules, name.text, name.len);
	return *ret ? 0 : add_rule(ps, &name, ret);
}

static int take_constant(struct parser *ps, enum value *ret)
{
	if (take(ps, "true"))
		*ret = TRUE;
	else if (take(ps, "false"))
		*ret = FALSE;
	else
		return not_understood(ps, "true or false");
	return 0;
}

/* "{ true }", after its brace: it holds if all that is in it does. */
static int take_body(struct parser *ps, bool *ret_holds)
{
	*ret_holds = true;
	for (;;) {
		enum value v = UNDEFINED;
		int r = take_constant(ps, &v);
		if (r < 0)
			return r;
		*ret_holds &= v == TRUE;
		if (take(ps, "}"))
			return 0;
		/* expressions are separated by lines or by semicolons */
		if (!take(ps, ";") && ps->token.line == ps->last_line)
			return not_understood(ps, "the } of the rule");
	}
}

static int take_condition(struct parser *ps, bool *ret_holds)
{
	if (take(ps, "{"))
		return take_body(ps, ret_holds);
	if (!take(ps, "if"))
		return not_understood(ps, ":=, a body in braces, or if");
	if (take(ps, "{"))
		return take_body(ps, ret_holds);
	enum value v = UNDEFINED;
	int r = take_constant(ps, &v);
	*ret_holds = v == TRUE;
	return r;
}

static int define(struct parser *ps, struct rule *rule, enum value v, unsigned line)
{
	/* the evaluation of such a pair fails in Rego */
	if (rule->value != UNDEFINED && rule->value != v)
		return err_set(ps->e, -EINVAL,
			       "policy: line %u: %s is %s here, and was %s in line %u", line,
			       rule->name, v == TRUE ? "true" : "false",
			       v == TRUE ? "false" : "true", rule->line);
	rule->value = v;
	rule->line = line;
	return 0;
}

/* "Name := true", with a condition or without; "Name { true }", "Name if true". */
static int take_rule(struct parser *ps)
{
	struct rule *rule = NULL;
	enum value v = TRUE;
	bool holds = true;
	unsigned line = ps->token.line;

	int r = take_name(ps, &rule);
	if (r < 0)
		return r;
	bool assigned = take(ps, ":=") || take(ps, "=");
	if (assigned)
		r = take_constant(ps, &v);
	bool conditional = !assigned || is(&ps->token, "{") || is(&ps->token, "if");
	if (r == 0 && conditional && ps->token.line != ps->last_line)
		return not_understood(ps, "the value of the rule");
	if (r == 0 && conditional)
		r = take_condition(ps, &holds);
	return r == 0 && holds ? define(ps, rule, v, line) : r;
}

static int take_default(struct parser *ps)
{
	struct rule *rule = NULL;
	enum value v = UNDEFINED;
	unsigned line = ps->token.line;

	int r = take_name(ps, &rule);
	if (r == 0 && !take(ps, ":="))
		r = expect(ps, "=", ":=");
	if (r == 0)
		r = take_constant(ps, &v);
	if (r < 0)
		return r;
	if (rule->otherwise != UNDEFINED)
		return err_set(ps->e, -EINVAL, "policy: line %u: %s has a default already", line,
			       rule->name);
	rule->otherwise = v;
	return 0;
}

/* What only tells which words the text uses. */
static int take_import(struct parser *ps)
{
	static const char *const keywords[] = {"contains", "every", "if", "in"};
	static const char expected[] = "rego.v1 or future.keywords";
	int r = 0;

	if (take(ps, "rego")) {
		r = expect(ps, ".", expected);
		return r == 0 ? expect(ps, "v1", expected) : r;
	}
	r = expect(ps, "future", expected);
	if (r == 0)
		r = expect(ps, ".", expected);
	if (r == 0)
		r = expect(ps, "keywords", expected);
	if (r < 0 || !take(ps, "."))
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(keywords); i++)
		if (take(ps, keywords[i]))
			return 0;
	return not_understood(ps, "a keyword");
}

static int parse(struct parser *ps)
{
	next(ps);
	int r = expect(ps, "package", "\"package " PACKAGE "\"");
	if (r == 0)
		r = expect(ps, PACKAGE, "\"package " PACKAGE "\"");
	while (r == 0 && ps->token.len) {
		if (ps->token.line == ps->last_line)
			return not_understood(ps, "the end of the line");
		if (take(ps, "default"))
			r = take_default(ps);
		else
			r = take(ps, "import") ? take_import(ps) : take_rule(ps);
	}
	return r;
}

int policy_load(struct policy *p, const char *text, size_t len, struct err *e)
{
	struct parser ps = {.p = text, .end = text + len, .line = 1, .e = e};

	if (len > POLICY_BYTES_MAX)
		return err_set(e, -EINVAL, "the policy has %zu bytes: at most %u are read", len,
			       POLICY_BYTES_MAX);
	int r = parse(&ps);
	if (r < 0) {
		rules_clear(&ps.rules);
		return r;
	}
	rules_clear(&p->rules);
	p->rules = ps.rules;
	p->loaded = true;
	return 0;
}

int policy_load_file(struct policy *p, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	int r = file_read(AT_FDCWD, path, POLICY_BYTES_MAX, &text);
	if (r < 0)
		return err_errno(e, r, "read the policy %s", path);
	r = policy_load(p, text.len ? text.data : "", text.len, e);
	return r < 0 ? err_wrap(e, r, "%s", path) : 0;
}

static enum value evaluate(const struct policy *p, const char *name)
{
	const struct rule *rule = find_rule(&p->rules, name, strlen(name));
	if (!rule)
		return UNDEFINED;
	return rule->value != UNDEFINED ? rule->value : rule->otherwise;
}

enum policy_answer policy_ask(const struct policy *p, const char *request)
{
	if (!p->loaded || evaluate(p, request) == TRUE)
		return POLICY_ALLOWED;
	return evaluate(p, TOLERANCE) == TRUE ? POLICY_TOLERATED : POLICY_DENIED;
}
