// SPDX-License-Identifier: GPL-2.0
/*
 * Objects that are kept alive, and references to them: the work of a scan.
 */
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "bench.h"

#define BENCH_BIG_SLAB	(4UL << 20)
#define BENCH_BIG_VMALLOC (16UL << 20)

/*
 * An object looks like a common kernel object: it is on a list, refers to an
 * older object, has an empty list head (two pointers to itself) and a table of
 * functions, and numbers in the rest.
 */
struct bench_live {
	struct list_head list;
	struct list_head children;
	struct bench_live *older;
	void (*release)(void);
	u64 number[(BENCH_SIZE - 6 * sizeof(void *)) / sizeof(u64)];
};

static LIST_HEAD(live);
static unsigned long live_count;
static struct list_head *tree;
static void *big_slab, *big_vmalloc;

static struct bench_live *live_new(void)
{
	struct bench_live *obj = kzalloc(sizeof(*obj), GFP_KERNEL);
	int i;

	if (!obj)
		return NULL;
	INIT_LIST_HEAD(&obj->children);
	if (!list_empty(&live))
		obj->older = list_first_entry(&live, struct bench_live, list);
	if (obj->older && obj->older->older && live_count % 4)
		obj->older = obj->older->older;
	obj->release = bench_live_exit;
	for (i = 0; i < ARRAY_SIZE(obj->number); i++)
		obj->number[i] = live_count * i;
	return obj;
}

int bench_live(unsigned long count)
{
	struct bench_live *obj;

	while (live_count > count) {
		obj = list_first_entry(&live, struct bench_live, list);
		list_del(&obj->list);
		kfree(obj);
		live_count--;
		cond_resched();
	}
	while (live_count < count) {
		obj = live_new();
		if (!obj)
			return -ENOMEM;
		list_add(&obj->list, &live);
		live_count++;
		cond_resched();
	}
	return 0;
}

/* Fill [@from, @from + @bytes) with nothing but references to live objects. */
static void fill_dense(void *from, size_t bytes)
{
	struct bench_live *obj = NULL;
	void **word = from;
	size_t i;

	for (i = 0; i < bytes / sizeof(*word); i++) {
		if (!obj || list_is_last(&obj->list, &live))
			obj = list_first_entry(&live, struct bench_live, list);
		else
			obj = list_next_entry(obj, list);
		word[i] = obj;
		if (!(i % 4096))
			cond_resched();
	}
}

/* The largest blocks the allocators hand out, dense with references. */
int bench_big(bool on)
{
	if (on && (big_slab || list_empty(&live)))
		return -EINVAL;
	kfree(big_slab);
	vfree(big_vmalloc);
	big_slab = NULL;
	big_vmalloc = NULL;
	if (!on)
		return 0;
	big_slab = kmalloc(BENCH_BIG_SLAB, GFP_KERNEL);
	big_vmalloc = vmalloc(BENCH_BIG_VMALLOC);
	if (!big_slab || !big_vmalloc)
		return -ENOMEM;
	fill_dense(big_slab, BENCH_BIG_SLAB);
	fill_dense(big_vmalloc, BENCH_BIG_VMALLOC);
	return 0;
}

/* Gives each object two children, in the order of a heap, and no back references. */
static void link_tree(struct bench_live **all, unsigned long count)
{
	unsigned long i;

	for (i = 0; i < count; i++) {
		struct bench_live *obj = all[i];

		obj->list.next = 2 * i + 1 < count ? &all[2 * i + 1]->list : NULL;
		obj->list.prev = 2 * i + 2 < count ? &all[2 * i + 2]->list : NULL;
		obj->older = NULL;
	}
}

/* Returns all live objects, in an array for kvfree(); NULL without memory. */
static struct bench_live **list_all(void)
{
	struct bench_live *obj, **all;
	unsigned long n = 0;

	all = kvmalloc_array(live_count, sizeof(*all), GFP_KERNEL);
	if (!all)
		return NULL;
	list_for_each_entry(obj, &live, list)
		all[n++] = obj;
	return all;
}

/* Moves all live objects from the list to a tree. */
int bench_tree(void)
{
	struct bench_live **all;

	if (big_slab || !live_count)
		return -EINVAL;
	all = list_all();
	if (!all)
		return -ENOMEM;
	link_tree(all, live_count);
	tree = &all[0]->list;
	INIT_LIST_HEAD(&live);
	live_count = 0;
	kvfree(all);
	return 0;
}

/*
 * Put the list in random order, and let each object refer to another one at
 * random: caches and hardware prefetch then help a scan least. The order is the
 * same in all kernels.
 */
int bench_shuffle(void)
{
	const unsigned long n = live_count;
	struct bench_live **all;
	struct rnd_state rnd;
	unsigned long i;

	if (!n)
		return -EINVAL;
	all = list_all();
	if (!all)
		return -ENOMEM;
	prandom_seed_state(&rnd, 1);
	for (i = n - 1; i; i--) {
		unsigned long other = prandom_u32_state(&rnd) % (i + 1);

		swap(all[i], all[other]);
	}
	INIT_LIST_HEAD(&live);
	for (i = 0; i < n; i++) {
		list_add_tail(&all[i]->list, &live);
		all[i]->older = all[prandom_u32_state(&rnd) % n];
		cond_resched();
	}
	kvfree(all);
	return 0;
}

static void free_tree(struct list_head *node)
{
	if (!node)
		return;
	free_tree(node->next);
	free_tree(node->prev);
	kfree(list_entry(node, struct bench_live, list));
}

void bench_live_exit(void)
{
	bench_big(false);
	bench_live(0);
	free_tree(tree);
	tree = NULL;
}
