// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is given back: after a peak when memory is short, and all of it
 * when tracking ends.
 */
#include <linux/cpu.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/shrinker.h>

#include "compat.h"
#include "glue.h"

#define KMT_RECENT_ORDER	get_order(KMT_RECENT_CELLS * sizeof(struct kmt_object *))

/* Chunks that leave the pool, and those who walk over it. */
DECLARE_RWSEM(kmt_walk_sem);

static DEFINE_PER_CPU(struct kmt_object **, unused_recent_cells);

/* Pages that were given back, all in all; under kmt_scan_mutex. */
unsigned long kmt_pages_given_back;

/* Passes over the pool that were begun because memory was short; the same. */
unsigned long kmt_passes;

/**
 * kmt_remember_cells - let a CPU remember what it allocated and freed last
 * @cpu: its number
 *
 * Without memory for it, the CPU does without.
 *
 * Context: cpus_read_lock() held, or @cpu is about to come up, may sleep; or
 * early boot.
 */
void kmt_remember_cells(unsigned int cpu)
{
	struct kmt_cell_cache *cache = &kmt_core.pool.caches[cpu];

	if (!cache->recent_cells)
		WRITE_ONCE(cache->recent_cells, kmt_own_alloc(GFP_KERNEL | __GFP_ZERO,
							      KMT_RECENT_ORDER));
}

/**
 * kmt_forget_cells - give back what kmt_remember_cells() took
 *
 * Context: kmt_scan_mutex held, may sleep; kmt_traces_off() was called.
 */
void kmt_forget_cells(void)
{
	unsigned int cpu;

	lockdep_assert_held(&kmt_scan_mutex);
	for_each_possible_cpu(cpu) {
		struct kmt_cell_cache *cache = &kmt_core.pool.caches[cpu];

		per_cpu(unused_recent_cells, cpu) = cache->recent_cells;
		WRITE_ONCE(cache->recent_cells, NULL);
	}
	/* They are used with interrupts off. */
	synchronize_rcu();
	for_each_possible_cpu(cpu)
		kmt_own_free(per_cpu(unused_recent_cells, cpu), KMT_RECENT_ORDER);
}

static void flush_here(void *unused)
{
	kmt_cell_flush(&kmt_core,
		       &kmt_core.pool.caches[smp_processor_id()]);
}

/* With cpus_read_lock(). */
static void flush_caches(void)
{
	unsigned long flags;
	unsigned int cpu;

	on_each_cpu(flush_here, NULL, 1);
	for_each_possible_cpu(cpu) {
		if (cpu_online(cpu))
			continue;
		local_irq_save(flags);
		kmt_cell_flush(&kmt_core, &kmt_core.pool.caches[cpu]);
		local_irq_restore(flags);
	}
}

static void free_chunk(struct rcu_head *head)
{
	kmt_own_free(container_of(head, struct kmt_chunk, rcu), 0);
}

/* Frees chunks that have left the pool. */
static void free_chunks(struct kmt_chunk *gone)
{
	struct kmt_chunk *chunk;
	unsigned int cpu;

	lockdep_assert_held(&kmt_scan_mutex);
	if (!gone)
		return;
	kmt_report_forget_chunks();
	for (cpu = 0; cpu < kmt_core.pool.nr_caches; cpu++) {
		kmt_forget_chunks(&kmt_core.pool.caches[cpu]);
		cond_resched();
	}
	while ((chunk = gone)) {
		gone = chunk->next;
		/* A hook that found a cell in the chunk has interrupts off. */
		call_rcu(&chunk->rcu, free_chunk);
		WRITE_ONCE(kmt_pages_given_back, kmt_pages_given_back + 1);
		cond_resched();
	}
}

/*
 * Looks at @look chunks, and frees @nr at most, but for @keep free cells; returns
 * how many. @left counts down how many are still to be looked at.
 */
static unsigned long compact(unsigned long *left, unsigned long look,
			     unsigned long nr, unsigned long keep)
{
	struct kmt_chunk *chunk, *gone = NULL;
	unsigned long freed = 0;

	for (; *left && look && freed < nr; --*left, look--) {
		kmt_pool_compact(&kmt_core, keep);
		while (freed < nr && (chunk = kmt_pool_trim(&kmt_core, keep))) {
			chunk->next = gone;
			gone = chunk;
			freed++;
		}
		cond_resched();
	}
	free_chunks(gone);
	return freed;
}

/**
 * kmt_give_back_all - free all memory of the pool that is not in use
 *
 * Context: kmt_scan_mutex held, may sleep; takes long.
 */
void kmt_give_back_all(void)
{
	unsigned long left;

	lockdep_assert_held(&kmt_scan_mutex);
	cpus_read_lock();
	flush_caches();
	cpus_read_unlock();
	down_write(&kmt_walk_sem);
	left = READ_ONCE(kmt_core.pool.nr_chunks);
	compact(&left, left, left, 0);
	up_write(&kmt_walk_sem);
}

/* Chunks that are looked at for each page that is wanted. */
#define KMT_LOOK	8

/* A pass is not worth while for less. */
#define KMT_LEAST	1024UL

/*
 * A pass over the pool: chunks that are still to be looked at, under
 * kmt_scan_mutex; and cells that were not in use when the last one was through:
 * before there are more of those the next one would free nothing.
 */
static unsigned long left_in_pass;
static unsigned long idle_after_pass;

static unsigned long idle_cells(void)
{
	return kmt_pool_free_cells(&kmt_core) + kmt_vacant(&kmt_core);
}

/* As many as the blocks there are may soon ask for, and the reserve, stay. */
static unsigned long worth_keeping(void)
{
	return kmt_used_cells() / 8 + 4 * READ_ONCE(kmt_core.pool.low);
}

/* Whether there is more to be had than when the last pass was through. */
static bool is_worth_a_pass(unsigned long idle)
{
	unsigned long before = READ_ONCE(idle_after_pass);

	if (idle < before)
		WRITE_ONCE(idle_after_pass, idle);
	return idle >= before + max(before / 8, KMT_LEAST);
}

static unsigned long count(struct shrinker *shrinker, struct shrink_control *sc)
{
	const unsigned long keep = worth_keeping(), idle = idle_cells();

	if (!kmt_tracking() || idle <= keep ||
	    (!is_worth_a_pass(idle) && !READ_ONCE(left_in_pass)))
		return 0;
	return (idle - keep) / KMT_PAGE_CELLS;
}

/* Goes on with a pass, or begins one. */
static unsigned long shrink(unsigned long nr)
{
	unsigned long freed;

	if (!left_in_pass) {
		WRITE_ONCE(kmt_passes, kmt_passes + 1);
		WRITE_ONCE(left_in_pass, READ_ONCE(kmt_core.pool.nr_chunks));
		/* Else what is in them keeps chunks from being freed. */
		if (cpus_read_trylock()) {
			flush_caches();
			cpus_read_unlock();
		}
	}
	freed = compact(&left_in_pass, KMT_LOOK * nr, nr, worth_keeping());
	if (!left_in_pass)
		WRITE_ONCE(idle_after_pass, idle_cells());
	return freed;
}

/*
 * Nothing is waited for: who is short of memory may hold locks, those of a scan,
 * too.
 */
static unsigned long scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	unsigned long freed = SHRINK_STOP;

	if (!mutex_trylock(&kmt_scan_mutex))
		return SHRINK_STOP;
	if (kmt_tracking() && down_write_trylock(&kmt_walk_sem)) {
		freed = shrink(sc->nr_to_scan);
		up_write(&kmt_walk_sem);
	}
	mutex_unlock(&kmt_scan_mutex);
	return freed;
}

static int __init watch_memory(void)
{
	return kmt_register_shrinker("kmemtrack", count, scan);
}
late_initcall(watch_memory);
