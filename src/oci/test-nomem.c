/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory runs out at each allocation in turn (the program is linked with --wrap): every function
 * says so, and a sanitizer finds nothing left behind.
 */
#include "base/testing.h"

#include "base/fd.h"
#include "fmt/json.h"
#include "oci/arena.h"
#include "oci/hooks.h"
#include "oci/spec-proto.h"

#include <fcntl.h>
#include <string.h>

/* Counts down to the allocation that fails; 0: none does. */
static unsigned long countdown;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
json_t *__real_json_loadb(const char *text, size_t len, size_t flags, json_error_t *e);
json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *e);
char *__real_json_dumps(const json_t *v, size_t flags);
char *__wrap_json_dumps(const json_t *v, size_t flags);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static bool fails(void)
{
	if (countdown == 0 || --countdown > 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

/* jansson 2.14 cannot bear it: while reading it asserts or frees twice, while writing it leaves a
 * key's quotes out. */
json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *e)
{
	unsigned long kept = countdown;
	countdown = 0;
	json_t *v = __real_json_loadb(text, len, flags, e);
	countdown = kept;
	return v;
}

char *__wrap_json_dumps(const json_t *v, size_t flags)
{
	unsigned long kept = countdown;
	countdown = 0;
	char *text = __real_json_dumps(v, flags);
	countdown = kept;
	return text;
}

static struct buf file;
static struct oci_spec *full;
static Grpc__Spec *message;

static int parse(struct err *e)
{
	struct oci_spec *s = NULL;
	int r = oci_spec_parse(file.data, file.len, &s, e);
	assert_true(r < 0 ? !s : !!s);
	oci_spec_free(s);
	return r;
}

static int to_proto(struct err *e)
{
	Grpc__Spec *m = NULL;
	int r = oci_spec_to_proto(full, &m, e);
	assert_true(r < 0 ? !m : !!m);
	grpc__spec__free_unpacked(m, NULL);
	return r;
}

static int process_to_proto(struct err *e)
{
	Grpc__Process *m = NULL;
	int r = oci_process_to_proto(&full->process, &m, e);
	grpc__process__free_unpacked(m, NULL);
	return r;
}

static int from_proto(struct err *e)
{
	struct oci_spec *s = NULL;
	int r = oci_spec_from_proto(message, &s, e);
	assert_true(r < 0 ? !s : !!s);
	oci_spec_free(s);
	return r;
}

static int process_from_proto(struct err *e)
{
	struct oci_process *p = NULL;
	_cleanup_arena_ struct oci_arena *a = NULL;
	return oci_process_from_proto(message->process, &p, &a, e);
}

static int resources_from_proto(struct err *e)
{
	struct oci_resources *p = NULL;
	_cleanup_arena_ struct oci_arena *a = NULL;
	return oci_resources_from_proto(message->linux->resources, &p, &a, e);
}

static int write_json(struct err *e)
{
	json_t *j = oci_spec_to_json(full);
	char *text = j ? json_text_dump(j, 0) : NULL;
	int r = text ? 0 : err_set(e, -ENOMEM, "out of memory");
	free(text);
	json_decref(j);
	return r;
}

static int write_state(struct err *e)
{
	char *text = oci_state_json(full, "id", "running", 1, "/b");
	int r = text ? 0 : err_set(e, -ENOMEM, "out of memory");
	free(text);
	return r;
}

static void memory_may_run_out_anywhere(void **state)
{
	int (*const operations[])(struct err *) = {
		parse,	    to_proto,		process_to_proto,
		from_proto, process_from_proto, resources_from_proto,
		write_json, write_state,
	};
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		unsigned long k = 0;
		int r;
		do {
			struct err e = ERR_INIT;
			countdown = ++k;
			r = operations[i](&e);
			bool reached = countdown == 0;
			countdown = 0;
			if (reached != (r < 0))
				fail_msg("operation %zu, allocation %lu: %d", i, k, r);
			if (r < 0 && (r != -ENOMEM || strcmp(e.text, "out of memory") != 0))
				fail_msg("operation %zu, allocation %lu: %d, %s", i, k, r, e.text);
		} while (r < 0);
		assert_true(k > 1);
	}
}

static int setup(void **state)
{
	struct err e = ERR_INIT;
	if (file_read(AT_FDCWD, GOLDEN_DIR "/full.json", 1 << 20, &file) < 0 ||
	    oci_spec_parse(file.data, file.len, &full, &e) < 0 ||
	    oci_spec_to_proto(full, &message, &e) < 0)
		return -1;
	return 0;
}

static int teardown(void **state)
{
	grpc__spec__free_unpacked(message, NULL);
	oci_spec_free(full);
	buf_free(&file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_may_run_out_anywhere),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
