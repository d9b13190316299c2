/* SPDX-License-Identifier: GPL-2.0 */
/*
 * x86: reads that survive a fault, frame records, the stack of interrupts, freed .bss.
 */
#ifndef _KMT_ARCH_X86_H
#define _KMT_ARCH_X86_H

#include <linux/percpu.h>
#include <linux/sched/task_stack.h>
#include <linux/version.h>
#include <asm/asm.h>
#include <asm/cpu_entry_area.h>
#include <asm/mem_encrypt.h>
#include <asm/processor.h>

#ifdef CONFIG_X86_64
/* A fault at @insn sets [bad] and continues at label 9. */
#define KMT_MAY_FAULT(insn)						\
	_ASM_EXTABLE_TYPE_REG(insn, 9b, EX_TYPE_EFAULT_REG, "%[bad]")

static __always_inline void kmt_env_one(unsigned long addr, unsigned long *a,
					unsigned int *bad)
{
	asm volatile("1: movq (%2), %0\n"
		     "9:\n"
		     KMT_MAY_FAULT(1b)
		     : "=r" (*a), [bad] "+r" (*bad) : "r" (addr));
}

static __always_inline void kmt_env_four(unsigned long addr, unsigned long *a,
					 unsigned long *b, unsigned long *c,
					 unsigned long *d, unsigned int *bad)
{
	asm volatile("1: movq (%5), %0\n"
		     "2: movq 8(%5), %1\n"
		     "3: movq 16(%5), %2\n"
		     "4: movq 24(%5), %3\n"
		     "9:\n"
		     KMT_MAY_FAULT(1b)
		     KMT_MAY_FAULT(2b)
		     KMT_MAY_FAULT(3b)
		     KMT_MAY_FAULT(4b)
		     : "=&r" (*a), "=&r" (*b), "=&r" (*c), "=&r" (*d),
		       [bad] "+r" (*bad)
		     : "r" (addr));
}

#define KMT_READS_WORDS
#define KMT_LEAST_ADDRESS	TASK_SIZE_MAX
#define KMT_LINEAR_END		VMALLOC_START
#endif /* CONFIG_X86_64 */

/*
 * The last record on a task's stack is that of the first function, which returns to
 * entry code.
 */
#define KMT_LAST_RETURNS	1

#if defined(CONFIG_X86_64) && defined(CONFIG_UNWINDER_FRAME_POINTER)
#define KMT_FRAME_RECORDS	1

/* Right below the registers that entry code saved. */
static inline unsigned long kmt_last_record(void)
{
	return (unsigned long)task_pt_regs(current) - 2 * sizeof(long);
}

#define kmt_last_record	kmt_last_record
#endif

#if defined(CONFIG_X86_64) && defined(CONFIG_UNWINDER_ORC)
#include <asm/orc_types.h>

#define KMT_STEPS	1

extern int __start_orc_unwind_ip[];
extern int __stop_orc_unwind_ip[];
extern struct orc_entry __start_orc_unwind[];

/* Tables of old kernels have no type of entry for the end of a stack. */
#ifndef ORC_TYPE_END_OF_STACK
#include <linux/objtool.h>
#define ORC_TYPE_CALL		UNWIND_HINT_TYPE_CALL
#define ORC_TYPE_REGS		UNWIND_HINT_TYPE_REGS
#endif

static inline bool kmt_orc_ends(const struct orc_entry *orc)
{
#ifdef ORC_TYPE_END_OF_STACK
	return orc->type == ORC_TYPE_END_OF_STACK;
#else
	return orc->sp_reg == ORC_REG_UNDEFINED && orc->end;
#endif
}

/* Whether @orc is of code that was interrupted, which only new tables say. */
static inline bool kmt_orc_signal(const struct orc_entry *orc)
{
#ifdef ORC_TYPE_END_OF_STACK
	return orc->signal;
#else
	return false;
#endif
}
#endif

#define KMT_CALL_PUSHES	1

#define kmt_saved_sp(task)	((task)->thread.sp)

#ifdef CONFIG_X86_64
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0) || \
	LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define kmt_hardirq_stack_ptr(cpu)	per_cpu(hardirq_stack_ptr, cpu)
#else
#define kmt_hardirq_stack_ptr(cpu)	per_cpu(pcpu_hot.hardirq_stack_ptr, cpu)
#endif
DECLARE_PER_CPU_PAGE_ALIGNED(struct irq_stack, irq_stack_backing_store);

/* The stack on which @cpu takes interrupts. */
static inline bool kmt_irq_stack(int cpu, unsigned long *lo, unsigned long *hi)
{
	/* hardirq_stack_ptr leaves the topmost word free. */
	*hi = (unsigned long)kmt_hardirq_stack_ptr(cpu) + sizeof(long);
	*lo = *hi - IRQ_STACK_SIZE;
	return *hi != sizeof(long);
}

#define kmt_irq_stack	kmt_irq_stack

/* The stacks are mappings of this memory in the per-CPU section. */
static inline bool kmt_image_stack(int cpu, unsigned int i, unsigned long *lo,
				   unsigned long *hi)
{
	switch (i) {
	case 0:
		*lo = (unsigned long)per_cpu_ptr(&irq_stack_backing_store, cpu);
		*hi = *lo + sizeof(irq_stack_backing_store);
		return true;
	case 1:
		*lo = (unsigned long)per_cpu_ptr(&exception_stacks, cpu);
		*hi = *lo + sizeof(exception_stacks);
		return true;
	case 2:
		*lo = (unsigned long)per_cpu_ptr(&entry_stack_storage, cpu);
		*hi = *lo + sizeof(entry_stack_storage);
		return true;
	default:
		return false;
	}
}

#define kmt_image_stack	kmt_image_stack
#endif /* CONFIG_X86_64 */

#ifdef CONFIG_AMD_MEM_ENCRYPT
/* The part of .bss that mem_encrypt_free_decrypted_mem() frees on each machine. */
static inline void kmt_freed_bss(const char **start, const char **end)
{
	*start = __start_bss_decrypted_unused;
	*end = __end_bss_decrypted;
}

#define kmt_freed_bss	kmt_freed_bss
#endif

#endif /* _KMT_ARCH_X86_H */
