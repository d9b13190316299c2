// SPDX-License-Identifier: GPL-2.0
/*
 * A scan: mark, confirm suspects by a snapshot or by waiting, judge.
 */
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/memory_hotplug.h>
#include <linux/sched.h>

#include "pages.h"
#include "policy.h"
#include "scan.h"

/* If the scan waits: further marks that must not reach a suspect. */
#define KMT_CONFIRM_MARKS	2

/* Limit of attempts to take a snapshot. */
#define KMT_SNAPSHOTS		3

/* Limit of searches, while they acquit suspects. */
#define KMT_SEARCHES		6

/* Without a snapshot: how many searches that acquit no suspect are repeated. */
#define KMT_EMPTY_SEARCHES	2

/*
 * Minimum time between two marks, so that a reference that is in a register during one of
 * them is in memory during the next.
 */
#define KMT_SETTLE_MS	20

/* Time between two attempts to stop all CPUs, after one of them did not stop. */
#define KMT_AGAIN_MS	50

static void mark(struct kmt_scan *scan)
{
	const struct kmt_percpu_map *percpu = &scan->roots.percpu;
	long before = kmt_begin_untracked();

	/* Pages may have become bad since the scan, or its last mark, began. */
	kmt_note_poison();
	kmt_mark_begin(&scan->m);
	get_online_mems();
	kmt_roots_fill(&scan->m, &scan->roots);
	/*
	 * Only this thread reads the stacks: while CPUs run, that work is not divided
	 * into units (kmt_take_unit()). But nearly all blocks can be reached from one
	 * stack or another: leave the references on the mark stack, to follow them
	 * with help.
	 */
	scan->m.defer_drain = true;
	kmt_mark_stacks(&scan->m, &scan->roots);
	scan->m.defer_drain = false;
	kmt_mark_parallel(scan);
	put_online_mems();
	if (!scan->m.stopped)
		kmt_end_untracked(before,
				  !percpu->searched || percpu->nr_areas ||
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

/* Searches the roots for references to suspects; the marker has a filter. */
static void read_roots(struct kmt_scan *scan)
{
	kmt_note_poison();
	get_online_mems();
	kmt_roots_fill(&scan->m, &scan->roots);
	kmt_mark_stacks(&scan->m, &scan->roots);
	kmt_mark_memory(&scan->m, &scan->roots);
	put_online_mems();
}

/* Searches for unaligned references where that was not done yet, then judges. */
static void judge(struct kmt_scan *scan)
{
	unsigned long before = scan->out.verdict.suspects;

	kmt_progress_phase(KMT_PHASE_JUDGE);
	kmt_update_suspects(&scan->m, &scan->filter, &scan->out.verdict);
	if (scan->out.how == KMT_CONFIRM_SNAPSHOT)
		scan->out.acquitted_snapshot =
			before - min(before, scan->out.verdict.suspects);
	if (scan->out.verdict.suspects && kmt_bytes_are_references()) {
		kmt_marker_set_search(&scan->m, KMT_MODE_BYTES, &scan->filter);
		read_roots(scan);
		kmt_recheck_bytes(&scan->m);
		kmt_marker_set_follow(&scan->m);
	}
	kmt_judge(&scan->m, &scan->out.verdict);
}

static int nap(unsigned int ms)
{
	long left = msecs_to_jiffies(ms);
	u64 since = ktime_get_ns(), now;

	while (left > 0 && !kmt_scan_cancelled()) {
		/* The freezer does not wake this task, so sleep in short parts. */
		long part = min(left, HZ / 10L);

		left -= part - schedule_timeout_killable(part);
		now = ktime_get_ns();
		kmt_progress_sleep(now - since, jiffies_to_msecs(left), ms);
		since = now;
	}
	return kmt_scan_cancelled() ? -EINTR : 0;
}

/* Sleeps as nap(), between begin and end of a mark, and does not count that as work. */
static int nap_in_mark(struct kmt_scan *scan, unsigned int ms)
{
	u64 since = ktime_get_ns();
	int ret = nap(ms);

	scan->out.busy_ns -= ktime_get_ns() - since;
	return ret;
}

/*
 * Acquits suspects whose references moved during the mark. Repeats the search while it
 * acquits suspects; up to @more searches that acquit none are repeated, too, after a sleep.
 * Afterwards reference counts are those of the last search.
 */
static int search(struct kmt_scan *scan, int more)
{
	unsigned long before, first = scan->out.verdict.suspects;
	int left = KMT_SEARCHES, ret = 0;

	while (scan->out.verdict.suspects && !ret && !scan->m.stopped) {
		before = scan->out.verdict.suspects;
		kmt_marker_set_search(&scan->m, KMT_MODE_ALIGNED, &scan->filter);
		read_roots(scan);
		kmt_search(&scan->m);
		kmt_marker_set_follow(&scan->m);
		scan->out.searches++;
		kmt_update_suspects(&scan->m, &scan->filter, &scan->out.verdict);
		if (!scan->out.verdict.suspects || !--left)
			break;
		if (scan->out.verdict.suspects == before) {
			if (!more--)
				break;
			ret = nap_in_mark(scan, KMT_SETTLE_MS);
		}
		/* Reset reference counts, so that no reference counts twice. */
		kmt_suspect_for_search(&scan->m, &scan->filter, &scan->out.verdict);
	}
	scan->out.acquitted_search += first - min(first, scan->out.verdict.suspects);
	return ret;
}

/* A further mark, which confirms suspects; the last one judges. */
static int confirm(struct kmt_scan *scan, bool last)
{
	u64 since = ktime_get_ns();
	int ret = 0;

	mark(scan);
	kmt_mark_doubtful(&scan->m, jiffies,
			  last ? msecs_to_jiffies(kmt_tunables.min_age) : 0);
	if (last) {
		/* Marks do not see unaligned references, so search for them. */
		kmt_suspect_for_search(&scan->m, &scan->filter, &scan->out.verdict);
		ret = search(scan, KMT_EMPTY_SEARCHES);
		if (!ret)
			judge(scan);
	} else {
		kmt_suspect_for_wait(&scan->m, &scan->out.verdict);
	}
	return end_mark(scan, since) ?: ret;
}

/*
 * confirm=wait: a suspect is a leak if further marks do not reach it either, its contents
 * have not changed, and it is old enough by then.
 */
static int confirm_wait(struct kmt_scan *scan)
{
	int i, ret = 0;

	scan->roots.exact_later = false;
	for (i = 1; i <= KMT_CONFIRM_MARKS && !ret; i++) {
		/* A command may change it meanwhile. */
		const unsigned int min_age = READ_ONCE(kmt_tunables.min_age);
		unsigned int age = jiffies_to_msecs((u32)jiffies -
						    scan->out.verdict.youngest);
		unsigned int left = age < min_age ? min_age - age : 0;
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
 * Takes a snapshot, and repeats it if it was given up though it was expected to be short
 * (it was disturbed, for example by a host that preempted virtual CPUs), or if a CPU did
 * not stop, which may stop later. Suspects to which a failed snapshot found references
 * are acquitted.
 */
static enum kmt_confirmed take_snapshot(struct kmt_scan *scan,
					unsigned long words)
{
	enum kmt_confirmed how;
	int tries = KMT_SNAPSHOTS;

	kmt_progress_phase(KMT_PHASE_STOP);
	for (;;) {
		kmt_suspect_for_search(&scan->m, &scan->filter, &scan->out.verdict);
		if (!scan->out.verdict.suspects || scan->m.stopped)
			return KMT_CONFIRM_SNAPSHOT;
		kmt_note_poison();
		how = kmt_snapshot(scan, words);
		if (how != KMT_CONFIRM_GIVEN_UP && how != KMT_CONFIRM_CPU_BUSY)
			return how;
		if (!--tries || scan->m.stopped ||
		    (how == KMT_CONFIRM_GIVEN_UP &&
		     scan->out.expected_ns > kmt_max_pause() / 2))
			return how;
		if (how == KMT_CONFIRM_CPU_BUSY && nap_in_mark(scan, KMT_AGAIN_MS))
			return how;
	}
}

/**
 * kmt_find_leaks - mark, confirm and judge
 * @scan: scan, prepared
 *
 * A suspect without references in a snapshot is a leak, however young it is. If no
 * snapshot can be taken, suspects are confirmed by waiting.
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: 0; -EINTR if it was given up: see kmt_scan_cancelled(); -ENOMEM if there was no
 * memory for kmt_pages_search().
 */
int kmt_find_leaks(struct kmt_scan *scan)
{
	/* Suspects are confirmed by a snapshot, if there can be one. */
	const bool stops = kmt_tunables.snapshot && kmt_max_pause();
	unsigned long words = scan->m.stats.words;
	u64 since = ktime_get_ns();
	int ret;

	lockdep_assert_held(&kmt_scan_mutex);
	kmt_progress_begin(&scan->m, !stops);
	scan->roots.exact_later = stops;
	mark(scan);
	words = scan->m.stats.words - words;
	kmt_suspect_for_search(&scan->m, &scan->filter, &scan->out.verdict);
	scan->out.suspects = scan->out.verdict.suspects;
	if (scan->out.suspects)
		kmt_progress_phase(KMT_PHASE_SEARCH);
	/* With 0 this does not sleep, so it cannot fail; m.stopped is checked later. */
	search(scan, 0);
	ret = scan->out.verdict.suspects ? kmt_pages_search(&scan->m, &scan->roots) : 0;
	if (ret < 0)
		return end_mark(scan, since) ?: ret;
	if (ret) {
		kmt_suspect_for_search(&scan->m, &scan->filter, &scan->out.verdict);
		search(scan, 0);
	}
	scan->out.how = KMT_CONFIRM_SNAPSHOT;
	if (!stops)
		scan->out.how = kmt_tunables.snapshot ? KMT_CONFIRM_NEVER_STOP :
							KMT_CONFIRM_WAIT;
	else if (scan->out.verdict.suspects && !scan->m.stopped)
		scan->out.how = take_snapshot(scan, words);
	if (scan->out.how == KMT_CONFIRM_SNAPSHOT || !scan->out.verdict.suspects) {
		/* Mostly there are no suspects or leaks to judge. */
		if (scan->out.verdict.all_suspects)
			judge(scan);
		return end_mark(scan, since);
	}
	/* This mark is the first of those with confirm=wait. */
	kmt_suspect_for_wait(&scan->m, &scan->out.verdict);
	ret = end_mark(scan, since);
	return ret ? ret : confirm_wait(scan);
}
