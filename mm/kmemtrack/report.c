// SPDX-License-Identifier: GPL-2.0
/*
 * What is reported, as it was when somebody opened the file: reading goes on
 * from a copy, however slow the reader and whatever happens meanwhile.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/printk.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "report.h"

static unsigned long count_leaks(u16 wanted)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned long nr = 0;

	down_read(&kmt_walk_sem);
	kmt_for_each_cell(&kmt_core, chunk, o)
		if (READ_ONCE(o->flags) & wanted)
			nr++;
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

		if (report->nr == report->max)
			return;
		if (!(READ_ONCE(o->flags) & wanted))
			continue;
		tree = kmt_lock_object(&kmt_core, o, &flags);
		if (!tree)
			continue;
		if (o->flags & wanted) {
			leak->o = *o;
			copy_contents(leak);
			report->nr++;
		}
		raw_spin_unlock_irqrestore(&tree->lock, flags);
	}
}

/* Blocks of one site: same backtrace, same kind, same size. */
static int compare_sites(const struct kmt_object *a, const struct kmt_object *b)
{
	if (a->stack != b->stack)
		return a->stack < b->stack ? -1 : 1;
	if (kmt_space(a) != kmt_space(b))
		return kmt_space(a) < kmt_space(b) ? -1 : 1;
	if (a->size != b->size)
		return a->size < b->size ? -1 : 1;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct kmt_object *oa = &((const struct kmt_leak *)a)->o;
	const struct kmt_object *ob = &((const struct kmt_leak *)b)->o;
	int ret = compare_sites(oa, ob);

	if (ret)
		return ret;
	ret = (s32)(oa->born - ob->born);
	if (ret)
		return ret;
	return oa->addr < ob->addr ? -1 : oa->addr > ob->addr;
}

/**
 * kmt_site_length - how many leaks of a report have one site
 * @report: report
 * @first: index of the first of them
 *
 * Return: their number; 0 if @first is beyond the report.
 */
unsigned long kmt_site_length(const struct kmt_report *report,
			      unsigned long first)
{
	unsigned long i = first;

	while (i < report->nr && !compare_sites(&report->leaks[first].o,
						&report->leaks[i].o))
		i++;
	return i - first;
}

static void count_sites(struct kmt_report *report)
{
	unsigned long i;

	for (i = 0; i < report->nr; i += kmt_site_length(report, i))
		report->sites++;
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
	unsigned long max;

	lockdep_assert_held(&kmt_scan_mutex);
	max = count_leaks(wanted);

	/* The copy holds addresses of leaks, and is no reference to them. */
	report = kmt_own_vzalloc(struct_size(report, leaks, max));
	if (!report)
		return ERR_PTR(-ENOMEM);
	refcount_set(&report->users, 1);
	report->max = max;
	down_read(&kmt_walk_sem);
	collect(report, wanted);
	up_read(&kmt_walk_sem);
	sort(report->leaks, report->nr, sizeof(report->leaks[0]), compare,
	     NULL);
	count_sites(report);
	return report;
}

/**
 * kmt_report_close - free a report when nobody else reads it
 * @report: from kmt_report_open() or kmt_report_current(), or NULL
 */
void kmt_report_close(struct kmt_report *report)
{
	if (report && refcount_dec_and_test(&report->users))
		kmt_own_vfree(report, struct_size(report, leaks, report->max));
}

/* What was reported when tracking was switched off; NULL while it is on. */
static struct kmt_report *kept;
static DEFINE_MUTEX(kept_mutex);

static struct kmt_report *get_kept(void)
{
	struct kmt_report *report;

	mutex_lock(&kept_mutex);
	report = kept;
	if (report)
		refcount_inc(&report->users);
	mutex_unlock(&kept_mutex);
	return report;
}

/**
 * kmt_report_current - what a reader sees
 *
 * Context: may sleep.
 * Return: a report for kmt_report_close(), or an error pointer.
 */
struct kmt_report *kmt_report_current(void)
{
	struct kmt_report *old = get_kept(), *report;

	if (old)
		return old;
	report = kmt_report_open(KMT_LEAK);
	if (kmt_tracking())
		return report;
	/* Blocks may have been forgotten meanwhile. */
	old = get_kept();
	if (!old)
		return report;
	if (!IS_ERR(report))
		kmt_report_close(report);
	return old;
}

static void replace_kept(struct kmt_report *report)
{
	mutex_lock(&kept_mutex);
	swap(kept, report);
	mutex_unlock(&kept_mutex);
	kmt_report_close(report);
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
	struct kmt_report *report = kmt_report_open(KMT_LEAK);

	lockdep_assert_held(&kmt_scan_mutex);
	if (IS_ERR(report)) {
		pr_warn("no memory to keep the report\n");
		report = NULL;
	}
	replace_kept(report);
}

/**
 * kmt_report_drop - show no kept report any more
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_report_drop(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	replace_kept(NULL);
}
