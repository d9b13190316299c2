// SPDX-License-Identifier: GPL-2.0
/*
 * Roots in the stacks of tasks.
 */
#include <linux/kmemtrack.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/vmalloc.h>
#include <asm/sections.h>

#include "policy.h"

/*
 * From now on the block at @stack is read as a stack. Otherwise it would be read as a whole,
 * with stale frames.
 */
static void flag_stack(unsigned long stack)
{
	struct kmt_object o;

	if (kmt_lookup(&kmt_core, KMT_VIRT, stack, &o) &&
	    !(o.flags & KMT_STACK))
		kmt_set_flags(&kmt_core, KMT_VIRT, stack, KMT_STACK);
}

/*
 * Flags the pages of a vmapped stack. With a record the stack is read as a block. Without
 * one, because tracking was off when it was allocated or has been off since, the flag keeps
 * its pages from being read as pages of the page allocator. The pages of a stack that a CPU
 * keeps for its next task have flags already.
 */
static void flag_vmapped(const struct task_struct *task)
{
#ifdef CONFIG_VMAP_STACK
	const struct vm_struct *area = task->stack_vm_area;
	unsigned int i;

	if (kmt_is_stack_page(area->pages[0]))
		return;
	set_page_private(area->pages[0], KMT_STACK_PAGE);
	for (i = 1; i < area->nr_pages; i++)
		set_page_private(area->pages[i], KMT_STACK_REST);
#endif
}

/* Flags the page, or the record, at @stack, so that it is read as a stack. */
static void flag_memory(const void *stack)
{
	struct page *page = virt_addr_valid(stack) ? virt_to_page(stack) : NULL;

	if (page && !PageSlab(compound_head(page)))
		set_page_private(page, KMT_STACK_PAGE);
	else if (kmt_tracking())
		flag_stack(kmt_untag((unsigned long)stack));
}

void kmemtrack_stack(const struct task_struct *task)
{
	flag_vmapped(task);
	flag_memory(task->stack);
}

/*
 * Threads that help with a mark (workers.c), whose stacks are no roots. The pointers that are
 * not NULL come first. Protected by kmt_scan_mutex.
 */
struct kthread_worker *kmt_workers[KMT_HELPERS];

/**
 * kmt_is_helper - is this one of the threads that help?
 * @task: task
 *
 * Context: kmt_scan_mutex held by this scan; any CPU may ask.
 */
bool kmt_is_helper(const struct task_struct *task)
{
	unsigned int i;

	for (i = 0; i < KMT_HELPERS && kmt_workers[i]; i++)
		if (kmt_workers[i]->task == task)
			return true;
	return false;
}

static unsigned long switches(struct task_struct *task)
{
	return READ_ONCE(task->nvcsw) + READ_ONCE(task->nivcsw);
}

static void mark_used_part(struct kmt_marker *m, struct task_struct *task,
			   const struct kmt_range *stack,
			   const struct kmt_roots *roots)
{
	unsigned long ran = switches(task);

	if (task == roots->scanner || !task_curr(task))
		kmt_mark_range(m, kmt_stack_from(task, stack, roots), stack->hi);
	/*
	 * A task that runs is read by the snapshot, if one follows. While all
	 * CPUs are stopped only stopper threads run. Otherwise read the stack
	 * now: all of it if the task runs, or again if it ran meanwhile.
	 */
	if (roots->exact_later || m->world_stopped || task == roots->scanner)
		return;
	if (task_curr(task) || READ_ONCE(task->on_rq) || switches(task) != ran)
		kmt_mark_range(m, kmt_stack_from(task, stack, roots), stack->hi);
}

static void mark_stack(struct kmt_marker *m, struct task_struct *task,
		       const struct kmt_roots *roots)
{
	struct kmt_range stack;

	stack.lo = (unsigned long)try_get_task_stack(task);
	stack.hi = stack.lo + THREAD_SIZE;
	if (!stack.lo)
		return;
	/* The task may have been created after kmt_flag_stacks(). */
	if (!m->world_stopped)
		flag_stack(stack.lo);
	/* The stacks of threads that help with the mark hold words that it read. */
	if (!kmt_is_helper(task))
		mark_used_part(m, task, &stack, roots);
	put_task_stack(task);
}

/**
 * kmt_next_task - get the task with the lowest pid from @nr on; no idle tasks
 * @nr: 1 to begin; set to the pid after that of the task
 *
 * Return: the task, to be released with put_task_struct(); NULL if there are no more.
 */
struct task_struct *kmt_next_task(int *nr)
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

/*
 * Flags the stack of a task, if it is a block: tracking may have been off when the task was
 * given it.
 */
static void flag_task_stack(struct task_struct *task)
{
	void *base = try_get_task_stack(task);

	if (!base)
		return;
	if (is_vmalloc_addr(base))
		flag_stack((unsigned long)base);
	put_task_stack(task);
}

/**
 * kmt_flag_stacks - flag the blocks of all stacks, so that they are read as stacks
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_flag_stacks(void)
{
	struct task_struct *task;
	int cpu, nr = 1;

	for_each_possible_cpu(cpu) {
		unsigned long lo, hi;

		if (idle_task(cpu))
			flag_task_stack(idle_task(cpu));
		if (!kmt_irq_stack(cpu, &lo, &hi))
			continue;
		if (KMT_IRQ_STACK_ENDS)
			kmt_set_min(&kmt_core, KMT_VIRT, lo, KMT_MIN_GREY);
		if (!kmt_irq_stack_is_root() && KMT_IRQ_STACK_ENDS)
			flag_memory((void *)lo);
		else if (!kmt_irq_stack_is_root())
			flag_stack(lo);
	}
	while ((task = kmt_next_task(&nr))) {
		flag_task_stack(task);
		put_task_struct(task);
		cond_resched();
	}
}

static void mark_stacks(struct kmt_marker *m, const struct kmt_roots *roots)
{
	struct task_struct *task;
	int nr = 1;

	while (!m->stopped && (task = kmt_next_task(&nr))) {
		mark_stack(m, task, roots);
		put_task_struct(task);
		kmt_mark_relax(m);
	}
}

static void mark_stacks_stopped(struct kmt_marker *m,
				const struct kmt_roots *roots)
{
	struct task_struct *p, *t;

	rcu_read_lock();
	for_each_process_thread(p, t)
		if (kmt_take_unit(m) && !m->stopped)
			mark_stack(m, t, roots);
	rcu_read_unlock();
}

/**
 * kmt_mark_stacks - mark from the stacks of all tasks
 * @m: marker; several markers share the work while all CPUs are stopped
 * @roots: which roots
 *
 * Context: may sleep, unless all CPUs are stopped.
 */
void kmt_mark_stacks(struct kmt_marker *m, const struct kmt_roots *roots)
{
	if (kmt_tunables.stacks && m->world_stopped)
		mark_stacks_stopped(m, roots);
	else if (kmt_tunables.stacks)
		mark_stacks(m, roots);
}
