// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints, for those who watch many machines.
 */
#include <linux/stackdepot.h>

#include "report.h"
#include "scan.h"

#define CREATE_TRACE_POINTS
#include <trace/events/kmemtrack.h>

static void trace_leak(const struct kmt_leak *leak)
{
	unsigned long *entries;
	unsigned int nr = 0;

	if (leak->stack)
		nr = stack_depot_fetch(leak->stack, &entries);
	trace_kmemtrack_leak(leak->addr, leak->size, nr > 0 ? entries[0] : 0,
			     nr > 1 ? entries[1] : 0, kmt_comm(leak->comm),
			     leak->pid, leak->flags & KMT_INDIRECT);
}

static void trace_leaks(void)
{
	struct kmt_cursor cursor = {};
	struct kmt_leak leak;
	struct kmt_object *o;

	for (; (o = kmt_next_leak(&cursor, KMT_NEW)); cursor.pos++)
		if (kmt_take_leak(o, KMT_NEW, &leak))
			trace_leak(&leak);
	/* It lies on a stack, which a later scan may read. */
	memzero_explicit(&leak, sizeof(leak));
}

/**
 * kmt_trace_start - a scan begins
 *
 * Context: kmt_scan_mutex held.
 */
void kmt_trace_start(void)
{
	trace_kmemtrack_scan_start(kmt_last_scan.nr);
}

/**
 * kmt_trace_end - a scan has ended
 * @scan: scan
 * @ret: 0 if it has a verdict, else an error
 * @duration: nanoseconds that it took
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_trace_end(const struct kmt_scan *scan, int ret, u64 duration)
{
	if (!ret && scan->verdict.fresh && trace_kmemtrack_leak_enabled())
		trace_leaks();
	trace_kmemtrack_scan_end(ret, scan->verdict.leaks, scan->verdict.fresh,
				 duration, scan->pause);
}
