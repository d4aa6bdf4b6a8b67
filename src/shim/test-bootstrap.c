/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/bootstrap.h"

#include "proto/bootstrap.pb-c.h"

#include "base/testing.h"

#include <string.h>

#define BOOT(name) Containerd__Runtime__Bootstrap__V1__##name

static const struct cli cli = {.id = "c1", .namespace = "ns"};

static int parse(const char *id, const char *namespace, const char *dir, struct bootstrap *ret,
		 struct err *e)
{
	uint8_t packed[512];
	BOOT(BootstrapParams) p = CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS__INIT;
	p.instance_id = (char *)id;
	p.namespace_ = (char *)namespace;
	p.containerd_ttrpc_address = "/run/c.sock.ttrpc";
	p.log_level = CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__LOG_LEVEL_DEBUG;
	if (dir) {
		p._socket_dir_case =
			CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS___SOCKET_DIR_SOCKET_DIR;
		p.socket_dir = (char *)dir;
	}
	size_t n = containerd__runtime__bootstrap__v1__bootstrap_params__pack(&p, packed);
	return bootstrap_parse(&cli, packed, n, ret, e);
}

static void parameters_for_this_instance_count(void **state)
{
	struct bootstrap b;
	struct err e = ERR_INIT;
	assert_int_equal(parse("c1", "ns", "/run/t/s", &b, &e), 0);
	assert_true(b.structured);
	assert_true(b.debug);
	assert_string_equal(b.socket_dir, "/run/t/s");
	assert_string_equal(b.events, "/run/c.sock.ttrpc");
	assert_int_equal(parse("c1", "ns", NULL, &b, &e), 0);
	assert_string_equal(b.socket_dir, SHIM_SOCKET_DIR);
}

static void what_is_for_another_or_no_message_gives_the_plain_answer(void **state)
{
	struct bootstrap b;
	struct err e = ERR_INIT;
	/* runtimeoptions.v1.Options in an Any, as older releases send it */
	static const char any[] = "\n\031runtimeoptions.v1.Options\022\004\022\002/x";
	assert_int_equal(parse("c2", "ns", "/run/t/s", &b, &e), 0);
	assert_false(b.structured);
	assert_string_equal(b.events, "");
	assert_int_equal(parse("c1", "other", "/run/t/s", &b, &e), 0);
	assert_false(b.structured);
	assert_int_equal(bootstrap_parse(&cli, any, sizeof any - 1, &b, &e), 0);
	assert_false(b.structured);
	bootstrap_deinit(&b);
	assert_int_equal(bootstrap_parse(&cli, "\xff\xff\xff", 3, &b, &e), 0);
	assert_false(b.structured);
	assert_int_equal(bootstrap_parse(&cli, NULL, 0, &b, &e), 0);
	assert_string_equal(b.socket_dir, SHIM_SOCKET_DIR);
}

/* runtimeoptions.v1.Options{config_path: "/x"} */
static const char options[] = "\022\002/x";

static void assert_options(struct bootstrap *b)
{
	assert_int_equal(b->options.len, 4);
	assert_memory_equal(b->options.data, options, 4);
	bootstrap_deinit(b);
}

static void the_runtimes_options_are_found_in_every_generation(void **state)
{
	struct bootstrap b;
	struct err e = ERR_INIT;
	uint8_t packed[512];
	static const char any[] = "\n\031runtimeoptions.v1.Options\022\004\022\002/x";
	assert_int_equal(bootstrap_parse(&cli, any, sizeof any - 1, &b, &e), 0);
	assert_options(&b);

	BOOT(BootstrapParams) p = CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS__INIT;
	BOOT(Extension) empty = CONTAINERD__RUNTIME__BOOTSTRAP__V1__EXTENSION__INIT;
	BOOT(Extension) extension = CONTAINERD__RUNTIME__BOOTSTRAP__V1__EXTENSION__INIT;
	BOOT(Extension) * extensions[] = {&empty, &extension};
	Google__Protobuf__Any value = GOOGLE__PROTOBUF__ANY__INIT;
	value.type_url = "runtimeoptions.v1.Options";
	value.value.data = (uint8_t *)options;
	value.value.len = 4;
	extension.value = &value;
	p.instance_id = "c1";
	p.namespace_ = "ns";
	p.extensions = extensions;
	p.n_extensions = 2;
	size_t n = containerd__runtime__bootstrap__v1__bootstrap_params__pack(&p, packed);
	assert_int_equal(bootstrap_parse(&cli, packed, n, &b, &e), 0);
	assert_true(b.structured);
	assert_options(&b);

	value.type_url = "google.protobuf.Empty"; /* ctr sandboxes run */
	n = containerd__runtime__bootstrap__v1__bootstrap_params__pack(&p, packed);
	assert_int_equal(bootstrap_parse(&cli, packed, n, &b, &e), 0);
	assert_int_equal(b.options.len, 0);
}

static void a_directory_must_be_usable(void **state)
{
	struct bootstrap b;
	struct err e = ERR_INIT;
	char longest[SHIM_SOCKET_PATH_MAX + 2] = "/";
	memset(longest + 1, 'x', sizeof longest - 2);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(parse("c1", "ns", "relative", &b, &e), -EINVAL);
	assert_non_null(strstr(e.text, "\"relative\" must be an absolute path"));
	assert_int_equal(parse("c1", "ns", longest, &b, &e), -ENAMETOOLONG);
}

static void the_name_is_the_fields(void **state)
{
	char path[SHIM_SOCKET_PATH_MAX];
	/* printf %s /run/c.sock/default/c1 | sha256sum */
	assert_int_equal(shim_socket_path(SHIM_SOCKET_DIR, "/run/c.sock", "default", "c1", path),
			 0);
	assert_string_equal(path,
			    "/run/containerd/s/"
			    "E2A7F6E0C413FB56148A77B04888E63B42A60B630B0A3BCADB5DF8FBB4FDB1D0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters_for_this_instance_count),
		cmocka_unit_test(what_is_for_another_or_no_message_gives_the_plain_answer),
		cmocka_unit_test(the_runtimes_options_are_found_in_every_generation),
		cmocka_unit_test(a_directory_must_be_usable),
		cmocka_unit_test(the_name_is_the_fields),
	};
	return RUN_TESTS();
}
