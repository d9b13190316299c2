// SPDX-License-Identifier: GPL-2.0
/*
 * What the commands do.
 */
#include <linux/module.h>

#include "glue.h"
#include "mark.h"

#define KMT_DEFAULT_PERIOD	CONFIG_KMEMTRACK_SCAN_PERIOD

static int locked(int (*action)(void))
{
	int ret = mutex_lock_killable(&kmt_scan_mutex);

	if (ret)
		return -EINTR;
	ret = action();
	mutex_unlock(&kmt_scan_mutex);
	return ret;
}

static int switch_off(void)
{
	kmt_switch_off();
	kmt_helpers_leave();
	return 0;
}

/* Under kmt_scan_mutex; empty but for that time, so that it refers to nothing. */
static struct kmt_marker clear_marker;

static int clear(void)
{
	struct kmt_grey stack;
	unsigned long nr;

	kmt_marker_init(&clear_marker, &kmt_core, &stack, 1);
	nr = kmt_clear(&clear_marker, jiffies);
	memset(&clear_marker, 0, sizeof(clear_marker));
	/* What is born from now on is to be younger. */
	if (nr)
		schedule_timeout_uninterruptible(1);
	return 0;
}

static unsigned int usual_period(void)
{
	return kmt_tunables.scan_period ?: KMT_DEFAULT_PERIOD;
}

/* What makes sense only while blocks are tracked. */
static bool needs_tracking(enum kmt_verb verb)
{
	switch (verb) {
	case KMT_CMD_ON:
	case KMT_CMD_OFF:
	case KMT_CMD_CLEAR:
		return false;
	default:
		return true;
	}
}

/**
 * kmt_execute - do what a command says
 * @cmd: command
 *
 * Context: may sleep.
 * Return: 0; -EPERM for what cannot be done while off; -EINTR if the task is
 * killed; -ERESTARTNOINTR if it is frozen during a scan; -EINVAL for an unknown
 * address; -ENOMEM.
 */
int kmt_execute(const struct kmt_command *cmd)
{
	if (needs_tracking(cmd->verb) && !kmt_tracking())
		return -EPERM;

	switch (cmd->verb) {
	case KMT_CMD_ON:
		return locked(kmt_switch_on);
	case KMT_CMD_OFF:
		return locked(switch_off);
	case KMT_CMD_SCAN:
		return kmt_scan();
	case KMT_CMD_SCAN_ON:
		kmt_scan_every(usual_period());
		return 0;
	case KMT_CMD_SCAN_OFF:
		kmt_scan_every(0);
		return 0;
	case KMT_CMD_SCAN_EVERY:
		kmt_scan_every(cmd->arg);
		return 0;
	case KMT_CMD_STACK:
		WRITE_ONCE(kmt_tunables.stacks, cmd->arg);
		return 0;
	case KMT_CMD_PAGES:
		WRITE_ONCE(kmt_tunables.pages, cmd->arg);
		return 0;
	case KMT_CMD_CLEAR:
		return locked(clear);
	case KMT_CMD_SNAPSHOT:
		WRITE_ONCE(kmt_tunables.snapshot, cmd->arg);
		return 0;
	case KMT_CMD_MIN_AGE:
		WRITE_ONCE(kmt_tunables.min_age, cmd->arg);
		return 0;
	case KMT_CMD_MAX_PAUSE:
		WRITE_ONCE(kmt_tunables.max_pause, cmd->arg);
		return 0;
	case KMT_CMD_DUMP:
		return kmt_log_address(cmd->arg);
	case KMT_CMD_VERBOSE:
		WRITE_ONCE(kmt_tunables.verbose, cmd->arg);
		return 0;
	}
	return -EINVAL;
}

static int set_confirm(const char *val, const struct kernel_param *kp)
{
	if (sysfs_streq(val, "snapshot"))
		WRITE_ONCE(kmt_tunables.snapshot, true);
	else if (sysfs_streq(val, "wait"))
		WRITE_ONCE(kmt_tunables.snapshot, false);
	else
		return -EINVAL;
	return 0;
}

static int get_confirm(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", kmt_tunables.snapshot ? "snapshot" :
			  "wait");
}

static const struct kernel_param_ops confirm_ops = {
	.set = set_confirm,
	.get = get_confirm,
};

static int set_max_pause(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, KMT_PAUSE_MAX);
}

static const struct kernel_param_ops max_pause_ops = {
	.set = set_max_pause,
	.get = param_get_uint,
};

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "kmemtrack."

module_param_named(verbose, kmt_tunables.verbose, bool, 0644);
module_param_named(panic_on_leak, kmt_tunables.panic_on_leak, uint, 0644);
module_param_named(min_age, kmt_tunables.min_age, uint, 0644);
module_param_cb(confirm, &confirm_ops, NULL, 0644);
module_param_cb(max_pause, &max_pause_ops, &kmt_tunables.max_pause, 0644);
module_param_named(scan_period, kmt_tunables.scan_period, uint, 0444);
module_param_named(first_scan, kmt_tunables.first_scan, uint, 0444);
module_param_named(stacks, kmt_tunables.stacks, bool, 0644);
module_param_named(rules_off, kmt_tunables.rules_off, ulong, 0644);
module_param_named(pages, kmt_tunables.pages, bool, 0644);
