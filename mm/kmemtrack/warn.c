// SPDX-License-Identifier: GPL-2.0
/*
 * Warnings about blocks that were freed twice, that overlap, or whose size is impossible, and
 * about frees of addresses inside a block, or of memory around one. See "Warnings" in
 * kmemtrack-design.rst.
 */
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/kallsyms.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/stacktrace.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "glue.h"

/**
 * struct kmt_side - a block that a warning is about
 * @hidden: its address, inverted, so that it is no reference; 0 if there is no block
 * @size: its bytes
 * @trace: handle of the backtrace of its allocation
 * @pid: pid of the task that allocated it
 */
struct kmt_side {
	unsigned long hidden;
	unsigned long size;
	u32 trace;
	s32 pid;
};

enum kmt_slot_state {
	KMT_SLOT_FREE,
	KMT_SLOT_TAKEN,
	KMT_SLOT_READY,
};

/**
 * struct kmt_warning - a warning, to be printed by print_warnings()
 * @state: enum kmt_slot_state
 * @ev: what happened
 * @old: the block it happened to
 * @new: the block that caused it
 * @comm: name of the task that caused it
 * @pid: pid of that task
 * @nr: number of @entries, 0 if there is a new block, which has a backtrace itself
 * @entries: backtrace of the hook
 */
struct kmt_warning {
	atomic_t state;
	enum kmt_event ev;
	struct kmt_side old;
	struct kmt_side new;
	char comm[TASK_COMM_LEN];
	pid_t pid;
	unsigned int nr;
	unsigned long entries[CONFIG_KMEMTRACK_STACK_DEPTH];
};

/*
 * Number of slots for warnings, and the limit of warnings of a kind per minute. A warning
 * that finds no slot is not printed, but counts for the limit.
 */
#define KMT_WARNINGS	3

static struct kmt_warning warnings[KMT_WARNINGS];

static void fill_side(struct kmt_side *side, const struct kmt_object *o)
{
	*side = (struct kmt_side){};
	if (!o)
		return;
	side->hidden = ~o->addr;
	side->size = o->size;
	side->trace = o->trace;
	side->pid = kmt_pid(o);
}

/* %p: the user did not ask for this output, so it shows no addresses. */
static void print_side(const char *what, const struct kmt_side *side)
{
	if (!side->hidden)
		return;
	pr_warn("kmemtrack: %s block %p, %lu bytes, pid %d\n", what,
		(void *)~side->hidden, side->size, side->pid);
	kmt_print_trace(NULL, KERN_WARNING "kmemtrack:   ", side->trace);
}

/* Whether a return address is in a hook; without KALLSYMS that is not known. */
static noinline_for_stack bool is_in_hook(unsigned long pc)
{
	char name[KSYM_SYMBOL_LEN];

	/* The address may be right after the function's end. */
	sprint_symbol_no_offset(name, pc - 1);
	return str_has_prefix(name, "__kmemtrack_");
}

/* How many of the first entries are of the tracker itself, up to its hook. */
static unsigned int own_entries(const struct kmt_warning *w)
{
	unsigned int i;

	for (i = 0; i < w->nr; i++)
		if (is_in_hook(w->entries[i]))
			return i + 1;
	return 0;
}

static void print_warning(const struct kmt_warning *w)
{
	static const char * const what[KMT_NR_EVENTS] = {
		[KMT_EV_OVERLAP] = "a block was allocated where another one lives",
		[KMT_EV_BAD_SIZE] = "a block of impossible size",
		[KMT_EV_FREE_INSIDE] = "an address inside a block was freed",
		[KMT_EV_FREE_AROUND] = "memory was freed that a block lies in",
		[KMT_EV_FREE_TWICE] = "a block was freed twice",
	};
	struct kmt_log_task task;
	unsigned int own;

	pr_warn("kmemtrack: %s\n", what[w->ev]);
	print_side("old", &w->old);
	print_side("new", &w->new);
	if (!w->nr)
		return;
	pr_warn("kmemtrack: by \"%s\", pid %d\n",
		kmt_escape_log_task(&task, w->comm), w->pid);
	own = own_entries(w);
	kmt_print_frames(NULL, KERN_WARNING "kmemtrack:   ", w->entries + own,
			 w->nr - own);
}

static void print_warnings(struct work_struct *work)
{
	unsigned int i;

	for (i = 0; i < KMT_WARNINGS; i++) {
		/* Pairs with kmt_warn(). */
		if (atomic_read_acquire(&warnings[i].state) != KMT_SLOT_READY)
			continue;
		print_warning(&warnings[i]);
		atomic_set_release(&warnings[i].state, KMT_SLOT_FREE);
	}
}

static DECLARE_WORK(warn_work, print_warnings);

static void kick_warnings(struct irq_work *work)
{
	schedule_work(&warn_work);
}

static DEFINE_IRQ_WORK(warn_irq_work, kick_warnings);

/*
 * kmt_ops.warn: the warning is printed later, since the caller of the allocator may hold
 * locks under which printing is not safe.
 */
void kmt_warn(struct kmt_core *core, enum kmt_event ev,
	      const struct kmt_object *old, const struct kmt_object *new)
{
	static struct ratelimit_state limits[KMT_NR_EVENTS] = {
		[0 ... KMT_NR_EVENTS - 1] =
			RATELIMIT_STATE_INIT_FLAGS(limits, 60 * HZ, KMT_WARNINGS,
						   RATELIMIT_MSG_ON_RELEASE),
	};
	struct kmt_warning *w = warnings;

	if (!__ratelimit(&limits[ev]))
		return;
	while (atomic_cmpxchg(&w->state, KMT_SLOT_FREE, KMT_SLOT_TAKEN) !=
	       KMT_SLOT_FREE)
		if (++w == warnings + KMT_WARNINGS)
			return;
	w->ev = ev;
	fill_side(&w->old, old);
	fill_side(&w->new, new);
	memcpy(w->comm, current->comm, TASK_COMM_LEN);
	w->pid = current->pid;
	w->nr = new ? 0 : stack_trace_save(w->entries, ARRAY_SIZE(w->entries), 1);
	atomic_set_release(&w->state, KMT_SLOT_READY);
	if (system_state >= SYSTEM_SCHEDULING)
		irq_work_queue(&warn_irq_work);
}

/**
 * kmt_flush_warnings - print the warnings that are pending
 *
 * Backtraces in warnings are not replaced when code is freed. So this is called before,
 * when no record has a backtrace through that code any more.
 *
 * Context: workers are up, may sleep.
 */
void kmt_flush_warnings(void)
{
	/* Only one task at a time may wait in irq_work_sync(). */
	static DEFINE_MUTEX(flush_mutex);

	mutex_lock(&flush_mutex);
	irq_work_sync(&warn_irq_work);
	flush_work(&warn_work);
	mutex_unlock(&flush_mutex);
}

/* Prints warnings from before workers were up. */
static int __init log_early(void)
{
	schedule_work(&warn_work);
	return 0;
}
core_initcall(log_early);
