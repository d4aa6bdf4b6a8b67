/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetIPTables and SetIPTables: the guest's own tools do it. They may wait for each other and for
 * the kernel, so they have a strand of their own: the sandbox does not wait for them.
 */
#include "guest/agent/agent.h"
#include "guest/agent/network.h"

#include "base/fd.h"
#include "io/tool.h"

#include <string.h>

/* The tool waits 5 s for its lock; then it has to do its work. */
#define TOOL_TIMEOUT_MS 10000
#define TOOL_WAIT "--wait=5"
/* What fits an answer, with room for its head. */
#define TOOL_OUTPUT_MAX (RPC_DATA_MAX - 4096)

/* The tool of that kind, "save" or "restore", by the first name that it has here. */
static int find_tool(bool ipv6, const char *kind, char *ret, size_t size, struct err *e)
{
	static const char *const dirs[] = {"/usr/sbin", "/sbin"};
	static const char *const variants[] = {"", "nft-", "legacy-"};
	const char *family = ipv6 ? "ip6tables" : "iptables";

	for (size_t v = 0; v < ARRAY_SIZE(variants); v++)
		for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
			if (path_format(ret, size, "%s/%s-%s%s", dirs[i], family, variants[v],
					kind) == 0 &&
			    access(ret, X_OK) == 0)
				return 0;
	return err_status(e, STATUS_UNIMPLEMENTED, "this guest has no %s-%s", family, kind);
}

/* Runs "save" or "restore"; what it printed is @ret's. */
static int run_tool(bool ipv6, bool restore, const ProtobufCBinaryData *input, struct buf *ret,
		    struct err *e)
{
	char path[64];
	const char *argv[] = {path, restore ? TOOL_WAIT : NULL, NULL};
	const struct tool_spec spec = {.argv = argv,
				       .input = input ? input->data : NULL,
				       .input_len = input ? input->len : 0,
				       .output_max = TOOL_OUTPUT_MAX,
				       .timeout_ms = TOOL_TIMEOUT_MS};

	int r = find_tool(ipv6, restore ? "restore" : "save", path, sizeof path, e);
	return r < 0 ? r : tool_run(&spec, ret, e);
}

/* ---- The calls ---------------------------------------------------------------------------- */

static void start(struct agent *a, struct rpc_call *call, void (*work)(struct job *),
		  void (*done)(struct job *))
{
	int r = a->filter_strand ? 0 : strand_new(a->pool, &a->filter_strand);
	struct job *j = r == 0 ? job_new(a, call, NULL) : NULL;

	if (r < 0)
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
	if (!j)
		return;
	j->strand = a->filter_strand;
	job_start(j, work, done);
}

/* What a tool printed, kept in the job; NULL is as good as nothing. */
static void keep(struct job *j, struct buf *output)
{
	j->number = (int)output->len;
	j->result = output->data;
	*output = BUF_INIT;
}

static void get_work(struct job *j)
{
	const Grpc__GetIPTablesRequest *q = (const void *)rpc_call_request(j->call);
	_cleanup_buf_ struct buf output = BUF_INIT;

	j->r = run_tool(q->is_ipv6, false, NULL, &output, &j->e);
	keep(j, &output);
}

static void set_work(struct job *j)
{
	const Grpc__SetIPTablesRequest *q = (const void *)rpc_call_request(j->call);
	_cleanup_buf_ struct buf output = BUF_INIT;

	j->r = run_tool(q->is_ipv6, true, &q->data, &output, &j->e);
	keep(j, &output);
}

static void reply(struct job *j, ProtobufCMessage *m)
{
	if (j->r < 0) {
		log_error("%s: %s", rpc_call_method(j->call), err_text(&j->e, j->r));
		rpc_call_fail(j->call, &j->e);
	} else {
		rpc_call_reply(j->call, m);
	}
	free(j->result);
}

static void get_done(struct job *j)
{
	Grpc__GetIPTablesResponse response = GRPC__GET_IPTABLES_RESPONSE__INIT;

	response.data.data = j->result;
	response.data.len = (size_t)j->number;
	reply(j, &response.base);
}

static void set_done(struct job *j)
{
	Grpc__SetIPTablesResponse response = GRPC__SET_IPTABLES_RESPONSE__INIT;

	response.data.data = j->result;
	response.data.len = (size_t)j->number;
	reply(j, &response.base);
}

void network_get_iptables(void *ctx, struct rpc_call *call)
{
	start(ctx, call, get_work, get_done);
}

void network_set_iptables(void *ctx, struct rpc_call *call)
{
	start(ctx, call, set_work, set_done);
}
