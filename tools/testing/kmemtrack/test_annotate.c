// SPDX-License-Identifier: GPL-2.0
/* Annotations, and their effect on a mark. */
#include "sim.h"

static void mark(struct sim *s)
{
	sim_mark(s, ROOT(0), ROOT(16));
	kmt_mark_end(&s->m);
}

/* Each of these blocks but the last refers to the next; nothing refers to the first. */
static void alloc_chain(struct sim *s)
{
	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 64);
	sim_alloc(s, BLOCK(3), 64);
	sim_put(BLOCK(1), BLOCK(2));
	sim_put(BLOCK(2), BLOCK(3));
}

static void test_min(void **state)
{
	struct sim *s = *state;

	alloc_chain(s);
	mark(s);
	assert_true(sim_white(s, BLOCK(1)));
	assert_true(sim_white(s, BLOCK(3)));

	/* Not a leak: the block is a root; an address inside it is enough to name it. */
	assert_true(kmt_set_min(&s->core, KMT_VIRT, BLOCK(1) + 20,
				KMT_MIN_GREY));
	mark(s);
	assert_false(sim_white(s, BLOCK(1)));
	assert_false(sim_white(s, BLOCK(2)));
	assert_false(sim_white(s, BLOCK(3)));

	/* Ignored: neither reported nor read. */
	assert_true(kmt_set_min(&s->core, KMT_VIRT, BLOCK(2), KMT_MIN_BLACK));
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
	assert_true(sim_white(s, BLOCK(3)));

	/* Needs two references. */
	assert_true(kmt_set_min(&s->core, KMT_VIRT, BLOCK(2), 2));
	mark(s);
	assert_true(sim_white(s, BLOCK(2)));
	sim_put(ROOT(3), BLOCK(2) + 63);
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
	assert_false(sim_white(s, BLOCK(3)));
}

static void test_unknown(void **state)
{
	struct kmt_range area = {};
	struct sim *s = *state;
	unsigned long x;

	sim_alloc(s, BLOCK(1), 64);
	assert_false(kmt_set_min(&s->core, KMT_VIRT, BLOCK(2), 0));
	assert_false(kmt_set_flags(&s->core, KMT_PERCPU, BLOCK(1),
				   KMT_NO_SCAN));
	assert_false(kmt_set_trace(&s->core, KMT_VIRT, BLOCK(1) + 64, 9));
	assert_false(kmt_add_area(&s->core, BLOCK(2), 8, GFP_KERNEL));
	assert_false(kmt_add_alias(&s->core, BLOCK(2), BLOCK(1), GFP_KERNEL));
	assert_int_equal(sim_events(s, KMT_EV_ANNOTATE_UNKNOWN), 5);
	assert_int_equal(sim_events(s, KMT_EV_BAD_AREA), 0);
	host_irq_save();
	assert_false(kmt_get_alias(&s->core, BLOCK(1), &x));
	assert_false(kmt_next_area(&s->core, BLOCK(1), &area));
	host_irq_restore(0);
	check_core(s);
	assert_int_equal(kmt_pool_free_cells(&s->core),
			 s->core.pool.cells - 1);
}

/* The slack is exact in small blocks, and rounded down to a 2048th in large ones. */
static void test_slack(void **state)
{
	unsigned long size, requested, got;

	for (size = 1; size <= 4UL << 20; size += size < 5000 ? 1 : size / 7) {
		for (requested = size / 2 + 1; requested <= size;
		     requested += 1 + requested / 500) {
			got = kmt_requested(size, kmt_slack_code(size, requested));
			assert_true(got >= requested && got <= size);
			assert_true(got - requested <= (size <= 2048 ? 0 : size / 1024));
		}
		assert_int_equal(kmt_requested(size, kmt_slack_code(size, size)), size);
		/* If there is no code, nothing is said. */
		got = kmt_requested(size, kmt_slack_code(size, 0));
		assert_true(got == size || (size <= KMT_SLACK_MAX && !got));
	}
}

static void test_requested(void **state)
{
	const struct kmt_origin origin = {
		.trace = 7, .comm = 9,
		.pid_slack = kmt_pid_slack(BIT(KMT_PID_BITS) - 1, kmt_slack_code(1024, 710)),
	};
	struct sim *s = *state;
	struct kmt_object o;

	/* A new record, one that is used again, and one that moves to another tree */
	sim_own(BLOCK(1), 1024);
	assert_int_equal(kmt_insert(&s->core, KMT_VIRT, BLOCK(1), 1024, 1, &origin, 0), 0);
	o = sim_object(s, KMT_VIRT, BLOCK(1));
	assert_int_equal(kmt_requested(o.size, kmt_slack(&o)), 710);
	assert_int_equal(kmt_pid(&o), BIT(KMT_PID_BITS) - 1);
	assert_true(kmt_free(&s->core, KMT_VIRT, BLOCK(1)));
	assert_int_equal(kmt_insert(&s->core, KMT_VIRT, BLOCK(1), 1024, 1, &origin, 0), 0);
	o = sim_object(s, KMT_VIRT, BLOCK(1));
	assert_int_equal(kmt_requested(o.size, kmt_slack(&o)), 710);

	assert_true(kmt_set_requested(&s->core, BLOCK(1), 1000));
	o = sim_object(s, KMT_VIRT, BLOCK(1));
	assert_int_equal(kmt_requested(o.size, kmt_slack(&o)), 1000);
	assert_int_equal(kmt_pid(&o), BIT(KMT_PID_BITS) - 1);
	assert_int_equal(o.trace, 7);
	assert_int_equal(o.comm, 9);
	assert_int_equal(o.size, 1024);
	/* More than the block has, an address in it, and an unknown block */
	assert_false(kmt_set_requested(&s->core, BLOCK(1), 1025));
	assert_false(kmt_set_requested(&s->core, BLOCK(1) + 8, 100));
	assert_false(kmt_set_requested(&s->core, BLOCK(1) + 4096, 100));
	o = sim_object(s, KMT_VIRT, BLOCK(1));
	assert_int_equal(kmt_requested(o.size, kmt_slack(&o)), 1000);
	/* What is left of a block that was freed in part is all wanted. */
	assert_int_equal(kmt_free_part(&s->core, KMT_VIRT, BLOCK(1) + 512, 512, 0), 0);
	o = sim_object(s, KMT_VIRT, BLOCK(1));
	assert_int_equal(o.size, 512);
	assert_int_equal(kmt_slack(&o), 0);
	assert_int_equal(kmt_pid(&o), BIT(KMT_PID_BITS) - 1);
}

static void test_set_trace(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 64);
	assert_true(kmt_set_trace(&s->core, KMT_VIRT, BLOCK(1), 1234));
	assert_int_equal(sim_object(s, KMT_VIRT, BLOCK(1)).trace, 1234);
}

static void test_no_scan(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 64);
	sim_put(ROOT(0), BLOCK(1));
	sim_put(BLOCK(1), BLOCK(2));
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
	assert_true(kmt_set_flags(&s->core, KMT_VIRT, BLOCK(1), KMT_NO_SCAN));
	mark(s);
	assert_false(sim_white(s, BLOCK(1)));
	assert_true(sim_white(s, BLOCK(2)));
}

/* The sweep does not read the stacks of tasks. */
static void test_stack_not_read(void **state)
{
	struct sim *s = *state;

	sim_alloc_min(s, SIM_VMALLOC, 0x4000, 0);
	sim_alloc(s, BLOCK(2), 64);
	sim_put(SIM_VMALLOC + 0x100, BLOCK(2));
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
	assert_true(kmt_set_flags(&s->core, KMT_VIRT, SIM_VMALLOC, KMT_STACK));
	mark(s);
	assert_true(sim_white(s, BLOCK(2)));
	assert_false(sim_white(s, SIM_VMALLOC));
}

static void test_areas(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	sim_alloc_min(s, BLOCK(1), 512, 0);
	for (i = 0; i < 64; i++) {
		sim_alloc(s, BLOCK(2 + i), 64);
		sim_put(BLOCK(1) + 8 * i, BLOCK(2 + i));
	}
	/* Two areas; of an unaligned one, only the whole words in it are read. */
	assert_true(kmt_add_area(&s->core, BLOCK(1) + 16, 16, GFP_KERNEL));
	assert_true(kmt_add_area(&s->core, BLOCK(1) + 97, 31, GFP_KERNEL));
	mark(s);
	for (i = 0; i < 64; i++)
		assert_int_equal(sim_white(s, BLOCK(2 + i)),
				 !(i == 2 || i == 3 || (i >= 13 && i < 16)));
	/* An area up to the end of the block. */
	assert_true(kmt_add_area(&s->core, BLOCK(1) + 480, SIZE_MAX,
				 GFP_KERNEL));
	mark(s);
	for (i = 60; i < 64; i++)
		assert_false(sim_white(s, BLOCK(2 + i)));
	assert_true(sim_white(s, BLOCK(2 + 59)));
}

static void test_bad_areas(void **state)
{
	struct sim *s = *state;

	sim_alloc_min(s, BLOCK(1), 64, 0);
	sim_alloc(s, BLOCK(2), 64);
	sim_put(BLOCK(1) + 8, BLOCK(2));
	assert_false(kmt_add_area(&s->core, BLOCK(1), 65, GFP_KERNEL));
	assert_false(kmt_add_area(&s->core, BLOCK(1) + 60, 5, GFP_KERNEL));
	assert_false(kmt_add_area(&s->core, BLOCK(1) + 8, 0, GFP_KERNEL));
	assert_false(kmt_add_area(&s->core, BLOCK(1) + 8, ~0ul - 8,
				  GFP_KERNEL));
	assert_int_equal(sim_events(s, KMT_EV_BAD_AREA), 4);
	/* If no area is valid, the whole block is read. */
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
	assert_int_equal(kmt_nr_aux(&s->core), 0);
}

/*
 * If there is no memory for an area, no reference must be missed: the whole block
 * is read, whether or not it has other areas, or gets others later.
 */
static void test_area_no_memory(void **state)
{
	struct sim *s = sim_new(4, 1, 16);

	sim_alloc_min(s, BLOCK(1), 512, 0);
	sim_alloc(s, BLOCK(2), 64);
	sim_alloc(s, BLOCK(3), 64);
	sim_put(BLOCK(1) + 256, BLOCK(2));
	assert_true(kmt_add_area(&s->core, BLOCK(1), 8, GFP_KERNEL));
	mark(s);
	assert_true(sim_white(s, BLOCK(2)));
	assert_false(kmt_add_area(&s->core, BLOCK(1) + 256, 8, GFP_KERNEL));
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
	sim_free(s, BLOCK(3), 64);
	assert_true(kmt_add_area(&s->core, BLOCK(1) + 16, 8, GFP_KERNEL));
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
	check_core(s);
	/* This does not apply to the next block at this address. */
	sim_free(s, BLOCK(1), 512);
	check_core(s);
	sim_alloc_min(s, BLOCK(1), 512, 0);
	sim_put(BLOCK(1) + 256, BLOCK(2));
	assert_true(kmt_add_area(&s->core, BLOCK(1), 8, GFP_KERNEL));
	mark(s);
	assert_true(sim_white(s, BLOCK(2)));
	check_core(s);
	sim_delete(s);
}

/*
 * A vmalloc block needs two references, one of which is in its vm_struct. Excess
 * references to the vm_struct, which has one in the kernel's tree, count for the
 * block.
 */
static void test_alias(void **state)
{
	struct sim *s = *state;
	unsigned long area = BLOCK(1), block = SIM_VMALLOC + 0x1000;

	sim_alloc(s, area, 96);
	sim_alloc_min(s, block, 0x2000, 2);
	sim_alloc(s, BLOCK(2), 64);
	sim_put(area + 8, block);
	sim_put(block + 0x1008, BLOCK(2));
	assert_true(kmt_add_alias(&s->core, area, block, GFP_KERNEL));
	sim_put(ROOT(0), area + 40);
	mark(s);
	assert_false(sim_white(s, area));
	assert_true(sim_white(s, block));
	/* A reference to the block. */
	sim_put(ROOT(1), block + 0x1ff0);
	mark(s);
	assert_false(sim_white(s, block));
	assert_false(sim_white(s, BLOCK(2)));
	/* A reference to its vm_struct. */
	sim_put(ROOT(1), area);
	mark(s);
	assert_false(sim_white(s, block));
	assert_false(sim_white(s, BLOCK(2)));
	/* The order of the references does not matter. */
	sim_put(ROOT(0), area);
	sim_put(ROOT(1), area + 40);
	mark(s);
	assert_false(sim_white(s, block));
	/* Two references to the tree node in a lost vm_struct are not enough. */
	sim_put(ROOT(0), 0);
	sim_put(ROOT(1), 0);
	mark(s);
	assert_true(sim_white(s, area));
	assert_true(sim_white(s, block));
}

/* A grey holder passes on all references to it. */
static void test_alias_grey(void **state)
{
	struct sim *s = *state;

	sim_alloc_min(s, BLOCK(1), 96, 0);
	sim_alloc(s, BLOCK(2), 64);
	assert_true(kmt_add_alias(&s->core, BLOCK(1), BLOCK(2), GFP_KERNEL));
	mark(s);
	assert_true(sim_white(s, BLOCK(2)));
	sim_put(ROOT(5), BLOCK(1) + 8);
	mark(s);
	assert_false(sim_white(s, BLOCK(2)));
}

/* Passing on references around a ring of aliases ends. */
static void test_alias_ring(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(1), 64);
	sim_alloc(s, BLOCK(2), 64);
	assert_true(kmt_add_alias(&s->core, BLOCK(1), BLOCK(2), GFP_KERNEL));
	assert_true(kmt_add_alias(&s->core, BLOCK(2), BLOCK(1), GFP_KERNEL));
	sim_put(ROOT(0), BLOCK(1));
	sim_put(ROOT(1), BLOCK(1));
	sim_put(ROOT(2), BLOCK(1));
	mark(s);
	assert_false(sim_white(s, BLOCK(1)));
	assert_false(sim_white(s, BLOCK(2)));
	/* No reference is passed on to a target that was freed. */
	sim_free(s, BLOCK(2), 64);
	mark(s);
	assert_false(sim_white(s, BLOCK(1)));
}

/* Many references to one block do not overflow its count. */
static void test_saturation(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	/* Let the mark count each reference. */
	s->m.seen_cache = NULL;
	sim_alloc_min(s, BLOCK(1), 64, KMT_MIN_MAX);
	for (i = 0; i < KMT_MIN_MAX - 1; i++)
		sim_put(ROOT(i), BLOCK(1));
	sim_mark(s, ROOT(0), ROOT(2000));
	kmt_mark_end(&s->m);
	assert_true(sim_white(s, BLOCK(1)));
	for (i = 0; i < 2000; i++) {
		if (i == 254 || i == 255 || i == 256 || i == 257 || i == 1999) {
			sim_mark(s, ROOT(0), ROOT(2000));
			kmt_mark_end(&s->m);
			assert_false(sim_white(s, BLOCK(1)));
		}
		sim_put(ROOT(i), BLOCK(1));
	}
	assert_int_equal(sim_object(s, KMT_VIRT, BLOCK(1)).count,
			 KMT_COUNT_MAX);
}

/* A reported leak that is annotated is reported no longer. */
static void test_acquittal(void **state)
{
	struct sim *s = *state;

	alloc_chain(s);
	sim_scan(s, ROOT(0), ROOT(16));
	assert_int_equal(s->v.leaks, 3);
	assert_true(sim_indirect(s, BLOCK(2)));
	assert_true(kmt_set_min(&s->core, KMT_VIRT, BLOCK(2), KMT_MIN_BLACK));
	assert_true(kmt_set_min(&s->core, KMT_VIRT, BLOCK(1), KMT_MIN_GREY));
	assert_false(sim_leak(s, BLOCK(1)));
	assert_false(sim_leak(s, BLOCK(2)));
	check_core(s);
	sim_scan(s, ROOT(0), ROOT(16));
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, BLOCK(3)));
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_min),
		T(test_unknown),
		T(test_set_trace),
		T(test_slack),
		T(test_requested),
		T(test_no_scan),
		T(test_stack_not_read),
		T(test_areas),
		T(test_bad_areas),
		cmocka_unit_test(test_area_no_memory),
		T(test_alias),
		T(test_alias_grey),
		T(test_alias_ring),
		T(test_saturation),
		T(test_acquittal),
	};

	return cmocka_run_group_tests_name("annotate", tests, NULL, NULL);
}
