// SPDX-License-Identifier: GPL-2.0
/*
 * Pages in use whose contents are somebody else's business.
 *
 * A bit for each page frame tells that the page is no root: the memory of a
 * tracked block that has another address, a stack, which is read as one, or
 * free. All of it is beside page flags: what these tell is
 * not noted here.
 */
#include <linux/bitops.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/vmalloc.h>

#include "policy.h"

/* Pages looked up with a lock held. */
#define KMT_WALK_PAGES	16

/* Free pages of one list that are noted with its lock held. */
#define KMT_WALK_FREE	256

/* Several CPUs may do this at a time. */
static void own(struct kmt_page_map *map, unsigned long pfn)
{
	if (map->bits && pfn >= map->lo && pfn < map->hi)
		set_bit(pfn - map->lo, map->bits);
}

/* The pages behind [@addr, @end) of vmalloc space. */
static void own_vmalloc(struct kmt_page_map *map, unsigned long addr,
			unsigned long end)
{
	for (; addr < end; addr += PAGE_SIZE)
		own(map, vmalloc_to_pfn((void *)addr));
}

/*
 * A block in vmalloc space has a mapping as long as it is tracked: its free
 * takes the lock before it takes the mapping away.
 */
static void own_block(struct kmt_page_map *map, struct kmt_object *o)
{
	unsigned long pos = 0, start = 0, flags;

	for (;;) {
		struct kmt_tree *tree = kmt_lock_object(&kmt_core, o, &flags);
		unsigned long addr, end;
		bool mapped;

		if (!tree)
			return;
		addr = o->addr;
		mapped = kmt_space(o) == KMT_VIRT &&
			 is_vmalloc_or_module_addr((void *)addr);
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
		own_vmalloc(map, pos, end);
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		pos = end;
	}
}

/* Linear-map blocks, the many, have no page to be noted. */
static __always_inline bool seems_mapped(const struct kmt_object *o)
{
	/* own_block() looks again, locked. */
	const unsigned long addr = data_race(o->addr);

	return !kmt_in(&kmt_core.linear, addr) &&
	       is_vmalloc_or_module_addr((void *)addr);
}

/* While nothing else runs trees do not change. */
static void own_blocks_still(struct kmt_marker *m, struct kmt_page_map *map)
{
	const struct kmt_tree *tree = &kmt_core.wide[KMT_VIRT];
	struct rb_node *node;

	if (!kmt_my_turn(m))
		return;
	for (node = rb_first(&tree->root); node; node = rb_next(node)) {
		struct kmt_object *o = rb_entry(node, struct kmt_object, node);

		if (seems_mapped(o))
			own_block(map, o);
	}
}

static void own_blocks(struct kmt_marker *m, struct kmt_page_map *map)
{
	unsigned long pos = 0;
	struct kmt_object *o;

	while (kmt_go_on(m) &&
	       (o = kmt_next_wide(&kmt_core, KMT_VIRT, &pos)))
		if (seems_mapped(o))
			own_block(map, o);
}

/* Of per-CPU chunks, for each CPU; see root_percpu.c. */
static void own_percpu(struct kmt_marker *m, struct kmt_page_map *map,
		       const struct kmt_percpu_map *percpu)
{
	unsigned long addr, pos;
	unsigned int i;
	int cpu;

	for (i = 0; i < percpu->nr_chunks; i++) {
		if (!kmt_my_turn(m))
			continue;
		for_each_possible_cpu(cpu) {
			for (pos = percpu->chunks[i].lo;
			     pos < percpu->chunks[i].hi; pos += PAGE_SIZE) {
				addr = kmt_env_percpu(pos, cpu);
				if (is_vmalloc_addr((void *)addr))
					own_vmalloc(map, addr, addr + PAGE_SIZE);
				else
					own(map, PHYS_PFN(__pa(addr)));
			}
		}
	}
}

/* A stack is a block, or pages: in both cases only its live part is read. */
static void own_stack(struct kmt_page_map *map, struct task_struct *task)
{
	unsigned long addr, base = (unsigned long)try_get_task_stack(task);

	if (!base)
		return;
	if (is_vmalloc_addr((void *)base))
		kmt_not_a_block(base);
	else
		for (addr = base; addr < base + THREAD_SIZE; addr += PAGE_SIZE)
			own(map, PHYS_PFN(__pa(addr)));
	put_task_stack(task);
}

static void own_stacks(struct kmt_marker *m, struct kmt_page_map *map)
{
	struct task_struct *p, *t;
	int cpu;

	if (!kmt_my_turn(m))
		return;
	for_each_possible_cpu(cpu) {
		unsigned long lo, hi;

		if (idle_task(cpu))
			own_stack(map, idle_task(cpu));
		if (!kmt_irq_stack_is_root() && kmt_irq_stack(cpu, &lo, &hi))
			kmt_not_a_block(lo);
	}
	rcu_read_lock();
	for_each_process_thread(p, t)
		own_stack(map, t);
	rcu_read_unlock();
}

static void own_free_list(struct kmt_page_map *map, struct list_head *list,
			  unsigned int order, int left)
{
	unsigned long pfn, end;
	struct page *page;

	list_for_each_entry(page, list, pcp_list) {
		left -= 1 << order;
		if (left < 0)
			return;
		pfn = page_to_pfn(page);
		for (end = pfn + (1UL << order); pfn < end; pfn++)
			own(map, pfn);
	}
}

/*
 * Free pages that a CPU keeps for itself bear no sign of it: they look like
 * the inner pages of an allocation of several pages. While nothing else runs
 * the lock is not taken: with PREEMPT_RT who holds it may have been stopped,
 * but the links from one page to the next are whole at any moment.
 */
static void own_free(struct kmt_marker *m, struct kmt_page_map *map,
		     struct per_cpu_pages *pcp)
{
	unsigned long flags;
	unsigned int i;

	for (i = 0; i < NR_PCP_LISTS; i++) {
		struct list_head *list = &pcp->lists[i];
		unsigned int order = kmt_pcp_order(i);

		if (m->still) {
			own_free_list(map, list, order, pcp->count);
			continue;
		}
		spin_lock_irqsave(&pcp->lock, flags);
		own_free_list(map, list, order, KMT_WALK_FREE);
		spin_unlock_irqrestore(&pcp->lock, flags);
	}
}

static void own_free_pages(struct kmt_marker *m, struct kmt_page_map *map)
{
	struct zone *zone;
	int cpu;

	for_each_populated_zone(zone)
		for_each_possible_cpu(cpu)
			if (kmt_my_turn(m))
				own_free(m, map,
					 per_cpu_ptr(zone->per_cpu_pageset, cpu));
}

/**
 * kmt_page_map_fill - note whose contents are no roots
 * @m: marker; several of them may share the work while nothing else runs
 * @roots: its map is all zeroes
 *
 * From then on stacks are known for stacks.
 *
 * Context: may sleep, unless nothing else runs.
 */
void kmt_page_map_fill(struct kmt_marker *m, struct kmt_roots *roots)
{
	struct kmt_page_map *map = &roots->map;

	own_stacks(m, map);
	if (!map->bits)
		return;
	if (!kmt_mapped_is_root()) {
		if (m->still)
			own_blocks_still(m, map);
		else
			own_blocks(m, map);
		own_percpu(m, map, &roots->percpu);
	}
	own_free_pages(m, map);
}

static size_t map_bytes(const struct kmt_page_map *map)
{
	return BITS_TO_LONGS(map->hi - map->lo) * sizeof(long);
}

/**
 * kmt_page_map_clear - forget what was noted
 * @map: map
 */
void kmt_page_map_clear(struct kmt_page_map *map)
{
	/* bitmap_zero() takes no more than 2^32 - 1 bits: 16 TiB. */
	if (map->bits)
		memset(map->bits, 0, map_bytes(map));
}

/**
 * kmt_page_map_alloc - make an empty map of all pages there are
 * @map: zeroed
 *
 * Without memory the map stays empty for ever: then stale memory may hide
 * leaks, but none is made up.
 *
 * Context: may sleep; memory does not come or go until kmt_page_map_free().
 */
void kmt_page_map_alloc(struct kmt_page_map *map)
{
	struct zone *zone;

	map->lo = ULONG_MAX;
	for_each_populated_zone(zone) {
		map->lo = min(map->lo, zone->zone_start_pfn);
		map->hi = max(map->hi, zone_end_pfn(zone));
	}
	map->bits = kmt_own_vzalloc(map_bytes(map));
}

/**
 * kmt_page_map_free - give back what kmt_page_map_alloc() took
 * @map: map
 */
void kmt_page_map_free(struct kmt_page_map *map)
{
	kmt_own_vfree(map->bits, map_bytes(map));
	map->bits = NULL;
}
