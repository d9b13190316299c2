// SPDX-License-Identifier: GPL-2.0
/*
 * kmemtrack_info/objects: a line for each tracked block. It leads from a site in `sites` or
 * `growth` to the addresses of its blocks, for refs= and dump=.
 *
 * The walk over the pool is that of leaks, see kmt_next_object(). A reader sees each block
 * that exists from its first read to its last exactly once, unless records are moved
 * between two reads, when the pool shrinks: only records of leaks stay where they are.
 */
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/kallsyms.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/string.h>

#include "pages.h"
#include "report.h"

#define KMT_OBJECTS_FORMAT	1

#define KMT_OBJECTS_SITES	32

/**
 * struct reader - state of an open file, in memory that is no root
 * @cursor: its position
 * @cell: the cell at that position
 * @o: copy of the block in @cell
 * @cache: its cache
 * @changes: kmt_code_changes when @sites was filled
 * @sites: what was computed lately, by the backtrace: the number of a site, and the name of
 *	the function that allocated, empty if there is none or no room for it
 */
struct reader {
	struct kmt_cursor cursor;
	struct kmt_object *cell;
	struct kmt_object o;
	char cache[KMT_CACHE_NAME];
	unsigned long changes;
	struct known {
		struct kmt_site site;
		u32 id;
		unsigned long pc;
		char name[72];
	} sites[KMT_OBJECTS_SITES];
};

static struct reader *find_object(struct reader *r, loff_t *pos)
{
	if (!kmt_tracking())
		return NULL;
	r->cursor.pos = *pos;
	r->cell = kmt_next_object(&r->cursor, KMT_LIVE);
	*pos = r->cursor.pos;
	return r->cell ? r : NULL;
}

/*
 * Position 0 is the head. Holds kmt_scan_mutex until kmt_leaks_stop(), for the reason given
 * at report_seq_start().
 */
static void *objects_start(struct seq_file *seq, loff_t *pos)
{
	struct reader *r = seq->private;
	int ret = kmt_lock_scan();
	void *v;

	if (ret)
		return ERR_PTR(ret);
	if (*pos) {
		v = find_object(r, pos);
	} else {
		r->cursor.chunk = NULL;
		/* The table keeps the numbers of its sites. */
		ret = kmt_sites_refresh();
		v = ret ? ERR_PTR(ret) : SEQ_START_TOKEN;
	}
	if (IS_ERR(v))
		mutex_unlock(&kmt_scan_mutex);
	return v;
}

static void *objects_next(struct seq_file *seq, void *v, loff_t *pos)
{
	++*pos;
	return find_object(seq->private, pos);
}

/* Whether @o is in a block of pages that are tracked: most of these have no record. */
static bool is_pages(const struct kmt_object *o)
{
	return kmt_pages_tracked() && kmt_space(o) == KMT_VIRT &&
	       (kmt_is_struct_record(o) || kmt_pages_order(o->addr) >= 0);
}

/* Copies the block in @r->cell; returns whether it is one that is shown. */
static bool take(struct reader *r)
{
	struct kmt_held held;
	bool shown;

	if (!kmt_lock_object(&kmt_core, r->cell, &held))
		return false;
	r->o = *r->cell;
	shown = kmt_space(&r->o) != KMT_ROOT && !is_pages(&r->o);
	if (shown)
		kmt_source_name(r->cache, kmt_space(&r->o), r->o.addr);
	kmt_unlock(&held);
	return shown;
}

/*
 * Finding names takes longer than all the rest of a line, and the table of sites has no
 * numbers of those that are younger than its last count.
 */
static noinline_for_stack const struct known *know(struct reader *r, const struct kmt_site *site)
{
	struct known *k = &r->sites[hash_32(site->trace, ilog2(KMT_OBJECTS_SITES))];
	const unsigned long changes = READ_ONCE(kmt_code_changes);
	char text[KSYM_SYMBOL_LEN];

	if (r->changes != changes) {
		memset(r->sites, 0, sizeof(r->sites));
		r->changes = changes;
	}
	if (!k->id || !kmt_same_site(&k->site, site)) {
		k->site = *site;
		k->id = kmt_site_id(site);
		k->pc = kmt_allocated_by(site->trace);
		if (!k->pc || strscpy(k->name, kmt_code_name(text, k->pc), sizeof(k->name)) < 0)
			k->name[0] = '\0';
	}
	return k;
}

static noinline_for_stack void print_code(struct seq_file *seq, const struct known *k)
{
	char text[KSYM_SYMBOL_LEN];

	seq_puts(seq, k->name[0] ? k->name : kmt_code_name(text, k->pc));
}

static void print_object(struct seq_file *seq, struct reader *r)
{
	const struct kmt_site site = kmt_site_of(r->o.trace, kmt_space(&r->o), r->o.size);
	const struct known *k = know(r, &site);
	const unsigned long addr = kmt_space(&r->o) == KMT_PHYS ?
					kmt_env_phys(r->o.addr) : r->o.addr;

	if (kmt_space(&r->o) == KMT_PERCPU)
		seq_puts(seq, "percpu ");
	seq_printf(seq, "object 0x%08lx, %lu bytes, ", addr, r->o.size);
	kmt_print_cache(seq, r->cache);
	seq_printf(seq, ", %s, site %08x, ", kmt_state_name(&r->o), k->id);
	kmt_print_seconds(seq, kmt_ms_since(r->o.born));
	seq_puts(seq, " s ago, comm ");
	kmt_print_comm(seq, r->o.comm);
	seq_printf(seq, " pid %d", kmt_pid(&r->o));
	if (k->pc) {
		seq_puts(seq, ", allocated by ");
		print_code(seq, k);
	}
	seq_putc(seq, '\n');
}

static int objects_show(struct seq_file *seq, void *v)
{
	struct reader *r = seq->private;
	int ret = 0;

	if (v == SEQ_START_TOKEN) {
		seq_printf(seq, "kmemtrack-objects %d: ", KMT_OBJECTS_FORMAT);
		if (kmt_tracking())
			seq_printf(seq, "%lu objects\n",
				   kmt_used_cells() - kmt_nr_aux(&kmt_core));
		else
			seq_puts(seq, "off\n");
		return 0;
	}
	/* A read at a later offset prints all lines before it as well. */
	if (kmt_scan_cancelled())
		return kmt_restart_frozen(-EINTR);
	/* Keeps the backtrace and the names of the task and of the code. */
	down_read(&kmt_reports_sem);
	if (take(r))
		print_object(seq, r);
	else
		ret = SEQ_SKIP;
	up_read(&kmt_reports_sem);
	return ret;
}

static const struct seq_operations objects_ops = {
	.start	= objects_start,
	.next	= objects_next,
	.stop	= kmt_leaks_stop,
	.show	= objects_show,
};

static int objects_open(struct inode *inode, struct file *file)
{
	struct reader *r = kmt_own_alloc(GFP_KERNEL | __GFP_ZERO, 0);
	int ret;

	static_assert(sizeof(*r) <= PAGE_SIZE);
	if (!r)
		return -ENOMEM;
	ret = seq_open(file, &objects_ops);
	if (ret)
		kmt_own_free(r, 0);
	else
		((struct seq_file *)file->private_data)->private = r;
	return ret;
}

static int objects_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;

	kmt_own_free(seq->private, 0);
	return seq_release(inode, file);
}

const struct file_operations kmt_objects_fops = {
	.owner		= THIS_MODULE,
	.open		= objects_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= objects_release,
};
