/* SPDX-License-Identifier: Apache-2.0 */
#include "io/loop.h"

#include "base/testing.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

struct fixture {
	struct loop *loop;
	int pair[2];
	struct loop_io *io;
	struct loop_timer *timer;
	struct loop_signal *signal;
	char trace[64];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	return loop_new(&f->loop) == 0 &&
			       socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair) == 0
		       ? 0
		       : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	loop_free(f->loop);
	close(f->pair[0]);
	close(f->pair[1]);
	free(f);
	return 0;
}

static void note(struct fixture *f, const char *what)
{
	strncat(f->trace, what, sizeof f->trace - strlen(f->trace) - 1);
}

static void on_readable(void *arg, unsigned events)
{
	struct fixture *f = arg;
	char c;
	assert_true(events & LOOP_READ);
	if (read(f->pair[0], &c, 1) == 1)
		note(f, "r");
	loop_io_free(TAKE_PTR(f->io)); /* from its own callback */
	loop_stop(f->loop);
}

static void a_watch_may_free_itself(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_io_new(f->loop, f->pair[0], LOOP_READ, on_readable, f, &f->io), 0);
	assert_int_equal(write(f->pair[1], "xy", 2), 2);
	loop_run(f->loop);
	assert_string_equal(f->trace, "r");
}

static void on_hangup(void *arg, unsigned events)
{
	struct fixture *f = arg;
	note(f, events & LOOP_HANGUP ? "h" : "?");
	loop_io_free(TAKE_PTR(f->io));
	loop_stop(f->loop);
}

static void a_hangup_is_seen(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_io_new(f->loop, f->pair[0], LOOP_HANGUP, on_hangup, f, &f->io), 0);
	close(f->pair[1]);
	f->pair[1] = -1;
	loop_run(f->loop);
	assert_string_equal(f->trace, "h");
}

static void post_a(void *arg)
{
	note(arg, "a");
}

static void post_b(void *arg)
{
	struct fixture *f = arg;
	note(f, loop_is_current(f->loop) ? "b" : "?");
	loop_stop(f->loop);
}

static void *poster(void *arg)
{
	struct fixture *f = arg;
	assert_false(loop_is_current(f->loop));
	loop_post(f->loop, post_a, f);
	loop_post(f->loop, post_b, f);
	return NULL;
}

static void posts_run_in_order_on_the_loop(void **state)
{
	struct fixture *f = *state;
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, poster, f), 0);
	loop_run(f->loop);
	pthread_join(t, NULL);
	assert_string_equal(f->trace, "ab");
}

static void on_timer(void *arg)
{
	struct fixture *f = arg;
	note(f, "t");
	if (strlen(f->trace) == 2) {
		loop_timer_free(TAKE_PTR(f->timer));
		loop_stop(f->loop);
	} else {
		loop_timer_start(f->timer, 1);
	}
}

static void a_timer_fires_once_each_time(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_timer_new(f->loop, on_timer, f, &f->timer), 0);
	loop_timer_start(f->timer, 1);
	loop_run(f->loop);
	assert_string_equal(f->trace, "tt");
}

static void on_signal(void *arg, int signum)
{
	struct fixture *f = arg;
	note(f, signum == SIGUSR1 ? "s" : "?");
	loop_signal_free(TAKE_PTR(f->signal));
	loop_stop(f->loop);
}

static void a_signal_is_delivered(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_signal_new(f->loop, SIGUSR1, on_signal, f, &f->signal), 0);
	raise(SIGUSR1);
	loop_run(f->loop);
	assert_string_equal(f->trace, "s");
}

static void work_that_never_ran_is_freed(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_post(f->loop, post_a, f), 0);
}

static void on_closed(void *arg, unsigned events)
{
	struct fixture *f = arg;
	assert_true(events & LOOP_CLOSED);
	note(f, "c");
	loop_io_free(TAKE_PTR(f->io));
	loop_stop(f->loop);
}

static void half_close(void *arg)
{
	struct fixture *f = arg;
	note(f, "h");
	assert_int_equal(shutdown(f->pair[1], SHUT_WR), 0);
	loop_timer_start(f->timer, 20); /* a wrong report would come before */
}

static void close_wholly(void *arg)
{
	struct fixture *f = arg;
	note(f, "w");
	assert_int_equal(shutdown(f->pair[1], SHUT_RDWR), 0);
}

static void a_close_is_told_from_a_half_close(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_io_new(f->loop, f->pair[0], LOOP_CLOSED, on_closed, f, &f->io), 0);
	assert_int_equal(loop_timer_new(f->loop, close_wholly, f, &f->timer), 0);
	assert_int_equal(loop_post(f->loop, half_close, f), 0);
	loop_run(f->loop);
	assert_string_equal(f->trace, "hwc");
	loop_timer_free(f->timer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_watch_may_free_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(a_hangup_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(a_close_is_told_from_a_half_close, setup, teardown),
		cmocka_unit_test_setup_teardown(posts_run_in_order_on_the_loop, setup, teardown),
		cmocka_unit_test_setup_teardown(a_timer_fires_once_each_time, setup, teardown),
		cmocka_unit_test_setup_teardown(a_signal_is_delivered, setup, teardown),
		cmocka_unit_test_setup_teardown(work_that_never_ran_is_freed, setup, teardown),
	};
	return RUN_TESTS();
}
