// SPDX-License-Identifier: GPL-2.0
/*
 * A module that does nothing, to be loaded and unloaded many times. With
 * boot=1 it prints how much CPU time the guest has used so far.
 */
#include <linux/init.h>
#include <linux/module.h>

#include "bench_host.h"

static unsigned int boot;
module_param(boot, uint, 0);
MODULE_PARM_DESC(boot, "1: print the CPU time which was used");

static int __init empty_init(void)
{
	if (boot)
		pr_info("kmt_bench: boot.cpu=%llu\n", host_cpu_time());
	return 0;
}

static void __exit empty_exit(void)
{
}

module_init(empty_init);
module_exit(empty_exit);
MODULE_DESCRIPTION("Does nothing");
MODULE_LICENSE("GPL");
