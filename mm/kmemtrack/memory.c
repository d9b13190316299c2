// SPDX-License-Identifier: GPL-2.0
/*
 * The tracker's own memory.
 *
 * Pages of ours hold addresses of tracked blocks all over; they bear a mark in
 * page_private() so that they are never taken for roots.
 */
#include <linux/fault-inject.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kmemtrack.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "pages.h"

#ifdef CONFIG_FAULT_INJECTION

/* Allocations of the tracker's own that fail on request. */
static DECLARE_FAULT_ATTR(fail_kmemtrack);

static int __init parse_fault(char *str)
{
	return setup_fault_attr(&fail_kmemtrack, str);
}
__setup("fail_kmemtrack=", parse_fault);

static bool should_fail_own(size_t bytes)
{
	/* Locks may be held under which nothing is to be printed. */
	return should_fail_ex(&fail_kmemtrack, bytes, FAULT_NOWARN);
}

static int __init show_fault(void)
{
	fault_create_debugfs_attr("fail_kmemtrack", NULL, &fail_kmemtrack);
	return 0;
}
late_initcall(show_fault);
#else
static bool should_fail_own(size_t bytes)
{
	return false;
}
#endif

static void mark_pages(void *mem, unsigned int order, unsigned long private)
{
	struct page *page = virt_to_page(mem);
	unsigned int i;

	for (i = 0; i < 1U << order; i++)
		set_page_private(page + i, private);
}

/**
 * kmt_own_alloc - pages that are never scanned
 * @gfp: how
 * @order: how many
 *
 * Return: their address, or NULL.
 */
void *kmt_own_alloc(gfp_t gfp, unsigned int order)
{
	void *mem = NULL;

	if (!should_fail_own(PAGE_SIZE << order))
		mem = (void *)__get_free_pages(gfp | __GFP_NOWARN, order);
	if (mem) {
		mark_pages(mem, order, KMT_OWN_PAGE);
		kmt_pages_disown(virt_to_page(mem));
	}
	return mem;
}

/**
 * kmt_own_free - free pages of kmt_own_alloc()
 * @mem: their address, or NULL
 * @order: how many
 *
 * They are wiped, so that the next owner does not seem to hold references.
 */
void kmt_own_free(void *mem, unsigned int order)
{
	if (!mem)
		return;
	memset(mem, 0, PAGE_SIZE << order);
	mark_pages(mem, order, 0);
	free_pages((unsigned long)mem, order);
}

/**
 * kmt_own_split - make single pages of some of kmt_own_alloc()
 * @mem: their address
 * @order: how many
 */
void kmt_own_split(void *mem, unsigned int order)
{
	split_page(virt_to_page(mem), order);
	/* That clears the marks of all but the first. */
	mark_pages(mem, order, KMT_OWN_PAGE);
}

void kmemtrack_not_root(const void *addr)
{
	if (addr)
		set_page_private(virt_to_page(addr), KMT_NOT_ROOT);
}

static void mark_exact(const void *addr, size_t size, unsigned long private)
{
	size_t at;

	for (at = 0; addr && at < size; at += PAGE_SIZE)
		set_page_private(virt_to_page(addr + at), private);
}

void kmemtrack_unreadable(const void *addr, size_t size)
{
	mark_exact(addr, size, KMT_UNREADABLE);
}

void kmemtrack_readable(const void *addr, size_t size)
{
	mark_exact(addr, size, 0);
}

/* Pages of the tracker that vmalloc() counts as its own. */
atomic_long_t kmt_own_vpages;

/* Marks the pages behind a buffer of vzalloc(). */
static void mark_vpages(const void *mem, unsigned long private)
{
	const struct vm_struct *area = find_vm_area(mem);
	unsigned int i, nr = area ? area->nr_pages : 0;

	for (i = 0; i < nr; i++)
		set_page_private(area->pages[i], private);
	atomic_long_add(private ? nr : -(long)nr, &kmt_own_vpages);
}

/* A buffer of vzalloc() is neither a leak nor a root. */
static void disown_vpages(const void *mem)
{
	if (!mem)
		return;
	if (kmt_tracking())
		kmt_set_min(&kmt_core, KMT_VIRT, kmt_untag((unsigned long)mem),
			    KMT_MIN_BLACK);
	mark_vpages(mem, KMT_OWN_PAGE);
}

static void *own_vzalloc(size_t bytes, gfp_t gfp)
{
	void *mem = __vmalloc(bytes, gfp | __GFP_ZERO);

	disown_vpages(mem);
	return mem;
}

/**
 * kmt_own_vzalloc - a large buffer that is never scanned or reported
 * @bytes: size
 *
 * A scan that is under way has filled its map of pages: those of the buffer bear
 * the mark of the tracker, as all of its pages do.
 *
 * Return: zeroed memory, or NULL.
 */
void *kmt_own_vzalloc(size_t bytes)
{
	return own_vzalloc(bytes, GFP_KERNEL);
}

/**
 * kmt_own_try_vzalloc - the same for what can be done without
 * @bytes: size
 *
 * Return: zeroed memory, or NULL, without a warning, if that is not easy to get.
 */
void *kmt_own_try_vzalloc(size_t bytes)
{
	if (should_fail_own(bytes))
		return NULL;
	return own_vzalloc(bytes, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
}

/**
 * kmt_own_alloc_table - memory that is looked up with each allocation
 * @bytes: size
 *
 * In the linear map, or in pages as large as can be had: translations are cached
 * for few pages.
 *
 * Return: zeroed memory that stays, or NULL, without a warning.
 */
void *kmt_own_alloc_table(size_t bytes)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN;
	void *mem = NULL;

	if (get_order(bytes) <= MAX_PAGE_ORDER)
		mem = kmt_own_alloc(gfp, get_order(bytes));
	if (mem || should_fail_own(bytes))
		return mem;
	mem = vmalloc_huge(bytes, gfp | __GFP_NORETRY);
	disown_vpages(mem);
	return mem;
}

/**
 * kmt_own_vfree - free such a buffer, wiped
 * @mem: its address, or NULL
 * @bytes: its size; what is behind that in its last page was never written
 */
void kmt_own_vfree(void *mem, size_t bytes)
{
	if (mem) {
		memset(mem, 0, bytes);
		mark_vpages(mem, 0);
	}
	vfree(mem);
}
