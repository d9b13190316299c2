// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: objects in the kernel's containers, some of which change all the
 * time.
 */
#include <linux/delay.h>
#include <linux/idr.h>
#include <linux/kthread.h>
#include <linux/maple_tree.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/radix-tree.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "test_kmemtrack.h"

static LIST_HEAD(list);
static HLIST_HEAD(hlist);
static struct rb_root rbtree = RB_ROOT;
static DEFINE_XARRAY(xarray);
static DEFINE_IDR(idr);
static DEFINE_MTREE(maple);
static RADIX_TREE(radix, GFP_KERNEL);
static LIST_HEAD(module_list);
static LIST_HEAD(cached);
static LIST_HEAD(growing);

static void add_to_rbtree(struct tk_node *node)
{
	struct rb_node **link = &rbtree.rb_node, *parent = NULL;

	while (*link) {
		parent = *link;
		if (node->key < rb_entry(parent, struct tk_node, rb)->key)
			link = &parent->rb_left;
		else
			link = &parent->rb_right;
	}
	rb_link_node(&node->rb, parent, link);
	rb_insert_color(&node->rb, &rbtree);
}

enum {
	IN_LIST,
	IN_HLIST,
	IN_RBTREE,
	IN_XARRAY,
	IN_IDR,
	IN_MAPLE,
	IN_RADIX,
	IN_MODULE_LIST,
};

static int add(int where, struct tk_node *node)
{
	/* Spread the keys, so that the trees get deep. */
	node->key = node->key * 37 + 1;
	switch (where) {
	case IN_LIST:
		list_add_tail(&node->list, &list);
		return 0;
	case IN_HLIST:
		hlist_add_head(&node->hlist, &hlist);
		return 0;
	case IN_RBTREE:
		add_to_rbtree(node);
		return 0;
	case IN_XARRAY:
		return xa_err(xa_store(&xarray, node->key, node, GFP_KERNEL));
	case IN_IDR:
		return min(0, idr_alloc(&idr, node, 0, 0, GFP_KERNEL));
	case IN_MAPLE:
		return mtree_store(&maple, node->key, node, GFP_KERNEL);
	case IN_RADIX:
		return radix_tree_insert(&radix, node->key, node);
	case IN_MODULE_LIST:
		list_add(&node->list, &module_list);
		return 0;
	}
	return -EINVAL;
}

static int hold_in(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < n && !ret; i++) {
		struct tk_node *node = tk_make(k, sizeof(*node), TK_HELD);

		if (!node)
			return -ENOMEM;
		node->key = i;
		ret = add(k->where, node);
	}
	return ret;
}

static void empty_radix(void)
{
	struct radix_tree_iter iter;
	void __rcu **slot;

	radix_tree_for_each_slot(slot, &radix, &iter, 0)
		radix_tree_iter_delete(&radix, &iter, slot);
}

static void lose_from(const struct tk_kind *k)
{
	switch (k->where) {
	case IN_LIST:
		INIT_LIST_HEAD(&list);
		break;
	case IN_HLIST:
		INIT_HLIST_HEAD(&hlist);
		break;
	case IN_RBTREE:
		rbtree = RB_ROOT;
		break;
	case IN_XARRAY:
		xa_destroy(&xarray);
		break;
	case IN_IDR:
		idr_destroy(&idr);
		break;
	case IN_MAPLE:
		mtree_destroy(&maple);
		break;
	case IN_RADIX:
		empty_radix();
		break;
	case IN_MODULE_LIST:
		INIT_LIST_HEAD(&module_list);
		break;
	}
	/* Tree nodes are freed after a grace period. */
	rcu_barrier();
}

/* A list that gets longer with each command. */
static noinline int grow_list(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct tk_node *node = kmem_cache_zalloc(tk_cache(TK_CACHE),
							 GFP_KERNEL);

		if (!node)
			return -ENOMEM;
		tk_note(k, node, sizeof(*node), TK_CACHE, TK_HELD);
		list_add_tail(&node->list, &growing);
	}
	return 0;
}

static void lose_growing(const struct tk_kind *k)
{
	INIT_LIST_HEAD(&growing);
}

static int hold_cached(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct tk_node *node = kmem_cache_alloc(tk_cache(k->where),
							GFP_KERNEL);

		if (!node)
			return -ENOMEM;
		/* The object must not keep stale pointers from an earlier use. */
		memset(node, 0, sizeof(*node));
		tk_note(k, node, sizeof(*node), k->where, TK_HELD);
		list_add(&node->list, &cached);
	}
	return 0;
}

/* Other kinds may be on this list too. */
static void lose_cached(const struct tk_kind *k)
{
	struct tk_node *node;
	unsigned int i;

	for (i = 0; (node = tk_object(k, TK_HELD, i)); i++)
		if (node->list.next)
			__list_del_entry(&node->list);
	for (i = 0; (node = tk_object(k, TK_HELD, i)); i++)
		memset(&node->list, 0, sizeof(node->list));
}

static mempool_t *pool;

static int hold_mempool(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;

	pool = mempool_create_kmalloc_pool(n, 64);
	if (!pool)
		return -ENOMEM;
	tk_note(k, pool, sizeof(*pool), TK_MEMPOOL, TK_HELD);
	tk_note(k, pool->elements, n * sizeof(void *), TK_OTHER, TK_HELD);
	for (i = 0; i < n; i++) {
		/* With KASAN elements in the pool must not be accessed. */
		if (!IS_ENABLED(CONFIG_KASAN))
			memset(pool->elements[i], 0, 64);
		tk_note(k, pool->elements[i], 64, TK_OTHER, TK_HELD);
	}
	return 0;
}

static void lose_mempool(const struct tk_kind *k)
{
	WRITE_ONCE(pool, NULL);
}

/*
 * Containers that change all the time: at any moment there is a reference to each
 * object, but not in the same place for long.
 */
#define SEATS		61

static LIST_HEAD(left);
static LIST_HEAD(right);
static DEFINE_SPINLOCK(churn_lock);
static void *seats[SEATS];
static struct xarray moving = XARRAY_INIT(moving, 0);

static void step_lists(unsigned long round)
{
	struct list_head *from = round & 64 ? &left : &right;
	struct list_head *to = round & 64 ? &right : &left;

	spin_lock(&churn_lock);
	if (!list_empty(from))
		list_move_tail(from->next, to);
	spin_unlock(&churn_lock);
}

/* Stores the pointer in the free seat before it clears the old seat. */
static void step_seats(unsigned long round)
{
	unsigned int from = round % SEATS, to = (from + SEATS - 1) % SEATS;

	if (READ_ONCE(seats[to]))
		return;
	WRITE_ONCE(seats[to], READ_ONCE(seats[from]));
	/* Another CPU must see the pointer in at least one seat at any moment. */
	smp_wmb();
	WRITE_ONCE(seats[from], NULL);
}

static DEFINE_MTREE(moving_maple);

/* Moves a pointer to a distant index, so to another node; for a moment it is in both. */
static void step_maple(unsigned long round)
{
	unsigned long index = 0, to;
	void *p = mt_find(&moving_maple, &index, ULONG_MAX);

	/* mt_find() sets the index to the one after the entry that it found. */
	if (!p)
		return;
	to = index + 1000;
	if (!mtree_store(&moving_maple, to, p, GFP_KERNEL))
		mtree_erase(&moving_maple, index - 1);
}

static void step_xarray(unsigned long round)
{
	unsigned long index = 0;
	void *p = xa_find(&moving, &index, ULONG_MAX, XA_PRESENT);

	if (p && !xa_err(xa_store(&moving, index + 1000, p, GFP_KERNEL)))
		xa_erase(&moving, index);
}

/*
 * Several threads move pointers between two areas. Meanwhile a pointer is only in a
 * register, or on the stack, of one of the threads.
 */
static unsigned long *areas[2];

static void step_pages(unsigned long round)
{
	unsigned long *from = areas[round >> 6 & 1];
	unsigned long *to = areas[~round >> 6 & 1];
	unsigned int seat = round % SEATS;
	unsigned long p = xchg(&from[seat], 0);

	while (p && cmpxchg(&to[seat], 0, p))
		seat = (seat + 1) % SEATS;
}

/* Mailboxes: a pointer is in one of them, or on the stack of the thread that took it. */
static void *mail[SEATS];

static noinline void step_stack(unsigned long round)
{
	unsigned int seat = round % SEATS;
	void *place[4] = {};

	place[2] = xchg(&mail[seat], NULL);
	if (!place[2])
		return;
	barrier_data(place);
	if (!(round & 7))
		usleep_range(20, 40);
	while (cmpxchg(&mail[seat], NULL, place[2]))
		seat = (seat + 1) % SEATS;
	place[2] = NULL;
	barrier_data(place);
}

/* Unaligned places, each followed by an aligned one. */
static struct {
	char pad[3];
	void *odd;
	char pad_behind[sizeof(void *) - 3];
	void *even;
} __packed __aligned(sizeof(void *)) packed[SEATS];

static void step_packed(unsigned long round)
{
	unsigned int from = round % SEATS, to = (from + SEATS - 1) % SEATS;

	spin_lock(&churn_lock);
	if (packed[from].even) {
		packed[from].odd = packed[from].even;
		/* As with the seats. */
		smp_wmb();
		packed[from].even = NULL;
	} else if (packed[from].odd && !packed[to].odd && !packed[to].even) {
		if (round & 1)
			packed[to].odd = packed[from].odd;
		else
			packed[to].even = packed[from].odd;
		/* As with the seats. */
		smp_wmb();
		packed[from].odd = NULL;
	}
	spin_unlock(&churn_lock);
}

enum {
	CHURN_LISTS,
	CHURN_SEATS,
	CHURN_XARRAY,
	CHURN_MAPLE,
	CHURN_PAGES,
	CHURN_STACK,
	CHURN_PACKED,
};

/* Nice value of the threads, so that they do not take nearly all time from a scan. */
#define CHURN_NICE	10

static int churn_thread(void *data)
{
	static void (* const steps[])(unsigned long) = {
		[CHURN_LISTS] = step_lists,
		[CHURN_SEATS] = step_seats,
		[CHURN_XARRAY] = step_xarray,
		[CHURN_MAPLE] = step_maple,
		[CHURN_PAGES] = step_pages,
		[CHURN_STACK] = step_stack,
		[CHURN_PACKED] = step_packed,
	};
	const struct tk_kind *k = data;
	unsigned long round = 0;

	set_user_nice(current, CHURN_NICE);
	tk_thread_ready();
	while (!kthread_should_stop()) {
		steps[k->where](round++);
		if (!(round & 1023))
			usleep_range(20, 40);
		else if (!(round & 15))
			/* Handing on a lock may take a time slice of the host. */
			cond_resched();
	}
	tk_wipe();
	return 0;
}

static int seat_down(int where, unsigned int i, struct tk_node *node)
{
	switch (where) {
	case CHURN_LISTS:
		list_add(&node->list, &left);
		return 0;
	case CHURN_SEATS:
		WRITE_ONCE(seats[i], node);
		return 0;
	case CHURN_XARRAY:
		return xa_err(xa_store(&moving, i, node, GFP_KERNEL));
	case CHURN_MAPLE:
		return mtree_store(&moving_maple, i, node, GFP_KERNEL);
	case CHURN_PAGES:
		WRITE_ONCE(areas[i & 1][i], (unsigned long)node);
		return 0;
	case CHURN_STACK:
		WRITE_ONCE(mail[i], node);
		return 0;
	case CHURN_PACKED:
		packed[i].odd = node;
		return 0;
	}
	return -EINVAL;
}

/* One area is a single page, the other the second page of an allocation. */
static bool get_areas(void)
{
	areas[0] = (void *)get_zeroed_page(GFP_KERNEL);
	areas[1] = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, 1);
	if (areas[1])
		areas[1] += PAGE_SIZE / sizeof(long);
	return areas[0] && areas[1];
}

static void put_areas(void)
{
	if (areas[0]) {
		clear_page(areas[0]);
		free_page((unsigned long)areas[0]);
	}
	if (areas[1]) {
		clear_page(areas[1]);
		free_pages((unsigned long)areas[1] - PAGE_SIZE, 1);
	}
	memset(areas, 0, sizeof(areas));
}

static int hold_in_motion(const struct tk_kind *k, unsigned int n)
{
	unsigned int i, threads;
	int ret = 0;

	if (k->where == CHURN_PAGES && !get_areas())
		return -ENOMEM;
	n = min_t(unsigned int, n, SEATS - 1);
	for (i = 0; i < n; i++) {
		struct tk_node *node = tk_make(k, sizeof(*node), TK_HELD);

		if (!node)
			return -ENOMEM;
		ret = seat_down(k->where, i, node);
		if (ret)
			return ret;
	}
	/* Steps of kinds before CHURN_PAGES are for one thread only. */
	threads = k->where < CHURN_PAGES ? 1 : 2;
	while (threads-- && !ret)
		ret = tk_thread_start(k, churn_thread);
	return ret;
}

static void lose_in_motion(const struct tk_kind *k)
{
	tk_threads_stop(k);
	switch (k->where) {
	case CHURN_LISTS:
		INIT_LIST_HEAD(&left);
		INIT_LIST_HEAD(&right);
		break;
	case CHURN_SEATS:
		memset(seats, 0, sizeof(seats));
		barrier_data(seats);
		break;
	case CHURN_XARRAY:
		xa_destroy(&moving);
		rcu_barrier();
		break;
	case CHURN_MAPLE:
		mtree_destroy(&moving_maple);
		rcu_barrier();
		break;
	case CHURN_PAGES:
		put_areas();
		break;
	case CHURN_STACK:
		memset(mail, 0, sizeof(mail));
		barrier_data(mail);
		break;
	case CHURN_PACKED:
		memset(packed, 0, sizeof(packed));
		barrier_data(packed);
		break;
	}
}

#define IN(name, where, count)						\
	{ name, hold_in, lose_from, 0, count, where }
#define MOVING(name, where)						\
	{ name, hold_in_motion, lose_in_motion, 0, 40, where }

const struct tk_kind tk_container_kinds[] = {
	IN("list", IN_LIST, 10),
	IN("hlist", IN_HLIST, 10),
	IN("rbtree", IN_RBTREE, 30),
	IN("xarray", IN_XARRAY, 300),
	IN("idr", IN_IDR, 100),
	IN("maple-tree", IN_MAPLE, 100),
	IN("radix-tree", IN_RADIX, 100),
	{ "module-list", hold_in, lose_from, 0, 5, IN_MODULE_LIST, TK_MODULE },
	{ "cache", hold_cached, lose_cached, 0, 3, TK_CACHE },
	{ "cache-ctor", hold_cached, lose_cached, 0, 3, TK_CTOR },
	{ "cache-typesafe", hold_cached, lose_cached, 0, 3, TK_TYPESAFE },
	{ "growing-list", grow_list, lose_growing, 0, 10, 0, TK_GROWS },
	{ "mempool", hold_mempool, lose_mempool, 0, 4 },
	MOVING("moving-list", CHURN_LISTS),
	MOVING("moving-seats", CHURN_SEATS),
	MOVING("moving-xarray", CHURN_XARRAY),
	MOVING("moving-maple", CHURN_MAPLE),
	MOVING("moving-page", CHURN_PAGES),
	MOVING("moving-stack", CHURN_STACK),
	MOVING("moving-packed", CHURN_PACKED),
	{}
};
