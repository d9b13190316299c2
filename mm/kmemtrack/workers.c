// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that help with a mark, on idle CPUs.
 *
 * They exist from the first mark with help until tracking is switched off. Their
 * stacks are no roots (policy.h), since they hold words that a mark read.
 */
#include <linux/cpumask.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/sizes.h>

#include "policy.h"
#include "scan.h"
#include "core/mark_parallel.h"

/* Memory of a helper: its marker, seen_cache and mark stack. */
#define KMT_HELPER_ORDER	get_order(SZ_64K)

#define KMT_HELP_ORDER		get_order(sizeof(struct kmt_help))

/**
 * struct kmt_helper - a helping thread's part of a mark
 * @m: marker
 * @help: the mark that it helps with
 * @work: work item for its thread
 * @seen_cache: the marker's table of words that need no further look
 * @stack: its mark stack, up to the end of the pages
 */
struct kmt_helper {
	struct kmt_marker m;
	struct kmt_help *help;
	struct kthread_work work;
	unsigned long seen_cache[1 << KMT_SEEN_SHIFT];
	struct kmt_mark_entry stack[];
};

/**
 * struct kmt_help - a mark that is shared
 * @team: its markers
 * @roots: the roots that it reads
 * @helpers: all markers but that of the scan itself
 * @nr: number of helpers
 */
struct kmt_help {
	struct kmt_team team;
	const struct kmt_roots *roots;
	struct kmt_helper *helpers[KMT_HELPERS];
	unsigned int nr;
};

static void take_part(struct kmt_help *help, struct kmt_marker *m)
{
	if (!kmt_team_join(&help->team, m))
		return;
	kmt_mark_drain(m);
	kmt_mark_memory(m, help->roots);
	kmt_team_work(m);
}

static void help_work(struct kthread_work *work)
{
	struct kmt_helper *helper = container_of(work, struct kmt_helper, work);

	take_part(helper->help, &helper->m);
}

/**
 * kmt_destroy_helpers - stop the threads that help
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_destroy_helpers(void)
{
	unsigned int i;

	lockdep_assert_held(&kmt_scan_mutex);
	for (i = 0; i < KMT_HELPERS && kmt_workers[i]; i++) {
		kthread_destroy_worker(kmt_workers[i]);
		kmt_workers[i] = NULL;
	}
}

static unsigned int idle_cpus(void)
{
	unsigned int cpu, nr = 0;

	for_each_online_cpu(cpu)
		nr += cpu != raw_smp_processor_id() && idle_cpu(cpu);
	return nr;
}

static bool have_worker(unsigned int i)
{
	struct kthread_worker *worker;

	if (kmt_workers[i])
		return true;
	worker = kthread_create_worker(0, "kmemtrack/%u", i);
	if (IS_ERR(worker))
		return false;
	kmt_workers[i] = worker;
	return true;
}

static bool add_helper(struct kmt_help *help, const struct kmt_marker *m)
{
	struct kmt_helper *helper;
	u32 max;

	if (!have_worker(help->nr))
		return false;
	helper = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY,
			       KMT_HELPER_ORDER);
	if (!helper)
		return false;
	max = ((PAGE_SIZE << KMT_HELPER_ORDER) - sizeof(*helper)) /
	      sizeof(*helper->stack);
	kmt_marker_join(&helper->m, m, helper->stack, max, helper->seen_cache);
	helper->help = help;
	kthread_init_work(&helper->work, help_work);
	help->helpers[help->nr++] = helper;
	return true;
}

static void get_help(struct kmt_help *help, struct kmt_marker *m,
		     unsigned int nr)
{
	unsigned int i;

	nr = min_t(unsigned int, nr, KMT_HELPERS);
	for (i = 0; i < nr; i++)
		if (!add_helper(help, m))
			break;
	for (i = 0; i < help->nr; i++) {
		set_user_nice(kmt_workers[i]->task, task_nice(current));
		kthread_queue_work(kmt_workers[i], &help->helpers[i]->work);
	}
}

static void join_helper(struct kmt_helper *helper, struct kmt_marker *m)
{
	kthread_flush_work(&helper->work);
	m->stats.words += helper->m.stats.words;
	m->stats.hits += helper->m.stats.hits;
	m->stats.objects += helper->m.stats.objects;
	m->stopped |= helper->m.stopped;
	/*
	 * There is no need to add up overflows: kmt_mark_sweep() follows, and
	 * walks over the pool at least once, so it finds the objects for which
	 * a helper had no room.
	 */
	kmt_own_free(helper, KMT_HELPER_ORDER);
}

/**
 * kmt_mark_parallel - mark from all roots but the stacks of tasks
 * @scan: scan; its mark has begun, and has read the stacks of tasks
 *
 * When this returns, all blocks reachable from the roots are marked, except those that
 * are left to kmt_mark_sweep().
 *
 * Context: may sleep; memory hotplug is excluded (get_online_mems()).
 */
void kmt_mark_parallel(struct kmt_scan *scan)
{
	unsigned int nr = idle_cpus();
	struct kmt_help *help = NULL;

	if (nr)
		help = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY,
				     KMT_HELP_ORDER);
	if (!help) {
		kmt_mark_drain(&scan->m);
		kmt_mark_memory(&scan->m, &scan->roots);
		return;
	}
	kmt_team_init(&help->team, &kmt_core);
	help->roots = &scan->roots;
	get_help(help, &scan->m, nr);
	take_part(help, &scan->m);
	while (help->nr)
		join_helper(help->helpers[--help->nr], &scan->m);
	kmt_own_free(help, KMT_HELP_ORDER);
}
