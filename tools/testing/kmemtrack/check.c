// SPDX-License-Identifier: GPL-2.0
/* Checks of all invariants that object.h and core.h state. */
#include "fastpath.h"
#include "sim.h"

#define REQUIRE(c) do {							\
		if (!(c))						\
			fail_msg("%s:%d: invariant: %s", __FILE__,	\
				 __LINE__, #c);				\
	} while (0)

struct census {
	unsigned long objects;
	unsigned long vacant;
	unsigned long aux;
	unsigned long cells;
	unsigned long in_use;
	unsigned long blank;
	u32 wide[16 * SIM_SHARDS];
	const struct kmt_object **live;
	unsigned long nr_live;
};

static void check_flags(const struct kmt_object *o)
{
	REQUIRE(o->flags & KMT_LIVE);
	REQUIRE(!(o->flags & KMT_AUX));
	REQUIRE(o->size && o->addr + o->size >= o->addr);
	if (!(o->flags & KMT_LEAK))
		REQUIRE(!(o->flags & (KMT_NEW | KMT_INDIRECT | KMT_COVERED)));
	if (o->flags & KMT_LEAK)
		REQUIRE(kmt_needs_refs(o));
	if (kmt_space(o) != KMT_VIRT)
		REQUIRE(!(o->flags & (KMT_AREAS | KMT_ALIAS)));
}

/* Whether @o has an auxiliary cell of this kind. */
static bool has_aux(struct sim *s, const struct kmt_object *o, u16 kind)
{
	struct kmt_tree *tree = kmt_aux_tree(&s->core, o->addr);
	struct rb_node *n;

	for (n = rb_first(&tree->root); n; n = rb_next(n)) {
		struct kmt_object *aux = rb_entry(n, struct kmt_object, node);

		if (aux->addr == o->addr && (aux->flags & kind))
			return true;
	}
	return false;
}

static void count_wide(struct sim *s, const struct kmt_object *o,
		       struct census *c)
{
	unsigned long region = o->addr >> KMT_REGION_SHIFT;
	unsigned long last = (o->addr + o->size - 1) >> KMT_REGION_SHIFT;

	if (!kmt_in(&s->core.linear, o->addr))
		return;
	for (; region <= last; region++)
		c->wide[kmt_shard_of(&s->core, region << KMT_REGION_SHIFT) -
			s->core.shards]++;
}

static void check_tree(struct sim *s, struct kmt_tree *tree, struct census *c)
{
	const struct kmt_object *before = NULL;
	struct rb_node *n;
	u32 nr = 0;

	REQUIRE(!tree->lock.locked);
	for (n = rb_first(&tree->root); n; n = rb_next(n)) {
		struct kmt_object *o = rb_entry(n, struct kmt_object, node);
		enum kmt_space space = kmt_space(o);

		if (before)
			REQUIRE(before->addr + before->size <= o->addr);
		before = o;
		REQUIRE(kmt_tree_of(&s->core, space, o->addr, o->size) == tree);
		if (!o->flags) {
			REQUIRE(o->size);
			REQUIRE(!kmt_is_wide(&s->core, tree));
			c->vacant++;
			continue;
		}
		check_flags(o);
		if (o->flags & KMT_AREAS)
			REQUIRE(has_aux(s, o, KMT_AREAS));
		if (o->flags & KMT_ALIAS)
			REQUIRE(has_aux(s, o, KMT_ALIAS));
		c->live[c->nr_live++] = o;
		if (tree == &s->core.wide[space]) {
			REQUIRE(kmt_in_pair(&s->core.wide_range[space],
					    o->addr));
			REQUIRE(kmt_in_pair(&s->core.wide_range[space],
					    o->addr + o->size - 1));
			if (space == KMT_VIRT)
				count_wide(s, o, c);
		}
		nr++;
	}
	REQUIRE(!kmt_is_wide(&s->core, tree) || nr == tree->nr);
	REQUIRE(tree->last == rb_last(&tree->root));
	c->objects += nr;
}

static void check_aux(struct sim *s, struct kmt_tree *tree, struct census *c)
{
	const struct kmt_object *before = NULL;
	unsigned long nr = 0;
	struct rb_node *n;

	for (n = rb_first(&tree->root); n; n = rb_next(n)) {
		struct kmt_object *aux = rb_entry(n, struct kmt_object, node);
		u16 kind = aux->flags & (KMT_AREAS | KMT_ALIAS);
		struct kmt_object owner;

		REQUIRE(aux->flags == (KMT_AUX | kind));
		REQUIRE(kind == KMT_AREAS || kind == KMT_ALIAS);
		REQUIRE(kmt_lookup(&s->core, KMT_VIRT, aux->addr, &owner));
		REQUIRE(owner.addr == aux->addr && (owner.flags & kind));
		if (kind == KMT_AREAS)
			REQUIRE(aux->size && aux->start >= owner.addr &&
				aux->start + aux->size <=
				owner.addr + owner.size);
		REQUIRE(tree == kmt_aux_tree(&s->core, aux->addr));
		if (before)
			REQUIRE(before->addr <= aux->addr);
		before = aux;
		nr++;
	}
	REQUIRE(nr == tree->nr);
	c->aux += nr;
}

static unsigned long check_list(struct sim *s, struct kmt_object *o)
{
	unsigned long nr = 0;

	for (; o; o = (struct kmt_object *)o->node.rb_left) {
		REQUIRE(!o->flags && !o->size);
		REQUIRE(++nr <= s->core.pool.cells);
	}
	return nr;
}

static bool is_listed(const struct kmt_chunk *chunk,
		      const struct hlist_head *list)
{
	const struct hlist_node *n;

	for (n = list->first; n; n = n->next)
		if (n == &chunk->peers)
			return true;
	return false;
}

/* Checks a chunk; returns its number of free cells. */
static unsigned long check_chunk(struct sim *s, struct kmt_chunk *chunk)
{
	struct kmt_object *o;
	unsigned int fill;

	REQUIRE(*chunk->link == chunk);
	REQUIRE(!chunk->closed);
	for (o = chunk->free; o; o = (struct kmt_object *)o->node.rb_left)
		REQUIRE(kmt_chunk_of(o) == chunk);
	REQUIRE(check_list(s, chunk->free) == chunk->nr_free);
	for (fill = 0; fill < KMT_FREE_CLASSES; fill++) {
		bool here = fill == KMT_ALL_FREE ?
			    chunk->nr_free == chunk->nr && !chunk->stays :
			    chunk->nr_free >> fill == 1 &&
			    (chunk->nr_free < chunk->nr || chunk->stays);

		REQUIRE(is_listed(chunk, &s->core.pool.by_free[fill]) == here);
	}
	return chunk->nr_free;
}

static void check_pool(struct sim *s, struct census *c)
{
	struct kmt_pool *pool = &s->core.pool;
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned long nr_chunks = 0, free = 0;
	int cpu;

	for (chunk = pool->chunks; chunk; chunk = chunk->next) {
		nr_chunks++;
		c->cells += chunk->nr;
		free += check_chunk(s, chunk);
	}
	kmt_for_each_cell(&s->core, chunk, o)
		if (o->flags)
			c->in_use++;
		else if (!o->size)
			c->blank++;
	REQUIRE(nr_chunks == pool->nr_chunks);
	REQUIRE(c->cells == pool->cells);
	REQUIRE(c->in_use == c->objects + c->aux);

	REQUIRE(free == pool->nr_free);
	for_each_possible_cpu(cpu) {
		unsigned long nr = check_list(s, pool->caches[cpu].free);

		REQUIRE(nr == pool->caches[cpu].nr);
		free += nr;
	}
	REQUIRE(free == kmt_pool_free_cells(&s->core));
	REQUIRE(free == c->blank);
	REQUIRE(c->vacant == kmt_vacant(&s->core));
	REQUIRE(free + c->objects + c->aux + c->vacant == pool->cells);
}

static int by_place(const void *a, const void *b)
{
	const struct kmt_object *x = *(const struct kmt_object **)a;
	const struct kmt_object *y = *(const struct kmt_object **)b;

	if (kmt_space(x) != kmt_space(y))
		return kmt_space(x) < kmt_space(y) ? -1 : 1;
	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* Checks that live objects of one space do not overlap, across all trees. */
static void check_overlap(struct census *c)
{
	unsigned long i;

	qsort(c->live, c->nr_live, sizeof(*c->live), by_place);
	for (i = 1; i < c->nr_live; i++) {
		const struct kmt_object *o = c->live[i - 1];

		REQUIRE(kmt_space(o) != kmt_space(c->live[i]) ||
			o->addr + o->size <= c->live[i]->addr);
	}
}

unsigned long check_core(struct sim *s)
{
	struct census c = {};
	u32 i;

	c.live = calloc(s->core.pool.cells + 1, sizeof(*c.live));
	for (i = 0; i <= s->core.last_shard; i++)
		check_tree(s, &s->core.shards[i], &c);
	for (i = 0; i < KMT_NR_SPACES; i++)
		check_tree(s, &s->core.wide[i], &c);
	for (i = 0; i <= s->core.last_shard; i++)
		REQUIRE(s->core.shards[i].wide == c.wide[i]);
	for (i = 0; i < KMT_AUX_TREES; i++)
		check_aux(s, &s->core.aux[i], &c);
	check_pool(s, &c);
	check_overlap(&c);
	free(c.live);
	return c.objects;
}
