/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every allocation and every free does, inlined into both: a cell from
 * this CPU's cache, a tree, a place in it. The rest of the pool is in pool.c,
 * that of the index in index.c.
 */
#ifndef _KMT_HOT_H
#define _KMT_HOT_H

#include "core.h"

#define KMT_BATCH	32
#define KMT_CACHE_MAX	(3 * KMT_BATCH)

/* This CPU's cache, with interrupts off. */
static __always_inline struct kmt_cell_cache *kmt_cache_of(struct kmt_core *core)
{
	return &core->pool.caches[smp_processor_id()];
}

/* Others may look at the number, but nobody else changes it. */
static __always_inline void kmt_count_vacant(struct kmt_cell_cache *cache,
					     int delta)
{
	WRITE_ONCE(cache->vacant, cache->vacant + delta);
}

/**
 * kmt_cell_get - take a cell from this CPU's cache
 * @core: tracker
 *
 * Context: interrupts off.
 * Return: a cell without flags, or NULL when cache and global list are empty.
 */
static __always_inline struct kmt_object *kmt_cell_get(struct kmt_core *core)
{
	struct kmt_cell_cache *cache = kmt_cache_of(core);
	struct kmt_object *o = cache->free;

	if (unlikely(!o))
		return kmt_cell_take(core, cache);
	cache->nr--;
	cache->free = (struct kmt_object *)o->node.rb_left;
	return o;
}

/**
 * kmt_cell_put - return a cell
 * @core: tracker
 * @o: cell; it is in no tree any more
 *
 * Context: interrupts off, no tree lock that a pool walker could need: the
 * flags are cleared under the lock of the tree by kmt_tree_unlink().
 */
static __always_inline void kmt_cell_put(struct kmt_core *core,
					 struct kmt_object *o)
{
	struct kmt_cell_cache *cache = kmt_cache_of(core);

	o->node.rb_left = (struct rb_node *)cache->free;
	cache->free = o;
	if (unlikely(++cache->nr >= KMT_CACHE_MAX))
		kmt_cell_give(core, cache);
}

/* Says what @o is to be the record of; it is in no tree yet. */
static __always_inline void kmt_cell_settle(struct kmt_object *o, u16 flags,
					    unsigned long addr,
					    unsigned long size)
{
	WRITE_ONCE(o->flags, flags);
	WRITE_ONCE(o->addr, addr);
	/* Pairs with reap_cell(): who sees the size sees what came before. */
	smp_store_release(&o->size, size);
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

/* Where this CPU remembers the record of a block at @addr. */
static __always_inline struct kmt_object **kmt_hint(struct kmt_cell_cache *cache,
						    unsigned long addr)
{
	return &cache->hints[(u32)((u32)(addr >> 3) * GOLDEN_RATIO_32) >>
			     (32 - KMT_HINTS_SHIFT)];
}

/* The shard of an address in @core->linear; other regions may share it. */
static __always_inline struct kmt_tree *kmt_shard_of(struct kmt_core *core,
						     unsigned long addr)
{
	return &core->shards[(addr >> KMT_REGION_SHIFT) & (core->nr_shards - 1)];
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

/*
 * Where a block of @size bytes at @addr goes; NULL if there is something, which
 * is @parent then.
 */
static __always_inline struct rb_node **
kmt_tree_place(struct kmt_tree *tree, unsigned long addr, unsigned long size,
	       struct rb_node **parent)
{
	struct rb_node *node = tree->root.rb_node, *last = NULL;
	struct rb_node **link = &tree->root.rb_node;

	/* What comes before and what comes after are both on the way. */
	while (node) {
		const struct kmt_object *o = kmt_to_object(node);
		unsigned long behind = addr - o->addr;

		last = node;
		if (addr < o->addr) {
			if (unlikely(-behind < size))
				goto taken;
			link = &last->rb_left;
			node = last->rb_left;
		} else {
			if (unlikely(behind < o->size))
				goto taken;
			link = &last->rb_right;
			node = last->rb_right;
		}
	}
	*parent = last;
	return link;
taken:
	*parent = last;
	return NULL;
}

/**
 * kmt_tree_link - put an object into its tree
 * @tree: the tree that kmt_tree_of() names, locked
 * @o: object with address and size
 * @link: from kmt_tree_place()
 * @parent: from kmt_tree_place()
 *
 * kmt_tree_enliven() is to follow.
 */
static __always_inline void kmt_tree_link(struct kmt_tree *tree,
					  struct kmt_object *o,
					  struct rb_node **link,
					  struct rb_node *parent)
{
	lockdep_assert_held(&tree->lock);
	rb_link_node(&o->node, parent, link);
	rb_insert_color(&o->node, &tree->root);
}

/* Makes the record of a block, which is in @tree, that of one that lives. */
static __always_inline void kmt_tree_enliven(struct kmt_core *core,
					     struct kmt_tree *tree,
					     struct kmt_object *o, u16 flags)
{
	lockdep_assert_held(&tree->lock);
	WRITE_ONCE(tree->nr, tree->nr + 1);
	/* Pairs with kmt_lock_object(): a live object shows its true address. */
	smp_store_release(&o->flags, flags | KMT_LIVE);
	if (unlikely(kmt_is_wide(core, tree)))
		kmt_count_wide(core, o, 1);
}

/**
 * kmt_tree_unlink - take an object out of its tree
 * @core: tracker
 * @tree: its tree, locked
 * @o: object; the caller returns its cell
 */
static __always_inline void kmt_tree_unlink(struct kmt_core *core,
					    struct kmt_tree *tree,
					    struct kmt_object *o)
{
	lockdep_assert_held(&tree->lock);
	if (unlikely(kmt_is_wide(core, tree)))
		kmt_count_wide(core, o, -1);
	rb_erase(&o->node, &tree->root);
	WRITE_ONCE(tree->nr, tree->nr - 1);
	kmt_cell_clear(o);
}

/* Leaves the record of a freed block for the next one in its place. */
static __always_inline void kmt_tree_vacate(struct kmt_tree *tree,
					    struct kmt_object *o)
{
	lockdep_assert_held(&tree->lock);
	WRITE_ONCE(tree->nr, tree->nr - 1);
	WRITE_ONCE(o->flags, 0);
}

/* Takes a vacant record out of its tree; the caller returns its cell. */
static __always_inline void kmt_tree_drop(struct kmt_tree *tree,
					  struct kmt_object *o)
{
	lockdep_assert_held(&tree->lock);
	rb_erase(&o->node, &tree->root);
	kmt_cell_clear(o);
}

#endif /* _KMT_HOT_H */
