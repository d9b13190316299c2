/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Defaults for names that an architecture's header does not define. They are correct
 * everywhere, but slower.
 */
#ifndef _KMT_ARCH_GENERIC_H
#define _KMT_ARCH_GENERIC_H

#include <linux/mm.h>
#include <linux/sched.h>
#include <asm/sections.h>

/* Reads two adjacent words. */
#ifndef kmt_env_two
static __always_inline void kmt_env_two(const void *p, unsigned long *first,
					unsigned long *second)
{
	const unsigned long *word = p;

	*first = word[0];
	*second = word[1];
}
#endif

/* As kmt_env_two(); returns the address after the two words. */
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

/* Removes the signature, if any, from a return address that was on the stack. */
#ifndef kmt_env_strip
static __always_inline unsigned long kmt_env_strip(unsigned long pc)
{
	return pc;
}
#endif

/* Bytes from a frame record up to where the frame pointer of its function points. */
#ifndef KMT_RECORD_BELOW
#define KMT_RECORD_BELOW	0
#endif

/*
 * 1 if a function's own frame pointer does not tell where its frame record is, and that
 * of its caller need not be in the record. The return address is in its upper word.
 */
#ifndef KMT_FP_UNKNOWN
#define KMT_FP_UNKNOWN		0
#endif

/*
 * Whether a record with return address @pc is followed by the saved registers of an
 * exception in the kernel, which may look like another record.
 */
#ifndef kmt_env_is_entry
static __always_inline bool kmt_env_is_entry(unsigned long pc)
{
	return false;
}
#endif

/*
 * 1 if the last record on a task's stack is that of the first function, which returns
 * to entry code; 0 if entry code puts one more record above that.
 */
#ifndef KMT_LAST_RETURNS
#define KMT_LAST_RETURNS	0
#endif

/*
 * A word below this is no address of a block. It is a number, or a per-CPU pointer on
 * architectures where those begin at zero.
 */
#define KMT_NUMBERS_END							\
	(PAGE_OFFSET < BIT(4 * sizeof(long)) ? BIT(16) : BIT(4 * sizeof(long)))

/*
 * No kernel memory is below this. A fault of the kernel on an address of user space may be
 * an oops in spite of the exception table, so no such address is read.
 */
#ifndef KMT_LEAST_ADDRESS
#define KMT_LEAST_ADDRESS	PAGE_SIZE
#endif

/* One past the end of the linear map, including memory to be hotplugged. */
#ifndef KMT_LINEAR_END
#define KMT_LINEAR_END		((unsigned long)high_memory)
#endif

/*
 * No block is ever in the kernel image from _text up to this. If the image is in the
 * linear map, its init memory is freed and may contain blocks later. On some machines
 * that is below _text.
 */
#ifndef KMT_IMAGE_END
#define KMT_IMAGE_END							\
	((unsigned long)(lm_alias(_text) == (void *)_text &&		\
			 (unsigned long)__init_begin > (unsigned long)_text ? \
			 __init_begin : _end))
#endif

/*
 * KMT_FRAME_RECORDS: functions leave frame records on the stack as trace.h expects
 * them, and kmt_last_record() returns the address of the current task's last one.
 * KMT_STEPS: there are no frame records, but the unwinder has tables that
 * kmt_arch_step() can read, see step.h. If both are 0, the unwinder takes each trace.
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

/* 1 if the call instruction pushes the return address on the stack. */
#ifndef KMT_CALL_PUSHES
#define KMT_CALL_PUSHES	0
#endif

/* Stack pointer of a task that does not run; 0 if it is not known. */
#ifndef kmt_saved_sp
static inline unsigned long kmt_saved_sp(struct task_struct *task)
{
	return 0;
}
#endif

/*
 * 1 if a function's return address is below its local variables on the stack, 0 if it
 * is above them.
 */
#ifndef KMT_FRAME_RETURN_FIRST
#define KMT_FRAME_RETURN_FIRST	0
#endif

/*
 * Sets [@lo, @hi) to the stack on which @cpu takes interrupts, and returns whether
 * there is one. Its contents are stale except during an interrupt.
 */
#ifndef kmt_irq_stack
static inline bool kmt_irq_stack(int cpu, unsigned long *lo, unsigned long *hi)
{
	*lo = 0;
	*hi = 0;
	return false;
}
#endif

/* 1 if the only pointer to that stack points one past its end. */
#ifndef KMT_IRQ_STACK_ENDS
#define KMT_IRQ_STACK_ENDS	0
#endif

/*
 * Sets [@lo, @hi) to the memory of a stack of interrupts or exceptions of @cpu that may be
 * in the image or in the CPU's copy of the per-CPU section, and may be mapped elsewhere.
 * @i counts from 0; returns false if there are no more.
 */
#ifndef kmt_image_stack
static inline bool kmt_image_stack(int cpu, unsigned int i, unsigned long *lo,
				   unsigned long *hi)
{
	return !i && kmt_irq_stack(cpu, lo, hi);
}
#endif

/*
 * The part of .bss that the kernel frees with its init memory: empty. It is a part of
 * the root that .bss is only until then.
 */
#ifndef kmt_freed_bss
static inline void kmt_freed_bss(const char **start, const char **end)
{
	*start = *end = NULL;
}
#endif

/*
 * Calls @section for each part of the image that a hypervisor below this kernel keeps
 * for itself, and @memory for memory that was reserved for it at boot.
 */
#ifndef kmt_hyp_memory
static inline void
kmt_hyp_memory(void (*section)(const char *start, const char *end),
	       void (*memory)(phys_addr_t start, phys_addr_t size))
{
}
#endif

#endif /* _KMT_ARCH_GENERIC_H */
