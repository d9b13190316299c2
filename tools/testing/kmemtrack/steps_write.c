// SPDX-License-Identifier: GPL-2.0
/* Random contents: references, and words that are nearly references. */
#include "steps.h"

/* A word that is a reference, or nearly one. */
static unsigned long pick_word(struct steps *t)
{
	struct block *b = pick_block(t);
	struct source *src = &t->src;

	if (!b)
		return 0;
	switch (pick(src, 10)) {
	case 0:
		return 0;
	case 1:
		return b->addr + b->size;
	case 2:
		return b->addr - 1;
	case 3:
		return b->addr + b->size - 1;
	case 4:
		return b->addr + pick(src, min(b->size, 60000ul));
	case 5:
		return pick(src, 60000) * 0x100010001ull;
	default:
		return b->addr;
	}
}

/* As pick_word(), with any tag or none if this machine has tags. */
static unsigned long pick_tagged(struct steps *t)
{
	unsigned long word = pick_word(t);

	if (host_tags && pick(&t->src, 4))
		word ^= (unsigned long)pick(&t->src, 256) << (8 * W - 8);
	return word;
}

/* One past the last writable byte of @b. */
static unsigned long memory_end(const struct block *b)
{
	unsigned long end = b->addr + b->size;

	if (b->space == KMT_VIRT)
		return end;
	if (b->space == KMT_PHYS)
		return kmt_env_phys(end);
	/* These are in memory that is always mapped. */
	return ~0ul;
}

/* Writes a word to @at or, sometimes, to an unaligned address after it. */
static void put(struct steps *t, unsigned long at, unsigned long end)
{
	unsigned long word = pick_tagged(t), odd = pick(&t->src, 5 * W);

	if (at + W > end)
		return;
	if (odd >= W || at + 2 * W > end) {
		sim_put(at, word);
		return;
	}
	/* Write both words, so that the simulated machine notes both. */
	sim_put(at, sim_get(at));
	sim_put(at + W, sim_get(at + W));
	memcpy((char *)sim_host(at) + odd, &word, sizeof(word));
}

void step_write(struct steps *t)
{
	struct block *b = pick_block(t);
	struct source *src = &t->src;
	unsigned long at;

	if (!b || !pick(src, 12)) {
		put(t, ROOT(pick(src, ROOT_WORDS)), ROOT(ROOT_WORDS));
		return;
	}
	at = b->addr;
	if (b->space == KMT_PERCPU)
		at = kmt_env_percpu(at, pick(src, HOST_CPUS));
	if (b->space == KMT_PHYS)
		at = kmt_env_phys(at);
	at += pick(src, min(b->size, 60000ul));
	if (pick(src, 2) && b->nr_areas)
		at = b->areas[0].lo;
	put(t, ALIGN(at, W), memory_end(b));
}
