/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A simulated machine with a tracker in it.
 *
 * Tests use kernel addresses in the segments below, whose memory are ordinary buffers.
 * With AddressSanitizer the memory of a segment is poisoned until sim_own() and after
 * sim_disown(), so that it detects a marker that reads freed memory. Pages can be
 * unmapped; reads of them fail.
 */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "mark_parallel.h"

#define SIM_PAGE	4096ul

/* Bytes of a word. */
#define W		sizeof(long)
/*
 * An offset in a block to which an unaligned word may refer: with 32 bits only 0, and the
 * block must not begin at a page; see KMT_ODD_MIN.
 */
#define SIM_ODD(n)	(W == 8 ? (n) : 0)

/* Segments. The linear map is cut into regions of 64 KiB by the tracker. */
#ifdef __LP64__
#define SIM_LINEAR	0xffff000000000000ul
#define SIM_VMALLOC	0xffff800010000000ul
#define SIM_IMAGE	0xffff800008000000ul
#define SIM_PERCPU_FAR	0x0000600000000000ul
#define SIM_COPIES	0xffff900000000000ul
#else
#define SIM_LINEAR	0xc0000000ul
#define SIM_VMALLOC	0xf0800000ul
#define SIM_IMAGE	0xbf000000ul
#define SIM_PERCPU_FAR	0x60000000ul
#define SIM_COPIES	0xe0000000ul
#endif
#define SIM_LINEAR_LEN	(4ul << 20)
#define SIM_VMALLOC_LEN	(1ul << 20)
#define SIM_IMAGE_LEN	(1ul << 16)
/*
 * Per-CPU pointers: those of the first chunk are small numbers, as on x86-64. The copies
 * of all CPUs are adjacent, for each chunk.
 */
#define SIM_PERCPU	0x00020000ul
#define SIM_PERCPU_LEN	(1ul << 16)
/* Physical memory: the linear map. */
#define SIM_PHYS	0x0000000040000000ul

#define SIM_SHARDS	16
#define SIM_EVENTS	64

/* Limit of the markers of a snapshot. */
#define SIM_MARKERS	4
/* Limit of the helpers of a mark. */
#define SIM_HELPERS	3
/* Bits of the filter. */
#define SIM_BITS	256

/* Limit of the references that are written late, see sim_put_late(). */
#define SIM_LATE	16

/* Phases of such a scan, at which tests can intervene. */
enum sim_phase {
	SIM_MARKED,	/* the concurrent mark is complete */
	SIM_SUSPECTED,	/* suspects are determined, and blocks are summed up */
	SIM_STOPPED,	/* all CPUs run again */
	SIM_SORTED,	/* unaligned references were searched for */
	SIM_SEARCHED,	/* before SIM_SUSPECTED, if there was a search */
};

struct sim {
	struct kmt_core core;
	struct kmt_tree shards[SIM_SHARDS];
	struct kmt_cell_cache caches[HOST_CPUS];
	struct kmt_object *recent_cells[HOST_CPUS][KMT_RECENT_CELLS];
	struct kmt_marker m;
	struct kmt_verdict v;
	struct kmt_mark_entry *stack;
	unsigned long seen_cache[1 << KMT_SEEN_SHIFT];

	/* Pool memory: cells in a chunk, chunks that can still be allocated. */
	unsigned int chunk_cells;
	unsigned int chunks_left;
	/* Chunks that are allocated from now on are never given back. */
	bool chunks_stay;
	void *chunks[1024];
	unsigned int nr_chunks;
	unsigned int lows;

	/* The last warning. */
	unsigned int warned;
	enum kmt_event warned_ev;
	struct kmt_object warned_old;
	struct kmt_object warned_new;

	/* Records with scan areas are the owner's, which others may replace. */
	bool replaceable;
	/* Called with each warning. */
	void (*on_warn)(struct sim *s, enum kmt_event ev,
			const struct kmt_object *old,
			const struct kmt_object *new);
	/* How many blocks a test inserts others over; sim_delete() checks it. */
	unsigned long overlaps;

	/* Called when the pool asks for memory. */
	void (*on_chunk)(struct sim *s);
	/* Called before each piece that is read, and between steps. */
	void (*on_read)(struct sim *s, unsigned long src, size_t len);
	bool (*on_relax)(struct sim *s);
	void *priv;
	/* Call relax() as often as possible. */
	bool fine;
	/* All roots are read before their references are followed. */
	bool later;

	/* The time, in jiffies, which tests set. */
	u32 now;
	/* Tables of the tracker: refuse to allocate them; how many it has. */
	bool no_tables;
	int tables;
	/* The first indirect leaks, with the leaks that they hang on; how many. */
	struct kmt_rank ranks[64];
	unsigned long nr_ranks;

	/* Reads additional roots; calls kmt_take_unit() for each unit. */
	void (*more_roots)(struct sim *s, struct kmt_marker *m);

	/* How many markers help with a mark, on threads of their own. */
	unsigned int helpers;
	unsigned long helped;

	/* Snapshots: settings, callbacks, results. */
	struct kmt_filter filter;
	unsigned long filter_bits[SIM_BITS / (8 * sizeof(long))];
	u8 filter_pages[KMT_FILTER_PAGES];
	struct kmt_marker stop_marker[SIM_MARKERS];
	unsigned int markers;
	unsigned int stop_stack;
	bool parallel;
	void (*on_phase)(struct sim *s, enum sim_phase phase);
	/* Words that are written in this phase, and a callback, once. */
	enum sim_phase late_phase;
	unsigned long late[SIM_LATE][2];
	unsigned int nr_late;
	void (*then)(struct sim *s);
	unsigned long suspects;
	unsigned long sought;
	unsigned long left;
	bool rest;
};

extern struct sim *the_sim;

/* The number in the environment variable @name; @otherwise if it is not set. */
unsigned long sim_env(const char *name, unsigned long otherwise);

u32 sim_trace_order(u32 trace);

/* Creates a machine with @chunks chunks of @cells cells, and a mark stack of @stack. */
struct sim *sim_new(unsigned int cells, unsigned int chunks,
		    unsigned int stack);
void sim_delete(struct sim *s);

/* Sets whether CPUs remember cells, as they do at first. */
void sim_remember(struct sim *s, bool remember);

/* Makes free cells of all vacant records. */
void sim_reap_all(struct sim *s);

/* cmocka's setup and teardown: 63 cells per chunk, plenty of chunks. */
int sim_setup(void **state);
int sim_teardown(void **state);

/* Memory. */
void *sim_host(unsigned long addr);
void sim_own(unsigned long addr, size_t len);
void sim_disown(unsigned long addr, size_t len);
void sim_map(unsigned long addr, size_t len, bool mapped);
bool sim_mapped(unsigned long addr);
unsigned long sim_get(unsigned long addr);
void sim_put(unsigned long addr, unsigned long word);

/* Calls of hooks, as by an allocator; a failure fails the test. */
void sim_alloc(struct sim *s, unsigned long addr, unsigned long size);
void sim_alloc_min(struct sim *s, unsigned long addr, unsigned long size,
		   u8 min);
void sim_free(struct sim *s, unsigned long addr, unsigned long size);
int sim_insert(struct sim *s, enum kmt_space space, unsigned long addr,
	       unsigned long size, u8 min);
long sim_events(struct sim *s, enum kmt_event ev);
bool sim_tracked(struct sim *s, unsigned long addr);
struct kmt_object sim_object(struct sim *s, enum kmt_space space,
			     unsigned long addr);

/* One mark from the root words at [@lo, @hi), and a whole scan of two. */
void sim_mark(struct sim *s, unsigned long lo, unsigned long hi);
void sim_scan(struct sim *s, unsigned long lo, unsigned long hi);
bool sim_white(struct sim *s, unsigned long addr);
bool sim_leak(struct sim *s, unsigned long addr);
bool sim_indirect(struct sim *s, unsigned long addr);

/* sim_team.c: marking from the roots, with or without helpers */
void sim_mark_roots(struct sim *s, unsigned long lo, unsigned long hi);

/* sim_snapshot.c: one mark and a snapshot */
void sim_roots(struct sim *s, struct kmt_marker *m, unsigned long lo,
	       unsigned long hi);
bool sim_stop(struct sim *s, unsigned long lo, unsigned long hi);
bool sim_confirm(struct sim *s, unsigned long lo, unsigned long hi);
bool sim_snapshot(struct sim *s, unsigned long lo, unsigned long hi);
void sim_put_late(struct sim *s, unsigned long addr, unsigned long word);

/* check.c: checks all invariants of object.h and core.h; a violation fails the test */
unsigned long check_core(struct sim *s);

/* A random number generator with the same results on all machines. */
static inline u64 sim_random(u64 *state)
{
	u64 z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* The root words of most tests: the image's. */
#define ROOT(n)		(SIM_IMAGE + W * (n))
/* Blocks of most tests: in the linear map, at least two per region. */
#define BLOCK(n)	(SIM_LINEAR + 0x1000ul * (n))

#endif /* SIM_H */
