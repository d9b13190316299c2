/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is a reference, and what only looks like one?
 *
 * Any word in a root or in a reached block that is an address in a block is a
 * reference: that is all the mark knows. The rules below add memory that holds
 * references though nobody announces it, against false reports, and leave out
 * memory that holds addresses of the past or of somebody else, against missed
 * leaks. Each rule is stated here, and nowhere else; policy.sh, memory.sh and
 * kfence.sh among the selftests have a test for each that fails when the rule
 * is off. To see what a rule is good for, or to do without it, set its bit by
 * the command rules_off=.
 *
 * Rules of the core, which the kernel has no part in: what is born during a
 * mark counts as reached (kmt_insert()), and kmemleak_transient_leak() spares a
 * block once (accuse_white() in suspect.c, note_suspect() in verdict.c).
 */
#ifndef _KMT_POLICY_H
#define _KMT_POLICY_H

#include <linux/bits.h>
#include <linux/kthread.h>
#include <linux/page-flags.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "glue.h"

/* Bits of rules_off. */
enum kmt_rule {
	KMT_RULE_FRAMES,
	KMT_RULE_KFENCE,
	KMT_RULE_KTHREADD,
	KMT_RULE_IRQ_STACKS,
	KMT_RULE_FOREIGN,
	KMT_RULE_PIPES,
	KMT_RULE_MAPPED,
	KMT_RULE_OWN,
	KMT_RULE_STRUCT_PAGES,
	KMT_RULE_INNER,
	KMT_RULE_BYTES,
	KMT_RULE_PERCPU,
	KMT_RULE_VMAP_AREAS,
	KMT_NR_RULES,
};

static_assert(BIT(KMT_NR_RULES) - 1 == KMT_RULES);

static inline bool kmt_rule(enum kmt_rule rule)
{
	return !(READ_ONCE(kmt_tunables.rules_off) & BIT(rule));
}

/*
 * FRAMES: of a stack, only what is in use is a root. Where a task is switched
 * out that is what is above the stack pointer it left behind; registers are
 * saved there, too, or in its task_struct. The scanner's own frames are not in
 * use by anybody else. A task on a CPU may be anywhere in its stack, all of
 * which is read by confirmation `wait`; while all CPUs are stopped no task is
 * on one.
 */
static inline unsigned long kmt_stack_from(struct task_struct *task,
					   const struct kmt_range *stack,
					   const struct kmt_roots *roots)
{
	unsigned long sp = 0;

	if (!kmt_rule(KMT_RULE_FRAMES))
		return stack->lo;
	if (task == roots->scanner)
		sp = roots->frame;
	else if (!task_curr(task))
		sp = kmt_saved_sp(task);
	return kmt_in(stack, sp) ? sp : stack->lo;
}

/*
 * KTHREADD: its stack is no root, nor are its registers while it sleeps. They
 * have its last request, which was freed long ago. While a request lives, the task
 * that made it refers to it, too. Nor are the stacks of threads that help with a
 * mark, with or without this rule: they have what the mark read.
 */
static inline bool kmt_stack_is_root(struct task_struct *task)
{
	if (kmt_is_helper(task))
		return false;
	return task != kthreadd_task || !kmt_rule(KMT_RULE_KTHREADD);
}

/*
 * IRQ_STACKS: the stacks of interrupts and of idle tasks are no roots. What is
 * on them is dead but for the time of an interrupt, which comes to an end
 * before its CPU can be stopped. Idle tasks do not allocate.
 */
static inline bool kmt_irq_stack_is_root(void)
{
	return !kmt_rule(KMT_RULE_IRQ_STACKS);
}

/*
 * FOREIGN: pages of files, of processes and of movable memory are no roots:
 * their contents are what users wrote. Nor are page tables, which hold physical
 * addresses, nor what is free. What must not be read at all, with or without this
 * rule: kmt_page_is_closed().
 */
static inline bool kmt_page_is_foreign(struct page *page)
{
	struct page *head = compound_head(page);

	if (PageBuddy(page) || PageTable(head) || PageGuard(page))
		return true;
	/* A mapping: page cache, anonymous memory, movable driver memory. */
	return (PageLRU(head) || READ_ONCE(head->mapping) ||
		kmt_page_of_zsmalloc(head)) && kmt_rule(KMT_RULE_FOREIGN);
}

/*
 * PIPES: pages for which kmemtrack_not_root() was called are no roots, whoever
 * uses them. Pipes, for one: their pages hold what users wrote, and behind it
 * whatever was in the page before. But also lists of what is to be freed, and
 * traces of the stack depot, with what was in the page before behind them. Nor
 * are stacks (kmt_stack_page()) roots as pages: they are read as stacks. Only
 * the first word of a stack is one all the same: when its task is gone RCU's
 * list of callbacks goes on from there.
 */
static inline bool kmt_page_is_none(const struct page *page)
{
	return (kmt_not_root_page(page) || kmt_stack_page(page)) &&
	       kmt_rule(KMT_RULE_PIPES);
}

/*
 * MAPPED: the pages behind a block in vmalloc space, or behind a per-CPU block,
 * are read as that block, if it is reached, and not as pages.
 */
static inline bool kmt_mapped_is_root(void)
{
	return !kmt_rule(KMT_RULE_MAPPED);
}

/*
 * OWN: the tracker's own pages are no roots.
 */
static inline bool kmt_page_is_own(const struct page *page)
{
	return kmt_own_page(page) && kmt_rule(KMT_RULE_OWN);
}

/*
 * STRUCT_PAGES: the struct pages of pages in use are roots: page_private(), the
 * mapping, the list the page is on; of a slab, the next one of RCU's callbacks
 * if a callback is to free it. What else is in them is no reference, or
 * stale, as is all of the memory map apart from that: mm_init.c says that it is
 * not to be read as the block of memblock which it is.
 */
static inline bool kmt_struct_page_is_root(void)
{
	return kmt_rule(KMT_RULE_STRUCT_PAGES);
}

/*
 * INNER: so are all pages of an allocation of several without __GFP_COMP, of
 * which only the first bears a sign of being in use. Another page that looks
 * like them and is neither in the buddy allocator nor on a list of free pages
 * is one of them. Free pages come and go: the mark leaves these pages to the
 * search for references to suspects, if there is one.
 */
static inline bool kmt_inner_is_root(const struct kmt_marker *m,
				     const struct kmt_roots *roots)
{
	return roots->map.blocks && (m->filter || !roots->exact_later) &&
	       kmt_rule(KMT_RULE_INNER);
}

/*
 * BYTES: a reference can be at any address, in packed structures. Those at
 * multiples of a word are looked for by each mark, others for suspects only:
 * beside everything else, and again in blocks that changed since when nothing
 * else runs. The latter have to be a multiple of KMT_ODD_ALIGN: many numbers,
 * such as -1, look like the end of an address if they lie beside each other.
 * Where addresses are below KMT_ODD_MIN, a word that is not aligned to half a
 * word must also be the first byte of a block.
 */
static inline bool kmt_bytes_are_references(void)
{
	return kmt_rule(KMT_RULE_BYTES);
}

/*
 * PERCPU: where blocks of per-CPU memory may live that are not tracked, what the
 * maps of its chunks say is in use is a root if it has no record. Otherwise only
 * the sections are roots; the pages of chunks never are.
 */
static inline bool kmt_percpu_is_root(void)
{
	return READ_ONCE(kmt_untracked_percpu) && kmt_rule(KMT_RULE_PERCPU);
}

/*
 * VMAP_AREAS: the bounds of an area of vmalloc space are no references: each
 * block begins where one area does, and often where another one ends. Areas
 * that are tracked have scan areas that say so; of others this many bytes are
 * left out, which is 0 for all other objects of slabs.
 */
static inline unsigned int kmt_bounds_in_slot(const char *cache)
{
	if (strcmp(cache, "vmap_area") || !kmt_rule(KMT_RULE_VMAP_AREAS))
		return 0;
	return offsetof(struct vmap_area, rb_node);
}

/*
 * KFENCE: the records that KFENCE keeps of the objects in its pool are no roots,
 * they have the address of each. What is in them beside that is read: the next
 * one of RCU's callbacks, where RCU is about to free the object, and the memory
 * cgroup that is charged for it.
 */
static inline bool kmt_kfence_is_root(void)
{
	return !kmt_rule(KMT_RULE_KFENCE);
}

#endif /* _KMT_POLICY_H */
