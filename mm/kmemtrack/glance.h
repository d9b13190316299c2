/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the state of a block says at a glance, without its lock: most blocks are
 * passed over in a walk over all of them. What is not passed over is to be
 * looked at again with the lock.
 */
#ifndef _KMT_GLANCE_H
#define _KMT_GLANCE_H

#include "core.h"

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

/* Live, read in this mark, and without @flags. */
static __always_inline struct kmt_state_match kmt_match_scanned(u16 epoch, u16 flags)
{
	struct kmt_state_match look = {
		.mask = kmt_pack_state(0, KMT_LIVE | KMT_SCANNED | flags, 0xffff,
				       0, 0),
		.is = kmt_pack_state(0, KMT_LIVE | KMT_SCANNED, epoch, 0, 0),
	};

	/* Not to be put together anew for each object. */
	OPTIMIZER_HIDE_VAR(look.mask);
	OPTIMIZER_HIDE_VAR(look.is);
	return look;
}

static __always_inline bool kmt_state_matches(const struct kmt_object *o,
					      const struct kmt_state_match *look)
{
	/* To be looked at again with the lock. */
	return (data_race(o->state) & look->mask) == look->is;
}

#define KMT_ACCUSED	(KMT_SUSPECT | KMT_TRANSIENT | KMT_LEAK | KMT_NEW)

/* What most blocks are when a mark is through; see kmt_hint_not_suspect(). */
static __always_inline struct kmt_state_match kmt_match_not_suspect(u16 epoch)
{
	return kmt_match_scanned(epoch, KMT_ACCUSED);
}

static __always_inline bool kmt_hint_not_suspect(const struct kmt_object *o,
						 u16 epoch,
						 const struct kmt_state_match *look)
{
	/* What was read was reached, so mostly one look is enough. */
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

#endif /* _KMT_GLANCE_H */
