/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/sandbox.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtimes/dns.h"
#include "runtimes/port-forward.h"
#include "sys/netns.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/vfs.h>

#define START_TIMEOUT_MS 30000
#define GRACE_MS 1000	     /* for the guest to power off; the client's patience is 3 s */
#define CONNECT_MIN_MS 10000 /* as the field does: a slow host still boots within it */
/* An emulated boot takes two seconds of a free processor, and ten times that of a crowded one; so
 * may one on a host that is itself a guest. A guest that crashes is noticed at once all the same.
 */
#define CONNECT_SLOW_MS 60000
#define RECORDED_KILL_MS 500
#define SHM_BYTES_DEFAULT (64u << 20)
#define GUEST_SHM "/run/kata-containers/sandbox/shm"

struct sandbox {
	struct sandbox_params params;
	char *id, *config_file, *config_body;
	char dir[300], run_dir[320];
	int netns_fd;	   /* or -EBADF */
	bool netns_is_new; /* made for this pod, and without a name */

	struct kata_config *config;
	struct journal *journal;
	struct undo *undo;
	struct share_fs *share;
	struct hypervisor *hypervisor;
	struct agent *agent;
	struct port_forward *forward; /* or NULL */
	atomic_int pid;
	struct sandbox_boot_times times;
	pthread_mutex_t stop_lock; /* held while the machine is ended; taken before `lock` */
	struct state_pids pids;

	pthread_mutex_t lock; /* guards what follows; taken alone */
	pthread_cond_t changed;
	bool dead, stopping;
	char reason[512];
};

int sandbox_new(const struct sandbox_params *p, struct sandbox **ret)
{
	struct sandbox *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->params = *p;
	s->netns_fd = -EBADF;
	s->id = strdup(p->id);
	s->config_file = p->config_file ? strdup(p->config_file) : NULL;
	s->config_body = p->config_body ? strdup(p->config_body) : NULL;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->stop_lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	if (!s->id || (p->config_file && !s->config_file) || (p->config_body && !s->config_body)) {
		sandbox_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

void sandbox_free(struct sandbox *s)
{
	if (!s)
		return;
	s->netns_fd = close_fd(s->netns_fd);
	config_free(s->config);
	free(s->id);
	free(s->config_file);
	free(s->config_body);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->stop_lock);
	free(s);
}

struct agent *sandbox_agent(struct sandbox *s)
{
	return s->agent;
}

struct journal *sandbox_journal(struct sandbox *s)
{
	return s->journal;
}

struct share_fs *sandbox_share(struct sandbox *s)
{
	return s->share;
}

const struct kata_config *sandbox_config(const struct sandbox *s)
{
	return s->config;
}

int sandbox_netns_fd(const struct sandbox *s)
{
	return s->netns_fd >= 0 ? s->netns_fd : -1;
}

pid_t sandbox_pid(const struct sandbox *s)
{
	return atomic_load(&s->pid);
}

const struct sandbox_boot_times *sandbox_boot_times(const struct sandbox *s)
{
	return &s->times;
}

bool sandbox_is_emulated(const struct sandbox *s)
{
	return s->hypervisor && s->hypervisor->emulated;
}

void sandbox_describe(const struct sandbox *s, struct state_sandbox *ret)
{
	*ret = (struct state_sandbox){
		.id = s->id,
		.dir = s->dir,
		.run_dir = s->run_dir,
		.hypervisor = s->config->hypervisor.name,
		.sandbox_cgroup_only = s->config->runtime.sandbox_cgroup_only,
		.pids = s->pids,
	};
}

/* ---- Death ---------------------------------------------------------------------------------- */

/* The first cause is kept: that the agent's connection closes when the VMM dies is no news. */
static void die(struct sandbox *s, const char *reason)
{
	pthread_mutex_lock(&s->lock);
	bool news = !s->dead && !s->stopping;
	if (!s->dead) {
		s->dead = true;
		(void)snprintf(s->reason, sizeof s->reason, "%s", reason);
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	if (news)
		s->params.on_dead(s->params.arg, reason);
}

void sandbox_abandon(struct sandbox *s, const char *reason)
{
	die(s, reason);
}

static void on_vmm_exit(void *arg, int exit_code, const char *reason)
{
	die(arg, reason);
}

static void on_share_exit(void *arg, const char *reason)
{
	die(arg, reason);
}

static void on_agent_close(void *arg)
{
	die(arg, "the connection to the guest's agent is lost");
}

/* ---- The agent's way to the guest ------------------------------------------------------------ */

static int dial(void *arg, uint32_t port, uint64_t timeout_ms, struct err *e)
{
	struct sandbox *s = arg;
	return hypervisor_connect(s->hypervisor, port, timeout_ms, e);
}

/* Returns true at once when the machine has died. */
static bool pause_unless_dead(void *arg, unsigned ms)
{
	struct sandbox *s = arg;
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&s->lock);
	while (!s->dead)
		if (pthread_cond_timedwait(&s->changed, &s->lock, &until) == ETIMEDOUT)
			break;
	bool dead = s->dead;
	pthread_mutex_unlock(&s->lock);
	return dead;
}

/* ---- Boot, step by step ---------------------------------------------------------------------- */

static void config_warning(void *arg, const char *sentence)
{
	log_warn("configuration: %s", sentence);
}

static int load_config(struct sandbox *s, const struct oci_spec *spec, struct err *e)
{
	_cleanup_free_ const char **annotations =
		calloc(spec->n_annotations * 2 + 1, sizeof *annotations);
	if (!annotations)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < spec->n_annotations; i++) {
		annotations[2 * i] = spec->annotations[i].key;
		annotations[2 * i + 1] = spec->annotations[i].value;
	}

	const struct config_source src = {
		.file = s->config_file, .body = s->config_body, .annotations = annotations};
	int r = config_load(&src, config_warning, NULL, &s->config, e);
	if (r < 0)
		return err_wrap(e, r, "configuration");

	const struct runtime_config *c = &s->config->runtime;
	enum log_level level = LOG_INFO;
	(void)log_level_parse(c->log_level, &level);
	if ((c->enable_debug || s->params.debug) && level < LOG_DEBUG)
		level = LOG_DEBUG;
	log_set_level(level);
	log_info("configuration %s, hypervisor %s", s->config->file, s->config->hypervisor.name);
	return 0;
}

static int open_netns(struct sandbox *s, const struct oci_spec *spec, struct err *e)
{
	const struct oci_namespace *n = oci_spec_namespace(spec, OCI_NS_NETWORK);

	if (!n || s->config->runtime.disable_new_netns)
		return 0;
	/* One without a path is the pod's own and has no name: whoever connects it, like Docker,
	 * finds it by the VMM's pid, and it vanishes with the pod. */
	s->netns_is_new = !n->path || !n->path[0];
	int fd = s->netns_is_new ? netns_new(e) : netns_open(n->path, e);
	if (fd < 0)
		return err_wrap(e, fd, "linux.namespaces");
	s->netns_fd = fd;
	return 0;
}

static int make_dirs(struct sandbox *s, struct err *e)
{
	char journal[340];
	int r = path_format(s->dir, sizeof s->dir, "%s/%s", SANDBOX_RUN_DIR, s->id);
	if (r == 0)
		r = path_format(s->run_dir, sizeof s->run_dir, "%s/root", s->dir);
	if (r == 0)
		r = path_format(journal, sizeof journal, "%s/journal", s->dir);
	if (r < 0)
		return err_set(e, r, "sandbox id %s is too long for a path", s->id);

	/* A shim of the same name that died without its `delete`: finish that first. */
	if (access(journal, F_OK) == 0) {
		log_warn("cleaning up what an earlier shim left of this sandbox");
		(void)sandbox_cleanup(s->id);
	}
	/* The `delete` of an earlier shim may take the directory away until the journal is ours. */
	for (int tries = 0; tries < 5; tries++) {
		r = mkdir_parents(s->run_dir, 0700);
		if (r < 0) {
			(void)err_errno(e, r, "make directory %s", s->run_dir);
			break;
		}
		r = journal_open(journal, &s->journal, e);
		if (r != -ENOENT)
			break;
	}
	if (r < 0) {
		if (r != -EEXIST) /* that of a living shim */
			(void)remove_tree(s->dir);
		s->dir[0] = '\0';
		return r;
	}
	r = undo_new(s->journal, &s->undo);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

static int make_hypervisor(struct sandbox *s, struct err *e)
{
	const struct hypervisor_params p = {
		.loop = s->params.loop,
		.config = s->config,
		.sandbox_id = s->id,
		.run_dir = s->run_dir,
		.netns_fd = sandbox_netns_fd(s),
		.on_exit = on_vmm_exit,
		.on_exit_arg = s,
	};
	return hypervisor_new(&p, &s->hypervisor, e);
}

static int add_share(struct sandbox *s, struct err *e)
{
	const struct hypervisor_config *c = &s->config->hypervisor;
	const struct share_fs_params p = {
		.loop = s->params.loop,
		.config = c,
		.sandbox_id = s->id,
		.run_dir = s->run_dir,
		.undo = s->undo,
		.on_exit = on_share_exit,
		.arg = s,
	};
	struct hypervisor_device d = {.type = DEVICE_VHOST_USER_FS};

	if (strcmp(c->shared_fs, "virtio-fs") != 0)
		return err_status(e, STATUS_UNIMPLEMENTED,
				  "shared_fs = \"%s\" in [hypervisor.%s]: only \"virtio-fs\" is "
				  "supported yet",
				  c->shared_fs, c->name);
	int r = share_fs_new(&p, &s->share, &d.fs.fd, e);
	if (r < 0)
		return r;
	d.fs.tag = SHARE_FS_TAG;
	d.fs.queue_size = c->virtio_fs_queue_size;
	r = hypervisor_add_device(s->hypervisor, &d, e);
	if (r < 0)
		(void)close_fd(d.fs.fd);
	return r;
}

static int start_machine(struct sandbox *s, struct err *e)
{
	int r = hypervisor_start(s->hypervisor, START_TIMEOUT_MS, e);
	const struct hypervisor_config *c = &s->config->hypervisor;
	if (r < 0)
		return err_wrap(e, r, "start the virtual machine (path = \"%s\", kernel = \"%s\")",
				c->path, c->kernel);
	atomic_store(&s->pid, s->hypervisor->pid);
	return undo_push_process(s->undo, s->hypervisor->pid, e);
}

/* A boot that fails is only understood from what the guest printed. */
static void add_console(struct sandbox *s, struct err *e)
{
	char tail[512];

	hypervisor_console_tail(s->hypervisor, tail, sizeof tail);
	for (char *p = tail; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	pthread_mutex_lock(&s->lock);
	char reason[sizeof s->reason];
	memcpy(reason, s->reason, sizeof reason);
	pthread_mutex_unlock(&s->lock);

	size_t n = strlen(e->text);
	(void)snprintf(e->text + n, sizeof e->text - n, "%s%s%s%s", reason[0] ? ": " : "", reason,
		       tail[0] ? "; the guest's console ends with: " : "", tail);
}

static int connect_agent(struct sandbox *s, struct err *e)
{
	const struct agent_config *c = &s->config->agent;
	uint64_t least = s->hypervisor->slow ? CONNECT_SLOW_MS : CONNECT_MIN_MS;
	uint64_t connect_ms = c->reconnect_timeout_ms > least ? c->reconnect_timeout_ms : least;
	const struct agent_params p = {
		.loop = s->params.loop,
		.dial = dial,
		.pause = pause_unless_dead,
		.on_close = on_agent_close,
		.arg = s,
		.port = c->server_port,
		.log_port = c->log_port,
		.dial_interval_ms = c->dial_timeout_ms,
		.connect_timeout_ms = connect_ms,
		.call_timeout_ms = (uint64_t)c->create_container_timeout * 1000,
	};
	int r = agent_connect(&p, &s->agent, e);
	if (r < 0) {
		add_console(s, e);
		return err_wrap(e, r, "boot the guest");
	}
	return agent_get_features(s->agent, e);
}

/* What CRI prepared as the pod's /dev/shm tells the size that the guest's shall have. */
static uint64_t shm_bytes(const struct oci_spec *spec)
{
	struct statfs fs;

	for (size_t i = 0; i < spec->n_mounts; i++) {
		const struct oci_mount *m = &spec->mounts[i];
		if (strcmp(m->destination, "/dev/shm") == 0 && m->type &&
		    strcmp(m->type, "bind") == 0 && m->source &&
		    strcmp(m->source, "/dev/shm") != 0 && statfs(m->source, &fs) == 0)
			return (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
	}
	return SHM_BYTES_DEFAULT;
}

static int create_sandbox(struct sandbox *s, const struct oci_spec *spec, struct err *e)
{
	char size[40];
	char *share_options[] = {"nodev"};
	char *shm_options[] = {"noexec", "nosuid", "nodev", "mode=1777", size};
	Grpc__Storage share = GRPC__STORAGE__INIT, shm = GRPC__STORAGE__INIT;
	Grpc__Storage *storages[] = {&share, &shm};
	Grpc__CreateSandboxRequest req = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	struct dns dns = DNS_INIT;

	share.driver = "virtio-fs";
	share.source = SHARE_FS_TAG;
	share.fstype = "virtiofs";
	share.options = share_options;
	share.n_options = ARRAY_SIZE(share_options);
	share.mount_point = SHARE_FS_GUEST_DIR;

	(void)snprintf(size, sizeof size, "size=%llu", (unsigned long long)shm_bytes(spec));
	shm.driver = "ephemeral";
	shm.source = "shm";
	shm.fstype = "tmpfs";
	shm.options = shm_options;
	shm.n_options = ARRAY_SIZE(shm_options);
	shm.mount_point = GUEST_SHM;

	req.hostname = spec->hostname ? spec->hostname : "";
	req.sandbox_id = s->id;
	req.guest_hook_path = s->config->hypervisor.guest_hook_path;
	req.storages = storages;
	req.n_storages = ARRAY_SIZE(storages);
	dns_load(spec, &dns);
	req.dns = dns.lines;
	req.n_dns = dns.n;
	int r = agent_call(s->agent, "CreateSandbox", &req.base, NULL, e);
	dns_deinit(&dns);
	return r < 0 ? err_wrap(e, r, "create the sandbox in the guest") : 0;
}

/* A pod without it is a pod all the same. */
static void start_forward(struct sandbox *s)
{
	const struct port_forward_params p = {
		.loop = s->params.loop,
		.workers = s->params.workers,
		.netns_fd = s->netns_fd,
		.dial = dial,
		.arg = s,
	};
	struct err e = ERR_INIT;

	/* nobody forwards from a namespace that has no name */
	if (s->netns_fd < 0 || s->netns_is_new || !agent_features(s->agent)->port_forward)
		return;
	int r = port_forward_new(&p, &s->forward, &e);
	if (r < 0)
		log_warn("no port-forward to this pod: %s", err_text(&e, r));
}

struct phase {
	const char *name;
	int (*run)(struct sandbox *s, struct err *e);
};

static const struct phase phases[] = {
	{"directories", make_dirs},	 {"hypervisor", make_hypervisor},
	{"shared directory", add_share}, {"machine", start_machine},
	{"agent", connect_agent},
};

static int run_phases(struct sandbox *s, struct err *e)
{
	static_assert(ARRAY_SIZE(phases) <= SANDBOX_PHASES_MAX, "a place for each phase's time");
	s->times.n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
		uint64_t begin = time_now_ms();
		int r = phases[i].run(s, e);
		if (r < 0)
			return r;
		s->times.phase[s->times.n].name = phases[i].name;
		s->times.phase[s->times.n++].ms = time_now_ms() - begin;
	}
	return 0;
}

static struct state_pid known(pid_t pid)
{
	return (struct state_pid){.pid = pid, .start_time = process_start_time(pid)};
}

static void note_pids(struct sandbox *s)
{
	s->pids.shim = known(getpid());
	s->pids.vmm = known(s->hypervisor->pid);
	if (s->share)
		s->pids.virtiofsd = known(share_fs_pid(s->share));
}

static void log_boot(struct sandbox *s)
{
	_cleanup_buf_ struct buf times = BUF_INIT;

	for (size_t i = 0; i < s->times.n; i++)
		buf_printf(&times, "%s%s %llu ms", i ? ", " : "", s->times.phase[i].name,
			   (unsigned long long)s->times.phase[i].ms);
	log_info("sandbox is up after %llu ms (%s), agent %s",
		 (unsigned long long)s->times.total_ms, times.data ? times.data : "",
		 agent_features(s->agent)->version);
}

int sandbox_boot(struct sandbox *s, const struct oci_spec *spec, struct err *e)
{
	uint64_t begin = time_now_ms();

	int r = load_config(s, spec, e);
	if (r == 0)
		r = open_netns(s, spec, e);
	if (r == 0)
		r = run_phases(s, e);
	if (r == 0)
		r = create_sandbox(s, spec, e);
	if (r < 0) {
		sandbox_shutdown(s);
		return r;
	}
	note_pids(s);
	agent_forward_logs(s->agent);
	start_forward(s);
	s->times.total_ms = time_now_ms() - begin;
	log_boot(s);
	return 0;
}

/* ---- The end -------------------------------------------------------------------------------- */

struct release {
	struct sandbox *sandbox;
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done;
};

/* Connections and watches belong to the loop. */
static void release_on_loop(void *arg)
{
	struct release *r = arg;
	struct sandbox *s = r->sandbox;

	port_forward_free(TAKE_PTR(s->forward));
	agent_free(TAKE_PTR(s->agent));
	hypervisor_free(TAKE_PTR(s->hypervisor));
	share_fs_free(TAKE_PTR(s->share));
	pthread_mutex_lock(&r->lock);
	r->is_done = true;
	pthread_cond_signal(&r->done);
	pthread_mutex_unlock(&r->lock);
}

static void release(struct sandbox *s)
{
	struct release r = {
		.sandbox = s, .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

	if (loop_post(s->params.loop, release_on_loop, &r) < 0)
		return;
	pthread_mutex_lock(&r.lock);
	while (!r.is_done)
		pthread_cond_wait(&r.done, &r.lock);
	pthread_mutex_unlock(&r.lock);
}

static void ignore_answer(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
}

/* Asks the agent to end the sandbox, which powers the guest off. */
static bool ask_guest_to_end(struct sandbox *s)
{
	Grpc__DestroySandboxRequest req = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	struct err e = ERR_INIT;

	pthread_mutex_lock(&s->lock);
	bool dead = s->dead;
	s->stopping = true;
	pthread_mutex_unlock(&s->lock);
	if (dead || !s->agent)
		return false;
	/* Not waited for: a guest that powers off fast may never answer. */
	int r = agent_start(s->agent, "DestroySandbox", &req.base, GRACE_MS, ignore_answer, NULL,
			    &e);
	if (r < 0)
		log_debug("cannot ask the guest to end: %s", err_text(&e, r));
	return r == 0;
}

static void stop_machine(struct sandbox *s, uint64_t grace_ms)
{
	struct err e = ERR_INIT;

	pthread_mutex_lock(&s->stop_lock);
	if (s->hypervisor && hypervisor_stop(s->hypervisor, grace_ms, &e) < 0)
		log_error("stop the virtual machine: %s", e.text);
	pthread_mutex_unlock(&s->stop_lock);
}

void sandbox_halt(struct sandbox *s)
{
	stop_machine(s, 0);
}

void sandbox_stop(struct sandbox *s, uint64_t grace_ms)
{
	bool asked = ask_guest_to_end(s);
	stop_machine(s, !asked ? 0 : grace_ms < GRACE_MS ? grace_ms : GRACE_MS);
}

/* The last sandbox of the host leaves no empty directories either. */
static void tidy_parents(void)
{
	rmdir_parents(SANDBOX_RUN_DIR, "/run");
	rmdir_parents(SHARE_FS_HOST_DIR, "/run");
}

void sandbox_shutdown(struct sandbox *s)
{
	if (!s->dir[0]) {
		s->netns_fd = close_fd(s->netns_fd);
		return; /* nothing was begun */
	}
	sandbox_stop(s, GRACE_MS);
	port_forward_stop(s->forward);
	if (s->share)
		share_fs_stop(s->share);
	release(s);
	s->netns_fd = close_fd(s->netns_fd);
	if (s->undo)
		(void)undo_to(s->undo, 0);
	undo_free(TAKE_PTR(s->undo));
	int r = remove_tree(s->dir);
	if (r < 0)
		log_error("remove %s: %s", s->dir, strerror(-r));
	journal_close(TAKE_PTR(s->journal)); /* last: until then nobody else has the directory */
	s->dir[0] = '\0';
	tidy_parents();
}

static int read_state(const char *id, struct state_pids *ret)
{
	char path[320];
	int r = path_format(path, sizeof path, "%s/%s/state.json", SANDBOX_RUN_DIR, id);
	return r < 0 ? r : state_read(path, ret);
}

pid_t sandbox_recorded_shim(const char *id)
{
	struct state_pids pids;
	if (read_state(id, &pids) < 0 || pids.shim.pid <= 1 ||
	    process_start_time(pids.shim.pid) != pids.shim.start_time)
		return 0;
	return pids.shim.pid;
}

/* What the journal names too, unless it is damaged. */
static void end_recorded(const char *id)
{
	struct state_pids pids;
	if (read_state(id, &pids) < 0)
		return;
	uint64_t deadline = time_deadline(RECORDED_KILL_MS);
	if (pids.vmm.pid > 1)
		(void)process_end(pids.vmm.pid, pids.vmm.start_time, deadline);
	if (pids.virtiofsd.pid > 1)
		(void)process_end(pids.virtiofsd.pid, pids.virtiofsd.start_time, deadline);
}

int sandbox_cleanup(const char *id)
{
	char dir[300], journal[320];
	_cleanup_close_ int lock = -EBADF;
	int r = path_format(dir, sizeof dir, "%s/%s", SANDBOX_RUN_DIR, id);
	if (r == 0)
		r = path_format(journal, sizeof journal, "%s/journal", dir);
	if (r < 0)
		return 0; /* nobody could have made it */
	r = journal_lock(journal, &lock);
	if (r == -EBUSY)
		return r;
	r = lock >= 0 ? journal_replay(lock) : 0;
	end_recorded(id);
	int removed = share_fs_cleanup(id);
	if (r == 0)
		r = removed;
	if (r == 0)
		r = remove_tree(dir); /* with the journal, which else is for another try */
	tidy_parents();
	return r;
}
