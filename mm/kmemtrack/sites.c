// SPDX-License-Identifier: GPL-2.0
/*
 * kmemtrack_info/sites and growth: live blocks by allocation site, now and at the ends of
 * the last scans. They show leaks to which something still refers, such as a list that
 * only grows. `objects` has the blocks of each site (objects.c).
 *
 * Allocations and frees do not count anything. A walk over the pool at the end of a scan
 * counts the live blocks: for each scan of the scan thread, and, once one of the three files
 * was read, for all other scans until tracking is switched off. A read of a file counts
 * if that was not done at the last scan.
 *
 * kmt_scan_mutex protects the table and the walk. The walk reads records without their
 * locks: a record that changes meanwhile may be counted with the site or the size of the
 * block before or after. Only for a site that is not in the table yet the record is
 * locked, so that the table never has a backtrace that no block had.
 */
#include <linux/crc32.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kallsyms.h>
#include <linux/math64.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/sort.h>
#include <linux/stackdepot.h>
#include <linux/timekeeping.h>

#include "pages.h"
#include "recent.h"
#include "report.h"
#include "scan.h"

/* `growth` shows sites that rose in the last 3 intervals between kept scans, or in both of 2. */
#define KMT_GROWTH_SCANS	3
#define KMT_GROWTH_LEAST	2

#define KMT_MS_AN_HOUR		3600000ULL

static void *alloc_pages_for_sites(unsigned int order)
{
	return kmt_own_alloc(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY, order);
}

/* Protected by kmt_scan_mutex, its backtraces also by kmt_reports_sem. */
static struct kmt_sites sites = {
	.alloc = alloc_pages_for_sites,
	.free = kmt_own_free,
};

/* Set once a file was read: then all scans count. Protected by kmt_scan_mutex. */
static bool wanted;

/* The last scan after which blocks were counted. Protected by kmt_scan_mutex. */
static unsigned long counted_scan;

/**
 * struct view - sites as a reader of a file sees them
 * @list: link in the list of views
 * @growth: the file is `growth`
 * @off: counting is off
 * @scan: number of the scan, 0 if there was none
 * @now: milliseconds of uptime when the view was made
 * @scans: kept scans
 * @sum: all blocks
 * @other: blocks of sites without a place
 * @least: for `growth`: number of scans in which each shown site rose
 * @rate: sum of the rates of all entries, in bytes per hour
 * @nr: number of entries
 * @bytes: size of @entry
 * @entry: sites, sorted
 */
struct view {
	struct list_head list;
	bool growth;
	bool off;
	unsigned long scan;
	u64 now;
	struct kmt_site_scans scans;
	struct kmt_site_sum sum;
	struct kmt_site_sum other;
	unsigned int least;
	u64 rate;
	unsigned long nr;
	size_t bytes;
	struct entry *entry;
};

/**
 * struct entry - a site in a view
 * @site: copy of the site
 * @rose: number of scans in which it rose
 * @rate: bytes per hour in that time
 */
struct entry {
	struct kmt_site_count site;
	unsigned int rose;
	u64 rate;
};

/* All views, so that their backtraces can be replaced. */
static LIST_HEAD(views);
static DEFINE_MUTEX(views_mutex);

static u64 uptime_ms(void)
{
	return div_u64(ktime_get_boottime_ns(), NSEC_PER_MSEC);
}

/**
 * kmt_sites_for_each - call a function for the backtraces that sites keep
 * @fn: see kmt_reports_for_each()
 * @arg: for @fn
 *
 * Context: kmt_reports_sem held for writing, may sleep.
 */
void kmt_sites_for_each(void (*fn)(void *arg, u32 *trace, u16 comm), void *arg)
{
	struct kmt_site_page *page;
	struct kmt_site_count *s;
	struct view *view;
	unsigned long i;

	lockdep_assert_held_write(&kmt_reports_sem);
	kmt_for_each_site(&sites, page, s) {
		const u32 trace = s->key.trace;

		fn(arg, &s->key.trace, KMT_COMM_NONE);
		if (s->key.trace != trace)
			sites.changed = true;
		cond_resched();
	}
	mutex_lock(&views_mutex);
	list_for_each_entry(view, &views, list) {
		for (i = 0; i < view->nr; i++) {
			fn(arg, &view->entry[i].site.key.trace, KMT_COMM_NONE);
			cond_resched();
		}
	}
	mutex_unlock(&views_mutex);
}

static bool is_in(unsigned long pc, unsigned long start)
{
	unsigned long size, offset;

	/* A return address may be right after the function's end. */
	return pc > start && kallsyms_lookup_size_offset(start, &size, &offset) &&
	       pc - start <= size;
}

/*
 * Whether a backtrace is that of a buffer of the tracker. Such buffers are allocated and
 * freed in each scan, but the vmalloc allocator keeps their descriptors for many scans.
 * Without KALLSYMS, which has the ends of functions, this is not known.
 */
static bool is_own(u32 trace)
{
	unsigned long *entries;
	unsigned int i, nr = stack_depot_fetch(trace, &entries);

	for (i = 0; i < nr; i++)
		if (is_in(entries[i], (unsigned long)kmt_own_vzalloc) ||
		    is_in(entries[i], (unsigned long)kmt_find_leaks))
			return true;
	return false;
}

/* The site with @key, which is added if need be; NULL if there is no place for it. */
static struct kmt_site_count *get_site(const struct kmt_site *key,
				       const char *cache)
{
	struct kmt_site_count *s = kmt_sites_find(&sites, key);

	if (s)
		return s;
	s = kmt_sites_add(&sites, key);
	if (s) {
		strscpy(s->cache, cache, sizeof(s->cache));
		s->own = is_own(key->trace);
	}
	return s;
}

/* Counts the block in @o, whose site was not found in the table, under its lock. */
static noinline_for_stack struct kmt_site_count *count_new_site(struct kmt_object *o)
{
	char cache[KMT_CACHE_NAME];
	struct kmt_site_count *s;
	struct kmt_object copy;
	struct kmt_site key;
	struct kmt_held held;

	if (!kmt_lock_object(&kmt_core, o, &held))
		return NULL;
	copy = *o;
	kmt_source_name(cache, kmt_space(o), o->addr);
	kmt_unlock(&held);
	if (kmt_space(&copy) == KMT_ROOT)
		return NULL;
	key = kmt_site_of(copy.trace, kmt_space(&copy), copy.size);
	s = get_site(&key, cache);
	kmt_sites_count(&sites, s, copy.size, copy.born);
	return s;
}

/* Counts @o. @s is the site of the cell before, which is mostly the same. */
static struct kmt_site_count *count_block(struct kmt_object *o,
					  struct kmt_site_count *s)
{
	/* Without the lock, as the head of this file explains. */
	const u16 flags = data_race(o->flags);
	/* As above. */
	const unsigned long size = data_race(o->size);
	struct kmt_site key;

	if (!(flags & KMT_LIVE) || (flags & KMT_SPACE_MASK) == KMT_ROOT)
		return s;
	/* count_pages() counts blocks of pages, with or without a record. */
	if (kmt_pages_tracked() && (flags & KMT_SPACE_MASK) == KMT_VIRT &&
	    /* As above. */
	    (kmt_is_struct_record(o) || kmt_pages_order(data_race(o->addr)) >= 0))
		return s;
	/* As above. */
	key = kmt_site_of(data_race(o->trace), flags & KMT_SPACE_MASK, size);
	if (!s || !kmt_same_site(&s->key, &key))
		s = kmt_sites_find(&sites, &key);
	if (!s)
		return count_new_site(o);
	/* As above. */
	kmt_sites_count(&sites, s, size, data_race(o->born));
	return s;
}

static bool count_blocks(void)
{
	struct kmt_site_count *s = NULL;
	struct kmt_chunk *chunk;
	struct kmt_object *o;

	kmt_for_each_chunk(&kmt_core, chunk) {
		if (fatal_signal_pending(current))
			return false;
		kmt_for_each_in(chunk, o)
			s = count_block(o, s);
		cond_resched();
	}
	return true;
}

static void count_pages(void *unused, u32 trace, unsigned long bytes, u32 born)
{
	const struct kmt_site key = {
		.trace = trace, .space = KMT_SITE_PAGES,
		.size = trace ? 0 : bytes,
	};

	kmt_sites_count(&sites, get_site(&key, KMT_PAGES_NAME), bytes, born);
}

/* Counts the live blocks for the last scan. Returns 0; -EINTR if the task is killed. */
static int count(void)
{
	bool done;

	lockdep_assert_held(&kmt_scan_mutex);
	if (!sites.seed)
		sites.seed = get_random_u32() | 1;
	sites.max = READ_ONCE(kmt_tunables.sites);
	/* Backtraces must not be replaced during the count. */
	down_read(&kmt_reports_sem);
	kmt_sites_begin(&sites);
	done = count_blocks() && kmt_pages_count(count_pages, NULL);
	if (done)
		kmt_sites_end(&sites, uptime_ms(), jiffies, HZ);
	else
		kmt_sites_cancel(&sites);
	up_read(&kmt_reports_sem);
	if (done)
		counted_scan = kmt_last_scan.nr;
	return done ? 0 : -EINTR;
}

/**
 * kmt_sites_scanned - count the live blocks of each site after a scan
 *
 * Context: kmt_scan_mutex held, may sleep; kmt_last_scan is that of the scan.
 */
void kmt_sites_scanned(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	if (!READ_ONCE(kmt_tunables.sites))
		kmt_sites_off();
	else if (kmt_counts_after_scan(wanted))
		count();
}

/**
 * kmt_sites_off - forget all sites
 *
 * Readers of open files keep their views.
 *
 * Context: kmt_scan_mutex held, may sleep.
 */
void kmt_sites_off(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	wanted = false;
	down_read(&kmt_reports_sem);
	kmt_sites_drop(&sites);
	up_read(&kmt_reports_sem);
}

/**
 * kmt_sites_usage - get the size of the table of sites
 * @nr: set to the number of sites in the table
 * @bytes: set to the memory that they take
 *
 * Context: any; the numbers may be of different times.
 */
void kmt_sites_usage(unsigned long *nr, size_t *bytes)
{
	*nr = READ_ONCE(sites.nr);
	*bytes = READ_ONCE(sites.nr_pages) * PAGE_SIZE;
	if (READ_ONCE(sites.bucket))
		*bytes += PAGE_SIZE << READ_ONCE(sites.order);
}

static noinline_for_stack u32 add_frame(u32 crc, unsigned long pc)
{
	char text[KSYM_SYMBOL_LEN];
	const char *name = kmt_code_name(text, pc);

	return crc32(crc, name, strlen(name));
}

/*
 * Computes the number of a site from the names in its backtrace, its space and its size.
 * The number is the same after each boot of a kernel, at whatever addresses the kernel
 * and its modules are loaded.
 */
static u32 id_of(const struct kmt_site *key)
{
	const u64 rest[2] = { key->space, key->size };
	unsigned long *entries;
	unsigned int i, nr = stack_depot_fetch(key->trace, &entries);
	u32 crc = crc32(0, rest, sizeof(rest));

	for (i = 0; i < nr; i++)
		crc = add_frame(crc, entries[i]);
	return crc ?: 1;
}

/**
 * kmt_site_id - get the number of a site
 * @key: what its blocks have in common
 *
 * Context: kmt_scan_mutex held, kmt_reports_sem held for reading.
 * Return: the number that `sites` and `growth` show.
 */
u32 kmt_site_id(const struct kmt_site *key)
{
	struct kmt_site_count *s = kmt_sites_find(&sites, key);

	lockdep_assert_held(&kmt_scan_mutex);
	lockdep_assert_held(&kmt_reports_sem);
	if (!s)
		return id_of(key);
	if (!s->id)
		s->id = id_of(key);
	return s->id;
}

static void set_rise(struct entry *e)
{
	u64 bytes, ms;

	e->rose = kmt_site_rise(&sites.scans, &e->site, &bytes, &ms);
	/* Limits the bytes to 5 TB, so that the product does not overflow. */
	bytes = min(bytes, U64_MAX / KMT_MS_AN_HOUR);
	/* Two scans may end in the same millisecond. */
	e->rate = div64_u64(bytes * KMT_MS_AN_HOUR, max(ms, 1ULL));
}

static bool is_shown(const struct view *view, const struct kmt_site_count *s)
{
	u64 bytes, ms;

	if (!view->growth)
		return s->last.nr;
	return view->least && !s->own &&
	       kmt_site_rise(&sites.scans, s, &bytes, &ms) >= view->least;
}

static unsigned long count_shown(const struct view *view)
{
	struct kmt_site_page *page;
	struct kmt_site_count *s;
	unsigned long nr = 0;

	kmt_for_each_site(&sites, page, s)
		nr += is_shown(view, s);
	return nr;
}

static int compare_bytes(const void *a, const void *b)
{
	const struct kmt_site_count *sa = a, *sb = b;

	static_assert(!offsetof(struct entry, site));
	cond_resched();
	if (sa->last.bytes != sb->last.bytes)
		return sa->last.bytes > sb->last.bytes ? -1 : 1;
	return sa->id < sb->id ? -1 : sa->id > sb->id;
}

static int compare_rates(const void *a, const void *b)
{
	const struct entry *ea = a, *eb = b;

	if (ea->rate != eb->rate)
		return ea->rate > eb->rate ? -1 : 1;
	return compare_bytes(a, b);
}

static int copy_sites(struct view *view)
{
	const unsigned long max = count_shown(view);
	struct kmt_site_page *page;
	struct kmt_site_count *s;
	struct entry *e;

	if (!max)
		return 0;
	view->bytes = array_size(max, sizeof(*view->entry));
	view->entry = kmt_own_vzalloc(view->bytes);
	if (!view->entry)
		return -ENOMEM;
	kmt_for_each_site(&sites, page, s) {
		cond_resched();
		if (!is_shown(view, s))
			continue;
		if (!s->id)
			s->id = id_of(&s->key);
		e = &view->entry[view->nr++];
		e->site = *s;
		set_rise(e);
		view->rate += e->rate;
	}
	sort(view->entry, view->nr, sizeof(*view->entry),
	     view->growth ? compare_rates : compare_bytes, NULL);
	return 0;
}

/* In how many scans a site must have risen; 0 if there are too few scans. */
static unsigned int least_rises(const struct kmt_site_scans *scans)
{
	const unsigned int rises = scans->nr ? scans->nr - 1 : 0;

	return rises < KMT_GROWTH_LEAST ? 0 : min(rises, KMT_GROWTH_SCANS);
}

static void fill_head(struct view *view)
{
	view->scan = kmt_last_scan.made ? counted_scan : 0;
	view->scans = sites.scans;
	view->sum = sites.sum;
	view->other = sites.other;
	view->least = least_rises(&sites.scans);
	view->now = uptime_ms();
}

static bool is_off(void)
{
	return !kmt_tracking() || !READ_ONCE(kmt_tunables.sites);
}

/**
 * kmt_sites_refresh - count the live blocks of each site, unless the last scan did
 *
 * Also counts again after a module was unloaded: its sites have other backtraces now.
 *
 * From now on each scan counts them.
 *
 * Context: kmt_scan_mutex held, may sleep.
 * Return: 0, also if nothing is counted; -EINTR if the task is killed.
 */
int kmt_sites_refresh(void)
{
	lockdep_assert_held(&kmt_scan_mutex);
	if (is_off())
		return 0;
	wanted = true;
	if (sites.scans.nr && counted_scan == kmt_last_scan.nr && !sites.changed)
		return 0;
	kmt_pages_refresh();
	return count();
}

static int fill(struct view *view)
{
	int ret = kmt_sites_refresh();

	view->off = is_off();
	if (ret || view->off)
		return ret;
	down_read(&kmt_reports_sem);
	fill_head(view);
	ret = copy_sites(view);
	up_read(&kmt_reports_sem);
	return ret;
}

static void empty(struct view *view)
{
	mutex_lock(&views_mutex);
	view->nr = 0;
	mutex_unlock(&views_mutex);
	kmt_own_vfree(view->entry, view->bytes);
	view->entry = NULL;
	view->bytes = 0;
	view->rate = 0;
}

/* Position 0 is the head; then the sites, and last the blocks without a place. */
static bool is_inside(const struct view *view, loff_t pos)
{
	if (!pos)
		return true;
	if (view->off)
		return false;
	return pos <= view->nr + (!view->growth && view->other.nr);
}

/*
 * Fills the view when position 0 is read. Later reads print from the same view, even if
 * more scans have ended since.
 */
static void *view_start(struct seq_file *seq, loff_t *pos)
{
	struct view *view = seq->private;
	int ret;

	if (!*pos) {
		ret = kmt_lock_scan();
		if (ret)
			return ERR_PTR(ret);
		empty(view);
		ret = fill(view);
		mutex_unlock(&kmt_scan_mutex);
		if (ret)
			return ERR_PTR(ret);
	}
	return is_inside(view, *pos) ? pos : NULL;
}

static void *view_next(struct seq_file *seq, void *v, loff_t *pos)
{
	++*pos;
	return is_inside(seq->private, *pos) ? pos : NULL;
}

static void view_stop(struct seq_file *seq, void *v)
{
}

static void print_head(struct seq_file *seq, const struct view *view)
{
	const struct kmt_site_scans *scans = &view->scans;
	unsigned int i;

	seq_printf(seq, "kmemtrack-%s 1: ", view->growth ? "growth" : "sites");
	if (view->off) {
		seq_puts(seq, "off\n");
		return;
	}
	if (view->growth) {
		seq_printf(seq, "%lu sites grew in each of the last %u scans, %llu bytes/hour",
			   view->nr, view->least, view->rate);
	} else {
		seq_printf(seq, "%lu sites, %lu objects, %lu bytes; scan %lu, ",
			   view->nr, view->sum.nr, view->sum.bytes, view->scan);
		kmt_print_seconds(seq, view->now - scans->ended[scans->newest]);
		seq_puts(seq, " s ago");
	}
	seq_puts(seq, "\nscans");
	for (i = scans->nr; i--;) {
		seq_putc(seq, ' ');
		kmt_print_seconds(seq, scans->ended[kmt_site_slot(scans, i)]);
	}
	seq_putc(seq, '\n');
}

static void print_history(struct seq_file *seq, const struct view *view,
			  const struct kmt_site_count *s)
{
	unsigned int i;

	seq_puts(seq, "  history");
	for (i = view->scans.nr; i--;)
		seq_printf(seq, " %llu",
			   kmt_bytes_of(s->history[kmt_site_slot(&view->scans, i)]));
	seq_putc(seq, '\n');
}

static void print_site(struct seq_file *seq, const struct view *view,
		       const struct entry *e)
{
	const struct kmt_site_count *s = &e->site;
	const u64 least = kmt_bytes_of(s->last.least);
	const u64 most = kmt_bytes_of(s->last.most);

	seq_printf(seq, "\nsite %08x: %lu objects, %lu bytes, ", s->id,
		   s->last.nr, s->last.bytes);
	kmt_print_cache(seq, s->cache);
	if (least == most)
		seq_printf(seq, ", size %llu\n", least);
	else
		seq_printf(seq, ", sizes %llu-%llu\n", least, most);
	print_history(seq, view, s);
	seq_printf(seq, "  rose in %u scans, %llu bytes/hour, first seen ",
		   e->rose, e->rate);
	kmt_print_seconds(seq, view->now - min(view->now, s->first));
	seq_puts(seq, " s ago\n  backtrace:\n");
	/* Backtraces are replaced when code of modules is freed. */
	down_read(&kmt_reports_sem);
	kmt_print_trace(seq, "    ", READ_ONCE(s->key.trace));
	up_read(&kmt_reports_sem);
}

static int view_show(struct seq_file *seq, void *v)
{
	const struct view *view = seq->private;
	const loff_t pos = *(loff_t *)v;

	if (!pos)
		print_head(seq, view);
	else if (pos <= view->nr)
		print_site(seq, view, &view->entry[pos - 1]);
	else
		seq_printf(seq, "\nother: %lu objects, %lu bytes\n",
			   view->other.nr, view->other.bytes);
	return 0;
}

static const struct seq_operations view_ops = {
	.start	= view_start,
	.next	= view_next,
	.stop	= view_stop,
	.show	= view_show,
};

static int view_open(struct inode *inode, struct file *file)
{
	struct view *view = __seq_open_private(file, &view_ops, sizeof(*view));

	if (!view)
		return -ENOMEM;
	view->growth = inode->i_private;
	mutex_lock(&views_mutex);
	list_add(&view->list, &views);
	mutex_unlock(&views_mutex);
	return 0;
}

static int view_release(struct inode *inode, struct file *file)
{
	struct view *view = ((struct seq_file *)file->private_data)->private;

	mutex_lock(&views_mutex);
	list_del(&view->list);
	mutex_unlock(&views_mutex);
	empty(view);
	return seq_release_private(inode, file);
}

/* For "growth" if the data of the inode is not NULL, else for "sites". */
const struct file_operations kmt_sites_fops = {
	.owner		= THIS_MODULE,
	.open		= view_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= view_release,
};
