// SPDX-License-Identifier: GPL-2.0
/*
 * doctor: checks whether the detector is set up well, what it cannot see, and which
 * settings to change.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kmemtrack.h"

enum mark { GOOD, NOTE, BAD };

static unsigned int bad;
static const char *stats, *config, *cmdline;

/* Prints a line with a mark, broken between words to fit the terminal. */
static void say(enum mark mark, const char *fmt, ...) __printf(2, 3);

static void say(enum mark mark, const char *fmt, ...)
{
	static const char * const words[] = { "ok", "note", "CHECK" };
	static const enum colour colours[] = { C_GREEN, C_CYAN, C_YELLOW };
	int width = term_width() - 8, len;
	char text[1024];
	const char *p = text, *end;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	bad += mark == BAD;
	printf("%s%-6s%s ", col(colours[mark]), words[mark], col(C_OFF));
	for (;;) {
		len = strlen(p);
		if (len <= width)
			break;
		for (end = p + width; end > p && *end != ' ';)
			end--;
		if (end == p)
			break;
		printf("%.*s\n%7s", (int)(end - p), p, "");
		p = end + 1;
	}
	puts(p);
}

static uint64_t stat_of(const char *name)
{
	uint64_t v = 0;

	return stats && stat_value(stats, name, &v) ? v : 0;
}

/* The value of a symbol in .config: "n" if it is not set, NULL if it is not known */
static const char *config_of(const char *symbol)
{
	static char text[128];
	const char *p = config;
	size_t len = strlen(symbol);

	if (!config)
		return NULL;
	for (; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, "CONFIG_", 7) && !strncmp(p + 7, symbol, len) &&
		    p[7 + len] == '=') {
			p += 8 + len;
			snprintf(text, sizeof(text), "%.*s", (int)strcspn(p, "\n"), p);
			return text;
		}
	}
	return "n";
}

static bool configured(const char *symbol)
{
	const char *v = config_of(symbol);

	return v && *v != 'n';
}

/* Whether the kernel's command line has a word */
static bool booted_with(const char *word)
{
	size_t len = strlen(word);
	const char *p = cmdline;

	while (p && (p = strstr(p, word))) {
		if ((p == cmdline || p[-1] == ' ') && (!p[len] || isspace((unsigned char)p[len])))
			return true;
		p += len;
	}
	return false;
}

/* --- is it there? --- */

static void missing(int error)
{
	const char *kmemtrack = config_of("KMEMTRACK");

	if (error == EACCES || error == EPERM) {
		say(BAD, "the detector's files cannot be read: %s. Run this as root.",
		    strerror(error));
		return;
	}
	say(BAD, "there is no file kmemtrack: %s", strerror(error));
	if (!is_live())
		return;
	if (kmemtrack && *kmemtrack == 'n')
		say(BAD, "this kernel has no detector: build it with CONFIG_KMEMTRACK=y");
	else if (access("/sys/kernel/debug/.", X_OK))
		say(BAD, "debugfs is closed to this user: run this as root");
	else
		say(BAD, "if debugfs is not mounted: mount -t debugfs none /sys/kernel/debug");
	if (!config)
		say(NOTE, "neither /proc/config.gz nor a file in /boot says how this kernel was configured (CONFIG_IKCONFIG_PROC=y)");
}

/* --- what is tracked --- */

static void check_tracking(const struct info *r)
{
	if (!stats)
		say(BAD, "there is no kmemtrack_info/stats; what follows is what else is known");
	if (stat_of("tracking")) {
		say(GOOD, "tracking %llu blocks; records take %s",
		    (unsigned long long)stat_of("objects"), bytes_text(stat_of("pool_bytes")));
	} else if (stats || r->off) {
		say(BAD, "tracking is off%s: echo on > /sys/kernel/debug/kmemtrack",
		    booted_with("kmemtrack=off") || booted_with("kmemleak=off") ?
		    " (the kernel's command line says so)" :
		    configured("KMEMTRACK_DEFAULT_OFF") ?
		    " (CONFIG_KMEMTRACK_DEFAULT_OFF; kmemtrack=on on the command line switches it on from boot)" :
		    "");
	}
	if (r->untracked || stat_of("untracked_slabs_are_roots"))
		say(NOTE, "there are blocks without a record, since %s. They are never reported, and slab memory without a record is read as a root, which can hide leaks",
		    stat_of("lost_no_memory") ? "memory for records was short" :
		    "tracking was off for a time, or code in NMI allocated memory");
}

static void check_lost(void)
{
	static const struct {
		const char *stat, *text;
		enum mark mark;
	} events[] = {
		{ "lost_atomic", "blocks have no record, since the reserve was empty when an allocation could not wait", NOTE },
		{ "lost_backtraces", "backtraces were lost for want of memory; these blocks are shown without", NOTE },
		{ "lost_names", "tasks have no place in the table of names; their blocks are shown with the name ?", NOTE },
		{ "lost_nmi", "calls in NMI context were refused", NOTE },
		{ "overlapping_allocations", "blocks were allocated where another one lives: somebody calls kmemleak_alloc() without kmemleak_free(); see the log", BAD },
		{ "frees_around_block", "memory was freed with blocks in it: somebody calls kmemleak_alloc() without kmemleak_free(); see the log", BAD },
		{ "double_frees", "blocks were freed twice; the log says by whom", BAD },
		{ "impossible_sizes", "blocks with a size that is empty or wraps; they are not tracked", BAD },
		{ "unreadable_pieces", "pieces of memory could not be read; what they lead to may be reported", NOTE },
	};
	unsigned int i, nr = 0;
	uint64_t v;

	for (i = 0; i < ARRAY_SIZE(events); i++) {
		v = stat_of(events[i].stat);
		if (!v)
			continue;
		say(events[i].mark, "%llu %s (%s)", (unsigned long long)v, events[i].text,
		    events[i].stat);
		nr++;
	}
	if (stats && !nr)
		say(GOOD, "nothing was lost, and no allocation or free was odd");
}

static void check_early(void)
{
	char *log = read_machine("log"), *line, *end;

	line = log ? strstr(log, "early pool ") : NULL;
	if (!line) {
		say(NOTE, "the log of the boot is not there any more: how much of the early pool was used is not known (CONFIG_KMEMTRACK_EARLY_POOL_SIZE is %s)",
		    config_of("KMEMTRACK_EARLY_POOL_SIZE") ?: "not known");
		free(log);
		return;
	}
	end = strstr(log, "kmemtrack.early_pool=");
	line[strcspn(line, "\n")] = '\0';
	if (strstr(line, "grew 0 times"))
		say(GOOD, "%s", line);
	else
		say(BAD, "%s: boot with %.*s, or set CONFIG_KMEMTRACK_EARLY_POOL_SIZE so",
		    line, end ? (int)strspn(end, "kmemtrack.early_pool=0123456789") : 0,
		    end ? end : "");
	if (stat_of("lost_early"))
		say(BAD, "%llu blocks of early boot have no record",
		    (unsigned long long)stat_of("lost_early"));
	free(log);
}

/* --- how it scans --- */

/* The kernel takes no longer max_pause. */
#define MAX_PAUSE_US	5e6

static void check_scans(const struct info *r)
{
	const char *pause;
	double ms, us;

	if (!r->scanned && !r->off)
		say(NOTE, "there was no scan yet: kmemtrack scan");
	else if (r->scanned && !r->off)
		say(GOOD, "%s", r->scan);
	pause = r->scanned ? strstr(r->scan, "(snapshot would pause ") : NULL;
	if (pause) {
		ms = strtod(pause + strlen("(snapshot would pause "), NULL);
		us = (ms * 1.5 + 1) * 1000;
		say(BAD, "scans wait for suspects to be %llu ms old, since to stop all CPUs and search all memory would take longer than max_pause. If they may be stopped for %.0f ms: echo max_pause=%.0f > /sys/kernel/debug/kmemtrack",
		    (unsigned long long)stat_of("min_age_ms"), ms,
		    us < MAX_PAUSE_US ? us : MAX_PAUSE_US);
	} else if (r->scanned && strstr(r->scan, "CPU ")) {
		say(NOTE, "a CPU did not stop within a quarter of max_pause in the last scan, which waited instead");
	}
	if (!stats)
		return;
	if (stat_of("scan_period_s"))
		say(GOOD, "a scan every %llu s", (unsigned long long)stat_of("scan_period_s"));
	else
		say(NOTE, "no periodic scans: leaks are found on request only (scan=600 scans every 10 minutes)");
}

static const struct {
	unsigned int bit;
	const char *name, *without;
} rules[] = {
	{ 0x001, "FRAMES", "all of a stack counts, dead frames too" },
	{ 0x002, "KFENCE", "no leak of a KFENCE object is found" },
	{ 0x004, "IRQ_STACKS", "stacks of interrupts count" },
	{ 0x008, "FOREIGN", "page cache and user memory count" },
	{ 0x010, "PIPES", "pages of pipes, saved backtraces and stacks count" },
	{ 0x020, "MAPPED", "pages of vmalloc and per-CPU blocks always count" },
	{ 0x040, "OWN", "nothing is found" },
	{ 0x080, "STRUCT_PAGES", "page_private() and its like do not count" },
	{ 0x100, "INNER", "of several pages only the first one counts" },
	{ 0x200, "BYTES", "words that are not aligned do not count" },
	{ 0x400, "PERCPU", "per-CPU memory that is not tracked does not count" },
	{ 0x800, "VMAP_AREAS", "bounds of vmalloc areas that are not tracked count" },
};

static void check_rules(void)
{
	uint64_t off, all = 0;
	unsigned int i;

	if (!stats || !stat_value(stats, "rules_off", &off)) {
		say(NOTE, "which rules are off is not known: stats do not say");
		return;
	}
	if (!off)
		say(GOOD, "all rules of what is a reference apply");
	for (i = 0; i < ARRAY_SIZE(rules); i++) {
		all |= rules[i].bit;
		if (off & rules[i].bit)
			say(BAD, "the rule %s is off (rules_off has 0x%x): %s", rules[i].name,
			    rules[i].bit, rules[i].without);
	}
	if (off & ~all)
		say(NOTE, "rules_off has bits that this program does not know: 0x%llx",
		    (unsigned long long)(off & ~all));
}

static void check_switches(void)
{
	static const struct {
		const char *stat, *off;
		enum mark mark;
	} switches[] = {
		{ "stacks_are_roots", "stacks are no roots (stack=off): blocks in use by a function that runs are reported", BAD },
		{ "pages_are_roots", "pages of the page allocator are no roots (pages=off): blocks that only these refer to are reported", BAD },
		{ "confirm_by_snapshot", "suspects are confirmed by waiting (confirm=wait): a pointer that never stays in one place can escape that", NOTE },
	};
	unsigned int i;
	uint64_t v;

	for (i = 0; i < ARRAY_SIZE(switches); i++)
		if (stats && stat_value(stats, switches[i].stat, &v) && !v)
			say(switches[i].mark, "%s", switches[i].off);
}

/* --- what it can say --- */

static void check_config(void)
{
	uint64_t v;

	if (!config && !is_live()) {
		say(NOTE, "how the kernel was configured was not saved");
	} else if (!config) {
		say(NOTE, "neither /proc/config.gz nor a file in /boot says how this kernel was configured (CONFIG_IKCONFIG_PROC=y)");
	} else {
		if (configured("DEBUG_INFO"))
			say(GOOD, "CONFIG_DEBUG_INFO: --vmlinux shows lines of code");
		else
			say(NOTE, "for lines of code set CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y (with CONFIG_DEBUG_INFO_REDUCED=y) and keep vmlinux; the image stays as it is");
		if (!configured("KALLSYMS"))
			say(BAD, "without CONFIG_KALLSYMS backtraces are numbers");
		if (!configured("KMEMTRACK_KMEMLEAK_COMPAT"))
			say(NOTE, "programs that read /sys/kernel/debug/kmemleak want CONFIG_KMEMTRACK_KMEMLEAK_COMPAT=y");
		if (booted_with("init_on_alloc=1") ||
		    (configured("INIT_ON_ALLOC_DEFAULT_ON") &&
		     !booted_with("init_on_alloc=0")))
			say(GOOD, "allocated memory is cleared: old contents hide fewer leaks");
		else
			say(NOTE, "with init_on_alloc=1 on the command line old contents of memory hide fewer leaks");
	}
	if (stats && stat_value(stats, "traces_recognised", &v) && !v)
		say(NOTE, "each backtrace is unwound anew, which costs time: frame records (CONFIG_FRAME_POINTER) or the ORC unwinder (CONFIG_UNWINDER_ORC) make that cheap");
}

static void check_files(void)
{
	static const struct {
		enum kind kind;
		const char *without;
	} files[] = {
		{ IS_SITES, "top, plot, flame --live" }, { IS_GROWTH, "growth" },
		{ IS_REFS, "refs" }, { IS_MEMORY, "memory" },
	};
	static const char head[] = "kmemtrack-suppressions 1: ";
	unsigned long long nr, leaks;
	char *text, *end;
	unsigned int i;
	int error;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		text = read_kernel(kind_name(files[i].kind), &error);
		if (!text)
			say(NOTE, "this kernel has no %s: %s cannot be used",
			    kind_name(files[i].kind), files[i].without);
		free(text);
	}
	text = read_kernel("kmemtrack_info/suppressions", &error);
	if (text && !strncmp(text, head, strlen(head))) {
		nr = strtoull(text + strlen(head), &end, 10);
		leaks = strtoull(end + strcspn(end, "0123456789\n"), NULL, 10);
		if (nr)
			say(NOTE, "%llu suppressions hold back %llu leaks; kmemtrack_info/suppressions lists them",
			    nr, leaks);
	}
	free(text);
}

/* Explains limits that no setting changes */
static void explain_scope(void)
{
	int error;
	char *text = read_kernel(kind_name(IS_MEMORY), &error);
	struct info *m = text ? parse(kind_name(IS_MEMORY), text) : NULL;
	size_t i;

	say(NOTE, "not tracked on any kernel: DMA memory, page cache and user memory");
	if (m && m->in_sites_kb < 0)
		say(NOTE, "pages from the page allocator are not tracked: echo pages=track > /sys/kernel/debug/kmemtrack");
	for (i = 0; m && i < m->nr_rows; i++)
		if (!strcmp(m->rows[i].name, "no known owner"))
			say(NOTE, "%s have no known owner (kmemtrack memory)",
			    bytes_text(m->rows[i].kb * 1024));
	free_info(m);
	free(text);
}

int cmd_doctor(int argc, char **argv)
{
	struct info *r = NULL;
	char *release, *own_stats, *own_config, *own_cmdline, *report;
	int error, unused;

	if (argc)
		die("doctor: it takes no '%s'", argv[0]);
	release = read_machine("release");
	config = own_config = read_machine("config");
	cmdline = own_cmdline = read_machine("cmdline");
	stats = own_stats = read_kernel("kmemtrack_info/stats", &unused);
	report = read_kernel("kmemtrack", &error);
	if (release)
		printf("kernel %s", release);
	if (!report) {
		missing(error);
	} else {
		r = parse("kmemtrack", report);
		if (r->kind != IS_REPORT)
			die("kmemtrack is %s", kind_name(r->kind));
		check_tracking(r);
		check_lost();
		check_early();
		check_scans(r);
		check_rules();
		check_switches();
		check_config();
		check_files();
		explain_scope();
	}
	if (bad)
		printf("\n%u %s attention\n", bad, bad == 1 ? "line needs" : "lines need");
	else
		printf("\nnothing is wrong\n");
	error = !report ? ST_ERROR : status_of(r, bad ? ST_LEAKS : ST_OK);
	free_info(r);
	free(report);
	free(own_stats);
	free(own_config);
	free(own_cmdline);
	free(release);
	close_output(stdout);
	return error;
}
