// SPDX-License-Identifier: GPL-2.0
/*
 * Marking: which blocks do the roots lead to?
 */
#include "glance.h"
#include "team.h"

/* Sweeps for blocks that were born meanwhile; overflow has as many as needed. */
#define KMT_SWEEPS	4

/* After a root was read. */
static void follow_up(struct kmt_marker *m)
{
	/* Other blocks have another date, or none. */
	if (!m->dated && (!m->later || m->depth + m->blocks > m->max / 4))
		kmt_mark_drain(m);
}

/**
 * kmt_mark_word - a root holds this word
 * @m: marker
 * @word: may be a reference, to any byte of a block
 *
 * Context: no lock held.
 */
void kmt_mark_word(struct kmt_marker *m, unsigned long word)
{
	word = kmt_untag(word);
	if (kmt_in(&m->virt, word) || kmt_in_pair(&m->percpu, word))
		kmt_mark_hit(m, word);
}

/**
 * kmt_mark_words - a root holds these words, at addresses that do not matter
 * @m: marker
 * @words: each may be a reference
 * @nr: how many
 *
 * Context: no lock held.
 */
void kmt_mark_words(struct kmt_marker *m, const unsigned long *words,
		    unsigned int nr)
{
	if (m->seen)
		m->seen(m, words, nr, 0);
	else if (m->filter && !m->bytes)
		kmt_sift(m, words, nr);
	while (!m->filter && !m->seen && nr--)
		kmt_mark_word(m, *words++);
	follow_up(m);
}

/* Looks at the words from @at on, at @words; @from is the block they are in. */
static void look(struct kmt_marker *m, const unsigned long *words,
		 unsigned int nr, unsigned long at,
		 const struct kmt_object *from)
{
	unsigned int i;
	bool fresh;

	m->words += nr;
	if (unlikely(m->seen)) {
		m->seen(m, words, nr, at);
		return;
	}
	if (!m->filter) {
		const struct kmt_range_pair percpu = m->percpu;
		const struct kmt_range virt = m->virt;

		for (i = 0; i < nr; i++) {
			const unsigned long word = kmt_untag(words[i]);

			if (kmt_in(&virt, word) || kmt_in_pair(&percpu, word))
				kmt_mark_hit(m, word);
		}
		return;
	}
	/* Words of what was a suspect until now were never looked at. */
	fresh = from && READ_ONCE(from->flags) & KMT_SUSPECT;
	if (!m->bytes || fresh)
		kmt_sift(m, words, nr);
	if (m->bytes || (m->sums && fresh))
		kmt_sift_bytes(m, words, nr, at);
}

static void mark_words(struct kmt_reader *r, unsigned int nr)
{
	look(r->m, r->m->buf, nr, r->at, r->from);
}

static void sum_words(struct kmt_reader *r, unsigned int nr)
{
	r->m->words += nr;
	r->m->sum = kmt_sum(r->m->buf, nr, r->m->sum);
}

/**
 * kmt_sum_object - sum up the contents of a block
 * @m: marker, for its buffer
 * @o: cell of the block
 * @copy: what the cell held when the block was chosen
 *
 * Context: no lock held.
 * Return: the checksum, never 0.
 */
u32 kmt_sum_object(struct kmt_marker *m, struct kmt_object *o,
		   const struct kmt_object *copy)
{
	struct kmt_reader r = { .words = sum_words, .gathers = true, .m = m };

	m->sum = 0;
	kmt_read_object(&r, o, copy);
	return kmt_sum_end(m->sum);
}

/* Makes a block a root that was cleared and has changed since. */
static void make_grey(struct kmt_marker *m, struct kmt_object *o)
{
	struct kmt_tree *tree;
	unsigned long flags;

	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return;
	if (kmt_is_cleared(o))
		o->min = KMT_MIN_GREY;
	raw_spin_unlock_irqrestore(&tree->lock, flags);
}

/*
 * Reads a block that was cleared. If its contents are what they were then, no
 * word in it can be a reference to a younger block: what looks like one points
 * to what was in that place before. If they are not, somebody uses the block: it
 * was no leak, and is a root from now on.
 */
static void read_cleared(struct kmt_marker *m, struct kmt_object *o,
			 const struct kmt_object *copy)
{
	struct kmt_reader r = { .words = mark_words, .m = m, .from = o };

	m->date = copy->born;
	m->dated = kmt_sum_object(m, o, copy) == copy->crc;
	kmt_read_object(&r, o, copy);
	if (!m->dated && !m->filter)
		make_grey(m, o);
	m->dated = false;
}

/* Puts the parts of a large block on the mark stack if others may help. */
static bool split(struct kmt_marker *m, struct kmt_object *o,
		  const struct kmt_object *copy)
{
	unsigned long pos = copy->addr, end = copy->addr + copy->size;

	if (!m->team || copy->size < 2 * KMT_TEAM_PART ||
	    !kmt_is_plainly_read(copy) ||
	    copy->size / KMT_TEAM_PART + 2 > kmt_room_for_blocks(m))
		return false;
	for (; pos < end; pos = ALIGN_DOWN(pos, KMT_TEAM_PART) + KMT_TEAM_PART)
		kmt_mark_push(m, (void *)o + KMT_ENTRY_PART, pos);
	return true;
}

/* Reads a part of a block; of another one if that is in its place now. */
static void read_part(struct kmt_marker *m, struct kmt_object *o,
		      unsigned long pos)
{
	struct kmt_reader r = {
		.words = mark_words, .marks = true, .m = m, .from = o,
	};
	struct kmt_object copy;
	struct kmt_tree *tree;
	unsigned long flags;

	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return;
	copy = *o;
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	if (pos - copy.addr < copy.size && kmt_is_plainly_read(&copy) &&
	    kmt_is_read(&copy) && kmt_reached(&copy, m->core->epoch))
		kmt_read_range(&r, o, &copy, pos, pos +
			       kmt_piece(pos, copy.addr + copy.size,
					 KMT_TEAM_PART));
}

/* Reads a block piece by piece; its tree is locked, and unlocked. */
static noinline void read_rest(struct kmt_marker *m, struct kmt_object *o,
			       struct kmt_tree *tree, unsigned long flags)
{
	struct kmt_reader r = {
		.words = mark_words, .marks = true,
		.gathers = !m->seen && !m->filter, .m = m, .from = o,
	};
	struct kmt_object copy = *o;

	kmt_change_flags(o, KMT_SCANNED, 0);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	m->objects++;
	if (unlikely(kmt_is_cleared(&copy)))
		read_cleared(m, o, &copy);
	else if (!split(m, o, &copy))
		kmt_read_object(&r, o, &copy);
}

/* Reads a block that was reached; if it is small, while its tree is locked. */
static void scan(struct kmt_marker *m, struct kmt_object *o,
		 unsigned long addr)
{
	struct kmt_tree *tree;
	unsigned long flags;
	bool wanted;

	/* A block costs a little even if it is tiny. */
	m->budget -= KMT_STEP_WORDS / 8;
	if (kmt_mark_relax(m))
		return;
	if (unlikely((unsigned long)o & KMT_ENTRY_PART)) {
		read_part(m, (void *)o - KMT_ENTRY_PART, addr);
		return;
	}
	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return;
	wanted = o->addr == addr && kmt_reached(o, m->core->epoch);
	if (wanted) {
		kmt_enter_epoch(o, m->core->epoch);
		wanted = kmt_mark_claim(m, o);
	}
	if (wanted)
		read_rest(m, o, tree, flags);
	else
		raw_spin_unlock_irqrestore(&tree->lock, flags);
}

/**
 * kmt_mark_drain - read what is on the mark stack and what follows from it
 * @m: marker
 *
 * Context: no lock held.
 */
void kmt_mark_drain(struct kmt_marker *m)
{
	while (m->depth + m->blocks) {
		struct kmt_mark_entry *g;

		kmt_team_share(m);
		if (m->depth) {
			kmt_mark_follow(m);
			continue;
		}
		g = &m->stack[m->max - m->blocks--];
		scan(m, g->o, g->addr);
	}
}

/**
 * kmt_mark_object - read a reached object and all that follows from it
 * @m: marker
 * @o: its cell
 *
 * Context: no lock held.
 */
void kmt_mark_object(struct kmt_marker *m, struct kmt_object *o)
{
	scan(m, o, READ_ONCE(o->addr));
	kmt_mark_drain(m);
}

/**
 * kmt_mark_again - read an object once more
 * @m: marker
 * @o: its cell; nothing happens unless the mark reached it
 *
 * Context: no lock held.
 */
void kmt_mark_again(struct kmt_marker *m, struct kmt_object *o)
{
	struct kmt_reader r = { .words = mark_words, .m = m, .from = o };
	struct kmt_object copy;
	struct kmt_tree *tree;
	unsigned long flags;

	tree = kmt_lock_object(m->core, o, &flags);
	if (!tree)
		return;
	copy = *o;
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	if (kmt_reached(&copy, m->core->epoch) && kmt_is_read(&copy)) {
		if (unlikely(kmt_is_cleared(&copy)))
			read_cleared(m, o, &copy);
		else
			kmt_read_object(&r, o, &copy);
	}
	kmt_mark_drain(m);
}

/* Looks at a piece of a root word by word; returns how long it was. */
static unsigned long copy_piece(struct kmt_marker *m, unsigned long pos,
				unsigned long end)
{
	unsigned long len = kmt_piece(pos, end, sizeof(m->buf));

	if (kmt_env_read(m->buf, pos, len))
		look(m, m->buf, len / sizeof(long), pos, NULL);
	else
		kmt_event(m->core, KMT_EV_FAULT);
	return len;
}

static void mark_range(struct kmt_marker *m, unsigned long start,
		       unsigned long end)
{
	const struct kmt_range nothing = {};
	unsigned long pos = ALIGN(start, sizeof(long));
	unsigned long len;

	end = ALIGN_DOWN(end, sizeof(long));
	for (; pos < end && !kmt_mark_relax(m); pos += len) {
		len = kmt_mark_piece(m, &nothing, pos, end);
		if (len)
			follow_up(m);
		else
			len = copy_piece(m, pos, end);
		m->budget -= len / sizeof(long);
	}
}

/* Makes the page of @pos the one that is known to be there. */
static noinline bool map_page(struct kmt_marker *m, unsigned long pos)
{
	unsigned long at = (unsigned long)kmt_env_map(pos);

	if (!at) {
		kmt_event(m->core, KMT_EV_FAULT);
		return false;
	}
	m->mapped = pos / PAGE_SIZE;
	m->shift = at - pos;
	return true;
}

/* The same while nothing else runs, in place, for references to suspects. */
static void mark_range_still(struct kmt_marker *m, unsigned long start,
			     unsigned long end)
{
	unsigned long pos = ALIGN(start, sizeof(long));
	unsigned long next;

	end = ALIGN_DOWN(end, sizeof(long));
	for (; pos < end && !kmt_mark_relax(m); pos = next) {
		next = pos + kmt_piece(pos, end, PAGE_SIZE);
		if (!kmt_sift_mapped(m, pos, next) && map_page(m, pos))
			kmt_sift_mapped(m, pos, next);
	}
}

/**
 * kmt_mark_block - read memory that is no object as a root
 * @m: marker
 * @start: first byte
 * @end: one past the last
 *
 * What cannot be read is left out.
 *
 * Context: no lock held; the caller sees to it that the memory is a root.
 */
void kmt_mark_block(struct kmt_marker *m, unsigned long start,
		    unsigned long end)
{
	if (m->world_stopped)
		mark_range_still(m, start, end);
	else
		mark_range(m, start, end);
	follow_up(m);
}

/**
 * kmt_mark_wide - read what was reached in the wide trees
 * @m: marker
 *
 * Sections of the image, memory of memblock, data of modules: most of what a
 * mark reaches follows from these. So a sweep of the pool finds little that is
 * not read yet, and passes over the rest at one look each.
 *
 * Context: no lock held.
 */
void kmt_mark_wide(struct kmt_marker *m)
{
	unsigned int space = KMT_NR_SPACES;
	struct kmt_object *o;

	while (space--) {
		unsigned long pos = 0;

		while (kmt_go_on(m) &&
		       (o = kmt_next_wide(m->core, space, &pos)))
			kmt_mark_object(m, o);
	}
}

static bool to_be_read(const struct kmt_object *o, u16 epoch)
{
	const struct kmt_state_match was_read = kmt_match_scanned(epoch, 0);

	if (kmt_state_matches(o, &was_read))
		return false;
	/* An answer that is out of date is made good by claim(). */
	return data_race((o->flags & KMT_LIVE) && kmt_reached(o, epoch));
}

/**
 * kmt_mark_chunk - read what was reached in a chunk of the pool
 * @m: marker
 * @chunk: chunk
 *
 * Context: no lock held.
 * Return: whether there was anything.
 */
bool kmt_mark_chunk(struct kmt_marker *m, struct kmt_chunk *chunk)
{
	const u16 epoch = m->core->epoch;
	const struct kmt_state_match innocent = kmt_match_not_suspect(epoch);
	struct kmt_object *o;
	bool found = false;

	if (!kmt_go_on_in(m, chunk))
		return false;
	kmt_for_each_in(chunk, o) {
		if (likely(kmt_state_matches(o, &innocent)))
			continue;
		if (kmt_hint_white(o, epoch) || kmt_hint_accused(o))
			WRITE_ONCE(m->core->maybe_white, true);
		if (!to_be_read(o, epoch))
			continue;
		found = true;
		kmt_mark_object(m, o);
	}
	return found;
}

/**
 * kmt_mark_sweep - read the grey objects and all that was reached
 * @m: marker
 *
 * Finds by a walk over the pool what is reached and has not been read: the
 * grey objects, what the mark stack had no room for, what was born during the
 * mark. What is born while it walks may hold the last reference to a block that
 * was not reached: then it walks again. If there is no such block that makes no
 * difference.
 *
 * Context: no lock held.
 */
void kmt_mark_sweep(struct kmt_marker *m)
{
	struct kmt_core *core = m->core;
	struct kmt_chunk *chunk;
	int rounds = 0;
	bool found;

	kmt_mark_wide(m);
	do {
		found = false;
		WRITE_ONCE(core->maybe_white, false);
		m->overflow = false;
		kmt_for_each_chunk(core, chunk)
			found |= kmt_mark_chunk(m, chunk);
	} while (!m->stopped &&
		 (m->overflow ||
		  (found && READ_ONCE(core->maybe_white) && ++rounds < KMT_SWEEPS)));
	if (m->stopped)
		WRITE_ONCE(core->maybe_white, true);
}
