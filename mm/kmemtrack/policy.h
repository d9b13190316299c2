/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Rules: which memory is a root or none, and which words are references or only look like
 * them.
 *
 * To the mark, any word in a root or in a reached block is a reference if it is an
 * address in a block. Some rules below add memory that holds references although
 * no allocator reports it, to avoid false reports. Others exclude memory that holds
 * stale addresses or data of users, to avoid missed leaks. Each rule is stated only
 * here. The selftests policy.sh, memory.sh and kfence.sh have a test for each rule
 * that fails when the rule is off. The command rules_off= switches rules off, a bit
 * for each, to see the effect of a rule or to work around it.
 *
 * Two more rules do not depend on the kernel and are in the core: a block that is
 * allocated during a mark counts as reached (kmt_set_birth()), and
 * kmemleak_transient_leak() spares a block once (suspect_white() in suspect.c,
 * suspect_with_sum() in verdict.c).
 */
#ifndef _KMT_POLICY_H
#define _KMT_POLICY_H

#include <linux/bits.h>
#include <linux/page-flags.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "glue.h"

/* Bits of rules_off. */
enum kmt_rule {
	KMT_RULE_FRAMES,
	KMT_RULE_KFENCE,
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

static inline bool kmt_rule_is_on(enum kmt_rule rule)
{
	return !(READ_ONCE(kmt_tunables.rules_off) & BIT(rule));
}

/*
 * FRAMES: only the part of a stack that is in use is a root. If the task is switched
 * out, that is the part above its saved stack pointer; its registers are saved
 * there, too, or in its task_struct. The frames of the scanner itself are excluded.
 * The stack pointer of a task that runs on a CPU is not known, so its whole stack is
 * read. That happens without a snapshot, in the search for page numbers, and for refs=;
 * no task runs while all CPUs are stopped.
 */
static inline unsigned long kmt_stack_from(struct task_struct *task,
					   const struct kmt_range *stack,
					   const struct kmt_roots *roots)
{
	unsigned long sp = 0;

	if (!kmt_rule_is_on(KMT_RULE_FRAMES))
		return stack->lo;
	if (task == roots->scanner)
		sp = roots->frame;
	else if (!task_curr(task))
		sp = kmt_saved_sp(task);
	return kmt_in(stack, sp) ? sp : stack->lo;
}

/*
 * IRQ_STACKS: the stacks of interrupts and of idle tasks are no roots. The stack of
 * interrupts is in use only during an interrupt, which ends before its CPU can be
 * stopped. Idle tasks do not allocate. The stacks of exceptions and of entry from user
 * space are no roots either, with or without this rule.
 */
static inline bool kmt_irq_stack_is_root(void)
{
	return !kmt_rule_is_on(KMT_RULE_IRQ_STACKS);
}

/*
 * FOREIGN: pages of files, of processes and of movable memory are no roots: users
 * wrote their contents. Page tables, which hold physical addresses, and free pages
 * are no roots either, with or without this rule. kmt_page_unreadable() excludes
 * pages that must not be read at all.
 */
static inline bool kmt_page_is_foreign(struct page *page)
{
	struct page *head = compound_head(page);

	if (PageBuddy(page) || PageTable(head) || PageGuard(page))
		return true;
	/* A mapping: page cache, anonymous memory, movable driver memory. */
	return (PageLRU(head) || READ_ONCE(head->mapping) ||
		kmt_page_of_zsmalloc(head)) && kmt_rule_is_on(KMT_RULE_FOREIGN);
}

/*
 * PIPES: pages for which kmemtrack_not_root() was called are no roots. Such are the
 * pages of pipes, which hold what users wrote, followed by stale contents; lists of
 * memory that is to be freed; pages of the stack depot, which hold traces, followed by
 * stale contents; ring buffers of tracing, perf and BPF; the struct pages of memory that
 * was added; and page tables of the linear map, which refer to all pages. Pages of stacks
 * are no roots either, since they are read as stacks: that at which a stack begins, and
 * the others of a vmapped one (kmt_in_stack_page()). The first word of a stack is a root
 * all the same: after the task has exited, RCU's list of callbacks continues from there.
 */
static inline bool kmt_page_marked_not_root(struct page *page)
{
	return (kmt_not_root_page(compound_head(page)) || kmt_in_stack_page(page)) &&
	       kmt_rule_is_on(KMT_RULE_PIPES);
}

/*
 * MAPPED: the pages behind a vmalloc block or a per-CPU block are no roots. They are
 * read as that block, if the mark reaches it.
 */
static inline bool kmt_mapped_is_root(void)
{
	return !kmt_rule_is_on(KMT_RULE_MAPPED);
}

/*
 * OWN: the tracker's own pages are no roots.
 */
static inline bool kmt_page_owned_not_root(const struct page *page)
{
	return kmt_is_own_page(page) && kmt_rule_is_on(KMT_RULE_OWN);
}

/*
 * STRUCT_PAGES: some words of the struct pages of pages in use are roots:
 * page_private(), the mapping, the list the page is on, the memory cgroup, in a slab that
 * RCU is to free the link to the next RCU callback, and in the first struct pages of a
 * page of hugetlb its pool and its poisoned pages. All other words of the memory map are
 * no references, or stale: it is annotated so that it is read neither as the memblock
 * block that it is (mm_init.c) nor as pages (sparse-vmemmap.c).
 */
static inline bool kmt_struct_page_is_root(void)
{
	return kmt_rule_is_on(KMT_RULE_STRUCT_PAGES);
}

/*
 * INNER: all pages of an allocation of several pages without __GFP_COMP are roots,
 * although only the first one looks as if it is in use. A page that looks free but
 * is neither in the buddy allocator nor on a CPU's list of free pages belongs to such
 * an allocation. Since free pages come and go, the mark leaves such pages to the
 * search for references to suspects, if there is one. Without a map of excluded pages,
 * free pages of CPUs are read, too: that may hide leaks, but no block is reported by
 * mistake.
 */
static inline bool kmt_inner_is_root(const struct kmt_marker *m,
				     const struct kmt_roots *roots)
{
	return (m->filter || !roots->exact_later) && kmt_rule_is_on(KMT_RULE_INNER);
}

/*
 * BYTES: a reference can be at any address, since structures may be packed. Each mark
 * looks for references at multiples of a word. Other addresses are searched only for
 * references to suspects: by the search while all CPUs run, and by the snapshot in
 * blocks that have changed since. An unaligned word is often a mix of adjacent numbers,
 * such as -1, that looks like an address: kmt_odd_may_refer() and kmt_odd_needs_start()
 * (core/mark.h) say which words count.
 */
static inline bool kmt_bytes_are_references(void)
{
	return kmt_rule_is_on(KMT_RULE_BYTES);
}

/*
 * PERCPU: if per-CPU blocks without a record may exist, the memory that is in use
 * according to the maps of the chunks, but has no record, is a root. Otherwise only
 * the per-CPU sections are roots. The pages of chunks are not read as pages. Without memory
 * for the list of chunks, or for that of their areas in use, pages of chunks are read like
 * any others and, with this rule, the first chunk as a whole.
 */
static inline bool kmt_percpu_is_root(void)
{
	return READ_ONCE(kmt_untracked_percpu) && kmt_rule_is_on(KMT_RULE_PERCPU);
}

/*
 * VMAP_AREAS: the bounds in a vmap_area are no references: each vmalloc block begins
 * where one area begins, and often where another one ends. Tracked vmap_areas have
 * scan areas that leave the bounds out. For slab objects without a record this
 * returns how many bytes at the beginning to leave out: 0 for all other caches.
 */
static inline unsigned int kmt_bounds_in_slot(const char *cache)
{
	if (strcmp(cache, "vmap_area") || !kmt_rule_is_on(KMT_RULE_VMAP_AREAS))
		return 0;
	return offsetof(struct vmap_area, rb_node);
}

/*
 * KFENCE: the metadata that KFENCE keeps of the objects in its pool is no root, since it
 * holds the address of each object. Two other words of an object's metadata are read: the
 * link to the next RCU callback, if RCU is about to free the object, and the memory
 * cgroup that is charged for it.
 */
static inline bool kmt_kfence_is_root(void)
{
	return !kmt_rule_is_on(KMT_RULE_KFENCE);
}

#endif /* _KMT_POLICY_H */
