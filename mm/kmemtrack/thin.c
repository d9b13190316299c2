// SPDX-License-Identifier: GPL-2.0
/*
 * Room on the mark stack.
 *
 * References wait there until those on top of them were followed to their end:
 * that is all of a list, if it is one. A member that refers to the next one
 * twice leaves one of these behind, which leads to nothing new when its turn
 * comes; and a long list as many of them as it has members.
 */
#include "hot.h"
#include "mark.h"

/* Whether the mark is the same whether or not @word is followed. */
static bool leads_to_nothing_new(struct kmt_marker *m, unsigned long word)
{
	struct kmt_core *core = m->core;
	struct kmt_tree *tree;
	struct kmt_object *o;
	unsigned long flags;
	bool known;

	/* It may refer to two blocks. */
	if (kmt_in_pair(&m->percpu, word))
		return false;
	o = kmt_lock_find_near(core, KMT_VIRT, word, m->near, &tree, &flags);
	if (!o)
		return true;
	m->near = o;
	known = kmt_reached(o, core->epoch) && !(o->flags & KMT_ALIAS);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	m->hits += known;
	return known;
}

/**
 * kmt_mark_compact_stack - drop what leads to nothing new from the mark stack
 * @m: marker that kmt_is_plain() is true of, and that reads no stack
 *
 * What is dropped would have been looked up in any case. If it is little, that
 * is not tried again until the stack is nearly empty.
 *
 * Context: no lock held.
 */
void kmt_mark_compact_stack(struct kmt_marker *m)
{
	u32 i, kept = 0;

	if (m->dense)
		return;
	for (i = 0; i < m->depth; i++) {
		const struct kmt_mark_entry g = m->stack[i];

		m->budget -= KMT_STEP_WORDS / 8;
		if (kmt_mark_relax(m) || !leads_to_nothing_new(m, g.addr))
			m->stack[kept++] = g;
	}
	m->depth = kept;
	m->dense = kept > m->max / 8;
}
