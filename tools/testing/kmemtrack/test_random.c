// SPDX-License-Identifier: GPL-2.0
/*
 * Random heaps against the oracle. Each run has the same heaps, so that no run
 * fails by chance. KMT_SEED selects other heaps, KMT_ROUNDS their number; to repeat
 * a heap that fails, set its own seed and KMT_ROUNDS=1.
 */
#include <signal.h>

#include "steps.h"

static unsigned long heap_seed;

/* AGREE() fails with SIGABRT. */
static void tell_seed(int sig)
{
	fprintf(stderr, "this heap: KMT_SEED=%lu KMT_ROUNDS=1\n", heap_seed);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Totals over all random heaps of a run. */
struct sums {
	unsigned long scans;
	unsigned long snapshots;
	unsigned long found;
	unsigned long forgiven;
	unsigned long unaligned;
	unsigned long leaks;
	unsigned long indirect;
	unsigned long lost;
	unsigned long overflows;
	unsigned long overlaps;
	unsigned long verdicts, open;
	unsigned long counts, open_counts;
	unsigned long cells, open_cells;
};

static void add_up(struct sums *sums, const struct model *m)
{
	sums->scans += m->scans;
	sums->snapshots += m->snapshots;
	sums->found += m->found;
	sums->forgiven += m->forgiven;
	sums->unaligned += m->unaligned;
	sums->leaks += m->leaks;
	sums->indirect += m->indirect;
	sums->lost += m->events[KMT_EV_LOST_NOMEM] +
		      m->events[KMT_EV_LOST_ANNOTATION];
	sums->overflows += sim_events(m->s, KMT_EV_MARK_STACK_FULL);
	sums->overlaps += m->events[KMT_EV_OVERLAP];
	sums->verdicts += m->verdicts;
	sums->open += m->open;
	sums->counts += m->counts;
	sums->open_counts += m->open_counts;
	sums->cells += m->cells;
	sums->open_cells += m->open_cells;
}

static void show(const struct sums *sums)
{
	printf("%lu scans, %lu leaks, %lu indirect, %lu lost, %lu overflows\n",
	       sums->scans, sums->leaks, sums->indirect, sums->lost,
	       sums->overflows);
	printf("%lu snapshots, %lu forgave words, %lu bytes, %lu searches\n",
	       sums->snapshots, sums->forgiven, sums->unaligned, sums->found);
	printf("%lu blocks made way for others\n", sums->overlaps);
}

/* Prints how many cases the oracle left open; returns false if over one in @most. */
static bool few_open(const char *what, unsigned long open, unsigned long of,
		     unsigned int most)
{
	printf("not decided: %lu of %lu %s, %.2f%%; bound %.2f%%\n", open, of,
	       what, of ? 100.0 * open / of : 0.0, 100.0 / most);
	return open <= of / most;
}

/*
 * The bounds are two to three times the usual numbers: 0.4% of the verdicts, 5.5%
 * of the counts, no cell.
 */
static bool mostly_decided(const struct sums *sums)
{
	bool ok = true;

	ok &= few_open("verdicts", sums->open, sums->verdicts, 100);
	ok &= few_open("counts", sums->open_counts, sums->counts, 8);
	ok &= few_open("requests for a cell", sums->open_cells, sums->cells,
		       1000);
	return ok;
}

static void random_heaps(void)
{
	unsigned long seed = sim_env("KMT_SEED", 1);
	unsigned long rounds = sim_env("KMT_ROUNDS", 1000), i;
	struct sums sums = {};
	static struct steps t;
	bool decided;

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
		add_up(&sums, &t.m);
		steps_end(&t);
	}
	show(&sums);
	decided = mostly_decided(&sums);
	/* Check that the heaps had enough leaks and snapshots. */
	if (rounds >= 1000) {
		assert_true(sums.leaks > sums.scans + sums.snapshots);
		assert_true(sums.snapshots > rounds);
		assert_true(sums.forgiven > sums.snapshots / 10);
		assert_true(sums.unaligned > sums.snapshots / 60);
		assert_true(sums.found > sums.snapshots / 60);
		assert_true(sums.indirect > sums.scans / 10);
		assert_true(sums.lost > rounds / 20);
		assert_true(sums.overflows > rounds / 30);
		assert_true(sums.overlaps > rounds / 10);
		assert_true(decided);
	}
}

static void test_random_heaps(void **state)
{
	random_heaps();
}

#ifdef __LP64__
/* The same with references that have tags. */
static void test_tagged(void **state)
{
	host_tags = true;
	random_heaps();
	host_tags = false;
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_heaps),
#ifdef __LP64__
		cmocka_unit_test(test_tagged),
#endif
	};

	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
