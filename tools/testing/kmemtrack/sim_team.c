// SPDX-License-Identifier: GPL-2.0
/*
 * A mark with helpers, as the owner of a tracker makes it: the protocol of
 * mark_parallel.h.
 */
#include <pthread.h>

#include "sim.h"

/* A helper. */
struct helper {
	struct sim *s;
	struct kmt_team *team;
	struct kmt_marker m;
	unsigned long lo;
	unsigned long hi;
	unsigned long seen_cache[1 << KMT_SEEN_SHIFT];
	struct kmt_mark_entry *stack;
	pthread_t thread;
};

static void *help(void *arg)
{
	struct helper *h = arg;

	if (!kmt_team_join(h->team, &h->m))
		return NULL;
	if (!h->s->later)
		sim_roots(h->s, &h->m, h->lo, h->hi);
	kmt_team_work(&h->m);
	__atomic_fetch_add(&h->s->helped, !!h->m.stats.objects, __ATOMIC_RELAXED);
	return NULL;
}

static void prepare(struct helper *h)
{
	const u32 max = h->s->m.stack.max;

	h->stack = calloc(max, sizeof(*h->stack));
	assert(h->stack);
	kmt_marker_join(&h->m, &h->s->m, h->stack, max, h->seen_cache);
	if (h->s->fine)
		h->m.budget = 0;
}

static void dismiss(struct helper *h)
{
	pthread_join(h->thread, NULL);
	assert(!h->m.stack.refs && !h->m.share.team);
	h->s->m.stopped |= h->m.stopped;
	free(h->stack);
}

/*
 * sim_mark_roots - mark from the roots
 * @s: machine, whose mark has begun
 * @lo: first byte of the root words
 * @hi: one past the last
 */
void sim_mark_roots(struct sim *s, unsigned long lo, unsigned long hi)
{
	struct helper *helpers;
	struct kmt_team *team;
	unsigned int i;

	s->m.defer_drain = s->later;
	if (s->later || !s->helpers)
		sim_roots(s, &s->m, lo, hi);
	s->m.defer_drain = false;
	if (!s->helpers) {
		kmt_mark_drain(&s->m);
		return;
	}
	assert(s->helpers <= SIM_HELPERS);
	helpers = calloc(s->helpers, sizeof(*helpers));
	team = malloc(sizeof(*team));
	assert(helpers && team);
	kmt_team_init(team, &s->core);
	team->lock.rank = 4;
	assert(kmt_team_join(team, &s->m));
	for (i = 0; i < s->helpers; i++) {
		struct helper *h = &helpers[i];

		*h = (struct helper){
			.s = s, .team = team, .lo = lo, .hi = hi,
		};
		prepare(h);
		if (pthread_create(&h->thread, NULL, help, h))
			abort();
	}
	if (!s->later)
		sim_roots(s, &s->m, lo, hi);
	kmt_team_work(&s->m);
	for (i = 0; i < s->helpers; i++)
		dismiss(&helpers[i]);
	assert(!team->nr || s->m.stopped);
	free(helpers);
	free(team);
}
