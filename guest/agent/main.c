/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest agent. As PID 1 it makes the machine usable and never ends but by powering it off; as
 * an ordinary process (a service of a larger guest, a test) it only serves.
 *
 * The order of the start: what everything needs (mounts, command line, the modules on the way to
 * the runtime), then the engine's launcher, which must be forked before there are threads, then the
 * socket, so that the runtime's first attempt to connect succeeds, and then the rest.
 */
#include "guest/agent/agent.h"

#include "base/fd.h"
#include "guest/agent/components.h"
#include "guest/agent/config-file.h"
#include "guest/agent/init.h"
#include "guest/agent/initdata.h"
#include "guest/agent/pause.h"
#include "guest/agent/pod-users.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
#define MODULES_DIR "/lib/modules"
/* What the runtime connects by comes first in the list of modules. */
#define TRANSPORT_MODULE "vmw_vsock_virtio_transport"
/* Create, exec and remove of different containers side by side; the machine is small. */
#define WORKERS 3

static struct agent agent;
static const char *config_file; /* of our own command line, or NULL */

static void complain(void *ctx, const char *text)
{
	log_warn("%s", text);
}

/* It replaces what the command line says of the agent, but not what it says of the machine. */
static void read_config_file(struct agent *a)
{
	struct agent_options o;
	struct err e = ERR_INIT;

	agent_options_default(&o);
	memcpy(o.config_file, a->options.config_file, sizeof o.config_file);
	o.cgroup_no_v1 = a->options.cgroup_no_v1;
	o.unified_cgroups = a->options.unified_cgroups;
	int r = config_file_read(&o, o.config_file, INITDATA_PARSER, complain, NULL, &e);
	if (r < 0)
		log_error("the configuration is not read: %s", err_text(&e, r));
	else
		a->options = o;
}

static void read_options(struct agent *a)
{
	_cleanup_buf_ struct buf cmdline = BUF_INIT;

	agent_options_default(&a->options);
	if (a->is_init && file_read(AT_FDCWD, "/proc/cmdline", AGENT_CMDLINE_MAX, &cmdline) == 0 &&
	    cmdline.data)
		agent_options_parse(&a->options, cmdline.data, complain, NULL);
	if (config_file)
		(void)snprintf(a->options.config_file, sizeof a->options.config_file, "%s",
			       config_file);
	if (a->options.config_file[0])
		read_config_file(a);
	agent_options_environment(&a->options, complain, NULL);
	log_set_level(a->options.log_level);
}

static const char *find_cgroup_root(const struct agent *a)
{
	const char *root = a->options.cgroup_root[0] ? a->options.cgroup_root : CGROUP_ROOT;

	if (cgroup_version(root) > 0)
		return root;
	log_warn("no control groups at %s: containers have no limits and no statistics", root);
	return NULL;
}

static int start_engine(struct agent *a, struct err *e)
{
	char state[160];

	int r = path_format(state, sizeof state, "%s/engine", a->options.state_dir);
	if (r == 0)
		r = mkdir_parents(state, 0700);
	if (r < 0)
		return err_errno(e, r, "make the state directory %s", a->options.state_dir);
	const struct engine_options o = {.state_dir = state,
					 .cgroup_root = find_cgroup_root(a),
					 .network_is_pods = a->is_init,
					 .apparmor_optional = true};
	return engine_new(&o, &a->engine, e);
}

/* The modules that are not on the way to the runtime, while it connects. */
static void modules_work(struct job *j)
{
	j->r = modules_load_present(j->agent->modules, NULL, &j->e);
	j->number = j->agent->is_init && time_sync_possible();
	if (j->number) /* without the module there is no clock, which is said there */
		(void)modules_load(j->agent->modules, "ptp_kvm", NULL, NULL);
}

static void modules_done(struct job *j)
{
	struct err e = ERR_INIT;

	if (j->r < 0)
		log_error("%s", err_text(&j->e, j->r));
	if (j->number && time_sync_new(j->agent->loop, &j->agent->time_sync, &e) < 0)
		log_warn("%s", e.text);
	log_debug("kernel modules are loaded");
}

static void on_signal(void *arg, int signum)
{
	struct agent *a = arg;
	log_info("ending by signal %d", signum);
	loop_stop(a->loop);
}

static const char *pause_bundle(const struct agent *a)
{
	return a->options.pause_bundle[0] ? a->options.pause_bundle : PAUSE_BUNDLE;
}

static int make_storages(struct agent *a, struct err *e)
{
	const struct devices_options devices = {.modules = a->modules};
	int r = devices_new(&devices, &a->devices, e);
	if (r < 0)
		return r;
	r = hotplug_new(a, &a->hotplug);
	if (r < 0)
		return err_errno(e, r, "prepare for devices");
	r = watches_new(a->loop, a->pool, &a->watches);
	if (r < 0)
		return err_errno(e, r, "prepare for watchable storages");
	const struct cdh_options cdh = {
		.socket = a->options.cdh_addr[0] ? a->options.cdh_addr : CDH_SOCKET,
		.api_timeout_ms = a->options.cdh_api_timeout_s * 1000ULL,
		.pull_timeout_ms = a->options.image_pull_timeout_s * 1000ULL,
		.integrity = a->options.secure_storage_integrity,
		.state_dir = a->options.state_dir};
	r = cdh_new(a->loop, &cdh, &a->cdh);
	if (r < 0)
		return err_errno(e, r, "prepare for the Confidential Data Hub");
	const struct storage_env env = {.modules = a->modules,
					.devices = a->devices,
					.state_dir = a->options.state_dir,
					.watches = a->watches,
					.cdh = a->cdh,
					.pause_bundle = pause_bundle(a)};
	r = storage_table_new(&env, &a->storages);
	return r < 0 ? err_errno(e, r, "make the table of storages") : 0;
}

/* The loop, its workers, and what answers requests by them; not yet the requests themselves. */
static int make_parts(struct agent *a, struct err *e)
{
	if (loop_new(&a->loop) < 0 || worker_pool_new(WORKERS, 0, &a->pool) < 0 ||
	    strand_new(a->pool, &a->strand) < 0)
		return err_set(e, -ENOMEM, "no memory for the agent's threads");
	int r = components_watch(a->components, a->loop);
	if (r < 0)
		return err_errno(e, r, "watch the guest's components");
	r = make_storages(a, e);
	if (r < 0)
		return r;
	ports_open(a);
	r = reaper_start(a);
	if (r == 0)
		r = oom_start(a);
	if (r == 0)
		r = forget_start(a);
	if (r == 0)
		r = tidy_start(a);
	if (r == 0)
		r = copier_start(a);
	return r < 0 ? err_errno(e, r, "start serving") : 0;
}

static void say_ready(const struct agent *a)
{
	struct timespec up = {0};

	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	log_info("kata-agent " AGENT_VERSION " is listening on %s, %lld.%03ld s after boot",
		 a->options.server_addr, (long long)up.tv_sec, up.tv_nsec / 1000000);
}

/* Everything up to a running loop; what it made stays for the process' life. */
static int serve(struct agent *a, struct err *e)
{
	struct loop_signal *term = NULL;

	int r = modules_new(a->is_init ? MODULES_DIR : "/nonexistent", &a->modules, e);
	if (r < 0)
		return r;
	if (modules_load_present(a->modules, TRANSPORT_MODULE, e) < 0)
		log_error("%s", e->text);
	r = start_engine(a, e);
	if (r == 0)
		r = prepare(a, e);
	if (r < 0)
		return r;
	(void)signal(SIGPIPE, SIG_IGN);
	/* Early: a runtime that connects now waits for the rest, instead of trying again later. */
	int fd = ports_listen(a->options.server_addr, e);
	if (fd < 0)
		return fd;
	r = make_parts(a, e);
	if (r < 0)
		return r;
	if (!a->is_init)
		r = loop_signal_new(a->loop, SIGTERM, on_signal, a, &term);
	if (r == 0)
		r = service_start(a, fd);
	if (r < 0)
		return err_errno(e, r, "start serving");
	say_ready(a);
	struct job *j = job_new(a, NULL, NULL);
	if (j)
		job_start(j, modules_work, modules_done);
	loop_run(a->loop);
	loop_signal_free(term);
	return 0;
}

static void agent_init(struct agent *a)
{
	list_init(&a->containers);
	list_init(&a->oom_waiters);
	list_init(&a->forgotten);
	(void)pthread_mutex_init(&a->place_lock, NULL);
	a->pidns_fd = a->inotify_fd = a->launcher_fd = -EBADF;
	a->is_init = getpid() == 1;
}

/* The connections, and the storages that a test would otherwise leave behind. */
static void agent_end(struct agent *a)
{
	rpc_server_free(a->server);
	forward_free(a->forward);
	passfd_free(a->passfd);
	time_sync_free(a->time_sync);
	console_free(a->console);
	oom_stop(a);
	forget_stop(a);
	tidy_stop(a);
	reaper_stop(a);
	worker_pool_free(a->pool);
	hotplug_free(a->hotplug);
	copier_stop(a->copier);
	container_remove_all_now(a);
	storages_release(a->storages, &a->held);
	storage_table_free(a->storages);
	watches_free(a->watches);
	cdh_free(a->cdh);
	components_free(a->components);
	devices_free(a->devices);
	engine_free(a->engine);
	policy_free(a->policy);
	guest_hooks_free(a->hooks);
	pod_users_free(a->users);
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;

	if (argc > 1 && strcmp(argv[1], "--version") == 0) {
		printf("kata-agent version " AGENT_VERSION "\n");
		return 0;
	}
	if (argc == 3 && (strcmp(argv[1], "-c") == 0 || strcmp(argv[1], "--config") == 0)) {
		config_file = argv[2];
	} else if (argc > 1) {
		fprintf(stderr, "usage: %s [--version] [-c|--config FILE]\n", argv[0]);
		return 2;
	}
	/* few threads allocate, and little: arenas of their own would only cost memory */
	(void)mallopt(M_ARENA_MAX, 2);
	agent_init(&agent);
	int r = agent.is_init ? init_early(&e) : 0;
	if (logging_new(&agent.logging) < 0)
		r = -ENOMEM;
	read_options(&agent);
	if (agent.options.log_vport && agent.logging)
		logging_to_backlog(agent.logging);
	if (r == 0 && agent.is_init)
		init_late(agent.options.cgroup_no_v1 || agent.options.unified_cgroups);
	if (r == 0)
		r = serve(&agent, &e);
	if (r < 0) {
		log_error("kata-agent cannot go on: %s", err_text(&e, r));
		fprintf(stderr, "kata-agent cannot go on: %s\n", err_text(&e, r));
	}
	if (agent.logging)
		logging_to_console(agent.logging);
	if (agent.is_init)
		init_power_off();
	agent_end(&agent);
	return r < 0;
}
