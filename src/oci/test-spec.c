/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json in and out. tests/golden/oci holds documents that containerd wrote (ctr-run*: by
 * `ctr run`, cri-*: for a pod) and full.json, in which every member that is held occurs.
 */
#include "base/testing.h"

#include "base/fd.h"
#include "fmt/json.h"
#include "oci/arena.h"
#include "oci/spec.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void read_golden(const char *name, struct buf *ret)
{
	char path[4096];
	(void)snprintf(path, sizeof path, "%s/%s", GOLDEN_DIR, name);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, ret), 0);
}

static struct oci_spec *parse_golden(const char *name)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	struct oci_spec *s = NULL;

	read_golden(name, &b);
	int r = oci_spec_parse(b.data, b.len, &s, &e);
	if (r < 0)
		fail_msg("%s: %s", name, e.text);
	return s;
}

static void reads_what_ctr_run_writes(void **state)
{
	struct oci_spec *s = parse_golden("ctr-run.json");

	assert_string_equal(s->version, "1.0.2-dev");
	assert_string_equal(s->root_path, "rootfs");
	assert_true(s->has_process);
	assert_int_equal(s->process.args.n, 1);
	assert_string_equal(s->process.args.v[0], "true");
	assert_null(s->process.args.v[1]);
	assert_string_equal(s->process.cwd, "/");
	assert_true(s->process.caps.present);
	assert_true(s->process.caps.bounding == s->process.caps.permitted);
	assert_int_equal(__builtin_popcountll(s->process.caps.bounding), 14);
	assert_int_equal(s->process.caps.unknown.n, 0);
	assert_int_equal(s->process.n_rlimits, 1);
	assert_int_equal(s->process.rlimits[0].resource, RLIMIT_NOFILE);
	assert_true(s->process.no_new_privileges);
	assert_false(s->process.has_oom_score_adj);
	assert_null(s->hostname);
	assert_int_equal(s->n_namespaces, 5);
	assert_non_null(oci_spec_namespace(s, OCI_NS_NETWORK));
	assert_null(oci_spec_namespace(s, OCI_NS_USER));
	assert_string_equal(s->mounts[0].destination, "/proc");
	assert_string_equal(s->cgroups_path, "/default/ctr1");
	assert_int_equal(s->resources.n_devices, 10);
	assert_false(s->resources.devices[0].allow);
	assert_int_equal(s->resources.devices[0].type, 'a');
	assert_int_equal(s->resources.devices[0].major, -1);
	assert_true(s->resources.memory.limit == OCI_UNSET);
	assert_false(s->has_seccomp);
	assert_true(s->masked_paths.n > 5);
	oci_spec_free(s);
}

static void reads_limits_and_seccomp(void **state)
{
	struct oci_spec *s = parse_golden("ctr-run-limits.json");

	assert_int_equal(s->resources.memory.limit, 67108864);
	assert_int_equal(s->resources.cpu.quota, 50000);
	assert_int_equal(s->resources.cpu.period, 100000);
	assert_int_equal(s->resources.cpu.shares, 1024);
	assert_true(s->resources.cpu.burst == OCI_UNSET);
	assert_string_equal(oci_spec_annotation(s, "a.b/c"), "d");
	assert_null(oci_spec_annotation(s, "a.b"));
	assert_true(s->has_seccomp);
	assert_string_equal(s->seccomp.default_action, "SCMP_ACT_ERRNO");
	assert_true(s->seccomp.n_rules > 5);
	assert_true(s->seccomp.rules[0].names.n > 200);
	oci_spec_free(s);
}

static void reads_a_pod(void **state)
{
	struct oci_spec *s = parse_golden("cri-sandbox.json");
	assert_string_equal(oci_spec_annotation(s, "io.kubernetes.cri.container-type"), "sandbox");
	assert_int_equal(s->process.oom_score_adj, -998);
	oci_spec_free(s);

	s = parse_golden("cri-container.json");
	assert_string_equal(oci_spec_annotation(s, "io.kubernetes.cri.container-type"),
			    "container");
	assert_true(s->process.has_oom_score_adj);
	assert_int_equal(s->process.oom_score_adj, 0);
	assert_int_equal(s->process.user.n_additional_gids, 1);
	assert_non_null(oci_spec_namespace(s, OCI_NS_IPC)->path);
	oci_spec_free(s);
}

static void reads_every_member(void **state)
{
	struct oci_spec *s = parse_golden("full.json");
	const struct oci_process *p = &s->process;

	assert_true(p->user.has_umask);
	assert_int_equal(p->user.umask, 022);
	assert_true(p->user.additional_gids[1] == 4294967294u);
	assert_true(p->caps.bounding == (1ull | 1ull << 40));
	assert_true(p->rlimits[1].hard == RLIM_INFINITY);
	assert_int_equal(p->scheduler.policy, SCHED_DEADLINE);
	assert_int_equal(p->scheduler.flags, SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_UTIL_CLAMP_MAX);
	assert_int_equal(p->io_priority.class, 2);
	assert_int_equal(s->mounts[1].gid_mappings[0].host_id, 2000);
	assert_null(s->mounts[2].source);
	assert_null(s->mounts[2].options.v[0]);
	assert_int_equal(s->hooks.prestart.v[0].timeout, 5);
	assert_int_equal(s->hooks.poststart.n, 2);
	assert_int_equal(s->hooks.create_runtime.v[0].args.n, 0);
	assert_null(s->hooks.create_runtime.v[0].env.v[0]);
	assert_int_equal(s->resources.memory.swap, -1);
	assert_int_equal(s->resources.cpu.quota, -1);
	assert_true(s->resources.hugepages[0].limit == 9223372036854775808ull);
	assert_int_equal(s->resources.pids_limit, 32771);
	assert_false(s->resources.rdma[1].has_handles);
	assert_int_equal(s->devices[0].mode, 0666);
	assert_false(s->devices[1].has_mode);
	assert_true(s->seccomp.rules[1].args[1].value == UINT64_MAX);
	assert_false(s->seccomp.rules[0].has_errno_ret);
	assert_int_equal(s->personality, PER_LINUX32);
	assert_int_equal(s->boottime.secs, -604800);
	assert_string_equal(s->intel_rdt.mem_bw_schema, "MB:0=20;1=70");
	oci_spec_free(s);
}

/* What the agent API has no words for; it is not in full.json for that. */
static void keeps_what_intel_rdt_monitors(void **state)
{
	static const char text[] =
		"{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"r\"},\"linux\":{\"intelRdt\":"
		"{\"enableCMT\":true,\"enableMBM\":true}}}";
	struct oci_spec *s = NULL;
	struct err e = ERR_INIT;
	if (oci_spec_parse(text, strlen(text), &s, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(s->intel_rdt.present && s->intel_rdt.enable_cmt && s->intel_rdt.enable_mbm);
	json_t *j = oci_spec_to_json(s);
	json_t *rdt = json_object_get(json_object_get(j, "linux"), "intelRdt");
	assert_true(json_is_true(json_object_get(rdt, "enableCMT")));
	assert_true(json_is_true(json_object_get(rdt, "enableMBM")));
	json_decref(j);
	oci_spec_free(s);
}

/* A spec written and read again is the same; of full.json nothing at all gets lost. */
static void writes_what_it_reads(void **state)
{
	DIR *d = opendir(GOLDEN_DIR);
	struct dirent *de;
	size_t n = 0;

	assert_non_null(d);
	while ((de = readdir(d))) {
		if (de->d_name[0] == '.')
			continue;
		struct oci_spec *a = parse_golden(de->d_name), *b = NULL;
		json_t *ja = oci_spec_to_json(a);
		_cleanup_free_ char *text = json_text_dump(ja, 0);
		struct err e = ERR_INIT;

		n++;
		if (oci_spec_parse(text, strlen(text), &b, &e) < 0)
			fail_msg("%s: %s", de->d_name, e.text);
		json_t *jb = oci_spec_to_json(b);
		assert_true(json_equal(ja, jb));
		if (strcmp(de->d_name, "full.json") == 0) {
			_cleanup_buf_ struct buf file = BUF_INIT;
			static const struct json_limits limits = {1 << 20, 32, 10000};
			json_t *jf = NULL;
			read_golden(de->d_name, &file);
			assert_int_equal(json_text_parse(file.data, file.len, &limits, &jf, &e), 0);
			assert_true(json_equal(ja, jf));
			json_decref(jf);
		}
		json_decref(ja);
		json_decref(jb);
		oci_spec_free(a);
		oci_spec_free(b);
	}
	closedir(d);
	assert_int_equal(n, 6);
}

static void a_bundle_is_loaded(void **state)
{
	char dir[] = "/tmp/test-spec-XXXXXX", path[64];
	struct err e = ERR_INIT;
	struct oci_spec *s = NULL;
	_cleanup_buf_ struct buf b = BUF_INIT;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(oci_spec_load(dir, &s, &e), -ENOENT);
	assert_non_null(strstr(e.text, "config.json: No such file"));

	read_golden("ctr-run.json", &b);
	(void)snprintf(path, sizeof path, "%s/config.json", dir);
	assert_int_equal(file_replace(path, b.data, b.len, 0600), 0);
	assert_int_equal(oci_spec_load(dir, &s, &e), 0);
	oci_spec_free(s);

	assert_int_equal(file_replace(path, "{}", 2, 0600), 0);
	s = NULL;
	assert_int_equal(oci_spec_load(dir, &s, &e), -EINVAL);
	assert_null(s);
	assert_non_null(strstr(e.text, "/config.json: ociVersion is missing"));
	assert_int_equal(e.status, STATUS_INVALID_ARGUMENT);
	assert_int_equal(oci_spec_load("/nonexistent", &s, &e), -ENOENT);
	assert_int_equal(remove_tree(dir), 0);
}

#define DOC(rest) "{\"ociVersion\": \"1.2.0\", \"root\": {\"path\": \"rootfs\"}" rest "}"
#define PROC(rest) DOC(", \"process\": {\"args\": [\"a\"], \"cwd\": \"/\"" rest "}")
#define LINUX(rest) DOC(", \"linux\": {" rest "}")
#define RES(rest) LINUX("\"resources\": {" rest "}")
#define SECC(rest) LINUX("\"seccomp\": {" rest "}")
#define RULE(rest) SECC("\"defaultAction\": \"SCMP_ACT_LOG\", \"syscalls\": [{" rest "}]")

static const struct {
	const char *doc, *sentence;
} refused[] = {
	{"[]", "the document is an array of 0: must be an object"},
	{"{\"ociVersion\": 1}", "ociVersion is 1: must be a string"},
	{"{\"ociVersion\": \"1.0.0\"}", "root is missing"},
	{"{\"ociVersion\": \"2.0.0\", \"root\": {\"path\": \"r\"}}",
	 "ociVersion is \"2.0.0\": only 1.x is understood"},
	{"{\"ociVersion\": \"1.0.0\", \"root\": {}}", "root.path is missing"},
	{"{\"ociVersion\": \"1.0.0\", \"root\": {\"path\": \"\"}}",
	 "root.path is empty: must be the path of the root file system"},
	{"{\"ociVersion\": \"1.0.0\", \"root\": \"rootfs\"}",
	 "root is \"rootfs\": must be an object"},

	{DOC(", \"process\": {\"args\": []}"), "process.cwd is missing"},
	{DOC(", \"process\": {\"cwd\": \"/\"}"), "process.args is missing"},
	{DOC(", \"process\": {\"cwd\": \"/\", \"args\": null}"), "process.args is missing"},
	{DOC(", \"process\": {\"cwd\": \"/\", \"args\": []}"),
	 "process.args is empty: must begin with the program to run"},
	{DOC(", \"process\": {\"cwd\": \"/\", \"args\": [\"\"]}"),
	 "process.args[0] is empty: must be the program to run"},
	{DOC(", \"process\": {\"cwd\": \"/\", \"args\": [\"a\", 5]}"),
	 "process.args[1] is 5: must be a string"},
	{DOC(", \"process\": {\"cwd\": \"x/y\", \"args\": [\"a\"]}"),
	 "process.cwd is \"x/y\": must be an absolute path"},
	{PROC(", \"env\": [\"A=b\", \"PASSWORD\"]"),
	 "process.env[1] is no variable: must be NAME=value"},
	{PROC(", \"env\": [\"=b\"]"), "process.env[0] is no variable: must be NAME=value"},
	{PROC(", \"terminal\": 1"), "process.terminal is 1: must be true or false"},
	{PROC(", \"consoleSize\": {\"height\": 70000, \"width\": 1}"),
	 "process.consoleSize is 1x70000: at most 65535 are possible"},
	{PROC(", \"user\": {\"uid\": -1}"),
	 "process.user.uid is -1: must be an integer from 0 to 4294967295"},
	{PROC(", \"user\": {\"uid\": 4294967295}"),
	 "process.user.uid is 4294967295: this id means \"none\" to the kernel"},
	{PROC(", \"user\": {\"gid\": 4294967296}"),
	 "process.user.gid is 4294967296: must be an integer from 0 to 4294967295"},
	{PROC(", \"user\": {\"umask\": 512}"),
	 "process.user.umask is 512: must be at most 511 (octal 777)"},
	{PROC(", \"user\": {\"additionalGids\": [1, \"x\"]}"),
	 "process.user.additionalGids[1] is \"x\": must be an integer from 0 to 4294967295"},
	{PROC(", \"capabilities\": {\"bounding\": [1]}"),
	 "process.capabilities.bounding[0] is 1: must be a string"},
	{PROC(", \"rlimits\": [{\"type\": \"NOFILE\", \"soft\": 1, \"hard\": 1}]"),
	 "process.rlimits[0].type is \"NOFILE\": must be one of RLIMIT_CPU, RLIMIT_FSIZE, "
	 "RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE, "
	 "RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_LOCKS, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, "
	 "RLIMIT_NICE, RLIMIT_RTPRIO, RLIMIT_RTTIME"},
	{PROC(", \"rlimits\": [{\"type\": \"RLIMIT_AS\", \"soft\": 2, \"hard\": 1}]"),
	 "process.rlimits[0] (RLIMIT_AS) has a soft limit of 2: must not exceed the hard limit, 1"},
	{PROC(", \"rlimits\": [{\"type\": \"RLIMIT_AS\", \"soft\": 1}]"),
	 "process.rlimits[0].hard is missing"},
	{PROC(", \"rlimits\": [{\"type\": \"RLIMIT_AS\", \"soft\": 1, \"hard\": 1},"
	      " {\"type\": \"RLIMIT_AS\", \"soft\": 1, \"hard\": 1}]"),
	 "process.rlimits[1].type is \"RLIMIT_AS\": is there already"},
	{PROC(", \"oomScoreAdj\": 1001"),
	 "process.oomScoreAdj is 1001: must be an integer from -1000 to 1000"},
	{PROC(", \"scheduler\": {\"policy\": \"SCHED_X\"}"),
	 "process.scheduler.policy is \"SCHED_X\": must be one of SCHED_OTHER, SCHED_FIFO, "
	 "SCHED_RR, SCHED_BATCH, SCHED_ISO, SCHED_IDLE, SCHED_DEADLINE"},
	{PROC(", \"scheduler\": {\"policy\": \"SCHED_OTHER\", \"priority\": 5}"),
	 "process.scheduler.priority is 5: SCHED_OTHER has no priorities"},
	{PROC(", \"scheduler\": {\"policy\": \"SCHED_RR\"}"),
	 "process.scheduler.priority is 0: must be from 1 to 99 for SCHED_RR"},
	{PROC(", \"scheduler\": {\"policy\": \"SCHED_BATCH\", \"period\": 7}"),
	 "process.scheduler has runtime, deadline or period: SCHED_BATCH has none"},
	{PROC(", \"scheduler\": {\"policy\": \"SCHED_DEADLINE\", \"runtime\": 2, \"deadline\": 1}"),
	 "process.scheduler has runtime 2, deadline 1, period 0: each must be at most the next"},
	{PROC(", \"execCPUAffinity\": {\"final\": \"0-\"}"),
	 "process.execCPUAffinity.final is \"0-\": must be a list such as 0-3,7"},
	{PROC(", \"execCPUAffinity\": {\"initial\": \"3-1\"}"),
	 "process.execCPUAffinity.initial is \"3-1\": must be a list such as 0-3,7"},
	{PROC(", \"execCPUAffinity\": {\"initial\": \"1,,2\"}"),
	 "process.execCPUAffinity.initial is \"1,,2\": must be a list such as 0-3,7"},
	{PROC(", \"execCPUAffinity\": {\"initial\": \"0 1\"}"),
	 "process.execCPUAffinity.initial is \"0 1\": must be a list such as 0-3,7"},
	{PROC(", \"execCPUAffinity\": {\"initial\": \"8192\"}"),
	 "process.execCPUAffinity.initial is \"8192\": processors are numbered below 8192"},
	{PROC(", \"ioPriority\": {\"class\": \"IOPRIO_CLASS_RT\", \"priority\": 8}"),
	 "process.ioPriority.priority is 8: must be an integer from 0 to 7"},

	{DOC(", \"hostname\": \"h\""), "hostname is \"h\": needs a uts namespace"},
	{DOC(", \"domainname\": \"0123456789012345678901234567890123456789012345678901234567890"
	     "1234\""),
	 "domainname is \"01234567890123456789012345678901234567890123456789012345678901234\": "
	 "must have at most 64 bytes"},
	{DOC(", \"mounts\": {}"), "mounts is an object: must be an array"},
	{DOC(", \"mounts\": [{}]"), "mounts[0].destination is missing"},
	{DOC(", \"mounts\": [{\"destination\": \"\"}]"),
	 "mounts[0].destination is \"\": must be an absolute path"},
	{DOC(", \"mounts\": [{\"destination\": \"/x\", \"type\": \"bind\"}]"),
	 "mounts[0].source is missing: the bind mount on \"/x\" needs one"},
	{DOC(", \"mounts\": [{\"destination\": \"/x\", \"options\": [\"rbind\"]}]"),
	 "mounts[0].source is missing: the bind mount on \"/x\" needs one"},
	{DOC(", \"mounts\": [{\"destination\": \"/x\", \"uidMappings\": [{\"containerID\": 1,"
	     " \"hostID\": 1, \"size\": 4294967295}]}]"),
	 "mounts[0].uidMappings[0] maps 4294967295 ids from 1 to 1: must stay below 4294967295"},
	{DOC(", \"annotations\": {\"a\": 1}"), "annotations.a is 1: must be a string"},
	{DOC(", \"annotations\": {\"\": \"x\"}"), "annotations has an empty key"},
	{DOC(", \"hooks\": {\"prestart\": [{\"args\": []}]}"), "hooks.prestart[0].path is missing"},
	{DOC(", \"hooks\": {\"poststop\": [{\"path\": \"x\"}]}"),
	 "hooks.poststop[0].path is \"x\": must be an absolute path"},
	{DOC(", \"hooks\": {\"poststop\": [{\"path\": \"/x\", \"timeout\": 0}]}"),
	 "hooks.poststop[0].timeout is 0: must be an integer from 1 to 2147483647"},
	{DOC(", \"hooks\": {\"poststop\": [{\"path\": \"/x\", \"env\": [\"A\"]}]}"),
	 "hooks.poststop[0].env[0] is no variable: must be NAME=value"},

	{LINUX("\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"ipc\"}, {\"type\": \"foo\"}]"),
	 "linux.namespaces[2].type is \"foo\": must be one of pid, network, mount, ipc, uts, user, "
	 "cgroup, time"},
	{LINUX("\"namespaces\": [{\"path\": \"/x\"}]"), "linux.namespaces[0].type is missing"},
	{LINUX("\"namespaces\": [{\"type\": \"mount\"}, {\"type\": \"mount\"}]"),
	 "linux.namespaces[1].type is \"mount\": is there already"},
	{LINUX("\"namespaces\": [{\"type\": \"ipc\", \"path\": \"proc/1/ns/ipc\"}]"),
	 "linux.namespaces[0].path is \"proc/1/ns/ipc\": must be an absolute path"},
	{LINUX("\"uidMappings\": [{\"containerID\": 0, \"hostID\": 1, \"size\": 1}]"),
	 "linux.uidMappings, gidMappings are given: need a user namespace"},
	{LINUX("\"namespaces\": [{\"type\": \"user\"}],"
	       " \"gidMappings\": [{\"containerID\": 0, \"hostID\": 1, \"size\": 0}]"),
	 "linux.gidMappings[0].size is 0: must be greater"},
	{LINUX("\"timeOffsets\": {\"monotonic\": {\"secs\": 1}}"),
	 "linux.timeOffsets is given: needs a time namespace"},
	{LINUX("\"sysctl\": {\"net.ipv4..x\": \"1\"}"),
	 "linux.sysctl has the key \"net.ipv4..x\": must be names separated by dots"},
	{LINUX("\"sysctl\": {\"/etc/passwd\": \"1\"}"),
	 "linux.sysctl has the key \"/etc/passwd\": must be names separated by dots"},
	{LINUX("\"sysctl\": {\"a/../b\": \"1\"}"),
	 "linux.sysctl has the key \"a/../b\": must be names separated by dots"},
	{LINUX("\"devices\": [{\"path\": \"/dev/x\", \"type\": \"c\", \"major\": 1}]"),
	 "linux.devices[0].minor is missing"},
	{LINUX("\"devices\": [{\"path\": \"/dev/x\", \"type\": \"d\"}]"),
	 "linux.devices[0].type is \"d\": must be one of c, b, u, p"},
	{LINUX("\"devices\": [{\"path\": \"dev/x\", \"type\": \"p\"}]"),
	 "linux.devices[0].path is \"dev/x\": must be an absolute path"},
	{LINUX("\"devices\": [{\"path\": \"/d\", \"type\": \"c\", \"major\": 5000, \"minor\": 0}]"),
	 "linux.devices[0].major is 5000: must be an integer from 0 to 4095"},
	{LINUX("\"cgroupsPath\": \"/a/../../b\""),
	 "linux.cgroupsPath is \"/a/../../b\": must have no \"..\" and be shorter than 4096"},
	{LINUX("\"maskedPaths\": [\"/a\", \"b\"]"),
	 "linux.maskedPaths[1] is \"b\": must be an absolute path"},
	{LINUX("\"readonlyPaths\": [\"\"]"),
	 "linux.readonlyPaths[0] is \"\": must be an absolute path"},
	{LINUX("\"rootfsPropagation\": \"rw\""),
	 "linux.rootfsPropagation is \"rw\": must be one of private, shared, slave, unbindable, "
	 "rprivate, rshared, rslave, runbindable"},
	{LINUX("\"personality\": {\"domain\": \"BSD\"}"),
	 "linux.personality.domain is \"BSD\": must be one of LINUX, LINUX32"},

	{RES("\"memory\": {\"limit\": -2}"), "linux.resources.memory.limit is -2: must be an "
					     "integer from -1 to 9223372036854775807"},
	{RES("\"memory\": {\"limit\": \"1Gi\"}"),
	 "linux.resources.memory.limit is \"1Gi\": must be an integer from -1 to "
	 "9223372036854775807"},
	{RES("\"memory\": {\"swappiness\": 201}"),
	 "linux.resources.memory.swappiness is 201: must be an integer from 0 to 200"},
	{RES("\"cpu\": {\"cpus\": \"0-3;rm\"}"),
	 "linux.resources.cpu.cpus is \"0-3;rm\": must be a list such as 0-3,7"},
	{RES("\"cpu\": {\"period\": 1.5}"), "linux.resources.cpu.period is 1.5: must be an integer "
					    "from 0 to 9223372036854775807"},
	{RES("\"pids\": {\"limit\": true}"), "linux.resources.pids.limit is true: must be an "
					     "integer from -1 to 9223372036854775807"},
	{RES("\"devices\": [{\"type\": \"c\"}]"), "linux.resources.devices[0].allow is missing"},
	{RES("\"devices\": [{\"allow\": true, \"type\": \"x\"}]"),
	 "linux.resources.devices[0].type is \"x\": must be one of a, c, b"},
	{RES("\"devices\": [{\"allow\": true, \"access\": \"rwx\"}]"),
	 "linux.resources.devices[0].access is \"rwx\": must be of the letters r, w, m"},
	{RES("\"hugepageLimits\": [{\"pageSize\": \"../2MB\", \"limit\": 1}]"),
	 "linux.resources.hugepageLimits[0].pageSize is \"../2MB\": must be a size such as 2MB"},
	{RES("\"unified\": {\"../memory.max\": \"1\"}"),
	 "linux.resources.unified has the key \"../memory.max\": must be the name of a cgroup "
	 "file, "
	 "such as memory.high"},
	{RES("\"blockIO\": {\"weightDevice\": [{\"major\": 1}]}"),
	 "linux.resources.blockIO.weightDevice[0].minor is missing"},

	{SECC("\"syscalls\": []"), "linux.seccomp.defaultAction is missing"},
	{SECC("\"defaultAction\": \"SCMP_ACT_ALLOW\", \"listenerMetadata\": \"x\""),
	 "linux.seccomp.listenerMetadata is given: needs listenerPath"},
	{SECC("\"defaultAction\": \"SCMP_ACT_ALLOW\", \"listenerPath\": \"x\""),
	 "linux.seccomp.listenerPath is \"x\": must be an absolute path"},
	{SECC("\"defaultAction\": \"ALLOW\""),
	 "linux.seccomp.defaultAction is \"ALLOW\": must be one of SCMP_ACT_KILL, "
	 "SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_TRAP, SCMP_ACT_ERRNO, "
	 "SCMP_ACT_TRACE, SCMP_ACT_ALLOW, SCMP_ACT_LOG, SCMP_ACT_NOTIFY"},
	{SECC("\"defaultAction\": \"SCMP_ACT_LOG\", \"flags\": [\"X\"]"),
	 "linux.seccomp.flags[0] is \"X\": must be one of SECCOMP_FILTER_FLAG_TSYNC, "
	 "SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, "
	 "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"},
	{RULE("\"names\": [], \"action\": \"SCMP_ACT_LOG\""),
	 "linux.seccomp.syscalls[0].names is empty: must have at least one"},
	{RULE("\"names\": [\"a\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 65536"),
	 "linux.seccomp.syscalls[0].errnoRet is 65536: must be at most 65535"},
	{RULE("\"names\": [\"a\"], \"action\": \"SCMP_ACT_LOG\", \"args\": [{\"index\": 6,"
	      " \"value\": 1, \"op\": \"SCMP_CMP_EQ\"}]"),
	 "linux.seccomp.syscalls[0].args[0].index is 6: must be at most 5"},
	{RULE("\"names\": [\"a\"], \"action\": \"SCMP_ACT_LOG\", \"args\": [{\"index\": 5,"
	      " \"value\": 1, \"op\": \"EQ\"}]"),
	 "linux.seccomp.syscalls[0].args[0].op is \"EQ\": must be one of SCMP_CMP_NE, SCMP_CMP_LT, "
	 "SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ"},
};

static void wrong_fields_are_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct err e = ERR_INIT;
		struct oci_spec *s = NULL;
		int r = oci_spec_parse(refused[i].doc, strlen(refused[i].doc), &s, &e);
		if (strcmp(e.text, refused[i].sentence) != 0)
			print_error("%s\n", refused[i].doc);
		assert_string_equal(e.text, refused[i].sentence);
		assert_int_equal(r, -EINVAL);
		assert_int_equal(e.status, STATUS_INVALID_ARGUMENT);
		assert_null(s);
		/* without anyone to tell it is refused too */
		assert_int_equal(oci_spec_parse(refused[i].doc, strlen(refused[i].doc), &s, NULL),
				 -EINVAL);
	}
}

static const char *const accepted[] = {
	DOC(""),
	DOC(", \"linux\": null, \"hooks\": null, \"mounts\": null, \"process\": null"),
	DOC(", \"windows\": {\"x\": [1]}, \"unknown\": {\"a\": 1.5e300}"),
	PROC(""),
	PROC(", \"user\": {\"uid\": 0, \"gid\": 0, \"new\": {}}, \"env\": []"),
	RES("\"memory\": {\"useHierarchy\": true}, \"network\": {\"classID\": 1}"),
	LINUX("\"namespaces\": []"),
	SECC("\"defaultAction\": \"SCMP_ACT_ALLOW\""),
};

static void odd_but_right_documents_are_read(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(accepted); i++) {
		struct err e = ERR_INIT;
		struct oci_spec *s = NULL;
		if (oci_spec_parse(accepted[i], strlen(accepted[i]), &s, &e) < 0)
			fail_msg("%s: %s", accepted[i], e.text);
		json_t *j = oci_spec_to_json(s);
		assert_non_null(j);
		json_decref(j);
		oci_spec_free(s);
	}
}

static void annotations_are_set_once(void **state)
{
	struct oci_spec *s = oci_spec_new();

	assert_int_equal(oci_spec_set_annotation(s, "a", "1"), 0);
	assert_int_equal(oci_spec_set_annotation(s, "b", "2"), 0);
	assert_int_equal(oci_spec_set_annotation(s, "a", "3"), 0);
	assert_int_equal(s->n_annotations, 2);
	assert_string_equal(oci_spec_annotation(s, "a"), "3");
	assert_string_equal(oci_spec_annotation(s, "b"), "2");
	oci_spec_free(s);
}

static void relative_destinations_start_at_the_root(void **state)
{
	static const char doc[] = DOC(", \"mounts\": [{\"destination\": \"a/b\"}]");
	struct oci_spec *s = NULL;
	assert_int_equal(oci_spec_parse(doc, strlen(doc), &s, NULL), 0);
	assert_string_equal(s->mounts[0].destination, "/a/b");
	oci_spec_free(s);
}

static void unknown_capabilities_are_ignored_and_kept(void **state)
{
	static const char doc[] =
		PROC(", \"capabilities\": {\"bounding\": [\"CAP_CHOWN\", "
		     "\"CAP_FUTURE\"], \"effective\": [\"CAP_FUTURE\", \"kill\"]}");
	struct oci_spec *s = NULL;
	assert_int_equal(oci_spec_parse(doc, strlen(doc), &s, NULL), 0);
	assert_true(s->process.caps.bounding == 1);
	assert_true(s->process.caps.effective == 1 << 5);
	assert_int_equal(s->process.caps.unknown.n, 2);
	assert_string_equal(s->process.caps.unknown.v[1], "CAP_FUTURE");
	oci_spec_free(s);
}

static void device_rules_have_safe_defaults(void **state)
{
	static const char doc[] = RES("\"devices\": [{\"allow\": false}, {\"allow\": true, "
				      "\"type\": \"c\"}, {\"allow\": false, \"type\": \"b\", "
				      "\"major\": 8}, {\"allow\": true}]");
	struct oci_spec *s = NULL;
	assert_int_equal(oci_spec_parse(doc, strlen(doc), &s, NULL), 0);
	const struct oci_device_rule *d = s->resources.devices;
	assert_int_equal(d[0].type, 'a');
	assert_string_equal(d[0].access, "rwm");
	assert_string_equal(d[1].access, ""); /* allows nothing */
	assert_int_equal(d[2].minor, -1);
	assert_string_equal(d[2].access, "rwm");
	assert_string_equal(d[3].access, "rwm");
	oci_spec_free(s);
}

static void a_process_alone(void **state)
{
	static const char doc[] = "{\"args\": [\"sh\"], \"cwd\": \"/\", \"terminal\": true}";
	static const char bad[] = "{\"args\": [\"sh\"], \"cwd\": \"/\", \"terminal\": 1}";
	struct err e = ERR_INIT;
	struct oci_process *p = NULL;
	_cleanup_arena_ struct oci_arena *a = NULL;

	assert_int_equal(oci_process_parse(doc, strlen(doc), &p, &a, &e), 0);
	assert_true(p->terminal);
	assert_false(p->caps.present);
	assert_null(p->env.v[0]);
	assert_int_equal(oci_process_parse(bad, strlen(bad), &p, &a, &e), -EINVAL);
	assert_string_equal(e.text, "process.terminal is 1: must be true or false");
	assert_int_equal(oci_process_parse("", 0, &p, &a, &e), -EINVAL);
}

static void resources_alone(void **state)
{
	static const char doc[] = "{\"memory\": {\"limit\": 5}, \"pids\": {\"limit\": -1}}";
	static const char bad[] = "{\"memory\": {\"limit\": {}}}";
	struct err e = ERR_INIT;
	struct oci_resources *r = NULL;
	_cleanup_arena_ struct oci_arena *a = NULL;

	assert_int_equal(oci_resources_parse(doc, strlen(doc), &r, &a, &e), 0);
	assert_int_equal(r->memory.limit, 5);
	assert_int_equal(r->pids_limit, -1);
	assert_true(r->cpu.shares == OCI_UNSET);
	assert_int_equal(oci_resources_parse(bad, strlen(bad), &r, &a, &e), -EINVAL);
	assert_string_equal(e.text, "resources.memory.limit is an object: must be an integer from "
				    "-1 to 9223372036854775807");
}

static void too_much_is_refused(void **state)
{
	struct err e = ERR_INIT;
	struct oci_spec *s = NULL;
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_puts(&b, "{\"x\": ");
	for (int i = 0; i < 100000; i++)
		buf_puts(&b, "[");
	assert_int_equal(oci_spec_parse(b.data, b.len, &s, &e), -E2BIG);

	buf_clear(&b);
	buf_puts(&b, "{\"ociVersion\": \"1.0.0\", \"root\": {\"path\": \"x\"}, \"mounts\": [");
	for (unsigned int i = 0; i <= OCI_MOUNTS_MAX; i++)
		buf_printf(&b, "%s{\"destination\": \"/\"}", i ? "," : "");
	buf_puts(&b, "]}");
	assert_int_equal(oci_spec_parse(b.data, b.len, &s, &e), -EINVAL);
	assert_string_equal(e.text, "mounts is an array of 4097: must have at most 4096 elements");

	assert_non_null(buf_reserve(&b, OCI_JSON_BYTES_MAX + 1));
	memset(b.data, ' ', OCI_JSON_BYTES_MAX + 1);
	assert_int_equal(oci_spec_parse(b.data, OCI_JSON_BYTES_MAX + 1, &s, &e), -EFBIG);
	assert_null(s);
}

static void capability_names(void **state)
{
	assert_int_equal(oci_capability_parse("CAP_CHOWN"), 0);
	assert_int_equal(oci_capability_parse("CHOWN"), 0);
	assert_int_equal(oci_capability_parse("cap_sys_admin"), 21);
	assert_int_equal(oci_capability_parse("\"CAP_SYS_ADMIN\""), 21);
	assert_int_equal(oci_capability_parse("\"SYS_ADMIN\""), 21);
	assert_int_equal(oci_capability_parse("CAP_"), -EINVAL);
	assert_int_equal(oci_capability_parse(""), -EINVAL);
	assert_int_equal(oci_capability_parse("\""), -EINVAL);
	assert_int_equal(oci_capability_parse("\"\""), -EINVAL);
	assert_int_equal(oci_capability_parse("CAP_SYS_ADMINX"), -EINVAL);
	assert_int_equal(oci_capability_parse("CAP_SYS"), -EINVAL);
	for (int i = 0; oci_capability_name(i); i++)
		assert_int_equal(oci_capability_parse(oci_capability_name(i)), i);
	assert_string_equal(oci_capability_name(40), "CAP_CHECKPOINT_RESTORE");
	assert_null(oci_capability_name(41));
	assert_null(oci_capability_name(-1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_ctr_run_writes),
		cmocka_unit_test(reads_limits_and_seccomp),
		cmocka_unit_test(reads_a_pod),
		cmocka_unit_test(reads_every_member),
		cmocka_unit_test(keeps_what_intel_rdt_monitors),
		cmocka_unit_test(writes_what_it_reads),
		cmocka_unit_test(a_bundle_is_loaded),
		cmocka_unit_test(wrong_fields_are_refused),
		cmocka_unit_test(odd_but_right_documents_are_read),
		cmocka_unit_test(annotations_are_set_once),
		cmocka_unit_test(relative_destinations_start_at_the_root),
		cmocka_unit_test(unknown_capabilities_are_ignored_and_kept),
		cmocka_unit_test(device_rules_have_safe_defaults),
		cmocka_unit_test(a_process_alone),
		cmocka_unit_test(resources_alone),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(capability_names),
	};
	return RUN_TESTS();
}
