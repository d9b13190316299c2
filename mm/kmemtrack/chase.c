// SPDX-License-Identifier: GPL-2.0
/*
 * Following references, as nearly all of them go: to a small block of a shard
 * that needs one, with nothing special about it, beside the block that was
 * found before. Most of a mark is spent here; what is not so easy is left to
 * follow.c.
 *
 * References that follow each other often lead to the same shard. Its lock is
 * kept from one to the next, for KMT_DRAIN_HOLD words of work: some
 * microseconds, in which frees and allocations of this region wait, and
 * interrupts are off.
 */
#include "hot.h"
#include "notes.h"
#include "team.h"

/*
 * Work under one lock, and from one rest to the next; a reference counts as so
 * many words beside those read.
 */
#define KMT_DRAIN_HOLD	384
#define KMT_DRAIN_STEP	8

/*
 * Cells that are fetched ahead. Blocks that were allocated one after the other
 * have their records side by side, but a walk from one to the next in the tree
 * comes by cells further on. On User-mode Linux a scan of 200,000 blocks on a
 * list takes 9 ms, without this 21; with 4 cells it takes 13, with 16 also.
 */
#define KMT_DRAIN_AHEAD	8

/**
 * struct kmt_drain - references that are followed
 * @n: what is done with the words of the blocks they lead to
 * @shared: others take part in the mark
 * @lo: addresses that go to shards, and have no per-CPU pointer among them
 * @span: bytes of them
 * @shards: as in the core
 * @mask: as many of them, less one
 * @fold: as in the core
 * @held: shard that is locked, or NULL
 * @flags: interrupt state from before
 * @near: block that was found last; it is in @held if there is one
 * @plain: state, but for comm and epoch, of a block that was not reached
 * @plain_mask: what of the state is compared with @plain
 * @reached: its state when it was reached and read, but for comm
 * @limit: on top of the mark stack there is room for a block up to here
 * @left: words and references to go until @held is let go, and others get
 *	their turn
 * @given: what was @left after the last rest; 0 once the marker was told
 * @refs: references followed since then
 * @again: of those, how many led to a block that was reached before
 */
struct kmt_drain {
	struct kmt_notes n;
	bool shared;
	unsigned long lo;
	unsigned long span;
	struct kmt_tree *shards;
	u32 mask;
	u8 fold;
	struct kmt_tree *held;
	unsigned long flags;
	struct kmt_object *near;
	u64 plain;
	u64 plain_mask;
	u64 reached;
	struct kmt_mark_entry *limit;
	long left;
	long given;
	unsigned long refs;
	unsigned long again;
};

/* Addresses of shards; none if a per-CPU pointer may look like one. */
static __always_inline void set_range(struct kmt_drain *c,
				      const struct kmt_range *linear,
				      const struct kmt_range_pair *percpu)
{
	int i;

	c->lo = linear->lo;
	c->span = linear->hi - linear->lo;
	for (i = 0; i < ARRAY_SIZE(percpu->part); i++)
		if (percpu->part[i].lo < linear->hi &&
		    percpu->part[i].hi > linear->lo)
			c->span = 0;
}

static __always_inline void begin(struct kmt_drain *c, struct kmt_marker *m,
				  bool apart, bool shared)
{
	struct kmt_core *core = m->core;

	kmt_notes_begin(&c->n, m, apart);
	c->shared = shared;
	set_range(c, &core->linear, &m->percpu);
	c->shards = core->shards;
	c->mask = core->last_shard;
	c->fold = core->fold;
	c->held = NULL;
	c->flags = 0;
	c->near = m->near;
	c->plain = kmt_pack_state(0, KMT_LIVE | KMT_VIRT, 0, 0, 1);
	/* No matter whether an earlier mark read it. */
	c->plain_mask = kmt_pack_state(0, (u16)~KMT_SCANNED, 0, 0, 0xff);
	c->reached = kmt_pack_state(0, KMT_LIVE | KMT_VIRT | KMT_SCANNED,
				    core->epoch, 1, 1);
	/* Kept, and not made anew for each block. */
	OPTIMIZER_HIDE_VAR(c->plain);
	OPTIMIZER_HIDE_VAR(c->plain_mask);
	OPTIMIZER_HIDE_VAR(c->reached);
	c->limit = m->stack + m->max / 2 - KMT_STEP_WORDS;
	c->left = 0;
	c->given = 0;
	c->refs = 0;
	c->again = 0;
}

static __always_inline void unlock_shard(struct kmt_drain *c)
{
	if (!c->held)
		return;
	raw_spin_unlock_irqrestore(&c->held->lock, c->flags);
	c->held = NULL;
}

/* Lets go, and tells the marker. */
static __always_inline void flush_stats(struct kmt_drain *c)
{
	struct kmt_marker *m = c->n.m;
	long work = c->given - c->left;

	unlock_shard(c);
	m->depth = c->n.top - m->stack;
	m->near = c->near;
	m->hits += c->refs;
	m->objects += c->refs - c->again;
	m->words += work - c->refs * KMT_DRAIN_STEP;
	m->budget -= work;
	c->left = 0;
	c->given = 0;
	c->refs = 0;
	c->again = 0;
}

/* After the marker did something else. */
static __always_inline void reload(struct kmt_drain *c)
{
	c->n.top = c->n.m->stack + c->n.m->depth;
	c->near = c->n.m->near;
}

/*
 * Locks @shard, that of @word; false if there is nothing in it. There is no more
 * @left for that: references that lead to another region each time, as those of
 * a tree do, are followed without end otherwise.
 */
static __always_inline bool lock_shard(struct kmt_drain *c, struct kmt_tree *shard,
				       unsigned long word)
{
	if (likely(shard == c->held))
		return true;
	unlock_shard(c);
	if (kmt_is_empty_hint(shard))
		return false;
	if (c->shared)
		kmt_wait_contended(c->n.m, &shard->lock);
	raw_spin_lock_irqsave(&shard->lock, c->flags);
	c->held = shard;
	if (c->near && !kmt_is_in_shard_of(c->near, word))
		c->near = NULL;
	return true;
}

/*
 * rb_next() and rb_prev() of a node in a tree, inlined: where nothing is called
 * all that a drain needs stays in registers.
 */
static __always_inline struct rb_node *after(struct rb_node *node)
{
	struct rb_node *up;

	if (node->rb_right) {
		node = node->rb_right;
		while (node->rb_left)
			node = node->rb_left;
		return node;
	}
	while ((up = rb_parent(node)) && node == up->rb_right)
		node = up;
	return up;
}

static __always_inline struct rb_node *before(struct rb_node *node)
{
	struct rb_node *up;

	if (node->rb_left) {
		node = node->rb_left;
		while (node->rb_right)
			node = node->rb_right;
		return node;
	}
	while ((up = rb_parent(node)) && node == up->rb_left)
		node = up;
	return up;
}

/* The block or vacant record that @word points into, in the shard held. */
static __always_inline struct kmt_object *find(struct kmt_drain *c,
					       unsigned long word)
{
	struct kmt_object *o = c->near;
	struct rb_node *node;

	if (likely(o)) {
		node = word > o->addr ? after(&o->node) : before(&o->node);
		o = kmt_to_object(node);
		if (likely(node) && likely(kmt_is_within(o, word)))
			return o;
	}
	return kmt_tree_find(c->held, word);
}

/* Notes what is in @o, which is reached now; false if it cannot be read. */
static __always_inline bool note_block(struct kmt_drain *c,
				       const struct kmt_object *o)
{
	struct kmt_mark_entry *top = c->n.top;

	c->n.self = o->addr;
	c->n.bytes = o->size;
	if (unlikely(!kmt_note_words(&c->n, ALIGN(o->addr, sizeof(long)),
				     ALIGN_DOWN(o->addr + o->size,
						sizeof(long))))) {
		c->n.top = top;
		return false;
	}
	c->left -= o->size / sizeof(long);
	return true;
}

/* Counts a reference to @o and reads it; false, with nothing done, if not. */
static __always_inline bool reach(struct kmt_drain *c, struct kmt_object *o)
{
	u64 state = o->state;
	struct kmt_object reached = { .state = c->reached };

	if (unlikely((state & c->plain_mask) != c->plain))
		return false;
	if (unlikely(o->epoch == reached.epoch)) {
		c->again++;
		return o->count;
	}
	if (unlikely(o->size > KMT_STEP_WORDS * sizeof(long)) ||
	    unlikely(c->n.top > c->limit) || !note_block(c, o))
		return false;
	kmt_set_state(o, (state & kmt_pack_state(0xffff, 0, 0, 0, 0)) |
			 c->reached);
	return true;
}

/* Follows @word; false, with nothing done, if it is not so easy. */
static __always_inline bool follow_fast(struct kmt_drain *c,
					unsigned long word)
{
	struct kmt_tree *shard = &c->shards[kmt_shard_nr(word, c->mask,
							 c->fold)];
	struct kmt_object *o;

	if (unlikely(word - c->lo >= c->span) || unlikely(!lock_shard(c, shard, word)))
		return false;
	o = find(c, word);
	if (unlikely(!o))
		return false;
	c->near = o;
	prefetch(o + KMT_DRAIN_AHEAD);
	if (unlikely(!reach(c, o)))
		return false;
	c->refs++;
	c->left -= KMT_DRAIN_STEP;
	c->n.seen_cache[kmt_seen_slot(word)] = word;
	return true;
}

/* Half of the mark stack is for references; half of that is much. */
static __always_inline void make_room(struct kmt_marker *m)
{
	if (unlikely(m->depth > m->max / 4))
		kmt_mark_compact_stack(m);
	else
		m->dense = false;
}

/*
 * Lets others run, and gives them what they want if they share the mark; false
 * if it is to be given up.
 */
static __always_inline bool rest(struct kmt_drain *c)
{
	flush_stats(c);
	make_room(c->n.m);
	kmt_team_share(c->n.m);
	reload(c);
	c->left = KMT_DRAIN_HOLD;
	c->given = KMT_DRAIN_HOLD;
	return !kmt_mark_relax(c->n.m);
}

/* Made for each case, so that what is not wanted costs nothing. */
static __always_inline void drain(struct kmt_marker *m, bool apart, bool shared)
{
	const struct kmt_mark_entry *bottom = m->stack;
	struct kmt_drain c;

	begin(&c, m, apart, shared);
	while (c.n.top != bottom) {
		unsigned long word;

		if (unlikely(c.left <= 0)) {
			if (!rest(&c))
				break;
			continue;
		}
		word = (--c.n.top)->addr;
		if (likely(follow_fast(&c, word)))
			continue;
		flush_stats(&c);
		kmt_mark_hit(m, word);
		reload(&c);
	}
	flush_stats(&c);
}

/**
 * kmt_mark_drain_fast - follow the references on the mark stack
 * @m: marker that kmt_is_plain() is true of, and that reads no stack
 *
 * All of them, or until the mark is given up.
 *
 * Context: no lock held.
 */
void kmt_mark_drain_fast(struct kmt_marker *m)
{
	if (kmt_notes_apart(m))
		drain(m, true, true);
	else if (m->team)
		drain(m, false, true);
	else
		drain(m, false, false);
}
