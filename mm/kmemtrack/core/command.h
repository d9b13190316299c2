/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KMT_COMMAND_H
#define _KMT_COMMAND_H

#include "env.h"

/**
 * enum kmt_verb - commands of the debugfs files, and parameters
 * @KMT_CMD_ON: track from now on
 * @KMT_CMD_OFF: stop tracking and forget
 * @KMT_CMD_SCAN: scan now
 * @KMT_CMD_LOG: log the sites of all reported leaks
 * @KMT_CMD_SCAN_ON: scan periodically
 * @KMT_CMD_SCAN_OFF: do not scan periodically
 * @KMT_CMD_SCAN_EVERY: seconds between periodic scans; 0: do not scan periodically
 * @KMT_CMD_STACK: whether task stacks are roots
 * @KMT_CMD_PAGES: what to do with pages of the kernel: enum kmt_pages
 * @KMT_CMD_CLEAR: do not report the present leaks again
 * @KMT_CMD_SNAPSHOT: confirm suspects by a snapshot, or by waiting
 * @KMT_CMD_MIN_AGE: milliseconds before a block can be a leak, if the scan waits
 * @KMT_CMD_MAX_PAUSE: microseconds that a snapshot may last
 * @KMT_CMD_DUMP: log what is known of an address
 * @KMT_CMD_REFS: find what refers to the block at an address
 * @KMT_CMD_VERBOSE: whether to log the sites of new leaks after a scan
 * @KMT_CMD_PANIC: new leaks in one scan that make the kernel panic; 0: never
 * @KMT_CMD_RULES_OFF: bits of the rules of policy.h that are off
 * @KMT_CMD_SITES: limit of the number of allocation sites that are counted
 * @KMT_CMD_SUPPRESS: do not show leaks of some name
 * @KMT_CMD_UNSUPPRESS: show them again
 * @KMT_CMD_UNSUPPRESS_ALL: show all leaks
 * @KMT_CMD_EARLY_POOL: number of records for early boot
 */
enum kmt_verb {
	KMT_CMD_ON,
	KMT_CMD_OFF,
	KMT_CMD_SCAN,
	KMT_CMD_LOG,
	KMT_CMD_SCAN_ON,
	KMT_CMD_SCAN_OFF,
	KMT_CMD_SCAN_EVERY,
	KMT_CMD_STACK,
	KMT_CMD_PAGES,
	KMT_CMD_CLEAR,
	KMT_CMD_SNAPSHOT,
	KMT_CMD_MIN_AGE,
	KMT_CMD_MAX_PAUSE,
	KMT_CMD_DUMP,
	KMT_CMD_REFS,
	KMT_CMD_VERBOSE,
	KMT_CMD_PANIC,
	KMT_CMD_RULES_OFF,
	KMT_CMD_SITES,
	KMT_CMD_SUPPRESS,
	KMT_CMD_UNSUPPRESS,
	KMT_CMD_UNSUPPRESS_ALL,
	KMT_CMD_EARLY_POOL,
};

/**
 * enum kmt_pages - what to do with pages that the kernel allocates for itself
 * @KMT_PAGES_NONE: they are neither roots nor tracked
 * @KMT_PAGES_ROOTS: they are roots
 * @KMT_PAGES_TRACK: they are tracked, or roots if they have no record
 */
enum kmt_pages {
	KMT_PAGES_NONE,
	KMT_PAGES_ROOTS,
	KMT_PAGES_TRACK,
};

/**
 * enum kmt_suppress_what - what leaks are suppressed by
 * @KMT_BY_FUNCTION: a function in their backtrace
 * @KMT_BY_MODULE: a module in their backtrace
 * @KMT_BY_CACHE: their slab cache, or the name that is shown in its place
 * @KMT_BY_TASK: the task that allocated them
 */
enum kmt_suppress_what {
	KMT_BY_FUNCTION,
	KMT_BY_MODULE,
	KMT_BY_CACHE,
	KMT_BY_TASK,
	KMT_NR_SUPPRESS_WHATS,
};

/**
 * struct kmt_command - a parsed command
 * @verb: what to do
 * @arg: seconds, milliseconds, microseconds, address, 1 for on and 0 for off, enum
 *	kmt_pages, or enum kmt_suppress_what
 * @levels: for KMT_CMD_REFS: how many levels of references to follow back
 * @name: the name in the command, if it has one; points into the parsed text
 * @len: length of @name
 * @at: offset of its line in the text that kmt_parse_lines() parsed
 */
struct kmt_command {
	enum kmt_verb verb;
	unsigned long arg;
	unsigned int levels;
	const char *name;
	unsigned int len;
	size_t at;
};

/**
 * struct kmt_command_word - a command that is one word
 * @word: all of its text; NULL in the entry that ends the table
 * @cmd: the parsed command
 */
struct kmt_command_word {
	const char *word;
	struct kmt_command cmd;
};

/**
 * struct kmt_command_number - a command that ends with a number
 * @key: its text up to the number; NULL in the entry that ends the table
 * @verb: what to do with the number
 * @max: the largest number that is allowed
 * @error: returned for a larger number
 * @boot: only a parameter that is read at boot, not a command
 * @levels: if not 0, a comma and a number of levels up to this may follow
 */
struct kmt_command_number {
	const char *key;
	enum kmt_verb verb;
	unsigned long max;
	int error;
	bool boot;
	unsigned int levels;
};

/* Largest max_pause, in microseconds. */
#define KMT_PAUSE_MAX	5000000UL

/* Largest number of levels for KMT_CMD_REFS. */
#define KMT_LEVELS_MAX	8

/* All rules of policy.h. */
#define KMT_RULES	0xfffUL

/* Most allocation sites that can be counted. */
#define KMT_SITES_MAX	65536UL

/* Longest command, without its newline. */
#define KMT_COMMAND_MAX	127

/* Longest name in a command. */
#define KMT_NAME_MAX	100

/*
 * All commands but suppress= and unsuppress=. Parameters of the kernel and of sysfs take
 * the same values. The tests try each of them.
 */
extern const struct kmt_command_word kmt_command_words[];
extern const struct kmt_command_number kmt_command_numbers[];
extern const char * const kmt_suppress_words[KMT_NR_SUPPRESS_WHATS];

int kmt_parse(const char *line, size_t len, struct kmt_command *cmd, bool boot);
int kmt_parse_lines(const char *text, size_t len, struct kmt_command *cmds,
		    int max);
bool kmt_is_padding(const char *text, size_t len);

#endif /* _KMT_COMMAND_H */
