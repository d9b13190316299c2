// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: objects that are lost at once, by the context that allocates them, and
 * by the place where a stale copy of their address stays.
 */
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "test_kmemtrack.h"

/* The job of a callback; callbacks run one at a time. */
static const struct tk_kind *job_kind;
static unsigned int job_count;
static int job_ret;
static DECLARE_COMPLETION(job_done);

static noinline int leak_atomic_objects(const struct tk_kind *k,
					unsigned int n)
{
	while (n--) {
		void *p = kzalloc(k->size, GFP_ATOMIC);

		if (!p)
			return -ENOMEM;
		tk_note(k, p, k->size, TK_KFREE, TK_LEAKED);
	}
	return 0;
}

/* Tells lockdep that this interrupt is like a device's, whose handler may allocate. */
static void enter_handler(void)
{
	if (in_hardirq())
		lockdep_hardirq_threaded();
}

/* The stack of interrupts outlives the interrupt: wipe it. */
static void run_job(void)
{
	enter_handler();
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
	timer_delete_sync(&timer);
	return job_ret;
}

static void on_irq_work(struct irq_work *unused)
{
	run_job();
}

static struct irq_work irq_work = ALLOCATING_IRQ_WORK_INIT(on_irq_work);

static int leak_hardirq(const struct tk_kind *k, unsigned int n)
{
	set_job(k, n);
	irq_work_queue(&irq_work);
	wait_for_completion(&job_done);
	irq_work_sync(&irq_work);
	return job_ret;
}

static void __maybe_unused on_ipi(void *unused)
{
	run_job();
}

static int __maybe_unused leak_ipi(const struct tk_kind *k, unsigned int n)
{
	int cpu;

	set_job(k, n);
	/* With a single CPU this is a call with interrupts off. */
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

/* A thread that exits and so loses its private memory. */
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

static noinline int leak_caller(const struct tk_kind *k, unsigned int n)
{
	tk_unwind();
	while (n--)
		if (!tk_make(k, k->size, TK_LEAKED))
			return -ENOMEM;
	return 0;
}

/*
 * Fills dead frames with @p, over more bytes than tk_wipe() wipes. So copies in the
 * range of later calls are wiped, and copies beyond it stay. User-mode Linux has a
 * signal frame of the host on the same stack of 16 KiB.
 */
#define LITTER_DEPTH	(IS_ENABLED(CONFIG_UML) ? 10 : 18)

static noinline void litter(void *p, unsigned int depth)
{
	void *junk[64];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(junk); i++)
		junk[i] = p;
	barrier_data(junk);
	OPTIMIZER_HIDE_VAR(depth);
	if (depth)
		litter(p, depth - 1);
	/* Not a tail call: each level has a frame of its own. */
	barrier_data(junk);
}

static noinline void litter_stack(const struct tk_kind *k)
{
	void *p = kzalloc(k->size, GFP_ATOMIC);

	job_ret = p ? 0 : -ENOMEM;
	if (!p)
		return;
	tk_note(k, p, k->size, TK_KFREE, TK_LEAKED);
	litter(p, LITTER_DEPTH);
}

/*
 * The frames in which the thread sleeps later have words that are never written, most of
 * all with KASAN. The padding places them where no copies were left.
 */
static noinline void litter_below(const struct tk_kind *k)
{
	/* The whole frame is to have less than CONFIG_FRAME_WARN, 1,024 bytes. */
	unsigned long pad[960 / sizeof(long)];

	memset(pad, 0, sizeof(pad));
	barrier_data(pad);
	litter_stack(k);
	barrier_data(pad);
}

static int littering_thread(void *data)
{
	litter_below(data);
	tk_wipe();
	tk_thread_ready();
	tk_thread_sleep();
	return 0;
}

/* Stale copies below the stack pointers of tasks that sleep. */
static int leak_dead_frame(const struct tk_kind *k, unsigned int n)
{
	int ret = 0;

	if (n > TK_MAX_THREADS)
		return -EINVAL;
	while (n-- && !ret)
		ret = tk_thread_start(k, littering_thread) ?: job_ret;
	return ret;
}

static void on_littering_irq_work(struct irq_work *unused)
{
	enter_handler();
	litter_stack(job_kind);
	tk_wipe();
	complete(&job_done);
}

static struct irq_work littering_irq_work =
	ALLOCATING_IRQ_WORK_INIT(on_littering_irq_work);

/* Stale copies on the stack of interrupts. */
static int leak_irq_stack(const struct tk_kind *k, unsigned int n)
{
	set_job(k, 1);
	irq_work_queue(&littering_irq_work);
	wait_for_completion(&job_done);
	irq_work_sync(&littering_irq_work);
	return job_ret;
}

static noinline void fill_with(void **q, size_t size, void *p)
{
	unsigned int i;

	for (i = 0; i < size / sizeof(*q); i++)
		q[i] = p;
	barrier_data(q);
}

/* Stale copies in freed memory. */
static int leak_freed_block(const struct tk_kind *k, unsigned int n)
{
	static void *q[64];
	unsigned int i, nr;

	for (nr = 0; nr < min_t(unsigned int, n, ARRAY_SIZE(q)); nr++) {
		void *p = tk_make(k, k->size, TK_LEAKED);

		q[nr] = kmem_cache_alloc(tk_cache(TK_CACHE), GFP_KERNEL);
		if (!p || !q[nr])
			return -ENOMEM;
		fill_with(q[nr], sizeof(struct tk_node), p);
	}
	for (i = 0; i < nr; i++)
		kmem_cache_free(tk_cache(TK_CACHE), q[i]);
	memset(q, 0, sizeof(q));
	barrier_data(q);
	return 0;
}

static int leak_freed_vmalloc(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		void *p = tk_make(k, k->size, TK_LEAKED);
		void *q = vmalloc(4 * PAGE_SIZE);

		if (!p || !q)
			return -ENOMEM;
		fill_with(q, 4 * PAGE_SIZE, p);
		vfree(q);
	}
	return 0;
}

/* Stale copies in freed per-CPU memory, next to memory in use. */
static int leak_freed_percpu(const struct tk_kind *k, unsigned int n)
{
	void __percpu *q[16];
	unsigned int i;
	int cpu;

	n = min_t(unsigned int, n, ARRAY_SIZE(q));
	for (i = 0; i < n; i++)
		q[i] = __alloc_percpu(64, 8);
	for (i = 0; i < n; i++) {
		void *p = tk_make(k, k->size, TK_LEAKED);

		if (!p || !q[i])
			return -ENOMEM;
		for_each_possible_cpu(cpu)
			fill_with(per_cpu_ptr(q[i], cpu), 64, p);
		free_percpu(q[i]);
	}
	return 0;
}

/* Pages in use whose neighbours are free and hold stale copies. */
static struct page *partners[16];

static void free_partners(const struct tk_kind *k)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(partners); i++)
		if (partners[i])
			__free_page(partners[i]);
	memset(partners, 0, sizeof(partners));
}

static int leak_freed_page(const struct tk_kind *k, unsigned int n)
{
	void *p[ARRAY_SIZE(partners)];
	unsigned int i;

	n = min_t(unsigned int, n, ARRAY_SIZE(p));
	for (i = 0; i < n; i++) {
		p[i] = tk_make(k, k->size, TK_LEAKED);
		if (!p[i])
			return -ENOMEM;
	}
	for (i = 0; i < ARRAY_SIZE(partners); i++) {
		partners[i] = alloc_pages(GFP_KERNEL | __GFP_ZERO, 1);
		if (!partners[i])
			return -ENOMEM;
		split_page(partners[i], 1);
	}
	/* Free all at once, so that most stay on the CPU's list and are not reused. */
	for (i = 0; i < ARRAY_SIZE(partners); i++) {
		fill_with(page_address(partners[i] + 1), PAGE_SIZE, p[i % n]);
		__free_page(partners[i] + 1);
	}
	memset(p, 0, sizeof(p));
	barrier_data(p);
	return 0;
}

static int sleeping_thread(void *data)
{
	tk_thread_ready();
	tk_thread_sleep();
	return 0;
}

/*
 * Allocates right after a thread was created: its kthread_create_info has just been freed,
 * and has the same size. The thread keeps the address of that while it lives.
 */
static int leak_after_thread(const struct tk_kind *k, unsigned int n)
{
	int ret = tk_thread_start(k, sleeping_thread);

	while (n-- && !ret)
		ret = tk_make(k, k->size, TK_LEAKED) ? 0 : -ENOMEM;
	return ret;
}

const struct tk_kind tk_context_kinds[] = {
	{ "softirq", leak_softirq, .size = 104, .count = 2 },
	{ "hardirq", leak_hardirq, .size = 112, .count = 2 },
#ifndef CONFIG_PREEMPT_RT
	/* With PREEMPT_RT a hard interrupt must not allocate. */
	{ "ipi", leak_ipi, .size = 120, .count = 2 },
#endif
	{ "work", leak_work, .size = 136, .count = 2 },
	{ "atomic", leak_atomic, .size = 144, .count = 2 },
	{ "thread", leak_thread, .size = 152 },
	{ "caller", leak_caller, .size = 160, .flags = TK_CALLER },
	{ "dead-frame", leak_dead_frame, .size = 176, .end = tk_threads_stop },
	{ "irq-stack", leak_irq_stack, .size = 184 },
	{ "freed-block", leak_freed_block, .size = 168 },
	{ "freed-page", leak_freed_page, .size = 168, .end = free_partners },
	{ "freed-vmalloc", leak_freed_vmalloc, .size = 168 },
	{ "freed-percpu", leak_freed_percpu, .size = 168 },
	{ "new-thread", leak_after_thread, .size = 64, .count = 4,
	  .end = tk_threads_stop, .flags = TK_CALLER },
	{}
};
