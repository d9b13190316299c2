/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Several markers that share one mark, beside everything else.
 *
 * Roots, and chunks of the pool that are swept, are units that are taken by
 * turns (kmt_my_turn()). What a marker finds from there on is its own, but for
 * what it puts into the team's box: there others find something to do once
 * they have no turn left. The mark is through when all of them look for work
 * and the box is empty.
 *
 * Locking: @lock is a leaf, taken with no lock held, and never in interrupts.
 * It guards @box, @nr, @members, @idle and @over. Nobody waits under it.
 *
 * Invariants: @idle <= @members; once @over, @nr stays as it is and nobody
 * joins; a marker that is idle has an empty mark stack.
 */
#ifndef _KMT_TEAM_H
#define _KMT_TEAM_H

#include "mark.h"

/* Entries in the box, and how many are moved at once, under the lock. */
#define KMT_BOX		256
#define KMT_BOX_MOVE	64

/* Bytes of a large block that one marker reads: a power of two, at least a page. */
#define KMT_TEAM_PART	65536UL

/* How often to look whether a lock is free, and how often to sleep then. */
#define KMT_LOCK_LOOKS	4000
#define KMT_LOCK_NAPS	8

/* A marker with so many entries on its mark stack puts some into the box. */
#define KMT_BOX_SPARE	128

/**
 * struct kmt_team - markers that share a mark
 * @lock: see above
 * @box: as on a mark stack, for whom has nothing to do
 * @nr: entries in it
 * @members: markers that joined
 * @idle: how many of them have nothing to do
 * @over: nothing is left, or the mark was given up
 * @stopped: it was given up
 * @turns: units that were taken
 * @chunks: the first chunk to be swept; those before it are younger
 */
struct kmt_team {
	raw_spinlock_t lock;
	struct kmt_mark_entry box[KMT_BOX];
	u32 nr;
	u32 members;
	u32 idle;
	bool over;
	bool stopped;
	atomic_long_t turns;
	struct kmt_chunk *chunks;
};

void kmt_team_init(struct kmt_team *team, struct kmt_core *core);
bool kmt_team_join(struct kmt_team *team, struct kmt_marker *m);
void kmt_team_work(struct kmt_marker *m);
void kmt_team_put(struct kmt_marker *m);
void kmt_team_await(struct kmt_marker *m, raw_spinlock_t *lock);

/**
 * kmt_wait_contended - before a lock is taken that another marker may hold
 * @m: marker
 * @lock: lock
 *
 * Context: no lock held.
 */
static __always_inline void kmt_wait_contended(struct kmt_marker *m,
					       raw_spinlock_t *lock)
{
	if (unlikely(m->share.team) && raw_spin_is_locked(lock))
		kmt_team_await(m, lock);
}

/*
 * How many entries there should be in the box, to be taken by others. A marker
 * with few entries gives only as many as others wait for, and none that leads to
 * where it goes on itself: two markers in one shard contend for its lock.
 */
static inline u32 kmt_team_wants(const struct kmt_marker *m)
{
	const struct kmt_mark_stack *s = &m->stack;

	if (s->refs + s->blocks >= KMT_BOX_SPARE)
		return KMT_BOX_MOVE;
	/* A block is somewhere else. */
	if (s->blocks)
		return READ_ONCE(m->share.team->idle);
	return (s->entries[0].addr ^ s->entries[s->refs - 1].addr) >>
	       KMT_REGION_SHIFT ? READ_ONCE(m->share.team->idle) : 0;
}

/**
 * kmt_team_share - give to others what they can do, if they may want it
 * @m: marker
 *
 * Context: no lock held.
 */
static __always_inline void kmt_team_share(struct kmt_marker *m)
{
	const struct kmt_team *team = m->share.team;

	if (unlikely(team) && m->stack.refs + m->stack.blocks > 1 &&
	    READ_ONCE(team->nr) < kmt_team_wants(m))
		kmt_team_put(m);
}

#endif /* _KMT_TEAM_H */
