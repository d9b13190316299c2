// SPDX-License-Identifier: GPL-2.0
/* Allocation and free. */
#include "fastpath.h"
#include "sim.h"

#define REGION	(1ul << KMT_REGION_SHIFT)

static void test_insert_free(void **state)
{
	struct sim *s = *state;
	struct kmt_object o;

	s->now = 777;
	sim_alloc(s, BLOCK(1), 96);
	o = sim_object(s, KMT_VIRT, BLOCK(1) + 40);
	assert_int_equal(o.addr, BLOCK(1));
	assert_int_equal(o.size, 96);
	assert_int_equal(o.trace, (u32)(BLOCK(1) >> 4));
	assert_int_equal(kmt_pid(&o), 42);
	assert_int_equal(o.born, 777);
	assert_int_equal(o.comm, 7);
	assert_int_equal(o.min_refs, 1);
	assert_int_equal(o.flags, KMT_LIVE | KMT_VIRT);
	sim_free(s, BLOCK(1), 96);
	assert_false(sim_tracked(s, BLOCK(1)));
	assert_int_equal(s->warned, 0);
}

static void test_unknown_free(void **state)
{
	struct sim *s = *state;

	assert_false(kmt_free(&s->core, KMT_VIRT, BLOCK(1)));
	sim_alloc(s, BLOCK(1), 64);
	assert_false(kmt_free(&s->core, KMT_VIRT, BLOCK(2)));
	assert_false(kmt_free(&s->core, KMT_VIRT, SIM_VMALLOC));
	assert_false(kmt_free(&s->core, KMT_VIRT, 0));
	assert_false(kmt_free(&s->core, KMT_VIRT, ~0ul));
	assert_false(kmt_free(&s->core, KMT_PERCPU, BLOCK(1)));
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 6);
	assert_true(sim_tracked(s, BLOCK(1)));
	/* A second free of the same block. */
	sim_free(s, BLOCK(1), 64);
	assert_false(kmt_free(&s->core, KMT_VIRT, BLOCK(1)));
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 7);
	assert_int_equal(sim_events(s, KMT_EV_FREE_INSIDE), 0);
	/* The initial ramdisk was reserved by memblock, not allocated. */
	assert_int_equal(kmt_free_part(&s->core, KMT_PHYS, 0x48000000, 0x1000,
				       GFP_KERNEL), 0);
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 7);
	kmt_free_part(&s->core, KMT_VIRT, BLOCK(3), 64, GFP_KERNEL);
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 8);
}

static void test_free_inside(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, SIM_LINEAR + REGION - 64, 128);
	assert_false(kmt_free(&s->core, KMT_VIRT, BLOCK(1) + 8));
	assert_false(kmt_free(&s->core, KMT_VIRT, SIM_LINEAR + REGION));
	assert_int_equal(sim_events(s, KMT_EV_FREE_INSIDE), 2);
	assert_int_equal(s->warned, 2);
	assert_int_equal(s->warned_ev, KMT_EV_FREE_INSIDE);
	assert_int_equal(s->warned_old.addr, SIM_LINEAR + REGION - 64);
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 0);
	assert_true(sim_tracked(s, BLOCK(1) + 8));
	assert_true(sim_tracked(s, SIM_LINEAR + REGION));
}

static void test_bad_size(void **state)
{
	const unsigned long large = 5ul << (W == 8 ? 30 : 24);
	struct sim *s = *state;

	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(1), 0, 1), -EINVAL);
	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(1), ~0ul, 1), -EINVAL);
	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(1), -BLOCK(1) + 1, 1),
			 -EINVAL);
	assert_int_equal(sim_insert(s, KMT_VIRT, ~0ul, 2, 1), -EINVAL);
	assert_int_equal(sim_events(s, KMT_EV_BAD_SIZE), 4);
	assert_int_equal(s->warned, 4);
	assert_int_equal(s->warned_ev, KMT_EV_BAD_SIZE);
	assert_int_equal(s->core.pool.cells, 0);
	kmt_free_part(&s->core, KMT_VIRT, BLOCK(1), 0, GFP_KERNEL);
	kmt_free_part(&s->core, KMT_VIRT, BLOCK(1), ~0ul, GFP_KERNEL);
	/* Freeing 0 bytes is no error. */
	assert_int_equal(sim_events(s, KMT_EV_BAD_SIZE), 5);
	/* A block may have more than 4 GiB on 64-bit machines. */
	assert_int_equal(sim_insert(s, KMT_VIRT, SIM_VMALLOC, large, 1), 0);
	assert_true(sim_tracked(s, SIM_VMALLOC + large - 1));
	assert_false(sim_tracked(s, SIM_VMALLOC + large));
	check_core(s);
}

struct shape {
	unsigned long addr;
	unsigned long size;
};

/* Inserts @old, then @new over it. */
static void check_overlap(struct sim *s, struct shape old, struct shape new)
{
	assert_int_equal(sim_insert(s, KMT_VIRT, old.addr, old.size, 1), 0);
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), s->overlaps);
	assert_int_equal(sim_insert(s, KMT_VIRT, new.addr, new.size, 1), 0);
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), ++s->overlaps);
	assert_int_equal(s->warned_ev, KMT_EV_OVERLAP);
	assert_int_equal(s->warned_old.addr, old.addr);
	assert_int_equal(s->warned_old.size, old.size);
	assert_int_equal(s->warned_new.addr, new.addr);
	check_core(s);
	assert_int_equal(sim_object(s, KMT_VIRT, new.addr).size, new.size);
	assert_true(kmt_free(&s->core, KMT_VIRT, new.addr));
	assert_false(sim_tracked(s, old.addr));
	assert_false(sim_tracked(s, old.addr + old.size - 1));
	check_core(s);
}

static void test_overlap(void **state)
{
	static const struct shape shapes[] = {
		{ 0x100, 0x100 }, { 0x100, 0x80 }, { 0x180, 0x80 },
		{ 0x140, 0x40 }, { 0x80, 0x100 }, { 0x180, 0x100 },
		{ 0x80, 0x200 }, { 0x1ff, 1 }, { 0x100, 1 },
	};
	struct sim *s = *state;
	unsigned long edge = SIM_LINEAR + 2 * REGION;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct shape old = { BLOCK(1) + 0x100, 0x100 };
		struct shape new = shapes[i];

		new.addr += BLOCK(1);
		check_overlap(s, old, new);
		/* In the wide tree. */
		old.addr += SIM_VMALLOC - BLOCK(1);
		new.addr += SIM_VMALLOC - BLOCK(1);
		check_overlap(s, old, new);
		/* Across the border of a region. */
		old.addr = edge - 0x80;
		new.addr = shapes[i].addr + edge - 0x180;
		check_overlap(s, old, new);
		old.addr = edge;
		new.addr = shapes[i].addr + edge - 0x100;
		check_overlap(s, old, new);
	}
}

/* One insert evicts blocks from shards and from the wide tree. */
static void test_overlap_many(void **state)
{
	struct sim *s = *state;
	unsigned long i;

	for (i = 0; i < 64; i++)
		sim_insert(s, KMT_VIRT, SIM_LINEAR + i * 0x4000, 0x40, 1);
	for (i = 1; i < 8; i++)
		sim_insert(s, KMT_VIRT, SIM_LINEAR + i * REGION - 0x20,
			   0x30 - 0x10 + 1, 1);
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), 7);
	assert_int_equal(sim_insert(s, KMT_VIRT, SIM_LINEAR + 0x20,
				    8 * REGION, 1), 0);
	check_core(s);
	/*
	 * Now 33 small blocks, less the 7 that were evicted before, and the 7 wide
	 * ones.
	 */
	s->overlaps = 7 + 33 - 7 + 7;
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), s->overlaps);
	assert_true(sim_tracked(s, SIM_LINEAR + 0x20));
	assert_false(sim_tracked(s, SIM_LINEAR));
	assert_true(sim_tracked(s, SIM_LINEAR + 8 * REGION + 0x4000));
	/* And back: a small block over the large one. */
	sim_insert(s, KMT_VIRT, SIM_LINEAR + 3 * REGION + 0x1000, 0x40, 1);
	s->overlaps++;
	assert_false(sim_tracked(s, SIM_LINEAR + 0x40));
	assert_true(sim_tracked(s, SIM_LINEAR + 3 * REGION + 0x1000));
	check_core(s);
}

static void test_overlap_other_space(void **state)
{
	struct sim *s = *state;

	sim_insert(s, KMT_PERCPU, SIM_PERCPU, 0x100, 1);
	sim_insert(s, KMT_VIRT, SIM_PERCPU, 0x100, 1);
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), 0);
	sim_insert(s, KMT_PERCPU, SIM_PERCPU + 0x80, 0x100, 1);
	s->overlaps = 1;
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), s->overlaps);
	assert_int_equal(sim_object(s, KMT_VIRT, SIM_PERCPU + 0x10).size,
			 0x100);
}

/* A record that the owner of the tracker made itself is replaced without a warning. */
static void test_replaced(void **state)
{
	static const unsigned long at[] = { BLOCK(1), SIM_VMALLOC };
	struct sim *s = *state;
	unsigned int i;

	s->replaceable = true;
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		assert_int_equal(sim_insert(s, KMT_VIRT, at[i], 0x100, 1), 0);
		assert_true(kmt_add_area(&s->core, at[i], SIZE_MAX, GFP_KERNEL));
		assert_int_equal(sim_insert(s, KMT_VIRT, at[i] + 0x80, 0x40, 1), 0);
		assert_int_equal(s->warned, i);
		assert_false(sim_tracked(s, at[i]));
		/* The new block is another's. */
		assert_int_equal(sim_insert(s, KMT_VIRT, at[i] + 0x90, 0x40, 1), 0);
		assert_int_equal(s->warned, i + 1);
		assert_int_equal(sim_events(s, KMT_EV_OVERLAP), ++s->overlaps);
		check_core(s);
	}
	assert_int_equal(kmt_nr_aux(&s->core), 0);
}

/* Old records are evicted even if there is no cell for the new one. */
static void test_overlap_no_memory(void **state)
{
	struct sim *s = sim_new(1, 1, 16);

	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(1), 64, 1), 0);
	sim_insert(s, KMT_VIRT, BLOCK(1) + 16, 64, 1);
	s->overlaps = 1;
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), s->overlaps);
	assert_false(sim_tracked(s, BLOCK(1)));
	check_core(s);
	sim_delete(s);
}

/* Checks that [@lo, @hi) is tracked as one block of exactly these bytes. */
static void check_part(struct sim *s, unsigned long lo, unsigned long hi)
{
	struct kmt_object o = sim_object(s, KMT_VIRT, lo);

	assert_int_equal(o.addr, lo);
	assert_int_equal(o.size, hi - lo);
	assert_int_equal(kmt_pid(&o), 42);
	assert_int_equal(o.min_refs, 1);
}

static int insert_unless_taken(struct sim *s, unsigned long addr,
			       unsigned long size)
{
	const struct kmt_origin origin = { .trace = 9, .pid_slack = 3, .born = 5 };

	return kmt_insert_unless_taken(&s->core, KMT_VIRT, addr, size, 1,
				       &origin, GFP_KERNEL);
}

/* Tracked blocks stay, wherever they overlap; vacant records are evicted. */
static void test_unless_taken(void **state)
{
	static const struct shape shapes[] = {
		{ 0, 0x100 }, { 0, 1 }, { 0xff, 1 }, { 0x40, 0x80 },
	};
	static const unsigned long places[] = {
		BLOCK(1), SIM_VMALLOC, SIM_LINEAR + 2 * REGION - 0x80,
		SIM_LINEAR + 3 * REGION,
	};
	struct sim *s = *state;
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		for (k = 0; k < ARRAY_SIZE(shapes); k++) {
			const unsigned long at = places[i] + shapes[k].addr;

			sim_alloc(s, at, shapes[k].size);
			assert_int_equal(insert_unless_taken(s, places[i], 0x100),
					 -EEXIST);
			assert_int_equal(sim_object(s, KMT_VIRT, at).size,
					 shapes[k].size);
			sim_free(s, at, shapes[k].size);
			assert_int_equal(insert_unless_taken(s, places[i], 0x100),
					 0);
			assert_int_equal(sim_object(s, KMT_VIRT, places[i]).size,
					 0x100);
			assert_int_equal(sim_object(s, KMT_VIRT, places[i]).trace,
					 9);
			check_core(s);
			sim_free(s, places[i], 0x100);
		}
	}
	/* Inside a large block; and over small blocks in its last region. */
	sim_alloc(s, SIM_LINEAR + REGION, 4 * REGION);
	assert_int_equal(insert_unless_taken(s, BLOCK(1), 64), 0);
	assert_int_equal(insert_unless_taken(s, SIM_LINEAR + 3 * REGION, 64),
			 -EEXIST);
	sim_free(s, SIM_LINEAR + REGION, 4 * REGION);
	sim_alloc(s, SIM_LINEAR + 4 * REGION + 0x40, 64);
	assert_int_equal(insert_unless_taken(s, SIM_LINEAR + 2 * REGION,
					     3 * REGION), -EEXIST);
	check_core(s);
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), 0);
	s->core.shut = true;
	assert_int_equal(insert_unless_taken(s, BLOCK(9), 64), -EPERM);
	s->core.shut = false;
}

static void test_free_part(void **state)
{
	static const unsigned long bases[] = {
		BLOCK(1), SIM_VMALLOC + 0x1000, SIM_LINEAR + REGION - 0x400,
	};
	struct sim *s = *state;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bases); i++) {
		unsigned long b = bases[i];

		sim_insert(s, KMT_VIRT, b, 0x800, 1);
		/* Middle, head, tail, all. */
		kmt_free_part(&s->core, KMT_VIRT, b + 0x200, 0x300, GFP_KERNEL);
		check_core(s);
		check_part(s, b, b + 0x200);
		check_part(s, b + 0x500, b + 0x800);
		assert_false(sim_tracked(s, b + 0x200));
		assert_false(sim_tracked(s, b + 0x4ff));
		kmt_free_part(&s->core, KMT_VIRT, b, 0x100, GFP_KERNEL);
		check_part(s, b + 0x100, b + 0x200);
		assert_false(sim_tracked(s, b + 0xff));
		kmt_free_part(&s->core, KMT_VIRT, b + 0x600, 0x200, GFP_KERNEL);
		check_part(s, b + 0x500, b + 0x600);
		assert_false(sim_tracked(s, b + 0x600));
		kmt_free_part(&s->core, KMT_VIRT, b + 0x500, 0x100, GFP_KERNEL);
		assert_false(sim_tracked(s, b + 0x500));
		assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), i);
		/* This part is not tracked any more. */
		kmt_free_part(&s->core, KMT_VIRT, b + 0x500, 0x100, GFP_KERNEL);
		assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), i + 1);
		assert_true(kmt_free(&s->core, KMT_VIRT, b + 0x100));
	}
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), 0);
}

static unsigned long free_within(struct sim *s, unsigned long addr, unsigned long size)
{
	return kmt_free_within(&s->core, addr, size, GFP_KERNEL);
}

/* Freeing memory that has no record forgets the blocks inside it, and no others. */
static void test_free_within(void **state)
{
	static const unsigned long bases[] = {
		BLOCK(1), SIM_VMALLOC + 0x1000, SIM_LINEAR + REGION - 0x400,
	};
	struct sim *s = *state;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bases); i++) {
		const unsigned long b = bases[i];

		sim_insert(s, KMT_VIRT, b - 8, 8, 1);
		sim_insert(s, KMT_VIRT, b + 8, 0x100, 1);
		sim_insert(s, KMT_VIRT, b + 0x3c0, 0x80, 1);
		sim_insert(s, KMT_VIRT, b + 0x7f8, 8, 1);
		sim_insert(s, KMT_VIRT, b + 0x800, 8, 1);
		/*
		 * Nothing is forgotten if the address is in a block, or no block
		 * lies within.
		 */
		assert_int_equal(free_within(s, b + 8, 0x400), 0);
		assert_int_equal(free_within(s, b + 16, 0x400), 0);
		assert_int_equal(free_within(s, b, 8), 0);
		assert_int_equal(free_within(s, b, 0), 0);
		assert_int_equal(free_within(s, b, 0x800), 3);
		assert_int_equal(sim_events(s, KMT_EV_FREE_AROUND), 3 * i + 3);
		assert_int_equal(s->warned_ev, KMT_EV_FREE_AROUND);
		assert_false(sim_tracked(s, b + 8));
		assert_false(sim_tracked(s, b + 0x43f));
		assert_false(sim_tracked(s, b + 0x7f8));
		assert_true(sim_tracked(s, b - 8));
		assert_true(sim_tracked(s, b + 0x800));
		assert_int_equal(free_within(s, b, 0x800), 0);
		check_core(s);
	}
}

/* A partial free over several blocks cuts the first and the last one. */
static void test_free_part_many(void **state)
{
	struct sim *s = *state;
	unsigned long i;

	for (i = 0; i < 10; i++)
		sim_insert(s, KMT_VIRT, SIM_LINEAR + i * 0x8000, 0x6000, 1);
	kmt_free_part(&s->core, KMT_VIRT, SIM_LINEAR + 0x9000, 0x3a000,
		      GFP_KERNEL);
	check_core(s);
	check_part(s, SIM_LINEAR, SIM_LINEAR + 0x6000);
	check_part(s, SIM_LINEAR + 0x8000, SIM_LINEAR + 0x9000);
	for (i = 2; i < 8; i++)
		assert_false(sim_tracked(s, SIM_LINEAR + i * 0x8000));
	check_part(s, SIM_LINEAR + 0x43000, SIM_LINEAR + 0x46000);
	check_part(s, SIM_LINEAR + 0x48000, SIM_LINEAR + 0x4e000);
}

/* The rest of a physical or per-CPU block stays in its space. */
static void test_free_part_spaces(void **state)
{
	struct sim *s = *state;

	sim_insert(s, KMT_PHYS, SIM_PHYS, 0x3000, 0);
	sim_insert(s, KMT_PERCPU, SIM_PERCPU, 0x300, 1);
	kmt_free_part(&s->core, KMT_PHYS, SIM_PHYS + 0x1000, 0x1000,
		      GFP_KERNEL);
	kmt_free_part(&s->core, KMT_PERCPU, SIM_PERCPU + 0x100, 0x100,
		      GFP_KERNEL);
	check_core(s);
	assert_int_equal(sim_object(s, KMT_PHYS, SIM_PHYS + 0x2000).size,
			 0x1000);
	assert_int_equal(sim_object(s, KMT_PHYS, SIM_PHYS + 0x2000).min_refs, 0);
	assert_int_equal(sim_object(s, KMT_PERCPU, SIM_PERCPU + 0x2ff).addr,
			 SIM_PERCPU + 0x200);
	assert_false(sim_tracked(s, SIM_PERCPU));
}

static void test_free_drops_aux(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 64);
	assert_true(kmt_add_area(&s->core, BLOCK(1), 8, GFP_KERNEL));
	assert_true(kmt_add_area(&s->core, BLOCK(1) + 8, 8, GFP_KERNEL));
	assert_true(kmt_add_alias(&s->core, BLOCK(1), BLOCK(9), GFP_KERNEL));
	assert_int_equal(kmt_nr_aux(&s->core), 3);
	sim_free(s, BLOCK(1), 64);
	assert_int_equal(kmt_nr_aux(&s->core), 0);
	check_core(s);
	/* The same with kmt_free_part() and with an overlap. */
	sim_alloc(s, BLOCK(1), 64);
	assert_true(kmt_add_area(&s->core, BLOCK(1), 8, GFP_KERNEL));
	kmt_free_part(&s->core, KMT_VIRT, BLOCK(1) + 32, 32, GFP_KERNEL);
	check_core(s);
	assert_int_equal(kmt_nr_aux(&s->core), 0);
	assert_true(kmt_add_area(&s->core, BLOCK(1), 8, GFP_KERNEL));
	sim_alloc(s, BLOCK(1) + 8, 64);
	s->overlaps = 1;
	assert_int_equal(kmt_nr_aux(&s->core), 0);
	check_core(s);
}

static bool has_areas(const struct kmt_object *o)
{
	return o->flags & KMT_AREAS;
}

/* Only a record that begins at the address, and is the one that is meant, is dropped. */
static void test_free_if(void **state)
{
	static const unsigned long at[] = { BLOCK(1), SIM_VMALLOC };
	struct sim *s = *state;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		kmt_free_if(&s->core, at[i], has_areas);
		assert_int_equal(sim_insert(s, KMT_VIRT, at[i], 0x100, 1), 0);
		kmt_free_if(&s->core, at[i], has_areas);
		assert_true(sim_tracked(s, at[i]));
		assert_true(kmt_add_area(&s->core, at[i], SIZE_MAX, GFP_KERNEL));
		kmt_free_if(&s->core, at[i] + 8, has_areas);
		assert_true(sim_tracked(s, at[i]));
		kmt_free_if(&s->core, at[i], has_areas);
		assert_false(sim_tracked(s, at[i]));
		check_core(s);
	}
	assert_int_equal(kmt_nr_aux(&s->core), 0);
	assert_int_equal(sim_events(s, KMT_EV_FREE_UNKNOWN), 0);
	assert_int_equal(s->warned, 0);
}

/* A record that is being removed, which has no size any more, is in no shard. */
static void test_in_shard(void **state)
{
	struct kmt_object o = { .flags = KMT_LIVE | KMT_VIRT, .addr = BLOCK(1) + 8 };

	assert_false(kmt_is_in_shard_of(&o, BLOCK(1)));
	o.size = 8;
	assert_true(kmt_is_in_shard_of(&o, BLOCK(1)));
	assert_false(kmt_is_in_shard_of(&o, BLOCK(1) + BIT(KMT_REGION_SHIFT)));
	o.size = BIT(KMT_REGION_SHIFT);
	assert_false(kmt_is_in_shard_of(&o, BLOCK(1)));
}

static void test_drop_space(void **state)
{
	struct sim *s = *state;
	unsigned long i;

	for (i = 0; i < 100; i++)
		sim_insert(s, KMT_VIRT, BLOCK(i), 64, 1);
	sim_insert(s, KMT_VIRT, SIM_VMALLOC, 0x4000, 2);
	sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1);
	sim_insert(s, KMT_PHYS, SIM_PHYS, 64, 0);
	sim_insert(s, KMT_ROOT, SIM_IMAGE, 64, 0);
	kmt_add_area(&s->core, BLOCK(5), 8, GFP_KERNEL);
	kmt_add_alias(&s->core, BLOCK(6), SIM_VMALLOC, GFP_KERNEL);
	assert_int_equal(kmt_drop_space(&s->core, KMT_VIRT), 101);
	check_core(s);
	assert_int_equal(kmt_nr_aux(&s->core), 0);
	assert_false(host_irqs_off());
	assert_int_equal(sim_object(s, KMT_PERCPU, SIM_PERCPU).size, 64);
	assert_int_equal(kmt_drop_space(&s->core, KMT_VIRT), 0);
	assert_int_equal(kmt_drop_space(&s->core, KMT_PHYS), 1);
	assert_int_equal(kmt_drop_space(&s->core, KMT_PERCPU), 1);
	assert_int_equal(sim_object(s, KMT_ROOT, SIM_IMAGE).size, 64);
	/* Tracking is on again. */
	sim_insert(s, KMT_VIRT, BLOCK(1), 64, 1);
	check_core(s);
}

static void shut(struct sim *s)
{
	WRITE_ONCE(s->core.shut, true);
}

/* After shut(), no function tracks a block. */
static void test_shut(void **state)
{
	static const struct shape shapes[] = {
		{ BLOCK(1), 64 }, { BLOCK(1), 128 }, { BLOCK(2), 64 },
		{ SIM_LINEAR + REGION - 64, 128 }, { SIM_VMALLOC, 0x4000 },
	};
	struct sim *s = *state;
	unsigned int i;

	/* Its record is left vacant, and remembered. */
	sim_alloc(s, BLOCK(1), 64);
	sim_free(s, BLOCK(1), 64);
	/* No overlap is counted: the free of BLOCK(4) may not have been reported. */
	sim_alloc(s, BLOCK(4), 64);
	shut(s);
	assert_int_equal(sim_insert(s, KMT_VIRT, BLOCK(4), 64, 1), 0);
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), 0);
	for (i = 0; i < ARRAY_SIZE(shapes); i++) {
		const struct shape *b = &shapes[i];

		assert_int_equal(sim_insert(s, KMT_VIRT, b->addr, b->size, 1),
				 0);
		assert_false(sim_tracked(s, b->addr));
		assert_int_equal(sim_insert(s, KMT_VIRT, b->addr, b->size, 0),
				 0);
		assert_false(sim_tracked(s, b->addr));
	}
	assert_int_equal(sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1), 0);
	assert_int_equal(kmt_drop_space(&s->core, KMT_PERCPU), 0);
	assert_int_equal(sim_events(s, KMT_EV_LOST_NOMEM), 0);
	check_core(s);
	s->core.shut = false;
	for (i = 1; i < ARRAY_SIZE(shapes); i++)
		sim_alloc(s, shapes[i].addr, shapes[i].size);
	check_core(s);
}

/*
 * Tracking ends, and all records are dropped, while an allocation waits for memory
 * for its record: the block is not tracked then.
 */
static void test_shut_meanwhile(void **state)
{
	static const enum kmt_space spaces[] = { KMT_VIRT, KMT_PERCPU };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(spaces); i++) {
		struct sim *s = sim_new(1, 2, 16);
		unsigned long addr = spaces[i] == KMT_VIRT ? BLOCK(1) :
			SIM_PERCPU;

		s->on_chunk = shut;
		assert_int_equal(sim_insert(s, spaces[i], addr, 64, 1), 0);
		assert_int_equal(kmt_drop_space(&s->core, spaces[i]), 0);
		check_core(s);
		/* Nor is the rest of a block that is cut. */
		s->core.shut = false;
		s->on_chunk = NULL;
		assert_int_equal(sim_insert(s, spaces[i], addr, 64, 1), 0);
		s->on_chunk = shut;
		assert_int_equal(kmt_free_part(&s->core, spaces[i], addr + 16,
					       16, GFP_KERNEL), 0);
		kmt_drop_space(&s->core, spaces[i]);
		s->core.shut = false;
		s->on_chunk = NULL;
		assert_int_equal(sim_insert(s, spaces[i], addr, 64, 1), 0);
		assert_int_equal(sim_events(s, KMT_EV_OVERLAP), 0);
		check_core(s);
		sim_delete(s);
	}
	(void)state;
}

/* A cell that is used again has no state of its last block. */
static void test_reuse(void **state)
{
	struct sim *s = *state;
	struct kmt_object o;

	sim_alloc(s, BLOCK(1), 64);
	kmt_set_flags(&s->core, KMT_VIRT, BLOCK(1),
		      KMT_NO_SCAN | KMT_STACK | KMT_TRANSIENT);
	kmt_set_min(&s->core, KMT_VIRT, BLOCK(1), KMT_MIN_BLACK);
	sim_free(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 32);
	o = sim_object(s, KMT_VIRT, BLOCK(2));
	assert_int_equal(o.flags, KMT_LIVE | KMT_VIRT);
	assert_int_equal(o.min_refs, 1);
	assert_int_equal(o.count, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_insert_free),
		T(test_unknown_free),
		T(test_free_inside),
		T(test_bad_size),
		T(test_overlap),
		T(test_overlap_many),
		T(test_overlap_other_space),
		T(test_replaced),
		cmocka_unit_test(test_overlap_no_memory),
		T(test_unless_taken),
		T(test_free_part),
		T(test_free_part_many),
		T(test_free_part_spaces),
		T(test_free_within),
		T(test_free_drops_aux),
		T(test_free_if),
		cmocka_unit_test(test_in_shard),
		T(test_drop_space),
		T(test_shut),
		cmocka_unit_test(test_shut_meanwhile),
		T(test_reuse),
	};

	return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
