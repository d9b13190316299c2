// SPDX-License-Identifier: GPL-2.0
/* Following references: which blocks are read at once, and which words are skipped. */
#include "sim.h"

/* Far from other blocks */
#define ARRAY		(SIM_LINEAR + 0x100000)

static void mark(struct sim *s)
{
	sim_mark(s, ROOT(0), ROOT(64));
	kmt_mark_end(&s->m);
}

/* Each word of a block of any size is followed; the word after the block is not. */
static void test_all_words(void **state)
{
	struct sim *s = *state;
	unsigned long size, at;

	sim_put(ROOT(0), BLOCK(1) + 1);
	sim_alloc(s, BLOCK(2), 16);
	for (size = 8; size <= 544; size += size < 80 ? 8 : 24) {
		sim_alloc(s, BLOCK(1), size);
		for (at = 0; at <= size; at += 8) {
			sim_own(BLOCK(1), size + 8);
			sim_put(BLOCK(1) + at, BLOCK(2) + 9);
			mark(s);
			assert_int_equal(sim_white(s, BLOCK(2)), at == size);
			sim_put(BLOCK(1) + at, 0);
		}
		sim_free(s, BLOCK(1), size);
	}
	sim_free(s, BLOCK(2), 16);
}

/* Each word is a reference, whether the mark stack has room for all of them or not. */
static void test_room(void **state)
{
	unsigned int stack, i;

	for (stack = 1; stack < 200; stack += 1 + stack / 4) {
		struct sim *s = sim_new(99, 2, stack);

		sim_put(ROOT(0), BLOCK(0));
		sim_alloc(s, BLOCK(0), 512);
		for (i = 1; i <= 64; i++) {
			sim_alloc(s, BLOCK(i), 24);
			sim_put(BLOCK(0) + 8 * (i - 1), BLOCK(i));
			sim_put(BLOCK(i), BLOCK(1 + i % 64));
			sim_put(BLOCK(i) + 8, BLOCK(0));
			sim_put(BLOCK(i) + 16, BLOCK(i) + 16);
		}
		mark(s);
		for (i = 0; i <= 64; i++)
			assert_false(sim_white(s, BLOCK(i)));
		sim_delete(s);
	}
}

/*
 * Per-CPU pointers look like addresses in the image; other such words are no
 * references.
 */
static void test_percpu_in_image(void **state)
{
	struct sim *s = *state;

	s->core.skip = (struct kmt_range){ SIM_PERCPU,
					   SIM_PERCPU + SIM_PERCPU_LEN };
	sim_insert(s, KMT_PERCPU, SIM_PERCPU + 0x100, 64, 1);
	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 64);
	sim_put(ROOT(0), BLOCK(1));
	sim_put(kmt_env_percpu(SIM_PERCPU + 0x108, 3), BLOCK(2));
	mark(s);
	assert_true(sim_white(s, BLOCK(2)));
	sim_put(BLOCK(1) + 24, SIM_PERCPU + 0x100);
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
}

/* Per-CPU pointers between other addresses, and outside them. */
static void test_percpu_among_others(void **state)
{
	struct sim *s = *state;
	int low;

	for (low = 0; low < 2; low++) {
		if (low)
			/*
			 * With a block below, each address in between may be a
			 * reference.
			 */
			sim_insert(s, KMT_VIRT, 0x1000, 64, KMT_MIN_BLACK);
		else
			sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1);
		sim_alloc(s, BLOCK(1), 40);
		sim_put(ROOT(0), BLOCK(1));
		sim_put(BLOCK(1) + 32, SIM_PERCPU + 8);
		mark(s);
		assert_int_equal(s->m.ranges.percpu_outside, !low);
		assert_int_equal(sim_object(s, KMT_PERCPU, SIM_PERCPU).count, 1);
		sim_free(s, BLOCK(1), 40);
	}
}

static void check_shards(struct sim *s, unsigned long lo, unsigned long hi)
{
	mark(s);
	assert_true(s->m.ranges.shards.lo == SIM_LINEAR + lo);
	assert_true(s->m.ranges.shards.hi == SIM_LINEAR + hi);
}

/*
 * The image, or words that look like per-CPU pointers, are inside the linear map.
 * Only the larger part around them has the fast path; the rest is followed as well.
 */
static void test_holes(void **state)
{
	const unsigned long region = BIT(KMT_REGION_SHIFT), all = SIM_LINEAR_LEN;
	const unsigned long percpu = SIM_LINEAR + region;
	static const struct {
		unsigned long at, len;
	} holes[] = { { 0, 1 }, { 2, 3 }, { 20, 9 }, { 50, 9 }, { 62, 2 } };
	struct sim *s = *state;
	unsigned int i;

	check_shards(s, 0, all);
	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		unsigned long lo = holes[i].at * region;
		unsigned long hi = lo + holes[i].len * region;
		bool above = lo < all - hi;
		unsigned long block = SIM_LINEAR + (above ? lo : hi - 8);

		s->core.skip = (struct kmt_range){ SIM_LINEAR + lo + 8,
						   SIM_LINEAR + hi - 8 };
		sim_alloc(s, block, 8);
		sim_put(ROOT(0), block);
		check_shards(s, above ? hi : 0, above ? all : lo);
		assert_false(sim_white(s, block));
		sim_free(s, block, 8);
	}
	s->core.skip = (struct kmt_range){};
	/* A per-CPU pointer that is also the address of a block counts for both. */
	sim_insert(s, KMT_PERCPU, percpu, 64, 1);
	kmt_set_flags(&s->core, KMT_PERCPU, percpu, KMT_NO_SCAN);
	sim_alloc(s, percpu, 64);
	sim_alloc(s, SIM_LINEAR, 64);
	sim_put(ROOT(0), SIM_LINEAR);
	sim_put(SIM_LINEAR, percpu + 8);
	check_shards(s, 2 * region, all);
	assert_false(sim_white(s, percpu));
	assert_int_equal(sim_object(s, KMT_PERCPU, percpu).count, 1);
}

static void insert_pointer(struct sim *s, unsigned long addr)
{
	sim_insert(s, KMT_PERCPU, addr, 8, 1);
	/* The block has no copies to be read. */
	kmt_set_flags(&s->core, KMT_PERCPU, addr, KMT_NO_SCAN);
}

/*
 * Per-CPU pointers that are small numbers, between smaller ones: four words are
 * skipped at a time only if all four are too small.
 */
static void test_small_pointers(void **state)
{
	static const unsigned long places[] = {
		0x10000, 0x17f0, 0x1fff8, 16, 1,
	};
	struct sim *s = *state;
	unsigned int i, at;

	sim_alloc(s, BLOCK(1), 64);
	sim_put(ROOT(0), BLOCK(1));
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		insert_pointer(s, places[i]);
		for (at = 0; at < 8; at++) {
			unsigned int j;

			for (j = 0; j < 8; j++)
				sim_put(BLOCK(1) + 8 * j, places[i] - 1);
			sim_put(BLOCK(1) + 8 * at, places[i] + 7);
			mark(s);
			assert_true(s->m.ranges.percpu_outside);
			assert_int_equal(sim_object(s, KMT_PERCPU,
						    places[i]).count, 1);
		}
	}
}

static void check_gap(struct sim *s, unsigned long lo, unsigned long hi)
{
	mark(s);
	assert_true(s->m.ranges.percpu_outside);
	assert_true(s->m.ranges.gap.lo == lo);
	assert_true(s->m.ranges.gap.hi == hi);
}

/* Words above small per-CPU pointers are skipped, but not the first that is one. */
static void test_gap(void **state)
{
	const unsigned long low = 0x10000, high = SIM_LINEAR / 16;
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 64);
	sim_put(ROOT(0), BLOCK(1));
	sim_put(BLOCK(1), low + 15);
	sim_put(BLOCK(1) + 8, low + 16);
	sim_put(BLOCK(1) + 32, high - 1);
	sim_put(BLOCK(1) + 40, high);
	sim_put(BLOCK(1) + 48, high + 7);
	sim_put(BLOCK(1) + 56, high + 8);

	insert_pointer(s, low);
	insert_pointer(s, low + 8);
	check_gap(s, low + 16, SIM_LINEAR);
	assert_int_equal(sim_object(s, KMT_PERCPU, low).count, 0);
	assert_int_equal(sim_object(s, KMT_PERCPU, low + 8).count, 1);

	insert_pointer(s, high);
	check_gap(s, low + 16, high);
	assert_int_equal(sim_object(s, KMT_PERCPU, low + 8).count, 1);
	assert_int_equal(sim_object(s, KMT_PERCPU, high).count, 2);
}

/* The part of a block that cannot be read is skipped, and the rest is followed. */
static void test_unreadable(void **state)
{
	struct sim *s = *state;
	unsigned long block = BLOCK(3) - 64;

	sim_alloc(s, block, 128);
	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(5), 64);
	sim_put(ROOT(0), block);
	sim_put(block + 8, BLOCK(1));
	sim_put(block + 72, BLOCK(5));
	mark(s);
	assert_false(sim_white(s, BLOCK(1)));
	assert_false(sim_white(s, BLOCK(5)));
	/* Unmap the second half: the first half is still read. */
	sim_map(BLOCK(3), 64, false);
	mark(s);
	assert_int_equal(sim_events(s, KMT_EV_FAULT), 1);
	assert_false(sim_white(s, BLOCK(1)));
	assert_true(sim_white(s, BLOCK(5)));
	assert_int_equal(s->m.stack.refs, 0);
	sim_map(BLOCK(3), 64, true);
}

/* A block that needs several references gets them, wherever they are. */
static void test_several(void **state)
{
	struct sim *s = *state;
	unsigned int need, have, i;

	for (need = 1; need < 6; need++) {
		sim_alloc_min(s, BLOCK(9), 64, need);
		for (have = 0; have < 8; have++) {
			for (i = 0; i < 8; i++) {
				sim_alloc(s, BLOCK(i), 64);
				sim_put(ROOT(i), BLOCK(i));
				sim_put(BLOCK(i / 2) + 8 + i % 2 * 8,
					i < have ? BLOCK(9) : 0);
			}
			mark(s);
			assert_int_equal(sim_white(s, BLOCK(9)), have < need);
			for (i = 0; i < 8; i++)
				sim_free(s, BLOCK(i), 64);
		}
		sim_free(s, BLOCK(9), 64);
	}
}

/* Words seen in one mark are looked up again in the next one. */
static void test_forgotten(void **state)
{
	struct sim *s = *state;

	sim_put(ROOT(0), BLOCK(1) + 8);
	mark(s);
	sim_alloc(s, BLOCK(1), 64);
	mark(s);
	assert_false(sim_white(s, BLOCK(1)));
	mark(s);
	assert_false(sim_white(s, BLOCK(1)));
	sim_put(ROOT(0), 0);
	mark(s);
	assert_true(sim_white(s, BLOCK(1)));
}

/*
 * A word seen before a block is allocated there need not be looked up again in the
 * same mark: such a block counts as reached.
 */
static void test_useless_and_born(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(2), 64);
	kmt_mark_begin(&s->m);
	kmt_mark_word(&s->m, BLOCK(1));
	sim_alloc(s, BLOCK(1), 64);
	sim_put(BLOCK(1), BLOCK(2));
	kmt_mark_word(&s->m, BLOCK(1));
	kmt_mark_sweep(&s->m);
	kmt_mark_end(&s->m);
	assert_false(sim_white(s, BLOCK(1)));
	assert_false(sim_white(s, BLOCK(2)));
}

/* Follows a reference as most are followed: one that was noted. */
static void follow(struct sim *s, unsigned long word)
{
	sim_put(ROOT(0), word);
	kmt_mark_range(&s->m, ROOT(0), ROOT(1));
}

/* The block that was found last may have been freed, or its cell used for another. */
static void test_stale_neighbour(void **state)
{
	unsigned int remember;

	for (remember = 0; remember < 2; remember++) {
		struct sim *s = sim_new(3, 1, 256);
		unsigned long far = SIM_LINEAR + 0x30000;

		sim_remember(s, remember);
		sim_alloc(s, BLOCK(1), 64);
		sim_alloc(s, BLOCK(1) + 64, 64);
		kmt_mark_begin(&s->m);
		follow(s, BLOCK(1) + 1);
		assert_int_equal(s->m.near->addr, BLOCK(1));
		follow(s, BLOCK(1) + 65);
		assert_int_equal(s->m.near->addr, BLOCK(1) + 64);
		sim_free(s, BLOCK(1) + 64, 64);
		follow(s, BLOCK(1) + 63);
		assert_false(sim_white(s, BLOCK(1)));
		/* Use its cell for a block in another region. */
		follow(s, BLOCK(1));
		sim_free(s, BLOCK(1), 64);
		while (kmt_reclaim_cells(&s->core, 1))
			;
		sim_alloc(s, far, 64);
		sim_alloc(s, far + 64, 64);
		sim_alloc(s, BLOCK(1) + 128, 64);
		kmt_mark_end(&s->m);
		sim_put(ROOT(0), far + 64);
		sim_put(ROOT(1), BLOCK(1) + 128);
		mark(s);
		assert_true(sim_white(s, far));
		assert_false(sim_white(s, far + 64));
		assert_false(sim_white(s, BLOCK(1) + 128));
		sim_delete(s);
	}
}

/* A root that becomes an ordinary block during a mark. */
static void test_root_no_more(void **state)
{
	struct sim *s = *state;

	sim_alloc_min(s, BLOCK(1), 64, KMT_MIN_GREY);
	sim_mark(s, ROOT(0), ROOT(64));
	assert_true(kmt_set_min(&s->core, KMT_VIRT, BLOCK(1), 1));
	kmt_suspect_for_search(&s->m, &s->filter, &s->v);
	kmt_mark_end(&s->m);
	assert_int_equal(s->v.suspects, 1);
	assert_int_equal(s->v.all_suspects, 1);
}

/*
 * A lock is kept from one block of a region to the next, but not for long:
 * allocations and frees in the region wait for it.
 */
static void test_hold(void **state)
{
	struct sim *s = *state;
	unsigned long size, i, nr;

	for (size = 8; size <= 512; size *= 2) {
		nr = 0x8000 / size;
		for (i = 0; i < nr; i++) {
			sim_alloc(s, SIM_LINEAR + i * size, size);
			sim_put(SIM_LINEAR + i * size,
				SIM_LINEAR + (i + 1) % nr * size);
		}
		sim_put(ROOT(0), SIM_LINEAR + size * (nr / 2));
		host_words_held_max = 0;
		mark(s);
		for (i = 0; i < nr; i++)
			assert_false(sim_white(s, SIM_LINEAR + i * size));
		assert_in_range(host_words_held_max, 2 * size / sizeof(long),
				512);
		for (i = 0; i < nr; i++)
			sim_free(s, SIM_LINEAR + i * size, size);
	}
	/* Nor is it held for long while a large block full of references is read. */
	sim_alloc(s, ARRAY, 0x8000);
	for (i = 0; i < 0x8000; i += 8)
		sim_put(ARRAY + i, ARRAY + 0x8000 + i);
	sim_put(ROOT(0), ARRAY);
	host_words_held_max = 0;
	mark(s);
	assert_in_range(host_words_held_max, 64, 256);
}

#define MEMBER(n)	(SIM_LINEAR + 32ul * ((n) % MEMBERS))
#define MEMBERS		6000

/*
 * A long list whose members refer to one neighbour twice needs no more room than
 * others, whichever member is reached first.
 */
static void test_double_list(void **state)
{
	unsigned int way, i;

	for (way = 0; way < 4; way++) {
		struct sim *s = sim_new(1100, 6, 4096);

		sim_alloc(s, ARRAY, 8 * MEMBERS);
		for (i = 0; i < MEMBERS; i++) {
			const unsigned long next = MEMBER(i + 1);
			const unsigned long last = MEMBER(i + MEMBERS - 1);

			sim_alloc(s, MEMBER(i), 32);
			sim_put(MEMBER(i), next);
			sim_put(MEMBER(i) + 8, last);
			sim_put(MEMBER(i) + 16, way & 1 ? next : last);
			sim_put(ARRAY + 8 * i, MEMBER(i));
		}
		sim_put(ROOT(0), way & 2 ? ARRAY : MEMBER(MEMBERS / 2));
		mark(s);
		for (i = 0; i < MEMBERS; i++)
			assert_false(sim_white(s, MEMBER(i)));
		assert_int_equal(sim_events(s, KMT_EV_MARK_STACK_FULL), 0);
		sim_delete(s);
	}
}

/* Number of members of a list, and of blocks that they refer to. */
#define LIST		2000

/*
 * Large blocks that are reached while many references wait are read like others:
 * their words are not looked up one by one.
 */
static void test_large_in_list(void **state)
{
	const unsigned long second = ARRAY + 0x10000;
	unsigned long locks[2];
	unsigned int way, i;

	for (way = 0; way < 2; way++) {
		struct sim *s = sim_new(1100, 6, 4096);

		sim_alloc(s, ARRAY, 16 * LIST);
		sim_alloc(s, second, 16 * LIST);
		for (i = 0; i < 2 * LIST; i++) {
			sim_alloc(s, MEMBER(i), 32);
			sim_put(ARRAY + 8 * i, MEMBER(i));
			sim_put(second + 8 * i, MEMBER(i));
		}
		/* As many blocks hang on the list as there is room for. */
		for (i = 0; i < LIST; i++) {
			sim_put(MEMBER(i), MEMBER(LIST + i));
			sim_put(MEMBER(i) + 8, MEMBER(i + 1));
		}
		sim_put(MEMBER(LIST - 1) + 8, way ? ARRAY : 0);
		sim_put(MEMBER(LIST - 1) + 16, way ? second : 0);
		sim_put(ROOT(0), MEMBER(0));
		sim_put(ROOT(1), way ? 0 : ARRAY);
		sim_put(ROOT(2), way ? 0 : second);
		host_locks_taken = 0;
		mark(s);
		locks[way] = host_locks_taken;
		for (i = 0; i < 2 * LIST; i++)
			assert_false(sim_white(s, MEMBER(i)));
		assert_false(sim_white(s, ARRAY));
		assert_false(sim_white(s, second));
		sim_delete(s);
	}
	assert_in_range(locks[1], 1, locks[0] + LIST / 4);
}

/* Without the table of words already seen, the result is the same. */
static void test_no_table(void **state)
{
	struct sim *s = *state;

	s->m.seen_cache = NULL;
	test_all_words(state);
	test_several(state);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_all_words),
		cmocka_unit_test(test_room),
		T(test_percpu_in_image),
		T(test_percpu_among_others),
		T(test_small_pointers),
		T(test_gap),
		T(test_holes),
		T(test_unreadable),
		T(test_several),
		T(test_forgotten),
		T(test_useless_and_born),
		cmocka_unit_test(test_stale_neighbour),
		T(test_root_no_more),
		T(test_hold),
		cmocka_unit_test(test_double_list),
		cmocka_unit_test(test_large_in_list),
		T(test_no_table),
	};

	return cmocka_run_group_tests_name("follow", tests, NULL, NULL);
}
