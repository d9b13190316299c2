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
	/* An aliased block was revived: how often it passes on is open. */
	bool vague;
	/* What the counters of the tracker must be. */
	long events[KMT_NR_EVENTS];
	unsigned long scans;
	unsigned long leaks;
	unsigned long indirect;
	unsigned long vagues;
};

/* Fails the test, or the fuzzer's run. */
#define AGREE(c) do {							\
		if (!(c))						\
			oracle_fail(__FILE__, __LINE__, #c);		\
	} while (0)

void oracle_fail(const char *file, int line, const char *what);

bool block_judged(const struct block *b);
struct block *oracle_find(struct model *m, enum kmt_space space,
			  unsigned long addr);
/* Calls @fn for each word that can be read in @b. */
void oracle_words(const struct block *b,
		  void (*fn)(void *arg, unsigned long word), void *arg);

/* Two marks, judgement, classification; @between is called in between. */
void oracle_scan(struct model *m, u32 min_age, void (*between)(void *arg),
		 void *arg);
/* Whether the tracker has exactly the blocks it should have. */
void oracle_compare(struct model *m);

#endif /* ORACLE_H */
