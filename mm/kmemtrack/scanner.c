// SPDX-License-Identifier: GPL-2.0
/*
 * Scans on request and periodic scans, and the actions on their results.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/freezer.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/panic.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>

#include <trace/events/kmemtrack.h>

#include "pages.h"
#include "policy.h"
#include "report.h"
#include "scan.h"

/* Memory of a scan: struct kmt_scan, and the mark stack in the rest. */
#define KMT_SCAN_ORDER	get_order(SZ_256K)

#define KMT_SEEN_ORDER	get_order(sizeof(long) << KMT_SEEN_SHIFT)

/* Size of kmt_filter.pages. */
#define KMT_FILTER_ORDER	get_order(KMT_FILTER_PAGES)

/* Seconds from boot to the first periodic scan. */
#define FIRST_SCAN	60L

/* Allocates 2^*@order pages, or fewer if memory is short, and sets *@order. */
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
	/* Without seen_cache each reference is looked up. */
	seen_cache = kmt_own_alloc(GFP_KERNEL | __GFP_NORETRY, KMT_SEEN_ORDER);
	kmt_marker_init(&scan->m, &kmt_core, stack, max, seen_cache);
	return scan;
}

/* Without memory for a part of the filter more words pass, so a search takes longer. */
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

/* Logs new leaks, and panics if there are enough; a crash dump has the log then. */
static void act_on_new_leaks(const struct kmt_verdict *found)
{
	unsigned int limit = READ_ONCE(kmt_tunables.panic_on_leak);
	unsigned long suppressed, shown = kmt_new_shown(found->fresh, &suppressed);
	bool fatal = limit && shown >= limit;

	if (shown)
		kmt_log_found(shown, found->leaks);
	if (suppressed)
		pr_info("%lu new leaks are suppressed\n", suppressed);
	if (shown && (kmt_tunables.verbose || fatal)) {
		kmt_log_new(shown);
		/* Sites last, so that a log whose beginning is cut off has them. */
		kmt_log_sites();
	}
	if (fatal)
		panic("kmemtrack: %lu new leaks\n", shown);
}

static void conclude(struct kmt_scan *scan, u64 since)
{
	struct kmt_last_scan *last = &kmt_last_scan;

	kmt_progress_phase(KMT_PHASE_JUDGE);
	if (scan->out.verdict.leaks) {
		kmt_classify(&scan->m, scan->out.verdict.leaks, jiffies);
		kmt_report_refresh();
	} else {
		/* Without leaks there are no ranks to keep. */
		kmt_keep_direct_leaks(&kmt_core, NULL, 0);
	}
	last->made = true;
	last->nr++;
	kmt_sites_scanned();
	last->ms = div_u64(ktime_get_ns() - since, NSEC_PER_MSEC);
	last->words = scan->m.stats.words;
	last->objects = kmt_used_cells() - kmt_nr_aux(&kmt_core);
	last->out = scan->out;
	if (scan->out.verdict.fresh)
		act_on_new_leaks(&scan->out.verdict);
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
	kmt_await_chunks();
	kmt_roots_init(&scan->roots);
	scan->roots.scanner = current;
	scan->roots.frame = frame;
	trace_kmemtrack_scan_start(kmt_last_scan.nr);
	kmt_pages_check_use(&scan->m, &scan->roots, true);
	ret = kmt_find_leaks(scan);
	if (!ret)
		conclude(scan, since);
	kmt_progress_end(!ret);
	kmt_trace_scan_end(scan, ret, ktime_get_ns() - since);
	kmt_roots_free(&scan->roots);
	free_filter(&scan->filter);
	kmt_own_free(scan->m.seen_cache, KMT_SEEN_ORDER);
	kmt_own_free(scan, order);
	if (!ret)
		kmt_memory_scanned();
	return ret;
}

/**
 * kmt_scan - find leaks
 *
 * Returns when the scan is complete. A second call waits until the first is complete.
 *
 * Context: may sleep for the time of some marks, and for kmt_tunables.min_age if
 * suspects are confirmed by waiting.
 * Return: 0; -EINTR if the task is killed, or is a kernel thread that is frozen or
 * stopped; -ERESTARTNOINTR if it is a user task that is frozen, or gets a signal before
 * the scan begins: the system call starts again; -EPERM while tracking is off; -ENOMEM.
 */
noinline int kmt_scan(void)
{
	int ret = kmt_lock_scan();

	if (ret)
		return ret;
	ret = scan_locked((unsigned long)__builtin_frame_address(0));
	mutex_unlock(&kmt_scan_mutex);
	return kmt_restart_frozen(ret);
}

static struct task_struct *scan_thread;

/* The last period that was not 0, which "scan=on" uses. */
static unsigned int usual_period = KMT_SCAN_PERIOD;

/*
 * The period was set: the scan thread restarts its wait. No bool: not all machines xchg()
 * a byte.
 */
static unsigned int period_set;

static long period_left(void)
{
	unsigned long period = READ_ONCE(kmt_tunables.scan_period);

	return period ? period * HZ : MAX_SCHEDULE_TIMEOUT;
}

/* Waits up to @left jiffies, the time to the next scan; returns how many are left. */
static long wait_for_scan(long left)
{
	set_current_state(TASK_INTERRUPTIBLE);
	if (!kthread_should_stop() && !READ_ONCE(period_set))
		left = schedule_timeout(left);
	__set_current_state(TASK_RUNNING);
	try_to_freeze();
	return xchg(&period_set, 0) ? period_left() : left;
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
		/*
		 * Blocks that only init memory refers to are not lost yet, and init
		 * memory is no root.
		 */
		if (system_state >= SYSTEM_RUNNING && kmt_scan() != -EINTR)
			left = period_left();
		else
			left = HZ / 10;
	}
	return 0;
}

/**
 * kmt_scan_every - set the period of periodic scans
 * @seconds: time from now to the next scan, and between scans; 0: no periodic scans
 *
 * Before the scan thread is created, this decides only whether it scans after FIRST_SCAN
 * seconds.
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
	WRITE_ONCE(period_set, 1);
	wake_up_process(scan_thread);
}

/**
 * kmt_scan_periodically - scan periodically, with the period that was set last
 *
 * Does nothing if periodic scans are on already.
 *
 * Context: any task.
 */
void kmt_scan_periodically(void)
{
	if (!READ_ONCE(kmt_tunables.scan_period))
		kmt_scan_every(READ_ONCE(usual_period));
}

static void limit_ages(struct work_struct *work);
static DECLARE_DEFERRABLE_WORK(age_work, limit_ages);

/* Queues limit_ages() in KMT_AGE_MAX / 2 jiffies, which are some days. */
static void limit_ages_later(void)
{
	queue_delayed_work(kmt_unbound_wq, &age_work, KMT_AGE_MAX / 2);
}

static void limit_ages(struct work_struct *work)
{
	struct kmt_chunk *chunk;

	/* A scan may take longer than a worker may wait without a warning. */
	if (!mutex_trylock(&kmt_scan_mutex)) {
		queue_delayed_work(kmt_unbound_wq, &age_work, 60 * HZ);
		return;
	}
	kmt_for_each_chunk(&kmt_core, chunk) {
		kmt_limit_ages(&kmt_core, chunk, jiffies);
		cond_resched();
	}
	kmt_report_limit_ages(jiffies);
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
