// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: measures for how long a detector keeps CPUs from running tasks:
 * /sys/kernel/debug/test_kmemtrack_stall.
 *
 * Commands, one per write:
 *
 *	watch			begin, in a thread of the highest priority on
 *				each CPU that sleeps for 200 us at a time
 *	end			end, and stop the thread of "hog"
 *	hog <cpu> <ms>		have a kernel thread occupy a CPU for that long, or
 *				until "end", without letting other tasks run
 *
 * The file has a line "<cpu> <us>" for each CPU that was watched: the longest
 * time from one run of its thread to the next.
 */
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/math64.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/time64.h>
#include <linux/uaccess.h>

#include "test_kmemtrack.h"
#include "test_kmemtrack_watch.h"

#define SLEEP_NS	(200 * NSEC_PER_USEC)

static ssize_t stall_write(struct file *file, const char __user *buf,
			   size_t len, loff_t *ppos)
{
	unsigned long ms;
	unsigned int cpu;
	char text[32];
	int ret = -EINVAL;

	if (!len || len >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, buf, len))
		return -EFAULT;
	text[len] = '\0';
	mutex_lock(&tk_mutex);
	if (sysfs_streq(text, "watch")) {
		ret = tk_watch_begin(cpu_online_mask, SLEEP_NS);
	} else if (sysfs_streq(text, "end")) {
		tk_watch_end();
		tk_hog_end();
		ret = 0;
	} else if (sscanf(text, "hog %u %lu", &cpu, &ms) == 2) {
		ret = tk_hog_begin(cpu, ms);
	}
	mutex_unlock(&tk_mutex);
	return ret ?: len;
}

static int stall_show(struct seq_file *seq, void *v)
{
	int cpu;

	for_each_online_cpu(cpu)
		seq_printf(seq, "%d %llu\n", cpu,
			   div_u64(tk_watch_longest(cpu), NSEC_PER_USEC));
	return 0;
}

static int stall_open(struct inode *inode, struct file *file)
{
	return single_open(file, stall_show, NULL);
}

static const struct file_operations stall_fops = {
	.owner		= THIS_MODULE,
	.open		= stall_open,
	.read		= seq_read,
	.write		= stall_write,
	.llseek		= seq_lseek,
	.release	= single_release,
};

/**
 * tk_stall_file - create the file
 *
 * Return: the file.
 */
struct dentry *tk_stall_file(void)
{
	return debugfs_create_file("test_kmemtrack_stall", 0600, NULL, NULL,
				   &stall_fops);
}

/**
 * tk_stall_exit - stop all threads
 *
 * Context: the file was removed.
 */
void tk_stall_exit(void)
{
	tk_watch_end();
	tk_hog_end();
}
