/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/any.h"

#include "base/testing.h"
#include "proto/events.pb-c.h"
#include "proto/runtimeoptions.pb-c.h"

#include <string.h>

static void packs_under_its_full_name(void **state)
{
	Google__Protobuf__Any any;
	Containerd__Events__TaskExit m = CONTAINERD__EVENTS__TASK_EXIT__INIT;

	m.id = "e1";
	m.exit_status = 137;
	assert_int_equal(rpc_any_pack(&any, &m.base, NULL), 0);
	assert_string_equal(any.type_url, "containerd.events.TaskExit");
	Containerd__Events__TaskExit *got = (Containerd__Events__TaskExit *)rpc_any_unpack(
		&any, &containerd__events__task_exit__descriptor);
	assert_non_null(got);
	assert_string_equal(got->id, "e1");
	assert_int_equal(got->exit_status, 137);
	containerd__events__task_exit__free_unpacked(got, NULL);
	assert_null(rpc_any_unpack(&any, &containerd__events__task_start__descriptor));
	rpc_any_clear(&any);
	assert_int_equal(any.value.len, 0);
	rpc_any_clear(&any);
}

static void a_prefix_of_the_type_is_ignored(void **state)
{
	Google__Protobuf__Any any;

	assert_int_equal(
		rpc_any_set(&any, "types.containerd.io/runtimeoptions.v1.Options", "\x12\x02/x", 4),
		0);
	assert_true(rpc_any_is(&any, "runtimeoptions.v1.Options"));
	assert_false(rpc_any_is(&any, "Options"));
	assert_false(rpc_any_is(NULL, "Options"));
	Runtimeoptions__V1__Options *o = (Runtimeoptions__V1__Options *)rpc_any_unpack(
		&any, &runtimeoptions__v1__options__descriptor);
	assert_non_null(o);
	assert_string_equal(o->config_path, "/x");
	runtimeoptions__v1__options__free_unpacked(o, NULL);
	any.value.len = 3; /* cut off */
	assert_null(rpc_any_unpack(&any, &runtimeoptions__v1__options__descriptor));
	rpc_any_clear(&any);
}

static void an_empty_value_is_fine(void **state)
{
	Google__Protobuf__Any any;

	assert_int_equal(rpc_any_set(&any, "x", NULL, 0), 0);
	assert_int_equal(any.value.len, 0);
	assert_true(rpc_any_is(&any, "x"));
	rpc_any_clear(&any);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packs_under_its_full_name),
		cmocka_unit_test(a_prefix_of_the_type_is_ignored),
		cmocka_unit_test(an_empty_value_is_fine),
	};
	return RUN_TESTS();
}
