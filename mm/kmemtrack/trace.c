// SPDX-License-Identifier: GPL-2.0
/*
 * Backtraces learned from the stack: see trace.h.
 */
#include "trace.h"

bool kmt_trace_take(struct kmt_trace *trace, unsigned long lo,
		    unsigned long hi, unsigned long last, unsigned long fp,
		    const unsigned long *entries, unsigned int nr, bool cut)
{
	struct kmt_frame *frame = trace->frames;
	unsigned int i;

	if (!nr || nr > CONFIG_KMEMTRACK_STACK_DEPTH || !kmt_on_stack(lo, hi, fp))
		return false;
	trace->at = fp - lo;
	for (i = 0; i < nr; i++, frame++) {
		struct kmt_record r = kmt_record(fp);

		/* Records go up: a walk that turned back would have no end. */
		if (fp == last || r.pc != entries[i] || r.next <= fp ||
		    !kmt_on_stack(lo, hi, r.next))
			return false;
		frame->next = r.next - lo;
		frame->pc = r.pc;
		fp = r.next;
	}
	frame->next = KMT_NO_RECORD;
	frame->pc = 0;
	/* Did the unwinder stop here because there is no more? */
	return cut || nr == CONFIG_KMEMTRACK_STACK_DEPTH || fp == last;
}
