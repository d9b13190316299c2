// SPDX-License-Identifier: GPL-2.0
/* Which unreferenced blocks are leaks? */
#include "sim.h"

static void first(struct sim *s)
{
	sim_mark(s, ROOT(0), ROOT(64));
	kmt_suspect_for_wait(&s->m, &s->v);
	kmt_mark_end(&s->m);
}

static void second(struct sim *s, u32 min_age)
{
	sim_mark(s, ROOT(0), ROOT(64));
	kmt_mark_doubtful(&s->m, s->now, min_age);
	kmt_judge(&s->m, &s->v);
	kmt_classify(&s->m, s->v.leaks, s->now);
	kmt_mark_end(&s->m);
	check_core(s);
}

static void test_one_scan(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 100);
	sim_alloc(s, BLOCK(2), 200);
	sim_alloc_min(s, BLOCK(3), 300, 0);
	sim_alloc_min(s, BLOCK(4), 400, KMT_MIN_BLACK);
	sim_put(ROOT(0), BLOCK(2));
	first(s);
	assert_int_equal(s->v.suspects, 1);
	assert_int_equal(s->v.youngest, s->now);
	assert_false(sim_leak(s, BLOCK(1)));
	second(s, 0);
	assert_int_equal(s->v.leaks, 1);
	assert_int_equal(s->v.fresh, 1);
	assert_int_equal(s->v.leak_bytes, 100);
	assert_true(sim_leak(s, BLOCK(1)));
	assert_true(sim_object(s, KMT_VIRT, BLOCK(1)).flags & KMT_NEW);
	assert_false(sim_leak(s, BLOCK(2)));
	assert_false(sim_leak(s, BLOCK(3)));
	assert_false(sim_leak(s, BLOCK(4)));

	/* The next scan still reports the leak, but not as new. */
	first(s);
	second(s, 0);
	assert_int_equal(s->v.leaks, 1);
	assert_int_equal(s->v.fresh, 0);
	assert_false(sim_object(s, KMT_VIRT, BLOCK(1)).flags & KMT_NEW);

	/* Referenced again, it is acquitted; lost again, it is new. */
	sim_put(ROOT(1), BLOCK(1));
	first(s);
	second(s, 0);
	assert_int_equal(s->v.leaks, 0);
	assert_false(sim_leak(s, BLOCK(1)));
	sim_put(ROOT(1), 0);
	first(s);
	second(s, 0);
	assert_int_equal(s->v.fresh, 1);
}

/* Leaks in per-CPU memory and in vmalloc space. */
static void test_spaces(void **state)
{
	struct sim *s = *state;

	sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1);
	sim_alloc_min(s, SIM_VMALLOC, 0x2000, 2);
	sim_put(ROOT(0), SIM_VMALLOC);
	sim_insert(s, KMT_PHYS, SIM_PHYS, 64, 0);
	sim_own(kmt_env_phys(SIM_PHYS), 64);
	first(s);
	second(s, 0);
	assert_int_equal(s->v.leaks, 2);
	assert_int_equal(s->v.leak_bytes, 64 + 0x2000);
	assert_true(sim_leak(s, SIM_VMALLOC));
}

/* A suspect whose contents change is in use, and so are the blocks that it refers to. */
static void test_changed(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 0x800);
	sim_alloc(s, BLOCK(2), 64);
	sim_alloc(s, BLOCK(3), 64);
	sim_put(BLOCK(1) + 0x400, BLOCK(2));
	sim_put(BLOCK(2) + 8, BLOCK(3));
	first(s);
	assert_int_equal(s->v.suspects, 3);
	sim_put(BLOCK(1) + 0x7f8, 1);
	second(s, 0);
	assert_int_equal(s->v.leaks, 0);
	/* Without another change they are leaks. */
	first(s);
	second(s, 0);
	assert_int_equal(s->v.leaks, 3);
	/* A change of a reported leak acquits it as well. */
	first(s);
	sim_put(BLOCK(1), 7);
	second(s, 0);
	assert_int_equal(s->v.leaks, 0);
	assert_false(sim_leak(s, BLOCK(1)));
	/* A change in the last block of the chain acquits only this block. */
	first(s);
	sim_put(BLOCK(3), 7);
	second(s, 0);
	assert_int_equal(s->v.leaks, 2);
	assert_false(sim_leak(s, BLOCK(3)));
}

/* Blocks that it refers to are found with the smallest mark stack, in any order. */
static void test_changed_overflow(void **state)
{
	struct sim *s = sim_new(63, 1, 1);
	unsigned int i;

	for (i = 20; i-- > 0; )
		sim_alloc(s, BLOCK(i), 128);
	for (i = 1; i < 10; i++) {
		sim_put(BLOCK(0) + 8 * i, BLOCK(i));
		sim_put(BLOCK(i) + 16, BLOCK(10 + i));
	}
	first(s);
	assert_int_equal(s->v.suspects, 20);
	sim_put(BLOCK(0), 1);
	second(s, 0);
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, BLOCK(10)));
	sim_delete(s);
}

static void test_percpu_changed(void **state)
{
	struct sim *s = *state;

	sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1);
	first(s);
	sim_put(kmt_env_percpu(SIM_PERCPU, HOST_CPUS - 1) + 56, 1);
	second(s, 0);
	assert_int_equal(s->v.leaks, 0);
	first(s);
	second(s, 0);
	assert_int_equal(s->v.leaks, 1);
}

static void test_transient(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 64);
	sim_put(BLOCK(1), BLOCK(2));
	assert_true(kmt_set_flags(&s->core, KMT_VIRT, BLOCK(1),
				  KMT_TRANSIENT));
	first(s);
	assert_int_equal(s->v.suspects, 1);
	second(s, 0);
	assert_int_equal(s->v.leaks, 0);
	/* Spared once. */
	first(s);
	second(s, 0);
	assert_int_equal(s->v.leaks, 2);
}

static void test_min_age(void **state)
{
	struct sim *s = *state;

	/* The same while jiffies wrap. */
	s->now = -500;
	sim_alloc(s, BLOCK(1), 64);
	s->now = -100;
	sim_alloc(s, BLOCK(2), 64);
	sim_put(BLOCK(2), BLOCK(3));
	sim_alloc(s, BLOCK(3), 64);
	first(s);
	assert_int_equal(s->v.suspects, 3);
	assert_int_equal(s->v.youngest, (u32)-100);
	s->now = -50;
	second(s, 1000);
	assert_int_equal(s->v.leaks, 0);
	first(s);
	s->now = 499;
	second(s, 1000);
	assert_int_equal(s->v.leaks, 0);
	first(s);
	s->now = 500;
	second(s, 1000);
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, BLOCK(1)));
	first(s);
	s->now = 900;
	second(s, 1000);
	assert_int_equal(s->v.leaks, 3);
}

/*
 * A block allocated between the marks is no suspect, and blocks that it refers to
 * are reached.
 */
static void test_born_between(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 64);
	first(s);
	assert_int_equal(s->v.suspects, 1);
	sim_alloc(s, BLOCK(2), 64);
	sim_put(BLOCK(2), BLOCK(1));
	second(s, 0);
	assert_int_equal(s->v.leaks, 0);
	/* Another block at the same address is no suspect, either. */
	first(s);
	sim_free(s, BLOCK(2), 64);
	s->now++;
	sim_alloc(s, BLOCK(2), 64);
	second(s, 0);
	assert_false(sim_leak(s, BLOCK(2)));
	assert_true(sim_leak(s, BLOCK(1)));
}

/* Contents that cannot be read count as unchanged, so the block is a leak. */
static void test_unreadable(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, SIM_VMALLOC, 0x1000);
	sim_map(SIM_VMALLOC, 0x1000, false);
	first(s);
	second(s, 0);
	assert_int_equal(s->v.leaks, 1);
}

static void test_clear(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	for (i = 0; i < 10; i++)
		sim_alloc(s, BLOCK(i), 64);
	sim_put(BLOCK(0), BLOCK(9));
	first(s);
	assert_int_equal(kmt_clear(&s->m, s->now), 0);
	second(s, 0);
	assert_int_equal(s->v.leaks, 10);
	sim_alloc(s, BLOCK(10), 64);
	assert_int_equal(kmt_clear(&s->m, s->now), 10);
	check_core(s);
	for (i = 0; i < 10; i++)
		assert_false(sim_leak(s, BLOCK(i)));
	first(s);
	second(s, 0);
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, BLOCK(10)));
	/* A change in a cleared block: it is a root now. */
	sim_put(BLOCK(4), BLOCK(10));
	first(s);
	second(s, 0);
	assert_int_equal(s->v.leaks, 0);
}

/*
 * A cleared block that has not changed can refer to older blocks only: a word that
 * looks like a reference to a younger block is left from an older one at that
 * address.
 */
static void test_cleared_holder(void **state)
{
	const unsigned long holders[] = { BLOCK(0), SIM_VMALLOC };
	unsigned int i, wait;

	for (i = 0; i < ARRAY_SIZE(holders); i++) {
		for (wait = 0; wait < 2; wait++) {
			struct sim *s = sim_new(100, 1000, 512);

			sim_alloc(s, holders[i], 64);
			sim_alloc(s, BLOCK(2), 64);
			sim_put(ROOT(0), BLOCK(2));
			sim_put(holders[i] + 8, BLOCK(1));
			sim_put(holders[i] + 16, BLOCK(2));
			sim_scan(s, ROOT(0), ROOT(8));
			assert_int_equal(s->v.leaks, 1);
			assert_int_equal(kmt_clear(&s->m, s->now), 1);
			s->now++;
			sim_alloc(s, BLOCK(1), 64);
			sim_put(ROOT(0), 0);
			if (wait) {
				first(s);
				second(s, 0);
			} else {
				assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
			}
			assert_int_equal(s->v.leaks, 1);
			assert_true(sim_leak(s, BLOCK(1)));
			/* After a change, its references count. */
			sim_put(holders[i] + 24, 1);
			if (wait) {
				first(s);
				second(s, 0);
			} else {
				assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
			}
			assert_int_equal(s->v.leaks, 0);
			sim_delete(s);
		}
	}
}

static void pass_time(struct sim *s, unsigned int times)
{
	struct kmt_chunk *chunk;

	while (times--) {
		s->now += KMT_AGE_MAX / 2;
		kmt_for_each_chunk(&s->core, chunk)
			kmt_limit_ages(&s->core, chunk, s->now);
	}
}

/* A block that is born after the walk has read the time is not made an old one. */
static void test_born_meanwhile(void **state)
{
	struct sim *s = *state;
	struct kmt_chunk *chunk;

	sim_alloc(s, BLOCK(0), 64);
	s->now += KMT_AGE_MAX + 10;
	sim_alloc(s, BLOCK(1), 64);
	kmt_for_each_chunk(&s->core, chunk)
		kmt_limit_ages(&s->core, chunk, s->now - 1);
	assert_int_equal(sim_object(s, KMT_VIRT, BLOCK(1)).born, s->now);
	assert_int_equal(sim_object(s, KMT_VIRT, BLOCK(0)).born, s->now - 1 - KMT_AGE_MAX);
}

/* Ages are limited, so that times of allocation can always be compared. */
static void test_old_age(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(0), 64);
	sim_alloc(s, BLOCK(1), 64);
	sim_put(ROOT(0), BLOCK(1));
	sim_put(BLOCK(0) + 8, BLOCK(1));
	/* More than half of the range of 32 bits */
	pass_time(s, 5);
	assert_int_equal(s->now - sim_object(s, KMT_VIRT, BLOCK(1)).born,
			 KMT_AGE_MAX);
	assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
	assert_int_equal(s->v.leaks, 1);
	assert_int_equal(kmt_clear(&s->m, s->now), 1);
	sim_put(ROOT(0), 0);
	/* A cleared block's references count for blocks that are older. */
	assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
	assert_int_equal(s->v.leaks, 0);
	s->now++;
	sim_alloc(s, BLOCK(2), 64);
	pass_time(s, 9);
	sim_alloc(s, BLOCK(3), 64);
	assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
	assert_int_equal(s->v.leaks, 2);
	assert_true(sim_leak(s, BLOCK(2)));
	assert_true(sim_leak(s, BLOCK(3)));
}

/* A reported leak does not lead to a block that is younger than the report. */
static void find_younger_leak(struct sim *s, unsigned int times)
{
	sim_alloc(s, BLOCK(0), 64);
	sim_put(BLOCK(0) + 8, BLOCK(1));
	sim_scan(s, ROOT(0), ROOT(8));
	assert_int_equal(s->v.leaks, 1);
	pass_time(s, times);
	s->now++;
	sim_alloc(s, BLOCK(1), 64);
	sim_scan(s, ROOT(0), ROOT(8));
	assert_int_equal(s->v.leaks, 2);
	assert_false(sim_indirect(s, BLOCK(1)));
	assert_false(sim_indirect(s, BLOCK(0)));
}

static void test_younger_leak(void **state)
{
	find_younger_leak(*state, 0);
}

/* More than half of the range of 32 bits later. */
static void test_much_younger_leak(void **state)
{
	find_younger_leak(*state, 5);
}

/* A cleared block changes so late that only the snapshot can find out. */
static void test_cleared_late(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(0), 64);
	sim_scan(s, ROOT(0), ROOT(8));
	assert_int_equal(kmt_clear(&s->m, s->now), 1);
	s->now++;
	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 64);
	s->late_phase = SIM_SUSPECTED;
	sim_put_late(s, BLOCK(0) + 8, BLOCK(1));
	assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, BLOCK(2)));
}

/* Suspects of an earlier scan do not count: both marks must be of the same scan. */
static void test_stale_suspicion(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 64);
	first(s);
	sim_put(ROOT(0), BLOCK(1));
	first(s);
	sim_put(ROOT(0), 0);
	second(s, 0);
	assert_int_equal(s->v.leaks, 0);
}

/*
 * A block that becomes visible after the last mark of a scan that waits, though its CPU
 * read the birth of blocks before that mark: no mark has confirmed it.
 */
static void test_visible_late(void **state)
{
	struct sim *s = *state;
	u64 before, birth;

	sim_alloc(s, BLOCK(1), 64);
	first(s);
	s->now += 1000;
	before = s->core.birth;
	sim_mark(s, ROOT(0), ROOT(64));
	kmt_mark_doubtful(&s->m, s->now, 1000);
	birth = s->core.birth;
	s->core.birth = before;
	sim_alloc(s, BLOCK(2), 64);
	s->core.birth = birth;
	assert_true(sim_white(s, BLOCK(2)));
	kmt_suspect_for_search(&s->m, &s->filter, &s->v);
	assert_int_equal(s->v.suspects, 1);
	kmt_judge(&s->m, &s->v);
	kmt_mark_end(&s->m);
	assert_true(sim_leak(s, BLOCK(1)));
	assert_false(sim_leak(s, BLOCK(2)));
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_scan),
		T(test_spaces),
		T(test_changed),
		cmocka_unit_test(test_changed_overflow),
		T(test_percpu_changed),
		T(test_transient),
		T(test_min_age),
		T(test_born_between),
		T(test_unreadable),
		T(test_clear),
		cmocka_unit_test(test_cleared_holder),
		T(test_cleared_late),
		T(test_younger_leak),
		T(test_much_younger_leak),
		T(test_born_meanwhile),
		T(test_old_age),
		T(test_stale_suspicion),
		T(test_visible_late),
	};

	return cmocka_run_group_tests_name("judge", tests, NULL, NULL);
}
