/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells what a process in a container sees: one fact a line, for tests/engine to compare. It is
 * static, and needs nothing but a /proc to tell more. What else to look at is read from /etc/probe:
 *
 *	read PATH	the file's beginning, or why not
 *	list PATH	a tree
 *	open PATH	whether it can be opened for reading
 *	write PATH	whether a file can be made or changed there
 *	call NAME	what a system call answers (see calls[])
 *	exit N		the status; signal N: an end by that signal
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* Bytes that would break a line, as \xNN. */
static void put_text(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c < ' ' || c > '~' || c == '\\')
			printf("\\x%02x", c);
		else
			putchar(c);
	}
}

static const char *why(void)
{
	return strerrorname_np(errno);
}

static ssize_t slurp(const char *path, char *dst, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -1;
	size_t n = 0;
	ssize_t r = 0;
	while (n < size - 1 && (r = read(fd, dst + n, size - 1 - n)) > 0)
		n += (size_t)r;
	int saved = errno;
	(void)close(fd);
	errno = saved;
	dst[n] = '\0';
	return r < 0 ? -1 : (ssize_t)n;
}

/* ---- files of /proc/self */

static char text[1 << 20];

/* Each line of a file, as "label LINE". */
static void show_lines(const char *label, const char *path)
{
	if (slurp(path, text, sizeof text) < 0) {
		printf("%s: %s\n", label, why());
		return;
	}
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n"));)
		if (*line) {
			printf("%s: ", label);
			put_text(line, strlen(line));
			putchar('\n');
		}
}

/* Strings that end with NUL. */
static void show_strings(const char *label, const char *path)
{
	ssize_t n = slurp(path, text, sizeof text);
	if (n < 0)
		printf("%s: %s\n", label, why());
	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(text + i) + 1) {
		printf("%s: ", label);
		put_text(text + i, strlen(text + i));
		putchar('\n');
	}
}

static void show_status(void)
{
	static const char *const wanted[] = {
		"Umask:",
		"Uid:",
		"Gid:",
		"Groups:",
		"CapInh:",
		"CapPrm:",
		"CapEff:",
		"CapBnd:",
		"CapAmb:",
		"NoNewPrivs:",
		"Seccomp:",
		"SigBlk:",
		"SigIgn:",
		"SigCgt:",
		"Threads:",
		"Cpus_allowed_list:",
		"Mems_allowed_list:",
		"Seccomp_filters:",
	};
	if (slurp("/proc/self/status", text, sizeof text) < 0)
		printf("status: %s\n", why());
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n"));)
		for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
			if (strncmp(line, wanted[i], strlen(wanted[i])) == 0) {
				printf("status: ");
				put_text(line, strlen(line));
				putchar('\n');
			}
}

static void show_link(const char *label, const char *path)
{
	char target[4096];
	ssize_t n = readlink(path, target, sizeof target);
	printf("%s: ", label);
	if (n < 0)
		printf("%s", why());
	else
		put_text(target, (size_t)n);
	putchar('\n');
}

static void show_namespaces(void)
{
	static const char *const names[] = {"cgroup", "ipc",  "mnt",  "net",
					    "pid",    "time", "user", "uts"};
	char label[32], path[64];
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		(void)snprintf(label, sizeof label, "ns %s", names[i]);
		(void)snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
		show_link(label, path);
	}
}

static void show_descriptors(void)
{
	char path[64], label[32];
	for (int fd = 0; fd < 64; fd++) {
		struct stat st;
		if (fcntl(fd, F_GETFD) < 0 || fstat(fd, &st) < 0)
			continue;
		(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		(void)snprintf(label, sizeof label, "fd %d", fd);
		show_link(label, path);
		printf("fd %d: mode %o flags %o", fd, st.st_mode,
		       (unsigned)fcntl(fd, F_GETFL) & ~(unsigned)(O_CLOEXEC | 0100000));
		if (fd < 3)
			printf(" uid %u", st.st_uid);
		putchar('\n');
	}
}

/* ---- the process */

static void show_process(void)
{
	struct utsname u;
	char domain[256] = "", cwd[4096];
	pid_t pid = getpid();
	printf("pid: %s\n", pid == 1 ? "1" : "more");
	printf("session: %s, group: %s, foreground: %s\n", getsid(0) == pid ? "own" : "other",
	       getpgrp() == pid ? "own" : "other",
	       tcgetpgrp(0) == pid ? "own"
	       : tcgetpgrp(0) < 0  ? why()
				   : "other");
	printf("parent: %s\n", getppid() == 0 ? "outside" : "inside");
	if (uname(&u) == 0)
		printf("host: %s\nmachine: %s\n", u.nodename, u.machine);
	printf("domain: %s\n", getdomainname(domain, sizeof domain) == 0 ? domain : why());
	printf("cwd: %s\n", getcwd(cwd, sizeof cwd) ? cwd : why());
	printf("personality: %x\n", (unsigned)personality(0xffffffff));
	printf("prctl: dumpable %d keepcaps %d securebits %x nnp %d\n",
	       prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0),
	       (unsigned)prctl(PR_GET_SECUREBITS, 0, 0, 0, 0),
	       prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	int signal = 0, reaper = 0;
	(void)prctl(PR_GET_PDEATHSIG, &signal, 0, 0, 0);
	(void)prctl(PR_GET_CHILD_SUBREAPER, &reaper, 0, 0, 0);
	printf("death signal: %d, subreaper: %d, timer slack: %d\n", signal, reaper,
	       prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));
	printf("scheduler: %d nice %d io %x\n", sched_getscheduler(0), getpriority(PRIO_PROCESS, 0),
	       (unsigned)syscall(SYS_ioprio_get, 1, 0));
	mode_t mask = umask(0);
	(void)umask(mask);
	printf("umask: %04o\n", mask);
}

static void show_keyring(void)
{
	long key = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
	char about[256] = "";
	if (key < 0 || syscall(SYS_keyctl, KEYCTL_DESCRIBE, key, about, sizeof about) < 0)
		printf("keyring: %s\n", why());
	else
		printf("keyring: %s\n", about);
}

static void show_terminal(void)
{
	struct winsize w = {0};
	struct stat st, console;
	for (int fd = 0; fd < 3; fd++)
		printf("terminal %d: %s\n", fd, isatty(fd) ? "yes" : "no");
	if (ioctl(0, TIOCGWINSZ, &w) == 0)
		printf("terminal: %ux%u\n", w.ws_col, w.ws_row);
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
	printf("controlling terminal: %s\n", fd < 0 ? why() : "yes");
	if (fd >= 0)
		(void)close(fd);
	if (isatty(0) && fstat(0, &st) == 0)
		printf("terminal: mode %o uid %u gid %u, console: %s\n", st.st_mode, st.st_uid,
		       st.st_gid,
		       stat("/dev/console", &console) < 0 ? why()
		       : console.st_rdev == st.st_rdev	  ? "the same"
							  : "another");
}

/* ---- files */

static void show_entry(const char *path)
{
	struct stat st;
	char target[4096];
	printf("file ");
	put_text(path, strlen(path));
	if (lstat(path, &st) < 0) {
		printf(": %s\n", why());
		return;
	}
	printf(": %o %u:%u", st.st_mode, st.st_uid, st.st_gid);
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		printf(" %u,%u", major(st.st_rdev), minor(st.st_rdev));
	ssize_t n = S_ISLNK(st.st_mode) ? readlink(path, target, sizeof target) : -1;
	if (n >= 0) {
		printf(" -> ");
		put_text(target, (size_t)n);
	}
	putchar('\n');
}

static int not_dots(const struct dirent *d)
{
	return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

static void list(const char *path, int depth)
{
	struct dirent **names = NULL;
	struct stat st;
	show_entry(path);
	if (depth == 0 || lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return;
	int n = scandir(path, &names, not_dots, alphasort);
	if (n < 0)
		printf("list %s: %s\n", path, why());
	for (int i = 0; i < n; i++) {
		char sub[4096];
		(void)snprintf(sub, sizeof sub, "%s%s%s", path, strcmp(path, "/") == 0 ? "" : "/",
			       names[i]->d_name);
		list(sub, depth - 1);
		free(names[i]);
	}
	free(names);
}

static void read_file(const char *path)
{
	ssize_t n = slurp(path, text, 513);
	printf("read %s: ", path);
	if (n < 0)
		printf("%s", why());
	else
		put_text(text, (size_t)n);
	putchar('\n');
}

static void open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	printf("open %s: %s\n", path, fd < 0 ? why() : "yes");
	if (fd >= 0)
		(void)close(fd);
}

static void write_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	printf("write %s: %s\n", path, fd < 0 ? why() : write(fd, "x", 1) == 1 ? "yes" : why());
	if (fd >= 0)
		(void)close(fd);
}

/* ---- system calls */

static const struct {
	const char *name;
	long number;
	long args[6];
} calls[] = {
	{"getppid", SYS_getppid, {0}},
	{"getcwd", SYS_getcwd, {0}},
	{"mkdir", SYS_mkdir, {(long)"/tmp/probe-dir", 0755}},
	{"chmod", SYS_chmod, {(long)"/tmp", 0777}},
	{"chown", SYS_chown, {(long)"/tmp", 0, 0}},
	{"mount", SYS_mount, {(long)"none", (long)"/tmp", (long)"tmpfs", 0, 0}},
	{"umount", SYS_umount2, {(long)"/nowhere", 0}},
	{"mknod", SYS_mknod, {(long)"/tmp/probe-node", S_IFCHR | 0600, 0x103}},
	{"unshare0", SYS_unshare, {0}},
	{"unshare-uts", SYS_unshare, {CLONE_NEWUTS}},
	{"unshare-user", SYS_unshare, {CLONE_NEWUSER}},
	{"setns", SYS_setns, {-1, 0}},
	{"clone3", SYS_clone3, {0, 0}},
	{"ptrace", SYS_ptrace, {16, -1}},
	{"kexec", SYS_kexec_load, {0, 0, 0, 0xffff0000}},
	{"bpf", SYS_bpf, {-1, 0, 0}},
	{"keyctl", SYS_keyctl, {-1, 0, 0}},
	{"add_key", SYS_add_key, {0, 0, 0, 0, 0}},
	{"personality", SYS_personality, {0xffffffff}},
	{"personality8", SYS_personality, {8}},
	{"socket-vsock", SYS_socket, {40, SOCK_STREAM, 0}},
	{"socket-inet", SYS_socket, {2, SOCK_STREAM, 0}},
	{"socket-raw", SYS_socket, {2, 3, 1}},
	{"sethostname", SYS_sethostname, {(long)"x", 1}},
	{"settimeofday", SYS_settimeofday, {0, 0}},
	{"setuid", SYS_setuid, {0}},
	{"setgid", SYS_setgid, {0}},
	{"setgroups", SYS_setgroups, {0, 0}},
	{"sync", SYS_sync, {0}},
	{"uname", SYS_uname, {0}},
	{"quotactl", SYS_quotactl, {0, 0, 0, 0}},
	{"swapon", SYS_swapon, {0, 0}},
	{"chroot", SYS_chroot, {(long)"/"}},
	{"pivot_root", SYS_pivot_root, {(long)"/", (long)"/"}},
	{"io_uring", SYS_io_uring_setup, {0, 0}},
	{"userfaultfd", SYS_userfaultfd, {-1}},
	{"perf", SYS_perf_event_open, {0, 0, 0, 0, 0}},
	{"getrandom", SYS_getrandom, {0, 0, 0}},
	{"nosuch", 1000, {0}},
};

/* In a child, since the answer may be a signal. */
static void call(const char *name)
{
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		if (strcmp(calls[i].name, name) != 0)
			continue;
		int status = 0;
		pid_t pid = fork();
		if (pid == 0) {
			const long *a = calls[i].args;
			long r = syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
			_exit(r < 0 && errno < 250 ? errno : 0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			printf("call %s: fork: %s\n", name, why());
		else if (WIFSIGNALED(status))
			printf("call %s: signal %d\n", name, WTERMSIG(status));
		else
			printf("call %s: %s\n", name,
			       WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "0");
		return;
	}
	printf("call %s: unknown\n", name);
}

/* ---- */

static char script[65536];

static void obey(char *line)
{
	const char *word = strsep(&line, " ");
	if (!line)
		return;
	if (strcmp(word, "read") == 0)
		read_file(line);
	else if (strcmp(word, "list") == 0)
		list(line, 8);
	else if (strcmp(word, "open") == 0)
		open_file(line);
	else if (strcmp(word, "write") == 0)
		write_file(line);
	else if (strcmp(word, "call") == 0)
		call(line);
	else if (strcmp(word, "exit") == 0)
		exit(atoi(line));
	else if (strcmp(word, "signal") == 0)
		(void)kill(getpid(), atoi(line));
	else
		printf("what is %s?\n", word);
}

int main(int argc, char **argv)
{
	(void)setvbuf(stdout, NULL, _IOLBF, 65536);
	for (int i = 0; i < argc; i++) {
		printf("arg: ");
		put_text(argv[i], strlen(argv[i]));
		putchar('\n');
	}
	for (char **v = environ; *v; v++) {
		printf("env: ");
		put_text(*v, strlen(*v));
		putchar('\n');
	}
	show_process();
	show_descriptors();
	show_status();
	show_strings("cmdline", "/proc/self/cmdline");
	show_lines("mount", "/proc/self/mountinfo");
	show_lines("limit", "/proc/self/limits");
	show_lines("cgroup", "/proc/self/cgroup");
	show_lines("uid_map", "/proc/self/uid_map");
	show_lines("gid_map", "/proc/self/gid_map");
	show_lines("setgroups", "/proc/self/setgroups");
	show_lines("oom_score_adj", "/proc/self/oom_score_adj");
	show_lines("attr", "/proc/self/attr/current");
	show_lines("timens", "/proc/self/timens_offsets");
	show_link("root", "/proc/self/root");
	show_namespaces();
	show_keyring();
	show_terminal();
	list("/dev", 3);
	if (slurp("/etc/probe", script, sizeof script) < 0)
		return 0;
	char *rest = script;
	for (char *line; (line = strsep(&rest, "\n"));)
		obey(line);
	return 0;
}
