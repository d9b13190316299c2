// SPDX-License-Identifier: GPL-2.0
/* Random annotations. */
#include "steps.h"

/* Whether there would be a chain of aliases, for which the order matters. */
static bool chained(struct steps *t, const struct block *holder,
		    unsigned long target)
{
	unsigned int i;

	for (i = 0; i < MAX_BLOCKS; i++) {
		struct block *b = &t->m.b[i];

		if (!b->used || b->lost || b->space != KMT_VIRT)
			continue;
		if (b->aliased && (target - b->addr < b->size ||
				   b->alias - holder->addr < holder->size))
			return true;
	}
	return false;
}

void step_alias(struct steps *t)
{
	struct block *holder = pick_block(t), *target = pick_block(t);
	enum answer cell = may_get_cell(t);
	unsigned long at;
	bool done;

	if (!holder || holder->space != KMT_VIRT || holder->lost ||
	    target->space != KMT_VIRT || holder == target ||
	    holder->aliased || chained(t, holder, target->addr))
		return;
	at = holder->addr + pick(&t->src, min(holder->size, 60000ul));
	done = kmt_add_alias(&t->m.s->core, at, target->addr, GFP_KERNEL);
	check_cell(t, cell, done);
	if (done) {
		holder->aliased = true;
		holder->alias = target->addr;
	} else {
		t->m.events[KMT_EV_LOST_ANNOTATION]++;
	}
}

/* Adds an area, unless it exists already. */
static void block_add_area(struct block *b, unsigned long lo, unsigned long hi)
{
	unsigned int i;

	for (i = 0; i < b->nr_areas; i++)
		if (b->areas[i].lo == lo && b->areas[i].hi == hi)
			return;
	b->areas[b->nr_areas++] = (struct kmt_range){ lo, hi };
}

void step_area(struct steps *t)
{
	struct block *b = pick_block(t);
	enum answer cell = may_get_cell(t);
	unsigned long at, size, left;
	bool done, had_cell;

	if (!b || b->space != KMT_VIRT || b->lost || b->nr_areas == MAX_AREAS)
		return;
	at = b->addr + pick(&t->src, min(b->size, 60000ul));
	size = 1 + pick(&t->src, min(b->size, 60000ul));
	left = b->addr + b->size - at;
	if (!pick(&t->src, 4))
		size = SIZE_MAX;
	done = kmt_add_area(&t->m.s->core, at, size, GFP_KERNEL);
	/* The tracker takes a cell before it checks the area. */
	had_cell = sim_events(t->m.s, KMT_EV_LOST_ANNOTATION) ==
		   t->m.events[KMT_EV_LOST_ANNOTATION];
	check_cell(t, cell, had_cell);
	AGREE(done == (had_cell && (size <= left || size == SIZE_MAX)));
	if (done) {
		size = size == SIZE_MAX ? left : size;
		block_add_area(b, at, at + size);
	} else if (had_cell) {
		t->m.events[KMT_EV_BAD_AREA]++;
	} else {
		t->m.events[KMT_EV_LOST_ANNOTATION]++;
		b->whole = true;
	}
}

static void annotate_flags(struct steps *t, struct block *b, unsigned long at)
{
	static const u16 flags[] = { KMT_NO_SCAN, KMT_STACK, KMT_TRANSIENT };
	u16 flag = flags[pick(&t->src, ARRAY_SIZE(flags))];
	bool known = kmt_set_flags(&t->m.s->core, b->space, at, flag);

	AGREE(known == !b->lost);
	b->no_scan |= flag == KMT_NO_SCAN;
	b->stack |= flag == KMT_STACK;
	b->fate[FEWEST].transient |= flag == KMT_TRANSIENT;
	b->fate[MOST].transient |= flag == KMT_TRANSIENT;
}

void step_annotate(struct steps *t)
{
	struct block *b = pick_block(t);
	unsigned long at;

	if (!b)
		return;
	at = b->addr + pick(&t->src, min(b->size, 60000ul));
	t->m.events[KMT_EV_ANNOTATE_UNKNOWN] += b->lost;
	if (pick(&t->src, 2)) {
		annotate_flags(t, b, at);
		return;
	}
	b->min = pick_min(t, b->space);
	AGREE(kmt_set_min(&t->m.s->core, b->space, at, b->min) == !b->lost);
	if (!block_judged(b))
		block_pardon(b);
}
