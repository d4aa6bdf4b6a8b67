/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/cdi.h"

#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/cdi-watch.h"
#include "guest/agent/yaml.h"

#include <string.h>
#include <sys/stat.h>

static char dir[] = "/tmp/test-cdi.XXXXXX";
static char run_dir[64], etc_dir[64];
static const char *dirs[] = {run_dir, etc_dir, NULL};

/* As a vendor's tool writes it. */
static const char gpu_yaml[] = "---\n"
			       "cdiVersion: 0.5.0\n"
			       "kind: acme.com/gpu\n"
			       "containerEdits:\n"
			       "  deviceNodes:\n"
			       "  - path: /dev/acmectl\n"
			       "    hostPath: /dev/null\n"
			       "  env:\n"
			       "  - ACME=all\n"
			       "  hooks:\n"
			       "  - args:\n"
			       "    - tool\n"
			       "    - --link\n"
			       "    - ../a.so.1::/usr/lib/a.so\n"
			       "    hookName: createContainer\n"
			       "    path: /usr/bin/tool\n"
			       "  mounts:\n"
			       "  - containerPath: /usr/lib/a.so.1\n"
			       "    hostPath: /usr/lib/a.so.1\n"
			       "    options:\n"
			       "    - ro\n"
			       "    - bind\n"
			       "devices:\n"
			       "- name: \"0\"  # the first\n"
			       "  containerEdits:\n"
			       "    deviceNodes:\n"
			       "    - path: /dev/acme0\n"
			       "      type: c\n"
			       "      major: 195\n"
			       "      minor: 7\n"
			       "      fileMode: 0o640\n"
			       "      permissions: rw\n"
			       "- name: all\n"
			       "  containerEdits: {additionalGids: [44, 0, 44]}\n";

static void write_file(const char *in, const char *name, const char *text)
{
	char path[128];
	(void)snprintf(path, sizeof path, "%s/%s", in, name);
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
}

static void remove_file(const char *in, const char *name)
{
	char path[128];
	(void)snprintf(path, sizeof path, "%s/%s", in, name);
	assert_int_equal(unlink(path), 0);
}

static int setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(run_dir, sizeof run_dir, "%s/run", dir);
	(void)snprintf(etc_dir, sizeof etc_dir, "%s/etc", dir);
	return mkdir(etc_dir, 0755);
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

static struct oci_spec *spec_new(void)
{
	static const char text[] =
		"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"/r\"},"
		"\"process\":{\"cwd\":\"/\",\"args\":[\"x\"],\"user\":{\"uid\":0,\"gid\":0},"
		"\"env\":[\"ACME=none\",\"B=1\"]},"
		"\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"}]}";
	struct oci_spec *s = NULL;
	struct err e = ERR_INIT;

	if (oci_spec_parse(text, strlen(text), &s, &e) < 0)
		fail_msg("%s", e.text);
	return s;
}

static int request(const char *key, const char *value, const char *type, struct cdi_request *q,
		   struct err *e)
{
	Grpc__Spec spec = GRPC__SPEC__INIT;
	Grpc__Spec__AnnotationsEntry v[2] = {GRPC__SPEC__ANNOTATIONS_ENTRY__INIT,
					     GRPC__SPEC__ANNOTATIONS_ENTRY__INIT};
	Grpc__Spec__AnnotationsEntry *list[] = {&v[0], &v[1]};

	v[0].key = (char *)key;
	v[0].value = (char *)value;
	v[1].key = (char *)"io.katacontainers.pkg.oci.container_type";
	v[1].value = (char *)type;
	spec.annotations = list;
	spec.n_annotations = 2;
	return cdi_request_read(&spec, q, e);
}

/* Applies a device that is asked for; returns what cdi_apply() does. */
static int apply(const char *device, struct oci_spec *s, struct err *e)
{
	struct cdi_request q;

	int r = request("cdi.k8s.io/test", device, "pod_container", &q, e);
	if (r == 0)
		r = cdi_apply(dirs, &q, s, e);
	cdi_request_free(&q);
	return r;
}

static void annotations_ask_for_devices(void **state)
{
	struct cdi_request q;
	struct err e = ERR_INIT;

	assert_int_equal(request("cdi.k8s.io/a", "acme.com/gpu=0,acme.com/nic=b:1", "", &q, &e), 0);
	assert_int_equal(q.n, 2);
	assert_string_equal(q.v[1].kind, "acme.com/nic");
	assert_string_equal(q.v[1].name, "b:1");
	cdi_request_free(&q);
	assert_int_equal(request("other.io/a", "nonsense", "", &q, &e), 0);
	assert_int_equal(q.n, 0);
	/* a pause container drives no device */
	assert_int_equal(request("cdi.k8s.io/a", "acme.com/gpu=0", "pod_sandbox", &q, &e), 0);
	assert_int_equal(q.n, 0);
	static const char *const bad[] = {
		"gpu",		 "acme.com/gpu",   "acme.com=0", "/gpu=0", "acme.com/=0",
		"acme.com/gpu=", "acme.com/g/h=0", "a/b=../c",	 ",",	   "a b/c=d"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (request("cdi.k8s.io/a", bad[i], "", &q, &e) != -EINVAL)
			fail_msg("\"%s\" is accepted", bad[i]);
}

static int look(const char *device, struct err *e)
{
	struct cdi_request q;

	int r = request("cdi.k8s.io/test", device, "", &q, e);
	assert_int_equal(r, 0);
	r = cdi_look(dirs, &q, e);
	cdi_request_free(&q);
	return r;
}

static void kinds_may_come_but_devices_not(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(look("acme.com/gpu=0", &e), -EAGAIN);
	write_file(etc_dir, "gpu.yaml", "kind: acme.com/gpu\ndevices: [");
	assert_int_equal(look("acme.com/gpu=0", &e), -EAGAIN);
	assert_non_null(strstr(e.text, "gpu.yaml: line 2"));
	write_file(etc_dir, "gpu.yaml", gpu_yaml);
	assert_int_equal(look("acme.com/gpu=0,acme.com/gpu=all", &e), 0);
	assert_int_equal(look("acme.com/gpu=1", &e), -ENODEV);
	assert_int_equal(look("acme.com/nic=0", &e), -EAGAIN);
}

static void edits_are_applied(void **state)
{
	struct oci_spec *s = spec_new();
	struct err e = ERR_INIT;

	if (apply("acme.com/gpu=0,acme.com/gpu=all", s, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(s->process.env.n, 2);
	assert_string_equal(s->process.env.v[0], "ACME=all");
	/* the file's own edits once */
	assert_int_equal(s->n_devices, 2);
	assert_string_equal(s->devices[0].path, "/dev/acmectl");
	assert_int_equal(s->devices[0].type, 'c');
	assert_int_equal(s->devices[0].major, 1);
	assert_int_equal(s->devices[0].minor, 3);
	assert_int_equal(s->devices[1].major, 195);
	assert_int_equal(s->devices[1].mode, 0640);
	assert_int_equal(s->resources.n_devices, 2);
	assert_string_equal(s->resources.devices[0].access, "rwm");
	assert_string_equal(s->resources.devices[1].access, "rw");
	assert_int_equal(s->n_mounts, 2);
	assert_string_equal(s->mounts[1].destination, "/usr/lib/a.so.1");
	assert_int_equal(s->mounts[1].options.n, 2);
	assert_int_equal(s->hooks.create_container.n, 1);
	assert_string_equal(s->hooks.create_container.v[0].args.v[1], "--link");
	assert_int_equal(s->process.user.n_additional_gids, 1);
	assert_int_equal(s->process.user.additional_gids[0], 44);
	oci_spec_free(s);
}

static void run_wins_over_etc_and_json_is_read(void **state)
{
	struct oci_spec *s = spec_new();
	struct err e = ERR_INIT;

	assert_int_equal(mkdir(run_dir, 0755), 0);
	write_file(run_dir, "a.json",
		   "{\"kind\": \"acme.com/gpu\", \"devices\": [{\"name\": \"0\",\n"
		   " \"containerEdits\": {\"env\": [\"FROM=r\\u00fcn\"], \"mounts\": null}}]}\n");
	if (apply("acme.com/gpu=0", s, &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(s->process.env.v[2], "FROM=r\xc3\xbcn");
	assert_int_equal(s->n_devices, 0);
	write_file(run_dir, "b.yaml", gpu_yaml);
	assert_int_equal(apply("acme.com/gpu=0", s, &e), -EINVAL);
	assert_non_null(strstr(e.text, "in two files"));
	remove_file(run_dir, "a.json");
	remove_file(run_dir, "b.yaml");
	oci_spec_free(s);
}

static void edits_that_cannot_be_are_refused(void **state)
{
	static const char *const bad[] = {
		"intelRdt: {closID: x}",
		"netDevices: []",
		"env: [novalue]",
		"env: A=b",
		"deviceNodes: [{path: relative}]",
		"deviceNodes: [{path: /dev/none-such}]",
		"deviceNodes: [{hostPath: /dev/null}]",
		"deviceNodes: [{path: /dev/null, type: b}]",
		"deviceNodes: [{path: /dev/x, type: c, major: 5000, minor: 0}]",
		"deviceNodes: [{path: /dev/null, permissions: rx}]",
		"deviceNodes: [x]",
		"mounts: [{hostPath: /a}]",
		"mounts: [{hostPath: /a, containerPath: b}]",
		"hooks: [{hookName: prestart, path: tool}]",
		"hooks: [{hookName: never, path: /tool}]",
		"hooks: [{hookName: prestart, path: /tool, timeout: -1}]",
		"additionalGids: [wheel]",
		"[]",
	};
	char text[512];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct oci_spec *s = spec_new();
		struct err e = ERR_INIT;
		(void)snprintf(
			text, sizeof text,
			"kind: acme.com/bad\ndevices:\n- name: x\n  containerEdits:\n    %s\n",
			bad[i]);
		write_file(etc_dir, "bad.yaml", text);
		if (apply("acme.com/bad=x", s, &e) >= 0)
			fail_msg("\"%s\" is accepted", bad[i]);
		if (!strstr(e.text, "bad.yaml"))
			fail_msg("\"%s\": %s", bad[i], e.text);
		oci_spec_free(s);
	}
	remove_file(etc_dir, "bad.yaml");
}

/* ---- YAML --------------------------------------------------------------------------------- */

/* The tree in one line, to compare. */
static void show(const struct yaml_node *n, struct buf *to)
{
	if (n->kind == YAML_SCALAR) {
		buf_printf(to, n->quoted ? "'%s'" : "%s", n->text);
		return;
	}
	buf_puts(to, n->kind == YAML_MAP ? "{" : "[");
	for (const struct yaml_node *i = n->first; i; i = i->next) {
		if (i->key)
			buf_printf(to, "%s=", i->key);
		show(i, to);
		buf_puts(to, i->next ? "," : "");
	}
	buf_puts(to, n->kind == YAML_MAP ? "}" : "]");
}

static void assert_reads(const char *text, const char *expected)
{
	struct oci_arena *arena = oci_arena_new();
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct yaml_node *root;
	struct err e = ERR_INIT;

	if (yaml_parse(arena, text, strlen(text), &root, &e) < 0)
		buf_puts(&b, e.text);
	else
		show(root, &b);
	assert_string_equal(b.data, expected);
	oci_arena_free(arena);
}

static void yaml_is_read(void **state)
{
	assert_reads("a: b", "{a=b}");
	assert_reads("a:\n- b\n- c: d\n  e: f\ng: h\n", "{a=[b,{c=d,e=f}],g=h}");
	assert_reads("a:\n  - - b\n    - c\n  -\n    d\n", "{a=[[b,c],d]}");
	assert_reads("a: b#c # d\n#e\nf: 'it''s'\n", "{a=b#c,f='it's'}");
	assert_reads("a: \"\\u00e4\\n\\x41\\ud83d\\ude00\"", "{a='\xc3\xa4\nA\xf0\x9f\x98\x80'}");
	assert_reads("a:\nb: ~\nc: null", "{a=,b=~,c=null}");
	assert_reads("{\"a\": [1, {b: c}, 'd', \"e,f\"],\n \"g\":{}}",
		     "{a=[1,{b=c},'d','e,f'],g={}}");
	assert_reads("a: one\n   two\n   three\nb: c", "{a=one two three,b=c}");
	assert_reads("--- # x\na: http://x:1/y\r\nb: c::d\r\n", "{a=http://x:1/y,b=c::d}");
	assert_reads("\"a: b\": c", "{a: b=c}");
	assert_reads("- a\n- b", "[a,b]");
	assert_reads("x", "x");
}

static void other_yaml_is_refused(void **state)
{
	static const char unsupported[] =
		"line 1: anchors, tags, block scalars and the like are not supported";

	assert_reads("a: &x b", unsupported);
	assert_reads("a: *x", unsupported);
	assert_reads("a: !!str b", unsupported);
	assert_reads("a: |\n  b", unsupported);
	assert_reads("a: b: c", "line 1: a mapping or list does not begin on its key's line");
	assert_reads("a: - b", "line 1: a mapping or list does not begin on its key's line");
	assert_reads("a: b\na: c", "line 2: the key \"a\" is there twice");
	assert_reads("a: b\n  c: d", "line 2: indented more than its neighbours");
	assert_reads("a:\n\tb: c", "line 2: indented by a tab");
	assert_reads("a: \"b", "line 1: a string does not end on its line");
	assert_reads("a: \"b\" c", "line 1: something stands behind a value");
	assert_reads("a: [b", "line 1: a comma or a closing bracket is expected");
	assert_reads("a: [b}", "line 1: a comma or a closing bracket is expected");
	assert_reads("a: \"\\ud83d\"", "line 1: half a character");
	assert_reads("a: \"\\x00\"", "line 1: a NUL in a string");
	assert_reads("a: b\n---\nc: d", "line 2: more than one document");
	assert_reads("", "line 1: there is nothing");
	assert_reads("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "line 1: nested too deep");
	assert_reads("- - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - a",
		     "line 1: nested too deep");
}

/* ---- Waiting ------------------------------------------------------------------------------ */

struct watching {
	struct loop *loop;
	unsigned n;
};

static void on_change(void *arg)
{
	struct watching *w = arg;

	if (++w->n == 1)
		write_file(run_dir, "late.json", "{}");
	else
		loop_stop(w->loop);
}

static void make_dir(void *arg)
{
	assert_int_equal(mkdir(run_dir, 0755), 0);
}

static void too_late(void *arg)
{
	fail_msg("no change was told of");
}

/* First the directory comes, then the file in it. */
static void changes_are_told_of(void **state)
{
	struct watching w = {.n = 0};
	struct cdi_watch *watch = NULL;
	struct loop_timer *t = NULL;
	struct err e = ERR_INIT;

	(void)rmdir(run_dir);
	assert_int_equal(loop_new(&w.loop), 0);
	assert_int_equal(cdi_watch_new(w.loop, dirs, on_change, &w, &watch, &e), 0);
	assert_int_equal(loop_timer_new(w.loop, too_late, NULL, &t), 0);
	loop_timer_start(t, 20000);
	assert_int_equal(loop_post(w.loop, make_dir, NULL), 0);
	loop_run(w.loop);
	assert_true(w.n >= 2);
	loop_timer_free(t);
	cdi_watch_free(watch);
	loop_free(w.loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(annotations_ask_for_devices),
		cmocka_unit_test(kinds_may_come_but_devices_not),
		cmocka_unit_test(edits_are_applied),
		cmocka_unit_test(run_wins_over_etc_and_json_is_read),
		cmocka_unit_test(edits_that_cannot_be_are_refused),
		cmocka_unit_test(yaml_is_read),
		cmocka_unit_test(other_yaml_is_refused),
		cmocka_unit_test(changes_are_told_of),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
