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
		struct fate *f = &b->fate[m->bound];

		if (b->lost || !b->aliased || f->suspect)
			continue;
		target = oracle_find(m, KMT_VIRT, b->alias);
		if (!target || !target->fate[m->bound].suspect)
			continue;
		/* A root, or one that was born or spared, passes on all. */
		if (!block_judged(b) || f->count == KMT_COUNT_MAX)
			continue;
		f->suspect = true;
		f->count = 0;
	}
}

static unsigned long accuse(struct model *m)
{
	struct block *b = NULL;
	unsigned long nr = 0;

	while ((b = oracle_each(m, b))) {
		struct fate *f = &b->fate[m->bound];

		f->reached = false;
		if (b->lost)
			continue;
		if (block_reached(b, m->bound)) {
			fate_acquit(f);
		} else if (f->transient) {
			/* Spared, and what it refers to with it. */
			fate_acquit(f);
			f->count = KMT_COUNT_MAX;
		} else {
			f->suspect = true;
			f->count = 0;
			nr += !f->leak;
		}
	}
	if (nr)
		accuse_holders(m);
	return nr;
}

static unsigned long sort_out(struct model *m)
{
	struct block *b = NULL;
	unsigned long nr = 0;

	while ((b = oracle_each(m, b))) {
		struct fate *f = &b->fate[m->bound];

		if (b->lost)
			continue;
		if (block_reached(b, m->bound))
			fate_acquit(f);
		else
			nr += f->suspect && !f->leak;
	}
	return nr;
}

/* At least so many are left without enough references. */
static unsigned long count_left(struct model *m)
{
	struct block *b = NULL;
	unsigned long nr = 0;

	while ((b = oracle_each(m, b))) {
		const struct fate *f = &b->fate[MOST];

		nr += !b->lost && f->suspect && !f->leak &&
		      !block_reached(b, MOST);
	}
	return nr;
}

/* That pass is made if there is a suspect left: in one fate, or in both. */
static void read_bytes(struct model *m)
{
	const unsigned long least = m->left[MOST], most = m->left[FEWEST];

	m->bytes = true;
	for_each_bound(m)
		if (m->bound == FEWEST ? least : most)
			oracle_read_others(m);
	m->bytes = false;
	m->unaligned += count_left(m) < least;
}

/* Which blocks are suspects, and how many references to them were found. */
static void compare_suspects(struct model *m)
{
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		const struct fate *few = &b->fate[FEWEST];
		const struct fate *most = &b->fate[MOST];
		struct kmt_object o;

		if (b->lost)
			continue;
		o = oracle_look(m, b);
		AGREE(o.flags & KMT_SUSPECT ? few->suspect : !most->suspect);
		if (!(o.flags & KMT_SUSPECT))
			continue;
		AGREE(o.epoch == m->s->core.epoch);
		AGREE(o.count >= few->count);
		AGREE(o.count <= most->count || !most->suspect);
		m->counts++;
		m->open_counts += few->count != most->count;
	}
}

static bool is_between(unsigned long nr, const unsigned long *bounds)
{
	return nr >= bounds[MOST] && nr <= bounds[FEWEST];
}

static void search(struct model *m)
{
	m->search = true;
	for_each_bound(m)
		oracle_read_others(m);
	m->search = false;
}

static void on_phase(struct sim *s, enum sim_phase phase)
{
	struct model *m = s->priv;

	if (phase == SIM_SEARCHED)
		search(m);
	if (phase == SIM_MARKED)
		oracle_compare_mark(m);
	else if (phase != SIM_ACCUSED)
		compare_suspects(m);
	m->during(m->arg, phase);
	switch (phase) {
	case SIM_MARKED:
		for_each_bound(m)
			m->accused[m->bound] = accuse(m);
		break;
	case SIM_SEARCHED:
		for_each_bound(m)
			m->sought[m->bound] = accuse(m);
		m->found += m->sought[FEWEST] < m->accused[MOST];
		break;
	case SIM_ACCUSED:
		AGREE(is_between(s->accused, m->accused));
		AGREE(is_between(s->sought, m->sought));
		m->sums = true;
		for_each_bound(m)
			oracle_read_others(m);
		break;
	case SIM_STOPPED:
		for_each_bound(m)
			m->left[m->bound] = sort_out(m);
		m->forgiven += m->left[FEWEST] < m->sought[FEWEST];
		read_bytes(m);
		break;
	case SIM_SORTED:
		m->sums = false;
		AGREE(is_between(s->left, m->left));
		break;
	}
}

/* Whether there are enough references is known when all have been counted. */
static void count_up(struct model *m)
{
	struct block *b = NULL;

	for_each_bound(m)
		while ((b = oracle_each(m, b)))
			b->fate[m->bound].reached = block_reached(b, m->bound);
}

void oracle_snapshot(struct model *m,
		     void (*during)(void *arg, enum sim_phase phase),
		     void *arg)
{
	struct sim *s = m->s;

	m->during = during;
	m->arg = arg;
	s->on_phase = on_phase;
	oracle_mark(m);
	m->marking = true;
	AGREE(sim_snapshot(s, ROOT(0), ROOT(ROOT_WORDS)));
	m->marking = false;
	m->sums = false;
	s->on_phase = NULL;
	AGREE(is_between(s->accused, m->accused));
	count_up(m);
	oracle_judge(m);
	oracle_classify(m);
	oracle_drop_open(m);
	m->snapshots++;
}
