// SPDX-License-Identifier: GPL-2.0
/*
 * The hooks: functions behind the static branches of <linux/kmemtrack.h>.
 */
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/kfence.h>
#include <linux/kmemtrack.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/vmalloc.h>

#include "../slab.h"
#include "pages.h"
#include "core/fastpath.h"
#include "recent.h"

/* References that a vmalloc block needs: that of its vm_struct, and one more. */
#define KMT_VMALLOC_REFS	2

/*
 * Returns the address of the frame record of the hook that this is inlined into. A walk
 * by steps assumes that the caller's frame begins right above that record. If the
 * compiler has aligned the hook's frame, it does not. That is known at compile time:
 * this returns 0 then, and the unwinder takes the trace.
 */
static __always_inline unsigned long frame_record(void)
{
	unsigned long fp = (unsigned long)__builtin_frame_address(0) -
			   KMT_RECORD_BELOW;

/* Sparse does not know __builtin_dwarf_cfa(). */
#if KMT_STEPS && !defined(__CHECKER__)
	unsigned long cfa = (unsigned long)__builtin_dwarf_cfa();

	/* Clang takes the frame address for it on ARM. */
	if (KMT_FP_UNKNOWN)
		return IS_ENABLED(CONFIG_CC_IS_GCC) ? cfa - sizeof(struct kmt_record) : 0;
	if (unlikely(cfa != fp + sizeof(struct kmt_record)))
		return 0;
#endif
	return fp;
}

static __always_inline bool is_tracking(void)
{
	return !in_nmi() && READ_ONCE(kmt_mode) == KMT_ON;
}

/*
 * Returns whether a hook may track, if is_tracking() is false. In early boot the first hook
 * starts tracking. In NMI hooks are refused: the NMI may have interrupted a hook that holds
 * a lock. Allocators must not be called there anyway.
 */
static noinline bool may_track_slow(void)
{
	if (in_nmi()) {
		kmt_count_event(&kmt_core, KMT_EV_LOST_NMI);
		/* If a block was allocated, it may hold the only reference to another. */
		kmt_set_untracked();
		return false;
	}
	return kmt_may_track_early();
}

static __always_inline bool may_track(void)
{
	return likely(is_tracking()) || may_track_slow();
}

/* Excludes NULL, error pointers, and what can only be a mistake of the caller. */
static bool is_block(const void *ptr)
{
	return (unsigned long)ptr >= KMT_LEAST_ADDRESS && !IS_ERR(ptr);
}

/* A per-CPU pointer may be below all kernel addresses. */
static bool is_percpu_block(const void __percpu *ptr)
{
	return !IS_ERR_OR_NULL((__force const void *)ptr);
}

static unsigned long untagged(const void *ptr)
{
	return kmt_untag((unsigned long)ptr);
}

/* Pointers into per-CPU chunks in vmalloc space have the tag of the chunk. */
static unsigned long untagged_percpu(const void __percpu *ptr)
{
	return kmt_untag((__force unsigned long)ptr);
}

static u8 to_min(int min_count)
{
	if (min_count < 0)
		return KMT_MIN_BLACK;
	return min(min_count, KMT_MIN_MAX);
}

/* Counts a block that got no record; @err is the result for the record. */
static void count_lost(int err, gfp_t gfp)
{
	if (unlikely(err == -ENOMEM))
		kmt_count_lost(gfp);
}

/* Tracks any block, the slow way. Context: any, also early boot. */
static noinline void track_any(enum kmt_space space, unsigned long addr,
			       size_t size, u32 slack, u8 min_refs, gfp_t gfp,
			       unsigned long fp, unsigned long caller)
{
	struct kmt_origin origin;
	int pin;

	if (!may_track())
		return;
	pin = kmt_pin_names();
	/* The backtrace is 0 in early boot. */
	kmt_fill_origin(&origin, fp, caller, gfp);
	origin.pid_slack = kmt_pid_slack(origin.pid_slack, slack);
	count_lost(kmt_insert(&kmt_core, space, addr, size, min_refs, &origin,
			      gfp), gfp);
	kmt_unpin_names(pin);
	if (READ_ONCE(kmt_mode) == KMT_EARLY)
		kmt_update_early_use();
}

/*
 * Tracks a block of a shard if another CPU holds its lock, if this CPU remembers no cells,
 * if a record or a wide block may overlap the block, or if there is no free cell.
 */
static noinline bool track_slowly(struct kmt_core *core, unsigned long addr,
				  unsigned long size, gfp_t gfp,
				  unsigned long flags, u64 where, u32 born,
				  u16 comm)
{
	const struct kmt_origin origin = kmt_origin_of(where, born, comm);
	int pin = kmt_pin_names();

	local_irq_restore(flags);
	count_lost(kmt_insert(&kmt_core, KMT_VIRT, addr, size, 1, &origin,
			      gfp), gfp);
	kmt_unpin_names(pin);
	return true;
}

/* Tracks a block that gets a record which this CPU does not remember. */
static noinline bool track_new_record(struct kmt_core *core, unsigned long addr,
				      unsigned long size, gfp_t gfp,
				      struct kmt_tree *shard,
				      unsigned long flags,
				      u64 where, u32 born, u16 comm)
	__releases(&shard->lock)
{
	const struct kmt_origin origin = kmt_origin_of(where, born, comm);

	if (likely(kmt_track_new(&kmt_core, shard, addr, size, 1, &origin)))
		local_irq_restore(flags);
	else
		track_slowly(core, addr, size, gfp, flags, where, born, comm);
	return true;
}

static const struct kmt_track_rest rest = { track_new_record, track_slowly };

/*
 * Tracks a block of a shard if this CPU does not remember the backtrace (@trace is 0)
 * or the task's name. There are no shards in early boot.
 */
static noinline void track_new_origin(unsigned long addr, size_t size, u32 slack,
				      gfp_t gfp, u32 trace, unsigned long fp,
				      unsigned long caller)
{
	struct kmt_origin origin = { .pid_slack = kmt_pid_slack(current->pid, slack) };
	unsigned long flags;

	if (!may_track())
		return;
	origin.trace = trace ?: kmt_trace_save_new(fp, caller, gfp);
	local_irq_save(flags);
	if (kmt_is_shut(&kmt_core)) {
		local_irq_restore(flags);
		return;
	}
	origin.comm = kmt_task_comm();
	origin.born = jiffies;
	kmt_track_vacant(&kmt_core, addr, size, gfp, flags, &origin, &rest);
}

/*
 * For nearly all allocations this CPU remembers the backtrace, and the place has a
 * vacant record. Addresses that no shard covers go to track_any(), but for NULL and error
 * pointers. While tracking is off no CPU remembers a backtrace, so the fast path is not
 * taken. in_task() also excludes NMI.
 */
static __always_inline void track(const void *ptr, size_t size, size_t requested,
				  int min_count, gfp_t gfp)
{
	unsigned long addr = untagged(ptr), flags;
	struct kmt_origin origin;

	if (kmt_is_sharded(&kmt_core, addr, size) && likely(min_count == 1) &&
	    likely(in_task())) {
		/* kmalloc() rounds up to less than twice of what it is asked for. */
		u32 slack = size - requested;

		if (unlikely(size > KMT_SLACK_EXACT)) {
			/* Else compilers compute the code of small blocks, too. */
			barrier();
			slack = kmt_slack_code(size, requested);
		}

		local_irq_save(flags);
		if (unlikely(!kmt_origin_recent(&origin, frame_record()))) {
			local_irq_restore(flags);
			track_new_origin(addr, size, slack, gfp, origin.trace,
					 frame_record(), _RET_IP_);
		} else {
			origin.pid_slack = kmt_pid_slack(origin.pid_slack, slack);
			kmt_track_vacant(&kmt_core, addr, size, gfp, flags, &origin,
					 &rest);
		}
		return;
	}
	if (is_block(ptr) && size)
		track_any(KMT_VIRT, addr, size, kmt_slack_code(size, requested),
			  to_min(min_count), gfp, frame_record(), _RET_IP_);
}

void __kmemtrack_alloc(const void *ptr, size_t size, int min_count, gfp_t gfp)
{
	track(ptr, size, size, min_count, gfp);
}
EXPORT_SYMBOL_GPL(__kmemtrack_alloc);

void __kmemtrack_alloc_rounded(const void *ptr, size_t size, size_t requested,
			       gfp_t gfp)
{
	track(ptr, size, requested, 1, gfp);
}
EXPORT_SYMBOL_GPL(__kmemtrack_alloc_rounded);

void __kmemtrack_alloc_percpu(const void __percpu *ptr, size_t size, gfp_t gfp)
{
	if (is_percpu_block(ptr) && size)
		track_any(KMT_PERCPU_SPACE, untagged_percpu(ptr), size, 0, 1, gfp,
			  frame_record(), _RET_IP_);
}
EXPORT_SYMBOL_GPL(__kmemtrack_alloc_percpu);

void __kmemtrack_alloc_phys(phys_addr_t phys, size_t size, gfp_t gfp)
{
	/* A block beyond a word has no address in the linear map, and is not read as a block. */
	if (phys <= ULONG_MAX - size)
		track_any(KMT_PHYS, phys, size, 0, KMT_MIN_GREY, gfp, frame_record(),
			  _RET_IP_);
}
EXPORT_SYMBOL(__kmemtrack_alloc_phys);

void __kmemtrack_vmalloc(const struct vm_struct *area, size_t size, gfp_t gfp)
{
	unsigned long addr;
	u8 refs;

	if (!is_block(area) || !may_track())
		return;
	addr = untagged(area->addr);
	/*
	 * Excess references to the area, beyond the first, count for the block.
	 * An area without a record may not be read, so do not expect its
	 * reference to the block.
	 */
	refs = kmt_add_alias(&kmt_core, untagged(area), addr, gfp) ?
		KMT_VMALLOC_REFS : 1;
	track_any(KMT_VIRT, addr, size, 0, refs, gfp, frame_record(), _RET_IP_);
}
EXPORT_SYMBOL_GPL(__kmemtrack_vmalloc);

/* The size of the block of vmalloc() at @addr; 0 where its lock may not be taken. */
static unsigned long mapped_size(unsigned long addr)
{
	struct vm_struct *area;

	if (!in_task() || (IS_ENABLED(CONFIG_PREEMPT_RT) && !preemptible()))
		return 0;
	area = find_vm_area((void *)addr);
	return area && untagged(area->addr) == addr ? get_vm_area_size(area) : 0;
}

/*
 * The size of the block at @addr according to its allocator; 0 if no block begins there.
 * The caller is about to free the block, so it cannot be freed meanwhile.
 */
static unsigned long allocated_size(unsigned long addr)
{
	void *p = (void *)addr;
	struct kmem_cache *cache;
	struct folio *folio;

	if (is_vmalloc_or_module_addr(p))
		return mapped_size(addr);
	if (!virt_addr_valid(p))
		return 0;
	if (is_kfence_address(p))
		return kfence_object_start(p) == p ? kfence_ksize(p) : 0;
	folio = virt_to_folio(p);
	if (!folio_test_slab(folio))
		return untagged(folio_address(folio)) == addr ? folio_size(folio) : 0;
	cache = READ_ONCE(folio_slab(folio)->slab_cache);
	return nearest_obj(cache, folio_slab(folio), p) == p ? cache->object_size : 0;
}

/*
 * Called when a block without a record is freed: its owner may have dropped the record
 * and reported parts of the block instead.
 */
static void free_parts(unsigned long addr)
{
	unsigned long size = allocated_size(addr);

	if (kmt_free_within(&kmt_core, addr, size, GFP_NOWAIT) && kmt_page_map_live() &&
	    is_vmalloc_or_module_addr((void *)addr))
		kmt_page_map_drop(addr, size);
}

/*
 * Frees a block in vmalloc space. A scan may use the map of the pages behind blocks: either
 * it does not meet the record any more, or this sees its map, after the lock of the tree.
 */
static noinline bool free_mapped(unsigned long addr)
{
	struct kmt_object o;
	bool tracked = kmt_lookup(&kmt_core, KMT_VIRT, addr, &o) &&
		       o.addr == addr;

	tracked = kmt_free_slowly(&kmt_core, KMT_VIRT, addr) && tracked;
	if (tracked && unlikely(kmt_page_map_live()))
		kmt_page_map_drop(addr, o.size);
	return tracked;
}

/* Handles any pointer and any state of tracking. */
static noinline void free_slowly(const void *ptr)
{
	unsigned long addr = untagged(ptr);
	bool tracked;

	if (!is_block(ptr) || !may_track())
		return;
	if (is_vmalloc_or_module_addr(ptr))
		tracked = free_mapped(addr);
	else
		tracked = kmt_free_slowly(&kmt_core, KMT_VIRT, addr);
	if (unlikely(!tracked))
		free_parts(addr);
}

/* While tracking is off no CPU remembers a live record, so the slow path decides. */
void __kmemtrack_free(const void *ptr)
{
	unsigned long flags;
	bool done;

	if (likely(!in_nmi())) {
		local_irq_save(flags);
		done = kmt_free_fast(&kmt_core, untagged(ptr));
		local_irq_restore(flags);
		if (likely(done))
			return;
	}
	free_slowly(ptr);
	/* No tail call: own_entries() in warn.c searches the backtrace for this frame. */
	barrier();
}
EXPORT_SYMBOL_GPL(__kmemtrack_free);

void __kmemtrack_free_part(const void *ptr, size_t size)
{
	unsigned long addr = untagged(ptr);
	enum kmt_space space = KMT_VIRT;
	struct kmt_object o;

	if (!is_block(ptr))
		return;
	/* Tracking must not end before the rest of the block is inserted again. */
	rcu_read_lock();
	if (may_track()) {
		kmt_set_records_moved();
		if (kmt_lookup(&kmt_core, KMT_ROOT, addr, &o))
			space = KMT_ROOT;
		count_lost(kmt_free_part(&kmt_core, space, addr, size,
					 GFP_NOWAIT), GFP_NOWAIT);
		if (kmt_page_map_live() && is_vmalloc_or_module_addr(ptr))
			kmt_page_map_drop(addr, size);
	}
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(__kmemtrack_free_part);

void __kmemtrack_free_percpu(const void __percpu *ptr)
{
	if (is_percpu_block(ptr) && may_track())
		kmt_free(&kmt_core, KMT_PERCPU_SPACE, untagged_percpu(ptr));
	/* As in __kmemtrack_free(). */
	barrier();
}
EXPORT_SYMBOL_GPL(__kmemtrack_free_percpu);

void __kmemtrack_free_part_phys(phys_addr_t phys, size_t size)
{
	rcu_read_lock();
	if (phys <= ULONG_MAX - size && may_track()) {
		kmt_set_records_moved();
		count_lost(kmt_free_part(&kmt_core, KMT_PHYS, phys, size,
					 GFP_NOWAIT), GFP_NOWAIT);
	}
	rcu_read_unlock();
}
EXPORT_SYMBOL(__kmemtrack_free_part_phys);

/*
 * Movable pages are not tracked: they belong to files and processes. The backtrace is
 * saved without allocating memory: a page for it would call this hook again, and the
 * caller may hold the lock of a CPU's list of free pages.
 */
void __kmemtrack_pages_alloc(struct page *page, unsigned int order, gfp_t gfp)
{
	struct kmt_origin origin;
	int pin;

	if ((gfp & __GFP_MOVABLE) || !is_tracking())
		return;
	pin = kmt_pin_names();
	kmt_fill_origin(&origin, frame_record(), _RET_IP_, KMT_GFP_NONE);
	kmt_pages_add(page, order, &origin);
	kmt_unpin_names(pin);
}

void __kmemtrack_pages_free(struct page *page)
{
	if (!in_nmi())
		kmt_pages_forget(page);
}

void __kmemtrack_update_trace(const void *ptr)
{
	if (is_block(ptr) && may_track())
		kmt_set_trace(&kmt_core, KMT_VIRT, untagged(ptr),
			      kmt_trace_save(frame_record(), _RET_IP_,
					     GFP_NOWAIT));
}
EXPORT_SYMBOL(__kmemtrack_update_trace);

void __kmemtrack_resize(const void *ptr, size_t requested)
{
	if (is_block(ptr) && may_track())
		kmt_set_requested(&kmt_core, untagged(ptr), requested);
}

void __kmemtrack_not_leak(const void *ptr)
{
	if (is_block(ptr) && may_track())
		kmt_set_min(&kmt_core, KMT_VIRT, untagged(ptr), KMT_MIN_GREY);
}
EXPORT_SYMBOL(__kmemtrack_not_leak);

void __kmemtrack_transient_leak(const void *ptr)
{
	if (is_block(ptr) && may_track())
		kmt_set_flags(&kmt_core, KMT_VIRT, untagged(ptr),
			      KMT_TRANSIENT);
}
EXPORT_SYMBOL(__kmemtrack_transient_leak);

void __kmemtrack_ignore(const void *ptr)
{
	if (is_block(ptr) && may_track())
		kmt_set_min(&kmt_core, KMT_VIRT, untagged(ptr), KMT_MIN_BLACK);
}
EXPORT_SYMBOL(__kmemtrack_ignore);

void __kmemtrack_ignore_percpu(const void __percpu *ptr)
{
	if (is_percpu_block(ptr) && may_track())
		kmt_set_min(&kmt_core, KMT_PERCPU_SPACE, untagged_percpu(ptr),
			    KMT_MIN_BLACK);
}
EXPORT_SYMBOL_GPL(__kmemtrack_ignore_percpu);

void __kmemtrack_ignore_phys(phys_addr_t phys)
{
	if (phys <= ULONG_MAX && may_track())
		kmt_set_min(&kmt_core, KMT_PHYS, phys, KMT_MIN_BLACK);
}
EXPORT_SYMBOL(__kmemtrack_ignore_phys);

void __kmemtrack_scan_area(const void *ptr, size_t size, gfp_t gfp)
{
	if (is_block(ptr) && size && may_track())
		kmt_add_area(&kmt_core, untagged(ptr), size, gfp);
}
EXPORT_SYMBOL(__kmemtrack_scan_area);

void __kmemtrack_no_scan(const void *ptr)
{
	if (is_block(ptr) && may_track())
		kmt_set_flags(&kmt_core, KMT_VIRT, untagged(ptr), KMT_NO_SCAN);
}
EXPORT_SYMBOL(__kmemtrack_no_scan);
