// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: the unwinder's backtrace of a leak in the process that requested it:
 * /sys/kernel/debug/test_kmemtrack_unwound.
 */
#include <linux/debugfs.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/stacktrace.h>

#include "test_kmemtrack.h"

static unsigned long entries[64];
static unsigned int nr_entries;

/**
 * tk_unwind - keep the backtrace of the caller
 *
 * It begins with this function, or, where the unwinder leaves one frame more out
 * than it is told to (32-bit ARM of 6.1), with the caller.
 *
 * Context: tk_mutex held.
 */
noinline void tk_unwind(void)
{
	nr_entries = stack_trace_save(entries, ARRAY_SIZE(entries), 0);
}

static int unwound_show(struct seq_file *seq, void *v)
{
	unsigned int i;

	mutex_lock(&tk_mutex);
	for (i = 0; i < nr_entries; i++)
		seq_printf(seq, "    %pS\n", (void *)entries[i]);
	mutex_unlock(&tk_mutex);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(unwound);

/**
 * tk_unwound_file - create the file
 *
 * Context: may sleep.
 * Return: the file.
 */
struct dentry *tk_unwound_file(void)
{
	return debugfs_create_file("test_kmemtrack_unwound", 0400, NULL, NULL,
				   &unwound_fops);
}
