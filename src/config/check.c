/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Defaults for what is unset, and rules for the rest. A rule that the field enforces is enforced
 * here, also for keys that nothing acts on yet: a file that is wrong there should be wrong here.
 */
#include "config/internal.h"

#include "base/log.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The field's bounds. */
#define BRIDGES_MAX 5
#define NETWORK_QUEUES_MAX 256
#define RECONNECT_TIMEOUT_MIN_MS 10000
#define VIRTIO_FS_QUEUE_MAX 1024
#define SECTOR_MIN 512
#define SECTOR_MAX 65536

#if defined(__aarch64__)
#define QEMU_PATH "/usr/bin/qemu-system-aarch64"
#define QEMU_MACHINE "virt"
#else
#define QEMU_PATH "/usr/bin/qemu-system-x86_64"
#define QEMU_MACHINE "q35"
#endif

static const struct config_profile profiles[] = {
	{"qemu", QEMU_PATH, 256, 64, .checked = true},
	{"fake", "", 256, 64},
	{"clh", "/usr/bin/cloud-hypervisor", 256, 64},
	{"dragonball", "", 256, 64},
	{"firecracker", "", 32, 128},
	{"openvmm", "", 256, 64},
	{"remote", "", 32, 64},
};

const struct config_profile *config_profile_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++)
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	return NULL;
}

static bool is_qemu(const struct config_load *l)
{
	return strcmp(l->hypervisor_name, "qemu") == 0;
}

static bool is_fake(const struct config_load *l)
{
	return strcmp(l->hypervisor_name, "fake") == 0;
}

static const struct config_key *hypervisor_key(const char *name)
{
	return config_key_find(SECTION_HYPERVISOR, name);
}

static int64_t integer(struct config_load *l, const char *name)
{
	return config_hypervisor_value(l, name)->integer;
}

static const char **string(struct config_load *l, const char *name)
{
	return &config_hypervisor_value(l, name)->string;
}

/* Fits a value to a bound; where it came from then says so. */
static void adjust(struct config_value *v, int64_t n)
{
	v->origin.adjusted |= v->integer != n;
	v->integer = n;
}

/* ---- Defaults ---------------------------------------------------------------------------------
 */

/* A preset that cannot be read is a mistake in keys.c, which its unit test finds. */
static void preset_value(struct config_load *l, const struct config_key *key)
{
	struct config_value *v = &l->values[config_key_index(key)];

	*v = (struct config_value){.origin.from = FROM_PRESET};
	if (key->type == TYPE_STRING)
		v->string = key->preset ? key->preset : "";
	else if (key->preset)
		(void)config_value_from_text(l, key, key->preset, v);
}

void config_preset_all(struct config_load *l)
{
	for (size_t i = 0; i < config_keys_count; i++)
		preset_value(l, &config_keys[i]);
}

/* An empty string and, for some numbers, 0 mean that the key is not set. */
static bool is_unset(const struct config_key *key, const struct config_value *v)
{
	switch (key->type) {
	case TYPE_STRING:
		return !v->string[0];
	case TYPE_U32:
	case TYPE_U64:
	case TYPE_I64:
		return (key->flags & KEY_ZERO) && v->integer == 0;
	case TYPE_NUMBER:
		return (key->flags & KEY_ZERO) && v->number == 0;
	case TYPE_BOOL:
	case TYPE_STRINGS:
	case TYPE_INTEGERS:
	case TYPE_TABLE:
	case TYPE_TABLES:
		break;
	}
	return false;
}

static bool is_choice(const char *choices, const char *s)
{
	size_t len = strlen(s);

	for (const char *c = choices; c; c = strchr(c, '|')) {
		c += *c == '|';
		if (strncmp(c, s, len) == 0 && (c[len] == '|' || c[len] == '\0'))
			return true;
	}
	return false;
}

/* What holds for a key by itself. */
static int check_key(struct config_load *l, const struct config_key *key)
{
	struct config_value *v = &l->values[config_key_index(key)];

	if (v->origin.from != FROM_PRESET && key->preset && is_unset(key, v))
		preset_value(l, key);
	if (key->type == TYPE_NUMBER && !isfinite(v->number))
		return config_refuse(l, key, "must be a finite number");
	if (key->type == TYPE_STRING && key->choices && v->string[0] &&
	    !is_choice(key->choices, v->string)) {
		_cleanup_buf_ struct buf rule = BUF_INIT;
		config_print_rule(&rule, key);
		return config_refuse(l, key, "%s", buf_failed(&rule) ? "is wrong" : rule.data);
	}
	return 0;
}

/* ---- Files ------------------------------------------------------------------------------------
 */

/* Resolves links now, so that a later change of them does not change a running pod. */
static int check_file(struct config_load *l, const struct config_key *key)
{
	struct config_value *v = &l->values[config_key_index(key)];
	char real[PATH_MAX];
	struct stat st;

	if (!v->string[0])
		return 0;
	if (!realpath(v->string, real) || stat(real, &st) < 0)
		return config_refuse(l, key, "the file must exist (%s)", strerror(errno));
	if (S_ISDIR(st.st_mode))
		return config_refuse(l, key, "must be a file, and is a directory");
	if ((key->flags & KEY_PROGRAM) && access(real, X_OK) < 0)
		return config_refuse(l, key, "must be executable");
	v->string = config_strndup(&l->arena, real, strlen(real));
	return v->string ? 0 : config_no_memory(l);
}

static bool uses_virtio_fs(struct config_load *l)
{
	return strcmp(*string(l, "shared_fs"), "virtio-fs") == 0;
}

static int check_files(struct config_load *l)
{
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *k = &config_keys[i];
		int r = 0;
		if (!(k->flags & (KEY_FILE | KEY_PROGRAM)))
			continue;
		if (strcmp(k->name, "virtio_fs_daemon") != 0 || uses_virtio_fs(l))
			r = check_file(l, k);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_boot(struct config_load *l)
{
	bool initrd = *string(l, "initrd")[0], image = *string(l, "image")[0];

	if (initrd && image) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		config_print_origin(&b, &config_hypervisor_value(l, "initrd")->origin);
		return config_refuse(l, hypervisor_key("image"),
				     "must not be set together with initrd (%s)",
				     buf_failed(&b) ? "set too" : b.data);
	}
	if (!l->profile->checked)
		return 0;
	if (!*string(l, "kernel")[0])
		return config_refuse(l, hypervisor_key("kernel"), "must be the guest's kernel");
	if (!initrd && !image)
		return config_refuse(l, hypervisor_key("initrd"),
				     "one of initrd and image must be set");
	return 0;
}

/* ---- Processors and memory --------------------------------------------------------------------
 */

static int check_cpus(struct config_load *l)
{
	struct config_value *vcpus = config_hypervisor_value(l, "default_vcpus");
	struct config_value *max = config_hypervisor_value(l, "default_maxvcpus");
	int64_t most =
		l->host->cpus < l->profile->max_vcpus ? l->host->cpus : l->profile->max_vcpus;

	if (vcpus->origin.from == FROM_ANNOTATION && vcpus->number > l->profile->max_vcpus)
		return config_refuse(l, hypervisor_key("default_vcpus"),
				     "must be at most %" PRIu32 " with %s", l->profile->max_vcpus,
				     l->hypervisor_name);
	if (max->integer == 0 || max->integer > most)
		adjust(max, most);
	/* Below 0 stands for all there are. */
	if (vcpus->number < 0 || vcpus->number > (double)max->integer) {
		vcpus->number = (double)max->integer;
		vcpus->origin.adjusted = true;
	}
	return 0;
}

static int check_memory(struct config_load *l)
{
	struct config_value *memory = config_hypervisor_value(l, "default_memory");
	struct config_value *max = config_hypervisor_value(l, "default_maxmemory");
	int64_t host = (int64_t)l->host->memory_mib;

	if (memory->integer < l->profile->min_memory_mib)
		return config_refuse(l, hypervisor_key("default_memory"),
				     "must be at least %" PRIu32 " (MiB) with %s",
				     l->profile->min_memory_mib, l->hypervisor_name);
	/* Not made to fit: a guest of half the asked size fails later, and for no visible reason.
	 */
	if (memory->integer > host)
		return config_refuse(l, hypervisor_key("default_memory"),
				     "must be at most this machine's memory, %" PRId64 " (MiB)",
				     host);
	if (max->integer == 0 || max->integer > host)
		adjust(max, host);
	if (max->integer < memory->integer)
		adjust(max, memory->integer);
	return 0;
}

/* ---- Devices ----------------------------------------------------------------------------------
 */

static int check_sector_size(struct config_load *l, const char *name)
{
	int64_t n = integer(l, name);
	if (n != 0 && (n < SECTOR_MIN || n > SECTOR_MAX || (n & (n - 1)) != 0))
		return config_refuse(l, hypervisor_key(name),
				     "must be 0 or a power of 2 from %d to %d", SECTOR_MIN,
				     SECTOR_MAX);
	return 0;
}

static int check_block(struct config_load *l)
{
	const char *logical = "block_device_logical_sector_size";
	const char *physical = "block_device_physical_sector_size";
	bool unused = config_hypervisor_value(l, "disable_block_device_use")->boolean;
	int r = check_sector_size(l, logical);

	if (r == 0)
		r = check_sector_size(l, physical);
	if (r < 0)
		return r;
	if (integer(l, physical) && integer(l, logical) > integer(l, physical))
		return config_refuse(l, hypervisor_key(logical),
				     "must not be larger than %s, which is %" PRId64, physical,
				     integer(l, physical));
	if (is_qemu(l) && !unused &&
	    strcmp(*string(l, "block_device_driver"), "virtio-blk-mmio") == 0)
		return config_refuse(l, hypervisor_key("block_device_driver"),
				     "qemu has no virtio-blk-mmio");
	if (config_hypervisor_value(l, "confidential_guest")->boolean &&
	    strcmp(*string(l, "vm_rootfs_driver"), "virtio-blk-mmio") == 0)
		return config_refuse(l, hypervisor_key("vm_rootfs_driver"),
				     "a confidential guest must not use virtio-blk-mmio");
	return 0;
}

static int check_buses(struct config_load *l)
{
	struct config_value *bridges = config_hypervisor_value(l, "default_bridges");
	struct config_value *queues = config_hypervisor_value(l, "network_queues");

	if (bridges->integer > BRIDGES_MAX)
		adjust(bridges, BRIDGES_MAX);
	if (queues->integer > NETWORK_QUEUES_MAX)
		adjust(queues, NETWORK_QUEUES_MAX);
	if (integer(l, "pcie_root_port") > 0 && integer(l, "pcie_switch_port") > 0)
		return config_refuse(l, hypervisor_key("pcie_root_port"),
				     "must be 0 where pcie_switch_port is set");
	return 0;
}

/* The value of "name=" in a comma-separated list, as a number above 0; -1 if it is none. */
static int64_t verity_number(const char *params, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = params; p; p = strchr(p, ',')) {
		p += *p == ',';
		p += strspn(p, " ");
		if (strncmp(p, name, len) != 0 || p[len] != '=')
			continue;
		char *end;
		const char *text = p + len + 1;
		errno = 0;
		long long n = strtoll(text, &end, 10);
		bool whole = end != text && (*end == '\0' || *end == ',' || *end == ' ');
		return whole && !errno && n > 0 ? n : -1;
	}
	return -1;
}

static bool verity_has(const char *params, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = params; p; p = strchr(p, ',')) {
		p += *p == ',';
		p += strspn(p, " ");
		if (strncmp(p, name, len) == 0 && p[len] == '=' && p[len + 1] && p[len + 1] != ',')
			return true;
	}
	return false;
}

static int check_verity(struct config_load *l)
{
	const char *params = *string(l, "kernel_verity_params");
	const struct config_key *key = hypervisor_key("kernel_verity_params");
	static const char *const sizes[] = {"data_block_size", "hash_block_size"};

	if (!params[strspn(params, " ")])
		return 0;
	if (!verity_has(params, "root_hash") || !verity_has(params, "salt"))
		return config_refuse(l, key, "must have root_hash= and salt=");
	if (verity_number(params, "data_blocks") < 0)
		return config_refuse(l, key, "data_blocks= must be a number above 0");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int64_t n = verity_number(params, sizes[i]);
		if (n < 0 || n % 512 != 0)
			return config_refuse(l, key, "%s= must be a multiple of 512 above 0",
					     sizes[i]);
	}
	return 0;
}

/* ---- The shared file system -------------------------------------------------------------------
 */

static int check_shared_fs(struct config_load *l)
{
	struct config_value *v = config_hypervisor_value(l, "shared_fs");

	/* As in the field: "" is virtio-fs, and no such key is none. check_key() left "". */
	if (!v->string[0])
		v->string = v->origin.from == FROM_PRESET ? "none" : "virtio-fs";
	if ((is_qemu(l) || is_fake(l)) && strcmp(v->string, "none") != 0 && !uses_virtio_fs(l))
		return config_refuse(l, hypervisor_key("shared_fs"),
				     "must be \"virtio-fs\" or \"none\" with %s",
				     l->hypervisor_name);
	if (is_qemu(l) && uses_virtio_fs(l) && !*string(l, "virtio_fs_daemon")[0])
		return config_refuse(
			l, hypervisor_key("virtio_fs_daemon"),
			"must be the virtio-fs server that shared_fs = \"virtio-fs\" needs");
	return 0;
}

static void adjust_virtio_fs(struct config_load *l)
{
	struct config_value *queue = config_hypervisor_value(l, "virtio_fs_queue_size");
	int64_t n = queue->integer;

	if (strcmp(*string(l, "virtio_fs_cache"), "none") == 0) {
		config_warn(l, "virtio_fs_cache = \"none\" is an old name of \"never\"");
		*string(l, "virtio_fs_cache") = "never";
	}
	if (n > VIRTIO_FS_QUEUE_MAX || (n & (n - 1)) != 0) {
		config_warn(l,
			    "virtio_fs_queue_size is %" PRId64
			    ": it must be a power of 2 up to %d, and the driver's default is used",
			    n, VIRTIO_FS_QUEUE_MAX);
		adjust(queue, 0);
	}
}

/* ---- Sections ---------------------------------------------------------------------------------
 */

/* A comma-separated list without the blanks around its items. */
static int tidy_list(struct config_load *l, const char **list)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	buf_puts(&b, "");
	for (const char *p = *list; *p; p++) {
		const char *next = p + strspn(p, " \t");
		bool edge = b.len == 0 || b.data[b.len - 1] == ',' || *next == ',' || !*next;
		if (edge)
			p = next;
		if (!*p)
			break;
		buf_append(&b, p, 1);
	}
	*list = buf_failed(&b) ? NULL : config_strndup(&l->arena, b.data, b.len);
	return *list ? 0 : config_no_memory(l);
}

/* A default that depends on the hypervisor. */
static void fill_in(struct config_load *l, const char *name, const char *preset)
{
	struct config_value *v = config_hypervisor_value(l, name);
	if (!v->string[0])
		*v = (struct config_value){.origin.from = FROM_PRESET, .string = preset};
}

static int check_for_qemu(struct config_load *l)
{
	if (*string(l, "jailer_path")[0])
		return config_refuse(l, hypervisor_key("jailer_path"),
				     "must be empty: qemu has no jailer");
	if (config_hypervisor_value(l, "valid_jailer_paths")->strings.n)
		return config_refuse(l, hypervisor_key("valid_jailer_paths"),
				     "must be empty: qemu has no jailer");
	if (config_hypervisor_value(l, "enable_guest_swap")->boolean)
		return config_refuse(l, hypervisor_key("enable_guest_swap"),
				     "must be false: qemu does not support it");
	fill_in(l, "machine_type", QEMU_MACHINE);
	return 0;
}

static int check_hypervisor(struct config_load *l)
{
	static int (*const checks[])(struct config_load * l) = {
		check_shared_fs, check_files, check_boot,  check_cpus,
		check_memory,	 check_block, check_buses, check_verity,
	};
	int r = is_qemu(l) ? check_for_qemu(l) : 0;

	fill_in(l, "path", l->profile->path);
	for (size_t i = 0; i < ARRAY_SIZE(checks) && r == 0; i++)
		r = checks[i](l);
	if (r == 0 && strlen(*string(l, "kernel_params")) >= CONFIG_KERNEL_PARAMS_MAX)
		r = config_refuse(l, hypervisor_key("kernel_params"),
				  "must have fewer than %d bytes", CONFIG_KERNEL_PARAMS_MAX);
	if (r == 0)
		r = tidy_list(l, string(l, "cpu_features"));
	if (r == 0)
		r = tidy_list(l, string(l, "machine_accelerators"));
	adjust_virtio_fs(l);
	return r;
}

static int check_agent(struct config_load *l)
{
	struct config_value *dial = config_value(l, SECTION_AGENT, "dial_timeout_ms");
	struct config_value *reconnect = config_value(l, SECTION_AGENT, "reconnect_timeout_ms");

	if (reconnect->integer < dial->integer)
		return config_refuse(l, config_key_find(SECTION_AGENT, "reconnect_timeout_ms"),
				     "must be at least dial_timeout_ms, which is %" PRId64,
				     dial->integer);
	if (!is_fake(l) && reconnect->integer < RECONNECT_TIMEOUT_MIN_MS)
		adjust(reconnect, RECONNECT_TIMEOUT_MIN_MS);
	return 0;
}

static int check_runtime(struct config_load *l)
{
	struct config_value *name = config_value(l, SECTION_RUNTIME, "name");
	const struct config_key *key = config_key_find(SECTION_RUNTIME, "name");

	if (!name->string[0])
		return config_refuse(
			l, key,
			"must be \"virt_container\" (a configuration of the Go runtime "
			"lacks it, and cannot be used)");
	/* The annotation has hyphens where the file has underscores. */
	char *plain = config_strndup(&l->arena, name->string, strlen(name->string));
	if (!plain)
		return config_no_memory(l);
	for (char *p = plain; (p = strchr(p, '-'));)
		*p = '_';
	if (!is_choice("virt_container|linux_container|wasm_container", plain))
		return config_refuse(l, key,
				     "must be \"virt_container\", \"linux_container\" or "
				     "\"wasm_container\"");
	name->string = plain;
	return 0;
}

int config_check(struct config_load *l)
{
	for (size_t i = 0; i < config_keys_count; i++) {
		int r = check_key(l, &config_keys[i]);
		if (r < 0)
			return r;
	}
	int r = check_runtime(l);
	if (r == 0)
		r = check_hypervisor(l);
	return r < 0 ? r : check_agent(l);
}
