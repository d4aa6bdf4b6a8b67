/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent is told: by the kernel command line, then by its environment, which wins.
 *
 * The command line is the host's. A bad value is reported and the default stays: the first process
 * of a machine cannot afford to give up over a parameter.
 */
#pragma once

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENT_PORT 1024 /* the runtime's default for the agent's services */

/* The kernel's COMMAND_LINE_SIZE is 2048 on x86 and arm64; a longer text is cut. */
#define AGENT_CMDLINE_MAX 8192

/* The longest value of one, and its end. */
#define AGENT_OPTION_MAX 1024

struct agent_options {
	enum log_level log_level;
	char server_addr[128]; /* vsock://CID:PORT (CID -1: any) or unix://PATH (@: abstract) */
	uint32_t log_vport;    /* 0: log to the console */
	uint32_t pipe_size;    /* of a process' stdio, bytes; 0: the agent chooses */
	/* limits of time, in seconds */
	uint32_t hotplug_timeout_s;	   /* a device appears */
	uint32_t cdh_api_timeout_s;	   /* the confidential data hub answers */
	uint32_t image_pull_timeout_s;	   /* it has pulled an image */
	uint32_t cdi_timeout_s;		   /* a CDI specification appears */
	uint32_t launch_process_timeout_s; /* a guest component has started */
	bool secure_storage_integrity;	   /* encrypted disks are checked for changes */
	bool cgroup_no_v1;		   /* cgroup_no_v1=all */
	bool unified_cgroups;		   /* systemd.unified_cgroup_hierarchy */
	char state_dir[128];		   /* environment only, for tests */
	char cgroup_root[128];		   /* environment only, for tests; "" finds it */
	char config_file[128];		   /* "": the kernel's command line is all */
	char policy_file[128];		   /* "": POLICY_FILE, if it is there */

	bool debug_console, devmode;  /* a shell for whoever connects */
	uint32_t debug_console_vport; /* 0: the shell is on the machine's console */
	uint32_t passfd_vport;	      /* where the host opens streams for stdio; 0: nowhere */

	/* Where ports are asked for; environment only, for tests; "": agent_options_forward(). */
	char forward_addr[128];
	uint32_t components_level;	      /* enum component_level (component-plan.h) */
	uint32_t rest_api;		      /* index of agent_rest_apis */
	char https_proxy[256], no_proxy[512]; /* of the components; "": none */

	char cdh_addr[108], pause_bundle[128];	  /* environment only, for tests; "": the usual */
	char passfd_addr[128], console_addr[128]; /* environment only, for tests */
};

/** What agent.guest_components_rest_api may be. */
extern const char *const agent_rest_apis[];

void agent_options_default(struct agent_options *o);

/** Receives one complaint about a parameter. */
typedef void (*agent_options_warn)(void *ctx, const char *text);

/** Reads a kernel command line; @warn may be NULL. */
void agent_options_parse(struct agent_options *o, const char *cmdline, agent_options_warn warn,
			 void *ctx);

/** Sets one option by its key in a configuration file (guest/agent/config-file.h). */
void agent_options_set(struct agent_options *o, const char *key, const char *value,
		       agent_options_warn warn, void *ctx);

/** KATA_AGENT_SERVER_ADDR, _FORWARD_ADDR, _PASSFD_ADDR, _CONSOLE_ADDR, _LOG_LEVEL, _STATE_DIR,
 * _CGROUP_ROOT, _POLICY_FILE, _CDH_ADDR, _PAUSE_BUNDLE. */
void agent_options_environment(struct agent_options *o, agent_options_warn warn, void *ctx);

/**
 * The address to serve forwarded ports at: forward_addr if it is set; else port AGENT_FORWARD_PORT
 * (rpc/forward.h) where the agent itself is on a vsock; else NULL: they are not served.
 */
const char *agent_options_forward(const struct agent_options *o);
