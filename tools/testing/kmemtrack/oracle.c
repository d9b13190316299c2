// SPDX-License-Identifier: GPL-2.0
#include "oracle.h"

struct block *oracle_each(struct model *m, struct block *b)
{
	for (b = b ? b + 1 : m->b; b < m->b + MAX_BLOCKS; b++)
		if (b->used)
			return b;
	return NULL;
}

void oracle_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: the oracle does not agree: %s\n", file, line,
		what);
	abort();
}

bool block_judged(const struct block *b)
{
	return b->min != KMT_MIN_GREY && b->min != KMT_MIN_BLACK;
}

struct block *oracle_find(struct model *m, enum kmt_space space,
			  unsigned long addr)
{
	struct block *b = NULL;

	while ((b = oracle_each(m, b)))
		if (!b->lost && b->space == space && addr - b->addr < b->size)
			return b;
	return NULL;
}

bool block_reached(const struct block *b)
{
	return !block_judged(b) || b->count >= b->min;
}

bool block_read(const struct block *b)
{
	return b->min != KMT_MIN_BLACK && !b->no_scan;
}

static void range_words(const struct kmt_range *r,
			void (*fn)(void *arg, unsigned long word), void *arg)
{
	unsigned long at;

	for (at = ALIGN(r->lo, 8); at + 8 <= r->hi; at += 8)
		if (sim_mapped(at))
			fn(arg, sim_get(at));
}

/*
 * Where words at odd addresses are: in two words that can be read. They refer to
 * a multiple of four, and to nothing that looks like half a word.
 */
static void range_bytes(const struct kmt_range *r,
			void (*fn)(void *arg, unsigned long word), void *arg)
{
	unsigned long at, shift;

	for (at = ALIGN(r->lo, 8); at + 16 <= r->hi; at += 8) {
		if (!sim_mapped(at) || !sim_mapped(at + 8))
			continue;
		for (shift = 8; shift < 64; shift += 8) {
			unsigned long word = sim_get(at) >> shift |
					     sim_get(at + 8) << (64 - shift);

			if (word % 4 == 0 && word >> 32)
				fn(arg, word);
		}
	}
}

static struct kmt_range range_at(unsigned long start, unsigned long size)
{
	return (struct kmt_range){ start, start + size };
}

unsigned int block_ranges(const struct block *b, struct kmt_range *ranges)
{
	unsigned int nr = 0;
	int cpu;

	if (b->space == KMT_PERCPU) {
		for_each_possible_cpu(cpu)
			ranges[nr++] = range_at(kmt_env_percpu(b->addr, cpu),
						b->size);
	} else if (b->space == KMT_PHYS) {
		ranges[nr++] = range_at(kmt_env_phys(b->addr), b->size);
	} else if (!b->nr_areas || b->whole || b->lost) {
		bool head = b->stack && !b->lost && b->size > sizeof(long);

		ranges[nr++] = range_at(b->addr, head ? sizeof(long) : b->size);
	} else {
		for (; nr < b->nr_areas; nr++)
			ranges[nr] = b->areas[nr];
	}
	return nr;
}

void oracle_words(const struct block *b,
		  void (*fn)(void *arg, unsigned long word), void *arg)
{
	struct kmt_range ranges[MAX_RANGES];
	unsigned int i, nr = block_ranges(b, ranges);

	for (i = 0; i < nr; i++)
		range_words(&ranges[i], fn, arg);
}

static void block_bytes(const struct block *b,
			void (*fn)(void *arg, unsigned long word), void *arg)
{
	struct kmt_range ranges[MAX_RANGES];
	unsigned int i, nr = block_ranges(b, ranges);

	for (i = 0; i < nr; i++)
		range_bytes(&ranges[i], fn, arg);
}

static void crc_word(void *arg, unsigned long word)
{
	u32 *crc = arg;

	*crc = kmt_env_crc(*crc, &word, sizeof(word));
}

static u32 sum(const struct block *b)
{
	u32 crc = 0;

	oracle_words(b, crc_word, &crc);
	return crc;
}

/* Marking. */

static void reach(struct model *m, struct block *b)
{
	if (b->reached)
		return;
	b->reached = true;
	m->todo[m->nr_todo++] = b;
}

static bool refer(struct model *m, enum kmt_space space, unsigned long *word)
{
	struct block *b = oracle_find(m, space, *word);

	if (!b || (m->sift && !b->suspect && !b->aliased))
		return false;
	/* Reported ones get through or not, as their neighbours have it. */
	m->vague |= m->bytes && b->leak;
	if (b->count < KMT_COUNT_MAX)
		b->count++;
	if (block_judged(b) && b->count >= b->min && (!m->sift || b->suspect))
		reach(m, b);
	if (!b->aliased || (block_judged(b) && b->count <= b->min))
		return false;
	*word = b->alias;
	return true;
}

static void mark_word(void *arg, unsigned long word)
{
	struct model *m = arg;
	unsigned long w = word;
	int hops = 4;

	if (!word)
		return;
	refer(m, KMT_PERCPU, &w);
	if (word - SIM_IMAGE < SIM_IMAGE_LEN)
		return;
	while (hops-- && refer(m, KMT_VIRT, &word))
		;
}

/* One that is searched at all addresses while nothing else runs. */
static bool summed(const struct block *b)
{
	return !b->lost && b->space != KMT_ROOT && b->space != KMT_PHYS;
}

void oracle_read_block(struct model *m, const struct block *b)
{
	bool odd = m->sums ? summed(b) != m->bytes || b->suspect : m->bytes;

	/* While bytes are looked at words are new in what was a suspect only. */
	if (!m->bytes || b->suspect)
		oracle_words(b, mark_word, m);
	if (odd)
		block_bytes(b, mark_word, m);
}

void oracle_follow(struct model *m)
{
	while (m->nr_todo) {
		struct block *b = m->todo[--m->nr_todo];

		if (block_read(b))
			oracle_read_block(m, b);
	}
}

void oracle_read_roots(struct model *m)
{
	struct kmt_range roots = { ROOT(0), ROOT(ROOT_WORDS) };
	struct block *b = NULL;

	if (m->bytes)
		range_bytes(&roots, mark_word, m);
	else
		range_words(&roots, mark_word, m);
	while ((b = oracle_each(m, b)))
		if (b->lost)
			oracle_read_block(m, b);
}

void oracle_mark(struct model *m)
{
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		b->count = 0;
		b->reached = false;
	}
	oracle_read_roots(m);
	while ((b = oracle_each(m, b)))
		if (!b->lost && !block_judged(b))
			reach(m, b);
	oracle_follow(m);
}

/* The tracker's turn: lost blocks are roots, as their owner would have it. */

void oracle_more_roots(struct sim *s, struct kmt_marker *m)
{
	struct kmt_range ranges[MAX_RANGES];
	struct model *model = s->priv;
	struct block *b = NULL;

	while ((b = oracle_each(model, b))) {
		unsigned int i, nr = b->lost ? block_ranges(b, ranges) : 0;

		for (i = 0; i < nr; i++)
			if (kmt_my_turn(m))
				kmt_mark_block(m, ranges[i].lo, ranges[i].hi);
	}
}

struct kmt_object oracle_look(struct model *m, const struct block *b)
{
	struct kmt_object o = {};

	AGREE(kmt_lookup(&m->s->core, b->space, b->addr, &o));
	AGREE(o.addr == b->addr && o.size == b->size);
	return o;
}

void oracle_compare_mark(struct model *m)
{
	const u16 epoch = m->s->core.epoch;
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		struct kmt_object o;

		if (b->lost)
			continue;
		o = oracle_look(m, b);
		kmt_enter_epoch(&o, epoch);
		AGREE(kmt_reached(&o, epoch) == b->reached);
		/* How many more references there are than needed may be open. */
		if (b->reached && !b->aliased && o.count < b->count)
			b->count = o.count;
		AGREE(o.count == b->count);
	}
}

static void begin_mark(struct model *m)
{
	oracle_mark(m);
	sim_mark(m->s, ROOT(0), ROOT(ROOT_WORDS));
	oracle_compare_mark(m);
}

void block_acquit(struct block *b)
{
	b->suspect = false;
	b->transient = false;
	b->leak = false;
	b->fresh = false;
}

static void suspect(struct model *m)
{
	struct kmt_verdict v = {};
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		if (b->lost) {
			continue;
		} else if (b->reached) {
			block_acquit(b);
		} else if (b->transient) {
			b->suspect = false;
			b->transient = false;
		} else {
			b->suspect = true;
			b->crc = sum(b);
			/* Nobody has to wait for what is a leak already. */
			if (b->leak)
				continue;
			v.youngest = max(v.youngest, b->born);
			v.suspects++;
		}
	}
	kmt_suspect(&m->s->m, &m->s->v);
	AGREE(m->s->v.suspects == v.suspects);
	AGREE(m->s->v.youngest == v.youngest);
}

static void revive(struct model *m, u32 min_age)
{
	struct block *b = NULL;

	m->vague = false;
	while ((b = oracle_each(m, b))) {
		if (b->lost || b->reached)
			continue;
		if (b->suspect && b->crc == sum(b) &&
		    m->s->now - b->born >= min_age)
			continue;
		m->vague |= b->aliased;
		reach(m, b);
	}
	oracle_follow(m);
	kmt_revive(&m->s->m, m->s->now, min_age);
}

static void judge(struct model *m)
{
	struct kmt_verdict *v = &m->s->v;
	unsigned long leaks = 0, bytes = 0, fresh = 0;
	struct block *b = NULL;

	kmt_judge(&m->s->m, v);
	while ((b = oracle_each(m, b))) {
		struct kmt_object o;

		if (b->lost)
			continue;
		o = oracle_look(m, b);
		if (m->vague)
			b->reached = kmt_reached(&o, m->s->core.epoch);
		if (b->reached) {
			block_acquit(b);
		} else {
			b->fresh = !b->leak;
			b->leak = true;
			leaks++;
			bytes += b->size;
			fresh += b->fresh;
		}
		AGREE(!(o.flags & KMT_LEAK) == !b->leak);
		AGREE(!(o.flags & KMT_NEW) == !b->fresh);
		AGREE(!(o.flags & KMT_TRANSIENT) == !b->transient);
	}
	AGREE(v->leaks == leaks);
	AGREE(v->leak_bytes == bytes);
	AGREE(v->fresh == fresh);
	m->leaks += leaks;
	m->vagues += m->vague;
}

/* Classification: what leads to what, by brute force. */

struct edges {
	struct model *m;
	struct block *from;
	bool to[MAX_BLOCKS][MAX_BLOCKS];
};

static void edge_word(void *arg, unsigned long word)
{
	struct edges *e = arg;
	struct block *from = e->from, *b;

	b = oracle_find(e->m, KMT_PERCPU, word);
	if (b && b->leak)
		e->to[from - e->m->b][b - e->m->b] = true;
	if (word - SIM_IMAGE < SIM_IMAGE_LEN)
		return;
	b = oracle_find(e->m, KMT_VIRT, word);
	if (b && b->leak)
		e->to[from - e->m->b][b - e->m->b] = true;
}

static void close_edges(struct edges *e)
{
	unsigned int i, j, k;

	for (k = 0; k < MAX_BLOCKS; k++)
		for (i = 0; i < MAX_BLOCKS; i++)
			for (j = 0; e->to[i][k] && j < MAX_BLOCKS; j++)
				e->to[i][j] |= e->to[k][j];
}

/* Of blocks that nothing but each other leads to exactly one is direct. */
static void check_source(struct model *m, struct edges *e, unsigned int i)
{
	unsigned int j, direct = 0;
	bool source = true;

	for (j = 0; j < MAX_BLOCKS; j++)
		if (j != i && e->to[j][i] && !e->to[i][j])
			source = false;
	for (j = 0; j < MAX_BLOCKS; j++) {
		if (j != i && !(e->to[i][j] && e->to[j][i]))
			continue;
		if (!(oracle_look(m, &m->b[j]).flags & KMT_INDIRECT))
			direct++;
	}
	AGREE(direct == (source ? 1 : 0));
}

void oracle_classify(struct model *m)
{
	static struct edges e;
	struct block *b = NULL;
	bool any = false;

	memset(&e, 0, sizeof(e));
	e.m = m;
	while ((b = oracle_each(m, b))) {
		if (!b->leak)
			continue;
		any = true;
		e.from = b;
		if (!b->no_scan)
			oracle_words(b, edge_word, &e);
	}
	if (!any)
		return;
	close_edges(&e);
	while ((b = oracle_each(m, b)))
		if (b->leak) {
			m->indirect += !!(oracle_look(m, b).flags & KMT_INDIRECT);
			check_source(m, &e, b - m->b);
		}
}

void oracle_scan(struct model *m, u32 min_age, void (*between)(void *arg),
		 void *arg)
{
	begin_mark(m);
	suspect(m);
	kmt_mark_end(&m->s->m);
	check_core(m->s);
	between(arg);
	begin_mark(m);
	revive(m, min_age);
	judge(m);
	kmt_classify(&m->s->m);
	oracle_classify(m);
	kmt_mark_end(&m->s->m);
	m->scans++;
}

void oracle_compare(struct model *m)
{
	unsigned long nr = 0, i;
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		struct kmt_object o;

		if (b->lost)
			continue;
		nr++;
		o = oracle_look(m, b);
		AGREE(o.min == b->min && o.born == b->born);
		AGREE(!(o.flags & KMT_NO_SCAN) == !b->no_scan);
		AGREE(!(o.flags & KMT_STACK) == !b->stack);
		AGREE(!(o.flags & KMT_AREAS) == !b->nr_areas);
		AGREE(!(o.flags & KMT_ALIAS) == !b->aliased);
		AGREE(!(o.flags & KMT_LEAK) == !b->leak);
	}
	AGREE(nr == check_core(m->s));
	for (i = 0; i <= KMT_EV_NOTE_UNKNOWN; i++)
		AGREE(i == KMT_EV_FREE_TWICE ||
		      sim_events(m->s, i) == m->events[i]);
}
