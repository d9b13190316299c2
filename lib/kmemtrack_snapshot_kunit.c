// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of kmemtrack: a reference moves past the marker at any step of a scan
 * that is confirmed by a snapshot. It moves whenever the marker lets others run.
 */
#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "../mm/kmemtrack/glue.h"

#define NR_SHARDS	64
#define NR_ROOTS	64
#define NR_GREY		16
#define NR_HELPERS	2
#define NR_BLOCKS	64
#define MAX_CHUNKS	16

/* Size of a block; all of it is read. */
#define BLOCK		256

/* Offset of an unaligned reference from a multiple of a word. */
#define ODD		3

/**
 * struct moving - a tracker, its memory, and a reference on the move
 * @core: tracker
 * @shards: of it
 * @caches: of it
 * @m: its marker
 * @grey: mark stack of that
 * @seen_cache: table of that
 * @helpers: markers of the snapshot
 * @helper_grey: their mark stacks
 * @filter: for references to suspects
 * @v: verdict
 * @roots: all there are
 * @chunks: memory of the tracker
 * @nr_chunks: how many
 * @blocks: that the roots refer to
 * @target: what is referred to
 * @lost: what nothing refers to
 * @step: steps so far
 * @moves: the reference is moved at this step, never if negative
 * @every: number of steps from one move to the next
 * @odd: the reference is at no multiple of a word
 * @at_end: it is in the last block, and not in the first
 */
struct moving {
	struct kmt_core core;
	struct kmt_tree shards[NR_SHARDS];
	struct kmt_cell_cache caches[NR_CPUS];
	struct kmt_marker m;
	struct kmt_mark_entry grey[NR_GREY];
	unsigned long seen_cache[BIT(KMT_SEEN_SHIFT)];
	struct kmt_marker helpers[NR_HELPERS];
	struct kmt_mark_entry helper_grey[NR_HELPERS][NR_GREY];
	struct kmt_filter filter;
	struct kmt_verdict v;
	unsigned long roots[NR_ROOTS];
	unsigned long chunks[MAX_CHUNKS];
	unsigned int nr_chunks;
	char *blocks[NR_BLOCKS];
	void *target;
	void *lost;
	long step;
	long moves;
	long every;
	bool odd;
	bool at_end;
};

struct word {
	unsigned long value;
} __packed;

static const struct kmt_origin nobody;

static void *moving_chunk(struct kmt_core *core, gfp_t gfp, size_t *bytes)
{
	struct moving *f = container_of(core, struct moving, core);

	if (f->nr_chunks == MAX_CHUNKS)
		return NULL;
	*bytes = PAGE_SIZE;
	f->chunks[f->nr_chunks] = __get_free_page(gfp);
	return (void *)f->chunks[f->nr_chunks++];
}

static struct word *place(struct moving *f, bool end)
{
	char *block = f->blocks[end ? NR_BLOCKS - 1 : 0];

	return (struct word *)(block + BLOCK / 2 + (f->odd ? ODD : 0));
}

/* Stores the reference in the new place first: it always is in one place. */
static void move(struct moving *f)
{
	place(f, !f->at_end)->value = (unsigned long)f->target;
	barrier();
	place(f, f->at_end)->value = 0;
	f->at_end = !f->at_end;
}

static bool moving_relax(struct kmt_marker *m)
{
	struct moving *f = container_of(m->core, struct moving, core);
	long step = f->step++ - f->moves;

	/* Without a budget, the marker calls this at each step. */
	m->budget = 0;
	/* During a snapshot nothing else runs. */
	if (!m->world_stopped && f->moves >= 0 && step >= 0 && !(step % f->every))
		move(f);
	return false;
}

static const struct kmt_ops moving_ops = {
	.chunk_alloc	= moving_chunk,
	.relax		= moving_relax,
};

static void *tracked(struct kunit *test, size_t size)
{
	struct moving *f = test->priv;
	void *p = kunit_kzalloc(test, size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_ASSERT_EQ(test, kmt_insert(&f->core, KMT_VIRT, (unsigned long)p,
					 size, 1, &nobody, GFP_KERNEL), 0);
	return p;
}

static int moving_init(struct kunit *test)
{
	struct moving *f = vzalloc(sizeof(*f));
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	test->priv = f;
	kmt_core_init(&f->core, &moving_ops, f->shards, NR_SHARDS, f->caches,
		      ARRAY_SIZE(f->caches));
	f->core.linear = kmt_core.linear;
	kmt_marker_init(&f->m, &f->core, f->grey, NR_GREY, f->seen_cache);
	for (i = 0; i < NR_BLOCKS; i++) {
		f->blocks[i] = tracked(test, BLOCK);
		f->roots[i] = (unsigned long)f->blocks[i];
	}
	f->filter.odd = true;
	f->target = tracked(test, 40);
	f->lost = tracked(test, 40);
	return 0;
}

static void moving_exit(struct kunit *test)
{
	struct moving *f = test->priv;

	if (!f)
		return;
	while (f->nr_chunks)
		free_page(f->chunks[--f->nr_chunks]);
	vfree(f);
}

/* Reads each root on its own, so that others run in between. */
static void mark_roots(struct moving *f, struct kmt_marker *m)
{
	unsigned int i;

	for (i = 0; i < NR_ROOTS; i++) {
		if (!kmt_take_unit(m))
			continue;
		kmt_mark_range(m, (unsigned long)&f->roots[i],
			       (unsigned long)&f->roots[i + 1]);
	}
}

/* One thread does the work of all helpers, one after the other. */
static void snapshot(struct moving *f)
{
	atomic_long_t taken = ATOMIC_LONG_INIT(0);
	bool overflow = false;
	unsigned int i;

	for (i = 0; i < NR_HELPERS; i++) {
		kmt_marker_join_stopped(&f->helpers[i], &f->m, &f->filter,
					f->helper_grey[i], NR_GREY);
		kmt_share_units(&f->helpers[i], &taken);
	}
	for (i = 0; i < NR_HELPERS; i++) {
		mark_roots(f, &f->helpers[i]);
		kmt_recheck(&f->helpers[i]);
		overflow |= f->helpers[i].stack.overflow;
	}
	if (overflow)
		kmt_read_acquitted(&f->helpers[0]);
}

static void look_at_bytes(struct moving *f)
{
	kmt_update_suspects(&f->m, &f->filter, &f->v);
	if (!f->v.suspects)
		return;
	kmt_marker_set_search(&f->m, KMT_MODE_BYTES, &f->filter);
	mark_roots(f, &f->m);
	kmt_recheck_bytes(&f->m);
	kmt_marker_set_follow(&f->m);
}

static void scan(struct moving *f)
{
	f->step = 0;
	kmt_mark_begin(&f->m);
	mark_roots(f, &f->m);
	kmt_mark_sweep(&f->m);
	kmt_suspect_for_search(&f->m, &f->filter, &f->v);
	if (f->v.suspects)
		snapshot(f);
	look_at_bytes(f);
	kmt_judge(&f->m, &f->v);
	kmt_mark_end(&f->m);
}

static bool is_leak(struct moving *f, const void *p)
{
	struct kmt_object o;

	return kmt_lookup(&f->core, KMT_VIRT, (unsigned long)p, &o) &&
	       (o.flags & KMT_LEAK);
}

static bool is_reached(struct moving *f, const void *p)
{
	struct kmt_object o;

	return kmt_lookup(&f->core, KMT_VIRT, (unsigned long)p, &o) &&
	       kmt_reached(&o, f->core.epoch);
}

/* Replaces the lost block with a new one, which has to be found again. */
static void lose_another(struct kunit *test)
{
	struct moving *f = test->priv;

	KUNIT_ASSERT_TRUE(test, kmt_free(&f->core, KMT_VIRT,
					 (unsigned long)f->lost));
	f->lost = tracked(test, 40);
}

/* Makes one scan for each step at which the first move can be. */
static void move_at_any_step(struct kunit *test, bool odd, long every)
{
	struct moving *f = test->priv;
	unsigned int wrong = 0, missed = 0;
	long moves, steps;

	f->odd = odd;
	f->every = every;
	place(f, false)->value = (unsigned long)f->target;
	f->moves = -1;
	scan(f);
	steps = f->step;
	KUNIT_ASSERT_GT(test, steps, NR_ROOTS);
	KUNIT_ASSERT_EQ(test, f->v.leaks, 1);
	for (moves = 0; moves <= steps; moves++) {
		lose_another(test);
		f->moves = moves;
		scan(f);
		wrong += is_leak(f, f->target);
		missed += !is_leak(f, f->lost);
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, missed, 0);
	/* Without the reference that moved, the block is a leak. */
	lose_another(test);
	f->moves = -1;
	place(f, f->at_end)->value = 0;
	scan(f);
	KUNIT_EXPECT_TRUE(test, is_leak(f, f->target));
	KUNIT_EXPECT_TRUE(test, is_leak(f, f->lost));
}

static void moved_once(struct kunit *test)
{
	move_at_any_step(test, false, LONG_MAX);
}

static void moved_on_and_on(struct kunit *test)
{
	move_at_any_step(test, false, 1);
}

static void moved_now_and_then(struct kunit *test)
{
	move_at_any_step(test, false, 7);
}

/* A concurrent mark may miss the reference in each place; a snapshot finds it. */
static void seen_by_no_mark(struct kunit *test)
{
	struct moving *f = test->priv;
	unsigned int suspected = 0;
	long moves;

	f->every = LONG_MAX;
	place(f, true)->value = (unsigned long)f->target;
	f->at_end = true;
	for (moves = 0; moves < 4 * NR_ROOTS; moves++) {
		f->moves = moves;
		f->step = 0;
		if (!f->at_end)
			move(f);
		kmt_mark_begin(&f->m);
		mark_roots(f, &f->m);
		kmt_mark_sweep(&f->m);
		suspected += !is_reached(f, f->target);
		kmt_mark_end(&f->m);
	}
	KUNIT_EXPECT_GT(test, suspected, 0);
}

/* Unaligned references that do not move. */
static void odd_places(struct kunit *test)
{
	struct moving *f = test->priv;
	void *chain[4], *holder;
	unsigned int i;

	f->odd = true;
	f->moves = -1;
	place(f, true)->value = (unsigned long)f->target;
	holder = f->target;
	for (i = 0; i < ARRAY_SIZE(chain); i++) {
		struct word *w = (struct word *)((char *)holder + ODD + i);

		chain[i] = tracked(test, 40);
		w->value = (unsigned long)chain[i];
		holder = chain[i];
	}
	scan(f);
	KUNIT_EXPECT_EQ(test, f->v.leaks, 1);
	KUNIT_EXPECT_TRUE(test, is_leak(f, f->lost));
	place(f, true)->value = 0;
	scan(f);
	KUNIT_EXPECT_EQ(test, f->v.leaks, 2 + ARRAY_SIZE(chain));
}

static struct kunit_case snapshot_cases[] = {
	KUNIT_CASE(moved_once),
	KUNIT_CASE(moved_on_and_on),
	KUNIT_CASE(moved_now_and_then),
	KUNIT_CASE(seen_by_no_mark),
	KUNIT_CASE(odd_places),
	{}
};

static struct kunit_suite snapshot_suite = {
	.name = "kmemtrack_snapshot",
	.init = moving_init,
	.exit = moving_exit,
	.test_cases = snapshot_cases,
};

kunit_test_suite(snapshot_suite);
