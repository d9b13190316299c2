/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KMT_SCAN_H
#define _KMT_SCAN_H

#include "glue.h"

/* Cost of walking over a struct page, in words that are read. */
#define KMT_PAGE_WORDS		6

/**
 * struct kmt_scan - a scan under way
 * @m: its marker; the mark stack follows
 * @roots: roots of its marks
 * @filter: tells which words may refer to a suspect
 * @out: its result so far
 */
struct kmt_scan {
	struct kmt_marker m;
	struct kmt_roots roots;
	struct kmt_filter filter;
	struct kmt_scan_result out;
};

/* How long a snapshot may stop all CPUs, in ns; a command may change it at any time. */
static inline u64 kmt_max_pause(void)
{
	return READ_ONCE(kmt_tunables.max_pause) * (u64)NSEC_PER_USEC;
}

/**
 * enum kmt_phase - phases of a scan, in order
 * @KMT_PHASE_NONE: there is no scan
 * @KMT_PHASE_MARK: the first mark
 * @KMT_PHASE_SEARCH: search for references to suspects
 * @KMT_PHASE_STOP: preparation of a snapshot, and the snapshot
 * @KMT_PHASE_WAIT: sleep, if suspects are confirmed by waiting
 * @KMT_PHASE_CONFIRM: second mark
 * @KMT_PHASE_WAIT_2: sleep
 * @KMT_PHASE_CONFIRM_2: last mark, and search
 * @KMT_PHASE_JUDGE: search for unaligned references, classification of leaks
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
 * @phase: the present phase
 * @percent: progress of that phase, at most 99
 * @ms: milliseconds since the scan began
 * @left_ms: estimated milliseconds until it ends; 0 if not known
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
void kmt_get_progress(struct kmt_progress *p);

/* scan.c */
int kmt_find_leaks(struct kmt_scan *scan);

/* workers.c */
void kmt_mark_parallel(struct kmt_scan *scan);

/* tracepoints.c */
void kmt_trace_scan_end(const struct kmt_scan *scan, int ret, u64 duration);

/* snapshot.c */
enum kmt_confirmed kmt_snapshot(struct kmt_scan *scan, unsigned long words);

#endif /* _KMT_SCAN_H */
