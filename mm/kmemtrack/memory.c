// SPDX-License-Identifier: GPL-2.0
/*
 * The tracker's own memory.
 *
 * The tracker's pages are full of addresses of tracked blocks. They are marked in
 * page_private(), so that they are never taken for roots.
 */
#include <linux/types.h>
#include <linux/fault-inject.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kmemtrack.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "pages.h"

#ifdef CONFIG_FAULT_INJECTION

/* Makes allocations of the tracker itself fail on request. */
static DECLARE_FAULT_ATTR(fail_kmemtrack);

static int __init parse_fault(char *str)
{
	return setup_fault_attr(&fail_kmemtrack, str);
}
__setup("fail_kmemtrack=", parse_fault);

static bool should_fail_own(size_t bytes)
{
	/* FAULT_NOWARN: the caller may hold locks under which printing is forbidden. */
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

static void mark_pages(const void *addr, size_t size, unsigned long private)
{
	size_t at;

	for (at = 0; addr && at < size; at += PAGE_SIZE)
		set_page_private(virt_to_page(addr + at), private);
}

/**
 * kmt_own_alloc - allocate pages that are never scanned
 * @gfp: flags to allocate with
 * @order: how many, as a power of two
 *
 * Return: their address, or NULL.
 */
void *kmt_own_alloc(gfp_t gfp, unsigned int order)
{
	void *mem = NULL;

	if (!should_fail_own(PAGE_SIZE << order))
		mem = (void *)__get_free_pages(gfp | __GFP_NOWARN, order);
	if (mem) {
		mark_pages(mem, PAGE_SIZE << order, KMT_OWN_PAGE);
		/* The tracker's own pages are not tracked. */
		if (kmt_pages_tracked())
			kmt_pages_forget(virt_to_page(mem));
	}
	return mem;
}

/**
 * kmt_own_free - free pages of kmt_own_alloc()
 * @mem: their address, or NULL
 * @order: as they were allocated
 *
 * The pages are wiped, so that the next owner does not seem to hold references.
 */
void kmt_own_free(void *mem, unsigned int order)
{
	if (!mem)
		return;
	memset(mem, 0, PAGE_SIZE << order);
	mark_pages(mem, PAGE_SIZE << order, 0);
	free_pages((unsigned long)mem, order);
}

/**
 * kmt_own_split - split pages of kmt_own_alloc() into single pages
 * @mem: their address
 * @order: as they were allocated
 */
void kmt_own_split(void *mem, unsigned int order)
{
	split_page(virt_to_page(mem), order);
	/* split_page() has cleared the marks of all but the first page. */
	mark_pages(mem, PAGE_SIZE << order, KMT_OWN_PAGE);
}

void kmemtrack_not_root_page(struct page *page)
{
	set_page_private(page, KMT_NOT_ROOT);
}

void kmemtrack_not_root(const void *addr)
{
	if (addr)
		kmemtrack_not_root_page(virt_to_page(addr));
}

void kmemtrack_unreadable(const void *addr, size_t size)
{
	mark_pages(addr, size, KMT_UNREADABLE);
}

void kmemtrack_readable(const void *addr, size_t size)
{
	mark_pages(addr, size, 0);
}

/* Pages of the tracker that vmalloc() counts as its own. */
atomic_long_t kmt_own_vpages;

/* Marks the pages behind a vmalloc buffer, or clears the marks if @private is 0. */
static void mark_vpages(const void *mem, unsigned long private)
{
	const struct vm_struct *area = find_vm_area(mem);
	unsigned int i, nr = area ? area->nr_pages : 0;

	for (i = 0; i < nr; i++)
		set_page_private(area->pages[i], private);
	atomic_long_add(private ? nr : -(long)nr, &kmt_own_vpages);
}

/* Makes a vmalloc buffer of the tracker neither a leak nor a root. */
static void disown_vpages(const void *mem)
{
	if (!mem)
		return;
	if (kmt_tracking())
		kmt_set_min(&kmt_core, KMT_VIRT, kmt_untag((unsigned long)mem),
			    KMT_MIN_BLACK);
	mark_vpages(mem, KMT_OWN_PAGE);
}

/**
 * kmt_own_vzalloc - allocate a large buffer that is never scanned or reported
 * @bytes: size
 *
 * A scan under way has filled its map of excluded pages already; the marks keep it from
 * reading the pages of the buffer.
 *
 * Return: zeroed memory; or NULL, without a warning or the OOM killer, if memory is short.
 */
void *kmt_own_vzalloc(size_t bytes)
{
	void *mem;

	if (should_fail_own(bytes))
		return NULL;
	mem = __vmalloc(bytes, GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY | __GFP_NOWARN);
	disown_vpages(mem);
	return mem;
}

/**
 * kmt_own_alloc_table - allocate a table that each allocation looks up
 * @bytes: size
 *
 * The table is in the linear map, or else mapped with pages as large as possible, to
 * need few TLB entries.
 *
 * Return: zeroed memory that is never freed; or NULL, without a warning.
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
 * kmt_own_vfree - wipe and free a buffer of kmt_own_vzalloc()
 * @mem: its address, or NULL
 * @bytes: its size; the rest of its last page was never written
 */
void kmt_own_vfree(void *mem, size_t bytes)
{
	const size_t step = SZ_64K;
	size_t at;

	if (!mem)
		return;
	/* A map of all pages has megabytes. */
	for (at = 0; at < bytes; at += step) {
		memset(mem + at, 0, min(step, bytes - at));
		cond_resched();
	}
	mark_vpages(mem, 0);
	vfree(mem);
}
