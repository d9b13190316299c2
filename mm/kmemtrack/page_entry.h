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
#define PART_SHIFT	13
#define PART_PAGES	BIT(PART_SHIFT)
#define PART_BYTES	(PART_PAGES * sizeof(struct entry))

/* Fields of an entry's state; the handle of the task's name is in the bits above. */
#define ORDER		0x001fU	/* order of the block, plus one; 0: no entry */
#define RECORD		0x0020U	/* the core has records of the block */
#define PFN_REF		0x0040U	/* a page number may refer to it: a root */
#define SORTED		0x0080U	/* a scan has checked the use of the pages */
#define OTHER		0x0100U	/* the use is known from their struct pages */
#define SPLIT		0x0200U	/* first page of a block that was split */
#define SPLIT_REST	0x0400U	/* other page of one; ORDER is that of the first */
#define COMM_SHIFT	16

/**
 * struct entry - allocation of a block of pages
 * @state: see above; 0 if no tracked block begins with this page
 * @stack: handle of the backtrace
 * @pid: pid of the task
 * @born: low 32 bits of jiffies
 */
struct entry {
	u32 state;
	u32 stack;
	s32 pid;
	u32 born;
};

/**
 * struct table - the entries of all pages
 * @lo: number of the first page, a multiple of PART_PAGES
 * @nr: number of parts
 * @part: entries; NULL if the machine had no memory there when the table was made
 */
struct table {
	unsigned long lo;
	unsigned long nr;
	struct entry *part[];
};

extern struct table __rcu *kmt_page_table;

unsigned long kmt_split_end(const struct table *t, unsigned long pfn,
			    u32 state);
void kmt_drop_page_records(unsigned long pfn);
bool kmt_clear_record(struct entry *e, unsigned long pfn, u32 state);

static inline struct entry *entry_of(const struct table *t, unsigned long pfn)
{
	const unsigned long i = (pfn - t->lo) >> PART_SHIFT;

	if (pfn < t->lo || i >= t->nr || !t->part[i])
		return NULL;
	return &t->part[i][pfn % PART_PAGES];
}

static inline unsigned int order_of(u32 state)
{
	return (state & ORDER) - 1;
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
static inline unsigned long end_of(const struct table *t, unsigned long pfn,
				   u32 state)
{
	if (state & (SPLIT | SPLIT_REST))
		return kmt_split_end(t, pfn, state);
	return pfn + BIT(order_of(state));
}

#endif /* _KMT_PAGE_ENTRY_H */
