// SPDX-License-Identifier: GPL-2.0
/*
 * Formats of leaks: grouped by site, one by one as kmemleak does, and in the log. The
 * formats are versioned; see Documentation/dev-tools/kmemtrack.rst.
 */
#include <linux/crc32.h>
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/seq_file.h>
#include <linux/stackdepot.h>

#include "report.h"

#define KMT_FORMAT	1

#define KMT_ROW		16

#define KMT_IN_LIST	"\"\\ ,"

static void print_dump(struct seq_file *seq, const struct kmt_leak *leak)
{
	seq_hex_dump(seq, "    ", DUMP_PREFIX_NONE, KMT_ROW, 1, leak->dump,
		     leak->dumped, true);
}

/**
 * kmt_ms_since - compute the age of a block
 * @born: when it was allocated, low 32 bits of jiffies
 *
 * Return: milliseconds, up to KMT_AGE_MAX, which is more than fit 32 bits.
 */
u64 kmt_ms_since(u32 born)
{
	return jiffies64_to_msecs((u32)((u32)jiffies - born));
}

static void print_confirmed(struct seq_file *seq, const struct kmt_scan_result *out)
{
	/* In tenths of a millisecond. */
	u64 pause = div_u64(out->pause_ns + 50000, 100000);
	u64 expected = div_u64(out->expected_ns + 50000, 100000);

	switch (out->how) {
	case KMT_CONFIRM_SNAPSHOT:
		seq_printf(seq, "confirm snapshot, pause %llu.%llu ms",
			   pause / 10, pause % 10);
		break;
	case KMT_CONFIRM_WAIT:
		seq_puts(seq, "confirm wait");
		break;
	case KMT_CONFIRM_NEVER_STOP:
		seq_puts(seq, "confirm wait (max_pause is 0)");
		break;
	case KMT_CONFIRM_TOO_LONG:
		seq_printf(seq, "confirm wait (snapshot would pause %llu.%llu ms)",
			   expected / 10, expected % 10);
		break;
	case KMT_CONFIRM_GIVEN_UP:
		seq_printf(seq, "confirm wait (snapshot given up, pause %llu.%llu ms)",
			   pause / 10, pause % 10);
		break;
	case KMT_CONFIRM_CPU_BUSY:
		seq_printf(seq, "confirm wait (CPU %d busy, pause %llu.%llu ms)",
			   out->busy_cpu, pause / 10, pause % 10);
		break;
	case KMT_CONFIRM_NO_MEMORY:
		seq_puts(seq, "confirm wait (no memory for snapshot)");
		break;
	case KMT_CONFIRM_NO_CLOCK:
		seq_puts(seq, "confirm wait (no clock for snapshot)");
		break;
	}
}

static void print_last_scan(struct seq_file *seq,
			    const struct kmt_last_scan *last)
{
	if (last->made) {
		seq_printf(seq, "scan %lu: %lu ms, %lu objects, ", last->nr,
			   last->ms, last->objects);
		print_confirmed(seq, &last->out);
	} else {
		seq_printf(seq, "%lu objects",
			   kmt_used_cells() - kmt_nr_aux(&kmt_core));
	}
	seq_puts(seq, kmt_untracked_slabs ? ", untracked memory\n" : "\n");
}

/**
 * kmt_print_head - print the first line of the grouped report
 * @seq: where to
 * @report: report
 *
 * Context: kmt_scan_mutex held, so a reader of the report waits for a scan.
 */
void kmt_print_head(struct seq_file *seq, const struct kmt_report *report)
{
	const struct kmt_last_scan *last = &kmt_last_scan;

	lockdep_assert_held(&kmt_scan_mutex);
	seq_printf(seq, "kmemtrack %d: ", KMT_FORMAT);
	/* Print "0 leaks" only as the result of a scan. */
	if (last->made || report->sum.nr || report->suppressed.nr)
		seq_printf(seq, "%lu leaks, %lu bytes, %lu sites",
			   report->sum.nr, report->sum.bytes, report->nr_groups);
	else
		seq_puts(seq, "no scan yet");
	if (report->suppressed.nr)
		seq_printf(seq, ", %lu suppressed", report->suppressed.nr);
	seq_puts(seq, "; ");
	if (kmt_tracking())
		print_last_scan(seq, last);
	else
		seq_puts(seq, "off\n");
}

/**
 * kmt_print_comm - print the name of a task in quotes, escaped
 * @seq: where to
 * @comm: handle of the name
 *
 * Context: kmt_reports_sem held for reading.
 */
void kmt_print_comm(struct seq_file *seq, u16 comm)
{
	struct kmt_log_task task;

	seq_printf(seq, "\"%s\"", kmt_escape_log_task(&task, kmt_comm(comm)));
}

static void print_tasks(struct seq_file *seq, const struct kmt_group *g)
{
	unsigned int i, shown = min_t(unsigned int, g->names, KMT_TASKS);

	if (!shown)
		return;
	seq_puts(seq, "  tasks");
	for (i = 0; i < shown; i++) {
		seq_puts(seq, i ? ", " : " ");
		kmt_print_comm(seq, g->tasks[i].comm);
		seq_printf(seq, " %lu", g->tasks[i].nr);
	}
	if (g->names > shown)
		seq_printf(seq, " and %u more", g->names - shown);
	seq_putc(seq, '\n');
}

/**
 * kmt_print_seconds - print a time in seconds, with three decimals
 * @seq: where to
 * @ms: the time in milliseconds
 */
void kmt_print_seconds(struct seq_file *seq, u64 ms)
{
	u32 rest;

	ms = div_u64_rem(ms, MSEC_PER_SEC, &rest);
	seq_printf(seq, "%llu.%03u", ms, rest);
}

/**
 * kmt_cache_text - escape the name of a slab cache for output
 * @text: room for it: KMT_CACHE_TEXT bytes
 * @cache: name of a slab cache, which may have any characters, or the name shown in its
 *	place, such as "vmalloc"
 *
 * Return: @text
 */
const char *kmt_cache_text(char *text, const char *cache)
{
	return kmt_escape(text, KMT_CACHE_TEXT, cache, KMT_CACHE_NAME, KMT_IN_LIST);
}

/**
 * kmt_print_cache - print the name of a slab cache, escaped
 * @seq: where to
 * @cache: as for kmt_cache_text()
 */
void kmt_print_cache(struct seq_file *seq, const char *cache)
{
	char text[KMT_CACHE_TEXT];

	seq_puts(seq, kmt_cache_text(text, cache));
}

static void print_sizes(struct seq_file *seq, const char *what, unsigned long oldest,
			unsigned long least, unsigned long most)
{
	seq_printf(seq, ", %s %lu", what, oldest);
	if (least < most)
		seq_printf(seq, " (%lu to %lu)", least, most);
}

/**
 * kmt_print_group - print one entry of the grouped report
 * @seq: where to
 * @g: entry
 */
void kmt_print_group(struct seq_file *seq, const struct kmt_group *g)
{
	const struct kmt_leak *old = &g->oldest;

	down_read(&kmt_reports_sem);
	seq_printf(seq, "\nleak: %lu objects, %lu bytes (%lu direct, %lu indirect), ",
		   g->sum.nr, g->sum.bytes, g->sum.nr - g->sum.indirect,
		   g->sum.indirect);
	kmt_print_cache(seq, g->cache);
	print_sizes(seq, "size", old->size, g->least, g->most);
	if (g->rounded)
		print_sizes(seq, "requested", kmt_leak_requested(old),
			    g->requested.least, g->requested.most);
	if (g->leader && g->all.nr > g->sum.nr)
		seq_printf(seq, "; in all %lu direct, %lu indirect, %lu bytes",
			   g->all.nr - g->all.indirect, g->all.indirect,
			   g->all.bytes);
	seq_puts(seq, "\n  first ");
	kmt_print_seconds(seq, kmt_ms_since(old->born));
	seq_puts(seq, " s ago, last ");
	kmt_print_seconds(seq, kmt_ms_since(g->newest));
	seq_puts(seq, " s ago, comm ");
	kmt_print_comm(seq, old->comm);
	seq_printf(seq, " pid %d\n", old->pid);
	print_tasks(seq, g);
	seq_printf(seq, "  object 0x%08lx\n", old->addr);
	seq_printf(seq, "  hex dump (first %u bytes):\n", old->dumped);
	print_dump(seq, old);
	seq_puts(seq, "  backtrace:\n");
	kmt_print_trace(seq, "    ", old->trace);
	up_read(&kmt_reports_sem);
}

/**
 * kmt_set_log_name - format the address of a block for the log
 * @name: filled in
 * @addr: its address
 *
 * With kptr_restrict this is a hash of the address.
 */
void kmt_set_log_name(struct kmt_log_name *name, unsigned long addr)
{
	if (READ_ONCE(kptr_restrict))
		snprintf(name->text, sizeof(name->text), "0x%p", (void *)addr);
	else
		snprintf(name->text, sizeof(name->text), "0x%08lx", addr);
}

/* Checksum of a backtrace, by which programs distinguish kinds of leaks. */
static u32 trace_crc(u32 trace)
{
	unsigned long *entries;
	unsigned int nr = stack_depot_fetch(trace, &entries);

	return crc32(0, entries, nr * sizeof(*entries));
}

/* Records in the log have the prefix that programs look for. */
#undef pr_fmt
#ifdef CONFIG_KMEMTRACK_KMEMLEAK_COMPAT
#define pr_fmt(fmt) "kmemleak: " fmt
#else
#define pr_fmt(fmt) "kmemtrack: " fmt
#endif

/* Prints to @seq, or to the log if that is NULL: as a warning, like kmemleak. */
#define put(seq, fmt, ...)						\
	((seq) ? seq_printf(seq, fmt, ##__VA_ARGS__) :			\
		 (void)pr_warn(fmt, ##__VA_ARGS__))

/*
 * Most leaks of a long report have the backtrace of the leak before them, and the names of
 * its functions take longer to find than all the rest.
 */
static void print_backtrace(struct seq_file *seq, u32 trace, struct kmt_trace_text *last)
{
	const size_t from = seq ? seq->count : 0;

	if (last && last->len && last->trace == trace &&
	    last->changes == READ_ONCE(kmt_code_changes)) {
		seq_write(seq, last->text, last->len);
		return;
	}
	put(seq, "  backtrace (crc %x):\n", trace_crc(trace));
	kmt_print_trace(seq, seq ? "    " : KERN_WARNING pr_fmt("    "), trace);
	if (!last)
		return;
	last->len = 0;
	if (seq_has_overflowed(seq) || seq->count - from > sizeof(last->text))
		return;
	last->trace = trace;
	last->changes = READ_ONCE(kmt_code_changes);
	last->len = seq->count - from;
	memcpy(last->text, seq->buf + from, last->len);
}

/**
 * kmt_print_record - print one leak as kmemleak does
 * @seq: where to, NULL for the log
 * @leak: leak
 * @last: the backtrace that was printed to @seq last; zeroed before the first one. NULL for
 *	the log
 *
 * Context: kmt_reports_sem held for reading.
 */
void kmt_print_record(struct seq_file *seq, const struct kmt_leak *leak,
		      struct kmt_trace_text *last)
{
	struct kmt_log_task task;
	struct kmt_log_name name;
	char cpu[24] = "";

	kmt_escape_log_task(&task, kmt_comm(leak->comm));
	if (kmt_leak_space(leak) == KMT_PERCPU)
		snprintf(cpu, sizeof(cpu), " on cpu %d", kmt_dump_cpu());
	if (seq)
		snprintf(name.text, sizeof(name.text), "0x%08lx", leak->addr);
	else
		kmt_set_log_name(&name, leak->addr);
	put(seq, "unreferenced object %s (size %lu):\n", name.text, leak->size);
	put(seq, "  comm \"%s\", pid %d, jiffies %lu\n", task.text, leak->pid,
	    kmt_when(leak->born));
	if (seq) {
		seq_printf(seq, "  hex dump (first %u bytes%s):\n",
			   leak->dumped, cpu);
		print_dump(seq, leak);
	}
	print_backtrace(seq, leak->trace, last);
}

/**
 * kmt_log_found - log how many leaks a scan found, in one line
 * @fresh: leaks that were not known before
 * @leaks: all that are reported
 *
 * With CONFIG_KMEMTRACK_KMEMLEAK_COMPAT this is the line of kmemleak, for which programs
 * wait.
 */
void kmt_log_found(unsigned long fresh, unsigned long leaks)
{
	if (IS_ENABLED(CONFIG_KMEMTRACK_KMEMLEAK_COMPAT))
		pr_info("%lu new suspected memory leaks (see /sys/kernel/debug/kmemleak)\n",
			fresh);
	else
		pr_info("%lu new leaks, %lu in all (see /sys/kernel/debug/kmemtrack)\n",
			fresh, leaks);
}

/* Number of sites that are logged one by one; one more line sums up the others. */
#define KMT_LOG_SITES	16

/*
 * Logs the first KMT_LOG_SITES sites of @report, with @direct only sites with direct
 * leaks. Returns the number of other sites, and sets @rest to the sum of their leaks.
 */
static unsigned long log_first(const struct kmt_report *report, bool direct,
			       void (*log)(const struct kmt_group *g, unsigned long nr,
					   unsigned long sites),
			       struct kmt_sum *rest)
{
	unsigned long i, nr = 0, sites = 0;

	*rest = report->sum;
	for (i = 0; i < report->nr_groups; i++)
		sites += !direct || report->groups[i].leader;
	for (i = 0; i < report->nr_groups && nr < KMT_LOG_SITES; i++) {
		const struct kmt_group *g = &report->groups[i];
		const struct kmt_sum *sum = direct ? &g->all : &g->sum;

		if (direct && !g->leader)
			continue;
		log(g, ++nr, sites);
		rest->nr -= sum->nr;
		rest->bytes -= sum->bytes;
	}
	return sites - nr;
}

static void log_record(const struct kmt_group *g, unsigned long nr, unsigned long sites)
{
	down_read(&kmt_reports_sem);
	kmt_print_record(NULL, &g->oldest, NULL);
	up_read(&kmt_reports_sem);
	if (g->sum.nr > 1)
		pr_warn("    ... and %lu more object(s) with the same backtrace\n",
			g->sum.nr - 1);
}

/* Logs the first KMT_LOG_SITES of @nr new leaks. Needs no memory. */
static void log_singly(unsigned long nr)
{
	struct kmt_cursor cursor = {};
	struct kmt_object *o;
	struct kmt_leak leak;
	unsigned long logged = 0;

	down_read(&kmt_reports_sem);
	kmt_for_each_leak(&cursor, o, KMT_NEW) {
		if (!kmt_take_leak(o, KMT_NEW, &leak))
			continue;
		kmt_print_record(NULL, &leak, NULL);
		if (++logged == KMT_LOG_SITES)
			break;
	}
	up_read(&kmt_reports_sem);
	kmt_wipe(&leak);
	if (nr > logged)
		pr_warn("... and %lu more object(s)\n", nr - logged);
}

/**
 * kmt_log_new - log the new leaks of the last scan, one entry per site
 * @nr: how many there are
 *
 * There are KMT_LOG_SITES entries at most, and a line for all other sites. Without memory
 * to sort the leaks by site, the entries are those of single leaks.
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_log_new(unsigned long nr)
{
	struct kmt_report *report = kmt_report_make(KMT_NEW);
	struct kmt_sum rest;
	unsigned long left;

	if (IS_ERR(report)) {
		log_singly(nr);
		return;
	}
	left = log_first(report, false, log_record, &rest);
	if (left)
		pr_warn("... and %lu more site(s): %lu bytes, %lu object(s)\n", left,
			rest.bytes, rest.nr);
	kmt_report_put(report);
}

/* No program looks for the lines that follow, so they have our own prefix. */
#undef pr_fmt
#define pr_fmt(fmt) "kmemtrack: " fmt

/*
 * Whether a function only allocates memory for its caller, by its name. The same list is in
 * tools/mm/kmemtrack/parse.c.
 */
static noinline_for_stack bool is_allocator(unsigned long pc)
{
	static const char * const names[] = {
		"kmalloc", "kzalloc", "kcalloc", "kmem_cache_alloc", "kmem_cache_zalloc",
		"kvmalloc", "kvzalloc", "kvcalloc", "krealloc", "kvrealloc", "kmemdup",
		"kvmemdup", "memdup_user", "vmemdup_user", "kstrdup", "kstrndup",
		"strndup_user", "kasprintf", "kvasprintf", "vmalloc", "vzalloc", "vcalloc",
		"get_vm_area", "pcpu_alloc", "alloc_percpu", "memblock_alloc",
		"memblock_phys_alloc", "devm_kmalloc", "devm_kmemdup", "devm_kstrdup",
		"do_kmalloc", "do_krealloc", "alloc_pages", "folio_alloc",
		"get_page_from_freelist", "get_free_page", "get_zeroed_page",
	};
	char text[KSYM_SYMBOL_LEN];
	const char *name = kmt_code_name(text, pc);
	unsigned int i;

	while (*name == '_')
		name++;
	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strncmp(name, names[i], strlen(names[i])))
			return true;
	return false;
}

/**
 * kmt_allocated_by - find the function that allocated a block
 * @trace: handle of the allocation's backtrace
 *
 * Context: any but NMI.
 * Return: the address in the first frame that is not of an allocator, or else in the
 * last frame; 0 if there is no backtrace.
 */
unsigned long kmt_allocated_by(u32 trace)
{
	unsigned long *entries;
	unsigned int i = 0, nr = stack_depot_fetch(trace, &entries);

	if (!nr)
		return 0;
	while (i < nr - 1 && is_allocator(entries[i]))
		i++;
	return entries[i];
}

/* Logs a site by its function; an address without a name is not shown. */
static noinline_for_stack void log_site(const struct kmt_group *g,
					unsigned long nr, unsigned long sites,
					const char *cache, const char *task)
{
	unsigned long pc = kmt_allocated_by(g->oldest.trace);
	char text[KSYM_SYMBOL_LEN];
	const char *name = pc ? kmt_code_name(text, pc) : "?";

	if (!strncmp(name, "0x", 2))
		name = "?";
	pr_info("leak site %lu of %lu: %lu bytes, %lu objects, %s, %s, task \"%s\"\n",
		nr, sites, g->all.bytes, g->all.nr, cache, name, task);
}

static void log_leader(const struct kmt_group *g, unsigned long nr,
		       unsigned long sites)
{
	char cache[KMT_CACHE_TEXT];
	struct kmt_log_task task;

	down_read(&kmt_reports_sem);
	kmt_escape_log_task(&task, kmt_comm(g->names ? g->tasks[0].comm :
						g->oldest.comm));
	log_site(g, nr, sites, kmt_cache_text(cache, g->cache), task.text);
	up_read(&kmt_reports_sem);
}

/**
 * kmt_log_sites - log all leaks, a line for each site
 *
 * For logs that outlive the machine. There is a line for each site with direct leaks,
 * which includes the leaks that hang on these. If there are more than KMT_LOG_SITES, one
 * line sums up the other sites.
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: 0 or -ENOMEM.
 */
int kmt_log_sites(void)
{
	struct kmt_report *report = kmt_report_current();
	struct kmt_sum rest;
	unsigned long left;

	if (IS_ERR(report))
		return PTR_ERR(report);
	left = log_first(report, true, log_leader, &rest);
	if (left)
		pr_info("leak site %u to %lu of %lu: %lu bytes, %lu objects\n",
			KMT_LOG_SITES + 1, KMT_LOG_SITES + left, KMT_LOG_SITES + left,
			rest.bytes, rest.nr);
	kmt_report_put(report);
	return 0;
}
