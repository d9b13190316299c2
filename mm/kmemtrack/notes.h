/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Noting references: a piece of memory is read, and what may be references in
 * it goes to the mark stack, to be followed later.
 */
#ifndef _KMT_NOTES_H
#define _KMT_NOTES_H

#include "mark.h"

/**
 * struct kmt_notes - what is done with the words of a piece
 * @m: marker; all that is asked of it here stays the same meanwhile
 * @seen_cache: its table
 * @self: first byte of the block that is read
 * @bytes: its size; 0 if it is none
 * @lo: addresses that may have blocks
 * @span: bytes of them
 * @skip_lo: of those, addresses in the image
 * @skip_span: bytes of them
 * @least: if @apart, words below this power of two are no references
 * @apart: per-CPU pointers are none of those, or not all of them are negative
 * @top: where in the mark stack the next reference goes
 */
struct kmt_notes {
	struct kmt_marker *m;
	unsigned long *seen_cache;
	unsigned long self;
	unsigned long bytes;
	unsigned long lo;
	unsigned long span;
	unsigned long skip_lo;
	unsigned long skip_span;
	unsigned long least;
	bool apart;
	struct kmt_mark_entry *top;
};

/* What kmt_notes_begin() is to be told. */
static __always_inline bool kmt_notes_apart(const struct kmt_marker *m)
{
	return m->percpu_outside || (long)m->virt.lo >= 0;
}

/* @m is one of those that kmt_is_plain() is true of. */
static __always_inline void kmt_notes_begin(struct kmt_notes *n,
					    struct kmt_marker *m, bool apart)
{
	n->m = m;
	n->seen_cache = m->seen_cache;
	n->self = 0;
	n->bytes = 0;
	n->lo = m->virt.lo;
	n->span = m->virt.hi - m->virt.lo;
	n->skip_lo = m->core->skip.lo;
	n->skip_span = m->core->skip.hi - m->core->skip.lo;
	n->least = m->least;
	n->apart = apart;
	n->top = m->stack + m->depth;
}

static __always_inline bool kmt_has_blocks(const struct kmt_notes *n,
					   unsigned long word)
{
	return word - n->lo < n->span ||
	       (n->apart && kmt_in_pair(&n->m->percpu, word));
}

/* Of @word, or of each of those that it is all bits of: it is no reference. */
static __always_inline bool kmt_is_small(const struct kmt_notes *n,
					 unsigned long word)
{
	return n->apart ? word < n->least : (long)word >= 0;
}

/*
 * Puts @word, untagged, on the mark stack if it may be a reference to another block. What
 * is a reference was most often seen before, so that is asked for first.
 */
static __always_inline void kmt_note_word(struct kmt_notes *n,
					  unsigned long word)
{
	if (kmt_is_small(n, word) || (n->apart && !kmt_has_blocks(n, word)))
		return;
	if (word - n->self < n->bytes ||
	    n->seen_cache[kmt_seen_slot(word)] == word)
		return;
	if (!n->apart && !kmt_has_blocks(n, word))
		return;
	/* Per-CPU pointers look like addresses in the image. */
	if (word - n->skip_lo < n->skip_span && !kmt_in_pair(&n->m->percpu, word))
		return;
	/*
	 * Its block is read soon, most often. Where blocks refer to each other
	 * in no order a scan of 200,000 takes 80 ms, without this 150.
	 */
	prefetch((const void *)word);
	*n->top++ = (struct kmt_mark_entry){ NULL, word };
}

/*
 * The words of [@pos, @end); false if they cannot be read. Most are small
 * numbers: four of them are passed over with one look at their bits.
 */
static __always_inline bool kmt_note_words(struct kmt_notes *n,
					   unsigned long pos, unsigned long end)
{
	const unsigned long fours = end - 4 * sizeof(long);
	unsigned long a, b, c, d;
	unsigned int bad = 0;

	while (pos <= fours) {
		kmt_env_four(pos, &a, &b, &c, &d, &bad);
		pos += 4 * sizeof(long);
		a = kmt_untag(a);
		b = kmt_untag(b);
		c = kmt_untag(c);
		d = kmt_untag(d);
		if (likely(kmt_is_small(n, a | b | c | d)))
			continue;
		kmt_note_word(n, a);
		kmt_note_word(n, b);
		kmt_note_word(n, c);
		kmt_note_word(n, d);
	}
	for (; pos < end; pos += sizeof(long)) {
		kmt_env_one(pos, &a, &bad);
		kmt_note_word(n, kmt_untag(a));
	}
	return !bad;
}

#endif /* _KMT_NOTES_H */
