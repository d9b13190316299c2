// SPDX-License-Identifier: GPL-2.0
#include "steps.h"

#define REGION		(1ul << KMT_REGION_SHIFT)
/* Blocks are in this many regions of the linear map, physical ones behind them. */
#define REGIONS		6
#define PHYS_OFFSET	(16 * REGION)

/* Sizes of mark stacks, many of which overflow. */
static const unsigned int stacks[] = { 1, 1, 1, 2, 3, 7, 30, 300 };

u32 pick(struct source *src, u32 n)
{
	if (!src->fuzzed)
		return sim_random(&src->state) % n;
	if (!src->left)
		return 0;
	src->left--;
	if (n <= 256 || !src->left)
		return *src->data++ % n;
	src->left--;
	src->data += 2;
	return (src->data[-2] << 8 | src->data[-1]) % n;
}

static unsigned int room(struct steps *t)
{
	unsigned int i, nr = 0;

	for (i = 0; i < MAX_BLOCKS; i++)
		nr += !t->m.b[i].used;
	return nr;
}

struct block *pick_block(struct steps *t)
{
	unsigned int used = MAX_BLOCKS - room(t), nth, i;

	if (!used)
		return NULL;
	nth = pick(&t->src, used);
	for (i = 0; i < MAX_BLOCKS; i++)
		if (t->m.b[i].used && !nth--)
			break;
	return &t->m.b[i];
}

/* With at most this many chunks the tracker surely finds a vacant record. */
#define FEW_CHUNKS	32

/* Whether this CPU can get a cell for a new record. */
enum answer may_get_cell(struct steps *t)
{
	struct sim *s = t->m.s;

	if (s->chunks_left || s->core.pool.nr_free || s->caches[host_cpu].nr)
		return YES;
	if (!kmt_vacant(&s->core))
		return NO;
	return s->nr_chunks <= FEW_CHUNKS ? YES : OPEN;
}

void check_cell(struct steps *t, enum answer expected, bool got)
{
	t->m.cells++;
	t->m.open_cells += expected == OPEN;
	AGREE(expected == OPEN || got == (expected == YES));
}

static struct block *unused_block(struct steps *t)
{
	unsigned int i;

	for (i = 0; i < MAX_BLOCKS; i++)
		if (!t->m.b[i].used)
			return &t->m.b[i];
	return NULL;
}

static bool overlaps(const struct block *b, enum kmt_space space,
		     unsigned long addr, unsigned long size)
{
	return b->used && b->space == space && addr < b->addr + b->size &&
	       b->addr < addr + size;
}

/* Chooses the place of a new block. */
static void pick_place(struct steps *t, struct block *n)
{
	struct source *src = &t->src;
	unsigned int kind = pick(src, 16);

	n->space = KMT_VIRT;
	n->size = 1 + pick(src, pick(src, 4) ? 96 : 1500);
	n->addr = SIM_LINEAR + pick(src, REGIONS) * REGION;
	if (kind < 7) {
		n->addr += 8 * pick(src, 512);
	} else if (kind < 9) {
		/* Near the border of a region. */
		n->addr += REGION - 8 * pick(src, 64);
	} else if (kind < 10) {
		n->size = REGION / 2 + 8 * pick(src, 3 * REGION / 8);
		n->addr += 8 * pick(src, REGION / 8);
	} else if (kind < 12) {
		n->addr = SIM_VMALLOC + SIM_PAGE * pick(src, 16);
		n->size = SIM_PAGE * (1 + pick(src, 3));
	} else if (kind < 14) {
		n->space = KMT_PERCPU;
		n->addr = pick(src, 2) ? SIM_PERCPU :
					 SIM_PERCPU_FAR + 0x2000;
		n->addr += 8 * pick(src, 256);
		n->size = 8 + pick(src, 64);
	} else if (kind < 15) {
		n->space = KMT_PHYS;
		n->addr = SIM_PHYS + PHYS_OFFSET + 8 * pick(src, 1024);
	} else {
		n->space = KMT_ROOT;
		n->addr = ROOT(ROOT_WORDS + pick(src, 1000));
	}
}

u8 pick_min(struct steps *t, enum kmt_space space)
{
	static const u8 mins[] = {
		1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 0, KMT_MIN_BLACK
	};

	/* Physical blocks and sections are never referred to. */
	if (space == KMT_PHYS || space == KMT_ROOT)
		return KMT_MIN_GREY;
	return mins[pick(&t->src, ARRAY_SIZE(mins))];
}

/* The tracker must report each stale block that it drops exactly once. */
static void note_eviction(struct sim *s, enum kmt_event ev,
			  const struct kmt_object *old,
			  const struct kmt_object *new)
{
	struct block *b = oracle_find(s->priv, kmt_space(new), old->addr);

	AGREE(ev == KMT_EV_OVERLAP && kmt_space(old) == kmt_space(new));
	AGREE(b && b->addr == old->addr && b->size == old->size);
	AGREE(overlaps(b, kmt_space(new), new->addr, new->size));
	AGREE(!b->evicted);
	b->evicted = true;
}

/* Inserts @place into the tracker; returns whether there was a cell for it. */
static bool insert(struct steps *t, const struct block *place,
		   unsigned int in_the_way)
{
	struct sim *s = t->m.s;
	enum answer cell = in_the_way ? YES : may_get_cell(t);
	int ret;

	s->on_warn = note_eviction;
	ret = sim_insert(s, place->space, place->addr, place->size, place->min);
	s->on_warn = NULL;
	AGREE(!ret || ret == -ENOMEM);
	check_cell(t, cell, !ret);
	return !ret;
}

/* Blocks that @place overlaps were freed without a call of a hook. */
static void make_room(struct steps *t, const struct block *place)
{
	unsigned int i;

	for (i = 0; i < MAX_BLOCKS; i++) {
		struct block *b = &t->m.b[i];

		if (!overlaps(b, place->space, place->addr, place->size))
			continue;
		AGREE(b->evicted == !b->lost);
		t->m.events[KMT_EV_OVERLAP] += b->evicted;
		block_forget(b);
	}
}

static void add_block(struct steps *t, const struct block *place, bool lost)
{
	struct block *n = unused_block(t);

	AGREE(n);
	*n = *place;
	n->used = true;
	n->lost = lost;
	t->m.events[KMT_EV_LOST_NOMEM] += lost;
	if (!lost && n->space == KMT_VIRT)
		kmt_widen(&t->m.ever, n->addr, n->size);
	block_own(n, true);
}

static void do_alloc(struct steps *t)
{
	unsigned int i, nr = 0, old = 0;
	struct block place = {};
	bool known;

	pick_place(t, &place);
	place.min = pick_min(t, place.space);
	place.born = t->m.s->now;
	place.fate[FEWEST].count = t->m.marking ? KMT_COUNT_MAX : 0;
	place.fate[MOST].count = place.fate[FEWEST].count;
	for (i = 0; i < MAX_BLOCKS; i++) {
		struct block *b = &t->m.b[i];

		if (!overlaps(b, place.space, place.addr, place.size))
			continue;
		nr++;
		old += !b->lost;
		/* Mostly allocators hand out free memory only. */
		if (pick(&t->src, 8))
			return;
	}
	if (!nr && !unused_block(t))
		return;
	known = insert(t, &place, old);
	make_room(t, &place);
	add_block(t, &place, !known);
}

static void do_free(struct steps *t)
{
	struct block *b = pick_block(t);
	bool known;

	if (!b)
		return;
	known = kmt_free(&t->m.s->core, b->space, b->addr);
	AGREE(known == !b->lost);
	t->m.events[KMT_EV_FREE_UNKNOWN] += !known;
	block_forget(b);
}

/* Frees a random address: inside a block, or without a block. */
static void do_bad_free(struct steps *t)
{
	struct block place = {}, *b;

	pick_place(t, &place);
	b = oracle_find(&t->m, place.space, place.addr);
	if (b && b->addr == place.addr)
		return;
	AGREE(!kmt_free(&t->m.s->core, place.space, place.addr));
	t->m.events[b ? KMT_EV_FREE_INSIDE : KMT_EV_FREE_UNKNOWN]++;
}

/*
 * Adds the part [@lo, @hi) of @old that a partial free leaves; @cell tells whether the
 * tracker had a cell for its record.
 */
static void add_part(struct steps *t, const struct block *old,
		     unsigned long lo, unsigned long hi, enum answer cell)
{
	struct block *n = unused_block(t);
	struct kmt_object o;
	bool known;

	if (lo >= hi)
		return;
	AGREE(n);
	*n = *old;
	n->addr = lo;
	n->size = hi - lo;
	n->nr_areas = 0;
	n->whole = false;
	n->aliased = false;
	block_own(n, true);
	if (n->lost)
		return;
	known = kmt_lookup(&t->m.s->core, n->space, lo, &o);
	check_cell(t, cell, known);
	if (known)
		return;
	t->m.events[KMT_EV_LOST_NOMEM]++;
	n->lost = true;
	block_pardon(n);
}

/* One part gets the cell of @old, the other that of one of its annotations, if any. */
static void add_parts(struct steps *t, const struct block *old,
		      unsigned long lo, unsigned long hi, enum answer cell)
{
	if (old->addr >= lo || old->nr_areas || old->aliased)
		cell = YES;
	add_part(t, old, old->addr, lo, YES);
	add_part(t, old, hi, old->addr + old->size, cell);
}

static void do_free_part(struct steps *t)
{
	struct block *near = pick_block(t), cut[MAX_BLOCKS];
	struct source *src = &t->src;
	unsigned int i, nr = 0, known = 0;
	unsigned long lo, size;
	enum answer cell;

	if (!near)
		return;
	lo = near->addr + pick(src, min(near->size, 60000ul));
	if (!pick(src, 3))
		lo = near->addr;
	size = 1 + pick(src, min(near->size, 60000ul));
	if (!pick(src, 4))
		size = near->addr + near->size - lo + pick(src, 2) * 500;
	if (!size || room(t) < 16)
		return;
	for (i = 0; i < MAX_BLOCKS; i++) {
		struct block *b = &t->m.b[i];

		if (!overlaps(b, near->space, lo, size))
			continue;
		known += !b->lost;
		cut[nr++] = *b;
	}
	if (nr > 8)
		return;
	cell = may_get_cell(t);
	kmt_free_part(&t->m.s->core, near->space, lo, size, GFP_KERNEL);
	t->m.events[KMT_EV_FREE_UNKNOWN] += !known && near->space != KMT_PHYS;
	for (i = 0; i < MAX_BLOCKS; i++)
		if (overlaps(&t->m.b[i], cut[0].space, lo, size))
			block_forget(&t->m.b[i]);
	for (i = 0; i < nr; i++)
		add_parts(t, &cut[i], lo, lo + size, cell);
}

static void do_clear(struct steps *t)
{
	unsigned long nr = 0, i;

	for (i = 0; i < MAX_BLOCKS; i++) {
		struct block *b = &t->m.b[i];

		if (!b->used || b->lost || !b->fate[FEWEST].leak)
			continue;
		b->min = KMT_MIN_CLEARED;
		b->born = t->m.s->now;
		b->cleared = block_sum(b);
		block_pardon(b);
		nr++;
	}
	AGREE(kmt_clear(&t->m.s->m, t->m.s->now) == nr);
}

/* Events that may happen at any time: blocks are allocated, freed and written to. */
static void do_moving_step(struct steps *t)
{
	unsigned int what = pick(&t->src, 32);

	if (what < 6)
		do_alloc(t);
	else if (what < 26)
		step_write(t);
	else if (what < 28)
		do_free(t);
	else if (what < 30)
		do_free_part(t);
	else if (what < 31)
		sim_map(SIM_VMALLOC + SIM_PAGE * pick(&t->src, 18), SIM_PAGE,
			pick(&t->src, 2));
	else
		t->m.s->now += pick(&t->src, 400);
}

static void do_small_step(struct steps *t)
{
	struct source *src = &t->src;
	unsigned int what = pick(src, 64);

	host_cpu = pick(src, 4);
	if (what < 17)
		do_alloc(t);
	else if (what < 46)
		step_write(t);
	else if (what < 50)
		do_free(t);
	else if (what < 51)
		do_bad_free(t);
	else if (what < 53)
		do_free_part(t);
	else if (what < 55)
		step_annotate(t);
	else if (what < 57)
		step_area(t);
	else if (what < 59)
		step_alias(t);
	else if (what < 60)
		sim_map(SIM_VMALLOC + SIM_PAGE * pick(src, 18), SIM_PAGE,
			pick(src, 2));
	else if (what < 61)
		t->m.s->chunks_left = pick(src, 4);
	else
		t->m.s->now += pick(src, 400);
}

static void between(void *arg)
{
	struct steps *t = arg;
	unsigned int nr = pick(&t->src, 3);

	while (nr--)
		do_small_step(t);
	t->m.s->now += pick(&t->src, 3) * 300;
}

/* No annotations here: their effect depends on when they are made. */
static void during(void *arg, enum sim_phase phase)
{
	struct steps *t = arg;
	unsigned int nr = pick(&t->src, 8);

	while (nr--)
		if (phase == SIM_MARKED)
			do_small_step(t);
		else
			do_moving_step(t);
	check_core(t->m.s);
}

static void snapshot(struct steps *t)
{
	struct source *src = &t->src;
	struct sim *s = t->m.s;

	s->markers = 1 + pick(src, SIM_MARKERS);
	s->parallel = !src->fuzzed && !pick(src, 8);
	s->stop_stack = stacks[pick(src, ARRAY_SIZE(stacks))];
	s->filter.mask = (64 << 2 * pick(src, 2)) - 1;
	s->filter.bits = pick(src, 4) ? s->filter_bits : NULL;
	s->filter.pages = pick(src, 4) ? s->filter_pages : NULL;
	oracle_snapshot(&t->m, during, t);
}

void step(struct steps *t)
{
	unsigned int what = pick(&t->src, 24);

	if (what == 0) {
		t->m.s->helpers = 0;
		if (!t->src.fuzzed && !pick(&t->src, 6))
			t->m.s->helpers = 1 + pick(&t->src, SIM_HELPERS);
		t->m.s->later = pick(&t->src, 2);
		if (pick(&t->src, 3))
			snapshot(t);
		else
			oracle_scan(&t->m, 200, between, t);
		if (!pick(&t->src, 8))
			do_clear(t);
	} else {
		do_small_step(t);
	}
	t->nr++;
	check_core(t->m.s);
	oracle_compare(&t->m);
}

void steps_begin(struct steps *t)
{
	struct source *src = &t->src;

	memset(&t->m, 0, sizeof(t->m));
	t->nr = 0;
	host_cpu = 0;
	t->m.s = sim_new(1 + pick(src, 40), 3 + pick(src, 20),
			 stacks[pick(src, ARRAY_SIZE(stacks))]);
	t->m.s->priv = &t->m;
	t->m.s->more_roots = oracle_more_roots;
	t->m.ever = t->m.s->core.linear;
}

void steps_end(struct steps *t)
{
	struct sim *s = t->m.s;

	s->now += 1000;
	oracle_scan(&t->m, 200, between, t);
	check_core(s);
	host_cpu = 0;
	kmt_drop_space(&s->core, KMT_VIRT);
	kmt_drop_space(&s->core, KMT_PERCPU);
	kmt_drop_space(&s->core, KMT_PHYS);
	kmt_drop_space(&s->core, KMT_ROOT);
	check_core(s);
	AGREE(kmt_pool_free_cells(&s->core) + kmt_vacant(&s->core) ==
	      s->core.pool.cells);
	s->overlaps = t->m.events[KMT_EV_OVERLAP];
	sim_delete(s);
}
