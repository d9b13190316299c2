/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The naive oracle: a list of blocks, all of which are compared with each word. It knows
 * the calls that the tracker got, and never uses the tracker's answers.
 *
 * Some answers depend on the order in which the tracker reads memory and visits its
 * cells, which the oracle does not know. So it computes two fates of each block: in the
 * first only references count that count in any order, in the second all references that
 * count in some order. More references never make fewer blocks reached, so the tracker's
 * answer is between the two. If both fates are the same, the tracker must agree. If they
 * differ, the verdict is undecided: it is counted, it must be one of the two, and the
 * block is freed after the scan, so that the next scan starts from a known state.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include "sim.h"

#define MAX_BLOCKS	160
#define MAX_AREAS	4
#define ROOT_WORDS	64

/* Which references count for a fate. */
enum bound {
	FEWEST,			/* those that count in any order */
	MOST,			/* those that count in some order */
	NR_BOUNDS,
};

/* Result of the scans for a block, and of the current mark. */
struct fate {
	bool suspect;
	bool leak;
	bool fresh;
	bool transient;
	bool reached;
	unsigned int count;
};

struct block {
	bool used;
	bool lost;		/* no cell for it: a root, never reported */
	bool evicted;		/* the tracker reported that it dropped it as stale */
	bool open;		/* the verdict of this scan is undecided */
	enum kmt_space space;
	unsigned long addr;
	unsigned long size;
	u32 born;
	u8 min;
	bool no_scan;
	bool stack;
	bool whole;
	unsigned int nr_areas;
	struct kmt_range areas[MAX_AREAS];
	bool aliased;
	unsigned long alias;
	u32 crc;
	/* block_sum() when it was cleared. */
	u32 cleared;
	/* Outside of scans both are equal, except for the counts. */
	struct fate fate[NR_BOUNDS];
};

struct model {
	struct sim *s;
	struct block b[MAX_BLOCKS];
	struct block *todo[MAX_BLOCKS];
	unsigned int nr_todo;
	/* The fate that is being computed. */
	enum bound bound;
	/* Only references to suspects count; unaligned ones count, too. */
	bool only_suspects;
	bool bytes;
	/* Only references to blocks that are not younger than this count. */
	bool dated;
	u32 date;
	/* Blocks were summed up: they are searched at all addresses at once. */
	bool sums;
	/* A search while all CPUs run. */
	bool search;
	/* A mark is under way: new blocks count as reached. */
	bool marking;
	/* Hull of all blocks of KMT_VIRT so far; and at the beginning of the mark. */
	struct kmt_range ever;
	struct kmt_range hull;
	/* Called at each phase of a snapshot. */
	void (*during)(void *arg, enum sim_phase phase);
	void *arg;
	/* Expected counters of the tracker. */
	long events[KMT_NR_EVENTS];
	unsigned long scans;
	unsigned long leaks;
	unsigned long indirect;
	/* When leaks were classified last. */
	u32 classified;
	/* Verdicts on blocks that may be leaks; how many are undecided. */
	unsigned long verdicts;
	unsigned long open;
	/* Reference counts that were compared; how many have a range only. */
	unsigned long counts;
	unsigned long open_counts;
	/* Requests for a cell; how many are undecided. */
	unsigned long cells;
	unsigned long open_cells;
	/* Numbers of the last snapshot, and of all snapshots. */
	unsigned long suspects[NR_BOUNDS];
	unsigned long sought[NR_BOUNDS];
	unsigned long left[NR_BOUNDS];
	unsigned long snapshots;
	unsigned long found;
	unsigned long forgiven;
	unsigned long unaligned;
};

/* Limit of the ranges of a block. */
#define MAX_RANGES	HOST_CPUS

/* Fails the test, or the fuzzer's run. */
#define AGREE(c) do {							\
		if (!(c))						\
			oracle_fail(__FILE__, __LINE__, #c);		\
	} while (0)

#define for_each_bound(m) \
	for ((m)->bound = FEWEST; (m)->bound < NR_BOUNDS; (m)->bound++)

void oracle_fail(const char *file, int line, const char *what);

bool block_judged(const struct block *b);
/* Whether a block is reached by the references of @bound so far. */
bool block_reached(const struct block *b, enum bound bound);
/* Whether the block can hold references. */
bool block_read(const struct block *b);
/* Makes a block neither suspect nor reported. */
void block_pardon(struct block *b);
void fate_acquit(struct fate *f);
/* Checksum of the block's words; leading words of zero do not change it. */
u32 block_sum(const struct block *b);
unsigned int block_ranges(const struct block *b, struct kmt_range *ranges);
/* Allows or forbids reads of its memory. */
void block_own(const struct block *b, bool owned);
void block_forget(struct block *b);

struct block *oracle_each(struct model *m, struct block *b);
struct block *oracle_find(struct model *m, enum kmt_space space,
			  unsigned long addr);
/* The tracker's record of a block, which must exist. */
struct kmt_object oracle_look(struct model *m, const struct block *b);
/* Calls @fn for each word that can be read in @b. */
void oracle_words(const struct block *b,
		  void (*fn)(void *arg, unsigned long word), void *arg);
/* Whether the tracker has exactly the blocks it should have. */
void oracle_compare(struct model *m);

/* oracle_mark.c: marking from the roots, in the order of the list */
void oracle_mark(struct model *m);
void oracle_reach(struct model *m, struct block *b);
/* Reads all reached blocks except suspects, for references to suspects. */
void oracle_read_others(struct model *m);
/* Reads the suspects that this reached. */
void oracle_follow(struct model *m);
void oracle_compare_mark(struct model *m);
void oracle_more_roots(struct sim *s, struct kmt_marker *m);

/* oracle_scan.c: two marks and judgement; @between is called in between */
void oracle_scan(struct model *m, u32 min_age, void (*between)(void *arg),
		 void *arg);
/* Compares the verdicts with the fates, for both kinds of scans. */
void oracle_judge(struct model *m);
/* After a scan: frees the blocks whose verdict is undecided. */
void oracle_drop_open(struct model *m);

/* oracle_classify.c: which leaks lead to which */
void oracle_classify(struct model *m);

/* oracle_snapshot.c: one mark and a snapshot */
void oracle_snapshot(struct model *m,
		     void (*during)(void *arg, enum sim_phase phase),
		     void *arg);

#endif /* ORACLE_H */
