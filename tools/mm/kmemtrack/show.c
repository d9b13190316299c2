// SPDX-License-Identifier: GPL-2.0
/*
 * Output of the commands as text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kmemtrack.h"

int status_of(const struct info *info, int status)
{
	return info->damage ? ST_ERROR : status;
}

/* What to print for the first line of "sites" or "growth" */
const char *sites_line(const struct info *info)
{
	return info->off ? "no sites are counted: tracking is off, or sites=0" : info->head;
}

static int fewer_bytes(const void *x, const void *y)
{
	const struct site *a = *(struct site *const *)x, *b = *(struct site *const *)y;

	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? 1 : -1;
	/* Keep the order of the file */
	return a < b ? -1 : a > b;
}

struct site **by_bytes(const struct info *info)
{
	struct site **list = xrealloc(NULL, info->nr_sites, sizeof(*list));
	size_t i;

	for (i = 0; i < info->nr_sites; i++)
		list[i] = &info->sites[i];
	if (i)
		qsort(list, i, sizeof(*list), fewer_bytes);
	return list;
}

/* --- tables --- */

void show_table(FILE *f, struct site **sites, size_t nr, size_t most)
{
	int width = term_width() - 35;
	char name[512];
	size_t i;

	if (!nr)
		return;
	fprintf(f, "%s%10s %8s  %-12s  %s%s\n", col(C_BOLD), "BYTES", "OBJECTS", "CACHE",
		"SITE", col(C_OFF));
	for (i = 0; i < nr && i < most; i++) {
		const struct site *s = sites[i];

		site_name(s, name, sizeof(name));
		fprintf(f, "%10s %8s  %-12.12s  ", bytes_text(s->bytes),
			count_text(s->objects), s->cache);
		put_cut(f, name, width);
		fputc('\n', f);
	}
	if (nr > most)
		fprintf(f, "%s... and %zu more%s\n", col(C_DIM), nr - most, col(C_OFF));
}

void show_head(FILE *f, const struct info *r)
{
	if (!r->scanned) {
		if (r->off)
			fprintf(f, "tracking is off; echo on > /sys/kernel/debug/kmemtrack\n");
		else
			fprintf(f, "no scan yet, %llu objects are tracked; kmemtrack scan makes one\n",
				(unsigned long long)r->objects);
		return;
	}
	fprintf(f, "%s%llu %s%s, %s, %llu %s", col(r->leaks ? C_RED : C_GREEN),
		(unsigned long long)r->leaks, r->leaks == 1 ? "leak" : "leaks", col(C_OFF),
		bytes_text(r->bytes), (unsigned long long)r->nr,
		r->nr == 1 ? "site" : "sites");
	if (r->suppressed)
		fprintf(f, ", %llu suppressed", (unsigned long long)r->suppressed);
	fprintf(f, "\n%s%s%s\n", col(C_DIM), r->scan, col(C_OFF));
}

/* --- report --- */

static void show_frames(FILE *f, const struct site *s)
{
	unsigned int i, caller = first_caller(s);
	char *copy, *place, *rest;

	for (i = 0; i < s->nr_frames; i++) {
		const struct frame *fr = &s->frames[i];

		fprintf(f, "      %s%s%s\n", i == caller ? col(C_BOLD) : "", fr->text,
			i == caller ? col(C_OFF) : "");
		if (!fr->lines)
			continue;
		copy = rest = xstrdup(fr->lines);
		while ((place = strsep(&rest, " ")))
			fprintf(f, "          %s%s%s\n", col(C_CYAN), place, col(C_OFF));
		free(copy);
	}
	if (!s->nr_frames)
		fprintf(f, "      %s(no backtrace)%s\n", col(C_DIM), col(C_OFF));
}

static void show_size(FILE *f, const struct site *s)
{
	if (s->least < s->most)
		fprintf(f, "sizes %llu to %llu", (unsigned long long)s->least,
			(unsigned long long)s->most);
	else
		fprintf(f, "size %llu", (unsigned long long)s->size);
	if (s->requested_most)
		fprintf(f, ", requested %llu", (unsigned long long)s->requested_least);
	if (s->requested_least < s->requested_most)
		fprintf(f, " to %llu", (unsigned long long)s->requested_most);
}

static void show_tasks(FILE *f, const struct site *s)
{
	unsigned int i;

	if (s->has_comm)
		fprintf(f, "    %sby \"%s\", pid %ld\n", s->objects > 1 ? "the oldest " : "", s->comm, s->pid);
	/* A single name that was printed before adds nothing. */
	if (!s->nr_tasks || (s->nr_tasks == 1 && s->has_comm &&
			     !strcmp(s->tasks[0].comm, s->comm)))
		return;
	fprintf(f, "    by tasks ");
	for (i = 0; i < s->nr_tasks; i++)
		fprintf(f, "%s\"%s\" %llu", i ? ", " : "", s->tasks[i].comm,
			(unsigned long long)s->tasks[i].nr);
	if (s->more_tasks)
		fprintf(f, " and %llu more", (unsigned long long)s->more_tasks);
	fputc('\n', f);
}

static void show_site(FILE *f, const struct site *s, size_t nr)
{
	unsigned int i;

	fprintf(f, "\n%s%zu. %llu %s, %s%s, %s, ", col(C_BOLD), nr,
		(unsigned long long)s->objects, s->objects == 1 ? "object" : "objects",
		bytes_text(s->bytes), col(C_OFF), s->cache);
	show_size(f, s);
	fputc('\n', f);
	if (s->indirect && !s->direct)
		fprintf(f, "    indirect: goes away with the leak that refers to it\n");
	else if (s->indirect)
		fprintf(f, "    %llu direct, %llu indirect\n", (unsigned long long)s->direct,
			(unsigned long long)s->indirect);
	if (s->leads)
		fprintf(f, "    with what hangs on it: %llu direct, %llu indirect, %s\n",
			(unsigned long long)s->all_direct, (unsigned long long)s->all_indirect,
			bytes_text(s->all_bytes));
	if (s->has_ages && s->objects > 1)
		fprintf(f, "    oldest %s ago, youngest %s ago\n",
			duration_text(s->first), duration_text(s->last));
	else if (s->has_ages)
		fprintf(f, "    allocated %s ago\n", duration_text(s->first));
	show_tasks(f, s);
	if (s->object)
		fprintf(f, "    object 0x%llx\n", (unsigned long long)s->object);
	for (i = 0; i < s->nr_dump; i++)
		fprintf(f, "      %s%s%s\n", col(C_DIM), s->dump[i], col(C_OFF));
	show_frames(f, s);
}

uint64_t number_or(uint64_t fallback)
{
	return opt.has_number ? opt.number : fallback;
}

static void show_report(FILE *f, const struct info *r)
{
	size_t i, most = number_or(SIZE_MAX);

	show_head(f, r);
	for (i = 0; i < r->nr_sites && i < most; i++)
		show_site(f, &r->sites[i], i + 1);
	if (r->nr_sites > most)
		fprintf(f, "\n... and %zu more\n", r->nr_sites - most);
}

/* Copies kmemleak's file, which has each block; a saved report has one per site. */
static bool copy_kmemleak(FILE *f)
{
	int error;
	char *text = read_kernel("kmemleak", &error);

	if (text)
		fputs(text, f);
	free(text);
	return text;
}

int cmd_report(int argc, char **argv)
{
	struct info *r;
	FILE *f;
	int status;

	if (argc > 1)
		die("report: one file at the most");
	r = argc ? load_file(argv[0]) : load_kernel(IS_REPORT);
	if (r->kind != IS_REPORT && !opt.json)
		die("%s is %s, not a report", r->source, kind_name(r->kind));
	find_lines(r);
	f = open_output(opt.output);
	if (opt.json && r->kind == IS_MEMORY)
		json_memory(f, r);
	else if (opt.json && r->kind == IS_REFS)
		json_refs(f, r);
	else if (opt.json)
		json_sites(f, r);
	else if (opt.ktap)
		print_ktap(f, r);
	else if (!opt.kmemleak)
		show_report(f, r);
	else if (argc || !is_live() || !copy_kmemleak(f))
		print_kmemleak(f, r);
	close_output(f);
	status = r->kind != IS_REPORT ? ST_OK : r->leaks ? ST_LEAKS : ST_OK;
	/* Without a scan no test has passed. */
	if (opt.ktap && !r->scanned)
		status = ST_ERROR;
	status = status_of(r, status);
	free_info(r);
	return status;
}

/* --- memory --- */

int cmd_memory(int argc, char **argv)
{
	struct info *m;
	uint64_t sum = 0;
	int status;
	size_t i;
	FILE *f;

	if (argc > 1)
		die("memory: one file at the most");
	m = argc ? load_file(argv[0]) : load_kernel(IS_MEMORY);
	if (m->kind != IS_MEMORY)
		die("%s is %s, not memory", m->source, kind_name(m->kind));
	f = open_output(opt.output);
	if (opt.json) {
		json_memory(f, m);
		goto out;
	}
	fprintf(f, "%s\n\n", m->head);
	fprintf(f, "%s%-24s %10s %6s  %12s  %12s%s\n", col(C_BOLD), "CLASS", "NOW", "",
		"SINCE SCAN", "SINCE BOOT", col(C_OFF));
	for (i = 0; i < m->nr_rows; i++) {
		const struct memory_row *r = &m->rows[i];
		bool none = !strcmp(r->name, "no known owner") && r->kb;

		fprintf(f, "%s%-24.24s %10s %5.1f%%  %12s  %12s%s\n", none ? col(C_YELLOW) : "",
			r->name, r->kb < 0 ? signed_bytes_text(r->kb * 1024) :
				 bytes_text(r->kb * 1024),
			m->total_kb ? 100.0 * r->kb / m->total_kb : 0,
			r->has_scan ? signed_bytes_text(r->since_scan * 1024) : "-",
			r->has_boot ? signed_bytes_text(r->since_boot * 1024) : "-",
			none ? col(C_OFF) : "");
		if (!strcmp(r->name, "no known owner") && m->in_sites_kb >= 0)
			fprintf(f, "%-24s %10s %5.1f%%\n", "  in sites",
				bytes_text(m->in_sites_kb * 1024),
				m->total_kb ? 100.0 * m->in_sites_kb / m->total_kb : 0);
		sum += r->kb;
	}
	if (sum != m->total_kb)
		fprintf(f, "\nThe classes are %lld kB, the machine has %llu kB.\n",
			(long long)sum, (unsigned long long)m->total_kb);
out:
	close_output(f);
	status = status_of(m, ST_OK);
	free_info(m);
	return status;
}

/* --- growth --- */

/* A bar for each scan, or a digit if the terminal does not support UTF-8 */
void spark(char *text, size_t size, const struct site *s)
{
	static const char * const bars[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	const char *locale = getenv("LC_ALL");
	uint64_t least = UINT64_MAX, most = 0;
	unsigned int i, height;
	size_t len = 0;
	bool utf8;

	if (!locale || !*locale)
		locale = getenv("LC_CTYPE");
	if (!locale || !*locale)
		locale = getenv("LANG");
	utf8 = locale && (strstr(locale, "UTF-8") || strstr(locale, "utf8"));
	text[0] = '\0';
	for (i = 0; i < s->nr_history; i++) {
		least = s->history[i] < least ? s->history[i] : least;
		most = s->history[i] > most ? s->history[i] : most;
	}
	for (i = 0; i < s->nr_history && len + 4 < size; i++) {
		height = most > least ? 7.0 * (s->history[i] - least) / (most - least) : 0;
		if (utf8)
			len += snprintf(text + len, size - len, "%s", bars[height]);
		else
			len += snprintf(text + len, size - len, "%u", height);
	}
}

static int slower(const void *x, const void *y)
{
	const struct site *a = *(struct site *const *)x, *b = *(struct site *const *)y;

	if (a->rate != b->rate)
		return a->rate < b->rate ? 1 : -1;
	return a < b ? -1 : a > b;
}

int cmd_growth(int argc, char **argv)
{
	size_t i, most = number_or(20);
	struct site **list;
	struct info *g;
	char bars[64];
	int status;
	FILE *f;

	if (argc > 1)
		die("growth: one file at the most");
	g = argc ? load_file(argv[0]) : load_kernel(IS_GROWTH);
	if (g->kind != IS_GROWTH)
		die("%s is %s, not growth", g->source, kind_name(g->kind));
	find_lines(g);
	f = open_output(opt.output);
	if (opt.json) {
		json_sites(f, g);
		goto out;
	}
	fprintf(f, "%s\n", sites_line(g));
	/* The kernel compares three scans at least. */
	if (!g->off && g->nr_scans < 3)
		fprintf(f, "growth is known after 3 scans; so far: %u\n", g->nr_scans);
	list = by_bytes(g);
	if (g->nr_sites)
		qsort(list, g->nr_sites, sizeof(*list), slower);
	for (i = 0; i < g->nr_sites && i < most; i++) {
		const struct site *s = list[i];

		fprintf(f, "\n%s%s/hour%s, %s in %llu objects, %s", col(C_BOLD),
			signed_bytes_text(s->rate), col(C_OFF), bytes_text(s->bytes),
			(unsigned long long)s->objects, s->cache);
		spark(bars, sizeof(bars), s);
		fprintf(f, "\n    %s%srose in %llu scans, site %08x\n", bars,
			*bars ? "  " : "", (unsigned long long)s->rose, s->id);
		show_tasks(f, s);
		show_frames(f, s);
	}
	if (g->nr_sites > most)
		fprintf(f, "\n... and %zu more; -n shows more\n", g->nr_sites - most);
	free(list);
out:
	close_output(f);
	status = status_of(g, ST_OK);
	free_info(g);
	return status;
}

/* --- refs --- */

static uint64_t address_of(const char *text)
{
	unsigned long long addr;
	char *end;

	errno = 0;
	addr = strtoull(text, &end, 16);
	if (errno || *end || end == text || *text == '-' || *text == '+')
		die("refs: '%s' is no address; it is a hexadecimal number such as 0xffff000001434c00",
		    text);
	return addr;
}

static void show_refs(FILE *f, const struct info *r)
{
	unsigned int shown = 0;
	size_t i;

	fprintf(f, "%s%s%s\n", col(C_BOLD), r->head, col(C_OFF));
	for (i = 0; i < r->nr_refs; i++) {
		const struct reference *ref = &r->refs[i];
		int indent = ref->level > 1 ? (ref->level < 17 ? ref->level - 1 : 16) * 2 : 0;

		if (ref->hint || ref->note)
			continue;
		fprintf(f, "  %*s%s%s%s %s\n", indent, "", col(C_CYAN), ref->kind, col(C_OFF),
			ref->where);
		shown++;
	}
	if (!shown && r->state)
		fprintf(f, "  nothing refers to it\n");
	for (i = 0, shown = 0; i < r->nr_refs; i++) {
		if (!r->refs[i].hint)
			continue;
		if (!shown++)
			fprintf(f, "\nThese are no references, but may have been meant as one:\n");
		fprintf(f, "  %s%s%s at %s\n", col(C_YELLOW), r->refs[i].kind, col(C_OFF),
			r->refs[i].where);
	}
	for (i = 0; i < r->nr_refs; i++)
		if (r->refs[i].note)
			fprintf(f, "%s%s%s\n", col(C_DIM), r->refs[i].where, col(C_OFF));
}

int cmd_refs(int argc, char **argv)
{
	struct info *r;
	uint64_t addr = 0;
	int status, error;
	FILE *f;

	if (argc > 1 || (!argc && is_live()))
		die("refs: of which address? See kmemtrack refs --help");
	if (argc)
		addr = address_of(argv[0]);
	if (is_live()) {
		struct buf b = {};
		char *text = read_kernel("kmemtrack_info/refs", &error);

		/* A kernel without this file does not know the command either. */
		if (!text)
			free_info(load_kernel(IS_REFS));
		free(text);
		buf_printf(&b, "refs=0x%llx", (unsigned long long)addr);
		error = write_command(b.text);
		if (error == -EINVAL)
			die("0x%llx lies in no block that is tracked", (unsigned long long)addr);
		if (error == -EPERM)
			die("tracking is off: echo on > /sys/kernel/debug/kmemtrack");
		if (error)
			die("%s: %s", b.text, strerror(-error));
		buf_free(&b);
	}
	r = load_kernel(IS_REFS);
	/* The kernel ignores the tag that KASAN keeps in a pointer. */
	if (r->block >> 56 == 0xff)
		addr |= 0xffULL << 56;
	if (argc && (addr < r->block || addr - r->block >= (r->size ? r->size : 1)))
		die("%s is about another block, 0x%llx", r->source, (unsigned long long)r->block);
	f = open_output(opt.output);
	if (opt.json)
		json_refs(f, r);
	else
		show_refs(f, r);
	close_output(f);
	status = status_of(r, ST_OK);
	free_info(r);
	return status;
}

/* --- diff --- */

const char * const change_names[NR_CHANGES] = {
	[CH_NEW] = "new", [CH_GROWN] = "grown", [CH_SHRUNK] = "shrunk", [CH_GONE] = "gone",
};

struct keyed {
	char *key;
	const struct site *site;
	bool met;
};

static int by_key(const void *x, const void *y)
{
	const struct keyed *a = x, *b = y;

	return strcmp(a->key, b->key);
}

static struct keyed *keys_of(const struct info *info)
{
	struct keyed *k = xrealloc(NULL, info->nr_sites, sizeof(*k));
	size_t i;

	for (i = 0; i < info->nr_sites; i++) {
		k[i].key = site_key(&info->sites[i], !opt.functions);
		k[i].site = &info->sites[i];
		k[i].met = false;
	}
	if (i)
		qsort(k, i, sizeof(*k), by_key);
	return k;
}

static struct keyed *find_key(struct keyed *k, size_t nr, const char *key)
{
	size_t low = 0, high = nr, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (strcmp(k[mid].key, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < nr && !strcmp(k[low].key, key) ? &k[low] : NULL;
}

static int by_change(const void *x, const void *y)
{
	const struct delta *a = x, *b = y;
	uint64_t p, q;

	if (a->change != b->change)
		return a->change < b->change ? -1 : 1;
	p = a->bytes < 0 ? -(uint64_t)a->bytes : (uint64_t)a->bytes;
	q = b->bytes < 0 ? -(uint64_t)b->bytes : (uint64_t)b->bytes;
	if (p != q)
		return p < q ? 1 : -1;
	return (a->after ?: a->before) < (b->after ?: b->before) ? -1 : 1;
}

static bool add_delta(struct delta *d, const struct site *before, const struct site *after)
{
	d->before = before;
	d->after = after;
	d->objects = (after ? after->objects : 0) - (before ? before->objects : 0);
	d->bytes = (after ? after->bytes : 0) - (before ? before->bytes : 0);
	d->change = !before ? CH_NEW : !after ? CH_GONE :
		    d->bytes > 0 || (!d->bytes && d->objects > 0) ? CH_GROWN : CH_SHRUNK;
	return d->objects || d->bytes || !before || !after;
}

/* What changed from @a to @b, whose records of one site are merged. */
struct delta *compare(struct info *a, struct info *b, size_t *nr)
{
	struct keyed *old, *new, *same;
	struct delta *d;
	size_t i;

	merge_sites(a, !opt.functions);
	merge_sites(b, !opt.functions);
	d = xrealloc(NULL, a->nr_sites + b->nr_sites, sizeof(*d));
	old = keys_of(a);
	new = keys_of(b);
	*nr = 0;
	for (i = 0; i < b->nr_sites; i++) {
		same = find_key(old, a->nr_sites, new[i].key);
		if (same)
			same->met = true;
		*nr += add_delta(&d[*nr], same ? same->site : NULL, new[i].site);
	}
	for (i = 0; i < a->nr_sites; i++) {
		if (!old[i].met)
			*nr += add_delta(&d[*nr], old[i].site, NULL);
		free(old[i].key);
	}
	for (i = 0; i < b->nr_sites; i++)
		free(new[i].key);
	free(old);
	free(new);
	if (*nr)
		qsort(d, *nr, sizeof(*d), by_change);
	return d;
}

static void show_delta(FILE *f, const struct delta *d)
{
	static const enum colour colours[NR_CHANGES] = { C_RED, C_YELLOW, C_GREEN, C_GREEN };
	const struct site *s = d->after ?: d->before;
	char name[512], number[32];

	site_name(s, name, sizeof(name));
	snprintf(number, sizeof(number), "%+lld", (long long)d->objects);
	fprintf(f, "%s%-7s%s%10s %8s  %-12.12s  ", col(colours[d->change]),
		change_names[d->change], col(C_OFF), signed_bytes_text(d->bytes),
		number, s->cache);
	put_cut(f, name, term_width() - 42);
	fputc('\n', f);
}

int cmd_diff(int argc, char **argv)
{
	struct info *a, *b;
	bool worse = false;
	struct delta *d;
	int status;
	size_t i, nr;
	FILE *f;

	if (argc != 2)
		die("diff: two files, the older one first");
	a = load_file(argv[0]);
	b = load_file(argv[1]);
	if (a->kind != b->kind || a->kind == IS_MEMORY || a->kind == IS_REFS)
		die("diff: two reports, two of sites, or two of growth; %s is %s, %s is %s",
		    argv[0], kind_name(a->kind), argv[1], kind_name(b->kind));
	find_lines(b);
	d = compare(a, b, &nr);
	f = open_output(opt.output);
	for (i = 0; i < nr; i++)
		worse |= d[i].change <= CH_GROWN;
	if (opt.json) {
		json_diff(f, d, nr);
	} else {
		if (!nr)
			fputs("no difference\n", f);
		for (i = 0; i < nr; i++) {
			show_delta(f, &d[i]);
			if (opt.verbose)
				show_frames(f, d[i].after ?: d[i].before);
		}
	}
	close_output(f);
	status = status_of(a, status_of(b, worse ? ST_LEAKS : ST_OK));
	free(d);
	free_info(a);
	free_info(b);
	return status;
}
