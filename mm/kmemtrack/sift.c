// SPDX-License-Identifier: GPL-2.0
/*
 * Looking for references to a few suspects among many words.
 *
 * Nearly every word is rejected by a byte for the page it points to. What gets
 * through is compared with the suspects' hull, and passes if there is a bit for
 * the place it points to; then it is looked up.
 */
#include "mark.h"

#define KMT_BITS_PER_LONG	(8 * sizeof(long))

/*
 * A block has bits for its grains; a larger one for its pages, so that it does
 * not fill the filter.
 */
#define KMT_GRAIN		64

/**
 * kmt_filter_reset - let nothing pass
 * @f: filter
 */
void kmt_filter_reset(struct kmt_filter *f)
{
	f->hull = (struct kmt_range){};
	f->odd_hull = (struct kmt_range){};
	if (f->bits)
		memset(f->bits, 0, (f->mask + 1) / 8);
	if (f->pages)
		memset(f->pages, 0, KMT_FILTER_PAGES);
}

/* Linear map and vmalloc space differ in high bits only. */
static unsigned long hash_place(const struct kmt_filter *f, unsigned long place)
{
	return (u64)place * 0x9e3779b97f4a7c15ULL >> 32 & f->mask;
}

static unsigned long filter_page(unsigned long addr)
{
	return addr / PAGE_SIZE % KMT_FILTER_PAGES;
}

/* Sets the bits of the places from @first to @last. */
static void set_bits(struct kmt_filter *f, unsigned long first,
		     unsigned long last)
{
	unsigned long nr = last - first + 1;

	if (nr > f->mask) {
		memset(f->bits, 0xff, (f->mask + 1) / 8);
		return;
	}
	for (; nr--; first++) {
		unsigned long bit = hash_place(f, first);

		f->bits[bit / KMT_BITS_PER_LONG] |=
			1UL << bit % KMT_BITS_PER_LONG;
	}
}

static void set_pages(struct kmt_filter *f, unsigned long first,
		      unsigned long last)
{
	/* Beyond one round all of them are set. */
	last = min(last, first + KMT_FILTER_PAGES - 1);
	for (; first <= last; first++)
		f->pages[first % KMT_FILTER_PAGES] = 1;
}

/**
 * kmt_filter_add - let references to a block pass
 * @f: filter
 * @space: its address space
 * @addr: first byte of the block
 * @size: its bytes, not 0
 *
 * Per-CPU pointers are far from all other addresses, or small numbers: one hull
 * of both would have nearly each word tried that is not aligned.
 */
void kmt_filter_add(struct kmt_filter *f, enum kmt_space space,
		    unsigned long addr, unsigned long size)
{
	unsigned long grain = size > PAGE_SIZE ? PAGE_SIZE : KMT_GRAIN;
	unsigned long last = addr + size - 1;

	kmt_widen(&f->hull, addr, size);
	if (f->odd && space == KMT_VIRT && addr >= KMT_NUMBERS_END)
		kmt_widen(&f->odd_hull, addr, size);
	if (f->bits)
		set_bits(f, addr / grain, last / grain);
	if (f->pages)
		set_pages(f, addr / PAGE_SIZE, last / PAGE_SIZE);
}

static bool has_bit(const struct kmt_filter *f, unsigned long place)
{
	unsigned long bit = hash_place(f, place);

	return f->bits[bit / KMT_BITS_PER_LONG] >> bit % KMT_BITS_PER_LONG & 1;
}

static bool passes(const struct kmt_filter *f, unsigned long word)
{
	return kmt_in(&f->hull, word) &&
	       (!f->bits || has_bit(f, word / KMT_GRAIN) ||
		has_bit(f, word / PAGE_SIZE));
}

/**
 * kmt_sift_try - follow a word if it may refer to a suspect
 * @m: marker with a filter
 * @word: word, with its tag if it has one
 *
 * Context: no lock held.
 */
void kmt_sift_try(struct kmt_marker *m, unsigned long word)
{
	word = kmt_untag(word);
	if (!passes(m->filter, word))
		return;
	if (m->summing)
		m->found = true;
	else
		kmt_mark_hit(m, word);
}

/* Whether one of four words may refer to a suspect; no tag is looked at. */
static __always_inline unsigned int any_of_4(const u8 *pages,
					     const unsigned long *words)
{
	unsigned long a = words[0], b = words[1], c = words[2], d = words[3];

	return pages[filter_page(a)] | pages[filter_page(b)] |
	       pages[filter_page(c)] | pages[filter_page(d)];
}

/* Without the bytes, or if zero, which most words are, is a suspect's. */
static const unsigned long *next_in_hull(const struct kmt_range *hull,
					 const unsigned long *words,
					 const unsigned long *end)
{
	while (words < end && likely(!kmt_in(hull, kmt_untag(*words))))
		words++;
	return words;
}

/**
 * kmt_sift_next - find a word that may refer to a suspect
 * @f: filter
 * @words: what was read; not changed meanwhile
 * @end: one past the last of them
 *
 * This is most of what a pause is spent on: eight words at a time.
 *
 * Return: the first such word, or @end.
 */
const unsigned long *kmt_sift_next(const struct kmt_filter *f,
				   const unsigned long *words,
				   const unsigned long *end)
{
	const unsigned long *eights = words + ((end - words) & ~7UL);
	const u8 *pages = f->pages;

	if (unlikely(!pages || pages[0]))
		return next_in_hull(&f->hull, words, end);
	for (; words != eights; words += 8)
		if (unlikely(any_of_4(pages, words) |
			     any_of_4(pages, words + 4)))
			break;
	while (words != end && likely(!pages[filter_page(*words)]))
		words++;
	return words;
}

#define KMT_SUM_FACTOR		0x9e3779b97f4a7c15ULL

/**
 * kmt_sum - sum up words
 * @words: words
 * @nr: how many
 * @sum: of what was before them, 0 to begin with
 *
 * Most of a pause is spent here.
 *
 * Return: the sum, of which kmt_sum_end() makes a checksum.
 */
u64 kmt_sum(const unsigned long *words, unsigned int nr, u64 sum)
{
	for (; nr >= 4; words += 4, nr -= 4) {
		sum = sum * KMT_SUM_FACTOR + words[0];
		sum = sum * KMT_SUM_FACTOR + words[1];
		sum = sum * KMT_SUM_FACTOR + words[2];
		sum = sum * KMT_SUM_FACTOR + words[3];
	}
	while (nr--)
		sum = sum * KMT_SUM_FACTOR + *words++;
	return sum;
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

/* A byte in each byte of a word. */
#define KMT_BYTES(b)	(~0UL / 0xff * (b))

/* The bytes of @word that are what @bytes repeats, a bit each; or a few more. */
static __always_inline unsigned long same_bytes(unsigned long word,
						unsigned long bytes)
{
	word ^= bytes;
	return (word - KMT_BYTES(0x01)) & ~word & KMT_BYTES(0x80);
}

/* What all addresses in @hull have in their byte @nr, repeated; 0 if nothing. */
static unsigned long byte_of_all(const struct kmt_range *hull, unsigned int nr)
{
	if ((hull->lo ^ (hull->hi - 1)) >> nr * 8)
		return 0;
	return KMT_BYTES(hull->lo >> nr * 8 & 0xff);
}

/*
 * Whether a word across @a and @b begins as all addresses do: with @top, then
 * @next; 0 if they do not all. Few words have the one, and but for those that
 * are aligned hardly any has both. A tag stands in the place of @top.
 */
static __always_inline bool may_begin(unsigned long a, unsigned long b,
				      unsigned long top, unsigned long next)
{
	if (KMT_TAGS)
		return !next || (same_bytes(a, next) | same_bytes(b, next));
#ifdef __BIG_ENDIAN
	return !top || same_bytes(a, top) & ~0UL << 8;
#else
	unsigned long first = same_bytes(b, top) & ~0UL >> 8, second;

	if (likely(!first))
		return !top;
	/* The byte before each one; before that of @b is the last one of @a. */
	second = same_bytes(b, next) << 8;
	second |= same_bytes(a, next) >> (KMT_BITS_PER_LONG - 8);
	return !next || !top || first & second;
#endif
}

/* Whether a block begins at @addr. */
static bool is_start(struct kmt_core *core, unsigned long addr)
{
	struct kmt_object o;

	return kmt_lookup(core, KMT_VIRT, addr, &o) && o.addr == addr;
}

/*
 * Packed structures refer to blocks and to structures in them. Bytes of numbers
 * that happen to lie beside each other refer to anything, most often to what
 * ends in 0xff: they are -1, or the upper bytes of a pointer.
 */
static noinline void try_straddled(struct kmt_marker *m, unsigned long a,
				   unsigned long b)
{
	const struct kmt_range hull = m->filter->odd_hull;
	unsigned int shift;

	for (shift = 8; shift < KMT_BITS_PER_LONG; shift += 8) {
		unsigned long word = kmt_untag(straddle(a, b, shift));

		if (likely(!kmt_in(&hull, word)) || word % KMT_ODD_ALIGN ||
		    (!KMT_ODD_PAGES && !(word % PAGE_SIZE)))
			continue;
		/* While words are summed up the lock of a tree may be held. */
		if (word >= KMT_ODD_MIN || m->summing ||
		    (KMT_ODD_HALVES && shift == KMT_BITS_PER_LONG / 2) ||
		    (passes(m->filter, word) && is_start(m->core, word)))
			kmt_sift_try(m, word);
	}
}

/**
 * kmt_sift_bytes - the same for references that are not aligned
 * @m: marker with a filter
 * @words: what was read; not changed meanwhile
 * @nr: how many words, not 0
 * @at: address of the first one
 *
 * References that are aligned are none here; what is small is looked at in
 * fewer places, see KMT_ODD_MIN.
 *
 * Context: no lock held, unless the marker is summing.
 */
void kmt_sift_bytes(struct kmt_marker *m, const unsigned long *words,
		    unsigned int nr, unsigned long at)
{
	const struct kmt_range *hull = &m->filter->odd_hull;
	const unsigned long top = byte_of_all(hull, sizeof(long) - 1);
	const unsigned long next = byte_of_all(hull, sizeof(long) - 2);
	unsigned int i = m->seam_end == at ? 0 : 1;
	unsigned long a = i ? words[0] : m->seam;

	if (!hull->hi)
		return;
	for (; i < nr; i++) {
		unsigned long b = words[i];

		if (unlikely(may_begin(a, b, top, next)))
			try_straddled(m, a, b);
		a = b;
	}
	m->seam = a;
	m->seam_end = at + nr * sizeof(long);
}
