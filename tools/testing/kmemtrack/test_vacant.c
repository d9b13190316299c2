// SPDX-License-Identifier: GPL-2.0
/* Vacant records: used again, evicted by overlaps, found by frees. */
#include "fastpath.h"
#include "sim.h"

#define REGION	(1ul << KMT_REGION_SHIFT)

static const struct kmt_object *cell_of(struct sim *s, unsigned long addr)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_cell(&s->core, chunk, o)
		if (o->size && o->addr == addr && !(o->flags & KMT_AUX))
			return o;
	return NULL;
}

static void put(struct sim *s, unsigned long addr, unsigned long size)
{
	assert_int_equal(sim_insert(s, KMT_VIRT, addr, size, 1), 0);
}

static void drop(struct sim *s, unsigned long addr)
{
	assert_true(kmt_free(&s->core, KMT_VIRT, addr));
}

/* The next block uses the same cell, without state of the last block. */
static void test_again(void **state)
{
	struct sim *s = *state;
	const struct kmt_object *cell;
	struct kmt_object o;

	put(s, BLOCK(1), 64);
	cell = cell_of(s, BLOCK(1));
	assert_true(kmt_set_flags(&s->core, KMT_VIRT, BLOCK(1), KMT_NO_SCAN |
				  KMT_TRANSIENT | KMT_SUSPECT | KMT_LEAK));
	assert_true(kmt_set_min(&s->core, KMT_VIRT, BLOCK(1), KMT_MIN_BLACK));
	drop(s, BLOCK(1));
	check_core(s);
	assert_int_equal(kmt_vacant(&s->core), 1);
	assert_false(kmt_lookup(&s->core, KMT_VIRT, BLOCK(1), &o));
	assert_false(kmt_lookup(&s->core, KMT_VIRT, BLOCK(1) + 63, &o));
	put(s, BLOCK(1), 64);
	check_core(s);
	assert_ptr_equal(cell_of(s, BLOCK(1)), cell);
	assert_int_equal(kmt_vacant(&s->core), 0);
	assert_true(kmt_lookup(&s->core, KMT_VIRT, BLOCK(1) + 63, &o));
	assert_int_equal(o.flags, KMT_LIVE);
	assert_int_equal(o.min_refs, 1);
	assert_int_equal(o.crc, 0);
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), 0);
}

static void test_twice(void **state)
{
	struct sim *s = *state;

	put(s, BLOCK(1), 64);
	drop(s, BLOCK(1));
	assert_false(kmt_free(&s->core, KMT_VIRT, BLOCK(1)));
	assert_false(kmt_free(&s->core, KMT_VIRT, BLOCK(1) + 8));
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 2);
	assert_int_equal(sim_events(s, KMT_EV_FREE_INSIDE), 0);
	/* The vacant record identifies the block. */
	assert_int_equal(sim_events(s, KMT_EV_FREE_TWICE), 1);
	assert_int_equal(s->warned, 1);
	assert_int_equal(s->warned_ev, KMT_EV_FREE_TWICE);
	assert_int_equal(s->warned_old.addr, BLOCK(1));
	assert_int_equal(s->warned_old.size, 64);
	assert_int_equal(kmt_vacant(&s->core), 1);
	/* A block over a live one still counts as an overlap. */
	put(s, BLOCK(1), 64);
	put(s, BLOCK(1), 64);
	s->overlaps = 1;
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), s->overlaps);
}

/* A block that overlaps vacant records evicts them, without a warning. */
static void test_makes_way(void **state)
{
	static const unsigned long over[][2] = {
		{ BLOCK(0), 512 }, { BLOCK(0) + 32, 64 }, { BLOCK(0), 32 },
		{ BLOCK(0) + 8, 8 }, { BLOCK(3), 4096 }, { BLOCK(0), REGION },
		{ BLOCK(0), 3 * REGION }, { BLOCK(0) + 100, 2 * REGION },
	};
	struct sim *s = *state;
	unsigned int i, k;

	for (k = 0; k < ARRAY_SIZE(over); k++) {
		struct kmt_object o;

		for (i = 0; i < 8; i++)
			put(s, BLOCK(0) + 64 * i, 64);
		for (i = 0; i < 8; i++)
			drop(s, BLOCK(0) + 64 * i);
		put(s, over[k][0], over[k][1]);
		check_core(s);
		assert_true(kmt_lookup(&s->core, KMT_VIRT,
				       over[k][0] + over[k][1] - 1, &o));
		assert_int_equal(o.addr, over[k][0]);
		assert_int_equal(o.size, over[k][1]);
		drop(s, over[k][0]);
		check_core(s);
		assert_false(kmt_lookup(&s->core, KMT_VIRT, over[k][0], &o));
	}
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), 0);
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 0);
}

/* A wide block at the address of a vacant record. */
static void test_wide_at(void **state)
{
	struct sim *s = *state;
	unsigned long at = SIM_LINEAR + REGION - 64;
	struct kmt_object o;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		put(s, at, 64);
		drop(s, at);
		put(s, at, 128);
		assert_true(kmt_lookup(&s->core, KMT_VIRT, at, &o));
		assert_int_equal(o.size, 128);
		assert_true(kmt_lookup(&s->core, KMT_VIRT, at + 64, &o));
		drop(s, at);
		assert_false(kmt_lookup(&s->core, KMT_VIRT, at + 64, &o));
		check_core(s);
	}
	assert_int_equal(s->core.wide[KMT_VIRT].nr, 0);
}

/* The same number is also an address in other spaces. */
static void test_spaces(void **state)
{
	struct sim *s = *state;
	struct kmt_object o;
	int space;

	for (space = 0; space < KMT_NR_SPACES; space++) {
		put(s, BLOCK(1), 64);
		drop(s, BLOCK(1));
		assert_int_equal(sim_insert(s, space, BLOCK(1), 64, 1), 0);
		check_core(s);
		assert_true(kmt_lookup(&s->core, space, BLOCK(1), &o));
		assert_int_equal(kmt_space(&o), space);
		assert_int_equal(kmt_vacant(&s->core), space != KMT_VIRT);
		assert_true(kmt_free(&s->core, space, BLOCK(1)));
		check_core(s);
	}
}

/* CPUs that do not remember the cell find the record, too. */
static void test_cpus(void **state)
{
	struct sim *s = *state;
	const struct kmt_object *cell = NULL;
	int i;

	for (i = 0; i < 3 * HOST_CPUS; i++) {
		host_cpu = i % HOST_CPUS;
		put(s, BLOCK(1), 64);
		if (!cell)
			cell = cell_of(s, BLOCK(1));
		assert_ptr_equal(cell_of(s, BLOCK(1)), cell);
		host_cpu = (i + 2) % HOST_CPUS;
		drop(s, BLOCK(1));
		check_core(s);
	}
	host_cpu = 0;
	assert_int_equal(kmt_vacant(&s->core), 1);
}

static void test_areas(void **state)
{
	struct kmt_range area = {};
	struct sim *s = *state;
	struct kmt_object o;

	put(s, BLOCK(1), 64);
	assert_true(kmt_add_area(&s->core, BLOCK(1), 8, GFP_KERNEL));
	drop(s, BLOCK(1));
	check_core(s);
	put(s, BLOCK(1), 64);
	assert_true(kmt_lookup(&s->core, KMT_VIRT, BLOCK(1), &o));
	assert_false(o.flags & KMT_AREAS);
	assert_false(kmt_next_area(&s->core, BLOCK(1), &area));
	check_core(s);
}

/* More blocks than a CPU remembers, allocated and freed repeatedly. */
static void test_many(void **state)
{
	struct sim *s = *state;
	unsigned long i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 3 * KMT_RECENT_CELLS; i++)
			put(s, SIM_LINEAR + 32 * i, 32);
		check_core(s);
		for (i = 0; i < 3 * KMT_RECENT_CELLS; i++)
			drop(s, SIM_LINEAR + 32 * (i * 7 % (3 * KMT_RECENT_CELLS)));
		check_core(s);
		assert_int_equal(kmt_vacant(&s->core), 3 * KMT_RECENT_CELLS);
	}
	assert_true(s->core.pool.cells < 3 * KMT_RECENT_CELLS + 200);
}

/* Cells of vacant records are used for other blocks, without new memory. */
static void test_reap(void **state)
{
	struct sim *s = sim_new(64, 2, 16);
	unsigned long i, round;

	for (round = 0; round < 20; round++) {
		unsigned long at = SIM_LINEAR + round * 0x10000;

		for (i = 0; i < 120; i++)
			put(s, at + 64 * i, 64);
		check_core(s);
		/* The remembered cell is used for another block by now. */
		if (round)
			assert_false(kmt_free(&s->core, KMT_VIRT,
					      at - 0x10000));
		for (i = 0; i < 120; i++)
			drop(s, at + 64 * i);
		check_core(s);
	}
	assert_int_equal(sim_events(s, KMT_EV_LOST_NOMEM), 0);
	sim_delete(s);
}

/* If there are many vacant records, they are used before new memory. */
static void test_grows_little(void **state)
{
	struct sim *s = *state;
	unsigned long i;

	for (i = 0; i < 20000; i++) {
		unsigned long at = SIM_LINEAR + 64 * i;

		put(s, at, 64);
		if (i >= 50)
			drop(s, at - 64 * 50);
	}
	check_core(s);
	assert_true(s->core.pool.cells < 400);
}

/* Vacant records among others: a call yields a batch, since it looks at all CPUs once. */
static void test_reap_batch(void **state)
{
	struct sim *s = *state;
	unsigned long i, before, nr = 0;

	for (i = 0; i < 8000; i++)
		put(s, SIM_LINEAR + 64 * i, 64);
	for (i = 0; i < 8000; i += 8)
		drop(s, SIM_LINEAR + 64 * i);
	assert_int_equal(kmt_vacant(&s->core), 1000);
	while (kmt_vacant(&s->core) >= 100) {
		before = kmt_pool_free_cells(&s->core);
		assert_true(kmt_reclaim_cells(&s->core, 1));
		assert_in_range(kmt_pool_free_cells(&s->core) - before,
				KMT_BATCH, 2 * KMT_BATCH);
		nr++;
	}
	assert_in_range(nr, 900 / (2 * KMT_BATCH), 900 / KMT_BATCH);
	check_core(s);
}

static bool leave_locked(struct kmt_core *core, unsigned long addr,
			 unsigned long size, gfp_t gfp, struct kmt_tree *shard,
			 unsigned long flags, u64 where, u32 born, u16 comm)
{
	raw_spin_unlock(&shard->lock);
	local_irq_restore(flags);
	return false;
}

static bool leave(struct kmt_core *core, unsigned long addr, unsigned long size,
		  gfp_t gfp, unsigned long flags, u64 where, u32 born, u16 comm)
{
	local_irq_restore(flags);
	return false;
}

/* Only the part of kmt_track_vacant() that is inlined into the hooks. */
static bool occupy(struct sim *s, unsigned long addr, unsigned long size)
{
	static const struct kmt_track_rest none = { leave_locked, leave };
	const struct kmt_origin origin = { .trace = 5, .pid_slack = 6, .comm = 7 };
	unsigned long flags;

	assert_true(kmt_is_sharded(&s->core, addr, size));
	local_irq_save(flags);
	return kmt_track_vacant(&s->core, addr, size, GFP_KERNEL, flags, &origin, &none);
}

static bool vacate(struct sim *s, unsigned long addr)
{
	unsigned long flags;
	bool done;

	local_irq_save(flags);
	done = kmt_free_fast(&s->core, addr);
	local_irq_restore(flags);
	return done;
}

/* The fast path handles exactly its own cases, and leaves all others to the slow path. */
static void test_short_way(void **state)
{
	struct sim *s = *state;
	struct kmt_object o;

	/* Fill the cache of this CPU with cells. */
	put(s, BLOCK(9), 64);
	assert_false(occupy(s, BLOCK(1), 64));
	assert_false(vacate(s, BLOCK(1)));
	put(s, BLOCK(1), 64);
	assert_false(occupy(s, BLOCK(1), 64));
	assert_false(vacate(s, BLOCK(1) + 8));
	assert_false(vacate(s, BLOCK(1) - 8));
	assert_true(vacate(s, BLOCK(1)));
	check_core(s);
	assert_int_equal(kmt_vacant(&s->core), 1);
	assert_false(vacate(s, BLOCK(1)));
	assert_false(occupy(s, BLOCK(1), 72));
	assert_false(occupy(s, BLOCK(1) + 8, 56));
	assert_true(occupy(s, BLOCK(1), 64));
	check_core(s);
	assert_int_equal(kmt_vacant(&s->core), 0);
	assert_true(kmt_lookup(&s->core, KMT_VIRT, BLOCK(1), &o));
	assert_int_equal(o.trace, 5);
	assert_int_equal(kmt_pid(&o), 6);
	assert_int_equal(o.comm, 7);
	assert_int_equal(o.flags, KMT_LIVE);
	assert_int_equal(o.epoch, s->core.epoch);
	assert_int_equal(o.count, 0);
	assert_int_equal(o.min_refs, 1);
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 0);
}

/* If the lock is held, the fast path does nothing, and does not wait. */
static void test_short_way_locked(void **state)
{
	struct sim *s = *state;
	struct kmt_tree *shard = kmt_shard_of(&s->core, BLOCK(1));
	struct kmt_object o;

	put(s, BLOCK(9), 64);
	put(s, BLOCK(1), 64);
	shard->lock.locked = 1;
	assert_false(vacate(s, BLOCK(1)));
	shard->lock.locked = 0;
	assert_true(kmt_lookup(&s->core, KMT_VIRT, BLOCK(1), &o));
	assert_true(vacate(s, BLOCK(1)));
	shard->lock.locked = 1;
	assert_false(occupy(s, BLOCK(1), 64));
	shard->lock.locked = 0;
	assert_int_equal(kmt_vacant(&s->core), 1);
	assert_true(occupy(s, BLOCK(1), 64));
	check_core(s);
}

/* Blocks with auxiliary cells, or in no shard, are left to the slow path. */
static void test_short_way_not(void **state)
{
	struct sim *s = *state;

	put(s, BLOCK(1), 64);
	assert_true(kmt_add_area(&s->core, BLOCK(1), 16, GFP_KERNEL));
	assert_false(vacate(s, BLOCK(1)));
	drop(s, BLOCK(1));
	put(s, BLOCK(2), 64);
	assert_true(kmt_add_alias(&s->core, BLOCK(2), BLOCK(3), GFP_KERNEL));
	assert_false(vacate(s, BLOCK(2)));
	drop(s, BLOCK(2));
	assert_false(kmt_is_sharded(&s->core, BLOCK(1), 0));
	assert_false(kmt_is_sharded(&s->core, BLOCK(1), ~0ul));
	assert_false(kmt_is_sharded(&s->core, 0, 64));
	assert_false(kmt_is_sharded(&s->core, ~0ul, 1));
	assert_false(kmt_is_sharded(&s->core, SIM_VMALLOC, 64));
	assert_false(kmt_is_sharded(&s->core, SIM_LINEAR, REGION + 1));
	assert_false(kmt_is_sharded(&s->core, SIM_LINEAR + REGION - 8, 9));
	assert_true(kmt_is_sharded(&s->core, SIM_LINEAR + REGION - 8, 8));
	assert_true(kmt_is_sharded(&s->core, SIM_LINEAR, REGION));
	put(s, SIM_LINEAR + REGION - 8, 16);
	assert_false(vacate(s, SIM_LINEAR + REGION - 8));
	put(s, SIM_VMALLOC, 64);
	assert_false(vacate(s, SIM_VMALLOC));
	drop(s, SIM_VMALLOC);
	assert_false(vacate(s, 0));
	check_core(s);
}

/* A block that is allocated during a mark counts as reached, and is to be read. */
static void test_short_way_in_mark(void **state)
{
	struct sim *s = *state;
	struct kmt_object o;

	put(s, BLOCK(1), 64);
	drop(s, BLOCK(1));
	kmt_mark_begin(&s->m);
	assert_true(occupy(s, BLOCK(1), 64));
	assert_true(kmt_lookup(&s->core, KMT_VIRT, BLOCK(1), &o));
	assert_true(kmt_reached(&o, s->core.epoch));
	assert_false(o.flags & KMT_SCANNED);
	kmt_mark_end(&s->m);
	drop(s, BLOCK(1));
	assert_true(occupy(s, BLOCK(1), 64));
	assert_true(kmt_lookup(&s->core, KMT_VIRT, BLOCK(1), &o));
	assert_false(kmt_reached(&o, s->core.epoch));
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_again),
		T(test_twice),
		T(test_makes_way),
		T(test_wide_at),
		T(test_spaces),
		T(test_cpus),
		T(test_areas),
		T(test_many),
		cmocka_unit_test(test_reap),
		T(test_grows_little),
		T(test_reap_batch),
		T(test_short_way),
		T(test_short_way_locked),
		T(test_short_way_not),
		T(test_short_way_in_mark),
	};

	return cmocka_run_group_tests_name("vacant", tests, NULL, NULL);
}
