/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Instead of what checks the rules of contexts: locks that do nothing but
 * lock, and the memory of the process. For bench_*.c.
 */
#ifndef FAST_H
#define FAST_H

#ifndef HOST_CPUS
#define HOST_CPUS	2
#endif
#define KMT_LAST_RETURNS	false

extern __thread int host_cpu;

#define smp_processor_id()	host_cpu
#define local_irq_save(f)	((f) = 0)
#define local_irq_restore(f)	((void)(f))
#define irqs_disabled()		true
#define for_each_possible_cpu(cpu) for ((cpu) = 0; (cpu) < HOST_CPUS; (cpu)++)
#define num_possible_cpus()	HOST_CPUS
#define nr_cpu_ids		HOST_CPUS
#define cpumask_next(n, mask)	((n) + 1)

typedef struct {
	int locked;
} raw_spinlock_t;

#define raw_spin_lock_init(l)	((l)->locked = 0)

/*
 * The most that a thread did with one lock held, in basic blocks, and the time
 * that took: the least of those that did as much.
 */
#ifdef HOST_HOLDS
#include <time.h>

extern __thread u64 host_steps, host_locked_at, host_locked_ns;
extern __thread u64 host_held_max, host_held_ns;

static inline u64 host_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* To wait is no step. */
static inline void host_wait_begins(void)
{
	host_locked_at = host_steps;
}

static inline void host_locked(void)
{
	host_steps = host_locked_at;
	host_locked_ns = host_clock();
}

static inline void host_unlocked(void)
{
	u64 steps = host_steps - host_locked_at, ns;

	if (steps < host_held_max)
		return;
	ns = host_clock() - host_locked_ns;
	if (steps > host_held_max || ns < host_held_ns)
		host_held_ns = ns;
	host_held_max = steps;
}
#else
#define host_wait_begins()
#define host_locked()
#define host_unlocked()
#endif

static inline void raw_spin_lock(raw_spinlock_t *l)
{
	host_wait_begins();
	while (__atomic_exchange_n(&l->locked, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&l->locked, __ATOMIC_RELAXED))
			;
	host_locked();
}

static inline bool raw_spin_trylock(raw_spinlock_t *l)
{
	if (__atomic_load_n(&l->locked, __ATOMIC_RELAXED) ||
	    __atomic_exchange_n(&l->locked, 1, __ATOMIC_ACQUIRE))
		return false;
	host_wait_begins();
	host_locked();
	return true;
}

static inline bool raw_spin_is_locked(raw_spinlock_t *l)
{
	return __atomic_load_n(&l->locked, __ATOMIC_RELAXED);
}

static inline void raw_spin_unlock(raw_spinlock_t *l)
{
	host_unlocked();
	__atomic_store_n(&l->locked, 0, __ATOMIC_RELEASE);
}

#define raw_spin_lock_irqsave(l, f)					\
	do {								\
		(f) = 0;						\
		raw_spin_lock(l);					\
	} while (0)
#define raw_spin_trylock_irqsave(l, f)	((f) = 0, raw_spin_trylock(l))
#define raw_spin_unlock_irqrestore(l, f)				\
	do {								\
		raw_spin_unlock(l);					\
		(void)(f);						\
	} while (0)
#define lockdep_assert_held(l)	((void)(l))

#define kmt_env_cond_resched(gfp)	((void)(gfp))

static inline bool kmt_env_read(void *dst, unsigned long src, size_t len)
{
	memcpy(dst, (const void *)src, len);
	return true;
}

static inline const unsigned long *kmt_env_map(unsigned long addr)
{
	return (const unsigned long *)addr;
}

static inline unsigned long kmt_env_percpu(unsigned long ptr, int cpu)
{
	return ptr;
}

static inline unsigned long kmt_env_phys(unsigned long phys)
{
	return phys;
}

#endif /* FAST_H */
