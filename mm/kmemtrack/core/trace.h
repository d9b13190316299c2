/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Backtraces that were seen before, recognised by walking them.
 *
 * Where functions keep a frame pointer, each leaves a frame record on the
 * stack: the address of its caller's record, then the address it returns to. A
 * trace that was taken at a depth of the stack is there again if every record
 * of it is: in the same place, returning to the same place. A trace that is
 * known gives the place of each record in advance: the walk reads only places
 * on this stack where records were when the trace was learned, which is safe
 * whatever is there now. It ends at the first difference, or with the last
 * record of the trace, of which it does not matter where it leads. What code a
 * stack begins with is told by the address that is returned to there. Two tasks
 * at the same depth of theirs have the same trace.
 *
 * A trace that was not seen before is read from the records, too, where they
 * can be nothing else but what the kernel's unwinder would go by: on the stack
 * of a task, up to its end, with no return address replaced by a tracer. What
 * other traces are is for the unwinder to say: they are only kept if the
 * records give the very addresses that it gave.
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
 * @frames: its frames, at least one; that of the last is KMT_LAST_FRAME
 */
struct kmt_trace {
	u32 handle;
	u32 at;
	struct kmt_frame frames[CONFIG_KMEMTRACK_STACK_DEPTH];
};

/* Where the last frame of a trace leads; no record is there. */
#define KMT_LAST_FRAME	2UL

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
	r.next -= KMT_RECORD_BELOW;
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

	/* No record leads where the last frame does: no need to count them. */
	for (;;) {
		struct kmt_record r = kmt_record(fp);
		struct kmt_frame f;

		frame = kmt_env_pop(frame, &f.next, &f.pc);
		if (r.next - stack != f.next || r.pc != f.pc)
			return f.next == KMT_LAST_FRAME && r.pc == f.pc;
		fp = r.next;
	}
}

/**
 * struct kmt_walk - what a walk over the frames of a stack found
 * @nr: how many there are
 * @hash: of @pc, from kmt_step_walk()
 * @pc: of each where its function returns to
 */
struct kmt_walk {
	unsigned int nr;
	u32 hash;
	unsigned long pc[CONFIG_KMEMTRACK_STACK_DEPTH];
};

/**
 * kmt_trace_walk - read a trace from the stack
 * @walk: filled in
 * @lo: first byte of the stack
 * @hi: one past its last
 * @last: address of its last record, see KMT_LAST_RETURNS
 * @fp: address of the first record
 * @max: frames to be read, CONFIG_KMEMTRACK_STACK_DEPTH at the most
 *
 * Return: whether the records lead on, up to the last one or to @max of them.
 */
bool kmt_trace_walk(struct kmt_walk *walk, unsigned long lo, unsigned long hi,
		    unsigned long last, unsigned long fp, unsigned int max);

/**
 * kmt_trace_check - see whether the stack's records are the unwinder's trace
 * @walk: filled in
 * @lo: first byte of the stack
 * @hi: one past its last
 * @last: address of its last record, see KMT_LAST_RETURNS
 * @fp: address of the first record
 * @entries: the trace, according to the unwinder
 * @nr: its length
 * @cut: it is to end there whatever follows
 *
 * Return: whether they are, to the end of it or to as many frames as are kept.
 */
bool kmt_trace_check(struct kmt_walk *walk, unsigned long lo, unsigned long hi,
		     unsigned long last, unsigned long fp,
		     const unsigned long *entries, unsigned int nr, bool cut);

/**
 * kmt_trace_learn - keep a trace to recognise it
 * @trace: filled in
 * @lo: first byte of the stack that it was read from, where it still is
 * @fp: address of the first record
 * @nr: how many there are, at least one
 * @handle: what it is known as
 */
static __always_inline void kmt_trace_learn(struct kmt_trace *trace,
					    unsigned long lo, unsigned long fp,
					    unsigned int nr, u32 handle)
{
	struct kmt_frame *frame = trace->frames;
	struct kmt_record r = kmt_record(fp);

	trace->handle = handle;
	trace->at = fp - lo;
	for (; nr > 1; nr--, frame++) {
		frame->next = r.next - lo;
		frame->pc = r.pc;
		r = kmt_record(r.next);
	}
	frame->next = KMT_LAST_FRAME;
	frame->pc = r.pc;
}

/**
 * kmt_trace_copy - keep a trace in another place
 * @to: filled in
 * @from: a trace with a handle
 *
 * What is behind its last frame is not copied.
 */
static __always_inline void kmt_trace_copy(struct kmt_trace *to,
					   const struct kmt_trace *from)
{
	const void *frame = from->frames;
	struct kmt_frame *end = to->frames;
	struct kmt_frame f;

	to->handle = from->handle;
	to->at = from->at;
	do {
		frame = kmt_env_pop(frame, &f.next, &f.pc);
		*end++ = f;
	} while (f.next != KMT_LAST_FRAME);
}

#endif /* _KMT_TRACE_H */
