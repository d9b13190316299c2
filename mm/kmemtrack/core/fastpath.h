/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fast path of allocation and free, inlined into the hooks: taking a cell from
 * this CPU's cache, finding a tree and a place in it. The rest of the pool is in
 * pool.c, the rest of the index in index.c.
 */
#ifndef _KMT_FASTPATH_H
#define _KMT_FASTPATH_H

#include "core.h"

#define KMT_BATCH	32
#define KMT_CACHE_MAX	(3 * KMT_BATCH)

/* This CPU's cache, with interrupts off. */
static __always_inline struct kmt_cell_cache *kmt_cache_of(struct kmt_core *core)
{
	return &core->pool.caches[smp_processor_id()];
}

/* Only the cache's own CPU writes it, with interrupts off; others may read it. */
static __always_inline void kmt_count_vacant(struct kmt_cell_cache *cache,
					     int delta)
{
	WRITE_ONCE(cache->vacant, cache->vacant + delta);
}

static __always_inline struct kmt_object *
kmt_next_free(const struct kmt_object *o)
{
	return (struct kmt_object *)o->node.rb_left;
}

static __always_inline void kmt_push_free(struct kmt_object **list,
					  struct kmt_object *o)
{
	o->node.rb_left = (struct rb_node *)*list;
	*list = o;
}

static __always_inline struct kmt_object *
kmt_pop_free(struct kmt_object **list)
{
	struct kmt_object *o = *list;

	*list = kmt_next_free(o);
	return o;
}

/**
 * kmt_cell_get - take a cell from this CPU's cache
 * @core: tracker
 * @cache: this CPU's cache
 *
 * Context: interrupts off; the lock of a tree may be held.
 * Return: a free cell, or NULL if neither the cache nor the chunks have one.
 */
static __always_inline struct kmt_object *
kmt_cell_get(struct kmt_core *core, struct kmt_cell_cache *cache)
{
	if (unlikely(!cache->free))
		return kmt_cell_refill(core, cache);
	cache->nr--;
	return kmt_pop_free(&cache->free);
}

/**
 * kmt_cell_put - return a cell to this CPU's cache
 * @core: tracker
 * @o: cell, in no tree
 *
 * Context: interrupts off, no tree lock held. If @o was in a tree, the caller
 * has cleared it with kmt_cell_clear() under the lock of that tree.
 */
static __always_inline void kmt_cell_put(struct kmt_core *core,
					 struct kmt_object *o)
{
	struct kmt_cell_cache *cache = kmt_cache_of(core);

	kmt_push_free(&cache->free, o);
	if (unlikely(++cache->nr >= KMT_CACHE_MAX))
		kmt_cell_give(core, cache, KMT_BATCH);
}

/* Whether nothing may be tracked now, see kmt_core.shut; interrupts are off. */
static __always_inline bool kmt_is_shut(const struct kmt_core *core)
{
	return unlikely(READ_ONCE(core->shut));
}

/* Makes @o, in no tree yet, the record of a block. */
static __always_inline void kmt_cell_publish(struct kmt_object *o, u16 flags,
					     unsigned long addr,
					     unsigned long size)
{
	/*
	 * Pairs with kmt_is_in_shard_of(): the size of an earlier block was cleared
	 * before.
	 */
	smp_store_release(&o->addr, addr);
	/* Pairs with move_object(): the address, which tells the tree, comes first. */
	smp_store_release(&o->flags, flags);
	/* Pairs with __kmt_lock_vacant(): a reader of the size also sees flags and address. */
	smp_store_release(&o->size, size);
}

/* Copies all of a record except node, address, size and flags. */
static inline void kmt_copy_rest(struct kmt_object *o,
				 const struct kmt_object *from)
{
	o->trace = from->trace;
	o->pid_slack = from->pid_slack;
	o->born = from->born;
	o->crc = from->crc;
	o->comm = from->comm;
	o->epoch = from->epoch;
	o->count = from->count;
	o->min_refs = from->min_refs;
}

/* Makes @o, which was unlinked from its tree, a free cell. */
static __always_inline void kmt_cell_clear(struct kmt_object *o)
{
	WRITE_ONCE(o->size, 0);
	/* Pairs with __kmt_lock_vacant(): no flags and a size would be a vacant record. */
	smp_store_release(&o->flags, 0);
}

static __always_inline struct kmt_object *kmt_to_object(struct rb_node *node)
{
	return rb_entry(node, struct kmt_object, node);
}

static __always_inline bool kmt_is_vacant(const struct kmt_object *o)
{
	return !(o->flags & KMT_LIVE);
}

/*
 * The entry of @recent_cells for the record of a block at @addr. Up to KMT_RECENT_CELLS
 * adjacent blocks of any one size have different entries.
 */
static __always_inline struct kmt_object **kmt_recent_cell(struct kmt_object **recent_cells,
							   unsigned long addr)
{
	return &recent_cells[((addr ^ addr >> KMT_RECENT_SHIFT) >> 3) % KMT_RECENT_CELLS];
}

/*
 * The number of the shard of an address. If banks of memory lie at multiples of the
 * size of the table, kmt_index_fold() has found a shift that gives them different
 * shards.
 */
static __always_inline unsigned long kmt_shard_nr(const struct kmt_core *core,
						  unsigned long addr)
{
	unsigned long region = addr >> KMT_REGION_SHIFT;

	/* READ_ONCE(): else compilers also read @fold where it is not needed. */
	if (kmt_env_folded())
		region ^= region >> READ_ONCE(core->fold);
	return region & core->last_shard;
}

/* The shard of an address in @core->linear; other regions may share it. */
static __always_inline struct kmt_tree *kmt_shard_of(struct kmt_core *core,
						     unsigned long addr)
{
	return &core->shards[kmt_shard_nr(core, addr)];
}

/* Whether @shard has no record, not even a vacant one; a hint without its lock. */
static __always_inline bool kmt_is_empty_hint(const struct kmt_tree *shard)
{
	/* Callers need not see a record that is being linked at this moment. */
	return !data_race(shard->root.rb_node);
}

/* The tree to which a block belongs: a shard, or the wide tree of @space. */
static __always_inline struct kmt_tree *kmt_tree_of(struct kmt_core *core,
						    enum kmt_space space,
						    unsigned long addr,
						    unsigned long size)
{
	unsigned long last = addr + size - 1;

	if (space == KMT_VIRT && kmt_in(&core->linear, addr) &&
	    (addr >> KMT_REGION_SHIFT) == (last >> KMT_REGION_SHIFT))
		return kmt_shard_of(core, addr);
	return &core->wide[space];
}

static __always_inline bool kmt_is_wide(struct kmt_core *core,
					struct kmt_tree *tree)
{
	return tree >= core->wide && tree < core->wide + KMT_NR_SPACES;
}

/**
 * kmt_tree_at - the object or vacant record that begins at an address
 * @tree: tree, locked
 * @addr: any address
 *
 * Return: it, or NULL.
 */
static __always_inline struct kmt_object *kmt_tree_at(struct kmt_tree *tree,
						      unsigned long addr)
{
	struct rb_node *node = tree->root.rb_node;

	lockdep_assert_held(&tree->lock);
	while (node) {
		struct kmt_object *o = kmt_to_object(node);

		if (addr == o->addr)
			return o;
		node = addr < o->addr ? node->rb_left : node->rb_right;
	}
	return NULL;
}

/**
 * kmt_tree_find - the object an address lies in
 * @tree: tree, locked
 * @addr: any address
 *
 * Return: the object with @addr in it, or NULL.
 */
static __always_inline struct kmt_object *kmt_tree_find(struct kmt_tree *tree,
							unsigned long addr)
{
	struct rb_node *node = tree->root.rb_node;

	lockdep_assert_held(&tree->lock);
	while (node) {
		struct kmt_object *o = kmt_to_object(node);

		if (addr < o->addr)
			node = node->rb_left;
		else if (addr - o->addr >= o->size)
			node = node->rb_right;
		else
			return kmt_is_vacant(o) ? NULL : o;
	}
	return NULL;
}

/*
 * Whether @o is a live object in the region of @addr, whose shard is locked. @o may be a
 * wide block, whose tree is not locked, and be freed and used again meanwhile.
 */
static __always_inline bool kmt_is_in_shard_of(struct kmt_object *o,
					       unsigned long addr)
{
	unsigned long first, size;
	u16 flags;

	/*
	 * Pairs with kmt_publish_state(), kmt_tree_set_live() and replace_object(),
	 * which store the address before.
	 */
	flags = smp_load_acquire(&o->flags);
	if ((flags & (KMT_LIVE | KMT_SPACE_MASK)) != (KMT_LIVE | KMT_VIRT))
		return false;
	/* Pairs with kmt_cell_publish(): an old size does not come with a new address. */
	first = smp_load_acquire(&o->addr);
	/* Pairs with kmt_cell_publish(): a new size comes with a new address. */
	size = smp_load_acquire(&o->size);
	return !((first ^ addr) >> KMT_REGION_SHIFT) &&
	       size - 1 <= (~first & (BIT(KMT_REGION_SHIFT) - 1)) &&
	       likely(READ_ONCE(o->addr) == first);
}

/*
 * Returns the link for a new block of @size bytes at @addr, and sets @parent. Returns
 * NULL if a record overlaps the block; @parent is that record then.
 */
static __always_inline struct rb_node **
kmt_tree_place(struct kmt_tree *tree, unsigned long addr, unsigned long size,
	       struct rb_node **parent)
{
	struct rb_node *node = tree->root.rb_node;
	struct rb_node *before = tree->last, *after = NULL;

	lockdep_assert_held(&tree->lock);
	if (likely(before && addr >= kmt_to_object(before)->addr))
		node = NULL;
	else
		before = NULL;
	/* Overlaps are rare, so check for them after the descent only. */
	while (node) {
		if (addr < kmt_to_object(node)->addr) {
			after = node;
			node = node->rb_left;
		} else {
			before = node;
			node = node->rb_right;
		}
	}
	*parent = before;
	if (before && addr - kmt_to_object(before)->addr <
		      kmt_to_object(before)->size)
		return NULL;
	if (after && unlikely(kmt_to_object(after)->addr - addr < size)) {
		*parent = after;
		return NULL;
	}
	/*
	 * @before and @after are neighbours in the order: either @before has no
	 * right child or @after has no left one. The new node goes there.
	 */
	if (before && !before->rb_right)
		return &before->rb_right;
	*parent = after;
	return after ? &after->rb_left : &tree->root.rb_node;
}

/**
 * kmt_tree_link - put an object into its tree
 * @tree: the tree that kmt_tree_of() returns, locked
 * @o: object with address and size
 * @link: from kmt_tree_place()
 * @parent: from kmt_tree_place()
 *
 * The caller then makes the object live, before it unlocks the tree.
 */
static __always_inline void kmt_tree_link(struct kmt_tree *tree,
					  struct kmt_object *o,
					  struct rb_node **link,
					  struct rb_node *parent)
{
	lockdep_assert_held(&tree->lock);
	if (!parent || (parent == tree->last && link == &parent->rb_right))
		tree->last = &o->node;
	rb_link_node(&o->node, parent, link);
	rb_insert_color(&o->node, &tree->root);
}

/* Takes @o, live or not, out of its tree, which is locked. */
static __always_inline void kmt_tree_unlink(struct kmt_tree *tree,
					    struct kmt_object *o)
{
	lockdep_assert_held(&tree->lock);
	if (tree->last == &o->node)
		tree->last = rb_prev(&o->node);
	rb_erase(&o->node, &tree->root);
}

/* Makes a record, in its tree, that of a live block. */
static __always_inline void kmt_tree_set_live(struct kmt_core *core,
					      struct kmt_tree *tree,
					      struct kmt_object *o, u16 flags)
{
	lockdep_assert_held(&tree->lock);
	/* Pairs with __kmt_lock_object(): a live object shows its true address. */
	smp_store_release(&o->flags, flags | KMT_LIVE);
	if (unlikely(kmt_is_wide(core, tree)))
		kmt_count_wide(core, o, 1);
}

/* Leaves the record of a freed block in its tree, for the next block there. */
static __always_inline void kmt_tree_set_vacant(struct kmt_tree *tree,
						struct kmt_object *o)
{
	lockdep_assert_held(&tree->lock);
	WRITE_ONCE(o->flags, 0);
}

/*
 * Most blocks are freed on a CPU that remembers their record, and another block is
 * allocated in the same place later. The functions below handle these cases inline in
 * the hooks: inlining halves the instructions of the common case. A new record in a shard
 * is made inline in track_new_record() (hooks.c), which the hook calls. All other cases
 * are left to core.c.
 */

/*
 * Flags that are compared to find a live object of KMT_VIRT without auxiliary
 * cells. These bits are adjacent, so that the mask fits in an instruction.
 */
#define KMT_PLAIN_MASK	(KMT_LIVE | KMT_SPACE_MASK | KMT_AREAS | KMT_ALIAS)
#define KMT_PLAIN	(KMT_LIVE | KMT_VIRT)

/* Whether a block of KMT_VIRT belongs to a shard. */
static __always_inline bool kmt_is_sharded(struct kmt_core *core,
					   unsigned long addr,
					   unsigned long size)
{
	const unsigned long region = BIT(KMT_REGION_SHIFT);

	return likely(kmt_in(&core->linear, addr)) &&
	       likely(size - 1 <= (~addr & (region - 1)));
}

/*
 * Fills in the rest of the record of a block of KMT_VIRT that was allocated now, whose
 * address and size are set, and makes it live. @o is a cell whose tree is locked, or a
 * local variable.
 */
static __always_inline void kmt_make_live(struct kmt_core *core, struct kmt_object *o,
					  u8 min_refs, const struct kmt_origin *origin)
{
	o->trace = origin->trace;
	o->pid_slack = origin->pid_slack;
	o->born = origin->born;
	o->crc = 0;
	/* The min_refs in @birth is 1. */
	kmt_publish_state(o, READ_ONCE(core->birth) +
			  origin->comm * kmt_pack_state(1, 0, 0, 0, 0) +
			  (min_refs - 1LL) * kmt_pack_state(0, 0, 0, 0, 1));
}

/**
 * struct kmt_track_rest - how the caller of kmt_track_vacant() tracks all other blocks
 * @locked: called with @shard locked if this CPU remembers no vacant record of the
 *	block; unlocks it
 * @unlocked: called without the lock, if another CPU holds it or this CPU remembers no
 *	records
 *
 * Both are called with interrupts off, and restore them from @flags. They return false if
 * they leave the block to the caller of kmt_track_vacant(), and true if there is nothing
 * left to do: the block is tracked, or is counted as lost. kmt_origin_of() makes its origin of
 * the last three arguments: a struct kmt_origin would be in memory, even where no function
 * is called.
 */
struct kmt_track_rest {
	bool (*locked)(struct kmt_core *core, unsigned long addr,
		       unsigned long size, gfp_t gfp, struct kmt_tree *shard,
		       unsigned long flags, u64 where, u32 born, u16 comm);
	bool (*unlocked)(struct kmt_core *core, unsigned long addr,
			 unsigned long size, gfp_t gfp, unsigned long flags,
			 u64 where, u32 born, u16 comm);
};

/* Backtrace, pid and slack of @origin in one argument. */
static __always_inline u64 kmt_where(const struct kmt_origin *origin)
{
	return (u64)origin->pid_slack << 32 | origin->trace;
}

static __always_inline struct kmt_origin kmt_origin_of(u64 where, u32 born,
						       u16 comm)
{
	return (struct kmt_origin){
		.trace = where, .pid_slack = where >> 32, .born = born, .comm = comm,
	};
}

/**
 * kmt_track_vacant - track a block that was allocated just now
 * @core: tracker
 * @addr: first byte of a block that belongs to a shard
 * @size: bytes
 * @gfp: passed to @rest
 * @flags: interrupt state from before
 * @origin: where and when it was allocated
 * @rest: constant, so that the compiler knows what is called
 *
 * The block needs one reference. If this CPU remembers a vacant record of it, nothing
 * is called. The hooks track blocks of shards by this, and kmt_insert() tries it first.
 *
 * Context: interrupts off, no tracker lock held; restores interrupts.
 * Return: true if the block is tracked now; else what @rest returned.
 */
static __always_inline bool kmt_track_vacant(struct kmt_core *core, unsigned long addr,
					     unsigned long size, gfp_t gfp,
					     unsigned long flags,
					     const struct kmt_origin *origin,
					     const struct kmt_track_rest *rest)
{
	struct kmt_tree *shard = kmt_shard_of(core, addr);
	struct kmt_cell_cache *cache = kmt_cache_of(core);
	struct kmt_object **recent_cells = kmt_env_read_pointer(cache->recent_cells), *o;
	bool known;

	if (unlikely(!recent_cells))
		goto unlocked;
	if (unlikely(!raw_spin_trylock(&shard->lock)))
		goto unlocked;
	o = READ_ONCE(*kmt_recent_cell(recent_cells, addr));
	/*
	 * Pairs with kmt_cell_publish(), which stores flags and address before
	 * the size. A cell without flags that has the address and the size of
	 * this block is a vacant record in the shard of that address. That
	 * shard is locked, so no other CPU can change the record.
	 */
	known = likely(o) && likely(smp_load_acquire(&o->size) == size) &&
		likely(READ_ONCE(o->addr) == addr) &&
		likely(!READ_ONCE(o->flags));
	if (unlikely(!known)) {
		/* Sparse does not see that a function behind a pointer unlocks. */
		__release(&shard->lock);
		return rest->locked(core, addr, size, gfp, shard, flags,
				    kmt_where(origin), origin->born, origin->comm);
	}
	kmt_count_vacant(cache, -1);
	kmt_make_live(core, o, 1, origin);
	raw_spin_unlock(&shard->lock);
	local_irq_restore(flags);
	return true;

unlocked:
	return rest->unlocked(core, addr, size, gfp, flags, kmt_where(origin),
			      origin->born, origin->comm);
}

/**
 * kmt_shard_insert - get a record for a block in its shard
 * @core: tracker
 * @shard: the shard, locked
 * @addr: first byte of the block
 * @size: bytes
 *
 * This CPU remembers the record from now on.
 *
 * Context: interrupts off.
 * Return: a record to be filled in, either new or a vacant one; NULL if there is no
 * free cell, if another record overlaps the block, or if a wide block might.
 */
static __always_inline struct kmt_object *kmt_shard_insert(struct kmt_core *core,
							   struct kmt_tree *shard,
							   unsigned long addr,
							   unsigned long size)
{
	struct kmt_cell_cache *cache = kmt_cache_of(core);
	struct rb_node **link, *parent;
	struct kmt_object **recent_cells, *o;

	/*
	 * If it is 0, no wide block overlaps a region of this shard. Otherwise
	 * one does, though perhaps not the region of @addr.
	 */
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
	recent_cells = kmt_env_read_pointer(cache->recent_cells);
	if (likely(recent_cells))
		WRITE_ONCE(*kmt_recent_cell(recent_cells, addr), o);
	return o;
}

/**
 * kmt_track_new - track a block of which no vacant record is remembered
 * @core: tracker
 * @shard: its shard, locked; this unlocks it
 * @addr: first byte
 * @size: bytes
 * @min_refs: references it needs, or KMT_MIN_*
 * @origin: where and when it was allocated
 *
 * Context: interrupts off.
 * Return: whether the block is tracked now; if not, nothing but the lock changed.
 */
static __always_inline bool kmt_track_new(struct kmt_core *core,
					  struct kmt_tree *shard,
					  unsigned long addr, unsigned long size,
					  u8 min_refs,
					  const struct kmt_origin *origin)
	__releases(&shard->lock)
{
	struct kmt_object *o = kmt_shard_insert(core, shard, addr, size);

	if (likely(o))
		kmt_make_live(core, o, min_refs, origin);
	raw_spin_unlock(&shard->lock);
	return o;
}

/**
 * kmt_free_fast - free a block whose record this CPU remembers
 * @core: tracker
 * @addr: its first byte
 *
 * Context: interrupts off, no tracker lock held.
 * Return: whether the block was freed; if not, nothing changed.
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
	recent_cells = kmt_env_read_pointer(cache->recent_cells);
	shard = kmt_shard_of(core, addr);
	if (unlikely(!recent_cells))
		return false;
	if (unlikely(!raw_spin_trylock(&shard->lock)))
		return false;
	o = READ_ONCE(*kmt_recent_cell(recent_cells, addr));
	/*
	 * Pairs with kmt_publish_state() and the like, as in kmt_is_in_shard_of(). A live
	 * object of a shard whose address is @addr is in this shard. The cell may be that
	 * of a wide block, whose tree is not locked, and be used again meanwhile: then the
	 * size of a small block comes with the address of that block.
	 */
	state = o ? smp_load_acquire(&o->flags) : 0;
	known = likely((state & KMT_PLAIN_MASK) == KMT_PLAIN) &&
		/* Pairs with kmt_cell_publish(). */
		likely(smp_load_acquire(&o->size) - 1 <=
		       (~addr & (BIT(KMT_REGION_SHIFT) - 1))) &&
		likely(READ_ONCE(o->addr) == addr);
	if (known) {
		kmt_tree_set_vacant(shard, o);
		kmt_count_vacant(cache, 1);
	}
	raw_spin_unlock(&shard->lock);
	return known;
}

#endif /* _KMT_FASTPATH_H */
