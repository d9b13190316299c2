// SPDX-License-Identifier: GPL-2.0
/*
 * Reading the contents of a block, piece by piece.
 *
 * Each piece is copied under the lock of the block's tree: a free waits for
 * that lock before it gives the memory back, so what is read belongs to the
 * block, and interrupts are never off for more than one piece.
 */
#include "mark.h"

/* Copies [@pos, @pos + @len) if @o still is the block @copy was taken of. */
static bool read_piece(struct kmt_reader *r, struct kmt_object *o,
		       const struct kmt_object *copy, unsigned long pos,
		       unsigned long len)
{
	struct kmt_core *core = r->m->core;
	struct kmt_tree *tree;
	unsigned long flags;
	bool same, ok = false;

	tree = kmt_lock_object(core, o, &flags);
	if (!tree)
		return false;
	same = o->addr == copy->addr && o->size == copy->size &&
	       o->born == copy->born && kmt_space(o) == kmt_space(copy);
	if (same)
		ok = kmt_env_read(r->m->buf, pos, len);
	raw_spin_unlock_irqrestore(&tree->lock, flags);

	if (ok)
		r->words(r, len / sizeof(long));
	else if (same)
		kmt_event(core, KMT_EV_FAULT);
	return same;
}

/* Reads the aligned words of [@start, @end); false if the block is gone. */
static bool read_range(struct kmt_reader *r, struct kmt_object *o,
		       const struct kmt_object *copy, unsigned long start,
		       unsigned long end)
{
	const unsigned long step = KMT_STEP_WORDS * sizeof(long);
	unsigned long pos = ALIGN(start, sizeof(long));

	end = ALIGN_DOWN(end, sizeof(long));
	while (pos < end) {
		/* A piece does not cross a page: it is there or it is not. */
		unsigned long len = min(end, ALIGN_DOWN(pos, step) + step) -
				    pos;

		if (!read_piece(r, o, copy, pos, len))
			return false;
		r->m->budget -= len / sizeof(long);
		if (kmt_mark_relax(r->m))
			return false;
		pos += len;
	}
	return true;
}

static void read_percpu(struct kmt_reader *r, struct kmt_object *o,
			const struct kmt_object *copy)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		unsigned long start = kmt_env_percpu(copy->addr, cpu);

		if (!read_range(r, o, copy, start, start + copy->size))
			return;
	}
}

static void read_areas(struct kmt_reader *r, struct kmt_object *o,
		       const struct kmt_object *copy)
{
	unsigned long start, size;
	unsigned int nr = 0;
	bool more;

	do {
		more = kmt_get_area(r->m->core, copy->addr, nr++, &start,
				    &size);
	} while (more && read_range(r, o, copy, start, start + size));
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
	unsigned long start = copy->addr;

	switch (kmt_space(copy)) {
	case KMT_PERCPU:
		read_percpu(r, o, copy);
		return;
	case KMT_PHYS:
		start = kmt_env_phys(start);
		break;
	default:
		if ((copy->flags & (KMT_AREAS | KMT_WHOLE)) == KMT_AREAS) {
			read_areas(r, o, copy);
			return;
		}
	}
	read_range(r, o, copy, start, start + copy->size);
}
