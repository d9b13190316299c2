/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracking of blocks of the page allocator: see page_blocks.c. While it is off, a hook
 * only passes a static branch that is patched out.
 */
#ifndef _KMT_PAGES_H
#define _KMT_PAGES_H

#include <linux/kmemtrack.h>

#include "compat.h"
#include "glue.h"

/* Shown for blocks of pages in place of a slab cache. */
#define KMT_PAGES_NAME	"alloc_pages"

/* Instead of an order: pages that were split, but are one block. */
#define KMT_PAGES_SPLIT	(MAX_PAGE_ORDER + 1)

/**
 * struct kmt_pages_usage - tracked pages, as their use was checked last: by a scan, or for a
 *	reader of "sites" or "growth" (kmt_pages_refresh())
 * @bytes: size of the table
 * @blocks: blocks of pages without any other known use
 * @pages: pages in these blocks
 * @records: blocks with a record in the core: they may be leaks
 * @pfn_refs: blocks with a record that are roots since the last scan, because a word may be
 *	the page frame number of their first page, the physical address of one of their
 *	pages, or an address right after their end
 */
struct kmt_pages_usage {
	size_t bytes;
	unsigned long blocks;
	unsigned long pages;
	unsigned long records;
	unsigned long pfn_refs;
};

static __always_inline bool kmt_pages_tracked(void)
{
	return static_branch_unlikely(&kmemtrack_pages_key);
}

int kmt_pages_on(void);
void kmt_pages_off(void);
void kmt_pages_add(const struct page *page, unsigned int order,
		   const struct kmt_origin *origin);
void kmt_pages_forget(const struct page *page);
void kmt_pages_for_each(void (*fn)(void *arg, u32 *trace, u16 comm), void *arg);
void kmt_pages_check_use(struct kmt_marker *m, struct kmt_roots *roots, bool add);
void kmt_pages_refresh(void);
bool kmt_pages_count(void (*fn)(void *arg, u32 trace, unsigned long bytes,
				u32 born), void *arg);
int kmt_pages_search(struct kmt_marker *m, const struct kmt_roots *roots);
bool kmt_pages_replaced(struct kmt_core *core, const struct kmt_object *old);
void kmt_get_pages_usage(struct kmt_pages_usage *now);
int kmt_pages_order(unsigned long addr);
bool __kmt_pages_has_list(const struct page *page);

/* Whether a page's list links are read with its contents, and are no roots. */
static __always_inline bool kmt_pages_has_list(const struct page *page)
{
	return kmt_pages_tracked() && __kmt_pages_has_list(page);
}

/*
 * Whether @o stands for the struct pages of a block of pages. Without the lock of its
 * tree this is a hint.
 */
static inline bool kmt_is_struct_record(const struct kmt_object *o)
{
	/* The caller checks again under the lock if that matters. */
	return data_race((o->flags & KMT_ALIAS) && o->min_refs == KMT_MIN_BLACK &&
			 !o->trace);
}

/*
 * Whether @o, with the lock of its tree held or a copy, is the record that a scan made of
 * a block of pages: whole pages, with scan areas. Hardly any other block has both.
 */
static inline bool kmt_is_page_record(const struct kmt_object *o)
{
	return kmt_space(o) == KMT_VIRT && (o->flags & KMT_AREAS) &&
	       !((o->addr | o->size) % PAGE_SIZE);
}

#endif /* _KMT_PAGES_H */
