// SPDX-License-Identifier: GPL-2.0
/*
 * 32-bit ARM: the tables of the EHABI unwinder, read for step.h.
 *
 * For each function the tables list the unwind instructions, of one or two bytes,
 * that take its frame down. Which registers they restore, and from where in the frame,
 * does not depend on where the frame is.
 */
#include <linux/kernel.h>
#include <linux/module.h>

#include "../compat.h"
#include "../core/step.h"
#include "steps.h"

#if KMT_STEPS
/* Table entry of a function that cannot be unwound (EXIDX_CANTUNWIND). */
#define CANTUNWIND	1

/* Set in the address of a function that is Thumb code, but not in the tables. */
#define THUMB_BIT	((unsigned long)IS_ENABLED(CONFIG_THUMB2_KERNEL))

#define REG_FP		(IS_ENABLED(CONFIG_THUMB2_KERNEL) ? 7 : 11)
#define REG_SP		13
#define REG_LR		14

/*
 * State while the unwind instructions of a function are read. @at is the virtual stack
 * pointer; @lowest is the lowest word that was restored; @fp and @lr are where those
 * registers were saved. They count words upwards from the stack pointer in the
 * function, or from where the frame pointer points (@by_fp).
 */
struct frame {
	const unsigned long *insn;
	unsigned int words;
	unsigned int shift;
	int at;
	int lowest;
	int fp;
	int lr;
	bool by_fp;
	bool has_fp;
	bool has_lr;
	bool unknown;
};

/* Decodes a 31-bit offset relative to the word that holds it (prel31). */
static unsigned long target_of(const unsigned long *word)
{
	return (unsigned long)word + ((long)(*word << 1) >> 1);
}

/* The last entry that begins at @pc or below it; NULL if there is none. */
static const struct unwind_idx *search(const struct unwind_idx *first,
				       const struct unwind_idx *end,
				       unsigned long pc)
{
	unsigned int lo = 0, hi = end - first;

	while (hi - lo > 1) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (target_of(&first[mid].addr_offset) <= pc)
			lo = mid;
		else
			hi = mid;
	}
	return hi && target_of(&first[lo].addr_offset) <= pc ? &first[lo] : NULL;
}

/*
 * Searches only modules that are live and have no __init text any more. The loader
 * removes the table of the __init text from the list before it marks that text as
 * gone. It removes the other tables when the module is unloaded. Before that,
 * module_event() waits for CPUs that found the module live, and calls
 * kmt_steps_forget().
 */
static const struct unwind_idx *search_module(unsigned long pc)
{
#ifdef CONFIG_MODULES
	struct module *mod = __module_text_address(pc);
	const struct unwind_table *table;
	unsigned long start, end;

	if (!mod || READ_ONCE(mod->state) != MODULE_STATE_LIVE)
		return NULL;
	kmt_module_text(mod, true, &start, &end);
	if (start)
		return NULL;
	/* Pairs with the unlock between the loader's two writes, a barrier on ARM. */
	smp_rmb();
	list_for_each_entry(table, &mod->arch.unwind_list, mod_list)
		if (pc >= table->begin_addr && pc < table->end_addr)
			return search(table->start, table->stop, pc);
#endif
	return NULL;
}

static unsigned int next_byte(struct frame *f)
{
	unsigned int byte;

	if (!f->words) {
		f->unknown = true;
		return 0;
	}
	byte = *f->insn >> f->shift & 0xff;
	if (f->shift) {
		f->shift -= 8;
	} else {
		f->shift = 24;
		f->insn++;
		f->words--;
	}
	return byte;
}

/* Restores the registers of @mask, whose bit 0 is register @first. */
static void pop(struct frame *f, unsigned int mask, unsigned int first)
{
	unsigned int reg;

	for (reg = first; mask; reg++, mask >>= 1) {
		if (!(mask & 1))
			continue;
		f->lowest = min(f->lowest, f->at);
		switch (reg) {
		case REG_FP:
			f->fp = f->at;
			f->has_fp = true;
			break;
		case REG_LR:
			f->lr = f->at;
			f->has_lr = true;
			break;
		case REG_SP:
		case REG_LR + 1:
			f->unknown = true;
			break;
		}
		f->at++;
	}
}

static unsigned int uleb128(struct frame *f)
{
	unsigned int value = 0, byte, shift = 0;

	do {
		byte = next_byte(f);
		value |= (byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80 && shift < 28);
	return value;
}

/* Interprets one instruction; returns false at the last one or an unknown one. */
static bool take_down(struct frame *f)
{
	unsigned int insn = next_byte(f), mask;

	switch (insn) {
	case 0x00 ... 0x3f:
		f->at += (insn & 0x3f) + 1;
		return true;
	case 0x40 ... 0x7f:
		f->at -= (insn & 0x3f) + 1;
		return true;
	case 0x80 ... 0x8f:
		mask = (insn & 0xf) << 8 | next_byte(f);
		f->unknown |= !mask;
		pop(f, mask, 4);
		return true;
	case 0x90 | REG_FP:
		/* Only if it is still the function's own frame pointer. */
		f->unknown |= f->has_fp || f->has_lr || f->by_fp;
		f->by_fp = true;
		f->at = 0;
		f->lowest = 0;
		return true;
	case 0xa0 ... 0xaf:
		mask = GENMASK(insn & 7, 0);
		pop(f, mask, 4);
		if (insn & 8)
			pop(f, 1, REG_LR);
		return true;
	case 0xb0:
		return false;
	case 0xb1:
		mask = next_byte(f);
		f->unknown |= !mask || mask & 0xf0;
		pop(f, mask & 0xf, 0);
		return true;
	case 0xb2:
		f->at += 0x204 / sizeof(long) + uleb128(f);
		return true;
	}
	f->unknown = true;
	return false;
}

/* Finds the instructions; returns false if they have a format that kernels lack. */
static bool begin(struct frame *f, const struct unwind_idx *idx)
{
	f->insn = idx->insn & BIT(31) ? &idx->insn :
		  (const unsigned long *)target_of(&idx->insn);
	switch (*f->insn >> 24) {
	case 0x80:
		f->shift = 16;
		f->words = 1;
		return true;
	case 0x81:
		/* This format does not occur in the index entry itself. */
		f->shift = 8;
		f->words = 1 + (*f->insn >> 16 & 0xff);
		return f->insn != &idx->insn;
	}
	return false;
}

static u8 read_entry(const struct unwind_idx *idx, unsigned long pc,
		     struct kmt_step *step)
{
	struct frame f = {};
	int ra, bp = 0;

	if (idx->insn == CANTUNWIND)
		return KMT_STEP_END;
	/* At a function's first instruction the unwinder assumes the caller's frame. */
	if (pc == target_of(&idx->addr_offset) || !begin(&f, idx))
		return KMT_STEP_UNKNOWN;
	while (!f.unknown && f.words && take_down(&f))
		;
	/* The return address must be on the stack, and all words above its pointer. */
	if (f.unknown || !f.has_lr || (!f.by_fp && f.lowest < 0))
		return KMT_STEP_UNKNOWN;
	ra = f.at - f.lr;
	if (f.has_fp)
		bp = f.at - f.fp;
	if (f.at <= 0 || f.at > U16_MAX || ra < 1 || ra > KMT_STEP_RA_MAX ||
	    (f.has_fp && (bp < 1 || bp > U8_MAX)))
		return KMT_STEP_UNKNOWN;
	step->up = f.at;
	step->ra = ra;
	step->bp = bp;
	if (!f.by_fp)
		return KMT_STEP_SP;
	if (target_of(&idx->addr_offset) != ((unsigned long)call_with_stack & ~THUMB_BIT))
		return KMT_STEP_BP;
	/*
	 * The unwinder compares with the address that has bit 0 set. So it does not recognise
	 * call_with_stack(), and ends the trace here.
	 */
	if (THUMB_BIT)
		return KMT_STEP_END;
	/* All words must be at or above the address in the frame pointer. */
	return f.lowest < 0 ? KMT_STEP_UNKNOWN : KMT_STEP_BP_SWITCH;
}

bool kmt_arch_step(unsigned long pc, struct kmt_step *step)
{
	const struct unwind_idx *idx;

	if (kmt_is_tracer(pc))
		return true;
	/* Look up the return address itself, as the unwinder does. */
	if (core_kernel_text(pc))
		idx = search(__start_unwind_idx, __stop_unwind_idx, pc);
	else
		idx = search_module(pc);
	if (!idx)
		return false;
	step->kind = kmt_is_cut(pc) ? KMT_STEP_END : read_entry(idx, pc, step);
	return true;
}

bool kmt_arch_user_regs(unsigned long addr)
{
	return false;
}
#endif
