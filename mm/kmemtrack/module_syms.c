// SPDX-License-Identifier: GPL-2.0
/*
 * Names of code that is gone.
 *
 * When code is removed, handles.c replaces the backtraces of all blocks that lead through
 * it. In the new backtraces a number (GONE_PC), which stands for a name, replaces each
 * address of that code; see "Backtraces of code that is freed" in kmemtrack-design.rst.
 *
 * A function that async_schedule() has queued may run __init text after the module is
 * live. The kernel waits for it before it frees the text, but there is no notification
 * of that. So a trace through __init text of a live module, or taken by such a function,
 * gets its numbers when it is taken.
 */
#include <linux/async.h>
#include <linux/bitops.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/stackdepot.h>
#include <linux/stringhash.h>
#include <linux/xarray.h>

#include "compat.h"
#include "glue.h"

#define KMT_GONE_BITS	7

/* Largest number of names. Any other code that is freed is shown without its name. */
#define KMT_GONE_MAX	16383

/*
 * Number @id in a backtrace. No code is in the last 16 KiB of addresses; 32-bit
 * Arm has its vectors below them.
 */
#define GONE_PC(id)	(ULONG_MAX - (id))

/* How many modules can be noted as allocating in __init text at a time. */
#define KMT_INIT_MAX	16

/*
 * Traces that have an address of a module, and the pages of these addresses: a bit
 * each, by hash. The bits are set when a trace is taken that this CPU does not
 * remember, and are never cleared. If no bit is set for the pages of a module, no
 * block is checked when the module is unloaded; otherwise only blocks whose trace has its
 * bit set.
 */
#define KMT_MODULE_TRACE_BITS	16
#define KMT_MODULE_PAGE_BITS	12
static struct {
	DECLARE_BITMAP(traces, BIT(KMT_MODULE_TRACE_BITS));
	DECLARE_BITMAP(pages, BIT(KMT_MODULE_PAGE_BITS));
} seen;

/**
 * kmt_seen_bits - find memory of the tracker that may look like addresses
 * @start: set to its first byte
 * @end: set to the byte after the last one
 *
 * On 32-bit machines words of these bitmaps would hide blocks.
 */
void kmt_seen_bits(const char **start, const char **end)
{
	*start = (const char *)&seen;
	*end = (const char *)(&seen + 1);
}

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

/*
 * Modules whose __init text is in a trace, until they are initialised. If there was
 * ever no place for one, blocks are checked for each module that is initialised.
 */
static struct module *initialising[KMT_INIT_MAX];
static bool more_initialising;

static void add_initialising(struct module *mod)
{
	unsigned int i;

	for (i = 0; i < KMT_INIT_MAX; i++) {
		struct module *old = READ_ONCE(initialising[i]);

		if (!old)
			old = cmpxchg(&initialising[i], NULL, mod);
		if (!old || old == mod)
			return;
	}
	WRITE_ONCE(more_initialising, true);
}

/**
 * kmt_was_initialising - may traces have addresses of a module's __init text?
 * @mod: module; it is forgotten
 *
 * Context: any.
 */
bool kmt_was_initialising(struct module *mod)
{
	bool found = READ_ONCE(more_initialising);
	unsigned int i;

	/* Check all places: two CPUs may have noted it at the same time. */
	for (i = 0; i < KMT_INIT_MAX; i++)
		if (READ_ONCE(initialising[i]) == mod &&
		    cmpxchg(&initialising[i], mod, NULL) == mod)
			found = true;
	return found;
}

/*
 * Returns whether @pc is in __init text of a module. Sets @live if the notifier may run
 * before the trace is in a record: the module is live, or this is a function of
 * async_schedule(), for which the initialisation does not wait. Otherwise notes the
 * module.
 */
static bool in_init_text(unsigned long pc, bool *live)
{
	struct module *mod;
	bool found;

	preempt_disable();
	mod = __module_address(pc);
	found = mod && within_module_init(pc, mod);
	if (found && (mod->state == MODULE_STATE_LIVE || current_is_async()))
		*live = true;
	else if (found)
		add_initialising(mod);
	preempt_enable();
	return found;
}

/**
 * kmt_was_traced - may traces have addresses of a module?
 * @mod: module
 *
 * Context: any.
 */
bool kmt_was_traced(const struct module *mod)
{
	unsigned long pc, end;
	int init;

	for (init = 0; init < 2; init++) {
		kmt_module_text(mod, init, &pc, &end);
		for (pc &= PAGE_MASK; pc < end; pc += PAGE_SIZE)
			if (test_bit(page_bit(pc), seen.pages))
				return true;
	}
	return false;
}

struct gone_name {
	struct hlist_node node;
	u32 id;
	char text[];
};

/*
 * Names are never freed, since backtraces in the stack depot are not either. gone_lock
 * protects the table; gone_owner is the task that adds a name under it.
 */
static DEFINE_HASHTABLE(gone_names, KMT_GONE_BITS);
static DEFINE_XARRAY_ALLOC1(gone_ids);
static DEFINE_SPINLOCK(gone_lock);
static struct task_struct *gone_owner;

/**
 * kmt_gone_name - the name of code that is gone
 * @pc: address in a backtrace
 *
 * Context: any but NMI.
 * Return: a string that is never freed; NULL if @pc is the address of code.
 */
const char *kmt_gone_name(unsigned long pc)
{
	const struct gone_name *g;

	if (likely(pc < GONE_PC(KMT_GONE_MAX)))
		return NULL;
	g = xa_load(&gone_ids, ULONG_MAX - pc);
	return g ? g->text : "(module code that is gone)";
}

static struct gone_name *new_name(const char *text, u32 hash)
{
	const gfp_t gfp = GFP_ATOMIC | __GFP_NOWARN;
	size_t size = strlen(text) + 1;
	struct gone_name *g;

	lockdep_assert_held(&gone_lock);
	g = kmalloc(struct_size(g, text, size), gfp);
	if (!g)
		return NULL;
	memcpy(g->text, text, size);
	if (xa_alloc(&gone_ids, &g->id, g, XA_LIMIT(1, KMT_GONE_MAX), gfp)) {
		kfree(g);
		return NULL;
	}
	hash_add(gone_names, &g->node, hash);
	return g;
}

static struct gone_name *find_name(const char *text, u32 hash)
{
	struct gone_name *g;

	hash_for_each_possible(gone_names, g, node, hash)
		if (!strcmp(g->text, text))
			return g;
	return NULL;
}

/*
 * Returns the number that replaces @pc, which is in a module that is about to go. The
 * kmalloc() for a name calls a hook; if its own backtrace leads through __init text,
 * that frame is left without a name. Context: as hooks.
 */
static noinline_for_stack unsigned long gone_pc(unsigned long pc)
{
	char text[KSYM_SYMBOL_LEN];
	struct gone_name *g;
	unsigned long flags;
	u32 hash;
	int len;

	if (READ_ONCE(gone_owner) == current)
		return GONE_PC(0);
	len = snprintf(text, sizeof(text), "%pS", (void *)pc);
	hash = full_name_hash(NULL, text, min_t(int, len, sizeof(text) - 1));
	spin_lock_irqsave(&gone_lock, flags);
	WRITE_ONCE(gone_owner, current);
	g = find_name(text, hash) ?: new_name(text, hash);
	WRITE_ONCE(gone_owner, NULL);
	spin_unlock_irqrestore(&gone_lock, flags);
	return GONE_PC(g ? g->id : 0);
}

/*
 * Saves a trace in which numbers replace addresses in __init text of live modules.
 * Without memory for a name the frame is shown as "(module code that is gone)".
 */
static noinline_for_stack u32 name_init_text(const unsigned long *pc,
					     unsigned int nr, gfp_t gfp)
{
	unsigned long with[CONFIG_KMEMTRACK_STACK_DEPTH];
	unsigned int i;

	nr = min_t(unsigned int, nr, ARRAY_SIZE(with));
	for (i = 0; i < nr; i++) {
		bool live = false;

		with[i] = pc[i];
		if (!core_kernel_text(pc[i]) && in_init_text(pc[i], &live) && live)
			with[i] = gone_pc(pc[i]);
	}
	return kmt_depot_save(with, nr, gfp);
}

/**
 * kmt_register_module_trace - register a trace, if it leads through modules
 * @handle: handle of the trace; replaced if part of the code is about to go
 * @pc: its addresses
 * @nr: how many
 * @gfp: flags to allocate with; KMT_GFP_NONE: do not allocate
 *
 * Context: any but NMI; called for each trace that this CPU does not remember.
 * Return: whether this CPU may remember the trace: false if it leads through __init
 *	text, since each later trace there must register its module, too.
 */
bool kmt_register_module_trace(u32 *handle, const unsigned long *pc,
			       unsigned int nr, gfp_t gfp)
{
	bool init = false, live = false;
	unsigned long page = 0;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (likely(core_kernel_text(pc[i])))
			continue;
		if (!init)
			init = in_init_text(pc[i], &live);
		if (pc[i] >> PAGE_SHIFT == page)
			continue;
		page = pc[i] >> PAGE_SHIFT;
		set_once(page_bit(pc[i]), seen.pages);
	}
	if (unlikely(live))
		*handle = name_init_text(pc, nr, gfp);
	if (page)
		set_once(trace_bit(*handle), seen.traces);
	return !init;
}

/**
 * kmt_seems_modular - may a backtrace lead through modules?
 * @trace: its handle
 *
 * Context: any.
 */
bool kmt_seems_modular(u32 trace)
{
	return test_bit(trace_bit(trace), seen.traces);
}

/**
 * kmt_without_module - the backtrace that replaces one when code is freed
 * @mod: module
 * @init: only its __init text is about to be freed, else all of its code
 * @trace: handle of the backtrace
 *
 * Context: may sleep, one task at a time.
 * Return: @trace if it does not lead through that code; 0 if there is no memory for
 * another one, since the addresses would be taken for those of other code.
 */
noinline_for_stack u32 kmt_without_module(const struct module *mod, bool init,
					  u32 trace)
{
	unsigned long pc[CONFIG_KMEMTRACK_STACK_DEPTH], *entries;
	unsigned int i, nr = stack_depot_fetch(trace, &entries);
	bool gone = false;

	nr = min_t(unsigned int, nr, ARRAY_SIZE(pc));
	for (i = 0; i < nr; i++) {
		pc[i] = entries[i];
		if (init ? within_module_init(pc[i], mod) :
			   within_module(pc[i], mod)) {
			pc[i] = gone_pc(pc[i]);
			gone = true;
		}
	}
	if (!gone)
		return trace;
	trace = kmt_depot_save(pc, nr, GFP_KERNEL | __GFP_NOWARN);
	if (trace) /* It may lead through other modules, too. */
		set_once(trace_bit(trace), seen.traces);
	else
		atomic_long_inc(&kmt_lost_traces);
	return trace;
}
