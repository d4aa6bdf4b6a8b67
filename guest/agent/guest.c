/* SPDX-License-Identifier: Apache-2.0 */
/* Calls about the machine itself: what it is, its processors, memory, clock and randomness. */
#include "guest/agent/agent.h"

#include "base/fd.h"
#include "rpc/forward.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#define MEMORY_DIR "/sys/devices/system/memory"

/* Far more than a generator can be seeded with. */
#define SEED_MAX 4096

/* Sorted. early-wait: process.c; bulk-io: stream.h; list-processes: container.c; oom-first: oom.c;
 * port-forward: forward.h; signal-all: process.c; stdio-stream: passfd.h. */
static const char *const features[] = {"bulk-io",     "early-wait",	     "list-processes",
				       "oom-first",   AGENT_FORWARD_FEATURE, "signal-all",
				       "stdio-stream"};

static size_t count(const char *const *v)
{
	size_t n = 0;
	while (v[n])
		n++;
	return n;
}

static bool has_feature(const struct agent *a, const char *name)
{
	if (strcmp(name, AGENT_FORWARD_FEATURE) == 0)
		return a->forward;
	return a->passfd || strcmp(name, "stdio-stream") != 0;
}

/* What this agent can do here. Returns the number of words. */
static size_t list_features(const struct agent *a, const char *ret[static ARRAY_SIZE(features)])
{
	size_t n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (has_feature(a, features[i]))
			ret[n++] = features[i];
	return n;
}

void guest_details(void *ctx, struct rpc_call *call)
{
	const struct agent *a = ctx;
	const Grpc__GuestDetailsRequest *q = (const void *)rpc_call_request(call);
	Grpc__GuestDetailsResponse response = GRPC__GUEST_DETAILS_RESPONSE__INIT;
	Grpc__AgentDetails details = GRPC__AGENT_DETAILS__INIT;
	_cleanup_buf_ struct buf text = BUF_INIT;
	const char *can[ARRAY_SIZE(features)];

	details.version = (char *)AGENT_VERSION;
	details.init_daemon = a->is_init;
	details.supports_seccomp = true;
	details.storage_handlers = (char **)storage_drivers;
	details.n_storage_handlers = count(storage_drivers);
	details.extra_features = (char **)can;
	details.n_extra_features = list_features(a, can);
	response.agent_details = &details;
	/* a kernel without memory hotplug has no such file, which means 0 */
	if (q->mem_block_size &&
	    file_read(AT_FDCWD, MEMORY_DIR "/block_size_bytes", 64, &text) == 0 && text.data)
		response.mem_block_size_bytes = strtoull(text.data, NULL, 16);
	if (q->mem_hotplug_probe)
		response.support_mem_hotplug_probe = access(MEMORY_DIR "/probe", F_OK) == 0;
	rpc_call_reply(call, &response.base);
}

/* ---- Randomness, clock -------------------------------------------------------------------- */

static int reseed(const void *data, size_t len, struct err *e)
{
	union {
		struct rand_pool_info info;
		uint8_t room[sizeof(struct rand_pool_info) + SEED_MAX];
	} seed;

	if (len == 0 || len > SEED_MAX)
		return err_set(e, -EINVAL, "a seed of %zu bytes: not 1 to %d", len, SEED_MAX);
	_cleanup_close_ int fd = open("/dev/random", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "open /dev/random");
	seed.info.entropy_count = (int)len * 8;
	seed.info.buf_size = (int)len;
	memcpy(seed.info.buf, data, len);
	int r = ioctl(fd, RNDADDENTROPY, &seed) < 0 ? -errno : 0;
	explicit_bzero(&seed, sizeof seed);
	if (r < 0)
		return err_errno(e, r, "add randomness");
	/* without it two clones of a machine go on with equal numbers for minutes */
	if (ioctl(fd, RNDRESEEDCRNG, 0) < 0)
		return err_errno(e, -errno, "reseed the random generator");
	return 0;
}

void guest_reseed(void *ctx, struct rpc_call *call)
{
	const Grpc__ReseedRandomDevRequest *q = (const void *)rpc_call_request(call);
	struct err e = ERR_INIT;

	if (reseed(q->data.data, q->data.len, &e) < 0)
		rpc_call_fail(call, &e);
	else
		reply_empty(call);
}

void guest_set_time(void *ctx, struct rpc_call *call)
{
	const Grpc__SetGuestDateTimeRequest *q = (const void *)rpc_call_request(call);
	const struct timeval tv = {.tv_sec = (time_t)q->sec, .tv_usec = (suseconds_t)q->usec};

	if (q->sec < 0 || q->usec < 0 || q->usec >= 1000000)
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT,
			       "time %" PRIi64 " s %" PRIi64 " us is out of range", q->sec,
			       q->usec);
	else if (settimeofday(&tv, NULL) < 0)
		rpc_call_failf(call, STATUS_INTERNAL, "set the clock: %s", strerror(errno));
	else
		reply_empty(call);
}
