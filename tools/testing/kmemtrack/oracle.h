/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The naive oracle: a list of blocks, searched from end to end for each word.
 * It knows what the tracker was told, never what the tracker thinks.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include "sim.h"

#define MAX_BLOCKS	160
#define MAX_AREAS	4
#define ROOT_WORDS	64

struct block {
	bool used;
	bool lost;		/* no cell for it: a root, reported never */
	enum kmt_space space;
	unsigned long addr;
	unsigned long size;
	u32 born;
	u8 min;
	bool no_scan;
	bool stack;
	bool transient;
	bool whole;
	unsigned int nr_areas;
	struct kmt_range areas[MAX_AREAS];
	bool aliased;
	unsigned long alias;

	/* What the scans said of it. */
	bool suspect;
	u32 crc;
	bool leak;
	bool fresh;

	/* This mark. */
	bool reached;
	unsigned int count;
};

struct model {
	struct sim *s;
	struct block b[MAX_BLOCKS];
	struct block *todo[MAX_BLOCKS];
	unsigned int nr_todo;
	/* Whose references count depends on the order of what is read. */
	bool vague;
	/* Only references to suspects count, and those at odd addresses, too. */
	bool sift;
	bool bytes;
	/* Blocks were summed up: they are searched at all addresses at once. */
	bool sums;
	/* A mark is under way: what is born counts as reached. */
	bool marking;
	/* What happens at each phase of a snapshot. */
	void (*during)(void *arg, enum sim_phase phase);
	void *arg;
	/* What the counters of the tracker must be. */
	long events[KMT_NR_EVENTS];
	unsigned long scans;
	unsigned long leaks;
	unsigned long indirect;
	unsigned long vagues;
	/* Of the last snapshot, and of all of them. */
	unsigned long accused;
	unsigned long left;
	unsigned long snapshots;
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

void oracle_fail(const char *file, int line, const char *what);

bool block_judged(const struct block *b);
/* As far as the references go that were counted until now. */
bool block_reached(const struct block *b);
/* Whether what is in it can be references. */
bool block_read(const struct block *b);
void block_acquit(struct block *b);
unsigned int block_ranges(const struct block *b, struct kmt_range *ranges);

struct block *oracle_each(struct model *m, struct block *b);
struct block *oracle_find(struct model *m, enum kmt_space space,
			  unsigned long addr);
/* What the tracker has of it; there has to be something. */
struct kmt_object oracle_look(struct model *m, const struct block *b);
/* Calls @fn for each word that can be read in @b. */
void oracle_words(const struct block *b,
		  void (*fn)(void *arg, unsigned long word), void *arg);

/* Marking, the oracle's and the tracker's: by the roots. */
void oracle_mark(struct model *m);
void oracle_read_roots(struct model *m);
void oracle_read_block(struct model *m, const struct block *b);
/* Reads what was reached by that. */
void oracle_follow(struct model *m);
void oracle_compare_mark(struct model *m);
void oracle_more_roots(struct sim *s, struct kmt_marker *m);
void oracle_classify(struct model *m);

/* Two marks, judgement, classification; @between is called in between. */
void oracle_scan(struct model *m, u32 min_age, void (*between)(void *arg),
		 void *arg);
/* One mark and a look while nothing else runs: oracle_snapshot.c */
void oracle_snapshot(struct model *m,
		     void (*during)(void *arg, enum sim_phase phase),
		     void *arg);
/* Whether the tracker has exactly the blocks it should have. */
void oracle_compare(struct model *m);

#endif /* ORACLE_H */
