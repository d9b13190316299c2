// SPDX-License-Identifier: GPL-2.0
/*
 * A snapshot that takes too long is given up at any step of any marker. The
 * references counted until then must not affect a second snapshot, nor the marks of
 * a scan without snapshot.
 */
#include "sim.h"

#define BLOCKS	8
#define CHAIN(i)	BLOCK(20 + (i))

/* Number of steps that the markers do after the stop. */
static unsigned int left;
static bool stopped;

/* All of it once with blocks that are summed up, and once without. */

static bool give_up(struct sim *s)
{
	return stopped && (!left || !--left);
}

static void on_phase(struct sim *s, enum sim_phase phase)
{
	stopped = phase == SIM_SUSPECTED;
}

/*
 * CHAIN(0) has a late reference, CHAIN(1) one from CHAIN(0), and so on. BLOCK(1)
 * needs two references and has one; BLOCK(2) has two. BLOCK(3) has none. HOLDER has
 * two, one of which counts for TARGET.
 */
#define HOLDER	BLOCK(5)
#define TARGET	BLOCK(6)

/* Lets an earlier scan sum up the chain, which is referenced then. */
static void sum_up(struct sim *s)
{
	sim_alloc(s, BLOCK(3), 64);
	sim_put(ROOT(3), CHAIN(0));
	assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
	assert_int_equal(s->v.leaks, 1);
	sim_put(ROOT(3), 0);
	sim_free(s, BLOCK(3), 64);
}

static struct sim *new_heap(unsigned int markers, unsigned int stack)
{
	struct sim *s = sim_new(4, 100, stack);
	unsigned int i;

	s->markers = markers;
	for (i = 0; i < BLOCKS; i++)
		sim_alloc(s, CHAIN(i), 1024);
	for (i = 0; i + 1 < BLOCKS; i++)
		sim_put(CHAIN(i) + 8 * i + 704, CHAIN(i + 1));
	sum_up(s);
	sim_alloc_min(s, BLOCK(1), 64, 2);
	sim_alloc_min(s, BLOCK(2), 64, 2);
	sim_alloc(s, BLOCK(3), 64);
	/* These are read early and late. */
	sim_alloc(s, BLOCK(4), 64);
	sim_alloc(s, TARGET, 64);
	sim_alloc(s, HOLDER, 64);
	kmt_add_alias(&s->core, HOLDER, TARGET, GFP_KERNEL);
	sim_put(ROOT(0), HOLDER);
	sim_put(ROOT(9), BLOCK(4));
	sim_put_late(s, ROOT(1), BLOCK(1));
	sim_put_late(s, ROOT(2), BLOCK(2));
	sim_put_late(s, ROOT(3), CHAIN(0));
	sim_put_late(s, BLOCK(4), HOLDER);
	sim_put_late(s, ROOT(63), BLOCK(2));
	s->fine = true;
	s->on_relax = give_up;
	s->on_phase = on_phase;
	stopped = false;
	return s;
}

static void check_heap(struct sim *s)
{
	unsigned int i;

	assert_int_equal(s->v.leaks, 2);
	assert_true(sim_leak(s, BLOCK(1)));
	assert_true(sim_leak(s, BLOCK(3)));
	for (i = 0; i < BLOCKS; i++)
		assert_false(sim_leak(s, CHAIN(i)));
	check_core(s);
}

/* Takes another snapshot with the same mark. */
static void again(struct sim *s)
{
	stopped = false;
	s->on_relax = NULL;
	assert_true(sim_confirm(s, ROOT(0), ROOT(64)));
}

/* Takes no other snapshot: further marks have to confirm the suspects. */
static void wait(struct sim *s)
{
	s->on_relax = NULL;
	kmt_suspect_for_wait(&s->m, &s->v);
	assert_true(s->v.suspects >= 2);
	kmt_mark_end(&s->m);
	s->now += 1000;
	sim_mark(s, ROOT(0), ROOT(64));
	kmt_mark_doubtful(&s->m, s->now, 1000);
	kmt_judge(&s->m, &s->v);
	kmt_mark_end(&s->m);
}

/* Uses nothing of the mark but the blocks that it reached. */
static void forget(struct sim *s)
{
	s->on_relax = NULL;
	kmt_mark_end(&s->m);
	assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
}

static void give_up_everywhere(void (*then)(struct sim *s),
			       unsigned int markers, unsigned int stack)
{
	unsigned int step;
	bool done = false;

	for (step = 1; !done; step++) {
		struct sim *s = new_heap(markers, stack);

		left = step;
		done = sim_snapshot(s, ROOT(0), ROOT(64));
		assert_int_equal(s->suspects, 4 + BLOCKS);
		if (!done)
			then(s);
		check_heap(s);
		sim_delete(s);
	}
	assert_in_range(step, 30, 1000);
}

static void test_again(void **state)
{
	unsigned int markers;

	for (markers = 1; markers <= SIM_MARKERS; markers++) {
		give_up_everywhere(again, markers, 1);
		give_up_everywhere(again, markers, 50);
	}
}

static void test_wait(void **state)
{
	unsigned int markers;

	for (markers = 1; markers <= SIM_MARKERS; markers++) {
		give_up_everywhere(wait, markers, 1);
		give_up_everywhere(wait, markers, 50);
	}
}

static void test_forget(void **state)
{
	give_up_everywhere(forget, 1, 2);
	give_up_everywhere(forget, 3, 2);
}

/* Removes references that were counted before the next snapshot. */
static void gone(struct sim *s)
{
	unsigned int i;

	/*
	 * Blocks that were acquitted stay so. All others are judged by the next
	 * snapshot.
	 */
	sim_put(ROOT(1), 0);
	sim_put(ROOT(2), 0);
	sim_put(ROOT(63), BLOCK(1));
	stopped = false;
	s->on_relax = NULL;
	i = sim_white(s, BLOCK(2));
	assert_true(sim_confirm(s, ROOT(0), ROOT(64)));
	/* One reference before the retry and another one after it do not add up. */
	assert_true(sim_leak(s, BLOCK(1)));
	assert_int_equal(sim_leak(s, BLOCK(2)), i);
	/* The next scan judges all blocks again. */
	assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
	assert_int_equal(s->v.leaks, 3);
	assert_true(sim_leak(s, BLOCK(2)));
	sim_put(ROOT(2), BLOCK(2));
	sim_put(ROOT(62), BLOCK(2));
	sim_put(ROOT(63), 0);
	assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
}

static void test_gone(void **state)
{
	unsigned int markers;

	for (markers = 1; markers <= SIM_MARKERS; markers++)
		give_up_everywhere(gone, markers, 3);
}

/* After a snapshot is given up, each marker stops at the next step. */
static void at_once(unsigned int nr, unsigned long size, unsigned int per_step)
{
	unsigned int step, i;
	bool done = false;

	for (step = 1; !done; step++) {
		struct sim *s = sim_new(4, 200, 9);

		for (i = 0; i < nr; i++)
			sim_alloc_min(s, SIM_LINEAR + size * i, size,
				      KMT_MIN_GREY);
		sim_alloc(s, SIM_VMALLOC, 64);
		s->fine = true;
		s->on_relax = give_up;
		s->on_phase = on_phase;
		stopped = false;
		left = step;
		done = sim_snapshot(s, ROOT(0), ROOT(64));
		if (!done)
			assert_in_range(s->stop_marker[0].stats.words, 0,
					64 + step * per_step);
		sim_delete(s);
	}
	assert_true(step > 60);
}

static void test_at_once(void **state)
{
	/*
	 * The blocks share a few pages, each of which is checked once: four blocks
	 * at a step.
	 */
	at_once(400, 64, 4 * 64 / W);
	at_once(1, 64 * SIM_PAGE, SIM_PAGE / W);
}

/* Gives up during kmt_suspect_for_search() or kmt_update_suspects(): no leak is reported. */
static bool count_down(struct sim *s)
{
	return !left || !--left;
}

static void test_anywhere(void **state)
{
	unsigned int step, i, given_up = 0;
	bool done = false;

	for (step = 1; !done; step++) {
		struct sim *s = new_heap(2, 3);

		s->on_relax = count_down;
		s->on_phase = NULL;
		left = step;
		done = sim_snapshot(s, ROOT(0), ROOT(64)) && !s->m.stopped;
		given_up += !done;
		/* Wherever it stopped, no referenced block is taken for a leak. */
		for (i = 0; i < BLOCKS; i++)
			assert_false(sim_leak(s, CHAIN(i)));
		assert_false(sim_leak(s, BLOCK(2)));
		check_core(s);
		kmt_mark_end(&s->m);
		s->on_relax = NULL;
		kmt_marker_set_follow(&s->m);
		/* The late references may be missing so far. */
		assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
		assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
		check_heap(s);
		sim_delete(s);
	}
	assert_true(given_up > 100);
}

/* Gives up a mark that reads a cleared leak, or the clearing: the leak stays unchanged. */
static void test_cleared(void **state)
{
	const unsigned long size = 4 * SIM_PAGE;
	unsigned int step, i, given_up = 0;
	bool done = false;

	for (step = 1; !done; step++) {
		struct sim *s = sim_new(4, 100, 3);

		sim_alloc(s, SIM_VMALLOC, size);
		for (i = 0; i < size / W; i++)
			sim_put(SIM_VMALLOC + W * i, i + 1);
		assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
		assert_int_equal(s->v.leaks, 1);
		kmt_mark_end(&s->m);
		kmt_marker_set_follow(&s->m);
		s->fine = true;
		s->m.budget = 0;
		s->on_relax = count_down;
		left = step;
		if (kmt_clear(&s->m, s->now)) {
			sim_mark(s, ROOT(0), ROOT(64));
			kmt_mark_end(&s->m);
		} else {
			assert_true(s->m.stopped);
			assert_true(sim_leak(s, SIM_VMALLOC));
			s->m.stopped = false;
			s->on_relax = NULL;
			assert_int_equal(kmt_clear(&s->m, s->now), 1);
		}
		done = !s->m.stopped && s->on_relax;
		given_up += !done;
		s->on_relax = NULL;
		assert_int_equal(sim_object(s, KMT_VIRT, SIM_VMALLOC).min_refs,
				 KMT_MIN_CLEARED);
		/* A whole mark finds the contents unchanged. */
		kmt_marker_set_follow(&s->m);
		sim_mark(s, ROOT(0), ROOT(64));
		kmt_mark_end(&s->m);
		assert_int_equal(sim_object(s, KMT_VIRT, SIM_VMALLOC).min_refs,
				 KMT_MIN_CLEARED);
		sim_delete(s);
	}
	assert_true(given_up > 3);
}

/* A judgement is not given up half-way: all leaks of the scan are new, or none is a leak. */
static void test_judge(void **state)
{
	unsigned int step, i, leaks, given_up = 0;
	const unsigned int nr = 3 * KMT_PAGE_CELLS;
	bool done = false;

	for (step = 1; !done; step++) {
		struct sim *s = sim_new(16, 100, 3);

		for (i = 0; i < nr; i++)
			sim_alloc(s, SIM_LINEAR + 64 * i, 64);
		s->fine = true;
		s->on_relax = count_down;
		left = step;
		done = sim_snapshot(s, ROOT(0), ROOT(64)) && !s->m.stopped;
		given_up += !done;
		for (i = leaks = 0; i < nr; i++)
			leaks += sim_leak(s, SIM_LINEAR + 64 * i);
		assert_true(!leaks || leaks == nr);
		if (leaks)
			assert_int_equal(s->v.fresh, nr);
		s->on_relax = NULL;
		sim_delete(s);
	}
	assert_true(given_up > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_anywhere),
		cmocka_unit_test(test_cleared),
		cmocka_unit_test(test_judge),
	};

	return cmocka_run_group_tests_name("give up", tests, NULL, NULL);
}
