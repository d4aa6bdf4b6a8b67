/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions; and what is written, into directories with the files of a cgroup of either version.
 */
#include "base/testing.h"

#include "base/fd.h"
#include "engine/cgroup.h"
#include "engine/device-rules.h"
#include "oci/arena.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

static void test_relative(void **state)
{
	static const struct {
		const char *path, *want;
	} cases[] = {
		{NULL, "/c1"},	      {"", "/c1"},
		{"/", "/c1"},	      {"/a/b", "/a/b"},
		{"a//b/", "/a/b"},    {"kubepods.slice:cri:x", "/kubepods.slice/cri/x"},
		{"/x/..y", "/x/..y"},
	};
	char got[64];
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(engine_cgroup_relative(cases[i].path, "c1", got, sizeof got, NULL),
				 0);
		assert_string_equal(got, cases[i].want);
	}
	static const char *const bad[] = {"/..", "/a/../b", "a/./b", "x:..:y", "::"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(engine_cgroup_relative(bad[i], "c1", got, sizeof got, NULL),
				 -EINVAL);
}

static void test_conversions(void **state)
{
	assert_int_equal(engine_cpu_weight(0), 0);
	assert_int_equal(engine_cpu_weight(1), 1);
	assert_int_equal(engine_cpu_weight(2), 1);
	assert_int_equal(engine_cpu_weight(1024), 39);
	assert_int_equal(engine_cpu_weight(262144), 10000);
	assert_int_equal(engine_cpu_weight(UINT64_MAX), 10000);
	assert_int_equal(engine_io_weight(10), 1);
	assert_int_equal(engine_io_weight(1000), 10000);
	assert_int_equal(engine_io_weight(5000), 10000);

	int64_t max;
	assert_int_equal(engine_swap_max(-1, OCI_UNSET, &max, NULL), 0);
	assert_int_equal(max, -1);
	assert_int_equal(engine_swap_max(300, 100, &max, NULL), 0);
	assert_int_equal(max, 200);
	assert_int_equal(engine_swap_max(100, 100, &max, NULL), 0);
	assert_int_equal(max, 0);
	assert_int_equal(engine_swap_max(99, 100, &max, NULL), -EINVAL);
	assert_int_equal(engine_swap_max(99, OCI_UNSET, &max, NULL), -EINVAL);
	assert_int_equal(engine_swap_max(99, -1, &max, NULL), -EINVAL);
}

/* ---- What a spec makes of the files -------------------------------------------------------- */

static const char *const v2_files[] = {
	"memory.max",	    "memory.low",
	"memory.swap.max",  "memory.high",
	"memory.oom.group", "memory.current",
	"cpu.max",	    "cpu.weight",
	"cpu.idle",	    "cpu.max.burst",
	"cpuset.cpus",	    "cpuset.mems",
	"pids.max",	    "io.max",
	"io.weight",	    "hugetlb.2MB.max",
	"rdma.max",	    "hugetlb.2MB.rsvd.max",
	"cgroup.max.depth", NULL,
};

static const char *const v1_files[] = {
	"memory.limit_in_bytes",
	"memory.memsw.limit_in_bytes",
	"memory.soft_limit_in_bytes",
	"memory.kmem.tcp.limit_in_bytes",
	"memory.swappiness",
	"memory.oom_control",
	"memory.usage_in_bytes",
	"cpu.shares",
	"cpu.cfs_quota_us",
	"cpu.cfs_period_us",
	"cpu.cfs_burst_us",
	"cpu.rt_runtime_us",
	"cpu.rt_period_us",
	"cpu.idle",
	"cpuset.cpus",
	"cpuset.mems",
	"pids.max",
	"blkio.weight",
	"blkio.weight_device",
	"blkio.leaf_weight",
	"blkio.throttle.read_bps_device",
	"blkio.throttle.write_bps_device",
	"blkio.throttle.read_iops_device",
	"blkio.throttle.write_iops_device",
	"hugetlb.2MB.limit_in_bytes",
	"rdma.max",
	"net_cls.classid",
	"net_prio.ifpriomap",
	NULL,
};

struct fake {
	char dir[32];
	struct cgroup g;
	const char *const *files;
};

static void put(const struct fake *f, const char *file, const char *text)
{
	char path[PATH_MAX], dir[PATH_MAX], controller[32];
	(void)snprintf(controller, sizeof controller, "%.*s", (int)strcspn(file, "."), file);
	assert_int_equal(cgroup_dir(&f->g, controller, dir, sizeof dir), 0);
	assert_int_equal(mkdir_parents(dir, 0755), 0);
	assert_int_equal(cgroup_path(&f->g, file, path, sizeof path), 0);
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
}

static void make_fake(struct fake *f, int version)
{
	strcpy(f->dir, "/tmp/cgroup.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->g = (struct cgroup){.version = version, .root = f->dir, .relative = (char *)"/a/b"};
	f->files = version == 1 ? v1_files : v2_files;
	for (size_t i = 0; f->files[i]; i++)
		put(f, f->files[i], "");
}

static void free_fake(struct fake *f)
{
	assert_int_equal(remove_tree(f->dir), 0);
}

static struct oci_resources *resources(const char *text, struct oci_arena **ret_arena)
{
	struct oci_resources *r = NULL;
	struct err e = ERR_INIT;
	char json[1024];
	assert_int_equal(path_format(json, sizeof json, "{%s}", text), 0);
	for (char *p = json; *p; p++)
		if (*p == '\'')
			*p = '"';
	if (oci_resources_parse(json, strlen(json), &r, ret_arena, &e) < 0)
		fail_msg("%s: %s", json, e.text);
	return r;
}

static int apply(const struct fake *f, const char *text, struct err *e)
{
	_cleanup_arena_ struct oci_arena *arena = NULL;
	struct oci_resources *r = resources(text, &arena);
	return engine_cgroup_apply(&f->g, r, e);
}

/* "FILE=VALUE;..." : these files have these values, and all others have none. */
static void expect(const struct fake *f, const char *text, const char *want)
{
	size_t n_found = 0, n_wanted = want[0] != '\0';
	for (const char *p = want; (p = strchr(p, ';')); p++)
		n_wanted++;
	for (size_t i = 0; f->files[i]; i++) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		char line[256];
		assert_int_equal(cgroup_read(&f->g, f->files[i], &b), 0);
		if (!b.len)
			continue;
		(void)snprintf(line, sizeof line, "%s=%s", f->files[i], b.data);
		const char *at = strstr(want, line);
		if (!at || (at[strlen(line)] && at[strlen(line)] != ';'))
			fail_msg("%s: v%d wrote %s, wanted %s", text, f->g.version, line, want);
		n_found++;
	}
	if (n_found != n_wanted)
		fail_msg("%s: v%d wrote %zu files, wanted %s", text, f->g.version, n_found, want);
}

static const struct {
	const char *spec, *v1, *v2; /* NULL: refused */
} cases[] = {
	{"", "", ""},
	/* the weights are those of runc 1.1 and crun 1.8 */
	{"'cpu':{'shares':1024}", "cpu.shares=1024", "cpu.weight=39"},
	{"'cpu':{'shares':2}", "cpu.shares=2", "cpu.weight=1"},
	{"'cpu':{'shares':512}", "cpu.shares=512", "cpu.weight=20"},
	{"'cpu':{'shares':262144}", "cpu.shares=262144", "cpu.weight=10000"},
	{"'cpu':{'shares':0}", "", ""},
	{"'cpu':{'quota':50000,'period':100000}", "cpu.cfs_quota_us=50000;cpu.cfs_period_us=100000",
	 "cpu.max=50000 100000"},
	{"'cpu':{'quota':-1,'period':100000}", "cpu.cfs_quota_us=-1;cpu.cfs_period_us=100000",
	 "cpu.max=max 100000"},
	{"'cpu':{'quota':-1}", "cpu.cfs_quota_us=-1", "cpu.max=max"},
	{"'cpu':{'quota':50000}", "cpu.cfs_quota_us=50000", "cpu.max=50000"},
	{"'cpu':{'period':50000}", "cpu.cfs_period_us=50000", "cpu.max=max 50000"},
	{"'cpu':{'quota':5000,'burst':2000}", "cpu.cfs_quota_us=5000;cpu.cfs_burst_us=2000",
	 "cpu.max=5000;cpu.max.burst=2000"},
	{"'cpu':{'idle':1,'shares':100}", "cpu.idle=1", "cpu.idle=1"},
	{"'cpu':{'cpus':'0-3,7','mems':'0'}", "cpuset.cpus=0-3,7;cpuset.mems=0",
	 "cpuset.cpus=0-3,7;cpuset.mems=0"},
	{"'cpu':{'realtimeRuntime':950000,'realtimePeriod':1000000}",
	 "cpu.rt_runtime_us=950000;cpu.rt_period_us=1000000", NULL},
	{"'memory':{'limit':1000}", "memory.limit_in_bytes=1000", "memory.max=1000"},
	{"'memory':{'limit':0,'swap':0}", "", ""},
	{"'memory':{'limit':1000,'swap':1500}",
	 "memory.limit_in_bytes=1000;memory.memsw.limit_in_bytes=1500",
	 "memory.max=1000;memory.swap.max=500"},
	{"'memory':{'limit':1000,'swap':1000}",
	 "memory.limit_in_bytes=1000;memory.memsw.limit_in_bytes=1000",
	 "memory.max=1000;memory.swap.max=0"},
	{"'memory':{'limit':1000,'swap':-1}",
	 "memory.limit_in_bytes=1000;memory.memsw.limit_in_bytes=-1",
	 "memory.max=1000;memory.swap.max=max"},
	{"'memory':{'limit':-1}", "memory.limit_in_bytes=-1;memory.memsw.limit_in_bytes=-1",
	 "memory.max=max;memory.swap.max=max"},
	{"'memory':{'limit':1000,'swap':999}", NULL, NULL},
	{"'memory':{'limit':-1,'swap':999}", NULL, NULL},
	{"'memory':{'reservation':500}", "memory.soft_limit_in_bytes=500", "memory.low=500"},
	{"'memory':{'swappiness':0}", "memory.swappiness=0", ""},
	{"'memory':{'swappiness':60,'disableOOMKiller':true,'kernel':7}",
	 "memory.swappiness=60;memory.oom_control=1", ""},
	{"'memory':{'kernelTCP':5}", "memory.kmem.tcp.limit_in_bytes=5", ""},
	{"'pids':{'limit':10}", "pids.max=10", "pids.max=10"},
	{"'pids':{'limit':-1}", "pids.max=max", "pids.max=max"},
	{"'pids':{'limit':0}", "", ""},
	{"'blockIO':{'weight':500,'leafWeight':300}", "blkio.weight=500;blkio.leaf_weight=300",
	 "io.weight=default 4950"},
	{"'blockIO':{'weight':10}", "blkio.weight=10", "io.weight=default 1"},
	{"'blockIO':{'weightDevice':[{'major':8,'minor':16,'weight':1000}]}",
	 "blkio.weight_device=8:16 1000", "io.weight=8:16 10000"},
	{"'blockIO':{'throttleReadBpsDevice':[{'major':8,'minor':0,'rate':600}]}",
	 "blkio.throttle.read_bps_device=8:0 600", "io.max=8:0 rbps=600"},
	{"'blockIO':{'throttleWriteIOPSDevice':[{'major':8,'minor':0,'rate':0}]}",
	 "blkio.throttle.write_iops_device=8:0 0", "io.max=8:0 wiops=max"},
	{"'hugepageLimits':[{'pageSize':'2MB','limit':4096},{'pageSize':'1GB','limit':0}]",
	 "hugetlb.2MB.limit_in_bytes=4096", "hugetlb.2MB.max=4096;hugetlb.2MB.rsvd.max=4096"},
	{"'rdma':{'mlx5':{'hcaHandles':3}}", "rdma.max=mlx5 hca_handle=3 hca_object=max",
	 "rdma.max=mlx5 hca_handle=3 hca_object=max"},
	{"'network':{'classID':1048577,'priorities':[{'name':'eth0','priority':5}]}",
	 "net_cls.classid=1048577;net_prio.ifpriomap=eth0 5", ""},
	{"'unified':{'memory.high':'77','memory.oom.group':'1','cgroup.max.depth':'3'}", NULL,
	 "memory.high=77;memory.oom.group=1;cgroup.max.depth=3"},
	/* what is said for version 2 alone comes last, and wins */
	{"'memory':{'limit':1000},'unified':{'memory.max':'2000'}", NULL, "memory.max=2000"},
	{"'unified':{'cgroup.procs':'1'}", NULL, NULL},
	{"'unified':{'cgroup.subtree_control':'+cpu'}", NULL, NULL},
	{"'unified':{'memory.none':'1'}", NULL, NULL},
};

static void test_apply(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (int version = 1; version <= 2; version++) {
			const char *want = version == 1 ? cases[i].v1 : cases[i].v2;
			struct err e = ERR_INIT;
			struct fake f;
			make_fake(&f, version);
			int r = apply(&f, cases[i].spec, &e);
			if ((r < 0) != !want)
				fail_msg("%s: v%d: %d, %s", cases[i].spec, version, r, e.text);
			if (want)
				expect(&f, cases[i].spec, want);
			else
				assert_true(e.text[0]);
			free_fake(&f);
		}
}

/* What is absent stays. */
static void test_update(void **state)
{
	struct err e = ERR_INIT;
	struct fake f;
	make_fake(&f, 2);
	put(&f, "cpu.max", "7000\n");
	assert_int_equal(apply(&f, "'cpu':{'period':9000}", &e), 0);
	expect(&f, "period alone", "cpu.max=7000 9000");
	put(&f, "cpu.max", "");
	put(&f, "memory.max", "1000\n");
	assert_int_equal(apply(&f, "'memory':{'swap':1500}", &e), 0);
	expect(&f, "swap alone", "memory.max=1000\n;memory.swap.max=500");
	assert_int_equal(apply(&f, "'memory':{'swap':900}", &e), -EINVAL);
	free_fake(&f);

	/* version 1 takes them in one order only, which depends on what is there */
	make_fake(&f, 1);
	put(&f, "memory.memsw.limit_in_bytes", "9223372036854771712\n");
	assert_int_equal(apply(&f, "'memory':{'limit':1000,'swap':1500}", &e), 0);
	free_fake(&f);
}

static void test_check_before_update(void **state)
{
	static const char spec[] = "'memory':{'limit':1000,'checkBeforeUpdate':true}";
	for (int version = 1; version <= 2; version++) {
		const char *usage = version == 1 ? "memory.usage_in_bytes" : "memory.current";
		struct err e = ERR_INIT;
		struct fake f;
		make_fake(&f, version);
		put(&f, usage, "1001\n");
		assert_true(apply(&f, spec, &e) < 0);
		assert_int_equal(e.status, STATUS_FAILED_PRECONDITION);
		assert_string_equal(e.text, "memory.limit 1000 is less than what is in use, 1001");
		put(&f, usage, "1000\n");
		assert_int_equal(apply(&f, spec, &e), 0);
		free_fake(&f);
	}
}

static void test_bfq(void **state)
{
	static const char spec[] = "'blockIO':{'weight':500,'weightDevice':[{'major':8,'minor':0,"
				   "'weight':700}]}";
	struct err e = ERR_INIT;
	struct fake f;
	_cleanup_buf_ struct buf b = BUF_INIT;
	make_fake(&f, 1);
	put(&f, "blkio.bfq.weight", "");
	put(&f, "blkio.bfq.weight_device", "");
	assert_int_equal(apply(&f, spec, &e), 0);
	expect(&f, spec, "");
	assert_int_equal(cgroup_read(&f.g, "blkio.bfq.weight_device", &b), 0);
	assert_string_equal(b.data, "8:0 700");
	free_fake(&f);
	make_fake(&f, 2);
	put(&f, "io.bfq.weight", "");
	assert_int_equal(apply(&f, "'blockIO':{'weight':500}", &e), 0);
	buf_clear(&b);
	assert_int_equal(cgroup_read(&f.g, "io.bfq.weight", &b), 0);
	assert_string_equal(b.data, "default 500");
	free_fake(&f);
}

static void test_refusals(void **state)
{
	struct oci_resources r;
	struct err e = ERR_INIT;
	struct fake f;
	make_fake(&f, 2);
	f.g.relative = (char *)"/none";
	oci_resources_init(&r);
	r.pids_limit = 10;
	assert_int_equal(engine_cgroup_apply(&f.g, &r, &e), -ENOENT);
	assert_string_equal(e.text,
			    "cgroup /none has no pids.max: its controller is not available");
	f.g.relative = (char *)"/a/b";
	struct oci_kv kv = {.key = (char *)"../../x", .value = (char *)"1"};
	oci_resources_init(&r);
	r.unified = &kv;
	r.n_unified = 1;
	assert_int_equal(engine_cgroup_apply(&f.g, &r, &e), -EINVAL);
	free_fake(&f);
}

/* ---- Devices of version 1 -------------------------------------------------------------------- */

#define RULE(allow_, type_, major_, minor_, access_)                              \
	{                                                                         \
		.allow = allow_, .type = type_, .major = major_, .minor = minor_, \
		.access = (char *)(access_)                                       \
	}

static void has_rules(const struct engine_device_rules *s, const char *want)
{
	char all[1024] = "";
	for (size_t i = 0; i < s->n; i++) {
		char text[64];
		engine_device_rule_text(&s->v[i], text, sizeof text);
		(void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s;", text);
	}
	assert_string_equal(all, want);
}

static void test_device_rules(void **state)
{
	static const char defaults[] = "c *:* m;b *:* m;c 1:3 rwm;c 1:5 rwm;c 1:7 rwm;c 1:8 rwm;"
				       "c 1:9 rwm;c 5:0 rwm;c 5:2 rwm;c 136:* rwm;";
	const struct oci_device_rule rules[] = {
		RULE(true, 'c', 1, 3, "r"), /* moot */
		RULE(false, 'a', -1, -1, "rwm"), RULE(true, 'c', 10, 200, "rwm"),
		RULE(false, 'c', 10, 200, "w"),	 RULE(true, 'a', 7, -1, "r"),
	};
	struct engine_device_rules *s = NULL;
	char want[512];
	assert_int_equal(engine_device_rules_effective(NULL, 0, &s), 0);
	assert_false(s->allow_all);
	has_rules(s, defaults);
	free(s);
	assert_int_equal(engine_device_rules_effective(rules, ARRAY_SIZE(rules), &s), 0);
	(void)snprintf(want, sizeof want, "c 10:200 rm;b 7:* r;c 7:* r;%s", defaults);
	has_rules(s, want);
	free(s);

	const struct oci_device_rule open[] = {RULE(true, 'a', -1, -1, "rwm"),
					       RULE(false, 'b', 8, -1, "w")};
	assert_int_equal(engine_device_rules_effective(open, 2, &s), 0);
	assert_true(s->allow_all);
	has_rules(s, "b 8:* w;");
	free(s);

	/* one device of a kind that is allowed as a whole */
	const struct oci_device_rule part[] = {RULE(true, 'b', 8, -1, "rw"),
					       RULE(false, 'b', 8, 1, "w")};
	assert_int_equal(engine_device_rules_effective(part, 2, &s), -EOPNOTSUPP);
	assert_int_equal(engine_device_rules_effective(part, 1, &s), 0);
	free(s);

	assert_int_equal(engine_device_rules_parse("a *:* rwm\n", &s), 0);
	assert_true(s->allow_all);
	free(s);
	assert_int_equal(engine_device_rules_parse("c 1:3 rwm\nb *:* m\n", &s), 0);
	assert_true(engine_device_rules_have(s, &s->v[0]));
	assert_int_equal(s->v[1].major, -1);
	const struct oci_device_rule more = RULE(true, 'b', -1, -1, "rm");
	assert_false(engine_device_rules_have(s, &more));
	free(s);
	static const char *const bad[] = {"c 1:3\n", "x 1:3 r\n", "c 1:z r\n", "c -1:3 r\n", "c"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(engine_device_rules_parse(bad[i], &s), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_relative),
		cmocka_unit_test(test_conversions),
		cmocka_unit_test(test_apply),
		cmocka_unit_test(test_update),
		cmocka_unit_test(test_check_before_update),
		cmocka_unit_test(test_bfq),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_device_rules),
	};
	return RUN_TESTS();
}
