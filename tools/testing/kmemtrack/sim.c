// SPDX-License-Identifier: GPL-2.0
#include <pthread.h>
#include <sched.h>

#include "sim.h"

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif
#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)		((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n)	((void)(p), (void)(n))
#endif

struct sim *the_sim;

struct segment {
	unsigned long start;
	unsigned long len;
	char *mem;
	bool *gone;
	bool *dirty;
	bool poisoned;
};

static struct segment segments[] = {
	{ .start = SIM_LINEAR, .len = SIM_LINEAR_LEN, .poisoned = true },
	{ .start = SIM_VMALLOC, .len = SIM_VMALLOC_LEN, .poisoned = true },
	{ .start = SIM_IMAGE, .len = SIM_IMAGE_LEN },
	{ .start = SIM_COPIES, .len = SIM_PERCPU_LEN * HOST_CPUS },
};

static struct segment *segment_of(unsigned long addr)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(segments); i++)
		if (addr - segments[i].start < segments[i].len)
			return &segments[i];
	return NULL;
}

void *sim_host(unsigned long addr)
{
	struct segment *seg = segment_of(addr);

	assert(seg);
	return seg->mem + (addr - seg->start);
}

/* Notes pages that differ from their state after init_segments(). */
static void soil(unsigned long addr, size_t len)
{
	struct segment *seg = segment_of(addr);
	unsigned long page = (addr - seg->start) / SIM_PAGE;

	for (; page * SIM_PAGE < addr - seg->start + len; page++)
		WRITE_ONCE(seg->dirty[page], true);
}

void sim_own(unsigned long addr, size_t len)
{
	soil(addr, len);
	ASAN_UNPOISON_MEMORY_REGION(sim_host(addr), len);
}

void sim_disown(unsigned long addr, size_t len)
{
	ASAN_POISON_MEMORY_REGION(sim_host(addr), ALIGN(len, 8));
}

void sim_map(unsigned long addr, size_t len, bool mapped)
{
	struct segment *seg = segment_of(addr);
	unsigned long page = (addr - seg->start) / SIM_PAGE;

	for (; page * SIM_PAGE < addr - seg->start + len; page++)
		seg->gone[page] = !mapped;
}

bool sim_mapped(unsigned long addr)
{
	struct segment *seg = segment_of(addr);

	return seg && !seg->gone[(addr - seg->start) / SIM_PAGE];
}

unsigned long sim_get(unsigned long addr)
{
	return READ_ONCE(*(unsigned long *)sim_host(addr));
}

void sim_put(unsigned long addr, unsigned long word)
{
	soil(addr, sizeof(word));
	WRITE_ONCE(*(unsigned long *)sim_host(addr), word);
}

/* The environment of the core (env.h). */

bool kmt_env_read(void *dst, unsigned long src, size_t len)
{
	unsigned long *to = dst, *from, i;

	assert(len && len <= KMT_PIECE_WORDS * sizeof(long));
	assert(!((src | len) & (sizeof(long) - 1)));
	assert(src / SIM_PAGE == (src + len - 1) / SIM_PAGE);
	host_count_read(len / sizeof(long));
	if (the_sim->on_read)
		the_sim->on_read(the_sim, src, len);
	if (!sim_mapped(src))
		return false;
	from = sim_host(src);
	for (i = 0; i < len / sizeof(long); i++)
		to[i] = READ_ONCE(from[i]);
	return true;
}

const unsigned long *kmt_env_map(unsigned long addr)
{
	assert(!(addr & (sizeof(long) - 1)));
	if (the_sim->on_read)
		the_sim->on_read(the_sim, addr, sizeof(long));
	return sim_mapped(addr) ? sim_host(addr) : NULL;
}

unsigned long kmt_env_percpu(unsigned long ptr, int cpu)
{
	return ptr % SIM_PERCPU_LEN + SIM_COPIES + cpu * SIM_PERCPU_LEN;
}

unsigned long kmt_env_phys(unsigned long phys)
{
	return phys - SIM_PHYS + SIM_LINEAR;
}

/* The owner of the tracker. */

static void *sim_chunk_alloc(struct kmt_core *core, gfp_t gfp, size_t *bytes)
{
	struct sim *s = container_of(core, struct sim, core);
	unsigned int left = READ_ONCE(s->chunks_left);
	unsigned int nr;
	void *mem;

	assert(!host_locks_held() && !host_irqs_off());
	if (s->on_chunk)
		s->on_chunk(s);
	do {
		if (!left)
			return NULL;
	} while (!__atomic_compare_exchange_n(&s->chunks_left, &left, left - 1,
					      false, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	*bytes = kmt_chunk_bytes(s->chunk_cells);
	if (posix_memalign(&mem, PAGE_SIZE, *bytes))
		assert(false);
	/* The pool must not rely on zeroed memory. */
	memset(mem, 0xa5, *bytes);
	nr = __atomic_fetch_add(&s->nr_chunks, 1, __ATOMIC_RELAXED);
	assert(nr < ARRAY_SIZE(s->chunks));
	s->chunks[nr] = mem;
	return mem;
}

static bool sim_chunk_stays(const void *mem)
{
	return the_sim->chunks_stay;
}

static void sim_low(struct kmt_core *core)
{
	struct sim *s = container_of(core, struct sim, core);

	assert(host_locks_held() <= 1 && host_irqs_off());
	__atomic_fetch_add(&s->lows, 1, __ATOMIC_RELAXED);
}

static void sim_warn(struct kmt_core *core, enum kmt_event ev,
		     const struct kmt_object *old, const struct kmt_object *new)
{
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	struct sim *s = container_of(core, struct sim, core);

	assert(!host_locks_held() && !host_irqs_off());
	pthread_mutex_lock(&one_at_a_time);
	s->warned++;
	s->warned_ev = ev;
	if (old)
		s->warned_old = *old;
	if (new)
		s->warned_new = *new;
	if (s->on_warn)
		s->on_warn(s, ev, old, new);
	pthread_mutex_unlock(&one_at_a_time);
}

static bool sim_replaced(struct kmt_core *core, const struct kmt_object *old)
{
	struct sim *s = container_of(core, struct sim, core);

	assert(!host_locks_held() && !host_irqs_off());
	return s->replaceable && (old->flags & KMT_AREAS);
}

static bool sim_relax(struct kmt_marker *m)
{
	struct sim *s = container_of(m->core, struct sim, core);

	assert(!host_locks_held() && !host_irqs_off());
	host_cond_resched(GFP_KERNEL);
	if (s->fine)
		m->budget = 0;
	return s->on_relax ? s->on_relax(s) : false;
}

static void sim_wait(struct kmt_marker *m, unsigned int before)
{
	assert(!host_locks_held() && !host_irqs_off());
	sched_yield();
}

static void *sim_table_alloc(struct kmt_core *core, size_t bytes)
{
	struct sim *s = container_of(core, struct sim, core);

	assert(!host_locks_held() && !host_irqs_off());
	if (s->no_tables)
		return NULL;
	s->tables++;
	return malloc(bytes);
}

static void sim_table_free(struct kmt_core *core, void *table, size_t bytes)
{
	struct sim *s = container_of(core, struct sim, core);

	assert(!host_locks_held() && !host_irqs_off());
	s->tables--;
	free(table);
}

static void sim_classified(struct kmt_core *core, const struct kmt_rank *rank,
			   unsigned long nr)
{
	struct sim *s = container_of(core, struct sim, core);
	unsigned long i;

	assert(!host_locks_held() && !host_irqs_off());
	for (i = 1; i < nr; i++)
		assert(rank[i - 1].o < rank[i].o);
	s->nr_ranks = nr;
	for (i = 0; i < min_t(unsigned long, nr, ARRAY_SIZE(s->ranks)); i++)
		s->ranks[i] = rank[i];
}

/* Traces were kept in the order of their numbers. */
u32 sim_trace_order(u32 trace)
{
	return trace % BIT(KMT_TRACE_ORDER_BITS);
}

static const struct kmt_ops sim_ops = {
	.chunk_alloc	= sim_chunk_alloc,
	.chunk_stays	= sim_chunk_stays,
	.low		= sim_low,
	.warn		= sim_warn,
	.replaced	= sim_replaced,
	.relax		= sim_relax,
	.wait		= sim_wait,
	.trace_order	= sim_trace_order,
	.table_alloc	= sim_table_alloc,
	.table_free	= sim_table_free,
	.classified	= sim_classified,
};

static void init_segment(struct segment *seg)
{
	unsigned long page, nr = seg->len / SIM_PAGE;

	if (!seg->mem) {
		seg->mem = aligned_alloc(SIM_PAGE, seg->len);
		seg->gone = calloc(nr, sizeof(bool));
		seg->dirty = malloc(nr);
		assert(seg->mem && seg->gone && seg->dirty);
		memset(seg->dirty, true, nr);
	}
	for (page = 0; page < nr; page++) {
		char *mem = seg->mem + page * SIM_PAGE;

		if (!seg->dirty[page])
			continue;
		ASAN_UNPOISON_MEMORY_REGION(mem, SIM_PAGE);
		memset(mem, 0, SIM_PAGE);
		if (seg->poisoned)
			ASAN_POISON_MEMORY_REGION(mem, SIM_PAGE);
	}
	memset(seg->gone, false, nr);
	memset(seg->dirty, false, nr);
}

static void init_segments(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(segments); i++)
		init_segment(&segments[i]);
}

unsigned long sim_env(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

void sim_remember(struct sim *s, bool remember)
{
	int cpu;

	for_each_possible_cpu(cpu)
		s->caches[cpu].recent_cells = remember ? s->recent_cells[cpu] : NULL;
}

struct sim *sim_new(unsigned int cells, unsigned int chunks, unsigned int stack)
{
	struct sim *s = calloc(1, sizeof(*s));
	int i;

	assert(s);
	init_segments();
	s->chunk_cells = cells;
	s->chunks_left = chunks;
	s->now = 10000;
	s->late_phase = SIM_SUSPECTED;
	s->filter.odd = true;
	s->filter.bits = s->filter_bits;
	s->filter.mask = SIM_BITS - 1;
	s->filter.pages = s->filter_pages;
	s->markers = 1;
	s->stop_stack = stack;
	s->stack = malloc(stack * sizeof(*s->stack));
	kmt_core_init(&s->core, &sim_ops, s->shards, SIM_SHARDS, s->caches,
		      HOST_CPUS);
	for (i = 0; i < SIM_SHARDS; i++)
		s->shards[i].lock.rank = 1;
	for (i = 0; i < KMT_NR_SPACES; i++)
		s->core.wide[i].lock.rank = 1;
	for (i = 0; i < KMT_AUX_TREES; i++)
		s->core.aux[i].lock.rank = 2;
	s->core.pool.lock.rank = 3;
	sim_remember(s, true);
	s->core.linear = (struct kmt_range){ SIM_LINEAR,
					     SIM_LINEAR + SIM_LINEAR_LEN };
	s->core.skip = (struct kmt_range){ SIM_IMAGE,
					   SIM_IMAGE + SIM_IMAGE_LEN };
	kmt_marker_init(&s->m, &s->core, s->stack, stack, s->seen_cache);
	the_sim = s;
	return s;
}

void sim_delete(struct sim *s)
{
	const unsigned long overlaps = sim_events(s, KMT_EV_OVERLAP);
	const unsigned long expected = s->overlaps;

	while (s->nr_chunks)
		free(s->chunks[--s->nr_chunks]);
	free(s->stack);
	free(s);
	the_sim = NULL;
	/* Each test sets how many blocks it inserts over others. */
	assert_int_equal(overlaps, expected);
}

void sim_reap_all(struct sim *s)
{
	struct kmt_chunk *chunk;

	kmt_for_each_chunk(&s->core, chunk) {
		kmt_reclaim_chunk(&s->core, chunk);
		kmt_env_cond_resched(GFP_KERNEL);
	}
}

int sim_setup(void **state)
{
	*state = sim_new(63, 1000, 256);
	return 0;
}

int sim_teardown(void **state)
{
	check_core(*state);
	sim_delete(*state);
	return 0;
}

int sim_insert(struct sim *s, enum kmt_space space, unsigned long addr,
	       unsigned long size, u8 min)
{
	struct kmt_origin origin = {
		.trace = addr >> 4,
		.pid_slack = 42,
		.born = READ_ONCE(s->now),
		.comm = 7,
	};

	return kmt_insert(&s->core, space, addr, size, min, &origin,
			  GFP_KERNEL);
}

void sim_alloc_min(struct sim *s, unsigned long addr, unsigned long size,
		   u8 min)
{
	sim_own(addr, size);
	assert_int_equal(sim_insert(s, KMT_VIRT, addr, size, min), 0);
	memset(sim_host(addr), 0, size);
}

void sim_alloc(struct sim *s, unsigned long addr, unsigned long size)
{
	sim_alloc_min(s, addr, size, 1);
}

void sim_free(struct sim *s, unsigned long addr, unsigned long size)
{
	assert_true(kmt_free(&s->core, KMT_VIRT, addr));
	sim_disown(addr, size);
}

long sim_events(struct sim *s, enum kmt_event ev)
{
	return atomic_long_read(&s->core.events[ev]);
}

struct kmt_object sim_object(struct sim *s, enum kmt_space space,
			     unsigned long addr)
{
	struct kmt_object copy = {};

	assert_true(kmt_lookup(&s->core, space, addr, &copy));
	return copy;
}

bool sim_tracked(struct sim *s, unsigned long addr)
{
	struct kmt_object copy;

	return kmt_lookup(&s->core, KMT_VIRT, addr, &copy);
}

void sim_mark(struct sim *s, unsigned long lo, unsigned long hi)
{
	if (s->fine)
		s->m.budget = 0;
	kmt_mark_begin(&s->m);
	sim_mark_roots(s, lo, hi);
	kmt_mark_sweep(&s->m);
}

void sim_scan(struct sim *s, unsigned long lo, unsigned long hi)
{
	sim_mark(s, lo, hi);
	kmt_suspect_for_wait(&s->m, &s->v);
	kmt_mark_end(&s->m);
	WRITE_ONCE(s->now, s->now + 1000);
	sim_mark(s, lo, hi);
	kmt_mark_doubtful(&s->m, s->now, 1000);
	kmt_judge(&s->m, &s->v);
	kmt_classify(&s->m, s->v.leaks, s->now);
	kmt_mark_end(&s->m);
}

bool sim_white(struct sim *s, unsigned long addr)
{
	struct kmt_object o = sim_object(s, KMT_VIRT, addr);

	return !kmt_reached(&o, s->core.epoch);
}

bool sim_leak(struct sim *s, unsigned long addr)
{
	return sim_object(s, KMT_VIRT, addr).flags & KMT_LEAK;
}

bool sim_indirect(struct sim *s, unsigned long addr)
{
	return sim_object(s, KMT_VIRT, addr).flags & KMT_INDIRECT;
}
