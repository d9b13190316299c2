/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kmemtrack: leak detector for kernel memory.
 *
 * The allocators, and code that annotates its memory, include
 * <linux/kmemleak.h>. With CONFIG_KMEMTRACK that header takes the functions
 * kmemleak_*() from here. Each is a static branch, which is patched out while
 * tracking is off, and a call behind it. The functions kmemtrack_*() have no
 * counterpart in kmemleak.
 */
#ifndef _LINUX_KMEMTRACK_H
#define _LINUX_KMEMTRACK_H

#include <linux/gfp_types.h>
#include <linux/init.h>
#include <linux/jump_label.h>
#include <linux/kconfig.h>
#include <linux/mmzone.h>
#include <linux/slab.h>
#include <linux/types.h>

struct page;
struct task_struct;
struct vm_struct;

#ifdef CONFIG_KMEMTRACK

/* True from the start: memblock reports each block only once, in early boot. */
DECLARE_STATIC_KEY_TRUE(kmemtrack_key);

/* True while pages of the page allocator are tracked. */
DECLARE_STATIC_KEY_FALSE(kmemtrack_pages_key);

/* The hooks stay out of line of the allocators even when the key is true. */
#define kmemtrack_tracking() static_branch_unlikely(&kmemtrack_key)

/* Flag of a cache that must not be merged, so that its name identifies it. */
#define KMEMTRACK_APART SLAB_NO_MERGE

void __init kmemtrack_alloc_early(void);
void __init kmemleak_init(void);
void __kmemtrack_alloc(const void *ptr, size_t size, int min_count, gfp_t gfp);
void __kmemtrack_alloc_rounded(const void *ptr, size_t size, size_t requested,
			       gfp_t gfp);
void __kmemtrack_resize(const void *ptr, size_t requested);
void __kmemtrack_alloc_percpu(const void __percpu *ptr, size_t size, gfp_t gfp);
void __kmemtrack_alloc_phys(phys_addr_t phys, size_t size, gfp_t gfp);
void __kmemtrack_vmalloc(const struct vm_struct *area, size_t size, gfp_t gfp);
void __kmemtrack_free(const void *ptr);
void __kmemtrack_free_part(const void *ptr, size_t size);
void __kmemtrack_free_percpu(const void __percpu *ptr);
void __kmemtrack_free_part_phys(phys_addr_t phys, size_t size);
void __kmemtrack_pages_alloc(struct page *page, unsigned int order, gfp_t gfp);
void __kmemtrack_pages_free(struct page *page);
void __kmemtrack_update_trace(const void *ptr);
void __kmemtrack_not_leak(const void *ptr);
void __kmemtrack_transient_leak(const void *ptr);
void __kmemtrack_ignore(const void *ptr);
void __kmemtrack_ignore_percpu(const void __percpu *ptr);
void __kmemtrack_ignore_phys(phys_addr_t phys);
void __kmemtrack_scan_area(const void *ptr, size_t size, gfp_t gfp);
void __kmemtrack_no_scan(const void *ptr);

/**
 * kmemleak_alloc - a block was allocated
 * @ptr: the block; NULL and error pointers are ignored
 * @size: its bytes
 * @min_count: number of references below which it is a leak, 1 for most blocks;
 *	0: the block is a root, never a leak; -1: the block is ignored: never a leak,
 *	and not read
 * @gfp: flags of the allocation
 *
 * Context: any in which @gfp allows to allocate; refused in NMI.
 */
static __always_inline void kmemleak_alloc(const void *ptr, size_t size,
					   int min_count, gfp_t gfp)
{
	if (kmemtrack_tracking())
		__kmemtrack_alloc(ptr, size, min_count, gfp);
}

/**
 * kmemleak_alloc_recursive - kmemleak_alloc() for objects of a cache
 * @ptr: the object
 * @size: its bytes
 * @min_count: as for kmemleak_alloc()
 * @flags: flags of the cache; with SLAB_NOLEAKTRACE its objects are not tracked
 * @gfp: flags of the allocation
 *
 * The static branch is tested first, so that @flags are not tested while it is
 * patched out.
 */
static __always_inline void
kmemleak_alloc_recursive(const void *ptr, size_t size, int min_count,
			 slab_flags_t flags, gfp_t gfp)
{
	if (kmemtrack_tracking() && !(flags & SLAB_NOLEAKTRACE))
		__kmemtrack_alloc(ptr, size, min_count, gfp);
}

/**
 * kmemleak_alloc_percpu - a per-CPU block was allocated
 * @ptr: as alloc_percpu() returns it
 * @size: bytes for one CPU
 * @gfp: flags of the allocation
 */
static __always_inline void
kmemleak_alloc_percpu(const void __percpu *ptr, size_t size, gfp_t gfp)
{
	if (kmemtrack_tracking())
		__kmemtrack_alloc_percpu(ptr, size, gfp);
}

/**
 * kmemleak_alloc_phys - a block of physical memory was allocated
 * @phys: its address
 * @size: its bytes
 * @gfp: flags of the allocation
 *
 * The block is a root: never a leak, and neither are the blocks that it refers to.
 */
static __always_inline void
kmemleak_alloc_phys(phys_addr_t phys, size_t size, gfp_t gfp)
{
	if (kmemtrack_tracking())
		__kmemtrack_alloc_phys(phys, size, gfp);
}

/**
 * kmemleak_vmalloc - a vmalloc block was allocated
 * @area: its area; excess references to the area count as references to the block
 * @size: bytes of the block
 * @gfp: flags of the allocation
 */
static __always_inline void
kmemleak_vmalloc(const struct vm_struct *area, size_t size, gfp_t gfp)
{
	if (kmemtrack_tracking())
		__kmemtrack_vmalloc(area, size, gfp);
}

/**
 * kmemleak_free - a block is about to be freed
 * @ptr: the block; NULL and error pointers are ignored
 *
 * Context: any; refused in NMI.
 */
static __always_inline void kmemleak_free(const void *ptr)
{
	if (kmemtrack_tracking())
		__kmemtrack_free(ptr);
}

/**
 * kmemleak_free_recursive - kmemleak_free() for objects of a cache
 * @ptr: the object
 * @flags: flags of the cache
 */
static __always_inline void
kmemleak_free_recursive(const void *ptr, slab_flags_t flags)
{
	if (kmemtrack_tracking() && !(flags & SLAB_NOLEAKTRACE))
		__kmemtrack_free(ptr);
}

/**
 * kmemleak_free_part - part of a block is about to be freed
 * @ptr: first byte of the part
 * @size: its bytes
 */
static __always_inline void kmemleak_free_part(const void *ptr, size_t size)
{
	if (kmemtrack_tracking())
		__kmemtrack_free_part(ptr, size);
}

/**
 * kmemleak_free_percpu - a per-CPU block is about to be freed
 * @ptr: as alloc_percpu() returned it
 */
static __always_inline void
kmemleak_free_percpu(const void __percpu *ptr)
{
	if (kmemtrack_tracking())
		__kmemtrack_free_percpu(ptr);
}

/**
 * kmemleak_free_part_phys - physical memory is about to be freed
 * @phys: first byte
 * @size: its bytes
 */
static __always_inline void
kmemleak_free_part_phys(phys_addr_t phys, size_t size)
{
	if (kmemtrack_tracking())
		__kmemtrack_free_part_phys(phys, size);
}

/**
 * kmemleak_update_trace - replace a block's backtrace by that of the caller
 * @ptr: an address in the block
 */
static __always_inline void kmemleak_update_trace(const void *ptr)
{
	if (kmemtrack_tracking())
		__kmemtrack_update_trace(ptr);
}

/**
 * kmemleak_not_leak - a block is no leak though nothing seems to refer to it
 * @ptr: an address in the block
 *
 * The block is a root from now on, so the blocks that it refers to are no leaks
 * either.
 */
static __always_inline void kmemleak_not_leak(const void *ptr)
{
	if (kmemtrack_tracking())
		__kmemtrack_not_leak(ptr);
}

/**
 * kmemleak_transient_leak - a block is without references for a moment
 * @ptr: an address in the block
 *
 * The next scan does not report it.
 */
static __always_inline void kmemleak_transient_leak(const void *ptr)
{
	if (kmemtrack_tracking())
		__kmemtrack_transient_leak(ptr);
}

/**
 * kmemleak_ignore - a block is no leak and holds no references
 * @ptr: an address in the block
 */
static __always_inline void kmemleak_ignore(const void *ptr)
{
	if (kmemtrack_tracking())
		__kmemtrack_ignore(ptr);
}

/**
 * kmemleak_ignore_percpu - as kmemleak_ignore(), for a per-CPU block
 * @ptr: a per-CPU pointer into the block
 */
static __always_inline void kmemleak_ignore_percpu(const void __percpu *ptr)
{
	if (kmemtrack_tracking())
		__kmemtrack_ignore_percpu(ptr);
}

/**
 * kmemleak_ignore_phys - physical memory holds no references
 * @phys: an address in the block
 */
static __always_inline void kmemleak_ignore_phys(phys_addr_t phys)
{
	if (kmemtrack_tracking())
		__kmemtrack_ignore_phys(phys);
}

/**
 * kmemleak_scan_area - only the parts of a block that this is called for can hold
 *			 references
 * @ptr: first byte of the part
 * @size: its bytes, SIZE_MAX for all up to the end of the block
 * @gfp: flags to allocate memory for the annotation with
 */
static __always_inline void
kmemleak_scan_area(const void *ptr, size_t size, gfp_t gfp)
{
	if (kmemtrack_tracking())
		__kmemtrack_scan_area(ptr, size, gfp);
}

/**
 * kmemleak_no_scan - a block holds no references
 * @ptr: an address in the block
 */
static __always_inline void kmemleak_no_scan(const void *ptr)
{
	if (kmemtrack_tracking())
		__kmemtrack_no_scan(ptr);
}

/**
 * kmemleak_erase - overwrite a pointer that must not look like a reference
 * @ptr: the pointer
 */
static inline void kmemleak_erase(void **ptr)
{
	*ptr = NULL;
}

/**
 * kmemtrack_not_root - pages hold no references
 * @addr: address of one or more pages of the page allocator, or NULL; the owner does
 *	not use page_private() of the first one
 *
 * The annotation stays until the pages are freed, whether tracking is on or not.
 */
void kmemtrack_not_root(const void *addr);

/**
 * kmemtrack_not_root_page - as kmemtrack_not_root(), for pages that may have no address
 * @page: the first page, which may be high memory
 */
void kmemtrack_not_root_page(struct page *page);

/**
 * kmemtrack_unreadable - pages are handed to an owner that does not let the kernel
 *			  read them, such as a hypervisor
 * @addr: address of pages of the page allocator, or NULL; their owner does not use
 *	page_private() of any of them
 * @size: bytes
 *
 * The annotation stays until kmemtrack_readable(), whether tracking is on or not.
 */
void kmemtrack_unreadable(const void *addr, size_t size);

/**
 * kmemtrack_readable - such pages were handed back, and are about to be freed
 * @addr: their address
 * @size: bytes
 *
 * This call is mandatory: the page allocator resets page_private() only of the first
 * page of a block that it gives out.
 */
void kmemtrack_readable(const void *addr, size_t size);

/**
 * kmemtrack_wants_cleared - should the page allocator clear these pages?
 * @order: how many, as a power of two
 * @gfp: flags of their allocation
 *
 * Their stale contents could look like references. Movable pages and gigantic ones need not
 * be cleared, since they are not read for references.
 */
static __always_inline bool kmemtrack_wants_cleared(unsigned int order, gfp_t gfp)
{
	return kmemtrack_tracking() && !(gfp & __GFP_MOVABLE) &&
	       1UL << order <= MAX_ORDER_NR_PAGES;
}

/**
 * kmemtrack_alloc_rounded - a block was allocated which is larger than what was asked for
 * @ptr: the block; NULL and error pointers are ignored
 * @size: its bytes
 * @requested: bytes that were asked for, at most @size
 * @gfp: flags of the allocation
 *
 * All of the block is read for references, and a pointer to any of it is one: callers of
 * ksize() and krealloc() use all of it. Reports show what was asked for, too.
 *
 * Context: as kmemleak_alloc(), with a @min_count of 1.
 */
static __always_inline void kmemtrack_alloc_rounded(const void *ptr, size_t size,
						    size_t requested, gfp_t gfp)
{
	if (kmemtrack_tracking())
		__kmemtrack_alloc_rounded(ptr, size, requested, gfp);
}

/**
 * kmemtrack_resize - krealloc() leaves a block where it is
 * @ptr: the block
 * @requested: bytes that are asked for now
 *
 * Context: as kmemleak_alloc().
 */
static __always_inline void kmemtrack_resize(const void *ptr, size_t requested)
{
	if (kmemtrack_tracking())
		__kmemtrack_resize(ptr, requested);
}

/**
 * kmemtrack_pages_alloc - the page allocator hands out pages
 * @page: the first of them
 * @order: how many, as a power of two
 * @gfp: flags of the allocation
 *
 * Context: any, also with the lock of a CPU's list of free pages held.
 */
static __always_inline void kmemtrack_pages_alloc(struct page *page,
						  unsigned int order, gfp_t gfp)
{
	if (static_branch_unlikely(&kmemtrack_pages_key))
		__kmemtrack_pages_alloc(page, order, gfp);
}

/**
 * kmemtrack_pages_free - pages are about to be freed
 * @page: the first of them
 * @order: how many, as a power of two
 *
 * Context: as kmemtrack_pages_alloc().
 */
static __always_inline void kmemtrack_pages_free(struct page *page,
						 unsigned int order)
{
	if (static_branch_unlikely(&kmemtrack_pages_key))
		__kmemtrack_pages_free(page);
}

/**
 * kmemtrack_split_page - pages that were allocated as one block become single pages
 * @page: the first of them
 * @nr: how many there are
 *
 * The page allocator resets page_private() of the first one only, so that of the
 * others may be stale: this resets it. If the first one holds no references, see
 * kmemtrack_not_root(), this says the same of the others.
 */
void kmemtrack_split_page(struct page *page, unsigned long nr);

/**
 * kmemtrack_stack - a task was given a stack
 * @task: the task, whose stack and stack_vm_area are set
 *
 * From now on only the part of the stack that is in use is read, while the task exists.
 */
void kmemtrack_stack(const struct task_struct *task);

#else /* !CONFIG_KMEMTRACK */

#define kmemtrack_tracking() false
#define KMEMTRACK_APART 0

static inline void kmemtrack_alloc_early(void) { }
static inline void kmemtrack_not_root(const void *addr) { }
static inline void kmemtrack_not_root_page(struct page *page) { }
static inline void kmemtrack_unreadable(const void *addr, size_t size) { }
static inline void kmemtrack_readable(const void *addr, size_t size) { }
static inline bool kmemtrack_wants_cleared(unsigned int order, gfp_t gfp)
{
	return false;
}

static inline void kmemtrack_alloc_rounded(const void *ptr, size_t size,
					   size_t requested, gfp_t gfp) { }
static inline void kmemtrack_resize(const void *ptr, size_t requested) { }
static inline void kmemtrack_split_page(struct page *page, unsigned long nr) { }
static inline void kmemtrack_pages_alloc(struct page *page, unsigned int order,
					 gfp_t gfp) { }
static inline void kmemtrack_pages_free(struct page *page,
					unsigned int order) { }
static inline void kmemtrack_stack(const struct task_struct *task) { }

#endif /* CONFIG_KMEMTRACK */

#endif /* _LINUX_KMEMTRACK_H */
