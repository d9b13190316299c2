// SPDX-License-Identifier: GPL-2.0
/*
 * Backtraces learned from the stack: see trace.h.
 */
#include "trace.h"

/* Whether a record at @addr is all on the stack. */
static bool on_stack(unsigned long addr, unsigned long lo, unsigned long hi)
{
	return !(addr % sizeof(long)) && addr >= lo && addr < hi &&
	       hi - addr >= sizeof(struct kmt_record);
}

bool kmt_trace_take(struct kmt_trace *trace, unsigned long lo,
		    unsigned long hi, unsigned long last, unsigned long fp,
		    const unsigned long *entries, unsigned int nr, bool cut)
{
	struct kmt_frame *frame = trace->frames;
	unsigned int i;

	if (!nr || nr > CONFIG_KMEMTRACK_STACK_DEPTH || !on_stack(fp, lo, hi))
		return false;
	trace->at = fp - lo;
	for (i = 0; i < nr; i++, frame++) {
		struct kmt_record r = kmt_record(fp);

		/* Records go up: a walk that turned back would have no end. */
		if (fp == last || r.pc != entries[i] || r.next <= fp ||
		    !on_stack(r.next, lo, hi))
			return false;
		frame->step = r.next - fp;
		frame->pc = r.pc;
		fp = r.next;
	}
	frame->step = KMT_NO_STEP;
	frame->pc = 0;
	/* Did the unwinder stop here because there is no more? */
	return cut || nr == CONFIG_KMEMTRACK_STACK_DEPTH || fp == last;
}
