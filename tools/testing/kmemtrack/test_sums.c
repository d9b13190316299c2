// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks that are summed up before the stop: the snapshot skips those that are
 * unchanged, and searches the others at each address.
 */
#include "sim.h"

/* Not aligned to a page: see SIM_ODD(). */
#define OBJECT	(BLOCK(1) + 64)
#define BEHIND	(BLOCK(2) + 64)
#define LOST	BLOCK(3)
#define HOLDER	BLOCK(10)
#define WORDS	128u

static void put_bytes(unsigned long addr, unsigned long word)
{
	memcpy(sim_host(addr), &word, sizeof(word));
}

static struct sim *new_sim(unsigned int markers)
{
	struct sim *s = sim_new(4, 100, 1 + markers % 3);

	s->markers = markers;
	sim_alloc(s, OBJECT, 64);
	sim_alloc(s, LOST, 64);
	sim_alloc(s, HOLDER, W * WORDS);
	sim_put(ROOT(9), HOLDER);
	return s;
}

static void scan(struct sim *s)
{
	assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
	assert_true(sim_leak(s, LOST));
	check_core(s);
}

/* Sets what the next scan does between the sums and the stop, and scans. */
static void next(struct sim *s, void (*then)(struct sim *s))
{
	s->late_phase = SIM_SUSPECTED;
	s->then = then;
	scan(s);
}

static void swap_words(unsigned long *a, unsigned long *b)
{
	unsigned long word = *a;

	*a = *b;
	*b = word;
}

static void test_sum(void **state)
{
	unsigned long words[23];
	u64 rng = 5, all, sum;
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = sim_random(&rng);
	all = kmt_sum_words(words, ARRAY_SIZE(words), 0);
	/* The sum is the same in pieces of any length. */
	for (i = 0; i <= ARRAY_SIZE(words); i++) {
		for (k = i; k <= ARRAY_SIZE(words); k++) {
			sum = kmt_sum_words(words, i, 0);
			sum = kmt_sum_words(words + i, k - i, sum);
			sum = kmt_sum_words(words + k, ARRAY_SIZE(words) - k, sum);
			assert_int_equal(sum, all);
		}
	}
	/* The sum depends on each bit of each word, and on the order of words. */
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		for (k = 0; k < BITS_PER_LONG; k++) {
			words[i] ^= 1ul << k;
			sum = kmt_sum_words(words, ARRAY_SIZE(words), 0);
			assert_int_not_equal(kmt_sum_end(sum),
					     kmt_sum_end(all));
			words[i] ^= 1ul << k;
		}
		for (k = 0; k < i; k++) {
			swap_words(&words[i], &words[k]);
			sum = kmt_sum_words(words, ARRAY_SIZE(words), 0);
			assert_int_not_equal(kmt_sum_end(sum),
					     kmt_sum_end(all));
			swap_words(&words[i], &words[k]);
		}
	}
}

/* Words that are zero but for the last one, which is not multiplied. */
static void test_last_word(void **state)
{
	static const u64 steps[] = {
		1, 2, 1ull << 32, (1ull << 32) + 1, (1ull << 32) - 1,
		(1ull << 33) - 2,
	};
	unsigned long words[3] = {}, zeroes[3] = {};
	unsigned int i;
	u64 all, sum;

	all = kmt_sum_words(zeroes, ARRAY_SIZE(zeroes), KMT_SUM_BEGIN);
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		words[2] = steps[i];
		if (!words[2])
			continue;
		sum = kmt_sum_words(words, ARRAY_SIZE(words), KMT_SUM_BEGIN);
		assert_int_not_equal(kmt_sum_end(sum), kmt_sum_end(all));
	}
}

/* A sum is never 0, which stands for no sum. */
static void test_never_zero(void **state)
{
	u64 rng = 7;
	unsigned int i;

	assert_int_not_equal(kmt_sum_end(0), 0);
	for (i = 0; i < 64; i++)
		assert_int_not_equal(kmt_sum_end(1ull << i), 0);
	for (i = 0; i < 1000; i++) {
		u64 half = sim_random(&rng) & 0xffffffff;

		assert_int_not_equal(kmt_sum_end(half << 32 | half), 0);
	}
}

/* Makes OBJECT a block that was not reported yet: a scan needs a new suspect. */
static void renew(struct sim *s)
{
	sim_free(s, OBJECT, 64);
	sim_alloc(s, OBJECT, 64);
}

static void change(struct sim *s)
{
	sim_put(HOLDER + 48, 0x89abcdef);
}

static void nothing(struct sim *s)
{
}

static unsigned long still_words(struct sim *s)
{
	unsigned long words = 0;
	unsigned int i;

	for (i = 0; i < s->markers; i++)
		words += s->stop_marker[i].stats.words;
	return words;
}

/* A block that refers to a suspect does not cause more words of others to be read. */
static void test_one_of_many(void **state)
{
	unsigned int i;

	for (i = 0; i < 8; i++) {
		struct sim *s = new_sim(1);
		unsigned int k;

		for (k = 0; k < 8; k++) {
			sim_alloc(s, BLOCK(20 + k), W * WORDS);
			sim_put(ROOT(20 + k), BLOCK(20 + k));
			sim_put(BLOCK(20 + k) + 8, k + 1);
		}
		put_bytes(BLOCK(20 + i) + 51, OBJECT);
		next(s, nothing);
		assert_int_equal(still_words(s), 64 + 10 * WORDS + 2 * 64 / W);
		sim_delete(s);
	}
}

/* Each word of an unchanged block is read once, of a changed one three times. */
static void test_passed_over(void **state)
{
	unsigned int markers;

	for (markers = 1; markers <= SIM_MARKERS; markers++) {
		struct sim *s = new_sim(markers);

		next(s, nothing);
		assert_int_equal(still_words(s), 64 + WORDS);
		renew(s);
		next(s, change);
		assert_int_equal(still_words(s), 64 + 3 * WORDS);
		renew(s);
		next(s, nothing);
		assert_int_equal(still_words(s), 64 + WORDS);
		/*
		 * A search finds an unaligned reference like any other; only the
		 * lost block is a suspect then.
		 */
		renew(s);
		sim_free(s, LOST, 64);
		sim_alloc(s, LOST, 64);
		put_bytes(HOLDER + 51, OBJECT);
		next(s, nothing);
		assert_int_equal(still_words(s), 64 + 2 * WORDS + 2 * 64 / W);
		assert_false(sim_leak(s, OBJECT));
		sim_delete(s);
	}
}

static unsigned long where;

static void refer(struct sim *s)
{
	put_bytes(where, OBJECT + SIM_ODD(60));
}

static void unrefer(struct sim *s)
{
	put_bytes(where, 0);
}

#define BIG	(SIM_VMALLOC + 24)
#define SIZE	0x2400ul

static void add_holders(struct sim *s)
{
	sim_alloc(s, BIG, SIZE);
	sim_put(ROOT(50), BIG);
	sim_alloc_min(s, BLOCK(11), 64, KMT_MIN_GREY);
	assert_false(sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1));
	sim_put(ROOT(51), SIM_PERCPU);
	sim_alloc(s, BLOCK(12), 64);
	sim_put(ROOT(52), BLOCK(12));
	kmt_set_flags(&s->core, KMT_VIRT, BLOCK(12), KMT_NO_SCAN);
	sim_alloc(s, BLOCK(13), 64);
	sim_put(ROOT(53), BLOCK(13));
	kmt_add_area(&s->core, BLOCK(13) + 16, 24, GFP_KERNEL);
	assert_false(sim_insert(s, KMT_ROOT, ROOT(1000), 64, 0));
	sim_own(ROOT(1000), 72);
}

static const struct {
	unsigned long at;
	bool counts;
	bool summed;
} places[] = {
	{ HOLDER, true, true },
	{ HOLDER + W * WORDS - 2 * W, true, true },
	{ BIG, true, true },
	{ SIM_VMALLOC + 0x1000 - W, true, true },
	{ SIM_VMALLOC + 0x1200 - W, true, true },
	{ BIG + SIZE - 2 * W, true, true },
	{ BLOCK(11), true, true },
	{ BLOCK(11) + 48, true, true },
	{ SIM_COPIES + 48, true, true },
	{ SIM_COPIES + 7 * SIM_PERCPU_LEN, true, true },
	{ BLOCK(12) + 8, false, true },
	{ BLOCK(13), false, true },
	{ BLOCK(13) + 16, true, true },
	{ BLOCK(13) + 24, true, true },
	{ BLOCK(13) + 40, false, true },
	{ ROOT(0), true, false },
	{ ROOT(1003), true, false },
	{ OBJECT + 8, false, true },
};

/* A reference that is stored after the block was summed up. */
static void try_late(unsigned int i, unsigned int odd, unsigned int markers)
{
	struct sim *s = new_sim(markers);
	bool in_time = places[i].counts && (places[i].summed || !odd);

	add_holders(s);
	where = places[i].at + odd;
	next(s, refer);
	assert_int_equal(s->suspects, 2);
	assert_int_equal(s->left, in_time ? 1 : 2);
	assert_int_equal(sim_leak(s, OBJECT), !places[i].counts);
	sim_delete(s);
}

/*
 * A reference that is there when the block is summed up, and may be removed then:
 * the search has found it, unless it is at an unaligned address in a root.
 */
static void try_early(unsigned int i, unsigned int odd, unsigned int markers)
{
	struct sim *s = new_sim(markers);
	bool seen = places[i].counts && (!odd || places[i].at != ROOT(0));

	add_holders(s);
	where = places[i].at + odd;
	refer(s);
	next(s, nothing);
	assert_int_equal(s->suspects, odd || !places[i].counts ? 2 : 1);
	assert_int_equal(s->sought, seen ? 1 : 2);
	assert_int_equal(sim_leak(s, OBJECT), !places[i].counts);
	sim_delete(s);

	s = new_sim(markers);
	add_holders(s);
	refer(s);
	next(s, unrefer);
	assert_int_equal(sim_leak(s, OBJECT), !seen);
	sim_delete(s);
}

static void test_places(void **state)
{
	unsigned int i, odd;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		for (odd = 0; odd < W; odd++) {
			try_late(i, odd, 1 + odd % SIM_MARKERS);
			try_early(i, odd, 1 + odd % SIM_MARKERS);
		}
	}
}

/* References in a suspect that is acquitted count, at any address in it. */
static void test_suspects(void **state)
{
	unsigned int odd;

	for (odd = 0; odd < W; odd++) {
		struct sim *s = new_sim(1 + odd % SIM_MARKERS);

		sim_alloc(s, BEHIND, 64);
		sim_own(OBJECT, 64);
		sim_put(OBJECT, 0);
		put_bytes(OBJECT + 24 + odd, BEHIND + SIM_ODD(4));
		where = odd & 1 ? HOLDER + 8 : HOLDER + 11;
		next(s, refer);
		assert_int_equal(s->suspects, 3);
		assert_int_equal(s->left, 1);
		assert_false(sim_leak(s, OBJECT));
		assert_false(sim_leak(s, BEHIND));
		sim_delete(s);
	}
}

/* A sum is valid only for the suspects of the same scan. */
static void test_old_sums(void **state)
{
	struct sim *s = new_sim(2);

	put_bytes(HOLDER + 13, OBJECT);
	sim_put(ROOT(1), OBJECT);
	scan(s);
	assert_int_equal(s->suspects, 1);
	sim_put(ROOT(1), 0);
	sim_alloc(s, BEHIND, 64);
	scan(s);
	assert_int_equal(s->suspects, 2);
	assert_false(sim_leak(s, OBJECT));
	assert_true(sim_leak(s, BEHIND));
	sim_delete(s);
}

static void bear(struct sim *s)
{
	sim_alloc(s, where, 64);
	put_bytes(where + 21, OBJECT);
}

static void bear_again(struct sim *s)
{
	sim_free(s, HOLDER, W * WORDS);
	sim_alloc(s, HOLDER, W * WORDS);
	put_bytes(HOLDER + 21, OBJECT);
}

/* A block that was allocated since has no sum. */
static void test_born(void **state)
{
	struct sim *s = new_sim(2);

	where = BLOCK(20);
	next(s, bear);
	assert_int_equal(s->left, 1);
	assert_false(sim_leak(s, OBJECT));
	sim_delete(s);

	s = new_sim(3);
	next(s, bear_again);
	assert_int_equal(s->left, 1);
	assert_false(sim_leak(s, OBJECT));
	sim_delete(s);
}

static void shift(struct sim *s)
{
	kmt_add_area(&s->core, HOLDER + 64, 64, GFP_KERNEL);
	put_bytes(HOLDER + 75, OBJECT);
}

/* The scan areas of a block have changed. */
static void test_areas(void **state)
{
	struct sim *s = new_sim(2);

	next(s, shift);
	assert_false(sim_leak(s, OBJECT));
	put_bytes(HOLDER + 75, 0);
	put_bytes(HOLDER + 128, OBJECT);
	sim_alloc(s, BEHIND, 64);
	next(s, nothing);
	assert_true(sim_leak(s, OBJECT));
	sim_delete(s);
}

static void two_words(struct sim *s)
{
	put_bytes(HOLDER + 16, OBJECT);
	put_bytes(HOLDER + 37, OBJECT + SIM_ODD(8));
}

static void one_word(struct sim *s)
{
	put_bytes(HOLDER + 16, OBJECT);
}

/* Each reference counts once. */
static void test_counts(void **state)
{
	unsigned int min;

	for (min = 1; min <= 3; min++) {
		struct sim *s = new_sim(min);

		sim_free(s, OBJECT, 64);
		sim_alloc_min(s, OBJECT, 64, min);
		next(s, one_word);
		assert_int_equal(sim_leak(s, OBJECT), min > 1);
		sim_delete(s);

		s = new_sim(min);
		sim_free(s, OBJECT, 64);
		sim_alloc_min(s, OBJECT, 64, min);
		next(s, two_words);
		assert_int_equal(sim_leak(s, OBJECT), min > 2);
		sim_delete(s);
	}
}

/* A block with several ranges has one sum, and counts as unchanged. */
static void test_several_ranges(void **state)
{
	struct sim *s = new_sim(1);

	add_holders(s);
	next(s, nothing);
	renew(s);
	next(s, nothing);
	/* Roots and the section, each block once, eight per-CPU copies, a scan area. */
	assert_int_equal(still_words(s), 64 + WORDS +
			 (64 + SIZE + 64 + HOST_CPUS * 64 + 24) / W);
	sim_delete(s);
}

/* Returns how many of 10,000 references to other blocks the filter lets pass. */
static unsigned int let_through(unsigned long cells)
{
	const unsigned long suspects = cells / 1000, apart = 64 * 1000;
	struct kmt_core core = { .pool.cells = cells };
	const size_t bytes = kmt_filter_bytes(&core);
	struct kmt_filter f = {
		.bits = calloc(1, bytes), .mask = 8 * bytes - 1,
	};
	struct kmt_marker m = { .core = &core, .filter = &f,
				.mode = KMT_MODE_SUM };
	unsigned int i, nr = 0;
	u64 seed = 1;

	assert_non_null(f.bits);
	assert_int_equal(bytes & (bytes - 1), 0);
	for (i = 0; i < suspects; i++)
		kmt_filter_add(&f, KMT_VIRT, SIM_LINEAR + i * apart, 64);
	for (i = 0; i < 10000; i++) {
		const unsigned long n = sim_random(&seed) % suspects;

		m.sum.found = false;
		kmt_search_word(&m, SIM_LINEAR + n * apart + PAGE_SIZE);
		nr += m.sum.found;
	}
	free(f.bits);
	return nr;
}

/* The filter grows with the number of blocks, so it stays as selective. */
static void test_filter_grows(void **state)
{
	assert_in_range(let_through(100000), 0, 300);
	assert_in_range(let_through(10000000), 0, 300);
	assert_in_range(let_through(100000000), 0, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter_grows),
		cmocka_unit_test(test_sum),
		cmocka_unit_test(test_last_word),
		cmocka_unit_test(test_never_zero),
		cmocka_unit_test(test_passed_over),
		cmocka_unit_test(test_one_of_many),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_suspects),
		cmocka_unit_test(test_old_sums),
		cmocka_unit_test(test_born),
		cmocka_unit_test(test_areas),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_several_ranges),
	};

	return cmocka_run_group_tests_name("sums", tests, NULL, NULL);
}
