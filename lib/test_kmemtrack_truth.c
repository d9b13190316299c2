// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: the true state of each object.
 *
 * The table of states must not hold references to the objects. Addresses are kept in
 * halves, each XORed with a key. Only threads that wipe their stack and exit put halves
 * together; readers of the file handle halves only.
 */
#include <linux/kmemleak.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "test_kmemtrack.h"

#define HALF		(BITS_PER_LONG / 2)
#define HALF_MASK	((u32)((1UL << HALF) - 1))
#define KEY		0x5a3c96e7U

/**
 * struct truth - state of an object
 * @kind: NULL in a free entry
 * @lo: low half of the address, XORed with KEY
 * @hi: high half of the address, XORed with KEY
 * @size: size that was requested
 * @how: enum tk_how
 * @state: enum tk_state
 * @batch: number of the command that made it
 */
struct truth {
	const struct tk_kind *kind;
	u32 lo;
	u32 hi;
	u32 size;
	u8 how;
	u8 state;
	u16 batch;
};

static struct truth truths[TK_MAX];
static unsigned int next_truth;		/* under truth_lock */
static u16 batch;
static DEFINE_RAW_SPINLOCK(truth_lock);

/* Called when a command begins: objects of one command have the same batch. */
void tk_next_batch(void)
{
	batch++;
}

/**
 * tk_note - note the state of a new object
 * @k: its kind
 * @p: its address
 * @size: size that was requested
 * @how: how to free it
 * @state: its state
 *
 * Context: any but NMI.
 */
noinline void tk_note(const struct tk_kind *k, const void *p, size_t size,
		      enum tk_how how, enum tk_state state)
{
	unsigned long addr = (unsigned long)p, flags;
	unsigned int left = TK_MAX;
	struct truth *t;

	raw_spin_lock_irqsave(&truth_lock, flags);
	/* Start after the entry that was used last, which is most likely free. */
	do {
		t = &truths[next_truth];
		next_truth = (next_truth + 1) % TK_MAX;
	} while (t->kind && --left);
	if (!WARN_ONCE(!left, "too many objects\n")) {
		t->kind = k;
		t->lo = (u32)(addr & HALF_MASK) ^ KEY;
		t->hi = (u32)(addr >> HALF) ^ KEY;
		t->size = size;
		t->how = how;
		t->state = state;
		t->batch = batch;
	}
	raw_spin_unlock_irqrestore(&truth_lock, flags);
}

static void *address(const struct truth *t)
{
	return (void *)((unsigned long)(t->hi ^ KEY) << HALF | (t->lo ^ KEY));
}

/**
 * tk_object - find an object
 * @k: its kind
 * @state: its state
 * @nr: its number among objects of that kind and state
 *
 * Context: a thread that wipes its stack and exits, as all code that handles addresses.
 * Return: the object, or NULL.
 */
void *tk_object(const struct tk_kind *k, enum tk_state state, unsigned int nr)
{
	const struct truth *t;

	for (t = truths; t < truths + TK_MAX; t++)
		if (t->kind == k && t->state == state && !nr--)
			return address(t);
	return NULL;
}

/* Allocates a zeroed object with kmalloc(), and notes it. */
noinline void *tk_make(const struct tk_kind *k, size_t size,
		       enum tk_state state)
{
	void *p = kzalloc(size, GFP_KERNEL);

	if (p)
		tk_note(k, p, size, TK_KFREE, state);
	return p;
}

/* Overwrites dead frames below on the stack. */
static noinline void wipe(unsigned int depth)
{
	unsigned long junk[896 / sizeof(long)];

	memset(junk, 0, sizeof(junk));
	OPTIMIZER_HIDE_VAR(depth);
	if (depth)
		wipe(depth - 1);
	/* Not a tail call: each level has a frame of its own. */
	barrier_data(junk);
}

void tk_wipe(void)
{
	wipe(4);
}

static void free_object(enum tk_how how, void *p, size_t size)
{
	switch (how) {
	case TK_KFREE:
		kfree(p);
		break;
	case TK_VFREE:
		vfree(p);
		break;
	case TK_PERCPU:
		free_percpu((void __percpu *)p);
		break;
	case TK_CACHE:
	case TK_CTOR:
	case TK_TYPESAFE:
	case TK_NOTRACE:
		kmem_cache_free(tk_cache(how), p);
		break;
	case TK_MEMPOOL:
		mempool_destroy(p);
		break;
	case TK_PART:
		kmemleak_free(p);
		break;
	case TK_PAGE:
		kmemleak_free(p);
		free_page((unsigned long)p);
		break;
	case TK_PAGES:
		free_pages((unsigned long)p, get_order(size));
		break;
	case TK_SKB:
#ifdef CONFIG_NET
		kfree_skb(p);
#endif
		break;
	case TK_EXACT:
		free_pages_exact(p, size);
		break;
	case TK_OTHER:
		break;
	}
}

static bool wanted(const struct truth *t, const struct tk_kind *k,
		   enum tk_which which)
{
	if (!t->kind || (k && t->kind != k))
		return false;
	switch (which) {
	case TK_ALL:
		return true;
	case TK_ALL_HELD:
		return t->state != TK_LEAKED;
	case TK_OF_CACHES:
		return t->how >= TK_CACHE && t->how <= TK_NOTRACE;
	}
	return false;
}

/**
 * tk_any - are there such objects?
 * @k: kind of the objects, or NULL for any
 * @which: further condition
 *
 * Return: whether there are.
 */
bool tk_any(const struct tk_kind *k, enum tk_which which)
{
	const struct truth *t;

	for (t = truths; t < truths + TK_MAX; t++)
		if (wanted(t, k, which))
			return true;
	return false;
}

/**
 * tk_free - free objects
 * @k: kind of the objects, or NULL for any
 * @which: further condition
 *
 * Parts of other objects are freed first, since the hook in the allocator's free of the
 * whole object does not report the parts as freed.
 */
void tk_free(const struct tk_kind *k, enum tk_which which)
{
	struct truth *t;
	int parts;

	for (parts = 1; parts >= 0; parts--)
		for (t = truths; t < truths + TK_MAX; t++) {
			if (!wanted(t, k, which) ||
			    (parts && t->how != TK_PART))
				continue;
			if (!(t->kind->flags & TK_VOLATILE))
				free_object(t->how, address(t), t->size);
			t->kind = NULL;
		}
}

/* Marks the held objects of kind @k as lost, or freed. */
void tk_lost(const struct tk_kind *k)
{
	struct truth *t;

	for (t = truths; t < truths + TK_MAX; t++) {
		if (t->kind != k || t->state != TK_HELD)
			continue;
		t->state = TK_LEAKED;
		if (k->flags & TK_VOLATILE)
			t->kind = NULL;
	}
}

static void *truth_at(loff_t *pos)
{
	for (; *pos < TK_MAX; ++*pos)
		if (truths[*pos].kind)
			return &truths[*pos];
	return NULL;
}

static void *truth_start(struct seq_file *seq, loff_t *pos)
{
	mutex_lock(&tk_mutex);
	return truth_at(pos);
}

static void *truth_next(struct seq_file *seq, void *v, loff_t *pos)
{
	++*pos;
	return truth_at(pos);
}

static void truth_stop(struct seq_file *seq, void *v)
{
	mutex_unlock(&tk_mutex);
}

static int truth_show(struct seq_file *seq, void *v)
{
	static const char * const states[] = {
		[TK_LEAKED] = "leaked", [TK_HELD] = "held",
		[TK_NEVER] = "never",
	};
	const struct truth *t = v;
	u32 hi = READ_ONCE(t->hi) ^ KEY;

	/* Remove KASAN's tag, since reports do not have it. */
	if (IS_ENABLED(CONFIG_KASAN_SW_TAGS) || IS_ENABLED(CONFIG_KASAN_HW_TAGS))
		hi = sign_extend32(hi, HALF - 9);
	seq_printf(seq, "%s 0x", states[t->state]);
	/* Print the digits that "0x%08lx" would print for the whole address. */
	if (HALF == 16)
		seq_printf(seq, "%04x", hi);
	else if (hi)
		seq_printf(seq, "%x", hi);
	seq_printf(seq, "%0*x", HALF / 4, READ_ONCE(t->lo) ^ KEY);
	seq_printf(seq, " %u %s %u\n", t->size, t->kind->name, t->batch);
	return 0;
}

const struct seq_operations tk_truth_ops = {
	.start	= truth_start,
	.next	= truth_next,
	.stop	= truth_stop,
	.show	= truth_show,
};
