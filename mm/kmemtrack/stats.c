// SPDX-License-Identifier: GPL-2.0
/*
 * kmemtrack_info/stats: lines of a name and a value. Names stay, new ones may
 * be added.
 */
#include "glue.h"
#include "recent.h"

static const char * const event_names[KMT_NR_EVENTS] = {
	[KMT_EV_LOST_NOMEM]	= "lost_no_memory",
	[KMT_EV_LOST_NOTE]	= "lost_annotations",
	[KMT_EV_LOST_NMI]	= "lost_nmi",
	[KMT_EV_OVERLAP]	= "overlapping_allocations",
	[KMT_EV_FREE_UNKNOWN]	= "frees_of_unknown",
	[KMT_EV_FREE_TWICE]	= "double_frees",
	[KMT_EV_FREE_INSIDE]	= "frees_inside_block",
	[KMT_EV_BAD_SIZE]	= "impossible_sizes",
	[KMT_EV_BAD_AREA]	= "scan_areas_outside_block",
	[KMT_EV_NOTE_UNKNOWN]	= "annotations_of_unknown",
	[KMT_EV_STACK_OVERFLOW]	= "mark_stack_overflows",
	[KMT_EV_FAULT]		= "unreadable_pieces",
};

static void show(struct seq_file *seq, const char *name, unsigned long value)
{
	seq_printf(seq, "%s %lu\n", name, value);
}

static void show_pool(struct seq_file *seq)
{
	const struct kmt_pool *pool = &kmt_core.pool;
	unsigned long used = kmt_used_cells();

	show(seq, "objects", used - kmt_core.aux.nr);
	show(seq, "auxiliaries", kmt_core.aux.nr);
	show(seq, "pool_cells", pool->cells);
	show(seq, "pool_bytes",
	     (pool->cells + pool->nr_chunks) * sizeof(struct kmt_object));
	show(seq, "pool_vacant", kmt_vacant(&kmt_core));
	show(seq, "pool_reserve", pool->nr_free);
	show(seq, "pool_reserve_low", pool->low);
	show(seq, "pool_reserve_least",
	     min(READ_ONCE(pool->least), READ_ONCE(pool->nr_free)));
	show(seq, "pool_passes", READ_ONCE(kmt_passes));
	show(seq, "pool_given_back_bytes",
	     READ_ONCE(kmt_pages_given_back) * PAGE_SIZE);
	show(seq, "object_bytes", sizeof(struct kmt_object));
	show(seq, "shards", kmt_core.last_shard + 1UL);
	show(seq, "shard_bytes",
	     (kmt_core.last_shard + 1UL) * sizeof(struct kmt_tree));
	show(seq, "traces_recognised", KMT_TRACES_KNOWN);
	show(seq, "traces_walked", atomic_long_read(&kmt_walked));
	show(seq, "traces_unwound", atomic_long_read(&kmt_unwound));
}

static void show_scan(struct seq_file *seq)
{
	/* Not under the mutex: who looks at a running scan is not to wait. */
	struct kmt_last_scan last = data_race(kmt_last_scan);

	show(seq, "scans", last.nr);
	show(seq, "scan_ms", last.ms);
	show(seq, "scan_busy_ms", last.busy_ms);
	show(seq, "scan_marks", last.marks);
	show(seq, "scan_words", last.words);
	show(seq, "scan_suspects", last.suspects);
	show(seq, "scan_searches", last.searches);
	show(seq, "scan_acquitted_by_search", last.searched);
	show(seq, "scan_acquitted_by_snapshot", last.stopped);
	show(seq, "scan_snapshot", last.how == KMT_BY_SNAPSHOT);
	show(seq, "pause_ns", last.pause_ns);
	show(seq, "pause_expected_ns", last.expected_ns);
	show(seq, "leaks", last.verdict.leaks);
	show(seq, "leak_bytes", last.verdict.leak_bytes);
	show(seq, "new_leaks", last.verdict.fresh);
}

int kmt_stats_show(struct seq_file *seq, void *v)
{
	int i;

	show(seq, "version", 1);
	show(seq, "tracking", kmt_tracking());
	show(seq, "untracked_slabs_are_roots", kmt_sweep_untracked);
	show_pool(seq);
	show_scan(seq);
	show(seq, "scan_period_s", kmt_tunables.scan_period);
	show(seq, "min_age_ms", kmt_tunables.min_age);
	show(seq, "max_pause_us", kmt_tunables.max_pause);
	for (i = 0; i < KMT_NR_EVENTS; i++)
		show(seq, event_names[i],
		     atomic_long_read(&kmt_core.events[i]));
	show(seq, "lost_atomic", atomic_long_read(&kmt_lost_atomic));
	show(seq, "lost_early", atomic_long_read(&kmt_lost_early));
	show(seq, "lost_backtraces", atomic_long_read(&kmt_lost_traces));
	show(seq, "lost_names", atomic_long_read(&kmt_lost_names));
	return 0;
}
