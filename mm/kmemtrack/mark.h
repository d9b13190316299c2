/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mark and judgement.
 *
 * A mark is one epoch: nothing is reset before it, an object that carries
 * another epoch has not been reached. The steps, all by one thread at a time
 * (the owner sees to that):
 *
 *	kmt_mark_begin();
 *	kmt_mark_block() ...		roots that are no objects
 *	kmt_mark_sweep();		grey objects, and all that follows
 *	(judgement: kmt_suspect() or kmt_revive() + kmt_judge())
 *	kmt_mark_end();
 *
 * Memory is read in pieces of KMT_STEP_WORDS through kmt_env_read(), a block
 * under the lock of its tree, which its free takes too: a piece is never read
 * from a block that was freed.
 */
#ifndef _KMT_MARK_H
#define _KMT_MARK_H

#include "core.h"

#define KMT_STEP_WORDS	64

/**
 * struct kmt_grey - an object that was reached and is to be read
 * @o: its cell
 * @addr: its address when it was pushed; the cell may have been reused since
 */
struct kmt_grey {
	struct kmt_object *o;
	unsigned long addr;
};

/**
 * struct kmt_marker - one mark under way
 * @core: tracker
 * @stack: objects to be read
 * @depth: how many
 * @max: how many it can hold; beyond, a sweep of the pool finds them
 * @overflow: some did not fit
 * @stopped: the mark was given up; it proves nothing
 * @virt: hull of all addresses of KMT_VIRT when the mark began
 * @percpu: hull of all addresses of KMT_PERCPU when the mark began
 * @nap: the stack being read, of a task that sleeps; empty if it is none
 * @since: low 32 bits of jiffies after which that task did not run
 * @budget: words to go until kmt_ops.relax() is called
 * @words: words read
 * @hits: references found
 * @objects: objects read
 * @buf: the piece being looked at
 * @peek: a piece of a block that the piece being looked at refers to
 */
struct kmt_marker {
	struct kmt_core *core;
	struct kmt_grey *stack;
	u32 depth;
	u32 max;
	bool overflow;
	bool stopped;
	struct kmt_range virt;
	struct kmt_range percpu;
	struct kmt_range nap;
	u32 since;
	long budget;
	unsigned long words;
	unsigned long hits;
	unsigned long objects;
	unsigned long buf[KMT_STEP_WORDS];
	unsigned long peek[KMT_STEP_WORDS];
};

/**
 * struct kmt_verdict - what a judgement found
 * @suspects: objects without enough references that are not reported yet
 * @youngest: the latest birth among them, low 32 bits of jiffies
 * @leaks: reported objects, all
 * @leak_bytes: their bytes
 * @fresh: objects reported for the first time
 */
struct kmt_verdict {
	unsigned long suspects;
	u32 youngest;
	unsigned long leaks;
	unsigned long leak_bytes;
	unsigned long fresh;
};

/**
 * struct kmt_reader - what to do with the contents of a block
 * @words: called with each piece that could be read, no lock held
 * @m: marker, for its buffer and its budget
 * @from: the block that is being read
 * @crc: for a reader that sums
 */
struct kmt_reader {
	void (*words)(struct kmt_reader *r, unsigned int nr);
	struct kmt_marker *m;
	struct kmt_object *from;
	u32 crc;
};

/* mark.c */
void kmt_marker_init(struct kmt_marker *m, struct kmt_core *core,
		     struct kmt_grey *stack, u32 max);
void kmt_mark_begin(struct kmt_marker *m);
void kmt_mark_word(struct kmt_marker *m, unsigned long word);
void kmt_mark_block(struct kmt_marker *m, unsigned long start,
		    unsigned long end);
void kmt_mark_nap(struct kmt_marker *m, const struct kmt_range *stack,
		  unsigned long start, u32 since);
void kmt_mark_object(struct kmt_marker *m, struct kmt_object *o);
void kmt_mark_sweep(struct kmt_marker *m);
void kmt_mark_end(struct kmt_marker *m);
bool kmt_mark_relax(struct kmt_marker *m);

/* read.c */
void kmt_read_object(struct kmt_reader *r, struct kmt_object *o,
		     const struct kmt_object *copy);

/* judge.c */
void kmt_suspect(struct kmt_marker *m, struct kmt_verdict *v);
void kmt_revive(struct kmt_marker *m, u32 now, u32 min_age);
void kmt_judge(struct kmt_marker *m, struct kmt_verdict *v);
unsigned long kmt_clear(struct kmt_core *core);

/* classify.c */
void kmt_classify(struct kmt_marker *m);

#endif /* _KMT_MARK_H */
