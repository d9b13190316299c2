// SPDX-License-Identifier: GPL-2.0
/*
 * Commands and their options. One table has the options of each command. The help is
 * made from it, and tests compare the manual page and the completion with it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "kmemtrack.h"

#define VERSION	"1"

struct options opt = { .delay = 2, .leak_status = ST_LEAKS };

enum {
	F_LINES = 1 << 0,	/* --vmlinux and its like */
	F_OUTPUT = 1 << 1,
	F_JSON = 1 << 2,
	F_KTAP = 1 << 3,
	F_NUMBER = 1 << 4,
	F_QUIET = 1 << 5,
	F_VERBOSE = 1 << 6,
	F_REPORT = 1 << 7,
	F_TOP = 1 << 8,
	F_SORT = 1 << 9,
	F_FLAME = 1 << 10,
	F_DIFF = 1 << 11,
	F_WATCH = 1 << 12,
	F_EXPORT = 1 << 13,
	F_ALL = -1,
};

static const struct command {
	const char *name, *args, *what, *more;
	int (*run)(int argc, char **argv);
	int takes;
	bool rest;		/* options end at the first argument */
} commands[] = {
	{ "scan", "", "scan now, and say what leaked",
	  "Shows how far the scan is, if standard error is a terminal, and then the sites\n"
	  "with most bytes. Exit status: 0 no leak, 1 leaks, 2 an error.",
	  cmd_scan, F_LINES | F_QUIET | F_NUMBER },
	{ "report", "[FILE]", "show what the last scan found",
	  "FILE is a saved report, or - for standard input; without it the kernel's is\n"
	  "read. It may be one of kmemleak, whose records are grouped then. --json also\n"
	  "takes saved files of kmemtrack_info. --kmemleak gives the kernel's own file of\n"
	  "that format, or of a saved report one record a site.\n"
	  "Exit status: 0 no leak, 1 leaks, 2 an error.",
	  cmd_report, F_LINES | F_OUTPUT | F_JSON | F_KTAP | F_NUMBER | F_REPORT },
	{ "top", "", "sites that have most memory, live",
	  "Keys: b o c r n sort by bytes, objects, change, rate, name; arrows select;\n"
	  "Enter shows the backtrace; Space pauses; q quits. CHANGE is since the start.",
	  cmd_top, F_JSON | F_NUMBER | F_TOP | F_SORT },
	{ "memory", "[FILE]", "where all memory of the machine is",
	  "Each page is in one class; the classes add up to MemTotal.",
	  cmd_memory, F_OUTPUT | F_JSON },
	{ "growth", "[FILE]", "sites that grew from scan to scan",
	  "Memory that something still refers to, and that only grows.",
	  cmd_growth, F_LINES | F_OUTPUT | F_JSON | F_NUMBER },
	{ "refs", "ADDR", "what refers to a block",
	  "ADDR is an address in the block, hexadecimal. With --root and saved files it\n"
	  "shows what was asked for last.",
	  cmd_refs, F_OUTPUT | F_JSON },
	{ "diff", "OLD NEW", "compare two saved reports, or two files of sites",
	  "Exit status: 0 nothing new and nothing grew, 1 something did, 2 an error.",
	  cmd_diff, F_LINES | F_OUTPUT | F_JSON | F_VERBOSE | F_DIFF },
	{ "flame", "[FILE]", "flame graph of leaks or of live memory",
	  "An SVG file with all it needs in it: click to zoom, / to search. FILE is a saved\n"
	  "report or a saved file of sites.",
	  cmd_flame, F_OUTPUT | F_FLAME },
	{ "plot", "[FILE]", "bytes of sites over time, as SVG",
	  "The sites with most bytes, or with --sort change those that grew most.",
	  cmd_plot, F_OUTPUT | F_NUMBER | F_SORT },
	{ "watch", "COMMAND [ARG...]", "run a command and say what it leaked",
	  "Scans, runs the command, scans again. A leak counts if there are more of its\n"
	  "site than before and the youngest block is younger than the command.\n"
	  "Exit status: that of the command if nothing leaked, 1 (or --status) if\n"
	  "something did, 2 an error.",
	  cmd_watch, F_LINES | F_OUTPUT | F_JSON | F_KTAP | F_QUIET | F_NUMBER | F_WATCH, true },
	{ "export", "", "state for a monitoring system",
	  "Prometheus' text format, for the textfile collector of node_exporter. With -o\n"
	  "the file is replaced as a whole.",
	  cmd_export, F_OUTPUT | F_NUMBER | F_EXPORT },
	{ "doctor", "", "is the detector set up well, what does it not see",
	  "Exit status: 0 nothing is wrong, 1 something wants a look, 2 an error.",
	  cmd_doctor, 0 },
	{ "save", "DIR", "save all files, to be read elsewhere with --root DIR",
	  "Also the configuration, the command line and the detector's part of the log.",
	  cmd_save, 0 },
};

static const struct option_info {
	char letter;
	const char *name, *arg, *what;
	int flags;
} options[] = {
	{ 'h', "help", NULL, "this text", F_ALL },
	{ 'r', "root", "DIR", "where the files are (or KMEMTRACK_ROOT)", F_ALL },
	{ 0, "color", "WHEN", "auto, always or never (auto; NO_COLOR is honoured)", F_ALL },
	{ 0, "vmlinux", "FILE", "kernel that ran, with debug information: lines",
	  F_LINES },
	{ 0, "modules", "DIR", "where its modules are (.ko)", F_LINES },
	{ 0, "source", "DIR", "its source tree, cut off the names of files", F_LINES },
	{ 'o', "output", "FILE", "write there; it appears when it is complete", F_OUTPUT },
	{ 0, "json", NULL, "as JSON (report.schema.json)", F_JSON },
	{ 0, "ktap", NULL, "as KTAP, a test that fails for each site", F_KTAP },
	{ 0, "kmemleak", NULL, "as kmemleak prints it", F_REPORT },
	{ 'n', "number", "N", "show at most N sites", F_NUMBER },
	{ 'q', "quiet", NULL, "print no more than asked for", F_QUIET },
	{ 'v', "verbose", NULL, "with backtraces", F_VERBOSE },
	{ 'd', "delay", "SECONDS", "time between two readings (2)", F_TOP },
	{ '1', "once", NULL, "print once, and end", F_TOP },
	{ 's', "sort", "KEY", "bytes or change; top also: objects, rate, name", F_SORT },
	{ 0, "leaks", NULL, "what the report has (default)", F_FLAME },
	{ 0, "live", NULL, "all memory that is allocated", F_FLAME },
	{ 0, "folded", NULL, "as lines of folded stacks", F_FLAME },
	{ 0, "objects", NULL, "count objects, not bytes", F_FLAME },
	{ 0, "functions", NULL, "ignore offsets: reports of different kernels", F_DIFF },
	{ 0, "clear", NULL, "forget former leaks: they are not shown again", F_WATCH },
	{ 0, "status", "N", "exit status if something leaked (1)", F_WATCH },
	{ 0, "prometheus", NULL, "the format", F_EXPORT },
};

static uint64_t parse_number(const char *name, const char *text, uint64_t most)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || v > most)
		die("--%s: '%s' is no number up to %llu", name, text, (unsigned long long)most);
	return v;
}

static void set_color(const char *when)
{
	if (!strcmp(when, "always"))
		set_colours(COLOUR_ALWAYS);
	else if (!strcmp(when, "never"))
		set_colours(COLOUR_NEVER);
	else if (!strcmp(when, "auto"))
		set_colours(COLOUR_AUTO);
	else
		die("--color is auto, always or never");
}

static void set_option(const char *name, const char *arg)
{
	const struct {
		const char *name;
		bool *flag;
		const char **text;
	} simple[] = {
		{ "vmlinux", NULL, &opt.vmlinux }, { "modules", NULL, &opt.modules },
		{ "source", NULL, &opt.source }, { "output", NULL, &opt.output },
		{ "sort", NULL, &opt.sort }, { "json", &opt.json },
		{ "ktap", &opt.ktap }, { "kmemleak", &opt.kmemleak },
		{ "quiet", &opt.quiet }, { "verbose", &opt.verbose },
		{ "once", &opt.once }, { "leaks", &opt.leaks }, { "live", &opt.live },
		{ "folded", &opt.folded }, { "objects", &opt.objects },
		{ "functions", &opt.functions }, { "clear", &opt.clear },
		{ "prometheus", &opt.prometheus },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(simple); i++) {
		if (strcmp(name, simple[i].name))
			continue;
		if (simple[i].flag)
			*simple[i].flag = true;
		else
			*simple[i].text = arg;
		return;
	}
	if (!strcmp(name, "root")) {
		set_root(arg);
	} else if (!strcmp(name, "color")) {
		set_color(arg);
	} else if (!strcmp(name, "number")) {
		opt.number = parse_number(name, arg, INT32_MAX);
		opt.has_number = true;
	} else if (!strcmp(name, "delay")) {
		opt.delay = parse_number(name, arg, 86400);
		if (opt.delay < 1)
			die("--delay: one second at least");
	} else if (!strcmp(name, "status")) {
		opt.leak_status = parse_number(name, arg, 255);
	}
}

/* --- help --- */

static void general_help(void)
{
	unsigned int i;

	printf("usage: kmemtrack COMMAND [OPTION...] [ARGUMENT...]\n\n"
	       "Finds memory that the kernel lost: drives and reads the leak detector of\n"
	       "/sys/kernel/debug/kmemtrack. Begin with: kmemtrack scan\n\n");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].what);
	printf("\nkmemtrack COMMAND --help says more. Exit status: 0, 1 if there are leaks,\n"
	       "2 for an error. Manual: man kmemtrack\n");
}

static void command_help(const struct command *c)
{
	char text[64];
	unsigned int i;

	printf("usage: kmemtrack %s [OPTION...]%s%s\n\n%s: %s\n%s\n\n", c->name,
	       *c->args ? " " : "", c->args, c->name, c->what, c->more);
	for (i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option_info *o = &options[i];

		if (o->flags != F_ALL && !(o->flags & c->takes))
			continue;
		snprintf(text, sizeof(text), "--%s%s%s", o->name, o->arg ? " " : "",
			 o->arg ? o->arg : "");
		if (o->letter)
			printf("  -%c, %-16s %s\n", o->letter, text, o->what);
		else
			printf("      %-16s %s\n", text, o->what);
	}
}

/* --- options --- */

/* Finds an option by @letter, or if that is 0 by @name, of @len */
static const struct option_info *find_option(const struct command *c, const char *name,
					     size_t len, char letter)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option_info *o = &options[i];

		if (c && o->flags != F_ALL && !(o->flags & c->takes))
			continue;
		if (letter ? o->letter == letter :
			     strlen(o->name) == len && !strncmp(o->name, name, len))
			return o;
	}
	return NULL;
}

static void help(const struct command *c)
{
	if (c)
		command_help(c);
	else
		general_help();
	close_output(stdout);
	exit(ST_OK);
}

/* Handles the option in argv[i]; returns how many words it consists of. */
static int take_option(const struct command *c, int argc, char **argv, int i)
{
	const char *word = argv[i], *value = NULL;
	const struct option_info *o;
	size_t len;

	if (word[1] == '-') {
		len = strcspn(word + 2, "=");
		o = find_option(c, word + 2, len, 0);
		if (word[2 + len])
			value = word + 3 + len;
	} else {
		o = find_option(c, NULL, 0, word[1]);
		if (word[2])
			value = word + 2;
	}
	if (!o || (!o->arg && value))
		die("%s%s%s: see kmemtrack %s%s--help", c ? c->name : "", c ? ": no option " : "no option ",
		    word, c ? c->name : "", c ? " " : "");
	if (!strcmp(o->name, "help"))
		help(c);
	if (!o->arg) {
		set_option(o->name, NULL);
		return 1;
	}
	if (value) {
		set_option(o->name, value);
		return 1;
	}
	if (i + 1 >= argc)
		die("--%s wants %s", o->name, o->arg);
	set_option(o->name, argv[i + 1]);
	return 2;
}

/* Refuses options of which one would be ignored. */
static void check_options(const struct command *c)
{
	if (opt.json + opt.ktap + opt.kmemleak > 1)
		die("%s: --json%s%s exclude each other", c->name, opt.ktap ? ", --ktap" : "",
		    opt.kmemleak ? ", --kmemleak" : "");
	if (!opt.vmlinux && (opt.modules || opt.source))
		die("%s: --%s has no effect without --vmlinux FILE", c->name,
		    opt.modules ? "modules" : "source");
}

int main(int argc, char **argv)
{
	const struct command *c = NULL;
	char **args = xalloc((argc + 1) * sizeof(*args));
	const char *root = getenv("KMEMTRACK_ROOT");
	int i = 1, nr = 0, status;
	unsigned int j;

	set_colours(COLOUR_AUTO);
	if (root && *root)
		set_root(root);
	while (i < argc) {
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		if (argv[i][0] == '-' && argv[i][1]) {
			if (!c && !strcmp(argv[i], "--version")) {
				puts("kmemtrack " VERSION);
				return ST_OK;
			}
			i += take_option(c, argc, argv, i);
			continue;
		}
		if (c) {
			if (c->rest)
				break;
			args[nr++] = argv[i++];
			continue;
		}
		for (j = 0; j < ARRAY_SIZE(commands) && strcmp(argv[i], commands[j].name); j++)
			;
		if (!strcmp(argv[i], "help"))
			help(NULL);
		if (j == ARRAY_SIZE(commands))
			die("no command '%s'; kmemtrack --help lists them", argv[i]);
		c = &commands[j];
		i++;
	}
	while (i < argc)
		args[nr++] = argv[i++];
	if (!c) {
		general_help();
		free(args);
		return ST_ERROR;
	}
	check_options(c);
	status = c->run(nr, args);
	free(args);
	return status;
}
