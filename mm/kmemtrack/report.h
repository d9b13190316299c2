/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KMT_REPORT_H
#define _KMT_REPORT_H

#include <linux/refcount.h>

#include "core/sites.h"
#include "glue.h"

/* Bytes of a leak that are shown. */
#define KMT_DUMP_MAX	32

/**
 * struct kmt_leak - a copy of what is shown of a reported block
 * @pos: position of its cell, see struct kmt_cursor
 * @addr: first byte
 * @size: bytes
 * @stack: handle of the allocation's backtrace
 * @pid: of the allocating task
 * @born: low 32 bits of jiffies
 * @comm: handle of the allocating task's name
 * @flags: KMT_*
 * @dumped: bytes in @dump
 * @dump: the beginning of its contents; of a per-CPU block, on kmt_dump_cpu()
 */
struct kmt_leak {
	loff_t pos;
	unsigned long addr;
	unsigned long size;
	u32 stack;
	s32 pid;
	u32 born;
	u16 comm;
	u16 flags;
	u8 dumped;
	u8 dump[KMT_DUMP_MAX] __aligned(sizeof(long));
};

static inline enum kmt_space kmt_leak_space(const struct kmt_leak *leak)
{
	return leak->flags & KMT_SPACE_MASK;
}

static inline int kmt_dump_cpu(void)
{
	return cpumask_first(cpu_possible_mask);
}

/**
 * struct kmt_cursor - where a walk over the leaks is
 * @pos: position of the cell that is next. Positions grow in the order of the
 *	walk and never belong to another cell, whatever memory the pool gets or
 *	gives back, so that a walk can go on at any later time
 * @chunk: chunk of that cell, if no chunk left the pool since; NULL for the first
 *	and at the end
 * @given_back: kmt_pages_given_back at that time
 */
struct kmt_cursor {
	loff_t pos;
	struct kmt_chunk *chunk;
	unsigned long given_back;
};

/**
 * struct kmt_key - what leaks have in common that are counted together; no gaps
 * @head: site of the direct leak that they hang on; their own if they are
 *	direct, or if that is not known
 * @site: their own
 * @comm: while they are counted: handle of their tasks' name
 */
struct kmt_key {
	struct kmt_site head;
	struct kmt_site site;
	unsigned long comm;
};

/**
 * struct kmt_sum - some leaks
 * @nr: how many
 * @bytes: their bytes
 * @indirect: how many of them are indirect
 */
struct kmt_sum {
	unsigned long nr;
	unsigned long bytes;
	unsigned long indirect;
};

/* Names of tasks that are shown of a record. */
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
 * struct kmt_group - a record: leaks of one site that hang on leaks of one site
 * @key: these sites
 * @next: while leaks are counted: number of the next group of the same hash
 * @newest: birth of the youngest of them
 * @least: size of the smallest of them
 * @most: size of the largest of them
 * @o: while leaks are counted: the cell of @oldest
 * @oldest: the oldest of them
 * @sum: of them
 * @all: of all records whose leaks hang on that site
 * @leader: it is the first of these records
 * @names: how many names of tasks there are
 * @tasks: the names that most of them are from
 * @cache: name of the slab cache that the oldest is from, or what it is instead
 */
struct kmt_group {
	struct kmt_key key;
	u32 next;
	u32 newest;
	unsigned long least;
	unsigned long most;
	struct kmt_object *o;
	struct kmt_leak oldest;
	struct kmt_sum sum;
	struct kmt_sum all;
	bool leader;
	unsigned int names;
	struct kmt_task_sum tasks[KMT_TASKS];
	char cache[KMT_CACHE_NAME];
};

/* Suppressions at a time. */
#define KMT_SUPPRESSIONS	32

#define KMT_NOT_SUPPRESSED	(-1)

/**
 * struct kmt_report - the records of all reported blocks, as they were at one time
 * @users: who may still read it
 * @list: in the list of reports
 * @made: jiffies
 * @sum: of all leaks that are shown
 * @suppressed: of all leaks that are not
 * @held: of these, how many each suppression holds back
 * @sites: how many records
 * @groups: the records: what loses most bytes first, and then what hangs on it
 * @bytes: size of @groups
 */
struct kmt_report {
	refcount_t users;
	struct list_head list;
	unsigned long made;
	struct kmt_sum sum;
	struct kmt_sum suppressed;
	unsigned long held[KMT_SUPPRESSIONS];
	unsigned long sites;
	struct kmt_group *groups;
	size_t bytes;
};

struct kmt_object *kmt_next_leak(struct kmt_cursor *c, u16 wanted);
bool kmt_take_leak(struct kmt_object *o, u16 wanted, struct kmt_leak *leak);
const struct kmt_leak *kmt_kept_leak(loff_t pos);

struct kmt_report *kmt_report_open(u16 wanted);
struct kmt_report *kmt_report_current(void);
void kmt_report_close(struct kmt_report *report);
int kmt_report_keep(void);
bool kmt_cache_at(char *name, unsigned long addr);
void kmt_name_source(char *name, enum kmt_space space, unsigned long addr);
unsigned long kmt_new_shown(unsigned long fresh, unsigned long *suppressed);

/* Room for the name of a cache, each byte of it as an octal number. */
#define KMT_CACHE_TEXT	(4 * KMT_CACHE_NAME + 1)

/* print.c */
void kmt_print_record(struct seq_file *seq, const struct kmt_leak *leak);
void kmt_print_head(struct seq_file *seq, const struct kmt_report *report);
void kmt_print_group(struct seq_file *seq, const struct kmt_group *g);
const char *kmt_cache_text(char *text, const char *cache);
void kmt_print_cache(struct seq_file *seq, const char *cache);
void kmt_print_seconds(struct seq_file *seq, u64 ms);
void kmt_print_trace(struct seq_file *seq, const char *indent, u32 stack);

extern unsigned long kmt_leaks_suppressed;

/* suppress.c */
int kmt_suppress(const struct kmt_command *cmd);
int kmt_unsuppress(const struct kmt_command *cmd);
bool kmt_suppressing(void);
void kmt_suppress_forget(void);
int kmt_suppressed_by(u32 stack, u16 comm, const char *cache);
void kmt_print_suppressions(struct seq_file *seq,
			    const struct kmt_report *report);

/* sites.c */
void kmt_sites_for_each(void (*fn)(void *arg, u32 *stack, u16 comm), void *arg);
void kmt_sites_scanned(void);
void kmt_sites_off(void);
void kmt_sites_usage(unsigned long *sites, size_t *bytes);
extern const struct file_operations kmt_sites_fops;

#endif /* _KMT_REPORT_H */
