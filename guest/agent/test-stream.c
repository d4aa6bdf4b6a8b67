/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/stream.h"

#include "base/clock.h"
#include "base/testing.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <termios.h>

struct outcome {
	struct loop *loop;
	int calls, r;
	bool unwanted;
	size_t len;
	char data[64];
};

static void on_read(void *arg, int r, const void *data, size_t len)
{
	struct outcome *o = arg;

	o->calls++;
	o->r = r;
	o->len = len;
	memset(o->data, 0, sizeof o->data);
	if (len)
		memcpy(o->data, data, len < sizeof o->data - 1 ? len : sizeof o->data - 1);
	loop_stop(o->loop);
}

static bool is_wanted(void *arg)
{
	return !((const struct outcome *)arg)->unwanted;
}

static void on_write(void *arg, int r)
{
	struct outcome *o = arg;
	o->calls++;
	o->r = r;
	loop_stop(o->loop);
}

static struct loop *loop;
static int fds[2];

static int setup(void **state)
{
	return loop_new(&loop) < 0 || pipe2(fds, O_CLOEXEC) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	loop_free(loop);
	return 0;
}

static void a_read_returns_what_is_there(void **state)
{
	struct stream_out s;
	struct outcome o = {.loop = loop};

	assert_int_equal(stream_out_init(&s, loop, fds[0]), 0);
	assert_int_equal(write(fds[1], "hello", 5), 5);
	assert_int_equal(stream_out_read(&s, 3, is_wanted, on_read, &o), 0);
	assert_int_equal(o.calls, 1);
	assert_string_equal(o.data, "hel");
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &o), 0);
	assert_string_equal(o.data, "lo");

	/* nothing there: the read waits; a second waits behind it */
	struct outcome second = {.loop = loop};
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &o), 0);
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &second), 0);
	assert_int_equal(o.calls, 2);
	assert_int_equal(write(fds[1], "more", 4), 4);
	loop_run(loop);
	assert_int_equal(o.calls, 3);
	assert_string_equal(o.data, "more");
	assert_int_equal(second.calls, 0);

	/* the last writer's end is everybody's end, and stays */
	close(fds[1]);
	loop_run(loop);
	assert_int_equal(second.calls, 1);
	assert_int_equal(second.len, 0);
	assert_true(s.eof_seen);
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &o), 0);
	assert_int_equal(o.calls, 4);
	assert_int_equal(o.len, 0);
	stream_out_close(&s);
}

static void a_reader_that_is_gone_takes_nothing(void **state)
{
	struct stream_out s;
	struct outcome gone[STREAM_WAITING_MAX], heir = {.loop = loop};

	assert_int_equal(stream_out_init(&s, loop, fds[0]), 0);
	for (int i = 0; i < STREAM_WAITING_MAX; i++) {
		gone[i] = (struct outcome){.loop = loop};
		assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &gone[i]), 0);
	}
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &heir), -EAGAIN);
	for (int i = 0; i < STREAM_WAITING_MAX; i++)
		gone[i].unwanted = true;
	/* neither room nor bytes are theirs any more */
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &heir), 0);
	for (int i = 0; i < STREAM_WAITING_MAX; i++) {
		assert_int_equal(gone[i].calls, 1);
		assert_int_equal(gone[i].r, -ECANCELED);
	}
	struct outcome late = {.loop = loop};
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &late), 0);
	heir.unwanted = true; /* it goes away while it waits */
	assert_int_equal(write(fds[1], "whole", 5), 5);
	loop_run(loop);
	if (late.calls == 0)
		loop_run(loop);
	assert_int_equal(heir.r, -ECANCELED);
	assert_string_equal(late.data, "whole");
	close(fds[1]);
	/* nor does it learn of the end in somebody else's place */
	struct outcome none = {.loop = loop, .unwanted = true};
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &none), 0);
	assert_false(s.eof_seen);
	stream_out_close(&s);
}

static void silence_ends_the_output_of_an_exited_process(void **state)
{
	struct stream_out s;
	struct outcome o = {.loop = loop};

	assert_int_equal(stream_out_init(&s, loop, fds[0]), 0);
	assert_int_equal(write(fds[1], "last words", 10), 10);
	stream_out_exited(&s); /* the write end stays open, as a background child would keep it */
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &o), 0);
	assert_string_equal(o.data, "last words");
	uint64_t begin = time_now_ms();
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &o), 0);
	assert_int_equal(o.calls, 1);
	o.calls = 0;
	loop_run(loop); /* stop was asked for by the first answer */
	if (o.calls == 0)
		loop_run(loop);
	assert_int_equal(o.calls, 1);
	assert_int_equal(o.len, 0);
	assert_int_equal(o.r, 0);
	assert_true(time_now_ms() - begin >= STREAM_SILENCE_MS - 5);
	stream_out_close(&s);
	close(fds[1]);
}

static void closing_answers_who_waits(void **state)
{
	struct stream_out s;
	struct outcome o = {.loop = loop};

	assert_int_equal(stream_out_init(&s, loop, fds[0]), 0);
	for (int i = 0; i < STREAM_WAITING_MAX; i++)
		assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &o), 0);
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &o), -EAGAIN);
	stream_out_close(&s);
	assert_int_equal(o.calls, STREAM_WAITING_MAX);
	assert_int_equal(o.r, -ECANCELED);
	assert_false(s.eof_seen);
	assert_int_equal(stream_out_init(&s, loop, -EBADF), 0);
	assert_int_equal(stream_out_read(&s, 100, is_wanted, on_read, &o), 0);
	assert_int_equal(o.r, 0);
	assert_int_equal(o.len, 0);
	stream_out_close(&s);
	close(fds[1]);
}

static void a_write_is_answered_when_all_is_in_the_pipe(void **state)
{
	struct stream_in s;
	struct outcome o = {.loop = loop}, second = {.loop = loop};
	enum { SIZE = 300 * 1024 };
	char *data = calloc(1, SIZE), *back = calloc(1, SIZE + 16);
	size_t have = 0;

	for (size_t i = 0; i < SIZE; i++)
		data[i] = (char)(i * 7);
	assert_int_equal(fcntl(fds[1], F_SETPIPE_SZ, 4096), 4096);
	assert_int_equal(stream_in_init(&s, loop, fds[1], false), 0);
	assert_int_equal(stream_in_write(&s, data, SIZE, on_write, &o), 0);
	assert_int_equal(stream_in_write(&s, "end", 3, on_write, &second), 0);
	stream_in_end(&s);
	assert_int_equal(stream_in_write(&s, "late", 4, on_write, &second), -EPIPE);
	assert_int_equal(o.calls, 0);
	assert_int_equal(second.calls, 0);
	for (;;) {
		ssize_t n = read(fds[0], back + have, SIZE + 16 - have);
		if (n <= 0) {
			assert_int_equal(n, 0);
			break;
		}
		have += (size_t)n;
		if (second.calls == 0) {
			/* one turn: the watch writes until the small pipe is full again */
			loop_stop(loop);
			loop_run(loop);
		}
	}
	assert_int_equal(have, SIZE + 3);
	assert_memory_equal(data, back, SIZE);
	assert_memory_equal(back + SIZE, "end", 3);
	assert_int_equal(o.calls, 1);
	assert_int_equal(second.calls, 1);
	assert_int_equal(o.r, 0);
	free(data);
	free(back);
	close(fds[0]);
	stream_in_close(&s);
}

static void a_broken_pipe_fails_the_write(void **state)
{
	struct stream_in s;
	struct outcome o = {.loop = loop};
	static char data[100000];

	assert_int_equal(stream_in_init(&s, loop, fds[1], false), 0);
	assert_int_equal(stream_in_write(&s, data, sizeof data, on_write, &o), 0);
	assert_int_equal(o.calls, 0);
	close(fds[0]);
	loop_run(loop);
	assert_int_equal(o.calls, 1);
	assert_int_equal(o.r, -EPIPE);
	assert_int_equal(stream_in_write(&s, "x", 1, on_write, &o), -EPIPE);
	stream_in_close(&s);
}

static void end_of_input_on_a_terminal_is_a_character(void **state)
{
	struct stream_in in;
	struct stream_out out;
	struct outcome o = {.loop = loop};
	char line[16];
	int master, slave;

	close(fds[0]);
	close(fds[1]);
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	assert_int_equal(stream_in_init(&in, loop, fcntl(master, F_DUPFD_CLOEXEC, 3), true), 0);
	assert_int_equal(stream_out_init(&out, loop, master), 0);
	assert_int_equal(stream_in_write(&in, "hi\n", 3, on_write, &o), 0);
	assert_int_equal(o.calls, 1);
	stream_in_end(&in);
	assert_int_equal(read(slave, line, sizeof line), 3);
	assert_int_equal(read(slave, line, sizeof line), 0);
	/* the terminal lives on, both ways */
	assert_int_equal(stream_in_write(&in, "ho\n", 3, on_write, &o), 0);
	assert_int_equal(read(slave, line, sizeof line), 3);
	assert_int_equal(write(slave, "out", 3), 3);
	assert_int_equal(stream_out_read(&out, 100, is_wanted, on_read, &o), 0);
	assert_non_null(strstr(o.data, "out"));
	/* its last user's end reads as EIO, which is the end */
	close(slave);
	assert_int_equal(stream_out_read(&out, 100, is_wanted, on_read, &o), 0);
	assert_int_equal(o.r, 0);
	assert_int_equal(o.len, 0);
	stream_in_close(&in);
	stream_out_close(&out);
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	static const struct CMUnitTest tests[] = {
		T(a_read_returns_what_is_there),
		T(a_reader_that_is_gone_takes_nothing),
		T(silence_ends_the_output_of_an_exited_process),
		T(closing_answers_who_waits),
		T(a_write_is_answered_when_all_is_in_the_pipe),
		T(a_broken_pipe_fails_the_write),
		T(end_of_input_on_a_terminal_is_a_character),
	};
	return RUN_TESTS();
}
