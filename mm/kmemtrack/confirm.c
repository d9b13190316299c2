// SPDX-License-Identifier: GPL-2.0
/*
 * From a mark to a verdict: confirmation by a snapshot, or by waiting.
 */
#include <linux/ktime.h>
#include <linux/memory_hotplug.h>
#include <linux/sched/signal.h>

#include "policy.h"
#include "scan.h"

/* Marks that have to agree on a suspect after the one that named it. */
#define KMT_CONFIRM_MARKS	2

/* Snapshots that are begun, at most, until one comes to its end. */
#define KMT_SNAPSHOTS		3

/* Searches, at most, as long as they acquit suspects. */
#define KMT_SEARCHES		6

/* Where no snapshot follows: searches that acquit none before it is believed. */
#define KMT_FRUITLESS		2

/* Between two marks, at least: time for a reference on the move to arrive. */
#define KMT_SETTLE_MS	20

/* Before all CPUs are asked to stop again, after one of them did not. */
#define KMT_AGAIN_MS	50

static void fill_map(struct kmt_scan *scan)
{
	kmt_percpu_map_fill(&scan->roots.percpu);
	kmt_page_map_fill(&scan->m, &scan->roots);
}

static void mark(struct kmt_scan *scan)
{
	const struct kmt_percpu_map *percpu = &scan->roots.percpu;
	long before = kmt_begin_untracked();

	kmt_mark_begin(&scan->m);
	get_online_mems();
	fill_map(scan);
	/*
	 * Before others come to help: their stacks are no roots. But nearly all
	 * that there is follows from one stack or another: that is for them.
	 */
	scan->m.later = true;
	kmt_mark_stacks(&scan->m, &scan->roots);
	scan->m.later = false;
	kmt_mark_with_help(scan);
	put_online_mems();
	if (!scan->m.stopped)
		kmt_end_untracked(before, percpu->nr_areas || percpu->whole);
	kmt_mark_sweep(&scan->m);
	scan->marks++;
}

static int end_mark(struct kmt_scan *scan, u64 since)
{
	kmt_mark_end(&scan->m);
	scan->busy += ktime_get_ns() - since;
	return scan->m.stopped ? -EINTR : 0;
}

/* Looks for references to suspects in roots; the marker has a filter. */
static void read_roots(struct kmt_scan *scan)
{
	get_online_mems();
	fill_map(scan);
	kmt_mark_stacks(&scan->m, &scan->roots);
	kmt_mark_memory(&scan->m, &scan->roots);
	put_online_mems();
}

/* Who has no reference in what was not searched at every address yet? */
static void judge(struct kmt_scan *scan)
{
	unsigned long before = scan->verdict.suspects;

	kmt_sort_out(&scan->m, &scan->filter, &scan->verdict);
	if (scan->how == KMT_BY_SNAPSHOT)
		scan->stopped = before - min(before, scan->verdict.suspects);
	if (scan->verdict.suspects && kmt_bytes_are_references()) {
		scan->m.filter = &scan->filter;
		scan->m.bytes = true;
		read_roots(scan);
		kmt_recheck_bytes(&scan->m);
		scan->m.filter = NULL;
		scan->m.bytes = false;
	}
	kmt_judge(&scan->m, &scan->verdict);
}

/* Looks for references to the suspects, beside everything else. */
static void search_once(struct kmt_scan *scan)
{
	scan->m.filter = &scan->filter;
	scan->m.sums = true;
	read_roots(scan);
	kmt_search(&scan->m);
	scan->m.filter = NULL;
	scan->searches++;
}

static int nap(unsigned int ms)
{
	long left = msecs_to_jiffies(ms);

	while (left > 0 && !kmt_scan_cancelled()) {
		/* The freezer does not end this sleep: it is a short one. */
		long part = min(left, HZ / 4L);

		left -= part - schedule_timeout_killable(part);
	}
	return kmt_scan_cancelled() ? -EINTR : 0;
}

/*
 * Acquits suspects whose references were on the move, and are found now. As long
 * as that succeeds, and @more times after that, it is tried again. Afterwards
 * references are counted as the last search has found them.
 */
static int search(struct kmt_scan *scan, int more)
{
	unsigned long before, first = scan->verdict.suspects;
	int left = KMT_SEARCHES, ret = 0;
	u64 since;

	while (scan->verdict.suspects && !ret && !scan->m.stopped) {
		before = scan->verdict.suspects;
		search_once(scan);
		kmt_sort_out(&scan->m, &scan->filter, &scan->verdict);
		if (!scan->verdict.suspects || !--left)
			break;
		if (scan->verdict.suspects == before) {
			if (!more--)
				break;
			since = ktime_get_ns();
			ret = nap(KMT_SETTLE_MS);
			/* Not a time of work. */
			scan->busy -= ktime_get_ns() - since;
		}
		/* They are counted anew: none is to count twice. */
		kmt_accuse(&scan->m, &scan->filter, &scan->verdict);
	}
	scan->searched += first - min(first, scan->verdict.suspects);
	return ret;
}

/* A mark after the first one; the last one decides. */
static int confirm(struct kmt_scan *scan, bool last)
{
	u64 since = ktime_get_ns();
	int ret = 0;

	mark(scan);
	kmt_revive(&scan->m, jiffies,
		   last ? msecs_to_jiffies(kmt_tunables.min_age) : 0);
	if (last) {
		/* References that are not aligned no mark has seen yet. */
		kmt_accuse(&scan->m, &scan->filter, &scan->verdict);
		ret = search(scan, KMT_FRUITLESS);
		if (!ret)
			judge(scan);
		scan->m.sums = false;
	} else {
		kmt_suspect(&scan->m, &scan->verdict);
	}
	return end_mark(scan, since) ?: ret;
}

/*
 * Confirmation `wait`: a suspect is a leak if further marks find it without
 * references too, its contents unchanged, and it is old enough then.
 */
static int confirm_wait(struct kmt_scan *scan)
{
	int i, ret = 0;

	scan->roots.exact_later = false;
	for (i = 1; i <= KMT_CONFIRM_MARKS && !ret; i++) {
		unsigned int age = jiffies_to_msecs((u32)jiffies -
						    scan->verdict.youngest);
		unsigned int left = age < kmt_tunables.min_age ?
				    kmt_tunables.min_age - age : 0;

		if (i < KMT_CONFIRM_MARKS)
			left /= 2;
		ret = nap(max_t(unsigned int, left, KMT_SETTLE_MS));
		if (!ret)
			ret = confirm(scan, i == KMT_CONFIRM_MARKS);
	}
	return ret;
}

/*
 * A snapshot that takes far longer than it should was disturbed, by the host
 * of a guest, say, and a CPU that did not stop may be free some time later:
 * another one may be luckier. What the first one found to be referenced is no
 * suspect any more.
 */
static enum kmt_confirmed take_snapshot(struct kmt_scan *scan,
					unsigned long words)
{
	const u64 max = kmt_tunables.max_pause * (u64)NSEC_PER_USEC;
	enum kmt_confirmed how;
	int tries = KMT_SNAPSHOTS;

	for (;;) {
		kmt_accuse(&scan->m, &scan->filter, &scan->verdict);
		if (!scan->verdict.suspects || scan->m.stopped)
			return KMT_BY_SNAPSHOT;
		how = kmt_snapshot(scan, words);
		if (how != KMT_GIVEN_UP && how != KMT_CPU_BUSY)
			return how;
		if (!--tries || scan->m.stopped ||
		    (how == KMT_GIVEN_UP && scan->expected > max / 2))
			return how;
		if (how == KMT_CPU_BUSY && nap(KMT_AGAIN_MS))
			return how;
	}
}

/**
 * kmt_find_leaks - mark, confirm and judge
 * @scan: scan, prepared
 *
 * What nothing refers to at one moment, in which nothing else runs, is a leak,
 * however young. Where there may be no such moment suspects are confirmed by
 * waiting.
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: 0; -EINTR if it was given up: see kmt_scan_cancelled().
 */
int kmt_find_leaks(struct kmt_scan *scan)
{
	const bool may_stop = kmt_tunables.snapshot && kmt_tunables.max_pause;
	unsigned long words = scan->m.words;
	u64 since = ktime_get_ns();
	int ret;

	lockdep_assert_held(&kmt_scan_mutex);
	scan->roots.exact_later = may_stop;
	mark(scan);
	words = scan->m.words - words;
	kmt_accuse(&scan->m, &scan->filter, &scan->verdict);
	scan->suspects = scan->verdict.suspects;
	search(scan, 0);
	scan->how = KMT_BY_SNAPSHOT;
	if (!may_stop)
		scan->how = kmt_tunables.snapshot ? KMT_NEVER_STOP :
						    KMT_BY_WAIT;
	else if (scan->verdict.suspects && !scan->m.stopped)
		scan->how = take_snapshot(scan, words);
	if (scan->how == KMT_BY_SNAPSHOT || !scan->verdict.suspects) {
		/* Mostly there is nothing to be judged. */
		if (scan->verdict.accused)
			judge(scan);
		return end_mark(scan, since);
	}
	scan->m.sums = false;
	/* The same mark is the first one of those that wait. */
	kmt_suspect(&scan->m, &scan->verdict);
	ret = end_mark(scan, since);
	return ret ? ret : confirm_wait(scan);
}
