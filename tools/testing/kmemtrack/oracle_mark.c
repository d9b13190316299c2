// SPDX-License-Identifier: GPL-2.0
/* The oracle's mark: compares each word with all blocks. */
#include "oracle.h"

static const struct kmt_range roots = { ROOT(0), ROOT(ROOT_WORDS) };

/* The word that begins @shift bits after @at; both words can be read. */
static unsigned long word_across(unsigned long at, unsigned int shift)
{
	const unsigned long a = sim_get(at), b = sim_get(at + W);

#ifdef __BIG_ENDIAN
	return a << shift | b >> (8 * W - shift);
#else
	return a >> shift | b << (8 * W - shift);
#endif
}

/* Whether an address has all bytes of a word across @at and the next one but the lowest. */
static bool is_in_address(struct model *m, unsigned long at, unsigned int shift)
{
#ifdef __BIG_ENDIAN
	const unsigned long word = shift == 8 ? sim_get(at) : 0;
#else
	const unsigned long word = shift == 8 * W - 8 ? sim_get(at + W) : 0;
#endif

	return word - SIM_IMAGE < SIM_IMAGE_LEN || oracle_find(m, KMT_VIRT, word) ||
	       oracle_find(m, KMT_ROOT, word);
}

/*
 * Whether an unaligned word, which begins @shift bits after @at, may be a reference: it
 * must be a multiple of four, and not look like half a word. With 32 bits it must be the
 * address of a block's first byte, and not a multiple of the page size, nor may all its
 * bytes but the lowest be those of an address.
 */
static bool is_odd_word(struct model *m, unsigned long at, unsigned int shift,
			unsigned long word)
{
	struct block *b;

	if (word % 4 || !(word >> 4 * W))
		return false;
	if (W == 8)
		return true;
	b = word % SIM_PAGE ? oracle_find(m, KMT_VIRT, word) : NULL;
	return b && b->addr == word && !is_in_address(m, at, shift);
}

static void words_across(unsigned long at,
			 void (*fn)(void *arg, unsigned long word), void *arg)
{
	unsigned int shift;

	if (!sim_mapped(at) || !sim_mapped(at + W))
		return;
	for (shift = 8; shift < 8 * W; shift += 8) {
		unsigned long word = kmt_untag(word_across(at, shift));

		if (is_odd_word(arg, at, shift, word))
			fn(arg, word);
	}
}

static void range_bytes(const struct kmt_range *r,
			void (*fn)(void *arg, unsigned long word), void *arg)
{
	unsigned long at;

	for (at = ALIGN(r->lo, W); at + 2 * W <= r->hi; at += W)
		words_across(at, fn, arg);
}

static void block_bytes(const struct block *b,
			void (*fn)(void *arg, unsigned long word), void *arg)
{
	struct kmt_range ranges[MAX_RANGES];
	unsigned int i, nr = block_ranges(b, ranges);

	for (i = 0; i < nr; i++)
		range_bytes(&ranges[i], fn, arg);
}

void oracle_reach(struct model *m, struct block *b)
{
	struct fate *f = &b->fate[m->bound];

	if (f->reached)
		return;
	f->reached = true;
	m->todo[m->nr_todo++] = b;
}

static bool count_ref(struct model *m, enum kmt_space space, unsigned long *word,
		      bool passed_on)
{
	struct block *b = oracle_find(m, space, *word);
	struct fate *f;

	if (!b)
		return false;
	f = &b->fate[m->bound];
	if (m->only_suspects && !f->suspect && !b->aliased)
		return false;
	if (m->dated && !passed_on && (s32)(b->born - m->date) > 0)
		return false;
	/*
	 * References to a reported block are not searched for then. They are found
	 * only if the filter cannot distinguish it from a suspect.
	 */
	if (m->bytes && f->leak && m->bound == FEWEST)
		return false;
	if (f->count < KMT_COUNT_MAX)
		f->count++;
	if (block_judged(b) && f->count >= b->min && (!m->only_suspects || f->suspect))
		oracle_reach(m, b);
	if (!b->aliased || (block_judged(b) && f->count <= b->min))
		return false;
	*word = b->alias;
	return true;
}

/* Per-CPU pointers are aligned. */
static void mark_odd(void *arg, unsigned long word)
{
	struct model *m = arg;
	int hops = 0;

	/* The mark's hull is from its beginning: it ignores later blocks outside. */
	if (word - SIM_IMAGE < SIM_IMAGE_LEN || !kmt_in(&m->hull, word))
		return;
	while (hops < 4 && count_ref(m, KMT_VIRT, &word, hops > 0))
		hops++;
}

static void mark_word(void *arg, unsigned long word)
{
	unsigned long w = kmt_untag(word);

	word = w;
	if (!word)
		return;
	count_ref(arg, KMT_PERCPU, &w, false);
	mark_odd(arg, word);
}

/* Whether @b is searched at all addresses in the snapshot. */
static bool is_summed(const struct block *b)
{
	return !b->lost && b->space != KMT_ROOT && b->space != KMT_PHYS;
}

/*
 * Whether no word of @b was searched before this pass, which is so for suspects. If it is
 * not decided whether @b is a suspect, this holds for MOST only.
 */
static bool is_fresh(const struct model *m, const struct block *b)
{
	bool always = b->fate[FEWEST].suspect && b->fate[MOST].suspect;
	bool ever = b->fate[FEWEST].suspect || b->fate[MOST].suspect;

	return m->bound == FEWEST ? always : ever;
}

/* Whether @b is searched for unaligned references. */
static bool reads_bytes(const struct model *m, const struct block *b,
			bool fresh)
{
	if (m->search)
		return !b->lost;
	return m->sums ? is_summed(b) != m->bytes || fresh : m->bytes;
}

static void read_block(struct model *m, const struct block *b)
{
	bool fresh = is_fresh(m, b);

	/* A cleared block that has not changed cannot refer to younger blocks. */
	m->dated = !b->lost && b->min == KMT_MIN_CLEARED &&
		   b->cleared == block_sum(b);
	m->date = b->born;
	/* The pass for unaligned references reads aligned words of fresh blocks only. */
	if (!m->bytes || fresh)
		oracle_words(b, mark_word, m);
	if (reads_bytes(m, b, fresh))
		block_bytes(b, mark_odd, m);
	m->dated = false;
}

void oracle_follow(struct model *m)
{
	while (m->nr_todo) {
		struct block *b = m->todo[--m->nr_todo];

		if (block_read(b))
			read_block(m, b);
	}
}

static void read_roots(struct model *m)
{
	struct block *b = NULL;
	unsigned long at;

	for (at = roots.lo; !m->bytes && at < roots.hi; at += W)
		mark_word(m, sim_get(at));
	if (m->bytes)
		range_bytes(&roots, mark_odd, m);
	while ((b = oracle_each(m, b)))
		if (b->lost)
			read_block(m, b);
}

void oracle_mark(struct model *m)
{
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		b->fate[FEWEST].count = 0;
		b->fate[FEWEST].reached = false;
		if (b->min == KMT_MIN_CLEARED && block_read(b) &&
		    b->cleared != block_sum(b))
			b->min = KMT_MIN_GREY;
	}
	m->hull = m->ever;
	m->bound = FEWEST;
	read_roots(m);
	while ((b = oracle_each(m, b)))
		if (!b->lost && !block_judged(b))
			oracle_reach(m, b);
	oracle_follow(m);
	/* The number of references to each block does not depend on the order. */
	while ((b = oracle_each(m, b))) {
		b->fate[MOST].count = b->fate[FEWEST].count;
		b->fate[MOST].reached = b->fate[FEWEST].reached;
	}
}

/* A word across two ranges may be met any number of times, which is undecided. */
static void mark_seam(void *arg, unsigned long word)
{
	unsigned int i;

	for (i = 0; i < KMT_COUNT_MAX; i++)
		mark_odd(arg, word);
}

/*
 * A reference across two adjacent ranges counts if the tracker reads one right after the
 * other.
 */
static void read_seam(struct model *m, const struct kmt_range *a,
		      const struct kmt_range *b)
{
	unsigned long last = ALIGN_DOWN(a->hi, W) - W;

	if (last + W == ALIGN(b->lo, W) && last >= a->lo &&
	    last + 2 * W <= b->hi)
		words_across(last, mark_seam, m);
}

static void read_seams(struct model *m)
{
	static struct kmt_range ranges[MAX_BLOCKS * MAX_RANGES + 1];
	struct block *b = NULL;
	unsigned int nr = 0, i, k;

	ranges[nr++] = roots;
	while ((b = oracle_each(m, b)))
		if (b->lost || block_read(b))
			nr += block_ranges(b, ranges + nr);
	for (i = 0; i < nr; i++)
		for (k = 0; k < nr; k++)
			if (i != k)
				read_seam(m, &ranges[i], &ranges[k]);
}

void oracle_read_others(struct model *m)
{
	struct block *b = NULL;

	m->only_suspects = true;
	read_roots(m);
	if (m->bound == MOST && (m->bytes || m->sums || m->search))
		read_seams(m);
	while ((b = oracle_each(m, b)))
		if (!b->lost && !b->fate[m->bound].suspect && block_read(b))
			read_block(m, b);
	oracle_follow(m);
	m->only_suspects = false;
}

/* The tracker's side: lost blocks are roots, as its owner would make them. */

void oracle_more_roots(struct sim *s, struct kmt_marker *m)
{
	struct kmt_range ranges[MAX_RANGES];
	struct model *model = s->priv;
	struct block *b = NULL;

	while ((b = oracle_each(model, b))) {
		unsigned int i, nr = b->lost ? block_ranges(b, ranges) : 0;

		for (i = 0; i < nr; i++)
			if (kmt_take_unit(m))
				kmt_mark_range(m, ranges[i].lo, ranges[i].hi);
	}
}

/*
 * Once a block has enough references the tracker need not count more, unless they count
 * for another block. It need not count references to a root at all.
 */
static unsigned int least_count(const struct block *b)
{
	const struct fate *f = &b->fate[FEWEST];

	if (!f->reached || b->aliased)
		return f->count;
	return block_judged(b) ? b->min : 0;
}

void oracle_compare_mark(struct model *m)
{
	const u16 epoch = m->s->core.epoch;
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		struct fate *f = b->fate;
		struct kmt_object o;

		if (b->lost)
			continue;
		o = oracle_look(m, b);
		kmt_enter_epoch(&o, epoch);
		AGREE(kmt_reached(&o, epoch) == f[FEWEST].reached);
		f[FEWEST].count = least_count(b);
		AGREE(o.count >= f[FEWEST].count && o.count <= f[MOST].count);
		m->counts++;
		m->open_counts += f[FEWEST].count != f[MOST].count;
	}
}
