// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/kmemleak, as the programs that use it expect it: one
 * record per leak, nothing when there is none.
 */
#include <linux/fs.h>
#include <linux/moduleparam.h>
#include <linux/seq_file.h>

#include "compat.h"
#include "report.h"

static void *record_start(struct seq_file *seq, loff_t *pos)
{
	struct kmt_report *report = kmt_report_start(seq, *pos);

	if (IS_ERR(report))
		return report;
	return *pos < report->nr ? &report->leaks[*pos] : NULL;
}

static void *record_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct kmt_report *report = seq->private;

	++*pos;
	return *pos < report->nr ? &report->leaks[*pos] : NULL;
}

static void record_stop(struct seq_file *seq, void *v)
{
	kmt_report_stop(v);
}

static int record_show(struct seq_file *seq, void *v)
{
	kmt_print_record(seq, v);
	return 0;
}

static const struct seq_operations record_ops = {
	.start	= record_start,
	.next	= record_next,
	.stop	= record_stop,
	.show	= record_show,
};

static int record_open(struct inode *inode, struct file *file)
{
	return seq_open(file, &record_ops);
}

const struct file_operations kmt_kmemleak_fops = {
	.open		= record_open,
	.read_iter	= seq_read_iter,
	.splice_read	= kmt_splice_read,
	.write		= kmt_file_write,
	.llseek		= seq_lseek,
	.release	= kmt_file_release,
};

/* Programs look for it in /sys/module/kmemleak/parameters/. */
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "kmemleak."

module_param_cb(verbose, &kmt_switch_ops, &kmt_verbose_param, 0600);
