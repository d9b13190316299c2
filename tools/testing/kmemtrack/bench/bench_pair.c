// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations and frees, timed. A tracker records the stack of every
 * allocation, so all loops run at the same depth of the stack: functions
 * which may not be inlined are stacked up until the trace, as the kernel's
 * own unwinder counts it, has BENCH_DEPTH frames.
 */
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/stacktrace.h>

#include "bench.h"

#define BENCH_DEPTH	15	/* the allocator adds one more */
#define BENCH_ROUNDS	41	/* odd, so that the median is one of them */
#ifdef CONFIG_UML
#define BENCH_PAIRS	2048	/* in a round; a call of the clock takes longer */
#else
#define BENCH_PAIRS	256	/* in a round */
#endif
#define BENCH_BATCH	1000

/* A variable, as in most callers: a constant would pick the cache for free */
static unsigned int size = BENCH_SIZE;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "bytes of an object whose allocation is timed");

static void *batch[BENCH_BATCH];

static struct task_struct *load_task;
static u64 load_ns, load_pairs, load_worst;

static unsigned int depth_here(void)
{
	static unsigned long trace[64];

	return stack_trace_save(trace, ARRAY_SIZE(trace), 0);
}

/* Call @fn with BENCH_DEPTH frames on the stack, its own not counted. */
static noinline void at_depth(unsigned int more, bench_fn fn, u64 *figure)
{
	if (more)
		at_depth(more - 1, fn, figure);
	else
		fn(figure);
	barrier();		/* no tail call: the frame has to stay */
}

static noinline void depth_round(u64 *figure)
{
	figure[0] = depth_here();
}

static noinline void pair_round(u64 *figure)
{
	u64 start = bench_clock();
	int i;

	for (i = 0; i < BENCH_PAIRS; i++) {
		void *p = kmalloc(size, GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(p);
		kfree(p);
	}
	figure[0] = bench_hundredths(bench_clock() - start, BENCH_PAIRS);
}

#define SITE(n)								\
static noinline void *site_##n(void)					\
{									\
	void *p = kmalloc(size, GFP_KERNEL);			\
									\
	OPTIMIZER_HIDE_VAR(p);						\
	return p;							\
}

SITE(0) SITE(1) SITE(2) SITE(3) SITE(4) SITE(5) SITE(6) SITE(7)
SITE(8) SITE(9) SITE(10) SITE(11) SITE(12) SITE(13) SITE(14) SITE(15)

static void *(*const sites[])(void) = {
	site_0, site_1, site_2, site_3, site_4, site_5, site_6, site_7,
	site_8, site_9, site_10, site_11, site_12, site_13, site_14, site_15,
};

static noinline void sites_round(u64 *figure)
{
	u64 start = bench_clock();
	int i;

	for (i = 0; i < BENCH_PAIRS; i++)
		kfree(sites[i % ARRAY_SIZE(sites)]());
	figure[0] = bench_hundredths(bench_clock() - start, BENCH_PAIRS);
}

static noinline void batch_round(u64 *figure)
{
	u64 start, mid, end;
	int i;

	start = bench_clock();
	for (i = 0; i < BENCH_BATCH; i++)
		batch[i] = kmalloc(size, GFP_KERNEL);
	mid = bench_clock();
	for (i = 0; i < BENCH_BATCH; i++)
		kfree(batch[i]);
	end = bench_clock();
	memset(batch, 0, sizeof(batch));
	figure[0] = bench_hundredths(mid - start, BENCH_BATCH);
	figure[1] = bench_hundredths(end - mid, BENCH_BATCH);
}

static int cmp_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* The median leaves out the rounds which a tick fell into; the mean does not */
static void print_rounds(const char *row, const char *what, u64 *figure)
{
	char name[32];
	u64 sum = 0;
	int i;

	for (i = 0; i < BENCH_ROUNDS; i++)
		sum += figure[i];
	sort(figure, BENCH_ROUNDS, sizeof(*figure), cmp_u64, NULL);
	bench_figure(row, what, figure[BENCH_ROUNDS / 2]);
	snprintf(name, sizeof(name), "%s_mean", what);
	bench_figure(row, name, div_u64(sum, BENCH_ROUNDS));
	snprintf(name, sizeof(name), "%s_min", what);
	bench_figure(row, name, figure[0]);
	snprintf(name, sizeof(name), "%s_max", what);
	bench_figure(row, name, figure[BENCH_ROUNDS - 1]);
}

/* Frames to stack up below a round, found by trying. */
static unsigned int find_depth(void)
{
	unsigned int more;
	u64 depth = 0;

	for (more = 0; more < BENCH_DEPTH; more++) {
		at_depth(more, depth_round, &depth);
		if (depth > BENCH_DEPTH)	/* depth_here() counts itself */
			break;
	}
	return more;
}

static void measure(bench_fn fn, u64 *first, u64 *second)
{
	unsigned int more = find_depth();
	u64 figure[2] = {};
	int i;

	for (i = -2; i < BENCH_ROUNDS; i++) {	/* two rounds to warm up */
		at_depth(more, fn, figure);
		if (i >= 0) {
			first[i] = figure[0];
			second[i] = figure[1];
		}
		cond_resched();
	}
}

int bench_measure(const char *row, bench_fn fn, const char *first,
		  const char *second)
{
	static u64 one[BENCH_ROUNDS], two[BENCH_ROUNDS];

	measure(fn, one, two);
	print_rounds(row, first, one);
	if (second)
		print_rounds(row, second, two);
	return 0;
}

int bench_pair(const char *row)
{
	return bench_measure(row, pair_round, "pair", NULL);
}

int bench_sites(const char *row)
{
	return bench_measure(row, sites_round, "pair", NULL);
}

int bench_batch(const char *row)
{
	return bench_measure(row, batch_round, "alloc", "free");
}

static int load_thread(void *unused)
{
	u64 start, now, took;

	load_ns = 0;
	load_pairs = 0;
	load_worst = 0;
	while (!kthread_should_stop()) {
		int i;

		for (i = 0; i < BENCH_PAIRS; i++) {
			void *p;

			start = ktime_get_ns();
			p = kmalloc(size, GFP_KERNEL);
			OPTIMIZER_HIDE_VAR(p);
			kfree(p);
			now = ktime_get_ns();
			took = now - start;
			load_worst = max(load_worst, took);
			load_ns += took;
		}
		load_pairs += BENCH_PAIRS;
		cond_resched();
	}
	return 0;
}

int bench_load_start(unsigned int cpu)
{
	struct task_struct *task;

	if (load_task || !cpu_online(cpu))
		return -EINVAL;
	task = kthread_create(load_thread, NULL, "kmt_bench/%u", cpu);
	if (IS_ERR(task))
		return PTR_ERR(task);
	kthread_bind(task, cpu);
	load_task = task;
	wake_up_process(task);
	return 0;
}

int bench_load_stop(const char *row)
{
	if (!load_task)
		return -EINVAL;
	kthread_stop(load_task);
	load_task = NULL;
	if (!row)
		return 0;
	bench_figure(row, "avg", div64_u64(load_ns * 100, load_pairs ?: 1));
	bench_figure(row, "max", load_worst * 100);
	bench_figure(row, "count", load_pairs * 100);
	return 0;
}
