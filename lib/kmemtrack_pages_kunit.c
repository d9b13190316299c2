// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of kmemtrack: pages of the page allocator that are tracked, from their
 * allocation to the records that a scan makes of them, and to their free.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/gfp.h>
#include <linux/kernfs.h>
#include <linux/kmemleak.h>
#include <linux/kmemtrack.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "../mm/kmemtrack/page_entry.h"
#include "../mm/kmemtrack/pages.h"
#include "../mm/slab.h"
#include "test_kmemtrack_compat.h"

static int command(const char *text)
{
	struct kmt_command cmd;

	return kmt_parse(text, strlen(text), &cmd, false) ?: kmt_execute(&cmd);
}

static int pages_init(struct kunit *test)
{
	return kmt_tracking() ? command("pages=track") : -EPERM;
}

static void pages_exit(struct kunit *test)
{
	command("pages=on");
}

static unsigned long addr_of(struct page *page)
{
	return kmt_untag((unsigned long)page_address(page));
}

/* Bytes of the record that begins at @page; 0 if none does. */
static unsigned long recorded(struct page *page)
{
	struct kmt_object o;

	if (!kmt_lookup(&kmt_core, KMT_VIRT, addr_of(page), &o) ||
	    o.addr != addr_of(page))
		return 0;
	return o.size;
}

/* Whether there is a record for its struct page. */
static bool has_struct(struct page *page)
{
	struct kmt_object o;

	return kmt_lookup(&kmt_core, KMT_VIRT, kmt_untag((unsigned long)page),
			  &o) && kmt_is_struct_record(&o);
}

static void orders(struct kunit *test)
{
	const gfp_t comp[] = { 0, __GFP_COMP };
	unsigned int order, i;

	for (order = 0; order <= 5; order++) {
		for (i = 0; i < ARRAY_SIZE(comp); i++) {
			struct page *page = alloc_pages(GFP_KERNEL | comp[i],
							order);

			KUNIT_ASSERT_NOT_NULL(test, page);
			KUNIT_EXPECT_EQ(test, recorded(page), 0);
			KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
			KUNIT_EXPECT_EQ(test, recorded(page),
					PAGE_SIZE << order);
			KUNIT_EXPECT_EQ(test, kmt_pages_order(addr_of(page)),
					order);
			KUNIT_EXPECT_TRUE(test, has_struct(page));
			/* A second scan changes nothing. */
			KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
			KUNIT_EXPECT_EQ(test, recorded(page),
					PAGE_SIZE << order);
			__free_pages(page, order);
			KUNIT_EXPECT_EQ(test, recorded(page), 0);
			KUNIT_EXPECT_FALSE(test, has_struct(page));
		}
	}
}

static void split(struct kunit *test)
{
	struct page *page = alloc_pages(GFP_KERNEL, 2);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	split_page(page, 2);
	KUNIT_EXPECT_EQ(test, recorded(page), 0);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, kmt_pages_order(addr_of(page)), KMT_PAGES_SPLIT);
	KUNIT_EXPECT_TRUE(test, kmt_pages_has_list(page + 3));
	/* If one of the pages is freed, the state of the pages after it is unknown. */
	__free_page(page + 2);
	KUNIT_EXPECT_EQ(test, recorded(page), 0);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, recorded(page + 3), 0);
	KUNIT_EXPECT_TRUE(test, kmt_pages_has_list(page + 1));
	KUNIT_EXPECT_FALSE(test, kmt_pages_has_list(page + 3));
	__free_page(page);
	KUNIT_EXPECT_EQ(test, recorded(page), 0);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page + 1), 0);
	__free_page(page + 1);
	__free_page(page + 3);
}

static void exact(struct kunit *test)
{
	void *p = alloc_pages_exact(3 * PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(virt_to_page(p)), 3 * PAGE_SIZE);
	free_pages_exact(p, 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, recorded(virt_to_page(p)), 0);
}

static void bulk(struct kunit *test)
{
	struct page *pages[8] = {};
	unsigned long i, nr;

	nr = alloc_pages_bulk_array(GFP_KERNEL, ARRAY_SIZE(pages), pages);
	KUNIT_ASSERT_GT(test, nr, 1);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ(test, recorded(pages[i]), PAGE_SIZE);
		__free_page(pages[i]);
		KUNIT_EXPECT_EQ(test, recorded(pages[i]), 0);
	}
}

/* The use of pages may become known only later. */
static void known_later(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), PAGE_SIZE);
	kmemtrack_not_root(page_address(page));
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), 0);
	KUNIT_EXPECT_FALSE(test, has_struct(page));
	__free_page(page);
}

/* Pages that their owner reports as a block are no block of pages. */
static void announced(struct kunit *test)
{
	struct page *page = alloc_pages(GFP_KERNEL, 1);

	KUNIT_ASSERT_NOT_NULL(test, page);
	kmemleak_alloc(page_address(page) + 64, 128, 1, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), 0);
	KUNIT_EXPECT_EQ(test, kmt_pages_order(addr_of(page)), -1);
	kmemleak_free(page_address(page) + 64);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), 2 * PAGE_SIZE);
	__free_pages(page, 1);
}

/* Two pages of which a scan has made a record. */
static struct page *recorded_pages(struct kunit *test)
{
	struct page *page = alloc_pages(GFP_KERNEL, 1);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), 2 * PAGE_SIZE);
	return page;
}

/* Frees such pages, where a block of 64 bytes must have the only record by now. */
static void free_replaced(struct kunit *test, struct page *page)
{
	KUNIT_EXPECT_EQ(test, recorded(page), 64);
	KUNIT_EXPECT_FALSE(test, has_struct(page));
	kmemleak_free(page_address(page));
	__free_pages(page, 1);
}

/*
 * A scan may make the records of pages before SLUB has set their type. Then the first
 * block that SLUB hands out there replaces the record, and is no fault.
 */
static void taken(struct kunit *test)
{
	const unsigned long before = kmt_nr_events(&kmt_core, KMT_EV_OVERLAP);
	struct page *page = recorded_pages(test);

	kmemleak_alloc(page_address(page), 64, 1, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, kmt_nr_events(&kmt_core, KMT_EV_OVERLAP), before);
	KUNIT_EXPECT_EQ(test, kmt_pages_order(addr_of(page)), -1);
	KUNIT_EXPECT_FALSE(test, has_struct(page));
	kmemtrack_not_root(page_address(page));
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	free_replaced(test, page);
}

/* A scan drops the record that it made, and no other one at the same address. */
static void replaced(struct kunit *test)
{
	struct page *page = recorded_pages(test);

	kmemleak_free(page_address(page));
	kmemleak_alloc(page_address(page), 64, 1, GFP_KERNEL);
	kmemtrack_not_root(page_address(page));
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	free_replaced(test, page);
}

/* The same at the end of tracking of pages. */
static void ends_replaced(struct kunit *test)
{
	struct page *page = recorded_pages(test);

	kmemleak_free(page_address(page));
	kmemleak_alloc(page_address(page), 64, 1, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, command("pages=on"), 0);
	free_replaced(test, page);
}

/* The least time of some walks over @nr pages. */
static u64 walk_ns(const struct page *page, unsigned long nr, bool first_only)
{
	u64 start, least = U64_MAX;
	unsigned long i, times;

	for (times = 0; times < 20; times++) {
		start = ktime_get_ns();
		for (i = 0; i < nr; i++)
			__kmt_pages_has_list(first_only ? page : page + i);
		least = min(least, ktime_get_ns() - start);
	}
	return least;
}

/* The time for a page of a block that was split does not depend on the block's size. */
static void large_split(struct kunit *test)
{
	const unsigned int order = 9;
	const unsigned long nr = BIT(order);
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, order);
	unsigned long i;

	if (!page)
		kunit_skip(test, "no memory");
	split_page(page, order);
	KUNIT_EXPECT_LE(test, walk_ns(page, nr, false),
			20 * walk_ns(page, nr, true) + NSEC_PER_USEC);
	for (i = 0; i < nr; i++)
		__free_page(page + i);
}

/* Pages that other allocators took from the page allocator are no blocks. */
static void others(struct kunit *test)
{
	struct kmt_pages_usage before, now;
	void *large;
	void *mapped = vmalloc(3 * PAGE_SIZE);
	struct page *movable = alloc_page(GFP_HIGHUSER_MOVABLE);

	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	kmt_get_pages_usage(&before);
	large = kmalloc(SZ_1M, GFP_KERNEL | __GFP_NOWARN);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	kmt_get_pages_usage(&now);
	/* Other pages come and go, but not as many. */
	KUNIT_EXPECT_LT(test, now.pages, before.pages + SZ_1M / PAGE_SIZE / 2);
	if (large) {
		KUNIT_EXPECT_EQ(test, kmt_pages_order(kmt_untag((unsigned long)large)),
				-1);
		KUNIT_EXPECT_EQ(test, recorded(virt_to_page(large)), SZ_1M);
	}
	if (mapped && !PageHighMem(vmalloc_to_page(mapped)))
		KUNIT_EXPECT_EQ(test, recorded(vmalloc_to_page(mapped)), 0);
	if (movable && !PageHighMem(movable))
		KUNIT_EXPECT_EQ(test, recorded(movable), 0);
	kfree(large);
	vfree(mapped);
	if (movable)
		__free_page(movable);
}

/* After tracking of pages ends, there are neither records nor a table. */
static void ends(struct kunit *test)
{
	struct page *page = alloc_pages(GFP_KERNEL, 3);
	struct kmt_pages_usage now;

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), 8 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, command("pages=on"), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), 0);
	KUNIT_EXPECT_FALSE(test, has_struct(page));
	kmt_get_pages_usage(&now);
	KUNIT_EXPECT_EQ(test, now.bytes, 0);
	KUNIT_EXPECT_EQ(test, command("pages=track"), 0);
	/* The page was allocated while pages were not tracked, so it is a root. */
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(page), 0);
	__free_pages(page, 3);
}

struct reuse {
	struct page *page;
	struct completion done;
};

/* Acts as a free of pages, and as a slab in them, as soon as the hooks see no table. */
static int reuse_pages(void *arg)
{
	struct reuse *r = arg;

	while (rcu_access_pointer(kmt_tracked_pages))
		schedule();
	kmemtrack_pages_free(r->page, 1);
	kmemleak_alloc(page_address(r->page), 64, 1, GFP_KERNEL);
	complete(&r->done);
	return 0;
}

/* Pages may be freed, and get another use, while tracking of pages is being ended. */
static void ends_reused(struct kunit *test)
{
	struct reuse r = { .page = alloc_pages(GFP_KERNEL, 1) };
	struct task_struct *task;

	KUNIT_ASSERT_NOT_NULL(test, r.page);
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, recorded(r.page), 2 * PAGE_SIZE);
	init_completion(&r.done);
	task = kthread_run(reuse_pages, &r, "kmt_reuse");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	KUNIT_EXPECT_EQ(test, command("pages=on"), 0);
	wait_for_completion(&r.done);
	KUNIT_EXPECT_EQ(test, recorded(r.page), 64);
	kmemleak_free(page_address(r.page));
	__free_pages(r.page, 1);
}

#define LOST_PAGES	8

/* With 32 bits many words look like page table entries: in two of ten boots 2 were found. */
#define FOUND_PAGES	(BITS_PER_LONG == 64 ? LOST_PAGES / 2 : 1)

/* Page numbers, which scans must not see in another place than that of a test. */
static unsigned long hidden[LOST_PAGES];

/* Overwrites the frames of functions that handled the numbers. */
static noinline void wipe_stack(void)
{
	unsigned long junk[192];

	memset(junk, 0, sizeof(junk));
	barrier_data(junk);
}

/* Loses a page, and makes its number that of a kernfs node. */
static noinline void lose_page(unsigned int i, struct kobject *obj)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

	if (page) {
		hidden[i] = ~page_to_pfn(page);
		WRITE_ONCE(obj->sd->id, page_to_pfn(page));
	}
}

static noinline bool is_leak(unsigned int i)
{
	struct kmt_object o = {};

	kmt_lookup(&kmt_core, KMT_VIRT, addr_of(pfn_to_page(~hidden[i])), &o);
	memset(&o.node, 0, sizeof(o.node));
	o.addr = 0;
	barrier_data(&o);
	return o.flags & KMT_LEAK;
}

/* Logs what refers to pages that were not reported. */
static void log_missed(void)
{
	unsigned int i;

	mutex_lock(&kmt_scan_mutex);
	for (i = 0; i < LOST_PAGES; i++)
		if (hidden[i] && !is_leak(i))
			kmt_log_address(addr_of(pfn_to_page(~hidden[i])));
	mutex_unlock(&kmt_scan_mutex);
}

static noinline void free_lost(unsigned int i)
{
	__free_page(pfn_to_page(~hidden[i]));
}

/* The number of a kernfs node is none of a page. A stale word may hide a page, though. */
static void node_numbers(struct kunit *test)
{
	struct kobject *objs[LOST_PAGES];
	const struct kmem_cache *cache;
	unsigned int i, found = 0;
	u64 ids[LOST_PAGES];
	bool known;

	memset(hidden, 0, sizeof(hidden));
	for (i = 0; i < LOST_PAGES; i++) {
		const char name[] = { 'k', 'm', 't', '0' + i, '\0' };

		objs[i] = kobject_create_and_add(name, kernel_kobj);
		KUNIT_ASSERT_NOT_NULL(test, objs[i]);
		ids[i] = objs[i]->sd->id;
	}
	cache = virt_to_slab(objs[0]->sd)->slab_cache;
	known = !strcmp(cache->name, "kernfs_node_cache") && cache->refcount == 1;
	for (i = 0; i < LOST_PAGES; i++)
		lose_page(i, objs[i]);
	wipe_stack();
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	wipe_stack();
	for (i = 0; i < LOST_PAGES; i++) {
		objs[i]->sd->id = ids[i];
		if (hidden[i])
			found += is_leak(i);
	}
	if (known && found < FOUND_PAGES)
		log_missed();
	for (i = 0; i < LOST_PAGES; i++) {
		if (hidden[i])
			free_lost(i);
		kobject_put(objs[i]);
	}
	if (known)
		KUNIT_EXPECT_GE(test, found, FOUND_PAGES);
	else
		kunit_mark_skipped(test, "the cache of kernfs nodes is merged with another one");
}

/*
 * Loses a page, and puts its number where a table of empty hash chains has it. A page whose
 * number is even goes to @even: if it were freed here, the next page would be the same.
 */
static noinline unsigned long *lose_numbered(unsigned int i, struct list_head *even)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	unsigned long pfn, *table;

	if (!page)
		return NULL;
	pfn = page_to_pfn(page);
	table = pfn % 2 && pfn < SZ_1M ?
		kvcalloc(pfn / 2 + 8, sizeof(long), GFP_KERNEL) : NULL;
	if (table) {
		hidden[i] = ~pfn;
		table[pfn / 2] = pfn;
	} else {
		list_add(&page->lru, even);
	}
	return table;
}

/* A number that looks like the head of an empty hash chain is one of a page, if it is alone. */
static void lone_numbers(struct kunit *test)
{
	static unsigned long *tables[LOST_PAGES];
	struct page *page, *next;
	unsigned int i, lost = 0;
	LIST_HEAD(even);

	memset(hidden, 0, sizeof(hidden));
	for (i = 0; i < LOST_PAGES; i++)
		tables[i] = lose_numbered(i, &even);
	list_for_each_entry_safe(page, next, &even, lru)
		__free_page(page);
	wipe_stack();
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	for (i = 0; i < LOST_PAGES; i++) {
		if (!hidden[i])
			continue;
		lost++;
		KUNIT_EXPECT_FALSE(test, is_leak(i));
		free_lost(i);
		kvfree(tables[i]);
		tables[i] = NULL;
	}
	if (!lost)
		kunit_mark_skipped(test, "no page has an odd number below 1 M");
}

static struct kunit_case pages_cases[] = {
	KUNIT_CASE_SLOW(orders),
	KUNIT_CASE(split),
	KUNIT_CASE(exact),
	KUNIT_CASE(bulk),
	KUNIT_CASE(known_later),
	KUNIT_CASE(announced),
	KUNIT_CASE(taken),
	KUNIT_CASE(replaced),
	KUNIT_CASE(ends_replaced),
	KUNIT_CASE(large_split),
	KUNIT_CASE(others),
	KUNIT_CASE(ends),
	KUNIT_CASE(ends_reused),
	KUNIT_CASE(node_numbers),
	KUNIT_CASE(lone_numbers),
	{}
};

static struct kunit_suite pages_suite = {
	.name = "kmemtrack_pages",
	.init = pages_init,
	.exit = pages_exit,
	.test_cases = pages_cases,
};

kunit_test_suite(pages_suite);
