/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Several markers that share one mark, while all CPUs run.
 *
 * Roots, and chunks of the pool to be swept, are divided into units, each of which one
 * marker takes (kmt_take_unit()). A marker itself follows the references in its units,
 * except those that it puts into the team's box. When no units are left, markers take
 * work from the box. The mark is complete when all markers look for work and the box is
 * empty.
 *
 * Locking: @lock is raw and taken with interrupts off, with no lock of the core held, and
 * no lock is taken inside; never in interrupts. It protects @box, @nr, @members, @idle
 * and @over; READ_ONCE() of them without it is a hint. @stopped is only ever set, without
 * the lock; @taken is atomic; @chunks is constant. Holders do not sleep.
 *
 * Invariants: @idle <= @members; once @over is set, no entry is taken from the box and no
 * marker joins; unless the mark was given up, @nr is 0 then and stays 0; the mark stack of
 * an idle marker is empty.
 */
#ifndef _KMT_MARK_PARALLEL_H
#define _KMT_MARK_PARALLEL_H

#include "mark.h"

/* Size of the box, and limit of the entries that are moved under the lock. */
#define KMT_BOX		256
#define KMT_BOX_MOVE	64

/* Size of the parts of a large block: a power of two, at least a page. */
#define KMT_TEAM_PART	65536UL

/* How often to poll a contended lock, and how often to call kmt_ops.wait() then. */
#define KMT_LOCK_SPINS	4000
#define KMT_LOCK_SLEEPS	8

/* A marker with this many entries on its mark stack puts some into the box. */
#define KMT_BOX_SPARE	128

/**
 * struct kmt_team - markers that share a mark
 * @lock: see above
 * @box: entries, as on a mark stack, for markers without work
 * @nr: number of entries in @box
 * @members: number of markers that joined
 * @idle: number of members without work
 * @over: no work is left, or the mark was given up
 * @stopped: the mark was given up
 * @taken: number of units that were taken
 * @chunks: the first chunk to be swept; chunks that are added later come before it
 */
struct kmt_team {
	raw_spinlock_t lock;
	struct kmt_mark_entry box[KMT_BOX];
	u32 nr;
	u32 members;
	u32 idle;
	bool over;
	bool stopped;
	atomic_long_t taken;
	struct kmt_chunk *chunks;
};

void kmt_team_init(struct kmt_team *team, struct kmt_core *core);
bool kmt_team_join(struct kmt_team *team, struct kmt_marker *m);
void kmt_team_work(struct kmt_marker *m);
void kmt_team_put(struct kmt_marker *m);
void kmt_team_await(struct kmt_marker *m, raw_spinlock_t *lock);

/**
 * kmt_wait_contended - wait until a lock that another marker may hold is free
 * @m: marker
 * @lock: lock that is to be taken next
 *
 * Does nothing unless the marker has a team.
 *
 * Context: no lock held; may sleep.
 */
static __always_inline void kmt_wait_contended(struct kmt_marker *m,
					       raw_spinlock_t *lock)
{
	if (unlikely(m->share.team) && raw_spin_is_locked(lock))
		kmt_team_await(m, lock);
}

/*
 * How many entries there should be in the box. A marker with few entries provides only
 * as many as there are idle markers. It provides none if its first and its last reference
 * are to the same region: two markers in one shard would contend for its lock.
 */
static inline u32 kmt_team_wants(const struct kmt_marker *m)
{
	const struct kmt_mark_stack *s = &m->stack;

	if (s->refs + s->blocks >= KMT_BOX_SPARE)
		return KMT_BOX_MOVE;
	/* A block on the stack is most likely in another region. */
	if (s->blocks)
		return READ_ONCE(m->share.team->idle);
	return (s->entries[0].ref ^ s->entries[s->refs - 1].ref) >>
	       KMT_REGION_SHIFT ? READ_ONCE(m->share.team->idle) : 0;
}

/**
 * kmt_team_offer - put entries of the mark stack into the box if it has too few
 * @m: marker
 *
 * Context: no lock held.
 */
static __always_inline void kmt_team_offer(struct kmt_marker *m)
{
	const struct kmt_team *team = m->share.team;

	if (unlikely(team) && m->stack.refs + m->stack.blocks > 1 &&
	    READ_ONCE(team->nr) < kmt_team_wants(m))
		kmt_team_put(m);
}

#endif /* _KMT_MARK_PARALLEL_H */
