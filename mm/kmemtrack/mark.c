// SPDX-License-Identifier: GPL-2.0
/*
 * Marking: which blocks do the roots lead to?
 */
#include "mark.h"

/* Sweeps for blocks that were born meanwhile; overflow has as many as needed. */
#define KMT_SWEEPS	4

/*
 * Larger blocks are not searched for a pointer back: too long under a lock,
 * unless nothing else runs.
 */
#define KMT_PEEK_MAX	2048

static void push(struct kmt_marker *m, struct kmt_object *o,
		 unsigned long addr)
{
	if (m->depth == m->max) {
		if (!m->overflow)
			kmt_event(m->core, KMT_EV_STACK_OVERFLOW);
		m->overflow = true;
		return;
	}
	m->stack[m->depth].o = o;
	m->stack[m->depth].addr = addr;
	m->depth++;
}

static void enter_epoch(struct kmt_object *o, u16 epoch)
{
	if (o->epoch == epoch)
		return;
	o->epoch = epoch;
	o->count = 0;
	kmt_change_flags(o, 0, KMT_SCANNED);
}

/* Whether @o holds a word that points into @r; yes if that is not known. */
static bool points_into(struct kmt_marker *m, const struct kmt_object *o,
			const struct kmt_range *r)
{
	const unsigned long step = sizeof(m->peek);
	unsigned long pos = ALIGN(o->addr, sizeof(long));
	unsigned long end = ALIGN_DOWN(o->addr + o->size, sizeof(long));
	unsigned int i;

	if (o->size > KMT_PEEK_MAX && !m->still)
		return true;
	while (pos < end) {
		unsigned long len = kmt_piece(pos, end, step);

		if (!kmt_env_read(m->peek, pos, len))
			return true;
		for (i = 0; i < len / sizeof(long); i++)
			if (kmt_in(r, m->peek[i]))
				return true;
		pos += len;
	}
	return false;
}

/*
 * A task that has been asleep since before a block was born cannot have put a
 * reference to it on its stack: what looks like one is left over from what was
 * in that place before. Others may have linked the block to a list whose head
 * is on the stack; then the block points back. To see that can be left to a
 * recheck.
 */
static bool left_over(struct kmt_marker *m, const struct kmt_object *o)
{
	return m->nap.hi && kmt_space(o) == KMT_VIRT &&
	       (s32)(o->born - m->since) > 0 &&
	       (m->exact_later || !points_into(m, o, &m->nap));
}

/* Counts a reference; true if it is one in excess, for the block at @next. */
static bool refer(struct kmt_marker *m, enum kmt_space space,
		  unsigned long word, unsigned long *next)
{
	struct kmt_core *core = m->core;
	struct kmt_tree *tree;
	unsigned long flags, addr;
	struct kmt_object *o;
	bool grey, excess;

	o = kmt_lock_find(core, space, word, &tree, &flags);
	if (!o)
		return false;
	if (unlikely(m->filter && !(o->flags & (KMT_SUSPECT | KMT_ALIAS))) ||
	    unlikely(left_over(m, o))) {
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		return false;
	}
	m->hits++;
	enter_epoch(o, core->epoch);
	if (o->count < KMT_COUNT_MAX)
		o->count++;
	grey = kmt_judged(o) && o->count == o->min;
	excess = (o->flags & KMT_ALIAS) &&
		 !(kmt_judged(o) && o->count <= o->min) &&
		 kmt_get_alias(core, o->addr, next);
	addr = o->addr;
	raw_spin_unlock_irqrestore(&tree->lock, flags);

	if (grey)
		push(m, o, addr);
	return excess;
}

/**
 * kmt_mark_hit - follow a word that may be a reference
 * @m: marker
 * @word: in one of the ranges that have blocks, or suspects
 *
 * Context: no lock held.
 */
noinline void kmt_mark_hit(struct kmt_marker *m, unsigned long word)
{
	int hops = KMT_ALIAS_HOPS;

	if (kmt_in(&m->percpu, word) &&
	    refer(m, KMT_PERCPU, word, &word))
		return;
	if (!kmt_in(&m->virt, word) || kmt_in(&m->core->skip, word))
		return;
	while (hops-- && refer(m, KMT_VIRT, word, &word))
		;
}

/**
 * kmt_mark_word - a root holds this word
 * @m: marker
 * @word: may be a reference, to any byte of a block
 *
 * Context: no lock held.
 */
void kmt_mark_word(struct kmt_marker *m, unsigned long word)
{
	if (kmt_in(&m->virt, word) || kmt_in(&m->percpu, word))
		kmt_mark_hit(m, word);
}

/**
 * kmt_mark_words - a root holds these words, at addresses that do not matter
 * @m: marker
 * @words: each may be a reference
 * @nr: how many
 *
 * Context: no lock held.
 */
void kmt_mark_words(struct kmt_marker *m, const unsigned long *words,
		    unsigned int nr)
{
	if (m->filter && !m->bytes)
		kmt_sift(m, words, nr);
	while (!m->filter && nr--)
		kmt_mark_word(m, *words++);
	kmt_mark_drain(m);
}

/* Looks at the words from @at on, at @words; @from is the block they are in. */
static void look(struct kmt_marker *m, const unsigned long *words,
		 unsigned int nr, unsigned long at,
		 const struct kmt_object *from)
{
	unsigned int i;
	bool fresh;

	m->words += nr;
	if (!m->filter) {
		for (i = 0; i < nr; i++)
			kmt_mark_word(m, words[i]);
		return;
	}
	/* Words of what was a suspect until now were never looked at. */
	fresh = from && READ_ONCE(from->flags) & KMT_SUSPECT;
	if (!m->bytes || fresh)
		kmt_sift(m, words, nr);
	if (m->bytes || (m->sums && fresh))
		kmt_sift_bytes(m, words, nr, at);
}

static void mark_words(struct kmt_reader *r, unsigned int nr)
{
	look(r->m, r->m->buf, nr, r->at, r->from);
}

/* Takes @o for this mark; false if there is nothing in it to be read. */
static bool claim(struct kmt_marker *m, struct kmt_object *o,
		  unsigned long addr, struct kmt_object *copy)
{
	struct kmt_tree *tree;
	unsigned long flags;
	bool wanted;

	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return false;
	wanted = o->addr == addr && kmt_reached(o, m->core->epoch);
	if (wanted) {
		enter_epoch(o, m->core->epoch);
		wanted = !(o->flags & KMT_SCANNED);
		kmt_change_flags(o, KMT_SCANNED, 0);
		*copy = *o;
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return wanted && kmt_is_read(copy);
}

static void scan(struct kmt_marker *m, struct kmt_object *o,
		 unsigned long addr)
{
	struct kmt_reader r = { .words = mark_words, .m = m, .from = o };
	struct kmt_object copy;

	/* A block costs a little even if it is tiny. */
	m->budget -= KMT_STEP_WORDS / 8;
	if (kmt_mark_relax(m) || !claim(m, o, addr, &copy))
		return;
	m->objects++;
	kmt_read_object(&r, o, &copy);
}

/**
 * kmt_mark_drain - read what is on the mark stack and what follows from it
 * @m: marker
 *
 * Context: no lock held.
 */
void kmt_mark_drain(struct kmt_marker *m)
{
	while (m->depth) {
		struct kmt_grey *g = &m->stack[--m->depth];

		scan(m, g->o, g->addr);
	}
}

/**
 * kmt_mark_object - read a reached object and all that follows from it
 * @m: marker
 * @o: its cell
 *
 * Context: no lock held.
 */
void kmt_mark_object(struct kmt_marker *m, struct kmt_object *o)
{
	scan(m, o, READ_ONCE(o->addr));
	kmt_mark_drain(m);
}

/**
 * kmt_mark_again - read an object once more
 * @m: marker
 * @o: its cell; nothing happens unless the mark reached it
 *
 * Context: no lock held.
 */
void kmt_mark_again(struct kmt_marker *m, struct kmt_object *o)
{
	struct kmt_reader r = { .words = mark_words, .m = m, .from = o };
	struct kmt_object copy;
	struct kmt_tree *tree;
	unsigned long flags;

	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return;
	copy = *o;
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	if (kmt_reached(&copy, m->core->epoch) && kmt_is_read(&copy))
		kmt_read_object(&r, o, &copy);
	kmt_mark_drain(m);
}

static void mark_range(struct kmt_marker *m, unsigned long start,
		       unsigned long end)
{
	unsigned long pos = ALIGN(start, sizeof(long));
	unsigned long len;

	end = ALIGN_DOWN(end, sizeof(long));
	for (; pos < end && !kmt_mark_relax(m); pos += len) {
		len = kmt_piece(pos, end, sizeof(m->buf));
		if (kmt_env_read(m->buf, pos, len))
			look(m, m->buf, len / sizeof(long), pos, NULL);
		else
			kmt_event(m->core, KMT_EV_FAULT);
		m->budget -= len / sizeof(long);
	}
}

/* Makes the page of @pos the one that is known to be there. */
static noinline bool map_page(struct kmt_marker *m, unsigned long pos)
{
	unsigned long at = (unsigned long)kmt_env_map(pos);

	if (!at) {
		kmt_event(m->core, KMT_EV_FAULT);
		return false;
	}
	m->mapped = pos / PAGE_SIZE;
	m->shift = at - pos;
	return true;
}

/* The same while nothing else runs, in place, for references to suspects. */
static void mark_range_still(struct kmt_marker *m, unsigned long start,
			     unsigned long end)
{
	unsigned long pos = ALIGN(start, sizeof(long));
	unsigned long next;

	end = ALIGN_DOWN(end, sizeof(long));
	for (; pos < end && !kmt_mark_relax(m); pos = next) {
		next = pos + kmt_piece(pos, end, PAGE_SIZE);
		if (!kmt_sift_mapped(m, pos, next) && map_page(m, pos))
			kmt_sift_mapped(m, pos, next);
	}
}

/**
 * kmt_mark_block - read memory that is no object as a root
 * @m: marker
 * @start: first byte
 * @end: one past the last
 *
 * What cannot be read is left out.
 *
 * Context: no lock held; the caller sees to it that the memory is a root.
 */
void kmt_mark_block(struct kmt_marker *m, unsigned long start,
		    unsigned long end)
{
	if (m->still)
		mark_range_still(m, start, end);
	else
		mark_range(m, start, end);
	kmt_mark_drain(m);
}

/**
 * kmt_mark_nap - read the stack of a task that sleeps as a root
 * @m: marker
 * @stack: all of the stack
 * @start: first byte of its live part
 * @since: low 32 bits of jiffies after which the task did not run
 *
 * Left out is what looks like a reference to a block that is younger than
 * that, unless the block refers to the stack.
 *
 * Context: no lock held.
 */
void kmt_mark_nap(struct kmt_marker *m, const struct kmt_range *stack,
		  unsigned long start, u32 since)
{
	m->nap = *stack;
	m->since = since;
	if (m->still)
		mark_range_still(m, start, stack->hi);
	else
		mark_range(m, start, stack->hi);
	m->nap = (struct kmt_range){};
	kmt_mark_drain(m);
}

/* Without the lock: an answer that is out of date is made good by claim(). */
static __no_kcsan bool to_be_read(const struct kmt_object *o, u16 epoch)
{
	return (o->flags & KMT_LIVE) && kmt_reached(o, epoch) &&
	       !(o->epoch == epoch && (o->flags & KMT_SCANNED));
}

/**
 * kmt_mark_sweep - read the grey objects and all that was reached
 * @m: marker
 *
 * Finds by a walk over the pool what is reached and has not been read: the
 * grey objects, what the mark stack had no room for, what was born during the
 * mark.
 *
 * Context: no lock held.
 */
void kmt_mark_sweep(struct kmt_marker *m)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	int rounds = 0;
	bool found;

	do {
		found = false;
		m->overflow = false;
		kmt_for_each_cell(m->core, chunk, o) {
			if (!to_be_read(o, m->core->epoch))
				continue;
			found = true;
			kmt_mark_object(m, o);
			if (m->stopped)
				return;
		}
	} while (m->overflow || (found && ++rounds < KMT_SWEEPS));
}
