// SPDX-License-Identifier: GPL-2.0
/*
 * What refers to a block? The commands refs= and dump=, and kmemtrack_info/refs.
 *
 * A search reads all roots and all blocks, while all CPUs run, for words that point into
 * the block. For each further level it searches again, for references to all blocks that
 * had such words. A reference that moves meanwhile may be missed, or found twice: the
 * answer is for people, and no decision depends on it.
 *
 * A search takes as long as a mark that reaches all blocks. It uses memory for struct
 * kmt_ref_search and for the text of the answer, however many references it finds.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/io.h>
#include <linux/kallsyms.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/seq_buf.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/stacktrace.h>
#include <linux/vmalloc.h>
#include <asm/sections.h>

#include "pages.h"
#include "policy.h"
#include "report.h"

#define KMT_REFS_FORMAT	1

/* Limits of the references of a level, and of the hints of a kind, that are shown. */
#define KMT_REFS	32
#define KMT_HINTS	8

/* Limit of the blocks of a level whose holders are searched for on the next one. */
#define KMT_TARGETS	16

/* Size of the answer, and its last line if it did not fit. */
#define KMT_REFS_TEXT	SZ_32K
#define KMT_REFS_CUT	"left out: what followed\n"

/* Limit of the frames of a task that are recognised. */
#define KMT_FRAMES	32

/* Low bits of scatterlist.page_link that are no part of the struct page's address. */
#define KMT_PAGE_LINK	3UL

/**
 * struct kmt_place - place of a word that refers to a block
 * @at: its address; 0 if it is in a struct page or a list of callbacks
 * @to: address of the block that it refers to
 * @o: the block that contains it; of size 0 if it is in a root
 */
struct kmt_place {
	unsigned long at;
	unsigned long to;
	struct kmt_object o;
};

/* Words that are no references, but may hint at the owner of a block. */
enum kmt_hint {
	KMT_HINT_PHYS,
	KMT_HINT_PAGE,
	KMT_HINT_END,
	KMT_NR_HINTS,
};

/**
 * struct kmt_ref_search - a search for references
 * @m: marker, which reads memory
 * @own: stack of the task that searches, which holds the addresses and is skipped
 * @o: the block that is being read; of size 0 while roots are read
 * @hull: hull of all targets
 * @odd_hull: hull of those to which a word that is not aligned may refer
 * @targets: blocks to which references are searched
 * @nr_targets: number of targets
 * @nr: number of references found
 * @place: places of the first ones
 * @left_out: number of holders whose own holders are not searched, for lack of room
 * @known: addresses of all blocks that were targets
 * @nr_known: number of @known
 * @hints: hints are searched, too
 * @phys: physical address of the block; 0 if it has none
 * @page: address of its struct page, and of that of its compound page; 0 if it has none
 * @end: one past its last byte
 * @nr_hints: number of hints of each kind found
 * @hint: places of the first ones
 */
struct kmt_ref_search {
	struct kmt_marker m;
	struct kmt_range own;
	struct kmt_object o;
	struct kmt_range hull;
	struct kmt_range odd_hull;
	struct kmt_range targets[KMT_TARGETS];
	unsigned int nr_targets;
	unsigned long nr;
	struct kmt_place place[KMT_REFS];
	unsigned int left_out;
	unsigned long known[KMT_LEVELS_MAX * KMT_TARGETS];
	unsigned int nr_known;
	bool hints;
	unsigned long phys;
	unsigned long page[2];
	unsigned long end;
	unsigned long nr_hints[KMT_NR_HINTS];
	struct kmt_place hint[KMT_NR_HINTS][KMT_HINTS];
};

/* The address of a block's first byte, as references to the block have it. */
static unsigned long start_of(const struct kmt_object *o)
{
	return kmt_space(o) == KMT_PHYS ? kmt_env_phys(o->addr) : o->addr;
}

/* Whether the block that is being read is @target: references to itself are skipped. */
static bool is_in(const struct kmt_ref_search *s, const struct kmt_range *target)
{
	return s->o.size && start_of(&s->o) == target->lo;
}

static void add_place(struct kmt_ref_search *s, struct kmt_place *place,
		      unsigned int room, unsigned long *nr, unsigned long at,
		      unsigned long to)
{
	if (*nr < room)
		place[*nr] = (struct kmt_place){ at, to, s->o };
	++*nr;
}

static void try_target(struct kmt_ref_search *s, const struct kmt_range *target,
		       unsigned long word, unsigned long at)
{
	if (kmt_in(target, word) && !is_in(s, target))
		add_place(s, s->place, KMT_REFS, &s->nr, at, target->lo);
}

static void try_hints(struct kmt_ref_search *s, unsigned long raw,
		      unsigned long word, unsigned long at)
{
	const unsigned long page = word & ~KMT_PAGE_LINK;
	enum kmt_hint hint;

	if (word == s->end)
		hint = KMT_HINT_END;
	else if (page && (page == s->page[0] || page == s->page[1]))
		hint = KMT_HINT_PAGE;
	else if (raw == s->phys && raw)
		hint = KMT_HINT_PHYS;
	else
		return;
	if (!is_in(s, &s->targets[0]))
		add_place(s, s->hint[hint], KMT_HINTS, &s->nr_hints[hint], at,
			  s->targets[0].lo);
}

/* Tries the unaligned words across @a, which is at @at, and @b, as try_unaligned() does. */
static void try_odd(struct kmt_ref_search *s, unsigned long a, unsigned long b,
		    unsigned long at)
{
	unsigned int shift, i;

	for (shift = 8; shift < 8 * sizeof(long); shift += 8) {
		const unsigned long word = kmt_untag(kmt_unaligned_word(a, b, shift));

		if (likely(!kmt_in(&s->odd_hull, word)) || !kmt_odd_may_refer(word))
			continue;
		for (i = 0; i < s->nr_targets; i++)
			if (!kmt_odd_needs_start(word, shift) ||
			    (word == s->targets[i].lo &&
			     !kmt_odd_in_address(&kmt_core, a, b, shift)))
				try_target(s, &s->targets[i], word, at + shift / 8);
	}
}

static void search_odd(struct kmt_ref_search *s, const unsigned long *words,
		       unsigned int nr, unsigned long at)
{
	const bool goes_on = s->m.seam.end == at;
	unsigned long a = goes_on ? s->m.seam.word : words[0];
	unsigned long pos = goes_on ? at - sizeof(a) : at;
	unsigned int i;

	for (i = !goes_on; i < nr; i++, pos += sizeof(a)) {
		if (!kmt_in(&s->own, pos))
			try_odd(s, a, words[i], pos);
		a = words[i];
	}
	s->m.seam.word = a;
	s->m.seam.end = at + nr * sizeof(a);
}

static void search_words(struct kmt_marker *m, const unsigned long *words,
			 unsigned int nr, unsigned long at)
{
	struct kmt_ref_search *s = container_of(m, struct kmt_ref_search, m);
	unsigned int i;

	if (at && s->odd_hull.hi)
		search_odd(s, words, nr, at);
	for (; nr--; words++, at += at ? sizeof(long) : 0) {
		const unsigned long word = kmt_untag(*words);
		const bool hit = kmt_in(&s->hull, word);

		if (likely(!hit && !s->hints) || kmt_in(&s->own, at))
			continue;
		if (!hit)
			try_hints(s, *words, word, at);
		for (i = 0; hit && i < s->nr_targets; i++)
			try_target(s, &s->targets[i], word, at);
	}
}

static void search_object(struct kmt_ref_search *s, struct kmt_object *o)
{
	if (!kmt_copy_object(&kmt_core, o, &s->o))
		return;
	if (kmt_is_read(&s->o))
		kmt_handle_object(&s->m, o, &s->o);
	s->o.size = 0;
}

static void search_roots(struct kmt_ref_search *s)
{
	struct kmt_roots roots = {};

	kmt_roots_init(&roots);
	get_online_mems();
	kmt_roots_fill(&s->m, &roots);
	kmt_mark_stacks(&s->m, &roots);
	kmt_mark_memory(&s->m, &roots);
	put_online_mems();
	kmt_roots_free(&roots);
}

static void search(struct kmt_ref_search *s)
{
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	s->m.seam.end = KMT_NO_SEAM;
	search_roots(s);
	kmt_walk_cells(&s->m, chunk, o)
		if (READ_ONCE(o->flags) & KMT_LIVE && kmt_go_on(&s->m))
			search_object(s, o);
}

static void add_target(struct kmt_ref_search *s, const struct kmt_object *o)
{
	const unsigned long addr = start_of(o);

	s->targets[s->nr_targets++] = (struct kmt_range){
		addr, addr + o->size
	};
	kmt_widen(&s->hull, addr, o->size);
	if (kmt_bytes_are_references() && kmt_space(o) == KMT_VIRT &&
	    addr >= KMT_NUMBERS_END)
		kmt_widen(&s->odd_hull, addr, o->size);
	s->known[s->nr_known++] = addr;
}

static bool is_known(const struct kmt_ref_search *s, unsigned long addr)
{
	unsigned int i;

	for (i = 0; i < s->nr_known; i++)
		if (s->known[i] == addr)
			return true;
	return false;
}

/* The cache may be gone later. */
static void name_cache(char *name, const struct kmt_object *o)
{
	const struct kmt_object *now;
	struct kmt_held held;

	if (kmt_space(o) != KMT_VIRT) {
		kmt_source_name(name, kmt_space(o), o->addr);
		return;
	}
	strscpy(name, "?", KMT_CACHE_NAME);
	now = kmt_lock_find(&kmt_core, KMT_VIRT, o->addr, &held);
	if (!now)
		return;
	if (now->addr == o->addr)
		kmt_cache_at(name, o->addr);
	kmt_unlock(&held);
}

/* vmap_areas are skipped: they are in a tree, which leads to all vmalloc blocks. */
static bool is_vmap_area(const struct kmt_object *o)
{
	char cache[KMT_CACHE_NAME];

	name_cache(cache, o);
	return !strcmp(cache, "vmap_area");
}

/*
 * Makes the blocks that had references the next targets; returns false if there are none,
 * or if a reference is in a root.
 */
static bool next_level(struct kmt_ref_search *s)
{
	const unsigned int nr = min(s->nr, KMT_REFS);
	unsigned int i;

	s->nr_targets = 0;
	s->hull = (struct kmt_range){};
	s->odd_hull = (struct kmt_range){};
	s->hints = false;
	for (i = 0; i < nr; i++) {
		const struct kmt_object *o = &s->place[i].o;

		/* In a root, or in a block that needs no references. */
		if (!o->size || !kmt_needs_refs(o))
			return false;
		if (is_known(s, start_of(o)) || is_vmap_area(o))
			continue;
		if (s->nr_targets < KMT_TARGETS)
			add_target(s, o);
		else
			s->left_out++;
	}
	s->nr = 0;
	return s->nr_targets;
}

/* Determines the words that are hints at the block @o, which is live. */
static void look_for_hints(struct kmt_ref_search *s, const struct kmt_object *o)
{
	struct page *page = NULL;
	struct kmt_object *now;
	struct kmt_held held;

	s->hints = true;
	s->end = start_of(o) + o->size;
	if (kmt_space(o) != KMT_VIRT)
		return;
	/* The block is mapped as long as it is tracked. */
	now = kmt_lock_find(&kmt_core, KMT_VIRT, o->addr, &held);
	if (!now)
		return;
	if (is_vmalloc_or_module_addr((void *)o->addr))
		page = vmalloc_to_page((void *)o->addr);
	else if (virt_addr_valid((void *)o->addr))
		page = virt_to_page((void *)o->addr);
	kmt_unlock(&held);
	if (!page)
		return;
	s->page[0] = kmt_untag((unsigned long)page);
	s->page[1] = kmt_untag((unsigned long)compound_head(page));
	/* A physical address that does not fit in a word is not searched for. */
	if (page_to_phys(page) + offset_in_page(o->addr) <= ULONG_MAX)
		s->phys = page_to_phys(page) + offset_in_page(o->addr);
}

/**
 * struct kmt_text - text of an answer
 * @buf: its lines
 * @log: it is for the log, where addresses may be hidden
 */
struct kmt_text {
	struct seq_buf buf;
	bool log;
};

static void put_addr(struct kmt_text *t, unsigned long addr)
{
	struct kmt_log_name name;

	if (!t->log) {
		seq_buf_printf(&t->buf, "0x%08lx", addr);
		return;
	}
	kmt_set_log_name(&name, addr);
	seq_buf_puts(&t->buf, name.text);
}

/* The name of a slab cache may come from outside of the kernel, so escape it. */
static noinline_for_stack void put_cache(struct kmt_text *t, const char *cache)
{
	char text[KMT_CACHE_TEXT];

	seq_buf_printf(&t->buf, ", %s", kmt_cache_text(text, cache));
}

/* Appends the name of a variable and the offset in it, or the address. */
static noinline_for_stack void put_variable(struct kmt_text *t,
					    unsigned long at)
{
	char text[KSYM_SYMBOL_LEN];

	sprint_symbol(text, at);
	if (strncmp(text, "0x", 2))
		seq_buf_puts(&t->buf, text);
	else
		put_addr(t, at);
}

static noinline_for_stack void put_code(struct kmt_text *t, unsigned long pc)
{
	char text[KSYM_SYMBOL_LEN];

	seq_buf_puts(&t->buf, kmt_code_name(text, pc));
}

/*
 * Finds the function in whose frame @at is, by the return addresses between @at and the
 * stack pointer; returns 0 if it is not known.
 */
static noinline_for_stack unsigned long frame_of(struct task_struct *task,
						 unsigned long at)
{
	unsigned long entries[KMT_FRAMES], pos, word, below = 0, pc = 0;
	unsigned int i = 0, nr;

	if (task == current || task_curr(task))
		return 0;
	pos = ALIGN(kmt_saved_sp(task), sizeof(long));
	/* The task may have run since @at was found. */
	if (!pos || at - pos >= THREAD_SIZE)
		return 0;
	nr = stack_trace_save_tsk(task, entries, KMT_FRAMES, 0);
	for (; pos <= at && i < nr; pos += sizeof(long)) {
		if (!kmt_env_read(&word, pos, sizeof(word)))
			return 0;
		word = kmt_env_strip(word);
		/* On some architectures entries[0] is no word on the stack. */
		if (!i && word != entries[0] && nr > 1 && word == entries[1])
			pc = entries[i++];
		if (word != entries[i])
			continue;
		below = pc;
		pc = entries[i++];
	}
	/* A function's return address is above its local variables, or below. */
	return KMT_FRAME_RETURN_FIRST ? below : pc;
}

static void put_task(struct kmt_text *t, struct task_struct *task,
		     unsigned long at, unsigned long top)
{
	const unsigned long pc = frame_of(task, at);
	struct kmt_log_task name;

	seq_buf_printf(&t->buf, "stack of task \"%s\" pid %d",
		       kmt_escape_log_task(&name, task->comm), task_pid_nr(task));
	if (pc) {
		seq_buf_puts(&t->buf, ", in ");
		put_code(t, pc);
	}
	seq_buf_printf(&t->buf, ", 0x%lx below its top", top - at);
}

/* Appends the task whose stack contains @at; false if there is none. */
static bool put_stack(struct kmt_text *t, unsigned long at)
{
	struct task_struct *task;
	bool found = false;
	int nr = 1;

	while (!found && (task = kmt_next_task(&nr))) {
		unsigned long lo = (unsigned long)try_get_task_stack(task);

		found = lo && at - kmt_untag(lo) < THREAD_SIZE;
		if (found)
			put_task(t, task, at, kmt_untag(lo) + THREAD_SIZE);
		if (lo)
			put_task_stack(task);
		put_task_struct(task);
		cond_resched();
	}
	return found;
}

/* Appends the per-CPU variable that contains @at; false if there is none. */
static bool put_percpu_variable(struct kmt_text *t, unsigned long at)
{
#ifdef CONFIG_SMP
	int cpu;

	for_each_possible_cpu(cpu) {
		const unsigned long p = at - per_cpu_offset(cpu);

		if (p < (unsigned long)__per_cpu_start ||
		    p >= (unsigned long)__per_cpu_end)
			continue;
		seq_buf_puts(&t->buf, "percpu variable ");
		put_variable(t, p);
		seq_buf_printf(&t->buf, " of CPU %d", cpu);
		return true;
	}
#endif
	return false;
}

static void put_page_at(struct kmt_text *t, unsigned long at)
{
	char cache[KMT_CACHE_NAME] = "";
	struct page *page = NULL;

	seq_buf_puts(&t->buf, "page ");
	put_addr(t, at & PAGE_MASK);
	seq_buf_printf(&t->buf, ", +0x%lx", offset_in_page(at));
	get_online_mems();
	/* A page of high memory may have another address by now, or none. */
	if (virt_addr_valid((void *)at))
		page = pfn_to_online_page(PHYS_PFN(__pa(at)));
	if (page) {
		seq_buf_printf(&t->buf, ", %s",
			       kmt_memory_name(kmt_memory_class_of(page)));
		if (PageSlab(compound_head(page)) && kmt_cache_at(cache, at))
			put_cache(t, cache);
	}
	put_online_mems();
}

static void put_site(struct kmt_text *t, u32 trace)
{
	unsigned long pc = kmt_allocated_by(trace);

	if (!pc)
		return;
	seq_buf_puts(&t->buf, ", allocated by ");
	put_code(t, pc);
}

/* Appends the offset in the block, and for a per-CPU block the CPU. */
static void put_offset(struct kmt_text *t, const struct kmt_place *p)
{
	unsigned long base = start_of(&p->o);
	int cpu;

	if (kmt_space(&p->o) != KMT_PERCPU) {
		seq_buf_printf(&t->buf, ", +0x%lx", p->at - base);
		return;
	}
	for_each_possible_cpu(cpu) {
		base = kmt_env_percpu(p->o.addr, cpu);
		if (p->at - base >= p->o.size)
			continue;
		seq_buf_printf(&t->buf, ", +0x%lx of CPU %d", p->at - base,
			       cpu);
		return;
	}
}

/**
 * kmt_state_name - what a scan made of a block, in a word or two
 * @o: copy of the block
 *
 * Return: a constant string.
 */
const char *kmt_state_name(const struct kmt_object *o)
{
	if (o->flags & KMT_LEAK)
		return o->flags & KMT_INDIRECT ? "indirect leak" : "leak";
	if (o->min_refs == KMT_MIN_GREY)
		return "root";
	if (o->min_refs == KMT_MIN_BLACK)
		return "ignored";
	if (kmt_is_cleared(o))
		return "cleared";
	return o->flags & KMT_SUSPECT ? "suspect" : "live";
}

static void put_object(struct kmt_text *t, const struct kmt_place *p)
{
	char cache[KMT_CACHE_NAME];

	name_cache(cache, &p->o);
	if (kmt_space(&p->o) == KMT_PERCPU)
		seq_buf_puts(&t->buf, "percpu ");
	seq_buf_puts(&t->buf, "object ");
	put_addr(t, start_of(&p->o));
	seq_buf_printf(&t->buf, ", %lu bytes", p->o.size);
	put_cache(t, cache);
	put_offset(t, p);
	if (p->o.flags & KMT_ALIAS)
		seq_buf_puts(&t->buf, kmt_is_struct_record(&p->o) ?
			     ", its struct pages" : ", its vm_struct");
	if (strcmp(kmt_state_name(&p->o), "live"))
		seq_buf_printf(&t->buf, ", %s", kmt_state_name(&p->o));
	put_site(t, p->o.trace);
}

/* Appends the kind of place, as the first word, and the place. */
static void put_place(struct kmt_text *t, const struct kmt_place *p)
{
	if (!p->at) {
		seq_buf_puts(&t->buf,
			     "page struct, or a list of RCU's callbacks");
	} else if ((p->o.size && kmt_space(&p->o) == KMT_ROOT) ||
		   is_module_address(p->at)) {
		seq_buf_puts(&t->buf, "global ");
		put_variable(t, p->at);
	} else if (p->o.size && !(p->o.flags & KMT_STACK)) {
		put_object(t, p);
	} else if (!put_stack(t, p->at) && !put_percpu_variable(t, p->at)) {
		put_page_at(t, p->at);
	}
}

static void put_level(struct kmt_text *t, const struct kmt_ref_search *s,
		      unsigned int level)
{
	const unsigned int nr = min(s->nr, KMT_REFS);
	unsigned int i;

	for (i = 0; i < nr; i++) {
		seq_buf_printf(&t->buf, "ref %u: ", level);
		put_place(t, &s->place[i]);
		if (level > 1) {
			seq_buf_puts(&t->buf, ", to object ");
			put_addr(t, s->place[i].to);
		}
		seq_buf_putc(&t->buf, '\n');
		cond_resched();
	}
	if (s->nr > nr)
		seq_buf_printf(&t->buf, "left out %u: %lu references\n", level,
			       s->nr - nr);
}

static void put_hints(struct kmt_text *t, const struct kmt_ref_search *s)
{
	static const char * const names[KMT_NR_HINTS] = {
		[KMT_HINT_PHYS]	= "physical address",
		[KMT_HINT_PAGE]	= "struct page",
		[KMT_HINT_END]	= "one past the end",
	};
	struct kmt_object next;
	bool taken = kmt_lookup(&kmt_core, KMT_VIRT, s->end, &next) &&
		     next.addr == s->end;
	unsigned long i, nr;
	int hint;

	for (hint = 0; hint < KMT_NR_HINTS; hint++) {
		nr = min(s->nr_hints[hint], KMT_HINTS);
		for (i = 0; i < nr; i++) {
			seq_buf_printf(&t->buf, "hint: %s at ", names[hint]);
			put_place(t, &s->hint[hint][i]);
			if (hint == KMT_HINT_END && taken)
				seq_buf_puts(&t->buf,
					     "; another object begins there");
			seq_buf_putc(&t->buf, '\n');
			cond_resched();
		}
		if (s->nr_hints[hint] > nr)
			seq_buf_printf(&t->buf, "left out: %lu hints (%s)\n",
				       s->nr_hints[hint] - nr, names[hint]);
	}
}

/*
 * Hints are shown only for leaks and for blocks without references: for other blocks in
 * use such words are common and tell nothing.
 */
static bool wants_hints(const struct kmt_ref_search *s,
			const struct kmt_object *target)
{
	return target->flags & KMT_LEAK || !s->nr;
}

static unsigned long count_hints(const struct kmt_ref_search *s)
{
	unsigned long nr = 0;
	int hint;

	for (hint = 0; hint < KMT_NR_HINTS; hint++)
		nr += s->nr_hints[hint];
	return nr;
}

static void put_head(struct kmt_text *t, const struct kmt_object *target,
		     unsigned long refs, unsigned long hints)
{
	char cache[KMT_CACHE_NAME];

	name_cache(cache, target);
	seq_buf_printf(&t->buf, "kmemtrack-refs %d: block ", KMT_REFS_FORMAT);
	put_addr(t, start_of(target));
	seq_buf_printf(&t->buf, ", %lu bytes", target->size);
	put_cache(t, cache);
	seq_buf_printf(&t->buf, ", %s: %lu references, %lu hints\n",
		       kmt_state_name(target), refs, hints);
}

/*
 * Appends the references to @target, then those to the blocks that hold them, and so on,
 * up to @levels levels or to the first level with a reference in a root.
 */
static int find_refs(struct kmt_ref_search *s, struct kmt_text *t,
		     const struct kmt_object *target, unsigned int levels)
{
	struct kmt_mark_entry stack;
	unsigned int level = 1;
	bool hints;

	memset(s, 0, sizeof(*s));
	kmt_marker_init(&s->m, &kmt_core, &stack, 1, NULL);
	kmt_marker_hand_over(&s->m, search_words);
	kmt_widen(&s->own, kmt_untag((unsigned long)current->stack),
		  THREAD_SIZE);
	add_target(s, target);
	look_for_hints(s, target);
	search(s);
	hints = wants_hints(s, target);
	put_head(t, target, s->nr, hints ? count_hints(s) : 0);
	for (;;) {
		if (s->m.stopped)
			return -EINTR;
		put_level(t, s, level);
		if (level++ == levels || !next_level(s))
			break;
		search(s);
	}
	if (hints)
		put_hints(t, s);
	if (s->left_out)
		seq_buf_printf(&t->buf, "left out: holders of %u objects\n",
			       s->left_out);
	return 0;
}

static int find(struct kmt_text *t, const struct kmt_object *target,
		unsigned int levels)
{
	const unsigned int order = get_order(sizeof(struct kmt_ref_search));
	struct kmt_ref_search *s = kmt_own_alloc(GFP_KERNEL, order);
	int ret;

	lockdep_assert_held(&kmt_scan_mutex);
	if (!s)
		return -ENOMEM;
	ret = find_refs(s, t, target, levels);
	kmt_own_free(s, order);
	return ret;
}

static char *begin_text(struct kmt_text *t, bool log)
{
	char *text = kmt_own_vzalloc(KMT_REFS_TEXT);

	t->log = log;
	if (text)
		seq_buf_init(&t->buf, text,
			     KMT_REFS_TEXT - sizeof(KMT_REFS_CUT));
	return text;
}

/* Terminates the text after its last complete line; returns its length. */
static size_t end_text(struct kmt_text *t, char *text)
{
	size_t len = seq_buf_used(&t->buf);

	if (!seq_buf_has_overflowed(&t->buf))
		return len;
	while (len && text[len - 1] != '\n')
		len--;
	memcpy(text + len, KMT_REFS_CUT, sizeof(KMT_REFS_CUT));
	return len + sizeof(KMT_REFS_CUT) - 1;
}

/* Protects the answer to the last command, which the next one frees. */
static DEFINE_MUTEX(refs_mutex);
static char *answer;
static size_t answer_len;

/* Finds the block that contains @addr; memblock's are known by physical address. */
static bool find_block(unsigned long addr, struct kmt_object *o)
{
	return kmt_lookup(&kmt_core, KMT_VIRT, addr, o) ||
	       kmt_lookup(&kmt_core, KMT_PERCPU, addr, o) ||
	       (virt_addr_valid((void *)addr) &&
		kmt_lookup(&kmt_core, KMT_PHYS, __pa(addr), o));
}

/**
 * kmt_find_refs - find what refers to a block
 * @addr: an address in the block, with or without KASAN's tag
 * @levels: how many levels of references to follow back
 *
 * The answer is shown in kmemtrack_info/refs.
 *
 * Context: kmt_scan_mutex held, may sleep; takes as long as a mark for each level.
 * Return: 0; -EINVAL if there is no such block; -ENOMEM; -EINTR if the task is killed or
 * frozen. On an error the last answer stays.
 */
int kmt_find_refs(unsigned long addr, unsigned int levels)
{
	struct kmt_object o;
	struct kmt_text t;
	char *text;
	int ret;

	if (!find_block(kmt_untag(addr), &o))
		return -EINVAL;
	text = begin_text(&t, false);
	if (!text)
		return -ENOMEM;
	/* Keeps backtraces and names. */
	down_read(&kmt_reports_sem);
	ret = find(&t, &o, levels);
	up_read(&kmt_reports_sem);
	if (ret) {
		kmt_own_vfree(text, KMT_REFS_TEXT);
		return ret;
	}
	mutex_lock(&refs_mutex);
	answer_len = end_text(&t, text);
	swap(answer, text);
	mutex_unlock(&refs_mutex);
	kmt_own_vfree(text, KMT_REFS_TEXT);
	return 0;
}

/**
 * kmt_refs_show - print the answer to the last refs=
 * @seq: where to
 * @v: not used
 *
 * Context: may sleep.
 * Return: 0.
 */
int kmt_refs_show(struct seq_file *seq, void *v)
{
	mutex_lock(&refs_mutex);
	if (answer)
		seq_write(seq, answer, answer_len);
	else
		seq_printf(seq, "kmemtrack-refs %d: none was asked for\n",
			   KMT_REFS_FORMAT);
	mutex_unlock(&refs_mutex);
	return 0;
}

static void log_places(const struct kmt_object *target)
{
	struct kmt_text t;
	char *text = begin_text(&t, true);
	char *line, *rest = text;

	if (!text)
		return;
	if (!find(&t, target, 1)) {
		end_text(&t, text);
		while ((line = strsep(&rest, "\n")) && *line)
			pr_info("  %s\n", line);
	}
	kmt_own_vfree(text, KMT_REFS_TEXT);
}

/* Describes the flags of @o in words. */
static void describe(const struct kmt_object *o, char *text, size_t size)
{
	static const struct {
		u16 flag;
		const char *word;
	} words[] = {
		{ KMT_LEAK,	 "reported" },
		{ KMT_NEW,	 "new" },
		{ KMT_INDIRECT,	 "indirect" },
		{ KMT_SUSPECT,	 "suspect" },
		{ KMT_TRANSIENT, "not suspected by the next scan" },
		{ KMT_NO_SCAN,	 "not read" },
		{ KMT_AREAS,	 "has scan areas" },
		{ KMT_WHOLE,	 "read as a whole" },
		{ KMT_ALIAS,	 "shares references" },
		{ KMT_STACK,	 "stack of a task" },
	};
	size_t len = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (o->flags & words[i].flag)
			len += scnprintf(text + len, size - len, "%s%s",
					 len ? ", " : "", words[i].word);
	if (!len)
		scnprintf(text, size, "nothing special");
}

static void log_references(const struct kmt_object *o)
{
	if (o->min_refs == KMT_MIN_GREY)
		pr_info("  references: needs none, it is a root\n");
	else if (o->min_refs == KMT_MIN_BLACK)
		pr_info("  references: needs none, it is ignored\n");
	else if (kmt_is_cleared(o))
		pr_info("  references: needs none, it was reported and cleared\n");
	else
		pr_info("  references: %u found by the last mark, %u needed\n",
			o->count, o->min_refs);
}

/**
 * kmt_log_address - log what is known of an address
 * @addr: an address in a block, with or without KASAN's tag
 *
 * Context: kmt_scan_mutex held, may sleep; takes as long as a mark.
 * Return: 0; -EINVAL if it lies in no tracked block.
 */
int kmt_log_address(unsigned long addr)
{
	struct kmt_log_name name;
	struct kmt_log_task task;
	struct kmt_object o;
	char text[160];

	/* Keeps the name of the task. */
	down_read(&kmt_reports_sem);
	if (!find_block(kmt_untag(addr), &o)) {
		up_read(&kmt_reports_sem);
		return -EINVAL;
	}
	kmt_set_log_name(&name, o.addr);
	describe(&o, text, sizeof(text));
	pr_info("object %s (size %lu):\n", name.text, o.size);
	pr_info("  comm \"%s\", pid %d, jiffies %lu\n",
		kmt_escape_log_task(&task, kmt_comm(o.comm)), kmt_pid(&o), kmt_when(o.born));
	log_references(&o);
	log_places(&o);
	pr_info("  state: %s\n", text);
	pr_info("  backtrace:\n");
	kmt_print_trace(NULL, KERN_INFO pr_fmt("    "), o.trace);
	up_read(&kmt_reports_sem);
	return 0;
}
