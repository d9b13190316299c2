/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KMT_REPORT_H
#define _KMT_REPORT_H

#include <linux/refcount.h>

#include "glue.h"

/* Bytes of a leak that are shown. */
#define KMT_DUMP_MAX	32

/**
 * struct kmt_site - what leaks are grouped by
 * @stack: handle of their backtrace
 * @space: enum kmt_space
 * @size: of each
 */
struct kmt_site {
	u32 stack;
	u32 space;
	unsigned long size;
};

/**
 * struct kmt_leak - a reported block, as it was when the report was opened
 * @o: its record
 * @head: site of the direct leak that it hangs on; its own if it is direct, or
 *	if that is not known
 * @cpu: whose copy @dump is of, for a per-CPU block
 * @dumped: bytes in @dump
 * @dump: the beginning of its contents
 */
struct kmt_leak {
	struct kmt_object o;
	struct kmt_site head;
	int cpu;
	unsigned int dumped;
	u8 dump[KMT_DUMP_MAX];
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

/* Bytes of the name of a slab cache that are kept. */
#define KMT_CACHE_NAME	48

/**
 * struct kmt_group - a record: leaks of one site that hang on leaks of one site
 * @first: index of the oldest of them
 * @sum: of them
 * @all: of all records whose leaks hang on that site
 * @leader: index of the first leak of the first of these records
 * @tasks: the names that most of them are from
 * @names: how many names there are
 * @cache: name of the slab cache that the oldest is from, or what it is instead
 */
struct kmt_group {
	unsigned long first;
	struct kmt_sum sum;
	struct kmt_sum all;
	unsigned long leader;
	struct kmt_task_sum tasks[KMT_TASKS];
	unsigned int names;
	char cache[KMT_CACHE_NAME];
};

/**
 * struct kmt_report - all reported blocks, as they were at one time
 * @users: who may still read it
 * @nr: how many
 * @max: room in @leaks
 * @sites: how many records
 * @list: in the list of open reports
 * @groups: the records: what loses most bytes first, and then what hangs on it
 * @leaks: ordered by the site that they hang on, by site, then by age
 */
struct kmt_report {
	refcount_t users;
	unsigned long nr;
	unsigned long max;
	unsigned long sites;
	struct list_head list;
	struct kmt_group *groups;
	struct kmt_leak leaks[];
};

extern struct rw_semaphore kmt_reports_sem;

struct kmt_report *kmt_report_open(u16 wanted);
struct kmt_report *kmt_report_current(void);
void kmt_report_close(struct kmt_report *report);
void kmt_report_keep(void);
void kmt_report_drop(void);
unsigned long kmt_site_length(const struct kmt_report *report,
			      unsigned long nr);

/* debugfs.c: shared by the files that show a report */
struct kmt_report *kmt_report_start(struct seq_file *seq, loff_t pos);
void kmt_report_stop(const void *v);
int kmt_file_release(struct inode *inode, struct file *file);

/* print.c */
void kmt_print_record(struct seq_file *seq, const struct kmt_leak *leak);
void kmt_print_head(struct seq_file *seq, const struct kmt_report *report);
void kmt_print_site(struct seq_file *seq, const struct kmt_report *report,
		    unsigned long nr);
void kmt_print_dump(struct seq_file *seq, const char *indent,
		    const struct kmt_leak *leak);
void kmt_print_trace(struct seq_file *seq, const char *indent, u32 stack);

#endif /* _KMT_REPORT_H */
