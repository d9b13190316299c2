// SPDX-License-Identifier: GPL-2.0
/*
 * From suspect to leak: the decisions after a mark.
 *
 * A mark may miss a block whose only reference moves meanwhile, so the blocks that it
 * does not reach are suspects. A suspect becomes a leak in one of two ways. Either a
 * recheck while all CPUs are stopped (suspect.c) finds no reference to it, and then
 * kmt_judge() is called at once. Or the scan waits (confirm=wait, or no snapshot could
 * be taken): kmt_suspect_for_wait() sums up the contents of the block, and in a later mark
 * kmt_mark_doubtful() counts it as reached unless it is white again, unchanged and old
 * enough.
 */
#include "mark.h"

/* Sums up the contents of @o; returns false if @o is not white. */
static bool sum_white(struct kmt_marker *m, struct kmt_object *o,
		      struct kmt_object *copy, u32 *crc)
{
	if (!kmt_copy_object(m->core, o, copy) ||
	    kmt_reached(copy, m->core->epoch))
		return false;
	*crc = kmt_sum_object(m, o, copy);
	return true;
}

/* Acquits @o if the current mark reached it. */
static void acquit(struct kmt_core *core, struct kmt_object *o)
{
	struct kmt_held held;

	if (!kmt_lock_object(core, o, &held))
		return;
	if (kmt_reached(o, core->epoch))
		kmt_change_flags(o, 0, KMT_SUSPECT | KMT_TRANSIENT | KMT_LEAK |
				 KMT_NEW | KMT_INDIRECT | KMT_COVERED);
	kmt_unlock(&held);
}

/**
 * kmt_acquit_reached - acquit suspects that a mark reached, and visit white blocks
 * @m: marker
 * @f: for @left; NULL if it needs none
 * @v: for @left
 * @left: called for each cell that seems to hold a white block; it checks again under
 *	the lock of the block's tree
 *
 * Context: no lock held.
 */
void kmt_acquit_reached(struct kmt_marker *m, struct kmt_filter *f,
			struct kmt_verdict *v,
			void (*left)(struct kmt_marker *m, struct kmt_object *o,
				     struct kmt_filter *f, struct kmt_verdict *v))
{
	const u16 epoch = m->core->epoch;
	const struct kmt_state_match not_suspect = kmt_match_not_suspect(epoch);
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_walk_cells(m, chunk, o) {
		if (kmt_hint_not_suspect(o, epoch, &not_suspect) || !kmt_go_on(m))
			continue;
		if (kmt_hint_white(o, epoch))
			left(m, o, f, v);
		else
			acquit(m->core, o);
	}
}

static void suspect_with_sum(struct kmt_marker *m, struct kmt_object *o,
			     struct kmt_filter *unused, struct kmt_verdict *v)
{
	struct kmt_object copy;
	struct kmt_held held;
	u32 crc;

	if (!sum_white(m, o, &copy, &crc))
		return;
	if (!kmt_lock_same(m->core, o, &copy, &held))
		return;
	if (copy.flags & KMT_TRANSIENT) {
		/* Without KMT_SUSPECT, kmt_mark_doubtful() counts it as reached once. */
		kmt_change_flags(o, 0, KMT_SUSPECT | KMT_TRANSIENT);
	} else {
		kmt_change_flags(o, KMT_SUSPECT, 0);
		o->crc = crc;
		if (!(o->flags & KMT_LEAK)) {
			if (!v->suspects || kmt_is_younger(o->born, v->youngest))
				v->youngest = o->born;
			v->suspects++;
		}
	}
	kmt_unlock(&held);
}

/**
 * kmt_suspect_for_wait - make suspects of white blocks, for a later mark to confirm
 * @m: marker, between kmt_mark_sweep() and kmt_mark_end()
 * @v: set to the number of suspects, and when the youngest was allocated
 *
 * For a scan that waits, after each of its marks but the last.
 *
 * Context: no lock held.
 */
void kmt_suspect_for_wait(struct kmt_marker *m, struct kmt_verdict *v)
{
	memset(v, 0, sizeof(*v));
	kmt_acquit_reached(m, NULL, v, suspect_with_sum);
}

/* If @o is white but doubtful, counts it as reached; returns whether it did. */
static bool mark_if_doubtful(struct kmt_marker *m, struct kmt_object *o,
			     u32 now, u32 min_age)
{
	struct kmt_object copy;
	struct kmt_held held;
	bool doubtful;
	u32 crc;

	if (!sum_white(m, o, &copy, &crc))
		return false;
	if (!kmt_lock_same(m->core, o, &copy, &held))
		return false;
	doubtful = !(o->flags & KMT_SUSPECT) || o->crc != crc ||
		   now - o->born < min_age;
	if (doubtful)
		kmt_set_reached(o, m->core->epoch);
	kmt_unlock(&held);
	return doubtful;
}

/**
 * kmt_mark_doubtful - count doubtful white blocks as reached
 * @m: marker of the second or a later mark of a scan, after kmt_mark_sweep()
 * @now: low 32 bits of jiffies
 * @min_age: blocks younger than this, in jiffies, are no leaks yet
 *
 * A white block is doubtful if it was no suspect before, if it has changed since, or if
 * it is too young. The blocks that it refers to are then reached, too.
 *
 * Context: no lock held.
 */
void kmt_mark_doubtful(struct kmt_marker *m, u32 now, u32 min_age)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_walk_cells(m, chunk, o)
		if (kmt_hint_white(o, m->core->epoch) && kmt_go_on(m) &&
		    mark_if_doubtful(m, o, now, min_age))
			kmt_mark_object(m, o);
	kmt_mark_sweep(m);
	/* kmt_suspect_for_search() spares a white block that this has not seen. */
	m->searched = true;
}

static void make_leak(struct kmt_marker *m, struct kmt_object *o,
		      struct kmt_filter *unused, struct kmt_verdict *v)
{
	struct kmt_held held;

	if (!kmt_lock_object(m->core, o, &held))
		return;
	if (!kmt_reached(o, m->core->epoch) && (o->flags & KMT_SUSPECT)) {
		if (o->flags & KMT_LEAK) {
			kmt_change_flags(o, 0, KMT_NEW);
		} else {
			kmt_change_flags(o, KMT_LEAK | KMT_NEW, 0);
			v->fresh++;
		}
		v->leaks++;
		v->leak_bytes += o->size;
	}
	kmt_unlock(&held);
}

/**
 * kmt_judge - make leaks of the suspects that are left
 * @m: marker, after kmt_update_suspects() or kmt_mark_doubtful(), before kmt_mark_end()
 * @v: set to the number of leaks, their bytes, and the number of new leaks
 *
 * A leak that is referenced again is acquitted. From here until the next mark begins
 * nothing gives up: leaks made here are not new for the next scan, so all that follows
 * from them is done.
 *
 * Context: no lock held.
 */
void kmt_judge(struct kmt_marker *m, struct kmt_verdict *v)
{
	v->leaks = 0;
	v->leak_bytes = 0;
	v->fresh = 0;
	if (m->stopped)
		return;
	m->ignore_stop = true;
	kmt_acquit_reached(m, NULL, v, make_leak);
}

/**
 * kmt_limit_ages - limit the ages of records, and of the last classification, to
 *		    KMT_AGE_MAX
 * @core: tracker
 * @chunk: chunk of the records
 * @now: low 32 bits of jiffies
 *
 * Context: no lock held, no mark under way.
 */
void kmt_limit_ages(struct kmt_core *core, struct kmt_chunk *chunk, u32 now)
{
	struct kmt_object *o;

	core->classified = kmt_limit_age(core->classified, now);
	kmt_for_each_in(chunk, o) {
		/* Checked again under the lock. */
		u32 born = data_race(o->born);
		struct kmt_held held;

		if (kmt_limit_age(born, now) == born)
			continue;
		if (!kmt_lock_object(core, o, &held))
			continue;
		o->born = kmt_limit_age(o->born, now);
		kmt_unlock(&held);
	}
}

/* Clears @o if it is a leak; returns whether it did. */
static bool clear_leak(struct kmt_marker *m, struct kmt_object *o, u32 now)
{
	struct kmt_object copy;
	struct kmt_held held;
	bool leak;
	u32 crc;

	if (!kmt_copy_object(m->core, o, &copy) || !(copy.flags & KMT_LEAK))
		return false;
	crc = kmt_sum_object(m, o, &copy);
	if (!crc)
		return false;
	if (!kmt_lock_same(m->core, o, &copy, &held))
		return false;
	leak = o->flags & KMT_LEAK;
	if (leak) {
		o->min_refs = KMT_MIN_CLEARED;
		o->crc = crc;
		o->born = now;
		kmt_change_flags(o, 0, KMT_SUSPECT | KMT_LEAK | KMT_NEW |
				 KMT_INDIRECT | KMT_COVERED);
	}
	kmt_unlock(&held);
	return leak;
}

/**
 * kmt_clear - clear all leaks: they are not reported again
 * @m: marker, for its buffer and its budget
 * @now: low 32 bits of jiffies
 *
 * Later marks read the blocks, in case they are in use after all. While their contents
 * do not change, references in them to blocks allocated after @now do not count.
 *
 * Context: no lock held, no mark under way.
 * Return: number of leaks cleared.
 */
unsigned long kmt_clear(struct kmt_marker *m, u32 now)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned long nr = 0;

	kmt_walk_cells(m, chunk, o)
		if (kmt_hint_suspect(o) && kmt_go_on(m))
			nr += clear_leak(m, o, now);
	return nr;
}
