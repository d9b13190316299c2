// SPDX-License-Identifier: GPL-2.0
/*
 * Roots in slabs: what is queued behind one, and objects that were allocated
 * while nobody watched.
 *
 * A slot is a root unless it is free or its object is tracked.
 */
#include <linux/bitmap.h>
#include <linux/kfence.h>
#include <linux/mm.h>
#include <linux/mutex.h>

#include "../slab.h"
#include "compat.h"
#include "policy.h"

/* Slots of a slab of the highest order with the smallest objects. */
#define KMT_SLOTS	((PAGE_SIZE << 3) / 8)

/*
 * Too large for a stack: one under kmt_scan_mutex, and one for each CPU that
 * works while nothing else runs.
 */
static DECLARE_BITMAP(free_slots, KMT_SLOTS);
static DEFINE_PER_CPU(unsigned long [BITS_TO_LONGS(KMT_SLOTS)], still_slots);

/* The cache of a slab page if it is one that does not go under slab_mutex. */
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
 * @nr: how many
 * @size: bytes of each
 * @pad: bytes before its object
 * @skip: bytes of each, from its beginning, that are not read
 */
struct slots {
	unsigned int nr;
	unsigned int size;
	unsigned int pad;
	unsigned int skip;
};

static void mark_slot(struct kmt_marker *m, unsigned long addr,
		      const struct slots *slots)
{
	const unsigned long size = slots->size;
	struct kmt_object o;

	/* With redzones the object begins a little behind its slot. */
	if (!kmt_in_quarantine(addr + slots->pad) &&
	    !kmt_lookup(&kmt_core, KMT_VIRT, addr + size / 2, &o) &&
	    !kmt_lookup(&kmt_core, KMT_VIRT, addr, &o)) {
		kmt_see_untracked();
		kmt_mark_block(m, addr + slots->skip, addr + size);
	}
}

/* One object in the page at @addr, at either end; none if it cannot be read. */
static void mark_kfence_page(struct kmt_marker *m, unsigned long addr)
{
	struct kmt_range tracked;
	unsigned long word;

	if (kmt_first_block(&kmt_core, KMT_VIRT, addr, addr + PAGE_SIZE,
			    &tracked))
		return;
	if (!m->world_stopped && kmt_env_read(&word, addr, sizeof(word)))
		kmt_see_untracked();
	kmt_mark_block(m, addr, addr + PAGE_SIZE);
}

/**
 * kmt_lock_slots - let caches neither come nor go
 *
 * To be held while nothing else runs: who did not get it may be in its midst.
 *
 * Context: may sleep.
 */
void kmt_lock_slots(void)
{
	mutex_lock(&slab_mutex);
}

/**
 * kmt_unlock_slots - let caches come and go
 */
void kmt_unlock_slots(void)
{
	mutex_unlock(&slab_mutex);
}

/*
 * Whether objects of @cache may be roots. Those of kmem_cache_node link slabs, and
 * refer to no block; the first one of each node is made before there are hooks.
 */
static bool may_be_roots(const struct kmem_cache *cache)
{
	return !(cache->flags & SLAB_NOLEAKTRACE) &&
	       strcmp(cache->name, "kmem_cache_node");
}

/* Notes the free slots of a slab; it has none if it is none any more. */
static struct slots list_slots(struct kmt_marker *m, struct slab *slab,
			       unsigned long *map)
{
	struct slots slots = {};
	struct kmem_cache *cache;

	bitmap_zero(map, KMT_SLOTS);
	if (!m->world_stopped)
		kmt_lock_slots();
	cache = cache_of(slab);
	if (cache && may_be_roots(cache)) {
		slots.nr = slab->objects;
		slots.size = cache->size;
		slots.pad = cache->red_left_pad;
		slots.skip = kmt_bounds_in_slot(cache->name);
		if (slots.nr <= KMT_SLOTS)
			kmemtrack_free_slots(cache, slab, map);
	}
	if (!m->world_stopped)
		kmt_unlock_slots();
	return slots;
}

/**
 * kmt_mark_slab - mark from the struct page of a slab
 * @m: marker
 * @page: its first page
 *
 * RCU may be about to free it: then other callbacks are queued behind it.
 *
 * Context: no lock held.
 */
void kmt_mark_slab(struct kmt_marker *m, struct page *page)
{
	struct slab *slab = (struct slab *)page;
	unsigned long next = (unsigned long)READ_ONCE(slab->rcu_head.next);

	kmt_mark_words(m, &next, 1);
}

/**
 * kmt_mark_slots - mark from the untracked objects of a slab
 * @m: marker
 * @page: its first page
 *
 * The slab may be freed, and its memory reused, at any time: then memory is
 * taken for a root that is none, by this mark.
 *
 * Context: kmt_scan_mutex held, may sleep; or nothing else runs, and
 * kmt_lock_slots() was called before.
 */
void kmt_mark_slots(struct kmt_marker *m, struct page *page)
{
	unsigned long addr = kmt_untag((unsigned long)page_address(page));
	unsigned long end = addr + page_size(page);
	unsigned long *map = m->world_stopped ? *this_cpu_ptr(&still_slots) : free_slots;
	struct slots slots = list_slots(m, (struct slab *)page, map);
	unsigned int i;

	if (is_kfence_address((void *)addr)) {
		if (slots.nr)
			mark_kfence_page(m, addr);
		return;
	}
	for (i = 0; i < slots.nr && addr + slots.size <= end && !m->stopped;
	     i++, addr += slots.size)
		if (i >= KMT_SLOTS || !test_bit(i, map))
			mark_slot(m, addr, &slots);
}
