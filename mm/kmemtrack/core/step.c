// SPDX-License-Identifier: GPL-2.0
/*
 * Backtraces walked by steps: see step.h.
 */
#include "step.h"

#define KMT_STEP_BITS	13

/*
 * Steps that were looked up, for all CPUs. Each is read and written as one word, so
 * that a reader without a lock never sees a torn step.
 */
static struct kmt_step steps[1 << KMT_STEP_BITS];

static_assert(sizeof(struct kmt_step) == sizeof(u64));

static __always_inline struct kmt_step *place_of(unsigned long pc)
{
	return &steps[(u32)pc * GOLDEN_RATIO_32 >> (32 - KMT_STEP_BITS)];
}

static __always_inline bool is_step_of(struct kmt_step step, unsigned long pc)
{
	return (unsigned long)(int)step.pc == pc;
}

static noinline struct kmt_step look_up(unsigned long pc)
{
	struct kmt_step step = { .pc = pc, .kind = KMT_STEP_UNKNOWN };

	if (!is_step_of(step, pc))
		return step;
	/* module_event() waits for this section before it forgets steps. */
	preempt_disable();
	if (kmt_arch_step(pc, &step))
		kmt_env_write_u64(&place_of(pc)->word, step.word);
	preempt_enable();
	return step;
}

static __always_inline struct kmt_step step_of(unsigned long pc)
{
	struct kmt_step step = { .word = kmt_env_read_u64(&place_of(pc)->word) };

	return likely(is_step_of(step, pc)) ? step : look_up(pc);
}

static __always_inline unsigned long word_at(unsigned long addr)
{
	return READ_ONCE_NOCHECK(*(unsigned long *)addr);
}

/* Returns @base + @up if @base and the sum are on the stack; else 0. */
static unsigned long above(const struct kmt_range *on, unsigned long base,
			   unsigned long up)
{
	unsigned long room = on->hi - on->lo, at = base - on->lo;

	return at % sizeof(long) || at > room || up > room - at ? 0 : base + up;
}

static bool is_end(struct kmt_step step, unsigned long sp)
{
	return step.kind == KMT_STEP_END ||
	       (step.kind == KMT_STEP_REGS &&
		kmt_arch_user_regs(sp + step.up * sizeof(long)));
}

/* Returns the caller's stack pointer for kinds other than KMT_STEP_SP; 0: unknown. */
static __always_inline unsigned long
sp_of_caller(struct kmt_step step, struct kmt_range *on, struct kmt_range *below,
	     unsigned long sp, unsigned long *bp)
{
	const unsigned long up = step.up * sizeof(long);
	unsigned long next = 0;

	switch (step.kind) {
	case KMT_STEP_BP:
		next = above(on, *bp, up);
		break;
	case KMT_STEP_ALIGNED:
		if (!above(on, *bp, sizeof(long)) || *bp - on->lo < up)
			return 0;
		next = above(on, word_at(*bp - up), 0);
		*bp = word_at(*bp);
		break;
	case KMT_STEP_SWITCH:
		if (on->hi - sp < sizeof(long))
			return 0;
		*on = *below;
		below->hi = below->lo;
		return above(on, word_at(sp), up);
	case KMT_STEP_BP_SWITCH:
		*on = *below;
		below->hi = below->lo;
		return above(on, *bp, up);
	}
	/* As the unwinder does: a walk that goes back down might never end. */
	if (next <= sp)
		return 0;
	/* The words that the function saved must be above its stack pointer. */
	if (!KMT_CALL_PUSHES &&
	    next - sp < max_t(unsigned int, step.bp, kmt_step_ra(step)) * sizeof(long))
		return 0;
	return next;
}

bool kmt_step_walk(struct kmt_walk *walk, struct kmt_range on,
		   struct kmt_range below, unsigned long fp)
{
	unsigned long sp = above(&on, fp, 2 * sizeof(long)), pc, bp;
	u64 hash = 0;
	unsigned int nr = 0;

	walk->nr = 0;
	if (unlikely(!sp))
		return false;
	kmt_env_two((const void *)fp, &bp, &pc);
	/* Without a frame pointer, until a step says where one was saved. */
	if (KMT_FP_UNKNOWN)
		bp = 0;
	for (;;) {
		struct kmt_step step;

		walk->pc[nr++] = pc;
		hash = (hash ^ pc) * GOLDEN_RATIO_64;
		step = step_of(pc);
		if (nr == CONFIG_KMEMTRACK_STACK_DEPTH) {
			/* A tracer may have replaced the last address as well. */
			if (unlikely(step.kind == KMT_STEP_UNKNOWN))
				return false;
			break;
		}
		if (likely(step.kind == KMT_STEP_SP)) {
			const unsigned long up = step.up * sizeof(long);

			sp = likely(up <= on.hi - sp) ? sp + up : 0;
		} else {
			if (is_end(step, sp))
				break;
			sp = sp_of_caller(step, &on, &below, sp, &bp);
		}
		if (unlikely(!sp))
			return false;
		pc = word_at(sp - kmt_step_ra(step) * sizeof(long));
		if (step.bp)
			bp = word_at(sp - step.bp * sizeof(long));
	}
	walk->nr = nr;
	walk->hash = hash >> 32;
	return true;
}

void kmt_steps_forget(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(steps); i++)
		kmt_env_write_u64(&steps[i].word, 0);
}
