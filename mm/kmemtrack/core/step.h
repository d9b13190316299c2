/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Backtraces without frame records, walked by steps.
 *
 * Where functions keep no frame pointer, the unwinder has tables that say, for
 * each address a function may return to, how far up the stack the frame of its
 * caller ends and where that caller's frame pointer was saved. A step depends
 * on that address alone, not on the stack, so it is looked up once and kept in
 * a table of the whole machine. A walk by steps reads the words that the
 * unwinder reads, and comes to the same addresses.
 *
 * The walk has no result, and the unwinder is asked, if it comes upon registers
 * that an interrupt of the kernel saved, an address that a tracer has put in place
 * of another, or code that has no entry in the tables.
 */
#ifndef _KMT_STEP_H
#define _KMT_STEP_H

#include "trace.h"

/**
 * enum kmt_step_kind - how a function's frame leads to that of its caller
 * @KMT_STEP_UNKNOWN: only the unwinder can tell
 * @KMT_STEP_SP: the caller's stack pointer is @up words above this one
 * @KMT_STEP_BP: it is @up words above the frame pointer
 * @KMT_STEP_ALIGNED: it was saved @up words below where the frame pointer points,
 *	and the caller's frame pointer right there: the function has aligned its
 *	frame, so that the distance is not fixed
 * @KMT_STEP_SWITCH: it is @up words above the address on top of the stack, which
 *	is on the stack that this one was switched to from
 * @KMT_STEP_BP_SWITCH: as KMT_STEP_BP, and the frame pointer points to the stack that
 *	this one was switched to from
 * @KMT_STEP_REGS: @up words above are saved registers: of user mode the trace
 *	ends there, of the kernel only the unwinder can tell
 * @KMT_STEP_END: the trace ends with this function
 */
enum kmt_step_kind {
	KMT_STEP_UNKNOWN,
	KMT_STEP_SP,
	KMT_STEP_BP,
	KMT_STEP_ALIGNED,
	KMT_STEP_SWITCH,
	KMT_STEP_BP_SWITCH,
	KMT_STEP_REGS,
	KMT_STEP_END,
};

/**
 * struct kmt_step - the step from a function to its caller
 * @pc: low half of the address that is returned to in the function; the upper
 *	half is its sign, as of all code of the kernel
 * @up: distance, in words
 * @bp: how many words below the caller's stack pointer the caller's frame
 *	pointer was saved; 0: it is in the register still. It, and @ra, are @up at
 *	the most but with KMT_STEP_BP
 * @kind: enum kmt_step_kind
 * @ra: how many words below the caller's stack pointer the address is that the
 *	function returns to, at least one; see kmt_step_ra()
 * @word: all of it, read and written at once
 */
struct kmt_step {
	union {
		struct {
			u32 pc;
			u16 up;
			u8 bp;
#if KMT_CALL_PUSHES
			u8 kind;
#else
			u8 kind : 4;
			u8 ra : 4;
#endif
		};
		u64 word;
	};
};

#define KMT_STEP_RA_MAX	15

/* @ra of @step: right below the stack pointer where a call puts it there. */
static __always_inline unsigned int kmt_step_ra(struct kmt_step step)
{
#if KMT_CALL_PUSHES
	return 1;
#else
	return step.ra;
#endif
}

/**
 * struct kmt_span - a stack
 * @lo: its first byte
 * @hi: one past its last; equal to @lo if there is none
 */
struct kmt_span {
	unsigned long lo;
	unsigned long hi;
};

/**
 * kmt_step_walk - read a trace from the stack by steps
 * @walk: filled in, with a hash of the addresses
 * @on: the stack that @fp is on
 * @below: the stack that it may have been switched to from
 * @fp: where the first function saved the frame pointer, below the address that
 *	it returns to
 *
 * Context: nobody else changes the stacks: they are of the current task and CPU.
 * Return: whether it is the unwinder's trace, to its end or to as many frames
 *	as are kept.
 */
bool kmt_step_walk(struct kmt_walk *walk, struct kmt_span on,
		   struct kmt_span below, unsigned long fp);

/**
 * kmt_arch_step - look a step up in the unwinder's tables
 * @pc: address that is returned to in a function
 * @step: filled in but for @pc; KMT_STEP_UNKNOWN so far
 *
 * Context: preemption disabled.
 * Return: whether it may be kept: not if code at @pc may be about to go.
 */
bool kmt_arch_step(unsigned long pc, struct kmt_step *step);

/**
 * kmt_arch_user_regs - do saved registers end the current task's trace?
 * @addr: where the unwinder's tables say that registers were saved
 *
 * Return: whether they are those of user mode, which is where the trace ends.
 */
bool kmt_arch_user_regs(unsigned long addr);

/**
 * kmt_steps_forget - look all steps up anew
 *
 * Context: any. Code that is about to go runs no more, and kmt_arch_step() has
 * refused to keep its steps for a grace period.
 */
void kmt_steps_forget(void);

#endif /* _KMT_STEP_H */
