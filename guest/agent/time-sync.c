/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/time-sync.h"

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <linux/ptp_clock.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timex.h>
#include <time.h>

#define CLOCK_NAME "KVM virtual PTP"
/* A machine has one or two. */
#define CLOCKS_MAX 8

struct time_sync {
	const struct time_sync_ops *ops;
	void *arg;
	int fd; /* of the PTP clock, or -EBADF */
	struct loop_timer *timer;
	uint64_t interval_ms;
	bool failing;
};

/* ---- KVM's clock --------------------------------------------------------------------------- */

static int64_t to_ns(const struct ptp_clock_time *t)
{
	return t->sec * 1000000000ll + t->nsec;
}

static int kvm_offset(void *arg, int64_t *ret_ns)
{
	const struct time_sync *t = arg;
	struct ptp_sys_offset_precise p = {.rsv = {0}};

	if (ioctl(t->fd, PTP_SYS_OFFSET_PRECISE, &p) < 0)
		return -errno;
	*ret_ns = to_ns(&p.device) - to_ns(&p.sys_realtime);
	return 0;
}

/* adjtime(3)'s way: the kernel makes up for it at 500 ppm. */
static int kernel_slew(void *arg, int64_t ns)
{
	struct timex x = {.modes = ADJ_OFFSET_SINGLESHOT, .offset = ns / 1000};
	return adjtimex(&x) < 0 ? -errno : 0;
}

static int kernel_step(void *arg, int64_t ns)
{
	struct timex x = {.modes = ADJ_SETOFFSET | ADJ_NANO,
			  .time = {.tv_sec = ns / 1000000000ll, .tv_usec = ns % 1000000000ll}};

	if (x.time.tv_usec < 0) { /* the kernel wants it positive */
		x.time.tv_sec--;
		x.time.tv_usec += 1000000000ll;
	}
	return adjtimex(&x) < 0 ? -errno : 0;
}

static const struct time_sync_ops kvm_ops = {kvm_offset, kernel_slew, kernel_step};

static bool file_has(const char *path, const char *word)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	return file_read(AT_FDCWD, path, 4096, &text) == 0 && text.data && strstr(text.data, word);
}

bool time_sync_possible(void)
{
	return file_has("/sys/devices/system/clocksource/clocksource0/available_clocksource",
			"kvm-clock");
}

static int open_clock(void)
{
	char path[64];

	for (int i = 0; i < CLOCKS_MAX; i++) {
		(void)snprintf(path, sizeof path, "/sys/class/ptp/ptp%d/clock_name", i);
		if (!file_has(path, CLOCK_NAME))
			continue;
		(void)snprintf(path, sizeof path, "/dev/ptp%d", i);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	return -ENODEV;
}

/* ---- Following it -------------------------------------------------------------------------- */

/* Said once, not every time. */
static void note_failure(struct time_sync *t, const char *what, int r)
{
	if (r < 0 && !t->failing)
		log_warn("%s: %s", what, strerror(-r));
	t->failing = r < 0;
}

static void adjust(struct time_sync *t, int64_t ns)
{
	const int64_t distance = ns < 0 ? -ns : ns;

	if (distance > TIME_SYNC_STEP_NS) {
		note_failure(t, "step the clock", t->ops->step(t->arg, ns));
		log_info("the clock was %lld ms off, and is set", (long long)(ns / 1000000));
	} else if (distance > TIME_SYNC_IGNORED_NS) {
		note_failure(t, "slew the clock", t->ops->slew(t->arg, ns));
	}
	if (distance > TIME_SYNC_GOOD_NS)
		t->interval_ms = TIME_SYNC_MIN_MS;
	else if (t->interval_ms < TIME_SYNC_MAX_MS)
		t->interval_ms *= 2;
}

uint64_t time_sync_look(struct time_sync *t)
{
	int64_t ns;

	int r = t->ops->offset(t->arg, &ns);
	note_failure(t, "read the host's clock", r);
	if (r == 0)
		adjust(t, ns);
	else
		t->interval_ms = TIME_SYNC_MAX_MS;
	return t->interval_ms;
}

static void on_timer(void *arg)
{
	struct time_sync *t = arg;
	loop_timer_start(t->timer, time_sync_look(t));
}

int time_sync_new_with(struct loop *loop, const struct time_sync_ops *ops, void *arg,
		       struct time_sync **ret)
{
	struct time_sync *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->ops = ops;
	t->arg = arg ? arg : t;
	t->fd = -EBADF;
	t->interval_ms = TIME_SYNC_MIN_MS;
	int r = loop_timer_new(loop, on_timer, t, &t->timer);
	if (r < 0) {
		time_sync_free(t);
		return r;
	}
	loop_timer_start(t->timer, 0);
	*ret = t;
	return 0;
}

int time_sync_new(struct loop *loop, struct time_sync **ret, struct err *e)
{
	_cleanup_close_ int fd = open_clock();
	if (fd < 0)
		return err_errno(e, fd, "open the clock \"" CLOCK_NAME "\"");
	int r = time_sync_new_with(loop, &kvm_ops, NULL, ret);
	if (r < 0)
		return err_errno(e, r, "follow the host's clock");
	(*ret)->fd = TAKE_FD(fd);
	return 0;
}

void time_sync_free(struct time_sync *t)
{
	if (!t)
		return;
	loop_timer_free(t->timer);
	t->fd = close_fd(t->fd);
	free(t);
}
