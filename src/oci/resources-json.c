/* SPDX-License-Identifier: Apache-2.0 */
/* linux.resources, which is also what an update is asked for with. */
#include "oci/read.h"
#include "oci/validate.h"

/* Where the kernel has no use for 0, it counts as absent, as everywhere: of limits, -1 means none,
 * and nothing below it means anything. */
static int64_t some(int64_t v)
{
	return v == 0 ? OCI_UNSET : v;
}

static int64_t read_limit(struct oci_reader *rd, const struct json_at *obj, const char *key)
{
	return some(json_read_int(&rd->j, obj, key, -1, INT64_MAX, OCI_UNSET));
}

static int64_t read_amount(struct oci_reader *rd, const struct json_at *obj, const char *key,
			   int64_t max)
{
	return some(json_read_int(&rd->j, obj, key, 0, max, OCI_UNSET));
}

static void read_device_rules(struct oci_reader *rd, const struct json_at *at,
			      struct oci_resources *r)
{
	struct json_reader *j = &rd->j;
	struct json_at arr;
	size_t n = json_read_array(j, at, "devices", OCI_DEVICES_MAX, &arr);

	r->devices = oci_read_alloc(rd, n, sizeof *r->devices);
	r->n_devices = r->devices ? n : 0;
	for (size_t i = 0; i < r->n_devices && j->r == 0; i++) {
		struct json_at el = json_at_element(&arr, i);
		struct oci_device_rule *d = &r->devices[i];
		const char *type = json_read_string(j, &el, "type", "");

		json_read_need(j, &el, "allow");
		d->allow = json_read_bool(j, &el, "allow", false);
		d->type = *type ? (char)oci_read_word(rd, &el, "type", oci_rule_type_words, 'a')
				: 'a';
		d->major = json_read_int(j, &el, "major", -1, OCI_DEVICE_MAJOR_MAX, -1);
		d->minor = json_read_int(j, &el, "minor", -1, OCI_DEVICE_MINOR_MAX, -1);
		d->access = oci_read_text(rd, &el, "access");
		if (!d->access) /* for "all devices", and for a denial, all of it */
			d->access = oci_read_dup(rd, d->type == 'a' || !d->allow ? "rwm" : "");
	}
}

static void read_memory(struct oci_reader *rd, const struct json_at *at, struct oci_resources *r)
{
	struct json_at m;

	if (!json_read_object(&rd->j, at, "memory", &m))
		return;
	r->memory.limit = read_limit(rd, &m, "limit");
	r->memory.reservation = read_limit(rd, &m, "reservation");
	r->memory.swap = read_limit(rd, &m, "swap");
	r->memory.kernel = read_limit(rd, &m, "kernel");
	r->memory.kernel_tcp = read_limit(rd, &m, "kernelTCP");
	r->memory.swappiness =
		json_read_int(&rd->j, &m, "swappiness", 0, OCI_SWAPPINESS_MAX, OCI_UNSET);
	r->memory.disable_oom_killer = json_read_bool(&rd->j, &m, "disableOOMKiller", false);
	r->memory.check_before_update = json_read_bool(&rd->j, &m, "checkBeforeUpdate", false);
}

static void read_cpu(struct oci_reader *rd, const struct json_at *at, struct oci_resources *r)
{
	struct json_at c;

	if (!json_read_object(&rd->j, at, "cpu", &c))
		return;
	r->cpu.shares = read_amount(rd, &c, "shares", INT64_MAX);
	r->cpu.quota = read_limit(rd, &c, "quota");
	r->cpu.period = read_amount(rd, &c, "period", INT64_MAX);
	r->cpu.realtime_runtime = read_limit(rd, &c, "realtimeRuntime");
	r->cpu.realtime_period = read_amount(rd, &c, "realtimePeriod", INT64_MAX);
	r->cpu.burst = json_read_int(&rd->j, &c, "burst", 0, INT64_MAX, OCI_UNSET);
	r->cpu.idle = json_read_int(&rd->j, &c, "idle", 0, 1, OCI_UNSET);
	r->cpu.cpus = oci_read_text(rd, &c, "cpus");
	r->cpu.mems = oci_read_text(rd, &c, "mems");
}

static void read_throttle(struct oci_reader *rd, const struct json_at *io, const char *key,
			  struct oci_throttle_device **ret, size_t *ret_n)
{
	struct json_at arr;
	size_t n = json_read_array(&rd->j, io, key, OCI_DEVICES_MAX, &arr);
	struct oci_throttle_device *d = oci_read_alloc(rd, n, sizeof *d);

	for (size_t i = 0; d && i < n && rd->j.r == 0; i++) {
		struct json_at el = json_at_element(&arr, i);
		json_read_need(&rd->j, &el, "major");
		json_read_need(&rd->j, &el, "minor");
		d[i].major = json_read_int(&rd->j, &el, "major", 0, OCI_DEVICE_MAJOR_MAX, 0);
		d[i].minor = json_read_int(&rd->j, &el, "minor", 0, OCI_DEVICE_MINOR_MAX, 0);
		d[i].rate = json_read_uint(&rd->j, &el, "rate", UINT64_MAX, 0);
	}
	*ret = d;
	*ret_n = d ? n : 0;
}

static void read_block_io(struct oci_reader *rd, const struct json_at *at, struct oci_resources *r)
{
	struct json_reader *j = &rd->j;
	struct json_at io, arr;

	if (!json_read_object(j, at, "blockIO", &io))
		return;
	r->block_io.weight = read_amount(rd, &io, "weight", OCI_BLKIO_WEIGHT_MAX);
	r->block_io.leaf_weight = read_amount(rd, &io, "leafWeight", OCI_BLKIO_WEIGHT_MAX);

	size_t n = json_read_array(j, &io, "weightDevice", OCI_DEVICES_MAX, &arr);
	struct oci_blkio_device *d = oci_read_alloc(rd, n, sizeof *d);
	for (size_t i = 0; d && i < n && j->r == 0; i++) {
		struct json_at el = json_at_element(&arr, i);
		json_read_need(j, &el, "major");
		json_read_need(j, &el, "minor");
		d[i].major = json_read_int(j, &el, "major", 0, OCI_DEVICE_MAJOR_MAX, 0);
		d[i].minor = json_read_int(j, &el, "minor", 0, OCI_DEVICE_MINOR_MAX, 0);
		d[i].weight = read_amount(rd, &el, "weight", OCI_BLKIO_WEIGHT_MAX);
		d[i].leaf_weight = read_amount(rd, &el, "leafWeight", OCI_BLKIO_WEIGHT_MAX);
	}
	r->block_io.weight_device = d;
	r->block_io.n_weight_device = d ? n : 0;

	read_throttle(rd, &io, "throttleReadBpsDevice", &r->block_io.throttle_read_bps,
		      &r->block_io.n_throttle_read_bps);
	read_throttle(rd, &io, "throttleWriteBpsDevice", &r->block_io.throttle_write_bps,
		      &r->block_io.n_throttle_write_bps);
	read_throttle(rd, &io, "throttleReadIOPSDevice", &r->block_io.throttle_read_iops,
		      &r->block_io.n_throttle_read_iops);
	read_throttle(rd, &io, "throttleWriteIOPSDevice", &r->block_io.throttle_write_iops,
		      &r->block_io.n_throttle_write_iops);
}

static void read_hugepages(struct oci_reader *rd, const struct json_at *at, struct oci_resources *r)
{
	struct json_at arr;
	size_t n = json_read_array(&rd->j, at, "hugepageLimits", OCI_DEVICES_MAX, &arr);

	r->hugepages = oci_read_alloc(rd, n, sizeof *r->hugepages);
	r->n_hugepages = r->hugepages ? n : 0;
	for (size_t i = 0; i < r->n_hugepages && rd->j.r == 0; i++) {
		struct json_at el = json_at_element(&arr, i);
		r->hugepages[i].page_size = oci_read_needed(rd, &el, "pageSize");
		json_read_need(&rd->j, &el, "limit");
		r->hugepages[i].limit = json_read_uint(&rd->j, &el, "limit", UINT64_MAX, 0);
	}
}

static void read_rdma(struct oci_reader *rd, const struct json_at *at, struct oci_resources *r)
{
	struct json_reader *j = &rd->j;
	struct json_at map;
	const char *k;
	json_t *v;

	if (!json_read_object(j, at, "rdma", &map))
		return;
	r->rdma = oci_read_alloc(rd, json_object_size(map.value), sizeof *r->rdma);
	if (!r->rdma)
		return;
	json_object_foreach ((json_t *)map.value, k, v) {
		struct json_at el = {.value = v, .up = &map, .key = k};
		r->rdma[r->n_rdma++] = (struct oci_rdma){
			.device = oci_read_dup(rd, k),
			.has_handles = json_read_has(j, &el, "hcaHandles"),
			.has_objects = json_read_has(j, &el, "hcaObjects"),
			.handles = (uint32_t)json_read_uint(j, &el, "hcaHandles", UINT32_MAX, 0),
			.objects = (uint32_t)json_read_uint(j, &el, "hcaObjects", UINT32_MAX, 0),
		};
		if (j->r < 0)
			return;
	}
}

static void read_network(struct oci_reader *rd, const struct json_at *at, struct oci_resources *r)
{
	struct json_at net, arr;

	if (!json_read_object(&rd->j, at, "network", &net))
		return;
	r->network.class_id = (uint32_t)json_read_uint(&rd->j, &net, "classID", UINT32_MAX, 0);
	size_t n = json_read_array(&rd->j, &net, "priorities", OCI_DEVICES_MAX, &arr);
	r->network.priorities = oci_read_alloc(rd, n, sizeof *r->network.priorities);
	r->network.n_priorities = r->network.priorities ? n : 0;
	for (size_t i = 0; i < r->network.n_priorities && rd->j.r == 0; i++) {
		struct json_at el = json_at_element(&arr, i);
		r->network.priorities[i].name = oci_read_needed(rd, &el, "name");
		json_read_need(&rd->j, &el, "priority");
		r->network.priorities[i].priority =
			(uint32_t)json_read_uint(&rd->j, &el, "priority", UINT32_MAX, 0);
	}
}

void oci_read_resources(struct oci_reader *rd, const struct json_at *at, struct oci_resources *r)
{
	struct json_at pids;

	read_device_rules(rd, at, r);
	read_memory(rd, at, r);
	read_cpu(rd, at, r);
	if (json_read_object(&rd->j, at, "pids", &pids))
		r->pids_limit = read_limit(rd, &pids, "limit");
	read_block_io(rd, at, r);
	read_hugepages(rd, at, r);
	oci_read_map(rd, at, "unified", &r->unified, &r->n_unified);
	read_rdma(rd, at, r);
	read_network(rd, at, r);
}

int oci_resources_parse(const char *json, size_t len, struct oci_resources **ret,
			struct oci_arena **ret_arena, struct err *e)
{
	json_auto_t *doc = NULL;
	int r = oci_read_text_parse(json, len, &doc, e);
	if (r < 0)
		return r;

	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	struct oci_resources *res = a ? oci_arena_alloc(a, sizeof *res) : NULL;
	if (!res)
		return err_set(e, -ENOMEM, "out of memory");
	oci_resources_init(res);

	struct oci_reader rd = {.j = {.e = e}, .arena = a};
	struct json_at root = json_at_root(doc, "resources");
	oci_read_resources(&rd, &root, res);
	if (rd.j.r < 0)
		return rd.j.r;
	r = oci_resources_validate(res, e);
	if (r < 0)
		return r;
	*ret = res;
	*ret_arena = TAKE_PTR(a);
	return 0;
}
