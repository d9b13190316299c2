// SPDX-License-Identifier: GPL-2.0
/*
 * Fifteen ways to lose memory. The addresses are logged as text, which is no
 * reference. A separate thread loses the blocks, so that no reference stays on
 * a stack that lives on.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "bench.h"

struct bench_lost {
	struct bench_lost *other;
	char text[56];
};

static struct kmem_cache *cache;
static DECLARE_COMPLETION(done);

static void note_lost(const char *kind, const void *p)
{
	if (p)
		pr_info("kmt_bench: lost 0x%08lx %s\n", (unsigned long)p, kind);
	else
		pr_info("kmt_bench: failed: no memory for %s\n", kind);
}

static noinline void lose_slab(void)
{
	void *bulk[2] = {};

	note_lost("kmalloc", kmalloc(176, GFP_KERNEL));
	note_lost("kzalloc-1k", kzalloc(1024, GFP_KERNEL));
	note_lost("kmalloc-large", kmalloc(64 << 10, GFP_KERNEL));
	note_lost("kmem-cache", kmem_cache_alloc(cache, GFP_KERNEL));
	if (kmem_cache_alloc_bulk(cache, GFP_KERNEL, ARRAY_SIZE(bulk), bulk))
		note_lost("bulk", bulk[1]);
	note_lost("krealloc", krealloc(kmalloc(32, GFP_KERNEL), 400, GFP_KERNEL));
	note_lost("kmemdup", kmemdup("lost", 5, GFP_KERNEL));
	note_lost("kstrdup", kstrdup("lost as well", GFP_KERNEL));
	memset(bulk, 0, sizeof(bulk));
	barrier_data(bulk);
}

static noinline void lose_mapped(void)
{
	note_lost("vmalloc", vmalloc(20 << 10));
	note_lost("percpu", (__force void *)__alloc_percpu(64, 8));
}

static noinline void lose_linked(void)
{
	struct bench_lost *a = kzalloc(sizeof(*a), GFP_KERNEL);
	struct bench_lost *b = kzalloc(sizeof(*b), GFP_KERNEL);
	struct bench_lost *c = kzalloc(sizeof(*c), GFP_KERNEL);
	struct bench_lost *d = kzalloc(sizeof(*d), GFP_KERNEL);

	if (a && b && c && d) {
		WRITE_ONCE(a->other, b);	/* b is lost with a */
		WRITE_ONCE(c->other, d);	/* a ring */
		WRITE_ONCE(d->other, c);
	}
	note_lost("behind", b);
	note_lost("ring", d);
}

static noinline void lose_atomic(const char *kind)
{
	unsigned long flags;
	void *p;

	local_irq_save(flags);
	p = kmalloc(96, GFP_ATOMIC);
	local_irq_restore(flags);
	note_lost(kind, p);
}

static void on_timer(struct timer_list *unused)
{
	lose_atomic("timer");
	complete(&done);
}

static void on_work(struct work_struct *unused)
{
	lose_atomic("work");
	complete(&done);
}

static DEFINE_TIMER(timer, on_timer);
static DECLARE_WORK(work, on_work);

/* Overwrites what the functions above left on this stack. */
static noinline void wipe(void)
{
	unsigned long junk[256];

	memset(junk, 0, sizeof(junk));
	barrier_data(junk);
}

static int lose_all(void *unused)
{
	lose_slab();
	lose_mapped();
	lose_linked();
	lose_atomic("irqs-off");
	mod_timer(&timer, jiffies + 1);
	wait_for_completion(&done);
	schedule_work(&work);
	wait_for_completion(&done);
	wipe();
	while (!kthread_should_stop())
		msleep(20);
	return 0;
}

int bench_leak(void)
{
	struct task_struct *task;

	if (!cache)
		cache = kmem_cache_create("kmt_bench", 200, 0, 0, NULL);
	if (!cache)
		return -ENOMEM;
	task = kthread_run(lose_all, NULL, "kmt_bench_leak");
	if (IS_ERR(task))
		return PTR_ERR(task);
	msleep(200);
	kthread_stop(task);
	flush_work(&work);
	return 0;
}
