// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leak injector: leaks memory, or holds it in places that are hard to find, on request,
 * and shows the true state of each object:
 *
 *	# echo leak kmalloc-64 3 > /sys/kernel/debug/test_kmemtrack
 *	# cat /sys/kernel/debug/test_kmemtrack
 *	leaked 0xffff000003a1c000 64 kmalloc-64 1
 *	...
 *
 * The columns are a state, an address, the size that was requested, a kind, and the
 * number of the command that made the object.
 *
 * Commands, one per write:
 *
 *	leak <kind> [count]	lose objects
 *	hold <kind> [count]	make objects that something refers to
 *	drop <kind>		lose the references to held objects
 *	free			free held objects
 *	reap			free all objects, including leaks
 *	reclaim <address>	kfree() an object that an unloaded instance left
 *
 * The file test_kmemtrack_kinds has a line "leak <kind>" or "hold <kind>" for each kind,
 * preceded by "tracked" if the kind needs a detector that tracks pages.
 * test_kmemtrack_unwound has the backtrace of the last "caller", test_kmemtrack_stall the
 * longest times for which CPUs did not run tasks.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "test_kmemtrack.h"

/* Unused parameter: the kernel refers to its text by a pointer into a block. */
static char *label;
module_param(label, charp, 0600);
MODULE_PARM_DESC(label, "any text");

/* Held by a command, and by a reader of the states. */
DEFINE_MUTEX(tk_mutex);
static struct kmem_cache *caches[TK_NR_CACHES];
static struct dentry *files[4];

/* Kind number @nr of all tables, or NULL. */
static const struct tk_kind *nth_kind(unsigned int nr)
{
	static const struct tk_kind * const tables[] = {
		tk_leak_kinds, tk_context_kinds, tk_slot_kinds,
		tk_container_kinds, tk_defer_kinds, tk_note_kinds,
		tk_report_kinds, tk_kfence_kinds, tk_page_kinds,
	};
	const struct tk_kind *k;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tables); i++)
		for (k = tables[i]; k->name; k++)
			if (!nr--)
				return k;
	return NULL;
}

struct kmem_cache *tk_cache(enum tk_how how)
{
	return caches[how - TK_CACHE];
}

enum verb { LEAK, HOLD, DROP, FREE, REAP, RECLAIM, UNLOAD, NR_VERBS };

static const char * const verbs[NR_VERBS] = {
	"leak", "hold", "drop", "free", "reap", "reclaim", "unload",
};

struct job {
	enum verb verb;
	const struct tk_kind *kind;
	unsigned int count;
	unsigned long addr;
	int ret;
	struct completion done;
};

static int drop(const struct tk_kind *k)
{
	if (!tk_any(k, TK_ALL_HELD))
		return -ENOENT;
	k->lose(k);
	tk_lost(k);
	return 0;
}

static void free_held(bool unload)
{
	const struct tk_kind *k;
	unsigned int i;

	for (i = 0; (k = nth_kind(i)); i++) {
		if (!k->lose || (unload && (k->flags & TK_MODULE)) ||
		    !tk_any(k, TK_ALL_HELD))
			continue;
		k->lose(k);
		tk_free(k, TK_ALL_HELD);
	}
}

/* Ends threads, and other things, that kinds left behind and that must not outlive us. */
static void end_all(void)
{
	const struct tk_kind *k;
	unsigned int i;

	for (i = 0; (k = nth_kind(i)); i++)
		if (k->end)
			k->end(k);
}

static noinline int execute(struct job *job)
{
	const struct tk_kind *k = job->kind;

	switch (job->verb) {
	case HOLD:
		if (!(k->flags & TK_GROWS) && tk_any(k, TK_ALL_HELD))
			return -EBUSY;
		fallthrough;
	case LEAK:
		tk_next_batch();
		if (k->end)
			k->end(k);
		return k->make(k, job->count);
	case DROP:
		return drop(k);
	case FREE:
		free_held(false);
		return 0;
	case REAP:
		free_held(false);
		end_all();
		tk_free(NULL, TK_ALL);
		return 0;
	case RECLAIM:
		kfree((void *)job->addr);
		return 0;
	case UNLOAD:
		free_held(true);
		end_all();
		tk_free(NULL, TK_OF_CACHES);
		return 0;
	default:
		return -EINVAL;
	}
}

static int job_thread(void *data)
{
	struct job *job = data;

	job->ret = execute(job);
	tk_wipe();
	complete(&job->done);
	return 0;
}

/* Runs @job in a thread of its own, which has exited when this returns. */
static int run(struct job *job)
{
	struct task_struct *task;

	init_completion(&job->done);
	task = kthread_create(job_thread, job, "tk/%s",
			      job->kind ? job->kind->name : verbs[job->verb]);
	if (IS_ERR(task))
		return PTR_ERR(task);
	get_task_struct(task);
	wake_up_process(task);
	/* A thread that is stopped before it runs would never run. */
	wait_for_completion(&job->done);
	kthread_stop(task);
	put_task_struct(task);
	return job->ret;
}

static const struct tk_kind *find_kind(const char *name, bool hold)
{
	const struct tk_kind *k;
	unsigned int i;

	for (i = 0; (k = nth_kind(i)); i++)
		if (!strcmp(k->name, name) && hold == !!k->lose)
			return k;
	return NULL;
}

static int parse(char *text, struct job *job)
{
	char *verb, *name, *count;

	text = strim(text);
	verb = strsep(&text, " ");
	name = strsep(&text, " ");
	count = text;
	for (job->verb = LEAK; job->verb < UNLOAD; job->verb++)
		if (!strcmp(verb, verbs[job->verb]))
			break;
	if (job->verb == UNLOAD)
		return -EINVAL;
	if (job->verb == RECLAIM)
		return name && !count ? kstrtoul(name, 0, &job->addr) : -EINVAL;
	if (job->verb >= FREE)
		return name ? -EINVAL : 0;
	job->kind = name ? find_kind(name, job->verb != LEAK) : NULL;
	if (!job->kind)
		return -EINVAL;
	job->count = job->kind->count ?: 1;
	if (count && (job->verb == DROP || kstrtouint(count, 0, &job->count) ||
		      !job->count || job->count > TK_MAX / 2))
		return -EINVAL;
	return 0;
}

static ssize_t command_write(struct file *file, const char __user *buf,
			     size_t len, loff_t *ppos)
{
	struct job job = {};
	char text[64];
	int ret;

	if (!len || len >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, buf, len))
		return -EFAULT;
	text[len] = '\0';
	ret = parse(text, &job);
	if (ret)
		return ret;
	mutex_lock(&tk_mutex);
	if (job.verb == LEAK && (job.kind->flags & TK_CALLER)) {
		ret = execute(&job);
		tk_wipe();
	} else {
		ret = run(&job);
	}
	mutex_unlock(&tk_mutex);
	return ret ?: len;
}

static int truth_open(struct inode *inode, struct file *file)
{
	return seq_open(file, &tk_truth_ops);
}

static const struct file_operations truth_fops = {
	.owner		= THIS_MODULE,
	.open		= truth_open,
	.read		= seq_read,
	.write		= command_write,
	.llseek		= seq_lseek,
	.release	= seq_release,
};

static int kinds_show(struct seq_file *seq, void *v)
{
	const struct tk_kind *k;
	unsigned int i;

	for (i = 0; (k = nth_kind(i)); i++)
		seq_printf(seq, "%s%s %s\n",
			   k->flags & TK_TRACKED ? "tracked " : "",
			   k->lose ? "hold" : "leak", k->name);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(kinds);

static void construct(void *p)
{
	memset(p, 0, sizeof(struct tk_node));
}

static void destroy_caches(void)
{
	unsigned int i;

	for (i = 0; i < TK_NR_CACHES; i++)
		kmem_cache_destroy(caches[i]);
}

static int __init make_caches(void)
{
	static const struct {
		const char *name;
		slab_flags_t flags;
		void (*ctor)(void *p);
	} wanted[TK_NR_CACHES] = {
		{ "tk_plain", 0 },
		{ "tk_ctor", 0, construct },
		{ "tk_typesafe", SLAB_TYPESAFE_BY_RCU },
		{ "tk_notrace", SLAB_NOLEAKTRACE },
	};
	unsigned int i;

	for (i = 0; i < TK_NR_CACHES; i++) {
		caches[i] = kmem_cache_create(wanted[i].name,
					      sizeof(struct tk_node), 0,
					      wanted[i].flags, wanted[i].ctor);
		if (!caches[i]) {
			destroy_caches();
			return -ENOMEM;
		}
	}
	return 0;
}

static int __init test_kmemtrack_init(void)
{
	int ret = make_caches();

	if (ret)
		return ret;
	ret = tk_slot_init();
	if (ret) {
		destroy_caches();
		return ret;
	}
	files[0] = debugfs_create_file("test_kmemtrack", 0600, NULL, NULL,
				       &truth_fops);
	files[1] = debugfs_create_file("test_kmemtrack_kinds", 0400, NULL,
				       NULL, &kinds_fops);
	files[2] = tk_unwound_file();
	files[3] = tk_stall_file();
	return 0;
}
module_init(test_kmemtrack_init);

static void __exit test_kmemtrack_exit(void)
{
	struct job job = { .verb = UNLOAD };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(files); i++)
		debugfs_remove(files[i]);
	tk_stall_exit();
	run(&job);
	tk_slot_exit();
	rcu_barrier();
	destroy_caches();
}
module_exit(test_kmemtrack_exit);

MODULE_DESCRIPTION("Leak injector for tests of leak detectors");
MODULE_LICENSE("GPL");
