// SPDX-License-Identifier: GPL-2.0
/*
 * KFENCE's memory.
 *
 * KFENCE serves some allocations of slab objects from a pool of its own, one
 * object in every second page, at the beginning or at the end of the page. The
 * allocators report these objects to the hooks as any others. The page of a freed
 * object cannot be read.
 *
 * KFENCE keeps metadata of each object, struct kfence_metadata, which holds the
 * address of the object while it is allocated, and after that. The metadata comes
 * from memblock, or from the page allocator if KFENCE is switched on after boot; in 6.1
 * it is in .bss. In all cases it is no root (policy.h), and neither is the pool.
 * Each scan looks both up anew, since KFENCE may have been switched on since the last
 * one, or while tracking was off.
 */
#include <linux/mm.h>
#include <linux/uaccess.h>

#include "../kfence/kfence.h"
#include "policy.h"

#ifdef KFENCE_METADATA_SIZE
#define KMT_KFENCE_IN_BSS	0
/* The member that refers to the memory cgroup, with CONFIG_MEMCG. */
#define KMT_KFENCE_OBJCG	obj_exts.objcg

static struct kfence_metadata *records(void)
{
	/* Pairs with the release in kfence_init_pool(). */
	return smp_load_acquire(&kfence_metadata);
}

/* Whether RCU may be about to free the object. */
static bool waits_for_rcu(const struct kfence_metadata *r)
{
	return READ_ONCE(r->state) == KFENCE_OBJECT_RCU_FREEING;
}
#else /* 6.1 */
#define KMT_KFENCE_IN_BSS	1
#define KMT_KFENCE_OBJCG	objcg
#define KFENCE_METADATA_SIZE	sizeof(kfence_metadata)

static struct kfence_metadata *records(void)
{
	return READ_ONCE(__kfence_pool) ? kfence_metadata : NULL;
}

/*
 * Whether RCU may be about to free the object: it counts as allocated until then. Only
 * objects of some caches wait. The cache in the metadata may be gone, so read it safely.
 */
static bool waits_for_rcu(const struct kfence_metadata *r)
{
	const struct kmem_cache *cache = READ_ONCE(r->cache);
	slab_flags_t flags;

	return READ_ONCE(r->state) == KFENCE_OBJECT_ALLOCATED && cache &&
	       !get_kernel_nofault(flags, &cache->flags) &&
	       (flags & SLAB_TYPESAFE_BY_RCU);
}
#endif

/* Changes the min_refs of the memblock block that begins at @start, if there is one. */
static void set_phys(const void *start, u8 min_refs)
{
	const unsigned long phys = __pa(start);
	struct kmt_object o;

	if (kmt_lookup(&kmt_core, KMT_PHYS, phys, &o) && o.addr == phys &&
	    o.min_refs != min_refs)
		kmt_set_min(&kmt_core, KMT_PHYS, phys, min_refs);
}

/**
 * kmt_kfence_begin - find KFENCE's memory before a scan
 * @none: set to the pages that are no roots; empty if there are none
 *
 * Context: kmt_scan_mutex held.
 */
void kmt_kfence_begin(struct kmt_range *none)
{
	const bool root = kmt_kfence_is_root();
	const struct kfence_metadata *first = records();

	*none = (struct kmt_range){};
	if (!first)
		return;
	set_phys(__kfence_pool, KMT_MIN_BLACK);
	if (KMT_KFENCE_IN_BSS)
		return;
	set_phys(first, root ? KMT_MIN_GREY : KMT_MIN_BLACK);
	if (root)
		return;
	none->lo = kmt_untag((unsigned long)first);
	none->hi = none->lo + KFENCE_METADATA_SIZE;
}

/**
 * kmt_kfence_bss - find the part of .bss that is KFENCE's metadata
 * @start: set to its first byte
 * @end: set to the byte after the last one; the same if there is no such part
 *
 * Context: any.
 */
void kmt_kfence_bss(const char **start, const char **end)
{
	*start = *end = (const char *)kfence_metadata;
	if (KMT_KFENCE_IN_BSS)
		*end += KFENCE_METADATA_SIZE;
}

/* Marks from the word at @at, in place: a copy of it would stay on this stack. */
static void mark_word(struct kmt_marker *m, const void *at)
{
	const unsigned long addr = kmt_untag((unsigned long)at);

	kmt_mark_range(m, addr, addr + sizeof(long));
}

/*
 * If RCU is about to free the object, its callback is in the metadata, and links to the
 * next callback in the queue. At other times the link is stale.
 */
static void mark_record(struct kmt_marker *m, const struct kfence_metadata *r)
{
	if (KMT_KFENCE_IN_BSS && kmt_kfence_is_root()) {
		kmt_mark_range(m, (unsigned long)r, (unsigned long)(r + 1));
		return;
	}
	if (waits_for_rcu(r))
		mark_word(m, &r->rcu_head.next);
#ifdef CONFIG_MEMCG
	mark_word(m, &r->KMT_KFENCE_OBJCG);
#endif
}

/**
 * kmt_mark_kfence - mark from the words in KFENCE's metadata that are references
 * @m: marker
 *
 * Context: no lock held.
 */
void kmt_mark_kfence(struct kmt_marker *m)
{
	const struct kfence_metadata *r = records();
	unsigned int i;

	for (i = 0; r && i < CONFIG_KFENCE_NUM_OBJECTS && kmt_go_on(m); i++)
		mark_record(m, r + i);
}
