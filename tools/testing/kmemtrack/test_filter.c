// SPDX-License-Identifier: GPL-2.0
/*
 * Which words does the filter of suspects let pass?
 *
 * The whole linear map is one suspect here, so that a word is a hit exactly if
 * the filter lets it pass.
 */
#include "sim.h"

#define MAX_BITS 1024

static unsigned long bits[MAX_BITS / BITS_PER_LONG];
static u8 pages[KMT_FILTER_PAGES];

/* Ranges that the filter lets pass. */
static struct kmt_range passing[8];
static unsigned int nr_passing;

/* Whether the filter has to let @word pass. */
static bool is_let(unsigned long word)
{
	unsigned int i;

	for (i = 0; i < nr_passing; i++)
		if (word >= passing[i].lo && word < passing[i].hi)
			return true;
	return false;
}

/* Whether the filter may let @word pass: it is in the hull of all ranges. */
static bool may_pass(unsigned long word)
{
	bool below = false, above = false;
	unsigned int i;

	for (i = 0; i < nr_passing; i++) {
		above |= word >= passing[i].lo;
		below |= word < passing[i].hi;
	}
	return above && below;
}

static void let_pass(struct kmt_filter *f, unsigned long addr,
		     unsigned long size)
{
	kmt_filter_add(f, KMT_VIRT, addr, size);
	passing[nr_passing++] = (struct kmt_range){ addr, addr + size };
}

static void no_pass(struct kmt_filter *f)
{
	kmt_filter_reset(f);
	nr_passing = 0;
}

/* All kinds of filters: with or without bits, with or without bytes for pages. */
static const struct kind {
	unsigned int bits;
	bool pages;
} kinds[] = {
	{ 0, false }, { 64, false }, { 128, false }, { MAX_BITS, false },
	{ 0, true }, { 64, true }, { MAX_BITS, true },
};

#define KINDS	ARRAY_SIZE(kinds)

static void set_kind(struct kmt_filter *f, const struct kind *kind)
{
	f->bits = kind->bits ? bits : NULL;
	f->mask = kind->bits ? kind->bits - 1 : 0;
	f->pages = kind->pages ? pages : NULL;
	memset(bits, 0xff, sizeof(bits));
	memset(pages, 0xff, sizeof(pages));
	no_pass(f);
}

/* The suspect is the linear map without its first @skip bytes. */
static struct sim *new_filter(unsigned long skip)
{
	struct sim *s = sim_new(63, 2, 4);
	struct kmt_verdict v;

	sim_alloc_min(s, SIM_LINEAR + skip, SIM_LINEAR_LEN - skip, KMT_MIN_MAX);
	sim_mark(s, ROOT(0), ROOT(1));
	kmt_suspect_for_search(&s->m, &s->filter, &v);
	assert_int_equal(v.suspects, 1);
	assert_int_equal(s->filter.hull.lo, SIM_LINEAR + skip);
	assert_int_equal(s->filter.hull.hi, SIM_LINEAR + SIM_LINEAR_LEN);
	kmt_marker_set_search(&s->m, KMT_MODE_ALIGNED, &s->filter);
	set_kind(&s->filter, &kinds[5]);
	return s;
}

static int setup(void **state)
{
	*state = new_filter(0);
	return 0;
}

/* For unaligned references: SIM_ODD() says which of them count. */
#define FIRST	(SIM_LINEAR + 64)

static int setup_odd(void **state)
{
	*state = new_filter(FIRST - SIM_LINEAR);
	return 0;
}

static int teardown(void **state)
{
	struct sim *s = *state;

	kmt_marker_set_follow(&s->m);
	kmt_mark_end(&s->m);
	return sim_teardown(state);
}

static unsigned long hits(struct sim *s, const unsigned long *words,
			  unsigned int nr)
{
	unsigned long was = s->m.stats.hits;

	kmt_search_words(&s->m, words, nr);
	return s->m.stats.hits - was;
}

static unsigned long byte_hits(struct sim *s, const unsigned long *words,
			       unsigned int nr, unsigned long at)
{
	unsigned long was = s->m.stats.hits;

	kmt_search_bytes(&s->m, words, nr, at);
	return s->m.stats.hits - was;
}

static unsigned long passes(struct sim *s, unsigned long word)
{
	return hits(s, &word, 1);
}

static void test_empty(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	for (i = 0; i < KINDS; i++) {
		set_kind(&s->filter, &kinds[i]);
		assert_int_equal(passes(s, 0), 0);
		assert_int_equal(passes(s, ~0ul), 0);
		assert_int_equal(passes(s, SIM_LINEAR), 0);
		let_pass(&s->filter, SIM_LINEAR, SIM_LINEAR_LEN);
		assert_int_equal(passes(s, SIM_LINEAR), 1);
		no_pass(&s->filter);
		assert_int_equal(passes(s, SIM_LINEAR), 0);
		/* Resetting the filter clears the bits, not only the hull. */
		let_pass(&s->filter, BLOCK(3), 64);
		let_pass(&s->filter, BLOCK(5), 64);
		if (kinds[i].pages || kinds[i].bits == MAX_BITS)
			assert_int_equal(passes(s, BLOCK(4)), 0);
	}
}

static void test_hull(void **state)
{
	struct sim *s = *state;
	unsigned int k, i;

	for (k = 0; k < KINDS; k++) {
		/* Add the ranges in both orders. */
		for (i = 0; i < 2; i++) {
			set_kind(&s->filter, &kinds[k]);
			let_pass(&s->filter, BLOCK(i ? 20 : 10) + 100, 50);
			let_pass(&s->filter, BLOCK(i ? 10 : 20) + 100, 50);
			assert_int_equal(passes(s, BLOCK(10) + 99), 0);
			assert_int_equal(passes(s, BLOCK(10) + 100), 1);
			assert_int_equal(passes(s, BLOCK(10) + 149), 1);
			assert_int_equal(passes(s, BLOCK(20) + 100), 1);
			assert_int_equal(passes(s, BLOCK(20) + 149), 1);
			assert_int_equal(passes(s, BLOCK(20) + 150), 0);
			assert_int_equal(passes(s, 0), 0);
			/* Without bits, the whole hull passes. */
			if (kinds[k].bits || kinds[k].pages)
				continue;
			assert_int_equal(passes(s, BLOCK(11) + 7), 1);
			assert_int_equal(passes(s, BLOCK(20) + 99), 1);
		}
	}
}

/* Tries words all over the linear map; returns how many passed without need. */
static unsigned long look_around(struct sim *s, unsigned long *others)
{
	unsigned long w, nr = 0;

	*others = 0;
	for (w = SIM_LINEAR; w < SIM_LINEAR + SIM_LINEAR_LEN; w += 455) {
		bool through = passes(s, w);

		if (is_let(w))
			assert_true(through);
		else if (!may_pass(w))
			assert_false(through);
		else
			nr++;
		*others += through && !is_let(w);
	}
	return nr;
}

/* Blocks of all sizes, up to and beyond the number of bits. */
static void test_sizes(void **state)
{
	static const unsigned long sizes[] = {
		1, 63, 64, 65, 4032, 4095, 4096, 4097, 4160, 62 * SIM_PAGE,
		63 * SIM_PAGE, 64 * SIM_PAGE - 1, 64 * SIM_PAGE,
		65 * SIM_PAGE + 1, 127 * SIM_PAGE, 129 * SIM_PAGE,
		700 * SIM_PAGE + 5,
	};
	unsigned long others, nr;
	struct sim *s = *state;
	unsigned int i, k, at;

	for (i = 0; i < KINDS; i++) {
		for (k = 0; k < ARRAY_SIZE(sizes); k++) {
			for (at = 0; at < 4096; at += 819) {
				set_kind(&s->filter, &kinds[i]);
				let_pass(&s->filter, BLOCK(5) + 4000, 8);
				let_pass(&s->filter, BLOCK(200) + at, sizes[k]);
				let_pass(&s->filter, BLOCK(1020) + 17, 1);
				nr = look_around(s, &others);
				assert_true(nr > 100);
				if (!i)
					assert_int_equal(others, nr);
			}
		}
	}
}

/* Each byte of small blocks, at all addresses around the end of a page. */
static void test_crossing(void **state)
{
	struct sim *s = *state;
	unsigned long size, at, i;

	for (size = 1; size < 200; size += 13) {
		for (at = BLOCK(8) - 210; at < BLOCK(8) + 70; at += 7) {
			set_kind(&s->filter, &kinds[at % KINDS]);
			let_pass(&s->filter, at, size);
			for (i = 0; i < size; i++)
				assert_int_equal(passes(s, at + i), 1);
			assert_int_equal(passes(s, at - 1), 0);
			assert_int_equal(passes(s, at + size), 0);
		}
	}
}

/* The bits reject nearly all references to other blocks. */
static void test_selective(void **state)
{
	unsigned long others, nr;
	struct sim *s = *state;
	unsigned int k;

	for (k = 0; k < KINDS; k++) {
		set_kind(&s->filter, &kinds[k]);
		let_pass(&s->filter, BLOCK(1) + 192, 64);
		let_pass(&s->filter, BLOCK(500), 256);
		let_pass(&s->filter, BLOCK(900), 5 * SIM_PAGE);
		nr = look_around(s, &others);
		assert_true(nr > 7000);
		if (kinds[k].pages || kinds[k].bits == MAX_BITS)
			assert_true(others < nr / 20);
	}
}

/* Suspects in pages that share a byte, also the byte of page 0. */
static void test_shared_byte(void **state)
{
	unsigned long words[] = { 0, SIM_LINEAR + 8, 0, BLOCK(1), 17 };
	unsigned long round = KMT_FILTER_PAGES * SIM_PAGE;
	struct sim *s = *state;

	set_kind(&s->filter, &kinds[4]);
	let_pass(&s->filter, SIM_LINEAR, 64);
	assert_int_equal(hits(s, words, ARRAY_SIZE(words)), 1);
	let_pass(&s->filter, BLOCK(1), 64);
	assert_int_equal(hits(s, words, ARRAY_SIZE(words)), 2);
	/* A block of more pages than there are bytes, which begins at any byte. */
	no_pass(&s->filter);
	let_pass(&s->filter, BLOCK(1023), round + SIM_PAGE);
	assert_int_equal(passes(s, BLOCK(1022) + 4095), 0);
	assert_int_equal(passes(s, BLOCK(1023)), 1);
	no_pass(&s->filter);
	let_pass(&s->filter, BLOCK(2) - round, round);
	assert_int_equal(passes(s, BLOCK(0)), 1);
	assert_int_equal(passes(s, BLOCK(1)), 1);
	assert_int_equal(passes(s, BLOCK(2)), 0);
}

#define WORDS	40

/* A hit at each position among @nr words and after them, then at all positions. */
static void try_positions(struct sim *s, unsigned int nr)
{
	unsigned long words[WORDS];
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		words[i] = BLOCK(1) + 64 + i;
	assert_int_equal(hits(s, words, nr), 0);
	for (i = 0; i < WORDS; i++) {
		words[i] = BLOCK(1);
		assert_int_equal(hits(s, words, nr), i < nr);
		words[i] = i % 3 ? BLOCK(2) : 0;
	}
	for (i = 0; i < WORDS; i++) {
		words[i] = BLOCK(1) + i;
		assert_int_equal(hits(s, words, nr), min(nr, i + 1));
	}
	for (i = 0; i < WORDS; i++) {
		words[i] = 0;
		assert_int_equal(hits(s, words, nr), nr - min(nr, i + 1));
	}
}

static void test_positions(void **state)
{
	struct sim *s = *state;
	unsigned int nr, k;

	for (k = 0; k < KINDS; k++) {
		set_kind(&s->filter, &kinds[k]);
		let_pass(&s->filter, BLOCK(1), 64);
		for (nr = 0; nr < WORDS - 8; nr++)
			try_positions(s, nr);
	}
}

/* One reference at each byte of four words. */
static void test_offsets(void **state)
{
	struct sim *s = *state;
	unsigned long word = FIRST + SIM_ODD(8), buf[6];
	unsigned int at, k;

	for (k = 0; k < KINDS; k++) {
		set_kind(&s->filter, &kinds[k]);
		let_pass(&s->filter, FIRST, 64);
		for (at = 0; at <= 3 * W; at++) {
			memset(buf, 0x11, sizeof(buf));
			memcpy((char *)(buf + 1) + at, &word, W);
			assert_int_equal(byte_hits(s, buf + 1, 4, 0x1000),
					 at % W != 0);
			assert_int_equal(hits(s, buf + 1, 4), at % W == 0);
			s->m.seam.end = KMT_NO_SEAM;
		}
		/* A reference that is partly outside the words is not found. */
		for (at = 1; at < W; at++) {
			memset(buf, 0x11, sizeof(buf));
			memcpy((char *)buf + at, &word, W);
			assert_int_equal(byte_hits(s, buf + 1, 4, 0x1000), 0);
			memset(buf, 0x11, sizeof(buf));
			memcpy((char *)(buf + 4) + at, &word, W);
			assert_int_equal(byte_hits(s, buf + 1, 4, 0x2000), 0);
			s->m.seam.end = KMT_NO_SEAM;
		}
	}
}

/* Whether @word counts at an unaligned address. */
static bool counts_odd(unsigned long word)
{
	return W == 8 ? word % 4 == 0 : word == FIRST;
}

/* The alignment that a reference at an unaligned address must have. */
static void test_accidents(void **state)
{
	struct sim *s = *state;
	unsigned long word, buf[2];
	unsigned int at, i;

	let_pass(&s->filter, FIRST, 64);
	for (at = 0; at < W; at++) {
		for (i = 0; i < 64; i++) {
			word = FIRST + i;
			memset(buf, 0x11, sizeof(buf));
			memcpy((char *)buf + at, &word, W);
			assert_int_equal(byte_hits(s, buf, 2, 0x1000),
					 at && counts_odd(word));
			assert_int_equal(hits(s, buf, 2), !at);
			s->m.seam.end = KMT_NO_SEAM;
		}
	}
}

/* A reference is found exactly once, in whatever pieces the words are read. */
static void test_seam(void **state)
{
	struct sim *s = *state;
	unsigned long word = FIRST + SIM_ODD(8), buf[8], gap, n;
	unsigned int at, cut;

	let_pass(&s->filter, FIRST, 64);
	for (at = 0; at <= 7 * W; at++) {
		memset(buf, 0x11, sizeof(buf));
		memcpy((char *)buf + at, &word, W);
		for (cut = 1; cut < 8; cut++) {
			/* The second piece follows the first one, or does not. */
			for (gap = 0; gap <= 2 * W; gap += W) {
				bool across = at < W * cut && at + W > W * cut;

				n = byte_hits(s, buf, cut, 0x1000);
				n += byte_hits(s, buf + cut, 8 - cut,
					       0x1000 + W * cut + gap);
				assert_int_equal(n, at % W && !(across && gap));
			}
			/* Two pieces with the same address are not joined, either. */
			n = byte_hits(s, buf, cut, 0x1000);
			n += byte_hits(s, buf + cut, 8 - cut, 0x1000);
			assert_int_equal(n, at % W && !(at < W * cut &&
							at + W > W * cut));
			s->m.seam.end = KMT_NO_SEAM;
		}
		/* The pieces are single words. */
		for (n = 0, cut = 0; cut < 8; cut++)
			n += byte_hits(s, buf + cut, 1, 0x1000 + W * cut);
		assert_int_equal(n, !!(at % W));
	}
}

/* A piece without an address is not joined to the one before, whichever that is. */
static void test_no_address(void **state)
{
	struct sim *s = *state;
	unsigned long word = FIRST + SIM_ODD(8), first, buf[2];
	unsigned int at;

	for (at = 1; at < W; at++) {
		memset(buf, 0x11, sizeof(buf));
		memcpy((char *)buf + at, &word, W);
		first = buf[0];
		no_pass(&s->filter);
		let_pass(&s->filter, FIRST, 64);
		assert_int_equal(byte_hits(s, &first, 1, 0x1000), 0);
		assert_int_equal(byte_hits(s, buf + 1, 1, 0), 0);
		assert_int_equal(byte_hits(s, &first, 1, 0), 0);
		assert_int_equal(byte_hits(s, buf + 1, 1, 0), 0);
		/* There was no suspect while the piece before was read. */
		assert_int_equal(byte_hits(s, &first, 1, 0x1000), 0);
		no_pass(&s->filter);
		assert_int_equal(byte_hits(s, &first, 1, 0x1000 + W), 0);
		let_pass(&s->filter, FIRST, 64);
		assert_int_equal(byte_hits(s, buf + 1, 1, 0), 0);
	}
}

/*
 * Random bytes with many references, read in random pieces: the number of words
 * that pass is that of testing the word at each byte on its own.
 */
static void test_random_bytes(void **state)
{
	unsigned long buf[64], found, expect, word, at;
	struct sim *s = *state;
	unsigned int round, i;
	u64 rng = 7;

	for (round = 0; round < 3000; round++) {
		/* Only aligned words use the bytes for pages. */
		set_kind(&s->filter, &kinds[round % 4]);
		let_pass(&s->filter, round % 3 ? FIRST : BLOCK(2) + 100, 5000);
		let_pass(&s->filter, BLOCK(90), 1000);
		memset(buf, 0, sizeof(buf));
		for (i = 0; i < 40; i++) {
			word = BLOCK(sim_random(&rng) % 100);
			word += sim_random(&rng) % 4096;
			if (i % 4 == 0)
				word = FIRST;
			memcpy((char *)buf + sim_random(&rng) % (63 * W + 1),
			       &word, W);
		}
		expect = 0;
		for (at = 0; at <= sizeof(buf) - W; at++) {
			memcpy(&word, (char *)buf + at, W);
			if (at % W == 0 || counts_odd(word))
				expect += passes(s, word);
		}
		found = hits(s, buf, 64);
		for (at = 0; at < 64; at += i) {
			i = 1 + sim_random(&rng) % (64 - at);
			found += byte_hits(s, buf + at, i, W * at + W);
		}
		assert_int_equal(found, expect);
		s->m.seam.end = KMT_NO_SEAM;
	}
}

/*
 * On 32-bit machines, an unaligned word that is the address of a page does not
 * count: it is most often a small number next to a pointer.
 */
static void test_pages(void **state)
{
	struct sim *s = *state;
	unsigned long word = SIM_LINEAR, buf[3];
	unsigned int at;

	let_pass(&s->filter, SIM_LINEAR, 64);
	for (at = 1; at < W; at++) {
		memset(buf, 0x11, sizeof(buf));
		memcpy((char *)buf + at, &word, W);
		assert_int_equal(byte_hits(s, buf, 3, 0x1000), W == 8);
		s->m.seam.end = KMT_NO_SEAM;
	}
}

/*
 * On 32-bit machines, an unaligned word does not count if all its bytes but the lowest are
 * those of an aligned word that is the address of a block or in the image.
 */
static void test_inside(void **state)
{
	const unsigned long upper = (SIM_LINEAR & ~(~0UL >> 8)) | FIRST >> 8;
	const unsigned long word = FIRST;
	struct sim *s = *state;
	unsigned long buf[2];

#ifdef __BIG_ENDIAN
	buf[0] = upper;
	buf[1] = word << (8 * W - 8);
#else
	buf[0] = word << (8 * W - 8);
	buf[1] = upper;
#endif
	let_pass(&s->filter, FIRST, 64);
	assert_int_equal(byte_hits(s, buf, 2, 0x1000), 1);
	s->core.skip = (struct kmt_range){ upper, upper + 1 };
	assert_int_equal(byte_hits(s, buf, 2, 0x1000), W == 8);
	s->core.skip = (struct kmt_range){};
	assert_int_equal(byte_hits(s, buf, 2, 0x1000), 1);
	assert_int_equal(sim_insert(s, KMT_ROOT, upper, 4, 0), 0);
	assert_int_equal(byte_hits(s, buf, 2, 0x1000), W == 8);
	kmt_drop_space(&s->core, KMT_ROOT);
	assert_int_equal(byte_hits(s, buf, 2, 0x1000), 1);
	assert_int_equal(sim_insert(s, KMT_VIRT, upper - 8, 64, KMT_MIN_GREY), 0);
	assert_int_equal(byte_hits(s, buf, 2, 0x1000), W == 8);
}

/* Suspects in several spaces share a filter. */
static void test_spaces(void **state)
{
	struct sim *s = sim_new(63, 1, 4);
	struct kmt_verdict v;
	unsigned long words[] = {
		SIM_PERCPU + 0x100, SIM_PERCPU + 0x13f, SIM_PERCPU + 0x140,
		SIM_PERCPU + 0xff, SIM_VMALLOC + 99, SIM_VMALLOC + 100,
		SIM_IMAGE + 8, SIM_PERCPU_FAR,
	};

	sim_insert(s, KMT_PERCPU, SIM_PERCPU + 0x100, 64, 9);
	sim_alloc_min(s, SIM_VMALLOC, 100, 9);
	sim_mark(s, ROOT(0), ROOT(1));
	kmt_suspect_for_search(&s->m, &s->filter, &v);
	assert_int_equal(v.suspects, 2);
	kmt_marker_set_search(&s->m, KMT_MODE_ALIGNED, &s->filter);
	assert_int_equal(hits(s, words, ARRAY_SIZE(words)), 3);
	assert_int_equal(sim_object(s, KMT_VIRT, SIM_VMALLOC).count, 1);
	assert_int_equal(sim_object(s, KMT_PERCPU, SIM_PERCPU + 0x100).count,
			 2);
	sim_delete(s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define ODD(f) cmocka_unit_test_setup_teardown(f, setup_odd, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_empty),
		T(test_hull),
		T(test_sizes),
		T(test_crossing),
		T(test_selective),
		T(test_shared_byte),
		T(test_positions),
		ODD(test_offsets),
		ODD(test_accidents),
		ODD(test_seam),
		ODD(test_no_address),
		ODD(test_random_bytes),
		T(test_pages),
		ODD(test_inside),
		cmocka_unit_test(test_spaces),
	};

	return cmocka_run_group_tests_name("filter", tests, NULL, NULL);
}
