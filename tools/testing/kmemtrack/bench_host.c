// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark of the core's index and marker on a machine with caches, compared with the
 * same operations on one tree with one lock. Blocks are like those of
 * bench/bench_pair.c: on a list, each with a reference to an older one.
 */
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "bench_map.h"
#include "fastpath.h"
#include "mark_parallel.h"

#define BLOCK_SIZE	128
#define PAIRS		2000000UL
#define FINDS		2000000UL
#define WORDS		4000000UL
#define STACK		(1U << 20)
#define CHUNK		(1UL << 14)

__thread int host_cpu;

struct block {
	struct block *next, *prev;
	struct block *child[2];
	struct block *older;
	unsigned long number[BLOCK_SIZE / sizeof(long) - 5];
};

/* One tree, one lock. */
struct plain {
	struct rb_node node;
	unsigned long addr;
	unsigned long size;
	unsigned int marked;
	struct plain *next_free;
};

static struct {
	raw_spinlock_t lock;
	struct rb_root root;
	struct plain *cells, *free;
	struct plain **stack;
	unsigned int epoch;
	unsigned long words;
} plain;

static struct block *blocks;
static unsigned long nr_blocks;
static unsigned long root_word;
static char *pool;
static struct kmt_core core;
static struct kmt_cell_cache caches[HOST_CPUS];

/* The operations, for both implementations. */
struct engine {
	const char *name;
	void (*insert)(unsigned long addr);
	void (*remove)(unsigned long addr);
	bool (*find)(unsigned long addr);
	unsigned long (*mark)(void);
};

static void plain_insert(unsigned long addr)
{
	struct rb_node **link, *parent = NULL;
	struct plain *o;

	raw_spin_lock(&plain.lock);
	o = plain.free;
	plain.free = o->next_free;
	o->addr = addr;
	o->size = BLOCK_SIZE;
	o->marked = 0;
	for (link = &plain.root.rb_node; *link; ) {
		parent = *link;
		link = addr < rb_entry(parent, struct plain, node)->addr ?
			&parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&o->node, parent, link);
	rb_insert_color(&o->node, &plain.root);
	raw_spin_unlock(&plain.lock);
}

static struct plain *plain_lookup(unsigned long addr)
{
	struct rb_node *node = plain.root.rb_node;

	while (node) {
		struct plain *o = rb_entry(node, struct plain, node);

		if (addr < o->addr)
			node = node->rb_left;
		else if (addr - o->addr >= o->size)
			node = node->rb_right;
		else
			return o;
	}
	return NULL;
}

static void plain_remove(unsigned long addr)
{
	struct plain *o;

	raw_spin_lock(&plain.lock);
	o = plain_lookup(addr);
	rb_erase(&o->node, &plain.root);
	o->next_free = plain.free;
	plain.free = o;
	raw_spin_unlock(&plain.lock);
}

static bool plain_find(unsigned long addr)
{
	bool found;

	raw_spin_lock(&plain.lock);
	found = plain_lookup(addr);
	raw_spin_unlock(&plain.lock);
	return found;
}

static void plain_word(unsigned long word, unsigned int *depth)
{
	const unsigned long lo = (unsigned long)blocks;
	struct plain *o;

	if (word - lo >= nr_blocks * BLOCK_SIZE)
		return;
	raw_spin_lock(&plain.lock);
	o = plain_lookup(word);
	if (o && o->marked != plain.epoch) {
		o->marked = plain.epoch;
		plain.stack[(*depth)++] = o;
	}
	raw_spin_unlock(&plain.lock);
}

static unsigned long plain_mark(void)
{
	unsigned long words = 1, i;
	unsigned int depth = 0;

	plain.epoch++;
	plain_word(root_word, &depth);
	while (depth) {
		const struct plain *o = plain.stack[--depth];
		const unsigned long *word = (const unsigned long *)o->addr;

		for (i = 0; i < o->size / sizeof(long); i++)
			plain_word(word[i], &depth);
		words += i;
	}
	return words;
}

static void core_insert(unsigned long addr)
{
	static const struct kmt_origin nobody;

	kmt_insert(&core, KMT_VIRT, addr, BLOCK_SIZE, 1, &nobody, GFP_KERNEL);
}

static void core_remove(unsigned long addr)
{
	kmt_free(&core, KMT_VIRT, addr);
}

static bool core_find(unsigned long addr)
{
	struct kmt_object o;

	return kmt_lookup(&core, KMT_VIRT, addr, &o);
}

static unsigned long core_mark(void)
{
	static unsigned long seen_cache[BIT(KMT_SEEN_SHIFT)];
	static struct kmt_mark_entry stack[STACK];
	static struct kmt_marker m;

	kmt_marker_init(&m, &core, stack, STACK, seen_cache);
	kmt_mark_begin(&m);
	kmt_mark_words(&m, &root_word, 1);
	kmt_mark_sweep(&m);
	kmt_mark_end(&m);
	return m.stats.words;
}

/* State of a second thread that shares a mark. */
static struct {
	struct kmt_marker m;
	struct kmt_team team;
	struct kmt_mark_entry stack[STACK];
	unsigned long seen_cache[BIT(KMT_SEEN_SHIFT)];
	pthread_t thread;
} help;

static void *help_thread(void *arg)
{
	host_cpu = 1;
	if (kmt_team_join(&help.team, &help.m))
		kmt_team_work(&help.m);
	return NULL;
}

static unsigned long core_mark_by_two(void)
{
	static unsigned long seen_cache[BIT(KMT_SEEN_SHIFT)];
	static struct kmt_mark_entry stack[STACK];
	static struct kmt_marker m;

	kmt_marker_init(&m, &core, stack, STACK, seen_cache);
	kmt_mark_begin(&m);
	memset(help.seen_cache, 0, sizeof(help.seen_cache));
	kmt_marker_join(&help.m, &m, help.stack, STACK, help.seen_cache);
	kmt_team_init(&help.team, &core);
	kmt_team_join(&help.team, &m);
	pthread_create(&help.thread, NULL, help_thread, NULL);
	kmt_mark_words(&m, &root_word, 1);
	kmt_team_work(&m);
	pthread_join(help.thread, NULL);
	kmt_mark_sweep(&m);
	kmt_mark_end(&m);
	return m.stats.words + help.m.stats.words;
}

static const struct engine engines[] = {
	{ "one tree", plain_insert, plain_remove, plain_find, plain_mark },
	{ "core", core_insert, core_remove, core_find, core_mark },
};

static void *chunk_alloc(struct kmt_core *c, gfp_t gfp, size_t *bytes)
{
	char *mem = pool;

	pool += CHUNK;
	*bytes = CHUNK;
	return mem;
}

static void wait(struct kmt_marker *m, unsigned int before)
{
	usleep(20);
}

static const struct kmt_ops ops = {
	.chunk_alloc = chunk_alloc, .wait = wait,
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static u64 next_random(u64 *state)
{
	u64 z = (*state += 0x9e3779b97f4a7c15ul);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
	return z ^ (z >> 27);
}

struct worker {
	pthread_t thread;
	const struct engine *e;
	int cpu;
	unsigned int of;
	double ns;
};

/* Frees and allocates again the blocks of this thread, in random order. */
static void *churn(void *arg)
{
	struct worker *w = arg;
	unsigned long share = nr_blocks / w->of, i;
	u64 seed = w->cpu;
	double since = now();

	host_cpu = w->cpu;
	for (i = 0; i < PAIRS; i++) {
		unsigned long n = w->cpu * share + next_random(&seed) % share;

		w->e->remove((unsigned long)&blocks[n]);
		w->e->insert((unsigned long)&blocks[n]);
	}
	w->ns = (now() - since) / PAIRS;
	return NULL;
}

static double pair_ns(const struct engine *e, unsigned int threads)
{
	struct worker w[HOST_CPUS];
	double sum = 0;
	unsigned int i;

	for (i = 0; i < threads; i++) {
		w[i] = (struct worker){ .e = e, .cpu = i, .of = threads };
		pthread_create(&w[i].thread, NULL, churn, &w[i]);
	}
	for (i = 0; i < threads; i++) {
		pthread_join(w[i].thread, NULL);
		sum += w[i].ns;
	}
	return sum / threads;
}

static double find_ns(const struct engine *e)
{
	unsigned long i, found = 0;
	double since = now();
	u64 seed = 1;

	for (i = 0; i < FINDS; i++)
		found += e->find((unsigned long)blocks +
				 next_random(&seed) % (nr_blocks * BLOCK_SIZE));
	assert(found == FINDS);
	return (now() - since) / FINDS;
}

static double word_ns(unsigned long (*mark)(void))
{
	unsigned long words = 0, least = nr_blocks * (BLOCK_SIZE / sizeof(long));
	double since;

	mark();
	since = now();
	do {
		unsigned long nr = mark();

		assert(nr >= least);
		words += nr;
	} while (words < WORDS);
	return (now() - since) / words;
}

static void link_blocks(void)
{
	unsigned long i, k;

	for (i = 0; i < nr_blocks; i++) {
		struct block *b = &blocks[i];

		b->next = &blocks[(i + nr_blocks - 1) % nr_blocks];
		b->prev = &blocks[(i + 1) % nr_blocks];
		b->child[0] = b;
		b->child[1] = b;
		b->older = &blocks[i ? i - 1 - (i > 1 && i % 4) : 0];
		for (k = 0; k < ARRAY_SIZE(b->number); k++)
			b->number[k] = i * k;
	}
	root_word = (unsigned long)&blocks[nr_blocks - 1];
}

static void link_as_tree(void)
{
	unsigned long i;

	for (i = 0; i < nr_blocks; i++) {
		struct block *b = &blocks[i];

		b->next = NULL;
		b->prev = NULL;
		b->older = NULL;
		b->child[0] = 2 * i + 1 < nr_blocks ? &blocks[2 * i + 1] : NULL;
		b->child[1] = 2 * i + 2 < nr_blocks ? &blocks[2 * i + 2] : NULL;
	}
	root_word = (unsigned long)blocks;
}

static void set_up(void)
{
	struct kmt_range linear;
	struct kmt_tree *shards;
	unsigned long i, regions;

	blocks = map(nr_blocks * sizeof(*blocks) + (1UL << KMT_REGION_SHIFT));
	blocks = (void *)ALIGN((unsigned long)blocks, 1UL << KMT_REGION_SHIFT);
	link_blocks();

	memset(&plain, 0, sizeof(plain));
	plain.cells = map((nr_blocks + 1) * sizeof(*plain.cells));
	plain.stack = map((nr_blocks + 1) * sizeof(*plain.stack));
	for (i = 0; i <= nr_blocks; i++) {
		plain.cells[i].next_free = plain.free;
		plain.free = &plain.cells[i];
	}

	/* Touch the memory, so that page faults are not measured. */
	pool = map(2 * nr_blocks * sizeof(struct kmt_object) + 64 * CHUNK);
	memset(pool, 0, 2 * nr_blocks * sizeof(struct kmt_object) + 64 * CHUNK);
	memset(&core, 0, sizeof(core));
	memset(caches, 0, sizeof(caches));
	linear.lo = (unsigned long)blocks;
	linear.hi = linear.lo + ALIGN(nr_blocks * sizeof(*blocks),
				      1UL << KMT_REGION_SHIFT);
	regions = (linear.hi - linear.lo) >> KMT_REGION_SHIFT;
	shards = map(2 * roundup_pow_of_two(regions) * sizeof(*shards));
	kmt_core_init(&core, &ops, shards, 1, caches, HOST_CPUS);
	kmt_index_resize(&core, &linear, shards + 1,
			 roundup_pow_of_two(regions));
	for (i = 0; i < HOST_CPUS; i++)
		caches[i].recent_cells = map(KMT_RECENT_CELLS * sizeof(*caches[i].recent_cells));
}

static void row(const char *what, const double ns[2])
{
	printf("%10lu  %-28s %10.1f %10.1f %8.3f\n", nr_blocks, what, ns[0],
	       ns[1], ns[1] / ns[0]);
}

/* The same mark by one thread and by two, of blocks in a tree. */
static void compare_marks(void)
{
	double ns[2];

	link_as_tree();
	ns[0] = word_ns(core_mark);
	ns[1] = word_ns(core_mark_by_two);
	printf("%10lu  %-28s %10.1f %10.1f %8.3f\n", nr_blocks,
	       "core: mark, 1 and 2 threads", ns[0], ns[1], ns[1] / ns[0]);
}

static void compare(void)
{
	double insert[2], find[2], word[2], one[2], two[2];
	unsigned long i;
	int k;

	set_up();
	for (k = 0; k < 2; k++) {
		const struct engine *e = &engines[k];
		double since = now();

		for (i = 0; i < nr_blocks; i++)
			e->insert((unsigned long)&blocks[i]);
		insert[k] = (now() - since) / nr_blocks;
		find[k] = find_ns(e);
		word[k] = word_ns(e->mark);
		one[k] = pair_ns(e, 1);
		two[k] = pair_ns(e, 2);
	}
	row("insert, in order", insert);
	row("find, at random", find);
	row("mark, per word", word);
	row("free and insert, 1 thread", one);
	row("free and insert, 2 threads", two);
	compare_marks();
}

/*
 * Memory of 1 TiB in two banks, 4 TiB apart, with small blocks all over it, and blocks of
 * 128 KiB. The contents of blocks are not read.
 */
#define SPARSE_BANK	(1UL << 39)
#define SPARSE_APART	(1UL << 42)
#define SPARSE_BLOCKS	1000000UL
#define SPARSE_WIDE	100000UL
#define SPARSE_LO	0xffff000000000000UL

static const struct kmt_range banks[] = {
	{ SPARSE_LO, SPARSE_LO + SPARSE_BANK },
	{ SPARSE_LO + SPARSE_APART, SPARSE_LO + SPARSE_APART + SPARSE_BANK },
};

/* The last MiB of each bank is left out. */
static unsigned long sparse_addr(u64 *seed, unsigned long align)
{
	unsigned long at = next_random(seed) % (SPARSE_BANK - (1UL << 20));

	return ALIGN_DOWN(banks[next_random(seed) % 2].lo + at, align);
}

/* Runs the core with @nr_shards; prints the time of a free and an allocation. */
static void sparse(unsigned long nr_shards, bool folded)
{
	const struct kmt_range linear = { banks[0].lo, banks[1].hi };
	struct kmt_tree *shards = map((nr_shards + 1) * sizeof(*shards));
	unsigned long *at = map(SPARSE_BLOCKS * sizeof(*at)), i, wide = 0;
	u64 seed = 1;
	double since;

	pool = map(4 * SPARSE_BLOCKS * sizeof(struct kmt_object));
	memset(pool, 0, 4 * SPARSE_BLOCKS * sizeof(struct kmt_object));
	memset(&core, 0, sizeof(core));
	memset(caches, 0, sizeof(caches));
	kmt_core_init(&core, &ops, shards, 1, caches, HOST_CPUS);
	if (folded)
		core.fold = kmt_index_fold(banks, ARRAY_SIZE(banks), nr_shards);
	kmt_index_resize(&core, &linear, shards + 1, nr_shards);
	for (i = 0; i < HOST_CPUS; i++)
		caches[i].recent_cells = map(KMT_RECENT_CELLS * sizeof(*caches[i].recent_cells));
	for (i = 0; i < SPARSE_BLOCKS; i++) {
		unsigned long bytes = i < SPARSE_WIDE ? 128 * 1024 : BLOCK_SIZE;
		struct kmt_origin origin = {};

		at[i] = sparse_addr(&seed, bytes);
		kmt_insert(&core, KMT_VIRT, at[i], bytes, 1, &origin,
			   GFP_KERNEL);
	}
	for (i = SPARSE_WIDE; i < SPARSE_BLOCKS; i++)
		wide += !!kmt_shard_of(&core, at[i])->wide;
	since = now();
	for (i = 0; i < PAIRS; i++) {
		unsigned long n = SPARSE_WIDE + next_random(&seed) %
				  (SPARSE_BLOCKS - SPARSE_WIDE);

		core_remove(at[n]);
		core_insert(at[n]);
	}
	printf("%10lu  %-28s %10.1f ns, %5.1f %% with the common lock\n",
	       nr_shards, folded ? "shards, table folded" : "shards",
	       (now() - since) / PAIRS,
	       100.0 * wide / (SPARSE_BLOCKS - SPARSE_WIDE));
}

int main(int argc, char **argv)
{
	unsigned long most = argc > 1 ? strtoul(argv[1], NULL, 0) : 10000000;

	printf("%10s  %-28s %10s %10s %8s\n", "blocks", "nanoseconds", "one tree",
	       "core", "ratio");
	for (nr_blocks = 1000; nr_blocks <= most; nr_blocks *= 10)
		compare();
	printf("\n1 TiB in two banks, 1,000,000 blocks; free and insert at random\n");
	sparse(1UL << 17, false);
	sparse(1UL << 24, false);
	sparse(1UL << 24, true);
	return 0;
}
