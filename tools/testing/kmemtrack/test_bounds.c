// SPDX-License-Identifier: GPL-2.0
/*
 * Limits of the work under one lock and with interrupts off, counted in basic
 * blocks of the core. The work must not depend on the number of blocks.
 */
#include "fastpath.h"
#include "sim.h"

#define FEW	1000
#define MANY	25000
#define AT(i)	(SIM_LINEAR + 64 * (unsigned long)(i))

/* Steps for a batch of cells; a step is one or a few instructions. */
#define MOST_STEPS	2500

static void expect_short(void)
{
	assert_in_range(host_steps_locked_max, 1, MOST_STEPS);
	assert_in_range(host_steps_irqs_off_max, 1, MOST_STEPS);
}

/*
 * As expect_short(); and where sleeping is allowed, cond_resched() was called in
 * between.
 */
static void expect_rests(void)
{
	expect_short();
	assert_in_range(host_steps_busy_max, 1, 4 * MOST_STEPS);
}

static void ask_anew(void)
{
	host_cond_resched(GFP_KERNEL);
	host_steps_locked_max = 0;
	host_steps_irqs_off_max = 0;
	host_steps_busy_max = 0;
}

static void put(struct sim *s, unsigned long i)
{
	assert_int_equal(sim_insert(s, KMT_VIRT, AT(i), 64, 1), 0);
}

static void trim(struct sim *s, unsigned long keep)
{
	unsigned long flags, i;

	sim_reap_all(s);
	local_irq_save(flags);
	kmt_cell_give(&s->core, &s->caches[0], s->caches[0].nr);
	local_irq_restore(flags);
	for (i = s->core.pool.nr_chunks; i; i--)
		kmt_pool_compact(&s->core, keep);
	host_cond_resched(GFP_KERNEL);
	while (kmt_pool_trim(&s->core, keep))
		;
	kmt_pool_take_gone(&s->core, true);
	check_core(s);
}

/* Runs all functions of the pool with @nr blocks, of which every other one is freed. */
static void use_pool(unsigned long nr)
{
	struct sim *s = sim_new(63, 1000, 16);
	unsigned long i;

	ask_anew();
	for (i = 0; i < nr; i++)
		put(s, i);
	for (i = 0; i < nr; i += 2)
		assert_true(kmt_free(&s->core, KMT_VIRT, AT(i)));
	trim(s, nr / 8);
	for (i = 0; i < nr; i += 2)
		put(s, i);
	sim_remember(s, false);
	for (i = 0; i < nr; i += 3)
		assert_true(kmt_free(&s->core, KMT_VIRT, AT(i)));
	trim(s, nr / 8);
	expect_short();
	ask_anew();
	/* The epoch wraps: no block may have an epoch that comes again. */
	s->core.epoch = (u16)~0U;
	kmt_mark_begin(&s->m);
	kmt_mark_end(&s->m);
	expect_rests();
	ask_anew();
	assert_int_equal(kmt_drop_space(&s->core, KMT_VIRT),
			 nr - (nr + 2) / 3);
	sim_reap_all(s);
	expect_rests();
	trim(s, 0);
	assert_int_equal(s->core.pool.cells, 0);
	sim_delete(s);
}

static void test_few(void **state)
{
	use_pool(FEW);
}

static void test_many(void **state)
{
	use_pool(MANY);
}

/* Allocates a block over the vacant records of @nr freed blocks. */
static unsigned long cover(unsigned long nr, unsigned long size, gfp_t gfp)
{
	static const struct kmt_origin nobody;
	struct sim *s = sim_new(63, 1000, 16);
	unsigned long i, since;
	struct kmt_object o;

	for (i = 0; i < nr; i++)
		put(s, i);
	for (i = 0; i < nr; i++)
		if (i != nr / 2)
			assert_true(kmt_free(&s->core, KMT_VIRT, AT(i)));
	ask_anew();
	since = host_steps;
	assert_int_equal(kmt_insert(&s->core, KMT_VIRT, AT(0), size, 1, &nobody,
				    gfp), 0);
	since = host_steps - since;
	host_cond_resched(GFP_KERNEL);
	assert_true(kmt_lookup(&s->core, KMT_VIRT, AT(nr - 1), &o));
	assert_int_equal(o.size, size);
	assert_int_equal(kmt_vacant(&s->core), 0);
	/* The block that was not freed counts as an overlap. */
	s->overlaps = 1;
	check_core(s);
	sim_delete(s);
	return since;
}

/* A large block over many records: the cost is linear, and no lock is held for long. */
static void test_cover(void **state)
{
	unsigned long few, many;

	few = cover(FEW, 64 * FEW, GFP_KERNEL);
	expect_rests();
	many = cover(MANY, 64 * MANY, GFP_KERNEL);
	expect_rests();
	assert_true(many / MANY <= 2 * (few / FEW));
	cover(MANY, 64 * MANY, GFP_ATOMIC);
	expect_short();
}

/* Looks for a block in a region that is full of vacant records of 8 bytes. */
static void test_skip(void **state)
{
	const unsigned long region = BIT(KMT_REGION_SHIFT), size = 8;
	struct sim *s = sim_new(63, 1000, 16);
	struct kmt_range found;
	unsigned long at;

	for (at = SIM_LINEAR; at < SIM_LINEAR + region; at += size)
		assert_int_equal(sim_insert(s, KMT_VIRT, at, size, 1), 0);
	for (at = SIM_LINEAR; at < SIM_LINEAR + region - size; at += size)
		assert_true(kmt_free(&s->core, KMT_VIRT, at));
	ask_anew();
	assert_true(kmt_first_block(&s->core, KMT_VIRT, SIM_LINEAR, at + size,
				    &found));
	expect_short();
	assert_int_equal(found.lo, at);
	assert_int_equal(found.hi, at + size);
	ask_anew();
	assert_false(kmt_first_block(&s->core, KMT_VIRT, SIM_LINEAR, at, &found));
	expect_short();
	sim_delete(s);
}

/*
 * Between two rests, at most the budget, at some steps a record, however many there
 * are.
 */
static void expect_walk_rests(void)
{
	host_cond_resched(GFP_KERNEL);
	assert_in_range(host_steps_busy_max, 1, 12 * MOST_STEPS);
	ask_anew();
}

/* Walks over many records, most or all of which they only skip. */
static void test_walks(void **state)
{
	struct sim *s = sim_new(63, 1000, 64);
	unsigned long i;

	for (i = 0; i < MANY; i++)
		sim_alloc_min(s, AT(i), 64, KMT_MIN_GREY);
	sim_alloc(s, AT(MANY), 64);
	kmt_mark_begin(&s->m);
	kmt_mark_sweep(&s->m);
	ask_anew();
	kmt_suspect_for_search(&s->m, &s->filter, &s->v);
	assert_int_equal(s->v.suspects, 1);
	expect_walk_rests();
	kmt_read_acquitted(&s->m);
	expect_walk_rests();
	kmt_update_suspects(&s->m, &s->filter, &s->v);
	expect_walk_rests();
	kmt_judge(&s->m, &s->v);
	assert_int_equal(s->v.leaks, 1);
	expect_walk_rests();
	kmt_classify(&s->m, 1, s->now);
	expect_walk_rests();
	kmt_mark_end(&s->m);
	assert_int_equal(kmt_clear(&s->m, 0), 1);
	expect_walk_rests();
	for (i = 0; i <= MANY; i++)
		sim_free(s, AT(i), 64);
	sim_delete(s);
}

/*
 * A lost block of many pages, each of which has a bit in the filter, and another one that
 * passes references on to it.
 */
static void test_huge(void **state)
{
	const unsigned long lost = SIM_VMALLOC, size = 8192 * SIM_PAGE;
	static u8 bits[8192];
	struct sim *s = sim_new(63, 1000, 64);

	s->filter.bits = (unsigned long *)bits;
	s->filter.mask = 8 * sizeof(bits) - 1;
	assert_int_equal(sim_insert(s, KMT_VIRT, lost, size, 1), 0);
	assert_int_equal(sim_insert(s, KMT_VIRT, lost + size, size, KMT_MIN_GREY), 0);
	assert_true(kmt_set_flags(&s->core, KMT_VIRT, lost + size, KMT_NO_SCAN));
	assert_true(kmt_add_alias(&s->core, lost + size, lost, GFP_KERNEL));
	kmt_mark_begin(&s->m);
	kmt_mark_sweep(&s->m);
	ask_anew();
	kmt_suspect_for_search(&s->m, &s->filter, &s->v);
	assert_int_equal(s->v.suspects, 1);
	expect_short();
	expect_walk_rests();
	kmt_update_suspects(&s->m, &s->filter, &s->v);
	assert_int_equal(s->v.suspects, 1);
	expect_short();
	expect_walk_rests();
	kmt_mark_end(&s->m);
	sim_delete(s);
}

/* Marks a block that has @nr scan areas; returns the number of steps. */
static unsigned long mark_areas(unsigned long nr)
{
	const unsigned long lost = AT(MANY), size = 2 * sizeof(long);
	struct sim *s = sim_new(63, 1000, 64);
	unsigned long i, steps;

	sim_alloc_min(s, AT(0), nr * size, KMT_MIN_GREY);
	sim_alloc(s, lost, 64);
	for (i = nr; i--; )
		assert_true(kmt_add_area(&s->core, AT(0) + i * size, sizeof(long),
					 GFP_KERNEL));
	/* Adding an area again takes no cell. */
	assert_true(kmt_add_area(&s->core, AT(0), sizeof(long), GFP_KERNEL));
	assert_int_equal(kmt_nr_aux(&s->core), nr);
	sim_put(AT(0) + (nr - 1) * size, lost);
	ask_anew();
	steps = host_steps;
	kmt_mark_begin(&s->m);
	kmt_mark_sweep(&s->m);
	kmt_mark_end(&s->m);
	steps = host_steps - steps;
	expect_walk_rests();
	kmt_suspect_for_search(&s->m, &s->filter, &s->v);
	assert_int_equal(s->v.suspects, 0);
	ask_anew();
	sim_free(s, AT(0), nr * size);
	expect_short();
	assert_int_equal(kmt_nr_aux(&s->core), 0);
	sim_free(s, lost, 64);
	sim_delete(s);
	return steps;
}

/* Each area takes the lock anew, and the time is linear in the number of areas. */
static void test_areas(void **state)
{
	unsigned long few = mark_areas(FEW), many = mark_areas(MANY);

	assert_true(many / MANY <= 2 * (few / FEW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_cover),
		cmocka_unit_test(test_skip),
		cmocka_unit_test(test_walks),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_areas),
	};

	return cmocka_run_group_tests_name("bounds", tests, NULL, NULL);
}
