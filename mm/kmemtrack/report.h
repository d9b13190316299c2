/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KMT_REPORT_H
#define _KMT_REPORT_H

#include <linux/refcount.h>

#include "core/site_table.h"
#include "glue.h"

/* Largest number of bytes shown of a leak. */
#define KMT_DUMP_MAX	32

/**
 * struct kmt_leak - copy of the fields of a leak that are shown
 * @pos: position of its cell, see struct kmt_cursor
 * @addr: first byte
 * @size: bytes
 * @trace: handle of the allocation's backtrace
 * @pid: pid of the allocating task
 * @born: low 32 bits of jiffies
 * @comm: handle of the allocating task's name
 * @flags: KMT_*
 * @slack: code for kmt_requested()
 * @dumped: number of bytes in @dump
 * @dump: the beginning of its contents; for a per-CPU block, of kmt_dump_cpu()
 */
struct kmt_leak {
	loff_t pos;
	unsigned long addr;
	unsigned long size;
	u32 trace;
	s32 pid;
	u32 born;
	u16 comm;
	u16 flags;
	u16 slack;
	u8 dumped;
	u8 dump[KMT_DUMP_MAX] __aligned(sizeof(long));
};

static inline enum kmt_space kmt_leak_space(const struct kmt_leak *leak)
{
	return leak->flags & KMT_SPACE_MASK;
}

/* How many bytes of the block were asked for. */
static inline unsigned long kmt_leak_requested(const struct kmt_leak *leak)
{
	return kmt_requested(leak->size, leak->slack);
}

static inline int kmt_dump_cpu(void)
{
	return cpumask_first(cpu_possible_mask);
}

/**
 * struct kmt_cursor - position of a walk over leaks, or over all blocks
 * @pos: position of the next cell. Positions grow in the order of the walk, and never
 *	belong to another cell, even if chunks are added to or leave the pool, so that a
 *	walk can continue at any later time
 * @chunk: chunk of that cell, valid if no chunk has left the pool since; NULL at the
 *	beginning and at the end
 * @given_back: kmt_pages_given_back at that time
 */
struct kmt_cursor {
	loff_t pos;
	struct kmt_chunk *chunk;
	unsigned long given_back;
};

/**
 * struct kmt_key - what the leaks of a group have in common; has no padding
 * @head: site of the direct leak that they hang on; equal to @site if they are direct, or
 *	if it is not known
 * @site: their own site
 * @comm: while leaks are counted: handle of their tasks' name
 */
struct kmt_key {
	struct kmt_site head;
	struct kmt_site site;
	unsigned long comm;
};

/**
 * struct kmt_sum - number and size of some leaks
 * @nr: how many
 * @bytes: their bytes
 * @indirect: how many of them are indirect
 */
struct kmt_sum {
	unsigned long nr;
	unsigned long bytes;
	unsigned long indirect;
};

/* Largest number of names of tasks shown in an entry. */
#define KMT_TASKS	4

/**
 * struct kmt_task_sum - leaks of tasks of one name
 * @nr: how many
 * @comm: handle of the name
 */
struct kmt_task_sum {
	unsigned long nr;
	u16 comm;
};

/**
 * struct kmt_group - an entry of a report: leaks of one site that hang on leaks of one
 *		      other site
 * @key: the two sites
 * @next: while leaks are counted: number of the next group with the same hash
 * @newest: when the youngest leak was allocated
 * @least: size of the smallest leak
 * @most: size of the largest leak
 * @requested: least and most bytes that were asked for; they may be of other leaks
 * @o: while leaks are counted: the cell of @oldest
 * @oldest: the oldest leak
 * @sum: number and size of the leaks
 * @all: sum of all entries whose leaks hang on the same site
 * @leader: this is the first one of these entries
 * @rounded: some leak is larger than what was asked for
 * @names: number of different names of tasks
 * @tasks: the names with most leaks
 * @cache: name of the slab cache of the oldest leak, or the name shown in its place
 */
struct kmt_group {
	struct kmt_key key;
	u32 next;
	u32 newest;
	unsigned long least;
	unsigned long most;
	struct {
		unsigned long least;
		unsigned long most;
	} requested;
	struct kmt_object *o;
	struct kmt_leak oldest;
	struct kmt_sum sum;
	struct kmt_sum all;
	bool leader;
	bool rounded;
	unsigned int names;
	struct kmt_task_sum tasks[KMT_TASKS];
	char cache[KMT_CACHE_NAME];
};

/* Largest number of suppressions. */
#define KMT_SUPPRESSIONS	32

#define KMT_NOT_SUPPRESSED	(-1)

/**
 * struct kmt_report - all reported blocks, as they were at one time
 * @users: reference count
 * @list: link in the list of reports
 * @made: when it was made, in jiffies
 * @sum: all leaks that are shown
 * @suppressed: all leaks that are held back
 * @held_back: how many leaks each suppression holds back
 * @nr_groups: number of entries
 * @groups: the entries, sorted: sites that lose most bytes first, each followed by the
 *	entries that hang on it
 * @bytes: size of @groups
 */
struct kmt_report {
	refcount_t users;
	struct list_head list;
	unsigned long made;
	struct kmt_sum sum;
	struct kmt_sum suppressed;
	unsigned long held_back[KMT_SUPPRESSIONS];
	unsigned long nr_groups;
	struct kmt_group *groups;
	size_t bytes;
};

/* A later scan may read this stack: addresses of leaks must not stay on it. */
#define kmt_wipe(p)	memzero_explicit(p, sizeof(*(p)))

struct kmt_object *kmt_next_object(struct kmt_cursor *c, u16 wanted);

/* Visits all leaks; @c is zeroed before. See kmt_next_object(). */
#define kmt_for_each_leak(c, o, wanted) \
	for (; ((o) = kmt_next_object(c, wanted)); (c)->pos++)

void kmt_leaks_stop(struct seq_file *seq, void *v);
bool kmt_take_leak(struct kmt_object *o, u16 wanted, struct kmt_leak *leak);
const struct kmt_leak *kmt_kept_leak(loff_t pos);

struct kmt_report *kmt_report_make(u16 wanted);
struct kmt_report *kmt_report_current(void);
void kmt_report_put(struct kmt_report *report);
void kmt_report_keep(void);
void kmt_report_limit_ages(u32 now);
bool kmt_cache_at(char *name, unsigned long addr);
void kmt_source_name(char *name, enum kmt_space space, unsigned long addr);
unsigned long kmt_new_shown(unsigned long fresh, unsigned long *suppressed);

/* Room for the escaped name of a cache: each byte may become an octal number. */
#define KMT_CACHE_TEXT	(4 * KMT_CACHE_NAME + 1)

/* print.c */
/**
 * struct kmt_trace_text - text of the backtrace that a reader printed last
 * @trace: its handle
 * @changes: kmt_code_changes at that time
 * @len: bytes of @text, 0 if there is none
 * @text: as in kmemleak's file
 */
struct kmt_trace_text {
	u32 trace;
	unsigned long changes;
	size_t len;
	char text[3072];
};

void kmt_print_record(struct seq_file *seq, const struct kmt_leak *leak,
		      struct kmt_trace_text *last);
void kmt_print_head(struct seq_file *seq, const struct kmt_report *report);
void kmt_print_group(struct seq_file *seq, const struct kmt_group *g);
const char *kmt_cache_text(char *text, const char *cache);
void kmt_print_cache(struct seq_file *seq, const char *cache);
void kmt_print_seconds(struct seq_file *seq, u64 ms);
void kmt_print_comm(struct seq_file *seq, u16 comm);
u64 kmt_ms_since(u32 born);

extern unsigned long kmt_leaks_suppressed;

/* suppress.c */
int kmt_suppress(const struct kmt_command *cmd);
int kmt_unsuppress(const struct kmt_command *cmd);
bool kmt_suppressing(void);
void kmt_suppress_forget(void);
int kmt_suppressed_by(u32 trace, u16 comm, const char *cache);
void kmt_print_suppressions(struct seq_file *seq,
			    const struct kmt_report *report);

/* sites.c */
void kmt_sites_for_each(void (*fn)(void *arg, u32 *trace, u16 comm), void *arg);
void kmt_sites_scanned(void);
void kmt_sites_off(void);
void kmt_sites_usage(unsigned long *sites, size_t *bytes);
int kmt_sites_refresh(void);
u32 kmt_site_id(const struct kmt_site *key);
extern const struct file_operations kmt_sites_fops;

/* objects.c */
extern const struct file_operations kmt_objects_fops;

#endif /* _KMT_REPORT_H */
