/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Backtraces recognised, or read, by their frame records.
 *
 * Where functions keep a frame pointer, each leaves a frame record on the stack: the
 * address of its caller's frame record, then its return address. A remembered trace is the
 * current one if each of its frame records is on the stack again: in the same place, with the
 * same return address. Only places on this stack where the remembered trace has frame records
 * are read, which is safe whatever is there now. Records are kept as offsets in the stack,
 * so a trace of one task is recognised on the stack of another. How other traces are taken:
 * "Backtraces" in kmemtrack-design.rst.
 */
#ifndef _KMT_TRACE_H
#define _KMT_TRACE_H

#include "env.h"

/**
 * struct kmt_frame - one frame record of a trace
 * @next: offset of the next frame record in the stack
 * @pc: where the function returns to
 */
struct kmt_frame {
	unsigned long next;
	unsigned long pc;
};

/**
 * struct kmt_trace - a remembered trace
 * @handle: its handle, 0 if there is none
 * @at: offset of its first frame record in the stack
 * @frames: its frames, at least one; @next of the last one is KMT_LAST_FRAME
 */
struct kmt_trace {
	u32 handle;
	u32 at;
	struct kmt_frame frames[CONFIG_KMEMTRACK_STACK_DEPTH];
};

/* kmt_frame.next of the last frame of a trace; no frame record has this offset. */
#define KMT_LAST_FRAME	2UL

/* A frame record as it is on the stack. */
struct kmt_record {
	unsigned long next;
	unsigned long pc;
};

/*
 * Whether the whole frame record at @addr is on the stack [@lo, @hi) and can be read.
 */
static __always_inline bool kmt_on_stack(unsigned long lo, unsigned long hi,
					 unsigned long addr)
{
	return addr - lo <= hi - lo - sizeof(struct kmt_record) &&
	       kmt_env_readable(addr);
}

/* Reads the frame record at @addr of the current stack, which no other CPU writes to. */
static __always_inline struct kmt_record kmt_read_record(unsigned long addr)
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
 * @fp: address of the first frame record, at @trace->at of it
 */
static __always_inline bool kmt_trace_is(const struct kmt_trace *trace,
					 unsigned long stack, unsigned long fp)
{
	const void *frame = trace->frames;

	/* No frame record has the offset KMT_LAST_FRAME, so that frame ends the loop. */
	for (;;) {
		struct kmt_record r = kmt_read_record(fp);
		struct kmt_frame f;

		frame = kmt_env_pop(frame, &f.next, &f.pc);
		if (r.next - stack != f.next || r.pc != f.pc)
			return f.next == KMT_LAST_FRAME && r.pc == f.pc;
		fp = r.next;
	}
}

/**
 * struct kmt_walk - frames that a walk over a stack found
 * @nr: number of frames
 * @hash: hash of @pc, from kmt_step_walk()
 * @pc: return address of each frame
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
 * @last: address of its last frame record, see KMT_LAST_RETURNS
 * @fp: address of the first frame record
 * @max: frames to be read, at most CONFIG_KMEMTRACK_STACK_DEPTH
 *
 * Return: whether the frame records form a chain to the last one or to @max of them.
 */
bool kmt_trace_walk(struct kmt_walk *walk, unsigned long lo, unsigned long hi,
		    unsigned long last, unsigned long fp, unsigned int max);

/**
 * kmt_trace_check - do the stack's frame records give the unwinder's trace?
 * @walk: filled in
 * @lo: first byte of the stack
 * @hi: one past its last
 * @last: address of its last frame record, see KMT_LAST_RETURNS
 * @fp: address of the first frame record
 * @entries: the trace, according to the unwinder
 * @nr: its length
 * @cut: the trace was cut, so the stack may have more frame records
 *
 * Return: whether they do, to the end of the stack, or to the end of the trace if it
 *	was cut or has CONFIG_KMEMTRACK_STACK_DEPTH frames.
 */
bool kmt_trace_check(struct kmt_walk *walk, unsigned long lo, unsigned long hi,
		     unsigned long last, unsigned long fp,
		     const unsigned long *entries, unsigned int nr, bool cut);

/**
 * kmt_trace_learn - remember the current trace
 * @trace: filled in
 * @lo: first byte of the current stack
 * @fp: address of the first frame record
 * @nr: number of frame records, at least one
 * @handle: handle of the trace
 */
static __always_inline void kmt_trace_learn(struct kmt_trace *trace,
					    unsigned long lo, unsigned long fp,
					    unsigned int nr, u32 handle)
{
	struct kmt_frame *frame = trace->frames;
	struct kmt_record r = kmt_read_record(fp);

	trace->handle = handle;
	trace->at = fp - lo;
	for (; nr > 1; nr--, frame++) {
		frame->next = r.next - lo;
		frame->pc = r.pc;
		r = kmt_read_record(r.next);
	}
	frame->next = KMT_LAST_FRAME;
	frame->pc = r.pc;
}

/**
 * kmt_trace_copy - copy a remembered trace, up to its last frame
 * @to: filled in
 * @from: a trace with a handle
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
