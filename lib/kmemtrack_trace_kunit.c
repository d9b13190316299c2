// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of kmemtrack: its backtraces are those of the kernel's unwinder, in
 * whichever way they were taken.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>

#include "../mm/kmemtrack/compat.h"
#include "../mm/kmemtrack/glue.h"
#include "../mm/kmemtrack/recent.h"
#include "test_kmemtrack_compat.h"

#define ROUNDS		3000
#define MAX_FRAMES	64

/**
 * struct way - a way to an allocation, and the traces of it
 * @turns: which function calls which, a bit for each level
 * @levels: how many levels there are
 * @gfp: for the allocation
 * @entries: what the unwinder says; the function that allocates is among them
 * @nr: how many
 * @p: the block
 * @done: it was allocated
 * @timer: for hard interrupts
 * @tasklet: for soft interrupts
 */
struct way {
	unsigned int turns;
	unsigned int levels;
	gfp_t gfp;
	unsigned long entries[MAX_FRAMES];
	unsigned int nr;
	void *p;
	struct completion done;
	struct hrtimer timer;
	struct tasklet_struct tasklet;
};

/* A function of its own: 32-bit ARM of 6.1 leaves out who calls the unwinder. */
static noinline void unwind(struct way *way)
{
	way->nr = stack_trace_save(way->entries, MAX_FRAMES, 0);
}

static noinline void allocate(struct way *way)
{
	way->p = kmalloc(88, way->gfp);
	unwind(way);
	barrier();
}

static noinline void descend(struct way *way, unsigned int level);

/* Functions with frames of different sizes and without tail calls. */
#define LEVEL(name, words)						\
static noinline void name(struct way *way, unsigned int level)	\
{									\
	unsigned long local[words];					\
									\
	local[0] = level;						\
	barrier_data(local);						\
	descend(way, level + 1);					\
	barrier_data(local);						\
}

LEVEL(turn_left, 2)
LEVEL(turn_right, 9)

static noinline void descend(struct way *way, unsigned int level)
{
	if (level == way->levels)
		allocate(way);
	else if (way->turns & BIT(level))
		turn_left(way, level);
	else
		turn_right(way, level);
	barrier();
}

static void walk(struct way *way)
{
	descend(way, 0);
}

/* Return addresses are in the function, or right after its last instruction. */
static bool is_in(unsigned long pc, const void *function)
{
	/* The address of a function that is Thumb code is odd. */
	const unsigned long start = (unsigned long)function &
				    ~(unsigned long)IS_ENABLED(CONFIG_THUMB2_KERNEL);
	unsigned long size, offset;

	return kallsyms_lookup_size_offset(pc - 1, &size, &offset) &&
	       pc - 1 - offset == start;
}

/*
 * The two traces were taken at different places in allocate(). The depot keeps only
 * the frames of an interrupt, not those of the interrupted code.
 */
static void compare(struct kunit *test, struct way *way)
{
	unsigned long *entries;
	struct kmt_object o;
	unsigned int nr, i, skip = 0, own = 0;

	KUNIT_ASSERT_NOT_NULL(test, way->p);
	KUNIT_ASSERT_TRUE(test, kmt_lookup(&kmt_core, KMT_VIRT,
					   (unsigned long)way->p, &o));
	KUNIT_ASSERT_NE(test, o.trace, 0);
	nr = stack_depot_fetch(o.trace, &entries);
	way->nr = filter_irq_stacks(way->entries, way->nr);
	while (skip < nr && !is_in(entries[skip], allocate))
		skip++;
	KUNIT_ASSERT_LT(test, skip, nr);
	/* unwind() is shown, and on some architectures the unwinder itself. */
	while (own < way->nr && !is_in(way->entries[own], allocate))
		own++;
	KUNIT_ASSERT_LT(test, own, way->nr);
	for (i = 1; i + skip < nr; i++)
		KUNIT_ASSERT_EQ_MSG(test, entries[i + skip],
				    way->entries[i + own],
				    "frame %u of %u", i + skip, nr);
	/* It ends with the last frame, or at the limit of the depth. */
	if (nr < CONFIG_KMEMTRACK_STACK_DEPTH)
		KUNIT_ASSERT_EQ(test, nr - skip, way->nr - own);
	KUNIT_ASSERT_LE(test, nr, CONFIG_KMEMTRACK_STACK_DEPTH);
}

/* Chooses few ways often, and many seldom. */
static void choose(struct way *way, struct rnd_state *rnd)
{
	u32 r = prandom_u32_state(rnd);

	way->levels = r % 4 ? r / 4 % 4 : r / 4 % 12;
	way->turns = r / 64;
	way->p = NULL;
}

static enum hrtimer_restart in_hard_interrupt(struct hrtimer *timer)
{
	struct way *way = container_of(timer, struct way, timer);

	/* As the handlers of devices, which may allocate. */
	lockdep_hardirq_threaded();
	walk(way);
	complete(&way->done);
	return HRTIMER_NORESTART;
}

static void in_soft_interrupt(struct tasklet_struct *tasklet)
{
	struct way *way = container_of(tasklet, struct way, tasklet);

	walk(way);
	complete(&way->done);
}

/* Use a timer: if a CPU cannot interrupt itself, an irq_work waits for the next tick. */
static void run_in_hard_interrupt(struct way *way)
{
	init_completion(&way->done);
	hrtimer_start(&way->timer, 0, HRTIMER_MODE_REL_HARD);
	wait_for_completion(&way->done);
	hrtimer_cancel(&way->timer);
}

/* Runs on the stack of interrupts, or on that of ksoftirqd. */
static void run_tasklet(struct way *way, bool at_once)
{
	init_completion(&way->done);
	if (at_once)
		local_bh_disable();
	tasklet_schedule(&way->tasklet);
	if (at_once)
		local_bh_enable();
	wait_for_completion(&way->done);
	tasklet_unlock_wait(&way->tasklet);
}

static void run_tasklet_at_once(struct way *way)
{
	run_tasklet(way, true);
}

static void run_tasklet_both_ways(struct way *way)
{
	run_tasklet(way, way->turns & 1);
}

static struct way *new_way(struct kunit *test, gfp_t gfp)
{
	struct way *way = kunit_kzalloc(test, sizeof(*way), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, way);
	way->gfp = gfp;
	way->levels = 3;
	hrtimer_setup(&way->timer, in_hard_interrupt, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_HARD);
	tasklet_setup(&way->tasklet, in_soft_interrupt);
	return way;
}

/* Takes many ways, each one by calling @go. */
static void same_traces(struct kunit *test, u64 seed, gfp_t gfp,
			void (*go)(struct way *way))
{
	struct way *way = new_way(test, gfp);
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, seed);
	for (i = 0; i < ROUNDS; i++) {
		choose(way, &rnd);
		go(way);
		compare(test, way);
		kfree(way->p);
	}
	tasklet_kill(&way->tasklet);
}

/* Number of traces that no CPU had remembered. */
static long unknown_traces(void)
{
	return atomic_long_read(&kmt_walked) + atomic_long_read(&kmt_unwound);
}

/* One way, many times: its trace is nearly always remembered. */
static void few_unknown(struct kunit *test, gfp_t gfp,
			void (*go)(struct way *way))
{
	struct way *way = new_way(test, gfp);
	long before = unknown_traces();
	unsigned int i;

	if (!KMT_TRACES_KNOWN)
		kunit_skip(test, "all traces are unwound");
	if (!kmt_true_returns())
		kunit_skip(test, "a tracer has replaced return addresses");
	for (i = 0; i < ROUNDS; i++) {
		go(way);
		kfree(way->p);
	}
	tasklet_kill(&way->tasklet);
	KUNIT_EXPECT_LT(test, unknown_traces() - before, ROUNDS / 10);
}

/* With frame records, traces of tasks do not need the unwinder. */
static void task_traces(struct kunit *test)
{
	long walked = atomic_long_read(&kmt_walked);
	long unwound = atomic_long_read(&kmt_unwound);

	same_traces(test, 1, GFP_KERNEL, walk);
	walked = atomic_long_read(&kmt_walked) - walked;
	unwound = atomic_long_read(&kmt_unwound) - unwound;
	if (!KMT_TRACES_KNOWN)
		KUNIT_EXPECT_EQ(test, walked, 0);
	else if (kmt_true_returns())
		KUNIT_EXPECT_GT(test, walked, 10 * unwound);
}

/* With steps, interrupts do not need it, either, since their traces end early. */
static void interrupt_traces(struct kunit *test, u64 seed,
			     void (*go)(struct way *way))
{
	long unwound = atomic_long_read(&kmt_unwound);

	same_traces(test, seed, GFP_ATOMIC, go);
	unwound = atomic_long_read(&kmt_unwound) - unwound;
	if (KMT_STEPS && kmt_true_returns())
		KUNIT_EXPECT_LT(test, unwound, ROUNDS / 10);
}

static void hardirq_traces(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "no hard interrupt allocates");
	interrupt_traces(test, 2, run_in_hard_interrupt);
}

static void softirq_traces(struct kunit *test)
{
	interrupt_traces(test, 3, run_tasklet_both_ways);
}

#ifdef CONFIG_KRETPROBES
static struct kretprobe probe;
static bool probing;

/*
 * Each turn to the left returns to the probe; the unwinder knows the real return
 * address.
 */
static void probed_traces(struct kunit *test)
{
	probe = (struct kretprobe){
		.kp.addr = (kprobe_opcode_t *)turn_left, .maxactive = 64,
	};
	KUNIT_ASSERT_EQ(test, register_kretprobe(&probe), 0);
	probing = true;
	same_traces(test, 4, GFP_KERNEL, walk);
	KUNIT_EXPECT_EQ(test, probe.nmissed, 0);
}

static void stop_probing(void)
{
	if (probing)
		unregister_kretprobe(&probe);
	probing = false;
}
#else
static void probed_traces(struct kunit *test)
{
	kunit_skip(test, "no kretprobes");
}

static void stop_probing(void)
{
}
#endif

static void recognised(struct kunit *test)
{
	few_unknown(test, GFP_KERNEL, walk);
}

static void recognised_in_softirq(struct kunit *test)
{
	few_unknown(test, GFP_ATOMIC, run_tasklet_at_once);
}

static int traces_init(struct kunit *test)
{
	if (!kmt_tracking())
		kunit_skip(test, "not tracking");
	return 0;
}

static void traces_exit(struct kunit *test)
{
	stop_probing();
}

/* Of two traces the depot took the one with the lower order first. */
static void order_of_traces(struct kunit *test)
{
	unsigned long entries[2] = { (unsigned long)order_of_traces };
	u32 order, last = 0;
	unsigned int i;

	/* More than one pool. */
	for (i = 0; i < 2000; i++) {
		entries[1] = get_random_long();
		order = kmt_trace_order(stack_depot_save(entries, 2, GFP_KERNEL));
		KUNIT_ASSERT_GT(test, order, last);
		last = order;
	}
}

static struct kunit_case traces_cases[] = {
	KUNIT_CASE(order_of_traces),
	KUNIT_CASE_SLOW(task_traces),
	KUNIT_CASE(recognised),
	KUNIT_CASE_SLOW(hardirq_traces),
	KUNIT_CASE_SLOW(softirq_traces),
	KUNIT_CASE_SLOW(recognised_in_softirq),
	KUNIT_CASE_SLOW(probed_traces),
	{}
};

static struct kunit_suite traces_suite = {
	.name = "kmemtrack_traces",
	.init = traces_init,
	.exit = traces_exit,
	.test_cases = traces_cases,
};

kunit_test_suite(traces_suite);
