// SPDX-License-Identifier: GPL-2.0
/*
 * The tracker's own memory, and the other services the core wants.
 *
 * Pages of ours hold addresses of tracked blocks all over; they bear a mark in
 * page_private() so that they are never taken for roots.
 */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/irq_work.h>
#include <linux/kasan.h>
#include <linux/kmemtrack.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/shrinker.h>
#include <linux/sizes.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "pages.h"
#include "scan.h"

/* Pages that the pool gets at a time, if memory is easy to get. */
#define KMT_CHUNK_ORDER	get_order(SZ_16K)

#define KMT_OWN_PAGE	((unsigned long)&kmt_core)
#define KMT_NOT_ROOT	(KMT_OWN_PAGE + 1)
#define KMT_STACK_PAGE	(KMT_OWN_PAGE + 2)
#define KMT_UNREADABLE	(KMT_OWN_PAGE + 3)

unsigned long kmt_grown;

static void mark_pages(void *mem, unsigned int order, unsigned long private)
{
	struct page *page = virt_to_page(mem);
	unsigned int i;

	for (i = 0; i < 1U << order; i++)
		set_page_private(page + i, private);
}

/**
 * kmt_own_alloc - pages that are never scanned
 * @gfp: how
 * @order: how many
 *
 * Return: their address, or NULL.
 */
void *kmt_own_alloc(gfp_t gfp, unsigned int order)
{
	void *mem = NULL;

	if (!kmt_should_fail(PAGE_SIZE << order))
		mem = (void *)__get_free_pages(gfp | __GFP_NOWARN, order);
	if (mem) {
		mark_pages(mem, order, KMT_OWN_PAGE);
		kmt_pages_disown(virt_to_page(mem));
	}
	return mem;
}

/**
 * kmt_own_free - free pages of kmt_own_alloc()
 * @mem: their address, or NULL
 * @order: how many
 *
 * They are wiped, so that the next owner does not seem to hold references.
 */
void kmt_own_free(void *mem, unsigned int order)
{
	if (!mem)
		return;
	memset(mem, 0, PAGE_SIZE << order);
	mark_pages(mem, order, 0);
	free_pages((unsigned long)mem, order);
}

/**
 * kmt_own_page - is this memory of ours?
 * @page: a page
 */
bool kmt_own_page(const struct page *page)
{
	return page_private(page) == KMT_OWN_PAGE;
}

/**
 * kmt_not_root_page - was kmemtrack_not_root() called for it?
 * @page: a page
 */
bool kmt_not_root_page(const struct page *page)
{
	return page_private(page) == KMT_NOT_ROOT;
}

/**
 * kmt_stack_page - does a stack begin here?
 * @page: a page
 */
bool kmt_stack_page(const struct page *page)
{
	return page_private(page) == KMT_STACK_PAGE;
}

/**
 * kmt_set_stack_page - a stack begins here
 * @page: the first of its pages
 */
void kmt_set_stack_page(struct page *page)
{
	set_page_private(page, KMT_STACK_PAGE);
}

void kmemtrack_not_root(const void *addr)
{
	if (addr)
		set_page_private(virt_to_page(addr), KMT_NOT_ROOT);
}

/**
 * kmt_unreadable_page - was kmemtrack_unreadable() called for it?
 * @page: a page
 */
bool kmt_unreadable_page(const struct page *page)
{
	return page_private(page) == KMT_UNREADABLE;
}

static void mark_exact(const void *addr, size_t size, unsigned long private)
{
	size_t at;

	for (at = 0; addr && at < size; at += PAGE_SIZE)
		set_page_private(virt_to_page(addr + at), private);
}

void kmemtrack_unreadable(const void *addr, size_t size)
{
	mark_exact(addr, size, KMT_UNREADABLE);
}

void kmemtrack_readable(const void *addr, size_t size)
{
	mark_exact(addr, size, 0);
}

void kmemtrack_split_page(struct page *page, unsigned long nr)
{
	unsigned long i;

	for (i = 1; i < nr; i++)
		set_page_private(page + i, 0);
	kmt_pages_split(page, nr);
}

/* Pages of the tracker that vmalloc() counts as its own. */
atomic_long_t kmt_own_vpages;

/* Marks the pages behind a buffer of vzalloc(). */
static void mark_vpages(const void *mem, unsigned long private)
{
	const struct vm_struct *area = find_vm_area(mem);
	unsigned int i, nr = area ? area->nr_pages : 0;

	for (i = 0; i < nr; i++)
		set_page_private(area->pages[i], private);
	atomic_long_add(private ? nr : -(long)nr, &kmt_own_vpages);
}

static void *own_vzalloc(size_t bytes, gfp_t gfp)
{
	void *mem = __vmalloc(bytes, gfp | __GFP_ZERO);

	kmemleak_ignore(mem);
	if (mem)
		mark_vpages(mem, KMT_OWN_PAGE);
	return mem;
}

/**
 * kmt_own_vzalloc - a large buffer that is never scanned or reported
 * @bytes: size
 *
 * A scan that is under way has filled its map of pages: those of the buffer bear
 * the mark of the tracker, as all of its pages do.
 *
 * Return: zeroed memory, or NULL.
 */
void *kmt_own_vzalloc(size_t bytes)
{
	return own_vzalloc(bytes, GFP_KERNEL);
}

/**
 * kmt_own_try_vzalloc - the same for what can be done without
 * @bytes: size
 *
 * Return: zeroed memory, or NULL, without a warning, if that is not easy to get.
 */
void *kmt_own_try_vzalloc(size_t bytes)
{
	if (kmt_should_fail(bytes))
		return NULL;
	return own_vzalloc(bytes, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
}

/**
 * kmt_own_alloc_table - memory that is looked up with each allocation
 * @bytes: size
 *
 * In the linear map, or in pages as large as can be had: translations are cached
 * for few pages.
 *
 * Return: zeroed memory that stays, or NULL, without a warning.
 */
void *kmt_own_alloc_table(size_t bytes)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN;
	void *mem = NULL;

	if (get_order(bytes) <= MAX_PAGE_ORDER)
		mem = kmt_own_alloc(gfp, get_order(bytes));
	if (mem || kmt_should_fail(bytes))
		return mem;
	mem = vmalloc_huge(bytes, gfp | __GFP_NORETRY);
	kmemleak_ignore(mem);
	if (mem)
		mark_vpages(mem, KMT_OWN_PAGE);
	return mem;
}

/**
 * kmt_own_vfree - free such a buffer, wiped
 * @mem: its address, or NULL
 * @bytes: its size; what is behind that in its last page was never written
 */
void kmt_own_vfree(void *mem, size_t bytes)
{
	if (mem) {
		memset(mem, 0, bytes);
		mark_vpages(mem, 0);
	}
	vfree(mem);
}

/**
 * kmt_used_cells - cells of the pool that hold something that lives
 *
 * Return: their number; exact while nothing else happens.
 */
unsigned long kmt_used_cells(void)
{
	return READ_ONCE(kmt_core.pool.cells) -
	       kmt_pool_free_cells(&kmt_core) - kmt_vacant(&kmt_core);
}

/* Several at a time; each is freed for itself. */
static void *alloc_chunks(gfp_t gfp)
{
	void *mem = kmt_own_alloc(gfp, KMT_CHUNK_ORDER);

	if (mem) {
		split_page(virt_to_page(mem), KMT_CHUNK_ORDER);
		/* That clears the marks of all but the first. */
		mark_pages(mem, KMT_CHUNK_ORDER, KMT_OWN_PAGE);
	}
	return mem;
}

/*
 * Memory of memblock stays, and so does the array of early boot as long as it is:
 * that may be in the image, which has no struct pages of its own on all machines.
 */
static bool chunk_stays(const void *mem)
{
	return !totalram_pages() || !virt_addr_valid(mem) ||
	       !kmt_own_page(virt_to_page(mem));
}

static void *__ref chunk_alloc(struct kmt_core *core, gfp_t gfp, size_t *bytes)
{
	gfp_t nested = kmt_nested_gfp(gfp);
	void *mem = NULL;

	/*
	 * Memblock's memory goes to the page allocator all at once, and must
	 * not be taken from memblock any more then, slab or no slab.
	 */
	if (!totalram_pages())
		return kmt_early_chunk(bytes);
	if (READ_ONCE(kmt_mode) == KMT_EARLY) {
		mem = kmt_late_chunk(bytes);
		if (mem)
			return mem;
	}
	if (gfpflags_allow_blocking(nested))
		mem = alloc_chunks(nested);
	*bytes = PAGE_SIZE << KMT_CHUNK_ORDER;
	if (!mem) {
		mem = kmt_own_alloc(nested, 0);
		*bytes = PAGE_SIZE;
	}
	return mem;
}

static void refill(struct work_struct *work)
{
	const struct kmt_pool *pool = &kmt_core.pool;

	/* While nothing is tracked nothing is kept. */
	while (kmt_tracking() && READ_ONCE(pool->nr_free) < 2 * pool->low)
		if (!kmt_pool_extend(&kmt_core, GFP_KERNEL))
			return;
}

static DECLARE_WORK(refill_work, refill);

static void kick_refill(struct irq_work *work)
{
	schedule_work(&refill_work);
}

/* The allocators may hold locks that schedule_work() wants. */
static DEFINE_IRQ_WORK(refill_irq_work, kick_refill);

/* Interrupts and workers come up late in boot. */
static bool can_defer __ro_after_init;

static void pool_low(struct kmt_core *core)
{
	if (can_defer)
		irq_work_queue(&refill_irq_work);
}

/**
 * struct kmt_side - a block that a warning is about
 * @hidden: its address, inverted: it is no reference; 0 if there is no block
 * @size: its bytes
 * @stack: who allocated it
 * @pid: the same
 */
struct kmt_side {
	unsigned long hidden;
	unsigned long size;
	u32 stack;
	s32 pid;
};

enum kmt_slot_state {
	KMT_SLOT_FREE,
	KMT_SLOT_TAKEN,
	KMT_SLOT_READY,
};

/* The log has traces of code that may be gone, and of any context. */
static void warn_trace(u32 stack)
{
	unsigned long *entries;
	unsigned int i, nr = stack ? stack_depot_fetch(stack, &entries) : 0;

	for (i = 0; i < nr; i++) {
		const char *gone = kmt_gone_name(entries[i]);

		if (gone)
			pr_warn("kmemtrack:   %s\n", gone);
		else
			pr_warn("kmemtrack:   %pS\n", (void *)entries[i]);
	}
}

/**
 * struct kmt_warning - what is to be printed by print_warnings()
 * @state: enum kmt_slot_state
 * @ev: what happened
 * @old: the block that was there
 * @new: the one that came
 * @comm: who was at it, if no new block tells
 * @pid: the same
 * @nr: the same: entries in its backtrace
 * @entries: the backtrace
 */
struct kmt_warning {
	atomic_t state;
	enum kmt_event ev;
	struct kmt_side old;
	struct kmt_side new;
	char comm[TASK_COMM_LEN];
	pid_t pid;
	unsigned int nr;
	unsigned long entries[CONFIG_KMEMTRACK_STACK_DEPTH];
};

/*
 * Slots for warnings that are to be printed, and how many there are in a minute
 * at most. A warning that finds no slot is not printed, but counts for that,
 * too.
 */
#define KMT_WARNINGS	3

static struct kmt_warning warnings[KMT_WARNINGS];

static void note_side(struct kmt_side *side, const struct kmt_object *o)
{
	*side = (struct kmt_side){};
	if (!o)
		return;
	side->hidden = ~o->addr;
	side->size = o->size;
	side->stack = o->stack;
	side->pid = o->pid;
}

/* Nobody has asked for it: so no addresses are shown. */
static void print_side(const char *what, const struct kmt_side *side)
{
	if (!side->hidden)
		return;
	pr_warn("kmemtrack: %s block %p, %lu bytes, pid %d\n", what,
		(void *)~side->hidden, side->size, side->pid);
	warn_trace(side->stack);
}

static void print_warning(const struct kmt_warning *w)
{
	static const char * const what[KMT_NR_EVENTS] = {
		[KMT_EV_OVERLAP] = "a block was allocated where another one lives",
		[KMT_EV_BAD_SIZE] = "a block of impossible size",
		[KMT_EV_FREE_INSIDE] = "an address inside a block was freed",
		[KMT_EV_FREE_TWICE] = "a block was freed twice",
	};
	struct kmt_log_task task;

	pr_warn("kmemtrack: %s\n", what[w->ev]);
	print_side("old", &w->old);
	print_side("new", &w->new);
	if (!w->nr)
		return;
	pr_warn("kmemtrack: by \"%s\", pid %d\n",
		kmt_log_task(&task, w->comm), w->pid);
	stack_trace_print(w->entries, w->nr, 0);
}

static void print_warnings(struct work_struct *work)
{
	unsigned int i;

	for (i = 0; i < KMT_WARNINGS; i++) {
		/* Pairs with warn_event(). */
		if (atomic_read_acquire(&warnings[i].state) != KMT_SLOT_READY)
			continue;
		print_warning(&warnings[i]);
		atomic_set_release(&warnings[i].state, KMT_SLOT_FREE);
	}
}

static DECLARE_WORK(warn_work, print_warnings);

static void kick_warnings(struct irq_work *work)
{
	schedule_work(&warn_work);
}

static DEFINE_IRQ_WORK(warn_irq_work, kick_warnings);

/* The allocators' caller may hold locks under which nothing is to be printed. */
static void warn_event(struct kmt_core *core, enum kmt_event ev,
		       const struct kmt_object *old,
		       const struct kmt_object *new)
{
	static struct ratelimit_state limit =
		RATELIMIT_STATE_INIT_FLAGS(limit, 60 * HZ, KMT_WARNINGS,
					   RATELIMIT_MSG_ON_RELEASE);
	struct kmt_warning *w = warnings;

	if (!__ratelimit(&limit))
		return;
	while (atomic_cmpxchg(&w->state, KMT_SLOT_FREE, KMT_SLOT_TAKEN) !=
	       KMT_SLOT_FREE)
		if (++w == warnings + KMT_WARNINGS)
			return;
	w->ev = ev;
	note_side(&w->old, old);
	note_side(&w->new, new);
	memcpy(w->comm, current->comm, TASK_COMM_LEN);
	w->pid = current->pid;
	w->nr = new ? 0 : stack_trace_save(w->entries, ARRAY_SIZE(w->entries), 1);
	atomic_set_release(&w->state, KMT_SLOT_READY);
	if (can_defer)
		irq_work_queue(&warn_irq_work);
}

static int __init start_workers(void)
{
	can_defer = true;
	schedule_work(&refill_work);
	schedule_work(&warn_work);
	return 0;
}
core_initcall(start_workers);

static bool relax(struct kmt_marker *m)
{
	if (m->world_stopped)
		return ktime_get_mono_fast_ns() > m->deadline;
	kmt_progress_turn(m);
	cond_resched_tasks_rcu_qs();
	return !kmt_tracking() || kmt_scan_cancelled();
}

/* Sleeps longer each time: at first there may soon be something to do. */
static void wait(struct kmt_marker *m, unsigned int before)
{
	unsigned long us = 20UL << min(before, 6U);

	usleep_range(us, 2 * us);
}

static void *table_alloc(struct kmt_core *core, size_t bytes)
{
	return kmt_own_try_vzalloc(bytes);
}

static void table_free(struct kmt_core *core, void *table, size_t bytes)
{
	kmt_own_vfree(table, bytes);
}

const struct kmt_ops kmt_kernel_ops = {
	.chunk_alloc	= chunk_alloc,
	.chunk_stays	= chunk_stays,
	.low		= pool_low,
	.warn		= warn_event,
	.relax		= relax,
	.wait		= wait,
	.table_alloc	= table_alloc,
	.table_free	= table_free,
	.hung		= kmt_report_hung,
};

/*
 * Memory that is given back: after a peak when memory is short, and all of it
 * when tracking ends.
 */

#define KMT_RECENT_ORDER	get_order(KMT_RECENT_CELLS * sizeof(struct kmt_object *))

/* Read by walkers of the pool; written while records move or chunks leave it. */
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
	/* Hooks use them with interrupts off. */
	synchronize_rcu();
	for_each_possible_cpu(cpu)
		kmt_own_free(per_cpu(unused_recent_cells, cpu), KMT_RECENT_ORDER);
}

static void flush_here(void *unused)
{
	kmt_cell_flush(&kmt_core,
		       &kmt_core.pool.caches[smp_processor_id()]);
}

/* Context: cpus_read_lock() held. */
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

/* Free cells that the shrinker leaves: an eighth of those in use, and the reserve. */
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

static unsigned long shrinker_count(struct shrinker *shrinker,
				    struct shrink_control *sc)
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
		/* Cells in the CPUs' caches keep their chunks from being freed. */
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
 * Waits for no lock: a task in reclaim may hold any, also those of a scan.
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
