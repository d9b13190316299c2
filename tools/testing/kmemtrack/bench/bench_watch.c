// SPDX-License-Identifier: GPL-2.0
/*
 * For how long tasks cannot run: a thread of the highest priority on every CPU should
 * run once a period. Interrupts may be on meanwhile; bench_irq.c measures for how long
 * they are off. The last CPU is not watched while a thread occupies it.
 */
#include <linux/cpumask.h>
#include <linux/time64.h>

#include "bench.h"
#include "test_kmemtrack_watch.h"

static struct cpumask watched;
static unsigned int period;
static bool hog;

int bench_watch_start(unsigned int period_ns)
{
	int ret;

	if (period || period_ns < NSEC_PER_USEC)
		return -EINVAL;
	cpumask_copy(&watched, cpu_online_mask);
	if (hog)
		cpumask_clear_cpu(cpumask_last(&watched), &watched);
	ret = tk_watch_begin(&watched, period_ns);
	period = ret ? 0 : period_ns;
	return ret;
}

int bench_watch_stop(const char *row)
{
	u64 most = period;
	int cpu;

	if (!period)
		return -EINVAL;
	tk_watch_end();
	for_each_cpu(cpu, &watched)
		most = max(most, tk_watch_longest(cpu));
	if (row)
		bench_figure(row, "stop", (most - period) * 100);
	period = 0;
	return 0;
}

int bench_hog_start(unsigned int ms)
{
	int ret;

	if (hog || num_online_cpus() < 2)
		return -EINVAL;
	ret = tk_hog_begin(cpumask_last(cpu_online_mask), ms);
	hog = !ret;
	return ret;
}

int bench_hog_stop(void)
{
	if (!hog)
		return -EINVAL;
	tk_hog_end();
	hog = false;
	return 0;
}
