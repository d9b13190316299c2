// SPDX-License-Identifier: GPL-2.0
/*
 * Birth and death of tracked blocks.
 *
 * The allocators are the truth: what they hand out is new, so a record that
 * overlaps it is stale (its free was not seen) and makes way; what they free
 * is gone, tracked or not. Neither ends tracking of anything else.
 */
#include "core.h"

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
static bool crowded(struct kmt_core *core, struct kmt_tree *tree,
		    const struct kmt_object *o)
{
	unsigned long region, last;

	if (kmt_space(o) != KMT_VIRT || !kmt_in(&core->linear, o->addr))
		return false;
	if (tree != &core->wide[KMT_VIRT])
		return READ_ONCE(tree->wide);
	region = o->addr >> KMT_REGION_SHIFT;
	last = (o->addr + o->size - 1) >> KMT_REGION_SHIFT;
	for (; region <= last; region++)
		if (READ_ONCE(core->shards[region & (core->nr_shards - 1)].nr))
			return true;
	return false;
}

/* Links a copy of @new; -EEXIST if its tree has something in that place. */
static int link_copy(struct kmt_core *core, struct kmt_tree *tree,
		     const struct kmt_object *new, gfp_t gfp)
{
	struct kmt_object *o;
	unsigned long flags;

	o = kmt_cell_alloc(core, gfp, &flags);
	if (unlikely(!o)) {
		kmt_event(core, KMT_EV_LOST_NOMEM);
		return -ENOMEM;
	}
	raw_spin_lock(&tree->lock);
	if (unlikely(kmt_tree_first(tree, new->addr, new->size))) {
		raw_spin_unlock(&tree->lock);
		kmt_cell_put(core, o);
		local_irq_restore(flags);
		return -EEXIST;
	}
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
	kmt_tree_link(core, tree, o);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return 0;
}

static int insert_object(struct kmt_core *core, const struct kmt_object *new,
			 gfp_t gfp)
{
	struct kmt_tree *tree;
	int ret;

	tree = kmt_tree_of(core, kmt_space(new), new->addr, new->size);
	if (unlikely(crowded(core, tree, new)))
		evict(core, new);
	while (unlikely((ret = link_copy(core, tree, new, gfp)) == -EEXIST))
		evict(core, new);
	/* Untracked, but no less new. */
	if (unlikely(ret))
		evict(core, new);
	return ret;
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
	struct kmt_object new = {
		.addr = addr,
		.size = size,
		.stack = origin->stack,
		.pid = origin->pid,
		.born = origin->born,
		.comm = origin->comm,
		.min = min,
		.flags = space,
		/*
		 * What is born during a mark counts as reached by it, and is
		 * still to be read: the last reference to an older block may
		 * move into it.
		 */
		.epoch = READ_ONCE(core->epoch),
		.count = READ_ONCE(core->marking) ? KMT_COUNT_MAX : 0,
	};

	if (unlikely(!size || addr + size < addr)) {
		report_event(core, KMT_EV_BAD_SIZE, NULL, &new);
		return -EINVAL;
	}
	return insert_object(core, &new, gfp);
}

/* Unlinks the object at @addr from @tree, if there is one. */
static bool free_in(struct kmt_core *core, struct kmt_tree *tree,
		    unsigned long addr, bool *inside)
{
	struct kmt_object *o;
	unsigned long flags;
	u16 was = 0;

	raw_spin_lock_irqsave(&tree->lock, flags);
	o = kmt_tree_find(tree, addr);
	if (o && o->addr != addr) {
		*inside = true;
		o = NULL;
	}
	if (o) {
		was = o->flags;
		kmt_tree_unlink(core, tree, o);
	}
	raw_spin_unlock(&tree->lock);
	if (o)
		kmt_cell_put(core, o);
	local_irq_restore(flags);
	if (unlikely(was & (KMT_AREAS | KMT_ALIAS)))
		kmt_drop_aux(core, addr);
	return was;
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
	struct kmt_tree *tree = &core->wide[space];
	bool inside = false;

	if (space == KMT_VIRT && kmt_in(&core->linear, addr)) {
		struct kmt_tree *shard = kmt_shard_of(core, addr);

		if (READ_ONCE(shard->nr) &&
		    free_in(core, shard, addr, &inside))
			return true;
		if (!READ_ONCE(shard->wide))
			tree = NULL;
	}
	if (tree && free_in(core, tree, addr, &inside))
		return true;
	kmt_event(core, inside ? KMT_EV_FREE_INSIDE : KMT_EV_FREE_UNKNOWN);
	return false;
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
	insert_object(core, &part, gfp);
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
