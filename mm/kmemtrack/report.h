/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KMT_REPORT_H
#define _KMT_REPORT_H

#include <linux/refcount.h>

#include "glue.h"

/* Bytes of a leak that are shown. */
#define KMT_DUMP_MAX	32

/**
 * struct kmt_leak - a reported block, as it was when the report was opened
 * @o: its record
 * @cpu: whose copy @dump is of, for a per-CPU block
 * @dumped: bytes in @dump
 * @dump: the beginning of its contents
 */
struct kmt_leak {
	struct kmt_object o;
	int cpu;
	unsigned int dumped;
	u8 dump[KMT_DUMP_MAX];
};

/**
 * struct kmt_report - all reported blocks, as they were at one time
 * @users: who may still read it
 * @nr: how many
 * @max: room in @leaks
 * @sites: how many allocation sites
 * @leaks: ordered by site, then by age
 */
struct kmt_report {
	refcount_t users;
	unsigned long nr;
	unsigned long max;
	unsigned long sites;
	struct kmt_leak leaks[];
};

struct kmt_report *kmt_report_open(u16 wanted);
struct kmt_report *kmt_report_current(void);
void kmt_report_close(struct kmt_report *report);
void kmt_report_keep(void);
void kmt_report_drop(void);
unsigned long kmt_site_length(const struct kmt_report *report,
			      unsigned long first);

/* debugfs.c: shared by the files that show a report */
struct kmt_report *kmt_report_start(struct seq_file *seq, loff_t pos);
void kmt_report_stop(const void *v);
int kmt_file_release(struct inode *inode, struct file *file);

/* print.c */
void kmt_print_record(struct seq_file *seq, const struct kmt_leak *leak);
void kmt_print_head(struct seq_file *seq, const struct kmt_report *report);
void kmt_print_site(struct seq_file *seq, const struct kmt_report *report,
		    unsigned long first);
void kmt_print_dump(struct seq_file *seq, const char *indent,
		    const struct kmt_leak *leak);
void kmt_print_trace(struct seq_file *seq, const char *indent, u32 stack);

#endif /* _KMT_REPORT_H */
