// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that the kernel allocates for itself from the page allocator: pages=track.
 *
 * A table has an entry for each page of memory, in which the hook of the page allocator notes
 * what allocated it. Each scan makes records in the core for the blocks whose use is not
 * known, and for their struct pages, references to which count for the block. Before such a
 * block becomes a leak, all memory is searched for its page frame numbers. See "Pages that
 * are tracked" in kmemtrack-design.rst.
 *
 * Locking: the state of an entry is changed with atomic operations. The hooks use the
 * table under RCU. All other code holds kmt_scan_mutex, which keeps the table, or
 * kmt_reports_sem.
 */
#include <linux/kallsyms.h>
#include <linux/kasan.h>
#include <linux/kernfs.h>
#include <linux/kfence.h>
#include <linux/kmemtrack.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pgtable.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/stackdepot.h>
#include <linux/string.h>

#include "../slab.h"
#include "page_entry.h"
#include "policy.h"
#include "report.h"

/* Written under kmt_scan_mutex. */
static struct kmt_pages_usage usage;

/*
 * Functions that allocate pages for which it is undecidable whether they are lost. Their
 * addresses are in the backtraces of these pages; 0 for a function that the kernel lacks.
 */
static const unsigned long undecidable_code[] = {
	/* The pages are allocated one by one, and used as one block. */
	KMT_ALLOC_CONTIG,
	/* Only page tables refer to the pages. */
#ifdef CONFIG_KASAN_VMALLOC
	(unsigned long)kasan_populate_vmalloc,
#endif
#ifdef CONFIG_MEMORY_HOTPLUG
	(unsigned long)__add_pages,
#endif
	/*
	 * Page tables. Many of their struct pages are not marked as such, and the
	 * table that refers to one may be of early boot, which no mark or search reads.
	 */
#ifdef CONFIG_MMU
	(unsigned long)__pte_alloc_kernel,
#endif
#ifndef __PAGETABLE_PMD_FOLDED
	(unsigned long)__pmd_alloc,
#endif
#ifndef __PAGETABLE_PUD_FOLDED
	(unsigned long)__pud_alloc,
#endif
#ifndef __PAGETABLE_P4D_FOLDED
	(unsigned long)__p4d_alloc,
#endif
};

/* The range of addresses of each of them; set under kmt_scan_mutex. */
static struct kmt_range undecidable[ARRAY_SIZE(undecidable_code)];

/* Set if one of these ranges is not known: then all pages are undecidable. */
static bool code_unknown;

/* The table; the caller holds kmt_scan_mutex or kmt_reports_sem. */
static struct kmt_page_entries *table_locked(void)
{
	return rcu_dereference_protected(kmt_tracked_pages,
					 lockdep_is_held(&kmt_scan_mutex) ||
					 lockdep_is_held(&kmt_reports_sem));
}

/*
 * Returns the first entry in use from page *@pfn on, and sets *@pfn to its page; returns
 * NULL if there is none.
 */
static struct kmt_page_entry *next_entry(const struct kmt_page_entries *t,
					 unsigned long *pfn)
{
	while (*pfn < t->lo + (t->nr << KMT_PE_PART_SHIFT)) {
		struct kmt_page_entry *e = entry_of(t, *pfn);

		if (e && READ_ONCE(e->state))
			return e;
		if (!(*pfn % KMT_PE_PART_PAGES))
			cond_resched();
		*pfn = e ? *pfn + 1 : ALIGN(*pfn + 1, KMT_PE_PART_PAGES);
	}
	return NULL;
}

#define for_each_entry(e, pfn, t)					\
	for (pfn = (t)->lo; (e = next_entry(t, &pfn)); pfn++)

/*
 * Whether the use of a page is known from its struct page or from the map of excluded pages,
 * or the page must not be read. The use of the page may change later.
 */
static bool is_other(struct page *page, unsigned long pfn,
		     const struct kmt_page_map *map)
{
	if (PageTail(page) || PageBuddy(page) || !kmt_page_in_use(page))
		return true;
	if (PageSlab(page) || PageTable(page) || PageGuard(page) ||
	    PageLRU(page) || READ_ONCE(page->mapping) ||
	    kmt_page_of_zsmalloc(page))
		return true;
	if (kmt_is_own_page(page) || kmt_not_root_page(page) ||
	    kmt_in_stack_page(page) || kmt_page_unreadable(page))
		return true;
	return kmt_page_excluded(map, pfn);
}

/* Whether another allocator made a record for a block at a page: kmalloc() does. */
static bool has_other_record(struct page *page, u32 state)
{
	struct kmt_object o;
	unsigned long addr;

	if ((state & KMT_PE_RECORD) || PageHighMem(page))
		return false;
	addr = kmt_untag((unsigned long)page_address(page));
	return kmt_lookup(&kmt_core, KMT_VIRT, addr, &o) && o.addr == addr;
}

static bool in_undecidable(u32 trace)
{
	unsigned long *pc;
	unsigned int i, n, nr = stack_depot_fetch(trace, &pc);

	for (i = 0; i < nr; i++)
		for (n = 0; n < ARRAY_SIZE(undecidable); n++)
			/* A return address may be right after the function's end. */
			if (kmt_in(&undecidable[n], pc[i] - 1))
				return true;
	return false;
}

/* Whether one of the pages has a type, or is mapped by a process. */
static bool is_typed(struct page *page, unsigned long nr)
{
	for (; nr--; page++)
		if (atomic_read(&page->_mapcount) != -1 || PageReserved(page) ||
		    PageHWPoison(page))
			return true;
	return false;
}

/* Whether a mark and a search can decide if anything refers to a block. */
static bool is_decidable(const struct kmt_page_entries *t, unsigned long pfn,
			 unsigned long end, u32 state, u32 trace)
{
	struct page *page = pfn_to_page(pfn);

	/* Pages of high memory have no address, so no record. */
	if (PageHighMem(page) || (state & KMT_PE_SPLIT_REST))
		return false;
	/*
	 * CMA hands out several blocks as one, and its user refers only to the first
	 * one. Pages of KFENCE belong to its pool.
	 */
	if (is_migrate_cma_page(page) || is_kfence_address(page_address(page)))
		return false;
	/* Without a backtrace the pages may be from an undecidable function. */
	if (!trace || code_unknown || in_undecidable(trace))
		return false;
	return !is_typed(page, end - pfn);
}

/*
 * Whether @o is the record that add_records() made, but could not finish: as
 * kmt_is_page_record(), or the first area was lost for lack of memory. kmalloc() may have
 * put its record there meanwhile.
 */
static bool is_unfinished(const struct kmt_object *o)
{
	return kmt_space(o) == KMT_VIRT && (o->flags & (KMT_AREAS | KMT_WHOLE)) &&
	       !((o->addr | o->size) % PAGE_SIZE);
}

/* Makes the records of a block; the caller holds a reference to its first page. */
static bool add_records(const struct kmt_page_entry *e, unsigned long pfn,
			unsigned long nr, u32 state)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN;
	const unsigned long addr = address_of(pfn), at = struct_of(pfn);
	struct kmt_origin origin = {
		.trace = READ_ONCE(e->trace), .pid_slack = READ_ONCE(e->pid),
		.born = READ_ONCE(e->born), .comm = state >> KMT_PE_COMM_SHIFT,
	};
	struct kmt_core *core = &kmt_core;
	unsigned long lists, bytes;

	if (kmt_insert_unless_taken(core, KMT_VIRT, addr, nr * PAGE_SIZE, 1,
				    &origin, gfp))
		return false;
	origin.trace = 0;
	origin.comm = 0;
	if (!kmt_add_area(core, addr, SIZE_MAX, gfp) ||
	    kmt_insert_unless_taken(core, KMT_VIRT, at,
				    nr * sizeof(struct page), KMT_MIN_BLACK,
				    &origin, gfp))
		goto drop;
	/* Each page of a block that was split may be on a list. */
	lists = at + offsetof(struct page, lru);
	bytes = sizeof(struct list_head);
	if (state & KMT_PE_SPLIT)
		bytes += (nr - 1) * sizeof(struct page);
	if (kmt_add_alias(core, at, addr, gfp) &&
	    kmt_add_outer_area(core, addr, lists, bytes, gfp))
		return true;
	kmt_free(core, KMT_VIRT, at);
drop:
	kmt_free_if(core, addr, is_unfinished);
	return false;
}

/*
 * Sets KMT_PE_RECORD, and makes the records of a block without any. A reference to its
 * first page keeps it from being freed, and from getting another use, until its entry
 * says that it has records.
 */
static bool set_record(const struct kmt_page_entries *t, struct kmt_page_entry *e,
		       unsigned long pfn, unsigned long end, u32 state)
{
	struct page *page = pfn_to_page(pfn);
	bool done = false;

	if (!get_page_unless_zero(page))
		return false;
	if (READ_ONCE(e->state) == state &&
	    add_records(e, pfn, end - pfn, state)) {
		done = cmpxchg(&e->state, state, state | KMT_PE_RECORD) == state;
		/* If the block was split meanwhile, or a page of it freed, undo it. */
		if (!done)
			kmt_drop_our_records(pfn);
		else if (end_of(t, pfn, state) != end)
			done = !kmt_clear_record(e, pfn, state | KMT_PE_RECORD);
	}
	put_page(page);
	return done;
}

/* Clears KMT_PE_PFN_REF: the block is no root until the next search finds a number again. */
static void clear_pfn_ref(struct kmt_page_entry *e, unsigned long pfn, u32 state)
{
	struct kmt_object o;

	if (cmpxchg(&e->state, state, state & ~KMT_PE_PFN_REF) == state &&
	    kmt_lookup(&kmt_core, KMT_VIRT, address_of(pfn), &o) &&
	    o.min_refs == KMT_MIN_GREY)
		kmt_set_min(&kmt_core, KMT_VIRT, o.addr, 1);
}

/* Sets or clears KMT_PE_OTHER; returns the new state, or 0 if the entry has changed. */
static u32 set_other(struct kmt_page_entry *e, u32 state, bool other)
{
	const u32 new = (state & ~KMT_PE_OTHER) | KMT_PE_CHECKED |
			(other ? KMT_PE_OTHER : 0);
	const u32 was = new == state ? state : cmpxchg(&e->state, state, new);

	return was == state ? new : 0;
}

/* Limits the age of an entry, as kmt_limit_ages() does for records. */
static void limit_age(struct kmt_page_entry *e)
{
	const u32 born = READ_ONCE(e->born), limited = kmt_limit_age(born, jiffies);

	if (limited != born)
		cmpxchg(&e->born, born, limited);
}

/* Whether the page before is of the same block that was split, and was not freed. */
static bool has_before(const struct kmt_page_entries *t, unsigned long pfn, u32 state)
{
	const struct kmt_page_entry *e = entry_of(t, pfn - 1);
	const u32 before = e ? READ_ONCE(e->state) : 0;

	return (state & KMT_PE_SPLIT_REST) &&
	       (before & (KMT_PE_SPLIT | KMT_PE_SPLIT_REST)) &&
	       !((before ^ state) & KMT_PE_ORDER);
}

static void check_entry(const struct kmt_page_entries *t, struct kmt_page_entry *e,
			unsigned long pfn, const struct kmt_page_map *map,
			bool add)
{
	/* Pairs with kmt_pages_add(): the other fields were stored before. */
	u32 state = smp_load_acquire(&e->state);
	unsigned long end;
	struct page *page;
	bool other;

	/* The page was freed meanwhile. */
	if (!(state & KMT_PE_ORDER))
		return;
	page = pfn_to_online_page(pfn);
	other = !page || is_other(page, pfn, map) || has_other_record(page, state);
	if (add && (state & KMT_PE_PFN_REF)) {
		clear_pfn_ref(e, pfn, state);
		state &= ~KMT_PE_PFN_REF;
	}
	if (other && (state & KMT_PE_RECORD)) {
		kmt_clear_record(e, pfn, state);
		state &= ~(KMT_PE_RECORD | KMT_PE_PFN_REF);
	}
	state = set_other(e, state, other);
	if (!state || other)
		return;
	limit_age(e);
	if (has_before(t, pfn, state))
		return;
	end = end_of(t, pfn, state);
	usage.blocks++;
	usage.pages += end - pfn;
	if (add && !(state & KMT_PE_RECORD) &&
	    is_decidable(t, pfn, end, state, READ_ONCE(e->trace)) &&
	    set_record(t, e, pfn, end, state))
		state |= KMT_PE_RECORD;
	usage.records += !!(state & KMT_PE_RECORD);
	usage.pfn_refs += !!(state & KMT_PE_PFN_REF);
}

/* Checks the use of all pages; the map of excluded pages is filled. */
static void check_all(const struct kmt_page_map *map, bool add)
{
	const struct kmt_page_entries *t = table_locked();
	unsigned long pfn;
	struct kmt_page_entry *e;

	usage.blocks = 0;
	usage.pages = 0;
	usage.records = 0;
	usage.pfn_refs = 0;
	for_each_entry(e, pfn, t) {
		check_entry(t, e, pfn, map, add);
		cond_resched();
	}
}

/**
 * kmt_pages_check_use - determine the use of all tracked pages
 * @m: marker, which does not mark yet
 * @roots: roots, with a map of excluded pages; without memory for the map nothing changes
 * @add: for a scan: make records of blocks without a known use, and search for their page
 *	numbers anew
 *
 * Context: kmt_scan_mutex held, may sleep; before a mark.
 */
void kmt_pages_check_use(struct kmt_marker *m, struct kmt_roots *roots, bool add)
{
	lockdep_assert_held(&kmt_scan_mutex);
	if (!kmt_pages_tracked() || !roots->map.blocks)
		return;
	/*
	 * handles.c replaces backtraces of entries, and then those of records. So a record
	 * is made of an entry either before both, or with the new backtrace.
	 */
	down_read(&kmt_reports_sem);
	get_online_mems();
	kmt_roots_fill(m, roots);
	if (!m->stopped)
		check_all(&roots->map, add);
	put_online_mems();
	up_read(&kmt_reports_sem);
}

/**
 * kmt_pages_refresh - as kmt_pages_check_use(), outside of a scan, without making records
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_pages_refresh(void)
{
	struct kmt_mark_entry stack;
	struct kmt_roots roots = {};
	struct kmt_marker *m;

	if (!kmt_pages_tracked())
		return;
	m = kmt_own_alloc(GFP_KERNEL, 0);
	if (!m)
		return;
	kmt_marker_init(m, &kmt_core, &stack, 1, NULL);
	kmt_roots_init(&roots);
	kmt_pages_check_use(m, &roots, false);
	kmt_roots_free(&roots);
	kmt_own_free(m, 0);
}

/**
 * kmt_pages_for_each - call a function for the backtraces of pages
 * @fn: see kmt_reports_for_each()
 * @arg: for @fn
 *
 * Context: kmt_reports_sem held for writing, may sleep.
 */
void kmt_pages_for_each(void (*fn)(void *arg, u32 *trace, u16 comm), void *arg)
{
	const struct kmt_page_entries *t;
	unsigned long pfn;
	struct kmt_page_entry *e;

	lockdep_assert_held_write(&kmt_reports_sem);
	t = table_locked();
	if (!t)
		return;
	for_each_entry(e, pfn, t) {
		const u32 trace = READ_ONCE(e->trace);
		u32 with = trace;

		fn(arg, &with, READ_ONCE(e->state) >> KMT_PE_COMM_SHIFT);
		/* With an equal handle, even another block is from the same code. */
		if (with != trace)
			cmpxchg(&e->trace, trace, with);
		cond_resched();
	}
}

/**
 * kmt_pages_count - call a function for each block of pages, as checked last
 * @fn: called with the backtrace, the bytes and the time of allocation of each
 * @arg: for @fn
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: false if the task is being killed.
 */
bool kmt_pages_count(void (*fn)(void *arg, u32 trace, unsigned long bytes,
				u32 born), void *arg)
{
	const struct kmt_page_entries *t = table_locked();
	unsigned long pfn, end;
	struct kmt_page_entry *e;

	if (!t)
		return true;
	for_each_entry(e, pfn, t) {
		const u32 state = READ_ONCE(e->state);

		cond_resched();
		if (fatal_signal_pending(current))
			return false;
		if (!(state & KMT_PE_ORDER))
			continue;
		end = end_of(t, pfn, state);
		if ((state & (KMT_PE_CHECKED | KMT_PE_OTHER)) == KMT_PE_CHECKED)
			fn(arg, READ_ONCE(e->trace), (end - pfn) * PAGE_SIZE,
			   READ_ONCE(e->born));
		pfn = end - 1;
	}
	return true;
}

/**
 * kmt_get_pages_usage - get figures on tracked pages
 * @now: filled in, as their use was checked last
 *
 * Context: any; the numbers may be of different times.
 */
void kmt_get_pages_usage(struct kmt_pages_usage *now)
{
	/* A reader must not wait for a running scan. */
	*now = data_race(usage);
}

/*
 * Search for numbers that may refer to pages.
 */

/**
 * struct page_search - a search for numbers
 * @m: marker, which reads memory
 * @base: start of the block that is being read; 0 if no block is
 * @end: its end
 * @t: table
 * @nodes: slab cache of kernfs nodes; NULL if it is not known
 * @bits: a bit for each page; set if the page is searched for
 * @lo: number of the page with the first bit
 * @hi: one past the page with the last bit
 */
struct page_search {
	struct kmt_marker m;
	unsigned long base;
	unsigned long end;
	const struct kmt_page_entries *t;
	const struct kmem_cache *nodes;
	unsigned long *bits;
	unsigned long lo;
	unsigned long hi;
};

/* The first page of the block, with records, that contains page @pfn. */
static unsigned long first_of(const struct kmt_page_entries *t, unsigned long pfn)
{
	unsigned int order;

	for (order = 0; order <= MAX_PAGE_ORDER; order++) {
		const unsigned long first = ALIGN_DOWN(pfn, BIT(order));
		const struct kmt_page_entry *e = entry_of(t, first);
		const u32 state = e ? READ_ONCE(e->state) : 0;

		if ((state & KMT_PE_RECORD) && pfn < end_of(t, first, state))
			return first;
	}
	return pfn;
}

/* Whether @at is in the block itself, or the block has no records any more. */
static bool is_within(const struct kmt_page_entries *t, unsigned long first,
		      unsigned long at)
{
	const unsigned long addr = address_of(first);
	const u32 state = READ_ONCE(entry_of(t, first)->state);

	if (!(state & KMT_PE_RECORD))
		return true;
	return at - addr < (end_of(t, first, state) - first) * PAGE_SIZE;
}

/* Sets KMT_PE_PFN_REF for the block of page @pfn, which the word at @at may refer to. */
static void set_pfn_ref(struct page_search *h, unsigned long pfn,
			unsigned long at)
{
	const unsigned long first = first_of(h->t, pfn);
	struct kmt_page_entry *e = entry_of(h->t, first);
	u32 state;

	if (is_within(h->t, first, at))
		return;
	state = READ_ONCE(e->state);
	if (!(state & KMT_PE_RECORD) || (state & KMT_PE_PFN_REF) ||
	    cmpxchg(&e->state, state, state | KMT_PE_PFN_REF) != state)
		return;
	kmt_set_min(&kmt_core, KMT_VIRT, address_of(first), KMT_MIN_GREY);
	usage.pfn_refs++;
}

static bool is_searched(const struct page_search *h, unsigned long pfn)
{
	return pfn - h->lo < h->hi - h->lo && test_bit(pfn - h->lo, h->bits);
}

/*
 * Whether there is a block at @addr, the first byte of a page: a block with a record, or any
 * slab while objects without a record may exist, since the first object of a slab begins
 * with a page.
 */
static bool has_block(unsigned long addr)
{
	struct kmt_object o;

	if (kmt_lookup(&kmt_core, KMT_VIRT, addr, &o))
		return true;
	return READ_ONCE(kmt_untracked_slabs) &&
	       virt_addr_valid((void *)addr) &&
	       pfn_to_online_page(PHYS_PFN(__pa(addr))) &&
	       PageSlab(virt_to_head_page((void *)addr));
}

/*
 * Handles an address right after the end of pages. If there is a block, the word is taken
 * for a reference to that block.
 */
static void try_end(struct page_search *h, unsigned long word, unsigned long at)
{
	unsigned long pfn;

	if (word % PAGE_SIZE || !virt_addr_valid((void *)(word - 1)))
		return;
	pfn = PHYS_PFN(__pa(word - 1));
	if (!is_searched(h, pfn) ||
	    is_within(h->t, first_of(h->t, pfn), word) || has_block(word))
		return;
	set_pfn_ref(h, pfn, at);
}

/*
 * Whether the word at @at, the number of chain @nr, is in a table of hash chains, of which
 * [@lo, @hi) is a part. The words around this one are the heads of the chains beside it:
 * numbers, of which there are two at least, or addresses.
 */
static bool is_in_nulls_table(unsigned long lo, unsigned long hi, unsigned long at,
			      unsigned long nr)
{
	const unsigned long place = (at - lo) / sizeof(long);
	const unsigned long last = (hi - lo) / sizeof(long) - 1;
	unsigned long i, word, numbers = 0;

	for (i = place - min(place, 4UL); i <= min(place + 4, last); i++) {
		if (!kmt_env_read(&word, lo + i * sizeof(long), sizeof(word)))
			return false;
		if (word == ((nr - place + i) << 1 | 1))
			numbers++;
		else if (!kmt_in(&kmt_core.linear, kmt_untag(word)))
			return false;
	}
	return numbers > 2;
}

/*
 * Whether a word is the head of an empty hash chain of type hlist_nulls, which holds the
 * number of the chain, shifted, and 1. A table without a record begins with a page.
 */
static bool is_nulls(const struct page_search *h, unsigned long word,
		     unsigned long at)
{
	const unsigned long page = ALIGN_DOWN(at, PAGE_SIZE);
	const unsigned long nr = word >> 1;

	if (!(word & 1) || !at)
		return false;
	if (h->base)
		return (at - h->base) / sizeof(long) == nr &&
		       is_in_nulls_table(h->base, h->end, at, nr);
	return !((nr - (at - page) / sizeof(long)) % (PAGE_SIZE / sizeof(long))) &&
	       is_in_nulls_table(page, page + PAGE_SIZE, at, nr);
}

/*
 * Finds the slab cache of kernfs nodes, which stays. Objects of a cache that is merged with
 * it may hold the number of a page where a node has its own.
 */
static const struct kmem_cache *find_nodes(void)
{
	const struct kmem_cache *cache, *found = NULL;

	mutex_lock(&slab_mutex);
	list_for_each_entry(cache, &slab_caches, list)
		if (!strcmp(cache->name, "kernfs_node_cache") && cache->refcount == 1)
			found = cache;
	mutex_unlock(&slab_mutex);
	return found;
}

/*
 * Whether the word at @at is the number of a kernfs node. These count up from 1: sysfs of a
 * small machine has all numbers up to some thousands.
 */
static bool is_node_number(const struct page_search *h, unsigned long at)
{
	struct page *page;
	unsigned long offset;

	if (!h->nodes || !virt_addr_valid((void *)at))
		return false;
	page = virt_to_head_page((void *)at);
	if (!PageSlab(page) || READ_ONCE(((struct slab *)page)->slab_cache) != h->nodes)
		return false;
	offset = (at - kmt_untag((unsigned long)page_address(page))) % h->nodes->size;
	offset -= h->nodes->red_left_pad + offsetof(struct kernfs_node, id);
	return offset < sizeof_field(struct kernfs_node, id);
}

static void try_word(struct page_search *h, unsigned long raw, unsigned long at)
{
	const unsigned long word = kmt_untag(raw);
	unsigned long pfn;

	/*
	 * Marks follow addresses in the linear map, so these are no numbers. But such an
	 * address may point right after the end of pages.
	 */
	if (kmt_in(&kmt_core.linear, word) || word == kmt_core.linear.hi) {
		try_end(h, word, at);
		return;
	}
	/* The number of the first page. */
	if (is_searched(h, raw) && first_of(h->t, raw) == raw &&
	    !is_nulls(h, raw, at) && !is_node_number(h, at))
		set_pfn_ref(h, raw, at);
	pfn = PHYS_PFN(raw);
	if (is_searched(h, pfn))
		set_pfn_ref(h, pfn, at);
	/* A page table entry; kernel addresses may look like one, so exclude them. */
	if (sizeof(pte_t) != sizeof(raw) ||
	    (BITS_PER_LONG == 64 && raw >> (BITS_PER_LONG - 8) == 0xff))
		return;
	pfn = pte_pfn(__pte(raw));
	if (is_searched(h, pfn))
		set_pfn_ref(h, pfn, at);
}

static void try_words(struct kmt_marker *m, const unsigned long *words,
		      unsigned int nr, unsigned long at)
{
	struct page_search *h = container_of(m, struct page_search, m);

	for (; nr--; words++, at += at ? sizeof(long) : 0)
		if (*words)
			try_word(h, *words, at);
}

/* Sets the bits of the pages of a block if it is a suspect; else returns false. */
static bool add_to_search(struct page_search *h, unsigned long pfn, u32 state)
{
	const unsigned long end = end_of(h->t, pfn, state);
	struct kmt_object o;

	if (!kmt_lookup(&kmt_core, KMT_VIRT, address_of(pfn), &o) ||
	    (o.flags & (KMT_SUSPECT | KMT_LEAK)) != KMT_SUSPECT)
		return false;
	for (; pfn < end; pfn++)
		__set_bit(pfn - h->lo, h->bits);
	return true;
}

static bool seek_suspects(struct page_search *h)
{
	const struct kmt_page_entry *e;
	unsigned long pfn;
	bool any = false;

	for_each_entry(e, pfn, h->t) {
		const u32 state = READ_ONCE(e->state);

		if (!kmt_go_on(&h->m))
			return false;
		if (state & KMT_PE_RECORD)
			any |= add_to_search(h, pfn, state);
	}
	return any;
}

/* Reads page tables, which marks do not read. */
static void read_tables(struct page_search *h)
{
	unsigned long pfn = h->lo;

	while (pfn < h->hi && kmt_go_on(&h->m)) {
		struct page *page = pfn_to_online_page(pfn);

		if (!page) {
			pfn = ALIGN(pfn + 1, KMT_HOLE_PAGES);
			continue;
		}
		pfn++;
		if (PageTable(page) && !PageHighMem(page) &&
		    !kmt_page_unreadable(page)) {
			const unsigned long at =
				kmt_untag((unsigned long)page_address(page));

			kmt_mark_range(&h->m, at, at + PAGE_SIZE);
		}
	}
}

/* Reads all blocks, even suspects: a page table may be reachable from them only. */
static void read_objects(struct page_search *h)
{
	struct kmt_object *o, copy;
	struct kmt_chunk *chunk;

	kmt_walk_cells(&h->m, chunk, o) {
		if (!(READ_ONCE(o->flags) & KMT_LIVE) || !kmt_go_on(&h->m) ||
		    !kmt_copy_object(&kmt_core, o, &copy))
			continue;
		h->base = kmt_space(&copy) == KMT_PHYS ?
			  kmt_env_phys(copy.addr) : copy.addr;
		h->end = h->base + copy.size;
		if (kmt_is_read(&copy))
			kmt_handle_object(&h->m, o, &copy);
	}
	h->base = 0;
}

static void read_all(struct page_search *h, const struct kmt_roots *from)
{
	struct kmt_roots roots = *from;

	h->nodes = find_nodes();
	roots.exact_later = false;
	kmt_mark_stacks(&h->m, &roots);
	kmt_mark_memory(&h->m, &roots);
	read_tables(h);
	read_objects(h);
}

static size_t bitmap_bytes(const struct page_search *h)
{
	return BITS_TO_LONGS(h->hi - h->lo) * sizeof(long);
}

/**
 * kmt_pages_search - search for page numbers that may refer to suspects
 * @m: marker of the scan; stopped if the scan must be given up
 * @roots: its roots, as they were filled last
 *
 * Searches all memory that marks read, all blocks and all page tables for page frame
 * numbers of the first pages of such blocks, for physical addresses of any of their pages,
 * and for addresses right after their end.
 * A block for which it finds one is a root for the rest of the scan. Leaks that an
 * earlier scan reported are not searched for.
 *
 * Context: kmt_scan_mutex held, may sleep; takes as long as a mark if there are such
 *	suspects.
 * Return: 1 if it made any roots: then suspects must be determined again; 0 if none;
 *	-ENOMEM: without memory for the search no leak can be confirmed.
 */
int kmt_pages_search(struct kmt_marker *m, const struct kmt_roots *roots)
{
	const unsigned int order = get_order(sizeof(struct page_search));
	const unsigned long before = usage.pfn_refs;
	struct kmt_mark_entry stack;
	struct page_search *h;
	int ret = 0;

	lockdep_assert_held(&kmt_scan_mutex);
	if (!kmt_pages_tracked())
		return 0;
	h = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO, order);
	if (!h)
		return -ENOMEM;
	h->t = table_locked();
	h->lo = h->t->lo;
	h->hi = h->lo + (h->t->nr << KMT_PE_PART_SHIFT);
	kmt_marker_init(&h->m, &kmt_core, &stack, 1, NULL);
	kmt_marker_hand_over(&h->m, try_words);
	h->bits = kmt_own_vzalloc(bitmap_bytes(h));
	/* A search reads struct pages at each step. */
	get_online_mems();
	if (!h->bits)
		ret = -ENOMEM;
	else if (seek_suspects(h))
		read_all(h, roots);
	put_online_mems();
	kmt_own_vfree(h->bits, bitmap_bytes(h));
	if (h->m.stopped)
		m->stopped = true;
	kmt_own_free(h, order);
	return ret ?: usage.pfn_refs != before;
}

/*
 * Switching on and off.
 */

static bool has_memory(unsigned long pfn)
{
	const unsigned long end = pfn + KMT_PE_PART_PAGES;

	for (; pfn < end; pfn += kmt_piece(pfn, end, KMT_PAGES_ALIKE))
		if (pfn_to_online_page(pfn))
			return true;
	return false;
}

static size_t table_bytes(const struct kmt_page_entries *t)
{
	return struct_size(t, part, t->nr);
}

static void free_table(struct kmt_page_entries *t)
{
	unsigned long i;

	for (i = 0; i < t->nr; i++) {
		kmt_own_vfree(t->part[i], KMT_PE_PART_BYTES);
		cond_resched();
	}
	kmt_own_vfree(t, table_bytes(t));
	memset(&usage, 0, sizeof(usage));
}

static struct kmt_page_entries *alloc_table(void)
{
	unsigned long lo = ULONG_MAX, hi = 0, i;
	struct zone *zone;
	struct kmt_page_entries *t;

	for_each_populated_zone(zone) {
		lo = min(lo, zone->zone_start_pfn);
		hi = max(hi, zone_end_pfn(zone));
	}
	lo = ALIGN_DOWN(lo, KMT_PE_PART_PAGES);
	i = DIV_ROUND_UP(hi - lo, KMT_PE_PART_PAGES);
	t = kmt_own_vzalloc(struct_size(t, part, i));
	if (!t)
		return NULL;
	t->lo = lo;
	t->nr = i;
	usage.bytes = table_bytes(t);
	for (i = 0; i < t->nr; i++) {
		if (!has_memory(lo + i * KMT_PE_PART_PAGES))
			continue;
		t->part[i] = kmt_own_vzalloc(KMT_PE_PART_BYTES);
		if (!t->part[i]) {
			free_table(t);
			return NULL;
		}
		usage.bytes += KMT_PE_PART_BYTES;
	}
	return t;
}

static void find_undecidable(void)
{
	unsigned long start, size, offset;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(undecidable); i++) {
		start = undecidable_code[i];
		if (!start)
			continue;
		if (kallsyms_lookup_size_offset(start, &size, &offset))
			undecidable[i] = (struct kmt_range){ start, start + size };
		else
			code_unknown = true;
	}
}

/**
 * kmt_pages_on - track pages that are allocated from now on
 *
 * Context: kmt_scan_mutex held, may sleep; tracking is on.
 * Return: 0, or -ENOMEM.
 */
int kmt_pages_on(void)
{
	struct kmt_page_entries *t;

	lockdep_assert_held(&kmt_scan_mutex);
	if (kmt_pages_tracked())
		return 0;
	find_undecidable();
	get_online_mems();
	t = alloc_table();
	put_online_mems();
	if (!t)
		return -ENOMEM;
	/*
	 * The hooks are switched on one by one. Pages whose allocation calls a hook
	 * already could be freed where the hook is not called yet. So no pages are
	 * noted before each CPU executes both hooks.
	 */
	static_branch_enable(&kmemtrack_pages_key);
	synchronize_rcu();
	rcu_assign_pointer(kmt_tracked_pages, t);
	return 0;
}

/**
 * kmt_pages_off - stop tracking pages, and forget them
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_pages_off(void)
{
	struct kmt_page_entries *t = table_locked();
	struct kmt_page_entry *e;
	unsigned long pfn;

	lockdep_assert_held(&kmt_scan_mutex);
	if (!t)
		return;
	/* The hooks note frees until the last record is dropped; no scan makes others. */
	for_each_entry(e, pfn, t) {
		kmt_clear_record(e, pfn, READ_ONCE(e->state));
		cond_resched();
	}
	/* Under kmt_reports_sem, since backtraces in the table may be being replaced. */
	down_read(&kmt_reports_sem);
	RCU_INIT_POINTER(kmt_tracked_pages, NULL);
	up_read(&kmt_reports_sem);
	static_branch_disable(&kmemtrack_pages_key);
	synchronize_rcu();
	free_table(t);
}
