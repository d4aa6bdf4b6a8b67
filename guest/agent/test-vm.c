/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent as the first process of a real machine, which QEMU emulates: no virtualisation needed.
 * Needs the image (guest/image/build), QEMU, its virtiofsd, and root for that.
 *
 *	test-guest-vm IMAGE_DIR VSOCK_PROXY
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"
#include "guest/agent/test-machine.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>

static struct fixture f;
static const char *image_dir, *proxy;
static struct machine vm = MACHINE_INIT;

static int setup(void **state)
{
	/* of the network nothing leaves this machine: the gateway is QEMU itself */
	static const char *const card[] = {
		"-netdev", "user,id=net,restrict=on,ipv6-net=fd00:77::/64,ipv6-host=fd00:77::2",
		"-device",
		"virtio-net-pci,netdev=net,mac=02:00:00:00:00:77,addr=0x10,romfile=", NULL};

	fixture_files(&f);
	const struct machine_options o = {.image_dir = image_dir,
					  .proxy = proxy,
					  .dir = f.dir,
					  .share = f.rootfs,
					  .args = card};
	fixture_connect(&f, machine_boot(&vm, &o));
	(void)snprintf(f.rootfs, sizeof f.rootfs, MACHINE_SHARE);
	return 0;
}

static int teardown(void **state)
{
	fixture_disconnect(&f);
	(void)machine_end(&vm);
	return remove_tree(f.dir);
}

/* ---- Tests -------------------------------------------------------------------------------- */

static void it_boots(void **state)
{
	Grpc__HealthCheckResponse *health = NULL;
	Grpc__GuestDetailsRequest q = GRPC__GUEST_DETAILS_REQUEST__INIT;
	Grpc__GuestDetailsResponse *details = NULL;

	printf("# listening after %llu ms\n", (unsigned long long)vm.boot_ms);
	assert_int_equal(call_health(&f, "Check", &health), STATUS_OK);
	grpc__health_check_response__free_unpacked(health, NULL);
	q.mem_block_size = true;
	assert_int_equal(call(&f, "GetGuestDetails", &q.base, &details, NULL), STATUS_OK);
	assert_true(details->agent_details->init_daemon);
	assert_int_equal(details->mem_block_size_bytes, 128 << 20);
	grpc__guest_details_response__free_unpacked(details, NULL);

	Grpc__OnlineCPUMemRequest online = GRPC__ONLINE_CPUMEM_REQUEST__INIT;
	assert_int_equal(call(&f, "OnlineCPUMem", &online.base, NULL, NULL), STATUS_OK);
	uint8_t seed[64] = {1, 2, 3};
	Grpc__ReseedRandomDevRequest reseed = GRPC__RESEED_RANDOM_DEV_REQUEST__INIT;
	reseed.data.data = seed;
	reseed.data.len = sizeof seed;
	assert_int_equal(call(&f, "ReseedRandomDev", &reseed.base, NULL, NULL), STATUS_OK);
	Grpc__SetGuestDateTimeRequest when = GRPC__SET_GUEST_DATE_TIME_REQUEST__INIT;
	when.sec = 2000000000;
	assert_int_equal(call(&f, "SetGuestDateTime", &when.base, NULL, NULL), STATUS_OK);
}

static void its_log_can_be_read(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	int fd = machine_connect(&vm, 1025);
	assert_true(fd >= 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	while (!text.data || !strstr(text.data, "is listening on")) {
		assert_int_equal(poll(&p, 1, 5000), 1);
		char *to = buf_reserve(&text, 4096);
		ssize_t n = read(fd, to, 4095);
		assert_true(n > 0);
		text.len += (size_t)n;
		text.data[text.len] = '\0';
	}
	assert_memory_equal(text.data, "{\"msg\":\"", 8);
	const char *at = strstr(text.data, "is listening on");
	printf("# agent %.*s\n", (int)strcspn(at, "\""), at);
	/* what went wrong while it started would be there */
	assert_null(strstr(text.data, "ERRO"));
	close(fd);
}

static void it_has_a_network(void **state)
{
	Grpc__UpdateInterfaceRequest q = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Grpc__UpdateRoutesRequest routes_q = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__ListInterfacesRequest list_q = GRPC__LIST_INTERFACES_REQUEST__INIT;
	Types__Interface card = TYPES__INTERFACE__INIT;
	Types__IPAddress v4 = TYPES__IPADDRESS__INIT, v6 = TYPES__IPADDRESS__INIT;
	Types__IPAddress *ips[] = {&v4, &v6};
	Types__Route route = TYPES__ROUTE__INIT, *route_v[] = {&route};
	Grpc__Routes routes = GRPC__ROUTES__INIT;
	Grpc__Interfaces *list = NULL;
	struct err e = ERR_INIT;
	bool lo = false;

	/* before the sandbox, as runtimes do it; by the place on the bus, then by the address */
	v4.address = (char *)"10.0.2.15";
	v4.mask = (char *)"24";
	v6.family = TYPES__IPFAMILY__v6;
	v6.address = (char *)"fd00:77::15";
	v6.mask = (char *)"64";
	card.device = card.name = (char *)"pod0";
	card.hwaddr = (char *)"02:00:00:00:00:77";
	card.devicepath = (char *)"10";
	card.mtu = 1400;
	card.ipaddresses = ips;
	card.n_ipaddresses = 2;
	q.interface = &card;
	for (int i = 0; i < 2; i++) {
		uint64_t begin = time_now_ms();
		if (call(&f, "UpdateInterface", &q.base, NULL, &e) != STATUS_OK)
			fail_msg("%s", e.text);
		printf("# UpdateInterface: %llu ms\n", (unsigned long long)(time_now_ms() - begin));
		card.devicepath = (char *)"";
	}
	route.gateway = (char *)"10.0.2.2";
	route.device = (char *)"pod0";
	routes.routes = route_v;
	routes.n_routes = 1;
	routes_q.routes = &routes;
	if (call(&f, "UpdateRoutes", &routes_q.base, NULL, &e) != STATUS_OK)
		fail_msg("%s", e.text);

	assert_int_equal(call(&f, "ListInterfaces", &list_q.base, &list, NULL), STATUS_OK);
	for (size_t i = 0; i < list->n_interfaces; i++)
		if (strcmp(list->interfaces[i]->name, "lo") == 0) {
			assert_int_equal(list->interfaces[i]->n_ipaddresses, 2);
			assert_string_equal(list->interfaces[i]->ipaddresses[0]->address,
					    "127.0.0.1");
			assert_string_equal(list->interfaces[i]->ipaddresses[1]->address, "::1");
			lo = true;
		}
	assert_true(lo);
	grpc__interfaces__free_unpacked(list, NULL);

	Grpc__GetIPTablesRequest tables_q = GRPC__GET_IPTABLES_REQUEST__INIT;
	assert_int_equal(call(&f, "GetIPTables", &tables_q.base, NULL, NULL), STATUS_UNIMPLEMENTED);
}

static void the_sandbox_mounts_the_share(void **state)
{
	Grpc__CreateSandboxRequest q = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__Storage share = GRPC__STORAGE__INIT, shm = GRPC__STORAGE__INIT;
	Grpc__Storage *v[] = {&share, &shm};
	char *nodev[] = {(char *)"nodev"};
	char *size[] = {(char *)"noexec", (char *)"nosuid", (char *)"nodev", (char *)"mode=1777",
			(char *)"size=67108864"};
	char *dns[] = {(char *)"nameserver 10.0.0.53"};
	struct err e = ERR_INIT;

	share.driver = (char *)"virtio-fs";
	share.source = (char *)"kataShared";
	share.fstype = (char *)"virtiofs";
	share.mount_point = (char *)MACHINE_SHARE;
	share.options = nodev;
	share.n_options = 1;
	shm.driver = (char *)"ephemeral";
	shm.source = (char *)"shm";
	shm.fstype = (char *)"tmpfs";
	shm.mount_point = (char *)"/run/kata-containers/sandbox/shm";
	shm.options = size;
	shm.n_options = ARRAY_SIZE(size);
	q.sandbox_id = (char *)"vm0";
	q.hostname = (char *)"vm-host";
	q.storages = v;
	q.n_storages = 2;
	q.dns = dns;
	q.n_dns = 1;
	if (call(&f, "CreateSandbox", &q.base, NULL, &e) != STATUS_OK)
		fail_msg("%s", e.text);
}

static void containers_run(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	uint64_t begin = time_now_ms();
	run(&f, "vm0", "hostname; cat /proc/self/cgroup; sleep 1000");
	printf("# create and start: %llu ms\n", (unsigned long long)(time_now_ms() - begin));
	size_t len;
	while (!text.data || !strstr(text.data, "0::"))
		assert_int_equal(read_some(&f, "vm0", "", false, 4096, &text, &len), STATUS_OK);
	assert_memory_equal(text.data, "vm-host\n", 8);

	begin = time_now_ms();
	for (int i = 0; i < 20; i++) {
		char id[16];
		(void)snprintf(id, sizeof id, "e%d", i);
		static const char *const argv[] = {"/bin/true", NULL};
		assert_int_equal(exec(&f, "vm0", id, false, argv, NULL), STATUS_OK);
		assert_int_equal(wait_process(&f, "vm0", id), 0);
	}
	printf("# exec and wait: %llu ms each\n", (unsigned long long)(time_now_ms() - begin) / 20);
	/* written there, seen here */
	assert_int_equal(exec_sh(&f, "vm0", "write", "echo hello >/tmp/file"), STATUS_OK);
	assert_int_equal(wait_process(&f, "vm0", "write"), 0);
	char path[128];
	(void)snprintf(path, sizeof path, "%s/rootfs/tmp/file", f.dir);
	buf_clear(&text);
	assert_int_equal(file_read(AT_FDCWD, path, 100, &text), 0);
	assert_string_equal(text.data, "hello\n");
	/* a root that cannot be left: pivot_root worked, the agent's own files are out of reach */
	assert_int_equal(
		exec_sh(&f, "vm0", "escape", "ls /../../lib/modules /proc/1/root/lib/modules"),
		STATUS_OK);
	assert_int_not_equal(wait_process(&f, "vm0", "escape"), 0);
}

static void containers_reach_the_gateway(void **state)
{
	static const char *const binds[] = {"/etc/resolv.conf", "/etc/resolv.conf", NULL};
	char *names[] = {(char *)"CAP_NET_RAW"};
	Grpc__LinuxCapabilities capabilities = GRPC__LINUX_CAPABILITIES__INIT;
	struct container_options o = {
		.script =
			"b=/bin/busybox; $b ping -c 2 -W 20 10.0.2.2 && $b ping -c 1 127.0.0.1 && "
			"$b ping6 -c 1 -W 20 fd00:77::2 && $b ping6 -c 1 ::1 2>&1; "
			"echo code $?; $b ip addr; cat /etc/resolv.conf",
		.binds = binds,
		.capabilities = &capabilities};
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct err e = ERR_INIT;

	capabilities.bounding = capabilities.effective = capabilities.permitted = names;
	capabilities.n_bounding = capabilities.n_effective = capabilities.n_permitted = 1;
	if (create(&f, "pinger", &o, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_int_equal(start(&f, "pinger"), STATUS_OK);
	assert_int_equal(read_all(&f, "pinger", "", false, &text), STATUS_OK);
	if (!strstr(text.data, "code 0\n") || !strstr(text.data, "pod0:") ||
	    !strstr(text.data, "nameserver 10.0.0.53\n"))
		fail_msg("%s", text.data);
	assert_int_equal(wait_process(&f, "pinger", ""), 0);
	assert_int_equal(remove_container(&f, "pinger", 20), STATUS_OK);
}

static void bytes_pass_quickly(void **state)
{
	size_t total = 0, len = 1;

	assert_int_equal(exec_sh(&f, "vm0", "bulk", "dd if=/dev/zero bs=65536 count=512"),
			 STATUS_OK);
	uint64_t begin = time_now_ms();
	while (len > 0) {
		assert_int_equal(read_some(&f, "vm0", "bulk", false, 1 << 20, NULL, &len),
				 STATUS_OK);
		total += len;
	}
	assert_int_equal(total, 32 << 20);
	printf("# 32 MiB out: %llu ms\n", (unsigned long long)(time_now_ms() - begin));
	assert_int_equal(wait_process(&f, "vm0", "bulk"), 0);

	static char chunk[1 << 20];
	assert_int_equal(exec_sh(&f, "vm0", "bulk-in", "dd of=/dev/null bs=65536 2>&1"), STATUS_OK);
	begin = time_now_ms();
	for (int i = 0; i < 32; i++)
		assert_int_equal(write_stdin(&f, "vm0", "bulk-in", chunk, sizeof chunk), STATUS_OK);
	assert_int_equal(write_stdin(&f, "vm0", "bulk-in", "", 0), STATUS_OK);
	_cleanup_buf_ struct buf text = BUF_INIT;
	assert_int_equal(read_all(&f, "vm0", "bulk-in", false, &text), STATUS_OK);
	assert_non_null(strstr(text.data, " records out\n"));
	printf("# 32 MiB in: %llu ms\n", (unsigned long long)(time_now_ms() - begin));
}

static uint64_t stat_value(const Grpc__MemoryStats *m, const char *key)
{
	for (size_t i = 0; i < m->n_stats; i++)
		if (strcmp(m->stats[i]->key, key) == 0)
			return m->stats[i]->value;
	return 0;
}

static void limits_hold_and_are_counted(void **state)
{
	Grpc__LinuxResources resources = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxMemory memory = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxPids pids = GRPC__LINUX_PIDS__INIT;
	Grpc__GetOOMEventRequest oom_q = GRPC__GET_OOMEVENT_REQUEST__INIT;
	struct container_options o = {.script = "echo ready; read x; a=x; while :; do a=$a$a; done",
				      .resources = &resources};
	struct async oom;
	struct err e = ERR_INIT;
	size_t len;

	memory.limit = 32 << 20;
	memory.swap = 32 << 20;
	pids.limit = 50;
	resources.memory = &memory;
	resources.pids = &pids;
	if (create(&f, "limited", &o, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_int_equal(start(&f, "limited"), STATUS_OK);
	assert_int_equal(read_some(&f, "limited", "", false, 100, NULL, &len), STATUS_OK);

	Grpc__StatsContainerRequest stats_q = GRPC__STATS_CONTAINER_REQUEST__INIT;
	Grpc__StatsContainerResponse *stats = NULL;
	stats_q.container_id = (char *)"limited";
	assert_int_equal(call(&f, "StatsContainer", &stats_q.base, &stats, NULL), STATUS_OK);
	const Grpc__CgroupStats *c = stats->cgroup_stats;
	assert_int_equal(c->memory_stats->usage->limit, 32 << 20);
	assert_true(c->memory_stats->usage->usage > 0);
	assert_true(stat_value(c->memory_stats, "total_rss") > 0);
	assert_int_equal(c->pids_stats->limit, 50);
	assert_int_equal(c->pids_stats->current, 1);
	assert_true(c->cpu_stats->cpu_usage->total_usage > 0);
	grpc__stats_container_response__free_unpacked(stats, NULL);

	Grpc__UpdateContainerRequest update = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	memory.limit = memory.swap = 24 << 20;
	update.container_id = (char *)"limited";
	update.resources = &resources;
	assert_int_equal(call(&f, "UpdateContainer", &update.base, NULL, NULL), STATUS_OK);
	assert_int_equal(call(&f, "StatsContainer", &stats_q.base, &stats, NULL), STATUS_OK);
	assert_int_equal(stats->cgroup_stats->memory_stats->usage->limit, 24 << 20);
	grpc__stats_container_response__free_unpacked(stats, NULL);

	call_async(&f, "GetOOMEvent", &oom_q.base, &oom);
	assert_false(async_wait(&oom, 200));
	assert_int_equal(write_stdin(&f, "limited", "", "go\n", 3), STATUS_OK);
	assert_true(async_wait(&oom, 30000));
	assert_int_equal(oom.status, STATUS_OK);
	assert_string_equal(((Grpc__OOMEvent *)oom.response)->container_id, "limited");
	async_end(&oom);
	assert_int_equal(wait_process(&f, "limited", ""), 137);
	assert_int_equal(remove_container(&f, "limited", 20), STATUS_OK);
}

static void pausing_stops_time(void **state)
{
	Grpc__PauseContainerRequest pause_q = GRPC__PAUSE_CONTAINER_REQUEST__INIT;
	Grpc__ResumeContainerRequest resume_q = GRPC__RESUME_CONTAINER_REQUEST__INIT;
	Grpc__ReadStreamRequest q = GRPC__READ_STREAM_REQUEST__INIT;
	struct async reading;
	size_t len;

	run(&f, "ticker", "while :; do echo tick; sleep 0.1; done");
	assert_int_equal(read_some(&f, "ticker", "", false, 100, NULL, &len), STATUS_OK);
	pause_q.container_id = resume_q.container_id = q.container_id = (char *)"ticker";
	q.len = 1000;
	assert_int_equal(call(&f, "PauseContainer", &pause_q.base, NULL, NULL), STATUS_OK);
	assert_int_equal(exec_sh(&f, "ticker", "e1", "true"), STATUS_FAILED_PRECONDITION);
	call_async(&f, "ReadStdout", &q.base, &reading);
	if (async_wait(&reading, 500)) { /* what was said before the pause */
		async_end(&reading);
		call_async(&f, "ReadStdout", &q.base, &reading);
		assert_false(async_wait(&reading, 500));
	}
	assert_int_equal(call(&f, "ResumeContainer", &resume_q.base, NULL, NULL), STATUS_OK);
	assert_true(async_wait(&reading, 10000));
	async_end(&reading);
	/* a frozen container can be removed */
	assert_int_equal(call(&f, "PauseContainer", &pause_q.base, NULL, NULL), STATUS_OK);
	assert_int_equal(remove_container(&f, "ticker", 20), STATUS_OK);
}

static void the_end_is_a_power_off(void **state)
{
	Grpc__DestroySandboxRequest q = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	int status = -1;

	assert_int_equal(call(&f, "DestroySandbox", &q.base, NULL, NULL), STATUS_OK);
	assert_int_equal(child_wait(&vm.vmm, time_deadline(20000), &status), 0);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_boots),
		cmocka_unit_test(its_log_can_be_read),
		cmocka_unit_test(it_has_a_network),
		cmocka_unit_test(the_sandbox_mounts_the_share),
		cmocka_unit_test(containers_run),
		cmocka_unit_test(containers_reach_the_gateway),
		cmocka_unit_test(bytes_pass_quickly),
		cmocka_unit_test(limits_hold_and_are_counted),
		cmocka_unit_test(pausing_stops_time),
		cmocka_unit_test(the_end_is_a_power_off),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: %s IMAGE_DIR VSOCK_PROXY\n", argv[0]);
		return 2;
	}
	image_dir = argv[1];
	proxy = argv[2];
	return cmocka_run_group_tests(tests, setup, teardown);
}
