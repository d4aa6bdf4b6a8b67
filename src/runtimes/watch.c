/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "runtimes/internal.h"

#include "proto/health.pb-c.h"

/* The field's interval, and how it follows from a timeout shorter than the usual 90 s. */
#define HEALTH_INTERVAL_MAX_MS 30000
#define HEALTH_INTERVAL_MIN_MS 100
#define HEALTH_TIMEOUTS_PER_INTERVAL 3
/* An agent that answers, if only with a failure, is not given up at once. */
#define HEALTH_FAILURES_MAX 3

/* After a failure: doubled from the first to the last. */
#define OOM_RETRY_FIRST_MS 1000
#define OOM_RETRY_LAST_MS 60000
/* Events in a row as fast as they come; then one a pause. A guest must not keep its host busy. */
#define OOM_BURST 32
#define OOM_PAUSE_MS 1000

struct watch {
	struct runtime *rt;
	bool stopped;

	struct loop_timer *oom_timer;
	bool oom_asked; /* GetOOMEvent is on its way */
	uint64_t oom_retry_ms;
	unsigned oom_burst;
	uint64_t oom_burst_since;

	struct loop_timer *health_timer;
	uint64_t interval_ms, timeout_ms;
	uint64_t replies; /* of the agent, when last looked at */
	unsigned failures;
};

static struct agent *agent_of(const struct watch *w)
{
	return sandbox_agent(w->rt->sandbox);
}

/* ---- Out of memory --------------------------------------------------------------------------- */

static void ask_oom(void *arg);

static void retry_oom(struct watch *w, const char *why)
{
	log_debug("GetOOMEvent: %s; again in %llu ms", why, (unsigned long long)w->oom_retry_ms);
	loop_timer_start(w->oom_timer, w->oom_retry_ms);
	w->oom_retry_ms *= 2;
	if (w->oom_retry_ms > OOM_RETRY_LAST_MS)
		w->oom_retry_ms = OOM_RETRY_LAST_MS;
}

static void tell_oom(struct watch *w, const char *id)
{
	struct container *c = runtime_find(w->rt, id, NULL);

	if (!c || c->init->status == TASK_CREATING) {
		log_debug("a container that is not here ran out of memory");
		return;
	}
	log_warn("container %s ran out of memory", c->res.id);
	c->oom = true;
	container_ref(c);
	runtime_emit(w->rt, TASK_EVENT_OOM, c->init);
	process_tell_held(c->init);
	container_unref(c);
}

static bool burst_is_over(struct watch *w)
{
	uint64_t now = time_now_ms();

	if (now - w->oom_burst_since > OOM_PAUSE_MS) {
		w->oom_burst_since = now;
		w->oom_burst = 0;
	}
	return ++w->oom_burst > OOM_BURST;
}

/* The field's agent says NOT_FOUND of a method that it has not. */
static bool is_missing(const struct err *e)
{
	return e->status == STATUS_UNIMPLEMENTED || e->status == STATUS_NOT_FOUND;
}

static void on_oom(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct watch *w = arg;

	w->oom_asked = false;
	if (r == 0 && !w->stopped)
		tell_oom(w, ((const Grpc__OOMEvent *)response)->container_id);
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	if (w->stopped)
		return;
	if (r < 0 && is_missing(e)) {
		log_info("the agent does not tell of containers out of memory");
	} else if (r < 0) {
		retry_oom(w, err_text(e, r));
	} else if (burst_is_over(w)) {
		loop_timer_start(w->oom_timer, OOM_PAUSE_MS);
	} else {
		w->oom_retry_ms = OOM_RETRY_FIRST_MS;
		ask_oom(w);
	}
}

static void ask_oom(void *arg)
{
	struct watch *w = arg;
	struct err e = ERR_INIT;
	Grpc__GetOOMEventRequest req = GRPC__GET_OOMEVENT_REQUEST__INIT;

	w->oom_asked = true;
	int r = agent_start(agent_of(w), "GetOOMEvent", &req.base, 0, on_oom, w, &e);
	if (r < 0) {
		w->oom_asked = false;
		retry_oom(w, e.text);
	}
}

bool watch_hears_of_oom(const struct watch *w)
{
	return w && w->oom_asked;
}

/* ---- Health ---------------------------------------------------------------------------------- */

static void next_interval(struct watch *w)
{
	w->replies = agent_replies(agent_of(w));
	loop_timer_start(w->health_timer, w->interval_ms);
}

static int judge(int r, const ProtobufCMessage *response, struct err *e)
{
	const Grpc__HealthCheckResponse *health = (const Grpc__HealthCheckResponse *)response;

	if (r == 0 && health->status != GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
		return err_set(e, -EIO, "the guest's agent says that it does not serve");
	return r;
}

static void on_checked(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct watch *w = arg;
	struct err outcome = e ? *e : ERR_INIT;
	char reason[128];

	r = judge(r, response, &outcome);
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	if (w->stopped)
		return;
	if (r == 0) {
		w->failures = 0;
		next_interval(w);
		return;
	}
	log_warn("health check: %s", err_text(&outcome, r));
	if (outcome.status == STATUS_DEADLINE_EXCEEDED)
		(void)snprintf(reason, sizeof reason,
			       "the guest's agent did not answer a health check within %llu ms",
			       (unsigned long long)w->timeout_ms);
	else if (++w->failures >= HEALTH_FAILURES_MAX)
		(void)snprintf(reason, sizeof reason, "the guest's agent failed %d health checks",
			       HEALTH_FAILURES_MAX);
	else {
		next_interval(w);
		return;
	}
	sandbox_abandon(w->rt->sandbox, reason);
}

static void on_interval(void *arg)
{
	struct watch *w = arg;
	struct err e = ERR_INIT;

	if (agent_replies(agent_of(w)) != w->replies) {
		w->failures = 0;
		next_interval(w);
		return;
	}
	int r = agent_start_check(agent_of(w), w->timeout_ms, on_checked, w, &e);
	if (r < 0)
		on_checked(w, r, NULL, &e);
}

static uint64_t interval_of(uint64_t timeout_ms)
{
	uint64_t ms = timeout_ms / HEALTH_TIMEOUTS_PER_INTERVAL;

	if (ms > HEALTH_INTERVAL_MAX_MS)
		return HEALTH_INTERVAL_MAX_MS;
	return ms < HEALTH_INTERVAL_MIN_MS ? HEALTH_INTERVAL_MIN_MS : ms;
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

void watch_start(struct runtime *rt)
{
	struct watch *w = calloc(1, sizeof *w);

	if (!w || loop_timer_new(rt->params.loop, ask_oom, w, &w->oom_timer) < 0 ||
	    loop_timer_new(rt->params.loop, on_interval, w, &w->health_timer) < 0) {
		log_warn("out of memory: the guest's agent is not watched");
		watch_free(w);
		return;
	}
	w->rt = rt;
	w->timeout_ms = sandbox_config(rt->sandbox)->agent.health_check_request_timeout_ms;
	w->interval_ms = interval_of(w->timeout_ms);
	w->oom_retry_ms = OOM_RETRY_FIRST_MS;
	rt->watch = w;
	ask_oom(w);
	next_interval(w);
}

void watch_stop(struct watch *w)
{
	if (!w)
		return;
	w->stopped = true;
	loop_timer_stop(w->oom_timer);
	loop_timer_stop(w->health_timer);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	loop_timer_free(w->oom_timer);
	loop_timer_free(w->health_timer);
	free(w);
}
