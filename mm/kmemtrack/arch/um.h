/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User-mode Linux. The kernel is a process of the host. It has no exception table, so
 * a read of unmapped memory would kill it. Reads outside of the linear map are
 * therefore checked first.
 */
#ifndef _KMT_ARCH_UM_H
#define _KMT_ARCH_UM_H

#include <linux/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/threads.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <asm/sections.h>
#include <asm/tlbflush.h>
#include <as-layout.h>

/*
 * Whether the page of @addr, in vmalloc space, can be read. Its entry in the page table
 * exists from before its block is tracked until after that is freed. But since 6.11
 * the kernel updates the host's mapping only when the first access faults. The fault
 * handler enables interrupts, while the caller may hold the lock of a tree. So this
 * updates the host's mapping before the access.
 */
static inline bool kmt_um_mapped(unsigned long addr)
{
	if (!vmalloc_to_page((void *)addr))
		return false;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	if (init_mm.context.sync_tlb_range_to)
		return !um_tlb_sync(&init_mm);
#endif
	return true;
}

/*
 * Whether @addr lies in the unmapped gap of the image: since 6.19 .bss holds stacks
 * that are aligned to their size, so .bss begins at such a multiple, not at
 * __bss_start.
 */
static __always_inline bool kmt_um_in_gap(unsigned long addr)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	return addr >= (unsigned long)__bss_start &&
	       addr < ALIGN((unsigned long)__bss_start, THREAD_SIZE);
#else
	return false;
#endif
}

/*
 * Whether the page of @addr can be read. The linear map consists of the image, an
 * unmapped gap up to the heap of the process, and the memory of the kernel.
 */
static __always_inline bool kmt_arch_mapped(unsigned long addr)
{
	if (likely(addr - uml_reserved <
		   (unsigned long)high_memory - uml_reserved))
		return true;
	if (is_vmalloc_or_module_addr((void *)addr))
		return kmt_um_mapped(addr);
	return addr >= (unsigned long)_text && addr < (unsigned long)_end &&
	       !kmt_um_in_gap(addr);
}

static __always_inline void kmt_env_one(unsigned long addr, unsigned long *a,
					unsigned int *bad)
{
	if (likely(kmt_arch_mapped(addr))) {
		*a = READ_ONCE_NOCHECK(*(unsigned long *)addr);
	} else {
		*a = 0;
		*bad = 1;
	}
}

/* The four words are in one page. */
static __always_inline void kmt_env_four(unsigned long addr, unsigned long *a,
					 unsigned long *b, unsigned long *c,
					 unsigned long *d, unsigned int *bad)
{
	const unsigned long *from = (const unsigned long *)addr;

	if (likely(kmt_arch_mapped(addr))) {
		*a = READ_ONCE_NOCHECK(from[0]);
		*b = READ_ONCE_NOCHECK(from[1]);
		*c = READ_ONCE_NOCHECK(from[2]);
		*d = READ_ONCE_NOCHECK(from[3]);
	} else {
		*a = 0;
		*b = 0;
		*c = 0;
		*d = 0;
		*bad = 1;
	}
}

#define KMT_READS_WORDS

/* Init memory is not freed. */
#define KMT_IMAGE_END		((unsigned long)_end)

#ifdef CONFIG_FRAME_POINTER
#define KMT_FRAME_RECORDS	1

/*
 * A new task jumps to its first function with the stack pointer one word below the end
 * of the stack. That function saves the frame pointer below that word.
 */
static inline unsigned long kmt_last_record(void)
{
	return (unsigned long)task_stack_page(current) + THREAD_SIZE -
	       2 * sizeof(long);
}

#define kmt_last_record	kmt_last_record
#endif

#define kmt_saved_sp(task)	KSTK_ESP(task)

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
extern char cpu_irqstacks[NR_CPUS][THREAD_SIZE];

static inline void *kmt_signal_stack(int cpu)
{
	return cpu_irqstacks[cpu];
}
#else
extern union thread_union cpu0_irqstack;

static inline void *kmt_signal_stack(int cpu)
{
	return &cpu0_irqstack;
}
#endif

/* The stack for signals of the host, which are this machine's interrupts. */
static inline bool kmt_irq_stack(int cpu, unsigned long *lo, unsigned long *hi)
{
	*lo = (unsigned long)kmt_signal_stack(cpu);
	*hi = *lo + THREAD_SIZE;
	return true;
}

#define kmt_irq_stack	kmt_irq_stack

#endif /* _KMT_ARCH_UM_H */
