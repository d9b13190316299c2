// SPDX-License-Identifier: GPL-2.0
/*
 * What a snapshot has to find: the suspects are what the mark left without
 * references, and what is not referred to from anything else by the time
 * nothing runs is a leak.
 */
#include "oracle.h"

/* References in excess count for a suspect: they have to be counted anew. */
static void accuse_holders(struct model *m)
{
	struct block *b = NULL, *target;

	while ((b = oracle_each(m, b))) {
		if (b->lost || !b->aliased || b->suspect)
			continue;
		target = oracle_find(m, KMT_VIRT, b->alias);
		if (!target || !target->suspect)
			continue;
		/* Born since the mark began: maybe where nobody looks yet. */
		m->vague |= b->count == KMT_COUNT_MAX;
		if (!block_judged(b) || b->count == KMT_COUNT_MAX)
			continue;
		b->suspect = true;
		b->count = 0;
	}
}

static unsigned long accuse(struct model *m)
{
	struct block *b = NULL;
	unsigned long nr = 0;

	while ((b = oracle_each(m, b))) {
		b->reached = false;
		if (b->lost)
			continue;
		if (block_reached(b)) {
			block_acquit(b);
		} else if (b->transient) {
			/*
			 * Spared, and what it refers to with it; but how often
			 * it would pass on is open.
			 */
			m->vague |= b->aliased;
			block_acquit(b);
			b->count = KMT_COUNT_MAX;
		} else {
			b->suspect = true;
			b->count = 0;
			nr += !b->leak;
		}
	}
	if (nr)
		accuse_holders(m);
	return nr;
}

static void read_others(struct model *m)
{
	struct block *b = NULL;

	m->sift = true;
	oracle_read_roots(m);
	while ((b = oracle_each(m, b)))
		if (!b->lost && !b->suspect && block_read(b))
			oracle_read_block(m, b);
	oracle_follow(m);
	m->sift = false;
}

static unsigned long sort_out(struct model *m)
{
	struct block *b = NULL;
	unsigned long nr = 0;

	while ((b = oracle_each(m, b))) {
		if (b->lost)
			continue;
		if (block_reached(b))
			block_acquit(b);
		else
			nr += b->suspect && !b->leak;
	}
	return nr;
}

/* Whether half of @a's last word and half of @b's first one are a reference. */
static bool seam_refers(struct model *m, const struct kmt_range *a,
			const struct kmt_range *b)
{
	unsigned long last = ALIGN_DOWN(a->hi, 8) - 8, shift;

	if (last + 8 != ALIGN(b->lo, 8) || last < a->lo || last + 16 > b->hi ||
	    !sim_mapped(last) || !sim_mapped(last + 8))
		return false;
	for (shift = 8; shift < 64; shift += 8) {
		unsigned long word = sim_get(last) >> shift |
				     sim_get(last + 8) << (64 - shift);
		struct block *to = oracle_find(m, KMT_VIRT, word);

		if (to && to->suspect)
			return true;
		to = oracle_find(m, KMT_PERCPU, word);
		if (to && to->suspect)
			return true;
	}
	return false;
}

/* What lies across two blocks counts if they are read one after the other. */
static bool any_seam(struct model *m)
{
	static struct kmt_range ranges[MAX_BLOCKS * MAX_RANGES + 1];
	struct block *b = NULL;
	unsigned int nr = 0, i, k;

	ranges[nr++] = (struct kmt_range){ ROOT(0), ROOT(ROOT_WORDS) };
	while ((b = oracle_each(m, b)))
		if (b->lost || block_read(b))
			nr += block_ranges(b, ranges + nr);
	for (i = 0; i < nr; i++)
		for (k = 0; k < nr; k++)
			if (i != k && seam_refers(m, &ranges[i], &ranges[k]))
				return true;
	return false;
}

static unsigned long count_left(struct model *m)
{
	struct block *b = NULL;
	unsigned long nr = 0;

	while ((b = oracle_each(m, b)))
		nr += !b->lost && b->suspect && !b->leak && !block_reached(b);
	return nr;
}

static void read_bytes(struct model *m)
{
	m->vague |= any_seam(m);
	m->bytes = true;
	read_others(m);
	m->bytes = false;
	m->unaligned += count_left(m) < m->left;
}

/* The counts of all suspects, and whether that is enough. */
static void compare_suspects(struct model *m)
{
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		struct kmt_object o;

		if (b->lost)
			continue;
		o = oracle_look(m, b);
		AGREE(!(o.flags & KMT_SUSPECT) == !b->suspect);
		if (!b->suspect)
			continue;
		AGREE(o.count == b->count);
		AGREE(o.epoch == m->s->core.epoch);
	}
}

static void on_phase(struct sim *s, enum sim_phase phase)
{
	struct model *m = s->priv;

	if (phase == SIM_MARKED)
		oracle_compare_mark(m);
	else if (phase != SIM_ACCUSED && !m->vague)
		compare_suspects(m);
	m->during(m->arg, phase);
	switch (phase) {
	case SIM_MARKED:
		m->accused = accuse(m);
		break;
	case SIM_ACCUSED:
		AGREE(s->accused == m->accused);
		m->sums = s->sums;
		m->vague |= s->sums && any_seam(m);
		read_others(m);
		break;
	case SIM_STOPPED:
		m->left = sort_out(m);
		m->forgiven += m->left < m->accused;
		if (m->left)
			read_bytes(m);
		break;
	case SIM_SORTED:
		m->sums = false;
		AGREE(m->vague || s->left == m->left);
		break;
	}
}

/* The tracker's word is taken for it. */
static void believe(struct block *b, const struct kmt_object *o)
{
	b->suspect = o->flags & KMT_SUSPECT;
	b->leak = o->flags & KMT_LEAK;
	b->fresh = o->flags & KMT_NEW;
	b->transient = o->flags & KMT_TRANSIENT;
}

static void convict(struct block *b)
{
	if (block_reached(b)) {
		block_acquit(b);
	} else if (b->suspect) {
		b->fresh = !b->leak;
		b->leak = true;
	}
}

static void judge(struct model *m)
{
	const struct kmt_verdict *v = &m->s->v;
	unsigned long leaks = 0, bytes = 0, fresh = 0;
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		struct kmt_object o;

		if (b->lost)
			continue;
		o = oracle_look(m, b);
		if (m->vague)
			believe(b, &o);
		else
			convict(b);
		leaks += b->leak;
		bytes += b->leak ? b->size : 0;
		fresh += b->fresh;
		AGREE(!(o.flags & KMT_LEAK) == !b->leak);
		AGREE(!(o.flags & KMT_NEW) == !b->fresh);
		AGREE(!(o.flags & KMT_SUSPECT) == !b->suspect);
		AGREE(!(o.flags & KMT_TRANSIENT) == !b->transient);
	}
	AGREE(v->leaks == leaks);
	AGREE(v->leak_bytes == bytes);
	AGREE(v->fresh == fresh);
	m->leaks += leaks;
	m->vagues += m->vague;
}

void oracle_snapshot(struct model *m,
		     void (*during)(void *arg, enum sim_phase phase),
		     void *arg)
{
	struct sim *s = m->s;

	m->during = during;
	m->arg = arg;
	m->vague = false;
	s->on_phase = on_phase;
	oracle_mark(m);
	m->marking = true;
	AGREE(sim_snapshot(s, ROOT(0), ROOT(ROOT_WORDS)));
	m->marking = false;
	m->sums = false;
	s->on_phase = NULL;
	AGREE(s->accused == m->accused);
	judge(m);
	oracle_classify(m);
	m->snapshots++;
}
