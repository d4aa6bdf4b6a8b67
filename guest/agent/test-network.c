/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's network calls, in a network namespace of its own: pairs of virtual interfaces stand
 * for the cards that a machine gives its guest. Needs root.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"
#include "sys/netlink-route.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>

static struct fixture f;
static const char *agent_program;
static struct netlink *nl;

/* ---- The world ---------------------------------------------------------------------------- */

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

static struct netlink_link get(const char *name)
{
	struct netlink_link l;
	if (!find(name, &l))
		fail_msg("there is no %s", name);
	return l;
}

static void write_sysctl(const char *name, const char *key, const char *value)
{
	char path[128];
	(void)snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", name, key);
	assert_int_equal(file_write(AT_FDCWD, path, value), 0);
}

/* A card <name> with address 02:00:00:00:00:<number>, and its other end p<number>, which is up. The
 * kernel is kept from addresses of its own, which would come at times of their own. */
static void plug(const char *name, unsigned number)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_mac mac;
	char peer[16], text[32];

	(void)snprintf(peer, sizeof peer, "p%u", number);
	(void)snprintf(text, sizeof text, "02:00:00:00:00:%02x", number);
	assert_int_equal(netlink_mac_parse(text, &mac), 0);
	netlink_add_veth(&b, name, peer);
	run_ok(&b);
	write_sysctl(name, "addr_gen_mode", "1");
	write_sysctl(peer, "addr_gen_mode", "1");
	struct netlink_link l = get(name), p = get(peer);
	netlink_change_link(&b, &l, &(struct netlink_link_change){.mac = &mac});
	netlink_change_link(&b, &p, &(struct netlink_link_change){.flags = IFF_UP, .mask = IFF_UP});
	run_ok(&b);
}

/* After each test. */
static int unplug_all(void **state)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	_cleanup_free_ struct netlink_link *v = NULL;
	size_t n;

	assert_int_equal(netlink_links(nl, &v, &n, NULL), 0);
	for (size_t i = 0; i < n; i++)
		if (strcmp(v[i].kind, "veth") == 0 && v[i].name[0] == 'p')
			netlink_remove_link(&b, &v[i]); /* takes the card with it */
	return netlink_run(nl, &b, NULL);
}

/* Addresses of an interface, as one text in the kernel's order. */
static const char *addresses_of(const char *name)
{
	static char text[4096];
	_cleanup_free_ struct netlink_address *v = NULL;
	struct netlink_link l = get(name);
	char one[NETLINK_IP_TEXT];
	size_t n;

	text[0] = '\0';
	assert_int_equal(netlink_addresses(nl, &v, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		if (v[i].index != l.index)
			continue;
		netlink_ip_format_prefix(&v[i].local, one);
		/* usable at once, but for what the kernel itself made */
		assert_false((v[i].flags & IFA_F_TENTATIVE) && strncmp(one, "fe80:", 5) != 0);
		(void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s",
			       text[0] ? " " : "", one);
	}
	return text;
}

/* Routes of the main table that the kernel did not make, likewise. */
static const char *routes_now(void)
{
	static char text[8192];
	_cleanup_free_ struct netlink_route *v = NULL;
	_cleanup_free_ struct netlink_link *links = NULL;
	size_t n, n_links;

	text[0] = '\0';
	assert_int_equal(netlink_links(nl, &links, &n_links, NULL), 0);
	assert_int_equal(netlink_routes(nl, &v, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		char dest[NETLINK_IP_TEXT], gateway[NETLINK_IP_TEXT], source[NETLINK_IP_TEXT];
		const struct netlink_link *l = netlink_link_at(links, n_links, v[i].index);
		if (v[i].table != RT_TABLE_MAIN || v[i].proto == RTPROT_KERNEL)
			continue;
		netlink_route_format(&v[i], dest);
		netlink_ip_format(&v[i].gateway, gateway);
		netlink_ip_format(&v[i].prefsrc, source);
		(void)snprintf(text + strlen(text), sizeof text - strlen(text),
			       "%s %s %s %s mtu %u%s\n", dest, gateway, l ? l->name : "?", source,
			       v[i].mtu, v[i].flags & RTNH_F_ONLINK ? " onlink" : "");
	}
	return text;
}

/* ---- A witness of every change ------------------------------------------------------------ */

static int watch_changes(void)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK,
				.nl_groups = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR |
					     RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
					     RTMGRP_IPV6_ROUTE};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

/* Messages that come until it has been quiet for @quiet_ms. */
static unsigned count_changes(int fd, int quiet_ms)
{
	static char room[65536];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	unsigned n = 0;

	while (poll(&p, 1, quiet_ms) > 0) {
		ssize_t len = recv(fd, room, sizeof room, 0);
		if (len < 0 && errno == ENOBUFS)
			continue;
		assert_true(len > 0);
		n++;
	}
	return n;
}

/* ---- Requests ----------------------------------------------------------------------------- */

/* @ips: "10.0.0.2/24 fd00::2/64", parted by spaces. */
static int update(const char *name, const char *mac, const char *ips, unsigned mtu, unsigned flags,
		  struct err *e)
{
	Grpc__UpdateInterfaceRequest q = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface m = TYPES__INTERFACE__INIT, *echo = NULL;
	Types__IPAddress v[64], *pv[64];
	char text[4096], *save = NULL;

	m.device = m.name = (char *)name;
	m.hwaddr = (char *)mac;
	m.mtu = mtu;
	m.raw_flags = flags;
	m.type = (char *)"veth";
	m.ipaddresses = pv;
	(void)snprintf(text, sizeof text, "%s", ips);
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		char *slash = strchr(w, '/');
		types__ipaddress__init(&v[m.n_ipaddresses]);
		pv[m.n_ipaddresses] = &v[m.n_ipaddresses];
		if (slash) {
			*slash = '\0';
			v[m.n_ipaddresses].mask = slash + 1;
		}
		v[m.n_ipaddresses].family =
			strchr(w, ':') ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4;
		v[m.n_ipaddresses++].address = w;
	}
	q.interface = &m;
	int status = call(&f, "UpdateInterface", &q.base, &echo, e);
	if (status == STATUS_OK) {
		assert_string_equal(echo->name, name);
		assert_string_equal(echo->hwaddr, mac);
		assert_int_equal(echo->n_ipaddresses, m.n_ipaddresses);
		types__interface__free_unpacked(echo, NULL);
	}
	return status;
}

static void update_ok(const char *name, const char *mac, const char *ips)
{
	struct err e = ERR_INIT;
	if (update(name, mac, ips, 1500, 0, &e) != STATUS_OK)
		fail_msg("%s", e.text);
}

struct route_text {
	const char *dest, *gateway, *device, *source;
	unsigned scope, flags, mtu;
	bool v6;
};

static int set_routes(const struct route_text *t, size_t n, struct err *e)
{
	Grpc__UpdateRoutesRequest q = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__Routes list = GRPC__ROUTES__INIT;
	Types__Route *v = calloc(n + 1, sizeof *v), **pv = calloc(n + 1, sizeof *pv);

	assert_true(v && pv);
	for (size_t i = 0; i < n; i++) {
		types__route__init(&v[i]);
		v[i].dest = (char *)(t[i].dest ? t[i].dest : "");
		v[i].gateway = (char *)(t[i].gateway ? t[i].gateway : "");
		v[i].device = (char *)t[i].device;
		v[i].source = (char *)(t[i].source ? t[i].source : "");
		v[i].scope = t[i].scope;
		v[i].flags = t[i].flags;
		v[i].mtu = t[i].mtu;
		v[i].family = t[i].v6 ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4;
		pv[i] = &v[i];
	}
	list.routes = pv;
	list.n_routes = n;
	q.routes = &list;
	int status = call(&f, "UpdateRoutes", &q.base, NULL, e);
	free(v);
	free(pv);
	return status;
}

static void set_routes_ok(const struct route_text *t, size_t n)
{
	struct err e = ERR_INIT;
	if (set_routes(t, n, &e) != STATUS_OK)
		fail_msg("%s", e.text);
}

static const char mac1[] = "02:00:00:00:00:01", mac2[] = "02:00:00:00:00:02",
		  mac3[] = "02:00:00:00:00:03";

/* ---- Interfaces --------------------------------------------------------------------------- */

static void an_interface_becomes_what_is_asked(void **state)
{
	struct err e = ERR_INIT;

	plug("card0", 1);
	assert_int_equal(
		update("eth0", "02:00:00:00:00:01", "10.0.0.2/24 fd00::2/64", 1400, IFF_NOARP, &e),
		STATUS_OK);
	struct netlink_link l = get("eth0");
	assert_int_equal(l.mtu, 1400);
	assert_int_equal(l.flags & (IFF_UP | IFF_NOARP), IFF_UP | IFF_NOARP);
	assert_string_equal(addresses_of("eth0"), "10.0.0.2/24 fd00::2/64");
	/* other addresses; one stays, what was set by hand goes */
	assert_int_equal(update("eth0", "02:00:00:00:00:01",
				"10.0.0.3/24 10.1.0.3/16 fd00::2/64 192.0.2.1", 1500, 0, &e),
			 STATUS_OK);
	l = get("eth0");
	assert_int_equal(l.mtu, 1500);
	assert_int_equal(l.flags & (IFF_UP | IFF_NOARP), IFF_UP);
	assert_string_equal(addresses_of("eth0"),
			    "10.0.0.3/24 10.1.0.3/16 192.0.2.1/32 fd00::2/64");
	/* the first of a network goes, the second does not go with it */
	update_ok("eth0", mac1, "10.0.0.3/24 10.0.0.4/24");
	update_ok("eth0", mac1, "10.0.0.4/24");
	assert_string_equal(addresses_of("eth0"), "10.0.0.4/24");
	/* another prefix is another address */
	update_ok("eth0", mac1, "10.0.0.4/25");
	assert_string_equal(addresses_of("eth0"), "10.0.0.4/25");
	/* found by its name, it gets the address; the empty one asks for nothing */
	update_ok("eth0", "02:00:00:00:00:99", "10.0.0.4/25 fd00::4/64");
	struct netlink_mac mac;
	assert_int_equal(netlink_mac_parse("02:00:00:00:00:99", &mac), 0);
	l = get("eth0");
	assert_true(netlink_mac_equal(&l.mac, &mac));
	update_ok("eth0", "", "10.0.0.4/25 fd00::4/64");
	/* the kernel's own address is left alone */
	write_sysctl("eth0", "addr_gen_mode", "0");
	update_ok("eth0", mac1, "");
	update_ok("eth0", mac1, "10.0.0.5/24");
	assert_string_equal(addresses_of("eth0"), "10.0.0.5/24 fe80::ff:fe00:1/64");
}

/* Says the same twice, with the kernel as a witness that nothing changes. */
static void repeated_calls_change_nothing(void **state)
{
	const struct route_text routes[] = {
		{.dest = "", .gateway = "10.0.0.1", .device = "eth0", .mtu = 1400},
		{.dest = "10.9.0.0/16", .device = "eth0", .scope = RT_SCOPE_LINK},
		{.dest = "10.0.0.0/24", .device = "eth0", .scope = RT_SCOPE_LINK},
		{.dest = "10.8.0.0/16", .gateway = "169.254.1.1", .device = "eth0", .flags = 4},
		{.dest = "10.7.0.0/16",
		 .gateway = "10.0.0.1",
		 .device = "eth0",
		 .source = "10.0.0.2"},
		{.dest = "fd09::/64", .gateway = "fd00::1", .device = "eth0", .v6 = true},
		{.dest = "", .gateway = "fd00::1", .device = "eth0", .v6 = true, .mtu = 1400},
		{.dest = "", .gateway = "fd00::3", .device = "eth0", .v6 = true, .mtu = 1400}};

	plug("card0", 1);
	plug("card1", 2);
	int fd = watch_changes();
	for (int round = 0; round < 3; round++) {
		(void)count_changes(fd, round ? 50 : 1500); /* the carrier is told of late */
		update_ok("eth0", mac1, "10.0.0.2/24 fd00::2/64 10.0.0.3/24");
		update_ok("eth1", mac2, "10.2.0.2/24");
		set_routes_ok(routes, ARRAY_SIZE(routes));
		unsigned n = count_changes(fd, round ? 50 : 1500);
		if (round)
			assert_int_equal(n, 0);
		else
			assert_true(n > 10);
	}
	close(fd);
}

static void names_are_swapped(void **state)
{
	plug("eth0", 1);
	plug("eth1", 2);
	plug("eth2", 3);
	int a = get("eth0").index, b = get("eth1").index, c = get("eth2").index;
	update_ok("eth1", mac1, "10.1.0.2/24 fd01::2/64");
	assert_int_equal(get("eth1").index, a);
	assert_int_equal(get("eth0").index, b);
	update_ok("eth0", mac2, "10.2.0.2/24 fd02::2/64");
	assert_int_equal(get("eth0").index, b);
	/* both are in use now; the one whose name is taken keeps addresses and routes */
	const struct route_text routes[] = {
		{.dest = "", .gateway = "10.1.0.1", .device = "eth1"},
		{.dest = "10.77.0.0/16", .gateway = "10.2.0.1", .device = "eth0"},
		{.dest = "fd77::/64", .gateway = "fd02::1", .device = "eth0", .v6 = true}};
	set_routes_ok(routes, ARRAY_SIZE(routes));
	update_ok("eth0", mac1, "10.1.0.2/24 fd01::2/64");
	assert_int_equal(get("eth0").index, a);
	assert_int_equal(get("eth1").index, b);
	assert_true(get("eth1").flags & IFF_UP);
	assert_string_equal(addresses_of("eth1"), "10.2.0.2/24 fd02::2/64");
	assert_string_equal(addresses_of("eth0"), "10.1.0.2/24 fd01::2/64");
	assert_string_equal(routes_now(), "default 10.1.0.1 eth0  mtu 0\n"
					  "10.77.0.0/16 10.2.0.1 eth1  mtu 0\n"
					  "fd77::/64 fd02::1 eth1  mtu 0\n");
	/* a circle of three */
	update_ok("eth1", mac1, "10.1.0.2/24");
	update_ok("eth2", mac2, "10.2.0.2/24");
	update_ok("eth0", mac3, "10.3.0.2/24");
	assert_int_equal(get("eth1").index, a);
	assert_int_equal(get("eth2").index, b);
	assert_int_equal(get("eth0").index, c);
}

/* A step fails: the sentence says which, and names and states are as they were. */
static void a_failure_leaves_no_mess(void **state)
{
	struct err e = ERR_INIT;

	plug("eth0", 1);
	plug("eth1", 2);
	update_ok("eth0", mac1, "10.1.0.2/24 fd01::2/64");
	update_ok("eth1", mac2, "10.2.0.2/24 fd02::2/64");
	const struct route_text route = {.dest = "", .gateway = "10.2.0.1", .device = "eth1"};
	set_routes_ok(&route, 1);
	int a = get("eth0").index, b = get("eth1").index;
	/* a veth takes 65535 at most */
	assert_int_not_equal(update("eth1", mac1, "10.1.0.2/24", 65536, 0, &e), STATUS_OK);
	assert_non_null(strstr(e.text, "set up interface eth1: interface eth0: leave it, "
				       "rename it to eth1, set its MTU to 65536: "));
	assert_int_equal(get("eth0").index, a);
	assert_int_equal(get("eth1").index, b);
	assert_true(get("eth0").flags & get("eth1").flags & IFF_UP);
	assert_string_equal(addresses_of("eth0"), "10.1.0.2/24 fd01::2/64");
	assert_string_equal(addresses_of("eth1"), "10.2.0.2/24 fd02::2/64");
	assert_string_equal(routes_now(), "default 10.2.0.1 eth1  mtu 0\n");
}

static void wrong_interfaces_are_refused(void **state)
{
	static const struct {
		const char *name, *mac, *ips;
		unsigned mtu;
		int status;
		const char *words;
	} cases[] = {
		{"", "", "", 0, STATUS_INVALID_ARGUMENT, "name \"\""},
		{"a/b", mac1, "", 0, STATUS_INVALID_ARGUMENT, "name \"a/b\""},
		{"a b", mac1, "", 0, STATUS_INVALID_ARGUMENT, "name \"a b\""},
		{"sixteen-letters-", mac1, "", 0, STATUS_INVALID_ARGUMENT, "sixteen-letters-"},
		{"eth0", "02:00", "", 0, STATUS_INVALID_ARGUMENT, "hwAddr \"02:00\""},
		{"eth0", mac1, "10.0.0.2/33", 0, STATUS_INVALID_ARGUMENT, "mask \"33\""},
		{"eth0", mac1, "10.0.0.2/255.255.255.0", 0, STATUS_INVALID_ARGUMENT, "mask \"255"},
		{"eth0", mac1, "10.0.0.256/24", 0, STATUS_INVALID_ARGUMENT, "\"10.0.0.256\""},
		{"eth0", mac1, "", 67, STATUS_INVALID_ARGUMENT, "mtu 67"},
		{"eth0", mac1, "", 65537, STATUS_INVALID_ARGUMENT, "mtu 65537"},
		{"lo", "", "", 0, STATUS_INVALID_ARGUMENT, "the guest's own"},
		{"lo", mac1, "", 0, STATUS_INVALID_ARGUMENT, "the guest's own"},
		{"nope", "02:00:00:00:00:77", "", 0, STATUS_NOT_FOUND, "02:00:00:00:00:77"},
	};
	Grpc__UpdateInterfaceRequest missing = GRPC__UPDATE_INTERFACE_REQUEST__INIT;

	plug("eth0", 1);
	assert_int_equal(call(&f, "UpdateInterface", &missing.base, NULL, NULL),
			 STATUS_INVALID_ARGUMENT);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err e = ERR_INIT;
		int status = update(cases[i].name, cases[i].mac, cases[i].ips, cases[i].mtu, 0, &e);
		if (status != cases[i].status || !strstr(e.text, cases[i].words))
			fail_msg("case %zu: %d, %s", i, status, e.text);
	}
	assert_false(get("eth0").flags & IFF_UP);
}

/* Without such a card there is only the end of the wait, and what is wrong before that. */
static void a_place_on_the_bus_is_waited_for(void **state)
{
	Grpc__UpdateInterfaceRequest q = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface m = TYPES__INTERFACE__INIT;
	struct err e = ERR_INIT;

	q.interface = &m;
	m.name = (char *)"eth0";
	m.devicepath = (char *)"02/zz";
	assert_int_equal(call(&f, "UpdateInterface", &q.base, NULL, &e), STATUS_INVALID_ARGUMENT);
	m.devicepath = (char *)"1e/1d/1c";
	m.hwaddr = (char *)"nonsense";
	assert_int_equal(call(&f, "UpdateInterface", &q.base, NULL, &e), STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(e.text, "hwAddr \"nonsense\""));
	m.hwaddr = (char *)mac1;
	assert_int_not_equal(call(&f, "UpdateInterface", &q.base, NULL, &e), STATUS_OK);
	assert_non_null(strstr(e.text, "1e/1d/1c"));
}

static void without_ipv6_the_rest_works(void **state)
{
	const struct route_text routes[] = {
		{.dest = "", .gateway = "fd00::1", .device = "eth0", .v6 = true},
		{.dest = "", .gateway = "10.0.0.1", .device = "eth0"}};

	plug("eth0", 1);
	write_sysctl("eth0", "disable_ipv6", "1");
	update_ok("eth0", mac1, "fd00::2/64 10.0.0.2/24");
	assert_string_equal(addresses_of("eth0"), "10.0.0.2/24");
	set_routes_ok(routes, 2);
	assert_string_equal(routes_now(), "default 10.0.0.1 eth0  mtu 0\n");
}

static void many_interfaces(void **state)
{
	char name[16], mac[32], ips[64];

	for (unsigned i = 1; i <= 64; i++) {
		(void)snprintf(name, sizeof name, "card%u", i);
		plug(name, i);
	}
	uint64_t begin = time_now_ms();
	for (unsigned i = 1; i <= 64; i++) {
		(void)snprintf(name, sizeof name, "eth%u", i);
		(void)snprintf(mac, sizeof mac, "02:00:00:00:00:%02x", i);
		(void)snprintf(ips, sizeof ips, "10.0.%u.2/24 fd00:%x::2/64", i, i);
		update_ok(name, mac, ips);
	}
	printf("# 64 interfaces: %llu ms\n", (unsigned long long)(time_now_ms() - begin));

	Grpc__ListInterfacesRequest q = GRPC__LIST_INTERFACES_REQUEST__INIT;
	Grpc__Interfaces *list = NULL;
	assert_int_equal(call(&f, "ListInterfaces", &q.base, &list, NULL), STATUS_OK);
	assert_int_equal(list->n_interfaces, 1 + 2 * 64);
	for (size_t i = 0; i < list->n_interfaces; i++) {
		const Types__Interface *m = list->interfaces[i];
		if (strcmp(m->name, "eth10") != 0)
			continue;
		assert_string_equal(m->hwaddr, "02:00:00:00:00:0a");
		assert_string_equal(m->device, "eth10");
		assert_string_equal(m->type, "veth");
		assert_int_equal(m->mtu, 1500);
		assert_int_equal(m->n_ipaddresses, 2);
		assert_int_equal(m->ipaddresses[0]->family, TYPES__IPFAMILY__v4);
		assert_string_equal(m->ipaddresses[0]->address, "10.0.10.2");
		assert_string_equal(m->ipaddresses[0]->mask, "24");
		assert_int_equal(m->ipaddresses[1]->family, TYPES__IPFAMILY__v6);
		assert_string_equal(m->ipaddresses[1]->address, "fd00:a::2");
		assert_string_equal(m->ipaddresses[1]->mask, "64");
	}
	grpc__interfaces__free_unpacked(list, NULL);
}

/* ---- Routes ------------------------------------------------------------------------------- */

static void add_by_hand(const char *dest, uint8_t proto, uint32_t table)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_route r = {.index = get("eth0").index,
				  .table = table,
				  .proto = proto,
				  .scope = RT_SCOPE_LINK,
				  .type = RTN_UNICAST};
	assert_int_equal(netlink_ip_parse(dest, &r.dest), 0);
	netlink_add_route(&b, "eth0", &r);
	run_ok(&b);
}

static void routes_become_what_is_listed(void **state)
{
	/* in an order in which they cannot be added one by one */
	const struct route_text first[] = {
		{.dest = "", .gateway = "10.99.0.1", .device = "eth0", .mtu = 1400},
		{.dest = "10.98.0.0/16", .gateway = "169.254.1.1", .device = "eth0", .flags = 4},
		{.dest = "", .gateway = "fe80::1", .device = "eth0", .v6 = true},
		{.dest = "10.99.0.0/24",
		 .device = "eth0",
		 .scope = RT_SCOPE_LINK,
		 .source = "10.0.0.2"},
		{.dest = "fd55::/64", .device = "eth0", .v6 = true, .source = "fd00::2"}};
	const struct route_text second[] = {
		{.dest = "0.0.0.0/0", .gateway = "10.0.0.1", .device = "eth0"},
		{.dest = "10.98.0.0/16",
		 .gateway = "169.254.1.1",
		 .device = "eth0",
		 .flags = 4,
		 .mtu = 1300,
		 .source = "10.0.0.2/0"},
		{.dest = "::/0", .gateway = "fe80::1", .device = "eth0", .v6 = true, .mtu = 1280}};

	plug("eth0", 1);
	update_ok("eth0", mac1, "10.0.0.2/24 fd00::2/64");
	add_by_hand("10.50.0.0/16", RTPROT_STATIC, RT_TABLE_MAIN);
	add_by_hand("10.51.0.0/16", RTPROT_DHCP, RT_TABLE_MAIN);
	add_by_hand("10.52.0.0/16", RTPROT_STATIC, 1000);
	set_routes_ok(first, ARRAY_SIZE(first));
	assert_string_equal(routes_now(), "default 10.99.0.1 eth0  mtu 1400\n"
					  "10.51.0.0/16  eth0  mtu 0\n"
					  "10.98.0.0/16 169.254.1.1 eth0  mtu 0 onlink\n"
					  "10.99.0.0/24  eth0 10.0.0.2 mtu 0\n"
					  "fd55::/64  eth0 fd00::2 mtu 0\n"
					  "default (IPv6) fe80::1 eth0  mtu 0\n");
	set_routes_ok(second, ARRAY_SIZE(second));
	assert_string_equal(routes_now(), "default 10.0.0.1 eth0  mtu 0\n"
					  "10.51.0.0/16  eth0  mtu 0\n"
					  "10.98.0.0/16 169.254.1.1 eth0 10.0.0.2 mtu 1300 onlink\n"
					  "default (IPv6) fe80::1 eth0  mtu 1280\n");

	/* what is told can be asked for again, and changes nothing */
	Grpc__ListRoutesRequest q = GRPC__LIST_ROUTES_REQUEST__INIT;
	Grpc__Routes *list = NULL;
	assert_int_equal(call(&f, "ListRoutes", &q.base, &list, NULL), STATUS_OK);
	bool v4 = false, v6 = false;
	for (size_t i = 0; i < list->n_routes; i++) {
		const Types__Route *m = list->routes[i];
		if (m->dest[0])
			continue;
		assert_string_equal(m->device, "eth0");
		v4 |= m->family == TYPES__IPFAMILY__v4 && strcmp(m->gateway, "10.0.0.1") == 0;
		v6 |= m->family == TYPES__IPFAMILY__v6 && strcmp(m->gateway, "fe80::1") == 0 &&
		      m->mtu == 1280;
	}
	assert_true(v4 && v6);
	int fd = watch_changes();
	(void)count_changes(fd, 1500);
	Grpc__UpdateRoutesRequest again = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__Routes *reply = NULL;
	again.routes = list;
	struct err e = ERR_INIT;
	if (call(&f, "UpdateRoutes", &again.base, &reply, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_int_equal(count_changes(fd, 50), 0);
	assert_int_equal(reply->n_routes, list->n_routes);
	grpc__routes__free_unpacked(reply, NULL);
	grpc__routes__free_unpacked(list, NULL);
	close(fd);

	set_routes_ok(NULL, 0);
	assert_string_equal(routes_now(), "10.51.0.0/16  eth0  mtu 0\n");
}

static void wrong_routes_are_refused(void **state)
{
	static const struct {
		struct route_text r;
		int status;
		const char *words;
	} cases[] = {
		{{.dest = "10.0.0.0/33", .device = "eth0"}, STATUS_INVALID_ARGUMENT, "dest"},
		{{.gateway = "x", .device = "eth0"}, STATUS_INVALID_ARGUMENT, "gateway \"x\""},
		{{.gateway = "10.0.0.1/24", .device = "eth0"}, STATUS_INVALID_ARGUMENT, "gateway"},
		{{.dest = "fd00::/64", .gateway = "10.0.0.1", .device = "eth0"},
		 STATUS_INVALID_ARGUMENT,
		 "by IPv4"},
		{{.dest = "10.0.0.0/8", .source = "fd00::1", .device = "eth0"},
		 STATUS_INVALID_ARGUMENT,
		 "source \"fd00::1\""},
		{{.dest = "10.0.0.0/8", .source = "10.0.0.0/24", .device = "eth0"},
		 STATUS_INVALID_ARGUMENT,
		 "source"},
		{{.dest = "10.0.0.0/8", .device = ""}, STATUS_INVALID_ARGUMENT, "device \"\""},
		{{.dest = "10.0.0.0/8", .device = "nope"}, STATUS_NOT_FOUND, "no interface nope"},
		{{.dest = "10.0.0.0/8", .device = "eth0", .scope = 256},
		 STATUS_INVALID_ARGUMENT,
		 "scope 256"},
		{{.dest = "10.0.0.0/8", .device = "eth0", .mtu = 10},
		 STATUS_INVALID_ARGUMENT,
		 "mtu 10"},
		/* the kernel's own words */
		{{.gateway = "192.0.2.1", .device = "eth0"},
		 -1,
		 "add route default by 192.0.2.1 on interface eth0: Nexthop has invalid gateway"},
	};
	const struct route_text good = {.gateway = "10.0.0.1", .device = "eth0"};
	Grpc__UpdateRoutesRequest missing = GRPC__UPDATE_ROUTES_REQUEST__INIT;

	plug("eth0", 1);
	update_ok("eth0", mac1, "10.0.0.2/24");
	set_routes_ok(&good, 1);
	assert_int_equal(call(&f, "UpdateRoutes", &missing.base, NULL, NULL),
			 STATUS_INVALID_ARGUMENT);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err e = ERR_INIT;
		int status = set_routes(&cases[i].r, 1, &e);
		if (status == STATUS_OK || (cases[i].status > 0 && status != cases[i].status) ||
		    !strstr(e.text, cases[i].words))
			fail_msg("case %zu: %d, %s", i, status, e.text);
		/* what was there stays, whatever was asked for */
		assert_string_equal(routes_now(), "default 10.0.0.1 eth0  mtu 0\n");
	}
}

static void many_routes(void **state)
{
	static struct route_text t[2000];
	static char dests[2000][32];

	plug("eth0", 1);
	update_ok("eth0", mac1, "10.0.0.2/24");
	for (unsigned i = 0; i < 2000; i++) {
		(void)snprintf(dests[i], sizeof dests[i], "11.%u.%u.0/24", i / 256, i % 256);
		t[i] = (struct route_text){
			.dest = dests[i], .gateway = "10.0.0.1", .device = "eth0"};
	}
	uint64_t begin = time_now_ms();
	set_routes_ok(t, 2000);
	printf("# 2000 routes: %llu ms", (unsigned long long)(time_now_ms() - begin));
	begin = time_now_ms();
	set_routes_ok(t, 2000);
	printf(", again: %llu ms\n", (unsigned long long)(time_now_ms() - begin));
	set_routes_ok(NULL, 0);
	assert_string_equal(routes_now(), "");
}

/* ---- Neighbours --------------------------------------------------------------------------- */

static int add_neighbour(const char *ip, const char *device, const char *mac, int state, int flags,
			 struct err *e)
{
	Grpc__AddARPNeighborsRequest q = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;
	Grpc__ARPNeighbors list = GRPC__ARPNEIGHBORS__INIT;
	Types__ARPNeighbor n = TYPES__ARPNEIGHBOR__INIT, *pn = &n;
	Types__IPAddress a = TYPES__IPADDRESS__INIT;

	a.address = (char *)ip;
	n.toipaddress = &a;
	n.device = (char *)device;
	n.lladdr = (char *)mac;
	n.state = state;
	n.flags = flags;
	list.arpneighbors = &pn;
	list.n_arpneighbors = 1;
	q.neighbors = &list;
	return call(&f, "AddARPNeighbors", &q.base, NULL, e);
}

static bool has_neighbour(const char *ip, const char *mac, unsigned state)
{
	_cleanup_free_ struct netlink_neighbour *v = NULL;
	struct netlink_ip wanted_ip;
	struct netlink_mac wanted_mac;
	size_t n;
	bool found = false;

	assert_int_equal(netlink_ip_parse(ip, &wanted_ip), 0);
	assert_int_equal(netlink_mac_parse(mac, &wanted_mac), 0);
	assert_int_equal(netlink_neighbours(nl, &v, &n, NULL), 0);
	for (size_t i = 0; i < n; i++)
		found |= netlink_ip_equal(&v[i].ip, &wanted_ip) && v[i].state == state &&
			 netlink_mac_equal(&v[i].mac, &wanted_mac);
	return found;
}

static void neighbours(void **state)
{
	Grpc__AddARPNeighborsRequest missing = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;
	struct err e = ERR_INIT;

	plug("eth0", 1);
	update_ok("eth0", mac1, "10.0.0.2/24 fd00::2/64");
	assert_int_equal(add_neighbour("10.0.0.1", "eth0", "02:00:00:00:aa:01", 0, 0, &e),
			 STATUS_OK);
	assert_true(has_neighbour("10.0.0.1", "02:00:00:00:aa:01", NUD_PERMANENT));
	assert_int_equal(add_neighbour("10.0.0.1", "eth0", "02:00:00:00:AA:02", 0x80, 0, &e),
			 STATUS_OK);
	assert_true(has_neighbour("10.0.0.1", "02:00:00:00:aa:02", NUD_PERMANENT));
	assert_int_equal(add_neighbour("fd00::1", "eth0", "02:00:00:00:aa:03", 0, 0, &e),
			 STATUS_OK);
	assert_true(has_neighbour("fd00::1", "02:00:00:00:aa:03", NUD_PERMANENT));

	assert_int_equal(call(&f, "AddARPNeighbors", &missing.base, NULL, NULL),
			 STATUS_INVALID_ARGUMENT);
	assert_int_equal(add_neighbour("x", "eth0", "02:00:00:00:aa:03", 0, 0, &e),
			 STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(e.text, "toIPAddress \"x\""));
	assert_int_equal(add_neighbour("10.0.0.1", "eth0", "", 0, 0, &e), STATUS_INVALID_ARGUMENT);
	assert_int_equal(add_neighbour("10.0.0.1", "eth0", mac1, -1, 0, &e),
			 STATUS_INVALID_ARGUMENT);
	assert_int_equal(add_neighbour("10.0.0.1", "eth0", mac1, 0, 256, &e),
			 STATUS_INVALID_ARGUMENT);
	assert_int_equal(add_neighbour("10.0.0.1", "nope", mac1, 0, 0, &e), STATUS_NOT_FOUND);
}

/* ---- Packet filters ----------------------------------------------------------------------- */

static int set_filters(bool ipv6, const char *text, struct err *e)
{
	Grpc__SetIPTablesRequest q = GRPC__SET_IPTABLES_REQUEST__INIT;

	q.is_ipv6 = ipv6;
	q.data.data = (uint8_t *)text;
	q.data.len = strlen(text);
	return call(&f, "SetIPTables", &q.base, NULL, e);
}

static int get_filters(bool ipv6, struct buf *ret, struct err *e)
{
	Grpc__GetIPTablesRequest q = GRPC__GET_IPTABLES_REQUEST__INIT;
	Grpc__GetIPTablesResponse *response = NULL;

	q.is_ipv6 = ipv6;
	int status = call(&f, "GetIPTables", &q.base, &response, e);
	if (status == STATUS_OK) {
		buf_append(ret, response->data.data, response->data.len);
		grpc__get_iptables_response__free_unpacked(response, NULL);
	}
	return status;
}

static void packet_filters(void **state)
{
	static const char rules[] = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n"
				    ":OUTPUT ACCEPT [0:0]\n-A INPUT -p tcp -j DROP\nCOMMIT\n";

	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		_cleanup_buf_ struct buf text = BUF_INIT;
		struct err e = ERR_INIT;
		if (set_filters(ipv6, rules, &e) != STATUS_OK)
			fail_msg("%s", e.text);
		assert_int_equal(get_filters(ipv6, &text, &e), STATUS_OK);
		assert_non_null(strstr(text.data, "-A INPUT -p tcp -j DROP\n"));
		assert_int_equal(set_filters(ipv6, "*filter\nnonsense\nCOMMIT\n", &e),
				 STATUS_INTERNAL);
		assert_non_null(strstr(e.text, ipv6 ? "/usr/sbin/ip6tables-restore: it failed "
						    : "/usr/sbin/iptables-restore: it failed "));
		assert_non_null(strstr(e.text, "line"));
	}
}

static void write_tool(const char *name, const char *script)
{
	char path[64];

	(void)snprintf(path, sizeof path, "/usr/sbin/%s", name);
	assert_int_equal(file_replace(path, script, strlen(script), 0755), 0);
}

/* Other tools in the place of the real ones: this process and the agent have mounts of their own.
 */
static void tools_that_are_missing_or_odd(void **state)
{
	Grpc__GetIPTablesRequest q = GRPC__GET_IPTABLES_REQUEST__INIT;
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	struct async hangs;

	assert_int_equal(mount("none", "/usr/sbin", "tmpfs", 0, NULL), 0);
	assert_int_equal(get_filters(false, &text, &e), STATUS_UNIMPLEMENTED);
	assert_string_equal(e.text, "this guest has no iptables-save");
	assert_int_equal(set_filters(true, "", &e), STATUS_UNIMPLEMENTED);
	assert_string_equal(e.text, "this guest has no ip6tables-restore");

	write_tool("iptables-legacy-save", "#!/bin/sh\nprintf legacy\n");
	assert_int_equal(get_filters(false, &text, &e), STATUS_OK);
	assert_string_equal(text.data, "legacy");
	write_tool("iptables-nft-save", "#!/bin/sh\nexec head -c 5000000 /dev/zero\n");
	assert_int_equal(get_filters(false, &text, &e), STATUS_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(e.text, "more than"));
	write_tool("iptables-nft-save", "#!/bin/sh\nyes oh | head -c 1000000 >&2\nexit 3\n");
	assert_int_equal(get_filters(false, &text, &e), STATUS_INTERNAL);
	assert_non_null(strstr(e.text, "status 3: oh oh oh "));
	/* it reads nothing of much */
	char *much = calloc(1, 1000001);
	assert_non_null(much);
	memset(much, '#', 1000000);
	write_tool("iptables-restore", "#!/bin/sh\necho $1\nexit 0\n");
	assert_int_equal(set_filters(false, much, &e), STATUS_OK);
	free(much);

	/* one that hangs holds up nobody, and not for ever */
	write_tool("iptables-save", "#!/bin/sh\nexec sleep 1000\n");
	call_async(&f, "GetIPTables", &q.base, &hangs);
	plug("eth0", 1);
	update_ok("eth0", mac1, "10.0.0.2/24");
	assert_false(async_wait(&hangs, 100));
	assert_true(async_wait(&hangs, 30000));
	assert_int_equal(hangs.status, STATUS_DEADLINE_EXCEEDED);
	async_end(&hangs);
	assert_int_equal(umount2("/usr/sbin", MNT_DETACH), 0);
}

/* ---- The group ---------------------------------------------------------------------------- */

static int setup(void **state)
{
	if (unshare(CLONE_NEWNET) < 0 || netlink_open(&nl, NULL) < 0)
		return -1;
	fixture_start(&f, agent_program);
	return 0;
}

static int teardown(void **state)
{
	netlink_free(nl);
	return fixture_stop(&f) == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(an_interface_becomes_what_is_asked, unplug_all),
		cmocka_unit_test_teardown(repeated_calls_change_nothing, unplug_all),
		cmocka_unit_test_teardown(names_are_swapped, unplug_all),
		cmocka_unit_test_teardown(a_failure_leaves_no_mess, unplug_all),
		cmocka_unit_test_teardown(wrong_interfaces_are_refused, unplug_all),
		cmocka_unit_test_teardown(a_place_on_the_bus_is_waited_for, unplug_all),
		cmocka_unit_test_teardown(without_ipv6_the_rest_works, unplug_all),
		cmocka_unit_test_teardown(many_interfaces, unplug_all),
		cmocka_unit_test_teardown(routes_become_what_is_listed, unplug_all),
		cmocka_unit_test_teardown(wrong_routes_are_refused, unplug_all),
		cmocka_unit_test_teardown(many_routes, unplug_all),
		cmocka_unit_test_teardown(neighbours, unplug_all),
		cmocka_unit_test_teardown(packet_filters, unplug_all),
		cmocka_unit_test_teardown(tools_that_are_missing_or_odd, unplug_all),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s AGENT\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
