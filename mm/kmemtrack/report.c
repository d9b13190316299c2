// SPDX-License-Identifier: GPL-2.0
/*
 * What is reported, as it was when somebody opened the file: reading goes on
 * from a copy, however slow the reader and whatever happens meanwhile.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/bsearch.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/printk.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "report.h"

/*
 * What each indirect leak hangs on, by its cell, as the last scan that found
 * leaks has told. Under kmt_scan_mutex.
 */
static struct kmt_rank *hung;
static unsigned long nr_hung;

/*
 * Open reports. While backtraces are replaced in them (modsym.c), under
 * kmt_reports_sem for writing, no report is made and none is printed.
 */
static LIST_HEAD(reports);
static DEFINE_MUTEX(reports_mutex);
DECLARE_RWSEM(kmt_reports_sem);

/**
 * kmt_reports_replace - replace backtraces in the copies of leaks
 * @replace: called with a handle, returns the one that is to be in its place
 * @arg: for @replace
 *
 * Context: may sleep. What is copied afterwards has been replaced already.
 */
void kmt_reports_replace(u32 (*replace)(void *arg, u32 stack), void *arg)
{
	struct kmt_report *report;
	unsigned long i;

	down_write(&kmt_reports_sem);
	mutex_lock(&reports_mutex);
	list_for_each_entry(report, &reports, list) {
		for (i = 0; i < report->nr; i++) {
			u32 *stack = &report->leaks[i].o.stack;

			*stack = replace(arg, *stack);
			cond_resched();
		}
	}
	mutex_unlock(&reports_mutex);
	up_write(&kmt_reports_sem);
}

/**
 * kmt_report_hung - keep what indirect leaks hang on
 * @core: tracker
 * @rank: leaks, by their cells
 * @nr: how many
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_report_hung(struct kmt_core *core, const struct kmt_rank *rank,
		     unsigned long nr)
{
	lockdep_assert_held(&kmt_scan_mutex);
	kmt_own_vfree(hung, array_size(nr_hung, sizeof(*hung)));
	hung = nr ? kmt_own_try_vzalloc(array_size(nr, sizeof(*hung))) : NULL;
	nr_hung = hung ? nr : 0;
	if (hung)
		memcpy(hung, rank, nr * sizeof(*rank));
}

static bool is_gone(const struct kmt_object *o)
{
	return !o || kmt_chunk_of(o)->closed;
}

/**
 * kmt_report_forget_chunks - forget leaks whose cells left the pool
 *
 * Context: kmt_scan_mutex held, may sleep; all closed chunks have left the pool,
 * and none is freed.
 */
void kmt_report_forget_chunks(void)
{
	unsigned long i;

	lockdep_assert_held(&kmt_scan_mutex);
	for (i = 0; i < nr_hung; i++) {
		struct kmt_rank *r = &hung[i];

		if (r->head && (is_gone(r->o) || is_gone(r->head)))
			r->head = NULL;
		cond_resched();
	}
}

static int compare_cells(const void *key, const void *elt)
{
	const struct kmt_object *a = key;
	const struct kmt_object *b = ((const struct kmt_rank *)elt)->o;

	return a < b ? -1 : a > b;
}

static struct kmt_site site_of(const struct kmt_object *o)
{
	return (struct kmt_site){
		.stack = o->stack, .space = kmt_space(o), .size = o->size,
	};
}

/* The site of what the leak in cell @o hangs on; false if that is not known. */
static bool find_head(const struct kmt_object *o, struct kmt_site *site)
{
	struct kmt_rank *rank;
	struct kmt_tree *tree;
	unsigned long flags;
	bool leak;

	lockdep_assert_held(&kmt_scan_mutex);
	rank = nr_hung ? bsearch(o, hung, nr_hung, sizeof(*hung),
				 compare_cells) : NULL;
	tree = rank && rank->head ? kmt_lock_object(&kmt_core, rank->head, &flags) : NULL;
	if (!tree)
		return false;
	leak = rank->head->flags & KMT_LEAK;
	if (leak)
		*site = site_of(rank->head);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return leak;
}

static unsigned long count_leaks(u16 wanted)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned long nr = 0;

	down_read(&kmt_walk_sem);
	kmt_for_each_chunk(&kmt_core, chunk) {
		kmt_for_each_in(chunk, o)
			if (READ_ONCE(o->flags) & wanted)
				nr++;
		cond_resched();
	}
	up_read(&kmt_walk_sem);
	return nr;
}

static void copy_contents(struct kmt_leak *leak)
{
	unsigned long addr = leak->o.addr;

	if (kmt_space(&leak->o) == KMT_PERCPU) {
		leak->cpu = cpumask_first(cpu_possible_mask);
		addr = kmt_env_percpu(addr, leak->cpu);
	}
	leak->dumped = min_t(unsigned long, leak->o.size, KMT_DUMP_MAX);
	if (!kmt_env_read(leak->dump, addr, leak->dumped))
		leak->dumped = 0;
}

static void collect(struct kmt_report *report, u16 wanted)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_cell(&kmt_core, chunk, o) {
		struct kmt_leak *leak = &report->leaks[report->nr];
		struct kmt_tree *tree;
		unsigned long flags;
		bool found;

		if (report->nr == report->max)
			return;
		if (o == kmt_chunk_cells(chunk))
			cond_resched();
		if (!(READ_ONCE(o->flags) & wanted))
			continue;
		tree = kmt_lock_object(&kmt_core, o, &flags);
		if (!tree)
			continue;
		found = o->flags & wanted;
		if (found) {
			leak->o = *o;
			copy_contents(leak);
		}
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		if (!found)
			continue;
		if (!(leak->o.flags & KMT_INDIRECT) ||
		    !find_head(o, &leak->head))
			leak->head = site_of(&leak->o);
		report->nr++;
	}
}

static int compare_sites(const struct kmt_site *a, const struct kmt_site *b)
{
	if (a->stack != b->stack)
		return a->stack < b->stack ? -1 : 1;
	if (a->space != b->space)
		return a->space < b->space ? -1 : 1;
	if (a->size != b->size)
		return a->size < b->size ? -1 : 1;
	return 0;
}

/* Leaks of one record. */
static int compare_records(const struct kmt_leak *a, const struct kmt_leak *b)
{
	const struct kmt_site site_a = site_of(&a->o), site_b = site_of(&b->o);

	cond_resched();
	return compare_sites(&a->head, &b->head) ?:
	       compare_sites(&site_a, &site_b);
}

static int compare(const void *a, const void *b)
{
	const struct kmt_object *oa = &((const struct kmt_leak *)a)->o;
	const struct kmt_object *ob = &((const struct kmt_leak *)b)->o;
	int ret = compare_records(a, b);

	if (ret)
		return ret;
	ret = (s32)(oa->born - ob->born);
	if (ret)
		return ret;
	return oa->addr < ob->addr ? -1 : oa->addr > ob->addr;
}

/* More bytes come first; behind a site comes what hangs on it. */
static int compare_groups(const void *a, const void *b)
{
	const struct kmt_group *ga = a, *gb = b;

	cond_resched();
	if (ga->all.bytes != gb->all.bytes)
		return ga->all.bytes > gb->all.bytes ? -1 : 1;
	if (ga->leader != gb->leader)
		return ga->leader < gb->leader ? -1 : 1;
	if (ga->first == ga->leader || gb->first == gb->leader)
		return ga->first == ga->leader ? -1 : 1;
	if (ga->sum.bytes != gb->sum.bytes)
		return ga->sum.bytes > gb->sum.bytes ? -1 : 1;
	return ga->first < gb->first ? -1 : 1;
}

/**
 * kmt_site_length - how many positions of a reader a record takes
 * @report: report
 * @nr: number of the record, which is its position, from 0
 *
 * A reader goes on to position @report->nr, though there may be fewer records
 * than leaks: the last one takes what is left.
 */
unsigned long kmt_site_length(const struct kmt_report *report, unsigned long nr)
{
	return nr + 1 < report->sites ? 1 : report->nr - nr;
}

static unsigned long record_length(const struct kmt_report *report,
				   unsigned long first)
{
	unsigned long i = first;

	while (i < report->nr && !compare_records(&report->leaks[first],
						  &report->leaks[i]))
		i++;
	return i - first;
}

static void add_leak(struct kmt_sum *sum, const struct kmt_object *o)
{
	sum->nr++;
	sum->bytes += o->size;
	sum->indirect += !!(o->flags & KMT_INDIRECT);
}

static void add_sum(struct kmt_sum *sum, const struct kmt_sum *more)
{
	sum->nr += more->nr;
	sum->bytes += more->bytes;
	sum->indirect += more->indirect;
}

/* @nr leaks of tasks of one name, which is put where it belongs. */
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

/* @count has a place for each handle of a name; all are 0 before and after. */
static void count_tasks(const struct kmt_report *report, struct kmt_group *g,
			u32 *count)
{
	const struct kmt_leak *leak = &report->leaks[g->first];
	unsigned long i;

	if (!count)
		return;
	for (i = 0; i < g->sum.nr; i++)
		count[leak[i].o.comm]++;
	for (i = 0; i < g->sum.nr; i++) {
		u32 *n = &count[leak[i].o.comm];

		if (*n)
			add_task(g, leak[i].o.comm, *n);
		*n = 0;
	}
}

static void sum_record(const struct kmt_report *report, struct kmt_group *g,
		       u32 *count)
{
	unsigned long i, nr = record_length(report, g->first);

	for (i = 0; i < nr; i++)
		add_leak(&g->sum, &report->leaks[g->first + i].o);
	count_tasks(report, g, count);
}

/* Whether leaks of two records hang on the same site. */
static bool same_head(const struct kmt_report *report,
		      const struct kmt_group *a, const struct kmt_group *b)
{
	return !compare_sites(&report->leaks[a->first].head,
			      &report->leaks[b->first].head);
}

static bool is_leader(const struct kmt_report *report,
		      const struct kmt_group *g)
{
	const struct kmt_leak *leak = &report->leaks[g->first];
	const struct kmt_site site = site_of(&leak->o);

	return !compare_sites(&leak->head, &site);
}

/* @nr records from @g on hang on the same site. */
static void sum_groups(const struct kmt_report *report, struct kmt_group *g,
		       unsigned long nr)
{
	unsigned long i, leader = g->first;
	struct kmt_sum all = {};

	for (i = 0; i < nr; i++) {
		add_sum(&all, &g[i].sum);
		if (is_leader(report, &g[i]))
			leader = g[i].first;
	}
	for (i = 0; i < nr; i++) {
		g[i].all = all;
		g[i].leader = leader;
	}
}

static int make_groups(struct kmt_report *report)
{
	unsigned long i, n;
	u32 *count;

	for (i = 0; i < report->nr; i += record_length(report, i))
		report->sites++;
	if (!report->sites)
		return 0;
	/* The report, which is no root, has the only reference to them. */
	report->groups = kmt_own_vzalloc(array_size(report->sites,
						    sizeof(*report->groups)));
	if (!report->groups)
		return -ENOMEM;
	/* Without it tasks are not counted. */
	count = kvcalloc(U16_MAX + 1, sizeof(*count), GFP_KERNEL);
	for (i = 0, n = 0; n < report->sites; n++) {
		report->groups[n].first = i;
		sum_record(report, &report->groups[n], count);
		i += report->groups[n].sum.nr;
	}
	kvfree(count);
	for (i = 0; i < report->sites; i = n) {
		for (n = i; n < report->sites; n++)
			if (!same_head(report, &report->groups[i],
				       &report->groups[n]))
				break;
		sum_groups(report, &report->groups[i], n - i);
	}
	sort(report->groups, report->sites, sizeof(report->groups[0]),
	     compare_groups, NULL);
	return 0;
}

static struct kmt_report *make_report(u16 wanted)
{
	struct kmt_report *report;
	unsigned long max;

	lockdep_assert_held(&kmt_scan_mutex);
	max = count_leaks(wanted);
	/* The copy holds addresses of leaks, and is no reference to them. */
	report = kmt_own_vzalloc(struct_size(report, leaks, max));
	if (!report)
		return ERR_PTR(-ENOMEM);
	refcount_set(&report->users, 1);
	report->max = max;
	INIT_LIST_HEAD(&report->list);
	down_read(&kmt_walk_sem);
	collect(report, wanted);
	up_read(&kmt_walk_sem);
	sort(report->leaks, report->nr, sizeof(report->leaks[0]), compare,
	     NULL);
	if (make_groups(report)) {
		kmt_report_close(report);
		return ERR_PTR(-ENOMEM);
	}
	return report;
}

/**
 * kmt_report_open - copy what is reported
 * @wanted: KMT_LEAK for all, KMT_NEW for what the last scan found
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: a report for kmt_report_close(), or an error pointer.
 */
struct kmt_report *kmt_report_open(u16 wanted)
{
	struct kmt_report *report;

	down_read(&kmt_reports_sem);
	report = make_report(wanted);
	if (!IS_ERR(report)) {
		mutex_lock(&reports_mutex);
		list_add(&report->list, &reports);
		mutex_unlock(&reports_mutex);
	}
	up_read(&kmt_reports_sem);
	return report;
}

/**
 * kmt_report_close - free a report when nobody else reads it
 * @report: from kmt_report_open() or kmt_report_current(), or NULL
 */
void kmt_report_close(struct kmt_report *report)
{
	if (!report || !refcount_dec_and_test(&report->users))
		return;
	mutex_lock(&reports_mutex);
	list_del(&report->list);
	mutex_unlock(&reports_mutex);
	kmt_own_vfree(report->groups,
		      array_size(report->sites, sizeof(*report->groups)));
	kmt_own_vfree(report, struct_size(report, leaks, report->max));
}

/*
 * The report that kmt_report_keep() made before tracking was switched off; NULL
 * while it is on. Under kmt_scan_mutex.
 */
static struct kmt_report *kept;

/**
 * kmt_report_current - what a reader sees
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: a report for kmt_report_close(), or an error pointer.
 */
struct kmt_report *kmt_report_current(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	if (!kept)
		return kmt_report_open(KMT_LEAK);
	refcount_inc(&kept->users);
	return kept;
}

/**
 * kmt_report_keep - keep the present report for readers
 *
 * Before tracking is switched off, which forgets all blocks.
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_report_keep(void)
{
	kmt_report_drop();
	kept = kmt_report_open(KMT_LEAK);
	if (IS_ERR(kept)) {
		pr_warn("no memory to keep the report\n");
		kept = NULL;
	}
}

/**
 * kmt_report_drop - show no kept report any more
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_report_drop(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	kmt_report_close(kept);
	kept = NULL;
}
