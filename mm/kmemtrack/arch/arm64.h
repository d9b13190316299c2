/* SPDX-License-Identifier: GPL-2.0 */
/*
 * arm64: reads that survive a fault, frame records, the stack of interrupts.
 * The headers of all architectures in this directory define the same names;
 * generic.h has a default for each name that a header does not define.
 */
#ifndef _KMT_ARCH_ARM64_H
#define _KMT_ARCH_ARM64_H

#include <linux/percpu.h>
#include <linux/processor.h>
#include <linux/sched/task_stack.h>
#include <linux/version.h>
#include <asm/asm-extable.h>
#include <asm/pointer_auth.h>
#include <asm/sections.h>
#include <asm/virt.h>

#ifndef CONFIG_KASAN_HW_TAGS
/* A fault at @insn sets [bad] and continues at label 9. */
#define KMT_MAY_FAULT(insn)						\
	__ASM_EXTABLE_RAW(insn, "9b",					\
			  __stringify(EX_TYPE_KACCESS_ERR_ZERO),	\
			  "(.L__gpr_num_%w[bad] << "			\
			  __stringify(EX_DATA_REG_ERR_SHIFT)		\
			  " | .L__gpr_num_wzr << "			\
			  __stringify(EX_DATA_REG_ZERO_SHIFT) ")")

static __always_inline void kmt_env_one(unsigned long addr, unsigned long *a,
					unsigned int *bad)
{
	asm volatile("1: ldr %0, [%2]\n"
		     "9:\n"
		     __DEFINE_ASM_GPR_NUMS
		     KMT_MAY_FAULT("1b")
		     : "=r" (*a), [bad] "+r" (*bad) : "r" (addr));
}

static __always_inline void kmt_env_four(unsigned long addr, unsigned long *a,
					 unsigned long *b, unsigned long *c,
					 unsigned long *d, unsigned int *bad)
{
	asm volatile("1: ldp %0, %1, [%5]\n"
		     "2: ldp %2, %3, [%5, #16]\n"
		     "9:\n"
		     __DEFINE_ASM_GPR_NUMS
		     KMT_MAY_FAULT("1b")
		     KMT_MAY_FAULT("2b")
		     : "=&r" (*a), "=&r" (*b), "=&r" (*c), "=&r" (*d),
		       [bad] "+r" (*bad)
		     : "r" (addr));
}

#define KMT_READS_WORDS
#endif /* !CONFIG_KASAN_HW_TAGS */

/* Reads two adjacent words with one load, which compilers would split. */
static __always_inline void kmt_env_two(const void *p, unsigned long *first,
					unsigned long *second)
{
	const unsigned long *word = p;

	asm("ldp %0, %1, [%2]" : "=r" (*first), "=r" (*second)
	    : "r" (word), "m" (word[0]), "m" (word[1]));
}

#define kmt_env_two	kmt_env_two

/* As kmt_env_two(); returns the address after the two words. */
static __always_inline const void *kmt_env_pop(const void *p,
					       unsigned long *first,
					       unsigned long *second)
{
	const unsigned long *word = p;

	asm("ldp %0, %1, [%2], #16" : "=&r" (*first), "=&r" (*second), "+r" (p)
	    : "m" (word[0]), "m" (word[1]));
	return p;
}

#define kmt_env_pop	kmt_env_pop

/* Removes the signature, if any, from a return address that was on the stack. */
static __always_inline unsigned long kmt_env_strip(unsigned long pc)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return ptrauth_strip_kernel_insn_pac(pc);
#else
	return ptrauth_strip_insn_pac(pc);
#endif
}

#define kmt_env_strip	kmt_env_strip

#define KMT_LEAST_ADDRESS	TASK_SIZE_MAX
#define KMT_LINEAR_END		PAGE_END
#define KMT_FRAME_RECORDS	1

/* The address of the last frame record on the current task's stack. */
static inline unsigned long kmt_last_record(void)
{
	return (unsigned long)&task_pt_regs(current)->stackframe;
}

#define kmt_last_record	kmt_last_record

#define kmt_saved_sp(task)	thread_saved_sp(task)

/* The frame record is at the lowest addresses of a function's frame. */
#define KMT_FRAME_RETURN_FIRST	1

DECLARE_PER_CPU(unsigned long *, irq_stack_ptr);

/* The stack on which @cpu takes interrupts. */
static inline bool kmt_irq_stack(int cpu, unsigned long *lo, unsigned long *hi)
{
	*lo = (unsigned long)per_cpu(irq_stack_ptr, cpu);
	*hi = *lo + IRQ_STACK_SIZE;
	return *lo;
}

#define kmt_irq_stack	kmt_irq_stack

#ifdef CONFIG_KVM
extern phys_addr_t hyp_mem_base;
extern phys_addr_t hyp_mem_size;

/* The same memory that finalize_pkvm() reports to the hooks. */
static inline void
kmt_hyp_memory(void (*section)(const char *start, const char *end),
	       void (*memory)(phys_addr_t start, phys_addr_t size))
{
	if (!is_protected_kvm_enabled())
		return;
	section(__hyp_bss_start, __hyp_bss_end);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	section(__hyp_data_start, __hyp_data_end);
#endif
	section(__hyp_rodata_start, __hyp_rodata_end);
	memory(hyp_mem_base, hyp_mem_size);
}

#define kmt_hyp_memory	kmt_hyp_memory
#endif

#endif /* _KMT_ARCH_ARM64_H */
