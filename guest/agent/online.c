/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/online.h"

#include "base/fd.h"
#include "guest/agent/agent.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/swap.h>

/* As long as the field's agent waits for processors that are being plugged in. */
#define PROCESSORS_TIMEOUT_MS 5000
/* A terabyte of the smallest blocks (128 MiB). */
#define PROBE_MAX 8192
/* With a hundred lines far above the kernel's MAX_SWAPFILES. */
#define SWAPS_BYTES_MAX (64 * 1024)

/* ---- Processors, memory ------------------------------------------------------------------- */

/* Writes 1 to <dir>/<name>/online if that says 0. 0: it is online, also where there is no such
 * file (the first processor). */
static int online_one(int dir, const char *name)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[NAME_MAX + 16];

	(void)snprintf(path, sizeof path, "%s/online", name);
	int r = file_read(dir, path, 16, &text);
	if (r == -ENOENT || (r == 0 && text.data && text.data[0] == '1'))
		return 0;
	return r < 0 ? r : file_write(dir, path, "1");
}

/* Goes through <dir>/<prefix>N. Returns how many are online; @ret_failed (NAME_MAX + 1 bytes) is
 * the first that is not, with the reason in @ret_r. */
static unsigned online_all(const char *sysfs, const char *kind, const char *prefix,
			   char *ret_failed, int *ret_r)
{
	char path[PATH_MAX];
	unsigned online = 0;
	size_t len = strlen(prefix);

	*ret_r = 0;
	(void)snprintf(path, sizeof path, "%s/devices/system/%s", sysfs, kind);
	DIR *d = opendir(path);
	if (!d)
		return 0;
	for (struct dirent *de; (de = readdir(d));) {
		if (strncmp(de->d_name, prefix, len) != 0 ||
		    !isdigit((unsigned char)de->d_name[len]))
			continue;
		int r = online_one(dirfd(d), de->d_name);
		online += r == 0;
		if (r < 0)
			log_debug("%s/%s: %s", path, de->d_name, strerror(-r));
		if (r < 0 && *ret_r == 0) {
			*ret_r = r;
			(void)snprintf(ret_failed, NAME_MAX + 1, "%s", de->d_name);
		}
	}
	(void)closedir(d);
	return online;
}

unsigned online_processors(const char *sysfs)
{
	char failed[NAME_MAX + 1];
	int r;

	return online_all(sysfs, "cpu", "cpu", failed, &r);
}

int online_memory(const char *sysfs, struct err *e)
{
	char failed[NAME_MAX + 1] = "";
	int r;

	(void)online_all(sysfs, "memory", "memory", failed, &r);
	/* unplugged since it was listed */
	if (r == -ENODEV || r == -ENOENT)
		r = 0;
	return r < 0 ? err_errno(e, r, "bring %s online", failed) : 0;
}

static int online_look(struct job *j, struct err *e)
{
	const Grpc__OnlineCPUMemRequest *q = (const void *)rpc_call_request(j->call);

	int r = q->cpu_only ? 0 : online_memory("/sys", e);
	if (r < 0)
		return r;
	unsigned online = online_processors("/sys");
	if (online < q->nb_cpus)
		return err_set(e, -EAGAIN, "%u processors are online, %" PRIu32 " are wanted",
			       online, q->nb_cpus);
	return 0;
}

static void online_ready(struct job *j)
{
	if (j->r == -ENODEV) {
		struct err e = j->e;
		j->r = err_status(&j->e, STATUS_DEADLINE_EXCEEDED, "%s", e.text);
	}
	job_finish(j, job_reply_empty);
}

void online_cpu_mem(void *ctx, struct rpc_call *call)
{
	static const struct hotplug_want want = {.look = online_look,
						 .kinds = UEVENT_CPU | UEVENT_MEMORY,
						 .timeout_ms = PROCESSORS_TIMEOUT_MS};
	struct job *j = job_new(ctx, call, NULL);
	if (j)
		hotplug_wait(j, &want, online_ready);
}

/* ---- MemHotplugByProbe -------------------------------------------------------------------- */

int online_probe(const char *sysfs, const uint64_t *addresses, size_t n, struct err *e)
{
	char path[PATH_MAX], text[32];

	if (n > PROBE_MAX)
		return err_set(e, -E2BIG, "%zu blocks of memory: more than %d", n, PROBE_MAX);
	(void)snprintf(path, sizeof path, "%s/devices/system/memory/probe", sysfs);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(text, sizeof text, "0x%" PRIX64, addresses[i]);
		int r = file_write(AT_FDCWD, path, text);
		if (r == -ENOENT)
			return err_status(e, STATUS_UNIMPLEMENTED,
					  "the guest's kernel cannot be told of memory (%s)", path);
		if (r < 0 && r != -EEXIST)
			return err_errno(e, r, "add memory at %s", text);
	}
	return 0;
}

static void probe_work(struct job *j)
{
	const Grpc__MemHotplugByProbeRequest *q = (const void *)rpc_call_request(j->call);
	j->r = online_probe("/sys", q->memhotplugprobeaddr, q->n_memhotplugprobeaddr, &j->e);
}

void online_mem_by_probe(void *ctx, struct rpc_call *call)
{
	struct job *j = job_new(ctx, call, NULL);
	if (j)
		job_start(j, probe_work, job_reply_empty);
}

/* ---- Swap --------------------------------------------------------------------------------- */

/* Whether /proc/swaps has a line of that file. */
static bool swaps_to(const char *path)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char *save = NULL;
	size_t len = strlen(path);

	if (file_read(AT_FDCWD, "/proc/swaps", SWAPS_BYTES_MAX, &text) < 0 || !text.data)
		return false;
	for (char *l = strtok_r(text.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (strncmp(l, path, len) == 0 && (l[len] == ' ' || l[len] == '\t'))
			return true;
	return false;
}

int online_swap(const char *path, struct err *e)
{
	if (swapon(path, 0) == 0) {
		log_info("swapping to %s", path);
		return 0;
	}
	int r = -errno;
	if (r == -EBUSY && swaps_to(path))
		return 0;
	if (r == -EINVAL)
		return err_set(e, r, "%s is not made for swapping (mkswap)", path);
	return err_errno(e, r, "swap to %s", path);
}

static int slots_to_path(const Grpc__AddSwapRequest *q, char ret[64], struct err *e)
{
	struct pci_path p;
	char *to = ret;

	int r = pci_path_from_slots(q->pcipath, q->n_pcipath, &p, e);
	for (size_t i = 0; r == 0 && i < q->n_pcipath; i++)
		to += sprintf(to, "%s%02" PRIx32, i ? "/" : "", q->pcipath[i]);
	return r;
}

static int swap_look_pci(struct job *j, struct device_block *ret, struct err *e)
{
	char path[64];

	int r = slots_to_path((const void *)rpc_call_request(j->call), path, e);
	return r < 0 ? r : devices_look_block(j->agent->devices, "blk", path, ret, e);
}

static int add_swap_look(struct job *j, struct err *e)
{
	struct device_block found;
	return swap_look_pci(j, &found, e);
}

static void add_swap_work(struct job *j)
{
	struct device_block found;

	j->r = swap_look_pci(j, &found, &j->e);
	if (j->r == 0)
		j->r = online_swap(found.path, &j->e);
}

static void add_swap_ready(struct job *j)
{
	if (j->r < 0)
		job_finish(j, job_reply_empty);
	else
		job_start(j, add_swap_work, job_reply_empty);
}

static void wait_for_swap(struct agent *a, struct rpc_call *call,
			  int (*look)(struct job *j, struct err *e), void (*ready)(struct job *j))
{
	const struct hotplug_want want = {.look = look,
					  .kinds = UEVENT_BLOCK | UEVENT_PCI,
					  .timeout_ms = a->options.hotplug_timeout_s * 1000ULL};
	struct job *j = job_new(a, call, NULL);
	if (j)
		hotplug_wait(j, &want, ready);
}

void online_add_swap(void *ctx, struct rpc_call *call)
{
	wait_for_swap(ctx, call, add_swap_look, add_swap_ready);
}

/* A device may be on its way; a file is there or not. */
static int swap_path_look(struct job *j, struct err *e)
{
	const Grpc__AddSwapPathRequest *q = (const void *)rpc_call_request(j->call);
	struct device_block found;

	if (q->path[0] != '/')
		return err_set(e, -EINVAL, "swap path \"%.80s\" is not absolute", q->path);
	if (strncmp(q->path, "/dev/", 5) != 0)
		return 0;
	return devices_look_block(j->agent->devices, "mmioblk", q->path, &found, e);
}

static void swap_path_work(struct job *j)
{
	const Grpc__AddSwapPathRequest *q = (const void *)rpc_call_request(j->call);
	j->r = online_swap(q->path, &j->e);
}

static void swap_path_ready(struct job *j)
{
	if (j->r < 0)
		job_finish(j, job_reply_empty);
	else
		job_start(j, swap_path_work, job_reply_empty);
}

void online_add_swap_path(void *ctx, struct rpc_call *call)
{
	wait_for_swap(ctx, call, swap_path_look, swap_path_ready);
}
