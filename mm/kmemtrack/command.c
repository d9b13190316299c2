// SPDX-License-Identifier: GPL-2.0
/*
 * Parsing of one command. What is not exactly a command has no effect.
 */
#include "command.h"

static const struct {
	const char *word;
	struct kmt_command cmd;
} words[] = {
	{ "on",			{ KMT_CMD_ON } },
	{ "off",		{ KMT_CMD_OFF } },
	{ "scan",		{ KMT_CMD_SCAN } },
	{ "scan=on",		{ KMT_CMD_SCAN_ON } },
	{ "scan=off",		{ KMT_CMD_SCAN_OFF } },
	{ "stack=on",		{ KMT_CMD_STACK, 1 } },
	{ "stack=off",		{ KMT_CMD_STACK, 0 } },
	{ "pages=on",		{ KMT_CMD_PAGES, 1 } },
	{ "pages=off",		{ KMT_CMD_PAGES, 0 } },
	{ "clear",		{ KMT_CMD_CLEAR } },
	{ "confirm=snapshot",	{ KMT_CMD_SNAPSHOT, 1 } },
	{ "confirm=wait",	{ KMT_CMD_SNAPSHOT, 0 } },
	{ "verbose=on",		{ KMT_CMD_VERBOSE, 1 } },
	{ "verbose=off",	{ KMT_CMD_VERBOSE, 0 } },
};

static const struct {
	const char *key;
	enum kmt_verb verb;
	unsigned long max;
} numbers[] = {
	{ "scan=",	KMT_CMD_SCAN_EVERY,	INT_MAX / 1000 },
	{ "min_age=",	KMT_CMD_MIN_AGE,	INT_MAX / 1000 },
	{ "max_pause=",	KMT_CMD_MAX_PAUSE,	KMT_PAUSE_MAX },
	{ "dump=",	KMT_CMD_DUMP,		ULONG_MAX },
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int parse_number(const char *text, unsigned long max,
			unsigned long *value)
{
	unsigned long v;
	int ret;

	/* Signs and blanks, which the kernel's parser may take, are none. */
	if (*text < '0' || *text > '9')
		return -EINVAL;
	ret = kstrtoul(text, 0, &v);
	if (ret)
		return ret;
	if (v > max)
		return -ERANGE;
	*value = v;
	return 0;
}

/**
 * kmt_parse - parse a command
 * @line: text, not necessarily terminated
 * @len: its length; blanks and line ends around the command are allowed
 * @cmd: set on success only
 *
 * Return: 0; -EINVAL if it is no command; -ERANGE if its number is too large.
 */
int kmt_parse(const char *line, size_t len, struct kmt_command *cmd)
{
	char text[KMT_COMMAND_MAX + 1];
	unsigned int i;

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

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(text, words[i].word)) {
			*cmd = words[i].cmd;
			return 0;
		}
	}
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		size_t n = strlen(numbers[i].key);
		unsigned long v;
		int ret;

		if (strncmp(text, numbers[i].key, n))
			continue;
		ret = parse_number(text + n, numbers[i].max, &v);
		if (ret)
			return ret;
		cmd->verb = numbers[i].verb;
		cmd->arg = v;
		return 0;
	}
	return -EINVAL;
}
