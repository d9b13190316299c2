// SPDX-License-Identifier: GPL-2.0
/* A scan of two marks, and the verdicts of both kinds of scans. */
#include "oracle.h"

static void begin_mark(struct model *m)
{
	oracle_mark(m);
	sim_mark(m->s, ROOT(0), ROOT(ROOT_WORDS));
	oracle_compare_mark(m);
}

/* Called after a mark, whose result does not depend on the order. */
static void suspect(struct fate *f)
{
	if (f->reached) {
		fate_acquit(f);
	} else if (f->transient) {
		f->suspect = false;
		f->transient = false;
	} else {
		f->suspect = true;
	}
}

static void suspect_all(struct model *m)
{
	struct kmt_verdict v = {};
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		struct fate *f = &b->fate[FEWEST];

		if (b->lost)
			continue;
		suspect(f);
		suspect(&b->fate[MOST]);
		if (!f->suspect)
			continue;
		b->crc = block_sum(b);
		/* A scan does not wait for blocks that are leaks already. */
		if (f->leak)
			continue;
		v.youngest = max(v.youngest, b->born);
		v.suspects++;
	}
	kmt_suspect_for_wait(&m->s->m, &m->s->v);
	AGREE(m->s->v.suspects == v.suspects);
	AGREE(m->s->v.youngest == v.youngest);
}

static bool is_doubtful(struct model *m, const struct block *b, u32 min_age)
{
	return !b->fate[m->bound].suspect || b->crc != block_sum(b) ||
	       m->s->now - b->born < min_age;
}

/*
 * A holder that counts as reached passes on all references from then on. References that
 * were found before may be needed by the holder itself.
 */
static void mark_doubtful(struct model *m, u32 min_age)
{
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		struct fate *f = &b->fate[m->bound];

		if (b->lost || f->reached || !is_doubtful(m, b, min_age))
			continue;
		if (m->bound == MOST)
			f->count = KMT_COUNT_MAX;
		oracle_reach(m, b);
	}
	oracle_follow(m);
}

static void make_leak(struct fate *f)
{
	if (f->reached) {
		fate_acquit(f);
	} else if (f->suspect) {
		f->fresh = !f->leak;
		f->leak = true;
	}
}

static bool fits(const struct kmt_object *o, const struct fate *f)
{
	return !(o->flags & KMT_LEAK) == !f->leak &&
	       !(o->flags & KMT_NEW) == !f->fresh &&
	       !(o->flags & KMT_SUSPECT) == !f->suspect &&
	       !(o->flags & KMT_TRANSIENT) == !f->transient;
}

static bool same_verdict(const struct fate *a, const struct fate *b)
{
	return a->leak == b->leak && a->fresh == b->fresh &&
	       a->suspect == b->suspect && a->transient == b->transient;
}

static void check_verdict(struct model *m, struct block *b,
			  const struct kmt_object *o)
{
	const struct fate *few = &b->fate[FEWEST], *most = &b->fate[MOST];

	/* FEWEST must not reach more than MOST. */
	AGREE(few->reached <= most->reached);
	b->open = !same_verdict(few, most);
	AGREE(fits(o, few) || (b->open && fits(o, most)));
	m->verdicts += few->leak;
	m->open += b->open;
}

void oracle_judge(struct model *m)
{
	const struct kmt_verdict *v = &m->s->v;
	unsigned long leaks = 0, bytes = 0, fresh = 0;
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		struct kmt_object o;

		if (b->lost)
			continue;
		o = oracle_look(m, b);
		make_leak(&b->fate[FEWEST]);
		make_leak(&b->fate[MOST]);
		check_verdict(m, b, &o);
		/* The totals must match the single verdicts in any case. */
		leaks += !!(o.flags & KMT_LEAK);
		bytes += o.flags & KMT_LEAK ? b->size : 0;
		fresh += !!(o.flags & KMT_NEW);
	}
	AGREE(v->leaks == leaks);
	AGREE(v->leak_bytes == bytes);
	AGREE(v->fresh == fresh);
	m->leaks += leaks;
}

void oracle_drop_open(struct model *m)
{
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		if (!b->open)
			continue;
		AGREE(kmt_free(&m->s->core, b->space, b->addr));
		block_forget(b);
	}
}

void oracle_scan(struct model *m, u32 min_age, void (*between)(void *arg),
		 void *arg)
{
	struct sim *s = m->s;

	begin_mark(m);
	suspect_all(m);
	kmt_mark_end(&s->m);
	check_core(s);
	between(arg);
	begin_mark(m);
	for_each_bound(m)
		mark_doubtful(m, min_age);
	kmt_mark_doubtful(&s->m, s->now, min_age);
	kmt_judge(&s->m, &s->v);
	oracle_judge(m);
	kmt_classify(&s->m, s->v.leaks, s->now);
	oracle_classify(m);
	kmt_mark_end(&s->m);
	oracle_drop_open(m);
	m->scans++;
}
