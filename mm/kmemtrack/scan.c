// SPDX-License-Identifier: GPL-2.0
/*
 * A scan: mark, confirm what looks lost by a snapshot or by waiting, judge.
 */
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/memory_hotplug.h>
#include <linux/sched.h>

#include "pages.h"
#include "policy.h"
#include "scan.h"

/* Marks that have to agree on a suspect after the one that named it. */
#define KMT_CONFIRM_MARKS	2

/* Snapshots that are begun, at most, until one comes to its end. */
#define KMT_SNAPSHOTS		3

/* Searches, at most, as long as they acquit suspects. */
#define KMT_SEARCHES		6

/* Without a snapshot: as many searches that acquit nobody end the searching. */
#define KMT_FRUITLESS		2

/* Least time between two marks, in which a reference on the move arrives. */
#define KMT_SETTLE_MS	20

/* Before all CPUs are asked to stop again, after one of them did not. */
#define KMT_AGAIN_MS	50

static void mark(struct kmt_scan *scan)
{
	const struct kmt_percpu_map *percpu = &scan->roots.percpu;
	long before = kmt_begin_untracked();

	kmt_mark_begin(&scan->m);
	get_online_mems();
	kmt_roots_fill(&scan->m, &scan->roots);
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
		kmt_end_untracked(before,
				  !percpu->sought || percpu->nr_areas ||
				  percpu->whole);
	kmt_mark_sweep(&scan->m);
	scan->out.marks++;
}

static int end_mark(struct kmt_scan *scan, u64 since)
{
	kmt_mark_end(&scan->m);
	scan->out.busy_ns += ktime_get_ns() - since;
	return scan->m.stopped ? -EINTR : 0;
}

/* Looks for references to suspects in roots; the marker has a filter. */
static void read_roots(struct kmt_scan *scan)
{
	get_online_mems();
	kmt_roots_fill(&scan->m, &scan->roots);
	kmt_mark_stacks(&scan->m, &scan->roots);
	kmt_mark_memory(&scan->m, &scan->roots);
	put_online_mems();
}

/* Searches at every address what was not searched so yet, then judges. */
static void judge(struct kmt_scan *scan)
{
	unsigned long before = scan->out.verdict.suspects;

	kmt_progress_phase(KMT_PHASE_JUDGE);
	kmt_sort_out(&scan->m, &scan->filter, &scan->out.verdict);
	if (scan->out.how == KMT_BY_SNAPSHOT)
		scan->out.stopped = before - min(before, scan->out.verdict.suspects);
	if (scan->out.verdict.suspects && kmt_bytes_are_references()) {
		kmt_marker_seek(&scan->m, KMT_LOOK_BYTES, &scan->filter);
		read_roots(scan);
		kmt_recheck_bytes(&scan->m);
		kmt_marker_follow(&scan->m);
	}
	kmt_judge(&scan->m, &scan->out.verdict);
}

/* Looks for references to the suspects, beside everything else. */
static void search_once(struct kmt_scan *scan)
{
	kmt_marker_seek(&scan->m, KMT_LOOK_ALIGNED, &scan->filter);
	read_roots(scan);
	kmt_search(&scan->m);
	kmt_marker_follow(&scan->m);
	scan->out.searches++;
}

static int nap(unsigned int ms)
{
	long left = msecs_to_jiffies(ms);
	u64 since = ktime_get_ns(), now;

	while (left > 0 && !kmt_scan_cancelled()) {
		/* The freezer does not end this sleep: it is a short one. */
		long part = min(left, HZ / 10L);

		left -= part - schedule_timeout_killable(part);
		now = ktime_get_ns();
		kmt_progress_sleep(now - since, jiffies_to_msecs(left), ms);
		since = now;
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
	unsigned long before, first = scan->out.verdict.suspects;
	int left = KMT_SEARCHES, ret = 0;
	u64 since;

	while (scan->out.verdict.suspects && !ret && !scan->m.stopped) {
		before = scan->out.verdict.suspects;
		search_once(scan);
		kmt_sort_out(&scan->m, &scan->filter, &scan->out.verdict);
		if (!scan->out.verdict.suspects || !--left)
			break;
		if (scan->out.verdict.suspects == before) {
			if (!more--)
				break;
			since = ktime_get_ns();
			ret = nap(KMT_SETTLE_MS);
			/* The sleep is not counted as work. */
			scan->out.busy_ns -= ktime_get_ns() - since;
		}
		/* References are counted anew, so that none counts twice. */
		kmt_accuse(&scan->m, &scan->filter, &scan->out.verdict);
	}
	scan->out.searched += first - min(first, scan->out.verdict.suspects);
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
		kmt_accuse(&scan->m, &scan->filter, &scan->out.verdict);
		ret = search(scan, KMT_FRUITLESS);
		if (!ret)
			judge(scan);
	} else {
		kmt_suspect(&scan->m, &scan->out.verdict);
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
						    scan->out.verdict.youngest);
		unsigned int left = age < kmt_tunables.min_age ?
				    kmt_tunables.min_age - age : 0;
		const bool last = i == KMT_CONFIRM_MARKS;

		if (!last)
			left /= 2;
		kmt_progress_phase(last ? KMT_PHASE_WAIT_2 : KMT_PHASE_WAIT);
		ret = nap(max_t(unsigned int, left, KMT_SETTLE_MS));
		if (ret)
			break;
		kmt_progress_phase(last ? KMT_PHASE_CONFIRM_2 :
					  KMT_PHASE_CONFIRM);
		ret = confirm(scan, last);
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

	kmt_progress_phase(KMT_PHASE_STOP);
	for (;;) {
		kmt_accuse(&scan->m, &scan->filter, &scan->out.verdict);
		if (!scan->out.verdict.suspects || scan->m.stopped)
			return KMT_BY_SNAPSHOT;
		how = kmt_snapshot(scan, words);
		if (how != KMT_GIVEN_UP && how != KMT_CPU_BUSY)
			return how;
		if (!--tries || scan->m.stopped ||
		    (how == KMT_GIVEN_UP && scan->out.expected_ns > max / 2))
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
	/* Suspects are confirmed by a snapshot, if there can be one. */
	const bool stops = kmt_tunables.snapshot && kmt_tunables.max_pause;
	unsigned long words = scan->m.stats.words;
	u64 since = ktime_get_ns();
	int ret;

	lockdep_assert_held(&kmt_scan_mutex);
	kmt_progress_begin(&scan->m, !stops);
	scan->roots.exact_later = stops;
	mark(scan);
	words = scan->m.stats.words - words;
	kmt_accuse(&scan->m, &scan->filter, &scan->out.verdict);
	scan->out.suspects = scan->out.verdict.suspects;
	if (scan->out.suspects)
		kmt_progress_phase(KMT_PHASE_SEARCH);
	/* Does not sleep, so cannot fail; m.stopped is looked at later. */
	search(scan, 0);
	if (scan->out.verdict.suspects && kmt_pages_hold(&scan->m, &scan->roots)) {
		kmt_accuse(&scan->m, &scan->filter, &scan->out.verdict);
		search(scan, 0);
	}
	scan->out.how = KMT_BY_SNAPSHOT;
	if (!stops)
		scan->out.how = kmt_tunables.snapshot ? KMT_NEVER_STOP :
						    KMT_BY_WAIT;
	else if (scan->out.verdict.suspects && !scan->m.stopped)
		scan->out.how = take_snapshot(scan, words);
	if (scan->out.how == KMT_BY_SNAPSHOT || !scan->out.verdict.suspects) {
		/* Mostly there is nothing to be judged. */
		if (scan->out.verdict.accused)
			judge(scan);
		return end_mark(scan, since);
	}
	/* The same mark is the first one of those that wait. */
	kmt_suspect(&scan->m, &scan->out.verdict);
	ret = end_mark(scan, since);
	return ret ? ret : confirm_wait(scan);
}
