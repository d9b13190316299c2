// SPDX-License-Identifier: GPL-2.0
/*
 * A look at all memory at one moment.
 *
 * All CPUs are stopped; every task is switched out, so that its registers are
 * on its stack or in its task_struct, but the stoppers, which hold nothing.
 * The CPUs share the work: first they note which pages are no roots, then they
 * read roots and reached blocks for references to the suspects.
 *
 * Nothing in here sleeps, allocates, prints, or waits for a lock that somebody
 * who was stopped may hold. It comes to an end in time, with a result or
 * without.
 */
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>
#include <asm/sections.h>

#include "scan.h"

/* A marker and its mark stack, for each CPU. */
#define KMT_HELPER_ORDER	get_order(SZ_16K)

/* See expect(). */
#define KMT_BLOCK_WORDS		40
#define KMT_PAGE_WORDS		6

/**
 * struct kmt_stop - a snapshot being taken
 * @scan: the scan it is for
 * @helpers: a marker for each CPU; NULL for those that are not there
 * @fill_turns: units of filling the map of pages that were taken
 * @turns: units of looking for references that were taken
 * @filling: CPUs that did not fill their part yet
 * @looking: CPUs that did not look at their part yet
 * @since: nanoseconds when the first CPU began
 * @until: when the last one ended
 * @done: all of it was looked at
 */
struct kmt_stop {
	struct kmt_scan *scan;
	struct kmt_marker **helpers;
	atomic_long_t fill_turns;
	atomic_long_t turns;
	atomic_t filling;
	atomic_t looking;
	atomic64_t since;
	u64 until;
	bool done;
};

/* The last CPU, all others are through: what is left over, and the result. */
static void finish(struct kmt_stop *stop, struct kmt_marker *m)
{
	struct kmt_scan *scan = stop->scan;
	bool overflow = false, stopped = false;
	int cpu;

	for_each_online_cpu(cpu) {
		overflow |= stop->helpers[cpu]->overflow;
		stopped |= stop->helpers[cpu]->stopped;
	}
	if (overflow && !stopped) {
		kmt_recheck_rest(m);
		stopped = m->stopped;
	}
	for_each_online_cpu(cpu) {
		scan->m.words += stop->helpers[cpu]->words;
		scan->m.hits += stop->helpers[cpu]->hits;
	}
	stop->done = !stopped;
	stop->until = ktime_get_mono_fast_ns();
}

static void await_others(atomic_t *busy)
{
	atomic_dec(busy);
	/* Pairs with that of the others: their part is to be seen. */
	while (atomic_read_acquire(busy))
		cpu_relax();
}

/* On each CPU, at the same time, interrupts off. */
static int look(void *arg)
{
	struct kmt_stop *stop = arg;
	struct kmt_roots *roots = &stop->scan->roots;
	struct kmt_marker *m = stop->helpers[smp_processor_id()];
	u64 now = ktime_get_mono_fast_ns();

	atomic64_cmpxchg(&stop->since, 0, now);
	m->deadline = now + kmt_tunables.max_pause * (u64)NSEC_PER_USEC;

	kmt_take_turns(m, &stop->fill_turns);
	kmt_page_map_fill(m, roots);
	await_others(&stop->filling);

	kmt_take_turns(m, &stop->turns);
	kmt_mark_stacks(m, roots);
	kmt_mark_memory(m, roots);
	kmt_recheck(m);
	if (atomic_dec_and_test(&stop->looking))
		finish(stop, m);
	return 0;
}

/* Nanoseconds that it takes to sum up so many words now, at a guess from few. */
static u64 time_to_sum(unsigned long words)
{
	/* Each is read for the first time, as most of memory will be. */
	const unsigned int nr = SZ_16K / sizeof(long), rounds = 8;
	const unsigned long *from = (unsigned long *)_text;
	u64 sum = 0, worst = 0;
	unsigned int i;

	for (i = 0; i < rounds; i++, from += nr) {
		u64 t;

		preempt_disable();
		t = ktime_get_mono_fast_ns();
		kmt_sum(from, nr, 0);
		t = ktime_get_mono_fast_ns() - t;
		preempt_enable();
		worst = max(worst, t);
		sum += t;
	}
	/* The worst one was interrupted, most likely. */
	return mul_u64_u64_div_u64(sum - worst, words, nr * (rounds - 1));
}

/*
 * How long will all stand still? A block costs as much as KMT_BLOCK_WORDS,
 * apart from what is in it, and a page as much as KMT_PAGE_WORDS. What changes
 * takes several times as long, but that is little.
 */
static u64 expect(unsigned long words)
{
	words += words / 4;
	words += KMT_BLOCK_WORDS * READ_ONCE(kmt_core.pool.cells);
	words += KMT_PAGE_WORDS * totalram_pages();
	return div_u64(time_to_sum(words), num_online_cpus());
}

static void free_helpers(struct kmt_marker **helpers)
{
	int cpu;

	for_each_possible_cpu(cpu)
		kmt_own_free(helpers[cpu], KMT_HELPER_ORDER);
	kmt_own_free(helpers, get_order(nr_cpu_ids * sizeof(*helpers)));
}

static struct kmt_marker *alloc_helper(struct kmt_scan *scan)
{
	struct kmt_marker *m;
	struct kmt_grey *stack;
	unsigned long end;

	m = kmt_own_alloc(GFP_KERNEL | __GFP_NORETRY, KMT_HELPER_ORDER);
	if (!m)
		return NULL;
	end = (unsigned long)m + (PAGE_SIZE << KMT_HELPER_ORDER);
	stack = PTR_ALIGN((struct kmt_grey *)(m + 1), sizeof(*stack));
	kmt_marker_help(m, &scan->m, &scan->filter, stack,
			(end - (unsigned long)stack) / sizeof(*stack));
	m->sums = scan->m.sums;
	return m;
}

static struct kmt_marker **alloc_helpers(struct kmt_scan *scan)
{
	struct kmt_marker **helpers;
	int cpu;

	helpers = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO,
				get_order(nr_cpu_ids * sizeof(*helpers)));
	if (!helpers)
		return NULL;
	for_each_online_cpu(cpu) {
		helpers[cpu] = alloc_helper(scan);
		if (!helpers[cpu]) {
			free_helpers(helpers);
			return NULL;
		}
	}
	return helpers;
}

static bool stop_and_look(struct kmt_scan *scan, struct kmt_marker **helpers)
{
	const bool slots = READ_ONCE(kmt_sweep_untracked);
	struct kmt_stop stop = {
		.scan = scan,
		.helpers = helpers,
		.filling = ATOMIC_INIT(num_online_cpus()),
		.looking = ATOMIC_INIT(num_online_cpus()),
	};

	kmt_page_map_clear(&scan->roots.map);
	get_online_mems();
	if (slots)
		kmt_lock_slots();
	stop_machine_cpuslocked(look, &stop, cpu_online_mask);
	if (slots)
		kmt_unlock_slots();
	put_online_mems();
	scan->pause = max(scan->pause,
			  stop.until - (u64)atomic64_read(&stop.since));
	return stop.done;
}

/**
 * kmt_snapshot - look for references to the suspects while nothing else runs
 * @scan: after kmt_accuse()
 * @words: what its mark read
 *
 * Context: may sleep; afterwards all CPUs are held, for kmt_tunables.max_pause
 * at most.
 * Return: KMT_BY_SNAPSHOT if the counts of suspects are exact now, or why they
 * are not.
 */
enum kmt_confirmed kmt_snapshot(struct kmt_scan *scan, unsigned long words)
{
	struct kmt_marker **helpers;
	enum kmt_confirmed how = KMT_NO_MEMORY;

	cpus_read_lock();
	scan->expected = expect(words);
	if (scan->expected > kmt_tunables.max_pause * (u64)NSEC_PER_USEC) {
		how = KMT_TOO_LONG;
		goto out;
	}
	helpers = alloc_helpers(scan);
	if (!helpers)
		goto out;
	how = stop_and_look(scan, helpers) ? KMT_BY_SNAPSHOT : KMT_GIVEN_UP;
	free_helpers(helpers);
out:
	cpus_read_unlock();
	return how;
}
