// SPDX-License-Identifier: GPL-2.0-only
/*
 * Measures for how long CPUs are kept from running tasks: see test_kmemtrack_watch.h.
 */
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/percpu.h>
#include <linux/sched.h>

#include "test_kmemtrack_watch.h"

#define HOG_MS_MAX	10000

static DEFINE_PER_CPU(struct task_struct *, watchers);
static DEFINE_PER_CPU(u64, longest);
static unsigned int sleep_ns;
static struct task_struct *hog;
static DECLARE_COMPLETION(hog_runs);

static int watch_thread(void *unused)
{
	u64 last = ktime_get_ns(), now;

	while (!kthread_should_stop()) {
		ktime_t wait = sleep_ns;

		set_current_state(TASK_INTERRUPTIBLE);
		schedule_hrtimeout(&wait, HRTIMER_MODE_REL);
		now = ktime_get_ns();
		if (now - last > this_cpu_read(longest))
			this_cpu_write(longest, now - last);
		last = now;
	}
	return 0;
}

/**
 * tk_watch_end - stop the threads of tk_watch_begin(), if there are any
 *
 * Context: may sleep.
 */
void tk_watch_end(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct task_struct **task = per_cpu_ptr(&watchers, cpu);

		if (*task)
			kthread_stop(*task);
		*task = NULL;
	}
}

/**
 * tk_watch_begin - have a thread of the highest priority run on each CPU
 * @cpus: CPUs; offline ones are ignored
 * @period_ns: how long each sleeps from one run to the next
 *
 * Context: may sleep.
 * Return: 0; or an error, and then no thread runs.
 */
int tk_watch_begin(const struct cpumask *cpus, unsigned int period_ns)
{
	struct task_struct *task;
	int cpu, ret = 0;

	tk_watch_end();
	sleep_ns = period_ns;
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		per_cpu(longest, cpu) = 0;
		if (!cpumask_test_cpu(cpu, cpus))
			continue;
		task = kthread_create_on_cpu(watch_thread, NULL, cpu,
					     "tk/watch/%u");
		if (IS_ERR(task)) {
			ret = PTR_ERR(task);
			break;
		}
		sched_set_fifo(task);
		per_cpu(watchers, cpu) = task;
		wake_up_process(task);
	}
	cpus_read_unlock();
	if (ret)
		tk_watch_end();
	return ret;
}

/**
 * tk_watch_longest - the longest time from one run of a thread to the next
 * @cpu: the thread's CPU
 *
 * Return: that time, in nanoseconds, since tk_watch_begin(), including the sleep; 0 if
 * there was no thread.
 */
u64 tk_watch_longest(int cpu)
{
	return per_cpu(longest, cpu);
}

static int hog_thread(void *data)
{
	u64 until = ktime_get_ns() + (unsigned long)data * NSEC_PER_MSEC;

	preempt_disable();
	complete(&hog_runs);
	while (ktime_get_ns() < until && !kthread_should_stop())
		cpu_relax();
	preempt_enable();
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

/**
 * tk_hog_end - stop the thread of tk_hog_begin(), if there is one
 *
 * Context: may sleep.
 */
void tk_hog_end(void)
{
	if (hog)
		kthread_stop(hog);
	hog = NULL;
}

/**
 * tk_hog_begin - have a kernel thread occupy a CPU, without letting other tasks run
 * @cpu: CPU
 * @ms: for how long at most, in milliseconds, up to 10,000; tk_hog_end() ends it
 *
 * Context: may sleep, until the thread runs.
 * Return: 0 or an error.
 */
int tk_hog_begin(unsigned int cpu, unsigned long ms)
{
	struct task_struct *task;

	if (cpu >= nr_cpu_ids || !cpu_online(cpu) || ms > HOG_MS_MAX)
		return -EINVAL;
	tk_hog_end();
	task = kthread_create_on_cpu(hog_thread, (void *)ms, cpu, "tk/hog/%u");
	if (IS_ERR(task))
		return PTR_ERR(task);
	hog = task;
	reinit_completion(&hog_runs);
	wake_up_process(task);
	wait_for_completion(&hog_runs);
	return 0;
}
