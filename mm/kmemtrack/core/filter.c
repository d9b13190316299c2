// SPDX-License-Identifier: GPL-2.0
/*
 * Searching many words for references to a few suspects.
 *
 * A word goes through three tests, the cheapest first: a byte for the page that
 * it points to (kmt_filter.pages), the hull of all suspects, and a bit for the
 * 64 bytes or the page that it points to (kmt_filter.bits). The few words that
 * pass are looked up in the index.
 */
#include "mark.h"

/*
 * Bytes per bit of the filter. A block larger than a page has a bit per page instead, so
 * that it does not fill the filter.
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

/* Addresses of linear map and vmalloc space differ in high bits only. */
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

		if (unlikely(nr % KMT_BUDGET == KMT_BUDGET - 1))
			kmt_env_cond_resched(GFP_KERNEL);
		f->bits[bit / BITS_PER_LONG] |=
			1UL << bit % BITS_PER_LONG;
	}
}

static void set_pages(struct kmt_filter *f, unsigned long first,
		      unsigned long last)
{
	/* After KMT_FILTER_PAGES pages all bytes are set. */
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
 * @f->odd_hull is for KMT_VIRT only: per-CPU pointers are small numbers or far from all
 * other addresses, and with a hull of both nearly each unaligned word would pass.
 *
 * Context: no lock held, may sleep; for a large block it sets many bits.
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

	return f->bits[bit / BITS_PER_LONG] >> bit % BITS_PER_LONG & 1;
}

static bool filter_matches(const struct kmt_filter *f, unsigned long word)
{
	return kmt_in(&f->hull, word) &&
	       (!f->bits || has_bit(f, word / KMT_GRAIN) ||
		has_bit(f, word / PAGE_SIZE));
}

/**
 * kmt_search_word - follow a word if it may refer to a suspect
 * @m: marker with a filter; with KMT_MODE_SUM it only notes that there is such a word
 * @word: word, with its tag if it has one
 *
 * Context: no lock held, or the lock of a tree with KMT_MODE_SUM.
 */
void kmt_search_word(struct kmt_marker *m, unsigned long word)
{
	word = kmt_untag(word);
	if (!filter_matches(m->filter, word))
		return;
	if (m->mode == KMT_MODE_SUM)
		m->sum.found = true;
	else
		kmt_follow_word(m, word);
}

/* Whether one of four words may refer to a suspect; filter_page() ignores tags. */
static __always_inline unsigned int any_of_4(const u8 *pages,
					     const unsigned long *words)
{
	unsigned long a = words[0], b = words[1], c = words[2], d = words[3];

	return pages[filter_page(a)] | pages[filter_page(b)] |
	       pages[filter_page(c)] | pages[filter_page(d)];
}

/*
 * Used if the filter has no bytes for pages, or if the byte of page 0 is set: most words
 * are 0 or small numbers, which would all pass then.
 */
static const unsigned long *next_in_hull(const struct kmt_range *hull,
					 const unsigned long *words,
					 const unsigned long *end)
{
	while (words < end && likely(!kmt_in(hull, kmt_untag(*words))))
		words++;
	return words;
}

/**
 * kmt_search_next - find a word that may refer to a suspect
 * @f: filter
 * @words: words that do not change meanwhile
 * @end: one past the last of them
 *
 * Much of a snapshot's time is spent here, so this checks eight words at a time.
 *
 * Return: the first such word, or @end.
 */
const unsigned long *kmt_search_next(const struct kmt_filter *f,
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
 * kmt_sum_words - sum up words
 * @words: words
 * @nr: how many
 * @sum: sum of the words before, or KMT_SUM_BEGIN
 *
 * Most of a snapshot's time is spent here.
 *
 * Return: the sum; kmt_sum_end() makes a checksum of it.
 */
u64 kmt_sum_words(const unsigned long *words, unsigned int nr, u64 sum)
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

/* A word with @b in each byte. */
#define KMT_BYTES(b)	(~0UL / 0xff * (b))

/*
 * Returns a word in which the top bit of each byte is set where @word equals @bytes, and
 * perhaps of bytes above an equal one.
 */
static __always_inline unsigned long same_bytes(unsigned long word,
						unsigned long bytes)
{
	word ^= bytes;
	return (word - KMT_BYTES(0x01)) & ~word & KMT_BYTES(0x80);
}

/* Byte @nr of the addresses in @hull, repeated, if it is the same in all; else 0. */
static unsigned long byte_of_all(const struct kmt_range *hull, unsigned int nr)
{
	if ((hull->lo ^ (hull->hi - 1)) >> nr * 8)
		return 0;
	return KMT_BYTES(hull->lo >> nr * 8 & 0xff);
}

/*
 * Whether a word across @a and @b may begin with the two top bytes of all addresses,
 * @top and @next, each 0 if the addresses differ in it. Few words contain @top, and
 * hardly any unaligned one contains both. With tags, a tag is in the place of @top.
 */
static __always_inline bool may_begin(unsigned long a, unsigned long b,
				      unsigned long top, unsigned long next)
{
#ifdef __BIG_ENDIAN
	const unsigned long upper = a, lower = b;
#else
	const unsigned long upper = b, lower = a;
#endif
	unsigned long first, second;

	if (KMT_TAGS)
		return !next || (same_bytes(a, next) | same_bytes(b, next));
	/* The top byte of @upper is not the top byte of an unaligned word. */
	first = same_bytes(upper, top) & ~0UL >> 8;
	if (likely(!first))
		return !top;
	/* Align each match of @next with @top; @lower follows the last byte of @upper. */
	second = same_bytes(upper, next) << 8;
	second |= same_bytes(lower, next) >> (BITS_PER_LONG - 8);
	return !next || !top || first & second;
}

/* Whether a block begins at @addr. */
static bool is_start(struct kmt_core *core, unsigned long addr)
{
	struct kmt_object o;

	return kmt_lookup(core, KMT_VIRT, addr, &o) && o.addr == addr;
}

/**
 * kmt_odd_in_address - is most of an unaligned word the lower part of an address?
 * @core: tracker
 * @a: aligned word
 * @b: the one behind it
 * @shift: where the unaligned word begins, in bits behind the beginning of @a
 *
 * A pointer to a place whose address has the same two upper bytes, such as 0xc1c1abcd,
 * looks like 0xc1abcd00 if a small number is beside it, and like 0xc1abcdc0 beside a
 * pointer into the kernel image: like the address of a block of 64 to 2,048 bytes. A
 * reference in a packed structure seldom has such a neighbour: the byte behind it, or
 * before it on a big-endian machine, would have to make an address of it.
 *
 * Context: no lock held.
 * Return: whether an aligned word that is the address of a block or of the kernel has
 * all bytes of the unaligned one but the lowest; false on 64-bit machines.
 */
bool kmt_odd_in_address(struct kmt_core *core, unsigned long a, unsigned long b,
			unsigned int shift)
{
#ifdef __BIG_ENDIAN
	const unsigned long upper = kmt_untag(a);
	const unsigned int bits = BITS_PER_LONG - shift;
#else
	const unsigned long upper = kmt_untag(b);
	const unsigned int bits = shift;
#endif
	struct kmt_object o;

	if (BITS_PER_LONG == 64 || bits != BITS_PER_LONG - 8)
		return false;
	return kmt_in(&core->skip, upper) ||
	       kmt_lookup(core, KMT_VIRT, upper, &o) ||
	       kmt_lookup(core, KMT_ROOT, upper, &o);
}

/*
 * Tries the unaligned words across @a and @b. References in packed structures point to
 * blocks and to structures in them. Bytes of adjacent numbers may look like any address,
 * most often one that ends in 0xff: they are of -1, or the upper bytes of a pointer.
 */
static noinline void try_unaligned(struct kmt_marker *m, unsigned long a,
				   unsigned long b)
{
	const struct kmt_range hull = m->filter->odd_hull;
	unsigned int shift;

	for (shift = 8; shift < BITS_PER_LONG; shift += 8) {
		unsigned long word = kmt_untag(kmt_unaligned_word(a, b, shift));

		if (likely(!kmt_in(&hull, word)) || !kmt_odd_may_refer(word))
			continue;
		/* While summing up, the lock of a tree may be held: no is_start(). */
		if (m->mode == KMT_MODE_SUM || !kmt_odd_needs_start(word, shift) ||
		    (filter_matches(m->filter, word) && is_start(m->core, word) &&
		     !kmt_odd_in_address(m->core, a, b, shift)))
			kmt_search_word(m, word);
	}
}

/**
 * kmt_search_bytes - follow unaligned words that may refer to a suspect
 * @m: marker with a filter
 * @words: words that do not change meanwhile
 * @nr: how many words, not 0
 * @at: address of the first one; 0 if no piece before it is adjacent
 *
 * This ignores aligned references. For small values see KMT_ODD_MIN.
 *
 * Context: no lock held, or the lock of a tree with KMT_MODE_SUM.
 */
void kmt_search_bytes(struct kmt_marker *m, const unsigned long *words,
		      unsigned int nr, unsigned long at)
{
	const struct kmt_range *hull = &m->filter->odd_hull;
	const unsigned long top = byte_of_all(hull, sizeof(long) - 1);
	const unsigned long next = byte_of_all(hull, sizeof(long) - 2);
	unsigned int i = m->seam.end == at ? 0 : 1;
	unsigned long a = i ? words[0] : m->seam.word;

	if (!hull->hi) {
		/* Invalidate the seam: the next call must not use an older one. */
		m->seam.end = KMT_NO_SEAM;
		return;
	}
	for (; i < nr; i++) {
		unsigned long b = words[i];

		if (unlikely(may_begin(a, b, top, next)))
			try_unaligned(m, a, b);
		a = b;
	}
	m->seam.word = a;
	m->seam.end = at + nr * sizeof(long);
}
