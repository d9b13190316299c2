// SPDX-License-Identifier: GPL-2.0
/*
 * Roots in pages and struct pages.
 *
 * Kernel code keeps pointers in memory straight from the page allocator and in
 * struct page itself. A page in use is a root unless somebody else is known to
 * have it: slab, page cache, user memory, page tables, the tracker, or what
 * owned.c knows. Slab pages come in only when there are blocks without a
 * record: every slot that has none is a root then.
 *
 * Some memory is never read, whatever rules_off says, since it is not there, does
 * not belong to the kernel, or answers with an error that ends the kernel:
 *
 *   offlined memory, ZONE_DEVICE	pfn_to_online_page() in walk_unit()
 *   no-map carve-outs, memory of
 *   firmware, the crash kernel's	PageReserved: kmt_page_is_closed(). What
 *					memblock gave out is read by its records,
 *					which such memory does not have
 *   what a guest gave back to its host	PageOffline: kmt_page_is_closed()
 *   poisoned pages			PageHWPoison: kmt_page_is_closed(); of blocks
 *					in such pages kmt_spare_poisoned() says that
 *					they are not to be followed, and
 *					kmt_env_read() does not read them
 *   secretmem, guest_memfd		the operations or flags of their mapping:
 *					kmt_page_is_closed(). A page of secretmem
 *					that has none yet is not mapped any more,
 *					and the read of it fails
 *   pKVM: sections of the hypervisor,
 *   memory reserved for it at boot	it tells the hooks when it takes them, and
 *					drop_gone() in init.c asks what it took
 *					while nothing was tracked
 *   pKVM: pages that it got later	kmemtrack_unreadable()
 */
#include <linux/bitops.h>
#include <linux/highmem.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/secretmem.h>

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
 * @structs: struct pages are roots
 * @inner: such pages are roots
 */
struct kmt_page_walk {
	struct kmt_marker *m;
	const struct kmt_page_map *map;
	struct kmt_range kfence;
	unsigned long block_end;
	bool structs;
	bool inner;
};

/* Whether pages of a mapping leave the linear map; it may be gone by now. */
static bool is_private(const struct address_space *mapping)
{
	unsigned long flags, ops;

	if ((unsigned long)mapping & PAGE_MAPPING_FLAGS)
		return false;
	if (!kmt_env_read(&flags, (unsigned long)&mapping->flags,
			  sizeof(flags)) ||
	    !kmt_env_read(&ops, (unsigned long)&mapping->a_ops, sizeof(ops)))
		return true;
#ifdef CONFIG_SECRETMEM
	if (ops == (unsigned long)&secretmem_aops)
		return true;
#endif
	return flags & KMT_CLOSED_MAPPING;
}

/**
 * kmt_page_is_closed - may the contents of a page never be read?
 * @page: page in use, of memory that is online, and not of a slab
 *
 * Context: any.
 */
bool kmt_page_is_closed(struct page *page)
{
	struct page *head = compound_head(page);
	const struct address_space *mapping = READ_ONCE(head->mapping);

	if (PageReserved(page) || PageOffline(page) || PageHWPoison(page) ||
	    kmt_unreadable_page(page))
		return true;
	return mapping && !PageTable(head) && is_private(mapping);
}

#ifdef CONFIG_MEMORY_FAILURE
DEFINE_STATIC_KEY_FALSE(kmt_poison_key);

/**
 * kmt_is_poisoned - is an address in a poisoned page?
 * @addr: any address; if it is in vmalloc space, its mapping stays meanwhile
 *
 * Context: any.
 */
bool kmt_is_poisoned(unsigned long addr)
{
	const void *p = (const void *)addr;
	struct page *page = NULL;

	if (is_vmalloc_or_module_addr(p))
		page = vmalloc_to_page(p);
	else if (virt_addr_valid(p))
		page = virt_to_page(p);
	return page && PageHWPoison(page);
}

/* Blocks of the linear map in a page are not read any more. */
static void spare_page(struct page *page)
{
	unsigned long pos = kmt_untag((unsigned long)page_address(page));
	unsigned long end = pos + PAGE_SIZE;
	struct kmt_range block;

	while (pos && pos < end &&
	       kmt_first_block(&kmt_core, KMT_VIRT, pos, end, &block)) {
		kmt_set_flags(&kmt_core, KMT_VIRT, block.lo, KMT_NO_SCAN);
		pos = block.hi;
	}
}

/* Whether the page at @addr of a block in vmalloc space is poisoned. */
static bool is_poisoned(struct kmt_object *o, unsigned long addr)
{
	unsigned long flags;
	struct kmt_tree *tree = kmt_lock_object(&kmt_core, o, &flags);
	bool poisoned;

	if (!tree)
		return false;
	/* It has a mapping as long as it is tracked. */
	poisoned = kmt_space(o) == KMT_VIRT && addr - o->addr < o->size &&
		   kmt_is_poisoned(addr);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return poisoned;
}

static void spare_mapped(void)
{
	unsigned long addr, pos = 0;
	struct kmt_object *o, copy;

	while ((o = kmt_next_wide(&kmt_core, KMT_VIRT, &pos))) {
		cond_resched();
		addr = pos - 1;
		if (!is_vmalloc_or_module_addr((void *)addr) ||
		    !kmt_lookup(&kmt_core, KMT_VIRT, addr, &copy))
			continue;
		for (addr = copy.addr; addr < copy.addr + copy.size;
		     addr += kmt_piece(addr, copy.addr + copy.size, PAGE_SIZE)) {
			cond_resched();
			if (!is_poisoned(o, addr))
				continue;
			kmt_set_flags(&kmt_core, KMT_VIRT, addr, KMT_NO_SCAN);
			break;
		}
	}
}

/**
 * kmt_spare_poisoned - blocks in poisoned pages are not read from now on
 *
 * What nothing but such a block refers to is reported: nobody can tell.
 *
 * Context: may sleep.
 */
void kmt_spare_poisoned(void)
{
	struct zone *zone;
	unsigned long pfn;

	if (!atomic_long_read(&num_poisoned_pages))
		return;
	static_branch_enable(&kmt_poison_key);
	get_online_mems();
	for_each_populated_zone(zone) {
		for (pfn = zone->zone_start_pfn; pfn < zone_end_pfn(zone);
		     pfn++) {
			struct page *page = pfn_to_online_page(pfn);

			/* A hole is as long as its section, at least. */
			if (!page)
				pfn = ALIGN(pfn + 1, KMT_HOLE_PAGES) - 1;
			else if (PageHWPoison(page) && !PageHighMem(page))
				spare_page(page);
			cond_resched();
		}
	}
	put_online_mems();
	spare_mapped();
}
#endif

/*
 * High memory has an address only while somebody has mapped it, for a moment or by
 * vmap(): all of the page is a root. What vmalloc() mapped is owned by its block.
 */
static void mark_high(struct kmt_marker *m, struct page *page)
{
	void *at = kmap_local_page(page);

	kmt_mark_block(m, (unsigned long)at, (unsigned long)at + PAGE_SIZE);
	kunmap_local(at);
}

/* Blocks in the page are read if they are reached; the rest is a root. */
static void mark_content(struct kmt_page_walk *w, struct page *page,
			 unsigned long pfn)
{
	struct kmt_range block;
	unsigned long pos, end;

	if (kmt_page_owned(w->map, pfn))
		return;
	if (PageHighMem(page)) {
		mark_high(w->m, page);
		return;
	}
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

static bool has_poison(struct page *slab)
{
	unsigned long i;

	for (i = 0; i < compound_nr(slab); i++)
		if (PageHWPoison(slab + i))
			return true;
	return false;
}

static void walk_slab(struct kmt_page_walk *w, struct page *page)
{
	if (w->structs)
		kmt_mark_slab(w->m, page);
	if (READ_ONCE(kmt_sweep_untracked) && !has_poison(page))
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
	if (kmt_stack_page(page) && !kmt_page_is_closed(page))
		mark_stack_head(w->m, page);
	if (!kmt_tunables.pages || kmt_page_is_foreign(page) ||
	    kmt_page_is_own(page) || kmt_page_is_none(page) ||
	    kmt_page_is_closed(page))
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
	else if (w->inner && !kmt_page_is_foreign(page) &&
		 !kmt_page_is_closed(page))
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
		/* There may be far more units in holes than of memory. */
		if (kmt_my_turn(w->m) && kmt_go_on(w->m))
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
		.structs = kmt_struct_page_is_root(),
		.inner = kmt_inner_is_root(m, roots),
	};
	struct zone *zone;

	for_each_populated_zone(zone)
		walk_zone(&w, zone);
}
