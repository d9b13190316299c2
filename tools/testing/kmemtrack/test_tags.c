// SPDX-License-Identifier: GPL-2.0
/*
 * Tag-based KASAN: a word with a tag in its top byte is a reference like one
 * without, wherever words are compared with addresses.
 */
#include "sim.h"

static const u8 tags[] = { 0x00, 0x01, 0x3a, 0x7f, 0x80, 0xf0, 0xfe, 0xff };

#define NO_TAG	(~0ul >> 8)

static unsigned long tag(unsigned long addr, unsigned int nr)
{
	return (addr & NO_TAG) | (unsigned long)tags[nr] << 56;
}

static int setup(void **state)
{
	host_tags = true;
	return sim_setup(state);
}

static int teardown(void **state)
{
	host_tags = false;
	return sim_teardown(state);
}

/* Where references are: small blocks, large blocks, per-CPU copies. */
#define BIG		SIM_VMALLOC
#define BIG_SIZE	0x3000ul

static const unsigned long places[] = {
	ROOT(0), ROOT(1), ROOT(63), ROOT(64), BLOCK(1), BLOCK(1) + 56,
	BIG, BIG + 0xff8, BIG + 0x1000, BIG + BIG_SIZE - 8,
	SIM_COPIES + 3 * SIM_PERCPU_LEN + 8, BLOCK(2) + 16,
};

static void add_holders(struct sim *s)
{
	sim_alloc(s, BLOCK(1), 64);
	sim_put(ROOT(80), tag(BLOCK(1), 2));
	sim_alloc(s, BIG, BIG_SIZE);
	sim_put(ROOT(81), tag(BIG, 3));
	assert_false(sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1));
	sim_put(ROOT(82), tag(SIM_PERCPU, 5));
	sim_alloc(s, BLOCK(2), 64);
	sim_put(ROOT(83), tag(BLOCK(2) + 63, 1));
	kmt_add_area(&s->core, BLOCK(2) + 16, 8, GFP_KERNEL);
}

#define OBJECT	BLOCK(9)

static void test_mark(void **state)
{
	struct sim *s = *state;
	unsigned int i, t;

	add_holders(s);
	sim_alloc(s, OBJECT, 64);
	for (i = 0; i < ARRAY_SIZE(places); i++)
		for (t = 0; t < ARRAY_SIZE(tags); t++) {
			sim_put(places[i], tag(OBJECT + t, t));
			sim_mark(s, ROOT(0), ROOT(512));
			kmt_mark_end(&s->m);
			assert_false(sim_white(s, OBJECT));
			assert_false(sim_white(s, BIG));
			sim_put(places[i], 0);
		}
	sim_mark(s, ROOT(0), ROOT(512));
	kmt_mark_end(&s->m);
	assert_true(sim_white(s, OBJECT));
	/* With bit 55 clear it is a user address, whatever the tag. */
	sim_put(ROOT(0), OBJECT & ~(1ul << 55));
	sim_mark(s, ROOT(0), ROOT(512));
	kmt_mark_end(&s->m);
	assert_true(sim_white(s, OBJECT));
}

/* Roots that are words without an address, one by one. */
static void test_words(void **state)
{
	struct sim *s = *state;
	unsigned int t;

	sim_alloc(s, OBJECT, 64);
	for (t = 0; t < ARRAY_SIZE(tags); t++) {
		unsigned long word = tag(OBJECT, t);

		kmt_mark_begin(&s->m);
		kmt_mark_words(&s->m, &word, 1);
		kmt_mark_sweep(&s->m);
		kmt_mark_end(&s->m);
		assert_false(sim_white(s, OBJECT));
	}
}

/* A late reference that a snapshot has to find. */
static void snapshot(struct sim *s, unsigned long at, unsigned long word)
{
	sim_alloc(s, OBJECT, 64);
	sim_put_late(s, at, word);
	assert_true(sim_snapshot(s, ROOT(0), ROOT(512)));
	assert_int_equal(s->suspects, 1);
	assert_false(sim_leak(s, OBJECT));
	sim_put(at, 0);
	sim_free(s, OBJECT, 64);
	check_core(s);
}

static void test_snapshot(void **state)
{
	struct sim *s = *state;
	u8 *pages = s->filter.pages;
	unsigned int i, t, all;

	add_holders(s);
	for (all = 0; all < 2; all++) {
		s->filter.pages = all ? NULL : pages;
		for (i = 0; i < ARRAY_SIZE(places); i++)
			for (t = 0; t < ARRAY_SIZE(tags); t++)
				snapshot(s, places[i], tag(OBJECT + 8, t));
	}
}

/* At unaligned addresses, next to words with bytes like those of an address. */
static void test_bytes(void **state)
{
	static const unsigned long beside[] = {
		0, NO_TAG >> 16, OBJECT & (NO_TAG >> 16), 1
	};
	struct sim *s = *state;
	unsigned int i, odd, t;

	add_holders(s);
	for (i = 0; i < ARRAY_SIZE(beside); i++)
		for (odd = 1; odd < 8; odd++)
			for (t = 0; t < ARRAY_SIZE(tags); t++) {
				unsigned long word = tag(OBJECT, t);
				unsigned long at = BLOCK(1) + 8;

				sim_alloc(s, OBJECT, 64);
				sim_put(at, beside[i]);
				sim_put(at + 8, beside[i]);
				memcpy((char *)sim_host(at) + odd, &word,
				       sizeof(word));
				assert_true(sim_snapshot(s, ROOT(0),
							 ROOT(512)));
				assert_int_equal(s->suspects, 1);
				assert_false(sim_leak(s, OBJECT));
				sim_put(at, 0);
				sim_put(at + 8, 0);
				sim_free(s, OBJECT, 64);
			}
}

static void test_classify(void **state)
{
	struct sim *s = *state;
	unsigned int t;

	for (t = 0; t < ARRAY_SIZE(tags); t++) {
		sim_alloc(s, BLOCK(20 + 2 * t), 64);
		sim_alloc(s, BLOCK(21 + 2 * t), 64);
		sim_put(BLOCK(20 + 2 * t) + 8, tag(BLOCK(21 + 2 * t) + 4, t));
	}
	assert_false(sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1));
	sim_put(BLOCK(20), tag(SIM_PERCPU, 4));
	sim_scan(s, ROOT(0), ROOT(8));
	assert_int_equal(s->v.leaks, 2 * ARRAY_SIZE(tags) + 1);
	for (t = 0; t < ARRAY_SIZE(tags); t++) {
		assert_false(sim_indirect(s, BLOCK(20 + 2 * t)));
		assert_true(sim_indirect(s, BLOCK(21 + 2 * t)));
	}
	assert_true(sim_object(s, KMT_PERCPU, SIM_PERCPU).flags & KMT_INDIRECT);
}

/* Without tags the top byte is part of the address. */
static void test_untagged(void **state)
{
	struct sim *s = *state;
	unsigned int t;

	host_tags = false;
	sim_alloc(s, OBJECT, 64);
	for (t = 0; t < ARRAY_SIZE(tags); t++) {
		sim_put(ROOT(0), tag(OBJECT, t));
		sim_mark(s, ROOT(0), ROOT(8));
		kmt_mark_end(&s->m);
		assert_int_equal(sim_white(s, OBJECT), tags[t] != 0xff);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_mark, setup, teardown),
		cmocka_unit_test_setup_teardown(test_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_snapshot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_classify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_untagged, setup, teardown),
	};

	return cmocka_run_group_tests_name("tags", tests, NULL, NULL);
}
