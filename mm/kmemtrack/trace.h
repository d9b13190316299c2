/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Backtraces that were seen before, recognised by walking them.
 *
 * Where functions keep a frame pointer, each leaves a frame record on the
 * stack: the address of its caller's record, then the address it returns to.
 * A trace that was taken at a depth of the stack is there again if every
 * record of it is: in the same place, returning to the same place.
 * So each record is known to be on the stack before it is read, which makes
 * the walk safe whatever the records hold, and no end needs to be looked for.
 * Two tasks at the same depth of theirs have the same trace.
 *
 * What a trace is remains for the kernel's unwinder to say: a trace is only
 * kept if the records give the very addresses that it gave. It knows of
 * return addresses that tracers have replaced, and where a stack ends.
 */
#ifndef _KMT_TRACE_H
#define _KMT_TRACE_H

#include "env.h"

/**
 * struct kmt_frame - one frame record of a trace
 * @next: offset of the next record in the stack
 * @pc: where the function returns to
 */
struct kmt_frame {
	unsigned long next;
	unsigned long pc;
};

/**
 * struct kmt_trace - a trace that was seen
 * @handle: what it is known as, 0 if there is none
 * @at: offset of its first record in the stack
 * @frames: its frames, at least one, and then one of KMT_NO_RECORD
 */
struct kmt_trace {
	u32 handle;
	u32 at;
	struct kmt_frame frames[CONFIG_KMEMTRACK_STACK_DEPTH + 1];
};

/* No record is there. */
#define KMT_NO_RECORD	1UL

/* A record as it is on the stack. */
struct kmt_record {
	unsigned long next;
	unsigned long pc;
};

/*
 * Whether a record at @addr is all on the stack [@lo, @hi), so that it can be
 * read.
 */
static __always_inline bool kmt_on_stack(unsigned long lo, unsigned long hi,
					 unsigned long addr)
{
	return addr - lo <= hi - lo - sizeof(struct kmt_record) &&
	       kmt_env_readable(addr);
}

/* The record at @addr of our own stack: nobody else writes there. */
static __always_inline struct kmt_record kmt_record(unsigned long addr)
{
	struct kmt_record r;

	kmt_env_two((const void *)addr, &r.next, &r.pc);
	r.pc = kmt_env_strip(r.pc);
	return r;
}

/**
 * kmt_trace_is - is this trace on the stack?
 * @trace: a trace with a handle
 * @stack: first byte of the stack
 * @fp: address of the first record, at @trace->at of it
 */
static __always_inline bool kmt_trace_is(const struct kmt_trace *trace,
					 unsigned long stack, unsigned long fp)
{
	const void *frame = trace->frames;

	/* The last frame equals none, so there is no need to count them. */
	for (;;) {
		struct kmt_record r = kmt_record(fp);
		struct kmt_frame f;

		frame = kmt_env_pop(frame, &f.next, &f.pc);
		if (r.next - stack != f.next || r.pc != f.pc)
			return f.next == KMT_NO_RECORD;
		fp = r.next;
	}
}

/**
 * kmt_trace_take - learn a trace from the stack
 * @trace: filled in, but for its handle
 * @lo: first byte of the stack
 * @hi: one past its last
 * @last: address of its last record, which leads nowhere
 * @fp: address of the first record
 * @entries: the trace, according to the unwinder
 * @nr: its length
 * @cut: it is to end there whatever follows
 *
 * Return: whether the stack's records are that trace, to its end or to as many
 * frames as are kept.
 */
bool kmt_trace_take(struct kmt_trace *trace, unsigned long lo,
		    unsigned long hi, unsigned long last, unsigned long fp,
		    const unsigned long *entries, unsigned int nr, bool cut);

#endif /* _KMT_TRACE_H */
