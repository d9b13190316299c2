// SPDX-License-Identifier: GPL-2.0
/*
 * Roots in pages and struct pages.
 *
 * Kernel code keeps pointers in memory straight from the page allocator and in
 * struct page itself. A page in use is a root unless somebody else is known to
 * have it: slab, page cache, user memory, page tables, the tracker, or what
 * owned.c knows. Slab pages come in only when there are blocks without a
 * record: every slot that has none is a root then.
 */
#include <linux/bitops.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>

#include "policy.h"

/*
 * A unit of work, in pages: no allocation, and no free block, lies across the
 * border of one.
 */
#define KMT_UNIT_PAGES	MAX_ORDER_NR_PAGES

/**
 * struct kmt_page_walk - a walk over all pages
 * @m: marker
 * @map: pages that are no roots though they look it
 * @kfence: the same
 * @block_end: up to where pages may belong to an allocation that bear no sign
 *	of it
 * @reserved: memory of memblock is not tracked, so it is a root here
 * @structs: struct pages are roots
 * @inner: such pages are roots
 */
struct kmt_page_walk {
	struct kmt_marker *m;
	const struct kmt_page_map *map;
	struct kmt_range kfence;
	unsigned long block_end;
	bool reserved;
	bool structs;
	bool inner;
};

/* Blocks in the page are read if they are reached; the rest is a root. */
static void mark_content(struct kmt_page_walk *w, struct page *page,
			 unsigned long pfn)
{
	struct kmt_range block;
	unsigned long pos, end;

	if (PageHighMem(page) || kmt_page_owned(w->map, pfn))
		return;
	pos = kmt_untag((unsigned long)page_address(page));
	end = pos + PAGE_SIZE;
	if (kmt_in(&w->kfence, pos))
		return;
	while (pos < end &&
	       kmt_first_block(&kmt_core, KMT_VIRT, pos, end, &block)) {
		if (pos < block.lo)
			kmt_mark_block(w->m, pos, block.lo);
		pos = block.hi;
	}
	if (pos < end)
		kmt_mark_block(w->m, pos, end);
}

/*
 * The index is left out: it is not set in pages that have no use for it, where
 * SLUB had its list of free objects before.
 */
static void mark_struct(struct kmt_marker *m, const struct page *page)
{
	const unsigned long words[] = {
		READ_ONCE(page->private),
		(unsigned long)READ_ONCE(page->mapping),
		(unsigned long)READ_ONCE(page->lru.next),
		(unsigned long)READ_ONCE(page->lru.prev),
#ifdef CONFIG_MEMCG
		READ_ONCE(page->memcg_data),
#endif
	};

	kmt_mark_words(m, words, ARRAY_SIZE(words));
}

/*
 * Several pages that were allocated as one, without __GFP_COMP: only the first
 * one has a reference count. The others look free, but neither the buddy
 * allocator nor a CPU has them, and there are as many as the alignment of the
 * first one allows. page_private() is that of the first one, in the others it
 * may be from an earlier use.
 */
static void begin_block(struct kmt_page_walk *w, struct page *page,
			unsigned long pfn)
{
	w->block_end = PageCompound(page) ? 0 : pfn + (pfn & -pfn);
}

/* Behind a stack that waits for a grace period. */
static void mark_stack_head(struct kmt_marker *m, struct page *page)
{
	const struct callback_head *head = page_address(page);
	unsigned long next;

	/* The stack may be freed by now, and its pages unmapped. */
	if (kmt_env_read(&next, kmt_untag((unsigned long)&head->next),
			 sizeof(next)))
		kmt_mark_words(m, &next, 1);
}

static void walk_slab(struct kmt_page_walk *w, struct page *page)
{
	if (w->structs)
		kmt_mark_slab(w->m, page);
	if (READ_ONCE(kmt_sweep_untracked))
		kmt_mark_slots(w->m, page);
}

static void walk_used(struct kmt_page_walk *w, struct page *page,
		      unsigned long pfn)
{
	struct page *head = compound_head(page);

	w->block_end = 0;
	if (PageSlab(head)) {
		if (page == head)
			walk_slab(w, page);
		return;
	}
	/* Of a compound page the others bear nothing but its head. */
	if (w->structs && page == head)
		mark_struct(w->m, page);
	if (kmt_stack_page(page))
		mark_stack_head(w->m, page);
	if (!kmt_tunables.pages || kmt_page_is_foreign(page, w->reserved) ||
	    kmt_page_is_own(page) || kmt_page_is_none(page))
		return;
	mark_content(w, page, pfn);
	begin_block(w, page, pfn);
}

/* Returns how many pages to go on by. */
static unsigned long walk_page(struct kmt_page_walk *w, struct page *page,
			       unsigned long pfn)
{
	if (PageBuddy(page)) {
		unsigned long order = READ_ONCE(page_private(page));

		w->block_end = 0;
		/* Read without the zone's lock: it may be anything. */
		return order <= MAX_PAGE_ORDER ? 1UL << order : 1;
	}
	if (page_count(compound_head(page)))
		walk_used(w, page, pfn);
	else if (pfn >= w->block_end)
		w->block_end = 0;
	else if (w->inner && !kmt_page_is_foreign(page, w->reserved))
		mark_content(w, page, pfn);
	return 1;
}

/* Pages from @pfn on that are there, all of them; returns where to go on. */
static unsigned long walk_pages(struct kmt_page_walk *w, struct zone *zone,
				unsigned long pfn, unsigned long end)
{
	while (pfn < end && !w->m->stopped) {
		struct page *page = pfn_to_page(pfn);

		w->m->budget -= 4;
		kmt_mark_relax(w->m);
		pfn += page_zone(page) == zone ? walk_page(w, page, pfn) : 1;
	}
	return pfn;
}

static void walk_unit(struct kmt_page_walk *w, struct zone *zone,
		      unsigned long pfn, unsigned long end)
{
	unsigned long next;

	w->block_end = 0;
	while (pfn < end && !w->m->stopped) {
		next = pfn + kmt_piece(pfn, end, KMT_PAGES_ALIKE);
		/* A hole is as long as its section, at least. */
		if (pfn_to_online_page(pfn))
			pfn = walk_pages(w, zone, pfn, next);
		else
			pfn = ALIGN(pfn + 1, KMT_HOLE_PAGES);
	}
}

static void walk_zone(struct kmt_page_walk *w, struct zone *zone)
{
	unsigned long pfn = zone->zone_start_pfn, end = zone_end_pfn(zone);
	unsigned long next;

	for (; pfn < end && !w->m->stopped; pfn = next) {
		next = pfn + kmt_piece(pfn, end, KMT_UNIT_PAGES);
		if (kmt_my_turn(w->m))
			walk_unit(w, zone, pfn, next);
	}
}

/**
 * kmt_mark_pages - mark from pages and struct pages
 * @m: marker
 * @roots: which roots
 *
 * Context: memory does not come or go; may sleep, unless nothing else runs.
 */
void kmt_mark_pages(struct kmt_marker *m, const struct kmt_roots *roots)
{
	struct kmt_page_walk w = {
		.m = m,
		.map = &roots->map,
		.kfence = roots->kfence,
		.reserved = !READ_ONCE(kmt_core.wide[KMT_PHYS].nr),
		.structs = kmt_struct_page_is_root(),
		.inner = kmt_inner_is_root(m, roots),
	};
	struct zone *zone;

	for_each_populated_zone(zone)
		walk_zone(&w, zone);
}
