// SPDX-License-Identifier: GPL-2.0
/*
 * Annotations: what the kernel's programmers tell us about single blocks.
 *
 * Rare ones that need room of their own (scan areas, aliases) are cells in trees
 * beside the index, ordered by the address of the block they belong to.
 */
#include "fastpath.h"

static struct kmt_object *to_aux(const struct rb_node *node)
{
	return rb_entry(node, struct kmt_object, node);
}

/* Counts the note if nothing is known of @addr. */
static inline struct kmt_object *lock_noted(struct kmt_core *core,
					    enum kmt_space space,
					    unsigned long addr,
					    struct kmt_tree **treep,
					    unsigned long *flags)
{
	struct kmt_object *o = kmt_lock_find(core, space, addr, treep, flags);

	if (!o)
		kmt_event(core, KMT_EV_NOTE_UNKNOWN);
	return o;
}

/**
 * kmt_set_min - change how many references a block needs
 * @core: tracker
 * @space: address space of @addr
 * @addr: an address in the block
 * @min: number of references, KMT_MIN_GREY or KMT_MIN_BLACK
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the block is tracked.
 */
bool kmt_set_min(struct kmt_core *core, enum kmt_space space,
		 unsigned long addr, u8 min)
{
	struct kmt_tree *tree;
	unsigned long flags;
	struct kmt_object *o;

	o = lock_noted(core, space, addr, &tree, &flags);
	if (!o)
		return false;
	o->min = min;
	/* It needs more references now, and KMT_SCANNED would make it count as reached. */
	if (kmt_judged(o)) {
		kmt_change_flags(o, 0, KMT_SCANNED);
		WRITE_ONCE(core->maybe_white, true);
	}
	/* A root or an ignored block is no leak: forget that it was one. */
	if (!kmt_judged(o))
		kmt_change_flags(o, 0, KMT_LEAK | KMT_NEW | KMT_INDIRECT |
				 KMT_COVERED | KMT_SUSPECT);
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return true;
}

/**
 * kmt_set_flags - set flags of a block
 * @core: tracker
 * @space: address space of @addr
 * @addr: an address in the block
 * @set: KMT_NO_SCAN, KMT_STACK, KMT_TRANSIENT, KMT_WHOLE
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the block is tracked.
 */
bool kmt_set_flags(struct kmt_core *core, enum kmt_space space,
		   unsigned long addr, u16 set)
{
	struct kmt_tree *tree;
	unsigned long flags;
	struct kmt_object *o;

	o = lock_noted(core, space, addr, &tree, &flags);
	if (o) {
		kmt_change_flags(o, set, 0);
		raw_spin_unlock_irqrestore(&tree->lock, flags);
	}
	return o;
}

/**
 * kmt_set_stack - replace the backtrace of a block
 * @core: tracker
 * @space: address space of @addr
 * @addr: an address in the block
 * @stack: handle of the new backtrace
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the block is tracked.
 */
bool kmt_set_stack(struct kmt_core *core, enum kmt_space space,
		   unsigned long addr, u32 stack)
{
	struct kmt_tree *tree;
	unsigned long flags;
	struct kmt_object *o;

	o = lock_noted(core, space, addr, &tree, &flags);
	if (o) {
		o->stack = stack;
		raw_spin_unlock_irqrestore(&tree->lock, flags);
	}
	return o;
}

/* The order in a tree: by block, kind, first byte, bytes. */
static int compare_aux(const struct kmt_object *a, const struct kmt_object *b)
{
	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	if (a->flags != b->flags)
		return a->flags < b->flags ? -1 : 1;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->size != b->size)
		return a->size < b->size ? -1 : 1;
	return 0;
}

/* False if there is one that says the same. */
static bool link_aux(struct kmt_tree *tree, struct kmt_object *aux)
{
	struct rb_node **link = &tree->root.rb_node, *parent = NULL;

	lockdep_assert_held(&tree->lock);
	while (*link) {
		int order = compare_aux(aux, to_aux(*link));

		if (!order)
			return false;
		parent = *link;
		link = order < 0 ? &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&aux->node, parent, link);
	rb_insert_color(&aux->node, &tree->root);
	WRITE_ONCE(tree->nr, tree->nr + 1);
	return true;
}

/*
 * The first one of the block and of the kind that are in @key which is not before
 * @key. With no kind, one of any kind.
 */
static struct kmt_object *find_aux(struct kmt_tree *tree,
				   const struct kmt_object *key)
{
	struct rb_node *node = tree->root.rb_node;
	struct kmt_object *first = NULL;

	lockdep_assert_held(&tree->lock);
	while (node) {
		if (compare_aux(key, to_aux(node)) > 0) {
			node = node->rb_right;
			continue;
		}
		first = to_aux(node);
		node = node->rb_left;
	}
	if (!first || first->addr != key->addr ||
	    (key->flags && first->flags != key->flags))
		return NULL;
	return first;
}

/* An auxiliary cell that add_aux() adds to the block at or around an address. */
struct aux_request {
	unsigned long at;	/* an address in the block */
	unsigned long start;
	unsigned long size;
	u16 kind;		/* KMT_AREAS or KMT_ALIAS */
	bool outside;		/* @start is not in the block */
};

/* Checks an area against its block; SIZE_MAX stands for all that follows. */
static bool fit_area(const struct kmt_object *o, const struct aux_request *r,
		     unsigned long *size)
{
	unsigned long room = o->size - (r->start - o->addr);

	*size = r->size == SIZE_MAX ? room : r->size;
	return r->outside || (*size && *size <= room);
}

/*
 * Without memory for the cell nothing is forwarded, and of a block that had
 * scan areas before all is read again: an area that is missing would hide
 * references.
 */
static bool add_aux(struct kmt_core *core, const struct aux_request *r,
		    gfp_t gfp)
{
	struct kmt_object *aux, *o;
	struct kmt_tree *tree, *others;
	unsigned long flags, dummy, size = 0;
	bool ok = false, linked = false;

	aux = kmt_cell_alloc(core, gfp, &flags);
	if (!aux) {
		kmt_event(core, KMT_EV_LOST_NOTE);
		if (r->kind == KMT_AREAS)
			kmt_set_flags(core, KMT_VIRT, r->at, KMT_WHOLE);
		return false;
	}
	o = lock_noted(core, KMT_VIRT, r->at, &tree, &dummy);
	if (o) {
		ok = r->kind != KMT_AREAS || fit_area(o, r, &size);
		/*
		 * The cell is linked before @o has the flag: a reader of the flag
		 * that takes this lock finds it.
		 */
		if (ok) {
			others = kmt_aux_tree(core, o->addr);
			raw_spin_lock(&others->lock);
			kmt_cell_publish(aux, KMT_AUX | r->kind, o->addr, size);
			aux->start = r->start;
			aux->born = 0;
			linked = link_aux(others, aux);
			if (!linked)
				kmt_cell_clear(aux);
			raw_spin_unlock(&others->lock);
			kmt_change_flags(o, r->kind, 0);
		}
		raw_spin_unlock_irqrestore(&tree->lock, dummy);
	}
	if (!linked)
		kmt_cell_put(core, aux);
	local_irq_restore(flags);
	if (o && !ok)
		kmt_event(core, KMT_EV_BAD_AREA);
	return ok;
}

/**
 * kmt_add_area - only some parts of a block hold references
 * @core: tracker
 * @addr: first byte of the part, in the block (KMT_VIRT)
 * @size: its bytes, or SIZE_MAX for all up to the end of the block
 * @gfp: how memory for the record may be got
 *
 * Several parts add up; one that was named before is noted once. A part outside
 * the block is counted and ignored.
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether it was noted; if there was no memory for it, all of the block
 * is read from now on.
 */
bool kmt_add_area(struct kmt_core *core, unsigned long addr,
		  unsigned long size, gfp_t gfp)
{
	struct aux_request r = {
		.at = addr,
		.start = addr,
		.size = size,
		.kind = KMT_AREAS,
	};

	return add_aux(core, &r, gfp);
}

/**
 * kmt_add_outer_area - what describes a block holds references, too
 * @core: tracker
 * @block: an address in the block (KMT_VIRT)
 * @start: first byte of what describes it, which is there as long as the block
 * @size: its bytes
 * @gfp: how memory for the record may be got
 *
 * It is read when the block is reached. Of the block itself only its scan areas
 * are read from now on: kmt_add_area() is to be called, too.
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether it was noted.
 */
bool kmt_add_outer_area(struct kmt_core *core, unsigned long block,
			unsigned long start, unsigned long size, gfp_t gfp)
{
	struct aux_request r = {
		.at = block,
		.start = start,
		.size = size,
		.kind = KMT_AREAS,
		.outside = true,
	};

	return add_aux(core, &r, gfp);
}

/**
 * kmt_add_alias - references to one block count for another, too
 * @core: tracker
 * @holder: an address in the block whose references in excess are passed on
 * @target: first byte of the block that gets them
 * @gfp: how memory for the record may be got
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether it was noted.
 */
bool kmt_add_alias(struct kmt_core *core, unsigned long holder,
		   unsigned long target, gfp_t gfp)
{
	struct aux_request r = {
		.at = holder,
		.start = target,
		.kind = KMT_ALIAS,
	};

	return add_aux(core, &r, gfp);
}

/**
 * kmt_get_alias - where references in excess go
 * @core: tracker
 * @holder: first byte of a block with KMT_ALIAS
 * @target: set to the first byte of the block that gets them
 *
 * Context: any but NMI; a tree lock may be held.
 * Return: whether there is such a block.
 */
bool kmt_get_alias(struct kmt_core *core, unsigned long holder,
		   unsigned long *target)
{
	const struct kmt_object key = {
		.addr = holder,
		.flags = KMT_AUX | KMT_ALIAS,
	};
	struct kmt_tree *tree = kmt_aux_tree(core, holder);
	struct kmt_object *aux;
	unsigned long flags;

	raw_spin_lock_irqsave(&tree->lock, flags);
	aux = find_aux(tree, &key);
	if (aux)
		*target = aux->start;
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return aux;
}

/**
 * kmt_next_area - the scan areas of a block, one by one
 * @core: tracker
 * @owner: first byte of a block with KMT_AREAS
 * @range: an area, or 0 and 0; set to the next one, in the order of addresses
 *
 * Context: any but NMI; a tree lock may be held.
 * Return: false when there are no more.
 */
bool kmt_next_area(struct kmt_core *core, unsigned long owner,
		   struct kmt_range *range)
{
	const struct kmt_object key = {
		.addr = owner,
		.flags = KMT_AUX | KMT_AREAS,
		.start = range->lo,
		.size = range->hi - range->lo + 1,
	};
	struct kmt_tree *tree = kmt_aux_tree(core, owner);
	struct kmt_object *aux;
	unsigned long flags;

	raw_spin_lock_irqsave(&tree->lock, flags);
	aux = find_aux(tree, &key);
	if (aux) {
		range->lo = aux->start;
		range->hi = aux->start + aux->size;
	}
	raw_spin_unlock_irqrestore(&tree->lock, flags);
	return aux;
}

/**
 * kmt_drop_aux - forget the scan areas and aliases of a block
 * @core: tracker
 * @owner: first byte of the block, which is in no tree any more
 *
 * Context: any but NMI, no tracker lock held.
 */
void kmt_drop_aux(struct kmt_core *core, unsigned long owner)
{
	const struct kmt_object key = { .addr = owner };
	struct kmt_tree *tree = kmt_aux_tree(core, owner);
	struct kmt_object *aux;
	unsigned long flags;

	do {
		raw_spin_lock_irqsave(&tree->lock, flags);
		aux = find_aux(tree, &key);
		if (aux) {
			rb_erase(&aux->node, &tree->root);
			WRITE_ONCE(tree->nr, tree->nr - 1);
			kmt_cell_clear(aux);
		}
		raw_spin_unlock(&tree->lock);
		if (aux)
			kmt_cell_put(core, aux);
		local_irq_restore(flags);
	} while (aux);
}
