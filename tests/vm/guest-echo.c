/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a test machine runs instead of the agent: loads the image's modules and serves vsock port
 * 1024. A connection begins with one line:
 *
 *	echo		sends back what it gets, until the end
 *	source N	sends N bytes of the pattern (pattern.h)
 *	sink		takes the pattern until the end, then says "N ok" or "N bad"
 *	call P		connects to port P of the host, says "hello", and passes the answer on
 *	hold		says "held" and keeps the connection
 *	again		reboots the machine
 *	off		powers the machine off
 */
#include "pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define PORT 1024

static void load(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof path, "/lib/modules/%s.ko", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST))
		printf("guest-echo: module %s: %s\n", name, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
}

/* Lines "NAME WHEN NEEDED...": the needed ones go first, each as often as it is named. */
static void load_modules(void)
{
	char line[512];
	FILE *f = fopen("/lib/modules/list", "r");

	while (f && fgets(line, sizeof line, f)) {
		char *save = NULL, *name = strtok_r(line, " \n", &save), *word;
		(void)strtok_r(NULL, " \n", &save);
		while ((word = strtok_r(NULL, " \n", &save)))
			load(word);
		if (name)
			load(name);
	}
	if (f)
		(void)fclose(f);
}

static int write_all(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)data + done, len - done);
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

static void do_echo(int fd)
{
	static char buf[64 << 10];
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0)
		if (write_all(fd, buf, (size_t)n) < 0)
			return;
}

static void do_source(int fd, uint64_t total)
{
	static uint8_t buf[64 << 10];

	for (uint64_t done = 0; done < total;) {
		size_t n = total - done < sizeof buf ? (size_t)(total - done) : sizeof buf;
		pattern_fill(buf, n, done);
		if (write_all(fd, buf, n) < 0)
			return;
		done += n;
	}
}

static void do_sink(int fd)
{
	static uint8_t buf[64 << 10];
	uint64_t done = 0;
	bool good = true;
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0) {
		good = good && pattern_check(buf, (size_t)n, done);
		done += (uint64_t)n;
	}
	(void)dprintf(fd, "%llu %s\n", (unsigned long long)done, good ? "ok" : "bad");
}

static void do_call(int fd, uint32_t port)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
	char buf[256];
	ssize_t n;

	int s = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (connect(s, (struct sockaddr *)&addr, sizeof addr) < 0) {
		(void)dprintf(fd, "connect: %s\n", strerror(errno));
		return;
	}
	(void)dprintf(s, "hello\n");
	(void)shutdown(s, SHUT_WR);
	while ((n = read(s, buf, sizeof buf)) > 0)
		if (write_all(fd, buf, (size_t)n) < 0)
			return;
}

static void serve(int fd)
{
	char line[64];
	size_t len = 0;

	while (len < sizeof line - 1 && read(fd, line + len, 1) == 1 && line[len] != '\n')
		len++;
	line[len] = '\0';
	if (strcmp(line, "echo") == 0) {
		do_echo(fd);
	} else if (strncmp(line, "source ", 7) == 0) {
		do_source(fd, strtoull(line + 7, NULL, 10));
	} else if (strcmp(line, "sink") == 0) {
		do_sink(fd);
	} else if (strncmp(line, "call ", 5) == 0) {
		do_call(fd, (uint32_t)strtoul(line + 5, NULL, 10));
	} else if (strcmp(line, "hold") == 0) {
		(void)dprintf(fd, "held\n");
		(void)pause();
	} else if (strcmp(line, "again") == 0) {
		(void)reboot(RB_AUTOBOOT);
	} else if (strcmp(line, "off") == 0) {
		(void)reboot(RB_POWER_OFF);
	} else {
		(void)dprintf(fd, "what is \"%s\"?\n", line);
	}
}

static int listen_vsock(void)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PORT};
	int s = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0 || bind(s, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(s, 128) < 0) {
		printf("guest-echo: listen: %s\n", strerror(errno));
		return -1;
	}
	return s;
}

static void mount_fs(const char *type, const char *where)
{
	(void)mkdir(where, 0755);
	(void)mount(type, where, type, 0, NULL);
}

int main(void)
{
	mount_fs("proc", "/proc");
	mount_fs("sysfs", "/sys");
	mount_fs("devtmpfs", "/dev");
	(void)setvbuf(stdout, NULL, _IONBF, 0);
	(void)signal(SIGCHLD, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	load_modules();
	int s = listen_vsock();
	printf("guest-echo: ready\n");
	while (s >= 0) {
		int fd = accept(s, NULL, NULL);
		if (fd < 0)
			continue;
		if (fork() == 0) {
			(void)close(s);
			serve(fd);
			_exit(0);
		}
		(void)close(fd);
	}
	(void)reboot(RB_POWER_OFF);
	return 1;
}
