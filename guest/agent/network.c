/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/network.h"

#include "base/text.h"
#include "guest/agent/agent.h"

#include <inttypes.h>
#include <linux/neighbour.h>
#include <string.h>

/* The driver of the cards that machines give their guests. */
#define NETWORK_MODULE "virtio_net"

/* Answers with the message that work() left, or with the failure. */
static void reply_result(struct job *j)
{
	ProtobufCMessage *m = j->result;

	if (j->r < 0) {
		log_error("%s: %s", rpc_call_method(j->call), err_text(&j->e, j->r));
		rpc_call_fail(j->call, &j->e);
	} else {
		rpc_call_reply(j->call, m);
	}
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

static void start(struct agent *a, struct rpc_call *call, void (*work)(struct job *),
		  void (*done)(struct job *))
{
	struct job *j = job_new(a, call, NULL);
	if (j)
		job_start(j, work, done);
}

/* ---- UpdateInterface ---------------------------------------------------------------------- */

static const Types__Interface *interface_of(struct job *j)
{
	const Grpc__UpdateInterfaceRequest *q = (const void *)rpc_call_request(j->call);
	return q->interface;
}

static int grant(struct agent *a, const Types__Interface *m, const struct network_wish *w,
		 struct err *e)
{
	_cleanup_(netlink_free_p) struct netlink *nl = NULL;
	char name[IF_NAMESIZE];

	int r = netlink_open(&nl, e);
	if (r < 0)
		return r;
	if (text_is_given(m->devicepath)) {
		r = devices_look_net(a->devices, m->devicepath, name, e);
		return r < 0 ? r : network_wish_grant(nl, w, name, e);
	}
	r = network_wish_grant(nl, w, NULL, e);
	/* a card that came after the start, when no device asked for its driver */
	if (r < 0 && e->status == STATUS_NOT_FOUND && modules_has(a->modules, NETWORK_MODULE) &&
	    modules_load_present(a->modules, NETWORK_MODULE, NULL) == 0)
		r = network_wish_grant(nl, w, NULL, e);
	return r;
}

static void update_interface_work(struct job *j)
{
	const Types__Interface *m = interface_of(j);
	struct network_wish w;

	j->r = network_wish_parse(m, &w, &j->e);
	if (j->r < 0)
		return;
	j->r = grant(j->agent, m, &w, &j->e);
	network_wish_free(&w);
}

static void update_interface_done(struct job *j)
{
	if (j->r < 0) {
		log_error("UpdateInterface: %s", err_text(&j->e, j->r));
		rpc_call_fail(j->call, &j->e);
	} else {
		rpc_call_reply(j->call, &interface_of(j)->base);
	}
}

static int interface_look(struct job *j, struct err *e)
{
	struct network_wish w;
	char name[IF_NAMESIZE];

	/* what is wrong need not wait */
	int r = network_wish_parse(interface_of(j), &w, e);
	if (r < 0)
		return r;
	network_wish_free(&w);
	return devices_look_net(j->agent->devices, interface_of(j)->devicepath, name, e);
}

static void interface_ready(struct job *j)
{
	if (j->r < 0)
		job_finish(j, update_interface_done);
	else
		job_start(j, update_interface_work, update_interface_done);
}

void network_update_interface(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;
	const Grpc__UpdateInterfaceRequest *q = (const void *)rpc_call_request(call);
	const struct hotplug_want want = {.look = interface_look,
					  .kinds = UEVENT_NET | UEVENT_PCI,
					  .timeout_ms = a->options.hotplug_timeout_s * 1000ULL};

	if (!q->interface) {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "the interface is missing");
		return;
	}
	struct job *j = job_new(a, call, NULL);
	if (!j)
		return;
	if (text_is_given(q->interface->devicepath))
		hotplug_wait(j, &want, interface_ready);
	else
		job_start(j, update_interface_work, update_interface_done);
}

/* ---- Routes ------------------------------------------------------------------------------- */

static void list_routes_work(struct job *j)
{
	_cleanup_(netlink_free_p) struct netlink *nl = NULL;
	Grpc__Routes *list = NULL;

	j->r = netlink_open(&nl, &j->e);
	if (j->r == 0)
		j->r = network_get_routes(nl, &list, &j->e);
	j->result = list;
}

static void update_routes_work(struct job *j)
{
	const Grpc__UpdateRoutesRequest *q = (const void *)rpc_call_request(j->call);
	_cleanup_(netlink_free_p) struct netlink *nl = NULL;
	Grpc__Routes *list = NULL;

	j->r = netlink_open(&nl, &j->e);
	if (j->r == 0)
		j->r = network_set_routes(nl, q->routes->routes, q->routes->n_routes, &j->e);
	if (j->r == 0)
		j->r = network_get_routes(nl, &list, &j->e);
	j->result = list;
}

void network_update_routes(void *ctx, struct rpc_call *call)
{
	const Grpc__UpdateRoutesRequest *q = (const void *)rpc_call_request(call);

	if (q->routes)
		start(ctx, call, update_routes_work, reply_result);
	else
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "the routes are missing");
}

void network_list_routes(void *ctx, struct rpc_call *call)
{
	start(ctx, call, list_routes_work, reply_result);
}

/* ---- ListInterfaces ----------------------------------------------------------------------- */

static int copy(const char *text, char **ret)
{
	char *s = strdup(text);
	if (!s)
		return -ENOMEM;
	*ret = s;
	return 0;
}

static int fill_address(const struct netlink_address *a, Types__IPAddress *m)
{
	char address[NETLINK_IP_TEXT], mask[8];

	netlink_ip_format(&a->local, address);
	(void)snprintf(mask, sizeof mask, "%u", a->local.prefix);
	m->family = a->local.family == AF_INET6 ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4;
	return copy(address, &m->address) < 0 || copy(mask, &m->mask) < 0 ? -ENOMEM : 0;
}

static int fill_addresses(int index, const struct netlink_address *v, size_t n, Types__Interface *m)
{
	m->ipaddresses = calloc(n + 1, sizeof(Types__IPAddress *));
	if (!m->ipaddresses)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (v[i].index != index)
			continue;
		Types__IPAddress *ip = malloc(sizeof *ip);
		if (!ip)
			return -ENOMEM;
		types__ipaddress__init(ip);
		m->ipaddresses[m->n_ipaddresses++] = ip;
		if (fill_address(&v[i], ip) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int fill_interface(const struct netlink_link *l, const struct netlink_address *v, size_t n,
			  Types__Interface *m)
{
	char mac[NETLINK_MAC_TEXT];

	netlink_mac_format(&l->mac, mac);
	m->mtu = l->mtu;
	m->raw_flags = l->flags & IFF_NOARP;
	if (copy(l->name, &m->device) < 0 || copy(l->name, &m->name) < 0 ||
	    copy(mac, &m->hwaddr) < 0 || copy(l->kind, &m->type) < 0)
		return -ENOMEM;
	return fill_addresses(l->index, v, n, m);
}

static int fill_interfaces(const struct netlink_link *links, size_t n_links,
			   const struct netlink_address *v, size_t n, Grpc__Interfaces *list)
{
	list->interfaces = calloc(n_links + 1, sizeof(Types__Interface *));
	if (!list->interfaces)
		return -ENOMEM;
	for (size_t i = 0; i < n_links; i++) {
		Types__Interface *m = malloc(sizeof *m);
		if (!m)
			return -ENOMEM;
		types__interface__init(m);
		list->interfaces[list->n_interfaces++] = m;
		if (fill_interface(&links[i], v, n, m) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void list_interfaces_work(struct job *j)
{
	_cleanup_(netlink_free_p) struct netlink *nl = NULL;
	_cleanup_free_ struct netlink_link *links = NULL;
	_cleanup_free_ struct netlink_address *addresses = NULL;
	size_t n_links, n_addresses;

	j->r = netlink_open(&nl, &j->e);
	if (j->r == 0)
		j->r = netlink_links(nl, &links, &n_links, &j->e);
	if (j->r == 0)
		j->r = netlink_addresses(nl, &addresses, &n_addresses, &j->e);
	if (j->r < 0)
		return;
	Grpc__Interfaces *list = malloc(sizeof *list);
	if (list)
		grpc__interfaces__init(list);
	j->result = list;
	if (!list || fill_interfaces(links, n_links, addresses, n_addresses, list) < 0)
		j->r = err_set(&j->e, -ENOMEM, "no memory for the list of interfaces");
}

void network_list_interfaces(void *ctx, struct rpc_call *call)
{
	start(ctx, call, list_interfaces_work, reply_result);
}

/* ---- AddARPNeighbors ---------------------------------------------------------------------- */

static int parse_neighbour(const Types__ARPNeighbor *m, struct netlink_neighbour *n, struct err *e)
{
	const char *address = m->toipaddress ? m->toipaddress->address : "";

	*n = (struct netlink_neighbour){.state = NUD_PERMANENT};
	if (strchr(address, '/') || netlink_ip_parse(address, &n->ip) < 0)
		return err_set(e, -EINVAL, "toIPAddress \"%.100s\": not an address", address);
	if (m->flags < 0 || m->flags > UINT8_MAX)
		return err_set(e, -EINVAL, "flags %" PRId32 ": not 0 to %d", m->flags, UINT8_MAX);
	if (m->state < 0 || m->state > UINT8_MAX)
		return err_set(e, -EINVAL, "state %" PRId32 ": not 0 to %d", m->state, UINT8_MAX);
	n->flags = (uint8_t)m->flags;
	if (m->state)
		n->state = (uint16_t)m->state;
	/* who answers for another host needs no address of it */
	if (!(n->flags & NTF_PROXY) && netlink_mac_parse(m->lladdr, &n->mac) < 0)
		return err_set(e, -EINVAL, "lladdr \"%.100s\": not the address of one interface",
			       m->lladdr);
	return 0;
}

static int add_neighbours(const Grpc__ARPNeighbors *q, struct netlink *nl, struct err *e)
{
	_cleanup_netlink_batch_ struct netlink_batch b = NETLINK_BATCH_INIT;
	_cleanup_free_ struct netlink_link *links = NULL;
	size_t n_links;

	if (q->n_arpneighbors > NETWORK_NEIGHBOURS_MAX)
		return err_set(e, -E2BIG, "%zu neighbours: more than %d", q->n_arpneighbors,
			       NETWORK_NEIGHBOURS_MAX);
	int r = netlink_links(nl, &links, &n_links, e);
	for (size_t i = 0; r == 0 && i < q->n_arpneighbors; i++) {
		const Types__ARPNeighbor *m = q->arpneighbors[i];
		const struct netlink_link *l = netlink_link_named(links, n_links, m->device);
		struct netlink_neighbour n;
		r = parse_neighbour(m, &n, e);
		if (r < 0)
			return err_wrap(e, r, "neighbour %zu", i);
		if (!l)
			return err_status(e, STATUS_NOT_FOUND,
					  "neighbour %zu: there is no interface \"%.100s\"", i,
					  m->device);
		n.index = l->index;
		if (n.ip.family == AF_INET6 && !network_has_ipv6(l->name))
			continue;
		netlink_set_neighbour(&b, l->name, &n);
	}
	return r < 0 ? r : netlink_run(nl, &b, e);
}

static void add_neighbours_work(struct job *j)
{
	const Grpc__AddARPNeighborsRequest *q = (const void *)rpc_call_request(j->call);
	_cleanup_(netlink_free_p) struct netlink *nl = NULL;

	j->r = netlink_open(&nl, &j->e);
	if (j->r == 0)
		j->r = add_neighbours(q->neighbors, nl, &j->e);
}

void network_add_neighbours(void *ctx, struct rpc_call *call)
{
	const Grpc__AddARPNeighborsRequest *q = (const void *)rpc_call_request(call);

	if (q->neighbors)
		start(ctx, call, add_neighbours_work, job_reply_empty);
	else
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "the neighbours are missing");
}
