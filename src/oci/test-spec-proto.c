/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "base/fd.h"
#include "fmt/json.h"
#include "oci/arena.h"
#include "oci/spec-proto.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

static const struct json_limits limits = {1 << 20, 32, 10000};

static json_t *load_golden(const char *name)
{
	char path[4096];
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	json_t *v = NULL;

	(void)snprintf(path, sizeof path, "%s/%s", GOLDEN_DIR, name);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &b), 0);
	assert_int_equal(json_text_parse(b.data, b.len, &limits, &v, &e), 0);
	return v;
}

static json_t *walk(json_t *v, const char *a, const char *b)
{
	return json_object_get(json_object_get(v, a), b);
}

/* What of a document the wire carries, as it arrives: see oci/spec-proto.h. */
static void lose(json_t *doc)
{
	json_t *el, *process = json_object_get(doc, "process");
	size_t i;

	if (json_is_integer(json_object_get(process, "oomScoreAdj")) &&
	    json_integer_value(json_object_get(process, "oomScoreAdj")) == 0)
		json_object_del(process, "oomScoreAdj");
	json_array_foreach (walk(doc, "linux", "devices"), i, el) {
		if (!json_object_get(el, "fileMode"))
			json_object_set_new(el, "fileMode", json_integer(0666));
		if (json_integer_value(json_object_get(el, "uid")) == 0)
			json_object_del(el, "uid");
		if (json_integer_value(json_object_get(el, "gid")) == 0)
			json_object_del(el, "gid");
	}
	json_array_foreach (json_object_get(walk(doc, "linux", "seccomp"), "syscalls"), i, el) {
		const char *action = json_string_value(json_object_get(el, "action"));
		if (strcmp(action, "SCMP_ACT_ERRNO") == 0 && !json_object_get(el, "errnoRet"))
			json_object_set_new(el, "errnoRet", json_integer(1));
	}
	if (json_object_size(walk(doc, "linux", "resources")) == 0)
		json_object_del(json_object_get(doc, "linux"), "resources");
	if (json_object_size(json_object_get(doc, "linux")) == 0)
		json_object_del(doc, "linux");
}

static struct oci_spec *over_the_wire(const struct oci_spec *s)
{
	struct err e = ERR_INIT;
	Grpc__Spec *m = NULL;
	struct oci_spec *ret = NULL;

	assert_int_equal(oci_spec_to_proto(s, &m, &e), 0);
	size_t len = grpc__spec__get_packed_size(m);
	uint8_t *bytes = malloc(len ? len : 1);
	assert_int_equal(grpc__spec__pack(m, bytes), len);
	grpc__spec__free_unpacked(m, NULL);
	m = grpc__spec__unpack(NULL, len, bytes);
	assert_non_null(m);
	free(bytes);
	if (oci_spec_from_proto(m, &ret, &e) < 0)
		fail_msg("%s", e.text);
	grpc__spec__free_unpacked(m, NULL);
	return ret;
}

static bool round_trip(const json_t *doc)
{
	_cleanup_free_ char *text = json_text_dump(doc, 0);
	struct oci_spec *a = NULL;

	if (oci_spec_parse(text, strlen(text), &a, NULL) < 0)
		return false;
	struct oci_spec *b = over_the_wire(a);
	json_t *ja = oci_spec_to_json(a), *jb = oci_spec_to_json(b);
	lose(ja);
	if (!json_equal(ja, jb)) {
		char *ta = json_text_dump(ja, JSON_SORT_KEYS),
		     *tb = json_text_dump(jb, JSON_SORT_KEYS);
		(void)fprintf(stderr, "sent %s\ngot  %s\n", ta, tb);
		free(ta);
		free(tb);
		fail();
	}
	json_decref(ja);
	json_decref(jb);
	oci_spec_free(a);
	oci_spec_free(b);
	return true;
}

static void documents_survive_the_wire(void **state)
{
	static const char *const names[] = {
		"full.json",	       "ctr-run.json",
		"ctr-run-limits.json", "ctr-run-privileged.json",
		"cri-sandbox.json",    "cri-container.json",
	};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		json_t *doc = load_golden(names[i]);
		assert_true(round_trip(doc));
		json_decref(doc);
	}
}

static uint32_t rng_state;

static uint32_t rnd(uint32_t n)
{
	rng_state = rng_state * 1664525u + 1013904223u;
	return (rng_state >> 8) % n;
}

/* Removes members and elements here and there. */
static void thin(json_t *v, uint32_t one_in)
{
	const char *key;
	json_t *el;
	void *tmp;
	size_t i;

	json_object_foreach_safe(v, tmp, key, el)
	{
		if (rnd(one_in) == 0)
			json_object_del(v, key);
		else
			thin(el, one_in);
	}
	if (!json_is_array(v))
		return;
	for (i = json_array_size(v); i-- > 0;) {
		if (rnd(one_in) == 0)
			json_array_remove(v, i);
		else
			thin(json_array_get(v, i), one_in);
	}
}

static void any_part_of_a_document_survives_the_wire(void **state)
{
	json_t *full = load_golden("full.json");
	int survived = 0;

	for (rng_state = 1; rng_state <= 400; rng_state++) {
		uint32_t seed = rng_state;
		json_t *doc = json_deep_copy(full);
		thin(doc, 20 + seed % 100);
		survived += round_trip(doc);
		json_decref(doc);
		rng_state = seed;
	}
	json_decref(full);
	assert_true(survived > 50); /* the others lack something that is needed */
}

/* ---- What other shims send ----------------------------------------------------------------- */

static Grpc__Spec minimal_spec(Grpc__Root *root, Grpc__Process *p, Grpc__Linux *l)
{
	static char *args[] = {(char *)"sh"};
	Grpc__Spec m = GRPC__SPEC__INIT;

	*root = (Grpc__Root)GRPC__ROOT__INIT;
	root->path = (char *)"/rootfs";
	*p = (Grpc__Process)GRPC__PROCESS__INIT;
	p->args = args;
	p->n_args = 1;
	p->cwd = (char *)"/";
	*l = (Grpc__Linux)GRPC__LINUX__INIT;
	m.root = root;
	m.process = p;
	m.linux = l;
	return m;
}

static void every_spelling_is_understood(void **state)
{
	char *bounding[] = {(char *)"CAP_CHOWN", (char *)"KILL", (char *)"\"CAP_MKNOD\"",
			    (char *)"\"AUDIT_WRITE\"", (char *)"CAP_NEW"};
	static const char *const types[] = {"mnt", "network", "ipc", "uts", "cgroup", "user"};
	Grpc__LinuxNamespace ns[ARRAY_SIZE(types)], *pns[ARRAY_SIZE(types)];
	Grpc__LinuxCapabilities caps = GRPC__LINUX_CAPABILITIES__INIT;
	Grpc__Root root;
	Grpc__Process p;
	Grpc__Linux l;
	Grpc__Spec m = minimal_spec(&root, &p, &l);
	struct oci_spec *s = NULL;
	struct err e = ERR_INIT;

	caps.bounding = bounding;
	caps.n_bounding = ARRAY_SIZE(bounding);
	p.capabilities = &caps;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		ns[i] = (Grpc__LinuxNamespace)GRPC__LINUX_NAMESPACE__INIT;
		ns[i].type = (char *)types[i];
		pns[i] = &ns[i];
	}
	l.namespaces = pns;
	l.n_namespaces = ARRAY_SIZE(types);
	assert_int_equal(oci_spec_from_proto(&m, &s, &e), 0);
	assert_true(s->process.caps.bounding == (1ull << 0 | 1ull << 5 | 1ull << 27 | 1ull << 29));
	assert_int_equal(s->process.caps.unknown.n, 1);
	assert_string_equal(s->process.caps.unknown.v[0], "CAP_NEW");
	assert_int_equal(s->namespaces[0].type, OCI_NS_MOUNT);
	assert_int_equal(s->namespaces[1].type, OCI_NS_NETWORK);
	assert_null(s->namespaces[0].path);
	assert_null(s->hostname);
	assert_false(s->has_seccomp);
	oci_spec_free(s);

	ns[0].type = (char *)"mount";
	ns[1].type = (char *)"net";
	assert_int_equal(oci_spec_from_proto(&m, &s, &e), 0);
	assert_int_equal(s->namespaces[0].type, OCI_NS_MOUNT);
	assert_int_equal(s->namespaces[1].type, OCI_NS_NETWORK);
	oci_spec_free(s);
}

static void zero_is_absent(void **state)
{
	Grpc__LinuxResources m = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxMemory mem = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxPids pids = GRPC__LINUX_PIDS__INIT;
	Grpc__LinuxDeviceCgroup rules[] = {GRPC__LINUX_DEVICE_CGROUP__INIT,
					   GRPC__LINUX_DEVICE_CGROUP__INIT,
					   GRPC__LINUX_DEVICE_CGROUP__INIT};
	Grpc__LinuxDeviceCgroup *prules[] = {&rules[0], &rules[1], &rules[2]};
	_cleanup_arena_ struct oci_arena *a = NULL;
	struct oci_resources *r = NULL;
	struct err e = ERR_INIT;

	mem.limit = -1;
	mem.swap = 7;
	cpu.quota = -1;
	m.memory = &mem;
	m.cpu = &cpu;
	m.pids = &pids;
	rules[1].allow = true;
	rules[1].type = (char *)"c";
	rules[1].major = 8;
	rules[1].access = (char *)"rw";
	rules[2].type = (char *)"b";
	rules[2].major = -1;
	rules[2].minor = -1;
	m.devices = prules;
	m.n_devices = 3;
	assert_int_equal(oci_resources_from_proto(&m, &r, &a, &e), 0);
	assert_int_equal(r->memory.limit, -1); /* what other agents lose */
	assert_int_equal(r->memory.swap, 7);
	assert_true(r->memory.reservation == OCI_UNSET);
	assert_true(r->memory.swappiness == OCI_UNSET);
	assert_int_equal(r->cpu.quota, -1);
	assert_true(r->cpu.shares == OCI_UNSET);
	assert_true(r->pids_limit == OCI_UNSET);
	assert_null(r->cpu.cpus);
	assert_int_equal(r->devices[0].type, 'a');
	assert_int_equal(r->devices[0].major, -1);
	assert_int_equal(r->devices[0].minor, -1);
	assert_string_equal(r->devices[0].access, "rwm");
	assert_int_equal(r->devices[1].major, 8);
	assert_int_equal(r->devices[1].minor, 0); /* not all disks */
	assert_int_equal(r->devices[2].major, -1);
	assert_int_equal(r->devices[2].minor, -1);
}

static void an_errno_of_zero_is_eperm(void **state)
{
	static char *names[] = {(char *)"mount"};
	Grpc__Root root;
	Grpc__Process p;
	Grpc__Linux l;
	Grpc__Spec m = minimal_spec(&root, &p, &l);
	Grpc__LinuxSeccomp c = GRPC__LINUX_SECCOMP__INIT;
	Grpc__LinuxSyscall rule = GRPC__LINUX_SYSCALL__INIT, *rules[] = {&rule};
	struct oci_spec *s = NULL;
	struct err e = ERR_INIT;

	rule.names = names;
	rule.n_names = 1;
	rule.action = (char *)"SCMP_ACT_ERRNO";
	rule.errno_ret_case = GRPC__LINUX_SYSCALL__ERRNO_RET_ERRNORET;
	c.defaultaction = (char *)"SCMP_ACT_ALLOW";
	c.syscalls = rules;
	c.n_syscalls = 1;
	l.seccomp = &c;
	assert_int_equal(oci_spec_from_proto(&m, &s, &e), 0);
	assert_true(s->seccomp.rules[0].has_errno_ret);
	assert_int_equal(s->seccomp.rules[0].errno_ret, EPERM);
	oci_spec_free(s);
	rule.errnoret = 38;
	assert_int_equal(oci_spec_from_proto(&m, &s, &e), 0);
	assert_int_equal(s->seccomp.rules[0].errno_ret, 38);
	oci_spec_free(s);
	rule.errnoret = 0;
	rule.action = (char *)"SCMP_ACT_ALLOW";
	assert_int_equal(oci_spec_from_proto(&m, &s, &e), 0);
	assert_false(s->seccomp.rules[0].has_errno_ret);
	oci_spec_free(s);
}

/* ---- What is sent -------------------------------------------------------------------------- */

static void sends_what_every_agent_understands(void **state)
{
	static const char doc[] =
		"{\"ociVersion\": \"1.0.0\", \"root\": {\"path\": \"r\"}, \"process\": {"
		"\"args\": [\"a\"], \"cwd\": \"/\", \"capabilities\": {\"bounding\": [\"chown\"]}},"
		"\"linux\": {\"namespaces\": [{\"type\": \"mount\"}, {\"type\": \"network\"}],"
		"\"devices\": [{\"path\": \"/dev/x\", \"type\": \"c\", \"major\": 1, \"minor\": "
		"3}],"
		"\"resources\": {\"devices\": [{\"allow\": true, \"type\": \"c\", \"major\": 136,"
		"\"access\": \"rwm\"}]},"
		"\"seccomp\": {\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": ["
		"{\"names\": [\"a\"], \"action\": \"SCMP_ACT_ERRNO\"}]}}}";
	struct oci_spec *s = NULL;
	Grpc__Spec *m = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(oci_spec_parse(doc, strlen(doc), &s, &e), 0);
	assert_int_equal(oci_spec_to_proto(s, &m, &e), 0);
	assert_string_equal(m->process->capabilities->bounding[0], "CAP_CHOWN");
	assert_string_equal(m->linux->namespaces[0]->type, "mnt");
	assert_string_equal(m->linux->namespaces[1]->type, "net");
	assert_int_equal(m->linux->devices[0]->filemode, 0666);
	assert_int_equal(m->linux->seccomp->syscalls[0]->errnoret, EPERM);
	assert_int_equal(m->linux->resources->devices[0]->minor, -1);
	assert_null(m->linux->resources->memory); /* policies want nothing that was not asked for */
	assert_null(m->linux->resources->cpu);
	assert_null(m->linux->resources->pids);
	assert_null(m->linux->resources->blockio);
	assert_null(m->linux->resources->network);
	assert_null(m->hooks);
	assert_non_null(m->process->user);
	grpc__spec__free_unpacked(m, NULL);
	oci_spec_free(s);
}

static void a_spec_without_process_or_linux(void **state)
{
	Grpc__Spec m = GRPC__SPEC__INIT;
	Grpc__Root root = GRPC__ROOT__INIT;
	struct oci_spec *s = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(oci_spec_from_proto(&m, &s, &e), -EINVAL);
	assert_string_equal(e.text, "root is missing");
	m.root = &root;
	assert_int_equal(oci_spec_from_proto(&m, &s, &e), -EINVAL);
	root.path = (char *)"/x";
	assert_int_equal(oci_spec_from_proto(&m, &s, &e), 0);
	assert_false(s->has_process);
	assert_string_equal(s->version, "");
	assert_null(s->process.args.v[0]);
	oci_spec_free(s);
}

/* ---- What is refused ----------------------------------------------------------------------- */

static void refuses(const Grpc__Spec *m, const char *sentence)
{
	struct oci_spec *s = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(oci_spec_from_proto(m, &s, &e), -EINVAL);
	assert_null(s);
	assert_string_equal(e.text, sentence);
	assert_int_equal(e.status, STATUS_INVALID_ARGUMENT);
	assert_int_equal(oci_spec_from_proto(m, &s, NULL), -EINVAL);
}

static void unknown_words_are_refused(void **state)
{
	Grpc__Root root;
	Grpc__Process p;
	Grpc__Linux l;
	Grpc__Spec m = minimal_spec(&root, &p, &l);

	Grpc__LinuxNamespace ns = GRPC__LINUX_NAMESPACE__INIT, *pns[] = {&ns, &ns};
	l.namespaces = pns;
	l.n_namespaces = 1;
	ns.type = (char *)"foo";
	refuses(&m, "linux.namespaces[0].type is \"foo\": must be one of pid, net, mnt, ipc, uts, "
		    "user, cgroup, time, network, mount");
	ns.type = (char *)"";
	refuses(&m, "linux.namespaces[0].type is \"\": must be one of pid, net, mnt, ipc, uts, "
		    "user, cgroup, time, network, mount");
	ns.type = (char *)"ipc";
	l.n_namespaces = 2;
	refuses(&m, "linux.namespaces[1].type is \"ipc\": is there already");
	l.n_namespaces = 0;

	Grpc__LinuxDevice d = GRPC__LINUX_DEVICE__INIT, *pd[] = {&d};
	l.devices = pd;
	l.n_devices = 1;
	d.path = (char *)"/dev/x";
	d.type = (char *)"a";
	refuses(&m, "linux.devices[0].type is \"a\": must be one of c, b, u, p");
	d.type = (char *)"c";
	d.major = -1;
	refuses(&m, "linux.devices[0].major is -1: must be from 0 to 4095");
	l.n_devices = 0;

	Grpc__POSIXRlimit rl = GRPC__POSIXRLIMIT__INIT, *prl[] = {&rl};
	p.rlimits = prl;
	p.n_rlimits = 1;
	rl.type = (char *)"RLIMIT_BOGUS";
	refuses(&m,
		"process.rlimits[0].type is \"RLIMIT_BOGUS\": must be one of RLIMIT_CPU, "
		"RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, "
		"RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_LOCKS, "
		"RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_RTPRIO, RLIMIT_RTTIME");
	p.n_rlimits = 0;

	Grpc__LinuxSeccomp c = GRPC__LINUX_SECCOMP__INIT;
	l.seccomp = &c;
	refuses(&m, "linux.seccomp.defaultAction is \"\": must be one of SCMP_ACT_KILL, "
		    "SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_TRAP, SCMP_ACT_ERRNO, "
		    "SCMP_ACT_TRACE, SCMP_ACT_ALLOW, SCMP_ACT_LOG, SCMP_ACT_NOTIFY");
	static char *bad[] = {(char *)"BAD"};
	c.defaultaction = (char *)"SCMP_ACT_ALLOW";
	c.flags = bad;
	c.n_flags = 1;
	refuses(&m, "linux.seccomp.flags[0] is \"BAD\": must be one of SECCOMP_FILTER_FLAG_TSYNC, "
		    "SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, "
		    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV");
}

static void wrong_values_are_refused(void **state)
{
	Grpc__Root root;
	Grpc__Process p;
	Grpc__Linux l;
	Grpc__Spec m = minimal_spec(&root, &p, &l);

	p.oomscoreadj = INT64_MIN;
	refuses(&m, "process.oomScoreAdj is -9223372036854775808: must be from -1000 to 1000");
	p.oomscoreadj = 0;
	p.n_args = 0;
	refuses(&m, "process.args is empty: must begin with the program to run");
	p.n_args = 1;
	p.cwd = (char *)"";
	refuses(&m, "process.cwd is \"\": must be an absolute path");
	p.cwd = (char *)"/\xff";
	refuses(&m, "process.cwd is \"/\\xff\": must be UTF-8 text");
	p.cwd = (char *)"/";
	char *env[] = {(char *)"SECRET=\xff"};
	p.env = env;
	p.n_env = 1;
	refuses(&m, "process.env[0] is no UTF-8 text");
	p.n_env = 0;

	Grpc__Spec__AnnotationsEntry kv = GRPC__SPEC__ANNOTATIONS_ENTRY__INIT, *pkv[] = {&kv, &kv};
	kv.key = (char *)"a";
	m.annotations = pkv;
	m.n_annotations = 2;
	refuses(&m, "annotations[\"a\"] is there twice");
	m.n_annotations = 0;

	Grpc__LinuxResources r = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxMemory mem = GRPC__LINUX_MEMORY__INIT;
	l.resources = &r;
	r.cpu = &cpu;
	cpu.shares = UINT64_MAX;
	refuses(&m, "linux.resources.cpu.shares is 18446744073709551615: must be at most "
		    "9223372036854775807");
	cpu.shares = 0;
	cpu.idle_given_case = GRPC__LINUX_CPU__IDLE_GIVEN_IDLE;
	cpu.idle = INT64_MIN;
	refuses(&m, "linux.resources.cpu.idle is -9223372036854775808: must be 0 or 1");
	cpu.idle = 1;
	l.personality = (char *)"BSD";
	refuses(&m, "linux.personality.domain is \"BSD\": must be one of LINUX, LINUX32");
	l.personality = (char *)"";
	r.memory = &mem;
	mem.limit = -2;
	refuses(&m, "linux.resources.memory.limit is -2: must be at least -1");
	mem.limit = INT64_MIN; /* which is the mark of an absent value */
	refuses(&m, "linux.resources.memory.limit is -9223372036854775808: must be at least -1");
	mem.limit = 0;

	Grpc__Hooks hooks = GRPC__HOOKS__INIT;
	Grpc__Hook hook = GRPC__HOOK__INIT, *phook[] = {&hook};
	m.hooks = &hooks;
	hooks.prestart = phook;
	hooks.n_prestart = 1;
	hook.path = (char *)"/x";
	hook.timeout = INT64_MAX;
	refuses(&m, "hooks.prestart[0].timeout is 9223372036854775807: must be at most 2147483647");
	hook.timeout = -5; /* nothing given, to those who send it */
	struct oci_spec *s = NULL;
	assert_int_equal(oci_spec_from_proto(&m, &s, NULL), 0);
	assert_int_equal(s->hooks.prestart.v[0].timeout, 0);
	oci_spec_free(s);
}

static void wrong_values_of_late_fields_are_refused(void **state)
{
	Grpc__Root root;
	Grpc__Process p;
	Grpc__Linux l;
	Grpc__Spec m = minimal_spec(&root, &p, &l);

	Grpc__LinuxTimeOffset t = GRPC__LINUX_TIME_OFFSET__INIT;
	Grpc__LinuxTimeOffsets offsets = GRPC__LINUX_TIME_OFFSETS__INIT;
	offsets.boottime = &t;
	l.timeoffsets = &offsets;
	refuses(&m, "linux.timeOffsets is given: needs a time namespace");
	t.nanosecs = 1000000000;
	refuses(&m, "linux.timeOffsets.boottime.nanosecs is 1000000000: must be below 1000000000");
	l.timeoffsets = NULL;

	Grpc__LinuxIOPriority io = GRPC__LINUX_IOPRIORITY__INIT;
	p.iopriority = &io;
	io.class_ = (char *)"BEST";
	refuses(&m, "process.ioPriority.class is \"BEST\": must be one of IOPRIO_CLASS_RT, "
		    "IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE");
	io.class_ = (char *)"IOPRIO_CLASS_RT";
	io.priority = 8;
	refuses(&m, "process.ioPriority.priority is 8: must be from 0 to 7");
	p.iopriority = NULL;

	Grpc__Scheduler sched = GRPC__SCHEDULER__INIT;
	p.scheduler = &sched;
	sched.policy = (char *)"SCHED_BATCH";
	sched.nice = -21;
	refuses(&m, "process.scheduler.nice is -21: must be from -20 to 19");
	p.scheduler = NULL;

	Grpc__Mount mount = GRPC__MOUNT__INIT, *pmount[] = {&mount};
	Grpc__LinuxIDMapping map = GRPC__LINUX_IDMAPPING__INIT, *pmap[] = {&map};
	mount.destination = (char *)"/x";
	mount.uidmappings = pmap;
	mount.n_uidmappings = 1;
	m.mounts = pmount;
	m.n_mounts = 1;
	refuses(&m, "mounts[0].uidMappings[0].size is 0: must be greater");
}

static void processes_and_resources_alone(void **state)
{
	static const char doc[] = "{\"args\": [\"sh\"], \"cwd\": \"/\", \"env\": [\"A=b\"]}";
	static const char res[] = "{\"memory\": {\"limit\": 5}, \"cpu\": {\"cpus\": \"0-1\"}}";
	struct err e = ERR_INIT;
	struct oci_process *p = NULL;
	struct oci_resources *r = NULL;
	Grpc__Process *pm = NULL;
	Grpc__LinuxResources *rm = NULL;
	_cleanup_arena_ struct oci_arena *a = NULL, *b = NULL, *c = NULL, *d = NULL;

	assert_int_equal(oci_process_parse(doc, strlen(doc), &p, &a, &e), 0);
	assert_int_equal(oci_process_to_proto(p, &pm, &e), 0);
	assert_null(pm->capabilities);
	assert_int_equal(oci_process_from_proto(pm, &p, &b, &e), 0);
	assert_string_equal(p->env.v[0], "A=b");
	assert_false(p->caps.present);
	pm->cwd[0] = 'x';
	assert_int_equal(oci_process_from_proto(pm, &p, &c, &e), -EINVAL);
	assert_null(c);
	grpc__process__free_unpacked(pm, NULL);

	assert_int_equal(oci_resources_parse(res, strlen(res), &r, &c, &e), 0);
	assert_int_equal(oci_resources_to_proto(r, &rm, &e), 0);
	assert_int_equal(oci_resources_from_proto(rm, &r, &d, &e), 0);
	assert_int_equal(r->memory.limit, 5);
	assert_string_equal(r->cpu.cpus, "0-1");
	grpc__linux_resources__free_unpacked(rm, NULL);
}

/* The wire's own field cannot tell it from none. */
static void no_swappiness_survives(void **state)
{
	static const char res[] = "{\"memory\": {\"swappiness\": 0}}";
	static const char bad[] = "{\"network\": {\"priorities\": [{\"name\": \"a b\", "
				  "\"priority\": 1}]}}";
	struct err e = ERR_INIT;
	struct oci_resources *r = NULL;
	Grpc__LinuxResources *m = NULL;
	_cleanup_arena_ struct oci_arena *a = NULL, *b = NULL, *c = NULL;

	assert_int_equal(oci_resources_parse(res, strlen(res), &r, &a, &e), 0);
	assert_int_equal(oci_resources_to_proto(r, &m, &e), 0);
	assert_int_equal(m->memory->swappiness, 0);
	assert_int_equal(oci_resources_from_proto(m, &r, &b, &e), 0);
	assert_int_equal(r->memory.swappiness, 0);
	m->memory->noswappiness = false;
	oci_arena_free(TAKE_PTR(b));
	assert_int_equal(oci_resources_from_proto(m, &r, &b, &e), 0);
	assert_true(r->memory.swappiness == OCI_UNSET);
	grpc__linux_resources__free_unpacked(m, NULL);

	assert_int_equal(oci_resources_parse(bad, strlen(bad), &r, &c, &e), -EINVAL);
	assert_string_equal(e.text,
			    "linux.resources.network.priorities[0].name is \"a b\": must be "
			    "an interface's name");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_survive_the_wire),
		cmocka_unit_test(any_part_of_a_document_survives_the_wire),
		cmocka_unit_test(every_spelling_is_understood),
		cmocka_unit_test(zero_is_absent),
		cmocka_unit_test(an_errno_of_zero_is_eperm),
		cmocka_unit_test(sends_what_every_agent_understands),
		cmocka_unit_test(a_spec_without_process_or_linux),
		cmocka_unit_test(unknown_words_are_refused),
		cmocka_unit_test(wrong_values_are_refused),
		cmocka_unit_test(wrong_values_of_late_fields_are_refused),
		cmocka_unit_test(processes_and_resources_alone),
		cmocka_unit_test(no_swappiness_survives),
	};
	return RUN_TESTS();
}
