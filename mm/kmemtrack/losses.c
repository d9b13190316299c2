// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks that nobody could record: how many, why, and how to try what happens
 * then.
 */
#include <linux/types.h>
#include <linux/fault-inject.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kernel.h>

#include "glue.h"

/* Parts of KMT_EV_LOST_NOMEM: allocations that cannot sleep, and early boot. */
atomic_long_t kmt_lost_atomic;
atomic_long_t kmt_lost_early;

/* Traces the depot had no memory for. */
atomic_long_t kmt_lost_traces;

/*
 * Blocks may live without a record: objects of slabs, or per-CPU blocks. Those
 * that are found are roots. What else has no record is read as pages in any case.
 */
bool kmt_sweep_untracked;
bool kmt_untracked_percpu;

/* Blocks without a record so far, to see whether there was another one. */
static atomic_long_t nr_untracked;

/* Objects of slabs without a record that the mark under way has met. */
static atomic_long_t seen_untracked;

static void set_untracked(void)
{
	WRITE_ONCE(kmt_sweep_untracked, true);
	WRITE_ONCE(kmt_untracked_percpu, true);
}

/**
 * kmt_note_untracked - from now on blocks may live without a record
 *
 * Context: any.
 */
void kmt_note_untracked(void)
{
	atomic_long_inc(&nr_untracked);
	/* Pairs with kmt_end_untracked(): either it sees the count, or this is last. */
	smp_mb__after_atomic();
	set_untracked();
}

/**
 * kmt_see_untracked - a mark met an object of a slab that has no record
 *
 * Context: any.
 */
void kmt_see_untracked(void)
{
	atomic_long_inc(&seen_untracked);
}

/**
 * kmt_begin_untracked - a mark begins to look for blocks without a record
 *
 * Context: kmt_scan_mutex held.
 * Return: for kmt_end_untracked().
 */
long kmt_begin_untracked(void)
{
	atomic_long_set(&seen_untracked, 0);
	return atomic_long_read(&nr_untracked);
}

/**
 * kmt_end_untracked - a mark has looked at all memory
 * @before: from kmt_begin_untracked()
 * @percpu: it saw per-CPU blocks that have no record, or did not look for them
 *
 * If it found none, those that there were have been freed.
 *
 * Context: kmt_scan_mutex held.
 */
void kmt_end_untracked(long before, bool percpu)
{
	if (!atomic_long_read(&seen_untracked))
		WRITE_ONCE(kmt_sweep_untracked, false);
	if (!percpu)
		WRITE_ONCE(kmt_untracked_percpu, false);
	/* Pairs with kmt_note_untracked(). */
	smp_mb();
	if (atomic_long_read(&nr_untracked) != before)
		set_untracked();
}

/**
 * kmt_note_lost - there was no memory for the record of a block
 * @gfp: how memory could have been got
 *
 * Context: any.
 */
void kmt_note_lost(gfp_t gfp)
{
	kmt_note_untracked();
	if (READ_ONCE(kmt_mode) == KMT_EARLY)
		atomic_long_inc(&kmt_lost_early);
	else if (!gfpflags_allow_blocking(gfp))
		atomic_long_inc(&kmt_lost_atomic);
}

#ifdef CONFIG_FAULT_INJECTION

/* Allocations of the tracker's own that fail on request. */
static DECLARE_FAULT_ATTR(fail_kmemtrack);

static int __init parse_fault(char *str)
{
	return setup_fault_attr(&fail_kmemtrack, str);
}
__setup("fail_kmemtrack=", parse_fault);

/**
 * kmt_should_fail - is an allocation of the tracker's to fail?
 * @bytes: its size
 *
 * Context: any but NMI.
 */
bool kmt_should_fail(size_t bytes)
{
	/* Locks may be held under which nothing is to be printed. */
	return should_fail_ex(&fail_kmemtrack, bytes, FAULT_NOWARN);
}

static int __init show_fault(void)
{
	fault_create_debugfs_attr("fail_kmemtrack", NULL, &fail_kmemtrack);
	return 0;
}
late_initcall(show_fault);

#endif /* CONFIG_FAULT_INJECTION */
