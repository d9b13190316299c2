// SPDX-License-Identifier: GPL-2.0
/*
 * References to suspects are counted again from zero, each one once, whichever
 * marker reads them: blocks that need several, aliases, small mark stacks, several
 * markers.
 */
#include "sim.h"

#define OBJECT	BLOCK(1)
#define HOLDER	BLOCK(2)
#define READ	BLOCK(3)
#define LATER	BLOCK(4)

static void scan(struct sim *s)
{
	assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
	check_core(s);
}

/* With two blocks that each scan reads, one before and one after OBJECT. */
static struct sim *new_sim(unsigned int markers, unsigned int stack)
{
	struct sim *s = sim_new(3, 100, stack);

	s->markers = markers;
	sim_alloc(s, READ, 64);
	sim_put(ROOT(30), READ);
	return s;
}

/* Address @i of many that are read, in units of different markers. */
static unsigned long place(unsigned int i)
{
	static const unsigned long places[] = {
		ROOT(0), READ + 8, ROOT(63), LATER + 56, ROOT(32), ROOT(31),
		LATER, READ, READ + 48,
	};

	assert(i < ARRAY_SIZE(places));
	return places[i];
}

/*
 * OBJECT needs @min references. During the mark it has @early ones, of which @moved
 * move after the mark; then @late ones are added.
 */
static void count(unsigned int min, unsigned int early, unsigned int moved,
		  unsigned int late, unsigned int markers)
{
	struct sim *s = new_sim(markers, 1 + early % 3);
	unsigned int i, n = 0;

	sim_alloc_min(s, OBJECT, 64, min);
	sim_alloc(s, LATER, 64);
	sim_put(ROOT(33), LATER);
	for (i = 0; i < early; i++)
		sim_put(place(n++), OBJECT + i);
	for (i = 0; i < moved; i++) {
		sim_put_late(s, place(i), 0);
		sim_put_late(s, place(n++), OBJECT);
	}
	for (i = 0; i < late; i++)
		sim_put_late(s, place(n++), OBJECT + 63);
	scan(s);
	assert_int_equal(s->suspects, early < min);
	assert_int_equal(sim_leak(s, OBJECT), early + late < min);
	if (s->suspects)
		assert_int_equal(sim_object(s, KMT_VIRT, OBJECT).count,
				 early + late);
	sim_delete(s);
}

static void test_counts(void **state)
{
	unsigned int min, early, moved, late, markers;

	for (min = 1; min <= 4; min++)
		for (early = 0; early <= 4; early++)
			for (moved = 0; moved <= min(early, 3u); moved++)
				for (late = 0; late <= 2; late++)
					for (markers = 1; markers <= 4;
					     markers++)
						count(min, early, moved, late,
						      markers);
}

/*
 * Excess references to HOLDER count for OBJECT, which needs @min references and has
 * @own. HOLDER has @early references during the mark, and @late more after it.
 */
static void excess(unsigned int min, unsigned int own, unsigned int early,
		   unsigned int late, bool holder_first)
{
	struct sim *s = new_sim(1 + min, 1);
	unsigned int i, n = 0, over = early + late > 1 ? early + late - 1 : 0;
	unsigned int before = own + (early > 1 ? early - 1 : 0);

	if (holder_first)
		sim_alloc(s, HOLDER, 64);
	sim_alloc_min(s, OBJECT, 64, min);
	if (!holder_first)
		sim_alloc(s, HOLDER, 64);
	sim_alloc(s, LATER, 64);
	sim_put(ROOT(33), LATER);
	assert_true(kmt_add_alias(&s->core, HOLDER, OBJECT, GFP_KERNEL));
	/* A block that HOLDER refers to is acquitted with it. */
	sim_alloc(s, BLOCK(9), 64);
	sim_put_late(s, HOLDER + 40, BLOCK(9));
	for (i = 0; i < own; i++)
		sim_put(place(n++), OBJECT);
	for (i = 0; i < early; i++)
		sim_put(place(n++), HOLDER);
	for (i = 0; i < late; i++)
		sim_put_late(s, place(n++), HOLDER + i);
	scan(s);
	assert_int_equal(sim_leak(s, HOLDER), early + late == 0);
	assert_int_equal(sim_leak(s, BLOCK(9)), early + late == 0);
	assert_int_equal(sim_leak(s, OBJECT),
			 before < min && own + over < min);
	if (before < min)
		assert_int_equal(sim_object(s, KMT_VIRT, OBJECT).count,
				 own + over);
	sim_delete(s);
}

static void test_excess(void **state)
{
	unsigned int min, own, early, late;

	for (min = 1; min <= 3; min++)
		for (own = 0; own <= 2; own++)
			for (early = 0; early <= 3; early++)
				for (late = 0; late <= 3; late++) {
					excess(min, own, early, late, true);
					excess(min, own, early, late, false);
				}
}

/* A holder that does not stand for a suspect is not counted again. */
static void test_other_holder(void **state)
{
	struct sim *s = new_sim(2, 4);

	sim_alloc(s, HOLDER, 64);
	sim_alloc(s, LATER, 64);
	kmt_add_alias(&s->core, HOLDER, LATER, GFP_KERNEL);
	sim_put(ROOT(0), HOLDER);
	sim_put(ROOT(1), HOLDER);
	sim_alloc(s, OBJECT, 64);
	/*
	 * HOLDER and LATER are lost after the mark, so they are no suspects of this
	 * scan.
	 */
	sim_put_late(s, ROOT(0), 0);
	sim_put_late(s, ROOT(1), 0);
	scan(s);
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, OBJECT));
	scan(s);
	assert_int_equal(s->v.leaks, 3);
	sim_delete(s);
}

static void raise_min(struct sim *s)
{
	kmt_set_min(&s->core, KMT_VIRT, READ, 2);
}

/* The block needs more references than before: it is a leak only if it was a suspect. */
static void test_raised(void **state)
{
	enum sim_phase when;

	for (when = SIM_STOPPED; when <= SIM_SORTED; when++) {
		struct sim *s = new_sim(2, 4);

		sim_alloc(s, OBJECT, 64);
		s->late_phase = when;
		s->then = raise_min;
		scan(s);
		assert_int_equal(s->v.leaks, 1);
		assert_true(sim_leak(s, OBJECT));
		scan(s);
		assert_int_equal(s->v.fresh, 1);
		assert_true(sim_leak(s, READ));
		sim_delete(s);
	}
}

#define FAN	8
#define TREE	585	/* 1 + 8 + 64 + 512 */

/* A tree that hangs on one late reference overflows small mark stacks. */
static void tree(unsigned int stack, unsigned int markers, bool parallel,
		 bool cut)
{
	struct sim *s = sim_new(100, 100, 300);
	unsigned int i, k;

	s->markers = markers;
	s->stop_stack = stack;
	s->parallel = parallel;
	for (i = TREE; i-- > 0; )
		sim_alloc(s, SIM_LINEAR + 64 * i, 64);
	for (i = 0; FAN * i + FAN < TREE; i++)
		for (k = 0; k < FAN; k++)
			sim_put(SIM_LINEAR + 64 * i + 8 * k,
				SIM_LINEAR + 64 * (FAN * i + 1 + k) + k);
	sim_put_late(s, ROOT(40), SIM_LINEAR);
	if (cut)
		sim_put_late(s, SIM_LINEAR + 8 * 3, 0);
	scan(s);
	assert_int_equal(s->suspects, TREE);
	assert_int_equal(s->v.leaks, cut ? 73 : 0);
	if (stack < FAN)
		assert_true(s->rest);
	if (stack > 100)
		assert_false(s->rest);
	sim_delete(s);
}

static void test_overflow(void **state)
{
	static const unsigned int stacks[] = { 1, 2, 3, 7, 8, 9, 200 };
	unsigned int i, markers;

	for (i = 0; i < ARRAY_SIZE(stacks); i++)
		for (markers = 1; markers <= SIM_MARKERS; markers++) {
			tree(stacks[i], markers, false, false);
			tree(stacks[i], markers, false, true);
			tree(stacks[i], markers, true, true);
		}
}

/* Each round of kmt_read_acquitted() gets one block further. */
static void rest_often(bool backwards)
{
	const unsigned int nr = 40;
	struct sim *s = sim_new(7, 100, 1);
	unsigned int i;

	for (i = 0; i < 2 * nr; i++)
		sim_alloc(s, BLOCK(backwards ? 2 * nr - 1 - i : i), 64);
	for (i = 0; i < nr; i++) {
		/* The first reference takes the only entry of the mark stack. */
		sim_put(BLOCK(i), BLOCK(nr + i));
		if (i + 1 < nr)
			sim_put(BLOCK(i) + 8, BLOCK(i + 1));
	}
	sim_put_late(s, ROOT(0), BLOCK(0));
	scan(s);
	assert_true(s->rest);
	assert_int_equal(s->suspects, 2 * nr);
	assert_int_equal(s->v.leaks, 0);
	sim_delete(s);
}

static void test_rest(void **state)
{
	rest_often(false);
	rest_often(true);
}

#define HEAP	300

/* Builds the heap of @seed: many blocks, with early and late references. */
static struct sim *random_heap(u64 seed, unsigned int markers, bool parallel)
{
	struct sim *s = sim_new(20, 100, 1 + seed % 5);
	u64 rng = seed;
	unsigned int i;

	s->markers = markers;
	s->parallel = parallel;
	for (i = 0; i < HEAP; i++)
		sim_alloc_min(s, SIM_LINEAR + 256 * i, 192,
			      1 + (sim_random(&rng) % 4) / 2);
	for (i = 0; i < HEAP; i++)
		sim_put(SIM_LINEAR + 256 * (sim_random(&rng) % HEAP) +
			8 * (sim_random(&rng) % 24),
			SIM_LINEAR + 256 * (sim_random(&rng) % HEAP));
	for (i = 0; i < 8; i++)
		sim_put(ROOT(sim_random(&rng) % 64),
			SIM_LINEAR + 256 * (sim_random(&rng) % HEAP));
	for (i = 0; i < SIM_LATE; i++)
		sim_put_late(s, ROOT(sim_random(&rng) % 64),
			     SIM_LINEAR + 256 * (sim_random(&rng) % HEAP));
	return s;
}

/* The same blocks are leaks, however many markers share the work. */
static void test_markers_agree(void **state)
{
	bool leak[HEAP];
	unsigned int n, i;
	u64 seed;

	for (seed = 0; seed < 60; seed++) {
		unsigned long leaks = 0, read = 0;

		for (n = 0; n < 2 * SIM_MARKERS; n++) {
			struct sim *s = random_heap(seed, 1 + n / 2, n & 1);
			unsigned long words = 0;

			scan(s);
			assert_true(s->v.leaks < s->suspects);
			for (i = 0; i < s->markers; i++)
				words += s->stop_marker[i].stats.words;
			if (!n) {
				leaks = s->v.leaks;
				read = words;
			}
			assert_int_equal(s->v.leaks, leaks);
			/* Each word is read exactly once. */
			assert_int_equal(words, read);
			for (i = 0; i < HEAP; i++) {
				bool is = sim_leak(s, SIM_LINEAR + 256 * i);

				if (!n)
					leak[i] = is;
				assert_int_equal(is, leak[i]);
			}
			sim_delete(s);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_excess),
		cmocka_unit_test(test_other_holder),
		cmocka_unit_test(test_raised),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_markers_agree),
	};

	return cmocka_run_group_tests_name("count", tests, NULL, NULL);
}
