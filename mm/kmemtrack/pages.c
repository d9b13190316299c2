// SPDX-License-Identifier: GPL-2.0
/*
 * The table of tracked pages (pages=track), and the hooks' access to it; see
 * page_blocks.c.
 */
#include <linux/kmemtrack.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>

#include "page_entry.h"

DEFINE_STATIC_KEY_FALSE(kmemtrack_pages_key);

struct kmt_page_entries __rcu *kmt_tracked_pages;

/* The table for the hooks, which hold the RCU read lock, and the entry of @pfn in it. */
static struct kmt_page_entry *find_entry(unsigned long pfn,
					 const struct kmt_page_entries **t)
{
	*t = rcu_dereference(kmt_tracked_pages);
	return *t ? entry_of(*t, pfn) : NULL;
}

/**
 * kmt_split_end - find the end of a run of pages that were split and not freed since
 * @t: table
 * @pfn: number of the first page
 * @state: state of its entry
 *
 * Context: any.
 * Return: number of the page after the run.
 */
unsigned long kmt_split_end(const struct kmt_page_entries *t, unsigned long pfn,
			    u32 state)
{
	const unsigned long first = ALIGN_DOWN(pfn, BIT(order_of(state)));
	const unsigned long end = first + BIT(order_of(state));

	while (++pfn < end) {
		const struct kmt_page_entry *e = entry_of(t, pfn);
		const u32 rest = e ? READ_ONCE(e->state) : 0;

		if (!(rest & KMT_PE_SPLIT_REST) || (rest ^ state) & KMT_PE_ORDER)
			break;
	}
	return pfn;
}

/**
 * kmt_drop_records_at - drop the records of a block
 * @pfn: number of its first page
 *
 * The block is about to be freed. If its owner has reported the memory as a block, such
 * as by kmemleak_alloc(), that record replaced ours, and is dropped.
 *
 * Context: any but NMI.
 */
void kmt_drop_records_at(unsigned long pfn)
{
	const unsigned long at[] = { address_of(pfn), struct_of(pfn) };
	struct kmt_object o;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(at); i++)
		if (kmt_lookup(&kmt_core, KMT_VIRT, at[i], &o) &&
		    o.addr == at[i])
			kmt_free(&kmt_core, KMT_VIRT, at[i]);
}

/**
 * kmt_drop_our_records - drop the records that a scan made of a block
 * @pfn: number of its first page
 *
 * The block is no block any more, or its use is known now, but its pages stay in use.
 * The record of an object in a slab, or one that their owner made, may have replaced
 * ours: that one stays.
 *
 * Context: any but NMI.
 */
void kmt_drop_our_records(unsigned long pfn)
{
	kmt_free_if(&kmt_core, address_of(pfn), kmt_is_page_record);
	kmt_free_if(&kmt_core, struct_of(pfn), kmt_is_struct_record);
}

/**
 * kmt_clear_record - clear KMT_PE_RECORD in an entry, and drop our records of its block
 * @e: entry of its first page
 * @pfn: number of its first page
 * @state: state of the entry
 *
 * Context: any but NMI.
 * Return: false if another CPU did so, or there were no records.
 */
bool kmt_clear_record(struct kmt_page_entry *e, unsigned long pfn, u32 state)
{
	while (state & KMT_PE_RECORD) {
		const u32 was = cmpxchg(&e->state, state,
					state & ~(KMT_PE_RECORD | KMT_PE_PFN_REF));

		if (was == state) {
			kmt_drop_our_records(pfn);
			return true;
		}
		state = was;
	}
	return false;
}

/* A page of a block that was split is freed, so the rest is no block any more. */
static void clear_split_record(const struct kmt_page_entries *t, unsigned long pfn,
			       u32 state)
{
	const unsigned long first = ALIGN_DOWN(pfn, BIT(order_of(state)));
	struct kmt_page_entry *e = entry_of(t, first);
	u32 now = e ? READ_ONCE(e->state) : 0;

	if (now & KMT_PE_SPLIT)
		kmt_clear_record(e, first, now);
}

/**
 * kmt_pages_add - add an entry for pages that were allocated
 * @page: the first of them
 * @order: how many, as a power of two
 * @origin: where and when they were allocated
 *
 * Context: any but NMI.
 */
void kmt_pages_add(const struct page *page, unsigned int order,
		   const struct kmt_origin *origin)
{
	const struct kmt_page_entries *t;
	struct kmt_page_entry *e;

	rcu_read_lock();
	e = find_entry(page_to_pfn(page), &t);
	if (e) {
		WRITE_ONCE(e->trace, origin->trace);
		WRITE_ONCE(e->pid, origin->pid_slack);
		WRITE_ONCE(e->born, origin->born);
		/* Pairs with check_entry(). */
		smp_store_release(&e->state, (order + 1) |
				  (u32)origin->comm << KMT_PE_COMM_SHIFT);
	}
	rcu_read_unlock();
}

/**
 * kmt_pages_forget - note that pages are about to be freed
 * @page: the first of them
 *
 * Context: any but NMI.
 */
void kmt_pages_forget(const struct page *page)
{
	const unsigned long pfn = page_to_pfn(page);
	const struct kmt_page_entries *t;
	struct kmt_page_entry *e;
	u32 state = 0;

	rcu_read_lock();
	e = find_entry(pfn, &t);
	if (e && READ_ONCE(e->state))
		state = xchg(&e->state, 0);
	if (state & KMT_PE_RECORD)
		kmt_drop_records_at(pfn);
	if (state & KMT_PE_SPLIT_REST)
		clear_split_record(t, pfn, state);
	rcu_read_unlock();
}

/**
 * kmt_pages_replaced - a new block overlaps an old one, whose record was dropped
 * @core: tracker
 * @old: the old one
 *
 * A scan may find pages before SLUB or kmalloc() has set the flags that tell their use,
 * and make records of them. Then the first block that these hand out there has to
 * replace such a record.
 *
 * Context: any but NMI.
 * Return: whether @old was a block of pages; it has no records any more.
 */
bool kmt_pages_replaced(struct kmt_core *core, const struct kmt_object *old)
{
	const struct kmt_page_entries *t;
	struct kmt_page_entry *e;
	unsigned long pfn;
	u32 state = 0;

	if (!kmt_pages_tracked() || !kmt_is_page_record(old) ||
	    !kmt_in(&core->linear, old->addr))
		return false;
	pfn = page_to_pfn(virt_to_page((void *)old->addr));
	rcu_read_lock();
	e = find_entry(pfn, &t);
	if (e) {
		state = READ_ONCE(e->state);
		kmt_clear_record(e, pfn, state);
	}
	rcu_read_unlock();
	return state;
}

/*
 * A caller that splits pages may keep only the address of the first one, as
 * alloc_pages_exact() does. So the pages stay one block until one of them is freed.
 */
static void split(const struct page *page, unsigned long nr)
{
	const unsigned long pfn = page_to_pfn(page);
	struct kmt_page_entry *e, *first;
	const struct kmt_page_entries *t;
	unsigned long i;
	u32 state;

	rcu_read_lock();
	first = find_entry(pfn, &t);
	state = first ? READ_ONCE(first->state) : 0;
	if (state && !(state & (KMT_PE_SPLIT | KMT_PE_SPLIT_REST))) {
		state &= ~(KMT_PE_RECORD | KMT_PE_PFN_REF | KMT_PE_CHECKED |
			   KMT_PE_OTHER);
		nr = min(nr, BIT(order_of(state)));
		/* A scan may have set KMT_PE_RECORD since the state was read. */
		if (xchg(&first->state, state | KMT_PE_SPLIT) & KMT_PE_RECORD)
			kmt_drop_our_records(pfn);
		for (i = 1; i < nr && (e = entry_of(t, pfn + i)); i++) {
			WRITE_ONCE(e->trace, first->trace);
			WRITE_ONCE(e->pid, first->pid);
			WRITE_ONCE(e->born, first->born);
			/* Pairs with check_entry(), too. */
			smp_store_release(&e->state, state | KMT_PE_SPLIT_REST);
		}
	}
	rcu_read_unlock();
}

void kmemtrack_split_page(struct page *page, unsigned long nr)
{
	const unsigned long private = kmt_not_root_page(page) ? KMT_NOT_ROOT : 0;
	unsigned long i;

	for (i = 1; i < nr; i++)
		set_page_private(page + i, private);
	if (kmt_pages_tracked())
		split(page, nr);
}

/**
 * kmt_pages_order - get the order of a block of pages that has a record
 * @addr: address of its first byte, in the linear map
 *
 * Context: any but NMI.
 * Return: its order; -1 if no such block begins there; KMT_PAGES_SPLIT if it was split.
 */
int kmt_pages_order(unsigned long addr)
{
	const struct kmt_page_entries *t;
	const struct kmt_page_entry *e;
	u32 state = 0;

	if (!kmt_pages_tracked() || addr % PAGE_SIZE || !kmt_in(&kmt_core.linear, addr))
		return -1;
	rcu_read_lock();
	e = find_entry(page_to_pfn(virt_to_page((void *)addr)), &t);
	if (e)
		state = READ_ONCE(e->state);
	rcu_read_unlock();
	if (!(state & KMT_PE_RECORD))
		return -1;
	return state & KMT_PE_SPLIT ? KMT_PAGES_SPLIT : order_of(state);
}

/**
 * __kmt_pages_has_list - are a page's list links read together with its contents?
 * @page: page in use, not a tail page of a compound page
 *
 * Called for each page by each walk, also while all CPUs are stopped. Blocks that were
 * split may be large, so this does not look for their ends.
 *
 * Context: any but NMI.
 */
bool __kmt_pages_has_list(const struct page *page)
{
	const unsigned long pfn = page_to_pfn(page);
	const struct kmt_page_entries *t;
	const struct kmt_page_entry *e;
	unsigned long first = pfn;
	struct kmt_object o;
	u32 state = 0;

	rcu_read_lock();
	e = find_entry(pfn, &t);
	if (e)
		state = READ_ONCE(e->state);
	if (state & KMT_PE_SPLIT_REST) {
		first = ALIGN_DOWN(pfn, BIT(order_of(state)));
		e = entry_of(t, first);
		state = e ? READ_ONCE(e->state) : 0;
		if (!(state & KMT_PE_SPLIT))
			state = 0;
	}
	rcu_read_unlock();
	if (!(state & KMT_PE_RECORD))
		return false;
	/* The pages behind one that was freed are not in the record. */
	return first == pfn || (kmt_lookup(&kmt_core, KMT_VIRT, address_of(pfn), &o) &&
				o.addr == address_of(first));
}
