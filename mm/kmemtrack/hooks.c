// SPDX-License-Identifier: GPL-2.0
/*
 * The hooks behind the gates of <linux/kmemtrack.h>.
 */
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/kasan.h>
#include <linux/kmemtrack.h>
#include <linux/preempt.h>
#include <linux/vmalloc.h>

#include "glue.h"

/* Two references: the one of the area itself, and one that somebody keeps. */
#define KMT_VMALLOC_REFS	2

/* Of the hook that this is part of, like _RET_IP_. */
static __always_inline unsigned long frame_record(void)
{
	return (unsigned long)__builtin_frame_address(0);
}

static __always_inline bool simply_on(void)
{
	return !in_nmi() && READ_ONCE(kmt_state) == KMT_ON;
}

/*
 * NMI may have come in the middle of what the hooks do under their locks. The
 * allocators are not to be called there anyway.
 */
static noinline bool otherwise_admitted(void)
{
	if (in_nmi()) {
		kmt_event(&kmt_core, KMT_EV_LOST_NMI);
		return false;
	}
	return kmt_wake();
}

static __always_inline bool admitted(void)
{
	return likely(simply_on()) || otherwise_admitted();
}

static bool is_block(const void *ptr)
{
	return !IS_ERR_OR_NULL(ptr);
}

static unsigned long untagged(const void *ptr)
{
	return (unsigned long)kasan_reset_tag(ptr);
}

static u8 to_min(int min_count)
{
	if (min_count < 0)
		return KMT_MIN_BLACK;
	return min(min_count, KMT_MIN_BLACK - 1);
}

static __always_inline void insert(enum kmt_space space, unsigned long addr,
				   size_t size, u8 min,
				   const struct kmt_origin *origin, gfp_t gfp)
{
	if (unlikely(kmt_insert(&kmt_core, space, addr, size, min, origin,
				gfp) == -ENOMEM))
		WRITE_ONCE(kmt_sweep_untracked, true);
}

/* Before there are backtraces, or not at all. */
static noinline void track_early(enum kmt_space space, unsigned long addr,
				 size_t size, u8 min, gfp_t gfp)
{
	struct kmt_origin origin;

	if (!admitted())
		return;
	kmt_origin(&origin, 0, 0, gfp);
	insert(space, addr, size, min, &origin, gfp);
	if (READ_ONCE(kmt_state) == KMT_EARLY)
		kmt_note_early_use();
}

static __always_inline void track(enum kmt_space space, unsigned long addr,
				  size_t size, u8 min, gfp_t gfp)
{
	struct kmt_origin origin;

	if (unlikely(!simply_on())) {
		track_early(space, addr, size, min, gfp);
		return;
	}
	kmt_origin(&origin, frame_record(), _RET_IP_, gfp);
	insert(space, addr, size, min, &origin, gfp);
}

void __kmemtrack_alloc(const void *ptr, size_t size, int min_count, gfp_t gfp)
{
	if (is_block(ptr) && size)
		track(KMT_VIRT, untagged(ptr), size, to_min(min_count), gfp);
}
EXPORT_SYMBOL_GPL(__kmemtrack_alloc);

void __kmemtrack_alloc_percpu(const void __percpu *ptr, size_t size, gfp_t gfp)
{
	const void *p = (__force const void *)ptr;

	if (is_block(p) && size)
		track(KMT_PERCPU, (unsigned long)p, size, 1, gfp);
}
EXPORT_SYMBOL_GPL(__kmemtrack_alloc_percpu);

void __kmemtrack_alloc_phys(phys_addr_t phys, size_t size, gfp_t gfp)
{
	/* What does not fit in a word is high memory: never scanned. */
	if (phys <= ULONG_MAX - size)
		track(KMT_PHYS, phys, size, KMT_MIN_GREY, gfp);
}
EXPORT_SYMBOL(__kmemtrack_alloc_phys);

void __kmemtrack_vmalloc(const struct vm_struct *area, size_t size, gfp_t gfp)
{
	unsigned long addr;
	u8 refs;

	if (!is_block(area) || !admitted())
		return;
	addr = untagged(area->addr);
	/*
	 * References to the area beyond the first one count for the block. An
	 * area that is not tracked itself cannot be counted on to refer to it.
	 */
	refs = kmt_add_alias(&kmt_core, untagged(area), addr, gfp) ?
		KMT_VMALLOC_REFS : 1;
	track(KMT_VIRT, addr, size, refs, gfp);
}
EXPORT_SYMBOL_GPL(__kmemtrack_vmalloc);

void __kmemtrack_free(const void *ptr)
{
	if (is_block(ptr) && admitted())
		kmt_free(&kmt_core, KMT_VIRT, untagged(ptr));
}
EXPORT_SYMBOL_GPL(__kmemtrack_free);

void __kmemtrack_free_part(const void *ptr, size_t size)
{
	unsigned long addr = untagged(ptr);
	enum kmt_space space = KMT_VIRT;
	struct kmt_object o;

	if (!is_block(ptr) || !admitted())
		return;
	if (kmt_lookup(&kmt_core, KMT_ROOT, addr, &o))
		space = KMT_ROOT;
	kmt_free_part(&kmt_core, space, addr, size, GFP_NOWAIT);
}
EXPORT_SYMBOL_GPL(__kmemtrack_free_part);

void __kmemtrack_free_percpu(const void __percpu *ptr)
{
	const void *p = (__force const void *)ptr;

	if (is_block(p) && admitted())
		kmt_free(&kmt_core, KMT_PERCPU, (unsigned long)p);
}
EXPORT_SYMBOL_GPL(__kmemtrack_free_percpu);

void __kmemtrack_free_part_phys(phys_addr_t phys, size_t size)
{
	if (phys <= ULONG_MAX - size && admitted())
		kmt_free_part(&kmt_core, KMT_PHYS, phys, size, GFP_NOWAIT);
}
EXPORT_SYMBOL(__kmemtrack_free_part_phys);

void __kmemtrack_update_trace(const void *ptr)
{
	if (is_block(ptr) && admitted())
		kmt_set_stack(&kmt_core, KMT_VIRT, untagged(ptr),
			      kmt_stack_save(frame_record(), _RET_IP_,
					     GFP_NOWAIT));
}
EXPORT_SYMBOL(__kmemtrack_update_trace);

void __kmemtrack_not_leak(const void *ptr)
{
	if (is_block(ptr) && admitted())
		kmt_set_min(&kmt_core, KMT_VIRT, untagged(ptr), KMT_MIN_GREY);
}
EXPORT_SYMBOL(__kmemtrack_not_leak);

void __kmemtrack_transient_leak(const void *ptr)
{
	if (is_block(ptr) && admitted())
		kmt_set_flags(&kmt_core, KMT_VIRT, untagged(ptr),
			      KMT_TRANSIENT);
}
EXPORT_SYMBOL(__kmemtrack_transient_leak);

void __kmemtrack_ignore(const void *ptr)
{
	if (is_block(ptr) && admitted())
		kmt_set_min(&kmt_core, KMT_VIRT, untagged(ptr), KMT_MIN_BLACK);
}
EXPORT_SYMBOL(__kmemtrack_ignore);

void __kmemtrack_ignore_percpu(const void __percpu *ptr)
{
	const void *p = (__force const void *)ptr;

	if (is_block(p) && admitted())
		kmt_set_min(&kmt_core, KMT_PERCPU, (unsigned long)p,
			    KMT_MIN_BLACK);
}
EXPORT_SYMBOL_GPL(__kmemtrack_ignore_percpu);

void __kmemtrack_ignore_phys(phys_addr_t phys)
{
	if (phys <= ULONG_MAX && admitted())
		kmt_set_min(&kmt_core, KMT_PHYS, phys, KMT_MIN_BLACK);
}
EXPORT_SYMBOL(__kmemtrack_ignore_phys);

void __kmemtrack_scan_area(const void *ptr, size_t size, gfp_t gfp)
{
	if (is_block(ptr) && size && admitted())
		kmt_add_area(&kmt_core, untagged(ptr), size, gfp);
}
EXPORT_SYMBOL(__kmemtrack_scan_area);

void __kmemtrack_no_scan(const void *ptr)
{
	if (is_block(ptr) && admitted())
		kmt_set_flags(&kmt_core, KMT_VIRT, untagged(ptr), KMT_NO_SCAN);
}
EXPORT_SYMBOL(__kmemtrack_no_scan);
