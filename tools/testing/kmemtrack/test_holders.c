// SPDX-License-Identifier: GPL-2.0
/*
 * Excess references that are found while all CPUs are stopped: they count for the
 * block that they are passed on to, whatever the state of the holder.
 */
#include "sim.h"

#define HOLDER	BLOCK(1)
#define TARGET	BLOCK(2)
#define LAST	BLOCK(3)

static void scan(struct sim *s)
{
	assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
	check_core(s);
}

/* References are passed on along a chain, whose records are in any order in the pool. */
static void test_chain(void **state)
{
	static const int orders[][3] = {
		{ 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 },
		{ 2, 3, 1 }, { 3, 1, 2 }, { 3, 2, 1 },
	};
	unsigned int i, k, refs;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		for (refs = 0; refs <= 4; refs++) {
			struct sim *s = sim_new(4, 10, 2);

			for (k = 0; k < 3; k++)
				sim_alloc(s, BLOCK(orders[i][k]), 64);
			kmt_add_alias(&s->core, HOLDER, TARGET, GFP_KERNEL);
			kmt_add_alias(&s->core, TARGET, LAST, GFP_KERNEL);
			for (k = 0; k < refs; k++)
				if (k < 2)
					sim_put(ROOT(k), HOLDER);
				else
					sim_put_late(s, ROOT(k), HOLDER);
			scan(s);
			assert_int_equal(sim_leak(s, HOLDER), refs < 1);
			assert_int_equal(sim_leak(s, TARGET), refs < 2);
			assert_int_equal(sim_leak(s, LAST), refs < 3);
			sim_delete(s);
		}
	}
}

/* If a holder needs no references, all references to it are in excess. */
static void test_unjudged(void **state)
{
	static const u8 mins[] = { KMT_MIN_GREY, KMT_MIN_BLACK };
	unsigned int early, late, i, min;

	for (i = 0; i < ARRAY_SIZE(mins); i++)
		for (early = 0; early < 3; early++)
			for (late = 0; late < 3; late++)
				for (min = 1; min < 4; min++) {
					struct sim *s = sim_new(4, 10, 2);
					unsigned int k;

					sim_alloc_min(s, HOLDER, 64, mins[i]);
					sim_alloc_min(s, TARGET, 64, min);
					kmt_add_alias(&s->core, HOLDER, TARGET,
						      GFP_KERNEL);
					for (k = 0; k < early; k++)
						sim_put(ROOT(k), HOLDER);
					for (k = 0; k < late; k++)
						sim_put_late(s, ROOT(9 + k),
							     HOLDER + 63);
					scan(s);
					assert_int_equal(sim_leak(s, TARGET),
							 early + late < min);
					assert_false(sim_leak(s, HOLDER));
					sim_delete(s);
				}
}

/* Not aligned to a page: see SIM_ODD(). */
#define UNPAGED	(HOLDER + 64)

/* An unaligned reference to a holder that has another reference. */
static void test_bytes(void **state)
{
	struct sim *s = *state;
	unsigned long word = UNPAGED;

	sim_alloc(s, UNPAGED, 64);
	sim_alloc(s, TARGET, 64);
	kmt_add_alias(&s->core, UNPAGED, TARGET, GFP_KERNEL);
	sim_put(ROOT(2), UNPAGED);
	scan(s);
	assert_true(sim_leak(s, TARGET));
	assert_int_equal(kmt_clear(&s->m, s->now), 1);
	kmt_set_min(&s->core, KMT_VIRT, TARGET, 1);
	memcpy((char *)sim_host(ROOT(8)) + 3, &word, W);
	scan(s);
	assert_int_equal(s->suspects, 1);
	assert_int_equal(s->v.leaks, 0);
	/* Unless the holder has enough references, none is passed on. */
	sim_put(ROOT(2), 0);
	scan(s);
	assert_false(sim_leak(s, UNPAGED));
	assert_true(sim_leak(s, TARGET));
}

/*
 * A cleared block and another one refer to a holder. One of the two references is
 * in excess, in whichever order they are found, and counts for a block that is
 * younger than the cleared one.
 */
static void test_cleared(void **state)
{
	const unsigned long cleared = BLOCK(4), grey = BLOCK(5);
	unsigned int i;

	/* Blocks are read in the order in which they were allocated. */
	for (i = 0; i < 2; i++) {
		struct sim *s = sim_new(4, 10, 2);

		sim_alloc(s, HOLDER, 64);
		if (i)
			sim_alloc_min(s, grey, 64, KMT_MIN_GREY);
		sim_alloc(s, cleared, 64);
		if (!i)
			sim_alloc_min(s, grey, 64, KMT_MIN_GREY);
		sim_put(cleared + 8, HOLDER);
		sim_put(grey + 8, HOLDER);
		scan(s);
		assert_int_equal(s->v.leaks, 1);
		assert_int_equal(kmt_clear(&s->m, s->now), 1);
		s->now++;
		sim_alloc(s, TARGET, 64);
		kmt_add_alias(&s->core, HOLDER, TARGET, GFP_KERNEL);
		scan(s);
		assert_int_equal(s->v.leaks, 0);
		sim_put(grey + 8, 0);
		scan(s);
		assert_int_equal(s->v.leaks, 1);
		assert_true(sim_leak(s, TARGET));
		sim_delete(s);
	}
}

/* A block that is spared stays so, even if it is a holder for a suspect. */
static void test_spared(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, HOLDER, 64);
	sim_alloc(s, TARGET, 64);
	kmt_add_alias(&s->core, HOLDER, TARGET, GFP_KERNEL);
	kmt_set_flags(&s->core, KMT_VIRT, HOLDER, KMT_TRANSIENT);
	scan(s);
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, TARGET));
	scan(s);
	assert_int_equal(s->v.leaks, 2);
}

/* All references to a holder that was spared are in excess. */
static void test_spared_passes(void **state)
{
	unsigned int refs, min;

	for (refs = 0; refs < 3; refs++) {
		for (min = 1; min < 4; min++) {
			struct sim *s = sim_new(4, 10, 2);
			unsigned int k;

			sim_alloc_min(s, HOLDER, 64, 3);
			sim_alloc_min(s, TARGET, 64, min);
			kmt_add_alias(&s->core, HOLDER, TARGET, GFP_KERNEL);
			kmt_set_flags(&s->core, KMT_VIRT, HOLDER,
				      KMT_TRANSIENT);
			for (k = 0; k < refs; k++)
				sim_put(ROOT(k), HOLDER);
			scan(s);
			assert_false(sim_leak(s, HOLDER));
			assert_int_equal(sim_leak(s, TARGET), refs < min);
			sim_delete(s);
		}
	}
	(void)state;
}

static unsigned int refs_to_born;

static void bear_holder(struct sim *s)
{
	unsigned int k;

	sim_alloc_min(s, HOLDER, 64, 3);
	kmt_add_alias(&s->core, HOLDER, TARGET, GFP_KERNEL);
	for (k = 0; k < refs_to_born; k++)
		sim_put(ROOT(k), HOLDER);
}

/* So are all references to a holder that was allocated during the mark. */
static void test_born(void **state)
{
	unsigned int min;

	for (refs_to_born = 0; refs_to_born < 3; refs_to_born++) {
		for (min = 1; min < 4; min++) {
			struct sim *s = sim_new(4, 10, 2);

			sim_alloc_min(s, TARGET, 64, min);
			s->late_phase = SIM_MARKED;
			s->then = bear_holder;
			scan(s);
			assert_int_equal(s->suspects, 1);
			assert_false(sim_leak(s, HOLDER));
			assert_int_equal(sim_leak(s, TARGET),
					 refs_to_born < min);
			sim_delete(s);
		}
	}
	(void)state;
}

static void raise_min(struct sim *s)
{
	kmt_set_min(&s->core, KMT_VIRT, HOLDER, 2);
	sim_put(HOLDER, TARGET);
}

/*
 * A block that was reached, and then needs more references, is no suspect, and is
 * read.
 */
static void test_raised(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, HOLDER, 64);
	sim_alloc(s, TARGET, 64);
	sim_put(ROOT(0), HOLDER);
	s->late_phase = SIM_SUSPECTED;
	s->then = raise_min;
	scan(s);
	assert_int_equal(s->suspects, 1);
	assert_int_equal(s->v.leaks, 0);
}

/* A scan area outside its block is read with the block, and is no root. */
static void test_outer_area(void **state)
{
	unsigned int held, late;

	for (held = 0; held < 2; held++) {
		for (late = 0; late < 2; late++) {
			struct sim *s = sim_new(4, 10, 2);

			sim_alloc(s, HOLDER, 64);
			sim_alloc(s, TARGET, 64);
			sim_alloc(s, LAST, 64);
			sim_own(BLOCK(6), 64);
			assert_true(kmt_add_area(&s->core, HOLDER, SIZE_MAX,
						 GFP_KERNEL));
			assert_true(kmt_add_outer_area(&s->core, HOLDER,
						       BLOCK(6), 16,
						       GFP_KERNEL));
			sim_put(HOLDER + 8, LAST);
			sim_put(BLOCK(6) + 16, 0);
			if (held)
				sim_put(ROOT(0), HOLDER);
			if (late)
				sim_put_late(s, BLOCK(6) + 8, TARGET);
			else
				sim_put(BLOCK(6) + 8, TARGET);
			assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
			assert_int_equal(sim_leak(s, HOLDER), !held);
			assert_int_equal(sim_leak(s, TARGET), !held);
			assert_int_equal(sim_leak(s, LAST), !held);
			sim_free(s, HOLDER, 64);
			assert_int_equal(kmt_nr_aux(&s->core), 0);
			sim_delete(s);
		}
	}
	(void)state;
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_unjudged),
		cmocka_unit_test(test_cleared),
		T(test_bytes),
		T(test_spared),
		cmocka_unit_test(test_spared_passes),
		cmocka_unit_test(test_born),
		T(test_raised),
		cmocka_unit_test(test_outer_area),
	};

	return cmocka_run_group_tests_name("holders", tests, NULL, NULL);
}
