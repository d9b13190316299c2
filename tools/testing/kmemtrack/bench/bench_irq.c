// SPDX-License-Identifier: GPL-2.0
/*
 * Latency of interrupts: a periodic timer is pinned on every CPU, and its handler
 * compares the time with the time at which it should have run. If interrupts are
 * off for longer than the period, the measured latency is at least that time less
 * one period.
 */
#include <linux/hrtimer.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/smp.h>

#include "bench.h"

struct bench_timer {
	struct hrtimer timer;
	u64 worst;
	u64 sum;
	u64 fired;
};

static DEFINE_PER_CPU(struct bench_timer, timers);
static u64 period;

static enum hrtimer_restart fire(struct hrtimer *timer)
{
	struct bench_timer *t = container_of(timer, struct bench_timer, timer);
	ktime_t now = ktime_get();
	s64 late = ktime_to_ns(ktime_sub(now, hrtimer_get_expires(timer)));

	if (late > 0) {
		t->worst = max_t(u64, t->worst, late);
		t->sum += late;
	}
	t->fired++;
	hrtimer_forward(timer, now, ns_to_ktime(period));
	return HRTIMER_RESTART;
}

/* Runs on the CPU whose timer it arms, so that the timer is pinned there. */
static void arm(void *unused)
{
	struct bench_timer *t = this_cpu_ptr(&timers);

	hrtimer_init(&t->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	t->timer.function = fire;
	t->worst = 0;
	t->sum = 0;
	t->fired = 0;
	hrtimer_start(&t->timer, ns_to_ktime(period),
		      HRTIMER_MODE_REL_PINNED_HARD);
}

int bench_irq_start(unsigned int period_ns)
{
	if (period || period_ns < NSEC_PER_USEC)
		return -EINVAL;
	period = period_ns;
	on_each_cpu(arm, NULL, 1);
	return 0;
}

int bench_irq_stop(const char *row)
{
	u64 worst = 0, sum = 0, fired = 0;
	int cpu;

	if (!period)
		return -EINVAL;
	for_each_online_cpu(cpu) {
		struct bench_timer *t = per_cpu_ptr(&timers, cpu);

		hrtimer_cancel(&t->timer);
		worst = max(worst, t->worst);
		sum += t->sum;
		fired += t->fired;
	}
	period = 0;
	if (!row)
		return 0;
	bench_figure(row, "irq_worst", worst * 100);
	bench_figure(row, "irq_avg", div64_u64(sum * 100, fired ?: 1));
	return 0;
}
