// SPDX-License-Identifier: GPL-2.0
/*
 * Draining the mark stack: each reference is followed to its block, and words in the
 * block that may be references are pushed onto the mark stack.
 */
#include "fastpath.h"
#include "mark.h"
#include "mark_parallel.h"

/**
 * struct kmt_push - how to push the words of a piece
 * @m: marker, whose ranges do not change meanwhile
 * @seen_cache: its table of words already seen
 * @self: first byte of the block that is read
 * @bytes: its size; 0 if it is none
 * @lo: start of kmt_ref_ranges.shards; words outside need further checks
 * @span: size of that range in bytes
 * @least: if @low_refs, words below this power of two are no references
 * @gap_lo: if @low_refs, start of kmt_ref_ranges.gap, whose words are no references
 * @gap_span: size of that range in bytes
 * @low_refs: false only if all per-CPU pointers lie in kmt_ref_ranges.virt, and its
 *	lowest address is negative as a signed number: then a word that is not
 *	negative is no reference
 * @top: where in the mark stack the next reference goes
 */
struct kmt_push {
	struct kmt_marker *m;
	unsigned long *seen_cache;
	unsigned long self;
	unsigned long bytes;
	unsigned long lo;
	unsigned long span;
	unsigned long least;
	unsigned long gap_lo;
	unsigned long gap_span;
	bool low_refs;
	struct kmt_mark_entry *top;
};

/* The argument @low_refs of push_begin(). */
static __always_inline bool push_low_refs(const struct kmt_marker *m)
{
	return m->ranges.percpu_outside || (long)m->ranges.virt.lo >= 0;
}

/* kmt_fast_path_ok() is true for @m. */
static __always_inline void push_begin(struct kmt_push *p, struct kmt_marker *m,
				       bool low_refs)
{
	p->m = m;
	p->seen_cache = m->seen_cache;
	p->self = 0;
	p->bytes = 0;
	p->lo = m->ranges.shards.lo;
	p->span = m->ranges.shards.hi - m->ranges.shards.lo;
	p->least = m->ranges.least;
	p->gap_lo = m->ranges.gap.lo;
	p->gap_span = m->ranges.gap.hi - m->ranges.gap.lo;
	p->low_refs = low_refs;
	p->top = m->stack.entries + m->stack.refs;
}

/*
 * Whether @word, untagged, may be a reference. A per-CPU pointer may equal an address in
 * the image, so core->skip does not apply to it.
 */
static __always_inline bool may_refer(const struct kmt_marker *m,
				      unsigned long word)
{
	return kmt_in_pair(&m->ranges.percpu, word) ||
	       (kmt_in(&m->ranges.virt, word) && !kmt_in(&m->core->skip, word));
}

/* Whether @word, and so each of several words ORed into it, is no reference. */
static __always_inline bool is_small(const struct kmt_push *p, unsigned long word)
{
	return p->low_refs ? word < p->least : (long)word >= 0;
}

/*
 * Pushes @word, untagged, onto the mark stack if it may be a reference to another block.
 * Most references were seen before, so check that first.
 */
static __always_inline void push_word(struct kmt_push *p, unsigned long word)
{
	const bool far = word - p->lo >= p->span;

	if (is_small(p, word) ||
	    (p->low_refs && far && (word - p->gap_lo < p->gap_span ||
				    !may_refer(p->m, word))))
		return;
	if (word - p->self < p->bytes ||
	    p->seen_cache[kmt_seen_slot(word)] == word)
		return;
	if (!p->low_refs && unlikely(far) && !may_refer(p->m, word))
		return;
	/*
	 * The block is mostly read soon. If blocks refer to each other in no
	 * order, a scan of 200,000 of them takes 80 ms, and 150 ms without this.
	 */
	prefetch((const void *)word);
	(p->top++)->ref = word;
}

/*
 * Pushes the words of [@pos, @end) that may be references; returns false if they cannot
 * be read. Most words are small numbers: one check of their ORed bits skips four of them.
 */
static __always_inline bool push_words(struct kmt_push *p, unsigned long pos,
				       unsigned long end)
{
	const unsigned long fours = end - 4 * sizeof(long);
	unsigned long a, b, c, d;
	unsigned int bad = 0;

	if (kmt_env_poisoned(pos, end - pos) && pos < end)
		return false;
	while (pos <= fours) {
		kmt_env_four(pos, &a, &b, &c, &d, &bad);
		pos += 4 * sizeof(long);
		a = kmt_untag(a);
		b = kmt_untag(b);
		c = kmt_untag(c);
		d = kmt_untag(d);
		if (likely(is_small(p, a | b | c | d)))
			continue;
		push_word(p, a);
		push_word(p, b);
		push_word(p, c);
		push_word(p, d);
	}
	for (; pos < end; pos += sizeof(long)) {
		kmt_env_one(pos, &a, &bad);
		push_word(p, kmt_untag(a));
	}
	return !bad;
}

/*
 * Limit of the work under one lock, and from one relax() to the next, in words that are
 * read; following a reference counts as KMT_DRAIN_STEP words.
 */
#define KMT_DRAIN_HOLD	384
#define KMT_DRAIN_STEP	8

/* Slow path: look up a reference, count it, and push its block if it must be read. */

/**
 * enum kmt_ref_effect - effect of a reference
 * @KMT_NO_EFFECT: further references to the same address change nothing in this mark: the
 *	address may go into the table of words already seen
 * @KMT_COUNTED: further references to the address may change something
 * @KMT_EXCESS: the reference counts for another block instead
 */
enum kmt_ref_effect {
	KMT_NO_EFFECT,
	KMT_COUNTED,
	KMT_EXCESS,
};

/**
 * kmt_mark_push - put a block on the mark stack
 * @m: marker
 * @o: its cell, or that + KMT_ENTRY_PART
 * @addr: see struct kmt_mark_entry
 *
 * If there is no room, a sweep will find the block, but not a part of a block.
 */
void kmt_mark_push(struct kmt_marker *m, struct kmt_object *o,
		   unsigned long addr)
{
	struct kmt_mark_stack *s = &m->stack;

	if (!kmt_room_for_blocks(s)) {
		if (!s->overflow)
			kmt_count_event(m->core, KMT_EV_MARK_STACK_FULL);
		s->overflow = true;
		return;
	}
	s->entries[s->max - ++s->blocks] = (struct kmt_mark_entry){
		.o = o, .addr = addr,
	};
}

static __always_inline bool push_piece(struct kmt_marker *m,
				       const struct kmt_range *self,
				       unsigned long pos, unsigned long end,
				       bool low_refs)
{
	struct kmt_push p;

	push_begin(&p, m, low_refs);
	p.self = self->lo;
	p.bytes = self->hi - self->lo;
	if (unlikely(!push_words(&p, pos, end)))
		return false;
	m->stack.refs = p.top - m->stack.entries;
	m->stats.words += (end - pos) / sizeof(long);
	return true;
}

/**
 * kmt_mark_piece - push possible references in a piece of memory onto the mark stack
 * @m: marker
 * @self: range of references from the block to itself, which are left out
 * @pos: first byte, aligned to a word
 * @end: one past the last byte of the memory
 *
 * Context: interrupts may be off, and the lock of a tree held: to push the words of a
 *	piece takes some microseconds.
 * Return: number of bytes from @pos on that are done; 0 if the caller has to handle them
 *	word by word, or if they cannot be read.
 */
unsigned long kmt_mark_piece(struct kmt_marker *m, const struct kmt_range *self,
			     unsigned long pos, unsigned long end)
{
	unsigned long len = kmt_piece(pos, end, KMT_PUSH_WORDS * sizeof(long));
	bool done;

	/* All words of a piece must fit in the half of the stack that is for references. */
	if (!kmt_fast_path_ok(m) ||
	    m->stack.refs + len / sizeof(long) > m->stack.max / 2)
		return 0;
	done = push_low_refs(m) ? push_piece(m, self, pos, pos + len, true) :
				  push_piece(m, self, pos, pos + len, false);
	return done ? len : 0;
}

/* As kmt_wait_contended(), for the trees in which @word is looked up. */
static noinline void await_trees(struct kmt_marker *m, enum kmt_space space,
				 unsigned long word)
{
	struct kmt_core *core = m->core;

	if (space == KMT_VIRT && kmt_in(&core->linear, word)) {
		struct kmt_tree *shard = kmt_shard_of(core, word);

		kmt_wait_contended(m, &shard->lock);
		if (!READ_ONCE(shard->wide))
			return;
	}
	kmt_wait_contended(m, &core->wide[space].lock);
}

/*
 * Counts a reference. For an excess one, sets *@next to the block for which it counts.
 *
 * If the marker is @dated, references to younger blocks do not count. A reference that
 * was passed on by an alias (@passed_on) counts whatever the age of its block: otherwise
 * which references are in excess would depend on the order in which they are found.
 */
static enum kmt_ref_effect count_ref(struct kmt_marker *m, enum kmt_space space,
				     unsigned long word, bool passed_on,
				     unsigned long *next)
{
	struct kmt_core *core = m->core;
	enum kmt_ref_effect effect = KMT_COUNTED;
	struct kmt_held held;
	unsigned long addr;
	struct kmt_object *o;
	bool to_read;

	m->budget -= KMT_DRAIN_STEP;
	if (unlikely(m->share.team))
		await_trees(m, space, word);
	o = kmt_lock_find(core, space, word, &held);
	if (!o)
		return KMT_NO_EFFECT;
	if (unlikely(m->filter && !(o->flags & (KMT_SUSPECT | KMT_ALIAS))) ||
	    unlikely(m->dated && !passed_on && kmt_is_younger(o->born, m->date))) {
		kmt_unlock(&held);
		return KMT_COUNTED;
	}
	m->stats.hits++;
	kmt_enter_epoch(o, core->epoch);
	if (o->count < KMT_COUNT_MAX)
		o->count++;
	addr = o->addr;
	to_read = kmt_needs_refs(o) && o->count == o->min_refs && kmt_must_read(o);
	if (likely(!(o->flags & KMT_ALIAS))) {
		if (kmt_reached(o, core->epoch))
			effect = KMT_NO_EFFECT;
	} else if (!(kmt_needs_refs(o) && o->count <= o->min_refs) &&
		   kmt_get_alias(core, addr, next)) {
		effect = KMT_EXCESS;
	}
	kmt_unlock(&held);

	if (to_read)
		kmt_mark_push(m, o, addr);
	return effect;
}

/* Passes on an excess reference, over at most @hops aliases. */
static void pass_on(struct kmt_marker *m, enum kmt_ref_effect effect,
		    unsigned long word, int hops)
{
	while (effect == KMT_EXCESS && hops--)
		effect = count_ref(m, KMT_VIRT, word, true, &word);
}

/* Follows a word in the range of per-CPU blocks; it may be one in KMT_VIRT, too. */
static noinline void follow_percpu(struct kmt_marker *m, unsigned long word)
{
	unsigned long next = word;
	enum kmt_ref_effect effect;

	count_ref(m, KMT_PERCPU, word, false, &next);
	if (!kmt_in(&m->ranges.virt, word) || kmt_in(&m->core->skip, word))
		return;
	effect = count_ref(m, KMT_VIRT, word, false, &next);
	pass_on(m, effect, next, KMT_ALIAS_HOPS - 1);
}

/* Follows a word in the range of blocks. */
static void follow(struct kmt_marker *m, unsigned long word)
{
	enum kmt_ref_effect effect;
	unsigned long next = word;

	if (unlikely(kmt_in_pair(&m->ranges.percpu, word))) {
		follow_percpu(m, word);
		return;
	}
	effect = count_ref(m, KMT_VIRT, word, false, &next);
	if (effect == KMT_NO_EFFECT && kmt_fast_path_ok(m))
		m->seen_cache[kmt_seen_slot(word)] = word;
	if (unlikely(effect == KMT_EXCESS))
		pass_on(m, effect, next, KMT_ALIAS_HOPS - 1);
}

/**
 * kmt_follow_word - follow a word that may be a reference
 * @m: marker
 * @word: untagged
 *
 * Context: no lock held.
 */
void kmt_follow_word(struct kmt_marker *m, unsigned long word)
{
	if (may_refer(m, word) && !kmt_in_seen_cache(m, word))
		follow(m, word);
}

/*
 * The fast path of following references, where a mark spends most of its time. Nearly all
 * references lead to a small block of a shard that needs one reference and has no special
 * flags, next to the block that was found before. Such a block is read at once, while its
 * tree is locked for the reference that reached it, and possible references in it are
 * pushed onto the mark stack. All other references are left to kmt_follow_word().
 *
 * Successive references often lead to the same shard. Its lock is kept from one to the
 * next, for up to KMT_DRAIN_HOLD words of work. That is some microseconds, in which
 * interrupts are off, and frees and allocations of this region wait.
 */

/*
 * How many cells ahead to prefetch. Blocks that were allocated one after the other have
 * adjacent records, but a walk from one to the next in the tree passes cells further on.
 * On User-mode Linux a scan of 200,000 blocks on a list takes 9 ms, and 21 ms without
 * prefetch; with 4 or 16 cells it takes 13 ms.
 */
#define KMT_DRAIN_AHEAD	8

/**
 * struct kmt_drain - references that are followed
 * @p: how to push the words of their blocks
 * @shared: other markers take part in the mark
 * @held: shard that is locked, or NULL
 * @flags: interrupt state from before
 * @near: block in @held that was found last, or NULL
 * @reached: state, without comm, of a block that was reached and read
 * @must_match: bits of @reached that a block must have before
 * @limit: while the top of the mark stack is not above this, a block fits
 * @budget: work to go, in words, until @held is unlocked for others
 * @budget_at_start: @budget after the last relax(); 0 after flush_stats()
 * @refs: references followed since then
 * @seen_refs: how many of these led to a block that was reached before
 */
struct kmt_drain {
	struct kmt_push p;
	bool shared;
	struct kmt_tree *held;
	unsigned long flags;
	struct kmt_object *near;
	u64 reached;
	u64 must_match;
	struct kmt_mark_entry *limit;
	long budget;
	long budget_at_start;
	unsigned long refs;
	unsigned long seen_refs;
};

static __always_inline void begin(struct kmt_drain *c, struct kmt_marker *m,
				  bool low_refs, bool shared)
{
	struct kmt_core *core = m->core;

	push_begin(&c->p, m, low_refs);
	c->shared = shared;
	c->held = NULL;
	c->flags = 0;
	c->near = NULL;
	c->reached = kmt_pack_state(0, KMT_LIVE | KMT_VIRT | KMT_SCANNED,
				    core->epoch, 1, 1);
	/* KMT_SCANNED may be left from an earlier mark, so it is not compared. */
	c->must_match = kmt_pack_state(0, (u16)~KMT_SCANNED, 0, 0, 0xff);
	/* Let the compiler keep these, not compute them again for each block. */
	OPTIMIZER_HIDE_VAR(c->reached);
	OPTIMIZER_HIDE_VAR(c->must_match);
	c->limit = m->stack.entries + m->stack.max / 2 - KMT_PIECE_WORDS;
	c->budget = 0;
	c->budget_at_start = 0;
	c->refs = 0;
	c->seen_refs = 0;
}

static __always_inline void unlock_shard(struct kmt_drain *c)
{
	if (!c->held)
		return;
	__acquire(&c->held->lock); /* by lock_shard() */
	raw_spin_unlock_irqrestore(&c->held->lock, c->flags);
	c->held = NULL;
	if (c->near)
		c->p.m->near = c->near;
	c->near = NULL;
}

/* Unlocks the shard and adds the counts to those of the marker. */
static __always_inline void flush_stats(struct kmt_drain *c)
{
	struct kmt_marker *m = c->p.m;
	long work = c->budget_at_start - c->budget;

	unlock_shard(c);
	m->stack.refs = c->p.top - m->stack.entries;
	m->stats.hits += c->refs;
	m->stats.objects += c->refs - c->seen_refs;
	m->stats.words += work - c->refs * KMT_DRAIN_STEP;
	m->budget -= work;
	c->budget = 0;
	c->budget_at_start = 0;
	c->refs = 0;
	c->seen_refs = 0;
}

/* Reloads state from the marker, after it did other work. */
static __always_inline void reload(struct kmt_drain *c)
{
	c->p.top = c->p.m->stack.entries + c->p.m->stack.refs;
}

/*
 * Locks the shard of @word; false if it is empty. A new shard does not renew @budget:
 * otherwise references that lead to another region each time, such as those of a tree,
 * would be followed without a relax().
 */
static __always_inline bool lock_shard(struct kmt_drain *c, unsigned long word)
{
	struct kmt_tree *shard = kmt_shard_of(c->p.m->core, word);
	struct kmt_object *near;

	if (likely(shard == c->held))
		return true;
	unlock_shard(c);
	if (kmt_is_empty_hint(shard))
		return false;
	if (c->shared)
		kmt_wait_contended(c->p.m, &shard->lock);
	raw_spin_lock_irqsave(&shard->lock, c->flags);
	c->held = shard;
	__release(&shard->lock); /* until unlock_shard() */
	near = c->p.m->near;
	if (near && kmt_is_in_shard_of(near, word))
		c->near = near;
	return true;
}

/*
 * rb_next() and rb_prev() of a node in a tree, inlined: without calls the loop keeps its
 * state in registers. With calls, and without the hidden constants of begin(), the scans
 * of `make bench` take 5 to 15 % more instructions.
 */
static __always_inline struct rb_node *next_in_tree(struct rb_node *node)
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

static __always_inline struct rb_node *prev_in_tree(struct rb_node *node)
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
		node = word > o->addr ? next_in_tree(&o->node) : prev_in_tree(&o->node);
		o = kmt_to_object(node);
		if (likely(node) && likely(word - o->addr < o->size))
			return o;
	}
	return kmt_tree_find(c->held, word);
}

/* Pushes the words of @o, which was just reached; false if they cannot be read. */
static __always_inline bool push_block(struct kmt_drain *c,
				       const struct kmt_object *o)
{
	struct kmt_mark_entry *top = c->p.top;

	c->p.self = o->addr;
	c->p.bytes = o->size;
	if (unlikely(!push_words(&c->p, ALIGN(o->addr, sizeof(long)),
				 ALIGN_DOWN(o->addr + o->size, sizeof(long))))) {
		c->p.top = top;
		return false;
	}
	c->budget -= c->p.bytes / sizeof(long);
	return true;
}

/*
 * Fast path: counts a reference to @o, and pushes the words in it. Returns false, with @o
 * unchanged, if that takes count_ref().
 */
static __always_inline bool reach(struct kmt_drain *c, struct kmt_object *o)
{
	const u64 state = o->state;
	const u64 differ = state ^ c->reached;

	if (unlikely(differ & c->must_match))
		return false;
	if (unlikely(!(differ & kmt_pack_state(0, 0, 0xffff, 0, 0)))) {
		/* This mark has counted references to it before, mostly. */
		if (unlikely(!o->count))
			return false;
		c->seen_refs++;
		return true;
	}
	if (unlikely(o->size > KMT_PIECE_WORDS * sizeof(long)) ||
	    unlikely(c->p.top > c->limit) || !push_block(c, o))
		return false;
	kmt_set_state(o, (state & kmt_pack_state(0xffff, 0, 0, 0, 0)) |
			 c->reached);
	return true;
}

/* Follows @word; returns false, with nothing done, if the fast path does not apply. */
static __always_inline bool follow_fast(struct kmt_drain *c,
					unsigned long word)
{
	struct kmt_object *o = c->near;

	/* A word that points into the region of @near belongs to the same shard. */
	if ((unlikely(!o) || unlikely((word ^ o->addr) >> KMT_REGION_SHIFT)) &&
	    (word - c->p.lo >= c->p.span || !lock_shard(c, word)))
		return false;
	o = find(c, word);
	if (unlikely(!o))
		return false;
	c->near = o;
	prefetch(o + KMT_DRAIN_AHEAD);
	if (unlikely(!reach(c, o)))
		return false;
	c->refs++;
	c->budget -= KMT_DRAIN_STEP;
	c->p.seen_cache[kmt_seen_slot(word)] = word;
	return true;
}

/*
 * Lets others run, and shares work with the team, if there is one; returns false if the
 * mark is to be given up.
 */
static __always_inline bool relax(struct kmt_drain *c)
{
	flush_stats(c);
	kmt_team_offer(c->p.m);
	reload(c);
	c->budget = KMT_DRAIN_HOLD;
	c->budget_at_start = KMT_DRAIN_HOLD;
	return !kmt_mark_relax(c->p.m);
}

/*
 * drain_fast() has three copies of this, so that no copy tests @low_refs or @shared at run
 * time. With @low_refs one copy serves markers with a team and without.
 */
static __always_inline void drain(struct kmt_marker *m, bool low_refs, bool shared)
{
	const struct kmt_mark_entry *bottom = m->stack.entries;
	struct kmt_drain c;

	begin(&c, m, low_refs, shared);
	while (c.p.top != bottom) {
		unsigned long word;

		if (unlikely(c.budget <= 0)) {
			if (!relax(&c))
				break;
			continue;
		}
		word = (--c.p.top)->ref;
		if (likely(follow_fast(&c, word)))
			continue;
		flush_stats(&c);
		kmt_follow_word(m, word);
		reload(&c);
	}
	flush_stats(&c);
}

/* Follows all references on the mark stack, unless the mark is given up. */
static void drain_fast(struct kmt_marker *m)
{
	if (push_low_refs(m))
		drain(m, true, true);
	else if (m->share.team)
		drain(m, false, true);
	else
		drain(m, false, false);
}

/**
 * kmt_follow_stack - follow the references on the mark stack
 * @m: marker
 *
 * Follows all of them, and those in the blocks that they lead to, unless the mark is
 * given up. Blocks that are not read at once stay on the mark stack.
 *
 * Context: no lock held.
 */
void kmt_follow_stack(struct kmt_marker *m)
{
	if (kmt_fast_path_ok(m))
		drain_fast(m);
	while (m->stack.refs) {
		unsigned long word;

		kmt_team_offer(m);
		word = m->stack.entries[--m->stack.refs].ref;
		if (!kmt_in_seen_cache(m, word) && !kmt_mark_relax(m))
			follow(m, word);
	}
}
