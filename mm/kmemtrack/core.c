// SPDX-License-Identifier: GPL-2.0
/*
 * Birth and death of tracked blocks. What stands in the way is overlap.c's.
 */
#include "hot.h"

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
	core->nr_shards = nr_shards;
	core->pool.caches = caches;
	core->pool.nr_caches = nr_caches;
	core->epoch = 1;
	raw_spin_lock_init(&core->pool.lock);
	for (i = 0; i < nr_shards; i++)
		init_tree(&shards[i]);
	for (i = 0; i < KMT_NR_SPACES; i++)
		init_tree(&core->wide[i]);
	/* Taken under a tree's lock: of another class than those. */
	raw_spin_lock_init(&core->aux.lock);
	core->aux.root = RB_ROOT;
}

/*
 * What is born during a mark counts as reached by it, and is still to be read:
 * the last reference to an older block may move into it.
 */
static __always_inline void fill(struct kmt_core *core, struct kmt_object *o,
				 u8 min, const struct kmt_origin *origin)
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

/* What kmt_insert() cannot do at once. */
static noinline int insert_slowly(struct kmt_core *core, enum kmt_space space,
				  unsigned long addr, unsigned long size,
				  u8 min, const struct kmt_origin *origin,
				  gfp_t gfp)
{
	struct kmt_object new = { .addr = addr, .size = size, .flags = space };

	fill(core, &new, min, origin);
	if (!size || addr + size < addr) {
		kmt_report_event(core, KMT_EV_BAD_SIZE, NULL, &new);
		return -EINVAL;
	}
	return kmt_insert_over(core, &new, gfp);
}

/* The vacant record of just this block, if this CPU remembers one. */
static __always_inline struct kmt_object *
remembered_vacant(struct kmt_cell_cache *cache, unsigned long addr,
		  unsigned long size)
{
	struct kmt_object *o;

	if (unlikely(!cache->hints))
		return NULL;
	o = *kmt_hint(cache, addr);
	/*
	 * The size comes last, the address it belongs to before: pairs with
	 * kmt_cell_settle(). Of a shard's record the two tell the shard, and
	 * that one is locked: if they are right, it is there.
	 */
	if (!o || smp_load_acquire(&o->size) != size)
		return NULL;
	if (READ_ONCE(o->addr) != addr || READ_ONCE(o->flags))
		return NULL;
	return o;
}

/* A record in @shard to be filled in: new, or vacant so far. */
static noinline struct kmt_object *place_object(struct kmt_core *core,
						struct kmt_cell_cache *cache,
						struct kmt_tree *shard,
						unsigned long addr,
						unsigned long size)
{
	struct rb_node **link, *parent;
	struct kmt_object *o;

	link = kmt_tree_place(shard, addr, size, &parent);
	if (likely(link)) {
		o = kmt_cell_get(core);
		if (unlikely(!o))
			return NULL;
		kmt_cell_settle(o, KMT_VIRT, addr, size);
		kmt_tree_link(shard, o, link, parent);
	} else {
		o = kmt_to_object(parent);
		if (!kmt_is_vacant(o) || o->addr != addr || o->size != size)
			return NULL;
		kmt_count_vacant(cache, -1);
	}
	if (cache->hints)
		*kmt_hint(cache, addr) = o;
	return o;
}

/* What most blocks come to; false if that is not so easy. */
static __always_inline bool insert_in(struct kmt_core *core,
				      struct kmt_tree *shard,
				      unsigned long addr, unsigned long size,
				      u8 min, const struct kmt_origin *origin)
{
	struct kmt_cell_cache *cache;
	struct kmt_object *o;
	unsigned long flags;

	local_irq_save(flags);
	cache = kmt_cache_of(core);
	raw_spin_lock(&shard->lock);
	o = remembered_vacant(cache, addr, size);
	if (likely(o))
		kmt_count_vacant(cache, -1);
	else
		o = place_object(core, cache, shard, addr, size);
	if (likely(o)) {
		fill(core, o, min, origin);
		kmt_shard_enliven(shard, o, KMT_VIRT);
	}
	raw_spin_unlock(&shard->lock);
	local_irq_restore(flags);
	return o;
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
 * Return: 0; -EINVAL if the range is none; -ENOMEM if there is no memory for
 * the record: the block is untracked then, and the owner is to treat it as a
 * root.
 */
int kmt_insert(struct kmt_core *core, enum kmt_space space, unsigned long addr,
	       unsigned long size, u8 min, const struct kmt_origin *origin,
	       gfp_t gfp)
{
	unsigned long last = addr + size - 1;
	struct kmt_tree *shard;

	if (likely(space == KMT_VIRT && size && kmt_in(&core->linear, addr) &&
		   addr >> KMT_REGION_SHIFT == last >> KMT_REGION_SHIFT)) {
		shard = kmt_shard_of(core, addr);
		/* A hint that is often wrong, but never when it says no. */
		if (likely(!READ_ONCE(shard->wide)) &&
		    likely(insert_in(core, shard, addr, size, min, origin)))
			return 0;
	}
	return insert_slowly(core, space, addr, size, min, origin, gfp);
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
static __always_inline bool free_in(struct kmt_core *core,
				    struct kmt_tree *shard, unsigned long addr)
{
	struct kmt_cell_cache *cache;
	struct kmt_object *o = NULL;
	unsigned long flags;
	u16 aux;

	local_irq_save(flags);
	cache = kmt_cache_of(core);
	raw_spin_lock(&shard->lock);
	if (cache->hints)
		o = *kmt_hint(cache, addr);
	/* What is live, and a shard's, and at @addr, is in this one. */
	if (unlikely(!o || !kmt_is_at(o, addr))) {
		o = kmt_tree_at(shard, addr);
		if (unlikely(!o || kmt_is_vacant(o))) {
			raw_spin_unlock(&shard->lock);
			local_irq_restore(flags);
			return false;
		}
		if (cache->hints)
			*kmt_hint(cache, addr) = o;
	}
	if (unlikely(!cache->hints)) {
		kmt_retire(core, shard, o, flags);
		return true;
	}
	aux = o->flags & (KMT_AREAS | KMT_ALIAS);
	kmt_tree_vacate(shard, o);
	kmt_count_vacant(cache, 1);
	raw_spin_unlock(&shard->lock);
	local_irq_restore(flags);
	if (unlikely(aux))
		kmt_drop_aux(core, addr);
	return true;
}

/* Not tracked, or not in a shard. */
static noinline bool free_slowly(struct kmt_core *core, enum kmt_space space,
				 unsigned long addr)
{
	struct kmt_object o;
	bool wide = true;

	if (space == KMT_VIRT && kmt_in(&core->linear, addr))
		wide = READ_ONCE(kmt_shard_of(core, addr)->wide);
	if (wide && free_wide(core, &core->wide[space], addr))
		return true;
	kmt_event(core, kmt_lookup(core, space, addr, &o) ?
		  KMT_EV_FREE_INSIDE : KMT_EV_FREE_UNKNOWN);
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
	if (space == KMT_VIRT && kmt_in(&core->linear, addr)) {
		struct kmt_tree *shard = kmt_shard_of(core, addr);

		if (READ_ONCE(shard->nr) && free_in(core, shard, addr))
			return true;
	}
	return free_slowly(core, space, addr);
}
