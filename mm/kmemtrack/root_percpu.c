// SPDX-License-Identifier: GPL-2.0
/*
 * Roots in per-CPU memory: the per-CPU sections of the image, and per-CPU blocks
 * without a record.
 *
 * Chunks of per-CPU memory are mapped in vmalloc space or belong to memblock, and
 * their struct pages do not say what is in use. The allocation maps of the chunks
 * do. A scan copies them before it reads memory, since pcpu_lock, which protects
 * them, may be held by a stopped CPU during the snapshot.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/pfn.h>
#include <asm/sections.h>

#include "../percpu-internal.h"
#include "policy.h"

/* Room for areas: the first try, and the limit. */
#define KMT_AREAS_MIN	1024
#define KMT_AREAS_MAX	BIT(20)

/* Room for chunks that appear between counting and copying. */
#define KMT_CHUNKS_MORE	16

/*
 * The per-CPU pointer whose memory for the CPU with the first unit is at @addr, without
 * KASAN's tag, as records have it.
 */
static unsigned long pointer_to(const void *addr)
{
	if (!IS_ENABLED(CONFIG_SMP))
		return kmt_untag((unsigned long)addr);
	return kmt_untag((unsigned long)addr - (unsigned long)pcpu_base_addr +
			 (unsigned long)__per_cpu_start);
}

static void add_chunk(struct kmt_percpu_map *p, const struct pcpu_chunk *chunk)
{
	unsigned long lo = pointer_to(chunk->base_addr);

	if (p->nr_chunks < p->max_chunks)
		p->chunks[p->nr_chunks] = (struct kmt_range){
			lo, lo + PFN_PHYS(chunk->nr_pages)
		};
	p->nr_chunks++;
}

/* Lists all chunks; counts those for which there is no room, too. */
static void list_chunks(struct kmt_percpu_map *p)
{
	const struct pcpu_chunk *chunk;
	unsigned long flags;
	int slot;

	p->nr_chunks = 0;
	spin_lock_irqsave(&pcpu_lock, flags);
	for (slot = 0; slot < pcpu_nr_slots; slot++)
		list_for_each_entry(chunk, &pcpu_chunk_lists[slot], list)
			add_chunk(p, chunk);
	if (pcpu_reserved_chunk)
		add_chunk(p, pcpu_reserved_chunk);
	spin_unlock_irqrestore(&pcpu_lock, flags);
}

/**
 * kmt_percpu_pages - count the pages behind chunks that were created since boot
 *
 * The first chunk and the reserved one are memory of memblock, and not counted.
 *
 * Context: any but NMI.
 * Return: number of pages, for all possible CPUs.
 */
unsigned long kmt_percpu_pages(void)
{
	const struct pcpu_chunk *chunk;
	unsigned long flags, nr = 0;
	int slot;

	spin_lock_irqsave(&pcpu_lock, flags);
	for (slot = 0; slot < pcpu_nr_slots; slot++)
		list_for_each_entry(chunk, &pcpu_chunk_lists[slot], list)
			nr += chunk->immutable ? 0 : chunk->nr_populated;
	spin_unlock_irqrestore(&pcpu_lock, flags);
	return nr * num_possible_cpus();
}

static size_t chunk_bytes(const struct kmt_percpu_map *p)
{
	return p->max_chunks * sizeof(p->chunks[0]);
}

static size_t area_bytes(const struct kmt_percpu_map *p)
{
	return p->max_areas * sizeof(p->areas[0]);
}

static bool copy_chunks(struct kmt_percpu_map *p)
{
	list_chunks(p);
	p->max_chunks = p->nr_chunks + KMT_CHUNKS_MORE;
	p->chunks = kmt_own_vzalloc(chunk_bytes(p));
	if (!p->chunks)
		return false;
	list_chunks(p);
	/* Chunks for which there is no room now were created just now: leave them out. */
	p->nr_chunks = min(p->nr_chunks, p->max_chunks);
	return true;
}

/* The chunk that begins at a per-CPU pointer. */
static const struct pcpu_chunk *find_chunk(unsigned long lo)
{
	const struct pcpu_chunk *chunk;
	int slot;

	lockdep_assert_held(&pcpu_lock);
	for (slot = 0; slot < pcpu_nr_slots; slot++)
		list_for_each_entry(chunk, &pcpu_chunk_lists[slot], list)
			if (pointer_to(chunk->base_addr) == lo)
				return chunk;
	chunk = pcpu_reserved_chunk;
	return chunk && pointer_to(chunk->base_addr) == lo ? chunk : NULL;
}

/*
 * Copies the allocation bitmap of the chunk at @range, a bit for each
 * PCPU_MIN_ALLOC_SIZE bytes; all zero if the chunk is gone. Bits outside of the memory
 * that the chunk serves are cleared.
 */
static void copy_map(const struct kmt_range *range, unsigned long *map)
{
	unsigned int nr = (range->hi - range->lo) / PCPU_MIN_ALLOC_SIZE;
	const struct pcpu_chunk *chunk;
	unsigned long flags;

	bitmap_zero(map, nr);
	spin_lock_irqsave(&pcpu_lock, flags);
	chunk = find_chunk(range->lo);
	if (chunk && PFN_PHYS(chunk->nr_pages) == range->hi - range->lo) {
		unsigned int before = chunk->start_offset / PCPU_MIN_ALLOC_SIZE;
		unsigned int behind = chunk->end_offset / PCPU_MIN_ALLOC_SIZE;

		bitmap_copy(map, chunk->alloc_map, nr);
		bitmap_clear(map, 0, before);
		bitmap_clear(map, nr - behind, behind);
	}
	spin_unlock_irqrestore(&pcpu_lock, flags);
}

static void add_area(struct kmt_percpu_map *p, unsigned long lo,
		     unsigned long hi)
{
	struct kmt_range *last = p->nr_areas ? &p->areas[p->nr_areas - 1] : NULL;

	if (last && last->hi == lo) {
		last->hi = hi;
		return;
	}
	if (p->nr_areas == p->max_areas) {
		p->full = true;
		return;
	}
	p->areas[p->nr_areas++] = (struct kmt_range){ lo, hi };
}

/* Adds those parts of [@pos, @end), memory in use, that have no record. */
static void add_untracked(struct kmt_percpu_map *p, unsigned long pos,
			  unsigned long end)
{
	struct kmt_range block;

	while (pos < end) {
		unsigned long next = pos + kmt_piece(pos, end, PAGE_SIZE);

		while (pos < next && kmt_first_block(&kmt_core, KMT_PERCPU_SPACE,
						     pos, next, &block)) {
			if (pos < block.lo)
				add_area(p, pos, block.lo);
			pos = block.hi;
		}
		if (pos < next)
			add_area(p, pos, next);
		pos = next;
		cond_resched();
	}
}

static void add_areas(struct kmt_percpu_map *p, const struct kmt_range *chunk,
		      unsigned long *map)
{
	unsigned int nr = (chunk->hi - chunk->lo) / PCPU_MIN_ALLOC_SIZE;
	unsigned int first, end;

	copy_map(chunk, map);
	for_each_set_bitrange(first, end, map, nr) {
		add_untracked(p, chunk->lo + first * PCPU_MIN_ALLOC_SIZE,
			      chunk->lo + end * PCPU_MIN_ALLOC_SIZE);
		cond_resched();
	}
}

/* Room for the map of any chunk. */
static size_t map_bytes(const struct kmt_percpu_map *p)
{
	unsigned long most = 0;
	unsigned int i;

	for (i = 0; i < p->nr_chunks; i++)
		most = max(most, p->chunks[i].hi - p->chunks[i].lo);
	return BITS_TO_LONGS(most / PCPU_MIN_ALLOC_SIZE) * sizeof(long);
}

static void free_areas(struct kmt_percpu_map *p)
{
	kmt_own_vfree(p->areas, area_bytes(p));
	p->areas = NULL;
	p->nr_areas = 0;
}

static bool copy_areas(struct kmt_percpu_map *p)
{
	const size_t bytes = map_bytes(p);
	unsigned long *map = kmt_own_vzalloc(bytes);
	unsigned int i, max;

	p->full = true;
	for (max = KMT_AREAS_MIN; map && p->full && max <= KMT_AREAS_MAX; max *= 2) {
		/* This wipes as many areas as there is room for now. */
		free_areas(p);
		p->max_areas = max;
		p->areas = kmt_own_vzalloc(area_bytes(p));
		if (!p->areas)
			break;
		p->full = false;
		for (i = 0; i < p->nr_chunks; i++)
			add_areas(p, &p->chunks[i], map);
		if (!p->full)
			break;
	}
	kmt_own_vfree(map, bytes);
	return !p->full;
}

/**
 * kmt_percpu_map_free - free the memory that kmt_percpu_map_fill() took
 * @p: map
 */
void kmt_percpu_map_free(struct kmt_percpu_map *p)
{
	free_areas(p);
	kmt_own_vfree(p->chunks, chunk_bytes(p));
	memset(p, 0, sizeof(*p));
}

/**
 * kmt_percpu_map_fill - list the chunks of per-CPU memory, and the roots in them
 * @p: map, zeroed or filled before
 *
 * Without memory for the list all memory in per-CPU chunks is a root: stale words may
 * then hide leaks, but cause no false reports.
 *
 * Context: may sleep.
 */
void kmt_percpu_map_fill(struct kmt_percpu_map *p)
{
	/* Read the rule once, since it may be switched at any time. */
	const bool searched = kmt_percpu_is_root();
	const unsigned long removed = READ_ONCE(pcpu_nr_removed);

	kmt_percpu_map_free(p);
	if (!copy_chunks(p) || (searched && !copy_areas(p))) {
		kmt_percpu_map_free(p);
		p->whole = searched;
	}
	p->searched = searched;
	p->removed = removed;
}

/**
 * kmt_percpu_map_is_current - check whether all memory in the map is per-CPU memory still
 * @p: from kmt_percpu_map_fill()
 *
 * Context: any; with pcpu_alloc_mutex held the answer stays true.
 */
bool kmt_percpu_map_is_current(const struct kmt_percpu_map *p)
{
	return p->removed == READ_ONCE(pcpu_nr_removed);
}

#ifdef CONFIG_SMP
/* Sets *@stack to the first stack of exceptions or interrupts at or after @pos. */
static bool next_stack(int cpu, unsigned long pos, struct kmt_range *stack)
{
	struct kmt_range s;
	bool found = false;
	unsigned int i;

	for (i = 0; kmt_image_stack(cpu, i, &s.lo, &s.hi); i++) {
		if (s.lo < pos || (found && s.lo > stack->lo))
			continue;
		*stack = s;
		found = true;
	}
	return found;
}

/* Marks from a CPU's copy of the section; from the rest of the chunk, too, if @whole. */
static void mark_section(struct kmt_marker *m, int cpu, bool whole)
{
	unsigned long off = per_cpu_offset(cpu);
	unsigned long pos = (unsigned long)__per_cpu_start + off;
	unsigned long end = (unsigned long)__per_cpu_end;
	struct kmt_range stack;

	if (whole)
		end = pointer_to(pcpu_first_chunk->base_addr) +
		      PFN_PHYS(pcpu_first_chunk->nr_pages);
	end += off;
	while (next_stack(cpu, pos, &stack) && stack.hi <= end) {
		kmt_mark_range(m, pos, stack.lo);
		pos = stack.hi;
	}
	kmt_mark_range(m, pos, end);
}
#else
/* Without SMP the section is part of the data section, the chunk is memblock's. */
static void mark_section(struct kmt_marker *m, int cpu, bool whole)
{
	unsigned long lo = (unsigned long)pcpu_first_chunk->base_addr;

	if (whole)
		kmt_mark_range(m, lo, lo + PFN_PHYS(pcpu_first_chunk->nr_pages));
}
#endif

/**
 * kmt_mark_percpu - mark from per-CPU memory that is no tracked block
 * @m: marker; several markers may share the work
 * @p: from kmt_percpu_map_fill()
 *
 * Context: may sleep, unless all other CPUs are stopped.
 */
void kmt_mark_percpu(struct kmt_marker *m, const struct kmt_percpu_map *p)
{
	unsigned long lo, hi;
	unsigned int i;
	int cpu;

	for_each_possible_cpu(cpu) {
		if (!kmt_take_unit(m))
			continue;
		if (kmt_irq_stack(cpu, &lo, &hi) && kmt_irq_stack_is_root())
			kmt_mark_range(m, lo, hi);
		mark_section(m, cpu, p->whole);
	}
	for (i = 0; i < p->nr_areas && !m->stopped; i++) {
		const struct kmt_range *area = &p->areas[i];

		if (!kmt_take_unit(m))
			continue;
		for_each_possible_cpu(cpu) {
			lo = kmt_env_percpu(area->lo, cpu);
			kmt_mark_range(m, lo, lo + area->hi - area->lo);
		}
	}
}
