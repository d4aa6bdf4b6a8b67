/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's API as a table: what each call answers to what. A row is a request (its text: see
 * test-request.h), the status code, and a word that must be in the sentence of a failure, or
 * anywhere in the response of a success. Runtimes of the field meet this agent as well as ours, so
 * codes are what they can tell failures apart by. Needs root.
 *
 * Where the codes differ from the original agent's, which has INTERNAL for nearly all:
 *
 *	unknown container    NOT_FOUND for all calls; there INVALID_ARGUMENT or INTERNAL, by the
 *call. A runtime takes NOT_FOUND from SignalProcess for "has ended", which it is. bad values
 *INVALID_ARGUMENT, always before anything is done; there INTERNAL, or the request is never answered
 *since its task dies.
 *	exists already	     ALREADY_EXISTS, not INTERNAL, so that a repeated request can be told.
 *	wrong state	     FAILED_PRECONDITION, not INTERNAL; a second start does not hang.
 *	second sandbox	     refused; there it empties the first one's directory.
 *	unknown capability   ignored with a warning, as the specification of the runtime has it.
 *	unknown namespace    refused; there it becomes a pid namespace.
 *	out of date number   a time outside of the clock's range is refused, not wrapped.
 *	ResizeVolume	     works where the file system can grow; there UNIMPLEMENTED.
 *	memory agent	     UNIMPLEMENTED; there INTERNAL when it is off.
 *	reads of 0 bytes     refused: the answer could not be told from the end of the stream.
 */
#include "guest/agent/test-client.h"
#include "guest/agent/test-request.h"

#include "base/clock.h"
#include "base/testing.h"
#include "base/utf8.h"
#include "sys/cgroup.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>

#define CGROUPS "/sys/fs/cgroup"

/* Codes of rows that depend on what is installed on the machine. */
#define ANY -1	   /* success or failure */
#define FAILURE -2 /* any failure */

struct row {
	const char *method, *request;
	int code;
	const char *word; /* NULL: no matter */
};

static struct fixture f;
static const char *agent_program;
static bool verbose;
static char suffix[16], rootfs_word[160];
static bool covered[64]; /* calls of the service, by their index */

/* ---- Running a table ---------------------------------------------------------------------- */

/* What the rows of these calls begin with. */
static const char *base_of(const char *method)
{
	static char create[512];
	static const char process[] = "process.Args=/bin/sleep process.Args=1000 process.Cwd=/ "
				      "process.Env=PATH=/bin";

	(void)snprintf(create, sizeof create,
		       "container_id=new$ OCI.Version=1.0.2 OCI.Root.Path=%s "
		       "OCI.Process.Args=/bin/sleep OCI.Process.Args=1000 OCI.Process.Cwd=/ "
		       "OCI.Process.Env=PATH=/bin OCI.Linux.Namespaces+.Type=mnt "
		       "OCI.Linux.Namespaces+.Type=ipc OCI.Linux.Namespaces+.Type=uts "
		       "OCI.Mounts+.type=proc OCI.Mounts.source=proc OCI.Mounts.destination=/proc",
		       rootfs_word);
	if (strcmp(method, "CreateContainer") == 0)
		return create;
	return strcmp(method, "ExecProcess") == 0 ? process : NULL;
}

static const ProtobufCMethodDescriptor *method_of(const char *name)
{
	const ProtobufCServiceDescriptor *s = &grpc__agent_service__descriptor;

	assert_true(s->n_methods <= ARRAY_SIZE(covered));
	for (unsigned i = 0; i < s->n_methods; i++) {
		if (strcmp(s->methods[i].name, name) == 0) {
			covered[i] = true;
			return &s->methods[i];
		}
	}
	fail_msg("the service has no call %s", name);
	return NULL;
}

static bool holds(const ProtobufCMessage *m, const char *word)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *packed = malloc(len + 1);

	assert_non_null(packed);
	(void)protobuf_c_message_pack(m, packed);
	bool yes = memmem(packed, len, word, strlen(word)) != NULL;
	free(packed);
	return yes;
}

/* What a sentence for a user must not be. */
static const char *fault_of(const char *text)
{
	static const char *const words[] = {".c:",  ".rs:",  "src/",	 "guest/agent",
					    "0x55", "0x7ff", "acktrace", "(null)"};

	if (!text[0])
		return "is empty";
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			return "has a control character";
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strstr(text, words[i]))
			return "tells of our insides";
	if (strlen(text) < 8 || strlen(text) >= ERR_TEXT_MAX)
		return "is no sentence";
	for (size_t i = 0, n; text[i]; i += n)
		if ((n = utf8_char(text + i)) == 0)
			return "is no UTF-8";
	return NULL;
}

/* NULL if the answer is as the row says. */
static const char *judge(const struct row *r, int code, const ProtobufCMessage *response,
			 const char *text)
{
	if (r->code == FAILURE ? code == STATUS_OK : r->code != ANY && code != r->code)
		return "has another code";
	if (code != STATUS_OK) {
		const char *fault = fault_of(text);
		if (fault)
			return fault;
		return r->word && !strstr(text, r->word) ? "lacks its word" : NULL;
	}
	return r->word && (!response || !holds(response, r->word)) ? "lacks its word" : NULL;
}

/* What a good call has made goes at once, so that each row finds the same world. */
static void clean_up(const char *method, const ProtobufCMessage *m)
{
	if (strcmp(method, "CreateContainer") == 0) {
		const Grpc__CreateContainerRequest *q = (const void *)m;
		assert_int_equal(remove_container(&f, q->container_id, 0), STATUS_OK);
	} else if (strcmp(method, "ExecProcess") == 0) {
		const Grpc__ExecProcessRequest *q = (const void *)m;
		_cleanup_buf_ struct buf text = BUF_INIT;
		(void)kill_process(&f, q->container_id, q->exec_id, SIGKILL);
		(void)read_all(&f, q->container_id, q->exec_id, false, &text);
		(void)read_all(&f, q->container_id, q->exec_id, true, &text);
		(void)wait_process(&f, q->container_id, q->exec_id);
	}
}

static bool run_row(const struct row *r)
{
	struct err e = ERR_INIT;
	ProtobufCMessage *response = NULL;

	const ProtobufCMethodDescriptor *method = method_of(r->method);
	ProtobufCMessage *m = request_new(method->input, base_of(r->method), r->request);
	int code = call(&f, r->method, m, &response, &e);
	const char *fault = judge(r, code, response, e.text);
	if (fault || verbose)
		printf("# %s%s%s %s -> %d %s%s\n", fault ? fault : "", fault ? ": " : "", r->method,
		       r->request ? r->request : "", code, e.text, fault ? " (WRONG)" : "");
	if (code == STATUS_OK)
		clean_up(r->method, m);
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	requests_free();
	return !fault;
}

static void run_table(const struct row *rows, size_t n)
{
	size_t wrong = 0;

	for (size_t i = 0; i < n; i++)
		wrong += !run_row(&rows[i]);
	printf("# %zu rows\n", n);
	if (wrong)
		fail_msg("%zu of %zu rows are wrong", wrong, n);
}

#define RUN_TABLE(rows) run_table(rows, ARRAY_SIZE(rows))

/* ---- What there is for the rows to meet --------------------------------------------------- */

static const char *id(const char *name)
{
	static char v[4][32];
	static unsigned next;
	char *s = v[next++ % 4];

	(void)snprintf(s, sizeof v[0], "%s%s", name, suffix);
	return s;
}

/* made: not started; runs: with the process "e1"; tty: with a terminal; ended: read and waited for,
 * so that its first process is forgotten. */
static void make_world(void)
{
	struct container_options o = {.script = "sleep 1000"};
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(create(&f, id("made"), &o, NULL), STATUS_OK);
	run(&f, id("runs"), "exec sleep 1000");
	assert_int_equal(exec_sh(&f, id("runs"), "e1", "exec sleep 1000"), STATUS_OK);
	o.terminal = true;
	assert_int_equal(create(&f, id("tty"), &o, NULL), STATUS_OK);
	assert_int_equal(start(&f, id("tty")), STATUS_OK);
	run(&f, id("ended"), "exit 3");
	assert_int_equal(read_all(&f, id("ended"), "", false, &text), STATUS_OK);
	assert_int_equal(read_all(&f, id("ended"), "", true, &text), STATUS_OK);
	assert_int_equal(wait_process(&f, id("ended"), ""), 3);
}

static void end_world(void)
{
	static const char *const names[] = {"made", "runs", "tty", "ended"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(remove_container(&f, id(names[i]), 20), STATUS_OK);
}

/* ---- The tables --------------------------------------------------------------------------- */

#define BAD STATUS_INVALID_ARGUMENT
#define LOST STATUS_NOT_FOUND
#define STATE STATUS_FAILED_PRECONDITION

static void the_sandbox(void **state)
{
	static const struct row rows[] = {
		/* the network comes before the sandbox */
		{"ListInterfaces", "", STATUS_OK, "lo"},
		{"ListRoutes", "", STATUS_OK, NULL},
		{"GetGuestDetails", "", STATUS_OK, "erofs.multi-layer"},
		{"GetGuestDetails", "mem_block_size=1 mem_hotplug_probe=1", STATUS_OK, "virtio-fs"},

		{"CreateSandbox", "sandbox_id=a/b", BAD, "a/b"},
		{"CreateSandbox", "sandbox_id=^300", BAD, "sandbox id"},
		{"CreateSandbox", "sandbox_id=..", BAD, ".."},
		{"CreateSandbox", "sandbox_id=pod kernel_modules+.name=../x", BAD, "../x"},
		{"CreateSandbox", "sandbox_id=pod kernel_modules+.name=", BAD, "module"},
		{"CreateSandbox", "sandbox_id=pod kernel_modules+.name=no_such_module", LOST,
		 "no_such_module"},
		{"CreateSandbox", "sandbox_id=pod hostname=^65", BAD, "host"},
		{"CreateSandbox", "sandbox_id=pod dns*65=nameserver", BAD, "64"},
		{"CreateSandbox", "sandbox_id=pod storages+.driver=abacus storages.mount_point=/x",
		 STATUS_UNIMPLEMENTED, "abacus"},
		{"CreateSandbox", "sandbox_id=pod storages+.driver=ephemeral", BAD, "mount point"},
		{"CreateSandbox",
		 "sandbox_id=pod storages*257.driver=local storages.mount_point=/tmp/x", BAD,
		 "256"},
		{"CreateSandbox", "sandbox_id=pod$ hostname=golden", STATUS_OK, NULL},
		{"CreateSandbox", "sandbox_id=pod$", STATUS_ALREADY_EXISTS, "pod"},
		{"CreateSandbox", "sandbox_id=other", STATUS_ALREADY_EXISTS, "pod"},

		{"UpdateEphemeralMounts", "", STATUS_OK, NULL},
		{"UpdateEphemeralMounts", "storages+.driver=local storages.mount_point=/tmp/x", BAD,
		 "local"},
		{"UpdateEphemeralMounts", "storages+.driver=ephemeral storages.mount_point=/tmp/x",
		 LOST, "/tmp/x"},
	};
	RUN_TABLE(rows);
}

static void creation(void **state)
{
	static const struct row rows[] = {
		{"CreateContainer", "", STATUS_OK, NULL},

		{"CreateContainer", "container_id=", BAD, "id"},
		{"CreateContainer", "container_id=x", BAD, "x"},
		{"CreateContainer", "container_id=-ab", BAD, "-ab"},
		{"CreateContainer", "container_id=../ab", BAD, "../ab"},
		{"CreateContainer", "container_id=a%20b", BAD, "a b"},
		{"CreateContainer", "container_id=a%0ab", BAD, "id"},
		{"CreateContainer", "container_id=a%ffb", BAD, "id"},
		{"CreateContainer", "container_id=^256", BAD, "255"},
		{"CreateContainer", "container_id=runs$", STATUS_ALREADY_EXISTS, "runs"},

		{"CreateContainer", "OCI!", BAD, "spec"},
		{"CreateContainer", "OCI.Process!", BAD, "process"},
		{"CreateContainer", "OCI.Process.Args!", BAD, "args"},
		{"CreateContainer", "OCI.Process.Args! OCI.Process.Args=", BAD, "args"},
		{"CreateContainer", "OCI.Process.Args! OCI.Process.Args=/bin/none", LOST,
		 "/bin/none"},
		{"CreateContainer", "OCI.Process.Cwd=tmp", BAD, "cwd"},
		{"CreateContainer", "OCI.Process.Env=novalue", BAD, "env"},
		{"CreateContainer", "OCI.Process.Args=%ff", BAD, "args"},
		{"CreateContainer", "OCI.Root!", BAD, "root"},
		{"CreateContainer", "OCI.Root.Path=", BAD, "root"},
		{"CreateContainer", "OCI.Root.Path=relative", BAD, "relative"},
		{"CreateContainer", "OCI.Root.Path=/no/such/rootfs", LOST, "/no/such/rootfs"},
		{"CreateContainer", "OCI.Version=2.0.0", BAD, "2.0.0"},
		{"CreateContainer", "OCI.Hostname=^65", BAD, "hostname"},
		{"CreateContainer", "OCI.Linux!", STATUS_OK, NULL},

		/* capabilities: the three spellings, and what nobody knows */
		{"CreateContainer", "OCI.Process.Capabilities.Bounding=KILL", STATUS_OK, NULL},
		{"CreateContainer", "OCI.Process.Capabilities.Bounding=CAP_KILL", STATUS_OK, NULL},
		{"CreateContainer", "OCI.Process.Capabilities.Bounding=%22CAP_KILL%22", STATUS_OK,
		 NULL},
		{"CreateContainer", "OCI.Process.Capabilities.Bounding=CAP_FLY", STATUS_OK, NULL},
		{"CreateContainer", "OCI.Process.Capabilities.Bounding=", STATUS_OK, NULL},
		{"CreateContainer", "OCI.Process.Capabilities.Bounding=%ff", BAD, "capabilities"},
		{"CreateContainer", "OCI.Process.Capabilities.Bounding*131073=KILL", BAD, "131073"},

		/* namespaces: both spellings */
		{"CreateContainer", "OCI.Linux.Namespaces+.Type=network", STATUS_OK, NULL},
		{"CreateContainer", "OCI.Linux.Namespaces+.Type=net", STATUS_OK, NULL},
		{"CreateContainer",
		 "OCI.Linux.Namespaces! OCI.Linux.Namespaces+.Type=mount "
		 "OCI.Linux.Namespaces+.Type=pid OCI.Linux.Namespaces+.Type=cgroup",
		 STATUS_OK, NULL},
		{"CreateContainer", "OCI.Linux.Namespaces+.Type=mount", BAD, "mount"},
		{"CreateContainer", "OCI.Linux.Namespaces+.Type=astral", BAD, "astral"},
		{"CreateContainer", "OCI.Linux.Namespaces+.Type=", BAD, "namespaces"},
		{"CreateContainer", "OCI.Linux.Namespaces+", BAD, "namespaces"},
		{"CreateContainer", "OCI.Linux.Namespaces+.Type=pid OCI.Linux.Namespaces.Path=x",
		 BAD, "path"},

		/* devices */
		{"CreateContainer",
		 "OCI.Linux.Devices+.Path=/dev/n OCI.Linux.Devices.Type=c "
		 "OCI.Linux.Devices.Major=1 "
		 "OCI.Linux.Devices.Minor=3",
		 STATUS_OK, NULL},
		{"CreateContainer",
		 "OCI.Linux.Devices+.Path=/dev/u OCI.Linux.Devices.Type=u "
		 "OCI.Linux.Devices.Major=1 "
		 "OCI.Linux.Devices.Minor=3",
		 STATUS_OK, NULL},
		{"CreateContainer", "OCI.Linux.Devices+.Path=/dev/p OCI.Linux.Devices.Type=p",
		 STATUS_OK, NULL},
		{"CreateContainer", "OCI.Linux.Devices+.Path=/dev/n OCI.Linux.Devices.Type=z", BAD,
		 "z"},
		{"CreateContainer", "OCI.Linux.Devices+.Path=/dev/n", BAD, "type"},
		{"CreateContainer", "OCI.Linux.Devices+.Path=n OCI.Linux.Devices.Type=c", BAD,
		 "path"},
		{"CreateContainer",
		 "OCI.Linux.Devices+.Path=/dev/n OCI.Linux.Devices.Type=c "
		 "OCI.Linux.Devices.Major=4096",
		 BAD, "4096"},
		{"CreateContainer",
		 "OCI.Linux.Devices+.Path=/dev/n OCI.Linux.Devices.Type=b "
		 "OCI.Linux.Devices.Minor=-2",
		 BAD, "-2"},
		{"CreateContainer", "OCI.Linux.Resources.Devices+.Type=z", BAD, "z"},
		{"CreateContainer",
		 "OCI.Linux.Resources.Devices+.Allow=1 OCI.Linux.Resources.Devices.Access=rx", BAD,
		 "access"},

		/* other words */
		{"CreateContainer",
		 "OCI.Process.Rlimits+.Type=RLIMIT_NOFILE "
		 "OCI.Process.Rlimits.Soft=64 OCI.Process.Rlimits.Hard=64",
		 STATUS_OK, NULL},
		{"CreateContainer", "OCI.Process.Rlimits+.Type=RLIMIT_FUN", BAD, "RLIMIT_FUN"},
		{"CreateContainer",
		 "OCI.Process.Rlimits+.Type=RLIMIT_NOFILE OCI.Process.Rlimits.Soft=2", BAD,
		 "rlimits"},
		{"CreateContainer", "OCI.Process.OOMScoreAdj=1001", BAD, "1001"},
		{"CreateContainer", "OCI.Process.OOMScoreAdj=-1001", BAD, "-1001"},
		{"CreateContainer", "OCI.Process.User.AdditionalGids*65537=1", BAD, "65537"},
		{"CreateContainer", "OCI.Linux.Seccomp.DefaultAction=SCMP_ACT_DANCE", BAD,
		 "SCMP_ACT_DANCE"},
		{"CreateContainer",
		 "OCI.Linux.Seccomp.DefaultAction=SCMP_ACT_ALLOW "
		 "OCI.Linux.Seccomp.Architectures=SCMP_ARCH_ABACUS",
		 BAD, "SCMP_ARCH_ABACUS"},
		{"CreateContainer",
		 "OCI.Linux.Seccomp.DefaultAction=SCMP_ACT_ALLOW OCI.Linux.Seccomp.Flags=FLAG", BAD,
		 "FLAG"},
		{"CreateContainer",
		 "OCI.Linux.Seccomp.DefaultAction=SCMP_ACT_ALLOW "
		 "OCI.Linux.Seccomp.Syscalls+.Names=read "
		 "OCI.Linux.Seccomp.Syscalls.Action=SCMP_ACT_ALLOW "
		 "OCI.Linux.Seccomp.Syscalls.Args+.Op=SCMP_CMP_XX",
		 BAD, "SCMP_CMP_XX"},
		{"CreateContainer",
		 "OCI.Linux.Seccomp.DefaultAction=SCMP_ACT_ALLOW "
		 "OCI.Linux.Seccomp.Syscalls+.Names=no_such_call "
		 "OCI.Linux.Seccomp.Syscalls.Action=SCMP_ACT_ERRNO",
		 STATUS_OK, NULL},
		{"CreateContainer", "OCI.Linux.RootfsPropagation=sideways", BAD, "sideways"},
		{"CreateContainer", "OCI.Linux.CgroupsPath=/../x", BAD, "cgroupsPath"},
		{"CreateContainer", "OCI.Linux.Sysctl+.key=..x", BAD, "sysctl"},
		{"CreateContainer", "OCI.Linux.MaskedPaths=proc", BAD, "maskedPaths"},
		{"CreateContainer", "OCI.Linux.UIDMappings+.Size=1", BAD, "user namespace"},
		{"CreateContainer", "OCI.Mounts+.destination=relative", BAD, "relative"},
		{"CreateContainer", "OCI.Mounts+.destination=/x OCI.Mounts.type=bind", BAD,
		 "source"},
		{"CreateContainer",
		 "OCI.Mounts+.destination=/x OCI.Mounts.type=bind OCI.Mounts.source=/no/such", LOST,
		 "/no/such"},
		{"CreateContainer", "OCI.Mounts*4097.destination=/x", BAD, "4098"},
		{"CreateContainer", "OCI.Hooks.Prestart+.Path=relative", BAD, "path"},
		{"CreateContainer",
		 "OCI.Hooks.Prestart+.Path=/x OCI.Hooks.Prestart.Timeout=2147483648", BAD,
		 "timeout"},
		{"CreateContainer", "OCI.Hooks.Prestart*257.Path=/bin/true", BAD, "257"},
		{"CreateContainer", "OCI.Hooks.CreateRuntime+.Path=/no/such/hook", FAILURE,
		 "/no/such/hook"},

		/* numbers: 0 is "absent", and what is below or above is said */
		{"CreateContainer",
		 "OCI.Linux.Resources.Memory.Limit=0 OCI.Linux.Resources.CPU.Shares=0 "
		 "OCI.Linux.Resources.Pids.Limit=0 OCI.Linux.Resources.CPU.Quota=0 "
		 "OCI.Linux.Resources.BlockIO.Weight=0 OCI.Process.OOMScoreAdj=0",
		 STATUS_OK, NULL},
		{"CreateContainer", "OCI.Linux.Resources.Memory.Limit=-2", BAD, "-2"},
		{"CreateContainer", "OCI.Linux.Resources.Memory.Swappiness=201", BAD, "201"},
		{"CreateContainer", "OCI.Linux.Resources.CPU.Cpus=a-b", BAD, "cpus"},
		{"CreateContainer", "OCI.Linux.Resources.CPU.Shares=9223372036854775808", BAD,
		 "shares"},
		{"CreateContainer", "OCI.Linux.Resources.CPU.Idle=2", BAD, "idle"},
		{"CreateContainer", "OCI.Linux.Resources.BlockIO.Weight=65536", BAD, "65536"},
		{"CreateContainer", "OCI.Linux.Resources.HugepageLimits+.Pagesize=fat", BAD, "fat"},
		{"CreateContainer", "OCI.Linux.Resources.Unified+.key=../x", BAD, "unified"},

		/* storages and devices that the runtime adds */
		{"CreateContainer", "storages+.driver=abacus storages.mount_point=/tmp/x",
		 STATUS_UNIMPLEMENTED, "abacus"},
		{"CreateContainer", "storages+.driver=local storages.mount_point=/tmp/../x", BAD,
		 "/tmp/../x"},
		{"CreateContainer",
		 "storages+.driver=scsi storages.source=x storages.fstype=ext4 "
		 "storages.mount_point=/tmp/api",
		 BAD, "x"},
		{"CreateContainer",
		 "storages+.driver=blk storages.source=zz/1 storages.fstype=ext4 "
		 "storages.mount_point=/tmp/api",
		 BAD, "zz/1"},
		{"CreateContainer",
		 "storages+.driver=blk storages.source=/dev/null storages.fstype=ext4 "
		 "storages.mount_point=/tmp/api",
		 BAD, "/dev/null"},
		{"CreateContainer",
		 "storages+.driver=ephemeral storages.fstype=ext4 storages.mount_point=/tmp/api",
		 STATUS_UNIMPLEMENTED, "ext4"},
		{"CreateContainer",
		 "storages+.driver=mmioblk storages.source=/dev/vdzz storages.fstype=ext4 "
		 "storages.mount_point=/tmp/api",
		 LOST, "/dev/vdzz"},
		{"CreateContainer", "storages*257.driver=local storages.mount_point=/tmp/x", BAD,
		 "256"},
		{"CreateContainer",
		 "devices+.type=abacus devices.container_path=/dev/x "
		 "devices.id=1",
		 STATUS_UNIMPLEMENTED, "abacus"},
		{"CreateContainer", "devices+", BAD, "device"},
		{"CreateContainer", "devices+.type=blk devices.id=01 devices.container_path=", BAD,
		 "path"},
		{"CreateContainer",
		 "devices+.type=blk devices.id=1f devices.container_path=/dev/x "
		 "OCI.Linux.Devices+.Path=/dev/x OCI.Linux.Devices.Type=b",
		 LOST, "1f"},
		{"CreateContainer", "devices*257.type=blk devices.container_path=/dev/x", BAD,
		 "257"},
		{"CreateContainer", "stdout_port=77777", BAD, "77777"},
	};
	RUN_TABLE(rows);
}

static void containers(void **state)
{
	static const struct row rows[] = {
		{"StartContainer", "container_id=nobody", LOST, "nobody"},
		{"StartContainer", "", LOST, "container"},
		{"StartContainer", "container_id=runs$", STATE, "running"},
		{"StartContainer", "container_id=%1b[31m", LOST, "container"},
		{"StartContainer", "container_id=^100000", LOST, "container"},
		{"RemoveContainer", "container_id=nobody", LOST, "nobody"},
		{"RemoveContainer", "container_id=nobody timeout=4294967295", LOST, "nobody"},

		{"ExecProcess", "container_id=runs$ exec_id=e2", STATUS_OK, NULL},
		{"ExecProcess", "container_id=nobody exec_id=e2", LOST, "nobody"},
		{"ExecProcess", "container_id=made$ exec_id=e2", STATE, "created"},
		{"ExecProcess", "container_id=ended$ exec_id=e2", STATE, NULL},
		{"ExecProcess", "container_id=runs$ exec_id=e1", STATUS_ALREADY_EXISTS, "e1"},
		{"ExecProcess", "container_id=runs$", BAD, "exec"},
		{"ExecProcess", "container_id=runs$ exec_id=a/b", BAD, "a/b"},
		{"ExecProcess", "container_id=runs$ exec_id=^256", BAD, "exec"},
		{"ExecProcess", "container_id=runs$ exec_id=e2 process!", BAD, "process"},
		{"ExecProcess", "container_id=runs$ exec_id=e2 process.Args!", BAD, "args"},
		{"ExecProcess", "container_id=runs$ exec_id=e2 process.Args! process.Args=/none",
		 LOST, "/none"},
		{"ExecProcess", "container_id=runs$ exec_id=e2 process.Cwd=/none", FAILURE,
		 "/none"},
		{"ExecProcess", "container_id=runs$ exec_id=e2 process.Cwd=x", BAD, "cwd"},
		{"ExecProcess", "container_id=runs$ exec_id=e2 process.Env=x", BAD, "env"},
		{"ExecProcess", "container_id=runs$ exec_id=e2 process.Rlimits+.Type=X", BAD,
		 "rlimits"},
		{"ExecProcess", "container_id=runs$ exec_id=e2 process.OOMScoreAdj=2000", BAD,
		 "2000"},
		{"ExecProcess",
		 "container_id=runs$ exec_id=e2 process.Terminal=1 "
		 "process.ConsoleSize.Width=70000",
		 BAD, "70000"},
		{"ExecProcess", "container_id=runs$ exec_id=e2 stdin_port=77777", BAD, "77777"},

		{"SignalProcess", "container_id=nobody signal=9", LOST, "nobody"},
		{"SignalProcess", "container_id=nobody signal=15", LOST, "nobody"},
		{"SignalProcess", "container_id=nobody exec_id=e1 signal=9", LOST, "nobody"},
		{"SignalProcess", "container_id=runs$ exec_id=e9 signal=15", LOST,
		 "process not found"},
		{"SignalProcess", "container_id=ended$ signal=15", LOST, "process not found"},
		{"SignalProcess", "container_id=ended$ signal=9", STATUS_OK, NULL},
		{"SignalProcess", "container_id=runs$ exec_id=e1 signal=0", STATUS_OK, NULL},
		{"SignalProcess", "container_id=runs$ signal=65", BAD, "65"},
		{"SignalProcess", "container_id=runs$ signal=4294967295", BAD, "4294967295"},
		{"SignalProcess", "container_id=runs$ exec_id=e1 signal=65", BAD, "65"},

		{"WaitProcess", "container_id=nobody", LOST, "nobody"},
		{"WaitProcess", "container_id=ended$", LOST, "process not found"},
		{"WaitProcess", "container_id=runs$ exec_id=e9", LOST, "e9"},

		{"UpdateContainer", "container_id=nobody", LOST, "nobody"},
		{"UpdateContainer", "container_id=runs$", STATUS_OK, NULL},
		{"UpdateContainer", "container_id=runs$ resources.Memory.Limit=0", STATUS_OK, NULL},
		{"UpdateContainer", "container_id=runs$ resources.CPU.Shares=512", STATUS_OK, NULL},
		{"UpdateContainer", "container_id=runs$ resources.Memory.Limit=-2", BAD, "-2"},
		{"UpdateContainer", "container_id=runs$ resources.CPU.Cpus=x", BAD, "cpus"},
		{"UpdateContainer", "container_id=runs$ resources.Devices+.Type=z", BAD, "z"},
		{"UpdateContainer", "container_id=runs$ resources.Unified+.key=/etc/x", BAD,
		 "/etc/x"},

		{"StatsContainer", "container_id=nobody", LOST, "nobody"},
		{"StatsContainer", "container_id=runs$", STATUS_OK, NULL},
		{"StatsContainer", "container_id=made$", STATUS_OK, NULL},

		{"PauseContainer", "container_id=nobody", LOST, "nobody"},
		{"ResumeContainer", "container_id=nobody", LOST, "nobody"},
		{"ResumeContainer", "container_id=runs$", STATE, "running"},
		{"ResumeContainer", "container_id=made$", STATE, "created"},
		{"PauseContainer", "container_id=runs$", STATUS_OK, NULL},
		{"PauseContainer", "container_id=runs$", STATE, "paused"},
		{"ExecProcess", "container_id=runs$ exec_id=e2", STATE, "paused"},
		{"StatsContainer", "container_id=runs$", STATUS_OK, NULL},
		{"ResumeContainer", "container_id=runs$", STATUS_OK, NULL},
		{"ResumeContainer", "container_id=runs$", STATE, "running"},

		{"ListContainerProcesses", "container_id=nobody", LOST, "nobody"},
		{"ListContainerProcesses", "container_id=runs$", STATUS_OK, "e1"},
		{"GetDiagnosticData", "container_id=runs$", BAD, "log type"},
		{"GetDiagnosticData", "container_id=runs$ log_type=diary", BAD, "diary"},
		{"GetDiagnosticData", "container_id=nobody log_type=termination_log", LOST,
		 "nobody"},
		{"GetDiagnosticData", "container_id=runs$ log_type=termination_log", STATE,
		 "terminationMessagePath"},
		{"RemoveStaleVirtiofsShareMounts", "", STATUS_OK, NULL},
	};
	RUN_TABLE(rows);
}

static void streams(void **state)
{
	static const struct row rows[] = {
		{"ReadStdout", "container_id=nobody len=1", LOST, "nobody"},
		{"ReadStdout", "container_id=runs$ exec_id=e9 len=1", LOST, "e9"},
		{"ReadStdout", "container_id=ended$ len=1", LOST, "process not found"},
		{"ReadStdout", "container_id=runs$", BAD, "len"},
		{"ReadStderr", "container_id=nobody len=1", LOST, "nobody"},
		{"ReadStderr", "container_id=runs$ exec_id=e9 len=1", LOST, "e9"},
		{"ReadStderr", "container_id=runs$ len=0", BAD, "len"},
		{"WriteStdin", "container_id=nobody data=x", LOST, "nobody"},
		{"WriteStdin", "container_id=nobody", LOST, "nobody"},
		{"WriteStdin", "container_id=ended$ data=x", LOST, "process not found"},
		{"WriteStdin", "container_id=runs$ exec_id=e1 data=x", STATUS_OK, "\x08\x01"},
		{"WriteStdin", "container_id=runs$ exec_id=e1", STATUS_OK, NULL},
		{"WriteStdin", "container_id=runs$ exec_id=e1 data=x", STATE, "input"},
		{"CloseStdin", "container_id=nobody", LOST, "nobody"},
		{"CloseStdin", "container_id=runs$ exec_id=e9", LOST, "e9"},
		{"CloseStdin", "container_id=runs$", STATUS_OK, NULL},
		{"CloseStdin", "container_id=runs$", STATUS_OK, NULL},
		{"TtyWinResize", "container_id=nobody", LOST, "nobody"},
		{"TtyWinResize", "container_id=runs$ row=1 column=1", STATUS_UNAVAILABLE,
		 "terminal"},
		{"TtyWinResize", "container_id=tty$ row=24 column=80", STATUS_OK, NULL},
		{"TtyWinResize", "container_id=tty$ row=0 column=0", STATUS_OK, NULL},
		{"TtyWinResize", "container_id=tty$ row=65536 column=80", BAD, "65536"},
		{"TtyWinResize", "container_id=tty$ row=1 column=4294967295", BAD, "4294967295"},
	};
	RUN_TABLE(rows);
}

static void the_network(void **state)
{
	static const struct row rows[] = {
		{"UpdateInterface", "", BAD, "interface"},
		{"UpdateInterface", "interface.name=eth9", LOST, "eth9"},
		{"UpdateInterface", "interface.hwAddr=02:00:00:00:00:01", BAD, "name"},
		{"UpdateInterface", "interface.name=eth9 interface.hwAddr=02:00:00:00:00:01", LOST,
		 "eth9"},
		{"UpdateInterface", "interface.name=lo interface.hwAddr=02:00:00:00:00:01", BAD,
		 "lo"},
		{"UpdateInterface", "interface.name=eth/9 interface.hwAddr=02:00:00:00:00:01", BAD,
		 "eth/9"},
		{"UpdateInterface", "interface.name=^16 interface.hwAddr=02:00:00:00:00:01", BAD,
		 "name"},
		{"UpdateInterface", "interface.name=eth9 interface.hwAddr=02:00", BAD, "02:00"},
		{"UpdateInterface",
		 "interface.name=eth9 interface.hwAddr=02:00:00:00:00:01 interface.mtu=1", BAD,
		 "mtu"},
		{"UpdateInterface",
		 "interface.name=eth9 interface.hwAddr=02:00:00:00:00:01 "
		 "interface.mtu=18446744073709551615",
		 BAD, "mtu"},
		{"UpdateInterface",
		 "interface.name=eth9 interface.hwAddr=02:00:00:00:00:01 "
		 "interface.IPAddresses+.address=1.2.3 interface.IPAddresses.mask=24",
		 BAD, "1.2.3"},
		{"UpdateInterface",
		 "interface.name=eth9 interface.hwAddr=02:00:00:00:00:01 "
		 "interface.IPAddresses+.address=10.0.0.1 interface.IPAddresses.mask=33",
		 BAD, "33"},
		{"UpdateInterface",
		 "interface.name=eth9 interface.hwAddr=02:00:00:00:00:01 "
		 "interface.IPAddresses+.address=10.0.0.1 interface.IPAddresses.mask=x",
		 BAD, "mask"},
		{"UpdateInterface",
		 "interface.name=eth9 interface.hwAddr=02:00:00:00:00:01 "
		 "interface.IPAddresses*1025.address=10.0.0.1 interface.IPAddresses.mask=24",
		 BAD, "1025"},
		{"UpdateInterface",
		 "interface.name=eth9 interface.hwAddr=02:00:00:00:00:01 interface.devicePath=zz",
		 BAD, "zz"},
		{"UpdateInterface",
		 "interface.name=eth9 interface.hwAddr=02:00:00:00:00:01 interface.devicePath=1f",
		 LOST, "1f"},
		{"UpdateRoutes", "", BAD, "routes"},
		{"UpdateRoutes", "routes", STATUS_OK, NULL},
		{"UpdateRoutes", "routes.Routes+.dest=x routes.Routes.device=lo", BAD, "x"},
		{"UpdateRoutes", "routes.Routes+.dest=10.0.0.0/33 routes.Routes.device=lo", BAD,
		 "10.0.0.0/33"},
		{"UpdateRoutes", "routes.Routes+.dest=10.0.0.0/8 routes.Routes.device=eth9", LOST,
		 "eth9"},
		{"UpdateRoutes",
		 "routes.Routes+.dest=10.0.0.0/8 routes.Routes.device=lo routes.Routes.gateway=x",
		 BAD, "gateway"},
		{"UpdateRoutes",
		 "routes.Routes+.dest=10.0.0.0/8 routes.Routes.device=lo routes.Routes.scope=256",
		 BAD, "256"},
		{"UpdateRoutes",
		 "routes.Routes+.dest=10.0.0.0/8 routes.Routes.device=lo routes.Routes.mtu=7", BAD,
		 "mtu"},
		{"UpdateRoutes", "routes.Routes*8193.dest=10.0.0.0/8 routes.Routes.device=lo", BAD,
		 "8193"},
		{"ListRoutes", "", STATUS_OK, NULL},
		{"AddARPNeighbors", "", BAD, "neighbours"},
		{"AddARPNeighbors", "neighbors", STATUS_OK, NULL},
		{"AddARPNeighbors", "neighbors.ARPNeighbors+.device=lo", BAD, "toIPAddress"},
		{"AddARPNeighbors",
		 "neighbors.ARPNeighbors+.device=lo "
		 "neighbors.ARPNeighbors.toIPAddress.address=x",
		 BAD, "x"},
		{"AddARPNeighbors",
		 "neighbors.ARPNeighbors+.device=eth9 "
		 "neighbors.ARPNeighbors.toIPAddress.address=10.0.0.2 "
		 "neighbors.ARPNeighbors.lladdr=02:00:00:00:00:02",
		 LOST, "eth9"},
		{"AddARPNeighbors",
		 "neighbors.ARPNeighbors+.device=lo "
		 "neighbors.ARPNeighbors.toIPAddress.address=10.0.0.2 "
		 "neighbors.ARPNeighbors.lladdr=zz",
		 BAD, "zz"},
		{"AddARPNeighbors",
		 "neighbors.ARPNeighbors+.device=lo "
		 "neighbors.ARPNeighbors.toIPAddress.address=10.0.0.2 "
		 "neighbors.ARPNeighbors.lladdr=02:00:00:00:00:02 neighbors.ARPNeighbors.state=-1",
		 BAD, "state"},
		{"AddARPNeighbors", "neighbors.ARPNeighbors*8193.device=lo", BAD, "8193"},
		{"GetIPTables", "", ANY, NULL},
		{"GetIPTables", "is_ipv6=1", ANY, NULL},
		{"SetIPTables", "data=nonsense", FAILURE, "iptables"},
		{"SetIPTables", "is_ipv6=1 data=nonsense", FAILURE, "ip6tables"},
	};
	RUN_TABLE(rows);
}

static void the_machine(void **state)
{
	static const struct row rows[] = {
		{"GetMetrics", "", STATUS_OK, "kata_agent_total_rss"},
		{"MemAgentMemcgSet", "", STATUS_UNIMPLEMENTED, NULL},
		{"MemAgentMemcgSet", "swappiness_max=4294967295", STATUS_UNIMPLEMENTED, NULL},
		{"MemAgentCompactSet", "compact_sec_max=-1", STATUS_UNIMPLEMENTED, NULL},
		{"OnlineCPUMem", "nb_cpus=1 cpu_only=1", STATUS_OK, NULL},
		{"OnlineCPUMem", "nb_cpus=4294967295 cpu_only=1", STATUS_DEADLINE_EXCEEDED,
		 "4294967295"},
		{"ReseedRandomDev", "", BAD, "seed"},
		{"ReseedRandomDev", "data=^4097", BAD, "4097"},
		{"ReseedRandomDev", "data=12345678", STATUS_OK, NULL},
		{"MemHotplugByProbe", "", STATUS_OK, NULL},
		{"MemHotplugByProbe", "memHotplugProbeAddr*100000=1", BAD, "100000"},
		{"SetGuestDateTime", "Sec=-1", BAD, "-1"},
		{"SetGuestDateTime", "Usec=1000000", BAD, "1000000"},
		{"SetGuestDateTime", "Sec=9223372036854775807", FAILURE, NULL},
		{"AddSwap", "", BAD, "PCI"},
		{"AddSwap", "PCIPath=256", BAD, "256"},
		{"AddSwap", "PCIPath*12=1", BAD, "12"},
		{"AddSwap", "PCIPath=31", LOST, "1f"},
		{"AddSwapPath", "", BAD, "path"},
		{"AddSwapPath", "path=swap", BAD, "swap"},
		{"AddSwapPath", "path=/no/such/swap", LOST, "/no/such/swap"},
		{"AddSwapPath", "path=/dev/vdzz", LOST, "/dev/vdzz"},
		{"AddSwapPath", "path=/dev/null", BAD, "/dev/null"},
		{"GetVolumeStats", "volume_guest_path=/proc", STATUS_OK, "OK"},
		{"GetVolumeStats", "", BAD, "volume"},
		{"GetVolumeStats", "volume_guest_path=proc", BAD, "proc"},
		{"GetVolumeStats", "volume_guest_path=/no/such", LOST, "/no/such"},
		{"GetVolumeStats", "volume_guest_path=/proc/../etc", BAD, "/proc/../etc"},
		{"ResizeVolume", "", BAD, "volume"},
		{"ResizeVolume", "volume_guest_path=/no/such size=1", LOST, "/no/such"},
		{"ResizeVolume", "volume_guest_path=/proc size=1", STATUS_UNIMPLEMENTED, "/proc"},
		{"SetPolicy", "policy=this%20is%20no%20policy", BAD, NULL},
		{"SetPolicy", "", BAD, NULL},
	};
	RUN_TABLE(rows);
}

static void copies(void **state)
{
	/* the directory of shared files is below the agent's own, and is not there yet */
	char inside[512], outside[2][256];
	const struct row rows[] = {
		{"CopyFile", "", BAD, "copy"},
		{"CopyFile", "path=/etc/passwd file_mode=33188", BAD, "/etc/passwd"},
		{"CopyFile", outside[0], BAD, ".."},
		{"CopyFile", outside[1], BAD, NULL},
		{"CopyFile", inside, BAD, "mode"},
	};

	(void)snprintf(outside[0], sizeof outside[0],
		       "path=%s/state/shared/containers/../../x file_mode=33188", f.dir);
	(void)snprintf(outside[1], sizeof outside[1],
		       "path=%s/state/shared/containers/ file_mode=33188", f.dir);
	(void)snprintf(inside, sizeof inside,
		       "path=%s/state/shared/containers/x file_mode=8612 dir_mode=493", f.dir);
	RUN_TABLE(rows);

	static const struct {
		const char *request;
		int code;
		const char *word;
	} pieces[] = {
		{"file_size=3 data=abc", STATUS_OK, NULL},
		{"file_size=-1 data=abc", BAD, "-1"},
		{"file_size=2 data=abc", BAD, "3 bytes"},
		{"file_size=9 offset=-1 data=abc", BAD, "-1"},
		{"file_size=9 offset=10 data=abc", BAD, "10"},
		{"file_size=9 offset=3 data=abc", BAD, "does not follow"},
		{"file_size=9", BAD, "no bytes"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		(void)snprintf(inside, sizeof inside,
			       "path=%s/state/shared/containers/y file_mode=33188 dir_mode=493 %s",
			       f.dir, pieces[i].request);
		const struct row row = {"CopyFile", inside, pieces[i].code, pieces[i].word};
		assert_true(run_row(&row));
	}
}

/* ---- What is no row ----------------------------------------------------------------------- */

/* A bounding set of one, in each spelling: the container has that one. */
static void capabilities_have_three_spellings(void **state)
{
	static const char *const names[] = {"KILL", "CAP_KILL", "\"CAP_KILL\"", "cap_kill"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char *set[] = {(char *)names[i], (char *)"CAP_OF_TOMORROW"};
		Grpc__LinuxCapabilities caps = GRPC__LINUX_CAPABILITIES__INIT;
		struct container_options o = {.script = "cat /proc/self/status",
					      .capabilities = &caps};
		_cleanup_buf_ struct buf text = BUF_INIT;
		struct err e = ERR_INIT;

		caps.bounding = caps.effective = caps.permitted = set;
		caps.n_bounding = caps.n_effective = caps.n_permitted = 2;
		if (create(&f, id("caps"), &o, &e) != STATUS_OK)
			fail_msg("%s: %s", names[i], e.text);
		assert_int_equal(start(&f, id("caps")), STATUS_OK);
		assert_int_equal(read_all(&f, id("caps"), "", false, &text), STATUS_OK);
		assert_non_null(strstr(text.data, "CapBnd:\t0000000000000020\n"));
		assert_non_null(strstr(text.data, "CapEff:\t0000000000000020\n"));
		assert_int_equal(remove_container(&f, id("caps"), 0), STATUS_OK);
	}
}

/* Runtimes of the field ask again as soon as they are answered. */
static void an_event_is_waited_for(void **state)
{
	Grpc__GetOOMEventRequest q = GRPC__GET_OOMEVENT_REQUEST__INIT;
	Grpc__DestroySandboxRequest end = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	struct async event;
	int status = -1;

	(void)method_of("GetOOMEvent");
	(void)method_of("DestroySandbox");
	call_async(&f, "GetOOMEvent", &q.base, &event);
	assert_false(async_wait(&event, 1000));

	/* until the agent ends: it says so to all */
	assert_int_equal(call(&f, "DestroySandbox", &end.base, NULL, NULL), STATUS_OK);
	assert_true(async_wait(&event, 20000));
	assert_int_not_equal(event.status, STATUS_OK);
	async_end(&event);
	assert_int_equal(waitpid(f.agent, &status, 0), f.agent);
	f.agent = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_agent_is_well(void **state)
{
	Grpc__HealthCheckResponse *health = NULL;
	Grpc__VersionCheckResponse *version = NULL;

	assert_int_equal(call_health(&f, "Check", &health), STATUS_OK);
	assert_int_equal(health->status, GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
	assert_int_equal(call_health(&f, "Version", &version), STATUS_OK);
	assert_string_equal(version->grpc_version, "0.0.1");
	assert_true(version->agent_version[0]);
	grpc__health_check_response__free_unpacked(health, NULL);
	grpc__version_check_response__free_unpacked(version, NULL);
}

static void no_call_is_forgotten(void **state)
{
	const ProtobufCServiceDescriptor *s = &grpc__agent_service__descriptor;

	for (unsigned i = 0; i < s->n_methods; i++)
		if (!covered[i])
			fail_msg("no table has the call %s", s->methods[i].name);
}

/* ---- The group ---------------------------------------------------------------------------- */

static int setup(void **state)
{
	unsigned n;

	assert_int_equal(getentropy(&n, sizeof n), 0);
	(void)snprintf(suffix, sizeof suffix, "-%x", n);
	request_suffix(suffix);
	assert_true(cgroup_version(CGROUPS) > 0);
	(void)setenv("KATA_AGENT_CGROUP_ROOT", CGROUPS, 1);
	/* nothing here may reach the machine's own network */
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fixture_start(&f, agent_program);
	(void)snprintf(rootfs_word, sizeof rootfs_word, "%s", f.rootfs);
	return 0;
}

static int setup_world(void **state)
{
	make_world();
	return 0;
}

static int teardown_world(void **state)
{
	end_world();
	return 0;
}

static int teardown(void **state)
{
	int status = fixture_stop(&f);
	return status == -1 ? 0 : -1;
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup_world, teardown_world)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_agent_is_well),
		cmocka_unit_test(the_sandbox),
		IN_WORLD(creation),
		IN_WORLD(containers),
		IN_WORLD(streams),
		cmocka_unit_test(capabilities_have_three_spellings),
		cmocka_unit_test(the_network),
		cmocka_unit_test(the_machine),
		cmocka_unit_test(copies),
		cmocka_unit_test(the_agent_is_well),
		cmocka_unit_test(an_event_is_waited_for), /* ends the agent */
		cmocka_unit_test(no_call_is_forgotten),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s AGENT [-v]\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	verbose = argc > 2 && strcmp(argv[2], "-v") == 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
