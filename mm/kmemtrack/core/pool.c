// SPDX-License-Identifier: GPL-2.0
/*
 * Cells for objects.
 *
 * Memory comes in pages, called chunks. A chunk stays while a reader may look at its
 * cells, so readers need no reference count. A CPU takes and returns cells from its
 * own cache without a lock; caches exchange cells with the chunks in batches. Cells are
 * taken from the chunks with the fewest free cells, so that other chunks become empty
 * after a peak and can be given back.
 *
 * Two kinds of readers look at cells without a lock. Walks over the pool: the owner
 * excludes them while it trims the pool. The fast path (fastpath.h) and kmt_reclaim_cells(),
 * with interrupts off: the owner waits for an RCU grace period before it frees a chunk.
 */
#include "fastpath.h"

static_assert(sizeof(struct kmt_chunk) <= sizeof(struct kmt_object));

/* The index in kmt_pool.by_free of a chunk, by the number of its free cells. */
static unsigned int free_class(const struct kmt_chunk *chunk)
{
	if (chunk->nr_free == chunk->nr && !chunk->stays)
		return KMT_ALL_FREE;
	return ilog2(chunk->nr_free);
}

static void list_chunk(struct kmt_pool *pool, struct kmt_chunk *chunk)
{
	hlist_add_head(&chunk->peers, &pool->by_free[free_class(chunk)]);
}

/* Moves the first @nr entries (1 <= @nr <= length of @from) to the head of @to. */
static void move_cells(struct kmt_object **from, struct kmt_object **to,
		       unsigned int nr)
{
	struct kmt_object *first = *from, *last = first;

	while (--nr)
		last = kmt_next_free(last);
	*from = kmt_next_free(last);
	last->node.rb_left = (struct rb_node *)*to;
	*to = first;
}

/* Takes up to @nr cells from the chunks with the fewest free ones; returns how many. */
static unsigned int chunk_take(struct kmt_pool *pool, struct kmt_object **list,
			       unsigned int nr)
{
	unsigned int class, n, got = 0;

	lockdep_assert_held(&pool->lock);
	for (class = 0; class < KMT_FREE_CLASSES && got < nr; ) {
		struct kmt_chunk *chunk;

		if (hlist_empty(&pool->by_free[class])) {
			class++;
			continue;
		}
		chunk = hlist_entry(pool->by_free[class].first, struct kmt_chunk,
				    peers);
		n = min(nr - got, chunk->nr_free);
		move_cells(&chunk->free, list, n);
		hlist_del(&chunk->peers);
		chunk->nr_free -= n;
		if (chunk->nr_free)
			list_chunk(pool, chunk);
		got += n;
	}
	pool->nr_free -= got;
	return got;
}

/* Gives a cell back to its chunk. */
static void chunk_give(struct kmt_pool *pool, struct kmt_object *o)
{
	struct kmt_chunk *chunk = kmt_chunk_of(o);
	unsigned int before = chunk->nr_free ? free_class(chunk) : KMT_FREE_CLASSES;

	lockdep_assert_held(&pool->lock);
	kmt_push_free(&chunk->free, o);
	chunk->nr_free++;
	if (chunk->closed)
		return;
	pool->nr_free++;
	if (free_class(chunk) == before)
		return;
	if (before < KMT_FREE_CLASSES)
		hlist_del(&chunk->peers);
	list_chunk(pool, chunk);
}

/**
 * kmt_cell_refill - refill a CPU's cache from the chunks, and take a cell
 * @core: tracker
 * @cache: this CPU's cache, which is empty
 *
 * Context: interrupts off; the lock of a tree may be held.
 * Return: a free cell, or NULL if there is none.
 */
struct kmt_object *kmt_cell_refill(struct kmt_core *core,
				   struct kmt_cell_cache *cache)
{
	struct kmt_pool *pool = &core->pool;
	bool low;

	raw_spin_lock(&pool->lock);
	cache->nr = chunk_take(pool, &cache->free, KMT_BATCH);
	if (pool->nr_free < pool->least)
		WRITE_ONCE(pool->least, pool->nr_free);
	low = pool->nr_free < pool->low;
	raw_spin_unlock(&pool->lock);

	if (low && core->ops->low)
		core->ops->low(core);
	if (!cache->free)
		return NULL;
	cache->nr--;
	return kmt_pop_free(&cache->free);
}

/**
 * kmt_cell_give - give cells of a CPU's cache back to their chunks
 * @core: tracker
 * @cache: cache of this CPU, or of one that is offline
 * @nr: number of cells, at most as many as @cache has
 *
 * Context: interrupts off, no tracker lock held.
 */
void kmt_cell_give(struct kmt_core *core, struct kmt_cell_cache *cache,
		   unsigned int nr)
{
	struct kmt_pool *pool = &core->pool;

	cache->nr -= nr;
	raw_spin_lock(&pool->lock);
	while (nr--)
		chunk_give(pool, kmt_pop_free(&cache->free));
	raw_spin_unlock(&pool->lock);
}

/**
 * kmt_cell_alloc - take a cell, and grow the pool if there is none
 * @core: tracker
 * @gfp: flags of the allocation that is being tracked
 * @flags: set to the interrupt state, for local_irq_restore()
 *
 * Context: any but NMI, no tracker lock held.
 * Return: a cell, with interrupts off; or NULL, with interrupts as before.
 */
struct kmt_object *kmt_cell_alloc(struct kmt_core *core, gfp_t gfp,
				  unsigned long *flags)
{
	struct kmt_object *o;

	for (;;) {
		local_irq_save(*flags);
		o = kmt_cell_get(core, kmt_cache_of(core));
		if (likely(o))
			return o;
		local_irq_restore(*flags);
		if (!kmt_pool_extend(core, gfp) && !kmt_reclaim_cells(core, 1))
			return NULL;
	}
}

static void add_chunk(struct kmt_core *core, struct kmt_chunk *chunk, u32 nr)
{
	struct kmt_object *cells = kmt_chunk_cells(chunk);
	struct kmt_pool *pool = &core->pool;
	unsigned long flags;
	u32 i;

	memset(chunk, 0, (nr + 1) * sizeof(*cells));
	chunk->nr = nr;
	chunk->nr_free = nr;
	chunk->free = cells;
	chunk->stays = core->ops->chunk_stays && core->ops->chunk_stays(chunk);
	for (i = 1; i < nr; i++)
		cells[i - 1].node.rb_left = &cells[i].node;

	raw_spin_lock_irqsave(&pool->lock, flags);
	list_chunk(pool, chunk);
	pool->nr_free += nr;
	WRITE_ONCE(pool->cells, pool->cells + nr);
	WRITE_ONCE(pool->nr_chunks, pool->nr_chunks + 1);
	chunk->id = ++pool->last_id;
	chunk->next = pool->chunks;
	chunk->link = &pool->chunks;
	if (chunk->next)
		chunk->next->link = &chunk->next;
	/* Pairs with kmt_chunks(): publishes the cleared cells, too. */
	smp_store_release(&pool->chunks, chunk);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
}

/**
 * kmt_pool_add - give memory to the pool
 * @core: tracker
 * @mem: memory aligned to a page; it belongs to the pool from now on
 * @bytes: its size, at least two cells; each page becomes a chunk
 *
 * Context: any but NMI, no tracker lock held.
 */
void kmt_pool_add(struct kmt_core *core, void *mem, size_t bytes)
{
	size_t at, nr;

	for (at = 0; at < bytes; at += PAGE_SIZE) {
		nr = min_t(size_t, bytes - at, PAGE_SIZE) /
		     sizeof(struct kmt_object);
		if (nr > 1)
			add_chunk(core, mem + at, nr - 1);
	}
}

/**
 * kmt_pool_grow - add new memory to the pool
 * @core: tracker
 * @gfp: flags to allocate with
 *
 * Context: as @gfp says; no tracker lock held.
 * Return: false if there was no memory.
 */
bool kmt_pool_grow(struct kmt_core *core, gfp_t gfp)
{
	size_t bytes;
	void *mem = core->ops->chunk_alloc(core, gfp, &bytes);

	if (!mem)
		return false;
	kmt_pool_add(core, mem, bytes);
	return true;
}

/**
 * kmt_pool_extend - get more free cells
 * @core: tracker
 * @gfp: flags to allocate with
 *
 * Uses vacant records if they are more than an eighth of all cells, else new memory.
 *
 * Context: as @gfp says; no tracker lock held.
 * Return: false if there was no memory.
 */
bool kmt_pool_extend(struct kmt_core *core, gfp_t gfp)
{
	return kmt_reclaim_cells(core, READ_ONCE(core->pool.cells) / 8 + 1) ||
	       kmt_pool_grow(core, gfp);
}

static void close_chunk(struct kmt_pool *pool, struct kmt_chunk *chunk)
{
	lockdep_assert_held(&pool->lock);
	chunk->closed = true;
	pool->nr_free -= chunk->nr_free;
	if (chunk->nr_free)
		hlist_del(&chunk->peers);
}

/**
 * kmt_chunk_close - let no more cells of a chunk be taken
 * @core: tracker
 * @chunk: one of its chunks
 *
 * Context: any but NMI, no tracker lock held.
 */
void kmt_chunk_close(struct kmt_core *core, struct kmt_chunk *chunk)
{
	struct kmt_pool *pool = &core->pool;
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	if (!chunk->closed)
		close_chunk(pool, chunk);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
}

/* Removes an empty chunk from the pool. */
static void unlink_chunk(struct kmt_pool *pool, struct kmt_chunk *chunk)
{
	lockdep_assert_held(&pool->lock);
	WRITE_ONCE(*chunk->link, chunk->next);
	if (chunk->next)
		chunk->next->link = chunk->link;
	if (pool->reclaim_in == chunk) {
		pool->reclaim_in = chunk->next;
		pool->reclaim_at = 0;
	}
	WRITE_ONCE(pool->cells, pool->cells - chunk->nr);
	WRITE_ONCE(pool->nr_chunks, pool->nr_chunks - 1);
}

/*
 * Takes a free cell of the chunk that has the fewest free cells, not of this CPU's cache;
 * NULL if there is none.
 */
static struct kmt_object *chunk_take_one(struct kmt_pool *pool)
{
	struct kmt_object *o = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	chunk_take(pool, &o, 1);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return o;
}

/* As chunk_give(), without the lock of the pool. */
static void chunk_give_one(struct kmt_pool *pool, struct kmt_object *o)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	chunk_give(pool, o);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
}

/* Moves the record in @from, in @tree, to @to; @from becomes a free cell. */
static void replace_object(struct kmt_tree *tree, struct kmt_object *from,
			   struct kmt_object *to)
{
	const u16 flags = from->flags;

	lockdep_assert_held(&tree->lock);
	kmt_cell_publish(to, flags & ~KMT_LIVE, from->addr, from->size);
	kmt_copy_rest(to, from);
	rb_replace_node(&from->node, &to->node, &tree->root);
	if (tree->last == &from->node)
		tree->last = &to->node;
	/* Pairs with __kmt_lock_object(): a live object shows its true address. */
	smp_store_release(&to->flags, flags);
	kmt_cell_clear(from);
}

/* Moves the record in @from to @to; false if @from has none any more. */
static bool move_object(struct kmt_core *core, struct kmt_object *from,
			struct kmt_object *to)
{
	struct kmt_held held;

	if (READ_ONCE(from->flags) & KMT_AUX) {
		held.tree = kmt_aux_tree(core, READ_ONCE(from->addr));
		raw_spin_lock_irqsave(&held.tree->lock, held.flags);
		/*
		 * The auxiliary cell may be free by now, or belong to another block,
		 * and be in no tree yet. Pairs with kmt_cell_publish(): then its
		 * address is that of the other block, too.
		 */
		if (!(smp_load_acquire(&from->flags) & KMT_AUX) ||
		    held.tree != kmt_aux_tree(core, READ_ONCE(from->addr))) {
			kmt_unlock(&held);
			return false;
		}
	} else if (!kmt_lock_object(core, from, &held)) {
		return false;
	}
	replace_object(held.tree, from, to);
	kmt_unlock(&held);
	return true;
}

/* Moves the records of @chunk, which is closed, to others; false if cells run out. */
static bool empty_chunk(struct kmt_core *core, struct kmt_chunk *chunk)
{
	struct kmt_pool *pool = &core->pool;
	struct kmt_object *o, *to;

	kmt_for_each_in(chunk, o) {
		if (!READ_ONCE(o->flags))
			continue;
		to = chunk_take_one(pool);
		if (!to)
			return false;
		chunk_give_one(pool, move_object(core, o, to) ? o : to);
	}
	return true;
}

/**
 * kmt_pool_evacuate - remove a chunk from the pool, after moving its records
 * @core: tracker
 * @chunk: one of its chunks
 * @gfp: flags to allocate memory for new cells with
 *
 * Context: early boot only: no other user of the tracker, and no CPU remembers cells
 * yet.
 * Return: 0; or -ENOMEM: no record is lost, but the chunk stays closed.
 */
int kmt_pool_evacuate(struct kmt_core *core, struct kmt_chunk *chunk, gfp_t gfp)
{
	struct kmt_pool *pool = &core->pool;
	unsigned long flags;
	unsigned int cpu;

	local_irq_save(flags);
	for (cpu = 0; cpu < pool->nr_caches; cpu++)
		kmt_cell_give(core, &pool->caches[cpu], pool->caches[cpu].nr);
	local_irq_restore(flags);
	kmt_chunk_close(core, chunk);

	while (!empty_chunk(core, chunk))
		if (!kmt_pool_grow(core, gfp))
			return -ENOMEM;

	raw_spin_lock_irqsave(&pool->lock, flags);
	unlink_chunk(pool, chunk);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return 0;
}

static struct kmt_chunk *next_chunk(struct kmt_pool *pool)
{
	struct kmt_chunk *chunk;
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	chunk = pool->reclaim_in ?: pool->chunks;
	if (chunk)
		pool->reclaim_in = chunk->next;
	pool->reclaim_at = 0;
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return chunk;
}

/*
 * Whether the records of @chunk are worth moving: at most three quarters of its cells
 * are in use, none of them by a leak, and its memory can be given back. Leaks stay in
 * their cells, since reports refer to the cells. Sets @used to the number of cells in
 * use, unless it finds a leak.
 */
static bool is_sparse(struct kmt_chunk *chunk, u32 *used)
{
	struct kmt_object *o;

	*used = 0;
	kmt_for_each_in(chunk, o) {
		const u16 flags = READ_ONCE(o->flags);

		if (flags & KMT_LEAK)
			return false;
		*used += !!flags;
	}
	return !chunk->stays && *used <= chunk->nr - chunk->nr / 4;
}

/*
 * Closes @chunk if all its cells but @used are in its list of free cells, and if other
 * chunks have @keep free cells besides those for its records.
 */
static bool close_sparse(struct kmt_pool *pool, struct kmt_chunk *chunk,
			 u32 used, unsigned long keep)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	if (chunk->nr_free + used == chunk->nr &&
	    pool->nr_free - chunk->nr_free >= keep + used)
		close_chunk(pool, chunk);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return chunk->closed;
}

static void open_chunk(struct kmt_pool *pool, struct kmt_chunk *chunk)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	chunk->closed = false;
	pool->nr_free += chunk->nr_free;
	if (chunk->nr_free)
		list_chunk(pool, chunk);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
}

/**
 * kmt_pool_compact - try to empty the next chunk in turn
 * @core: tracker
 * @keep: free cells that must remain
 *
 * If a quarter of the chunk is not in use, its vacant records become free cells. If
 * other chunks have room for its records in use, they move there. So kmt_pool_trim()
 * finds an empty chunk.
 *
 * Context: no tracker lock held, no walk over the pool under way, and no other thread
 * compacts or trims the pool; takes the time to move the records of a chunk.
 */
void kmt_pool_compact(struct kmt_core *core, unsigned long keep)
{
	struct kmt_pool *pool = &core->pool;
	struct kmt_chunk *chunk = next_chunk(pool);
	u32 used;

	if (!chunk || !is_sparse(chunk, &used))
		return;
	kmt_reclaim_chunk(core, chunk);
	if (!is_sparse(chunk, &used) || !used ||
	    !close_sparse(pool, chunk, used, keep))
		return;
	empty_chunk(core, chunk);
	open_chunk(pool, chunk);
}

/**
 * kmt_pool_trim - remove an empty chunk from the pool
 * @core: tracker
 * @keep: free cells that must remain
 *
 * Context: any but NMI, no tracker lock held, no walk over the pool under way.
 * Return: whether a chunk left the pool; kmt_pool_take_gone() returns it later.
 */
bool kmt_pool_trim(struct kmt_core *core, unsigned long keep)
{
	struct kmt_pool *pool = &core->pool;
	struct kmt_chunk *chunk = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	if (!hlist_empty(&pool->by_free[KMT_ALL_FREE])) {
		chunk = hlist_entry(pool->by_free[KMT_ALL_FREE].first,
				    struct kmt_chunk, peers);
		if (pool->nr_free >= keep + chunk->nr) {
			close_chunk(pool, chunk);
			unlink_chunk(pool, chunk);
			chunk->next = pool->gone;
			pool->gone = chunk;
			WRITE_ONCE(pool->nr_gone, pool->nr_gone + 1);
		} else {
			chunk = NULL;
		}
	}
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return chunk;
}

/* Makes a CPU forget cells of chunks that left the pool. */
static void forget_chunks(struct kmt_cell_cache *cache)
{
	struct kmt_object **recent_cells = READ_ONCE(cache->recent_cells), *o;
	unsigned int i;

	for (i = 0; recent_cells && i < KMT_RECENT_CELLS; i++) {
		o = READ_ONCE(recent_cells[i]);
		if (o && READ_ONCE(kmt_chunk_of(o)->closed))
			WRITE_ONCE(recent_cells[i], NULL);
	}
}

/* For how many chunks per CPU it pays to look through the tables of all CPUs. */
#define KMT_GONE_PER_CPU	64

/**
 * kmt_pool_take_gone - take the chunks that left the pool, so that they can be freed
 * @core: tracker
 * @all: even if they are few
 *
 * CPUs may remember cells of these chunks, so their tables must be looked through. That
 * takes as long for one chunk as for many. All these cells are free, so no CPU starts to
 * remember one again.
 *
 * Context: may sleep; no other thread compacts or trims the pool.
 * Return: their list, or NULL if there are none, or too few. The owner waits for an RCU
 * grace period before it frees them.
 */
struct kmt_chunk *kmt_pool_take_gone(struct kmt_core *core, bool all)
{
	struct kmt_pool *pool = &core->pool;
	struct kmt_chunk *gone = pool->gone;
	unsigned int cpu;

	if (!gone || (!all && pool->nr_gone < KMT_GONE_PER_CPU * pool->nr_caches))
		return NULL;
	for (cpu = 0; cpu < pool->nr_caches; cpu++) {
		forget_chunks(&pool->caches[cpu]);
		kmt_env_cond_resched(GFP_KERNEL);
	}
	pool->gone = NULL;
	WRITE_ONCE(pool->nr_gone, 0);
	return gone;
}

/**
 * kmt_pool_set_caches - give the pool another table of caches, and a reserve
 * @core: tracker
 * @caches: the table, into which the caches of CPUs that run were copied
 * @nr: its size
 * @low: kmt_ops.low is called if fewer cells in chunks are free
 *
 * Context: interrupts off, no other CPU runs.
 */
void kmt_pool_set_caches(struct kmt_core *core, struct kmt_cell_cache *caches,
			 unsigned int nr, unsigned long low)
{
	core->pool.caches = caches;
	core->pool.nr_caches = nr;
	core->pool.low = low;
	core->pool.least = ULONG_MAX;
}

/**
 * kmt_pool_abandon - forget all chunks, whose memory may be freed then
 * @core: tracker; it has no live record that is needed, and is shut for good
 *
 * Context: interrupts off, no other CPU runs.
 */
void kmt_pool_abandon(struct kmt_core *core)
{
	core->pool.chunks = NULL;
	core->pool.nr_chunks = 0;
}

/**
 * kmt_set_recent_cells - let a CPU remember cells by address, or not any more
 * @core: tracker
 * @cpu: its number
 * @recent_cells: zeroed table of KMT_RECENT_CELLS, or NULL
 *
 * Context: one call for each CPU at a time.
 * Return: the table before, or NULL. The CPU may use it until it has interrupts on.
 */
struct kmt_object **kmt_set_recent_cells(struct kmt_core *core, unsigned int cpu,
					 struct kmt_object **recent_cells)
{
	struct kmt_cell_cache *cache = &core->pool.caches[cpu];
	struct kmt_object **before = cache->recent_cells;

	/* Pairs with kmt_env_read_pointer() on @cpu: the table was zeroed before. */
	smp_store_release(&cache->recent_cells, recent_cells);
	return before;
}

/**
 * kmt_flush_cache - move the cells in the cache of a CPU to their chunks
 * @core: tracker
 * @cpu: its number
 *
 * Context: interrupts off; on that CPU, or it is offline.
 */
void kmt_flush_cache(struct kmt_core *core, unsigned int cpu)
{
	struct kmt_cell_cache *cache = &core->pool.caches[cpu];

	kmt_cell_give(core, cache, cache->nr);
}

/**
 * kmt_pool_free_cells - count the free cells
 * @core: tracker
 *
 * Return: their number; exact only while nothing else uses the pool.
 */
unsigned long kmt_pool_free_cells(struct kmt_core *core)
{
	unsigned long nr = READ_ONCE(core->pool.nr_free);
	unsigned int cpu;

	for (cpu = 0; cpu < core->pool.nr_caches; cpu++)
		nr += READ_ONCE(core->pool.caches[cpu].nr);
	return nr;
}

/*
 * Vacant records: those of freed blocks.
 *
 * SLUB often allocates a block soon in the place of a freed one, with the same size. So
 * the record of a freed block stays in its shard, vacant, until that happens, until a
 * block overlaps it, or until kmt_reclaim_cells() makes it a free cell. Only records in shards
 * are left vacant, and only by CPUs that remember cells by address (kmt_recent_cell()),
 * since otherwise it does not pay.
 */

/* How many cells are checked with interrupts off, and how many such batches. */
#define KMT_RECLAIM_CELLS	32
#define KMT_RECLAIM_TRIES	64

/**
 * kmt_vacant - count the vacant records
 * @core: tracker
 *
 * Return: their number; exact only while nothing else uses the pool.
 */
unsigned long kmt_vacant(struct kmt_core *core)
{
	unsigned int cpu;
	long nr = 0;

	for (cpu = 0; cpu < core->pool.nr_caches; cpu++)
		nr += READ_ONCE(core->pool.caches[cpu].vacant);
	return max(nr, 0L);
}

/**
 * kmt_lookup_vacant - copy the vacant record of a freed block
 * @core: tracker
 * @space: address space
 * @addr: its first byte
 * @copy: filled in if the record exists
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the record exists.
 */
bool kmt_lookup_vacant(struct kmt_core *core, enum kmt_space space,
		       unsigned long addr, struct kmt_object *copy)
{
	struct kmt_tree *shard;
	struct kmt_object *o;
	unsigned long flags;

	if (space != KMT_VIRT || !kmt_in(&core->linear, addr))
		return false;
	shard = kmt_shard_of(core, addr);
	raw_spin_lock_irqsave(&shard->lock, flags);
	o = kmt_tree_at(shard, addr);
	if (o && !kmt_is_vacant(o))
		o = NULL;
	if (o)
		*copy = *o;
	raw_spin_unlock_irqrestore(&shard->lock, flags);
	return o;
}

/* Returns the next @nr cells in turn; NULL if the pool has none. */
static struct kmt_object *next_cells(struct kmt_pool *pool, u32 *nr)
{
	struct kmt_object *first;
	unsigned long flags;

	*nr = 0;
	raw_spin_lock_irqsave(&pool->lock, flags);
	if (!pool->reclaim_in) {
		pool->reclaim_in = pool->chunks;
		pool->reclaim_at = 0;
	}
	if (!pool->reclaim_in) {
		raw_spin_unlock_irqrestore(&pool->lock, flags);
		return NULL;
	}
	first = kmt_chunk_cells(pool->reclaim_in) + pool->reclaim_at;
	*nr = min_t(u32, pool->reclaim_in->nr - pool->reclaim_at, KMT_RECLAIM_CELLS);
	pool->reclaim_at += *nr;
	if (pool->reclaim_at == pool->reclaim_in->nr) {
		pool->reclaim_in = pool->reclaim_in->next;
		pool->reclaim_at = 0;
	}
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return first;
}

/**
 * __kmt_lock_vacant - lock the shard of a vacant record
 * @core: tracker
 * @o: cell
 * @held: for kmt_unlock()
 *
 * Context: no tracker lock held. The caller walks over the pool, or has interrupts off.
 * Return: whether @o is a vacant record, its shard locked; else nothing is locked.
 */
bool __kmt_lock_vacant(struct kmt_core *core, struct kmt_object *o, struct kmt_held *held)
{
	/* Pairs with kmt_cell_publish(), which stores the size last. */
	unsigned long size = smp_load_acquire(&o->size);
	unsigned long addr = READ_ONCE(o->addr);
	struct kmt_tree *tree;

	if (!size || READ_ONCE(o->flags))
		return false;
	tree = kmt_tree_of(core, KMT_VIRT, addr, size);
	if (kmt_is_wide(core, tree))
		return false;
	raw_spin_lock_irqsave(&tree->lock, held->flags);
	/*
	 * kmt_cell_clear() clears the size first and the flags last;
	 * kmt_cell_publish() stores flags and address first and the size last.
	 * A cell that was cleared, and is the record of another block by now,
	 * has flags, another size or another address.
	 */
	if (!smp_load_acquire(&o->flags) &&
	    /* Pairs with kmt_cell_publish(), as above. */
	    smp_load_acquire(&o->size) == size && READ_ONCE(o->addr) == addr) {
		held->tree = tree;
		__release(&tree->lock);	/* kmt_lock_vacant() has it */
		return true;
	}
	raw_spin_unlock_irqrestore(&tree->lock, held->flags);
	return false;
}

/* Makes a free cell of @o if it is a vacant record; interrupts are off. */
static bool reclaim_cell(struct kmt_core *core, struct kmt_object *o)
{
	struct kmt_held held;

	if (!kmt_lock_vacant(core, o, &held))
		return false;
	kmt_count_vacant(kmt_cache_of(core), -1);
	kmt_tree_unlink(held.tree, o);
	kmt_cell_clear(o);
	kmt_unlock(&held);
	kmt_cell_put(core, o);
	return true;
}

/**
 * kmt_reclaim_cells - make KMT_BATCH free cells or a few more of vacant records
 * @core: tracker
 * @least: do nothing if there are fewer vacant records than this, at least 1
 *
 * Context: any but NMI, no tracker lock held; checks a bounded number of cells.
 * Return: whether it made any free cells; fewer if there are not enough vacant records
 * among the cells that it checks.
 */
bool kmt_reclaim_cells(struct kmt_core *core, unsigned long least)
{
	unsigned int tries, got = 0;
	unsigned long flags;

	if (kmt_vacant(core) < least)
		return false;
	/* kmt_vacant() reads the counters of all CPUs: once for a whole batch of cells. */
	for (tries = 0; tries < KMT_RECLAIM_TRIES && got < KMT_BATCH; tries++) {
		struct kmt_object *o;
		u32 i, nr;

		/* Interrupts are off, so that the chunk is not freed meanwhile. */
		local_irq_save(flags);
		o = next_cells(&core->pool, &nr);
		for (i = 0; i < nr; i++)
			got += reclaim_cell(core, &o[i]);
		local_irq_restore(flags);
	}
	return got;
}

/**
 * kmt_reclaim_chunk - make free cells of the vacant records of a chunk
 * @core: tracker
 * @chunk: one of its chunks
 *
 * Context: no tracker lock held; the pool is not trimmed meanwhile.
 */
void kmt_reclaim_chunk(struct kmt_core *core, struct kmt_chunk *chunk)
{
	struct kmt_object *cells = kmt_chunk_cells(chunk);
	struct kmt_cell_cache *cache;
	unsigned long flags;
	u32 i = 0, got;

	while (i < chunk->nr) {
		const u32 end = min(i + KMT_RECLAIM_CELLS, chunk->nr);

		local_irq_save(flags);
		cache = kmt_cache_of(core);
		for (got = 0; i < end; i++)
			got += reclaim_cell(core, &cells[i]);
		/* The cells must go to their chunk, not stay in this CPU's cache. */
		if (got)
			kmt_cell_give(core, cache, cache->nr);
		local_irq_restore(flags);
	}
}
