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
#include <linux/panic.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>

#include "policy.h"
#include "scan.h"

/* Memory of a scan: the marker and as much mark stack as fits behind it. */
#define KMT_SCAN_ORDER	get_order(SZ_256K)

#define KMT_SEEN_ORDER	get_order(sizeof(long) << KMT_SEEN_SHIFT)

/* Bytes of the filter, for pages. */
#define KMT_FILTER_ORDER	get_order(KMT_FILTER_PAGES)

/* One scan at a time; nothing is switched on or off, or cleared, during it. */
DEFINE_MUTEX(kmt_scan_mutex);

struct kmt_tunables kmt_tunables = {
	.scan_period	= IS_ENABLED(CONFIG_KMEMTRACK_AUTO_SCAN) ?
			  CONFIG_KMEMTRACK_SCAN_PERIOD : 0,
	.first_scan	= CONFIG_KMEMTRACK_FIRST_SCAN,
	.min_age	= 1000,
	.stacks		= true,
	.pages		= true,
	.snapshot	= true,
	.max_pause	= 4000,
};

struct kmt_last_scan kmt_last_scan;

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
	u32 max;

	*order = KMT_SCAN_ORDER;
	scan = alloc_most(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY, order);
	if (!scan)
		return NULL;
	stack = PTR_ALIGN((struct kmt_mark_entry *)(scan + 1), sizeof(*stack));
	max = ((unsigned long)scan + (PAGE_SIZE << *order) -
	       (unsigned long)stack) / sizeof(*stack);
	kmt_marker_init(&scan->m, &kmt_core, stack, max);
	/* Without it each reference is looked up. */
	scan->m.seen_cache = kmt_own_alloc(GFP_KERNEL | __GFP_NORETRY,
					   KMT_SEEN_ORDER);
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
	bool fatal = limit && found->fresh >= limit;

	kmt_log_found(found->fresh, found->leaks);
	if (kmt_tunables.verbose || fatal)
		kmt_log_new();
	if (fatal)
		panic("kmemtrack: %lu new leaks\n", found->fresh);
}

static void conclude(struct kmt_scan *scan, u64 since)
{
	struct kmt_last_scan *last = &kmt_last_scan;

	if (scan->verdict.leaks) {
		scan->m.now = jiffies;
		kmt_classify(&scan->m, scan->verdict.leaks);
		kmt_report_refresh();
	} else {
		/* Nothing to count: readers need not find a report. */
		kmt_report_hung(&kmt_core, NULL, 0);
		kmt_report_drop();
	}
	last->made = true;
	last->nr++;
	last->ms = div_u64(ktime_get_ns() - since, NSEC_PER_MSEC);
	last->busy_ms = div_u64(scan->busy, NSEC_PER_MSEC);
	last->marks = scan->marks;
	last->words = scan->m.words;
	last->suspects = scan->suspects;
	last->searches = scan->searches;
	last->searched = scan->searched;
	last->stopped = scan->stopped;
	last->how = scan->how;
	last->busy_cpu = scan->busy_cpu;
	last->pause_ns = scan->pause;
	last->expected_ns = scan->expected;
	last->objects = kmt_used_cells() - READ_ONCE(kmt_core.aux.nr);
	last->verdict = scan->verdict;
	if (scan->verdict.fresh)
		log_leaks(&scan->verdict);
}

static void free_scan(struct kmt_scan *scan, unsigned int order)
{
	kmt_own_free(scan->m.seen_cache, KMT_SEEN_ORDER);
	kmt_own_free(scan, order);
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
	ret = kmt_find_leaks(scan);
	if (!ret)
		conclude(scan, since);
	kmt_trace_end(scan, ret, ktime_get_ns() - since);
	kmt_percpu_map_free(&scan->roots.percpu);
	kmt_page_map_free(&scan->roots.map);
	free_filter(&scan->filter);
	free_scan(scan, order);
	return ret;
}

/**
 * kmt_scan_cancelled - is the current task to give up its scan?
 *
 * A signal that has a handler does not end a scan: most programs that ask for
 * one take any error for a failure. A task that is being killed gives up, and
 * one that the freezer waits for, which sends a user task a signal, too.
 *
 * Context: any task.
 */
bool kmt_scan_cancelled(void)
{
	if (current->flags & PF_KTHREAD)
		return kthread_should_stop() || freezing(current);
	if (!signal_pending(current))
		return false;
	return fatal_signal_pending(current) || freezing(current);
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
	/* The signal of the freezer stays pending until the task is thawed. */
	if (ret == -EINTR && signal_pending(current) &&
	    !fatal_signal_pending(current))
		ret = -ERESTARTNOINTR;
	return ret;
}

static struct task_struct *scan_thread;

/* What "scan=on" goes back to: the last period that was not 0. */
static unsigned int usual_period = CONFIG_KMEMTRACK_SCAN_PERIOD;

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
		left = kmt_tunables.first_scan * (long)HZ;
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
 * Before the scan thread is there, first_scan says when it begins.
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
	queue_delayed_work(system_unbound_wq, &age_work, KMT_AGE_MAX / 2);
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
