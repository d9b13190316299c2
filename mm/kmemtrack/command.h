/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KMT_COMMAND_H
#define _KMT_COMMAND_H

#include "env.h"

/**
 * enum kmt_verb - the commands of the debugfs files
 * @KMT_CMD_ON: track from now on
 * @KMT_CMD_OFF: stop tracking and forget
 * @KMT_CMD_SCAN: scan now
 * @KMT_CMD_SCAN_ON: scan regularly
 * @KMT_CMD_SCAN_OFF: do not scan regularly
 * @KMT_CMD_SCAN_EVERY: scan every so many seconds; 0 stops
 * @KMT_CMD_STACK: take task stacks for roots, or not
 * @KMT_CMD_PAGES: take untracked kernel pages for roots, or not
 * @KMT_CMD_CLEAR: never report again what is reported now
 * @KMT_CMD_SNAPSHOT: confirm suspects by a snapshot, or by waiting
 * @KMT_CMD_MIN_AGE: milliseconds before a block can be a leak
 * @KMT_CMD_MAX_PAUSE: microseconds that a snapshot may last
 * @KMT_CMD_DUMP: log what is known of an address
 * @KMT_CMD_VERBOSE: log each new leak, or not
 */
enum kmt_verb {
	KMT_CMD_ON,
	KMT_CMD_OFF,
	KMT_CMD_SCAN,
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
	KMT_CMD_VERBOSE,
};

/**
 * struct kmt_command - a parsed command
 * @verb: what to do
 * @arg: seconds, milliseconds, microseconds, address, or 1 for on and 0 for off
 */
struct kmt_command {
	enum kmt_verb verb;
	unsigned long arg;
};

/* Nobody wants a machine to stand still for longer, in microseconds. */
#define KMT_PAUSE_MAX	10000000UL

/* Longest command, without its newline. */
#define KMT_COMMAND_MAX	63

int kmt_parse(const char *line, size_t len, struct kmt_command *cmd);

#endif /* _KMT_COMMAND_H */
