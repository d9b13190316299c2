// SPDX-License-Identifier: GPL-2.0
/*
 * Following a reference: to which block does it lead, and what is in there?
 *
 * Most of a mark is spent here. A block that is small is read at once, while
 * its tree is locked for the reference that reached it: what may be references
 * in it goes to the mark stack. And most words that refer to anything were met
 * before: a list's members are each referred to by both of their neighbours.
 */
#include "hot.h"
#include "notes.h"
#include "team.h"

/**
 * enum kmt_outcome - what came of a reference
 * @KMT_USELESS: others to the same address make no difference in this mark
 * @KMT_COUNTED: they may
 * @KMT_EXCESS: it counts for another block instead
 */
enum kmt_outcome {
	KMT_USELESS,
	KMT_COUNTED,
	KMT_EXCESS,
};

/**
 * kmt_mark_push - put a block on the mark stack
 * @m: marker
 * @o: its cell, or that + KMT_ENTRY_PART
 * @addr: see struct kmt_mark_entry
 *
 * If there is no room a sweep will find it, unless it is a part of one.
 */
void kmt_mark_push(struct kmt_marker *m, struct kmt_object *o,
		   unsigned long addr)
{
	if (!kmt_room_for_blocks(m)) {
		if (!m->overflow)
			kmt_event(m->core, KMT_EV_STACK_OVERFLOW);
		m->overflow = true;
		return;
	}
	m->stack[m->max - ++m->blocks] = (struct kmt_mark_entry){ o, addr };
}

static __always_inline bool note_piece(struct kmt_marker *m,
				       const struct kmt_range *self,
				       unsigned long pos, unsigned long end,
				       bool apart)
{
	struct kmt_notes n;

	kmt_notes_begin(&n, m, apart);
	n.self = self->lo;
	n.bytes = self->hi - self->lo;
	if (unlikely(!kmt_note_words(&n, pos, end)))
		return false;
	m->depth = n.top - m->stack;
	m->words += (end - pos) / sizeof(long);
	return true;
}

/* Half of the stack is for references. */
static __always_inline bool has_room(const struct kmt_marker *m,
				     unsigned long bytes)
{
	return m->depth + bytes / sizeof(long) <= m->max / 2;
}

/* Notes one piece; false if there is no room for it, or it cannot be read. */
static bool try_piece(struct kmt_marker *m, const struct kmt_range *self,
		      unsigned long pos, unsigned long end)
{
	if (!has_room(m, end - pos))
		return false;
	return kmt_notes_apart(m) ? note_piece(m, self, pos, end, true) :
				    note_piece(m, self, pos, end, false);
}

/**
 * kmt_mark_piece - note what may be references in a piece of memory
 * @m: marker
 * @self: where its own references point to, which are left out
 * @pos: first byte, at the address of a word
 * @end: one past the last there is
 *
 * They are on the mark stack then.
 *
 * Context: interrupts may be off, and the lock of a tree held: as many words as
 *	are noted here take some microseconds.
 * Return: bytes from @pos on that are done; 0 if they are to be looked at word
 *	by word, or cannot be read.
 */
unsigned long kmt_mark_piece(struct kmt_marker *m, const struct kmt_range *self,
			     unsigned long pos, unsigned long end)
{
	unsigned long len = kmt_piece(pos, end, KMT_NOTE_WORDS * sizeof(long));

	if (!kmt_is_plain(m))
		return 0;
	if (try_piece(m, self, pos, pos + len))
		return len;
	/* A stack made while memory was short may have room for no more. */
	len = kmt_piece(pos, end, KMT_STEP_WORDS * sizeof(long));
	return try_piece(m, self, pos, pos + len) ? len : 0;
}

/* Reads @o, whose tree is locked, if it is small; its references are noted. */
static __always_inline bool read_at_once(struct kmt_marker *m,
					 const struct kmt_object *o)
{
	struct kmt_range self = { o->addr, o->addr + o->size };
	unsigned long pos = ALIGN(self.lo, sizeof(long));
	unsigned long end = ALIGN_DOWN(self.hi, sizeof(long));

	/* Of a holder its own references count, too. */
	if ((o->flags & KMT_ALIAS) || !kmt_is_plainly_read(o) ||
	    kmt_is_cleared(o))
		return false;
	if (!kmt_is_plain(m) || o->size > KMT_STEP_WORDS * sizeof(long) ||
	    !has_room(m, o->size))
		return false;
	if (!note_piece(m, &self, pos, end, true))
		return false;
	m->objects++;
	m->budget -= KMT_STEP_WORDS / 4;
	return true;
}

static __always_inline bool claim(struct kmt_marker *m, struct kmt_object *o)
{
	if (o->flags & KMT_SCANNED)
		return false;
	if (kmt_is_read(o) && !read_at_once(m, o))
		return true;
	kmt_change_flags(o, KMT_SCANNED, 0);
	return false;
}

/**
 * kmt_mark_claim - take a block that was reached for this mark
 * @m: marker
 * @o: block that carries the epoch, its tree locked
 *
 * A small one is read at once.
 *
 * Return: whether it is to be read yet, by the caller or another one.
 */
bool kmt_mark_claim(struct kmt_marker *m, struct kmt_object *o)
{
	return claim(m, o);
}

/* Counts a reference; one in excess is one to *@next. */
static __always_inline enum kmt_outcome refer(struct kmt_marker *m,
					      enum kmt_space space,
					      unsigned long word,
					      unsigned long *next)
{
	struct kmt_core *core = m->core;
	enum kmt_outcome outcome = KMT_COUNTED;
	struct kmt_tree *tree;
	unsigned long flags, addr;
	struct kmt_object *o;
	bool grey;

	o = kmt_lock_find_near(core, space, word, m->near, &tree, &flags);
	if (!o)
		return KMT_USELESS;
	m->near = o;
	if (unlikely(m->filter && !(o->flags & (KMT_SUSPECT | KMT_ALIAS))) ||
	    unlikely(m->dated && kmt_is_younger(o->born, m->date))) {
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		return KMT_COUNTED;
	}
	m->hits++;
	kmt_enter_epoch(o, core->epoch);
	if (o->count < KMT_COUNT_MAX)
		o->count++;
	addr = o->addr;
	grey = kmt_judged(o) && o->count == o->min && claim(m, o);
	if (likely(!(o->flags & KMT_ALIAS))) {
		if (kmt_reached(o, core->epoch))
			outcome = KMT_USELESS;
	} else if (!(kmt_judged(o) && o->count <= o->min) &&
		   kmt_get_alias(core, addr, next)) {
		outcome = KMT_EXCESS;
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);

	if (grey)
		kmt_mark_push(m, o, addr);
	return outcome;
}

/* For what is rare. */
static noinline enum kmt_outcome refer_slowly(struct kmt_marker *m,
					      enum kmt_space space,
					      unsigned long word,
					      unsigned long *next)
{
	return refer(m, space, word, next);
}

/* Follows references in excess, @hops at the most. */
static void pass_on(struct kmt_marker *m, enum kmt_outcome outcome,
		    unsigned long word, int hops)
{
	while (outcome == KMT_EXCESS && hops--)
		outcome = refer_slowly(m, KMT_VIRT, word, &word);
}

/* A word in the range of per-CPU blocks; it may be in that of others, too. */
static noinline void follow_percpu(struct kmt_marker *m, unsigned long word)
{
	unsigned long next = word;

	if (refer_slowly(m, KMT_PERCPU, word, &next) != KMT_EXCESS &&
	    kmt_in(&m->virt, word) && !kmt_in(&m->core->skip, word))
		pass_on(m, KMT_EXCESS, word, KMT_ALIAS_HOPS);
}

/* A word in the range of blocks. */
static __always_inline void follow(struct kmt_marker *m, unsigned long word)
{
	enum kmt_outcome outcome;
	unsigned long next = word;

	if (unlikely(kmt_in_pair(&m->percpu, word))) {
		follow_percpu(m, word);
		return;
	}
	outcome = refer(m, KMT_VIRT, word, &next);
	if (outcome == KMT_USELESS && kmt_is_plain(m))
		m->seen_cache[kmt_seen_slot(word)] = word;
	if (unlikely(outcome == KMT_EXCESS))
		pass_on(m, outcome, next, KMT_ALIAS_HOPS - 1);
}

/**
 * kmt_mark_hit - follow a word that may be a reference
 * @m: marker
 * @word: untagged, in one of the ranges that have blocks, or suspects
 *
 * Context: no lock held.
 */
void kmt_mark_hit(struct kmt_marker *m, unsigned long word)
{
	if (!kmt_in_pair(&m->percpu, word) &&
	    (!kmt_in(&m->virt, word) || kmt_in(&m->core->skip, word)))
		return;
	if (!kmt_in_seen_cache(m, word))
		follow(m, word);
}

/**
 * kmt_mark_follow - follow the references on the mark stack
 * @m: marker
 *
 * All of them, and those they lead to, unless the mark is given up. Blocks that
 * are not read at once wait.
 *
 * Context: no lock held.
 */
void kmt_mark_follow(struct kmt_marker *m)
{
	if (kmt_is_plain(m))
		kmt_mark_drain_fast(m);
	while (m->depth) {
		unsigned long word;

		kmt_team_share(m);
		word = m->stack[--m->depth].addr;
		if (!kmt_in_seen_cache(m, word) && !kmt_mark_relax(m))
			follow(m, word);
	}
}
