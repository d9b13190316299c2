// SPDX-License-Identifier: GPL-2.0
/*
 * Roots in slab pages: objects that were allocated while nobody watched.
 *
 * A slot is a root unless it is free or its object is tracked.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/mutex.h>

#include "../slab.h"
#include "glue.h"

/* Slots of a slab of the highest order with the smallest objects. */
#define KMT_SLOTS	((PAGE_SIZE << 3) / 8)

/* Under kmt_scan_mutex: too large for a stack. */
static DECLARE_BITMAP(free_slots, KMT_SLOTS);

/* The cache of a slab page if it is one that is not about to go. */
static struct kmem_cache *cache_of(struct slab *slab)
{
	struct kmem_cache *cache, *owner = READ_ONCE(slab->slab_cache);

	lockdep_assert_held(&slab_mutex);
	list_for_each_entry(cache, &slab_caches, list)
		if (cache == owner)
			return cache;
	return NULL;
}

static void mark_slot(struct kmt_marker *m, unsigned long addr,
		      unsigned long size)
{
	struct kmt_object o;

	/* With redzones the object begins a little behind its slot. */
	if (!kmt_lookup(&kmt_core, KMT_VIRT, addr + size / 2, &o) &&
	    !kmt_lookup(&kmt_core, KMT_VIRT, addr, &o))
		kmt_mark_block(m, addr, addr + size);
}

/* Notes the free slots of a slab; 0 if it is none any more. */
static unsigned int list_slots(struct slab *slab, unsigned int *size)
{
	struct kmem_cache *cache;
	unsigned int nr = 0;

	bitmap_zero(free_slots, KMT_SLOTS);
	mutex_lock(&slab_mutex);
	cache = cache_of(slab);
	if (cache && !(cache->flags & SLAB_NOLEAKTRACE)) {
		nr = slab->objects;
		*size = cache->size;
		if (nr <= KMT_SLOTS)
			kmemtrack_free_slots(cache, slab, free_slots);
	}
	mutex_unlock(&slab_mutex);
	return nr;
}

/**
 * kmt_mark_slots - mark from the untracked objects of a slab
 * @m: marker
 * @page: its first page
 *
 * The slab may be freed, and its memory reused, at any time: then memory is
 * taken for a root that is none, by this mark.
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_mark_slots(struct kmt_marker *m, struct page *page)
{
	unsigned long addr = (unsigned long)page_address(page);
	unsigned long end = addr + page_size(page);
	unsigned int i, size = 0, nr;

	lockdep_assert_held(&kmt_scan_mutex);
	nr = list_slots((struct slab *)page, &size);
	for (i = 0; i < nr && addr + size <= end && !m->stopped; i++) {
		if (i >= KMT_SLOTS || !test_bit(i, free_slots))
			mark_slot(m, addr, size);
		addr += size;
	}
}
