/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the component tests: an agent as an ordinary process, in a mount namespace of its own, with a
 * busybox root file system for its containers, and a client that speaks to it as the shim does.
 * Needs root. A failure of the fixture itself fails the test that uses it.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "proto/agent.pb-c.h"
#include "proto/health.pb-c.h"
#include "rpc/rpc.h"

struct fixture {
	char dir[64];
	char rootfs[96]; /* as the agent sees it */
	char socket[96];
	pid_t agent;
	struct loop *loop;
	pthread_t loop_thread;
	struct rpc_client *client;
	uint32_t ports[3]; /* of the streams for stdio that create() and exec() name */
};

/** Makes a directory with a busybox root file system: <dir>/rootfs. */
void fixture_files(struct fixture *f);
/** Speaks over a connected socket, which is consumed. */
void fixture_connect(struct fixture *f, int fd);
/** Ends the connection. */
void fixture_disconnect(struct fixture *f);
/** Starts @program. For a whole group: cmocka's setup and teardown. */
void fixture_start(struct fixture *f, const char *program);
/** Ends the agent by SIGTERM and returns its wait status. Removes the files. */
int fixture_stop(struct fixture *f);

/**
 * Calls a method of grpc.AgentService and returns the status code; the response, if wanted, is the
 * caller's. @e (may be NULL) gets the sentence.
 */
int call(struct fixture *f, const char *method, const ProtobufCMessage *m, void *ret_response,
	 struct err *e);
int call_health(struct fixture *f, const char *method, void *ret_response);

/** A call that is answered later. */
struct async {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
	int status;
	ProtobufCMessage *response;
};
void call_async(struct fixture *f, const char *method, const ProtobufCMessage *m, struct async *a);
/** Waits at most @timeout_ms; false if there is no answer yet. */
bool async_wait(struct async *a, uint64_t timeout_ms);
/** Frees the response. The answer must have come. */
void async_end(struct async *a);

/** A container of `sh -c SCRIPT`, with /proc; returns the status. */
struct container_options {
	const char *script;
	bool terminal, sandbox_pidns;
	Grpc__Storage **storages;
	size_t n_storages;
	char **args; /* instead of the script */
	Grpc__LinuxResources *resources;
	const char *const *binds; /* up to four: source, destination, source, ...; NULL */
	const char *const *env;	  /* up to six, instead of the usual ones; NULL */
	const char *annotation[2];
	Grpc__LinuxDevice *device;
	Grpc__LinuxCapabilities *capabilities;
	Grpc__LinuxIDMapping **mappings; /* of users and groups, in a user namespace; or NULL */
	size_t n_mappings;
	/* changes the request before it is sent, or NULL */
	void (*edit)(Grpc__CreateContainerRequest *q, void *arg);
	void *edit_arg;
};
int create(struct fixture *f, const char *id, const struct container_options *o, struct err *e);
int start(struct fixture *f, const char *id);
int exec(struct fixture *f, const char *id, const char *exec_id, bool terminal,
	 const char *const *argv, struct err *e);
int exec_sh(struct fixture *f, const char *id, const char *exec_id, const char *script);
int kill_process(struct fixture *f, const char *id, const char *exec_id, unsigned signum);
/** Waits for the end and returns the exit code, or -status. */
int wait_process(struct fixture *f, const char *id, const char *exec_id);
int remove_container(struct fixture *f, const char *id, unsigned timeout);
/** One read: *@len bytes (0: the end) appended to @text (a struct buf), or a status. */
int read_some(struct fixture *f, const char *id, const char *exec_id, bool errout, uint32_t max,
	      struct buf *text, size_t *len);
/** Reads to the end. */
int read_all(struct fixture *f, const char *id, const char *exec_id, bool errout, struct buf *text);
int write_stdin(struct fixture *f, const char *id, const char *exec_id, const void *data,
		size_t len);

/** create + start */
void run(struct fixture *f, const char *id, const char *script);

/**
 * Opens a stream for stdio at the agent's socket for them (KATA_AGENT_PASSFD_ADDR), from a "port":
 * the number that a request names it by.
 */
int stream_open(const char *path, uint32_t port);
