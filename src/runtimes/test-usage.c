/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/usage.h"

#include "base/testing.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define BYTES (64u << 20)

/* A child that has touched BYTES. */
static pid_t fat_child(void)
{
	int pair[2];
	char done;
	assert_int_equal(pipe(pair), 0);
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a check fails */
		char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			       0);
		if (p == MAP_FAILED)
			_exit(1);
		memset(p, 1, BYTES);
		if (write(pair[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	assert_int_equal(read(pair[0], &done, 1), 1);
	close(pair[0]);
	close(pair[1]);
	return pid;
}

static void children_count_too(void **state)
{
	struct usage before, with, after;
	struct err e = ERR_INIT;
	assert_int_equal(usage_read(getpid(), &before, &e), 0);
	assert_true(before.threads >= 1);
	assert_true(before.memory_bytes > 0);
	pid_t pid = fat_child();
	assert_int_equal(usage_read(getpid(), &with, &e), 0);
	assert_true(with.memory_bytes >= before.memory_bytes + BYTES - (4u << 20));
	assert_true(with.threads >= before.threads + 1); /* a sanitizer may have one of its own */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(usage_read(getpid(), &after, &e), 0);
	assert_true(after.memory_bytes < with.memory_bytes);
}

static void processor_time_grows(void **state)
{
	struct usage u;
	struct err e = ERR_INIT;
	do
		assert_int_equal(usage_read(getpid(), &u, &e), 0);
	while (u.cpu_user_ns + u.cpu_system_ns < 20000000);
}

static void who_is_gone_is_told(void **state)
{
	struct usage u;
	struct err e = ERR_INIT;
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	assert_int_equal(usage_read(pid, &u, &e), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(children_count_too),
		cmocka_unit_test(processor_time_grows),
		cmocka_unit_test(who_is_gone_is_told),
	};
	return RUN_TESTS();
}
