/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kmemtrack: the program that reads and drives the leak detector's files.
 *
 *	main.c		commands, options, help
 *	kernel.c	files of the running kernel, or of a directory of saved ones
 *	live.c		commands to the running kernel
 *	parse.c		the formats of these files
 *	lines.c		lines of code of the frames of a backtrace
 *	show.c		report, memory, growth, refs, diff as text
 *	json.c		JSON, KTAP, kmemleak's format
 *	scan.c		scan and watch
 *	top.c		the live view
 *	svg.c		flame graph and plot
 *	prometheus.c	export
 *	doctor.c	doctor
 *	util.c		memory, text, terminal, files that are written
 *
 * Formats are described in Documentation/dev-tools/kmemtrack.rst.
 */
#ifndef KMEMTRACK_H
#define KMEMTRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
/* The kernel's name for it */
#define __printf(f, a)	__attribute__((__format__(__printf__, f, a)))

/* Exit statuses */
#define ST_OK		0
#define ST_LEAKS	1
#define ST_ERROR	2

/* Limits of the input; the kernel prints less of each. */
#define MAX_FILE	(256u << 20)
#define MAX_FRAMES	64
#define MAX_HISTORY	16
#define MAX_TASKS	8
#define MAX_DUMP	2

/* --- util.c --- */

struct buf {
	char *text;
	size_t len, room;
};

void *xalloc(size_t size);
void *xrealloc(void *p, size_t nr, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len);
void buf_add(struct buf *b, const char *text, size_t len);
void buf_printf(struct buf *b, const char *fmt, ...) __printf(2, 3);
void buf_free(struct buf *b);

/* Called by die(), if set: restores the terminal. */
extern void (*before_exit)(void);

_Noreturn void die(const char *fmt, ...) __printf(1, 2);
void warn(const char *fmt, ...) __printf(1, 2);

FILE *open_output(const char *path);
void close_output(FILE *f);

char *read_file(const char *path, int *error);
char *run_filter(char *const argv[], int in, int *status);

const char *bytes_text(uint64_t bytes);
const char *signed_bytes_text(int64_t bytes);
const char *count_text(uint64_t n);
const char *duration_text(double seconds);
double now(void);
uint32_t hash_text(uint32_t h, const char *s);

enum colour { C_OFF, C_BOLD, C_DIM, C_RED, C_GREEN, C_YELLOW, C_CYAN };
enum colour_mode { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER };

void set_colours(enum colour_mode mode);
const char *col(enum colour c);
int term_width(void);
int term_height(void);
/* Writes at most @width columns of @text, and marks a cut. */
void put_cut(FILE *f, const char *text, int width);

/* --- parse.c --- */

struct frame {
	const char *text;	/* as in the file */
	const char *name;	/* function */
	const char *module;	/* NULL: the kernel */
	const char *lines;	/* places in the source, NULL: not known */
	uint64_t offset, size;
	bool exact;		/* offset and size are known */
};

struct task {
	const char *comm;
	uint64_t nr;
};

/* A record of the report, of sites, or of growth. */
struct site {
	uint32_t id;
	uint64_t objects, bytes;
	uint64_t direct, indirect;
	uint64_t size, least, most;
	uint64_t requested_least, requested_most;	/* 0 if they are the sizes */
	uint64_t all_direct, all_indirect, all_bytes;
	uint64_t object, dumped;
	const char *cache;
	const char *comm;
	const char *dump[MAX_DUMP];
	double first, last;	/* seconds ago */
	uint64_t ticks;		/* jiffies when @object was allocated, in kmemleak's file */
	long pid;
	struct task tasks[MAX_TASKS];
	uint64_t more_tasks;
	uint64_t history[MAX_HISTORY];
	uint64_t rose;
	int64_t rate;		/* bytes per hour */
	struct frame *frames;
	unsigned int nr_frames, nr_tasks, nr_history, nr_dump;
	bool leak;
	bool leads;		/* the all_ fields are set */
	bool has_id;		/* @id is the kernel's; else it is a hash */
	bool has_ages, has_comm, has_rate;
};

struct memory_row {
	const char *name;
	int64_t kb;
	int64_t since_scan, since_boot;
	bool has_scan, has_boot;
};

struct reference {
	bool hint;
	bool note;		/* says what was left out; the text is in @where */
	uint64_t level;
	const char *kind, *where;
};

enum kind { IS_REPORT, IS_SITES, IS_GROWTH, IS_REFS, IS_MEMORY, NR_KINDS };

struct info {
	enum kind kind;
	const char *head;	/* first line, after the version */
	uint64_t nr, objects, bytes;	/* from the head; nr: number of sites */
	uint64_t suppressed;
	/* IS_REPORT */
	uint64_t leaks;
	const char *scan;	/* text about the last scan in the head */
	bool scanned, off, untracked;
	/* IS_SITES, IS_GROWTH */
	struct site *sites;
	size_t nr_sites;
	uint64_t other_objects, other_bytes;
	double scans[MAX_HISTORY];
	unsigned int nr_scans;
	uint64_t last_scans;	/* sites grew in each of so many scans */
	int64_t rate;
	/* IS_MEMORY */
	struct memory_row *rows;
	size_t nr_rows;
	uint64_t total_kb;
	int64_t in_sites_kb;	/* of pages without a known owner; -1: not tracked */
	/* IS_REFS */
	struct reference *refs;
	size_t nr_refs;
	uint64_t block, size, references, hints;
	const char *cache, *state;

	unsigned int damage;	/* lines that were not understood, or are missing */
	void *arena;
	const char *source;	/* for messages */
};

struct info *parse(const char *source, const char *text);
void free_info(struct info *info);
/* A copy that lives as long as @info */
const char *keep_text(struct info *info, const char *s, size_t len);
const char *kind_name(enum kind kind);
/* Whether a function only allocates for its caller. */
bool is_allocator(const char *function);
/* The first frame that is no allocator's; nr_frames if there is none. */
unsigned int first_caller(const struct site *s);
/* "function < caller < its caller", as long as @size allows. */
void site_name(const struct site *s, char *text, size_t size);
bool stat_value(const char *stats, const char *name, uint64_t *value);
char *site_key(const struct site *s, bool offsets);
void merge_sites(struct info *info, bool offsets);

/* --- kernel.c --- */

#define DEBUGFS		"/sys/kernel/debug"

void set_root(const char *dir);
const char *get_root(void);
char *kernel_path(const char *name);
/* NULL and *error if there is no such file, or it cannot be read. */
char *read_kernel(const char *name, int *error);
/*
 * Reads what the machine has outside of debugfs: "cmdline", "config", "log",
 * "release" or "meminfo".
 */
char *read_machine(const char *name);

/* Reads and parses a file of the kernel; says why, and exits, if it cannot. */
struct info *load_kernel(enum kind kind);
/* The same of a saved file, or of stdin if it is "-"; any kind. */
struct info *load_file(const char *path);
int cmd_save(int argc, char **argv);

/* --- live.c --- */

/* Whether the files are those of the running kernel */
bool is_live(void);
/* Writes a command; returns 0 or -errno. Takes as long as the command. */
int write_command(const char *command);

/* --- main.c --- */

struct options {
	const char *root, *vmlinux, *modules, *source, *output, *sort;
	bool json, ktap, kmemleak, leaks, live, folded, prometheus, objects;
	bool once, quiet, verbose, functions, clear;
	double delay;
	uint64_t number;
	bool has_number;
	int leak_status;
};

extern struct options opt;
uint64_t number_or(uint64_t fallback);

/* --- lines.c --- */

/* Looks up the lines of all frames, if --vmlinux was given. */
void find_lines(struct info *info);

/* --- the commands --- */

int cmd_scan(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_memory(int argc, char **argv);
int cmd_growth(int argc, char **argv);
int cmd_refs(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_flame(int argc, char **argv);
int cmd_plot(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

/* --- show.c, json.c --- */

/* Prints a table of the @most sites with the most bytes; -1: all sites. */
void show_table(FILE *f, struct site **sites, size_t nr, size_t most);
void show_head(FILE *f, const struct info *report);
/* Pointers to the sites, those with most bytes first */
struct site **by_bytes(const struct info *info);
/* Sites of the second file that have more than in the first one */
struct delta *compare(struct info *a, struct info *b, size_t *nr);
void spark(char *text, size_t size, const struct site *s);
void json_text(FILE *f, const char *s);
void json_sites(FILE *f, const struct info *info);
void json_memory(FILE *f, const struct info *info);
void json_refs(FILE *f, const struct info *info);

enum change { CH_NEW, CH_GROWN, CH_SHRUNK, CH_GONE, NR_CHANGES };

struct delta {
	enum change change;
	const struct site *before, *after;	/* one may be NULL */
	int64_t objects, bytes;
};

extern const char * const change_names[NR_CHANGES];
void json_diff(FILE *f, const struct delta *d, size_t nr);
void print_ktap(FILE *f, const struct info *report);
void print_kmemleak(FILE *f, const struct info *report);
/* The exit status for this input: @status, or that of an error if it is damaged. */
const char *sites_line(const struct info *info);
int status_of(const struct info *info, int status);

#endif
