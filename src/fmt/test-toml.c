/* SPDX-License-Identifier: Apache-2.0 */
#include "fmt/toml.h"

#include "base/buf.h"
#include "base/testing.h"

#include <math.h>
#include <string.h>

static struct toml_doc *parse(const char *text)
{
	struct toml_doc *doc = NULL;
	struct err e = ERR_INIT;
	int r = toml_parse(text, strlen(text), "t.toml", &doc, &e);
	if (r < 0)
		fail_msg("%s", e.text);
	return doc;
}

static void assert_refused(const char *text, int r, const char *sentence)
{
	struct toml_doc *doc = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(toml_parse(text, strlen(text), "t.toml", &doc, &e), r);
	assert_null(doc);
	if (!strstr(e.text, sentence))
		fail_msg("\"%s\" lacks \"%s\"", e.text, sentence);
}

static void every_type_is_read_with_its_place(void **state)
{
	_cleanup_toml_ struct toml_doc *doc = parse("a = 'x'\n"
						    "b = -12\n"
						    "  c = 1.5\n"
						    "d = true\n"
						    "e = 2024-01-02T03:04:05Z\n"
						    "f = [1, 'two', [3]]\n"
						    "[g.h]\n"
						    "i = {j = inf}\n");
	struct toml_node *root = toml_root(doc);
	assert_int_equal(root->n, 7);
	assert_string_equal(toml_get(root, "a")->string, "x");
	assert_int_equal(toml_get(root, "b")->integer, -12);
	struct toml_node *c = toml_get(root, "c");
	assert_int_equal(c->type, TOML_FLOAT);
	assert_true(c->number == 1.5);
	assert_int_equal(c->key_at.line, 3);
	assert_int_equal(c->key_at.column, 3);
	assert_int_equal(c->at.line, 3);
	assert_int_equal(c->at.column, 7);
	assert_string_equal(c->file, "t.toml");
	assert_int_equal(toml_get(root, "d")->type, TOML_BOOL);
	assert_true(toml_get(root, "d")->boolean);
	assert_int_equal(toml_get(root, "e")->type, TOML_DATETIME);
	struct toml_node *f = toml_get(root, "f");
	assert_int_equal(f->type, TOML_ARRAY);
	assert_int_equal(f->n, 3);
	assert_int_equal(f->first->integer, 1);
	assert_string_equal(f->first->next->string, "two");
	assert_int_equal(f->last->first->integer, 3);
	assert_null(f->first->key);
	struct toml_node *h = toml_get(toml_get(root, "g"), "h");
	assert_int_equal(h->at.line, 7);
	assert_true(isinf(toml_get(toml_get(h, "i"), "j")->number));
	assert_null(toml_get(root, "z"));
	assert_null(toml_get(toml_get(root, "a"), "z"));
}

static void an_empty_text_is_an_empty_table(void **state)
{
	_cleanup_toml_ struct toml_doc *doc = parse("");
	assert_int_equal(toml_root(doc)->n, 0);
	assert_int_equal(toml_root(doc)->type, TOML_TABLE);
}

static void a_wrong_text_names_line_and_column(void **state)
{
	assert_refused("a = 1\nb = \n", -EINVAL, "t.toml:2:");
	assert_refused("[a]\nx = 1\nx = 2\n", -EINVAL, "t.toml:3:");
	assert_refused("a = 'x\n", -EINVAL, "t.toml:1:");
	assert_refused("a = 99999999999999999999\n", -EINVAL, "t.toml:1:");
	assert_refused("a = \"\xff\"\n", -EINVAL, "t.toml:1:");
	assert_refused("a = 1\n[ = 'x'\n", -EINVAL, "t.toml:2:");
	assert_refused("[a\xd2\x8e]\n", -EINVAL, "t.toml:1:");
}

static void numbers_are_exact(void **state)
{
	_cleanup_toml_ struct toml_doc *doc = parse(
		"v = [0.1, -1e-3, 1.7976931348623157e308, 5e-324, 1_000.5, 0.2, -0.0, nan]\n");
	const double expected[] = {0.1, -1e-3, 1.7976931348623157e308, 5e-324, 1000.5, 0.2, -0.0};
	struct toml_node *n = toml_get(toml_root(doc), "v")->first;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++, n = n->next)
		assert_memory_equal(&n->number, &expected[i], sizeof expected[i]);
	assert_true(isnan(n->number));
	assert_refused("a = 1e999\n", -EINVAL, "t.toml:1:");
	assert_refused("a = 1.5.5\n", -EINVAL, "t.toml:1:");
}

static void a_nul_is_refused(void **state)
{
	assert_refused("a = \"x\\u0000y\"", -EINVAL, "t.toml:1:5: a key or string must not");
	assert_refused("\"x\\u0000y\" = 1", -EINVAL, "must not hold U+0000");
}

/* Keys of @n names, with what @before and @after them. */
static char *deep_key(const char *before, int n, const char *after)
{
	struct buf b = BUF_INIT;
	buf_puts(&b, before);
	for (int i = 0; i < n; i++)
		buf_puts(&b, i ? ".a" : "a");
	buf_puts(&b, after);
	return buf_take(&b);
}

static void depth_is_capped(void **state)
{
	_cleanup_free_ char *fits = deep_key("", TOML_DEPTH_MAX, " = 1\n");
	_cleanup_toml_ struct toml_doc *doc = parse(fits);
	assert_int_equal(toml_root(doc)->n, 1);
	_cleanup_free_ char *key = deep_key("s = 'a.\\'\n", 100000, " = 1\n");
	assert_refused(key, -EINVAL, "t.toml:2: a key must have at most 32 names");
	_cleanup_free_ char *header = deep_key("s = \"\\\"\" # '\n[", 100000, "]\n");
	assert_refused(header, -EINVAL, "t.toml:2: a key must have");
	_cleanup_free_ char *member = deep_key("s = '''\n''\n'''\nt = {", 100000, " = 1}\n");
	assert_refused(member, -EINVAL, "t.toml:4: a key must have");

	char nested[2048];
	memset(nested, '[', sizeof nested - 1);
	nested[0] = 'a';
	nested[1] = '=';
	nested[sizeof nested - 1] = '\0';
	assert_refused(nested, -EINVAL, "t.toml:1:");
}

static void dots_in_strings_comments_and_numbers_are_no_depth(void **state)
{
	struct buf b = BUF_INIT;
	buf_puts(&b, "# ");
	for (int i = 0; i < 100; i++)
		buf_puts(&b, ".");
	buf_puts(&b, "\ns = \"........................................\"\n"
		     "m = \"\"\"\n................................................\"\"\"\"\"\n"
		     "f = [");
	for (int i = 0; i < 100; i++)
		buf_puts(&b, "1.5, ");
	buf_puts(&b, "]\n");
	_cleanup_free_ char *text = buf_take(&b);
	_cleanup_toml_ struct toml_doc *doc = parse(text);
	assert_int_equal(toml_get(toml_root(doc), "f")->n, 100);
}

static void size_and_number_of_values_are_capped(void **state)
{
	size_t len = TOML_TEXT_MAX + 1;
	_cleanup_free_ char *text = malloc(len + 1);
	assert_non_null(text);
	memset(text, '\n', len);
	text[len] = '\0';
	assert_refused(text, -EFBIG, "must be at most 1048576");
	memcpy(text, "a = [", 5);
	for (size_t i = 5; i + 3 < len; i += 2)
		memcpy(text + i, "1,", 2);
	memcpy(text + len - 2, "]", 2);
	assert_refused(text, -EFBIG, "more than 65536 values");
}

static void merge_goes_into_tables_and_replaces_the_rest(void **state)
{
	_cleanup_toml_ struct toml_doc *base = parse("b = 1\n[t]\nx = 1\ny = [1, 2]\nz.q = 1\n");
	_cleanup_toml_ struct toml_doc *over =
		parse("a = 0\nc = 3\n[t]\nw = 0\ny = [3]\nz = 'gone'\n[u]\nk = 1\n");
	struct toml_node *root = toml_root(base);
	toml_merge(root, toml_root(over));
	assert_int_equal(root->n, 5);
	assert_string_equal(root->first->key, "a");
	assert_string_equal(root->last->key, "u");
	struct toml_node *t = toml_get(root, "t");
	assert_int_equal(t->n, 4);
	assert_int_equal(toml_get(t, "x")->integer, 1);
	assert_int_equal(toml_get(t, "y")->n, 1);
	assert_int_equal(toml_get(t, "y")->first->integer, 3);
	assert_string_equal(toml_get(t, "z")->string, "gone");
	assert_ptr_equal(t->last, toml_get(t, "z"));
	assert_int_equal(toml_get(root, "c")->integer, 3);
}

static void types_have_names(void **state)
{
	for (int t = TOML_TABLE; t <= TOML_DATETIME; t++)
		assert_string_not_equal(toml_type_name((enum toml_type)t), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_is_read_with_its_place),
		cmocka_unit_test(an_empty_text_is_an_empty_table),
		cmocka_unit_test(a_wrong_text_names_line_and_column),
		cmocka_unit_test(numbers_are_exact),
		cmocka_unit_test(a_nul_is_refused),
		cmocka_unit_test(depth_is_capped),
		cmocka_unit_test(dots_in_strings_comments_and_numbers_are_no_depth),
		cmocka_unit_test(size_and_number_of_values_are_capped),
		cmocka_unit_test(merge_goes_into_tables_and_replaces_the_rest),
		cmocka_unit_test(types_have_names),
	};
	return RUN_TESTS();
}
