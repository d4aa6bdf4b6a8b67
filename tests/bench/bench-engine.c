/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times the engine beside crun, interleaved: bench-engine ROUNDS BUNDLE CGROUP2-MOUNT|none
 *
 *	run	a container of `true`, from nothing until it is deleted: the engine in its own
 *		process, as the agent has it; `crun run`
 *	exec	`true` in a running container
 *	spawn	the program alone, which is the floor of both
 *
 * Prints JSON, all samples in ms.
 */
#include "engine/engine.h"

#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define CRUN_ROOT "/run/bench-crun"

static double now_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void fail(const char *what, const char *why)
{
	(void)fprintf(stderr, "bench-engine: %s: %s\n", what, why);
	exit(1);
}

static void wait_for(const struct engine_process *p)
{
	siginfo_t info;
	if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED) < 0)
		fail("wait", strerror(errno));
	(void)close(p->pidfd);
}

struct bench {
	struct engine *engine;
	struct oci_spec *spec, *idle;
	char rootfs[PATH_MAX];
	const char *bundle, *manager;
	struct engine_container *running;
	struct engine_process init;
};

static const struct engine_stdio no_stdio = {.in = -1, .out = -1, .errout = -1};

static struct engine_container *begin(struct bench *b, const char *id, const struct oci_spec *spec,
				      struct engine_process *ret)
{
	struct engine_container *c = NULL;
	struct err e = ERR_INIT;
	int r = engine_create(b->engine, id, spec, b->rootfs, &no_stdio, &c, ret, &e);
	if (r == 0)
		r = engine_start(c, &e);
	if (r < 0)
		fail("container", err_text(&e, r));
	return c;
}

static void end(struct engine_container *c)
{
	struct err e = ERR_INIT;
	int r = engine_delete(c, &e);
	if (r < 0)
		fail("delete", err_text(&e, r));
}

static void run_ours(struct bench *b)
{
	struct engine_process p = ENGINE_PROCESS_INIT;
	struct engine_container *c = begin(b, "bench", b->spec, &p);
	wait_for(&p);
	end(c);
}

static void exec_ours(struct bench *b)
{
	struct engine_process p = ENGINE_PROCESS_INIT;
	struct err e = ERR_INIT;
	int r = engine_exec(b->running, &b->spec->process, &no_stdio, &p, &e);
	if (r < 0)
		fail("exec", err_text(&e, r));
	wait_for(&p);
}

static void spawn(char *const argv[])
{
	pid_t pid;
	int status = 0;
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) < 0 || status != 0)
		fail(argv[0], "failed");
}

static void crun(struct bench *b, const char *command, const char *id, const char *argument)
{
	char *argv[] = {"crun",
			"--root",
			CRUN_ROOT,
			"--cgroup-manager",
			(char *)b->manager,
			(char *)command,
			(char *)(strcmp(command, "exec") == 0 ? "--cwd" : "--bundle"),
			(char *)(strcmp(command, "exec") == 0 ? "/" : b->bundle),
			(char *)id,
			(char *)argument,
			NULL};
	spawn(argv);
}

static void run_crun(struct bench *b)
{
	crun(b, "run", "bench", NULL);
}

static void exec_crun(struct bench *b)
{
	crun(b, "exec", "bench-idle", "/bin/true");
}

static void spawn_alone(struct bench *b)
{
	(void)b;
	spawn((char *[]){"/bin/busybox", "true", NULL});
}

static const struct {
	const char *name;
	void (*run)(struct bench *b);
} measures[] = {
	{"spawn", spawn_alone}, {"run", run_ours},	  {"crun run", run_crun},
	{"exec", exec_ours},	{"crun exec", exec_crun},
};

static void load(struct bench *b, const char *cgroup_root)
{
	struct engine_options o = {.cgroup_root = cgroup_root};
	struct err e = ERR_INIT;
	char idle[PATH_MAX];
	(void)snprintf(idle, sizeof idle, "%s/idle", b->bundle);
	int r = engine_new(&o, &b->engine, &e);
	if (r == 0)
		r = oci_spec_load(b->bundle, &b->spec, &e);
	if (r == 0)
		r = oci_spec_load(idle, &b->idle, &e);
	if (r < 0)
		fail("prepare", err_text(&e, r));
	(void)snprintf(b->rootfs, sizeof b->rootfs, "%s/rootfs", b->bundle);
	b->running = begin(b, "bench-idle-ours", b->idle, &b->init);
	char *argv[] = {"crun",
			"--root",
			CRUN_ROOT,
			"--cgroup-manager",
			(char *)b->manager,
			"run",
			"--detach",
			"--bundle",
			idle,
			"bench-idle",
			NULL};
	spawn(argv);
}

static void unload(struct bench *b)
{
	struct err e = ERR_INIT;
	if (engine_kill_all(b->running, SIGKILL, &e) < 0)
		fail("kill", e.text);
	wait_for(&b->init);
	end(b->running);
	spawn((char *[]){"crun", "--root", CRUN_ROOT, "--cgroup-manager", (char *)b->manager,
			 "delete", "--force", "bench-idle", NULL});
	engine_free(b->engine);
	oci_spec_free(b->spec);
	oci_spec_free(b->idle);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		fail("usage", "bench-engine ROUNDS BUNDLE CGROUP2-MOUNT|none");
	bool cgroups = strcmp(argv[3], "none") != 0;
	struct bench b = {.bundle = argv[2],
			  .manager = cgroups ? "cgroupfs" : "disabled",
			  .init = ENGINE_PROCESS_INIT};
	load(&b, cgroups ? argv[3] : NULL);
	json_t *all = json_object();
	for (int i = -1; i < atoi(argv[1]); i++) /* the first round warms up */
		for (size_t k = 0; k < ARRAY_SIZE(measures); k++) {
			double begun = now_ms();
			measures[k].run(&b);
			double ms = now_ms() - begun;
			if (!json_object_get(all, measures[k].name))
				(void)json_object_set_new(all, measures[k].name, json_array());
			if (i >= 0)
				(void)json_array_append_new(json_object_get(all, measures[k].name),
							    json_real(ms));
		}
	unload(&b);
	(void)json_dumpf(all, stdout, JSON_REAL_PRECISION(6));
	(void)putchar('\n');
	json_decref(all);
	return 0;
}
