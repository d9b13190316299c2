/* SPDX-License-Identifier: GPL-2.0 */
/* Random operations on a tracker and on its oracle. */
#ifndef STEPS_H
#define STEPS_H

#include "oracle.h"

/* Source of choices: a fuzzer's bytes while there are any, or a seed. */
struct source {
	const u8 *data;
	size_t left;
	bool fuzzed;
	u64 state;
};

struct steps {
	struct model m;
	struct source src;
	unsigned int nr;
};

/* Expected answer of the tracker; OPEN if the model cannot decide. */
enum answer {
	NO,
	YES,
	OPEN,
};

/* A number below @n. */
u32 pick(struct source *src, u32 n);

struct block *pick_block(struct steps *t);
u8 pick_min(struct steps *t, enum kmt_space space);

/* Requests for a cell: the expected answer, and its comparison with @got. */
enum answer may_get_cell(struct steps *t);
void check_cell(struct steps *t, enum answer expected, bool got);

/* steps_annotate.c */
void step_alias(struct steps *t);
void step_area(struct steps *t);
void step_annotate(struct steps *t);

/* steps_write.c */
void step_write(struct steps *t);

void steps_begin(struct steps *t);
void step(struct steps *t);
/* A last scan, and the end of the tracker. */
void steps_end(struct steps *t);

#endif /* STEPS_H */
