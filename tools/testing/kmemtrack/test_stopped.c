// SPDX-License-Identifier: GPL-2.0
/* Memory that is read in place, while all CPUs are stopped. */
#include "sim.h"

#define OBJECT	BLOCK(1)
#define BIG	(SIM_VMALLOC + 24)
#define BIG_SIZE 0x3010ul

static void scan(struct sim *s)
{
	assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
	check_core(s);
}

/* Each word of a block of several pages, at odd addresses. */
static void test_each_word(void **state)
{
	struct sim *s = *state;
	unsigned long at, base = SIM_VMALLOC + 0x1234;

	sim_alloc(s, base, 0x2345);
	sim_put(ROOT(0), base);
	sim_alloc_min(s, OBJECT, 64, 200);
	for (at = 0x1228; at < 0x1234 + 0x2345 + 8; at += 8) {
		bool inside = at >= 0x1234 && at + 8 <= 0x1234 + 0x2345;
		struct kmt_object o;

		sim_own(SIM_VMALLOC + at, 8);
		sim_put_late(s, SIM_VMALLOC + at, OBJECT);
		scan(s);
		o = sim_object(s, KMT_VIRT, OBJECT);
		assert_int_equal(o.count, inside);
		sim_put(SIM_VMALLOC + at, 0);
		kmt_clear(&s->m, s->now);
		kmt_set_min(&s->core, KMT_VIRT, OBJECT, 200);
	}
}

static unsigned long gone;

static void take_page(struct sim *s)
{
	sim_map(gone, SIM_PAGE, false);
}

/* An unmapped page is skipped, the pages around it are read. */
static void test_unreadable(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	sim_alloc(s, BIG, BIG_SIZE);
	sim_put(ROOT(0), BIG);
	s->late_phase = SIM_SUSPECTED;
	s->then = take_page;
	for (i = 0; i < 3; i++) {
		sim_alloc(s, BLOCK(i), 64);
		sim_put_late(s, BIG + 0x1000 * i + 8 * i, BLOCK(i));
	}
	gone = SIM_VMALLOC + 0x1000;
	scan(s);
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, BLOCK(1)));
	assert_int_equal(s->suspects, 3);
	/* One fault each for its sum, its aligned words and its unaligned words. */
	assert_int_equal(sim_events(s, KMT_EV_FAULT), 3);
	/* The same for roots. */
	sim_map(gone, SIM_PAGE, true);
	scan(s);
	assert_int_equal(s->v.leaks, 0);
	gone = SIM_IMAGE;
	s->then = take_page;
	sim_alloc(s, BLOCK(9), 64);
	sim_put_late(s, ROOT(5), BLOCK(9));
	scan(s);
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, BLOCK(9)));
	sim_map(gone, SIM_PAGE, true);
	scan(s);
	assert_int_equal(s->v.leaks, 0);
}

/*
 * A block across two pages, with others in the first page: in either order of
 * reading, one of those is read right before it.
 */
static void test_border(void **state)
{
	struct sim *s = *state;
	unsigned long page = SIM_VMALLOC + 0x4000;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		static const unsigned long at[] = { 0x100, 0xf00, 0x800 };

		sim_alloc(s, page + at[i], i == 1 ? 0x200 : 64);
		sim_put(ROOT(i), page + at[i]);
		sim_alloc(s, BLOCK(10 + i), 64);
	}
	for (i = 0; i < 2; i++) {
		sim_put_late(s, page + 0xff8, BLOCK(10));
		sim_put_late(s, page + 0x1000, BLOCK(11));
		sim_put_late(s, page + 0x10f8, BLOCK(12));
		s->late_phase = SIM_SUSPECTED;
		gone = page + (i ? 0 : 0x1000);
		s->then = take_page;
		scan(s);
		assert_int_equal(s->suspects, 3);
		assert_int_equal(sim_leak(s, BLOCK(10)), i);
		assert_int_equal(sim_leak(s, BLOCK(11)), !i);
		assert_int_equal(sim_leak(s, BLOCK(12)), !i);
		sim_map(gone, SIM_PAGE, true);
		scan(s);
		assert_int_equal(s->v.leaks, 0);
		/* Again, with the other page unmapped. */
		sim_put(page + 0xff8, 0);
		sim_put(page + 0x1000, 0);
		sim_put(page + 0x10f8, 0);
	}
}

static unsigned long loose[5];

static void add_loose(struct sim *s, struct kmt_marker *m)
{
	if (kmt_take_unit(m))
		kmt_mark_words(m, loose, ARRAY_SIZE(loose));
}

static void set_loose(struct sim *s)
{
	loose[4] = OBJECT + 63;
}

/* Roots that are words without an address. */
static void test_loose_words(void **state)
{
	struct sim *s = *state;
	unsigned int i, min;

	s->more_roots = add_loose;
	s->late_phase = SIM_SUSPECTED;
	for (min = 1; min <= 2; min++) {
		for (i = 0; i < 2 * SIM_MARKERS; i++) {
			s->markers = 1 + i / 2;
			sim_alloc_min(s, OBJECT, 64, min);
			sim_alloc(s, BLOCK(2), 64);
			sim_alloc(s, BLOCK(3), 64);
			sim_put(OBJECT, BLOCK(2));
			memset(loose, 0, sizeof(loose));
			if (i & 1)
				set_loose(s);
			else
				s->then = set_loose;
			scan(s);
			assert_int_equal(s->suspects,
					 i & 1 && min == 1 ? 1 : 3);
			assert_true(sim_leak(s, BLOCK(3)));
			/*
			 * Suspects that are left are searched for at unaligned
			 * addresses as well.
			 */
			assert_int_equal(sim_leak(s, OBJECT), min > 1);
			assert_int_equal(sim_leak(s, BLOCK(2)), min > 1);
			assert_int_equal(sim_object(s, KMT_VIRT, OBJECT).count,
					 1);
			kmt_drop_space(&s->core, KMT_VIRT);
		}
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_each_word),
		T(test_unreadable),
		T(test_border),
		T(test_loose_words),
	};

	return cmocka_run_group_tests_name("stopped", tests, NULL, NULL);
}
