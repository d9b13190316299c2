// SPDX-License-Identifier: GPL-2.0
/*
 * Sharing a mark among markers.
 */
#include "mark_parallel.h"

/**
 * kmt_team_init - prepare a team
 * @team: team, without members
 * @core: tracker
 */
void kmt_team_init(struct kmt_team *team, struct kmt_core *core)
{
	raw_spin_lock_init(&team->lock);
	team->nr = 0;
	team->members = 0;
	team->idle = 0;
	team->over = false;
	team->stopped = false;
	atomic_long_set(&team->taken, 0);
	team->chunks = kmt_chunks(core);
}

/**
 * kmt_team_join - take part in a mark
 * @team: team
 * @m: the marker for which kmt_mark_begin() was called, or one from kmt_marker_join()
 *
 * From now on the marker shares units of work with others. The caller goes through all
 * units of roots, and then calls kmt_team_work().
 *
 * Context: no lock held.
 * Return: false if no work is left, or if the mark was given up.
 */
bool kmt_team_join(struct kmt_team *team, struct kmt_marker *m)
{
	unsigned long flags;
	bool over;

	raw_spin_lock_irqsave(&team->lock, flags);
	over = team->over;
	WRITE_ONCE(team->members, team->members + !over);
	raw_spin_unlock_irqrestore(&team->lock, flags);
	if (over)
		return false;
	m->share.team = team;
	kmt_share_units(m, &team->taken);
	return true;
}

/* Copies up to @nr entries of a mark stack to the box; returns how many. */
static u32 put(struct kmt_team *team, const struct kmt_mark_entry *from, u32 nr)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&team->lock, flags);
	nr = min3(nr, (u32)KMT_BOX_MOVE, KMT_BOX - team->nr);
	memcpy(&team->box[team->nr], from, nr * sizeof(*from));
	WRITE_ONCE(team->nr, team->nr + nr);
	raw_spin_unlock_irqrestore(&team->lock, flags);
	return nr;
}

/**
 * kmt_team_put - move entries of the mark stack to the team's box
 * @m: marker with a team and at least two entries on its mark stack
 *
 * Moves blocks, and parts of blocks, if it has any. Otherwise moves references from the
 * bottom, which lead to most of the work. The reference on top stays on top; references
 * below it fill the gap at the bottom.
 *
 * Context: no lock held.
 */
void kmt_team_put(struct kmt_marker *m)
{
	struct kmt_mark_stack *s = &m->stack;
	struct kmt_mark_entry top;
	u32 i, nr, from;

	if (s->blocks) {
		s->blocks -= put(m->share.team, &s->entries[s->max - s->blocks],
				 (s->blocks + !!s->refs) / 2);
		return;
	}
	top = s->entries[s->refs - 1];
	for (i = 0; i < min_t(u32, s->refs / 2, KMT_BOX_MOVE); i++)
		s->entries[i].o = NULL;
	nr = put(m->share.team, s->entries, s->refs / 2);
	s->refs -= nr;
	from = max(nr, s->refs - 1);
	memcpy(s->entries, &s->entries[from],
	       (s->refs + nr - 1 - from) * sizeof(*s->entries));
	s->entries[s->refs - 1] = top;
}

/**
 * kmt_team_await - wait for another marker to release a lock
 * @m: marker with a team
 * @lock: lock that is held
 *
 * A marker holds a lock for microseconds. But if its CPU is a virtual one that the host
 * has preempted, spinning takes time from the CPU that is to release the lock. So this
 * spins for a limited time, and then calls kmt_ops.wait() a limited number of times.
 *
 * Context: no lock held, may sleep.
 */
void kmt_team_await(struct kmt_marker *m, raw_spinlock_t *lock)
{
	unsigned int nr;

	for (nr = 0; raw_spin_is_locked(lock); nr++) {
		if (nr < KMT_LOCK_SPINS)
			cpu_relax();
		else if (nr < KMT_LOCK_SPINS + KMT_LOCK_SLEEPS)
			m->core->ops->wait(m, nr - KMT_LOCK_SPINS);
		else
			return;
	}
}

/* Waits until the box has work, or will have no more. */
static void await_work(struct kmt_team *team, struct kmt_marker *m)
{
	unsigned int nr = 0;

	while (!m->stopped && !READ_ONCE(team->over) && !READ_ONCE(team->nr) &&
	       READ_ONCE(team->idle) < READ_ONCE(team->members)) {
		m->core->ops->wait(m, nr++);
		kmt_marker_check_stop(m);
	}
}

/* Moves entries of the box to the mark stack, which is empty. */
static void unpack(struct kmt_marker *m, const struct kmt_mark_entry *box, u32 nr)
{
	for (; nr--; box++) {
		if (box->o)
			kmt_mark_push(m, box->o, box->addr);
		else
			m->stack.entries[m->stack.refs++] = *box;
	}
}

/*
 * Takes entries of the box, if it has any; a marker that finds none counts as idle. A
 * marker that finds all members idle sets @over, so that no other marker joins.
 */
static u32 take(struct kmt_team *team, struct kmt_marker *m, bool *idle)
{
	unsigned long flags;
	u32 nr = 0;

	raw_spin_lock_irqsave(&team->lock, flags);
	if (!team->over && !m->stopped)
		nr = min3((u32)KMT_BOX_MOVE, kmt_room_for_blocks(&m->stack),
			  (team->nr + 3) / 4);
	WRITE_ONCE(team->nr, team->nr - nr);
	unpack(m, &team->box[team->nr], nr);
	WRITE_ONCE(team->idle, team->idle - *idle + !nr);
	*idle = !nr;
	if (m->stopped || team->idle == team->members)
		WRITE_ONCE(team->over, true);
	raw_spin_unlock_irqrestore(&team->lock, flags);
	return nr;
}

/* Fills the empty mark stack from the box; returns false if the mark is complete. */
static bool get_work(struct kmt_team *team, struct kmt_marker *m)
{
	bool idle = false;

	for (;;) {
		if (take(team, m, &idle))
			return true;
		if (m->stopped || READ_ONCE(team->over))
			return false;
		await_work(team, m);
	}
}

static void sweep(struct kmt_team *team, struct kmt_marker *m)
{
	struct kmt_chunk *chunk = team->chunks;

	if (kmt_take_unit(m))
		kmt_mark_wide(m);
	for (; chunk && !m->stopped; chunk = chunk->next)
		if (kmt_take_unit(m))
			kmt_mark_chunk(m, chunk);
}

/**
 * kmt_team_work - sweep the pool, and share the work that is left
 * @m: marker that joined and went through all units of roots
 *
 * When this returns, the mark stacks of all members are empty, unless the mark was given
 * up, and the marker has left the team. Blocks that were allocated meanwhile, or did not
 * fit on a stack, are left to kmt_mark_sweep().
 *
 * Context: no lock held; may sleep.
 */
void kmt_team_work(struct kmt_marker *m)
{
	struct kmt_team *team = m->share.team;

	sweep(team, m);
	do {
		kmt_mark_drain(m);
	} while (get_work(team, m));
	m->stopped |= READ_ONCE(team->stopped);
	m->share.team = NULL;
	m->share.taken = NULL;
}
