/* SPDX-License-Identifier: Apache-2.0 */
#include "persist/state.h"

#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static char dir[] = "/tmp/test-state.XXXXXX";
static char path[64];

static const struct state_sandbox sandbox = {
	.id = "pod1",
	.dir = "/run/kata/pod1",
	.run_dir = "/run/kata/pod1/root",
	.hypervisor = "qemu",
	.status = "up",
	.reason = "",
	.pids = {.shim = {10, 100}, .vmm = {11, 101}, .virtiofsd = {12, 102}},
};

static int setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof path, "%s/state.json", dir);
	return 0;
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

static json_t *member(json_t *v, const char *a, const char *b)
{
	return json_object_get(json_object_get(v, a), b);
}

static void it_has_the_fields_shape_and_ours(void **state)
{
	struct state_doc d;
	struct stat st;
	state_begin(&d, &sandbox, json_pack("{s:s}", "kernel", "/k"));
	state_add_container(&d, &(struct state_process){.id = "c1", .status = "running"}, "/b/c1");
	state_add_exec(&d, &(struct state_process){.id = "e1",
						   .status = "stopped",
						   .exit_status = 3,
						   .exited_at = {.tv_sec = 1600000000}});
	state_add_container(&d, &(struct state_process){.id = "c2", .status = "created"},
			    "/not/utf\xff");
	assert_true(state_write(&d, path) > 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	json_t *v = json_load_file(path, 0, NULL);
	assert_non_null(v);
	assert_string_equal(json_string_value(json_object_get(v, "sandbox_type")),
			    "virt_container");
	assert_true(json_is_array(member(v, "resource", "endpoint")));
	assert_true(json_is_object(member(v, "resource", "cgroup_state")));
	assert_int_equal(json_integer_value(member(v, "hypervisor", "pid")), 11);
	assert_int_equal(json_integer_value(member(v, "hypervisor", "virtiofs_daemon_pid")), 12);
	assert_string_equal(
		json_string_value(json_object_get(member(v, "hypervisor", "config"), "kernel")),
		"/k");
	json_t *containers = json_object_get(v, "containers");
	assert_int_equal(json_array_size(containers), 2);
	json_t *c1 = json_array_get(containers, 0);
	assert_string_equal(json_string_value(json_object_get(c1, "bundle")), "/b/c1");
	json_t *e1 = json_array_get(json_object_get(c1, "execs"), 0);
	assert_int_equal(json_integer_value(json_object_get(e1, "exit_status")), 3);
	assert_string_equal(json_string_value(json_object_get(e1, "exited_at")),
			    "2020-09-13T12:26:40.000000000Z");
	json_decref(v);
}

static void assert_same_process(const struct state_pid *a, const struct state_pid *b)
{
	assert_int_equal(a->pid, b->pid);
	assert_int_equal(a->start_time, b->start_time);
}

static void its_processes_are_read_back(void **state)
{
	struct state_doc d;
	struct state_pids pids;
	state_begin(&d, &sandbox, NULL);
	assert_true(state_write(&d, path) > 0);
	assert_int_equal(state_read(path, &pids), 0);
	assert_same_process(&pids.shim, &sandbox.pids.shim);
	assert_same_process(&pids.vmm, &sandbox.pids.vmm);
	assert_same_process(&pids.virtiofsd, &sandbox.pids.virtiofsd);
}

static void what_is_no_state_names_nobody(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"\xff\xfe",
		"{\"hypervisor\":{\"pid\":\"7\"},\"shim\":{\"hypervisor_start_time\":1}}",
		"{\"hypervisor\":{\"pid\":-7},\"shim\":{\"hypervisor_start_time\":1}}",
		"{\"hypervisor\":{\"pid\":4294967296},\"shim\":{\"hypervisor_start_time\":1}}",
	};
	struct state_pids pids;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(state_parse(bad[i], strlen(bad[i]), &pids) < 0);
	assert_int_equal(state_read("/nonexistent", &pids), -ENOENT);

	/* the field's own: without start times, nobody can be told for sure */
	const char field[] = "{\"hypervisor\":{\"pid\":7,\"virtiofs_daemon_pid\":8}}";
	assert_int_equal(state_parse(field, sizeof field - 1, &pids), 0);
	assert_int_equal(pids.vmm.pid, 0);
	assert_int_equal(pids.virtiofsd.pid, 0);
}

/* A reader at any moment finds a whole document; a failure leaves the last one. */
static void a_failed_write_keeps_the_last(void **state)
{
	struct state_doc d;
	struct state_pids pids;
	state_begin(&d, &sandbox, NULL);
	assert_true(state_write(&d, "/nonexistent/state.json") < 0);
	assert_int_equal(state_read(path, &pids), 0);
	assert_int_equal(pids.shim.pid, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_has_the_fields_shape_and_ours),
		cmocka_unit_test(its_processes_are_read_back),
		cmocka_unit_test(what_is_no_state_names_nobody),
		cmocka_unit_test(a_failed_write_keeps_the_last),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
