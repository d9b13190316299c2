/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two modules with the same code at the same offsets, in functions of different
 * names. Each leaks TWIN_BLOCKS blocks from __init text, as many from __init text that
 * runs when the module is live, and as many from other text each time its parameter
 * "leak" is written.
 *
 * TWIN is the prefix of their functions. module_init() and module_exit() do not expand
 * macros, so the file that includes this calls them.
 */
#include <linux/async.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#define TWIN_NAME__(twin, name)	twin ## _ ## name
#define TWIN_NAME_(twin, name)	TWIN_NAME__(twin, name)
#define TWIN_NAME(name)		TWIN_NAME_(TWIN, name)

#define TWIN_SIZE		192
#define TWIN_BLOCKS		8

/* Returns whether the allocation succeeded; a bool is no reference to the block. */
static noinline bool TWIN_NAME(leak)(void)
{
	return kzalloc(TWIN_SIZE, GFP_KERNEL);
}

static noinline bool __init TWIN_NAME(leak_init)(void)
{
	return kzalloc(TWIN_SIZE, GFP_KERNEL);
}

/* Runs in parallel with the rest of loading the module, which waits for it at the end. */
static void __init TWIN_NAME(late)(void *unused, async_cookie_t cookie)
{
	unsigned int i;

	while (READ_ONCE(THIS_MODULE->state) == MODULE_STATE_COMING)
		usleep_range(1000, 2000);
	/* Wait until the notifiers for the live module have run. */
	msleep(20);
	for (i = 0; i < TWIN_BLOCKS; i++)
		if (!TWIN_NAME(leak_init)())
			pr_err("no memory\n");
}

static int TWIN_NAME(set)(const char *val, const struct kernel_param *kp)
{
	unsigned int i;

	for (i = 0; i < TWIN_BLOCKS; i++)
		if (!TWIN_NAME(leak)())
			return -ENOMEM;
	return 0;
}

static const struct kernel_param_ops TWIN_NAME(ops) = {
	.set = TWIN_NAME(set),
};

module_param_cb(leak, &TWIN_NAME(ops), NULL, 0200);

/* vm_unmap_aliases() lets the next module be loaded in the place of the last one. */
static int __init TWIN_NAME(begin)(void)
{
	unsigned int i;

	vm_unmap_aliases();
	for (i = 0; i < TWIN_BLOCKS; i++)
		if (!TWIN_NAME(leak_init)())
			return -ENOMEM;
	async_schedule(TWIN_NAME(late), NULL);
	return 0;
}

static void __exit TWIN_NAME(end)(void)
{
}

MODULE_DESCRIPTION("Leaks at the same offsets as its twin");
MODULE_LICENSE("GPL");
