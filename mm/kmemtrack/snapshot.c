// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshot: reading all memory at one moment.
 *
 * All CPUs are stopped. Every task except the stopper threads, which hold no references,
 * is switched out, so its registers are on its stack or in its task_struct. The CPUs
 * share the work: first they note which pages are free, then they read roots and reached
 * blocks for references to suspects.
 *
 * If a CPU takes long to stop, the others go on, and the scan tries again later: see
 * "Snapshot" in kmemtrack-design.rst.
 *
 * While all CPUs are stopped, no code in here sleeps, allocates, prints, or waits for a
 * lock that a stopped task may hold. The snapshot ends in time, with a result or without.
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

#include "../../kernel/time/timekeeping.h"
#include "../percpu-internal.h"
#include "../slab.h"
#include "scan.h"

/* Memory for a marker and its mark stack, one per CPU. */
#define KMT_MARKER_ORDER	get_order(SZ_16K)

/* See expect(). */
#define KMT_BLOCK_WORDS		40
#define KMT_STACK_WORDS		64UL

/* The part of max_pause in which all CPUs must have stopped: a quarter. */
#define KMT_ENTER_SHIFT	2

/**
 * enum kmt_stop_state - state of a stop
 * @KMT_STOP_ENTER: CPUs enter their stopper threads; interrupts are on
 * @KMT_STOP_CLOSE: all CPUs have entered, and switch interrupts off
 * @KMT_STOP_SEARCH: all CPUs are stopped, and read memory
 * @KMT_STOP_DONE: all memory was read: all CPUs leave
 * @KMT_STOP_TOO_LONG: the time is over before that: all CPUs leave
 * @KMT_STOP_LATE: a CPU was too late: all CPUs leave
 */
enum kmt_stop_state {
	KMT_STOP_ENTER,
	KMT_STOP_CLOSE,
	KMT_STOP_SEARCH,
	KMT_STOP_DONE,
	KMT_STOP_TOO_LONG,
	KMT_STOP_LATE,
};

/**
 * struct kmt_stop - a snapshot being taken
 * @scan: the scan
 * @free_taken: number of units of adding free pages to the map that CPUs have taken
 * @taken: number of units of the search that CPUs have taken
 * @state: enum kmt_stop_state
 * @pending: number of CPUs that have not arrived yet
 * @irqs_on: number of CPUs that have interrupts on
 * @mapping_free: number of CPUs that have not added their free pages to the map yet
 * @searching: number of CPUs that have not finished their search yet
 * @reading: number of CPUs that may still read memory
 * @users: number of CPUs that may still access this; it is not used again before
 *	there are none
 * @arrived: CPUs that have arrived
 * @over: completed when no CPU reads memory any more
 * @since: when the first CPU arrived, in nanoseconds
 * @until: when the last CPU left, in nanoseconds
 * @late_cpu: a CPU that did not arrive in time
 */
struct kmt_stop {
	struct kmt_scan *scan;
	atomic_long_t free_taken;
	atomic_long_t taken;
	atomic_t state;
	atomic_t pending;
	atomic_t irqs_on;
	atomic_t mapping_free;
	atomic_t searching;
	atomic_t reading;
	atomic_t users;
	struct cpumask arrived;
	struct completion over;
	atomic64_t since;
	atomic64_t until;
	int late_cpu;
};

/* Protected by kmt_scan_mutex; a CPU that is late may use it after the scan. */
static struct kmt_stop the_stop;

/* A marker for each CPU that is online, during a snapshot. */
static DEFINE_PER_CPU(struct kmt_marker *, stop_marker);

/*
 * Called on the last CPU when all others have finished: reads suspects that fitted on no
 * mark stack, and ends the search. If a marker was stopped, the snapshot is void.
 */
static void finish(struct kmt_stop *stop, struct kmt_marker *m)
{
	struct kmt_scan *scan = stop->scan;
	bool overflow = false, stopped = false;
	int cpu;

	for_each_online_cpu(cpu) {
		overflow |= per_cpu(stop_marker, cpu)->stack.overflow;
		stopped |= per_cpu(stop_marker, cpu)->stopped;
	}
	if (overflow && !stopped) {
		kmt_read_acquitted(m);
		stopped = m->stopped;
	}
	for_each_online_cpu(cpu) {
		scan->m.stats.words += per_cpu(stop_marker, cpu)->stats.words;
		scan->m.stats.hits += per_cpu(stop_marker, cpu)->stats.hits;
	}
	atomic_cmpxchg(&stop->state, KMT_STOP_SEARCH,
		       stopped ? KMT_STOP_TOO_LONG : KMT_STOP_DONE);
}

/*
 * Waits for the other CPUs, at most until the deadline, since the host may have preempted
 * another virtual CPU. At the deadline this marker is stopped, and so the snapshot is
 * given up.
 */
static void await_others(struct kmt_marker *m, atomic_t *pending)
{
	atomic_fetch_dec_release(pending);
	/* Pairs with the release above on the other CPUs: makes their bits visible. */
	while (atomic_read_acquire(pending) && !kmt_marker_check_stop(m))
		cpu_relax();
}

/* Called on each CPU, at the same time, with interrupts off. */
static void search_share(struct kmt_stop *stop)
{
	struct kmt_roots *roots = &stop->scan->roots;
	struct kmt_marker *m = __this_cpu_read(stop_marker);

	m->deadline = atomic64_read(&stop->since) + kmt_max_pause();
	/* The time may be over already, if a host had preempted this CPU. */
	kmt_marker_check_stop(m);
	kmt_share_units(m, &stop->free_taken);
	kmt_page_map_add_free(m, roots);
	await_others(m, &stop->mapping_free);

	kmt_share_units(m, &stop->taken);
	kmt_mark_stacks(m, roots);
	kmt_mark_memory(m, roots);
	kmt_recheck(m);
	/* Makes the results of the other CPUs visible to finish(). */
	if (atomic_dec_and_test(&stop->searching))
		finish(stop, m);
	atomic_fetch_dec_release(&stop->reading);
	/*
	 * No CPU leaves before all memory was read: otherwise a task could move a reference
	 * to memory that was read already. When the time is over, CPUs leave earlier, and
	 * the result is not used.
	 */
	while (atomic_read_acquire(&stop->state) == KMT_STOP_SEARCH) {
		cpu_relax();
		if (kmt_marker_check_stop(m))
			atomic_cmpxchg(&stop->state, KMT_STOP_SEARCH,
				       KMT_STOP_TOO_LONG);
	}
	/*
	 * Memory is read in place. A task could free and unmap what another CPU, which
	 * looks at the clock every KMT_BUDGET words, is reading. Pairs with the release
	 * above on the other CPUs.
	 */
	while (atomic_read_acquire(&stop->reading))
		cpu_relax();
}

#ifdef CONFIG_SMP
static DEFINE_PER_CPU(struct cpu_stop_work, stop_works);

static bool is_late(struct kmt_stop *stop)
{
	/* Negative if the clock of this CPU is behind that of the first to enter. */
	s64 waited = ktime_get_mono_fast_ns() - atomic64_read(&stop->since);

	return waited > (s64)(kmt_max_pause() >> KMT_ENTER_SHIFT);
}

static void set_until(struct kmt_stop *stop)
{
	s64 now = ktime_get_mono_fast_ns(), was = atomic64_read(&stop->until);

	while (now > was && !atomic64_try_cmpxchg(&stop->until, &was, now))
		;
}

static int find_late_cpu(const struct kmt_stop *stop)
{
	int cpu;

	for_each_online_cpu(cpu)
		if (!cpumask_test_cpu(cpu, &stop->arrived))
			return cpu;
	/* All CPUs entered; one was late with switching interrupts off. */
	return smp_processor_id();
}

/* Waits until the stop leaves @state; ends the stop if that takes too long. */
static void wait_in(struct kmt_stop *stop, enum kmt_stop_state state)
{
	while (atomic_read_acquire(&stop->state) == state) {
		cpu_relax();
		if (!is_late(stop))
			continue;
		if (atomic_cmpxchg(&stop->state, state, KMT_STOP_LATE) != state)
			continue;
		stop->late_cpu = find_late_cpu(stop);
		set_until(stop);
		complete(&stop->over);
	}
}

/* Waits for the other CPUs; returns true, with interrupts off, if all have entered. */
static bool enter_stop(struct kmt_stop *stop)
{
	cpumask_set_cpu(smp_processor_id(), &stop->arrived);
	if (atomic_dec_and_test(&stop->pending))
		atomic_cmpxchg(&stop->state, KMT_STOP_ENTER, KMT_STOP_CLOSE);
	wait_in(stop, KMT_STOP_ENTER);
	if (atomic_read(&stop->state) == KMT_STOP_LATE)
		return false;

	local_irq_disable();
	if (atomic_dec_and_test(&stop->irqs_on))
		atomic_cmpxchg(&stop->state, KMT_STOP_CLOSE, KMT_STOP_SEARCH);
	wait_in(stop, KMT_STOP_CLOSE);
	/* Others may have searched until the time was over. */
	if (atomic_read(&stop->state) != KMT_STOP_LATE)
		return true;
	local_irq_enable();
	return false;
}

/* Runs in the stopper thread of each CPU, preemption off. */
static int stop_cpu(void *arg)
{
	struct kmt_stop *stop = arg;
	bool searched = false;

	atomic64_cmpxchg(&stop->since, 0, ktime_get_mono_fast_ns());
	/* If this CPU is late, the stop is over already. */
	if (atomic_read(&stop->state) == KMT_STOP_ENTER) {
		searched = enter_stop(stop);
		if (searched) {
			search_share(stop);
			local_irq_enable();
		}
		set_until(stop);
	}
	/* A stop that was given up is completed already, and @stop may be reused. */
	if (atomic_dec_and_test(&stop->users) && searched)
		complete(&stop->over);
	return 0;
}

/*
 * Stops all CPUs, and waits until the snapshot is over. The scan does not wait for a CPU
 * that is late.
 */
static void begin_stop(struct kmt_stop *stop)
{
	int cpu;

	/* Preemption off: queue the works of all CPUs before this CPU stops. */
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
	atomic_set(&stop->state, KMT_STOP_SEARCH);
	search_share(stop);
	atomic64_set(&stop->until, ktime_get_mono_fast_ns());
	local_irq_restore(flags);
	atomic_set(&stop->users, 0);
}
#endif

/* Estimates, from a sample, how many nanoseconds it takes to sum up @words words. */
static u64 time_to_sum(unsigned long words)
{
	/* Read other words in each round, since most memory will not be in caches. */
	const unsigned int nr = SZ_16K / sizeof(long), rounds = 8;
	const unsigned long *from = (unsigned long *)_stext;
	u64 sum = 0, worst = 0;
	unsigned int i;

	for (i = 0; i < rounds; i++, from += nr) {
		u64 t;

		preempt_disable();
		t = ktime_get_mono_fast_ns();
		kmt_sum_words(from, nr, 0);
		t = ktime_get_mono_fast_ns() - t;
		preempt_enable();
		worst = max(worst, t);
		sum += t;
	}
	/* Leave out the longest round, which was most likely interrupted. */
	return mul_u64_u64_div_u64(sum - worst, words, nr * (rounds - 1));
}

/*
 * Estimates how long all CPUs will be stopped, in nanoseconds. Costs are in units of the
 * time to sum up a word. A record costs KMT_BLOCK_WORDS beside its contents, a page
 * KMT_PAGE_WORDS, and a task KMT_STACK_WORDS on each CPU, since each CPU walks over all
 * tasks. @words is the number of words that the mark read, including stacks and per-CPU
 * memory of all possible CPUs. A block that has changed takes several times as long, but
 * few blocks have: a quarter more words stands for these.
 */
static u64 expect(unsigned long words)
{
	words += words / 4;
	words += KMT_BLOCK_WORDS * kmt_pool_cells(&kmt_core);
	get_online_mems();
	words += KMT_PAGE_WORDS * (totalram_pages() + kmt_pages_of_cpus());
	put_online_mems();
	words += KMT_STACK_WORDS * nr_threads * num_online_cpus();
	return div_u64(time_to_sum(words), num_online_cpus());
}

static struct kmt_marker *alloc_marker(struct kmt_scan *scan)
{
	struct kmt_marker *m;
	struct kmt_mark_entry *stack;
	unsigned long end;

	m = kmt_own_alloc(GFP_KERNEL | __GFP_NORETRY, KMT_MARKER_ORDER);
	if (!m)
		return NULL;
	end = (unsigned long)m + (PAGE_SIZE << KMT_MARKER_ORDER);
	stack = PTR_ALIGN((struct kmt_mark_entry *)(m + 1), sizeof(*stack));
	kmt_marker_join_stopped(m, &scan->m, &scan->filter, stack,
				(end - (unsigned long)stack) / sizeof(*stack));
	return m;
}

static void free_markers(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		kmt_own_free(per_cpu(stop_marker, cpu), KMT_MARKER_ORDER);
		per_cpu(stop_marker, cpu) = NULL;
	}
}

static bool alloc_markers(struct kmt_scan *scan)
{
	int cpu;

	for_each_online_cpu(cpu) {
		per_cpu(stop_marker, cpu) = alloc_marker(scan);
		if (!per_cpu(stop_marker, cpu))
			return false;
	}
	return true;
}

static void init_stop(struct kmt_stop *stop, struct kmt_scan *scan)
{
	unsigned int nr = num_online_cpus();

	memset(stop, 0, sizeof(*stop));
	stop->scan = scan;
	atomic_set(&stop->pending, nr);
	atomic_set(&stop->irqs_on, nr);
	atomic_set(&stop->mapping_free, nr);
	atomic_set(&stop->searching, nr);
	atomic_set(&stop->reading, nr);
	atomic_set(&stop->users, nr);
	init_completion(&stop->over);
}

static enum kmt_confirmed stop_and_search(struct kmt_scan *scan)
{
	struct kmt_stop *stop = &the_stop;
	bool current_map;
	u64 since, until;

	get_online_mems();
	/*
	 * Each fork() takes pcpu_alloc_mutex, and this task may have to wait for a CPU, so
	 * the map is made before.
	 */
	if (!kmt_percpu_map_is_current(&scan->roots.percpu))
		kmt_percpu_map_fill(&scan->roots.percpu);
	kmt_page_map_prepare(&scan->m, &scan->roots);
	/*
	 * Lists that are read during the stop: a task could be stopped while it changes one.
	 * That of slab caches is read if there is slab memory without a record, which may
	 * come to be at any time. Creating a slab cache takes both mutexes in this order,
	 * too.
	 */
	mutex_lock(&slab_mutex);
	mutex_lock(&pcpu_alloc_mutex);
	/* Pages that chunks lost meanwhile may have another use. */
	current_map = kmt_percpu_map_is_current(&scan->roots.percpu);
	if (current_map && !scan->m.stopped) {
		init_stop(stop, scan);
		begin_stop(stop);
	}
	mutex_unlock(&pcpu_alloc_mutex);
	mutex_unlock(&slab_mutex);
	put_online_mems();
	if (!current_map || scan->m.stopped)
		return KMT_CONFIRM_GIVEN_UP;
	since = atomic64_read(&stop->since);
	until = atomic64_read(&stop->until);
	scan->out.pause_ns = max(scan->out.pause_ns, until - min(since, until));
	if (atomic_read(&stop->state) == KMT_STOP_LATE) {
		scan->out.busy_cpu = stop->late_cpu;
		return KMT_CONFIRM_CPU_BUSY;
	}
	return atomic_read(&stop->state) == KMT_STOP_DONE ? KMT_CONFIRM_SNAPSHOT :
							    KMT_CONFIRM_GIVEN_UP;
}

/**
 * kmt_snapshot - search for references to suspects while all CPUs are stopped
 * @scan: scan, after kmt_suspect_for_search()
 * @words: number of words that its mark read
 *
 * All CPUs are stopped. They give the search up after kmt_tunables.max_pause, and run on
 * when the last one has seen that, see kmt_scan_should_stop().
 *
 * Context: may sleep.
 * Return: KMT_CONFIRM_SNAPSHOT if the reference counts of suspects are exact now; otherwise
 * the reason why they are not.
 */
enum kmt_confirmed kmt_snapshot(struct kmt_scan *scan, unsigned long words)
{
	enum kmt_confirmed how = KMT_CONFIRM_NO_MEMORY;

	lockdep_assert_held(&kmt_scan_mutex);
	/* A CPU has not entered yet since the last snapshot. */
	if (atomic_read_acquire(&the_stop.users)) {
		scan->out.busy_cpu = the_stop.late_cpu;
		return KMT_CONFIRM_CPU_BUSY;
	}
	cpus_read_lock();
	scan->out.expected_ns = expect(words);
	if (!timekeeping_valid_for_hres()) {
		/* The clock may be jiffies: no deadline would pass in a stop. */
		how = KMT_CONFIRM_NO_CLOCK;
	} else if (scan->out.expected_ns >
		   kmt_max_pause() - (kmt_max_pause() >> KMT_ENTER_SHIFT)) {
		how = KMT_CONFIRM_TOO_LONG;
	} else {
		if (alloc_markers(scan))
			how = stop_and_search(scan);
		free_markers();
	}
	cpus_read_unlock();
	return how;
}
