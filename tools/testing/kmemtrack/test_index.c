// SPDX-License-Identifier: GPL-2.0
/* The index: trees, regions, lookup. */
#include "fastpath.h"
#include "sim.h"

#define REGION	(1ul << KMT_REGION_SHIFT)

/* Checks that exactly the bytes of the block are found. */
static void check_found(struct sim *s, unsigned long addr, unsigned long size)
{
	assert_int_equal(sim_object(s, KMT_VIRT, addr).addr, addr);
	assert_int_equal(sim_object(s, KMT_VIRT, addr + size / 2).addr, addr);
	assert_int_equal(sim_object(s, KMT_VIRT, addr + size - 1).addr, addr);
	assert_false(sim_tracked(s, addr - 1));
	assert_false(sim_tracked(s, addr + size));
}

static void test_interior(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 1);
	check_found(s, BLOCK(1), 1);
	sim_alloc(s, BLOCK(2), 100);
	check_found(s, BLOCK(2), 100);
	sim_alloc(s, SIM_VMALLOC + 0x2000, 0x3000);
	check_found(s, SIM_VMALLOC + 0x2000, 0x3000);
}

static void test_region_edges(void **state)
{
	struct sim *s = *state;
	unsigned long edge = SIM_LINEAR + 3 * REGION;

	/* Blocks that fill a region, end at its border, start at it. */
	sim_alloc(s, edge, REGION);
	check_found(s, edge, REGION);
	assert_int_equal(s->core.wide[KMT_VIRT].nr, 0);
	sim_free(s, edge, REGION);
	sim_alloc(s, edge - 64, 64);
	sim_alloc(s, edge, 64);
	assert_int_equal(s->core.wide[KMT_VIRT].nr, 0);
	assert_int_equal(sim_object(s, KMT_VIRT, edge - 1).addr, edge - 64);
	assert_int_equal(sim_object(s, KMT_VIRT, edge).addr, edge);
	sim_free(s, edge - 64, 64);
	sim_free(s, edge, 64);

	/* A block that crosses the border by one byte. */
	sim_alloc(s, edge - 8, 9);
	assert_int_equal(s->core.wide[KMT_VIRT].nr, 1);
	check_found(s, edge - 8, 9);
	check_core(s);
	sim_free(s, edge - 8, 9);
	assert_int_equal(s->core.wide[KMT_VIRT].nr, 0);
}

static void test_wide_counts(void **state)
{
	struct sim *s = *state;
	unsigned long base = SIM_LINEAR + REGION;
	u32 i, counted = 0;

	sim_alloc(s, base, 3 * REGION);
	sim_alloc(s, base + 3 * REGION, 20 * REGION);
	check_core(s);
	for (i = 0; i < SIM_SHARDS; i++)
		counted += s->shards[i].wide;
	assert_int_equal(counted, 3 + 20);
	assert_int_equal(sim_object(s, KMT_VIRT, base + 3 * REGION - 1).addr,
			 base);
	assert_int_equal(sim_object(s, KMT_VIRT, base + 23 * REGION - 1).addr,
			 base + 3 * REGION);
	assert_false(sim_tracked(s, base + 23 * REGION));
	sim_free(s, base + 3 * REGION, 20 * REGION);
	sim_free(s, base, 3 * REGION);
	for (i = 0; i < SIM_SHARDS; i++)
		assert_int_equal(s->shards[i].wide, 0);
	check_core(s);
}

/* Two regions share a shard: an address in one does not find a block of the other. */
static void test_shared_shard(void **state)
{
	struct sim *s = *state;
	unsigned long one = SIM_LINEAR, two = SIM_LINEAR + SIM_SHARDS * REGION;

	assert_ptr_equal(kmt_shard_of(&s->core, one),
			 kmt_shard_of(&s->core, two));
	sim_alloc(s, one, 64);
	assert_false(sim_tracked(s, two));
	sim_alloc(s, two, 64);
	sim_free(s, one, 64);
	assert_false(sim_tracked(s, one));
	assert_true(sim_tracked(s, two));
	/* A wide block in one region does not hide blocks of the other. */
	sim_alloc(s, one + 128, REGION);
	assert_true(sim_tracked(s, two));
	assert_true(sim_tracked(s, one + 128 + REGION - 1));
}

static void test_spaces_apart(void **state)
{
	struct sim *s = *state;
	unsigned long addr = SIM_PERCPU + 0x100;

	/* The same number is the address of a different block in each space. */
	assert_int_equal(sim_insert(s, KMT_VIRT, addr, 16, 1), 0);
	assert_int_equal(sim_insert(s, KMT_PERCPU, addr, 32, 1), 0);
	assert_int_equal(sim_insert(s, KMT_PHYS, addr, 48, 0), 0);
	assert_int_equal(sim_insert(s, KMT_ROOT, addr, 64, 0), 0);
	check_core(s);
	assert_int_equal(sim_object(s, KMT_VIRT, addr).size, 16);
	assert_int_equal(sim_object(s, KMT_PERCPU, addr).size, 32);
	assert_int_equal(sim_object(s, KMT_PHYS, addr).size, 48);
	assert_int_equal(sim_object(s, KMT_ROOT, addr).size, 64);
	assert_true(kmt_free(&s->core, KMT_PERCPU, addr));
	assert_false(kmt_free(&s->core, KMT_PERCPU, addr));
	assert_int_equal(sim_object(s, KMT_VIRT, addr).size, 16);
	assert_int_equal(sim_object(s, KMT_ROOT, addr).size, 64);
}

static void test_tree_first(void **state)
{
	struct sim *s = *state;
	struct kmt_tree *tree = kmt_shard_of(&s->core, SIM_LINEAR);
	unsigned long flags, i;
	struct kmt_object *o;

	for (i = 0; i < 100; i++)
		sim_alloc(s, SIM_LINEAR + 64 * ((i * 37) % 100), 48);
	raw_spin_lock_irqsave(&tree->lock, flags);
	for (i = 0; i < 100; i++) {
		unsigned long addr = SIM_LINEAR + 64 * i;

		o = kmt_tree_first(tree, addr + 10, 500);
		assert_int_equal(o->addr, addr);
		o = kmt_tree_first(tree, addr + 47, 1);
		assert_int_equal(o->addr, addr);
		assert_null(kmt_tree_first(tree, addr + 48, 16));
		o = kmt_tree_first(tree, addr + 48, 17);
		if (i < 99)
			assert_int_equal(o->addr, addr + 64);
		else
			assert_null(o);
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

/* The first block in [@addr, @end) covers [@lo, @hi) of it; if @hi is 0 there is none. */
static void check_first(struct sim *s, unsigned long addr, unsigned long end,
			unsigned long lo, unsigned long hi)
{
	struct kmt_range found = {};

	assert_int_equal(kmt_first_block(&s->core, KMT_VIRT, addr, end,
					 &found), hi != 0);
	assert_int_equal(found.lo, lo);
	assert_int_equal(found.hi, hi);
}

static void test_first_block(void **state)
{
	struct sim *s = *state;
	unsigned long page = SIM_LINEAR + 5 * REGION, end = page + 0x1000;

	check_first(s, page, end, 0, 0);
	/* A block before the page, one inside it, and one across its end. */
	sim_alloc(s, page - 64, 64);
	check_first(s, page, end, 0, 0);
	sim_alloc(s, page + 0x100, 0x40);
	sim_alloc(s, page + 0xf00, 0x400);
	check_first(s, page, end, page + 0x100, page + 0x140);
	check_first(s, page + 0x120, end, page + 0x120, page + 0x140);
	check_first(s, page + 0x140, end, page + 0xf00, end);
	check_first(s, end, page + 0x1200, end, page + 0x1200);
	/* A vacant record is no block. */
	sim_free(s, page + 0x100, 0x40);
	check_first(s, page, end, page + 0xf00, end);
	/* A block of the wide tree, before and after one of the shard. */
	sim_free(s, page + 0xf00, 0x400);
	sim_free(s, page - 64, 64);
	sim_alloc(s, page - 64, 128);
	sim_alloc(s, page + 0x200, 8);
	check_first(s, page, end, page, page + 64);
	check_first(s, page + 64, end, page + 0x200, page + 0x208);
	sim_free(s, page - 64, 128);
	sim_free(s, page + 0x200, 8);
}

static void test_resize(void **state)
{
	struct sim *s = *state;
	struct kmt_tree *table = calloc(4 * SIM_SHARDS, sizeof(*table));
	unsigned long i;

	sim_remember(s, false);
	for (i = 0; i < 4 * SIM_SHARDS; i++)
		table[i].lock.rank = 1;
	for (i = 0; i < 200; i++)
		sim_alloc(s, SIM_LINEAR + i * 0x2000, 64);
	sim_alloc(s, SIM_LINEAR + 0x1000, 0x800);
	sim_alloc(s, SIM_LINEAR + 200 * 0x2000, 5 * REGION);
	sim_alloc(s, SIM_VMALLOC, 0x1000);
	kmt_index_resize(&s->core, &s->core.linear, table, 4 * SIM_SHARDS);
	check_core(s);
	for (i = 0; i < 200; i++)
		check_found(s, SIM_LINEAR + i * 0x2000, 64);
	for (i = 0; i < 200; i += 2)
		sim_free(s, SIM_LINEAR + i * 0x2000, 64);
	sim_free(s, SIM_LINEAR + 200 * 0x2000, 5 * REGION);
	for (i = 1; i < 200; i += 2)
		check_found(s, SIM_LINEAR + i * 0x2000, 64);
	check_core(s);
	/* The old table must not be used any more. */
	memset(s->shards, 0xff, sizeof(s->shards));
	for (i = 1; i < 200; i += 2)
		sim_free(s, SIM_LINEAR + i * 0x2000, 64);
	sim_free(s, SIM_LINEAR + 0x1000, 0x800);
	assert_true(sim_tracked(s, SIM_VMALLOC));
	check_core(s);
	s->core.shards = s->shards;
	s->core.last_shard = 0;
	memset(s->shards, 0, sizeof(s->shards));
	free(table);
}

/* In early boot, the linear map is not known, and all blocks are in the wide tree. */
static void test_resize_from_wide(void **state)
{
	struct sim *s = *state;
	struct kmt_range linear = s->core.linear;
	struct kmt_tree *table = calloc(SIM_SHARDS, sizeof(*table));
	unsigned long i;

	sim_remember(s, false);
	s->core.linear = (struct kmt_range){};
	for (i = 0; i < 100; i++)
		sim_alloc(s, SIM_LINEAR + i * 0x2000, 64);
	sim_alloc(s, SIM_LINEAR + 100 * 0x2000, 5 * REGION);
	sim_alloc(s, SIM_VMALLOC, 0x1000);
	assert_int_equal(s->core.wide[KMT_VIRT].nr, 102);
	check_core(s);
	for (i = 0; i < SIM_SHARDS; i++)
		table[i].lock.rank = 1;
	kmt_index_resize(&s->core, &linear, table, SIM_SHARDS);
	check_core(s);
	assert_int_equal(s->core.wide[KMT_VIRT].nr, 2);
	for (i = 0; i < 100; i++)
		check_found(s, SIM_LINEAR + i * 0x2000, 64);
	for (i = 0; i < 100; i++)
		sim_free(s, SIM_LINEAR + i * 0x2000, 64);
	sim_free(s, SIM_LINEAR + 100 * 0x2000, 5 * REGION);
	sim_free(s, SIM_VMALLOC, 0x1000);
	check_core(s);
	kmt_index_resize(&s->core, &linear, s->shards, SIM_SHARDS);
	free(table);
}

/* 32-bit machines have no such gaps. */
#ifdef __LP64__
#define GIB	(1ul << 30)
#define TIB	(1ul << 40)
#define KERNEL	0xffff000000000000ul

/* A machine: ranges of its memory, and how many regions may share a shard. */
struct machine {
	const char *name;
	struct kmt_range memory[16];
	u8 most;
};

#define AT(start, bytes) { KERNEL + (start), KERNEL + (start) + (bytes) }

/* Maps of 1 TiB of memory, of machines that exist or could exist. */
static const struct machine machines[] = {
	{ "in one piece", { AT(0, TIB) }, 1 },
	{ "behind devices", { AT(2 * GIB, TIB) }, 1 },
	{ "with a hole", { AT(0, 3 * GIB), AT(4 * GIB, 1021 * GIB) }, 2 },
	{ "two banks, 4 TiB apart",
	  { AT(0, TIB / 2), AT(4 * TIB, TIB / 2) }, 1 },
	{ "two banks, 32 TiB apart",
	  { AT(0, TIB / 2), AT(32 * TIB, TIB / 2) }, 1 },
	{ "eight banks, 1 TiB apart",
	  { AT(0, TIB / 8), AT(TIB, TIB / 8), AT(2 * TIB, TIB / 8),
	    AT(3 * TIB, TIB / 8), AT(4 * TIB, TIB / 8), AT(5 * TIB, TIB / 8),
	    AT(6 * TIB, TIB / 8), AT(7 * TIB, TIB / 8) }, 1 },
	{ "two sockets, each with low memory",
	  { AT(2 * GIB, 2 * GIB), AT(TIB / 2, 510 * GIB),
	    AT(4 * TIB + 2 * GIB, 2 * GIB), AT(4 * TIB + TIB / 2, 510 * GIB) },
	  2 },
	{ "four banks, of a size each",
	  { AT(0, 100 * GIB), AT(2 * TIB, 300 * GIB), AT(4 * TIB, 500 * GIB),
	    AT(6 * TIB, 124 * GIB) }, 2 },
};

/* Returns the largest number of regions that share a shard of a table for 1 TiB. */
static u8 most_shared(const struct machine *m, u8 fold, u8 *shared)
{
	const u32 nr_shards = TIB >> KMT_REGION_SHIFT;
	struct kmt_core core = { .last_shard = nr_shards - 1, .fold = fold };
	unsigned long addr;
	unsigned int i;
	u8 most = 0;

	memset(shared, 0, nr_shards);
	for (i = 0; m->memory[i].hi; i++)
		for (addr = m->memory[i].lo; addr < m->memory[i].hi;
		     addr += REGION)
			most = max(most, ++shared[kmt_shard_nr(&core, addr)]);
	return most;
}

/* Without the shift, banks share all of their shards. */
static void test_sparse_maps(void **state)
{
	const u32 nr_shards = TIB >> KMT_REGION_SHIFT;
	u8 *shared = malloc(nr_shards);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(machines); i++) {
		const struct machine *m = &machines[i];
		u8 fold = kmt_index_fold(m->memory, ARRAY_SIZE(m->memory),
					 nr_shards);
		u8 most = most_shared(m, fold, shared);

		print_message("%s: shift %u, at most %u regions a shard, %u without\n",
			      m->name, fold, most,
			      most_shared(m, KMT_NO_FOLD, shared));
		assert_int_equal(most, m->most);
	}
	free(shared);
}
#endif

/* With a small table, a run of shards is a single shard. */
static void test_fold_of_few(void **state)
{
	static const struct kmt_range memory[] = {
		{ SIM_LINEAR, SIM_LINEAR + 4 * REGION },
		{ SIM_LINEAR + 64 * REGION, SIM_LINEAR + 68 * REGION },
	};
	static const struct kmt_range none;
	struct kmt_core core = {
		.last_shard = 7,
		.fold = kmt_index_fold(memory, ARRAY_SIZE(memory), 8),
	};
	unsigned long i, seen = 0;

	for (i = 0; i < 4; i++) {
		seen |= BIT(kmt_shard_nr(&core, memory[0].lo + i * REGION));
		seen |= BIT(kmt_shard_nr(&core, memory[1].lo + i * REGION));
	}
	assert_int_equal(seen, 0xff);
	assert_int_equal(kmt_index_fold(memory, 1, 8), KMT_NO_FOLD);
	assert_int_equal(kmt_index_fold(&none, 1, 8), KMT_NO_FOLD);
}

/* With any shift, the index gives the same results. */
static void test_folded(void **state)
{
	struct sim *s = *state;
	unsigned long i;
	u8 fold;

	sim_remember(s, false);
	for (fold = 1; fold < 10; fold++) {
		struct kmt_tree *table = calloc(SIM_SHARDS, sizeof(*table));

		for (i = 0; i < SIM_SHARDS; i++)
			table[i].lock.rank = 1;
		for (i = 0; i < 40; i++)
			sim_alloc(s, SIM_LINEAR + i * 0x9000, 64);
		sim_alloc(s, SIM_LINEAR + 24 * REGION, 2 * REGION);
		sim_alloc(s, SIM_LINEAR + 26 * REGION, 36 * REGION);
		s->core.fold = fold;
		kmt_index_resize(&s->core, &s->core.linear, table, SIM_SHARDS);
		check_core(s);
		for (i = 0; i < 40; i++)
			check_found(s, SIM_LINEAR + i * 0x9000, 64);
		assert_true(sim_tracked(s, SIM_LINEAR + 26 * REGION - 1));
		assert_true(sim_tracked(s, SIM_LINEAR + 62 * REGION - 1));
		for (i = 0; i < 40; i++)
			sim_free(s, SIM_LINEAR + i * 0x9000, 64);
		sim_free(s, SIM_LINEAR + 24 * REGION, 2 * REGION);
		sim_free(s, SIM_LINEAR + 26 * REGION, 36 * REGION);
		check_core(s);
		s->core.fold = KMT_NO_FOLD;
		kmt_index_resize(&s->core, &s->core.linear, s->shards,
				 SIM_SHARDS);
		free(table);
	}
}

static void test_lock_object(void **state)
{
	struct sim *s = *state;
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned long nr = 0;

	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 64);
	sim_alloc(s, SIM_VMALLOC, 64);
	assert_true(kmt_add_area(&s->core, BLOCK(2), 8, GFP_KERNEL));
	sim_free(s, BLOCK(1), 64);
	kmt_for_each_cell(&s->core, chunk, o) {
		struct kmt_held held;

		if (!kmt_lock_object(&s->core, o, &held))
			continue;
		assert_true(host_lock_held(&held.tree->lock));
		assert_true(o->addr == BLOCK(2) || o->addr == SIM_VMALLOC);
		assert_false(o->flags & KMT_AUX);
		kmt_unlock(&held);
		nr++;
	}
	assert_int_equal(nr, 2);
	assert_false(host_irqs_off());
}

static unsigned long reborn_at, reborn_size;

/* Frees the block, and uses its cell for another one. */
static void rebirth(void)
{
	struct sim *s = the_sim;

	host_before_lock = NULL;
	assert_true(kmt_free(&s->core, KMT_VIRT, BLOCK(1)));
	if (reborn_size)
		assert_int_equal(sim_insert(s, KMT_VIRT, reborn_at,
					    reborn_size, 1), 0);
}

/* Before its tree is locked, a cell may be used for another block. */
static void test_lock_reborn(void **state)
{
	static const unsigned long places[][2] = {
		{ BLOCK(1), 32 }, { BLOCK(2), 64 }, { SIM_VMALLOC, 64 },
		{ BLOCK(1) + 5 * REGION, 64 }, { BLOCK(1), 2 * REGION },
		{ 0, 0 },
	};
	struct sim *s = *state;
	unsigned int i;

	/* Let each block use the cell of the last one. */
	sim_remember(s, false);
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		struct kmt_held held;
		struct kmt_object *o;
		bool locked;

		assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(1), 64, 1), 0);
		o = kmt_chunk_cells(s->core.pool.chunks);
		while (!o->flags)
			o++;
		reborn_at = places[i][0];
		reborn_size = places[i][1];
		host_before_lock = rebirth;
		locked = kmt_lock_object(&s->core, o, &held);
		assert_null(host_before_lock);
		assert_int_equal(locked, !!reborn_size);
		if (!locked)
			continue;
		assert_int_equal(o->addr, reborn_at);
		assert_ptr_equal(held.tree, kmt_tree_of(&s->core, KMT_VIRT,
							reborn_at, reborn_size));
		assert_true(host_lock_held(&held.tree->lock));
		kmt_unlock(&held);
		assert_true(kmt_free(&s->core, KMT_VIRT, reborn_at));
	}
	assert_false(host_irqs_off());
}

/*
 * Per-CPU pointers of chunks at both ends of the address space: no address in
 * between is taken for one, in whichever order the blocks are allocated.
 */
static void test_percpu_places(void **state)
{
	static const unsigned long at[] = {
		SIM_IMAGE + 0x500000, SIM_IMAGE + 0x504000, SIM_IMAGE + 0x500100,
		SIM_PERCPU + 0x700000, SIM_PERCPU + 0x708000,
		SIM_PERCPU + 0x780000,
	};
	const unsigned int nr = ARRAY_SIZE(at);
	struct sim *s = *state;
	unsigned int first, step, i;

	/*
	 * Both steps are prime to the number of addresses, so that each one comes
	 * once.
	 */
	for (first = 0; first < nr; first++) {
		for (step = 1; step < nr; step += nr - 2) {
			struct kmt_range_pair *pair = &s->core.wide_range[KMT_PERCPU];

			*pair = (struct kmt_range_pair){};
			for (i = 0; i < nr; i++)
				assert_int_equal(sim_insert(s, KMT_PERCPU,
					at[(first + i * step) % nr], 64, 1), 0);
			check_core(s);
			assert_false(kmt_in_pair(pair, 0));
			assert_false(kmt_in_pair(pair, SIM_LINEAR));
			assert_false(kmt_in_pair(pair, SIM_VMALLOC));
			assert_int_equal(pair->part[0].hi - pair->part[0].lo +
					 pair->part[1].hi - pair->part[1].lo,
					 0x4040 + 0x80040);
			for (i = 0; i < nr; i++)
				assert_true(kmt_free(&s->core, KMT_PERCPU,
						     at[i]));
		}
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_interior),
		T(test_region_edges),
		T(test_wide_counts),
		T(test_shared_shard),
		T(test_spaces_apart),
		T(test_tree_first),
		T(test_first_block),
		T(test_percpu_places),
		T(test_resize),
		T(test_resize_from_wide),
#ifdef __LP64__
		T(test_sparse_maps),
#endif
		T(test_fold_of_few),
		T(test_folded),
		T(test_lock_object),
		T(test_lock_reborn),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
