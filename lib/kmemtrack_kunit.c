// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of kmemtrack inside a kernel: a tracker of their own on real
 * memory, used by real threads. The host harness goes deeper into the core.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/kmemleak.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "../mm/kmemtrack/glue.h"
#include "test_kmemtrack_compat.h"

#define NR_SHARDS	64
#define NR_ROOTS	64
#define NR_GREY		512
#define MAX_CHUNKS	256

/* A tracker with all that it needs, and memory that is its only root. */
struct env {
	struct kmt_core core;
	struct kmt_tree shards[NR_SHARDS];
	struct kmt_cell_cache caches[NR_CPUS];
	struct kmt_marker m;
	struct kmt_mark_entry grey[NR_GREY];
	unsigned long seen_cache[BIT(KMT_SEEN_SHIFT)];
	struct kmt_verdict v;
	unsigned long roots[NR_ROOTS];
	unsigned long chunks[MAX_CHUNKS];
	atomic_t nr_chunks;
	bool starved;
};

static const struct kmt_origin nobody;

static void *env_chunk(struct kmt_core *core, gfp_t gfp, size_t *bytes)
{
	struct env *e = container_of(core, struct env, core);
	int nr;

	if (READ_ONCE(e->starved))
		return NULL;
	nr = atomic_inc_return(&e->nr_chunks) - 1;
	if (nr >= MAX_CHUNKS)
		return NULL;
	e->chunks[nr] = __get_free_page(gfp);
	*bytes = PAGE_SIZE;
	return (void *)e->chunks[nr];
}

static bool env_relax(struct kmt_marker *m)
{
	cond_resched();
	return false;
}

static const struct kmt_ops env_ops = {
	.chunk_alloc	= env_chunk,
	.relax		= env_relax,
};

static int env_init(struct kunit *test)
{
	struct env *e = vzalloc(sizeof(*e));

	KUNIT_ASSERT_NOT_NULL(test, e);
	test->priv = e;
	kmt_core_init(&e->core, &env_ops, e->shards, NR_SHARDS, e->caches,
		      ARRAY_SIZE(e->caches));
	e->core.linear = kmt_core.linear;
	kmt_marker_init(&e->m, &e->core, e->grey, NR_GREY, e->seen_cache);
	return 0;
}

static void env_exit(struct kunit *test)
{
	struct env *e = test->priv;
	int i;

	if (!e)
		return;
	for (i = 0; i < MAX_CHUNKS; i++)
		free_page(e->chunks[i]);
	vfree(e);
}

/* Memory that lives as long as the test. */
static void *memory(struct kunit *test, size_t size)
{
	void *p = kunit_kzalloc(test, size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	return p;
}

static int track_as(struct env *e, const void *p, size_t size, u8 min)
{
	return kmt_insert(&e->core, KMT_VIRT, (unsigned long)p, size, min,
			  &nobody, GFP_KERNEL);
}

static void *tracked(struct kunit *test, size_t size)
{
	void *p = memory(test, size);

	KUNIT_ASSERT_EQ(test, track_as(test->priv, p, size, 1), 0);
	return p;
}

static bool known(struct env *e, const void *p)
{
	struct kmt_object o;

	return kmt_lookup(&e->core, KMT_VIRT, (unsigned long)p, &o);
}

static void mark(struct env *e)
{
	kmt_mark_begin(&e->m);
	kmt_mark_range(&e->m, (unsigned long)e->roots,
		       (unsigned long)(e->roots + NR_ROOTS));
	kmt_mark_sweep(&e->m);
}

static bool reached(struct env *e, const void *p)
{
	struct kmt_object o;

	return kmt_lookup(&e->core, KMT_VIRT, (unsigned long)p, &o) &&
	       kmt_reached(&o, e->core.epoch);
}

static bool is_leak(struct env *e, const void *p)
{
	struct kmt_object o;

	return kmt_lookup(&e->core, KMT_VIRT, (unsigned long)p, &o) &&
	       (o.flags & KMT_LEAK);
}

static void suspect(struct env *e)
{
	mark(e);
	kmt_suspect_for_wait(&e->m, &e->v);
	kmt_mark_end(&e->m);
}

static void judge(struct env *e)
{
	mark(e);
	kmt_mark_doubtful(&e->m, 0, 0);
	kmt_judge(&e->m, &e->v);
	kmt_mark_end(&e->m);
}

static long events(struct env *e, enum kmt_event ev)
{
	return atomic_long_read(&e->core.events[ev]);
}

static void find_and_free(struct kunit *test)
{
	static const size_t sizes[] = { 8, 100, 4096, 64 << 10, 200 << 10 };
	struct env *e = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t size = sizes[i];
		char *p = tracked(test, size);

		KUNIT_EXPECT_TRUE(test, known(e, p));
		KUNIT_EXPECT_TRUE(test, known(e, p + size / 2));
		KUNIT_EXPECT_TRUE(test, known(e, p + size - 1));
		KUNIT_EXPECT_FALSE(test, known(e, p + size));
		KUNIT_EXPECT_FALSE(test, known(e, p - 1));
		KUNIT_EXPECT_FALSE(test, kmt_free(&e->core, KMT_VIRT,
						  (unsigned long)p + 4));
		KUNIT_EXPECT_TRUE(test, kmt_free(&e->core, KMT_VIRT,
						 (unsigned long)p));
		KUNIT_EXPECT_FALSE(test, known(e, p));
		KUNIT_EXPECT_FALSE(test, kmt_free(&e->core, KMT_VIRT,
						  (unsigned long)p));
	}
	KUNIT_EXPECT_EQ(test, events(e, KMT_EV_FREE_INSIDE), i);
	KUNIT_EXPECT_EQ(test, events(e, KMT_EV_FREE_UNKNOWN), i);
}

static void free_part(struct kunit *test)
{
	struct env *e = test->priv;
	char *p = tracked(test, 256 << 10);

	kmt_free_part(&e->core, KMT_VIRT, (unsigned long)p + 1000,
		      100 << 10, GFP_KERNEL);
	KUNIT_EXPECT_TRUE(test, known(e, p + 999));
	KUNIT_EXPECT_FALSE(test, known(e, p + 1000));
	KUNIT_EXPECT_FALSE(test, known(e, p + 999 + (100 << 10)));
	KUNIT_EXPECT_TRUE(test, known(e, p + 1000 + (100 << 10)));
	KUNIT_EXPECT_TRUE(test, kmt_free(&e->core, KMT_VIRT,
					 (unsigned long)p));
	KUNIT_EXPECT_TRUE(test, kmt_free(&e->core, KMT_VIRT, (unsigned long)p +
					 1000 + (100 << 10)));
}

static void overlap(struct kunit *test)
{
	struct env *e = test->priv;
	char *p = tracked(test, 512);

	/* The old block was freed without a report. */
	KUNIT_EXPECT_EQ(test, track_as(e, p + 256, 128, 1), 0);
	KUNIT_EXPECT_EQ(test, events(e, KMT_EV_OVERLAP), 1);
	KUNIT_EXPECT_FALSE(test, known(e, p));
	KUNIT_EXPECT_TRUE(test, known(e, p + 300));
}

static void references(struct kunit *test)
{
	struct env *e = test->priv;
	char *mem = memory(test, 1024), *whole = mem, *middle = mem + 128;
	char *last = mem + 256, *behind = mem + 384, *lost = mem + 512, *p;

	for (p = whole; p <= lost; p += 128)
		KUNIT_ASSERT_EQ(test, track_as(e, p, 64, 1), 0);
	e->roots[0] = (unsigned long)whole;
	e->roots[1] = (unsigned long)middle + 32;
	e->roots[2] = (unsigned long)last + 63;
	e->roots[3] = (unsigned long)behind + 64;
	e->roots[4] = (unsigned long)lost ^ BIT(BITS_PER_LONG - 1);
	mark(e);
	KUNIT_EXPECT_TRUE(test, reached(e, whole));
	KUNIT_EXPECT_TRUE(test, reached(e, middle));
	KUNIT_EXPECT_TRUE(test, reached(e, last));
	KUNIT_EXPECT_FALSE(test, reached(e, behind));
	KUNIT_EXPECT_FALSE(test, reached(e, lost));
	kmt_mark_end(&e->m);
}

/* More large blocks than the mark stack holds, and a deep list. */
static void many(struct kunit *test)
{
	const unsigned int nr = 4 * NR_GREY;
	struct env *e = test->priv;
	void **index = memory(test, nr * sizeof(*index)), **p, **last;
	unsigned int i, missed = 0;

	KUNIT_ASSERT_EQ(test, track_as(e, index, nr * sizeof(*index), 1), 0);
	for (i = 0; i < nr; i++)
		index[i] = tracked(test, KMT_PIECE_WORDS * sizeof(long) + 32);
	last = tracked(test, 32);
	e->roots[7] = (unsigned long)last;
	for (i = 0; i < nr; i++) {
		p = tracked(test, 32);
		last[1] = p;
		last = p;
	}
	last[2] = index;
	mark(e);
	for (i = 0; i < nr; i++)
		missed += !reached(e, index[i]);
	KUNIT_EXPECT_EQ(test, missed, 0);
	KUNIT_EXPECT_TRUE(test, reached(e, last));
	KUNIT_EXPECT_GT(test, events(e, KMT_EV_MARK_STACK_FULL), 0);
	kmt_mark_end(&e->m);
	/* All blocks hang on one word. */
	e->roots[7] = 0;
	suspect(e);
	KUNIT_EXPECT_EQ(test, e->v.suspects, 2 * nr + 2);
}

static void percpu(struct kunit *test)
{
	struct env *e = test->priv;
	void __percpu *area = __alloc_percpu(sizeof(long), sizeof(long));
	void *p[2] = { tracked(test, 40), tracked(test, 40) };
	unsigned int i = 0;
	int cpu;

	KUNIT_ASSERT_TRUE(test, !!area);
	for_each_possible_cpu(cpu) {
		void **slot = per_cpu_ptr(area, cpu);

		*slot = p[min(i++, 1u)];
	}
	KUNIT_EXPECT_EQ(test, kmt_insert(&e->core, KMT_PERCPU,
					 (__force unsigned long)area,
					 sizeof(long), 1, &nobody,
					 GFP_KERNEL), 0);
	e->roots[1] = (__force unsigned long)area;
	mark(e);
	KUNIT_EXPECT_TRUE(test, reached(e, p[0]));
	KUNIT_EXPECT_EQ(test, reached(e, p[1]), num_possible_cpus() > 1);
	kmt_mark_end(&e->m);
	e->roots[1] = 0;
	mark(e);
	KUNIT_EXPECT_FALSE(test, reached(e, p[0]));
	kmt_mark_end(&e->m);
	free_percpu(area);
}

/* Memory that was unmapped without a report must not be read. */
static void unreadable(struct kunit *test)
{
	struct env *e = test->priv;
	char *p = vmalloc(2 * PAGE_SIZE);
	void **q = tracked(test, 32);

	KUNIT_ASSERT_NOT_NULL(test, p);
	*(void **)(p + PAGE_SIZE) = q;
	/* The guard page after the block is not mapped. */
	KUNIT_EXPECT_EQ(test, track_as(e, p, 3 * PAGE_SIZE, KMT_MIN_GREY), 0);
	mark(e);
	KUNIT_EXPECT_TRUE(test, reached(e, q));
	KUNIT_EXPECT_GT(test, events(e, KMT_EV_FAULT), 0);
	kmt_mark_end(&e->m);
	vfree(p);
	/* Otherwise a CPU may still have the translation. */
	vm_unmap_aliases();
	mark(e);
	KUNIT_EXPECT_FALSE(test, reached(e, q));
	kmt_mark_end(&e->m);
}

static void verdicts(struct kunit *test)
{
	struct env *e = test->priv;
	unsigned long *lost = tracked(test, 64), *busy = tracked(test, 64);
	void **head = tracked(test, 64), *tail = tracked(test, 64);

	head[3] = tail;
	suspect(e);
	KUNIT_EXPECT_EQ(test, e->v.suspects, 4);
	busy[2]++;
	judge(e);
	KUNIT_EXPECT_EQ(test, e->v.fresh, 3);
	KUNIT_EXPECT_EQ(test, e->v.leak_bytes, 192);
	KUNIT_EXPECT_TRUE(test, is_leak(e, lost));
	KUNIT_EXPECT_TRUE(test, is_leak(e, tail));
	KUNIT_EXPECT_FALSE(test, is_leak(e, busy));
	/* A leak that is referenced again is acquitted. */
	e->roots[0] = (unsigned long)head;
	suspect(e);
	judge(e);
	KUNIT_EXPECT_EQ(test, e->v.leaks, 2);
	KUNIT_EXPECT_FALSE(test, is_leak(e, tail));
	KUNIT_EXPECT_TRUE(test, is_leak(e, busy));
	/* Cleared blocks are not reported again. */
	KUNIT_EXPECT_EQ(test, kmt_clear(&e->m, jiffies), 2);
	suspect(e);
	judge(e);
	KUNIT_EXPECT_EQ(test, e->v.leaks, 0);
}

static void no_memory(struct kunit *test)
{
	struct env *e = test->priv;
	char *p = memory(test, PAGE_SIZE);
	unsigned int i;
	int ret = 0;

	KUNIT_ASSERT_EQ(test, track_as(e, p, 8, 1), 0);
	WRITE_ONCE(e->starved, true);
	for (i = 1; i < PAGE_SIZE / 8 && !ret; i++)
		ret = track_as(e, p + 8 * i, 8, 1);
	KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
	KUNIT_EXPECT_EQ(test, events(e, KMT_EV_LOST_NOMEM), 1);
	/* Tracked blocks stay tracked, and later ones are tracked again. */
	KUNIT_EXPECT_TRUE(test, known(e, p));
	WRITE_ONCE(e->starved, false);
	KUNIT_EXPECT_EQ(test, track_as(e, p + PAGE_SIZE - 96, 8, 1), 0);
	KUNIT_EXPECT_TRUE(test, known(e, p + PAGE_SIZE - 96));
}

/* Threads and interrupts that allocate and free, each in its own memory. */
#define STORM_SLOTS	64
#define STORM_SIZE	(16 << 10)	/* all of a thread is in one region */
#define STORM_THREADS	4

struct storm {
	struct env *e;
	char *mem;
	unsigned long live[BITS_TO_LONGS(STORM_SLOTS)];
	unsigned int lost;
	unsigned int irqs;
	struct irq_work work;
	struct rnd_state rnd;
};

static void storm_step(struct storm *s, unsigned int slot, gfp_t gfp)
{
	char *p = s->mem + slot * (STORM_SIZE / STORM_SLOTS);

	if (!test_bit(slot, s->live)) {
		if (kmt_insert(&s->e->core, KMT_VIRT, (unsigned long)p, 200, 1,
			       &nobody, gfp))
			s->lost++;
		else
			__set_bit(slot, s->live);
		return;
	}
	__clear_bit(slot, s->live);
	if (!kmt_free(&s->e->core, KMT_VIRT, (unsigned long)p))
		s->lost++;
}

/* The last slot is that of the interrupt. */
static void storm_irq(struct irq_work *work)
{
	struct storm *s = container_of(work, struct storm, work);

	if (kmt_insert(&s->e->core, KMT_VIRT, (unsigned long)s->mem +
		       STORM_SIZE, 8, 1, &nobody, GFP_ATOMIC) ||
	    !kmt_free(&s->e->core, KMT_VIRT, (unsigned long)s->mem +
		      STORM_SIZE))
		s->lost++;
	s->irqs++;
}

static int storm_thread(void *data)
{
	struct storm *s = data;
	unsigned int i;

	for (i = 0; !kthread_should_stop(); i++) {
		storm_step(s, prandom_u32_state(&s->rnd) % STORM_SLOTS,
			   GFP_KERNEL);
		if (!(i & 63))
			irq_work_queue(&s->work);
		if (!(i & 1023))
			cond_resched();
	}
	return 0;
}

static void storm(struct kunit *test)
{
	struct env *e = test->priv;
	struct task_struct *tasks[STORM_THREADS];
	struct storm *s = memory(test, sizeof(*s) * STORM_THREADS);
	unsigned int i, slot, missed = 0;

	for (i = 0; i < STORM_THREADS; i++) {
		s[i].e = e;
		s[i].mem = memory(test, STORM_SIZE + 8);
		s[i].work = ALLOCATING_IRQ_WORK_INIT(storm_irq);
		prandom_seed_state(&s[i].rnd, i);
		e->roots[i] = (unsigned long)s[i].mem;
	}
	for (i = 0; i < STORM_THREADS; i++) {
		tasks[i] = kthread_run(storm_thread, &s[i], "kmt_storm");
		KUNIT_ASSERT_FALSE(test, IS_ERR(tasks[i]));
	}
	/* Marks go on meanwhile. */
	for (i = 0; i < 200; i++) {
		suspect(e);
		judge(e);
		usleep_range(100, 200);
	}
	for (i = 0; i < STORM_THREADS; i++) {
		kthread_stop(tasks[i]);
		irq_work_sync(&s[i].work);
		KUNIT_EXPECT_EQ(test, s[i].lost, 0);
		KUNIT_EXPECT_GT(test, s[i].irqs, 0);
		for (slot = 0; slot < STORM_SLOTS; slot++)
			missed += known(e, s[i].mem + slot * (STORM_SIZE /
						STORM_SLOTS)) !=
				  test_bit(slot, s[i].live);
	}
	KUNIT_EXPECT_EQ(test, missed, 0);
	KUNIT_EXPECT_EQ(test, events(e, KMT_EV_OVERLAP), 0);
	kmt_drop_space(&e->core, KMT_VIRT);
	KUNIT_EXPECT_EQ(test, kmt_pool_free_cells(&e->core),
			e->core.pool.cells);
}

static struct kunit_case core_cases[] = {
	KUNIT_CASE(find_and_free),
	KUNIT_CASE(free_part),
	KUNIT_CASE(overlap),
	KUNIT_CASE(references),
	KUNIT_CASE(many),
	KUNIT_CASE(percpu),
	KUNIT_CASE(unreadable),
	KUNIT_CASE(verdicts),
	KUNIT_CASE(no_memory),
	KUNIT_CASE(storm),
	{}
};

static struct kunit_suite core_suite = {
	.name = "kmemtrack_core",
	.init = env_init,
	.exit = env_exit,
	.test_cases = core_cases,
};

kunit_test_suite(core_suite);
