// SPDX-License-Identifier: GPL-2.0
/*
 * Where are the references to one block?
 *
 * All that a mark reads as a root, and all blocks, are searched for words that
 * point into the block, beside everything else. A reference that moves meanwhile
 * may be missed, or found twice: the answer is for people, and decides nothing.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/kallsyms.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/sched/signal.h>
#include <linux/stackdepot.h>

#include "policy.h"

/* References that are logged one by one. */
#define KMT_PLACES	16

/**
 * struct kmt_place - where a reference is
 * @at: its address; 0 if it is in a struct page or a list of callbacks
 * @o: the block that it lies in; of size 0 if that is none
 */
struct kmt_place {
	unsigned long at;
	struct kmt_object o;
};

/**
 * struct kmt_search - a search for references
 * @m: marker, which reads memory
 * @target: what they point to
 * @own: the stack of the task that searches, which has the address
 * @o: the block that is being read; of size 0 if it is none
 * @nr: references found
 * @place: where the first ones are
 */
struct kmt_search {
	struct kmt_marker m;
	struct kmt_range target;
	struct kmt_range own;
	struct kmt_object o;
	unsigned long nr;
	struct kmt_place place[KMT_PLACES];
};

static void search_words(struct kmt_marker *m, const unsigned long *words,
			 unsigned int nr, unsigned long at)
{
	struct kmt_search *s = container_of(m, struct kmt_search, m);

	for (; nr--; words++, at += at ? sizeof(long) : 0) {
		if (likely(!kmt_in(&s->target, kmt_untag(*words))) ||
		    kmt_in(&s->own, at))
			continue;
		if (s->nr < KMT_PLACES)
			s->place[s->nr] = (struct kmt_place){ at, s->o };
		s->nr++;
	}
}

static void search_piece(struct kmt_reader *r, unsigned int nr)
{
	search_words(r->m, r->m->buf, nr, r->at);
}

static void search_object(struct kmt_search *s, struct kmt_object *o)
{
	struct kmt_reader r = { .words = search_piece, .m = &s->m, .from = o };
	struct kmt_tree *tree;
	unsigned long flags;

	tree = kmt_lock_object(&kmt_core, o, &flags);
	if (!tree)
		return;
	s->o = *o;
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	if (kmt_is_read(&s->o) && s->o.addr != s->target.lo)
		kmt_read_object(&r, o, &s->o);
	s->o.size = 0;
}

static void search_roots(struct kmt_search *s)
{
	struct kmt_roots roots = {};

	if (kmt_tunables.pages)
		kmt_page_map_alloc(&roots.map);
	kmt_kfence_begin(&roots.kfence);
	get_online_mems();
	kmt_percpu_map_fill(&roots.percpu);
	kmt_page_map_fill(&s->m, &roots);
	kmt_mark_stacks(&s->m, &roots);
	kmt_mark_memory(&s->m, &roots);
	put_online_mems();
	kmt_percpu_map_free(&roots.percpu);
	kmt_page_map_free(&roots.map);
}

/* Logs whose stack @at lies in; false if it is none. */
static bool log_stack(unsigned long at)
{
	struct task_struct *p, *t;
	struct kmt_log_task task;
	bool found = false;

	rcu_read_lock();
	for_each_process_thread(p, t) {
		const unsigned long lo = (unsigned long)READ_ONCE(t->stack);

		if (!lo || at - lo >= THREAD_SIZE)
			continue;
		pr_info("    stack of \"%s\", pid %d, %lu bytes below its top\n",
			kmt_log_task(&task, t->comm), task_pid_nr(t),
			lo + THREAD_SIZE - at);
		found = true;
	}
	rcu_read_unlock();
	return found;
}

static noinline_for_stack void log_object(const struct kmt_place *p)
{
	static const char * const kind[KMT_NR_SPACES] = {
		[KMT_VIRT] = "",
		[KMT_PERCPU] = "per-CPU ",
		[KMT_PHYS] = "memblock's ",
		[KMT_ROOT] = "the kernel's ",
	};
	const struct kmt_object *o = &p->o;
	char text[KSYM_SYMBOL_LEN] = "";
	char offset[32] = "";
	struct kmt_log_name name;
	unsigned long *entries;
	const char *by = "";

	kmt_log_name(&name, o->addr);
	if (kmt_space(o) == KMT_VIRT)
		snprintf(offset, sizeof(offset), ", offset %lu", p->at - o->addr);
	/* The first frame is the allocator's. */
	if (o->stack && stack_depot_fetch(o->stack, &entries) > 1)
		by = kmt_code_name(text, sizeof(text), entries[1]);
	pr_info("    %sobject %s (size %lu)%s%s%s%s\n", kind[kmt_space(o)],
		name.text, o->size, offset,
		o->flags & KMT_LEAK ? ", a leak" : "", *by ? ", of " : "", by);
}

static void log_place(const struct kmt_place *p)
{
	struct kmt_log_name name;

	if (!p->at) {
		pr_info("    a struct page, or a list of RCU's callbacks\n");
	} else if (p->o.size && kmt_space(&p->o) == KMT_ROOT) {
		pr_info("    data of the kernel: %pS\n", (void *)p->at);
	} else if (p->o.size) {
		log_object(p);
	} else if (!log_stack(p->at)) {
		kmt_log_name(&name, p->at & PAGE_MASK);
		pr_info("    a root, page %s, offset %lu\n", name.text,
			offset_in_page(p->at));
	}
}

/**
 * kmt_log_places - log where the references to a block are
 * @target: block
 *
 * References that are not aligned are left out, as are those to the vm_struct of
 * a vmalloc block.
 *
 * Context: kmt_scan_mutex held, may sleep; takes as long as a mark.
 */
void kmt_log_places(const struct kmt_object *target)
{
	struct kmt_search *s = kmt_own_alloc(GFP_KERNEL, 0);
	struct kmt_mark_entry stack;
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned long i;

	static_assert(sizeof(*s) <= PAGE_SIZE);
	if (!s)
		return;
	memset(s, 0, sizeof(*s));
	kmt_marker_init(&s->m, &kmt_core, &stack, 1);
	s->m.seen = search_words;
	kmt_widen(&s->target, target->addr, target->size);
	kmt_widen(&s->own, (unsigned long)current->stack, THREAD_SIZE);
	search_roots(s);
	kmt_walk_cells(&s->m, chunk, o)
		if (READ_ONCE(o->flags) & KMT_LIVE && kmt_go_on(&s->m))
			search_object(s, o);
	pr_info("  found now: %lu\n", s->nr);
	for (i = 0; i < min(s->nr, KMT_PLACES); i++)
		log_place(&s->place[i]);
	if (s->nr > KMT_PLACES)
		pr_info("    and %lu more\n", s->nr - KMT_PLACES);
	kmt_own_free(s, 0);
}
