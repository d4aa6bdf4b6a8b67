/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hardware that is there at boot, or plugged in before or after the agent is asked for it: disks of
 * every kind, processors, memory, swap. Needs an image with the drivers (guest/image/test-devices),
 * QEMU, its virtiofsd, mkfs.ext4, and root for that.
 *
 *	test-guest-devices IMAGE_DIR VSOCK_PROXY
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"
#include "guest/agent/test-machine.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#define DISKS 12
#define VOLUMES "/run/kata-containers/sandbox/storage/"
#define WISHES_MAX 4
/* agent.hotplug_timeout of this guest */
#define HOTPLUG_S 10

static struct fixture f;
static const char *image_dir, *proxy;
static struct machine vm = MACHINE_INIT;

/* ---- Disks -------------------------------------------------------------------------------- */

static void run_program(const char *const *argv)
{
	struct child_spec spec = CHILD_SPEC_INIT;
	struct err e = ERR_INIT;

	spec.argv = argv;
	int r = child_run(&spec, 60000, &e);
	if (r != 0)
		fail_msg("%s: %d %s", argv[0], r, e.text);
}

/* An ext4 file system with a file "name" in it. */
static void make_volume(const char *path, const char *size, const char *name)
{
	char content[128], file[160];

	(void)snprintf(content, sizeof content, "%s/content", f.dir);
	(void)snprintf(file, sizeof file, "%s/name", content);
	assert_int_equal(mkdir_parents(content, 0755), 0);
	assert_int_equal(file_replace(file, name, strlen(name), 0644), 0);
	const char *argv[] = {"/usr/sbin/mkfs.ext4", "-q", "-F", "-d", content, path, size, NULL};
	run_program(argv);
}

/* Disk N: a volume; the last two: bytes, and one for swap. */
static void make_disks(void)
{
	static char bytes[1 << 20];
	char path[96], name[16];

	for (int i = 0; i < DISKS; i++) {
		(void)snprintf(path, sizeof path, "%s/disk%d", f.dir, i);
		(void)snprintf(name, sizeof name, "disk%d\n", i);
		make_volume(path, "8M", name);
	}
	(void)snprintf(bytes, sizeof bytes, "raw bytes\n");
	(void)snprintf(path, sizeof path, "%s/disk%d", f.dir, DISKS - 2);
	assert_int_equal(file_replace(path, bytes, sizeof bytes, 0644), 0);
	(void)snprintf(path, sizeof path, "%s/disk%d", f.dir, DISKS - 1);
	const char *argv[] = {"/usr/sbin/mkswap", path, NULL};
	run_program(argv);
	(void)snprintf(path, sizeof path, "%s/pmem", f.dir);
	make_volume(path, "64M", "pmem\n");
}

/* ---- The machine -------------------------------------------------------------------------- */

static const char *const hardware[] = {
	"-device",
	"intel-iommu",
	/* at boot: one on the root bus, one behind another root bus */
	"-device",
	"virtio-blk-pci,drive=d0,bus=pcie.0,addr=05",
	"-device",
	"pcie-root-port,id=rp0,bus=pcie.0,addr=06,chassis=1",
	"-device",
	"pcie-root-port,id=rp1,bus=pcie.0,addr=07,chassis=2",
	"-device",
	"pci-bridge,id=br0,bus=pcie.0,addr=08,chassis_nr=3,shpc=on",
	"-device",
	"pxb-pcie,id=pxb0,bus_nr=32,bus=pcie.0,addr=09",
	"-device",
	"pcie-root-port,id=rp2,bus=pxb0,addr=00,chassis=4",
	"-device",
	"virtio-blk-pci,drive=d1,bus=rp2,addr=00",
	"-device",
	"virtio-scsi-pci,id=scsi0,bus=pcie.0,addr=0a",
	"-device",
	"virtio-pmem-pci,memdev=pm0,bus=pcie.0,addr=0b",
	"-device",
	"virtio-rng-pci,bus=pcie.0,addr=0c",
};

static int setup(void **state)
{
	static char words[DISKS + 1][192];
	const char *args[ARRAY_SIZE(hardware) + 2 * (DISKS + 1) + 1] = {NULL};
	size_t n = 0;

	fixture_files(&f);
	make_disks();
	for (int i = 0; i < DISKS; i++) {
		(void)snprintf(words[i], sizeof words[i],
			       "driver=file,node-name=d%d,filename=%s/disk%d", i, f.dir, i);
		args[n++] = "-blockdev";
		args[n++] = words[i];
	}
	(void)snprintf(words[DISKS], sizeof words[DISKS],
		       "memory-backend-file,id=pm0,share=on,size=64M,mem-path=%s/pmem", f.dir);
	args[n++] = "-object";
	args[n++] = words[DISKS];
	for (size_t i = 0; i < ARRAY_SIZE(hardware); i++)
		args[n++] = hardware[i];
	const struct machine_options o = {.image_dir = image_dir,
					  .proxy = proxy,
					  .dir = f.dir,
					  .share = f.rootfs,
					  .memory = "512,slots=4,maxmem=4G",
					  .cpus = "1,sockets=3,cores=1,threads=1,maxcpus=3",
					  .cmdline = "agent.hotplug_timeout=10",
					  .args = args};
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

/* Plugs disk N in at a place, "bus=rp0,addr=00" as JSON. */
static void plug(const char *driver, int disk, const char *where)
{
	char command[256];

	(void)snprintf(
		command, sizeof command,
		"{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"%s\",\"id\":\"v%d\","
		"\"drive\":\"d%d\",%s}}",
		driver, disk, disk, where);
	machine_qmp(&vm, command);
}

/* ---- Containers with devices -------------------------------------------------------------- */

/* Volumes are at /mnt/0, /mnt/1...; devices have the nodes that their paths say. */
struct wishes {
	size_t n_storages, n_devices;
	Grpc__Storage storages[WISHES_MAX];
	Grpc__Device devices[WISHES_MAX];
	char mount_points[WISHES_MAX][64], destinations[WISHES_MAX][16];

	Grpc__Storage *storage_list[WISHES_MAX];
	Grpc__Device *device_list[WISHES_MAX];
	Grpc__Mount mounts[WISHES_MAX];
	Grpc__Mount *mount_list[WISHES_MAX + 8];
	Grpc__LinuxDevice nodes[WISHES_MAX];
	Grpc__LinuxDevice *node_list[WISHES_MAX];
};

static Grpc__Storage *wish_volume(struct wishes *w, const char *driver, const char *source,
				  const char *name)
{
	Grpc__Storage *s = &w->storages[w->n_storages];
	size_t i = w->n_storages++;

	grpc__storage__init(s);
	(void)snprintf(w->mount_points[i], sizeof w->mount_points[i], VOLUMES "%s", name);
	(void)snprintf(w->destinations[i], sizeof w->destinations[i], "/mnt/%zu", i);
	s->driver = (char *)driver;
	s->source = (char *)source;
	s->fstype = (char *)"ext4";
	s->mount_point = w->mount_points[i];
	w->storage_list[i] = s;
	return s;
}

static void wish_device(struct wishes *w, const char *type, const char *id, const char *path,
			uint32_t minor)
{
	Grpc__Device *d = &w->devices[w->n_devices];
	Grpc__LinuxDevice *node = &w->nodes[w->n_devices];

	grpc__device__init(d);
	grpc__linux_device__init(node);
	d->type = (char *)type;
	d->id = (char *)id;
	d->container_path = node->path = (char *)path;
	node->type = (char *)"b";
	node->major = 8;
	node->minor = minor;
	node->filemode = 0660;
	w->node_list[w->n_devices] = node;
	w->device_list[w->n_devices++] = d;
}

static void apply_wishes(Grpc__CreateContainerRequest *q, void *arg)
{
	static char *bind[] = {(char *)"rbind"};
	struct wishes *w = arg;
	size_t n = q->oci->n_mounts;

	q->storages = w->storage_list;
	q->n_storages = w->n_storages;
	q->devices = w->device_list;
	q->n_devices = w->n_devices;
	q->oci->linux->devices = w->node_list;
	q->oci->linux->n_devices = w->n_devices;
	memcpy(w->mount_list, q->oci->mounts, n * sizeof w->mount_list[0]);
	for (size_t i = 0; i < w->n_storages; i++) {
		Grpc__Mount *m = &w->mounts[i];
		grpc__mount__init(m);
		m->source = w->mount_points[i];
		m->destination = w->destinations[i];
		m->type = (char *)"bind";
		m->options = bind;
		m->n_options = 1;
		w->mount_list[n++] = m;
	}
	q->oci->mounts = w->mount_list;
	q->oci->n_mounts = n;
}

static int create_with(const char *id, struct wishes *w, const char *script, struct err *e)
{
	const struct container_options o = {.script = script, .edit = apply_wishes, .edit_arg = w};
	return create(&f, id, &o, e);
}

/* The container is created: lets it run, compares what it says, removes it. */
static void assert_says(const char *id, const char *expected)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(start(&f, id), STATUS_OK);
	assert_int_equal(read_all(&f, id, "", false, &text), STATUS_OK);
	(void)wait_process(&f, id, "");
	assert_int_equal(remove_container(&f, id, 30), STATUS_OK);
	assert_non_null(text.data);
	assert_string_equal(text.data, expected);
}

static void assert_runs(const char *id, struct wishes *w, const char *script, const char *expected)
{
	struct err e = ERR_INIT;

	if (create_with(id, w, script, &e) != STATUS_OK)
		fail_msg("%s: %s", id, e.text);
	assert_says(id, expected);
}

/* A creation that goes on while the test does something else. */
struct creation {
	pthread_t thread;
	const char *id, *script;
	struct wishes *w;
	int status;
	struct err e;
	uint64_t begin, end;
};

static void *create_main(void *arg)
{
	struct creation *c = arg;

	c->begin = time_now_ms();
	c->e = ERR_INIT;
	c->status = create_with(c->id, c->w, c->script, &c->e);
	c->end = time_now_ms();
	return NULL;
}

static void create_begin(struct creation *c, const char *id, struct wishes *w, const char *script)
{
	*c = (struct creation){.id = id, .w = w, .script = script};
	assert_int_equal(pthread_create(&c->thread, NULL, create_main, c), 0);
}

static void create_end(struct creation *c)
{
	assert_int_equal(pthread_join(c->thread, NULL), 0);
	if (c->status != STATUS_OK)
		fail_msg("%s: %s", c->id, c->e.text);
	printf("# %s: created in %llu ms\n", c->id, (unsigned long long)(c->end - c->begin));
}

/* ---- Tests -------------------------------------------------------------------------------- */

static void the_sandbox_is_made(void **state)
{
	Grpc__CreateSandboxRequest q = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__Storage share = GRPC__STORAGE__INIT;
	Grpc__Storage *v[] = {&share};
	struct err e = ERR_INIT;

	printf("# listening after %llu ms\n", (unsigned long long)vm.boot_ms);
	share.driver = (char *)"virtio-fs";
	share.source = (char *)"kataShared";
	share.fstype = (char *)"virtiofs";
	share.mount_point = (char *)MACHINE_SHARE;
	q.sandbox_id = (char *)"vm0";
	q.storages = v;
	q.n_storages = 1;
	if (call(&f, "CreateSandbox", &q.base, NULL, &e) != STATUS_OK)
		fail_msg("%s", e.text);
}

static void disks_of_the_boot_are_found(void **state)
{
	struct wishes w = {.n_storages = 0};

	wish_volume(&w, "blk", "05", "root");
	wish_volume(&w, "blk", "20/00/00", "pxb");
	assert_runs("cold", &w, "cat /mnt/0/name /mnt/1/name; echo x >/mnt/0/new && echo written",
		    "disk0\ndisk1\nwritten\n");
}

static void volumes_can_be_read_only(void **state)
{
	struct wishes w = {.n_storages = 0};
	char *ro[] = {(char *)"ro"};

	Grpc__Storage *s = wish_volume(&w, "blk", "05", "ro");
	s->options = ro;
	s->n_options = 1;
	assert_runs("ro", &w,
		    "cat /mnt/0/name /mnt/0/new; (echo x >/mnt/0/other) 2>/dev/null || "
		    "echo kept",
		    "disk0\nx\nkept\n");
}

static void disks_plugged_in_before_are_found(void **state)
{
	struct wishes w = {.n_storages = 0};

	wish_volume(&w, "blk", "06/00", "before");
	plug("virtio-blk-pci", 2, "\"bus\":\"rp0\",\"addr\":\"00\"");
	(void)usleep(10000);
	uint64_t begin = time_now_ms();
	assert_runs("before", &w, "cat /mnt/0/name", "disk2\n");
	printf("# plugged in before: %llu ms\n", (unsigned long long)(time_now_ms() - begin));
}

static void disks_plugged_in_later_are_waited_for(void **state)
{
	struct wishes w = {.n_storages = 0};
	struct creation c;

	wish_volume(&w, "blk", "07/00", "after0");
	wish_volume(&w, "blk", "08/11", "after1");
	create_begin(&c, "after", &w, "cat /mnt/0/name /mnt/1/name");
	(void)usleep(10000);
	plug("virtio-blk-pci", 3, "\"bus\":\"rp1\",\"addr\":\"00\"");
	(void)usleep(500000);
	plug("virtio-blk-pci", 4, "\"bus\":\"br0\",\"addr\":\"11\"");
	create_end(&c);
	assert_says("after", "disk3\ndisk4\n");
}

static void scsi_disks_are_waited_for(void **state)
{
	struct wishes w = {.n_storages = 0};
	struct creation c;

	wish_volume(&w, "scsi", "0:1", "scsi0");
	wish_volume(&w, "scsi", "1:260", "scsi1");
	plug("scsi-hd", 5, "\"bus\":\"scsi0.0\",\"scsi-id\":0,\"lun\":1");
	create_begin(&c, "scsi", &w, "cat /mnt/0/name /mnt/1/name");
	(void)usleep(10000);
	plug("scsi-hd", 6, "\"bus\":\"scsi0.0\",\"scsi-id\":1,\"lun\":260");
	create_end(&c);
	assert_says("scsi", "disk5\ndisk6\n");
}

static void persistent_memory_is_mounted(void **state)
{
	struct wishes w = {.n_storages = 0};

	wish_volume(&w, "nvdimm", "/dev/pmem0", "pmem");
	assert_runs("pmem", &w, "cat /mnt/0/name", "pmem\n");
}

static void containers_get_devices(void **state)
{
	struct wishes w = {.n_storages = 0};
	struct creation c;

	/* by the numbers that the host has for them */
	wish_device(&w, "scsi", "2:0", "/dev/xda", 0);
	wish_device(&w, "blk", "08/12", "/dev/xdb", 16);
	create_begin(&c, "raw", &w,
		     "head -c 10 /dev/xdb; dd if=/dev/xda bs=1 skip=1080 count=2 2>/dev/null | "
		     "od -An -tx1; mknod /dev/other b 254 0; "
		     "cat /dev/other >/dev/null 2>&1 || echo refused");
	(void)usleep(10000);
	plug("scsi-hd", 7, "\"bus\":\"scsi0.0\",\"scsi-id\":2,\"lun\":0");
	plug("virtio-blk-pci", DISKS - 2, "\"bus\":\"br0\",\"addr\":\"12\"");
	create_end(&c);
	/* ext4's magic number */
	assert_says("raw", "raw bytes\n 53 ef\nrefused\n");
}

static char *vfio_environment[] = {(char *)"PATH=/bin", (char *)"PCIDEVICE_ACME_RNG=0000:a1:00.0"};

static void add_vfio(Grpc__CreateContainerRequest *q, void *arg)
{
	apply_wishes(q, arg);
	q->oci->process->env = vfio_environment;
	q->oci->process->n_env = ARRAY_SIZE(vfio_environment);
}

/* Bound to vfio-pci by the agent, the container gets the group and the guest's address. */
static void containers_drive_devices_by_vfio(void **state)
{
	struct wishes w = {.n_storages = 0};
	char *places[] = {(char *)"0000:a1:00.0=0c"};
	struct err e = ERR_INIT;

	wish_device(&w, "vfio-pci", "40", "/dev/vfio/40", 0);
	w.devices[0].options = places;
	w.devices[0].n_options = 1;
	w.nodes[0].type = (char *)"c";
	w.nodes[0].major = 240;
	const struct container_options o = {
		.script = "ls -l /dev/vfio/40 | cut -c1; echo $PCIDEVICE_ACME_RNG; "
			  "exec 3<>/dev/vfio/40 && echo opened",
		.edit = add_vfio,
		.edit_arg = &w};
	if (create(&f, "vfio", &o, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_says("vfio", "c\n0000:00:0c.0\nopened\n");
}

/* What was mounted for a container that failed would be seen below. */
static void failed_creations_leave_no_mount(void **state)
{
	struct wishes w = {.n_storages = 0}, after = {.n_storages = 0};
	struct err e = ERR_INIT;

	wish_volume(&w, "blk", "05", "left");
	wish_volume(&w, "blk", "05", "left2")->fstype = (char *)"xfs";
	assert_int_not_equal(create_with("fails", &w, "true", &e), STATUS_OK);
	printf("# %s\n", e.text);

	Grpc__Storage *s = wish_volume(&after, "bind", "/run/kata-containers/sandbox", "seen");
	static char *rbind[] = {(char *)"rbind"};
	s->options = rbind;
	s->n_options = 1;
	assert_runs("seen", &after, "ls /mnt/0/storage", "seen\n");
	/* and the next one can have it */
	w.n_storages = 1;
	assert_runs("again", &w, "cat /mnt/0/name", "disk0\n");
}

/* More of them than there are workers. */
static void those_who_wait_hold_up_nobody(void **state)
{
	static const char *const ids[] = {"w0", "w1", "w2", "w3", "w4", "w5"};
	struct creation c[ARRAY_SIZE(ids)];
	struct wishes w[ARRAY_SIZE(ids)] = {{.n_storages = 0}}, now = {.n_storages = 0};
	Grpc__OnlineCPUMemRequest online = GRPC__ONLINE_CPUMEM_REQUEST__INIT;
	struct async waiting;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		wish_volume(&w[i], "blk", "08/1f", ids[i]);
		create_begin(&c[i], ids[i], &w[i], "true");
	}
	online.nb_cpus = 3;
	online.cpu_only = true;
	call_async(&f, "OnlineCPUMem", &online.base, &waiting);
	uint64_t begin = time_now_ms();
	wish_volume(&now, "blk", "05", "now");
	assert_runs("now", &now, "cat /mnt/0/name", "disk0\n");
	uint64_t took = time_now_ms() - begin;
	printf("# beside %zu that wait: %llu ms\n", ARRAY_SIZE(ids), (unsigned long long)took);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
		assert_int_not_equal(c[i].status, STATUS_OK);
		assert_non_null(strstr(c[i].e.text, "there is no PCI device 0000:"));
		assert_non_null(strstr(c[i].e.text, "also after 10000 ms"));
		assert_true(c[i].end - c[i].begin >= HOTPLUG_S * 1000 - 1);
	}
	printf("# %s\n", c[0].e.text);
	assert_true(async_wait(&waiting, 30000));
	assert_int_equal(waiting.status, STATUS_DEADLINE_EXCEEDED);
	async_end(&waiting);
}

static void processors_are_waited_for(void **state)
{
	Grpc__OnlineCPUMemRequest q = GRPC__ONLINE_CPUMEM_REQUEST__INIT;
	struct async waiting;

	run(&f, "cpus",
	    "while read x; do grep -c ^processor /proc/cpuinfo; "
	    "grep Cpus_allowed_list /proc/self/status; done");
	q.nb_cpus = 2;
	q.cpu_only = true;
	call_async(&f, "OnlineCPUMem", &q.base, &waiting);
	assert_false(async_wait(&waiting, 100));
	machine_qmp(&vm, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":"
			 "\"qemu64-x86_64-cpu\",\"id\":\"cpu1\",\"socket-id\":1,\"core-id\":0,"
			 "\"thread-id\":0}}");
	assert_true(async_wait(&waiting, 30000));
	assert_int_equal(waiting.status, STATUS_OK);
	async_end(&waiting);
	/* as often as one likes */
	assert_int_equal(call(&f, "OnlineCPUMem", &q.base, NULL, NULL), STATUS_OK);

	/* who was there before may use it */
	_cleanup_buf_ struct buf text = BUF_INIT;
	size_t len;
	assert_int_equal(write_stdin(&f, "cpus", "", "\n", 1), STATUS_OK);
	while (!text.data || !strstr(text.data, "list"))
		assert_int_equal(read_some(&f, "cpus", "", false, 4096, &text, &len), STATUS_OK);
	assert_string_equal(text.data, "2\nCpus_allowed_list:\t0-1\n");
	assert_int_equal(remove_container(&f, "cpus", 30), STATUS_OK);
}

static unsigned long memory_kib(const char *id, const char *key)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct wishes w = {.n_storages = 0};
	struct err e = ERR_INIT;

	if (create_with(id, &w, "cat /proc/meminfo", &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_int_equal(start(&f, id), STATUS_OK);
	assert_int_equal(read_all(&f, id, "", false, &text), STATUS_OK);
	assert_int_equal(remove_container(&f, id, 30), STATUS_OK);
	const char *at = strstr(text.data, key);
	assert_non_null(at);
	return strtoul(at + strlen(key), NULL, 10);
}

static void memory_comes_online(void **state)
{
	Grpc__OnlineCPUMemRequest q = GRPC__ONLINE_CPUMEM_REQUEST__INIT;
	unsigned long before = memory_kib("mem0", "MemTotal:"), after = before;

	/* where a section of the kernel's may begin, since the persistent memory is before it; and
	 * shared, for the file server and the vsock device */
	machine_qmp(&vm,
		    "{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":"
		    "\"memory-backend-memfd\",\"share\":true,\"id\":\"m1\",\"size\":268435456}}");
	machine_qmp(&vm, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\","
			 "\"id\":\"dimm1\",\"memdev\":\"m1\",\"addr\":5368709120}}");
	for (int i = 0; after < before + 262144 && i < 100; i++) {
		assert_int_equal(call(&f, "OnlineCPUMem", &q.base, NULL, NULL), STATUS_OK);
		after = memory_kib("mem1", "MemTotal:");
	}
	assert_int_equal(after, before + 262144);
	/* this kernel finds memory by itself */
	Grpc__MemHotplugByProbeRequest probe = GRPC__MEM_HOTPLUG_BY_PROBE_REQUEST__INIT;
	uint64_t address = 1ull << 32;
	probe.memhotplugprobeaddr = &address;
	probe.n_memhotplugprobeaddr = 1;
	assert_int_equal(call(&f, "MemHotplugByProbe", &probe.base, NULL, NULL),
			 STATUS_UNIMPLEMENTED);
}

static void disks_are_swapped_to(void **state)
{
	Grpc__AddSwapRequest q = GRPC__ADD_SWAP_REQUEST__INIT;
	Grpc__AddSwapPathRequest path = GRPC__ADD_SWAP_PATH_REQUEST__INIT;
	uint32_t slots[] = {8, 0x13}, volume[] = {5};
	struct async waiting;
	struct err e = ERR_INIT;

	q.pcipath = slots;
	q.n_pcipath = 2;
	call_async(&f, "AddSwap", &q.base, &waiting);
	(void)usleep(10000);
	plug("virtio-blk-pci", DISKS - 1, "\"bus\":\"br0\",\"addr\":\"13\"");
	assert_true(async_wait(&waiting, 30000));
	assert_int_equal(waiting.status, STATUS_OK);
	async_end(&waiting);
	assert_int_equal(memory_kib("swap", "SwapTotal:"), 8 * 1024 - 4);
	assert_int_equal(call(&f, "AddSwap", &q.base, NULL, &e), STATUS_OK);

	q.pcipath = volume;
	q.n_pcipath = 1;
	assert_int_equal(call(&f, "AddSwap", &q.base, NULL, &e), STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(e.text, "is not made for swapping"));
	path.path = (char *)"relative";
	assert_int_equal(call(&f, "AddSwapPath", &path.base, NULL, &e), STATUS_INVALID_ARGUMENT);
	path.path = (char *)"/no/such/file";
	assert_int_equal(call(&f, "AddSwapPath", &path.base, NULL, &e), STATUS_NOT_FOUND);
}

static void ask_for_gpu(Grpc__CreateContainerRequest *q, void *arg)
{
	static Grpc__Spec__AnnotationsEntry gpu = GRPC__SPEC__ANNOTATIONS_ENTRY__INIT;
	static Grpc__Spec__AnnotationsEntry *list[] = {&gpu};

	gpu.key = (char *)"cdi.k8s.io/vfio0";
	gpu.value = arg;
	q->oci->annotations = list;
	q->oci->n_annotations = 1;
}

struct gpu_creation {
	pthread_t thread;
	int status;
	struct err e;
};

static void *gpu_main(void *arg)
{
	struct gpu_creation *c = arg;
	const struct container_options o = {.script = "ls -l /dev/acme0 | cut -c1-10; echo $ACME",
					    .edit = ask_for_gpu,
					    .edit_arg = (char *)"acme.com/gpu=0"};

	c->status = create(&f, "gpu", &o, &c->e);
	return NULL;
}

/* A tool in the guest writes what belongs to a device while a container waits for it. */
static void cdi_files_are_waited_for(void **state)
{
	struct wishes w = {.n_storages = 0};
	struct gpu_creation c = {.status = -1, .e = ERR_INIT};
	static char *rbind[] = {(char *)"rbind"};

	assert_int_equal(pthread_create(&c.thread, NULL, gpu_main, &c), 0);
	(void)usleep(300000);
	Grpc__Storage *s = wish_volume(&w, "bind", "/run", "tool");
	s->options = rbind;
	s->n_options = 1;
	assert_runs("tool", &w,
		    "mkdir /mnt/0/cdi; cd /mnt/0/cdi; printf 'kind: acme.com/gpu\\n"
		    "devices:\\n- name: \"0\"\\n  containerEdits:\\n    env:\\n    - ACME=yes\\n"
		    "    deviceNodes:\\n    - path: /dev/acme0\\n      hostPath: /dev/null\\n"
		    "      fileMode: 0o600\\n' >new; mv new gpu.yaml; echo written",
		    "written\n");
	assert_int_equal(pthread_join(c.thread, NULL), 0);
	if (c.status != STATUS_OK)
		fail_msg("%s", c.e.text);
	assert_says("gpu", "crw-------\nyes\n");

	const struct container_options o = {
		.script = "true", .edit = ask_for_gpu, .edit_arg = (char *)"acme.com/gpu=1"};
	assert_int_not_equal(create(&f, "gpu", &o, &c.e), STATUS_OK);
	assert_non_null(strstr(c.e.text, "there are devices acme.com/gpu, but no \"1\""));
}

static void file_systems_need_their_maker(void **state)
{
	struct wishes w = {.n_storages = 0};
	char *make[] = {(char *)"create_filesystem"},
	     *encrypt[] = {(char *)"create_filesystem", (char *)"encryption_key="
								"ephemeral"};
	struct err e = ERR_INIT;

	Grpc__Storage *s = wish_volume(&w, "blk", "05", "made");
	s->driver_options = make;
	s->n_driver_options = 1;
	assert_int_equal(create_with("make", &w, "true", &e), STATUS_FAILED_PRECONDITION);
	assert_non_null(strstr(e.text, "has no mkfs.ext4"));
	s->fstype = (char *)"xfs";
	assert_int_equal(create_with("make", &w, "true", &e), STATUS_INVALID_ARGUMENT);
	s->fstype = (char *)"ext4";
	s->driver_options = encrypt + 1;
	assert_int_equal(create_with("make", &w, "true", &e), STATUS_INVALID_ARGUMENT);
}

/* Long before the time of the one that waits has passed. */
static void the_end_waits_for_no_device(void **state)
{
	Grpc__DestroySandboxRequest q = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	struct wishes w = {.n_storages = 0};
	struct creation c;
	int status = -1;

	wish_volume(&w, "blk", "08/1f", "never");
	create_begin(&c, "never", &w, "true");
	(void)usleep(500000);
	assert_int_equal(call(&f, "DestroySandbox", &q.base, NULL, NULL), STATUS_OK);
	assert_int_equal(pthread_join(c.thread, NULL), 0);
	assert_int_equal(c.status, STATUS_FAILED_PRECONDITION);
	assert_non_null(strstr(c.e.text, "and the sandbox is being destroyed"));
	assert_int_equal(child_wait(&vm.vmm, time_deadline(20000), &status), 0);
	assert_int_equal(status, 0);
}

static void the_log_has_no_errors_of_its_own(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, vm.console, 1 << 20, &text), 0);
	assert_true(!text.data || !strstr(text.data, "Call Trace"));
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sandbox_is_made),
		cmocka_unit_test(disks_of_the_boot_are_found),
		cmocka_unit_test(volumes_can_be_read_only),
		cmocka_unit_test(disks_plugged_in_before_are_found),
		cmocka_unit_test(disks_plugged_in_later_are_waited_for),
		cmocka_unit_test(scsi_disks_are_waited_for),
		cmocka_unit_test(persistent_memory_is_mounted),
		cmocka_unit_test(containers_get_devices),
		cmocka_unit_test(containers_drive_devices_by_vfio),
		cmocka_unit_test(failed_creations_leave_no_mount),
		cmocka_unit_test(those_who_wait_hold_up_nobody),
		cmocka_unit_test(processors_are_waited_for),
		cmocka_unit_test(memory_comes_online),
		cmocka_unit_test(disks_are_swapped_to),
		cmocka_unit_test(cdi_files_are_waited_for),
		cmocka_unit_test(file_systems_need_their_maker),
		cmocka_unit_test(the_end_waits_for_no_device),
		cmocka_unit_test(the_log_has_no_errors_of_its_own),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: %s IMAGE_DIR VSOCK_PROXY\n", argv[0]);
		return 2;
	}
	image_dir = argv[1];
	proxy = argv[2];
	return cmocka_run_group_tests(tests, setup, teardown);
}
