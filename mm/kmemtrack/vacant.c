// SPDX-License-Identifier: GPL-2.0
/*
 * Records of freed blocks.
 *
 * What was freed is often allocated again soon, in the same place and size:
 * SLUB sees to it. So the record of a freed block stays where it is in its
 * shard, vacant, until that happens, until another block wants the room, or
 * until its cell is needed: then it is found here. Only a shard's records are
 * left vacant, and only where CPUs remember cells by address (kmt_recent_cell()):
 * that is what makes it worth while.
 */
#include "hot.h"

/* Cells that are looked at in one go, and how often that is tried. */
#define KMT_REAP_CELLS	32
#define KMT_REAP_TRIES	64

/**
 * kmt_vacant - records of freed blocks
 * @core: tracker
 *
 * Return: their number; exact while nothing else happens.
 */
unsigned long kmt_vacant(struct kmt_core *core)
{
	unsigned int cpu;
	long nr = 0;

	for (cpu = 0; cpu < core->pool.nr_caches; cpu++)
		nr += READ_ONCE(core->pool.caches[cpu].vacant);
	return max(nr, 0L);
}

/**
 * kmt_lookup_vacant - copy what is known of a block that was freed
 * @core: tracker
 * @space: address space
 * @addr: its first byte
 * @copy: filled in when its record is still there
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether it is.
 */
bool kmt_lookup_vacant(struct kmt_core *core, enum kmt_space space,
		       unsigned long addr, struct kmt_object *copy)
{
	struct kmt_tree *shard;
	struct kmt_object *o;
	unsigned long flags;

	if (space != KMT_VIRT || !kmt_in(&core->linear, addr))
		return false;
	shard = kmt_shard_of(core, addr);
	raw_spin_lock_irqsave(&shard->lock, flags);
	o = kmt_tree_at(shard, addr);
	if (o && !kmt_is_vacant(o))
		o = NULL;
	if (o)
		*copy = *o;
	raw_spin_unlock_irqrestore(&shard->lock, flags);
	return o;
}

/* Some cells, and then others each time, all in turn. */
static struct kmt_object *next_cells(struct kmt_pool *pool, u32 *nr)
{
	struct kmt_object *first;
	unsigned long flags;

	*nr = 0;
	raw_spin_lock_irqsave(&pool->lock, flags);
	if (!pool->reap_in) {
		pool->reap_in = pool->chunks;
		pool->reap_at = 0;
	}
	if (!pool->reap_in) {
		raw_spin_unlock_irqrestore(&pool->lock, flags);
		return NULL;
	}
	first = kmt_chunk_cells(pool->reap_in) + pool->reap_at;
	*nr = min_t(u32, pool->reap_in->nr - pool->reap_at, KMT_REAP_CELLS);
	pool->reap_at += *nr;
	if (pool->reap_at == pool->reap_in->nr) {
		pool->reap_in = pool->reap_in->next;
		pool->reap_at = 0;
	}
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return first;
}

/* Makes a free cell of @o if it is a vacant record. */
static bool reap_cell(struct kmt_core *core, struct kmt_object *o)
{
	/* Flags come before the size, and the address does. */
	unsigned long size = smp_load_acquire(&o->size);
	unsigned long addr = READ_ONCE(o->addr), flags;
	struct kmt_tree *tree;
	bool vacant;

	if (!size || READ_ONCE(o->flags))
		return false;
	tree = kmt_tree_of(core, KMT_VIRT, addr, size);
	if (kmt_is_wide(core, tree))
		return false;
	raw_spin_lock_irqsave(&tree->lock, flags);
	/*
	 * The size goes before the flags do, and comes after the address: of a
	 * record that is in another tree by now one of them is not the same.
	 */
	vacant = !smp_load_acquire(&o->flags) &&
		 /* Pairs with kmt_cell_publish(), as above. */
		 smp_load_acquire(&o->size) == size &&
		 READ_ONCE(o->addr) == addr;
	if (vacant)
		kmt_retire(core, tree, o, flags);
	else
		raw_spin_unlock_irqrestore(&tree->lock, flags);
	return vacant;
}

/**
 * kmt_reap - make free cells of vacant records
 * @core: tracker
 * @least: how many there should be for it to be worth while, 1 at least
 *
 * Context: any but NMI, no tracker lock held; a bounded number of cells is
 * looked at.
 * Return: whether there are more free cells than before.
 */
bool kmt_reap(struct kmt_core *core, unsigned long least)
{
	unsigned int tries, got = 0;
	unsigned long flags;

	if (kmt_vacant(core) < least)
		return false;
	for (tries = 0; tries < KMT_REAP_TRIES && !got; tries++) {
		struct kmt_object *o;
		u32 i, nr;

		/* Else the chunk could be given back meanwhile. */
		local_irq_save(flags);
		o = next_cells(&core->pool, &nr);
		for (i = 0; i < nr; i++)
			got += reap_cell(core, &o[i]);
		local_irq_restore(flags);
	}
	return got;
}

/**
 * kmt_reap_chunk - make free cells of the vacant records of a chunk
 * @core: tracker
 * @chunk: one of its chunks
 *
 * Context: no tracker lock held, the pool is not trimmed.
 */
void kmt_reap_chunk(struct kmt_core *core, struct kmt_chunk *chunk)
{
	struct kmt_object *cells = kmt_chunk_cells(chunk);
	unsigned long flags;
	u32 i = 0, got;

	while (i < chunk->nr) {
		const u32 end = min(i + KMT_REAP_CELLS, chunk->nr);

		local_irq_save(flags);
		for (got = 0; i < end; i++)
			got += reap_cell(core, &cells[i]);
		/* They are to be where they belong, and not in a cache. */
		if (got)
			kmt_cell_flush(core, kmt_cache_of(core));
		local_irq_restore(flags);
	}
}

/**
 * kmt_reap_all - make free cells of all vacant records
 * @core: tracker
 *
 * Context: no tracker lock held, the pool is not trimmed; takes long, and may
 * sleep. What becomes vacant meanwhile may stay so.
 */
void kmt_reap_all(struct kmt_core *core)
{
	struct kmt_chunk *chunk;

	kmt_for_each_chunk(core, chunk) {
		kmt_reap_chunk(core, chunk);
		kmt_env_rest(GFP_KERNEL);
	}
}
