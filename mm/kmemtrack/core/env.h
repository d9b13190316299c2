/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything that the core uses of the kernel, but for what the owner of a tracker provides
 * (struct kmt_ops) and the steps of an architecture (step.h). The host tests include another
 * header with this include guard first (tools/testing/kmemtrack/shim/env.h).
 */
#ifndef _KMT_ENV_H
#define _KMT_ENV_H

#include <linux/atomic.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/cpumask.h>
#include <linux/errno.h>
#include <linux/gfp_types.h>
#include <linux/hash.h>
#include <linux/irqflags.h>
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/percpu.h>
#include <linux/prefetch.h>
#include <linux/rbtree.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/uaccess.h>
#include <asm/page.h>
#if defined(CONFIG_KASAN_SW_TAGS) || defined(CONFIG_KASAN_HW_TAGS)
#include <linux/kasan.h>
#endif

/* Newer kernels do not annotate locks for sparse. */
#ifndef __cond_lock
#define __cond_lock(lock, cond)	((void)sizeof(lock), (cond))
#endif

#if defined(CONFIG_UML)
#include "../arch/um.h"
#elif defined(CONFIG_ARM64)
#include "../arch/arm64.h"
#elif defined(CONFIG_ARM)
#include "../arch/arm.h"
#elif defined(CONFIG_X86)
#include "../arch/x86.h"
#elif defined(CONFIG_RISCV)
#include "../arch/riscv.h"
#endif
#include "../arch/generic.h"

/* Whether lookups use kmt_core.fold, which only few machines need. */
DECLARE_STATIC_KEY_FALSE(kmt_folded_key);
#define kmt_env_folded()	static_branch_unlikely(&kmt_folded_key)

/*
 * Reads a pointer that another CPU publishes with smp_store_release(), before what it points
 * to: the address dependency orders the two. (The host tests need an acquire for that.)
 */
#define kmt_env_read_pointer(p)	READ_ONCE(p)

/*
 * Tag-based KASAN keeps a tag in the top byte of a pointer; another pointer to the
 * same block may have none. The tracker records addresses without tags only: the
 * hooks untag their arguments, and the mark untags a word before it compares the
 * word with addresses. In other kernels the top byte is part of the address.
 */
#if defined(CONFIG_KASAN_SW_TAGS) || defined(CONFIG_KASAN_HW_TAGS)
#define KMT_TAGS	true

/* Returns @word without its tag, if it has one. */
static __always_inline unsigned long kmt_untag(unsigned long word)
{
	return (unsigned long)kasan_reset_tag((const void *)word);
}
#else
#define KMT_TAGS	false

static __always_inline unsigned long kmt_untag(unsigned long word)
{
	return word;
}
#endif

#ifdef CONFIG_MEMORY_FAILURE
DECLARE_STATIC_KEY_FALSE(kmt_poison_key);
bool kmt_is_poisoned(unsigned long addr);

/* Whether memory must not be read, since the kernel found it to be broken. */
static __always_inline bool kmt_env_poisoned(unsigned long addr, size_t len)
{
	return static_branch_unlikely(&kmt_poison_key) &&
	       (kmt_is_poisoned(addr) || kmt_is_poisoned(addr + len - 1));
}
#else
static __always_inline bool kmt_env_poisoned(unsigned long addr, size_t len)
{
	return false;
}
#endif

/*
 * kmt_env_one() and kmt_env_four() read one word, or four in a row, of kernel
 * memory that may be unmapped. If it is, they set @bad, and the words are
 * meaningless.
 */
#ifdef KMT_READS_WORDS
/*
 * Copies @len bytes of kernel memory. Returns false if it is unmapped or broken;
 * @dst is meaningless then.
 */
static inline bool kmt_env_read(void *dst, unsigned long src, size_t len)
{
	unsigned long *to = dst;
	unsigned int bad = 0;

	if (kmt_env_poisoned(src, len))
		return false;
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
/* As above, without words as the architecture reads them. */
static inline bool kmt_env_read(void *dst, unsigned long src, size_t len)
{
	return !kmt_env_poisoned(src, len) &&
	       !copy_from_kernel_nofault(dst, (const void *)src, len);
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
 * Returns where @addr, and the rest of its page, can be read in place while no
 * other CPU runs; NULL if it cannot be read.
 */
static inline const unsigned long *kmt_env_map(unsigned long addr)
{
	unsigned long word;

	return kmt_env_read(&word, addr, sizeof(word)) ?
		(const unsigned long *)addr : NULL;
}

/* Called between two pieces of long work, with no lock held. */
static inline void kmt_env_cond_resched(gfp_t gfp)
{
	if (gfp & __GFP_DIRECT_RECLAIM)
		cond_resched();
}

/* The address of @cpu's copy of a per-CPU block. */
static inline unsigned long kmt_env_percpu(unsigned long ptr, int cpu)
{
	return (unsigned long)per_cpu_ptr((void __percpu *)ptr, cpu);
}

/* The address at which a physical block can be read. */
static inline unsigned long kmt_env_phys(unsigned long phys)
{
	return (unsigned long)__va(phys);
}

/* Whether the CPU can read a word at an address with this alignment. */
static __always_inline bool kmt_env_readable(unsigned long addr)
{
	return IS_ENABLED(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS) ||
	       !(addr % sizeof(long));
}

/* Reads 64 bits in one piece, on 32-bit machines, too. */
static __always_inline u64 kmt_env_read_u64(const u64 *p)
{
#ifdef CONFIG_64BIT
	return READ_ONCE(*p);
#else
	return atomic64_read((const atomic64_t *)p);
#endif
}

static __always_inline void kmt_env_write_u64(u64 *p, u64 value)
{
#ifdef CONFIG_64BIT
	WRITE_ONCE(*p, value);
#else
	atomic64_set((atomic64_t *)p, value);
#endif
}

#endif /* _KMT_ENV_H */
