/* SPDX-License-Identifier: GPL-2.0 */
/*
 * RISC-V: reads that survive a fault, frame records, the stack of interrupts.
 */
#ifndef _KMT_ARCH_RISCV_H
#define _KMT_ARCH_RISCV_H

#include <linux/percpu.h>
#include <linux/processor.h>
#include <linux/sched/task_stack.h>
#include <linux/version.h>
#include <asm/asm-extable.h>
#include <asm/processor.h>

#ifdef CONFIG_64BIT
/* A fault at @insn sets [bad] and continues at label 9. */
#define KMT_MAY_FAULT(insn)						\
	__ASM_EXTABLE_RAW(insn, "9b",					\
			  __stringify(EX_TYPE_UACCESS_ERR_ZERO),	\
			  "(.L__gpr_num_%[bad] << "			\
			  __stringify(EX_DATA_REG_ERR_SHIFT)		\
			  " | .L__gpr_num_zero << "			\
			  __stringify(EX_DATA_REG_ZERO_SHIFT) ")")

static __always_inline void kmt_env_one(unsigned long addr, unsigned long *a,
					unsigned int *bad)
{
	asm volatile("1: ld %0, 0(%2)\n"
		     "9:\n"
		     __DEFINE_ASM_GPR_NUMS
		     KMT_MAY_FAULT("1b")
		     : "=&r" (*a), [bad] "+r" (*bad) : "r" (addr));
}

static __always_inline void kmt_env_four(unsigned long addr, unsigned long *a,
					 unsigned long *b, unsigned long *c,
					 unsigned long *d, unsigned int *bad)
{
	asm volatile("1: ld %0, 0(%5)\n"
		     "2: ld %1, 8(%5)\n"
		     "3: ld %2, 16(%5)\n"
		     "4: ld %3, 24(%5)\n"
		     "9:\n"
		     __DEFINE_ASM_GPR_NUMS
		     KMT_MAY_FAULT("1b")
		     KMT_MAY_FAULT("2b")
		     KMT_MAY_FAULT("3b")
		     KMT_MAY_FAULT("4b")
		     : "=&r" (*a), "=&r" (*b), "=&r" (*c), "=&r" (*d),
		       [bad] "+r" (*bad)
		     : "r" (addr));
}

#define KMT_READS_WORDS
#endif /* CONFIG_64BIT */

/* In 6.1 the end of the entry code has no name. */
#if defined(CONFIG_FRAME_POINTER) && \
	LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#define KMT_FRAME_RECORDS	1

/* A frame pointer points right above its function's frame record. */
#define KMT_RECORD_BELOW	(2 * sizeof(long))

/*
 * The last record on a task's stack is that of the first function, which returns to
 * entry code.
 */
#define KMT_LAST_RETURNS	1

/* Right below the registers that entry code saved. */
static inline unsigned long kmt_last_record(void)
{
	return (unsigned long)task_pt_regs(current) - KMT_RECORD_BELOW;
}

#define kmt_last_record	kmt_last_record

void handle_exception(void);
extern unsigned long ret_from_exception_end;

/*
 * Whether @pc is in handle_exception(): the function that returns there handles an
 * exception. The frame pointer that it saved is the stack pointer at that time, where
 * no record is.
 */
static __always_inline bool kmt_env_is_entry(unsigned long pc)
{
	return pc - (unsigned long)handle_exception <
	       (unsigned long)&ret_from_exception_end -
	       (unsigned long)handle_exception;
}

#define kmt_env_is_entry	kmt_env_is_entry
#endif

#define kmt_saved_sp(task)	((task)->thread.sp)

#ifdef CONFIG_IRQ_STACKS
DECLARE_PER_CPU(unsigned long *, irq_stack_ptr);

/* The stack on which @cpu takes interrupts. */
static inline bool kmt_irq_stack(int cpu, unsigned long *lo, unsigned long *hi)
{
	*lo = (unsigned long)per_cpu(irq_stack_ptr, cpu);
	*hi = *lo + IRQ_STACK_SIZE;
	return *lo;
}

#define kmt_irq_stack	kmt_irq_stack
#endif

#endif /* _KMT_ARCH_RISCV_H */
