// SPDX-License-Identifier: GPL-2.0
/*
 * Sharing a mark among markers.
 */
#include "mark_parallel.h"

/**
 * kmt_team_init - prepare a team
 * @team: team, without members
 * @core: tracker, in whose mark they will take part
 */
void kmt_team_init(struct kmt_team *team, struct kmt_core *core)
{
	raw_spin_lock_init(&team->lock);
	team->nr = 0;
	team->members = 0;
	team->idle = 0;
	team->over = false;
	team->stopped = false;
	atomic_long_set(&team->turns, 0);
	team->chunks = kmt_chunks(core);
}

/**
 * kmt_team_join - take part in a mark
 * @team: team
 * @m: marker of the mark, kmt_mark_begin() was called for it; or one from
 *	kmt_marker_join()
 *
 * It takes turns from now on. It has to go through all units, and to call
 * kmt_team_work() then.
 *
 * Context: no lock held.
 * Return: false if there is nothing left to be done.
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
	kmt_take_turns(m, &team->turns);
	return true;
}

/* Moves @nr entries of a mark stack, or as many as there is room for. */
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
 * kmt_team_put - give to others what they can do
 * @m: marker with a team and at least two entries on its mark stack
 *
 * Blocks, and parts of them, if it has any. Or references from the bottom, as
 * most depends on those: the one on top stays there; those below it take the
 * places at the bottom.
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
 * kmt_team_await - let another marker be done with a lock
 * @m: marker with a team
 * @lock: lock that is held
 *
 * A marker holds a lock for microseconds. But its CPU may be one of a guest, and
 * preempted by the host: spinning would then take time from the very CPU that is
 * to release the lock.
 *
 * Context: no lock held, may sleep.
 */
void kmt_team_await(struct kmt_marker *m, raw_spinlock_t *lock)
{
	unsigned int nr;

	for (nr = 0; raw_spin_is_locked(lock); nr++) {
		if (nr < KMT_LOCK_LOOKS)
			cpu_relax();
		else if (nr < KMT_LOCK_LOOKS + KMT_LOCK_NAPS)
			m->core->ops->wait(m, nr - KMT_LOCK_LOOKS);
		else
			return;
	}
}

/* Whether there is something to do; if not, will there be? */
static bool has_work(const struct kmt_team *team)
{
	return READ_ONCE(team->nr) && !READ_ONCE(team->over);
}

static bool may_have_work(const struct kmt_team *team)
{
	return READ_ONCE(team->idle) < READ_ONCE(team->members) &&
	       !READ_ONCE(team->over);
}

/* Until there is something to do, or will be nothing more. */
static void await_work(struct kmt_team *team, struct kmt_marker *m)
{
	unsigned int nr = 0;

	while (!m->stopped && !has_work(team) && may_have_work(team)) {
		m->core->ops->wait(m, nr++);
		kmt_mark_cond_resched(m);
	}
}

/* How much of it a marker takes; the lock is held. */
static u32 share(const struct kmt_team *team, const struct kmt_marker *m)
{
	u32 most = min_t(u32, KMT_BOX_MOVE, kmt_room_for_blocks(&m->stack));

	lockdep_assert_held(&team->lock);
	return min(most, (team->nr + 3) / 4);
}

/* Puts entries of the box on a mark stack that is empty. */
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
 * Takes something to do, if there is; a marker that finds nothing counts as
 * idle. The one that sees that all are says so to those that would join.
 */
static u32 take(struct kmt_team *team, struct kmt_marker *m, bool *idle)
{
	unsigned long flags;
	u32 nr = 0;

	raw_spin_lock_irqsave(&team->lock, flags);
	if (!team->over && !m->stopped)
		nr = share(team, m);
	WRITE_ONCE(team->nr, team->nr - nr);
	unpack(m, &team->box[team->nr], nr);
	WRITE_ONCE(team->idle, team->idle - *idle + !nr);
	*idle = !nr;
	if (m->stopped || team->idle == team->members)
		WRITE_ONCE(team->over, true);
	raw_spin_unlock_irqrestore(&team->lock, flags);
	return nr;
}

/* Fills the mark stack, which is empty; false if nothing is left for all. */
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

	if (kmt_my_turn(m))
		kmt_mark_wide(m);
	for (; chunk && !m->stopped; chunk = chunk->next)
		if (kmt_my_turn(m))
			kmt_mark_chunk(m, chunk);
}

/**
 * kmt_team_work - sweep the pool, and do what others leave
 * @m: marker that joined; it went through all roots
 *
 * When it returns nothing is left on any mark stack. What was born meanwhile,
 * and what did not fit on a stack, is left to kmt_mark_sweep(). The marker has
 * left the team then.
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
	m->share.turns = NULL;
}
