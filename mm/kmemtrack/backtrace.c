// SPDX-License-Identifier: GPL-2.0
/*
 * Backtraces of allocations, and how they are printed.
 *
 * The kernel's unwinder and its stack depot take more time than the rest of an
 * allocation. So each CPU remembers the traces that it saw last, and recognises them
 * (trace.h, step.h). Other traces are read from the stack where that is safe. The
 * unwinder takes the rest.
 *
 * Only its own CPU uses a table, with interrupts off.
 */
#include <linux/atomic.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/kallsyms.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>

#include "compat.h"
#include "glue.h"
#include "recent.h"

/*
 * Largest number of entries of the unwinder's trace to skip before the caller of the
 * hook: frames of the tracker, and of the unwinder itself if stack_trace_save() does
 * not leave them out.
 */
#define KMT_OWN_FRAMES	12

#define KMT_RECENT_ORDER	get_order(KMT_RECENT_CELLS * sizeof(struct kmt_object *))

DEFINE_PER_CPU(struct kmt_recent, kmt_recent);

/* Tables that were taken away from a CPU, and are about to be freed. */
static DEFINE_PER_CPU(struct kmt_trace_set *, unused_sets);
static DEFINE_PER_CPU(struct kmt_object **, unused_recent_cells);

/* Counters of traces that were not recognised: read from the stack, and unwound. */
atomic_long_t kmt_walked;
atomic_long_t kmt_unwound;

/* Whether CPUs get tables; protected by cpus_read_lock(). */
static bool wanted;

/* The stack of this task or CPU that @fp is on, or 0; interrupts are off. */
static unsigned long stack_of(unsigned long fp)
{
	unsigned long lo = (unsigned long)task_stack_page(current), hi;

	if (likely(fp - lo < THREAD_SIZE))
		return lo;
	if (kmt_irq_stack(smp_processor_id(), &lo, &hi) && fp - lo < hi - lo)
		return lo;
	return 0;
}

#if KMT_STEPS
/* Walks the current trace, which begins on @stack; interrupts are off. */
static bool walk_steps(struct kmt_walk *walk, unsigned long stack,
		       unsigned long fp)
{
	unsigned long task = (unsigned long)task_stack_page(current);
	struct kmt_range on = { stack, stack + THREAD_SIZE };
	struct kmt_range below = { task, task };

	/* @stack is that of interrupts, which was switched to from the task's. */
	if (stack != task)
		below.hi += THREAD_SIZE;
	return kmt_step_walk(walk, on, below, fp);
}

static struct kmt_trace_set *place_of(struct kmt_trace_set *sets,
				      const struct kmt_walk *walk)
{
	return &sets[reciprocal_scale(walk->hash, KMT_TRACE_SETS)];
}

/* As the inline version in recent.h, for steps. */
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

/* Walks the current trace; returns false if only the unwinder can take it. */
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
		 * The next trace is likely to be the same, so put this one first.
		 * Move the one that was first to one of the other places, almost
		 * at random.
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
 * Reads the trace of a task from its own stack. Returns false if this might differ
 * from the unwinder's trace.
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

/* Takes the trace with the unwinder. If it must not be remembered, @walk is empty. */
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
	/* The trace does not contain the caller of the hook: keep all of it. */
	if (skip == min_t(unsigned int, nr, KMT_OWN_FRAMES))
		skip = 0;
	entries += skip;
	nr = min_t(unsigned int, nr - skip, CONFIG_KMEMTRACK_STACK_DEPTH);
	handle = kmt_depot_save_any(entries, nr, gfp);
	if (!kmt_register_module_trace(&handle, entries, nr, gfp)) {
		walk->nr = 0;
		return handle;
	}
	/*
	 * As the depot does, leave out the frames that were interrupted. In task
	 * context there are none.
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
 * kmt_trace_save_new - save the current backtrace, which this CPU does not remember
 * @fp: frame record of the hook
 * @caller: return address of the hook, the first entry of the backtrace
 * @gfp: flags to allocate with; KMT_GFP_NONE: do not allocate
 *
 * Context: any but NMI.
 * Return: its handle, or 0.
 */
u32 kmt_trace_save_new(unsigned long fp, unsigned long caller, gfp_t gfp)
{
	struct kmt_walk walk __uninitialized;
	u32 handle;

	/* The depot needs the page allocator. */
	if (unlikely(READ_ONCE(kmt_mode) == KMT_EARLY))
		return 0;
	if (likely(walk_stack(&walk, fp))) {
		atomic_long_inc(&kmt_walked);
		handle = kmt_depot_save(walk.pc, walk.nr, gfp);
		if (!kmt_register_module_trace(&handle, walk.pc, walk.nr, gfp))
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
 * kmt_trace_save - save the current backtrace
 * @fp: frame record of the hook
 * @caller: return address of the hook, the first entry of the backtrace
 * @gfp: flags to allocate with; KMT_GFP_NONE: do not allocate
 *
 * Context: any but NMI.
 * Return: its handle, or 0.
 */
u32 kmt_trace_save(unsigned long fp, unsigned long caller, gfp_t gfp)
{
	unsigned long stack, flags;
	u32 handle = 0;

	local_irq_save(flags);
	stack = stack_of(fp);
	if (likely(stack))
		kmt_find_trace(__this_cpu_read(kmt_recent.sets), stack, fp, &handle);
	local_irq_restore(flags);
	return likely(handle) ? handle : kmt_trace_save_new(fp, caller, gfp);
}

/*
 * How often backtraces were replaced (handles.c). The handle of a backtrace through code that
 * is gone may come back for other code in its place: text that was made before is out of date.
 * Written by one task at a time, before the code is freed.
 */
unsigned long kmt_code_changes;

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

static noinline_for_stack void print_frame(struct seq_file *seq,
					   const char *indent, unsigned long pc)
{
	char text[KSYM_SYMBOL_LEN];
	const char *name = kmt_code_name(text, pc);

	if (seq)
		seq_printf(seq, "%s%s\n", indent, name);
	else	/* The level is a part of @indent. */
		_printk("%s%s\n", indent, name);
}

/**
 * kmt_print_frames - print a backtrace that is not in the stack depot
 * @seq: where to, NULL for the log
 * @indent: printed before each line; for the log it includes the level and the prefix
 * @entries: addresses
 * @nr: how many
 */
void kmt_print_frames(struct seq_file *seq, const char *indent,
		      const unsigned long *entries, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		print_frame(seq, indent, entries[i]);
}

/**
 * kmt_print_trace - print a backtrace
 * @seq: as for kmt_print_frames()
 * @indent: the same
 * @trace: its handle
 */
void kmt_print_trace(struct seq_file *seq, const char *indent, u32 trace)
{
	unsigned long *entries;
	unsigned int nr = stack_depot_fetch(trace, &entries);

	kmt_print_frames(seq, indent, entries, nr);
}

/*
 * Gives a CPU that is up, or is being brought up, its tables of cells and of traces.
 * Without memory for a table the CPU remembers none.
 */
static int give_table(unsigned int cpu)
{
	struct kmt_trace_set **sets = per_cpu_ptr(&kmt_recent.sets, cpu);
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY;

	if (!wanted)
		return 0;
	if (!kmt_has_recent_cells(&kmt_core, cpu))
		kmt_set_recent_cells(&kmt_core, cpu,
				     kmt_own_alloc(GFP_KERNEL | __GFP_ZERO,
						   KMT_RECENT_ORDER));
	if (KMT_TRACES_KNOWN && !*sets)
		/* Pairs with kmt_origin_recent() on @cpu: the table was zeroed before. */
		smp_store_release(sets, kmt_own_alloc(gfp, KMT_TRACE_ORDER));
	return 0;
}

/**
 * kmt_cpu_tables_alloc - let CPUs remember traces and cells
 *
 * Context: kmt_scan_mutex held, may sleep; or early boot.
 */
void kmt_cpu_tables_alloc(void)
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
 * kmt_cpu_tables_free - free the tables of traces and cells of all CPUs
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_cpu_tables_free(void)
{
	unsigned int cpu;

	cpus_read_lock();
	wanted = false;
	for_each_possible_cpu(cpu) {
		struct kmt_trace_set **sets = per_cpu_ptr(&kmt_recent.sets, cpu);

		per_cpu(unused_sets, cpu) = *sets;
		WRITE_ONCE(*sets, NULL);
		per_cpu(unused_recent_cells, cpu) =
			kmt_set_recent_cells(&kmt_core, cpu, NULL);
	}
	cpus_read_unlock();
	/* Wait for hooks that have found a table: they use it with interrupts off. */
	synchronize_rcu();
	for_each_possible_cpu(cpu) {
		kmt_own_free(per_cpu(unused_sets, cpu), KMT_TRACE_ORDER);
		kmt_own_free(per_cpu(unused_recent_cells, cpu), KMT_RECENT_ORDER);
	}
}

/* Before other CPUs come up. */
static int __init watch_cpus(void)
{
	int ret = cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "mm/kmemtrack:up",
				    give_table, NULL);

	return min(ret, 0);
}
early_initcall(watch_cpus);
