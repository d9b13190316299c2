// SPDX-License-Identifier: GPL-2.0
/*
 * Reports: leaks counted by site, and a walk over the leaks themselves.
 *
 * Leaks are read one after the other in their cells (kmt_next_object()). The report, grouped
 * by site, is made at the end of each scan that finds leaks, and again when it is read from
 * its beginning and leaks have disappeared; see "Reports" in kmemtrack-design.rst.
 *
 * Allocations in here do not invoke the OOM killer.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/jhash.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/printk.h>
#include <linux/random.h>
#include <linux/sort.h>
#include <linux/uaccess.h>

#include "../slab.h"
#include "pages.h"
#include "report.h"

/* Initial room for groups. */
#define KMT_GROUPS_MIN	64

/* Number of leaks that the last report held back. */
unsigned long kmt_leaks_suppressed;

/* Bits of a position that select the cell in a chunk. */
#define KMT_POS_SHIFT	31

/*
 * The report that readers get; NULL if it must be made first. While tracking is off it is
 * the last report, or an error pointer if there was no memory for it. Protected by
 * kmt_scan_mutex.
 */
static struct kmt_report *current_report;

/*
 * While tracking is off: copies of the leaks, sorted by position. Protected by
 * kmt_scan_mutex, their backtraces also by kmt_reports_sem.
 */
static struct kmt_leak *kept;
static unsigned long nr_kept;
static size_t kept_bytes;
static int kept_error;

/* All reports in use. */
static LIST_HEAD(reports);
static DEFINE_MUTEX(reports_mutex);

static void each_of_group(struct kmt_group *g,
			  void (*fn)(void *arg, u32 *trace, u16 comm),
			  void *arg)
{
	unsigned int i, shown = min_t(unsigned int, g->names, KMT_TASKS);

	fn(arg, &g->oldest.trace, g->oldest.comm);
	for (i = 0; i < shown; i++)
		fn(arg, NULL, g->tasks[i].comm);
}

/**
 * kmt_reports_for_each - call a function for all backtraces and names in reports
 * @fn: called with the backtrace of a leak, which it may change, or NULL, and
 *	with the name of a task
 * @arg: for @fn
 *
 * Context: kmt_reports_sem held for writing, may sleep.
 */
void kmt_reports_for_each(void (*fn)(void *arg, u32 *trace, u16 comm),
			  void *arg)
{
	struct kmt_report *report;
	unsigned long i;

	lockdep_assert_held_write(&kmt_reports_sem);
	mutex_lock(&reports_mutex);
	list_for_each_entry(report, &reports, list) {
		for (i = 0; i < report->nr_groups; i++) {
			each_of_group(&report->groups[i], fn, arg);
			cond_resched();
		}
	}
	mutex_unlock(&reports_mutex);
	for (i = 0; i < nr_kept; i++) {
		fn(arg, &kept[i].trace, kept[i].comm);
		cond_resched();
	}
}

static struct kmt_object *find_in(struct kmt_chunk *chunk, loff_t *pos,
				  u16 wanted)
{
	/* Newer chunks come before older ones. */
	const loff_t first = (loff_t)(U32_MAX - chunk->id) << KMT_POS_SHIFT;
	struct kmt_object *cells = kmt_chunk_cells(chunk);
	loff_t i = max(*pos - first, 0LL);

	for (; i < chunk->nr; i++) {
		if (!kmt_hint_flags(&cells[i], KMT_LIVE | wanted, KMT_LIVE | wanted))
			continue;
		*pos = first + i;
		return &cells[i];
	}
	return NULL;
}

/**
 * kmt_next_object - find the next leak, or the next block
 * @c: cursor; set to the position of what was found. The caller increments kmt_cursor.pos
 *	before the next call
 * @wanted: KMT_LEAK for leaks, KMT_NEW for those that are new in the last scan, KMT_LIVE
 *	for all blocks
 *
 * A walk does not end when the task is killed: what follows from a scan needs all leaks,
 * and `off` keeps them all.
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: a cell, to be checked under kmt_lock_object(); NULL at the end.
 */
struct kmt_object *kmt_next_object(struct kmt_cursor *c, u16 wanted)
{
	struct kmt_chunk *chunk = c->chunk;
	struct kmt_object *o;

	lockdep_assert_held(&kmt_scan_mutex);
	if (!chunk || c->given_back != kmt_pages_given_back)
		chunk = kmt_chunks(&kmt_core);
	c->given_back = kmt_pages_given_back;
	for (; chunk; chunk = chunk->next) {
		o = find_in(chunk, &c->pos, wanted);
		if (o) {
			c->chunk = chunk;
			return o;
		}
		cond_resched();
	}
	/* c->chunk may have left the pool. */
	c->chunk = NULL;
	return NULL;
}

/**
 * kmt_leaks_stop - end a read of leaks, or of blocks: releases kmt_scan_mutex
 * @seq: not used
 * @v: what the start of the read returned; an error pointer if it does not hold the mutex
 */
void kmt_leaks_stop(struct seq_file *seq, void *v)
{
	if (!IS_ERR(v))
		mutex_unlock(&kmt_scan_mutex);
}

static void copy_contents(struct kmt_leak *leak)
{
	unsigned long addr = leak->addr;

	if (kmt_leak_space(leak) == KMT_PERCPU)
		addr = kmt_env_percpu(addr, kmt_dump_cpu());
	leak->dumped = min_t(unsigned long, leak->size, KMT_DUMP_MAX);
	if (!kmt_env_read(leak->dump, addr, leak->dumped))
		leak->dumped = 0;
}

/**
 * kmt_cache_at - get the name of the slab cache, or other source, of memory
 * @name: set to the name of the slab cache, or the name shown in its place; room for
 *	KMT_CACHE_NAME bytes
 * @addr: address
 *
 * The cache of a block with a live record exists. But if a hook missed the free, or if
 * there is no record, the cache may be gone. If the name cannot be read, @name is not
 * changed, or is "?".
 *
 * Context: any.
 * Return: whether @name was set.
 */
bool kmt_cache_at(char *name, unsigned long addr)
{
	const char *from = "vmalloc";
	struct slab *slab;
	int order;

	if (!is_vmalloc_or_module_addr((void *)addr)) {
		if (!virt_addr_valid((void *)addr))
			return false;
		order = kmt_pages_order(addr);
		if (order == KMT_PAGES_SPLIT) {
			strscpy(name, KMT_PAGES_NAME "-split", KMT_CACHE_NAME);
			return true;
		}
		if (order >= 0) {
			snprintf(name, KMT_CACHE_NAME, KMT_PAGES_NAME "-order-%d", order);
			return true;
		}
		from = "pages";
		slab = virt_to_slab((void *)addr);
		if (slab && get_kernel_nofault(from, &slab->slab_cache->name))
			return false;
	}
	if (strncpy_from_kernel_nofault(name, from, KMT_CACHE_NAME) < 0)
		strscpy(name, "?", KMT_CACHE_NAME);
	return true;
}

/**
 * kmt_source_name - name the slab cache or the allocator of a block
 * @name: set to the name of its slab cache, or to that of its kind of memory; room for
 *	KMT_CACHE_NAME bytes
 * @space: its address space
 * @addr: its address
 *
 * Context: any; the lock of the record's tree held if the cache is to stay.
 */
void kmt_source_name(char *name, enum kmt_space space, unsigned long addr)
{
	strscpy(name, space == KMT_PERCPU ? "percpu" :
		      space == KMT_PHYS ? "memblock" : "?", KMT_CACHE_NAME);
	if (space == KMT_VIRT)
		kmt_cache_at(name, addr);
}

/* As kmt_take_leak(); sets @cache, if it is not NULL, to the name of the cache. */
static bool take_leak(struct kmt_object *o, u16 wanted, bool contents,
		      struct kmt_leak *leak, char *cache)
{
	struct kmt_held held;
	bool found;

	if (!kmt_lock_object(&kmt_core, o, &held))
		return false;
	found = o->flags & wanted;
	if (found) {
		leak->addr = o->addr;
		leak->size = o->size;
		leak->trace = o->trace;
		leak->pid = kmt_pid(o);
		leak->slack = kmt_slack(o);
		leak->born = o->born;
		leak->comm = o->comm;
		leak->flags = o->flags;
		leak->dumped = 0;
		if (contents)
			copy_contents(leak);
		if (cache)
			kmt_source_name(cache, kmt_space(o), o->addr);
	}
	kmt_unlock(&held);
	return found;
}

/* The suppression that holds back the direct leak in @head. */
static noinline int head_suppressed_by(struct kmt_object *head)
{
	char cache[KMT_CACHE_NAME];
	struct kmt_leak leak;
	int by = KMT_NOT_SUPPRESSED;

	if (take_leak(head, KMT_LEAK, false, &leak, cache))
		by = kmt_suppressed_by(leak.trace, leak.comm, cache);
	kmt_wipe(&leak);
	return by;
}

/*
 * The suppression that holds back the leak in @o: one that matches the leak itself, or
 * the one of the direct leak that it hangs on, with which it would be fixed.
 */
static int suppressed_by(const struct kmt_object *o, const struct kmt_leak *leak,
			 const char *cache, const struct kmt_rank **hint)
{
	int by = kmt_suppressed_by(leak->trace, leak->comm, cache);

	if (by != KMT_NOT_SUPPRESSED || !(leak->flags & KMT_INDIRECT))
		return by;
	*hint = kmt_direct_leak_of(o, *hint);
	return *hint && (*hint)->direct ? head_suppressed_by((*hint)->direct) : by;
}

/**
 * kmt_take_leak - copy the fields of a leak that are shown
 * @o: its cell
 * @wanted: as for kmt_next_object()
 * @leak: filled in, except for its position
 *
 * Context: no lock of the core held. A caller that prints the copy holds kmt_reports_sem
 * for reading until then, which keeps the names in the backtrace.
 * Return: false if it is no leak any more, or is suppressed.
 */
bool kmt_take_leak(struct kmt_object *o, u16 wanted, struct kmt_leak *leak)
{
	const bool suppressing = kmt_suppressing();
	const struct kmt_rank *hint = NULL;
	char cache[KMT_CACHE_NAME];

	if (!take_leak(o, wanted, true, leak, suppressing ? cache : NULL))
		return false;
	return !suppressing ||
	       suppressed_by(o, leak, cache, &hint) == KMT_NOT_SUPPRESSED;
}

/* Gets the site of @head; returns false if it is no leak any more. */
static bool site_of_head(struct kmt_object *head, struct kmt_site *site)
{
	struct kmt_leak leak;
	bool found = head && take_leak(head, KMT_LEAK, false, &leak, NULL);

	if (found)
		*site = kmt_site_of(leak.trace, kmt_leak_space(&leak), leak.size);
	kmt_wipe(&leak);
	return found;
}

/**
 * struct counting - state while leaks are counted
 * @groups: groups of leaks with the same key
 * @nr: number of groups
 * @max: room for groups, a power of two
 * @first: hash table: number of the first group of each hash value, from 1; 0 for none
 * @seed: seed of the hash
 * @sum: all leaks that are shown
 * @suppressed: all leaks that are held back
 * @held_back: how many leaks each suppression holds back
 * @rank: rank of the last indirect leak
 */
struct counting {
	struct kmt_group *groups;
	unsigned long nr;
	unsigned long max;
	u32 *first;
	u32 seed;
	struct kmt_sum sum;
	struct kmt_sum suppressed;
	unsigned long *held_back;
	const struct kmt_rank *rank;
};

static u32 *bucket(struct counting *c, const struct kmt_key *key)
{
	static_assert(sizeof(*key) == 2 * sizeof(key->site) +
		      sizeof(key->comm));
	static_assert(sizeof(key->site) == 2 * sizeof(u32) + sizeof(long));
	return &c->first[jhash(key, sizeof(*key), c->seed) & (c->max - 1)];
}

static void link_group(struct counting *c, unsigned long i)
{
	u32 *first = bucket(c, &c->groups[i].key);

	c->groups[i].next = *first;
	*first = i + 1;
}

static void free_counting(struct counting *c)
{
	kmt_own_vfree(c->groups, array_size(c->max, sizeof(*c->groups)));
	kmt_own_vfree(c->first, array_size(c->max, sizeof(*c->first)));
}

static bool grow(struct counting *c)
{
	unsigned long i, nr = c->nr;
	struct counting more = *c;

	more.max = c->max ? 2 * c->max : KMT_GROUPS_MIN;
	more.groups = kmt_own_vzalloc(array_size(more.max,
						 sizeof(*more.groups)));
	more.first = kmt_own_vzalloc(array_size(more.max,
						sizeof(*more.first)));
	if (!more.groups || !more.first) {
		free_counting(&more);
		return false;
	}
	for (i = 0; i < nr; i++) {
		more.groups[i] = c->groups[i];
		link_group(&more, i);
	}
	free_counting(c);
	*c = more;
	return true;
}

/* Finds or adds the group with @key; NULL if there is no memory for it. */
static struct kmt_group *group_of(struct counting *c, const struct kmt_key *key)
{
	struct kmt_group *g;
	u32 i;

	for (i = c->max ? *bucket(c, key) : 0; i; i = g->next) {
		g = &c->groups[i - 1];
		if (!memcmp(&g->key, key, sizeof(*key)))
			return g;
	}
	if (c->nr == c->max && !grow(c))
		return NULL;
	g = &c->groups[c->nr];
	g->key = *key;
	link_group(c, c->nr++);
	return g;
}

static void add_sum(struct kmt_sum *sum, const struct kmt_sum *more)
{
	sum->nr += more->nr;
	sum->bytes += more->bytes;
	sum->indirect += more->indirect;
}

static bool is_older(const struct kmt_leak *a, const struct kmt_leak *b)
{
	if (a->born != b->born)
		return kmt_is_younger(b->born, a->born);
	return a->addr < b->addr;
}

/* Adds the leaks of @more to @g, except the names of tasks. */
static void add_leaks(struct kmt_group *g, const struct kmt_group *more)
{
	const bool first = !g->sum.nr;

	if (first || is_older(&more->oldest, &g->oldest)) {
		g->o = more->o;
		g->oldest = more->oldest;
	}
	if (first || kmt_is_younger(more->newest, g->newest))
		g->newest = more->newest;
	if (first || more->least < g->least)
		g->least = more->least;
	g->most = max(g->most, more->most);
	if (first || more->requested.least < g->requested.least)
		g->requested.least = more->requested.least;
	g->requested.most = max(g->requested.most, more->requested.most);
	g->rounded |= more->rounded;
	add_sum(&g->sum, &more->sum);
}

/* Fills in @one, a group that consists of the leak @one->oldest only. */
static void describe_leak(struct counting *c, struct kmt_group *one)
{
	const struct kmt_leak *leak = &one->oldest;
	const bool indirect = leak->flags & KMT_INDIRECT;
	struct kmt_key *key = &one->key;

	key->site = kmt_site_of(leak->trace, kmt_leak_space(leak), leak->size);
	key->comm = leak->comm;
	if (indirect)
		c->rank = kmt_direct_leak_of(one->o, c->rank);
	if (!indirect || !c->rank ||
	    !site_of_head(c->rank->direct, &key->head))
		key->head = key->site;
	one->newest = leak->born;
	one->least = leak->size;
	one->most = leak->size;
	one->requested.least = kmt_leak_requested(leak);
	one->requested.most = one->requested.least;
	one->rounded = one->requested.least < leak->size;
}

/* If a suppression holds back the leak @one->oldest, counts it; else returns false. */
static bool count_suppressed(struct counting *c, const struct kmt_group *one)
{
	int by;

	if (!kmt_suppressing())
		return false;
	by = suppressed_by(one->o, &one->oldest, one->cache, &c->rank);
	if (by == KMT_NOT_SUPPRESSED)
		return false;
	add_sum(&c->suppressed, &one->sum);
	c->held_back[by]++;
	return true;
}

static int count_leaks(struct counting *c, u16 wanted)
{
	struct kmt_cursor cursor = {};
	struct kmt_group *g, one = {};

	kmt_for_each_leak(&cursor, one.o, wanted) {
		if (!take_leak(one.o, wanted, false, &one.oldest,
			       kmt_suppressing() ? one.cache : NULL))
			continue;
		one.sum = (struct kmt_sum){
			1, one.oldest.size, !!(one.oldest.flags & KMT_INDIRECT),
		};
		if (count_suppressed(c, &one))
			continue;
		one.oldest.pos = cursor.pos;
		describe_leak(c, &one);
		g = group_of(c, &one.key);
		if (!g)
			break;
		add_leaks(g, &one);
		add_sum(&c->sum, &one.sum);
	}
	kmt_wipe(&one.oldest);
	return one.o ? -ENOMEM : 0;
}

static int compare_keys(const void *a, const void *b)
{
	const struct kmt_group *ga = a, *gb = b;

	cond_resched();
	return memcmp(&ga->key, &gb->key, sizeof(ga->key));
}

/* Adds @nr leaks of tasks with one name; keeps g->tasks sorted. */
static void add_task(struct kmt_group *g, u16 comm, unsigned long nr)
{
	unsigned int i = min_t(unsigned int, g->names, KMT_TASKS);

	g->names++;
	if (i == KMT_TASKS && g->tasks[--i].nr >= nr)
		return;
	for (; i && g->tasks[i - 1].nr < nr; i--)
		g->tasks[i] = g->tasks[i - 1];
	g->tasks[i] = (struct kmt_task_sum){ .nr = nr, .comm = comm };
}

/* Merges groups that differ only in the names of tasks; they are sorted by key. */
static void merge_tasks(struct counting *c)
{
	struct kmt_group *g = NULL, *from = c->groups;
	unsigned long i, nr = 0;

	for (i = 0; i < c->nr; i++, from++) {
		const u16 comm = from->key.comm;
		const unsigned long leaks = from->sum.nr;

		if (g && !memcmp(&g->key, &from->key, offsetof(struct kmt_key, comm))) {
			add_leaks(g, from);
		} else {
			g = &c->groups[nr++];
			*g = *from;
		}
		add_task(g, comm, leaks);
	}
	c->nr = nr;
}

/* Sets @all and @leader of @nr entries from @g on, which hang on the same site. */
static void sum_groups(struct kmt_group *g, unsigned long nr)
{
	unsigned long i, leader = 0;
	struct kmt_sum all = {};

	for (i = 0; i < nr; i++) {
		add_sum(&all, &g[i].sum);
		if (kmt_same_site(&g[i].key.head, &g[i].key.site))
			leader = i;
	}
	for (i = 0; i < nr; i++)
		g[i].all = all;
	g[leader].leader = true;
}

static void sum_heads(struct counting *c)
{
	unsigned long i, n;

	for (i = 0; i < c->nr; i = n) {
		for (n = i + 1; n < c->nr; n++)
			if (!kmt_same_site(&c->groups[i].key.head, &c->groups[n].key.head))
				break;
		sum_groups(&c->groups[i], n - i);
	}
}

/* Sites with more bytes first; each site is followed by the entries that hang on it. */
static int compare_groups(const void *a, const void *b)
{
	const struct kmt_group *ga = a, *gb = b;

	cond_resched();
	if (ga->all.bytes != gb->all.bytes)
		return ga->all.bytes > gb->all.bytes ? -1 : 1;
	if (!kmt_same_site(&ga->key.head, &gb->key.head))
		return memcmp(&ga->key.head, &gb->key.head,
			      sizeof(ga->key.head));
	if (ga->leader != gb->leader)
		return ga->leader ? -1 : 1;
	if (ga->sum.bytes != gb->sum.bytes)
		return ga->sum.bytes > gb->sum.bytes ? -1 : 1;
	return memcmp(&ga->key, &gb->key, sizeof(ga->key));
}

/* Copies the contents of the oldest leak of each entry if it still exists. */
static void copy_oldest(struct counting *c, u16 wanted)
{
	char cache[KMT_CACHE_NAME];
	struct kmt_leak leak = {};
	struct kmt_group *g;

	for (g = c->groups; g < c->groups + c->nr; g++) {
		const char *from = kmt_leak_space(&g->oldest) == KMT_PERCPU ?
				   "percpu" : "?";

		cond_resched();
		leak.pos = g->oldest.pos;
		if (take_leak(g->o, wanted, true, &leak, cache) &&
		    leak.addr == g->oldest.addr && leak.born == g->oldest.born) {
			g->oldest = leak;
			from = cache;
		}
		strscpy(g->cache, from, sizeof(g->cache));
	}
	kmt_wipe(&leak);
}

static void fill_report(struct kmt_report *report, struct counting *c)
{
	refcount_set(&report->users, 1);
	report->made = jiffies;
	report->sum = c->sum;
	report->suppressed = c->suppressed;
	report->nr_groups = c->nr;
	report->groups = c->groups;
	report->bytes = array_size(c->max, sizeof(*c->groups));
	c->groups = NULL;
	mutex_lock(&reports_mutex);
	list_add(&report->list, &reports);
	mutex_unlock(&reports_mutex);
}

/**
 * kmt_report_make - make a report: group leaks by site
 * @wanted: KMT_LEAK for all, KMT_NEW for those that are new in the last scan
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: a report for kmt_report_put(), or -ENOMEM as an error pointer.
 */
struct kmt_report *kmt_report_make(u16 wanted)
{
	struct counting c = { .seed = get_random_u32() };
	struct kmt_report *report = kzalloc(sizeof(*report), GFP_KERNEL |
					    __GFP_NORETRY | __GFP_NOWARN);
	int ret;

	lockdep_assert_held(&kmt_scan_mutex);
	down_read(&kmt_reports_sem);
	c.held_back = report ? report->held_back : NULL;
	ret = report ? count_leaks(&c, wanted) : -ENOMEM;
	if (!ret) {
		sort(c.groups, c.nr, sizeof(*c.groups), compare_keys, NULL);
		merge_tasks(&c);
		sum_heads(&c);
		sort(c.groups, c.nr, sizeof(*c.groups), compare_groups, NULL);
		copy_oldest(&c, wanted);
		fill_report(report, &c);
		if (wanted == KMT_LEAK)
			WRITE_ONCE(kmt_leaks_suppressed, c.suppressed.nr);
	} else {
		kfree(report);
	}
	free_counting(&c);
	up_read(&kmt_reports_sem);
	if (ret == -ENOMEM)
		pr_warn_ratelimited("no memory for a report\n");
	return ret ? ERR_PTR(ret) : report;
}

/**
 * kmt_new_shown - count the new leaks of the last scan that are not suppressed
 * @fresh: number of all new leaks
 * @suppressed: set to the number of those that are suppressed
 *
 * If there are suppressions, leaks that were freed since the scan are not counted. Needs
 * no memory, so that a suppressed leak never counts for panic_on_leak.
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: their number.
 */
unsigned long kmt_new_shown(unsigned long fresh, unsigned long *suppressed)
{
	const struct kmt_rank *hint = NULL;
	char cache[KMT_CACHE_NAME];
	struct kmt_cursor c = {};
	struct kmt_object *o;
	struct kmt_leak leak;

	*suppressed = 0;
	if (!kmt_suppressing())
		return fresh;
	fresh = 0;
	down_read(&kmt_reports_sem);
	kmt_for_each_leak(&c, o, KMT_NEW) {
		if (!take_leak(o, KMT_NEW, false, &leak, cache))
			continue;
		if (suppressed_by(o, &leak, cache, &hint) == KMT_NOT_SUPPRESSED)
			fresh++;
		else
			++*suppressed;
	}
	up_read(&kmt_reports_sem);
	kmt_wipe(&leak);
	return fresh;
}

/**
 * kmt_report_put - drop a reference to a report, and free it if it was the last one
 * @report: from kmt_report_make() or kmt_report_current(); NULL and error pointers are
 *	ignored
 */
void kmt_report_put(struct kmt_report *report)
{
	if (IS_ERR_OR_NULL(report) || !refcount_dec_and_test(&report->users))
		return;
	mutex_lock(&reports_mutex);
	list_del(&report->list);
	mutex_unlock(&reports_mutex);
	kmt_own_vfree(report->groups, report->bytes);
	kfree(report);
}

/* Whether there are still as many leaks, with as many bytes, as @report has. */
static bool is_complete(const struct kmt_report *report)
{
	struct kmt_cursor c = {};
	struct kmt_sum sum = {};
	struct kmt_object *o;

	/* kmt_limit_ages() may have changed times of allocation since. */
	if (jiffies - report->made > KMT_AGE_MAX / 2)
		return false;
	kmt_for_each_leak(&c, o, KMT_LEAK) {
		sum.nr++;
		/* A leak that is freed meanwhile may be counted or not. */
		sum.bytes += data_race(o->size);
	}
	return sum.nr == report->sum.nr + report->suppressed.nr &&
	       sum.bytes == report->sum.bytes + report->suppressed.bytes;
}

/**
 * kmt_report_refresh - make the report for readers, after a scan or a change
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_report_refresh(void)
{
	kmt_report_put(current_report);
	current_report = kmt_report_make(KMT_LEAK);
	if (IS_ERR(current_report))
		current_report = NULL;
}

/**
 * kmt_report_current - get the report for a reader
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: a report for kmt_report_put(), or an error pointer.
 */
struct kmt_report *kmt_report_current(void)
{
	struct kmt_report *report = current_report;

	lockdep_assert_held(&kmt_scan_mutex);
	if (IS_ERR(report))
		return report;
	if (!report || (kmt_tracking() && !is_complete(report))) {
		report = kmt_report_make(KMT_LEAK);
		if (IS_ERR(report))
			return report;
		kmt_report_put(current_report);
		current_report = report;
	}
	refcount_inc(&report->users);
	return report;
}

static void drop_kept(void)
{
	kept_error = 0;
	if (!kept)
		return;
	down_write(&kmt_reports_sem);
	kmt_own_vfree(kept, kept_bytes);
	kept = NULL;
	nr_kept = 0;
	up_write(&kmt_reports_sem);
}

static int compare_positions(const void *a, const void *b)
{
	const loff_t pos_a = ((const struct kmt_leak *)a)->pos;
	const loff_t pos_b = ((const struct kmt_leak *)b)->pos;

	return pos_a < pos_b ? -1 : pos_a > pos_b;
}

static bool alloc_kept(unsigned long nr)
{
	kept_bytes = array_size(nr, sizeof(*kept));
	kept = kmt_own_vzalloc(kept_bytes);
	return kept;
}

static void keep_leaks(unsigned long nr)
{
	struct kmt_cursor c = {};
	struct kmt_object *o;

	kmt_for_each_leak(&c, o, KMT_LEAK) {
		if (nr_kept == nr)
			break;
		kept[nr_kept].pos = c.pos;
		if (kmt_take_leak(o, KMT_LEAK, &kept[nr_kept]))
			nr_kept++;
	}
}

static void keep_oldest(const struct kmt_report *report)
{
	while (nr_kept < report->nr_groups) {
		kept[nr_kept] = report->groups[nr_kept].oldest;
		nr_kept++;
	}
	sort(kept, nr_kept, sizeof(*kept), compare_positions, NULL);
}

/**
 * kmt_report_keep - keep the present report, and copies of the leaks, for readers
 *
 * Called before tracking is switched off, which forgets all blocks. Without memory for a
 * copy of each leak, this keeps one leak of each record; without memory for these,
 * readers get an error.
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_report_keep(void)
{
	struct kmt_report *report = kmt_report_current();

	kmt_report_drop();
	current_report = report;
	if (IS_ERR(report)) {
		kept_error = PTR_ERR(report);
		return;
	}
	if (!report->sum.nr)
		return;
	down_read(&kmt_reports_sem);
	if (alloc_kept(report->sum.nr)) {
		keep_leaks(report->sum.nr);
	} else if (alloc_kept(report->nr_groups)) {
		pr_warn("no memory to keep each leak: one of each record is kept\n");
		keep_oldest(report);
	} else {
		pr_warn("no memory to keep the leaks\n");
		kept_error = -ENOMEM;
	}
	up_read(&kmt_reports_sem);
}

/**
 * kmt_kept_leak - find a leak that was kept when tracking was switched off
 * @pos: position
 *
 * Context: kmt_scan_mutex held.
 * Return: the first leak at or after @pos; NULL if there is none; an error pointer if
 * there was no memory to keep them.
 */
const struct kmt_leak *kmt_kept_leak(loff_t pos)
{
	unsigned long lo = 0, hi = nr_kept;

	lockdep_assert_held(&kmt_scan_mutex);
	if (kept_error)
		return ERR_PTR(kept_error);
	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;

		if (kept[mid].pos < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < nr_kept ? &kept[lo] : NULL;
}

/* A reader may print the report meanwhile: it shows either age. */
static void limit_age(u32 *born, u32 now)
{
	WRITE_ONCE(*born, kmt_limit_age(*born, now));
}

/**
 * kmt_report_limit_ages - limit the ages in the present report, and those of kept leaks
 * @now: low 32 bits of jiffies
 *
 * While tracking is on the report is made anew instead, see is_complete().
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_report_limit_ages(u32 now)
{
	unsigned long i;

	lockdep_assert_held(&kmt_scan_mutex);
	for (i = 0; i < nr_kept; i++) {
		limit_age(&kept[i].born, now);
		cond_resched();
	}
	if (IS_ERR_OR_NULL(current_report))
		return;
	for (i = 0; i < current_report->nr_groups; i++) {
		limit_age(&current_report->groups[i].oldest.born, now);
		limit_age(&current_report->groups[i].newest, now);
		cond_resched();
	}
}

/**
 * kmt_report_drop - drop the present report and all kept leaks
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_report_drop(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	kmt_report_put(current_report);
	current_report = NULL;
	drop_kept();
}
