// SPDX-License-Identifier: GPL-2.0
/*
 * Commands of the bench module. /proc/kmt_bench takes one command a write:
 *
 *   pair <row>         kmalloc + kfree pairs from one call site
 *   sites <row>        the same from 16 call sites in turn
 *   many <row>         the same from 1,000 call sites in turn
 *   loop <row>         1,000 turns of a loop that does nothing in memory
 *   cold <row>         one pair at a time, with nothing of it in any cache
 *   spread <row>       pairs all over more objects than a cache has room for
 *   batch <row>        1,000 allocations, then their 1,000 frees
 *   live <count>       keep <count> objects alive, all on one list
 *   big <0|1>          a 4 MiB and a 16 MiB block full of references to those
 *   tree 1             what is alive hangs on a tree instead
 *   shuffle 1          what is alive is on the list in random order
 *   begin <row>        start a stretch which user space runs ...
 *   end <row>          ... and print its length, idle time apart
 *   irq <period ns>    arm a pinned timer on every CPU
 *   irqend <row>       stop them, print the worst delay
 *   watch <period ns>  a thread of the highest priority on every CPU
 *   watchend <row>     stop them, print for how long one of them could not run
 *   hog <ms>           a thread that keeps the last CPU, and lets nobody run
 *   hogend 1           stop it
 *   load <cpu>         a thread on <cpu> which does nothing but pairs
 *   loadend <row>      stop it, print its average and its worst pair
 *   leak <row>         lose memory in 15 ways
 *   lose <count>       lose <count> blocks, and log nothing
 *   op <name>          an operation that allocates: see bench_op.c
 *   clock <row>        time which passed before the kernel's clock started
 */
#include <linux/ktime.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/tick.h>
#include <linux/uaccess.h>
#ifdef CONFIG_ARM64
#include <asm/sysreg.h>
#endif

#include "bench.h"

static u64 stretch_ns;
static u64 stretch_clock;
static u64 stretch_idle_us;

void bench_figure(const char *row, const char *what, u64 centi)
{
	u32 frac;
	u64 whole = div_u64_rem(centi, 100, &frac);

	pr_info("kmt_bench: %s.%s=%llu.%02u\n", row, what, whole, frac);
}

/* Idle time of every CPU; a scan which sleeps costs nothing meanwhile. */
static u64 idle_us(void)
{
	u64 sum = 0;
	int cpu;

	for_each_online_cpu(cpu)
		sum += get_cpu_idle_time_us(cpu, NULL);
	return sum;
}

static int stretch_begin(void)
{
	stretch_idle_us = idle_us();
	stretch_ns = ktime_get_ns();
	stretch_clock = bench_clock();
	return 0;
}

static int stretch_end(const char *row)
{
	u64 clock = bench_clock() - stretch_clock;
	u64 wall = ktime_get_ns() - stretch_ns;
	u64 idle = (idle_us() - stretch_idle_us) * NSEC_PER_USEC;
	u64 all = wall * num_online_cpus();

	bench_figure(row, "wall", wall * 100);
	bench_figure(row, "busy", (IS_ENABLED(CONFIG_UML) ? clock :
				   all > idle ? all - idle : 0) * 100);
	return 0;
}

/*
 * Time stamps in the log start when the clock is set up, which is not when the
 * machine was switched on: the counter knows how long it took until then.
 */
static int clock_offset(const char *row)
{
#ifdef CONFIG_ARM64
	u64 hz = read_sysreg(cntfrq_el0);
	u64 now = local_clock();
	u64 count = read_sysreg(cntvct_el0);
	u64 since_on = div64_u64(count * NSEC_PER_MSEC, div_u64(hz, 1000));

	bench_figure(row, "clock", (since_on - now) * 100);
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}

static int run_command(char *line)
{
	char *verb = strsep(&line, " ");
	const char *arg = line ? strim(line) : "";
	unsigned int value = 0;
	bool number = !kstrtouint(arg, 0, &value);

	if (!*arg)
		return -EINVAL;
	if (!strcmp(verb, "pair"))
		return bench_pair(arg);
	if (!strcmp(verb, "sites"))
		return bench_sites(arg);
	if (!strcmp(verb, "many"))
		return bench_many_sites(arg);
	if (!strcmp(verb, "loop"))
		return bench_loop(arg);
	if (!strcmp(verb, "cold"))
		return bench_cold(arg);
	if (!strcmp(verb, "spread"))
		return bench_spread(arg);
	if (!strcmp(verb, "op"))
		return bench_op(arg);
	if (!strcmp(verb, "batch"))
		return bench_batch(arg);
	if (!strcmp(verb, "clock"))
		return clock_offset(arg);
	if (!strcmp(verb, "begin"))
		return stretch_begin();
	if (!strcmp(verb, "end"))
		return stretch_end(arg);
	if (!strcmp(verb, "irqend"))
		return bench_irq_stop(arg);
	if (!strcmp(verb, "watchend"))
		return bench_watch_stop(arg);
	if (!strcmp(verb, "hogend"))
		return bench_hog_stop();
	if (!strcmp(verb, "loadend"))
		return bench_load_stop(arg);
	if (!strcmp(verb, "leak"))
		return bench_leak();
	if (!strcmp(verb, "tree"))
		return bench_tree();
	if (!strcmp(verb, "shuffle"))
		return bench_shuffle();
	if (number && !strcmp(verb, "live"))
		return bench_live(value);
	if (number && !strcmp(verb, "lose"))
		return bench_lose(value);
	if (number && !strcmp(verb, "big"))
		return bench_big(value);
	if (number && !strcmp(verb, "irq"))
		return bench_irq_start(value);
	if (number && !strcmp(verb, "watch"))
		return bench_watch_start(value);
	if (number && !strcmp(verb, "hog"))
		return bench_hog_start(value);
	if (number && !strcmp(verb, "load"))
		return bench_load_start(value);
	return -EINVAL;
}

static ssize_t bench_write(struct file *file, const char __user *buf,
			   size_t len, loff_t *ppos)
{
	char line[64];
	int err;

	if (!len || len >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, buf, len))
		return -EFAULT;
	line[len] = '\0';
	err = run_command(strim(line));
	return err ? err : len;
}

/* For programs: the clock, and the CPU time of the guest's ended processes */
static ssize_t bench_read(struct file *file, char __user *buf, size_t len,
			  loff_t *ppos)
{
	char line[48];
	int n = scnprintf(line, sizeof(line), "%llu %llu\n", bench_clock(),
			  bench_clock_ended());

	if (len < n)
		return -EINVAL;
	return copy_to_user(buf, line, n) ? -EFAULT : n;
}

static const struct proc_ops bench_ops = {
	.proc_read	= bench_read,
	.proc_write	= bench_write,
	.proc_lseek	= noop_llseek,
};

static int __init bench_init(void)
{
	return proc_create("kmt_bench", 0600, NULL, &bench_ops) ? 0 : -ENOMEM;
}

static void __exit bench_exit(void)
{
	remove_proc_entry("kmt_bench", NULL);
	bench_load_stop(NULL);
	bench_live_exit();
	bench_irq_stop(NULL);
	bench_hog_stop();
	bench_watch_stop(NULL);
}

module_init(bench_init);
module_exit(bench_exit);
MODULE_DESCRIPTION("Cost of memory trackers, in instructions or time");
MODULE_LICENSE("GPL");
