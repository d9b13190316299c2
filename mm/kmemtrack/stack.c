// SPDX-License-Identifier: GPL-2.0
/*
 * Backtraces of allocations.
 *
 * The kernel's unwinder and its stack depot take more time than all the rest
 * of an allocation. Each CPU keeps the traces that it saw last, to recognise
 * them as trace.h says; the unwinder is asked for the others.
 *
 * A table is used by its own CPU, with interrupts off.
 */
#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/rcupdate.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>

#include "compat.h"
#include "glue.h"
#include "recent.h"

/* Frames of ours that may be on top of a backtrace. */
#define KMT_OWN_FRAMES	6

DEFINE_PER_CPU(struct kmt_recent, kmt_recent);
static DEFINE_PER_CPU(struct kmt_trace_set *, unused_sets);

/* Traces that were not recognised. */
atomic_long_t kmt_unwound;

/* Whether CPUs are to have tables; under cpus_read_lock(). */
static bool wanted;

/* The stack that @fp is on, with interrupts off; 0 if that is none of ours. */
static unsigned long stack_of(unsigned long fp)
{
	unsigned long lo = (unsigned long)task_stack_page(current), hi;

	if (likely(fp - lo < THREAD_SIZE))
		return lo;
	if (kmt_irq_stack(smp_processor_id(), &lo, &hi) && fp - lo < hi - lo)
		return lo;
	return 0;
}

/* The handle of the trace, if it was seen lately; else 0. */
static u32 find_trace(unsigned long fp)
{
	unsigned long stack, flags;
	u32 handle = 0;

	local_irq_save(flags);
	stack = stack_of(fp);
	if (likely(stack))
		kmt_find_trace(__this_cpu_read(kmt_recent.sets), stack, fp,
			       &handle);
	local_irq_restore(flags);
	return handle;
}

/* Keeps a trace for the next time. */
static void learn_trace(unsigned long fp, unsigned long *entries,
			unsigned int nr, u32 handle)
{
	unsigned long stack, flags, last;
	struct kmt_trace_set *sets;
	struct kmt_record second;
	/*
	 * The depot does so, too: what an interrupt came upon is left out. A
	 * task that none has come upon need not look for that.
	 */
	unsigned int kept = in_task() ? nr : filter_irq_stacks(entries, nr);

	if (!handle || !kmt_last_record(&last))
		return;
	local_irq_save(flags);
	stack = stack_of(fp);
	sets = __this_cpu_read(kmt_recent.sets);
	if (stack && sets && kmt_second_record(stack, fp, &second)) {
		struct kmt_trace_set *set = kmt_set_of(sets, fp - stack,
						       &second);
		struct kmt_trace *trace = set->way;

		/* What comes next is likely to be the same. */
		memmove(trace + 1, trace, (KMT_WAYS - 1) * sizeof(*trace));
		trace->handle = handle;
		if (!kmt_trace_take(trace, stack, stack + THREAD_SIZE, last,
				    fp, entries, kept, kept < nr))
			trace->at = 0;
	}
	local_irq_restore(flags);
}

/* Asks the kernel's unwinder. */
static noinline u32 save_trace(unsigned long fp, unsigned long caller,
			       gfp_t gfp)
{
	unsigned long entries[CONFIG_KMEMTRACK_STACK_DEPTH + KMT_OWN_FRAMES];
	unsigned int nr, skip;
	u32 handle;

	/* The depot needs the page allocator. */
	if (READ_ONCE(kmt_state) == KMT_EARLY)
		return 0;
	atomic_long_inc(&kmt_unwound);
	nr = stack_trace_save(entries, ARRAY_SIZE(entries), 1);
	for (skip = 0; skip < min_t(unsigned int, nr, KMT_OWN_FRAMES); skip++)
		if (entries[skip] == caller)
			break;
	/* Unwound in a way that does not show our caller: keep it all. */
	if (skip == min_t(unsigned int, nr, KMT_OWN_FRAMES))
		skip = 0;
	nr = min_t(unsigned int, nr - skip, CONFIG_KMEMTRACK_STACK_DEPTH);
	handle = stack_depot_save(entries + skip, nr, gfp);
	if (!handle)
		atomic_long_inc(&kmt_lost_traces);
	learn_trace(fp, entries + skip, nr, handle);
	return handle;
}

/**
 * kmt_stack_save - keep the current backtrace
 * @fp: frame record of the hook
 * @caller: return address of the hook; the frames above it are ours
 * @gfp: how memory may be got
 *
 * Context: any but NMI.
 * Return: its handle, or 0.
 */
u32 kmt_stack_save(unsigned long fp, unsigned long caller, gfp_t gfp)
{
	u32 handle = find_trace(fp);

	if (likely(handle))
		return handle;
	return save_trace(fp, caller, gfp);
}

/* Without memory for a table all traces of the CPU are the unwinder's. */
static int give_table(unsigned int cpu)
{
	struct kmt_trace_set **sets = per_cpu_ptr(&kmt_recent.sets, cpu);
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY;

	if (wanted && !*sets)
		WRITE_ONCE(*sets, kmt_own_alloc(gfp, KMT_TRACE_ORDER));
	return 0;
}

/**
 * kmt_traces_on - keep traces
 *
 * Context: kmt_scan_mutex held, may sleep; or early boot.
 */
void kmt_traces_on(void)
{
	unsigned int cpu;

	if (system_state == SYSTEM_BOOTING) {
		wanted = true;
		give_table(smp_processor_id());
		return;
	}
	cpus_read_lock();
	wanted = true;
	for_each_online_cpu(cpu)
		give_table(cpu);
	cpus_read_unlock();
}

/**
 * kmt_traces_off - give the memory of traces back
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_traces_off(void)
{
	unsigned int cpu;

	cpus_read_lock();
	wanted = false;
	for_each_possible_cpu(cpu) {
		struct kmt_trace_set **sets = per_cpu_ptr(&kmt_recent.sets, cpu);

		per_cpu(unused_sets, cpu) = *sets;
		WRITE_ONCE(*sets, NULL);
	}
	cpus_read_unlock();
	/* Who has found a table uses it with interrupts off. */
	synchronize_rcu();
	for_each_possible_cpu(cpu)
		kmt_own_free(per_cpu(unused_sets, cpu), KMT_TRACE_ORDER);
}

/* Before other CPUs come up. */
static int __init watch_cpus(void)
{
	int ret = cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "mm/kmemtrack:up",
				    give_table, NULL);

	return min(ret, 0);
}
early_initcall(watch_cpus);
