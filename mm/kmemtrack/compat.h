/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between kernel versions. Those between architectures are in arch/.
 */
#ifndef _KMT_COMPAT_H
#define _KMT_COMPAT_H

#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/kasan.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/processor.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/shrinker.h>
#include <linux/stackdepot.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include "core/env.h"

/* Flags for an allocation within one with @gfp: it must not try harder than that. */
static inline gfp_t kmt_nested_gfp(gfp_t gfp)
{
	return (gfp & (GFP_KERNEL | GFP_ATOMIC)) |
	       __GFP_NORETRY | __GFP_NOMEMALLOC | __GFP_NOWARN;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
#define kmt_splice_read	copy_splice_read
#else
#define kmt_splice_read	generic_file_splice_read
#endif

static inline int
kmt_register_shrinker(const char *name,
		      unsigned long (*count)(struct shrinker *s,
					     struct shrink_control *sc),
		      unsigned long (*scan)(struct shrinker *s,
					    struct shrink_control *sc))
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	struct shrinker *s = shrinker_alloc(0, "%s", name);

	if (!s)
		return -ENOMEM;
#else
	static struct shrinker shrinker = { .seeks = DEFAULT_SEEKS };
	struct shrinker *s = &shrinker;
#endif

	s->count_objects = count;
	s->scan_objects = scan;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_register(s);
	return 0;
#else
	return register_shrinker(s, "%s", name);
#endif
}

/* The largest order of the page allocator; MAX_ORDER was one more. */
#ifndef MAX_PAGE_ORDER
#define MAX_PAGE_ORDER	(MAX_ORDER - 1)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
#define stack_depot_request_early_init	stack_depot_want_early_init
#endif

/* Flags of a mapping whose pages may not be in the linear map. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define KMT_CLOSED_MAPPING	BIT(AS_INACCESSIBLE)
#else
#define KMT_CLOSED_MAPPING	0UL
#endif

/* The workqueue for work that is not bound to a CPU. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define kmt_unbound_wq	system_dfl_wq
#else
#define kmt_unbound_wq	system_unbound_wq
#endif

/* Number of pages of vmalloc(). */
static inline unsigned long kmt_vmalloc_pages(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	return global_node_page_state(NR_VMALLOC);
#else
	return vmalloc_nr_pages();
#endif
}

/* Low bits of page->mapping that say that it is no struct address_space. */
#ifndef PAGE_MAPPING_FLAGS
#define PAGE_MAPPING_FLAGS	FOLIO_MAPPING_FLAGS
/* KSM's bit, which is never set alone: here no mapping means movable memory. */
#define PAGE_MAPPING_MOVABLE	FOLIO_MAPPING_ANON_KSM
#endif

/* Whether a page is in use; @head is its compound_head(). */
static inline bool kmt_page_in_use(struct page *head)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	/* Slabs and large kmalloc() blocks have no reference count. */
	if (PageSlab(head) || PageLargeKmalloc(head))
		return true;
#endif
	return page_count(head);
}

/* Whether a page is zsmalloc's, which has no mapping to recognise it by. */
static inline bool kmt_page_of_zsmalloc(struct page *head)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return PageZsmalloc(head);
#else
	return false;
#endif
}

#ifdef CONFIG_MODULES
/* Sets [@start, @end) to the text of a module, or with @init to its __init text. */
static inline void kmt_module_text(const struct module *mod, bool init,
				   unsigned long *start, unsigned long *end)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	const struct module_memory *mem =
		&mod->mem[init ? MOD_INIT_TEXT : MOD_TEXT];

	*start = (unsigned long)mem->base;
	*end = *start + mem->size;
#else
	const struct module_layout *mem =
		init ? &mod->init_layout : &mod->core_layout;

	*start = (unsigned long)mem->base;
	*end = *start + mem->text_size;
#endif
}
#endif

/*
 * KASAN keeps freed objects in quarantine for a while; SLUB has them in use until
 * then. Only KASAN's shadow tells: 0xfa and 0xfb are private to mm/kasan.
 */
static inline bool kmt_in_quarantine(unsigned long object)
{
#ifdef CONFIG_KASAN_GENERIC
	u8 mark = *(u8 *)kasan_mem_to_shadow((void *)object);

	return mark == 0xfa || mark == 0xfb;
#else
	return false;
#endif
}

/*
 * If a page frame has no struct page, there is none up to the next multiple of
 * KMT_HOLE_PAGES. If it has one, the page frames up to the next multiple of
 * KMT_PAGES_ALIKE have one, too.
 */
#ifdef CONFIG_SPARSEMEM
#define KMT_HOLE_PAGES	PAGES_PER_SECTION
#define KMT_PAGES_ALIKE	min(pageblock_nr_pages, PAGES_PER_SUBSECTION)
#else
#define KMT_HOLE_PAGES	1UL
#define KMT_PAGES_ALIKE	pageblock_nr_pages
#endif

/* Whether this page begins a block of the largest order that is not accepted yet. */
static inline bool kmt_page_is_unaccepted(const struct page *page)
{
#if defined(CONFIG_UNACCEPTED_MEMORY) && \
	LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	return PageUnaccepted(page);
#else
	return false;
#endif
}

/* The order of the entries in the @index-th list of free pages of a CPU. */
static inline unsigned int kmt_pcp_order(unsigned int index)
{
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	if (index >= NR_LOWORDER_PCP_LISTS)
		return LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0) ?
			HPAGE_PMD_ORDER : pageblock_order;
#endif
	return index / MIGRATE_PCPTYPES;
}

/* Instead of flags of an allocation: do not allocate. */
#define KMT_GFP_NONE	((__force gfp_t)0)

/*
 * Saves a trace in the stack depot. With KMT_GFP_NONE this returns a handle only if
 * the depot has the trace already, or room for it.
 */
static inline depot_stack_handle_t
kmt_depot_save_any(unsigned long *entries, unsigned int nr, gfp_t gfp)
{
	const bool can_alloc = gfp != KMT_GFP_NONE;

#ifdef STACK_DEPOT_FLAG_CAN_ALLOC
	return stack_depot_save_flags(entries, nr, gfp,
				      can_alloc ? STACK_DEPOT_FLAG_CAN_ALLOC : 0);
#else
	return __stack_depot_save(entries, nr, 0, gfp, can_alloc);
#endif
}

/* As kmt_depot_save_any(), for a trace without frames of an interrupt. */
static inline depot_stack_handle_t
kmt_depot_save(unsigned long *entries, unsigned int nr, gfp_t gfp)
{
#ifdef STACK_DEPOT_FLAG_NO_IRQ
	depot_flags_t flags = STACK_DEPOT_FLAG_NO_IRQ;

	if (gfp != KMT_GFP_NONE)
		flags |= STACK_DEPOT_FLAG_CAN_ALLOC;
	return stack_depot_save_flags(entries, nr, gfp, flags);
#else
	return kmt_depot_save_any(entries, nr, gfp);
#endif
}

/*
 * A number that grows with the time when a trace was first kept: a handle has the number
 * of a pool of the depot and the place in the pool, and both grow.
 */
static inline u32 kmt_trace_order(u32 handle)
{
#ifdef DEPOT_POOL_INDEX_BITS
	const union handle_parts parts = { .handle = handle };

	return (u32)parts.pool_index_plus_1 << DEPOT_OFFSET_BITS | parts.offset;
#else
	/* As the union of that name, which is in lib/stackdepot.c. */
	const unsigned int place_bits = PAGE_SHIFT - 2;
	const unsigned int pool_bits = 31 - place_bits - STACK_DEPOT_EXTRA_BITS;
	const u32 pools = BIT(pool_bits) - 1, places = BIT(place_bits) - 1;

#ifdef __BIG_ENDIAN_BITFIELD
	return (handle >> (32 - pool_bits) & pools) << place_bits |
	       (handle >> (32 - pool_bits - place_bits) & places);
#else
	return (handle & pools) << place_bits | (handle >> pool_bits & places);
#endif
#endif
}

/* The function that allocates single pages which are used as one block. */
#ifdef CONFIG_CONTIG_ALLOC
#ifdef alloc_contig_range
#define KMT_ALLOC_CONTIG	((unsigned long)alloc_contig_range_noprof)
#else
#define KMT_ALLOC_CONTIG	((unsigned long)alloc_contig_range)
#endif
#else
#define KMT_ALLOC_CONTIG	0UL
#endif

/*
 * Whether all return addresses on the current task's stack are genuine: no tracer has
 * replaced one with its own.
 */
static inline bool kmt_true_returns(void)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	if (current->ret_stack)
		return false;
#endif
#ifdef CONFIG_KRETPROBES
	if (current->kretprobe_instances.first)
		return false;
#endif
#ifdef CONFIG_RETHOOK
	if (current->rethooks.first)
		return false;
#endif
	return true;
}

#endif /* _KMT_COMPAT_H */
