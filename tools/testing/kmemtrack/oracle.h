/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The naive oracle: a list of blocks, searched from end to end for each word.
 * It knows what the tracker was told, and never takes over what the tracker
 * answers.
 *
 * Some answers depend on the order in which the tracker reads memory and visits
 * its cells, which the oracle does not know. Then it works out two fates of
 * each block: one in which only those references count that count in any order,
 * and one in which all count that count in some order. More references never
 * make less reached, so the tracker's answer lies between the two. Where both
 * fates are the same the tracker has to agree. Where they differ the verdict is
 * not decided: it is counted, it has to be one of the two, and the block is
 * freed after the scan, so that the next scan starts from what is known.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include "sim.h"

#define MAX_BLOCKS	160
#define MAX_AREAS	4
#define ROOT_WORDS	64

/* Which references a fate is made of. */
enum bound {
	FEWEST,			/* those that count in any order */
	MOST,			/* those that count in some order */
	NR_BOUNDS,
};

/* What the scans say of a block, and what the current mark found. */
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
	bool lost;		/* no cell for it: a root, reported never */
	bool evicted;		/* the tracker said that it made way */
	bool open;		/* the verdict of this scan is not decided */
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
	/* block_sum() when `clear` dismissed it. */
	u32 cleared;
	/* Outside of scans both are the same, but for the counts. */
	struct fate fate[NR_BOUNDS];
};

struct model {
	struct sim *s;
	struct block b[MAX_BLOCKS];
	struct block *todo[MAX_BLOCKS];
	unsigned int nr_todo;
	/* The fate that is worked out. */
	enum bound bound;
	/* Only references to suspects count, and those at odd addresses, too. */
	bool sift;
	bool bytes;
	/* Only references to what is not younger than that count. */
	bool dated;
	u32 date;
	/* Blocks were summed up: they are searched at all addresses at once. */
	bool sums;
	/* A search beside everything else. */
	bool search;
	/* A mark is under way: what is born counts as reached. */
	bool marking;
	/* Hull of all blocks of KMT_VIRT so far; when the last mark began. */
	struct kmt_range ever;
	struct kmt_range hull;
	/* What happens at each phase of a snapshot. */
	void (*during)(void *arg, enum sim_phase phase);
	void *arg;
	/* What the counters of the tracker must be. */
	long events[KMT_NR_EVENTS];
	unsigned long scans;
	unsigned long leaks;
	unsigned long indirect;
	/* When that was told last. */
	u32 classified;
	/* Verdicts on what may be a leak, and those that are not decided. */
	unsigned long verdicts;
	unsigned long open;
	/* Reference counts that were compared, and those with a range only. */
	unsigned long counts;
	unsigned long open_counts;
	/* Requests for a cell, and those that may fail or not. */
	unsigned long cells;
	unsigned long open_cells;
	/* Of the last snapshot, and of all of them. */
	unsigned long accused[NR_BOUNDS];
	unsigned long sought[NR_BOUNDS];
	unsigned long left[NR_BOUNDS];
	unsigned long snapshots;
	unsigned long found;
	unsigned long forgiven;
	unsigned long unaligned;
};

/* Ranges that a block is read in, at most. */
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
/* As far as the references go that @bound has counted until now. */
bool block_reached(const struct block *b, enum bound bound);
/* Whether what is in it can be references. */
bool block_read(const struct block *b);
/* It is neither suspect nor reported, whatever was said of it. */
void block_pardon(struct block *b);
void fate_acquit(struct fate *f);
/* Checksum of the block's words; leading words of zero do not change it. */
u32 block_sum(const struct block *b);
unsigned int block_ranges(const struct block *b, struct kmt_range *ranges);
/* Its memory may be read, or not any more. */
void block_own(const struct block *b, bool owned);
void block_forget(struct block *b);

struct block *oracle_each(struct model *m, struct block *b);
struct block *oracle_find(struct model *m, enum kmt_space space,
			  unsigned long addr);
/* What the tracker has of it; there has to be something. */
struct kmt_object oracle_look(struct model *m, const struct block *b);
/* Calls @fn for each word that can be read in @b. */
void oracle_words(const struct block *b,
		  void (*fn)(void *arg, unsigned long word), void *arg);
/* Whether the tracker has exactly the blocks it should have. */
void oracle_compare(struct model *m);

/* oracle_mark.c: marking from the roots, in the order of the list */
void oracle_mark(struct model *m);
void oracle_reach(struct model *m, struct block *b);
/* For references to suspects only, in all but these. */
void oracle_read_others(struct model *m);
/* Reads what was reached by that. */
void oracle_follow(struct model *m);
void oracle_compare_mark(struct model *m);
void oracle_more_roots(struct sim *s, struct kmt_marker *m);

/* oracle_scan.c: two marks and judgement; @between is called in between */
void oracle_scan(struct model *m, u32 min_age, void (*between)(void *arg),
		 void *arg);
/* The same verdicts for both ways to scan, from what the fates were found. */
void oracle_judge(struct model *m);
/* After a scan: frees the blocks whose verdict was not decided. */
void oracle_drop_open(struct model *m);

/* oracle_classify.c: which leaks lead to which */
void oracle_classify(struct model *m);

/* oracle_snapshot.c: one mark and a look while nothing else runs */
void oracle_snapshot(struct model *m,
		     void (*during)(void *arg, enum sim_phase phase),
		     void *arg);

#endif /* ORACLE_H */
