// SPDX-License-Identifier: GPL-2.0
/*
 * Roots in pages and struct pages.
 *
 * Kernel code keeps pointers in memory straight from the page allocator and in
 * struct page itself. A page in use is a root unless somebody else is known to
 * have it: slab, page cache, user memory, page tables, a tracked block, a task
 * as its stack, or the tracker. Slab pages come in only when there are blocks
 * without a record: every slot that has none is a root then.
 */
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched/task_stack.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "glue.h"

/* Pages looked up with a lock held. */
#define KMT_WALK_PAGES	16

/**
 * struct kmt_page_walk - a walk over all pages
 * @m: marker
 * @owned: pages of blocks that are tracked by another address, stacks, pipes
 * @lo: number of the first page in @owned
 * @hi: one past the last
 * @run_lo: struct pages that are to be read
 * @run_hi: one past the last
 * @reserved: memory of memblock is not tracked, so it is a root here
 */
struct kmt_page_walk {
	struct kmt_marker *m;
	unsigned long *owned;
	unsigned long lo;
	unsigned long hi;
	unsigned long run_lo;
	unsigned long run_hi;
	bool reserved;
};

static void own(struct kmt_page_walk *w, unsigned long pfn)
{
	if (pfn >= w->lo && pfn < w->hi)
		__set_bit(pfn - w->lo, w->owned);
}

/* The pages behind [@addr, @end) of vmalloc space. */
static void own_vmalloc(struct kmt_page_walk *w, unsigned long addr,
			unsigned long end)
{
	for (; addr < end; addr += PAGE_SIZE)
		own(w, vmalloc_to_pfn((void *)addr));
}

/* Where @cpu's copy of a block is mapped, if it is in vmalloc space. */
static bool mapped_at(const struct kmt_object *o, int cpu, unsigned long *addr)
{
	if (kmt_space(o) == KMT_PERCPU)
		*addr = kmt_env_percpu(o->addr, cpu);
	else
		*addr = o->addr;
	return is_vmalloc_or_module_addr((void *)*addr);
}

/*
 * A block in vmalloc space has a mapping as long as it is tracked: its free
 * takes the lock before it takes the mapping away.
 */
static void own_copy(struct kmt_page_walk *w, struct kmt_object *o, int cpu)
{
	unsigned long pos = 0, start = 0, flags;

	for (;;) {
		struct kmt_tree *tree = kmt_lock_object(&kmt_core, o, &flags);
		unsigned long addr, end;
		bool mapped;

		if (!tree)
			return;
		mapped = mapped_at(o, cpu, &addr);
		end = addr + o->size;
		addr = ALIGN_DOWN(addr, PAGE_SIZE);
		if (!pos) {
			start = addr;
			pos = addr;
		}
		if (!mapped || addr != start || pos >= end) {
			raw_spin_unlock_irqrestore(&tree->lock, flags);
			return;
		}
		end = min(end, pos + KMT_WALK_PAGES * PAGE_SIZE);
		own_vmalloc(w, pos, end);
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		pos = end;
	}
}

/*
 * A page of per-CPU memory may hold untracked blocks, too: where there may be
 * some it stays a root.
 */
static void own_block(struct kmt_page_walk *w, struct kmt_object *o)
{
	int cpu;

	switch (READ_ONCE(o->flags) & (KMT_LIVE | KMT_SPACE_MASK)) {
	case KMT_LIVE | KMT_VIRT:
		own_copy(w, o, 0);
		break;
	case KMT_LIVE | KMT_PERCPU:
		if (READ_ONCE(kmt_sweep_untracked))
			break;
		for_each_possible_cpu(cpu)
			own_copy(w, o, cpu);
		break;
	}
}

/* Linear-map blocks, the many, have no page to be noted. */
static __no_kcsan bool seems_mapped(const struct kmt_object *o)
{
	return (o->flags & KMT_LIVE) &&
	       (kmt_space(o) == KMT_PERCPU ||
		(kmt_space(o) == KMT_VIRT &&
		 is_vmalloc_or_module_addr((void *)o->addr)));
}

static void own_blocks(struct kmt_page_walk *w)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_cell(&kmt_core, chunk, o) {
		if (w->m->stopped)
			return;
		if (seems_mapped(o))
			own_block(w, o);
		w->m->budget--;
		kmt_mark_relax(w->m);
	}
}

static void own_stack(struct kmt_page_walk *w, struct task_struct *task)
{
	unsigned long addr, base = (unsigned long)try_get_task_stack(task);

	if (!base)
		return;
	if (!is_vmalloc_addr((void *)base))
		for (addr = base; addr < base + THREAD_SIZE; addr += PAGE_SIZE)
			own(w, PHYS_PFN(__pa(addr)));
	put_task_stack(task);
}

/* Stacks that are no blocks: pages, which only their live part is read of. */
static void own_stacks(struct kmt_page_walk *w)
{
	struct task_struct *p, *t;
	int cpu;

	for_each_online_cpu(cpu)
		own_stack(w, idle_task(cpu));
	rcu_read_lock();
	for_each_process_thread(p, t)
		own_stack(w, t);
	rcu_read_unlock();
}

/*
 * Pages of pipes hold what users wrote, and behind it whatever was in the page
 * before. They are read without the pipe's mutex: a page more or less of a
 * pipe that is busy does no harm, and its array may go meanwhile.
 */
static void own_pipe(struct kmt_page_walk *w, const struct pipe_inode_info *pipe)
{
	const struct pipe_buffer *bufs = READ_ONCE(pipe->bufs);
	unsigned int i, nr = READ_ONCE(pipe->ring_size);
	struct page *page = READ_ONCE(pipe->tmp_page);

	if (page)
		own(w, page_to_pfn(page));
	for (i = 0; i < nr; i++)
		if (kmt_env_read(&page, (unsigned long)&bufs[i].page,
				 sizeof(page)) && page)
			own(w, page_to_pfn(page));
}

static void own_pipes(struct super_block *sb, void *walk)
{
	struct inode *inode;

	if (sb->s_magic != PIPEFS_MAGIC)
		return;
	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		/* The pipe is not freed before this lock was taken for it. */
		spin_lock(&inode->i_lock);
		if (inode->i_pipe)
			own_pipe(walk, inode->i_pipe);
		spin_unlock(&inode->i_lock);
	}
	spin_unlock(&sb->s_inode_list_lock);
}

/* Whether the page is held by something that is none of our business. */
static bool foreign(struct kmt_page_walk *w, struct page *page)
{
	struct page *head = compound_head(page);

	if (PageBuddy(page) || PageTable(head) || PageOffline(page) ||
	    PageGuard(page) || PageLRU(head) || PageHWPoison(page))
		return true;
	if (PageReserved(page) != w->reserved && PageReserved(page))
		return true;
	/* Page cache, anonymous memory, movable driver memory. */
	return READ_ONCE(head->mapping);
}

static void mark_content(struct kmt_page_walk *w, struct page *page,
			 unsigned long pfn)
{
	unsigned long addr;
	struct kmt_object o;

	if (PageHighMem(page) || foreign(w, page) || kmt_own_page(page))
		return;
	if (w->owned && pfn >= w->lo && pfn < w->hi &&
	    test_bit(pfn - w->lo, w->owned))
		return;
	addr = (unsigned long)page_address(page);
	if (kmt_lookup(&kmt_core, KMT_VIRT, addr, &o))
		return;
	kmt_mark_block(w->m, addr, addr + PAGE_SIZE);
}

/* Struct pages lie side by side: read them in runs, not one by one. */
static void flush_run(struct kmt_page_walk *w)
{
	kmt_mark_block(w->m, w->run_lo, w->run_hi);
	w->run_lo = 0;
	w->run_hi = 0;
}

static void add_to_run(struct kmt_page_walk *w, struct page *page)
{
	unsigned long lo = (unsigned long)page;

	if (lo != w->run_hi) {
		flush_run(w);
		w->run_lo = lo;
	}
	w->run_hi = lo + sizeof(*page);
}

/* Returns how many pages to go on by. */
static unsigned long walk_page(struct kmt_page_walk *w, struct page *page,
			       unsigned long pfn)
{
	struct page *head = compound_head(page);

	if (PageBuddy(page)) {
		unsigned long order = READ_ONCE(page_private(page));

		/* Read without the zone's lock: it may be anything. */
		return order <= MAX_PAGE_ORDER ? 1UL << order : 1;
	}
	if (!page_count(head))
		return 1;
	if (PageSlab(head)) {
		if (page == head && READ_ONCE(kmt_sweep_untracked))
			kmt_mark_slots(w->m, page);
		return 1;
	}
	add_to_run(w, page);
	if (kmt_tunables.pages)
		mark_content(w, page, pfn);
	return 1;
}

static void walk_zone(struct kmt_page_walk *w, struct zone *zone)
{
	unsigned long pfn = zone->zone_start_pfn, end = zone_end_pfn(zone);

	while (pfn < end && !w->m->stopped) {
		struct page *page = pfn_to_online_page(pfn);

		w->m->budget -= 4;
		kmt_mark_relax(w->m);
		if (!page) {
			/* A hole is as long as its section, at least. */
			pfn = ALIGN(pfn + 1, KMT_HOLE_PAGES);
			continue;
		}
		pfn += page_zone(page) == zone ? walk_page(w, page, pfn) : 1;
	}
	flush_run(w);
}

/* Without the bitmap stale memory may hide leaks, but none is made up. */
static void list_owned(struct kmt_page_walk *w)
{
	struct zone *zone;

	w->lo = ULONG_MAX;
	for_each_populated_zone(zone) {
		w->lo = min(w->lo, zone->zone_start_pfn);
		w->hi = max(w->hi, zone_end_pfn(zone));
	}
	w->owned = kmt_own_vzalloc(BITS_TO_LONGS(w->hi - w->lo) * sizeof(long));
	if (!w->owned)
		return;
	own_blocks(w);
	own_stacks(w);
	iterate_supers(own_pipes, w);
}

/**
 * kmt_mark_pages - mark from pages and struct pages
 * @m: marker
 *
 * Context: may sleep.
 */
void kmt_mark_pages(struct kmt_marker *m)
{
	struct kmt_page_walk w = {
		.m = m,
		.reserved = !READ_ONCE(kmt_core.wide[KMT_PHYS].nr),
	};
	struct zone *zone;

	get_online_mems();
	if (kmt_tunables.pages)
		list_owned(&w);
	for_each_populated_zone(zone)
		walk_zone(&w, zone);
	put_online_mems();
	kmt_own_vfree(w.owned);
}
