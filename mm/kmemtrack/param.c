// SPDX-License-Identifier: GPL-2.0
/*
 * Parameters, at boot and in /sys/module/. Each one takes what the command of
 * its key takes: command.c knows names, ranges and errors.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/init.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "glue.h"

#define PREFIX		"kmemtrack."
#define EARLY_POOL	PREFIX "early_pool"

/* How many bytes of a refused value are logged. */
#define SHOWN_MAX	32

/**
 * struct kmt_param - a parameter
 * @key: of its command, with the equals sign
 * @number: its value if that is a number
 * @flag: its value otherwise
 * @yes: what the command calls a true value
 * @no: and a false one
 */
struct kmt_param {
	const char *key;
	const unsigned int *number;
	const bool *flag;
	const char *yes;
	const char *no;
};

/* All that may stand behind a key, in @text. */
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

/* @name: as it is written on the command line; @val: what it is not set to */
static void complain(const char *name, const char *val, const char *key)
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
	return kmt_parse_parameter(text, len, cmd);
}

/* The words that switches of the kernel take, besides those of the command. */
static const char *switch_word(const struct kmt_param *p, const char *val)
{
	static const char * const words[] = {
		"0", "1", "n", "y", "no", "yes", "off", "on", "false", "true",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcasecmp(val, words[i]))
			return i % 2 ? p->yes : p->no;
	return val;
}

static int set_param(const char *val, const struct kernel_param *kp)
{
	const struct kmt_param *p = kp->arg;
	bool is_switch = p->flag && !strcmp(p->yes, "on");
	char text[KMT_COMMAND_MAX + 1];
	struct kmt_command cmd;
	int ret = -EINVAL;
	char *word = text;

	/* "verbose" alone means "verbose=on". */
	if (!val)
		val = "on";
	if (strscpy(text, val, sizeof(text)) >= 0) {
		word = strim(text);
		ret = parse_value(p->key, is_switch ? switch_word(p, word) :
				  word, &cmd);
	}
	if (ret)
		complain(kp->name, word, p->key);
	else
		kmt_set(&cmd);
	return ret;
}

static int get_param(char *buffer, const struct kernel_param *kp)
{
	const struct kmt_param *p = kp->arg;

	if (p->number)
		return sysfs_emit(buffer, "%u\n", READ_ONCE(*p->number));
	/* A switch is shown as those of the kernel are. */
	if (!strcmp(p->yes, "on"))
		return sysfs_emit(buffer, "%c\n",
				  READ_ONCE(*p->flag) ? 'Y' : 'N');
	return sysfs_emit(buffer, "%s\n",
			  READ_ONCE(*p->flag) ? p->yes : p->no);
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
		.number = &kmt_tunables.field,				\
	};								\
	module_param_cb(name, &value_ops, &name##_param, mode)

#define SWITCH_PARAM(name, text, field, mode)				\
	struct kmt_param kmt_##name##_param = {				\
		.key = text,						\
		.flag = &kmt_tunables.field,				\
		.yes = "on",						\
		.no = "off",						\
	};								\
	module_param_cb(name, &kmt_switch_ops, &kmt_##name##_param, mode)

static struct kmt_param confirm_param = {
	.key = "confirm=",
	.flag = &kmt_tunables.snapshot,
	.yes = "snapshot",
	.no = "wait",
};

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX PREFIX

module_param_cb(confirm, &value_ops, &confirm_param, 0644);
/* Also in kmemleak_file.c. */
SWITCH_PARAM(verbose, "verbose=", verbose, 0644);
static SWITCH_PARAM(stacks, "stack=", stacks, 0644);
static SWITCH_PARAM(pages, "pages=", pages, 0644);
NUMBER_PARAM(panic_on_leak, "panic_on_leak=", panic_on_leak, 0644);
NUMBER_PARAM(min_age, "min_age=", min_age, 0644);
NUMBER_PARAM(max_pause, "max_pause=", max_pause, 0644);
NUMBER_PARAM(rules_off, "rules_off=", rules_off, 0644);
NUMBER_PARAM(scan_period, "scan=", scan_period, 0644);
NUMBER_PARAM(first_scan, "first_scan=", first_scan, 0444);

/**
 * kmt_parse_boot - parse the value of a parameter of early boot
 * @name: as it is written on the command line
 * @key: what command.c calls it, with the equals sign; "" for on and off
 * @val: value, or NULL
 * @cmd: set on success only
 *
 * Logs what is wrong, and what would be right.
 *
 * Return: 0, -EINVAL or -ERANGE.
 */
int __init kmt_parse_boot(const char *name, const char *key, const char *val,
			  struct kmt_command *cmd)
{
	struct kmt_command parsed;
	int ret = parse_value(key, val ?: "", &parsed);

	if (!ret && !*key && parsed.verb != KMT_CMD_ON &&
	    parsed.verb != KMT_CMD_OFF)
		ret = -EINVAL;
	if (!ret)
		*cmd = parsed;
	else if (*key)
		complain(name, val ?: "", key);
	else
		pr_warn("%s=%*pE is refused, and has no effect; valid: on, off\n",
			name, (int)strnlen(val ?: "", SHOWN_MAX), val ?: "");
	return ret;
}

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

/* The kernel itself says nothing of a name with a dot that nobody knows. */
static int __init check_names(void)
{
	char *line, *args, *name, *val, names[256];

	line = kstrdup(saved_command_line, GFP_KERNEL);
	if (!line)
		return 0;
	args = skip_spaces(line);
	while (*args) {
		args = next_arg(args, &name, &val);
		/* What follows is for the first process. */
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
