// SPDX-License-Identifier: GPL-2.0
/* Sites: counts of blocks, kept scans, and blocks whose site has no place. */
#include "sim.h"
#include "site_table.h"

#define HZ	100

static unsigned long pages_out;
static unsigned long pages_max;

static void *alloc(unsigned int order)
{
	void *mem;

	if (pages_out + (1ul << order) > pages_max)
		return NULL;
	mem = aligned_alloc(PAGE_SIZE, PAGE_SIZE << order);
	assert_non_null(mem);
	memset(mem, 0, PAGE_SIZE << order);
	pages_out += 1ul << order;
	return mem;
}

static void release(void *mem, unsigned int order)
{
	pages_out -= 1ul << order;
	free(mem);
}

static void make(struct kmt_sites *t, unsigned long max)
{
	*t = (struct kmt_sites){
		.alloc = alloc, .free = release, .seed = 12345, .max = max,
	};
	pages_max = ~0ul;
	assert_int_equal(pages_out, 0);
}

static void end(struct kmt_sites *t)
{
	kmt_sites_drop(t);
	assert_int_equal(t->nr, 0);
	assert_int_equal(pages_out, 0);
}

static void count_born(struct kmt_sites *t, u32 trace, unsigned long size,
		       unsigned long nr, u32 born)
{
	const struct kmt_site key = kmt_site_of(trace, KMT_VIRT, size);

	while (nr--) {
		struct kmt_site_count *s = kmt_sites_find(t, &key);

		if (!s)
			s = kmt_sites_add(t, &key);
		kmt_sites_count(t, s, size, born);
	}
}

static void count(struct kmt_sites *t, u32 trace, unsigned long size,
		  unsigned long nr)
{
	count_born(t, trace, size, nr, 0);
}

static struct kmt_site_count *find(struct kmt_sites *t, u32 trace)
{
	const struct kmt_site key = kmt_site_of(trace, KMT_VIRT, 0);

	return kmt_sites_find(t, &key);
}

/* The number of sites that have blocks in the newest kept scan. */
static unsigned long count_live(struct kmt_sites *t)
{
	struct kmt_site_page *page;
	struct kmt_site_count *s;
	unsigned long nr = 0;

	kmt_for_each_site(t, page, s)
		nr += s->last.nr != 0;
	return nr;
}

/* Checks that the sums match the sites. */
static void check_sums(struct kmt_sites *t)
{
	struct kmt_site_sum sum = t->other;
	struct kmt_site_page *page;
	struct kmt_site_count *s;
	unsigned long nr = 0;

	kmt_for_each_site(t, page, s) {
		nr++;
		sum.nr += s->last.nr;
		sum.bytes += s->last.bytes;
		assert_ptr_equal(kmt_sites_find(t, &s->key), s);
	}
	assert_int_equal(nr, t->nr);
	assert_int_equal(sum.nr, t->sum.nr);
	assert_int_equal(sum.bytes, t->sum.bytes);
	assert_true(t->nr <= t->max);
}

static void finish(struct kmt_sites *t, u64 uptime)
{
	kmt_sites_end(t, uptime, uptime / 10, HZ);
	check_sums(t);
}

static void test_bytes(void **state)
{
	static const u64 exact[] = {
		0, 1, 4095, 0x7fffffff, 0x80000000, 0x80001000, 1ull << 40,
	};
	u64 bytes;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(exact); i++)
		assert_true(kmt_bytes_of(kmt_bytes_code(exact[i])) == exact[i]);
	assert_true(kmt_bytes_of(kmt_bytes_code(0x80000fff)) == 0x80000000);
	/* Larger ones have larger codes. */
	for (bytes = 1; bytes < 1ull << 42; bytes = bytes * 3 / 2 + 4096)
		assert_true(kmt_bytes_code(bytes) <
			    kmt_bytes_code(bytes * 3 / 2 + 4096));
	assert_int_equal(kmt_bytes_code(~0ull), U32_MAX);
}

static void test_counts(void **state)
{
	struct kmt_sites t;
	struct kmt_site_count *s;
	struct kmt_site none = kmt_site_of(0, KMT_VIRT, 64);

	make(&t, 1000);
	kmt_sites_begin(&t);
	count(&t, 1, 64, 10);
	count(&t, 1, 4096, 2);
	count(&t, 2, 100, 1);
	/* Without a backtrace, sites differ in the size of blocks. */
	count(&t, 0, 64, 3);
	count(&t, 0, 128, 4);
	finish(&t, 1000);
	assert_int_equal(count_live(&t), 4);
	assert_int_equal(t.sum.nr, 20);
	assert_int_equal(t.sum.bytes, 10 * 64 + 2 * 4096 + 100 + 3 * 64 +
			 4 * 128);
	s = find(&t, 1);
	assert_int_equal(s->last.nr, 12);
	assert_int_equal(kmt_bytes_of(s->last.least), 64);
	assert_int_equal(kmt_bytes_of(s->last.most), 4096);
	s = kmt_sites_find(&t, &none);
	assert_int_equal(s->last.nr, 3);
	/* Another kind of memory is another site. */
	none = kmt_site_of(1, KMT_PERCPU, 64);
	assert_null(kmt_sites_find(&t, &none));
	end(&t);
}

/* Twenty scans, of which the last sixteen are kept, in order. */
static void test_history(void **state)
{
	struct kmt_site_count *s;
	struct kmt_sites t;
	u64 bytes, ms;
	unsigned int i, k;

	make(&t, 1000);
	for (i = 0; i < 20; i++) {
		kmt_sites_begin(&t);
		count(&t, 1, 8, 100 + i);		/* rises */
		count(&t, 2, 8, 100);			/* stays */
		count(&t, 3, 8, 100 - i);		/* sinks */
		count(&t, 4, 8, i < 17 ? 50 : 50 + i);	/* stays, then rises */
		if (i >= 18)
			count(&t, 5, 8, i);		/* is new */
		finish(&t, 1000 * (i + 1) + i);
	}
	assert_int_equal(t.scans.nr, KMT_SITE_SCANS);
	s = find(&t, 1);
	for (k = 0; k < KMT_SITE_SCANS; k++) {
		const unsigned int slot = kmt_site_slot(&t.scans, k);

		assert_int_equal(t.scans.ended[slot],
				 1000 * (20 - k) + 19 - k);
		assert_int_equal(kmt_bytes_of(s->history[slot]), 8 * (119 - k));
	}
	assert_int_equal(kmt_site_rise(&t.scans, s, &bytes, &ms), 15);
	assert_int_equal(bytes, 15 * 8);
	assert_int_equal(ms, 15 * 1001);
	assert_int_equal(kmt_site_rise(&t.scans, find(&t, 2), &bytes, &ms), 0);
	assert_int_equal(bytes, 0);
	assert_int_equal(kmt_site_rise(&t.scans, find(&t, 3), &bytes, &ms), 0);
	assert_int_equal(kmt_site_rise(&t.scans, find(&t, 4), &bytes, &ms), 3);
	assert_int_equal(bytes, 19 * 8);
	s = find(&t, 5);
	assert_int_equal(kmt_site_rise(&t.scans, s, &bytes, &ms), 2);
	assert_int_equal(bytes, 19 * 8);
	assert_int_equal(s->history[kmt_site_slot(&t.scans, 2)], 0);
	end(&t);
}

static void test_first(void **state)
{
	struct kmt_sites t;

	make(&t, 1000);
	kmt_sites_begin(&t);
	count_born(&t, 1, 8, 1, 450);
	count_born(&t, 1, 8, 1, 123);
	count_born(&t, 1, 8, 1, 300);
	/* A block that was allocated before uptime 0. */
	count_born(&t, 2, 8, 1, -500);
	finish(&t, 5000);
	assert_int_equal(find(&t, 1)->first, 1230);
	assert_int_equal(find(&t, 2)->first, 0);
	/* The oldest block is freed, but was counted before. */
	kmt_sites_begin(&t);
	count_born(&t, 1, 8, 1, 300);
	finish(&t, 6000);
	assert_int_equal(find(&t, 1)->first, 1230);
	end(&t);
}

/* A site without blocks stays as long as a kept scan has blocks of it. */
static void test_forgotten(void **state)
{
	struct kmt_sites t;
	unsigned int i;

	make(&t, 1000);
	kmt_sites_begin(&t);
	count(&t, 1, 8, 1);
	finish(&t, 1000);
	for (i = 1; i < KMT_SITE_SCANS; i++) {
		kmt_sites_begin(&t);
		finish(&t, 1000 * (i + 1));
		assert_int_equal(count_live(&t), 0);
		assert_non_null(find(&t, 1));
	}
	kmt_sites_begin(&t);
	finish(&t, 1000 * (i + 1));
	assert_null(find(&t, 1));
	assert_int_equal(t.nr, 0);
	end(&t);
}

static void test_cancel(void **state)
{
	struct kmt_sites t;

	make(&t, 1000);
	kmt_sites_begin(&t);
	count(&t, 1, 8, 5);
	finish(&t, 1000);
	kmt_sites_begin(&t);
	count(&t, 1, 8, 2);
	count(&t, 2, 8, 2);
	kmt_sites_cancel(&t);
	check_sums(&t);
	assert_int_equal(t.scans.nr, 1);
	assert_int_equal(find(&t, 1)->last.nr, 5);
	assert_null(find(&t, 2));
	/* The next count starts from zero. */
	kmt_sites_begin(&t);
	count(&t, 1, 8, 1);
	finish(&t, 2000);
	assert_int_equal(find(&t, 1)->last.nr, 1);
	end(&t);
}

/* Two backtraces become equal when code is removed. */
static void test_merge(void **state)
{
	struct kmt_site_count *s;
	struct kmt_sites t;
	u64 bytes, ms;

	make(&t, 1000);
	kmt_sites_begin(&t);
	count_born(&t, 1, 8, 5, 70);
	count_born(&t, 2, 16, 3, 50);
	finish(&t, 1000);
	find(&t, 1)->key.trace = 3;
	t.changed = true;
	kmt_sites_begin(&t);
	assert_null(find(&t, 1));
	count(&t, 3, 8, 5);
	count(&t, 2, 16, 3);
	finish(&t, 2000);
	find(&t, 3)->key.trace = 2;
	t.changed = true;
	kmt_sites_begin(&t);
	count(&t, 2, 8, 20);
	finish(&t, 3000);
	assert_int_equal(t.nr, 1);
	s = find(&t, 2);
	assert_int_equal(kmt_bytes_of(s->history[kmt_site_slot(&t.scans, 1)]),
			 88);
	assert_int_equal(kmt_bytes_of(s->history[kmt_site_slot(&t.scans, 2)]),
			 88);
	assert_int_equal(kmt_site_rise(&t.scans, s, &bytes, &ms), 1);
	assert_int_equal(bytes, 160 - 88);
	end(&t);
}

#define MANY	20000

/* Chains stay short, and the memory is proportional to the number of sites. */
static void test_many(void **state)
{
	struct kmt_sites t;
	unsigned long blocks = 0;
	u32 i;

	make(&t, MANY);
	kmt_sites_begin(&t);
	for (i = 1; i <= MANY; i++) {
		count(&t, i << 4, 8 * i, 1 + i % 3);
		blocks += 1 + i % 3;
	}
	assert_true(pages_out <= MANY / KMT_SITES_A_PAGE + 1 + 16);
	finish(&t, 1000);
	assert_int_equal(t.nr, MANY);
	assert_int_equal(t.sum.nr, blocks);
	assert_int_equal(t.other.nr, 0);
	for (i = 1; i <= MANY; i++)
		assert_int_equal(find(&t, i << 4)->last.nr, 1 + i % 3);
	end(&t);
}

/*
 * Ten times as many sites as the table may have, with the small ones first or last.
 * From the second count on, the table has the large sites and the one that rises,
 * with exact counts. Blocks without a place are counted in t.other.
 */
static void test_cap(void **state)
{
	const bool large_first = *(const bool *)*state;
	unsigned long most = 0;
	struct kmt_sites t;
	unsigned int scan;
	u32 i;

	make(&t, 100);
	for (scan = 0; scan < 20; scan++) {
		kmt_sites_begin(&t);
		/* A small site that rises, and is counted first. */
		count(&t, 1, 8, 1 + scan);
		for (i = 981; i <= 1000 && large_first; i++)
			count(&t, i, 100000, 10);
		/* Twice, so that some sites lose their place between two blocks. */
		for (i = 0; i < 2 * 979; i++)
			count(&t, 2 + i % 979, 16, 1);
		for (i = 981; i <= 1000 && !large_first; i++)
			count(&t, i, 100000, 10);
		finish(&t, 1000 * scan);
		assert_int_equal(t.sum.nr, 1 + scan + 2 * 979 + 200);
		most = max(most, pages_out);
		for (i = 2; i <= 980; i++) {
			struct kmt_site_count *s = find(&t, i);

			assert_true(!s || !s->last.nr || s->last.nr == 2);
		}
		for (i = 981; i <= 1000 && scan; i++)
			assert_int_equal(find(&t, i)->last.bytes, 1000000);
	}
	assert_true(t.nr >= 75);
	assert_true(t.other.nr >= 2 * 880);
	assert_int_equal(find(&t, 1)->last.nr, 20);
	assert_true(most <= 100 / KMT_SITES_A_PAGE + 2);
	/* After a count that is cancelled, the sums still match. */
	kmt_sites_begin(&t);
	for (i = 2; i <= 980; i++)
		count(&t, i, 16, 1);
	kmt_sites_cancel(&t);
	check_sums(&t);
	/* With a smaller limit, the table is emptied, with all kept scans. */
	t.max = 50;
	kmt_sites_begin(&t);
	count(&t, 1, 8, 1);
	finish(&t, 1000 * scan);
	assert_int_equal(t.scans.nr, 1);
	end(&t);
}

/*
 * More sites than there are places, none of which changes: those that get a place after
 * another lost it do not seem to rise, and the others do not seem to have come later.
 */
static void test_constant(void **state)
{
	const u32 nr = 1000;
	struct kmt_site_page *page;
	struct kmt_site_count *s;
	struct kmt_sites t;
	unsigned int scan;
	u64 bytes, ms;
	u32 i;

	make(&t, 700);
	for (scan = 1; scan <= 6; scan++) {
		kmt_sites_begin(&t);
		for (i = 0; i < nr; i++) {
			/* In another order each time */
			const u32 trace = 1 + (i * 7 + scan * 331) % nr;

			count(&t, trace, 64, trace % 13 + 1);
		}
		finish(&t, scan * 1000);
		kmt_for_each_site(&t, page, s)
			if (s->last.nr)
				assert_int_equal(kmt_site_rise(&t.scans, s, &bytes, &ms), 0);
	}
	/* One that rises from now on is seen to. */
	s = NULL;
	for (scan = 7; scan <= 10; scan++) {
		kmt_sites_begin(&t);
		for (i = 1; i <= nr; i++)
			count(&t, i, 64, i == 999 ? 1000 * scan : i % 13 + 1);
		finish(&t, scan * 1000);
	}
	s = find(&t, 999);
	assert_non_null(s);
	assert_in_range(kmt_site_rise(&t.scans, s, &bytes, &ms), 2, 4);
	end(&t);
}

/* If all sites rise, none loses its place. */
static void test_all_rise(void **state)
{
	struct kmt_sites t;
	unsigned int scan;
	u32 i;

	make(&t, 3);
	for (scan = 0; scan < 6; scan++) {
		kmt_sites_begin(&t);
		for (i = 1; i <= 3; i++)
			count(&t, i, 8, 1 + scan);
		for (i = 4; i <= 50 && scan >= 3; i++)
			count(&t, i, 4096, 1);
		/* The table is not searched for places again and again. */
		assert_int_equal(t.full, scan >= 3);
		finish(&t, 1000 * scan);
		for (i = 1; i <= 3; i++)
			assert_int_equal(find(&t, i)->last.nr, 1 + scan);
	}
	assert_int_equal(t.other.nr, 47);
	end(&t);
}

static void test_no_memory(void **state)
{
	unsigned long places;
	struct kmt_sites t;
	u32 i;

	make(&t, 1000);
	for (pages_max = 0; pages_max < 8; pages_max++) {
		kmt_sites_begin(&t);
		for (i = 1; i <= 100; i++)
			count(&t, i, 8, 2);
		finish(&t, 1000 * (1 + pages_max));
		assert_int_equal(t.sum.nr, 200);
		places = pages_max ? (pages_max - 1) * KMT_SITES_A_PAGE : 0;
		assert_int_equal(t.other.nr, 200 - 2 * min(100ul, places));
	}
	end(&t);
}

int main(void)
{
	static bool large_first = true, large_last;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_history),
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_many),
		cmocka_unit_test_prestate(test_cap, &large_first),
		cmocka_unit_test_prestate(test_cap, &large_last),
		cmocka_unit_test(test_constant),
		cmocka_unit_test(test_all_rise),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests_name("sites", tests, NULL, NULL);
}
