/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a CPU saw last: backtraces, and the name of a task. Most allocations
 * are by a task and along a path that it knows; they are recognised inlined in
 * the hook, with nothing called.
 */
#ifndef _KMT_RECENT_H
#define _KMT_RECENT_H

#include <linux/percpu.h>
#include <linux/sched/task_stack.h>

#include "core/core.h"
#include "core/step.h"

/* Whether traces are recognised, so that CPUs have tables of them. */
#define KMT_TRACES_KNOWN	(KMT_FRAME_RECORDS || KMT_STEPS)

#if KMT_STEPS
/**
 * struct kmt_trace_set - a trace that was seen
 * @handle: what it is known as; 0 if there is none
 * @walk: what a walk found
 */
struct kmt_trace_set {
	u32 handle;
	struct kmt_walk walk;
};

#define KMT_TRACE_ORDER		get_order(SZ_64K)
#define KMT_TRACE_SETS		(SZ_64K / sizeof(struct kmt_trace_set))
#else
/* Traces that share a place, and places: a power of two. */
#define KMT_WAYS		3
#define KMT_TRACE_SETS		64
#define KMT_TRACE_ORDER							\
	get_order(KMT_TRACE_SETS * sizeof(struct kmt_trace_set))

/**
 * struct kmt_trace_set - traces with the same hash
 * @way: the traces, what was kept last first
 * @size: of it all, a power of two: an address is found in one step
 */
struct kmt_trace_set {
	union {
		struct kmt_trace way[KMT_WAYS];
		char size[roundup_pow_of_two(KMT_WAYS *
					     sizeof(struct kmt_trace))];
	};
};
#endif

/**
 * struct kmt_name - the name of a task
 * @w: all of it, to be compared
 */
struct kmt_name {
	u64 w[TASK_COMM_LEN / sizeof(u64)];
};

static_assert(sizeof(struct kmt_name) == TASK_COMM_LEN);

/**
 * struct kmt_recent - what a CPU saw last; used by itself with interrupts off
 * @sets: traces (backtrace.c); NULL without memory, and while nothing is tracked
 * @name: of a task (comm.c)
 * @comm: handle of @name, KMT_COMM_NONE if there is none
 */
struct kmt_recent {
	struct kmt_trace_set *sets;
	struct kmt_name name;
	u16 comm;
};

DECLARE_PER_CPU(struct kmt_recent, kmt_recent);

/* No name is known. */
#define KMT_COMM_NONE	0

#if KMT_STEPS
bool kmt_find_trace(struct kmt_trace_set *sets, unsigned long stack,
		    unsigned long fp, u32 *handle);
#else
/*
 * The record after the one at @fp, of a stack that is there; false if that one
 * is the last: a trace so short has no place in the table.
 */
static __always_inline bool kmt_second_record(unsigned long stack,
					      unsigned long fp,
					      struct kmt_record *second)
{
	unsigned long next = kmt_record(fp).next;

	if (unlikely(!kmt_on_stack(stack, stack + THREAD_SIZE, next)))
		return false;
	*second = kmt_record(next);
	return true;
}

/*
 * Where a trace may be kept whose first record is @at bytes up the stack. What
 * distinguishes call paths is who called the allocator, and how deep.
 */
static __always_inline struct kmt_trace_set *
kmt_set_of(struct kmt_trace_set *sets, unsigned long at,
	   const struct kmt_record *second)
{
	unsigned long hash = second->pc + at;

	return &sets[((hash ^ hash >> 8) >> 2) % KMT_TRACE_SETS];
}

/* Whether @trace is on the stack now; sets its handle if it is. */
static __always_inline bool kmt_recognise(const struct kmt_trace *trace,
					  unsigned long stack, unsigned long fp,
					  u32 *handle)
{
	/* 0, where no record can be, is a place without a trace. */
	if (trace->at != fp - stack || !kmt_trace_is(trace, stack, fp))
		return false;
	*handle = trace->handle;
	return true;
}

/*
 * The handle of the trace whose first record is at @fp, if it was seen lately.
 * Interrupts are off. No loop: that costs as much as a look.
 */
static __always_inline bool kmt_find_trace(struct kmt_trace_set *sets,
					   unsigned long stack,
					   unsigned long fp, u32 *handle)
{
	const struct kmt_trace_set *set;
	struct kmt_record second;

	if (unlikely(!sets) || !kmt_second_record(stack, fp, &second))
		return false;
	set = kmt_set_of(sets, fp - stack, &second);
	/* In one register, or GCC keeps what it is the sum of, too, and saves another. */
	OPTIMIZER_HIDE_VAR(set);
	static_assert(KMT_WAYS == 3);
	return likely(kmt_recognise(&set->way[0], stack, fp, handle)) ||
	       likely(kmt_recognise(&set->way[1], stack, fp, handle)) ||
	       kmt_recognise(&set->way[2], stack, fp, handle);
}
#endif

static __always_inline bool kmt_same_name(const struct kmt_name *a,
					  const struct kmt_name *b)
{
	return !((a->w[0] ^ b->w[0]) | (a->w[1] ^ b->w[1]));
}

/* The name of a task as it is now; others may be changing it. */
static __always_inline struct kmt_name kmt_task_name(const struct task_struct *task)
{
	struct kmt_name name;

#if KMT_STEPS
	/* GCC aligns the stack for a copy of 16 bytes: see frame_record(). */
	memcpy(&name.w[0], task->comm, sizeof(u64));
	memcpy(&name.w[1], task->comm + sizeof(u64), sizeof(u64));
#else
	memcpy(&name, task->comm, sizeof(name));
#endif
	return name;
}

/**
 * kmt_origin_recent - describe the current allocation if it is by a task and
 *		       in a way that this CPU saw last
 * @origin: filled in; if it is not so, only @origin->stack is, with 0 if the
 *	way is not known
 * @fp: frame record of the hook
 *
 * Context: task, interrupts off.
 * Return: whether it is.
 */
static __always_inline bool kmt_origin_recent(struct kmt_origin *origin,
					      unsigned long fp)
{
	const struct task_struct *task = current;
	unsigned long stack = (unsigned long)task_stack_page(task);
	struct kmt_recent *recent = this_cpu_ptr(&kmt_recent);
	struct kmt_name name;

	origin->stack = 0;
	if (unlikely(fp - stack >= THREAD_SIZE) ||
	    unlikely(!kmt_find_trace(recent->sets, stack, fp, &origin->stack)))
		return false;
	name = kmt_task_name(task);
	if (unlikely(!kmt_same_name(&recent->name, &name)))
		return false;
	origin->born = jiffies;
	origin->pid = task->pid;
	origin->comm = recent->comm;
	return true;
}

#endif /* _KMT_RECENT_H */
