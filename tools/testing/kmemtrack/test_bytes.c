// SPDX-License-Identifier: GPL-2.0
/*
 * References at unaligned addresses: a mark does not follow them, but they acquit a
 * suspect.
 */
#include "sim.h"

/* Not aligned to a page: see SIM_ODD(). */
#define OBJECT	(BLOCK(1) + 64)

static void put_bytes(unsigned long addr, unsigned long word)
{
	/* Let the simulator know that this memory exists. */
	sim_put(ALIGN_DOWN(addr, W), sim_get(ALIGN_DOWN(addr, W)));
	memcpy(sim_host(addr), &word, sizeof(word));
}

static void wipe(unsigned long addr)
{
	memset(sim_host(addr), 0, sizeof(long));
}

static void scan(struct sim *s)
{
	assert_true(sim_snapshot(s, ROOT(0), ROOT(512)));
	check_core(s);
}

/* BIG: a block of several pages and pieces. */
#define BIG	(SIM_VMALLOC + 24)
#define SIZE	0x2400ul

static void add_holders(struct sim *s)
{
	sim_alloc(s, BIG, SIZE);
	sim_put(ROOT(511), BIG);
	sim_alloc_min(s, BLOCK(10), 64, KMT_MIN_GREY);
	sim_alloc(s, BLOCK(11), 64);
	sim_put(BLOCK(10), BLOCK(11));
	assert_false(sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1));
	sim_put(ROOT(510), SIM_PERCPU);
	sim_alloc(s, BLOCK(12), 64);
	sim_put(ROOT(509), BLOCK(12));
	kmt_set_flags(&s->core, KMT_VIRT, BLOCK(12), KMT_NO_SCAN);
	sim_alloc(s, BLOCK(13), 64);
	sim_put(ROOT(508), BLOCK(13));
	kmt_add_area(&s->core, BLOCK(13) + 16, 16, GFP_KERNEL);
}

static void try_place(struct sim *s, unsigned long addr, bool counts)
{
	unsigned long was[2] = {
		sim_get(ALIGN_DOWN(addr, W)), sim_get(ALIGN(addr + 1, W)),
	};

	put_bytes(addr, OBJECT + SIM_ODD(4));
	scan(s);
	assert_int_equal(s->suspects, 1);
	/* The search handles unaligned addresses in blocks, but not in roots. */
	assert_int_equal(s->left, !counts || addr - ROOT(0) < 512 * W);
	assert_int_equal(sim_leak(s, OBJECT), !counts);
	assert_int_equal(s->v.leaks, !counts);
	sim_put(ALIGN_DOWN(addr, W), was[0]);
	sim_put(ALIGN(addr + 1, W), was[1]);
	/* Make it a block that was not reported yet, for the next call. */
	sim_free(s, OBJECT, 64);
	sim_alloc(s, OBJECT, 64);
}

static void test_places(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	add_holders(s);
	sim_alloc(s, OBJECT, 64);
	for (i = 1; i < W; i++) {
		try_place(s, ROOT(0) + i, true);
		try_place(s, ROOT(506) + i, true);
		/* Across two pieces that are read, and across two pages. */
		try_place(s, ROOT(63) + i, true);
		try_place(s, BIG + i, true);
		try_place(s, SIM_VMALLOC + 0x1000 - W + i, true);
		try_place(s, SIM_VMALLOC + 0x1200 - W + i, true);
		try_place(s, BIG + SIZE - 2 * W + i, true);
		try_place(s, BLOCK(10) + 64 - 2 * W + i, true);
		try_place(s, BLOCK(11) + i, true);
		try_place(s, BLOCK(11) + 64 - 2 * W + i, true);
		try_place(s, SIM_COPIES + 5 * SIM_PERCPU_LEN + 8 + i, true);
		try_place(s, BLOCK(12) + i, false);
		try_place(s, BLOCK(13) + 16 + i, true);
		try_place(s, BLOCK(13) + 16 - W + i, false);
		try_place(s, BLOCK(13) + 32 - W + i, false);
		try_place(s, OBJECT + i, false);
	}
}

/* A word across the start or the end of a block is no reference. */
static void test_half(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	sim_alloc(s, OBJECT, 64);
	sim_alloc(s, BLOCK(20), 64);
	sim_put(ROOT(0), BLOCK(20));
	sim_own(BLOCK(20) - 8, 80);
	for (i = 1; i < W; i++) {
		put_bytes(BLOCK(20) - W + i, OBJECT);
		scan(s);
		assert_true(sim_leak(s, OBJECT));
		wipe(BLOCK(20) - W);
		wipe(BLOCK(20));
		put_bytes(BLOCK(20) + 64 - W + i, OBJECT);
		sim_free(s, OBJECT, 64);
		sim_alloc(s, OBJECT, 64);
		scan(s);
		assert_true(sim_leak(s, OBJECT));
		wipe(BLOCK(20) + 64 - W);
		wipe(BLOCK(20) + 64);
	}
}

#define NODE(i)	(BLOCK(i) + 64)

/*
 * All blocks that an unaligned reference leads to are acquitted, whatever the
 * references between them.
 */
static void test_chain(void **state)
{
	struct sim *s = sim_new(3, 20, 1);
	unsigned int i, k;

	for (i = 0; i < 24; i++)
		sim_alloc(s, NODE(24 - i), 128);
	for (i = 1; i < 24; i++)
		put_bytes(NODE(i) + 3 * i, NODE(i + 1) + SIM_ODD(4 * i));
	/* More blocks than the mark stack has room for. */
	for (k = 30; k < 40; k++) {
		sim_alloc(s, NODE(k), 64);
		put_bytes(NODE(24) + 12 * (k - 30), NODE(k));
		sim_alloc(s, NODE(k + 10), 64);
		put_bytes(NODE(k) + k % 9, NODE(k + 10) + SIM_ODD(4));
	}
	put_bytes(ROOT(77) + 1, NODE(1));
	sim_alloc(s, NODE(50), 64);
	scan(s);
	assert_true(sim_events(s, KMT_EV_MARK_STACK_FULL) > 0);
	assert_int_equal(s->left, 45);
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, NODE(50)));
	sim_delete(s);
}

/* Aligned and unaligned references add up, and each counts once. */
static void test_counts(void **state)
{
	unsigned int aligned, other, min;
	struct sim *s;
	unsigned int i;

	for (aligned = 0; aligned < 4; aligned++) {
		for (other = 0; other < 4; other++) {
			for (min = 1; min < 5; min++) {
				s = sim_new(7, 5, 4);
				s->markers = min;
				sim_alloc_min(s, OBJECT, 64, min);
				sim_alloc(s, BLOCK(9), 64);
				for (i = 0; i < aligned; i++)
					sim_put(ROOT(100 + i), OBJECT);
				for (i = 0; i < other; i++)
					put_bytes(ROOT(16 * i) + 3, OBJECT);
				scan(s);
				assert_int_equal(sim_leak(s, OBJECT),
						 aligned + other < min);
				if (aligned < min)
					assert_int_equal(sim_object(s, KMT_VIRT,
							 OBJECT).count,
							 aligned + other);
				assert_true(sim_leak(s, BLOCK(9)));
				sim_delete(s);
			}
		}
	}
}

/*
 * An unaligned reference in a reported leak acquits no block; an aligned one in a
 * root acquits the leak.
 */
static void test_old_leak(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, OBJECT, 64);
	scan(s);
	assert_true(sim_leak(s, OBJECT));
	/* A new leak that only the old one refers to. */
	sim_alloc(s, BLOCK(2), 64);
	put_bytes(OBJECT + 9, BLOCK(2));
	scan(s);
	assert_int_equal(s->v.leaks, 2);
	assert_true(sim_leak(s, BLOCK(2)));
	sim_put(ROOT(3), OBJECT);
	scan(s);
	assert_false(sim_leak(s, OBJECT));
}

/* Without a suspect, no CPU is stopped and no unaligned address is read. */
static void test_not_needed(void **state)
{
	struct sim *s = *state;
	unsigned long words;

	sim_alloc(s, OBJECT, 64);
	sim_put(ROOT(0), OBJECT);
	words = s->m.stats.words;
	scan(s);
	assert_int_equal(s->m.stats.words - words, 512 + 64 / W);
	/*
	 * Roots are read by the mark and the search. All suspects are acquitted, so
	 * roots are not read for unaligned references.
	 */
	sim_alloc(s, BLOCK(2), 64);
	sim_put_late(s, ROOT(1), BLOCK(2));
	words = s->m.stats.words;
	scan(s);
	assert_int_equal(s->left, 0);
	assert_int_equal(s->m.stats.words - words, 2 * (512 + 64 / W));
	assert_int_equal(s->v.leaks, 0);
}

/* Whether a reference at @at to the per-CPU block at @addr counts. */
static bool percpu_counts(struct sim *s, unsigned long addr, unsigned long at)
{
	bool counts;

	assert_false(sim_insert(s, KMT_PERCPU, addr, 64, 1));
	put_bytes(at, addr + 4);
	scan(s);
	counts = !(sim_object(s, KMT_PERCPU, addr).flags & KMT_LEAK);
	wipe(at);
	assert_true(kmt_free(&s->core, KMT_PERCPU, addr));
	return counts;
}

/*
 * Per-CPU pointers may be small numbers. Halves of two adjacent words often look
 * like a small number, so such a reference has to be aligned.
 */
static void test_numbers(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	for (i = 0; i < W; i++) {
		assert_int_equal(percpu_counts(s, SIM_PERCPU, ROOT(9) + i), !i);
		assert_int_equal(percpu_counts(s, SIM_PERCPU, ROOT(63) + i),
				 !i);
		assert_int_equal(percpu_counts(s, SIM_PERCPU_FAR, ROOT(9) + i),
				 !i);
	}
	/* With another suspect, for which unaligned references count. */
	sim_alloc(s, OBJECT, 64);
	put_bytes(ROOT(70) + 3, OBJECT);
	assert_false(percpu_counts(s, SIM_PERCPU, ROOT(9) + W / 2));
	assert_false(sim_leak(s, OBJECT));
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_places),
		T(test_half),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_counts),
		T(test_old_leak),
		T(test_not_needed),
		T(test_numbers),
	};

	return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
