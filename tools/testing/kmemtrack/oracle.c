// SPDX-License-Identifier: GPL-2.0
/* The oracle's blocks, and their comparison with the tracker's. */
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
	return b->min != KMT_MIN_GREY && b->min != KMT_MIN_BLACK &&
	       b->min != KMT_MIN_CLEARED;
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

bool block_reached(const struct block *b, enum bound bound)
{
	return !block_judged(b) || b->fate[bound].count >= b->min;
}

bool block_read(const struct block *b)
{
	return b->min != KMT_MIN_BLACK && !b->no_scan;
}

static void fate_pardon(struct fate *f)
{
	f->suspect = false;
	f->leak = false;
	f->fresh = false;
}

void block_pardon(struct block *b)
{
	fate_pardon(&b->fate[FEWEST]);
	fate_pardon(&b->fate[MOST]);
}

void fate_acquit(struct fate *f)
{
	fate_pardon(f);
	f->transient = false;
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

/* Marks whole words of a block readable; poison covers units of eight bytes. */
void block_own(const struct block *b, bool owned)
{
	unsigned long lo = ALIGN(b->addr, owned ? W : 8);
	unsigned long hi = ALIGN_DOWN(b->addr + b->size, owned ? W : 8);

	if (b->space == KMT_PERCPU || b->space == KMT_ROOT || lo >= hi)
		return;
	if (b->space == KMT_PHYS) {
		lo = kmt_env_phys(lo);
		hi = kmt_env_phys(hi);
	}
	if (owned)
		sim_own(lo, hi - lo);
	else
		sim_disown(lo, hi - lo);
}

void block_forget(struct block *b)
{
	block_own(b, false);
	memset(b, 0, sizeof(*b));
}

static void range_words(const struct kmt_range *r,
			void (*fn)(void *arg, unsigned long word), void *arg)
{
	unsigned long at;

	for (at = ALIGN(r->lo, W); at + W <= r->hi; at += W)
		if (sim_mapped(at))
			fn(arg, sim_get(at));
}

void oracle_words(const struct block *b,
		  void (*fn)(void *arg, unsigned long word), void *arg)
{
	struct kmt_range ranges[MAX_RANGES];
	unsigned int i, nr = block_ranges(b, ranges);

	for (i = 0; i < nr; i++)
		range_words(&ranges[i], fn, arg);
}

static void sum_word(void *arg, unsigned long word)
{
	u64 *sum = arg;

	/* A different sum from kmt_sum_words(). */
	*sum = (*sum ^ word) * 0x100000001b3ULL;
	*sum ^= *sum >> 32;
}

u32 block_sum(const struct block *b)
{
	/* Not 0, so that leading words of 0 change the sum. */
	u64 sum = 1;

	oracle_words(b, sum_word, &sum);
	return sum;
}

struct kmt_object oracle_look(struct model *m, const struct block *b)
{
	struct kmt_object o = {};

	AGREE(kmt_lookup(&m->s->core, b->space, b->addr, &o));
	AGREE(o.addr == b->addr && o.size == b->size);
	return o;
}

void oracle_compare(struct model *m)
{
	const long unknown = m->events[KMT_EV_FREE_UNKNOWN];
	unsigned long nr = 0, i;
	struct block *b = NULL;

	while ((b = oracle_each(m, b))) {
		struct kmt_object o;

		AGREE(!b->open && !b->evicted);
		AGREE(b->fate[FEWEST].leak == b->fate[MOST].leak);
		if (b->lost)
			continue;
		nr++;
		o = oracle_look(m, b);
		AGREE(o.min_refs == b->min && o.born == b->born);
		AGREE(!(o.flags & KMT_NO_SCAN) == !b->no_scan);
		AGREE(!(o.flags & KMT_STACK) == !b->stack);
		AGREE(!(o.flags & KMT_AREAS) == !b->nr_areas);
		AGREE(!(o.flags & KMT_ALIAS) == !b->aliased);
		AGREE(!(o.flags & KMT_LEAK) == !b->fate[FEWEST].leak);
	}
	AGREE(nr == check_core(m->s));
	for (i = 0; i <= KMT_EV_ANNOTATE_UNKNOWN; i++)
		AGREE(i == KMT_EV_FREE_TWICE ||
		      sim_events(m->s, i) == m->events[i]);
	/* Only frees of blocks whose vacant record still exists are counted twice. */
	AGREE(sim_events(m->s, KMT_EV_FREE_TWICE) <= unknown);
}
