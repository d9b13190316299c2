// SPDX-License-Identifier: GPL-2.0
/*
 * Measures, with many blocks, for how long the pool makes others wait, as the largest
 * number of basic blocks that it runs with a lock held, and how much memory it gives
 * back. Times are not exact, since the machine may have other work.
 */
#include <stdio.h>
#include <time.h>

#include "bench_map.h"
#include "fastpath.h"

#define SIZE		128
#define CHUNK		(4 * PAGE_SIZE)
#define RESERVE		2048UL

/* Pages that the kernel asks a shrinker for at a time. */
#define SHRINK_BATCH	128

__thread int host_cpu;
__thread u64 host_steps, host_locked_at, host_locked_ns;
__thread u64 host_held_max, host_held_ns;

/* Called by each basic block: -fsanitize-coverage=trace-pc. */
__attribute__((no_sanitize_coverage)) void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
	host_steps++;
}

static char *pool;
static struct kmt_core core;
static struct kmt_cell_cache caches[HOST_CPUS];
static unsigned long base = 0x100000000000UL;

static void *chunk_alloc(struct kmt_core *c, gfp_t gfp, size_t *bytes)
{
	char *mem = pool;

	pool += CHUNK;
	*bytes = CHUNK;
	return mem;
}

static const struct kmt_ops ops = { .chunk_alloc = chunk_alloc };

static void set_up(unsigned long nr)
{
	struct kmt_range linear = {
		.lo = base, .hi = base + ALIGN(nr * SIZE, 1UL << 20),
	};
	unsigned long shards = roundup_pow_of_two((linear.hi - linear.lo) >>
						  KMT_REGION_SHIFT);
	struct kmt_tree *trees = map((shards + 1) * sizeof(*trees));
	int cpu;

	memset(&core, 0, sizeof(core));
	memset(caches, 0, sizeof(caches));
	/* Touch the memory, so that page faults are not measured. */
	pool = map(2 * nr * sizeof(struct kmt_object) + 64 * CHUNK);
	memset(pool, 0, 2 * nr * sizeof(struct kmt_object) + 64 * CHUNK);
	kmt_core_init(&core, &ops, trees, 1, caches, HOST_CPUS);
	kmt_index_resize(&core, &linear, trees + 1, shards);
	for (cpu = 0; cpu < HOST_CPUS; cpu++)
		caches[cpu].recent_cells = map(KMT_RECENT_CELLS * sizeof(*caches[cpu].recent_cells));
}

static u64 host_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void insert(unsigned long i, unsigned long size)
{
	static const struct kmt_origin nobody;

	kmt_insert(&core, KMT_VIRT, base + i * SIZE, size, 1, &nobody,
		   GFP_KERNEL);
}

static void row(const char *what, unsigned long nr, u64 since)
{
	printf("%10lu  %-34s %12.3f %12llu\n", nr, what,
	       (host_now() - since) / 1e6, (unsigned long long)host_held_max);
	host_held_max = 0;
}

/* Gives back as much as possible, as a shrinker does; returns the number of pages. */
static unsigned long give_back(unsigned long keep)
{
	unsigned long nr = 0, asked = 0, left = core.pool.nr_chunks;
	unsigned int cpu;

	for (cpu = 0; cpu < HOST_CPUS; cpu++)
		kmt_cell_give(&core, &caches[cpu], caches[cpu].nr);
	for (; left; left--) {
		kmt_pool_compact(&core, keep);
		while (kmt_pool_trim(&core, keep))
			nr++;
		if (nr - asked >= SHRINK_BATCH) {
			kmt_pool_take_gone(&core, false);
			asked = nr;
		}
	}
	kmt_pool_take_gone(&core, true);
	return nr;
}

/* Frees nine of ten blocks in random order, so the rest is all over the pool. */
static void peak(unsigned long nr)
{
	unsigned long i, before, pages;
	u64 seed = 1, since;

	set_up(nr);
	host_held_max = 0;
	since = host_now();
	for (i = 0; i < nr; i++)
		insert(i, SIZE);
	row("insert", nr, since);
	since = host_now();
	for (i = 0; i < nr; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		if ((seed >> 33) % 10)
			kmt_free(&core, KMT_VIRT, base + i * SIZE);
	}
	row("free nine of ten", nr, since);
	before = core.pool.nr_chunks;
	since = host_now();
	pages = give_back(nr / 80 + RESERVE);
	row("give back", nr, since);
	printf("%10lu  %-34s %11lu%%\n", nr, "pages that went",
	       100 * pages / before);
	since = host_now();
	kmt_drop_space(&core, KMT_VIRT);
	row("drop all", nr, since);
	since = host_now();
	pages += give_back(0);
	row("give back all", nr, since);
	assert(!core.pool.nr_chunks);
}

/* Inserts a block over the vacant records of @nr blocks. */
static void cover(unsigned long nr)
{
	unsigned long i;
	u64 since;

	set_up(nr);
	for (i = 0; i < nr; i++)
		insert(i, SIZE);
	for (i = 0; i < nr; i++)
		kmt_free(&core, KMT_VIRT, base + i * SIZE);
	host_held_max = 0;
	since = host_now();
	insert(0, nr * SIZE);
	row("one block over vacant records", nr, since);
}

int main(void)
{
	static const unsigned long nr[] = { 500000, 2000000, 10000000 };
	unsigned int i;

	printf("%10s  %-34s %12s %12s\n", "blocks", "", "ms", "steps locked");
	cover(65536);
	for (i = 0; i < ARRAY_SIZE(nr); i++)
		peak(nr[i]);
	return 0;
}
