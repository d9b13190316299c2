// SPDX-License-Identifier: GPL-2.0
/*
 * Which leaks are worth looking at first?
 *
 * One lost pointer often loses a whole structure. A leak that another leak
 * refers to is indirect: mending the other one will most likely mend it. In a
 * ring that nothing outside leads to, one block stands for the ring.
 *
 * Two walks find these blocks: the first begins at each leak that no earlier
 * one led to; the second, in the opposite order, begins only where the first
 * did. What it meets there again is indirect, what is left leads to all else.
 */
#include "mark.h"

static bool seems_leak(const struct kmt_object *o)
{
	/* change_leak() looks again, locked. */
	return (data_race(o->flags) & (KMT_LIVE | KMT_LEAK)) ==
	       (KMT_LIVE | KMT_LEAK);
}

static bool change_leak(struct kmt_core *core, struct kmt_object *o, u16 set,
			u16 clear, struct kmt_object *was)
{
	struct kmt_tree *tree;
	unsigned long flags;
	bool leak;

	tree = kmt_lock_object(core, o, &flags);
	if (!tree)
		return false;
	leak = o->flags & KMT_LEAK;
	*was = *o;
	if (leak)
		kmt_change_flags(o, set, clear);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return leak;
}

/* The leak that @word refers to is indirect, and so is what it leads to. */
static void touch(struct kmt_reader *r, enum kmt_space space,
		  unsigned long word)
{
	struct kmt_marker *m = r->m;
	struct kmt_tree *tree;
	unsigned long flags;
	struct kmt_object *o;

	o = kmt_lock_find(m->core, space, word, &tree, &flags);
	if (!o)
		return;
	if ((o->flags & KMT_LEAK) && o != r->from) {
		if (!(o->flags & KMT_COVERED)) {
			if (m->depth < m->max)
				m->stack[m->depth++] =
					(struct kmt_grey){ o, o->addr };
			else
				m->overflow = true;
		}
		kmt_change_flags(o, KMT_INDIRECT | KMT_COVERED, 0);
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

static void touch_words(struct kmt_reader *r, unsigned int nr)
{
	struct kmt_marker *m = r->m;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		const unsigned long word = kmt_untag(m->buf[i]);

		if (kmt_in(&m->virt, word) && !kmt_in(&m->core->skip, word))
			touch(r, KMT_VIRT, word);
		if (kmt_in(&m->percpu, word))
			touch(r, KMT_PERCPU, word);
	}
}

/* Reads a covered leak, once in a walk. */
static void read_leak(struct kmt_marker *m, struct kmt_object *o,
		      struct kmt_object *head)
{
	struct kmt_reader r = { .words = touch_words, .m = m, .from = head };
	struct kmt_object copy;

	if (!change_leak(m->core, o, KMT_SCANNED, 0, &copy) ||
	    (copy.flags & KMT_SCANNED))
		return;
	if (copy.min != KMT_MIN_BLACK && !(copy.flags & KMT_NO_SCAN))
		kmt_read_object(&r, o, &copy);
}

static void drain_leaks(struct kmt_marker *m, struct kmt_object *head)
{
	while (m->depth && !m->stopped)
		read_leak(m, m->stack[--m->depth].o, head);
	m->depth = 0;
}

/* Covers all that @head leads to. @head itself stays what it is. */
static void cover(struct kmt_marker *m, struct kmt_object *head)
{
	struct kmt_object *o, copy;
	struct kmt_chunk *chunk;

	if (!change_leak(m->core, head, KMT_COVERED, 0, &copy))
		return;
	read_leak(m, head, head);
	drain_leaks(m, head);
	while (m->overflow && !m->stopped) {
		m->overflow = false;
		kmt_for_each_cell(m->core, chunk, o) {
			if (!seems_leak(o) ||
			    (READ_ONCE(o->flags) &
			     (KMT_COVERED | KMT_SCANNED)) != KMT_COVERED)
				continue;
			read_leak(m, o, head);
			drain_leaks(m, head);
		}
	}
}

static void reset_leaks(struct kmt_marker *m, u16 clear)
{
	struct kmt_core *core = m->core;
	struct kmt_object *o, copy;
	struct kmt_chunk *chunk;

	kmt_for_each_cell(core, chunk, o)
		if (kmt_go_on(m) && seems_leak(o))
			change_leak(core, o, 0, clear | KMT_COVERED |
				    KMT_SCANNED, &copy);
}

static void cover_forward(struct kmt_marker *m)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_cell(m->core, chunk, o)
		if (kmt_go_on(m) && seems_leak(o) &&
		    !(READ_ONCE(o->flags) & KMT_COVERED))
			cover(m, o);
}

/* The chunk that kmt_for_each_cell() visits before @next, NULL for the end. */
static struct kmt_chunk *chunk_before(struct kmt_core *core,
				      struct kmt_chunk *next)
{
	struct kmt_chunk *chunk = kmt_chunks(core);

	if (chunk == next)
		return NULL;
	while (chunk->next != next)
		chunk = chunk->next;
	return chunk;
}

static void cover_backward(struct kmt_marker *m)
{
	struct kmt_chunk *chunk = NULL;
	struct kmt_object *o;

	while ((chunk = chunk_before(m->core, chunk))) {
		struct kmt_object *cells = kmt_chunk_cells(chunk);
		u32 i = chunk->nr;

		while (i--) {
			o = &cells[i];
			if (kmt_go_on(m) && seems_leak(o) &&
			    !(READ_ONCE(o->flags) &
			      (KMT_INDIRECT | KMT_COVERED)))
				cover(m, o);
		}
	}
}

/**
 * kmt_classify - tell direct leaks from indirect ones
 * @m: marker, after kmt_judge()
 *
 * Context: no lock held.
 */
void kmt_classify(struct kmt_marker *m)
{
	m->depth = 0;
	m->overflow = false;
	reset_leaks(m, KMT_INDIRECT);
	cover_forward(m);
	reset_leaks(m, 0);
	cover_backward(m);
}
