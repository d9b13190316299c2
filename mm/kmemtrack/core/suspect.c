// SPDX-License-Identifier: GPL-2.0
/*
 * Search and recheck: are the suspects of a mark referenced after all?
 *
 * While all CPUs are stopped, all roots and all reached blocks are read once more, for
 * references to suspects only. References are counted again, from zero; a suspect that
 * has enough of them is read, too. No path leads to a suspect that is left, now or
 * later.
 *
 *	kmt_suspect_for_search();	with all CPUs running
 *	kmt_mark_range() ...		roots
 *	kmt_search();
 *	kmt_update_suspects();		and again from kmt_suspect_for_search() on
 *					while that acquits suspects
 *	kmt_suspect_for_search();
 *	kmt_share_units();		in each of the markers, all CPUs stopped:
 *	kmt_mark_range() ...
 *	kmt_recheck();
 *	kmt_read_acquitted();		in the last marker
 *	kmt_update_suspects();		with all CPUs running again
 *	kmt_mark_range() ...		roots, for references that are not aligned
 *	kmt_recheck_bytes();
 *
 * All these calls are between kmt_mark_sweep() and kmt_mark_end(): blocks that are
 * allocated meanwhile count as reached, and are read. See "Snapshot" in kmemtrack-design.rst.
 */
#include "mark.h"

/* Makes @o a suspect, with no references counted yet. */
static void suspect_uncounted(struct kmt_core *core, struct kmt_object *o)
{
	o->epoch = core->epoch;
	o->count = 0;
	o->crc = 0;
	kmt_change_flags(o, KMT_SUSPECT, KMT_SCANNED);
}

/*
 * Unlocks the tree. Then, if @pass, adds the block in @o to the filter, so that references
 * to it pass. That is done without the lock, since a large block sets many bits. If the
 * block is freed meanwhile, the filter only lets more words pass than necessary.
 */
static void unlock_and_filter_add(struct kmt_held *held, const struct kmt_object *o,
				  struct kmt_filter *f, bool pass)
	__releases(&held->tree->lock)
{
	const struct kmt_object copy = *o;

	kmt_unlock(held);
	if (pass)
		kmt_filter_add(f, kmt_space(&copy), copy.addr, copy.size);
}

/*
 * Whether the record of @o, which is white, was written before the mark began, but linked
 * only after the first kmt_suspect_for_search(). No search has looked for references to
 * it, and blocks with such references may have a checksum and are not read again, so it
 * must not become a leak.
 */
static bool came_after_search(const struct kmt_marker *m,
			      const struct kmt_object *o)
{
	return m->searched && !(o->flags & (KMT_SUSPECT | KMT_LEAK));
}

/*
 * Whether the ranges of this mark contain @o. If its CPU widened the range of its space
 * after kmt_mark_begin() had copied that, they do not, and no reference to it was counted.
 */
static bool may_be_referred_to(const struct kmt_marker *m, const struct kmt_object *o)
{
	const struct kmt_ref_ranges *r = &m->ranges;
	const unsigned long last = o->addr + o->size - 1;

	switch (kmt_space(o)) {
	case KMT_VIRT:
		return kmt_in(&r->virt, o->addr) && kmt_in(&r->virt, last);
	case KMT_PERCPU:
		return kmt_in_pair(&r->percpu, o->addr) && kmt_in_pair(&r->percpu, last);
	default:
		return true;
	}
}

static void suspect_white(struct kmt_marker *m, struct kmt_object *o,
			  struct kmt_filter *f, struct kmt_verdict *v)
{
	bool suspected = false;
	struct kmt_held held;

	if (!kmt_lock_object(m->core, o, &held))
		return;
	if (kmt_reached(o, m->core->epoch)) {
		/* Referenced or allocated meanwhile. */
	} else if ((o->flags & KMT_TRANSIENT) || came_after_search(m, o) ||
		   !may_be_referred_to(m, o)) {
		/* No suspect: it counts as reached, so that blocks it refers to are, too. */
		kmt_set_reached(o, m->core->epoch);
		kmt_change_flags(o, 0, KMT_TRANSIENT | KMT_SUSPECT);
	} else {
		suspect_uncounted(m->core, o);
		suspected = true;
		v->all_suspects++;
		v->suspects += !(o->flags & KMT_LEAK);
	}
	unlock_and_filter_add(&held, o, f, suspected);
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

static void filter_add_holder(struct kmt_core *core, struct kmt_object *o,
			      struct kmt_filter *f, bool anew)
{
	struct kmt_held held;

	if (!stands_for_suspect(core, READ_ONCE(o->addr)))
		return;
	if (!kmt_lock_object(core, o, &held))
		return;
	/*
	 * A block that needs no references, or was spared or allocated in this mark,
	 * passes on all references: do not count them anew.
	 */
	if (anew && kmt_needs_refs(o) && o->count != KMT_COUNT_MAX)
		suspect_uncounted(core, o);
	unlock_and_filter_add(&held, o, f, true);
}

/*
 * Lets references pass to blocks with an alias (holders) whose excess references count
 * for suspects. With @anew, all references to the holders are counted again, from zero,
 * to determine how many are in excess.
 */
static void filter_add_holders(struct kmt_marker *m, struct kmt_filter *f, bool anew)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_walk_cells(m, chunk, o)
		if (kmt_hint_flags(o, KMT_LIVE | KMT_ALIAS | KMT_AUX | KMT_SUSPECT,
				   KMT_LIVE | KMT_ALIAS) && kmt_go_on(m))
			filter_add_holder(m->core, o, f, anew);
}

/**
 * kmt_suspect_for_search - make suspects of the blocks that the mark did not reach
 * @m: marker, after kmt_mark_sweep()
 * @f: set to let references to suspects pass
 * @v: set to the number of suspects, and of those that are not reported yet
 *
 * Context: no lock held.
 */
void kmt_suspect_for_search(struct kmt_marker *m, struct kmt_filter *f,
			    struct kmt_verdict *v)
{
	memset(v, 0, sizeof(*v));
	kmt_filter_reset(f);
	if (!READ_ONCE(m->core->maybe_white))
		return;
	kmt_acquit_reached(m, f, v, suspect_white);
	if (v->suspects)
		filter_add_holders(m, f, true);
}

/* Lets references to @o pass if it still is a suspect. */
static void keep_suspect(struct kmt_marker *m, struct kmt_object *o,
			 struct kmt_filter *f, struct kmt_verdict *v)
{
	struct kmt_held held;
	bool left;

	if (!kmt_lock_object(m->core, o, &held))
		return;
	left = !kmt_reached(o, m->core->epoch) &&
	       (o->flags & (KMT_SUSPECT | KMT_LEAK)) == KMT_SUSPECT;
	v->suspects += left;
	unlock_and_filter_add(&held, o, f, left);
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
static bool hint_reread(const struct kmt_object *o)
{
	/* The caller checks again under the lock before it reads the block. */
	return data_race((o->flags & (KMT_LIVE | KMT_SUSPECT)) == KMT_LIVE &&
			 kmt_is_read(o));
}

/* Sums up the words in the buffer, copied from address @at. */
static void sum_piece(struct kmt_marker *m, unsigned int nr, unsigned long at)
{
	m->stats.words += nr;
	m->sum.value = kmt_sum_words(m->buf, nr, m->sum.value);
	kmt_search_words(m, m->buf, nr);
	kmt_search_bytes(m, m->buf, nr, at);
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
			kmt_count_event(m->core, KMT_EV_FAULT);
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
			       struct kmt_held *held)
	__releases(&held->tree->lock)
{
	struct kmt_reader r = { .words = sum_words, .joins_copies = true, .m = m };
	struct kmt_object copy = *o;

	kmt_unlock(held);
	kmt_read_object(&r, o, &copy);
	if (!kmt_lock_same(m->core, o, &copy, held))
		return;
	o->crc = m->sum.found ? 0 : kmt_sum_end(m->sum.value);
	kmt_unlock(held);
}

/* Sums up @o; m->sum.found says whether it may refer to a suspect. */
static void sum_block(struct kmt_marker *m, struct kmt_object *o)
{
	struct kmt_held held;

	m->sum.value = KMT_SUM_BEGIN;
	m->sum.found = false;
	if (!kmt_lock_object(m->core, o, &held))
		return;
	/* Keep the checksum of a cleared block. */
	if (kmt_is_cleared(o))
		m->sum.found = true;
	else if (hint_reread(o) && !sum_small(m, o))
		return sum_large(m, o, &held);
	kmt_unlock(&held);
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
 *	kmt_suspect_for_search() (KMT_MODE_ALIGNED), and has read the roots
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
		if (hint_reread(o) && kmt_go_on(m))
			search_block(m, o);
	kmt_read_acquitted(m);
}

/* Reads a block in place; kmt_marker.mode says what to do with its words. */
static void read_block(struct kmt_marker *m, struct kmt_object *o)
{
	unsigned long lo = ALIGN(o->addr, sizeof(long));
	unsigned long hi = ALIGN_DOWN(o->addr + o->size, sizeof(long));
	struct kmt_range range;
	int nr = 0;

	if (kmt_reads_whole(o)) {
		if (likely(lo < hi) && unlikely(!kmt_search_mapped(m, lo, hi)))
			kmt_mark_range(m, lo, hi);
		return;
	}
	while (kmt_next_range(m->core, o, &nr, &range))
		kmt_mark_range(m, range.lo, range.hi);
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
		return kmt_sum_end(kmt_sum_words(words, (hi - lo) / sizeof(long),
						 KMT_SUM_BEGIN)) == o->crc;
	m->sum.value = KMT_SUM_BEGIN;
	m->mode = KMT_MODE_SUM;
	read_block(m, o);
	m->mode = KMT_MODE_ALIGNED;
	return kmt_sum_end(m->sum.value) == o->crc;
}

/* Whether @o is a section or memblock memory: it changes often, and is seldom packed. */
static bool hint_section(const struct kmt_object *o)
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
	if (!hint_section(o)) {
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
		if (hint_reread(o))
			recheck_object(m, o);
}

/**
 * kmt_recheck - read this marker's share of the reached blocks
 * @m: marker from kmt_marker_join_stopped()
 *
 * Context: all CPUs stopped; several markers share the work.
 */
void kmt_recheck(struct kmt_marker *m)
{
	struct kmt_chunk *chunk = m->core->pool.chunks;

	for (; chunk && !m->stopped; chunk = chunk->next)
		if (kmt_take_unit(m))
			recheck_chunk(m, chunk);
}

/* Whether @o is a suspect that has enough references, and was not read. */
static bool to_be_followed(const struct kmt_object *o, u16 epoch)
{
	/* read_reached() checks again under the lock before it reads the block. */
	return data_race((o->flags & (KMT_LIVE | KMT_SUSPECT | KMT_SCANNED)) ==
			 (KMT_LIVE | KMT_SUSPECT) && kmt_reached(o, epoch));
}

/**
 * kmt_read_acquitted - read suspects for which a mark stack had no room
 * @m: marker
 *
 * Context: no other marker runs; all CPUs may be stopped.
 */
void kmt_read_acquitted(struct kmt_marker *m)
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
		if (hint_reread(o) && hint_section(o) && kmt_go_on(m))
			kmt_mark_reread(m, o);
	kmt_read_acquitted(m);
}
