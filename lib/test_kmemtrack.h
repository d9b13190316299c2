/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _TEST_KMEMTRACK_H
#define _TEST_KMEMTRACK_H

#include <linux/list.h>
#include <linux/rbtree.h>
#include <linux/slab.h>
#include <linux/types.h>

#include "test_kmemtrack_compat.h"

/**
 * enum tk_state - true state of an object, which a report must match
 * @TK_LEAKED: nothing refers to it: a scan reports it
 * @TK_HELD: something refers to it until its kind is dropped
 * @TK_NEVER: must not be reported, even if nothing refers to it
 */
enum tk_state {
	TK_LEAKED,
	TK_HELD,
	TK_NEVER,
};

/**
 * enum tk_how - how an object is freed
 * @TK_KFREE: kfree()
 * @TK_VFREE: vfree()
 * @TK_PERCPU: free_percpu()
 * @TK_CACHE: kmem_cache_free() to the plain cache
 * @TK_CTOR: kmem_cache_free() to the cache with a constructor
 * @TK_TYPESAFE: kmem_cache_free() to the cache that is type-safe under RCU
 * @TK_NOTRACE: kmem_cache_free() to the cache with SLAB_NOLEAKTRACE
 * @TK_MEMPOOL: mempool_destroy()
 * @TK_PART: kmemleak_free(): the part of another object that kmemleak_free_part() left
 * @TK_PAGE: kmemleak_free() and free_page(): a page that was reported by kmemleak_alloc()
 * @TK_PAGES: free_pages(), without a call of a hook
 * @TK_SKB: kfree_skb()
 * @TK_EXACT: free_pages_exact(), without a call of a hook
 * @TK_OTHER: freed with another object
 */
enum tk_how {
	TK_KFREE,
	TK_VFREE,
	TK_PERCPU,
	TK_CACHE,
	TK_CTOR,
	TK_TYPESAFE,
	TK_NOTRACE,
	TK_MEMPOOL,
	TK_PART,
	TK_PAGE,
	TK_PAGES,
	TK_SKB,
	TK_EXACT,
	TK_OTHER,
};

#define TK_NR_CACHES	(TK_NOTRACE - TK_CACHE + 1)

/* Flags of a kind. */
#define TK_CALLER	1	/* made by the process that writes, not by a thread */
#define TK_VOLATILE	2	/* its objects are freed when it is dropped */
#define TK_MODULE	4	/* not freed when the module is removed */
#define TK_GROWS	8	/* more objects can be held later */
#define TK_TRACKED	16	/* only for a detector that tracks pages */

/**
 * struct tk_kind - a way to leak memory, or to hold it
 * @name: its name in commands and in the list of states
 * @make: makes @n objects and notes each; may be called from a thread that exits right
 *	after
 * @lose: of a kind that holds: loses the references, if there are any
 * @size: size of an object, if @make supports several
 * @count: number of objects if the command gives none
 * @where: for @make and @lose
 * @flags: TK_CALLER, TK_VOLATILE, TK_MODULE, TK_GROWS, TK_TRACKED
 * @end: undoes all that @make did except making objects, if @make was called
 *
 * A kind with @lose holds objects, one without leaks them.
 */
struct tk_kind {
	const char *name;
	int (*make)(const struct tk_kind *k, unsigned int n);
	void (*lose)(const struct tk_kind *k);
	size_t size;
	unsigned int count;
	int where;
	unsigned int flags;
	void (*end)(const struct tk_kind *k);
};

/* An object for any container. */
struct tk_node {
	unsigned long head[4];
	union {
		struct list_head list;
		struct hlist_node hlist;
		struct rb_node rb;
		void *next;
	};
	unsigned long key;
	unsigned long tail[4];
};

#define TK_MAX		(1 << 17) /* objects at a time */
#define TK_MAX_THREADS	64

/* Tables of kinds; the last entry has no name. */
extern const struct tk_kind tk_leak_kinds[];
extern const struct tk_kind tk_context_kinds[];
extern const struct tk_kind tk_slot_kinds[];
extern const struct tk_kind tk_container_kinds[];
extern const struct tk_kind tk_defer_kinds[];
extern const struct tk_kind tk_note_kinds[];
extern const struct tk_kind tk_report_kinds[];
extern const struct tk_kind tk_kfence_kinds[];
extern const struct tk_kind tk_page_kinds[];

/**
 * enum tk_which - selects objects
 * @TK_ALL: all
 * @TK_ALL_HELD: those that must not be reported
 * @TK_OF_CACHES: those that must not outlive the module
 */
enum tk_which {
	TK_ALL,
	TK_ALL_HELD,
	TK_OF_CACHES,
};

extern struct mutex tk_mutex;
extern const struct seq_operations tk_truth_ops;

/* truth: under tk_mutex, except for functions that kinds call */
void tk_next_batch(void);
void tk_note(const struct tk_kind *k, const void *p, size_t size,
	     enum tk_how how, enum tk_state state);
void *tk_object(const struct tk_kind *k, enum tk_state state, unsigned int nr);
void *tk_make(const struct tk_kind *k, size_t size, enum tk_state state);
void tk_wipe(void);
bool tk_any(const struct tk_kind *k, enum tk_which which);
void tk_free(const struct tk_kind *k, enum tk_which which);
void tk_lost(const struct tk_kind *k);

/* main */
struct kmem_cache *tk_cache(enum tk_how how);

/* unwound: backtraces of the kernel's unwinder */
void tk_unwind(void);
struct dentry *tk_unwound_file(void);

/* stall: for how long CPUs are kept from running tasks */
struct dentry *tk_stall_file(void);
void tk_stall_exit(void);

/* slot: a table that lives as long as the module */
int tk_slot_init(void);
void tk_slot_exit(void);

/* slot: threads that sleep or run until they are stopped */
int tk_thread_start(const struct tk_kind *k, int (*fn)(void *));
void tk_thread_ready(void);
void tk_thread_sleep(void);
void tk_threads_stop(const struct tk_kind *k);

#endif /* _TEST_KMEMTRACK_H */
