// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of the pool that is given back.
 *
 * A chunk can go when all of its cells are in the global free list: nobody
 * finds them there but who takes cells. The list is taken out of the pool but
 * for a reserve, so that there is time to see which chunks it covers; a free
 * cell's node.rb_right, which has no other use, says what became of it.
 *
 * What looks at cells without a lock: a walk over the pool, which the caller
 * keeps away; and, with interrupts off, what CPUs remember (life.h) and
 * kmt_reap(), which is why the caller waits before it frees the memory.
 */
#include "hot.h"

/* In the list that was taken. */
static struct rb_node *taken_mark(struct kmt_core *core)
{
	return (struct rb_node *)&core->pool;
}

/* The same, and its chunk goes. */
static struct rb_node *gone_mark(struct kmt_core *core)
{
	return (struct rb_node *)&core->pool.chunks;
}

/**
 * kmt_cell_flush - give all cells of a CPU's cache to the global list
 * @core: tracker
 * @cache: this CPU's, or that of one which is not there
 *
 * Context: interrupts off, no tracker lock held.
 */
void kmt_cell_flush(struct kmt_core *core, struct kmt_cell_cache *cache)
{
	struct kmt_pool *pool = &core->pool;

	raw_spin_lock(&pool->lock);
	while (cache->free) {
		kmt_push_free(&pool->free, kmt_pop_free(&cache->free));
		pool->nr_free++;
	}
	cache->nr = 0;
	raw_spin_unlock(&pool->lock);
}

/* Takes the global list but for @keep cells. */
static struct kmt_object *take_list(struct kmt_core *core, unsigned long keep)
{
	struct kmt_pool *pool = &core->pool;
	struct kmt_object *list = NULL, *last;
	unsigned long flags, nr;

	raw_spin_lock_irqsave(&pool->lock, flags);
	if (pool->nr_free > keep) {
		last = pool->free;
		for (nr = 1; nr < keep; nr++)
			last = kmt_next_free(last);
		if (keep) {
			list = kmt_next_free(last);
			last->node.rb_left = NULL;
		} else {
			list = pool->free;
			pool->free = NULL;
		}
		pool->nr_free = keep;
	}
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return list;
}

static bool is_taken(struct kmt_core *core, struct kmt_chunk *chunk)
{
	struct kmt_object *o;

	kmt_for_each_in(chunk, o) {
		/* Of a cell in a tree it is another node, and may change. */
		if (data_race(o->node.rb_right) != taken_mark(core))
			return false;
	}
	return true;
}

/* Takes @chunk out of the pool; @before is the one in front of it, if known. */
static void unlink_chunk(struct kmt_pool *pool, struct kmt_chunk *chunk,
			 struct kmt_chunk *before)
{
	struct kmt_chunk **link;
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	link = before ? &before->next : &pool->chunks;
	/* Only what came meanwhile is in front of the first one. */
	while (*link != chunk)
		link = &(*link)->next;
	WRITE_ONCE(*link, chunk->next);
	if (pool->reap_in == chunk)
		pool->reap_in = NULL;
	WRITE_ONCE(pool->cells, pool->cells - chunk->nr);
	pool->nr_chunks--;
	raw_spin_unlock_irqrestore(&pool->lock, flags);
}

static void doom(struct kmt_core *core, struct kmt_chunk *chunk)
{
	struct kmt_object *o;

	kmt_for_each_in(chunk, o)
		o->node.rb_right = gone_mark(core);
}

/* Takes out the chunks of which all cells were taken. */
static struct kmt_chunk *unlink_chunks(struct kmt_core *core,
				       bool (*may_go)(struct kmt_chunk *chunk))
{
	struct kmt_chunk *chunk, *next, *before = NULL, *gone = NULL;

	for (chunk = kmt_chunks(core); chunk; chunk = next) {
		next = chunk->next;
		if (!may_go(chunk) || !is_taken(core, chunk)) {
			before = chunk;
			continue;
		}
		unlink_chunk(&core->pool, chunk, before);
		doom(core, chunk);
		chunk->next = gone;
		gone = chunk;
	}
	return gone;
}

/* Gives back what of @list is not in a chunk that goes. */
static void return_list(struct kmt_core *core, struct kmt_object *list)
{
	struct kmt_object *o, *keep = NULL, *last = NULL;
	struct kmt_pool *pool = &core->pool;
	unsigned long flags, nr = 0;

	while (list) {
		o = kmt_pop_free(&list);
		if (o->node.rb_right == gone_mark(core))
			continue;
		o->node.rb_right = NULL;
		if (!last)
			last = o;
		kmt_push_free(&keep, o);
		nr++;
	}
	if (!nr)
		return;
	raw_spin_lock_irqsave(&pool->lock, flags);
	last->node.rb_left = (struct rb_node *)pool->free;
	pool->free = keep;
	pool->nr_free += nr;
	raw_spin_unlock_irqrestore(&pool->lock, flags);
}

/* What goes is free, so no CPU comes to remember it anew. */
static void forget_hints(struct kmt_core *core, struct kmt_cell_cache *cache)
{
	struct kmt_object **hints = READ_ONCE(cache->hints), *o;
	unsigned int i;

	for (i = 0; hints && i < KMT_HINTS; i++) {
		o = READ_ONCE(hints[i]);
		/* Of a cell in a tree it is another node, and may change. */
		if (o && data_race(o->node.rb_right) == gone_mark(core))
			WRITE_ONCE(hints[i], NULL);
	}
}

/**
 * kmt_pool_trim - take memory that is not needed out of the pool
 * @core: tracker
 * @keep: free cells that stay at hand all the while
 * @may_go: whether a chunk can be freed at all
 *
 * Context: any but NMI, no tracker lock held, no walk over the pool under way;
 * takes long.
 * Return: chunks, linked by kmt_chunk.next. They can be freed after all that
 * runs with interrupts off now has ended.
 */
struct kmt_chunk *kmt_pool_trim(struct kmt_core *core, unsigned long keep,
				bool (*may_go)(struct kmt_chunk *chunk))
{
	struct kmt_object *o, *list = take_list(core, keep);
	struct kmt_chunk *gone;
	unsigned int cpu;

	for (o = list; o; o = kmt_next_free(o))
		o->node.rb_right = taken_mark(core);
	gone = unlink_chunks(core, may_go);
	return_list(core, list);
	for (cpu = 0; gone && cpu < core->pool.nr_caches; cpu++)
		forget_hints(core, &core->pool.caches[cpu]);
	return gone;
}
