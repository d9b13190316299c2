/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Backtraces without frame records, walked by steps.
 *
 * Where functions keep no frame pointer, the unwinder has tables. What they say of a return
 * address, a step, does not depend on the stack, so it is looked up once and kept in a table
 * for the whole machine; see "Backtraces" in kmemtrack-design.rst. The walk fails, and the
 * unwinder takes the trace, at registers that an interrupt of the kernel saved, at a return
 * address that a tracer has replaced, and at code without an entry in the tables.
 */
#ifndef _KMT_STEP_H
#define _KMT_STEP_H

#include "core.h"
#include "trace.h"

/**
 * enum kmt_step_kind - how a function's frame leads to that of its caller
 * @KMT_STEP_UNKNOWN: only the unwinder can tell
 * @KMT_STEP_SP: the caller's stack pointer is @up words above this one
 * @KMT_STEP_BP: the caller's stack pointer is @up words above the frame pointer
 * @KMT_STEP_ALIGNED: the function has aligned its frame, so the distance is not fixed:
 *	it saved the caller's stack pointer @up words below where the frame pointer
 *	points, and the caller's frame pointer where it points
 * @KMT_STEP_SWITCH: the stack was switched: the word on top of this stack is an address
 *	on the stack before, and the caller's stack pointer is @up words above that
 * @KMT_STEP_BP_SWITCH: as KMT_STEP_BP, but the frame pointer points to the stack that
 *	was in use before the stack was switched
 * @KMT_STEP_REGS: registers were saved @up words above: the trace ends there if they
 *	are those of user mode; otherwise only the unwinder can tell
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
 * @pc: low half of the return address in the function; the upper half is the sign
 *	extension of the low half, as in all kernel code
 * @up: distance, in words
 * @bp: how many words below the caller's stack pointer the caller's frame pointer was
 *	saved; 0: it is still in the register. Except with KMT_STEP_BP, @bp and @ra
 *	are at most @up
 * @kind: enum kmt_step_kind
 * @ra: how many words below the caller's stack pointer the function's own return
 *	address is, at least one; see kmt_step_ra()
 * @word: the whole step, to read and write it at once
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

/* @ra of @step: always 1 if the call instruction pushes the return address. */
static __always_inline unsigned int kmt_step_ra(struct kmt_step step)
{
#if KMT_CALL_PUSHES
	return 1;
#else
	return step.ra;
#endif
}

/**
 * kmt_step_walk - read a trace from the stack by steps
 * @walk: filled in, with a hash of the addresses
 * @on: the stack that @fp is on
 * @below: the stack that may have been in use before a switch to @on; empty if none
 * @fp: where the first function saved the frame pointer, right below its return
 *	address
 *
 * Context: the stacks are those of the current task and CPU, with interrupts off.
 * Return: whether the walk gave the unwinder's trace, to its end or to
 *	CONFIG_KMEMTRACK_STACK_DEPTH frames.
 */
bool kmt_step_walk(struct kmt_walk *walk, struct kmt_range on,
		   struct kmt_range below, unsigned long fp);

/**
 * kmt_arch_step - look up a step in the unwinder's tables
 * @pc: a return address
 * @step: filled in except for its @pc; its kind is KMT_STEP_UNKNOWN before
 *
 * Context: preemption disabled.
 * Return: whether the step may be kept: false if the code at @pc may be about to be
 *	freed.
 */
bool kmt_arch_step(unsigned long pc, struct kmt_step *step);

/**
 * kmt_arch_user_regs - do saved registers end the current task's trace?
 * @addr: where the registers were saved, according to the unwinder's tables
 *
 * Return: whether they are those of user mode, where the trace ends.
 */
bool kmt_arch_user_regs(unsigned long addr);

/**
 * kmt_steps_forget - forget all steps
 *
 * Context: any. To forget code before it is freed, the caller makes sure that
 * kmt_arch_step() has refused to keep its steps for a grace period.
 */
void kmt_steps_forget(void);

#endif /* _KMT_STEP_H */
