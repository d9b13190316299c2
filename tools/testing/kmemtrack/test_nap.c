// SPDX-License-Identifier: GPL-2.0
/*
 * Stacks of tasks that sleep: what was left on them before a block was born is
 * no reference to it.
 */
#include "sim.h"

#define OBJECT	BLOCK(1)

/* The stack lies in the image, behind the roots. */
#define STACK	(SIM_IMAGE + 0x4000)
#define STACK_END (SIM_IMAGE + 0x6000)
#define LIVE	(SIM_IMAGE + 0x5000)

/* Largest block that is searched for a pointer back. */
#define PEEK	2048ul

static u32 asleep_since;

static void nap(struct sim *s, struct kmt_marker *m)
{
	const struct kmt_range stack = { STACK, STACK_END };

	if (kmt_my_turn(m))
		kmt_mark_nap(m, &stack, LIVE, asleep_since);
}

static int setup(void **state)
{
	struct sim *s;

	sim_setup(state);
	s = *state;
	s->more_roots = nap;
	asleep_since = s->now;
	return 0;
}

static void mark(struct sim *s)
{
	sim_mark(s, ROOT(0), ROOT(8));
	kmt_mark_end(&s->m);
}

/* Whether the mark, and a look while nothing else runs, say the same. */
static bool counts(struct sim *s)
{
	bool white, leak;

	mark(s);
	white = sim_white(s, OBJECT);
	/* So that something is stopped for in any case. */
	sim_alloc(s, BLOCK(200), 64);
	assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
	assert_true(sim_leak(s, BLOCK(200)));
	sim_free(s, BLOCK(200), 64);
	leak = sim_leak(s, OBJECT);
	assert_int_equal(white, leak);
	return !leak;
}

/* The same for a reference that comes late. */
static bool counts_late(struct sim *s, unsigned long at, unsigned long word)
{
	sim_put_late(s, at, word);
	assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
	assert_int_equal(s->accused, 1);
	sim_put(at, 0);
	return !sim_leak(s, OBJECT);
}

static void renew(struct sim *s, unsigned long size)
{
	if (sim_tracked(s, OBJECT))
		sim_free(s, OBJECT, size);
	sim_alloc(s, OBJECT, size);
}

static void test_age(void **state)
{
	static const u32 clocks[] = { 1000, 0, -1, 0x80000000, 0x7fffffff };
	struct sim *s = *state;
	unsigned int i, k;
	int age;

	for (i = 0; i < ARRAY_SIZE(clocks); i++) {
		for (age = -3; age <= 3; age++) {
			asleep_since = clocks[i];
			s->now = clocks[i] - age;
			for (k = 0; k < 3; k++) {
				static const unsigned long at[] = {
					LIVE, LIVE + 0x808, STACK_END - 8,
				};

				renew(s, 64);
				sim_put(at[k], OBJECT + 3);
				assert_int_equal(counts(s), age >= 0);
				sim_put(at[k], 0);
				renew(s, 64);
				assert_int_equal(counts_late(s, at[k], OBJECT),
						 age >= 0);
			}
		}
	}
}

/* Below its stack pointer nothing counts, whatever the block's age. */
static void test_dead_part(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, OBJECT, 64);
	sim_put(LIVE - 8, OBJECT);
	sim_put(STACK, OBJECT);
	sim_put(STACK_END, OBJECT);
	assert_false(counts(s));
	sim_put(LIVE, OBJECT);
	assert_true(counts(s));
}

/* A list head on the stack: the block points back. */
static void test_points_back(void **state)
{
	static const struct {
		unsigned long word;
		bool back;
	} words[] = {
		{ LIVE, true }, { STACK, true }, { STACK_END - 1, true },
		{ LIVE - 8, true }, { STACK_END, false }, { STACK - 1, false },
		{ OBJECT, false }, { 0, false },
	};
	static const unsigned long sizes[] = { 8, 15, 64, 520, PEEK };
	struct sim *s = *state;
	unsigned int i, k;
	unsigned long at;

	s->now = asleep_since + 1;
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		for (k = 0; k < ARRAY_SIZE(sizes); k++) {
			unsigned long step = sizes[k] > 64 ? 248 : 8;

			for (at = 0; at + 8 <= sizes[k]; at += step) {
				sim_alloc(s, OBJECT, sizes[k]);
				sim_put(OBJECT + at, words[i].word);
				sim_put(LIVE + 16, OBJECT + at);
				assert_int_equal(counts(s), words[i].back);
				sim_put(LIVE + 16, 0);
				kmt_clear(&s->core);
				sim_free(s, OBJECT, sizes[k]);
			}
			/* The last word of a large one. */
			sim_alloc(s, OBJECT, sizes[k]);
			at = ALIGN_DOWN(sizes[k], 8) - 8;
			sim_put(OBJECT + at, words[i].word);
			assert_int_equal(counts_late(s, LIVE, OBJECT),
					 words[i].back);
			sim_free(s, OBJECT, sizes[k]);
		}
	}
}

/* Pieces of such a search do not cross pages, nor leave the block. */
static void test_odd_block(void **state)
{
	unsigned long base = SIM_VMALLOC + 0x1000 - 91, size = 300, at;
	struct sim *s = *state;

	s->now = asleep_since + 1;
	for (at = ALIGN(base, 8); at + 8 <= base + size; at += 8) {
		sim_alloc(s, base, size);
		sim_put(ROOT(4), base + 1);
		sim_put(at, LIVE);
		/* Once from the roots, and once more from the stack. */
		sim_put(LIVE, base + 299);
		mark(s);
		assert_int_equal(sim_object(s, KMT_VIRT, base).count, 2);
		sim_put(at, 0);
		mark(s);
		assert_int_equal(sim_object(s, KMT_VIRT, base).count, 1);
		sim_put(ROOT(4), 0);
		sim_free(s, base, size);
	}
}

/* Not searched: too large, gone. These count as if they pointed back. */
static void test_not_searched(void **state)
{
	struct sim *s = *state;

	s->now = asleep_since + 1;
	sim_alloc(s, OBJECT, PEEK);
	sim_put(LIVE, OBJECT);
	assert_false(counts(s));
	sim_free(s, OBJECT, PEEK);
	sim_alloc(s, OBJECT, PEEK + 1);
	assert_true(counts(s));

	sim_alloc(s, SIM_VMALLOC, 64);
	sim_put(LIVE, SIM_VMALLOC);
	mark(s);
	assert_true(sim_white(s, SIM_VMALLOC));
	sim_map(SIM_VMALLOC, SIM_PAGE, false);
	mark(s);
	assert_false(sim_white(s, SIM_VMALLOC));
}

/* The mark leaves it to the snapshot to see which blocks point back. */
static void test_exact_later(void **state)
{
	static const unsigned long sizes[] = { 64, PEEK, PEEK + 1, 0x3018 };
	struct sim *s = *state;
	unsigned int i, back, old;

	s->exact_later = true;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned long last = ALIGN_DOWN(sizes[i], 8) - 8;

		for (back = 0; back < 2; back++) {
			for (old = 0; old < 2; old++) {
				s->now = asleep_since + !old;
				sim_alloc(s, OBJECT, sizes[i]);
				sim_put(LIVE + 24, OBJECT + sizes[i] - 1);
				sim_put(OBJECT + last, back ? LIVE : OBJECT);
				assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
				assert_int_equal(s->accused, !old);
				assert_int_equal(sim_leak(s, OBJECT),
						 !old && !back);
				sim_free(s, OBJECT, sizes[i]);
			}
		}
	}
	/* Without a snapshot it is not left to anybody. */
	assert_false(s->m.exact_later);
	s->now = asleep_since + 1;
	sim_alloc(s, OBJECT, 64);
	sim_put(OBJECT, LIVE);
	sim_put(LIVE + 24, OBJECT);
	mark(s);
	assert_false(sim_white(s, OBJECT));
}

/* A per-CPU pointer is none that can be followed. */
static void no_percpu(struct sim *s, unsigned long src, size_t len)
{
	assert_false(src - SIM_PERCPU < SIM_PERCPU_LEN);
}

/* Per-CPU blocks are no part of lists. */
static void test_percpu(void **state)
{
	struct sim *s = *state;
	struct kmt_object o;

	s->now = asleep_since + 1;
	s->on_read = no_percpu;
	assert_false(sim_insert(s, KMT_PERCPU, SIM_PERCPU, 64, 1));
	sim_put(LIVE, SIM_PERCPU + 63);
	mark(s);
	o = sim_object(s, KMT_PERCPU, SIM_PERCPU);
	assert_int_equal(o.count, 1);
	sim_put(LIVE, 0);
	sim_put_late(s, LIVE + 8, SIM_PERCPU);
	assert_true(sim_snapshot(s, ROOT(0), ROOT(8)));
	assert_int_equal(s->accused, 1);
	assert_int_equal(s->v.leaks, 0);
}

/* Only the stack is a matter of age, not what it refers to. */
static void test_behind(void **state)
{
	struct sim *s = *state;

	sim_alloc(s, BLOCK(2), 64);
	s->now = asleep_since + 1;
	sim_alloc(s, OBJECT, 64);
	sim_put(LIVE, BLOCK(2));
	sim_put(LIVE + 8, OBJECT);
	assert_false(counts(s));
	sim_put(BLOCK(2) + 8, OBJECT);
	assert_true(counts(s));
	sim_put(BLOCK(2) + 8, 0);
	assert_false(counts(s));
	/* Another root. */
	sim_put(ROOT(7), OBJECT);
	assert_true(counts(s));
	/* Two are needed, and what is left over is none. */
	kmt_set_min(&s->core, KMT_VIRT, OBJECT, 2);
	assert_false(counts(s));
	asleep_since = s->now;
	assert_true(counts(s));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_age),
		T(test_dead_part),
		T(test_points_back),
		T(test_odd_block),
		T(test_not_searched),
		T(test_exact_later),
		T(test_percpu),
		T(test_behind),
	};

	return cmocka_run_group_tests_name("nap", tests, NULL, NULL);
}
