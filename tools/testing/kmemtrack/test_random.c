// SPDX-License-Identifier: GPL-2.0
/*
 * Random heaps against the oracle. KMT_SEED repeats a run, KMT_ROUNDS sets its
 * length; a heap that fails is repeated by its own seed and KMT_ROUNDS=1.
 */
#include <signal.h>
#include <time.h>

#include "steps.h"

static unsigned long heap_seed;

/* AGREE() gives up with SIGABRT. */
static void tell_seed(int sig)
{
	fprintf(stderr, "this heap: KMT_SEED=%lu KMT_ROUNDS=1\n", heap_seed);
	signal(sig, SIG_DFL);
	raise(sig);
}

static unsigned long from_env(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

static void test_random_heaps(void **state)
{
	unsigned long seed = from_env("KMT_SEED", time(NULL));
	unsigned long rounds = from_env("KMT_ROUNDS", 1000), i;
	unsigned long scans = 0, leaks = 0, indirect = 0, lost = 0, vague = 0;
	unsigned long overflows = 0, snapshots = 0, forgiven = 0, unaligned = 0;
	static struct steps t;

	signal(SIGABRT, tell_seed);
	printf("%lu heaps from KMT_SEED=%lu\n", rounds, seed);
	for (i = 0; i < rounds; i++) {
		unsigned int steps;

		t.src = (struct source){ .state = seed + i };
		heap_seed = seed + i;
		steps_begin(&t);
		steps = 20 + pick(&t.src, 120);
		while (steps--)
			step(&t);
		scans += t.m.scans;
		snapshots += t.m.snapshots;
		forgiven += t.m.forgiven;
		unaligned += t.m.unaligned;
		leaks += t.m.leaks;
		indirect += t.m.indirect;
		vague += t.m.vagues;
		lost += t.m.events[KMT_EV_LOST_NOMEM] +
			t.m.events[KMT_EV_LOST_NOTE];
		overflows += sim_events(t.m.s, KMT_EV_STACK_OVERFLOW);
		steps_end(&t);
	}
	printf("%lu scans (%lu vague), %lu leaks, %lu indirect, %lu lost, %lu overflows\n",
	       scans, vague, leaks, indirect, lost, overflows);
	printf("%lu snapshots, %lu forgave words, %lu bytes\n", snapshots,
	       forgiven, unaligned);
	/* The heaps were worth the trouble. */
	if (rounds >= 1000) {
		assert_true(leaks > scans + snapshots);
		assert_true(snapshots > rounds);
		assert_true(forgiven > snapshots / 10);
		assert_true(unaligned > snapshots / 60);
		assert_true(indirect > scans / 10);
		assert_true(lost > rounds / 20);
		assert_true(overflows > rounds / 30);
		assert_true(vague < (scans + snapshots) / 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_heaps),
	};

	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
