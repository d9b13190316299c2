/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the state of a block says at a glance, without its lock: most blocks are
 * passed over in a walk over all of them. What is not passed over is to be
 * looked at again with the lock.
 */
#ifndef _KMT_GLANCE_H
#define _KMT_GLANCE_H

#include "core.h"

static inline bool kmt_seems_white(const struct kmt_object *o, u16 epoch)
{
	/* To be looked at again with the lock. */
	return data_race((o->flags & KMT_LIVE) && !kmt_reached(o, epoch));
}

/**
 * struct kmt_look - what to look for in kmt_object.state, in one go
 * @mask: part of it
 * @is: how that part is to be
 */
struct kmt_look {
	u64 mask;
	u64 is;
};

/* Live, read in this mark, and without @flags. */
static __always_inline struct kmt_look kmt_look_read(u16 epoch, u16 flags)
{
	struct kmt_look look = {
		.mask = kmt_state_of(0, KMT_LIVE | KMT_SCANNED | flags, 0xffff,
				     0, 0),
		.is = kmt_state_of(0, KMT_LIVE | KMT_SCANNED, epoch, 0, 0),
	};

	/* Not to be put together anew for each object. */
	OPTIMIZER_HIDE_VAR(look.mask);
	OPTIMIZER_HIDE_VAR(look.is);
	return look;
}

static __always_inline bool kmt_looks(const struct kmt_object *o,
				      const struct kmt_look *look)
{
	/* To be looked at again with the lock. */
	return (data_race(o->state) & look->mask) == look->is;
}

#define KMT_ACCUSED	(KMT_SUSPECT | KMT_TRANSIENT | KMT_LEAK | KMT_NEW)

/* What most blocks are when a mark is through; see kmt_seems_innocent(). */
static __always_inline struct kmt_look kmt_look_innocent(u16 epoch)
{
	return kmt_look_read(epoch, KMT_ACCUSED);
}

static __always_inline bool kmt_seems_innocent(const struct kmt_object *o,
					       u16 epoch,
					       const struct kmt_look *look)
{
	/* What was read was reached, so mostly one look is enough. */
	if (likely(kmt_looks(o, look)))
		return true;
	/* To be looked at again with the lock. */
	return data_race(!(o->flags & KMT_LIVE) ||
			 (!(o->flags & KMT_ACCUSED) && kmt_reached(o, epoch)));
}

static inline bool kmt_seems_accused(const struct kmt_object *o)
{
	/* To be looked at again with the lock. */
	const u16 flags = data_race(o->flags);

	return (flags & KMT_LIVE) && (flags & KMT_ACCUSED);
}

#endif /* _KMT_GLANCE_H */
