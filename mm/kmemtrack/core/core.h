/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracker: pool, index, mark. It uses the kernel only through env.h, struct kmt_ops and
 * the functions that an architecture with steps defines (step.h). All its state but the
 * table of steps of an unwinder (step.c) is in structures of its owner, so that it also
 * builds and runs in user space.
 *
 * Locking
 *
 *   kmt_tree.lock	one per shard and per wide tree: the tree, @nr and every field
 *			of the objects in it; that of wide[KMT_VIRT] also kmt_tree.wide
 *			of all shards, and data of the owner, see kmt_lock_wide()
 *   kmt_core.aux[].lock	one per tree of auxiliary cells
 *   kmt_pool.lock	the free cells of all chunks, and the list of chunks
 *
 * All are raw and taken with interrupts off, in the order listed; kmt_team.lock
 * (mark_parallel.h) is the only other lock of the core, and never held together with one
 * of these. The locks of two trees are never held at the same time. Code that holds one
 * of these locks does not allocate, print or sleep.
 *
 * Only its own CPU takes cells from a cell cache and puts cells into it, with interrupts
 * off, or another CPU while that one is offline. Others may read its counters, set
 * kmt_cell_cache.recent_cells or make it NULL (kmt_set_recent_cells()), and clear entries
 * of that table (kmt_pool_take_gone()).
 */
#ifndef _KMT_CORE_H
#define _KMT_CORE_H

#include "object.h"

struct kmt_core;
struct kmt_marker;
struct kmt_rank;

/**
 * struct kmt_tree - objects ordered by address, under one lock
 * @lock: protects the tree, @nr and the objects in it
 * @nr: number of live objects in @root; not kept for shards, where each allocation and
 *	free would have to update it
 * @wide: in a shard: how many objects of the wide tree of KMT_VIRT overlap its regions,
 *	counted once per region; written under the lock of that wide tree, not under
 *	@lock; read without a lock
 * @root: the tree; whether it is empty is also read without the lock
 * @last: node with the highest address, NULL if the tree is empty. SLUB fills slabs
 *	upwards, so most new blocks follow it and need no descent
 *
 * With CONFIG_64BIT or CONFIG_SMP, and without debug fields in locks, the size of this
 * structure is a power of two, so that a shift and an addition give the address of a
 * shard.
 */
struct kmt_tree {
	raw_spinlock_t lock;
	union {
		u32 nr;
		u32 wide;
	};
	struct rb_root root;
	struct rb_node *last;
#ifdef CONFIG_64BIT
	unsigned long unused;
#endif
};

/**
 * struct kmt_held - a tree that is locked
 * @tree: the tree
 * @flags: interrupt state from before
 */
struct kmt_held {
	struct kmt_tree *tree;
	unsigned long flags;
};

/* Bytes of the linear map that share a shard (a region). */
#define KMT_REGION_SHIFT	16

/*
 * Value of kmt_core.fold that does not change shard numbers: a shift by more bits than
 * a region number has.
 */
#define KMT_NO_FOLD	(BITS_PER_LONG - 1)

/**
 * struct kmt_chunk - header of a page of the pool, in its first cell
 * @next: next chunk; changes only when that one leaves the pool
 * @link: the pointer to this chunk: @next of the one before, or kmt_pool.chunks
 * @peers: link in the list of kmt_pool.by_free for @nr_free; not linked while
 *	@nr_free is 0 or @closed is set
 * @rcu: for the owner, when the chunk has left the pool
 * @free: its free cells that are not in the cache of a CPU
 * @nr: number of cells that follow
 * @id: serial number: a chunk that was added later has a higher one; report.c
 *	derives the positions of leaks from it
 * @nr_free: number of cells in @free
 * @closed: no cell of it is taken any more
 * @stays: its memory cannot be given back
 */
struct kmt_chunk {
	struct kmt_chunk *next;
	struct kmt_chunk **link;
	union {
		struct hlist_node peers;
		struct rcu_head rcu;
	};
	struct kmt_object *free;
	u32 nr;
	u32 id;
	u32 nr_free;
	bool closed;
	bool stays;
};

/* Cells in a chunk of a whole page. */
#define KMT_PAGE_CELLS	(PAGE_SIZE / sizeof(struct kmt_object) - 1)

/* Chunks are sorted by how many of their cells are free: 1, 2, 4, ... or all. */
#define KMT_FREE_CLASSES	(PAGE_SHIFT - 4)
#define KMT_ALL_FREE	(KMT_FREE_CLASSES - 1)

/* Number of cells that a CPU remembers, by address. */
#define KMT_RECENT_SHIFT	14
#define KMT_RECENT_CELLS	BIT(KMT_RECENT_SHIFT)

/**
 * struct kmt_cell_cache - cells of one CPU
 * @free: list of free cells
 * @nr: number of cells in @free
 * @vacant: number of records that this CPU made vacant, less vacant records that it
 *	used or removed. It is negative if other CPUs had made them vacant: only the
 *	sum over all CPUs has a meaning
 * @recent_cells: table of the records of blocks that this CPU allocated or freed last;
 *	NULL without a table, and then this CPU leaves no records vacant
 */
struct kmt_cell_cache {
	struct kmt_object *free;
	u32 nr;
	long vacant;
	struct kmt_object **recent_cells;
} ____cacheline_aligned_in_smp;

/**
 * struct kmt_pool - memory of all cells
 * @lock: protects all fields that follow except @low, @caches, @nr_caches, @gone and
 *	@nr_gone, and the headers of chunks
 * @by_free: chunks with free cells, by the logarithm of how many they have; the
 *	last list is of chunks that can leave the pool
 * @nr_free: number of free cells in these chunks
 * @low: kmt_ops.low is called if @nr_free is below this
 * @least: the lowest @nr_free so far
 * @chunks: list of all chunks
 * @nr_chunks: number of chunks
 * @last_id: @id of the chunk that was added last
 * @cells: number of cells in all chunks
 * @reclaim_in: the next chunk to be searched for vacant records, or to be compacted
 * @reclaim_at: the next cell in it
 * @caches: one per CPU
 * @nr_caches: number of @caches; may be 1 while only one CPU runs
 * @gone: chunks that left the pool, and are not freed yet; only the thread that trims
 *	the pool uses it
 * @nr_gone: their number
 */
struct kmt_pool {
	raw_spinlock_t lock;
	struct hlist_head by_free[KMT_FREE_CLASSES];
	unsigned long nr_free;
	unsigned long low;
	unsigned long least;
	struct kmt_chunk *chunks;
	unsigned long nr_chunks;
	u32 last_id;
	unsigned long cells;
	struct kmt_chunk *reclaim_in;
	u32 reclaim_at;
	struct kmt_cell_cache *caches;
	unsigned int nr_caches;
	struct kmt_chunk *gone;
	unsigned long nr_gone;
};

/* Events worth a counter; their names are in debugfs.c. */
enum kmt_event {
	KMT_EV_LOST_NOMEM,	/* no cell: the block is untracked */
	KMT_EV_LOST_ANNOTATION,	/* no cell: scan area or alias is lost */
	KMT_EV_LOST_NMI,	/* hook called from NMI: refused */
	KMT_EV_OVERLAP,		/* insert over a live object */
	KMT_EV_FREE_UNKNOWN,	/* free of a block that is not tracked */
	KMT_EV_FREE_TWICE,	/* ... but was tracked: also counted as above */
	KMT_EV_FREE_INSIDE,	/* free of an address inside a block */
	KMT_EV_FREE_AROUND,	/* the memory around a block was freed */
	KMT_EV_BAD_SIZE,	/* a range that is empty or wraps around */
	KMT_EV_BAD_AREA,	/* scan area outside its block */
	KMT_EV_ANNOTATE_UNKNOWN,	/* annotation of a block that is not tracked */
	KMT_EV_MARK_STACK_FULL,	/* the mark stack was full */
	KMT_EV_FAULT,		/* memory that could not be read */
	KMT_NR_EVENTS,
};

/*
 * Bits of what kmt_ops.trace_order() returns: in the sort key of order() (classify.c) an
 * age takes 32 bits, and the logarithm of a size five.
 */
#define KMT_TRACE_ORDER_BITS	27

/**
 * struct kmt_ops - services that the owner of a tracker provides
 * @chunk_alloc: allocates memory for the pool, aligned to a page; called with no lock
 *	held, in the context of the allocation that needs a cell; may fail
 * @chunk_stays: returns whether a page of such memory can never be given back; NULL if
 *	all pages can
 * @low: the pool runs low and should be refilled soon; called with interrupts off,
 *	perhaps under a tree's lock
 * @warn: event @ev happened to @old because of @new (either may be NULL); called with
 *	no lock held, on copies
 * @replaced: a new block overlaps @old, whose record was dropped; called with no lock
 *	held; returns whether the owner of the tracker had made that record itself, of
 *	memory that may be handed out again, so that this is no fault; NULL if it makes
 *	no such records
 * @relax: called with no lock held by a marker that has handled KMT_BUDGET words since the
 *	last call, or waits for other markers; returns true if the mark is to be given up
 * @wait: called with no lock held by a marker that waits for another one of its team;
 *	@before is how often it was called in this wait; returns soon
 * @trace_order: returns a number below 2^KMT_TRACE_ORDER_BITS that grows with the time
 *	when a backtrace was first kept; NULL if that is not known
 * @table_alloc: allocates a table of @bytes bytes that lives for a part of a scan;
 *	called with no lock held; may fail, and must not invoke the OOM killer; NULL if
 *	there are no tables
 * @table_free: frees such a table
 * @classified: called with no lock held after leaks were classified: each of the @nr
 *	indirect leaks in @rank, sorted by their cells, hangs on its @direct; NULL if the
 *	owner does not need it
 */
struct kmt_ops {
	void *(*chunk_alloc)(struct kmt_core *core, gfp_t gfp, size_t *bytes);
	bool (*chunk_stays)(const void *mem);
	void (*low)(struct kmt_core *core);
	void (*warn)(struct kmt_core *core, enum kmt_event ev,
		     const struct kmt_object *old,
		     const struct kmt_object *new);
	bool (*replaced)(struct kmt_core *core, const struct kmt_object *old);
	bool (*relax)(struct kmt_marker *m);
	void (*wait)(struct kmt_marker *m, unsigned int before);
	u32 (*trace_order)(u32 trace);
	void *(*table_alloc)(struct kmt_core *core, size_t bytes);
	void (*table_free)(struct kmt_core *core, void *table, size_t bytes);
	void (*classified)(struct kmt_core *core, const struct kmt_rank *rank,
			   unsigned long nr);
};

/**
 * struct kmt_range - addresses [@lo, @hi), where @lo <= @hi
 * @lo: first
 * @hi: one past the last
 */
struct kmt_range {
	unsigned long lo;
	unsigned long hi;
};

static inline bool kmt_in(const struct kmt_range *r, unsigned long addr)
{
	return addr - r->lo < r->hi - r->lo;
}

/*
 * Widens @r so that it covers [@addr, @addr + @size), too. The empty range is all
 * zero. A reader without the lock may see the new start with the old end, or the
 * reverse: either covers at least the old range.
 */
static inline void kmt_widen(struct kmt_range *r, unsigned long addr,
			     unsigned long size)
{
	bool empty = !r->hi;

	if (addr + size > r->hi)
		WRITE_ONCE(r->hi, addr + size);
	if (addr < r->lo || empty)
		WRITE_ONCE(r->lo, addr);
}

/**
 * struct kmt_range_pair - hulls of addresses that lie in two places
 * @part: the hulls; all zero if empty
 *
 * On arm64, per-CPU pointers of the first chunk and those of all others are at the two
 * ends of the address space: one hull of all would cover nearly all of it.
 */
struct kmt_range_pair {
	struct kmt_range part[2];
};

static inline bool kmt_in_pair(const struct kmt_range_pair *pair,
			       unsigned long addr)
{
	return kmt_in(&pair->part[0], addr) || kmt_in(&pair->part[1], addr);
}

/*
 * Number of trees of scan areas and aliases. For each vmalloc block there is a scan area of
 * its vmap_area and an alias of its vm_struct, so with a single lock markers and allocations
 * would wait for each other.
 */
#define KMT_AUX_TREES	64U

/**
 * struct kmt_core - one tracker
 * @ops: services of the owner
 * @pool: cells
 * @linear: addresses whose blocks are in the shards, by region
 * @shards: trees of regions, hashed by region number
 * @last_shard: number of shards, a power of two, less one
 * @fold: see kmt_index_fold()
 * @wide: per space: the tree of blocks outside @linear, or across a region's border
 * @wide_range: hulls of all blocks that ever were in the wide tree of a space, whose
 *	lock protects them; they only grow
 * @aux: scan areas and aliases, in trees by a hash of their block's address
 * @skip: addresses without objects of KMT_VIRT (the kernel image)
 * @shut: kmt_insert() and its callees track nothing. They check it with interrupts off
 *	where they make the record. So after @shut is set, and a grace period has
 *	passed, they make no more records. Callers of kmt_track_vacant() must provide the same:
 *	the hooks do not check @shut, but find no table of traces after kmt_cpu_tables_free()
 * @epoch: number of the current or last mark
 * @maybe_white: false only if the last sweep met neither a white block nor a suspect,
 *	and kmt_set_min() was called for none since: then kmt_suspect_for_search() need not walk
 *	over the pool
 * @birth: kmt_object.state, with comm 0, for a block of KMT_VIRT that is allocated now
 *	and needs one reference
 * @classified: when leaks were classified last, low 32 bits of jiffies
 * @events: counters
 */
struct kmt_core {
	const struct kmt_ops *ops;
	struct kmt_pool pool;
	struct kmt_range linear;
	struct kmt_tree *shards;
	u32 last_shard;
	u8 fold;
	struct kmt_tree wide[KMT_NR_SPACES];
	struct kmt_range_pair wide_range[KMT_NR_SPACES];
	struct kmt_tree aux[KMT_AUX_TREES];
	struct kmt_range skip;
	bool shut;
	u16 epoch;
	bool maybe_white;
	u64 birth;
	u32 classified;
	atomic_long_t events[KMT_NR_EVENTS];
};

/**
 * struct kmt_origin - where and when a block was allocated
 * @trace: handle of the backtrace
 * @pid_slack: pid of the task, and what was not asked for: kmt_pid_slack()
 * @born: low 32 bits of jiffies
 * @comm: handle of the task's name
 */
struct kmt_origin {
	u32 trace;
	u32 pid_slack;
	u32 born;
	u16 comm;
};

/*
 * A block that is allocated during a mark counts as reached by it, and is still to be
 * read, since the last reference to an older block may move into it.
 */
static inline void kmt_set_birth(struct kmt_core *core, bool marking)
{
	WRITE_ONCE(core->birth, kmt_pack_state(0, KMT_LIVE | KMT_VIRT,
					       core->epoch,
					       marking ? KMT_COUNT_MAX : 0, 1));
}

/* The tree with the scan areas and aliases of the block at @owner. */
static inline struct kmt_tree *kmt_aux_tree(struct kmt_core *core,
					    unsigned long owner)
{
	return &core->aux[(owner >> 4 ^ owner >> 10) % KMT_AUX_TREES];
}

/* Number of scan areas and aliases; not exact while some are added or dropped. */
static inline unsigned long kmt_nr_aux(const struct kmt_core *core)
{
	unsigned long nr = 0;
	unsigned int i;

	for (i = 0; i < KMT_AUX_TREES; i++)
		nr += READ_ONCE(core->aux[i].nr);
	return nr;
}

static inline void kmt_count_event(struct kmt_core *core, enum kmt_event ev)
{
	atomic_long_inc(&core->events[ev]);
}

static inline unsigned long kmt_nr_events(const struct kmt_core *core,
					  enum kmt_event ev)
{
	return atomic_long_read(&core->events[ev]);
}

/* From now on nothing is tracked, see kmt_core.shut. */
static inline void kmt_shut(struct kmt_core *core)
{
	WRITE_ONCE(core->shut, true);
}

/* From now on blocks are tracked. */
static inline void kmt_open(struct kmt_core *core)
{
	/* No barrier: the caller waited for all CPUs after it set up what hooks use. */
	WRITE_ONCE(core->shut, false);
}

/* The kernel image, which has no objects of KMT_VIRT. */
static inline void kmt_set_image(struct kmt_core *core, unsigned long lo,
				 unsigned long hi)
{
	core->skip = (struct kmt_range){ lo, hi };
}

static inline unsigned long kmt_nr_shards(const struct kmt_core *core)
{
	return core->last_shard + 1UL;
}

/* Number of objects of @space that are in no shard; not exact while it changes. */
static inline unsigned long kmt_nr_wide(const struct kmt_core *core,
					enum kmt_space space)
{
	return READ_ONCE(core->wide[space].nr);
}

/**
 * kmt_lock_wide - keep blocks of KMT_VIRT that are in no shard from being freed
 * @core: tracker
 * @flags: interrupt state from before
 *
 * The owner may protect data of its own by this lock, if such a free changes it.
 *
 * Context: any but NMI, no tracker lock held.
 */
static inline void kmt_lock_wide(struct kmt_core *core, unsigned long *flags)
	__acquires(&core->wide[KMT_VIRT].lock)
{
	raw_spin_lock_irqsave(&core->wide[KMT_VIRT].lock, *flags);
}

static inline void kmt_unlock_wide(struct kmt_core *core, unsigned long flags)
	__releases(&core->wide[KMT_VIRT].lock)
{
	raw_spin_unlock_irqrestore(&core->wide[KMT_VIRT].lock, flags);
}

/* core.c: life of a tracker, and the operations of the hooks */
void kmt_core_init(struct kmt_core *core, const struct kmt_ops *ops,
		   struct kmt_tree *shards, u32 nr_shards,
		   struct kmt_cell_cache *caches, unsigned int nr_caches);
int kmt_insert(struct kmt_core *core, enum kmt_space space, unsigned long addr,
	       unsigned long size, u8 min_refs, const struct kmt_origin *origin,
	       gfp_t gfp);
int kmt_insert_unless_taken(struct kmt_core *core, enum kmt_space space,
			    unsigned long addr, unsigned long size, u8 min_refs,
			    const struct kmt_origin *origin, gfp_t gfp);
bool kmt_free(struct kmt_core *core, enum kmt_space space, unsigned long addr);
bool kmt_free_slowly(struct kmt_core *core, enum kmt_space space,
		     unsigned long addr);
void kmt_free_if(struct kmt_core *core, unsigned long addr,
		 bool (*is)(const struct kmt_object *o));

/* core.c: stale records, parts of blocks */
int kmt_free_part(struct kmt_core *core, enum kmt_space space,
		  unsigned long addr, unsigned long size, gfp_t gfp);
unsigned long kmt_free_within(struct kmt_core *core, unsigned long addr,
			      unsigned long size, gfp_t gfp);
unsigned long kmt_drop_space(struct kmt_core *core, enum kmt_space space);

/* annotate.c: annotations */
bool kmt_set_min(struct kmt_core *core, enum kmt_space space,
		 unsigned long addr, u8 min_refs);
bool kmt_set_flags(struct kmt_core *core, enum kmt_space space,
		   unsigned long addr, u16 flags);
bool kmt_set_trace(struct kmt_core *core, enum kmt_space space,
		   unsigned long addr, u32 trace);
bool kmt_set_requested(struct kmt_core *core, unsigned long addr,
		       unsigned long requested);
bool kmt_add_area(struct kmt_core *core, unsigned long addr,
		  unsigned long size, gfp_t gfp);
bool kmt_add_outer_area(struct kmt_core *core, unsigned long block,
			unsigned long start, unsigned long size, gfp_t gfp);
bool kmt_add_alias(struct kmt_core *core, unsigned long holder,
		   unsigned long target, gfp_t gfp);
bool kmt_get_alias(struct kmt_core *core, unsigned long holder,
		   unsigned long *target);
bool kmt_next_area(struct kmt_core *core, unsigned long owner,
		   struct kmt_range *range);
void kmt_drop_aux(struct kmt_core *core, unsigned long owner);

/* index.c: finding objects */
struct kmt_object *kmt_tree_first(struct kmt_tree *tree, unsigned long addr,
				  unsigned long size);
struct kmt_object *kmt_next_wide(struct kmt_core *core, enum kmt_space space,
				 unsigned long *pos);
void kmt_count_wide(struct kmt_core *core, const struct kmt_object *o,
		    int delta);
struct kmt_object *__kmt_lock_find(struct kmt_core *core, enum kmt_space space,
				   unsigned long addr, struct kmt_held *held);
bool __kmt_lock_object(struct kmt_core *core, struct kmt_object *o, struct kmt_held *held);
bool __kmt_lock_vacant(struct kmt_core *core, struct kmt_object *o, struct kmt_held *held);
bool __kmt_lock_same(struct kmt_core *core, struct kmt_object *o,
		     const struct kmt_object *copy, struct kmt_held *held);

/* The functions above, for sparse: they take the lock if they succeed. */
#define kmt_lock_object(core, o, held)					\
	__cond_lock(&(held)->tree->lock, __kmt_lock_object(core, o, held))
#define kmt_lock_vacant(core, o, held)					\
	__cond_lock(&(held)->tree->lock, __kmt_lock_vacant(core, o, held))
#define kmt_lock_same(core, o, copy, held)				\
	__cond_lock(&(held)->tree->lock, __kmt_lock_same(core, o, copy, held))
/* As kmt_lock_object() if @o is live, else as kmt_lock_vacant(). */
#define kmt_lock_record(core, o, held)					\
	__cond_lock(&(held)->tree->lock, __kmt_lock_object(core, o, held) || \
		    __kmt_lock_vacant(core, o, held))

static inline struct kmt_object *
kmt_lock_find(struct kmt_core *core, enum kmt_space space, unsigned long addr,
	      struct kmt_held *held)
{
	struct kmt_object *o = __kmt_lock_find(core, space, addr, held);

	(void)__cond_lock(&held->tree->lock, o);
	return o;
}

static inline void kmt_unlock(struct kmt_held *held)
	__releases(&held->tree->lock)
{
	raw_spin_unlock_irqrestore(&held->tree->lock, held->flags);
}

bool kmt_copy_object(struct kmt_core *core, struct kmt_object *o,
		     struct kmt_object *copy);
bool kmt_lookup(struct kmt_core *core, enum kmt_space space,
		unsigned long addr, struct kmt_object *copy);
bool kmt_first_block(struct kmt_core *core, enum kmt_space space,
		     unsigned long addr, unsigned long end,
		     struct kmt_range *found);
u8 kmt_index_fold(const struct kmt_range *memory, unsigned int nr,
		  u32 nr_shards);
void kmt_index_resize(struct kmt_core *core, const struct kmt_range *linear,
		      struct kmt_tree *shards, u32 nr_shards);

/* pool.c: cells */
struct kmt_object *kmt_cell_refill(struct kmt_core *core,
				   struct kmt_cell_cache *cache);
void kmt_cell_give(struct kmt_core *core, struct kmt_cell_cache *cache,
		   unsigned int nr);
struct kmt_object *kmt_cell_alloc(struct kmt_core *core, gfp_t gfp,
				  unsigned long *flags);
bool kmt_pool_grow(struct kmt_core *core, gfp_t gfp);
bool kmt_pool_extend(struct kmt_core *core, gfp_t gfp);
void kmt_pool_add(struct kmt_core *core, void *mem, size_t bytes);
void kmt_chunk_close(struct kmt_core *core, struct kmt_chunk *chunk);
int kmt_pool_evacuate(struct kmt_core *core, struct kmt_chunk *chunk,
		      gfp_t gfp);
void kmt_pool_compact(struct kmt_core *core, unsigned long keep);
bool kmt_pool_trim(struct kmt_core *core, unsigned long keep);
struct kmt_chunk *kmt_pool_take_gone(struct kmt_core *core, bool all);
unsigned long kmt_pool_free_cells(struct kmt_core *core);
void kmt_pool_abandon(struct kmt_core *core);
void kmt_pool_set_caches(struct kmt_core *core, struct kmt_cell_cache *caches,
			 unsigned int nr, unsigned long low);
struct kmt_object **kmt_set_recent_cells(struct kmt_core *core, unsigned int cpu,
					 struct kmt_object **recent_cells);
void kmt_flush_cache(struct kmt_core *core, unsigned int cpu);

/* Whether a CPU remembers cells by address. */
static inline bool kmt_has_recent_cells(const struct kmt_core *core,
					unsigned int cpu)
{
	return READ_ONCE(core->pool.caches[cpu].recent_cells);
}

/* Number of cells in all chunks. */
static inline unsigned long kmt_pool_cells(const struct kmt_core *core)
{
	return READ_ONCE(core->pool.cells);
}

static inline unsigned long kmt_nr_chunks(const struct kmt_core *core)
{
	return READ_ONCE(core->pool.nr_chunks);
}

/* Number of chunks that left the pool, and are not freed yet. */
static inline unsigned long kmt_nr_gone(const struct kmt_core *core)
{
	return READ_ONCE(core->pool.nr_gone);
}

/* Number of free cells in chunks. */
static inline unsigned long kmt_pool_reserve(const struct kmt_core *core)
{
	return READ_ONCE(core->pool.nr_free);
}

/* The lowest that number has been. */
static inline unsigned long kmt_pool_least(const struct kmt_core *core)
{
	return min(READ_ONCE(core->pool.least), kmt_pool_reserve(core));
}

/* The number of free cells in chunks below which kmt_ops.low is called. */
static inline unsigned long kmt_pool_low_mark(const struct kmt_core *core)
{
	return READ_ONCE(core->pool.low);
}

/* Whether the owner has to add cells after kmt_ops.low was called. */
static inline bool kmt_pool_is_low(const struct kmt_core *core)
{
	return kmt_pool_reserve(core) < 2 * kmt_pool_low_mark(core);
}

/* Forgets what the lowest number of free cells was. */
static inline void kmt_pool_reset_least(struct kmt_core *core)
{
	WRITE_ONCE(core->pool.least, ULONG_MAX);
}

/* pool.c: records of freed blocks */
unsigned long kmt_vacant(struct kmt_core *core);
bool kmt_lookup_vacant(struct kmt_core *core, enum kmt_space space,
		       unsigned long addr, struct kmt_object *copy);
bool kmt_reclaim_cells(struct kmt_core *core, unsigned long least);
void kmt_reclaim_chunk(struct kmt_core *core, struct kmt_chunk *chunk);

static inline struct kmt_object *kmt_chunk_cells(struct kmt_chunk *chunk)
{
	return (struct kmt_object *)((char *)chunk + sizeof(struct kmt_object));
}

/* The chunk of a cell: chunks are aligned to a page, and not larger than one. */
static inline struct kmt_chunk *kmt_chunk_of(const struct kmt_object *o)
{
	return (struct kmt_chunk *)ALIGN_DOWN((unsigned long)o, PAGE_SIZE);
}

/* Bytes of memory for @nr cells, including the header of each page. */
static inline size_t kmt_chunk_bytes(unsigned long nr)
{
	const unsigned long rest = nr % KMT_PAGE_CELLS;

	return nr / KMT_PAGE_CELLS * PAGE_SIZE +
	       (rest ? rest + 1 : 0) * sizeof(struct kmt_object);
}

static inline struct kmt_chunk *kmt_chunks(struct kmt_core *core)
{
	/* Pairs with add_chunk(): a chunk is complete when it is listed. */
	return smp_load_acquire(&core->pool.chunks);
}

/* Visits every chunk of the pool. */
#define kmt_for_each_chunk(core, chunk)					\
	for ((chunk) = kmt_chunks(core); (chunk); (chunk) = (chunk)->next)

/* Visits every cell of a chunk, live or not. */
#define kmt_for_each_in(chunk, o)					\
	for (struct kmt_object *end_of_##o =				\
	     ((o) = kmt_chunk_cells(chunk)) + (chunk)->nr;		\
	     (o) < end_of_##o; (o)++)

/**
 * kmt_for_each_cell - visit every cell of the pool, live or not
 * @core: tracker
 * @chunk: cursor
 * @o: cursor
 *
 * These are two loops: `break` leaves the inner one only. No lock is taken: the body
 * locks the cell's tree with kmt_lock_object() and checks the cell.
 */
#define kmt_for_each_cell(core, chunk, o)				\
	for ((chunk) = kmt_chunks(core); (chunk); (chunk) = (chunk)->next) \
		kmt_for_each_in(chunk, o)

#endif /* _KMT_CORE_H */
