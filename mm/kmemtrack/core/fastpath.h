/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every allocation and every free does, inlined into both: a cell from
 * this CPU's cache, a tree, a place in it. The rest of the pool is in pool.c,
 * that of the index in index.c.
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

/* Only its own CPU changes the number; others may read it. */
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
 * Context: interrupts off.
 * Return: a cell without flags, or NULL when cache and global list are empty.
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
 * kmt_cell_put - return a cell
 * @core: tracker
 * @o: cell; it is in no tree any more
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

/* Whether nothing is recorded now, see kmt_core.shut; interrupts are off. */
static __always_inline bool kmt_is_shut(const struct kmt_core *core)
{
	return unlikely(READ_ONCE(core->shut));
}

/* Says what @o is to be the record of; it is in no tree yet. */
static __always_inline void kmt_cell_publish(struct kmt_object *o, u16 flags,
					     unsigned long addr,
					     unsigned long size)
{
	WRITE_ONCE(o->flags, flags);
	WRITE_ONCE(o->addr, addr);
	/* Pairs with reap_cell(): a reader of the size also sees flags and address. */
	smp_store_release(&o->size, size);
}

/* Copies all of a record but its place, size and flags. */
static inline void kmt_copy_rest(struct kmt_object *o,
				 const struct kmt_object *from)
{
	o->stack = from->stack;
	o->pid = from->pid;
	o->born = from->born;
	o->crc = from->crc;
	o->comm = from->comm;
	o->epoch = from->epoch;
	o->count = from->count;
	o->min = from->min;
}

/* Makes a free cell of one that is in no tree any more. */
static __always_inline void kmt_cell_clear(struct kmt_object *o)
{
	WRITE_ONCE(o->size, 0);
	/* Pairs with reap_cell(): no flags and a size would be a vacant record. */
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
 * Where among @recent_cells a CPU remembers the record of a block at @addr. Of blocks
 * in a row, whatever their size, as many have places of their own as there are.
 */
static __always_inline struct kmt_object **kmt_recent_cell(struct kmt_object **recent_cells,
							   unsigned long addr)
{
	return &recent_cells[((addr ^ addr >> KMT_RECENT_SHIFT) >> 3) % KMT_RECENT_CELLS];
}

/*
 * The number of the shard of an address. Banks of memory may lie at multiples of
 * the size of the table: where they do, kmt_index_fold() finds a shift that gives
 * them shards of their own.
 */
static __always_inline unsigned long kmt_shard_nr(const struct kmt_core *core,
						  unsigned long addr)
{
	unsigned long region = addr >> KMT_REGION_SHIFT;

	/* Compilers would read it elsewhere, too, and for nothing. */
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

/* Whether @shard has no record, not even a vacant one, by a look without its lock. */
static __always_inline bool kmt_is_empty_hint(const struct kmt_tree *shard)
{
	/* A record that is just being linked is no concern of the callers. */
	return !data_race(shard->root.rb_node);
}

/* The tree in which a block belongs: a shard, or the wide tree of @space. */
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

/* Whether @addr lies in @o, live or not. */
static __always_inline bool kmt_is_within(const struct kmt_object *o,
					  unsigned long addr)
{
	return addr - o->addr < o->size;
}

/*
 * Whether @o is a live object of KMT_VIRT. It may be in a tree that is not
 * locked, and change: what is looked at next is as new as this at least.
 */
static __always_inline bool kmt_is_virt(struct kmt_object *o)
{
	/* Pairs with kmt_tree_set_live(): the true address came before. */
	return (smp_load_acquire(&o->flags) & (KMT_LIVE | KMT_SPACE_MASK)) ==
	       (KMT_LIVE | KMT_VIRT);
}

/* Whether it is one in the shard of @addr, which is locked. */
static __always_inline bool kmt_is_in_shard_of(struct kmt_object *o,
					       unsigned long addr)
{
	unsigned long first, last;

	if (!kmt_is_virt(o))
		return false;
	first = READ_ONCE(o->addr);
	last = first + READ_ONCE(o->size) - 1;
	return !(((first ^ addr) | (last ^ addr)) >> KMT_REGION_SHIFT);
}

/* The object @addr lies in, if that is @near or beside it in the shard. */
static __always_inline struct kmt_object *
kmt_find_near(struct kmt_object *near, unsigned long addr)
{
	struct rb_node *node;

	if (!near || !kmt_is_in_shard_of(near, addr))
		return NULL;
	if (kmt_is_within(near, addr))
		return near;
	node = addr > near->addr ? rb_next(&near->node) : rb_prev(&near->node);
	if (!node || !kmt_is_within(kmt_to_object(node), addr) ||
	    kmt_is_vacant(kmt_to_object(node)))
		return NULL;
	return kmt_to_object(node);
}

/* As kmt_lock_find_near(), which tells sparse that the tree is locked. */
static __always_inline struct kmt_object *
__kmt_lock_find_near(struct kmt_core *core, enum kmt_space space,
		     unsigned long addr, struct kmt_object *near,
		     struct kmt_tree **treep, unsigned long *flags)
{
	struct kmt_tree *tree = &core->wide[space];
	struct kmt_object *o;

	if (space == KMT_VIRT && kmt_in(&core->linear, addr)) {
		struct kmt_tree *shard = kmt_shard_of(core, addr);

		if (!kmt_is_empty_hint(shard)) {
			*treep = shard;
			raw_spin_lock_irqsave(&shard->lock, *flags);
			o = kmt_find_near(near, addr);
			if (!o)
				o = kmt_tree_find(shard, addr);
			if (likely(o)) {
				__release(&shard->lock); /* the caller has it */
				return o;
			}
			raw_spin_unlock_irqrestore(&shard->lock, *flags);
		}
		if (!READ_ONCE(shard->wide))
			return NULL;
	}
	*treep = tree;
	raw_spin_lock_irqsave(&tree->lock, *flags);
	o = kmt_tree_find(tree, addr);
	if (!o) {
		raw_spin_unlock_irqrestore(&tree->lock, *flags);
		return NULL;
	}
	__release(&tree->lock);	/* the caller has it */
	return o;
}

/**
 * kmt_lock_find_near - find the object an address lies in, and lock its tree
 * @core: tracker
 * @space: address space
 * @addr: any address
 * @near: where to look first: an object found before, which may be gone; or
 *	NULL
 * @treep: set to the tree that was locked
 * @flags: interrupt state for raw_spin_unlock_irqrestore()
 *
 * Return: the object, its tree locked; or NULL with nothing locked.
 */
static __always_inline struct kmt_object *
kmt_lock_find_near(struct kmt_core *core, enum kmt_space space,
		   unsigned long addr, struct kmt_object *near,
		   struct kmt_tree **treep, unsigned long *flags)
{
	struct kmt_object *o = __kmt_lock_find_near(core, space, addr, near,
						    treep, flags);

	(void)__cond_lock(&(*treep)->lock, o);
	return o;
}

/*
 * Where a block of @size bytes at @addr goes; NULL if there is something, which
 * is @parent then.
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
	/* Seldom is anything in the way: that is not asked at each step. */
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
 * @tree: the tree that kmt_tree_of() names, locked
 * @o: object with address and size
 * @link: from kmt_tree_place()
 * @parent: from kmt_tree_place()
 *
 * kmt_tree_set_live() is to follow.
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

/* Makes the record of a block that of one that lives. */
static __always_inline void kmt_tree_set_live(struct kmt_core *core,
					      struct kmt_tree *tree,
					      struct kmt_object *o, u16 flags)
{
	lockdep_assert_held(&tree->lock);
	/* Pairs with kmt_lock_object(): a live object shows its true address. */
	smp_store_release(&o->flags, flags | KMT_LIVE);
	if (unlikely(kmt_is_wide(core, tree)))
		kmt_count_wide(core, o, 1);
}

/* Leaves the record of a freed block for the next one in its place. */
static __always_inline void kmt_tree_set_vacant(struct kmt_tree *tree,
						struct kmt_object *o)
{
	lockdep_assert_held(&tree->lock);
	WRITE_ONCE(o->flags, 0);
}

/*
 * Birth and death of blocks, as nearly all of them go: a block is freed whose
 * record this CPU remembers, and allocated again in the same place. Inlined
 * into the hooks; that nothing is called here saves as much again. The first
 * block in a place is inlined beside the hook. Whatever is not so easy is left
 * to core.c.
 */

/*
 * Flags that are compared to find a live object of KMT_VIRT without auxiliary
 * cells. These bits are adjacent, so that the mask fits in an instruction.
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

/* The record of a block of KMT_VIRT that is in its place, and born now. */
static __always_inline void kmt_object_init(struct kmt_core *core,
					    struct kmt_object *o, u8 min,
					    const struct kmt_origin *origin)
{
	o->stack = origin->stack;
	o->pid = origin->pid;
	o->born = origin->born;
	o->crc = 0;
	/* @birth has a min of 1. */
	kmt_publish_state(o, READ_ONCE(core->birth) +
			  origin->comm * kmt_pack_state(1, 0, 0, 0, 0) +
			  (min - 1LL) * kmt_pack_state(0, 0, 0, 0, 1));
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
	if (unlikely(!recent_cells))
		return false;
	if (unlikely(!raw_spin_trylock(&shard->lock)))
		return false;
	*locked = shard;
	o = READ_ONCE(*kmt_recent_cell(recent_cells, addr));
	/*
	 * Pairs with kmt_cell_publish(), which stores flags and address before
	 * the size. A cell without flags that has the address and the size of
	 * this block is a vacant record in the shard of that address. That
	 * shard is locked, so nobody else can change the record.
	 */
	known = likely(o) && likely(smp_load_acquire(&o->size) == size) &&
		likely(READ_ONCE(o->addr) == addr) &&
		likely(!READ_ONCE(o->flags));
	if (unlikely(!known)) {
		__release(&shard->lock); /* for kmt_insert_locked() */
		return false;
	}
	kmt_count_vacant(cache, -1);
	kmt_object_init(core, o, 1, origin);
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

	/*
	 * 0 is exact: no wide block lies in a region of this shard. Any other
	 * value may be due to another region than that of @addr.
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
	recent_cells = READ_ONCE(cache->recent_cells);
	if (likely(recent_cells))
		WRITE_ONCE(*kmt_recent_cell(recent_cells, addr), o);
	return o;
}

/**
 * kmt_insert_locked - track a block that kmt_insert_fast() found no record of
 * @core: tracker
 * @shard: its shard, which is locked, but not so to sparse; it is unlocked
 * @addr: first byte
 * @size: bytes
 * @min: references it needs, or KMT_MIN_*
 * @origin: who allocated it
 *
 * Context: interrupts off.
 * Return: false, with nothing done, if it is not so easy.
 */
static __always_inline bool kmt_insert_locked(struct kmt_core *core,
					      struct kmt_tree *shard,
					      unsigned long addr, unsigned long size,
					      u8 min, const struct kmt_origin *origin)
{
	struct kmt_object *o;

	__acquire(&shard->lock); /* by kmt_insert_fast() */
	o = kmt_shard_insert(core, shard, addr, size);
	if (likely(o))
		kmt_object_init(core, o, min, origin);
	raw_spin_unlock(&shard->lock);
	return o;
}

/**
 * kmt_free_fast - free a block whose record this CPU remembers
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
	if (unlikely(!recent_cells))
		return false;
	if (unlikely(!raw_spin_trylock(&shard->lock)))
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

#endif /* _KMT_FASTPATH_H */
