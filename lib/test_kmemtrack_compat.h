/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Definitions for the tests of kmemtrack that older kernels lack. Those for the detector
 * itself are in mm/kmemtrack/compat.h.
 */
#ifndef _TEST_KMEMTRACK_COMPAT_H
#define _TEST_KMEMTRACK_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/kmemleak.h>
#include <linux/page-flags.h>
#include <linux/timer.h>

#ifndef KUNIT_CASE_SLOW
#define KUNIT_CASE_SLOW(test)	KUNIT_CASE(test)
#endif

/* With PREEMPT_RT a hard interrupt must not allocate, so a thread runs such work. */
#ifdef CONFIG_PREEMPT_RT
#define ALLOCATING_IRQ_WORK_INIT(func)	IRQ_WORK_INIT(func)
#else
#define ALLOCATING_IRQ_WORK_INIT(func)	IRQ_WORK_INIT_HARD(func)
#endif

/* Newer kernels name the bits of page->mapping after folios. */
#ifndef PAGE_MAPPING_ANON
#define PAGE_MAPPING_ANON	FOLIO_MAPPING_ANON
#endif

/* Order of the stack depot's pools. */
#ifndef DEPOT_POOL_ORDER
#define DEPOT_POOL_ORDER	2
#endif

/* Newer kernels have a single function for lists and arrays. */
#ifdef alloc_pages_bulk
#define alloc_pages_bulk_array	alloc_pages_bulk
#endif

/* Kernels with timer_container_of() have the new names of timer functions, too. */
#ifndef timer_container_of
#define timer_delete_sync	del_timer_sync
#define hrtimer_setup(timer, fn, clock, mode)				\
do {									\
	hrtimer_init(timer, clock, mode);				\
	(timer)->function = (fn);					\
} while (0)
#endif

/* States of a record of KFENCE while RCU is about to free its object, and otherwise. */
#ifdef KFENCE_METADATA_SIZE
#define KMT_KFENCE_RCU_FREES	KFENCE_OBJECT_RCU_FREEING
#define KMT_KFENCE_RCU_IDLE	KFENCE_OBJECT_ALLOCATED
#else /* An object is allocated until RCU has freed it. */
#define KMT_KFENCE_RCU_FREES	KFENCE_OBJECT_ALLOCATED
#define KMT_KFENCE_RCU_IDLE	KFENCE_OBJECT_FREED
#endif

#endif /* _TEST_KMEMTRACK_COMPAT_H */
