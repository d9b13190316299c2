// SPDX-License-Identifier: GPL-2.0
/* Cells: conservation, exhaustion, caches, evacuation. */
#include "sim.h"

static void test_no_memory(void **state)
{
	struct sim *s = sim_new(7, 2, 16);
	unsigned long i;

	for (i = 0; i < 14; i++)
		assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(i), 64, 1), 0);
	for (; i < 20; i++)
		assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(i), 64, 1),
				 -ENOMEM);
	assert_int_equal(sim_events(s, KMT_EV_LOST_NOMEM), 6);
	assert_false(host_irqs_off());
	check_core(s);
	assert_int_equal(kmt_pool_free_cells(&s->core), 0);

	/* Tracking goes on as soon as a cell is free. */
	assert_true(kmt_free(&s->core, KMT_VIRT, BLOCK(3)));
	assert_false(kmt_free(&s->core, KMT_VIRT, BLOCK(15)));
	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(20), 64, 1), 0);
	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(21), 64, 1), -ENOMEM);
	s->chunks_left = 1;
	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(21), 64, 1), 0);
	check_core(s);
	sim_delete(s);
}

/*
 * The number of cells in the cache of a CPU is bounded, and all of them can be had
 * back.
 */
static void test_caches(void **state)
{
	struct sim *s = sim_new(511, 1, 16);
	unsigned long i;
	int cpu;

	sim_remember(s, false);
	for (i = 0; i < 400; i++) {
		host_cpu = i % HOST_CPUS;
		assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(i), 64, 1), 0);
	}
	check_core(s);
	/* Free all blocks on one CPU. */
	host_cpu = 5;
	for (i = 0; i < 400; i++) {
		assert_true(kmt_free(&s->core, KMT_VIRT, BLOCK(i)));
		assert_in_range(s->caches[5].nr, 0, 128);
	}
	check_core(s);
	host_cpu = 0;
	assert_int_equal(kmt_pool_free_cells(&s->core), 511);
	/* Another CPU can get most of the cells. */
	host_cpu = 6;
	for (i = 0; i < 150; i++)
		assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(i), 64, 1), 0);
	host_cpu = 0;
	check_core(s);
	for_each_possible_cpu(cpu)
		assert_in_range(s->caches[cpu].nr, 0, 128);
	sim_delete(s);
}

static void test_low_mark(void **state)
{
	struct sim *s = sim_new(99, 1, 16);
	unsigned long i;

	assert_true(kmt_pool_grow(&s->core, GFP_KERNEL));
	s->core.pool.low = 40;
	for (i = 0; i < 32; i++)
		sim_insert(s, KMT_VIRT, BLOCK(i), 64, 1);
	assert_int_equal(s->lows, 0);
	assert_int_equal(s->core.pool.least, 99 - 32);
	for (; i < 99; i++)
		sim_insert(s, KMT_VIRT, BLOCK(i), 64, 1);
	assert_true(s->lows > 0);
	assert_int_equal(s->core.pool.least, 0);
	assert_int_equal(sim_events(s, KMT_EV_LOST_NOMEM), 0);
	check_core(s);
	sim_delete(s);
}

/* Any size and any number of chunks, even chunks of one cell. */
static void test_chunk_sizes(void **state)
{
	struct sim *s = sim_new(1, 0, 16);
	unsigned long total = 0, chunks = 0, i, n;

	for (i = 0; i < 10; i++) {
		s->chunk_cells = 1 + i * i;
		s->chunks_left = 1;
		assert_true(kmt_pool_grow(&s->core, GFP_KERNEL));
		total += s->chunk_cells;
		chunks += i * i / KMT_PAGE_CELLS + 1;
		check_core(s);
	}
	assert_false(kmt_pool_grow(&s->core, GFP_KERNEL));
	assert_int_equal(s->core.pool.cells, total);
	/* Each page has a header. */
	assert_int_equal(s->core.pool.nr_chunks, chunks);
	for (n = 0; n < total; n++)
		assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(n), 8, 1), 0);
	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(n), 8, 1), -ENOMEM);
	check_core(s);
	sim_delete(s);
}

static void fill_for_evacuation(struct sim *s)
{
	unsigned long i;

	for (i = 0; i < 60; i++) {
		host_cpu = i % 3;
		assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(i), 64, 1), 0);
	}
	assert_int_equal(sim_insert(s, KMT_VIRT, SIM_VMALLOC, 8192, 2), 0);
	assert_int_equal(sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1), 0);
	assert_int_equal(sim_insert(s, KMT_PHYS, SIM_PHYS, 4096, 0), 0);
	assert_true(kmt_add_area(&s->core, BLOCK(4), 8, GFP_KERNEL));
	assert_true(kmt_add_area(&s->core, BLOCK(4) + 16, 8, GFP_KERNEL));
	assert_true(kmt_add_alias(&s->core, BLOCK(5), SIM_VMALLOC, GFP_KERNEL));
	for (i = 10; i < 30; i++) {
		host_cpu = i % 5;
		assert_true(kmt_free(&s->core, KMT_VIRT, BLOCK(i)));
	}
	host_cpu = 0;
}

/* Evacuates the memory that the pool got first, page by page. */
static int evacuate(struct sim *s, size_t bytes)
{
	char *mem = s->chunks[0];
	struct kmt_chunk *chunk, *next;
	int ret = 0;

	kmt_for_each_chunk(&s->core, chunk)
		if ((char *)chunk >= mem && (char *)chunk < mem + bytes)
			kmt_chunk_close(&s->core, chunk);
	for (chunk = s->core.pool.chunks; chunk && !ret; chunk = next) {
		next = chunk->next;
		if ((char *)chunk >= mem && (char *)chunk < mem + bytes)
			ret = kmt_pool_evacuate(&s->core, chunk, GFP_KERNEL);
	}
	/* Nothing points into the memory any more, so it may be freed. */
	if (!ret)
		memset(mem, 0xff, bytes);
	return ret;
}

static void test_evacuate(void **state)
{
	struct sim *s = sim_new(160, 1, 16);
	struct kmt_range area = {};
	unsigned long start, i;

	sim_remember(s, false);
	fill_for_evacuation(s);
	s->chunks_left = 10;
	s->chunk_cells = 15;
	assert_int_equal(evacuate(s, kmt_chunk_bytes(160)), 0);
	check_core(s);
	for (i = 0; i < 60; i++)
		assert_int_equal(sim_tracked(s, BLOCK(i) + 63),
				 i < 10 || i >= 30);
	assert_int_equal(sim_object(s, KMT_VIRT, BLOCK(7)).trace,
			 (u32)(BLOCK(7) >> 4));
	assert_int_equal(sim_object(s, KMT_VIRT, SIM_VMALLOC).min_refs, 2);
	host_irq_save();
	assert_true(kmt_next_area(&s->core, BLOCK(4), &area));
	assert_true(kmt_next_area(&s->core, BLOCK(4), &area));
	assert_int_equal(area.lo, BLOCK(4) + 16);
	assert_int_equal(area.hi, BLOCK(4) + 24);
	assert_false(kmt_next_area(&s->core, BLOCK(4), &area));
	assert_true(kmt_get_alias(&s->core, BLOCK(5), &start));
	assert_int_equal(start, SIM_VMALLOC);
	host_irq_restore(0);
	for (i = 0; i < 10; i++)
		assert_true(kmt_free(&s->core, KMT_VIRT, BLOCK(i)));
	assert_int_equal(kmt_nr_aux(&s->core), 0);
	check_core(s);
	sim_delete(s);
}

/* Chunks in the middle of the list can be evacuated. */
static void test_evacuate_middle(void **state)
{
	struct sim *s = sim_new(20, 50, 16);
	struct kmt_chunk *middle;
	unsigned long i;

	sim_remember(s, false);
	for (i = 0; i < 60; i++)
		assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(i), 64, 1), 0);
	middle = s->core.pool.chunks->next;
	assert_int_equal(kmt_pool_evacuate(&s->core, middle, GFP_KERNEL), 0);
	memset(middle, 0xff, 21 * sizeof(struct kmt_object));
	check_core(s);
	for (i = 0; i < 60; i++)
		assert_true(kmt_free(&s->core, KMT_VIRT, BLOCK(i)));
	check_core(s);
	sim_delete(s);
}

/* Without memory to move objects to, each object stays where it was. */
static void test_evacuate_no_memory(void **state)
{
	struct sim *s = sim_new(160, 1, 16);
	unsigned long i;

	sim_remember(s, false);
	fill_for_evacuation(s);
	s->chunks_left = 1;
	s->chunk_cells = 10;
	assert_int_equal(evacuate(s, kmt_chunk_bytes(160)), -ENOMEM);
	assert_false(host_irqs_off());
	for (i = 0; i < 60; i++)
		assert_int_equal(sim_tracked(s, BLOCK(i) + 63),
				 i < 10 || i >= 30);
	s->chunks_left = 10;
	assert_int_equal(evacuate(s, kmt_chunk_bytes(160)), 0);
	check_core(s);
	sim_delete(s);
}

/* In early boot there is one cache, however many CPUs are possible. */
static void test_one_cache(void **state)
{
	struct sim *s = sim_new(63, 2, 16);

	host_cpu = 0;
	s->core.pool.nr_caches = 1;
	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(0), 64, 1), 0);
	s->caches[1].nr = 1000000;
	assert_int_equal(kmt_pool_free_cells(&s->core), 62);
	assert_int_equal(kmt_pool_evacuate(&s->core, s->core.pool.chunks,
					   GFP_KERNEL), 0);
	assert_int_equal(s->caches[1].nr, 1000000);
	s->caches[1].nr = 0;
	assert_int_equal(kmt_pool_free_cells(&s->core), 62);
	check_core(s);
	sim_delete(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_caches),
		cmocka_unit_test(test_low_mark),
		cmocka_unit_test(test_chunk_sizes),
		cmocka_unit_test(test_one_cache),
		cmocka_unit_test(test_evacuate),
		cmocka_unit_test(test_evacuate_middle),
		cmocka_unit_test(test_evacuate_no_memory),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
