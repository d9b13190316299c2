// SPDX-License-Identifier: GPL-2.0
/*
 * What is reported, as it was when somebody opened the file: reading goes on
 * from a copy, however slow the reader and whatever happens meanwhile.
 */
#include <linux/mm.h>
#include <linux/overflow.h>
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
 * kmt_report_close - free a report
 * @report: from kmt_report_open(), or NULL
 */
void kmt_report_close(struct kmt_report *report)
{
	if (!report)
		return;
	kmt_own_vfree(report, struct_size(report, leaks, report->max));
}
