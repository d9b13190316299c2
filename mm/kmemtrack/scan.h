/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KMT_SCAN_H
#define _KMT_SCAN_H

#include "glue.h"

/* Words that can be read in the time it takes to pass over a page. */
#define KMT_PAGE_WORDS		6

/**
 * struct kmt_scan - a scan under way
 * @m: its marker; the mark stack follows
 * @roots: where marks begin
 * @filter: which words may refer to a suspect
 * @out: what it came to so far
 */
struct kmt_scan {
	struct kmt_marker m;
	struct kmt_roots roots;
	struct kmt_filter filter;
	struct kmt_outcome out;
};

/**
 * enum kmt_phase - what a scan does; each one comes after those before it
 * @KMT_PHASE_NONE: there is no scan
 * @KMT_PHASE_MARK: the first mark
 * @KMT_PHASE_SEARCH: looks for references to suspects
 * @KMT_PHASE_STOP: prepares a snapshot, and takes it
 * @KMT_PHASE_WAIT: sleeps, if suspects are confirmed by waiting
 * @KMT_PHASE_CONFIRM: marks again
 * @KMT_PHASE_WAIT_2: sleeps
 * @KMT_PHASE_CONFIRM_2: marks for the last time, and searches
 * @KMT_PHASE_JUDGE: looks for references that are not aligned, sorts leaks and
 *	counts them
 */
enum kmt_phase {
	KMT_PHASE_NONE,
	KMT_PHASE_MARK,
	KMT_PHASE_SEARCH,
	KMT_PHASE_STOP,
	KMT_PHASE_WAIT,
	KMT_PHASE_CONFIRM,
	KMT_PHASE_WAIT_2,
	KMT_PHASE_CONFIRM_2,
	KMT_PHASE_JUDGE,
	KMT_NR_PHASES,
};

/**
 * struct kmt_progress - how far a scan has come
 * @phase: what it does
 * @percent: of that phase, 99 at most
 * @ms: milliseconds since it began
 * @left_ms: until it ends, at a guess; 0 if not known
 */
struct kmt_progress {
	enum kmt_phase phase;
	unsigned int percent;
	unsigned long ms;
	unsigned long left_ms;
};

/* progress.c */
void kmt_progress_begin(const struct kmt_marker *m, bool waits);
void kmt_progress_phase(enum kmt_phase phase);
void kmt_progress_turn(const struct kmt_marker *m);
void kmt_progress_sleep(u64 slept, unsigned int left, unsigned int all);
void kmt_progress_end(bool made);
void kmt_progress(struct kmt_progress *p);

/* scan.c */
int kmt_find_leaks(struct kmt_scan *scan);

/* workers.c */
void kmt_mark_with_help(struct kmt_scan *scan);

/* events.c: tracepoints */
void kmt_trace_end(const struct kmt_scan *scan, int ret, u64 duration);

/* snapshot.c */
enum kmt_confirmed kmt_snapshot(struct kmt_scan *scan, unsigned long words);

#endif /* _KMT_SCAN_H */
