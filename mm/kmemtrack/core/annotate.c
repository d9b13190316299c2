// SPDX-License-Identifier: GPL-2.0
/*
 * Annotations: what kernel code tells the tracker about single blocks.
 *
 * Scan areas and aliases are rare and need memory of their own: cells in trees
 * apart from the index, ordered by the address of the block they belong to.
 */
#include "fastpath.h"

/* As kmt_lock_find(); counts the annotation as unknown if there is no block. */
static inline struct kmt_object *lock_annotated(struct kmt_core *core,
						enum kmt_space space,
						unsigned long addr,
						struct kmt_held *held)
{
	struct kmt_object *o = kmt_lock_find(core, space, addr, held);

	if (!o)
		kmt_count_event(core, KMT_EV_ANNOTATE_UNKNOWN);
	return o;
}

/**
 * kmt_set_min - change how many references a block needs
 * @core: tracker
 * @space: address space of @addr
 * @addr: an address in the block
 * @min_refs: number of references, KMT_MIN_GREY or KMT_MIN_BLACK
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the block is tracked.
 */
bool kmt_set_min(struct kmt_core *core, enum kmt_space space,
		 unsigned long addr, u8 min_refs)
{
	struct kmt_held held;
	struct kmt_object *o;

	o = lock_annotated(core, space, addr, &held);
	if (!o)
		return false;
	o->min_refs = min_refs;
	if (kmt_needs_refs(o)) {
		/* Walks take KMT_SCANNED for reached, which @min_refs may make wrong. */
		kmt_change_flags(o, 0, KMT_SCANNED);
		WRITE_ONCE(core->maybe_white, true);
	} else {
		/* A root or an ignored block is no leak. */
		kmt_change_flags(o, 0, KMT_LEAK | KMT_NEW | KMT_INDIRECT |
				 KMT_COVERED | KMT_SUSPECT);
	}
	kmt_unlock(&held);
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
	struct kmt_held held;
	struct kmt_object *o;

	o = lock_annotated(core, space, addr, &held);
	if (o) {
		kmt_change_flags(o, set, 0);
		kmt_unlock(&held);
	}
	return o;
}

/**
 * kmt_set_trace - replace the backtrace of a block
 * @core: tracker
 * @space: address space of @addr
 * @addr: an address in the block
 * @trace: handle of the new backtrace
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the block is tracked.
 */
bool kmt_set_trace(struct kmt_core *core, enum kmt_space space,
		   unsigned long addr, u32 trace)
{
	struct kmt_held held;
	struct kmt_object *o;

	o = lock_annotated(core, space, addr, &held);
	if (o) {
		o->trace = trace;
		kmt_unlock(&held);
	}
	return o;
}

/**
 * kmt_set_requested - change what was asked for of a block, which stays where it is
 * @core: tracker
 * @addr: first byte of the block, in KMT_VIRT
 * @requested: bytes
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the block is tracked, and has that many bytes.
 */
bool kmt_set_requested(struct kmt_core *core, unsigned long addr,
		       unsigned long requested)
{
	struct kmt_held held;
	struct kmt_object *o;
	bool fits;

	o = kmt_lock_find(core, KMT_VIRT, addr, &held);
	if (!o)
		return false;
	fits = o->addr == addr && requested <= o->size;
	if (fits)
		o->pid_slack = kmt_pid_slack(kmt_pid(o),
					     kmt_slack_code(o->size, requested));
	kmt_unlock(&held);
	return fits;
}

/* Orders auxiliary cells by block, kind, first byte, size. */
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

/* Returns false, and does nothing, if the tree has an equal cell. */
static bool link_aux(struct kmt_tree *tree, struct kmt_object *aux)
{
	struct rb_node **link = &tree->root.rb_node, *parent = NULL;

	lockdep_assert_held(&tree->lock);
	while (*link) {
		int order = compare_aux(aux, kmt_to_object(*link));

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
 * Returns the first cell at or after @key that is of the same block and kind; of any
 * kind if @key has no flags.
 */
static struct kmt_object *find_aux(struct kmt_tree *tree,
				   const struct kmt_object *key)
{
	struct rb_node *node = tree->root.rb_node;
	struct kmt_object *first = NULL;

	lockdep_assert_held(&tree->lock);
	while (node) {
		if (compare_aux(key, kmt_to_object(node)) > 0) {
			node = node->rb_right;
			continue;
		}
		first = kmt_to_object(node);
		node = node->rb_left;
	}
	if (!first || first->addr != key->addr ||
	    (key->flags && first->flags != key->flags))
		return NULL;
	return first;
}

/* An annotation that add_aux() has to add. */
struct aux_request {
	unsigned long at;	/* an address in the block */
	unsigned long start;
	unsigned long size;
	u16 kind;		/* KMT_AREAS or KMT_ALIAS */
	bool outside;		/* @start is not in the block */
};

/* Checks that an area fits its block; SIZE_MAX means up to the end of the block. */
static bool fit_area(const struct kmt_object *o, const struct aux_request *r,
		     unsigned long *size)
{
	unsigned long room = o->size - (r->start - o->addr);

	*size = r->size == SIZE_MAX ? room : r->size;
	return r->outside || (*size && *size <= room);
}

/*
 * Without memory for the cell an alias is lost, so no references are passed on. If
 * a scan area is lost, KMT_WHOLE makes the mark read the whole block, even if it has
 * other areas: with one area missing the mark would miss references.
 */
static bool add_aux(struct kmt_core *core, const struct aux_request *r,
		    gfp_t gfp)
{
	struct kmt_object *aux, *o;
	unsigned long flags, size = 0;
	struct kmt_tree *others;
	struct kmt_held held;
	bool ok = false, linked = false;

	aux = kmt_cell_alloc(core, gfp, &flags);
	if (!aux) {
		kmt_count_event(core, KMT_EV_LOST_ANNOTATION);
		if (r->kind == KMT_AREAS)
			kmt_set_flags(core, KMT_VIRT, r->at, KMT_WHOLE);
		return false;
	}
	o = lock_annotated(core, KMT_VIRT, r->at, &held);
	if (o) {
		ok = r->kind != KMT_AREAS || fit_area(o, r, &size);
		/*
		 * Link the cell before setting the flag of @o: a reader that sees
		 * the flag and takes the lock of @others finds the cell.
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
		kmt_unlock(&held);
	}
	if (!linked)
		kmt_cell_put(core, aux);
	local_irq_restore(flags);
	if (o && !ok)
		kmt_count_event(core, KMT_EV_BAD_AREA);
	return ok;
}

/**
 * kmt_add_area - only this part of a block, and others so added, hold references
 * @core: tracker
 * @addr: first byte of the part, in the block (KMT_VIRT)
 * @size: its bytes, or SIZE_MAX for all up to the end of the block
 * @gfp: flags to allocate the cell with
 *
 * A part that was added before takes no second cell. A part that does not fit the
 * block is counted (KMT_EV_BAD_AREA) and ignored.
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the part was added; without memory for the cell, the whole block
 * is read from now on.
 */
bool kmt_add_area(struct kmt_core *core, unsigned long addr,
		  unsigned long size, gfp_t gfp)
{
	const struct aux_request r = {
		.at = addr, .start = addr, .size = size, .kind = KMT_AREAS,
	};

	return add_aux(core, &r, gfp);
}

/**
 * kmt_add_outer_area - read memory outside of a block when the block is reached
 * @core: tracker
 * @block: an address in the block (KMT_VIRT)
 * @start: first byte of that memory, which exists as long as the block
 * @size: its bytes
 * @gfp: flags to allocate the cell with
 *
 * Used for memory that describes a block and holds references, too. From now on only
 * the scan areas of the block itself are read, so call kmt_add_area() as well.
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the area was added.
 */
bool kmt_add_outer_area(struct kmt_core *core, unsigned long block,
			unsigned long start, unsigned long size, gfp_t gfp)
{
	const struct aux_request r = {
		.at = block, .start = start, .size = size, .kind = KMT_AREAS,
		.outside = true,
	};

	return add_aux(core, &r, gfp);
}

/**
 * kmt_add_alias - pass on the excess references to one block to another
 * @core: tracker
 * @holder: an address in the block whose excess references are passed on
 * @target: first byte of the block that gets them
 * @gfp: flags to allocate the cell with
 *
 * Context: any but NMI, no tracker lock held.
 * Return: whether the alias was added.
 */
bool kmt_add_alias(struct kmt_core *core, unsigned long holder,
		   unsigned long target, gfp_t gfp)
{
	const struct aux_request r = { .at = holder, .start = target, .kind = KMT_ALIAS };

	return add_aux(core, &r, gfp);
}

/**
 * kmt_get_alias - which block gets the excess references to another
 * @core: tracker
 * @holder: first byte of a block
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
 * kmt_next_area - get the next scan area of a block
 * @core: tracker
 * @owner: first byte of a block with KMT_AREAS
 * @range: the area before, or { 0, 0 } to begin; set to the next one by address
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
 * @owner: first byte of the block, which was removed from its tree
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
