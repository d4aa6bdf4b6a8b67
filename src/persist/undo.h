/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was done to the host, so that it can be undone: in one way, whether a step fails, a
 * container is deleted, or the shim was killed.
 *
 * A journal is one append-only text file per sandbox. Each effect (a directory, a mount, a process,
 * a file) is pushed on the undo stack of its owner (the sandbox, or one container), which writes
 * its record *before* the effect happens: "+<n> <kind> <argument>". Undoing it appends "-<n>". A
 * crash leaves the records without a "-"; undo_replay() undoes those, latest first. Undoing
 * something that never happened, or has vanished, succeeds. A last line without its newline was
 * never acted on and is ignored. The first line, "journal 1", names the format; older journals lack
 * it, and lines that nobody understands are skipped in all of them.
 *
 * Who has a journal open holds a lock on the file, which ends with the process however it ends: so
 * nobody undoes under a living shim, and two pods of one name cannot share a directory.
 *
 * A journal lies in memory (/run) and is rewritten when most of it is undone.
 *
 * The journal may be shared by stacks on several threads; one stack belongs to one thread at a
 * time.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct journal;
struct undo;

enum undo_kind {
	UNDO_TREE,    /* argument: a directory, removed with what is in it (never across mounts) */
	UNDO_MOUNT,   /* argument: a mount point, detached */
	UNDO_FILE,    /* argument: a file or socket, unlinked */
	UNDO_PROCESS, /* argument: "<pid> <start time>", killed and awaited */
};

/**
 * Opens or makes the journal, and locks it until journal_close(); its directory must exist. One
 * that is locked is waited for a moment (a `delete` of an earlier shim may be at work), then it is
 * ALREADY_EXISTS. Blocks: for a worker.
 */
int journal_open(const char *path, struct journal **ret, struct err *e);
/** Closes it; the file stays. NULL is fine. */
void journal_close(struct journal *j);

int undo_new(struct journal *j, struct undo **ret);
/** Forgets the stack without undoing anything. NULL is fine. */
void undo_free(struct undo *u);

/** Records an effect that is about to happen. On failure the effect must not be made. */
int undo_push(struct undo *u, enum undo_kind kind, const char *argument, struct err *e);
/** Records a child that was just started (its parent-death signal covers the moment before). */
int undo_push_process(struct undo *u, pid_t pid, struct err *e);

/** How many effects stand: a mark for undo_to(). */
size_t undo_depth(const struct undo *u);
/**
 * Undoes all effects above a mark, latest first. What cannot be undone is logged and passed over,
 * so that the rest still is; the first error is returned, and its record stays for a later replay.
 */
int undo_to(struct undo *u, size_t mark);

/**
 * Locks a journal that a dead process left. Returns 0 and a descriptor that holds the lock;
 * -ENOENT: there is none; -EBUSY: its owner lives.
 */
int journal_lock(const char *path, int *ret_fd);
/**
 * Undoes everything that a locked journal still holds, within about two seconds: containerd's
 * `delete` has five. Logs as undo_to().
 */
int journal_replay(int fd);
/** Both; a missing file is fine. */
int undo_replay(const char *path);

/**
 * Reads a journal's text and calls @fn for each effect that stands, latest first. Unreadable lines
 * are skipped. For undo_replay() and the fuzzer.
 */
int journal_parse(const char *text, size_t len,
		  int (*fn)(void *arg, enum undo_kind kind, const char *argument), void *arg);

/** Kills a process if it is the one that started then, and waits for its end. Gone: fine. */
int process_end(pid_t pid, uint64_t start_time, uint64_t deadline_ms);

/** Start time of a process in clock ticks since boot (/proc/<pid>/stat field 22), or 0. */
uint64_t process_start_time(pid_t pid);
