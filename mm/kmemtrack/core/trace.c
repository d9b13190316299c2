// SPDX-License-Identifier: GPL-2.0
/*
 * Backtraces read and learned from the stack: see trace.h.
 */
#include "trace.h"

bool kmt_trace_walk(struct kmt_walk *walk, unsigned long lo, unsigned long hi,
		    unsigned long last, unsigned long fp, unsigned int max)
{
	unsigned long top = hi - sizeof(struct kmt_record);
	unsigned long odd = 0;
	unsigned int nr = 0;

	walk->nr = 0;
	if (!max || !kmt_on_stack(lo, hi, fp))
		return false;
	/* No frame record is above the last one, which may be on another stack. */
	if (last - lo < top - lo)
		top = last;
	for (;;) {
		struct kmt_record r = kmt_read_record(fp);

		walk->pc[nr++] = r.pc;
		if (nr == max || (KMT_LAST_RETURNS ? fp : r.next) == last)
			break;
		/*
		 * Records go up and do not overlap, or the walk might never end.
		 * If the CPU cannot read unaligned words, check the alignment of
		 * each frame record here; otherwise of all at once, below.
		 */
		if (r.next < fp + sizeof(r) || r.next > top ||
		    !kmt_env_readable(r.next) || kmt_env_is_entry(r.pc))
			return false;
		odd |= r.next;
		fp = r.next;
	}
	if (odd % sizeof(long))
		return false;
	walk->nr = nr;
	return true;
}

bool kmt_trace_check(struct kmt_walk *walk, unsigned long lo, unsigned long hi,
		     unsigned long last, unsigned long fp,
		     const unsigned long *entries, unsigned int nr, bool cut)
{
	/* A trace that was not cut ends where the stack does: expect that, too. */
	unsigned int max = cut ? nr : CONFIG_KMEMTRACK_STACK_DEPTH;

	return nr <= CONFIG_KMEMTRACK_STACK_DEPTH &&
	       kmt_trace_walk(walk, lo, hi, last, fp, max) && walk->nr == nr &&
	       !memcmp(walk->pc, entries, nr * sizeof(*entries));
}
