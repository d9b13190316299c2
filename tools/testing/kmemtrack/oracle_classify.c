// SPDX-License-Identifier: GPL-2.0
/* Classification by brute force: which leaks lead to which. */
#include "oracle.h"

struct edges {
	struct model *m;
	struct block *from;
	bool known;	/* @from was reported by an earlier scan */
	bool to[MAX_BLOCKS][MAX_BLOCKS];
};

/*
 * Classification handles the reported leaks. If the oracle could not decide whether a
 * block is one, the tracker's flag decides.
 */
static bool is_leak(struct model *m, const struct block *b)
{
	if (b->open)
		return oracle_look(m, b).flags & KMT_LEAK;
	return b->fate[FEWEST].leak;
}

static void add_edge(struct edges *e, enum kmt_space space, unsigned long word)
{
	struct block *b = oracle_find(e->m, space, word);

	/* The word is older than the block, so it is no reference to it. */
	if (b && e->known && (s32)(b->born - e->m->classified) > 0)
		return;
	if (b && is_leak(e->m, b))
		e->to[e->from - e->m->b][b - e->m->b] = true;
}

static void edge_word(void *arg, unsigned long word)
{
	word = kmt_untag(word);
	add_edge(arg, KMT_PERCPU, word);
	if (word - SIM_IMAGE >= SIM_IMAGE_LEN)
		add_edge(arg, KMT_VIRT, word);
}

static void close_edges(struct edges *e)
{
	unsigned int i, j, k;

	for (k = 0; k < MAX_BLOCKS; k++)
		for (i = 0; i < MAX_BLOCKS; i++)
			for (j = 0; e->to[i][k] && j < MAX_BLOCKS; j++)
				e->to[i][j] |= e->to[k][j];
}

/*
 * Whether @a is older than @b; at the same age, whether its backtrace is; with the same
 * backtrace, whether it is larger by powers of two.
 */
static bool goes_before(struct model *m, const struct block *a,
			const struct block *b)
{
	const u32 age_a = m->s->now - a->born, age_b = m->s->now - b->born;
	const u32 trace_a = sim_trace_order(oracle_look(m, a).trace);
	const u32 trace_b = sim_trace_order(oracle_look(m, b).trace);

	if (age_a != age_b)
		return age_a > age_b;
	if (trace_a != trace_b)
		return trace_a < trace_b;
	return ilog2(a->size) > ilog2(b->size);
}

/*
 * Of leaks that lead to each other, and to which no other leak leads, exactly one is
 * direct: the first one.
 */
static void check_source(struct model *m, struct edges *e, unsigned int i)
{
	unsigned int j, direct = 0, first = i, which = i;
	bool source = true;

	for (j = 0; j < MAX_BLOCKS; j++)
		if (j != i && e->to[j][i] && !e->to[i][j])
			source = false;
	for (j = 0; j < MAX_BLOCKS; j++) {
		if (j != i && !(e->to[i][j] && e->to[j][i]))
			continue;
		if (goes_before(m, &m->b[j], &m->b[first]))
			first = j;
		if (!(oracle_look(m, &m->b[j]).flags & KMT_INDIRECT)) {
			direct++;
			which = j;
		}
	}
	AGREE(direct == (source ? 1 : 0));
	AGREE(!source || !goes_before(m, &m->b[first], &m->b[which]));
}

void oracle_classify(struct model *m)
{
	static struct edges e;
	struct block *b = NULL;
	bool any = false;

	memset(&e, 0, sizeof(e));
	e.m = m;
	while ((b = oracle_each(m, b))) {
		if (!is_leak(m, b))
			continue;
		any = true;
		e.from = b;
		e.known = !(oracle_look(m, b).flags & KMT_NEW);
		if (!b->no_scan)
			oracle_words(b, edge_word, &e);
	}
	m->classified = m->s->now;
	if (!any)
		return;
	close_edges(&e);
	while ((b = oracle_each(m, b)))
		if (is_leak(m, b)) {
			m->indirect += !!(oracle_look(m, b).flags & KMT_INDIRECT);
			check_source(m, &e, b - m->b);
		}
}
