/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between the kernels this builds on, and the little that depends
 * on the architecture. Nothing else asks for either.
 */
#ifndef _KMT_COMPAT_H
#define _KMT_COMPAT_H

#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/kasan.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/processor.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/shrinker.h>
#include <linux/stackdepot.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

#include "env.h"

/* How to allocate for an allocation with @gfp: no harder than it tries. */
static inline gfp_t kmt_nested_gfp(gfp_t gfp)
{
	return (gfp & (GFP_KERNEL | GFP_ATOMIC)) |
	       __GFP_NORETRY | __GFP_NOMEMALLOC | __GFP_NOWARN;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
#define kmt_splice_read	copy_splice_read
#else
#define kmt_splice_read	generic_file_splice_read
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
static inline int
kmt_register_shrinker(const char *name,
		      unsigned long (*count)(struct shrinker *s,
					     struct shrink_control *sc),
		      unsigned long (*scan)(struct shrinker *s,
					    struct shrink_control *sc))
{
	struct shrinker *shrinker = shrinker_alloc(0, "%s", name);

	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker_register(shrinker);
	return 0;
}
#else
static inline int
kmt_register_shrinker(const char *name,
		      unsigned long (*count)(struct shrinker *s,
					     struct shrink_control *sc),
		      unsigned long (*scan)(struct shrinker *s,
					    struct shrink_control *sc))
{
	static struct shrinker shrinker = { .seeks = DEFAULT_SEEKS };

	shrinker.count_objects = count;
	shrinker.scan_objects = scan;
	return register_shrinker(&shrinker, "%s", name);
}
#endif

/*
 * KASAN keeps freed objects from being used again for a while; for SLUB they
 * are not free yet. Its marks of them are known to nobody else.
 */
static inline bool kmt_in_quarantine(unsigned long object)
{
#ifdef CONFIG_KASAN_GENERIC
	u8 mark = *(u8 *)kasan_mem_to_shadow((void *)object);

	return mark == 0xfa || mark == 0xfb;
#else
	return false;
#endif
}

/* Linear-map addresses, now and after memory hotplug. */
static inline void kmt_linear_map(unsigned long *lo, unsigned long *hi)
{
	*lo = PAGE_OFFSET;
#if defined(CONFIG_ARM64)
	*hi = PAGE_END;
#elif defined(CONFIG_X86_64)
	*hi = VMALLOC_START;
#else
	*hi = (unsigned long)high_memory;
#endif
}

/*
 * Where there is no page, there is none up to the next multiple of the first;
 * where there is one, there are pages up to the next multiple of the second.
 */
#ifdef CONFIG_SPARSEMEM
#define KMT_HOLE_PAGES	PAGES_PER_SECTION
#define KMT_PAGES_ALIKE	min(pageblock_nr_pages, PAGES_PER_SUBSECTION)
#else
#define KMT_HOLE_PAGES	1UL
#define KMT_PAGES_ALIKE	pageblock_nr_pages
#endif

/* Pages of each entry in the @index-th list of free pages of a CPU, as order. */
static inline unsigned int kmt_pcp_order(unsigned int index)
{
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	if (index >= NR_LOWORDER_PCP_LISTS)
		return HPAGE_PMD_ORDER;
#endif
	return index / MIGRATE_PCPTYPES;
}

/* Stack pointer of a task that does not run; 0 if it cannot be told. */
static inline unsigned long kmt_saved_sp(struct task_struct *task)
{
#if defined(CONFIG_ARM64) || defined(CONFIG_ARM)
	return thread_saved_sp(task);
#elif defined(CONFIG_X86)
	return task->thread.sp;
#else
	return 0;
#endif
}

/*
 * Where the current task's trace ends: the address of its last frame record.
 * False where functions leave no records as trace.h wants them.
 */
static inline bool kmt_last_record(unsigned long *addr)
{
#if defined(CONFIG_ARM64)
	*addr = (unsigned long)task_pt_regs(current)->stackframe;
	return true;
#elif defined(CONFIG_X86_64) && defined(CONFIG_UNWINDER_FRAME_POINTER)
	/* Right below the registers that entry code saved. */
	*addr = (unsigned long)task_pt_regs(current) - 2 * sizeof(long);
	return true;
#else
	*addr = 0;
	return false;
#endif
}

/* Keeps a trace that was taken outside of interrupts, and has none in it. */
static inline depot_stack_handle_t
kmt_depot_save(unsigned long *entries, unsigned int nr, gfp_t gfp)
{
#ifdef STACK_DEPOT_FLAG_NO_IRQ
	return stack_depot_save_flags(entries, nr, gfp,
				      STACK_DEPOT_FLAG_CAN_ALLOC |
				      STACK_DEPOT_FLAG_NO_IRQ);
#else
	return stack_depot_save(entries, nr, gfp);
#endif
}

/*
 * Whether the return addresses on the current task's stack are what they were:
 * no tracer has put its own in place of one.
 */
static inline bool kmt_true_returns(void)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	if (current->ret_stack)
		return false;
#endif
#ifdef CONFIG_KRETPROBES
	if (current->kretprobe_instances.first)
		return false;
#endif
#ifdef CONFIG_RETHOOK
	if (current->rethooks.first)
		return false;
#endif
	return true;
}

#if defined(CONFIG_ARM64)
DECLARE_PER_CPU(unsigned long *, irq_stack_ptr);
#elif defined(CONFIG_X86_64) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define kmt_hardirq_stack_ptr(cpu)	per_cpu(hardirq_stack_ptr, cpu)
#elif defined(CONFIG_X86_64)
#define kmt_hardirq_stack_ptr(cpu)	per_cpu(pcpu_hot.hardirq_stack_ptr, cpu)
#endif
#if defined(CONFIG_X86_64)
DECLARE_PER_CPU_PAGE_ALIGNED(struct irq_stack, irq_stack_backing_store);
#endif

/*
 * The stack on which @cpu takes interrupts. What is on it is dead, but for the
 * time of an interrupt.
 */
static inline bool kmt_irq_stack(int cpu, unsigned long *lo, unsigned long *hi)
{
#if defined(CONFIG_ARM64)
	*lo = (unsigned long)per_cpu(irq_stack_ptr, cpu);
	*hi = *lo + IRQ_STACK_SIZE;
	return *lo;
#elif defined(CONFIG_X86_64)
	/* The last word is left free. */
	*hi = (unsigned long)kmt_hardirq_stack_ptr(cpu) + sizeof(long);
	*lo = *hi - IRQ_STACK_SIZE;
	return *hi != sizeof(long);
#else
	*lo = *hi = 0;
	return false;
#endif
}

/* The per-CPU section's part that is that stack, wherever it is mapped to. */
static inline void kmt_irq_stack_memory(int cpu, unsigned long *lo,
					unsigned long *hi)
{
#if defined(CONFIG_X86_64)
	*lo = (unsigned long)per_cpu_ptr(&irq_stack_backing_store, cpu);
	*hi = *lo + IRQ_STACK_SIZE;
#else
	kmt_irq_stack(cpu, lo, hi);
#endif
}

#endif /* _KMT_COMPAT_H */
