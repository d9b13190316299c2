/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All that the core takes from the kernel. The host harness has a header of
 * the same name and include guard before this one in its search path.
 */
#ifndef _KMT_ENV_H
#define _KMT_ENV_H

#include <linux/atomic.h>
#include <linux/bug.h>
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

/* Copies @len bytes of kernel memory that may be gone; false if it is. */
static inline bool kmt_env_read(void *dst, unsigned long src, size_t len)
{
	return !copy_from_kernel_nofault(dst, (const void *)src, len);
}

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

/* A return address as it is on the stack, without its signature if it has one. */
static __always_inline unsigned long kmt_env_strip(unsigned long pc)
{
#ifdef CONFIG_ARM64
	return ptrauth_strip_kernel_insn_pac(pc);
#else
	return pc;
#endif
}

static inline u32 kmt_env_crc(u32 crc, const void *buf, size_t len)
{
	return crc32(crc, buf, len);
}

#endif /* _KMT_ENV_H */
