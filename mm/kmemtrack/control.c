// SPDX-License-Identifier: GPL-2.0
/*
 * Commands and parameters, and their effects.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/init.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "pages.h"
#include "report.h"

static void switch_off(void)
{
	if (!kmt_tracking())
		return;
	kmt_report_keep();
	kmt_pages_off();
	kmt_switch_off();
	kmt_sites_off();
	kmt_destroy_helpers();
}

static int switch_on(void)
{
	int ret = 0;

	if (!kmt_tracking()) {
		ret = kmt_switch_on();
		if (!ret) {
			kmt_last_scan.made = false;
			kmt_report_drop();
		}
	}
	return ret;
}

static int clear(void)
{
	struct kmt_marker *m = kmt_own_alloc(GFP_KERNEL, 0);
	struct kmt_mark_entry stack;
	unsigned long nr;
	bool stopped;

	static_assert(sizeof(*m) <= PAGE_SIZE);
	if (!m)
		return -ENOMEM;
	kmt_marker_init(m, &kmt_core, &stack, 1, NULL);
	nr = kmt_clear(m, jiffies);
	stopped = m->stopped;
	kmt_own_free(m, 0);
	/* Blocks allocated after this command must be younger than those cleared. */
	if (nr)
		schedule_timeout_uninterruptible(1);
	kmt_report_drop();
	return stopped ? kmt_restart_frozen(-EINTR) : 0;
}

/* Whether a command is allowed only while tracking is on. */
static bool needs_tracking(enum kmt_verb verb)
{
	switch (verb) {
	case KMT_CMD_ON:
	case KMT_CMD_OFF:
	case KMT_CMD_CLEAR:
	case KMT_CMD_LOG:
		return false;
	default:
		return true;
	}
}

/* Sets what to do with pages: enum kmt_pages. */
static int set_pages(const struct kmt_command *cmd)
{
	if (!kmt_tracking())
		return -EPERM;
	if (cmd->arg == KMT_PAGES_TRACK) {
		int ret = kmt_pages_on();

		if (ret)
			return ret;
	} else {
		kmt_pages_off();
	}
	WRITE_ONCE(kmt_tunables.pages, cmd->arg != KMT_PAGES_NONE);
	return 0;
}

static int suppress(const struct kmt_command *cmd)
{
	int ret;

	if (!kmt_tracking())
		return -EPERM;
	ret = cmd->verb == KMT_CMD_SUPPRESS ? kmt_suppress(cmd) :
					      kmt_unsuppress(cmd);
	/* Make the change visible in the report and in stats. */
	if (!ret)
		kmt_report_refresh();
	return ret;
}

/* The variables that commands, and the parameters of the same keys, set. */
static unsigned int *const settings[] = {
	[KMT_CMD_STACK]		= &kmt_tunables.stacks,
	[KMT_CMD_SNAPSHOT]	= &kmt_tunables.snapshot,
	[KMT_CMD_MIN_AGE]	= &kmt_tunables.min_age,
	[KMT_CMD_MAX_PAUSE]	= &kmt_tunables.max_pause,
	[KMT_CMD_VERBOSE]	= &kmt_tunables.verbose,
	[KMT_CMD_PANIC]		= &kmt_tunables.panic_on_leak,
	[KMT_CMD_RULES_OFF]	= &kmt_tunables.rules_off,
	[KMT_CMD_SITES]		= &kmt_tunables.sites,
};

/* Sets the variable of a command or a parameter; false if the command has none. */
static bool set(const struct kmt_command *cmd)
{
	switch (cmd->verb) {
	case KMT_CMD_SCAN_ON:
		kmt_scan_periodically();
		return true;
	case KMT_CMD_SCAN_OFF:
		kmt_scan_every(0);
		return true;
	case KMT_CMD_SCAN_EVERY:
		kmt_scan_every(cmd->arg);
		return true;
	default:
		if (cmd->verb >= ARRAY_SIZE(settings) || !settings[cmd->verb])
			return false;
		WRITE_ONCE(*settings[cmd->verb], cmd->arg);
		return true;
	}
}

static int execute_locked(const struct kmt_command *cmd)
{
	switch (cmd->verb) {
	case KMT_CMD_ON:
		return switch_on();
	case KMT_CMD_OFF:
		switch_off();
		return 0;
	case KMT_CMD_LOG:
		return kmt_log_sites();
	case KMT_CMD_CLEAR:
		return clear();
	case KMT_CMD_REFS:
		return kmt_restart_frozen(kmt_find_refs(cmd->arg, cmd->levels));
	case KMT_CMD_PAGES:
		return set_pages(cmd);
	case KMT_CMD_DUMP:
		return kmt_log_address(cmd->arg);
	case KMT_CMD_SUPPRESS:
	case KMT_CMD_UNSUPPRESS:
	case KMT_CMD_UNSUPPRESS_ALL:
		return suppress(cmd);
	default:
		return -EINVAL;
	}
}

/* Logs which task switched, so that the reason of an empty report can be found. */
static void log_switch(bool was)
{
	struct kmt_log_task task;

	if (kmt_tracking() != was)
		pr_info_ratelimited("tracking switched %s by \"%s\", pid %d\n",
				    was ? "off" : "on",
				    kmt_escape_log_task(&task, current->comm),
				    task_pid_nr(current));
}

/**
 * kmt_execute - execute a command
 * @cmd: command
 *
 * Context: may sleep.
 * Return: 0; -EPERM if the command is not allowed while tracking is off; -EINTR if the
 * task is killed; -ERESTARTNOINTR if it is frozen, or gets a signal before the command
 * begins; -EINVAL for an unknown address or suppression; -ENOSPC for too many
 * suppressions; -ENOMEM.
 */
int kmt_execute(const struct kmt_command *cmd)
{
	int ret = 0;
	bool was;

	if (needs_tracking(cmd->verb) && !kmt_tracking())
		return -EPERM;
	if (cmd->verb == KMT_CMD_SCAN)
		return kmt_scan();
	if (set(cmd))
		return 0;
	/* While the command runs under this mutex no scan reads the stack of this task. */
	ret = kmt_lock_scan();
	if (ret)
		return ret;
	was = kmt_tracking();
	ret = execute_locked(cmd);
	if (!ret)
		log_switch(was);
	mutex_unlock(&kmt_scan_mutex);
	return ret;
}

/*
 * Parameters, at boot and in /sys/module/. Each one takes the values of the command with
 * the same key: command.c has names, ranges and errors.
 */

#define PREFIX		"kmemtrack."
#define EARLY_POOL	PREFIX "early_pool"

/* Limit of the bytes of a refused value that are logged. */
#define SHOWN_MAX	32

/**
 * struct kmt_param - a parameter
 * @key: of its command, with the equals sign
 * @value: its value
 * @flag: it is on or off
 */
struct kmt_param {
	const char *key;
	const unsigned int *value;
	bool flag;
};

/* Lists all valid values for a key in @text. */
static void list_values(const char *key, char *text, size_t size)
{
	const struct kmt_command_number *number;
	const struct kmt_command_word *word;
	size_t n = strlen(key), len = 0;

	text[0] = '\0';
	for (word = kmt_command_words; word->word; word++)
		if (!strncmp(word->word, key, n))
			len += scnprintf(text + len, size - len, "%s%s",
					 len ? ", " : "", word->word + n);
	for (number = kmt_command_numbers; number->key; number++)
		if (!strcmp(number->key, key))
			len += scnprintf(text + len, size - len, "%s0 to %lu",
					 len ? ", " : "", number->max);
}

/* Logs that @val is refused as the value of @name, and the valid values. */
static void warn_refused(const char *name, const char *val, const char *key)
{
	char values[64];

	list_values(key, values, sizeof(values));
	pr_warn("%s=%*pE is refused, and has no effect; valid: %s\n", name,
		(int)strnlen(val, SHOWN_MAX), val, values);
}

static int parse_value(const char *key, const char *val,
		       struct kmt_command *cmd)
{
	char text[KMT_COMMAND_MAX + 1];
	int len = snprintf(text, sizeof(text), "%s%s", key, val);

	if (len >= sizeof(text))
		return -EINVAL;
	return kmt_parse(text, len, cmd, true);
}

/* Translates other words for switches, as the kernel accepts them, to "on" or "off". */
static const char *switch_word(const char *val)
{
	static const char * const words[] = {
		"0", "1", "n", "y", "no", "yes", "off", "on", "false", "true",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcasecmp(val, words[i]))
			return i % 2 ? "on" : "off";
	return val;
}

static int set_param(const char *val, const struct kernel_param *kp)
{
	const struct kmt_param *p = kp->arg;
	char text[KMT_COMMAND_MAX + 1];
	struct kmt_command cmd;
	int ret = -EINVAL;
	char *word = text;

	/* "verbose" alone means "verbose=on". */
	if (!val)
		val = "on";
	if (strscpy(text, val, sizeof(text)) >= 0) {
		word = strim(text);
		ret = parse_value(p->key, p->flag ? switch_word(word) : word,
				  &cmd);
	}
	if (ret)
		warn_refused(kp->name, word, p->key);
	else
		set(&cmd);
	return ret;
}

static int get_param(char *buffer, const struct kernel_param *kp)
{
	const struct kmt_param *p = kp->arg;

	if (!p->flag)
		return sysfs_emit(buffer, "%u\n", READ_ONCE(*p->value));
	/* The format of parameters of type bool. */
	return sysfs_emit(buffer, "%c\n", READ_ONCE(*p->value) ? 'Y' : 'N');
}

static const struct kernel_param_ops value_ops = {
	.set	= set_param,
	.get	= get_param,
};

const struct kernel_param_ops kmt_switch_ops = {
	.flags	= KERNEL_PARAM_OPS_FL_NOARG,
	.set	= set_param,
	.get	= get_param,
};

#define NUMBER_PARAM(name, text, field, mode)				\
	static struct kmt_param name##_param = {			\
		.key = text,						\
		.value = &kmt_tunables.field,				\
	};								\
	module_param_cb(name, &value_ops, &name##_param, mode)

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX PREFIX

/* Also a parameter of "kmemleak", in kmemleak_file.c. */
struct kmt_param kmt_verbose_param = {
	.key = "verbose=",
	.value = &kmt_tunables.verbose,
	.flag = true,
};
module_param_cb(verbose, &kmt_switch_ops, &kmt_verbose_param, 0644);
NUMBER_PARAM(panic_on_leak, "panic_on_leak=", panic_on_leak, 0644);
NUMBER_PARAM(max_pause, "max_pause=", max_pause, 0644);
NUMBER_PARAM(scan_period, "scan=", scan_period, 0644);

static int __init parse_switch(const char *name, char *str)
{
	const char *word = str ? strim(str) : "";
	const bool on = !strcmp(word, "on");

	if (!on && strcmp(word, "off")) {
		pr_warn("%s=%*pE is refused, and has no effect; valid: on, off\n",
			name, (int)strnlen(word, SHOWN_MAX), word);
		return -EINVAL;
	}
	kmt_want_on = on;
	return 0;
}

static int __init parse_kmemtrack(char *str)
{
	return parse_switch("kmemtrack", str);
}
early_param("kmemtrack", parse_kmemtrack);

#ifdef CONFIG_KMEMTRACK_KMEMLEAK_COMPAT
static int __init parse_kmemleak(char *str)
{
	return parse_switch("kmemleak", str);
}
early_param("kmemleak", parse_kmemleak);
#endif

static int __init parse_early_pool(char *str)
{
	struct kmt_command cmd;
	int ret = parse_value("early_pool=", str ?: "", &cmd);

	if (ret)
		warn_refused(EARLY_POOL, str ?: "", "early_pool=");
	else
		kmt_early_pool = cmd.arg;
	return ret;
}
early_param(EARLY_POOL, parse_early_pool);

static bool __init is_ours(const char *name)
{
	return !strncmp(name, PREFIX, strlen(PREFIX));
}

static bool __init is_known(const char *name)
{
	const struct kernel_param *kp;

	for (kp = __start___param; kp < __stop___param; kp++)
		if (parameq(name, kp->name))
			return true;
	return parameq(name, EARLY_POOL);
}

static void __init list_params(char *text, size_t size)
{
	const struct kernel_param *kp;
	size_t len = scnprintf(text, size, "early_pool");

	for (kp = __start___param; kp < __stop___param; kp++)
		if (is_ours(kp->name))
			len += scnprintf(text + len, size - len, ", %s",
					 kp->name + strlen(PREFIX));
}

/* Warns about unknown parameters with our prefix, which the kernel ignores silently. */
static int __init check_names(void)
{
	char *line, *args, *name, *val, names[256];

	line = kstrdup(saved_command_line, GFP_KERNEL);
	if (!line)
		return 0;
	args = skip_spaces(line);
	while (*args) {
		args = next_arg(args, &name, &val);
		/* The rest is for the init process. */
		if (!val && !strcmp(name, "--"))
			break;
		if (!is_ours(name) || is_known(name))
			continue;
		list_params(names, sizeof(names));
		pr_warn("%*pE is no parameter, and has no effect; those of %s are: %s\n",
			(int)strnlen(name, 2 * SHOWN_MAX), name, PREFIX, names);
	}
	kfree(line);
	return 0;
}
late_initcall(check_names);
