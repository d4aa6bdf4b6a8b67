/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/testbed.h"

#include "base/clock.h"
#include "base/fd.h"
#include "oci/arena.h"
#include "sys/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CGROUP_ROOT "/sys/fs/cgroup/unified"
#define CGROUP_ROOT_ONLY "/sys/fs/cgroup"

static const char base_spec[] =
	"{'ociVersion':'1.0.2','hostname':'ct','root':{'path':'rootfs'},"
	"'process':{'user':{'uid':0,'gid':0},'args':['true'],'env':['PATH=/bin:/sbin'],'cwd':'/',"
	"'capabilities':{'bounding':['CAP_KILL','CAP_CHOWN','CAP_MKNOD','CAP_SETUID'],"
	"'effective':['CAP_KILL','CAP_CHOWN','CAP_MKNOD'],'permitted':['CAP_KILL','CAP_CHOWN','CAP_"
	"MKNOD']}},"
	"'mounts':[{'destination':'/proc','type':'proc','source':'proc'},"
	"{'destination':'/"
	"dev','type':'tmpfs','source':'tmpfs','options':['nosuid','mode=755','size=64k']},"
	"{'destination':'/dev/pts','type':'devpts','source':'devpts','options':['nosuid','noexec',"
	"'newinstance','ptmxmode=0666','mode=0620','gid=5']}],"
	"'linux':{'namespaces':[{'type':'pid'},{'type':'ipc'},{'type':'uts'},{'type':'mount'}]}}";

static int count(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;
	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static int count_mounts(void)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &b), 0);
	int n = 0;
	for (const char *p = b.data; (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

void testbed_file(struct testbed *t, const char *path, const char *text, unsigned mode)
{
	char full[PATH_MAX];
	assert_int_equal(path_format(full, sizeof full, "%s/%s", t->dir, path), 0);
	assert_int_equal(file_replace(full, text, strlen(text), mode), 0);
}

void testbed_link(struct testbed *t, const char *path, const char *target)
{
	char full[PATH_MAX];
	assert_int_equal(path_format(full, sizeof full, "%s/%s", t->dir, path), 0);
	assert_int_equal(symlink(target, full), 0);
}

bool testbed_exists(struct testbed *t, const char *path)
{
	char full[PATH_MAX];
	struct stat st;
	assert_int_equal(path_format(full, sizeof full, "%s/%s", t->dir, path), 0);
	return lstat(full, &st) == 0;
}

static void make_root(struct testbed *t)
{
	static const char *const dirs[] = {"rootfs",	  "rootfs/bin", "rootfs/etc",
					   "rootfs/proc", "rootfs/dev", "rootfs/sys",
					   "rootfs/tmp",  "outside",	"outside/sub"};
	static const char *const tools[] = {
		"sh",	    "true",  "ls",    "cat",  "id",    "env",	"sleep", "grep",
		"tty",	    "stat",  "echo",  "stty", "mount", "ps",	"pwd",	 "uname",
		"hostname", "mknod", "touch", "sed",  "kill",  "umask", "chmod", "readlink",
		"wc",	    "head",  "dd",    "sort", "mkdir", "cut"};
	_cleanup_buf_ struct buf busybox = BUF_INIT;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		char path[PATH_MAX];
		(void)snprintf(path, sizeof path, "%s/%s", t->dir, dirs[i]);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	assert_int_equal(file_read(AT_FDCWD, "/bin/busybox", 16 << 20, &busybox), 0);
	char path[PATH_MAX];
	(void)snprintf(path, sizeof path, "%s/bin/busybox", t->rootfs);
	assert_int_equal(file_replace(path, busybox.data, busybox.len, 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		(void)snprintf(path, sizeof path, "rootfs/bin/%s", tools[i]);
		testbed_link(t, path, "busybox");
	}
	testbed_file(t, "rootfs/etc/passwd",
		     "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n", 0644);
}

static int setup(void **state, const char *cgroup_root)
{
	assert_int_equal(geteuid(), 0); /* these tests need root */
	struct testbed *t = calloc(1, sizeof *t);
	assert_non_null(t);
	strcpy(t->dir, "/tmp/engine-test.XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	assert_int_equal(chmod(t->dir, 0755), 0);
	(void)snprintf(t->rootfs, sizeof t->rootfs, "%s/rootfs", t->dir);
	make_root(t);

	char state_dir[96];
	(void)snprintf(state_dir, sizeof state_dir, "%s/state", t->dir);
	/* What others mount meanwhile is not to be counted. */
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL), 0);
	struct engine_options o = {.state_dir = state_dir, .cgroup_root = cgroup_root};
	/* What a container leaves behind becomes our child, and is seen. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_int_equal(engine_new(&o, &t->engine, NULL), 0);
	t->fds = count("/proc/self/fd");
	t->mounts = count_mounts();
	*state = t;
	return 0;
}

int testbed_setup(void **state)
{
	return setup(state, NULL);
}

int testbed_setup_cgroup(void **state)
{
	return setup(state, access(CGROUP_ROOT "/cgroup.procs", F_OK) == 0 ? CGROUP_ROOT
									   : CGROUP_ROOT_ONLY);
}

int testbed_setup_controllers(void **state)
{
	return setup(state, CGROUP_ROOT_ONLY);
}

/* The parents that containers' cgroups were given stay; here they are ours. */
static void remove_parents(void)
{
	static const char *const roots[] = {CGROUP_ROOT, CGROUP_ROOT_ONLY};
	static const char *const parents[] = {"/engine-test/a", "/engine-test"};
	for (size_t i = 0; i < ARRAY_SIZE(parents); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(roots); k++) {
			const struct cgroup g = {.version = 2,
						 .root = (char *)roots[k],
						 .relative = (char *)parents[i]};
			if (cgroup_version(roots[k]) == 2 && cgroup_exists(&g) == 0)
				(void)cgroup_remove(&g, NULL);
		}
		const struct cgroup g = {.version = 1,
					 .root = (char *)CGROUP_ROOT_ONLY,
					 .relative = (char *)parents[i]};
		if (cgroup_version(CGROUP_ROOT_ONLY) == 1)
			(void)cgroup_remove(&g, NULL);
	}
}

int testbed_teardown(void **state)
{
	struct testbed *t = *state;
	assert_int_equal(count("/proc/self/fd"), t->fds);
	assert_int_equal(count_mounts(), t->mounts);
	char state_dir[96];
	(void)snprintf(state_dir, sizeof state_dir, "%s/state", t->dir);
	assert_int_equal(count(state_dir), 2); /* . and .. */
	engine_free(t->engine);
	/* Orphans of a container may take a moment to come here. */
	int left = waitpid(-1, NULL, WNOHANG);
	for (int i = 0; i < 100 && left >= 0; i++) {
		assert_int_equal(usleep(10000), 0);
		left = waitpid(-1, NULL, WNOHANG);
	}
	assert_int_equal(left, -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(remove_tree(t->dir), 0);
	remove_parents();
	free(t);
	return 0;
}

static json_t *parse(const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	assert_non_null(copy);
	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	json_error_t error;
	json_t *j = json_loads(copy, JSON_REJECT_DUPLICATES, &error);
	if (!j)
		print_error("%s: %s\n", copy, error.text);
	assert_non_null(j);
	return j;
}

/* Objects are merged; "mounts+" is added to the mounts. */
static void apply(json_t *spec, const char *patch)
{
	if (!patch)
		return;
	json_t *p = parse(patch);
	json_t *more = json_object_get(p, "mounts+");
	if (more)
		assert_int_equal(json_array_extend(json_object_get(spec, "mounts"), more), 0);
	(void)json_object_del(p, "mounts+");
	assert_int_equal(json_object_update_recursive(spec, p), 0);
	json_decref(p);
}

struct oci_spec *testbed_spec(const char *script, const char *patch)
{
	json_t *j = parse(base_spec);
	if (script)
		(void)json_object_set_new(json_object_get(j, "process"), "args",
					  json_pack("[s,s,s]", "sh", "-c", script));
	apply(j, patch);
	char *text = json_dumps(j, 0);
	struct oci_spec *spec = NULL;
	struct err e = ERR_INIT;
	if (oci_spec_parse(text, strlen(text), &spec, &e) < 0)
		print_error("%s\n", e.text);
	assert_non_null(spec);
	free(text);
	json_decref(j);
	return spec;
}

struct oci_process *testbed_process(const char *script, const char *patch,
				    struct oci_arena **ret_arena)
{
	json_t *j =
		json_pack("{s:{s:i,s:i}, s:[s,s,s], s:[s], s:s}", "user", "uid", 0, "gid", 0,
			  "args", "sh", "-c", script ? script : "", "env", "PATH=/bin", "cwd", "/");
	apply(j, patch);
	char *text = json_dumps(j, 0);
	struct oci_process *p = NULL;
	struct err e = ERR_INIT;
	if (oci_process_parse(text, strlen(text), &p, ret_arena, &e) < 0)
		print_error("%s\n", e.text);
	assert_non_null(p);
	free(text);
	json_decref(j);
	return p;
}

int testbed_wait(int pidfd)
{
	siginfo_t info = {.si_pid = 0};
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 20000), 1); /* it hangs */
	assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

/* Until the other side closes; a terminal says so with EIO. */
static void read_output(int fd, struct result *ret)
{
	size_t n = 0;
	for (ssize_t got; n < sizeof ret->out - 1; n += (size_t)got) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		assert_int_equal(poll(&p, 1, 20000), 1);
		got = read(fd, ret->out + n, sizeof ret->out - 1 - n);
		if (got <= 0)
			break;
	}
	ret->out[n] = '\0';
}

struct pipes {
	int out[2];
	struct engine_stdio io;
};

static struct pipes open_pipes(bool terminal)
{
	struct pipes p;
	assert_int_equal(pipe2(p.out, O_CLOEXEC), 0);
	p.io = (struct engine_stdio){
		.in = -1, .out = p.out[1], .errout = p.out[1], .terminal = terminal};
	return p;
}

/* Reads all, reaps. */
static void collect(struct pipes *pipes, struct engine_process *p, struct result *ret)
{
	(void)close(pipes->out[1]);
	if (ret->r == 0) {
		read_output(p->pty >= 0 ? p->pty : pipes->out[0], ret);
		ret->status = testbed_wait(p->pidfd);
	} else if (p->pidfd >= 0) {
		ret->status = testbed_wait(p->pidfd);
	}
	(void)close(pipes->out[0]);
	(void)close_fd(p->pidfd);
	(void)close_fd(p->pty);
}

const struct result *testbed_run(struct testbed *t, const char *script, const char *patch)
{
	static struct result res;
	memset(&res, 0, sizeof res);
	struct oci_spec *spec = testbed_spec(script, patch);
	struct pipes pipes = open_pipes(spec->process.terminal);
	struct engine_process p = ENGINE_PROCESS_INIT;
	struct engine_container *c = NULL;
	res.r = engine_create(t->engine, "c", spec, t->rootfs, &pipes.io, &c, &p, &res.e);
	if (res.r == 0)
		res.r = engine_start(c, &res.e);
	if (res.r == ENGINE_E_HOOK) /* it runs; the sentence stays */
		res.r = 0;
	collect(&pipes, &p, &res);
	if (c)
		assert_int_equal(engine_delete(c, NULL), 0);
	oci_spec_free(spec);
	return &res;
}

void testbed_expect(struct testbed *t, const char *script, const char *patch, int status,
		    const char *out)
{
	const struct result *res = testbed_run(t, script, patch);
	if (res->r < 0)
		print_error("%s: %s\n", script, res->e.text);
	assert_int_equal(res->r, 0);
	assert_string_equal(res->out, out);
	assert_int_equal(res->status, status);
}

void testbed_refuses(struct testbed *t, const char *script, const char *patch, int r,
		     const char *text)
{
	const struct result *res = testbed_run(t, script, patch);
	if (!strstr(res->e.text, text) || res->r != r)
		print_error("got %d \"%s\", wanted %d \"%s\"; output: %s\n", res->r, res->e.text, r,
			    text, res->out);
	assert_int_equal(res->r, r);
	assert_non_null(strstr(res->e.text, text));
	assert_int_equal(res->e.errnum, -r);
}

void testbed_start(struct testbed *t, const char *id, const char *script, const char *patch,
		   struct running *ret)
{
	*ret = (struct running){.init = ENGINE_PROCESS_INIT};
	ret->spec = testbed_spec(script, patch);
	struct pipes pipes = open_pipes(false);
	struct err e = ERR_INIT;
	int r = engine_create(t->engine, id, ret->spec, t->rootfs, &pipes.io, &ret->c, &ret->init,
			      &e);
	if (r == 0)
		r = engine_start(ret->c, &e);
	if (r < 0)
		print_error("%s\n", e.text);
	assert_int_equal(r, 0);
	char line[64];
	struct pollfd p = {.fd = pipes.out[0], .events = POLLIN};
	assert_int_equal(poll(&p, 1, 20000), 1);
	assert_true(read(pipes.out[0], line, sizeof line) > 0);
	(void)close(pipes.out[0]);
	(void)close(pipes.out[1]);
}

void testbed_stop(struct running *c)
{
	struct err e = ERR_INIT;
	(void)syscall(SYS_pidfd_send_signal, c->init.pidfd, SIGKILL, NULL, 0);
	(void)testbed_wait(c->init.pidfd);
	(void)close(c->init.pidfd);
	int r = engine_delete(c->c, &e);
	if (r < 0)
		print_error("%s\n", e.text);
	assert_int_equal(r, 0);
	oci_spec_free(c->spec);
}

const struct result *testbed_exec(struct running *c, const char *script, const char *patch)
{
	static struct result res;
	memset(&res, 0, sizeof res);
	struct oci_arena *arena;
	struct oci_process *proc = testbed_process(script, patch, &arena);
	struct pipes pipes = open_pipes(proc->terminal);
	struct engine_process p = ENGINE_PROCESS_INIT;
	res.r = engine_exec(c->c, proc, &pipes.io, &p, &res.e);
	collect(&pipes, &p, &res);
	oci_arena_free(arena);
	return &res;
}
