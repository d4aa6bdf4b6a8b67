/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest kernel's command line. Measured as in argv.c: cryptomgr.notests is worth 0.5 s of 2.5,
 * noreplace-smp with the rest 0.3. no_timer_check and tsc=reliable are for robustness too: on a
 * host that steals time, calibration against another clock fails. mitigations=off gains nothing.
 */
#include "hypervisor/qemu/argv.h"

#include <string.h>

/* COMMAND_LINE_SIZE of x86 (arch/x86/include/asm/setup.h) with its NUL. */
#define CMDLINE_MAX 2047

static const char base_params[] =
	"reboot=k panic=1 console=ttyS0 8250.nr_uarts=1 cryptomgr.notests "
	"rcupdate.rcu_expedited=1 noreplace-smp no_timer_check tsc=reliable "
	"i8042.noaux i8042.nomux i8042.nopnp";

int qemu_kernel_cmdline(const struct kata_config *config, const char *agent_params, char **ret,
			struct err *e)
{
	const struct agent_config *agent = &config->agent;
	const struct hypervisor_config *hv = &config->hypervisor;
	struct buf b = BUF_INIT;

	buf_puts(&b, base_params);
	if (!hv->enable_debug)
		buf_puts(&b, " quiet");
	buf_printf(&b, " agent.log_vport=%u", agent->log_port ? agent->log_port : 1025);
	if (agent_params && agent_params[0])
		buf_printf(&b, " %s", agent_params);
	if (hv->kernel_params[0])
		buf_printf(&b, " %s", hv->kernel_params);

	size_t len = b.len;
	char *text = buf_take(&b);
	if (!text)
		return err_errno(e, -ENOMEM, "build the kernel command line");
	if (len > CMDLINE_MAX) {
		free(text);
		return err_set(e, -EINVAL,
			       "kernel_params: the guest's whole command line would be %zu bytes, "
			       "but its kernel keeps %d",
			       len, CMDLINE_MAX);
	}
	*ret = text;
	return 0;
}
