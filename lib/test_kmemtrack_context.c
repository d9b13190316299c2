// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: what is lost at once, by the context that allocates.
 */
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include "test_kmemtrack.h"

/* What a callback is to do; callbacks run one at a time. */
static const struct tk_kind *job_kind;
static unsigned int job_count;
static int job_ret;
static DECLARE_COMPLETION(job_done);

static noinline int leak_atomic_objects(const struct tk_kind *k,
					unsigned int n)
{
	while (n--) {
		void *p = kmalloc(k->size, GFP_ATOMIC);

		if (!p)
			return -ENOMEM;
		tk_note(k, p, k->size, TK_KFREE, TK_LEAKED);
	}
	return 0;
}

/* An interrupt's stack outlives it: leave nothing there. */
static void run_job(void)
{
	job_ret = leak_atomic_objects(job_kind, job_count);
	tk_wipe();
	complete(&job_done);
}

static void set_job(const struct tk_kind *k, unsigned int n)
{
	job_kind = k;
	job_count = n;
	reinit_completion(&job_done);
}

static void on_timer(struct timer_list *unused)
{
	run_job();
}

static DEFINE_TIMER(timer, on_timer);

static int leak_softirq(const struct tk_kind *k, unsigned int n)
{
	set_job(k, n);
	mod_timer(&timer, jiffies + 1);
	wait_for_completion(&job_done);
	del_timer_sync(&timer);
	return job_ret;
}

static void on_irq_work(struct irq_work *unused)
{
	run_job();
}

static struct irq_work irq_work = IRQ_WORK_INIT_HARD(on_irq_work);

static int leak_hardirq(const struct tk_kind *k, unsigned int n)
{
	set_job(k, n);
	irq_work_queue(&irq_work);
	wait_for_completion(&job_done);
	irq_work_sync(&irq_work);
	return job_ret;
}

static void on_ipi(void *unused)
{
	run_job();
}

static int leak_ipi(const struct tk_kind *k, unsigned int n)
{
	int cpu;

	set_job(k, n);
	/* Where there is one CPU only this is a call with interrupts off. */
	cpus_read_lock();
	cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	if (cpu >= nr_cpu_ids)
		cpu = raw_smp_processor_id();
	smp_call_function_single(cpu, on_ipi, NULL, 1);
	cpus_read_unlock();
	wait_for_completion(&job_done);
	return job_ret;
}

static void on_work(struct work_struct *unused)
{
	run_job();
}

static DECLARE_WORK(work, on_work);

static int leak_work(const struct tk_kind *k, unsigned int n)
{
	set_job(k, n);
	schedule_work(&work);
	wait_for_completion(&job_done);
	flush_work(&work);
	return job_ret;
}

static int leak_atomic(const struct tk_kind *k, unsigned int n)
{
	static DEFINE_SPINLOCK(lock);
	unsigned long flags;
	int ret;

	spin_lock_irqsave(&lock, flags);
	ret = leak_atomic_objects(k, n);
	spin_unlock_irqrestore(&lock, flags);
	return ret;
}

static int exiting_thread(void *unused)
{
	void *p = tk_make(job_kind, job_kind->size, TK_LEAKED);

	job_ret = p ? 0 : -ENOMEM;
	complete(&job_done);
	return 0;
}

/* A thread that loses its private memory by exiting. */
static int leak_thread(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct task_struct *task;

		set_job(k, 1);
		task = kthread_create(exiting_thread, NULL, "tk_leaver");
		if (IS_ERR(task))
			return PTR_ERR(task);
		get_task_struct(task);
		wake_up_process(task);
		wait_for_completion(&job_done);
		kthread_stop(task);
		put_task_struct(task);
		if (job_ret)
			return job_ret;
	}
	return 0;
}

static int leak_caller(const struct tk_kind *k, unsigned int n)
{
	while (n--)
		if (!tk_make(k, k->size, TK_LEAKED))
			return -ENOMEM;
	return 0;
}

const struct tk_kind tk_context_kinds[] = {
	{ "softirq", leak_softirq, .size = 104, .count = 2 },
	{ "hardirq", leak_hardirq, .size = 112, .count = 2 },
	{ "ipi", leak_ipi, .size = 120, .count = 2 },
	{ "work", leak_work, .size = 136, .count = 2 },
	{ "atomic", leak_atomic, .size = 144, .count = 2 },
	{ "thread", leak_thread, .size = 152 },
	{ "caller", leak_caller, .size = 160, .flags = TK_CALLER },
	{}
};
