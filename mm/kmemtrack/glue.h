/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Declarations shared by the files between the core and the kernel.
 *
 * Locking: "Locks" in kmemtrack-design.rst has all locks, what each protects, and which
 * locks of the kernel are taken inside. In short:
 *
 *	kmt_scan_mutex, or replace_mutex (handles.c) -> kmt_walk_sem, or kmt_reports_sem
 *	-> one of reports_mutex, views_mutex, refs_mutex, memory_mutex
 *	-> cpus_read_lock() -> get_online_mems() -> slab_mutex -> pcpu_alloc_mutex
 *	-> gone_lock (module_syms.c) -> kmt_name_set.lock, or the locks of core.h
 *
 * flush_mutex (warn.c) is taken with no other lock of the detector.
 *
 * The shrinker only tries the first ones, in whatever context. A walker of the pool holds
 * kmt_scan_mutex, or kmt_walk_sem for reading. Hooks make and remove records under the
 * locks of core.h alone, and run with interrupts on between them; they also take
 * kmt_name_set.lock and gone_lock, and locks of the stack depot, the page allocator and
 * vmalloc(). While all CPUs are stopped (snapshot.c), no stopped task holds a lock of
 * core.h: the markers take those of trees and of kmt_core.aux, and no other lock.
 */
#ifndef _KMT_GLUE_H
#define _KMT_GLUE_H

#include <linux/jiffies.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/workqueue.h>

#include "core/command.h"
#include "core/mark.h"

/**
 * enum kmt_mode - what the hooks do
 * @KMT_UNINIT: no block was tracked yet
 * @KMT_EARLY: tracking, before the page allocator is up: without backtraces
 * @KMT_ON: tracking
 * @KMT_OFF: not tracking
 */
enum kmt_mode {
	KMT_UNINIT,
	KMT_EARLY,
	KMT_ON,
	KMT_OFF,
};

/* Seconds between periodic scans, where no other period was set. */
#define KMT_SCAN_PERIOD	600

/**
 * struct kmt_tunables - what users can set
 * @scan_period: seconds between periodic scans, 0 for none
 * @min_age: milliseconds before a block can be a leak, if the scan waits
 * @stacks: task stacks are roots
 * @pages: untracked kernel pages are roots
 * @snapshot: suspects are confirmed by a snapshot, else by waiting
 * @max_pause: microseconds that a snapshot may last; 0: never take one
 * @verbose: the sites of new leaks are logged after a scan, KMT_LOG_SITES at most
 * @panic_on_leak: new leaks in one scan that make the kernel panic; 0: never
 * @rules_off: rules of policy.h that are off, a bit each
 * @sites: limit of the number of allocation sites that are counted; 0: count none
 */
struct kmt_tunables {
	unsigned int scan_period;
	unsigned int min_age;
	unsigned int stacks;
	unsigned int pages;
	unsigned int snapshot;
	unsigned int max_pause;
	unsigned int verbose;
	unsigned int panic_on_leak;
	unsigned int rules_off;
	unsigned int sites;
};

/**
 * enum kmt_confirmed - how a scan came to its verdict
 * @KMT_CONFIRM_SNAPSHOT: by a snapshot, or there were no suspects to take one for
 * @KMT_CONFIRM_WAIT: confirm=wait is set: by further marks, if there were suspects
 * @KMT_CONFIRM_NEVER_STOP: by further marks: max_pause is 0
 * @KMT_CONFIRM_TOO_LONG: by further marks: a snapshot would have taken too long
 * @KMT_CONFIRM_GIVEN_UP: by further marks: a snapshot took too long and was given up
 * @KMT_CONFIRM_CPU_BUSY: by further marks: a CPU did not stop in time
 * @KMT_CONFIRM_NO_MEMORY: by further marks: there was no memory for a snapshot
 * @KMT_CONFIRM_NO_CLOCK: by further marks: the clock stands still in a stop
 */
enum kmt_confirmed {
	KMT_CONFIRM_SNAPSHOT,
	KMT_CONFIRM_WAIT,
	KMT_CONFIRM_NEVER_STOP,
	KMT_CONFIRM_TOO_LONG,
	KMT_CONFIRM_GIVEN_UP,
	KMT_CONFIRM_CPU_BUSY,
	KMT_CONFIRM_NO_MEMORY,
	KMT_CONFIRM_NO_CLOCK,
};

/**
 * struct kmt_scan_result - result of a scan
 * @marks: number of marks
 * @suspects: blocks that the first mark left unreferenced
 * @searches: number of searches for references to them
 * @acquitted_search: suspects that the searches acquitted
 * @acquitted_snapshot: suspects that a snapshot acquitted
 * @how: how leaks were confirmed
 * @busy_cpu: the CPU that did not stop in time, if @how says so
 * @busy_ns: time spent on marks and verdicts
 * @pause_ns: how long all CPUs were stopped, at a stretch
 * @expected_ns: expected @pause_ns
 * @verdict: the leaks
 */
struct kmt_scan_result {
	unsigned long marks;
	unsigned long suspects;
	unsigned long searches;
	unsigned long acquitted_search;
	unsigned long acquitted_snapshot;
	enum kmt_confirmed how;
	int busy_cpu;
	u64 busy_ns;
	u64 pause_ns;
	u64 expected_ns;
	struct kmt_verdict verdict;
};

/**
 * struct kmt_last_scan - the last scan that completed
 * @made: a scan has completed since tracking was switched on
 * @nr: number of completed scans since boot
 * @ms: how long the scan took, including waits
 * @words: words that it read, in all marks
 * @objects: blocks in the pool at its end
 * @out: its result
 */
struct kmt_last_scan {
	bool made;
	unsigned long nr;
	unsigned long ms;
	unsigned long words;
	unsigned long objects;
	struct kmt_scan_result out;
};

/**
 * struct kmt_page_map - pages that a walk must not read as pages
 * @blocks: a bit for each page that is behind a tracked block; NULL if there was no
 *	memory for both bitmaps
 * @rest: a bit for each page that is in a per-CPU chunk, or free
 * @lo: number of the first page
 * @hi: one past the number of the last page
 */
struct kmt_page_map {
	unsigned long *blocks;
	unsigned long *rest;
	unsigned long lo;
	unsigned long hi;
};

static inline bool kmt_page_excluded(const struct kmt_page_map *map,
				     unsigned long pfn)
{
	return map->blocks && pfn >= map->lo && pfn < map->hi &&
	       (test_bit(pfn - map->lo, map->blocks) ||
		test_bit(pfn - map->lo, map->rest));
}

/**
 * struct kmt_percpu_map - per-CPU memory
 * @removed: pcpu_nr_removed before the map was filled
 * @chunks: the range of per-CPU pointers of each chunk
 * @nr_chunks: number of @chunks
 * @max_chunks: room in @chunks
 * @areas: roots: parts of chunks that are in use without a record, as ranges of per-CPU
 *	pointers
 * @nr_areas: number of @areas
 * @max_areas: room in @areas
 * @searched: whether areas were looked for
 * @full: there were more areas than @max_areas
 * @whole: there was no memory to find them, so all memory in chunks is a root
 */
struct kmt_percpu_map {
	unsigned long removed;
	struct kmt_range *chunks;
	unsigned int nr_chunks;
	unsigned int max_chunks;
	struct kmt_range *areas;
	unsigned int nr_areas;
	unsigned int max_areas;
	bool searched;
	bool full;
	bool whole;
};

/**
 * struct kmt_roots - which roots a mark reads
 * @map: pages that are no roots
 * @percpu: per-CPU memory, as it was before the mark began to read memory
 * @scanner: the task that scans
 * @frame: address in its stack; frames below are of the scan itself, and no roots
 * @exact_later: a snapshot follows, which reads the roots that change meanwhile
 * @kfence: KFENCE's metadata, which is no root; may be empty
 */
struct kmt_roots {
	struct kmt_page_map map;
	struct kmt_percpu_map percpu;
	struct kmt_range kfence;
	struct task_struct *scanner;
	unsigned long frame;
	bool exact_later;
};

extern struct kmt_core kmt_core;
extern enum kmt_mode kmt_mode;
extern struct kmt_tunables kmt_tunables;
extern struct kmt_last_scan kmt_last_scan;	/* under kmt_scan_mutex */
extern struct mutex kmt_scan_mutex;
extern struct rw_semaphore kmt_walk_sem;
extern struct rw_semaphore kmt_reports_sem;
extern bool kmt_untracked_slabs;
extern bool kmt_untracked_percpu;

/* On one CPU a per-CPU pointer is the address of the only copy. */
#define KMT_PERCPU_SPACE						\
	(IS_ENABLED(CONFIG_SMP) ? KMT_PERCPU : KMT_VIRT)

static inline bool kmt_tracking(void)
{
	return READ_ONCE(kmt_mode) == KMT_ON;
}

/* init.c */
extern bool kmt_want_on;
bool kmt_may_track_early(void);
int kmt_switch_on(void);
void kmt_switch_off(void);
void kmt_update_early_use(void);

/* memory.c: the tracker's own memory, and marks of pages in page_private() */

/* A page is the tracker's. */
#define KMT_OWN_PAGE	((unsigned long)&kmt_core)

/* kmemtrack_not_root() was called for it. */
#define KMT_NOT_ROOT	(KMT_OWN_PAGE + 1)

/* A stack begins there. */
#define KMT_STACK_PAGE	(KMT_OWN_PAGE + 2)

/* It is in a vmapped stack, and not the first page of it. */
#define KMT_STACK_REST	(KMT_OWN_PAGE + 3)

/* kmemtrack_unreadable() was called for it. */
#define KMT_UNREADABLE	(KMT_OWN_PAGE + 4)

static inline bool kmt_is_own_page(const struct page *page)
{
	return page_private(page) == KMT_OWN_PAGE;
}

static inline bool kmt_not_root_page(const struct page *page)
{
	return page_private(page) == KMT_NOT_ROOT;
}

/* Whether a stack begins at @page. */
static inline bool kmt_is_stack_page(const struct page *page)
{
	return page_private(page) == KMT_STACK_PAGE;
}

/* Whether @page is known to be in a stack, at its beginning or not. */
static inline bool kmt_in_stack_page(const struct page *page)
{
	return kmt_is_stack_page(page) || page_private(page) == KMT_STACK_REST;
}

void *kmt_own_alloc(gfp_t gfp, unsigned int order);
void kmt_own_free(void *mem, unsigned int order);
void kmt_own_split(void *mem, unsigned int order);
void *kmt_own_vzalloc(size_t bytes);
void *kmt_own_alloc_table(size_t bytes);
void kmt_own_vfree(void *mem, size_t bytes);
extern atomic_long_t kmt_own_vpages;

/* comm.c: who allocates? */
void kmt_fill_origin(struct kmt_origin *origin, unsigned long fp,
		     unsigned long caller, gfp_t gfp);
extern atomic_long_t kmt_lost_names;
u16 kmt_task_comm(void);
void kmt_comm_init(void);
const char *kmt_comm(u16 handle);
int kmt_pin_names(void);
void kmt_unpin_names(int pin);
void kmt_start_purging(work_func_t purge);
void kmt_begin_purge(void);
void kmt_keep_name(u16 handle);
void kmt_end_purge(void);
const char *kmt_escape(char *text, size_t room, const char *name, size_t max,
		       const char *also);

struct kmt_log_task {
	char text[4 * TASK_COMM_LEN];
};

const char *kmt_escape_log_task(struct kmt_log_task *name, const char *comm);

/* backtrace.c: backtraces */
extern unsigned long kmt_code_changes;
const char *kmt_code_name(char *text, unsigned long pc);
void kmt_print_frames(struct seq_file *seq, const char *indent,
		      const unsigned long *entries, unsigned int nr);
void kmt_print_trace(struct seq_file *seq, const char *indent, u32 trace);
extern atomic_long_t kmt_walked;
extern atomic_long_t kmt_unwound;
u32 kmt_trace_save_new(unsigned long fp, unsigned long caller, gfp_t gfp);
u32 kmt_trace_save(unsigned long fp, unsigned long caller, gfp_t gfp);
void kmt_cpu_tables_alloc(void);
void kmt_cpu_tables_free(void);

/* state.c: what could not be recorded, the mutex of scans, records that move */
extern atomic_long_t kmt_lost_atomic;
extern atomic_long_t kmt_lost_early;
extern atomic_long_t kmt_lost_traces;
void kmt_set_untracked(void);
void kmt_count_untracked(void);
long kmt_begin_untracked(void);
void kmt_end_untracked(long before, bool percpu);
void kmt_count_lost(gfp_t gfp);
int kmt_lock_scan(void);
void kmt_note_poison(void);
int kmt_restart_frozen(int ret);
void kmt_set_records_moved(void);
unsigned long kmt_records_moved(void);

/* pool_memory.c: memory for records */

/*
 * Cells that the early pool has even with early_pool=0: some must exist before memory
 * of memblock can be used.
 */
#define KMT_EARLY_MIN	64

extern unsigned int kmt_early_pool;
extern unsigned long kmt_grown;
extern unsigned long kmt_pages_given_back;
extern unsigned long kmt_passes;
extern unsigned long kmt_pool_moves;
void kmt_add_early(void);
int kmt_leave_early(void);
void *kmt_chunk_alloc(struct kmt_core *core, gfp_t gfp, size_t *bytes);
bool kmt_chunk_stays(const void *mem);
void kmt_pool_low(struct kmt_core *core);
unsigned long kmt_used_cells(void);
void kmt_await_chunks(void);
void kmt_give_back_all(void);
void kmt_keep_direct_leaks(struct kmt_core *core, const struct kmt_rank *rank,
			   unsigned long nr);
const struct kmt_rank *kmt_direct_leak_of(const struct kmt_object *o,
					  const struct kmt_rank *hint);

/* warn.c */
void kmt_warn(struct kmt_core *core, enum kmt_event ev,
	      const struct kmt_object *old, const struct kmt_object *new);
void kmt_flush_warnings(void);

/* progress.c */
bool kmt_scan_cancelled(void);
bool kmt_scan_should_stop(struct kmt_marker *m);
void kmt_wait(struct kmt_marker *m, unsigned int before);

/* workers.c: threads that help with a mark */
void kmt_destroy_helpers(void);

/* module_syms.c: names of code that is gone */
#ifdef CONFIG_MODULES
struct module;

bool kmt_was_initialising(struct module *mod);
bool kmt_was_traced(const struct module *mod);
bool kmt_seems_modular(u32 trace);
void kmt_seen_bits(const char **start, const char **end);
u32 kmt_without_module(const struct module *mod, bool init, u32 trace);
bool kmt_register_module_trace(u32 *handle, const unsigned long *pc,
			       unsigned int nr, gfp_t gfp);
const char *kmt_gone_name(unsigned long pc);
#else
static inline bool kmt_register_module_trace(u32 *handle,
					     const unsigned long *pc,
					     unsigned int nr, gfp_t gfp)
{
	return true;
}

static inline const char *kmt_gone_name(unsigned long pc)
{
	return NULL;
}
#endif

/* root_stacks.c, root_percpu.c, root_pages.c */

/* Maximum number of threads that help with a mark. With more, most of them wait. */
#define KMT_HELPERS	7

void kmt_flag_stacks(void);
bool kmt_is_helper(const struct task_struct *task);
extern struct kthread_worker *kmt_workers[KMT_HELPERS];
struct task_struct *kmt_next_task(int *nr);
void kmt_mark_stacks(struct kmt_marker *m, const struct kmt_roots *roots);
void kmt_mark_memory(struct kmt_marker *m, const struct kmt_roots *roots);
bool kmt_page_map_live(void);
void kmt_page_map_drop(unsigned long addr, unsigned long size);
void kmt_page_map_prepare(struct kmt_marker *m, struct kmt_roots *roots);
void kmt_page_map_add_free(struct kmt_marker *m, struct kmt_roots *roots);
unsigned long kmt_pages_of_cpus(void);
void kmt_percpu_map_fill(struct kmt_percpu_map *p);
bool kmt_percpu_map_is_current(const struct kmt_percpu_map *p);
void kmt_percpu_map_free(struct kmt_percpu_map *p);
void kmt_mark_percpu(struct kmt_marker *m, const struct kmt_percpu_map *p);
unsigned long kmt_percpu_pages(void);
void kmt_roots_init(struct kmt_roots *roots);
void kmt_roots_fill(struct kmt_marker *m, struct kmt_roots *roots);
void kmt_roots_free(struct kmt_roots *roots);
bool kmt_page_unreadable(struct page *page);
unsigned long kmt_head_bytes(struct page *head);
unsigned long kmt_free_pages_from(const struct page *page, unsigned long pfn);

/* root_kfence.c */
#ifdef CONFIG_KFENCE
void kmt_kfence_begin(struct kmt_range *none);
void kmt_kfence_bss(const char **start, const char **end);
void kmt_mark_kfence(struct kmt_marker *m);
#else
static inline void kmt_kfence_begin(struct kmt_range *none)
{
}

static inline void kmt_kfence_bss(const char **start, const char **end)
{
	*start = *end = NULL;
}

static inline void kmt_mark_kfence(struct kmt_marker *m)
{
}
#endif

/* scanner.c */
int kmt_scan(void);
void kmt_scan_every(unsigned int seconds);
void kmt_scan_periodically(void);

/*
 * Whether a scan ends with a count that takes long: always in the kernel thread. A user
 * waits for a scan on request, so it counts only if the result was @wanted before.
 */
static inline bool kmt_counts_after_scan(bool wanted)
{
	return wanted || (current->flags & PF_KTHREAD);
}

/* control.c */
int kmt_execute(const struct kmt_command *cmd);
extern const struct kernel_param_ops kmt_switch_ops;
extern struct kmt_param kmt_verbose_param;

/* print.c */
struct kmt_log_name {
	char text[2 * sizeof(long) + 3];
};

void kmt_set_log_name(struct kmt_log_name *name, unsigned long addr);
void kmt_log_new(unsigned long nr);
int kmt_log_sites(void);
void kmt_log_found(unsigned long fresh, unsigned long leaks);
unsigned long kmt_allocated_by(u32 trace);

/* where.c */
const char *kmt_state_name(const struct kmt_object *o);
int kmt_log_address(unsigned long addr);
int kmt_find_refs(unsigned long addr, unsigned int levels);
int kmt_refs_show(struct seq_file *seq, void *v);

/* meminfo.c: all pages, by what they are */
enum kmt_memory_class {
	KMT_MEM_SLAB,		/* slabs with tracked blocks in them */
	KMT_MEM_SLAB_UNTRACKED,	/* other slabs */
	KMT_MEM_LARGE,		/* kmalloc() of more than fits a slab */
	KMT_MEM_VMALLOC,
	KMT_MEM_PERCPU,		/* chunks that were made since boot */
	KMT_MEM_TABLES,		/* page tables */
	KMT_MEM_FILE,		/* page cache */
	KMT_MEM_SHMEM,
	KMT_MEM_ANON,
	KMT_MEM_HUGETLB,
	KMT_MEM_MOVABLE,	/* of drivers that support moving it */
	KMT_MEM_STACKS,
	KMT_MEM_MARKED,		/* kmemtrack_not_root() was called */
	KMT_MEM_OWN,		/* the tracker's */
	KMT_MEM_FREE,		/* in the buddy allocator, or kept by CPUs */
	KMT_MEM_RESERVED,	/* reserved or offline, but part of MemTotal */
	KMT_MEM_POISONED,
	KMT_MEM_UNKNOWN,
	KMT_NR_MEMORY,
};

enum kmt_memory_class kmt_memory_class_of(struct page *page);
const char *kmt_memory_name(enum kmt_memory_class class);
void kmt_memory_scanned(void);
int kmt_memory_show(struct seq_file *seq, void *v);

/* report.c */
void kmt_reports_for_each(void (*fn)(void *arg, u32 *trace, u16 comm),
			  void *arg);
void kmt_report_refresh(void);
void kmt_report_drop(void);

/* debugfs.c */
ssize_t kmt_file_write(struct file *file, const char __user *buf, size_t len,
		       loff_t *ppos);

/* Extends 32 bits of jiffies to a full word, given that they are in the past. */
static inline unsigned long kmt_when(u32 born)
{
	/* Read jiffies once: a tick between two reads would change the result. */
	const unsigned long now = jiffies;

	return now - (u32)((u32)now - born);
}

#endif /* _KMT_GLUE_H */
