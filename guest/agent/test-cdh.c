/* SPDX-License-Identifier: Apache-2.0 */
/* The client of the Confidential Data Hub, and what it says where there is none. */
#include "base/buf.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/cdh.h"
#include "guest/agent/storage-driver.h"
#include "guest/agent/test-hub.h"
#include "io/testing.h"

#include <string.h>
#include <sys/stat.h>

static struct hub hub;
static struct cdh *cdh;
static struct loop *loop;
static pthread_t loop_thread;
static char top[64];

static int setup(void **state)
{
	(void)snprintf(top, sizeof top, "/tmp/test-cdh.XXXXXX");
	assert_non_null(mkdtemp(top));
	memset(&hub, 0, sizeof hub);
	(void)snprintf(hub.socket, sizeof hub.socket, "%s/hub", top);
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(testing_loop_start(loop, &loop_thread), 0);
	const struct cdh_options o = {.socket = hub.socket,
				      .api_timeout_ms = 300,
				      .pull_timeout_ms = 600,
				      .integrity = true,
				      .state_dir = top};
	assert_int_equal(cdh_new(loop, &o, &cdh), 0);
	return 0;
}

static int teardown(void **state)
{
	hub_stop(&hub);
	loop_stop(loop);
	pthread_join(loop_thread, NULL);
	cdh_free(cdh);
	loop_free(loop);
	return remove_tree(top);
}

/* Waits until what was posted before has been done: a client is freed by the loop. */
static void settle(void)
{
	sem_t done;

	assert_int_equal(sem_init(&done, 0, 0), 0);
	assert_int_equal(loop_post(loop, testing_loop_note, &done), 0);
	while (sem_wait(&done) < 0)
		;
	(void)sem_destroy(&done);
}

static void every_call(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	char bundle[80], expected[160];

	hub_start(&hub);
	assert_true(cdh_is_there(cdh));
	assert_int_equal(cdh_unseal(cdh, "sealed.abc", 10, &text, &e), 0);
	assert_string_equal(text.data, "abc");
	buf_clear(&text);
	assert_int_equal(cdh_get_resource(cdh, "kbs:///a/b", &text, &e), 0);
	assert_string_equal(text.data, "kbs:///a/b");
	(void)snprintf(bundle, sizeof bundle, "%s/c1", top);
	assert_int_equal(mkdir(bundle, 0755), 0);
	assert_int_equal(cdh_pull_image(cdh, "registry/image:1", bundle, &e), 0);
	(void)snprintf(expected, sizeof expected, "registry/image:1 %s", bundle);
	assert_string_equal(hub.text, expected);
	settle();
}

static void without_a_hub(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct err e = ERR_INIT;

	assert_false(cdh_is_there(cdh));
	assert_true(cdh_unseal(cdh, "sealed.abc", 10, &text, &e) < 0);
	assert_int_equal(e.status, STATUS_UNAVAILABLE);
	assert_non_null(strstr(e.text, hub.socket));
	assert_true(cdh_pull_image(cdh, "image", top, &e) < 0);
	assert_int_equal(e.status, STATUS_UNAVAILABLE);
	/* one that starts late is found, and one that starts again, too */
	hub_start(&hub);
	assert_int_equal(cdh_unseal(cdh, "sealed.abc", 10, &text, &e), 0);
	hub_stop(&hub);
	assert_true(cdh_unseal(cdh, "sealed.abc", 10, &text, &e) < 0);
	hub_start(&hub);
	assert_int_equal(cdh_unseal(cdh, "sealed.abc", 10, &text, &e), 0);
	settle();
}

static void refusals_and_silence(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct err e = ERR_INIT;

	hub_start(&hub);
	atomic_store(&hub.mood, HUB_FAILS);
	assert_true(cdh_pull_image(cdh, "registry/secret", top, &e) < 0);
	assert_int_equal(e.status, STATUS_PERMISSION_DENIED);
	assert_non_null(strstr(e.text, "attestation has failed"));
	assert_non_null(strstr(e.text, "registry/secret"));
	atomic_store(&hub.mood, HUB_IS_SILENT);
	assert_true(cdh_unseal(cdh, "sealed.abc", 10, &text, &e) < 0);
	assert_int_equal(e.status, STATUS_DEADLINE_EXCEEDED);
	assert_true(cdh_pull_image(cdh, "image", top, &e) < 0);
	assert_int_equal(e.status, STATUS_DEADLINE_EXCEEDED);
	assert_int_equal(text.len, 0);
	settle();
}

static void a_mount_that_is_none(void **state)
{
	struct err e = ERR_INIT;
	char path[80];

	(void)snprintf(path, sizeof path, "%s/a/b", top);
	hub_start(&hub);
	atomic_store(&hub.mood, HUB_LIES);
	assert_true(cdh_mount_ephemeral(cdh, 0xfe01, path, "-m 0", &e) < 0);
	assert_int_equal(e.status, STATUS_INTERNAL);
	assert_non_null(strstr(e.text, path));
	assert_non_null(strstr(hub.text, "block-device on "));
	assert_non_null(strstr(hub.text, " deviceId=254:1"));
	assert_non_null(strstr(hub.text, " mkfsOpts=-m 0"));
	assert_non_null(strstr(hub.text, " encryptionType=luks2"));
	assert_non_null(strstr(hub.text, " dataIntegrity=true"));
	assert_non_null(strstr(hub.text, " sourceType=empty"));
	assert_non_null(strstr(hub.text, " targetType=fileSystem"));
	assert_non_null(strstr(hub.text, " filesystemType=ext4"));
	settle();
}

static void words_of_a_pulled_image(void **state)
{
	static const struct {
		const char *text;
		int r, sandbox;
	} cases[] = {
		{"{\"metadata\":{\"io.kubernetes.cri.container-type\":\"sandbox\"}}", 0, true},
		{"{\"metadata\":{\"io.kubernetes.cri-o.ContainerType\":\"sandbox\"}}", 0, true},
		{"{\"metadata\":{\"io.kubernetes.cri.container-type\":\"container\"}}", 0, false},
		{"{\"metadata\":{}}", 0, false},
		{"{}", 0, false},
		{"[]", -EINVAL, false},
		{"{\"metadata\":[]}", -EINVAL, false},
		{"{\"metadata\":{\"io.kubernetes.cri.container-type\":7}}", -EINVAL, false},
		{"{", -EINVAL, false},
		{"", -EINVAL, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool sandbox = false;
		struct err e = ERR_INIT;
		if (storage_pull_is_sandbox(cases[i].text, &sandbox, &e) != cases[i].r ||
		    sandbox != cases[i].sandbox)
			fail_msg("%s: %s", cases[i].text, e.text);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_call, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_hub, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals_and_silence, setup, teardown),
		cmocka_unit_test_setup_teardown(a_mount_that_is_none, setup, teardown),
		cmocka_unit_test(words_of_a_pulled_image),
	};

	return RUN_TESTS();
}
