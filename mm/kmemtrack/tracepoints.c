// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints.
 */
#include <linux/kallsyms.h>
#include <linux/stackdepot.h>

#include "report.h"
#include "scan.h"

#define CREATE_TRACE_POINTS
#include <trace/events/kmemtrack.h>

/* Names of the frames of a leak. */
struct frames {
	char site[KSYM_SYMBOL_LEN];
	char caller[KSYM_SYMBOL_LEN];
};

static void trace_leak(const struct kmt_leak *leak, struct frames *f)
{
	unsigned long *entries, pc[2] = {};
	unsigned int nr = stack_depot_fetch(leak->trace, &entries);

	memcpy(pc, entries, min(nr, 2U) * sizeof(*pc));
	trace_kmemtrack_leak(leak->addr, leak->size,
			     pc[0], kmt_code_name(f->site, pc[0]),
			     pc[1], kmt_code_name(f->caller, pc[1]),
			     kmt_comm(leak->comm), leak->pid,
			     leak->flags & KMT_INDIRECT);
}

static void trace_leaks(void)
{
	/* Not allocated, so that no leak goes without its event. */
	static struct frames frames;
	struct kmt_cursor cursor = {};
	struct kmt_leak leak;
	struct kmt_object *o;

	lockdep_assert_held(&kmt_scan_mutex);
	kmt_for_each_leak(&cursor, o, KMT_NEW) {
		/* kmt_reports_sem delays the unload of modules whose code is named. */
		down_read(&kmt_reports_sem);
		if (kmt_take_leak(o, KMT_NEW, &leak))
			trace_leak(&leak, &frames);
		up_read(&kmt_reports_sem);
	}
	kmt_wipe(&leak);
}

/**
 * kmt_trace_scan_end - a scan has ended
 * @scan: scan
 * @ret: 0 if it has a verdict, else an error
 * @duration: nanoseconds that it took
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_trace_scan_end(const struct kmt_scan *scan, int ret, u64 duration)
{
	if (!ret && scan->out.verdict.fresh && trace_kmemtrack_leak_enabled())
		trace_leaks();
	trace_kmemtrack_scan_end(ret, scan->out.verdict.leaks, scan->out.verdict.fresh,
				 duration, scan->out.pause_ns);
}
