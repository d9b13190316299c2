/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between the kernels this builds on. Those between architectures
 * are in arch/.
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

/* How to allocate for an allocation with @gfp: no harder than it tries. */
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

/* The highest order of pages; MAX_ORDER was one more. */
#ifndef MAX_PAGE_ORDER
#define MAX_PAGE_ORDER	(MAX_ORDER - 1)
#endif

/* Flags of a mapping whose pages may not be in the linear map. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define KMT_CLOSED_MAPPING	BIT(AS_INACCESSIBLE)
#else
#define KMT_CLOSED_MAPPING	0UL
#endif

/* Where work goes that is not bound to a CPU. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define kmt_unbound_wq	system_dfl_wq
#else
#define kmt_unbound_wq	system_unbound_wq
#endif

/* Pages that vmalloc() has taken. */
static inline unsigned long kmt_vmalloc_pages(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	return global_node_page_state(NR_VMALLOC);
#else
	return vmalloc_nr_pages();
#endif
}

/* Low bits of page->mapping: it is no struct address_space. */
#ifndef PAGE_MAPPING_FLAGS
#define PAGE_MAPPING_ANON	FOLIO_MAPPING_ANON
#define PAGE_MAPPING_FLAGS	FOLIO_MAPPING_FLAGS
/* KSM's bit, which never is alone: no mapping says that memory is movable. */
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

/* Whether a page is of zsmalloc, which gives it no mapping to be known by. */
static inline bool kmt_page_of_zsmalloc(struct page *head)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return PageZsmalloc(head);
#else
	return false;
#endif
}

#ifdef CONFIG_MODULES
/* Where the text of a module is, or its __init text: [@start, @end). */
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
 * KASAN keeps freed objects from being used again for a while; for SLUB they
 * are not free yet. Its marks of them are known to nobody else.
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

/* Linear-map addresses, now and after memory hotplug. */
static inline void kmt_linear_map(unsigned long *lo, unsigned long *hi)
{
	*lo = PAGE_OFFSET;
	*hi = KMT_LINEAR_END;
}

/*
 * Where there is no page, there is none up to the next multiple of the first;
 * where there is one, there are pages up to the next multiple of the second.
 */
#ifdef CONFIG_SPARSEMEM
#define KMT_HOLE_PAGES	PAGES_PER_SECTION
#define KMT_PAGES_ALIKE	min(pageblock_nr_pages, PAGES_PER_SUBSECTION)
#else
#define KMT_HOLE_PAGES	1UL
#define KMT_PAGES_ALIKE	pageblock_nr_pages
#endif

/* Pages from this one on, of the largest order, wait for the host's consent. */
static inline bool kmt_page_is_unaccepted(const struct page *page)
{
#if defined(CONFIG_UNACCEPTED_MEMORY) && \
	LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	return PageUnaccepted(page);
#else
	return false;
#endif
}

/* Pages of each entry in the @index-th list of free pages of a CPU, as order. */
static inline unsigned int kmt_pcp_order(unsigned int index)
{
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	if (index >= NR_LOWORDER_PCP_LISTS)
		return LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0) ?
			HPAGE_PMD_ORDER : pageblock_order;
#endif
	return index / MIGRATE_PCPTYPES;
}

/* Instead of flags of an allocation: no memory may be got. */
#define KMT_GFP_NONE	((__force gfp_t)0)

/*
 * Keeps a trace. With KMT_GFP_NONE there is a handle only for one that is known,
 * or for which the depot has room.
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

/* The same for one that was taken outside of interrupts, and has none in it. */
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

/* Where pages come from that are given out one by one, and used as one. */
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
 * Whether the return addresses on the current task's stack are what they were:
 * no tracer has put its own in place of one.
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
