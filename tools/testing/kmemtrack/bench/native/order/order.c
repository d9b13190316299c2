// SPDX-License-Identifier: GPL-2.0
/*
 * Objects that stay alive on one list, in the order in which they were
 * allocated or, with shuffle=1, in random order. A scan that follows the list
 * then misses the caches at each object.
 */
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>

static unsigned int count = 200000;
module_param(count, uint, 0);
MODULE_PARM_DESC(count, "number of objects");

static unsigned int size = 128;
module_param(size, uint, 0);
MODULE_PARM_DESC(size, "bytes of an object");

static bool shuffle;
module_param(shuffle, bool, 0);
MODULE_PARM_DESC(shuffle, "list the objects in random order");

static LIST_HEAD(objects);

/* The numbers are the same in every boot. */
static u32 next_random(void)
{
	static u32 state = 2463534242;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void free_objects(void)
{
	struct list_head *obj, *next;

	list_for_each_safe(obj, next, &objects) {
		kfree(obj);
		cond_resched();
	}
	INIT_LIST_HEAD(&objects);
}

static int __init order_init(void)
{
	struct list_head **all;
	unsigned int i, made;

	if (!count)
		return -EINVAL;
	all = kvcalloc(count, sizeof(*all), GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	for (made = 0; made < count; made++) {
		all[made] = kzalloc(max_t(size_t, size, sizeof(**all)),
				    GFP_KERNEL);
		if (!all[made])
			break;
		cond_resched();
	}
	for (i = made; shuffle && i > 1; i--)
		swap(all[i - 1], all[next_random() % i]);
	for (i = 0; i < made; i++)
		list_add_tail(all[i], &objects);
	kvfree(all);
	if (made == count)
		return 0;
	free_objects();
	return -ENOMEM;
}

static void __exit order_exit(void)
{
	free_objects();
}

module_init(order_init);
module_exit(order_exit);
MODULE_DESCRIPTION("Objects on a list, in order or shuffled");
MODULE_LICENSE("GPL");
