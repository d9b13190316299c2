// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: annotations of <linux/kmemleak.h>. Most kinds have a control: an object
 * that differs only in that it lacks the annotation, and leaks.
 */
#include <linux/io.h>
#include <linux/kmemleak.h>
#include <linux/mm.h>
#include <linux/percpu.h>

#include "test_kmemtrack.h"

#define WORDS		16

static unsigned long *holders[4];

enum { SCAN_AREA, NO_SCAN, PHYS };

/* Nothing refers to them; neither they nor the blocks that they hold are reported. */
static int hold_not_leak(const struct tk_kind *k, unsigned int n)
{
	void **p = tk_make(k, WORDS * sizeof(*p), TK_NEVER);
	void **control = tk_make(k, WORDS * sizeof(*p), TK_LEAKED);

	if (!p || !control)
		return -ENOMEM;
	kmemleak_not_leak(p);
	p[3] = tk_make(k, 48, TK_HELD);
	return p[3] ? 0 : -ENOMEM;
}

static void lose_not_leak(const struct tk_kind *k)
{
	void **p = tk_object(k, TK_NEVER, 0);

	if (p)
		p[3] = NULL;
}

/* Nothing refers to them; they are not reported, but the blocks that they hold are. */
static int hold_ignored(const struct tk_kind *k, unsigned int n)
{
	void **p = tk_make(k, WORDS * sizeof(*p), TK_NEVER);
	void **control = tk_make(k, WORDS * sizeof(*p), TK_LEAKED);

	if (!p || !control)
		return -ENOMEM;
	kmemleak_ignore(p);
	p[3] = tk_make(k, 48, TK_LEAKED);
	return p[3] ? 0 : -ENOMEM;
}

static void lose_nothing(const struct tk_kind *k)
{
}

/* Nothing refers to it; later scans report it, but not the next one. */
static int hold_transient(const struct tk_kind *k, unsigned int n)
{
	void *p = tk_make(k, 112, TK_HELD);
	void *control = tk_make(k, 112, TK_LEAKED);

	if (!p || !control)
		return -ENOMEM;
	kmemleak_transient_leak(p);
	return 0;
}

/* Only the scan area of the holder is read. */
static int hold_scan_area(const struct tk_kind *k, unsigned int n)
{
	unsigned long *p = tk_make(k, WORDS * sizeof(*p), TK_HELD);

	if (!p)
		return -ENOMEM;
	kmemleak_scan_area(p + 4, 4 * sizeof(*p), GFP_KERNEL);
	kmemleak_scan_area(p + 12, 2 * sizeof(*p), GFP_KERNEL);
	p[3] = (unsigned long)tk_make(k, 48, TK_LEAKED);
	p[4] = (unsigned long)tk_make(k, 48, TK_HELD);
	p[7] = (unsigned long)tk_make(k, 48, TK_HELD);
	p[8] = (unsigned long)tk_make(k, 48, TK_LEAKED);
	p[13] = (unsigned long)tk_make(k, 48, TK_HELD);
	p[14] = (unsigned long)tk_make(k, 48, TK_LEAKED);
	WRITE_ONCE(holders[SCAN_AREA], p);
	return 0;
}

/* The holder is not read at all. */
static int hold_no_scan(const struct tk_kind *k, unsigned int n)
{
	unsigned long *p = tk_make(k, WORDS * sizeof(*p), TK_HELD);

	if (!p)
		return -ENOMEM;
	kmemleak_no_scan(p);
	p[5] = (unsigned long)tk_make(k, 48, TK_LEAKED);
	WRITE_ONCE(holders[NO_SCAN], p);
	return 0;
}

static void lose_holder(const struct tk_kind *k)
{
	WRITE_ONCE(holders[k->where], NULL);
}

/* From a cache with SLAB_NOLEAKTRACE. */
static int hold_notrace(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		void *p = kmem_cache_zalloc(tk_cache(TK_NOTRACE), GFP_KERNEL);

		if (!p)
			return -ENOMEM;
		tk_note(k, p, sizeof(struct tk_node), TK_NOTRACE, TK_NEVER);
	}
	return 0;
}

/* From the page allocator, which does not call the hooks for blocks. */
static int hold_pages(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		void *p = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO,
						   get_order(k->size));

		if (!p)
			return -ENOMEM;
		tk_note(k, p, k->size, TK_PAGES, TK_NEVER);
	}
	return 0;
}

/* A page that is reported by its physical address is a root. */
static int hold_phys(const struct tk_kind *k, unsigned int n)
{
	unsigned long *p = (void *)get_zeroed_page(GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	kmemleak_alloc_phys(virt_to_phys(p), PAGE_SIZE, GFP_KERNEL);
	p[9] = (unsigned long)tk_make(k, 48, TK_HELD);
	WRITE_ONCE(holders[PHYS], p);
	return 0;
}

static void lose_phys(const struct tk_kind *k)
{
	unsigned long *p = READ_ONCE(holders[PHYS]);

	if (!p)
		return;
	kmemleak_free_part_phys(virt_to_phys(p), PAGE_SIZE);
	clear_page(p);
	free_page((unsigned long)p);
	WRITE_ONCE(holders[PHYS], NULL);
}

/*
 * Per-CPU memory of which only the beginning is tracked; the pointer is in the rest. For
 * a tracker that was off for a time, the rest is a root.
 */
#define AREA_SIZE	(32 << 10)

static unsigned long __percpu *area;

static int hold_percpu_part(const struct tk_kind *k, unsigned int n)
{
	area = __alloc_percpu(AREA_SIZE, sizeof(long));
	if (!area)
		return -ENOMEM;
	kmemleak_free_percpu(area);
	kmemleak_alloc_percpu(area, 64, GFP_KERNEL);
	*per_cpu_ptr(area + 16, 0) = (unsigned long)tk_make(k, 48, TK_HELD);
	return 0;
}

static void lose_percpu_part(const struct tk_kind *k)
{
	if (!area)
		return;
	*per_cpu_ptr(area + 16, 0) = 0;
	free_percpu(area);
	area = NULL;
}

const struct tk_kind tk_note_kinds[] = {
	{ "not-leak", hold_not_leak, lose_not_leak },
	{ "ignore", hold_ignored, lose_nothing },
	{ "transient-leak", hold_transient, lose_nothing },
	{ "scan-area", hold_scan_area, lose_holder, .where = SCAN_AREA },
	{ "no-scan", hold_no_scan, lose_holder, .where = NO_SCAN },
	{ "notrace", hold_notrace, lose_nothing, .count = 3 },
	{ "pages-1m", hold_pages, lose_nothing, .size = 1 << 20, .count = 8 },
	{ "phys", hold_phys, lose_phys },
	{ "percpu-part", hold_percpu_part, lose_percpu_part },
	{}
};
