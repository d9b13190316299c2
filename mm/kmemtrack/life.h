/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Birth and death of blocks, as nearly all of them go: a block is freed whose
 * record this CPU remembers, and allocated again in the same place. Inlined
 * into the hooks; that nothing is called here saves as much again. The first
 * block in a place is inlined beside the hook. Whatever is not so easy is left
 * to core.c.
 */
#ifndef _KMT_LIFE_H
#define _KMT_LIFE_H

#include "hot.h"

/*
 * Of a live object: where it is, and whether something hangs on it. All in a
 * row: so they are a constant of an instruction.
 */
#define KMT_PLAIN_MASK	(KMT_LIVE | KMT_SPACE_MASK | KMT_AREAS | KMT_ALIAS)
#define KMT_PLAIN	(KMT_LIVE | KMT_VIRT)

/* Whether a block of KMT_VIRT belongs in a shard. */
static __always_inline bool kmt_is_sharded(struct kmt_core *core,
					   unsigned long addr,
					   unsigned long size)
{
	const unsigned long region = BIT(KMT_REGION_SHIFT);

	return likely(kmt_in(&core->linear, addr)) &&
	       likely(size - 1 <= (~addr & (region - 1)));
}

/* The record of a block that is in its place, and born now. */
static __always_inline void kmt_object_init(struct kmt_core *core,
					    struct kmt_object *o,
					    const struct kmt_origin *origin)
{
	o->stack = origin->stack;
	o->pid = origin->pid;
	o->born = origin->born;
	o->crc = 0;
	kmt_publish_state(o, READ_ONCE(core->birth) +
			  origin->comm * kmt_pack_state(1, 0, 0, 0, 0));
}

/**
 * kmt_insert_fast - track a block that this CPU remembers a vacant record of
 * @core: tracker
 * @addr: first byte of a block that belongs in a shard
 * @size: bytes
 * @origin: who allocated it
 * @locked: set to its shard if that is locked afterwards, for kmt_insert_locked();
 *	else to NULL
 *
 * It is to be a leak when nothing refers to it.
 *
 * Context: interrupts off, no tracker lock held.
 * Return: false if it is not so easy; true if it is done, with nothing locked.
 */
static __always_inline bool kmt_insert_fast(struct kmt_core *core,
					    unsigned long addr, unsigned long size,
					    const struct kmt_origin *origin,
					    struct kmt_tree **locked)
{
	struct kmt_tree *shard = kmt_shard_of(core, addr);
	struct kmt_cell_cache *cache = kmt_cache_of(core);
	struct kmt_object **recent_cells = READ_ONCE(cache->recent_cells), *o;
	bool known;

	*locked = NULL;
	if (unlikely(!recent_cells || !raw_spin_trylock(&shard->lock)))
		return false;
	*locked = shard;
	o = READ_ONCE(*kmt_recent_cell(recent_cells, addr));
	/*
	 * The size comes last, the address it belongs to before: pairs with
	 * kmt_cell_publish(). Of a shard's record the two tell the shard, and
	 * that one is locked: if they are right, it is there.
	 */
	known = likely(o) && likely(smp_load_acquire(&o->size) == size) &&
		likely(READ_ONCE(o->addr) == addr) &&
		likely(!READ_ONCE(o->flags));
	if (unlikely(!known))
		return false;
	kmt_count_vacant(cache, -1);
	kmt_object_init(core, o, origin);
	raw_spin_unlock(&shard->lock);
	return true;
}

/**
 * kmt_shard_insert - a record for a block in its shard
 * @core: tracker
 * @shard: the shard, locked
 * @addr: first byte of the block
 * @size: bytes
 *
 * This CPU remembers it from now on.
 *
 * Context: interrupts off.
 * Return: a record to be filled in, new or vacant so far; NULL if there is no
 * cell at hand, something is in the way, or other blocks than the shard's may
 * be.
 */
static __always_inline struct kmt_object *kmt_shard_insert(struct kmt_core *core,
							   struct kmt_tree *shard,
							   unsigned long addr,
							   unsigned long size)
{
	struct kmt_cell_cache *cache = kmt_cache_of(core);
	struct rb_node **link, *parent;
	struct kmt_object **recent_cells, *o;

	/* A hint that is often wrong, but never when it says no. */
	if (unlikely(READ_ONCE(shard->wide)))
		return NULL;
	link = kmt_tree_place(shard, addr, size, &parent);
	if (likely(link)) {
		o = kmt_cell_get(core, cache);
		if (unlikely(!o))
			return NULL;
		kmt_cell_publish(o, KMT_VIRT, addr, size);
		kmt_tree_link(shard, o, link, parent);
	} else {
		o = kmt_to_object(parent);
		if (!kmt_is_vacant(o) || o->addr != addr || o->size != size)
			return NULL;
		kmt_count_vacant(cache, -1);
	}
	recent_cells = READ_ONCE(cache->recent_cells);
	if (likely(recent_cells))
		WRITE_ONCE(*kmt_recent_cell(recent_cells, addr), o);
	return o;
}

/**
 * kmt_insert_locked - track a block that kmt_insert_fast() found no record of
 * @core: tracker
 * @shard: the shard that was left locked; not so any more afterwards
 * @addr: first byte
 * @size: bytes
 * @origin: who allocated it
 *
 * Context: interrupts off.
 * Return: false, with nothing done, if it is not so easy.
 */
static __always_inline bool kmt_insert_locked(struct kmt_core *core,
					      struct kmt_tree *shard,
					      unsigned long addr, unsigned long size,
					      const struct kmt_origin *origin)
{
	struct kmt_object *o = kmt_shard_insert(core, shard, addr, size);

	if (likely(o))
		kmt_object_init(core, o, origin);
	raw_spin_unlock(&shard->lock);
	return o;
}

/**
 * kmt_free_fast - free a block of whose record this CPU knows
 * @core: tracker
 * @addr: its first byte
 *
 * Context: interrupts off, no tracker lock held.
 * Return: false, with nothing done, if it is not so easy.
 */
static __always_inline bool kmt_free_fast(struct kmt_core *core,
					  unsigned long addr)
{
	struct kmt_object **recent_cells, *o;
	struct kmt_cell_cache *cache;
	struct kmt_tree *shard;
	u16 state;
	bool known;

	if (unlikely(!kmt_in(&core->linear, addr)))
		return false;
	cache = kmt_cache_of(core);
	recent_cells = READ_ONCE(cache->recent_cells);
	shard = kmt_shard_of(core, addr);
	if (unlikely(!recent_cells || !raw_spin_trylock(&shard->lock)))
		return false;
	o = READ_ONCE(*kmt_recent_cell(recent_cells, addr));
	/*
	 * Pairs with kmt_tree_set_live(): the true address came before. What is
	 * live, and a shard's, and at @addr, is in this one.
	 */
	state = o ? smp_load_acquire(&o->flags) : 0;
	known = likely((state & KMT_PLAIN_MASK) == KMT_PLAIN) &&
		likely(READ_ONCE(o->addr) == addr) &&
		likely(READ_ONCE(o->size) - 1 <=
		       (~addr & (BIT(KMT_REGION_SHIFT) - 1)));
	if (known) {
		kmt_tree_set_vacant(shard, o);
		kmt_count_vacant(cache, 1);
	}
	raw_spin_unlock(&shard->lock);
	return known;
}

#endif /* _KMT_LIFE_H */
