// SPDX-License-Identifier: GPL-2.0
/*
 * Operations of the kernel that allocate, run without system calls: a system
 * call of User-mode Linux costs more than most of these operations.
 *
 *   mix      kmalloc of 64 bytes to 4 KiB, 64 blocks alive, and kfree
 *   dentry   a dentry and its end
 *   file     create and unlink a file in /tmp
 *   skb      packets of 64 bytes to 4 KiB, 64 of them alive
 *   unix     64 bytes through a pair of sockets
 *   kthread  create a thread and wait for its end
 */
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/net.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <linux/string.h>
#include <linux/uio.h>
#include <net/net_namespace.h>

#include "bench.h"

#define RING	64

/* Run @one @count times in a round; @begin and @end are not timed. */
struct bench_op {
	const char *name;
	unsigned int count;
	int (*begin)(void);
	int (*one)(unsigned int i);
	void (*end)(void);
};

static const struct bench_op *op;
static int op_error;

static void *mix[RING];
static struct path root;

static unsigned int mixed_size(unsigned int i)
{
	return 64U << (i % 7);
}

static int mix_one(unsigned int i)
{
	void **p = &mix[i % RING];

	kfree(*p);
	*p = kmalloc(mixed_size(i), GFP_KERNEL);
	return *p ? 0 : -ENOMEM;
}

static void mix_end(void)
{
	int i;

	for (i = 0; i < RING; i++) {
		kfree(mix[i]);
		mix[i] = NULL;
	}
}

static int path_begin(void)
{
	return kern_path("/tmp", LOOKUP_DIRECTORY, &root);
}

static void path_end(void)
{
	path_put(&root);
}

static int dentry_one(unsigned int i)
{
	struct dentry *dentry = d_alloc_anon(root.mnt->mnt_sb);

	if (!dentry)
		return -ENOMEM;
	dput(dentry);
	return 0;
}

static int file_one(unsigned int i)
{
	struct mnt_idmap *idmap;
	struct dentry *dentry;
	struct inode *dir;
	struct path path;
	int err;

	dentry = kern_path_create(AT_FDCWD, "/tmp/kmt_bench", &path, 0);
	if (IS_ERR(dentry))
		return PTR_ERR(dentry);
	idmap = mnt_idmap(path.mnt);
	dir = d_inode(path.dentry);
	err = vfs_create(idmap, dir, dentry, S_IFREG | 0600, true);
	if (!err)
		err = vfs_unlink(idmap, dir, dentry, NULL);
	done_path_create(&path, dentry);
	return err;
}

#ifdef CONFIG_NET
static struct sk_buff *skbs[RING];
static struct socket *socks[2];

static int skb_one(unsigned int i)
{
	struct sk_buff **skb = &skbs[i % RING];

	kfree_skb(*skb);
	*skb = alloc_skb(mixed_size(i), GFP_KERNEL);
	return *skb ? 0 : -ENOMEM;
}

static void skb_end(void)
{
	int i;

	for (i = 0; i < RING; i++) {
		kfree_skb(skbs[i]);
		skbs[i] = NULL;
	}
}

static void unix_end(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(socks); i++) {
		if (socks[i])
			sock_release(socks[i]);
		socks[i] = NULL;
	}
}

static int unix_begin(void)
{
	int i, err = 0;

	for (i = 0; i < ARRAY_SIZE(socks) && !err; i++)
		err = sock_create_kern(&init_net, AF_UNIX, SOCK_DGRAM, 0,
				       &socks[i]);
	if (!err)
		err = socks[0]->ops->socketpair(socks[0], socks[1]);
	if (err)
		unix_end();
	return err;
}

static int unix_one(unsigned int i)
{
	char text[64] = {};
	struct kvec vec = { .iov_base = text, .iov_len = sizeof(text) };
	struct msghdr msg = {};
	int n;

	n = kernel_sendmsg(socks[0], &msg, &vec, 1, sizeof(text));
	if (n != sizeof(text))
		return n < 0 ? n : -EIO;
	memset(&msg, 0, sizeof(msg));
	n = kernel_recvmsg(socks[1], &msg, &vec, 1, sizeof(text), MSG_DONTWAIT);
	if (n != sizeof(text))
		return n < 0 ? n : -EIO;
	return 0;
}
#endif

static int wait_for_stop(void *unused)
{
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (kthread_should_stop())
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

static int kthread_one(unsigned int i)
{
	struct task_struct *task;

	task = kthread_run(wait_for_stop, NULL, "kmt_bench_op");
	if (IS_ERR(task))
		return PTR_ERR(task);
	/* -EINTR: the thread was told to stop before it ran. */
	kthread_stop(task);
	return 0;
}

static const struct bench_op ops[] = {
	{ "mix",	2048,	NULL,		mix_one,	mix_end },
	{ "dentry",	512,	path_begin,	dentry_one,	path_end },
	{ "file",	256,	path_begin,	file_one,	path_end },
#ifdef CONFIG_NET
	{ "skb",	1024,	NULL,		skb_one,	skb_end },
	{ "unix",	512,	unix_begin,	unix_one,	unix_end },
#endif
	{ "kthread",	32,	NULL,		kthread_one,	NULL },
};

/* rcu_barrier(): objects that RCU frees are freed within the measured time. */
static noinline void op_round(u64 *figure)
{
	u64 start = bench_clock();
	unsigned int i;

	for (i = 0; i < op->count; i++) {
		int err = op->one(i);

		if (err)
			op_error = err;
	}
	rcu_barrier();
	figure[0] = bench_hundredths(bench_clock() - start, op->count);
}

int bench_op(const char *name)
{
	char row[32];
	int i, err;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		if (!strcmp(ops[i].name, name))
			break;
	if (i == ARRAY_SIZE(ops))
		return -EINVAL;
	op = &ops[i];
	op_error = 0;
	err = op->begin ? op->begin() : 0;
	if (err)
		return err;
	snprintf(row, sizeof(row), "op_%s", name);
	err = bench_measure(row, op_round, "ns", NULL);
	if (op->end)
		op->end();
	return err ?: op_error;
}
