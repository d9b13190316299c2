// SPDX-License-Identifier: GPL-2.0
/*
 * Measures how the cost of each step of the core grows with blocks, addresses and CPUs.
 *
 *	bench_scale [most blocks]	nanoseconds, from 10^5 blocks on
 *	bench_steps [most blocks]	basic blocks of the core, which do not depend on
 *					caches, and the longest time a lock was held
 *	bench_steps check		small; fails if a step costs far more with
 *					more blocks, or with more CPUs
 *
 * Blocks of 64 bytes are adjacent (dense), or in regions of 64 KiB all over 1 TiB
 * (sparse). Two threads act as all CPUs, one after the other.
 */
#include <math.h>
#include <pthread.h>
#include <time.h>

#include "bench_map.h"
#include "fastpath.h"
#include "mark.h"

#define SIZE		64UL
#define REGION		BIT(KMT_REGION_SHIFT)
#define THREADS		2
#define TURN		65536UL
#define BATCH		256UL
#define CHUNK		(4 * PAGE_SIZE)
#define STACK		(1U << 14)
#define LOSE		1000UL		/* one of this many is lost */

__thread int host_cpu;

#ifdef HOST_HOLDS
__thread u64 host_steps, host_locked_at, host_locked_ns;
__thread u64 host_held_max, host_held_ns;
#define STEPS true

/* Called by each basic block of the core: -fsanitize-coverage=trace-pc. */
__attribute__((no_sanitize_coverage)) void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
	host_steps++;
}

static u64 cost(void)
{
	return host_steps;
}
#else
#define STEPS false

/* CPU time, since the machine may have other work. */
static u64 cost(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}
#endif

/* The rows of the table: costs of one block, word or suspect. */
enum what {
	INSERT, FREE, AGAIN, MARK, MARK_WORD, MARK_RANDOM, SWEEP, SUSPECT, SEARCH,
	RECHECK, SORT_OUT, JUDGE, A_SUSPECT, CLASSIFY, BYTES, HELD,
	HELD_NS, NR_WHAT,
};

static const char * const whats[NR_WHAT] = {
	"insert, in order", "free, at random", "insert in its place",
	"mark, a block", "mark, a word", "mark, random order",
	"sweep, a record", "suspect, a record", "search, a block",
	"recheck, a block", "sort out, a record", "judge, a record",
	"suspect-judge, a suspect", "classify, a leak", "bytes a block",
	"one lock, steps", "one lock, ns",
};

/* Notes the longest time that this thread held a lock since the last call. */
static void note_held(double *r)
{
#ifdef HOST_HOLDS
	if (host_held_max > r[HELD]) {
		r[HELD] = host_held_max;
		r[HELD_NS] = host_held_ns;
	}
	host_held_max = 0;
#endif
}

/* Limit of the growth of costs with ten times as many blocks, or with more CPUs. */
#define MOST	4

static struct {
	bool check, sparse;
	unsigned int cpus;
	unsigned long nr, lo, bytes, shards;
	char *pool;
} b;

static struct kmt_core core;
static struct kmt_cell_cache caches[HOST_CPUS];
static struct kmt_mark_entry stack[STACK];
static unsigned long seen_cache[BIT(KMT_SEEN_SHIFT)];
static struct kmt_marker m, stop_marker;
static u8 filter_bits[KMT_FILTER_MAX], filter_pages[KMT_FILTER_PAGES];
static struct kmt_filter filter = {
	.odd = true, .bits = (unsigned long *)filter_bits, .pages = filter_pages,
};

static struct kmt_verdict verdict;

static void *table_alloc(struct kmt_core *c, size_t bytes)
{
	return map(bytes);
}

static void table_free(struct kmt_core *c, void *table, size_t bytes)
{
	munmap(table, bytes);
}

static void *chunk_alloc(struct kmt_core *c, gfp_t gfp, size_t *bytes)
{
	*bytes = CHUNK;
	return __atomic_fetch_add(&b.pool, CHUNK, __ATOMIC_RELAXED);
}

static const struct kmt_ops ops = {
	chunk_alloc, .table_alloc = table_alloc, .table_free = table_free,
};

static unsigned long at(unsigned long i)
{
	unsigned long region = i * SIZE / REGION;

	if (b.sparse)
		region = region * 0x9e3779b1UL % (b.bytes >> KMT_REGION_SHIFT);
	return b.lo + (region << KMT_REGION_SHIFT) + i * SIZE % REGION;
}

static void insert(unsigned long i)
{
	static const struct kmt_origin nobody;

	kmt_insert(&core, KMT_VIRT, at(i), SIZE, 1, &nobody, GFP_KERNEL);
}

struct worker {
	pthread_t thread;
	unsigned int me;
	double r[NR_WHAT];
};

/* Becomes another CPU from time to time. */
static void switch_cpu(const struct worker *w, unsigned long i)
{
	if (i % TURN < BATCH)
		host_cpu = w->me + THREADS * (i / TURN % (b.cpus / THREADS));
}

static void *work(void *arg)
{
	struct worker *w = arg;
	const unsigned long share = b.nr / THREADS, apart = share / BATCH;
	const unsigned long pairs = min(share, 1000000UL), lo = w->me * share;
	unsigned long i, k, x;
	u64 seed = w->me, since = cost();

	for (i = 0; i < share; i++) {
		switch_cpu(w, i);
		insert(lo + i);
	}
	w->r[INSERT] = (double)(cost() - since) / share;
	for (i = 0; i < pairs; i += BATCH) {
		switch_cpu(w, i);
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		x = (seed >> 20) % share;
		since = cost();
		for (k = 0; k < BATCH; k++)
			kmt_free(&core, KMT_VIRT,
				 at(lo + (x + k * apart) % share));
		w->r[FREE] += (double)(cost() - since) / pairs;
		since = cost();
		for (k = 0; k < BATCH; k++)
			insert(lo + (x + k * apart) % share);
		w->r[AGAIN] += (double)(cost() - since) / pairs;
	}
	note_held(w->r);
	return NULL;
}

static void live(double *r)
{
	struct worker w[THREADS] = {};
	unsigned int i, k;

	for (i = 0; i < THREADS; i++) {
		w[i].me = i;
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		for (k = INSERT; k <= AGAIN; k++)
			r[k] += w[i].r[k] / THREADS;
		if (w[i].r[HELD] > r[HELD])
			memcpy(&r[HELD], &w[i].r[HELD], 2 * sizeof(*r));
	}
}

/* Each block refers to the one before and the one after it, except lost blocks. */
static void link_in_order(void)
{
	unsigned long i;

	for (i = 0; i < b.nr; i++) {
		bool skip = (i + 1) % LOSE == LOSE / 2;
		unsigned long *word = (unsigned long *)at(i);

		word[0] = i + 1 + skip < b.nr ? at(i + 1 + skip) : 0;
		word[1] = i && i % LOSE != LOSE / 2 + 1 ? at(i - 1) : 0;
		word[2] = i;
	}
}

static void begin_mark(void)
{
	kmt_marker_init(&m, &core, stack, STACK, seen_cache);
	kmt_mark_begin(&m);
}

/* Marks a list, in random order, through every apart-th block. */
static void mark_random(double *r)
{
	unsigned long nr = min(b.nr, 1000000UL), apart = b.nr / nr, i, to = 0;
	unsigned long root = at(0);
	u64 since;

	for (i = 0; i < nr; i++) {
		unsigned long *word = (unsigned long *)at(to * apart);

		/* This visits all of them, since nr is a power of ten. */
		to = (to * 7654321 + 1234567) % nr;
		word[0] = at(to * apart);
		word[1] = 0;
	}
	begin_mark();
	since = cost();
	kmt_mark_words(&m, &root, 1);
	r[MARK_RANDOM] = (double)(cost() - since) / m.stats.objects;
	assert(m.stats.objects == nr);
	kmt_mark_end(&m);
}

#define TIME(what, units, call) do {					\
	u64 _since = cost();						\
	call;								\
	r[what] = (double)(cost() - _since) / (units);			\
} while (0)

static void scan(double *r)
{
	unsigned long cells = core.pool.cells, root = at(0), suspects;

	filter.mask = 8 * kmt_filter_bytes(&core) - 1;
	begin_mark();
	TIME(MARK, b.nr, kmt_mark_words(&m, &root, 1));
	r[MARK_WORD] = r[MARK] * b.nr / m.stats.words;
	TIME(SWEEP, cells, kmt_mark_sweep(&m));
	TIME(SUSPECT, cells, kmt_suspect_for_search(&m, &filter, &verdict));
	suspects = verdict.suspects;
	assert(suspects == b.nr / LOSE);
	kmt_marker_set_search(&m, KMT_MODE_ALIGNED, &filter);
	kmt_mark_words(&m, &root, 1);
	TIME(SEARCH, b.nr, kmt_search(&m));
	kmt_marker_join_stopped(&stop_marker, &m, &filter, stack, STACK);
	TIME(RECHECK, b.nr, kmt_recheck(&stop_marker));
	kmt_marker_set_follow(&m);
	TIME(SORT_OUT, cells, kmt_update_suspects(&m, &filter, &verdict));
	TIME(JUDGE, cells, kmt_judge(&m, &verdict));
	r[A_SUSPECT] = ((r[SEARCH] + r[RECHECK]) * b.nr + cells *
			(r[SUSPECT] + r[SORT_OUT] + r[JUDGE])) / suspects;
	assert(verdict.leaks == suspects);
	TIME(CLASSIFY, suspects, kmt_classify(&m, verdict.leaks, 0));
	kmt_mark_end(&m);
	note_held(r);
}

static void measure(unsigned long nr, double *r)
{
	struct kmt_object **recent_cells;
	struct kmt_range linear;
	struct kmt_tree *trees;
	size_t beside, bytes;
	char *mem, *blocks;
	unsigned int i;

	memset(r, 0, NR_WHAT * sizeof(*r));
	memset(&core, 0, sizeof(core));
	memset(caches, 0, sizeof(caches));
	b.nr = nr;
	b.bytes = b.sparse ? BIT(b.check ? 34 : 40) : ALIGN(nr * SIZE, BIT(20));
	b.shards = max(1024UL, roundup_pow_of_two(b.bytes >> KMT_REGION_SHIFT));
	beside = ALIGN((b.shards + 1) * sizeof(*trees), PAGE_SIZE);
	bytes = beside + b.cpus * (KMT_RECENT_CELLS * sizeof(*recent_cells) + 4 * CHUNK) +
		(nr / KMT_PAGE_CELLS + 64) * PAGE_SIZE;
	mem = map(bytes);
	blocks = map(b.bytes + REGION);
	/* Large pages as in a linear map, but pages of 4 KiB if few are in use. */
	madvise(mem, bytes, MADV_HUGEPAGE);
	madvise(blocks, b.bytes, b.sparse ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	trees = (struct kmt_tree *)mem;
	recent_cells = (struct kmt_object **)(mem + beside);
	b.pool = (char *)(recent_cells + b.cpus * KMT_RECENT_CELLS);
	b.lo = ALIGN((unsigned long)blocks, REGION);
	linear = (struct kmt_range){ b.lo, b.lo + b.bytes };
	kmt_core_init(&core, &ops, trees, 1, caches, b.cpus);
	kmt_index_resize(&core, &linear, trees + 1, b.shards);
	for (i = 0; i < b.cpus; i++)
		caches[i].recent_cells = recent_cells + i * KMT_RECENT_CELLS;
	/* Touch the memory, so that page faults are not measured. */
	memset(recent_cells, 0, b.pool - (char *)recent_cells + nr * SIZE);
	link_in_order();

	live(r);
	scan(r);
	mark_random(r);
	r[BYTES] = (double)core.pool.nr_chunks * PAGE_SIZE / nr;
	munmap(blocks, b.bytes + REGION);
	munmap(mem, bytes);
}

/* How the cost grows from last[-1], a tenth of the size, to last[0]. */
static const char *growth(const double *last)
{
	double power = log10(last[0] / last[-1]);

	return power < 0.02 ? "constant" : power < 0.1 ? "log n" : "FASTER";
}

/* Compares the costs with ten times as many blocks, and with more CPUs. */
static int compare(unsigned long first, unsigned long most)
{
	static double few[2][NR_WHAT];
	double r[NR_WHAT], of[NR_WHAT][8];
	unsigned int nr = 0, k, i, bad = 0;

	printf("\n%-6s %3u CPUs, %-8s", b.sparse ? "sparse" : "dense", b.cpus,
	       STEPS ? "steps" : "ns");
	for (; first <= most; first *= 10, nr++) {
		printf(" %11lu", first);
		measure(first, r);
		for (k = 0; k < NR_WHAT; k++)
			of[k][nr] = r[k];
	}
	printf("\n");
	for (k = 0; nr > 1 && k < NR_WHAT; k++) {
		const double *last = &of[k][nr - 1];

		if (!*last)
			continue;
		printf("  %-23s", whats[k]);
		for (i = 0; i < nr; i++)
			printf(" %11.1f", of[k][i]);
		printf("  %s\n", k == HELD_NS || !STEPS || b.check ? "" :
		       growth(last));
		if (!few[b.sparse][k])
			few[b.sparse][k] = *last;
		if (b.check && k != HELD_NS &&
		    *last > MOST * min(last[-1], few[b.sparse][k])) {
			printf("    more than %u times as many\n", MOST);
			bad++;
		}
	}
	printf("  %-23s index %lu KiB, recent cells of CPUs %lu KiB\n", "beside",
	       b.shards * sizeof(struct kmt_tree) >> 10,
	       b.cpus * KMT_RECENT_CELLS * sizeof(void *) >> 10);
	fflush(stdout);
	return bad;
}

int main(int argc, char **argv)
{
	static const unsigned int cpus[] = { 2, 64, 256 };
	unsigned long most = argc > 1 ? strtoul(argv[1], NULL, 0) : 100000000;
	unsigned int i, bad = 0;

	b.check = argc > 1 && !strcmp(argv[1], "check");
	for (i = 0; i < 2 * ARRAY_SIZE(cpus); i++) {
		b.sparse = i % 2;
		b.cpus = cpus[i / 2];
		bad += b.check ? compare(10000, 100000) :
		       compare(100000, min(most, i < 2 ? most : 1000000UL));
	}
	return !!bad;
}
