// SPDX-License-Identifier: GPL-2.0
/*
 * Parser of commands. Text that is not exactly a command has no effect.
 */
#include "command.h"

const struct kmt_command_word kmt_command_words[] = {
	{ "on",			{ KMT_CMD_ON } },
	{ "off",		{ KMT_CMD_OFF } },
	{ "scan",		{ KMT_CMD_SCAN } },
	{ "log",		{ KMT_CMD_LOG } },
	{ "scan=on",		{ KMT_CMD_SCAN_ON } },
	{ "scan=off",		{ KMT_CMD_SCAN_OFF } },
	{ "stack=on",		{ KMT_CMD_STACK, 1 } },
	{ "stack=off",		{ KMT_CMD_STACK, 0 } },
	{ "pages=on",		{ KMT_CMD_PAGES, KMT_PAGES_ROOTS } },
	{ "pages=off",		{ KMT_CMD_PAGES, KMT_PAGES_NONE } },
	{ "pages=track",	{ KMT_CMD_PAGES, KMT_PAGES_TRACK } },
	{ "clear",		{ KMT_CMD_CLEAR } },
	{ "confirm=snapshot",	{ KMT_CMD_SNAPSHOT, 1 } },
	{ "confirm=wait",	{ KMT_CMD_SNAPSHOT, 0 } },
	{ "verbose=on",		{ KMT_CMD_VERBOSE, 1 } },
	{ "verbose=off",	{ KMT_CMD_VERBOSE, 0 } },
	{ "unsuppress=all",	{ KMT_CMD_UNSUPPRESS_ALL } },
	{ }
};

const struct kmt_command_number kmt_command_numbers[] = {
	{ "scan=",	    KMT_CMD_SCAN_EVERY,	INT_MAX / 1000,	-ERANGE },
	{ "min_age=",	    KMT_CMD_MIN_AGE,	INT_MAX / 1000,	-ERANGE },
	{ "max_pause=",	    KMT_CMD_MAX_PAUSE,	KMT_PAUSE_MAX,	-ERANGE },
	{ "dump=",	    KMT_CMD_DUMP,	ULONG_MAX,	-ERANGE },
	{ "refs=",	    KMT_CMD_REFS,	ULONG_MAX,	-ERANGE, false,
	  KMT_LEVELS_MAX },
	{ "panic_on_leak=", KMT_CMD_PANIC,	UINT_MAX,	-ERANGE },
	/* -EINVAL: this means unknown bits rather than a number out of range. */
	{ "rules_off=",	    KMT_CMD_RULES_OFF,	KMT_RULES,	-EINVAL },
	{ "sites=",	    KMT_CMD_SITES,	KMT_SITES_MAX,	-ERANGE },
	{ "early_pool=",    KMT_CMD_EARLY_POOL,	1000000,	-ERANGE, true },
	{ }
};

const char * const kmt_suppress_words[KMT_NR_SUPPRESS_WHATS] = {
	[KMT_BY_FUNCTION] = "function",
	[KMT_BY_MODULE]	  = "module",
	[KMT_BY_CACHE]	  = "cache",
	[KMT_BY_TASK]	  = "task",
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int parse_number(const struct kmt_command_number *number,
			const char *text, unsigned long *value)
{
	unsigned long v;
	int ret;

	/* kmemleak takes a plus sign, too. Blanks and a minus sign are errors. */
	if (*text == '+')
		text++;
	if (*text < '0' || *text > '9')
		return -EINVAL;
	/* kstrtoul() accepts a trailing newline; kmt_parse() has removed a legal one. */
	if (strchr(text, '\n'))
		return -EINVAL;
	ret = kstrtoul(text, 0, &v);
	if (ret == -ERANGE || (!ret && v > number->max))
		return number->error;
	if (ret)
		return ret;
	*value = v;
	return 0;
}

/* Cuts the number of levels off the end of @text; 1 if there is none. */
static int parse_levels(const struct kmt_command_number *number, char *text,
			unsigned int *levels)
{
	const struct kmt_command_number limit = {
		.max = number->levels, .error = -ERANGE,
	};
	char *comma = strchr(text, ',');
	unsigned long v = 1;
	int ret;

	if (comma) {
		*comma = '\0';
		ret = parse_number(&limit, comma + 1, &v);
		if (ret)
			return ret;
		if (!v)
			return -EINVAL;
	}
	*levels = v;
	return 0;
}

/* A name is printable ASCII. It may have blanks, but not begin with one. */
static bool is_name(const char *text)
{
	size_t len = strlen(text);

	if (!len || len > KMT_NAME_MAX || *text == ' ')
		return false;
	while (*text >= ' ' && *text <= '~')
		text++;
	return !*text;
}

/* @text follows the key, and is a terminated copy of the text at @line. */
static int parse_name(enum kmt_verb verb, const char *text, const char *line,
		      struct kmt_command *cmd)
{
	unsigned int what;

	for (what = 0; what < KMT_NR_SUPPRESS_WHATS; what++) {
		size_t n = strlen(kmt_suppress_words[what]);

		if (strncmp(text, kmt_suppress_words[what], n) ||
		    text[n] != ':' || !is_name(text + n + 1))
			continue;
		cmd->verb = verb;
		cmd->arg = what;
		cmd->name = line + n + 1;
		cmd->len = strlen(text + n + 1);
		return 0;
	}
	return -EINVAL;
}

/**
 * kmt_parse - parse a command, or a parameter
 * @line: text, not necessarily terminated
 * @len: its length; blanks and line ends around the command are allowed
 * @cmd: set on success only; a name in it is part of @line
 * @boot: parameters that are read at boot are allowed, too
 *
 * Return: 0; -EINVAL if it is no command, or if rules_off= has unknown bits; -ERANGE if
 * another number is too large.
 */
int kmt_parse(const char *line, size_t len, struct kmt_command *cmd, bool boot)
{
	char text[KMT_COMMAND_MAX + 1];
	const struct kmt_command_number *number;
	const struct kmt_command_word *word;

	while (len && is_blank(line[len - 1]))
		len--;
	while (len && is_blank(*line)) {
		line++;
		len--;
	}
	if (!len || len > KMT_COMMAND_MAX || memchr(line, '\0', len))
		return -EINVAL;
	memcpy(text, line, len);
	text[len] = '\0';

	for (word = kmt_command_words; word->word; word++) {
		if (!strcmp(text, word->word)) {
			*cmd = word->cmd;
			return 0;
		}
	}
	for (number = kmt_command_numbers; number->key; number++) {
		size_t n = strlen(number->key);
		unsigned int levels = 0;
		unsigned long v = 0;
		int ret = 0;

		if (strncmp(text, number->key, n) || (number->boot && !boot))
			continue;
		if (number->levels)
			ret = parse_levels(number, text + n, &levels);
		ret = ret ?: parse_number(number, text + n, &v);
		if (ret)
			return ret;
		cmd->verb = number->verb;
		cmd->arg = v;
		cmd->levels = levels;
		return 0;
	}
	if (!strncmp(text, "suppress=", 9))
		return parse_name(KMT_CMD_SUPPRESS, text + 9, line + 9, cmd);
	if (!strncmp(text, "unsuppress=", 11))
		return parse_name(KMT_CMD_UNSUPPRESS, text + 11, line + 11, cmd);
	return -EINVAL;
}

static bool is_blank_line(const char *text, size_t len)
{
	while (len && is_blank(text[len - 1]))
		len--;
	return !len;
}

static bool is_padding(char c)
{
	return !c || is_blank(c);
}

/**
 * kmt_is_padding - does a text consist of blanks and NUL bytes only?
 * @text: text, not necessarily terminated
 * @len: its length
 *
 * Some programs write a whole buffer of fixed size, with a command at its beginning.
 */
bool kmt_is_padding(const char *text, size_t len)
{
	while (len && is_padding(text[len - 1]))
		len--;
	return !len;
}

/**
 * kmt_parse_lines - parse commands, one per line
 * @text: text, not necessarily terminated
 * @len: its length; padding may follow the last command
 * @cmds: set to the commands; undefined on failure
 * @max: room in @cmds
 *
 * Blank lines are skipped, but there must be at least one command.
 *
 * Return: number of commands; -EINVAL if a line is no command, or if there are
 * no commands or too many; -ERANGE if a number is too large.
 */
int kmt_parse_lines(const char *text, size_t len, struct kmt_command *cmds,
		    int max)
{
	const char *begin = text;
	int ret, nr = 0;

	while (len && is_padding(text[len - 1]))
		len--;
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t line = end ? end - text : len;

		if (!is_blank_line(text, line)) {
			if (nr == max)
				return -EINVAL;
			ret = kmt_parse(text, line, &cmds[nr], false);
			if (ret)
				return ret;
			cmds[nr++].at = text - begin;
		}
		line += !!end;
		text += line;
		len -= line;
	}
	return nr ?: -EINVAL;
}
