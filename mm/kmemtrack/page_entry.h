/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The table of tracked pages, for pages.c and page_blocks.c.
 */
#ifndef _KMT_PAGE_ENTRY_H
#define _KMT_PAGE_ENTRY_H

#include <linux/mm.h>
#include <linux/rcupdate.h>

#include "pages.h"

/* Pages whose entries are one part of the table. */
#define KMT_PE_PART_SHIFT	13
#define KMT_PE_PART_PAGES	BIT(KMT_PE_PART_SHIFT)
#define KMT_PE_PART_BYTES	(KMT_PE_PART_PAGES * sizeof(struct kmt_page_entry))

/* Fields of an entry's state; the handle of the task's name is in the bits above. */
#define KMT_PE_ORDER		0x001fU	/* order of the block, plus one; 0: no entry */
#define KMT_PE_RECORD		0x0020U	/* the core has records of the block */
#define KMT_PE_PFN_REF		0x0040U	/* a page number may refer to it: a root */
#define KMT_PE_CHECKED		0x0080U	/* a scan has checked the use of the pages */
#define KMT_PE_OTHER		0x0100U	/* the use is known from their struct pages */
#define KMT_PE_SPLIT		0x0200U	/* first page of a block that was split */
#define KMT_PE_SPLIT_REST	0x0400U	/* other page of one; the order is that of the first */
#define KMT_PE_COMM_SHIFT	16

/**
 * struct kmt_page_entry - allocation of a block of pages
 * @state: see above; 0 if no tracked block begins with this page
 * @trace: handle of the backtrace
 * @pid: pid of the task
 * @born: low 32 bits of jiffies
 */
struct kmt_page_entry {
	u32 state;
	u32 trace;
	s32 pid;
	u32 born;
};

/**
 * struct kmt_page_entries - the entries of all pages
 * @lo: number of the first page, a multiple of KMT_PE_PART_PAGES
 * @nr: number of parts
 * @part: entries; NULL if the machine had no memory there when the table was made
 */
struct kmt_page_entries {
	unsigned long lo;
	unsigned long nr;
	struct kmt_page_entry *part[];
};

extern struct kmt_page_entries __rcu *kmt_tracked_pages;

unsigned long kmt_split_end(const struct kmt_page_entries *t, unsigned long pfn,
			    u32 state);
void kmt_drop_records_at(unsigned long pfn);
void kmt_drop_our_records(unsigned long pfn);
bool kmt_clear_record(struct kmt_page_entry *e, unsigned long pfn, u32 state);

static inline struct kmt_page_entry *entry_of(const struct kmt_page_entries *t,
					      unsigned long pfn)
{
	const unsigned long i = (pfn - t->lo) >> KMT_PE_PART_SHIFT;

	if (pfn < t->lo || i >= t->nr || !t->part[i])
		return NULL;
	return &t->part[i][pfn % KMT_PE_PART_PAGES];
}

static inline unsigned int order_of(u32 state)
{
	return (state & KMT_PE_ORDER) - 1;
}

static inline unsigned long address_of(unsigned long pfn)
{
	return kmt_untag((unsigned long)page_address(pfn_to_page(pfn)));
}

static inline unsigned long struct_of(unsigned long pfn)
{
	return kmt_untag((unsigned long)pfn_to_page(pfn));
}

/* One past the last page of the block that begins at @pfn. */
static inline unsigned long end_of(const struct kmt_page_entries *t, unsigned long pfn,
				   u32 state)
{
	if (state & (KMT_PE_SPLIT | KMT_PE_SPLIT_REST))
		return kmt_split_end(t, pfn, state);
	return pfn + BIT(order_of(state));
}

#endif /* _KMT_PAGE_ENTRY_H */
