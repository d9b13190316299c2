// SPDX-License-Identifier: GPL-2.0
/*
 * From unreferenced to leak: the decisions after a mark.
 *
 * A single concurrent mark proves nothing of a block whose only reference was
 * on the move. So what it leaves unreferenced is a suspect, and its contents
 * are summed; only a suspect that a later mark finds unreferenced again, its
 * contents unchanged, and that is old enough, is a leak.
 */
#include "glance.h"
#include "mark.h"

static void sum_words(struct kmt_reader *r, unsigned int nr)
{
	r->crc = kmt_env_crc(r->crc, r->m->buf, nr * sizeof(long));
}

/* Sums the contents; false if @o is not, or no longer, white. */
static bool sum_white(struct kmt_marker *m, struct kmt_object *o,
		      struct kmt_object *copy, u32 *crc)
{
	struct kmt_reader r = { .words = sum_words, .gathers = true, .m = m };
	struct kmt_tree *tree;
	unsigned long flags;
	bool white;

	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return false;
	white = !kmt_reached(o, m->core->epoch);
	*copy = *o;
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	if (!white)
		return false;
	kmt_read_object(&r, o, copy);
	*crc = r.crc;
	return true;
}

/* Locks @o again if it still is the block that @copy was taken of. */
static struct kmt_tree *relock(struct kmt_core *core, struct kmt_object *o,
			       const struct kmt_object *copy,
			       unsigned long *flags)
{
	struct kmt_tree *tree = kmt_lock_object(core, o, flags);

	if (tree && (o->addr != copy->addr || o->born != copy->born ||
		     kmt_space(o) != kmt_space(copy))) {
		raw_spin_unlock_irqrestore(&tree->lock, *flags);
		return NULL;
	}
	return tree;
}

/**
 * kmt_acquit - a block may have been referenced after all
 * @core: tracker
 * @o: its cell; nothing happens unless the current mark reached it
 *
 * Context: no lock held.
 */
void kmt_acquit(struct kmt_core *core, struct kmt_object *o)
{
	struct kmt_tree *tree;
	unsigned long flags;

	tree = kmt_lock_object(core, o, &flags);
	if (!tree)
		return;
	if (kmt_reached(o, core->epoch))
		kmt_change_flags(o, 0, KMT_SUSPECT | KMT_TRANSIENT | KMT_LEAK |
				 KMT_NEW | KMT_INDIRECT | KMT_COVERED);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

static void note_suspect(struct kmt_marker *m, struct kmt_object *o,
			 struct kmt_verdict *v)
{
	struct kmt_object copy;
	struct kmt_tree *tree;
	unsigned long flags;
	u32 crc;

	if (!sum_white(m, o, &copy, &crc))
		return;
	tree = relock(m->core, o, &copy, &flags);
	if (!tree)
		return;
	if (copy.flags & KMT_TRANSIENT) {
		/* Spared this once: without KMT_SUSPECT it is revived. */
		kmt_change_flags(o, 0, KMT_SUSPECT | KMT_TRANSIENT);
	} else {
		kmt_change_flags(o, KMT_SUSPECT, 0);
		o->crc = crc;
		if (!(o->flags & KMT_LEAK)) {
			if (!v->suspects || (s32)(o->born - v->youngest) > 0)
				v->youngest = o->born;
			v->suspects++;
		}
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

/**
 * kmt_suspect - note what the first mark of a scan left unreferenced
 * @m: marker, between kmt_mark_sweep() and kmt_mark_end()
 * @v: set to the number of suspects and the birth of the youngest
 *
 * Context: no lock held.
 */
void kmt_suspect(struct kmt_marker *m, struct kmt_verdict *v)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	memset(v, 0, sizeof(*v));
	kmt_for_each_cell(m->core, chunk, o) {
		if (m->stopped)
			return;
		if (kmt_hint_white(o, m->core->epoch))
			note_suspect(m, o, v);
		else if (kmt_hint_accused(o))
			kmt_acquit(m->core, o);
		m->budget -= 2;
		kmt_mark_relax(m);
	}
}

/* Whether a white block may be no leak all the same; counts it as reached. */
static bool revive(struct kmt_marker *m, struct kmt_object *o, u32 now,
		   u32 min_age)
{
	struct kmt_object copy;
	struct kmt_tree *tree;
	unsigned long flags;
	bool alive;
	u32 crc;

	if (!sum_white(m, o, &copy, &crc))
		return false;
	tree = relock(m->core, o, &copy, &flags);
	if (!tree)
		return false;
	alive = !(o->flags & KMT_SUSPECT) || o->crc != crc ||
		now - o->born < min_age;
	if (alive) {
		o->epoch = m->core->epoch;
		o->count = KMT_COUNT_MAX;
		kmt_change_flags(o, 0, KMT_SCANNED);
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return alive;
}

/**
 * kmt_revive - take the doubtful among the unreferenced for reached
 * @m: marker of the second or a later mark of a scan, after kmt_mark_sweep()
 * @now: low 32 bits of jiffies
 * @min_age: blocks younger than this, in jiffies, are no leaks yet
 *
 * Doubtful is what was no suspect before, what changed since and what is too
 * young. What they refer to is reached then, too.
 *
 * Context: no lock held.
 */
void kmt_revive(struct kmt_marker *m, u32 now, u32 min_age)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_cell(m->core, chunk, o) {
		if (m->stopped)
			return;
		if (kmt_hint_white(o, m->core->epoch) &&
		    revive(m, o, now, min_age))
			kmt_mark_object(m, o);
		m->budget -= 2;
		kmt_mark_relax(m);
	}
	kmt_mark_sweep(m);
}

static void convict(struct kmt_core *core, struct kmt_object *o,
		    struct kmt_verdict *v)
{
	struct kmt_tree *tree;
	unsigned long flags;

	tree = kmt_lock_object(core, o, &flags);
	if (!tree)
		return;
	if (!kmt_reached(o, core->epoch) && (o->flags & KMT_SUSPECT)) {
		if (o->flags & KMT_LEAK) {
			kmt_change_flags(o, 0, KMT_NEW);
		} else {
			kmt_change_flags(o, KMT_LEAK | KMT_NEW, 0);
			v->fresh++;
		}
		v->leaks++;
		v->leak_bytes += o->size;
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

/**
 * kmt_judge - report what is a leak
 * @m: marker, after kmt_revive() and before kmt_mark_end()
 * @v: counts
 *
 * A block that is referenced again is no leak any more.
 *
 * Context: no lock held.
 */
void kmt_judge(struct kmt_marker *m, struct kmt_verdict *v)
{
	const u16 epoch = m->core->epoch;
	const struct kmt_state_match look = kmt_match_not_suspect(epoch);
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	v->leaks = 0;
	v->leak_bytes = 0;
	v->fresh = 0;
	kmt_for_each_chunk(m->core, chunk) {
		if (!kmt_go_on_in(m, chunk))
			return;
		kmt_for_each_in(chunk, o) {
			if (kmt_hint_not_suspect(o, epoch, &look))
				continue;
			if (!kmt_go_on(m))
				return;
			if (kmt_hint_white(o, m->core->epoch))
				convict(m->core, o, v);
			else
				kmt_acquit(m->core, o);
		}
	}
}

/**
 * kmt_limit_ages - let nothing be older than KMT_AGE_MAX
 * @core: tracker
 * @chunk: of these cells
 * @now: low 32 bits of jiffies
 *
 * Context: no lock held, no mark under way.
 */
void kmt_limit_ages(struct kmt_core *core, struct kmt_chunk *chunk, u32 now)
{
	struct kmt_object *o;

	kmt_for_each_in(chunk, o) {
		struct kmt_tree *tree;
		unsigned long flags;

		/* To be looked at again with the lock. */
		if (data_race(now - o->born) <= KMT_AGE_MAX)
			continue;
		tree = kmt_lock_object(core, o, &flags);
		if (!tree)
			continue;
		if (now - o->born > KMT_AGE_MAX)
			o->born = now - KMT_AGE_MAX;
		raw_spin_unlock_irqrestore(&tree->lock, flags);
	}
}

/* Clears @o; false if it is no leak, or not any more. */
static bool clear_leak(struct kmt_marker *m, struct kmt_object *o, u32 now)
{
	struct kmt_object copy;
	struct kmt_tree *tree;
	unsigned long flags;
	bool leak;
	u32 crc;

	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return false;
	copy = *o;
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	if (!(copy.flags & KMT_LEAK))
		return false;
	crc = kmt_sum_object(m, o, &copy);
	tree = relock(m->core, o, &copy, &flags);
	if (!tree)
		return false;
	leak = o->flags & KMT_LEAK;
	if (leak) {
		o->min = KMT_MIN_CLEARED;
		o->crc = crc;
		o->born = now;
		kmt_change_flags(o, 0, KMT_SUSPECT | KMT_LEAK | KMT_NEW |
				 KMT_INDIRECT | KMT_COVERED);
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return leak;
}

/**
 * kmt_clear - never report again what is reported now
 * @m: marker, for its buffer and its budget
 * @now: low 32 bits of jiffies
 *
 * The blocks are read by later marks, in case they are used after all. As long
 * as their contents stay what they are, they refer to nothing that is born later
 * than @now.
 *
 * Context: no lock held, no mark under way.
 * Return: how many blocks that were.
 */
unsigned long kmt_clear(struct kmt_marker *m, u32 now)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned long nr = 0;

	kmt_walk_cells(m, chunk, o)
		if (kmt_hint_accused(o) && clear_leak(m, o, now))
			nr++;
	return nr;
}
