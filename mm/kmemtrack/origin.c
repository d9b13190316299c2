// SPDX-License-Identifier: GPL-2.0
/*
 * Who allocates: backtrace, task and time.
 *
 * Names of tasks are kept once each, so that a record needs two bytes for its
 * own. The table is filled under a lock and read without: an entry is written
 * once, from empty to a name.
 */
#include <linux/gfp.h>
#include <linux/hash.h>
#include <linux/preempt.h>
#include <linux/sched/task.h>

#include "glue.h"
#include "recent.h"

#define KMT_COMM_BITS	12
#define KMT_COMM_NR	BIT(KMT_COMM_BITS)
#define KMT_COMM_ORDER	get_order(KMT_COMM_NR * sizeof(struct kmt_name))

/* A table that is almost full takes long to search. */
#define KMT_COMM_MAX	(KMT_COMM_NR / 4 * 3)

/* Handles are indices into the table from here on, KMT_COMM_NONE is none. */
#define KMT_COMM_FIRST	1

static struct kmt_name *names;
static unsigned int nr_names;
static DEFINE_RAW_SPINLOCK(names_lock);

static bool same_name(const struct kmt_name *a, const struct kmt_name *b)
{
	return READ_ONCE(a->w[0]) == b->w[0] && READ_ONCE(a->w[1]) == b->w[1];
}

static bool no_name(const struct kmt_name *n)
{
	return !READ_ONCE(n->w[0]);
}

/* Where @name is, or could be put. */
static unsigned int find_name(const struct kmt_name *name)
{
	unsigned int i = hash_64(name->w[0] ^ (name->w[1] * GOLDEN_RATIO_64),
				 KMT_COMM_BITS);

	while (!no_name(&names[i]) && !same_name(&names[i], name))
		i = (i + 1) % KMT_COMM_NR;
	return i;
}

static u16 add_name(struct kmt_name name)
{
	unsigned long flags;
	unsigned int i;
	u16 handle = KMT_COMM_NONE;

	/* Names may be read while they are written, up to their last byte. */
	((char *)&name)[TASK_COMM_LEN - 1] = '\0';
	raw_spin_lock_irqsave(&names_lock, flags);
	i = find_name(&name);
	if (!no_name(&names[i])) {
		handle = i + KMT_COMM_FIRST;
	} else if (nr_names < KMT_COMM_MAX) {
		nr_names++;
		/* A half-written name equals no other, and is not empty. */
		WRITE_ONCE(names[i].w[1], name.w[1]);
		/* Readers take the lock unless they see both halves. */
		smp_store_release(&names[i].w[0], name.w[0]);
		handle = i + KMT_COMM_FIRST;
	}
	raw_spin_unlock_irqrestore(&names_lock, flags);
	return handle;
}

static u16 intern(const struct kmt_name *name)
{
	unsigned int i;

	if (unlikely(!READ_ONCE(names) || !name->w[0]))
		return KMT_COMM_NONE;
	i = find_name(name);
	if (likely(!no_name(&names[i])))
		return i + KMT_COMM_FIRST;
	return add_name(*name);
}

/**
 * kmt_comm_init - make room for the names of tasks
 *
 * Without it, or without memory for it, all names are unknown.
 */
void kmt_comm_init(void)
{
	if (!names)
		names = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO, KMT_COMM_ORDER);
}

/**
 * kmt_comm - the name of a task
 * @handle: from struct kmt_origin
 *
 * Return: a string that stays.
 */
const char *kmt_comm(u16 handle)
{
	if (handle == KMT_COMM_NONE || !names)
		return "?";
	return (const char *)&names[handle - KMT_COMM_FIRST];
}

/* Interrupts have no task; what they stand for has eight bytes at the most. */
static u16 irq_name(void)
{
	struct kmt_name name = {};
	const char *context = in_hardirq() ? "hardirq" : "softirq";

	memcpy(&name, context, strlen(context));
	return intern(&name);
}

/**
 * kmt_task_comm - the name of the current task
 *
 * The next allocation is likely to be by the same one: this CPU remembers it.
 *
 * Context: task.
 * Return: a handle for struct kmt_origin.
 */
u16 kmt_task_comm(void)
{
	struct kmt_name name = kmt_task_name();
	struct kmt_recent *recent;
	unsigned long flags;
	u16 comm;

	local_irq_save(flags);
	recent = this_cpu_ptr(&kmt_recent);
	if (kmt_same_name(&recent->name, &name)) {
		comm = recent->comm;
	} else {
		comm = intern(&name);
		if (comm != KMT_COMM_NONE) {
			recent->name = name;
			recent->comm = comm;
		}
	}
	local_irq_restore(flags);
	return comm;
}

/**
 * kmt_origin - describe the current allocation
 * @origin: filled in
 * @fp: frame record of the hook
 * @caller: its return address
 * @gfp: flags of the allocation
 *
 * Context: any but NMI.
 */
void kmt_origin(struct kmt_origin *origin, unsigned long fp,
		unsigned long caller, gfp_t gfp)
{
	origin->stack = kmt_stack_save(fp, caller, gfp);
	origin->born = jiffies;
	if (unlikely(in_hardirq() || in_serving_softirq())) {
		origin->pid = 0;
		origin->comm = irq_name();
	} else {
		origin->pid = current->pid;
		origin->comm = kmt_task_comm();
	}
}
