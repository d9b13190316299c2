// SPDX-License-Identifier: GPL-2.0
/*
 * References that move while the marker runs.
 *
 * The marker is stepped piece by piece. At each possible step, the only
 * reference to a block moves from one holder to another, ahead of the marker or
 * behind it. One mark may miss it, but never both marks of a scan. If it moves
 * to a block that was allocated during the mark, even a single mark finds it.
 */
#include "sim.h"

#define OBJECT	BLOCK(1)

struct mover {
	unsigned int step;
	unsigned int steps;
	void (*move)(struct sim *s, struct mover *v);
	unsigned long from;
	unsigned long to;
	bool moved;
};

/* Called between two pieces that the marker reads. */
static bool tick(struct sim *s)
{
	struct mover *v = s->priv;

	if (v->steps++ == v->step) {
		v->move(s, v);
		v->moved = true;
	}
	return false;
}

static void hand_over(struct sim *s, struct mover *v)
{
	sim_put(v->to, sim_get(v->from));
	sim_put(v->from, 0);
}

/* Holders: roots that are read early and late, and blocks all over the pool. */
static const unsigned long holders[] = {
	ROOT(0), ROOT(300), ROOT(600), BLOCK(10), BLOCK(11) + 1000,
	BLOCK(12) + 2040, BLOCK(13), SIM_VMALLOC + 0x1ff8,
};

static struct sim *new_mover(struct mover *v, unsigned int stack)
{
	struct sim *s = sim_new(63, 4, stack);
	unsigned int i;

	sim_alloc_min(s, BLOCK(10), 64, 0);
	sim_alloc(s, BLOCK(12), 2048);
	sim_alloc(s, OBJECT, 128);
	sim_alloc(s, BLOCK(2), 64);
	sim_alloc(s, BLOCK(11), 1024);
	sim_alloc_min(s, BLOCK(13), 64, 0);
	sim_alloc(s, SIM_VMALLOC, 0x2000);
	for (i = 11; i < 13; i++)
		sim_put(ROOT(100 * (i - 10) + 7), BLOCK(i));
	sim_put(BLOCK(11), SIM_VMALLOC);
	sim_put(OBJECT + 120, BLOCK(2));
	s->fine = true;
	s->on_relax = tick;
	s->priv = v;
	return s;
}

static void check_acquitted(struct sim *s)
{
	assert_false(sim_leak(s, OBJECT));
	assert_false(sim_leak(s, BLOCK(2)));
	assert_int_equal(s->v.leaks, 0);
}

/* Moves the reference at @step of a scan; returns false if the scan had fewer steps. */
static bool try_move(unsigned int step, unsigned long from, unsigned long to,
		     unsigned int stack, unsigned int *missed)
{
	struct mover v = {
		.step = step, .move = hand_over, .from = from, .to = to,
	};
	struct sim *s = new_mover(&v, stack);

	sim_put(from, OBJECT + 40);
	sim_mark(s, ROOT(0), ROOT(640));
	kmt_suspect_for_wait(&s->m, &s->v);
	*missed += s->v.suspects;
	kmt_mark_end(&s->m);
	s->now += 1000;
	sim_mark(s, ROOT(0), ROOT(640));
	kmt_mark_doubtful(&s->m, s->now, 0);
	kmt_judge(&s->m, &s->v);
	kmt_mark_end(&s->m);
	check_acquitted(s);
	check_core(s);
	sim_delete(s);
	return v.moved;
}

static void test_one_move(void **state)
{
	unsigned int from, to, step, missed = 0;

	for (from = 0; from < ARRAY_SIZE(holders); from++) {
		for (to = 0; to < ARRAY_SIZE(holders); to++) {
			if (from == to)
				continue;
			step = 0;
			while (try_move(step, holders[from], holders[to],
					1 + step % 3, &missed))
				step++;
			assert_true(step > 20);
		}
	}
	/* The test proves something only if single marks miss references. */
	assert_true(missed > 100);
}

/* A leak is found, whatever references move elsewhere. */
static void test_leak_stays(void **state)
{
	unsigned int step;

	for (step = 0; step < 2000; step++) {
		struct mover v = {
			.step = step, .move = hand_over,
			.from = ROOT(0), .to = BLOCK(13),
		};
		struct sim *s = new_mover(&v, 2);

		sim_put(ROOT(0), BLOCK(2));
		sim_scan(s, ROOT(0), ROOT(640));
		assert_true(sim_leak(s, OBJECT));
		assert_int_equal(s->v.leaks, 1);
		sim_delete(s);
		if (!v.moved)
			break;
	}
	assert_in_range(step, 40, 1999);
}

/*
 * Replaces an xarray node: allocates and fills a new one, sets the root to it, and
 * frees the old one.
 */
static void replace_node(struct sim *s, struct mover *v)
{
	sim_alloc(s, v->to, 576);
	sim_put(v->to + 512, sim_get(v->from + 512));
	sim_put(ROOT(300), v->to);
	sim_free(s, v->from, 576);
}

/* Replaces a node at any step of both marks; each mark reaches the object. */
static void test_node_replaced(void **state)
{
	unsigned int i, k, last = 1000;

	for (i = 0; i < last; i++) {
		for (k = 0; k < last; k++) {
			struct mover v = {
				.step = i, .move = replace_node,
				.from = BLOCK(20), .to = BLOCK(21),
			};
			struct mover w = {
				.step = k, .move = replace_node,
				.from = BLOCK(21), .to = BLOCK(20),
			};
			struct sim *s = new_mover(&v, 1 + i % 3);

			sim_alloc(s, BLOCK(20), 576);
			sim_put(ROOT(300), BLOCK(20));
			sim_put(BLOCK(20) + 512, OBJECT);
			sim_mark(s, ROOT(0), ROOT(640));
			assert_false(sim_white(s, OBJECT));
			kmt_mark_end(&s->m);
			if (v.moved) {
				s->priv = &w;
				sim_mark(s, ROOT(0), ROOT(640));
				assert_false(sim_white(s, OBJECT));
				kmt_mark_end(&s->m);
			}
			check_core(s);
			sim_delete(s);
			if (!v.moved)
				last = min(last, i);
			if (!w.moved)
				break;
		}
	}
	assert_in_range(last, 20, 999);
}

/* The new node is allocated at one step, and filled at a later one. */
struct two_steps {
	struct mover v;
	unsigned int delay;
	bool allocated;
};

static bool tick_two(struct sim *s)
{
	struct two_steps *t = s->priv;

	if (t->v.steps == t->v.step) {
		sim_alloc(s, BLOCK(21), 576);
		t->allocated = true;
	}
	if (t->v.steps == t->v.step + t->delay && t->allocated) {
		sim_put(BLOCK(21) + 512, sim_get(BLOCK(20) + 512));
		sim_put(ROOT(300), BLOCK(21));
		sim_free(s, BLOCK(20), 576);
		t->v.moved = true;
	}
	t->v.steps++;
	return false;
}

static void test_filled_later(void **state)
{
	unsigned int step, delay, last = 1000;

	for (step = 0; step < last; step++) {
		for (delay = 0; delay < 60; delay++) {
			struct two_steps t = {
				.v = { .step = step }, .delay = delay,
			};
			struct sim *s = new_mover(&t.v, 1 + step % 3);

			s->on_relax = tick_two;
			s->priv = &t;
			sim_alloc(s, BLOCK(20), 576);
			sim_put(ROOT(300), BLOCK(20));
			sim_put(BLOCK(20) + 512, OBJECT);
			sim_scan(s, ROOT(0), ROOT(640));
			assert_false(sim_leak(s, OBJECT));
			assert_int_equal(s->v.leaks, 0);
			sim_delete(s);
			if (!t.allocated)
				last = min(last, step);
		}
	}
	assert_in_range(last, 40, 999);
}

struct birth {
	unsigned int at;
	unsigned int reads;
	bool done;
};

/* Before read number @at, the only reference to BLOCK(1) moves into a new block. */
static void give_birth(struct sim *s, unsigned long src, size_t len)
{
	struct birth *b = s->priv;

	if (b->reads++ != b->at || b->done)
		return;
	b->done = true;
	/* Called with the lock of the block that is read, so do it later. */
}

static bool deliver(struct sim *s)
{
	struct birth *b = s->priv;

	if (!b->done || sim_tracked(s, BLOCK(9)))
		return false;
	sim_alloc(s, BLOCK(9), 64);
	sim_put(BLOCK(9) + 56, BLOCK(1));
	sim_put(BLOCK(2), 0);
	sim_put(ROOT(5), BLOCK(9));
	return false;
}

static void test_newborn(void **state)
{
	unsigned int at, moved = 0;

	for (at = 0; at < 12; at++) {
		struct sim *s = sim_new(63, 10, 4);
		struct birth b = { .at = at };

		sim_alloc(s, BLOCK(1), 64);
		sim_alloc(s, BLOCK(2), 64);
		sim_put(ROOT(5), BLOCK(2));
		sim_put(BLOCK(2), BLOCK(1));
		s->fine = true;
		s->priv = &b;
		s->on_read = give_birth;
		s->on_relax = deliver;
		sim_mark(s, ROOT(0), ROOT(640));
		assert_false(sim_white(s, BLOCK(1)));
		if (sim_tracked(s, BLOCK(9))) {
			moved++;
			assert_false(sim_white(s, BLOCK(9)));
		}
		kmt_mark_end(&s->m);
		/* After the mark, the new block is like any other. */
		s->on_read = NULL;
		s->on_relax = NULL;
		if (sim_tracked(s, BLOCK(9))) {
			sim_put(ROOT(5), 0);
			sim_mark(s, ROOT(0), ROOT(640));
			kmt_mark_end(&s->m);
			assert_true(sim_white(s, BLOCK(9)));
		}
		sim_delete(s);
	}
	assert_true(moved > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_move),
		cmocka_unit_test(test_leak_stays),
		cmocka_unit_test(test_node_replaced),
		cmocka_unit_test(test_filled_later),
		cmocka_unit_test(test_newborn),
	};

	return cmocka_run_group_tests_name("moving", tests, NULL, NULL);
}
