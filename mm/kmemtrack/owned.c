// SPDX-License-Identifier: GPL-2.0
/*
 * Pages in use whose contents are somebody else's business.
 *
 * Two bits for each page frame tell that the page is no root. One is set for the
 * memory of a tracked block in vmalloc space, and cleared when the block is freed
 * (kmt_page_map_drop()): it stays true for the whole of a scan. The other one is
 * set anew each time memory is about to be read, for pages of per-CPU chunks and
 * free pages that CPUs keep for themselves. What page flags tell is not noted
 * here.
 */
#include <linux/bitops.h>
#include <linux/kmemtrack.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

#include "policy.h"

/* Pages looked up with a lock held. */
#define KMT_WALK_PAGES	16

/* Looking up a page takes as long as reading so many words. */
#define KMT_LOOKUP_WORDS	8

/* Bytes of a map that are cleared in one go, which take as long as this. */
#define KMT_CLEAR_BYTES		SZ_64K
#define KMT_CLEAR_WORDS		(KMT_CLEAR_BYTES / sizeof(long) / 8)

/* Free pages of one list that are noted with its lock held. */
#define KMT_WALK_FREE	256

/* The map of the scan under way; the lock of kmt_core.wide[KMT_VIRT] guards it. */
static struct kmt_page_map *live_map;

/* Several CPUs may do this at a time. */
static void own(const struct kmt_page_map *map, unsigned long *bits,
		unsigned long pfn)
{
	if (pfn >= map->lo && pfn < map->hi)
		set_bit(pfn - map->lo, bits);
}

/* The pages behind [@addr, @end) of vmalloc space, as far as they are mapped. */
static void own_vmalloc(const struct kmt_page_map *map, unsigned long *bits,
			unsigned long addr, unsigned long end)
{
	for (; addr < end; addr += PAGE_SIZE) {
		struct page *page = vmalloc_to_page((void *)addr);

		if (page)
			own(map, bits, page_to_pfn(page));
	}
}

/*
 * A block in vmalloc space has a mapping as long as it is tracked: its free
 * takes the lock before it takes the mapping away.
 */
static void own_block(struct kmt_marker *m, struct kmt_page_map *map,
		      struct kmt_object *o)
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
		own_vmalloc(map, map->blocks, pos, end);
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		pos = end;
		m->budget -= KMT_WALK_PAGES * KMT_LOOKUP_WORDS;
		if (kmt_mark_relax(m))
			return;
	}
}

/**
 * kmt_page_map_live - does a scan need to know of blocks that are freed?
 */
bool kmt_page_map_live(void)
{
	return READ_ONCE(live_map);
}

/**
 * kmt_page_map_drop - the pages behind a block are about to be freed
 * @addr: first byte of the block, which is tracked no more
 * @size: its bytes; all of them are mapped
 *
 * Context: any but NMI, no tracker lock held.
 */
void kmt_page_map_drop(unsigned long addr, unsigned long size)
{
	raw_spinlock_t *lock = &kmt_core.wide[KMT_VIRT].lock;
	unsigned long pos = ALIGN_DOWN(addr, PAGE_SIZE), flags;
	unsigned int left = 0;

	raw_spin_lock_irqsave(lock, flags);
	for (; live_map && pos < addr + size; pos += PAGE_SIZE) {
		struct page *page = vmalloc_to_page((void *)pos);
		unsigned long pfn = page ? page_to_pfn(page) : 0;

		if (pfn >= live_map->lo && pfn < live_map->hi)
			clear_bit(pfn - live_map->lo, live_map->blocks);
		if (++left % KMT_WALK_PAGES == 0) {
			raw_spin_unlock_irqrestore(lock, flags);
			raw_spin_lock_irqsave(lock, flags);
		}
	}
	raw_spin_unlock_irqrestore(lock, flags);
}

/* Linear-map blocks, the many, have no page to be noted. */
static __always_inline bool seems_mapped(const struct kmt_object *o)
{
	/* own_block() looks again, locked. */
	const unsigned long addr = data_race(o->addr);

	return !kmt_in(&kmt_core.linear, addr) &&
	       is_vmalloc_or_module_addr((void *)addr);
}

static void own_blocks(struct kmt_marker *m, struct kmt_page_map *map)
{
	unsigned long pos = 0;
	struct kmt_object *o;

	while (kmt_go_on(m) &&
	       (o = kmt_next_wide(&kmt_core, KMT_VIRT, &pos)))
		if (seems_mapped(o))
			own_block(m, map, o);
}

/* Of per-CPU chunks, for each CPU; see root_percpu.c. */
static void own_percpu(struct kmt_marker *m, struct kmt_page_map *map,
		       const struct kmt_percpu_map *percpu)
{
	unsigned long addr, pos;
	unsigned int i;
	int cpu;

	for (i = 0; i < percpu->nr_chunks && kmt_go_on(m); i++) {
		for_each_possible_cpu(cpu) {
			for (pos = percpu->chunks[i].lo;
			     pos < percpu->chunks[i].hi; pos += PAGE_SIZE) {
				m->budget -= KMT_LOOKUP_WORDS;
				if (kmt_mark_relax(m))
					return;
				addr = kmt_env_percpu(pos, cpu);
				if (is_vmalloc_addr((void *)addr))
					own_vmalloc(map, map->rest, addr,
						    addr + PAGE_SIZE);
				else
					own(map, map->rest,
					    PHYS_PFN(__pa(addr)));
			}
		}
	}
}

/*
 * Stacks that are blocks, of tasks that were there before tracking was on; the
 * pages of others bear a mark (kmemtrack_stack()).
 */
static void note_stack(struct task_struct *task)
{
	void *base = try_get_task_stack(task);

	if (!base)
		return;
	if (is_vmalloc_addr(base))
		kmt_flag_task_stack((unsigned long)base);
	put_task_stack(task);
}

static void note_stacks(void)
{
	struct task_struct *task;
	int cpu, nr = 1;

	for_each_possible_cpu(cpu) {
		unsigned long lo, hi;

		if (idle_task(cpu))
			note_stack(idle_task(cpu));
		if (!kmt_irq_stack(cpu, &lo, &hi))
			continue;
		if (KMT_IRQ_STACK_ENDS)
			kmt_set_min(&kmt_core, KMT_VIRT, lo, KMT_MIN_GREY);
		if (!kmt_irq_stack_is_root() && KMT_IRQ_STACK_ENDS)
			kmemtrack_stack((void *)lo);
		else if (!kmt_irq_stack_is_root())
			kmt_flag_task_stack(lo);
	}
	while ((task = kmt_next_task(&nr))) {
		note_stack(task);
		put_task_struct(task);
		cond_resched();
	}
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
			own(map, map->rest, pfn);
	}
}

/*
 * Free pages that a CPU keeps for itself bear no sign of it: they look like
 * the inner pages of an allocation of several pages. While nothing else runs
 * the lock is not taken: with PREEMPT_RT who holds it may have been stopped,
 * but the links from one page to the next are whole at any moment.
 */
static void exclude_pcp_pages(struct kmt_marker *m, struct kmt_page_map *map,
			      struct per_cpu_pages *pcp)
{
	unsigned long flags;
	unsigned int i;

	m->budget -= pcp->count;
	for (i = 0; i < NR_PCP_LISTS && !kmt_mark_relax(m); i++) {
		struct list_head *list = &pcp->lists[i];
		unsigned int order = kmt_pcp_order(i);

		if (m->world_stopped) {
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
				exclude_pcp_pages(m, map,
						  per_cpu_ptr(zone->per_cpu_pageset, cpu));
}

static size_t map_bytes(const struct kmt_page_map *map)
{
	return BITS_TO_LONGS(map->hi - map->lo) * sizeof(long);
}

/* A map of 1 TiB has 32 MiB. */
static void clear_map(struct kmt_marker *m, void *bits, size_t bytes)
{
	size_t at;

	/* All of it, even if the mark is given up. */
	for (at = 0; at < bytes; at += KMT_CLEAR_BYTES) {
		memset(bits + at, 0, min_t(size_t, bytes - at, KMT_CLEAR_BYTES));
		m->budget -= KMT_CLEAR_WORDS;
		kmt_mark_relax(m);
	}
}

/**
 * kmt_page_map_prepare - note whose contents are no roots, but for free pages
 * @m: marker
 * @roots: its map; its map of per-CPU memory is filled
 *
 * If the caller holds pcpu_alloc_mutex, the bits of per-CPU chunks are right until
 * it drops the mutex.
 *
 * Context: may sleep.
 */
void kmt_page_map_prepare(struct kmt_marker *m, struct kmt_roots *roots)
{
	struct kmt_page_map *map = &roots->map;

	if (!map->blocks)
		return;
	clear_map(m, map->rest, map_bytes(map));
	if (kmt_mapped_is_root())
		return;
	own_blocks(m, map);
	own_percpu(m, map, &roots->percpu);
}

/**
 * kmt_page_map_note_free - note which free pages CPUs keep for themselves
 * @m: marker; several of them may share the work while nothing else runs
 * @roots: its map, after kmt_page_map_prepare()
 *
 * Context: any but NMI; for a moment only, unless nothing else runs.
 */
void kmt_page_map_note_free(struct kmt_marker *m, struct kmt_roots *roots)
{
	if (roots->map.blocks)
		own_free_pages(m, &roots->map);
}

/**
 * kmt_page_map_fill - note whose contents are no roots
 * @m: marker
 * @roots: its map; its map of per-CPU memory is filled
 *
 * From then on stacks are known for stacks.
 *
 * Context: may sleep.
 */
void kmt_page_map_fill(struct kmt_marker *m, struct kmt_roots *roots)
{
	note_stacks();
	kmt_page_map_prepare(m, roots);
	kmt_page_map_note_free(m, roots);
}

/**
 * kmt_pages_of_cpus - free pages that CPUs keep for themselves
 *
 * Return: how many, about.
 */
unsigned long kmt_pages_of_cpus(void)
{
	unsigned long nr = 0;
	struct zone *zone;
	int cpu;

	for_each_populated_zone(zone)
		for_each_online_cpu(cpu)
			nr += READ_ONCE(per_cpu_ptr(zone->per_cpu_pageset,
						    cpu)->count);
	return nr;
}

/* From now on, or no longer, blocks that are freed are taken out of @map. */
static void publish(struct kmt_page_map *map)
{
	raw_spinlock_t *lock = &kmt_core.wide[KMT_VIRT].lock;
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	WRITE_ONCE(live_map, map);
	raw_spin_unlock_irqrestore(lock, flags);
}

/**
 * kmt_page_map_alloc - make an empty map of all pages there are
 * @map: zeroed
 *
 * Without memory the map stays empty for ever: then stale memory may hide
 * leaks, but none is made up.
 *
 * Context: kmt_scan_mutex held, may sleep; memory does not come or go until
 * kmt_page_map_free().
 */
void kmt_page_map_alloc(struct kmt_page_map *map)
{
	struct zone *zone;

	map->lo = ULONG_MAX;
	for_each_populated_zone(zone) {
		map->lo = min(map->lo, zone->zone_start_pfn);
		map->hi = max(map->hi, zone_end_pfn(zone));
	}
	map->blocks = kmt_own_vzalloc(2 * map_bytes(map));
	if (!map->blocks)
		return;
	map->rest = (void *)map->blocks + map_bytes(map);
	publish(map);
}

/**
 * kmt_page_map_free - give back what kmt_page_map_alloc() took
 * @map: map
 */
void kmt_page_map_free(struct kmt_page_map *map)
{
	publish(NULL);
	kmt_own_vfree(map->blocks, 2 * map_bytes(map));
	map->blocks = NULL;
	map->rest = NULL;
}
