/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All that the core uses of the kernel, in user space. The compiler's command line
 * includes this first; it has the include guard of mm/kmemtrack/core/env.h.
 *
 * Rules of the kernel's contexts are assertions here: a raw spinlock is taken with
 * interrupts off and in the order given in core.h, the CPU number is read only with
 * interrupts off, and each piece of memory that is read is within a page.
 */
#ifndef _KMT_ENV_H
#define _KMT_ENV_H

/* For sparse. */
#define __releases(l)
#define __acquires(l)
#define __must_hold(l)
#define __acquire(l)		((void)0)
#define __release(l)		((void)0)
#define __cond_lock(l, cond)	(cond)

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The C library defines both, the kernel only the right one. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#undef __BIG_ENDIAN
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef unsigned int gfp_t;

#define CONFIG_KMEMTRACK_STACK_DEPTH	16
#define ____cacheline_aligned_in_smp
#define prefetch(p)	__builtin_prefetch(p)

#define BIT(n)	(1UL << (n))
#define BITS_PER_LONG	__LONG_WIDTH__
#define kmt_env_folded()	true

#define GFP_KERNEL	0x1u
#define GFP_ATOMIC	0x2u

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#ifndef noinline
#define noinline	__attribute__((noinline))
#endif
#ifndef __always_inline
#define __always_inline	inline __attribute__((always_inline))
#endif

#define OPTIMIZER_HIDE_VAR(var)	__asm__("" : "=r" (var) : "0" (var))

#ifdef __SANITIZE_THREAD__
/* Let TSan ignore the access: a suppression needs the stacks of both accesses. */
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#define data_race(expr) ({					\
	AnnotateIgnoreReadsBegin(__FILE__, __LINE__);		\
	__auto_type __racy = (expr);				\
	AnnotateIgnoreReadsEnd(__FILE__, __LINE__);		\
	__racy;							\
})
#else
#define data_race(expr)	(expr)
#endif

#define EXPORT_SYMBOL(x)

#define PAGE_SHIFT	12
#define PAGE_SIZE	4096ul

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#undef static_assert
#define static_assert(c, ...)	_Static_assert(c, #c)
#define BUILD_BUG_ON(c)	_Static_assert(!(c), #c)
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

#define GOLDEN_RATIO_32	0x61C88647
#define GOLDEN_RATIO_64	0x61C8864680B583EBull
#define preempt_disable()
#define preempt_enable()
#define U32_MAX		((u32)~0U)
#define S32_MAX		((s32)(U32_MAX >> 1))
#define swap(a, b)	\
	do { __typeof__(a) _t = (a); (a) = (b); (b) = _t; } while (0)
#define min(a, b)	({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); \
			   _a < _b ? _a : _b; })
#define max(a, b)	({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); \
			   _a > _b ? _a : _b; })
#define min_t(t, a, b)	min((t)(a), (t)(b))
#define max_t(t, a, b)	max((t)(a), (t)(b))
#define ALIGN(x, a)	(((x) + ((a) - 1)) & ~((unsigned long)(a) - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((unsigned long)(a) - 1))
#define ilog2(n)	((int)BITS_PER_LONG - 1 - __builtin_clzl(n))
#define min3(a, b, c)	min(min(a, b), c)
#define roundup_pow_of_two(n) ((n) < 2 ? 1ul : 1ul << (ilog2((n) - 1) + 1))

#define READ_ONCE_NOCHECK(x)	READ_ONCE(x)
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
/* TSan does not know that an address dependency orders loads. */
#define kmt_env_read_pointer(p)	__atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define smp_load_acquire(p)	__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define smp_store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)

typedef struct {
	long counter;
} atomic_long_t;

static inline void atomic_long_inc(atomic_long_t *v)
{
	__atomic_fetch_add(&v->counter, 1, __ATOMIC_RELAXED);
}

static inline long atomic_long_fetch_inc(atomic_long_t *v)
{
	return __atomic_fetch_add(&v->counter, 1, __ATOMIC_RELAXED);
}

static inline void atomic_long_add(long n, atomic_long_t *v)
{
	__atomic_fetch_add(&v->counter, n, __ATOMIC_RELAXED);
}

static inline void atomic_long_set(atomic_long_t *v, long n)
{
	__atomic_store_n(&v->counter, n, __ATOMIC_RELAXED);
}

static inline long atomic_long_read(const atomic_long_t *v)
{
	return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

/* Never true in a test: a warning is a failure. */
#define WARN_ON_ONCE(c)	({ bool _c = (c); assert(!_c); _c; })
#define WARN_ON(c)	WARN_ON_ONCE(c)

#define cpu_relax()	__atomic_signal_fence(__ATOMIC_SEQ_CST)

#ifdef HOST_FAST
#include "fast.h"
#else
/* Interrupts, CPUs, locks: env.c */
#define HOST_CPUS	8

extern __thread int host_cpu;
/* Lets a test act as another CPU right before the next lock is taken. */
extern void (*host_before_lock)(void);

bool host_irqs_off(void);
unsigned int host_locks_held(void);
/* Largest number of words that this thread has read under one lock; can be reset. */
extern __thread unsigned long host_words_held_max;
/* Number of locks that this thread has taken. */
extern __thread unsigned long host_locks_taken;
void host_count_read(unsigned long words);
/* Others may run, if @gfp allows that. */
void host_cond_resched(gfp_t gfp);
#define kmt_env_cond_resched(gfp)	host_cond_resched(gfp)
/*
 * Basic blocks of the core that this thread has run, if the compiler counts them: in
 * total, and the largest numbers at a stretch with a lock held, with interrupts off,
 * and without a rest, which can be reset.
 */
extern __thread unsigned long host_steps;
extern __thread unsigned long host_steps_locked_max;
extern __thread unsigned long host_steps_irqs_off_max;
extern __thread unsigned long host_steps_busy_max;
unsigned long host_irq_save(void);
void host_irq_restore(unsigned long flags);
int host_processor_id(void);

#define smp_processor_id()	host_processor_id()
#define local_irq_save(f)	((f) = host_irq_save())
#define local_irq_restore(f)	host_irq_restore(f)
#define irqs_disabled()		host_irqs_off()
#define for_each_possible_cpu(cpu) for ((cpu) = 0; (cpu) < HOST_CPUS; (cpu)++)
#define num_possible_cpus()	HOST_CPUS
#define nr_cpu_ids		HOST_CPUS
#define cpumask_next(n, mask)	((n) + 1)

typedef struct {
	int locked;
	void *owner;
	int rank;
} raw_spinlock_t;

void host_lock_init(raw_spinlock_t *lock);
void host_lock(raw_spinlock_t *lock);
bool host_trylock(raw_spinlock_t *lock);
bool host_is_locked(raw_spinlock_t *lock);
void host_unlock(raw_spinlock_t *lock);
bool host_lock_held(const raw_spinlock_t *lock);

#define raw_spin_lock_init(l)	host_lock_init(l)
#define raw_spin_lock(l)	host_lock(l)
#define raw_spin_trylock(l)	host_trylock(l)
#define raw_spin_is_locked(l)	host_is_locked(l)
#define raw_spin_unlock(l)	host_unlock(l)
#define raw_spin_lock_irqsave(l, f)					\
	do {								\
		(f) = host_irq_save();					\
		host_lock(l);						\
	} while (0)
#define raw_spin_trylock_irqsave(l, f)					\
	({								\
		bool _locked;						\
									\
		(f) = host_irq_save();					\
		_locked = host_trylock(l);				\
		if (!_locked)						\
			host_irq_restore(f);				\
		_locked;						\
	})
#define raw_spin_unlock_irqrestore(l, f)				\
	do {								\
		host_unlock(l);						\
		host_irq_restore(f);					\
	} while (0)
#define lockdep_assert_held(l)	assert(host_lock_held(l))
#endif

#include <linux/list.h>
#include <linux/rbtree.h>

static inline int kstrtoul(const char *s, unsigned int base, unsigned long *res)
{
	char *end;

	/* The kernel's takes an optional +, no blanks, and one newline. */
	if (*s == '+')
		s++;
	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	*res = strtoul(s, &end, base);
	if (*end == '\n')
		end++;
	if (*end)
		return -EINVAL;
	return errno == ERANGE ? -ERANGE : 0;
}

/* No test has memory that is broken but mapped. */
static inline bool kmt_env_poisoned(unsigned long addr, size_t len)
{
	return false;
}

#ifndef HOST_FAST
/* The simulated machine: sim.c */
bool kmt_env_read(void *dst, unsigned long src, size_t len);
const unsigned long *kmt_env_map(unsigned long addr);
unsigned long kmt_env_percpu(unsigned long ptr, int cpu);
unsigned long kmt_env_phys(unsigned long phys);
#endif

/*
 * Tags in the top byte of words, as of tag-based KASAN on arm64, for a test that
 * wants them: bit 55 says what the byte is without a tag.
 */
#ifdef HOST_FAST
#define KMT_TAGS	false
#else
extern bool host_tags;
#define KMT_TAGS	host_tags
#endif

static inline unsigned long kmt_untag(unsigned long word)
{
	return KMT_TAGS ? (unsigned long)((long)(word << 8) >> 8) : word;
}

static inline u32 hash_32(u32 val, unsigned int bits)
{
	return val * 0x61C88647 >> (32 - bits);
}

static inline void kmt_env_two(const void *p, unsigned long *first,
			       unsigned long *second)
{
	*first = ((const unsigned long *)p)[0];
	*second = ((const unsigned long *)p)[1];
}

static inline const void *kmt_env_pop(const void *p, unsigned long *first,
				      unsigned long *second)
{
	kmt_env_two(p, first, second);
	return (const unsigned long *)p + 2;
}

/* As on a machine that is strict about it. */
static inline bool kmt_env_readable(unsigned long addr)
{
	return !(addr % sizeof(long));
}

#define KMT_RECORD_BELOW	0
#define KMT_FP_UNKNOWN		0

/* Both kinds of machines are tried, one by the tests of 32 bits. */
#if __SIZEOF_LONG__ == 8
#define KMT_CALL_PUSHES	1
#else
#define KMT_CALL_PUSHES	0
#endif

#define kmt_env_read_u64(p)		READ_ONCE(*(p))
#define kmt_env_write_u64(p, value)	WRITE_ONCE(*(p), value)

/* Code that returns to an odd address handles an exception. */
static inline bool kmt_env_is_entry(unsigned long pc)
{
	return pc % 2;
}

/* Signatures of return addresses are in the upper bits here, of 64. */
#define HOST_SIGNATURE	(sizeof(long) == 8 ? ~(~0UL >> 16) : 0)

static inline unsigned long kmt_env_strip(unsigned long pc)
{
	return pc & ~HOST_SIGNATURE;
}

static inline void kmt_env_one(unsigned long addr, unsigned long *a,
			       unsigned int *bad)
{
	*bad |= !kmt_env_read(a, addr, sizeof(*a));
}

/* Word by word: they may lie in two pages. */
static inline void kmt_env_four(unsigned long addr, unsigned long *a,
				unsigned long *b, unsigned long *c,
				unsigned long *d, unsigned int *bad)
{
	kmt_env_one(addr, a, bad);
	kmt_env_one(addr + sizeof(*a), b, bad);
	kmt_env_one(addr + 2 * sizeof(*a), c, bad);
	kmt_env_one(addr + 3 * sizeof(*a), d, bad);
}

/* As on most architectures of 64 bits: see mm/kmemtrack/arch/generic.h. */
#define KMT_NUMBERS_END	BIT(4 * sizeof(long))

#ifndef HOST_FAST
/* Tests look at both kinds of stacks. */
extern bool kmt_last_returns;
#define KMT_LAST_RETURNS	kmt_last_returns
#endif

#endif /* _KMT_ENV_H */
