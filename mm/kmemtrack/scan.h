/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KMT_SCAN_H
#define _KMT_SCAN_H

#include "glue.h"

/**
 * struct kmt_scan - a scan under way
 * @m: its marker; the mark stack follows
 * @roots: where marks begin
 * @filter: which words may refer to a suspect
 * @verdict: what was found so far
 * @suspects: blocks that the first mark left unreferenced
 * @searches: searches for references to them that were made
 * @searched: suspects that these acquitted
 * @stopped: suspects that a snapshot acquitted
 * @how: how they were confirmed
 * @busy_cpu: a CPU that did not stop in time, if that is why
 * @busy: nanoseconds of marking and judging
 * @pause: nanoseconds during which nothing else ran, at a stretch
 * @expected: how many these were expected to be
 * @marks: marks so far
 */
struct kmt_scan {
	struct kmt_marker m;
	struct kmt_roots roots;
	struct kmt_filter filter;
	struct kmt_verdict verdict;
	unsigned long suspects;
	unsigned long searches;
	unsigned long searched;
	unsigned long stopped;
	enum kmt_confirmed how;
	int busy_cpu;
	u64 busy;
	u64 pause;
	u64 expected;
	unsigned long marks;
};

/* scan.c */
int kmt_find_leaks(struct kmt_scan *scan);

/* workers.c */
void kmt_mark_with_help(struct kmt_scan *scan);

/* events.c: tracepoints */
void kmt_trace_start(void);
void kmt_trace_end(const struct kmt_scan *scan, int ret, u64 duration);

/* snapshot.c */
enum kmt_confirmed kmt_snapshot(struct kmt_scan *scan, unsigned long words);

#endif /* _KMT_SCAN_H */
