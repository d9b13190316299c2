// SPDX-License-Identifier: GPL-2.0
/*
 * A look at all memory at one moment.
 *
 * All CPUs are stopped; every task is switched out, so that its registers are
 * on its stack or in its task_struct, but the stoppers, which hold nothing.
 * The CPUs share the work: first they note which pages are free, then they read
 * roots and reached blocks for references to the suspects.
 *
 * A CPU may be long in coming: where a task does not let others run, or with
 * interrupts off. Those that have come do not wait for it: if they are not all
 * there within a part of max_pause they go on, and the scan tries again later.
 * That is why it is not stop_machine() that stops them, which waits for ever.
 *
 * Nothing in here sleeps, allocates, prints, or waits for a lock that a stopped
 * task may hold. It ends in time, with a result or without.
 */
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched/stat.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>
#include <asm/sections.h>

#include "../percpu-internal.h"
#include "../slab.h"
#include "scan.h"

/* A marker and its mark stack, for each CPU. */
#define KMT_HELPER_ORDER	get_order(SZ_16K)

/* See expect(). */
#define KMT_BLOCK_WORDS		40
#define KMT_STACK_WORDS		64

/* The part of max_pause in which all CPUs have to come: a quarter. */
#define KMT_GATHER_SHIFT	2

/**
 * enum kmt_stop_state - how far a stop has come
 * @KMT_STOP_GATHER: CPUs are coming; interrupts are on
 * @KMT_STOP_CLOSE: all are there, and switch interrupts off
 * @KMT_STOP_LOOK: nothing else runs
 * @KMT_STOP_OVER: a CPU was too late: all go on
 */
enum kmt_stop_state {
	KMT_STOP_GATHER,
	KMT_STOP_CLOSE,
	KMT_STOP_LOOK,
	KMT_STOP_OVER,
};

/**
 * struct kmt_stop - a snapshot being taken
 * @scan: the scan it is for
 * @free_turns: units of noting free pages that were taken
 * @turns: units of looking for references that were taken
 * @state: enum kmt_stop_state
 * @missing: CPUs that did not come yet
 * @open: CPUs that have interrupts on
 * @noting: CPUs that did not note their part yet
 * @looking: CPUs that did not look at their share yet
 * @inside: CPUs that may still refer to this; it is not used anew before
 *	there is none
 * @came: those that came
 * @over: completed when nobody looks at memory any more
 * @since: nanoseconds when the first CPU came
 * @until: when the last one went
 * @busy: one that did not come in time
 * @done: all of it was looked at
 */
struct kmt_stop {
	struct kmt_scan *scan;
	atomic_long_t free_turns;
	atomic_long_t turns;
	atomic_t state;
	atomic_t missing;
	atomic_t open;
	atomic_t noting;
	atomic_t looking;
	atomic_t inside;
	struct cpumask came;
	struct completion over;
	atomic64_t since;
	atomic64_t until;
	int busy;
	bool done;
};

/* Under kmt_scan_mutex; a CPU that is late refers to it after its scan. */
static struct kmt_stop the_stop;

/* A marker for each CPU that is online, during a snapshot. */
static DEFINE_PER_CPU(struct kmt_marker *, helper);

static u64 max_pause(void)
{
	return READ_ONCE(kmt_tunables.max_pause) * (u64)NSEC_PER_USEC;
}

/* The last CPU, all others are through: what is left over, and the result. */
static void finish(struct kmt_stop *stop, struct kmt_marker *m)
{
	struct kmt_scan *scan = stop->scan;
	bool overflow = false, stopped = false;
	int cpu;

	for_each_online_cpu(cpu) {
		overflow |= per_cpu(helper, cpu)->stack.overflow;
		stopped |= per_cpu(helper, cpu)->stopped;
	}
	if (overflow && !stopped) {
		kmt_recheck_rest(m);
		stopped = m->stopped;
	}
	for_each_online_cpu(cpu) {
		scan->m.stats.words += per_cpu(helper, cpu)->stats.words;
		scan->m.stats.hits += per_cpu(helper, cpu)->stats.hits;
	}
	stop->done = !stopped;
}

/*
 * Until the deadline: another CPU may be a virtual one that does not run. Then this
 * marker is stopped, and with it the snapshot; this CPU goes on at once.
 */
static void await_others(struct kmt_marker *m, atomic_t *busy)
{
	atomic_dec(busy);
	/* Pairs with that of the others: their part is to be seen. */
	while (atomic_read_acquire(busy) && !kmt_mark_cond_resched(m))
		cpu_relax();
}

/* On each CPU, at the same time, interrupts off. */
static void look_at_share(struct kmt_stop *stop)
{
	struct kmt_roots *roots = &stop->scan->roots;
	struct kmt_marker *m = __this_cpu_read(helper);

	m->deadline = atomic64_read(&stop->since) + max_pause();
	kmt_take_turns(m, &stop->free_turns);
	kmt_page_map_note_free(m, roots);
	await_others(m, &stop->noting);

	kmt_take_turns(m, &stop->turns);
	kmt_mark_stacks(m, roots);
	kmt_mark_memory(m, roots);
	kmt_recheck(m);
	/* Orders what the others found before finish(). */
	if (atomic_dec_and_test(&stop->looking))
		finish(stop, m);
}

#ifdef CONFIG_SMP
static DEFINE_PER_CPU(struct cpu_stop_work, stop_works);

static bool is_late(struct kmt_stop *stop)
{
	u64 since = atomic64_read(&stop->since);

	return ktime_get_mono_fast_ns() - since > max_pause() >> KMT_GATHER_SHIFT;
}

static void note_end(struct kmt_stop *stop)
{
	s64 now = ktime_get_mono_fast_ns(), was = atomic64_read(&stop->until);

	while (now > was && !atomic64_try_cmpxchg(&stop->until, &was, now))
		;
}

static int find_busy(const struct kmt_stop *stop)
{
	int cpu;

	for_each_online_cpu(cpu)
		if (!cpumask_test_cpu(cpu, &stop->came))
			return cpu;
	/* All have come; one did not switch interrupts off, or was too late. */
	return smp_processor_id();
}

/* Waits until the stop is not in @state any more; that may be its end. */
static void wait_in(struct kmt_stop *stop, enum kmt_stop_state state)
{
	while (atomic_read_acquire(&stop->state) == state) {
		cpu_relax();
		if (!is_late(stop))
			continue;
		if (atomic_cmpxchg(&stop->state, state, KMT_STOP_OVER) != state)
			continue;
		stop->busy = find_busy(stop);
		note_end(stop);
		complete(&stop->over);
	}
}

/* Waits for the others; returns with interrupts off if all have come. */
static bool gather(struct kmt_stop *stop)
{
	cpumask_set_cpu(smp_processor_id(), &stop->came);
	if (atomic_dec_and_test(&stop->missing))
		atomic_cmpxchg(&stop->state, KMT_STOP_GATHER, KMT_STOP_CLOSE);
	wait_in(stop, KMT_STOP_GATHER);
	if (atomic_read(&stop->state) == KMT_STOP_OVER)
		return false;

	local_irq_disable();
	if (atomic_dec_and_test(&stop->open))
		atomic_cmpxchg(&stop->state, KMT_STOP_CLOSE, KMT_STOP_LOOK);
	wait_in(stop, KMT_STOP_CLOSE);
	if (atomic_read(&stop->state) == KMT_STOP_LOOK)
		return true;
	local_irq_enable();
	return false;
}

/* Runs in the stopper thread of each CPU, preemption off. */
static int stop_cpu(void *arg)
{
	struct kmt_stop *stop = arg;
	bool looked = false;

	atomic64_cmpxchg(&stop->since, 0, ktime_get_mono_fast_ns());
	/* One that is late stops nobody. */
	if (atomic_read(&stop->state) == KMT_STOP_GATHER) {
		looked = gather(stop);
		if (looked) {
			look_at_share(stop);
			local_irq_enable();
		}
		note_end(stop);
	}
	/* If it was given up that was completed then, and @stop may be reused. */
	if (atomic_dec_and_test(&stop->inside) && looked)
		complete(&stop->over);
	return 0;
}

/*
 * Has all CPUs stop, and waits until it is over. A CPU that is late finds some
 * time that it is: the scan does not wait for it.
 */
static void begin_stop(struct kmt_stop *stop)
{
	int cpu;

	/* Preemption off: this CPU must not stop before all others are told to. */
	preempt_disable();
	for_each_online_cpu(cpu)
		stop_one_cpu_nowait(cpu, stop_cpu, stop,
				    per_cpu_ptr(&stop_works, cpu));
	preempt_enable();
	wait_for_completion(&stop->over);
}
#else
static void begin_stop(struct kmt_stop *stop)
{
	unsigned long flags;

	local_irq_save(flags);
	atomic64_set(&stop->since, ktime_get_mono_fast_ns());
	look_at_share(stop);
	atomic64_set(&stop->until, ktime_get_mono_fast_ns());
	local_irq_restore(flags);
	atomic_set(&stop->state, KMT_STOP_LOOK);
	atomic_set(&stop->inside, 0);
}
#endif

/* Nanoseconds that it takes to sum up so many words now, at a guess from few. */
static u64 time_to_sum(unsigned long words)
{
	/* Each is read for the first time, as most of memory will be. */
	const unsigned int nr = SZ_16K / sizeof(long), rounds = 8;
	const unsigned long *from = (unsigned long *)_stext;
	u64 sum = 0, worst = 0;
	unsigned int i;

	for (i = 0; i < rounds; i++, from += nr) {
		u64 t;

		preempt_disable();
		t = ktime_get_mono_fast_ns();
		kmt_sum(from, nr, 0);
		t = ktime_get_mono_fast_ns() - t;
		preempt_enable();
		worst = max(worst, t);
		sum += t;
	}
	/* The worst one was interrupted, most likely. */
	return mul_u64_u64_div_u64(sum - worst, words, nr * (rounds - 1));
}

/*
 * Estimates how long all CPUs will stand still, in nanoseconds, in units of the
 * time to sum up one word. A record costs KMT_BLOCK_WORDS beside its contents,
 * a page KMT_PAGE_WORDS, and a task KMT_STACK_WORDS on each CPU, since each CPU
 * walks over all tasks. @words is what the mark read, which includes stacks and
 * per-CPU memory of all possible CPUs. A block that has changed takes several
 * times as long, but few have.
 */
static u64 expect(unsigned long words)
{
	words += words / 4;
	words += KMT_BLOCK_WORDS * READ_ONCE(kmt_core.pool.cells);
	words += KMT_PAGE_WORDS * (totalram_pages() + kmt_pages_of_cpus());
	words += KMT_STACK_WORDS * nr_threads * num_online_cpus();
	return div_u64(time_to_sum(words), num_online_cpus());
}

static struct kmt_marker *alloc_helper(struct kmt_scan *scan)
{
	struct kmt_marker *m;
	struct kmt_mark_entry *stack;
	unsigned long end;

	m = kmt_own_alloc(GFP_KERNEL | __GFP_NORETRY, KMT_HELPER_ORDER);
	if (!m)
		return NULL;
	end = (unsigned long)m + (PAGE_SIZE << KMT_HELPER_ORDER);
	stack = PTR_ALIGN((struct kmt_mark_entry *)(m + 1), sizeof(*stack));
	kmt_marker_help(m, &scan->m, &scan->filter, stack,
			(end - (unsigned long)stack) / sizeof(*stack));
	return m;
}

static void free_helpers(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		kmt_own_free(per_cpu(helper, cpu), KMT_HELPER_ORDER);
		per_cpu(helper, cpu) = NULL;
	}
}

static bool alloc_helpers(struct kmt_scan *scan)
{
	int cpu;

	for_each_online_cpu(cpu) {
		per_cpu(helper, cpu) = alloc_helper(scan);
		if (!per_cpu(helper, cpu))
			return false;
	}
	return true;
}

/*
 * Takes the locks that nobody may hold while all CPUs are stopped: a task could have
 * been stopped while it changed a list that is read. The
 * allocators, too, take pcpu_alloc_mutex with slab_mutex held, to create a
 * cache.
 */
static void prepare(struct kmt_scan *scan, bool slots)
{
	get_online_mems();
	if (slots)
		mutex_lock(&slab_mutex);
	mutex_lock(&pcpu_alloc_mutex);
	kmt_page_map_prepare(&scan->m, &scan->roots);
}

static void init_stop(struct kmt_stop *stop, struct kmt_scan *scan)
{
	unsigned int nr = num_online_cpus();

	memset(stop, 0, sizeof(*stop));
	stop->scan = scan;
	atomic_set(&stop->missing, nr);
	atomic_set(&stop->open, nr);
	atomic_set(&stop->noting, nr);
	atomic_set(&stop->looking, nr);
	atomic_set(&stop->inside, nr);
	init_completion(&stop->over);
}

static enum kmt_confirmed stop_and_look(struct kmt_scan *scan)
{
	const bool slots = READ_ONCE(kmt_sweep_untracked);
	struct kmt_stop *stop = &the_stop;
	u64 since, until;

	prepare(scan, slots);
	if (!scan->m.stopped) {
		init_stop(stop, scan);
		begin_stop(stop);
	}
	mutex_unlock(&pcpu_alloc_mutex);
	if (slots)
		mutex_unlock(&slab_mutex);
	put_online_mems();
	if (scan->m.stopped)
		return KMT_GIVEN_UP;
	since = atomic64_read(&stop->since);
	until = atomic64_read(&stop->until);
	scan->out.pause_ns = max(scan->out.pause_ns, until - min(since, until));
	if (atomic_read(&stop->state) == KMT_STOP_OVER) {
		scan->out.busy_cpu = stop->busy;
		return KMT_CPU_BUSY;
	}
	return stop->done ? KMT_BY_SNAPSHOT : KMT_GIVEN_UP;
}

/**
 * kmt_snapshot - look for references to suspects while nothing else runs
 * @scan: after kmt_accuse()
 * @words: what its mark read
 *
 * Context: may sleep; all CPUs are held, for kmt_tunables.max_pause at most.
 * Return: KMT_BY_SNAPSHOT if the counts of suspects are exact now, or why they
 * are not.
 */
enum kmt_confirmed kmt_snapshot(struct kmt_scan *scan, unsigned long words)
{
	enum kmt_confirmed how = KMT_NO_MEMORY;

	lockdep_assert_held(&kmt_scan_mutex);
	/* A CPU did not come yet since it was asked to last. */
	if (atomic_read_acquire(&the_stop.inside)) {
		scan->out.busy_cpu = the_stop.busy;
		return KMT_CPU_BUSY;
	}
	cpus_read_lock();
	scan->out.expected_ns = expect(words);
	if (scan->out.expected_ns > max_pause() - (max_pause() >> KMT_GATHER_SHIFT)) {
		how = KMT_TOO_LONG;
	} else {
		if (alloc_helpers(scan))
			how = stop_and_look(scan);
		free_helpers();
	}
	cpus_read_unlock();
	return how;
}
