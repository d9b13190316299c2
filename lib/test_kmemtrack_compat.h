/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of kmemtrack use and older kernels do not have. What the
 * detector itself uses is in mm/kmemtrack/compat.h.
 */
#ifndef _TEST_KMEMTRACK_COMPAT_H
#define _TEST_KMEMTRACK_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/kmemleak.h>
#include <linux/timer.h>

#ifndef KUNIT_CASE_SLOW
#define KUNIT_CASE_SLOW(test)	KUNIT_CASE(test)
#endif

/* With PREEMPT_RT no hard interrupt may allocate; a thread runs such work then. */
#ifdef CONFIG_PREEMPT_RT
#define ALLOCATING_IRQ_WORK_INIT(func)	IRQ_WORK_INIT(func)
#else
#define ALLOCATING_IRQ_WORK_INIT(func)	IRQ_WORK_INIT_HARD(func)
#endif

/* Pages of the stack depot, as order. */
#ifndef DEPOT_POOL_ORDER
#define DEPOT_POOL_ORDER	2
#endif

/* Newer kernels have one way only. */
#ifdef alloc_pages_bulk
#define alloc_pages_bulk_array	alloc_pages_bulk
#endif

/* Kernels that have this macro have the new names of timers, too. */
#ifndef timer_container_of
#define timer_delete_sync	del_timer_sync
#define hrtimer_setup(timer, fn, clock, mode)				\
do {									\
	hrtimer_init(timer, clock, mode);				\
	(timer)->function = (fn);					\
} while (0)
#endif

#endif /* _TEST_KMEMTRACK_COMPAT_H */
