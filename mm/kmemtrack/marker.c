// SPDX-License-Identifier: GPL-2.0
/*
 * Markers, and the beginning and the end of a mark.
 */
#include "team.h"

/* Words between two calls of kmt_ops.relax(). */
#define KMT_BUDGET	4096

/**
 * kmt_marker_init - prepare a marker
 * @m: marker
 * @core: tracker
 * @stack: room for the mark stack
 * @max: entries in @stack, at least 1
 */
void kmt_marker_init(struct kmt_marker *m, struct kmt_core *core,
		     struct kmt_mark_entry *stack, u32 max)
{
	memset(m, 0, sizeof(*m));
	m->core = core;
	m->stack = stack;
	m->max = max;
	m->budget = KMT_BUDGET;
}

/**
 * kmt_marker_help - prepare a marker that helps another one
 * @m: marker
 * @of: marker of the mark that is under way
 * @f: which references are looked for
 * @stack: room for its own mark stack
 * @max: entries in @stack, at least 1
 *
 * For kmt_recheck(), while nothing else runs.
 */
void kmt_marker_help(struct kmt_marker *m, const struct kmt_marker *of,
		     const struct kmt_filter *f, struct kmt_mark_entry *stack,
		     u32 max)
{
	kmt_marker_init(m, of->core, stack, max);
	m->virt = of->virt;
	m->percpu = of->percpu;
	m->filter = f;
	m->world_stopped = true;
}

/**
 * kmt_marker_join - prepare a marker that takes part in a mark
 * @m: marker
 * @of: marker of the mark, which has begun
 * @stack: room for its own mark stack
 * @max: entries in @stack, at least 1
 * @seen_cache: room for its table of seen_cache words, cleared; or NULL
 *
 * For kmt_team_join(), beside everything else.
 */
void kmt_marker_join(struct kmt_marker *m, const struct kmt_marker *of,
		     struct kmt_mark_entry *stack, u32 max, unsigned long *seen_cache)
{
	kmt_marker_init(m, of->core, stack, max);
	m->virt = of->virt;
	m->percpu = of->percpu;
	m->percpu_outside = of->percpu_outside;
	m->least = of->least;
	m->seen_cache = seen_cache;
}

/* Epochs wrap: make sure that no object carries a number about to come. */
static void forget_epochs(struct kmt_core *core)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_cell(core, chunk, o) {
		struct kmt_tree *tree;
		unsigned long flags;

		if (o == kmt_chunk_cells(chunk))
			kmt_env_rest(GFP_KERNEL);
		tree = kmt_lock_object(core, o, &flags);
		if (!tree)
			continue;
		o->epoch = 0;
		raw_spin_unlock_irqrestore(&tree->lock, flags);
	}
}

static struct kmt_range_pair wide_range_of(struct kmt_core *core,
					   enum kmt_space space)
{
	struct kmt_range_pair range;
	unsigned long flags;

	raw_spin_lock_irqsave(&core->wide[space].lock, flags);
	range = core->wide_range[space];
	raw_spin_unlock_irqrestore(&core->wide[space].lock, flags);
	return range;
}

static bool is_apart(const struct kmt_range *r, const struct kmt_range *virt)
{
	return r->hi && (r->lo < virt->lo || r->hi > virt->hi);
}

/* The largest power of two below which nothing in @virt or @percpu lies. */
static unsigned long least_of(const struct kmt_range *virt,
			      const struct kmt_range_pair *percpu)
{
	unsigned long lo = virt->hi ? virt->lo : ULONG_MAX;
	int i;

	for (i = 0; i < ARRAY_SIZE(percpu->part); i++)
		if (percpu->part[i].hi)
			lo = min(lo, percpu->part[i].lo);
	return lo ? 1UL << ilog2(lo) : 0;
}

/**
 * kmt_mark_begin - begin a mark
 * @m: marker
 *
 * Context: one mark at a time; may sleep.
 */
void kmt_mark_begin(struct kmt_marker *m)
{
	struct kmt_core *core = m->core;
	const struct kmt_range_pair wide = wide_range_of(core, KMT_VIRT);
	u16 epoch = core->epoch + 1;
	int i;

	if (!epoch) {
		/* 0 is the epoch of nothing, so a wrap skips it. */
		forget_epochs(core);
		epoch = 1;
	}
	m->virt = core->linear;
	m->percpu = wide_range_of(core, KMT_PERCPU);
	for (i = 0; i < ARRAY_SIZE(wide.part); i++)
		if (wide.part[i].hi)
			kmt_widen(&m->virt, wide.part[i].lo,
				  wide.part[i].hi - wide.part[i].lo);
	m->percpu_outside = is_apart(&m->percpu.part[0], &m->virt) ||
		   is_apart(&m->percpu.part[1], &m->virt);
	m->least = least_of(&m->virt, &m->percpu);
	m->depth = 0;
	m->blocks = 0;
	m->dense = false;
	m->near = NULL;
	m->stopped = false;
	if (m->seen_cache)
		memset(m->seen_cache, 0, sizeof(*m->seen_cache) << KMT_SEEN_SHIFT);
	WRITE_ONCE(core->maybe_white, true);
	WRITE_ONCE(core->epoch, epoch);
	kmt_set_birth(core, true);
}

/**
 * kmt_mark_end - end a mark
 * @m: marker
 */
void kmt_mark_end(struct kmt_marker *m)
{
	kmt_set_birth(m->core, false);
}

/**
 * kmt_mark_cond_resched - let others run
 * @m: marker
 *
 * Context: no lock held.
 * Return: whether the mark is to be given up.
 */
bool kmt_mark_cond_resched(struct kmt_marker *m)
{
	m->budget = KMT_BUDGET;
	if (m->core->ops->relax && m->core->ops->relax(m))
		m->stopped = true;
	if (!m->team)
		return m->stopped;
	if (m->stopped)
		WRITE_ONCE(m->team->stopped, true);
	m->stopped = READ_ONCE(m->team->stopped);
	return m->stopped;
}
