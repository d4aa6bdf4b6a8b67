/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of OCI runtimes over the engine, for tests and for comparing it with others:
 *
 *	oci-engine [--root DIR] [--cgroup-manager cgroupfs|none] COMMAND [option]... ID
 *[argument]...
 *
 * Its commands and options are those of runc and crun, as far as tests need them. It exits with the
 * container's status for `run` and `exec`, else with 0, 1, or 255 for an exec that could not begin.
 */
#include "protocol.h"

#include "base/fd.h"
#include "base/id.h"
#include "sys/scm.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define EXIT_REFUSED 1
#define EXIT_NO_EXEC 255

struct options {
	const char *root, *cgroup_manager;
	const char *bundle, *config, *pid_file, *console_socket, *process, *resources, *cwd, *user;
	bool all, force, detach, tty, no_new_privs, quiet;
	json_t *env;
	json_t *limits; /* of update */
	char **args;	/* after the options: the id first */
	int n_args;
};

static const char *id_of(const struct options *o)
{
	return o->args[0];
}

/* ---- the monitor */

static int container_dir(const struct options *o, const char *id, char ret[PATH_MAX], struct err *e)
{
	int r = id_check("container", id, e);
	if (r == 0)
		r = path_format(ret, PATH_MAX, "%s/%s", o->root, id);
	return r;
}

static int connect_to(const char *path, int type, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int r = path_format(a.sun_path, sizeof a.sun_path, "%s", path);
	if (r < 0)
		return err_errno(e, r, "socket %s", path);
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		return err_errno(e, -errno, "connect to %s", path);
	return TAKE_FD(fd);
}

static int connect_monitor(const struct options *o, const char *id, struct err *e)
{
	char path[PATH_MAX];
	int r = container_dir(o, id, path, e);
	if (r < 0)
		return r;
	size_t n = strlen(path);
	r = path_format(path + n, sizeof path - n, "/" SOCKET_NAME);
	int fd = r < 0 ? r : connect_to(path, SOCK_SEQPACKET, e);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return err_status(e, STATUS_NOT_FOUND, "container %s does not exist", id);
	return fd;
}

static int send_request(int conn, enum request_op op, int number, uint32_t flags, const char *text,
			bool stdio, struct err *e)
{
	static struct request q;
	static const int fds[] = {0, 1, 2};
	q.op = op;
	q.number = number;
	q.flags = flags;
	int r = path_format(q.text, sizeof q.text, "%s", text ? text : "");
	if (r == 0)
		r = scm_send(conn, &q, REQUEST_HEAD + strlen(q.text) + 1, fds,
			     stdio ? ARRAY_SIZE(fds) : 0);
	return r < 0 ? err_errno(e, r, "ask the monitor") : 0;
}

/* A refusal is the error. *@ret_pty may be NULL. */
static int receive(int conn, struct reply *ret, int *ret_pty, struct err *e)
{
	int fd = -EBADF;
	size_t n_fds = 1;
	ssize_t n = scm_recv(conn, ret, sizeof *ret, &fd, &n_fds, -1);
	if (n <= (ssize_t)REPLY_HEAD)
		return err_set(e, n < 0 ? (int)n : -EPIPE, "the container's monitor has ended");
	if (ret->r < 0)
		return err_set(e, ret->r, "%s", ret->text);
	if (n_fds && ret_pty)
		*ret_pty = fd;
	else if (n_fds)
		(void)close(fd);
	return 0;
}

/* A request with one answer. Returns it in a static buffer, or NULL. */
static const struct reply *ask(const struct options *o, const char *id, enum request_op op,
			       int number, uint32_t flags, const char *text, struct err *e)
{
	static struct reply reply;
	_cleanup_close_ int conn = connect_monitor(o, id, e);
	if (conn < 0 || send_request(conn, op, number, flags, text, false, e) < 0 ||
	    receive(conn, &reply, NULL, e) < 0)
		return NULL;
	return &reply;
}

static int simple(const struct options *o, enum request_op op, int number, uint32_t flags,
		  const char *text, struct err *e)
{
	const struct reply *reply = ask(o, id_of(o), op, number, flags, text, e);
	if (!reply)
		return -e->errnum;
	(void)fputs(reply->text, stdout);
	return 0;
}

/* ---- terminal and status */

static int copy_once(int from, int to)
{
	char b[4096];
	ssize_t n = read(from, b, sizeof b);
	return n > 0 && fd_write_all(to, b, (size_t)n) == 0 ? 0 : -1;
}

/* Until the monitor tells the end, and what was written before it is read. */
static void relay(int pty, int conn)
{
	struct pollfd p[3] = {{.fd = pty, .events = POLLIN},
			      {.fd = 0, .events = POLLIN},
			      {.fd = conn, .events = POLLIN}};
	while (poll(p, 3, -1) >= 0) {
		if (p[0].revents) {
			if (copy_once(pty, 1) < 0)
				return;
		} else if (p[2].revents) {
			return;
		}
		if (p[1].revents && copy_once(0, pty) < 0)
			p[1].fd = -1;
	}
}

/* To who asked for it with --console-socket, or nobody. */
static int hand_over_terminal(const struct options *o, int pty, struct err *e)
{
	static const char name[] = "/dev/ptmx";
	_cleanup_close_ int sock = connect_to(o->console_socket, SOCK_STREAM, e);
	if (sock < 0)
		return sock;
	int r = scm_send(sock, name, sizeof name, &pty, 1);
	return r < 0 ? err_errno(e, r, "send the terminal to %s", o->console_socket) : 0;
}

static int write_pid_file(const struct options *o, int pid, struct err *e)
{
	char text[16];
	if (!o->pid_file)
		return 0;
	(void)snprintf(text, sizeof text, "%d", pid);
	int r = file_replace(o->pid_file, text, strlen(text), 0644);
	return r < 0 ? err_errno(e, r, "write %s", o->pid_file) : 0;
}

/* The second answer: the status to exit with. */
static int await_status(int conn, int pty, struct err *e)
{
	static struct reply reply;
	if (pty >= 0)
		relay(pty, conn);
	int r = receive(conn, &reply, NULL, e);
	return r < 0 ? r : reply.status;
}

/* ---- commands */

static int start_monitor(const struct options *o, const char *dir, int *ret_conn, struct err *e)
{
	char bundle[PATH_MAX], config[PATH_MAX], absolute[PATH_MAX];
	int pair[2];
	if (!realpath(o->bundle, bundle))
		return err_errno(e, -errno, "bundle %s", o->bundle);
	if (!realpath(dir, absolute))
		return err_errno(e, -errno, "%s", dir);
	if (o->config && !realpath(o->config, config))
		return err_errno(e, -errno, "config %s", o->config);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, -errno, "make a socket pair");
	struct monitor_options m = {
		.id = id_of(o),
		.bundle = bundle,
		.config = o->config ? config : NULL,
		.dir = absolute,
		.cgroup_root = strcmp(o->cgroup_manager, "cgroupfs") == 0 ? "/sys/fs/cgroup" : NULL,
	};
	pid_t pid = fork();
	if (pid == 0)
		monitor_run(&m, pair[1]);
	(void)close(pair[1]);
	if (pid < 0) {
		(void)close(pair[0]);
		return err_errno(e, -errno, "fork");
	}
	*ret_conn = pair[0];
	return 0;
}

static int create(const struct options *o, int *ret_pty, struct err *e)
{
	static struct reply reply;
	char dir[PATH_MAX];
	int r = container_dir(o, id_of(o), dir, e);
	if (r < 0)
		return r;
	r = mkdir_parents(o->root, 0700);
	if (r < 0)
		return err_errno(e, r, "make %s", o->root);
	if (mkdir(dir, 0700) < 0)
		return errno == EEXIST ? err_status(e, STATUS_ALREADY_EXISTS, "container %s exists",
						    id_of(o))
				       : err_errno(e, -errno, "make %s", dir);
	_cleanup_close_ int conn = -EBADF;
	r = start_monitor(o, dir, &conn, e);
	if (r < 0) {
		(void)rmdir(dir);
		return r;
	}
	r = send_request(conn, OP_CREATE, 0, 0, NULL, true, e);
	if (r == 0)
		r = receive(conn, &reply, ret_pty, e);
	if (r == 0)
		r = write_pid_file(o, reply.pid, e);
	if (r == 0 && *ret_pty >= 0 && o->console_socket) {
		r = hand_over_terminal(o, *ret_pty, e);
		*ret_pty = close_fd(*ret_pty);
	}
	return r;
}

static int destroy(const struct options *o)
{
	struct err e = ERR_INIT;
	return ask(o, id_of(o), OP_DELETE, 0, REQUEST_FORCE, NULL, &e) ? 0 : -e.errnum;
}

static int command_create(const struct options *o, struct err *e)
{
	_cleanup_close_ int pty = -EBADF;
	int r = create(o, &pty, e);
	if (r == 0 && pty >= 0) {
		(void)destroy(o);
		return err_set(e, -EINVAL, "a terminal needs --console-socket");
	}
	return r;
}

static int command_run(const struct options *o, struct err *e)
{
	static struct reply reply;
	_cleanup_close_ int pty = -EBADF;
	int r = create(o, &pty, e);
	if (r < 0)
		return r;
	_cleanup_close_ int conn = connect_monitor(o, id_of(o), e);
	r = conn < 0
		    ? conn
		    : send_request(conn, OP_START, 0, o->detach ? 0 : REQUEST_WAIT, NULL, false, e);
	if (r == 0)
		r = receive(conn, &reply, NULL, e);
	if (r == 0 && o->detach)
		return 0;
	if (r == 0)
		r = await_status(conn, pty, e);
	(void)destroy(o);
	return r;
}

static int command_start(const struct options *o, struct err *e)
{
	return simple(o, OP_START, 0, 0, NULL, e);
}

static int command_state(const struct options *o, struct err *e)
{
	return simple(o, OP_STATE, 0, 0, NULL, e);
}

static int signal_number(const char *name)
{
	char *end;
	long n = strtol(name, &end, 10);
	if (*end == '\0' && n > 0 && n < NSIG)
		return (int)n;
	if (strncmp(name, "SIG", 3) == 0)
		name += 3;
	for (int i = 1; i < NSIG; i++) {
		const char *known = sigabbrev_np(i);
		if (known && strcasecmp(known, name) == 0)
			return i;
	}
	return -EINVAL;
}

static int command_kill(const struct options *o, struct err *e)
{
	int n = o->n_args > 1 ? signal_number(o->args[1]) : SIGTERM;
	if (n < 0)
		return err_set(e, -EINVAL, "signal %s is unknown", o->args[1]);
	return simple(o, OP_KILL, n, o->all ? REQUEST_ALL : 0, NULL, e);
}

static int command_delete(const struct options *o, struct err *e)
{
	int r = simple(o, OP_DELETE, 0, o->force ? REQUEST_FORCE : 0, NULL, e);
	return o->force && e->status == STATUS_NOT_FOUND ? 0 : r;
}

static int command_pause(const struct options *o, struct err *e)
{
	return simple(o, OP_PAUSE, 0, 0, NULL, e);
}

static int command_resume(const struct options *o, struct err *e)
{
	return simple(o, OP_RESUME, 0, 0, NULL, e);
}

static int command_ps(const struct options *o, struct err *e)
{
	return simple(o, OP_PS, 0, 0, NULL, e);
}

/* What the command line says of the process, for the monitor to complete. */
static json_t *process_changes(const struct options *o)
{
	json_t *args = json_array();
	for (int i = 1; i < o->n_args; i++)
		(void)json_array_append_new(args, json_string(o->args[i]));
	json_t *p = json_pack("{so}", "args", args);
	if (o->cwd)
		(void)json_object_set_new(p, "cwd", json_string(o->cwd));
	if (o->tty)
		(void)json_object_set_new(p, "terminal", json_true());
	if (o->no_new_privs)
		(void)json_object_set_new(p, "noNewPrivileges", json_true());
	if (o->env)
		(void)json_object_set(p, "env", o->env);
	if (o->user) {
		unsigned uid = 0, gid = 0;
		(void)sscanf(o->user, "%u:%u", &uid, &gid);
		(void)json_object_set_new(
			p, "user",
			json_pack("{sI,sI}", "uid", (json_int_t)uid, "gid", (json_int_t)gid));
	}
	return p;
}

static int process_text(const struct options *o, char **ret, struct err *e)
{
	if (!o->process) {
		json_t *p = process_changes(o);
		*ret = json_dumps(p, 0);
		json_decref(p);
		return *ret ? 0 : err_set(e, -EINVAL, "the arguments are not UTF-8");
	}
	struct buf b = BUF_INIT;
	int r = file_read(AT_FDCWD, o->process, REQUEST_TEXT_MAX, &b);
	if (r < 0) {
		buf_free(&b);
		return err_errno(e, r, "read %s", o->process);
	}
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

static int command_exec(const struct options *o, struct err *e)
{
	static struct reply reply;
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int pty = -EBADF;
	if (!o->process && o->n_args < 2)
		return err_set(e, -EINVAL, "exec: no command");
	int r = process_text(o, &text, e);
	if (r < 0)
		return r;
	uint32_t flags = (o->process ? 0 : REQUEST_MERGE) | (o->detach ? 0 : REQUEST_WAIT);
	_cleanup_close_ int conn = connect_monitor(o, id_of(o), e);
	r = conn < 0 ? conn : send_request(conn, OP_EXEC, 0, flags, text, true, e);
	if (r == 0)
		r = receive(conn, &reply, &pty, e);
	if (r == 0)
		r = write_pid_file(o, reply.pid, e);
	if (r == 0 && pty >= 0 && o->console_socket) {
		r = hand_over_terminal(o, pty, e);
		pty = close_fd(pty);
	}
	return r < 0 || o->detach ? r : await_status(conn, pty, e);
}

static int command_update(const struct options *o, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (!o->resources) {
		_cleanup_free_ char *text = json_dumps(o->limits, 0);
		return simple(o, OP_UPDATE, 0, 0, text ? text : "{}", e);
	}
	const char *path = strcmp(o->resources, "-") == 0 ? "/dev/stdin" : o->resources;
	int r = file_read(AT_FDCWD, path, REQUEST_TEXT_MAX, &b);
	return r < 0 ? err_errno(e, r, "read %s", path) : simple(o, OP_UPDATE, 0, 0, b.data, e);
}

static void list_one(const struct options *o, const char *id)
{
	struct err e = ERR_INIT;
	const struct reply *reply = ask(o, id, OP_STATE, 0, 0, NULL, &e);
	json_t *state = reply ? json_loads(reply->text, 0, NULL) : NULL;
	json_t *pid = json_object_get(state, "pid");
	if (o->quiet)
		(void)printf("%s\n", id);
	else if (state)
		(void)printf("%-24s %8lld %-8s %s\n", id, (long long)json_integer_value(pid),
			     json_string_value(json_object_get(state, "status")),
			     json_string_value(json_object_get(state, "bundle")));
	json_decref(state);
}

static int command_list(const struct options *o, struct err *e)
{
	DIR *d = opendir(o->root);
	if (!d)
		return errno == ENOENT ? 0 : err_errno(e, -errno, "list %s", o->root);
	if (!o->quiet)
		(void)printf("%-24s %8s %-8s %s\n", "ID", "PID", "STATUS", "BUNDLE");
	for (struct dirent *entry; (entry = readdir(d));)
		if (entry->d_name[0] != '.')
			list_one(o, entry->d_name);
	(void)closedir(d);
	return 0;
}

static const struct command {
	const char *name;
	int (*run)(const struct options *o, struct err *e);
	int args_min;
} commands[] = {
	{"create", command_create, 1}, {"start", command_start, 1},   {"state", command_state, 1},
	{"kill", command_kill, 1},     {"delete", command_delete, 1}, {"exec", command_exec, 1},
	{"run", command_run, 1},       {"list", command_list, 0},     {"pause", command_pause, 1},
	{"resume", command_resume, 1}, {"update", command_update, 1}, {"ps", command_ps, 1},
};

/* ---- the command line */

enum {
	OPTION_ROOT = 256,
	OPTION_CGROUP_MANAGER,
	OPTION_PID_FILE,
	OPTION_CONSOLE_SOCKET,
	OPTION_CWD,
	OPTION_NO_NEW_PRIVS,
	OPTION_MEMORY,
	OPTION_PIDS,
	OPTION_CPU_QUOTA,
	OPTION_CPU_PERIOD,
	OPTION_CPU_SHARE,
};

/* Their letters mean other things before and after the command, and none is needed before it. */
static const struct option global_options[] = {
	{"root", required_argument, NULL, OPTION_ROOT},
	{"cgroup-manager", required_argument, NULL, OPTION_CGROUP_MANAGER},
	{NULL, 0, NULL, 0},
};

static const struct option command_options[] = {
	{"all", no_argument, NULL, 'a'},
	{"bundle", required_argument, NULL, 'b'},
	{"config", required_argument, NULL, 'F'},
	{"console-socket", required_argument, NULL, OPTION_CONSOLE_SOCKET},
	{"cpu-period", required_argument, NULL, OPTION_CPU_PERIOD},
	{"cpu-quota", required_argument, NULL, OPTION_CPU_QUOTA},
	{"cpu-share", required_argument, NULL, OPTION_CPU_SHARE},
	{"cwd", required_argument, NULL, OPTION_CWD},
	{"detach", no_argument, NULL, 'd'},
	{"env", required_argument, NULL, 'e'},
	{"force", no_argument, NULL, 'f'},
	{"memory", required_argument, NULL, OPTION_MEMORY},
	{"no-new-privs", no_argument, NULL, OPTION_NO_NEW_PRIVS},
	{"pid-file", required_argument, NULL, OPTION_PID_FILE},
	{"pids-limit", required_argument, NULL, OPTION_PIDS},
	{"process", required_argument, NULL, 'p'},
	{"quiet", no_argument, NULL, 'q'},
	{"resources", required_argument, NULL, 'r'},
	{"tty", no_argument, NULL, 't'},
	{"user", required_argument, NULL, 'u'},
	{NULL, 0, NULL, 0},
};

/* {"memory": {"limit": N}} */
static void add_limit(struct options *o, const char *group, const char *key, const char *value)
{
	json_t *g = json_object_get(o->limits, group);
	if (!g) {
		g = json_object();
		(void)json_object_set_new(o->limits, group, g);
	}
	(void)json_object_set_new(g, key, json_integer(strtoll(value, NULL, 10)));
}

static int take_option(struct options *o, int c)
{
	switch (c) {
	case 'a':
		o->all = true;
		return 0;
	case 'b':
		o->bundle = optarg;
		return 0;
	case 'F':
		o->config = optarg;
		return 0;
	case 'd':
		o->detach = true;
		return 0;
	case 'e':
		(void)json_array_append_new(o->env, json_string(optarg));
		return 0;
	case 'f':
		o->force = true;
		return 0;
	case 'p':
		o->process = optarg;
		return 0;
	case 'q':
		o->quiet = true;
		return 0;
	case 'r':
		o->resources = optarg;
		return 0;
	case 't':
		o->tty = true;
		return 0;
	case 'u':
		o->user = optarg;
		return 0;
	case OPTION_ROOT:
		o->root = optarg;
		return 0;
	case OPTION_CGROUP_MANAGER:
		o->cgroup_manager = optarg;
		return 0;
	case OPTION_PID_FILE:
		o->pid_file = optarg;
		return 0;
	case OPTION_CONSOLE_SOCKET:
		o->console_socket = optarg;
		return 0;
	case OPTION_CWD:
		o->cwd = optarg;
		return 0;
	case OPTION_NO_NEW_PRIVS:
		o->no_new_privs = true;
		return 0;
	case OPTION_MEMORY:
		add_limit(o, "memory", "limit", optarg);
		return 0;
	case OPTION_PIDS:
		add_limit(o, "pids", "limit", optarg);
		return 0;
	case OPTION_CPU_QUOTA:
		add_limit(o, "cpu", "quota", optarg);
		return 0;
	case OPTION_CPU_PERIOD:
		add_limit(o, "cpu", "period", optarg);
		return 0;
	case OPTION_CPU_SHARE:
		add_limit(o, "cpu", "shares", optarg);
		return 0;
	default:
		return -EINVAL;
	}
}

/* Returns how many of @argv are options, or a negative errno. */
static int parse(struct options *o, int argc, char **argv, const char *letters,
		 const struct option *known)
{
	optind = 0; /* from the start again, also inside getopt */
	for (int c; (c = getopt_long(argc, argv, letters, known, NULL)) != -1;)
		if (take_option(o, c) < 0)
			return -EINVAL;
	return optind;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	struct options o = {.root = "/run/oci-engine",
			    .cgroup_manager = "none",
			    .bundle = ".",
			    .env = json_array(),
			    .limits = json_object()};
	struct err e = ERR_INIT;
	int used = parse(&o, argc, argv, "+", global_options);
	const struct command *command = used < 0 ? NULL : find_command(argv[used]);
	if (command) {
		argv += used;
		argc -= used;
		used = parse(&o, argc, argv, "+ab:dDe:fp:qr:tu:", command_options);
	}
	if (!command || used < 0 || argc - used < command->args_min) {
		(void)fprintf(stderr, "usage: oci-engine [--root DIR] [--cgroup-manager NAME] "
				      "COMMAND [option]... ID [argument]...\n");
		return EXIT_REFUSED;
	}
	o.args = argv + used;
	o.n_args = argc - used;
	int r = command->run(&o, &e);
	if (r < 0)
		(void)fprintf(stderr, "oci-engine: %s\n", err_text(&e, r));
	json_decref(o.env);
	json_decref(o.limits);
	/* Not to be taken for the process' own status. */
	return r >= 0 ? r : command->run == command_exec ? EXIT_NO_EXEC : EXIT_REFUSED;
}
