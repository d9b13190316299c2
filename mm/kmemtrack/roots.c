// SPDX-License-Identifier: GPL-2.0
/*
 * Roots that are no tracked blocks: per-CPU sections, task stacks, pages.
 */
#include <linux/percpu.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <asm/sections.h>

#include "compat.h"
#include "glue.h"

/* [@lo, @hi) without [@hole_lo, @hole_hi) */
static void mark_around(struct kmt_marker *m, unsigned long lo,
			unsigned long hi, unsigned long hole_lo,
			unsigned long hole_hi)
{
	if (hole_lo >= hi || hole_hi <= lo) {
		kmt_mark_block(m, lo, hi);
		return;
	}
	if (lo < hole_lo)
		kmt_mark_block(m, lo, hole_lo);
	if (hole_hi < hi)
		kmt_mark_block(m, hole_hi, hi);
}

/*
 * As a block a stack would be read as a whole, with all that calls which
 * returned long ago left on it.
 */
static void not_a_block(unsigned long stack)
{
	struct kmt_object o;

	if (kmt_lookup(&kmt_core, KMT_VIRT, stack, &o) &&
	    !(o.flags & KMT_STACK))
		kmt_set_flags(&kmt_core, KMT_VIRT, stack, KMT_STACK);
}

/* On one CPU the section is part of the data section. */
static void mark_percpu(struct kmt_marker *m)
{
	int cpu;

	if (!IS_ENABLED(CONFIG_SMP))
		return;
	for_each_possible_cpu(cpu) {
		unsigned long off = per_cpu_offset(cpu), lo = 0, hi = 0;

		if (kmt_irq_stack(cpu, &lo, &hi))
			not_a_block(lo);
		mark_around(m, (unsigned long)__per_cpu_start + off,
			    (unsigned long)__per_cpu_end + off, lo, hi);
	}
}

/*
 * Where the live part of a stack begins. A task on a CPU may be anywhere in
 * it; one that is switched out left its stack pointer behind.
 */
static unsigned long live_from(struct task_struct *task, unsigned long base,
			       unsigned long frame)
{
	unsigned long sp;

	if (task == current)
		sp = frame;
	else if (task_curr(task))
		sp = base;
	else
		sp = kmt_saved_sp(task);
	return sp >= base && sp < base + THREAD_SIZE ? sp : base;
}

static void mark_stack(struct kmt_marker *m, struct task_struct *task,
		       unsigned long frame)
{
	unsigned long base = (unsigned long)try_get_task_stack(task);

	if (!base)
		return;
	not_a_block(base);
	if (kmt_tunables.stacks) {
		kmt_mark_block(m, live_from(task, base, frame),
			       base + THREAD_SIZE);
		/* It was asleep when we looked, but is it still? */
		if (task != current && task_curr(task))
			kmt_mark_block(m, base, base + THREAD_SIZE);
	}
	put_task_stack(task);
}

/* The task with the lowest number from *@nr on, which is set behind it. */
static struct task_struct *next_task_from(int *nr)
{
	struct task_struct *task = NULL;
	struct pid *pid;

	rcu_read_lock();
	while (!task && (pid = find_ge_pid(*nr, &init_pid_ns))) {
		*nr = pid_nr(pid) + 1;
		task = pid_task(pid, PIDTYPE_PID);
	}
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	return task;
}

static void mark_stacks(struct kmt_marker *m, unsigned long frame)
{
	struct task_struct *task;
	int cpu, nr = 1;

	for_each_online_cpu(cpu)
		mark_stack(m, idle_task(cpu), frame);
	while (!m->stopped && (task = next_task_from(&nr))) {
		mark_stack(m, task, frame);
		put_task_struct(task);
		kmt_mark_relax(m);
	}
}

/**
 * kmt_mark_roots - mark from all roots that are no tracked blocks
 * @m: marker
 * @frame: address in the current stack; what is below it is the scanner's
 *
 * Context: may sleep.
 */
void kmt_mark_roots(struct kmt_marker *m, unsigned long frame)
{
	/* First, so that stacks are known for stacks when they are reached. */
	mark_stacks(m, frame);
	mark_percpu(m);
	kmt_mark_pages(m);
}
