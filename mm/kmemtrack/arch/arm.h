/* SPDX-License-Identifier: GPL-2.0 */
/*
 * 32-bit ARM: reads that survive a fault, the stack of interrupts, and steps read
 * from the EHABI tables, since there are no frame records.
 */
#ifndef _KMT_ARCH_ARM_H
#define _KMT_ARCH_ARM_H

#include <linux/percpu.h>
#include <linux/processor.h>
#include <linux/sched/task_stack.h>

/* A fault at one of @insns sets [bad] and continues at label 9. */
#define KMT_MAY_FAULT(insns)						\
	".pushsection .text.fixup, \"ax\"\n"				\
	".align	2\n"							\
	"8:	mov	%[bad], #1\n"					\
	"	b	9b\n"						\
	".popsection\n"							\
	".pushsection __ex_table, \"a\"\n"				\
	".align	3\n"							\
	insns								\
	".popsection\n"

static __always_inline void kmt_env_one(unsigned long addr, unsigned long *a,
					unsigned int *bad)
{
	asm volatile("1: ldr %0, [%2]\n"
		     "9:\n"
		     KMT_MAY_FAULT(".long 1b, 8b\n")
		     : "=&r" (*a), [bad] "+r" (*bad) : "r" (addr));
}

static __always_inline void kmt_env_four(unsigned long addr, unsigned long *a,
					 unsigned long *b, unsigned long *c,
					 unsigned long *d, unsigned int *bad)
{
	asm volatile("1: ldr %0, [%5]\n"
		     "2: ldr %1, [%5, #4]\n"
		     "3: ldr %2, [%5, #8]\n"
		     "4: ldr %3, [%5, #12]\n"
		     "9:\n"
		     KMT_MAY_FAULT(".long 1b, 8b, 2b, 8b, 3b, 8b, 4b, 8b\n")
		     : "=&r" (*a), "=&r" (*b), "=&r" (*c), "=&r" (*d),
		       [bad] "+r" (*bad)
		     : "r" (addr));
}

#define KMT_READS_WORDS

/* A step is 64 bits that must be read at once, so not with GENERIC_ATOMIC64. */
#if defined(CONFIG_ARM_UNWIND) && !defined(CONFIG_GENERIC_ATOMIC64)
#include <asm/unwind.h>

#define KMT_STEPS	1

extern const struct unwind_idx __start_unwind_idx[];
extern const struct unwind_idx __stop_unwind_idx[];

/* Calls a function on another stack: that of interrupts. */
void call_with_stack(void (*fn)(void *data), void *data, void *sp);

#ifdef CONFIG_THUMB2_KERNEL
/* The frame pointer points somewhere into the frame, and is saved anywhere in it. */
#define KMT_FP_UNKNOWN		1
#else
/* A frame pointer points to the upper one of the two words of a frame record. */
#define KMT_RECORD_BELOW	sizeof(long)
#endif
#endif

#define KMT_LEAST_ADDRESS	TASK_SIZE
#define kmt_saved_sp(task)	thread_saved_sp(task)

#ifdef CONFIG_IRQSTACKS
DECLARE_PER_CPU(u8 *, irq_stack_ptr);

/* The stack on which @cpu takes interrupts; irq_stack_ptr is its end. */
static inline bool kmt_irq_stack(int cpu, unsigned long *lo, unsigned long *hi)
{
	*hi = (unsigned long)per_cpu(irq_stack_ptr, cpu);
	*lo = *hi - THREAD_SIZE;
	return *hi;
}

#define kmt_irq_stack	kmt_irq_stack

/* Only a pointer one past its end is kept, which is no reference to its block. */
#define KMT_IRQ_STACK_ENDS	1
#endif

#endif /* _KMT_ARCH_ARM_H */
