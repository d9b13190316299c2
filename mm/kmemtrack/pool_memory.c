// SPDX-License-Identifier: GPL-2.0
/*
 * Memory for records: where the pool gets it from, and how it is given back.
 */
#include <linux/bsearch.h>
#include <linux/cpu.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/shrinker.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "glue.h"

/* How much the pool grows at a time in early boot: some 126 cells. */
#define KMT_EARLY_CHUNK	SZ_8K

/* How much the pool grows at a time later, if memory is easy to get. */
#define KMT_CHUNK_ORDER	get_order(SZ_16K)

/* The early pool has up to two parts: KMT_EARLY_MIN cells, the rest of early_pool=. */
#define KMT_EARLY_PAGES							\
	(DIV_ROUND_UP(KMT_EARLY_MIN, KMT_PAGE_CELLS) +			\
	 DIV_ROUND_UP(CONFIG_KMEMTRACK_EARLY_POOL_SIZE > KMT_EARLY_MIN ? \
		      CONFIG_KMEMTRACK_EARLY_POOL_SIZE - KMT_EARLY_MIN : 0, \
		      KMT_PAGE_CELLS))

static char early_cells[KMT_EARLY_PAGES * PAGE_SIZE] __initdata
	__aligned(PAGE_SIZE);
static size_t early_taken __initdata;
static bool early_extended __initdata;

unsigned int kmt_early_pool = CONFIG_KMEMTRACK_EARLY_POOL_SIZE;
unsigned long kmt_grown;

static void *__init take_early(unsigned int cells, size_t *bytes)
{
	void *mem = &early_cells[early_taken];

	*bytes = kmt_chunk_bytes(cells);
	early_taken += PAGE_ALIGN(*bytes);
	return mem;
}

static void *__init early_memblock(size_t bytes)
{
	/* Before max_low_pfn is set the linear map may not be ready. */
	if (!max_low_pfn)
		return NULL;
	return memblock_alloc_try_nid_raw(bytes, PAGE_SIZE, 0,
					  MEMBLOCK_ALLOC_NOLEAKTRACE,
					  NUMA_NO_NODE);
}

static unsigned int __init early_room(void)
{
	return (sizeof(early_cells) - early_taken) / PAGE_SIZE * KMT_PAGE_CELLS;
}

/* How many cells early_pool= asks for, beyond the first KMT_EARLY_MIN. */
static unsigned int __init early_wanted(void)
{
	if (early_extended || kmt_early_pool <= KMT_EARLY_MIN)
		return 0;
	return kmt_early_pool - KMT_EARLY_MIN;
}

/*
 * Memory before the page allocator is up: first as much as early_pool= asks for, from
 * the array if it is large enough, else from memblock; then more from memblock; and
 * where memblock cannot be used yet, the rest of the array.
 */
static void *__init early_chunk(size_t *bytes)
{
	unsigned int want = early_wanted();
	void *mem;

	if (want) {
		early_extended = true;
		if (want <= early_room())
			return take_early(want, bytes);
		*bytes = kmt_chunk_bytes(want);
		mem = early_memblock(*bytes);
		if (mem)
			return mem;
	}
	kmt_grown++;
	*bytes = KMT_EARLY_CHUNK;
	mem = early_memblock(*bytes);
	if (!mem && early_room())
		mem = take_early(early_room(), bytes);
	return mem;
}

/*
 * Memory when the page allocator has just come up: from the array, as far as early_pool=
 * allows. Otherwise returns NULL, and the page allocator is used; this counts as growth
 * if the pool has the cells that early_pool= asks for.
 */
static void *__init late_chunk(size_t *bytes)
{
	unsigned int want = min(early_wanted(), early_room());

	if (want) {
		early_extended = true;
		return take_early(want, bytes);
	}
	if (kmt_pool_cells(&kmt_core) >= kmt_early_pool)
		kmt_grown++;
	return NULL;
}

/**
 * kmt_add_early - give the pool its first memory
 *
 * Context: the first call of a hook.
 */
void __init kmt_add_early(void)
{
	size_t bytes;
	void *mem = take_early(KMT_EARLY_MIN, &bytes);

	kmt_pool_add(&kmt_core, mem, bytes);
}

static bool __init in_array(const struct kmt_chunk *chunk)
{
	return (const char *)chunk >= early_cells &&
	       (const char *)chunk < early_cells + sizeof(early_cells);
}

/**
 * kmt_leave_early - move records out of memory that is about to be freed
 *
 * Context: early boot; page allocator and slab are up.
 * Return: 0, or -ENOMEM.
 */
int __init kmt_leave_early(void)
{
	struct kmt_chunk *chunk, *next;
	int ret;

	early_extended = true;
	/* Close all chunks first, so that no record moves to another one of them. */
	kmt_for_each_chunk(&kmt_core, chunk)
		if (in_array(chunk))
			kmt_chunk_close(&kmt_core, chunk);
	for (chunk = kmt_chunks(&kmt_core); chunk; chunk = next) {
		next = chunk->next;
		if (!in_array(chunk))
			continue;
		ret = kmt_pool_evacuate(&kmt_core, chunk, GFP_KERNEL);
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * kmt_used_cells - count the cells in use: live objects and auxiliary cells
 *
 * Return: their number; exact only while nothing else uses the pool.
 */
unsigned long kmt_used_cells(void)
{
	return kmt_pool_cells(&kmt_core) - kmt_pool_free_cells(&kmt_core) -
	       kmt_vacant(&kmt_core);
}

/*
 * kmt_ops.chunk_stays: memory of memblock is never freed. Nor is the array of early boot
 * while it is in use: it may be in the image, which does not have struct pages on all
 * machines.
 */
bool kmt_chunk_stays(const void *mem)
{
	return !totalram_pages() || !virt_addr_valid(mem) ||
	       !kmt_is_own_page(virt_to_page(mem));
}

/* kmt_ops.chunk_alloc */
void *__ref kmt_chunk_alloc(struct kmt_core *core, gfp_t gfp, size_t *bytes)
{
	gfp_t nested = kmt_nested_gfp(gfp);
	void *mem = NULL;

	/*
	 * memblock hands all its memory to the page allocator at once. From then
	 * on memory must not be taken from memblock, even if slab is not up yet.
	 */
	if (!totalram_pages())
		return early_chunk(bytes);
	if (READ_ONCE(kmt_mode) == KMT_EARLY) {
		mem = late_chunk(bytes);
		if (mem)
			return mem;
	}
	if (gfpflags_allow_blocking(nested))
		mem = kmt_own_alloc(nested, KMT_CHUNK_ORDER);
	if (!mem) {
		*bytes = PAGE_SIZE;
		return kmt_own_alloc(nested, 0);
	}
	/* Each page is freed by itself. */
	kmt_own_split(mem, KMT_CHUNK_ORDER);
	*bytes = PAGE_SIZE << KMT_CHUNK_ORDER;
	return mem;
}

static void refill(struct work_struct *work)
{
	/* While tracking is off there is no reserve. */
	while (kmt_tracking() && kmt_pool_is_low(&kmt_core)) {
		if (!kmt_pool_extend(&kmt_core, GFP_KERNEL))
			return;
		/* Other CPUs may take cells as fast as this gets them. */
		cond_resched();
	}
}

static DECLARE_WORK(refill_work, refill);

static void kick_refill(struct irq_work *work)
{
	schedule_work(&refill_work);
}

/* A hook cannot queue work: its caller may hold locks that this takes. */
static DEFINE_IRQ_WORK(refill_irq_work, kick_refill);

/* kmt_ops.low */
void kmt_pool_low(struct kmt_core *core)
{
	if (system_state >= SYSTEM_SCHEDULING)
		irq_work_queue(&refill_irq_work);
}

static int __init refill_first(void)
{
	schedule_work(&refill_work);
	return 0;
}
core_initcall(refill_first);

/*
 * Giving memory back: after a peak, when memory is short; and all of it when tracking is
 * switched off.
 */

/* Total number of pages that left the pool; protected by kmt_scan_mutex. */
unsigned long kmt_pages_given_back;

/* Number of passes of the shrinker over the pool; protected by kmt_scan_mutex. */
unsigned long kmt_passes;

/* How often records may have been moved in passes, which may take several calls each. */
unsigned long kmt_pool_moves;

static void flush_here(void *unused)
{
	kmt_flush_cache(&kmt_core, smp_processor_id());
}

/* Moves the cells in all caches to their chunks. Context: cpus_read_lock() held. */
static void flush_caches(void)
{
	unsigned long flags;
	unsigned int cpu;

	on_each_cpu(flush_here, NULL, 1);
	for_each_possible_cpu(cpu) {
		if (cpu_online(cpu))
			continue;
		local_irq_save(flags);
		kmt_flush_cache(&kmt_core, cpu);
		local_irq_restore(flags);
	}
}

/*
 * The direct leak on which each indirect leak hangs, sorted by the cells of the indirect
 * leaks, from the last scan that was completed. kmt_rank.direct is NULL if one of the two
 * cells has left the pool since. Protected by kmt_scan_mutex.
 */
static struct kmt_rank *ranks;
static unsigned long nr_ranks;

/* kmt_ops.classified; may sleep. */
void kmt_keep_direct_leaks(struct kmt_core *core, const struct kmt_rank *rank,
			   unsigned long nr)
{
	lockdep_assert_held(&kmt_scan_mutex);
	kmt_own_vfree(ranks, array_size(nr_ranks, sizeof(*ranks)));
	ranks = nr ? kmt_own_vzalloc(array_size(nr, sizeof(*ranks))) : NULL;
	nr_ranks = ranks ? nr : 0;
	if (ranks)
		memcpy(ranks, rank, nr * sizeof(*rank));
}

static bool is_gone(const struct kmt_object *o)
{
	return !o || kmt_chunk_of(o)->closed;
}

static int compare_cells(const void *key, const void *elt)
{
	const struct kmt_object *a = key;
	const struct kmt_object *b = ((const struct kmt_rank *)elt)->o;

	return a < b ? -1 : a > b;
}

/**
 * kmt_direct_leak_of - find the direct leak on which a leak hangs
 * @o: its cell
 * @hint: the entry that was found last, or NULL; the next one is tried first
 *
 * Context: kmt_scan_mutex held.
 * Return: the entry of the leak, or NULL if there is none; its direct leak is NULL if
 * one of the two cells has left the pool.
 */
const struct kmt_rank *kmt_direct_leak_of(const struct kmt_object *o,
					  const struct kmt_rank *hint)
{
	if (!nr_ranks)
		return NULL;
	if (hint && ++hint < ranks + nr_ranks && hint->o == o)
		return hint;
	return bsearch(o, ranks, nr_ranks, sizeof(*ranks), compare_cells);
}

/* Forgets ranks whose cells left the pool, before the chunks are freed. */
static void forget_ranks(void)
{
	unsigned long i;

	for (i = 0; i < nr_ranks; i++) {
		struct kmt_rank *r = &ranks[i];

		if (r->direct && (is_gone(r->o) || is_gone(r->direct)))
			r->direct = NULL;
		cond_resched();
	}
}

/* Number of chunks that were passed to RCU, and are not freed yet. */
static atomic_long_t nr_with_rcu;

static void free_chunk(struct rcu_head *head)
{
	kmt_own_free(container_of(head, struct kmt_chunk, rcu), 0);
	/* Pairs with the acquire in kmt_await_chunks(): at 0 no list of RCU has a chunk. */
	atomic_long_dec_return_release(&nr_with_rcu);
}

/**
 * kmt_await_chunks - wait until RCU has no chunk
 *
 * A scan does not read chunks, so it cannot follow RCU's list of callbacks beyond a chunk,
 * and would report the blocks whose callbacks are queued behind it. During a scan no chunk
 * is queued.
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_await_chunks(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	if (atomic_long_read_acquire(&nr_with_rcu))
		rcu_barrier();
}

/* Frees chunks that have left the pool: with @all even few. */
static void free_chunks(bool all)
{
	struct kmt_chunk *chunk, *gone;

	lockdep_assert_held(&kmt_scan_mutex);
	gone = kmt_pool_take_gone(&kmt_core, all);
	if (!gone)
		return;
	forget_ranks();
	while ((chunk = gone)) {
		gone = chunk->next;
		/* RCU waits for hooks, which use cells of it with interrupts off. */
		atomic_long_inc(&nr_with_rcu);
		call_rcu(&chunk->rcu, free_chunk);
		cond_resched();
	}
}

/*
 * Compacts up to @look chunks, and removes up to @nr from the pool, but keeps @keep free
 * cells; returns how many it removed. Stops when *@left, which counts the chunks down, is
 * 0.
 */
static unsigned long compact(unsigned long *left, unsigned long look,
			     unsigned long nr, unsigned long keep)
{
	unsigned long removed = 0;

	for (; *left && look && removed < nr; --*left, look--) {
		kmt_pool_compact(&kmt_core, keep);
		while (removed < nr && kmt_pool_trim(&kmt_core, keep)) {
			WRITE_ONCE(kmt_pages_given_back, kmt_pages_given_back + 1);
			removed++;
		}
		cond_resched();
	}
	return removed;
}

/**
 * kmt_give_back_all - free all memory of the pool that is not in use
 *
 * Context: kmt_scan_mutex held, may sleep; takes long.
 */
void kmt_give_back_all(void)
{
	struct kmt_chunk *chunk;
	unsigned long left;

	lockdep_assert_held(&kmt_scan_mutex);
	cpus_read_lock();
	flush_caches();
	cpus_read_unlock();
	down_write(&kmt_walk_sem);
	/*
	 * Also vacant records in chunks that stay: while tracking is off no hook would
	 * make them live again, and the free of a block in their place would look like
	 * a second one.
	 */
	kmt_for_each_chunk(&kmt_core, chunk) {
		kmt_reclaim_chunk(&kmt_core, chunk);
		cond_resched();
	}
	left = kmt_nr_chunks(&kmt_core);
	compact(&left, left, left, 0);
	free_chunks(true);
	up_write(&kmt_walk_sem);
}

/* Chunks that the shrinker compacts per page that it is asked for. */
#define KMT_LOOK	8

/* A pass begins only if so many more cells are unused than after the last one. */
#define KMT_LEAST	1024UL

/*
 * A pass of the shrinker over the pool: left_in_pass is the number of chunks that are
 * left in it, protected by kmt_scan_mutex. idle_after_pass is the number of cells that
 * were not in use after the last pass: until there are more, another pass would free
 * nothing.
 */
static unsigned long left_in_pass;
static unsigned long idle_after_pass;

static unsigned long idle_cells(void)
{
	return kmt_pool_free_cells(&kmt_core) + kmt_vacant(&kmt_core);
}

/* Free cells that the shrinker leaves: an eighth of those in use, and the reserve. */
static unsigned long cells_to_keep(void)
{
	return kmt_used_cells() / 8 + 4 * kmt_pool_low_mark(&kmt_core);
}

/* Whether enough cells became unused since the last pass. */
static bool is_time_for_pass(unsigned long idle)
{
	unsigned long before = READ_ONCE(idle_after_pass);

	if (idle < before)
		WRITE_ONCE(idle_after_pass, idle);
	return idle >= before + max(before / 8, KMT_LEAST);
}

static unsigned long shrinker_count(struct shrinker *shrinker,
				    struct shrink_control *sc)
{
	const unsigned long keep = cells_to_keep(), idle = idle_cells();
	const unsigned long gone = kmt_nr_gone(&kmt_core);

	if (!kmt_tracking())
		return 0;
	if (idle <= keep || (!is_time_for_pass(idle) && !READ_ONCE(left_in_pass)))
		return gone;
	return gone + (idle - keep) / KMT_PAGE_CELLS;
}

/* Continues a pass, or begins one. */
static unsigned long shrink(unsigned long nr)
{
	unsigned long removed;

	if (!left_in_pass) {
		WRITE_ONCE(kmt_passes, kmt_passes + 1);
		WRITE_ONCE(left_in_pass, kmt_nr_chunks(&kmt_core));
		/* Cells in the CPUs' caches keep their chunks from being freed. */
		if (cpus_read_trylock()) {
			flush_caches();
			cpus_read_unlock();
		}
	}
	WRITE_ONCE(kmt_pool_moves, kmt_pool_moves + 1);
	removed = compact(&left_in_pass, KMT_LOOK * nr, nr, cells_to_keep());
	if (!left_in_pass)
		WRITE_ONCE(idle_after_pass, idle_cells());
	free_chunks(!left_in_pass);
	return removed;
}

/*
 * Only tries locks: a task in reclaim may hold any, including those of a scan.
 */
static unsigned long shrinker_scan(struct shrinker *shrinker,
				   struct shrink_control *sc)
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
	return kmt_register_shrinker("kmemtrack", shrinker_count,
				     shrinker_scan);
}
late_initcall(watch_memory);
