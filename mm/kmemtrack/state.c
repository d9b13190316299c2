// SPDX-License-Identifier: GPL-2.0
/*
 * Shared state: the tracker, its mode, settings and locks; whether blocks without a record
 * may exist, since there was no memory for one; and whether memory may be poisoned.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/jump_label.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "glue.h"

struct kmt_core kmt_core;
DEFINE_STATIC_KEY_FALSE(kmt_folded_key);
enum kmt_mode kmt_mode;

/*
 * One scan, switch, report, pass of the shrinker, limit of ages, or command that does more
 * than set a variable, at a time.
 */
DEFINE_MUTEX(kmt_scan_mutex);

/*
 * Read-locked by walks over the pool without kmt_scan_mutex; write-locked, under that
 * mutex, to move records or free chunks.
 */
DECLARE_RWSEM(kmt_walk_sem);

/*
 * Write-locked while handles.c replaces backtraces, or visits the names in use, in
 * reports, sites and pages, and while kept leaks are freed: no report is made and no
 * backtrace is printed meanwhile.
 */
DECLARE_RWSEM(kmt_reports_sem);

struct kmt_tunables kmt_tunables = {
	.scan_period	= IS_ENABLED(CONFIG_DEBUG_KMEMLEAK_AUTO_SCAN) ? KMT_SCAN_PERIOD : 0,
	.min_age	= 1000,
	.stacks		= true,
	.pages		= true,
	.snapshot	= true,
	.max_pause	= 4000,
	.sites		= 16384,
};

struct kmt_last_scan kmt_last_scan;

/* Part of KMT_EV_LOST_NOMEM: allocations that cannot sleep; those of early boot. */
atomic_long_t kmt_lost_atomic;
atomic_long_t kmt_lost_early;

/* Traces for which the stack depot had no memory. */
atomic_long_t kmt_lost_traces;

/*
 * Set if slab objects, or per-CPU blocks, without a record may exist. A mark then
 * looks for them, and they are roots. Other blocks without a record are read as
 * pages in any case.
 */
bool kmt_untracked_slabs;
bool kmt_untracked_percpu;

/* Number of calls of kmt_set_untracked(): kmt_end_untracked() sees if there was one. */
static atomic_long_t nr_untracked;

/* Number of slab objects without a record that the mark in progress has met. */
static atomic_long_t seen_untracked;

static void set_untracked_flags(void)
{
	WRITE_ONCE(kmt_untracked_slabs, true);
	WRITE_ONCE(kmt_untracked_percpu, true);
}

/**
 * kmt_set_untracked - make marks look for blocks without a record
 *
 * Context: any.
 */
void kmt_set_untracked(void)
{
	atomic_long_inc(&nr_untracked);
	/*
	 * Pairs with kmt_end_untracked(): it sees the new count and sets both flags
	 * again, or the stores below come after it has cleared them.
	 */
	smp_mb__after_atomic();
	set_untracked_flags();
}

/**
 * kmt_count_untracked - count a slab object without a record that a mark met
 *
 * Context: any.
 */
void kmt_count_untracked(void)
{
	atomic_long_inc(&seen_untracked);
}

/**
 * kmt_begin_untracked - a mark begins to look for blocks without a record
 *
 * Context: kmt_scan_mutex held.
 * Return: the argument for kmt_end_untracked().
 */
long kmt_begin_untracked(void)
{
	atomic_long_set(&seen_untracked, 0);
	return atomic_long_read(&nr_untracked);
}

/**
 * kmt_end_untracked - a mark has looked at all memory
 * @before: from kmt_begin_untracked()
 * @percpu: it saw per-CPU blocks without a record, or did not look for them
 *
 * If the mark found none, all such blocks have been freed.
 *
 * Context: kmt_scan_mutex held.
 */
void kmt_end_untracked(long before, bool percpu)
{
	if (!atomic_long_read(&seen_untracked))
		WRITE_ONCE(kmt_untracked_slabs, false);
	if (!percpu)
		WRITE_ONCE(kmt_untracked_percpu, false);
	/* Pairs with kmt_set_untracked(). */
	smp_mb();
	if (atomic_long_read(&nr_untracked) != before)
		set_untracked_flags();
}

/**
 * kmt_count_lost - count a block for whose record there was no memory
 * @gfp: flags of the allocation of that record
 *
 * Context: any.
 */
void kmt_count_lost(gfp_t gfp)
{
	kmt_set_untracked();
	if (READ_ONCE(kmt_mode) == KMT_EARLY)
		atomic_long_inc(&kmt_lost_early);
	else if (!gfpflags_allow_blocking(gfp))
		atomic_long_inc(&kmt_lost_atomic);
}

/* How many times records were moved. */
static atomic_long_t records_moved;

/**
 * kmt_set_records_moved - tell walks over all records that one is about to be moved
 *
 * Context: the caller is an RCU reader until the record is in its new place.
 */
void kmt_set_records_moved(void)
{
	atomic_long_inc(&records_moved);
	/* Pairs with kmt_records_moved(): a walk either meets the record, or sees this. */
	smp_mb__after_atomic();
}

/**
 * kmt_records_moved - count the calls of kmt_set_records_moved()
 *
 * A walk that began a grace period after one call of this, and ended before another one
 * with the same result, has met all records.
 *
 * Context: any.
 * Return: their number.
 */
unsigned long kmt_records_moved(void)
{
	/* Pairs with kmt_set_records_moved(). */
	smp_mb();
	return atomic_long_read(&records_moved);
}

#ifdef CONFIG_MEMORY_FAILURE
DEFINE_STATIC_KEY_FALSE(kmt_poison_key);

/**
 * kmt_is_poisoned - is an address in a poisoned page?
 * @addr: any address; if it is in vmalloc space, its mapping stays meanwhile
 *
 * Context: any.
 */
bool kmt_is_poisoned(unsigned long addr)
{
	const void *p = (const void *)addr;
	struct page *page = NULL;

	if (is_vmalloc_or_module_addr(p))
		page = vmalloc_to_page(p);
	else if (virt_addr_valid(p))
		page = virt_to_page(p);
	return page && PageHWPoison(page);
}

/**
 * kmt_note_poison - from now on nothing reads poisoned pages, if there are any
 *
 * A block to which only such a page refers will be reported as a leak.
 *
 * Context: kmt_scan_mutex held, may sleep; not within get_online_mems().
 */
void kmt_note_poison(void)
{
	if (atomic_long_read(&num_poisoned_pages))
		static_branch_enable(&kmt_poison_key);
}
#else
void kmt_note_poison(void)
{
}
#endif

/**
 * kmt_restart_frozen - return value of a system call that made a scan
 * @ret: return value of the scan
 *
 * The fake signal that the freezer sends stays pending until the task is thawed.
 *
 * Context: the task of the system call.
 * Return: -ERESTARTNOINTR for an -EINTR that the freezer, or another signal that does not
 * kill the task, caused: the call starts again, when the task is thawed; else @ret.
 */
int kmt_restart_frozen(int ret)
{
	return ret == -EINTR && signal_pending(current) &&
	       !fatal_signal_pending(current) ? -ERESTARTNOINTR : ret;
}

/**
 * kmt_lock_scan - take kmt_scan_mutex, to scan or to read memory or records
 *
 * A signal ends the wait, also that of the freezer, which would give up otherwise if the
 * scan thread holds the mutex for long. The system call starts again, so programs do not
 * see it.
 *
 * Context: any task.
 * Return: 0 with the mutex held; -EINTR if the task is killed; -ERESTARTNOINTR.
 */
int kmt_lock_scan(void)
{
	if (mutex_lock_interruptible(&kmt_scan_mutex))
		return kmt_restart_frozen(-EINTR);
	kmt_note_poison();
	return 0;
}
