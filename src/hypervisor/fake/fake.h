/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that is none: runs everything above the drivers without a VMM, and fails where it is
 * told. Its "VMM" is a real child process (`sleep`), so that its pid can be reported, watched and
 * killed like QEMU's; its guest agent is whatever listens on `fake_agent_socket`.
 *
 * `fake_script` is a list of items, separated by ';'. TEXT goes up to the next ';'.
 *
 *	create=fail:TEXT	hypervisor_new() fails with TEXT (FAILED_PRECONDITION)
 *	add-device=fail:TEXT	each hypervisor_add_device() fails (FAILED_PRECONDITION)
 *	start=fail:TEXT		start fails (INTERNAL), with nothing left behind
 *	start=delay:MS		start takes MS longer, or the deadline
 *	start=hang		start never gets anywhere: DEADLINE_EXCEEDED at the deadline
 *	start=exit:CODE		the VMM exits with CODE instead of coming up
 *	exit-after=MS[:CODE]	MS after its start the machine ends by itself: the VMM exits with
 *				CODE (default 0: "the guest powered off")
 *	stop=fail:TEXT		stop fails (INTERNAL); the machine runs on
 *	stop=delay:MS		stop takes MS longer
 *	power-off=MS		how long the guest takes to power off within a stop's grace
 *				(default 0); "never": it does not, and the grace runs out
 *	agent=fail:TEXT		hypervisor_agent_address() fails (FAILED_PRECONDITION)
 *	agent=hybrid		at fake_agent_socket is a muxer of guest ports, not the agent itself
 *	console=TEXT		what hypervisor_console_tail() gives
 *
 * Anything else is refused by hypervisor_new(). An empty script is a machine that works.
 */
#pragma once

#include "hypervisor/hypervisor.h"

extern const struct hypervisor_ops fake_hypervisor_ops;
