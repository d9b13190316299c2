/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kmt_bench: what a memory tracker costs, measured from inside the kernel.
 *
 * The same module is built against every kernel that is compared, so it uses
 * nothing of any tracker: only the allocators, clocks and timers that all of
 * them have. Every figure is one log line `kmt_bench: <name>=<value>`.
 */
#ifndef KMT_BENCH_H
#define KMT_BENCH_H

#include <linux/math64.h>
#include <linux/types.h>

/* Size of the objects which are timed and of those which are kept alive. */
#define BENCH_SIZE	128

/* Print a figure; @centi is in hundredths, so that 194.06 stays 194.06. */
void bench_figure(const char *row, const char *what, u64 centi);

/* What one of @count turns took of @ns, in hundredths. */
static inline u64 bench_hundredths(u64 ns, unsigned int count)
{
	return div_u64(ns * 100, count);
}

u64 bench_clock(void);
u64 bench_clock_ended(void);
void bench_fine_init(void);
u64 bench_fine_start(void);
u64 bench_fine_since(u64 start);

/*
 * Run @fn, which fills in one or two figures, in many rounds at a fixed depth
 * of the stack, and print the median, mean, least and largest of each.
 */
typedef void (*bench_fn)(u64 *figure);
int bench_measure(const char *row, bench_fn fn, const char *first,
		  const char *second);

int bench_pair(const char *row);
int bench_sites(const char *row);
int bench_batch(const char *row);
int bench_load_start(unsigned int cpu);
int bench_load_stop(const char *row);

int bench_live(unsigned long count);
int bench_big(bool on);
int bench_tree(void);
int bench_shuffle(void);
void bench_live_exit(void);

int bench_leak(void);

int bench_many_sites(const char *row);
int bench_loop(const char *row);
int bench_cold(const char *row);
int bench_spread(const char *row);
int bench_lose(unsigned int count);

int bench_op(const char *name);

int bench_irq_start(unsigned int period_ns);
int bench_irq_stop(const char *row);

int bench_watch_start(unsigned int period_ns);
int bench_watch_stop(const char *row);
int bench_hog_start(unsigned int ms);
int bench_hog_stop(void);

#endif /* KMT_BENCH_H */
