// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: objects held by timers, work items and RCU callbacks.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/srcu.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include "test_kmemtrack.h"

/* Longer than any test takes. */
#define LATER_S		7200

struct deferred {
	unsigned long pad[3];
	union {
		struct timer_list timer;
		struct hrtimer hrtimer;
		struct delayed_work dwork;
		struct work_struct work;
		struct rcu_head rcu;
	};
};

static void on_timer(struct timer_list *unused)
{
}

static enum hrtimer_restart on_hrtimer(struct hrtimer *unused)
{
	return HRTIMER_NORESTART;
}

static void on_work(struct work_struct *unused)
{
}

static int hold_timer(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct deferred *d = tk_make(k, sizeof(*d), TK_HELD);

		if (!d)
			return -ENOMEM;
		timer_setup(&d->timer, on_timer, 0);
		mod_timer(&d->timer, jiffies + LATER_S * HZ);
	}
	return 0;
}

static void lose_timer(const struct tk_kind *k)
{
	struct deferred *d;
	unsigned int i;

	for (i = 0; (d = tk_object(k, TK_HELD, i)); i++)
		if (d->timer.function)
			timer_delete_sync(&d->timer);
}

static int hold_hrtimer(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct deferred *d = tk_make(k, sizeof(*d), TK_HELD);

		if (!d)
			return -ENOMEM;
		hrtimer_setup(&d->hrtimer, on_hrtimer, CLOCK_MONOTONIC,
			      HRTIMER_MODE_REL);
		hrtimer_start(&d->hrtimer, ktime_set(LATER_S, 0),
			      HRTIMER_MODE_REL);
	}
	return 0;
}

static void lose_hrtimer(const struct tk_kind *k)
{
	struct deferred *d;
	unsigned int i;

	for (i = 0; (d = tk_object(k, TK_HELD, i)); i++)
		if (d->hrtimer.function)
			hrtimer_cancel(&d->hrtimer);
}

static int hold_delayed_work(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct deferred *d = tk_make(k, sizeof(*d), TK_HELD);

		if (!d)
			return -ENOMEM;
		INIT_DELAYED_WORK(&d->dwork, on_work);
		schedule_delayed_work(&d->dwork, LATER_S * HZ);
	}
	return 0;
}

static void lose_delayed_work(const struct tk_kind *k)
{
	struct deferred *d;
	unsigned int i;

	for (i = 0; (d = tk_object(k, TK_HELD, i)); i++)
		if (d->dwork.work.func)
			cancel_delayed_work_sync(&d->dwork);
}

/* A queue in which work items wait behind one that does not end. */
static struct workqueue_struct *queue;
static DECLARE_COMPLETION(unstick);

static void on_stuck_work(struct work_struct *unused)
{
	/* Interruptible, so that the detector of hung tasks ignores it. */
	while (wait_for_completion_interruptible(&unstick))
		;
}

static DECLARE_WORK(stuck_work, on_stuck_work);

/*
 * The address of the last work item may stay in a frame of the idle worker. So the last
 * item must not be one of the objects.
 */
static DECLARE_WORK(last_work, on_work);

static int hold_work(const struct tk_kind *k, unsigned int n)
{
	queue = alloc_ordered_workqueue("tk_queue", 0);
	if (!queue)
		return -ENOMEM;
	reinit_completion(&unstick);
	queue_work(queue, &stuck_work);
	while (n--) {
		struct deferred *d = tk_make(k, sizeof(*d), TK_HELD);

		if (!d)
			return -ENOMEM;
		INIT_WORK(&d->work, on_work);
		queue_work(queue, &d->work);
	}
	return 0;
}

static void lose_work(const struct tk_kind *k)
{
	if (!queue)
		return;
	queue_work(queue, &last_work);
	complete(&unstick);
	destroy_workqueue(queue);
	queue = NULL;
}

/*
 * RCU callbacks that queue themselves again: the objects are always on one of RCU's
 * lists of callbacks, but never on the same list for long.
 */
static bool again;

static void on_rcu(struct rcu_head *head)
{
	if (READ_ONCE(again))
		call_rcu(head, on_rcu);
}

static int hold_rcu(const struct tk_kind *k, unsigned int n)
{
	WRITE_ONCE(again, true);
	while (n--) {
		struct deferred *d = tk_make(k, sizeof(*d), TK_HELD);

		if (!d)
			return -ENOMEM;
		call_rcu(&d->rcu, on_rcu);
	}
	return 0;
}

static void lose_rcu(const struct tk_kind *k)
{
	WRITE_ONCE(again, false);
	/* A callback may have read it before the store, and queued itself again. */
	rcu_barrier();
	rcu_barrier();
}

/* As above, queued behind slabs that wait for the end of a grace period. */
static bool among_slabs;

static void on_rcu_among_slabs(struct rcu_head *head)
{
	if (READ_ONCE(among_slabs))
		call_rcu(head, on_rcu_among_slabs);
}

static void queue_slabs(void)
{
	static void *objects[1000];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(objects); i++)
		objects[i] = kmem_cache_alloc(tk_cache(TK_TYPESAFE),
					      GFP_KERNEL);
	for (i = 0; i < ARRAY_SIZE(objects); i++)
		if (objects[i])
			kmem_cache_free(tk_cache(TK_TYPESAFE), objects[i]);
	memset(objects, 0, sizeof(objects));
}

static noinline void queue_objects(const struct tk_kind *k)
{
	unsigned int n;

	for (n = 0; n < k->count; n++) {
		struct deferred *d = tk_make(k, sizeof(*d), TK_HELD);

		if (d)
			call_rcu(&d->rcu, on_rcu_among_slabs);
	}
}

/* Stays on one CPU, since each CPU has a list of its own. */
static int among_slabs_thread(void *data)
{
	set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
	queue_slabs();
	queue_objects(data);
	tk_wipe();
	tk_thread_ready();
	while (!kthread_should_stop()) {
		queue_slabs();
		schedule_timeout_interruptible(1);
	}
	return 0;
}

static int hold_among_slabs(const struct tk_kind *k, unsigned int n)
{
	WRITE_ONCE(among_slabs, true);
	return tk_thread_start(k, among_slabs_thread);
}

static void lose_among_slabs(const struct tk_kind *k)
{
	tk_threads_stop(k);
	WRITE_ONCE(among_slabs, false);
	rcu_barrier();
	rcu_barrier();
}

/* Grace periods that do not end, since there is a reader. */
DEFINE_STATIC_SRCU(plain_srcu);
DEFINE_STATIC_SRCU(waited_srcu);

static struct srcu_struct *const srcus[] = { &plain_srcu, &waited_srcu };

static int srcu_reader(void *data)
{
	const struct tk_kind *k = data;
	int nr = srcu_read_lock(srcus[k->where]);

	tk_thread_ready();
	tk_thread_sleep();
	srcu_read_unlock(srcus[k->where], nr);
	return 0;
}

/* Waits for a grace period: the list begins with a structure on its stack. */
static int srcu_waiter(void *data)
{
	const struct tk_kind *k = data;

	tk_thread_ready();
	synchronize_srcu(srcus[k->where]);
	tk_thread_sleep();
	return 0;
}

static void on_srcu(struct rcu_head *unused)
{
}

static int queue_behind(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct deferred *d = tk_make(k, sizeof(*d), TK_HELD);

		if (!d)
			return -ENOMEM;
		call_srcu(srcus[k->where], &d->rcu, on_srcu);
	}
	return 0;
}

static int hold_srcu(const struct tk_kind *k, unsigned int n)
{
	int ret = tk_thread_start(k, srcu_reader);

	return ret ? ret : queue_behind(k, n);
}

/* The waiter sleeps long before the objects are allocated. */
static int hold_behind_waiter(const struct tk_kind *k, unsigned int n)
{
	int ret = tk_thread_start(k, srcu_reader);

	if (!ret)
		ret = tk_thread_start(k, srcu_waiter);
	if (ret)
		return ret;
	msleep(300);
	return queue_behind(k, n);
}

static void lose_srcu(const struct tk_kind *k)
{
	/* This stops the threads in the order in which they were started. */
	tk_threads_stop(k);
	srcu_barrier(srcus[k->where]);
}

/* The owner has freed them by kfree_rcu(). */
static int hold_kfree_rcu(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct deferred *d = tk_make(k, sizeof(*d), TK_HELD);

		if (!d)
			return -ENOMEM;
		kfree_rcu(d, rcu);
	}
	return 0;
}

static void lose_kfree_rcu(const struct tk_kind *k)
{
}

const struct tk_kind tk_defer_kinds[] = {
	{ "timer", hold_timer, lose_timer, 0, 5 },
	{ "hrtimer", hold_hrtimer, lose_hrtimer, 0, 5 },
	{ "delayed-work", hold_delayed_work, lose_delayed_work, 0, 5 },
	{ "queued-work", hold_work, lose_work, 0, 5 },
	{ "call-rcu", hold_rcu, lose_rcu, 0, 20 },
	{ "call-rcu-slabs", hold_among_slabs, lose_among_slabs, 0, 5 },
	{ "call-srcu", hold_srcu, lose_srcu, 0, 5, 0 },
	{ "call-srcu-wait", hold_behind_waiter, lose_srcu, 0, 5, 1 },
	{ "kfree-rcu", hold_kfree_rcu, lose_kfree_rcu, 0, 20, 0, TK_VOLATILE },
	{}
};
