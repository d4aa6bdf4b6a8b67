/* SPDX-License-Identifier: Apache-2.0 */
/* Logging binaries that are shell scripts. */
#include "runtimes/logger.h"

#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/testing.h"

struct fixture {
	struct loop *loop;
	struct worker_pool *workers;
	struct logger *logger;
	struct stdio_out *out, *errout;
	struct loop_timer *patience;
	char dir[64];
	bool told, ended, late;
	unsigned rooms;
	int r;
	struct err e;
};

static void on_patience(void *arg)
{
	struct fixture *f = arg;
	f->late = true;
	loop_stop(f->loop);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	*state = f;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/test-logger.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(worker_pool_new(1, 0, &f->workers), 0);
	assert_int_equal(loop_timer_new(f->loop, on_patience, f, &f->patience), 0);
	loop_timer_start(f->patience, 60000);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	stdio_out_free(f->out);
	stdio_out_free(f->errout);
	logger_free(f->logger);
	loop_timer_free(f->patience);
	worker_pool_free(f->workers);
	loop_free(f->loop);
	assert_int_equal(remove_tree(f->dir), 0);
	free(f);
	return 0;
}

static void on_ready(void *arg, int r, const struct err *e)
{
	struct fixture *f = arg;

	assert_false(f->told);
	f->told = true;
	f->r = r;
	if (r < 0)
		f->e = *e;
	loop_stop(f->loop);
}

static void on_ended(void *arg)
{
	struct fixture *f = arg;
	f->ended = true;
	loop_stop(f->loop);
}

static void on_room(void *arg)
{
	struct fixture *f = arg;
	f->rooms++;
	loop_stop(f->loop);
}

static void begin(struct fixture *f, const char *scheme, const char *query, uint64_t limit_ms)
{
	char uri[256];
	struct stdio_uri u;
	struct err e = ERR_INIT;

	(void)snprintf(uri, sizeof uri, "%s://%s/bin%s", scheme, f->dir, query);
	assert_int_equal(stdio_uri_parse("stdout", uri, &u, &e), 0);
	const struct logger_params p = {.loop = f->loop,
					.workers = f->workers,
					.uri = &u,
					.id = "c1",
					.namespace = "ns1",
					.ready_ms = limit_ms,
					.drain_ms = limit_ms,
					.term_ms = limit_ms,
					.on_ready = on_ready,
					.arg = f};
	assert_int_equal(logger_new(&p, &f->logger, &e), 0);
	assert_int_equal(u.kind, STDIO_NONE);
}

/* Returns what on_ready told. */
static int start(struct fixture *f, const char *scheme, const char *query, const char *script,
		 uint64_t limit_ms)
{
	char path[128], text[1024];

	(void)snprintf(path, sizeof path, "%s/bin", f->dir);
	int n = snprintf(text, sizeof text, "#!/bin/sh\ncd %s\n%s\n", f->dir, script);
	assert_int_equal(file_replace(path, text, (size_t)n, 0755), 0);
	begin(f, scheme, query, limit_ms);
	loop_run(f->loop);
	assert_true(f->told);
	if (f->r == 0) {
		logger_take(f->logger, &f->out, &f->errout);
		assert_non_null(f->out);
		assert_non_null(f->errout);
		f->out->ready = f->errout->ready = on_room;
		f->out->arg = f->errout->arg = f;
	}
	return f->r;
}

static void end(struct fixture *f)
{
	stdio_out_free(TAKE_PTR(f->out));
	stdio_out_free(TAKE_PTR(f->errout));
	logger_end(f->logger, on_ended, f);
	if (!f->ended)
		loop_run(f->loop);
	assert_true(f->ended);
	assert_false(f->late);
}

static void assert_file(struct fixture *f, const char *name, const char *want)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char path[128];

	(void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &b), 0);
	assert_string_equal(b.data, want);
}

static void it_gets_arguments_environment_and_streams(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(start(f, "binary", "?k=v&a%20b=c%20d",
			       "for a; do echo \"<$a>\"; done >args\n"
			       "tr '\\0' '\\n' </proc/$$/environ | sort >env\n"
			       "ls -l /proc/$$/fd | sed -n 's/.* \\([0-9]*\\) -> \\([a-z/]*\\).*/"
			       "\\1 \\2/p' | sort -n >fds\n"
			       "exec 5>&-\ncat <&3 >out\ncat <&4 >err",
			       20000),
			 0);
	assert_int_equal(f->out->ops->write(f->out, "to out", 6), 6);
	assert_int_equal(f->errout->ops->write(f->errout, "to err", 6), 6);
	end(f);
	assert_file(f, "args", "<k>\n<v>\n<a b>\n<c d>\n");
	assert_file(f, "env", "CONTAINER_ID=c1\nCONTAINER_NAMESPACE=ns1\n");
	assert_file(f, "out", "to out");
	assert_file(f, "err", "to err");
	_cleanup_buf_ struct buf b = BUF_INIT;
	char path[128];
	(void)snprintf(path, sizeof path, "%s/fds", f->dir);
	assert_int_equal(file_read(AT_FDCWD, path, 4096, &b), 0);
	assert_non_null(strstr(b.data, "0 /dev/null\n1 /dev/null\n2 /dev/null\n3 pipe\n4 pipe\n"
				       "5 pipe\n"));
}

static void a_byte_says_ready_too(void **state)
{
	assert_int_equal(start(*state, "binary-v2", "", "echo x >&5\ncat <&3 >out", 20000), 0);
	end(*state);
}

static void an_end_before_ready_is_a_failure_with_its_code(void **state)
{
	struct fixture *f = *state;
	assert_true(start(f, "binary", "", "exit 7", 20000) < 0);
	assert_non_null(strstr(f->e.text, "ended with 7 before it was ready"));
	assert_non_null(strstr(f->e.text, f->dir));
}

static void silence_is_a_failure_too(void **state)
{
	struct fixture *f = *state;
	assert_true(start(f, "binary", "", "exec sleep 1000", 300) < 0);
	assert_int_equal(f->e.status, STATUS_DEADLINE_EXCEEDED);
	assert_non_null(strstr(f->e.text, "was not ready within 300 ms"));
}

static void v2_wants_a_byte(void **state)
{
	struct fixture *f = *state;
	assert_true(start(f, "binary-v2", "", "exec 5>&-\nexec sleep 1000", 20000) < 0);
	assert_non_null(strstr(f->e.text, "without a byte"));
}

static void a_missing_program_is_named(void **state)
{
	struct fixture *f = *state;
	begin(f, "binary", "", 20000);
	loop_run(f->loop);
	assert_int_equal(f->r, -ENOENT);
	assert_non_null(strstr(f->e.text, f->dir));
	assert_non_null(strstr(f->e.text, "logging binary"));
}

static void a_program_that_may_not_run_is_named(void **state)
{
	struct fixture *f = *state;
	char path[128];

	(void)snprintf(path, sizeof path, "%s/bin", f->dir);
	assert_int_equal(file_replace(path, "#!/bin/sh\n", 10, 0644), 0);
	begin(f, "binary", "", 20000);
	loop_run(f->loop);
	assert_int_equal(f->r, -EACCES);
	assert_non_null(strstr(f->e.text, "Permission denied"));
}

static void one_that_does_not_end_gets_sigterm_then_sigkill(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(start(f, "binary", "",
			       "trap 'echo term >>got' TERM\nexec 5>&-\n"
			       "while :; do sleep 0.05; done",
			       500),
			 0);
	end(f);
	assert_file(f, "got", "term\n");
}

static void one_that_ends_early_loses_output_but_stops_nothing(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(start(f, "binary", "", "exec 5>&-\nhead -c 4 <&3 >out", 20000), 0);
	ssize_t n;
	do {
		n = f->out->ops->write(f->out, "0123", 4);
		if (n == -EAGAIN)
			loop_run(f->loop);
	} while (n > 0 || n == -EAGAIN);
	assert_int_equal(n, -EPIPE);
	assert_file(f, "out", "0123");
	end(f);
}

static void a_slow_one_is_waited_for_by_its_reader(void **state)
{
	struct fixture *f = *state;
	static char block[4096];
	size_t total = 0;

	assert_int_equal(start(f, "binary", "", "exec 5>&-\nsleep 0.3\nwc -c <&3 >out", 20000), 0);
	while (total < 256 * sizeof block) {
		ssize_t n = f->out->ops->write(f->out, block, sizeof block);
		if (n == -EAGAIN)
			loop_run(f->loop);
		else
			total += (size_t)n;
		assert_true(n == -EAGAIN || n > 0);
		assert_false(f->late);
	}
	assert_true(f->rooms > 0);
	end(f);
	_cleanup_buf_ struct buf b = BUF_INIT;
	char path[128];
	(void)snprintf(path, sizeof path, "%s/out", f->dir);
	assert_int_equal(file_read(AT_FDCWD, path, 64, &b), 0);
	assert_int_equal(strtoul(b.data, NULL, 10), total);
}

static void one_that_is_let_go_while_it_starts_is_not_left_behind(void **state)
{
	struct fixture *f = *state;
	begin(f, "binary", "", 20000);
	logger_free(TAKE_PTR(f->logger));
	loop_timer_start(f->patience, 300);
	loop_run(f->loop);
	assert_false(f->told);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(it_gets_arguments_environment_and_streams),
		TEST(a_byte_says_ready_too),
		TEST(an_end_before_ready_is_a_failure_with_its_code),
		TEST(silence_is_a_failure_too),
		TEST(v2_wants_a_byte),
		TEST(a_missing_program_is_named),
		TEST(a_program_that_may_not_run_is_named),
		TEST(one_that_does_not_end_gets_sigterm_then_sigkill),
		TEST(one_that_ends_early_loses_output_but_stops_nothing),
		TEST(a_slow_one_is_waited_for_by_its_reader),
		TEST(one_that_is_let_go_while_it_starts_is_not_left_behind),
	};
	log_set_level(LOG_ERROR);
	return RUN_TESTS();
}
