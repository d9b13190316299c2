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
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>

#include "glue.h"

/* Memory of a scan: the marker and as much mark stack as fits behind it. */
#define KMT_SCAN_ORDER	get_order(SZ_256K)

/* Marks that have to agree on a suspect after the one that named it. */
#define KMT_CONFIRM_MARKS	2

/* Between two marks, at least: time for a reference on the move to arrive. */
#define KMT_SETTLE_MS	20

/* One scan at a time; nothing is switched on or off, or cleared, during it. */
DEFINE_MUTEX(kmt_scan_mutex);

struct kmt_tunables kmt_tunables = {
	.scan_period	= IS_ENABLED(CONFIG_KMEMTRACK_AUTO_SCAN) ?
			  CONFIG_KMEMTRACK_SCAN_PERIOD : 0,
	.first_scan	= CONFIG_KMEMTRACK_FIRST_SCAN,
	.min_age	= 1000,
	.stacks		= true,
	.pages		= true,
};

struct kmt_last_scan kmt_last_scan;

/**
 * struct kmt_scan - a scan under way
 * @m: its marker; the mark stack follows
 * @verdict: what was found so far
 * @frame: address in the stack above which the scanner's callers are
 * @busy: nanoseconds of marking and judging
 * @marks: marks so far
 * @words: words read so far
 */
struct kmt_scan {
	struct kmt_marker m;
	struct kmt_verdict verdict;
	unsigned long frame;
	u64 busy;
	unsigned long marks;
	unsigned long words;
};

static struct kmt_scan *alloc_scan(unsigned int *order)
{
	struct kmt_scan *scan;
	struct kmt_grey *stack;
	u32 max;

	for (*order = KMT_SCAN_ORDER; ; (*order)--) {
		scan = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY,
				     *order);
		if (scan || !*order)
			break;
	}
	if (!scan)
		return NULL;
	stack = PTR_ALIGN((struct kmt_grey *)(scan + 1), sizeof(*stack));
	max = ((unsigned long)scan + (PAGE_SIZE << *order) -
	       (unsigned long)stack) / sizeof(*stack);
	kmt_marker_init(&scan->m, &kmt_core, stack, max);
	return scan;
}

static void mark(struct kmt_scan *scan)
{
	kmt_mark_begin(&scan->m);
	kmt_mark_roots(&scan->m, scan->frame);
	kmt_mark_sweep(&scan->m);
	scan->marks++;
}

static int end_mark(struct kmt_scan *scan, u64 since)
{
	kmt_mark_end(&scan->m);
	scan->busy += ktime_get_ns() - since;
	return scan->m.stopped ? -EINTR : 0;
}

/* First mark. Without new suspects it decides at once. */
static int find_suspects(struct kmt_scan *scan)
{
	u64 since = ktime_get_ns();

	mark(scan);
	kmt_suspect(&scan->m, &scan->verdict);
	if (!scan->verdict.suspects) {
		kmt_revive(&scan->m, jiffies, 0);
		kmt_judge(&scan->m, &scan->verdict);
	}
	return end_mark(scan, since);
}

/* A later mark; the last one decides. */
static int confirm(struct kmt_scan *scan, bool last)
{
	u64 since = ktime_get_ns();

	mark(scan);
	kmt_revive(&scan->m, jiffies,
		   last ? msecs_to_jiffies(kmt_tunables.min_age) : 0);
	if (last)
		kmt_judge(&scan->m, &scan->verdict);
	else
		kmt_suspect(&scan->m, &scan->verdict);
	return end_mark(scan, since);
}

static int nap(unsigned int ms)
{
	schedule_timeout_interruptible(msecs_to_jiffies(ms));
	if (current->flags & PF_KTHREAD)
		return kthread_should_stop() ? -EINTR : 0;
	return signal_pending(current) ? -EINTR : 0;
}

/*
 * Confirmation `wait`: a suspect is a leak if further marks find it without
 * references too, its contents unchanged, and it is old enough then.
 */
static int confirm_wait(struct kmt_scan *scan)
{
	int i, ret = 0;

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

static void conclude(struct kmt_scan *scan, u64 since)
{
	struct kmt_last_scan *last = &kmt_last_scan;

	if (scan->verdict.leaks)
		kmt_classify(&scan->m);
	last->nr++;
	last->ms = div_u64(ktime_get_ns() - since, NSEC_PER_MSEC);
	last->busy_ms = div_u64(scan->busy, NSEC_PER_MSEC);
	last->marks = scan->marks;
	last->words = scan->m.words;
	last->objects = kmt_used_cells() - READ_ONCE(kmt_core.aux.nr);
	last->verdict = scan->verdict;
	if (!scan->verdict.fresh)
		return;
	pr_info("%lu new leaks, %lu in all (see /sys/kernel/debug/kmemtrack)\n",
		scan->verdict.fresh, scan->verdict.leaks);
	if (IS_ENABLED(CONFIG_KMEMTRACK_KMEMLEAK_COMPAT))
		kmt_log_as_kmemleak(scan->verdict.fresh);
	if (kmt_tunables.verbose)
		kmt_log_new();
}

static int scan_locked(unsigned long frame)
{
	u64 since = ktime_get_ns();
	struct kmt_scan *scan;
	unsigned int order;
	int ret;

	if (!kmt_tracking())
		return -EPERM;
	scan = alloc_scan(&order);
	if (!scan)
		return -ENOMEM;
	scan->frame = frame;
	ret = find_suspects(scan);
	if (!ret && scan->verdict.suspects)
		ret = confirm_wait(scan);
	if (!ret)
		conclude(scan, since);
	kmt_own_free(scan, order);
	return ret;
}

/**
 * kmt_scan - find leaks
 *
 * Returns when the answer is there; a second one waits for its turn.
 *
 * Context: may sleep for kmt_tunables.min_age and the time of some marks.
 * Return: 0; -EINTR after a signal; -EPERM while nothing is tracked; -ENOMEM.
 */
noinline int kmt_scan(void)
{
	int ret;

	ret = mutex_lock_interruptible(&kmt_scan_mutex);
	if (ret)
		return -EINTR;
	ret = scan_locked((unsigned long)__builtin_frame_address(0));
	mutex_unlock(&kmt_scan_mutex);
	return ret;
}

static struct task_struct *scan_thread;

/* Seconds to wait before the next scan; 0 for ever. */
static unsigned int next_wait(bool first)
{
	unsigned int period = READ_ONCE(kmt_tunables.scan_period);

	return first && period ? READ_ONCE(kmt_tunables.first_scan) : period;
}

static int scan_loop(void *unused)
{
	bool first = true;

	set_user_nice(current, 10);
	set_freezable();
	while (!kthread_should_stop()) {
		unsigned int wait = next_wait(first);
		long left = MAX_SCHEDULE_TIMEOUT;

		set_current_state(TASK_INTERRUPTIBLE);
		if (wait)
			left = msecs_to_jiffies(wait * MSEC_PER_SEC);
		left = kthread_should_stop() ? 0 : schedule_timeout(left);
		__set_current_state(TASK_RUNNING);
		try_to_freeze();
		if (left || !wait)
			continue;	/* woken: the period has changed */
		first = false;
		kmt_scan();
	}
	return 0;
}

/**
 * kmt_scan_every - scan regularly
 * @seconds: the time between scans, 0 not to scan
 */
void kmt_scan_every(unsigned int seconds)
{
	WRITE_ONCE(kmt_tunables.scan_period, seconds);
	if (scan_thread)
		wake_up_process(scan_thread);
}

static int __init start_scanning(void)
{
	struct task_struct *task = kthread_run(scan_loop, NULL, "kmemtrack");

	if (IS_ERR(task)) {
		pr_warn("no scan thread: scans on request only\n");
		return 0;
	}
	scan_thread = task;
	return 0;
}
late_initcall(start_scanning);
