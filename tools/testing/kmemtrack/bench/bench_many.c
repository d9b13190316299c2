// SPDX-License-Identifier: GPL-2.0
/*
 * Pairs whose cost depends on the caches. An emulator that counts instructions
 * shows no difference between these and any other pair.
 */
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "bench.h"

/* Twice the last level cache, 32 MiB, of the machine this was written on. */
#define COLD_BYTES	(64UL << 20)
#define COLD_ORDER	8
#define COLD_BLOCK	(PAGE_SIZE << COLD_ORDER)
#define COLD_BLOCKS	(COLD_BYTES / COLD_BLOCK)
#define COLD_LINE	64

/* Objects of 128 bytes: more than fit into that cache, metadata not counted. */
#define SPREAD_OBJECTS	300000
#define SPREAD_PAIRS	1024

#define MANY_PAIRS	4000
#define LOOP_TURNS	100000

static unsigned int size = BENCH_SIZE;

static unsigned long cold_block[COLD_BLOCKS];
static void **spread;

/* Each expansion is a call site of its own. */
static __always_inline void pair(void)
{
	void *p = kmalloc(READ_ONCE(size), GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(p);
	kfree(p);
}

#define PAIRS_10()							\
	do {								\
		pair(); pair(); pair(); pair(); pair();			\
		pair(); pair(); pair(); pair(); pair();			\
	} while (0)

#define PAIRS_100()							\
	do {								\
		PAIRS_10(); PAIRS_10(); PAIRS_10(); PAIRS_10();		\
		PAIRS_10(); PAIRS_10(); PAIRS_10(); PAIRS_10();		\
		PAIRS_10(); PAIRS_10();					\
	} while (0)

static noinline void pairs_1000(void)
{
	PAIRS_100();
	PAIRS_100();
	PAIRS_100();
	PAIRS_100();
	PAIRS_100();
	PAIRS_100();
	PAIRS_100();
	PAIRS_100();
	PAIRS_100();
	PAIRS_100();
}

/*
 * Work that does not allocate, so it takes the same time under any detector.
 * If it takes longer in one boot, other load has slowed the CPU down.
 */
static noinline void loop_round(u64 *figure)
{
	u64 start = bench_clock();
	u64 a = start, b = 1, c = 2, d = 3;
	int i;

	for (i = 0; i < LOOP_TURNS; i++) {
		a = a * 5 + i;
		b = b * 9 + i;
		c += c << 3 ^ i;
		d ^= d >> 5;
		OPTIMIZER_HIDE_VAR(a);
		OPTIMIZER_HIDE_VAR(b);
		OPTIMIZER_HIDE_VAR(c);
		OPTIMIZER_HIDE_VAR(d);
	}
	figure[0] = bench_hundredths(bench_clock() - start, LOOP_TURNS / 1000);
}

int bench_loop(const char *row)
{
	return bench_measure(row, loop_round, "ns", NULL);
}

static noinline void many_round(u64 *figure)
{
	u64 start = bench_clock();
	int i;

	for (i = 0; i < MANY_PAIRS; i += 1000)
		pairs_1000();
	figure[0] = bench_hundredths(bench_clock() - start, MANY_PAIRS);
}

int bench_many_sites(const char *row)
{
	return bench_measure(row, many_round, "pair", NULL);
}

/* Read so much that the caches and the TLB keep nothing that a pair uses. */
static noinline void sweep(void)
{
	unsigned long sum = 0;
	size_t i, at;

	for (i = 0; i < COLD_BLOCKS; i++)
		for (at = 0; at < COLD_BLOCK; at += COLD_LINE)
			sum += READ_ONCE(*(unsigned long *)(cold_block[i] + at));
	OPTIMIZER_HIDE_VAR(sum);
}

static noinline void cold_round(u64 *figure)
{
	u64 start;

	sweep();
	bench_fine_since(bench_fine_start());	/* warm when it is needed */
	start = bench_fine_start();
	pair();
	figure[0] = bench_fine_since(start);
}

static void cold_free(void)
{
	int i;

	for (i = 0; i < COLD_BLOCKS; i++) {
		free_pages(cold_block[i], COLD_ORDER);
		cold_block[i] = 0;
	}
}

int bench_cold(const char *row)
{
	int i, err;

	for (i = 0; i < COLD_BLOCKS; i++) {
		cold_block[i] = __get_free_pages(GFP_KERNEL | __GFP_ZERO,
						 COLD_ORDER);
		if (!cold_block[i]) {
			cold_free();
			return -ENOMEM;
		}
	}
	bench_fine_init();
	err = bench_measure(row, cold_round, "pair", NULL);
	cold_free();
	return err;
}

/* Numbers that a prefetcher cannot guess, the same in every boot. */
static u32 next_random(void)
{
	static u32 state = 2463534242;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static noinline void spread_round(u64 *figure)
{
	u64 start = bench_clock();
	int i;

	for (i = 0; i < SPREAD_PAIRS; i++) {
		u32 nr = next_random() % SPREAD_OBJECTS;

		kfree(spread[nr]);
		spread[nr] = kmalloc(READ_ONCE(size), GFP_KERNEL);
	}
	figure[0] = bench_hundredths(bench_clock() - start, SPREAD_PAIRS);
}

int bench_spread(const char *row)
{
	int i, err = -ENOMEM;

	spread = kvcalloc(SPREAD_OBJECTS, sizeof(*spread), GFP_KERNEL);
	if (!spread)
		return -ENOMEM;
	for (i = 0; i < SPREAD_OBJECTS; i++) {
		spread[i] = kmalloc(READ_ONCE(size), GFP_KERNEL);
		if (!spread[i])
			goto out;
		cond_resched();
	}
	/* Neighbours in the array are neighbours in memory: shuffle them. */
	for (i = SPREAD_OBJECTS - 1; i > 0; i--) {
		u32 nr = next_random() % (i + 1);

		swap(spread[i], spread[nr]);
	}
	err = bench_measure(row, spread_round, "pair", NULL);
out:
	for (i = 0; i < SPREAD_OBJECTS; i++) {
		kfree(spread[i]);
		cond_resched();
	}
	kvfree(spread);
	spread = NULL;
	return err;
}

/* This runs in a thread, so that no reference stays on a stack that lives on. */
static int lose_thread(void *count)
{
	unsigned long i;

	for (i = 0; i < (unsigned long)count; i++) {
		void *p = kmalloc(176, GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(p);
	}
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

int bench_lose(unsigned int count)
{
	struct task_struct *task;

	task = kthread_run(lose_thread, (void *)(unsigned long)count,
			   "kmt_bench_lose");
	if (IS_ERR(task))
		return PTR_ERR(task);
	schedule_timeout_uninterruptible(2);
	return kthread_stop(task);
}
