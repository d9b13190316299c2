// SPDX-License-Identifier: GPL-2.0
/*
 * Roots in pages and struct pages.
 *
 * Kernel code keeps pointers in pages of the page allocator, and in struct page itself.
 * A page in use is a root unless it is known to have another use: slab, page cache, user
 * memory, page tables, the tracker, or those in the map of excluded pages. Slab pages are
 * read only while blocks without a record may exist: each slot without one is a root
 * then.
 *
 * Some memory is never read, whatever rules_off says, since it does not exist, does not
 * belong to the kernel, or causes an error that is fatal to the kernel:
 *
 *   offlined memory, ZONE_DEVICE	pfn_to_online_page() in walk_unit()
 *   no-map carve-outs, memory of
 *   firmware, the crash kernel's	PageReserved: kmt_page_unreadable(). Memory of
 *					memblock is read by its records, which such
 *					memory does not have
 *   pages a guest gave to its host	PageOffline: kmt_page_unreadable()
 *   poisoned pages			PageHWPoison: kmt_page_unreadable().
 *					mark_slots() skips objects without a record
 *					in them. Whoever reads blocks and other
 *					roots asks kmt_env_poisoned()
 *   secretmem, guest_memfd		the operations or flags of their mapping:
 *					kmt_page_unreadable(). A page of secretmem
 *					without a mapping yet is not in the linear
 *					map any more, so reading it fails
 *   pKVM: sections of the hypervisor,
 *   memory reserved for it at boot	it calls the hooks when it takes them, and
 *					drop_gone() in init.c drops those that it
 *					took while tracking was off
 *   pKVM: pages that it got later	kmemtrack_unreadable()
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/highmem.h>
#include <linux/kfence.h>
#include <linux/kmemtrack.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/mutex.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/secretmem.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

#include "../slab.h"
#include "pages.h"
#include "policy.h"

/*
 * A unit of work, in pages. No allocation, and no free block, crosses the border of a
 * unit.
 */
#define KMT_UNIT_PAGES	MAX_ORDER_NR_PAGES

/**
 * struct kmt_page_walk - a walk over all pages
 * @m: marker
 * @map: pages that are no roots although they look like roots
 * @kfence: addresses of KFENCE's metadata, which is no root either
 * @block_end: pages before this one may be inner pages of an allocation, although they
 *	look free
 * @free_slots: bitmap for the free slots of a slab; NULL if there is none
 * @structs: struct pages are roots
 * @inner: inner pages of allocations are roots
 */
struct kmt_page_walk {
	struct kmt_marker *m;
	const struct kmt_page_map *map;
	struct kmt_range kfence;
	unsigned long block_end;
	unsigned long *free_slots;
	bool structs;
	bool inner;
};

/* Whether pages of a mapping leave the linear map; the mapping may be freed by now. */
static bool is_private(const struct address_space *mapping)
{
	unsigned long flags, ops;

	if ((unsigned long)mapping & PAGE_MAPPING_FLAGS)
		return false;
	/* The page may be a slab by now, with a number in place of the mapping. */
	if ((unsigned long)mapping < KMT_LEAST_ADDRESS)
		return true;
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
 * kmt_page_unreadable - may the contents of a page never be read?
 * @page: page in use, of memory that is online, and not of a slab
 *
 * Context: any.
 */
bool kmt_page_unreadable(struct page *page)
{
	struct page *head = compound_head(page);
	const struct address_space *mapping = READ_ONCE(head->mapping);

	if (PageReserved(page) || PageOffline(page) || PageHWPoison(page) ||
	    page_private(page) == KMT_UNREADABLE)
		return true;
	return mapping && !PageTable(head) && is_private(mapping);
}

/**
 * kmt_head_bytes - size of a block of pages to which the caller holds no reference
 * @head: first page
 *
 * The pages may get another use meanwhile, and the order may be any number.
 *
 * Context: any.
 * Return: bytes, at most those of a block of the page allocator, whose struct pages all
 * exist.
 */
unsigned long kmt_head_bytes(struct page *head)
{
	const unsigned int order = compound_order(head);

	if (order > MAX_PAGE_ORDER || page_to_pfn(head) & (BIT(order) - 1))
		return PAGE_SIZE;
	return PAGE_SIZE << order;
}

/**
 * kmt_free_pages_from - number of pages that are free from a free page on
 * @page: page that was free when the caller looked; it may be in use by now
 * @pfn: its number
 *
 * Context: any; the zone's lock is not needed.
 * Return: their number, at least 1.
 */
unsigned long kmt_free_pages_from(const struct page *page, unsigned long pfn)
{
	const unsigned long order = READ_ONCE(page_private(page));

	if (kmt_page_is_unaccepted(page))
		return MAX_ORDER_NR_PAGES;
	/* If the page is in use by now, @order may be any number. */
	if (order > MAX_PAGE_ORDER || pfn & (BIT(order) - 1))
		return 1;
	return BIT(order);
}

/*
 * Roots in slabs: RCU callbacks queued behind a slab, and objects without a record.
 *
 * A slot is a root unless it is free or its object has a record.
 */

/* Largest number of slots in a slab: of the highest order, with the smallest objects. */
#define KMT_SLOTS	((PAGE_SIZE << 3) / 8)

/*
 * Bitmaps of free slots, too large for a stack, for use while all CPUs are stopped. In
 * other walks each marker allocates its own.
 */
static_assert(BITS_TO_LONGS(KMT_SLOTS) * sizeof(long) <= PAGE_SIZE);
static DEFINE_PER_CPU(unsigned long [BITS_TO_LONGS(KMT_SLOTS)], stopped_slots);

/* The cache of a slab page, which slab_mutex keeps; NULL if the page is no slab now. */
static struct kmem_cache *cache_of(struct slab *slab)
{
	struct kmem_cache *cache, *owner = READ_ONCE(slab->slab_cache);

	list_for_each_entry(cache, &slab_caches, list)
		if (cache == owner)
			return cache;
	return NULL;
}

/**
 * struct slots - the slots of a slab
 * @nr: number of slots
 * @size: bytes of each
 * @pad: bytes in a slot before its object
 * @skip: bytes at the beginning of a slot that are not read
 * @poisoned: a page of the slab is poisoned
 */
struct slots {
	unsigned int nr;
	unsigned int size;
	unsigned int pad;
	unsigned int skip;
	bool poisoned;
};

static bool has_poison(unsigned long addr, unsigned long end)
{
	for (; addr < end; addr += kmt_piece(addr, end, PAGE_SIZE))
		if (PageHWPoison(virt_to_page((void *)addr)))
			return true;
	return false;
}

static void mark_slot(struct kmt_marker *m, unsigned long addr,
		      const struct slots *slots)
{
	const unsigned long object = addr + slots->pad, end = addr + slots->size;
	struct kmt_object o;

	if (kmt_in_quarantine(object) || kmt_lookup(&kmt_core, KMT_VIRT, object, &o))
		return;
	kmt_count_untracked();
	if (!slots->poisoned || !has_poison(addr, end))
		kmt_mark_range(m, addr + slots->skip, end);
}

/* Marks from a page of KFENCE, which has one object, or cannot be read. */
static void mark_kfence_page(struct kmt_marker *m, unsigned long addr)
{
	struct kmt_range tracked;
	unsigned long word;

	if (kmt_first_block(&kmt_core, KMT_VIRT, addr, addr + PAGE_SIZE,
			    &tracked))
		return;
	if (!m->world_stopped && kmt_env_read(&word, addr, sizeof(word)))
		kmt_count_untracked();
	kmt_mark_range(m, addr, addr + PAGE_SIZE);
}

/*
 * Whether objects of @cache may be roots. Those of kmem_cache_node link slabs, and refer
 * to no block; the first one of each node is allocated without a call of a hook.
 */
static bool may_be_roots(const struct kmem_cache *cache)
{
	return !(cache->flags & SLAB_NOLEAKTRACE) &&
	       strcmp(cache->name, "kmem_cache_node");
}

/*
 * Sets the bits of the free slots of a slab of @bytes at @addr. Returns no slots if the
 * page is no slab any more. In a slab with a poisoned page, and without memory for @map,
 * the list of free slots is not followed, so all slots without a record count as objects.
 */
static struct slots list_slots(struct kmt_marker *m, struct slab *slab,
			       unsigned long addr, unsigned long bytes,
			       unsigned long *map)
{
	struct slots slots = { .poisoned = has_poison(addr, addr + bytes) };
	struct kmem_cache *cache;

	if (map)
		bitmap_zero(map, KMT_SLOTS);
	if (!m->world_stopped)
		mutex_lock(&slab_mutex);
	cache = cache_of(slab);
	if (cache && may_be_roots(cache)) {
		slots.nr = slab->objects;
		slots.size = cache->size;
		slots.pad = cache->red_left_pad;
		slots.skip = kmt_bounds_in_slot(cache->name);
		if (map && slots.nr <= KMT_SLOTS && !slots.poisoned)
			kmemtrack_free_slots(cache, slab, map, slots.nr);
	}
	if (!m->world_stopped)
		mutex_unlock(&slab_mutex);
	return slots;
}

/*
 * Marks from the objects of a slab that have no record. The slab may be freed, and its
 * memory reused, at any time: then this mark takes memory for a root that is none.
 */
static void mark_slots(struct kmt_marker *m, struct page *page, unsigned long *map)
{
	unsigned long addr = kmt_untag((unsigned long)page_address(page));
	unsigned long end = addr + kmt_head_bytes(page);
	struct slots slots = list_slots(m, (struct slab *)page, addr, end - addr, map);
	unsigned int i;

	if (is_kfence_address((void *)addr)) {
		if (slots.nr)
			mark_kfence_page(m, addr);
		return;
	}
	for (i = 0; i < slots.nr && addr + slots.size <= end && !m->stopped;
	     i++, addr += slots.size)
		if (!map || i >= KMT_SLOTS || !test_bit(i, map))
			mark_slot(m, addr, &slots);
}

/*
 * Pages and struct pages.
 */

/*
 * Marks from a page of high memory, which has an address only while it is mapped, for a
 * moment or by vmap(): all of it is a root. Pages of vmalloc() belong to its blocks.
 */
static void mark_high(struct kmt_marker *m, struct page *page)
{
	void *at = kmap_local_page(page);

	kmt_mark_range(m, (unsigned long)at, (unsigned long)at + PAGE_SIZE);
	kunmap_local(at);
}

/* Marks from a page, except the blocks in it, which are read if they are reached. */
static void mark_content(struct kmt_page_walk *w, struct page *page,
			 unsigned long pfn)
{
	struct kmt_range block;
	unsigned long pos, end;

	if (kmt_page_excluded(w->map, pfn))
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
			kmt_mark_range(w->m, pos, block.lo);
		pos = block.hi;
	}
	if (pos < end)
		kmt_mark_range(w->m, pos, end);
}

/*
 * Marks from a struct page. page->index is left out: pages that do not use it may still
 * have a pointer there from an earlier use as a slab.
 */
static void mark_struct(struct kmt_marker *m, const struct page *page)
{
	const unsigned long words[] = {
		(unsigned long)READ_ONCE(page->lru.next),
		(unsigned long)READ_ONCE(page->lru.prev),
		READ_ONCE(page->private),
		(unsigned long)READ_ONCE(page->mapping),
#ifdef CONFIG_MEMCG
		READ_ONCE(page->memcg_data),
#endif
	};
	const unsigned int skip = kmt_pages_has_list(page) ? 2 : 0;

	kmt_mark_words(m, words + skip, ARRAY_SIZE(words) - skip);
}

/*
 * Whether @word, the first one of a stack that begins with @page, is its thread_info's
 * pointer to the task. That is no reference: the stack exists as long as the task, which
 * would never be reported.
 */
static bool is_task_of(unsigned long word, struct page *page)
{
	const struct task_struct *task = (void *)word;
	void *stack;

	if (IS_ENABLED(CONFIG_THREAD_INFO_IN_TASK) || !kmt_in(&kmt_core.linear, word) ||
	    !IS_ALIGNED(word, sizeof(long)))
		return false;
	if (!kmt_env_read(&stack, kmt_untag((unsigned long)&task->stack), sizeof(stack)))
		return false;
	if (is_vmalloc_addr(stack))
		return vmalloc_to_page(stack) == page;
	return virt_addr_valid(stack) && virt_to_page(stack) == page;
}

/* A stack that waits for a grace period links to the next RCU callback. */
static void mark_stack_head(struct kmt_marker *m, struct page *page)
{
	struct callback_head *head = kmap_local_page(page);
	unsigned long next;

	/* The stack may be freed by now, and its pages unmapped. */
	if (kmt_env_read(&next, kmt_untag((unsigned long)&head->next), sizeof(next)) &&
	    !is_task_of(next, page))
		kmt_mark_words(m, &next, 1);
	kunmap_local(head);
}

static void walk_slab(struct kmt_page_walk *w, struct page *page)
{
	const struct slab *slab = (struct slab *)page;
	unsigned long next = (unsigned long)READ_ONCE(slab->rcu_head.next);

	/* If RCU is about to free the slab, its rcu_head links to other callbacks. */
	if (w->structs)
		kmt_mark_words(w->m, &next, 1);
	if (READ_ONCE(kmt_untracked_slabs))
		mark_slots(w->m, page, w->free_slots);
}

/* The first pages of hugetlb whose struct pages have pointers, in all kernels. */
#define KMT_HUGETLB_STRUCTS	6

static void walk_used(struct kmt_page_walk *w, struct page *page,
		      unsigned long pfn)
{
	struct page *head = compound_head(page);
	unsigned int i;

	w->block_end = 0;
	if (PageSlab(head)) {
		if (page == head)
			walk_slab(w, page);
		return;
	}
	/*
	 * Tail pages hold no pointer but compound_head: read the head alone. The first ones
	 * of hugetlb also have its pool and a list of poisoned pages.
	 */
	if (w->structs && page == head) {
		mark_struct(w->m, page);
		for (i = 1; PageHuge(page) && i < KMT_HUGETLB_STRUCTS; i++)
			mark_struct(w->m, page + i);
	}
	if (kmt_is_stack_page(page) && !kmt_page_unreadable(page))
		mark_stack_head(w->m, page);
	if (!kmt_tunables.pages || kmt_page_is_foreign(page) ||
	    kmt_page_owned_not_root(page) || kmt_page_marked_not_root(page) ||
	    kmt_page_unreadable(page))
		return;
	mark_content(w, page, pfn);
	/*
	 * Pages of an allocation of 2^n pages without __GFP_COMP have no reference
	 * count, except the first one. n is unknown, but 2^n is at most the
	 * alignment of @pfn, and at most a unit. So a page before w->block_end that
	 * looks free, and is neither in the buddy allocator nor on a CPU's list, may
	 * belong to it. If w->inner is set, its contents are read, but not its struct
	 * page, where page_private() may be from an earlier use.
	 */
	if (!PageCompound(page))
		w->block_end = pfn + (pfn ? pfn & -pfn : KMT_UNIT_PAGES);
}

/* Reads a page, or skips free pages; returns how many pages it handled. */
static unsigned long walk_page(struct kmt_page_walk *w, struct page *page,
			       unsigned long pfn)
{
	if (PageBuddy(page)) {
		w->block_end = 0;
		return kmt_free_pages_from(page, pfn);
	}
	if (kmt_page_in_use(compound_head(page)))
		walk_used(w, page, pfn);
	else if (pfn >= w->block_end)
		w->block_end = 0;
	else if (w->inner && !kmt_page_is_foreign(page) &&
		 !kmt_page_unreadable(page))
		mark_content(w, page, pfn);
	return 1;
}

/* Walks over pages that all have a struct page; returns the page to go on with. */
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
		/* The rest of the section has no pages either. */
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
		/* kmt_go_on() for each unit, since holes may have many. */
		if (kmt_take_unit(w->m) && kmt_go_on(w->m))
			walk_unit(w, zone, pfn, next);
	}
}

static void mark_used_pages(struct kmt_marker *m, const struct kmt_roots *roots)
{
	struct kmt_page_walk w = {
		.m = m,
		.map = &roots->map,
		.kfence = roots->kfence,
		.structs = kmt_struct_page_is_root(),
		.inner = kmt_inner_is_root(m, roots),
	};
	struct zone *zone;

	/* Several markers walk at the same time. */
	if (m->world_stopped)
		w.free_slots = *this_cpu_ptr(&stopped_slots);
	else if (READ_ONCE(kmt_untracked_slabs))
		w.free_slots = kmt_own_alloc(GFP_KERNEL, 0);
	for_each_populated_zone(zone)
		walk_zone(&w, zone);
	if (!m->world_stopped)
		kmt_own_free(w.free_slots, 0);
}

/*
 * The map of excluded pages: pages that are not read as pages. Their contents are read in
 * another way, or not at all.
 *
 * Two bits per page frame tell that the page is no root. The first is set for pages of
 * a tracked block in vmalloc space, and cleared when the block is freed
 * (kmt_page_map_drop()), so it stays correct during the whole scan. The second is set
 * each time before memory is read, for pages of per-CPU chunks and free pages on the
 * lists of CPUs. Pages whose flags tell their use are not in the map.
 */

/* Limit of the pages that are looked up while a lock is held. */
#define KMT_WALK_PAGES	16

/* Cost of looking up a page, in words that are read. */
#define KMT_LOOKUP_WORDS	8

/* Bytes of a map that are cleared at a time, and the cost in words that are read. */
#define KMT_CLEAR_BYTES		SZ_64K
#define KMT_CLEAR_WORDS		(KMT_CLEAR_BYTES / sizeof(long) / 8)

/*
 * Limit of the free pages of a list, the last ones that were freed, that are noted while
 * its lock is held. Pages beyond it are roots until the snapshot, so stale words in them
 * may hide leaks.
 */
#define KMT_WALK_FREE	512

/* The map of the scan under way; protected by kmt_lock_wide() of KMT_VIRT. */
static struct kmt_page_map *live_map;

/* Sets the bit of a page; atomic, since several CPUs may do this at the same time. */
static void exclude_pfn(const struct kmt_page_map *map, unsigned long *bits,
			unsigned long pfn)
{
	if (pfn >= map->lo && pfn < map->hi)
		set_bit(pfn - map->lo, bits);
}

/* Sets the bits of the pages behind [@addr, @end) of vmalloc space, where mapped. */
static void exclude_vmalloc_range(const struct kmt_page_map *map, unsigned long *bits,
				  unsigned long addr, unsigned long end)
{
	for (; addr < end; addr += PAGE_SIZE) {
		struct page *page = vmalloc_to_page((void *)addr);

		if (page)
			exclude_pfn(map, bits, page_to_pfn(page));
	}
}

/*
 * Sets the bits of the pages of a block in vmalloc space. The block is mapped as long as
 * it is tracked: the hook of its free takes the tree's lock before it is unmapped.
 */
static void exclude_block(struct kmt_marker *m, struct kmt_page_map *map,
			  struct kmt_object *o)
{
	unsigned long pos = 0, start = 0;

	for (;;) {
		struct kmt_held held;
		unsigned long addr, end;
		bool mapped;

		if (!kmt_lock_object(&kmt_core, o, &held))
			return;
		addr = o->addr;
		mapped = kmt_space(o) == KMT_VIRT &&
			 is_vmalloc_or_module_addr((void *)addr);
		end = addr + o->size;
		addr = ALIGN_DOWN(addr, PAGE_SIZE);
		if (!pos) {
			start = addr;
			pos = addr;
		}
		if (!mapped || addr != start || pos >= end) {
			kmt_unlock(&held);
			return;
		}
		end = min(end, pos + KMT_WALK_PAGES * PAGE_SIZE);
		exclude_vmalloc_range(map, map->blocks, pos, end);
		kmt_unlock(&held);
		pos = end;
		m->budget -= KMT_WALK_PAGES * KMT_LOOKUP_WORDS;
		if (kmt_mark_relax(m))
			return;
	}
}

/**
 * kmt_page_map_live - must frees in vmalloc space call kmt_page_map_drop()?
 */
bool kmt_page_map_live(void)
{
	return READ_ONCE(live_map);
}

/**
 * kmt_page_map_drop - the pages behind a block are about to be freed
 * @addr: first byte of the block, which is not tracked any more
 * @size: its bytes; all of them are mapped
 *
 * Context: any but NMI, no tracker lock held.
 */
void kmt_page_map_drop(unsigned long addr, unsigned long size)
{
	unsigned long pos = ALIGN_DOWN(addr, PAGE_SIZE), flags;
	unsigned int done = 0;

	kmt_lock_wide(&kmt_core, &flags);
	for (; live_map && pos < addr + size; pos += PAGE_SIZE) {
		struct page *page = vmalloc_to_page((void *)pos);
		unsigned long pfn = page ? page_to_pfn(page) : 0;

		if (pfn >= live_map->lo && pfn < live_map->hi)
			clear_bit(pfn - live_map->lo, live_map->blocks);
		if (++done % KMT_WALK_PAGES == 0) {
			kmt_unlock_wide(&kmt_core, flags);
			kmt_lock_wide(&kmt_core, &flags);
		}
	}
	kmt_unlock_wide(&kmt_core, flags);
}

/* Whether a block is in vmalloc space; most blocks are in the linear map. */
static __always_inline bool hint_mapped(const struct kmt_object *o)
{
	/* exclude_block() checks again under the lock. */
	const unsigned long addr = data_race(o->addr);

	return !kmt_in(&kmt_core.linear, addr) &&
	       is_vmalloc_or_module_addr((void *)addr);
}

static void exclude_blocks(struct kmt_marker *m, struct kmt_page_map *map)
{
	unsigned long pos = 0;
	struct kmt_object *o;

	while (kmt_go_on(m) &&
	       (o = kmt_next_wide(&kmt_core, KMT_VIRT, &pos)))
		if (hint_mapped(o))
			exclude_block(m, map, o);
}

/* Sets the bits of the pages of per-CPU chunks, for each CPU; see root_percpu.c. */
static void exclude_percpu(struct kmt_marker *m, struct kmt_page_map *map,
			   const struct kmt_percpu_map *percpu)
{
	unsigned long addr, pos;
	unsigned int i;
	int cpu;

	for (i = 0; i < percpu->nr_chunks && kmt_go_on(m); i++) {
		for_each_possible_cpu(cpu) {
			for (pos = percpu->chunks[i].lo;
			     pos < percpu->chunks[i].hi; pos += PAGE_SIZE) {
				m->budget -= KMT_LOOKUP_WORDS;
				if (kmt_mark_relax(m))
					return;
				addr = kmt_env_percpu(pos, cpu);
				if (is_vmalloc_addr((void *)addr))
					exclude_vmalloc_range(map, map->rest, addr,
							      addr + PAGE_SIZE);
				else
					exclude_pfn(map, map->rest, PHYS_PFN(__pa(addr)));
			}
		}
	}
}

static void exclude_free_list(struct kmt_page_map *map, struct list_head *list,
			      unsigned int order, int left)
{
	unsigned long pfn, end;
	struct page *page;

	/* With large pages one entry may have more pages than @left: note it all the same. */
	list_for_each_entry(page, list, pcp_list) {
		if (left <= 0)
			return;
		left -= 1 << order;
		pfn = page_to_pfn(page);
		for (end = pfn + (1UL << order); pfn < end; pfn++)
			exclude_pfn(map, map->rest, pfn);
	}
}

/*
 * Sets the bits of free pages on a CPU's lists, since their struct pages look like those
 * of inner pages of an allocation. While all CPUs are stopped the lock is not taken: with
 * PREEMPT_RT its holder may have been stopped. The links from one page to the next are
 * valid at any moment.
 */
static void exclude_pcp_pages(struct kmt_marker *m, struct kmt_page_map *map,
			      struct per_cpu_pages *pcp)
{
	unsigned long flags;
	unsigned int i;

	m->budget -= pcp->count;
	for (i = 0; i < NR_PCP_LISTS && !kmt_mark_relax(m); i++) {
		struct list_head *list = &pcp->lists[i];
		unsigned int order = kmt_pcp_order(i);

		if (m->world_stopped) {
			exclude_free_list(map, list, order, pcp->count);
			continue;
		}
		/*
		 * An interrupt only tries to take the lock, and allocates elsewhere
		 * if that fails. Without SMP the try always succeeds, so interrupts
		 * must be off.
		 */
		if (IS_ENABLED(CONFIG_SMP)) {
			spin_lock(&pcp->lock);
			exclude_free_list(map, list, order, KMT_WALK_FREE);
			spin_unlock(&pcp->lock);
		} else {
			spin_lock_irqsave(&pcp->lock, flags);
			exclude_free_list(map, list, order, KMT_WALK_FREE);
			spin_unlock_irqrestore(&pcp->lock, flags);
		}
	}
}

static void exclude_free_pages(struct kmt_marker *m, struct kmt_page_map *map)
{
	struct zone *zone;
	int cpu;

	for_each_populated_zone(zone)
		for_each_possible_cpu(cpu)
			if (kmt_take_unit(m))
				exclude_pcp_pages(m, map,
						  per_cpu_ptr(zone->per_cpu_pageset, cpu));
}

static size_t map_bytes(const struct kmt_page_map *map)
{
	return BITS_TO_LONGS(map->hi - map->lo) * sizeof(long);
}

/* Clears a map; for 1 TiB it has 32 MiB. */
static void clear_map(struct kmt_marker *m, void *bits, size_t bytes)
{
	size_t at;

	/* Clears the whole map, even if the mark is given up. */
	for (at = 0; at < bytes; at += KMT_CLEAR_BYTES) {
		memset(bits + at, 0, min_t(size_t, bytes - at, KMT_CLEAR_BYTES));
		m->budget -= KMT_CLEAR_WORDS;
		kmt_mark_relax(m);
	}
}

/**
 * kmt_page_map_prepare - fill the map of excluded pages, except for free pages
 * @m: marker
 * @roots: roots, whose map of per-CPU memory is filled already
 *
 * As long as per-CPU chunks lose no page (pcpu_nr_removed), their bits exclude no other
 * memory.
 *
 * Context: memory does not come or go; may sleep.
 */
void kmt_page_map_prepare(struct kmt_marker *m, struct kmt_roots *roots)
{
	struct kmt_page_map *map = &roots->map;

	if (!map->blocks)
		return;
	clear_map(m, map->rest, map_bytes(map));
	if (kmt_mapped_is_root())
		return;
	exclude_blocks(m, map);
	exclude_percpu(m, map, &roots->percpu);
}

/**
 * kmt_page_map_add_free - add the free pages on the lists of CPUs to the map
 * @m: marker; several markers may share the work while all CPUs are stopped
 * @roots: roots, after kmt_page_map_prepare()
 *
 * Context: any but NMI. The result is stale at once, unless all CPUs are stopped.
 */
void kmt_page_map_add_free(struct kmt_marker *m, struct kmt_roots *roots)
{
	if (roots->map.blocks)
		exclude_free_pages(m, &roots->map);
}

/**
 * kmt_pages_of_cpus - count the free pages on the lists of CPUs
 *
 * Context: memory does not come or go, since offlining a zone frees its lists.
 * Return: about how many there are.
 */
unsigned long kmt_pages_of_cpus(void)
{
	unsigned long nr = 0;
	struct zone *zone;
	int cpu;

	for_each_populated_zone(zone)
		for_each_online_cpu(cpu)
			nr += READ_ONCE(per_cpu_ptr(zone->per_cpu_pageset,
						    cpu)->count);
	return nr;
}

/* From now on kmt_page_map_drop() works on @map, or on no map if it is NULL. */
static void publish(struct kmt_page_map *map)
{
	unsigned long flags;

	kmt_lock_wide(&kmt_core, &flags);
	WRITE_ONCE(live_map, map);
	kmt_unlock_wide(&kmt_core, flags);
}

/*
 * Makes an empty map of all pages there are. Without memory for the bitmaps no page is
 * excluded in this scan: then stale memory may hide leaks, but no block is reported by
 * mistake.
 */
static void alloc_map(struct kmt_page_map *map)
{
	struct zone *zone;

	map->lo = ULONG_MAX;
	for_each_populated_zone(zone) {
		map->lo = min(map->lo, zone->zone_start_pfn);
		map->hi = max(map->hi, zone_end_pfn(zone));
	}
	map->blocks = kmt_own_vzalloc(2 * map_bytes(map));
	if (!map->blocks)
		return;
	map->rest = (void *)map->blocks + map_bytes(map);
	publish(map);
}

static void free_map(struct kmt_page_map *map)
{
	publish(NULL);
	kmt_own_vfree(map->blocks, 2 * map_bytes(map));
	map->blocks = NULL;
	map->rest = NULL;
}

/*
 * All roots.
 */

/**
 * kmt_roots_init - get ready to read roots
 * @roots: zeroed
 *
 * Context: kmt_scan_mutex held, may sleep. Pages that are added to the machine later are
 * outside of the map, and are roots.
 */
void kmt_roots_init(struct kmt_roots *roots)
{
	if (kmt_tunables.pages)
		alloc_map(&roots->map);
	kmt_kfence_begin(&roots->kfence);
}

/**
 * kmt_roots_fill - note which memory exists, and which of it is no root
 * @m: marker
 * @roots: roots, after kmt_roots_init()
 *
 * After this, pages of stacks are known as such.
 *
 * Context: memory does not come or go; may sleep.
 */
void kmt_roots_fill(struct kmt_marker *m, struct kmt_roots *roots)
{
	kmt_percpu_map_fill(&roots->percpu);
	kmt_flag_stacks();
	kmt_page_map_prepare(m, roots);
	kmt_page_map_add_free(m, roots);
}

/**
 * kmt_roots_free - free the memory that kmt_roots_init() allocated
 * @roots: roots
 */
void kmt_roots_free(struct kmt_roots *roots)
{
	kmt_percpu_map_free(&roots->percpu);
	free_map(&roots->map);
}

/**
 * kmt_mark_memory - mark from per-CPU memory, words in KFENCE's metadata, and pages
 * @m: marker; several markers may share the work
 * @roots: roots, after kmt_roots_fill()
 *
 * Context: memory does not come or go; may sleep, unless all CPUs are stopped.
 */
void kmt_mark_memory(struct kmt_marker *m, const struct kmt_roots *roots)
{
	kmt_mark_percpu(m, &roots->percpu);
	if (kmt_take_unit(m))
		kmt_mark_kfence(m);
	mark_used_pages(m, roots);
}
