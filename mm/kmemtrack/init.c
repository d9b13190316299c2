// SPDX-License-Identifier: GPL-2.0
/*
 * From the first allocation to a working tracker; switching on and off.
 *
 * Until the page allocator is up, records are in an array in the kernel's init memory, or
 * in memory of memblock if the array is too small. kmemleak_init() moves records out of
 * the array before it is freed.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/export.h>
#include <linux/init.h>
#include <linux/kmemtrack.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/task.h>
#include <linux/stackdepot.h>
#include <asm/sections.h>

#ifdef CONFIG_MODULES
#include "../../kernel/module/internal.h"
#endif
#include "pages.h"

/* Limits of the number of shards: one per region, up to 1 TiB. */
#define KMT_SHARDS_MIN	1024U
#define KMT_SHARDS_MAX	BIT(40 - KMT_REGION_SHIFT)

/* Limit of the ranges of memory from which kmt_core.fold is computed. */
#define KMT_FOLD_RANGES	128

/* Reserve of cells for allocations that cannot wait. */
#define KMT_RESERVE	512

DEFINE_STATIC_KEY_TRUE(kmemtrack_key);
EXPORT_SYMBOL(kmemtrack_key);
bool kmt_want_on __initdata =
	!IS_ENABLED(CONFIG_DEBUG_KMEMLEAK_DEFAULT_OFF);

static struct kmt_tree first_shard;
static struct kmt_tree *boot_shards __initdata;
static u32 nr_shards;
static struct kmt_cell_cache first_caches[1];

static unsigned long early_used;
static unsigned long early_grown;
/* Why tracking cannot be switched on, ever; NULL if it can. */
static const char *failed;

static bool has_tables;

/* No page has blocks of two shards: kmt_first_block() looks into one. */
static_assert(PAGE_SHIFT <= KMT_REGION_SHIFT);

static void *table_alloc(struct kmt_core *core, size_t bytes)
{
	return kmt_own_vzalloc(bytes);
}

static void table_free(struct kmt_core *core, void *table, size_t bytes)
{
	kmt_own_vfree(table, bytes);
}

static const struct kmt_ops kernel_ops = {
	.chunk_alloc	= kmt_chunk_alloc,
	.chunk_stays	= kmt_chunk_stays,
	.low		= kmt_pool_low,
	.warn		= kmt_warn,
	.replaced	= kmt_pages_replaced,
	.relax		= kmt_scan_should_stop,
	.wait		= kmt_wait,
	.trace_order	= kmt_trace_order,
	.table_alloc	= table_alloc,
	.table_free	= table_free,
	.classified	= kmt_keep_direct_leaks,
};

/* Called by the first hook; one CPU, no task, no command line yet. */
static void __init start_early(void)
{
	kmt_core_init(&kmt_core, &kernel_ops, &first_shard, 1,
		      first_caches, ARRAY_SIZE(first_caches));
	kmt_set_image(&kmt_core, (unsigned long)_stext, (unsigned long)_end);
	kmt_add_early();
	kmt_mode = KMT_EARLY;
}

/**
 * kmt_may_track_early - a hook was called while kmt_mode is not KMT_ON
 *
 * Return: whether the hook may continue.
 */
bool __ref kmt_may_track_early(void)
{
	switch (READ_ONCE(kmt_mode)) {
	case KMT_UNINIT:
		/* Only CPU 0 has a cell cache yet. */
		if (smp_processor_id())
			return false;
		/* This is early boot: kmemleak_init() sets another mode. */
		start_early();
		return true;
	case KMT_EARLY:
		/* The boot CPU may have another number; set_up() allocates its cache. */
		return smp_processor_id() < kmt_core.pool.nr_caches;
	case KMT_OFF:
		return false;
	default:
		return true;
	}
}

/**
 * kmt_update_early_use - keep the maximum of the cells in use during early boot
 */
void kmt_update_early_use(void)
{
	early_used = max(early_used, kmt_used_cells());
}

/* Computes kmt_core.fold from the ranges of memory that memblock has. */
static u8 __init fold_of_memory(void)
{
	static struct kmt_range ranges[KMT_FOLD_RANGES] __initdata;
	phys_addr_t start, end;
	unsigned int nr = 0;
	u64 i;

	for_each_mem_range(i, &start, &end) {
		if (nr == ARRAY_SIZE(ranges))
			break;
		ranges[nr++] = (struct kmt_range){
			(unsigned long)__va(start), (unsigned long)__va(end)
		};
	}
	return kmt_index_fold(ranges, nr, nr_shards);
}

/**
 * kmemtrack_alloc_early - allocate the table of shards from memblock
 *
 * The table has a shard for each region of memory. On large machines it is larger than
 * the largest block of the page allocator, and vmalloc comes up later.
 *
 * Context: early boot, right before memblock hands its memory to the page allocator.
 */
void __init kmemtrack_alloc_early(void)
{
	unsigned long regions = memblock_phys_mem_size() >> KMT_REGION_SHIFT;

	/*
	 * The hooks were refused until now (kmt_may_track_early()), so memory of memblock has
	 * no records, and would not be read as a root. Tracking cannot begin.
	 */
	if (smp_processor_id()) {
		failed = "the boot CPU is not CPU 0";
		kmt_want_on = false;
	}
	if (kmt_mode == KMT_UNINIT)
		start_early();
	/* Later neither the page allocator nor vmalloc() may have a table of that size. */
	if (kmt_want_on)
		stack_depot_request_early_init();
	nr_shards = clamp_t(unsigned long, roundup_pow_of_two(regions),
			    KMT_SHARDS_MIN, KMT_SHARDS_MAX);
	while (kmt_want_on) {
		size_t bytes = nr_shards * sizeof(*boot_shards);

		boot_shards = memblock_alloc_try_nid(bytes, SMP_CACHE_BYTES, 0,
						     MEMBLOCK_ALLOC_NOLEAKTRACE,
						     NUMA_NO_NODE);
		if (boot_shards || nr_shards == KMT_SHARDS_MIN)
			break;
		nr_shards /= 2;
	}
	kmt_core.fold = fold_of_memory();
	if (kmt_core.fold != KMT_NO_FOLD)
		static_branch_enable(&kmt_folded_key);
}

/* Allocates the table of shards when tracking is switched on after boot. */
static struct kmt_tree *alloc_shards(void)
{
	struct kmt_tree *shards = NULL;
	u32 nr;

	for (nr = nr_shards; nr && !shards; nr /= 2) {
		shards = kmt_own_alloc_table(nr * sizeof(*shards));
		/* Without memory the next "on" tries all sizes again. */
		if (shards)
			nr_shards = nr;
	}
	return shards;
}

static int __init set_up(void)
{
	struct kmt_cell_cache *caches;

	caches = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO,
			       get_order(nr_cpu_ids * sizeof(*caches)));
	if (!caches)
		return -ENOMEM;
	caches[smp_processor_id()] = first_caches[0];
	kmt_pool_set_caches(&kmt_core, caches, nr_cpu_ids, KMT_RESERVE);
	return 0;
}

/* Allocates the tables that tracking needs, while off or in early boot. */
static int alloc_tables(struct kmt_tree *shards)
{
	/* Includes memory to be hotplugged. */
	const struct kmt_range linear = { PAGE_OFFSET, KMT_LINEAR_END };

	if (!shards)
		return -ENOMEM;
	kmt_index_resize(&kmt_core, &linear, shards, nr_shards);
	has_tables = true;
	/* If this fails for lack of memory, there are no backtraces. */
	stack_depot_init();
	return 0;
}

static void add_root(const char *start, const char *end)
{
	struct kmt_origin origin = { .born = jiffies };

	if (start < end)
		kmt_insert(&kmt_core, KMT_ROOT, (unsigned long)start,
			   end - start, KMT_MIN_GREY, &origin, GFP_KERNEL);
}

static void drop_section(const char *start, const char *end)
{
	kmt_free_part(&kmt_core, KMT_ROOT, (unsigned long)start, end - start,
		      GFP_KERNEL);
}

/* Removes [@start, @end) from the roots if it is in the data section or .bss. */
static void drop_root(const char *start, const char *end)
{
	if (start < end &&
	    ((start >= _sdata && end <= _edata) ||
	     (start >= __bss_start && end <= __bss_stop)))
		drop_section(start, end);
}

static void add_roots(void)
{
	const char *start, *end;
	unsigned long lo, hi;
	unsigned int i;

	if (kmt_nr_wide(&kmt_core, KMT_ROOT))
		return;
	add_root(_sdata, _edata);
	add_root(__bss_start, __bss_stop);
	/* On some architectures ro_after_init is part of the data section. */
	if (!memory_contains(_sdata, _edata, __start_ro_after_init, 1))
		add_root(__start_ro_after_init, __end_ro_after_init);
	/*
	 * On some the data section includes read-only data, too. That has no
	 * references, except for ro_after_init, which initcalls write.
	 */
	drop_root(__start_rodata, __start_ro_after_init);
	drop_root(__end_ro_after_init, __end_rodata);
	/*
	 * Initdata is no root. If it is in the data section and its memory is not
	 * freed, it keeps stale pointers to memory that was used during boot.
	 */
	drop_root(__init_begin, __init_end);
	/* If tracking is on from boot, the kernel reports this free. */
	kmt_freed_bss(&start, &end);
	if (system_state >= SYSTEM_RUNNING)
		drop_root(start, end);
	kmt_kfence_bss(&start, &end);
	drop_root(start, end);
	for (i = 0; kmt_image_stack(0, i, &lo, &hi); i++)
		drop_root((const char *)lo, (const char *)hi);
	/* The stack of the boot CPU's idle task. */
	drop_section(init_task.stack, init_task.stack + THREAD_SIZE);
#ifdef CONFIG_MODULES
	/*
	 * The bounds of all modules that were ever loaded. Other blocks may be at these
	 * addresses by now.
	 */
	drop_root((const char *)&mod_tree.addr_min, (const char *)(&mod_tree + 1));
	kmt_seen_bits(&start, &end);
	drop_root(start, end);
#endif
	/* Addresses of blocks in the core itself are no references. */
	drop_section((const char *)&kmt_core, (const char *)(&kmt_core + 1));
}

/* Whether a page still belongs to memblock. */
static bool is_reserved(unsigned long phys)
{
	struct page *page = pfn_to_online_page(PHYS_PFN(phys));

	return page && PageReserved(page);
}

static void drop_phys(phys_addr_t start, phys_addr_t size)
{
	kmt_free_part(&kmt_core, KMT_PHYS, start, size, GFP_KERNEL);
}

/* Drops the pages of a block of memblock that went to the page allocator. */
static void drop_freed(unsigned long pos, unsigned long end)
{
	unsigned long next;

	for (; pos < end; pos = next) {
		bool reserved = is_reserved(pos);

		for (next = pos; next < end && is_reserved(next) == reserved;
		     next += kmt_piece(next, end, PAGE_SIZE))
			cond_resched();
		if (!reserved)
			drop_phys(pos, next - pos);
	}
}

/*
 * Drops sections and blocks of memblock that were freed, or handed to a hypervisor, while
 * tracking was off. Their records are kept then, but the hooks are not called.
 */
static void drop_gone(void)
{
	struct kmt_object o;
	unsigned long pos = 0;

	get_online_mems();
	while (kmt_next_wide(&kmt_core, KMT_PHYS, &pos))
		if (kmt_lookup(&kmt_core, KMT_PHYS, pos - 1, &o))
			drop_freed(o.addr, o.addr + o.size);
	put_online_mems();
	kmt_hyp_memory(drop_section, drop_phys);
}

/* Forgets all blocks, except sections and memblock's, which are reported only once. */
static void forget(void)
{
	kmt_drop_space(&kmt_core, KMT_VIRT);
	kmt_drop_space(&kmt_core, KMT_PERCPU);
}

/**
 * kmemleak_init - switch from early boot to normal operation
 *
 * Context: early boot; page allocator and slab are up, one CPU, interrupts
 * off.
 */
void __init kmemleak_init(void)
{
	if (kmt_mode == KMT_UNINIT) {
		start_early();
		kmt_set_untracked();
	}
	kmt_set_image(&kmt_core, (unsigned long)_stext, KMT_IMAGE_END);
	kmt_update_early_use();
	early_grown = kmt_grown;
	if (set_up() || kmt_leave_early() ||
	    (kmt_want_on && alloc_tables(boot_shards))) {
		failed = "no memory at boot";
		kmt_want_on = false;
	}
	if (kmt_want_on) {
		kmt_comm_init();
		add_roots();
		kmt_cpu_tables_alloc();
		kmt_mode = KMT_ON;
		static_branch_enable(&kmemtrack_key);
	} else {
		kmt_mode = KMT_OFF;
		kmt_shut(&kmt_core);
		static_branch_disable(&kmemtrack_key);
		forget();
		/* Early cells may be left in init memory, which will be freed. */
		if (failed)
			kmt_pool_abandon(&kmt_core);
		kmt_set_untracked();
	}
}

/* Fills the reserve of cells, since the first allocations may be unable to wait. */
static void fill_reserve(void)
{
	while (kmt_pool_is_low(&kmt_core))
		if (!kmt_pool_grow(&kmt_core, GFP_KERNEL))
			break;
	/* The pool may have been empty while tracking was off; do not count that. */
	kmt_pool_reset_least(&kmt_core);
}

/**
 * kmt_switch_on - track blocks that are allocated from now on
 *
 * Blocks that exist already are not tracked, and are roots.
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: 0, -ENOMEM, or -EOPNOTSUPP if tracking failed at boot.
 */
int kmt_switch_on(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	if (kmt_tracking())
		return 0;
	if (failed)
		return -EOPNOTSUPP;
	kmt_set_untracked();
	if (!has_tables && alloc_tables(alloc_shards()))
		return -ENOMEM;
	kmt_comm_init();
	fill_reserve();
	/*
	 * Hooks are switched on one by one: a block whose allocation calls a hook
	 * already could be freed where the hook is not called yet. So no block
	 * is tracked before each CPU executes all hooks.
	 */
	static_branch_enable(&kmemtrack_key);
	synchronize_rcu();
	/* The file "memory" may use the index from now on: see has_record(). */
	smp_store_release(&kmt_mode, KMT_ON);
	/* From here on hooks are called for each free. */
	kmt_open(&kmt_core);
	kmt_cpu_tables_alloc();
	add_roots();
	drop_gone();
	return 0;
}

/**
 * kmt_switch_off - stop tracking, forget all blocks, and free their records
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_switch_off(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	if (!kmt_tracking())
		return;
	kmt_shut(&kmt_core);
	/*
	 * Orders core->shut before kmt_mode. A hook that misses a free, since it sees KMT_OFF
	 * or its branch is off, leaves a stale record. The locks of the allocator order it
	 * before the hook for the next block in the same memory: that hook sees core->shut,
	 * and reports no overlap with the stale record.
	 */
	smp_store_release(&kmt_mode, KMT_OFF);
	static_branch_disable(&kmemtrack_key);
	/*
	 * Hooks that were called before may still run for any time, preempted or
	 * asleep in the page allocator. When this returns, they make no more
	 * records, except on the fast path: __kmemtrack_alloc() does not check
	 * core->shut, but finds no table of traces after kmt_cpu_tables_free().
	 */
	synchronize_rcu();
	kmt_cpu_tables_free();
	forget();
	kmt_give_back_all();
}

static int __init log_early_use(void)
{
	if (failed)
		pr_warn("%s: stays off\n", failed);
	else if (!kmt_tracking())
		pr_info("tracking is off until \"on\" is written to /sys/kernel/debug/kmemtrack\n");
	pr_info("early pool %lu of %u used, grew %lu times\n", early_used,
		max_t(unsigned int, kmt_early_pool, KMT_EARLY_MIN), early_grown);
	if (early_grown)
		pr_info("kmemtrack.early_pool=%lu would have sufficed\n",
			early_used);
	return 0;
}
late_initcall(log_early_use);
