// SPDX-License-Identifier: GPL-2.0
/*
 * Reading the contents of a block, piece by piece.
 *
 * Each piece is copied under the lock of the block's tree: a free waits for
 * that lock before it gives the memory back, so what is read belongs to the
 * block, and interrupts are never off for more than one piece.
 */
#include "hot.h"
#include "team.h"

static bool is_same(const struct kmt_object *o, const struct kmt_object *copy)
{
	return o->addr == copy->addr && o->size == copy->size &&
	       o->born == copy->born && kmt_space(o) == kmt_space(copy);
}

/*
 * Where words in @o point to if they refer to @o itself, as empty lists do:
 * references to no other block. Of a holder those in excess count for another
 * block, its own, too.
 */
static struct kmt_range self_of(const struct kmt_object *o)
{
	unsigned long lo = o->addr;

	if (o->flags & KMT_ALIAS)
		return (struct kmt_range){};
	if (kmt_space(o) == KMT_PHYS)
		lo = kmt_env_phys(lo);
	return (struct kmt_range){ lo, lo + o->size };
}

/*
 * Reads the next piece of [@pos, @end) if @o still is the block @copy was taken
 * of; returns how long it was, 0 if @o is another one.
 */
static unsigned long read_piece(struct kmt_reader *r, struct kmt_object *o,
				const struct kmt_object *copy,
				unsigned long pos, unsigned long end)
{
	struct kmt_core *core = r->m->core;
	unsigned long flags, noted = 0, len = 0;
	struct kmt_tree *tree;
	bool ok = false;

	if (unlikely(r->m->team)) {
		tree = kmt_tree_of(core, kmt_space(copy), copy->addr,
				   copy->size);
		kmt_wait_contended(r->m, &tree->lock);
	}
	tree = kmt_lock_object(core, o, &flags);
	if (!tree)
		return 0;
	if (is_same(o, copy)) {
		const struct kmt_range self = self_of(o);

		/* A piece does not cross a page: it is there or it is not. */
		len = kmt_piece(pos, end, sizeof(r->m->buf));
		if (r->marks)
			noted = kmt_mark_piece(r->m, &self, pos, end);
		if (!noted)
			ok = kmt_env_read(r->m->buf, pos, len);
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);

	r->at = pos;
	if (ok)
		r->words(r, len / sizeof(long));
	else if (len && !noted)
		kmt_event(core, KMT_EV_FAULT);
	return noted ?: len;
}

/**
 * kmt_read_range - hand a part of the contents of a block to a reader
 * @r: reader
 * @o: cell of the block
 * @copy: what the cell held when the block was chosen
 * @start: first byte
 * @end: one past the last
 *
 * Words that are not aligned are left out.
 *
 * Context: no lock held.
 * Return: false if the block is gone, or the mark is given up.
 */
bool kmt_read_range(struct kmt_reader *r, struct kmt_object *o,
		    const struct kmt_object *copy, unsigned long start,
		    unsigned long end)
{
	unsigned long pos = ALIGN(start, sizeof(long));

	end = ALIGN_DOWN(end, sizeof(long));
	while (pos < end) {
		unsigned long len = read_piece(r, o, copy, pos, end);

		if (!len)
			return false;
		r->m->budget -= len / sizeof(long);
		/* What was noted makes room for what the next piece has. */
		if (r->marks)
			kmt_mark_follow(r->m);
		if (kmt_mark_relax(r->m))
			return false;
		pos += len;
	}
	return true;
}

/**
 * kmt_next_range - where are the contents of a block?
 * @core: tracker
 * @o: block, or a copy of its cell
 * @nr: 0 for the first range; moved on to the next one
 * @range: set to addresses that can hold references
 *
 * A per-CPU block has a range for each CPU, one with scan areas one for each.
 * Of a stack it is the first word: where a task had a guard against overflow
 * RCU's list of callbacks goes on when the task is gone.
 *
 * Context: any but NMI; a tree lock may be held.
 * Return: false when there are no more.
 */
bool kmt_next_range(struct kmt_core *core, const struct kmt_object *o,
		    int *nr, struct kmt_range *range)
{
	unsigned long size = o->size;
	int at = *nr;

	range->lo = o->addr;
	*nr = at + 1;
	if (kmt_space(o) == KMT_PERCPU) {
		at = cpumask_next(at - 1, cpu_possible_mask);
		if (at >= nr_cpu_ids)
			return false;
		range->lo = kmt_env_percpu(o->addr, at);
		*nr = at + 1;
	} else if ((o->flags & (KMT_AREAS | KMT_WHOLE)) == KMT_AREAS) {
		if (!kmt_get_area(core, o->addr, at, &range->lo, &size))
			return false;
	} else if (at) {
		return false;
	} else if (kmt_space(o) == KMT_PHYS) {
		range->lo = kmt_env_phys(o->addr);
	} else if (o->flags & KMT_STACK) {
		size = min(size, sizeof(long));
	}
	range->hi = range->lo + size;
	return true;
}

/*
 * Whether @copy is a per-CPU block so small that the buffer has room for what two
 * CPUs have of it, or more; what each has lies in one page.
 */
static bool may_gather(const struct kmt_reader *r, const struct kmt_object *copy)
{
	return r->gathers && kmt_space(copy) == KMT_PERCPU && !r->m->bytes &&
	       copy->size <= sizeof(r->m->buf) / 2 &&
	       kmt_piece(copy->addr, copy->addr + copy->size,
			 sizeof(r->m->buf)) == copy->size;
}

/*
 * Reads what the CPUs behind *@cpu have of @o, as many as there is room for, if
 * it still is the block @copy was taken of; *@cpu is the last one then. Returns
 * how many words that were, or -1 if it is another block.
 */
static int gather(struct kmt_reader *r, struct kmt_object *o,
		  const struct kmt_object *copy, int *cpu)
{
	const unsigned long lo = ALIGN(copy->addr, sizeof(long));
	const unsigned long hi = ALIGN_DOWN(copy->addr + copy->size,
					    sizeof(long));
	const unsigned int words = lo < hi ? (hi - lo) / sizeof(long) : 0;
	unsigned int nr = 0, faults = 0;
	struct kmt_tree *tree;
	unsigned long flags;
	bool same;

	if (!words) {
		*cpu = nr_cpu_ids;
		return 0;
	}
	tree = kmt_lock_object(r->m->core, o, &flags);
	if (!tree)
		return -1;
	same = is_same(o, copy);
	while (same && nr + words <= ARRAY_SIZE(r->m->buf)) {
		*cpu = cpumask_next(*cpu, cpu_possible_mask);
		if (*cpu >= nr_cpu_ids)
			break;
		if (kmt_env_read(r->m->buf + nr, kmt_env_percpu(lo, *cpu),
				 words * sizeof(long)))
			nr += words;
		else
			faults++;
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	while (faults--)
		kmt_event(r->m->core, KMT_EV_FAULT);
	return same ? nr : -1;
}

static void read_copies(struct kmt_reader *r, struct kmt_object *o,
			const struct kmt_object *copy)
{
	int cpu = -1, nr;

	while (cpu < (int)nr_cpu_ids) {
		nr = gather(r, o, copy, &cpu);
		if (nr < 0)
			return;
		/* No word goes on from one of these pieces into the next. */
		r->at = 0;
		if (nr)
			r->words(r, nr);
		r->m->budget -= nr;
		if (r->marks)
			kmt_mark_follow(r->m);
		if (kmt_mark_relax(r->m))
			return;
	}
}

/**
 * kmt_read_object - hand the contents of a block to a reader
 * @r: reader; its marker's buffer holds the words of each piece
 * @o: cell of the block
 * @copy: what the cell held when the block was chosen
 *
 * Stops when the block is freed or the mark is given up. Memory that cannot
 * be read is left out and counted.
 *
 * Context: no lock held.
 */
void kmt_read_object(struct kmt_reader *r, struct kmt_object *o,
		     const struct kmt_object *copy)
{
	struct kmt_range range;
	int nr = 0;

	if (may_gather(r, copy))
		return read_copies(r, o, copy);
	while (kmt_next_range(r->m->core, copy, &nr, &range))
		if (!kmt_read_range(r, o, copy, range.lo, range.hi))
			return;
}
