// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks that nobody could record: how many, why, and how to try what happens
 * then.
 */
#include <linux/fault-inject.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kernel.h>

#include "glue.h"

/* Of KMT_EV_LOST_NOMEM: blocks that could not wait, and those of early boot. */
atomic_long_t kmt_lost_atomic;
atomic_long_t kmt_lost_early;

/* Traces the depot had no memory for. */
atomic_long_t kmt_lost_traces;

/**
 * kmt_note_lost - there was no memory for the record of a block
 * @gfp: how memory could have been got
 *
 * From now on all slab memory without a record is a root.
 *
 * Context: any.
 */
void kmt_note_lost(gfp_t gfp)
{
	WRITE_ONCE(kmt_sweep_untracked, true);
	if (READ_ONCE(kmt_state) == KMT_EARLY)
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
