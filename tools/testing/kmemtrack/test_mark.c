// SPDX-License-Identifier: GPL-2.0
/* Which blocks do the roots lead to? */
#include "sim.h"

static void mark(struct sim *s)
{
	sim_mark(s, ROOT(0), ROOT(64));
	kmt_mark_end(&s->m);
}

static void test_interior(void **state)
{
	struct sim *s = *state;
	unsigned long at[] = { 0, 1, 7, 50, 99 }, i;

	sim_alloc(s, BLOCK(1), 100);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		sim_put(ROOT(63), BLOCK(1) + at[i]);
		mark(s);
		assert_false(sim_white(s, BLOCK(1)));
	}
	sim_put(ROOT(63), BLOCK(1) + 100);
	mark(s);
	assert_true(sim_white(s, BLOCK(1)));
	sim_put(ROOT(63), BLOCK(1) - 1);
	mark(s);
	assert_true(sim_white(s, BLOCK(1)));
	/* The word after the end of the roots. */
	sim_put(ROOT(64), BLOCK(1));
	mark(s);
	assert_true(sim_white(s, BLOCK(1)));
}

static void test_self_and_ring(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	for (i = 1; i <= 5; i++) {
		sim_alloc(s, BLOCK(i), 64);
		sim_put(BLOCK(i) + 8, BLOCK(i % 5 + 1));
		sim_put(BLOCK(i) + 16, BLOCK(i) + 16);
	}
	mark(s);
	for (i = 1; i <= 5; i++)
		assert_true(sim_white(s, BLOCK(i)));
	sim_put(ROOT(0), BLOCK(4));
	mark(s);
	for (i = 1; i <= 5; i++)
		assert_false(sim_white(s, BLOCK(i)));
	/* Each block is read once. */
	i = s->m.stats.objects;
	mark(s);
	assert_int_equal(s->m.stats.objects, i + 5);
}

/* An incomplete word at the end of a block is not read. */
static void test_odd_sizes(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 20);
	sim_alloc(s, BLOCK(2), 64);
	sim_alloc(s, BLOCK(3), 64);
	sim_alloc(s, BLOCK(4) + 4, 12);
	sim_alloc(s, BLOCK(5), 7);
	sim_put(ROOT(0), BLOCK(1));
	sim_put(ROOT(1), BLOCK(4) + 4);
	sim_put(ROOT(2), BLOCK(5));
	sim_put(BLOCK(1) + 8, BLOCK(2));
	sim_put(BLOCK(4) + 8, BLOCK(3));
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
	assert_false(sim_white(s, BLOCK(3)));
	assert_int_equal(sim_events(s, KMT_EV_FAULT), 0);
}

/* Blocks of many pieces and pages: each word counts once. */
static void test_large(void **state)
{
	struct sim *s = *state;
	unsigned long base = SIM_VMALLOC + 24, i;

	sim_alloc_min(s, base, 0x5000, 0);
	sim_alloc_min(s, BLOCK(1), 64, 2);
	for (i = 0; i < 0x5000; i += W) {
		sim_put(base + i, BLOCK(1));
		mark(s);
		assert_int_equal(sim_object(s, KMT_VIRT, BLOCK(1)).count, 1);
		sim_put(base + i, 0);
	}
	i = s->m.stats.words;
	mark(s);
	assert_int_equal(s->m.stats.words, i + 0x5000 / W + 64);
}

#define DEEP	100000ul

/* A list of 100,000 blocks, with any size of mark stack. */
static void test_deep(void **state)
{
	static const unsigned int sizes[] = { 1, 2, 3, 1000 };
	unsigned int k;
	unsigned long i;

	for (k = 0; k < ARRAY_SIZE(sizes); k++) {
		struct sim *s = sim_new(4095, 100, sizes[k]);

		for (i = 0; i < DEEP; i++)
			sim_alloc(s, SIM_LINEAR + 16 * i, 16);
		for (i = 0; i < DEEP; i++)
			sim_put(SIM_LINEAR + 16 * i,
				SIM_LINEAR + 16 * ((i + 1) % DEEP) + 8);
		mark(s);
		assert_true(sim_white(s, SIM_LINEAR + 16 * 777));
		sim_put(ROOT(7), SIM_LINEAR + 16 * 4711);
		mark(s);
		for (i = 0; i < DEEP; i += 9)
			assert_false(sim_white(s, SIM_LINEAR + 16 * i));
		check_core(s);
		sim_delete(s);
	}
}

/* A tree eight wide and four deep: 4,681 blocks, small stacks overflow. */
static void test_overflow(void **state)
{
	unsigned int size;

	for (size = 1; size < 12; size++) {
		struct sim *s = sim_new(511, 100, size);
		const unsigned long nr = 4681, a = SIM_LINEAR;
		unsigned long i, k;

		/* Children lie before their parents in the pool. */
		for (i = nr; i-- > 0; )
			sim_alloc(s, a + 64 * i, 64);
		for (i = 0; 8 * i + 8 < nr; i++)
			for (k = 0; k < 8; k++)
				sim_put(a + 64 * i + 8 * k,
					a + 64 * (8 * i + 1 + k) + k);
		sim_put(ROOT(0), a);
		mark(s);
		for (i = 0; i < nr; i++)
			assert_false(sim_white(s, a + 64 * i));
		assert_int_equal(s->m.stats.objects, nr);
		if (size < 8)
			assert_true(sim_events(s, KMT_EV_MARK_STACK_FULL) > 0);
		/* Remove a reference: only the blocks that hang on it are white. */
		sim_put(a + 8 * 3, 0);
		mark(s);
		for (i = 0; i < nr; i++) {
			unsigned long top = i;

			while (top > 8)
				top = (top - 1) / 8;
			assert_int_equal(sim_white(s, a + 64 * i), top == 4);
		}
		sim_delete(s);
	}
}

/* Each sweep gets one block further: there is no limit on the number of sweeps. */
static void sweep_often(bool backwards)
{
	struct sim *s = sim_new(511, 1, 1);
	const unsigned int nr = 40;
	unsigned int i;

	/* In one of the two orders, each block is before its holder in the pool. */
	for (i = 0; i < 2 * nr; i++)
		sim_alloc(s, BLOCK(backwards ? 2 * nr - 1 - i : i), 64);
	for (i = 0; i < nr; i++) {
		/* The first reference takes the only entry of the mark stack. */
		sim_put(BLOCK(i), BLOCK(nr + i));
		if (i + 1 < nr)
			sim_put(BLOCK(i) + 8, BLOCK(i + 1));
	}
	sim_put(ROOT(0), BLOCK(0));
	mark(s);
	for (i = 0; i < 2 * nr; i++)
		assert_false(sim_white(s, BLOCK(i)));
	assert_true(sim_events(s, KMT_EV_MARK_STACK_FULL) > 0);
	check_core(s);
	sim_delete(s);
}

static void test_many_sweeps(void **state)
{
	sweep_often(false);
	sweep_often(true);
}

/* A block takes one entry of the mark stack, however many references it has. */
static void test_pushed_once(void **state)
{
	struct sim *s = sim_new(63, 1, 1);
	unsigned int i;

	sim_alloc(s, BLOCK(1), 64);
	for (i = 0; i < 64; i++)
		sim_put(ROOT(i), BLOCK(1));
	mark(s);
	assert_int_equal(sim_events(s, KMT_EV_MARK_STACK_FULL), 0);
	/* One reference to a block is followed. */
	assert_int_equal(s->m.stats.hits, 1);
	s->m.seen_cache = NULL;
	mark(s);
	assert_int_equal(sim_events(s, KMT_EV_MARK_STACK_FULL), 0);
	assert_int_equal(s->m.stats.hits, 1 + 64);
	sim_delete(s);
}

static void test_unreadable(void **state)
{
	struct sim *s = *state;
	unsigned long base = SIM_VMALLOC;
	unsigned int i;

	sim_alloc_min(s, base, 0x3000, 0);
	for (i = 0; i < 3; i++) {
		sim_alloc(s, BLOCK(i), 64);
		sim_put(base + 0x1000 * i + 0xff8, BLOCK(i));
	}
	sim_map(base + 0x1000, 0x1000, false);
	mark(s);
	assert_false(sim_white(s, BLOCK(0)));
	assert_true(sim_white(s, BLOCK(1)));
	assert_false(sim_white(s, BLOCK(2)));
	assert_int_equal(sim_events(s, KMT_EV_FAULT),
			 0x1000 / (W * KMT_PIECE_WORDS));
	/* A root that is unmapped, and one that never existed. */
	sim_map(SIM_IMAGE, 0x1000, false);
	mark(s);
	kmt_mark_range(&s->m, 0x1000, 0x3000);
	sim_map(SIM_IMAGE, 0x1000, true);
	sim_map(base + 0x1000, 0x1000, true);
	mark(s);
	assert_false(sim_white(s, BLOCK(1)));
	assert_false(host_irqs_off());
}

static void test_percpu(void **state)
{
	struct sim *s = *state;
	int cpu;

	sim_insert(s, KMT_PERCPU, SIM_PERCPU + 0x100, 64, 1);
	for_each_possible_cpu(cpu) {
		sim_alloc(s, BLOCK(cpu), 64);
		sim_put(kmt_env_percpu(SIM_PERCPU + 0x100 + 8 * cpu, cpu),
			BLOCK(cpu));
	}
	mark(s);
	for_each_possible_cpu(cpu)
		assert_true(sim_white(s, BLOCK(cpu)));
	/* The block is referred to by its per-CPU pointer. */
	sim_put(ROOT(1), SIM_PERCPU + 0x120);
	mark(s);
	for_each_possible_cpu(cpu)
		assert_false(sim_white(s, BLOCK(cpu)));
	/* The address of one CPU's copy is no reference to the block. */
	sim_put(ROOT(1), kmt_env_percpu(SIM_PERCPU + 0x100, 3));
	mark(s);
	assert_true(sim_white(s, BLOCK(3)));
}

/* Physical blocks and sections are roots, and need no references. */
static void test_roots(void **state)
{
	struct sim *s = *state;
	unsigned long phys = SIM_PHYS + 0x100000;

	assert_int_equal(sim_insert(s, KMT_PHYS, phys, 0x1000, 0), 0);
	sim_own(kmt_env_phys(phys), 0x1000);
	assert_int_equal(sim_insert(s, KMT_ROOT, ROOT(512), 512, 0), 0);
	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 64);
	sim_put(kmt_env_phys(phys) + 0x800, BLOCK(1));
	sim_put(ROOT(512 + 63), BLOCK(2));
	mark(s);
	assert_false(sim_white(s, BLOCK(1)));
	assert_false(sim_white(s, BLOCK(2)));

	/*
	 * A physical address is no reference: a physical block that needs one has
	 * none.
	 */
	assert_int_equal(sim_insert(s, KMT_PHYS, phys + 0x1000, 64, 1), 0);
	sim_own(kmt_env_phys(phys + 0x1000), 64);
	sim_put(ROOT(0), phys + 0x1000);
	mark(s);
	assert_int_equal(sim_object(s, KMT_PHYS, phys + 0x1000).count, 0);
}

/* Words that point into the image are skipped, even if there is a block. */
static void test_skip(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, SIM_VMALLOC, 64);
	sim_put(ROOT(0), ROOT(0));
	sim_put(ROOT(1), SIM_IMAGE + SIM_IMAGE_LEN - 1);
	mark(s);
	assert_int_equal(s->m.stats.hits, 0);
	sim_put(ROOT(2), SIM_VMALLOC);
	mark(s);
	assert_int_equal(s->m.stats.hits, 1);
	/* The words are not even looked up: otherwise they would find this block. */
	assert_int_equal(sim_insert(s, KMT_VIRT, ROOT(0), 64, 1), 0);
	mark(s);
	assert_int_equal(s->m.stats.hits, 2);
	assert_true(sim_white(s, ROOT(0)));
}

/* Epochs wrap after 65,535 marks: no block of an old mark counts as reached. */
static void test_epoch_wrap(void **state)
{
	struct sim *s = sim_new(15, 1, 4);
	unsigned long n;
	u16 seen;

	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 64);
	sim_alloc(s, BLOCK(3), 64);
	sim_put(ROOT(0), BLOCK(1));
	sim_put(BLOCK(1), BLOCK(2));
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
	seen = s->core.epoch;
	sim_put(BLOCK(1), 0);
	for (n = 0; n < 65540 && s->core.epoch != (u16)(seen - 1); n++) {
		sim_mark(s, ROOT(0), ROOT(1));
		kmt_mark_end(&s->m);
		assert_int_not_equal(s->core.epoch, 0);
		assert_true(sim_white(s, BLOCK(2)));
		assert_true(sim_white(s, BLOCK(3)));
		assert_false(sim_white(s, BLOCK(1)));
	}
	assert_in_range(n, 65530, 65539);
	/* The epoch in which BLOCK(2) was read comes again: the block is read again. */
	sim_put(BLOCK(1), BLOCK(2));
	sim_put(BLOCK(2), BLOCK(3));
	mark(s);
	assert_int_equal(s->core.epoch, seen);
	assert_false(sim_white(s, BLOCK(2)));
	assert_false(sim_white(s, BLOCK(3)));
	/* The reverse: it was reached, and is white when its epoch comes again. */
	sim_put(BLOCK(1), 0);
	for (n = 0; n < 65535; n++) {
		sim_mark(s, ROOT(0), ROOT(1));
		kmt_mark_end(&s->m);
		assert_true(sim_white(s, BLOCK(2)));
	}
	assert_int_equal(s->core.epoch, seen);
	sim_delete(s);
}

static bool give_up(struct sim *s)
{
	unsigned int *left = s->priv;

	return !*left || !--*left;
}

/* A mark that is given up stops at once and proves nothing. */
static void test_stop(void **state)
{
	struct sim *s = *state;
	unsigned int left, i;
	unsigned long words;

	for (i = 0; i < 20; i++)
		sim_alloc_min(s, BLOCK(i), 2 * KMT_PIECE_WORDS * sizeof(long),
			      i & 1);
	s->fine = true;
	s->on_relax = give_up;
	s->priv = &left;
	for (left = 1; left < 30; left++) {
		unsigned int was = left;

		words = s->m.stats.words;
		sim_mark(s, ROOT(0), ROOT(512));
		assert_true(s->m.stopped);
		assert_in_range(s->m.stats.words - words, 0, was * KMT_PIECE_WORDS);
		kmt_suspect_for_wait(&s->m, &s->v);
		kmt_mark_end(&s->m);
		sim_mark(s, ROOT(0), ROOT(512));
		kmt_mark_doubtful(&s->m, s->now, 0);
		kmt_judge(&s->m, &s->v);
		kmt_mark_end(&s->m);
		assert_int_equal(s->v.leaks, 0);
		check_core(s);
		left = was;
	}
	s->on_relax = NULL;
	sim_scan(s, ROOT(0), ROOT(512));
	assert_int_equal(s->v.leaks, 10);
}

/* The number of words between two rests is bounded. */
static unsigned long max_words, last_words;

static bool watch(struct sim *s)
{
	max_words = max(max_words, s->m.stats.words - last_words);
	last_words = s->m.stats.words;
	return false;
}

static void mark_watched(struct sim *s)
{
	max_words = last_words = 0;
	s->on_relax = watch;
	sim_mark(s, SIM_IMAGE, SIM_IMAGE + SIM_IMAGE_LEN);
	kmt_mark_end(&s->m);
	assert_in_range(max_words, 1, 8192);
}

static void test_bounded(void **state)
{
	struct sim *s = *state;

	sim_alloc_min(s, SIM_VMALLOC, 0x40000, 0);
	sim_alloc_min(s, SIM_LINEAR, 0x40000, 0);
	mark_watched(s);
}

/* Each address is in another region than the one before */
#define FAR(n)	(SIM_LINEAR + (n) % 64 * 0x10000ul + (n) / 64 * 64)
#define FAR_NR	4096

/* So it is if each reference leads to another region than the one before. */
static void test_bounded_far(void **state)
{
	struct sim *s = sim_new(1100, 4, 256);
	unsigned int i;

	for (i = 0; i < FAR_NR; i++) {
		sim_alloc(s, FAR(i), 64);
		sim_put(FAR(i), FAR((i + 1) % FAR_NR));
	}
	sim_put(ROOT(0), FAR(0));
	mark_watched(s);
	for (i = 0; i < FAR_NR; i++)
		assert_false(sim_white(s, FAR(i)));
	sim_delete(s);
}

/* Excess references are passed on from block to block, over a limited number of hops. */
static void test_hops(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	for (i = 1; i <= 6; i++) {
		sim_alloc(s, BLOCK(i), 64);
		sim_put(ROOT(i), BLOCK(1));
		sim_put(ROOT(10 + i), BLOCK(1));
	}
	for (i = 1; i < 6; i++)
		assert_true(kmt_add_alias(&s->core, BLOCK(i), BLOCK(i + 1),
					  GFP_KERNEL));
	mark(s);
	for (i = 1; i <= 4; i++)
		assert_int_equal(sim_object(s, KMT_VIRT, BLOCK(i)).count,
				 13 - i);
	assert_true(sim_white(s, BLOCK(5)));
	assert_true(sim_white(s, BLOCK(6)));
}

/* The cost in words of a mark that reaches a block, which was a leak before, or not. */
static long cost_of_mark(bool leaked)
{
	struct sim *s = sim_new(63, 200, 256);
	const long budget = LONG_MAX / 2;
	unsigned int i;
	long left;

	for (i = 1; i < 5000; i++)
		sim_alloc_min(s, SIM_LINEAR + 64ul * i, 64, 0);
	sim_alloc(s, SIM_LINEAR, 64);
	if (leaked)
		sim_scan(s, ROOT(0), ROOT(8));
	assert_int_equal(sim_leak(s, SIM_LINEAR), leaked);
	sim_put(ROOT(0), SIM_LINEAR);
	s->m.budget = budget;
	sim_mark(s, ROOT(0), ROOT(8));
	left = s->m.budget;
	assert_false(sim_white(s, SIM_LINEAR));
	kmt_mark_end(&s->m);
	sim_delete(s);
	return budget - left;
}

/* A block that was read is not found by a sweep, even if it is still a suspect. */
static void test_leak_reached(void **state)
{
	const long cost = cost_of_mark(false);

	/* One sweep more, since there is a suspect. */
	assert_in_range(cost_of_mark(true), cost, cost + 5000 + 100);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_interior),
		T(test_self_and_ring),
		T(test_odd_sizes),
		T(test_large),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_many_sweeps),
		cmocka_unit_test(test_pushed_once),
		T(test_unreadable),
		T(test_percpu),
		T(test_roots),
		T(test_skip),
		cmocka_unit_test(test_epoch_wrap),
		T(test_stop),
		T(test_bounded),
		cmocka_unit_test(test_bounded_far),
		T(test_hops),
		cmocka_unit_test(test_leak_reached),
	};

	return cmocka_run_group_tests_name("mark", tests, NULL, NULL);
}
