// SPDX-License-Identifier: GPL-2.0
/*
 * Expected result of a snapshot: suspects are the blocks that the mark did not reach, and
 * a suspect to which no other block or root refers in the snapshot is a leak.
 */
#include "oracle.h"

/* Holders whose excess references count for a suspect are counted again, from zero. */
static void suspect_holders(struct model *m)
{
	struct block *b = NULL, *target;

	while ((b = oracle_each(m, b))) {
		struct fate *f = &b->fate[m->bound];

		if (b->lost || !b->aliased || f->suspect)
			continue;
		target = oracle_find(m, KMT_VIRT, b->alias);
		if (!target || !target->fate[m->bound].suspect)
			continue;
		/* A root, or a block that was spared or just allocated, passes on all. */
		if (!block_judged(b) || f->count == KMT_COUNT_MAX)
			continue;
		f->suspect = true;
		f->count = 0;
	}
}

static unsigned long make_suspects(struct model *m)
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
			/* Spared, together with the blocks that it refers to. */
			fate_acquit(f);
			f->count = KMT_COUNT_MAX;
		} else {
			f->suspect = true;
			f->count = 0;
			nr += !f->leak;
		}
	}
	if (nr)
		suspect_holders(m);
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

/* The minimum number of suspects that are left. */
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

/* This pass runs if a suspect is left, in one fate or in both. */
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

/* Compares which blocks are suspects, and how many references were found. */
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
	else if (phase != SIM_SUSPECTED)
		compare_suspects(m);
	m->during(m->arg, phase);
	switch (phase) {
	case SIM_MARKED:
		for_each_bound(m)
			m->suspects[m->bound] = make_suspects(m);
		break;
	case SIM_SEARCHED:
		for_each_bound(m)
			m->sought[m->bound] = make_suspects(m);
		m->found += m->sought[FEWEST] < m->suspects[MOST];
		break;
	case SIM_SUSPECTED:
		AGREE(is_between(s->suspects, m->suspects));
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

/* Decides, after all references were counted, which blocks have enough. */
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
	AGREE(is_between(s->suspects, m->suspects));
	count_up(m);
	oracle_judge(m);
	oracle_classify(m);
	oracle_drop_open(m);
	m->snapshots++;
}
