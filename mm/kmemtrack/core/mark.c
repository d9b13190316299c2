// SPDX-License-Identifier: GPL-2.0
/*
 * Markers, the beginning and the end of a mark, and reading of roots and blocks.
 */
#include "fastpath.h"
#include "mark.h"
#include "mark_parallel.h"

/* Cost of finding a scan area of a block, in words that are read. */
#define KMT_AREA_STEP	64

/**
 * kmt_marker_init - prepare a marker
 * @m: marker
 * @core: tracker
 * @stack: room for the mark stack
 * @max: entries in @stack, at least 1
 * @seen_cache: room for its table of words already seen; NULL for none
 */
void kmt_marker_init(struct kmt_marker *m, struct kmt_core *core,
		     struct kmt_mark_entry *stack, u32 max,
		     unsigned long *seen_cache)
{
	memset(m, 0, sizeof(*m));
	m->core = core;
	m->stack.entries = stack;
	m->stack.max = max;
	m->seen_cache = seen_cache;
	m->seam.end = KMT_NO_SEAM;
	m->budget = KMT_BUDGET;
}

/**
 * kmt_marker_join - prepare a marker that takes part in a mark
 * @m: marker
 * @of: marker of the mark, which has begun
 * @stack: room for its own mark stack
 * @max: entries in @stack, at least 1
 * @seen_cache: room for its table of words already seen, cleared; or NULL
 *
 * For kmt_team_join(), with all CPUs running.
 */
void kmt_marker_join(struct kmt_marker *m, const struct kmt_marker *of,
		     struct kmt_mark_entry *stack, u32 max, unsigned long *seen_cache)
{
	kmt_marker_init(m, of->core, stack, max, seen_cache);
	m->ranges = of->ranges;
}

/* As kmt_marker_join(), for kmt_recheck(): @f has the suspects that are searched for. */
void kmt_marker_join_stopped(struct kmt_marker *m, const struct kmt_marker *of,
			     const struct kmt_filter *f, struct kmt_mark_entry *stack,
			     u32 max)
{
	kmt_marker_join(m, of, stack, max, NULL);
	m->world_stopped = true;
	kmt_marker_set_search(m, KMT_MODE_ALIGNED, f);
}

/* Resets the epoch of all objects: epochs wrap, and the next numbers must be unused. */
static void forget_epochs(struct kmt_core *core)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_cell(core, chunk, o) {
		struct kmt_held held;

		if (o == kmt_chunk_cells(chunk))
			kmt_env_cond_resched(GFP_KERNEL);
		if (!kmt_lock_object(core, o, &held))
			continue;
		o->epoch = 0;
		kmt_unlock(&held);
	}
}

static struct kmt_range_pair wide_range_of(struct kmt_core *core,
					   enum kmt_space space)
{
	struct kmt_range_pair range;
	unsigned long flags;

	raw_spin_lock_irqsave(&core->wide[space].lock, flags);
	range = core->wide_range[space];
	raw_spin_unlock_irqrestore(&core->wide[space].lock, flags);
	return range;
}

static bool is_apart(const struct kmt_range *r, const struct kmt_range *virt)
{
	return r->hi && (r->lo < virt->lo || r->hi > virt->hi);
}

/* The largest power of two below which nothing in @virt or @percpu lies. */
static unsigned long least_of(const struct kmt_range *virt,
			      const struct kmt_range_pair *percpu)
{
	unsigned long lo = virt->hi ? virt->lo : ULONG_MAX;
	int i;

	for (i = 0; i < ARRAY_SIZE(percpu->part); i++)
		if (percpu->part[i].hi)
			lo = min(lo, percpu->part[i].lo);
	return lo ? 1UL << ilog2(lo) : 0;
}

/* See struct kmt_ref_ranges. */
static struct kmt_range gap_of(const struct kmt_range *virt,
			       const struct kmt_range_pair *percpu)
{
	const struct kmt_range *all[] = { virt, &percpu->part[0], &percpu->part[1] };
	struct kmt_range gap = { 0, 0 };
	int i, j, widest = 0;

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		unsigned long lo = all[i]->hi, hi = ULONG_MAX;

		for (j = 0; j < ARRAY_SIZE(all); j++)
			if (all[j]->hi > lo)
				hi = min(hi, max(lo, all[j]->lo));
		if (lo && ilog2(hi) - ilog2(lo) > widest) {
			widest = ilog2(hi) - ilog2(lo);
			gap = (struct kmt_range){ lo, hi };
		}
	}
	return gap;
}

/* Cuts @hole out of @r. If this leaves two parts, keeps the larger one only. */
static void cut_out(struct kmt_range *r, const struct kmt_range *hole)
{
	if (hole->lo >= r->hi || hole->hi <= r->lo)
		return;
	if (hole->lo > r->lo && hole->lo - r->lo >= r->hi - min(hole->hi, r->hi))
		r->hi = hole->lo;
	else
		r->lo = min(hole->hi, r->hi);
}

/* See struct kmt_ref_ranges. */
static struct kmt_range shards_of(const struct kmt_core *core,
				  const struct kmt_range_pair *percpu)
{
	const unsigned long region = BIT(KMT_REGION_SHIFT);
	struct kmt_range r = core->linear;
	int i;

	cut_out(&r, &core->skip);
	for (i = 0; i < ARRAY_SIZE(percpu->part); i++)
		cut_out(&r, &percpu->part[i]);
	r.lo = ALIGN(r.lo, region);
	r.hi = max(r.lo, ALIGN_DOWN(r.hi, region));
	return r;
}

/**
 * kmt_mark_begin - begin a mark
 * @m: marker
 *
 * Context: one mark at a time; may sleep.
 */
void kmt_mark_begin(struct kmt_marker *m)
{
	struct kmt_core *core = m->core;
	struct kmt_ref_ranges *r = &m->ranges;
	const struct kmt_range_pair wide = wide_range_of(core, KMT_VIRT);
	u16 epoch = core->epoch + 1;
	int i;

	if (!epoch) {
		/* 0 is the epoch of no mark. */
		forget_epochs(core);
		epoch = 1;
	}
	r->virt = core->linear;
	r->percpu = wide_range_of(core, KMT_PERCPU);
	for (i = 0; i < ARRAY_SIZE(wide.part); i++)
		if (wide.part[i].hi)
			kmt_widen(&r->virt, wide.part[i].lo,
				  wide.part[i].hi - wide.part[i].lo);
	r->percpu_outside = is_apart(&r->percpu.part[0], &r->virt) ||
			    is_apart(&r->percpu.part[1], &r->virt);
	r->shards = shards_of(core, &r->percpu);
	r->least = least_of(&r->virt, &r->percpu);
	r->gap = gap_of(&r->virt, &r->percpu);
	m->stack.refs = 0;
	m->stack.blocks = 0;
	m->near = NULL;
	m->stopped = false;
	m->ignore_stop = false;
	m->searched = false;
	if (m->seen_cache)
		memset(m->seen_cache, 0, sizeof(*m->seen_cache) << KMT_SEEN_SHIFT);
	WRITE_ONCE(core->maybe_white, true);
	WRITE_ONCE(core->epoch, epoch);
	kmt_set_birth(core, true);
}

/**
 * kmt_mark_end - end a mark
 * @m: marker
 */
void kmt_mark_end(struct kmt_marker *m)
{
	kmt_set_birth(m->core, false);
}

/**
 * kmt_marker_check_stop - let others run, and check whether to give up
 * @m: marker
 *
 * Context: no lock held.
 * Return: whether the mark is to be given up.
 */
bool kmt_marker_check_stop(struct kmt_marker *m)
{
	struct kmt_team *team = m->share.team;

	m->budget = KMT_BUDGET;
	if (m->core->ops->relax && m->core->ops->relax(m) && !m->ignore_stop)
		m->stopped = true;
	if (!team)
		return m->stopped;
	if (m->stopped)
		WRITE_ONCE(team->stopped, true);
	m->stopped = READ_ONCE(team->stopped);
	return m->stopped;
}

/*
 * Marking: following references from the roots.
 */

/* Limit of sweeps for blocks that were allocated meanwhile; overflow has no limit. */
#define KMT_SWEEPS	4

/* Called after a root was read: drains the mark stack, unless @defer_drain is set. */
static void drain_unless_deferred(struct kmt_marker *m)
{
	const struct kmt_mark_stack *s = &m->stack;

	/*
	 * While @dated, younger blocks are ignored, which is right for the words of the
	 * cleared block only: follow no reference until it is read.
	 */
	if (!m->dated && (!m->defer_drain || s->refs + s->blocks > s->max / 4))
		kmt_mark_drain(m);
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
	word = kmt_untag(word);
	if (word >= m->ranges.least)
		kmt_follow_word(m, word);
}

/**
 * kmt_mark_words - a root holds these words; their addresses do not matter
 * @m: marker
 * @words: each may be a reference
 * @nr: how many
 *
 * Skips the words with KMT_MODE_BYTES, which needs their addresses, and with KMT_MODE_SUM,
 * which is for blocks.
 *
 * Context: no lock held.
 */
void kmt_mark_words(struct kmt_marker *m, const unsigned long *words,
		    unsigned int nr)
{
	if (m->mode == KMT_MODE_HAND_OVER)
		m->on_words(m, words, nr, 0);
	else if (m->mode == KMT_MODE_ALIGNED)
		kmt_search_words(m, words, nr);
	while (m->mode == KMT_MODE_FOLLOW && nr--)
		kmt_mark_word(m, *words++);
	drain_unless_deferred(m);
}

/* Handles a piece of @from, or of a root: @nr words, copied from address @at. */
static void handle_words(struct kmt_marker *m, const unsigned long *words,
			 unsigned int nr, unsigned long at,
			 const struct kmt_object *from)
{
	unsigned int i;
	bool fresh;

	m->stats.words += nr;
	if (unlikely(m->mode == KMT_MODE_HAND_OVER)) {
		m->on_words(m, words, nr, at);
		return;
	}
	if (m->mode == KMT_MODE_FOLLOW) {
		const struct kmt_range_pair percpu = m->ranges.percpu;
		const struct kmt_range virt = m->ranges.virt;

		for (i = 0; i < nr; i++) {
			const unsigned long word = kmt_untag(words[i]);

			if (kmt_in(&virt, word) || kmt_in_pair(&percpu, word))
				kmt_follow_word(m, word);
		}
		return;
	}
	/* A block that was a suspect until now was never searched: search it in full. */
	fresh = from && READ_ONCE(from->flags) & KMT_SUSPECT;
	if (m->mode == KMT_MODE_ALIGNED || fresh)
		kmt_search_words(m, words, nr);
	if (m->mode == KMT_MODE_BYTES || fresh)
		kmt_search_bytes(m, words, nr, at);
}

static void mark_words(struct kmt_reader *r, unsigned int nr)
{
	handle_words(r->m, r->m->buf, nr, r->at, r->from);
}

/* Handles all words of a block, of whose record @copy is a copy, as the mode says. */
void kmt_handle_object(struct kmt_marker *m, struct kmt_object *o,
		       const struct kmt_object *copy)
{
	struct kmt_reader r = { .words = mark_words, .m = m, .from = o };

	kmt_read_object(&r, o, copy);
}

static void sum_words(struct kmt_reader *r, unsigned int nr)
{
	r->m->stats.words += nr;
	r->m->sum.value = kmt_sum_words(r->m->buf, nr, r->m->sum.value);
}

/**
 * kmt_sum_object - sum up the contents of a block
 * @m: marker, for its buffer
 * @o: cell of the block
 * @copy: what the cell held when the block was chosen
 *
 * Context: no lock held.
 * Return: the checksum; 0, which none has, if the marker was stopped meanwhile.
 */
u32 kmt_sum_object(struct kmt_marker *m, struct kmt_object *o,
		   const struct kmt_object *copy)
{
	struct kmt_reader r = { .words = sum_words, .joins_copies = true, .m = m };

	m->sum.value = KMT_SUM_BEGIN;
	kmt_read_object(&r, o, copy);
	return m->stopped ? 0 : kmt_sum_end(m->sum.value);
}

/* Makes a cleared block, which has changed since, a root. */
static void make_grey(struct kmt_marker *m, struct kmt_object *o)
{
	struct kmt_held held;

	if (!kmt_lock_object(m->core, o, &held))
		return;
	if (kmt_is_cleared(o))
		o->min_refs = KMT_MIN_GREY;
	kmt_unlock(&held);
}

/*
 * Reads a cleared block. If its contents have not changed since it was cleared, no word
 * in it can be a reference to a younger block: a word that looks like one refers to an
 * earlier block in the same place. If they have changed, the block is in use: it was no
 * leak, and is a root from now on.
 */
static void read_cleared(struct kmt_marker *m, struct kmt_object *o,
			 const struct kmt_object *copy)
{
	m->date = copy->born;
	m->dated = kmt_sum_object(m, o, copy) == copy->crc;
	kmt_handle_object(m, o, copy);
	/* A sum of a part of the block tells nothing. */
	if (!m->dated && !m->stopped && m->mode == KMT_MODE_FOLLOW)
		make_grey(m, o);
	m->dated = false;
}

/* Splits a large block into entries of the mark stack that the team can share. */
static bool split(struct kmt_marker *m, struct kmt_object *o,
		  const struct kmt_object *copy)
{
	unsigned long pos = copy->addr, end = copy->addr + copy->size;

	if (!m->share.team || copy->size < 2 * KMT_TEAM_PART ||
	    !kmt_reads_whole(copy) ||
	    copy->size / KMT_TEAM_PART + 2 > kmt_room_for_blocks(&m->stack))
		return false;
	/*
	 * kmt_team_offer() is not called between this test and the last push, so
	 * there is room for all parts. A sweep would not find a part that was
	 * dropped.
	 */
	for (; pos < end; pos = ALIGN_DOWN(pos, KMT_TEAM_PART) + KMT_TEAM_PART)
		kmt_mark_push(m, (void *)o + KMT_ENTRY_PART, pos);
	return true;
}

/* Reads a part of a block, or of the block that is in its cell and place now. */
static void read_part(struct kmt_marker *m, struct kmt_object *o,
		      unsigned long pos)
{
	struct kmt_reader r = {
		.words = mark_words, .marks = true, .m = m, .from = o,
	};
	struct kmt_object copy;

	if (kmt_copy_object(m->core, o, &copy) &&
	    pos - copy.addr < copy.size && kmt_reads_whole(&copy) &&
	    kmt_is_read(&copy) && kmt_reached(&copy, m->core->epoch))
		kmt_read_range(&r, o, &copy, pos, pos +
			       kmt_piece(pos, copy.addr + copy.size,
					 KMT_TEAM_PART));
}

/* Reads a block piece by piece. Called with its tree locked; unlocks it. */
static noinline void read_rest(struct kmt_marker *m, struct kmt_object *o,
			       struct kmt_held *held)
	__releases(&held->tree->lock)
{
	struct kmt_reader r = {
		.words = mark_words, .marks = true,
		.joins_copies = m->mode == KMT_MODE_FOLLOW, .m = m, .from = o,
	};
	struct kmt_object copy = *o;

	kmt_change_flags(o, KMT_SCANNED, 0);
	kmt_unlock(held);
	m->stats.objects++;
	if (unlikely(kmt_is_cleared(&copy)))
		read_cleared(m, o, &copy);
	else if (!split(m, o, &copy))
		kmt_read_object(&r, o, &copy);
}

/* Reads a reached block, or a part of one, piece by piece, unless it was read already. */
static void read_reached(struct kmt_marker *m, struct kmt_object *o,
			 unsigned long addr)
{
	struct kmt_held held;
	bool wanted;

	/* The fixed cost per block. */
	m->budget -= KMT_PIECE_WORDS / 8;
	if (kmt_mark_relax(m))
		return;
	if (unlikely((unsigned long)o & KMT_ENTRY_PART)) {
		read_part(m, (void *)o - KMT_ENTRY_PART, addr);
		return;
	}
	if (!kmt_lock_object(m->core, o, &held))
		return;
	wanted = o->addr == addr && kmt_reached(o, m->core->epoch);
	if (wanted) {
		kmt_enter_epoch(o, m->core->epoch);
		wanted = kmt_must_read(o);
	}
	if (wanted)
		read_rest(m, o, &held);
	else
		kmt_unlock(&held);
}

/**
 * kmt_mark_drain - process the mark stack until it is empty
 * @m: marker
 *
 * Context: no lock held.
 */
void kmt_mark_drain(struct kmt_marker *m)
{
	struct kmt_mark_stack *s = &m->stack;

	while (!kmt_is_empty_stack(s)) {
		struct kmt_mark_entry *g;

		kmt_team_offer(m);
		if (s->refs) {
			kmt_follow_stack(m);
			continue;
		}
		g = &s->entries[s->max - s->blocks--];
		read_reached(m, g->o, g->addr);
	}
}

/**
 * kmt_mark_object - read a reached object, and all objects that it leads to
 * @m: marker
 * @o: its cell
 *
 * Context: no lock held.
 */
void kmt_mark_object(struct kmt_marker *m, struct kmt_object *o)
{
	read_reached(m, o, READ_ONCE(o->addr));
	kmt_mark_drain(m);
}

/**
 * kmt_mark_reread - read an object once more, if the mark reached it
 * @m: marker
 * @o: its cell
 *
 * Context: no lock held.
 */
void kmt_mark_reread(struct kmt_marker *m, struct kmt_object *o)
{
	struct kmt_object copy;

	if (!kmt_copy_object(m->core, o, &copy))
		return;
	if (kmt_reached(&copy, m->core->epoch) && kmt_is_read(&copy)) {
		if (unlikely(kmt_is_cleared(&copy)))
			read_cleared(m, o, &copy);
		else
			kmt_handle_object(m, o, &copy);
	}
	kmt_mark_drain(m);
}

/* Copies and handles a piece of a root; returns its length. */
static unsigned long copy_piece(struct kmt_marker *m, unsigned long pos,
				unsigned long end)
{
	unsigned long len = kmt_piece(pos, end, sizeof(m->buf));

	if (kmt_env_read(m->buf, pos, len))
		handle_words(m, m->buf, len / sizeof(long), pos, NULL);
	else
		kmt_count_event(m->core, KMT_EV_FAULT);
	return len;
}

static void mark_range_running(struct kmt_marker *m, unsigned long start,
			       unsigned long end)
{
	const struct kmt_range nothing = {};
	unsigned long pos = ALIGN(start, sizeof(long));
	unsigned long len;

	end = ALIGN_DOWN(end, sizeof(long));
	for (; pos < end && !kmt_mark_relax(m); pos += len) {
		len = kmt_mark_piece(m, &nothing, pos, end);
		if (len)
			drain_unless_deferred(m);
		else
			len = copy_piece(m, pos, end);
		m->budget -= len / sizeof(long);
	}
}

/* Makes the page of @pos kmt_marker.mapped; returns false if it cannot be read. */
static noinline bool map_page(struct kmt_marker *m, unsigned long pos)
{
	unsigned long at = (unsigned long)kmt_env_map(pos);

	if (!at) {
		kmt_count_event(m->core, KMT_EV_FAULT);
		return false;
	}
	m->mapped.page = pos / PAGE_SIZE;
	m->mapped.shift = at - pos;
	return true;
}

/* As mark_range_running(), in place, while all CPUs are stopped, for references to suspects. */
static void mark_range_stopped(struct kmt_marker *m, unsigned long start,
			       unsigned long end)
{
	unsigned long pos = ALIGN(start, sizeof(long));
	unsigned long next;

	end = ALIGN_DOWN(end, sizeof(long));
	for (; pos < end && !kmt_mark_relax(m); pos = next) {
		next = pos + kmt_piece(pos, end, PAGE_SIZE);
		if (!kmt_search_mapped(m, pos, next) && map_page(m, pos))
			kmt_search_mapped(m, pos, next);
	}
}

/**
 * kmt_mark_range - read memory as a root
 * @m: marker
 * @start: first byte
 * @end: one past the last
 *
 * Pieces that cannot be read are skipped and counted (KMT_EV_FAULT).
 *
 * Context: no lock held.
 */
void kmt_mark_range(struct kmt_marker *m, unsigned long start,
		    unsigned long end)
{
	if (m->world_stopped)
		mark_range_stopped(m, start, end);
	else
		mark_range_running(m, start, end);
	drain_unless_deferred(m);
}

/**
 * kmt_mark_wide - read the reached objects in the wide trees
 * @m: marker
 *
 * These are sections of the image, memory of memblock and data of modules, which lead
 * to most other blocks. So the sweep of the pool that follows finds few objects that
 * were not read, and skips all others with one check each.
 *
 * Context: no lock held.
 */
void kmt_mark_wide(struct kmt_marker *m)
{
	unsigned int space = KMT_NR_SPACES;
	struct kmt_object *o;

	while (space--) {
		unsigned long pos = 0;

		while (kmt_go_on(m) &&
		       (o = kmt_next_wide(m->core, space, &pos)))
			kmt_mark_object(m, o);
	}
}

static bool hint_unread(const struct kmt_object *o, u16 epoch)
{
	/* This is a hint: kmt_must_read() checks again under the lock. */
	return data_race((o->flags & KMT_LIVE) && kmt_reached(o, epoch) &&
			 !(o->epoch == epoch && (o->flags & KMT_SCANNED)));
}

/**
 * kmt_mark_chunk - read the reached objects in a chunk of the pool
 * @m: marker
 * @chunk: chunk
 *
 * Context: no lock held.
 * Return: whether it found objects to read.
 */
bool kmt_mark_chunk(struct kmt_marker *m, struct kmt_chunk *chunk)
{
	const u16 epoch = m->core->epoch;
	const struct kmt_state_match not_suspect = kmt_match_not_suspect(epoch);
	struct kmt_object *o;
	bool found = false;

	if (!kmt_go_on_in(m, chunk))
		return false;
	kmt_for_each_in(chunk, o) {
		if (likely(kmt_state_matches(o, &not_suspect)))
			continue;
		if (kmt_hint_white(o, epoch) || kmt_hint_suspect(o))
			WRITE_ONCE(m->core->maybe_white, true);
		if (!hint_unread(o, epoch))
			continue;
		found = true;
		kmt_mark_object(m, o);
	}
	return found;
}

/**
 * kmt_mark_sweep - read all reached objects that were not read yet
 * @m: marker
 *
 * Walks over the pool for objects that are reached and not read: grey objects, objects
 * for which the mark stack had no room, and blocks that were allocated during the mark.
 * A block that is allocated during the walk may hold the last reference to a white
 * block. So if the walk found objects to read, and there is a white block or a suspect, it
 * walks again, up to KMT_SWEEPS walks in all.
 *
 * Context: no lock held.
 */
void kmt_mark_sweep(struct kmt_marker *m)
{
	struct kmt_core *core = m->core;
	struct kmt_chunk *chunk;
	int rounds = 0;
	bool found;

	kmt_mark_wide(m);
	do {
		found = false;
		WRITE_ONCE(core->maybe_white, false);
		m->stack.overflow = false;
		kmt_for_each_chunk(core, chunk)
			found |= kmt_mark_chunk(m, chunk);
	} while (!m->stopped &&
		 (m->stack.overflow ||
		  (found && READ_ONCE(core->maybe_white) && ++rounds < KMT_SWEEPS)));
	if (m->stopped)
		WRITE_ONCE(core->maybe_white, true);
}

/*
 * Reading the contents of a block, piece by piece.
 *
 * Each piece is read under the lock of the block's tree. The free of the block takes
 * that lock before it returns the memory, so the piece belongs to the block. Interrupts
 * are off for one piece at a time.
 */

/*
 * The range of references from @o to itself, such as those of empty lists, which are
 * ignored. It is empty for a block with an alias: its excess references count for
 * another block, even those from itself.
 */
static struct kmt_range self_of(const struct kmt_object *o)
{
	unsigned long lo = o->addr;

	if (o->flags & KMT_ALIAS)
		return (struct kmt_range){};
	if (kmt_space(o) == KMT_PHYS)
		lo = kmt_env_phys(lo);
	return (struct kmt_range){ lo, lo + o->size };
}

/*
 * Reads the next piece of [@pos, @end) and returns its length; returns 0 if @o is not
 * the block in @copy any more.
 */
static unsigned long read_piece(struct kmt_reader *r, struct kmt_object *o,
				const struct kmt_object *copy,
				unsigned long pos, unsigned long end)
{
	struct kmt_core *core = r->m->core;
	struct kmt_held held;
	unsigned long len, pushed = 0;
	struct kmt_range self;
	bool ok = false;

	if (unlikely(r->m->share.team)) {
		struct kmt_tree *tree = kmt_tree_of(core, kmt_space(copy), copy->addr,
						    copy->size);

		kmt_wait_contended(r->m, &tree->lock);
	}
	if (!kmt_lock_same(core, o, copy, &held))
		return 0;
	self = self_of(o);
	/* A piece does not cross a page boundary, so all of it can be read, or none. */
	len = kmt_piece(pos, end, sizeof(r->m->buf));
	if (r->marks)
		pushed = kmt_mark_piece(r->m, &self, pos, end);
	if (!pushed)
		ok = kmt_env_read(r->m->buf, pos, len);
	kmt_unlock(&held);

	r->at = pos;
	if (ok)
		r->words(r, len / sizeof(long));
	else if (!pushed)
		kmt_count_event(core, KMT_EV_FAULT);
	return pushed ?: len;
}

/**
 * kmt_read_range - pass a part of the contents of a block to a reader
 * @r: reader
 * @o: cell of the block
 * @copy: what the cell held when the block was chosen
 * @start: first byte
 * @end: one past the last
 *
 * @start is rounded up, and @end down, to a multiple of a word.
 *
 * Context: no lock held.
 * Return: false if the block is gone, or the mark is given up.
 */
bool kmt_read_range(struct kmt_reader *r, struct kmt_object *o,
		    const struct kmt_object *copy, unsigned long start,
		    unsigned long end)
{
	unsigned long pos = ALIGN(start, sizeof(long));

	end = ALIGN_DOWN(end, sizeof(long));
	while (pos < end) {
		unsigned long len = read_piece(r, o, copy, pos, end);

		if (!len)
			return false;
		r->m->budget -= len / sizeof(long);
		/* Follow the references just pushed, to make room for the next ones. */
		if (r->marks)
			kmt_follow_stack(r->m);
		if (kmt_mark_relax(r->m))
			return false;
		pos += len;
	}
	return true;
}

/**
 * kmt_next_range - get the next range of a block that can hold references
 * @core: tracker
 * @o: block, or a copy of its cell
 * @nr: 0 for the first range; advanced by each call
 * @range: the range of the call before, unless @nr is 0; set to the next one
 *
 * A per-CPU block has a range for each CPU, a block with scan areas one for each area. A
 * stack has only its first word: after the task has exited, RCU's list of callbacks
 * continues from there.
 *
 * Context: any but NMI; a tree lock may be held.
 * Return: false when there are no more.
 */
bool kmt_next_range(struct kmt_core *core, const struct kmt_object *o,
		    int *nr, struct kmt_range *range)
{
	unsigned long size = o->size;
	int at = *nr;

	*nr = at + 1;
	if ((o->flags & (KMT_AREAS | KMT_WHOLE)) == KMT_AREAS) {
		if (!at)
			*range = (struct kmt_range){};
		return kmt_next_area(core, o->addr, range);
	}
	range->lo = o->addr;
	if (kmt_space(o) == KMT_PERCPU) {
		at = cpumask_next(at - 1, cpu_possible_mask);
		if (at >= nr_cpu_ids)
			return false;
		range->lo = kmt_env_percpu(o->addr, at);
		*nr = at + 1;
	} else if (at) {
		return false;
	} else if (kmt_space(o) == KMT_PHYS) {
		range->lo = kmt_env_phys(o->addr);
	} else if (o->flags & KMT_STACK) {
		size = min(size, sizeof(long));
	}
	range->hi = range->lo + size;
	return true;
}

/*
 * Whether @copy is a per-CPU block so small that the buffer has room for the copies of
 * at least two CPUs, and the copy of each CPU is in one page.
 */
static bool may_join_copies(const struct kmt_reader *r, const struct kmt_object *copy)
{
	return r->joins_copies && kmt_space(copy) == KMT_PERCPU &&
	       r->m->mode != KMT_MODE_BYTES &&
	       copy->size <= sizeof(r->m->buf) / 2 &&
	       kmt_piece(copy->addr, copy->addr + copy->size,
			 sizeof(r->m->buf)) == copy->size;
}

/*
 * Reads the copies of @o of the CPUs after *@cpu, as many as fit in the buffer, and sets
 * *@cpu to the last of them. Returns the number of words, or -1 if @o is not the block
 * in @copy any more.
 */
static int join_copies(struct kmt_reader *r, struct kmt_object *o,
		       const struct kmt_object *copy, int *cpu)
{
	const unsigned long lo = ALIGN(copy->addr, sizeof(long));
	const unsigned long hi = ALIGN_DOWN(copy->addr + copy->size,
					    sizeof(long));
	const unsigned int words = lo < hi ? (hi - lo) / sizeof(long) : 0;
	unsigned int nr = 0, faults = 0;
	struct kmt_held held;

	if (!words) {
		*cpu = nr_cpu_ids;
		return 0;
	}
	if (!kmt_lock_same(r->m->core, o, copy, &held))
		return -1;
	while (nr + words <= ARRAY_SIZE(r->m->buf)) {
		*cpu = cpumask_next(*cpu, cpu_possible_mask);
		if (*cpu >= nr_cpu_ids)
			break;
		if (kmt_env_read(r->m->buf + nr, kmt_env_percpu(lo, *cpu),
				 words * sizeof(long)))
			nr += words;
		else
			faults++;
	}
	kmt_unlock(&held);
	while (faults--)
		kmt_count_event(r->m->core, KMT_EV_FAULT);
	return nr;
}

static void read_copies(struct kmt_reader *r, struct kmt_object *o,
			const struct kmt_object *copy)
{
	int cpu = -1, nr;

	while (cpu < (int)nr_cpu_ids) {
		nr = join_copies(r, o, copy, &cpu);
		if (nr < 0)
			return;
		/* No address: the copies of different CPUs are not adjacent. */
		r->at = 0;
		if (nr)
			r->words(r, nr);
		r->m->budget -= nr;
		if (r->marks)
			kmt_follow_stack(r->m);
		if (kmt_mark_relax(r->m))
			return;
	}
}

/* As kmt_next_range(), with the budget and waiting of a marker that holds no lock. */
static bool next_range(struct kmt_marker *m, const struct kmt_object *copy,
		       int *nr, struct kmt_range *range)
{
	if (copy->flags & KMT_AREAS) {
		/* A block may have many areas of a word each. */
		m->budget -= KMT_AREA_STEP;
		kmt_wait_contended(m, &kmt_aux_tree(m->core, copy->addr)->lock);
	}
	return kmt_next_range(m->core, copy, nr, range);
}

/**
 * kmt_read_object - pass the contents of a block to a reader
 * @r: reader; its marker's buffer holds the words of each piece
 * @o: cell of the block
 * @copy: what the cell held when the block was chosen
 *
 * Stops when the block is freed or the mark is given up. Memory that cannot be read is
 * skipped and counted (KMT_EV_FAULT).
 *
 * Context: no lock held.
 */
void kmt_read_object(struct kmt_reader *r, struct kmt_object *o,
		     const struct kmt_object *copy)
{
	struct kmt_range range;
	int nr = 0;

	if (may_join_copies(r, copy))
		return read_copies(r, o, copy);
	while (next_range(r->m, copy, &nr, &range))
		if (!kmt_read_range(r, o, copy, range.lo, range.hi))
			return;
}
