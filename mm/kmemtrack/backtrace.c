// SPDX-License-Identifier: GPL-2.0
/*
 * Backtraces of allocations.
 *
 * The kernel's unwinder and its stack depot take more time than all the rest
 * of an allocation. Each CPU keeps the traces that it saw last, to recognise
 * them as trace.h or step.h say; others are read from the stack where that is
 * safe to do, and the unwinder is asked for what remains.
 *
 * A table is used by its own CPU, with interrupts off.
 */
#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/kallsyms.h>
#include <linux/rcupdate.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>

#include "compat.h"
#include "glue.h"
#include "recent.h"

/*
 * Entries of the unwinder's trace that are skipped at most, in search of the
 * caller of the hook: frames of the tracker, and of the unwinder itself where
 * stack_trace_save() does not leave them out.
 */
#define KMT_OWN_FRAMES	12

DEFINE_PER_CPU(struct kmt_recent, kmt_recent);
static DEFINE_PER_CPU(struct kmt_trace_set *, unused_sets);

/* Traces that were not recognised: read from the stack, or unwound. */
atomic_long_t kmt_walked;
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

/* The handle of the trace, if this CPU saw it lately; else 0. */
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

#if KMT_STEPS
/* Walks a trace on @stack, with interrupts off. */
static bool walk_steps(struct kmt_walk *walk, unsigned long stack,
		       unsigned long fp)
{
	unsigned long task = (unsigned long)task_stack_page(current);
	struct kmt_span on = { stack, stack + THREAD_SIZE };
	struct kmt_span below = { task, task };

	/* That of interrupts was switched to from the task's. */
	if (stack != task)
		below.hi += THREAD_SIZE;
	return kmt_step_walk(walk, on, below, fp);
}

static struct kmt_trace_set *place_of(struct kmt_trace_set *sets,
				      const struct kmt_walk *walk)
{
	return &sets[reciprocal_scale(walk->hash, KMT_TRACE_SETS)];
}

/* As in recent.h for frame records. */
bool kmt_find_trace(struct kmt_trace_set *sets, unsigned long stack,
		    unsigned long fp, u32 *handle)
{
	struct kmt_walk walk __uninitialized;
	const struct kmt_trace_set *set;
	unsigned int i;

	if (unlikely(!sets) || !walk_steps(&walk, stack, fp))
		return false;
	set = place_of(sets, &walk);
	if (set->walk.hash != walk.hash || set->walk.nr != walk.nr)
		return false;
	for (i = 0; i < walk.nr; i++)
		if (set->walk.pc[i] != walk.pc[i])
			return false;
	*handle = set->handle;
	return true;
}

/* Keeps a trace for the next time. */
static void learn_trace(unsigned long fp, const struct kmt_walk *walk,
			u32 handle)
{
	struct kmt_trace_set *sets, *set;
	unsigned long flags;

	local_irq_save(flags);
	sets = __this_cpu_read(kmt_recent.sets);
	if (sets) {
		set = place_of(sets, walk);
		set->handle = handle;
		set->walk.hash = walk->hash;
		set->walk.nr = walk->nr;
		memcpy(set->walk.pc, walk->pc, walk->nr * sizeof(*walk->pc));
	}
	local_irq_restore(flags);
}

/* Walks the current trace. False where only the unwinder can tell it. */
static bool walk_stack(struct kmt_walk *walk, unsigned long fp)
{
	unsigned long stack, flags;
	bool ret;

	local_irq_save(flags);
	stack = stack_of(fp);
	ret = stack && walk_steps(walk, stack, fp);
	local_irq_restore(flags);
	return ret;
}
#else
/* Keeps a trace for the next time. */
static void learn_trace(unsigned long fp, const struct kmt_walk *walk,
			u32 handle)
{
	const long walked = atomic_long_read(&kmt_walked);
	struct kmt_record second;
	struct kmt_trace_set *set;
	unsigned long stack, flags;

	local_irq_save(flags);
	stack = stack_of(fp);
	set = __this_cpu_read(kmt_recent.sets);
	if (stack && set && kmt_second_record(stack, fp, &second)) {
		set = kmt_set_of(set, fp - stack, &second);
		/*
		 * What comes next is likely to be the same: it is first. What
		 * was goes to one of the other places, as chance has it.
		 */
		static_assert(KMT_WAYS == 3);
		if (set->way[0].at)
			kmt_trace_copy(&set->way[1 + (walked & 1)],
				       &set->way[0]);
		kmt_trace_learn(&set->way[0], stack, fp, walk->nr, handle);
	}
	local_irq_restore(flags);
}

/*
 * Reads the trace of a task from its own stack, as the unwinder would. False
 * where it cannot be known to come to the same.
 */
static bool walk_stack(struct kmt_walk *walk, unsigned long fp)
{
	unsigned long stack = (unsigned long)task_stack_page(current);

	return KMT_FRAME_RECORDS && in_task() && fp - stack < THREAD_SIZE &&
	       kmt_true_returns() &&
	       kmt_trace_walk(walk, stack, stack + THREAD_SIZE,
			      kmt_last_record(), fp,
			      CONFIG_KMEMTRACK_STACK_DEPTH);
}
#endif

/* Asks the kernel's unwinder. Of what cannot be learned @walk has no frames. */
static noinline u32 unwind(struct kmt_walk *walk, unsigned long fp,
			   unsigned long caller, gfp_t gfp)
{
	unsigned long all[CONFIG_KMEMTRACK_STACK_DEPTH + KMT_OWN_FRAMES];
	unsigned long *entries = all, stack, flags;
	unsigned int nr, skip, kept;
	u32 handle;

	nr = stack_trace_save(all, ARRAY_SIZE(all), 1);
	for (skip = 0; skip < min_t(unsigned int, nr, KMT_OWN_FRAMES); skip++)
		if (all[skip] == caller)
			break;
	/* Unwound in a way that does not show our caller: keep it all. */
	if (skip == min_t(unsigned int, nr, KMT_OWN_FRAMES))
		skip = 0;
	entries += skip;
	nr = min_t(unsigned int, nr - skip, CONFIG_KMEMTRACK_STACK_DEPTH);
	handle = kmt_depot_save_any(entries, nr, gfp);
	if (!kmt_note_module_trace(&handle, entries, nr, gfp)) {
		walk->nr = 0;
		return handle;
	}
	/*
	 * The depot does so, too: what an interrupt came upon is left out. A
	 * task that none has come upon need not look for that.
	 */
	kept = in_task() ? nr : filter_irq_stacks(entries, nr);
	local_irq_save(flags);
	stack = stack_of(fp);
	if (!KMT_FRAME_RECORDS || !stack ||
	    !kmt_trace_check(walk, stack, stack + THREAD_SIZE,
			     kmt_last_record(), fp, entries, kept, kept < nr))
		walk->nr = 0;
	local_irq_restore(flags);
	return handle;
}

/**
 * kmt_stack_save_new - keep the current backtrace, which this CPU does not know
 * @fp: frame record of the hook
 * @caller: return address of the hook; the frames above it are ours
 * @gfp: how memory may be got; KMT_GFP_NONE if none may
 *
 * Context: any but NMI.
 * Return: its handle, or 0.
 */
u32 kmt_stack_save_new(unsigned long fp, unsigned long caller, gfp_t gfp)
{
	struct kmt_walk walk __uninitialized;
	u32 handle;

	/* The depot needs the page allocator. */
	if (unlikely(READ_ONCE(kmt_mode) == KMT_EARLY))
		return 0;
	if (likely(walk_stack(&walk, fp))) {
		atomic_long_inc(&kmt_walked);
		handle = kmt_depot_save(walk.pc, walk.nr, gfp);
		if (!kmt_note_module_trace(&handle, walk.pc, walk.nr, gfp))
			walk.nr = 0;
	} else {
		atomic_long_inc(&kmt_unwound);
		handle = unwind(&walk, fp, caller, gfp);
	}
	if (unlikely(!handle))
		atomic_long_inc(&kmt_lost_traces);
	else if (walk.nr)
		learn_trace(fp, &walk, handle);
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
	return kmt_stack_save_new(fp, caller, gfp);
}

/**
 * kmt_code_name - the name of an address in a backtrace
 * @text: room for it: KSYM_SYMBOL_LEN bytes
 * @pc: address
 *
 * Context: any but NMI.
 * Return: symbol and offset, in @text or of code that is gone.
 */
const char *kmt_code_name(char *text, unsigned long pc)
{
	const char *gone = kmt_gone_name(pc);

	if (gone)
		return gone;
	snprintf(text, KSYM_SYMBOL_LEN, "%pS", (void *)pc);
	return text;
}

/*
 * What a CPU that comes up, or is, remembers. Without memory for a table, or
 * where traces are not recognised, all traces of the CPU are new.
 */
static int give_table(unsigned int cpu)
{
	struct kmt_trace_set **sets = per_cpu_ptr(&kmt_recent.sets, cpu);
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY;

	if (!wanted)
		return 0;
	kmt_remember_cells(cpu);
	if (KMT_TRACES_KNOWN && !*sets)
		WRITE_ONCE(*sets, kmt_own_alloc(gfp, KMT_TRACE_ORDER));
	return 0;
}

/**
 * kmt_traces_on - keep traces, and let the CPUs that are up remember cells
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
	/* A hook that has found a table uses it with interrupts off. */
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
