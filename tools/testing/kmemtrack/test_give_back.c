// SPDX-License-Identifier: GPL-2.0
/* Memory that the pool gives back. It is freed, so that ASan finds accesses to it. */
#include "fastpath.h"
#include "sim.h"

#define NR	4000
#define AT(i)	(SIM_LINEAR + 64 * (unsigned long)(i))

static void flush_all(struct sim *s)
{
	unsigned long flags;
	int cpu;

	local_irq_save(flags);
	for_each_possible_cpu(cpu)
		kmt_cell_give(&s->core, &s->caches[cpu], s->caches[cpu].nr);
	local_irq_restore(flags);
}

static void discard(struct sim *s, struct kmt_chunk *chunk)
{
	unsigned int i = 0;

	while (s->chunks[i] != chunk)
		assert_true(++i < s->nr_chunks);
	s->chunks[i] = s->chunks[--s->nr_chunks];
	s->chunks_left++;
	free(chunk);
}

/* Frees the chunks that left the pool, with @all even few; returns how many. */
static unsigned int free_gone(struct sim *s, bool all)
{
	struct kmt_chunk *chunk, *gone = kmt_pool_take_gone(&s->core, all);
	unsigned int nr = 0;

	for (; (chunk = gone); nr++) {
		gone = chunk->next;
		discard(s, chunk);
	}
	return nr;
}

/* Returns how many chunks were removed; with @compact, moves records out of some. */
static unsigned int shrink(struct sim *s, unsigned long keep, bool compact)
{
	unsigned long left = s->core.pool.nr_chunks;
	unsigned int nr = 0;

	if (!compact)
		sim_reap_all(s);
	flush_all(s);
	do {
		if (compact && left)
			kmt_pool_compact(&s->core, keep);
		while (kmt_pool_trim(&s->core, keep))
			nr++;
	} while (compact && left--);
	assert_int_equal(free_gone(s, true), nr);
	check_core(s);
	return nr;
}

static unsigned int trim(struct sim *s, unsigned long keep)
{
	return shrink(s, keep, false);
}

static void put(struct sim *s, unsigned long addr)
{
	assert_int_equal(sim_insert(s, KMT_VIRT, addr, 64, 1), 0);
}

static void drop(struct sim *s, unsigned long addr)
{
	assert_true(kmt_free(&s->core, KMT_VIRT, addr));
}

static void fill(struct sim *s)
{
	int i;

	for (i = 0; i < NR; i++) {
		host_cpu = i % HOST_CPUS;
		put(s, AT(i));
	}
	host_cpu = 0;
}

/* Cells that CPUs remember must not be accessed after their chunk was removed. */
static void test_all(void **state)
{
	struct sim *s = *state;
	int round, i;

	for (round = 0; round < 3; round++) {
		fill(s);
		assert_int_equal(trim(s, 0), 0);
		for (i = 0; i < NR; i++) {
			host_cpu = i % 3;
			drop(s, AT(i));
		}
		host_cpu = 0;
		assert_true(trim(s, 0) >= NR / 63);
		assert_int_equal(s->nr_chunks, 0);
		assert_int_equal(s->core.pool.cells, 0);
		for (i = 0; i < NR; i++) {
			host_cpu = i % HOST_CPUS;
			assert_false(kmt_free(&s->core, KMT_VIRT, AT(i)));
		}
	}
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 3 * NR);
	assert_int_equal(sim_events(s, KMT_EV_LOST_NOMEM), 0);
}

/* A chunk with one block in it stays, and so does the block. */
static void test_some(void **state)
{
	struct sim *s = *state;
	struct kmt_object o;
	unsigned int before;
	int i, left = 0;

	fill(s);
	before = s->nr_chunks;
	for (i = 0; i < NR; i++) {
		if (i % 500 == 7)
			left++;
		else
			drop(s, AT(i));
	}
	assert_true(trim(s, 0) >= before - left);
	assert_in_range(s->nr_chunks, 1, left);
	for (i = 7; i < NR; i += 500) {
		assert_true(kmt_lookup(&s->core, KMT_VIRT, AT(i), &o));
		drop(s, AT(i));
	}
	fill(s);
	check_core(s);
}

static void test_keep(void **state)
{
	struct sim *s = *state;
	unsigned int chunks;
	int i;

	fill(s);
	for (i = 0; i < NR; i++)
		drop(s, AT(i));
	trim(s, 500);
	assert_true(kmt_pool_free_cells(&s->core) >= 500);
	chunks = s->nr_chunks;
	assert_true(chunks < NR / 63 / 2);
	assert_int_equal(trim(s, 10000), 0);
	assert_int_equal(s->nr_chunks, chunks);
	s->chunks_left = 0;
	for (i = 0; i < 500; i++)
		put(s, AT(i));
}

/* One of ten blocks is left, all over the pool, with its auxiliary cells. */
static void test_compact(void **state)
{
	struct sim *s = *state;
	struct kmt_range area;
	unsigned long target;
	unsigned int before, went;
	struct kmt_object o;
	int i;

	fill(s);
	for (i = 0; i < NR; i += 20) {
		assert_true(kmt_add_area(&s->core, AT(i), 16, GFP_KERNEL));
		assert_true(kmt_add_alias(&s->core, AT(i), AT(i + 10),
					  GFP_KERNEL));
	}
	for (i = 0; i < 5; i++)
		assert_int_equal(sim_insert(s, KMT_VIRT, SIM_VMALLOC + 8192 * i,
					    8192, 2), 0);
	assert_true(kmt_set_min(&s->core, KMT_VIRT, AT(10), KMT_MIN_GREY));
	for (i = 0; i < NR; i++)
		if (i % 10)
			drop(s, AT(i));
	before = s->nr_chunks;
	went = shrink(s, 100, true);
	assert_true(went >= before * 8 / 10);
	assert_true(kmt_pool_free_cells(&s->core) + kmt_vacant(&s->core) >= 100);
	/* All blocks are unchanged, and found. */
	for (i = 0; i < NR; i++) {
		assert_int_equal(kmt_lookup(&s->core, KMT_VIRT, AT(i) + 63, &o),
				 i % 10 == 0);
		if (i % 10)
			continue;
		assert_int_equal(o.addr, AT(i));
		assert_int_equal(o.size, 64);
		assert_int_equal(o.trace, (u32)(AT(i) >> 4));
		assert_int_equal(o.min_refs, i == 10 ? KMT_MIN_GREY : 1);
		if (i % 20)
			continue;
		area = (struct kmt_range){};
		assert_true(kmt_next_area(&s->core, AT(i), &area));
		assert_int_equal(area.lo, AT(i));
		assert_int_equal(area.hi, AT(i) + 16);
		assert_true(kmt_get_alias(&s->core, AT(i), &target));
		assert_int_equal(target, AT(i + 10));
	}
	assert_true(kmt_lookup(&s->core, KMT_VIRT, SIM_VMALLOC + 8191, &o));
	assert_int_equal(o.min_refs, 2);
	/* No more chunks can be removed, and no record is moved for it. */
	assert_in_range(shrink(s, 100, true), 0, 1);
	for (i = 0; i < NR; i++) {
		host_cpu = i % HOST_CPUS;
		if (i % 10 == 0)
			drop(s, AT(i));
	}
	host_cpu = 0;
	fill(s);
	check_core(s);
}

/* Leaks are not moved: the owner refers to their cells. */
static void test_leaks_stay(void **state)
{
	struct sim *s = *state;
	const struct kmt_object *cell = NULL;
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	int i;

	fill(s);
	assert_true(kmt_set_flags(&s->core, KMT_VIRT, AT(77),
				  KMT_SUSPECT | KMT_LEAK));
	kmt_for_each_cell(&s->core, chunk, o)
		if ((o->flags & KMT_LEAK) && o->addr == AT(77))
			cell = o;
	for (i = 0; i < NR; i++)
		if (i != 77 && i % 10)
			drop(s, AT(i));
	assert_true(shrink(s, 0, true) > 0);
	assert_int_equal(cell->addr, AT(77));
	assert_true(cell->flags & KMT_LEAK);
}

/* Chunks that must stay are not removed, and can be used as before. */
static void test_stays(void **state)
{
	struct sim *s = *state;
	int i;

	s->chunks_stay = true;
	fill(s);
	for (i = 0; i < NR; i++)
		drop(s, AT(i));
	assert_int_equal(trim(s, 0), 0);
	s->chunks_left = 0;
	for (i = 0; i < NR; i++)
		put(s, AT(i));
}

/* An empty pool, and a pool with a scan area. */
static void test_few(void **state)
{
	struct sim *s = *state;

	assert_int_equal(trim(s, 0), 0);
	put(s, AT(1));
	assert_true(kmt_add_area(&s->core, AT(1), 16, GFP_KERNEL));
	assert_int_equal(trim(s, 0), 0);
	drop(s, AT(1));
	assert_int_equal(trim(s, 1), 0);
	assert_int_equal(trim(s, 0), 1);
	put(s, AT(2));
}

/*
 * A mark does not use blocks that an earlier mark remembered: their chunks may be
 * gone.
 */
static void test_mark(void **state)
{
	struct sim *s = *state;
	int i;

	for (i = 0; i < NR; i++)
		sim_alloc(s, AT(i), 64);
	sim_put(ROOT(0), AT(NR - 1));
	sim_mark(s, ROOT(0), ROOT(64));
	assert_false(sim_white(s, AT(NR - 1)));
	for (i = 0; i < NR; i++)
		sim_free(s, AT(i), 64);
	assert_true(trim(s, 0) > 0);
	sim_alloc(s, AT(5), 64);
	sim_alloc(s, AT(9), 64);
	sim_put(ROOT(0), AT(5));
	sim_mark(s, ROOT(0), ROOT(64));
	assert_false(sim_white(s, AT(5)));
	assert_true(sim_white(s, AT(9)));
}

/*
 * As a shrinker, which asks for a few chunks at a time: the tables of all CPUs must not be
 * looked through each time. Each table has 16,384 entries.
 */
static void test_few_at_a_time(void **state)
{
	const unsigned int batch = 16;
	unsigned int i, nr, freed = 0, calls = 0;
	struct sim *s = sim_new(3, 1000, 16);
	unsigned long since;

	for (i = 0; i < 2800; i++)
		put(s, AT(i));
	for (i = 0; i < 2800; i++)
		drop(s, AT(i));
	sim_reap_all(s);
	flush_all(s);
	since = host_steps;
	do {
		for (nr = 0; nr < batch && kmt_pool_trim(&s->core, 0); nr++)
			;
		freed += free_gone(s, nr < batch);
		calls++;
		assert_in_range(kmt_nr_gone(&s->core), 0, 1000);
	} while (nr == batch);
	since = host_steps - since;
	assert_int_equal(s->nr_chunks, 0);
	assert_int_equal(kmt_nr_gone(&s->core), 0);
	assert_true(freed > 900 && calls > 900 / batch);
	/* Each entry twice, at a few steps. */
	assert_in_range(since, KMT_RECENT_CELLS * HOST_CPUS,
			KMT_RECENT_CELLS * HOST_CPUS * 2 * 4);
	sim_delete(s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_all),
		T(test_some),
		T(test_keep),
		T(test_stays),
		T(test_compact),
		T(test_leaks_stay),
		T(test_few),
		T(test_mark),
		cmocka_unit_test(test_few_at_a_time),
	};

	return cmocka_run_group_tests_name("give_back", tests, NULL, NULL);
}
