// SPDX-License-Identifier: GPL-2.0
/*
 * Allocation and free of tracked blocks: the slow path, for cases that fastpath.h does
 * not handle.
 */
#include "fastpath.h"

static int insert_over(struct kmt_core *core, const struct kmt_object *new, gfp_t gfp);

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
 * @caches: zeroed cell caches, one for each CPU
 * @nr_caches: how many
 *
 * The linear map is empty until kmt_index_resize() sets it. The owner calls
 * kmt_set_image().
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
	/* These are taken under a tree's lock, so they need a lock class of their own. */
	for (i = 0; i < KMT_AUX_TREES; i++) {
		raw_spin_lock_init(&core->aux[i].lock);
		core->aux[i].root = RB_ROOT;
	}
}

/* Counts an event that @new caused (or NULL) to @old (or NULL), and warns about it. */
static void report_event(struct kmt_core *core, enum kmt_event ev,
			 const struct kmt_object *old, const struct kmt_object *new)
{
	kmt_count_event(core, ev);
	if (core->ops->warn)
		core->ops->warn(core, ev, old, new);
}

/* Waits for the lock of the shard, and tracks a block in it. */
static noinline bool lock_and_insert(struct kmt_core *core, unsigned long addr,
				     unsigned long size, u8 min_refs,
				     const struct kmt_origin *origin)
{
	struct kmt_tree *shard = kmt_shard_of(core, addr);

	raw_spin_lock(&shard->lock);
	return kmt_track_new(core, shard, addr, size, min_refs, origin);
}

static bool insert_locked(struct kmt_core *core, unsigned long addr,
			  unsigned long size, gfp_t gfp, struct kmt_tree *shard,
			  unsigned long flags, u64 where, u32 born, u16 comm)
	__releases(&shard->lock)
{
	const struct kmt_origin origin = kmt_origin_of(where, born, comm);
	bool done = kmt_track_new(core, shard, addr, size, 1, &origin);

	local_irq_restore(flags);
	return done;
}

static bool insert_unlocked(struct kmt_core *core, unsigned long addr,
			    unsigned long size, gfp_t gfp, unsigned long flags,
			    u64 where, u32 born, u16 comm)
{
	const struct kmt_origin origin = kmt_origin_of(where, born, comm);
	bool done = lock_and_insert(core, addr, size, 1, &origin);

	local_irq_restore(flags);
	return done;
}

/*
 * What kmt_insert() does if kmt_track_vacant() finds no vacant record that this CPU
 * remembers. hooks.c has a pair of its own, which never leaves the block to its caller.
 */
static const struct kmt_track_rest rest = { insert_locked, insert_unlocked };

/*
 * Tracks a block in its shard; false if something is in the way or no cell is at hand. True
 * if the tracker is shut, too: then there is nothing left to do.
 */
static bool insert_in_shard(struct kmt_core *core, unsigned long addr,
			    unsigned long size, u8 min_refs,
			    const struct kmt_origin *origin)
{
	unsigned long flags;
	bool done = true;

	local_irq_save(flags);
	if (!kmt_is_shut(core)) {
		if (likely(min_refs == 1))
			return kmt_track_vacant(core, addr, size, 0, flags, origin, &rest);
		done = lock_and_insert(core, addr, size, min_refs, origin);
	}
	local_irq_restore(flags);
	return done;
}

/**
 * kmt_insert - track a block
 * @core: tracker
 * @space: address space of @addr
 * @addr: first byte
 * @size: bytes
 * @min_refs: references it needs, or KMT_MIN_*
 * @origin: who allocated it
 * @gfp: flags to allocate memory for the record with
 *
 * Context: any but NMI, no tracker lock held.
 * Return: 0, also if the tracker is shut; -EINVAL if the range is empty or wraps; -ENOMEM
 * if there is no memory for the record: the block is untracked then, and the
 * owner is to treat it as a root.
 */
int kmt_insert(struct kmt_core *core, enum kmt_space space, unsigned long addr,
	       unsigned long size, u8 min_refs, const struct kmt_origin *origin,
	       gfp_t gfp)
{
	struct kmt_object new = { .addr = addr, .size = size };

	if (space == KMT_VIRT && kmt_is_sharded(core, addr, size) &&
	    likely(insert_in_shard(core, addr, size, min_refs, origin)))
		return 0;
	kmt_make_live(core, &new, min_refs, origin);
	new.flags = space;
	if (!size || addr + size < addr) {
		report_event(core, KMT_EV_BAD_SIZE, NULL, &new);
		return -EINVAL;
	}
	return insert_over(core, &new, gfp);
}

/*
 * Removes a live object from the tracker. Called with its tree locked; unlocks it, and
 * restores interrupts from @flags.
 */
static void remove_locked(struct kmt_core *core, struct kmt_tree *tree,
			  struct kmt_object *o, unsigned long flags)
	__releases(&tree->lock)
{
	unsigned long addr = o->addr;
	u16 aux = o->flags & (KMT_AREAS | KMT_ALIAS);

	lockdep_assert_held(&tree->lock);
	if (kmt_is_wide(core, tree))
		kmt_count_wide(core, o, -1);
	kmt_tree_unlink(tree, o);
	kmt_cell_clear(o);
	raw_spin_unlock(&tree->lock);
	kmt_cell_put(core, o);
	local_irq_restore(flags);
	if (aux)
		kmt_drop_aux(core, addr);
}

/* Frees the object at @addr in @tree, if there is one. */
static bool free_in(struct kmt_core *core, struct kmt_tree *tree,
		    unsigned long addr)
{
	struct kmt_object **recent_cells, *o;
	struct kmt_cell_cache *cache;
	unsigned long flags;
	u16 aux;

	raw_spin_lock_irqsave(&tree->lock, flags);
	cache = kmt_cache_of(core);
	o = kmt_tree_at(tree, addr);
	if (unlikely(!o || kmt_is_vacant(o))) {
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		return false;
	}
	/* Only a shard keeps the records of freed blocks. */
	recent_cells = kmt_env_read_pointer(cache->recent_cells);
	if (unlikely(!recent_cells) || kmt_is_wide(core, tree)) {
		remove_locked(core, tree, o, flags);
		return true;
	}
	WRITE_ONCE(*kmt_recent_cell(recent_cells, addr), o);
	aux = o->flags & (KMT_AREAS | KMT_ALIAS);
	kmt_tree_set_vacant(tree, o);
	kmt_count_vacant(cache, 1);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	if (unlikely(aux))
		kmt_drop_aux(core, addr);
	return true;
}

/* Frees the object at @addr, in its shard or in the wide tree of @space. */
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
	return free_in(core, &core->wide[space], addr);
}

/**
 * kmt_free_slowly - free a block that kmt_free_fast() does not handle
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
		report_event(core, KMT_EV_FREE_INSIDE, &o, NULL);
	} else {
		kmt_count_event(core, KMT_EV_FREE_UNKNOWN);
		/* While shut, a block may live where a vacant record is left. */
		if (!READ_ONCE(core->shut) && kmt_lookup_vacant(core, space, addr, &o))
			report_event(core, KMT_EV_FREE_TWICE, &o, NULL);
	}
	return false;
}

/**
 * kmt_free - free a block
 * @core: tracker
 * @space: address space of @addr
 * @addr: its first byte
 *
 * An address inside a tracked block is counted as an event, and nothing is freed.
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

/**
 * kmt_free_if - drop the record of a block if it is a certain one
 * @core: tracker
 * @addr: first byte of the block (KMT_VIRT)
 * @is: whether a record is to be dropped; called with the lock of its tree held
 *
 * For an owner that drops a record which it made itself, and that the record of another
 * block may have replaced by now.
 *
 * Context: any but NMI, no tracker lock held.
 */
void kmt_free_if(struct kmt_core *core, unsigned long addr,
		 bool (*is)(const struct kmt_object *o))
{
	struct kmt_held held;
	struct kmt_object *o;

	o = kmt_lock_find(core, KMT_VIRT, addr, &held);
	if (!o)
		return;
	if (o->addr == addr && is(o))
		remove_locked(core, held.tree, o, held.flags);
	else
		kmt_unlock(&held);
}

/*
 * Stale records, and parts of blocks: rare cases of allocation and free.
 *
 * The allocators are right: a block that they hand out is new, so a record that
 * overlaps it is stale (a hook missed its free) and is dropped. Memory that they free
 * is gone, whether it had a record or not. In neither case does the tracker stop
 * tracking other blocks.
 */

/* How many vacant records are unlinked while the lock of their tree is held. */
#define KMT_EVICT_BATCH	32

/**
 * struct kmt_removal - removal of the records that overlap a range
 * @space: address space
 * @addr: first byte
 * @size: bytes; the range does not wrap
 * @gfp: whether the caller may sleep
 * @vacant_only: records of live blocks stay
 * @tree: tree to search next; NULL when all were searched
 * @at: first address of the next shard
 */
struct kmt_removal {
	enum kmt_space space;
	unsigned long addr;
	unsigned long size;
	gfp_t gfp;
	bool vacant_only;
	struct kmt_tree *tree;
	unsigned long at;
};

static void init_removal(struct kmt_removal *r, struct kmt_core *core,
			 enum kmt_space space, unsigned long addr,
			 unsigned long size, gfp_t gfp)
{
	*r = (struct kmt_removal){
		.space = space, .addr = addr, .size = size, .gfp = gfp,
		.tree = &core->wide[space], .at = addr,
	};
}

/* The next shard that may have a record in the range. */
static struct kmt_tree *next_shard(struct kmt_core *core,
				   struct kmt_removal *r)
{
	while (r->space == KMT_VIRT && r->at - r->addr < r->size) {
		const unsigned long at = r->at;
		struct kmt_tree *shard = kmt_shard_of(core, at);

		r->at = ((at >> KMT_REGION_SHIFT) + 1) << KMT_REGION_SHIFT;
		if (kmt_in(&core->linear, at) && !kmt_is_empty_hint(shard))
			return shard;
	}
	return NULL;
}

/* Unlinks some vacant records from @o on; returns the next record in the range. */
static struct kmt_object *unlink_vacant(const struct kmt_removal *r,
					struct kmt_object *o,
					struct kmt_object **list,
					unsigned int *nr)
{
	while (o && kmt_is_vacant(o) && *nr < KMT_EVICT_BATCH) {
		struct rb_node *next = rb_next(&o->node);

		kmt_tree_unlink(r->tree, o);
		kmt_cell_clear(o);
		kmt_push_free(list, o);
		++*nr;
		o = next ? kmt_to_object(next) : NULL;
		if (o && o->addr > r->addr + r->size - 1)
			return NULL;
	}
	return o;
}

/*
 * Removes the first record of @r->tree that overlaps the range. If it is live, it is
 * copied to @copy. If it is vacant, up to KMT_EVICT_BATCH vacant records in a row are
 * removed, and @copy->flags is 0. Returns false if there is none.
 */
static bool remove_first(struct kmt_core *core, const struct kmt_removal *r,
			 struct kmt_object *copy)
{
	struct kmt_object *o, *list = NULL;
	unsigned int nr = 0;
	unsigned long flags;

	copy->flags = 0;
	raw_spin_lock_irqsave(&r->tree->lock, flags);
	o = kmt_tree_first(r->tree, r->addr, r->size);
	o = unlink_vacant(r, o, &list, &nr);
	if (!nr && o && !r->vacant_only) {
		*copy = *o;
		remove_locked(core, r->tree, o, flags);
		return true;
	}
	kmt_count_vacant(kmt_cache_of(core), -nr);
	raw_spin_unlock(&r->tree->lock);
	while (list)
		kmt_cell_put(core, kmt_pop_free(&list));
	local_irq_restore(flags);
	return nr;
}

/*
 * Removes one live object that overlaps the range, in any tree, and vacant records
 * before it; returns false if there is no live one left.
 */
static bool remove_overlap(struct kmt_core *core, struct kmt_removal *r,
			   struct kmt_object *copy)
{
	while (r->tree) {
		if (!remove_first(core, r, copy)) {
			r->tree = next_shard(core, r);
			continue;
		}
		if (!kmt_is_vacant(copy))
			return true;
		kmt_env_cond_resched(r->gfp);
	}
	return false;
}

/*
 * Removes all records that overlap @new. Reports those of live blocks, since their free was
 * missed, unless the owner of the tracker made them itself.
 */
static void evict(struct kmt_core *core, const struct kmt_object *new,
		  gfp_t gfp)
{
	struct kmt_removal r;
	struct kmt_object old;

	init_removal(&r, core, kmt_space(new), new->addr, new->size, gfp);
	while (remove_overlap(core, &r, &old))
		if (!core->ops->replaced || !core->ops->replaced(core, &old))
			report_event(core, KMT_EV_OVERLAP, &old, new);
}

/* Makes @o the record of @new; returns false if a record overlaps it. */
static bool link_record(struct kmt_core *core, struct kmt_object *o,
			const struct kmt_object *new)
{
	struct rb_node **link, *parent;
	struct kmt_tree *tree;

	tree = kmt_tree_of(core, kmt_space(new), new->addr, new->size);
	raw_spin_lock(&tree->lock);
	link = kmt_tree_place(tree, new->addr, new->size, &parent);
	if (link) {
		kmt_cell_publish(o, kmt_space(new), new->addr, new->size);
		kmt_copy_rest(o, new);
		kmt_tree_link(tree, o, link, parent);
		kmt_tree_set_live(core, tree, o, new->flags);
	}
	raw_spin_unlock(&tree->lock);
	return link;
}

/* Returns 0, -EEXIST if a record overlaps @new, -EPERM if shut, or -ENOMEM. */
static int insert_new(struct kmt_core *core, const struct kmt_object *new,
		      gfp_t gfp)
{
	struct kmt_object *o;
	unsigned long flags;
	int ret = 0;

	o = kmt_cell_alloc(core, gfp, &flags);
	if (!o)
		return -ENOMEM;
	if (kmt_is_shut(core))
		ret = -EPERM;
	else if (!link_record(core, o, new))
		ret = -EEXIST;
	if (ret)
		kmt_cell_put(core, o);
	local_irq_restore(flags);
	return ret;
}

/*
 * Tracks a block, and drops the records that it overlaps. Returns 0, also if the tracker is
 * shut, or -ENOMEM.
 */
static int insert_over(struct kmt_core *core, const struct kmt_object *new, gfp_t gfp)
{
	int ret;

	do {
		/*
		 * Frees are not reported once tracking is off: the block may be
		 * gone already and must not be inserted.
		 */
		if (READ_ONCE(core->shut))
			return 0;
		/* Drop stale records first: they are stale even if there is no cell. */
		evict(core, new, gfp);
		ret = insert_new(core, new, gfp);
		if (ret == -ENOMEM) {
			kmt_count_event(core, KMT_EV_LOST_NOMEM);
			return ret;
		}
	} while (ret);
	return 0;
}

/* Whether a live block overlaps the range. */
static bool is_taken(struct kmt_core *core, enum kmt_space space,
		     unsigned long addr, unsigned long size)
{
	struct kmt_range found;
	unsigned long len;

	/* kmt_first_block() takes a range within one region. */
	for (; size; addr += len, size -= len) {
		len = min(size, BIT(KMT_REGION_SHIFT) -
				addr % BIT(KMT_REGION_SHIFT));
		if (kmt_first_block(core, space, addr, addr + len, &found))
			return true;
	}
	return false;
}

/**
 * kmt_insert_unless_taken - track a block unless part of it is tracked already
 * @core: tracker
 * @space: address space of @addr
 * @addr: first byte
 * @size: bytes; the range does not wrap
 * @min_refs: references it needs, or KMT_MIN_*
 * @origin: where and when it was allocated
 * @gfp: flags to allocate memory for the record with
 *
 * For memory that its owner may hand out again in parts, with records of their own.
 * If another CPU inserts such a part at the same time, both may succeed. If the two
 * records are in different trees, they overlap until one of the blocks is freed, or
 * another block is inserted there.
 *
 * Context: any but NMI, no tracker lock held.
 * Return: 0; -EEXIST if part of it is tracked, -EPERM if the tracker is shut, -ENOMEM.
 */
int kmt_insert_unless_taken(struct kmt_core *core, enum kmt_space space,
			    unsigned long addr, unsigned long size, u8 min_refs,
			    const struct kmt_origin *origin, gfp_t gfp)
{
	struct kmt_object copy, new = { .addr = addr, .size = size };
	struct kmt_removal r;

	kmt_make_live(core, &new, min_refs, origin);
	new.flags = space;
	if (is_taken(core, space, addr, size))
		return -EEXIST;
	init_removal(&r, core, space, addr, size, gfp);
	r.vacant_only = true;
	remove_overlap(core, &r, &copy);
	return insert_new(core, &new, gfp);
}

/* Tracks the part of @old that is left at [@lo, @hi). */
static int keep_part(struct kmt_core *core, const struct kmt_object *old,
		     unsigned long lo, unsigned long hi, gfp_t gfp)
{
	struct kmt_object part = *old;

	if (lo >= hi)
		return 0;
	part.addr = lo;
	part.size = hi - lo;
	part.pid_slack = kmt_pid_slack(kmt_pid(old), 0);
	/*
	 * remove_locked() dropped the scan areas and the alias of the whole block:
	 * the part is read in full.
	 */
	part.flags &= ~(KMT_LIVE | KMT_AREAS | KMT_ALIAS | KMT_WHOLE |
			KMT_SCANNED);
	return insert_over(core, &part, gfp);
}

/**
 * kmt_free_part - free a range that covers parts of blocks, or several blocks
 * @core: tracker
 * @space: address space of @addr
 * @addr: first byte that is freed
 * @size: bytes that are freed
 * @gfp: flags to allocate memory for a new record with
 *
 * The parts of blocks before and after the range stay tracked.
 *
 * Context: any but NMI, no tracker lock held.
 * Return: 0; -EINVAL if the range wraps; -ENOMEM if there was no memory for the record
 * of a part that is left: the part is untracked then, see kmt_insert().
 */
int kmt_free_part(struct kmt_core *core, enum kmt_space space,
		  unsigned long addr, unsigned long size, gfp_t gfp)
{
	struct kmt_removal r;
	struct kmt_object old;
	bool found = false;
	int before, after, ret = 0;

	if (!size)
		return 0;
	if (addr + size < addr) {
		report_event(core, KMT_EV_BAD_SIZE, NULL, NULL);
		return -EINVAL;
	}
	init_removal(&r, core, space, addr, size, gfp);
	while (remove_overlap(core, &r, &old)) {
		found = true;
		before = keep_part(core, &old, old.addr,
				   min(addr, old.addr + old.size), gfp);
		after = keep_part(core, &old, max(addr + size, old.addr),
				  old.addr + old.size, gfp);
		ret = ret ?: before ?: after;
	}
	/* memblock frees memory that was only reserved, and so never tracked. */
	if (!found && space != KMT_PHYS)
		kmt_count_event(core, KMT_EV_FREE_UNKNOWN);
	return ret;
}

/**
 * kmt_free_within - forget the blocks inside memory that is freed and has no record
 * @core: tracker
 * @addr: first byte that is freed (KMT_VIRT)
 * @size: its bytes, or 0; the range does not wrap
 * @gfp: says whether this may sleep
 *
 * The code that had this memory dropped its record and reported parts of it as blocks, but
 * not their free. If @addr lies in a block, this does nothing.
 *
 * Context: any but NMI, no tracker lock held.
 * Return: number of blocks that were forgotten.
 */
unsigned long kmt_free_within(struct kmt_core *core, unsigned long addr,
			      unsigned long size, gfp_t gfp)
{
	struct kmt_removal r;
	struct kmt_object old;
	unsigned long nr = 0;

	if (!is_taken(core, KMT_VIRT, addr, size) ||
	    kmt_lookup(core, KMT_VIRT, addr, &old))
		return 0;
	init_removal(&r, core, KMT_VIRT, addr, size, gfp);
	for (; remove_overlap(core, &r, &old); nr++)
		report_event(core, KMT_EV_FREE_AROUND, &old, NULL);
	return nr;
}

static bool drop_object(struct kmt_core *core, struct kmt_object *o,
			enum kmt_space space)
{
	struct kmt_held held;

	if (!kmt_lock_object(core, o, &held))
		return false;
	if (kmt_space(o) != space) {
		kmt_unlock(&held);
		return false;
	}
	remove_locked(core, held.tree, o, held.flags);
	return true;
}

/**
 * kmt_drop_space - forget every block of an address space
 * @core: tracker
 * @space: address space
 *
 * Blocks that are inserted meanwhile may or may not stay.
 *
 * Context: no tracker lock held; takes long, and may sleep.
 * Return: how many were forgotten.
 */
unsigned long kmt_drop_space(struct kmt_core *core, enum kmt_space space)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned long nr = 0;

	kmt_for_each_chunk(core, chunk) {
		kmt_for_each_in(chunk, o)
			nr += drop_object(core, o, space);
		kmt_env_cond_resched(GFP_KERNEL);
	}
	return nr;
}
