/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `start`: one daemon a pod. The socket is bound here, before the daemon runs, so that containerd
 * can connect the moment it has the address. This runs once for each container on a busy node:
 * it only looks at the annotations of config.json.
 *
 * A daemon that nobody knows of would stay for ever. So it waits for a byte in a pipe, which is
 * written when the answer is out: the end of the pipe without it ends the daemon too, however this
 * process came to its end. And the bundle is locked meanwhile, so that a `delete` that containerd
 * runs when it has been restarted in between sees either nothing or the whole.
 */
#include "base/fd.h"
#include "base/id.h"
#include "io/child.h"
#include "oci/annotations.h"
#include "persist/undo.h"
#include "shim/actions.h"
#include "shim/bootstrap.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define DAEMON_BIND_FD 3
#define DAEMON_READY_FD 4
#define DAEMON_OPTIONS_FD 5

extern char **environ;

/* The daemon's environment: ours, and the numbers of its descriptors. */
static char **daemon_env(bool has_options, struct err *e)
{
	static char bind_fd[32], ready_fd[32], options_fd[40];
	size_t n = 0;

	while (environ[n])
		n++;
	char **env = calloc(n + 4, sizeof *env);
	if (!env) {
		(void)err_set(e, -ENOMEM, "out of memory");
		return NULL;
	}
	memcpy(env, environ, n * sizeof *env);
	(void)snprintf(bind_fd, sizeof bind_fd, "%s=%d", BIND_FD_ENV, DAEMON_BIND_FD);
	(void)snprintf(ready_fd, sizeof ready_fd, "%s=%d", READY_FD_ENV, DAEMON_READY_FD);
	env[n] = bind_fd;
	env[n + 1] = ready_fd;
	if (has_options) {
		(void)snprintf(options_fd, sizeof options_fd, "%s=%d", OPTIONS_FD_ENV,
			       DAEMON_OPTIONS_FD);
		env[n + 2] = options_fd;
	}
	return env;
}

/* The options may hold a whole configuration: more than fits an environment or a pipe. */
static int options_file(const struct bootstrap *boot, struct err *e)
{
	_cleanup_close_ int fd = memfd_create("options", MFD_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "make a file for the runtime's options");
	int r = fd_write_all(fd, boot->options.data, boot->options.len);
	if (r < 0)
		return err_errno(e, r, "write the runtime's options");
	return lseek(fd, 0, SEEK_SET) < 0 ? err_errno(e, -errno, "rewind the runtime's options")
					  : TAKE_FD(fd);
}

/* Releases that pass parameters call the environment deprecated. */
static int export_parameters(const struct bootstrap *boot, struct err *e)
{
	if (boot->events[0] && setenv("TTRPC_ADDRESS", boot->events, 1) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

static int spawn_daemon(const struct cli *c, const struct bootstrap *boot, int listen_fd,
			int ready_fd, pid_t *ret_pid, struct err *e)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n < 0)
		return err_errno(e, -errno, "find this program's path");
	self[n] = '\0';
	const char *argv[] = {self,
			      "-namespace",
			      c->namespace,
			      "-address",
			      c->address,
			      "-publish-binary",
			      c->publish_binary,
			      "-id",
			      c->id,
			      boot->debug ? "-debug" : NULL,
			      NULL};
	bool has_options = boot->options.len > 0;
	int r = export_parameters(boot, e);
	if (r < 0)
		return r;
	_cleanup_free_ char **env = daemon_env(has_options, e);
	if (!env)
		return -ENOMEM;
	_cleanup_close_ int options_fd = has_options ? options_file(boot, e) : -EBADF;
	if (has_options && options_fd < 0)
		return options_fd;

	const struct child_fd fds[] = {{.fd = listen_fd, .as = DAEMON_BIND_FD},
				       {.fd = ready_fd, .as = DAEMON_READY_FD},
				       {.fd = options_fd, .as = DAEMON_OPTIONS_FD}};
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = argv;
	spec.envp = (const char *const *)env;
	spec.fds = fds;
	spec.n_fds = has_options ? 3 : 2;
	spec.outlive = true;
	spec.new_session = true;
	spec.ignore_sigterm = true; /* from its first moment: see main.c */

	struct child daemon = CHILD_INIT;
	r = child_spawn(&spec, &daemon, e);
	if (r < 0)
		return err_wrap(e, r, "start the pod's daemon");
	(void)close_fd(daemon.pidfd); /* it outlives us; nobody here waits for it */
	*ret_pid = daemon.pid;
	return 0;
}

static int write_text(const char *name, const char *text, struct err *e)
{
	int r = file_replace(name, text, strlen(text), 0600);
	return r < 0 ? err_errno(e, r, "write %s in the bundle", name) : 0;
}

/* @ret_ready: where the daemon waits for its byte, or untouched if there is a daemon already. */
static int start_daemon(const struct cli *c, const struct bootstrap *boot, const char *socket_path,
			int *ret_ready, struct err *e)
{
	_cleanup_close_ int listen_fd = -EBADF, ready_fd = -EBADF;
	int r = shim_socket_listen(socket_path, &listen_fd, e);
	if (r != 0)
		return r < 0 ? r : 0; /* positive: a live shim already serves this pod */

	pid_t pid = 0;
	char text[32];
	int ready[2];
	if (pipe2(ready, O_CLOEXEC) < 0) {
		r = err_errno(e, -errno, "make a pipe");
	} else {
		ready_fd = ready[0];
		*ret_ready = ready[1];
		r = spawn_daemon(c, boot, listen_fd, ready_fd, &pid, e);
	}
	if (r == 0) {
		(void)snprintf(text, sizeof text, "%d", (int)pid);
		r = write_text("shim.pid", text, e);
	}
	if (r < 0) {
		(void)unlink(socket_path);
		if (pid > 0)
			(void)kill(pid, SIGKILL);
	}
	return r;
}

/* The id of the sandbox that the container in the current directory joins; "" for none. */
static int sandbox_to_join(struct oci_pod_identity *pod, struct err *e)
{
	/* A config.json that cannot be read is Create's to report, where the text reaches the user
	 * whole; here it would only hide the shim. */
	*pod = (struct oci_pod_identity){.type = OCI_CONTAINER_SINGLE};
	(void)oci_pod_identity_load(".", pod);
	if (pod->type == OCI_CONTAINER_POD)
		return id_check("the sandbox id in config.json's annotations", pod->sandbox_id, e);
	pod->sandbox_id[0] = '\0';
	return 0;
}

/* Released with the end of this process. What cannot be locked is not ours to complain about. */
static void lock_bundle(void)
{
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)flock(fd, LOCK_EX);
}

static int start(const struct cli *c, const struct bootstrap *boot, struct err *e)
{
	_cleanup_close_ int ready = -EBADF;
	char socket_path[SHIM_SOCKET_PATH_MAX], address[SHIM_SOCKET_PATH_MAX + 8];
	struct oci_pod_identity pod;
	int r = sandbox_to_join(&pod, e);
	if (r < 0)
		return r;
	bool joins = pod.sandbox_id[0];
	lock_bundle();
	r = shim_socket_path(boot->socket_dir, c->address, c->namespace,
			     joins ? pod.sandbox_id : c->id, socket_path);
	if (r < 0)
		return err_set(e, r, "socket_dir \"%s\" is too long for a socket's path",
			       boot->socket_dir);

	if (!joins) {
		r = start_daemon(c, boot, socket_path, &ready, e);
		if (r < 0)
			return r;
	}
	(void)snprintf(address, sizeof address, "unix://%s", socket_path);
	r = write_text("address", address, e);
	if (r == 0)
		r = bootstrap_reply(boot, address, e);
	if (r == 0 && ready >= 0)
		r = fd_write_all(ready, "1", 1);
	return r;
}

int shim_start(const struct cli *c, struct err *e)
{
	struct bootstrap boot = BOOTSTRAP_INIT;
	int r = bootstrap_read(c, &boot, e);
	if (r == 0)
		r = start(c, &boot, e);
	bootstrap_deinit(&boot);
	return r;
}
