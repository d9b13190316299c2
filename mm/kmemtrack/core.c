// SPDX-License-Identifier: GPL-2.0
/*
 * Birth and death of tracked blocks.
 *
 * The allocators are the truth: what they hand out is new, so a record that
 * overlaps it is stale (its free was not seen) and makes way; what they free
 * is gone, tracked or not. Neither ends tracking of anything else.
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

static void report_event(struct kmt_core *core, enum kmt_event ev,
			 const struct kmt_object *old,
			 const struct kmt_object *new)
{
	kmt_event(core, ev);
	if (core->ops->warn)
		core->ops->warn(core, ev, old, new);
}

/* Unlinks what @tree has of the range; its tree is the only one it is in. */
static bool remove_first(struct kmt_core *core, struct kmt_tree *tree,
			 unsigned long addr, unsigned long size,
			 struct kmt_object *copy)
{
	struct kmt_object *o;
	unsigned long flags;

	raw_spin_lock_irqsave(&tree->lock, flags);
	o = kmt_tree_first(tree, addr, size);
	if (o) {
		*copy = *o;
		kmt_tree_unlink(core, tree, o);
	}
	raw_spin_unlock(&tree->lock);
	if (o)
		kmt_cell_put(core, o);
	local_irq_restore(flags);
	if (o && (copy->flags & (KMT_AREAS | KMT_ALIAS)))
		kmt_drop_aux(core, copy->addr);
	return o;
}

/*
 * Unlinks one object that overlaps the range, wherever it is; false when there
 * is none left.
 */
static bool remove_overlap(struct kmt_core *core, enum kmt_space space,
			   unsigned long addr, unsigned long size,
			   struct kmt_object *copy)
{
	unsigned long at = addr, last = addr + size - 1;

	if (remove_first(core, &core->wide[space], addr, size, copy))
		return true;
	if (space != KMT_VIRT)
		return false;
	while (at <= last) {
		unsigned long region = at >> KMT_REGION_SHIFT;
		struct kmt_tree *shard = kmt_shard_of(core, at);

		if (kmt_in(&core->linear, at) && READ_ONCE(shard->nr) &&
		    remove_first(core, shard, addr, size, copy))
			return true;
		at = (region + 1) << KMT_REGION_SHIFT;
		if (!at)
			break;
	}
	return false;
}

/* Makes room for @new: what overlaps it was freed without our being told. */
static void evict(struct kmt_core *core, const struct kmt_object *new)
{
	struct kmt_object old;

	while (remove_overlap(core, kmt_space(new), new->addr, new->size, &old))
		report_event(core, KMT_EV_OVERLAP, &old, new);
}

/*
 * Whether trees other than @tree can have objects that overlap the block. A
 * hint that is often wrong, but never when it says no.
 */
static inline bool crowded(struct kmt_core *core, struct kmt_tree *tree,
			   unsigned long addr, unsigned long size)
{
	unsigned long region, last;

	if (likely(!kmt_is_wide(core, tree)))
		return READ_ONCE(tree->wide);
	if (tree != &core->wide[KMT_VIRT] || !kmt_in(&core->linear, addr))
		return false;
	region = addr >> KMT_REGION_SHIFT;
	last = (addr + size - 1) >> KMT_REGION_SHIFT;
	for (; region <= last; region++)
		if (READ_ONCE(core->shards[region & (core->nr_shards - 1)].nr))
			return true;
	return false;
}

/* Links a cell that is filled in, and not live: nobody else looks into it. */
static bool link_cell(struct kmt_core *core, struct kmt_tree *tree,
		      struct kmt_object *o)
{
	bool linked;

	raw_spin_lock(&tree->lock);
	linked = kmt_tree_link(core, tree, o);
	raw_spin_unlock(&tree->lock);
	if (unlikely(!linked)) {
		WRITE_ONCE(o->flags, 0);
		kmt_cell_put(core, o);
	}
	return linked;
}

static void copy_cell(struct kmt_object *o, const struct kmt_object *new)
{
	WRITE_ONCE(o->addr, new->addr);
	WRITE_ONCE(o->size, new->size);
	o->stack = new->stack;
	o->pid = new->pid;
	o->born = new->born;
	o->crc = new->crc;
	o->comm = new->comm;
	o->epoch = new->epoch;
	o->count = new->count;
	o->min = new->min;
	WRITE_ONCE(o->flags, new->flags & ~KMT_LIVE);
}

/* Inserts a copy of @new in the place of whatever seems to be there. */
static noinline int insert_over(struct kmt_core *core,
				const struct kmt_object *new, gfp_t gfp)
{
	struct kmt_object *o;
	struct kmt_tree *tree;
	unsigned long flags;
	bool linked;

	tree = kmt_tree_of(core, kmt_space(new), new->addr, new->size);
	do {
		/* Even where there is no cell: the block is no less new. */
		evict(core, new);
		o = kmt_cell_alloc(core, gfp, &flags);
		if (!o) {
			kmt_event(core, KMT_EV_LOST_NOMEM);
			return -ENOMEM;
		}
		copy_cell(o, new);
		linked = link_cell(core, tree, o);
		local_irq_restore(flags);
	} while (!linked);
	return 0;
}

/*
 * What is born during a mark counts as reached by it, and is still to be read:
 * the last reference to an older block may move into it.
 */
static __always_inline void fill(struct kmt_core *core, struct kmt_object *o,
				 enum kmt_space space, unsigned long addr,
				 unsigned long size, u8 min,
				 const struct kmt_origin *origin)
{
	WRITE_ONCE(o->addr, addr);
	WRITE_ONCE(o->size, size);
	o->stack = origin->stack;
	o->pid = origin->pid;
	o->born = origin->born;
	o->crc = 0;
	o->comm = origin->comm;
	o->epoch = READ_ONCE(core->epoch);
	o->count = READ_ONCE(core->marking) ? KMT_COUNT_MAX : 0;
	o->min = min;
	WRITE_ONCE(o->flags, space);
}

/* Something seems to be in the place for which @o is filled in. */
static noinline int insert_again(struct kmt_core *core, struct kmt_object *o,
				 gfp_t gfp, unsigned long flags)
{
	struct kmt_object new = *o;

	WRITE_ONCE(o->flags, 0);
	kmt_cell_put(core, o);
	local_irq_restore(flags);
	return insert_over(core, &new, gfp);
}

/* What kmt_insert() cannot do at once. */
static noinline int insert_slowly(struct kmt_core *core, enum kmt_space space,
				  unsigned long addr, unsigned long size,
				  u8 min, const struct kmt_origin *origin,
				  gfp_t gfp)
{
	struct kmt_object new = {};

	fill(core, &new, space, addr, size, min, origin);
	if (!size || addr + size < addr) {
		report_event(core, KMT_EV_BAD_SIZE, NULL, &new);
		return -EINVAL;
	}
	return insert_over(core, &new, gfp);
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
	struct kmt_tree *tree = kmt_tree_of(core, space, addr, size);
	struct kmt_object *o;
	unsigned long flags;
	bool linked;

	if (unlikely(!size || addr + size < addr ||
		     crowded(core, tree, addr, size)))
		goto slowly;
	local_irq_save(flags);
	o = kmt_cell_get(core);
	if (unlikely(!o)) {
		local_irq_restore(flags);
		goto slowly;
	}
	fill(core, o, space, addr, size, min, origin);
	raw_spin_lock(&tree->lock);
	linked = kmt_tree_link(core, tree, o);
	raw_spin_unlock(&tree->lock);
	if (unlikely(!linked))
		return insert_again(core, o, gfp, flags);
	local_irq_restore(flags);
	return 0;
slowly:
	return insert_slowly(core, space, addr, size, min, origin, gfp);
}

/* Unlinks the object at @addr from @tree, if there is one. */
static inline bool free_in(struct kmt_core *core, struct kmt_tree *tree,
			   unsigned long addr)
{
	struct kmt_object *o;
	unsigned long flags;
	u16 was;

	raw_spin_lock_irqsave(&tree->lock, flags);
	o = kmt_tree_at(tree, addr);
	if (unlikely(!o)) {
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		return false;
	}
	was = o->flags;
	kmt_tree_unlink(core, tree, o);
	raw_spin_unlock(&tree->lock);
	kmt_cell_put(core, o);
	local_irq_restore(flags);
	if (unlikely(was & (KMT_AREAS | KMT_ALIAS)))
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
	if (wide && free_in(core, &core->wide[space], addr))
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

/* Tracks again what is left of @old at [@lo, @hi). */
static void keep_part(struct kmt_core *core, const struct kmt_object *old,
		      unsigned long lo, unsigned long hi, gfp_t gfp)
{
	struct kmt_object part = *old;

	if (lo >= hi)
		return;
	part.addr = lo;
	part.size = hi - lo;
	/* Scan areas and aliases went with the whole: all of it is read. */
	part.flags &= ~(KMT_LIVE | KMT_AREAS | KMT_ALIAS | KMT_WHOLE |
			KMT_SCANNED);
	insert_over(core, &part, gfp);
}

/**
 * kmt_free_part - part of one or more blocks is freed
 * @core: tracker
 * @space: address space of @addr
 * @addr: first byte that is freed
 * @size: bytes that are freed
 * @gfp: how memory for a new record may be got
 *
 * What is left before and after the part stays tracked.
 *
 * Context: any but NMI, no tracker lock held.
 */
void kmt_free_part(struct kmt_core *core, enum kmt_space space,
		   unsigned long addr, unsigned long size, gfp_t gfp)
{
	struct kmt_object old;
	bool found = false;

	if (!size)
		return;
	if (addr + size < addr) {
		report_event(core, KMT_EV_BAD_SIZE, NULL, NULL);
		return;
	}
	while (remove_overlap(core, space, addr, size, &old)) {
		found = true;
		keep_part(core, &old, old.addr, min(addr, old.addr + old.size),
			  gfp);
		keep_part(core, &old, max(addr + size, old.addr),
			  old.addr + old.size, gfp);
	}
	if (!found)
		kmt_event(core, KMT_EV_FREE_UNKNOWN);
}

/**
 * kmt_drop_space - forget every block of an address space
 * @core: tracker
 * @space: address space
 *
 * Blocks that are inserted meanwhile may or may not stay.
 *
 * Context: any but NMI, no tracker lock held; takes long.
 * Return: how many were forgotten.
 */
unsigned long kmt_drop_space(struct kmt_core *core, enum kmt_space space)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned long nr = 0;

	kmt_for_each_cell(core, chunk, o) {
		struct kmt_tree *tree;
		unsigned long flags;
		struct kmt_object old;

		tree = kmt_lock_object(core, o, &flags);
		if (!tree)
			continue;
		old = *o;
		if (kmt_space(o) == space)
			kmt_tree_unlink(core, tree, o);
		raw_spin_unlock(&tree->lock);
		if (kmt_space(&old) == space) {
			kmt_cell_put(core, o);
			nr++;
		}
		local_irq_restore(flags);
		if (kmt_space(&old) == space &&
		    (old.flags & (KMT_AREAS | KMT_ALIAS)))
			kmt_drop_aux(core, old.addr);
	}
	return nr;
}
