// SPDX-License-Identifier: GPL-2.0
/*
 * Looking for references to a few suspects among many words.
 *
 * Nearly every word is rejected by one comparison with the suspects' hull, the
 * rest by a bit for the page it points to. What gets through is looked up.
 */
#include "mark.h"

#define KMT_BITS_PER_LONG	(8 * sizeof(long))

/**
 * kmt_filter_reset - let nothing pass
 * @f: filter
 */
void kmt_filter_reset(struct kmt_filter *f)
{
	f->hull = (struct kmt_range){};
	if (f->bits)
		memset(f->bits, 0, (f->mask + 1) / 8);
}

/**
 * kmt_filter_add - let references to a block pass
 * @f: filter
 * @addr: first byte of the block
 * @size: its bytes, not 0
 */
void kmt_filter_add(struct kmt_filter *f, unsigned long addr,
		    unsigned long size)
{
	unsigned long page = addr / PAGE_SIZE;
	unsigned long last = (addr + size - 1) / PAGE_SIZE;

	if (!f->hull.hi)
		f->hull.lo = addr;
	f->hull.lo = min(f->hull.lo, addr);
	f->hull.hi = max(f->hull.hi, addr + size);
	if (!f->bits)
		return;
	/* Beyond one round all bits are set. */
	last = min(last, page + f->mask);
	for (; page <= last; page++) {
		unsigned long bit = page & f->mask;

		f->bits[bit / KMT_BITS_PER_LONG] |=
			1UL << bit % KMT_BITS_PER_LONG;
	}
}

static noinline void in_hull(struct kmt_marker *m, unsigned long word)
{
	const struct kmt_filter *f = m->filter;
	unsigned long bit = word / PAGE_SIZE & f->mask;

	if (f->bits && !(f->bits[bit / KMT_BITS_PER_LONG] >>
			 bit % KMT_BITS_PER_LONG & 1))
		return;
	kmt_mark_hit(m, word);
}

/**
 * kmt_sift - follow what may be a reference to a suspect
 * @m: marker with a filter
 * @words: what was read; not changed meanwhile
 * @nr: how many words
 *
 * Context: no lock held.
 */
void kmt_sift(struct kmt_marker *m, const unsigned long *words,
	      unsigned int nr)
{
	const unsigned long lo = m->filter->hull.lo;
	const unsigned long span = m->filter->hull.hi - lo;
	const unsigned long *end = words + nr;

	/* This is most of what a pause is spent on: four words at a time. */
	for (; end - words >= 4; words += 4) {
		unsigned long a = words[0], b = words[1];
		unsigned long c = words[2], d = words[3];

		if (unlikely(a - lo < span))
			in_hull(m, a);
		if (unlikely(b - lo < span))
			in_hull(m, b);
		if (unlikely(c - lo < span))
			in_hull(m, c);
		if (unlikely(d - lo < span))
			in_hull(m, d);
	}
	for (; words < end; words++)
		if (unlikely(*words - lo < span))
			in_hull(m, *words);
}

/* The word at @shift bits behind the beginning of @a, of which @b is next. */
static unsigned long straddle(unsigned long a, unsigned long b,
			      unsigned int shift)
{
#ifdef __BIG_ENDIAN
	return a << shift | b >> (KMT_BITS_PER_LONG - shift);
#else
	return a >> shift | b << (KMT_BITS_PER_LONG - shift);
#endif
}

/**
 * kmt_sift_bytes - the same for references that are not aligned
 * @m: marker with a filter
 * @words: what was read; not changed meanwhile
 * @nr: how many words, not 0
 * @at: address of the first one
 *
 * References that are aligned are none here.
 *
 * Context: no lock held.
 */
void kmt_sift_bytes(struct kmt_marker *m, const unsigned long *words,
		    unsigned int nr, unsigned long at)
{
	const unsigned long lo = m->filter->hull.lo;
	const unsigned long span = m->filter->hull.hi - lo;
	unsigned int i = m->seam_end == at ? 0 : 1, shift;
	unsigned long a = i ? words[0] : m->seam;

	for (; i < nr; i++) {
		unsigned long b = words[i];

		for (shift = 8; shift < KMT_BITS_PER_LONG; shift += 8) {
			unsigned long word = straddle(a, b, shift);

			if (unlikely(word - lo < span))
				in_hull(m, word);
		}
		a = b;
	}
	m->seam = a;
	m->seam_end = at + nr * sizeof(long);
}
