// SPDX-License-Identifier: GPL-2.0
/*
 * Cells for objects.
 *
 * Memory comes in chunks that stay while anybody may look at them (trim.c), so
 * a cell may be looked at without a reference count. A CPU takes and returns
 * cells from its own cache without a lock; caches and the global list exchange
 * them in batches.
 */
#include "hot.h"

static_assert(sizeof(struct kmt_chunk) <= sizeof(struct kmt_object));

/* The first @nr of a list that has as many, 1 at least, go before those of @to. */
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

/**
 * kmt_cell_take - take a cell from the global list
 * @core: tracker
 * @cache: this CPU's cache, which is empty; it gets some more of them
 *
 * Context: interrupts off.
 * Return: a cell without flags, or NULL when the list is empty.
 */
struct kmt_object *kmt_cell_take(struct kmt_core *core,
				 struct kmt_cell_cache *cache)
{
	struct kmt_pool *pool = &core->pool;
	unsigned int nr;
	bool low;

	raw_spin_lock(&pool->lock);
	nr = min_t(unsigned long, KMT_BATCH, pool->nr_free);
	if (likely(nr))
		move_cells(&pool->free, &cache->free, nr);
	pool->nr_free -= nr;
	if (pool->nr_free < pool->least)
		WRITE_ONCE(pool->least, pool->nr_free);
	cache->nr = nr;
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
 * kmt_cell_give - give cells to the global list
 * @core: tracker
 * @cache: this CPU's cache, which has too many
 *
 * Context: interrupts off.
 */
void kmt_cell_give(struct kmt_core *core, struct kmt_cell_cache *cache)
{
	struct kmt_pool *pool = &core->pool;

	raw_spin_lock(&pool->lock);
	move_cells(&cache->free, &pool->free, KMT_BATCH);
	pool->nr_free += KMT_BATCH;
	raw_spin_unlock(&pool->lock);
	cache->nr -= KMT_BATCH;
}

/**
 * kmt_cell_alloc - take a cell, growing the pool if need be
 * @core: tracker
 * @gfp: how memory may be got, as for the allocation that is being tracked
 * @flags: interrupt state, to be given back to local_irq_restore()
 *
 * Context: any but NMI, no tracker lock held.
 * Return: a cell, with interrupts off; or NULL, with interrupts as they were.
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
		if (!kmt_pool_extend(core, gfp) && !kmt_reap(core, 1))
			return NULL;
	}
}

/**
 * kmt_pool_add - give memory to the pool
 * @core: tracker
 * @mem: memory aligned to a cell, not to be used for anything else any more
 * @bytes: its size, two cells at least
 *
 * Context: any but NMI, no tracker lock held.
 * Return: the chunk that was made of it.
 */
struct kmt_chunk *kmt_pool_add(struct kmt_core *core, void *mem, size_t bytes)
{
	struct kmt_pool *pool = &core->pool;
	struct kmt_chunk *chunk = mem;
	struct kmt_object *cells = kmt_chunk_cells(chunk);
	u32 i, nr = bytes / sizeof(*cells) - 1;
	unsigned long flags;

	memset(mem, 0, bytes);
	chunk->nr = nr;
	for (i = 1; i < nr; i++)
		cells[i - 1].node.rb_left = &cells[i].node;

	raw_spin_lock_irqsave(&pool->lock, flags);
	cells[nr - 1].node.rb_left = (struct rb_node *)pool->free;
	pool->free = cells;
	pool->nr_free += nr;
	WRITE_ONCE(pool->cells, pool->cells + nr);
	pool->nr_chunks++;
	chunk->id = ++pool->last_id;
	chunk->next = pool->chunks;
	/* Pairs with kmt_for_each_cell(): the cells are cleared before. */
	smp_store_release(&pool->chunks, chunk);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return chunk;
}

/**
 * kmt_pool_grow - add one chunk
 * @core: tracker
 * @gfp: how memory may be got
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
 * @gfp: how memory may be got
 *
 * Of vacant records, while they are many; else of new memory.
 *
 * Context: as @gfp says; no tracker lock held.
 * Return: false if there was no memory.
 */
bool kmt_pool_extend(struct kmt_core *core, gfp_t gfp)
{
	return kmt_reap(core, READ_ONCE(core->pool.cells) / 8 + 1) ||
	       kmt_pool_grow(core, gfp);
}

static bool in_chunk(const struct kmt_object *o, struct kmt_chunk *chunk)
{
	struct kmt_object *cells = kmt_chunk_cells(chunk);

	return o >= cells && o < cells + chunk->nr;
}

/* Takes what lies in @chunk out of a free list; returns how many are left. */
static unsigned long purge_free(struct kmt_object **list,
				struct kmt_chunk *chunk)
{
	struct kmt_object *o, *next, *keep = NULL;
	unsigned long nr = 0;

	for (o = *list; o; o = next) {
		next = kmt_next_free(o);
		if (in_chunk(o, chunk))
			continue;
		kmt_push_free(&keep, o);
		nr++;
	}
	*list = keep;
	return nr;
}

static void move_object(struct kmt_core *core, struct kmt_object *from,
			struct kmt_object *to)
{
	struct kmt_tree *tree = from->flags & KMT_AUX ? &core->aux :
		kmt_tree_of(core, kmt_space(from), from->addr, from->size);

	raw_spin_lock(&tree->lock);
	*to = *from;
	if (tree->last == &from->node)
		tree->last = &to->node;
	rb_replace_node(&from->node, &to->node, &tree->root);
	kmt_cell_clear(from);
	raw_spin_unlock(&tree->lock);
}

/**
 * kmt_pool_evacuate - take a chunk out of the pool, moving what is in it
 * @core: tracker
 * @chunk: one of its chunks
 * @gfp: how memory for the new cells may be got
 *
 * Context: early boot only: nothing else may use the tracker meanwhile, and no
 * CPU remembers cells yet.
 * Return: 0, or -ENOMEM with the tracker whole and some of the chunk's free
 * cells out of use.
 */
int kmt_pool_evacuate(struct kmt_core *core, struct kmt_chunk *chunk, gfp_t gfp)
{
	struct kmt_pool *pool = &core->pool;
	struct kmt_object *o, *to;
	struct kmt_chunk **link;
	unsigned long flags;
	unsigned int cpu;

	pool->nr_free = purge_free(&pool->free, chunk);
	for (cpu = 0; cpu < pool->nr_caches; cpu++) {
		struct kmt_cell_cache *cache = &pool->caches[cpu];

		cache->nr = purge_free(&cache->free, chunk);
	}

	for (o = kmt_chunk_cells(chunk);
	     o < kmt_chunk_cells(chunk) + chunk->nr; o++) {
		if (!o->flags)
			continue;
		to = kmt_cell_alloc(core, gfp, &flags);
		if (!to)
			return -ENOMEM;
		move_object(core, o, to);
		local_irq_restore(flags);
	}

	for (link = &pool->chunks; *link != chunk; link = &(*link)->next)
		;
	*link = chunk->next;
	pool->nr_chunks--;
	pool->cells -= chunk->nr;
	return 0;
}

/**
 * kmt_pool_free_cells - cells that are not in use
 * @core: tracker
 *
 * Return: their number; exact while nothing else happens.
 */
unsigned long kmt_pool_free_cells(struct kmt_core *core)
{
	unsigned long nr = READ_ONCE(core->pool.nr_free);
	unsigned int cpu;

	for (cpu = 0; cpu < core->pool.nr_caches; cpu++)
		nr += READ_ONCE(core->pool.caches[cpu].nr);
	return nr;
}
