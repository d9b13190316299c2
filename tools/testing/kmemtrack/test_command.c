// SPDX-License-Identifier: GPL-2.0
/* Commands: only exact commands are accepted. */
#include "sim.h"
#include "command.h"

struct good {
	const char *text;
	enum kmt_verb verb;
	unsigned long arg;
	unsigned int levels;
};

static const struct good good[] = {
	{ "on",			KMT_CMD_ON },
	{ "off",		KMT_CMD_OFF },
	{ "scan",		KMT_CMD_SCAN },
	{ "log",		KMT_CMD_LOG },
	{ "scan=on",		KMT_CMD_SCAN_ON },
	{ "scan=off",		KMT_CMD_SCAN_OFF },
	{ "scan=0",		KMT_CMD_SCAN_EVERY, 0 },
	{ "scan=600",		KMT_CMD_SCAN_EVERY, 600 },
	{ "scan=0x10",		KMT_CMD_SCAN_EVERY, 16 },
	{ "scan=+5",		KMT_CMD_SCAN_EVERY, 5 },
	{ "scan=2147483",	KMT_CMD_SCAN_EVERY, 2147483 },
	{ "stack=on",		KMT_CMD_STACK, 1 },
	{ "stack=off",		KMT_CMD_STACK, 0 },
	{ "pages=on",		KMT_CMD_PAGES, KMT_PAGES_ROOTS },
	{ "pages=off",		KMT_CMD_PAGES, KMT_PAGES_NONE },
	{ "pages=track",	KMT_CMD_PAGES, KMT_PAGES_TRACK },
	{ "clear",		KMT_CMD_CLEAR },
	{ "confirm=snapshot",	KMT_CMD_SNAPSHOT, 1 },
	{ "confirm=wait",	KMT_CMD_SNAPSHOT, 0 },
	{ "min_age=0",		KMT_CMD_MIN_AGE, 0 },
	{ "min_age=1000",	KMT_CMD_MIN_AGE, 1000 },
	{ "min_age=2147483",	KMT_CMD_MIN_AGE, 2147483 },
	{ "max_pause=0",	KMT_CMD_MAX_PAUSE, 0 },
	{ "max_pause=50000",	KMT_CMD_MAX_PAUSE, 50000 },
	{ "max_pause=5000000",	KMT_CMD_MAX_PAUSE, 5000000 },
	{ "dump=0",		KMT_CMD_DUMP, 0 },
#ifdef __LP64__
	{ "dump=0xffff000003a1c000", KMT_CMD_DUMP, 0xffff000003a1c000ul },
	{ "dump=0xFFFFFFFFFFFFFFFF", KMT_CMD_DUMP, ~0ul },
	{ "refs=0xFFFFFFFFFFFFFFFF", KMT_CMD_REFS, ~0ul, 1 },
#else
	{ "dump=0xc3a1c000",	KMT_CMD_DUMP, 0xc3a1c000ul },
	{ "dump=0xFFFFFFFF",	KMT_CMD_DUMP, ~0ul },
	{ "refs=0xFFFFFFFF",	KMT_CMD_REFS, ~0ul, 1 },
#endif
	{ "dump=4711",		KMT_CMD_DUMP, 4711 },
	{ "refs=0",		KMT_CMD_REFS, 0, 1 },
	{ "refs=4711,1",	KMT_CMD_REFS, 4711, 1 },
	{ "refs=+0x1267,0x8",	KMT_CMD_REFS, 4711, 8 },
	{ "refs=4711,+3",	KMT_CMD_REFS, 4711, 3 },
	{ "verbose=on",		KMT_CMD_VERBOSE, 1 },
	{ "verbose=off",	KMT_CMD_VERBOSE, 0 },
	{ "panic_on_leak=0",	KMT_CMD_PANIC, 0 },
	{ "panic_on_leak=4294967295", KMT_CMD_PANIC, 4294967295ul },
	{ "rules_off=0",	KMT_CMD_RULES_OFF, 0 },
	{ "rules_off=0xfff",	KMT_CMD_RULES_OFF, 0xfff },
	{ "sites=0",		KMT_CMD_SITES, 0 },
	{ "sites=65536",	KMT_CMD_SITES, 65536 },
	{ "unsuppress=all",	KMT_CMD_UNSUPPRESS_ALL },
};

/* Parameters that are no commands. */
static const struct good good_at_boot[] = {
	{ "early_pool=0",	KMT_CMD_EARLY_POOL, 0 },
	{ "early_pool=1000000",	KMT_CMD_EARLY_POOL, 1000000 },
};

static const char * const bad[] = {
	"", " ", "\n", "\t\040\n", "o", "onn", "ON", "on off", "on\non", "scanfoo",
	"scan foo", "sca", "scan=", "scan=-1", "scan=+", "scan=++1", "scan=+-1",
	"scan=-+1", "scan=+ 1", "scan=+on", "scan= 1", "scan=1x",
	"scan=1 2", "scan=0x", "scan=08", "scan=onoff", "scan=ON", "scan =on",
	"scan=0x1g", "scan=\xff", "stack", "stack=", "stack=1", "stack=onn",
	"clearx", "clear=", "confirm", "confirm=", "confirm=waits", "confirm=snap",
	"confirm=snapshots", "confirm=on", "max_pause", "max_pause=",
	"max_pause=50ms", "max_pause=-1", "max_pause=off", "min_age",
	"min_age=", "min_age=on", "min_age=1ms", "dump", "dump=", "dump=x",
	"dump=ffff000003a1c000", "dump=0x1 0x2", "dump=--1", "verbose",
	"verbose=2", "pages=maybe", "pages=tracks", "help", "=on", "=", "scan=1\n2",
	"panic_on_leak", "panic_on_leak=", "panic_on_leak=on", "rules_off",
	"rules_off=", "rules_off=NAPS", "rules_off=0x1000", "rules_off=4096",
	"rules_off=99999999999999999999999", "early_pool=0", "early_pool=1",
	"refs", "refs=", "refs=,", "refs=,1", "refs=1,", "refs=1,0", "refs=1,x",
	"refs=1\n,1", "scan=1\n\n1", "refs=1,-1", "refs=1, 1", "refs=1 ,1", "refs=1,1,1", "refs=x,1", "dump=1,1",
	"sites", "sites=", "sites=all", "sites=-1",
	"suppress", "suppress=", "suppress=function", "suppress=function:",
	"suppress=kfree", "suppress=functions:a", "suppress=FUNCTION:a",
	"suppress=:a", "suppress= task:a", "suppress=task: a", "suppress =task:a",
	"suppress=task:a\tb", "suppress=task:\x7f", "suppress=task:\xe4",
	"suppress=all", "unsuppress", "unsuppress=", "unsuppress=ALL",
	"unsuppress=all:", "unsuppress=task:",
	"dump=0x10000000000000000000000000000000000000000000000000000000000000",
};

static const char * const large[] = {
	"scan=2147484", "scan=4294967296", "scan=99999999999999999999999",
	"scan=4294968", "min_age=2147484", "max_pause=5000001",
	"max_pause=4294967296", "dump=0x10000000000000000",
	"panic_on_leak=4294967296", "refs=1,9", "refs=1,4294967297",
	"refs=0x10000000000000000,1",
	"sites=65537",
#ifndef __LP64__
	"dump=0x100000000", "dump=0xffff000003a1c000",
#endif
};

static const char * const large_at_boot[] = {
	"early_pool=1000001", "early_pool=99999999999999999999999",
};

/* Parses a copy in a buffer of exactly @len bytes, so that ASan finds reads beyond it. */
static int parse(const char *text, size_t len, struct kmt_command *cmd)
{
	char *copy = malloc(len ? len : 1);
	int ret;

	memcpy(copy, text, len);
	ret = kmt_parse(copy, len, cmd, false);
	free(copy);
	return ret;
}

static void check_good(const char *text, size_t len, const struct good *g)
{
	struct kmt_command cmd = { .verb = 99, .arg = 99 };

	assert_int_equal(parse(text, len, &cmd), 0);
	assert_int_equal(cmd.verb, g->verb);
	assert_int_equal(cmd.arg, g->arg);
	assert_int_equal(cmd.levels, g->levels);
}

static void check_refused(const char *text, size_t len, int error)
{
	struct kmt_command cmd = { .verb = 99, .arg = 99 };
	int ret = parse(text, len, &cmd);

	if (error)
		assert_int_equal(ret, error);
	assert_true(ret == -EINVAL || ret == -ERANGE);
	/* A refused command has no effect. */
	assert_int_equal(cmd.verb, 99);
	assert_int_equal(cmd.arg, 99);
}

static void test_good(void **state)
{
	static const char * const frames[][2] = {
		{ "", "" }, { "", "\n" }, { " ", "" }, { "\t", "\040\n" },
		{ "  ", "\r\n" }, { "\n", "\n\n" },
	};
	char text[80];
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		for (k = 0; k < ARRAY_SIZE(frames); k++) {
			int len = snprintf(text, sizeof(text), "%s%s%s",
					   frames[k][0], good[i].text,
					   frames[k][1]);

			check_good(text, len, &good[i]);
		}
	}
}

static void test_names(void **state)
{
	static const struct {
		const char *text;
		enum kmt_verb verb;
		enum kmt_suppress_what what;
		const char *name;
	} names[] = {
		{ "suppress=function:a", KMT_CMD_SUPPRESS, KMT_BY_FUNCTION, "a" },
		{ "suppress=module:a*b?[c]", KMT_CMD_SUPPRESS, KMT_BY_MODULE,
		  "a*b?[c]" },
		{ "suppress=cache:a:b=c", KMT_CMD_SUPPRESS, KMT_BY_CACHE,
		  "a:b=c" },
		{ " unsuppress=task:two  words ", KMT_CMD_UNSUPPRESS,
		  KMT_BY_TASK, "two  words" },
		{ "unsuppress=function:all", KMT_CMD_UNSUPPRESS,
		  KMT_BY_FUNCTION, "all" },
	};
	char text[KMT_NAME_MAX + 40];
	struct kmt_command cmd;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(kmt_parse(names[i].text, strlen(names[i].text),
					   &cmd, false), 0);
		assert_int_equal(cmd.verb, names[i].verb);
		assert_int_equal(cmd.arg, names[i].what);
		assert_int_equal(cmd.len, strlen(names[i].name));
		assert_memory_equal(cmd.name, names[i].name, cmd.len);
		assert_true(cmd.name > names[i].text &&
			    cmd.name < names[i].text + strlen(names[i].text));
	}
	/* unsuppress= takes names as long as suppress= does. */
	i = snprintf(text, sizeof(text), "unsuppress=function:");
	memset(text + i, 'x', KMT_NAME_MAX + 1);
	assert_int_equal(kmt_parse(text, i + KMT_NAME_MAX, &cmd, false), 0);
	assert_int_equal(cmd.len, KMT_NAME_MAX);
	check_refused(text, i + KMT_NAME_MAX + 1, -EINVAL);
	check_refused(text + 2, i - 2 + KMT_NAME_MAX + 1, -EINVAL);
}

static void test_bad(void **state)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		check_refused(bad[i], strlen(bad[i]), 0);
	for (i = 0; i + 1 < ARRAY_SIZE(bad); i++)
		check_refused(bad[i], strlen(bad[i]), -EINVAL);
	for (i = 0; i < ARRAY_SIZE(large); i++)
		check_refused(large[i], strlen(large[i]), -ERANGE);
}

/* Parameters take the values of all commands, and some more. */
static void test_parameters(void **state)
{
	struct kmt_command cmd;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		const char *text = good[i].text;

		assert_int_equal(kmt_parse(text, strlen(text), &cmd, true), 0);
		assert_int_equal(cmd.verb, good[i].verb);
		assert_int_equal(cmd.arg, good[i].arg);
	}
	for (i = 0; i < ARRAY_SIZE(good_at_boot); i++) {
		const char *text = good_at_boot[i].text;

		check_refused(text, strlen(text), -EINVAL);
		assert_int_equal(kmt_parse(text, strlen(text), &cmd, true), 0);
		assert_int_equal(cmd.verb, good_at_boot[i].verb);
		assert_int_equal(cmd.arg, good_at_boot[i].arg);
	}
	cmd = (struct kmt_command){ .verb = 99, .arg = 99 };
	for (i = 0; i < ARRAY_SIZE(large_at_boot); i++) {
		const char *text = large_at_boot[i];

		assert_int_equal(kmt_parse(text, strlen(text), &cmd, true),
				 -ERANGE);
	}
	assert_int_equal(kmt_parse("early_pool=x", 12, &cmd, true), -EINVAL);
	assert_int_equal(kmt_parse("rules_off=0x1000", 16, &cmd, true), -EINVAL);
	assert_int_equal(cmd.verb, 99);
	assert_int_equal(cmd.arg, 99);
}

/* Whether @text begins with a command that takes any number, and a digit. */
static bool is_number(const char *text, size_t len)
{
	const struct kmt_command_number *number;

	for (number = kmt_command_numbers; number->key; number++) {
		size_t n = strlen(number->key);

		if (number->boot)
			continue;
		if (len > n && !memcmp(text, number->key, n)) {
			if (text[n] == '+' && len > n + 1)
				n++;
			if (text[n] >= '0' && text[n] <= '9')
				return true;
		}
	}
	return false;
}

static bool is_word(const char *text, size_t len)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(good); i++)
		if (strlen(good[i].text) == len &&
		    !memcmp(good[i].text, text, len))
			return true;
	return false;
}

/*
 * Tries each prefix of each command, and each single byte inserted, changed or
 * removed.
 */
static void test_neighbours(void **state)
{
	char text[80];
	unsigned int i, at, c;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		const char *g = good[i].text;
		size_t len = strlen(g);

		for (at = 1; at < len; at++)
			if (!is_word(g, at) && !is_number(g, at))
				check_refused(g, at, -EINVAL);
		for (at = 0; at < len; at++) {
			for (c = 0; c < 256; c++) {
				memcpy(text, g, len);
				text[at] = c;
				if (is_word(text, len) || is_number(text, len))
					continue;
				if (strchr(" \t\n\r", c) && c &&
				    (!at || at == len - 1))
					continue;
				check_refused(text, len, -EINVAL);
			}
			memcpy(text, g, at);
			memcpy(text + at, g + at + 1, len - at - 1);
			if (!is_word(text, len - 1) &&
			    !is_number(text, len - 1))
				check_refused(text, len - 1, -EINVAL);
		}
		/*
		 * Any further byte but a blank is refused; commands with a number
		 * are skipped.
		 */
		for (c = 0; c < 256; c++) {
			memcpy(text, g, len);
			text[len] = c;
			if ((strchr(" \t\n\r", c) && c) ||
			    is_number(text, len + 1))
				continue;
			check_refused(text, len + 1, -EINVAL);
		}
	}
}

static void test_length(void **state)
{
	char text[300];
	struct good g = { .verb = KMT_CMD_DUMP, .arg = 1 };
	size_t len;

	/* As many zeros as there is room for; blanks do not count. */
	memset(text, ' ', sizeof(text));
	memcpy(text + 100, "dump=0x", 7);
	memset(text + 107, '0', KMT_COMMAND_MAX - 8);
	text[107 + KMT_COMMAND_MAX - 8] = '1';
	check_good(text, sizeof(text), &g);
	text[107 + KMT_COMMAND_MAX - 7] = '1';
	check_refused(text, sizeof(text), -EINVAL);
	for (len = 1; len < sizeof(text); len++) {
		memset(text, 'a', len);
		check_refused(text, len, -EINVAL);
		memset(text, ' ', len);
		check_refused(text, len, -EINVAL);
		memset(text, 0, len);
		check_refused(text, len, -EINVAL);
	}
	check_refused("scan\0", 5, -EINVAL);
	check_refused("scan\0\n", 6, -EINVAL);
	check_refused("\0scan", 5, -EINVAL);
	check_refused("scan", 0, -EINVAL);
}

struct lines {
	const char *text;
	size_t len;
	int nr;
};

#define LINES(text, nr)	{ text, sizeof(text) - 1, nr }

static const struct lines lines[] = {
	LINES("scan", 1), LINES("scan\n", 1), LINES("scan\n\n", 1),
	LINES("\n\nscan", 1), LINES("scan\0", 1), LINES("scan\0\0\0", 1),
	LINES("scan\n\0", 1), LINES("scan\0\n", 1), LINES("scan \0 \0", 1),
	LINES("clear\nscan", 2), LINES("clear\n\nscan\n", 2),
	LINES(" clear\040\n \t\n scan \r\n\0", 2),
	LINES("on\non\non", 3), LINES("on\non\non\n\n\0", 3),
	LINES("", -EINVAL), LINES("\n", -EINVAL), LINES("\n\040\n", -EINVAL),
	LINES("\0", -EINVAL), LINES(" \0\n", -EINVAL),
	LINES("\0scan", -EINVAL), LINES("\nscan\0clear", -EINVAL),
	LINES("scan\0\nclear", -EINVAL), LINES("\0\nscan", -EINVAL),
	LINES("scan\0x", -EINVAL), LINES("scan\nfoo", -EINVAL),
	LINES("foo\nscan", -EINVAL), LINES("scan\n=\n", -EINVAL),
	LINES("scan\nscan=4294967296", -ERANGE),
	/* One command more than there is room for. */
	LINES("on\non\non\non", -EINVAL),
};

/* Several commands, and the padding that some programs write after the last one. */
static void test_lines(void **state)
{
	struct kmt_command cmds[3];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		const struct lines *l = &lines[i];
		char *copy = malloc(l->len ? l->len : 1);
		int nr;

		memcpy(copy, l->text, l->len);
		nr = kmt_parse_lines(copy, l->len, cmds, ARRAY_SIZE(cmds));
		if (nr != l->nr)
			fail_msg("entry %u: %d, not %d", i, nr, l->nr);
		if (nr == 2) {
			assert_int_equal(cmds[0].verb, KMT_CMD_CLEAR);
			assert_int_equal(cmds[1].verb, KMT_CMD_SCAN);
		}
		free(copy);
	}
}

/* Whether @list has @text or, if @key, a command that begins with @text and sets @arg. */
static bool is_in(const struct good *list, unsigned int nr, const char *text,
		  bool key, enum kmt_verb verb, unsigned long arg)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (!strncmp(list[i].text, text, strlen(text)) &&
		    (key || !strcmp(list[i].text, text)) &&
		    list[i].verb == verb && list[i].arg == arg)
			return true;
	return false;
}

static bool has_key(const char * const *list, unsigned int nr, const char *key)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (!strncmp(list[i], key, strlen(key)))
			return true;
	return false;
}

/* Whether the lists have the command with its largest number, and with a larger one. */
static bool is_tested(const struct kmt_command_number *n)
{
	if (n->boot)
		return is_in(good_at_boot, ARRAY_SIZE(good_at_boot), n->key,
			     true, n->verb, n->max) &&
		       has_key(large_at_boot, ARRAY_SIZE(large_at_boot),
			       n->key);
	return is_in(good, ARRAY_SIZE(good), n->key, true, n->verb, n->max) &&
	       (n->error == -ERANGE ?
		has_key(large, ARRAY_SIZE(large), n->key) :
		has_key(bad, ARRAY_SIZE(bad), n->key));
}

/* The lists above have all commands that the parser knows. */
static void test_table(void **state)
{
	const struct kmt_command_number *number;
	const struct kmt_command_word *word;

	for (word = kmt_command_words; word->word; word++)
		if (!is_in(good, ARRAY_SIZE(good), word->word, false,
			   word->cmd.verb, word->cmd.arg))
			fail_msg("no test of: %s", word->word);
	for (number = kmt_command_numbers; number->key; number++)
		if (!is_tested(number))
			fail_msg("no test of: %s", number->key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_parameters),
	};

	return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
