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
#include <linux/workqueue.h>

#include "compat.h"
#include "glue.h"

#define KMT_HINT_ORDER	get_order(KMT_HINTS * sizeof(struct kmt_object *))

/* Chunks that leave the pool, and those who walk over it. */
DECLARE_RWSEM(kmt_walk_sem);

static DEFINE_PER_CPU(struct kmt_object **, unused_hints);

/* Pages that were given back, all in all; under kmt_scan_mutex. */
unsigned long kmt_pages_given_back;

/**
 * kmt_remember_cells - let CPUs remember what they allocated and freed last
 *
 * Without memory for it, a CPU does without.
 *
 * Context: kmt_scan_mutex held, may sleep; or early boot.
 */
void kmt_remember_cells(void)
{
	unsigned int cpu;

	for (cpu = 0; cpu < kmt_core.pool.nr_caches; cpu++) {
		struct kmt_cell_cache *cache = &kmt_core.pool.caches[cpu];

		if (!cache->hints)
			WRITE_ONCE(cache->hints,
				   kmt_own_alloc(GFP_KERNEL | __GFP_ZERO,
						 KMT_HINT_ORDER));
	}
}

/**
 * kmt_forget_cells - give back what kmt_remember_cells() took
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_forget_cells(void)
{
	unsigned int cpu;

	lockdep_assert_held(&kmt_scan_mutex);
	for (cpu = 0; cpu < kmt_core.pool.nr_caches; cpu++) {
		struct kmt_cell_cache *cache = &kmt_core.pool.caches[cpu];

		per_cpu(unused_hints, cpu) = cache->hints;
		WRITE_ONCE(cache->hints, NULL);
	}
	/* They are used with interrupts off. */
	synchronize_rcu();
	for (cpu = 0; cpu < kmt_core.pool.nr_caches; cpu++)
		kmt_own_free(per_cpu(unused_hints, cpu), KMT_HINT_ORDER);
}

static void flush_here(void *unused)
{
	kmt_cell_flush(&kmt_core,
		       &kmt_core.pool.caches[smp_processor_id()]);
}

static void flush_caches(void)
{
	unsigned long flags;
	unsigned int cpu;

	cpus_read_lock();
	on_each_cpu(flush_here, NULL, 1);
	for_each_possible_cpu(cpu) {
		if (cpu_online(cpu))
			continue;
		local_irq_save(flags);
		kmt_cell_flush(&kmt_core, &kmt_core.pool.caches[cpu]);
		local_irq_restore(flags);
	}
	cpus_read_unlock();
}

/**
 * kmt_give_back - free memory of the pool that is not needed
 * @keep: free cells that stay
 *
 * Context: kmt_scan_mutex held, may sleep; takes long.
 */
void kmt_give_back(unsigned long keep)
{
	struct kmt_chunk *chunk, *gone = NULL;
	unsigned int cpu;

	lockdep_assert_held(&kmt_scan_mutex);
	kmt_reap_all(&kmt_core);
	flush_caches();
	down_write(&kmt_walk_sem);
	while ((chunk = kmt_pool_trim(&kmt_core, keep))) {
		chunk->next = gone;
		gone = chunk;
		cond_resched();
	}
	up_write(&kmt_walk_sem);
	if (!gone)
		return;
	for (cpu = 0; cpu < kmt_core.pool.nr_caches; cpu++) {
		kmt_forget_chunks(&kmt_core.pool.caches[cpu]);
		cond_resched();
	}
	/* Who saw cells of theirs did so with interrupts off. */
	synchronize_rcu();
	while ((chunk = gone)) {
		gone = chunk->next;
		kmt_own_free(chunk, 0);
		kmt_pages_given_back++;
		cond_resched();
	}
}

/* As many as the blocks there are may soon ask for, and the reserve, stay. */
static unsigned long worth_keeping(void)
{
	return kmt_used_cells() / 8 + 4 * READ_ONCE(kmt_core.pool.low);
}

static unsigned long to_spare(void)
{
	unsigned long keep = worth_keeping();
	unsigned long idle = kmt_pool_free_cells(&kmt_core) +
			     kmt_vacant(&kmt_core);

	return idle > keep ? idle - keep : 0;
}

static void give_back(struct work_struct *work)
{
	mutex_lock(&kmt_scan_mutex);
	if (kmt_tracking() && to_spare())
		kmt_give_back(worth_keeping());
	mutex_unlock(&kmt_scan_mutex);
}

static DECLARE_WORK(give_back_work, give_back);

static unsigned long count(struct shrinker *shrinker, struct shrink_control *sc)
{
	unsigned long pages = to_spare() * sizeof(struct kmt_object) / PAGE_SIZE;

	return pages ?: SHRINK_EMPTY;
}

/* Who is short of memory may hold locks: others do it, a little later. */
static unsigned long scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	schedule_work(&give_back_work);
	return SHRINK_STOP;
}

static int __init watch_memory(void)
{
	return kmt_register_shrinker("kmemtrack", count, scan);
}
late_initcall(watch_memory);
