/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/uevent.h"

#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

/* The group of what the kernel itself announces; udev repeats it in another. */
#define KERNEL_GROUP 1
/* Messages taken in one go, before the loop serves others. */
#define BATCH_MAX 64

struct uevents {
	int fd;
	struct loop_io *io;
	void (*fn)(void *arg, unsigned kinds);
	void *arg;
};

static const struct {
	const char *subsystem;
	unsigned kind;
} kinds[] = {
	{"block", UEVENT_BLOCK},    {"scsi", UEVENT_SCSI}, {"scsi_host", UEVENT_SCSI},
	{"scsi_disk", UEVENT_SCSI}, {"pci", UEVENT_PCI},   {"pci_bus", UEVENT_PCI},
	{"net", UEVENT_NET},	    {"cpu", UEVENT_CPU},   {"memory", UEVENT_MEMORY},
	{"vfio", UEVENT_VFIO},	    {"nd", UEVENT_NVDIMM},
};

static unsigned kind_of(const char *subsystem)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].subsystem, subsystem) == 0)
			return kinds[i].kind;
	return 0;
}

static const char *value(const char *string, const char *key)
{
	size_t len = strlen(key);
	return strncmp(string, key, len) == 0 && string[len] == '=' ? string + len + 1 : NULL;
}

int uevent_parse(const char *message, size_t len, struct uevent *ret)
{
	struct uevent u = {.action = NULL};
	const char *end = message + len, *v;

	if (len == 0 || len > UEVENT_BYTES_MAX || end[-1] != '\0' || !strchr(message, '@'))
		return -EINVAL;
	for (const char *p = message + strlen(message) + 1; p < end; p += strlen(p) + 1) {
		if ((v = value(p, "ACTION")))
			u.action = v;
		else if ((v = value(p, "DEVPATH")))
			u.devpath = v;
		else if ((v = value(p, "SUBSYSTEM")))
			u.subsystem = v;
	}
	if (!u.action || !u.devpath || !u.subsystem)
		return -EINVAL;
	u.kind = kind_of(u.subsystem);
	*ret = u;
	return 0;
}

/* The kernel sends with port 0 and as root, and no process can claim the former. */
static bool from_kernel(struct msghdr *m)
{
	const struct sockaddr_nl *from = m->msg_name;
	const struct cmsghdr *c = CMSG_FIRSTHDR(m);
	struct ucred cred;

	if (m->msg_namelen != sizeof *from || from->nl_pid != 0 || from->nl_groups != KERNEL_GROUP)
		return false;
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
		return false;
	memcpy(&cred, CMSG_DATA(c), sizeof cred);
	return cred.uid == 0 && cred.pid == 0;
}

/* The kind of the next message; -EAGAIN: there is none. */
static int receive(int fd)
{
	char text[UEVENT_BYTES_MAX];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct sockaddr_nl from;
	struct iovec iov = {.iov_base = text, .iov_len = sizeof text};
	struct msghdr m = {.msg_name = &from,
			   .msg_namelen = sizeof from,
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof control};
	struct uevent u;

	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == ENOBUFS ? UEVENT_ALL : errno == EINTR ? 0 : -errno;
	if (!from_kernel(&m))
		return 0;
	if (m.msg_flags & MSG_TRUNC)
		return UEVENT_ALL;
	return uevent_parse(text, (size_t)n, &u) < 0 ? 0 : (int)u.kind;
}

static void on_readable(void *arg, unsigned events)
{
	struct uevents *u = arg;
	unsigned seen = 0;
	int kind = 0;

	(void)events;
	for (int i = 0; i < BATCH_MAX && (kind = receive(u->fd)) >= 0; i++)
		seen |= (unsigned)kind;
	if (seen)
		u->fn(u->arg, seen);
}

int uevent_socket(struct err *e)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP};
	const int on = 1;

	_cleanup_close_ int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ||
	    bind(fd, (const void *)&address, sizeof address) < 0)
		return err_errno(e, -errno, "listen to the kernel's events of devices");
	return TAKE_FD(fd);
}

int uevents_new(struct loop *l, void (*fn)(void *arg, unsigned kinds), void *arg,
		struct uevents **ret, struct err *e)
{
	_cleanup_close_ int fd = uevent_socket(e);
	if (fd < 0)
		return fd;
	struct uevents *u = calloc(1, sizeof *u);
	int r = u ? loop_io_new(l, fd, LOOP_READ, on_readable, u, &u->io) : -ENOMEM;
	if (r < 0) {
		free(u);
		return err_errno(e, r, "watch the kernel's events of devices");
	}
	u->fd = TAKE_FD(fd);
	u->fn = fn;
	u->arg = arg;
	*ret = u;
	return 0;
}

void uevents_free(struct uevents *u)
{
	if (!u)
		return;
	loop_io_free(u->io);
	(void)close_fd(u->fd);
	free(u);
}
