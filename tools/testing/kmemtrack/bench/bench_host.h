/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User-mode Linux is a process of a machine that runs other processes, too.
 * Only the kernel of that machine knows for how long the process had a CPU. A
 * system call instruction in kernel code asks that kernel, not the guest's.
 */
#ifndef KMT_BENCH_HOST_H
#define KMT_BENCH_HOST_H

#include <linux/ktime.h>
#include <linux/time64.h>

#ifdef CONFIG_UML_X86

#define HOST_CLOCK_GETTIME	228
#define HOST_GETRUSAGE		98
#define HOST_RUSAGE_CHILDREN	(-1)

static inline long host_call(long nr, long first, void *second)
{
	long ret;

	asm volatile("syscall" : "=a" (ret)
		     : "a" (nr), "D" (first), "S" (second)
		     : "rcx", "r11", "memory");
	return ret;
}

/* CPU time of the kernel, in nanoseconds */
static inline u64 host_cpu_time(void)
{
	struct {
		s64 sec, nsec;
	} time = {};

	host_call(HOST_CLOCK_GETTIME, CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.sec * NSEC_PER_SEC + time.nsec;
}

/* The guest's processes are processes as well: CPU time of those that ended */
static inline u64 host_children_time(void)
{
	struct {
		s64 user_sec, user_usec, system_sec, system_usec;
		s64 rest[14];
	} usage = {};

	host_call(HOST_GETRUSAGE, HOST_RUSAGE_CHILDREN, &usage);
	return (usage.user_sec + usage.system_sec) * NSEC_PER_SEC +
	       (usage.user_usec + usage.system_usec) * NSEC_PER_USEC;
}

/* The guest's own clock counts in steps of 256 ns; the TSC is finer. */
static inline u64 host_counter(void)
{
	u32 low, high;

	asm volatile("lfence; rdtsc" : "=a" (low), "=d" (high));
	return (u64)high << 32 | low;
}

#else

static inline u64 host_cpu_time(void)
{
	return ktime_get_ns();
}

static inline u64 host_children_time(void)
{
	return 0;
}

static inline u64 host_counter(void)
{
	return ktime_get_ns();
}

#endif

#endif /* KMT_BENCH_HOST_H */
