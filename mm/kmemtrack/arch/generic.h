/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an architecture's header leaves out: right everywhere, at some cost.
 */
#ifndef _KMT_ARCH_GENERIC_H
#define _KMT_ARCH_GENERIC_H

#include <linux/mm.h>
#include <linux/sched.h>
#include <asm/sections.h>

/* Two words that lie side by side. */
#ifndef kmt_env_two
static __always_inline void kmt_env_two(const void *p, unsigned long *first,
					unsigned long *second)
{
	const unsigned long *word = p;

	*first = word[0];
	*second = word[1];
}
#endif

/* The same, and where the next two are. */
#ifndef kmt_env_pop
static __always_inline const void *kmt_env_pop(const void *p,
					       unsigned long *first,
					       unsigned long *second)
{
	const unsigned long *word = p;

	*first = word[0];
	*second = word[1];
	return word + 2;
}
#endif

/* A return address as it is on the stack, without its signature if it has one. */
#ifndef kmt_env_strip
static __always_inline unsigned long kmt_env_strip(unsigned long pc)
{
	return pc;
}
#endif

/* Where a saved frame pointer points, in bytes from the record of its function. */
#ifndef KMT_RECORD_BELOW
#define KMT_RECORD_BELOW	0
#endif

/*
 * Whether the record that returns to @pc leads to no other one, though it may
 * look as if, since registers that an exception of the kernel saved are there.
 */
#ifndef kmt_env_is_entry
static __always_inline bool kmt_env_is_entry(unsigned long pc)
{
	return false;
}
#endif

/*
 * Set if the last record on the stack of a task is that of the first function,
 * returning to entry code; else it is one that entry code put above that.
 */
#ifndef KMT_LAST_RETURNS
#define KMT_LAST_RETURNS	0
#endif

/*
 * Less than that is a number, or a per-CPU pointer where these begin at zero:
 * no address of a block.
 */
#ifndef KMT_NUMBERS_END
#define KMT_NUMBERS_END		BIT(4 * sizeof(long))
#endif

/* One past the linear map, now and after memory hotplug. */
#ifndef KMT_LINEAR_END
#define KMT_LINEAR_END		((unsigned long)high_memory)
#endif

/*
 * One past the part of the image, from _text on, in which no block ever is. Where
 * the image is in the linear map its init memory is freed, and has blocks then.
 */
#ifndef KMT_IMAGE_END
#define KMT_IMAGE_END							\
	((unsigned long)(lm_alias(_text) == (void *)_text ?		\
			 __init_begin : _end))
#endif

/*
 * KMT_FRAME_RECORDS: functions leave frame records on the stack as trace.h
 * wants them, and kmt_last_record() is the address of the last one of the
 * current task. KMT_STEPS: there are none, but the unwinder has tables that
 * kmt_arch_step() can read, see step.h. Without both traces are unwound, each
 * time.
 */
#ifndef KMT_FRAME_RECORDS
#define KMT_FRAME_RECORDS	0

static inline unsigned long kmt_last_record(void)
{
	return 0;
}
#endif

#ifndef KMT_STEPS
#define KMT_STEPS	0
#endif

/* Set if a call puts the address that is returned to on the stack. */
#ifndef KMT_CALL_PUSHES
#define KMT_CALL_PUSHES	0
#endif

/* Stack pointer of a task that does not run; 0 if it cannot be told. */
#ifndef kmt_saved_sp
static inline unsigned long kmt_saved_sp(struct task_struct *task)
{
	return 0;
}
#endif

/*
 * Set if the address that a function returns to is below what is local to it on the
 * stack, not above.
 */
#ifndef KMT_FRAME_RETURN_FIRST
#define KMT_FRAME_RETURN_FIRST	0
#endif

/*
 * The stack on which @cpu takes interrupts. What is on it is dead, but for the
 * time of an interrupt.
 */
#ifndef kmt_irq_stack
static inline bool kmt_irq_stack(int cpu, unsigned long *lo, unsigned long *hi)
{
	*lo = 0;
	*hi = 0;
	return false;
}
#endif

/* Set if nothing refers to that stack but by one past its end. */
#ifndef KMT_IRQ_STACK_ENDS
#define KMT_IRQ_STACK_ENDS	0
#endif

/* The memory that is that stack, wherever it is mapped to. */
#ifndef kmt_irq_stack_memory
static inline void kmt_irq_stack_memory(int cpu, unsigned long *lo,
					unsigned long *hi)
{
	kmt_irq_stack(cpu, lo, hi);
}
#endif

/*
 * Tells @section and @memory what a hypervisor below this kernel keeps for
 * itself: parts of the image, and memory that was reserved for it at boot.
 */
#ifndef kmt_hyp_memory
static inline void
kmt_hyp_memory(void (*section)(const char *start, const char *end),
	       void (*memory)(phys_addr_t start, phys_addr_t size))
{
}
#endif

#endif /* _KMT_ARCH_GENERIC_H */
