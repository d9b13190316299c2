// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: how long a detector keeps CPUs from running tasks, seen from
 * outside: /sys/kernel/debug/test_kmemtrack_stall.
 *
 * Commands, one a write:
 *
 *	watch			begin, in a thread of the highest priority on
 *				each CPU that sleeps for 200 us at a time
 *	end			end
 *	hog <cpu> <ms>		have a kernel thread keep a CPU for that long,
 *				without letting anybody else run
 *
 * The file has a line "<cpu> <us>" for each CPU that was watched: the longest
 * time from one run of its thread to the next.
 */
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "test_kmemtrack.h"

#define SLEEP_NS	(200 * NSEC_PER_USEC)
#define HOG_MS_MAX	10000

static DEFINE_PER_CPU(struct task_struct *, watchers);
static DEFINE_PER_CPU(u64, longest);
static struct task_struct *hog;

static int watch_thread(void *unused)
{
	u64 last = ktime_get_ns(), now;

	while (!kthread_should_stop()) {
		ktime_t wait = SLEEP_NS;

		set_current_state(TASK_INTERRUPTIBLE);
		schedule_hrtimeout(&wait, HRTIMER_MODE_REL);
		now = ktime_get_ns();
		if (now - last > this_cpu_read(longest))
			this_cpu_write(longest, now - last);
		last = now;
	}
	return 0;
}

static void end_watch(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct task_struct **task = per_cpu_ptr(&watchers, cpu);

		if (*task)
			kthread_stop(*task);
		*task = NULL;
	}
}

static int begin_watch(void)
{
	struct task_struct *task;
	int cpu, ret = 0;

	end_watch();
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		per_cpu(longest, cpu) = 0;
		task = kthread_create_on_cpu(watch_thread, NULL, cpu,
					     "tk/watch/%u");
		if (IS_ERR(task)) {
			ret = PTR_ERR(task);
			break;
		}
		sched_set_fifo(task);
		per_cpu(watchers, cpu) = task;
		wake_up_process(task);
	}
	cpus_read_unlock();
	if (ret)
		end_watch();
	return ret;
}

static int hog_thread(void *data)
{
	u64 until = ktime_get_ns() + (unsigned long)data * NSEC_PER_MSEC;

	preempt_disable();
	while (ktime_get_ns() < until)
		cpu_relax();
	preempt_enable();
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

static void end_hog(void)
{
	if (hog)
		kthread_stop(hog);
	hog = NULL;
}

static int begin_hog(unsigned int cpu, unsigned long ms)
{
	struct task_struct *task;

	if (cpu >= nr_cpu_ids || !cpu_online(cpu) || ms > HOG_MS_MAX)
		return -EINVAL;
	end_hog();
	task = kthread_create_on_cpu(hog_thread, (void *)ms, cpu, "tk/hog/%u");
	if (IS_ERR(task))
		return PTR_ERR(task);
	hog = task;
	wake_up_process(task);
	return 0;
}

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
		ret = begin_watch();
	} else if (sysfs_streq(text, "end")) {
		end_watch();
		end_hog();
		ret = 0;
	} else if (sscanf(text, "hog %u %lu", &cpu, &ms) == 2) {
		ret = begin_hog(cpu, ms);
	}
	mutex_unlock(&tk_mutex);
	return ret ?: len;
}

static int stall_show(struct seq_file *seq, void *v)
{
	int cpu;

	for_each_online_cpu(cpu)
		seq_printf(seq, "%d %llu\n", cpu,
			   div_u64(per_cpu(longest, cpu), NSEC_PER_USEC));
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
 * tk_stall_file - make the file that it is done with
 *
 * Return: the file.
 */
struct dentry *tk_stall_file(void)
{
	return debugfs_create_file("test_kmemtrack_stall", 0600, NULL, NULL,
				   &stall_fops);
}

/**
 * tk_stall_exit - end what was begun
 *
 * Context: the file is gone.
 */
void tk_stall_exit(void)
{
	end_watch();
	end_hog();
}
