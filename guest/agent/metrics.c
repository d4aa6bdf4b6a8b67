/* SPDX-License-Identifier: Apache-2.0 */
/* GetMetrics: the agent and its machine in Prometheus' text format, from /proc. */
#include "guest/agent/agent.h"

#include "base/fd.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>

#define PROC_FILE_MAX (256 * 1024)

static const char *slurp(const char *path, struct buf *b)
{
	buf_clear(b);
	return file_read(AT_FDCWD, path, PROC_FILE_MAX, b) < 0 || !b->data ? "" : b->data;
}

static void head(struct buf *out, const char *name, const char *help)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

static void agent_itself(struct buf *out)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	static unsigned scrapes; /* loop thread */
	unsigned long long utime = 0, stime = 0, vsize = 0;
	long threads = 0, rss = 0;

	const char *at = strrchr(slurp("/proc/self/stat", &text), ')');
	if (at)
		(void)sscanf(at + 1,
			     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d "
			     "%*d %ld %*d %*u %llu %ld",
			     &utime, &stime, &threads, &vsize, &rss);
	head(out, "kata_agent_scrape_count", "Metrics scrape count.");
	buf_printf(out, "kata_agent_scrape_count %u\n", ++scrapes);
	head(out, "kata_agent_threads", "Threads of the agent.");
	buf_printf(out, "kata_agent_threads %ld\n", threads);
	head(out, "kata_agent_total_time", "Processor time of the agent, seconds.");
	buf_printf(out, "kata_agent_total_time %.2f\n",
		   (double)(utime + stime) / (double)sysconf(_SC_CLK_TCK));
	head(out, "kata_agent_total_vm", "Virtual memory of the agent, bytes.");
	buf_printf(out, "kata_agent_total_vm %llu\n", vsize);
	head(out, "kata_agent_total_rss", "Resident memory of the agent, bytes.");
	buf_printf(out, "kata_agent_total_rss %ld\n", rss * sysconf(_SC_PAGESIZE));
}

static void load(struct buf *out)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	double one, five, fifteen;

	if (sscanf(slurp("/proc/loadavg", &text), "%lf %lf %lf", &one, &five, &fifteen) != 3)
		return;
	head(out, "kata_guest_load", "Load of the guest.");
	buf_printf(out,
		   "kata_guest_load{item=\"load1\"} %.2f\nkata_guest_load{item=\"load5\"} %.2f\n"
		   "kata_guest_load{item=\"load15\"} %.2f\n",
		   one, five, fifteen);
}

/* "MemTotal:  1234 kB" becomes item="mem_total", as the original names it. */
static void snake_case(const char *from, size_t len, char *to, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n + 2 < size; i++) {
		unsigned char c = (unsigned char)from[i];
		if (isupper(c) && i > 0 && islower((unsigned char)from[i - 1]))
			to[n++] = '_';
		if (isalnum(c))
			to[n++] = (char)tolower(c);
		else if (n > 0 && to[n - 1] != '_' && i + 1 < len)
			to[n++] = '_';
	}
	to[n] = '\0';
}

static void meminfo(struct buf *out)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char item[64], *save = NULL;

	if (!*slurp("/proc/meminfo", &text))
		return;
	head(out, "kata_guest_meminfo", "Memory of the guest, bytes.");
	for (char *l = strtok_r(text.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(l, ':');
		if (!colon)
			continue;
		snake_case(l, (size_t)(colon - l), item, sizeof item);
		unsigned long long n = strtoull(colon + 1, NULL, 10);
		buf_printf(out, "kata_guest_meminfo{item=\"%s\"} %llu\n", item,
			   strstr(colon, " kB") ? n * 1024 : n);
	}
}

static void cpu_time(struct buf *out)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	static const char *const items[] = {"user", "nice",    "system", "idle",  "iowait",
					    "irq",  "softirq", "steal",	 "guest", "guest_nice"};
	unsigned long long v[10] = {0};

	if (sscanf(slurp("/proc/stat", &text),
		   "cpu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2],
		   &v[3], &v[4], &v[5], &v[6], &v[7], &v[8], &v[9]) < 4)
		return;
	head(out, "kata_guest_cpu_time", "Processor time of the guest, seconds.");
	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		buf_printf(out, "kata_guest_cpu_time{cpu=\"total\",item=\"%s\"} %.2f\n", items[i],
			   (double)v[i] / (double)sysconf(_SC_CLK_TCK));
}

void guest_metrics(void *ctx, struct rpc_call *call)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	Grpc__Metrics response = GRPC__METRICS__INIT;

	agent_itself(&out);
	load(&out);
	cpu_time(&out);
	meminfo(&out);
	if (buf_failed(&out)) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for metrics");
		return;
	}
	response.metrics = out.data;
	rpc_call_reply(call, &response.base);
}
