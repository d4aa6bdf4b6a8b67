/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans of manifests, read by the parser, and scripts as components.
 *
 *	test-components PARSER
 */
#include "guest/agent/components.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static const char *parser;
static char dir[64], extension[80], programs[80], run_dir[80];

static struct component_settings settings(enum component_level level)
{
	return (struct component_settings){.level = level,
					   .rest_api = "resource",
					   .timeout_s = 20,
					   .extension = extension,
					   .programs = programs,
					   .run = run_dir,
					   .parser = parser};
}

static void put(const char *in, const char *name, const char *text, mode_t mode)
{
	char path[256], *slash;

	(void)snprintf(path, sizeof path, "%s/%s", in, name);
	slash = strrchr(path, '/');
	*slash = '\0';
	assert_int_equal(mkdir_parents(path, 0755), 0);
	*slash = '/';
	assert_int_equal(file_replace(path, text, strlen(text), mode), 0);
}

static void put_manifest(const char *text)
{
	put(extension, COMPONENTS_MANIFEST, text, 0644);
}

static int setup(void **state)
{
	(void)snprintf(dir, sizeof dir, "/tmp/test-components-XXXXXX");
	assert_non_null(mkdtemp(dir));
	(void)snprintf(extension, sizeof extension, "%s/ext", dir);
	(void)snprintf(programs, sizeof programs, "%s/bin", dir);
	(void)snprintf(run_dir, sizeof run_dir, "%s/run", dir);
	return 0;
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

/* "ARG ARG|VARIABLE VARIABLE", with the test's directory as "@". */
static void expect_component(const struct component *c, const char *id, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	size_t len = strlen(dir);
	char *at;

	assert_string_equal(c->id, id);
	buf_printf(&b, "%s", c->path);
	for (size_t i = 0; i < c->args.n; i++)
		buf_printf(&b, " %s", c->args.v[i]);
	for (size_t i = 0; i < c->env.n; i++)
		buf_printf(&b, "|%s", c->env.v[i]);
	while ((at = strstr(b.data, dir))) {
		*at = '@';
		memmove(at + 1, at + len, strlen(at + len) + 1);
	}
	assert_string_equal(b.data, text);
}

/* ---- Plans -------------------------------------------------------------------------------- */

static void without_an_extension_the_image_s_own(void **state)
{
	struct component_settings s = settings(COMPONENTS_DEFAULT);
	struct component_plan p;

	s.initdata = true;
	assert_int_equal(component_plan_make(&s, &p, NULL), 0);
	assert_int_equal(p.n, 3);
	assert_false(p.extension);
	assert_null(p.pause_bundle);
	expect_component(&p.v[0], "attestation-agent",
			 "@/bin/attestation-agent --attestation_sock "
			 "unix://@/run/attestation-agent/attestation-agent.sock --initdata-toml "
			 "@/run/initdata/initdata.toml");
	assert_int_equal(p.v[0].timeout_ms, 20000);
	assert_non_null(strstr(p.v[0].config, "/run/initdata/aa.toml"));
	expect_component(&p.v[1], "confidential-data-hub",
			 "@/bin/confidential-data-hub|"
			 "OCICRYPT_KEYPROVIDER_CONFIG=/etc/ocicrypt_config.json");
	assert_non_null(strstr(p.v[1].wait_socket, "/run/cdh.sock"));
	expect_component(&p.v[2], "api-server-rest", "@/bin/api-server-rest --features resource");
	assert_null(p.v[2].wait_socket);
	component_plan_free(&p);

	for (unsigned n = 0; n <= 3; n++) {
		s = settings((enum component_level)n);
		assert_int_equal(component_plan_make(&s, &p, NULL), 0);
		assert_int_equal(p.n, n);
		component_plan_free(&p);
	}
}

static const char manifest[] =
	"schema_version = 1\n"
	"[paths]\n"
	"\"ocicrypt-config\" = \"etc/ocicrypt.json\"\n"
	"\"pause-bundle\" = \"/pause\"\n"
	"[[process]]\n"
	"id = \"attestation-agent\"\nlevel = 1\n"
	"args = [\"--attestation_sock\", \"${aa_attestation_uri}\"]\n"
	"optional_args = [{ when = \"initdata_toml_path\", args = [\"--initdata-toml\", "
	"\"${initdata_toml_path}\"] }, { when = \"unheard-of\", args = [\"x\"] }]\n"
	"config = \"${aa_config_path}\"\n"
	"wait_socket = \"${aa_attestation_socket}\"\n"
	"timeout_secs = \"${launch_process_timeout}\"\n"
	"select = \"${attester_variant}\"\n"
	"env = { A = \"base\", B = \"${rest_api_features}-${attester_variant}\" }\n"
	"[process.variants.default]\npath = \"bin/aa\"\n"
	"[process.variants.nvidia]\npath = \"bin/aa-nv\"\nargs = [\"-v\"]\n"
	"env = { A = \"${extension_root}/lib\" }\n"
	"[[process]]\nid = \"cdh\"\nlevel = 2\npath = \"bin/cdh\"\nconfig = \"\"\n"
	"env = { O = \"${ocicrypt_config_path}\" }\nwait_socket = \"${cdh_socket}\"\n"
	"[[process]]\nid = \"never\"\npath = \"bin/never\"\n"
	"[[process]]\nid = \"rest\"\nlevel = 3\npath = \"bin/rest\"\ntimeout_secs = \"0\"\n";

static void a_manifest_makes_the_plan(void **state)
{
	struct component_settings s = settings(COMPONENTS_REST);
	struct component_plan p;
	struct err e = ERR_INIT;

	put_manifest(manifest);
	if (component_plan_make(&s, &p, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(p.n, 3);
	assert_true(p.extension);
	assert_non_null(strstr(p.pause_bundle, "/ext/pause"));
	expect_component(&p.v[0], "attestation-agent",
			 "@/ext/bin/aa --attestation_sock "
			 "unix://@/run/attestation-agent/attestation-agent.sock|A=base|"
			 "B=resource-default");
	assert_int_equal(p.v[0].timeout_ms, 20000);
	expect_component(&p.v[1], "cdh", "@/ext/bin/cdh|O=@/ext/etc/ocicrypt.json");
	assert_null(p.v[1].config);
	assert_int_equal(p.v[1].timeout_ms, 0);
	expect_component(&p.v[2], "rest", "@/ext/bin/rest");
	component_plan_free(&p);

	s.level = COMPONENTS_ATTESTATION_AGENT;
	s.variant = "nvidia";
	s.initdata = true;
	assert_int_equal(component_plan_make(&s, &p, NULL), 0);
	assert_int_equal(p.n, 1);
	expect_component(&p.v[0], "attestation-agent",
			 "@/ext/bin/aa-nv --attestation_sock "
			 "unix://@/run/attestation-agent/attestation-agent.sock --initdata-toml "
			 "@/run/initdata/initdata.toml -v|A=@/ext/lib|B=resource-nvidia");
	component_plan_free(&p);
}

static void refuses(const char *text, const char *sentence)
{
	struct component_settings s = settings(COMPONENTS_REST);
	struct component_plan p;
	struct err e = ERR_INIT;

	put_manifest(text);
	assert_true(component_plan_make(&s, &p, &e) < 0);
	component_plan_free(&p);
	if (!strstr(e.text, sentence))
		fail_msg("\"%s\" is not in \"%s\"", sentence, e.text);
}

#define HEAD "schema_version = 1\n"
#define PROCESS HEAD "[[process]]\nid = \"x\"\nlevel = 1\n"

static void what_is_wrong_is_refused(void **state)
{
	struct component_settings s = settings(COMPONENTS_REST);
	struct component_plan p;
	struct err e = ERR_INIT;

	refuses("", "schema_version is missing");
	refuses("schema_version = 2\n", "schema_version is 2");
	refuses("schema_version = \n", "TOML:1:18");
	refuses(PROCESS, "process \"x\": neither");
	refuses(HEAD "[[process]]\nlevel = 1\npath = \"x\"\n", "id is missing");
	refuses(PROCESS "path = \"../x\"\n", "is no path in the extension");
	refuses(PROCESS "path = \"a//../x\"\n", "is no path in the extension");
	refuses(PROCESS "path = \"/\"\n", "is no path in the extension");
	refuses(PROCESS "path = \"x\"\nargs = [\"${nobody}\"]\n", "no such variable");
	refuses(PROCESS "path = \"x\"\nargs = [\"${extension_root\"]\n", "no such variable");
	refuses(PROCESS "path = \"x\"\nargs = [1]\n", "args[0] is 1");
	refuses(PROCESS "path = \"x\"\nselect = \"b\"\n[process.variants.a]\npath = \"a\"\n",
		"no variant \"b\"");
	refuses(PROCESS "path = \"x\"\ntimeout_secs = \"soon\"\n", "timeout_secs \"soon\"");
	refuses(PROCESS "path = \"x\"\nenv = { \"a=b\" = \"c\" }\n", "no name of a variable");
	refuses(HEAD "[paths]\n\"pause-bundle\" = \"..\"\n", "is no path in the extension");

	assert_int_equal(remove_tree(extension), 0);
	assert_int_equal(mkdir(extension, 0755), 0);
	assert_int_equal(component_plan_make(&s, &p, &e), -ENOENT);
	assert_non_null(strstr(e.text, "components.toml: read it"));
	component_plan_free(&p);
	assert_int_equal(remove_tree(extension), 0);
}

/* ---- Scripts ------------------------------------------------------------------------------ */

static int start(struct component_settings *s, struct components **ret, struct err *e)
{
	struct component_plan p;

	int r = component_plan_make(s, &p, e);
	if (r == 0)
		r = components_start(&p, true, "http://proxy:81", "localhost", ret, e);
	component_plan_free(&p);
	return r;
}

static void expect_file(const char *name, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char path[256];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(file_read(AT_FDCWD, path, 65536, &b), 0);
	assert_string_equal(b.data ? b.data : "", text);
}

/* The first becomes up late; the second tells whether it was, and what it is given. */
static void they_start_in_order(void **state)
{
	struct component_settings s = settings(COMPONENTS_DATA_HUB);
	struct components *c = NULL;
	struct err e = ERR_INIT;
	char script[1024];

	put(run_dir, "initdata/cdh.toml", "", 0600);
	put(run_dir, "attestation-agent/attestation-agent.sock", "", 0600); /* an old one */
	(void)snprintf(
		script, sizeof script,
		"#!/bin/sh\ntest ! -e %s/attestation-agent/attestation-agent.sock || exit 1\n"
		"sleep 0.3\necho first >>%s/order\n"
		">%s/attestation-agent/attestation-agent.sock\nexec sleep 1000\n",
		run_dir, dir, run_dir);
	put(programs, "attestation-agent", script, 0755);
	(void)snprintf(script, sizeof script,
		       "#!/bin/sh\necho \"$(basename \"$2\") $1 $HTTPS_PROXY $NO_PROXY "
		       "$OCICRYPT_KEYPROVIDER_CONFIG\" >>%s/order\n"
		       ">%s/cdh.sock\nexec sleep 1000\n",
		       dir, run_dir);
	put(programs, "confidential-data-hub", script, 0755);
	if (start(&s, &c, &e) < 0)
		fail_msg("%s", e.text);
	assert_non_null(c);
	expect_file("order", "first\ncdh.toml -c http://proxy:81 localhost "
			     "/etc/ocicrypt_config.json\n");
	components_free(c);
}

static void one_that_does_not_come_up_is_a_failure(void **state)
{
	struct component_settings s = settings(COMPONENTS_ATTESTATION_AGENT);
	struct components *c = NULL;
	struct err e = ERR_INIT;

	put(programs, "attestation-agent", "#!/bin/sh\nexit 3\n", 0755);
	assert_true(start(&s, &c, &e) < 0);
	assert_null(c);
	if (!strstr(e.text, "component attestation-agent: it ended with 3"))
		fail_msg("%s", e.text);

	put(programs, "attestation-agent", "#!/bin/sh\nexec sleep 1000\n", 0755);
	s.timeout_s = 1;
	assert_int_equal(start(&s, &c, &e), -ETIMEDOUT);
	assert_non_null(strstr(e.text, "after 1 s"));
}

static void missing_ones_of_the_image_are_no_failure(void **state)
{
	struct component_settings s = settings(COMPONENTS_REST);
	struct components *c = NULL;

	/* there is no api-server-rest: none of the others is started */
	put(programs, "attestation-agent", "#!/bin/sh\nexit 3\n", 0755);
	put(programs, "confidential-data-hub", "#!/bin/sh\nexit 3\n", 0755);
	assert_int_equal(start(&s, &c, NULL), 0);
	assert_null(c);
	/* but an extension keeps its promises */
	put_manifest(PROCESS "path = \"nothing\"\n");
	assert_int_equal(start(&s, &c, NULL), -ENOENT);
	assert_int_equal(remove_tree(extension), 0);
}

static char last_error[256];

static void on_log(void *ctx, enum log_level level, const char *msg)
{
	if (level == LOG_ERROR) {
		(void)snprintf(last_error, sizeof last_error, "%s", msg);
		loop_stop(ctx);
	}
}

static void an_end_is_told(void **state)
{
	struct component_settings s = settings(COMPONENTS_ATTESTATION_AGENT);
	struct components *c = NULL;
	struct loop *l;
	struct err e = ERR_INIT;

	put_manifest(PROCESS "path = \"bin/x\"\nargs = [\"7\"]\n");
	put(extension, "bin/x", "#!/bin/sh\nsleep 0.1\nexit $1\n", 0755);
	if (start(&s, &c, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(loop_new(&l), 0);
	log_add_sink(on_log, l);
	assert_int_equal(components_watch(c, l), 0);
	loop_run(l);
	log_reset();
	assert_string_equal(last_error, "component x has ended with 7: what needs it fails");
	components_free(c);
	loop_free(l);
	assert_int_equal(remove_tree(extension), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_an_extension_the_image_s_own),
		cmocka_unit_test(a_manifest_makes_the_plan),
		cmocka_unit_test(what_is_wrong_is_refused),
		cmocka_unit_test(they_start_in_order),
		cmocka_unit_test(one_that_does_not_come_up_is_a_failure),
		cmocka_unit_test(missing_ones_of_the_image_are_no_failure),
		cmocka_unit_test(an_end_is_told),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s PARSER\n", argv[0]);
		return 2;
	}
	parser = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
