// SPDX-License-Identifier: GPL-2.0
/*
 * Roots in pages and struct pages.
 *
 * Kernel code keeps pointers in memory straight from the page allocator and in
 * struct page itself. A page in use is a root unless somebody else is known to
 * have it: slab, page cache, user memory, page tables, a tracked block, a task
 * as its stack, or the tracker. Slab pages come in only when there are blocks
 * without a record: every slot that has none is a root then.
 */
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>
#include <linux/sched/task_stack.h>
#include <linux/vmalloc.h>

#include "../slab.h"
#include "compat.h"
#include "glue.h"

/* Pages looked up with a lock held. */
#define KMT_WALK_PAGES	16

/**
 * struct kmt_page_walk - a walk over all pages
 * @m: marker
 * @owned: pages of blocks that are tracked by another address, and stacks
 * @lo: number of the first page in @owned
 * @hi: one past the last
 * @run_lo: struct pages that are to be read
 * @run_hi: one past the last
 * @reserved: memory of memblock is not tracked, so it is a root here
 */
struct kmt_page_walk {
	struct kmt_marker *m;
	unsigned long *owned;
	unsigned long lo;
	unsigned long hi;
	unsigned long run_lo;
	unsigned long run_hi;
	bool reserved;
};

static void own(struct kmt_page_walk *w, unsigned long pfn)
{
	if (pfn >= w->lo && pfn < w->hi)
		__set_bit(pfn - w->lo, w->owned);
}

/* The pages behind [@addr, @end) of vmalloc space. */
static void own_vmalloc(struct kmt_page_walk *w, unsigned long addr,
			unsigned long end)
{
	for (; addr < end; addr += PAGE_SIZE)
		own(w, vmalloc_to_pfn((void *)addr));
}

/*
 * A block in vmalloc space has a mapping as long as it is tracked: its free
 * takes the lock before it takes the mapping away.
 */
static void own_block(struct kmt_page_walk *w, struct kmt_object *o)
{
	unsigned long pos = 0, start = 0, flags;

	for (;;) {
		struct kmt_tree *tree = kmt_lock_object(&kmt_core, o, &flags);
		unsigned long addr, end;

		if (!tree)
			return;
		addr = ALIGN_DOWN(o->addr, PAGE_SIZE);
		end = o->addr + o->size;
		if (!pos)
			start = pos = addr;
		if (kmt_space(o) != KMT_VIRT || addr != start || pos >= end ||
		    !is_vmalloc_or_module_addr((void *)addr)) {
			raw_spin_unlock_irqrestore(&tree->lock, flags);
			return;
		}
		end = min(end, pos + KMT_WALK_PAGES * PAGE_SIZE);
		own_vmalloc(w, pos, end);
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		pos = end;
	}
}

static __no_kcsan bool seems_mapped(const struct kmt_object *o)
{
	return (o->flags & KMT_LIVE) && kmt_space(o) == KMT_VIRT &&
	       is_vmalloc_or_module_addr((void *)o->addr);
}

static void own_blocks(struct kmt_page_walk *w)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_cell(&kmt_core, chunk, o) {
		if (w->m->stopped)
			return;
		if (seems_mapped(o))
			own_block(w, o);
		w->m->budget--;
		kmt_mark_relax(w->m);
	}
}

/* Stacks that are no blocks: pages, which only their live part is read of. */
static void own_stacks(struct kmt_page_walk *w)
{
	struct task_struct *p, *t;

	rcu_read_lock();
	for_each_process_thread(p, t) {
		unsigned long base = (unsigned long)try_get_task_stack(t);
		unsigned long addr;

		if (!base)
			continue;
		if (!is_vmalloc_addr((void *)base))
			for (addr = base; addr < base + THREAD_SIZE;
			     addr += PAGE_SIZE)
				own(w, PHYS_PFN(__pa(addr)));
		put_task_stack(t);
	}
	rcu_read_unlock();
}

/* Whether the page is held by something that is none of our business. */
static bool foreign(struct kmt_page_walk *w, struct page *page)
{
	struct page *head = compound_head(page);

	if (PageBuddy(page) || PageTable(head) || PageOffline(page) ||
	    PageGuard(page) || PageLRU(head) || PageHWPoison(page))
		return true;
	if (PageReserved(page) != w->reserved && PageReserved(page))
		return true;
	/* Page cache, anonymous memory, movable driver memory. */
	return READ_ONCE(head->mapping);
}

static void mark_content(struct kmt_page_walk *w, struct page *page,
			 unsigned long pfn)
{
	unsigned long addr;
	struct kmt_object o;

	if (PageHighMem(page) || foreign(w, page) || kmt_own_page(page))
		return;
	if (w->owned && pfn >= w->lo && pfn < w->hi &&
	    test_bit(pfn - w->lo, w->owned))
		return;
	addr = (unsigned long)page_address(page);
	if (kmt_lookup(&kmt_core, KMT_VIRT, addr, &o))
		return;
	kmt_mark_block(w->m, addr, addr + PAGE_SIZE);
}

static bool get_field(void *dst, const void *src, size_t size)
{
	return !copy_from_kernel_nofault(dst, src, size);
}

/*
 * The cache may be on its way out while we look: its fields are read as what
 * they are, hints.
 */
static void mark_slots(struct kmt_page_walk *w, struct page *page)
{
	struct kmt_marker *m = w->m;
	unsigned long addr = (unsigned long)page_address(page);
	unsigned long end = addr + page_size(page);
	struct kmem_cache *cache;
	slab_flags_t flags;
	unsigned int size;
	struct kmt_object o;

	if (!get_field(&cache, &((struct slab *)page)->slab_cache,
		       sizeof(cache)) ||
	    !get_field(&size, &cache->size, sizeof(size)) ||
	    !get_field(&flags, &cache->flags, sizeof(flags)))
		return;
	if (size < sizeof(long) || size > end - addr ||
	    (flags & SLAB_NOLEAKTRACE))
		return;
	for (; addr + size <= end && !m->stopped; addr += size) {
		/* With redzones a block begins a little behind its slot. */
		if (!kmt_lookup(&kmt_core, KMT_VIRT, addr + size / 2, &o) &&
		    !kmt_lookup(&kmt_core, KMT_VIRT, addr, &o))
			kmt_mark_block(m, addr, addr + size);
	}
}

/* Struct pages lie side by side: read them in runs, not one by one. */
static void flush_run(struct kmt_page_walk *w)
{
	kmt_mark_block(w->m, w->run_lo, w->run_hi);
	w->run_lo = w->run_hi = 0;
}

static void add_to_run(struct kmt_page_walk *w, struct page *page)
{
	unsigned long lo = (unsigned long)page;

	if (lo != w->run_hi) {
		flush_run(w);
		w->run_lo = lo;
	}
	w->run_hi = lo + sizeof(*page);
}

/* Returns how many pages to go on by. */
static unsigned long walk_page(struct kmt_page_walk *w, struct page *page,
			       unsigned long pfn)
{
	struct page *head = compound_head(page);

	if (PageBuddy(page)) {
		unsigned long order = READ_ONCE(page_private(page));

		/* Read without the zone's lock: it may be anything. */
		return order <= MAX_PAGE_ORDER ? 1UL << order : 1;
	}
	if (!page_count(head))
		return 1;
	if (PageSlab(head)) {
		if (page == head && READ_ONCE(kmt_sweep_untracked))
			mark_slots(w, page);
		return 1;
	}
	add_to_run(w, page);
	if (kmt_tunables.pages)
		mark_content(w, page, pfn);
	return 1;
}

static void walk_zone(struct kmt_page_walk *w, struct zone *zone)
{
	unsigned long pfn = zone->zone_start_pfn, end = zone_end_pfn(zone);

	while (pfn < end && !w->m->stopped) {
		struct page *page = pfn_to_online_page(pfn);

		w->m->budget -= 4;
		kmt_mark_relax(w->m);
		if (!page) {
			/* A hole is as long as its section, at least. */
			pfn = ALIGN(pfn + 1, KMT_HOLE_PAGES);
			continue;
		}
		pfn += page_zone(page) == zone ? walk_page(w, page, pfn) : 1;
	}
	flush_run(w);
}

/* Without the bitmap stale memory may hide leaks, but none is made up. */
static void list_owned(struct kmt_page_walk *w)
{
	struct zone *zone;

	w->lo = ULONG_MAX;
	for_each_populated_zone(zone) {
		w->lo = min(w->lo, zone->zone_start_pfn);
		w->hi = max(w->hi, zone_end_pfn(zone));
	}
	w->owned = kmt_own_vzalloc(BITS_TO_LONGS(w->hi - w->lo) * sizeof(long));
	if (!w->owned)
		return;
	own_blocks(w);
	own_stacks(w);
}

/**
 * kmt_mark_pages - mark from pages and struct pages
 * @m: marker
 *
 * Context: may sleep.
 */
void kmt_mark_pages(struct kmt_marker *m)
{
	struct kmt_page_walk w = {
		.m = m,
		.reserved = !READ_ONCE(kmt_core.wide[KMT_PHYS].nr),
	};
	struct zone *zone;

	get_online_mems();
	if (kmt_tunables.pages)
		list_owned(&w);
	for_each_populated_zone(zone)
		walk_zone(&w, zone);
	put_online_mems();
	kmt_own_vfree(w.owned);
}
