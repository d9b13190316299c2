// SPDX-License-Identifier: GPL-2.0
/* Traces: learning them from a stack, and recognising them. */
#include "sim.h"
#include "trace.h"

#define WORDS	512
#define DEPTH	CONFIG_KMEMTRACK_STACK_DEPTH

/* A stack, its last frame record, and its trace according to the unwinder. */
struct stack {
	unsigned long word[WORDS];
	unsigned long entries[WORDS];
	unsigned int nr;
	unsigned int last;
};

static unsigned long addr_of(struct stack *s, unsigned int word)
{
	return (unsigned long)&s->word[word];
}

static unsigned long pc_of(unsigned int frame)
{
	return (W == 8 ? 8UL << 4 * W : 0x80000000) + 0x10000 + 64 * frame;
}

/* The bits of a signature in a return address; 0 without pointer authentication. */
static unsigned long signature(unsigned long sign)
{
	return HOST_SIGNATURE & sign << 6 * W;
}

/*
 * Builds @nr frame records, each @words above the one before. The end is another
 * record after them or, with kmt_last_returns, the last one, whose link is no
 * record.
 */
static unsigned long build(struct stack *s, unsigned int first,
			   unsigned int words, unsigned int nr)
{
	unsigned int i, at = first;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < nr; i++) {
		s->word[at] = addr_of(s, at + words);
		s->word[at + 1] = pc_of(i);
		s->entries[i] = pc_of(i);
		at += words;
	}
	s->nr = nr;
	s->last = at;
	if (kmt_last_returns) {
		s->last = at - words;
		s->word[s->last] = nr % 2 ? addr_of(s, at) + 1 : 0;
	}
	return addr_of(s, first);
}

/* Learns a trace of which the unwinder found @nr frames, complete or @cut. */
static bool take_as(struct stack *s, struct kmt_trace *trace, unsigned long fp,
		    unsigned int nr, bool cut)
{
	struct kmt_walk walk;

	if (!kmt_trace_check(&walk, addr_of(s, 0), addr_of(s, WORDS),
			     addr_of(s, s->last), fp, s->entries, nr, cut))
		return false;
	kmt_trace_learn(trace, addr_of(s, 0), fp, nr, 7);
	return trace->handle == 7;
}

static bool take(struct stack *s, struct kmt_trace *trace, unsigned long fp)
{
	return take_as(s, trace, fp, s->nr < DEPTH ? s->nr : DEPTH, false);
}

static bool is(struct stack *s, struct kmt_trace *trace, unsigned long fp)
{
	return kmt_trace_is(trace, addr_of(s, 0), fp);
}

static void test_again(void **state)
{
	struct stack a, b;
	struct kmt_trace trace;
	unsigned int nr;

	for (nr = 1; nr < 2 * DEPTH; nr++) {
		unsigned long fp = build(&a, 10, 6, nr);

		assert_true(take(&a, &trace, fp));
		assert_int_equal(trace.at, 10 * sizeof(long));
		assert_true(is(&a, &trace, fp));
		/* The trace is recognised on another stack as well. */
		assert_true(is(&b, &trace, build(&b, 10, 6, nr)));
		/* Frames beyond the last one of the trace do not matter. */
		assert_true(is(&b, &trace, build(&b, 10, 6, nr + 1)));
	}
}

static void test_other(void **state)
{
	struct stack s;
	struct kmt_trace trace;
	unsigned long fp = build(&s, 4, 8, 12);
	unsigned int i;

	assert_true(take(&s, &trace, fp));
	for (i = 0; i < 12; i++) {
		unsigned long *next = &s.word[4 + 8 * i], was = *next;

		next[1] += 4;
		assert_false(is(&s, &trace, fp));
		next[1] -= 4;
		assert_true(is(&s, &trace, fp));
		/* The link of the last record is not part of the trace. */
		if (i == 11)
			break;
		/* A changed link is not followed, wherever it leads. */
		*next = 8;
		assert_false(is(&s, &trace, fp));
		*next = was + 16;
		assert_false(is(&s, &trace, fp));
		*next = fp;
		assert_false(is(&s, &trace, fp));
		*next = addr_of(&s, 0) + KMT_LAST_FRAME;
		assert_false(is(&s, &trace, fp));
		*next = was;
		assert_true(is(&s, &trace, fp));
	}
}

static void test_signed(void **state)
{
	struct stack s;
	struct kmt_trace trace;
	unsigned long fp = build(&s, 4, 8, 5);

	s.word[4 + 8 * 2 + 1] |= signature(0x1234);
	assert_true(take(&s, &trace, fp));
	/* The same trace, signed with the key of another task. */
	s.word[4 + 8 * 2 + 1] ^= signature(0x77);
	s.word[4 + 8 * 3 + 1] ^= signature(0x78);
	assert_true(is(&s, &trace, fp));
}

/* A trace that differs from the unwinder's is not learned. */
static void test_unwinder_is_right(void **state)
{
	struct stack s;
	struct kmt_trace trace;
	unsigned long fp = build(&s, 4, 8, 12);
	unsigned int i;

	for (i = 0; i < 12; i++) {
		s.entries[i] += 8;
		assert_false(take(&s, &trace, fp));
		s.entries[i] -= 8;
	}
	/* The unwinder ended earlier, and not at the limit of frames. */
	s.nr = 11;
	assert_false(take(&s, &trace, fp));
	/* The unwinder went on beyond the end of the stack. */
	s.nr = 13;
	assert_false(take(&s, &trace, fp));
	assert_false(take_as(&s, &trace, fp, 13, true));
	s.nr = 0;
	assert_false(take(&s, &trace, fp));
	/* A trace that is cut at the limit is as good as a complete one. */
	assert_true(take_as(&s, &trace, fp, 11, true));
	s.word[4 + 8 * 11 + 1]++;
	assert_true(is(&s, &trace, fp));
	s.word[4 + 8 * 10 + 1]++;
	assert_false(is(&s, &trace, fp));
	s.word[4 + 8 * 11 + 1]--;
	s.word[4 + 8 * 10 + 1]--;
	s.nr = 12;
	assert_true(take(&s, &trace, fp));
	/*
	 * The link after the cut does not matter, such as that to an interrupted
	 * stack.
	 */
	s.word[4 + 8 * 10] = addr_of(&s, WORDS) + 0x12340;
	assert_false(take_as(&s, &trace, fp, 12, true));
	assert_true(take_as(&s, &trace, fp, 11, true));
	s.word[4 + 8 * 10] += 0x5670;
	assert_true(is(&s, &trace, fp));
}

/* Builds twelve records; the link of record @frame leads @offset bytes up from itself. */
static unsigned long build_astray(struct stack *s, unsigned int frame,
				  long offset)
{
	unsigned long fp = build(s, 4, 8, 12);

	s->word[4 + 8 * frame] = addr_of(s, 4 + 8 * frame) + offset;
	return fp;
}

/* Invalid links: no word there is read, and no trace is learned. */
static void test_astray(void **state)
{
	static const long astray[] = {
		-(long)W, 0, W / 2, -4096, W * WORDS, 1L << 5 * W
	};
	struct stack s;
	struct kmt_trace trace;
	unsigned long fp;
	unsigned int i, at;

	for (i = 0; i < ARRAY_SIZE(astray); i++) {
		for (at = 0; at < 11; at++) {
			fp = build_astray(&s, at, astray[i]);
			assert_false(take(&s, &trace, fp));
		}
	}
	fp = build(&s, 4, 8, 12);
	assert_false(take(&s, &trace, addr_of(&s, WORDS - 1)));
	assert_false(take(&s, &trace, addr_of(&s, WORDS)));
	assert_false(take(&s, &trace, addr_of(&s, 0) - W));
	assert_true(take(&s, &trace, fp));
}

static bool walk_from(struct stack *s, struct kmt_walk *walk, unsigned long fp)
{
	memset(walk, 0x5a, sizeof(*walk));
	return kmt_trace_walk(walk, addr_of(s, 0), addr_of(s, WORDS),
			      addr_of(s, s->last), fp, DEPTH);
}

/* A walk gives the frames up to the end of the stack, or as many as a trace keeps. */
static void test_walk(void **state)
{
	struct kmt_trace trace, copy;
	struct kmt_walk walk;
	struct stack s;
	unsigned int nr, kept;

	for (nr = 1; nr < 2 * DEPTH; nr++) {
		unsigned long fp = build(&s, 6, 4, nr);

		kept = nr < DEPTH ? nr : DEPTH;
		s.word[6 + 4 * (nr / 2) + 1] |= signature(0x4321);
		assert_true(walk_from(&s, &walk, fp));
		assert_int_equal(walk.nr, kept);
		assert_memory_equal(walk.pc, s.entries, kept * sizeof(long));
		kmt_trace_learn(&trace, addr_of(&s, 0), fp, walk.nr, nr);
		assert_int_equal(trace.handle, nr);
		assert_true(is(&s, &trace, fp));
		/* A copy of the trace is complete. */
		memset(&copy, 0xa5, sizeof(copy));
		kmt_trace_copy(&copy, &trace);
		assert_int_equal(copy.handle, nr);
		assert_int_equal(copy.at, trace.at);
		assert_true(is(&s, &copy, fp));
		s.word[6 + 4 * (kept - 1) + 1] += 4;
		assert_false(is(&s, &copy, fp));
	}
}

/* A walk fails if a link is invalid, or if there is no record. */
static void test_walk_astray(void **state)
{
	static const long astray[] = {
		-(long)W, 0, W / 2, W, 2 * W + W / 2, -4096, W * WORDS,
		1L << 5 * W
	};
	struct kmt_walk walk;
	unsigned int i, at;
	unsigned long fp;
	struct stack s;

	for (i = 0; i < ARRAY_SIZE(astray); i++) {
		for (at = 0; at < 12 - kmt_last_returns; at++) {
			fp = build_astray(&s, at, astray[i]);
			assert_false(walk_from(&s, &walk, fp));
			assert_int_equal(walk.nr, 0);
		}
	}
	fp = build(&s, 4, 8, 12);
	assert_true(walk_from(&s, &walk, fp));
	assert_false(walk_from(&s, &walk, addr_of(&s, 4 + 8 * 12)));
	assert_false(walk_from(&s, &walk, addr_of(&s, WORDS - 1)));
	assert_false(walk_from(&s, &walk, addr_of(&s, 0) - W));
}

/* Registers saved by an exception are no record, even if they look like one. */
static void test_walk_exception(void **state)
{
	struct kmt_walk walk;
	unsigned long fp;
	unsigned int at;
	struct stack s;

	for (at = 0; at < 12; at++) {
		fp = build(&s, 4, 8, 12);
		s.word[4 + 8 * at + 1] |= 1;
		assert_int_equal(walk_from(&s, &walk, fp), at == 11);
	}
	/* Records above the last one that is kept do not matter. */
	fp = build(&s, 4, 4, DEPTH + 4);
	s.word[4 + 4 * (DEPTH - 1) + 1] |= 1;
	assert_true(walk_from(&s, &walk, fp));
	assert_int_equal(walk.nr, DEPTH);
}

static int entry_code_has_the_last(void **state)
{
	kmt_last_returns = false;
	return 0;
}

static int first_function_has_the_last(void **state)
{
	kmt_last_returns = true;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_other),
		cmocka_unit_test(test_signed),
		cmocka_unit_test(test_unwinder_is_right),
		cmocka_unit_test(test_astray),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_walk_astray),
		cmocka_unit_test(test_walk_exception),
	};

	return cmocka_run_group_tests_name("trace", tests,
					   entry_code_has_the_last, NULL) +
	       cmocka_run_group_tests_name("trace: last returns", tests,
					   first_function_has_the_last, NULL);
}
