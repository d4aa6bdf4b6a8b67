/* SPDX-License-Identifier: Apache-2.0 */
/* Needs root: it makes interfaces in a network namespace of its own. */
#include "base/testing.h"

#include "sys/netlink-route.h"

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

static struct netlink *nl;

static void run_ok(struct netlink_batch *b)
{
	struct err e = ERR_INIT;
	if (netlink_run(nl, b, &e) < 0)
		fail_msg("%s", e.text);
}

static struct netlink_link get(const char *name)
{
	_cleanup_free_ struct netlink_link *v = NULL;
	size_t n;

	assert_int_equal(netlink_links(nl, &v, &n, NULL), 0);
	const struct netlink_link *l = netlink_link_named(v, n, name);
	if (!l)
		fail_msg("there is no %s", name);
	assert_ptr_equal(netlink_link_at(v, n, l->index), l);
	return *l;
}

static void set_up(const char *name)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_link l = get(name);
	netlink_change_link(&b, &l, &(struct netlink_link_change){.flags = IFF_UP, .mask = IFF_UP});
	run_ok(&b);
}

static int setup(void **state)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;

	if (unshare(CLONE_NEWNET) < 0 || netlink_open(&nl, NULL) < 0)
		return -1;
	netlink_add_veth(&b, "v0", "v1");
	return netlink_run(nl, &b, NULL);
}

static int teardown(void **state)
{
	netlink_free(nl);
	return 0;
}

static void test_texts(void **state)
{
	struct netlink_mac mac = {.len = 0};
	struct netlink_ip ip;
	char text[NETLINK_IP_TEXT], mac_text[NETLINK_MAC_TEXT];

	static const char *const bad_macs[] = {"",
					       "00:00:00:00:00:00",
					       "02:00:00:00:00",
					       "02:00:00:00:00:0",
					       "02:00:00:00:00:0g",
					       "02-00-00-00-00-01",
					       "02:00:00:00:00:01:",
					       "01:00:5e:00:00:01",
					       "ff:ff:ff:ff:ff:ff",
					       "02:00:00:00:00:01 "};
	for (size_t i = 0; i < ARRAY_SIZE(bad_macs); i++)
		assert_int_equal(netlink_mac_parse(bad_macs[i], &mac), -EINVAL);
	assert_int_equal(netlink_mac_parse("02:AB:cd:00:00:01", &mac), 0);
	netlink_mac_format(&mac, mac_text);
	assert_string_equal(mac_text, "02:ab:cd:00:00:01");

	static const char *const bad_ips[] = {
		"",	   "10.0.0",  "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/-1", "10.0.0.1/+1",
		"::1/129", "::1/0x1", "10.0.0.1 ",   "::g",	  "1.2.3.4/0001"};
	for (size_t i = 0; i < ARRAY_SIZE(bad_ips); i++)
		assert_int_equal(netlink_ip_parse(bad_ips[i], &ip), -EINVAL);
	assert_int_equal(netlink_ip_parse("10.1.2.3/24", &ip), 0);
	netlink_ip_format_prefix(&ip, text);
	assert_string_equal(text, "10.1.2.3/24");
	assert_int_equal(netlink_ip_parse("FD00::1", &ip), 0);
	netlink_ip_format_prefix(&ip, text);
	assert_string_equal(text, "fd00::1/128");

	static const char *const bad_names[] = {
		"", ".", "..", "a/b", "a b", "a:1", "eth%d", "sixteencharacter", "a\n", "\xc3\xa4"};
	for (size_t i = 0; i < ARRAY_SIZE(bad_names); i++)
		assert_false(netlink_name_valid(bad_names[i]));
	assert_true(netlink_name_valid("fifteencharacte"));
	assert_true(netlink_name_valid("eth0.100@x"));
}

static void test_links(void **state)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_link lo = get("lo"), l = get("v0");
	struct netlink_mac mac;

	assert_true(lo.flags & IFF_LOOPBACK);
	assert_string_equal(lo.kind, "");
	assert_string_equal(l.kind, "veth");
	assert_int_equal(l.lower, get("v1").index);
	assert_false(l.flags & IFF_UP);
	assert_int_equal(netlink_mac_parse("02:00:00:00:00:01", &mac), 0);
	netlink_change_link(&b, &l,
			    &(struct netlink_link_change){.name = "x0",
							  .mac = &mac,
							  .mtu = 1400,
							  .flags = IFF_UP | IFF_NOARP,
							  .mask = IFF_UP | IFF_NOARP});
	run_ok(&b);
	l = get("x0");
	assert_true(l.flags & IFF_UP);
	assert_true(l.flags & IFF_NOARP);
	assert_int_equal(l.mtu, 1400);
	assert_true(netlink_mac_equal(&l.mac, &mac));
	netlink_change_link(&b, &l, &(struct netlink_link_change){.mask = IFF_UP | IFF_NOARP});
	netlink_change_link(&b, &l, &(struct netlink_link_change){.name = "v0", .mtu = 1500});
	run_ok(&b);
	assert_int_equal(get("v0").flags & (IFF_UP | IFF_NOARP), 0);

	netlink_add_veth(&b, "gone0", "gone1");
	run_ok(&b);
	l = get("gone0");
	netlink_remove_link(&b, &l);
	run_ok(&b);
	netlink_remove_link(&b, &l);
	assert_int_equal(netlink_run(nl, &b, NULL), -ENODEV);
}

/* The first failure of many is told, in words; what stands beside it is done. */
static void test_a_batch_tells_which_failed(void **state)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_link l = get("v0");
	struct netlink_ip ip;
	struct err e = ERR_INIT;

	for (int i = 0; i < 200; i++) {
		char text[32];
		(void)snprintf(text, sizeof text, "10.9.%d.1/24", i);
		assert_int_equal(netlink_ip_parse(text, &ip), 0);
		netlink_add_address(&b, &l, &ip, 0);
		if (i == 150)
			netlink_add_address(&b, &l, &ip, 0);
	}
	assert_int_equal(netlink_run(nl, &b, &e), -EEXIST);
	assert_int_equal(e.status, STATUS_ALREADY_EXISTS);
	assert_non_null(strstr(e.text, "add address 10.9.150.1/24 to interface v0"));
	assert_int_equal(b.n, 0);

	struct netlink_address *v;
	size_t n, seen = 0;
	assert_int_equal(netlink_addresses(nl, &v, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		if (v[i].index != l.index || v[i].local.family != AF_INET)
			continue;
		seen++;
		netlink_remove_address(&b, &l, &v[i]);
	}
	assert_true(seen > 151 && seen <= 200); /* the datagram with the failure was finished */
	run_ok(&b);
	free(v);

	/* the kernel's own words */
	struct netlink_route route = {.dest = {.family = AF_INET},
				      .gateway = {.family = AF_INET, .bytes = {10, 0, 0, 1}},
				      .index = l.index,
				      .table = RT_TABLE_MAIN,
				      .type = RTN_UNICAST,
				      .proto = RTPROT_BOOT};
	set_up("v0");
	netlink_add_route(&b, "v0", &route);
	assert_true(netlink_run(nl, &b, &e) < 0);
	assert_non_null(strstr(e.text, "add route default by 10.0.0.1 on interface v0: "
				       "Nexthop has invalid gateway: "));

	netlink_add_address(&b, &l, &ip, 0);
	netlink_add_address(&b, &l, &ip, 0);
	netlink_tolerate(&b, EEXIST);
	run_ok(&b);
}

static void add_address(const char *name, const char *text)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_link l = get(name);
	struct netlink_ip ip;

	assert_int_equal(netlink_ip_parse(text, &ip), 0);
	netlink_add_address(&b, &l, &ip, ip.family == AF_INET6 ? IFA_F_NODAD : 0);
	run_ok(&b);
}

/* Looks for what has been written. */
static bool has_route(const struct netlink_route *r)
{
	_cleanup_free_ struct netlink_route *v = NULL;
	size_t n;
	bool found = false;

	assert_int_equal(netlink_routes(nl, &v, &n, NULL), 0);
	for (size_t i = 0; i < n; i++)
		found |= netlink_ip_equal(&v[i].dest, &r->dest) &&
			 v[i].dest.prefix == r->dest.prefix && v[i].index == r->index &&
			 netlink_ip_equal(&v[i].gateway, &r->gateway) &&
			 netlink_ip_equal(&v[i].prefsrc, &r->prefsrc) && v[i].mtu == r->mtu &&
			 v[i].metric == r->metric && v[i].table == r->table &&
			 v[i].scope == r->scope && v[i].proto == r->proto && v[i].type == r->type &&
			 (v[i].flags & RTNH_F_ONLINK) == (r->flags & RTNH_F_ONLINK) &&
			 v[i].hops == r->hops;
	return found;
}

static void ip(struct netlink_ip *ret, const char *text)
{
	assert_int_equal(netlink_ip_parse(text, ret), 0);
}

static void test_routes(void **state)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_route plain = {.index = get("v0").index,
				      .table = RT_TABLE_MAIN,
				      .type = RTN_UNICAST,
				      .proto = RTPROT_STATIC,
				      .hops = 1};
	struct netlink_route r[6];

	set_up("v0");
	set_up("v1");
	add_address("v0", "10.1.0.2/24");
	add_address("v0", "fd01::2/64");
	for (size_t i = 0; i < ARRAY_SIZE(r); i++)
		r[i] = plain;
	ip(&r[0].dest, "0.0.0.0/0");
	ip(&r[0].gateway, "10.1.0.1");
	r[0].mtu = 1400;
	r[0].metric = 7;
	ip(&r[1].dest, "10.2.0.0/16");
	ip(&r[1].prefsrc, "10.1.0.2");
	r[1].scope = RT_SCOPE_LINK;
	ip(&r[2].dest, "10.3.0.0/16");
	ip(&r[2].gateway, "192.168.77.1"); /* not of a network of ours */
	r[2].flags = RTNH_F_ONLINK;
	r[2].table = 1000;
	ip(&r[3].dest, "::/0");
	ip(&r[3].gateway, "fd01::1");
	r[3].metric = 1024;
	r[3].mtu = 1300;
	ip(&r[4].dest, "10.4.0.0/16");
	ip(&r[4].gateway, "fd01::1");
	ip(&r[5].dest, "fd02::/64");
	ip(&r[5].gateway, "fe80::1");
	r[5].flags = RTNH_F_ONLINK;
	r[5].metric = 1024;
	for (size_t i = 0; i < ARRAY_SIZE(r); i++)
		netlink_add_route(&b, "v0", &r[i]);
	run_ok(&b);
	for (size_t i = 0; i < ARRAY_SIZE(r); i++)
		if (!has_route(&r[i]))
			fail_msg("route %zu is missing", i);
	/* a second hop makes one route of two */
	struct netlink_route second = r[3];
	ip(&second.gateway, "fd01::3");
	netlink_add_route(&b, "v0", &second);
	run_ok(&b);
	r[3].hops = second.hops = 2;
	assert_true(has_route(&r[3]));
	assert_true(has_route(&second));
	netlink_remove_route(&b, "v0", &second);
	run_ok(&b);
	r[3].hops = 1;
	assert_true(has_route(&r[3]));
	for (size_t i = 0; i < ARRAY_SIZE(r); i++)
		netlink_remove_route(&b, "v0", &r[i]);
	run_ok(&b);
	for (size_t i = 0; i < ARRAY_SIZE(r); i++)
		assert_false(has_route(&r[i]));
	netlink_remove_route(&b, "v0", &r[0]);
	assert_int_equal(netlink_run(nl, &b, NULL), -ESRCH);
}

static void test_a_thousand_routes(void **state)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	_cleanup_free_ struct netlink_route *v = NULL;
	size_t n, seen = 0;

	set_up("v0");
	for (unsigned i = 0; i < 1000; i++) {
		struct netlink_route r = {.dest = {.family = AF_INET,
						   .prefix = 24,
						   .bytes = {11, (uint8_t)(i / 256), (uint8_t)i}},
					  .index = get("v0").index,
					  .table = RT_TABLE_MAIN,
					  .scope = RT_SCOPE_LINK,
					  .type = RTN_UNICAST,
					  .proto = RTPROT_BOOT};
		netlink_add_route(&b, "v0", &r);
	}
	run_ok(&b);
	assert_int_equal(netlink_routes(nl, &v, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		if (v[i].dest.bytes[0] != 11)
			continue;
		seen++;
		netlink_remove_route(&b, "v0", &v[i]);
	}
	assert_int_equal(seen, 1000);
	run_ok(&b);
}

static void test_neighbours(void **state)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	struct netlink_neighbour want[2] = {{.index = get("v0").index, .state = NUD_PERMANENT},
					    {.index = get("v0").index, .state = NUD_PERMANENT}};
	struct netlink_neighbour *v;
	size_t n, seen = 0;

	set_up("v0");
	ip(&want[0].ip, "10.1.0.77");
	ip(&want[1].ip, "fd01::77");
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < 2; i++) {
			assert_int_equal(
				netlink_mac_parse(round ? "02:00:00:00:00:07" : "02:00:00:00:00:08",
						  &want[i].mac),
				0);
			netlink_set_neighbour(&b, "v0", &want[i]);
		}
	run_ok(&b);
	assert_int_equal(netlink_neighbours(nl, &v, &n, NULL), 0);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < 2; k++)
			seen += netlink_ip_equal(&v[i].ip, &want[k].ip) &&
				netlink_mac_equal(&v[i].mac, &want[k].mac) &&
				v[i].state == NUD_PERMANENT && v[i].index == want[k].index;
	assert_int_equal(seen, 2);
	free(v);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_a_batch_tells_which_failed),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_a_thousand_routes),
		cmocka_unit_test(test_neighbours),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
