// SPDX-License-Identifier: GPL-2.0
/*
 * A scan that is confirmed by a snapshot, as the owner of a tracker makes it: the
 * protocol of suspect.c, with any number of markers.
 */
#include <pthread.h>

#include "sim.h"

/* Bytes of roots in a unit of work that markers share. */
#define UNIT	256ul

/*
 * sim_roots - read the roots
 * @s: machine
 * @m: marker; if it shares the work, it reads its units only
 * @lo: first byte of the root words
 * @hi: one past the last
 */
void sim_roots(struct sim *s, struct kmt_marker *m, unsigned long lo,
	       unsigned long hi)
{
	unsigned long step = m->share.taken ? UNIT : hi - lo;

	for (; lo < hi; lo += step)
		if (kmt_take_unit(m))
			kmt_mark_range(m, lo, min(hi, lo + step));
	if (s->more_roots)
		s->more_roots(s, m);
}

/* A marker of the snapshot. */
struct stopped {
	struct sim *s;
	struct kmt_marker *m;
	unsigned long lo;
	unsigned long hi;
};

static void *read_share(void *arg)
{
	struct stopped *t = arg;

	sim_roots(t->s, t->m, t->lo, t->hi);
	kmt_recheck(t->m);
	return NULL;
}

static void prepare(struct sim *s, struct kmt_marker *m,
		    struct kmt_mark_entry *stack, atomic_long_t *taken)
{
	kmt_marker_join_stopped(m, &s->m, &s->filter, stack, s->stop_stack);
	if (s->fine)
		m->budget = 0;
	kmt_share_units(m, taken);
}

static void run_markers(struct sim *s, unsigned long lo, unsigned long hi)
{
	pthread_t threads[SIM_MARKERS];
	struct stopped share[SIM_MARKERS];
	unsigned int i;

	for (i = 0; i < s->markers; i++) {
		share[i] = (struct stopped){ s, &s->stop_marker[i], lo, hi };
		if (!s->parallel)
			read_share(&share[i]);
		else if (pthread_create(&threads[i], NULL, read_share,
					&share[i]))
			abort();
	}
	for (i = 0; s->parallel && i < s->markers; i++)
		pthread_join(threads[i], NULL);
}

/*
 * sim_stop - take a snapshot: search for references to the suspects
 * @s: machine, after kmt_suspect_for_search()
 * @lo: first byte of the root words
 * @hi: one past the last
 *
 * Return: whether all memory was read.
 */
bool sim_stop(struct sim *s, unsigned long lo, unsigned long hi)
{
	struct kmt_mark_entry *stack = calloc(s->markers * s->stop_stack,
					      sizeof(*stack));
	atomic_long_t taken = {};
	bool stopped = false;
	unsigned int i;

	assert(stack && s->markers <= SIM_MARKERS);
	s->rest = false;
	for (i = 0; i < s->markers; i++)
		prepare(s, &s->stop_marker[i], stack + i * s->stop_stack, &taken);
	run_markers(s, lo, hi);
	for (i = 0; i < s->markers; i++) {
		assert(!s->stop_marker[i].stack.refs);
		s->rest |= s->stop_marker[i].stack.overflow;
	}
	if (s->rest)
		kmt_read_acquitted(&s->stop_marker[s->markers - 1]);
	for (i = 0; i < s->markers; i++)
		stopped |= s->stop_marker[i].stopped;
	free(stack);
	return !stopped;
}

/*
 * sim_put_late - write a word at &sim.late_phase of the next snapshot
 * @s: machine
 * @addr: its address
 * @word: the word; until then it is in no memory, like a moving reference
 */
void sim_put_late(struct sim *s, unsigned long addr, unsigned long word)
{
	assert(s->nr_late < SIM_LATE);
	s->late[s->nr_late][0] = addr;
	s->late[s->nr_late++][1] = word;
}

static void do_late(struct sim *s)
{
	void (*then)(struct sim *s) = s->then;
	unsigned int i;

	for (i = 0; i < s->nr_late; i++)
		sim_put(s->late[i][0], s->late[i][1]);
	s->nr_late = 0;
	s->then = NULL;
	if (then)
		then(s);
}

static void phase(struct sim *s, enum sim_phase phase)
{
	if (phase == s->late_phase)
		do_late(s);
	if (s->on_phase)
		s->on_phase(s, phase);
}

static void look_at_bytes(struct sim *s, unsigned long lo, unsigned long hi)
{
	kmt_marker_set_search(&s->m, KMT_MODE_BYTES, &s->filter);
	sim_roots(s, &s->m, lo, hi);
	kmt_recheck_bytes(&s->m);
	kmt_marker_set_follow(&s->m);
}

/*
 * A search while all CPUs run, which acquits suspects. The result is kept for another
 * attempt of the same scan.
 */
static void search(struct sim *s, unsigned long lo, unsigned long hi)
{
	if (s->m.searched)
		return;
	kmt_marker_set_search(&s->m, KMT_MODE_ALIGNED, &s->filter);
	sim_roots(s, &s->m, lo, hi);
	kmt_search(&s->m);
	kmt_marker_set_follow(&s->m);
	if (s->m.stopped)
		return;
	phase(s, SIM_SEARCHED);
	kmt_suspect_for_search(&s->m, &s->filter, &s->v);
	s->sought = s->v.suspects;
}

/*
 * sim_confirm - confirm the suspects of a mark
 * @s: machine, after sim_mark()
 * @lo: first byte of the root words
 * @hi: one past the last
 *
 * Return: false if it was given up; the mark has not ended then.
 */
bool sim_confirm(struct sim *s, unsigned long lo, unsigned long hi)
{
	kmt_suspect_for_search(&s->m, &s->filter, &s->v);
	s->suspects = s->v.suspects;
	s->left = 0;
	if (s->m.stopped)
		return false;
	if (s->suspects) {
		search(s, lo, hi);
		if (s->m.stopped)
			return false;
	}
	/* No snapshot if the search acquitted all suspects. */
	if (s->v.suspects) {
		phase(s, SIM_SUSPECTED);
		if (!sim_stop(s, lo, hi))
			return false;
		phase(s, SIM_STOPPED);
		kmt_update_suspects(&s->m, &s->filter, &s->v);
		s->left = s->v.suspects;
		if (s->left)
			look_at_bytes(s, lo, hi);
		phase(s, SIM_SORTED);
	}
	kmt_judge(&s->m, &s->v);
	kmt_classify(&s->m, s->v.leaks, s->now);
	kmt_mark_end(&s->m);
	return !s->m.stopped;
}

/*
 * sim_snapshot - a whole scan: one mark and one snapshot
 * @s: machine
 * @lo: first byte of the root words
 * @hi: one past the last
 *
 * Return: false if it was given up; the mark has not ended then.
 */
bool sim_snapshot(struct sim *s, unsigned long lo, unsigned long hi)
{
	sim_mark(s, lo, hi);
	phase(s, SIM_MARKED);
	return sim_confirm(s, lo, hi);
}
