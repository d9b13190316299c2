// SPDX-License-Identifier: GPL-2.0
/*
 * Walks by steps, compared with stacks that are built call by call, and with an
 * unwinder that looks up each step.
 */
#include "sim.h"
#include "step.h"

#define DEPTH	CONFIG_KMEMTRACK_STACK_DEPTH
#define WORDS	1024
#define BASE	(~0x7effffffUL)

/* More functions than remembered steps, so that many share a slot. */
#define RULES	20000

/* Unwind data of a function that calls another one. */
struct rule {
	enum kmt_step_kind kind;
	unsigned int up;
	unsigned int bp;
	unsigned int ra;
	bool passing;
};

static struct rule rules[RULES];
static unsigned long looked_up;
static unsigned long user_regs;

/* Code outside the range that the half address in a step can express. */
static unsigned long far_pc;

/* The stacks of a task and of interrupts, and a trace on them. */
struct stacks {
	u64 rnd;
	unsigned long *task;
	unsigned long *irq;
	bool switched;
	unsigned long fp;
	unsigned long pc[64];
	unsigned int nr;
};

static unsigned long pc_of(unsigned int i)
{
	return BASE + 16 * i;
}

static const struct rule *rule_of(unsigned long pc)
{
	return pc >= BASE && pc < pc_of(RULES) && !(pc % 16) ?
		&rules[(pc - BASE) / 16] : NULL;
}

bool kmt_arch_step(unsigned long pc, struct kmt_step *step)
{
	const struct rule *rule = rule_of(pc);

	looked_up++;
	if (pc == far_pc) {
		step->kind = KMT_STEP_END;
		return true;
	}
	if (!rule)
		return false;
	step->kind = rule->kind;
	step->up = rule->up;
	step->bp = rule->bp;
#if !KMT_CALL_PUSHES
	step->ra = rule->ra;
#endif
	return !rule->passing;
}

bool kmt_arch_user_regs(unsigned long addr)
{
	return addr == user_regs;
}

static unsigned long below(u64 *rnd, unsigned long n)
{
	return sim_random(rnd) % n;
}

static struct rule random_rule(u64 *rnd)
{
	static const enum kmt_step_kind kinds[] = {
		KMT_STEP_SP, KMT_STEP_SP, KMT_STEP_SP, KMT_STEP_SP,
		KMT_STEP_SP, KMT_STEP_BP, KMT_STEP_BP, KMT_STEP_ALIGNED,
		KMT_STEP_SWITCH, KMT_STEP_BP_SWITCH, KMT_STEP_REGS, KMT_STEP_END, KMT_STEP_UNKNOWN,
	};
	struct rule rule = {
		.kind = kinds[below(rnd, ARRAY_SIZE(kinds))],
		.up = 2 + below(rnd, 12),
		.ra = 1,
		.passing = !below(rnd, 8),
	};

	/* The return address is right below the caller's stack pointer. */
	if (rule.kind != KMT_STEP_ALIGNED &&
	    (rule.kind == KMT_STEP_BP || rule.kind == KMT_STEP_BP_SWITCH ||
	     below(rnd, 2)))
		rule.bp = 2 + below(rnd, rule.up - 1);
	/* Or it is between the registers that the function saved. */
	if (!KMT_CALL_PUSHES && rule.kind <= KMT_STEP_BP && below(rnd, 2)) {
		rule.ra = 1 + below(rnd, rule.up);
		if (rule.ra == rule.bp)
			rule.ra = 1;
	}
	return rule;
}

static unsigned int any_of(u64 *rnd, unsigned int kinds)
{
	unsigned int i;

	do
		i = below(rnd, RULES);
	while (!(BIT(rules[i].kind) & kinds));
	return i;
}

static unsigned long hi_of(const unsigned long *stack)
{
	return (unsigned long)(stack + WORDS);
}

static void store(unsigned long addr, unsigned long word)
{
	*(unsigned long *)addr = word;
}

/* Fills a stack with stale words that look like return addresses and frames. */
static void litter(struct stacks *s, unsigned long *stack)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		stack[i] = below(&s->rnd, 2) ? pc_of(below(&s->rnd, RULES)) :
			(unsigned long)&stack[below(&s->rnd, WORDS)];
}

/* Calls function @i; *@sp and *@bp are the caller's registers. */
static void call(struct stacks *s, unsigned int i, unsigned long pc,
		 unsigned long *sp, unsigned long *bp)
{
	const struct rule *rule = &rules[i];
	unsigned long end = *sp;

	store(end - rule->ra * W, pc);
	if (rule->bp) {
		store(end - rule->bp * W, *bp);
		*bp = below(&s->rnd, 2) ? end : sim_random(&s->rnd);
	}
	*sp = end - rule->up * W;
	if (rule->kind == KMT_STEP_ALIGNED) {
		/* The start of the frame depends on the alignment of the caller's. */
		unsigned long frame = end - (2 + below(&s->rnd, 4)) * W;

		store(frame, *bp);
		store(frame - rule->up * W, end);
		*bp = frame;
		*sp = frame - (rule->up + below(&s->rnd, 9)) * W;
	} else if (rule->kind == KMT_STEP_BP) {
		*bp = *sp;
		*sp -= below(&s->rnd, 9) * W;
	} else if (rule->kind == KMT_STEP_SWITCH) {
		store(hi_of(s->irq) - W, *sp);
		*sp = hi_of(s->irq) - W;
		s->switched = true;
	} else if (rule->kind == KMT_STEP_BP_SWITCH) {
		*bp = *sp;
		*sp = hi_of(s->irq) - below(&s->rnd, 9) * W;
		s->switched = true;
	}
}

/* Builds a stack of @depth calls, the first one from entry code. */
static void build(struct stacks *s, unsigned int depth)
{
	const unsigned int plain = BIT(KMT_STEP_SP) | BIT(KMT_STEP_BP) |
				   BIT(KMT_STEP_ALIGNED);
	unsigned long sp = hi_of(s->task) - below(&s->rnd, 8) * W;
	unsigned long bp = sim_random(&s->rnd);
	unsigned int i = any_of(&s->rnd, BIT(KMT_STEP_END) | BIT(KMT_STEP_REGS));

	litter(s, s->task);
	litter(s, s->irq);
	s->switched = false;
	user_regs = sp + rules[i].up * W;
	for (s->nr = depth; ; i = any_of(&s->rnd, plain |
			(s->switched ? 0 : BIT(KMT_STEP_SWITCH) |
					   BIT(KMT_STEP_BP_SWITCH)))) {
		if (s->nr < depth)
			call(s, i, s->pc[s->nr], &sp, &bp);
		s->pc[--s->nr] = pc_of(i);
		if (!s->nr)
			break;
	}
	store(sp - W, pc_of(i));
	store(sp - 2 * W, bp);
	s->fp = sp - 2 * W;
	s->nr = depth;
}

static struct kmt_range span_of(const unsigned long *stack)
{
	return (struct kmt_range){ (unsigned long)stack, hi_of(stack) };
}

static bool walk(const struct stacks *s, struct kmt_walk *w)
{
	const struct kmt_range none = { 0, 0 };

	memset(w, 0x5a, sizeof(*w));
	return s->switched ?
		kmt_step_walk(w, span_of(s->irq), span_of(s->task), s->fp) :
		kmt_step_walk(w, span_of(s->task), none, s->fp);
}

/* Reads a word of the current stack. */
static bool read_word(const unsigned long *stack, unsigned long addr,
		      unsigned long *word)
{
	if (addr < (unsigned long)stack || addr > hi_of(stack) - W)
		return false;
	memcpy(word, (void *)addr, W);
	return true;
}

/* An unwinder that remembers no steps; returns false where it cannot go on. */
static bool unwind(const struct stacks *s, struct kmt_walk *w)
{
	const unsigned long *on = s->switched ? s->irq : s->task;
	unsigned long sp = s->fp + 2 * W, bp, pc, next;

	w->nr = 0;
	if (!read_word(on, s->fp, &bp) || !read_word(on, s->fp + W, &pc))
		return false;
	for (;;) {
		const struct rule *rule = rule_of(pc);

		w->pc[w->nr++] = pc;
		if (w->nr == DEPTH)
			return true;
		if (!rule || rule->kind == KMT_STEP_UNKNOWN)
			return false;
		if (rule->kind == KMT_STEP_END)
			return true;
		if (rule->kind == KMT_STEP_REGS)
			return sp + rule->up * W == user_regs;
		next = rule->kind == KMT_STEP_BP ||
		       rule->kind == KMT_STEP_BP_SWITCH ? bp : sp;
		if (rule->kind == KMT_STEP_BP_SWITCH) {
			if (on == s->task || bp % W ||
			    !read_word(s->task, bp, &pc))
				return false;
			on = s->task;
		}
		if (rule->kind == KMT_STEP_SWITCH) {
			if (on == s->task || !read_word(on, sp, &next))
				return false;
			on = s->task;
		}
		if (rule->kind == KMT_STEP_ALIGNED) {
			if (!read_word(on, bp - rule->up * W, &next) ||
			    !read_word(on, bp, &bp))
				return false;
		} else {
			next += rule->up * W;
		}
		if ((rule->kind != KMT_STEP_SWITCH &&
		     rule->kind != KMT_STEP_BP_SWITCH && next <= sp) ||
		    (!KMT_CALL_PUSHES && rule->kind == KMT_STEP_BP &&
		     next - sp < max_t(unsigned int, rule->bp, rule->ra) * W) ||
		    !read_word(on, next - rule->ra * W, &pc) ||
		    (rule->bp && !read_word(on, next - rule->bp * W, &bp)))
			return false;
		sp = next;
	}
}

static void assert_same(const struct kmt_walk *w, const unsigned long *pc,
			unsigned int nr)
{
	assert_int_equal(w->nr, nr);
	assert_memory_equal(w->pc, pc, nr * W);
}

static void *new_stacks(struct stacks *s, u64 seed)
{
	unsigned int i;

	*s = (struct stacks){ .rnd = seed };
	s->task = malloc(WORDS * W);
	s->irq = malloc(WORDS * W);
	for (i = 0; i < RULES; i++)
		rules[i] = random_rule(&s->rnd);
	kmt_steps_forget();
	return s;
}

static void end_stacks(struct stacks *s)
{
	free(s->task);
	free(s->irq);
}

/* A trace is the list of calls, whether its steps are remembered or not. */
static void test_same(void **state)
{
	struct kmt_walk w, again;
	unsigned int i, found = 0;
	unsigned long before;
	struct stacks s;

	new_stacks(&s, 1);
	for (i = 0; i < 50000; i++) {
		build(&s, 1 + below(&s.rnd, 24));
		assert_true(walk(&s, &w));
		assert_same(&w, s.pc, min_t(unsigned int, s.nr, DEPTH));
		before = looked_up;
		assert_true(walk(&s, &again));
		assert_memory_equal(&again, &w, offsetof(struct kmt_walk, pc));
		assert_same(&again, w.pc, w.nr);
		found += looked_up - before < w.nr / 2 + 1;
	}
	/* Only few second walks look up most of their steps again. */
	assert_in_range(found, 40000, 50000);
	end_stacks(&s);
}

static unsigned long odd_word(struct stacks *s, unsigned long word)
{
	switch (below(&s->rnd, 5)) {
	case 0:
		return pc_of(below(&s->rnd, RULES));
	case 1:
		return (unsigned long)&s->task[below(&s->rnd, WORDS)];
	case 2:
		return hi_of(s->irq) - W * below(&s->rnd, 16);
	case 3:
		return word ^ BIT(below(&s->rnd, BITS_PER_LONG));
	}
	return word + (long)below(&s->rnd, 129) - 64;
}

/*
 * With arbitrary words on the stack, no word outside it is read, and a trace is
 * that of the unwinder.
 */
static void test_odd(void **state)
{
	unsigned int i, found = 0, other = 0, nr;
	struct kmt_walk w, u;
	struct stacks s;

	new_stacks(&s, 2);
	for (i = 0; i < 100000; i++) {
		build(&s, 1 + below(&s.rnd, 20));
		for (nr = 1 + below(&s.rnd, 4); nr; nr--) {
			unsigned long at = s.fp + W * below(&s.rnd, 60);
			unsigned long *word = (unsigned long *)at;

			if (at > hi_of(s.switched ? s.irq : s.task) - W)
				word = &s.task[below(&s.rnd, WORDS)];
			*word = odd_word(&s, *word);
		}
		if (!walk(&s, &w)) {
			assert_int_equal(w.nr, 0);
			continue;
		}
		assert_true(unwind(&s, &u));
		assert_same(&w, u.pc, u.nr);
		found++;
		other += w.nr != min_t(unsigned int, s.nr, DEPTH) ||
			 memcmp(w.pc, s.pc, w.nr * W);
	}
	assert_in_range(found, 1000, 100000);
	assert_in_range(other, 100, 100000);
	end_stacks(&s);
}

/*
 * Steps are remembered until kmt_steps_forget(), except those of code that may be
 * freed.
 */
static void test_forget(void **state)
{
	struct kmt_walk w;
	struct stacks s;

	new_stacks(&s, 3);
	rules[7] = (struct rule){ .kind = KMT_STEP_END };
	rules[8] = (struct rule){ .kind = KMT_STEP_END, .passing = true };
	s.fp = (unsigned long)&s.task[4];
	s.task[5] = pc_of(7);
	assert_true(walk(&s, &w));
	rules[7].kind = KMT_STEP_UNKNOWN;
	assert_true(walk(&s, &w));
	kmt_steps_forget();
	assert_false(walk(&s, &w));
	s.task[5] = pc_of(8);
	assert_true(walk(&s, &w));
	rules[8].kind = KMT_STEP_UNKNOWN;
	assert_false(walk(&s, &w));
	end_stacks(&s);
}

/* Saved registers of kernel code, and return addresses outside the kernel's code. */
static void test_unknown(void **state)
{
	struct kmt_walk w;
	struct stacks s;

	new_stacks(&s, 4);
	rules[7] = (struct rule){ .kind = KMT_STEP_REGS, .up = 3 };
	s.fp = (unsigned long)&s.task[4];
	s.task[5] = pc_of(7);
	user_regs = (unsigned long)&s.task[9];
	assert_true(walk(&s, &w));
	user_regs += W;
	assert_false(walk(&s, &w));
	rules[7] = (struct rule){ .kind = KMT_STEP_END };
	kmt_steps_forget();
	assert_true(walk(&s, &w));
	if (W == 8) {
		s.task[5] ^= BIT(W * 5);
		far_pc = s.task[5];
		assert_false(walk(&s, &w));
		far_pc = 0;
	}
	s.task[5] = 0;
	assert_false(walk(&s, &w));
	end_stacks(&s);
}

static void test_edges(void **state)
{
	struct kmt_walk w;
	unsigned int up;
	struct stacks s;

	new_stacks(&s, 5);
	memset(s.task, 0, WORDS * W);
	rules[6] = (struct rule){ .kind = KMT_STEP_END };
	s.task[WORDS - 1] = pc_of(6);
	s.fp = hi_of(s.task) - 2 * W;
	assert_true(walk(&s, &w));
	for (up = 1; up < 4; up++) {
		/* Words beyond the end of the stack are not read. */
		rules[7] = (struct rule){ .kind = KMT_STEP_SP, .up = up, .ra = 1 };
		kmt_steps_forget();
		s.task[WORDS - 3] = pc_of(7);
		s.fp = hi_of(s.task) - 4 * W;
		assert_int_equal(walk(&s, &w), up == 2);
		rules[7].kind = KMT_STEP_BP;
		kmt_steps_forget();
		s.task[WORDS - 4] = hi_of(s.task) - 2 * W;
		assert_int_equal(walk(&s, &w), up == 2);
	}
	s.fp = hi_of(s.task) - W;
	assert_false(walk(&s, &w));
	s.fp = hi_of(s.task);
	assert_false(walk(&s, &w));
	s.fp = (unsigned long)s.task - W;
	assert_false(walk(&s, &w));
	s.fp = hi_of(s.task) - 2 * W - 4;
	assert_false(walk(&s, &w));
	end_stacks(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_edges),
	};

	return cmocka_run_group_tests_name("step", tests, NULL, NULL);
}
