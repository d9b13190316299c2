// SPDX-License-Identifier: GPL-2.0
/* Any text to the command parser; a second, slower one says what is right. */
#include "sim.h"
#include "command.h"
#include "fuzz.h"

static const struct {
	const char *word;
	struct kmt_command cmd;
} words[] = {
	{ "on", { KMT_CMD_ON, 0 } },
	{ "off", { KMT_CMD_OFF, 0 } },
	{ "scan", { KMT_CMD_SCAN, 0 } },
	{ "scan=on", { KMT_CMD_SCAN_ON, 0 } },
	{ "scan=off", { KMT_CMD_SCAN_OFF, 0 } },
	{ "stack=on", { KMT_CMD_STACK, 1 } },
	{ "stack=off", { KMT_CMD_STACK, 0 } },
	{ "pages=on", { KMT_CMD_PAGES, 1 } },
	{ "pages=off", { KMT_CMD_PAGES, 0 } },
	{ "clear", { KMT_CMD_CLEAR, 0 } },
	{ "confirm=snapshot", { KMT_CMD_SNAPSHOT, 1 } },
	{ "confirm=wait", { KMT_CMD_SNAPSHOT, 0 } },
	{ "verbose=on", { KMT_CMD_VERBOSE, 1 } },
	{ "verbose=off", { KMT_CMD_VERBOSE, 0 } },
};

static const struct {
	const char *key;
	enum kmt_verb verb;
	unsigned long max;
} keys[] = {
	{ "scan=", KMT_CMD_SCAN_EVERY, 2147483 },
	{ "min_age=", KMT_CMD_MIN_AGE, 2147483 },
	{ "max_pause=", KMT_CMD_MAX_PAUSE, 10000000 },
	{ "dump=", KMT_CMD_DUMP, ULONG_MAX },
};

static int digit_of(char c, unsigned int base)
{
	int d = c >= '0' && c <= '9' ? c - '0' :
		c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;

	return d < base ? d : -1;
}

static bool number(const char *s, size_t len, unsigned long max,
		   unsigned long *value)
{
	unsigned int base = 10;
	unsigned long v = 0;
	size_t i = 0;

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

static bool expect(const char *s, size_t len, struct kmt_command *cmd)
{
	unsigned int i;

	for (; len && blank(s[0]); len--)
		s++;
	while (len && blank(s[len - 1]))
		len--;
	if (len > KMT_COMMAND_MAX)
		return false;
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		if (len == strlen(words[i].word) &&
		    !memcmp(s, words[i].word, len)) {
			*cmd = words[i].cmd;
			return true;
		}
	}
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		size_t n = strlen(keys[i].key);

		if (len <= n || memcmp(s, keys[i].key, n))
			continue;
		cmd->verb = keys[i].verb;
		return number(s + n, len - n, keys[i].max, &cmd->arg);
	}
	return false;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct kmt_command cmd = { .verb = 99, .arg = 99 }, right = {};
	int ret = kmt_parse((const char *)data, size, &cmd);

	if (expect((const char *)data, size, &right)) {
		assert(!ret && cmd.verb == right.verb && cmd.arg == right.arg);
	} else {
		assert(ret == -EINVAL || ret == -ERANGE);
		assert(cmd.verb == 99 && cmd.arg == 99);
	}
	return 0;
}
