// SPDX-License-Identifier: GPL-2.0
/*
 * The clock for all measurements: the guest's clock, or in User-mode Linux the
 * CPU time of the guest. A finer counter times single pairs.
 */
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/math64.h>

#include "bench.h"
#include "bench_host.h"

/* How far the counter gets while the clock gets 2^20 ns ahead. */
static u64 fine_rate;

u64 bench_clock(void)
{
	return host_cpu_time();
}

u64 bench_clock_ended(void)
{
	return host_children_time();
}

void bench_fine_init(void)
{
	u64 from = ktime_get_ns(), start = host_counter(), ns;

	do {
		ns = ktime_get_ns() - from;
	} while (ns < 20 * NSEC_PER_MSEC);
	fine_rate = div64_u64((host_counter() - start) << 20, ns);
}

u64 bench_fine_start(void)
{
	return host_counter();
}

/* In hundredths of a nanosecond of real time */
u64 bench_fine_since(u64 start)
{
	return div64_u64(((host_counter() - start) * 100) << 20, fine_rate);
}
