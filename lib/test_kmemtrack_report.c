// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: shapes of blocks in reports of leak detectors that users sent to mailing
 * lists and bug trackers, as far as other files do not have them: leaks, and blocks that
 * were reported although they were in use.
 */
#include <linux/cdev.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/percpu-refcount.h>
#include <linux/rculist.h>
#include <linux/rcupdate.h>
#include <linux/rhashtable.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/swab.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "test_kmemtrack.h"

/* A job of a driver: the only references to it are in its own list heads. */
struct report_job {
	u64 seq;
	struct list_head list;
	struct work_struct work;
	void *buffers[4];
};

static void report_on_work(struct work_struct *unused)
{
}

static noinline int leak_job(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct report_job *job = tk_make(k, sizeof(*job), TK_LEAKED);

		if (!job)
			return -ENOMEM;
		INIT_LIST_HEAD(&job->list);
		INIT_WORK(&job->work, report_on_work);
	}
	return 0;
}

/* A job that a worker has done, and that was not freed. */
static noinline int leak_done_work(const struct tk_kind *k, unsigned int n)
{
	static DECLARE_WORK(last_work, report_on_work);
	int ret = leak_job(k, n);
	struct report_job *job;
	unsigned int i;

	for (i = 0; (job = tk_object(k, TK_LEAKED, i)); i++) {
		queue_work(system_wq, &job->work);
		flush_work(&job->work);
	}
	/* A worker may keep the address of its last work item in a frame. */
	queue_work(system_wq, &last_work);
	flush_work(&last_work);
	return ret;
}

struct report_timer {
	unsigned long pad[5];
	struct timer_list timer;
};

static DECLARE_COMPLETION(report_done);

static void report_on_timer(struct timer_list *unused)
{
	tk_wipe();
	complete(&report_done);
}

static DEFINE_TIMER(report_last_timer, report_on_timer);

static void fire(struct timer_list *timer)
{
	mod_timer(timer, jiffies + 1);
	wait_for_completion(&report_done);
	timer_delete_sync(timer);
}

/* A timer that has expired. */
static noinline int leak_fired_timer(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct report_timer *t = tk_make(k, sizeof(*t), TK_LEAKED);

		if (!t)
			return -ENOMEM;
		timer_setup(&t->timer, report_on_timer, 0);
		fire(&t->timer);
	}
	fire(&report_last_timer);
	return 0;
}

/* Allocates five blocks, fails to allocate the sixth, and frees only four. */
static noinline int leak_error_path(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		void *p[5];
		int i;

		for (i = 0; i < ARRAY_SIZE(p); i++) {
			p[i] = kzalloc(k->size, GFP_KERNEL);
			if (!p[i])
				break;
		}
		if (i)
			tk_note(k, p[0], k->size, TK_KFREE, TK_LEAKED);
		while (--i > 0)
			kfree(p[i]);
		memset(p, 0, sizeof(p));
		barrier_data(p);
	}
	return 0;
}

/* An object that was removed from a list, to which it still refers, and not freed. */
static noinline int leak_deleted(const struct tk_kind *k, unsigned int n)
{
	static LIST_HEAD(live);

	while (n--) {
		struct tk_node *node = tk_make(k, sizeof(*node), TK_LEAKED);

		if (!node)
			return -ENOMEM;
		list_add_rcu(&node->list, &live);
		list_del_rcu(&node->list);
	}
	return 0;
}

/* The owner of a list is freed, but not the members of the list. */
static noinline int leak_members(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct list_head *head = kzalloc(k->size, GFP_KERNEL);
		unsigned int i;

		if (!head)
			return -ENOMEM;
		head += 3;
		INIT_LIST_HEAD(head);
		for (i = 0; i < 4; i++) {
			struct tk_node *node = tk_make(k, sizeof(*node), TK_LEAKED);

			if (node)
				list_add_tail(&node->list, head);
		}
		kfree(head - 3);
	}
	return 0;
}

/* Objects whose address is stored in another form: XORed, byte-swapped, in parts. */
static struct {
	unsigned long mixed;
	unsigned long swapped;
	u16 halves[2 * sizeof(long) / sizeof(u16)];
} encoded[8];

static noinline int leak_encoded(const struct tk_kind *k, unsigned int n)
{
	unsigned int i, j;

	for (i = 0; i < n; i++) {
		unsigned long p = (unsigned long)tk_make(k, k->size, TK_LEAKED);

		if (!p)
			return -ENOMEM;
		j = i % ARRAY_SIZE(encoded);
		switch (i % 3) {
		case 0:
			encoded[j].mixed = ~p;
			break;
		case 1:
			encoded[j].swapped = IS_ENABLED(CONFIG_64BIT) ?
					     swab64(p) : swab32(p);
			break;
		case 2:
			/* 16 bits of the address, then 16 unrelated bits. */
			for (j = 0; j < sizeof(p) / sizeof(u16); j++)
				encoded[0].halves[2 * j] = p >> (16 * j);
			break;
		}
		barrier_data(encoded);
	}
	return 0;
}

static void end_encoded(const struct tk_kind *k)
{
	memset(encoded, 0, sizeof(encoded));
	barrier_data(encoded);
}

/* Only descriptors of a device refer to the objects, by physical address and flags. */
static unsigned long *descriptors;

static noinline int leak_described(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;

	n = min_t(unsigned int, n, PAGE_SIZE / (2 * sizeof(long)));
	descriptors = (void *)get_zeroed_page(GFP_KERNEL);
	for (i = 0; descriptors && i < n; i++) {
		void *p = tk_make(k, k->size, TK_LEAKED);

		if (!p)
			return -ENOMEM;
		descriptors[2 * i] = virt_to_phys(p) | 1;
		descriptors[2 * i + 1] = k->size;
	}
	return descriptors ? 0 : -ENOMEM;
}

static void end_described(const struct tk_kind *k)
{
	free_page((unsigned long)descriptors);
	descriptors = NULL;
}

static void report_release(struct kobject *unused)
{
}

static const struct kobj_type report_ktype = { .release = report_release };

/* The name of a device that was freed. */
static noinline int leak_name(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct kobject kobj = {};

		kobject_init(&kobj, &report_ktype);
		if (kobject_set_name(&kobj, "report-of-a-device-%u", n))
			return -ENOMEM;
		tk_note(k, kobj.name, strlen(kobj.name) + 1, TK_KFREE, TK_LEAKED);
		memset(&kobj, 0, sizeof(kobj));
		barrier_data(&kobj);
	}
	return 0;
}

/* A kobject with one reference too many, and its name. */
static noinline int leak_kobject(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct kobject *kobj = tk_make(k, sizeof(*kobj) + 40, TK_LEAKED);

		if (!kobj)
			return -ENOMEM;
		kobject_init(kobj, &report_ktype);
		if (kobject_set_name(kobj, "report-object-%u", n))
			return -ENOMEM;
		tk_note(k, kobj->name, strlen(kobj->name) + 1, TK_KFREE, TK_LEAKED);
	}
	return 0;
}

/* A character device that is allocated although its owner embeds one. */
static noinline int leak_cdev(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct cdev *cdev = cdev_alloc();

		if (!cdev)
			return -ENOMEM;
		tk_note(k, cdev, sizeof(*cdev), TK_KFREE, TK_LEAKED);
		barrier();
	}
	return 0;
}

struct report_owner {
	unsigned long pad[50];
	struct list_head queue;
	void *security;
	void __percpu *stats;
	unsigned long rest[60];
};

struct report_security {
	unsigned long sid;
	struct report_owner *owner;
	unsigned long flags[2];
};

/* A socket, and the data of a security module, which refer to each other. */
static noinline int leak_owner(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct report_owner *owner = tk_make(k, sizeof(*owner), TK_LEAKED);
		struct report_security *security;

		security = tk_make(k, sizeof(*security), TK_LEAKED);
		if (!owner || !security)
			return -ENOMEM;
		INIT_LIST_HEAD(&owner->queue);
		owner->security = security;
		security->owner = owner;
	}
	return 0;
}

/* Per-CPU statistics, with the structure that they belong to. */
static noinline int leak_stats(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct report_owner *owner = tk_make(k, sizeof(*owner), TK_LEAKED);

		if (!owner)
			return -ENOMEM;
		owner->stats = __alloc_percpu(64, 8);
		if (!owner->stats)
			return -ENOMEM;
		tk_note(k, (__force void *)owner->stats, 64, TK_PERCPU, TK_LEAKED);
	}
	return 0;
}

struct report_message {
	struct list_head list;
	void *data;
	unsigned long len[3];
};

/* A queue whose head is in the middle of its owner; its members have data. */
static noinline int leak_queue(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;

	while (n--) {
		struct report_owner *owner = tk_make(k, sizeof(*owner), TK_LEAKED);

		if (!owner)
			return -ENOMEM;
		INIT_LIST_HEAD(&owner->queue);
		for (i = 0; i < 3; i++) {
			struct report_message *msg;

			msg = tk_make(k, sizeof(*msg), TK_LEAKED);
			if (!msg)
				return -ENOMEM;
			list_add_tail(&msg->list, &owner->queue);
			msg->data = tk_make(k, 200, TK_LEAKED);
		}
	}
	return 0;
}

struct report_aux {
	unsigned long pad[4];
	void *program;
};

/*
 * A network filter: a program in a vmalloc block, which forms a ring with its descriptor,
 * and a copy of the user's program.
 */
static noinline int leak_program(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		void **program = vzalloc(PAGE_SIZE);
		struct report_aux *aux;
		void **orig;

		if (!program)
			return -ENOMEM;
		tk_note(k, program, PAGE_SIZE, TK_VFREE, TK_LEAKED);
		aux = tk_make(k, sizeof(*aux), TK_LEAKED);
		orig = tk_make(k, 2 * sizeof(*orig), TK_LEAKED);
		if (!aux || !orig)
			return -ENOMEM;
		program[4] = aux;
		aux->program = program;
		program[5] = orig;
		orig[1] = tk_make(k, 72, TK_LEAKED);
	}
	return 0;
}

/*
 * A ring of blocks of three allocators. The blocks that the owner refers to are larger
 * than the owner, and younger by more than a tick of jiffies.
 */
static noinline int leak_mixed_ring(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct report_owner *owner = tk_make(k, sizeof(*owner), TK_LEAKED);
		const unsigned long then = jiffies;
		int cpu = cpumask_first(cpu_possible_mask);
		void **table;

		while (owner && time_before(jiffies, then + 2))
			schedule_timeout_uninterruptible(1);
		table = vzalloc(2 * PAGE_SIZE);
		if (!owner || !table)
			return -ENOMEM;
		tk_note(k, table, 2 * PAGE_SIZE, TK_VFREE, TK_LEAKED);
		owner->stats = __alloc_percpu(48, 8);
		if (!owner->stats)
			return -ENOMEM;
		tk_note(k, (__force void *)owner->stats, 48, TK_PERCPU, TK_LEAKED);
		((void **)per_cpu_ptr(owner->stats, cpu))[2] = table;
		table[PAGE_SIZE / sizeof(*table) + 7] = &owner->queue;
	}
	return 0;
}

/* A table that is larger than its owner, and allocated right after it. */
struct report_table {
	struct report_owner *owner;
	char entries[2000];
};

static noinline int leak_table(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct report_owner *owner = tk_make(k, sizeof(*owner), TK_LEAKED);
		struct report_table *table = tk_make(k, sizeof(*table), TK_LEAKED);

		if (!owner || !table)
			return -ENOMEM;
		owner->security = table;
		table->owner = owner;
	}
	return 0;
}

/* A request and its text, allocated by an interrupt. */
struct report_request {
	char *text;
};

static struct {
	const struct tk_kind *kind;
	unsigned int n;
	int ret;
} pair_job;

static noinline void leak_pair_in_softirq(void)
{
	while (pair_job.n--) {
		struct report_request *r = kzalloc(sizeof(*r), GFP_ATOMIC);

		pair_job.ret = -ENOMEM;
		if (!r)
			return;
		tk_note(pair_job.kind, r, sizeof(*r), TK_KFREE, TK_LEAKED);
		r->text = kstrdup("a request of the network", GFP_ATOMIC);
		if (!r->text)
			return;
		tk_note(pair_job.kind, r->text, 25, TK_KFREE, TK_LEAKED);
		pair_job.ret = 0;
	}
}

static void report_on_pair(struct timer_list *unused)
{
	leak_pair_in_softirq();
	tk_wipe();
	complete(&report_done);
}

static DEFINE_TIMER(pair_timer, report_on_pair);

static int leak_softirq_pair(const struct tk_kind *k, unsigned int n)
{
	pair_job.kind = k;
	pair_job.n = n;
	fire(&pair_timer);
	return pair_job.ret;
}

#ifdef CONFIG_NET
/* A packet, a clone of it, and the data that they share. */
static noinline int leak_skb(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct sk_buff *skb = alloc_skb(k->size, GFP_KERNEL), *clone;

		clone = skb ? skb_clone(skb, GFP_KERNEL) : NULL;
		if (!clone)
			return -ENOMEM;
		skb_put_zero(skb, k->size);
		tk_note(k, skb, sizeof(*skb), TK_SKB, TK_LEAKED);
		tk_note(k, clone, sizeof(*clone), TK_SKB, TK_LEAKED);
		tk_note(k, skb->head, skb_end_offset(skb) +
			SKB_DATA_ALIGN(sizeof(struct skb_shared_info)),
			TK_OTHER, TK_LEAKED);
	}
	return 0;
}
#endif

/* An object that is lost when its RCU callback has run. */
struct report_rcu {
	unsigned long pad[7];
	struct rcu_head rcu;
};

static void report_on_rcu(struct rcu_head *unused)
{
}

static noinline int leak_after_rcu(const struct tk_kind *k, unsigned int n)
{
	static struct rcu_head last;

	while (n--) {
		struct report_rcu *r = tk_make(k, sizeof(*r), TK_LEAKED);

		if (!r)
			return -ENOMEM;
		call_rcu(&r->rcu, report_on_rcu);
	}
	rcu_barrier();
	call_rcu(&last, report_on_rcu);
	rcu_barrier();
	return 0;
}

/* Pointers with flags in their lowest bits. */
static unsigned long tagged[32];

static int hold_tagged(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < min_t(unsigned int, n, ARRAY_SIZE(tagged)); i++) {
		void *p = tk_make(k, 96, TK_HELD);

		if (!p)
			return -ENOMEM;
		WRITE_ONCE(tagged[i], (unsigned long)p | (1 + i % 3));
	}
	return 0;
}

static void lose_tagged(const struct tk_kind *k)
{
	memset(tagged, 0, sizeof(tagged));
	barrier_data(tagged);
}

/* Data of a block to which a global pointer refers. */
enum { HELD_REF, HELD_IDA, HELD_SG, HELD_VMALLOC, HELD_PERCPU, NR_HELD };

static void *held[NR_HELD][4];

#define MAX_HELD	ARRAY_SIZE(held[0])

static void report_on_ref(struct percpu_ref *unused)
{
}

struct report_ref {
	unsigned long pad[3];
	struct percpu_ref ref;
};

/* percpu_ref: a per-CPU pointer with flags in its lowest bits. */
static int hold_ref(const struct tk_kind *k, unsigned int n)
{
	static const unsigned int modes[] = {
		0, PERCPU_REF_INIT_ATOMIC, PERCPU_REF_INIT_DEAD,
	};
	static unsigned int mode;
	unsigned int i;

	for (i = 0; i < min_t(unsigned int, n, MAX_HELD); i++) {
		struct report_ref *r = tk_make(k, sizeof(*r), TK_HELD);
		unsigned long counters;

		if (!r)
			return -ENOMEM;
		if (percpu_ref_init(&r->ref, report_on_ref,
				    modes[mode++ % ARRAY_SIZE(modes)], GFP_KERNEL))
			return -ENOMEM;
		counters = r->ref.percpu_count_ptr & ~__PERCPU_REF_ATOMIC_DEAD;
		tk_note(k, (void *)counters, sizeof(long), TK_PERCPU, TK_HELD);
		tk_note(k, r->ref.data, sizeof(*r->ref.data), TK_KFREE, TK_HELD);
		WRITE_ONCE(held[HELD_REF][i], r);
	}
	return 0;
}

struct report_ida {
	unsigned long pad[3];
	struct ida ida;
};

/* IDA: allocated numbers are in bitmaps, some of which are single words. */
static int hold_ida(const struct tk_kind *k, unsigned int n)
{
	unsigned int i, nr;

	for (i = 0; i < min_t(unsigned int, n, MAX_HELD); i++) {
		struct report_ida *r = tk_make(k, sizeof(*r), TK_HELD);

		if (!r)
			return -ENOMEM;
		ida_init(&r->ida);
		WRITE_ONCE(held[HELD_IDA][i], r);
		for (nr = 0; nr < 3000; nr++)
			if (ida_alloc(&r->ida, GFP_KERNEL) < 0)
				return -ENOMEM;
	}
	/* Frees nodes that the CPU keeps. */
	idr_preload(GFP_KERNEL);
	idr_preload_end();
	return 0;
}

struct report_sg {
	unsigned long pad[3];
	struct sg_table table;
};

/* A chained scatterlist: the last entry of each part refers to the next, with a flag. */
static int hold_sg(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < min_t(unsigned int, n, MAX_HELD); i++) {
		struct report_sg *r = tk_make(k, sizeof(*r), TK_HELD);

		if (!r)
			return -ENOMEM;
		if (sg_alloc_table(&r->table, 3 * SG_MAX_SINGLE_ALLOC / 2, GFP_KERNEL))
			return -ENOMEM;
		WRITE_ONCE(held[HELD_SG][i], r);
	}
	return 0;
}

/* The only reference points into the block, to another page than its first. */
static int hold_vmalloc_inside(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < min_t(unsigned int, n, MAX_HELD); i++) {
		char *p = vzalloc(3 * PAGE_SIZE);

		if (!p)
			return -ENOMEM;
		tk_note(k, p, 3 * PAGE_SIZE, TK_VFREE, TK_HELD);
		WRITE_ONCE(held[HELD_VMALLOC][i], p + (i + 1) * PAGE_SIZE / 2 + 9);
	}
	return 0;
}

/* The only reference is to a member of a per-CPU structure. */
static int hold_percpu_inside(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < min_t(unsigned int, n, MAX_HELD); i++) {
		void __percpu *p = __alloc_percpu(128, 8);

		if (!p)
			return -ENOMEM;
		tk_note(k, (__force void *)p, 128, TK_PERCPU, TK_HELD);
		WRITE_ONCE(held[HELD_PERCPU][i], (__force void *)(p + 72));
	}
	return 0;
}

static void lose_held(const struct tk_kind *k)
{
	unsigned int i;

	for (i = 0; i < MAX_HELD; i++) {
		void *p = held[k->where][i];

		if (p && k->where == HELD_IDA)
			ida_destroy(&((struct report_ida *)p)->ida);
		if (p && k->where == HELD_SG)
			sg_free_table(&((struct report_sg *)p)->table);
		WRITE_ONCE(held[k->where][i], NULL);
	}
	rcu_barrier();
}

/* Freed by kvfree_rcu(): RCU keeps the address in a page of such addresses. */
static int hold_kvfree_rcu(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct report_rcu *r = vzalloc(PAGE_SIZE);

		if (!r)
			return -ENOMEM;
		tk_note(k, r, PAGE_SIZE, TK_VFREE, TK_HELD);
		kvfree_rcu(r, rcu);
	}
	return 0;
}

static void lose_kvfree_rcu(const struct tk_kind *k)
{
}

/* In an rhashtable, whose buckets have a lock bit and special end markers. */
struct report_entry {
	unsigned long pad[3];
	struct rhash_head node;
	u32 key;
};

static const struct rhashtable_params report_params = {
	.head_offset	= offsetof(struct report_entry, node),
	.key_offset	= offsetof(struct report_entry, key),
	.key_len	= sizeof(u32),
};

static struct rhashtable table;
static bool table_used;

static int hold_hashed(const struct tk_kind *k, unsigned int n)
{
	int ret = rhashtable_init(&table, &report_params);
	unsigned int i;

	table_used = !ret;
	for (i = 0; i < n && !ret; i++) {
		struct report_entry *e = tk_make(k, sizeof(*e), TK_HELD);

		if (!e)
			return -ENOMEM;
		e->key = i * 2654435761U;
		ret = rhashtable_insert_fast(&table, &e->node, report_params);
	}
	return ret;
}

static void lose_hashed(const struct tk_kind *k)
{
	if (table_used)
		rhashtable_destroy(&table);
	table_used = false;
	memset(&table, 0, sizeof(table));
	rcu_barrier();
}

/* In an XArray, with tags in the lowest bits of the pointers. */
static DEFINE_XARRAY(xarray);

static int hold_xa_tagged(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < n && !ret; i++) {
		void *p = tk_make(k, 72, TK_HELD);

		if (!p)
			return -ENOMEM;
		p = xa_tag_pointer(p, i & 1 ? 1 : 3);
		ret = xa_err(xa_store(&xarray, i * 29, p, GFP_KERNEL));
	}
	return ret;
}

static void lose_xa_tagged(const struct tk_kind *k)
{
	xa_destroy(&xarray);
	rcu_barrier();
}

/* A member of two lists, one of which was reset. */
struct report_member {
	struct list_head first;
	unsigned long pad[3];
	struct list_head second;
};

static LIST_HEAD(first);
static LIST_HEAD(second);

static int hold_in_two(const struct tk_kind *k, unsigned int n)
{
	while (n--) {
		struct report_member *m = tk_make(k, sizeof(*m), TK_HELD);

		if (!m)
			return -ENOMEM;
		list_add(&m->first, &first);
		list_add(&m->second, &second);
	}
	INIT_LIST_HEAD(&first);
	return 0;
}

static void lose_in_two(const struct tk_kind *k)
{
	INIT_LIST_HEAD(&second);
}

/* In a list whose head is on the stack of a sleeping thread. */
static noinline void sleep_with_list(const struct tk_kind *k)
{
	LIST_HEAD(head);
	unsigned int i;

	for (i = 0; i < k->count; i++) {
		struct tk_node *node = tk_make(k, sizeof(*node), TK_HELD);

		if (node)
			list_add_tail(&node->list, &head);
	}
	barrier_data(&head);
	tk_thread_ready();
	tk_thread_sleep();
	memset(&head, 0, sizeof(head));
	barrier_data(&head);
}

static int list_thread(void *data)
{
	sleep_with_list(data);
	tk_wipe();
	return 0;
}

static int hold_stack_list(const struct tk_kind *k, unsigned int n)
{
	return tk_thread_start(k, list_thread);
}

/* The argument of a thread that has not been woken yet. */
static struct task_struct *unborn[4];

static int unborn_thread(void *unused)
{
	return 0;
}

static int hold_argument(const struct tk_kind *k, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < min_t(unsigned int, n, ARRAY_SIZE(unborn)); i++) {
		void *p = tk_make(k, 104, TK_HELD);
		struct task_struct *task;

		if (!p)
			return -ENOMEM;
		task = kthread_create(unborn_thread, p, "tk_unborn");
		if (IS_ERR(task))
			return PTR_ERR(task);
		get_task_struct(task);
		unborn[i] = task;
	}
	return 0;
}

static void lose_argument(const struct tk_kind *k)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(unborn); i++) {
		if (!unborn[i])
			continue;
		kthread_stop(unborn[i]);
		put_task_struct(unborn[i]);
		unborn[i] = NULL;
	}
	rcu_barrier();
}

const struct tk_kind tk_report_kinds[] = {
	{ "job", leak_job, .count = 2 },
	{ "done-work", leak_done_work, .count = 2 },
	{ "fired-timer", leak_fired_timer, .count = 2 },
	{ "error-path", leak_error_path, .size = 120, .count = 2 },
	{ "deleted", leak_deleted, .count = 2 },
	{ "members", leak_members, .size = 700 },
	{ "encoded", leak_encoded, .size = 72, .count = 3, .end = end_encoded },
	{ "described", leak_described, .size = 200, .count = 4,
	  .end = end_described },
	{ "name", leak_name, .count = 2 },
	{ "kobject", leak_kobject },
	{ "cdev", leak_cdev, .count = 2 },
	{ "owner", leak_owner },
	{ "owner-stats", leak_stats },
	{ "owner-queue", leak_queue },
	{ "program", leak_program },
	{ "mixed-ring", leak_mixed_ring },
	{ "table", leak_table },
	{ "softirq-pair", leak_softirq_pair },
#ifdef CONFIG_NET
	{ "skb", leak_skb, .size = 400 },
#endif
	{ "after-rcu", leak_after_rcu, .count = 3 },
	{ "tagged", hold_tagged, lose_tagged, .count = 9 },
	{ "percpu-ref", hold_ref, lose_held, .count = 1, .where = HELD_REF },
	{ "ida", hold_ida, lose_held, .count = 1, .where = HELD_IDA },
	{ "sg-table", hold_sg, lose_held, .count = 2, .where = HELD_SG },
	{ "vmalloc-inside", hold_vmalloc_inside, lose_held, .count = 4,
	  .where = HELD_VMALLOC },
	{ "percpu-inside", hold_percpu_inside, lose_held, .count = 4,
	  .where = HELD_PERCPU },
	{ "kvfree-rcu", hold_kvfree_rcu, lose_kvfree_rcu, .count = 8,
	  .flags = TK_VOLATILE },
	{ "rhashtable", hold_hashed, lose_hashed, .count = 100 },
	{ "xarray-tagged", hold_xa_tagged, lose_xa_tagged, .count = 60 },
	{ "two-lists", hold_in_two, lose_in_two, .count = 5 },
	{ "stack-list", hold_stack_list, tk_threads_stop, .count = 5 },
	{ "argument", hold_argument, lose_argument, .count = 3 },
	{}
};
