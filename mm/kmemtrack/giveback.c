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

	if (!cache->hints)
		WRITE_ONCE(cache->hints, kmt_own_alloc(GFP_KERNEL | __GFP_ZERO,
						       KMT_HINT_ORDER));
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

		per_cpu(unused_hints, cpu) = cache->hints;
		WRITE_ONCE(cache->hints, NULL);
	}
	/* They are used with interrupts off. */
	synchronize_rcu();
	for_each_possible_cpu(cpu)
		kmt_own_free(per_cpu(unused_hints, cpu), KMT_HINT_ORDER);
}

static size_t bytes_of(const struct kmt_chunk *chunk)
{
	return (chunk->nr + 1UL) * sizeof(struct kmt_object);
}

/* Memory of memblock stays. */
static bool is_pages(struct kmt_chunk *chunk)
{
	return PAGE_ALIGNED(chunk) && PAGE_ALIGNED(bytes_of(chunk)) &&
	       kmt_own_page(virt_to_page(chunk));
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
	struct kmt_chunk *chunk, *next;

	lockdep_assert_held(&kmt_scan_mutex);
	kmt_reap_all(&kmt_core);
	flush_caches();
	down_write(&kmt_walk_sem);
	chunk = kmt_pool_trim(&kmt_core, keep, is_pages);
	up_write(&kmt_walk_sem);
	if (!chunk)
		return;
	/* Who saw cells of theirs did so with interrupts off. */
	synchronize_rcu();
	for (; chunk; chunk = next) {
		unsigned int order = get_order(bytes_of(chunk));

		next = chunk->next;
		kmt_own_free(chunk, order);
		kmt_pages_given_back += 1UL << order;
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
