/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The record kept for one tracked block of memory.
 *
 * An object lives in a 64-byte cell of the pool (pool.c). Cells are
 * type-stable: a cell never becomes anything but a cell while somebody walks
 * over the pool, or has interrupts off (pool.c). A pool walker, and code that
 * runs with interrupts off, may therefore read any cell without a lock. What it
 * reads is only valid under the lock of the tree the object is in.
 *
 * Invariants
 *
 *  - A live object has KMT_LIVE set and is in a tree. @addr, @size and the
 *    space bits do not change while it is set; everything else in it is written
 *    under its tree's lock.
 *  - A vacant record has no flag set, but a size. It is that of a freed block,
 *    left in its shard, under whose lock it becomes live again or a free cell.
 *  - Objects of one tree never overlap, live or vacant; live objects of one
 *    space never do.
 *  - A free cell has neither flag nor size; node.rb_left links it in a free
 *    list. Publishing a cell stores the flags, if any, and the address, then the
 *    size with release semantics. Clearing a cell stores the size first, then
 *    the flags.
 */
#ifndef _KMT_OBJECT_H
#define _KMT_OBJECT_H

#include "core.h"
#include "env.h"

/**
 * enum kmt_space - the address spaces of tracked blocks
 * @KMT_VIRT: kernel virtual addresses: slab, large kmalloc, vmalloc
 * @KMT_PERCPU: per-CPU pointers, as alloc_percpu() returns them
 * @KMT_PHYS: physical addresses: memblock; never the target of a reference
 * @KMT_ROOT: sections of the kernel image; never the target of a reference
 */
enum kmt_space {
	KMT_VIRT,
	KMT_PERCPU,
	KMT_PHYS,
	KMT_ROOT,
	KMT_NR_SPACES,
};

#define KMT_SPACE_MASK	0x0003	/* enum kmt_space */
#define KMT_LIVE	0x0004	/* in a tree */
#define KMT_AREAS	0x0008	/* only the scan areas hold references */
#define KMT_ALIAS	0x0010	/* references in excess count for another block */
#define KMT_SCANNED	0x0020	/* contents read, if @epoch is the current one */
#define KMT_NO_SCAN	0x0040	/* contents hold no references */
#define KMT_STACK	0x0080	/* a task's stack, read as one: its live part */
#define KMT_TRANSIENT	0x0100	/* not to be suspected by the next scan */
#define KMT_SUSPECT	0x0200	/* unreferenced in an earlier mark, @crc is valid */
#define KMT_LEAK	0x0400	/* reported */
#define KMT_NEW		0x0800	/* reported for the first time by the last scan */
#define KMT_INDIRECT	0x1000	/* leak that only another leak refers to */
#define KMT_AUX		0x2000	/* not a block: a scan area or an alias */
#define KMT_COVERED	0x4000	/* leak that kmt_classify() walked from or to */
#define KMT_WHOLE	0x8000	/* a scan area was lost: all of it is read */

/* Values of kmt_object.min with a meaning of their own. */
#define KMT_MIN_GREY	0	/* a root: read, never reported */
#define KMT_MIN_BLACK	0xff	/* ignored: not read, never reported */
#define KMT_MIN_CLEARED	0xfe	/* was reported, and cleared: never again */
#define KMT_MIN_MAX	0xfd	/* most references that a block can need */

#define KMT_COUNT_MAX	0xff

/**
 * struct kmt_object - one tracked block
 * @node: in the tree that kmt_tree_of() names; of an auxiliary cell in
 *	kmt_core.aux; of a free cell rb_left is the next free one
 * @addr: first byte of the block, in its space
 * @size: bytes
 * @stack: handle of the allocation's backtrace, 0 if there is none
 * @pid: of the allocating task
 * @start: in an auxiliary cell, the first byte of the scan area or the
 *	address of the block that gets the references in excess
 * @born: low 32 bits of jiffies at the allocation; of a block that was cleared,
 *	at that
 * @crc: checksum of the contents, 0 if there is none:
 *	of a block that was cleared, when that happened;
 *	of a suspect of kmt_suspect(), when that noted it;
 *	of a block that was reached, when kmt_search() found nothing in it that
 *	refers to a suspect
 * @comm: handle of the allocating task's name
 * @flags: KMT_*
 * @epoch: mark in which @count and KMT_SCANNED are valid
 * @count: references found, saturating
 * @min: references below which the block is a leak, or KMT_MIN_*
 * @state: @comm to @min as one word, for one load or store
 * @half: the same as two words, for machines of 32 bits
 *
 * An auxiliary cell (KMT_AUX) hangs in the tree of auxiliaries under the
 * address of the block it belongs to (@addr): with KMT_AREAS a scan area of
 * @size bytes from @start, with KMT_ALIAS a block at @start.
 */
struct kmt_object {
	struct rb_node node;
	unsigned long addr;
	unsigned long size;
	union {
		struct {
			u32 stack;
			s32 pid;
		};
		unsigned long start;
	};
	u32 born;
	u32 crc;
	union {
		struct {
			u16 comm;
			u16 flags;
			u16 epoch;
			u8 count;
			u8 min;
		};
		u64 state;
		u32 half[2];
	};
};

static_assert(sizeof(struct kmt_object) <= 64);

/* Flags are also looked at without the lock, as a hint. */
static inline void kmt_change_flags(struct kmt_object *o, u16 set, u16 clear)
{
	WRITE_ONCE(o->flags, (o->flags & ~clear) | set);
}

/* kmt_object.state, or the parts of it that are not 0. */
static __always_inline u64 kmt_pack_state(u16 comm, u16 flags, u16 epoch,
					  u8 count, u8 min)
{
	const union {
		struct {
			u16 comm, flags, epoch;
			u8 count, min;
		} part;
		u64 all;
	} state = { .part = { comm, flags, epoch, count, min } };

	static_assert(offsetof(struct kmt_object, min) -
		      offsetof(struct kmt_object, state) == 7);
	return state.all;
}

/*
 * Changes the state of an object under its tree's lock. A reader without the lock
 * sees all of it at once on 64-bit machines, and each half at once on others.
 */
static __always_inline void kmt_set_state(struct kmt_object *o, u64 state)
{
	const struct kmt_object from = { .state = state };

	if (sizeof(long) == sizeof(state)) {
		WRITE_ONCE(o->state, state);
	} else {
		WRITE_ONCE(o->half[1], from.half[1]);
		WRITE_ONCE(o->half[0], from.half[0]);
	}
}

/*
 * Stores the state of a record that is linked already. The flags become visible
 * last: whoever sees KMT_LIVE sees the right address and size.
 */
static __always_inline void kmt_publish_state(struct kmt_object *o, u64 state)
{
	const struct kmt_object from = { .state = state };

	if (sizeof(long) == sizeof(state)) {
		/* Pairs with kmt_lock_object(). */
		smp_store_release(&o->state, state);
	} else {
		WRITE_ONCE(o->half[1], from.half[1]);
		/* The same: the flags are in the first half. */
		smp_store_release(&o->half[0], from.half[0]);
	}
}

static inline enum kmt_space kmt_space(const struct kmt_object *o)
{
	return o->flags & KMT_SPACE_MASK;
}

/* Whether a reference count decides the fate of this block. */
static inline bool kmt_judged(const struct kmt_object *o)
{
	static_assert(KMT_MIN_GREY == 0);
	return (u8)(o->min - 1) < KMT_MIN_MAX;
}

/* Whether it was reported and then cleared, and had not changed when last read. */
static inline bool kmt_is_cleared(const struct kmt_object *o)
{
	return o->min == KMT_MIN_CLEARED;
}

/*
 * Age, in jiffies, to which kmt_limit_ages() cuts that of older records. It
 * runs each KMT_AGE_MAX / 2, so no age gets far above 3/2 of this, and the
 * difference of two births, or of a birth and the present, fits in an s32.
 */
#define KMT_AGE_MAX	((u32)BIT(30))

/* Whether a block that was born at @born is younger than @date; both in jiffies. */
static inline bool kmt_is_younger(u32 born, u32 date)
{
	return (s32)(born - date) > 0;
}

/* Whether mark @epoch got to this block. */
static inline bool kmt_reached(const struct kmt_object *o, u16 epoch)
{
	if (!kmt_judged(o))
		return true;
	return o->epoch == epoch && o->count >= o->min;
}

/* Whether what is in this block can be references. */
static inline bool kmt_is_read(const struct kmt_object *o)
{
	return o->min != KMT_MIN_BLACK &&
	       !(o->flags & KMT_NO_SCAN);
}

/* Whether its contents are where it is, and are read as a whole. */
static inline bool kmt_is_plainly_read(const struct kmt_object *o)
{
	static_assert(KMT_VIRT == 0);
	return !(o->flags & (KMT_SPACE_MASK | KMT_AREAS | KMT_STACK));
}

/*
 * Hints from the state of a block, read without the lock of its tree. A walk
 * over all blocks skips most of them by such a hint; those that remain it looks
 * at again with the lock.
 */

static inline bool kmt_hint_white(const struct kmt_object *o, u16 epoch)
{
	/* To be looked at again with the lock. */
	return data_race((o->flags & KMT_LIVE) && !kmt_reached(o, epoch));
}

/**
 * struct kmt_state_match - what to look for in kmt_object.state, in one go
 * @mask: part of it
 * @is: how that part is to be
 */
struct kmt_state_match {
	u64 mask;
	u64 is;
};

static __always_inline bool kmt_state_matches(const struct kmt_object *o,
					      const struct kmt_state_match *look)
{
	/* To be looked at again with the lock. */
	return (data_race(o->state) & look->mask) == look->is;
}

#define KMT_ACCUSED	(KMT_SUSPECT | KMT_TRANSIENT | KMT_LEAK | KMT_NEW)

/*
 * The state of most blocks after a mark, see kmt_hint_not_suspect(): live, read in
 * this mark, and not accused.
 */
static __always_inline struct kmt_state_match kmt_match_not_suspect(u16 epoch)
{
	return (struct kmt_state_match){
		.mask = kmt_pack_state(0, KMT_LIVE | KMT_SCANNED | KMT_ACCUSED,
				       0xffff, 0, 0),
		.is = kmt_pack_state(0, KMT_LIVE | KMT_SCANNED, epoch, 0, 0),
	};
}

static __always_inline bool kmt_hint_not_suspect(const struct kmt_object *o,
						 u16 epoch,
						 const struct kmt_state_match *look)
{
	/* A block that was read was reached: mostly one comparison is enough. */
	if (likely(kmt_state_matches(o, look)))
		return true;
	/* To be looked at again with the lock. */
	return data_race(!(o->flags & KMT_LIVE) ||
			 (!(o->flags & KMT_ACCUSED) && kmt_reached(o, epoch)));
}

static inline bool kmt_hint_accused(const struct kmt_object *o)
{
	/* To be looked at again with the lock. */
	const u16 flags = data_race(o->flags);

	return (flags & KMT_LIVE) && (flags & KMT_ACCUSED);
}

#endif /* _KMT_OBJECT_H */
