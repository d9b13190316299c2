// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: objects held by a single pointer, by the place of that pointer, which
 * may be on a stack or in a register.
 */
#include <linux/cache.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/percpu.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>

#include "test_kmemtrack.h"

/* The place of the pointer; the names of the kinds explain it. */
enum {
	AT_GLOBAL,
	AT_INTERIOR,
	AT_LAST_BYTE,
	AT_STATIC_PERCPU,
	AT_PERCPU,
	AT_KMALLOC,
	AT_VMALLOC,
	AT_PAGE,
	AT_INNER_PAGE,
	AT_TAIL_PAGE,
	AT_EXACT_PAGE,
	AT_PACKED,
	AT_PACKED_ROOT,
	AT_PAGE_PRIVATE,
	AT_HIGH_PAGE,
	AT_REPLY,
	AT_RO_TABLE,
	NR_AT,
};

#define MAX_SLOTS	32

static unsigned long slots[AT_LAST_BYTE + 1][MAX_SLOTS];
static DEFINE_PER_CPU(unsigned long, static_percpu);
static unsigned long __percpu *percpu;
static unsigned long *memory[NR_AT];
static struct page *private_page;
/* A page of high memory, if there is any. */
static struct page *high_page;

/* Buffer for replies, on the stack of a thread that sleeps. */
static unsigned long *replies;
/* Only the init function can write this pointer. */
static unsigned long *ro_table __ro_after_init;

/* Distance between unaligned places. */
#define PACKED_STEP	(2 * sizeof(long))

static char packed_root[(MAX_SLOTS + 1) * PACKED_STEP];
static char packed_chain[2 * PACKED_STEP];

struct packed {
	unsigned long word;
} __packed;

static struct packed *packed(void *base, unsigned int nr)
{
	return base + nr * PACKED_STEP + 1 + nr % (sizeof(long) - 1);
}

/* Several pages; slots are in all of them except the first. */
#define NR_PAGES	4
#define PAGES_ORDER	get_order(NR_PAGES * PAGE_SIZE)
#define EXACT_SIZE	((NR_PAGES - 1) * PAGE_SIZE)

static unsigned long *in_pages(int where, unsigned int nr)
{
	unsigned int pages = where == AT_EXACT_PAGE ? NR_PAGES - 1 : NR_PAGES;

	return memory[where] + nr +
	       (1 + nr % (pages - 1)) * PAGE_SIZE / sizeof(long);
}

static noinline void wait_for_replies(void)
{
	unsigned long reply[MAX_SLOTS] = {};

	WRITE_ONCE(replies, reply);
	tk_thread_ready();
	tk_thread_sleep();
	WRITE_ONCE(replies, NULL);
	barrier_data(reply);
	memzero_explicit(reply, sizeof(reply));
}

static int requesting_thread(void *unused)
{
	wait_for_replies();
	tk_wipe();
	return 0;
}

/* The request is made long before the reply. */
static bool make_request(const struct tk_kind *k)
{
	if (tk_thread_start(k, requesting_thread))
		return false;
	msleep(300);
	return true;
}

/* The table of "ro-after-init". */
int __init tk_slot_init(void)
{
	ro_table = kcalloc(MAX_SLOTS, sizeof(*ro_table), GFP_KERNEL);
	return ro_table ? 0 : -ENOMEM;
}

void tk_slot_exit(void)
{
	kfree(ro_table);
}

static bool prepare(const struct tk_kind *k, int where)
{
	switch (where) {
	case AT_PERCPU:
		percpu = alloc_percpu(unsigned long);
		return percpu;
	case AT_KMALLOC:
		memory[where] = kcalloc(MAX_SLOTS, sizeof(long), GFP_KERNEL);
		return memory[where];
	case AT_VMALLOC:
		memory[where] = vcalloc(MAX_SLOTS, sizeof(long));
		return memory[where];
	case AT_PAGE:
		memory[where] = (void *)get_zeroed_page(GFP_KERNEL);
		return memory[where];
	case AT_INNER_PAGE:
	case AT_TAIL_PAGE:
		memory[where] = (void *)__get_free_pages(GFP_KERNEL |
				__GFP_ZERO | (where == AT_TAIL_PAGE ?
					      __GFP_COMP : 0), PAGES_ORDER);
		return memory[where];
	case AT_EXACT_PAGE:
		memory[where] = alloc_pages_exact(EXACT_SIZE,
						  GFP_KERNEL | __GFP_ZERO);
		return memory[where];
	case AT_PACKED:
		memory[where] = kzalloc(sizeof(packed_root), GFP_KERNEL);
		return memory[where];
	case AT_PAGE_PRIVATE:
		private_page = alloc_page(GFP_KERNEL);
		return private_page;
	case AT_HIGH_PAGE:
		high_page = alloc_page(GFP_KERNEL | __GFP_HIGHMEM | __GFP_ZERO);
		return high_page;
	case AT_REPLY:
		return make_request(k);
	default:
		return true;
	}
}

/* Maps the page for this store only. */
static void put_high(unsigned int nr, unsigned long value)
{
	unsigned long *at = kmap_local_page(high_page);

	WRITE_ONCE(at[nr], value);
	kunmap_local(at);
}

/* Stores @value in slot @nr of a place. */
static void put(int where, unsigned int nr, unsigned long value)
{
	switch (where) {
	case AT_GLOBAL:
	case AT_INTERIOR:
	case AT_LAST_BYTE:
		WRITE_ONCE(slots[where][nr], value);
		break;
	case AT_STATIC_PERCPU:
		/* Without SMP this is a variable that no code reads. */
		WRITE_ONCE(per_cpu(static_percpu, nr), value);
		break;
	case AT_PERCPU:
		*per_cpu_ptr(percpu, nr) = value;
		break;
	case AT_KMALLOC:
	case AT_VMALLOC:
	case AT_PAGE:
		WRITE_ONCE(memory[where][nr], value);
		break;
	case AT_INNER_PAGE:
	case AT_TAIL_PAGE:
	case AT_EXACT_PAGE:
		WRITE_ONCE(*in_pages(where, nr), value);
		break;
	case AT_PACKED:
		packed(memory[where], nr)->word = value;
		break;
	case AT_PACKED_ROOT:
		packed(packed_root, nr)->word = value;
		break;
	case AT_REPLY:
		WRITE_ONCE(replies[nr], value);
		break;
	case AT_PAGE_PRIVATE:
		set_page_private(private_page, value);
		break;
	case AT_HIGH_PAGE:
		put_high(nr, value);
		break;
	case AT_RO_TABLE:
		WRITE_ONCE(ro_table[nr], value);
		break;
	}
}

static unsigned int nr_slots(int where, unsigned int n)
{
	switch (where) {
	case AT_STATIC_PERCPU:
	case AT_PERCPU:
		return min(n, num_possible_cpus());
	case AT_PAGE_PRIVATE:
		return 1;
	default:
		return min_t(unsigned int, n, MAX_SLOTS);
	}
}

static int hold_slot(const struct tk_kind *k, unsigned int n)
{
	size_t offset = 0;
	unsigned int i;

	if (!prepare(k, k->where))
		return -ENOMEM;
	if (k->where == AT_INTERIOR)
		offset = k->size / 2;
	if (k->where == AT_LAST_BYTE)
		offset = k->size - 1;
	n = nr_slots(k->where, n);
	for (i = 0; i < n; i++) {
		char *p = tk_make(k, k->size, TK_HELD);

		if (!p)
			return -ENOMEM;
		put(k->where, i, (unsigned long)(p + offset));
	}
	return 0;
}

static void lose_slot(const struct tk_kind *k)
{
	unsigned int i, n = nr_slots(k->where, MAX_SLOTS);

	if (k->where == AT_PERCPU && !percpu)
		return;
	if (k->where >= AT_KMALLOC && k->where <= AT_PACKED && !memory[k->where])
		return;
	if (k->where == AT_PAGE_PRIVATE && !private_page)
		return;
	if (k->where == AT_HIGH_PAGE && !high_page)
		return;
	if (k->where == AT_REPLY && !replies)
		return;
	for (i = 0; i < n; i++)
		put(k->where, i, 0);
	switch (k->where) {
	case AT_PERCPU:
		free_percpu(percpu);
		percpu = NULL;
		break;
	case AT_KMALLOC:
	case AT_PACKED:
		kfree(memory[k->where]);
		break;
	case AT_VMALLOC:
		vfree(memory[k->where]);
		break;
	case AT_PAGE:
		free_page((unsigned long)memory[k->where]);
		break;
	case AT_INNER_PAGE:
	case AT_TAIL_PAGE:
		free_pages((unsigned long)memory[k->where], PAGES_ORDER);
		break;
	case AT_EXACT_PAGE:
		free_pages_exact(memory[k->where], EXACT_SIZE);
		break;
	case AT_REPLY:
		tk_threads_stop(k);
		break;
	case AT_PAGE_PRIVATE:
		__free_page(private_page);
		private_page = NULL;
		break;
	case AT_HIGH_PAGE:
		__free_page(high_page);
		high_page = NULL;
		break;
	}
	memory[k->where] = NULL;
}

/* A per-CPU area that is itself the object. */
static void __percpu *percpu_area;

static int hold_percpu_area(const struct tk_kind *k, unsigned int n)
{
	void __percpu *p = __alloc_percpu(k->size, 8);

	if (!p)
		return -ENOMEM;
	tk_note(k, (__force void *)p, k->size, TK_PERCPU, TK_HELD);
	WRITE_ONCE(percpu_area, p);
	return 0;
}

static void lose_percpu_area(const struct tk_kind *k)
{
	WRITE_ONCE(percpu_area, NULL);
}

/* Each object refers to the next one from an unaligned place. */
static int hold_packed_chain(const struct tk_kind *k, unsigned int n)
{
	void *holder = packed_chain;
	unsigned int i;

	for (i = 0; i < n; i++) {
		void *p = tk_make(k, k->size, TK_HELD);

		if (!p)
			return -ENOMEM;
		packed(holder, i % 4)->word = (unsigned long)p;
		holder = p;
	}
	return 0;
}

static void lose_packed_chain(const struct tk_kind *k)
{
	memset(packed_chain, 0, sizeof(packed_chain));
	barrier_data(packed_chain);
}

/* An object with references in many places. */
static void *popular[40];

static int hold_popular(const struct tk_kind *k, unsigned int n)
{
	void *p = tk_make(k, k->size, TK_HELD);
	unsigned int i;

	if (!p)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(popular); i++)
		WRITE_ONCE(popular[i], p);
	return 0;
}

static void lose_popular(const struct tk_kind *k)
{
	memset(popular, 0, sizeof(popular));
	barrier_data(popular);
}

/* Blocks of vmalloc() and krealloc(), and a block that was moved. */
static void *blocks[4];

enum { BLOCK_VMALLOC, BLOCK_KREALLOC, BLOCK_IN_PLACE, BLOCK_LARGE };

static int hold_block(const struct tk_kind *k, unsigned int n)
{
	void *p, *q;

	if (k->where == BLOCK_VMALLOC) {
		p = vzalloc(k->size);
	} else {
		/* In place: grows from 80 to 96 bytes in a block of 96 or 128. */
		p = kzalloc(k->where == BLOCK_IN_PLACE ? 80 : 32, GFP_KERNEL);
		q = p ? krealloc(p, k->size, GFP_KERNEL | __GFP_ZERO) : NULL;
		if (p && !q)
			kfree(p);
		p = q;
	}
	if (!p)
		return -ENOMEM;
	tk_note(k, p, k->size, k->where == BLOCK_VMALLOC ? TK_VFREE : TK_KFREE,
		TK_HELD);
	WRITE_ONCE(blocks[k->where], p);
	return 0;
}

/* Larger than any slab object; the size to which krealloc() can grow it in place. */
#define LARGE_FROM	(2 * PAGE_SIZE + PAGE_SIZE / 4)
#define LARGE_TO	(4 * PAGE_SIZE)

/*
 * The part by which a large block grew belongs to it: the only reference to the block is
 * to its last word, and that word refers to another block.
 */
static int hold_grown(const struct tk_kind *k, unsigned int n)
{
	unsigned long *p = kzalloc(LARGE_FROM, GFP_KERNEL), *q, *last;

	q = p ? krealloc(p, LARGE_TO, GFP_KERNEL | __GFP_ZERO) : NULL;
	if (!q || q != p) {
		kfree(q ?: p);
		return q ? -EINVAL : -ENOMEM;
	}
	tk_note(k, p, LARGE_TO, TK_KFREE, TK_HELD);
	last = p + LARGE_TO / sizeof(long) - 1;
	*last = (unsigned long)tk_make(k, 96, TK_HELD);
	WRITE_ONCE(blocks[k->where], last);
	return *last ? 0 : -ENOMEM;
}

static void lose_block(const struct tk_kind *k)
{
	WRITE_ONCE(blocks[k->where], NULL);
}

/* A reboot notifier, first in the kernel's list of these. */
static int note_nothing(struct notifier_block *nb, unsigned long action,
			void *data)
{
	return NOTIFY_DONE;
}

static int hold_notifier(const struct tk_kind *k, unsigned int n)
{
	struct notifier_block *nb = tk_make(k, sizeof(*nb), TK_HELD);

	if (!nb)
		return -ENOMEM;
	nb->notifier_call = note_nothing;
	nb->priority = INT_MAX;
	return register_reboot_notifier(nb);
}

static void lose_notifier(const struct tk_kind *k)
{
	struct notifier_block *nb = tk_object(k, TK_HELD, 0);

	if (nb)
		unregister_reboot_notifier(nb);
}

/* Threads that were started for a kind. */
static struct {
	const struct tk_kind *kind;
	struct task_struct *task;
} threads[3 * TK_MAX_THREADS];
static DECLARE_COMPLETION(thread_ready);

/**
 * tk_thread_start - start a thread and wait until it is ready
 * @k: its argument
 * @fn: its function, which calls tk_thread_ready(), and runs until it must stop
 *
 * Return: 0 or an error.
 */
int tk_thread_start(const struct tk_kind *k, int (*fn)(void *))
{
	struct task_struct *task;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(threads); i++)
		if (!threads[i].kind)
			break;
	if (i == ARRAY_SIZE(threads))
		return -ENOSPC;
	reinit_completion(&thread_ready);
	task = kthread_run(fn, (void *)k, "tk-%s", k->name);
	if (IS_ERR(task))
		return PTR_ERR(task);
	threads[i].kind = k;
	threads[i].task = task;
	wait_for_completion(&thread_ready);
	return 0;
}

/* Called by a thread when it holds its object. */
void tk_thread_ready(void)
{
	complete(&thread_ready);
}

/* Stops all threads that were started for @k, and waits for them. */
void tk_threads_stop(const struct tk_kind *k)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(threads); i++) {
		if (threads[i].kind != k)
			continue;
		kthread_stop(threads[i].task);
		threads[i].kind = NULL;
		threads[i].task = NULL;
	}
}

/* Sleeps until the calling thread must stop. */
noinline void tk_thread_sleep(void)
{
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
}

static noinline void hold_on_stack(const struct tk_kind *k)
{
	void *place[4];

	place[2] = tk_make(k, k->size, TK_HELD);
	barrier_data(place);
	tk_thread_ready();
	tk_thread_sleep();
	memset(place, 0, sizeof(place));
	barrier_data(place);
}

static int stack_thread(void *data)
{
	hold_on_stack(data);
	tk_wipe();
	return 0;
}

/* Keeps a pointer live across calls, without storing it in memory itself. */
static noinline void hold_in_register(const struct tk_kind *k)
{
	unsigned long p = (unsigned long)tk_make(k, k->size, TK_HELD);

	OPTIMIZER_HIDE_VAR(p);
	tk_thread_ready();
	tk_thread_sleep();
	/* A use after the sleep, so that the pointer stays live. */
	barrier_data((void *)p);
}

static int register_thread(void *data)
{
	hold_in_register(data);
	tk_wipe();
	return 0;
}

struct waited {
	unsigned long pad[3];
	wait_queue_head_t queue;
};

/* The entry in a wait queue, on a thread's stack, refers to the object. */
static noinline void wait_on_object(const struct tk_kind *k)
{
	struct waited *w = tk_make(k, sizeof(*w), TK_HELD);

	if (w) {
		init_waitqueue_head(&w->queue);
		tk_thread_ready();
		wait_event_interruptible(w->queue, kthread_should_stop());
	} else {
		tk_thread_ready();
		tk_thread_sleep();
	}
}

static int wait_thread(void *data)
{
	wait_on_object(data);
	tk_wipe();
	return 0;
}

enum { ON_STACK, IN_REGISTER, ON_WAIT_QUEUE };

static int hold_thread(const struct tk_kind *k, unsigned int n)
{
	static int (* const fns[])(void *) = {
		[ON_STACK] = stack_thread,
		[IN_REGISTER] = register_thread,
		[ON_WAIT_QUEUE] = wait_thread,
	};
	int ret = 0;

	if (n > TK_MAX_THREADS)
		return -EINVAL;
	while (n-- && !ret)
		ret = tk_thread_start(k, fns[k->where]);
	return ret;
}

#define SLOT(name, where, count)					\
	{ name, hold_slot, lose_slot, 96, count, where }

const struct tk_kind tk_slot_kinds[] = {
	SLOT("global", AT_GLOBAL, 4),
	SLOT("interior", AT_INTERIOR, 4),
	SLOT("last-byte", AT_LAST_BYTE, 4),
	SLOT("static-percpu", AT_STATIC_PERCPU, 2),
	SLOT("dynamic-percpu", AT_PERCPU, 2),
	SLOT("kmalloc-array", AT_KMALLOC, 8),
	SLOT("vmalloc-array", AT_VMALLOC, 8),
	SLOT("page", AT_PAGE, 8),
	SLOT("page-high", AT_HIGH_PAGE, 8),
	SLOT("pages-inner", AT_INNER_PAGE, 6),
	SLOT("page-comp", AT_TAIL_PAGE, 6),
	SLOT("page-exact", AT_EXACT_PAGE, 6),
	SLOT("packed", AT_PACKED, 7),
	SLOT("packed-root", AT_PACKED_ROOT, 7),
	{ "packed-chain", hold_packed_chain, lose_packed_chain, 96, 5 },
	SLOT("page-private", AT_PAGE_PRIVATE, 1),
	SLOT("reply", AT_REPLY, 8),
	SLOT("ro-after-init", AT_RO_TABLE, 4),
	{ "popular", hold_popular, lose_popular, 96 },
	{ "notifier", hold_notifier, lose_notifier },
	{ "percpu-area", hold_percpu_area, lose_percpu_area, 64 },
	{ "vmalloc", hold_block, lose_block, 20 << 10, 1, BLOCK_VMALLOC },
	{ "krealloc", hold_block, lose_block, 400, 1, BLOCK_KREALLOC },
	{ "krealloc-in-place", hold_block, lose_block, 90, 1, BLOCK_IN_PLACE },
	{ "krealloc-large", hold_grown, lose_block, .where = BLOCK_LARGE },
	{ "stack", hold_thread, tk_threads_stop, 96, 2, ON_STACK },
	{ "register", hold_thread, tk_threads_stop, 96, 2, IN_REGISTER },
	{ "wait-queue", hold_thread, tk_threads_stop, 0, 2, ON_WAIT_QUEUE },
	{}
};
