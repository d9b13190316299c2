// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzer of the command parser: any text, and any text behind each command. A second,
 * slower parser gives the expected result. It takes the commands but those with a name from
 * the tables of the first one, whose entries test_command.c checks one by one.
 */
#include "sim.h"
#include "command.h"
#include "fuzz.h"

static const struct {
	const char *key;
	enum kmt_verb verb;
} names[] = {
	{ "suppress=", KMT_CMD_SUPPRESS }, { "unsuppress=", KMT_CMD_UNSUPPRESS },
};

static int digit_of(char c, unsigned int base)
{
	int d = c >= '0' && c <= '9' ? c - '0' :
		c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;

	return d < base ? d : -1;
}

static bool number_in(const char *s, size_t len, unsigned long max,
		      unsigned long *value)
{
	unsigned int base = 10;
	unsigned long v = 0;
	size_t i = 0;

	if (len && s[0] == '+') {
		s++;
		len--;
	}
	if (len > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') &&
	    digit_of(s[2], 16) >= 0) {
		base = 16;
		i = 2;
	} else if (len && s[0] == '0') {
		base = 8;
	}
	if (i == len)
		return false;
	for (; i < len; i++) {
		int d = digit_of(s[i], base);

		if (d < 0 || v > (ULONG_MAX - d) / base)
			return false;
		v = v * base + d;
	}
	*value = v;
	return v <= max;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Cuts off a comma and the text behind it. */
static bool expect_levels(const char *s, size_t *len, unsigned int max,
			  unsigned int *levels)
{
	const char *comma = memchr(s, ',', *len);
	unsigned long v = 1;

	if (comma) {
		size_t at = comma - s;

		if (!number_in(comma + 1, *len - at - 1, max, &v) || !v)
			return false;
		*len = at;
	}
	*levels = v;
	return true;
}

/* Parses a name: a word, a colon, and printable characters. */
static bool name_in(const char *s, size_t len, struct kmt_command *cmd)
{
	static const char * const words[] = {
		"function:", "module:", "cache:", "task:",
	};
	unsigned int what;
	size_t i;

	for (what = 0; what < ARRAY_SIZE(words); what++) {
		i = strlen(words[what]);
		if (len > i && !memcmp(s, words[what], i))
			break;
	}
	if (what == ARRAY_SIZE(words) || s[i] == ' ' || len - i > 100)
		return false;
	cmd->arg = what;
	cmd->name = s + i;
	cmd->len = len - i;
	for (; i < len; i++)
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	return true;
}

static bool expect(const char *s, size_t len, struct kmt_command *cmd)
{
	const struct kmt_command_number *number;
	const struct kmt_command_word *word;
	unsigned int i;

	for (; len && blank(s[0]); len--)
		s++;
	while (len && blank(s[len - 1]))
		len--;
	if (len > KMT_COMMAND_MAX)
		return false;
	for (word = kmt_command_words; word->word; word++) {
		if (len == strlen(word->word) &&
		    !memcmp(s, word->word, len)) {
			*cmd = word->cmd;
			return true;
		}
	}
	for (number = kmt_command_numbers; number->key; number++) {
		size_t n = strlen(number->key);

		if (len <= n || memcmp(s, number->key, n) || number->boot)
			continue;
		cmd->verb = number->verb;
		s += n;
		len -= n;
		if (number->levels && !expect_levels(s, &len, number->levels,
						     &cmd->levels))
			return false;
		return number_in(s, len, number->max, &cmd->arg);
	}
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		size_t n = strlen(names[i].key);

		if (len <= n || memcmp(s, names[i].key, n))
			continue;
		cmd->verb = names[i].verb;
		return name_in(s + n, len - n, cmd);
	}
	return false;
}

#define ROOM	3

/* Parses all lines of a text. */
static int expect_lines(const char *s, size_t len, struct kmt_command *right)
{
	size_t at, from = 0;
	int nr = 0;

	while (len && (!s[len - 1] || blank(s[len - 1])))
		len--;
	for (at = 0; at <= len; at++) {
		size_t i = from;

		if (at < len && s[at] != '\n')
			continue;
		while (i < at && blank(s[i]))
			i++;
		if (i < at && (nr == ROOM ||
			       !expect(s + from, at - from, &right[nr++])))
			return -1;
		from = at + 1;
	}
	return nr;
}

static void check_lines(const char *text, size_t len)
{
	struct kmt_command cmds[ROOM] = {}, right[ROOM] = {};
	int i, ret = kmt_parse_lines(text, len, cmds, ROOM);
	int nr = expect_lines(text, len, right);

	if (nr <= 0) {
		assert(ret == -EINVAL || ret == -ERANGE);
		return;
	}
	assert(ret == nr);
	for (i = 0; i < nr; i++)
		assert(cmds[i].verb == right[i].verb &&
		       cmds[i].arg == right[i].arg);
}

static void check(const char *text, size_t len)
{
	struct kmt_command cmd = { .verb = 99, .arg = 99 }, right = {};
	int ret = kmt_parse(text, len, &cmd, false);

	check_lines(text, len);

	if (expect(text, len, &right)) {
		assert(!ret && cmd.verb == right.verb && cmd.arg == right.arg &&
		       cmd.levels == right.levels);
		assert(cmd.name == right.name && cmd.len == right.len);
	} else {
		assert(ret == -EINVAL || ret == -ERANGE);
		assert(cmd.verb == 99 && cmd.arg == 99);
	}
}

/* Appends the input to a command, in a buffer of exactly that size. */
static void check_behind(const char *command, const u8 *data, size_t size)
{
	size_t len = strlen(command);
	char *text = malloc(len + size);

	assert(text);
	memcpy(text, command, len);
	memcpy(text + len, data, size);
	check(text, len + size);
	free(text);
}

/* Tries a number near the limit; the input selects it and its format. */
static void check_limit(const struct kmt_command_number *number, u8 which,
			u8 form)
{
	static const char * const forms[] = { "%s%lu", "%s0x%lx", "%s0%lo" };
	unsigned long value = number->max + which - 128;
	char text[2 * KMT_COMMAND_MAX];
	int len;

	len = snprintf(text, sizeof(text), forms[form % ARRAY_SIZE(forms)],
		       number->key, value);
	check(text, len);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	const struct kmt_command_number *number;
	const struct kmt_command_word *word;
	unsigned int i;

	check((const char *)data, size);
	for (word = kmt_command_words; word->word; word++)
		check_behind(word->word, data, size);
	for (number = kmt_command_numbers; number->key; number++) {
		check_behind(number->key, data, size);
		if (size >= 2)
			check_limit(number, data[0], data[1]);
	}
	for (i = 0; i < ARRAY_SIZE(names); i++)
		check_behind(names[i].key, data, size);
	check_behind("suppress=function:", data, size);
	check_behind("unsuppress=task:", data, size);
	return 0;
}
