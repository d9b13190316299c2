// SPDX-License-Identifier: GPL-2.0
/*
 * Which leaks are worth looking at first?
 *
 * One lost pointer often loses a whole structure. A leak that another leak
 * refers to is indirect: mending the other one will most likely mend it. In a
 * ring that nothing outside leads to, one block stands for the ring.
 */
#include "mark.h"

static __no_kcsan bool seems_leak(const struct kmt_object *o)
{
	return (o->flags & (KMT_LIVE | KMT_LEAK)) == (KMT_LIVE | KMT_LEAK);
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

/* The leak that @word refers to gets KMT_INDIRECT, and maybe KMT_COVERED. */
static void touch(struct kmt_reader *r, enum kmt_space space,
		  unsigned long word, u16 set)
{
	struct kmt_marker *m = r->m;
	struct kmt_tree *tree;
	unsigned long flags;
	struct kmt_object *o;
	bool first;

	o = kmt_lock_find(m->core, space, word, &tree, &flags);
	if (!o)
		return;
	first = (o->flags & KMT_LEAK) && o != r->from &&
		!(o->flags & KMT_COVERED);
	if ((o->flags & KMT_LEAK) && o != r->from)
		kmt_change_flags(o, set, 0);
	if (first && (set & KMT_COVERED)) {
		if (m->depth < m->max)
			m->stack[m->depth++] = (struct kmt_grey){ o, o->addr };
		else
			m->overflow = true;
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

static void touch_words(struct kmt_reader *r, unsigned int nr, u16 set)
{
	struct kmt_marker *m = r->m;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (kmt_in(&m->virt, m->buf[i]) &&
		    !kmt_in(&m->core->skip, m->buf[i]))
			touch(r, KMT_VIRT, m->buf[i], set);
		if (kmt_in(&m->percpu, m->buf[i]))
			touch(r, KMT_PERCPU, m->buf[i], set);
	}
}

static void depend_words(struct kmt_reader *r, unsigned int nr)
{
	touch_words(r, nr, KMT_INDIRECT);
}

static void cover_words(struct kmt_reader *r, unsigned int nr)
{
	touch_words(r, nr, KMT_INDIRECT | KMT_COVERED);
}

static void read_leak(struct kmt_marker *m, struct kmt_object *o,
		      struct kmt_object *from,
		      const struct kmt_object *copy,
		      void (*words)(struct kmt_reader *, unsigned int))
{
	struct kmt_reader r = { .words = words, .m = m, .from = from };

	if (copy->min != KMT_MIN_BLACK && !(copy->flags & KMT_NO_SCAN))
		kmt_read_object(&r, o, copy);
}

/* Covers all that @head leads to. @head itself stays what it is. */
static void cover(struct kmt_marker *m, struct kmt_object *head)
{
	struct kmt_object copy;

	if (!change_leak(m->core, head, KMT_COVERED, KMT_INDIRECT, &copy))
		return;
	read_leak(m, head, head, &copy, cover_words);
	while (m->depth && !m->stopped) {
		struct kmt_object *o = m->stack[--m->depth].o;

		if (change_leak(m->core, o, 0, 0, &copy))
			read_leak(m, o, head, &copy, cover_words);
	}
	m->depth = 0;
}

/* Covers what the covered lead to, as long as the mark stack was too small. */
static void cover_overflow(struct kmt_marker *m)
{
	struct kmt_object *o, copy;
	struct kmt_chunk *chunk;

	while (m->overflow && !m->stopped) {
		m->overflow = false;
		kmt_for_each_cell(m->core, chunk, o) {
			if (!seems_leak(o) ||
			    !(READ_ONCE(o->flags) & KMT_COVERED) ||
			    !change_leak(m->core, o, 0, 0, &copy))
				continue;
			read_leak(m, o, o, &copy, cover_words);
			m->depth = 0;
		}
	}
}

/* Covers, for each leak without @without, what it leads to. */
static void cover_all(struct kmt_marker *m, u16 without)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_cell(m->core, chunk, o) {
		if (m->stopped)
			return;
		if (seems_leak(o) && !(READ_ONCE(o->flags) & without))
			cover(m, o);
	}
	cover_overflow(m);
}

/**
 * kmt_classify - tell direct leaks from indirect ones
 * @m: marker, after kmt_judge()
 *
 * Context: no lock held.
 */
void kmt_classify(struct kmt_marker *m)
{
	struct kmt_object *o, copy;
	struct kmt_chunk *chunk;

	m->depth = 0;
	m->overflow = false;
	kmt_for_each_cell(m->core, chunk, o)
		if (seems_leak(o))
			change_leak(m->core, o, 0, KMT_INDIRECT | KMT_COVERED,
				    &copy);
	kmt_for_each_cell(m->core, chunk, o) {
		if (m->stopped)
			return;
		if (seems_leak(o) && change_leak(m->core, o, 0, 0, &copy))
			read_leak(m, o, o, &copy, depend_words);
	}
	cover_all(m, KMT_INDIRECT | KMT_COVERED);
	/* What no direct leak leads to are rings: open each at one block. */
	cover_all(m, KMT_COVERED);
}
