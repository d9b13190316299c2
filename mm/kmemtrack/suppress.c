// SPDX-License-Identifier: GPL-2.0
/*
 * Suppressions: they hold back known leaks by the name of a function or module in the
 * backtrace, of the cache, or of the task that allocated the block.
 *
 * A leak that is held back stays a leak. Reports leave it out and show how many they
 * left out; kmemtrack_info/suppressions shows how many for each suppression.
 *
 * kmt_scan_mutex protects the suppressions. What was found out about a backtrace is kept
 * for the next leak that has it, until suppressions change or handles.c replaces backtraces
 * or removes names. That cache is used with kmt_scan_mutex and with kmt_reports_sem held for
 * reading; handles.c clears it with kmt_reports_sem held for writing alone.
 */
#include <linux/glob.h>
#include <linux/hash.h>
#include <linux/kallsyms.h>
#include <linux/seq_file.h>
#include <linux/stackdepot.h>
#include <linux/string.h>

#include "report.h"

/**
 * struct suppression - holds leaks back by name
 * @what: the kind of name
 * @name: name, which may have wildcards of glob_match()
 */
struct suppression {
	enum kmt_suppress_what what;
	char name[KMT_NAME_MAX + 1];
};

static struct suppression suppressions[KMT_SUPPRESSIONS];
static unsigned int nr_suppressions;

/* Size of the cache of verdicts on backtraces. */
#define KMT_SUPPRESS_SEEN_BITS	8

/**
 * struct seen - a cached verdict on a backtrace
 * @trace: handle of the backtrace; 0 if the entry is empty
 * @verdict: number of the first suppression that matches a function or module in the
 *	backtrace, or KMT_NOT_SUPPRESSED
 */
struct seen {
	u32 trace;
	int verdict;
};

static struct seen seen[1 << KMT_SUPPRESS_SEEN_BITS];

/**
 * kmt_suppressing - are there any suppressions?
 *
 * Context: any; without kmt_scan_mutex the answer may change at once.
 */
bool kmt_suppressing(void)
{
	return READ_ONCE(nr_suppressions);
}

/**
 * kmt_suppress_forget - forget the cached verdicts on backtraces
 *
 * Context: kmt_reports_sem held for writing, or for reading with kmt_scan_mutex.
 */
void kmt_suppress_forget(void)
{
	memset(seen, 0, sizeof(seen));
}

static int find(enum kmt_suppress_what what, const char *name, size_t len)
{
	unsigned int i;

	for (i = 0; i < nr_suppressions; i++)
		if (suppressions[i].what == what &&
		    strlen(suppressions[i].name) == len &&
		    !memcmp(suppressions[i].name, name, len))
			return i;
	return -1;
}

static void changed(void)
{
	down_read(&kmt_reports_sem);
	kmt_suppress_forget();
	up_read(&kmt_reports_sem);
}

/**
 * kmt_suppress - add a suppression
 * @cmd: command; the parser has checked it
 *
 * Context: kmt_scan_mutex held, may sleep; tracking is on.
 * Return: 0, also if it exists already; -ENOSPC if there are too many.
 */
int kmt_suppress(const struct kmt_command *cmd)
{
	struct suppression *s = &suppressions[nr_suppressions];

	lockdep_assert_held(&kmt_scan_mutex);
	if (find(cmd->arg, cmd->name, cmd->len) >= 0)
		return 0;
	if (nr_suppressions == KMT_SUPPRESSIONS)
		return -ENOSPC;
	s->what = cmd->arg;
	memcpy(s->name, cmd->name, cmd->len);
	s->name[cmd->len] = '\0';
	WRITE_ONCE(nr_suppressions, nr_suppressions + 1);
	changed();
	return 0;
}

/**
 * kmt_unsuppress - remove a suppression, or all
 * @cmd: command; its name must be the same string as for kmt_suppress()
 *
 * Context: kmt_scan_mutex held, may sleep; tracking is on.
 * Return: 0; -EINVAL if there is no such suppression.
 */
int kmt_unsuppress(const struct kmt_command *cmd)
{
	int i;

	lockdep_assert_held(&kmt_scan_mutex);
	if (cmd->verb == KMT_CMD_UNSUPPRESS_ALL) {
		WRITE_ONCE(nr_suppressions, 0);
	} else {
		i = find(cmd->arg, cmd->name, cmd->len);
		if (i < 0)
			return -EINVAL;
		WRITE_ONCE(nr_suppressions, nr_suppressions - 1);
		memmove(&suppressions[i], &suppressions[i + 1],
			(nr_suppressions - i) * sizeof(suppressions[0]));
	}
	changed();
	return 0;
}

/*
 * Splits "function+0x1/0x2 [module]" or "function+0x1/0x2 [module build-id]". The text
 * of an address without a symbol is returned as the function, without a module.
 */
static void split_name(char *text, const char **function, const char **module)
{
	char *at = strchr(text, '[');

	*module = NULL;
	if (at) {
		*module = ++at;
		at[strcspn(at, " ]")] = '\0';
	}
	at = strpbrk(text, "+ ");
	if (at)
		*at = '\0';
	*function = text;
}

static bool match(const struct suppression *s, enum kmt_suppress_what what,
		  const char *name)
{
	return s->what == what && name && glob_match(s->name, name);
}

/* The number of the first of @nr suppressions that a frame matches, or @nr. */
static noinline_for_stack unsigned int by_frame(unsigned long pc,
						unsigned int nr)
{
	const char *function, *module, *name;
	char text[KSYM_SYMBOL_LEN];
	unsigned int i;

	name = kmt_code_name(text, pc);
	if (name != text)
		strscpy(text, name, sizeof(text));
	split_name(text, &function, &module);
	for (i = 0; i < nr; i++)
		if (match(&suppressions[i], KMT_BY_FUNCTION, function) ||
		    match(&suppressions[i], KMT_BY_MODULE, module))
			break;
	return i;
}

static int look_at_trace(u32 trace)
{
	unsigned long *entries;
	unsigned int i, first = nr_suppressions;
	unsigned int nr = stack_depot_fetch(trace, &entries);

	/* For each further frame, check only suppressions before @first. */
	for (i = 0; i < nr; i++)
		first = by_frame(entries[i], first);
	return first < nr_suppressions ? first : KMT_NOT_SUPPRESSED;
}

static int by_trace(u32 trace)
{
	struct seen *s = &seen[hash_32(trace, KMT_SUPPRESS_SEEN_BITS)];

	if (!trace)
		return KMT_NOT_SUPPRESSED;
	if (s->trace != trace) {
		s->verdict = look_at_trace(trace);
		s->trace = trace;
	}
	return s->verdict;
}

/**
 * kmt_suppressed_by - which suppression holds a leak back?
 * @trace: handle of its backtrace
 * @comm: handle of the name of its task
 * @cache: name of its cache, or the name that is shown in its place
 *
 * Context: kmt_scan_mutex and kmt_reports_sem held.
 * Return: the number of the first one, or KMT_NOT_SUPPRESSED.
 */
int kmt_suppressed_by(u32 trace, u16 comm, const char *cache)
{
	int i, verdict;

	lockdep_assert_held(&kmt_scan_mutex);
	lockdep_assert_held(&kmt_reports_sem);
	if (!nr_suppressions)
		return KMT_NOT_SUPPRESSED;
	verdict = by_trace(trace);
	if (verdict == KMT_NOT_SUPPRESSED)
		verdict = nr_suppressions;
	for (i = 0; i < verdict; i++)
		if (match(&suppressions[i], KMT_BY_CACHE, cache) ||
		    match(&suppressions[i], KMT_BY_TASK, kmt_comm(comm)))
			return i;
	return verdict < nr_suppressions ? verdict : KMT_NOT_SUPPRESSED;
}

/**
 * kmt_print_suppressions - print what is suppressed, and how many leaks by each
 * @seq: where to
 * @report: report
 *
 * Context: kmt_scan_mutex held.
 */
void kmt_print_suppressions(struct seq_file *seq,
			    const struct kmt_report *report)
{
	unsigned int i;

	seq_printf(seq, "kmemtrack-suppressions 1: %u suppressions, %lu leaks, %lu bytes held back\n",
		   nr_suppressions, report->suppressed.nr,
		   report->suppressed.bytes);
	for (i = 0; i < nr_suppressions; i++)
		seq_printf(seq, "%lu %s:%s\n", report->held_back[i],
			   kmt_suppress_words[suppressions[i].what],
			   suppressions[i].name);
}
