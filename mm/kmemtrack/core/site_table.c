// SPDX-License-Identifier: GPL-2.0
/*
 * The table of sites: see site_table.h.
 */
#include "site_table.h"

/* Largest size of the table of hash chains, as an order of pages. */
#define KMT_BUCKETS_ORDER_MAX	4

/* When the table is full, it gives up one of this many sites. */
#define KMT_GIVE_UP		4

/* It does not give up a site that rose in this many scans. */
#define KMT_KEEP_RISES		2

/* Classes of sizes: 0, and one per power of two. */
#define KMT_SIZE_CLASSES	(BITS_PER_LONG + 1)

static void free_site(struct kmt_sites *t, struct kmt_site_count *s)
{
	memset(s, 0, sizeof(*s));
	s->key.space = KMT_NR_SPACES;
	s->next = t->unused;
	t->unused = s;
}

static void link_site(struct kmt_sites *t, struct kmt_site_count *s)
{
	struct kmt_site_count **first = &t->bucket[kmt_sites_hash(t, &s->key)];

	s->next = *first;
	*first = s;
}

static void remove_site(struct kmt_sites *t, struct kmt_site_count *s)
{
	struct kmt_site_count **link = &t->bucket[kmt_sites_hash(t, &s->key)];

	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	free_site(t, s);
	t->nr--;
}

static void add_sum(struct kmt_site_sum *to, const struct kmt_site_sum *more)
{
	if (more->nr && (!to->nr || more->least < to->least))
		to->least = more->least;
	to->most = max(to->most, more->most);
	to->nr += more->nr;
	to->bytes += more->bytes;
}

/* Merges @more into @s, when their keys have become equal. */
static void merge(struct kmt_site_count *s, const struct kmt_site_count *more)
{
	unsigned int i;

	add_sum(&s->last, &more->last);
	s->first = min(s->first, more->first);
	for (i = 0; i < KMT_SITE_SCANS; i++)
		s->history[i] = kmt_bytes_code(kmt_bytes_of(s->history[i]) +
					       kmt_bytes_of(more->history[i]));
}

/* Rebuilds the hash chains, and merges sites with equal keys. */
static void link_all(struct kmt_sites *t)
{
	struct kmt_site_count *s, *same;
	struct kmt_site_page *page;

	memset(t->bucket, 0, PAGE_SIZE << t->order);
	kmt_for_each_site(t, page, s) {
		same = kmt_sites_find(t, &s->key);
		if (!same) {
			link_site(t, s);
			continue;
		}
		merge(same, s);
		free_site(t, s);
		t->nr--;
	}
	t->changed = false;
}

/* Doubles the table of hash chains; without memory for it, chains get longer. */
static void widen(struct kmt_sites *t)
{
	void *more;

	if (t->order == KMT_BUCKETS_ORDER_MAX)
		return;
	more = t->alloc(t->order + 1);
	if (!more)
		return;
	t->free(t->bucket, t->order);
	t->bucket = more;
	t->order++;
	link_all(t);
}

static bool add_page(struct kmt_sites *t)
{
	struct kmt_site_page *page = t->alloc(0);
	unsigned int i;

	if (!page)
		return false;
	page->next = t->pages;
	t->pages = page;
	t->nr_pages++;
	for (i = 0; i < KMT_SITES_A_PAGE; i++)
		free_site(t, &page->site[i]);
	return true;
}

/* By its bytes in this count, or in the newest kept scan if it had more there. */
static unsigned int class_of(const struct kmt_sites *t,
			     const struct kmt_site_count *s)
{
	const u64 before = kmt_bytes_of(s->history[t->scans.newest]);
	const unsigned long bytes = max_t(u64, s->now.bytes, before);

	return bytes ? ilog2(bytes) + 1 : 0;
}

/* Whether a site may be given up for others. */
static bool is_dispensable(const struct kmt_sites *t,
			   const struct kmt_site_count *s)
{
	u64 bytes, ms;

	return kmt_site_rise(&t->scans, s, &bytes, &ms) < KMT_KEEP_RISES;
}

/*
 * Gives up @nr sites with the fewest bytes, as class_of() sorts them, except those
 * that rise.
 */
static void give_up(struct kmt_sites *t, unsigned long nr)
{
	unsigned long in_class[KMT_SIZE_CLASSES] = {}, left = nr;
	struct kmt_site_page *page;
	struct kmt_site_count *s;
	unsigned int its, class = 0;

	kmt_for_each_site(t, page, s)
		if (is_dispensable(t, s))
			in_class[class_of(t, s)]++;
	while (class < KMT_SIZE_CLASSES - 1 && in_class[class] < left)
		left -= in_class[class++];
	kmt_for_each_site(t, page, s) {
		its = class_of(t, s);
		if (its > class || (its == class && !left) ||
		    !is_dispensable(t, s))
			continue;
		if (its == class)
			left--;
		add_sum(&t->other, &s->last);
		add_sum(&t->now_other, &s->now);
		remove_site(t, s);
	}
}

/*
 * Removes a quarter of the sites, those with the fewest bytes. Sites that rise stay. If fewer
 * were removed than wanted, this is not tried again in the same count, since it walks over
 * the whole table.
 */
static void make_room(struct kmt_sites *t)
{
	const unsigned long before = t->nr, wanted = max(1UL, before / KMT_GIVE_UP);

	t->missed = true;
	if (t->full)
		return;
	give_up(t, wanted);
	t->full = before - t->nr < wanted;
}

/* Returns a free entry, for which it may give up sites or allocate; NULL if it fails. */
static struct kmt_site_count *take_entry(struct kmt_sites *t)
{
	struct kmt_site_count *s;

	if (t->nr >= t->max)
		make_room(t);
	if (t->nr >= t->max || (!t->unused && !add_page(t))) {
		t->missed = true;
		return NULL;
	}
	s = t->unused;
	t->unused = s->next;
	return s;
}

/**
 * kmt_sites_add - make room for a site
 * @t: table, with a count under way
 * @key: what its blocks have in common; not in the table yet
 *
 * If the table is full, it gives up a quarter of the sites, those with the fewest
 * bytes except sites that rise. Since it gives up many at a time, the cost per added
 * site does not grow with the table.
 *
 * Return: its entry; NULL if there is no place or no memory.
 */
struct kmt_site_count *kmt_sites_add(struct kmt_sites *t,
				     const struct kmt_site *key)
{
	struct kmt_site_count *s;

	if (!t->bucket) {
		t->order = 0;
		t->bucket = t->alloc(0);
	}
	s = t->bucket ? take_entry(t) : NULL;
	if (!s) {
		t->missed = true;
		return NULL;
	}
	if (t->nr >= (PAGE_SIZE << t->order) / sizeof(*t->bucket))
		widen(t);
	memset(s, 0, sizeof(*s));
	s->key = *key;
	s->first = ~0ULL;
	s->partial = t->missed;
	s->past_unknown = t->missed || t->other.nr;
	link_site(t, s);
	t->nr++;
	return s;
}

/**
 * kmt_sites_begin - begin a count
 * @t: table
 */
void kmt_sites_begin(struct kmt_sites *t)
{
	struct kmt_site_sum none = {};

	if (t->nr > t->max)
		kmt_sites_drop(t);
	if (t->bucket && t->changed)
		link_all(t);
	t->missed = false;
	t->full = false;
	t->now_sum = none;
	t->now_other = none;
}

static void end_site(struct kmt_sites *t, struct kmt_site_count *s, u64 uptime,
		     u32 now, unsigned int hz)
{
	const u32 age = now - s->oldest;
	const u64 ms = (u64)(age / hz) * 1000 + (age % hz) * 1000 / hz;
	struct kmt_site_sum none = {};
	unsigned int i;

	if (s->now.nr)
		s->first = min(s->first, uptime > ms ? uptime - ms : 0);
	s->history[t->scans.newest] = kmt_bytes_code(s->now.bytes);
	if (s->partial) {
		add_sum(&t->now_other, &s->now);
		s->now = none;
	} else if (s->past_unknown) {
		for (i = 0; i < KMT_SITE_SCANS; i++)
			s->history[i] = s->history[t->scans.newest];
		s->past_unknown = false;
	}
	s->last = s->now;
	s->now = none;
	s->partial = false;
	add_sum(&t->now_sum, &s->last);
}

static bool is_forgotten(const struct kmt_site_count *s)
{
	unsigned int i;

	for (i = 0; i < KMT_SITE_SCANS; i++)
		if (s->history[i])
			return false;
	return !s->last.nr;
}

/**
 * kmt_sites_end - keep what was counted
 * @t: table
 * @uptime: milliseconds
 * @now: low 32 bits of jiffies
 * @hz: jiffies a second
 *
 * Sites that have no blocks now, and had none in any kept scan, are removed.
 */
void kmt_sites_end(struct kmt_sites *t, u64 uptime, u32 now, unsigned int hz)
{
	struct kmt_site_scans *scans = &t->scans;
	struct kmt_site_page *page;
	struct kmt_site_count *s;

	scans->newest = (scans->newest + 1) % KMT_SITE_SCANS;
	scans->ended[scans->newest] = uptime;
	if (scans->nr < KMT_SITE_SCANS)
		scans->nr++;
	kmt_for_each_site(t, page, s) {
		end_site(t, s, uptime, now, hz);
		if (is_forgotten(s))
			remove_site(t, s);
	}
	t->other = t->now_other;
	t->sum = t->now_sum;
	add_sum(&t->sum, &t->other);
}

/**
 * kmt_sites_cancel - forget the count under way
 * @t: table
 */
void kmt_sites_cancel(struct kmt_sites *t)
{
	struct kmt_site_sum none = {};
	struct kmt_site_page *page;
	struct kmt_site_count *s;

	kmt_for_each_site(t, page, s) {
		s->now = none;
		if (is_forgotten(s))
			remove_site(t, s);
	}
}

/**
 * kmt_sites_drop - forget all sites and kept scans, and free their memory
 * @t: table; @t->alloc, @t->free, @t->seed and @t->max stay
 */
void kmt_sites_drop(struct kmt_sites *t)
{
	struct kmt_sites empty = {
		.alloc = t->alloc, .free = t->free, .seed = t->seed,
		.max = t->max,
	};
	struct kmt_site_page *page;

	while ((page = t->pages)) {
		t->pages = page->next;
		t->free(page, 0);
	}
	if (t->bucket)
		t->free(t->bucket, t->order);
	*t = empty;
}

/**
 * kmt_site_rise - how long a site has been rising
 * @scans: kept scans
 * @s: site
 * @bytes: set to the bytes that it rose by
 * @ms: set to the milliseconds in which it did
 *
 * Return: the number of the last scans in each of which it had more bytes than in
 * the one before.
 */
unsigned int kmt_site_rise(const struct kmt_site_scans *scans,
			   const struct kmt_site_count *s, u64 *bytes, u64 *ms)
{
	const unsigned int newest = kmt_site_slot(scans, 0);
	unsigned int n = 0, before = newest;

	while (n + 1 < scans->nr &&
	       s->history[kmt_site_slot(scans, n)] >
	       s->history[kmt_site_slot(scans, n + 1)])
		before = kmt_site_slot(scans, ++n);
	*bytes = kmt_bytes_of(s->history[newest]) -
		 kmt_bytes_of(s->history[before]);
	*ms = scans->ended[newest] - scans->ended[before];
	return n;
}
