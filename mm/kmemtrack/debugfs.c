// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/kmemtrack and kmemtrack_info/.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kmemleak.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "pages.h"
#include "recent.h"
#include "report.h"
#include "scan.h"

/*
 * A write may have up to KMT_COMMANDS commands, one per line, in its first KMT_WRITE_MAX
 * bytes. Any number of blanks and NUL bytes may follow.
 */
#define KMT_WRITE_MAX	1024
#define KMT_COMMANDS	16

/* Checks that @buf has only padding; copies it piece by piece. */
static int check_padding(const char __user *buf, size_t len)
{
	char *text = kmalloc(KMT_WRITE_MAX, GFP_KERNEL);
	int ret = text ? 0 : -ENOMEM;

	while (len && !ret) {
		size_t part = min_t(size_t, len, KMT_WRITE_MAX);

		if (fatal_signal_pending(current))
			ret = -EINTR;
		else if (copy_from_user(text, buf, part))
			ret = -EFAULT;
		else if (!kmt_is_padding(text, part))
			ret = -EINVAL;
		buf += part;
		len -= part;
		cond_resched();
	}
	kfree(text);
	return ret;
}

/**
 * kmt_file_write - execute commands
 * @file: open file
 * @buf: commands, one per line
 * @len: length of @buf
 * @ppos: set to 0, so that a read after a write begins with the first line
 *
 * All lines are checked before the first command is executed.
 *
 * Return: @len; less if a signal interrupted a command, which is to be written again; or
 * an error of the parser or of a command.
 */
ssize_t kmt_file_write(struct file *file, const char __user *buf, size_t len,
		       loff_t *ppos)
{
	const size_t head = min_t(size_t, len, KMT_WRITE_MAX);
	struct kmt_command *cmds;
	int i, nr, ret = 0;
	char *text;

	text = memdup_user(buf, head);
	if (IS_ERR(text))
		return PTR_ERR(text);
	/*
	 * A scan, which another task or one of the commands may make meanwhile, would
	 * read addresses in commands on this task's stack as references.
	 */
	cmds = kcalloc(KMT_COMMANDS, sizeof(*cmds), GFP_KERNEL);
	if (!cmds) {
		kfree(text);
		return -ENOMEM;
	}
	kmemleak_ignore(cmds);
	/* Only frames of this task refer to the text. */
	if (head)
		kmemleak_ignore(text);
	nr = kmt_parse_lines(text, head, cmds, KMT_COMMANDS);
	if (nr < 0)
		ret = nr;
	else if (len > head)
		ret = check_padding(buf + head, len - head);
	for (i = 0; i < nr && !ret; i++)
		ret = kmt_execute(&cmds[i]);
	/* A restart would execute the commands before this one again. */
	if (ret == -ERESTARTNOINTR && i > 1) {
		len = cmds[i - 1].at;
		ret = 0;
	}
	kfree_sensitive(cmds);
	kfree(text);
	if (ret)
		return ret;
	*ppos = 0;
	return len;
}

/*
 * Position 0 is the head, position n + 1 is entry n. A reader keeps its report until it
 * reads from the start again.
 *
 * kmt_scan_mutex is held until kmt_leaks_stop(): a task that counts or prints leaks has their
 * addresses in registers and on its stack, where a scan would find them.
 */
static void *report_seq_start(struct seq_file *seq, loff_t *pos)
{
	struct kmt_report *report = seq->private;
	int ret = kmt_lock_scan();

	if (ret)
		return ERR_PTR(ret);
	if (!*pos || !report) {
		report = kmt_report_current();
		if (IS_ERR(report)) {
			mutex_unlock(&kmt_scan_mutex);
			return report;
		}
		kmt_report_put(seq->private);
		seq->private = report;
	}
	return *pos <= report->nr_groups ? pos : NULL;
}

static void *report_seq_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct kmt_report *report = seq->private;

	return ++*pos <= report->nr_groups ? pos : NULL;
}

static int report_seq_show(struct seq_file *seq, void *v)
{
	struct kmt_report *report = seq->private;
	loff_t pos = *(loff_t *)v;

	if (pos)
		kmt_print_group(seq, &report->groups[pos - 1]);
	else
		kmt_print_head(seq, report);
	return 0;
}

static const struct seq_operations report_seq_ops = {
	.start	= report_seq_start,
	.next	= report_seq_next,
	.stop	= kmt_leaks_stop,
	.show	= report_seq_show,
};

static int report_open(struct inode *inode, struct file *file)
{
	return seq_open(file, &report_seq_ops);
}

static int report_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;

	kmt_report_put(seq->private);
	return seq_release(inode, file);
}

static const struct file_operations report_fops = {
	.owner		= THIS_MODULE,
	.open		= report_open,
	.read_iter	= seq_read_iter,
	.splice_read	= kmt_splice_read,
	.write		= kmt_file_write,
	.llseek		= seq_lseek,
	.release	= report_release,
};

/* May sleep for as long as it takes to count all leaks. */
static int kmt_suppressions_show(struct seq_file *seq, void *v)
{
	struct kmt_report *report;
	int ret = kmt_lock_scan();

	if (ret)
		return ret;
	report = kmt_report_current();
	if (!IS_ERR(report))
		kmt_print_suppressions(seq, report);
	kmt_report_put(report);
	mutex_unlock(&kmt_scan_mutex);
	return PTR_ERR_OR_ZERO(report);
}

/*
 * kmemtrack_info/stats: each line has a name and a value. Names do not change; new ones
 * may be added.
 */

static const char * const event_names[KMT_NR_EVENTS] = {
	[KMT_EV_LOST_NOMEM]	= "lost_no_memory",
	[KMT_EV_LOST_ANNOTATION]	= "lost_annotations",
	[KMT_EV_LOST_NMI]	= "lost_nmi",
	[KMT_EV_OVERLAP]	= "overlapping_allocations",
	[KMT_EV_FREE_UNKNOWN]	= "frees_of_unknown",
	[KMT_EV_FREE_TWICE]	= "double_frees",
	[KMT_EV_FREE_INSIDE]	= "frees_inside_block",
	[KMT_EV_FREE_AROUND]	= "frees_around_block",
	[KMT_EV_BAD_SIZE]	= "impossible_sizes",
	[KMT_EV_BAD_AREA]	= "scan_areas_outside_block",
	[KMT_EV_ANNOTATE_UNKNOWN] = "annotations_of_unknown",
	[KMT_EV_MARK_STACK_FULL]	= "mark_stack_overflows",
	[KMT_EV_FAULT]		= "unreadable_pieces",
};

static void show(struct seq_file *seq, const char *name, unsigned long value)
{
	seq_printf(seq, "%s %lu\n", name, value);
}

static void show_pool(struct seq_file *seq)
{
	unsigned long used = kmt_used_cells(), aux = kmt_nr_aux(&kmt_core);
	unsigned long cells = kmt_pool_cells(&kmt_core);

	show(seq, "objects", used - aux);
	show(seq, "auxiliaries", aux);
	show(seq, "pool_cells", cells);
	show(seq, "pool_bytes",
	     (cells + kmt_nr_chunks(&kmt_core)) * sizeof(struct kmt_object));
	show(seq, "pool_vacant", kmt_vacant(&kmt_core));
	show(seq, "pool_reserve", kmt_pool_reserve(&kmt_core));
	show(seq, "pool_reserve_low", kmt_pool_low_mark(&kmt_core));
	show(seq, "pool_reserve_least", kmt_pool_least(&kmt_core));
	show(seq, "pool_passes", READ_ONCE(kmt_passes));
	show(seq, "pool_moves", READ_ONCE(kmt_pool_moves));
	show(seq, "pool_given_back_bytes",
	     READ_ONCE(kmt_pages_given_back) * PAGE_SIZE);
	show(seq, "object_bytes", sizeof(struct kmt_object));
	show(seq, "shards", kmt_nr_shards(&kmt_core));
	show(seq, "shard_bytes",
	     kmt_nr_shards(&kmt_core) * sizeof(struct kmt_tree));
}

static void show_traces(struct seq_file *seq)
{
	show(seq, "traces_recognised", KMT_TRACES_KNOWN);
	show(seq, "traces_walked", atomic_long_read(&kmt_walked));
	show(seq, "traces_unwound", atomic_long_read(&kmt_unwound));
}

static void show_running(struct seq_file *seq)
{
	struct kmt_progress p;

	kmt_get_progress(&p);
	show(seq, "running_phase", p.phase);
	show(seq, "running_percent", p.percent);
	show(seq, "running_ms", p.ms);
	show(seq, "running_left_ms", p.left_ms);
}

static void show_last_scan(struct seq_file *seq)
{
	/* No kmt_scan_mutex: a reader must not wait for a running scan. */
	struct kmt_last_scan last = data_race(kmt_last_scan);

	show(seq, "scans", last.nr);
	show(seq, "scan_ms", last.ms);
	show(seq, "scan_busy_ms", div_u64(last.out.busy_ns, NSEC_PER_MSEC));
	show(seq, "scan_marks", last.out.marks);
	show(seq, "scan_words", last.words);
	show(seq, "scan_suspects", last.out.suspects);
	show(seq, "scan_searches", last.out.searches);
	show(seq, "scan_acquitted_by_search", last.out.acquitted_search);
	show(seq, "scan_acquitted_by_snapshot", last.out.acquitted_snapshot);
	show(seq, "scan_snapshot", last.out.how == KMT_CONFIRM_SNAPSHOT);
	show(seq, "pause_ns", last.out.pause_ns);
	show(seq, "pause_expected_ns", last.out.expected_ns);
	show(seq, "leaks", last.out.verdict.leaks);
	show(seq, "leak_bytes", last.out.verdict.leak_bytes);
	show(seq, "leaks_suppressed",
	     last.out.verdict.leaks ? READ_ONCE(kmt_leaks_suppressed) : 0);
	show(seq, "new_leaks", last.out.verdict.fresh);
}

static void show_pages(struct seq_file *seq)
{
	struct kmt_pages_usage now;

	kmt_get_pages_usage(&now);
	show(seq, "pages_are_roots", kmt_tunables.pages);
	show(seq, "pages_tracked", kmt_pages_tracked());
	show(seq, "page_entry_bytes", now.bytes);
	show(seq, "page_blocks", now.blocks);
	show(seq, "page_block_pages", now.pages);
	show(seq, "page_block_records", now.records);
	show(seq, "page_blocks_pfn_refs", now.pfn_refs);
}

static void show_sites(struct seq_file *seq)
{
	unsigned long nr;
	size_t bytes;

	kmt_sites_usage(&nr, &bytes);
	show(seq, "sites", nr);
	show(seq, "sites_bytes", bytes);
}

static void show_settings(struct seq_file *seq)
{
	show(seq, "scan_period_s", kmt_tunables.scan_period);
	show(seq, "min_age_ms", kmt_tunables.min_age);
	show(seq, "max_pause_us", kmt_tunables.max_pause);
	show(seq, "confirm_by_snapshot", kmt_tunables.snapshot);
	show(seq, "stacks_are_roots", kmt_tunables.stacks);
	show_pages(seq);
	show(seq, "rules_off", kmt_tunables.rules_off);
	show(seq, "sites_max", READ_ONCE(kmt_tunables.sites));
}

static void show_events(struct seq_file *seq)
{
	int i;

	for (i = 0; i < KMT_NR_EVENTS; i++)
		show(seq, event_names[i],
		     kmt_nr_events(&kmt_core, i));
	show(seq, "lost_atomic", atomic_long_read(&kmt_lost_atomic));
	show(seq, "lost_early", atomic_long_read(&kmt_lost_early));
	show(seq, "lost_backtraces", atomic_long_read(&kmt_lost_traces));
	show(seq, "lost_names", atomic_long_read(&kmt_lost_names));
}

/* Prints the names in the order of the manual. */
static int kmt_stats_show(struct seq_file *seq, void *v)
{
	show(seq, "version", 1);
	show(seq, "tracking", kmt_tracking());
	show(seq, "untracked_slabs_are_roots", kmt_untracked_slabs);
	show_pool(seq);
	show_traces(seq);
	show_running(seq);
	show_last_scan(seq);
	show_sites(seq);
	show_settings(seq);
	show_events(seq);
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(kmt_memory);
DEFINE_SHOW_ATTRIBUTE(kmt_refs);
DEFINE_SHOW_ATTRIBUTE(kmt_stats);
DEFINE_SHOW_ATTRIBUTE(kmt_suppressions);

static int __init make_files(void)
{
	struct dentry *dir;

	/* "unsafe": the file is never removed, so it needs no protection. */
	debugfs_create_file_unsafe("kmemtrack", 0600, NULL, NULL, &report_fops);
	dir = debugfs_create_dir("kmemtrack_info", NULL);
	debugfs_create_file("stats", 0400, dir, NULL, &kmt_stats_fops);
	debugfs_create_file("memory", 0400, dir, NULL, &kmt_memory_fops);
	debugfs_create_file("refs", 0400, dir, NULL, &kmt_refs_fops);
	debugfs_create_file("sites", 0400, dir, NULL, &kmt_sites_fops);
	debugfs_create_file("suppressions", 0400, dir, NULL,
			    &kmt_suppressions_fops);
	debugfs_create_file("growth", 0400, dir, dir, &kmt_sites_fops);
	debugfs_create_file("objects", 0400, dir, NULL, &kmt_objects_fops);
	return 0;
}
late_initcall(make_files);
