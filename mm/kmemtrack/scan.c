// SPDX-License-Identifier: GPL-2.0
/*
 * A scan: mark, confirm what looks lost, judge. On request and regularly.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/delay.h>
#include <linux/freezer.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/panic.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>

#include "pages.h"
#include "policy.h"
#include "report.h"
#include "scan.h"

/* Memory of a scan: the marker and as much mark stack as fits behind it. */
#define KMT_SCAN_ORDER	get_order(SZ_256K)

#define KMT_SEEN_ORDER	get_order(sizeof(long) << KMT_SEEN_SHIFT)

/* Bytes of the filter, for pages. */
#define KMT_FILTER_ORDER	get_order(KMT_FILTER_PAGES)

/* Seconds from boot to the first regular scan. */
#define FIRST_SCAN	60L

/* Allocates 2^@order pages, or as many as there are; @order is set to that. */
static void *alloc_most(gfp_t gfp, unsigned int *order)
{
	void *mem;

	while (!(mem = kmt_own_alloc(gfp, *order)) && *order)
		--*order;
	return mem;
}

static struct kmt_scan *alloc_scan(unsigned int *order)
{
	struct kmt_scan *scan;
	struct kmt_mark_entry *stack;
	unsigned long *seen_cache;
	u32 max;

	*order = KMT_SCAN_ORDER;
	scan = alloc_most(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY, order);
	if (!scan)
		return NULL;
	stack = PTR_ALIGN((struct kmt_mark_entry *)(scan + 1), sizeof(*stack));
	max = ((unsigned long)scan + (PAGE_SIZE << *order) -
	       (unsigned long)stack) / sizeof(*stack);
	/* Without it each reference is looked up. */
	seen_cache = kmt_own_alloc(GFP_KERNEL | __GFP_NORETRY, KMT_SEEN_ORDER);
	kmt_marker_init(&scan->m, &kmt_core, stack, max, seen_cache);
	return scan;
}

/* Without them more words are looked up, which takes longer. */
static void alloc_filter(struct kmt_filter *f)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_NORETRY;
	unsigned int order = min(get_order(kmt_filter_bytes(&kmt_core)),
				 MAX_PAGE_ORDER);

	f->odd = kmt_bytes_are_references();
	f->bits = alloc_most(gfp, &order);
	f->mask = f->bits ? (BITS_PER_BYTE * PAGE_SIZE << order) - 1 : 0;
	f->pages = kmt_own_alloc(gfp, KMT_FILTER_ORDER);
}

static void free_filter(struct kmt_filter *f)
{
	kmt_own_free(f->pages, KMT_FILTER_ORDER);
	kmt_own_free(f->bits, get_order((f->mask + 1) / BITS_PER_BYTE));
}

/* What was found is in the log, and so in what a crash leaves behind. */
static void log_leaks(const struct kmt_verdict *found)
{
	unsigned int limit = READ_ONCE(kmt_tunables.panic_on_leak);
	unsigned long suppressed, shown = kmt_new_shown(found->fresh, &suppressed);
	bool fatal = limit && shown >= limit;

	if (shown)
		kmt_log_found(shown, found->leaks);
	if (suppressed)
		pr_info("%lu new leaks are suppressed\n", suppressed);
	if (shown && (kmt_tunables.verbose || fatal)) {
		kmt_log_new();
		/* Last, where a log that is cut off at its beginning has them. */
		kmt_log_sites();
	}
	if (fatal)
		panic("kmemtrack: %lu new leaks\n", shown);
}

static void conclude(struct kmt_scan *scan, u64 since)
{
	struct kmt_last_scan *last = &kmt_last_scan;

	kmt_progress_phase(KMT_PHASE_JUDGE);
	if (scan->verdict.leaks) {
		kmt_classify(&scan->m, scan->verdict.leaks, jiffies);
		kmt_report_refresh();
	} else {
		/* Nothing to count: readers need not find a report. */
		kmt_keep_ranks(&kmt_core, NULL, 0);
		kmt_report_drop();
	}
	last->made = true;
	last->nr++;
	kmt_sites_scanned();
	last->ms = div_u64(ktime_get_ns() - since, NSEC_PER_MSEC);
	last->busy_ms = div_u64(scan->busy, NSEC_PER_MSEC);
	last->marks = scan->marks;
	last->words = scan->m.stats.words;
	last->suspects = scan->suspects;
	last->searches = scan->searches;
	last->searched = scan->searched;
	last->stopped = scan->stopped;
	last->how = scan->how;
	last->busy_cpu = scan->busy_cpu;
	last->pause_ns = scan->pause;
	last->expected_ns = scan->expected;
	last->objects = kmt_used_cells() - kmt_nr_aux(&kmt_core);
	last->verdict = scan->verdict;
	if (scan->verdict.fresh)
		log_leaks(&scan->verdict);
}

static void free_scan(struct kmt_scan *scan, unsigned int order)
{
	kmt_own_free(scan->m.seen_cache, KMT_SEEN_ORDER);
	kmt_own_free(scan, order);
}

/* Suspects are confirmed by a snapshot, if there can be one. */
static bool may_stop(void)
{
	return kmt_tunables.snapshot && kmt_tunables.max_pause;
}

static int scan_locked(unsigned long frame)
{
	u64 since = ktime_get_ns();
	struct kmt_scan *scan;
	unsigned int order;
	int ret;

	if (!kmt_tracking())
		return -EPERM;
	kmt_report_drop();
	scan = alloc_scan(&order);
	if (!scan)
		return -ENOMEM;
	alloc_filter(&scan->filter);
	if (kmt_tunables.pages)
		kmt_page_map_alloc(&scan->roots.map);
	kmt_spare_poisoned();
	kmt_kfence_begin(&scan->roots.kfence);
	scan->roots.scanner = current;
	scan->roots.frame = frame;
	kmt_trace_start();
	kmt_pages_sort(&scan->m, &scan->roots, true);
	kmt_progress_begin(&scan->m, !may_stop());
	ret = kmt_find_leaks(scan);
	if (!ret)
		conclude(scan, since);
	kmt_progress_end(!ret);
	kmt_trace_end(scan, ret, ktime_get_ns() - since);
	kmt_percpu_map_free(&scan->roots.percpu);
	kmt_page_map_free(&scan->roots.map);
	free_filter(&scan->filter);
	free_scan(scan, order);
	if (!ret)
		kmt_memory_scanned();
	return ret;
}

/**
 * kmt_restart_frozen - what a system call returns that a scan belongs to
 * @ret: what it would return
 *
 * The signal that the freezer sends stays pending until the task is thawed.
 *
 * Context: the task of the system call.
 * Return: -ERESTARTNOINTR for an -EINTR that the freezer brought about: the call
 * starts again when the task is thawed; else @ret.
 */
int kmt_restart_frozen(int ret)
{
	return ret == -EINTR && signal_pending(current) &&
	       !fatal_signal_pending(current) ? -ERESTARTNOINTR : ret;
}

/**
 * kmt_scan - find leaks
 *
 * Returns when the answer is there; a second one waits for its turn.
 *
 * Context: may sleep for the time of some marks, and for kmt_tunables.min_age
 * if that is what confirms suspects.
 * Return: 0; -EINTR if the task is killed, or is a kernel thread that is frozen
 * or stopped; -ERESTARTNOINTR if it is a user task that is frozen: the system
 * call starts again when it is thawed; -EPERM while nothing is tracked; -ENOMEM.
 */
noinline int kmt_scan(void)
{
	int ret;

	ret = mutex_lock_killable(&kmt_scan_mutex);
	if (ret)
		return -EINTR;
	ret = scan_locked((unsigned long)__builtin_frame_address(0));
	mutex_unlock(&kmt_scan_mutex);
	return kmt_restart_frozen(ret);
}

static struct task_struct *scan_thread;

/* The last period that was not 0: "scan=on" goes back to it. */
static unsigned int usual_period = CONFIG_KMEMTRACK_SCAN_PERIOD ?: 600;

/* The period was set: it begins anew. */
static bool period_set;

static long period_left(void)
{
	unsigned long period = READ_ONCE(kmt_tunables.scan_period);

	return period ? period * HZ : MAX_SCHEDULE_TIMEOUT;
}

/* @left: jiffies until the next scan; returns how many there are to go. */
static long wait_for_scan(long left)
{
	set_current_state(TASK_INTERRUPTIBLE);
	if (!kthread_should_stop() && !READ_ONCE(period_set))
		left = schedule_timeout(left);
	__set_current_state(TASK_RUNNING);
	try_to_freeze();
	return xchg(&period_set, false) ? period_left() : left;
}

/* What only memory of the boot refers to, which is no root, is not lost yet. */
static bool has_booted(void)
{
	return system_state >= SYSTEM_RUNNING;
}

static int scan_loop(void *unused)
{
	long left = MAX_SCHEDULE_TIMEOUT;

	set_user_nice(current, 10);
	set_freezable();
	if (kmt_tunables.scan_period)
		left = FIRST_SCAN * HZ;
	while (!kthread_should_stop()) {
		left = wait_for_scan(left);
		if (left)
			continue;
		if (!has_booted())
			left = HZ / 10;
		else if (kmt_scan() != -EINTR)
			left = period_left();
	}
	return 0;
}

/**
 * kmt_scan_every - scan regularly
 * @seconds: the time from now to the next scan, and between scans; 0 not to scan
 *
 * Before the scan thread is there, this decides only whether it scans after
 * FIRST_SCAN seconds.
 *
 * Context: any task.
 */
void kmt_scan_every(unsigned int seconds)
{
	WRITE_ONCE(kmt_tunables.scan_period, seconds);
	if (seconds)
		WRITE_ONCE(usual_period, seconds);
	if (!scan_thread)
		return;
	WRITE_ONCE(period_set, true);
	wake_up_process(scan_thread);
}

/**
 * kmt_scan_regularly - scan regularly, with the period that there was last
 *
 * Does nothing if that is so already.
 *
 * Context: any task.
 */
void kmt_scan_regularly(void)
{
	if (!READ_ONCE(kmt_tunables.scan_period))
		kmt_scan_every(READ_ONCE(usual_period));
}

static void limit_ages(struct work_struct *work);
static DECLARE_DEFERRABLE_WORK(age_work, limit_ages);

/* In some days of jiffies, and again. */
static void limit_ages_later(void)
{
	queue_delayed_work(kmt_unbound_wq, &age_work, KMT_AGE_MAX / 2);
}

static void limit_ages(struct work_struct *work)
{
	struct kmt_chunk *chunk;

	mutex_lock(&kmt_scan_mutex);
	kmt_for_each_chunk(&kmt_core, chunk) {
		kmt_limit_ages(&kmt_core, chunk, jiffies);
		cond_resched();
	}
	mutex_unlock(&kmt_scan_mutex);
	limit_ages_later();
}

static int __init start_scanning(void)
{
	struct task_struct *task = kthread_run(scan_loop, NULL, "kmemtrack");

	limit_ages_later();
	if (IS_ERR(task)) {
		pr_warn("no scan thread: scans on request only\n");
		return 0;
	}
	scan_thread = task;
	return 0;
}
late_initcall(start_scanning);

/*
 * From a mark to a verdict: confirmation by a snapshot, or by waiting.
 */

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
		kmt_end_untracked(before,
				  !percpu->sought || percpu->nr_areas ||
				  percpu->whole);
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

/* Searches at every address what was not searched so yet, then judges. */
static void judge(struct kmt_scan *scan)
{
	unsigned long before = scan->verdict.suspects;

	kmt_progress_phase(KMT_PHASE_JUDGE);
	kmt_sort_out(&scan->m, &scan->filter, &scan->verdict);
	if (scan->how == KMT_BY_SNAPSHOT)
		scan->stopped = before - min(before, scan->verdict.suspects);
	if (scan->verdict.suspects && kmt_bytes_are_references()) {
		kmt_marker_seek(&scan->m, KMT_LOOK_BYTES, &scan->filter);
		read_roots(scan);
		kmt_recheck_bytes(&scan->m);
		kmt_marker_follow(&scan->m);
	}
	kmt_judge(&scan->m, &scan->verdict);
}

/* Looks for references to the suspects, beside everything else. */
static void search_once(struct kmt_scan *scan)
{
	kmt_marker_seek(&scan->m, KMT_LOOK_ALIGNED, &scan->filter);
	scan->m.sums = true;
	read_roots(scan);
	kmt_search(&scan->m);
	kmt_marker_follow(&scan->m);
	scan->searches++;
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
			/* The sleep is not counted as work. */
			scan->busy -= ktime_get_ns() - since;
		}
		/* References are counted anew, so that none counts twice. */
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
	const bool stops = may_stop();
	unsigned long words = scan->m.stats.words;
	u64 since = ktime_get_ns();
	int ret;

	lockdep_assert_held(&kmt_scan_mutex);
	scan->roots.exact_later = stops;
	mark(scan);
	words = scan->m.stats.words - words;
	kmt_accuse(&scan->m, &scan->filter, &scan->verdict);
	scan->suspects = scan->verdict.suspects;
	if (scan->suspects)
		kmt_progress_phase(KMT_PHASE_SEARCH);
	/* Does not sleep, so cannot fail; m.stopped is looked at later. */
	search(scan, 0);
	if (scan->verdict.suspects && kmt_pages_hold(&scan->m, &scan->roots)) {
		kmt_accuse(&scan->m, &scan->filter, &scan->verdict);
		search(scan, 0);
	}
	scan->how = KMT_BY_SNAPSHOT;
	if (!stops)
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
