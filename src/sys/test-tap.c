/* SPDX-License-Identifier: Apache-2.0 */
/* Frames between a tap device and a pod's interface. Needs root and /dev/net/tun. */
#include "base/testing.h"

#include "base/buf.h"
#include "sys/netlink-tc.h"
#include "sys/tap.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

/* struct virtio_net_hdr: stands before each frame */
#define VNET_HEADER 10
#define FRAME 60
/* An experimental protocol's: nobody else sends it. */
#define PROTOCOL 0x88b5

static struct netlink *nl;

static void run_ok(struct netlink_batch *b)
{
	struct err e = ERR_INIT;
	if (netlink_run(nl, b, &e) < 0)
		fail_msg("%s", e.text);
}

static bool find(const char *name, struct netlink_link *ret)
{
	_cleanup_free_ struct netlink_link *v = NULL;
	size_t n;

	assert_int_equal(netlink_links(nl, &v, &n, NULL), 0);
	const struct netlink_link *l = netlink_link_named(v, n, name);
	if (l)
		*ret = *l;
	return l != NULL;
}

static struct netlink_link get_up(const char *name)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_link l;

	if (!find(name, &l))
		fail_msg("there is no %s", name);
	netlink_change_link(&b, &l, &(struct netlink_link_change){.flags = IFF_UP, .mask = IFF_UP});
	run_ok(&b);
	return l;
}

static int open_packets(const struct netlink_link *l)
{
	const struct sockaddr_ll at = {
		.sll_family = AF_PACKET, .sll_protocol = htons(PROTOCOL), .sll_ifindex = l->index};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(PROTOCOL));
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
	return fd;
}

static void make_frame(uint8_t frame[FRAME], uint8_t mark)
{
	memset(frame, 0, FRAME);
	memset(frame, 0xff, 6);
	frame[6] = 2;
	frame[11] = mark;
	frame[12] = PROTOCOL >> 8;
	frame[13] = PROTOCOL & 0xff;
	memset(frame + 14, mark, FRAME - 14);
}

static void write_tap(int tap, uint8_t mark)
{
	uint8_t bytes[VNET_HEADER + FRAME] = {0};
	make_frame(bytes + VNET_HEADER, mark);
	assert_int_equal(write(tap, bytes, sizeof bytes), sizeof bytes);
}

/* Whether the marked frame comes out of one of the descriptors, with @skip bytes before it. */
static bool comes(const int *fds, unsigned n, size_t skip, uint8_t mark, int timeout_ms)
{
	uint8_t frame[FRAME], room[2048];
	struct pollfd p[8];

	make_frame(frame, mark);
	for (unsigned i = 0; i < n; i++)
		p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
	while (poll(p, n, timeout_ms) > 0)
		for (unsigned i = 0; i < n; i++) {
			ssize_t len = p[i].revents ? read(fds[i], room, sizeof room) : 0;
			if (len == (ssize_t)(skip + FRAME) &&
			    memcmp(room + skip, frame, FRAME) == 0)
				return true;
		}
	return false;
}

static void join(const struct netlink_link *a, const struct netlink_link *b)
{
	_cleanup_netlink_batch_ struct netlink_batch q = NETLINK_BATCH_INIT;
	netlink_add_ingress(&q, a);
	netlink_add_ingress(&q, b);
	netlink_add_redirect(&q, a, b);
	netlink_add_redirect(&q, b, a);
	run_ok(&q);
}

static void part(const struct netlink_link *a, const struct netlink_link *b)
{
	_cleanup_netlink_batch_ struct netlink_batch q = NETLINK_BATCH_INIT;
	netlink_remove_ingress(&q, a);
	netlink_remove_ingress(&q, b);
	run_ok(&q);
}

static void frames_pass(unsigned queues)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_link tap, pod, outside;
	struct err e = ERR_INIT;
	uint8_t frame[FRAME];
	int taps[4];

	if (tap_new("tap0_kata", taps, queues, &e) < 0)
		fail_msg("%s", e.text);
	netlink_add_veth(&b, "eth0", "out0");
	run_ok(&b);
	tap = get_up("tap0_kata");
	pod = get_up("eth0");
	outside = get_up("out0");
	assert_string_equal(tap.kind, "tun");
	int fd = open_packets(&outside);

	assert_false(comes(&fd, 1, 0, 1, 50));
	join(&tap, &pod);
	for (unsigned i = 0; i < queues; i++) {
		write_tap(taps[i], (uint8_t)(1 + i));
		assert_true(comes(&fd, 1, 0, (uint8_t)(1 + i), 10000));
	}
	make_frame(frame, 9);
	assert_int_equal(send(fd, frame, FRAME, 0), FRAME);
	assert_true(comes(taps, queues, VNET_HEADER, 9, 10000));
	/* twice is refused, in words; parting twice is not */
	netlink_add_ingress(&b, &tap);
	assert_int_equal(netlink_run(nl, &b, &e), -EEXIST);
	assert_non_null(strstr(e.text, "filter what arrives at interface tap0_kata"));
	part(&tap, &pod);
	part(&tap, &pod);
	write_tap(taps[0], 7);
	assert_false(comes(&fd, 1, 0, 7, 200));
	join(&pod, &tap);
	write_tap(taps[0], 8);
	assert_true(comes(&fd, 1, 0, 8, 10000));

	close(fd);
	for (unsigned i = 0; i < queues; i++)
		close(taps[i]);
	assert_false(find("tap0_kata", &tap)); /* it went with its descriptors */
	netlink_remove_link(&b, &pod);
	run_ok(&b);
}

static void test_frames_pass_both_ways(void **state)
{
	frames_pass(1);
}

static void test_several_queues(void **state)
{
	frames_pass(4);
}

static void test_what_cannot_be_is_refused(void **state)
{
	struct err e = ERR_INIT;
	int a[2], b[2] = {5, 5};

	assert_int_equal(tap_new("", a, 1, &e), -EINVAL);
	assert_int_equal(tap_new("tap%d", a, 1, &e), -EINVAL);
	assert_int_equal(tap_new("sixteen-letters-", a, 1, &e), -EINVAL);
	assert_int_equal(tap_new("tap0", a, 0, &e), -EINVAL);
	assert_int_equal(tap_new("tap0", a, TAP_QUEUES_MAX + 1, &e), -EINVAL);
	assert_int_equal(tap_new("tap0", a, 2, &e), 0);
	assert_int_equal(fcntl(a[1], F_GETFD), FD_CLOEXEC);
	/* never somebody else's */
	assert_int_equal(tap_new("tap0", b, 2, &e), -EBUSY);
	assert_non_null(strstr(e.text, "tap device tap0"));
	assert_int_equal(b[0], -EBADF);
	close(a[0]);
	close(a[1]);
	assert_int_equal(tap_new("lo", a, 1, &e), -EBUSY);
}

static int setup(void **state)
{
	return unshare(CLONE_NEWNET) < 0 || netlink_open(&nl, NULL) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	netlink_free(nl);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames_pass_both_ways),
		cmocka_unit_test(test_several_queues),
		cmocka_unit_test(test_what_cannot_be_is_refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
