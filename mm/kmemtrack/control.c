// SPDX-License-Identifier: GPL-2.0
/*
 * What the commands do.
 */
#define pr_fmt(fmt) "kmemtrack: " fmt

#include <linux/printk.h>
#include <linux/sched.h>

#include "mark.h"
#include "report.h"

/* Calls @action under kmt_scan_mutex: no scan is under way then. */
static int locked(int (*action)(unsigned long arg), unsigned long arg)
{
	int ret = mutex_lock_killable(&kmt_scan_mutex);

	if (ret)
		return -EINTR;
	ret = action(arg);
	mutex_unlock(&kmt_scan_mutex);
	return ret;
}

static int switch_off(unsigned long unused)
{
	if (!kmt_tracking())
		return 0;
	if (kmt_report_keep())
		return -EINTR;
	kmt_switch_off();
	kmt_helpers_leave();
	return 0;
}

static int switch_on(unsigned long unused)
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

static int clear(unsigned long unused)
{
	struct kmt_marker *m = kmt_own_alloc(GFP_KERNEL, 0);
	struct kmt_mark_entry stack;
	unsigned long nr;

	static_assert(sizeof(*m) <= PAGE_SIZE);
	if (!m)
		return -ENOMEM;
	kmt_marker_init(m, &kmt_core, &stack, 1);
	nr = kmt_clear(m, jiffies);
	kmt_own_free(m, 0);
	/* A block that is allocated after this command is younger than this. */
	if (nr)
		schedule_timeout_uninterruptible(1);
	kmt_report_drop();
	return 0;
}

/* Logs who switched, so that a reader of an empty report can find out why. */
static int switch_to(bool on)
{
	bool was = kmt_tracking();
	int ret = locked(on ? switch_on : switch_off, 0);
	struct kmt_log_task task;

	if (ret || was == on)
		return ret;
	pr_info_ratelimited("tracking switched %s by \"%s\", pid %d\n",
			    on ? "on" : "off",
			    kmt_log_task(&task, current->comm),
			    task_pid_nr(current));
	return 0;
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
 * kmt_set - set what a command or a parameter says
 * @cmd: one that sets something; others do nothing
 *
 * Context: any task.
 */
void kmt_set(const struct kmt_command *cmd)
{
	switch (cmd->verb) {
	case KMT_CMD_SCAN_ON:
		kmt_scan_regularly();
		break;
	case KMT_CMD_SCAN_OFF:
		kmt_scan_every(0);
		break;
	case KMT_CMD_SCAN_EVERY:
		kmt_scan_every(cmd->arg);
		break;
	case KMT_CMD_FIRST_SCAN:
		WRITE_ONCE(kmt_tunables.first_scan, cmd->arg);
		break;
	case KMT_CMD_STACK:
		WRITE_ONCE(kmt_tunables.stacks, cmd->arg);
		break;
	case KMT_CMD_PAGES:
		WRITE_ONCE(kmt_tunables.pages, cmd->arg);
		break;
	case KMT_CMD_SNAPSHOT:
		WRITE_ONCE(kmt_tunables.snapshot, cmd->arg);
		break;
	case KMT_CMD_MIN_AGE:
		WRITE_ONCE(kmt_tunables.min_age, cmd->arg);
		break;
	case KMT_CMD_MAX_PAUSE:
		WRITE_ONCE(kmt_tunables.max_pause, cmd->arg);
		break;
	case KMT_CMD_VERBOSE:
		WRITE_ONCE(kmt_tunables.verbose, cmd->arg);
		break;
	case KMT_CMD_PANIC:
		WRITE_ONCE(kmt_tunables.panic_on_leak, cmd->arg);
		break;
	case KMT_CMD_RULES_OFF:
		WRITE_ONCE(kmt_tunables.rules_off, cmd->arg);
		break;
	default:
		break;
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
		return switch_to(true);
	case KMT_CMD_OFF:
		return switch_to(false);
	case KMT_CMD_SCAN:
		return kmt_scan();
	case KMT_CMD_CLEAR:
		return locked(clear, 0);
	case KMT_CMD_DUMP:
		/* The address is on this task's stack, where a scan would find it. */
		return locked(kmt_log_address, cmd->arg);
	default:
		kmt_set(cmd);
		return 0;
	}
}
