// SPDX-License-Identifier: GPL-2.0
/*
 * Birth and death of tracked blocks, where life.h's short way does not do.
 * What stands in the way is overlap.c's.
 */
#include "life.h"

static void init_tree(struct kmt_tree *tree)
{
	raw_spin_lock_init(&tree->lock);
	tree->root = RB_ROOT;
}

/**
 * kmt_core_init - make a tracker usable
 * @core: zeroed memory
 * @ops: services of the owner
 * @shards: zeroed shards
 * @nr_shards: how many, a power of two
 * @caches: zeroed cell caches, one for each CPU that is there
 * @nr_caches: how many
 *
 * There is no linear map at first: kmt_index_resize() tells of it. The owner
 * sets @core->skip itself.
 */
void kmt_core_init(struct kmt_core *core, const struct kmt_ops *ops,
		   struct kmt_tree *shards, u32 nr_shards,
		   struct kmt_cell_cache *caches, unsigned int nr_caches)
{
	u32 i;

	core->ops = ops;
	core->shards = shards;
	core->last_shard = nr_shards - 1;
	core->fold = KMT_NO_FOLD;
	core->pool.caches = caches;
	core->pool.nr_caches = nr_caches;
	core->epoch = 1;
	kmt_set_birth(core, false);
	core->pool.least = ULONG_MAX;
	raw_spin_lock_init(&core->pool.lock);
	for (i = 0; i < nr_shards; i++)
		init_tree(&shards[i]);
	for (i = 0; i < KMT_NR_SPACES; i++)
		init_tree(&core->wide[i]);
	/* Taken under a tree's lock: of another class than those. */
	raw_spin_lock_init(&core->aux.lock);
	core->aux.root = RB_ROOT;
}

static void fill(struct kmt_core *core, struct kmt_object *o, u8 min,
		 const struct kmt_origin *origin)
{
	o->stack = origin->stack;
	o->pid = origin->pid;
	o->born = origin->born;
	o->crc = 0;
	o->comm = origin->comm;
	o->epoch = READ_ONCE(core->epoch);
	o->count = READ_ONCE(core->marking) ? KMT_COUNT_MAX : 0;
	o->min = min;
}

/* What is in no shard, or has something in its way, or no cell at hand. */
static int insert_anywhere(struct kmt_core *core, enum kmt_space space,
			   unsigned long addr, unsigned long size, u8 min,
			   const struct kmt_origin *origin, gfp_t gfp)
{
	struct kmt_object new = { .addr = addr, .size = size, .flags = space };

	fill(core, &new, min, origin);
	if (!size || addr + size < addr) {
		kmt_report_event(core, KMT_EV_BAD_SIZE, NULL, &new);
		return -EINVAL;
	}
	return kmt_insert_over(core, &new, gfp);
}

/* What belongs in @shard; false if that is not so easy. */
static bool insert_in(struct kmt_core *core, struct kmt_tree *shard,
		      unsigned long addr, unsigned long size, u8 min,
		      const struct kmt_origin *origin)
{
	struct kmt_object *o;
	unsigned long flags;

	raw_spin_lock_irqsave(&shard->lock, flags);
	o = kmt_is_shut(core) ? NULL : kmt_shard_insert(core, shard, addr, size);
	if (likely(o)) {
		fill(core, o, min, origin);
		kmt_shard_set_live(shard, o, KMT_VIRT);
	}
	raw_spin_unlock_irqrestore(&shard->lock, flags);
	return o;
}

/**
 * kmt_insert_slowly - track a block that kmt_insert_locked() does not take
 * @core: tracker
 * @space: address space of @addr
 * @addr: first byte
 * @size: bytes
 * @min: references it needs, or KMT_MIN_*
 * @origin: who allocated it
 * @gfp: how memory for the record may be got
 *
 * Context: any but NMI, no tracker lock held.
 * Return: as kmt_insert().
 */
int kmt_insert_slowly(struct kmt_core *core, enum kmt_space space,
		      unsigned long addr, unsigned long size, u8 min,
		      const struct kmt_origin *origin, gfp_t gfp)
{
	if (space == KMT_VIRT && kmt_is_sharded(core, addr, size) &&
	    insert_in(core, kmt_shard_of(core, addr), addr, size, min, origin))
		return 0;
	return insert_anywhere(core, space, addr, size, min, origin, gfp);
}

/**
 * kmt_insert - track a block
 * @core: tracker
 * @space: address space of @addr
 * @addr: first byte
 * @size: bytes
 * @min: references it needs, or KMT_MIN_*
 * @origin: who allocated it
 * @gfp: how memory for the record may be got
 *
 * Context: any but NMI, no tracker lock held.
 * Return: 0, also if the tracker is shut; -EINVAL if the range is none; -ENOMEM
 * if there is no memory for the record: the block is untracked then, and the
 * owner is to treat it as a root.
 */
int kmt_insert(struct kmt_core *core, enum kmt_space space, unsigned long addr,
	       unsigned long size, u8 min, const struct kmt_origin *origin,
	       gfp_t gfp)
{
	struct kmt_tree *shard;
	unsigned long flags;
	bool done = false;

	if (space == KMT_VIRT && min == 1 &&
	    kmt_is_sharded(core, addr, size)) {
		local_irq_save(flags);
		done = kmt_is_shut(core) ||
		       kmt_insert_fast(core, addr, size, origin, &shard);
		if (!done && shard)
			done = kmt_insert_locked(core, shard, addr, size, origin);
		local_irq_restore(flags);
	}
	return likely(done) ? 0 :
		kmt_insert_slowly(core, space, addr, size, min, origin, gfp);
}

/* Frees the object at @addr in the wide tree of its space, if there is one. */
static bool free_wide(struct kmt_core *core, struct kmt_tree *tree,
		      unsigned long addr)
{
	struct kmt_object *o;
	unsigned long flags;

	raw_spin_lock_irqsave(&tree->lock, flags);
	o = kmt_tree_at(tree, addr);
	if (o)
		kmt_retire(core, tree, o, flags);
	else
		raw_spin_unlock_irqrestore(&tree->lock, flags);
	return o;
}

/* Frees the object at @addr in @shard, if there is one. */
static bool free_in(struct kmt_core *core, struct kmt_tree *shard,
		    unsigned long addr)
{
	struct kmt_object **recent_cells, *o;
	struct kmt_cell_cache *cache;
	unsigned long flags;
	u16 aux;

	raw_spin_lock_irqsave(&shard->lock, flags);
	cache = kmt_cache_of(core);
	o = kmt_tree_at(shard, addr);
	if (unlikely(!o || kmt_is_vacant(o))) {
		raw_spin_unlock_irqrestore(&shard->lock, flags);
		return false;
	}
	recent_cells = READ_ONCE(cache->recent_cells);
	if (unlikely(!recent_cells)) {
		kmt_retire(core, shard, o, flags);
		return true;
	}
	WRITE_ONCE(*kmt_recent_cell(recent_cells, addr), o);
	aux = o->flags & (KMT_AREAS | KMT_ALIAS);
	kmt_tree_set_vacant(shard, o);
	kmt_count_vacant(cache, 1);
	raw_spin_unlock_irqrestore(&shard->lock, flags);
	if (unlikely(aux))
		kmt_drop_aux(core, addr);
	return true;
}

/* Frees the object at @addr, wherever it is. */
static bool free_anywhere(struct kmt_core *core, enum kmt_space space,
			  unsigned long addr)
{
	struct kmt_tree *shard;

	if (space == KMT_VIRT && kmt_in(&core->linear, addr)) {
		shard = kmt_shard_of(core, addr);
		if (!kmt_is_empty_hint(shard) && free_in(core, shard, addr))
			return true;
		if (!READ_ONCE(shard->wide))
			return false;
	}
	return free_wide(core, &core->wide[space], addr);
}

/**
 * kmt_free_slowly - a block is freed that kmt_free_fast() does not know
 * @core: tracker
 * @space: address space of @addr
 * @addr: its first byte
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether it was tracked.
 */
bool kmt_free_slowly(struct kmt_core *core, enum kmt_space space,
		     unsigned long addr)
{
	struct kmt_object o;

	if (likely(free_anywhere(core, space, addr)))
		return true;
	if (kmt_lookup(core, space, addr, &o)) {
		kmt_report_event(core, KMT_EV_FREE_INSIDE, &o, NULL);
	} else {
		kmt_event(core, KMT_EV_FREE_UNKNOWN);
		if (kmt_lookup_vacant(core, space, addr, &o))
			kmt_report_event(core, KMT_EV_FREE_TWICE, &o, NULL);
	}
	return false;
}

/**
 * kmt_free - a block is freed
 * @core: tracker
 * @space: address space of @addr
 * @addr: its first byte
 *
 * An address inside a tracked block frees nothing and is counted.
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether it was tracked.
 */
bool kmt_free(struct kmt_core *core, enum kmt_space space, unsigned long addr)
{
	unsigned long flags;
	bool done = false;

	if (space == KMT_VIRT) {
		local_irq_save(flags);
		done = kmt_free_fast(core, addr);
		local_irq_restore(flags);
	}
	return likely(done) || kmt_free_slowly(core, space, addr);
}
