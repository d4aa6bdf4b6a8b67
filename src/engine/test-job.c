/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "base/fd.h"
#include "engine/job.h"

#include <fcntl.h>
#include <string.h>

static char *str(const char *s)
{
	return (char *)s;
}

/* Every field that is carried has a value of its own, so that a mix-up shows. */
static struct engine_job sample(void)
{
	static char *args[] = {(char *)"sh", (char *)"-c", (char *)"", NULL};
	static char *env[] = {(char *)"A=b", NULL};
	static char *options[] = {(char *)"rbind", (char *)"ro", NULL};
	static char *masked[] = {(char *)"/proc/kcore", NULL};
	static uint32_t gids[] = {5, 6, 7};
	static struct oci_mount mounts[2];
	static struct oci_device device;
	static struct oci_kv sysctl;
	static struct oci_hook hook;
	static uint8_t bpf[16] = {1, 2, 3};

	mounts[0] = (struct oci_mount){.destination = str("/proc"), .type = str("proc")};
	mounts[1] = (struct oci_mount){
		.destination = str("/x"), .source = str("/y"), .options = {.v = options, .n = 2}};
	device = (struct oci_device){.path = str("/dev/x"),
				     .type = 'b',
				     .major = 8,
				     .minor = 1,
				     .has_mode = true,
				     .mode = 0640,
				     .gid = 4};
	sysctl = (struct oci_kv){.key = str("net.x"), .value = str("1")};
	hook = (struct oci_hook){.path = str("/bin/hook"),
				 .args = {.v = args, .n = 3},
				 .env = {.v = env, .n = 1},
				 .timeout = 9};
	struct engine_job j = {
		.kind = ENGINE_JOB_CREATE,
		.id = str("c1"),
		.rootfs = str("/rootfs"),
		.uts_ns = true,
		.apparmor_optional = true,
		.sync_hooks = true,
		.bpf = {.code = bpf, .n = sizeof bpf, .flags = 4},
		.bundle = str("/bundle"),
	};
	j.spec.hostname = str("host");
	j.spec.root_readonly = true;
	j.spec.mounts = mounts;
	j.spec.n_mounts = 2;
	j.spec.devices = &device;
	j.spec.n_devices = 1;
	j.spec.sysctl = &sysctl;
	j.spec.n_sysctl = 1;
	j.spec.annotations = &sysctl;
	j.spec.n_annotations = 1;
	j.spec.masked_paths = (struct oci_strv){.v = masked, .n = 1};
	j.spec.hooks.start_container.v = &hook;
	j.spec.hooks.start_container.n = 1;
	j.spec.process = (struct oci_process){
		.terminal = true,
		.console_height = 24,
		.user = {.uid = 1, .gid = 2, .additional_gids = gids, .n_additional_gids = 3},
		.args = {.v = args, .n = 3},
		.env = {.v = env, .n = 1},
		.cwd = str("/tmp"),
		.caps = {.present = true, .bounding = 1, .ambient = UINT64_C(1) << 40},
		.no_new_privileges = true,
	};
	return j;
}

static void test_round_trip(void **state)
{
	struct engine_job j = sample(), got;
	_cleanup_buf_ struct buf a = BUF_INIT, b = BUF_INIT;
	assert_int_equal(engine_job_encode(&j, &a), 0);
	assert_int_equal(engine_job_decode(a.data, a.len, &got), 0);
	assert_string_equal(got.id, "c1");
	assert_true(got.uts_ns && got.sync_hooks && got.apparmor_optional && !got.user_ns);
	assert_null(got.cgroup_root);
	assert_string_equal(got.bundle, "/bundle");
	assert_string_equal(got.spec.annotations[0].key, "net.x");
	assert_int_equal(got.bpf.n, 16);
	assert_int_equal(got.bpf.code[2], 3);
	assert_int_equal(got.bpf.flags, 4);
	assert_int_equal(got.spec.n_mounts, 2);
	assert_null(got.spec.mounts[0].source);
	assert_string_equal(got.spec.mounts[1].options.v[1], "ro");
	assert_null(got.spec.mounts[1].options.v[2]);
	assert_int_equal(got.spec.devices[0].type, 'b');
	assert_int_equal(got.spec.devices[0].mode, 0640);
	assert_string_equal(got.spec.sysctl[0].value, "1");
	assert_string_equal(got.spec.masked_paths.v[0], "/proc/kcore");
	assert_int_equal(got.spec.hooks.start_container.v[0].timeout, 9);
	assert_string_equal(got.spec.process.args.v[2], "");
	assert_null(got.spec.process.args.v[3]);
	assert_int_equal(got.spec.process.user.additional_gids[2], 7);
	assert_true(got.spec.process.caps.ambient == UINT64_C(1) << 40);
	assert_true(got.spec.process.no_new_privileges);

	assert_int_equal(engine_job_encode(&got, &b), 0);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	engine_job_deinit(&got);
}

static void test_cut_short(void **state)
{
	struct engine_job j = sample(), got;
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(engine_job_encode(&j, &b), 0);
	for (size_t n = 0; n < b.len; n++)
		assert_int_equal(engine_job_decode(b.data, n, &got), -EBADMSG);
	buf_append(&b, "", 1);
	assert_int_equal(engine_job_decode(b.data, b.len, &got), -EBADMSG);
}

/* No byte that is changed may make it read or allocate out of bounds. */
static void test_garbled(void **state)
{
	struct engine_job j = sample(), got;
	_cleanup_buf_ struct buf b = BUF_INIT;
	int refused = 0;
	assert_int_equal(engine_job_encode(&j, &b), 0);
	for (size_t i = 0; i < b.len; i++) {
		char old = b.data[i];
		b.data[i] = (char)0xff;
		int r = engine_job_decode(b.data, b.len, &got);
		assert_true(r == 0 || r == -EBADMSG);
		if (r == 0)
			engine_job_deinit(&got);
		else
			refused++;
		b.data[i] = old;
	}
	assert_true(refused > 100); /* lengths, counts, booleans */
}

static void test_incomplete(void **state)
{
	struct engine_job j = sample();
	_cleanup_buf_ struct buf b = BUF_INIT;
	j.spec.process.args.n = 0;
	assert_int_equal(engine_job_encode(&j, &b), -EINVAL);
	j = sample();
	j.rootfs = NULL;
	assert_int_equal(engine_job_encode(&j, &b), -EINVAL);
	j.kind = ENGINE_JOB_EXEC; /* has none */
	buf_clear(&b);
	assert_int_equal(engine_job_encode(&j, &b), 0);
}

static void test_too_large(void **state)
{
	struct engine_job j = sample();
	_cleanup_buf_ struct buf b = BUF_INIT;
	char *big = malloc(ENGINE_JOB_MAX + 1);
	assert_non_null(big);
	memset(big, 'x', ENGINE_JOB_MAX);
	big[ENGINE_JOB_MAX] = '\0';
	j.bundle = big;
	assert_int_equal(engine_job_encode(&j, &b), -E2BIG);
	free(big);
}

/* With a directory as argument: writes the sample as a seed for the fuzzer. */
static int write_seeds(const char *dir)
{
	struct engine_job j = sample();
	char path[256];
	for (uint32_t kind = ENGINE_JOB_CREATE; kind <= ENGINE_JOB_EXEC; kind++) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		j.kind = kind;
		if (kind == ENGINE_JOB_EXEC)
			memset(&j.spec.mounts, 0, sizeof j.spec.mounts), j.spec.n_mounts = 0;
		if (engine_job_encode(&j, &b) < 0 ||
		    path_format(path, sizeof path, "%s/seed-%u", dir, kind) < 0 ||
		    file_replace(path, b.data, b.len, 0644) < 0)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_garbled),	   cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_too_large),
	};
	return argc > 1 ? write_seeds(argv[1]) : RUN_TESTS();
}
