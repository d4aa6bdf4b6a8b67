/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has to be there before anything is served, since it may change or forbid what is served:
 * extension images, the policy, initdata, the components of a confidential guest. Most guests have
 * none of them, and pay for none.
 */
#include "base/fd.h"
#include "guest/agent/agent.h"
#include "guest/agent/components.h"
#include "guest/agent/extension.h"
#include "guest/agent/initdata.h"

#include <fcntl.h>
#include <string.h>

#define COMPONENTS_DIR "/usr/local/bin"

/* With a policy that cannot be read nothing is allowed, not even to say so: better no agent. */
static int load_policy(struct agent *a, struct err *e)
{
	bool asked = a->options.policy_file[0];
	const char *path = asked ? a->options.policy_file : POLICY_FILE;

	if (policy_new(&a->policy) < 0)
		return err_set(e, -ENOMEM, "no memory for the policy");
	int r = policy_load_file(a->policy, path, e);
	if (r == -ENOENT && !asked)
		return 0;
	if (r == 0)
		log_info("the policy %s is in force", path);
	return r;
}

/* Disks of files that what follows may be on. Nothing where the command line names none. */
static int mount_extensions(struct agent *a, struct err *e)
{
	_cleanup_buf_ struct buf cmdline = BUF_INIT;
	struct extensions x;

	int r = file_read(AT_FDCWD, "/proc/cmdline", AGENT_CMDLINE_MAX, &cmdline);
	if (r < 0)
		return err_errno(e, r, "read the kernel's command line");
	r = extensions_parse(cmdline.data ? cmdline.data : "", &x, e);
	if (r < 0 || x.n == 0)
		return r;
	if (modules_load_present(a->modules, NULL, e) < 0)
		log_error("%s", e->text);
	return extensions_mount(&x, a->modules, a->options.hotplug_timeout_s * 1000ULL, e);
}

/* Before anything is served: it may forbid it. Needs the disks, so the modules do not wait. */
static int load_initdata(struct agent *a, struct err *e)
{
	const struct initdata_places places = {
		.dev = "/dev", .parser = INITDATA_PARSER, .dir = INITDATA_DIR};

	if (access(INITDATA_PARSER, X_OK) < 0)
		return 0; /* an image for pods without */
	if (modules_load_present(a->modules, NULL, e) < 0)
		log_error("%s", e->text);
	return initdata_load(&places, a->policy, e);
}

/* Before anything is served, since they may be needed for it; most images have none. */
static int start_components(struct agent *a, struct err *e)
{
	struct agent_options *o = &a->options;
	const struct component_settings s = {
		.level = (enum component_level)o->components_level,
		.rest_api = agent_rest_apis[o->rest_api],
		.variant = getenv("KATA_ATTESTER_VARIANT"),
		.timeout_s = o->launch_process_timeout_s,
		.initdata = access(INITDATA_DIR "/initdata.toml", F_OK) == 0,
		.extension = COMPONENTS_EXTENSION,
		.programs = COMPONENTS_DIR,
		.run = COMPONENTS_RUN,
		.parser = INITDATA_PARSER};
	struct component_plan plan;

	int r = component_plan_make(&s, &plan, e);
	if (r == 0 && plan.pause_bundle && !o->pause_bundle[0])
		r = path_format(o->pause_bundle, sizeof o->pause_bundle, "%s", plan.pause_bundle);
	if (r == 0)
		r = components_start(&plan, o->components_level != COMPONENTS_DEFAULT,
				     o->https_proxy, o->no_proxy, &a->components, e);
	component_plan_free(&plan);
	return r;
}

int prepare(struct agent *a, struct err *e)
{
	int r = a->is_init ? mount_extensions(a, e) : 0;
	if (r == 0)
		r = load_policy(a, e);
	if (r == 0 && a->is_init)
		r = load_initdata(a, e);
	if (r == 0)
		r = start_components(a, e);
	return r;
}
