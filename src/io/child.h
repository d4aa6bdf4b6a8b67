/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children: started with exactly the descriptors that they are given, killed when the thread that
 * started them ends (so: start them from the main thread or a pool worker), and supervised by
 * pidfd, so that no pid is ever mistaken for another.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#include <stdbool.h>
#include <sys/types.h>

/** The child's descriptor number @as becomes a copy of @fd. */
struct child_fd {
	int fd;
	int as; /* 3 and up */
};

struct child_spec {
	const char *const *argv; /* NULL-terminated; argv[0] is the path, or a name for PATH */
	const char *path;	 /* the program, where argv[0] is another name; NULL: argv[0] */
	const char *const *envp; /* NULL: the caller's */
	int in, out, errout;	 /* -1: /dev/null */
	const struct child_fd *fds;
	size_t n_fds;
	const char *cwd; /* NULL: the caller's */
	int netns_fd;	 /* -1: the caller's; else the network namespace to enter first */
	bool outlive;	 /* do not die with the parent */
	bool new_session;
	bool terminal;	     /* of the new session: @in becomes its controlling terminal */
	bool ignore_sigterm; /* other signals are at their defaults */
};

#define CHILD_SPEC_INIT ((struct child_spec){.in = -1, .out = -1, .errout = -1, .netns_fd = -1})

struct child {
	pid_t pid; /* 0: none */
	int pidfd; /* owned; -EBADF: none */
};

#define CHILD_INIT ((struct child){.pid = 0, .pidfd = -EBADF})

/**
 * Starts a program. A failure up to and including exec is this function's failure, with a
 * sentence; nothing is left behind then. Blocks until the exec has happened.
 */
int child_spawn(const struct child_spec *spec, struct child *ret, struct err *e);

/** Sends a signal by pidfd. -ESRCH once the child has been reaped. */
int child_kill(const struct child *c, int signum);

/**
 * Waits for the end and reaps. Returns 0 and in @ret_status the exit code, or 128 + signal;
 * -ETIMEDOUT when @deadline_ms (base/clock.h) passes first.
 */
int child_wait(struct child *c, uint64_t deadline_ms, int *ret_status);

/** Kills it if it lives, reaps it, closes the pidfd. For error paths; harmless when empty. */
void child_destroy(struct child *c);

/** Runs a program to its end and returns its exit code (>= 0), or a negative errno. */
int child_run(const struct child_spec *spec, uint64_t timeout_ms, struct err *e);
