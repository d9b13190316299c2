// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts, CPUs and locks of the host build: every thread is a CPU of its
 * own, and the rules of the kernel's contexts are assertions.
 */
#include <sched.h>

#include "env.h"

/* Locks a thread holds at a time: a tree, the auxiliaries, the pool. */
#define MAX_HELD	3

bool kmt_last_returns;
bool host_tags;
__thread int host_cpu;
void (*host_before_lock)(void);
static __thread bool irqs_off;
static __thread raw_spinlock_t *held[MAX_HELD];
static __thread unsigned int nr_held;
static __thread unsigned long words_held;
__thread unsigned long host_words_held_max;
__thread unsigned long host_locks_taken;
__thread unsigned long host_steps;
__thread unsigned long host_steps_locked_max;
__thread unsigned long host_steps_irqs_off_max;
__thread unsigned long host_steps_busy_max;
static __thread unsigned long steps_locked, steps_irqs_off, steps_busy;

/*
 * Called by each basic block of the core (-fsanitize-coverage=trace-pc). libFuzzer has
 * its own; the fuzzers do not use the number of steps.
 */
void __sanitizer_cov_trace_pc(void) __attribute__((weak));
void __sanitizer_cov_trace_pc(void)
{
	host_steps++;
}

static void count_steps(unsigned long since, unsigned long *most)
{
	if (host_steps - since > *most)
		*most = host_steps - since;
}

void host_cond_resched(gfp_t gfp)
{
	if (!(gfp & GFP_KERNEL))
		return;
	assert(!irqs_off && !nr_held);
	count_steps(steps_busy, &host_steps_busy_max);
	steps_busy = host_steps;
}

bool host_irqs_off(void)
{
	return irqs_off;
}

unsigned int host_locks_held(void)
{
	return nr_held;
}

unsigned long host_irq_save(void)
{
	bool was = irqs_off;

	if (!was)
		steps_irqs_off = host_steps;
	irqs_off = true;
	return was;
}

void host_irq_restore(unsigned long flags)
{
	assert(irqs_off);
	if (!flags) {
		assert(!nr_held);
		count_steps(steps_irqs_off, &host_steps_irqs_off_max);
	}
	irqs_off = flags;
}

int host_processor_id(void)
{
	assert(irqs_off);
	return host_cpu;
}

void host_lock_init(raw_spinlock_t *lock)
{
	lock->locked = 0;
	lock->owner = NULL;
}

/* sim.c sets the ranks of locks; a lock without a rank is that of a tree. */
bool host_trylock(raw_spinlock_t *lock)
{
	assert(irqs_off);
	assert(nr_held < MAX_HELD);
	if (host_before_lock && !nr_held)
		host_before_lock();
	if (nr_held)
		assert(held[nr_held - 1]->rank < lock->rank);
	if (__atomic_exchange_n(&lock->locked, 1, __ATOMIC_ACQUIRE))
		return false;
	__atomic_store_n(&lock->owner, (void *)&nr_held, __ATOMIC_RELAXED);
	if (!nr_held) {
		words_held = 0;
		steps_locked = host_steps;
	}
	held[nr_held++] = lock;
	host_locks_taken++;
	return true;
}

bool host_is_locked(raw_spinlock_t *lock)
{
	return __atomic_load_n(&lock->locked, __ATOMIC_RELAXED);
}

void host_lock(raw_spinlock_t *lock)
{
	while (!host_trylock(lock))
		sched_yield();
}

void host_unlock(raw_spinlock_t *lock)
{
	assert(nr_held && held[nr_held - 1] == lock);
	if (!--nr_held)
		count_steps(steps_locked, &host_steps_locked_max);
	__atomic_store_n(&lock->owner, NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&lock->locked, 0, __ATOMIC_RELEASE);
}

/* Counts words that are read while a lock is held: others wait for it. */
void host_count_read(unsigned long words)
{
	if (nr_held)
		words_held += words;
	if (words_held > host_words_held_max)
		host_words_held_max = words_held;
}

bool host_lock_held(const raw_spinlock_t *lock)
{
	return __atomic_load_n(&lock->owner, __ATOMIC_RELAXED) ==
	       (void *)&nr_held;
}
