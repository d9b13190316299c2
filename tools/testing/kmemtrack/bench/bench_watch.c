// SPDX-License-Identifier: GPL-2.0
/*
 * For how long tasks do not run: a thread of the highest priority on every CPU
 * that sleeps for one period at a time, and compares the time with the time at
 * which it should have run. Interrupts may be on meanwhile: what keeps them off
 * is in bench_irq.c.
 *
 * And a thread that does to others what is to be measured: it keeps a CPU, the
 * last one, which is not watched meanwhile.
 */
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/percpu.h>
#include <linux/sched.h>

#include "bench.h"

#define BENCH_HOG_MS	10000	/* at most */

static DEFINE_PER_CPU(struct task_struct *, watchers);
static DEFINE_PER_CPU(u64, worst);
static struct task_struct *hog;
static u64 period;

static int watch_thread(void *unused)
{
	while (!kthread_should_stop()) {
		ktime_t until = ktime_add_ns(ktime_get(), period);
		s64 late;

		set_current_state(TASK_INTERRUPTIBLE);
		schedule_hrtimeout(&until, HRTIMER_MODE_ABS);
		late = ktime_to_ns(ktime_sub(ktime_get(), until));
		if (late > 0 && late > this_cpu_read(worst))
			this_cpu_write(worst, late);
	}
	return 0;
}

static void stop_watchers(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct task_struct **task = per_cpu_ptr(&watchers, cpu);

		if (*task)
			kthread_stop(*task);
		*task = NULL;
	}
	period = 0;
}

int bench_watch_start(unsigned int period_ns)
{
	struct task_struct *task;
	int cpu;

	if (period || period_ns < NSEC_PER_USEC)
		return -EINVAL;
	period = period_ns;
	for_each_online_cpu(cpu) {
		per_cpu(worst, cpu) = 0;
		if (hog && cpu == cpumask_last(cpu_online_mask))
			continue;
		task = kthread_create_on_cpu(watch_thread, NULL, cpu,
					     "kmt_watch/%u");
		if (IS_ERR(task)) {
			stop_watchers();
			return PTR_ERR(task);
		}
		sched_set_fifo(task);
		per_cpu(watchers, cpu) = task;
		wake_up_process(task);
	}
	return 0;
}

int bench_watch_stop(const char *row)
{
	u64 most = 0;
	int cpu;

	if (!period)
		return -EINVAL;
	stop_watchers();
	for_each_online_cpu(cpu)
		most = max(most, per_cpu(worst, cpu));
	if (row)
		bench_figure(row, "stop", most * 100);
	return 0;
}

static int hog_thread(void *ms)
{
	u64 until = ktime_get_ns() + (unsigned long)ms * NSEC_PER_MSEC;

	preempt_disable();
	while (ktime_get_ns() < until)
		cpu_relax();
	preempt_enable();
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

int bench_hog_start(unsigned int ms)
{
	struct task_struct *task;

	if (hog || ms > BENCH_HOG_MS || num_online_cpus() < 2)
		return -EINVAL;
	task = kthread_create_on_cpu(hog_thread, (void *)(unsigned long)ms,
				     cpumask_last(cpu_online_mask),
				     "kmt_hog/%u");
	if (IS_ERR(task))
		return PTR_ERR(task);
	hog = task;
	wake_up_process(task);
	return 0;
}

int bench_hog_stop(void)
{
	if (!hog)
		return -EINVAL;
	kthread_stop(hog);
	hog = NULL;
	return 0;
}
