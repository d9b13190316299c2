// SPDX-License-Identifier: GPL-2.0
/* Direct and indirect leaks: a direct leak stands for all leaks that it leads to. */
#include "sim.h"

static void link_blocks(unsigned int from, unsigned int word, unsigned int to)
{
	sim_put(BLOCK(from) + 8 * word, BLOCK(to) + word);
}

static void leak_all(struct sim *s, unsigned int nr)
{
	sim_scan(s, ROOT(0), ROOT(8));
	assert_int_equal(s->v.leaks, nr);
	check_core(s);
}

static unsigned int count_direct(struct sim *s, unsigned int from,
				 unsigned int to)
{
	unsigned int nr = 0;

	for (; from < to; from++)
		if (!sim_indirect(s, BLOCK(from)))
			nr++;
	return nr;
}

/* Allocates @nr blocks, whose records are in order of their addresses or backwards. */
static void alloc_blocks(struct sim *s, unsigned int nr, bool backwards)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		sim_alloc(s, BLOCK(backwards ? nr - 1 - i : i), 128);
}

/* Each test runs with mark stacks of these sizes, in both orders. */
static const unsigned int sizes[] = { 1, 2, 3, 4, 7, 256 };

/* Deletes @s and returns the simulator of setting @k, with @nr blocks. */
static struct sim *next_setting(struct sim *s, unsigned int k, unsigned int nr)
{
	if (s)
		sim_delete(s);
	if (k == 2 * ARRAY_SIZE(sizes))
		return NULL;
	s = sim_new(511, 10, sizes[k / 2]);
	alloc_blocks(s, nr, k & 1);
	return s;
}

static void test_chain(void **state)
{
	struct sim *s = NULL;
	unsigned int i, k = 0;

	while ((s = next_setting(s, k++, 20))) {
		for (i = 0; i < 19; i++)
			link_blocks(i, 3, i + 1);
		link_blocks(5, 0, 5);
		leak_all(s, 20);
		assert_false(sim_indirect(s, BLOCK(0)));
		assert_int_equal(count_direct(s, 0, 20), 1);
	}
}

static void test_tree(void **state)
{
	struct sim *s = NULL;
	unsigned int i, k = 0;

	while ((s = next_setting(s, k++, 63))) {
		for (i = 0; i < 31; i++) {
			link_blocks(i, 0, 2 * i + 1);
			link_blocks(i, 9, 2 * i + 2);
		}
		leak_all(s, 63);
		assert_false(sim_indirect(s, BLOCK(0)));
		assert_int_equal(count_direct(s, 0, 63), 1);
	}
}

static void test_lone(void **state)
{
	struct sim *s = NULL;
	unsigned int k = 0;

	while ((s = next_setting(s, k++, 10))) {
		/* A reference to itself does not make a block indirect. */
		link_blocks(3, 2, 3);
		/*
		 * A live block's reference would acquit block 6; these two, from
		 * leaks, make it indirect.
		 */
		link_blocks(4, 2, 6);
		link_blocks(5, 2, 6);
		leak_all(s, 10);
		assert_int_equal(count_direct(s, 0, 10), 9);
		assert_true(sim_indirect(s, BLOCK(6)));
	}
}

static void test_ring(void **state)
{
	struct sim *s = NULL;
	unsigned int i, k = 0;

	while ((s = next_setting(s, k++, 30))) {
		for (i = 0; i < 20; i++)
			link_blocks(i, 1, (i + 1) % 20);
		/* A separate ring of three on list_heads. */
		for (i = 20; i < 23; i++) {
			link_blocks(i, 0, 20 + (i - 20 + 1) % 3);
			link_blocks(i, 1, 20 + (i - 20 + 2) % 3);
		}
		/* A chain that hangs on the ring, far from the direct leak. */
		link_blocks(7, 5, 23);
		link_blocks(23, 5, 24);
		leak_all(s, 30);
		assert_int_equal(count_direct(s, 0, 20), 1);
		assert_int_equal(count_direct(s, 20, 23), 1);
		assert_int_equal(count_direct(s, 23, 25), 0);
		assert_int_equal(count_direct(s, 25, 30), 5);
	}
}

/* A ring that another leak leads to has no direct leak of its own. */
static void test_led_ring(void **state)
{
	struct sim *s = NULL;
	unsigned int i, k = 0;

	while ((s = next_setting(s, k++, 12))) {
		for (i = 1; i < 11; i++)
			link_blocks(i, 1, i == 10 ? 1 : i + 1);
		link_blocks(11, 0, 4);
		link_blocks(0, 0, 11);
		leak_all(s, 12);
		assert_int_equal(count_direct(s, 0, 12), 1);
		assert_false(sim_indirect(s, BLOCK(0)));
	}
}

/* Rings in which each block has many pointers: small stacks overflow. */
static void test_wide_ring(void **state)
{
	struct sim *s = NULL;
	unsigned int i, j, k = 0;

	while ((s = next_setting(s, k++, 41))) {
		/*
		 * Block 0 leads to 1..10, each of these to three more, and those
		 * back to 0.
		 */
		for (i = 1; i <= 10; i++) {
			link_blocks(0, i, i);
			for (j = 0; j < 3; j++) {
				link_blocks(i, j, 11 + 3 * (i - 1) + j);
				link_blocks(11 + 3 * (i - 1) + j, 4, 0);
			}
		}
		leak_all(s, 41);
		assert_int_equal(count_direct(s, 0, 41), 1);
	}
}

/* One ring leads to another: only the first has a direct leak. */
static void test_ring_to_ring(void **state)
{
	struct sim *s = NULL;
	unsigned int i, k, at;

	for (at = 0; at < 5; at++) {
		k = 0;
		while ((s = next_setting(s, k++, 15))) {
			for (i = 0; i < 15; i++)
				link_blocks(i, 1, i / 5 * 5 + (i + 1) % 5);
			link_blocks(at, 5, 5 + (at * 3) % 5);
			link_blocks(5 + at, 5, 10 + (at * 2) % 5);
			leak_all(s, 15);
			assert_int_equal(count_direct(s, 0, 5), 1);
			assert_int_equal(count_direct(s, 5, 15), 0);
		}
	}
}

/* Allocates block @i as the @order[i]-th, wherever its record is in the pool. */
static void alloc_in_order(struct sim *s, unsigned int nr,
			   const unsigned int *order)
{
	const u32 begin = s->now;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		s->now = begin + 3 * order[i];
		sim_alloc(s, BLOCK(i), 128);
	}
	s->now = begin + 3 * nr;
}

/* In a ring the oldest block is direct, even if jiffies wrap in between. */
static void test_oldest_of_ring(void **state)
{
	const u32 clocks[] = { 10000, 0 - 9u, S32_MAX - 9 };
	unsigned int i, first, k, order[8];

	for (k = 0; k < ARRAY_SIZE(clocks); k++) {
		for (first = 0; first < 8; first++) {
			struct sim *s = sim_new(511, 10, 256);

			s->now = clocks[k];
			for (i = 0; i < 8; i++)
				order[i] = (8 + i * 3 - first * 3) % 8;
			alloc_in_order(s, 8, order);
			for (i = 0; i < 8; i++)
				link_blocks(i, 1, (i + 1) % 8);
			leak_all(s, 8);
			assert_int_equal(count_direct(s, 0, 8), 1);
			assert_false(sim_indirect(s, BLOCK(first)));
			sim_delete(s);
		}
	}
}

/*
 * Parents and children that refer to each other; the parents are older. All
 * children also lead to the same leak, which is the oldest.
 */
static void test_parents(void **state)
{
	const unsigned int order[] = { 1, 6, 2, 5, 4, 3, 0 };
	unsigned int parent, i;
	struct sim *s = sim_new(511, 10, 256);

	alloc_in_order(s, 7, order);
	for (i = 0; i < 6; i += 2) {
		link_blocks(i, 1, i + 1);
		link_blocks(i + 1, 2, i);
		link_blocks(i + 1, 3, 6);
	}
	leak_all(s, 7);
	for (i = 0; i < 6; i++) {
		parent = order[i] < order[i ^ 1] ? i : i ^ 1;
		assert_int_equal(sim_indirect(s, BLOCK(i)), i != parent);
	}
	assert_true(sim_indirect(s, BLOCK(6)));
	sim_delete(s);
}

/* An older ring that a younger one leads to has no direct leak. */
static void test_younger_ring_leads(void **state)
{
	const unsigned int order[] = { 0, 1, 2, 5, 4, 3 };
	struct sim *s = sim_new(511, 10, 256);
	unsigned int i;

	alloc_in_order(s, 6, order);
	for (i = 0; i < 6; i++)
		link_blocks(i, 1, i / 3 * 3 + (i + 1) % 3);
	link_blocks(4, 2, 1);
	leak_all(s, 6);
	for (i = 0; i < 6; i++)
		assert_int_equal(sim_indirect(s, BLOCK(i)), i != 5);
	sim_delete(s);
}

/*
 * If two leaks of a ring have the same age, the one whose backtrace was kept first is
 * direct, whatever their size and place.
 */
static void test_first_of_same_age(void **state)
{
	const u32 traces[] = { 8, 7, 1, 900, 5, 0 };
	struct sim *s = sim_new(511, 10, 256);
	unsigned int i;

	for (i = 0; i < 6; i++) {
		sim_alloc(s, BLOCK(i), i % 2 ? 64 : 128);
		kmt_set_trace(&s->core, KMT_VIRT, BLOCK(i), traces[i]);
		link_blocks(i, 1, i ^ 1);
	}
	leak_all(s, 6);
	assert_true(sim_indirect(s, BLOCK(0)));
	assert_false(sim_indirect(s, BLOCK(1)));
	assert_false(sim_indirect(s, BLOCK(2)));
	assert_true(sim_indirect(s, BLOCK(3)));
	/* Without a backtrace it is not known. */
	assert_false(sim_indirect(s, BLOCK(4)));
	assert_true(sim_indirect(s, BLOCK(5)));
	sim_delete(s);
}

/* If two leaks of a ring have the same age and backtrace, the larger one is direct. */
static void test_larger_of_same_age(void **state)
{
	struct sim *s = sim_new(511, 10, 256);
	unsigned int i;

	for (i = 0; i < 4; i++) {
		sim_alloc(s, BLOCK(i), i == 1 || i == 2 ? 256 : 128);
		kmt_set_trace(&s->core, KMT_VIRT, BLOCK(i), 5);
	}
	for (i = 0; i < 4; i++)
		link_blocks(i, 1, i ^ 1);
	leak_all(s, 4);
	assert_true(sim_indirect(s, BLOCK(0)));
	assert_false(sim_indirect(s, BLOCK(1)));
	assert_false(sim_indirect(s, BLOCK(2)));
	assert_true(sim_indirect(s, BLOCK(3)));
	sim_delete(s);
}

/* The direct leak that BLOCK(@nr) hangs on, or 0. */
static unsigned long head_of(struct sim *s, unsigned int nr)
{
	unsigned long i, head = 0;

	for (i = 0; i < s->nr_ranks; i++)
		if (s->ranks[i].o->addr == BLOCK(nr)) {
			assert_int_equal(head, 0);
			head = s->ranks[i].direct->addr;
		}
	return head;
}

/* Each indirect leak hangs on one direct leak: the youngest that leads to it. */
static void test_heads(void **state)
{
	const unsigned int order[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };
	struct sim *s = sim_new(511, 10, 256);
	unsigned int i;

	alloc_in_order(s, 9, order);
	/* A chain and a pair, both of which lead to another leak, the pair indirectly. */
	link_blocks(0, 1, 1);
	link_blocks(1, 1, 2);
	link_blocks(2, 1, 7);
	link_blocks(3, 1, 4);
	link_blocks(4, 1, 3);
	link_blocks(4, 2, 8);
	link_blocks(8, 1, 7);
	leak_all(s, 9);
	assert_int_equal(s->nr_ranks, 5);
	for (i = 0; i < 9; i++)
		assert_int_equal(!head_of(s, i), !sim_indirect(s, BLOCK(i)));
	assert_int_equal(head_of(s, 1), BLOCK(0));
	assert_int_equal(head_of(s, 2), BLOCK(0));
	assert_int_equal(head_of(s, 4), BLOCK(3));
	assert_int_equal(head_of(s, 8), BLOCK(3));
	assert_int_equal(head_of(s, 7), BLOCK(3));
	sim_delete(s);
}

/* Without memory for the table, no leak is recorded to hang on another. */
static void test_no_table(void **state)
{
	struct sim *s = sim_new(511, 10, 256);
	unsigned int i;

	alloc_blocks(s, 10, false);
	for (i = 0; i < 9; i++)
		link_blocks(i, 0, i + 1);
	leak_all(s, 10);
	assert_int_equal(count_direct(s, 0, 10), 1);
	s->no_tables = true;
	leak_all(s, 10);
	assert_int_equal(count_direct(s, 0, 10), 10);
	s->no_tables = false;
	leak_all(s, 10);
	assert_int_equal(count_direct(s, 0, 10), 1);
	assert_int_equal(s->tables, 0);
	sim_delete(s);
}

static unsigned int asked;

static bool give_up(struct sim *s)
{
	asked++;
	return true;
}

/* kmt_judge() was called, so the classification is completed in a killed task, too. */
static void test_not_given_up(void **state)
{
	struct sim *s = sim_new(31, 1, 256);
	unsigned int i;

	alloc_blocks(s, 20, false);
	leak_all(s, 20);
	assert_int_equal(count_direct(s, 0, 20), 20);
	for (i = 0; i < 20; i++)
		link_blocks(i, 1, (i + 1) % 20);
	s->fine = true;
	s->on_relax = give_up;
	s->m.budget = 0;
	asked = 0;
	kmt_classify(&s->m, s->v.leaks, s->now);
	assert_true(asked > 100);
	assert_false(s->m.stopped);
	assert_int_equal(s->tables, 0);
	assert_int_equal(count_direct(s, 0, 20), 1);
	sim_delete(s);
}

/* Blocks that lie close together. */
#define SMALL(n)	(SIM_LINEAR + 64ul * (n))

/* The cost of classifying @leaks leaks, the first of which has cell @at, in words. */
static long cost(unsigned int blocks, unsigned int at, unsigned int leaks)
{
	struct sim *s = sim_new(63, 1000, 256);
	const long budget = LONG_MAX / 2;
	unsigned int i, direct = 0;
	long left;

	for (i = 0; i < blocks; i++)
		sim_alloc_min(s, SMALL(i), 64, i - at < leaks ? 1 : 0);
	for (i = 0; i < leaks; i++)
		sim_put(SMALL(at + i) + 8, SMALL(at + (i + 1) % leaks));
	leak_all(s, leaks);
	s->m.budget = budget;
	kmt_classify(&s->m, leaks, s->now);
	left = s->m.budget;
	for (i = 0; i < leaks; i++)
		direct += !sim_indirect(s, SMALL(at + i));
	assert_int_equal(direct, 1);
	sim_delete(s);
	return budget - left;
}

/*
 * The walk visits each cell up to that of the last leak, and each leak has the same
 * cost, however many there are. Chunks are walked from the newest, which has the
 * blocks that were allocated last.
 */
static void test_cost(void **state)
{
	const long near = cost(1000, 999, 1), all = cost(1000, 0, 1);

	assert_int_equal(cost(4000, 3999, 1), near);
	assert_in_range(all - near, 1000 - 2 * 63, 1000);
	assert_in_range(cost(4000, 0, 1) - all, 3000 - 63, 3000 + 63);
	assert_in_range(cost(4000, 0, 4000), 3 * cost(1000, 0, 1000),
			5 * cost(1000, 0, 1000));
}

/* A block with KMT_NO_SCAN leads to no other block. */
static void test_no_scan(void **state)
{
	struct sim *s = NULL;
	unsigned int k = 0;

	while ((s = next_setting(s, k++, 4))) {
		link_blocks(0, 0, 1);
		link_blocks(2, 0, 3);
		link_blocks(2, 1, 3);
		kmt_set_flags(&s->core, KMT_VIRT, BLOCK(0), KMT_NO_SCAN);
		assert_true(kmt_add_area(&s->core, BLOCK(2) + 64, 8,
					 GFP_KERNEL));
		leak_all(s, 4);
		assert_int_equal(count_direct(s, 0, 4), 4);
	}
}

/* Through a per-CPU block. */
static void test_percpu(void **state)
{
	struct sim *s = NULL;
	unsigned int k = 0;

	while ((s = next_setting(s, k++, 4))) {
		assert_int_equal(sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1),
				 0);
		sim_put(BLOCK(0), SIM_PERCPU);
		sim_put(kmt_env_percpu(SIM_PERCPU, 5) + 8, BLOCK(1));
		link_blocks(1, 0, 2);
		leak_all(s, 5);
		assert_int_equal(count_direct(s, 0, 4), 2);
		assert_true(sim_object(s, KMT_PERCPU, SIM_PERCPU).flags &
			    KMT_INDIRECT);
		sim_put(kmt_env_percpu(SIM_PERCPU, 5) + 8, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_lone),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_led_ring),
		cmocka_unit_test(test_wide_ring),
		cmocka_unit_test(test_ring_to_ring),
		cmocka_unit_test(test_oldest_of_ring),
		cmocka_unit_test(test_parents),
		cmocka_unit_test(test_younger_ring_leads),
		cmocka_unit_test(test_first_of_same_age),
		cmocka_unit_test(test_larger_of_same_age),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_no_table),
		cmocka_unit_test(test_not_given_up),
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_no_scan),
		cmocka_unit_test(test_percpu),
	};

	return cmocka_run_group_tests_name("classify", tests, NULL, NULL);
}
