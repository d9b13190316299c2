/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mark and judgement.
 *
 * A mark has a number, the epoch. No object is reset before a mark: an object with
 * another epoch was not reached. The owner has one thread at a time take these steps,
 * or the markers of a team (mark_parallel.h) if the step says so:
 *
 *	kmt_mark_begin();
 *	kmt_mark_range() ...		roots that are no objects (team)
 *	kmt_team_work();		blocks that they lead to (team)
 *	kmt_mark_sweep();		grey objects, and blocks that they lead to
 *	(judgement: kmt_suspect_for_search() ... kmt_judge(), see suspect.c; or
 *	kmt_suspect_for_wait(), and in a later mark kmt_mark_doubtful() and kmt_judge(),
 *	see verdict.c)
 *	kmt_mark_end();
 */
#ifndef _KMT_MARK_H
#define _KMT_MARK_H

#include "core.h"

#define KMT_PIECE_WORDS	128

/* Words between two calls of kmt_ops.relax(). */
#define KMT_BUDGET	4096

/*
 * Words in a piece whose references are only pushed, without a copy. A lock is held
 * meanwhile: for less than 10 us at 1 GHz, even if all words are references.
 */
#define KMT_PUSH_WORDS	256

/* A word that is not aligned is a reference only if it is a multiple of this. */
#define KMT_ODD_ALIGN	4

/*
 * A word at an address that is not aligned consists of bytes of two neighbouring words,
 * most often of small numbers. If its value is below KMT_NUMBERS_END, it is no reference. A
 * per-CPU pointer that is not aligned is no reference either. With 32 bits any such word
 * may consist of numbers: on a machine with 1 GiB some 20 of them point into a block of
 * 128 KiB, wherever the block is. So there each has to be the address of a block's first
 * byte, even at a multiple of half a word. It is no reference if it is a multiple of the
 * page size, which a small number beside a pointer makes, or a part of an aligned word that
 * is an address: kmt_odd_in_address().
 */

/* A word below this is a reference only if it is the address of a block's first byte. */
#define KMT_ODD_MIN	(BITS_PER_LONG == 64 ? BIT(BITS_PER_LONG / 2) : ~0UL)

/* The word that begins @shift bits after the beginning of @a, which @b follows. */
static inline unsigned long kmt_unaligned_word(unsigned long a, unsigned long b,
					       unsigned int shift)
{
#ifdef __BIG_ENDIAN
	return a << shift | b >> (8 * sizeof(long) - shift);
#else
	return a >> shift | b << (8 * sizeof(long) - shift);
#endif
}

/* Whether a word at an address that is not aligned may be a reference at all. */
static inline bool kmt_odd_may_refer(unsigned long word)
{
	return !(word % KMT_ODD_ALIGN) && (BITS_PER_LONG == 64 || word % PAGE_SIZE);
}

/*
 * Whether @word, which is not aligned, is a reference only if a block begins at that
 * address; for @shift see kmt_unaligned_word().
 */
static inline bool kmt_odd_needs_start(unsigned long word, unsigned int shift)
{
	return word < KMT_ODD_MIN &&
	       !(BITS_PER_LONG == 64 && shift == BITS_PER_LONG / 2);
}

/* How many times an excess reference is passed on. */
#define KMT_ALIAS_HOPS	4

/* The length of [@pos, @end) up to the next multiple of @step. */
static inline unsigned long kmt_piece(unsigned long pos, unsigned long end,
				      unsigned long step)
{
	return min(end, ALIGN_DOWN(pos, step) + step) - pos;
}

/**
 * struct kmt_mark_entry - a reference to be followed, or a block or part to be read
 * @o: cell of the block, + KMT_ENTRY_PART for a part of it. For a reference: NULL in
 *	kmt_team.box, not initialised on a mark stack
 * @ref: the reference
 * @addr: address of the block when it was pushed, since its cell may have been reused;
 *	or first byte of the part
 */
struct kmt_mark_entry {
	struct kmt_object *o;
	union {
		unsigned long ref;
		unsigned long addr;
	};
};

/* A bit that is 0 in the address of a cell, since cells are aligned to a word. */
#define KMT_ENTRY_PART	1UL

/* Size of kmt_filter.pages; constant, which makes the lookup fast. */
#define KMT_FILTER_PAGES	65536UL

/* Limits of the bytes of kmt_filter.bits, a power of two: many suspects need more. */
#define KMT_FILTER_MIN		65536UL
#define KMT_FILTER_MAX		(64 * KMT_FILTER_MIN)

/**
 * struct kmt_filter - tells which words may refer to a suspect
 * @odd: references that are not aligned are searched for, too
 * @hull: hull of all suspects of all spaces
 * @odd_hull: hull of the suspects of KMT_VIRT that are not below KMT_NUMBERS_END
 * @bits: a bit for each place with a suspect in it, hashed; NULL: all places pass
 * @mask: number of bits - 1; a power of two - 1, at least 63
 * @pages: KMT_FILTER_PAGES bytes, each set if there is a suspect in one of the pages
 *	that share it; NULL: all pages pass
 */
struct kmt_filter {
	bool odd;
	struct kmt_range hull;
	struct kmt_range odd_hull;
	unsigned long *bits;
	unsigned long mask;
	u8 *pages;
};

/* Value of kmt_marker.seam.end if no word continues into the next piece. */
#define KMT_NO_SEAM	1UL

/* Size, as a power of two, of kmt_marker.seen_cache. */
#define KMT_SEEN_SHIFT	10

/**
 * enum kmt_mark_mode - what a marker does with the words it reads
 * @KMT_MODE_FOLLOW: follows each reference
 * @KMT_MODE_ALIGNED: follows references to suspects
 * @KMT_MODE_BYTES: follows references to suspects that are not aligned to a word
 * @KMT_MODE_SUM: sums the words up and, unless all CPUs are stopped, notes whether one of
 *	them may be a reference to a suspect
 * @KMT_MODE_HAND_OVER: passes them to kmt_marker.on_words
 */
enum kmt_mark_mode {
	KMT_MODE_FOLLOW,
	KMT_MODE_ALIGNED,
	KMT_MODE_BYTES,
	KMT_MODE_SUM,
	KMT_MODE_HAND_OVER,
};

/**
 * struct kmt_mark_stack - references to be followed and blocks to be read
 * @entries: from the start, references to be followed; from the end, blocks to
 *	be read, which wait until no reference is left
 * @refs: number of references, at most half of @max
 * @blocks: number of blocks, at most half of @max; a sweep of the pool finds those
 *	that did not fit
 * @max: size of @entries
 * @overflow: some blocks did not fit
 */
struct kmt_mark_stack {
	struct kmt_mark_entry *entries;
	u32 refs;
	u32 blocks;
	u32 max;
	bool overflow;
};

/**
 * struct kmt_ref_ranges - which words are references; fixed when a mark begins
 * @virt: hull of all addresses of KMT_VIRT
 * @percpu: hulls of all addresses of KMT_PERCPU
 * @percpu_outside: they are not all in @virt
 * @shards: regions of the linear map, or the larger part of them that is left when the
 *	image and the values of per-CPU pointers are cut out
 * @least: the largest power of two that is not above the lowest address of
 *	@virt and @percpu, 0 if that is 0: smaller words are no references
 * @gap: a range without references: between two of @virt and the parts of @percpu, or
 *	above all three. Of such ranges it is the one that spans the most powers of two.
 *	Where per-CPU pointers are small numbers, as on x86, it has most words that are
 *	neither references nor below @least
 */
struct kmt_ref_ranges {
	struct kmt_range virt;
	struct kmt_range_pair percpu;
	bool percpu_outside;
	struct kmt_range shards;
	unsigned long least;
	struct kmt_range gap;
};

/**
 * struct kmt_mark_share - a marker's part in a mark that several markers share
 * @team: the team; NULL if the marker is alone
 * @taken: number of units of work that markers have taken; NULL if this marker does
 *	all of the work
 * @passed: number of units that this marker has passed
 * @mine: the next unit of this marker
 */
struct kmt_mark_share {
	struct kmt_team *team;
	atomic_long_t *taken;
	long passed;
	long mine;
};

/**
 * struct kmt_marker - one mark under way
 * @core: tracker
 * @mode: how words are handled; set by kmt_marker_set_follow(), kmt_marker_set_search(),
 *	kmt_marker_hand_over(), and in suspect.c, which reads a block in several modes
 * @filter: lets references to suspects pass; NULL if @mode does not need it
 * @on_words: for KMT_MODE_HAND_OVER; @at is 0 where the address does not matter
 * @world_stopped: all CPUs are stopped, so memory is read in place
 * @defer_drain: references in roots stay on the mark stack until a quarter of it is full
 * @searched: kmt_search() or kmt_mark_doubtful() has looked at the suspects of this mark: a
 *	white block that is none came later
 * @dated: references to blocks that are younger than @date do not count
 * @date: low 32 bits of jiffies
 * @stopped: the mark was given up; it proves nothing
 * @ignore_stop: from kmt_judge() to the next mark: what kmt_ops.relax() returns is ignored
 * @budget: words to go until kmt_ops.relax() is called
 * @deadline: while @world_stopped, time at which the owner gives the mark up
 * @stack: mark stack
 * @ranges: which words are references
 * @seen_cache: words that need no further look in this mark, 2^KMT_SEEN_SHIFT;
 *	NULL if nothing is remembered
 * @near: object that was found last; the next one is often adjacent
 * @share: the marker's share of the work
 * @sum: for KMT_MODE_SUM: @value of the words so far, and @found if one of them
 *	may be a reference to a suspect; not set while @world_stopped
 * @mapped: while @world_stopped, number of a @page that is known to be mapped, and
 *	the @shift from its address to where it can be read
 * @seam: for words across two pieces: the last @word that was read, and the address
 *	of its @end, or KMT_NO_SEAM
 * @stats: @words read, references found (@hits), and @objects read
 * @buf: copy of the piece being handled
 */
struct kmt_marker {
	struct kmt_core *core;
	enum kmt_mark_mode mode;
	const struct kmt_filter *filter;
	void (*on_words)(struct kmt_marker *m, const unsigned long *words,
			 unsigned int nr, unsigned long at);
	bool world_stopped;
	bool defer_drain;
	bool searched;
	bool dated;
	u32 date;
	bool stopped;
	bool ignore_stop;
	long budget;
	u64 deadline;
	struct kmt_mark_stack stack;
	struct kmt_ref_ranges ranges;
	unsigned long *seen_cache;
	struct kmt_object *near;
	struct kmt_mark_share share;
	struct {
		u64 value;
		bool found;
	} sum;
	struct {
		unsigned long page;
		unsigned long shift;
	} mapped;
	struct {
		unsigned long word;
		unsigned long end;
	} seam;
	struct {
		unsigned long words;
		unsigned long hits;
		unsigned long objects;
	} stats;
	unsigned long buf[KMT_PIECE_WORDS];
};

/* From now on the marker follows each reference. */
static inline void kmt_marker_set_follow(struct kmt_marker *m)
{
	m->mode = KMT_MODE_FOLLOW;
	m->filter = NULL;
}

/* From now on the marker searches for references to suspects, as @mode says. */
static inline void kmt_marker_set_search(struct kmt_marker *m, enum kmt_mark_mode mode,
					 const struct kmt_filter *f)
{
	m->mode = mode;
	m->filter = f;
}

/* From now on the marker passes all words to @fn, see kmt_marker.on_words. */
static inline void kmt_marker_hand_over(struct kmt_marker *m,
					void (*fn)(struct kmt_marker *m,
						   const unsigned long *words,
						   unsigned int nr, unsigned long at))
{
	m->mode = KMT_MODE_HAND_OVER;
	m->on_words = fn;
}

/**
 * struct kmt_verdict - result of a judgement
 * @suspects: number of suspects that are not reported yet
 * @all_suspects: number of suspects, including reported ones
 * @youngest: when the youngest suspect was allocated, low 32 bits of jiffies
 * @leaks: number of leaks, new and old
 * @leak_bytes: their bytes
 * @fresh: number of leaks that are reported for the first time
 */
struct kmt_verdict {
	unsigned long suspects;
	unsigned long all_suspects;
	u32 youngest;
	unsigned long leaks;
	unsigned long leak_bytes;
	unsigned long fresh;
};

/**
 * struct kmt_rank - a leak that is classified
 * @o: its cell
 * @key: sort key: older leaks first, then those whose backtrace was kept first, then
 *	larger ones
 * @direct: after sorting: the cell of the direct leak that it hangs on
 */
struct kmt_rank {
	struct kmt_object *o;
	union {
		u64 key;
		struct kmt_object *direct;
	};
};

/**
 * struct kmt_reader - what to do with the contents of a block
 * @words: called with each piece that could be read, no lock held
 * @marks: @words only follows references: instead of the call, kmt_mark_piece() may
 *	push them
 * @joins_copies: a piece may hold the copies of a per-CPU block of several CPUs, with @at 0.
 *	Where two copies meet, @words may take unaligned bytes of both for a reference:
 *	it only decides whether the block is read again
 * @m: marker, for its buffer and its budget
 * @from: the block that is being read
 * @at: address of the piece
 */
struct kmt_reader {
	void (*words)(struct kmt_reader *r, unsigned int nr);
	bool marks;
	bool joins_copies;
	struct kmt_marker *m;
	struct kmt_object *from;
	unsigned long at;
};

/**
 * kmt_take_unit - does this marker do the next unit of work?
 * @m: marker
 *
 * All markers that share work pass the same units in the same order.
 */
static inline bool kmt_take_unit(struct kmt_marker *m)
{
	struct kmt_mark_share *share = &m->share;

	if (!share->taken)
		return true;
	if (share->passed++ != share->mine)
		return false;
	share->mine = atomic_long_fetch_inc(share->taken);
	return true;
}

/* From now on the marker shares units of work with others; @taken counts them. */
static inline void kmt_share_units(struct kmt_marker *m, atomic_long_t *taken)
{
	m->share.taken = taken;
	m->share.passed = 0;
	m->share.mine = atomic_long_fetch_inc(taken);
}

/* mark.c */
void kmt_marker_init(struct kmt_marker *m, struct kmt_core *core,
		     struct kmt_mark_entry *stack, u32 max,
		     unsigned long *seen_cache);
void kmt_marker_join(struct kmt_marker *m, const struct kmt_marker *of,
		     struct kmt_mark_entry *stack, u32 max, unsigned long *seen_cache);
void kmt_marker_join_stopped(struct kmt_marker *m, const struct kmt_marker *of,
			     const struct kmt_filter *f, struct kmt_mark_entry *stack,
			     u32 max);
void kmt_mark_begin(struct kmt_marker *m);
void kmt_mark_word(struct kmt_marker *m, unsigned long word);
void kmt_mark_words(struct kmt_marker *m, const unsigned long *words,
		    unsigned int nr);
void kmt_mark_range(struct kmt_marker *m, unsigned long start,
		    unsigned long end);
void kmt_mark_drain(struct kmt_marker *m);
void kmt_mark_object(struct kmt_marker *m, struct kmt_object *o);
void kmt_mark_reread(struct kmt_marker *m, struct kmt_object *o);
void kmt_handle_object(struct kmt_marker *m, struct kmt_object *o,
		       const struct kmt_object *copy);
u32 kmt_sum_object(struct kmt_marker *m, struct kmt_object *o,
		   const struct kmt_object *copy);
void kmt_mark_wide(struct kmt_marker *m);
bool kmt_mark_chunk(struct kmt_marker *m, struct kmt_chunk *chunk);
void kmt_mark_sweep(struct kmt_marker *m);
void kmt_mark_end(struct kmt_marker *m);
bool kmt_marker_check_stop(struct kmt_marker *m);
void kmt_read_object(struct kmt_reader *r, struct kmt_object *o,
		     const struct kmt_object *copy);
bool kmt_read_range(struct kmt_reader *r, struct kmt_object *o,
		    const struct kmt_object *copy, unsigned long start,
		    unsigned long end);
bool kmt_next_range(struct kmt_core *core, const struct kmt_object *o,
		    int *nr, struct kmt_range *range);

/**
 * kmt_mark_relax - let others run if the budget is used up
 * @m: marker
 *
 * Context: no lock held.
 * Return: whether the mark is to be given up.
 */
static inline bool kmt_mark_relax(struct kmt_marker *m)
{
	return unlikely(m->budget <= 0) ? kmt_marker_check_stop(m) : m->stopped;
}

/* Called before a step: as kmt_mark_relax(), but returns whether to go on. */
static inline bool kmt_go_on(struct kmt_marker *m)
{
	m->budget -= 2;
	return !kmt_mark_relax(m);
}

/* As kmt_go_on(), before a walk over the cells of @chunk, most of which are skipped. */
static inline bool kmt_go_on_in(struct kmt_marker *m,
				const struct kmt_chunk *chunk)
{
	m->budget -= chunk->nr;
	return !kmt_mark_relax(m);
}

/**
 * kmt_walk_cells - visit every cell of the pool, live or not
 * @m: marker; the walk ends when its mark is given up
 * @chunk: cursor
 * @o: cursor
 *
 * The walk lets others run, even if the body skips all cells. The body checks the state
 * of a cell without a lock. If it does not skip the cell, it calls kmt_go_on(), and
 * checks again under the lock of its tree (kmt_lock_object()). These are two loops:
 * `break` leaves the inner one only.
 *
 * Context: no lock held.
 */
#define kmt_walk_cells(m, chunk, o)					\
	for ((chunk) = kmt_chunks((m)->core);				\
	     (chunk) && kmt_go_on_in(m, chunk); (chunk) = (chunk)->next) \
		kmt_for_each_in(chunk, o)

/* Whether the marker follows all references, and has a table of words already seen. */
static __always_inline bool kmt_fast_path_ok(const struct kmt_marker *m)
{
	return m->mode == KMT_MODE_FOLLOW && m->seen_cache;
}

/* The index of @word in kmt_marker.seen_cache. */
static __always_inline unsigned long kmt_seen_slot(unsigned long word)
{
	return ((word ^ word >> KMT_SEEN_SHIFT) >> 3) %
	       BIT(KMT_SEEN_SHIFT);
}

static __always_inline bool kmt_in_seen_cache(struct kmt_marker *m,
					      unsigned long word)
{
	return kmt_fast_path_ok(m) && m->seen_cache[kmt_seen_slot(word)] == word;
}

/* How many more blocks to be read fit in their half of the mark stack. */
static inline u32 kmt_room_for_blocks(const struct kmt_mark_stack *s)
{
	return min(s->max - s->max / 2, s->max - s->refs) - s->blocks;
}

static inline bool kmt_is_empty_stack(const struct kmt_mark_stack *s)
{
	return !(s->refs + s->blocks);
}

/* mark_drain.c */
void kmt_follow_word(struct kmt_marker *m, unsigned long word);
void kmt_follow_stack(struct kmt_marker *m);
unsigned long kmt_mark_piece(struct kmt_marker *m, const struct kmt_range *self,
			     unsigned long pos, unsigned long end);
void kmt_mark_push(struct kmt_marker *m, struct kmt_object *o,
		   unsigned long addr);

/* Makes the count and KMT_SCANNED of @o valid in this mark; its tree is locked. */
static inline void kmt_enter_epoch(struct kmt_object *o, u16 epoch)
{
	if (o->epoch == epoch)
		return;
	o->epoch = epoch;
	o->count = 0;
	kmt_change_flags(o, 0, KMT_SCANNED);
}

/* Counts @o as reached by this mark, and to be read; its tree is locked. */
static inline void kmt_set_reached(struct kmt_object *o, u16 epoch)
{
	o->epoch = epoch;
	o->count = KMT_COUNT_MAX;
	kmt_change_flags(o, 0, KMT_SCANNED);
}

/*
 * Whether a block that was reached, and whose tree is locked, is still to be read, by
 * the caller or by another marker. Sets KMT_SCANNED if it never is.
 */
static inline bool kmt_must_read(struct kmt_object *o)
{
	if (o->flags & KMT_SCANNED)
		return false;
	if (kmt_is_read(o))
		return true;
	kmt_change_flags(o, KMT_SCANNED, 0);
	return false;
}

/* Bytes of kmt_filter.bits; more blocks may mean more suspects. */
static inline size_t kmt_filter_bytes(const struct kmt_core *core)
{
	unsigned long want = kmt_pool_cells(core) / 32;

	return roundup_pow_of_two(max(KMT_FILTER_MIN,
				      min(want, KMT_FILTER_MAX)));
}

/* filter.c */
void kmt_filter_reset(struct kmt_filter *f);
void kmt_filter_add(struct kmt_filter *f, enum kmt_space space,
		    unsigned long addr, unsigned long size);
void kmt_search_word(struct kmt_marker *m, unsigned long word);
u64 kmt_sum_words(const unsigned long *words, unsigned int nr, u64 sum);
const unsigned long *kmt_search_next(const struct kmt_filter *f,
				     const unsigned long *words,
				     const unsigned long *end);
bool kmt_odd_in_address(struct kmt_core *core, unsigned long a, unsigned long b,
			unsigned int shift);
void kmt_search_bytes(struct kmt_marker *m, const unsigned long *words,
		      unsigned int nr, unsigned long at);

/* suspect.c */
void kmt_suspect_for_search(struct kmt_marker *m, struct kmt_filter *f,
			    struct kmt_verdict *v);
void kmt_update_suspects(struct kmt_marker *m, struct kmt_filter *f,
			 struct kmt_verdict *v);
void kmt_search(struct kmt_marker *m);
void kmt_recheck(struct kmt_marker *m);
void kmt_read_acquitted(struct kmt_marker *m);
void kmt_recheck_bytes(struct kmt_marker *m);

/* Initial sum; not 0, so that leading words of 0 change it. */
#define KMT_SUM_BEGIN		1ULL

/*
 * Makes a checksum of a sum. It is never 0, which means that there is no checksum. The last
 * word is added, but not multiplied: without the rotation, equal changes of the two halves
 * of that word would cancel each other.
 */
static inline u32 kmt_sum_end(u64 sum)
{
	const u32 lo = sum, hi = sum >> 32;

	return (lo ^ (hi >> 7 | hi << 25)) ?: 1;
}

/**
 * kmt_search_words - follow what may be a reference to a suspect
 * @m: marker with a filter; with KMT_MODE_SUM it only notes that there is one
 * @words: what was read; not changed meanwhile
 * @nr: how many words
 *
 * Context: no lock held, or the lock of a tree with KMT_MODE_SUM.
 */
static inline void kmt_search_words(struct kmt_marker *m,
				    const unsigned long *words, unsigned int nr)
{
	const unsigned long *end = words + nr;

	while ((words = kmt_search_next(m->filter, words, end)) != end)
		kmt_search_word(m, *words++);
}

/*
 * Returns where the words of [@pos, @end), not empty, can be read while all CPUs are
 * stopped, and counts them as read. NULL if they are not in the page kmt_marker.mapped.
 */
static inline const unsigned long *
kmt_mapped_words(struct kmt_marker *m, unsigned long pos, unsigned long end)
{
	const unsigned int nr = (end - pos) / sizeof(long);

	if (pos / PAGE_SIZE != m->mapped.page ||
	    (end - 1) / PAGE_SIZE != m->mapped.page)
		return NULL;
	m->budget -= nr;
	m->stats.words += nr;
	return (const unsigned long *)(pos + m->mapped.shift);
}

/* Handles the words of [@pos, @end) if kmt_marker.mapped has them; else returns false. */
static inline bool kmt_search_mapped(struct kmt_marker *m, unsigned long pos,
				     unsigned long end)
{
	const unsigned long *words = kmt_mapped_words(m, pos, end);
	const unsigned int nr = (end - pos) / sizeof(long);

	if (!words)
		return false;
	if (m->mode == KMT_MODE_SUM)
		m->sum.value = kmt_sum_words(words, nr, m->sum.value);
	else if (m->mode == KMT_MODE_BYTES)
		kmt_search_bytes(m, words, nr, pos);
	else
		kmt_search_words(m, words, nr);
	return true;
}

/* verdict.c */
void kmt_suspect_for_wait(struct kmt_marker *m, struct kmt_verdict *v);
void kmt_mark_doubtful(struct kmt_marker *m, u32 now, u32 min_age);
void kmt_judge(struct kmt_marker *m, struct kmt_verdict *v);
void kmt_acquit_reached(struct kmt_marker *m, struct kmt_filter *f,
			struct kmt_verdict *v,
			void (*left)(struct kmt_marker *m, struct kmt_object *o,
				     struct kmt_filter *f, struct kmt_verdict *v));
unsigned long kmt_clear(struct kmt_marker *m, u32 now);
void kmt_limit_ages(struct kmt_core *core, struct kmt_chunk *chunk, u32 now);

/* classify.c */
void kmt_classify(struct kmt_marker *m, unsigned long nr, u32 now);

#endif /* _KMT_MARK_H */
