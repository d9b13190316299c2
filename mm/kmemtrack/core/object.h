/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The record kept for one tracked block of memory.
 *
 * An object lives in a cell of the pool (pool.c): 64 bytes, or 48 with 32 bits. Cells
 * are type-stable: the memory of a cell is not used for anything else while a thread
 * walks over the pool or a CPU has interrupts off. Both may therefore read any cell
 * without a lock. What they read is a hint; it is only valid under the lock of the
 * object's tree.
 *
 * Invariants
 *
 *  - A live object has KMT_LIVE set and is in a tree. While KMT_LIVE is set,
 *    @addr, @size and the space bits do not change, but for a removal, which sets
 *    @size to 0 before it clears KMT_LIVE: a reader without the lock checks both. All
 *    other fields are written under the tree's lock.
 *  - A vacant record has a size, but no flag. It describes a freed block and
 *    stays in its shard. It becomes live again, or a free cell, under the lock of
 *    that shard.
 *  - Objects of one tree, live or vacant, never overlap. Live objects of one space
 *    that are in different trees overlap only after two insertions at the same time,
 *    see kmt_insert_unless_taken().
 *  - A free cell has neither flags nor size; node.rb_left links it in a free
 *    list. Publishing a cell stores the flags, if any, and the address, then the
 *    size with release semantics. Clearing a cell stores the size first, then
 *    the flags.
 */
#ifndef _KMT_OBJECT_H
#define _KMT_OBJECT_H

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
#define KMT_LIVE	0x0004	/* the block is allocated */
#define KMT_AREAS	0x0008	/* only the scan areas hold references */
#define KMT_ALIAS	0x0010	/* excess references count for another block */
#define KMT_SCANNED	0x0020	/* contents read, if @epoch is the current one */
#define KMT_NO_SCAN	0x0040	/* contents hold no references */
#define KMT_STACK	0x0080	/* a task's stack: only its live part is read */
#define KMT_TRANSIENT	0x0100	/* the next scan must not suspect it */
#define KMT_SUSPECT	0x0200	/* unreached by a mark of this scan, or has an alias to such */
#define KMT_LEAK	0x0400	/* reported */
#define KMT_NEW		0x0800	/* reported for the first time by the last scan */
#define KMT_INDIRECT	0x1000	/* leak that only another leak refers to */
#define KMT_AUX		0x2000	/* not a block: a scan area or an alias */
#define KMT_COVERED	0x4000	/* leak that kmt_classify() walked from or to */
#define KMT_WHOLE	0x8000	/* a scan area was lost: the whole block is read */

/* Special values of kmt_object.min_refs. */
#define KMT_MIN_GREY	0	/* a root: read, never reported */
#define KMT_MIN_BLACK	0xff	/* ignored: not read, never reported */
#define KMT_MIN_CLEARED	0xfe	/* was reported and cleared: not reported again */
#define KMT_MIN_MAX	0xfd	/* largest number of references a block can need */

#define KMT_COUNT_MAX	0xff

/**
 * struct kmt_object - one tracked block
 * @node: links an object into the tree that kmt_tree_of() returns, an auxiliary
 *	cell into kmt_core.aux; in a free cell rb_left is the next free cell
 * @addr: first byte of the block, in its space
 * @size: bytes
 * @trace: handle of the allocation's backtrace, 0 if there is none
 * @pid_slack: pid of the allocating task, and how much smaller the block is than @size:
 *	kmt_pid_slack()
 * @start: in an auxiliary cell, the first byte of the scan area, or the
 *	address of the block that gets the excess references
 * @born: low 32 bits of jiffies when the block was allocated, or when the leak was
 *	cleared
 * @crc: checksum of the contents, 0 if there is none:
 *	of a cleared block, when it was cleared;
 *	of a suspect, when kmt_suspect_for_wait() made it one (kmt_suspect_for_search()
 *	sets 0);
 *	of a reached block, when kmt_search() found no reference to a suspect in it
 * @comm: handle of the allocating task's name
 * @flags: KMT_*
 * @epoch: mark in which @count and KMT_SCANNED are valid
 * @count: references counted, up to KMT_COUNT_MAX: those that decide whether the block is
 *	reached. A mark may leave out further ones, unless they count for another block
 * @min_refs: a block with fewer references is a leak; or KMT_MIN_*
 * @state: @comm to @min_refs as one word, for one load or store
 * @half: @comm to @min_refs as two words, for 32-bit machines
 *
 * An auxiliary cell (KMT_AUX) is in the tree of auxiliaries, where its key is the
 * address of the block it belongs to (@addr). With KMT_AREAS it is a scan area of
 * @size bytes from @start; with KMT_ALIAS it names the block at @start.
 */
struct kmt_object {
	struct rb_node node;
	unsigned long addr;
	unsigned long size;
	union {
		struct {
			u32 trace;
			u32 pid_slack;
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
			u8 min_refs;
		};
		u64 state;
		u32 half[2];
	};
};

static_assert(sizeof(struct kmt_object) <= 64);

/*
 * kmt_object.pid_slack has the pid in its lower KMT_PID_BITS. Above it is the slack: the
 * bytes at the end of the block that nobody asked for, since allocators have blocks of
 * certain sizes only. It is exact in blocks of up to KMT_SLACK_EXACT bytes, and in others a
 * multiple of a 2048th of the power of two that is not below @size, rounded down. If it
 * has no code, being more than half of a large block, it is not known, and 0.
 */
#define KMT_PID_BITS		22
#define KMT_SLACK_EXACT		2048UL
#define KMT_SLACK_MAX		1023U

static __always_inline u32 kmt_pid_slack(u32 pid, u32 slack)
{
	return pid | slack << KMT_PID_BITS;
}

static inline s32 kmt_pid(const struct kmt_object *o)
{
	return o->pid_slack & (BIT(KMT_PID_BITS) - 1);
}

/* The code of the slack of @o. */
static inline u32 kmt_slack(const struct kmt_object *o)
{
	return o->pid_slack >> KMT_PID_BITS;
}

static inline unsigned int kmt_slack_shift(unsigned long size)
{
	return size <= KMT_SLACK_EXACT ? 0 : ilog2((size - 1) / KMT_SLACK_EXACT) + 1;
}

/**
 * kmt_slack_code - encode the slack of a block
 * @size: bytes of the block, not 0
 * @requested: bytes that were asked for, at most @size
 *
 * Return: the code for kmt_pid_slack().
 */
static inline u32 kmt_slack_code(unsigned long size, unsigned long requested)
{
	const unsigned long code = (size - requested) >> kmt_slack_shift(size);

	return code <= KMT_SLACK_MAX ? code : 0;
}

/**
 * kmt_requested - how many bytes were asked for
 * @size: bytes of the block
 * @slack: its code
 *
 * Return: bytes; in a block of more than KMT_SLACK_EXACT bytes up to a 1024th of it more than
 * were asked for. @size if that is not known.
 */
static inline unsigned long kmt_requested(unsigned long size, u32 slack)
{
	return size - ((unsigned long)slack << kmt_slack_shift(size));
}

/* WRITE_ONCE(): flags are also read without the lock, as a hint. */
static inline void kmt_change_flags(struct kmt_object *o, u16 set, u16 clear)
{
	WRITE_ONCE(o->flags, (o->flags & ~clear) | set);
}

/* Builds a kmt_object.state, or a mask of it. */
static __always_inline u64 kmt_pack_state(u16 comm, u16 flags, u16 epoch,
					  u8 count, u8 min_refs)
{
	const union {
		struct {
			u16 comm, flags, epoch;
			u8 count, min_refs;
		} part;
		u64 all;
	} state = { .part = { comm, flags, epoch, count, min_refs } };

	static_assert(offsetof(struct kmt_object, min_refs) -
		      offsetof(struct kmt_object, state) == 7);
	return state.all;
}

/*
 * Changes the state of an object. The caller holds the lock of its tree. A reader
 * without the lock never sees a torn state on 64-bit machines, nor a torn half of
 * one on 32-bit machines.
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
 * Stores the state of a record that is in its tree already. The flags become
 * visible last: a reader that sees KMT_LIVE also sees the right address and size.
 */
static __always_inline void kmt_publish_state(struct kmt_object *o, u64 state)
{
	const struct kmt_object from = { .state = state };

	if (sizeof(long) == sizeof(state)) {
		/* Pairs with __kmt_lock_object(). */
		smp_store_release(&o->state, state);
	} else {
		WRITE_ONCE(o->half[1], from.half[1]);
		/* Pairs with __kmt_lock_object(), too: this half has the flags. */
		smp_store_release(&o->half[0], from.half[0]);
	}
}

static inline enum kmt_space kmt_space(const struct kmt_object *o)
{
	return o->flags & KMT_SPACE_MASK;
}

/* Whether a reference count decides the fate of this block. */
static inline bool kmt_needs_refs(const struct kmt_object *o)
{
	static_assert(KMT_MIN_GREY == 0);
	return (u8)(o->min_refs - 1) < KMT_MIN_MAX;
}

/* Whether it was a leak that was cleared, and had not changed when last read. */
static inline bool kmt_is_cleared(const struct kmt_object *o)
{
	return o->min_refs == KMT_MIN_CLEARED;
}

/*
 * kmt_limit_ages() limits the age of each record to this many jiffies. It runs
 * every KMT_AGE_MAX / 2 jiffies, so no age gets far above 3/2 of this, and the
 * difference of two births, or of a birth and the present, fits in an s32.
 */
#define KMT_AGE_MAX	((u32)BIT(30))

/*
 * The birth of a block whose age is limited to KMT_AGE_MAX at @now; both in jiffies. A block
 * that was born after @now was read has a negative age.
 */
static inline u32 kmt_limit_age(u32 born, u32 now)
{
	return (s32)(now - born) > (s32)KMT_AGE_MAX ? now - KMT_AGE_MAX : born;
}

/* Whether a block that was born at @born is younger than @date; both in jiffies. */
static inline bool kmt_is_younger(u32 born, u32 date)
{
	return (s32)(born - date) > 0;
}

/* Whether mark @epoch reached this block, or need not reach it. */
static inline bool kmt_reached(const struct kmt_object *o, u16 epoch)
{
	if (!kmt_needs_refs(o))
		return true;
	return o->epoch == epoch && o->count >= o->min_refs;
}

/* Whether this block can hold references. */
static inline bool kmt_is_read(const struct kmt_object *o)
{
	return o->min_refs != KMT_MIN_BLACK &&
	       !(o->flags & KMT_NO_SCAN);
}

/* Whether all of the block is read, at the address @addr itself. */
static inline bool kmt_reads_whole(const struct kmt_object *o)
{
	static_assert(KMT_VIRT == 0);
	return !(o->flags & (KMT_SPACE_MASK | KMT_AREAS | KMT_STACK));
}

/*
 * Hints from the state of a block, read without the lock of its tree. A walk over
 * all blocks uses them to skip most blocks. It checks the others again under the
 * lock, which makes the data races below harmless.
 */

static inline bool kmt_hint_flags(const struct kmt_object *o, u16 mask, u16 is)
{
	/* The caller checks again under the lock. */
	return (data_race(o->flags) & mask) == is;
}

static inline bool kmt_hint_white(const struct kmt_object *o, u16 epoch)
{
	/* The caller checks again under the lock. */
	return data_race((o->flags & KMT_LIVE) && !kmt_reached(o, epoch));
}

/**
 * struct kmt_state_match - a condition on kmt_object.state, one comparison
 * @mask: bits to compare
 * @is: the value that they must have
 */
struct kmt_state_match {
	u64 mask;
	u64 is;
};

static __always_inline bool kmt_state_matches(const struct kmt_object *o,
					      const struct kmt_state_match *match)
{
	/* The caller checks again under the lock. */
	return (data_race(o->state) & match->mask) == match->is;
}

#define KMT_SUSPECT_MASK	(KMT_SUSPECT | KMT_TRANSIENT | KMT_LEAK | KMT_NEW)

/*
 * The state of most blocks after a mark, see kmt_hint_not_suspect(): live, read in
 * this mark, and no suspect.
 */
static __always_inline struct kmt_state_match kmt_match_not_suspect(u16 epoch)
{
	return (struct kmt_state_match){
		.mask = kmt_pack_state(0, KMT_LIVE | KMT_SCANNED | KMT_SUSPECT_MASK,
				       0xffff, 0, 0),
		.is = kmt_pack_state(0, KMT_LIVE | KMT_SCANNED, epoch, 0, 0),
	};
}

static __always_inline bool kmt_hint_not_suspect(const struct kmt_object *o,
						 u16 epoch,
						 const struct kmt_state_match *match)
{
	/* A block that was read was reached, so one comparison is mostly enough. */
	if (likely(kmt_state_matches(o, match)))
		return true;
	/* The caller checks again under the lock. */
	return data_race(!(o->flags & KMT_LIVE) ||
			 (!(o->flags & KMT_SUSPECT_MASK) && kmt_reached(o, epoch)));
}

static inline bool kmt_hint_suspect(const struct kmt_object *o)
{
	/* The caller checks again under the lock. */
	const u16 flags = data_race(o->flags);

	return (flags & KMT_LIVE) && (flags & KMT_SUSPECT_MASK);
}

#endif /* _KMT_OBJECT_H */
