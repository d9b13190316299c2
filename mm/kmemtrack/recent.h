/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a CPU saw last: backtraces, and the name of a task. Most allocations
 * are by a task and along a path that it knows; they are recognised inlined in
 * the hook, with nothing called.
 */
#ifndef _KMT_RECENT_H
#define _KMT_RECENT_H

#include <linux/hash.h>
#include <linux/percpu.h>
#include <linux/sched/task_stack.h>

#include "core.h"
#include "trace.h"

/* Traces that share a place, and places. */
#define KMT_WAYS	2
#define KMT_TRACE_ORDER	get_order(CONFIG_KMEMTRACK_STACK_DEPTH * SZ_2K)
#define KMT_TRACE_SETS	((PAGE_SIZE << KMT_TRACE_ORDER) /		\
			 sizeof(struct kmt_trace_set))

/**
 * struct kmt_trace_set - traces with the same hash
 * @way: the traces
 * @turn: counts the traces that were kept: whose place is next
 */
struct kmt_trace_set {
	struct kmt_trace way[KMT_WAYS];
	unsigned long turn;
};

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
 * @sets: traces (stack.c); NULL without memory, and while nothing is tracked
 * @name: of a task (origin.c)
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

/*
 * Where the trace whose first record is at @fp may be kept; NULL if it is not.
 * What distinguishes call paths is who called the allocator, and how deep.
 */
static __always_inline struct kmt_trace_set *
kmt_find_set(struct kmt_trace_set *sets, unsigned long stack, unsigned long fp)
{
	unsigned long next;
	u32 hash;

	if (unlikely(!sets))
		return NULL;
	next = kmt_record(fp).next;
	if (unlikely(!kmt_on_stack(stack, stack + THREAD_SIZE, next)))
		return NULL;
	hash = hash_32(kmt_record(next).pc + fp - stack, 32);
	return &sets[reciprocal_scale(hash, KMT_TRACE_SETS)];
}

/*
 * The trace whose first record is at @fp, if it was seen lately; else NULL.
 * Interrupts are off.
 */
static __always_inline const struct kmt_trace *
kmt_find_trace(struct kmt_trace_set *sets, unsigned long stack,
	       unsigned long fp)
{
	const struct kmt_trace_set *set = kmt_find_set(sets, stack, fp);
	const struct kmt_trace *trace;
	unsigned int way = 0;

	if (unlikely(!set))
		return NULL;
	trace = set->way;
	do {
		/* 0, where no record can be, is a place without one. */
		if (trace->at == fp - stack && kmt_trace_is(trace, stack, fp))
			return trace;
		trace++;
	} while (++way < KMT_WAYS);
	return NULL;
}

static __always_inline bool kmt_same_name(const struct kmt_name *a,
					  const struct kmt_name *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1];
}

/* The name of the current task as it is now; others may be changing it. */
static __always_inline struct kmt_name kmt_task_name(void)
{
	struct kmt_name name;

	memcpy(&name, current->comm, sizeof(name));
	return name;
}

/**
 * kmt_origin_recent - describe the current allocation if it is by a task and
 *		       in a way that this CPU saw last
 * @origin: filled in
 * @fp: frame record of the hook
 *
 * Context: task, interrupts off.
 * Return: whether it is.
 */
static __always_inline bool kmt_origin_recent(struct kmt_origin *origin,
					      unsigned long fp)
{
	unsigned long stack = (unsigned long)task_stack_page(current);
	struct kmt_recent *recent = this_cpu_ptr(&kmt_recent);
	struct kmt_name name = kmt_task_name();
	const struct kmt_trace *trace;

	if (unlikely(fp - stack >= THREAD_SIZE ||
		     !kmt_same_name(&recent->name, &name)))
		return false;
	trace = kmt_find_trace(recent->sets, stack, fp);
	if (unlikely(!trace))
		return false;
	origin->stack = trace->handle;
	origin->born = jiffies;
	origin->pid = current->pid;
	origin->comm = recent->comm;
	return true;
}

#endif /* _KMT_RECENT_H */
