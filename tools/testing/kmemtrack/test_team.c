// SPDX-License-Identifier: GPL-2.0
/* Several markers share a mark: it reaches the same blocks as one marker. */
#include "sim.h"

/* Blocks of 64 bytes. */
#define NODE(n)		(SIM_LINEAR + 64ul * (n))
#define NODES		20000

static void mark(struct sim *s)
{
	sim_mark(s, ROOT(0), ROOT(64));
	kmt_mark_end(&s->m);
}

/* A simulator with @nr blocks that have no references. */
static struct sim *new_nodes(unsigned int nr, unsigned int stack,
			     unsigned int helpers)
{
	struct sim *s = sim_new(63, 1000, stack);
	unsigned int i;

	s->helpers = helpers;
	for (i = 0; i < nr; i++)
		sim_alloc(s, NODE(i), 64);
	return s;
}

/* Checks that the first @nr blocks are reached, and the others are not. */
static void check_reached(struct sim *s, unsigned int nr, unsigned int all)
{
	unsigned int i;

	for (i = 0; i < all; i++)
		assert_int_equal(sim_white(s, NODE(i)), i >= nr);
}

/* Each block refers to two others. */
static void plant_tree(struct sim *s, unsigned int nr)
{
	unsigned int i;

	sim_put(ROOT(1), NODE(0));
	for (i = 1; i < nr; i++)
		sim_put(NODE((i - 1) / 2) + 8 * (i % 2), NODE(i) + 8);
}

/* Each block refers to the next and to the one before; roots refer to both ends. */
static void plant_list(struct sim *s, unsigned int nr)
{
	unsigned int i;

	sim_put(ROOT(1), NODE(0));
	sim_put(ROOT(2), NODE(nr - 1));
	for (i = 0; i < nr; i++) {
		if (i)
			sim_put(NODE(i), NODE(i - 1));
		if (i + 1 < nr)
			sim_put(NODE(i) + 8, NODE(i + 1));
	}
}

/* One block refers to all others. */
static void plant_array(struct sim *s, unsigned int nr)
{
	unsigned int i;

	sim_alloc(s, SIM_VMALLOC, 8 * nr);
	sim_put(ROOT(1), SIM_VMALLOC);
	for (i = 0; i < nr; i++)
		sim_put(SIM_VMALLOC + 8 * i, NODE(i) + i % 64);
}

/* Roots refer to all blocks. */
static void plant_roots(struct sim *s, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		sim_put(i < 63 ? ROOT(i) : NODE(i - 63), NODE(i));
}

static void (*const plants[])(struct sim *s, unsigned int nr) = {
	plant_tree, plant_list, plant_array, plant_roots,
};

static void run(unsigned int nr, unsigned int stack, unsigned int helpers)
{
	unsigned int i, round;

	for (i = 0; i < ARRAY_SIZE(plants); i++) {
		struct sim *s = new_nodes(nr + 50, stack, helpers);

		plants[i](s, nr);
		for (round = 0; round < 6; round++) {
			s->later = round % 2;
			mark(s);
			check_reached(s, nr, nr + 50);
		}
		assert_int_equal(sim_events(s, KMT_EV_FAULT), 0);
		check_core(s);
		sim_delete(s);
	}
}

static void test_shapes(void **state)
{
	unsigned int helpers;

	for (helpers = 1; helpers <= SIM_HELPERS; helpers++)
		run(3000, 256, helpers);
}

/* The sweep of the pool finds blocks that the mark stack had no room for. */
static void test_small_mark_stack(void **state)
{
	run(300, 1, 2);
	run(300, 2, 2);
	run(300, 7, 3);
}

/*
 * Helpers do some of the work, whatever the heap is like, and whichever marker
 * reads roots.
 */
static void test_help(void **state)
{
	unsigned int i, round;

	for (i = 0; i < 2 * ARRAY_SIZE(plants); i++) {
		struct sim *s = new_nodes(NODES, 256, 2);

		s->later = i % 2;
		plants[i / 2](s, NODES);
		for (round = 0; !s->helped && round < 1000; round++)
			mark(s);
		assert_true(s->helped);
		check_reached(s, NODES, NODES);
		sim_delete(s);
	}
}

/* The count of references does not depend on which marker counts them. */
static void test_counts(void **state)
{
	struct sim *s = sim_new(63, 1000, 64);
	unsigned int i, round;

	s->helpers = 3;
	for (i = 0; i < 200; i++)
		sim_alloc_min(s, NODE(i), 64, 1 + i % 7);
	for (i = 0; i < 64 * 6; i++)
		sim_put(ROOT(i), NODE(i % 64));
	for (round = 0; round < 200; round++) {
		s->later = round % 2;
		sim_mark(s, ROOT(0), ROOT(64 * 6));
		kmt_mark_end(&s->m);
		for (i = 0; i < 200; i++)
			assert_int_equal(sim_white(s, NODE(i)),
					 i >= 64 || 1 + i % 7 > 6);
	}
	sim_delete(s);
}

static int steps_left;

static bool give_up(struct sim *s)
{
	return __atomic_fetch_sub(&steps_left, 1, __ATOMIC_RELAXED) <= 0;
}

/* If one marker is told to give up, all do, and the next mark is complete. */
static void test_give_up(void **state)
{
	struct sim *s = new_nodes(2000, 64, 3);
	int steps;

	plant_tree(s, 2000);
	s->fine = true;
	for (steps = 0; steps < 4000; steps += 1 + steps / 3) {
		s->on_relax = give_up;
		s->later = steps % 2;
		steps_left = steps;
		sim_mark(s, ROOT(0), ROOT(64));
		assert_true(s->m.stopped || steps_left > 0);
		kmt_mark_end(&s->m);
		s->on_relax = NULL;
		mark(s);
		assert_false(s->m.stopped);
		check_reached(s, 2000, 2000);
	}
	sim_delete(s);
}

/* References in roots wait until all roots are read, as long as there is room. */
static void test_later(void **state)
{
	struct sim *s = sim_new(63, 1000, 512);
	unsigned long words[64];
	unsigned int i;

	for (i = 0; i < 200; i++)
		sim_alloc(s, BLOCK(i), 64);
	sim_put(ROOT(0), BLOCK(0));
	sim_put(BLOCK(0), BLOCK(1));
	sim_put(BLOCK(1), BLOCK(2));
	sim_put(ROOT(9), BLOCK(3));
	sim_put(BLOCK(3) + 8, BLOCK(4));
	s->now += 1000;
	kmt_mark_begin(&s->m);
	s->m.defer_drain = true;
	kmt_mark_range(&s->m, ROOT(0), ROOT(4));
	kmt_mark_range(&s->m, ROOT(8), ROOT(12));
	kmt_mark_words(&s->m, (unsigned long[]){ BLOCK(5) }, 1);
	assert_in_range(s->m.stack.refs, 1, 256);
	assert_true(sim_white(s, BLOCK(1)));
	assert_true(sim_white(s, BLOCK(4)));
	/* More references than there is room for. */
	for (i = 0; i < 64 * 20; i++) {
		words[i % 64] = BLOCK(10 + i % 190);
		if (i % 64 == 63)
			kmt_mark_words(&s->m, words, 64);
		assert_in_range(s->m.stack.refs, 0, 256 + 64);
	}
	s->m.defer_drain = false;
	kmt_mark_drain(&s->m);
	assert_int_equal(s->m.stack.refs, 0);
	for (i = 0; i < 200; i++)
		assert_int_equal(sim_white(s, BLOCK(i)), i > 5 && i < 10);
	assert_int_equal(sim_events(s, KMT_EV_MARK_STACK_FULL), 0);
	kmt_mark_end(&s->m);
	sim_delete(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_small_mark_stack),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_give_up),
		cmocka_unit_test(test_later),
	};

	return cmocka_run_group_tests_name("team", tests, NULL, NULL);
}
