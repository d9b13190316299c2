/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that measure for how long tasks do not run, and a thread that keeps other tasks
 * from running. For the leak injector and for the bench module, which also builds for
 * kernels without any detector.
 *
 * The caller serialises calls of these functions.
 */
#ifndef TEST_KMEMTRACK_WATCH_H
#define TEST_KMEMTRACK_WATCH_H

#include <linux/cpumask.h>
#include <linux/types.h>

int tk_watch_begin(const struct cpumask *cpus, unsigned int period_ns);
void tk_watch_end(void);
u64 tk_watch_longest(int cpu);

int tk_hog_begin(unsigned int cpu, unsigned long ms);
void tk_hog_end(void);

#endif /* TEST_KMEMTRACK_WATCH_H */
