// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of kmemtrack: what the tracker of this kernel knows of real
 * allocations and annotations, and what its scan says of them.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/kfence.h>
#include <linux/kmemleak.h>
#include <linux/kmsg_dump.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/secretmem.h>
#include <linux/slab.h>
#include <linux/stackdepot.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>

#ifdef CONFIG_KFENCE
#include "../mm/kfence/kfence.h"
#endif
#include "../mm/kmemtrack/compat.h"
#include "../mm/kmemtrack/glue.h"
#include "../mm/kmemtrack/report.h"
#include "../mm/kmemtrack/scan.h"
#include "test_kmemtrack_compat.h"

static bool find(enum kmt_space space, const void *p, struct kmt_object *o)
{
	const unsigned long addr = kmt_untag((unsigned long)p);

	return kmt_lookup(&kmt_core, space, addr, o) && o->addr == addr;
}

/* Expects a block of at least @size bytes that the current task allocated. */
static void expect_block(struct kunit *test, const void *p, size_t size,
			 u8 min)
{
	struct kmt_object o;

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_ASSERT_TRUE(test, find(KMT_VIRT, p, &o));
	KUNIT_EXPECT_GE(test, o.size, size);
	KUNIT_EXPECT_EQ(test, o.min_refs, min);
	KUNIT_EXPECT_EQ(test, kmt_pid(&o), current->pid);
	KUNIT_EXPECT_STREQ(test, kmt_comm(o.comm), current->comm);
	KUNIT_EXPECT_NE(test, o.trace, 0);
	KUNIT_EXPECT_LE(test, (u32)jiffies - o.born, 60 * HZ);
}

static void expect_gone(struct kunit *test, const void *p)
{
	struct kmt_object o;

	KUNIT_EXPECT_FALSE(test, find(KMT_VIRT, p, &o));
}

static int hooks_init(struct kunit *test)
{
	if (!kmt_tracking())
		kunit_skip(test, "not tracking");
	return 0;
}

static void slab_blocks(struct kunit *test)
{
	static const size_t sizes[] = { 1, 8, 96, 1000, 8192, 9000, 300000 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *p = kmalloc(sizes[i], GFP_KERNEL), *q;

		expect_block(test, p, sizes[i], 1);
		q = krealloc(p, sizes[i] * 3, GFP_KERNEL);
		expect_block(test, q, sizes[i] * 3, 1);
		if (p != q)
			expect_gone(test, p);
		kfree(q);
		expect_gone(test, q);
	}
}

/* Expects that a report of the block says that @size bytes were asked for. */
static void expect_requested(struct kunit *test, const void *p, size_t size)
{
	struct kmt_object o;
	unsigned long requested;

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_ASSERT_TRUE(test, find(KMT_VIRT, p, &o));
	requested = kmt_requested(o.size, kmt_slack(&o));
	KUNIT_EXPECT_GE(test, requested, size);
	KUNIT_EXPECT_LE(test, requested, o.size <= KMT_SLACK_EXACT ? size : size + size / 1024);
	KUNIT_EXPECT_EQ(test, kmt_pid(&o), current->pid);
}

static void requested_bytes(struct kunit *test)
{
	static const size_t sizes[] = {
		1, 8, 33, 96, 97, 129, 710, 1000, 1025, 2000, 4097, 5000, 8191,
		9000, 20000, 300000,
	};
	unsigned int i;
	void *p = kmalloc(710, GFP_KERNEL), *q;

	expect_requested(test, p, 710);
	kfree(p);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		p = kzalloc(sizes[i], GFP_KERNEL);
		expect_requested(test, p, sizes[i]);
		/* In place, if there is room, but not with KFENCE. */
		q = krealloc(p, sizes[i] + 1, GFP_KERNEL);
		expect_requested(test, q ?: p, q ? sizes[i] + 1 : sizes[i]);
		p = krealloc(q ?: p, sizes[i], GFP_KERNEL);
		expect_requested(test, p, sizes[i]);
		kfree(p);
	}
}

static void cache_blocks(struct kunit *test)
{
	struct kmem_cache *cache = kmem_cache_create("kmt_kunit", 120, 0,
						     SLAB_TYPESAFE_BY_RCU,
						     NULL);
	void *p[8];
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	/*
	 * Allocates all or none; the return value is the number, or true, by kernel
	 * version.
	 */
	KUNIT_ASSERT_TRUE(test, kmem_cache_alloc_bulk(cache, GFP_KERNEL, 8, p));
	for (i = 0; i < 8; i++)
		expect_block(test, p[i], 120, 1);
	kmem_cache_free(cache, p[0]);
	expect_gone(test, p[0]);
	kmem_cache_free_bulk(cache, 7, p + 1);
	for (i = 1; i < 8; i++)
		expect_gone(test, p[i]);
	kmem_cache_destroy(cache);
}

static long count_of(enum kmt_event ev)
{
	return atomic_long_read(&kmt_core.events[ev]);
}

/* Returns the number of lines of the log with this text. */
static unsigned int lines_logged(const char *text)
{
	static char line[512];
	struct kmsg_dump_iter iter;
	unsigned int nr = 0;
	size_t len;

	kmsg_dump_rewind(&iter);
	while (kmsg_dump_get_line(&iter, false, line, sizeof(line), &len))
		nr += !!strnstr(line, text, len);
	return nr;
}

/* Frees of addresses that are not blocks, or not any more, are counted and logged. */
static void wrong_frees(struct kunit *test)
{
	char *p = kmalloc(100, GFP_KERNEL), address[20];
	long inside = count_of(KMT_EV_FREE_INSIDE);
	long twice = count_of(KMT_EV_FREE_TWICE);
	const char *warning = "an address inside a block was freed";
	unsigned int told = lines_logged(warning);
	unsigned int own = lines_logged("__kmemtrack_free+");
	unsigned long flags;

	expect_block(test, p, 100, 1);
	/* The caller may hold a lock, so the hook must not print. */
	local_irq_save(flags);
	kmemleak_free(p + 8);
	KUNIT_EXPECT_EQ(test, lines_logged(warning), told);
	local_irq_restore(flags);
	/* Before the code of a module is freed it must be printed, too. */
	kmt_flush_warnings();
	KUNIT_EXPECT_EQ(test, lines_logged(warning), told + 1);
	KUNIT_EXPECT_EQ(test, lines_logged("__kmemtrack_free+"), own);
	snprintf(address, sizeof(address), "%lx", kmt_untag((unsigned long)p));
	KUNIT_EXPECT_EQ(test, lines_logged(address), 0);
	KUNIT_EXPECT_EQ(test, count_of(KMT_EV_FREE_INSIDE), inside + 1);
	expect_block(test, p, 100, 1);
	kmemleak_free(p);
	KUNIT_EXPECT_EQ(test, count_of(KMT_EV_FREE_TWICE), twice);
	expect_gone(test, p);
	kfree(p);
	KUNIT_EXPECT_EQ(test, count_of(KMT_EV_FREE_TWICE), twice + 1);
}

/* Replaces the record of a block with records of two parts of it. */
static void tell_parts(struct kunit *test, char *p, bool free)
{
	struct kmt_object o;

	KUNIT_ASSERT_NOT_NULL(test, p);
	if (free)
		kmemleak_free(p);
	kmemleak_alloc(p + 16, 40, 1, GFP_KERNEL);
	kmemleak_alloc(p + 64, 36, 1, GFP_KERNEL);
	KUNIT_EXPECT_FALSE(test, find(KMT_VIRT, p, &o));
	KUNIT_EXPECT_TRUE(test, find(KMT_VIRT, p + 16, &o));
	KUNIT_EXPECT_TRUE(test, find(KMT_VIRT, p + 64, &o));
}

/* Parts of a block are forgotten when the block is freed, unless they were before. */
static void parts_left(struct kunit *test)
{
	struct kmem_cache *cache = kmem_cache_create("kmt_kunit_parts", 100, 0, 0, NULL);
	long around = count_of(KMT_EV_FREE_AROUND);
	char *p, *beside[2];

	KUNIT_ASSERT_NOT_NULL(test, cache);
	beside[0] = kmem_cache_alloc(cache, GFP_KERNEL);
	p = kmem_cache_alloc(cache, GFP_KERNEL);
	beside[1] = kmem_cache_alloc(cache, GFP_KERNEL);
	tell_parts(test, p, true);
	/* An address inside the block is not the block. */
	kmemleak_free(p + 8);
	KUNIT_EXPECT_EQ(test, count_of(KMT_EV_FREE_AROUND), around);
	kmem_cache_free(cache, p);
	KUNIT_EXPECT_EQ(test, count_of(KMT_EV_FREE_AROUND), around + 2);
	expect_gone(test, p + 16);
	expect_gone(test, p + 64);
	expect_block(test, beside[0], 100, 1);
	expect_block(test, beside[1], 100, 1);
	kmem_cache_free(cache, beside[0]);
	kmem_cache_free(cache, beside[1]);
	kmem_cache_destroy(cache);

	/* Without kmemleak_free(), the part also replaces the block. */
	p = kmalloc(128, GFP_KERNEL);
	tell_parts(test, p, false);
	kfree(p);
	expect_gone(test, p + 16);
	expect_gone(test, p + 64);
	p = kmalloc(SZ_64K, GFP_KERNEL);
	tell_parts(test, p, true);
	kmemleak_alloc(p + SZ_64K - 64, 64, 1, GFP_KERNEL);
	kfree(p);
	expect_gone(test, p + 16);
	expect_gone(test, p + 64);
	expect_gone(test, p + SZ_64K - 64);
	p = vmalloc(2 * PAGE_SIZE);
	tell_parts(test, p, true);
	kmemleak_alloc(p + PAGE_SIZE + 128, 64, 1, GFP_KERNEL);
	vfree(p);
	expect_gone(test, p + 16);
	expect_gone(test, p + 64);
	expect_gone(test, p + PAGE_SIZE + 128);
	KUNIT_EXPECT_EQ(test, count_of(KMT_EV_FREE_AROUND), around + 2 + 2 + 3 + 3);
}

static void mapped_blocks(struct kunit *test)
{
	void *p = vmalloc(100);
	char *q = vzalloc(5 << 20);

	expect_block(test, p, 100, 2);
	expect_block(test, q, 5 << 20, 2);
	vfree(p);
	vfree(q);
	expect_gone(test, p);
	expect_gone(test, q);
}

static void percpu_blocks(struct kunit *test)
{
	void __percpu *p = __alloc_percpu(72, 8);
	struct kmt_object o;

	KUNIT_ASSERT_TRUE(test, !!p);
	KUNIT_ASSERT_TRUE(test, find(KMT_PERCPU_SPACE, (__force void *)p, &o));
	KUNIT_EXPECT_GE(test, o.size, 72);
	KUNIT_EXPECT_NE(test, o.trace, 0);
	__kmemtrack_ignore_percpu(p);
	KUNIT_ASSERT_TRUE(test, find(KMT_PERCPU_SPACE, (__force void *)p, &o));
	KUNIT_EXPECT_EQ(test, o.min_refs, KMT_MIN_BLACK);
	free_percpu(p);
	KUNIT_EXPECT_FALSE(test, find(KMT_PERCPU_SPACE, (__force void *)p, &o));
}

struct irq_block {
	struct irq_work work;
	struct completion done;
	void *p;
};

static void irq_alloc(struct irq_work *work)
{
	struct irq_block *b = container_of(work, struct irq_block, work);

	/* Let lockdep allow allocations, as in handlers of devices. */
	lockdep_hardirq_threaded();
	b->p = kmalloc(88, GFP_ATOMIC);
	complete(&b->done);
}

static void irq_blocks(struct kunit *test)
{
	struct irq_block b = { .work = IRQ_WORK_INIT_HARD(irq_alloc) };
	struct kmt_object o;

	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "no hard interrupt allocates");
	init_completion(&b.done);
	irq_work_queue(&b.work);
	wait_for_completion(&b.done);
	irq_work_sync(&b.work);
	KUNIT_ASSERT_NOT_NULL(test, b.p);
	KUNIT_ASSERT_TRUE(test, find(KMT_VIRT, b.p, &o));
	/* An interrupt has no task. */
	KUNIT_EXPECT_EQ(test, kmt_pid(&o), 0);
	KUNIT_EXPECT_NE(test, o.trace, 0);
	kfree(b.p);
	expect_gone(test, b.p);
}

static noinline void hand_over(void *p)
{
	kmemleak_update_trace(p);
	barrier();
}

static void annotations(struct kunit *test)
{
	char *p = kmalloc(512, GFP_KERNEL);
	struct kmt_range area = {};
	struct kmt_object o, now;

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_ASSERT_TRUE(test, find(KMT_VIRT, p, &o));
	hand_over(p);
	find(KMT_VIRT, p, &now);
	KUNIT_EXPECT_NE(test, now.trace, 0);
	KUNIT_EXPECT_NE(test, now.trace, o.trace);

	kmemleak_scan_area(p + 64, 32, GFP_KERNEL);
	KUNIT_EXPECT_TRUE(test, kmt_next_area(&kmt_core, (unsigned long)p,
					      &area));
	KUNIT_EXPECT_EQ(test, area.lo, (unsigned long)p + 64);
	KUNIT_EXPECT_EQ(test, area.hi, (unsigned long)p + 96);

	kmemleak_transient_leak(p);
	find(KMT_VIRT, p, &now);
	KUNIT_EXPECT_TRUE(test, now.flags & KMT_TRANSIENT);
	kmemleak_no_scan(p);
	find(KMT_VIRT, p, &now);
	KUNIT_EXPECT_TRUE(test, now.flags & KMT_NO_SCAN);
	kmemleak_not_leak(p);
	find(KMT_VIRT, p, &now);
	KUNIT_EXPECT_EQ(test, now.min_refs, KMT_MIN_GREY);
	kmemleak_ignore(p);
	find(KMT_VIRT, p, &now);
	KUNIT_EXPECT_EQ(test, now.min_refs, KMT_MIN_BLACK);
	kfree(p);
	expect_gone(test, p);
	area = (struct kmt_range){};
	KUNIT_EXPECT_FALSE(test, kmt_next_area(&kmt_core, (unsigned long)p,
					       &area));
}

static void parts(struct kunit *test)
{
	char *p = kmalloc(4096, GFP_KERNEL);
	struct kmt_object o;

	KUNIT_ASSERT_NOT_NULL(test, p);
	kmemleak_free_part(p + 1024, 512);
	KUNIT_ASSERT_TRUE(test, find(KMT_VIRT, p, &o));
	KUNIT_EXPECT_EQ(test, o.size, 1024);
	KUNIT_ASSERT_TRUE(test, find(KMT_VIRT, p + 1536, &o));
	KUNIT_EXPECT_EQ(test, o.size, 4096 - 1536);
	KUNIT_EXPECT_FALSE(test, kmt_lookup(&kmt_core, KMT_VIRT,
					    (unsigned long)p + 1200, &o));
	kmemleak_free(p + 1536);
	kfree(p);
	expect_gone(test, p);
}

/*
 * Hides addresses from scans. Only separate functions, whose frames are wiped,
 * handle the addresses themselves.
 */
#define KEY		(~0UL / 0xff * 0xa5)

#define PAIRS		8	/* of a vmalloc and a kmalloc block */

static unsigned long hidden[2 * PAIRS];
static struct vm_struct *areas[PAIRS];
static void *holders[PAIRS];

static noinline void wipe_stack(void)
{
	unsigned long junk[192];

	memset(junk, 0, sizeof(junk));
	barrier_data(junk);
}

static noinline void make_pair(unsigned int i)
{
	void *p = vzalloc(9000), *q = kzalloc(100, GFP_KERNEL);

	hidden[2 * i] = (unsigned long)p ^ KEY;
	hidden[2 * i + 1] = (unsigned long)q ^ KEY;
	WRITE_ONCE(areas[i], find_vm_area(p));
	WRITE_ONCE(holders[i], q);
}

static noinline void free_pair(unsigned int i)
{
	vfree((void *)(hidden[2 * i] ^ KEY));
	kfree((void *)(hidden[2 * i + 1] ^ KEY));
}

static noinline unsigned int flags_of(unsigned int nr)
{
	struct kmt_object o = {};

	kmt_lookup(&kmt_core, KMT_VIRT, hidden[nr] ^ KEY, &o);
	memset(&o.node, 0, sizeof(o.node));
	o.addr = 0;
	barrier_data(&o);
	return o.flags;
}

/* The number of leaks: of vmalloc blocks if @first is 0, of kmalloc blocks if it is 1. */
static unsigned int leaks_of(unsigned int first)
{
	unsigned int i, nr = 0;

	for (i = first; i < ARRAY_SIZE(hidden); i += 2)
		nr += !!(flags_of(i) & KMT_LEAK);
	return nr;
}

/*
 * Makes a scan, which reports most of the pairs. A stale word may hide a lost block: on
 * 32-bit machines, one block of a pair was hidden in one of seven boots. With 1/14 for
 * each block, five of eight are hidden in less than one of 10,000 boots.
 */
static void expect_lost_pairs(struct kunit *test)
{
	wipe_stack();
	KUNIT_ASSERT_EQ(test, kmt_scan(), 0);
	wipe_stack();
	KUNIT_EXPECT_GE(test, leaks_of(0), PAIRS / 2);
	KUNIT_EXPECT_GE(test, leaks_of(1), PAIRS / 2);
}

/* A reference to the vm_struct of a vmalloc block is enough. */
static void scans(struct kunit *test)
{
	unsigned int i;

	/* The creator of this thread may still refer to memory that it has just freed. */
	for (i = 0; i < PAIRS; i++)
		KUNIT_ASSERT_NOT_NULL(test,
				      kunit_kzalloc(test, sizeof(struct vm_struct),
						    GFP_KERNEL));
	for (i = 0; i < PAIRS; i++)
		make_pair(i);
	wipe_stack();
	KUNIT_ASSERT_EQ(test, kmt_scan(), 0);
	wipe_stack();
	KUNIT_EXPECT_EQ(test, leaks_of(0), 0);
	KUNIT_EXPECT_EQ(test, leaks_of(1), 0);
	for (i = 0; i < PAIRS; i++) {
		WRITE_ONCE(areas[i], NULL);
		WRITE_ONCE(holders[i], NULL);
	}
	expect_lost_pairs(test);
	for (i = 0; i < PAIRS; i++)
		free_pair(i);
	for (i = 0; i < ARRAY_SIZE(hidden); i++)
		KUNIT_EXPECT_EQ(test, flags_of(i), 0);
}

static void set_killed(bool killed)
{
	unsigned long flags;

	if (!lock_task_sighand(current, &flags))
		return;
	if (killed)
		sigaddset(&current->pending.signal, SIGKILL);
	else
		sigdelset(&current->pending.signal, SIGKILL);
	assign_bit(TIF_SIGPENDING, &task_thread_info(current)->flags, killed);
	unlock_task_sighand(current, &flags);
}

/* The number of leaks that a report of kmemleak has after `off`. */
static unsigned long nr_kept(void)
{
	const struct kmt_leak *leak;
	unsigned long nr = 0;
	loff_t pos = 0;

	for (; !IS_ERR_OR_NULL(leak = kmt_kept_leak(pos)); pos = leak->pos + 1)
		nr++;
	return nr;
}

/*
 * What follows from a scan that is complete, and `off`, do not stop halfway when the task
 * is killed: new leaks are still told from those that are suppressed, and all are kept.
 */
static void killed_later(struct kunit *test)
{
	const struct kmt_command cmd = {
		.verb = KMT_CMD_SUPPRESS, .arg = KMT_BY_TASK, .name = "*", .len = 1,
	};
	unsigned long shown, suppressed, kept;
	unsigned int i;

	for (i = 0; i < PAIRS; i++) {
		make_pair(i);
		WRITE_ONCE(areas[i], NULL);
		WRITE_ONCE(holders[i], NULL);
	}
	wipe_stack();
	KUNIT_ASSERT_EQ(test, kmt_scan(), 0);
	mutex_lock(&kmt_scan_mutex);
	kmt_report_drop();
	set_killed(true);
	KUNIT_EXPECT_EQ(test, kmt_log_sites(), 0);
	kmt_report_keep();
	kept = nr_kept();
	kmt_report_drop();
	KUNIT_EXPECT_EQ(test, kmt_suppress(&cmd), 0);
	shown = kmt_new_shown(1000, &suppressed);
	KUNIT_EXPECT_EQ(test, kmt_unsuppress(&cmd), 0);
	set_killed(false);
	mutex_unlock(&kmt_scan_mutex);
	KUNIT_EXPECT_GE(test, kept, PAIRS);
	KUNIT_EXPECT_EQ(test, shown, 0);
	KUNIT_EXPECT_GE(test, suppressed, PAIRS);
	for (i = 0; i < PAIRS; i++)
		free_pair(i);
}

static unsigned int nr_put;

static noinline void put_new(unsigned long *where, unsigned int nr)
{
	void *p, *spare[4];
	unsigned int i;

	/* The creator of this thread may still refer to memory that it has just freed. */
	for (i = 0; i < ARRAY_SIZE(spare); i++)
		spare[i] = kzalloc(100, GFP_KERNEL);
	for (i = 0; i < nr; i++) {
		p = kzalloc(100, GFP_KERNEL);
		hidden[2 * i + 1] = (unsigned long)p ^ KEY;
		WRITE_ONCE(where[i], (unsigned long)p);
	}
	for (i = 0; i < ARRAY_SIZE(spare); i++)
		kfree(spare[i]);
	nr_put = nr;
}

/*
 * Allocates @nr blocks, up to PAIRS, and stores their addresses at @where, further down
 * than the frames of a scan, which with KASAN may have words that are not written, and
 * inside the memory that is wiped.
 */
static noinline void put_blocks(unsigned long *where, unsigned int nr)
{
	unsigned long room[64];

	barrier_data(room);
	put_new(where, nr);
	barrier_data(room);
}

static noinline void free_blocks(void)
{
	unsigned int i;

	for (i = 0; i < nr_put; i++)
		kfree((void *)(hidden[2 * i + 1] ^ KEY));
}

/* The number of blocks that a scan reports. */
static unsigned int scan_reports(struct kunit *test)
{
	unsigned int i, nr = 0;

	wipe_stack();
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	wipe_stack();
	for (i = 0; i < nr_put; i++)
		nr += !!(flags_of(2 * i + 1) & KMT_LEAK);
	return nr;
}

/*
 * By chance a scan may miss some: see expect_lost_pairs(). If it reports less than half of
 * the blocks, logs what refers to the first of them.
 */
static void expect_leaks(struct kunit *test)
{
	const unsigned int nr = scan_reports(test);

	if (nr * 2 >= nr_put && nr)
		return;
	KUNIT_FAIL(test, "%u of %u blocks are reported; see the log", nr, nr_put);
	mutex_lock(&kmt_scan_mutex);
	kmt_log_address(hidden[1] ^ KEY);
	mutex_unlock(&kmt_scan_mutex);
}

#ifdef CONFIG_PREEMPT_RCU
#define QUEUED_BLOCKS	32
#define QUEUED_CELLS	20000

struct queued {
	struct rcu_head rcu;
	char rest[200];
};

static void free_queued(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct queued, rcu));
}

/* Makes the tracker's pool larger than it has to be for long. */
static void use_many_cells(struct kunit *test)
{
	void **p = kvcalloc(QUEUED_CELLS, sizeof(*p), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, p);
	for (i = 0; i < QUEUED_CELLS; i++)
		p[i] = kmalloc(8, GFP_KERNEL);
	for (i = 0; i < QUEUED_CELLS; i++)
		kfree(p[i]);
	kvfree(p);
}

/* Keeps RCU from calling back for some seconds. */
static int read_long(void *begun)
{
	const unsigned long end = jiffies + 3 * HZ;

	rcu_read_lock();
	complete(begun);
	while (time_before(jiffies, end))
		cpu_relax();
	rcu_read_unlock();
	return 0;
}

/*
 * Blocks that RCU is about to free are no leaks, even if memory that the tracker gave
 * back is before them in RCU's list.
 */
static void queued_behind_chunks(struct kunit *test)
{
	const unsigned long before = READ_ONCE(kmt_pages_given_back);
	DECLARE_COMPLETION_ONSTACK(begun);
	struct task_struct *reader;
	unsigned int i;

	use_many_cells(test);
	reader = kthread_run(read_long, &begun, "kmt-reader");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, reader);
	wait_for_completion(&begun);
	migrate_disable();
	drop_slab();
	for (i = 0; i < QUEUED_BLOCKS; i++) {
		struct queued *q = kzalloc(sizeof(*q), GFP_KERNEL);

		if (q)
			call_rcu(&q->rcu, free_queued);
	}
	migrate_enable();
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	KUNIT_EXPECT_EQ(test, kmt_last_scan.out.verdict.fresh, 0);
	KUNIT_EXPECT_GT(test, READ_ONCE(kmt_pages_given_back), before);
	rcu_barrier();
}
#endif

/* Stale state of a struct page that becomes a tail page. */
static void stale_pages(struct kunit *test)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO, 1);

	KUNIT_ASSERT_NOT_NULL(test, page);
	kmemtrack_not_root(page_address(page + 1));
	put_blocks(page_address(page + 1), PAIRS);
	wipe_stack();
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	split_page(page, 1);
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	kmemtrack_not_root(page_address(page + 1));
	expect_leaks(test);
	free_blocks();
	__free_page(page);
	__free_page(page + 1);
}

/* Pages that were one block without references have none either. */
static void split_pages(struct kunit *test)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO, 1);

	KUNIT_ASSERT_NOT_NULL(test, page);
	kmemtrack_not_root_page(page);
	split_page(page, 1);
	KUNIT_EXPECT_TRUE(test, kmt_not_root_page(page));
	KUNIT_EXPECT_TRUE(test, kmt_not_root_page(page + 1));
	__free_page(page);
	__free_page(page + 1);
}

/* Nor have the tail pages of such a block. */
static void compound_pages(struct kunit *test)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_COMP, 1);

	KUNIT_ASSERT_NOT_NULL(test, page);
	put_blocks(page_address(page + 1), PAIRS);
	wipe_stack();
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	kmemtrack_not_root_page(page);
	expect_leaks(test);
	free_blocks();
	__free_pages(page, 1);
}

static int exit_at_once(void *unused)
{
	return 0;
}

static noinline void lose_task(struct kunit *test, unsigned int i)
{
	struct task_struct *task = kthread_create(exit_at_once, NULL, "kmt_lost");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	hidden[2 * i + 1] = (unsigned long)task ^ KEY;
	kthread_stop(task);
}

static noinline void free_task_of(unsigned int i)
{
	put_task_struct((struct task_struct *)(hidden[2 * i + 1] ^ KEY));
}

/* A task that is gone, and that only a lost reference keeps. */
static void lost_tasks(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < PAIRS; i++)
		lose_task(test, i);
	nr_put = PAIRS;
	/* Until then RCU refers to them. */
	rcu_barrier();
	expect_leaks(test);
	for (i = 0; i < PAIRS; i++)
		free_task_of(i);
}

struct timed {
	struct hrtimer timer;
	char rest[200];
};

static enum hrtimer_restart never(struct hrtimer *timer)
{
	return HRTIMER_NORESTART;
}

static noinline struct timed *make_timed(unsigned int i)
{
	struct timed *t = kzalloc(sizeof(*t), GFP_KERNEL);

	if (!t)
		return NULL;
	hrtimer_setup(&t->timer, never, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	hrtimer_start(&t->timer, ms_to_ktime(1000 * 1000 * 1000 + i), HRTIMER_MODE_ABS);
	return t;
}

/* One that is lost is between two that are not. */
static noinline void make_timers(struct timed **live)
{
	unsigned int i;

	for (i = 0; i < PAIRS; i++) {
		live[2 * i] = make_timed(3 * i);
		hidden[2 * i + 1] = (unsigned long)make_timed(3 * i + 1) ^ KEY;
		live[2 * i + 1] = make_timed(3 * i + 2);
	}
	nr_put = PAIRS;
	for (i = 0; i < 2 * PAIRS; i++)
		if (live[i])
			hrtimer_cancel(&live[i]->timer);
	for (i = 0; i < PAIRS; i++) {
		struct timed *t = (void *)(hidden[2 * i + 1] ^ KEY);

		if (t)
			hrtimer_cancel(&t->timer);
	}
}

/* A timer that has ended does not lead to those that were beside it in the queue. */
static void ended_timers(struct kunit *test)
{
	struct timed **live = kunit_kcalloc(test, 2 * PAIRS, sizeof(*live), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, live);
	make_timers(live);
	expect_leaks(test);
	for (i = 0; i < 2 * PAIRS; i++)
		kfree(live[i]);
	free_blocks();
}

#ifdef CONFIG_LOCKDEP
/* As many as a task seldom holds, so that it does not overwrite the entry behind them. */
#define OUTER_LOCKS	7

struct locked {
	/* Protects nothing. A task takes it once, so that lockdep stores its address. */
	spinlock_t lock;
	char rest[200];
};

static noinline void lose_locked(unsigned int i)
{
	static spinlock_t outer[OUTER_LOCKS];
	struct locked *l = kzalloc(sizeof(*l), GFP_KERNEL);
	unsigned int k;

	hidden[2 * i + 1] = (unsigned long)l ^ KEY;
	if (!l)
		return;
	spin_lock_init(&l->lock);
	for (k = 0; k < OUTER_LOCKS; k++) {
		spin_lock_init(&outer[k]);
		spin_lock_nested(&outer[k], k);
	}
	spin_lock(&l->lock);
	spin_unlock(&l->lock);
	while (k--)
		spin_unlock(&outer[k]);
}

static struct completion locked_done;

static int lock_and_sleep(void *data)
{
	lose_locked((unsigned long)data);
	wipe_stack();
	complete(&locked_done);
	while (!kthread_should_stop())
		schedule_timeout_idle(HZ / 10);
	return 0;
}

/* The array of locks that a task holds does not lead to a block whose lock it has released. */
static void released_locks(struct kunit *test)
{
	struct task_struct *task[PAIRS];
	unsigned int i, found = 0;
	struct kmt_object o;

	for (i = 0; i < PAIRS; i++) {
		init_completion(&locked_done);
		task[i] = kthread_run(lock_and_sleep, (void *)(unsigned long)i, "kmt_locked");
		KUNIT_ASSERT_FALSE(test, IS_ERR(task[i]));
		wait_for_completion(&locked_done);
	}
	wipe_stack();
	KUNIT_EXPECT_EQ(test, kmt_scan(), 0);
	for (i = 0; i < PAIRS; i++) {
		void *p = (void *)(hidden[2 * i + 1] ^ KEY);

		KUNIT_EXPECT_TRUE(test, find(KMT_VIRT, p, &o));
		found += !!(o.flags & KMT_LEAK);
		kthread_stop(task[i]);
		kfree(p);
	}
	KUNIT_EXPECT_GE(test, found, PAIRS - 1);
}
#endif

/* Stale words on stacks of interrupts and exceptions are no references. */
static void stale_stacks(struct kunit *test)
{
	unsigned long lo, hi, *words;
	unsigned int i;

	for (i = 0; kmt_image_stack(0, i, &lo, &hi); i++) {
		/* Further down than an interrupt gets that comes meanwhile. */
		words = (unsigned long *)lo + (hi - lo) / 4 / sizeof(long);
		put_blocks(words, PAIRS);
		expect_leaks(test);
		memset(words, 0, PAIRS * sizeof(long));
		free_blocks();
	}
	if (!i)
		kunit_skip(test, "no stack of interrupts");
}

/* Pages that must not be read, according to their struct page. */
static void closed_pages(struct kunit *test)
{
	struct address_space *mapping = kzalloc(sizeof(*mapping), GFP_KERNEL);
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

	KUNIT_ASSERT_NOT_NULL(test, mapping);
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_FALSE(test, kmt_page_unreadable(page));
	SetPageReserved(page);
	KUNIT_EXPECT_TRUE(test, kmt_page_unreadable(page));
	ClearPageReserved(page);
#ifdef CONFIG_MEMORY_FAILURE
	SetPageHWPoison(page);
	KUNIT_EXPECT_TRUE(test, kmt_page_unreadable(page));
	ClearPageHWPoison(page);
#endif
	/* Other files and anonymous memory may be read. */
	page->mapping = mapping;
	KUNIT_EXPECT_FALSE(test, kmt_page_unreadable(page));
	mapping->flags = BIT(AS_UNEVICTABLE);
	KUNIT_EXPECT_FALSE(test, kmt_page_unreadable(page));
	mapping->flags |= KMT_CLOSED_MAPPING;
	KUNIT_EXPECT_EQ(test, kmt_page_unreadable(page), !!KMT_CLOSED_MAPPING);
	page->mapping = (void *)mapping + PAGE_MAPPING_ANON;
	KUNIT_EXPECT_FALSE(test, kmt_page_unreadable(page));
	mapping->flags = 0;
	page->mapping = mapping;
#ifdef CONFIG_SECRETMEM
	mapping->a_ops = &secretmem_aops;
	KUNIT_EXPECT_TRUE(test, kmt_page_unreadable(page));
#endif
	page->mapping = NULL;
	KUNIT_EXPECT_FALSE(test, kmt_page_unreadable(page));
	kmemtrack_unreadable(page_address(page), PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, kmt_page_unreadable(page));
	kmemtrack_readable(page_address(page), PAGE_SIZE);
	__free_page(page);
	kfree(mapping);
}

/* Exactly the pages given away are unreadable, until they are given back. */
static void unreadable_pages(struct kunit *test)
{
	void *mem = alloc_pages_exact(3 * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO);
	struct page *page;

	KUNIT_ASSERT_NOT_NULL(test, mem);
	page = virt_to_page(mem);
	put_blocks(mem + PAGE_SIZE, PAIRS);
	wipe_stack();
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	kmemtrack_unreadable(mem, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	kmemtrack_unreadable(mem, PAGE_SIZE + 1);
	KUNIT_EXPECT_TRUE(test, kmt_page_unreadable(page + 1));
	KUNIT_EXPECT_FALSE(test, kmt_page_unreadable(page + 2));
	expect_leaks(test);
	kmemtrack_readable(mem, PAGE_SIZE + 1);
	KUNIT_EXPECT_FALSE(test, kmt_page_unreadable(page + 1));
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	free_blocks();
	free_pages_exact(mem, 3 * PAGE_SIZE);
}

#ifdef CONFIG_MEMORY_FAILURE
static unsigned long *poisoned;

/* @page: page of @poisoned */
static void check_poisoned(struct kunit *test, struct page *page)
{
	unsigned long word;

	put_blocks(poisoned, PAIRS);
	wipe_stack();
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	SetPageHWPoison(page);
	num_poisoned_pages_inc(page_to_pfn(page));
	expect_leaks(test);
	KUNIT_EXPECT_FALSE(test, kmt_env_read(&word, (unsigned long)poisoned,
					      sizeof(word)));
	ClearPageHWPoison(page);
	num_poisoned_pages_sub(page_to_pfn(page), 1);
	KUNIT_EXPECT_TRUE(test, kmt_env_read(&word, (unsigned long)poisoned,
					     sizeof(word)));
	free_blocks();
}

/* Blocks in a poisoned page are not read, even if they are referenced. */
static void poisoned_blocks(struct kunit *test)
{
	void *mem = kzalloc(PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, mem);
	WRITE_ONCE(poisoned, mem);
	check_poisoned(test, virt_to_page(mem));
	kfree(mem);
	mem = vzalloc(3 * PAGE_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, mem);
	WRITE_ONCE(poisoned, mem + PAGE_SIZE);
	check_poisoned(test, vmalloc_to_page(mem + PAGE_SIZE));
	vfree(mem);
}

/* Nor is a per-CPU block. */
static void poisoned_percpu(struct kunit *test)
{
	void __percpu *area = __alloc_percpu(PAGE_SIZE / 2, sizeof(long));
	unsigned long *mem;

	KUNIT_ASSERT_NOT_NULL(test, area);
	mem = per_cpu_ptr(area, 0);
	WRITE_ONCE(poisoned, mem);
	check_poisoned(test, is_vmalloc_addr(mem) ? vmalloc_to_page(mem) :
						    virt_to_page(mem));
	free_percpu(area);
}

/* An object without a record is a root, even if another page of its slab is poisoned. */
static void poisoned_slab(struct kunit *test)
{
	bool was = kmt_untracked_slabs || kmt_untracked_percpu;
	struct kmem_cache *cache;
	struct page *mine, *other;
	unsigned long *object;

	cache = kmem_cache_create("kmt_poisoned", PAGE_SIZE / 2, PAGE_SIZE / 2,
				  SLAB_NO_MERGE, NULL);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	object = kmem_cache_zalloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, object);
	mine = virt_to_page(object);
	other = compound_head(mine);
	KUNIT_ASSERT_GT(test, compound_nr(other), 1);
	if (other == mine)
		other++;
	kmemleak_free(object);
	kmt_set_untracked();
	put_blocks(object, PAIRS);
	wipe_stack();
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	SetPageHWPoison(other);
	num_poisoned_pages_inc(page_to_pfn(other));
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	/*
	 * A reference in a poisoned page is not read, so the block is a leak. The test
	 * clears the poison later, and the page can be read again.
	 */
	SetPageHWPoison(mine);
	expect_leaks(test);
	KUNIT_EXPECT_TRUE(test, kmt_untracked_slabs);
	ClearPageHWPoison(mine);
	ClearPageHWPoison(other);
	num_poisoned_pages_sub(page_to_pfn(other), 1);
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	free_blocks();
	/* Track the object again, so that this is no second free. */
	kmemleak_alloc(object, PAGE_SIZE / 2, 1, GFP_KERNEL);
	kmem_cache_free(cache, object);
	kmem_cache_destroy(cache);
	if (was)
		kmt_set_untracked();
}
#endif

#define UNTRACKED_AREAS		2500

/* The table of per-CPU areas without a record grows several times. */
static void many_untracked_areas(struct kunit *test)
{
	void __percpu **p = kvcalloc(2 * UNTRACKED_AREAS, sizeof(*p), GFP_KERNEL);
	struct kmt_percpu_map map = {};
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, p);
	for (i = 0; i < 2 * UNTRACKED_AREAS; i++) {
		p[i] = __alloc_percpu(8, 8);
		KUNIT_EXPECT_TRUE(test, !!p[i]);
	}
	/* Blocks with a record lie between most of those without one. */
	for (i = 0; i < 2 * UNTRACKED_AREAS; i += 2)
		kmemleak_free_percpu(p[i]);
	mutex_lock(&kmt_scan_mutex);
	kmt_set_untracked();
	kmt_percpu_map_fill(&map);
	KUNIT_EXPECT_FALSE(test, map.whole);
	KUNIT_EXPECT_GT(test, map.nr_areas, UNTRACKED_AREAS * 3 / 4);
	kmt_percpu_map_free(&map);
	mutex_unlock(&kmt_scan_mutex);
	/* Track them again, so that no block is freed twice. */
	for (i = 0; i < 2 * UNTRACKED_AREAS; i++) {
		if (!(i % 2))
			kmemleak_alloc_percpu(p[i], 8, GFP_KERNEL);
		free_percpu(p[i]);
	}
	kvfree(p);
}

#ifdef CONFIG_SLUB_DEBUG
static noinline void make_chain(struct kmem_cache *cache, unsigned int i)
{
	unsigned long *p = kmem_cache_zalloc(cache, GFP_KERNEL);
	void *q = kzalloc(100, GFP_KERNEL);

	hidden[2 * i] = (unsigned long)p ^ KEY;
	hidden[2 * i + 1] = (unsigned long)q ^ KEY;
	if (p)
		*p = (unsigned long)q;
}

static noinline void free_chain(struct kmem_cache *cache, unsigned int i)
{
	void *p = (void *)(hidden[2 * i] ^ KEY);

	if (p)
		kmem_cache_free(cache, p);
	kfree((void *)(hidden[2 * i + 1] ^ KEY));
}

/*
 * While objects without a record may exist, small objects with red zones before and after
 * them are known to have one, so that they are no roots.
 */
static void red_zones(struct kunit *test)
{
	struct kmem_cache *cache;
	unsigned int i;

	if (IS_ENABLED(CONFIG_UML) && IS_ENABLED(CONFIG_KASAN))
		kunit_skip(test, "KASAN of User-mode Linux takes red zones for overruns");
	cache = kmem_cache_create("kmt_red", 32, 32,
				  SLAB_RED_ZONE | SLAB_STORE_USER | SLAB_NO_MERGE, NULL);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	for (i = 0; i < PAIRS; i++)
		make_chain(cache, i);
	kmt_set_untracked();
	expect_lost_pairs(test);
	for (i = 0; i < PAIRS; i++)
		free_chain(cache, i);
	kmem_cache_destroy(cache);
}
#endif

/* Pages of traces have stale contents after the last trace. */
static void depot_pages(struct kunit *test)
{
	unsigned long entry = _RET_IP_, *entries;
	depot_stack_handle_t handle = stack_depot_save(&entry, 1, GFP_KERNEL);
	struct page *page;

	KUNIT_ASSERT_EQ(test, stack_depot_fetch(handle, &entries), 1);
	page = virt_to_page(entries);
	page -= page_to_pfn(page) % (1 << DEPOT_POOL_ORDER);
	KUNIT_EXPECT_TRUE(test, kmt_not_root_page(page));
}

/* Pages of the kernel do not keep the contents of an earlier user. */
static void cleared_pages(struct kunit *test)
{
	unsigned long *page[64];
	unsigned int i, used = 0;

	for (i = 0; i < ARRAY_SIZE(page); i++) {
		page[i] = (unsigned long *)__get_free_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, page[i]);
		memset(page[i], 0xa5, PAGE_SIZE);
	}
	for (i = 0; i < ARRAY_SIZE(page); i++)
		free_page((unsigned long)page[i]);
	for (i = 0; i < ARRAY_SIZE(page); i++) {
		page[i] = (unsigned long *)__get_free_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, page[i]);
		used += !!memchr_inv(page[i], 0, PAGE_SIZE);
	}
	for (i = 0; i < ARRAY_SIZE(page); i++)
		free_page((unsigned long)page[i]);
	KUNIT_EXPECT_EQ(test, used, 0);
	KUNIT_EXPECT_TRUE(test, kmemtrack_wants_cleared(MAX_PAGE_ORDER, GFP_KERNEL));
	KUNIT_EXPECT_FALSE(test, kmemtrack_wants_cleared(MAX_PAGE_ORDER, GFP_HIGHUSER_MOVABLE));
	/* Clearing a gigantic page at once would take 100 ms. */
	KUNIT_EXPECT_FALSE(test, kmemtrack_wants_cleared(MAX_PAGE_ORDER + 1, GFP_KERNEL));
}

/*
 * Memory without a record is a root until a mark meets no such memory. Which
 * objects a real mark meets depends on concurrent frees, so this test calls the
 * functions of a mark.
 */
static void untracked_ends(struct kunit *test)
{
	bool was = kmt_untracked_slabs || kmt_untracked_percpu;
	long before;

	mutex_lock(&kmt_scan_mutex);
	kmt_set_untracked();
	KUNIT_EXPECT_TRUE(test, kmt_untracked_slabs);
	KUNIT_EXPECT_TRUE(test, kmt_untracked_percpu);
	before = kmt_begin_untracked();
	kmt_count_untracked();
	kmt_end_untracked(before, false);
	KUNIT_EXPECT_TRUE(test, kmt_untracked_slabs);
	KUNIT_EXPECT_FALSE(test, kmt_untracked_percpu);
	before = kmt_begin_untracked();
	kmt_end_untracked(before, true);
	KUNIT_EXPECT_FALSE(test, kmt_untracked_slabs);
	/* Another record is lost during the mark. */
	before = kmt_begin_untracked();
	kmt_set_untracked();
	kmt_end_untracked(before, false);
	KUNIT_EXPECT_TRUE(test, kmt_untracked_slabs);
	KUNIT_EXPECT_TRUE(test, kmt_untracked_percpu);
	before = kmt_begin_untracked();
	kmt_end_untracked(before, false);
	KUNIT_EXPECT_FALSE(test, kmt_untracked_slabs);
	KUNIT_EXPECT_FALSE(test, kmt_untracked_percpu);
	if (was)
		kmt_set_untracked();
	mutex_unlock(&kmt_scan_mutex);
}

/* Pages of a buffer of the tracker are owned pages until the buffer is freed. */
static void own_pages(struct kunit *test)
{
	char *mem = kmt_own_vzalloc(3 * PAGE_SIZE);
	struct page *page[3];
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, mem);
	for (i = 0; i < 3; i++) {
		page[i] = vmalloc_to_page(mem + i * PAGE_SIZE);
		KUNIT_EXPECT_TRUE(test, kmt_is_own_page(page[i]));
	}
	kmt_own_vfree(mem, 3 * PAGE_SIZE);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_FALSE(test, kmt_is_own_page(page[i]));
}

#ifdef CONFIG_KFENCE
/*
 * KFENCE serves an allocation now and then. The size differs from that of a test's
 * block.
 */
static noinline void *alloc_from_kfence(struct kmem_cache *cache)
{
	unsigned long end = jiffies + 10 * HZ;

	while (kfence_sample_interval && time_before(jiffies, end)) {
		void *p = kmem_cache_zalloc(cache, GFP_KERNEL);

		if (is_kfence_address(p))
			return p;
		kmem_cache_free(cache, p);
		usleep_range(100, 200);
	}
	return NULL;
}

/**
 * struct kfence_object - an object of KFENCE, whose record refers to a test's block
 * @cache: its cache
 * @p: the object
 * @record: its record
 */
struct kfence_object {
	struct kmem_cache *cache;
	void *p;
	struct kfence_metadata *record;
};

static void begin_kfence(struct kunit *test, struct kfence_object *k, slab_flags_t flags)
{
	k->cache = kmem_cache_create("kmemtrack_kfence", 300, 0, flags, NULL);
	KUNIT_ASSERT_NOT_NULL(test, k->cache);
	k->p = alloc_from_kfence(k->cache);
	k->record = addr_to_metadata((unsigned long)k->p);
	if (!k->record) {
		kmem_cache_destroy(k->cache);
		kunit_skip(test, "KFENCE does not sample");
	}
	/* There is room for one word. */
	put_blocks((unsigned long *)&k->record->rcu_head.next, 1);
	wipe_stack();
}

static void end_kfence(struct kfence_object *k)
{
	WRITE_ONCE(k->record->rcu_head.next, NULL);
	free_blocks();
	kmem_cache_free(k->cache, k->p);
	kmem_cache_destroy(k->cache);
}

/* While RCU is about to free an object, blocks queued behind it are no leaks. */
static void kfence_callbacks(struct kunit *test)
{
	struct kfence_object k;

	begin_kfence(test, &k, SLAB_TYPESAFE_BY_RCU);
	WRITE_ONCE(k.record->state, KMT_KFENCE_RCU_FREES);
	KUNIT_EXPECT_EQ(test, scan_reports(test), 0);
	/* The link in the object remains after the free. */
	WRITE_ONCE(k.record->state, KMT_KFENCE_RCU_IDLE);
	expect_leaks(test);
	WRITE_ONCE(k.record->state, KFENCE_OBJECT_ALLOCATED);
	end_kfence(&k);
}

/* RCU frees no objects of such a cache, so the link in the record is stale. */
static void kfence_stale_link(struct kunit *test)
{
	struct kfence_object k;

	begin_kfence(test, &k, 0);
	expect_leaks(test);
	end_kfence(&k);
}
#endif

#define NAMES		100000
#define NAMES_KEPT	64
#define NAMES_TRIED	16

/* Allocates a block as a task of this name and user. */
static void *named_block(const char *name, uid_t uid)
{
	struct cred *cred = prepare_creds();
	const struct cred *old;
	void *p;

	if (!cred)
		return NULL;
	cred->uid = KUIDT_INIT(uid);
	old = override_creds(cred);
	__set_task_comm(current, name, false);
	p = kmalloc(64, GFP_KERNEL);
	revert_creds(old);
	put_cred(cred);
	return p;
}

static const char *name_of(const void *p)
{
	struct kmt_object o;

	return find(KMT_VIRT, p, &o) ? kmt_comm(o.comm) : "(none)";
}

/* Whether the table has room for a new name of a task of @uid. */
static bool knows_new_name(uid_t uid)
{
	static unsigned int nr;
	char name[TASK_COMM_LEN];
	void *p;
	bool known;

	snprintf(name, sizeof(name), "new/%u", nr++);
	p = named_block(name, uid);
	known = p && !strcmp(name_of(p), name);
	kfree(p);
	return known;
}

/* Nanoseconds of an allocation and a free, the best of some rounds. */
static u64 pair_ns(void)
{
	u64 best = U64_MAX, since;
	unsigned int i, j;

	for (i = 0; i < 50; i++) {
		since = ktime_get_ns();
		for (j = 0; j < 200; j++)
			kfree(kmalloc(64, GFP_KERNEL));
		best = min(best, ktime_get_ns() - since);
	}
	return best / 200;
}

/* Uses @nr new names of a user, with an allocation and a free for each. */
static void use_up_names(struct kunit *test, unsigned int nr, uid_t uid)
{
	struct cred *cred = prepare_creds();
	static unsigned int from;
	const struct cred *old;
	char name[TASK_COMM_LEN];

	KUNIT_ASSERT_NOT_NULL(test, cred);
	cred->uid = KUIDT_INIT(uid);
	old = override_creds(cred);
	while (nr--) {
		snprintf(name, sizeof(name), "many/%u", from++);
		__set_task_comm(current, name, false);
		kfree(kmalloc(64, GFP_KERNEL));
	}
	revert_creds(old);
	put_cred(cred);
}

/*
 * If a user gives tasks many names, names of other users still get a place, and so
 * do new names of this user in the end; records keep their names.
 */
static void task_names(struct kunit *test)
{
	char was[TASK_COMM_LEN], name[TASK_COMM_LEN];
	unsigned int i, known, tries;
	u64 before, since, during;
	void *kept[NAMES_KEPT];

	get_task_comm(was, current);
	before = pair_ns();
	for (i = 0; i < NAMES_KEPT; i++) {
		snprintf(name, sizeof(name), "kept/%u", i);
		kept[i] = named_block(name, 0);
		KUNIT_EXPECT_STREQ(test, name_of(kept[i]), name);
	}
	since = ktime_get_ns();
	use_up_names(test, NAMES, 1000);
	during = ktime_get_ns() - since;
	/* By chance, a set of another user may also be full. */
	for (i = known = 0; i < NAMES_TRIED; i++)
		known += knows_new_name(1001);
	KUNIT_EXPECT_GE(test, known, NAMES_TRIED / 2);
	for (i = known = 0; i < NAMES_TRIED; i++)
		known += knows_new_name(0);
	KUNIT_EXPECT_GE(test, known, NAMES_TRIED / 2);
	/* Wait until a purge has made room: new names of this user get a place again. */
	for (tries = 0; tries < 600; tries++) {
		for (i = known = 0; i < NAMES_TRIED; i++)
			known += knows_new_name(1000);
		if (known == NAMES_TRIED)
			break;
		msleep(100);
	}
	KUNIT_EXPECT_LT(test, tries, 600);
	for (i = 0; i < NAMES_KEPT; i++) {
		snprintf(name, sizeof(name), "kept/%u", i);
		KUNIT_EXPECT_STREQ(test, name_of(kept[i]), name);
		kfree(kept[i]);
	}
	/*
	 * The next test may run on this stack, and lose a block that a word left
	 * here refers to.
	 */
	memzero_explicit(kept, sizeof(kept));
	__set_task_comm(current, "after", false);
	kunit_info(test, "pair: %llu ns before, %llu with a name each (%u), %llu after",
		   before, div_u64(during, NAMES), NAMES, pair_ns());
	__set_task_comm(current, was, false);
}

/* A name that was looked up stays in the table only while it is held. */
static void held_names(struct kunit *test)
{
	char was[TASK_COMM_LEN];
	unsigned long flags;
	unsigned int tries;
	int pin;
	u16 comm;

	get_task_comm(was, current);
	pin = kmt_pin_names();
	__set_task_comm(current, "held", false);
	local_irq_save(flags);
	comm = kmt_task_comm();
	local_irq_restore(flags);
	use_up_names(test, NAMES / 10, 1000);
	/* A purge that does not wait would be over by now. */
	msleep(3000);
	KUNIT_EXPECT_STREQ(test, kmt_comm(comm), "held");
	kmt_unpin_names(pin);
	for (tries = 0; tries < 60; tries++) {
		use_up_names(test, NAMES / 10, 1000);
		if (strcmp(kmt_comm(comm), "held"))
			break;
		msleep(1000);
	}
	KUNIT_EXPECT_LT(test, tries, 60);
	__set_task_comm(current, was, false);
}

/* Only CPUs that have been online have memory for tables. */
static void tables_of_cpus(struct kunit *test)
{
	unsigned int cpu;

	cpus_read_lock();
	for (cpu = 0; cpu < kmt_core.pool.nr_caches; cpu++) {
		const bool has = kmt_has_recent_cells(&kmt_core, cpu);

		if (!cpu_possible(cpu) || !cpu_present(cpu))
			KUNIT_EXPECT_FALSE(test, has);
		else if (cpu_online(cpu))
			KUNIT_EXPECT_TRUE(test, has);
	}
	cpus_read_unlock();
}

/* The chunk that a walk refers to was given back, and its memory may be in use. */
static void walk_without_chunk(struct kunit *test)
{
	struct kmt_chunk gone = { .nr = 1, .next = (void *)LIST_POISON1 };
	struct kmt_cursor c = { .pos = LLONG_MAX, .chunk = &gone };

	mutex_lock(&kmt_scan_mutex);
	c.given_back = kmt_pages_given_back - 1;
	KUNIT_EXPECT_NULL(test, kmt_next_object(&c, KMT_LEAK));
	/* Like another read at the end of the file. */
	KUNIT_EXPECT_NULL(test, c.chunk);
	mutex_unlock(&kmt_scan_mutex);
}

/*
 * Within a phase the percentage does not fall and the time left does not rise, even
 * if the phase takes more turns than were expected.
 */
static void turns(struct kunit *test, struct kmt_marker *m, enum kmt_phase phase)
{
	struct kmt_progress was, p;
	unsigned int i;

	kmt_get_progress(&was);
	KUNIT_EXPECT_EQ(test, was.phase, phase);
	KUNIT_EXPECT_EQ(test, was.percent, 0);
	for (i = 0; i < 20000; i++) {
		kmt_progress_turn(m);
		kmt_get_progress(&p);
		KUNIT_ASSERT_EQ(test, p.phase, phase);
		KUNIT_ASSERT_GE(test, p.percent, was.percent);
		KUNIT_ASSERT_LE(test, p.percent, 99);
		KUNIT_ASSERT_GE(test, p.ms, was.ms);
		KUNIT_ASSERT_TRUE(test, !was.left_ms || p.left_ms <= was.left_ms);
		was = p;
	}
	/* The whole memory of the guest takes fewer turns. */
	KUNIT_EXPECT_EQ(test, p.percent, 99);
}

static void progress(struct kunit *test)
{
	struct kmt_marker *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	struct kmt_marker *other = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	struct kmt_progress p;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, m);
	KUNIT_ASSERT_NOT_NULL(test, other);
	mutex_lock(&kmt_scan_mutex);
	kmt_get_progress(&p);
	KUNIT_EXPECT_EQ(test, p.phase, KMT_PHASE_NONE);
	kmt_progress_begin(m, true);
	turns(test, m, KMT_PHASE_MARK);
	kmt_progress_phase(KMT_PHASE_WAIT);
	kmt_get_progress(&p);
	KUNIT_EXPECT_GE(test, p.left_ms, kmt_tunables.min_age);
	for (i = 0; i <= 500; i += 100) {
		kmt_progress_sleep(0, 500 - i, 500);
		kmt_get_progress(&p);
		KUNIT_EXPECT_EQ(test, p.percent, min(i / 5, 99U));
	}
	kmt_progress_phase(KMT_PHASE_CONFIRM);
	/* The marker of the scan publishes the work of helpers. */
	for (i = 0; i < 20000; i++)
		kmt_progress_turn(other);
	kmt_get_progress(&p);
	KUNIT_EXPECT_EQ(test, p.percent, 0);
	kmt_progress_turn(m);
	kmt_get_progress(&p);
	KUNIT_EXPECT_EQ(test, p.percent, 99);
	kmt_progress_phase(KMT_PHASE_JUDGE);
	turns(test, m, KMT_PHASE_JUDGE);
	kmt_progress_end(false);
	kmt_get_progress(&p);
	KUNIT_EXPECT_EQ(test, p.phase, KMT_PHASE_NONE);
	KUNIT_EXPECT_EQ(test, p.percent + p.ms + p.left_ms, 0);
	mutex_unlock(&kmt_scan_mutex);
}

static struct kunit_case hooks_cases[] = {
	KUNIT_CASE(slab_blocks),
	KUNIT_CASE(requested_bytes),
	KUNIT_CASE(cache_blocks),
	KUNIT_CASE(wrong_frees),
	KUNIT_CASE(mapped_blocks),
	KUNIT_CASE(percpu_blocks),
	KUNIT_CASE(irq_blocks),
	KUNIT_CASE(annotations),
	KUNIT_CASE(parts),
	KUNIT_CASE(parts_left),
	KUNIT_CASE_SLOW(scans),
	KUNIT_CASE_SLOW(killed_later),
#ifdef CONFIG_LOCKDEP
	KUNIT_CASE_SLOW(released_locks),
#endif
#ifdef CONFIG_PREEMPT_RCU
	KUNIT_CASE_SLOW(queued_behind_chunks),
#endif
	KUNIT_CASE_SLOW(stale_pages),
	KUNIT_CASE(split_pages),
	KUNIT_CASE_SLOW(compound_pages),
	KUNIT_CASE_SLOW(stale_stacks),
	KUNIT_CASE_SLOW(lost_tasks),
	KUNIT_CASE_SLOW(ended_timers),
	KUNIT_CASE(closed_pages),
	KUNIT_CASE_SLOW(unreadable_pages),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE_SLOW(poisoned_blocks),
	KUNIT_CASE_SLOW(poisoned_percpu),
	KUNIT_CASE_SLOW(poisoned_slab),
#endif
	KUNIT_CASE(many_untracked_areas),
#ifdef CONFIG_SLUB_DEBUG
	KUNIT_CASE_SLOW(red_zones),
#endif
	KUNIT_CASE(depot_pages),
	KUNIT_CASE(cleared_pages),
	KUNIT_CASE(untracked_ends),
	KUNIT_CASE(own_pages),
	KUNIT_CASE(walk_without_chunk),
	KUNIT_CASE(tables_of_cpus),
	KUNIT_CASE(progress),
	KUNIT_CASE_SLOW(task_names),
	KUNIT_CASE_SLOW(held_names),
#ifdef CONFIG_KFENCE
	KUNIT_CASE_SLOW(kfence_callbacks),
	KUNIT_CASE_SLOW(kfence_stale_link),
#endif
	{}
};

static struct kunit_suite hooks_suite = {
	.name = "kmemtrack_hooks",
	.init = hooks_init,
	.test_cases = hooks_cases,
};

kunit_test_suite(hooks_suite);
