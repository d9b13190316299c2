// SPDX-License-Identifier: GPL-2.0
/*
 * Several CPUs allocate, hand over, annotate and free blocks while another marks.
 *
 * Each worker has its own slots in regions that all workers share, so that the
 * locks of trees are contended. The root word of a slot refers to its block
 * from before the worker can lose the pointer until the block is freed, so that
 * no block may be reported. In the last test, workers insert over each other's
 * blocks.
 */
#include <pthread.h>

#include "sim.h"

#define WORKERS		3
#define SLOTS		96
#define MARKER_CPU	WORKERS
/* Least number of scans, and the factor by which workers may run longer for them. */
#define MIN_SCANS	3
#define MORE		1000

struct slot {
	enum kmt_space space;
	unsigned long addr;
	unsigned long room;
	unsigned long size;
	bool live;
	/* There was no cell for the record, so the block is not tracked. */
	bool lost;
};

static struct slot slots[WORKERS][SLOTS];
static int stop;
static unsigned long inserted, freed, scans;

static unsigned long root_of(int worker, int slot)
{
	return ROOT(worker * SLOTS + slot);
}

static void lay_out(void)
{
	int w, i;

	for (w = 0; w < WORKERS; w++) {
		for (i = 0; i < SLOTS; i++) {
			struct slot *s = &slots[w][i];
			unsigned long nr = i * WORKERS + w;

			*s = (struct slot){ .room = 1024 };
			if (i % 8 < 5) {
				s->addr = SIM_LINEAR + nr * 1024;
			} else if (i % 8 == 5) {
				/* The slot crosses the border of two regions. */
				s->addr = SIM_LINEAR - 512 + 0x10000 *
					  (6 + i / 8 * WORKERS + w);
			} else if (i % 8 == 6) {
				s->addr = SIM_VMALLOC + nr / 4 * 0x2000;
				s->addr += w * 0x400;
			} else {
				s->space = KMT_PERCPU;
				s->addr = SIM_PERCPU + nr * 64;
				s->room = 64;
			}
		}
	}
}

static void check_disjoint(void)
{
	struct slot *a, *b, *all = &slots[0][0];

	for (a = all; a < all + WORKERS * SLOTS; a++)
		for (b = all; b < a; b++)
			assert_true(a->space != b->space ||
				    a->addr + a->room <= b->addr ||
				    b->addr + b->room <= a->addr);
}

/* Stores references in a new block, and annotates it. */
static void use_block(struct sim *s, struct slot *slot, u64 *rng)
{
	unsigned long target = SIM_LINEAR + sim_random(rng) % 0x20000;
	u32 what = sim_random(rng) % 16;

	if (slot->space == KMT_PERCPU) {
		sim_put(kmt_env_percpu(slot->addr, what % HOST_CPUS), target);
		return;
	}
	sim_put(slot->addr, target);
	sim_put(slot->addr + ALIGN_DOWN(slot->size - 8, 8), target + 64);
	if (what == 0)
		kmt_add_area(&s->core, slot->addr, 8, GFP_KERNEL);
	else if (what == 1)
		kmt_add_area(&s->core, slot->addr + 8, SIZE_MAX, GFP_KERNEL);
	else if (what == 2)
		kmt_add_alias(&s->core, slot->addr, target, GFP_KERNEL);
	else if (what == 3)
		kmt_set_flags(&s->core, KMT_VIRT, slot->addr, KMT_NO_SCAN);
	else if (what == 4)
		kmt_set_flags(&s->core, KMT_VIRT, slot->addr, KMT_TRANSIENT);
	else if (what == 5)
		kmt_set_min(&s->core, KMT_VIRT, slot->addr, KMT_MIN_GREY);
	else if (what == 6)
		kmt_set_trace(&s->core, KMT_VIRT, slot->addr, what);
}

static void alloc_slot(struct sim *s, int w, int i, u64 *rng)
{
	struct slot *slot = &slots[w][i];
	int ret;

	slot->size = slot->space == KMT_PERCPU ? 64 :
		     16 + sim_random(rng) % (slot->room - 16);
	if (slot->space == KMT_VIRT)
		sim_own(slot->addr, slot->size);
	/* The allocator clears the block before it is tracked. */
	if (slot->space == KMT_VIRT)
		sim_put(slot->addr, 0);
	sim_put(root_of(w, i), slot->addr);
	ret = sim_insert(s, slot->space, slot->addr, slot->size, 1);
	assert(ret == 0 || ret == -ENOMEM);
	slot->lost = ret;
	slot->live = true;
	if (!ret) {
		__atomic_fetch_add(&inserted, 1, __ATOMIC_RELAXED);
		use_block(s, slot, rng);
	}
}

static void free_slot(struct sim *s, int w, int i)
{
	struct slot *slot = &slots[w][i];
	bool known = kmt_free(&s->core, slot->space, slot->addr);

	assert(known == !slot->lost);
	if (slot->space == KMT_VIRT)
		sim_disown(slot->addr, slot->size);
	sim_put(root_of(w, i), 0);
	slot->live = false;
	if (known)
		__atomic_fetch_add(&freed, 1, __ATOMIC_RELAXED);
}

/* Frees the tail of a block, and then the rest. */
static void cut_slot(struct sim *s, int w, int i)
{
	struct slot *slot = &slots[w][i];
	unsigned long keep = ALIGN(slot->size / 2, 8);

	if (slot->space != KMT_VIRT || slot->lost || keep >= slot->size)
		return;
	kmt_free_part(&s->core, KMT_VIRT, slot->addr + keep,
		      slot->size - keep, GFP_KERNEL);
	sim_disown(slot->addr + keep, slot->size - keep);
	slot->size = keep;
	slot->lost = !sim_tracked(s, slot->addr);
	if (slot->lost)
		__atomic_fetch_add(&freed, 1, __ATOMIC_RELAXED);
}

struct job {
	struct sim *s;
	int worker;
	u64 rng;
	unsigned long steps;
};

/*
 * Whether to do another step: up to @steps, and more of them while there were too
 * few scans, whose speed depends on the load of the machine.
 */
static bool go_on(unsigned long n, unsigned long steps)
{
	return n < steps || (n < MORE * steps &&
	       __atomic_load_n(&scans, __ATOMIC_RELAXED) < MIN_SCANS);
}

static void *work(void *arg)
{
	struct job *job = arg;
	unsigned long n;

	host_cpu = job->worker;
	for (n = 0; go_on(n, job->steps); n++) {
		int i = sim_random(&job->rng) % SLOTS;

		if (!slots[job->worker][i].live)
			alloc_slot(job->s, job->worker, i, &job->rng);
		else if (sim_random(&job->rng) % 8)
			free_slot(job->s, job->worker, i);
		else
			cut_slot(job->s, job->worker, i);
		if (n % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* Moves records, whose old cells CPUs remember. */
static void compact(struct sim *s)
{
	unsigned long left;

	for (left = READ_ONCE(s->core.pool.nr_chunks); left; left--)
		kmt_pool_compact(&s->core, 0);
}

static void scan_once(struct sim *s)
{
	sim_scan(s, ROOT(0), ROOT(WORKERS * SLOTS));
	compact(s);
	assert(!s->v.leaks);
	assert(!kmt_clear(&s->m, s->now));
	__atomic_fetch_add(&scans, 1, __ATOMIC_RELAXED);
}

static void *mark(void *arg)
{
	struct sim *s = arg;

	host_cpu = MARKER_CPU;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
		scan_once(s);
	return NULL;
}

static void run_threads(struct sim *s, u64 seed, unsigned long steps)
{
	struct job jobs[WORKERS];
	pthread_t threads[WORKERS], marker;
	int w;

	stop = 0;
	assert_int_equal(pthread_create(&marker, NULL, mark, s), 0);
	for (w = 0; w < WORKERS; w++) {
		jobs[w] = (struct job){ s, w, seed * 10 + w, steps };
		assert_int_equal(pthread_create(&threads[w], NULL, work,
						&jobs[w]), 0);
	}
	for (w = 0; w < WORKERS; w++)
		pthread_join(threads[w], NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	pthread_join(marker, NULL);
}

/* Checks that each live block has one record, and that scans are exact. */
static void check_quiet(struct sim *s)
{
	unsigned long live = 0, leaks = 0;
	int w, i;

	check_core(s);
	for (w = 0; w < WORKERS; w++) {
		for (i = 0; i < SLOTS; i++) {
			struct slot *slot = &slots[w][i];
			struct kmt_object o;
			bool known = kmt_lookup(&s->core, slot->space,
						slot->addr, &o);

			assert_int_equal(known, slot->live && !slot->lost);
			live += known;
			if (!known)
				continue;
			assert_int_equal(o.size, slot->size);
			/* Drop every other reference. */
			kmt_set_min(&s->core, slot->space, slot->addr, 1);
			if (slot->space == KMT_PERCPU)
				memset(sim_host(kmt_env_percpu(slot->addr, 0)),
				       0, 8);
			else
				memset(sim_host(slot->addr), 0, slot->size);
			if (i % 2) {
				sim_put(root_of(w, i), 0);
				leaks++;
			}
		}
	}
	assert_int_equal(inserted - freed, live);
	memset(sim_host(SIM_COPIES), 0, SIM_PERCPU_LEN * HOST_CPUS);
	/* The first scan spares blocks that are transient. */
	sim_scan(s, ROOT(0), ROOT(WORKERS * SLOTS));
	sim_scan(s, ROOT(0), ROOT(WORKERS * SLOTS));
	assert_int_equal(s->v.leaks, leaks);
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), 0);
	assert_int_equal(sim_events(s, KMT_EV_FREE_INSIDE), 0);
	assert_int_equal(sim_events(s, KMT_EV_BAD_SIZE), 0);
	check_core(s);
}

static void run(unsigned int cells, unsigned int chunks, unsigned int stack,
		unsigned int helpers, unsigned long steps)
{
	struct sim *s = sim_new(cells, chunks, stack);
	u64 seed = sim_env("KMT_SEED", 1);

	printf("seed %lu\n", (unsigned long)seed);
	s->helpers = helpers;
	inserted = 0;
	freed = 0;
	scans = 0;
	lay_out();
	check_disjoint();
	run_threads(s, seed, steps);
	printf("%lu blocks, %lu scans\n", inserted, scans);
	assert_true(scans >= MIN_SCANS);
	check_quiet(s);
	sim_delete(s);
}

static void test_threads(void **state)
{
	run(63, 100, 64, 0, 20000);
}

static void test_small_mark_stack(void **state)
{
	run(15, 100, 2, 0, 10000);
}

/* The pool is so small that cells run out. */
static void test_no_memory(void **state)
{
	run(20, 4, 64, 0, 20000);
}

/* Helpers take part in the mark. */
static void test_help(void **state)
{
	run(63, 100, 64, 2, 20000);
	run(15, 100, 2, 3, 5000);
}

/* Number of addresses at which all workers insert and free blocks. */
#define PLACES		64

static void *contend(void *arg)
{
	struct job *job = arg;
	struct sim *s = job->s;
	unsigned long n;

	host_cpu = job->worker;
	for (n = 0; n < job->steps; n++) {
		u64 what = sim_random(&job->rng);
		unsigned long addr = SIM_LINEAR + 32 * (what % PLACES);
		unsigned long size = 16 + (what >> 8) % 200;

		/*
		 * Half of the blocks are around a border of regions, some in the
		 * wide tree.
		 */
		if (what >> 16 & 1)
			addr += (1ul << KMT_REGION_SHIFT) - 16 * PLACES;
		if (what >> 17 & 1) {
			if (kmt_free(&s->core, KMT_VIRT, addr))
				__atomic_fetch_add(&freed, 1, __ATOMIC_RELAXED);
		} else if (!sim_insert(s, KMT_VIRT, addr, size, 1)) {
			__atomic_fetch_add(&inserted, 1, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

/*
 * Several CPUs insert over each other's blocks. Which blocks are evicted depends on
 * the order, but each block that is neither freed nor tracked has to be counted
 * once.
 */
static void test_overlap(void **state)
{
	struct sim *s = sim_new(63, 100, 64);
	pthread_t threads[WORKERS];
	struct job jobs[WORKERS];
	u64 seed = sim_env("KMT_SEED", 1);
	int w;

	printf("seed %lu\n", (unsigned long)seed);
	inserted = 0;
	freed = 0;
	for (w = 0; w < WORKERS; w++) {
		jobs[w] = (struct job){ s, w, seed * 10 + w, 20000 };
		assert_int_equal(pthread_create(&threads[w], NULL, contend,
						&jobs[w]), 0);
	}
	for (w = 0; w < WORKERS; w++)
		pthread_join(threads[w], NULL);
	s->overlaps = inserted - freed - check_core(s);
	printf("%lu blocks, %lu freed, %lu made way\n", inserted, freed,
	       s->overlaps);
	assert_in_range(s->overlaps, inserted / 10, inserted);
	assert_int_equal(sim_events(s, KMT_EV_OVERLAP), s->overlaps);
	sim_delete(s);
}

static void *allocate(void *arg)
{
	struct sim *s = arg;
	unsigned int i;

	host_cpu = 1;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < 8; i++) {
			sim_insert(s, KMT_VIRT, SIM_LINEAR + i * 1024, 64, 1);
			kmt_free(&s->core, KMT_VIRT, SIM_LINEAR + i * 1024);
		}
		__atomic_fetch_add(&inserted, 8, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * A CPU gets its table of cells from another one while it allocates, as after `on`. It must
 * not see the table before it is zeroed; TSan notices if it may.
 */
static void test_table(void **state)
{
	struct sim *s = sim_new(63, 100, 64);
	struct kmt_object **table = malloc(KMT_RECENT_CELLS * sizeof(*table));
	unsigned long before;
	pthread_t thread;

	assert_non_null(table);
	sim_remember(s, false);
	stop = 0;
	inserted = 0;
	assert_int_equal(pthread_create(&thread, NULL, allocate, s), 0);
	while (!__atomic_load_n(&inserted, __ATOMIC_RELAXED))
		sched_yield();
	memset(table, 0, KMT_RECENT_CELLS * sizeof(*table));
	assert_null(kmt_set_recent_cells(&s->core, 1, table));
	before = __atomic_load_n(&inserted, __ATOMIC_RELAXED);
	while (__atomic_load_n(&inserted, __ATOMIC_RELAXED) < before + 1000)
		sched_yield();
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_ptr_equal(kmt_set_recent_cells(&s->core, 1, NULL), table);
	free(table);
	check_core(s);
	sim_delete(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_small_mark_stack),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_overlap),
	};

	return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
