// SPDX-License-Identifier: GPL-2.0
/*
 * The index: which object does an address belong to?
 *
 * A block inside one region of the linear map is in the shard of that region. So
 * allocations and frees in different regions seldom contend for a lock, and a word
 * that points to an empty shard is rejected without one. A block that crosses a
 * region's border, is larger than a region or lies elsewhere (vmalloc, modules) is in
 * the wide tree of its space. If it is in the linear map, the shard of each region that
 * it overlaps counts it, for the same quick rejection.
 */
#include "fastpath.h"

/* How many vacant records are skipped under one lock. */
#define KMT_SKIP_BATCH	32

/**
 * kmt_tree_first - the first object or vacant record that overlaps a range
 * @tree: tree, locked
 * @addr: first byte of the range
 * @size: its bytes, not 0; the range does not wrap
 *
 * Return: the one with the lowest address among those that overlap, or NULL.
 */
struct kmt_object *kmt_tree_first(struct kmt_tree *tree, unsigned long addr,
				  unsigned long size)
{
	struct rb_node *node = tree->root.rb_node;
	struct kmt_object *first = NULL;

	lockdep_assert_held(&tree->lock);
	while (node) {
		struct kmt_object *o = kmt_to_object(node);

		if (addr >= o->addr && addr - o->addr >= o->size) {
			node = node->rb_right;
			continue;
		}
		if (addr + size - 1 >= o->addr)
			first = o;
		node = node->rb_left;
	}
	return first;
}

/**
 * kmt_next_wide - walk over the objects of a wide tree, in order
 * @core: tracker
 * @space: address space
 * @pos: 0 to begin; set to the end of the object that was found
 *
 * Objects that are added or removed meanwhile may or may not be met.
 *
 * Context: any but NMI, no tracker lock held.
 * Return: a cell, to be checked under kmt_lock_object(); NULL at the end.
 */
struct kmt_object *kmt_next_wide(struct kmt_core *core, enum kmt_space space,
				 unsigned long *pos)
{
	struct kmt_tree *tree = &core->wide[space];
	struct kmt_object *o;
	unsigned long flags;

	raw_spin_lock_irqsave(&tree->lock, flags);
	o = kmt_tree_first(tree, *pos, ULONG_MAX - *pos);
	if (o)
		*pos = o->addr + o->size;
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return o;
}

/*
 * By how many addresses @r grows if it is widened by @size bytes at @addr; 0 if @r is
 * empty.
 */
static unsigned long growth(const struct kmt_range *r, unsigned long addr,
			    unsigned long size)
{
	struct kmt_range wider = *r;

	kmt_widen(&wider, addr, size);
	return r->hi ? wider.hi - wider.lo - (r->hi - r->lo) : 0;
}

/*
 * Widens one of the parts, or merges both and begins another one: whichever covers the
 * fewest addresses.
 */
static void widen_pair(struct kmt_range_pair *pair, unsigned long addr,
		       unsigned long size)
{
	struct kmt_range *a = &pair->part[0], *b = &pair->part[1];
	unsigned long with_a = growth(a, addr, size);
	unsigned long with_b = growth(b, addr, size);
	unsigned long both = growth(a, b->lo, b->hi - b->lo);

	if (both < min(with_a, with_b)) {
		kmt_widen(a, b->lo, b->hi - b->lo);
		*b = (struct kmt_range){ addr, addr + size };
	} else {
		kmt_widen(with_a <= with_b ? a : b, addr, size);
	}
}

/**
 * kmt_count_wide - count an object that enters a wide tree, or leaves it
 * @core: tracker
 * @o: object; the wide tree of its space is locked
 * @delta: 1 or -1
 *
 * The shard of each region of the linear map that it overlaps counts it, too.
 */
void kmt_count_wide(struct kmt_core *core, const struct kmt_object *o,
		    int delta)
{
	struct kmt_tree *tree = &core->wide[kmt_space(o)];
	unsigned long region, last;

	lockdep_assert_held(&tree->lock);
	WRITE_ONCE(tree->nr, tree->nr + delta);
	if (delta > 0)
		widen_pair(&core->wide_range[kmt_space(o)], o->addr, o->size);
	if (kmt_space(o) != KMT_VIRT || !kmt_in(&core->linear, o->addr))
		return;
	region = o->addr >> KMT_REGION_SHIFT;
	last = (o->addr + o->size - 1) >> KMT_REGION_SHIFT;
	for (; region <= last; region++) {
		struct kmt_tree *shard = kmt_shard_of(core, region <<
						      KMT_REGION_SHIFT);

		WRITE_ONCE(shard->wide, shard->wide + delta);
	}
}

/**
 * __kmt_lock_find - find the object an address lies in, and lock its tree
 * @core: tracker
 * @space: address space
 * @addr: any address
 * @held: set to the tree that was locked, for kmt_unlock()
 *
 * Return: the object, its tree locked; or NULL with nothing locked.
 */
struct kmt_object *__kmt_lock_find(struct kmt_core *core, enum kmt_space space,
				   unsigned long addr, struct kmt_held *held)
{
	struct kmt_tree *tree = &core->wide[space];
	struct kmt_object *o;

	if (space == KMT_VIRT && kmt_in(&core->linear, addr)) {
		struct kmt_tree *shard = kmt_shard_of(core, addr);

		if (!kmt_is_empty_hint(shard)) {
			held->tree = shard;
			raw_spin_lock_irqsave(&shard->lock, held->flags);
			o = kmt_tree_find(shard, addr);
			if (likely(o)) {
				__release(&shard->lock); /* the caller has it */
				return o;
			}
			raw_spin_unlock_irqrestore(&shard->lock, held->flags);
		}
		if (!READ_ONCE(shard->wide))
			return NULL;
	}
	held->tree = tree;
	raw_spin_lock_irqsave(&tree->lock, held->flags);
	o = kmt_tree_find(tree, addr);
	if (!o) {
		raw_spin_unlock_irqrestore(&tree->lock, held->flags);
		return NULL;
	}
	__release(&tree->lock);	/* the caller has it */
	return o;
}

/**
 * __kmt_lock_object - lock the tree of a cell met while walking the pool
 * @core: tracker
 * @o: a cell, whatever is in it
 * @held: for kmt_unlock()
 *
 * Return: whether the cell holds a live object, its tree locked; else nothing is locked.
 */
bool __kmt_lock_object(struct kmt_core *core, struct kmt_object *o, struct kmt_held *held)
{
	const u16 is_in = KMT_LIVE | KMT_SPACE_MASK;

	for (;;) {
		/*
		 * Pairs with kmt_tree_set_live(), kmt_publish_state() and
		 * replace_object().
		 */
		u16 seen = smp_load_acquire(&o->flags);
		unsigned long addr = READ_ONCE(o->addr);
		unsigned long size = READ_ONCE(o->size);
		struct kmt_tree *tree;

		if (!(seen & KMT_LIVE) || !size)
			return false;
		tree = kmt_tree_of(core, seen & KMT_SPACE_MASK, addr, size);
		raw_spin_lock_irqsave(&tree->lock, held->flags);
		/* If the record has changed meanwhile, it may be in another tree. */
		if (!((smp_load_acquire(&o->flags) ^ seen) & is_in) &&
		    READ_ONCE(o->addr) == addr && READ_ONCE(o->size) == size) {
			held->tree = tree;
			__release(&tree->lock);	/* kmt_lock_object() has it */
			return true;
		}
		raw_spin_unlock_irqrestore(&tree->lock, held->flags);
	}
}

/**
 * kmt_copy_object - copy the live object in a cell
 * @core: tracker
 * @o: any cell
 * @copy: filled in if the cell holds a live object
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the cell holds a live object.
 */
bool kmt_copy_object(struct kmt_core *core, struct kmt_object *o,
		     struct kmt_object *copy)
{
	struct kmt_held held;

	if (!kmt_lock_object(core, o, &held))
		return false;
	*copy = *o;
	kmt_unlock(&held);
	return true;
}

/**
 * __kmt_lock_same - lock the tree of an object that was copied before
 * @core: tracker
 * @o: its cell
 * @copy: what the cell held then
 * @held: for kmt_unlock()
 *
 * Return: whether the cell holds the same object, its tree locked; else nothing is locked.
 */
bool __kmt_lock_same(struct kmt_core *core, struct kmt_object *o,
		     const struct kmt_object *copy, struct kmt_held *held)
{
	if (!kmt_lock_object(core, o, held))
		return false;
	if (o->addr == copy->addr && o->size == copy->size &&
	    o->born == copy->born && kmt_space(o) == kmt_space(copy)) {
		__release(&held->tree->lock);	/* kmt_lock_same() has it */
		return true;
	}
	kmt_unlock(held);
	return false;
}

/**
 * kmt_lookup - copy the object an address lies in
 * @core: tracker
 * @space: address space
 * @addr: any address
 * @copy: filled in when there is one
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether there is one.
 */
bool kmt_lookup(struct kmt_core *core, enum kmt_space space,
		unsigned long addr, struct kmt_object *copy)
{
	struct kmt_held held;
	struct kmt_object *o;

	o = kmt_lock_find(core, space, addr, &held);
	if (o) {
		*copy = *o;
		kmt_unlock(&held);
	}
	return o;
}

/* The record after @o in its tree, which is locked; NULL if it begins at @end or later. */
static struct kmt_object *next_before(struct kmt_object *o, unsigned long end)
{
	struct rb_node *next = rb_next(&o->node);

	return next && kmt_to_object(next)->addr < end ? kmt_to_object(next) : NULL;
}

/*
 * Sets @found to the part of [@addr, @end) that its first live object in @tree covers. Lets
 * go of the lock after each KMT_SKIP_BATCH vacant records.
 */
static bool first_live(struct kmt_tree *tree, unsigned long addr,
		       unsigned long end, struct kmt_range *found)
{
	bool more, live = false;

	do {
		struct kmt_object *o;
		unsigned int nr = 0;
		unsigned long flags;

		raw_spin_lock_irqsave(&tree->lock, flags);
		o = kmt_tree_first(tree, addr, end - addr);
		while (o && kmt_is_vacant(o) && nr++ < KMT_SKIP_BATCH) {
			addr = o->addr + o->size;
			o = next_before(o, end);
		}
		more = o;
		if (o && !kmt_is_vacant(o)) {
			live = true;
			found->lo = max(addr, o->addr);
			found->hi = min(end, o->addr + o->size);
		}
		raw_spin_unlock_irqrestore(&tree->lock, flags);
	} while (more && !live);
	return live;
}

/**
 * kmt_first_block - find the first block in a part of a region
 * @core: tracker
 * @space: address space
 * @addr: first byte of the part
 * @end: one past its last; in the same region if it is in the linear map
 * @found: set to the overlap of the part and that block
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether there is one.
 */
bool kmt_first_block(struct kmt_core *core, enum kmt_space space,
		     unsigned long addr, unsigned long end,
		     struct kmt_range *found)
{
	struct kmt_tree *wide = &core->wide[space];
	struct kmt_range other;
	bool any = false;

	if (space == KMT_VIRT && kmt_in(&core->linear, addr)) {
		struct kmt_tree *shard = kmt_shard_of(core, addr);

		if (!kmt_is_empty_hint(shard))
			any = first_live(shard, addr, end, found);
		if (!READ_ONCE(shard->wide))
			return any;
	}
	if (!first_live(wide, addr, end, &other))
		return any;
	if (!any || other.lo < found->lo)
		*found = other;
	return true;
}

/* Moves all objects in @from to the trees where they belong now. */
static void rehash(struct kmt_core *core, struct rb_root *from)
{
	struct rb_node *node;
	unsigned long flags;

	while ((node = rb_first(from))) {
		struct kmt_object *o = kmt_to_object(node);
		struct rb_node **link, *parent;
		struct kmt_tree *tree;

		rb_erase(node, from);
		tree = kmt_tree_of(core, KMT_VIRT, o->addr, o->size);
		raw_spin_lock_irqsave(&tree->lock, flags);
		link = kmt_tree_place(tree, o->addr, o->size, &parent);
		kmt_tree_link(tree, o, link, parent);
		kmt_tree_set_live(core, tree, o, o->flags);
		raw_spin_unlock_irqrestore(&tree->lock, flags);
	}
}

/* Number of pieces of the table for which kmt_index_fold() counts the use. */
#define KMT_FOLD_PIECES	1024

/* Counts the pieces of the table that the regions of @memory use. */
static unsigned int pieces_used(const struct kmt_range *memory,
				unsigned int nr, u32 nr_shards, u8 fold)
{
	const u32 pieces = min_t(u32, nr_shards, KMT_FOLD_PIECES);
	const unsigned int shift = KMT_REGION_SHIFT + ilog2(nr_shards / pieces);
	unsigned long used[KMT_FOLD_PIECES / BITS_PER_LONG] = {};
	unsigned int i, sum = 0;
	unsigned long at;

	for (i = 0; i < nr; i++) {
		if (memory[i].lo >= memory[i].hi)
			continue;
		for (at = memory[i].lo >> shift;
		     at <= (memory[i].hi - 1) >> shift; at++) {
			unsigned int slot = (at ^ at >> fold) & (pieces - 1);
			unsigned long bit = BIT(slot % BITS_PER_LONG);

			sum += !(used[slot / BITS_PER_LONG] & bit);
			used[slot / BITS_PER_LONG] |= bit;
		}
	}
	return sum;
}

/**
 * kmt_index_fold - find the shift that makes the best use of a table of shards
 * @memory: ranges of the linear map with memory behind them
 * @nr: how many
 * @nr_shards: size of the table, a power of two
 *
 * With any shift, an aligned run of 2^k regions uses all of one aligned run of 2^k
 * shards. So it is enough to count how many of KMT_FOLD_PIECES runs of the table are
 * used, or how many shards if the table has fewer.
 *
 * Return: the shift for kmt_shard_nr() by which the regions of @memory use most
 * of the table; KMT_NO_FOLD if no shift uses more of it than none.
 */
u8 kmt_index_fold(const struct kmt_range *memory, unsigned int nr,
		  u32 nr_shards)
{
	unsigned int most = pieces_used(memory, nr, nr_shards, KMT_NO_FOLD);
	u8 fold, best = KMT_NO_FOLD;

	for (fold = 1; fold < BITS_PER_LONG - KMT_REGION_SHIFT; fold++) {
		unsigned int used = pieces_used(memory, nr, nr_shards, fold);

		if (used > most) {
			most = used;
			best = fold;
		}
	}
	return best;
}

/**
 * kmt_index_resize - give the index of KMT_VIRT another table of shards
 * @core: tracker
 * @linear: addresses whose blocks go to the shards
 * @shards: the new table, zeroed
 * @nr_shards: its size, a power of two
 *
 * Context: no other user of the tracker meanwhile, and no CPU remembers cells yet.
 */
void kmt_index_resize(struct kmt_core *core, const struct kmt_range *linear,
		      struct kmt_tree *shards, u32 nr_shards)
{
	struct kmt_tree *old = core->shards, *wide = &core->wide[KMT_VIRT];
	struct rb_root was_wide = wide->root;
	u32 i, last_old = core->last_shard;

	for (i = 0; i < nr_shards; i++)
		raw_spin_lock_init(&shards[i].lock);
	core->linear = *linear;
	core->shards = shards;
	core->last_shard = nr_shards - 1;
	wide->root = RB_ROOT;
	wide->last = NULL;
	wide->nr = 0;
	core->wide_range[KMT_VIRT] = (struct kmt_range_pair){};

	for (i = 0; i <= last_old; i++) {
		rehash(core, &old[i].root);
		old[i].last = NULL;
		old[i].wide = 0;
	}
	rehash(core, &was_wide);
}
