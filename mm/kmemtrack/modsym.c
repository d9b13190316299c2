// SPDX-License-Identifier: GPL-2.0
/*
 * Names of code that is gone.
 *
 * A leak is often found when the module that made it is unloaded already, and
 * an address in its backtrace says nothing then. So when a module goes, the
 * names of those of its addresses that are in backtraces of living blocks are
 * kept. The place may be loaded with another module later: a name is valid for
 * backtraces from before it went, and the earliest such name is the right one.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/bitops.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/init.h>
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/stackdepot.h>

#include "glue.h"

#define KMT_GONE_BITS	8

/* Beyond this the names are not kept: frames are addresses again. */
#define KMT_GONE_MAX	16384

/* Backtraces that were looked at last, not to look at them again. */
#define KMT_SEEN_BITS	6

/*
 * Traces with an address of a module in them, and the pages of these addresses,
 * a bit each, by their hash. Bits are set when a trace is taken that no CPU
 * knows, and stay: a module in whose pages nobody was seen to allocate goes
 * without a look at any block, and of others few blocks are looked at.
 */
#define KMT_MODULE_TRACE_BITS	16
#define KMT_MODULE_PAGE_BITS	12
static DECLARE_BITMAP(module_traces, BIT(KMT_MODULE_TRACE_BITS));
static DECLARE_BITMAP(module_pages, BIT(KMT_MODULE_PAGE_BITS));

static unsigned int trace_bit(u32 handle)
{
	return hash_32(handle, KMT_MODULE_TRACE_BITS);
}

static unsigned int page_bit(unsigned long pc)
{
	return hash_long(pc >> PAGE_SHIFT, KMT_MODULE_PAGE_BITS);
}

static void set_once(unsigned int bit, unsigned long *bits)
{
	if (!test_bit(bit, bits))
		set_bit(bit, bits);
}

/**
 * kmt_note_module_trace - note whether a trace leads through modules
 * @handle: of the trace
 * @pc: its addresses
 * @nr: how many
 *
 * Context: any but NMI; called for each trace that this CPU does not know.
 */
void kmt_note_module_trace(u32 handle, const unsigned long *pc, unsigned int nr)
{
	unsigned long page = 0;

	while (nr--) {
		if (likely(core_kernel_text(pc[nr])) ||
		    pc[nr] >> PAGE_SHIFT == page)
			continue;
		page = pc[nr] >> PAGE_SHIFT;
		set_once(page_bit(pc[nr]), module_pages);
	}
	if (page)
		set_once(trace_bit(handle), module_traces);
}

/* Whether traces may have addresses of @mod. */
static bool was_traced(const struct module *mod)
{
	for_class_mod_mem_type(type, text) {
		const struct module_memory *mem = &mod->mem[type];
		unsigned long pc = (unsigned long)mem->base & PAGE_MASK;

		for (; pc < (unsigned long)mem->base + mem->size; pc += PAGE_SIZE)
			if (test_bit(page_bit(pc), module_pages))
				return true;
	}
	return false;
}

struct gone_name {
	struct hlist_node node;
	unsigned long pc;
	u32 when;
	char name[];
};

static DEFINE_HASHTABLE(gone_names, KMT_GONE_BITS);
static unsigned int nr_gone;
static DEFINE_MUTEX(gone_mutex);

static struct gone_name *find_gone(unsigned long pc, u32 born)
{
	struct gone_name *g, *best = NULL;

	lockdep_assert_held(&gone_mutex);
	hash_for_each_possible(gone_names, g, node, pc) {
		if (g->pc != pc || (s32)(g->when - born) < 0)
			continue;
		if (!best || (s32)(g->when - best->when) < 0)
			best = g;
	}
	return best;
}

/**
 * kmt_gone_name - the name of an address of a module that is gone
 * @pc: address in a backtrace
 * @born: when the backtrace was taken, low 32 bits of jiffies
 * @buf: set to the name
 * @len: size of @buf
 *
 * Context: may sleep.
 * Return: false if it is the address of something that is still there.
 */
bool kmt_gone_name(unsigned long pc, u32 born, char *buf, size_t len)
{
	struct gone_name *g;

	mutex_lock(&gone_mutex);
	g = find_gone(pc, born);
	if (g)
		strscpy(buf, g->name, len);
	mutex_unlock(&gone_mutex);
	return g;
}

static void keep_name(unsigned long pc, u32 born)
{
	char text[KSYM_SYMBOL_LEN];
	struct gone_name *g;
	int len;

	lockdep_assert_held(&gone_mutex);
	if (nr_gone >= KMT_GONE_MAX || find_gone(pc, born))
		return;
	len = snprintf(text, sizeof(text), "%pS", (void *)pc);
	g = kmalloc(sizeof(*g) + len + 1, GFP_KERNEL);
	if (!g)
		return;
	g->pc = pc;
	g->when = jiffies;
	memcpy(g->name, text, len + 1);
	hash_add(gone_names, &g->node, pc);
	nr_gone++;
}

static void keep_trace(const struct module *mod, u32 stack, u32 born)
{
	unsigned long *entries;
	unsigned int i, nr = stack_depot_fetch(stack, &entries);

	for (i = 0; i < nr; i++)
		if (within_module(entries[i], mod))
			keep_name(entries[i], born);
}

/* The latest birth at which a backtrace was looked at. */
struct seen {
	u32 stack;
	u32 born;
};

/*
 * What was kept for a block will do for an older one with the same backtrace;
 * a younger one may be of the time after a former module went from here.
 */
static bool look_again(struct seen *seen, u32 stack, u32 born)
{
	struct seen *s = &seen[hash_32(stack, KMT_SEEN_BITS)];

	if (!stack || (s->stack == stack && (s32)(s->born - born) >= 0))
		return false;
	s->stack = stack;
	s->born = born;
	return true;
}

static bool may_have_module(const struct kmt_object *o)
{
	/* keep_names() reads both again under the lock of the tree. */
	const u16 flags = data_race(o->flags);
	/* The same. */
	const u32 stack = data_race(o->stack);

	return (flags & KMT_LIVE) && test_bit(trace_bit(stack), module_traces);
}

static void keep_names(const struct module *mod)
{
	struct seen seen[1 << KMT_SEEN_BITS] = {};
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned int i = 0;

	kmt_for_each_cell(&kmt_core, chunk, o) {
		struct kmt_tree *tree;
		unsigned long flags;
		u32 stack, born;

		if (!(++i % 1024))
			cond_resched();
		if (!may_have_module(o))
			continue;
		tree = kmt_lock_object(&kmt_core, o, &flags);
		if (!tree)
			continue;
		stack = o->stack;
		born = o->born;
		raw_spin_unlock_irqrestore(&tree->lock, flags);
		if (look_again(seen, stack, born))
			keep_trace(mod, stack, born);
	}
}

static int module_event(struct notifier_block *nb, unsigned long event,
			void *data)
{
	if (event != MODULE_STATE_GOING || !kmt_tracking() || !was_traced(data))
		return NOTIFY_DONE;
	down_read(&kmt_walk_sem);
	mutex_lock(&gone_mutex);
	keep_names(data);
	mutex_unlock(&gone_mutex);
	up_read(&kmt_walk_sem);
	return NOTIFY_DONE;
}

static struct notifier_block module_nb = {
	.notifier_call = module_event,
	/* Last, when nobody allocates in the module's name any more. */
	.priority = INT_MIN,
};

static int __init watch_modules(void)
{
	return register_module_notifier(&module_nb);
}
late_initcall(watch_modules);
