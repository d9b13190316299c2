/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What each CPU remembers of the last allocations: backtraces, and the name of a
 * task. Most allocations have a backtrace and a task that the CPU remembers. The
 * hook recognises those inline; with KMT_STEPS it calls kmt_find_trace() for that.
 */
#ifndef _KMT_RECENT_H
#define _KMT_RECENT_H

#include <linux/percpu.h>
#include <linux/sched/task_stack.h>

#include "core/core.h"
#include "core/step.h"

/* Whether traces can be recognised, so that each CPU has a table of them. */
#define KMT_TRACES_KNOWN	(KMT_FRAME_RECORDS || KMT_STEPS)

#if KMT_STEPS
/**
 * struct kmt_trace_set - a remembered trace
 * @handle: its handle; 0 if this entry is empty
 * @walk: its frames
 */
struct kmt_trace_set {
	u32 handle;
	struct kmt_walk walk;
};

#define KMT_TRACE_ORDER		get_order(SZ_64K)
#define KMT_TRACE_SETS		(SZ_64K / sizeof(struct kmt_trace_set))
#else
/* Traces in a set; number of sets, a power of two. */
#define KMT_WAYS		3
#define KMT_TRACE_SETS		64
#define KMT_TRACE_ORDER							\
	get_order(KMT_TRACE_SETS * sizeof(struct kmt_trace_set))

/**
 * struct kmt_trace_set - remembered traces with the same hash
 * @way: the traces, latest first
 * @size: pads the set to a power of two, so that a shift gives its address
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
 * @w: all of its bytes, for comparison
 */
struct kmt_name {
	u64 w[TASK_COMM_LEN / sizeof(u64)];
};

static_assert(sizeof(struct kmt_name) == TASK_COMM_LEN);

/**
 * struct kmt_recent - what a CPU remembers
 * @sets: traces (backtrace.c); NULL without memory for them or while tracking is off
 * @name: name of the task that allocated last (comm.c)
 * @comm: handle of @name, KMT_COMM_NONE if there is none
 *
 * Its CPU uses this with interrupts off. Other CPUs set and clear @sets (backtrace.c), and
 * the purge of names reads @comm and @name (comm.c).
 */
struct kmt_recent {
	struct kmt_trace_set *sets;
	struct kmt_name name;
	u16 comm;
};

DECLARE_PER_CPU(struct kmt_recent, kmt_recent);

/* Instead of a handle: the name is not known. */
#define KMT_COMM_NONE	0

#if KMT_STEPS
bool kmt_find_trace(struct kmt_trace_set *sets, unsigned long stack,
		    unsigned long fp, u32 *handle);
#else
/*
 * Reads the frame record after the one at @fp. Returns false if the record at @fp
 * is the last one: so short a trace is not remembered.
 */
static __always_inline bool kmt_second_record(unsigned long stack,
					      unsigned long fp,
					      struct kmt_record *second)
{
	unsigned long next = kmt_read_record(fp).next;

	if (unlikely(!kmt_on_stack(stack, stack + THREAD_SIZE, next)))
		return false;
	*second = kmt_read_record(next);
	return true;
}

/*
 * Returns the set for traces whose first record is @at bytes up the stack. The
 * caller of the allocator and its depth in the stack distinguish most call paths.
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
	/* An empty entry has @at 0, where no record can be. */
	if (trace->at != fp - stack || !kmt_trace_is(trace, stack, fp))
		return false;
	*handle = trace->handle;
	return true;
}

/*
 * Sets @handle to that of the current trace, whose first record is at @fp, if this
 * CPU remembers it. Interrupts are off. The comparisons are unrolled, since a loop
 * would cost as much as one of them.
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
	/* Hide how it was computed: GCC would keep the index, too, and spill a register. */
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
 * kmt_origin_recent - describe the current allocation if this CPU remembers its
 *		       backtrace and the task's name
 * @origin: filled in, with a slack of 0, if this returns true; otherwise only
 *	@origin->trace is set, to 0 if the backtrace is not remembered
 * @fp: frame record of the hook
 *
 * Context: task, interrupts off.
 * Return: whether this CPU remembers both.
 */
static __always_inline bool kmt_origin_recent(struct kmt_origin *origin,
					      unsigned long fp)
{
	const struct task_struct *task = current;
	unsigned long stack = (unsigned long)task_stack_page(task);
	struct kmt_recent *recent = this_cpu_ptr(&kmt_recent);
	struct kmt_name name;

	origin->trace = 0;
	if (unlikely(fp - stack >= THREAD_SIZE) ||
	    unlikely(!kmt_find_trace(kmt_env_read_pointer(recent->sets), stack, fp,
				     &origin->trace)))
		return false;
	name = kmt_task_name(task);
	if (unlikely(!kmt_same_name(&recent->name, &name)))
		return false;
	origin->born = jiffies;
	origin->pid_slack = kmt_pid_slack(task->pid, 0);
	origin->comm = recent->comm;
	return true;
}

#endif /* _KMT_RECENT_H */
