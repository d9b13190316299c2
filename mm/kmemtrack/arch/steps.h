/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Return addresses at which a walk by steps stops, on all architectures.
 */
#ifndef _KMT_ARCH_STEPS_H
#define _KMT_ARCH_STEPS_H

#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/rethook.h>
#include <linux/stacktrace.h>

/* Whether @pc is an address that tracers put in place of a return address. */
static inline bool kmt_is_tracer(unsigned long pc)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	if (pc == (unsigned long)return_to_handler)
		return true;
#endif
#ifdef CONFIG_RETHOOK
	if (is_rethook_trampoline(pc))
		return true;
#endif
#ifdef CONFIG_KRETPROBES
	if (is_kretprobe_trampoline(pc))
		return true;
#endif
	return false;
}

/* Whether the stack depot cuts a trace after @pc, since it is in interrupt entry. */
static inline bool kmt_is_cut(unsigned long pc)
{
	unsigned long trace[2] = { pc, 0 };

	return filter_irq_stacks(trace, 2) == 1;
}

#endif /* _KMT_ARCH_STEPS_H */
