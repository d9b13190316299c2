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
 * kmt_sift_try - follow a word if it may refer to a suspect
 * @m: marker with a filter
 * @word: word, with its tag if it has one
 *
 * Context: no lock held.
 */
void kmt_sift_try(struct kmt_marker *m, unsigned long word)
{
	word = kmt_untag(word);
	if (!filter_matches(m->filter, word))
		return;
	if (m->mode == KMT_MODE_SUM)
		m->sum.found = true;
	else
		kmt_mark_hit(m, word);
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
 * kmt_sift_next - find a word that may refer to a suspect
 * @f: filter
 * @words: words that do not change meanwhile
 * @end: one past the last of them
 *
 * Much of a snapshot's time is spent here, so this checks eight words at a time.
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
 * @sum: sum of the words before, or KMT_SUM_BEGIN
 *
 * Most of a snapshot's time is spent here.
 *
 * Return: the sum; kmt_sum_end() makes a checksum of it.
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

	if (KMT_ODD_INSIDE || bits != BITS_PER_LONG - 8)
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
			kmt_sift_try(m, word);
	}
}

/**
 * kmt_sift_bytes - follow unaligned words that may refer to a suspect
 * @m: marker with a filter
 * @words: words that do not change meanwhile
 * @nr: how many words, not 0
 * @at: address of the first one; 0 if no piece before it is adjacent
 *
 * This ignores aligned references. For small values see KMT_ODD_MIN.
 *
 * Context: no lock held, or the lock of a tree with KMT_MODE_SUM.
 */
void kmt_sift_bytes(struct kmt_marker *m, const unsigned long *words,
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

/*
 * Search and recheck: are the suspects of a mark referenced after all?
 *
 * While all CPUs are stopped, all roots and all reached blocks are read once more, for
 * references to suspects only. References are counted again, from zero; a suspect that
 * has enough of them is read, too. No path leads to a suspect that is left, now or
 * later.
 *
 *	kmt_accuse();			with all CPUs running
 *	kmt_mark_block() ...		roots
 *	kmt_search();
 *	(again from kmt_accuse() on while that acquits suspects)
 *	kmt_accuse();
 *	kmt_take_turns();		in each of the markers, all CPUs stopped:
 *	kmt_mark_block() ...
 *	kmt_recheck();
 *	kmt_recheck_rest();		in the last marker
 *	kmt_update_suspects();			with all CPUs running again
 *	kmt_mark_block() ...		roots, for references that are not aligned
 *	kmt_recheck_bytes();
 *
 * All these calls are between kmt_mark_sweep() and kmt_mark_end(): blocks that are
 * allocated meanwhile count as reached, and are read.
 *
 * A suspect whose reference moved during the mark is acquitted by a search, which
 * stops no CPU. The recheck has to handle only suspects that no search acquitted.
 *
 * Searching a block for references, at every address, takes longer than checking
 * whether it has changed. So kmt_search() sums up blocks that have no reference to a
 * suspect, and kmt_recheck() skips blocks whose sum is still the same.
 */

/* Makes @o a suspect, with no references counted yet. */
static void accuse(struct kmt_core *core, struct kmt_object *o,
		   struct kmt_filter *f)
{
	o->epoch = core->epoch;
	o->count = 0;
	o->crc = 0;
	kmt_change_flags(o, KMT_SUSPECT, KMT_SCANNED);
	kmt_filter_add(f, kmt_space(o), o->addr, o->size);
}

/* Counts @o as reached, like a block that was allocated during this mark. */
static void count_as_reached(struct kmt_core *core, struct kmt_object *o)
{
	o->epoch = core->epoch;
	o->count = KMT_COUNT_MAX;
	kmt_change_flags(o, 0, KMT_TRANSIENT | KMT_SUSPECT | KMT_SCANNED);
}

/*
 * Whether @o, which is white, was filled in by its CPU before the mark began, but became
 * visible in its tree only after the first kmt_accuse(). The search did not look for
 * references to it, and blocks with such references may have a checksum, so that they
 * would not be read again.
 */
static bool came_after_search(const struct kmt_marker *m,
			      const struct kmt_object *o)
{
	return m->searched && !(o->flags & (KMT_SUSPECT | KMT_LEAK));
}

static void accuse_white(struct kmt_marker *m, struct kmt_object *o,
			 struct kmt_filter *f, struct kmt_verdict *v)
{
	struct kmt_tree *tree;
	unsigned long flags;

	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return;
	if (kmt_reached(o, m->core->epoch)) {
		/* Referenced or allocated meanwhile. */
	} else if ((o->flags & KMT_TRANSIENT) || came_after_search(m, o)) {
		/* Spare it this once, with all blocks that it leads to. */
		count_as_reached(m->core, o);
	} else {
		accuse(m->core, o, f);
		v->accused++;
		v->suspects += !(o->flags & KMT_LEAK);
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

/* Whether excess references to the block at @holder count for a suspect. */
static bool stands_for_suspect(struct kmt_core *core, unsigned long holder)
{
	int hops = KMT_ALIAS_HOPS;
	struct kmt_object target;
	unsigned long addr;

	while (hops-- && kmt_get_alias(core, holder, &addr) &&
	       kmt_lookup(core, KMT_VIRT, addr, &target)) {
		if (target.flags & KMT_SUSPECT)
			return true;
		holder = target.addr;
	}
	return false;
}

static bool seems_holder(const struct kmt_object *o)
{
	/* filter_add_holder() checks again under the lock. */
	return (data_race(o->flags) &
		(KMT_LIVE | KMT_ALIAS | KMT_AUX | KMT_SUSPECT)) ==
	       (KMT_LIVE | KMT_ALIAS);
}

static void filter_add_holder(struct kmt_core *core, struct kmt_object *o,
			      struct kmt_filter *f, bool anew)
{
	struct kmt_tree *tree;
	unsigned long flags;

	if (!stands_for_suspect(core, READ_ONCE(o->addr)))
		return;
	tree = kmt_lock_object(core, o, &flags);
	if (!tree)
		return;
	/*
	 * A block that needs no references, or was spared or allocated in this mark,
	 * passes on all references: do not count them anew.
	 */
	if (anew && kmt_needs_refs(o) && o->count != KMT_COUNT_MAX)
		accuse(core, o, f);
	else
		kmt_filter_add(f, kmt_space(o), o->addr, o->size);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

/*
 * Lets references pass to blocks with an alias whose excess references count for
 * suspects. With
 * @anew, all references to the holders are counted again, from zero, to determine how
 * many are in excess.
 */
static void filter_add_holders(struct kmt_marker *m, struct kmt_filter *f, bool anew)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_walk_cells(m, chunk, o)
		if (seems_holder(o) && kmt_go_on(m))
			filter_add_holder(m->core, o, f, anew);
}

/**
 * kmt_accuse - make suspects of the blocks that the mark did not reach
 * @m: marker, after kmt_mark_sweep()
 * @f: set to let references to suspects pass
 * @v: set to the number of suspects, and of those that are not reported yet
 *
 * Context: no lock held.
 */
void kmt_accuse(struct kmt_marker *m, struct kmt_filter *f,
		struct kmt_verdict *v)
{
	memset(v, 0, sizeof(*v));
	kmt_filter_reset(f);
	if (!READ_ONCE(m->core->maybe_white))
		return;
	kmt_acquit_reached(m, f, v, accuse_white);
	if (v->suspects)
		filter_add_holders(m, f, true);
}

/* Lets references to @o pass if it still is a suspect. */
static void keep_suspect(struct kmt_marker *m, struct kmt_object *o,
			 struct kmt_filter *f, struct kmt_verdict *v)
{
	struct kmt_tree *tree;
	unsigned long flags;

	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return;
	if (!kmt_reached(o, m->core->epoch) &&
	    (o->flags & (KMT_SUSPECT | KMT_LEAK)) == KMT_SUSPECT) {
		kmt_filter_add(f, kmt_space(o), o->addr, o->size);
		v->suspects++;
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

/**
 * kmt_update_suspects - acquit suspects that were referenced, and count the others
 * @m: marker
 * @f: set to let references to suspects pass that are not reported yet
 * @v: set to the number of these suspects
 *
 * Context: no lock held.
 */
void kmt_update_suspects(struct kmt_marker *m, struct kmt_filter *f,
		  struct kmt_verdict *v)
{
	v->suspects = 0;
	kmt_filter_reset(f);
	kmt_acquit_reached(m, f, v, keep_suspect);
	/* Keep the references that were counted so far. */
	if (v->suspects)
		filter_add_holders(m, f, false);
}

/* Whether @o is to be read again: live, reached, and able to hold references. */
static bool to_be_reread(const struct kmt_object *o)
{
	/* The caller checks again under the lock before it reads the block. */
	return data_race((o->flags & (KMT_LIVE | KMT_SUSPECT)) == KMT_LIVE &&
			 kmt_is_read(o));
}

/* Sums up the words in the buffer, copied from address @at. */
static void sum_piece(struct kmt_marker *m, unsigned int nr, unsigned long at)
{
	m->stats.words += nr;
	m->sum.value = kmt_sum(m->buf, nr, m->sum.value);
	kmt_sift(m, m->buf, nr);
	kmt_sift_bytes(m, m->buf, nr, at);
}

static void sum_words(struct kmt_reader *r, unsigned int nr)
{
	sum_piece(r->m, nr, r->at);
}

/* Sums up @o, whose tree is locked, if it is small; else returns false. */
static bool sum_small(struct kmt_marker *m, struct kmt_object *o)
{
	unsigned long pos = ALIGN(o->addr, sizeof(long));
	unsigned long end = ALIGN_DOWN(o->addr + o->size, sizeof(long));
	unsigned long len;

	if (o->size > sizeof(m->buf) || !kmt_reads_whole(o))
		return false;
	for (; pos < end; pos += len) {
		len = kmt_piece(pos, end, sizeof(m->buf));
		if (!kmt_env_read(m->buf, pos, len)) {
			kmt_event(m->core, KMT_EV_FAULT);
			m->sum.found = true;
			break;
		}
		sum_piece(m, len / sizeof(long), pos);
		m->budget -= len / sizeof(long);
	}
	o->crc = m->sum.found ? 0 : kmt_sum_end(m->sum.value);
	return true;
}

/* Sums up @o piece by piece. Called with its tree locked; unlocks it. */
static noinline void sum_large(struct kmt_marker *m, struct kmt_object *o,
			       struct kmt_tree *tree, unsigned long flags)
	__releases(&tree->lock)
{
	struct kmt_reader r = { .words = sum_words, .joins_copies = true, .m = m };
	struct kmt_object copy = *o;

	raw_spin_unlock_irqrestore(&tree->lock, flags);
	kmt_read_object(&r, o, &copy);
	tree = kmt_lock_same(m->core, o, &copy, &flags);
	if (!tree)
		return;
	o->crc = m->sum.found ? 0 : kmt_sum_end(m->sum.value);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

/* Sums up @o; m->sum.found says whether it may refer to a suspect. */
static void sum_block(struct kmt_marker *m, struct kmt_object *o)
{
	struct kmt_tree *tree;
	unsigned long flags;

	m->sum.value = KMT_SUM_BEGIN;
	m->sum.found = false;
	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return;
	/* Keep the checksum of a cleared block. */
	if (kmt_is_cleared(o))
		m->sum.found = true;
	else if (to_be_reread(o) && !sum_small(m, o))
		return sum_large(m, o, tree, flags);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

static void search_block(struct kmt_marker *m, struct kmt_object *o)
{
	m->mode = KMT_MODE_SUM;
	sum_block(m, o);
	m->mode = KMT_MODE_ALIGNED;
	if (likely(!m->sum.found))
		return;
	kmt_mark_reread(m, o);
	m->mode = KMT_MODE_BYTES;
	kmt_mark_reread(m, o);
	m->mode = KMT_MODE_ALIGNED;
}

/**
 * kmt_search - search blocks for references to suspects
 * @m: marker that searches aligned addresses for references to the suspects of
 *	kmt_accuse() (KMT_MODE_ALIGNED), and has read the roots
 *
 * A suspect with enough references counts as reached, and is read. Blocks that
 * do not refer to a suspect are summed up.
 *
 * Context: no lock held; all CPUs run.
 */
void kmt_search(struct kmt_marker *m)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	m->searched = true;
	kmt_walk_cells(m, chunk, o)
		if (to_be_reread(o) && kmt_go_on(m))
			search_block(m, o);
	kmt_recheck_rest(m);
}

/* Reads a block in place; kmt_marker.mode says what to do with its words. */
static void read_block(struct kmt_marker *m, struct kmt_object *o)
{
	unsigned long lo = ALIGN(o->addr, sizeof(long));
	unsigned long hi = ALIGN_DOWN(o->addr + o->size, sizeof(long));
	struct kmt_range range;
	int nr = 0;

	if (kmt_reads_whole(o)) {
		if (likely(lo < hi) && unlikely(!kmt_sift_mapped(m, lo, hi)))
			kmt_mark_block(m, lo, hi);
		return;
	}
	while (kmt_next_range(m->core, o, &nr, &range))
		kmt_mark_block(m, range.lo, range.hi);
}

/* Most of a snapshot's time is spent here, on small blocks. */
static bool is_unchanged(struct kmt_marker *m, struct kmt_object *o)
{
	const unsigned long lo = ALIGN(o->addr, sizeof(long));
	const unsigned long hi = ALIGN_DOWN(o->addr + o->size, sizeof(long));
	const unsigned long *words = NULL;

	if (!o->crc)
		return false;
	if (likely(kmt_reads_whole(o) && lo < hi))
		words = kmt_mapped_words(m, lo, hi);
	if (likely(words))
		return kmt_sum_end(kmt_sum(words, (hi - lo) / sizeof(long),
					   KMT_SUM_BEGIN)) == o->crc;
	m->sum.value = KMT_SUM_BEGIN;
	m->mode = KMT_MODE_SUM;
	read_block(m, o);
	m->mode = KMT_MODE_ALIGNED;
	return kmt_sum_end(m->sum.value) == o->crc;
}

/* Whether @o is a section or memblock memory: it changes often, and is seldom packed. */
static bool is_section(const struct kmt_object *o)
{
	/* The space decides only how to read; the read itself takes the lock. */
	const enum kmt_space space = data_race(kmt_space(o));

	return space == KMT_ROOT || space == KMT_PHYS;
}

static void recheck_object(struct kmt_marker *m, struct kmt_object *o)
{
	m->stats.objects++;
	if (unlikely(kmt_is_cleared(o))) {
		/* As in read_cleared(). */
		m->dated = is_unchanged(m, o);
		m->date = o->born;
	} else if (likely(is_unchanged(m, o))) {
		return;
	}
	read_block(m, o);
	if (!is_section(o)) {
		m->mode = KMT_MODE_BYTES;
		read_block(m, o);
		m->mode = KMT_MODE_ALIGNED;
	}
	m->dated = false;
	if (unlikely(!kmt_is_empty_stack(&m->stack)))
		kmt_mark_drain(m);
}

static void recheck_chunk(struct kmt_marker *m, struct kmt_chunk *chunk)
{
	struct kmt_object *o;

	if (!kmt_go_on_in(m, chunk))
		return;
	kmt_for_each_in(chunk, o)
		if (to_be_reread(o))
			recheck_object(m, o);
}

/**
 * kmt_recheck - read this marker's share of the reached blocks
 * @m: marker from kmt_marker_init_stopped()
 *
 * Context: all CPUs stopped; several markers share the work.
 */
void kmt_recheck(struct kmt_marker *m)
{
	struct kmt_chunk *chunk = m->core->pool.chunks;

	for (; chunk && !m->stopped; chunk = chunk->next)
		if (kmt_my_turn(m))
			recheck_chunk(m, chunk);
}

/* Whether @o is a suspect that has enough references, and was not read. */
static bool to_be_followed(const struct kmt_object *o, u16 epoch)
{
	/* scan() checks again under the lock before it reads the block. */
	return data_race((o->flags & (KMT_LIVE | KMT_SUSPECT | KMT_SCANNED)) ==
			 (KMT_LIVE | KMT_SUSPECT) && kmt_reached(o, epoch));
}

/**
 * kmt_recheck_rest - read suspects for which a mark stack had no room
 * @m: marker
 *
 * Context: no other marker runs; all CPUs may be stopped.
 */
void kmt_recheck_rest(struct kmt_marker *m)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	do {
		m->stack.overflow = false;
		kmt_walk_cells(m, chunk, o)
			if (to_be_followed(o, m->core->epoch) && kmt_go_on(m))
				kmt_mark_object(m, o);
	} while (m->stack.overflow && !m->stopped);
}

/**
 * kmt_recheck_bytes - search sections for unaligned references
 * @m: marker that searches unaligned addresses for references to the suspects of
 *	kmt_update_suspects() (KMT_MODE_BYTES)
 *
 * kmt_recheck(), or kmt_search() if there is no snapshot, has searched the unaligned
 * addresses of all other blocks.
 *
 * Context: no lock held; all CPUs run.
 */
void kmt_recheck_bytes(struct kmt_marker *m)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_walk_cells(m, chunk, o)
		if (to_be_reread(o) && is_section(o) && kmt_go_on(m))
			kmt_mark_reread(m, o);
	kmt_recheck_rest(m);
}
