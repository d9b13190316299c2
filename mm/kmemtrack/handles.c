// SPDX-License-Identifier: GPL-2.0
/*
 * Walks over all handles of backtraces and of names of tasks: in records, in reports, in
 * the table of sites, and in the table of pages.
 *
 * There are two reasons for such a walk: to remove names that no record has (comm.c), and
 * to replace backtraces through code that is about to be freed (module_syms.c).
 */
#include <linux/hash.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "pages.h"
#include "report.h"
#include "core/step.h"

static void walk_pages(void *arg, void (*copy)(void *arg, u32 *trace, u16 comm))
{
	down_write(&kmt_reports_sem);
	kmt_pages_for_each(copy, arg);
	up_write(&kmt_reports_sem);
}

/*
 * Calls @record for each cell, and @copy for each other place with handles. Sources are
 * visited before copies: entries of pages, from which a scan makes records with
 * kmt_reports_sem held, then records, then the reports and sites that are counted from
 * records. So a copy that is made after its own place was visited has a handle from a
 * source that was visited before.
 */
static void walk_handles(void *arg,
			 void (*record)(void *arg, struct kmt_object *o),
			 void (*copy)(void *arg, u32 *trace, u16 comm))
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;
	unsigned int i = 0;

	walk_pages(arg, copy);
	down_read(&kmt_walk_sem);
	kmt_for_each_cell(&kmt_core, chunk, o) {
		if (!(++i % 1024))
			cond_resched();
		record(arg, o);
	}
	up_read(&kmt_walk_sem);
	down_write(&kmt_reports_sem);
	kmt_suppress_forget();
	kmt_reports_for_each(copy, arg);
	kmt_sites_for_each(copy, arg);
	up_write(&kmt_reports_sem);
}

static void use_name_of(void *unused, struct kmt_object *o)
{
	if (READ_ONCE(o->flags) & KMT_LIVE)
		kmt_keep_name(READ_ONCE(o->comm));
}

static void use_name(void *unused, u32 *trace, u16 comm)
{
	kmt_keep_name(comm);
}

static void purge_names(struct work_struct *work)
{
	kmt_begin_purge();
	walk_handles(NULL, use_name_of, use_name);
	kmt_end_purge();
}

#ifdef CONFIG_MODULES

/* Size of the cache of backtraces that were checked last. */
#define KMT_SEEN_BITS	6

/* Held while backtraces are replaced. */
static DEFINE_MUTEX(replace_mutex);

/* A backtrace, and the one that replaces it. */
struct replaced {
	u32 trace;
	u32 with;
};

static bool hint_modular(const struct kmt_object *o)
{
	/* replace_trace() reads both again under the lock of the tree. */
	const u16 flags = data_race(o->flags);
	/* As above. */
	const u32 trace = data_race(o->trace);

	/* A vacant record has no flags. It has a trace for the warning of a double free. */
	return (!flags || (flags & KMT_LIVE)) && kmt_seems_modular(trace);
}

static void set_trace(struct kmt_object *o, u32 trace, u32 with)
{
	struct kmt_held held;

	if (!kmt_lock_record(&kmt_core, o, &held))
		return;
	/* If the cell has another block with this backtrace by now, replace that one's. */
	if (o->trace == trace)
		o->trace = with;
	kmt_unlock(&held);
}

/**
 * struct replacing - replacement of backtraces
 * @mod: module
 * @init: only its __init text is about to be freed, else all of its code
 * @seen: cache of backtraces that were checked last
 */
struct replacing {
	const struct module *mod;
	bool init;
	struct replaced seen[1 << KMT_SEEN_BITS];
};

/* The trace to keep in place of @trace; 0 if there is no memory for it. */
static u32 replacement_of(void *arg, u32 trace)
{
	struct replacing *now = arg;
	struct replaced *r = &now->seen[hash_32(trace, KMT_SEEN_BITS)];

	if (trace && r->trace != trace) {
		r->with = kmt_without_module(now->mod, now->init, trace);
		r->trace = trace;
	}
	return trace ? r->with : 0;
}

static void replace_trace(void *arg, struct kmt_object *o)
{
	struct kmt_held held;
	u32 trace, with;

	if (!hint_modular(o))
		return;
	if (!kmt_lock_record(&kmt_core, o, &held))
		return;
	trace = o->trace;
	kmt_unlock(&held);
	with = replacement_of(arg, trace);
	if (with != trace)
		set_trace(o, trace, with);
}

static void replace_copy(void *arg, u32 *trace, u16 comm)
{
	if (trace)
		*trace = replacement_of(arg, *trace);
}

/* Replaces backtraces through @mod, or its __init text, before that code is freed. */
static void replace_traces(const struct module *mod, bool init)
{
	struct replacing now = { .mod = mod, .init = init };
	unsigned long moved;

	mutex_lock(&replace_mutex);
	/*
	 * split_page() copies the entry of a block's first page to those behind it, once.
	 * After this walk first pages have new traces. After the grace period below, copies
	 * that were made before are complete, and the next walk meets them.
	 */
	walk_pages(&now, replace_copy);
	/* Few callers free parts of blocks, and mostly at boot: one walk is enough. */
	do {
		moved = kmt_records_moved();
		/* When this returns, each move that kmt_records_moved() counted is complete. */
		synchronize_rcu();
		walk_handles(&now, replace_trace, replace_copy);
	} while (kmt_records_moved() != moved);
	WRITE_ONCE(kmt_code_changes, kmt_code_changes + 1);
	mutex_unlock(&replace_mutex);
}

/*
 * Called when a module is live, so that its __init text will be freed, or when it is to
 * be unloaded. A module whose initialisation fails is never live. Backtraces are
 * replaced even while tracking is off, since leaks are shown then, too.
 */
static int module_event(struct notifier_block *nb, unsigned long event,
			void *data)
{
	bool init;

	if (event != MODULE_STATE_LIVE && event != MODULE_STATE_GOING)
		return NOTIFY_DONE;
	/*
	 * When synchronize_rcu() returns, CPUs that began to look up a step
	 * before the module was going have stored it, and no more are stored.
	 */
	if (KMT_STEPS && event == MODULE_STATE_GOING) {
		synchronize_rcu();
		kmt_steps_forget();
	}
	init = kmt_was_initialising(data);
	if (event == MODULE_STATE_GOING ? kmt_was_traced(data) : init)
		replace_traces(data, event == MODULE_STATE_LIVE);
	kmt_flush_warnings();
	return NOTIFY_DONE;
}

static struct notifier_block module_nb = {
	.notifier_call = module_event,
	/* Last, when other notifiers, which may allocate for the module, have run. */
	.priority = INT_MIN,
};

/* Before the initramfs, from which modules may be loaded, is unpacked. */
static int __init watch_modules(void)
{
	return register_module_notifier(&module_nb);
}
core_initcall(watch_modules);
#endif /* CONFIG_MODULES */

static int __init start_purging(void)
{
	kmt_start_purging(purge_names);
	return 0;
}
core_initcall(start_purging);
