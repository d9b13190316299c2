// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/kmemleak, as programs expect it: one entry per leak, and empty
 * without leaks.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/moduleparam.h>
#include <linux/seq_file.h>

#include "compat.h"
#include "report.h"

/**
 * struct reader - state of an open file, in memory that is no root
 * @cursor: its position
 * @o: cell of the leak that is printed next
 * @kept: while tracking is off: that leak
 * @leak: copy of the leak
 * @last: the backtrace that was printed last
 */
struct reader {
	struct kmt_cursor cursor;
	struct kmt_object *o;
	const struct kmt_leak *kept;
	struct kmt_leak leak;
	struct kmt_trace_text last;
};

/*
 * Leaks are printed one at a time, in the order of the pool. A reader sees each leak that
 * exists from its first read to its last exactly once, whatever scans, frees and commands
 * happen between its reads.
 */
static void *find_record(struct reader *r, loff_t *pos)
{
	r->cursor.pos = *pos;
	r->kept = kmt_tracking() ? NULL : kmt_kept_leak(*pos);
	if (IS_ERR(r->kept))
		return ERR_CAST(r->kept);
	r->o = kmt_tracking() ? kmt_next_object(&r->cursor, KMT_LEAK) : NULL;
	*pos = r->kept ? r->kept->pos : r->cursor.pos;
	return r->kept || r->o ? r : NULL;
}

/* Holds kmt_scan_mutex until kmt_leaks_stop(), for the reason given at report_seq_start(). */
static void *record_start(struct seq_file *seq, loff_t *pos)
{
	struct reader *r = seq->private;
	int ret = kmt_lock_scan();
	void *v;

	if (ret)
		return ERR_PTR(ret);
	if (!*pos)
		r->cursor.chunk = NULL;
	v = find_record(r, pos);
	if (IS_ERR(v))
		mutex_unlock(&kmt_scan_mutex);
	return v;
}

/* find_record() can fail only in record_start(), since kmt_scan_mutex is held from there on. */
static void *record_next(struct seq_file *seq, void *v, loff_t *pos)
{
	++*pos;
	return find_record(v, pos);
}

static int record_show(struct seq_file *seq, void *v)
{
	struct reader *r = v;
	int ret = 0;

	/* A read at a later offset prints all records before it as well. */
	if (kmt_scan_cancelled())
		return kmt_restart_frozen(-EINTR);
	/* Keeps the names in the backtrace while it is printed. */
	down_read(&kmt_reports_sem);
	if (r->kept)
		kmt_print_record(seq, r->kept, &r->last);
	else if (kmt_take_leak(r->o, KMT_LEAK, &r->leak))
		kmt_print_record(seq, &r->leak, &r->last);
	else
		ret = SEQ_SKIP;
	up_read(&kmt_reports_sem);
	return ret;
}

static const struct seq_operations record_ops = {
	.start	= record_start,
	.next	= record_next,
	.stop	= kmt_leaks_stop,
	.show	= record_show,
};

static int record_open(struct inode *inode, struct file *file)
{
	struct reader *r = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO, 0);
	int ret;

	static_assert(sizeof(*r) <= PAGE_SIZE);
	if (!r)
		return -ENOMEM;
	ret = seq_open(file, &record_ops);
	if (ret)
		kmt_own_free(r, 0);
	else
		((struct seq_file *)file->private_data)->private = r;
	return ret;
}

static int record_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;

	kmt_own_free(seq->private, 0);
	return seq_release(inode, file);
}

static const struct file_operations kmemleak_fops = {
	.open		= record_open,
	.read_iter	= seq_read_iter,
	.splice_read	= kmt_splice_read,
	.write		= kmt_file_write,
	.llseek		= seq_lseek,
	.release	= record_release,
};

static int __init make_file(void)
{
	debugfs_create_file_unsafe("kmemleak", 0644, NULL, NULL, &kmemleak_fops);
	return 0;
}
late_initcall(make_file);

/* Programs look for the parameter in /sys/module/kmemleak/parameters/. */
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "kmemleak."

module_param_cb(verbose, &kmt_switch_ops, &kmt_verbose_param, 0600);
