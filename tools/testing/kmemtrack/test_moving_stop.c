// SPDX-License-Identifier: GPL-2.0
/*
 * References that move while the marker runs, followed by a snapshot.
 *
 * As in test_moving.c, the only reference to a block moves at each possible
 * step of the mark, and of all that follows except the stop. Such a scan never
 * takes the block for a leak, and always finds the one leak.
 */
#include "sim.h"

/* Not aligned to a page: see SIM_ODD(). */
#define OBJECT	(BLOCK(1) + 128)
#define BEHIND	(BLOCK(2) + 64)
#define LOST	BLOCK(3)
#define LATE	BLOCK(4)

#define NR_ROOTS 640

/* Each test runs once with blocks that are summed up, and once without. */

struct mover {
	unsigned int step;
	unsigned int steps;
	void (*move)(struct sim *s, struct mover *v);
	unsigned long from;
	unsigned long to;
	u64 rng;
	bool moved;
	bool stopped;
};

/* Called between two pieces that are read. */
static bool tick(struct sim *s)
{
	struct mover *v = s->priv;

	if (v->stopped)
		return false;
	if (v->steps++ == v->step) {
		v->move(s, v);
		v->moved = true;
	}
	return false;
}

static void on_phase(struct sim *s, enum sim_phase phase)
{
	struct mover *v = s->priv;

	/* Once more right before the stop. */
	if (phase == SIM_SUSPECTED)
		tick(s);
	v->stopped = phase == SIM_SUSPECTED;
}

/* Holders everywhere: read early and late, with records before and after the block's. */
static const unsigned long holders[] = {
	ROOT(0), ROOT(NR_ROOTS - 1), BLOCK(10) + 8, BLOCK(11) + 1000,
	BLOCK(12) + 2040, SIM_VMALLOC + 0x1ff8,
	SIM_COPIES + 3 * SIM_PERCPU_LEN + 56, SIM_LINEAR + 0x200000 + 0x7f8,
};

static struct sim *new_heap(struct mover *v, unsigned int markers,
			    unsigned int stack)
{
	struct sim *s = sim_new(5, 10, stack);
	unsigned int i;

	s->markers = markers;
	sim_alloc_min(s, BLOCK(10), 64, 0);
	sim_alloc(s, BLOCK(12), 2048);
	sim_alloc(s, LOST, 64);
	sim_alloc(s, OBJECT, 128);
	sim_alloc(s, BEHIND, 64);
	sim_alloc(s, BLOCK(11), 1024);
	sim_alloc(s, SIM_VMALLOC, 0x2000);
	sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1);
	sim_insert(s, KMT_PHYS, SIM_PHYS + 0x200000, 0x800, 0);
	sim_own(SIM_LINEAR + 0x200000, 0x800);
	for (i = 11; i < 13; i++)
		sim_put(ROOT(100 * (i - 10) + 7), BLOCK(i));
	sim_put(BLOCK(11), SIM_VMALLOC);
	sim_put(BLOCK(12), SIM_PERCPU);
	sim_put(OBJECT + 120, BEHIND);
	s->fine = true;
	s->on_relax = tick;
	s->on_phase = on_phase;
	s->priv = v;
	return s;
}

static void scan(struct sim *s)
{
	assert_true(sim_snapshot(s, ROOT(0), ROOT(NR_ROOTS)));
	assert_true(sim_leak(s, LOST));
}

static void check_one_leak(struct sim *s)
{
	assert_int_equal(s->v.leaks, 1);
	assert_int_equal(s->v.fresh, 1);
	assert_false(sim_leak(s, OBJECT));
	assert_false(sim_leak(s, BEHIND));
	check_core(s);
	sim_delete(s);
}

static void hand_over(struct sim *s, struct mover *v)
{
	sim_put(v->to, sim_get(v->from));
	sim_put(v->from, 0);
}

static void test_one_move(void **state)
{
	unsigned int from, to, missed = 0;

	for (from = 0; from < ARRAY_SIZE(holders); from++) {
		for (to = 0; to < ARRAY_SIZE(holders); to++) {
			struct mover v = { .move = hand_over, .moved = true };

			if (from == to)
				continue;
			for (; v.moved; v.step++) {
				struct sim *s = new_heap(&v, 1 + v.step % 4,
							 1 + v.step % 3);

				v.from = holders[from];
				v.to = holders[to];
				v.steps = 0;
				v.moved = false;
				sim_put(v.from, OBJECT + 40);
				scan(s);
				missed += s->suspects > 1;
				assert_int_equal(s->left, 1);
				check_one_leak(s);
			}
			assert_true(v.step > 60);
		}
	}
	/* The test proves something only if marks miss references. */
	assert_true(missed > 100);
}

static unsigned long get_odd(unsigned long at)
{
	unsigned long word;

	memcpy(&word, sim_host(at), sizeof(word));
	return word;
}

static void put_odd(unsigned long at, unsigned long word)
{
	memcpy(sim_host(at), &word, sizeof(word));
}

static void hand_over_odd(struct sim *s, struct mover *v)
{
	put_odd(v->to, get_odd(v->from));
	put_odd(v->from, 0);
}

/*
 * Unaligned references in packed structures move between blocks, which the snapshot
 * reads at one moment.
 */
static void test_odd_move(void **state)
{
	static const unsigned long odd[] = {
		BLOCK(10) + 9, BLOCK(11) + 1001, BLOCK(12) + 2031,
		SIM_VMALLOC + 0x1000 - W / 2,
		SIM_COPIES + 3 * SIM_PERCPU_LEN + 50,
	};
	unsigned int from, to, missed = 0;

	for (from = 0; from < ARRAY_SIZE(odd); from++) {
		for (to = 0; to < ARRAY_SIZE(odd); to++) {
			struct mover v = {
				.move = hand_over_odd, .moved = true,
				.from = odd[from], .to = odd[to],
			};

			for (; v.moved && from != to; v.step++) {
				struct sim *s = new_heap(&v, 1 + v.step % 4,
							 1 + v.step % 3);

				v.steps = 0;
				v.moved = false;
				put_odd(v.from, OBJECT + SIM_ODD(40));
				sim_put(OBJECT + 120, 0);
				put_odd(OBJECT + 113, BEHIND + SIM_ODD(4));
				scan(s);
				missed += s->suspects > 2;
				assert_int_equal(s->left, 1);
				check_one_leak(s);
			}
			assert_true(from == to || v.step > 60);
		}
	}
	assert_true(missed > 100);
}

/* Replaces a node and copies its reference, in one step. */
static void replace_node(struct sim *s, struct mover *v)
{
	sim_alloc(s, v->to, 576);
	sim_put(v->to + 512, sim_get(v->from + 512));
	sim_put(ROOT(300), v->to);
	sim_free(s, v->from, 576);
}

/* The same, but the root refers to the object until the node is filled. */
static void push_down(struct sim *s, struct mover *v)
{
	sim_alloc(s, v->to, 576);
	sim_put(v->to + 512, OBJECT);
	sim_put(ROOT(300), v->to);
	sim_put(v->from + 512, 0);
}

static void test_nodes(void **state)
{
	void (*const moves[])(struct sim *s, struct mover *v) = {
		replace_node, push_down,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(moves); i++) {
		struct mover v = {
			.move = moves[i], .moved = true,
			.from = BLOCK(20), .to = BLOCK(21),
		};

		for (; v.moved; v.step++) {
			struct sim *s = new_heap(&v, 1 + v.step % 4,
						 1 + v.step % 3);

			sim_alloc(s, BLOCK(20), 576);
			sim_put(ROOT(300), BLOCK(20));
			sim_put(BLOCK(20) + 512, OBJECT);
			v.steps = 0;
			v.moved = false;
			scan(s);
			assert_false(sim_leak(s, OBJECT));
			assert_false(sim_leak(s, BEHIND));
			if (v.moved)
				assert_false(sim_leak(s, BLOCK(21)));
			check_core(s);
			sim_delete(s);
		}
		assert_true(v.step > 60);
	}
}

/* Moves the reference at each step. */
static void wander(struct sim *s, struct mover *v)
{
	v->to = holders[sim_random(&v->rng) % ARRAY_SIZE(holders)];
	if (v->to != v->from)
		hand_over(s, v);
	v->from = v->to;
	v->step++;
}

static void test_restless(void **state)
{
	unsigned int seed, missed = 0;

	for (seed = 0; seed < 1500; seed++) {
		struct mover v = {
			.move = wander, .rng = seed, .from = holders[seed % 8],
		};
		struct sim *s = new_heap(&v, 1 + seed % 4, 1 + seed % 3);

		sim_put(v.from, OBJECT);
		scan(s);
		assert_true(v.moved);
		missed += s->suspects > 1;
		check_one_leak(s);
	}
	assert_true(missed > 50);
}

/* Drops the only reference: this scan or the next one finds the leak. */
static void drop(struct sim *s, struct mover *v)
{
	sim_put(v->from, 0);
}

static void test_dropped(void **state)
{
	unsigned int from, at_once, later;

	for (from = 0; from < ARRAY_SIZE(holders); from++) {
		struct mover v = {
			.move = drop, .moved = true, .from = holders[from],
		};

		at_once = 0;
		later = 0;
		for (; v.moved; v.step++) {
			struct sim *s = new_heap(&v, 1 + v.step % 4,
						 1 + v.step % 3);

			sim_put(v.from, OBJECT + 127);
			v.steps = 0;
			v.moved = false;
			scan(s);
			assert_int_equal(sim_leak(s, OBJECT),
					 sim_leak(s, BEHIND));
			at_once += sim_leak(s, OBJECT);
			later += !sim_leak(s, OBJECT);
			assert_int_equal(s->v.leaks,
					 sim_leak(s, OBJECT) ? 3 : 1);
			if (v.moved) {
				scan(s);
				assert_int_equal(s->v.leaks, 3);
				assert_false(sim_indirect(s, OBJECT));
				assert_true(sim_indirect(s, BEHIND));
			}
			sim_delete(s);
		}
		assert_true(at_once && later);
	}
}

/* Allocates a block without a reference, at any step: the next scan finds the leak. */
static void leak_one(struct sim *s, struct mover *v)
{
	sim_alloc(s, BLOCK(30), 100);
	sim_put(BLOCK(30) + 8, OBJECT);
	sim_put(ROOT(5), 0);
}

static void test_born_lost(void **state)
{
	struct mover v = { .move = leak_one, .moved = true };

	for (; v.moved; v.step++) {
		struct sim *s = new_heap(&v, 1 + v.step % 4, 1 + v.step % 3);

		sim_put(ROOT(5), OBJECT);
		v.steps = 0;
		v.moved = false;
		scan(s);
		assert_int_equal(s->v.leaks, 1);
		if (v.moved) {
			scan(s);
			assert_int_equal(s->v.leaks, 4);
			assert_true(sim_indirect(s, OBJECT));
		}
		sim_delete(s);
	}
	assert_true(v.step > 60);
}

/* A CPU has filled in a record before the mark, but inserts it only now. */
static void arrive(struct sim *s, struct mover *v)
{
	s->core.epoch--;
	kmt_set_birth(&s->core, false);
	sim_alloc(s, LATE, 64);
	s->core.epoch++;
	kmt_set_birth(&s->core, true);
	sim_put(v->to, LATE);
}

static void test_late_record(void **state)
{
	unsigned int to;

	for (to = 0; to < ARRAY_SIZE(holders); to++) {
		struct mover v = { .move = arrive, .moved = true };

		for (; v.moved; v.step++) {
			struct sim *s = new_heap(&v, 1 + v.step % 4,
						 1 + v.step % 3);

			v.to = holders[to];
			v.steps = 0;
			v.moved = false;
			sim_put(ROOT(5), OBJECT);
			scan(s);
			if (v.moved) {
				assert_false(sim_leak(s, LATE));
				/* The block is spared by this scan only. */
				sim_put(v.to, 0);
				scan(s);
				assert_true(sim_leak(s, LATE));
				sim_put(v.to, LATE);
				scan(s);
			}
			assert_int_equal(s->v.leaks, 1);
			check_core(s);
			sim_delete(s);
		}
		assert_true(v.step > 60);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_move),
		cmocka_unit_test(test_odd_move),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_restless),
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_born_lost),
		cmocka_unit_test(test_late_record),
	};

	return cmocka_run_group_tests_name("moving with a stop", tests, NULL,
					   NULL);
}
