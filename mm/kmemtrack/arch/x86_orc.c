// SPDX-License-Identifier: GPL-2.0
/*
 * x86-64: steps (step.h), read from the tables of the ORC unwinder.
 */
#include <linux/module.h>

#include "../core/step.h"
#include "steps.h"

#if KMT_STEPS
/* The last entry at or below @ip, or the first one; NULL if the table is empty. */
static const struct orc_entry *search(const int *ips,
				      const struct orc_entry *orcs,
				      unsigned int nr, unsigned long ip)
{
	unsigned int lo = 0, hi = nr;

	while (hi - lo > 1) {
		unsigned int mid = lo + (hi - lo) / 2;

		if ((unsigned long)&ips[mid] + ips[mid] <= ip)
			lo = mid;
		else
			hi = mid;
	}
	return nr ? &orcs[lo] : NULL;
}

/*
 * Steps of a module that is going are not kept, since it may still run code after
 * kmt_steps_forget() was called. Steps in __init text are not kept, since the kernel
 * frees it without a notification.
 */
static const struct orc_entry *search_module(unsigned long pc, bool *keep)
{
#ifdef CONFIG_MODULES
	struct module *mod = __module_text_address(pc);

	if (mod && within_module(pc - 1, mod) && mod->arch.orc_unwind &&
	    mod->arch.orc_unwind_ip) {
		*keep = READ_ONCE(mod->state) != MODULE_STATE_GOING &&
			!within_module_init(pc, mod);
		return search(mod->arch.orc_unwind_ip, mod->arch.orc_unwind,
			      mod->arch.num_orcs, pc - 1);
	}
#endif
	return NULL;
}

static u8 kind_of(const struct orc_entry *orc)
{
	if (kmt_orc_ends(orc))
		return KMT_STEP_END;
	switch (orc->type) {
	case ORC_TYPE_REGS:
		return orc->sp_reg == ORC_REG_SP ? KMT_STEP_REGS :
						   KMT_STEP_UNKNOWN;
	case ORC_TYPE_CALL:
		if (kmt_orc_signal(orc))
			break;
		switch (orc->sp_reg) {
		case ORC_REG_SP:
			return KMT_STEP_SP;
		case ORC_REG_BP:
			return KMT_STEP_BP;
		case ORC_REG_BP_INDIRECT:
			return KMT_STEP_ALIGNED;
		case ORC_REG_SP_INDIRECT:
			return KMT_STEP_SWITCH;
		}
	}
	return KMT_STEP_UNKNOWN;
}

static u8 read_entry(const struct orc_entry *orc, struct kmt_step *step)
{
	int up = orc->sp_offset, bp = 0;
	u8 kind = kind_of(orc);

	if (kind == KMT_STEP_UNKNOWN || kind == KMT_STEP_END)
		return kind;
	if (kind == KMT_STEP_ALIGNED)
		up = -up;
	if (up < 0 || up % (int)sizeof(long))
		return KMT_STEP_UNKNOWN;
	step->up = up / sizeof(long);
	if (kind == KMT_STEP_ALIGNED)
		return orc->bp_reg == ORC_REG_BP && !orc->bp_offset ?
			kind : KMT_STEP_UNKNOWN;
	if (kind == KMT_STEP_REGS)
		return kind;
	if (orc->bp_reg == ORC_REG_PREV_SP)
		bp = -orc->bp_offset;
	else if (orc->bp_reg != ORC_REG_UNDEFINED)
		return KMT_STEP_UNKNOWN;
	/* The two saved words must lie between the two stack pointers. */
	if (!up || bp < 0 || bp % (int)sizeof(long) || bp > up ||
	    bp / (int)sizeof(long) > U8_MAX)
		return KMT_STEP_UNKNOWN;
	step->bp = bp / sizeof(long);
	return kind;
}

bool kmt_arch_step(unsigned long pc, struct kmt_step *step)
{
	const struct orc_entry *orc;
	bool keep = true;

	if (kmt_is_tracer(pc))
		return true;
	/* Look up the call instruction before @pc, as the unwinder does. */
	if (core_kernel_text(pc) && core_kernel_text(pc - 1))
		orc = search(__start_orc_unwind_ip, __start_orc_unwind,
			     __stop_orc_unwind_ip - __start_orc_unwind_ip,
			     pc - 1);
	else
		orc = search_module(pc, &keep);
	if (!orc)
		return false;
	step->kind = kmt_is_cut(pc) ? KMT_STEP_END : read_entry(orc, step);
	return keep;
}

bool kmt_arch_user_regs(unsigned long addr)
{
	struct pt_regs *regs = task_pt_regs(current);

	return addr == (unsigned long)regs && user_mode(regs) &&
	       regs->ip < TASK_SIZE_MAX;
}
#endif
