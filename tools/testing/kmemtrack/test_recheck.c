// SPDX-License-Identifier: GPL-2.0
/*
 * Search and recheck: they acquit exactly the suspects that the mark missed.
 *
 * A reference that moves during the mark is missing until the end of the mark:
 * a test stores it late.
 */
#include "sim.h"

#define OBJECT	BLOCK(1)
#define LOST	BLOCK(2)

static void scan(struct sim *s)
{
	assert_true(sim_snapshot(s, ROOT(0), ROOT(64)));
	check_core(s);
}

#define PHYS_BLOCK	(SIM_PHYS + 0x200000)
#define BIG		(SIM_VMALLOC + 24)
#define BIG_SIZE	0x3010ul

/* Places of all kinds, and whether a reference there counts. */
static const struct place {
	unsigned long at;
	bool counts;
} places[] = {
	{ ROOT(0), true },
	{ ROOT(63), true },
	{ ROOT(64), false },		/* after the roots */
	{ ROOT(1000), true },		/* section */
	{ ROOT(1000) + 64, false },
	{ BLOCK(10) + 56, true },	/* grey */
	{ BLOCK(11), true },		/* reached */
	{ BLOCK(11) + 1016, true },
	{ BLOCK(11) + 1024, false },	/* after its end */
	{ BIG, true },			/* several pages, reached from BLOCK(11) */
	{ BIG + 0x1fd0, true },
	{ BIG + 0x1fd8, true },
	{ BIG + BIG_SIZE - 8, true },
	{ SIM_COPIES + 0x100, true },	/* per-CPU copies */
	{ SIM_COPIES + 7 * SIM_PERCPU_LEN + 0x138, true },
	{ SIM_COPIES + 7 * SIM_PERCPU_LEN + 0x140, false },
	{ SIM_LINEAR + 0x200000, true },	/* physical */
	{ SIM_LINEAR + 0x200ff8, true },
	{ BLOCK(12), false },		/* no references in it */
	{ BLOCK(13) + 8, false },	/* outside its scan areas */
	{ BLOCK(13) + 16, true },	/* in its first area */
	{ BLOCK(13) + 24, false },
	{ BLOCK(13) + 120, true },	/* in its second area */
	{ BLOCK(14), false },		/* black */
	{ BLOCK(15), true },		/* a task's stack: its first word */
	{ BLOCK(15) + 8, false },
	{ BLOCK(16), false },		/* a leak */
	{ OBJECT, false },		/* itself */
};

static void add_places(struct sim *s)
{
	unsigned int i;

	sim_alloc_min(s, BLOCK(10), 64, KMT_MIN_GREY);
	for (i = 11; i <= 15; i++) {
		sim_alloc_min(s, BLOCK(i), i == 11 ? 1024 : 128,
			      i == 14 ? KMT_MIN_BLACK : 1);
		sim_put(ROOT(i), BLOCK(i));
	}
	/* The words after the blocks exist as well. */
	sim_own(BLOCK(11) + 1024, 8);
	sim_alloc(s, BIG, BIG_SIZE);
	sim_put(BLOCK(11) + 512, BIG);
	assert_false(sim_insert(s, KMT_PERCPU, SIM_PERCPU + 0x100, 64, 1));
	sim_put(BIG + 0x1000, SIM_PERCPU + 0x110);
	assert_false(sim_insert(s, KMT_PHYS, PHYS_BLOCK, 0x1000, 0));
	sim_own(kmt_env_phys(PHYS_BLOCK), 0x1000);
	assert_false(sim_insert(s, KMT_ROOT, ROOT(1000), 64, 0));
	kmt_set_flags(&s->core, KMT_VIRT, BLOCK(12), KMT_NO_SCAN);
	kmt_add_area(&s->core, BLOCK(13) + 16, 8, GFP_KERNEL);
	kmt_add_area(&s->core, BLOCK(13) + 120, SIZE_MAX, GFP_KERNEL);
	kmt_set_flags(&s->core, KMT_VIRT, BLOCK(15), KMT_STACK);
	sim_alloc(s, BLOCK(16), 64);
}

/* Adds a chain of four blocks that hangs on OBJECT. */
static void add_chain(struct sim *s)
{
	sim_alloc(s, BLOCK(5), 64);
	assert_false(sim_insert(s, KMT_PERCPU, SIM_PERCPU + 0x800, 64, 1));
	sim_alloc(s, SIM_VMALLOC + 0x8000, 0x2000);
	sim_alloc(s, OBJECT, 100);
	sim_put(OBJECT + 88, SIM_VMALLOC + 0x8000);
	sim_put(SIM_VMALLOC + 0x9ff8, SIM_PERCPU + 0x83f);
	sim_put(kmt_env_percpu(SIM_PERCPU + 0x800, 5) + 8, BLOCK(5));
}

#define CHAIN	4

static void check_chain(struct sim *s, bool leak, bool indirect)
{
	struct kmt_object o;
	unsigned int i;
	static const unsigned long chain[] = {
		OBJECT, SIM_VMALLOC + 0x8000, BLOCK(5),
	};

	for (i = 0; i < ARRAY_SIZE(chain); i++) {
		o = sim_object(s, KMT_VIRT, chain[i]);
		assert_int_equal(!!(o.flags & KMT_LEAK), leak);
		assert_int_equal(!!(o.flags & KMT_SUSPECT), leak);
		assert_int_equal(!!(o.flags & KMT_INDIRECT),
				 leak && (i || indirect));
	}
	o = sim_object(s, KMT_PERCPU, SIM_PERCPU + 0x800);
	assert_int_equal(!!(o.flags & KMT_LEAK), leak);
	assert_int_equal(!!(o.flags & KMT_SUSPECT), leak);
}

/* One late reference, in each place and at both times, with one to four markers. */
static void test_places(void **state)
{
	unsigned int i, n;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		for (n = 0; n < 8; n++) {
			struct sim *s = sim_new(15, 20, 1 + n);
			bool counts = places[i].counts;
			bool leads = places[i].at == BLOCK(16);

			s->late_phase = n & 1 ? SIM_MARKED : SIM_SUSPECTED;
			s->markers = 1 + n / 2;
			add_places(s);
			add_chain(s);
			sim_put_late(s, places[i].at, OBJECT + 99);
			scan(s);
			assert_int_equal(s->suspects, CHAIN + 1);
			assert_int_equal(s->left, counts ? 1 : CHAIN + 1);
			assert_int_equal(s->v.leaks, s->left);
			assert_int_equal(s->v.fresh, s->left);
			assert_true(sim_leak(s, BLOCK(16)));
			check_chain(s, !counts, leads);
			sim_delete(s);
		}
	}
}

/* A search finds a reference that has moved, and no CPU is stopped. */
static void search_place(unsigned long at, bool counts, unsigned int stack)
{
	struct sim *s = sim_new(15, 20, stack);

	s->late_phase = SIM_MARKED;
	add_places(s);
	add_chain(s);
	sim_put_late(s, at, OBJECT + 96);
	scan(s);
	assert_int_equal(s->suspects, CHAIN + 1);
	assert_int_equal(s->sought, counts ? 1 : CHAIN + 1);
	assert_int_equal(s->left, s->sought);
	assert_int_equal(s->v.leaks, s->sought);
	check_chain(s, !counts, at == BLOCK(16));
	sim_delete(s);
}

static void test_search(void **state)
{
	unsigned int i, stack;

	for (i = 0; i < ARRAY_SIZE(places); i++)
		for (stack = 1; stack < 30; stack += 7)
			search_place(places[i].at, places[i].counts, stack);
	/* At unaligned addresses in blocks. */
	search_place(BLOCK(11) + 20, true, 4);
	search_place(BIG + 0xffc, true, 4);
}

/* A block that was just allocated is reported at once. */
static void test_young(void **state)
{
	struct sim *s = *state;
	struct kmt_object o;

	sim_alloc(s, LOST, 100);
	scan(s);
	assert_int_equal(s->v.leaks, 1);
	assert_int_equal(s->v.fresh, 1);
	assert_int_equal(s->v.leak_bytes, 100);
	o = sim_object(s, KMT_VIRT, LOST);
	assert_true(o.flags & KMT_NEW);
	assert_int_equal(o.born, s->now);
}

/* A block that is written to, but has no reference, is a leak. */
static void test_changes(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, LOST, 100);
	sim_put_late(s, LOST + 8, 0x1234);
	scan(s);
	assert_true(sim_leak(s, LOST));
}

static void test_ring(void **state)
{
	struct sim *s = *state;
	unsigned int i, direct = 0;

	for (i = 20; i < 25; i++) {
		sim_alloc(s, BLOCK(i), 64);
		sim_put(BLOCK(i) + 8 * (i - 20), BLOCK(i < 24 ? i + 1 : 20));
		sim_put(BLOCK(i) + 56, BLOCK(i));
	}
	scan(s);
	assert_int_equal(s->v.fresh, 5);
	for (i = 20; i < 25; i++)
		direct += !sim_indirect(s, BLOCK(i));
	assert_int_equal(direct, 1);
	/* One reference acquits all blocks of this ring, but not the other ring. */
	for (i = 30; i < 33; i++) {
		sim_alloc(s, BLOCK(i), 64);
		sim_put(BLOCK(i), BLOCK(i < 32 ? i + 1 : 30));
	}
	sim_put_late(s, ROOT(9), BLOCK(22) + 63);
	scan(s);
	assert_int_equal(s->v.leaks, 3);
	assert_int_equal(s->v.fresh, 3);
	for (i = 20; i < 25; i++)
		assert_false(sim_leak(s, BLOCK(i)));
}

static void give_birth(struct sim *s)
{
	s->now++;
	sim_alloc(s, BLOCK(30), 64);
	sim_put(BLOCK(30) + 56, OBJECT);
	/* A block allocated and lost meanwhile is not reported by this scan. */
	sim_alloc(s, BLOCK(31), 64);
}

/* A block that is allocated meanwhile is no suspect, nor are blocks that it refers to. */
static void test_newborn(void **state)
{
	struct sim *s = *state;

	enum sim_phase when;

	for (when = SIM_MARKED; when <= SIM_SUSPECTED; when++) {
		s->late_phase = when;
		add_chain(s);
		s->then = give_birth;
		scan(s);
		assert_int_equal(s->suspects, CHAIN);
		assert_int_equal(s->v.leaks, 0);
		check_chain(s, false, false);
		scan(s);
		assert_int_equal(s->v.fresh, CHAIN + 2);
		check_chain(s, true, true);
		assert_true(sim_leak(s, BLOCK(31)));
		kmt_drop_space(&s->core, KMT_VIRT);
		kmt_drop_space(&s->core, KMT_PERCPU);
	}
}

/* A transient block is spared once, with all blocks that it leads to. */
static void test_transient(void **state)
{
	struct sim *s = *state;

	add_chain(s);
	sim_alloc(s, LOST, 64);
	sim_put(LOST + 8, OBJECT);
	kmt_set_flags(&s->core, KMT_VIRT, LOST, KMT_TRANSIENT);
	scan(s);
	assert_int_equal(s->suspects, CHAIN);
	assert_int_equal(s->v.leaks, 0);
	check_chain(s, false, false);
	assert_false(sim_object(s, KMT_VIRT, LOST).flags & KMT_TRANSIENT);
	scan(s);
	assert_int_equal(s->v.leaks, CHAIN + 1);
	assert_false(sim_indirect(s, LOST));
	assert_true(sim_indirect(s, OBJECT));

	/* A transient block that was reached once is not spared later. */
	sim_put(ROOT(0), LOST);
	kmt_set_flags(&s->core, KMT_VIRT, LOST, KMT_TRANSIENT);
	scan(s);
	assert_int_equal(s->v.leaks, 0);
	sim_put(ROOT(0), 0);
	scan(s);
	assert_int_equal(s->v.fresh, CHAIN + 1);
}

static void free_lost(struct sim *s)
{
	sim_free(s, LOST, 64);
}

static void reuse_lost(struct sim *s)
{
	sim_free(s, LOST, 64);
	sim_alloc(s, LOST, 64);
}

static void cut_lost(struct sim *s)
{
	kmt_free_part(&s->core, KMT_VIRT, LOST + 16, 8, GFP_KERNEL);
}

/* Suspects that are freed, whose addresses are used again, or that are cut. */
static void test_freed(void **state)
{
	struct sim *s = *state;
	enum sim_phase when;

	for (when = SIM_MARKED; when <= SIM_SORTED; when++) {
		s->late_phase = when;
		s->then = free_lost;
		sim_alloc(s, BLOCK(3), 64);
		sim_alloc(s, LOST, 64);
		scan(s);
		assert_int_equal(s->v.leaks, 1);
		assert_true(sim_leak(s, BLOCK(3)));

		s->then = reuse_lost;
		sim_alloc(s, LOST, 64);
		scan(s);
		assert_int_equal(s->v.leaks, 1);
		assert_false(sim_leak(s, LOST));

		s->then = cut_lost;
		scan(s);
		assert_int_equal(s->v.leaks, 3);
		assert_true(sim_leak(s, LOST));
		assert_true(sim_leak(s, LOST + 24));
		sim_free(s, LOST, 16);
		sim_free(s, LOST + 24, 40);
		sim_free(s, BLOCK(3), 64);
	}
}

/* Leaks that are already reported. */
static void test_old_leaks(void **state)
{
	struct sim *s = *state;
	unsigned int i;

	sim_alloc(s, LOST, 64);
	scan(s);
	assert_int_equal(s->v.fresh, 1);
	/* It stays a leak, is not new, and is no reason to stop CPUs. */
	scan(s);
	assert_int_equal(s->suspects, 0);
	assert_int_equal(s->v.leaks, 1);
	assert_int_equal(s->v.fresh, 0);
	assert_false(sim_object(s, KMT_VIRT, LOST).flags & KMT_NEW);
	/* A new leak as well. */
	sim_alloc(s, BLOCK(3), 64);
	scan(s);
	assert_int_equal(s->suspects, 1);
	assert_int_equal(s->v.leaks, 2);
	assert_int_equal(s->v.fresh, 1);
	assert_false(sim_object(s, KMT_VIRT, LOST).flags & KMT_NEW);
	/* Blocks that only the old leak refers to are leaks. */
	for (i = 0; i < 2; i++) {
		sim_alloc(s, BLOCK(4 + i), 64);
		sim_put_late(s, LOST + 8 + 8 * i, BLOCK(4 + i));
		scan(s);
		assert_int_equal(s->v.fresh, 1);
		assert_true(sim_indirect(s, BLOCK(4 + i)));
		assert_false(sim_indirect(s, LOST));
	}
	/* Two leaks are referenced again: the mark finds one, the recheck the other. */
	sim_put(ROOT(1), BLOCK(3));
	scan(s);
	assert_int_equal(s->v.leaks, 3);
	assert_false(sim_leak(s, BLOCK(3)));
	sim_alloc(s, BLOCK(8), 64);
	sim_put_late(s, BLOCK(3) + 8, LOST);
	scan(s);
	assert_int_equal(s->v.leaks, 1);
	assert_true(sim_leak(s, BLOCK(8)));
	/* Lost again, they are new. */
	sim_put(ROOT(1), 0);
	scan(s);
	assert_int_equal(s->v.leaks, 5);
	assert_int_equal(s->v.fresh, 4);
}

static void another_cpu(void)
{
	host_before_lock = NULL;
	sim_free(the_sim, LOST, 64);
	sim_alloc(the_sim, LOST, 64);
}

static void before_next_lock(struct sim *s)
{
	host_before_lock = another_cpu;
}

/* Right before a suspect is read, it is freed and another block is allocated there. */
static void test_reborn(void **state)
{
	struct sim *s = *state;
	enum sim_phase when;

	for (when = SIM_MARKED; when <= SIM_SORTED; when++) {
		sim_alloc(s, LOST, 64);
		s->late_phase = when;
		s->then = before_next_lock;
		scan(s);
		assert_null(host_before_lock);
		assert_int_equal(s->suspects, when != SIM_MARKED);
		assert_int_equal(s->v.leaks, 0);
		assert_false(sim_leak(s, LOST));
		sim_free(s, LOST, 64);
	}
}

/*
 * A block that is outside of the ranges of this mark, and whose CPU read the birth of
 * blocks before the mark began: no reference to it counts, so it must not be a leak.
 */
static void test_beyond(void **state)
{
	static const struct {
		enum kmt_space space;
		unsigned long addr;
	} late[] = {
		{ KMT_VIRT, SIM_VMALLOC + SIM_VMALLOC_LEN - SIM_PAGE },
		{ KMT_PERCPU, SIM_PERCPU_FAR + 64 },
	};
	struct sim *s = *state;
	u64 before, birth;
	unsigned int i;

	sim_alloc(s, LOST, 64);
	sim_alloc(s, SIM_VMALLOC, 64);
	sim_put(ROOT(8), SIM_VMALLOC);
	sim_own(late[0].addr, 64);
	for (i = 0; i < ARRAY_SIZE(late); i++) {
		before = s->core.birth;
		kmt_mark_begin(&s->m);
		birth = s->core.birth;
		s->core.birth = before;
		assert_int_equal(sim_insert(s, late[i].space, late[i].addr, 64, 1), 0);
		s->core.birth = birth;
		sim_put(ROOT(i), late[i].addr);
		sim_mark_roots(s, ROOT(0), ROOT(64));
		kmt_mark_sweep(&s->m);
		assert_true(sim_confirm(s, ROOT(0), ROOT(64)));
		assert_int_equal(s->v.leaks, 1);
		assert_true(sim_leak(s, LOST));
		/* The next mark sees the reference, and that there is none. */
		scan(s);
		assert_int_equal(s->v.leaks, 1);
		sim_put(ROOT(i), 0);
		scan(s);
		assert_int_equal(s->v.leaks, 2);
		assert_true(sim_object(s, late[i].space, late[i].addr).flags & KMT_LEAK);
		assert_true(kmt_free(&s->core, late[i].space, late[i].addr));
	}
}

/*
 * Hulls of the two filters, each of which lets only references to current suspects
 * pass.
 */
static struct kmt_range hulls[2];

static void note_hull(struct sim *s, enum sim_phase phase)
{
	if (phase == SIM_SUSPECTED)
		hulls[0] = s->filter.hull;
	else if (phase == SIM_SORTED)
		hulls[1] = s->filter.hull;
}

static void test_filters(void **state)
{
	struct sim *s = *state;

	s->on_phase = note_hull;
	sim_alloc(s, BLOCK(5) + 0x800, 100);
	scan(s);
	/* With the old leak: a block that is acquitted, and two leaks. */
	sim_alloc(s, BLOCK(4), 100);
	sim_alloc(s, BLOCK(5), 100);
	sim_alloc(s, BLOCK(6), 100);
	sim_alloc(s, BLOCK(7), 100);
	sim_put(ROOT(1), BLOCK(4));
	sim_put_late(s, ROOT(2), BLOCK(7));
	scan(s);
	assert_int_equal(hulls[0].lo, BLOCK(5));
	assert_int_equal(hulls[0].hi, BLOCK(7) + 100);
	assert_int_equal(hulls[1].lo, BLOCK(5));
	assert_int_equal(hulls[1].hi, BLOCK(6) + 100);
	assert_int_equal(s->v.fresh, 2);
	/* Nothing of the last filter is left. */
	sim_free(s, BLOCK(5) + 0x800, 100);
	sim_free(s, BLOCK(5), 100);
	sim_alloc(s, BLOCK(8), 100);
	scan(s);
	assert_int_equal(hulls[0].lo, BLOCK(6));
	assert_int_equal(hulls[0].hi, BLOCK(8) + 100);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_search),
		T(test_young),
		T(test_changes),
		T(test_ring),
		T(test_newborn),
		T(test_transient),
		T(test_freed),
		T(test_old_leaks),
		T(test_reborn),
		T(test_beyond),
		T(test_filters),
	};

	return cmocka_run_group_tests_name("recheck", tests, NULL, NULL);
}
