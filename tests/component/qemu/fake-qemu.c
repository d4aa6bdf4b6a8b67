/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for QEMU in tests of the driver: finds its inherited descriptors on the command line as
 * QEMU does, speaks QMP, and does what "fake=<mode>" at the end of the kernel command line says.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

static int qmp = -1, console = -1;
static const char *mode = "";

/* "socket,id=<id>,fd=N" */
static int chardev_fd(const char *arg, const char *id)
{
	char prefix[64];
	(void)snprintf(prefix, sizeof prefix, "socket,id=%s,fd=", id);
	size_t n = strlen(prefix);
	return strncmp(arg, prefix, n) == 0 ? atoi(arg + n) : -1;
}

static void read_arguments(char **argv)
{
	for (; *argv; argv++) {
		if (chardev_fd(*argv, "qmp") >= 0)
			qmp = chardev_fd(*argv, "qmp");
		if (chardev_fd(*argv, "console") >= 0)
			console = chardev_fd(*argv, "console");
		char *m = strstr(*argv, "fake=");
		if (m)
			mode = m + 5;
	}
}

static int is(const char *name)
{
	return strcmp(mode, name) == 0;
}

static void say(int fd, const char *text)
{
	size_t n = strlen(text);
	for (ssize_t w; n && (w = write(fd, text, n)) > 0; n -= (size_t)w)
		text += w;
}

static _Noreturn void hang(void)
{
	for (;;)
		pause();
}

static _Noreturn void end_with_peer(void)
{
	if (is("garbage-later")) /* as QEMU does: it does not need QMP to run */
		hang();
	exit(0);
}

/* Reads one line; ends when the peer does. */
static void hear(char *line, size_t size)
{
	for (size_t n = 0; n < size - 1; n++) {
		ssize_t got;
		do
			got = read(qmp, &line[n], 1);
		while (got < 0 && errno == EINTR);
		if (got != 1)
			end_with_peer();
		if (line[n] == '\n') {
			line[n] = '\0';
			return;
		}
	}
	exit(3);
}

static void shut_down(const char *reason)
{
	char text[128];
	(void)snprintf(
		text, sizeof text,
		"{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"%s\"}}\r\n",
		reason);
	say(qmp, text);
	exit(0);
}

/* What was inherited, for the test to see. */
static void report_inheritance(void)
{
	char text[512] = "fds:";
	DIR *d = opendir("/proc/self/fd");
	int seen[64] = {0};
	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' && atoi(e->d_name) < 64 && atoi(e->d_name) != dirfd(d))
			seen[atoi(e->d_name)] = 1;
	for (int i = 0; i < 64; i++)
		if (seen[i])
			(void)snprintf(text + strlen(text), sizeof text - strlen(text), " %d", i);
	int n = 0;
	while (environ[n])
		n++;
	char cwd[64] = "";
	(void)snprintf(text + strlen(text), sizeof text - strlen(text),
		       " env: %d cwd: %s leader: %d\n", n, getcwd(cwd, sizeof cwd) ? cwd : "?",
		       getsid(0) == getpid());
	if (d)
		closedir(d);
	say(console, text);
}

/* Before the greeting. */
static void misbehave_early(void)
{
	if (is("no-memory")) {
		say(2, "qemu: cannot set up guest memory 'mem': Cannot allocate memory\n");
		exit(1);
	}
	if (is("bad-kernel")) {
		say(2, "qemu: first\nqemu: could not load kernel\n");
		exit(1);
	}
	if (is("abort-early"))
		abort();
	if (is("hang"))
		hang();
	if (is("garbage")) {
		say(qmp, "boom\r\n");
		hang();
	}
	if (is("long-line")) {
		static char x[4096];
		memset(x, ' ', sizeof x - 1);
		for (int i = 0; i < 300; i++)
			say(qmp, x);
		hang();
	}
	if (is("close-qmp")) {
		close(qmp);
		hang();
	}
}

static void late(int sig)
{
	if (is("abort-later"))
		abort();
	if (is("power-off"))
		shut_down("guest-shutdown");
	if (is("reset"))
		shut_down("guest-reset");
	if (is("panic")) {
		say(console, "[    0.5] Kernel panic - not syncing: No working init found.\r\n"
			     "[    0.5] CPU: 0 PID: 1\r\n");
		shut_down("guest-reset");
	}
	if (is("garbage-later"))
		say(qmp, "boom\r\n");
}

static void answer(const char *line)
{
	const char *id = strstr(line, "\"id\":");
	char text[128];
	const char *result = "{}";

	if (strstr(line, "query-status"))
		result = is("prelaunch") ? "{\"status\": \"prelaunch\"}"
					 : "{\"status\": \"running\"}";
	if (is("refuse"))
		(void)snprintf(text, sizeof text,
			       "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, "
			       "\"id\": %d}\r\n",
			       id ? atoi(id + 5) : 0);
	else
		(void)snprintf(text, sizeof text, "{\"return\": %s, \"id\": %d}\r\n", result,
			       id ? atoi(id + 5) : 0);
	if (strstr(line, "\"quit\"")) {
		if (is("ignore-quit"))
			return;
		say(qmp, text);
		shut_down("host-qmp-quit");
	}
	say(qmp, text);
}

static void flood(void)
{
	char line[64];
	for (int i = 0; i < 20000; i++) {
		(void)snprintf(line, sizeof line, "\x1b[31mline %d of the flood\x1b[0m\r\n", i);
		say(console, line);
	}
}

int main(int argc, char **argv)
{
	char line[4096];

	read_arguments(argv);
	misbehave_early();
	report_inheritance();
	if (is("flood"))
		flood();
	(void)signal(SIGALRM, late);
	say(qmp, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
	for (;;) {
		hear(line, sizeof line);
		answer(line);
		if (strstr(line, "query-status"))
			ualarm(30000, 0);
	}
}
