/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All that the core takes from the kernel. The host harness has a header of
 * the same name and include guard before this one in its search path.
 */
#ifndef _KMT_ENV_H
#define _KMT_ENV_H

#include <linux/atomic.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/cpumask.h>
#include <linux/crc32.h>
#include <linux/errno.h>
#include <linux/gfp_types.h>
#include <linux/hash.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/percpu.h>
#include <linux/rbtree.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/uaccess.h>
#include <asm/page.h>
#if defined(CONFIG_ARM64)
#include <asm/asm-extable.h>
#elif defined(CONFIG_X86_64)
#include <asm/asm.h>
#endif

/*
 * One word, or four in a row, of kernel memory that may be gone; @bad is set
 * if it is, and what was read means nothing.
 */
#if defined(CONFIG_ARM64) && !defined(CONFIG_KASAN_HW_TAGS)
/* A fault at @insn sets [bad] and goes on at 9. */
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
#elif defined(CONFIG_X86_64)
/* A fault at @insn sets [bad] and goes on at 9. */
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
#endif

#ifdef KMT_READS_WORDS
/* Copies @len bytes of kernel memory that may be gone; false if it is. */
static inline bool kmt_env_read(void *dst, unsigned long src, size_t len)
{
	unsigned long *to = dst;
	unsigned int bad = 0;

	if ((src | len) % sizeof(*to))
		return !copy_from_kernel_nofault(dst, (const void *)src, len);
	for (; len >= 4 * sizeof(*to); len -= 4 * sizeof(*to)) {
		kmt_env_four(src, &to[0], &to[1], &to[2], &to[3], &bad);
		src += 4 * sizeof(*to);
		to += 4;
	}
	for (; len; len -= sizeof(*to), src += sizeof(*to))
		kmt_env_one(src, to++, &bad);
	return !bad;
}
#else
/* The same: what was copied means nothing if it fails. */
static inline bool kmt_env_read(void *dst, unsigned long src, size_t len)
{
	return !copy_from_kernel_nofault(dst, (const void *)src, len);
}

static inline void kmt_env_one(unsigned long addr, unsigned long *a,
			       unsigned int *bad)
{
	*bad |= !kmt_env_read(a, addr, sizeof(*a));
}

static inline void kmt_env_four(unsigned long addr, unsigned long *a,
				unsigned long *b, unsigned long *c,
				unsigned long *d, unsigned int *bad)
{
	unsigned long words[4] = {};

	*bad |= !kmt_env_read(words, addr, sizeof(words));
	*a = words[0];
	*b = words[1];
	*c = words[2];
	*d = words[3];
}
#endif

/*
 * Where the page of @addr can be read in place from there on, while nothing
 * else runs; NULL if it cannot be read.
 */
static inline const unsigned long *kmt_env_map(unsigned long addr)
{
	unsigned long word;

	return kmt_env_read(&word, addr, sizeof(word)) ?
		(const unsigned long *)addr : NULL;
}

/* The address of @cpu's copy of a per-CPU block. */
static inline unsigned long kmt_env_percpu(unsigned long ptr, int cpu)
{
	return ptr + per_cpu_offset(cpu);
}

/* The address at which a physical block can be read. */
static inline unsigned long kmt_env_phys(unsigned long phys)
{
	return (unsigned long)__va(phys);
}

/* Two words that lie side by side, in one load: compilers part the two. */
static __always_inline void kmt_env_two(const void *p, unsigned long *first,
					unsigned long *second)
{
	const unsigned long *word = p;

#ifdef CONFIG_ARM64
	asm("ldp %0, %1, [%2]" : "=r" (*first), "=r" (*second)
	    : "r" (word), "m" (word[0]), "m" (word[1]));
#else
	*first = word[0];
	*second = word[1];
#endif
}

/* The same, and where the next two are. */
static __always_inline const void *kmt_env_pop(const void *p,
					       unsigned long *first,
					       unsigned long *second)
{
	const unsigned long *word = p;

#ifdef CONFIG_ARM64
	asm("ldp %0, %1, [%2], #16" : "=&r" (*first), "=&r" (*second), "+r" (p)
	    : "m" (word[0]), "m" (word[1]));
	return p;
#else
	*first = word[0];
	*second = word[1];
	return word + 2;
#endif
}

/* Whether a word can be read there, if the memory is there. */
static __always_inline bool kmt_env_readable(unsigned long addr)
{
	return IS_ENABLED(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS) ||
	       !(addr % sizeof(long));
}

/* A return address as it is on the stack, without its signature if it has one. */
static __always_inline unsigned long kmt_env_strip(unsigned long pc)
{
#ifdef CONFIG_ARM64
	return ptrauth_strip_kernel_insn_pac(pc);
#else
	return pc;
#endif
}

/*
 * Whether the last record on the stack of a task is that of the first function,
 * returning to entry code; else it is one that entry code put above that.
 */
#define KMT_LAST_RETURNS	IS_ENABLED(CONFIG_X86)

static inline u32 kmt_env_crc(u32 crc, const void *buf, size_t len)
{
	return crc32(crc, buf, len);
}

#endif /* _KMT_ENV_H */
