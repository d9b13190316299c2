// SPDX-License-Identifier: GPL-2.0
/*
 * kmemtrack_info/memory: all pages of the machine, by class.
 *
 * A walk over all struct pages counts each page once, in the class that its struct page, or
 * that of its compound page, tells. Counters of the kernel give the size of the classes that
 * no struct page tells; see "All pages" in kmemtrack-design.rst. The machine keeps running
 * meanwhile. The walk reads only struct pages, never the contents of a page, and skips
 * offline memory, ZONE_DEVICE and holes.
 */
#include <linux/init.h>
#include <linux/ktime.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/mutex.h>
#include <linux/page-flags.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/thread_info.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>

#include "pages.h"
#include "report.h"

#define KMT_MEMORY_FORMAT	1

/* Steps of the walk between two calls of cond_resched(). */
#define KMT_REST_PAGES		4096

/* Pages of a pool of the stack depot; only the first one is marked. */
#define KMT_POOL_PAGES		4UL

/**
 * struct kmt_memory - pages by class
 * @pages: number of pages of each class
 * @changed: @total less the sum of all classes
 * @total: MemTotal, in pages
 * @at: when they were counted, in nanoseconds; 0 if they were not
 */
struct kmt_memory {
	long pages[KMT_NR_MEMORY];
	long changed;
	unsigned long total;
	u64 at;
};

/* Protects at_boot and at_scan, too; one walk at a time. */
static DEFINE_MUTEX(memory_mutex);
static struct kmt_memory at_boot;
static struct kmt_memory at_scan;

/* Set once the file was read: from then on each scan counts pages at its end. */
static bool wanted;

/**
 * struct kmt_memory_walk - a walk over all pages
 * @pages: pages counted so far, by class
 * @head: the last page, not a tail page, whose class was determined
 * @class: class of @head
 * @marked_end: pages before this one that look free belong to a marked page
 * @rest: steps to go until the next cond_resched()
 * @stopped: the task is being killed
 */
struct kmt_memory_walk {
	long pages[KMT_NR_MEMORY];
	const struct page *head;
	enum kmt_memory_class class;
	unsigned long marked_end;
	long rest;
	bool stopped;
};

/* Whether the pages of @head contain a block with a record. */
static bool has_record(struct page *head)
{
	unsigned long pos, end;
	struct kmt_range block;

	/*
	 * While tracking is off there is no such record, and the first "on" replaces the
	 * index. Pairs with kmt_switch_on().
	 */
	if (PageHighMem(head) || smp_load_acquire(&kmt_mode) != KMT_ON)
		return false;
	pos = kmt_untag((unsigned long)page_address(head));
	end = pos + kmt_head_bytes(head);
	/* kmt_first_block() takes a range within one region. */
	for (; pos < end; pos += PAGE_SIZE)
		if (kmt_first_block(&kmt_core, KMT_VIRT, pos, pos + PAGE_SIZE,
				    &block))
			return true;
	return false;
}

static enum kmt_memory_class class_of_mapped(struct page *head,
					     unsigned long mapping)
{
	if ((mapping & PAGE_MAPPING_FLAGS) == PAGE_MAPPING_MOVABLE)
		return KMT_MEM_MOVABLE;
	if (mapping & PAGE_MAPPING_FLAGS)
		return KMT_MEM_ANON;
	return folio_test_swapbacked((struct folio *)head) ?
		KMT_MEM_SHMEM : KMT_MEM_FILE;
}

/* The class of a head page or of a single page. */
static enum kmt_memory_class class_of_head(struct page *head)
{
	unsigned long mapping;

	if (PageSlab(head))
		return has_record(head) ? KMT_MEM_SLAB : KMT_MEM_SLAB_UNTRACKED;
	if (PageTable(head))
		return KMT_MEM_TABLES;
	if (PageHuge(head))
		return KMT_MEM_HUGETLB;
	mapping = (unsigned long)READ_ONCE(head->mapping);
	if (mapping)
		return class_of_mapped(head, mapping);
	if (PageLRU(head))
		return KMT_MEM_FILE;
	if (kmt_page_of_zsmalloc(head))
		return KMT_MEM_MOVABLE;
	/* A block of kmalloc() that is too large for slabs is a compound page. */
	if (PageHead(head) && has_record(head) &&
	    kmt_pages_order(kmt_untag((unsigned long)page_address(head))) < 0)
		return KMT_MEM_LARGE;
	return KMT_MEM_UNKNOWN;
}

/**
 * kmt_memory_class_of - determine the class of a page in use
 * @page: page of memory that is online
 *
 * Context: no tracker lock held.
 * Return: its class; KMT_MEM_UNKNOWN if its struct page does not tell.
 */
enum kmt_memory_class kmt_memory_class_of(struct page *page)
{
	if (PageReserved(page) || PageOffline(page))
		return KMT_MEM_RESERVED;
	if (PageHWPoison(page))
		return KMT_MEM_POISONED;
	if (kmt_is_own_page(page))
		return KMT_MEM_OWN;
	if (page_count(compound_head(page)) && kmt_not_root_page(page))
		return KMT_MEM_MARKED;
	return class_of_head(compound_head(page));
}

static bool is_free(struct page *page)
{
	return PageBuddy(page) || page_is_guard(page) ||
	       kmt_page_is_unaccepted(page);
}

static enum kmt_memory_class class_of_tail(struct kmt_memory_walk *w,
					   struct page *page)
{
	struct page *head = compound_head(page);

	if (head == w->head && !PageReserved(page) && !PageHWPoison(page) &&
	    !kmt_is_own_page(page))
		return w->class;
	return kmt_memory_class_of(page);
}

static enum kmt_memory_class class_of(struct kmt_memory_walk *w,
				      struct page *page, unsigned long pfn)
{
	enum kmt_memory_class class;

	if (PageTail(page))
		return class_of_tail(w, page);
	class = kmt_memory_class_of(page);
	w->head = page;
	w->class = class;
	if (class == KMT_MEM_MARKED && !PageCompound(page))
		w->marked_end = pfn + min(pfn & -pfn, KMT_POOL_PAGES);
	else if (kmt_page_in_use(page))
		w->marked_end = 0;
	else if (class == KMT_MEM_UNKNOWN && pfn < w->marked_end)
		class = KMT_MEM_MARKED;
	return class;
}

/* Counts a page, or a run of free pages up to @end; returns how many. */
static unsigned long count_pages(struct kmt_memory_walk *w, struct page *page,
				 unsigned long pfn, unsigned long end)
{
	unsigned long nr;

	if (!is_free(page)) {
		w->pages[class_of(w, page, pfn)]++;
		return 1;
	}
	nr = min(kmt_free_pages_from(page, pfn), end - pfn);
	w->pages[KMT_MEM_FREE] += nr;
	w->marked_end = 0;
	return nr;
}

static bool go_on(struct kmt_memory_walk *w)
{
	if (--w->rest > 0)
		return true;
	w->rest = KMT_REST_PAGES;
	cond_resched();
	w->stopped = fatal_signal_pending(current);
	return !w->stopped;
}

static void walk_zone(struct kmt_memory_walk *w, const struct zone *zone)
{
	unsigned long pfn = zone->zone_start_pfn;
	const unsigned long end = zone_end_pfn(zone);

	while (pfn < end && !w->stopped) {
		unsigned long next = pfn + kmt_piece(pfn, end, KMT_PAGES_ALIKE);

		if (!pfn_to_online_page(pfn)) {
			/* The rest of this section has no struct pages either. */
			pfn = ALIGN(pfn + 1, KMT_HOLE_PAGES);
			go_on(w);
			continue;
		}
		while (pfn < next && go_on(w)) {
			struct page *page = pfn_to_page(pfn);

			/* Zones of several nodes may be interleaved. */
			pfn += page_zone(page) == zone ?
			       count_pages(w, page, pfn, end) : 1;
		}
	}
}

/* A counter of all nodes, in pages or KiB, including the deltas of each CPU. */
static long kernel_counter(enum node_stat_item item)
{
	long sum = global_node_page_state_pages(item);
#ifdef CONFIG_SMP
	struct pglist_data *node;
	int cpu;

	for_each_online_pgdat(node)
		for_each_online_cpu(cpu)
			sum += READ_ONCE(per_cpu_ptr(node->per_cpu_nodestats,
						     cpu)->vm_node_stat_diff[item]);
#endif
	return sum;
}

/* Moves @nr pages without a known owner to @class. */
static void move_to_class(struct kmt_memory *mem, enum kmt_memory_class class, long nr)
{
	mem->pages[KMT_MEM_UNKNOWN] -= nr;
	mem->pages[class] += nr;
}

static void move_stacks(struct kmt_memory *mem)
{
	long nr = kernel_counter(NR_KERNEL_STACK_KB) / (long)(PAGE_SIZE / 1024);

	if (IS_ENABLED(CONFIG_VMAP_STACK)) {
		mem->pages[KMT_MEM_STACKS] += nr;
		mem->pages[KMT_MEM_VMALLOC] -= nr;
	} else if (THREAD_SIZE >= PAGE_SIZE) {
		move_to_class(mem, KMT_MEM_STACKS, nr);
	}
	/* Otherwise stacks are slab objects, and counted as such. */
}

/*
 * Large blocks that were allocated while tracking was off have no record, so the walk
 * does not recognise them. The kernel counts them as slab memory.
 */
static void move_untracked(struct kmt_memory *mem)
{
	long nr = kernel_counter(NR_SLAB_RECLAIMABLE_B) +
		  kernel_counter(NR_SLAB_UNRECLAIMABLE_B) -
		  mem->pages[KMT_MEM_SLAB] -
		  mem->pages[KMT_MEM_SLAB_UNTRACKED] -
		  mem->pages[KMT_MEM_LARGE];

	if (nr > 0 && (!kmt_tracking() || READ_ONCE(kmt_untracked_slabs)))
		move_to_class(mem, KMT_MEM_LARGE, nr);
}

static long sum_of(const struct kmt_memory *mem)
{
	long sum = 0;
	int i;

	for (i = 0; i < KMT_NR_MEMORY; i++)
		sum += mem->pages[i];
	return sum;
}

/*
 * A struct page does not tell whether MemTotal includes a page that is reserved or
 * offline: drivers may reserve pages that they allocated, and a balloon may or may not
 * subtract its pages from MemTotal. So count as many of them as the sum of the other
 * classes is short of MemTotal.
 */
static void fix_reserved(struct kmt_memory *mem)
{
	const long reserved = mem->pages[KMT_MEM_RESERVED];
	long missing;

	mem->pages[KMT_MEM_RESERVED] = 0;
	missing = (long)mem->total - sum_of(mem);
	mem->pages[KMT_MEM_RESERVED] = clamp(missing, 0L, reserved);
	/*
	 * This class is negative if the counters of owners that were subtracted from it count
	 * more pages than the walk met.
	 */
	mem->pages[KMT_MEM_UNKNOWN] = max(mem->pages[KMT_MEM_UNKNOWN], 0L);
	mem->changed = (long)mem->total - sum_of(mem);
}

/* Counts all pages; false if the task is being killed. */
static bool count(struct kmt_memory *mem)
{
	struct kmt_memory_walk w = { .rest = KMT_REST_PAGES };
	unsigned long of_cpus;
	struct zone *zone;

	lockdep_assert_held(&memory_mutex);
	get_online_mems();
	for_each_populated_zone(zone)
		walk_zone(&w, zone);
	mem->total = totalram_pages();
	of_cpus = kmt_pages_of_cpus();
	put_online_mems();
	if (w.stopped)
		return false;
	memcpy(mem->pages, w.pages, sizeof(w.pages));
	move_to_class(mem, KMT_MEM_FREE, of_cpus);
	move_to_class(mem, KMT_MEM_PERCPU, kmt_percpu_pages());
	move_to_class(mem, KMT_MEM_VMALLOC,
		      kmt_vmalloc_pages() - atomic_long_read(&kmt_own_vpages));
	move_stacks(mem);
	move_untracked(mem);
	fix_reserved(mem);
	mem->at = ktime_get_ns();
	return true;
}

/**
 * kmt_memory_scanned - count all pages at the end of a scan, if the file was read
 *
 * Context: may sleep, for the time of a walk over all struct pages.
 */
void kmt_memory_scanned(void)
{
	struct kmt_memory now;

	if (!kmt_counts_after_scan(READ_ONCE(wanted)))
		return;
	mutex_lock(&memory_mutex);
	if (count(&now))
		at_scan = now;
	mutex_unlock(&memory_mutex);
}

static long to_kb(long pages)
{
	return pages * (long)(PAGE_SIZE / 1024);
}

static void show_since(struct seq_file *seq, const char *what,
		       const struct kmt_memory *then,
		       const struct kmt_memory *now)
{
	if (!then->at) {
		seq_printf(seq, "since %s: none", what);
		return;
	}
	seq_printf(seq, "since %s: ", what);
	kmt_print_seconds(seq, div_u64(now->at - then->at, NSEC_PER_MSEC));
	seq_puts(seq, " s");
}

static void show_change(struct seq_file *seq, const struct kmt_memory *then,
			long before, long now)
{
	if (then->at)
		seq_printf(seq, " %+12ld kB", to_kb(now - before));
	else
		seq_printf(seq, " %15s", "-");
}

static void show_class(struct seq_file *seq, const char *name, long now,
		       long scan, long boot)
{
	seq_printf(seq, "%-18s %12ld kB", name, to_kb(now));
	show_change(seq, &at_scan, scan, now);
	show_change(seq, &at_boot, boot, now);
	seq_putc(seq, '\n');
}

/**
 * kmt_memory_name - the name of a class of pages
 * @class: class
 */
const char *kmt_memory_name(enum kmt_memory_class class)
{
	static const char * const names[KMT_NR_MEMORY] = {
		[KMT_MEM_SLAB]		 = "slab tracked",
		[KMT_MEM_SLAB_UNTRACKED] = "slab untracked",
		[KMT_MEM_LARGE]		 = "large kmalloc",
		[KMT_MEM_VMALLOC]	 = "vmalloc",
		[KMT_MEM_PERCPU]	 = "per-CPU",
		[KMT_MEM_TABLES]	 = "page tables",
		[KMT_MEM_FILE]		 = "page cache",
		[KMT_MEM_SHMEM]		 = "shmem",
		[KMT_MEM_ANON]		 = "anonymous",
		[KMT_MEM_HUGETLB]	 = "hugetlb",
		[KMT_MEM_MOVABLE]	 = "movable",
		[KMT_MEM_STACKS]	 = "kernel stacks",
		[KMT_MEM_MARKED]	 = "pipes and traces",
		[KMT_MEM_OWN]		 = "kmemtrack",
		[KMT_MEM_FREE]		 = "free",
		[KMT_MEM_RESERVED]	 = "reserved",
		[KMT_MEM_POISONED]	 = "poisoned",
		[KMT_MEM_UNKNOWN]	 = "no known owner",
	};

	return names[class];
}

/* How many of the pages without a known owner are tracked, as of the last scan. */
static void show_tracked(struct seq_file *seq, const struct kmt_memory *now)
{
	struct kmt_pages_usage tracked;

	kmt_get_pages_usage(&tracked);
	seq_printf(seq, "  %-16s %12ld kB\n", "in sites",
		   to_kb(min_t(long, tracked.pages,
			       now->pages[KMT_MEM_UNKNOWN])));
}

static void show(struct seq_file *seq, const struct kmt_memory *now)
{
	int i;

	seq_printf(seq, "kmemtrack-memory %d: %ld kB, %lu pages of %lu; ",
		   KMT_MEMORY_FORMAT, to_kb(now->total), now->total, PAGE_SIZE);
	show_since(seq, "scan", &at_scan, now);
	seq_puts(seq, ", ");
	show_since(seq, "boot", &at_boot, now);
	seq_putc(seq, '\n');
	for (i = 0; i < KMT_NR_MEMORY; i++)
		show_class(seq, kmt_memory_name(i), now->pages[i],
			   at_scan.pages[i], at_boot.pages[i]);
	if (kmt_pages_tracked())
		show_tracked(seq, now);
	if (now->changed)
		show_class(seq, "changed meanwhile", now->changed,
			   at_scan.changed, at_boot.changed);
}

/**
 * kmt_memory_show - count all pages, and print them by class
 * @seq: where to
 * @v: not used
 *
 * Context: may sleep, for the time of a walk over all struct pages.
 * Return: 0; -EINTR if the task is killed; -ERESTARTNOINTR if it is frozen, or gets a
 * signal while it waits for another reader.
 */
int kmt_memory_show(struct seq_file *seq, void *v)
{
	struct kmt_memory now;

	WRITE_ONCE(wanted, true);
	if (mutex_lock_interruptible(&memory_mutex))
		return kmt_restart_frozen(-EINTR);
	if (!count(&now)) {
		mutex_unlock(&memory_mutex);
		return kmt_restart_frozen(-EINTR);
	}
	show(seq, &now);
	mutex_unlock(&memory_mutex);
	return 0;
}

/* This is fast, since nearly all memory is still free, in large pieces. */
static int __init count_at_boot(void)
{
	mutex_lock(&memory_mutex);
	count(&at_boot);
	mutex_unlock(&memory_mutex);
	return 0;
}
late_initcall(count_at_boot);
