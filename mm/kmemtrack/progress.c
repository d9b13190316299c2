// SPDX-License-Identifier: GPL-2.0
/*
 * How a scan lets others run, and its progress for stats.
 *
 * Work is counted in turns: each time a marker lets others run it has done about
 * KMT_BUDGET words of work, or waited for other markers. The number of turns that a phase
 * will take is estimated from the last scan, in proportion to the memory in use; for the
 * first scan, from the memory in use alone.
 */
#include <linux/delay.h>
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>
#include <linux/vmstat.h>

#include "scan.h"

/* Cost of walking over a record, beside its contents, in words that are read. */
#define KMT_CELL_WORDS		4

/*
 * The turns of a phase are kept as a fraction of kmt_course.all, in units of
 * 2^-KMT_PART_SHIFT.
 */
#define KMT_PART_SHIFT		10

/* The pace of a scan is known after this part of the expected turns of its mark. */
#define KMT_PACE_SHIFT		4

/* Progress is published as one word, so that a reader never sees a mix of two. */
#define KMT_PERCENT_SHIFT	32
#define KMT_PHASE_SHIFT		40

/* Parts before there was a scan to learn from. */
static const unsigned int first_parts[KMT_NR_PHASES] = {
	[KMT_PHASE_MARK]	= 1 << KMT_PART_SHIFT,
	[KMT_PHASE_SEARCH]	= 1 << KMT_PART_SHIFT,
	[KMT_PHASE_STOP]	= 1 << (KMT_PART_SHIFT - 4),
	[KMT_PHASE_CONFIRM]	= 1 << KMT_PART_SHIFT,
	[KMT_PHASE_CONFIRM_2]	= 2 << KMT_PART_SHIFT,
	[KMT_PHASE_JUDGE]	= 1 << (KMT_PART_SHIFT - 2),
};

/**
 * struct kmt_course - progress of the scan under way, and figures of the last one
 * @m: its marker
 * @phase: its present phase
 * @all: turns that reading all memory in use would take
 * @expected: turns expected of this phase
 * @later: turns expected of later phases
 * @before: turns that earlier phases took
 * @turns: turns of this phase so far, of all markers
 * @taken: turns of each phase so far
 * @slept: nanoseconds of sleep, in which no work was done
 * @pace: nanoseconds that a turn took in the last scan, 0 if there was none
 * @parts: turns of each phase in the last scan, as parts of @all
 * @least: fewest milliseconds left that were published in this phase
 * @naps: milliseconds of sleep that are still expected
 *
 * Only the task that scans writes fields other than @turns, with kmt_scan_mutex held. Threads
 * that help it read @m.
 */
struct kmt_course {
	const struct kmt_marker *m;
	enum kmt_phase phase;
	unsigned long all;
	unsigned long expected;
	unsigned long later;
	unsigned long before;
	atomic_long_t turns;
	unsigned long taken[KMT_NR_PHASES];
	u64 slept;
	u64 pace;
	unsigned int parts[KMT_NR_PHASES];
	u32 least;
	u32 naps;
};

static struct kmt_course course;
static atomic64_t scan_start;
static atomic64_t published;

static void publish(unsigned int percent, u32 left_ms)
{
	atomic64_set(&published, (u64)course.phase << KMT_PHASE_SHIFT |
		     (u64)percent << KMT_PERCENT_SHIFT | left_ms);
}

/* Turns that it would take to read all memory that kernel code may use. */
static unsigned long turns_of_memory(void)
{
	unsigned long total = totalram_pages(), used;
	unsigned long none = global_zone_page_state(NR_FREE_PAGES) +
			     global_node_page_state(NR_FILE_PAGES) +
			     global_node_page_state(NR_ANON_MAPPED);

	used = total - min(total, none);
	return used * (PAGE_SIZE / sizeof(long)) / KMT_BUDGET +
	       total / (KMT_BUDGET / KMT_PAGE_WORDS) +
	       kmt_pool_cells(&kmt_core) / (KMT_BUDGET / KMT_CELL_WORDS) + 1;
}

static unsigned long turns_of(enum kmt_phase phase)
{
	return (u64)course.all * course.parts[phase] >> KMT_PART_SHIFT;
}

/* Nanoseconds of a turn: in this scan, or the last one; 0 if that is not known. */
static u64 pace_now(void)
{
	unsigned long done = course.before + atomic_long_read(&course.turns);

	if (done <= turns_of(KMT_PHASE_MARK) >> KMT_PACE_SHIFT)
		return course.pace;
	return div64_ul(ktime_get_ns() - atomic64_read(&scan_start) - course.slept,
			done);
}

/*
 * Milliseconds left if this phase takes @turns more turns, but not more than was
 * published in this phase before; 0 while the pace is not known.
 */
static u32 left_ms(unsigned long turns)
{
	u64 pace = pace_now(), ms;

	if (!pace)
		return 0;
	ms = div_u64(pace * (turns + course.later), NSEC_PER_MSEC) + course.naps;
	course.least = min_t(u64, course.least, ms);
	return course.least;
}

/* This scan confirms by waiting; sets estimates for that if the last one did not. */
static void expect_waiting(void)
{
	if (course.parts[KMT_PHASE_CONFIRM])
		return;
	course.parts[KMT_PHASE_CONFIRM] = first_parts[KMT_PHASE_CONFIRM];
	course.parts[KMT_PHASE_CONFIRM_2] = first_parts[KMT_PHASE_CONFIRM_2];
}

/**
 * kmt_progress_begin - a scan begins
 * @m: its marker
 * @waits: suspects will be confirmed by waiting
 *
 * Context: kmt_scan_mutex held.
 */
void kmt_progress_begin(const struct kmt_marker *m, bool waits)
{
	lockdep_assert_held(&kmt_scan_mutex);
	if (!course.pace) {
		memcpy(course.parts, first_parts, sizeof(first_parts));
		course.parts[KMT_PHASE_CONFIRM] = 0;
		course.parts[KMT_PHASE_CONFIRM_2] = 0;
	}
	if (waits)
		expect_waiting();
	WRITE_ONCE(course.m, m);
	course.phase = KMT_PHASE_NONE;
	course.all = turns_of_memory();
	course.before = 0;
	course.slept = 0;
	atomic_long_set(&course.turns, 0);
	memset(course.taken, 0, sizeof(course.taken));
	atomic64_set(&scan_start, ktime_get_ns());
	kmt_progress_phase(KMT_PHASE_MARK);
}

/* Milliseconds of sleep that are expected in @phase and later ones. */
static u32 naps_from(enum kmt_phase phase)
{
	u32 half = kmt_tunables.min_age / 2, ms = 0;

	if (course.parts[KMT_PHASE_CONFIRM] && phase <= KMT_PHASE_WAIT)
		ms += half;
	if (course.parts[KMT_PHASE_CONFIRM_2] && phase <= KMT_PHASE_WAIT_2)
		ms += half;
	return ms;
}

static void end_phase(void)
{
	unsigned long turns = atomic_long_xchg(&course.turns, 0);

	course.taken[course.phase] += turns;
	course.before += turns;
}

/**
 * kmt_progress_phase - the scan enters a phase
 * @phase: the present phase, or a later one
 *
 * Context: kmt_scan_mutex held.
 */
void kmt_progress_phase(enum kmt_phase phase)
{
	unsigned int i;

	lockdep_assert_held(&kmt_scan_mutex);
	if (phase == course.phase)
		return;
	end_phase();
	course.phase = phase;
	if (phase == KMT_PHASE_WAIT)
		expect_waiting();
	/* If the last scan did not have this phase, use the first estimate. */
	course.expected = turns_of(phase) ?:
			  (u64)course.all * first_parts[phase] >> KMT_PART_SHIFT;
	course.later = 0;
	for (i = phase + 1; i < KMT_NR_PHASES; i++)
		course.later += turns_of(i);
	course.naps = naps_from(phase);
	course.least = U32_MAX;
	publish(0, left_ms(course.expected));
}

/**
 * kmt_progress_turn - a marker lets others run
 * @m: marker, of a scan or of other work under kmt_scan_mutex
 *
 * Context: any task; any marker of the scan, at the same time as others.
 */
void kmt_progress_turn(const struct kmt_marker *m)
{
	unsigned long turns = atomic_long_inc_return(&course.turns), left = 0;
	unsigned int percent = 99;

	/* Only the task that scans publishes the progress of all markers. */
	if (m != READ_ONCE(course.m))
		return;
	if (turns < course.expected) {
		left = course.expected - turns;
		percent = min_t(unsigned int, percent,
				div64_ul((u64)turns * 100, course.expected));
	}
	publish(percent, left_ms(left));
}

/**
 * kmt_scan_cancelled - must the current task give up its scan?
 *
 * A signal with a handler does not end a scan, since most programs that request one treat
 * any error as a failure. A task gives up if it is being killed, or if the freezer waits
 * for it; the freezer sends a user task a signal, too.
 *
 * Context: any task.
 */
bool kmt_scan_cancelled(void)
{
	if (current->flags & PF_KTHREAD)
		return kthread_should_stop() || freezing(current);
	if (!signal_pending(current))
		return false;
	return fatal_signal_pending(current) || freezing(current);
}

/*
 * kmt_ops.relax: lets others run. Returns whether the scan is to be given up or, while all
 * CPUs are stopped, whether the time for the stop is over.
 */
bool kmt_scan_should_stop(struct kmt_marker *m)
{
	if (m->world_stopped)
		return ktime_get_mono_fast_ns() > m->deadline;
	kmt_progress_turn(m);
	cond_resched_tasks_rcu_qs();
	return kmt_scan_cancelled();
}

/* kmt_ops.wait: short at first, since there may soon be work; then longer each time. */
void kmt_wait(struct kmt_marker *m, unsigned int before)
{
	unsigned long us = 20UL << min(before, 6U);

	usleep_range(us, 2 * us);
}

/**
 * kmt_progress_sleep - the scan sleeps, or has slept
 * @slept: nanoseconds since this was called last
 * @left: milliseconds to go
 * @all: milliseconds of this sleep
 *
 * Context: kmt_scan_mutex held.
 */
void kmt_progress_sleep(u64 slept, unsigned int left, unsigned int all)
{
	lockdep_assert_held(&kmt_scan_mutex);
	course.slept += slept;
	if (course.phase != KMT_PHASE_WAIT && course.phase != KMT_PHASE_WAIT_2)
		return;
	course.naps = naps_from(course.phase + 1) + left;
	all = max(all, 1U);
	publish(min_t(u64, 99, div_u64(100ULL * (all - min(left, all)), all)),
		left_ms(0));
}

/* Keeps the figures of this scan as estimates for the next one. */
static void update_estimates(void)
{
	u64 ns = ktime_get_ns() - atomic64_read(&scan_start) - course.slept;
	unsigned int i;

	for (i = 0; i < KMT_NR_PHASES; i++)
		course.parts[i] = div64_ul((u64)course.taken[i] << KMT_PART_SHIFT,
					   course.all);
	course.pace = max(div64_ul(ns, max(course.before, 1UL)), 1ULL);
}

/**
 * kmt_progress_end - the scan is over
 * @made: it was completed
 *
 * Context: kmt_scan_mutex held.
 */
void kmt_progress_end(bool made)
{
	lockdep_assert_held(&kmt_scan_mutex);
	end_phase();
	if (made)
		update_estimates();
	course.phase = KMT_PHASE_NONE;
	WRITE_ONCE(course.m, NULL);
	publish(0, 0);
}

/**
 * kmt_get_progress - get the progress of the scan under way
 * @p: filled in; all 0 if there is none
 *
 * Context: any; no lock is taken.
 */
void kmt_get_progress(struct kmt_progress *p)
{
	u64 word = atomic64_read(&published);

	p->phase = word >> KMT_PHASE_SHIFT;
	p->percent = word >> KMT_PERCENT_SHIFT & 0xff;
	p->left_ms = (u32)word;
	p->ms = p->phase ? div_u64(ktime_get_ns() - atomic64_read(&scan_start),
				   NSEC_PER_MSEC) : 0;
}
