/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Live blocks counted by allocation site, now and at the ends of the last scans.
 *
 * A count visits all live blocks: kmt_sites_begin(), then kmt_sites_find() or
 * kmt_sites_add() and kmt_sites_count() for each block, then kmt_sites_end(),
 * which makes the result the newest kept scan, or kmt_sites_cancel(), which drops
 * it. Memory grows with the number of sites, up to a bound. At the bound, the sites
 * with the fewest bytes give their places to others; blocks of sites without a place
 * are counted together.
 *
 * The caller serialises all calls. None of them takes a lock.
 */
#ifndef _KMT_SITE_TABLE_H
#define _KMT_SITE_TABLE_H

#include "core.h"

/* Scans whose counts are kept. */
#define KMT_SITE_SCANS	16

/* Bytes kept of the name of a slab cache. */
#define KMT_CACHE_NAME	48

/* Instead of an address space: blocks of pages, counted where they are tracked. */
#define KMT_SITE_PAGES	(KMT_NR_SPACES + 1)

/**
 * struct kmt_site - what blocks are grouped by
 * @trace: handle of their backtrace
 * @space: enum kmt_space, or KMT_SITE_PAGES
 * @size: size of each block if they have no backtrace; else 0
 */
struct kmt_site {
	u32 trace;
	u32 space;
	unsigned long size;
};

/* With a backtrace the size is ignored: one call site may allocate many sizes. */
static inline struct kmt_site kmt_site_of(u32 trace, enum kmt_space space,
					  unsigned long size)
{
	return (struct kmt_site){
		.trace = trace, .space = space, .size = trace ? 0 : size,
	};
}

static inline bool kmt_same_site(const struct kmt_site *a,
				 const struct kmt_site *b)
{
	return a->trace == b->trace && a->space == b->space &&
	       a->size == b->size;
}

/*
 * Encodes a number of bytes in 32 bits: exact below 2 GiB, then rounded down to a
 * multiple of 4 KiB, at most 8 TiB. The code never decreases as the number grows.
 */
#define KMT_BYTES_LARGE	0x80000000U

static inline u32 kmt_bytes_code(u64 bytes)
{
	if (bytes < KMT_BYTES_LARGE)
		return bytes;
	if (bytes >> 12 >= KMT_BYTES_LARGE)
		return U32_MAX;
	return KMT_BYTES_LARGE | bytes >> 12;
}

static inline u64 kmt_bytes_of(u32 code)
{
	if (code < KMT_BYTES_LARGE)
		return code;
	return (u64)(code - KMT_BYTES_LARGE) << 12;
}

/**
 * struct kmt_site_sum - blocks of a site in one count
 * @nr: how many
 * @bytes: their bytes
 * @least: kmt_bytes_code() of the size of the smallest one
 * @most: kmt_bytes_code() of the size of the largest one
 */
struct kmt_site_sum {
	unsigned long nr;
	unsigned long bytes;
	u32 least;
	u32 most;
};

/**
 * struct kmt_site_count - a site
 * @key: what its blocks have in common
 * @next: in its hash chain, or in the list of free entries
 * @now: in the count under way
 * @last: in the newest kept scan
 * @first: when the oldest of all blocks that were ever counted here was allocated, in
 *	milliseconds of uptime
 * @oldest: when the oldest block in the count under way was allocated, in jiffies
 * @id: for the owner: a number that says what the backtrace means; 0 at first
 * @partial: the count under way may have met blocks of this site before it had a
 *	place; its result then goes to the sites without a place
 * @past_unknown: it may have had blocks before it had a place: its first count that is
 *	not partial is taken for all kept scans, so that it does not seem to rise
 * @history: kmt_bytes_code() of its bytes in each kept scan, by slot
 * @own: for the owner: whether its blocks are the tracker's own
 * @cache: for the owner: which cache the blocks are from; empty at first
 *
 * An entry without a key (@key.space is KMT_NR_SPACES) is free.
 */
struct kmt_site_count {
	struct kmt_site key;
	struct kmt_site_count *next;
	struct kmt_site_sum now;
	struct kmt_site_sum last;
	u64 first;
	u32 oldest;
	u32 id;
	bool partial;
	bool past_unknown;
	bool own;
	u32 history[KMT_SITE_SCANS];
	char cache[KMT_CACHE_NAME];
};

/**
 * struct kmt_site_page - memory for sites
 * @next: another page
 * @site: as many as fit
 */
struct kmt_site_page {
	struct kmt_site_page *next;
	struct kmt_site_count site[];
};

#define KMT_SITES_A_PAGE						\
	((PAGE_SIZE - sizeof(struct kmt_site_page)) /			\
	 sizeof(struct kmt_site_count))

/**
 * struct kmt_site_scans - the kept scans
 * @nr: how many, at most KMT_SITE_SCANS
 * @newest: slot of the newest one; older ones are in the slots before it, modulo
 *	KMT_SITE_SCANS
 * @ended: milliseconds of uptime when each ended, by slot
 */
struct kmt_site_scans {
	unsigned int nr;
	unsigned int newest;
	u64 ended[KMT_SITE_SCANS];
};

/**
 * struct kmt_sites - the table
 * @alloc: allocates 2^order zeroed pages, or returns NULL
 * @free: frees them
 * @seed: seed of the hash
 * @max: largest number of sites
 * @nr: entries in use, some of which may have no blocks now
 * @scans: kept scans
 * @sum: all blocks in the newest kept scan; sizes are not used
 * @other: blocks in it of sites without a place
 * @now_sum: @sum of the count under way, without @now_other
 * @now_other: @other of the count under way
 * @pages: memory for sites
 * @nr_pages: how many
 * @unused: entries that are free
 * @bucket: hash chains; NULL before the first site
 * @order: pages of @bucket, as a power of two
 * @missed: a site had no place in the count under way, or lost its place
 * @full: in the count under way, make_room() could not remove as many sites as it wanted
 * @changed: set by the owner when it changed keys: kmt_sites_begin() then rebuilds the
 *	hash chains
 */
struct kmt_sites {
	void *(*alloc)(unsigned int order);
	void (*free)(void *mem, unsigned int order);
	u32 seed;
	unsigned long max;
	unsigned long nr;
	struct kmt_site_scans scans;
	struct kmt_site_sum sum;
	struct kmt_site_sum other;
	struct kmt_site_sum now_sum;
	struct kmt_site_sum now_other;
	struct kmt_site_page *pages;
	unsigned long nr_pages;
	struct kmt_site_count *unused;
	struct kmt_site_count **bucket;
	unsigned int order;
	bool missed;
	bool full;
	bool changed;
};

/* The next entry in use after @s, or from the start of @page if @s is NULL. */
static inline struct kmt_site_count *kmt_site_next(struct kmt_site_page **page,
						   struct kmt_site_count *s)
{
	for (; *page; *page = (*page)->next) {
		for (s = s ? s + 1 : (*page)->site;
		     s < (*page)->site + KMT_SITES_A_PAGE; s++)
			if (s->key.space != KMT_NR_SPACES)
				return s;
		s = NULL;
	}
	return NULL;
}

/* Visits each entry in use; the body may free the present one. */
#define kmt_for_each_site(t, page, s)					\
	for ((page) = (t)->pages, (s) = NULL;				\
	     ((s) = kmt_site_next(&(page), (s)));)

static inline unsigned int kmt_sites_hash(const struct kmt_sites *t,
					  const struct kmt_site *key)
{
	const u32 mixed = (key->trace ^ t->seed) * (u32)GOLDEN_RATIO_32 +
			  (u32)(key->size ^ key->space << 30);

	return hash_32(mixed, PAGE_SHIFT + t->order) /
	       sizeof(struct kmt_site_count *);
}

/**
 * kmt_sites_find - find a site
 * @t: table
 * @key: what its blocks have in common
 *
 * Return: its entry, or NULL.
 */
static inline struct kmt_site_count *kmt_sites_find(const struct kmt_sites *t,
						    const struct kmt_site *key)
{
	struct kmt_site_count *s;

	if (!t->bucket)
		return NULL;
	for (s = t->bucket[kmt_sites_hash(t, key)]; s; s = s->next)
		if (kmt_same_site(&s->key, key))
			return s;
	return NULL;
}

static inline void kmt_site_sum_add(struct kmt_site_sum *sum,
				    unsigned long bytes)
{
	sum->nr++;
	sum->bytes += bytes;
}

/**
 * kmt_sites_count - count a block
 * @t: table
 * @s: its site; NULL if the site has no place
 * @bytes: its bytes
 * @born: when it was allocated, low 32 bits of jiffies
 */
static inline void kmt_sites_count(struct kmt_sites *t,
				   struct kmt_site_count *s,
				   unsigned long bytes, u32 born)
{
	const u32 code = kmt_bytes_code(bytes);

	if (!s) {
		kmt_site_sum_add(&t->now_other, bytes);
		return;
	}
	if (!s->now.nr || kmt_is_younger(s->oldest, born))
		s->oldest = born;
	if (!s->now.nr || code < s->now.least)
		s->now.least = code;
	if (code > s->now.most)
		s->now.most = code;
	kmt_site_sum_add(&s->now, bytes);
}

/* The slot of the scan that was made @back scans before the newest one. */
static inline unsigned int kmt_site_slot(const struct kmt_site_scans *scans,
					 unsigned int back)
{
	return (scans->newest - back) % KMT_SITE_SCANS;
}

void kmt_sites_begin(struct kmt_sites *t);
struct kmt_site_count *kmt_sites_add(struct kmt_sites *t,
				     const struct kmt_site *key);
void kmt_sites_end(struct kmt_sites *t, u64 uptime, u32 now, unsigned int hz);
void kmt_sites_cancel(struct kmt_sites *t);
void kmt_sites_drop(struct kmt_sites *t);
unsigned int kmt_site_rise(const struct kmt_site_scans *scans,
			   const struct kmt_site_count *s, u64 *bytes, u64 *ms);

#endif /* _KMT_SITE_TABLE_H */
